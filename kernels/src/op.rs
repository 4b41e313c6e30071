//! An operation of a net: affine in its input, y = L x + b, with parameters θ.
//!
//! What is not affine in a net is an activation, element by element, and [`Net`](crate::Net) has it behind an
//! operation, in the epilogue of its kernel. An operation therefore has no second derivative by x, and five functions
//! are all that a value, a tangent, the pull-backs of both and their gradients need. That the activation is the net's
//! is also what keeps a cotangent in registers from one operation to the next.

use crate::columns::ColumnFactor;
use crate::epilogue::{Epilogue, Output, WithEpilogue};
use crate::outer::{outer, row_sums};
use crate::product::{Factor, PANEL, Panels, product};
use crate::simd::{Isa, Scalar};
use crate::tile::In;

/// y = L x + b on tiles of lanes, L and b made of θ.
///
/// Columns never mix, a lane has the same bits wherever it stands, no call allocates, and every sum has a fixed order.
/// Tiles are `[rows, blocks of 16 lanes]`; the unused slots of a cotangent hold zeros, those of `x` hold numbers.
pub trait Op<T>: std::fmt::Debug + Send + Sync {
    /// Rows of x.
    fn inputs(&self) -> usize;
    /// The leading rows of x that are differentiated; of the others (time, a condition) no tangent and no cotangent is
    /// made.
    fn active(&self) -> usize {
        self.inputs()
    }
    /// Rows of y.
    fn outputs(&self) -> usize;
    /// The length of θ.
    fn n_params(&self) -> usize;
    /// Takes other parameters, in place. `theta` is [`Op::n_params`] long.
    fn set_params(&mut self, theta: &[T]);
    /// `out` ← L x + b.
    fn forward(&self, isa: Isa, x: In<'_, T>, blocks: usize, out: Output<'_, T>);
    /// `out` ← L ẋ, where ẋ has the active rows only.
    fn tangent(&self, isa: Isa, dx: In<'_, T>, blocks: usize, out: Output<'_, T>);
    /// `out` ← Lᵀ ȳ, the active rows only.
    fn transpose(&self, isa: Isa, y_bar: In<'_, T>, blocks: usize, out: Output<'_, T>);
    /// g += (∂(L x + b)/∂θ)ᵀ ȳ, summed over the lanes. `g` is [`Op::n_params`] long.
    fn gradient(&self, isa: Isa, x: In<'_, T>, y_bar: In<'_, T>, blocks: usize, g: &mut [T]);
    /// g += (∂(L ẋ)/∂θ)ᵀ ẏ̄, summed over the lanes, where ẋ has the active rows only: b has no part in a tangent.
    fn tangent_gradient(&self, isa: Isa, dx: In<'_, T>, dy_bar: In<'_, T>, blocks: usize, g: &mut [T]);
    /// L and b for the products of a few lanes ([`crate::columns`]); `None` where the operation is no matrix.
    fn columns(&self) -> Option<ColumnFactor<'_, T>> {
        None
    }
    /// A copy.
    fn boxed(&self) -> Box<dyn Op<T>>;
}

impl<T> Clone for Box<dyn Op<T>> {
    fn clone(&self) -> Self {
        (**self).boxed()
    }
}

/// y = W x + b; θ is W, `[outputs, inputs]` row-major, then b.
#[derive(Clone, Debug)]
pub struct Dense<T> {
    inputs: usize,
    active: usize,
    outputs: usize,
    forward: Panels<T>,
    back: Panels<T>,
    /// b, padded to whole panels.
    bias: Vec<T>,
}

impl<T: Scalar> Dense<T> {
    /// Zeros, with the first `active` inputs differentiated.
    pub fn new(inputs: usize, active: usize, outputs: usize) -> Self {
        Self {
            inputs,
            active,
            outputs,
            forward: Panels::new(outputs, inputs),
            back: Panels::new(active, outputs),
            bias: vec![T::ZERO; outputs.next_multiple_of(PANEL)],
        }
    }
}

impl<T: Scalar> Op<T> for Dense<T> {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn active(&self) -> usize {
        self.active
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn n_params(&self) -> usize {
        (self.inputs + 1) * self.outputs
    }

    fn set_params(&mut self, theta: &[T]) {
        let inputs = self.inputs;
        let (weight, bias) = theta.split_at(inputs * self.outputs);
        self.forward.pack(|o, k| weight[o * inputs + k]);
        self.back.pack(|k, o| weight[o * inputs + k]);
        self.bias[..self.outputs].copy_from_slice(bias);
    }

    fn forward(&self, isa: Isa, x: In<'_, T>, blocks: usize, out: Output<'_, T>) {
        out.apply(Product { isa, factor: Factor::new(&self.forward, x).plus(&self.bias), blocks });
    }

    fn tangent(&self, isa: Isa, dx: In<'_, T>, blocks: usize, out: Output<'_, T>) {
        out.apply(Product { isa, factor: Factor::new(&self.forward, dx).first(self.active), blocks });
    }

    fn transpose(&self, isa: Isa, y_bar: In<'_, T>, blocks: usize, out: Output<'_, T>) {
        out.apply(Product { isa, factor: Factor::new(&self.back, y_bar), blocks });
    }

    fn gradient(&self, isa: Isa, x: In<'_, T>, y_bar: In<'_, T>, blocks: usize, g: &mut [T]) {
        let (weight, bias) = g.split_at_mut(self.inputs * self.outputs);
        outer(isa, (y_bar, self.outputs), (x, self.inputs), blocks, weight, self.inputs);
        row_sums(isa, (y_bar, self.outputs), blocks, bias, 1);
    }

    fn tangent_gradient(&self, isa: Isa, dx: In<'_, T>, dy_bar: In<'_, T>, blocks: usize, g: &mut [T]) {
        let weight = &mut g[..self.inputs * self.outputs];
        outer(isa, (dy_bar, self.outputs), (dx, self.active), blocks, weight, self.inputs);
    }

    fn columns(&self) -> Option<ColumnFactor<'_, T>> {
        Some(ColumnFactor { matrix: &self.forward, bias: &self.bias, active: self.active })
    }

    fn boxed(&self) -> Box<dyn Op<T>> {
        Box::new(self.clone())
    }
}

struct Product<'a, T> {
    isa: Isa,
    factor: Factor<'a, T>,
    blocks: usize,
}

impl<T: Scalar> WithEpilogue<T> for Product<'_, T> {
    fn run<E: Epilogue<T>>(self, epilogue: E) {
        product(self.isa, self.factor, self.blocks, epilogue);
    }
}
