//! The activations and their first two derivatives, on vectors of lanes.
//!
//! All rest on one branch-free eˣ − 1: x = n ln 2 + r, eʳ − 1 = r + r² P(r), eˣ − 1 = 2ⁿ(eʳ − 1) + (2ⁿ − 1).
//! It is relatively accurate at 0, and with it tanh x = −m / (2 + m), m = e^(−2|x|) − 1. Derivatives are
//! made of the very numbers that made the value (tanh′ = 1 − h²), so a gradient is that of what was computed.
//! NaN in gives NaN out; infinite arguments give the limits of tanh, softplus and elu.
//!
//! Measured errors of the values, in units in the last place, worst over a dense
//! grid, f32 and f64 (the latter beside the standard library, whose own error is in it): tanh 1.9 and 3,
//! softplus 2.6 and 3, silu 3.1 and 4, elu 1 and 1. Below −87 (f32) and −708 the exponential is constant.

use std::fmt;
use std::str::FromStr;

use cnflow_solvers::Real;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::simd::{Scalar, Vector};

/// The nonlinearity of the hidden layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// tanh a.
    Tanh,
    /// ln(1 + eᵃ), with no linear shortcut (PyTorch's has one above 20, differing by less than 2.1e-9).
    Softplus,
    /// a / (1 + e⁻ᵃ), also called swish.
    Silu,
    /// a above 0, eᵃ − 1 below. Its second derivative jumps at 0, where it is taken as 1.
    Elu,
    /// a above 0, 0 below. It has a corner, whose second derivative is taken as 0.
    Relu,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Tanh, Self::Softplus, Self::Silu, Self::Elu, Self::Relu];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tanh => "tanh",
            Self::Softplus => "softplus",
            Self::Silu => "silu",
            Self::Elu => "elu",
            Self::Relu => "relu",
        }
    }

    /// The least upper bound of |σ′|: a layer with this σ lengthens no tangent by more, its weights apart.
    pub fn largest_derivative(self) -> f64 {
        match self {
            Self::Tanh | Self::Softplus | Self::Elu | Self::Relu => 1.0,
            // At a = 2.39936, where σ″ vanishes; rounded up.
            Self::Silu => 1.099_839_321,
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let named = Self::ALL.into_iter().find(|activation| activation.name() == name);
        named.ok_or_else(|| Error::UnknownActivation { name: name.into() })
    }
}

/// σ, σ′ and σ″ at one vector of pre-activations.
#[derive(Clone, Copy, Debug)]
pub struct Jet<V> {
    /// σ.
    pub value: V,
    /// σ′.
    pub first: V,
    /// σ″.
    pub second: V,
}

/// An activation as a type, so that a kernel is compiled with it in its epilogue.
pub trait Act: Copy {
    /// σ and its derivatives; what the caller leaves unused is not computed.
    fn jet<V: Vector>(self, a: V) -> Jet<V>;
}

/// [`Activation::Tanh`].
#[derive(Clone, Copy, Debug)]
pub struct Tanh;
/// [`Activation::Softplus`].
#[derive(Clone, Copy, Debug)]
pub struct Softplus;
/// [`Activation::Silu`].
#[derive(Clone, Copy, Debug)]
pub struct Silu;
/// [`Activation::Elu`].
#[derive(Clone, Copy, Debug)]
pub struct Elu;
/// [`Activation::Relu`].
#[derive(Clone, Copy, Debug)]
pub struct Relu;

impl Act for Tanh {
    #[inline(always)]
    fn jet<V: Vector>(self, a: V) -> Jet<V> {
        let one = V::splat(V::Elem::ONE);
        let twice = a.abs().mul(V::splat(V::Elem::of(-2.0)));
        let (scale, grown) = exp_parts(twice, V::Elem::EXP_M1_LEAST);
        let minus_m = scale.neg_fma(grown, one.sub(scale));
        let two_plus_m = scale.fma(grown, one.add(scale));
        let value = minus_m.div(two_plus_m).copysign(a);
        let first = value.neg_fma(value, one);
        let second = value.mul(V::splat(V::Elem::of(-2.0))).mul(first);
        Jet { value, first, second }
    }
}

impl Act for Softplus {
    #[inline(always)]
    fn jet<V: Vector>(self, a: V) -> Jet<V> {
        let Logistic { e, up, down } = logistic(a);
        let zero = V::splat(V::Elem::ZERO);
        let value = zero.max(a).add(ln_1p(e));
        Jet { value, first: up, second: up.mul(down) }
    }
}

impl Act for Silu {
    #[inline(always)]
    fn jet<V: Vector>(self, a: V) -> Jet<V> {
        let Logistic { up, down, .. } = logistic(a);
        let (one, two) = (V::splat(V::Elem::ONE), V::splat(V::Elem::of(2.0)));
        Jet { value: a.mul(up), first: up.mul(a.fma(down, one)), second: up.mul(down).mul(a.fma(down.sub(up), two)) }
    }
}

impl Act for Elu {
    #[inline(always)]
    fn jet<V: Vector>(self, a: V) -> Jet<V> {
        let (zero, one) = (V::splat(V::Elem::ZERO), V::splat(V::Elem::ONE));
        let (scale, grown) = exp_parts(a.if_positive(zero, a), V::Elem::EXP_M1_LEAST);
        let low = scale.fma(grown, scale.sub(one));
        let rise = low.add(one);
        Jet { value: a.if_positive(a, low), first: a.if_positive(one, rise), second: a.if_positive(zero, rise) }
    }
}

impl Act for Relu {
    #[inline(always)]
    fn jet<V: Vector>(self, a: V) -> Jet<V> {
        let (zero, one) = (V::splat(V::Elem::ZERO), V::splat(V::Elem::ONE));
        // `max` keeps its second operand when that is NaN, and so does the product with 0.
        let value = zero.max(a);
        Jet { value, first: a.if_positive(one, value.mul(zero)), second: zero }
    }
}

/// eˣ = scale · (1 + grown), for x ≤ a few; x below `least` counts as `least`.
#[inline(always)]
fn exp_parts<V: Vector>(x: V, least: V::Elem) -> (V, V) {
    let rounder = V::splat(V::Elem::ROUNDER);
    // `max` keeps its second operand when that is NaN.
    let x = V::splat(least).max(x);
    let rounded = x.fma(V::splat(V::Elem::LOG2_E), rounder);
    let n = rounded.sub(rounder);
    let r = n.neg_fma(V::splat(V::Elem::LN_2_HIGH), x);
    let r = n.neg_fma(V::splat(V::Elem::LN_2_LOW), r);
    let grown = r.mul(r).fma(horner(V::Elem::EXP, r), r);
    (rounded.exp2_of_rounded(), grown)
}

/// eˣ, for |x| up to a few hundred.
#[inline(always)]
pub fn exp<V: Vector>(x: V) -> V {
    let (scale, grown) = exp_parts(x, V::Elem::EXP_LEAST);
    scale.fma(grown, scale)
}

/// e = e^−|a|, up = 1 / (1 + e⁻ᵃ), down = 1 − up without cancellation.
struct Logistic<V> {
    e: V,
    up: V,
    down: V,
}

#[inline(always)]
fn logistic<V: Vector>(a: V) -> Logistic<V> {
    let (zero, one) = (V::splat(V::Elem::ZERO), V::splat(V::Elem::ONE));
    let e = exp(zero.sub(a.abs()));
    let large = one.div(one.add(e));
    let small = e.mul(large);
    Logistic { e, up: a.if_positive(large, small), down: a.if_positive(small, large) }
}

/// ln(1 + e) for 0 ≤ e ≤ 1, as 2 atanh(s) with s = e / (2 + e) ≤ 1/3: no reduction, no branch.
#[inline(always)]
fn ln_1p<V: Vector>(e: V) -> V {
    let s = e.div(e.add(V::splat(V::Elem::of(2.0))));
    let w = s.mul(s);
    let twice = s.add(s);
    twice.mul(w).fma(horner(V::Elem::ATANH, w), twice)
}

#[inline(always)]
fn horner<V: Vector>(coefficients: &'static [V::Elem], x: V) -> V {
    let mut k = coefficients.len() - 1;
    let mut sum = V::splat(coefficients[k]);
    while k > 0 {
        k -= 1;
        sum = sum.fma(x, V::splat(coefficients[k]));
    }
    sum
}

#[cfg(test)]
mod tests {
    use cnflow_solvers::lanes::LANE_BLOCK;

    use super::*;
    use crate::simd::{Isa, Kernel, dispatch};

    struct OnSlice<'a, T, A>(A, &'a [T; LANE_BLOCK], &'a mut [[T; LANE_BLOCK]; 3]);

    impl<T: Scalar, A: Act> Kernel<T> for OnSlice<'_, T, A> {
        #[inline(always)]
        fn run<V: Vector<Elem = T>>(self) {
            for slot in (0..LANE_BLOCK).step_by(V::WIDTH) {
                let jet = self.0.jet(V::read(self.1, slot));
                jet.value.write(&mut self.2[0], slot);
                jet.first.write(&mut self.2[1], slot);
                jet.second.write(&mut self.2[2], slot);
            }
        }
    }

    fn jets<T: Scalar>(isa: Isa, activation: Activation, a: &[T; LANE_BLOCK]) -> [[T; LANE_BLOCK]; 3] {
        let mut out = [[T::ZERO; LANE_BLOCK]; 3];
        match activation {
            Activation::Tanh => dispatch(isa, OnSlice(Tanh, a, &mut out)),
            Activation::Softplus => dispatch(isa, OnSlice(Softplus, a, &mut out)),
            Activation::Silu => dispatch(isa, OnSlice(Silu, a, &mut out)),
            Activation::Elu => dispatch(isa, OnSlice(Elu, a, &mut out)),
            Activation::Relu => dispatch(isa, OnSlice(Relu, a, &mut out)),
        }
        out
    }

    /// σ, σ′, σ″ by the standard library.
    fn reference(activation: Activation, a: f64) -> [f64; 3] {
        let (up, down) = (1.0 / (1.0 + (-a).exp()), 1.0 / (1.0 + a.exp()));
        match activation {
            Activation::Tanh => {
                let first = 1.0 / a.cosh().powi(2);
                [a.tanh(), first, -2.0 * a.tanh() * first]
            }
            Activation::Softplus => [a.max(0.0) + (-a.abs()).exp().ln_1p(), up, up * down],
            Activation::Silu => [a * up, up * (1.0 + a * down), up * down * (2.0 + a * (down - up))],
            Activation::Elu if a > 0.0 => [a, 1.0, 0.0],
            Activation::Elu => [a.exp_m1(), a.exp(), a.exp()],
            Activation::Relu => [a.max(0.0), f64::from(u8::from(a > 0.0)), 0.0],
        }
    }

    /// Both signs, from 1e-6 to 80 in small steps and a dense even grid.
    fn grid() -> impl Iterator<Item = f64> {
        let steps = (0..40_000).map(|i| 1e-6 * (f64::from(i) * 18.2 / 40_000.0).exp());
        steps.flat_map(|a| [a, -a]).chain((-40_000..40_000).map(|i| f64::from(i) / 4e3 + 1e-5))
    }

    /// The worst error of the value in units of its last place, and of the derivatives against 1.
    fn worst<T: Scalar>(activation: Activation) -> (f64, f64) {
        let (mut ulps, mut absolute) = (0.0_f64, 0.0_f64);
        let points: Vec<f64> = grid().collect();
        for chunk in points.chunks_exact(LANE_BLOCK) {
            let a: [T; LANE_BLOCK] = std::array::from_fn(|l| T::of(chunk[l]));
            let jets = jets(Isa::detect(), activation, &a);
            for l in 0..LANE_BLOCK {
                let [value, first, second] = reference(activation, a[l].to_f64());
                let ulp = value.abs().log2().floor().exp2().max(f64::MIN_POSITIVE) * T::EPSILON;
                ulps = ulps.max((jets[0][l].to_f64() - value).abs() / ulp);
                absolute = absolute.max((jets[1][l].to_f64() - first).abs()).max((jets[2][l].to_f64() - second).abs());
            }
        }
        (ulps, absolute)
    }

    #[test]
    fn values_are_good_to_the_last_places() {
        for activation in Activation::ALL {
            let (narrow, wide) = (worst::<f32>(activation), worst::<f64>(activation));
            println!("{activation}: f32 {:.2} ulp, {:.1e}; f64 {:.2} ulp, {:.1e}", narrow.0, narrow.1, wide.0, wide.1);
            // The bounds of the head of this file; in f64 the reference's own error is included.
            assert!(narrow.0 < 3.5 && wide.0 < 5.0, "{activation}: {} and {} ulp", narrow.0, wide.0);
            // 1 − h² has twice the error of h, −2 h (1 − h²) twice that again.
            assert!(narrow.1 < 6e-7 && wide.1 < 1.2e-15, "{activation}: {:.1e} and {:.1e}", narrow.1, wide.1);
        }
    }

    #[test]
    fn both_paths_give_the_same_bits() {
        fn check<T: Scalar>(activation: Activation) {
            let points: Vec<f64> = grid().chain([0.0, -0.0, 1e300, -1e300, 1e-300, 709.0, -745.0]).collect();
            for chunk in points.rchunks_exact(LANE_BLOCK) {
                let a: [T; LANE_BLOCK] = std::array::from_fn(|l| T::of(chunk[l]));
                let (fast, plain) = (jets(Isa::detect(), activation, &a), jets(Isa::PORTABLE, activation, &a));
                for (fast, plain) in fast.iter().flatten().zip(plain.iter().flatten()) {
                    let same = fast.to_f64().to_bits() == plain.to_f64().to_bits();
                    assert!(same || fast != fast && plain != plain, "{activation} {a:?}: {fast} or {plain}");
                }
            }
        }
        for activation in Activation::ALL {
            check::<f32>(activation);
            check::<f64>(activation);
        }
    }

    #[test]
    fn nan_gives_nan_and_infinity_the_limit() {
        for activation in Activation::ALL {
            let [values, firsts, _] = jets(Isa::detect(), activation, &[f32::NAN; LANE_BLOCK]);
            assert!(values.iter().all(|v| v.is_nan()) && firsts.iter().all(|s| s.is_nan()), "{activation}");
        }
        let ends = |activation, a| jets::<f64>(Isa::detect(), activation, &[a; LANE_BLOCK])[0][0];
        assert_eq!((ends(Activation::Tanh, f64::INFINITY), ends(Activation::Tanh, f64::NEG_INFINITY)), (1.0, -1.0));
        assert_eq!(ends(Activation::Elu, f64::NEG_INFINITY), -1.0);
        assert_eq!(ends(Activation::Softplus, f64::INFINITY), f64::INFINITY);
        assert!(ends(Activation::Softplus, f64::NEG_INFINITY) < 1e-300);
    }
}
