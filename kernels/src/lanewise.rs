//! Passes over tiles that are not products of matrices: dots down the rows, and factors row by row.
//!
//! A dot keeps four partial sums, of rows 0, 4, 8, …, of rows 1, 5, …, and so on, so that the additions
//! do not wait for each other; they are joined as (0 + 1) + (2 + 3). Always in this order.

#![allow(unsafe_code)]

use crate::simd::{Isa, Kernel, PAIR, Scalar, Vector, dispatch, steps};
use crate::tile::{In, Out};

const PARTS: usize = 4;

/// One factor of a dot: the rows of a tile, or one number a row, the same in all lanes.
#[derive(Clone, Copy)]
pub enum Operand<'a, T> {
    /// A tile.
    Tile(In<'a, T>),
    /// Constants.
    Fixed(&'a [T]),
}

impl<T: Scalar> Operand<'_, T> {
    fn expect(&self, rows: usize, blocks: usize) {
        match self {
            Self::Tile(tile) => tile.expect(rows, blocks),
            Self::Fixed(numbers) => assert!(numbers.len() >= rows),
        }
    }

    /// # Safety
    /// As checked by `expect`.
    #[inline(always)]
    unsafe fn get<V: Vector<Elem = T>>(&self, block: usize, row: usize, slot: usize) -> V {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Self::Tile(tile) => V::load(tile.at(block, row).add(slot)),
                Self::Fixed(numbers) => V::splat(*numbers.get_unchecked(row)),
            }
        }
    }
}

/// out\[0\] ← [out\[0\] if `add`] + Σᵣ a\[r\] b\[r\], lane by lane.
pub fn dot<T: Scalar>(
    isa: Isa,
    a: Operand<'_, T>,
    b: In<'_, T>,
    rows: usize,
    blocks: usize,
    out: Out<'_, T>,
    add: bool,
) {
    a.expect(rows, blocks);
    b.expect(rows, blocks);
    out.expect(1, blocks);
    dispatch(isa, Dot { a, b, rows, blocks, out, add });
}

struct Dot<'a, T> {
    a: Operand<'a, T>,
    b: In<'a, T>,
    rows: usize,
    blocks: usize,
    out: Out<'a, T>,
    add: bool,
}

impl<T: Scalar> Kernel<T> for Dot<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        for block in 0..self.blocks {
            for step in 0..steps::<V>() {
                let slot = step * PAIR * V::WIDTH;
                let mut sums = [[V::splat(T::ZERO); PAIR]; PARTS];
                for row in (0..self.rows).step_by(PARTS) {
                    for (part, sums) in sums.iter_mut().enumerate() {
                        if row + part < self.rows {
                            for (half, sum) in sums.iter_mut().enumerate() {
                                let slot = slot + half * V::WIDTH;
                                // SAFETY: `dot` checked the shapes.
                                unsafe {
                                    let b = V::load(self.b.at(block, row + part).add(slot));
                                    *sum = self.a.get::<V>(block, row + part, slot).fma(b, *sum);
                                }
                            }
                        }
                    }
                }
                let [a, b, c, d] = sums;
                for (half, (((a, b), c), d)) in a.into_iter().zip(b).zip(c).zip(d).enumerate() {
                    // SAFETY: `dot` checked the shapes.
                    unsafe {
                        let place = self.out.at(block, 0).add(slot + half * V::WIDTH);
                        let sum = a.add(b).add(c.add(d));
                        let sum = if self.add { V::load(place).add(sum) } else { sum };
                        sum.store(place);
                    }
                }
            }
        }
    }
}

/// What [`map_rows`] does with a row.
#[derive(Clone, Copy)]
pub enum RowMap<'a, T> {
    /// y\[r\] ← a\[r\] · b\[r\].
    Times {
        /// b.
        b: Operand<'a, T>,
    },
    /// y\[r\] += a\[r\] · b\[r\].
    AddTimes {
        /// b.
        b: Operand<'a, T>,
    },
    /// y\[r\] ← a\[r\] · lane\[0\].
    ByLane {
        /// One row.
        lane: In<'a, T>,
    },
    /// y\[r\] += a\[r\] · lane\[0\].
    AddByLane {
        /// One row.
        lane: In<'a, T>,
    },
}

/// Applies `what` to `rows` rows of a and of y.
pub fn map_rows<T: Scalar>(
    isa: Isa,
    a: Operand<'_, T>,
    what: RowMap<'_, T>,
    rows: usize,
    blocks: usize,
    y: Out<'_, T>,
) {
    a.expect(rows, blocks);
    y.expect(rows, blocks);
    match what {
        RowMap::Times { b } | RowMap::AddTimes { b } => b.expect(rows, blocks),
        RowMap::ByLane { lane } | RowMap::AddByLane { lane } => lane.expect(1, blocks),
    }
    dispatch(isa, RowByRow { a, what, rows, blocks, y });
}

struct RowByRow<'a, T> {
    a: Operand<'a, T>,
    what: RowMap<'a, T>,
    rows: usize,
    blocks: usize,
    y: Out<'a, T>,
}

impl<T: Scalar> Kernel<T> for RowByRow<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        for block in 0..self.blocks {
            for row in 0..self.rows {
                for step in 0..PAIR * steps::<V>() {
                    let slot = step * V::WIDTH;
                    // SAFETY: `map_rows` checked the shapes.
                    unsafe {
                        let a = self.a.get::<V>(block, row, slot);
                        let y = self.y.at(block, row).add(slot);
                        let out = match &self.what {
                            RowMap::Times { b } => a.mul(b.get::<V>(block, row, slot)),
                            RowMap::AddTimes { b } => a.fma(b.get::<V>(block, row, slot), V::load(y)),
                            RowMap::ByLane { lane } => a.mul(V::load(lane.at(block, 0).add(slot))),
                            RowMap::AddByLane { lane } => a.fma(V::load(lane.at(block, 0).add(slot)), V::load(y)),
                        };
                        out.store(y);
                    }
                }
            }
        }
    }
}

/// gathered\[r\] += raw\[r\] · e\[r\], y\[r\] ← e\[r\] · by\[r\], with e\[r\] = fixed\[r\] · lane\[0\]: where the
/// cotangent of an exact trace enters the last hidden layer.
#[allow(clippy::too_many_arguments)]
pub fn enter<T: Scalar>(
    isa: Isa,
    fixed: &[T],
    lane: In<'_, T>,
    raw: In<'_, T>,
    by: In<'_, T>,
    blocks: usize,
    gathered: Out<'_, T>,
    y: Out<'_, T>,
) {
    let rows = fixed.len();
    lane.expect(1, blocks);
    raw.expect(rows, blocks);
    by.expect(rows, blocks);
    gathered.expect(rows, blocks);
    y.expect(rows, blocks);
    dispatch(isa, Enter { fixed, lane, raw, by, blocks, gathered, y });
}

struct Enter<'a, T> {
    fixed: &'a [T],
    lane: In<'a, T>,
    raw: In<'a, T>,
    by: In<'a, T>,
    blocks: usize,
    gathered: Out<'a, T>,
    y: Out<'a, T>,
}

impl<T: Scalar> Kernel<T> for Enter<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        for block in 0..self.blocks {
            for (row, fixed) in self.fixed.iter().enumerate() {
                for step in 0..PAIR * steps::<V>() {
                    let slot = step * V::WIDTH;
                    // SAFETY: `enter` checked the shapes.
                    unsafe {
                        let e = V::splat(*fixed).mul(V::load(self.lane.at(block, 0).add(slot)));
                        let gathered = self.gathered.at(block, row).add(slot);
                        V::load(self.raw.at(block, row).add(slot)).fma(e, V::load(gathered)).store(gathered);
                        let by = V::load(self.by.at(block, row).add(slot));
                        e.mul(by).store(self.y.at(block, row).add(slot));
                    }
                }
            }
        }
    }
}
