//! Sums over lanes: G\[o\]\[k\] += Σₗ a\[o\]\[l\] h\[k\]\[l\], the gradient of a weight, and Σₗ a\[o\]\[l\], that of a
//! bias.
//!
//! Lanes lie along the vectors, so each entry of G has an accumulator of its own; 3 × 4 of them fill the
//! registers. The order of the sum is fixed: block after block within a slot of the vector, then halves
//! onto halves. Slots not in use must hold zeros in `a` (and numbers, not NaN, in `h`).

#![allow(unsafe_code)]

use cnflow_solvers::Real;

use crate::simd::{Isa, Kernel, PAIR, Scalar, Vector, dispatch, steps};
use crate::tile::In;

/// Rows of `a` in a micro-tile.
const TALL: usize = 3;
/// Rows of `h` in a micro-tile.
const WIDE: usize = 4;

/// g[o · pitch + k] += Σₗ a\[o\]\[l\] h\[k\]\[l\], for `o < rows`, `k < cols`.
pub fn outer<T: Scalar>(
    isa: Isa,
    (a, rows): (In<'_, T>, usize),
    (h, cols): (In<'_, T>, usize),
    blocks: usize,
    g: &mut [T],
    pitch: usize,
) {
    if rows == 0 || cols == 0 {
        return;
    }
    a.expect(rows, blocks);
    h.expect(cols, blocks);
    assert!(cols <= pitch && (rows - 1) * pitch + cols <= g.len());
    dispatch(isa, Outer { a, rows, h, cols, blocks, g, pitch });
}

struct Outer<'a, T> {
    a: In<'a, T>,
    rows: usize,
    h: In<'a, T>,
    cols: usize,
    blocks: usize,
    g: &'a mut [T],
    pitch: usize,
}

impl<T: Scalar> Kernel<T> for Outer<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        for o in (0..self.rows).step_by(TALL) {
            let tall = (self.rows - o).min(TALL);
            for k in (0..self.cols).step_by(WIDE) {
                let wide = (self.cols - k).min(WIDE);
                // SAFETY: `outer` checked that these rows can be read.
                let sums = unsafe {
                    // Rows past the end repeat the last one; their sums are dropped.
                    let a = std::array::from_fn(|i| o + i.min(tall - 1));
                    let h = std::array::from_fn(|i| k + i.min(wide - 1));
                    micro_tile::<V>(&self.a, a, &self.h, h, self.blocks)
                };
                for (i, sums) in sums.into_iter().enumerate().take(tall) {
                    let g = &mut self.g[(o + i) * self.pitch + k..][..wide];
                    for (g, sum) in g.iter_mut().zip(sums) {
                        *g += sum;
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn micro_tile<V: Vector>(
    a: &In<'_, V::Elem>,
    rows: [usize; TALL],
    h: &In<'_, V::Elem>,
    cols: [usize; WIDE],
    blocks: usize,
) -> [[V::Elem; WIDE]; TALL] {
    let zero = V::splat(V::Elem::ZERO);
    let ([mut s00, mut s01, mut s02, mut s03], [mut s10, mut s11, mut s12, mut s13]) = ([zero; 4], [zero; 4]);
    let [mut s20, mut s21, mut s22, mut s23] = [zero; 4];
    for block in 0..blocks {
        let (a0, a1, a2) = (a.at(block, rows[0]), a.at(block, rows[1]), a.at(block, rows[2]));
        let (h0, h1, h2, h3) = (h.at(block, cols[0]), h.at(block, cols[1]), h.at(block, cols[2]), h.at(block, cols[3]));
        for step in 0..PAIR * steps::<V>() {
            let slot = step * V::WIDTH;
            // SAFETY: the caller checked the rows; `slot` stays within the block.
            unsafe {
                let (x, y, z) = (V::load(a0.add(slot)), V::load(a1.add(slot)), V::load(a2.add(slot)));
                let w = V::load(h0.add(slot));
                (s00, s10, s20) = (x.fma(w, s00), y.fma(w, s10), z.fma(w, s20));
                let w = V::load(h1.add(slot));
                (s01, s11, s21) = (x.fma(w, s01), y.fma(w, s11), z.fma(w, s21));
                let w = V::load(h2.add(slot));
                (s02, s12, s22) = (x.fma(w, s02), y.fma(w, s12), z.fma(w, s22));
                let w = V::load(h3.add(slot));
                (s03, s13, s23) = (x.fma(w, s03), y.fma(w, s13), z.fma(w, s23));
            }
        }
    }
    [V::sum4([s00, s01, s02, s03]), V::sum4([s10, s11, s12, s13]), V::sum4([s20, s21, s22, s23])]
}

/// g[o · pitch] += Σₗ a\[o\]\[l\], for `o < rows`.
pub fn row_sums<T: Scalar>(isa: Isa, (a, rows): (In<'_, T>, usize), blocks: usize, g: &mut [T], pitch: usize) {
    if rows == 0 {
        return;
    }
    a.expect(rows, blocks);
    assert!((rows - 1) * pitch < g.len());
    dispatch(isa, RowSums { a, rows, blocks, g, pitch });
}

struct RowSums<'a, T> {
    a: In<'a, T>,
    rows: usize,
    blocks: usize,
    g: &'a mut [T],
    pitch: usize,
}

impl<T: Scalar> Kernel<T> for RowSums<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        for o in (0..self.rows).step_by(WIDE) {
            let wide = (self.rows - o).min(WIDE);
            let mut sums = [V::splat(T::ZERO); WIDE];
            for block in 0..self.blocks {
                for step in 0..PAIR * steps::<V>() {
                    for (i, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: `row_sums` checked the rows; the step stays within the block.
                        *sum = sum.add(unsafe { V::load(self.a.at(block, o + i.min(wide - 1)).add(step * V::WIDTH)) });
                    }
                }
            }
            for (i, sum) in V::sum4(sums).into_iter().enumerate().take(wide) {
                self.g[(o + i) * self.pitch] += sum;
            }
        }
    }
}
