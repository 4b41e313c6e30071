//! Vectors as 256-bit registers.
//!
//! Every method is `#[inline(always)]`, so that it ends up inside the one function that has the features
//! switched on (`on_avx2`); a call across that border would go through memory.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::Vector;

/// Eight `f32`.
#[derive(Clone, Copy, Debug)]
pub struct F32x8(__m256);

/// Four `f64`.
#[derive(Clone, Copy, Debug)]
pub struct F64x4(__m256d);

macro_rules! register {
    ($vector:ident, $t:ty, $n:literal, $load:ident, $store:ident, $set1:ident, $add:ident, $sub:ident, $mul:ident,
     $div:ident, $fma:ident, $fnma:ident, $max:ident, $sqrt:ident, $and:ident, $andnot:ident, $or:ident, $cmp:ident, $blend:ident,
     $exp2:ident, $sum4:ident, $transpose:ident) => {
        // SAFETY of all methods: values of this type only exist below `on_avx2`, where the features are there.
        impl Vector for $vector {
            type Elem = $t;
            const WIDTH: usize = $n;

            #[inline(always)]
            unsafe fn load(from: *const $t) -> Self {
                unsafe { Self($load(from)) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $t) {
                unsafe { $store(to, self.0) }
            }
            #[inline(always)]
            fn splat(value: $t) -> Self {
                unsafe { Self($set1(value)) }
            }
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                unsafe { Self($add(self.0, b.0)) }
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                unsafe { Self($sub(self.0, b.0)) }
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                unsafe { Self($mul(self.0, b.0)) }
            }
            #[inline(always)]
            fn div(self, b: Self) -> Self {
                unsafe { Self($div(self.0, b.0)) }
            }
            #[inline(always)]
            fn fma(self, a: Self, b: Self) -> Self {
                unsafe { Self($fma(self.0, a.0, b.0)) }
            }
            #[inline(always)]
            fn neg_fma(self, a: Self, b: Self) -> Self {
                unsafe { Self($fnma(self.0, a.0, b.0)) }
            }
            #[inline(always)]
            fn max(self, b: Self) -> Self {
                unsafe { Self($max(self.0, b.0)) }
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                unsafe { Self($sqrt(self.0)) }
            }
            #[inline(always)]
            fn abs(self) -> Self {
                unsafe { Self($andnot($set1(-0.0), self.0)) }
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                unsafe {
                    let mask = $set1(-0.0);
                    Self($or($andnot(mask, self.0), $and(mask, sign.0)))
                }
            }
            #[inline(always)]
            fn exp2_of_rounded(self) -> Self {
                unsafe { Self($exp2(self.0)) }
            }
            #[inline(always)]
            fn if_positive(self, yes: Self, no: Self) -> Self {
                unsafe { Self($blend(no.0, yes.0, $cmp::<_CMP_GT_OQ>(self.0, $set1(0.0)))) }
            }
            #[inline(always)]
            fn sum4(rows: [Self; 4]) -> [$t; 4] {
                unsafe { $sum4(rows) }
            }
            #[inline(always)]
            fn transpose(rows: &mut [Self; 8]) {
                unsafe { $transpose(rows) }
            }
        }
    };
}

register!(
    F32x8,
    f32,
    8,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_div_ps,
    _mm256_fmadd_ps,
    _mm256_fnmadd_ps,
    _mm256_max_ps,
    _mm256_sqrt_ps,
    _mm256_and_ps,
    _mm256_andnot_ps,
    _mm256_or_ps,
    _mm256_cmp_ps,
    _mm256_blendv_ps,
    exp2_f32,
    sum4_f32,
    transpose_f32
);
register!(
    F64x4,
    f64,
    4,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_set1_pd,
    _mm256_add_pd,
    _mm256_sub_pd,
    _mm256_mul_pd,
    _mm256_div_pd,
    _mm256_fmadd_pd,
    _mm256_fnmadd_pd,
    _mm256_max_pd,
    _mm256_sqrt_pd,
    _mm256_and_pd,
    _mm256_andnot_pd,
    _mm256_or_pd,
    _mm256_cmp_pd,
    _mm256_blendv_pd,
    exp2_f64,
    sum4_f64,
    transpose_f64
);

#[inline(always)]
unsafe fn exp2_f32(x: __m256) -> __m256 {
    // SAFETY: as above.
    unsafe {
        let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(x));
        _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_castps_si256(_mm256_set1_ps(1.0))))
    }
}

#[inline(always)]
unsafe fn exp2_f64(x: __m256d) -> __m256d {
    // SAFETY: as above.
    unsafe {
        let exponent = _mm256_slli_epi64::<52>(_mm256_castpd_si256(x));
        _mm256_castsi256_pd(_mm256_add_epi64(exponent, _mm256_castpd_si256(_mm256_set1_pd(1.0))))
    }
}

#[inline(always)]
unsafe fn sum4_f32(rows: [F32x8; 4]) -> [f32; 4] {
    // SAFETY: as above.
    unsafe {
        let (a, b) = (fold_f32(rows[0]), fold_f32(rows[1]));
        let (c, d) = (fold_f32(rows[2]), fold_f32(rows[3]));
        // a0 b0 a1 b1 + a2 b2 a3 b3 holds [0]+[2] and [1]+[3] of a and b, interleaved.
        let ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
        let cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
        let mut sums = [0.0; 4];
        _mm_storeu_ps(sums.as_mut_ptr(), _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab)));
        sums
    }
}

#[inline(always)]
unsafe fn sum4_f64(rows: [F64x4; 4]) -> [f64; 4] {
    // SAFETY: as above.
    unsafe {
        let (a, b) = (fold_f64(rows[0]), fold_f64(rows[1]));
        let (c, d) = (fold_f64(rows[2]), fold_f64(rows[3]));
        let mut sums = [0.0; 4];
        _mm_storeu_pd(sums.as_mut_ptr(), _mm_add_pd(_mm_unpacklo_pd(a, b), _mm_unpackhi_pd(a, b)));
        _mm_storeu_pd(sums.as_mut_ptr().add(2), _mm_add_pd(_mm_unpacklo_pd(c, d), _mm_unpackhi_pd(c, d)));
        sums
    }
}

#[inline(always)]
unsafe fn fold_f32(row: F32x8) -> __m128 {
    // SAFETY: as above.
    unsafe { _mm_add_ps(_mm256_castps256_ps128(row.0), _mm256_extractf128_ps::<1>(row.0)) }
}

#[inline(always)]
unsafe fn fold_f64(row: F64x4) -> __m128d {
    // SAFETY: as above.
    unsafe { _mm_add_pd(_mm256_castpd256_pd128(row.0), _mm256_extractf128_pd::<1>(row.0)) }
}

#[inline(always)]
unsafe fn transpose_f32(rows: &mut [F32x8; 8]) {
    // SAFETY: as above.
    unsafe {
        // Pairs, then fours, then the two halves of the registers change places.
        let mut twos = [_mm256_setzero_ps(); 8];
        for i in (0..8).step_by(2) {
            twos[i] = _mm256_unpacklo_ps(rows[i].0, rows[i + 1].0);
            twos[i + 1] = _mm256_unpackhi_ps(rows[i].0, rows[i + 1].0);
        }
        let mut fours = twos;
        for i in [0, 4] {
            fours[i] = _mm256_shuffle_ps::<0x44>(twos[i], twos[i + 2]);
            fours[i + 1] = _mm256_shuffle_ps::<0xee>(twos[i], twos[i + 2]);
            fours[i + 2] = _mm256_shuffle_ps::<0x44>(twos[i + 1], twos[i + 3]);
            fours[i + 3] = _mm256_shuffle_ps::<0xee>(twos[i + 1], twos[i + 3]);
        }
        for i in 0..4 {
            rows[i] = F32x8(_mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]));
            rows[i + 4] = F32x8(_mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]));
        }
    }
}

#[inline(always)]
unsafe fn transpose_f64(rows: &mut [F64x4; 8]) {
    // SAFETY: as above.
    unsafe {
        let (a, b) = (_mm256_unpacklo_pd(rows[0].0, rows[1].0), _mm256_unpackhi_pd(rows[0].0, rows[1].0));
        let (c, d) = (_mm256_unpacklo_pd(rows[2].0, rows[3].0), _mm256_unpackhi_pd(rows[2].0, rows[3].0));
        rows[0] = F64x4(_mm256_permute2f128_pd::<0x20>(a, c));
        rows[1] = F64x4(_mm256_permute2f128_pd::<0x20>(b, d));
        rows[2] = F64x4(_mm256_permute2f128_pd::<0x31>(a, c));
        rows[3] = F64x4(_mm256_permute2f128_pd::<0x31>(b, d));
    }
}
