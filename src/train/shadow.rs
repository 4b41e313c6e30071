//! An exponential moving average of the weights: what is validated and saved.
//!
//! θ̄ ← β θ̄ + (1 − β) θ with β = min(decay, (1 + k)/(10 + k)) after k steps, so that the first steps of a short
//! run do not linger. Ref: Polyak & Juditsky (1992) for why an average is better than the last.

use candle_core::{DType, Tensor};

use crate::Result;

/// The average of θ.
pub(super) struct Shadow {
    decay: f64,
    steps: f64,
    /// In f64: a share of 1e-3 of an f32 loses a third of its digits.
    pub(super) theta: Vec<f64>,
}

impl Shadow {
    pub(super) fn new(theta: &Tensor, decay: f64) -> Result<Self> {
        Ok(Self { decay, steps: 0.0, theta: theta.to_dtype(DType::F64)?.to_vec1()? })
    }

    pub(super) fn follow(&mut self, theta: &Tensor) -> Result<()> {
        let keep = self.decay.min((1.0 + self.steps) / (10.0 + self.steps));
        self.steps += 1.0;
        let pull = |mean: &mut f64, w: f64| *mean += (1.0 - keep) * (w - *mean);
        match theta.dtype() {
            DType::F64 => self.theta.iter_mut().zip(theta.to_vec1::<f64>()?).for_each(|(mean, w)| pull(mean, w)),
            _ => self.theta.iter_mut().zip(theta.to_vec1::<f32>()?).for_each(|(mean, w)| pull(mean, w.into())),
        }
        Ok(())
    }
}
