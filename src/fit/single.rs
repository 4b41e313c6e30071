//! One Gaussian by maximum likelihood, or with smaller correlations: the least that a density of the data must beat.
//!
//! m = Σᵢ xᵢ/n, Σ = Σᵢ (xᵢ − m)(xᵢ − m)ᵀ/n, by their weights where rows have some; or Σ = σ² I with σ given, where only m is fitted. No prior and no
//! iteration, unlike [`Mixture::fit`] with one component, whose prior is worth some rows.
//!
//! Of wide tables with few rows the correlations are mostly noise. Multiplied by a factor from 0 (the diagonal alone) to
//! 1 they make a Gaussian that held-out rows may prefer, and they choose the factor: [`Mixture::shrunk`].
//! Ref: Ledoit & Wolf, *A well-conditioned estimator for large-dimensional covariance matrices* (2004), for the form; an
//! intensity by their formula was refused, since it assumes finite fourth moments.

use crate::stats::Sample;
use crate::transform::mixture::Mixture;
use crate::transform::mixture::matrix::{cholesky, moments};
use crate::{Error, Result};

/// Added to each variance, as a part of it, where columns determine each other: as in the prior of [`Mixture::fit`].
const RIDGE: f64 = 1e-9;

/// The factors of the correlations that are tried.
pub(super) const FACTORS: [f64; 10] = [0.0, 0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.97, 0.99, 1.0];

/// Which parameters of a Gaussian are fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gaussian {
    /// Mean and covariance.
    Full,
    /// Mean and covariance, with correlations that are multiplied by a factor.
    Shrunk {
        /// The factor, from 0 to 1.
        factor: f64,
    },
    /// The mean alone.
    Fixed {
        /// The deviation of each column, above 0, in the data's units.
        sigma: f64,
    },
}

impl Mixture {
    /// The one Gaussian that makes the `rows` (`[n, dim]` row-major, with their weights where they have some) most
    /// likely. Where columns determine each other
    /// the likelihood has no bound; a billionth of each variance is then added to it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer than two rows (one, where σ is fixed), lengths that do not fit, numbers that are
    /// not finite, a constant column, a σ that is not a number above 0.
    pub fn gaussian<'a>(rows: impl Into<Sample<'a>>, dim: usize, kind: Gaussian) -> Result<Self> {
        let sample = rows.into();
        let rows = sample.x;
        if dim == 0 || !rows.len().is_multiple_of(dim) {
            let problem = format!("{} numbers are not whole rows of {dim} columns", rows.len());
            return Err(Error::invalid(problem, "give the rows as [n, dim], row-major"));
        }
        let (n, least) = (rows.len() / dim, if matches!(kind, Gaussian::Fixed { .. }) { 1 } else { 2 });
        if n < least {
            let hint = "give at least two rows, or one where the deviation is fixed";
            return Err(Error::invalid(format!("{} for a Gaussian", crate::words::count(n as u64, "row")), hint));
        }
        if let Some(i) = rows.iter().position(|x| !x.is_finite()) {
            let problem = format!("row {} has {} in column {} (counted from 0)", i / dim, rows[i], i % dim);
            return Err(Error::invalid(problem, "leave out rows with missing values"));
        }
        let weights = sample.scaled(dim);
        let (mean, std) = columns(rows, &weights, dim);
        let factor = match kind {
            Gaussian::Full => root(correlations(rows, &weights, &mean, &std)?, &std, 1.0)?,
            Gaussian::Shrunk { factor } if (0.0..=1.0).contains(&factor) => {
                root(correlations(rows, &weights, &mean, &std)?, &std, factor)?
            }
            Gaussian::Shrunk { factor } => {
                let problem = format!("correlations multiplied by {}", crate::words::exact(factor));
                return Err(Error::invalid(problem, "give a factor from 0 to 1"));
            }
            Gaussian::Fixed { sigma } if sigma > 0.0 && sigma.is_finite() => {
                (0..dim * dim).map(|i| if i % (dim + 1) == 0 { sigma } else { 0.0 }).collect()
            }
            Gaussian::Fixed { sigma } => {
                let problem = format!("a Gaussian of deviation {} has no density", crate::words::exact(sigma));
                return Err(Error::invalid(problem, "give a deviation above 0"));
            }
        };
        Self::new(vec![1.0], mean, factor)
    }

    /// The Gaussian of `rows` whose correlations are multiplied by the factor that the rows `valid` prefer, of ten from 0
    /// to 1; and the factor.
    ///
    /// # Errors
    /// As [`Mixture::gaussian`]; [`Error::Invalid`] without rows to choose by.
    pub fn shrunk<'a>(rows: impl Into<Sample<'a>>, valid: impl Into<Sample<'a>>, dim: usize) -> Result<(Self, f64)> {
        let (rows, valid) = (rows.into(), valid.into());
        // Checks the rows too.
        let first = Self::gaussian(rows, dim, Gaussian::Shrunk { factor: FACTORS[0] })?;
        let weights = rows.scaled(dim);
        let (mean, std) = columns(rows.x, &weights, dim);
        let correlation = correlations(rows.x, &weights, &mean, &std)?;
        let mut best: Option<(f64, Self, f64)> = None;
        for factor in FACTORS {
            let found = Self::new(vec![1.0], first.means().to_vec(), root(correlation.clone(), &std, factor)?)?;
            let score = crate::stats::weighted_mean_and_se(&found.log_prob_rows(valid.x), valid.weight).0;
            if score > best.as_ref().map_or(f64::NEG_INFINITY, |(best, ..)| *best) {
                best = Some((score, found, factor));
            }
        }
        best.map(|(_, found, factor)| (found, factor)).ok_or_else(|| {
            let problem = "there are no validation rows to choose the correlations of a Gaussian by";
            Error::invalid(problem, "hold rows out for validation, or take a full Gaussian")
        })
    }
}

/// Means and deviations of the columns of rows.
fn columns(rows: &[f64], weights: &[f64], dim: usize) -> (Vec<f64>, Vec<f64>) {
    let column = |j: usize| rows.iter().skip(j).step_by(dim).copied().zip(weights.iter().copied());
    (0..dim).map(|j| crate::stats::weighted_moments(column(j))).unzip()
}

/// The correlations of the columns of rows with these means and deviations, `[d, d]`.
fn correlations(rows: &[f64], weights: &[f64], mean: &[f64], std: &[f64]) -> Result<Vec<f64>> {
    let d = mean.len();
    if let Some(j) = std.iter().position(|s| *s == 0.0) {
        let hint = "leave out the constant column: it has no density";
        let value = crate::words::exact(mean[j]);
        let problem = format!("column {j} is constant: {value} in every row (columns are counted from 0)");
        return Err(Error::invalid(problem, hint));
    }
    let mut scaled = rows.to_vec();
    for row in scaled.chunks_exact_mut(d) {
        row.iter_mut().zip(mean).zip(std).for_each(|((x, m), s)| *x = (*x - m) / s);
    }
    Ok(moments(&scaled, d, weights).1)
}

/// The Cholesky factor of a covariance, from the correlations: those are of order 1 whatever the units of the columns and
/// however far their means lie from 0. They are multiplied by `shrink`.
fn root(mut correlation: Vec<f64>, std: &[f64], shrink: f64) -> Result<Vec<f64>> {
    let d = std.len();
    if shrink != 1.0 {
        correlation.iter_mut().enumerate().filter(|(i, _)| i % (d + 1) != 0).for_each(|(_, c)| *c *= shrink);
    }
    let factor = match cholesky(&correlation, d) {
        Some(factor) => factor,
        None => {
            (0..d).for_each(|j| correlation[j * d + j] *= 1.0 + RIDGE);
            let hint = "leave out a column that others determine";
            cholesky(&correlation, d).ok_or_else(|| Error::invalid("the covariance of the rows is singular", hint))?
        }
    };
    Ok(factor.iter().enumerate().map(|(i, l)| l * std[i / d]).collect())
}
