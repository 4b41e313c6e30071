//! The unsafe code of the kernels: each safe entry refuses what is too small, and nothing is written outside of what
//! was given.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cnflow_kernels::activation::Tanh;
use cnflow_kernels::epilogue::{Cotangent, Joined, Scaled, ScaledByLane, Store, Tangent, Value, WithFirst, WithSecond};
use cnflow_kernels::lanewise::{Operand, RowMap, dot, enter, map_rows};
use cnflow_kernels::outer::{outer, row_sums};
use cnflow_kernels::product::{Factor, Panels, product};
use cnflow_kernels::{Isa, Scalar, Tile};
use cnflow_solvers::lanes::LANE_BLOCK;

use crate::cases::{bits, numbers};

const BLOCKS: usize = 2;

fn refuses(f: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

/// A tile for `blocks` blocks.
fn sized(rows: usize, blocks: usize) -> Tile<f32> {
    Tile::new(rows, blocks * LANE_BLOCK)
}

/// Runs `f` with tiles of these rows and [`BLOCKS`] blocks, which must pass; then with each of them in turn a row or a
/// block short, which must be refused.
fn each_must_fit<const N: usize>(what: &str, rows: [usize; N], f: impl Fn(&mut [Tile<f32>; N])) {
    f(&mut rows.map(|rows| sized(rows, BLOCKS)));
    for short in 0..N {
        let mut tiles = rows.map(|rows| sized(rows, BLOCKS));
        tiles[short] = sized(rows[short] - 1, BLOCKS);
        assert!(refuses(|| f(&mut tiles)), "{what}: tile {short} is a row short");
        let mut tiles = rows.map(|rows| sized(rows, BLOCKS));
        tiles[short] = sized(rows[short], BLOCKS - 1);
        assert!(refuses(|| f(&mut tiles)), "{what}: tile {short} is a block short");
    }
}

#[test]
fn products_refuse_tiles_that_are_too_small() {
    // 5 outputs, 3 terms.
    let (matrix, bias) = (Panels::<f32>::new(5, 3), vec![0.0_f32; 8]);
    let isa = Isa::detect();
    each_must_fit("store", [3, 5], |[x, y]| {
        product(isa, Factor::new(&matrix, x.read()).plus(&bias), BLOCKS, Store(y.write()));
    });
    each_must_fit("value", [3, 5], |[x, h]| {
        product(isa, Factor::new(&matrix, x.read()), BLOCKS, Value { act: Tanh, h: h.write() });
    });
    each_must_fit("first", [3, 5, 5], |[x, h, first]| {
        let epilogue = WithFirst { act: Tanh, h: h.write(), first: first.write() };
        product(isa, Factor::new(&matrix, x.read()), BLOCKS, epilogue);
    });
    each_must_fit("second", [3, 5, 5, 5], |[x, h, first, second]| {
        let epilogue = WithSecond { act: Tanh, h: h.write(), first: first.write(), second: second.write() };
        product(isa, Factor::new(&matrix, x.read()), BLOCKS, epilogue);
    });
    each_must_fit("scaled", [3, 5, 5], |[x, y, by]| {
        product(isa, Factor::new(&matrix, x.read()), BLOCKS, Scaled { y: y.write(), by: by.read() });
    });
    each_must_fit("scaled by lane", [3, 5, 1], |[x, y, by]| {
        product(isa, Factor::new(&matrix, x.read()), BLOCKS, ScaledByLane { y: y.write(), by: by.read() });
    });
    each_must_fit("tangent", [3, 5, 5, 5], |[x, raw, y, by]| {
        let epilogue = Tangent { raw: raw.write(), y: y.write(), by: by.read() };
        product(isa, Factor::new(&matrix, x.read()), BLOCKS, epilogue);
    });
    each_must_fit("cotangent", [3, 5, 5, 5, 5], |[x, y, by, raw, gathered]| {
        let epilogue = Cotangent { y: y.write(), by: by.read(), raw: raw.read(), gathered: gathered.write() };
        product(isa, Factor::new(&matrix, x.read()), BLOCKS, epilogue);
    });
    each_must_fit("joined", [3, 5, 5, 5, 5], |[x, y, by, second, gathered]| {
        let epilogue = Joined { y: y.write(), by: by.read(), second: second.read(), gathered: gathered.read() };
        product(isa, Factor::new(&matrix, x.read()), BLOCKS, epilogue);
    });
    let (x, mut y) = (sized(3, 1), sized(5, 1));
    assert!(refuses(|| product(isa, Factor::new(&matrix, x.read()).plus(&bias[..7]), 1, Store(y.write()))), "bias");
    assert!(refuses(|| product(isa, Factor::new(&matrix, x.read()).first(4), 1, Store(y.write()))), "depth");
}

#[test]
fn sums_over_lanes_refuse_what_is_too_small() {
    let isa = Isa::detect();
    // 5 rows by 3 columns at a distance of 4.
    let most = 4 * 4 + 3;
    each_must_fit("outer", [5, 3], |[a, h]| {
        outer(isa, (a.read(), 5), (h.read(), 3), BLOCKS, &mut vec![0.0; most], 4);
    });
    each_must_fit("row sums", [5], |[a]| row_sums(isa, (a.read(), 5), BLOCKS, &mut [0.0; 17], 4));
    let (a, h) = (sized(5, 1), sized(3, 1));
    let into = |len: usize, pitch: usize| outer(isa, (a.read(), 5), (h.read(), 3), 1, &mut vec![0.0; len], pitch);
    assert!(refuses(|| into(most - 1, 4)) && refuses(|| into(most, 2)));
    assert!(refuses(|| row_sums(isa, (a.read(), 5), 1, &mut [0.0; 16], 4)));
}

#[test]
fn passes_refuse_what_is_too_small() {
    let isa = Isa::detect();
    each_must_fit("dot", [5, 5, 1], |[a, b, out]| {
        dot(isa, Operand::Tile(a.read()), b.read(), 5, BLOCKS, out.write(), true);
    });
    each_must_fit("times", [5, 5, 5], |[a, b, y]| {
        let by = RowMap::Times { b: Operand::Tile(b.read()) };
        map_rows(isa, Operand::Tile(a.read()), by, 5, BLOCKS, y.write());
    });
    each_must_fit("add times", [5, 5, 5], |[a, b, y]| {
        let by = RowMap::AddTimes { b: Operand::Tile(b.read()) };
        map_rows(isa, Operand::Tile(a.read()), by, 5, BLOCKS, y.write());
    });
    each_must_fit("by lane", [5, 1, 5], |[a, lane, y]| {
        map_rows(isa, Operand::Tile(a.read()), RowMap::ByLane { lane: lane.read() }, 5, BLOCKS, y.write());
    });
    each_must_fit("add by lane", [5, 1, 5], |[a, lane, y]| {
        map_rows(isa, Operand::Tile(a.read()), RowMap::AddByLane { lane: lane.read() }, 5, BLOCKS, y.write());
    });
    each_must_fit("enter", [1, 5, 5, 5, 5], |[lane, raw, by, gathered, y]| {
        enter(isa, &[1.0; 5], lane.read(), raw.read(), by.read(), BLOCKS, gathered.write(), y.write());
    });
    let (b, mut out) = (sized(5, 1), sized(5, 1));
    assert!(refuses(|| dot(isa, Operand::Fixed(&[1.0; 4]), b.read(), 5, 1, out.write(), false)));
    let by = RowMap::Times { b: Operand::Fixed(&[1.0; 4]) };
    assert!(refuses(|| map_rows(isa, Operand::Tile(b.read()), by, 5, 1, out.write())));
    let by = RowMap::ByLane { lane: b.read() };
    assert!(refuses(|| map_rows(isa, Operand::Fixed(&[1.0; 4]), by, 5, 1, out.write())));
}

#[test]
fn a_view_of_a_tile_begins_within_it() {
    let mut tile = sized(3, 1);
    // Rows 0 to 3 exist as the beginning of a view; the last such view has no rows.
    tile.read_from(3).expect(0, 1);
    tile.write_from(3).expect(0, 1);
    assert!(refuses(|| tile.read_from(4).expect(0, 1)) && refuses(|| tile.write_from(4).expect(0, 1)));
    tile.read_from(1).expect(2, 1);
    assert!(refuses(|| tile.read_from(1).expect(3, 1)) && refuses(|| tile.write_from(2).expect(2, 1)));
}

/// A tile of random numbers.
fn filled<T: Scalar>(rows: usize, blocks: usize, seed: u64) -> Tile<T> {
    let mut tile = Tile::new(rows, blocks * LANE_BLOCK);
    let mut all = numbers(rows * blocks * LANE_BLOCK, seed).into_iter();
    for block in 0..blocks {
        for row in 0..rows {
            *tile.at_mut(block, row) = std::array::from_fn(|_| all.next().unwrap());
        }
    }
    tile
}

/// All but `rows` rows from `from` on of the first `blocks` blocks.
fn outside<T: Scalar>(tile: &Tile<T>, all: usize, from: usize, rows: usize, blocks: usize) -> Vec<u64> {
    let places = (0..all).flat_map(|block| (0..tile.rows()).map(move |row| (block, row)));
    let others = places.filter(|&(block, row)| block >= blocks || row < from || row >= from + rows);
    others.flat_map(|(block, row)| bits(tile.at(block, row))).collect()
}

fn nothing_outside_is_written<T: Scalar>(isa: Isa) {
    // Rows 2 to 7 of 9 in the first two of three blocks; whole panels would take rows 2 to 10.
    let (all, from, rows) = (3, 2, 5);
    let mut panels = Panels::new(rows, 3);
    let w: Vec<T> = numbers(rows * 3, 1);
    panels.pack(|row, col| w[row * 3 + col]);
    let x = filled::<T>(4, all, 2);
    let factor = Factor::new(&panels, x.read_from(1));
    let mut tiles: Vec<Tile<T>> = (0..4).map(|k| filled(9, all, 3 + k)).collect();
    let before: Vec<_> = tiles.iter().map(|tile| outside(tile, all, from, rows, BLOCKS)).collect();
    let untouched = |tiles: &[Tile<T>], what: &str| {
        for (tile, before) in tiles.iter().zip(&before) {
            assert_eq!(&outside(tile, all, from, rows, BLOCKS), before, "{what}");
        }
    };
    {
        let [a, b, c, d] = &mut tiles[..] else { unreachable!("four tiles") };
        let (h, first, second) = (a.write_from(from), b.write_from(from), c.write_from(from));
        product(isa, factor, BLOCKS, WithSecond { act: Tanh, h, first, second });
        let (y, by, raw) = (a.write_from(from), b.read_from(from), c.read_from(from));
        product(isa, factor, BLOCKS, Cotangent { y, by, raw, gathered: d.write_from(from) });
        let (raw, y, by) = (a.write_from(from), b.write_from(from), c.read_from(from));
        product(isa, factor, BLOCKS, Tangent { raw, y, by });
    }
    untouched(&tiles, "products");
    {
        let [a, b, c, d] = &mut tiles[..] else { unreachable!("four tiles") };
        let by = RowMap::AddTimes { b: Operand::Tile(b.read_from(from)) };
        map_rows(isa, Operand::Tile(a.read_from(from)), by, rows, BLOCKS, c.write_from(from));
        let (lane, raw, by) = (x.read(), a.read_from(from), b.read_from(from));
        enter(isa, &w[..rows], lane, raw, by, BLOCKS, c.write_from(from), d.write_from(from));
        dot(isa, Operand::Tile(a.read_from(from)), b.read_from(from), rows, BLOCKS, c.write_from(from), true);
    }
    untouched(&tiles, "passes");
    // Rows at a distance of 7, three columns each.
    let mut g = vec![T::ONE; 5 * 7];
    outer(isa, (tiles[0].read_from(from), rows), (x.read_from(1), 3), BLOCKS, &mut g, 7);
    let written = |k: &usize| k % 7 < 3;
    assert!((0..35).filter(|k| !written(k)).all(|k| g[k] == T::ONE), "outer");
    assert!((0..35).filter(written).all(|k| g[k] != T::ONE), "outer");
    let mut g = vec![T::ONE; 5 * 7];
    row_sums(isa, (tiles[0].read_from(from), rows), BLOCKS, &mut g, 7);
    assert!((0..35).all(|k| (g[k] == T::ONE) == (k % 7 != 0)), "row sums");
}

#[test]
fn kernels_write_nothing_outside_of_their_rows_and_blocks() {
    for isa in [Isa::detect(), Isa::PORTABLE] {
        nothing_outside_is_written::<f32>(isa);
        nothing_outside_is_written::<f64>(isa);
    }
}
