//! The product of a matrix with a tile: y[o][l] = Σₖ w[o][k] x[k][l] + b[o], and what becomes of it.
//!
//! A micro-tile is 4 outputs by 2 vectors of lanes: eight accumulators hide the latency of two fused
//! multiply-adds a cycle, and with two loads and four broadcasts everything stays in 16 registers. The sum
//! starts at the bias and runs over k in order, in every lane alike. What follows (activation, slope,
//! products with other tiles) happens in registers, in an [`Epilogue`]: a second pass over memory would
//! cost a third of the speed.

use cnf_solvers::lanes::LANE_BLOCK;

use super::activation::Act;
use super::simd::{Isa, Kernel, PAIR, Scalar, Vector, dispatch, steps};
use super::tile::{In, Out};

/// Outputs in a micro-tile.
const TALL: usize = 4;

/// A matrix in the order in which the product reads it: `[rows / 4][cols][4]`, zero rows at the end.
#[derive(Clone, Debug)]
pub struct Panels<T> {
    rows: usize,
    cols: usize,
    data: Vec<T>,
}

impl<T: Scalar> Panels<T> {
    /// Zeros.
    pub fn new(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![T::ZERO; rows.div_ceil(TALL) * TALL * cols] }
    }

    /// Fills in `w(row, col)`.
    pub fn pack(&mut self, w: impl Fn(usize, usize) -> T) {
        let cols = self.cols;
        for row in 0..self.rows {
            let panel = row / TALL * TALL * cols + row % TALL;
            for col in 0..cols {
                self.data[panel + col * TALL] = w(row, col);
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

/// What becomes of the sums.
pub trait Epilogue<T: Scalar> {
    /// Panics unless the tiles have room for `rows` by `blocks`.
    fn expect(&self, rows: usize, blocks: usize);
    /// Takes two vectors of row `row` in block `block`, which begin at slot `slot` of the block.
    ///
    /// # Safety
    /// As checked by [`Epilogue::expect`].
    unsafe fn put<V: Vector<Elem = T>>(&self, sums: [V; PAIR], block: usize, row: usize, slot: usize);
}

/// Computes `blocks` blocks of the product and hands them to the epilogue.
pub fn product<T: Scalar, E: Epilogue<T>>(isa: Isa, factor: Factor<'_, T>, blocks: usize, epilogue: E) {
    assert!(factor.depth <= factor.matrix.cols);
    assert!(factor.bias.is_empty() || factor.bias.len() >= factor.matrix.rows.div_ceil(TALL) * TALL);
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
            let weights = matrix.data[panel * TALL * matrix.cols..][..TALL * depth].as_ptr();
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

/// Four outputs, two vectors, `depth` terms.
#[inline(always)]
unsafe fn micro_tile<V: Vector>(
    mut weights: *const V::Elem,
    bias: &[V::Elem],
    mut x: *const V::Elem,
    depth: usize,
) -> [[V; PAIR]; TALL] {
    let (mut a0, mut b0, mut c0, mut d0) = (V::splat(bias[0]), V::splat(bias[1]), V::splat(bias[2]), V::splat(bias[3]));
    let (mut a1, mut b1, mut c1, mut d1) = (a0, b0, c0, d0);
    for _ in 0..depth {
        // SAFETY: `weights` holds 4 · depth numbers, x `depth` rows of a block, two vectors wide at least.
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
            weights = weights.add(TALL);
            x = x.add(LANE_BLOCK);
        }
    }
    [[a0, a1], [b0, b1], [c0, c1], [d0, d1]]
}

/// y ← sum.
pub struct Store<'a, T>(pub Out<'a, T>);

/// h ← σ(sum).
pub struct Value<'a, T, A> {
    /// σ.
    pub act: A,
    /// h.
    pub h: Out<'a, T>,
}

/// h ← σ(sum), s ← σ′(sum).
pub struct Slope<'a, T, A> {
    /// σ.
    pub act: A,
    /// h.
    pub h: Out<'a, T>,
    /// σ′.
    pub slope: Out<'a, T>,
}

/// h ← σ(sum), s ← σ′(sum), c ← σ″(sum).
pub struct Curve<'a, T, A> {
    /// σ.
    pub act: A,
    /// h.
    pub h: Out<'a, T>,
    /// σ′.
    pub slope: Out<'a, T>,
    /// σ″.
    pub curve: Out<'a, T>,
}

/// y ← sum · by.
pub struct Scaled<'a, T> {
    /// y.
    pub y: Out<'a, T>,
    /// The factor.
    pub by: In<'a, T>,
}

/// y ← sum · by\[0\]: one factor a lane.
pub struct ScaledByLane<'a, T> {
    /// y.
    pub y: Out<'a, T>,
    /// One row.
    pub by: In<'a, T>,
}

/// raw ← sum, y ← sum · by: a tangent before and behind an activation.
pub struct Tangent<'a, T> {
    /// Before.
    pub raw: Out<'a, T>,
    /// Behind.
    pub y: Out<'a, T>,
    /// σ′.
    pub by: In<'a, T>,
}

/// bent += raw · sum, y ← sum · by: a tangent's cotangent on its way back through an activation.
pub struct Cotangent<'a, T> {
    /// Before the activation.
    pub y: Out<'a, T>,
    /// σ′.
    pub by: In<'a, T>,
    /// The tangent before the activation.
    pub raw: In<'a, T>,
    /// What σ″ will multiply.
    pub bent: Out<'a, T>,
}

/// y ← sum · by + curve · bent: a value's cotangent on its way back, joined by the trace's.
pub struct Bent<'a, T> {
    /// Before the activation.
    pub y: Out<'a, T>,
    /// σ′.
    pub by: In<'a, T>,
    /// σ″.
    pub curve: In<'a, T>,
    /// As gathered by [`Cotangent`].
    pub bent: In<'a, T>,
}

/// The body of an epilogue: its tiles, and what is done with one vector at `offset` of each row.
macro_rules! epilogue {
    ($name:ident $(<$act:ident>)?, [$($tile:tt),+], |$this:ident, $sum:ident, $at:ident| $body:block) => {
        impl<T: Scalar $(, $act: Act)?> Epilogue<T> for $name<'_, T $(, $act)?> {
            fn expect(&self, rows: usize, blocks: usize) {
                $(epilogue!(@expect self, $tile, rows, blocks);)+
            }
            #[inline(always)]
            unsafe fn put<V: Vector<Elem = T>>(&self, sums: [V; PAIR], block: usize, row: usize, slot: usize) {
                let $this = self;
                for (half, $sum) in sums.into_iter().enumerate() {
                    let $at = (block, row, slot + half * V::WIDTH);
                    // SAFETY: the caller checked the shapes by `expect`.
                    unsafe { $body }
                }
            }
        }
    };
    (@expect $this:ident, (lane $tile:ident), $rows:ident, $blocks:ident) => { $this.$tile.expect(1, $blocks) };
    (@expect $this:ident, $tile:tt, $rows:ident, $blocks:ident) => { $this.$tile.expect($rows, $blocks) };
}

/// Where a vector stands: block, row, slot.
type Place = (usize, usize, usize);

#[inline(always)]
unsafe fn get<V: Vector>(tile: &In<'_, V::Elem>, (block, row, slot): Place) -> V {
    // SAFETY: the caller's.
    unsafe { V::load(tile.at(block, row).add(slot)) }
}

#[inline(always)]
unsafe fn set<V: Vector>(tile: &Out<'_, V::Elem>, (block, row, slot): Place, value: V) {
    // SAFETY: the caller's.
    unsafe { value.store(tile.at(block, row).add(slot)) }
}

epilogue!(Store, [0], |this, sum, at| { set(&this.0, at, sum) });
epilogue!(Value<A>, [h], |this, sum, at| { set(&this.h, at, this.act.jet(sum).value) });
epilogue!(Slope<A>, [h, slope], |this, sum, at| {
    let jet = this.act.jet(sum);
    set(&this.h, at, jet.value);
    set(&this.slope, at, jet.slope);
});
epilogue!(Curve<A>, [h, slope, curve], |this, sum, at| {
    let jet = this.act.jet(sum);
    set(&this.h, at, jet.value);
    set(&this.slope, at, jet.slope);
    set(&this.curve, at, jet.curve);
});
epilogue!(Scaled, [y, by], |this, sum, at| { set(&this.y, at, sum.mul(get(&this.by, at))) });
epilogue!(ScaledByLane, [y, (lane by)], |this, sum, at| {
    set(&this.y, at, sum.mul(get(&this.by, (at.0, 0, at.2))));
});
epilogue!(Tangent, [raw, y, by], |this, sum, at| {
    set(&this.raw, at, sum);
    set(&this.y, at, sum.mul(get(&this.by, at)));
});
epilogue!(Cotangent, [y, by, raw, bent], |this, sum, at| {
    let place = this.bent.at(at.0, at.1).add(at.2);
    get::<V>(&this.raw, at).fma(sum, V::load(place)).store(place);
    set(&this.y, at, sum.mul(get(&this.by, at)));
});
epilogue!(Bent, [y, by, curve, bent], |this, sum, at| {
    let bend = get::<V>(&this.curve, at).mul(get(&this.bent, at));
    set(&this.y, at, sum.fma(get(&this.by, at), bend));
});
