//! Columns to zero mean and unit variance, as part of the model: densities stay in the data's own units.

use super::bijection::check_rows;
use super::{Bijection, Mapped};
use crate::stats::{Sample, moments, weighted_moments};
use crate::{Error, Result};

/// x = mean + std ∘ y, column by column.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardise {
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Standardise {
    /// With given moments.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a deviation is not a positive number or the lengths differ.
    pub fn new(mean: Vec<f64>, std: Vec<f64>) -> Result<Self> {
        if mean.len() != std.len() || mean.is_empty() {
            return Err(Error::Dimension {
                what: "the list of deviations".into(),
                expected: mean.len(),
                found: std.len(),
            });
        }
        if let Some(i) = (0..std.len()).find(|i| !(std[*i] > 0.0 && std[*i].is_finite() && mean[*i].is_finite())) {
            return Err(if std[i] == 0.0 {
                let value = crate::words::exact(mean[i]);
                Error::invalid(
                    format!(
                        "column {i} is constant: its mean is {value} and its deviation 0 (columns are counted from 0)"
                    ),
                    "leave out the constant column: it has no density",
                )
            } else {
                let (mean, std) = (mean[i], std[i]);
                let problem =
                    format!("column {i} has mean {mean:e} and deviation {std:e} (columns are counted from 0)");
                Error::invalid(
                    problem,
                    "give the column in another unit: both must be finite, and the deviation above 0",
                )
            });
        }
        Ok(Self { mean, std })
    }

    /// The moments of rows `[n, dim]`, with their weights where they have some.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a constant column or fewer than two rows.
    pub fn fit<'a>(rows: impl Into<Sample<'a>>, dim: usize) -> Result<Self> {
        let Sample { x, weight } = rows.into();
        let n = x.len() / dim.max(1);
        if n < 2 {
            return Err(Error::invalid(format!("a variance needs two rows, not {n}"), "give at least two rows"));
        }
        let column = |j: usize| x.iter().skip(j).step_by(dim).copied();
        let of = |j: usize| match weight {
            [] => moments(column(j)),
            weight => weighted_moments(column(j).zip(weight.iter().copied())),
        };
        let (mean, std) = (0..dim).map(of).unzip();
        Self::new(mean, std)
    }

    /// The means, one a column.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The standard deviations, one a column.
    pub fn std(&self) -> &[f64] {
        &self.std
    }

    /// Standardises rows in place: the inverse, for plain numbers.
    pub fn standardise(&self, x: &mut [f64]) {
        for row in x.chunks_exact_mut(self.mean.len()) {
            row.iter_mut().zip(&self.mean).zip(&self.std).for_each(|((x, m), s)| *x = (*x - m) / s);
        }
    }

    /// Σ ln std.
    pub fn log_volume(&self) -> f64 {
        self.std.iter().map(|s| s.ln()).sum()
    }
}

impl Bijection for Standardise {
    fn dim(&self) -> usize {
        self.mean.len()
    }

    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        let n = check_rows(&rows.y, self.mean.len(), condition, 0)?;
        for row in rows.y.chunks_exact_mut(self.mean.len()) {
            row.iter_mut().zip(&self.mean).zip(&self.std).for_each(|((x, m), s)| *x = *x * s + m);
        }
        rows.add_logdet(std::iter::repeat_n(self.log_volume(), n));
        Ok(())
    }

    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        let n = check_rows(&rows.y, self.mean.len(), condition, 0)?;
        // (x − m)/s, not x/s − m/s: a mean far from 0 would cost its digits.
        self.standardise(&mut rows.y);
        rows.add_logdet(std::iter::repeat_n(-self.log_volume(), n));
        Ok(())
    }
}
