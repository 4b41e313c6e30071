//! Kutta's two methods of order 4. torchdiffeq's `rk4` is the 3/8 rule: here each has its own name.

use crate::tableau::Tableau;

/// The classical method of order 4; the dense output is the one of order 3 that its stages allow.
///
/// b₁(θ) = θ − 3θ²/2 + 2θ³/3, b₂ = b₃ = θ² − 2θ³/3, b₄ = −θ²/2 + 2θ³/3.
///
/// Ref: Hairer, Nørsett & Wanner, *Solving ODEs I*, table II.1.2 and section II.6 (Kutta 1901).
pub static RK4: Tableau = Tableau {
    name: "rk4",
    order: 4,
    embedded_order: 0,
    a: &[&[], &[0.5], &[0.0, 0.5], &[0.0, 0.0, 1.0]],
    c: &[0.0, 0.5, 0.5, 1.0],
    b: &[1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0],
    e: &[],
    e_low: &[],
    dense: &[&[1.0, -1.5, 2.0 / 3.0], &[0.0, 1.0, -2.0 / 3.0], &[0.0, 1.0, -2.0 / 3.0], &[0.0, -0.5, 2.0 / 3.0]],
    dense_order: 3,
    stability: 2.7853,
};

/// The 3/8 rule of order 4, slightly more accurate than [`RK4`].
///
/// The dense output solves the four order conditions up to 3 for its four weights, uniquely:
/// b₁(θ) = θ − 15θ²/8 + θ³, b₂ = 15θ²/8 − 3θ³/2, b₃ = 3θ²/8, b₄ = −3θ²/8 + θ³/2.
///
/// Ref: Hairer, Nørsett & Wanner, *Solving ODEs I*, table II.1.2 (Kutta 1901).
pub static RK4_38: Tableau = Tableau {
    name: "rk4_38",
    order: 4,
    embedded_order: 0,
    a: &[&[], &[1.0 / 3.0], &[-1.0 / 3.0, 1.0], &[1.0, -1.0, 1.0]],
    c: &[0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0],
    b: &[1.0 / 8.0, 3.0 / 8.0, 3.0 / 8.0, 1.0 / 8.0],
    e: &[],
    e_low: &[],
    dense: &[&[1.0, -15.0 / 8.0, 1.0], &[0.0, 15.0 / 8.0, -1.5], &[0.0, 3.0 / 8.0], &[0.0, -3.0 / 8.0, 0.5]],
    dense_order: 3,
    stability: 2.7853,
};
