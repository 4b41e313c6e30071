//! Euler: one evaluation a step, for fixed grids and for seeing order 1.

use crate::tableau::Tableau;

/// Euler's method, with the straight line as its dense output.
///
/// Ref: Hairer, Nørsett & Wanner, *Solving ODEs I*, section I.7.
pub static EULER: Tableau = Tableau {
    name: "euler",
    order: 1,
    embedded_order: 0,
    a: &[&[]],
    c: &[0.0],
    b: &[1.0],
    e: &[],
    e_low: &[],
    dense: &[&[1.0]],
    dense_order: 1,
    stability: 2.0,
};
