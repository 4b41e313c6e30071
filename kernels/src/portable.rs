//! The names under which the standard library and other crates call elementary functions.
//!
//! With the feature `portable-math` a program takes them from here, not from the system's libm, so that its results are
//! the same bits on every system. Functions that IEEE 754 fixes to the last bit (√, fma, rounding, remainders) stay the
//! system's.
//!
//! On Windows the names belong to the C run-time library, and nothing is replaced.
#![allow(unsafe_code)]

use crate::math;

macro_rules! named {
    ($($name:ident($($x:ident: $t:ty),*) -> $r:ty = $function:path;)*) => {
        $(
            // SAFETY: the signature and the meaning are those of the C standard; a program has the name once, since
            // libraries that are loaded later have their own.
            #[unsafe(no_mangle)]
            extern "C" fn $name($($x: $t),*) -> $r {
                $function($($x),*)
            }
        )*
    };
}

named! {
    exp(x: f64) -> f64 = math::exp;
    expm1(x: f64) -> f64 = math::expm1;
    log(x: f64) -> f64 = math::log;
    log1p(x: f64) -> f64 = math::log1p;
    pow(x: f64, y: f64) -> f64 = math::pow;
    tanh(x: f64) -> f64 = math::tanh;
    expf(x: f32) -> f32 = math::expf;
    expm1f(x: f32) -> f32 = math::expm1f;
    logf(x: f32) -> f32 = math::logf;
    log1pf(x: f32) -> f32 = math::log1pf;
    powf(x: f32, y: f32) -> f32 = math::powf;
    tanhf(x: f32) -> f32 = math::tanhf;
    acos(x: f64) -> f64 = libm::acos;
    asin(x: f64) -> f64 = libm::asin;
    atan(x: f64) -> f64 = libm::atan;
    cbrt(x: f64) -> f64 = libm::cbrt;
    cos(x: f64) -> f64 = libm::cos;
    cosh(x: f64) -> f64 = libm::cosh;
    exp2(x: f64) -> f64 = libm::exp2;
    log10(x: f64) -> f64 = libm::log10;
    log2(x: f64) -> f64 = libm::log2;
    sin(x: f64) -> f64 = libm::sin;
    sinh(x: f64) -> f64 = libm::sinh;
    tan(x: f64) -> f64 = libm::tan;
    atan2(x: f64, y: f64) -> f64 = libm::atan2;
    hypot(x: f64, y: f64) -> f64 = libm::hypot;
    acosf(x: f32) -> f32 = libm::acosf;
    asinf(x: f32) -> f32 = libm::asinf;
    atanf(x: f32) -> f32 = libm::atanf;
    cbrtf(x: f32) -> f32 = libm::cbrtf;
    cosf(x: f32) -> f32 = libm::cosf;
    coshf(x: f32) -> f32 = libm::coshf;
    exp2f(x: f32) -> f32 = libm::exp2f;
    log10f(x: f32) -> f32 = libm::log10f;
    log2f(x: f32) -> f32 = libm::log2f;
    sinf(x: f32) -> f32 = libm::sinf;
    sinhf(x: f32) -> f32 = libm::sinhf;
    tanf(x: f32) -> f32 = libm::tanf;
    atan2f(x: f32, y: f32) -> f32 = libm::atan2f;
    hypotf(x: f32, y: f32) -> f32 = libm::hypotf;
}

macro_rules! sine_and_cosine {
    ($($name:ident: $t:ty = $sin:path, $cos:path;)*) => {
        $(
            // SAFETY: compilers make this call of a sine and a cosine of one number, with two places for the results.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(x: $t, sin: *mut $t, cos: *mut $t) {
                // SAFETY: the caller owns both places.
                unsafe {
                    *sin = $sin(x);
                    *cos = $cos(x);
                }
            }
        )*
    };
}

sine_and_cosine! {
    sincos: f64 = libm::sin, libm::cos;
    sincosf: f32 = libm::sinf, libm::cosf;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_results_are_in_their_places() {
        let (mut sin, mut cos) = (0.0, 0.0);
        // SAFETY: both places are ours.
        unsafe { sincos(0.7, &raw mut sin, &raw mut cos) };
        assert_eq!((sin, cos), (libm::sin(0.7), libm::cos(0.7)));
        let (mut sin, mut cos) = (0.0, 0.0);
        // SAFETY: both places are ours.
        unsafe { sincosf(0.7, &raw mut sin, &raw mut cos) };
        assert_eq!((sin, cos), (libm::sinf(0.7), libm::cosf(0.7)));
    }

    #[test]
    fn the_standard_library_calls_these() {
        for i in 0..2000 {
            let x = 0.01 * f64::from(std::hint::black_box(i)) + 0.001;
            assert_eq!((x.exp(), x.ln(), x.tanh()), (math::exp(x), math::log(x), math::tanh(x)), "{x}");
            assert_eq!(
                (x.powf(1.3), x.exp_m1(), x.ln_1p()),
                (math::pow(x, 1.3), math::expm1(x), math::log1p(x)),
                "{x}"
            );
            assert_eq!((x.sin(), x.cos(), x.hypot(0.5)), (libm::sin(x), libm::cos(x), libm::hypot(x, 0.5)), "{x}");
            let x = x as f32;
            assert_eq!((x.exp(), x.ln(), x.tanh()), (math::expf(x), math::logf(x), math::tanhf(x)), "{x}");
        }
    }
}
