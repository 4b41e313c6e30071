//! The optimiser: Adam with decoupled decay of the weights.
//!
//! m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,
//! θ ← θ − η λ θ − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε).
//! Ref: Kingma & Ba, *Adam* (2015), algorithm 1; Loshchilov & Hutter, *Decoupled weight decay regularization* (2019).
//!
//! candle-nn has the same optimiser, but keeps its moments to itself: a run could not be taken up again where it
//! was left. Everything is f64, also where the net computes in f32: a step of 10⁻⁸ θ is not lost, and the one pass
//! over the arrays is cheap beside a batch.

/// β₁, β₂ and ε of the paper.
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPS: f64 = 1e-8;

/// The moments of the gradient.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AdamW {
    pub(super) m: Vec<f64>,
    pub(super) v: Vec<f64>,
    /// Steps taken.
    pub(super) steps: u64,
}

impl AdamW {
    pub(super) fn new(n: usize) -> Self {
        Self { m: vec![0.0; n], v: vec![0.0; n], steps: 0 }
    }

    /// One step along `scale` times the gradient.
    pub(super) fn step(&mut self, theta: &mut [f64], gradient: &[f64], scale: f64, lr: f64, decay: f64) {
        self.steps += 1;
        let t = self.steps.min(i32::MAX as u64) as i32;
        let (m_scale, v_scale) = (1.0 / (1.0 - BETA_1.powi(t)), 1.0 / (1.0 - BETA_2.powi(t)));
        let keep = 1.0 - lr * decay;
        let moments = self.m.iter_mut().zip(self.v.iter_mut());
        for ((w, g), (m, v)) in theta.iter_mut().zip(gradient).zip(moments) {
            let g = scale * g;
            *m = BETA_1 * *m + (1.0 - BETA_1) * g;
            *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
            *w = *w * keep - lr * (*m * m_scale) / ((*v * v_scale).sqrt() + EPS);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};
    use candle_nn::{AdamW as Oracle, Optimizer, ParamsAdamW};
    use rand::Rng as _;

    use super::*;

    #[test]
    fn steps_are_those_of_candle_nn() {
        let mut rng = crate::rng::stream(5, 0);
        let mut theta: Vec<f64> = (0..37).map(|_| rng.random_range(-1.0..1.0)).collect();
        let var = Var::from_slice(&theta, theta.len(), &Device::Cpu).unwrap();
        let decay = 0.03;
        let params = ParamsAdamW { weight_decay: decay, ..ParamsAdamW::default() };
        let mut oracle = Oracle::new(vec![var.clone()], params).unwrap();
        let mut ours = AdamW::new(theta.len());
        for step in 0..50 {
            let lr = 1e-2 / (1.0 + f64::from(step));
            let gradient: Vec<f64> = (0..theta.len()).map(|_| rng.random_range(-1.0..1.0)).collect();
            // A loss whose gradient is the one that was drawn.
            let slope = Tensor::from_slice(&gradient, gradient.len(), &Device::Cpu).unwrap();
            let loss = (var.as_tensor() * slope).unwrap().sum_all().unwrap();
            oracle.set_learning_rate(lr);
            oracle.backward_step(&loss).unwrap();
            ours.step(&mut theta, &gradient, 1.0, lr, decay);
        }
        for (a, b) in theta.iter().zip(var.to_vec1::<f64>().unwrap()) {
            // Two orders of the same operations, fifty times.
            assert!((a - b).abs() < 1e-13, "{a} against {b}");
        }
    }
}
