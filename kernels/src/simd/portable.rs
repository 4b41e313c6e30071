//! Vectors as arrays: any machine, the same bits.

#![allow(unsafe_code)]

use cnflow_solvers::Real;

use super::Vector;

/// `N` lanes.
#[derive(Clone, Copy, Debug)]
pub struct Array<T, const N: usize>([T; N]);

impl<T: Copy, const N: usize> Array<T, N> {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(T, T) -> T) -> Self {
        Self(std::array::from_fn(|l| f(self.0[l], b.0[l])))
    }
}

macro_rules! array {
    ($t:ty, $n:literal, $mantissa:literal) => {
        impl Vector for Array<$t, $n> {
            type Elem = $t;
            const WIDTH: usize = $n;

            #[inline(always)]
            unsafe fn load(from: *const $t) -> Self {
                // SAFETY: the caller vouches for `N` readable numbers.
                Self(unsafe { from.cast::<[$t; $n]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $t) {
                // SAFETY: the caller vouches for `N` writable numbers.
                unsafe { to.cast::<[$t; $n]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            fn splat(value: $t) -> Self {
                Self([value; $n])
            }
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                self.zip(b, |a, b| a + b)
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                self.zip(b, |a, b| a - b)
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                self.zip(b, |a, b| a * b)
            }
            #[inline(always)]
            fn div(self, b: Self) -> Self {
                self.zip(b, |a, b| a / b)
            }
            #[inline(always)]
            fn fma(self, a: Self, b: Self) -> Self {
                Self(std::array::from_fn(|l| Real::mul_add(self.0[l], a.0[l], b.0[l])))
            }
            #[inline(always)]
            fn neg_fma(self, a: Self, b: Self) -> Self {
                Self(std::array::from_fn(|l| Real::mul_add(-self.0[l], a.0[l], b.0[l])))
            }
            #[inline(always)]
            fn max(self, b: Self) -> Self {
                self.zip(b, |a, b| if a > b { a } else { b })
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                Self(self.0.map(<$t>::sqrt))
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self(self.0.map(<$t>::abs))
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                self.zip(sign, <$t>::copysign)
            }
            #[inline(always)]
            fn exp2_of_rounded(self) -> Self {
                Self(self.0.map(|x| <$t>::from_bits((x.to_bits() << $mantissa).wrapping_add(<$t>::ONE.to_bits()))))
            }
            #[inline(always)]
            fn if_positive(self, yes: Self, no: Self) -> Self {
                Self(std::array::from_fn(|l| if self.0[l] > 0.0 { yes.0[l] } else { no.0[l] }))
            }
            #[inline(always)]
            fn sum4(rows: [Self; 4]) -> [$t; 4] {
                rows.map(|row| {
                    let mut sums = row.0;
                    let mut half = $n / 2;
                    while half > 0 {
                        for l in 0..half {
                            sums[l] += sums[l + half];
                        }
                        half /= 2;
                    }
                    sums[0]
                })
            }
            #[inline(always)]
            fn transpose(rows: &mut [Self; 8]) {
                let before = *rows;
                for (i, row) in rows.iter_mut().take($n).enumerate() {
                    row.0 = std::array::from_fn(|l| before[l].0[i]);
                }
            }
        }
    };
}
array!(f32, 8, 23);
array!(f64, 4, 52);
