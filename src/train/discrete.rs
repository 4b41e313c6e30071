//! Maximum likelihood of a discrete flow: the mean over rows of −log p(x), out of a single pass.

use std::ops::Range;

use super::Batch;
use super::loss::{Loss, LossGradient, Partial, Parts, Sums};
use crate::continuous::widened;
use crate::discrete::DiscreteSpec;
use crate::transform::{Cost, check_failures};
use crate::velocity::Scalar;
use crate::{Result, discrete};

/// The negative log-likelihood of the rows of a batch under a discrete flow.
pub(super) struct DiscreteLikelihood<'a, T> {
    flow: discrete::Likelihood<T>,
    batch: &'a Batch,
    dim: usize,
}

impl<'a, T: Scalar> DiscreteLikelihood<'a, T> {
    /// Of the flow of `spec` with parameters `theta`.
    ///
    /// # Errors
    /// As [`DiscreteSpec::validate`]; [`crate::Error::Parameters`] where θ does not fit; [`crate::Error::Degenerate`]
    /// for parameters that are not a bijection.
    pub fn new(spec: &DiscreteSpec, theta: &[T], batch: &'a Batch) -> Result<Self> {
        Ok(Self { flow: discrete::Likelihood::new(spec, theta)?, batch, dim: spec.dim })
    }
}

impl<T: Scalar> Loss<T> for DiscreteLikelihood<'_, T> {
    type Scratch = discrete::Scratch<T>;

    fn rows(&self) -> usize {
        self.batch.x.len() / self.dim
    }

    fn chunk_rows(&self) -> usize {
        self.flow.chunk_rows()
    }

    fn scratch(&self) -> discrete::Scratch<T> {
        self.flow.scratch()
    }

    fn chunk(&self, scratch: &mut discrete::Scratch<T>, rows: Range<usize>) -> Result<Partial<T>> {
        let Batch { x, c, .. } = self.batch;
        let found = self.flow.chunk(scratch, x, c, &rows, 1.0 / self.rows() as f64);
        let failed = found.lost.map(|row| rows.start + row);
        let failures = failed.map(|row| (row, self.flow.failure(x, c, row))).into_iter().collect();
        let sums = Sums { rows: rows.len() as f64, loss: found.nll, ..Sums::default() };
        Ok(Partial { sums, failures, gradient: found.own, gradient_f64: found.matrices })
    }

    /// A row without a density makes the whole loss infinite, and is an error.
    fn finish(&self, sum: Partial<T>) -> Result<LossGradient> {
        let failures = sum.failures.into_iter().take(1).collect();
        check_failures(&Cost { failures, ..Cost::default() }, self.rows())?;
        let nll = sum.sums.loss / sum.sums.rows;
        let gradient = widened(&self.flow.fold(sum.gradient, sum.gradient_f64));
        let parts = Parts { nll, kinetic: 0.0, jacobian: 0.0, nfe_mean: 0.0 };
        Ok(LossGradient { loss: T::of(nll).to_f64(), parts: Some(parts), gradient })
    }
}
