//! The optimiser: Adam with decoupled decay of the weights.
//!
//! m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,
//! θ ← θ − η λ θ − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε).
//! Ref: Kingma & Ba, *Adam* (2015), algorithm 1; Loshchilov & Hutter, *Decoupled weight decay regularization* (2019).
//!
//! candle-nn has the same optimiser, but its moments are private: a run could not resume from its
//! checkpoint. Everything is f64, also where the net computes in f32: a step of 10⁻⁸ θ is not lost, and the one pass
//! over the arrays is cheap beside a batch.

use std::ops::Range;

/// β₁, β₂ and ε of the paper.
pub(super) const BETAS: [f64; 2] = [0.9, 0.999];
const EPS: f64 = 1e-8;

/// How far a step goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSize {
    /// η.
    pub lr: f64,
    /// λ.
    pub decay: f64,
    /// β₁ and β₂.
    pub betas: [f64; 2],
}

impl StepSize {
    /// With the paper's β₁ and β₂.
    pub fn new(lr: f64, decay: f64) -> Self {
        Self { lr, decay, betas: BETAS }
    }
}

/// The optimiser's state: moments of the gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    pub(super) m: Vec<f64>,
    pub(super) v: Vec<f64>,
    /// Steps taken.
    pub(super) steps: u64,
}

impl AdamW {
    /// Before the first step, for `n` weights.
    pub fn new(n: usize) -> Self {
        Self { m: vec![0.0; n], v: vec![0.0; n], steps: 0 }
    }

    /// One step along `scale` times the gradient; `theta` and `gradient` have one entry a weight.
    pub fn step(&mut self, theta: &mut [f64], gradient: &[f64], scale: f64, size: StepSize) {
        let all = 0..theta.len();
        self.step_in(std::slice::from_ref(&all), theta, gradient, scale, size);
    }

    /// A step of the weights in these ranges alone.
    pub(super) fn step_in(
        &mut self,
        ranges: &[Range<usize>],
        theta: &mut [f64],
        gradient: &[f64],
        scale: f64,
        size: StepSize,
    ) {
        let StepSize { lr, decay, betas: [beta_1, beta_2] } = size;
        self.steps += 1;
        let t = self.steps.min(i32::MAX as u64) as i32;
        let (m_scale, v_scale) = (1.0 / (1.0 - beta_1.powi(t)), 1.0 / (1.0 - beta_2.powi(t)));
        let keep = 1.0 - lr * decay;
        for range in ranges.iter().cloned() {
            let moments = self.m[range.clone()].iter_mut().zip(&mut self.v[range.clone()]);
            for ((w, g), (m, v)) in theta[range.clone()].iter_mut().zip(&gradient[range]).zip(moments) {
                let g = scale * g;
                *m = beta_1 * *m + (1.0 - beta_1) * g;
                *v = beta_2 * *v + (1.0 - beta_2) * g * g;
                *w = *w * keep - lr * (*m * m_scale) / ((*v * v_scale).sqrt() + EPS);
            }
        }
    }
}
