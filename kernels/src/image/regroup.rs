//! Squares of pixels become one pixel, and back: lists of rows.
//!
//! Both ways each pixel's channels are a run of rows in either plane, and each run has one place in the other at most;
//! so the transpose is the inverse list. What a list does not have is zero.

#![allow(unsafe_code)]

use std::ops::Range;

use cnflow_solvers::lanes::LANE_BLOCK;

use super::ImageShape;
use crate::simd::{Isa, Kernel, Scalar, Vector, dispatch};
use crate::tile::{In, Out};

/// Which run of rows goes where.
#[derive(Clone, Debug)]
pub struct Regroup {
    /// Rows in a run: channels of the finer plane.
    run: usize,
    /// For each run of the result its run of the plane before, and the inverse; [`NONE`] for zeros.
    forward: Vec<usize>,
    back: Vec<usize>,
}

const NONE: usize = usize::MAX;

impl Regroup {
    /// From `fine` to squares of `factor` · `factor` pixels.
    pub fn to_depth(fine: ImageShape, factor: usize) -> Self {
        let (height, width) = (fine.height.div_ceil(factor), fine.width.div_ceil(factor));
        let mut forward = vec![NONE; height * width * factor * factor];
        let mut back = vec![NONE; fine.pixels()];
        for (p, coarse) in back.iter_mut().enumerate() {
            let (y, x) = (p / fine.width, p % fine.width);
            let pixel = y / factor * width + x / factor;
            *coarse = (pixel * factor + y % factor) * factor + x % factor;
            forward[*coarse] = p;
        }
        Self { run: fine.channels, forward, back }
    }

    /// From squares of `factor` · `factor` pixels to `fine`.
    pub fn to_space(fine: ImageShape, factor: usize) -> Self {
        let Self { run, forward, back } = Self::to_depth(fine, factor);
        Self { run, forward: back, back: forward }
    }

    /// y ← x regrouped; `part` of the runs of y.
    pub fn forward<T: Scalar>(&self, isa: Isa, x: In<'_, T>, y: Out<'_, T>, part: Range<usize>) {
        self.regroup(isa, (&self.forward, self.back.len()), x, y, false, part);
    }

    /// x̄ ← \[x̄ if `add`\] + ȳ regrouped; `part` of the runs of x̄.
    pub fn transpose<T: Scalar>(&self, isa: Isa, y_bar: In<'_, T>, x_bar: Out<'_, T>, add: bool, part: Range<usize>) {
        self.regroup(isa, (&self.back, self.forward.len()), y_bar, x_bar, add, part);
    }

    /// How many runs a result has, and how many the plane before.
    pub fn runs(&self) -> (usize, usize) {
        (self.forward.len(), self.back.len())
    }

    fn regroup<T: Scalar>(
        &self,
        isa: Isa,
        (list, from): (&[usize], usize),
        x: In<'_, T>,
        y: Out<'_, T>,
        add: bool,
        part: Range<usize>,
    ) {
        x.expect(from * self.run, 1);
        y.expect(list.len() * self.run, 1);
        dispatch(isa, Runs { list: &list[part.clone()], first: part.start, run: self.run, x, y, add });
    }
}

struct Runs<'a, T> {
    list: &'a [usize],
    /// The first run of y.
    first: usize,
    run: usize,
    x: In<'a, T>,
    y: Out<'a, T>,
    add: bool,
}

impl<T: Scalar> Kernel<T> for Runs<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let Self { list, first, run, x, y, add } = self;
        for (k, &from) in list.iter().enumerate() {
            let to = y.at(0, (first + k) * run);
            for slot in (0..run * LANE_BLOCK).step_by(V::WIDTH) {
                // SAFETY: `regroup` checked both planes, whose runs the lists stay within.
                unsafe {
                    let number = if from == NONE { V::splat(T::ZERO) } else { V::load(x.at(0, from * run).add(slot)) };
                    let number = if add { V::load(to.add(slot)).add(number) } else { number };
                    number.store(to.add(slot));
                }
            }
        }
    }
}
