//! A column has the bits of a lane of a tile.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cnflow_solvers::lanes::LANE_BLOCK;

use super::*;
use crate::epilogue::{Store, WithFirst};
use crate::lanewise::{self, Operand, RowMap, map_rows};
use crate::numbers::Numbers;
use crate::product as lanes;
use crate::product::Factor;
use crate::tile::{Block, Tile};

const WIDTHS: [usize; 11] = [1, 2, 4, 7, 8, 16, 23, 33, 48, 64, 100];

fn draw<T: Scalar>(n: usize, seed: u64) -> Vec<T> {
    let mut numbers = Numbers::new(seed);
    (0..n).map(|_| T::of(3.0 * numbers.draw())).collect()
}

fn bits<T: Scalar>(numbers: &[T]) -> Vec<u64> {
    numbers.iter().map(|number| number.to_f64().to_bits()).collect()
}

/// Columns of these numbers, `[count][rows]`; what is read beyond the rows is NaN.
fn columns<T: Scalar>(numbers: &[T], rows: usize) -> Columns<T> {
    let mut all = Columns::new(rows, numbers.len() / rows);
    for (index, column) in numbers.chunks_exact(rows).enumerate() {
        all.padded_mut(index).fill(T::of(f64::NAN));
        all.column_mut(index).copy_from_slice(column);
    }
    all
}

/// The same as lanes 5, 6, … of a tile of one block.
fn tile<T: Scalar>(numbers: &[T], rows: usize) -> Tile<T> {
    let mut tile = Tile::new(rows, LANE_BLOCK);
    for (index, column) in numbers.chunks_exact(rows).enumerate() {
        column.iter().enumerate().for_each(|(row, number)| tile.at_mut(0, row)[5 + index] = *number);
    }
    tile
}

fn lane<T: Scalar>(tile: &Tile<T>, index: usize) -> Vec<u64> {
    (0..tile.rows()).map(|row| tile.at(0, row)[5 + index].to_f64().to_bits()).collect()
}

struct Matrix<T> {
    panels: Panels<T>,
    bias: Vec<T>,
    active: usize,
}

impl<T: Scalar> Matrix<T> {
    fn new(rows: usize, cols: usize, active: usize) -> Self {
        let mut panels = Panels::new(rows, cols);
        let w = draw::<T>(rows * cols, 1);
        panels.pack(|row, col| w[row * cols + col]);
        let mut bias = draw(rows, 2);
        bias.resize(rows.next_multiple_of(PANEL), T::ZERO);
        Self { panels, bias, active }
    }

    fn factor(&self) -> ColumnFactor<'_, T> {
        ColumnFactor { matrix: &self.panels, bias: &self.bias, active: self.active }
    }
}

fn products<T: Scalar>(isa: Isa, rows: usize, cols: usize) {
    let what = format!("{rows} by {cols}");
    let matrix = Matrix::<T>::new(rows, cols, cols);
    for (value, tangents) in [(true, 0), (true, 1), (true, 2), (false, 1), (false, 2), (false, 3)] {
        let pass = Pass { value, tangents };
        let x = draw::<T>(cols * pass.count(), 3);
        let mut y = Columns::new(rows, TOGETHER);
        product(isa, matrix.factor(), &columns(&x, cols), &mut y, pass);
        let (of_x, mut of_y) = (tile(&x, cols), Tile::new(rows, LANE_BLOCK));
        let factor = Factor::new(&matrix.panels, of_x.read());
        for index in 0..pass.count() {
            let factor = if value && index == 0 { factor.plus(&matrix.bias) } else { factor };
            lanes::product(isa, factor, 1, Store(of_y.write()));
            assert_eq!(bits(y.column(index)), lane(&of_y, index), "{what}, {pass:?}");
        }
        (pass.count()..TOGETHER).for_each(|index| assert!(y.padded(index).iter().all(|y| *y == T::ZERO), "{what}"));
    }
    // Tangents of the leading inputs.
    let active = cols.div_ceil(2);
    let (matrix, x) = (Matrix::<T>::new(rows, cols, active), draw::<T>(cols, 4));
    let mut y = Columns::new(rows, 1);
    product(isa, matrix.factor(), &columns(&x, cols), &mut y, Pass { value: false, tangents: 1 });
    let (of_x, mut of_y) = (tile(&x, cols), Tile::new(rows, LANE_BLOCK));
    lanes::product(isa, Factor::new(&matrix.panels, of_x.read()).first(active), 1, Store(of_y.write()));
    assert_eq!(bits(y.column(0)), lane(&of_y, 0), "{what}, {active} active");
}

#[test]
fn products_have_the_bits_of_a_lane() {
    for isa in [Isa::detect(), Isa::PORTABLE] {
        for rows in WIDTHS {
            for cols in WIDTHS {
                products::<f32>(isa, rows, cols);
                products::<f64>(isa, rows, cols);
            }
        }
    }
}

struct Activated<'a, T, A>(A, &'a Tile<T>, &'a mut Tile<T>, &'a mut Tile<T>);

impl<T: Scalar, A: Act> Activated<'_, T, A> {
    /// σ and σ′ of lanes, behind a product with the unit matrix.
    fn run(self, isa: Isa) {
        let rows = self.1.rows();
        let mut unit = Panels::new(rows, rows);
        unit.pack(|row, col| if row == col { T::ONE } else { T::ZERO });
        let epilogue = WithFirst { act: self.0, h: self.2.write(), first: self.3.write() };
        lanes::product(isa, Factor::new(&unit, self.1.read()), 1, epilogue);
    }
}

fn passes<T: Scalar>(isa: Isa, rows: usize) {
    let (a, b) = (draw::<T>(rows, 5), draw::<T>(3 * rows, 6));
    let (of_a, of_b) = (tile(&a, rows), tile(&b, rows));
    for activation in Activation::ALL {
        let (mut h, mut first, mut value) = (columns(&a, rows), Columns::new(rows, 1), columns(&a, rows));
        activate(isa, activation, &mut h, Some(&mut first));
        activate(isa, activation, &mut value, None);
        assert_eq!(bits(h.column(0)), bits(value.column(0)), "{activation}");
        let (mut of_h, mut of_first) = (Tile::new(rows, LANE_BLOCK), Tile::new(rows, LANE_BLOCK));
        match activation {
            Activation::Tanh => Activated(activation::Tanh, &of_a, &mut of_h, &mut of_first).run(isa),
            Activation::Softplus => Activated(activation::Softplus, &of_a, &mut of_h, &mut of_first).run(isa),
            Activation::Silu => Activated(activation::Silu, &of_a, &mut of_h, &mut of_first).run(isa),
            Activation::Elu => Activated(activation::Elu, &of_a, &mut of_h, &mut of_first).run(isa),
            Activation::Relu => Activated(activation::Relu, &of_a, &mut of_h, &mut of_first).run(isa),
        }
        let found = (bits(h.column(0)), bits(first.column(0)));
        assert_eq!(found, (lane(&of_h, 0), lane(&of_first, 0)), "{activation}, {rows} rows");
    }
    let mut y = columns(&b, rows);
    times(isa, &mut y, &columns(&a, rows), 1, 2);
    let mut of_y = tile(&b, rows);
    let before = lane(&of_y, 0);
    // Lane 6 and 7 of b by lane 5 of a.
    let mut by = Tile::new(rows, LANE_BLOCK);
    (0..rows).for_each(|row| by.at_mut(0, row).fill(a[row]));
    let map = RowMap::Times { b: Operand::Tile(by.read()) };
    map_rows(isa, Operand::Tile(of_b.read()), map, rows, 1, of_y.write());
    assert_eq!([1, 2].map(|index| bits(y.column(index))), [1, 2].map(|index| lane(&of_y, index)), "{rows} rows");
    assert_eq!(bits(y.column(0)), before, "{rows} rows");
    let mut sum = Tile::new(1, LANE_BLOCK);
    lanewise::dot(isa, Operand::Tile(of_a.read()), of_b.read(), rows, 1, sum.write(), false);
    assert_eq!(vec![dot(isa, &a, &b[..rows]).to_f64().to_bits()], lane(&sum, 0), "{rows} rows");
}

#[test]
fn passes_have_the_bits_of_a_lane() {
    for isa in [Isa::detect(), Isa::PORTABLE] {
        for rows in WIDTHS {
            passes::<f32>(isa, rows);
            passes::<f64>(isa, rows);
        }
    }
}

fn refuses(f: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

#[test]
fn what_is_too_small_is_refused_and_nothing_else_is_written() {
    let matrix = Matrix::<f32>::new(5, 17, 9);
    let (value, tangent) = (Pass::VALUE, Pass { value: false, tangents: 1 });
    let run = |factor: ColumnFactor<'_, f32>, x: usize, count: usize, y: usize, pass: Pass| {
        let isa = Isa::detect();
        refuses(|| product(isa, factor, &Columns::new(x, count), &mut Columns::new(y, count), pass))
    };
    let factor = matrix.factor();
    assert!(!run(factor, 17, 1, 5, value) && !run(factor, 9, 1, 5, tangent));
    assert!(run(factor, 16, 1, 5, value) && run(factor, 8, 1, 5, tangent), "rows of x");
    assert!(run(factor, 17, 1, 4, value) && run(factor, 17, 1, 6, value), "rows of y");
    assert!(run(ColumnFactor { bias: &matrix.bias[..5], ..factor }, 17, 1, 5, value), "a bias that is not padded");
    assert!(run(ColumnFactor { active: 18, ..factor }, 20, 1, 5, tangent), "more active inputs than inputs");
    assert!(run(factor, 17, 2, 5, Pass { value: true, tangents: 1 }), "two depths");
    let whole = Matrix::<f32>::new(5, 17, 17);
    assert!(!run(whole.factor(), 17, 2, 5, Pass { value: true, tangents: 1 }));
    assert!(run(whole.factor(), 17, 1, 5, Pass { value: true, tangents: 1 }), "columns");
    for tangents in [0, TOGETHER + 1] {
        assert!(run(whole.factor(), 17, 4, 5, Pass { value: false, tangents }), "{tangents} columns");
    }
    let (mut five, six) = (Columns::<f32>::new(5, 1), Columns::<f32>::new(6, 1));
    let isa = Isa::detect();
    assert!(refuses(|| activate(isa, Activation::Tanh, &mut five, Some(&mut six.clone()))));
    assert!(refuses(|| times(isa, &mut five, &six, 0, 1)));
    assert!(refuses(|| times(isa, &mut six.clone(), &six, 1, 1)));
    assert!(refuses(|| assert_eq!(dot(isa, &[1.0_f32; 3], &[1.0; 4]), 3.0)));
}

#[test]
fn blocks_are_their_numbers_one_after_the_other() {
    let mut blocks: Vec<Block<f64>> =
        (0..3).map(|b| Block(std::array::from_fn(|l| f64::from(b * 16) + l as f64))).collect();
    let expected: Vec<f64> = (0..48).map(f64::from).collect();
    assert_eq!(Block::numbers(&blocks), expected);
    Block::numbers_mut(&mut blocks)[17] = -1.0;
    assert_eq!(blocks[1].0[1], -1.0);
    assert!(Block::<f32>::numbers(&[]).is_empty());
}
