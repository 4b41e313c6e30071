//! Scores of a density on held-out rows.

use std::ops::Range;

use super::crew::{Alone, Crew};
use crate::model::{BoundModel, block_rows};
use crate::rows::{Rows, Toy};
use crate::stats::Dominance;
use crate::transform::Cost;
use crate::{Error, Result};

/// Scores of some rows; the means are over those that are in neither list.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Rows scored.
    pub n: usize,
    /// Rows whose trajectory failed.
    pub failed: Vec<usize>,
    /// Rows outside the support: log p is −∞ there, and so is the mean over all rows.
    pub outside: Vec<usize>,
    /// Mean negative log-likelihood in nats, in the units of the data.
    pub nll: f64,
    /// Its standard error; NaN of one row.
    pub nll_se: f64,
    /// Of the rows' −log p: the median, and whether few rows carry the mean.
    pub dominance: Dominance,
    /// Mean of log p_true − log p in nats, and its standard error, where the truth is known.
    pub excess: Option<(f64, f64)>,
    /// Mean number of velocity evaluations of a row.
    pub nfe_mean: f64,
}

impl Score {
    /// The NLL and its standard error: where the truth is known its entropy and the excess over it, which is far less
    /// noisy.
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

/// Scores rows, each under its own context, in the flow's own precision.
///
/// # Errors
/// [`Error::Failed`] where no row has a density, [`Error::Invalid`] where none is inside the support; any error of the
/// solver.
pub fn score(flow: &BoundModel, rows: &Rows, truth: Option<&Toy>) -> Result<Score> {
    Ok(scored(flow, rows, truth)?.0)
}

/// As [`score`], with log p of each row.
pub(super) fn scored(flow: &BoundModel, rows: &Rows, truth: Option<&Toy>) -> Result<(Score, Vec<f64>)> {
    scored_by(&Alone, flow, rows, truth)
}

/// As [`scored`], the rows divided among the processes of `crew`.
pub(super) fn scored_by(
    crew: &dyn Crew,
    flow: &BoundModel,
    rows: &Rows,
    truth: Option<&Toy>,
) -> Result<(Score, Vec<f64>)> {
    let (log_prob, cost) = crew.scores(rows.x.len() / flow.dim(), |part| densities(flow, rows, part))?;
    Ok((summarised(flow.dim(), rows, &log_prob, &cost, truth)?, log_prob))
}

/// The scores of rows with these log-densities.
pub(super) fn summarised(d: usize, rows: &Rows, log_prob: &[f64], cost: &Cost, truth: Option<&Toy>) -> Result<Score> {
    let n = rows.x.len() / d;
    let outside: Vec<usize> = (0..n).filter(|&i| log_prob[i] == f64::NEG_INFINITY).collect();
    let failed: Vec<usize> = (0..n).filter(|&i| !log_prob[i].is_finite() && log_prob[i] != f64::NEG_INFINITY).collect();
    if !outside.is_empty() && failed.len() + outside.len() == n {
        let problem =
            format!("{} of {n} rows are outside the support of the density: log p is -inf there", outside.len());
        return Err(Error::invalid(problem, "check the rows against the kinds of the model's columns"));
    }
    if failed.len() == n {
        crate::transform::check_failures(cost, n)?;
        return Err(Error::invalid(format!("none of the {n} rows has a density"), "check that the weights are finite"));
    }
    let finite = log_prob.iter().filter(|l| l.is_finite());
    let (nll, nll_se) = mean_and_se(&finite.map(|l| -l).collect::<Vec<_>>());
    let excess = truth.map(|toy| {
        let points = rows.points();
        let kept = points.chunks_exact(d).zip(log_prob).filter(|(_, l)| l.is_finite());
        mean_and_se(&kept.map(|(x, l)| (toy.log_prob)(x) - l).collect::<Vec<_>>())
    });
    // Places are those of the rows: those without a density keep theirs.
    let dominance = Dominance::of(&log_prob.iter().map(|l| -l).collect::<Vec<_>>());
    Ok(Score { n, failed, outside, nll, nll_se, dominance, excess, nfe_mean: cost.nfe_mean() })
}

/// log p of rows, each under its own context; NaN where a row has no density.
///
/// # Errors
/// Any error of the solver.
pub(super) fn log_prob_rows(flow: &BoundModel, rows: &Rows) -> Result<Vec<f64>> {
    Ok(densities(flow, rows, 0..rows.x.len() / flow.dim())?.0)
}

/// log p of some of the rows, and its cost.
fn densities(flow: &BoundModel, rows: &Rows, part: Range<usize>) -> Result<(Vec<f64>, Cost)> {
    let Rows { x, context: condition, .. } = rows;
    let (d, c) = (flow.dim(), flow.condition_dim());
    let n = x.len() / d;
    let block = block_rows(d);
    if condition.len() != n * c {
        let problem = format!("{} numbers of conditions for {n} rows of {c}", condition.len());
        return Err(Error::invalid(problem, "give one row of conditions for each point"));
    }
    let (mut log_prob, mut cost) = (Vec::with_capacity(part.len()), Cost::default());
    // A row's result depends on that row alone: blocks change no bit.
    for first in part.clone().step_by(block) {
        let end = part.end.min(first + block);
        let scored = flow.log_prob(&x.part(first * d..end * d), &condition[first * c..end * c])?;
        cost.append(first - part.start, scored.cost);
        log_prob.extend(scored.log_prob);
    }
    Ok((log_prob, cost))
}

/// Two standard errors of a difference: means nearer than that are not distinguished.
const WITHIN: f64 = 2.0;
/// Rows on which two models differ by more nats than this (seven times the density) are rows that one of them has lost.
const LOST: f64 = 2.0;

/// Whether the second of two models is worse on the same held-out rows beyond two standard errors of their differences.
pub(super) fn clearly_worse(first: &[f64], second: &[f64]) -> bool {
    let losses = first.iter().zip(second).map(|(a, b)| a - b).filter(|loss| loss.is_finite());
    let (mean, se) = crate::stats::mean_and_se(&losses.collect::<Vec<f64>>());
    mean > WITHIN * se
}

/// Which of two models of the same held-out rows is the better, from their log-densities: whether it is the second.
///
/// The mean of the differences decides where it is beyond two of its standard errors. Within them the mean decides
/// nothing, and the rows decide that one of the models has lost, as a few that lie together in a mode which it does not
/// have: those on which the two differ by more than 2 nats. The smaller sum of what is lost on them wins; where there
/// are none, the mean. A row without a density counts as lost, and a model that alone has such rows loses.
pub(super) fn prefers_second(first: &[f64], second: &[f64]) -> bool {
    let without = |log_probs: &[f64]| log_probs.iter().filter(|l| !l.is_finite()).count();
    let (a, b) = (without(first), without(second));
    if a != b {
        return b < a;
    }
    let gains: Vec<f64> = first.iter().zip(second).map(|(a, b)| b - a).filter(|gain| gain.is_finite()).collect();
    let (mean, se) = crate::stats::mean_and_se(&gains);
    if mean.abs() > WITHIN * se || gains.len() < 2 {
        return mean > 0.0;
    }
    let lost: f64 = gains.iter().filter(|gain| gain.abs() > LOST).map(|gain| gain - LOST.copysign(*gain)).sum();
    if lost == 0.0 { mean > 0.0 } else { lost > 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_of_two_models_is_found_by_means_and_by_what_is_lost() {
        let rows = |f: &dyn Fn(usize) -> f64| (0..4000).map(f).collect::<Vec<f64>>();
        let noise = |i: usize| if i.is_multiple_of(2) { 0.1 } else { -0.1 };
        let flat = rows(&|_| -2.0);
        // A mean beyond its error: the standard error of the noise is 0.1/√4000.
        assert!(prefers_second(&flat, &rows(&|i| -1.99 + noise(i))));
        assert!(!prefers_second(&flat, &rows(&|i| -2.01 + noise(i))));
        // Within it: four rows in a mode that one of them has lost, whatever the mean is.
        let lost = rows(&|i| if i < 4 { -9.0 } else { -2.0 });
        let kept = rows(&|i| if i < 4 { -5.0 } else { -2.003 + noise(i) });
        assert!(prefers_second(&lost, &kept) && !prefers_second(&kept, &lost));
        // A mean that is clear is not overruled.
        let dear = rows(&|i| if i < 4 { -5.0 } else { -2.05 + noise(i) });
        assert!(!prefers_second(&lost, &dear) && prefers_second(&dear, &lost));
        let near = rows(&|i| -2.001 + noise(i));
        assert!(clearly_worse(&flat, &dear) && !clearly_worse(&dear, &flat) && !clearly_worse(&flat, &near));
        assert!(!clearly_worse(&flat, &flat) && !clearly_worse(&[], &[]));
        // No density is worse than any.
        let none = rows(&|i| if i == 7 { f64::NAN } else { 3.0 });
        assert!(!prefers_second(&flat, &none) && prefers_second(&none, &flat));
    }
}
