//! The passes over tiles are those of plain loops; products and sums over lanes are held to it by the laws of nets.

use cnflow_kernels::lanewise::{Operand, RowMap, dot, enter, map_rows};
use cnflow_kernels::{Isa, Tile};
use cnflow_solvers::lanes::LANE_BLOCK;

use crate::cases::numbers;

const BLOCKS: usize = 2;

fn filled(rows: usize, seed: u64) -> Tile<f64> {
    let mut tile = Tile::new(rows, BLOCKS * LANE_BLOCK);
    let mut all = numbers(rows * BLOCKS * LANE_BLOCK, seed).into_iter();
    for block in 0..BLOCKS {
        for row in 0..rows {
            *tile.at_mut(block, row) = std::array::from_fn(|_| all.next().unwrap());
        }
    }
    tile
}

/// Compares a tile with `f(block, row, lane)`: two roundings of numbers of order 10 at most.
fn is(tile: &Tile<f64>, rows: usize, what: &str, f: impl Fn(usize, usize, usize) -> f64) {
    for block in 0..BLOCKS {
        for row in 0..rows {
            for l in 0..LANE_BLOCK {
                let (found, plain) = (tile.at(block, row)[l], f(block, row, l));
                assert!((found - plain).abs() < 1e-14, "{what} [{block}][{row}][{l}]: {found} or {plain}");
            }
        }
    }
}

#[test]
fn passes_are_those_of_plain_loops() {
    let w = numbers::<f64>(33, 9);
    for isa in [Isa::detect(), Isa::PORTABLE] {
        for rows in [1, 4, 5, 17, 33] {
            let (a, b, lane) = (filled(rows, 1), filled(rows, 2), filled(1, 3));
            let (before, before_d) = (filled(rows, 4), filled(1, 5));
            let (of_a, of_b) = (Operand::Tile(a.read()), Operand::Tile(b.read()));

            let mut d = before_d.clone();
            let sum = |block: usize, l: usize| (0..rows).map(|r| a.at(block, r)[l] * b.at(block, r)[l]).sum::<f64>();
            dot(isa, of_a, b.read(), rows, BLOCKS, d.write(), false);
            is(&d, 1, "dot", |block, _, l| sum(block, l));
            let mut d = before_d.clone();
            dot(isa, of_a, b.read(), rows, BLOCKS, d.write(), true);
            is(&d, 1, "added dot", |block, _, l| before_d.at(block, 0)[l] + sum(block, l));
            dot(isa, Operand::Fixed(&w), b.read(), rows, BLOCKS, d.write(), false);
            let fixed = |block: usize, l: usize| (0..rows).map(|r| w[r] * b.at(block, r)[l]).sum::<f64>();
            is(&d, 1, "fixed dot", |block, _, l| fixed(block, l));

            let map = |what: RowMap<'_, f64>| {
                let mut y = before.clone();
                map_rows(isa, of_a, what, rows, BLOCKS, y.write());
                y
            };
            let (own, other) =
                (|k: usize, r: usize, l: usize| a.at(k, r)[l], |k: usize, r: usize, l: usize| b.at(k, r)[l]);
            let old = |k: usize, r: usize, l: usize| before.at(k, r)[l];
            let one = |k: usize, l: usize| lane.at(k, 0)[l];
            is(&map(RowMap::Times { b: of_b }), rows, "times", |k, r, l| own(k, r, l) * other(k, r, l));
            is(&map(RowMap::AddTimes { b: of_b }), rows, "add times", |k, r, l| {
                old(k, r, l) + own(k, r, l) * other(k, r, l)
            });
            let by_lane = map(RowMap::ByLane { lane: lane.read() });
            is(&by_lane, rows, "by lane", |k, r, l| own(k, r, l) * one(k, l));
            let by_lane = map(RowMap::AddByLane { lane: lane.read() });
            is(&by_lane, rows, "add by lane", |k, r, l| old(k, r, l) + own(k, r, l) * one(k, l));

            let (mut gathered, mut y) = (before.clone(), before.clone());
            enter(isa, &w[..rows], lane.read(), a.read(), b.read(), BLOCKS, gathered.write(), y.write());
            let e = |k: usize, r: usize, l: usize| w[r] * one(k, l);
            is(&gathered, rows, "gathered", |k, r, l| old(k, r, l) + own(k, r, l) * e(k, r, l));
            is(&y, rows, "entered", |k, r, l| e(k, r, l) * other(k, r, l));
        }
    }
}
