//! How good a density is on rows it has not seen.

use candle_core::{DType, Device, Tensor};

use crate::data::Toy;
use crate::flow::{Bijection, Chain, Cost, Density, Flow};
use crate::{Error, Result};

/// The rows, and the numbers, that are solved at a time: the solver's own memory does not grow beyond them.
const BLOCK_ROWS: usize = 1 << 16;
const BLOCK_NUMBERS: usize = 1 << 20;

/// Scores of some rows; the means are over those that have a density.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Rows scored.
    pub n: usize,
    /// Rows whose trajectory failed.
    pub failed: Vec<usize>,
    /// Mean negative log-likelihood in nats, in the units of the data.
    pub nll: f64,
    /// Its standard error.
    pub nll_se: f64,
    /// Mean of log p_true − log p in nats, and its standard error, where the truth is known.
    pub excess: Option<(f64, f64)>,
    /// Mean number of velocity evaluations of a row.
    pub nfe_mean: f64,
}

impl Score {
    /// The NLL and its standard error: where the truth is known its entropy and the excess over it, which is far less noisy.
    pub fn best_nll(&self, truth: Option<&Toy>) -> (f64, f64) {
        match (self.excess, truth) {
            (Some((excess, se)), Some(toy)) => (toy.entropy + excess, se),
            _ => (self.nll, self.nll_se),
        }
    }
}

/// Mean and standard error of the finite values; NaN for the mean of none, and for the error of fewer than two.
pub fn mean_and_se(values: &[f64]) -> (f64, f64) {
    crate::stats::mean_and_se(&values.iter().copied().filter(|v| v.is_finite()).collect::<Vec<_>>())
}

/// Scores the rows of `x` (`[n, d]`, row-major) of a flow without a condition, in the flow's own precision.
///
/// # Errors
/// As [`score_given`].
pub fn score(flow: &Flow<Chain>, x: &[f64], truth: Option<&Toy>) -> Result<Score> {
    score_given(flow, x, &[], truth)
}

/// Scores the rows of `x` (`[n, d]`, row-major) given `condition` (`[n, c]`, empty without one).
///
/// # Errors
/// [`Error::Failed`] where no row has a density; whatever the solver refuses.
pub fn score_given(flow: &Flow<Chain>, x: &[f64], condition: &[f64], truth: Option<&Toy>) -> Result<Score> {
    let (d, c) = (Density::dim(flow), flow.map.condition_dim());
    let n = x.len() / d;
    if condition.len() != n * c {
        let problem = format!("{} numbers of conditions for {n} rows of {c}", condition.len());
        return Err(Error::invalid(problem, "give one row of conditions for each point"));
    }
    let (mut log_prob, mut cost) = (Vec::with_capacity(n), Cost::default());
    // A row's result depends on that row alone: blocks change no bit.
    for rows in x.chunks(BLOCK_ROWS.min(BLOCK_NUMBERS / d).max(1) * d) {
        let points = Tensor::from_slice(rows, (rows.len() / d, d), &Device::Cpu)?;
        let given = match c {
            0 => None,
            c => {
                let from = log_prob.len() * c;
                let rows = rows.len() / d;
                Some(Tensor::from_slice(&condition[from..from + rows * c], (rows, c), &Device::Cpu)?)
            }
        };
        let (_, densities, spent) = flow.encode(&points, given.as_ref())?;
        cost.append(log_prob.len(), spent);
        log_prob.extend(densities.to_dtype(DType::F64)?.to_vec1::<f64>()?);
    }
    let failed: Vec<usize> = (0..n).filter(|&i| !log_prob[i].is_finite()).collect();
    if failed.len() == n {
        crate::flow::check_failures(&cost, n)?;
        return Err(Error::invalid(format!("none of the {n} rows has a density"), "the weights are not finite"));
    }
    let kept = || x.chunks_exact(d).zip(&log_prob).filter(|(_, l)| l.is_finite());
    let (nll, nll_se) = mean_and_se(&kept().map(|(_, l)| -l).collect::<Vec<_>>());
    let excess = truth.map(|toy| mean_and_se(&kept().map(|(x, l)| (toy.log_prob)(x) - l).collect::<Vec<_>>()));
    Ok(Score { n, failed, nll, nll_se, excess, nfe_mean: cost.nfe_mean() })
}
