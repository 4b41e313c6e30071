//! Bogacki & Shampine 3(2): cheap steps for tolerances of 1e-2 and above.

use crate::tableau::Tableau;

/// Bogacki & Shampine's 3(2) pair, four stages of which the last serves the next step.
///
/// The dense output is the cubic Hermite polynomial through both ends, of order 3:
/// bᵢ(θ) = (3θ² − 2θ³) bᵢ + (θ − 2θ² + θ³) δᵢ₁ + (θ³ − θ²) δᵢ₄.
///
/// Ref: Bogacki & Shampine, *A 3(2) pair of Runge-Kutta formulas*, Appl. Math. Lett. 2 (1989) 321-325.
pub static BOSH3: Tableau = Tableau {
    name: "bosh3",
    order: 3,
    embedded_order: 2,
    a: &[&[], &[0.5], &[0.0, 0.75], &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0]],
    c: &[0.0, 0.5, 0.75, 1.0],
    b: &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0, 0.0],
    e: &[-5.0 / 72.0, 1.0 / 12.0, 1.0 / 9.0, -1.0 / 8.0],
    e_low: &[],
    dense: &[&[1.0, -4.0 / 3.0, 5.0 / 9.0], &[0.0, 1.0, -2.0 / 3.0], &[0.0, 4.0 / 3.0, -8.0 / 9.0], &[0.0, -1.0, 1.0]],
    dense_order: 3,
    stability: 2.5127,
};
