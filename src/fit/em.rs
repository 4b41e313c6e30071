//! Expectation-maximisation of a mixture with a prior on its covariances.
//!
//! E: rᵢₖ ∝ wₖ N(xᵢ; mₖ, Σₖ).  M: Nₖ = Σᵢ rᵢₖ, wₖ = Nₖ/n, mₖ = Σᵢ rᵢₖ xᵢ/Nₖ, Σₖ = (Sₖ + ν Ψ)/(Nₖ + ν), Sₖ the weighted
//! scatter about mₖ. The last is the mode under p(Σₖ) ∝ |Σₖ|^(−ν/2) exp(−ν/2 tr Ψ Σₖ⁻¹), so that
//! Σᵢ ln p(xᵢ) + Σₖ ln p(Σₖ) never falls. Without it a component shrinks onto a few rows and the likelihood has no
//! bound. Where rows have weights, so scaled that they add up to the effective number of rows, a row counts as so many:
//! rᵢₖ is multiplied by its weight, n is that number, and the prior keeps its strength.
//! Ref: Dempster, Laird & Rubin (1977); Fraley & Raftery (2007) for the prior.
//!
//! Responsibilities below [`NEGLIGIBLE`] are left out. The E step keeps log p(xᵢ) and, for each block of sixteen rows,
//! the components with a responsibility above that; the M step takes the components in parallel and makes their
//! responsibilities anew, block after block in order: no matrix of n K numbers is held, and no sum depends on the
//! threads.

use rayon::prelude::*;

use super::effort::{Effort, cost_of_step};
use crate::stats::{Sample, robust_moments};
use crate::transform::mixture::Mixture;
use crate::transform::mixture::lanes::{LANES, Lane, to_blocks, whiten};
use crate::transform::mixture::matrix::{cholesky, moments, solve_lower};
use crate::{Error, Result};

/// Responsibilities below this are left out of the sums: of each row, a part of 1e-9 at the very most.
const NEGLIGIBLE: f64 = 1e-12;
/// A component with less than this many rows of its own is restarted.
const EMPTY: f64 = 0.5;

/// Rows, and the prior on the covariances of the components.
#[derive(Clone, Debug)]
pub struct Em<'a> {
    pub(crate) x: &'a [f64],
    /// The same, `[n / LANES][d]` lanes.
    blocks: Vec<Lane>,
    /// What the rows count, `[n / LANES]` lanes, and their sum: the effective number of rows.
    weights: Vec<Lane>,
    pub(crate) count: f64,
    pub(crate) dim: usize,
    strength: f64,
    /// Ψ, `[d, d]`.
    prior: Vec<f64>,
}

/// What an iteration makes.
#[derive(Clone, Debug)]
pub struct Step {
    /// The next mixture.
    pub mixture: Mixture,
    /// Mean log p of the rows under the mixture before, by their weights.
    pub log_prob: f64,
    /// Σᵢ ln p(xᵢ) + Σₖ ln p(Σₖ) of the mixture before, up to a constant: what never falls.
    pub objective: f64,
    /// Components that had no rows and begin anew; where there are any, the objective may fall.
    pub restarted: usize,
}

/// What the E step leaves.
struct Expected {
    /// log p of each row, `[n / LANES]` lanes; +∞ in lanes without a row, whose responsibilities are 0 then.
    log_probs: Vec<Lane>,
    /// Where the blocks of each component begin; K + 1 of them.
    starts: Vec<usize>,
    /// The blocks with responsibilities of a component, one component after another.
    blocks: Vec<u32>,
}

/// Nₖ, mₖ and Σₖ.
pub(crate) type Part = (f64, Vec<f64>, Vec<f64>);

impl<'a> Em<'a> {
    /// Over rows (`[n, dim]` row-major, with their weights where they have some) for `components` components, with `strength` pseudo-rows of the
    /// pooled covariance, scaled by K^(−2/d): what cells of equal volume would have. Rows far beyond the others do not
    /// enter that covariance: one at 10⁶ deviations would make each component as wide as the distance to it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer rows than components or two, numbers that are not finite, a constant column.
    pub fn new(rows: impl Into<Sample<'a>>, dim: usize, components: usize, strength: f64) -> Result<Self> {
        let rows = rows.into();
        let x = rows.x;
        let n = x.len().checked_div(dim).unwrap_or(0);
        if n < components.max(2) || components == 0 || n > u32::MAX as usize {
            return Err(Error::invalid(
                format!(
                    "{} for a mixture of {}",
                    crate::words::count(n as u64, "row"),
                    crate::words::count(components as u64, "component")
                ),
                "give at least one row for each component, and two in all",
            ));
        }
        if let Some(i) = x.iter().position(|x| !x.is_finite()) {
            let problem = format!("row {} has {} in column {} (counted from 0)", i / dim, x[i], i % dim);
            return Err(Error::invalid(problem, "leave out rows with missing values"));
        }
        if !(strength > 0.0 && strength.is_finite()) {
            let problem = format!("the strength of the prior is {strength}");
            return Err(Error::invalid(problem, "give a finite strength above 0"));
        }
        let weights = rows.scaled(dim);
        let mut prior = pooled(x, dim, &weights);
        if let Some(j) = (0..dim).find(|j| prior[j * dim + j].is_nan() || prior[j * dim + j] <= 0.0) {
            return Err(Error::invalid(
                format!("column {j} is constant (counted from 0)"),
                "leave out the constant column: it has no density",
            ));
        }
        let scale = (components as f64).powf(-2.0 / dim as f64);
        prior.iter_mut().for_each(|v| *v *= scale);
        // Columns that determine each other would leave Ψ flat in a direction.
        (0..dim).for_each(|j| prior[j * dim + j] *= 1.0 + 1e-9);
        let (blocks, weights) = (to_blocks(x, dim), to_blocks(&weights, 1));
        Ok(Self { x, blocks, weights, count: rows.effective(dim), dim, strength, prior })
    }

    /// The same with the diagonal of Ψ alone, if `only` is true.
    #[must_use]
    pub fn diagonal(mut self, only: bool) -> Self {
        if only {
            let d = self.dim;
            (0..d * d).filter(|i| i % (d + 1) != 0).for_each(|i| self.prior[i] = 0.0);
        }
        self
    }

    /// Ψ, `[d, d]`.
    pub fn prior(&self) -> &[f64] {
        &self.prior
    }

    pub(crate) fn n(&self) -> usize {
        self.x.len() / self.dim
    }

    pub(crate) fn row(&self, i: usize) -> &'a [f64] {
        &self.x[i * self.dim..(i + 1) * self.dim]
    }

    /// One iteration.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a covariance is singular to round-off.
    pub fn step(&self, mixture: &Mixture) -> Result<Step> {
        let (next, total, restarted) = self.advance(mixture)?;
        let objective = total + self.log_prior(mixture);
        Ok(Step { mixture: next, log_prob: total / self.count, objective, restarted })
    }

    /// The next mixture, Σᵢ ln p(xᵢ) under the one before, and the components that begin anew.
    fn advance(&self, mixture: &Mixture) -> Result<(Mixture, f64, usize)> {
        let expected = self.expect(mixture);
        let weights = self.weights.iter().flatten();
        let total: f64 = expected.log_probs.iter().flatten().zip(weights).take(self.n()).map(|(l, w)| w * l).sum();
        let (next, restarted) = self.maximise(mixture, &expected)?;
        Ok((next, total, restarted))
    }

    /// Σₖ ln p(Σₖ) up to a constant: −½ ν Σₖ (ln |Σₖ| + tr Ψ Σₖ⁻¹).
    fn log_prior(&self, mixture: &Mixture) -> f64 {
        let d = self.dim;
        let root = cholesky(&self.prior, d).unwrap_or_else(|| vec![f64::NAN; d * d]);
        let one = |k: usize| {
            let l = mixture.factor(k);
            let log_det: f64 = (0..d).map(|i| 2.0 * l[i * d + i].ln()).sum();
            // tr Ψ Σ⁻¹ = |L⁻¹ R|² with Ψ = R Rᵀ.
            let trace: f64 = (0..d)
                .map(|j| {
                    let mut u: Vec<f64> = (0..d).map(|i| root[i * d + j]).collect();
                    solve_lower(l, &mut u);
                    u.iter().map(|u| u * u).sum::<f64>()
                })
                .sum();
            log_det + trace
        };
        -0.5 * self.strength * (0..mixture.components()).map(one).sum::<f64>()
    }

    /// The E step.
    fn expect(&self, mixture: &Mixture) -> Expected {
        let k = mixture.components();
        let seen: Vec<(Lane, Vec<u32>)> = mixture.by_blocks(self.x, |_, block, out| {
            let mut log_probs = [f64::INFINITY; LANES];
            log_probs[..block.rows()].copy_from_slice(block.log_probs());
            out.push((log_probs, block.seen(NEGLIGIBLE.ln())));
        });
        let mut starts = vec![0; k + 1];
        seen.iter().flat_map(|(_, components)| components).for_each(|k| starts[*k as usize + 1] += 1);
        (0..k).for_each(|k| starts[k + 1] += starts[k]);
        let mut next = starts.clone();
        let mut blocks = vec![0; starts[k]];
        for (b, (_, components)) in seen.iter().enumerate() {
            for k in components {
                blocks[next[*k as usize]] = b as u32;
                next[*k as usize] += 1;
            }
        }
        Expected { log_probs: seen.into_iter().map(|(log_probs, _)| log_probs).collect(), starts, blocks }
    }

    /// The M step; components without rows are set on the rows with the least density.
    fn maximise(&self, mixture: &Mixture, expected: &Expected) -> Result<(Mixture, usize)> {
        let (d, k) = (self.dim, mixture.components());
        let part = |k: usize| {
            let (mean, factor, c) = (mixture.mean(k), mixture.factor(k), mixture.log_norms[k]);
            let mut u = vec![[0.0; LANES]; d];
            let blocks = &expected.blocks[expected.starts[k]..expected.starts[k + 1]];
            let shares = blocks.iter().map(|b| {
                let b = *b as usize;
                let squares = whiten(mean, factor, self.block(b), &mut u);
                let share = |lane: usize| {
                    let log = c - 0.5 * squares[lane] - expected.log_probs[b][lane];
                    if log > NEGLIGIBLE.ln() { log.exp() } else { 0.0 }
                };
                (b, std::array::from_fn(share))
            });
            self.part(mean, shares)
        };
        let parts: Vec<Option<Part>> = (0..k).into_par_iter().map(part).collect();
        let mut lonely: Vec<usize> = Vec::new();
        if parts.iter().any(Option::is_none) {
            let log_prob = |i: &usize| expected.log_probs[i / LANES][i % LANES];
            lonely = (0..self.n()).collect();
            lonely.sort_by(|a, b| log_prob(a).total_cmp(&log_prob(b)).then(a.cmp(b)));
        }
        let mut lonely = lonely.into_iter();
        let (mut counts, mut means, mut factors, mut restarted) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for part in parts {
            let (count, mean, covariance) = match part {
                Some(part) => part,
                None => {
                    restarted += 1;
                    let row = lonely.next().unwrap_or_default();
                    (1.0, self.row(row).to_vec(), self.prior.clone())
                }
            };
            let factor = cholesky(&covariance, d).ok_or_else(singular)?;
            counts.push(count);
            means.extend(mean);
            factors.extend(factor);
        }
        let total: f64 = counts.iter().sum();
        let weights = counts.into_iter().map(|count| count / total).collect();
        Ok((Mixture::new(weights, means, factors)?, restarted))
    }

    pub(crate) fn block(&self, b: usize) -> &[Lane] {
        &self.blocks[b * self.dim..(b + 1) * self.dim]
    }

    /// What the rows of a block count.
    pub(crate) fn weight(&self, b: usize) -> &Lane {
        &self.weights[b]
    }

    /// Nₖ, mₖ and Σₖ from a component's responsibilities in some blocks, before their weights; none if it has no rows of its own.
    ///
    /// Sums are about the mean before, which is near: about 0, narrow components far out would cancel.
    pub(crate) fn part(&self, about: &[f64], shares: impl Iterator<Item = (usize, Lane)>) -> Option<Part> {
        let d = self.dim;
        let zeros = [0.0; LANES];
        let (mut counts, mut first) = (zeros, vec![zeros; d]);
        let (mut second, mut gap) = (vec![0.0; d * d], vec![zeros; d]);
        for (b, share) in shares {
            let weights = &self.weights[b];
            let share: Lane = std::array::from_fn(|lane| weights[lane] * share[lane]);
            for ((gap, x), m) in gap.iter_mut().zip(self.block(b)).zip(about) {
                *gap = x.map(|x| x - m);
            }
            (0..LANES).for_each(|lane| counts[lane] += share[lane]);
            for i in 0..d {
                let weighted: Lane = std::array::from_fn(|lane| share[lane] * gap[i][lane]);
                (0..LANES).for_each(|lane| first[i][lane] += weighted[lane]);
                second[i * d..=i * d + i].iter_mut().zip(&gap).for_each(|(s, g)| *s += dot(&weighted, g));
            }
        }
        let ones = [1.0; LANES];
        let count = dot(&counts, &ones);
        if count.is_nan() || count <= EMPTY {
            return None;
        }
        let shift: Vec<f64> = first.iter().map(|s| dot(s, &ones) / count).collect();
        let mean = about.iter().zip(&shift).map(|(m, s)| m + s).collect();
        let mut covariance = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..=i {
                let scatter = second[i * d + j] - count * shift[i] * shift[j];
                let value = (scatter + self.strength * self.prior[i * d + j]) / (count + self.strength);
                covariance[i * d + j] = value;
                covariance[j * d + i] = value;
            }
        }
        Some((count, mean, covariance))
    }

    /// The mixture whose components own the rows assigned to them.
    pub(crate) fn assigned(&self, components: usize, centres: &[f64], owners: &[u32]) -> Result<Mixture> {
        let d = self.dim;
        let mut owned: Vec<Vec<(usize, Lane)>> = vec![Vec::new(); components];
        for (i, k) in owners.iter().enumerate() {
            let of = &mut owned[*k as usize];
            if of.last().is_none_or(|(b, _)| *b != i / LANES) {
                of.push((i / LANES, [0.0; LANES]));
            }
            if let Some((_, share)) = of.last_mut() {
                share[i % LANES] = 1.0;
            }
        }
        let (mut counts, mut means, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        for (shares, centre) in owned.into_iter().zip(centres.chunks_exact(d)) {
            let part = self.part(centre, shares.into_iter());
            let (count, mean, covariance) = part.unwrap_or_else(|| (1.0, centre.to_vec(), self.prior.clone()));
            counts.push(count);
            means.extend(mean);
            factors.extend(cholesky(&covariance, d).ok_or_else(singular)?);
        }
        let total: f64 = counts.iter().sum();
        Mixture::new(counts.into_iter().map(|count| count / total).collect(), means, factors)
    }
}

/// A column whose farthest value is beyond this many of its deviations is checked…
const FARTHEST: f64 = 10.0;
/// …and where its deviation is this many times the robust one…
const DISAGREE: f64 = 3.0;
/// …rows beyond this many robust deviations are left out.
const REACH: f64 = 20.0;

/// The covariance of the rows, which count by `weights`, `[d, d]`: of those that are not far out, where far rows are most of it.
fn pooled(x: &[f64], d: usize, weights: &[f64]) -> Vec<f64> {
    let (mean, covariance) = moments(x, d, weights);
    let limit = |j: usize| {
        let deviation = covariance[j * d + j].sqrt();
        let column = || x.iter().skip(j).step_by(d);
        let farthest = column().map(|v| (v - mean[j]).abs()).fold(0.0, f64::max);
        // Squares may have left the range of f64: such a column is checked.
        if deviation.is_finite() && farthest <= FARTHEST * deviation {
            return None;
        }
        let (centre, scale) = robust_moments(&mut column().copied().collect::<Vec<f64>>());
        (scale > 0.0 && (deviation.is_nan() || deviation > DISAGREE * scale)).then_some((j, centre, REACH * scale))
    };
    let limits: Vec<(usize, f64, f64)> = (0..d).into_par_iter().filter_map(limit).collect();
    if limits.is_empty() {
        return covariance;
    }
    let near = |row: &&[f64]| limits.iter().all(|(j, centre, reach)| (row[*j] - centre).abs() <= *reach);
    let rows: Vec<f64> = x.chunks_exact(d).filter(near).flatten().copied().collect();
    let kept = x.chunks_exact(d).zip(weights).filter(|(row, _)| near(row));
    let weights: Vec<f64> = kept.map(|(_, w)| *w).collect();
    // Half of the rows are within each limit; in many columns too few may be within all.
    if rows.len() < x.len() / 2 {
        return covariance;
    }
    let near = moments(&rows, d, &weights).1;
    // A column may vary on the rows far out alone, as one that counts a rare event.
    if (0..d).all(|j| near[j * d + j] > 0.0) { near } else { covariance }
}

pub(crate) fn singular() -> Error {
    let hint = "raise the strength of its prior, or leave out a column that others determine";
    Error::invalid("a covariance of the mixture is singular", hint)
}

/// Σ a b over the lanes, halves onto halves.
fn dot(a: &Lane, b: &Lane) -> f64 {
    let mut sum: Lane = std::array::from_fn(|lane| a[lane] * b[lane]);
    let mut half = LANES / 2;
    while half > 0 {
        (0..half).for_each(|lane| sum[lane] += sum[lane + half]);
        half /= 2;
    }
    sum[0]
}

impl Em<'_> {
    /// Iterates until the gain is below `tolerance` nats a row, `iterations` are done, or `stop` returns true.
    ///
    /// # Errors
    /// As [`Em::step`].
    pub fn climb(
        &self,
        mixture: Mixture,
        iterations: usize,
        tolerance: f64,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Mixture> {
        self.climb_within(mixture, iterations, tolerance, &mut Effort::new(f64::INFINITY, stop))
    }

    pub(crate) fn climb_within(
        &self,
        mut mixture: Mixture,
        iterations: usize,
        tolerance: f64,
        effort: &mut Effort<'_>,
    ) -> Result<Mixture> {
        let cost = cost_of_step(self.n(), mixture.components(), self.dim);
        let mut before = f64::NEG_INFINITY;
        for _ in 0..iterations {
            if !effort.pay(cost) {
                break;
            }
            let (next, total, restarted) = self.advance(&mixture)?;
            mixture = next;
            let log_prob = total / self.count;
            if restarted == 0 && log_prob - before < tolerance {
                break;
            }
            before = log_prob;
        }
        Ok(mixture)
    }
}
