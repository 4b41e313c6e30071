//! Scores of a density on held-out rows; where these have weights, all means are weighted.

use std::ops::Range;

use super::crew::{Alone, Crew};
use crate::model::{BoundModel, block_rows};
use crate::rows::{Rows, Toy};
use crate::stats::{Dominance, Weighted, weighted_mean_and_se};
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
    let finite: Vec<usize> = (0..n).filter(|i| log_prob[*i].is_finite()).collect();
    let weights: Vec<f64> =
        if rows.weight.is_empty() { Vec::new() } else { finite.iter().map(|i| rows.weight[*i]).collect() };
    let (nll, nll_se) = weighted_mean_and_se(&finite.iter().map(|i| -log_prob[*i]).collect::<Vec<_>>(), &weights);
    let excess = truth.map(|toy| {
        let points = rows.points();
        let over = |i: &usize| (toy.log_prob)(&points[i * d..(i + 1) * d]) - log_prob[*i];
        mean_and_se(&finite.iter().map(over).collect::<Vec<_>>())
    });
    // Places are those of the rows: those without a density keep theirs.
    let scale = n as f64 / rows.weight.iter().sum::<f64>();
    let weight = |i: usize| rows.weight.get(i).map_or(1.0, |w| scale * w);
    let each = log_prob.iter().enumerate().map(|(i, l)| Weighted { value: -l, weight: weight(i), at: i as u64 });
    let dominance = Dominance::weighted(each.collect());
    Ok(Score { n, failed, outside, nll, nll_se, dominance, excess, nfe_mean: cost.nfe_mean() })
}

/// log p of rows, each under its own context; NaN where a row has no density.
///
/// # Errors
/// Any error of the solver.
pub(super) fn log_prob_rows(flow: &BoundModel, rows: &Rows) -> Result<Vec<f64>> {
    Ok(densities(flow, rows, 0..rows.x.len() / flow.dim())?.0)
}

/// log p of some of the rows, of those with a missing cell that of the others; and its cost.
fn densities(flow: &BoundModel, rows: &Rows, range: Range<usize>) -> Result<(Vec<f64>, Cost)> {
    let Rows { x, context: condition, .. } = rows;
    let (d, c) = (flow.dim(), flow.condition_dim());
    let n = x.len() / d;
    let block = block_rows(d);
    if condition.len() != n * c {
        let problem = format!("{} numbers of conditions for {n} rows of {c}", condition.len());
        return Err(Error::invalid(problem, "give one row of conditions for each point"));
    }
    let (mut log_prob, mut cost) = (Vec::with_capacity(range.len()), Cost::default());
    // A row's result depends on that row alone: blocks change no bit.
    for first in range.clone().step_by(block) {
        let end = range.end.min(first + block);
        let part = x.part(first * d..end * d);
        let scored = match part.iter().any(|v| v.is_nan()) {
            true => flow.log_prob_present(&part)?,
            false => flow.log_prob(&part, &condition[first * c..end * c])?,
        };
        cost.append(first - range.start, scored.cost);
        log_prob.extend(scored.log_prob);
    }
    Ok((log_prob, cost))
}

/// Two standard errors of a difference: means nearer than that are not distinguished.
const WITHIN: f64 = 2.0;
/// Rows on which two models differ by more nats than this (seven times the density) are rows that one of them has lost.
const LOST: f64 = 2.0;

/// The finite ones of `second` − `first`, and their weights: none where `weights` are none.
fn gains(first: &[f64], second: &[f64], weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let all = || first.iter().zip(second).map(|(a, b)| b - a);
    let kept = all().zip(weights).filter(|(gain, _)| gain.is_finite()).map(|(_, w)| *w).collect();
    (all().filter(|gain| gain.is_finite()).collect(), kept)
}

/// Whether the second of two models is worse on the same held-out rows, which have these weights or none, beyond two
/// standard errors of their differences.
pub(super) fn clearly_worse(first: &[f64], second: &[f64], weights: &[f64]) -> bool {
    let (losses, weights) = gains(second, first, weights);
    let (mean, se) = weighted_mean_and_se(&losses, &weights);
    mean > WITHIN * se
}

/// Which of two models of the same held-out rows is the better, from their log-densities: whether it is the second.
///
/// The mean of the differences decides where it is beyond two of its standard errors. Within them the mean decides
/// nothing, and the rows decide that one of the models has lost, as a few that lie together in a mode which it does not
/// have: those on which the two differ by more than 2 nats. The smaller sum of what is lost on them wins; where there
/// are none, the mean. Rows count by their weights where they have some. A row without a density counts as lost, and a model that alone has such rows loses.
pub(super) fn prefers_second(first: &[f64], second: &[f64], weights: &[f64]) -> bool {
    let without = |log_probs: &[f64]| log_probs.iter().filter(|l| !l.is_finite()).count();
    let (a, b) = (without(first), without(second));
    if a != b {
        return b < a;
    }
    let (gains, weights) = gains(first, second, weights);
    let (mean, se) = weighted_mean_and_se(&gains, &weights);
    if mean.abs() > WITHIN * se || gains.len() < 2 {
        return mean > 0.0;
    }
    let weighted = gains.iter().zip(weights.iter().copied().chain(std::iter::repeat(1.0)));
    let lost: f64 =
        weighted.filter(|(gain, _)| gain.abs() > LOST).map(|(gain, w)| w * (gain - LOST.copysign(*gain))).sum();
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
        assert!(prefers_second(&flat, &rows(&|i| -1.99 + noise(i)), &[]));
        assert!(!prefers_second(&flat, &rows(&|i| -2.01 + noise(i)), &[]));
        // Within it: four rows in a mode that one of them has lost, whatever the mean is.
        let lost = rows(&|i| if i < 4 { -9.0 } else { -2.0 });
        let kept = rows(&|i| if i < 4 { -5.0 } else { -2.003 + noise(i) });
        assert!(prefers_second(&lost, &kept, &[]) && !prefers_second(&kept, &lost, &[]));
        // A mean that is clear is not overruled.
        let dear = rows(&|i| if i < 4 { -5.0 } else { -2.05 + noise(i) });
        assert!(!prefers_second(&lost, &dear, &[]) && prefers_second(&dear, &lost, &[]));
        let near = rows(&|i| -2.001 + noise(i));
        assert!(
            clearly_worse(&flat, &dear, &[]) && !clearly_worse(&dear, &flat, &[]) && !clearly_worse(&flat, &near, &[])
        );
        assert!(!clearly_worse(&flat, &flat, &[]) && !clearly_worse(&[], &[], &[]));
        // No density is worse than any.
        let none = rows(&|i| if i == 7 { f64::NAN } else { 3.0 });
        assert!(!prefers_second(&flat, &none, &[]) && prefers_second(&none, &flat, &[]));
    }
}
