//! The gradient of a convolution: G\[o\]\[ky\]\[kx\]\[i\] += Σ ȳ\[p\]\[o\]\[l\] x\[p + (ky − 1, kx − 1)\]\[i\]\[l\],
//! summed over pixels p and lanes l.
//!
//! As in [`outer`](crate::outer), lanes lie along the vectors and 3 × 4 accumulators fill the registers; here they run
//! over the pixels of a strip before they are summed over lanes. In a plane the rows of three outputs lie a power of
//! two apart from pixel to pixel, and would evict each other from the first cache; so a strip is copied once, to
//! `[channels / 3][pixel][3]` and `[channels / 4][pixel][4]`. The order of the sum: pixels of a strip within a slot of
//! the vector, then halves onto halves, then strip after strip.

#![allow(unsafe_code)]

use std::ops::Range;

use cnflow_solvers::Real;
use cnflow_solvers::lanes::LANE_BLOCK;

use super::ConvSize;
use crate::image::ImageShape;
use crate::simd::{Isa, Kernel, PAIR, Scalar, Vector, dispatch, steps};
use crate::tile::{In, Out, Tile};

/// Outputs in a micro-tile.
const TALL: usize = 3;
/// Inputs in a micro-tile.
const WIDE: usize = 4;
/// Pixels of a strip: so many of three and of four rows are two thirds of the first cache in f32.
const STRIP: usize = 56;

/// Room for the copies of a strip.
#[derive(Clone, Debug)]
pub struct Scratch<T> {
    y_bar: Tile<T>,
    x: Tile<T>,
}

/// With one or two inputs a tap would leave most of four rows empty: then the three taps of a row of the kernel count
/// as inputs of a single one, (kx, i), and the copy has their pixels side by side, with zeros at the edges.
fn side_by_side(size: ConvSize) -> usize {
    if size.x.channels <= 2 { size.kernel } else { 1 }
}

/// Rows of pixels in a strip.
fn strip(shape: ImageShape) -> usize {
    (STRIP / shape.width).clamp(1, shape.height)
}

impl<T: Scalar> Scratch<T> {
    /// For the largest of these.
    pub fn new(sizes: impl Iterator<Item = ConvSize>) -> Self {
        let rows = sizes.map(room);
        let (y_bar, x) = rows.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        Self { y_bar: Tile::new(y_bar, LANE_BLOCK), x: Tile::new(x, LANE_BLOCK) }
    }
}

/// Rows of both copies.
fn room(size: ConvSize) -> (usize, usize) {
    let ConvSize { x, outputs, kernel } = size;
    let (high, inputs) = (strip(x), side_by_side(size) * x.channels);
    let around = (high + kernel - 1).min(x.height);
    (high * x.width * outputs.next_multiple_of(TALL), around * x.width * inputs.next_multiple_of(WIDE))
}

pub(super) fn conv_gradient<T: Scalar>(
    isa: Isa,
    size: ConvSize,
    x: In<'_, T>,
    y_bar: In<'_, T>,
    bias: bool,
    (scratch, g): (&mut Scratch<T>, &mut [T]),
) {
    let ConvSize { x: shape, outputs, kernel } = size;
    let (weights, room) = (kernel * kernel * shape.channels * outputs, room(size));
    assert_eq!(g.len(), weights + outputs);
    x.expect(shape.len(), 1);
    y_bar.expect(shape.pixels() * outputs, 1);
    let (of_y, of_x) = (scratch.y_bar.write(), scratch.x.write());
    of_y.expect(room.0, 1);
    of_x.expect(room.1, 1);
    let (g, b) = g.split_at_mut(weights);
    dispatch(isa, Gradient { size, x, y_bar, of_x, of_y, g, b: bias.then_some(b) });
}

struct Gradient<'a, T> {
    size: ConvSize,
    x: In<'a, T>,
    y_bar: In<'a, T>,
    /// The copies.
    of_x: Out<'a, T>,
    of_y: Out<'a, T>,
    g: &'a mut [T],
    b: Option<&'a mut [T]>,
}

impl<T: Scalar> Kernel<T> for Gradient<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { size, x, y_bar, of_x, of_y, g, mut b } = self;
        let ConvSize { x: shape, outputs, kernel } = size;
        let (beside, pad, width) = (side_by_side(size), kernel / 2, shape.width);
        // Taps of a row that are left, and their inputs.
        let (taps, inputs) = (kernel / beside, beside * shape.channels);
        for top in (0..shape.height).step_by(strip(shape)) {
            let rows = top..(top + strip(shape)).min(shape.height);
            let around = rows.start.saturating_sub(pad)..(rows.end + pad).min(shape.height);
            // SAFETY: `conv_gradient` checked the planes and the room for their copies.
            unsafe {
                copy::<V, TALL>(&y_bar, (outputs, 1), width, rows.clone(), &of_y);
                copy::<V, WIDE>(&x, (shape.channels, beside), width, around.clone(), &of_x);
            }
            for o in (0..outputs).step_by(TALL) {
                let tall = (outputs - o).min(TALL);
                let from_y = o * rows.len() * width;
                for i in (0..inputs).step_by(WIDE) {
                    let wide = (inputs - i).min(WIDE);
                    let from_x = i * around.len() * width;
                    for (ky, kx) in (0..kernel).flat_map(|ky| (0..taps).map(move |kx| (ky, kx))) {
                        let high = within(kernel, ky, rows.clone(), shape.height);
                        let across = within(taps, kx, 0..width, width);
                        let mut sums = Sums::<V>::zero();
                        for row in high {
                            let at_y = from_y + ((row - rows.start) * width + across.start) * TALL;
                            let at_x = (row + ky - pad - around.start) * width + across.start + kx - taps / 2;
                            // SAFETY: `within` stays on the plane, and the copies hold the rows around.
                            sums =
                                unsafe { sums.add(of_y.at(0, at_y), of_x.at(0, from_x + at_x * WIDE), across.len()) };
                        }
                        let tap = ky * taps + kx;
                        for (t, sums) in sums.over_lanes().into_iter().enumerate().take(tall) {
                            let g = &mut g[((o + t) * kernel * taps + tap) * inputs + i..][..wide];
                            g.iter_mut().zip(sums).for_each(|(g, sum)| *g += sum);
                        }
                    }
                }
                if let Some(b) = &mut b {
                    // SAFETY: these rows were copied.
                    let sums = unsafe { row_sums::<V>(of_y.at(0, from_y), rows.len() * width) };
                    b[o..o + tall].iter_mut().zip(sums).for_each(|(b, sum)| *b += sum);
                }
            }
        }
    }
}

/// The pixels of `rows` whose neighbour by tap `k` is on the plane.
fn within(kernel: usize, k: usize, rows: Range<usize>, size: usize) -> Range<usize> {
    let pad = kernel / 2;
    let (start, end) = (rows.start.max(pad.saturating_sub(k)), rows.end.min((size + pad).saturating_sub(k)));
    start..end.max(start)
}

/// Rows of pixels `[pixel][channel]` to `[channel / N][pixel][N]`, with zeros where channels are missing. Where
/// `beside` is 3, channels are those of the pixel on the left, of the pixel itself and of that on the right.
///
/// # Safety
/// `from` has these rows, and `to` room for them.
#[inline(always)]
unsafe fn copy<V: Vector, const N: usize>(
    from: &In<'_, V::Elem>,
    (channels, beside): (usize, usize),
    width: usize,
    rows: Range<usize>,
    to: &Out<'_, V::Elem>,
) {
    let (pixels, zero) = (rows.len() * width, V::splat(V::Elem::ZERO));
    for (line, row) in rows.enumerate() {
        for column in 0..width {
            let p = line * width + column;
            for side in 0..beside {
                let near = (column + side).wrapping_sub(beside / 2);
                let source = from.at(0, (row * width + near.min(width - 1)) * channels);
                for i in 0..channels {
                    let c = side * channels + i;
                    let place = to.at(0, (c / N * pixels + p) * N + c % N);
                    for slot in (0..LANE_BLOCK).step_by(V::WIDTH) {
                        // SAFETY: the caller's; `near` is a pixel of the row, or not read.
                        unsafe {
                            let number = if near < width { V::load(source.add(i * LANE_BLOCK + slot)) } else { zero };
                            number.store(place.add(slot));
                        }
                    }
                }
            }
            for c in beside * channels..(beside * channels).next_multiple_of(N) {
                let place = to.at(0, (c / N * pixels + p) * N + c % N);
                for slot in (0..LANE_BLOCK).step_by(V::WIDTH) {
                    // SAFETY: the caller's.
                    unsafe { zero.store(place.add(slot)) };
                }
            }
        }
    }
}

/// The accumulators of a micro-tile.
#[derive(Clone, Copy)]
struct Sums<V>([[V; WIDE]; TALL]);

impl<V: Vector> Sums<V> {
    #[inline(always)]
    fn zero() -> Self {
        Self([[V::splat(V::Elem::ZERO); WIDE]; TALL])
    }

    /// # Safety
    /// `y` holds `pixels` of three rows, `x` as many of four.
    #[inline(always)]
    unsafe fn add(self, mut y: *const V::Elem, mut x: *const V::Elem, pixels: usize) -> Self {
        let [[mut s00, mut s01, mut s02, mut s03], [mut s10, mut s11, mut s12, mut s13], third] = self.0;
        let [mut s20, mut s21, mut s22, mut s23] = third;
        for _ in 0..pixels {
            for step in 0..PAIR * steps::<V>() {
                let slot = step * V::WIDTH;
                // SAFETY: the caller's.
                unsafe {
                    let (y, x) = (y.add(slot), x.add(slot));
                    let (a, b, c) = (V::load(y), V::load(y.add(LANE_BLOCK)), V::load(y.add(2 * LANE_BLOCK)));
                    let w = V::load(x);
                    (s00, s10, s20) = (a.fma(w, s00), b.fma(w, s10), c.fma(w, s20));
                    let w = V::load(x.add(LANE_BLOCK));
                    (s01, s11, s21) = (a.fma(w, s01), b.fma(w, s11), c.fma(w, s21));
                    let w = V::load(x.add(2 * LANE_BLOCK));
                    (s02, s12, s22) = (a.fma(w, s02), b.fma(w, s12), c.fma(w, s22));
                    let w = V::load(x.add(3 * LANE_BLOCK));
                    (s03, s13, s23) = (a.fma(w, s03), b.fma(w, s13), c.fma(w, s23));
                }
            }
            (y, x) = (y.wrapping_add(TALL * LANE_BLOCK), x.wrapping_add(WIDE * LANE_BLOCK));
        }
        Self([[s00, s01, s02, s03], [s10, s11, s12, s13], [s20, s21, s22, s23]])
    }

    #[inline(always)]
    fn over_lanes(self) -> [[V::Elem; WIDE]; TALL] {
        // Not `map`, which is not sure to be compiled into the kernel.
        let [a, b, c] = self.0;
        [V::sum4(a), V::sum4(b), V::sum4(c)]
    }
}

/// The sums of three rows over pixels and lanes.
///
/// # Safety
/// `y` holds `pixels` of three rows.
#[inline(always)]
unsafe fn row_sums<V: Vector>(mut y: *const V::Elem, pixels: usize) -> [V::Elem; 4] {
    let mut sums = [V::splat(V::Elem::ZERO); 4];
    for _ in 0..pixels {
        for slot in (0..LANE_BLOCK).step_by(V::WIDTH) {
            for (k, sum) in sums.iter_mut().enumerate().take(TALL) {
                // SAFETY: the caller's.
                *sum = sum.add(unsafe { V::load(y.add(k * LANE_BLOCK + slot)) });
            }
        }
        y = y.wrapping_add(TALL * LANE_BLOCK);
    }
    V::sum4(sums)
}
