//! Flow matching: |m_θ(x_t, t) − u|² with x_t = a x + s z and u = a′ x + s′ z along a [`Path`]; on the straight one
//! x_t = (1 − t) z + t x and u = x − z.
//!
//! Ref: Lipman et al., *Flow matching for generative modeling* (2022), and Tong et al. (2023) with σ = 0. The loss
//! is the mean over rows and columns, each row counting by its time as [`TimeWeight`] has it. Loss and gradient come
//! out of one pass of the velocity.

use std::ops::Range;

use cnflow_solvers::lanes::{LANE_BLOCK, stride_for};
use cnflow_solvers::{At, Lanes, LanesMut};

use super::loss::{Loss, LossGradient, Partial, Sums};
use super::{Batch, Path, TimeWeight};
use crate::Result;
use crate::continuous::widened;
use crate::velocity::{self, Evaluator, Scalar, Trace, Velocity, check_device};

/// So many multiplications a weight make a net one whose weights are shared.
const SHARED: usize = 16;
/// Chunks of a batch of such a net, at most: each has a gradient of its own.
const MOST_CHUNKS: usize = 32;

/// The regression of a velocity on the pairs of a batch.
pub(super) struct Matching<'a, T> {
    pub velocity: &'a dyn Velocity<T>,
    pub path: Path,
    /// What a row counts by its time.
    pub weight: TimeWeight,
    /// The exponent with which times were drawn.
    pub time_exponent: f64,
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
    /// What the rows count, and that of their mean.
    counts: Vec<f64>,
    shares: Vec<T>,
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
    /// chunk's gradient is itself large. Where weights are shared by many places, as in a convolution, a row is much
    /// work and a gradient is small: chunks are then as small as a block of lanes, so that a batch of few rows is still
    /// divided.
    fn chunk_rows(&self) -> usize {
        chunk_rows(self.velocity, self.rows())
    }

    fn scratch(&self) -> Worker<'a, T> {
        let lanes = self.chunk_rows();
        let batch = velocity::Batch { condition: self.condition, keys: &[], trace: Trace::Exact, lanes };
        let stride = stride_for(lanes);
        let slots = || vec![T::ZERO; self.velocity.dim() * stride];
        let evaluator = self.velocity.evaluator(batch);
        let (counts, shares) = (vec![0.0; lanes], vec![T::ZERO; lanes]);
        Worker { evaluator, stride, x: slots(), target: slots(), v: slots(), v_bar: slots(), counts, shares }
    }

    fn chunk(&self, worker: &mut Worker<'a, T>, rows: Range<usize>) -> Result<Partial<T>> {
        let batch = self.batch;
        let (d, stride, lanes) = (self.velocity.dim(), worker.stride, rows.len());
        let mean = 1.0 / self.entries();
        for (l, row) in rows.clone().enumerate() {
            let t = batch.t[row];
            let counts = self.weight.of_row(self.path, self.time_exponent, t);
            (worker.counts[l], worker.shares[l]) = (counts, T::of(counts * mean));
            for j in 0..d {
                let (x_t, u) = self.path.through(batch.x[row * d + j], batch.z[row * d + j], t);
                worker.x[j * stride + l] = T::of(x_t);
                worker.target[j * stride + l] = T::of(u);
            }
        }
        let samples: Vec<usize> = rows.clone().collect();
        let mut gradient = vec![T::ZERO; worker.evaluator.grad_len()];
        let (mut loss, target, counts, shares) = (0.0, &worker.target, &worker.counts, &worker.shares);
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
                        loss += counts[l] * (off.to_f64() * off.to_f64());
                        bar[l] = shares[l] * (off + off);
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

/// Rows of a chunk of a batch of `n`, as [`Matching::chunk_rows`](Loss::chunk_rows).
pub(super) fn chunk_rows<T: Scalar>(velocity: &dyn Velocity<T>, n: usize) -> usize {
    let (params, work) = (velocity.n_params(), velocity.multiplications());
    if work >= SHARED * params.max(1) {
        return n.div_ceil(MOST_CHUNKS).next_multiple_of(LANE_BLOCK);
    }
    if params < 1 << 15 { 128 } else { 256 }
}

#[cfg(test)]
mod tests {
    use super::super::loss::{FixedTree, Reduce, evaluate};
    use super::*;
    use crate::rng::stream;
    use crate::transform::StandardNormal;
    use crate::velocity::{Activation, Mlp, MlpSpec, TimeInput};

    /// An MLP that passes for a net of shared weights.
    struct Shared(Mlp<f32>);

    impl Velocity<f32> for Shared {
        fn dim(&self) -> usize {
            self.0.dim()
        }
        fn condition_dim(&self) -> usize {
            0
        }
        fn n_params(&self) -> usize {
            self.0.n_params()
        }
        fn grad_len(&self) -> usize {
            self.0.grad_len()
        }
        fn fold_gradient(&self, gradient: &mut [f32]) {
            self.0.fold_gradient(gradient);
        }
        fn multiplications(&self) -> usize {
            100 * self.0.n_params()
        }
        fn evaluator<'a>(&'a self, batch: velocity::Batch<'a, f32>) -> Box<dyn Evaluator<f32> + 'a> {
            self.0.evaluator(batch)
        }
    }

    #[test]
    fn few_rows_of_a_net_of_shared_weights_are_divided_and_a_batch_decides_how() {
        let (activation, time) = (Activation::Silu, TimeInput::Plain);
        let spec = MlpSpec { dim: 2, condition_dim: 0, hidden: vec![8, 8], activation, time };
        let plain = Mlp::new(&spec, &spec.init(&mut stream(3, 0))).unwrap();
        let shared = Shared(plain.clone());
        for (n, of_shared) in [(1, 16), (32, 16), (256, 16), (512, 16), (513, 32), (4096, 128)] {
            let draw = |seed| StandardNormal::new(2).draw(n, &mut stream(seed, 0));
            let t = (0..n).map(|i| i as f64 / n as f64).collect();
            let batch = Batch { x: draw(1), z: draw(2), t, ..Batch::default() };
            let (path, weight, time_exponent) = (Path::Straight, TimeWeight::Inverse, 2.0);
            let of = |velocity| Matching { velocity, path, weight, time_exponent, batch: &batch, condition: &[] };
            let (one, other) = (of(&plain), of(&shared));
            // As it was before there were others: the bits of old runs depend on it.
            assert_eq!((one.chunk_rows(), other.chunk_rows()), (128, of_shared), "{n} rows");
            let chunks = cnflow_solvers::gradient::chunks(n, other.chunk_rows());
            let partials: Vec<_> = chunks.map(|rows| other.chunk(&mut other.scratch(), rows).unwrap()).collect();
            assert_eq!(
                other.finish(FixedTree.sum(partials.len(), Ok(partials)).unwrap()).unwrap(),
                evaluate(&other, &FixedTree).unwrap()
            );
        }
    }
}
