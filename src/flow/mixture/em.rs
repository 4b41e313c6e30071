//! Expectation-maximisation of a mixture with a prior on its covariances.
//!
//! E: rᵢₖ ∝ wₖ N(xᵢ; mₖ, Σₖ).  M: Nₖ = Σᵢ rᵢₖ, wₖ = Nₖ/n, mₖ = Σᵢ rᵢₖ xᵢ/Nₖ, Σₖ = (Sₖ + ν Ψ)/(Nₖ + ν), Sₖ the weighted
//! scatter about mₖ. The last is the mode under p(Σₖ) ∝ |Σₖ|^(−ν/2) exp(−ν/2 tr Ψ Σₖ⁻¹), so that
//! Σᵢ ln p(xᵢ) + Σₖ ln p(Σₖ) never falls. Without it a component shrinks onto a few rows and the likelihood has no bound.
//! Ref: Dempster, Laird & Rubin (1977); Fraley & Raftery (2007) for the prior.
//!
//! Responsibilities below [`NEGLIGIBLE`] are left out; what is left is sorted by component, and each component sums over
//! its rows in their order, whatever the threads.

use rayon::prelude::*;

use super::{LANES, Mixture};
use crate::{Error, Result, Rng};

/// A thousand responsibilities of this size change a sum of one by 1e-12.
const NEGLIGIBLE: f64 = 1e-15;
/// A component with less than this many rows of its own is restarted.
const EMPTY: f64 = 0.5;
/// Rows that one task of the E step takes.
const CHUNK: usize = 16 * LANES;

/// How a mixture is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct EmOptions {
    /// K; the most that [`Mixture::choose`] tries.
    pub components: usize,
    /// The most iterations over all rows.
    pub iterations: usize,
    /// It ends when an iteration gains less than this, in nats a row.
    pub tolerance: f64,
    /// ν, in pseudo-rows for each component.
    pub strength: f64,
}

impl Default for EmOptions {
    fn default() -> Self {
        Self { components: 1024, iterations: 30, tolerance: 1e-3, strength: 2.0 }
    }
}

/// Rows, and the prior on the covariances of the components.
#[derive(Clone, Debug)]
pub struct Em<'a> {
    x: &'a [f64],
    dim: usize,
    strength: f64,
    /// Ψ, `[d, d]`.
    prior: Vec<f64>,
}

/// What an iteration makes.
#[derive(Clone, Debug)]
pub struct Step {
    /// The next mixture.
    pub mixture: Mixture,
    /// Mean log p of the rows under the mixture before.
    pub log_prob: f64,
    /// Σᵢ ln p(xᵢ) + Σₖ ln p(Σₖ) of the mixture before, up to a constant: what never falls.
    pub objective: f64,
    /// Components that had no rows and begin anew; where there are any, the objective may fall.
    pub restarted: usize,
}

/// The rows of each component: their numbers and responsibilities, one component after another.
struct Shares {
    /// Where each component begins; K + 1 of them.
    starts: Vec<usize>,
    rows: Vec<(u32, f64)>,
}

impl<'a> Em<'a> {
    /// Over the rows of `x` (`[n, dim]` row-major) for `components` components, with `strength` pseudo-rows of the
    /// pooled covariance, scaled by K^(−2/d): what cells of equal volume would have.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer rows than components or two, numbers that are not finite, a constant column.
    pub fn new(x: &'a [f64], dim: usize, components: usize, strength: f64) -> Result<Self> {
        let n = x.len().checked_div(dim).unwrap_or(0);
        if n < components.max(2) || components == 0 || n > u32::MAX as usize {
            return Err(Error::invalid(
                format!("{n} rows for a mixture of {components}"),
                "give at least one row for each component, and two in all",
            ));
        }
        if let Some(i) = x.iter().position(|x| !x.is_finite()) {
            let problem = format!("row {} has {} in column {}", i / dim, x[i], i % dim);
            return Err(Error::invalid(problem, "leave out rows with missing values"));
        }
        if !(strength > 0.0 && strength.is_finite()) {
            let problem = format!("a prior worth {strength} rows holds no component open");
            return Err(Error::invalid(problem, "give a strength above 0"));
        }
        let mut prior = pooled(x, dim);
        if let Some(j) = (0..dim).find(|j| !(prior[j * dim + j] > 0.0)) {
            return Err(Error::invalid(
                format!("column {j} is constant"),
                "a constant column has no density: leave it out",
            ));
        }
        let scale = (components as f64).powf(-2.0 / dim as f64);
        prior.iter_mut().for_each(|v| *v *= scale);
        // Columns that determine each other would leave Ψ flat in a direction.
        (0..dim).for_each(|j| prior[j * dim + j] *= 1.0 + 1e-9);
        Ok(Self { x, dim, strength, prior })
    }

    /// Ψ, `[d, d]`.
    pub fn prior(&self) -> &[f64] {
        &self.prior
    }

    fn n(&self) -> usize {
        self.x.len() / self.dim
    }

    fn row(&self, i: usize) -> &'a [f64] {
        &self.x[i * self.dim..(i + 1) * self.dim]
    }

    /// One iteration.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a covariance is singular to round-off.
    pub fn step(&self, mixture: &Mixture) -> Result<Step> {
        let (shares, log_probs) = self.shares(mixture);
        let total: f64 = log_probs.iter().sum();
        let objective = total + self.log_prior(mixture);
        let (next, restarted) = self.maximise(mixture, &shares, &log_probs)?;
        Ok(Step { mixture: next, log_prob: total / self.n() as f64, objective, restarted })
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
    fn shares(&self, mixture: &Mixture) -> (Shares, Vec<f64>) {
        let k = mixture.components();
        let found: Vec<(f64, Vec<(u32, f64)>)> = mixture.by_blocks(self.x, |_, block, out| {
            for (lane, log_prob) in block.log_probs().iter().enumerate() {
                let near = (0..k).filter(|k| block.logs[*k][lane] - log_prob > NEGLIGIBLE.ln());
                let shares = near.map(|k| (k as u32, block.responsibility(k, lane))).collect();
                out.push((*log_prob, shares));
            }
        });
        let mut starts = vec![0; k + 1];
        found.iter().flat_map(|(_, shares)| shares).for_each(|(k, _)| starts[*k as usize + 1] += 1);
        (0..k).for_each(|k| starts[k + 1] += starts[k]);
        let mut next = starts.clone();
        let mut rows = vec![(0, 0.0); starts[k]];
        for (i, (_, shares)) in found.iter().enumerate() {
            for (k, r) in shares {
                rows[next[*k as usize]] = (i as u32, *r);
                next[*k as usize] += 1;
            }
        }
        (Shares { starts, rows }, found.into_iter().map(|(log_prob, _)| log_prob).collect())
    }

    /// The M step; components without rows are set on the rows with the least density.
    fn maximise(&self, mixture: &Mixture, shares: &Shares, log_probs: &[f64]) -> Result<(Mixture, usize)> {
        let (d, k) = (self.dim, mixture.components());
        let parts: Vec<Option<(f64, Vec<f64>, Vec<f64>)>> = (0..k)
            .into_par_iter()
            .map(|k| {
                let rows = &shares.rows[shares.starts[k]..shares.starts[k + 1]];
                self.component(mixture.mean(k), rows)
            })
            .collect();
        let mut lonely: Vec<usize> = Vec::new();
        if parts.iter().any(Option::is_none) {
            lonely = (0..self.n()).collect();
            lonely.sort_by(|a, b| log_probs[*a].total_cmp(&log_probs[*b]).then(a.cmp(b)));
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
            let factor = cholesky(&covariance, d).ok_or_else(|| {
                Error::invalid(
                    "a covariance of the mixture is singular",
                    "raise its prior's strength, or leave out a column that others determine",
                )
            })?;
            counts.push(count);
            means.extend(mean);
            factors.extend(factor);
        }
        let total: f64 = counts.iter().sum();
        let weights = counts.into_iter().map(|count| count / total).collect();
        Ok((Mixture::new(weights, means, factors)?, restarted))
    }

    /// Nₖ, mₖ and Σₖ from a component's rows; none if it has none of its own.
    fn component(&self, about: &[f64], rows: &[(u32, f64)]) -> Option<(f64, Vec<f64>, Vec<f64>)> {
        let d = self.dim;
        let count: f64 = rows.iter().map(|(_, r)| r).sum();
        if !(count > EMPTY) {
            return None;
        }
        // About the mean before, which is near: about 0, narrow components far out would cancel.
        let (mut first, mut second, mut gap) = (vec![0.0; d], vec![0.0; d * d], vec![0.0; d]);
        for (i, r) in rows {
            for ((gap, x), m) in gap.iter_mut().zip(self.row(*i as usize)).zip(about) {
                *gap = x - m;
            }
            for i in 0..d {
                let weighted = r * gap[i];
                first[i] += weighted;
                second[i * d..=i * d + i].iter_mut().zip(&gap).for_each(|(s, g)| *s += weighted * g);
            }
        }
        let shift: Vec<f64> = first.iter().map(|s| s / count).collect();
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
    pub(super) fn from_assignment(&self, components: usize, centres: &[f64], owners: &[u32]) -> Result<Mixture> {
        let d = self.dim;
        let mut owned: Vec<Vec<(u32, f64)>> = vec![Vec::new(); components];
        owners.iter().enumerate().for_each(|(i, k)| owned[*k as usize].push((i as u32, 1.0)));
        let (mut counts, mut means, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        for (rows, centre) in owned.iter().zip(centres.chunks_exact(d)) {
            let (count, mean, covariance) =
                self.component(centre, rows).unwrap_or_else(|| (1.0, centre.to_vec(), self.prior.clone()));
            counts.push(count);
            means.extend(mean);
            factors.extend(cholesky(&covariance, d).ok_or_else(|| Error::invalid("a covariance is singular", ""))?);
        }
        let total: f64 = counts.iter().sum();
        Mixture::new(counts.into_iter().map(|count| count / total).collect(), means, factors)
    }
}

impl Mixture {
    /// A mixture of `options.components` fitted to the rows of `x`, `[n, dim]` row-major; `stop` is asked before each
    /// iteration over all rows, and ends it early.
    ///
    /// # Errors
    /// As [`Em::new`] and [`Em::step`].
    pub fn fit(
        x: &[f64],
        dim: usize,
        options: &EmOptions,
        rng: &mut Rng,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Self> {
        let em = Em::new(x, dim, options.components, options.strength)?;
        let mut mixture = super::start::start(&em, x, dim, options, rng)?;
        let mut before = f64::NEG_INFINITY;
        for _ in 0..options.iterations {
            if stop() {
                break;
            }
            let step = em.step(&mixture)?;
            mixture = step.mixture;
            if step.restarted == 0 && step.log_prob - before < options.tolerance {
                break;
            }
            before = step.log_prob;
        }
        Ok(mixture)
    }
}

/// The covariance of all rows, `[d, d]`.
fn pooled(x: &[f64], d: usize) -> Vec<f64> {
    let n = (x.len() / d) as f64;
    let sum_rows = |f: &(dyn Fn(&[f64], &mut [f64]) + Sync), len: usize| {
        let parts: Vec<Vec<f64>> = x
            .par_chunks(CHUNK * 16 * d)
            .map(|rows| {
                let mut sum = vec![0.0; len];
                rows.chunks_exact(d).for_each(|row| f(row, &mut sum));
                sum
            })
            .collect();
        cnf_solvers::gradient::tree_sum(parts)
    };
    let mean: Vec<f64> = sum_rows(&|row, sum| sum.iter_mut().zip(row).for_each(|(s, x)| *s += x), d)
        .into_iter()
        .map(|s| s / n)
        .collect();
    let add = |row: &[f64], sum: &mut [f64]| {
        for i in 0..d {
            for j in 0..d {
                sum[i * d + j] += (row[i] - mean[i]) * (row[j] - mean[j]);
            }
        }
    };
    sum_rows(&add, d * d).into_iter().map(|s| s / n).collect()
}

/// The lower L with L Lᵀ = a; none where a is not positive definite.
pub(super) fn cholesky(a: &[f64], d: usize) -> Option<Vec<f64>> {
    let mut l = vec![0.0; d * d];
    for i in 0..d {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| l[i * d + k] * l[j * d + k]).sum();
            let left = a[i * d + j] - dot;
            l[i * d + j] = if i == j {
                // What is below a few units of round-off of the diagonal is noise.
                if !(left > 8.0 * f64::EPSILON * a[i * d + i]) {
                    return None;
                }
                left.sqrt()
            } else {
                left / l[j * d + j]
            };
        }
    }
    Some(l)
}

/// u ← L⁻¹ u.
fn solve_lower(l: &[f64], u: &mut [f64]) {
    let d = u.len();
    for i in 0..d {
        let dot: f64 = (0..i).map(|j| l[i * d + j] * u[j]).sum();
        u[i] = (u[i] - dot) / l[i * d + i];
    }
}
