//! Gaussians and mixtures of rows with missing cells, by expectation-maximisation.
//!
//! Of a row only the cells o are there. Under component k the others have the mean x̂_m = m_m + Σ_mo Σ_oo⁻¹ (x_o − m_o) and the
//! covariance C = Σ_mm − Σ_mo Σ_oo⁻¹ Σ_om. E: rᵢₖ ∝ wₖ N(x_o; m_o, Σ_oo), x̂ and C.  M: as in `em.rs`, with x̂ for x
//! and C added to the scatter, so that the likelihood of the cells that are there never falls. Right where cells are missing at
//! random, given those that are there.
//! Ref: Dempster, Laird & Rubin (1977); Ghahramani & Jordan, *Supervised learning from incomplete data via an EM approach*
//! (1994); Little & Rubin, *Statistical analysis with missing data* (2002), section 11.2.
//!
//! Rows are taken by the cells that they have, so that a component's factors are made once for each such pattern. Sums run in
//! the order of patterns and rows, whatever the threads.

mod choose;

use rand::Rng as _;
use rand_distr::StandardNormal as Draw;
use rayon::prelude::*;

use super::effort::Effort;
use super::em::{Part, singular};
use crate::stats::Sample;
use crate::transform::mixture::Mixture;
use crate::transform::mixture::marginal::patterns;
use crate::transform::mixture::matrix::{cholesky, solve_lower};
use crate::{Error, Result, Rng};

pub use choose::present_moments;

/// Responsibilities below this are left out of the sums.
const NEGLIGIBLE: f64 = 1e-12;
/// A component with less than this many rows of its own is left out.
const EMPTY: f64 = 0.5;
/// Patterns whose sums are added before those of others.
const CHUNK: usize = 32;
/// Added to each variance, as a part of it, where columns determine each other.
const RIDGE: f64 = 1e-9;

/// Rows with missing cells, by the cells that they have.
#[derive(Clone, Debug)]
pub struct Gapped {
    dim: usize,
    groups: Vec<Group>,
    /// The effective number of rows.
    count: f64,
}

/// Rows that have the same cells.
#[derive(Clone, Debug)]
struct Group {
    kept: Vec<usize>,
    gone: Vec<usize>,
    /// `[n, kept]`.
    x: Vec<f64>,
    /// What each row counts.
    weight: Vec<f64>,
}

/// A prior on covariances: so many pseudo-rows of a covariance, as in `em.rs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Prior {
    /// Ψ, `[d, d]`.
    pub covariance: Vec<f64>,
    /// ν; 0 for none.
    pub strength: f64,
}

/// What an iteration makes.
#[derive(Clone, Debug)]
pub struct GappedStep {
    /// The next mixture.
    pub mixture: Mixture,
    /// Mean log p of the cells that are there under the mixture before, by the rows' weights.
    pub log_prob: f64,
    /// Σᵢ ln p + Σₖ ln p(Σₖ) of the mixture before, up to a constant: what never falls while no component is left out.
    pub objective: f64,
}

/// What a component's rows add up to.
struct Sums {
    count: f64,
    first: Vec<f64>,
    /// The lower triangle counts.
    second: Vec<f64>,
}

impl Gapped {
    /// Rows `[n, d]`, with their weights where they have some; a missing cell is NaN, and rows without any cell are left
    /// out.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer than two rows, infinities, and a column without any cell.
    pub fn new(rows: Sample<'_>, dim: usize) -> Result<Self> {
        let n = rows.x.len().checked_div(dim).unwrap_or(0);
        let some: Vec<usize> = (0..n).filter(|i| rows.x[i * dim..(i + 1) * dim].iter().any(|v| !v.is_nan())).collect();
        if some.len() < 2 {
            let problem = format!("{} with a value", crate::words::count(some.len() as u64, "row"));
            return Err(Error::invalid(problem, "give at least two rows with a value"));
        }
        if let Some(i) = rows.x.iter().position(|v| v.is_infinite()) {
            let problem = format!("row {} has {} in column {} (counted from 0)", i / dim, rows.x[i], i % dim);
            return Err(Error::invalid(problem, crate::words::leave_out(rows.x[i])));
        }
        let (x, weight) = rows.pick(dim, &some);
        let rows = Sample { x: &x, weight: &weight };
        let scaled = rows.scaled(dim);
        let groups: Vec<Group> = patterns(&x, dim)
            .into_iter()
            .map(|pattern| Group {
                gone: (0..dim).filter(|j| !pattern.kept.contains(j)).collect(),
                x: pattern.of(&x, dim),
                weight: pattern.rows.iter().map(|i| scaled[*i]).collect(),
                kept: pattern.kept,
            })
            .collect();
        if let Some(j) = (0..dim).find(|j| groups.iter().all(|group| group.gone.contains(j))) {
            let problem = format!("column {j} has no value in any row (columns are counted from 0)");
            return Err(Error::invalid(problem, "leave out the column"));
        }
        Ok(Self { dim, groups, count: rows.effective(dim) })
    }

    /// One iteration.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a covariance is singular to round-off, and where no component is left.
    pub fn step(&self, mixture: &Mixture, prior: &Prior) -> Result<GappedStep> {
        let (d, groups) = (self.dim, &self.groups);
        let parts: Vec<(Mixture, Vec<f64>)> = groups
            .par_iter()
            .map(|group| {
                let part = mixture.marginal(&group.kept)?;
                let logs = part.log_prob_rows(&group.x);
                Ok((part, logs))
            })
            .collect::<Result<_>>()?;
        let of = |(group, (_, logs)): (&Group, &(Mixture, Vec<f64>))| -> f64 {
            group.weight.iter().zip(logs).map(|(w, l)| w * l).sum()
        };
        let total: f64 = groups.iter().zip(&parts).map(of).sum();
        let found: Vec<Option<Part>> =
            (0..mixture.components()).into_par_iter().map(|k| self.part(mixture, k, &parts, prior)).collect();
        let (mut counts, mut means, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        for (count, mean, covariance) in found.into_iter().flatten() {
            counts.push(count);
            means.extend(mean);
            factors.extend(root(covariance, d)?);
        }
        let sum: f64 = counts.iter().sum();
        let weights = counts.into_iter().map(|count| count / sum).collect();
        let objective = total + log_prior(mixture, prior, d);
        Ok(GappedStep { mixture: Mixture::new(weights, means, factors)?, log_prob: total / self.count, objective })
    }

    /// Nₖ, mₖ and Σₖ of a component; none if it has no rows of its own. `parts` are the marginals of the groups, and log p of
    /// their rows.
    fn part(&self, mixture: &Mixture, k: usize, parts: &[(Mixture, Vec<f64>)], prior: &Prior) -> Option<Part> {
        let (d, mean) = (self.dim, mixture.mean(k));
        let sigma = square(mixture.factor(k), d);
        let chunks: Vec<Sums> = self
            .groups
            .par_chunks(CHUNK)
            .zip(parts.par_chunks(CHUNK))
            .map(|(groups, parts)| {
                let mut sums = Sums { count: 0.0, first: vec![0.0; d], second: vec![0.0; d * d] };
                groups.iter().zip(parts).for_each(|(group, (part, logs))| {
                    group.add(&mut sums, (mean, &sigma), (part, k), logs);
                });
                sums
            })
            .collect();
        let mut sums = Sums { count: 0.0, first: vec![0.0; d], second: vec![0.0; d * d] };
        for chunk in chunks {
            sums.count += chunk.count;
            sums.first.iter_mut().zip(chunk.first).for_each(|(sum, v)| *sum += v);
            sums.second.iter_mut().zip(chunk.second).for_each(|(sum, v)| *sum += v);
        }
        let Sums { count, first, second } = sums;
        if count.is_nan() || count <= EMPTY {
            return None;
        }
        let shift: Vec<f64> = first.iter().map(|s| s / count).collect();
        let mut covariance = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..=i {
                let scatter = second[i * d + j] - count * shift[i] * shift[j];
                let value = (scatter + prior.strength * prior.covariance[i * d + j]) / (count + prior.strength);
                (covariance[i * d + j], covariance[j * d + i]) = (value, value);
            }
        }
        Some((count, mean.iter().zip(&shift).map(|(m, s)| m + s).collect(), covariance))
    }

    /// Iterates until the gain is below `tolerance` nats a row or `iterations` are done.
    fn climb(
        &self,
        mut mixture: Mixture,
        prior: &Prior,
        (iterations, tolerance): (usize, f64),
        effort: &mut Effort<'_>,
    ) -> Result<Mixture> {
        let mut before = f64::NEG_INFINITY;
        for _ in 0..iterations {
            if !effort.pay(self.cost(mixture.components())) {
                break;
            }
            let GappedStep { mixture: next, log_prob, .. } = self.step(&mixture, prior)?;
            let same = next.components() == mixture.components();
            mixture = next;
            if same && log_prob - before < tolerance {
                break;
            }
            before = log_prob;
        }
        Ok(mixture)
    }

    /// What an iteration costs, in multiplications.
    fn cost(&self, components: usize) -> f64 {
        let (k, d) = (components as f64, self.dim as f64);
        let rows: usize = self.groups.iter().map(|group| group.weight.len()).sum();
        k * (self.groups.len() as f64 * d * d * d + rows as f64 * (1.5 * d * d + 3.0 * d + 20.0))
    }

    /// The Gaussian that makes the cells most likely, of columns of about mean 0 and deviation 1; to a gain in nats a row, or
    /// after so many iterations.
    fn gaussian(&self, until: (usize, f64), effort: &mut Effort<'_>) -> Result<Mixture> {
        let d = self.dim;
        let unit = (0..d * d).map(|i| if i % (d + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let start = Mixture::new(vec![1.0], vec![0.0; d], unit)?;
        let none = Prior { covariance: vec![0.0; d * d], strength: 0.0 };
        // The first iteration is the fit where no cell is missing.
        let first = self.step(&start, &none)?.mixture;
        self.climb(first, &none, until, effort)
    }

    /// The rows and their weights, with a draw from the mixture in the place of each missing cell: where EM may begin.
    fn filled(&self, mixture: &Mixture, rng: &mut Rng) -> Result<(Vec<f64>, Vec<f64>)> {
        let d = self.dim;
        let (mut all, mut weights) = (Vec::new(), Vec::new());
        let sigmas: Vec<Vec<f64>> = (0..mixture.components()).map(|k| square(mixture.factor(k), d)).collect();
        for group in &self.groups {
            let (part, o) = (mixture.marginal(&group.kept)?, group.kept.len());
            let draws: Vec<f64> = group.weight.iter().map(|_| rng.random()).collect();
            let chosen = part.by_blocks(&group.x, |first, block, out| {
                out.extend((0..block.rows()).map(|lane| block.pick(lane, draws[first + lane])));
            });
            let ways: Vec<Conditional> =
                (0..part.components()).map(|k| Conditional::new(group, &sigmas[k], part.factor(k), d)).collect();
            let roots: Vec<Vec<f64>> = ways
                .iter()
                .map(|way| {
                    cholesky(&way.covariance, group.gone.len()).unwrap_or_else(|| vec![0.0; way.covariance.len()])
                })
                .collect();
            for (row, k) in group.x.chunks_exact(o).zip(chosen) {
                let (mut gap, m) = (vec![0.0; d], mixture.mean(k));
                let mut u: Vec<f64> = row.iter().zip(&group.kept).map(|(x, j)| x - m[*j]).collect();
                group.kept.iter().zip(&u).for_each(|(j, g)| gap[*j] = *g);
                solve_lower(part.factor(k), &mut u);
                let noise: Vec<f64> = group.gone.iter().map(|_| rng.sample::<f64, _>(Draw)).collect();
                for (a, j) in group.gone.iter().enumerate() {
                    let l = &roots[k][a * group.gone.len()..][..=a];
                    gap[*j] = ways[k].mean(a, &u) + l.iter().zip(&noise).map(|(l, e)| l * e).sum::<f64>();
                }
                all.extend(gap.iter().zip(m).map(|(g, m)| g + m));
            }
            weights.extend(&group.weight);
        }
        Ok((all, weights))
    }
}

/// The missing cells under a component, given those that are there.
struct Conditional {
    /// yᵢ = L_oo⁻¹ Σ_oi, `[gone, kept]`.
    slopes: Vec<f64>,
    /// C, `[gone, gone]`.
    covariance: Vec<f64>,
    kept: usize,
}

impl Conditional {
    /// Of a component with this covariance, whose part in the columns of the group has this factor.
    fn new(group: &Group, sigma: &[f64], factor: &[f64], d: usize) -> Self {
        let (kept, gone) = (group.kept.len(), group.gone.len());
        let mut slopes = Vec::with_capacity(kept * gone);
        for i in &group.gone {
            let mut y: Vec<f64> = group.kept.iter().map(|j| sigma[i * d + j]).collect();
            solve_lower(factor, &mut y);
            slopes.extend(y);
        }
        let row = |a: usize| &slopes[a * kept..][..kept];
        let entry = |a: usize, b: usize| {
            sigma[group.gone[a] * d + group.gone[b]] - row(a).iter().zip(row(b)).map(|(a, b)| a * b).sum::<f64>()
        };
        let covariance = (0..gone).flat_map(|a| (0..gone).map(move |b| (a, b))).map(|(a, b)| entry(a, b)).collect();
        Self { slopes, covariance, kept }
    }

    /// The mean of the missing cell `a`, from that of its component, where u = L_oo⁻¹ (x_o − m_o).
    fn mean(&self, a: usize, u: &[f64]) -> f64 {
        self.slopes[a * self.kept..][..self.kept].iter().zip(u).map(|(y, u)| y * u).sum()
    }
}

impl Group {
    /// Adds its rows, as much as they are those of component `k`, about the mean of that.
    fn add(&self, sums: &mut Sums, (mean, sigma): (&[f64], &[f64]), (part, k): (&Mixture, usize), logs: &[f64]) {
        let (d, o, factor, c) = (mean.len(), self.kept.len(), part.factor(k), part.log_norms[k]);
        let way = Conditional::new(self, sigma, factor, d);
        let (mut u, mut gap, mut shared) = (vec![0.0; o], vec![0.0; d], 0.0);
        for ((row, weight), log_prob) in self.x.chunks_exact(o).zip(&self.weight).zip(logs) {
            for ((u, x), j) in u.iter_mut().zip(row).zip(&self.kept) {
                *u = x - mean[*j];
                gap[*j] = *u;
            }
            solve_lower(factor, &mut u);
            let log = c - 0.5 * u.iter().map(|u| u * u).sum::<f64>() - log_prob;
            if log.is_nan() || log <= NEGLIGIBLE.ln() {
                continue;
            }
            let share = weight * log.exp();
            for (a, j) in self.gone.iter().enumerate() {
                gap[*j] = way.mean(a, &u);
            }
            shared += share;
            sums.first.iter_mut().zip(&gap).for_each(|(sum, g)| *sum += share * g);
            for i in 0..d {
                let weighted = share * gap[i];
                sums.second[i * d..=i * d + i].iter_mut().zip(&gap).for_each(|(sum, g)| *sum += weighted * g);
            }
        }
        sums.count += shared;
        let gone = self.gone.len();
        for (a, i) in self.gone.iter().enumerate() {
            for (b, j) in self.gone.iter().enumerate().take(a + 1) {
                sums.second[i * d + j] += shared * way.covariance[a * gone + b];
            }
        }
    }
}

/// L Lᵀ.
fn square(l: &[f64], d: usize) -> Vec<f64> {
    let entry = |i: usize, j: usize| (0..=i.min(j)).map(|a| l[i * d + a] * l[j * d + a]).sum::<f64>();
    (0..d * d).map(|at| entry(at / d, at % d)).collect()
}

/// The factor of a covariance; where columns determine each other a billionth of each variance is added to it.
fn root(mut covariance: Vec<f64>, d: usize) -> Result<Vec<f64>> {
    cholesky(&covariance, d).map_or_else(
        || {
            (0..d).for_each(|j| covariance[j * d + j] *= 1.0 + RIDGE);
            cholesky(&covariance, d).ok_or_else(singular)
        },
        Ok,
    )
}

/// −½ ν Σₖ (ln |Σₖ| + tr Ψ Σₖ⁻¹).
fn log_prior(mixture: &Mixture, prior: &Prior, d: usize) -> f64 {
    if prior.strength == 0.0 {
        return 0.0;
    }
    let one = |k: usize| {
        let l = mixture.factor(k);
        let log_det: f64 = (0..d).map(|i| 2.0 * l[i * d + i].ln()).sum();
        let root = cholesky(&prior.covariance, d).unwrap_or_else(|| vec![f64::NAN; d * d]);
        let column = |j: usize| {
            let mut u: Vec<f64> = (0..d).map(|i| root[i * d + j]).collect();
            solve_lower(l, &mut u);
            u.iter().map(|u| u * u).sum::<f64>()
        };
        log_det + (0..d).map(column).sum::<f64>()
    };
    -0.5 * prior.strength * (0..mixture.components()).map(one).sum::<f64>()
}
