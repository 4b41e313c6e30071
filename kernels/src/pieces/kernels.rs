//! What is done at full width: the search, the lines, the sums of their pull-back, and rows of f64.

use cnflow_solvers::lanes::LANE_BLOCK;

use super::{BinIndices, Pieces};
use crate::simd::{Kernel, Scalar, Vector};
use crate::tile::Tile;

/// y += a x, over the length of x.
pub(super) struct Axpy<'a> {
    pub a: f64,
    pub x: &'a [f64],
    pub y: &'a mut [f64],
}

impl Kernel<f64> for Axpy<'_> {
    #[inline(always)]
    fn run<V: Vector<Elem = f64>>(self) {
        let whole = self.x.len() / V::WIDTH * V::WIDTH;
        for at in (0..whole).step_by(V::WIDTH) {
            V::read(self.x, at).fma(V::splat(self.a), V::read(self.y, at)).write(self.y, at);
        }
        for at in whole..self.x.len() {
            self.y[at] = self.x[at].mul_add(self.a, self.y[at]);
        }
    }
}

/// The scalar products of two rows with a third.
pub(super) struct Dots<'a> {
    pub by: &'a [f64],
    pub rows: [&'a [f64]; 2],
    pub out: &'a mut [f64; 2],
}

impl Kernel<f64> for Dots<'_> {
    #[inline(always)]
    fn run<V: Vector<Elem = f64>>(self) {
        let whole = self.by.len() / V::WIDTH * V::WIDTH;
        let mut sums = [V::splat(0.0); 4];
        for at in (0..whole).step_by(V::WIDTH) {
            let by = V::read(self.by, at);
            sums[0] = by.fma(V::read(self.rows[0], at), sums[0]);
            sums[1] = by.fma(V::read(self.rows[1], at), sums[1]);
        }
        let [a, b, ..] = V::sum4(sums);
        *self.out = [a, b];
        for at in whole..self.by.len() {
            (0..2).for_each(|r| self.out[r] = self.by[at].mul_add(self.rows[r][at], self.out[r]));
        }
    }
}

/// Counts the hinges to the left of each lane (of 64, by halves took three times as long: its branches are guesses).
pub(super) struct Search<'a, T> {
    pub pieces: &'a Pieces<T>,
    pub x: &'a Tile<f64>,
    pub indices: &'a mut BinIndices<T>,
    pub blocks: usize,
}

impl<T: Scalar> Kernel<T> for Search<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let (zero, one) = (V::splat(T::ZERO), V::splat(T::ONE));
        for block in 0..self.blocks {
            let wide = self.x.at(block, 0);
            let x = wide.map(T::of);
            let mut counts = [T::ZERO; LANE_BLOCK];
            let half = LANE_BLOCK / 2;
            for lane in (0..half).step_by(V::WIDTH) {
                let (low, high) = (V::read(&x, lane), V::read(&x, half + lane));
                let (mut left, mut right) = (zero, zero);
                for knot in &self.pieces.knots {
                    let knot = V::splat(*knot);
                    left = low.sub(knot).if_positive(one, zero).add(left);
                    right = high.sub(knot).if_positive(one, zero).add(right);
                }
                left.write(&mut counts, lane);
                right.write(&mut counts, half + lane);
            }
            let bin = counts.map(|count| count.to_f64() as usize);
            let offset = self.indices.offset.at_mut(block, 0);
            (0..LANE_BLOCK).for_each(|l| offset[l] = T::of(wide[l] - self.pieces.centres[bin[l]]));
            self.indices.bin[block] = bin;
        }
    }
}

/// h ← σ of the lines, in the intervals of the lanes.
pub(super) struct Forward<'a, T> {
    pub pieces: &'a Pieces<T>,
    pub indices: &'a BinIndices<T>,
    pub h: &'a mut Tile<T>,
    pub blocks: usize,
}

impl<T: Scalar> Kernel<T> for Forward<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let stride = self.pieces.stride();
        let zero = V::splat(T::ZERO);
        for block in 0..self.blocks {
            let (bin, offset) = (&self.indices.bin[block], self.indices.offset.at(block, 0));
            let h = self.h.block_mut(block);
            for lane in (0..LANE_BLOCK).step_by(V::WIDTH) {
                let line = |l: usize| &self.pieces.lines[bin[lane + l] * stride..][..stride];
                let lines: [&[T]; 8] = std::array::from_fn(|l| line(l % V::WIDTH));
                for (group, units) in h.chunks_mut(V::WIDTH).enumerate() {
                    let at = 2 * group * V::WIDTH;
                    let mut sums = [zero; 8];
                    for l in 0..V::WIDTH {
                        let by = V::splat(offset[lane + l]);
                        // `max` keeps its second operand when that is NaN.
                        sums[l] = zero.max(V::read(lines[l], at + V::WIDTH).fma(by, V::read(lines[l], at)));
                    }
                    V::transpose(&mut sums);
                    for (unit, sum) in units.iter_mut().zip(sums) {
                        sum.write(&mut unit.0, lane);
                    }
                }
            }
        }
    }
}

/// The pull-back of [`Forward`]: sums of the cotangents in each interval, and x̄.
pub(super) struct Back<'a, T> {
    pub pieces: &'a Pieces<T>,
    pub indices: &'a BinIndices<T>,
    pub h: &'a Tile<T>,
    pub h_bar: &'a Tile<T>,
    pub sums: &'a mut [T],
    pub x_bar: &'a mut Tile<T>,
    pub blocks: usize,
}

impl<T: Scalar> Kernel<T> for Back<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let stride = self.pieces.stride();
        let zero = V::splat(T::ZERO);
        for block in 0..self.blocks {
            let (bin, offset) = (&self.indices.bin[block], self.indices.offset.at(block, 0));
            let (h, h_bar) = (self.h.block(block), self.h_bar.block(block));
            for lane in (0..LANE_BLOCK).step_by(V::WIDTH) {
                let mut slopes = [zero; 8];
                for (group, (h, h_bar)) in h.chunks(V::WIDTH).zip(h_bar.chunks(V::WIDTH)).enumerate() {
                    let at = 2 * group * V::WIDTH;
                    let mut bars = [zero; 8];
                    for (bar, (h, h_bar)) in bars.iter_mut().zip(h.iter().zip(h_bar)) {
                        let h = V::read(&h.0, lane);
                        // h · 0 keeps a NaN.
                        *bar = h.if_positive(V::read(&h_bar.0, lane), h.mul(zero));
                    }
                    V::transpose(&mut bars);
                    for l in 0..V::WIDTH {
                        let from = bin[lane + l] * stride + at;
                        let pair = &self.pieces.lines[from..][..2 * V::WIDTH];
                        let sums = &mut self.sums[from..][..2 * V::WIDTH];
                        bars[l].add(V::read(sums, 0)).write(sums, 0);
                        bars[l].fma(V::splat(offset[lane + l]), V::read(sums, V::WIDTH)).write(sums, V::WIDTH);
                        slopes[l] = bars[l].fma(V::read(pair, V::WIDTH), slopes[l]);
                    }
                }
                let out = self.x_bar.at_mut(block, 0);
                for l in (0..V::WIDTH).step_by(4) {
                    let four = V::sum4([slopes[l], slopes[l + 1], slopes[l + 2], slopes[l + 3]]);
                    out[lane + l..][..4].copy_from_slice(&four);
                }
            }
        }
    }
}
