//! A trajectory that fails reports where and why, and a request that is not valid is refused.

use cnflow_solvers::{Failure, Implicit, Method, Options, SolveError, solve, solve_here};

use super::problems::*;
use super::{Witness, bound, close_options, scaled_error};

#[test]
fn an_exploding_solution_fails_where_it_explodes() {
    // y' = y², y(0) = 1: y = 1/(1 − t)
    let explode = Field::new(1, |_, y, out| out[0] = y[0] * y[0], |_, y, d, out| out[0] = 2.0 * y[0] * d[0]);
    for method in Implicit::ALL {
        for tol in [1e-3, 1e-6, 1e-9] {
            for sign in [1.0, -1.0] {
                // backward, with y(0) = −1, the same happens at t = −1
                let mut witness = Witness::default();
                let options = close_options(tol);
                let outcome =
                    solve_one(&mut explode.clone(), method, &[sign], (0.0, 2.0 * sign), &options, &mut witness);
                let Err(Failure::StepTooSmall { t, h, speed }) = outcome.status else {
                    panic!("{method} at {tol:e} returned {outcome:?}");
                };
                // a relative error tol^{2/3} or better in y moves the pole by as much (measured: 0.7 of it)
                assert!((t - sign).abs() < 3.0 * tol.powf(2.0 / 3.0), "{method} at {tol:e}: t = {t}");
                assert!(speed > 1e9 && h * sign > 0.0 && h.abs() < 1e-13, "{outcome:?}");
                assert_eq!((witness.failures.len(), witness.finished), (1, 1));
                assert_eq!(witness.ends.last(), Some(&outcome.y));
            }
        }
    }
}

#[test]
fn a_field_that_turns_nan_or_infinite_fails_where_it_turns() {
    let tangent: Tangent = |_, _, d, out| out[0] = -d[0];
    let fields: [Value; 3] = [
        |t, y, out| out[0] = if t > 0.5 { f64::NAN } else { -y[0] },
        |t, y, out| out[0] = if t > 0.5 { f64::INFINITY } else { -y[0] },
        |t, y, out| out[0] = if t > 0.5 { f64::NEG_INFINITY } else { -y[0] },
    ];
    for f in fields {
        for method in Implicit::ALL {
            for tol in [1e-3, 1e-6] {
                let mut field = Field::new(1, f, tangent);
                let outcome = solve_one(&mut field, method, &[1.0], (0.0, 1.0), &close_options(tol), ());
                let Err(Failure::NonFinite { t, h, speed }) = outcome.status else {
                    panic!("{method} returned {outcome:?}");
                };
                assert!(t <= 0.5 && 0.5 - t < 1e-13 && h > 0.0 && h < 1e-13, "{outcome:?}");
                assert!((speed - outcome.y[0].abs()).abs() < 1e-15);
                assert!(scaled_error(&outcome.y, &[(-0.5f64).exp()], &close_options(tol)) < bound(method, tol));
            }
        }
    }
}

#[test]
fn a_bad_start_fails_at_once() {
    let nan = Field::new(1, |_, _, out| out[0] = f64::NAN, |_, _, _, out| out[0] = 0.0);
    for method in Implicit::ALL {
        for (mut field, y0) in [(nan, 1.0), (DECAY.field(), f64::NAN), (DECAY.field(), f64::INFINITY)] {
            let outcome = solve_one(&mut field, method, &[y0], (0.25, 1.0), &close_options(1e-6), ());
            assert!(matches!(outcome.status, Err(Failure::NonFinite { t: 0.25, .. })), "{outcome:?}");
            assert_eq!((outcome.accepted, outcome.nfe), (0, 1));
        }
    }
}

#[test]
fn a_jacobian_that_is_nan_fails() {
    for method in Implicit::ALL {
        let mut field = Field::new(1, DECAY.f, |_, _, _, out| out[0] = f64::NAN);
        let outcome = solve_one(&mut field, method, &[1.0], (0.0, 1.0), &close_options(1e-6), ());
        assert!(matches!(outcome.status, Err(Failure::NonFinite { t: 0.0, .. })), "{outcome:?}");
        assert_eq!(outcome.y, [1.0]);
    }
}

#[test]
fn the_caps_on_steps_and_on_their_size_hold() {
    for method in Implicit::ALL {
        let options = Options { max_steps: 20, ..VAN_DER_POL.options(1e-6) };
        let solve =
            |options: &Options| solve_one(&mut VAN_DER_POL.field(), method, &[2.0, 0.0], (0.0, 2.0), options, ());
        let outcome = solve(&options);
        assert!(matches!(outcome.status, Err(Failure::TooManySteps { steps: 20, .. })), "{outcome:?}");
        // the attempts within the last call to diffsol may exceed the cap by a few
        assert!((20..30).contains(&(outcome.accepted + outcome.rejected)), "{outcome:?}");
        let outcome = solve(&Options { min_step: 1e-4, ..VAN_DER_POL.options(1e-6) });
        assert!(matches!(outcome.status, Err(Failure::StepTooSmall { .. })), "{method}: {outcome:?}");
        // a last step shorter than the shortest is still taken
        let options = Options { min_step: 0.4, first_step: Some(0.4), ..close_options(0.5) };
        let outcome = solve_one(&mut DECAY.field(), method, &[1.0], (0.0, 0.9), &options, ());
        assert_eq!(outcome.status, Ok(()), "{method}");
    }
}

#[test]
fn a_request_that_makes_no_sense_is_refused() {
    let request = |options: &Options, y0: &[f64], t1: f64| {
        let options = Options { method: Method::Implicit(Implicit::Bdf), ..options.clone() };
        solve_here(DECAY.field(), (), y0, (0.0, t1), &options).unwrap_err()
    };
    let fine = Options::default();
    for options in [
        Options { rtol: -1.0, ..fine },
        Options { rtol: f64::NAN, ..fine },
        Options { atol: 0.0, ..fine },
        Options { atol: f64::INFINITY, ..fine },
        Options { max_steps: 0, ..fine },
        Options { min_step: f64::NAN, ..fine },
        Options { min_step: f64::INFINITY, ..fine },
        Options { max_step: 0.0, ..fine },
        Options { first_step: Some(0.0), ..fine },
        Options { steps: Some(10), ..fine },
        Options { log_det_rows: 1, ..fine },
        Options { uncontrolled_rows: 1, ..fine },
    ] {
        assert!(matches!(request(&options, &[1.0], 1.0), SolveError::BadOption(_)), "{options:?}");
    }
    assert!(matches!(request(&fine, &[1.0], f64::NAN), SolveError::BadOption(_)));
    let bdf = Options { method: Method::Implicit(Implicit::Bdf), ..fine };
    let many = solve(|| (ROBERTSON.field(), ()), &[1.0; 7], (0.0, 1.0), &bdf);
    assert!(matches!(many, Err(SolveError::Shape { expected: 6, found: 7, .. })));
    // A state in f32, and a field without tangents.
    let narrow = crate::problems::Field::new(1, |_: f64, y: &[f64], d: &mut [f64]| d[0] = -y[0]);
    let narrow = solve_here(narrow, (), &[1.0f32], (0.0, 1.0), &bdf).unwrap_err();
    assert_eq!(narrow, SolveError::Unsupported { method: "bdf", needs: "a state in f64" });
    let plain = crate::problems::Field::new(1, |_: f64, y: &[f64], d: &mut [f64]| d[0] = -y[0]);
    let plain = solve_here(plain, (), &[1.0], (0.0, 1.0), &bdf).unwrap_err();
    assert_eq!(plain, SolveError::Unsupported { method: "bdf", needs: "a field with tangents" });
}
