//! Gaussians and mixtures of rows with missing cells: in units of the columns' deviations, with shrunk correlations, and with
//! the number of components that the cells of held-out rows prefer.

use super::{Gapped, Prior, root, square};
use crate::fit::Chosen;
use crate::fit::effort::{Effort, EmOptions};
use crate::fit::single::FACTORS;
use crate::stats::{Sample, weighted_mean_and_se, weighted_moments};
use crate::transform::mixture::Mixture;
use crate::{Error, Result, Rng};

/// One Gaussian is at its best where an iteration gains less than this, in nats a row, or after so many of them; where mixtures
/// begin at it less will do.
const CONVERGED: (usize, f64) = (2000, 1e-10);
const NEAR: (usize, f64) = (100, 1e-5);
/// The numbers of components that are tried, one for eight rows at most; after so many without a gain it ends.
const LADDER: [usize; 15] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512];
const ROWS: usize = 8;
const MISSES: usize = 3;
/// Iterations on a rung over rows that are filled in, and then over the cells that are there.
const FILLED: usize = 10;
const RUNG: usize = 40;
/// Iterations between two scores of the held-out rows.
const POLISH: usize = 10;

/// The mean and the deviation of each column's cells, by the weights of their rows.
///
/// # Errors
/// [`Error::Invalid`] for a column without cells, and for a constant one.
pub fn present_moments(rows: Sample<'_>, d: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let weights = rows.scaled(d);
    let mut moments = Vec::with_capacity(d);
    for j in 0..d {
        let cells = || rows.x.iter().skip(j).step_by(d).copied().zip(weights.iter().copied()).filter(|c| !c.0.is_nan());
        let (mean, std) = weighted_moments(cells());
        if cells().next().is_none() {
            let problem = format!("column {j} has no value in any row (columns are counted from 0)");
            return Err(Error::invalid(problem, "leave out the column"));
        }
        if std == 0.0 || std.is_nan() {
            let value = crate::words::exact(mean);
            let problem = format!("column {j} is constant: {value} in every row (columns are counted from 0)");
            return Err(Error::invalid(problem, "leave out the constant column: it has no density"));
        }
        moments.push((mean, std));
    }
    Ok(moments.into_iter().unzip())
}

/// Units of the columns' deviations, counted from their means.
struct Units {
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Units {
    fn of(rows: Sample<'_>, d: usize) -> Result<Self> {
        let (mean, std) = present_moments(rows, d)?;
        Ok(Self { mean, std })
    }

    fn scaled(&self, x: &[f64]) -> Vec<f64> {
        let d = self.mean.len();
        x.iter().enumerate().map(|(i, v)| (v - self.mean[i % d]) / self.std[i % d]).collect()
    }

    fn back(&self, mixture: &Mixture) -> Result<Mixture> {
        let (mean, std) = (&self.mean, &self.std);
        let d = mean.len();
        let means = mixture.means().iter().enumerate().map(|(i, m)| mean[i % d] + std[i % d] * m).collect();
        let factors = mixture.factors().iter().enumerate().map(|(i, l)| l * std[i / d % d]).collect();
        Mixture::new(mixture.weights().to_vec(), means, factors)
    }
}

impl Mixture {
    /// The one Gaussian that makes the cells of `rows` (`[n, dim]`, NaN where one is missing) most likely; `stop` is called
    /// before each iteration, and ends the fit early.
    ///
    /// # Errors
    /// As [`Gapped::new`], and for a constant column.
    pub fn gaussian_of_gaps(rows: Sample<'_>, dim: usize, stop: &mut dyn FnMut() -> bool) -> Result<Self> {
        let units = Units::of(rows, dim)?;
        let x = units.scaled(rows.x);
        let gapped = Gapped::new(Sample { x: &x, ..rows }, dim)?;
        units.back(&gapped.gaussian(CONVERGED, &mut Effort::new(f64::INFINITY, stop))?)
    }

    /// As [`Mixture::gaussian_of_gaps`], with the correlations multiplied by the factor that the cells of `valid` prefer, of
    /// ten from 0 to 1; and the factor.
    ///
    /// # Errors
    /// As [`Mixture::gaussian_of_gaps`]; [`Error::Invalid`] without rows to choose by.
    pub fn shrunk_of_gaps(
        rows: Sample<'_>,
        valid: Sample<'_>,
        dim: usize,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<(Self, f64)> {
        let full = Self::gaussian_of_gaps(rows, dim, stop)?;
        let deviation = |i: usize| full.factor(0)[i * dim..][..dim].iter().map(|l| l * l).sum::<f64>().sqrt();
        let std: Vec<f64> = (0..dim).map(deviation).collect();
        let unit: Vec<f64> = full.factor(0).iter().enumerate().map(|(i, l)| l / std[i / dim]).collect();
        let correlation = square(&unit, dim);
        let mut best: Option<(f64, Self, f64)> = None;
        for factor in FACTORS {
            let shrink = |(i, c): (usize, &f64)| if i % (dim + 1) == 0 { *c } else { factor * c };
            let l = root(correlation.iter().enumerate().map(shrink).collect(), dim)?;
            let l = l.iter().enumerate().map(|(i, l)| l * std[i / dim]).collect();
            let found = Self::new(vec![1.0], full.means().to_vec(), l)?;
            let score = held_out(&found, valid, dim)?;
            if score > best.as_ref().map_or(f64::NEG_INFINITY, |(best, ..)| *best) {
                best = Some((score, found, factor));
            }
        }
        best.map(|(_, found, factor)| (found, factor)).ok_or_else(|| {
            let problem = "there are no validation rows to choose the correlations of a Gaussian by";
            Error::invalid(problem, "hold rows out for validation, or take a full Gaussian")
        })
    }

    /// Mixtures of 1, 2, 3, 4, 6, … components of `train`, whose cells may be missing (NaN), and of them the one with the
    /// least NLL of the cells of `valid`. Each begins at rows whose missing cells are drawn from the best one so far.
    /// `options.components`, `options.strength`, `options.iterations`, `options.tolerance` and `options.work` count as in
    /// [`Mixture::choose`]; `stop` is called before each iteration and ends the fit early.
    ///
    /// # Errors
    /// As [`Mixture::gaussian_of_gaps`]; [`Error::Invalid`] without validation rows.
    pub fn choose_of_gaps(
        train: Sample<'_>,
        valid: Sample<'_>,
        dim: usize,
        options: &EmOptions,
        rng: &mut Rng,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Chosen> {
        if dim == 0 || valid.x.iter().all(|v| v.is_nan()) {
            return Err(Error::invalid("there are no validation rows to choose a mixture by", "give at least one row"));
        }
        let units = Units::of(train, dim)?;
        let (inner, outer) = (units.scaled(train.x), units.scaled(valid.x));
        let (train, valid) = (Sample { x: &inner, ..train }, Sample { x: &outer, ..valid });
        let log_volume: f64 = units.std.iter().map(|s| s.ln()).sum();
        let gapped = Gapped::new(train, dim)?;
        let mut effort = Effort::new(options.work, stop);
        let first = gapped.gaussian(NEAR, &mut effort)?;
        let pooled = square(first.factor(0), dim);
        let prior = |components: usize| Prior {
            covariance: pooled.iter().map(|v| v * (components as f64).powf(-2.0 / dim as f64)).collect(),
            strength: options.strength,
        };
        let mut best = (-held_out(&first, valid, dim)?, first);
        let mut table = vec![(1, best.0 + log_volume)];
        let (n, mut misses) = (gapped.groups.iter().map(|group| group.weight.len()).sum::<usize>(), 0);
        let rungs = LADDER.into_iter().skip(1).take_while(|k| *k <= options.components && ROWS * k <= n);
        for components in rungs {
            if misses == MISSES || !effort.allows(gapped.cost(components)) {
                break;
            }
            let (x, weight) = gapped.filled(&best.1, rng)?;
            let few = EmOptions { components, iterations: FILLED, ..options.clone() };
            let start = Self::fit_within(Sample { x: &x, weight: &weight }, dim, &few, rng, &mut effort)?;
            let found = gapped.climb(start, &prior(components), (RUNG, options.tolerance), &mut effort)?;
            let nll = -held_out(&found, valid, dim)?;
            table.push((found.components(), nll + log_volume));
            misses += 1;
            if nll < best.0 {
                (best, misses) = ((nll, found), 0);
            }
        }
        // The best goes on while held-out cells gain.
        let prior = prior(best.1.components());
        while best.1.components() > 1 && effort.allows(gapped.cost(best.1.components())) {
            let found = gapped.climb(best.1.clone(), &prior, (POLISH, 0.1 * options.tolerance), &mut effort)?;
            let nll = -held_out(&found, valid, dim)?;
            table.push((found.components(), nll + log_volume));
            // A gain that is none to round-off ends it.
            let gain = best.0 - nll;
            if gain > 0.0 {
                best = (nll, found);
            }
            if gain.is_nan() || gain < 0.1 * options.tolerance {
                break;
            }
        }
        Ok(Chosen { mixture: units.back(&best.1)?, table })
    }
}

/// Mean log p of the cells of some rows; rows without any count nothing.
fn held_out(mixture: &Mixture, rows: Sample<'_>, d: usize) -> Result<f64> {
    let logs = mixture.log_prob_present(rows.x)?;
    let some: Vec<usize> = (0..rows.x.len() / d).filter(|i| !logs[*i].is_nan()).collect();
    let (logs, weight) = Sample { x: &logs, weight: rows.weight }.pick(1, &some);
    Ok(weighted_mean_and_se(&logs, &weight).0)
}
