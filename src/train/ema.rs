//! An exponential moving average (EMA) of the weights: what is validated and saved.
//!
//! θ̄ ← β θ̄ + (1 − β) θ with β = min(decay, (1 + k)/(10 + k)) after k steps, so that the first steps of a short
//! run do not linger. Ref: Polyak & Juditsky (1992) for why an average is better than the last.

/// The average of θ.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ema {
    /// Steps averaged.
    pub(super) steps: u64,
    pub(super) theta: Vec<f64>,
}

impl Ema {
    pub(super) fn new(theta: &[f64]) -> Self {
        Self { steps: 0, theta: theta.to_vec() }
    }

    pub(super) fn update(&mut self, theta: &[f64], decay: f64) {
        let k = self.steps as f64;
        let keep = decay.min((1.0 + k) / (10.0 + k));
        self.steps += 1;
        self.theta.iter_mut().zip(theta).for_each(|(mean, w)| *mean += (1.0 - keep) * (w - *mean));
    }
}
