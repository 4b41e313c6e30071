//! A convolution of 3 × 3 or of one pixel, on planes `[pixel][channel]` of 16 lanes a row.
//!
//! y\[p\]\[o\] = Σ w\[o\]\[ky\]\[kx\]\[i\] x\[p + (ky − 1, kx − 1)\]\[i\] + b\[o\]: what a pixel takes are three runs
//! of 3 C consecutive rows, so that it is the product's micro-tile over three runs, with nothing copied. The plane is
//! surrounded by zeros: there the runs are shorter, a pixel at a corner of the image costs four ninths. The transpose
//! is the convolution with the kernel turned by half a turn and its inputs and outputs exchanged; a tangent has no
//! bias.

#![allow(unsafe_code)]

mod gradient;

use std::ops::Range;

use cnflow_solvers::Real;
use cnflow_solvers::lanes::LANE_BLOCK;

pub(super) use self::gradient::Scratch;
use self::gradient::conv_gradient;
use super::ImageShape;
use crate::product::{Panels, TALL, accumulate};
use crate::simd::{Isa, Kernel, PAIR, Scalar, Vector, dispatch, steps};
use crate::tile::{In, Out};

/// The size of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct ConvSize {
    /// Of the plane that is read.
    pub x: ImageShape,
    /// Channels of the plane that is written.
    pub outputs: usize,
    /// The width and height of the kernel.
    pub kernel: usize,
}

/// Where the taps of a kernel begin and end for the pixel at `at` of `size`, so that they stay on the plane.
#[inline(always)]
pub(super) fn taps(kernel: usize, at: usize, size: usize) -> Range<usize> {
    let pad = kernel / 2;
    pad.saturating_sub(at)..kernel.min(size + pad - at)
}

/// A convolution with its weights.
#[derive(Clone, Debug)]
pub struct Conv<T> {
    size: ConvSize,
    forward: Panels<T, TALL>,
    back: Panels<T, TALL>,
    /// b, padded to whole panels.
    bias: Vec<T>,
}

impl<T: Scalar> Conv<T> {
    /// Zeros.
    pub fn new(size: ConvSize) -> Self {
        let (area, inputs) = (size.kernel * size.kernel, size.x.channels);
        Self {
            size,
            forward: Panels::new(size.outputs, area * inputs),
            back: Panels::new(inputs, area * size.outputs),
            bias: vec![T::ZERO; size.outputs.next_multiple_of(TALL)],
        }
    }

    /// Its size.
    pub fn size(&self) -> ConvSize {
        self.size
    }

    /// Takes W, `[out, ky, kx, in]`, then b, in place.
    pub fn set_params(&mut self, theta: &[T]) {
        let ConvSize { x, outputs, kernel } = self.size;
        let (area, inputs) = (kernel * kernel, x.channels);
        let (weight, bias) = theta.split_at(outputs * area * inputs);
        self.forward.pack(|o, k| weight[o * area * inputs + k]);
        // Column (tap, o) of row i: the tap on the other side of the middle.
        self.back.pack(|i, k| weight[(k % outputs * area + area - 1 - k / outputs) * inputs + i]);
        self.bias[..outputs].copy_from_slice(bias);
    }

    /// y ← W ∗ x + b, for these rows of pixels.
    pub fn forward(&self, isa: Isa, x: In<'_, T>, y: Out<'_, T>, rows: Range<usize>) {
        convolve(isa, self.size, &self.forward, Start::Bias(&self.bias), x, y, rows);
    }

    /// y ← W ∗ ẋ.
    pub fn tangent(&self, isa: Isa, dx: In<'_, T>, y: Out<'_, T>, rows: Range<usize>) {
        convolve(isa, self.size, &self.forward, Start::Zero, dx, y, rows);
    }

    /// x̄ ← \[x̄ if `add`\] + Wᵀ ∗ ȳ.
    pub fn transpose(&self, isa: Isa, y_bar: In<'_, T>, x_bar: Out<'_, T>, add: bool, rows: Range<usize>) {
        let ConvSize { x, outputs, kernel } = self.size;
        let size = ConvSize { x: ImageShape { channels: outputs, ..x }, outputs: x.channels, kernel };
        let start = if add { Start::Present } else { Start::Zero };
        convolve(isa, size, &self.back, start, y_bar, x_bar, rows);
    }

    /// g += the gradient by W, and by b where `bias`; g is as long as both.
    pub fn gradient(&self, isa: Isa, x: In<'_, T>, y_bar: In<'_, T>, bias: bool, to: (&mut Scratch<T>, &mut [T])) {
        conv_gradient(isa, self.size, x, y_bar, bias, to);
    }
}

/// What the sums of a convolution begin with.
#[derive(Clone, Copy)]
enum Start<'a, T> {
    Zero,
    /// One a channel, padded to whole panels.
    Bias(&'a [T]),
    /// What is there.
    Present,
}

fn convolve<T: Scalar>(
    isa: Isa,
    size: ConvSize,
    panels: &Panels<T, TALL>,
    start: Start<'_, T>,
    x: In<'_, T>,
    y: Out<'_, T>,
    rows: Range<usize>,
) {
    let ConvSize { x: shape, outputs, kernel } = size;
    assert_eq!(panels.size(), (outputs, kernel * kernel * shape.channels));
    assert!(kernel % 2 == 1 && rows.end <= shape.height);
    x.expect(shape.len(), 1);
    y.expect(shape.pixels() * outputs, 1);
    if let Start::Bias(bias) = start {
        assert!(bias.len() >= outputs.next_multiple_of(TALL));
    }
    dispatch(isa, Convolve { size, panels, start, x, y, rows });
}

struct Convolve<'a, T> {
    size: ConvSize,
    panels: &'a Panels<T, TALL>,
    start: Start<'a, T>,
    x: In<'a, T>,
    y: Out<'a, T>,
    rows: Range<usize>,
}

impl<T: Scalar> Kernel<T> for Convolve<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { size: ConvSize { x: shape, outputs, kernel }, panels, start, x, y, rows } = self;
        let (pad, inputs, width) = (kernel / 2, shape.channels, shape.width);
        for row in rows {
            let high = taps(kernel, row, shape.height);
            // Panels outside, pixels inside: a panel stays in the first cache while a row of pixels passes by.
            for panel in 0..outputs.div_ceil(TALL) {
                let (weights, first) = (panels.panel(panel).as_ptr(), panel * TALL);
                let tall = (outputs - first).min(TALL);
                for column in 0..width {
                    let wide = taps(kernel, column, width);
                    let (from, depth) = (column + wide.start - pad, wide.len() * inputs);
                    for slot in (0..steps::<V>()).map(|step| step * PAIR * V::WIDTH) {
                        let place = y.at(0, (row * width + column) * outputs + first).wrapping_add(slot);
                        // SAFETY: `convolve` checked the planes, the panels and the bias; `taps` stays on the plane.
                        unsafe {
                            let mut sums = begin::<V>(&start, first, tall, place);
                            for ky in high.clone() {
                                let weights = weights.add((ky * kernel + wide.start) * inputs * TALL);
                                let run = x.at(0, ((row + ky - pad) * width + from) * inputs).add(slot);
                                sums = accumulate::<V, TALL>(sums, weights, run, depth);
                            }
                            for (o, [low, up]) in sums.into_iter().enumerate().take(tall) {
                                low.store(place.add(o * LANE_BLOCK));
                                up.store(place.add(o * LANE_BLOCK + V::WIDTH));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// `place` holds `tall` rows of a block, two vectors wide; a bias reaches to the whole panel.
#[inline(always)]
unsafe fn begin<V: Vector>(
    start: &Start<'_, V::Elem>,
    first: usize,
    tall: usize,
    place: *const V::Elem,
) -> [[V; PAIR]; TALL] {
    let mut sums = [[V::splat(V::Elem::ZERO); PAIR]; TALL];
    // SAFETY: the caller's.
    unsafe {
        match start {
            Start::Zero => {}
            Start::Bias(bias) => {
                for (o, sums) in sums.iter_mut().enumerate() {
                    *sums = [V::splat(*bias.get_unchecked(first + o)); PAIR];
                }
            }
            Start::Present => {
                for (o, sums) in sums.iter_mut().enumerate().take(tall) {
                    *sums = [V::load(place.add(o * LANE_BLOCK)), V::load(place.add(o * LANE_BLOCK + V::WIDTH))];
                }
            }
        }
    }
    sums
}
