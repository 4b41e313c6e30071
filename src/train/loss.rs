//! A loss over a batch, as partial gradients of fixed chunks of rows, and their sum along a fixed tree.
//!
//! Which rows make a chunk depends on the batch and the loss alone, a [`Partial`] on its chunk alone, and a [`Reduce`]
//! adds partials in their order along one tree. So the bits of a gradient do not depend on who computes which chunk:
//! threads here, or processes that send their partials. Nothing else in a training sums gradients.

use std::ops::Range;

use cnflow_solvers::gradient::chunks;
use rayon::prelude::*;

use crate::error::Failure;
use crate::velocity::Scalar;
use crate::{Error, Result};

/// What a loss is the sum of, and what it took: means over the rows that arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts {
    /// −log p of the preprocessed data, in nats: the part that is not a penalty.
    pub nll: f64,
    /// ∫ |m|² dt; 0 where it has no weight and is not computed.
    pub kinetic: f64,
    /// ∫ ‖∂m/∂x‖² dt; 0 where it has no weight.
    pub jacobian: f64,
    /// Velocity evaluations of a row, forward.
    pub nfe_mean: f64,
}

/// What the rows of a chunk add to a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial<T> {
    /// Over the rows of the chunk.
    pub sums: Sums,
    /// Rows that have no loss, counted in the batch, and why.
    pub failures: Vec<(usize, Failure)>,
    /// The derivatives of the batch's mean loss, in the precision of the net: by θ or by what [`Loss::finish`] makes
    /// them of.
    pub gradient: Vec<T>,
    /// Those that are summed in f64 whatever the net computes in; empty where there are none.
    pub gradient_f64: Vec<f64>,
}

/// Sums over rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Rows that count.
    pub rows: f64,
    /// The loss, without penalties.
    pub loss: f64,
    /// ∫ |m|² dt.
    pub kinetic: f64,
    /// ∫ ‖∂m/∂x‖² dt.
    pub jacobian: f64,
    /// Velocity evaluations, those of rows that failed included.
    pub nfe: f64,
}

/// A loss and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct LossGradient {
    /// The mean over rows.
    pub loss: f64,
    /// What it is the sum of, where it is a likelihood.
    pub parts: Option<Parts>,
    /// By θ, `[n_params]`.
    pub gradient: Vec<f64>,
}

/// A loss of a batch, bound to its weights.
pub trait Loss<T: Scalar>: Sync {
    /// What a caller of [`Loss::chunk`] keeps from one chunk to the next.
    type Scratch;

    /// The rows of the batch.
    fn rows(&self) -> usize;

    /// The rows of a chunk; the last one may have fewer.
    fn chunk_rows(&self) -> usize;

    /// Scratch for one thread.
    fn scratch(&self) -> Self::Scratch;

    /// What the rows of a chunk add, a function of these rows alone.
    ///
    /// # Errors
    /// Any error of a solver. A row that fails is listed in the partial.
    fn chunk(&self, scratch: &mut Self::Scratch, rows: Range<usize>) -> Result<Partial<T>>;

    /// The loss and its gradient out of the sum of all partials.
    ///
    /// # Errors
    /// [`Error::Failed`] where too many rows have no loss.
    fn finish(&self, sum: Partial<T>) -> Result<LossGradient>;
}

impl<T: Scalar> Partial<T> {
    /// Whether `other` is a partial of the same loss.
    pub(super) fn fits(&self, other: &Self) -> bool {
        (self.gradient.len(), self.gradient_f64.len()) == (other.gradient.len(), other.gradient_f64.len())
    }

    /// Adds what the chunks behind these ones have.
    pub(super) fn add(&mut self, right: Self) {
        let (left, sums) = (&mut self.sums, right.sums);
        left.rows += sums.rows;
        left.loss += sums.loss;
        left.kinetic += sums.kinetic;
        left.jacobian += sums.jacobian;
        left.nfe += sums.nfe;
        self.failures.extend(right.failures);
        self.gradient.iter_mut().zip(right.gradient).for_each(|(left, right)| *left += right);
        self.gradient_f64.iter_mut().zip(right.gradient_f64).for_each(|(left, right)| *left += right);
    }
}

/// Adds up partials along a binary tree over all chunks of a batch.
pub trait Reduce<T: Scalar> {
    /// The chunks that this process computes, of so many.
    fn share(&self, chunks: usize) -> Range<usize> {
        0..chunks
    }

    /// The sum over all `chunks`, from the partials of this process's share in their order, or from the error of the
    /// first of them that failed.
    ///
    /// # Errors
    /// That error; of several processes, the first one's.
    fn sum(&self, chunks: usize, partials: Result<Vec<Partial<T>>>) -> Result<Partial<T>>;
}

/// The chunks of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedTree;

impl<T: Scalar> Reduce<T> for FixedTree {
    fn sum(&self, _chunks: usize, partials: Result<Vec<Partial<T>>>) -> Result<Partial<T>> {
        partials.map(tree)
    }
}

/// The sum of at least one partial along the fixed tree.
pub(super) fn tree<T: Scalar>(partials: Vec<Partial<T>>) -> Partial<T> {
    let mut nodes: Vec<Option<Partial<T>>> = partials.into_iter().map(Some).collect();
    let mut gap = 1;
    while gap < nodes.len() {
        for left in (0..nodes.len() - gap).step_by(2 * gap) {
            let right = nodes[left + gap].take();
            if let (Some(left), Some(right)) = (&mut nodes[left], right) {
                left.add(right);
            }
        }
        gap *= 2;
    }
    let none = Partial { sums: Sums::default(), failures: Vec::new(), gradient: Vec::new(), gradient_f64: Vec::new() };
    nodes.into_iter().next().flatten().unwrap_or(none)
}

/// The loss and its gradient, this process's chunks spread over rayon's current pool.
///
/// # Errors
/// [`Error::Invalid`] for a batch without rows; as [`Loss::chunk`], the first chunk's error first, and
/// [`Loss::finish`].
pub fn evaluate<T: Scalar, L: Loss<T>>(loss: &L, reduce: &impl Reduce<T>) -> Result<LossGradient> {
    if loss.rows() == 0 {
        return Err(Error::invalid("a loss of 0 rows", "give a batch of at least 1 row"));
    }
    let ranges: Vec<_> = chunks(loss.rows(), loss.chunk_rows()).collect();
    let share = ranges[reduce.share(ranges.len())].par_iter();
    let partials: Vec<Result<Partial<T>>> =
        share.map_init(|| loss.scratch(), |scratch, rows| loss.chunk(scratch, rows.clone())).collect();
    // The first chunk's error first.
    let partials = partials.into_iter().collect();
    loss.finish(reduce.sum(ranges.len(), partials)?)
}

#[cfg(test)]
mod tests {
    use super::super::discrete::DiscreteLikelihood;
    use super::super::likelihood::Likelihood;
    use super::super::matching::Matching;
    use super::super::{Batch, LossContext, Path, TimeWeight};
    use super::*;
    use crate::continuous::{SolverSpec, narrowed};
    use crate::discrete::{Kind, Plan};
    use crate::rng::stream;
    use crate::transform::StandardNormal;
    use crate::velocity::{Activation, MlpSpec, Number, TimeInput, VelocitySpec};

    /// Every chunk on its own, the last one first.
    fn apart<T: Scalar>(loss: &impl Loss<T>) -> LossGradient {
        let ranges: Vec<_> = chunks(loss.rows(), loss.chunk_rows()).collect();
        assert!(ranges.len() > 4);
        let one = |rows: &Range<usize>| loss.chunk(&mut loss.scratch(), rows.clone()).unwrap();
        let mut partials: Vec<_> = ranges.iter().rev().map(one).collect();
        partials.reverse();
        loss.finish(FixedTree.sum(ranges.len(), Ok(partials)).unwrap()).unwrap()
    }

    fn check<T: Number>() {
        let (activation, time) = (Activation::Silu, TimeInput::Plain);
        let mlp = MlpSpec { dim: 2, condition_dim: 0, hidden: vec![8, 8], activation, time };
        let spec = VelocitySpec::Mlp(mlp);
        let weights = |init: Vec<f32>| narrowed::<T>(&init.into_iter().map(f64::from).collect::<Vec<f64>>());
        let n = 700;
        let draw = |seed| StandardNormal::new(2).draw(n, &mut stream(seed, 0));
        let t = (0..n).map(|i| i as f64 / n as f64).collect();
        let batch = Batch { x: draw(1), z: draw(2), t, ..Batch::default() };
        let velocity = spec.bind_here::<T>(&weights(spec.init(&mut stream(3, 0)))).unwrap();

        let (path, weight, time_exponent) = (Path::Straight, TimeWeight::Likelihood, 2.0);
        let matching = Matching { velocity: &*velocity, path, weight, time_exponent, batch: &batch, condition: &[] };
        assert_eq!(apart(&matching), evaluate(&matching, &FixedTree).unwrap());

        let context = LossContext { kinetic: 0.1, ..LossContext::new(spec.clone(), SolverSpec::default()) };
        let x = narrowed(&batch.x);
        let likelihood = Likelihood::new(&context, &spec, &*velocity, &batch, (&x, &[])).unwrap();
        assert_eq!(apart(&likelihood), evaluate(&likelihood, &FixedTree).unwrap());

        let plan = Plan { depth: 2, hidden: vec![8, 8], ..Plan::usual(Kind::Glow, 2) };
        let spec = plan.spec(&mut stream(4, 0)).unwrap();
        let discrete = DiscreteLikelihood::new(&spec, &weights(spec.init(&mut stream(5, 0))), &batch).unwrap();
        assert_eq!(apart(&discrete), evaluate(&discrete, &FixedTree).unwrap());
    }

    #[test]
    fn chunks_computed_apart_and_in_another_order_have_the_bits_of_one_call() {
        check::<f32>();
        check::<f64>();
    }
}
