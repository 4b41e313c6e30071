//! An exponential moving average of the weights: what is validated and saved.
//!
//! θ̄ ← β θ̄ + (1 − β) θ with β = min(decay, (1 + k)/(10 + k)) after k steps, so that the first steps of a short
//! run do not linger. Ref: Polyak & Juditsky (1992) for why an average is better than the last.

use cnf_solvers::Real;

/// The average of θ.
pub(super) struct Shadow {
    decay: f64,
    steps: f64,
    /// In f64: a share of 1e-3 of an f32 loses a third of its digits.
    pub(super) theta: Vec<f64>,
}

impl Shadow {
    pub(super) fn new<T: Real>(theta: &[T], decay: f64) -> Self {
        Self { decay, steps: 0.0, theta: theta.iter().map(|w| w.wide()).collect() }
    }

    pub(super) fn follow<T: Real>(&mut self, theta: &[T]) {
        let keep = self.decay.min((1.0 + self.steps) / (10.0 + self.steps));
        self.steps += 1.0;
        self.theta.iter_mut().zip(theta).for_each(|(mean, w)| *mean += (1.0 - keep) * (w.wide() - *mean));
    }
}
