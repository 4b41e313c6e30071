//! Units in which sums of squares do not lose digits.
//!
//! A fit works on covariances. Of a column of 1e9 ± 1e-3 they keep few digits, and of one of 1e±200 none. Such rows are
//! fitted in units of the columns' deviations, counted from their means, and the mixture is brought back.

use crate::Result;
use crate::transform::Standardise;
use crate::transform::mixture::Mixture;

/// Deviations whose squares, and sums of as many squares as there may be rows, are far from the ends of the range.
const PLAIN: std::ops::RangeInclusive<f64> = 1e-100..=1e100;
/// A mean of so many deviations costs a square half of its digits.
const FAR: f64 = 1e6;

/// Units of the columns' deviations, counted from their means.
pub(crate) struct Units(Standardise);

impl Units {
    /// The units that rows `[n, d]` need; none where they are fitted as they are.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a constant column.
    pub fn needed(x: &[f64], d: usize) -> Result<Option<Self>> {
        let column = |j: usize| x.iter().skip(j).step_by(d).copied();
        let (mean, std): (Vec<f64>, Vec<f64>) = (0..d).map(|j| crate::stats::moments(column(j))).unzip();
        let plain = mean.iter().zip(&std).all(|(m, s)| s.is_nan() || (PLAIN.contains(s) && m.abs() <= FAR * s));
        if plain { Ok(None) } else { Ok(Some(Self(Standardise::new(mean, std)?))) }
    }

    /// Rows in these units.
    pub fn of(&self, x: &[f64]) -> Vec<f64> {
        let mut scaled = x.to_vec();
        self.0.standardise(&mut scaled);
        scaled
    }

    /// Σ ln std: what a negative log-likelihood is larger in the data's units.
    pub fn log_volume(&self) -> f64 {
        self.0.log_volume()
    }

    /// A mixture of rows in these units, in those of the data.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) where a number leaves the range.
    pub fn back(&self, mixture: &Mixture) -> Result<Mixture> {
        let (mean, std) = (self.0.mean(), self.0.std());
        let d = mean.len();
        let means = mixture.means().iter().enumerate().map(|(i, m)| mean[i % d] + std[i % d] * m).collect();
        let factors = mixture.factors().iter().enumerate().map(|(i, l)| l * std[i / d % d]).collect();
        Mixture::new(mixture.weights().to_vec(), means, factors)
    }
}
