//! The derivatives by inputs of a net that are not active, such as a condition.
//!
//! A net's pull-back leaves them out, for hardly anybody asks. Their columns of a first dense operation's matrix times
//! the cotangent of what that operation makes are the derivatives: one dot an input.

use std::ops::Range;

use super::Workspace;
use crate::lanewise::{Operand, dot};
use crate::{Isa, Scalar, Tile};

/// The columns of some inputs in the matrix of a first dense operation.
#[derive(Clone, Debug)]
pub struct Passive<T> {
    /// Which of the `width` inputs.
    inputs: Range<usize>,
    width: usize,
    outputs: usize,
    /// `[inputs, outputs]`.
    columns: Vec<T>,
}

impl<T: Scalar> Passive<T> {
    /// Of the inputs in this range, of the `width` inputs of an operation with so many outputs; zeros.
    pub fn new(inputs: Range<usize>, width: usize, outputs: usize) -> Self {
        let columns = vec![T::ZERO; inputs.len() * outputs];
        Self { inputs, width, outputs, columns }
    }

    /// How many inputs.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Takes the columns from θ, which begins with the matrix `[outputs, width]`, in place.
    pub fn set(&mut self, theta: &[T]) {
        for (column, j) in self.columns.chunks_exact_mut(self.outputs.max(1)).zip(self.inputs.clone()) {
            for (o, w) in column.iter_mut().enumerate() {
                *w = theta[o * self.width + j];
            }
        }
    }

    /// `out`, `[inputs, lanes]`, ← the derivatives by them of what the last [`Net::run_back`](super::Net::run_back) with
    /// this workspace pulled back.
    ///
    /// # Panics
    /// For a workspace or a tile of other sizes.
    pub fn back(&self, isa: Isa, ws: &Workspace<T>, out: &mut Tile<T>) {
        let bar = ws.entry_bar();
        for (i, column) in self.columns.chunks_exact(self.outputs.max(1)).enumerate() {
            dot(isa, Operand::Fixed(column), bar.read(), self.outputs, ws.blocks, out.write_from(i), false);
        }
    }
}
