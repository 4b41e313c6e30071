//! One Gaussian by maximum likelihood: the least that a density of the data must beat.
//!
//! m = Σᵢ xᵢ/n, Σ = Σᵢ (xᵢ − m)(xᵢ − m)ᵀ/n; or Σ = σ² I with σ given, where only m is learnt. No prior and no iteration,
//! unlike [`Mixture::fit`] with one component, whose prior is worth some rows.

use super::Mixture;
use super::matrix::{cholesky, moments};
use crate::{Error, Result};

/// Added to each variance, as a part of it, where columns determine each other: as in the prior of [`Mixture::fit`].
const RIDGE: f64 = 1e-9;

/// What of a Gaussian is learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gaussian {
    /// Mean and covariance.
    Full,
    /// The mean alone.
    Fixed {
        /// The deviation of each column, above 0, in the data's units.
        sigma: f64,
    },
}

impl Mixture {
    /// The one Gaussian that makes the `rows` (`[n, dim]` row-major) most likely. Where columns determine each other the
    /// likelihood has no bound; a billionth of each variance is then added to it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer than two rows (one, where σ is fixed), lengths that do not fit, numbers that are not
    /// finite or whose squares are not, a constant column, a σ that is not a number above 0.
    pub fn gaussian(rows: &[f64], dim: usize, kind: Gaussian) -> Result<Self> {
        if dim == 0 || !rows.len().is_multiple_of(dim) {
            let problem = format!("{} numbers are no rows of {dim} columns", rows.len());
            return Err(Error::invalid(problem, "give the rows as [n, dim], row-major"));
        }
        let (n, least) = (rows.len() / dim, if kind == Gaussian::Full { 2 } else { 1 });
        if n < least {
            let hint = "give at least two rows, or one where the deviation is fixed";
            return Err(Error::invalid(format!("{n} rows for a Gaussian"), hint));
        }
        if let Some(i) = rows.iter().position(|x| !x.is_finite()) {
            let problem = format!("row {} has {} in column {}", i / dim, rows[i], i % dim);
            return Err(Error::invalid(problem, "leave out rows with missing values"));
        }
        let (mean, covariance) = moments(rows, dim);
        let factor = match kind {
            Gaussian::Full => root(&mean, covariance)?,
            Gaussian::Fixed { sigma } if sigma > 0.0 && sigma.is_finite() => {
                (0..dim * dim).map(|i| if i % (dim + 1) == 0 { sigma } else { 0.0 }).collect()
            }
            Gaussian::Fixed { sigma } => {
                let problem = format!("a Gaussian of deviation {sigma} has no density");
                return Err(Error::invalid(problem, "give a deviation above 0"));
            }
        };
        Self::new(vec![1.0], mean, factor)
    }
}

/// The Cholesky factor of a covariance.
fn root(mean: &[f64], mut covariance: Vec<f64>) -> Result<Vec<f64>> {
    let d = mean.len();
    for j in 0..d {
        let variance = covariance[j * d + j];
        if !variance.is_finite() {
            let problem = format!("the variance of column {j} is {variance}");
            return Err(Error::invalid(problem, "scale the column: its squares are no numbers"));
        }
        // Equal numbers leave round-off behind, not zero.
        if variance.sqrt() <= 1e-12 * mean[j].abs() || variance == 0.0 {
            let hint = "a constant column has no density: leave it out";
            return Err(Error::invalid(format!("column {j} is constant"), hint));
        }
    }
    if let Some(factor) = cholesky(&covariance, d) {
        return Ok(factor);
    }
    (0..d).for_each(|j| covariance[j * d + j] *= 1.0 + RIDGE);
    let hint = "leave out a column that others determine";
    cholesky(&covariance, d).ok_or_else(|| Error::invalid("the covariance of the rows is singular", hint))
}
