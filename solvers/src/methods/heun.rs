//! Heun's trapezoid, with fixed steps and as a pair with Euler's method.

use crate::tableau::Tableau;

/// Heun's method of order 2 (the explicit trapezoid) with fixed steps; b(θ) = (θ − θ²/2, θ²/2).
///
/// Ref: Hairer, Nørsett & Wanner, *Solving ODEs I*, section II.1 (Heun 1900).
pub static HEUN: Tableau = Tableau {
    name: "heun",
    order: 2,
    embedded_order: 0,
    a: &[&[], &[1.0]],
    c: &[0.0, 1.0],
    b: &[0.5, 0.5],
    e: &[],
    e_low: &[],
    dense: &[&[1.0, -0.5], &[0.0, 0.5]],
    dense_order: 2,
    stability: 2.0,
};

/// The pair 2(1) of Heun's and Euler's methods: [`HEUN`] with an error estimate.
///
/// Ref: torchdiffeq's `adaptive_heun` (its e has the other sign, which does not change the norm).
pub static HEUN_EULER: Tableau = Tableau {
    name: "heun_euler",
    order: 2,
    embedded_order: 1,
    a: HEUN.a,
    c: HEUN.c,
    b: HEUN.b,
    e: &[-0.5, 0.5],
    e_low: &[],
    dense: HEUN.dense,
    dense_order: 2,
    stability: 2.0,
};
