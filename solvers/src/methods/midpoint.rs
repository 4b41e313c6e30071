//! The explicit midpoint rule: the usual fixed-step sampler of a flow.

use crate::tableau::Tableau;

/// Runge's midpoint rule of order 2; b(θ) = (θ − θ², θ²).
///
/// Ref: Hairer, Nørsett & Wanner, *Solving ODEs I*, table II.1.1 (Runge 1895).
pub static MIDPOINT: Tableau = Tableau {
    name: "midpoint",
    order: 2,
    embedded_order: 0,
    a: &[&[], &[0.5]],
    c: &[0.0, 0.5],
    b: &[0.0, 1.0],
    e: &[],
    e_low: &[],
    dense: &[&[1.0, -1.0], &[0.0, 1.0]],
    dense_order: 2,
    stability: 2.0,
};
