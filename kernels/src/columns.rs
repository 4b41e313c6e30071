//! The products of a single lane: vectors run across the outputs of a matrix, not across lanes.
//!
//! A tile is computed in whole blocks of 16 lanes, so that one lane costs as much as 16. Here a *column* is what one
//! lane has in its rows, one number after the other: y\[o\] = Σₖ w\[o\]\[k\] x\[k\] + b\[o\] for 8 outputs at a time. The sum
//! of each output begins at the bias and runs over k in order, as in [`product`](crate::product::product), and each
//! step rounds once, so that a lane has the same bits by either way. Both read the same [`Panels`].
//!
//! The sums of one column wait for each other: up to eight vectors of outputs at a time hide that. A lane and two of
//! its tangents share what they read of the matrix, which is then read once for three products.

#![allow(unsafe_code)]

use cnflow_solvers::Real;

use crate::activation::{self, Act, Activation};
use crate::product::{PANEL, Panels};
use crate::simd::{Isa, Kernel, Scalar, Vector, dispatch};

/// Columns that share what is read of a matrix: with four vectors of each, all sums stay in registers.
pub const TOGETHER: usize = 3;
/// Vectors of each of several columns; of a lone one twice as many.
const FOUR: usize = 4;
/// Partial sums of a dot, as in [`lanewise`](crate::lanewise::dot).
const PARTS: usize = 4;

/// A few columns of `rows` rows, each padded with numbers that nobody reads to whole panels.
#[derive(Clone, Debug)]
pub struct Columns<T> {
    rows: usize,
    /// From one column to the next.
    stride: usize,
    data: Vec<T>,
}

impl<T: Scalar> Columns<T> {
    /// Zeros, `count` columns.
    pub fn new(rows: usize, count: usize) -> Self {
        let stride = rows.next_multiple_of(PANEL);
        Self { rows, stride, data: vec![T::ZERO; stride * count] }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// A column.
    pub fn column(&self, index: usize) -> &[T] {
        &self.padded(index)[..self.rows]
    }

    /// A column.
    pub fn column_mut(&mut self, index: usize) -> &mut [T] {
        let rows = self.rows;
        &mut self.padded_mut(index)[..rows]
    }

    fn padded(&self, index: usize) -> &[T] {
        &self.data[index * self.stride..][..self.stride]
    }

    fn padded_mut(&mut self, index: usize) -> &mut [T] {
        &mut self.data[index * self.stride..][..self.stride]
    }
}

/// A matrix with its bias, of an operation whose first `active` inputs are differentiated.
#[derive(Clone, Copy, Debug)]
pub struct ColumnFactor<'a, T> {
    /// The matrix.
    pub matrix: &'a Panels<T>,
    /// One a row, padded to whole panels.
    pub bias: &'a [T],
    /// How many of its leading columns a tangent uses.
    pub active: usize,
}

/// What the columns of a product are: with `value` the first one is that of a lane, which gets the bias; the others
/// are tangents, which multiply the first `depth` columns of the matrix, without a bias.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The first column is that of a value.
    pub value: bool,
    /// The number of tangents behind it; with the value at most [`TOGETHER`].
    pub tangents: usize,
}

impl Pass {
    /// A value alone.
    pub const VALUE: Self = Self { value: true, tangents: 0 };

    fn count(self) -> usize {
        usize::from(self.value) + self.tangents
    }
}

/// Columns 0.. of `y` ← those of the product with the columns of `x`, with the bias for a value.
///
/// Where a value and tangents are together, x has as many active rows as rows.
///
/// # Panics
/// Where the columns, the bias or the matrix is too small.
pub fn product<T: Scalar>(isa: Isa, factor: ColumnFactor<'_, T>, x: &Columns<T>, y: &mut Columns<T>, pass: Pass) {
    let ColumnFactor { matrix, bias, active } = factor;
    let (rows, cols) = matrix.size();
    let count = pass.count();
    assert!((1..=TOGETHER).contains(&count) && active <= cols);
    assert!(pass.tangents == 0 || !pass.value || active == cols, "a value and tangents of different depths");
    let depth = if pass.value { cols } else { active };
    let bias = if pass.value { bias } else { &[] };
    assert!(!pass.value || bias.len() >= rows.next_multiple_of(PANEL));
    assert!(x.rows >= depth && x.data.len() >= count * x.stride);
    assert!(y.rows == rows && y.data.len() >= count * y.stride);
    dispatch(isa, Product { matrix, depth, bias, x, y, count });
}

struct Product<'a, T> {
    matrix: &'a Panels<T>,
    depth: usize,
    /// Of the first column; empty for none.
    bias: &'a [T],
    x: &'a Columns<T>,
    y: &'a mut Columns<T>,
    count: usize,
}

impl<T: Scalar> Kernel<T> for Product<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(mut self) {
        match self.count {
            1 => self.columns::<V, 1, 2>(),
            2 => self.columns::<V, 2, 1>(),
            _ => self.columns::<V, TOGETHER, 1>(),
        }
    }
}

impl<T: Scalar> Product<'_, T> {
    /// All rows of `C` columns, `Q` times four vectors of them at a time.
    #[inline(always)]
    fn columns<V: Vector<Elem = T>, const C: usize, const Q: usize>(&mut self) {
        let vectors = self.matrix.size().0.div_ceil(PANEL) * (PANEL / V::WIDTH);
        let mut from = 0;
        while vectors - from >= Q * FOUR {
            self.stripe::<V, C, Q, FOUR>(from);
            from += Q * FOUR;
        }
        match vectors - from {
            1 => self.stripe::<V, C, 1, 1>(from),
            2 => self.stripe::<V, C, 1, 2>(from),
            3 => self.stripe::<V, C, 1, 3>(from),
            4 => self.stripe::<V, C, 2, 2>(from),
            5 => self.stripe::<V, C, 1, 5>(from),
            6 => self.stripe::<V, C, 2, 3>(from),
            7 => self.stripe::<V, C, 1, 7>(from),
            _ => {}
        }
    }

    /// `Q · P` vectors of rows from vector `from` on, of `C` columns.
    ///
    /// Loops over more than four vectors, and closures, would keep the sums in memory.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "loops of constant length over several arrays, which stay in registers"
    )]
    fn stripe<V: Vector<Elem = T>, const C: usize, const Q: usize, const P: usize>(&mut self, from: usize) {
        let (cols, per, whole) = (self.matrix.size().1, PANEL / V::WIDTH, self.matrix.panel(0).as_ptr());
        let mut sums = [[[V::splat(T::ZERO); P]; Q]; C];
        let mut w = [[whole; P]; Q];
        for q in 0..Q {
            for p in 0..P {
                let vector = from + q * P + p;
                w[q][p] = whole.wrapping_add(vector / per * PANEL * cols + vector % per * V::WIDTH);
                if !self.bias.is_empty() {
                    sums[0][q][p] = V::read(self.bias, vector * V::WIDTH);
                }
            }
        }
        let mut x = [whole; C];
        for c in 0..C {
            x[c] = self.x.padded(c).as_ptr();
        }
        for k in 0..self.depth {
            // SAFETY: `product` checked that x has `depth` rows in `C` columns; the matrix has `cols` ≥ `depth` steps
            // of a panel in each of its panels, and `columns` counts the vectors of these.
            unsafe {
                let mut now = [V::splat(T::ZERO); C];
                for c in 0..C {
                    now[c] = V::splat(*x[c].add(k));
                }
                for q in 0..Q {
                    for p in 0..P {
                        let w = V::load(w[q][p].add(k * PANEL));
                        for c in 0..C {
                            sums[c][q][p] = w.fma(now[c], sums[c][q][p]);
                        }
                    }
                }
            }
        }
        for c in 0..C {
            let y = self.y.padded_mut(c);
            for q in 0..Q {
                for p in 0..P {
                    sums[c][q][p].write(y, (from + q * P + p) * V::WIDTH);
                }
            }
        }
    }
}

/// Column 0 of `h` ← σ of it, and column 0 of `first` ← σ′.
///
/// # Panics
/// Where `first` has other rows than `h`.
pub fn activate<T: Scalar>(isa: Isa, activation: Activation, h: &mut Columns<T>, first: Option<&mut Columns<T>>) {
    let rows = h.rows;
    let h = h.padded_mut(0);
    let first = match first {
        None => &mut [],
        Some(first) => {
            assert_eq!(first.rows, rows, "rows of the derivative");
            first.padded_mut(0)
        }
    };
    match activation {
        Activation::Tanh => dispatch(isa, Activate { act: activation::Tanh, h, first }),
        Activation::Softplus => dispatch(isa, Activate { act: activation::Softplus, h, first }),
        Activation::Silu => dispatch(isa, Activate { act: activation::Silu, h, first }),
        Activation::Elu => dispatch(isa, Activate { act: activation::Elu, h, first }),
        Activation::Relu => dispatch(isa, Activate { act: activation::Relu, h, first }),
    }
}

struct Activate<'a, T, A> {
    act: A,
    h: &'a mut [T],
    /// As long as h, or empty.
    first: &'a mut [T],
}

impl<T: Scalar, A: Act> Kernel<T> for Activate<'_, T, A> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { act, h, first } = self;
        if first.is_empty() {
            for h in h.chunks_exact_mut(V::WIDTH) {
                act.jet(V::read(h, 0)).value.write(h, 0);
            }
            return;
        }
        for (h, first) in h.chunks_exact_mut(V::WIDTH).zip(first.chunks_exact_mut(V::WIDTH)) {
            let jet = act.jet(V::read(h, 0));
            jet.value.write(h, 0);
            jet.first.write(first, 0);
        }
    }
}

/// Columns `from` to `from + count` of `y` ← themselves times column 0 of `by`, row by row.
///
/// # Panics
/// Where there are not so many columns, or `by` has other rows.
pub fn times<T: Scalar>(isa: Isa, y: &mut Columns<T>, by: &Columns<T>, from: usize, count: usize) {
    assert_eq!(y.rows, by.rows, "rows of the factor");
    for column in from..from + count {
        dispatch(isa, Times { y: y.padded_mut(column), by: by.padded(0) });
    }
}

struct Times<'a, T> {
    y: &'a mut [T],
    by: &'a [T],
}

impl<T: Scalar> Kernel<T> for Times<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        for (y, by) in self.y.chunks_exact_mut(V::WIDTH).zip(self.by.chunks_exact(V::WIDTH)) {
            V::read(y, 0).mul(V::read(by, 0)).write(y, 0);
        }
    }
}

/// Σᵣ a\[r\] b\[r\], in the order of [`lanewise::dot`](crate::lanewise::dot).
///
/// # Panics
/// For slices of two lengths.
pub fn dot<T: Scalar>(isa: Isa, a: &[T], b: &[T]) -> T {
    assert_eq!(a.len(), b.len(), "rows of a dot");
    let mut out = T::ZERO;
    dispatch(isa, Dot { a, b, out: &mut out });
    out
}

struct Dot<'a, T> {
    a: &'a [T],
    b: &'a [T],
    out: &'a mut T,
}

impl<T: Scalar> Kernel<T> for Dot<'_, T> {
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "a loop of constant length over three arrays")]
    fn run<V: Vector<Elem = T>>(self) {
        let mut sums = [T::ZERO; PARTS];
        let (a, b) = (self.a.chunks_exact(PARTS), self.b.chunks_exact(PARTS));
        let last = (a.remainder(), b.remainder());
        for (a, b) in a.zip(b) {
            for part in 0..PARTS {
                sums[part] = Real::mul_add(a[part], b[part], sums[part]);
            }
        }
        for part in 0..last.0.len() {
            sums[part] = Real::mul_add(last.0[part], last.1[part], sums[part]);
        }
        let [a, b, c, d] = sums;
        *self.out = (a + b) + (c + d);
    }
}

#[cfg(test)]
mod tests;
