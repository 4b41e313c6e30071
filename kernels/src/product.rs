//! The product of a matrix with a tile: y\[o\]\[l\] = Σₖ w\[o\]\[k\] x\[k\]\[l\] + b\[o\], and what becomes of it.
//!
//! A micro-tile is 4 outputs by 2 vectors of lanes: eight accumulators hide the latency of two fused
//! multiply-adds a cycle, and with two loads and four broadcasts everything stays in 16 registers. The sum
//! starts at the bias and runs over k in order, in every lane alike. What follows (activation, derivative,
//! products with other tiles) happens in registers, in an [`Epilogue`]: a second pass over memory would
//! cost a third of the speed.

#![allow(unsafe_code)]

use cnflow_solvers::lanes::LANE_BLOCK;

use crate::epilogue::Epilogue;
use crate::simd::{Isa, Kernel, PAIR, Scalar, Vector, dispatch, steps};
use crate::tile::{Block, In};

/// Outputs in a micro-tile.
pub(crate) const TALL: usize = 4;
/// Rows in a panel: two micro-tiles, and the outputs of one vector where vectors run across outputs
/// ([`crate::columns`]).
pub const PANEL: usize = 8;

/// A matrix in the order in which the products read it: `[rows / W][cols][W]`, zero rows at the end, aligned to cache
/// lines.
#[derive(Clone, Debug)]
pub struct Panels<T, const W: usize = PANEL> {
    rows: usize,
    cols: usize,
    data: Vec<Block<T>>,
}

impl<T: Scalar, const W: usize> Panels<T, W> {
    /// Zeros, `[rows, cols]`.
    pub fn new(rows: usize, cols: usize) -> Self {
        let blocks = (rows.div_ceil(W) * W * cols).div_ceil(LANE_BLOCK);
        Self { rows, cols, data: vec![Block([T::ZERO; LANE_BLOCK]); blocks] }
    }

    /// The columns of the rows `W · panel..`, `[cols][W]`.
    #[inline(always)]
    pub(crate) fn panel(&self, panel: usize) -> &[T] {
        &Block::numbers(&self.data)[panel * W * self.cols..][..W * self.cols]
    }

    /// Rows and columns.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Fills in `w(row, col)`.
    pub fn pack(&mut self, w: impl Fn(usize, usize) -> T) {
        let cols = self.cols;
        let data = Block::numbers_mut(&mut self.data);
        for row in 0..self.rows {
            let panel = row / W * W * cols + row % W;
            for col in 0..cols {
                data[panel + col * W] = w(row, col);
            }
        }
    }
}

/// A matrix times a tile, with an optional bias.
#[derive(Clone, Copy)]
pub struct Factor<'a, T> {
    /// The matrix.
    pub matrix: &'a Panels<T>,
    /// How many of its leading columns (and rows of x) to use.
    pub depth: usize,
    /// One a row, padded to whole panels; empty for none.
    pub bias: &'a [T],
    /// The tile.
    pub x: In<'a, T>,
}

impl<'a, T: Scalar> Factor<'a, T> {
    /// All columns, no bias.
    pub fn new(matrix: &'a Panels<T>, x: In<'a, T>) -> Self {
        Self { matrix, depth: matrix.cols, bias: &[], x }
    }

    /// With a bias, padded to a multiple of four.
    pub fn plus(self, bias: &'a [T]) -> Self {
        Self { bias, ..self }
    }

    /// Only the first `depth` columns.
    pub fn first(self, depth: usize) -> Self {
        Self { depth, ..self }
    }
}

/// Micro-tiles in a panel.
const HALVES: usize = PANEL / TALL;

/// Computes `blocks` blocks of the product and hands them to the epilogue.
///
/// # Panics
/// Where a tile, the bias or the matrix is too small.
pub fn product<T: Scalar, E: Epilogue<T>>(isa: Isa, factor: Factor<'_, T>, blocks: usize, epilogue: E) {
    assert!(factor.depth <= factor.matrix.cols);
    assert!(factor.bias.is_empty() || factor.bias.len() >= factor.matrix.rows.next_multiple_of(TALL));
    factor.x.expect(factor.depth, blocks);
    epilogue.expect(factor.matrix.rows, blocks);
    dispatch(isa, Product { factor, blocks, epilogue });
}

struct Product<'a, T, E> {
    factor: Factor<'a, T>,
    blocks: usize,
    epilogue: E,
}

impl<T: Scalar, E: Epilogue<T>> Kernel<T> for Product<'_, T, E> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { factor: Factor { matrix, depth, bias, x }, blocks, epilogue } = self;
        let none = [T::ZERO; TALL];
        // Panels outside, lanes inside: a panel stays in the first cache while all lanes pass by.
        for panel in 0..matrix.rows.div_ceil(TALL) {
            let bias = if bias.is_empty() { &none } else { &bias[panel * TALL..][..TALL] };
            let weights = matrix.panel(panel / HALVES).as_ptr().wrapping_add(panel % HALVES * TALL);
            let rows = (matrix.rows - panel * TALL).min(TALL);
            for block in 0..blocks {
                for step in 0..steps::<V>() {
                    let slot = step * PAIR * V::WIDTH;
                    // SAFETY: `product` checked the shapes of x and of the epilogue's tiles.
                    unsafe {
                        let sums = micro_tile::<V>(weights, bias, x.at(block, 0).add(slot), depth);
                        for (row, sums) in sums.into_iter().enumerate() {
                            if row < rows {
                                epilogue.put(sums, block, panel * TALL + row, slot);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Four outputs, two vectors, `depth` terms behind the bias.
#[inline(always)]
unsafe fn micro_tile<V: Vector>(
    weights: *const V::Elem,
    bias: &[V::Elem],
    x: *const V::Elem,
    depth: usize,
) -> [[V; PAIR]; TALL] {
    let sums = std::array::from_fn(|row| [V::splat(bias[row]); PAIR]);
    // SAFETY: the caller's.
    unsafe { accumulate::<V, PANEL>(sums, weights, x, depth) }
}

/// Four outputs, two vectors, `depth` terms behind `sums`.
///
/// # Safety
/// `weights` holds four numbers at each of `depth` places, W apart; `x` `depth` rows of a block, two vectors wide at
/// least.
#[inline(always)]
pub(crate) unsafe fn accumulate<V: Vector, const W: usize>(
    sums: [[V; PAIR]; TALL],
    mut weights: *const V::Elem,
    mut x: *const V::Elem,
    depth: usize,
) -> [[V; PAIR]; TALL] {
    let [[mut a0, mut a1], [mut b0, mut b1], [mut c0, mut c1], [mut d0, mut d1]] = sums;
    for _ in 0..depth {
        // SAFETY: the caller's.
        unsafe {
            let (x0, x1) = (V::load(x), V::load(x.add(V::WIDTH)));
            let w = V::splat(*weights);
            (a0, a1) = (w.fma(x0, a0), w.fma(x1, a1));
            let w = V::splat(*weights.add(1));
            (b0, b1) = (w.fma(x0, b0), w.fma(x1, b1));
            let w = V::splat(*weights.add(2));
            (c0, c1) = (w.fma(x0, c0), w.fma(x1, c1));
            let w = V::splat(*weights.add(3));
            (d0, d1) = (w.fma(x0, d0), w.fma(x1, d1));
            // The last step may end beyond the matrix, where nothing is read.
            weights = weights.wrapping_add(W);
            x = x.add(LANE_BLOCK);
        }
    }
    [[a0, a1], [b0, b1], [c0, c1], [d0, d1]]
}
