//! The kernel's own tiles: blocks of 16 lanes, each block `[rows][16]` and contiguous.
//!
//! The products read the rows of one block in order, so a block is one stream of memory however many lanes
//! there are; with rows as long as the batch, strides of a power of two would share the same cache sets.

#![allow(unsafe_code)]

use std::marker::PhantomData;

use cnflow_solvers::lanes::LANE_BLOCK;
use cnflow_solvers::{Lanes, LanesMut};

use crate::simd::Scalar;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Block<T>(pub [T; LANE_BLOCK]);

impl<T> Block<T> {
    /// The numbers of blocks that follow each other, `[blocks][16]`.
    #[inline(always)]
    pub(crate) fn numbers(blocks: &[Self]) -> &[T] {
        const { assert!(size_of::<Self>() == LANE_BLOCK * size_of::<T>()) };
        // SAFETY: a block is its 16 numbers and nothing else (`repr(C)`, and no padding by the assertion), so that
        // blocks one after the other are numbers one after the other.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast::<T>(), LANE_BLOCK * blocks.len()) }
    }

    /// As [`Block::numbers`], to write.
    #[inline(always)]
    pub(crate) fn numbers_mut(blocks: &mut [Self]) -> &mut [T] {
        const { assert!(size_of::<Self>() == LANE_BLOCK * size_of::<T>()) };
        // SAFETY: as in `numbers`.
        unsafe { std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast::<T>(), LANE_BLOCK * blocks.len()) }
    }
}

/// `rows` rows of up to `blocks` blocks of lanes, aligned to cache lines.
#[derive(Clone, Debug)]
pub struct Tile<T> {
    data: Vec<Block<T>>,
    rows: usize,
}

/// A tile to read, as passed to kernels.
#[derive(Clone, Copy)]
pub struct In<'a, T> {
    start: *const T,
    rows: usize,
    left: usize,
    blocks: usize,
    tile: PhantomData<&'a [T]>,
}

/// A tile to write (or to update), as passed to kernels.
pub struct Out<'a, T> {
    start: *mut T,
    rows: usize,
    left: usize,
    blocks: usize,
    tile: PhantomData<&'a mut [T]>,
}

impl<T: Scalar> Tile<T> {
    /// Zeros, for up to `lanes` lanes.
    pub fn new(rows: usize, lanes: usize) -> Self {
        Self { data: vec![Block([T::ZERO; LANE_BLOCK]); rows * lanes.div_ceil(LANE_BLOCK)], rows }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The memory of its numbers.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.data[..])
    }

    /// The number of blocks there is room for.
    fn blocks(&self) -> usize {
        self.data.len().checked_div(self.rows).unwrap_or(usize::MAX)
    }

    /// The lanes of one row in one block.
    #[inline]
    pub fn at_mut(&mut self, block: usize, row: usize) -> &mut [T; LANE_BLOCK] {
        &mut self.data[block * self.rows + row].0
    }

    /// The lanes of one row in one block.
    #[inline]
    pub fn at(&self, block: usize, row: usize) -> &[T; LANE_BLOCK] {
        &self.data[block * self.rows + row].0
    }

    /// All rows of one block.
    #[inline]
    pub(crate) fn block(&self, block: usize) -> &[Block<T>] {
        &self.data[block * self.rows..][..self.rows]
    }

    /// All rows of one block.
    #[inline]
    pub(crate) fn block_mut(&mut self, block: usize) -> &mut [Block<T>] {
        &mut self.data[block * self.rows..][..self.rows]
    }

    /// Sets all rows of the first `blocks` blocks to zero.
    pub fn clear(&mut self, blocks: usize) {
        self.data[..blocks * self.rows].fill(Block([T::ZERO; LANE_BLOCK]));
    }

    /// Copies the lanes in use to rows `from..`; the unused slots of the last block become zero.
    pub fn load(&mut self, from: usize, source: Lanes<'_, T>) {
        for row in 0..source.rows() {
            let numbers = &source.row(row)[..source.lanes()];
            for (block, chunk) in numbers.chunks(LANE_BLOCK).enumerate() {
                let slots = self.at_mut(block, from + row);
                slots[..chunk.len()].copy_from_slice(chunk);
                slots[chunk.len()..].fill(T::ZERO);
            }
        }
    }

    /// Copies rows `0..target.rows()` to the lanes in use of the target.
    pub fn unload(&self, mut target: LanesMut<'_, T>) {
        let lanes = target.lanes();
        for row in 0..target.rows() {
            for (block, chunk) in target.row_mut(row)[..lanes].chunks_mut(LANE_BLOCK).enumerate() {
                chunk.copy_from_slice(&self.at(block, row)[..chunk.len()]);
            }
        }
    }

    /// As [`Tile::load`], for a tile of one block: the 16 lanes of `source` from lane `first` on.
    pub fn load_from(&mut self, from: usize, source: Lanes<'_, T>, first: usize) {
        let lanes = first.min(source.lanes())..source.lanes().min(first + LANE_BLOCK);
        for row in 0..source.rows() {
            let (numbers, slots) = (&source.row(row)[lanes.clone()], self.at_mut(0, from + row));
            slots[..numbers.len()].copy_from_slice(numbers);
            slots[numbers.len()..].fill(T::ZERO);
        }
    }

    /// As [`Tile::unload`], for a tile of one block: to the 16 lanes of the target from lane `first` on.
    pub fn unload_to(&self, target: &mut LanesMut<'_, T>, first: usize) {
        let lanes = first.min(target.lanes())..target.lanes().min(first + LANE_BLOCK);
        for row in 0..target.rows() {
            target.row_mut(row)[lanes.clone()].copy_from_slice(&self.at(0, row)[..lanes.len()]);
        }
    }

    /// To read.
    pub fn read(&self) -> In<'_, T> {
        self.read_from(0)
    }

    /// To read, from a row on.
    pub fn read_from(&self, row: usize) -> In<'_, T> {
        assert!(row <= self.rows, "row {row} of {}", self.rows);
        In {
            // `wrapping_add`: an empty tile has no row to stand before.
            start: self.data.as_ptr().cast::<T>().wrapping_add(row * LANE_BLOCK),
            rows: self.rows,
            left: self.rows - row,
            blocks: self.blocks(),
            tile: PhantomData,
        }
    }

    /// To write.
    pub fn write(&mut self) -> Out<'_, T> {
        self.write_from(0)
    }

    /// To write, from a row on.
    pub fn write_from(&mut self, row: usize) -> Out<'_, T> {
        assert!(row <= self.rows, "row {row} of {}", self.rows);
        Out {
            blocks: self.blocks(),
            start: self.data.as_mut_ptr().cast::<T>().wrapping_add(row * LANE_BLOCK),
            rows: self.rows,
            left: self.rows - row,
            tile: PhantomData,
        }
    }

    /// To write, from one row on up to another, and from that one on.
    pub fn write_two(&mut self, first: usize, second: usize) -> (Out<'_, T>, Out<'_, T>) {
        assert!(first <= second, "row {first} stands behind row {second}");
        let Out { blocks, start, rows, left, tile } = self.write_from(second);
        let before = start.wrapping_sub((second - first) * LANE_BLOCK);
        (Out { blocks, start: before, rows, left: second - first, tile }, Out { blocks, start, rows, left, tile })
    }
}

impl<T> In<'_, T> {
    /// Panics unless `rows` rows of `blocks` blocks can be read.
    pub fn expect(&self, rows: usize, blocks: usize) {
        let (left, all) = (self.left, self.blocks);
        assert!(left >= rows && all >= blocks, "a tile has {left} rows of {all} blocks, expected {rows} of {blocks}");
    }

    /// Where a row of a block begins.
    #[inline(always)]
    pub fn at(&self, block: usize, row: usize) -> *const T {
        self.start.wrapping_add((block * self.rows + row) * LANE_BLOCK)
    }
}

impl<'a, T> Out<'a, T> {
    /// The same rows to read, for a pass that replaces them: each number is read before it is written.
    pub fn before(&self) -> In<'a, T> {
        let Self { start, rows, left, blocks, .. } = *self;
        In { start, rows, left, blocks, tile: PhantomData }
    }

    /// Panics unless `rows` rows of `blocks` blocks can be written.
    pub fn expect(&self, rows: usize, blocks: usize) {
        let (left, all) = (self.left, self.blocks);
        assert!(left >= rows && all >= blocks, "a tile has {left} rows of {all} blocks, expected {rows} of {blocks}");
    }

    /// Where a row of a block begins.
    #[inline(always)]
    pub fn at(&self, block: usize, row: usize) -> *mut T {
        self.start.wrapping_add((block * self.rows + row) * LANE_BLOCK)
    }
}
