//! Flow matching: |m_θ(x_t, t) − u|² with x_t = a x + s z and u = a′ x + s′ z along a [`Path`]; on the straight one
//! x_t = (1 − t) z + t x and u = x − z.
//!
//! Ref: Lipman et al., *Flow matching for generative modeling* (2022), and Tong et al. (2023) with σ = 0. The loss
//! is the mean over rows and columns. Loss and gradient come out of one pass of the velocity.

use std::ops::Range;

use cnflow_solvers::lanes::stride_for;
use cnflow_solvers::{At, Lanes, LanesMut};

use super::loss::{Loss, LossGradient, Partial, Sums};
use super::{Batch, Path};
use crate::Result;
use crate::continuous::widened;
use crate::velocity::{self, Evaluator, Scalar, Trace, Velocity, check_device};

/// The regression of a velocity on the pairs of a batch.
pub(super) struct Matching<'a, T> {
    pub velocity: &'a dyn Velocity<T>,
    pub path: Path,
    pub batch: &'a Batch,
    /// The batch's conditions in the velocity's precision.
    pub condition: &'a [T],
}

/// An evaluator with the tiles it reads and writes.
pub(super) struct Worker<'a, T> {
    evaluator: Box<dyn Evaluator<T> + 'a>,
    /// Slots of a row of the tiles.
    stride: usize,
    x: Vec<T>,
    target: Vec<T>,
    v: Vec<T>,
    v_bar: Vec<T>,
}

impl<T: Scalar> Matching<'_, T> {
    /// The numbers that the mean is taken over.
    fn entries(&self) -> f64 {
        (self.batch.t.len() * self.velocity.dim()) as f64
    }
}

impl<'a, T: Scalar> Loss<T> for Matching<'a, T> {
    type Scratch = Worker<'a, T>;

    fn rows(&self) -> usize {
        self.batch.t.len()
    }

    /// Few enough to stay in the second-level cache with their activations and to feed several threads; more where each
    /// chunk's gradient is itself large.
    fn chunk_rows(&self) -> usize {
        if self.velocity.n_params() < 1 << 15 { 128 } else { 256 }
    }

    fn scratch(&self) -> Worker<'a, T> {
        let lanes = self.chunk_rows();
        let batch = velocity::Batch { condition: self.condition, keys: &[], trace: Trace::Exact, lanes };
        let stride = stride_for(lanes);
        let slots = || vec![T::ZERO; self.velocity.dim() * stride];
        let evaluator = self.velocity.evaluator(batch);
        Worker { evaluator, stride, x: slots(), target: slots(), v: slots(), v_bar: slots() }
    }

    fn chunk(&self, worker: &mut Worker<'a, T>, rows: Range<usize>) -> Result<Partial<T>> {
        let batch = self.batch;
        let (d, stride, lanes) = (self.velocity.dim(), worker.stride, rows.len());
        for (l, row) in rows.clone().enumerate() {
            let t = batch.t[row];
            for j in 0..d {
                let (x_t, u) = self.path.through(batch.x[row * d + j], batch.z[row * d + j], t);
                worker.x[j * stride + l] = T::of(x_t);
                worker.target[j * stride + l] = T::of(u);
            }
        }
        let samples: Vec<usize> = rows.clone().collect();
        let mut gradient = vec![T::ZERO; worker.evaluator.grad_len()];
        let weight = T::of(1.0 / self.entries());
        let (mut loss, target) = (0.0, &worker.target);
        worker.evaluator.value_and_gradient(
            At::new(&batch.t[rows], &samples),
            Lanes::new(&worker.x, d, lanes, stride),
            LanesMut::new(&mut worker.v, d, lanes, stride),
            LanesMut::new(&mut worker.v_bar, d, lanes, stride),
            &mut |v, mut v_bar| {
                for j in 0..d {
                    let (v, target, bar) = (v.row(j), &target[j * stride..], v_bar.row_mut(j));
                    for l in 0..lanes {
                        let off = v[l] - target[l];
                        loss += off.to_f64() * off.to_f64();
                        bar[l] = weight * (off + off);
                    }
                }
            },
            &mut gradient,
        );
        check_device(self.velocity)?;
        let sums = Sums { rows: lanes as f64, loss, ..Sums::default() };
        Ok(Partial { sums, failures: Vec::new(), gradient, gradient_f64: Vec::new() })
    }

    fn finish(&self, sum: Partial<T>) -> Result<LossGradient> {
        let (mut gradient, n) = (sum.gradient, self.velocity.n_params());
        // No trace was requested, so there is as a rule nothing to fold; folding zeros would cost H² d.
        if gradient[n..].iter().any(|extra| *extra != T::ZERO) {
            self.velocity.fold_gradient(&mut gradient);
        }
        // In the velocity's precision: a loss beyond its range is not finite.
        let loss = T::of(sum.sums.loss / self.entries()).to_f64();
        Ok(LossGradient { loss, parts: None, gradient: widened(&gradient[..n]) })
    }
}
