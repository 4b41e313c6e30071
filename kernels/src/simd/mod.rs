//! Vectors of lanes: each kernel is written once and runs on whichever vector the machine has.
//!
//! [`Vector`] has two kinds of implementors: AVX2 registers, and plain arrays with `mul_add` (`portable`).
//! Both do the same operations with the same roundings in the same order, so their bits agree. A kernel
//! is chosen at run time by [`dispatch`]; compiling for one machine (`-C target-cpu`) would make a binary
//! that fails elsewhere, and the fast reciprocal instructions differ between vendors, so neither is used.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;

use cnflow_solvers::Real;
use cnflow_solvers::lanes::LANE_BLOCK;

/// A scalar with its vectors and with the constants of its elementary functions: `f32` and `f64`.
pub trait Scalar: Real {
    /// The AVX2 register: only for kernels that [`dispatch`] runs.
    #[doc(hidden)]
    #[cfg(target_arch = "x86_64")]
    type Avx2: Vector<Elem = Self>;
    /// An array of the same length.
    type Portable: Vector<Elem = Self>;
    /// 1.5 · 2^(mantissa bits): adding it rounds to an integer, which then sits in the low bits.
    const ROUNDER: Self;
    /// log₂ e.
    const LOG2_E: Self;
    /// ln 2 cut so that its product with any exponent is exact.
    const LN_2_HIGH: Self;
    /// What is left of ln 2.
    const LN_2_LOW: Self;
    /// P in eʳ = 1 + r + r² P(r) on |r| ≤ ln 2 / 2, constant first (minimax, fitted for this crate).
    const EXP: &'static [Self];
    /// P in atanh(s) = s + s³ P(s²) on 0 ≤ s ≤ 1/3, constant first (minimax, fitted for this crate).
    const ATANH: &'static [Self];
    /// The least argument of the exponential: e to it is still a normal number.
    const EXP_LEAST: Self;
    /// Below this, eˣ − 1 is −1.
    const EXP_M1_LEAST: Self;
}

/// A few lanes, operated on together. All operations round once and act lane by lane.
pub trait Vector: Copy {
    /// The scalar.
    type Elem: Scalar;
    /// How many lanes.
    const WIDTH: usize;

    /// Reads `WIDTH` numbers.
    ///
    /// # Safety
    /// They must be readable; alignment is not needed.
    unsafe fn load(from: *const Self::Elem) -> Self;
    /// Writes `WIDTH` numbers.
    ///
    /// # Safety
    /// They must be writable; alignment is not needed.
    unsafe fn store(self, to: *mut Self::Elem);
    /// Reads `WIDTH` numbers from the place `at` on.
    ///
    /// # Panics
    /// Where there are not so many.
    #[inline(always)]
    fn read(from: &[Self::Elem], at: usize) -> Self {
        let part = &from[at..at + Self::WIDTH];
        // SAFETY: `part` has `WIDTH` numbers.
        unsafe { Self::load(part.as_ptr()) }
    }
    /// Writes `WIDTH` numbers to the place `at` on.
    ///
    /// # Panics
    /// Where there is no room.
    #[inline(always)]
    fn write(self, to: &mut [Self::Elem], at: usize) {
        let part = &mut to[at..at + Self::WIDTH];
        // SAFETY: `part` has room for `WIDTH` numbers.
        unsafe { self.store(part.as_mut_ptr()) }
    }
    /// The same number in all lanes.
    fn splat(value: Self::Elem) -> Self;
    /// self + b.
    fn add(self, b: Self) -> Self;
    /// self − b.
    fn sub(self, b: Self) -> Self;
    /// self · b.
    fn mul(self, b: Self) -> Self;
    /// self / b.
    fn div(self, b: Self) -> Self;
    /// self · a + b, rounded once.
    fn fma(self, a: Self, b: Self) -> Self;
    /// b − self · a, rounded once.
    fn neg_fma(self, a: Self, b: Self) -> Self;
    /// self if it is larger, else (and whenever either is NaN) `b`.
    fn max(self, b: Self) -> Self;
    /// The square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// The magnitude.
    fn abs(self) -> Self;
    /// The magnitude of self with the sign of `sign`.
    fn copysign(self, sign: Self) -> Self;
    /// 2ⁿ, where self is [`Scalar::ROUNDER`] + n and 2ⁿ is a normal number.
    fn exp2_of_rounded(self) -> Self;
    /// `yes` where self > 0, else `no`.
    fn if_positive(self, yes: Self, no: Self) -> Self;
    /// The sums of four vectors over their lanes, halves onto halves: \[l\] += [l + WIDTH/2], and so on.
    fn sum4(rows: [Self; 4]) -> [Self::Elem; 4];
    /// The first `WIDTH` rows become the columns of what they were; the others are left alone.
    fn transpose(rows: &mut [Self; 8]);
}

/// Which instructions to use. Those of AVX2 can only be had from [`Isa::detect`], on a machine that has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Instructions);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the compiler makes of arrays.
    Portable,
}

impl Isa {
    /// Arrays, whatever the machine.
    pub const PORTABLE: Self = Self(Instructions::Portable);

    /// The best that this machine has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Self(Instructions::Avx2);
        }
        Self::PORTABLE
    }
}

/// A computation written for any vector. `run` must be `#[inline(always)]`.
pub trait Kernel<T: Scalar> {
    /// Does it.
    fn run<V: Vector<Elem = T>>(self);
}

/// Runs a kernel with the vectors of `isa`.
#[inline]
pub fn dispatch<T: Scalar, K: Kernel<T>>(isa: Isa, kernel: K) {
    match isa.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Instructions::Avx2` is only made by `Isa::detect`, which found AVX2 and FMA.
        Instructions::Avx2 => unsafe { on_avx2(kernel) },
        Instructions::Portable => kernel.run::<T::Portable>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn on_avx2<T: Scalar, K: Kernel<T>>(kernel: K) {
    kernel.run::<T::Avx2>();
}

impl Scalar for f32 {
    #[cfg(target_arch = "x86_64")]
    type Avx2 = avx2::F32x8;
    type Portable = portable::Array<f32, 8>;
    const ROUNDER: f32 = 12_582_912.0;
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const EXP: &'static [f32] = &[0.5, 0.166_665_43, 0.041_666_287, 0.008_366_643, 0.001_394_623_6];
    const ATANH: &'static [f32] = &[0.333_332_06, 0.200_108_5, 0.139_995_65, 0.140_122_83];
    const EXP_LEAST: f32 = -87.0;
    const EXP_M1_LEAST: f32 = -20.0;
}

#[allow(clippy::excessive_precision)]
impl Scalar for f64 {
    #[cfg(target_arch = "x86_64")]
    type Avx2 = avx2::F64x4;
    type Portable = portable::Array<f64, 4>;
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    const LOG2_E: f64 = std::f64::consts::LOG2_E;
    const LN_2_HIGH: f64 = 0.6931471805598903;
    const LN_2_LOW: f64 = 5.497923018708371e-14;
    const EXP: &'static [f64] = &[
        0.5,
        0.16666666666666677,
        0.0416666666666667,
        0.008333333333321643,
        0.0013888888888868329,
        0.00019841269886111026,
        2.4801587357585846e-05,
        2.7557244204075425e-06,
        2.755724523853128e-07,
        2.5109046307949348e-08,
        2.0923704791696306e-09,
    ];
    const ATANH: &'static [f64] = &[
        0.33333333333333154,
        0.2000000000007844,
        0.14285714273949365,
        0.11111111983541457,
        0.09090872006674351,
        0.07693279065479271,
        0.06650498035747988,
        0.06052957817948938,
        0.041704093323873266,
        0.08508646977303332,
    ];
    const EXP_LEAST: f64 = -708.0;
    const EXP_M1_LEAST: f64 = -40.0;
}

/// The vectors in one step of the micro-kernels.
pub const PAIR: usize = 2;

/// How many steps of two vectors cover a block of lanes.
pub const fn steps<V: Vector>() -> usize {
    LANE_BLOCK / (PAIR * V::WIDTH)
}
