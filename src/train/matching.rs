//! Flow matching: |m_θ(x_t, t) − u|² with x_t = a x + s z and u = a′ x + s′ z along a [`Path`]; on the straight one
//! x_t = (1 − t) z + t x and u = x − z.
//!
//! Ref: Lipman et al., *Flow matching for generative modeling* (2022), and Tong et al. (2023) with σ = 0. The loss
//! is the mean over rows and columns.
//!
//! Loss and gradient come out of one pass of the fused kernel, so the whole batch is one node of candle's
//! graph and its backward pass a multiplication. Rows are taken in fixed chunks and the chunks' gradients
//! added along a fixed tree: the bits do not depend on the number of threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor, WithDType};
use cnf_solvers::gradient::{chunks, tree_sum};
use cnf_solvers::lanes::stride_for;
use cnf_solvers::{At, Lanes, LanesMut};
use rayon::prelude::*;

use super::{Batch, Path, Scene};
use crate::Result;
use crate::flow::VelocitySpec;
use crate::velocity::{self, Evaluator, Scalar, Trace, Velocity};

/// Rows of a chunk: few enough to stay in the second-level cache with their activations and to feed several
/// threads; more where each chunk's gradient is itself large.
fn chunk_rows(n_params: usize) -> usize {
    if n_params < 1 << 15 { 128 } else { 256 }
}

/// The loss of a batch, as a scalar of θ's precision.
pub(super) fn loss(scene: &Scene, theta: &Tensor, batch: &Batch) -> Result<Tensor> {
    let op = Regression {
        velocity: scene.core.velocity()?.clone(),
        path: scene.path,
        batch: batch.clone(),
        gradient: Mutex::new(None),
    };
    Ok(theta.contiguous()?.apply_op1(op)?)
}

/// The regression of a batch, and after it the gradient.
struct Regression {
    velocity: VelocitySpec,
    path: Path,
    batch: Batch,
    gradient: Mutex<Option<Tensor>>,
}

/// An evaluator with the tiles it reads and writes.
struct Worker<'a, T> {
    evaluator: Box<dyn Evaluator<T> + 'a>,
    /// Slots of a row of the tiles.
    stride: usize,
    x: Vec<T>,
    target: Vec<T>,
    v: Vec<T>,
    v_bar: Vec<T>,
}

impl<'a, T: Scalar> Worker<'a, T> {
    fn new(velocity: &'a dyn Velocity<T>, condition: &'a [T], lanes: usize) -> Self {
        let batch = velocity::Batch { condition, keys: &[], trace: Trace::Exact, lanes };
        let stride = stride_for(lanes);
        let slots = || vec![T::ZERO; velocity.dim() * stride];
        Self { evaluator: velocity.evaluator(batch), stride, x: slots(), target: slots(), v: slots(), v_bar: slots() }
    }

    /// The sum of squares over the rows of a chunk, and the gradient of `weight` times it.
    fn chunk(&mut self, path: Path, batch: &Batch, rows: Range<usize>, weight: T) -> (f64, Vec<T>) {
        let (d, stride, lanes) = (self.evaluator.dim(), self.stride, rows.len());
        for (l, row) in rows.clone().enumerate() {
            let t = batch.t[row];
            for j in 0..d {
                let (x_t, u) = path.through(batch.x[row * d + j], batch.z[row * d + j], t);
                self.x[j * stride + l] = T::of(x_t);
                self.target[j * stride + l] = T::of(u);
            }
        }
        let samples: Vec<usize> = rows.clone().collect();
        let mut gradient = vec![T::ZERO; self.evaluator.grad_len()];
        let (mut sum, target) = (0.0, &self.target);
        self.evaluator.value_and_gradient(
            At::new(&batch.t[rows], &samples),
            Lanes::new(&self.x, d, lanes, stride),
            LanesMut::new(&mut self.v, d, lanes, stride),
            LanesMut::new(&mut self.v_bar, d, lanes, stride),
            &mut |v, mut v_bar| {
                for j in 0..d {
                    let (v, target, bar) = (v.row(j), &target[j * stride..], v_bar.row_mut(j));
                    for l in 0..lanes {
                        let off = v[l] - target[l];
                        sum += off.wide() * off.wide();
                        bar[l] = weight * (off + off);
                    }
                }
            },
            &mut gradient,
        );
        (sum, gradient)
    }
}

impl Regression {
    fn run<T: Scalar + WithDType>(&self, theta: &[T]) -> Result<(T, Tensor)> {
        let (velocity, d) = (self.velocity.bind(theta, &Device::Cpu)?, self.velocity.dim());
        let entries = self.batch.t.len() * d;
        let lanes = chunk_rows(theta.len());
        let condition: Vec<T> = self.batch.c.iter().map(|c| T::of(*c)).collect();
        let weight = T::of(1.0 / entries as f64);
        let ranges: Vec<_> = chunks(self.batch.t.len(), lanes).collect();
        let parts: Vec<(f64, Vec<T>)> = ranges
            .into_par_iter()
            .map_init(
                || Worker::new(&*velocity, &condition, lanes),
                |worker, rows| worker.chunk(self.path, &self.batch, rows, weight),
            )
            .collect();
        let (sums, gradients): (Vec<f64>, Vec<Vec<T>>) = parts.into_iter().unzip();
        let mut gradient = tree_sum(gradients);
        // Nothing asked for a trace, so there is as a rule nothing to fold; folding zeros would cost H² d.
        if gradient[theta.len()..].iter().any(|extra| *extra != T::ZERO) {
            velocity.fold_gradient(&mut gradient);
        }
        gradient.truncate(theta.len());
        let loss = sums.iter().sum::<f64>() / entries as f64;
        Ok((T::of(loss), Tensor::from_vec(gradient, theta.len(), &candle_core::Device::Cpu)?))
    }

    fn forward<T: Scalar + WithDType>(&self, theta: &CpuStorage, layout: &Layout) -> candle_core::Result<T> {
        let Some((from, to)) = layout.contiguous_offsets() else { candle_core::bail!("θ is not contiguous") };
        let theta = &theta.as_slice::<T>()?[from..to];
        let (loss, gradient) = self.run(theta).map_err(|e| candle_core::Error::Msg(e.to_string()))?;
        *self.gradient.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradient);
        Ok(loss)
    }
}

impl CustomOp1 for Regression {
    fn name(&self) -> &'static str {
        "flow matching"
    }

    fn cpu_fwd(&self, theta: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let loss = match theta {
            CpuStorage::F64(_) => CpuStorage::F64(vec![self.forward::<f64>(theta, layout)?]),
            _ => CpuStorage::F32(vec![self.forward::<f32>(theta, layout)?]),
        };
        Ok((loss, Shape::from(())))
    }

    fn bwd(&self, _theta: &Tensor, _loss: &Tensor, bar: &Tensor) -> candle_core::Result<Option<Tensor>> {
        match &*self.gradient.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(gradient) => Ok(Some(gradient.broadcast_mul(bar)?)),
            None => candle_core::bail!("a regression was pulled back before it was run"),
        }
    }
}
