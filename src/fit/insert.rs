//! Adds one component to a mixture, where it fits the rows worst.
//!
//! Centres that are drawn by chance miss a mode of one row in a thousand, and EM does not move one there. So a
//! component is put where a mixture p fails its rows: on blocks of neighbours with the least density, and on those
//! whose own volume promises far more density than p gives. Each candidate φ is fitted alone, by EM of (1 − a) p + a φ
//! with p held; the one with the greatest gain in likelihood is taken, if that is worth its parameters.
//! Ref: Vlassis & Likas, *A greedy EM algorithm for Gaussian mixture learning* (2002); Schwarz (1978) for the worth.

use rayon::prelude::*;

use super::effort::Effort;
use super::em::{Em, Part, singular};
use crate::Result;
use crate::transform::mixture::Mixture;
use crate::transform::mixture::lanes::{LANES, Lane, whiten};
use crate::transform::mixture::matrix::cholesky;
use crate::transform::normal::HALF_LN_TAU;

/// Candidates by either reason.
const EACH: usize = 6;
/// Those that are fitted to the end, and how often both are iterated.
const FINALISTS: usize = 3;
const FIRST: usize = 2;
const THEN: usize = 8;
/// The rows nearest to a candidate's centre, from which it begins.
const NEAREST: usize = 32;
/// In more columns a box of sixteen rows does not estimate a density.
const MOST_BOX: usize = 8;
/// No side of a box is taken for shorter than this part of a deviation.
const THIN: f64 = 1e-6;

/// A component to be added: a, its mean, its factor, and the gain of Σᵢ ln p(xᵢ).
struct Candidate {
    share: f64,
    mean: Vec<f64>,
    factor: Vec<f64>,
    gain: f64,
}

/// What [`Em::insert`] costs, in multiplications.
pub(crate) fn cost_of_insertion(n: usize, components: usize, d: usize) -> f64 {
    let (n, k, d) = (n as f64, components as f64, d as f64);
    let rounds = (2 * EACH * FIRST + FINALISTS * THEN) as f64;
    n * (k * (0.5 * d * d + 20.0) + rounds * (d * d + 2.0 * d + 20.0) + 2.0 * EACH as f64 * d)
}

impl Em<'_> {
    /// The mixture with one more component where its rows, which lie in the order of neighbours, are explained worst;
    /// none where no component is worth its parameters.
    ///
    /// # Errors
    /// As [`Em::step`].
    pub(crate) fn insert(&self, mixture: &Mixture, effort: &mut Effort<'_>) -> Result<Option<Mixture>> {
        let (n, d) = (self.n(), self.dim);
        if n < 2 * LANES || !effort.pay(cost_of_insertion(n, mixture.components(), d)) {
            return Ok(None);
        }
        let logs = mixture.log_prob_rows(self.x);
        let mut candidates = Vec::new();
        for first in self.worst(&logs) {
            candidates.extend(self.grown(&logs, self.around(first), FIRST)?);
        }
        candidates.sort_by(|a, b| b.gain.total_cmp(&a.gain));
        let mut best: Option<Candidate> = None;
        for candidate in candidates.into_iter().take(FINALISTS) {
            let part = (candidate.share * self.count, candidate.mean, candidate.factor);
            if let Some(grown) = self.grown_from(&logs, part, THEN)?
                && best.as_ref().is_none_or(|best| grown.gain > best.gain)
            {
                best = Some(grown);
            }
        }
        let parameters = (1 + d + d * (d + 1) / 2) as f64;
        let Some(best) = best.filter(|best| best.gain > 0.5 * parameters * self.count.ln()) else { return Ok(None) };
        let mut weights: Vec<f64> = mixture.weights().iter().map(|w| w * (1.0 - best.share)).collect();
        weights.push(best.share);
        let means = [mixture.means(), &best.mean].concat();
        let factors = [mixture.factors(), &best.factor].concat();
        Ok(Some(Mixture::new(weights, means, factors)?))
    }

    /// The first rows of the blocks that are explained worst.
    fn worst(&self, logs: &[f64]) -> Vec<usize> {
        let (n, d) = (self.n(), self.dim);
        let deviations: Vec<f64> = (0..d).map(|j| self.prior()[j * d + j].sqrt()).collect();
        // The mean surprise of a block's rows, and how much denser they lie than the mixture gives.
        let scores = |first: usize| {
            let rows = first..(first + LANES).min(n);
            let surprise = -logs[rows.clone()].iter().sum::<f64>() / rows.len() as f64;
            let side = |j: usize| {
                let column = || rows.clone().map(|i| self.row(i)[j]);
                let (low, high) = (column().fold(f64::INFINITY, f64::min), column().fold(f64::NEG_INFINITY, f64::max));
                (high - low).max(THIN * deviations[j]).ln()
            };
            let volume = if d <= MOST_BOX { (0..d).map(side).sum() } else { 0.0 };
            (first, surprise, surprise - volume)
        };
        let blocks: Vec<(usize, f64, f64)> = (0..n / LANES).into_par_iter().map(|b| scores(b * LANES)).collect();
        let mut chosen = Vec::new();
        let mut take = |score: &dyn Fn(&(usize, f64, f64)) -> f64| {
            let mut order: Vec<&(usize, f64, f64)> = blocks.iter().collect();
            order.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.0.cmp(&b.0)));
            chosen.extend(order.into_iter().take(EACH).map(|block| block.0));
        };
        take(&|block| block.1);
        if d <= MOST_BOX {
            take(&|block| block.2);
        }
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    /// Nₖ, mₖ and Σₖ of the rows nearest to the middle of the block that begins with row `first`.
    fn around(&self, first: usize) -> Option<Part> {
        let (n, d) = (self.n(), self.dim);
        let inverse: Vec<f64> = (0..d).map(|j| 1.0 / self.prior()[j * d + j]).collect();
        let median = |j: usize| {
            let mut column: Vec<f64> = (first..(first + LANES).min(n)).map(|i| self.row(i)[j]).collect();
            column.sort_unstable_by(f64::total_cmp);
            column[column.len() / 2]
        };
        let middle: Vec<f64> = (0..d).map(median).collect();
        let square =
            |row: &[f64]| -> f64 { row.iter().zip(&middle).zip(&inverse).map(|((x, m), s)| (x - m).powi(2) * s).sum() };
        let distances: Vec<f64> = self.x.par_chunks(d).map(square).collect();
        let mut order: Vec<usize> = (0..n).collect();
        let count = NEAREST.min(n);
        order.select_nth_unstable_by(count - 1, |a, b| distances[*a].total_cmp(&distances[*b]).then(a.cmp(b)));
        order.truncate(count);
        order.sort_unstable();
        let mut shares: Vec<(usize, Lane)> = Vec::new();
        for i in order {
            if shares.last().is_none_or(|(b, _)| *b != i / LANES) {
                shares.push((i / LANES, [0.0; LANES]));
            }
            if let Some((_, share)) = shares.last_mut() {
                share[i % LANES] = 1.0;
            }
        }
        self.part(&middle, shares.into_iter())
    }

    /// A candidate that begins with a count, a mean and a covariance.
    fn grown(&self, logs: &[f64], part: Option<Part>, iterations: usize) -> Result<Option<Candidate>> {
        let Some((count, mean, covariance)) = part else { return Ok(None) };
        let factor = cholesky(&covariance, self.dim).ok_or_else(singular)?;
        self.grown_from(logs, (count, mean, factor), iterations)
    }

    /// EM of (1 − a) p + a φ over a and φ alone, from a count, a mean and a factor; none where φ loses its rows.
    fn grown_from(
        &self,
        logs: &[f64],
        (count, mut mean, mut factor): Part,
        iterations: usize,
    ) -> Result<Option<Candidate>> {
        let (n, d) = (self.n(), self.dim);
        let mut share = (count / self.count).min(0.5);
        for last in (0..=iterations).map(|i| i == iterations) {
            let log_det: f64 = (0..d).map(|i| factor[i * d + i].ln()).sum();
            let c = share.ln() - log_det - d as f64 * HALF_LN_TAU;
            let rest = (-share).ln_1p();
            // Responsibilities and gains, block by block.
            let seen: Vec<(Lane, f64)> = (0..n.div_ceil(LANES))
                .into_par_iter()
                .map_init(
                    || vec![[0.0; LANES]; d],
                    |u, b| {
                        let squares = whiten(&mean, &factor, self.block(b), u);
                        let (mut shares, mut gain) = ([0.0; LANES], 0.0);
                        for (lane, log) in logs[b * LANES..((b + 1) * LANES).min(n)].iter().enumerate() {
                            // ln of a φ / p, against 1 − a: of two logarithms the sum from the larger.
                            let more = c - 0.5 * squares[lane] - log;
                            let sum = more.max(rest) + (-(more - rest).abs()).exp().ln_1p();
                            gain += self.weight(b)[lane] * sum;
                            shares[lane] = (more - sum).exp();
                        }
                        (shares, gain)
                    },
                )
                .collect();
            if last {
                let gain = seen.iter().map(|(_, gain)| gain).sum::<f64>();
                return Ok((gain.is_finite()).then_some(Candidate { share, mean, factor, gain }));
            }
            let shares = seen.iter().enumerate().filter(|(_, (shares, _))| shares.iter().any(|s| *s > 1e-12));
            let Some((count, next, covariance)) = self.part(&mean, shares.map(|(b, (shares, _))| (b, *shares))) else {
                return Ok(None);
            };
            share = (count / self.count).min(0.5);
            mean = next;
            factor = cholesky(&covariance, d).ok_or_else(singular)?;
        }
        Ok(None)
    }
}
