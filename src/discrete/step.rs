//! What the layers share: the direction, the lanes of a block, and what a pull-back uses of the pass.

use cnflow_kernels::{Scalar, Tile};
use cnflow_solvers::lanes::LANE_BLOCK;

/// The direction through a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the latent's side to the data's.
    Forward,
    /// From the data's side to the latent's.
    Inverse,
}

/// The lanes of one row in one block.
pub(super) type Slots = [f64; LANE_BLOCK];

/// Where a layer's pull-back puts the derivatives by its parameters.
pub(super) struct Gradient<'a, T> {
    /// By its part of θ, or what the layer's `fold` makes them of.
    pub own: &'a mut [T],
    /// By the matrix of a linear layer; empty for others.
    pub matrix: &'a mut [f64],
    /// By the condition, where it is wanted.
    pub condition: Option<ConditionBar<'a, T>>,
}

/// The derivatives by the condition, `[c, lanes]`.
pub(super) struct ConditionBar<'a, T> {
    /// What layers add to.
    pub sum: &'a mut Tile<f64>,
    /// Of one net.
    pub of_net: &'a mut Tile<T>,
}

impl<T: Scalar> ConditionBar<'_, T> {
    /// Adds that of the net to the sum.
    pub fn add(self, blocks: usize) {
        for block in 0..blocks {
            for row in 0..self.of_net.rows() {
                let by_net = self.of_net.at(block, row);
                self.sum.at_mut(block, row).iter_mut().zip(by_net).for_each(|(sum, by)| *sum += by.to_f64());
            }
        }
    }
}

/// What a layer's pull-back uses of the pass.
pub(super) struct Step<'a> {
    pub way: Way,
    pub blocks: usize,
    /// The states between which the layer stood.
    pub before: &'a Tile<f64>,
    pub after: &'a Tile<f64>,
    /// The cotangent of the log-determinant.
    pub logdet_bar: &'a Tile<f64>,
    /// The lanes in use: the others have no part in any gradient.
    pub lanes: usize,
}

/// How many slots of a block hold rows.
pub(super) fn in_use(block: usize, lanes: usize) -> usize {
    lanes.saturating_sub(block * LANE_BLOCK).min(LANE_BLOCK)
}
