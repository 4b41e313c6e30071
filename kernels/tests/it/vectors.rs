//! Every operation of a vector is that of its numbers, one by one, on either kind of vector.

use cnflow_kernels::simd::{Kernel, PAIR, Vector, dispatch, steps};
use cnflow_kernels::{Isa, Scalar};
use cnflow_solvers::lanes::LANE_BLOCK;

use crate::cases::{bits, numbers};

/// Where an operation on three blocks of numbers goes.
type Blocks<T> = Vec<[T; LANE_BLOCK]>;

struct EachLane<'a, T> {
    a: &'a [T; LANE_BLOCK],
    b: &'a [T; LANE_BLOCK],
    c: &'a [T; LANE_BLOCK],
    out: &'a mut Blocks<T>,
}

impl<T: Scalar> Kernel<T> for EachLane<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        self.out.resize(12, [T::ZERO; LANE_BLOCK]);
        for at in (0..LANE_BLOCK).step_by(V::WIDTH) {
            let (a, b, c) = (V::read(self.a, at), V::read(self.b, at), V::read(self.c, at));
            a.write(&mut self.out[0], at);
            V::splat(self.a[at]).write(&mut self.out[1], at);
            a.add(b).write(&mut self.out[2], at);
            a.sub(b).write(&mut self.out[3], at);
            a.mul(b).write(&mut self.out[4], at);
            a.div(b).write(&mut self.out[5], at);
            a.fma(b, c).write(&mut self.out[6], at);
            a.neg_fma(b, c).write(&mut self.out[7], at);
            a.max(b).write(&mut self.out[8], at);
            a.abs().sqrt().write(&mut self.out[9], at);
            a.copysign(b).write(&mut self.out[10], at);
            a.if_positive(b, c).write(&mut self.out[11], at);
        }
    }
}

/// What [`EachLane`] computes, lane by lane; `width` is that of the vector, for the splat.
fn plainly<T: Scalar + Plain>(a: &[T], b: &[T], c: &[T], width: usize) -> Vec<Vec<T>> {
    let each = |f: &dyn Fn(usize) -> T| (0..LANE_BLOCK).map(f).collect::<Vec<T>>();
    vec![
        a.to_vec(),
        each(&|l| a[l / width * width]),
        each(&|l| a[l] + b[l]),
        each(&|l| a[l] - b[l]),
        each(&|l| a[l] * b[l]),
        each(&|l| a[l] / b[l]),
        each(&|l| a[l].mul_add(b[l], c[l])),
        each(&|l| (-a[l]).mul_add(b[l], c[l])),
        each(&|l| if a[l] > b[l] { a[l] } else { b[l] }),
        each(&|l| a[l].root()),
        each(&|l| a[l].signed(b[l])),
        each(&|l| if a[l] > T::ZERO { b[l] } else { c[l] }),
    ]
}

/// What the standard library has for either scalar.
trait Plain {
    /// √|x|.
    fn root(self) -> Self;
    /// The magnitude with another's sign.
    fn signed(self, sign: Self) -> Self;
    /// 2ⁿ.
    fn power(n: i32) -> Self;
}

macro_rules! plain {
    ($t:ty) => {
        impl Plain for $t {
            fn root(self) -> Self {
                self.abs().sqrt()
            }
            fn signed(self, sign: Self) -> Self {
                self.copysign(sign)
            }
            fn power(n: i32) -> Self {
                (2.0 as $t).powi(n)
            }
        }
    };
}
plain!(f32);
plain!(f64);

/// NaN is NaN, whatever its bits; all else is equal bit by bit.
fn same<T: Scalar>(a: &[T], b: &[T], what: &str) {
    for (l, (a, b)) in a.iter().zip(b).enumerate() {
        let nan = a.to_f64().is_nan() && b.to_f64().is_nan();
        assert!(nan || a.to_f64().to_bits() == b.to_f64().to_bits(), "{what}, lane {l}: {a} or {b}");
    }
}

fn each_operation<T: Scalar + Plain>(width: usize) {
    let special = [f64::NAN, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1.0, -1.0, 1e-30];
    for turn in 0..8 {
        let mut blocks: [[T; LANE_BLOCK]; 3] =
            std::array::from_fn(|k| numbers(LANE_BLOCK, (10 * turn + k) as u64).try_into().unwrap());
        // Each special number meets each other one.
        for l in 0..8 {
            (blocks[0][l], blocks[1][l], blocks[2][l]) =
                (T::of(special[l]), T::of(special[(l + turn) % 8]), T::of(special[(3 * l + turn) % 8]));
        }
        let [a, b, c] = &blocks;
        let plain = plainly(a, b, c, width);
        for isa in [Isa::detect(), Isa::PORTABLE] {
            let mut out = Blocks::new();
            dispatch(isa, EachLane { a, b, c, out: &mut out });
            for (k, (found, plain)) in out.iter().zip(&plain).enumerate() {
                same(found, plain, &format!("{isa:?}, operation {k}, turn {turn}"));
            }
        }
    }
}

#[test]
fn operations_are_those_of_the_numbers() {
    each_operation::<f32>(8);
    each_operation::<f64>(4);
}

struct Across<'a, T> {
    rows: &'a [[T; 8]; 8],
    sums: &'a mut [T; 4],
    columns: &'a mut [[T; 8]; 8],
    width: &'a mut usize,
}

impl<T: Scalar> Kernel<T> for Across<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let mut rows = [V::splat(T::ZERO); 8];
        for (row, from) in rows.iter_mut().zip(self.rows) {
            *row = V::read(from, 0);
        }
        *self.sums = V::sum4([rows[0], rows[1], rows[2], rows[3]]);
        V::transpose(&mut rows);
        for (row, to) in rows.iter().zip(self.columns) {
            row.write(to, 0);
        }
        *self.width = V::WIDTH;
        assert_eq!(steps::<V>() * PAIR * V::WIDTH, LANE_BLOCK);
    }
}

fn across_lanes<T: Scalar>(width: usize) {
    let rows: [[T; 8]; 8] = std::array::from_fn(|k| numbers(8, 70 + k as u64).try_into().unwrap());
    // Halves onto halves.
    let sum = |row: &[T; 8]| {
        let mut parts = row[..width].to_vec();
        while parts.len() > 1 {
            let half = parts.len() / 2;
            parts = (0..half).map(|l| parts[l] + parts[l + half]).collect();
        }
        parts[0]
    };
    for isa in [Isa::detect(), Isa::PORTABLE] {
        let (mut sums, mut columns, mut found) = ([T::ZERO; 4], rows, 0);
        dispatch(isa, Across { rows: &rows, sums: &mut sums, columns: &mut columns, width: &mut found });
        assert_eq!(found, width);
        let expected: Vec<T> = rows[..4].iter().map(sum).collect();
        assert_eq!(bits(&sums), bits(&expected), "{isa:?}");
        for (i, column) in columns[..width].iter().enumerate() {
            let expected: Vec<T> = (0..width).map(|l| rows[l][i]).collect();
            assert_eq!(bits(&column[..width]), bits(&expected), "{isa:?}, column {i}");
        }
    }
}

#[test]
fn sums_over_lanes_and_transposes_have_one_order() {
    across_lanes::<f32>(8);
    across_lanes::<f64>(4);
}

struct Powers<'a, T>(&'a [T], &'a mut Vec<T>);

impl<T: Scalar> Kernel<T> for Powers<'_, T> {
    #[inline(always)]
    fn run<V: Vector<Elem = T>>(self) {
        let mut out = [T::ZERO; LANE_BLOCK];
        for n in self.0 {
            V::splat(T::ROUNDER).add(V::splat(*n)).exp2_of_rounded().write(&mut out, 0);
            self.1.push(out[0]);
        }
    }
}

fn powers<T: Scalar + Plain>(least: i32, most: i32) {
    let exponents: Vec<T> = (least..=most).map(|n| T::of(f64::from(n))).collect();
    let expected: Vec<T> = (least..=most).map(T::power).collect();
    for isa in [Isa::detect(), Isa::PORTABLE] {
        let mut found = Vec::new();
        dispatch(isa, Powers(&exponents, &mut found));
        assert_eq!(bits(&found), bits(&expected), "{isa:?}");
    }
}

#[test]
fn powers_of_two_are_exact_over_all_normal_numbers() {
    powers::<f32>(-126, 127);
    powers::<f64>(-1022, 1023);
}

struct Outside<'a>(&'a mut [f32], usize, bool);

impl Kernel<f32> for Outside<'_> {
    #[inline(always)]
    fn run<V: Vector<Elem = f32>>(self) {
        if self.2 {
            V::splat(1.0).write(self.0, self.1);
        } else {
            self.0[0] = V::sum4([V::read(self.0, self.1); 4])[0];
        }
    }
}

#[test]
fn a_read_or_a_write_past_the_end_is_refused() {
    for isa in [Isa::detect(), Isa::PORTABLE] {
        for writes in [false, true] {
            let ends = |len: usize, at: usize| {
                std::panic::catch_unwind(|| dispatch(isa, Outside(&mut vec![0.0; len], at, writes))).is_ok()
            };
            assert!(ends(8, 0) && ends(9, 1), "{isa:?}");
            assert!(!ends(7, 0) && !ends(8, 1) && !ends(8, 9) && !ends(8, usize::MAX), "{isa:?}");
        }
    }
}
