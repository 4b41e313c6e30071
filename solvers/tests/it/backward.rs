//! Backward is forward of the negated field, to the last bit; and the way back leads to the start.

use crate::problems::{DETEST, Field, LINEAR, scaled_error};
use cnflow_solvers::{Method, Options, Solution, methods, solve_here};

#[test]
fn backward_equals_forward_of_the_negated_field_bit_for_bit() {
    for method in methods::ALL {
        for steps in [Some(40), None].into_iter().filter(|s| s.is_some() || method.adaptive()) {
            for p in DETEST.iter().chain(LINEAR).filter(|p| p.dim() <= 10) {
                let options =
                    Options { method: Method::Explicit(method), steps, rtol: 1e-4, atol: 1e-4, ..Options::default() };
                // s = −t: dy/ds = −f(−s, y).
                let f = p.f;
                let mirrored = move |s: f64, y: &[f64], dy: &mut [f64]| {
                    f(-s, y, dy);
                    dy.iter_mut().for_each(|d| *d = -*d);
                };
                let reversed_time = move |t: f64, y: &[f64], dy: &mut [f64]| f(t, y, dy);
                let start = p.end();
                let one = solve_here(Field::new(p.dim(), reversed_time), (), &start, (p.t1, p.t0), &options).unwrap();
                let two = solve_here(Field::new(p.dim(), mirrored), (), &start, (-p.t1, -p.t0), &options).unwrap();
                let bits = |y: &[f64]| y.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&one.y), bits(&two.y), "{} on {}, steps {steps:?}", method.name, p.name);
                let counts = |r: &cnflow_solvers::Report| (r.nfe, r.accepted, r.rejected, r.t.abs().to_bits());
                assert_eq!(counts(&one.reports[0]), counts(&two.reports[0]), "{} on {}", method.name, p.name);
            }
        }
    }
}

#[test]
fn the_way_back_leads_to_the_start() {
    for method in methods::ALL.iter().filter(|m| m.adaptive() && m.order >= 3) {
        for p in LINEAR {
            let tol = if method.order == 3 { 1e-6 } else { 1e-10 };
            let options = Options { method: Method::Explicit(method), rtol: tol, atol: tol, ..Options::default() };
            let Solution { y: there, .. } = solve_here(p.field(), (), p.y0, (p.t0, p.t1), &options).unwrap();
            let Solution { y: back, reports, .. } = solve_here(p.field(), (), &there, (p.t1, p.t0), &options).unwrap();
            assert_eq!(reports[0].t, p.t0);
            // Two solves; the decays grow by e³ ≈ 20 on their way back.
            let error = scaled_error(&back, p.y0);
            assert!(error < 20.0 * 20.0 * tol, "{} on {}: {error:.1e}", method.name, p.name);
        }
    }
}
