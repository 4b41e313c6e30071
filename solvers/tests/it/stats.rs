//! What a solve costs and how it ends: counts of evaluations, limits on steps, failures, empty spans.

use crate::problems::{DETEST, Field, LINEAR, Problem, scaled_error};
use cnflow_solvers::{
    At, Controller, Failure, Lanes, LanesMut, Law, Method, Observer, Options, Report, Solution, SolveError, Step,
    Tableau, VectorField, methods, solve_here,
};

fn run(p: &Problem, options: &Options) -> (Vec<f64>, Report, usize) {
    let mut field = p.field();
    let Solution { y, reports, .. } = solve_here(&mut field, (), p.y0, (p.t0, p.t1), options).unwrap();
    (y, reports[0], field.evals)
}

fn adaptive() -> impl Iterator<Item = &'static Tableau> {
    methods::ALL.iter().copied().filter(|m| m.adaptive())
}

/// Few equal steps are enough for the linear problems only.
fn problems_for(steps: Option<usize>) -> impl Iterator<Item = &'static Problem> {
    LINEAR.iter().chain(if steps.is_none() { DETEST } else { &[] })
}

/// The lengths of the accepted steps, and where each began.
#[derive(Default)]
struct Lengths(Vec<(f64, f64)>);

impl Observer<f64> for &mut Lengths {
    fn accepted(&mut self, step: &dyn Step<f64>) {
        self.0.push((step.t(), step.h()));
    }
}

fn lengths(p: &Problem, options: &Options) -> (Vec<(f64, f64)>, Report) {
    let mut lengths = Lengths::default();
    let Solution { reports, .. } = solve_here(p.field(), &mut lengths, p.y0, (p.t0, p.t1), options).unwrap();
    (lengths.0, reports[0])
}

/// Evaluations on all 25 DETEST problems together, at each tolerance: a budget, kept exactly. A change of these
/// numbers is a change of the step control or of a table, and should come with its reason.
const BUDGET: &[(&str, [u32; 3])] = &[
    ("bosh3", [4949, 17336, 78017]),
    ("dopri5", [4640, 8552, 17768]),
    ("tsit5", [4640, 8630, 17702]),
    ("vern7", [6518, 10058, 16660]),
    ("dop853", [6278, 9314, 14186]),
];

#[test]
fn evaluations_on_detest_keep_to_their_budget() {
    let spent: Vec<(&str, [u32; 3])> = adaptive()
        .filter(|m| m.order > 2)
        .map(|method| {
            let total = |tol: f64| {
                let options = Options { method: Method::Explicit(method), rtol: tol, atol: tol, ..Options::default() };
                DETEST.iter().map(|p| run(p, &options).1.nfe).sum()
            };
            (method.name, [1e-3, 1e-5, 1e-7].map(total))
        })
        .collect();
    assert_eq!(spent, BUDGET);
}

#[test]
fn evaluations_are_counted_one_by_one() {
    for method in methods::ALL {
        for steps in [Some(17), None].into_iter().filter(|s| s.is_some() || method.adaptive()) {
            for p in problems_for(steps) {
                let options =
                    Options { method: Method::Explicit(method), steps, rtol: 1e-3, atol: 1e-3, ..Options::default() };
                let (_, report, evals) = run(p, &options);
                // Methods that are not FSAL evaluate the slope of a rejected step's start again, unasked.
                let unasked = if method.fsal() { 0 } else { report.rejected as usize };
                assert!(
                    evals >= report.nfe as usize && evals <= report.nfe as usize + unasked,
                    "{} {}",
                    method.name,
                    p.name
                );
                if let Some(n) = steps {
                    let each = method.stages() - usize::from(method.fsal());
                    let first = usize::from(method.fsal());
                    assert_eq!(report.nfe as usize, n * each + first, "{} {}", method.name, p.name);
                    assert_eq!((report.accepted, report.rejected), (n as u32, 0), "{} {}", method.name, p.name);
                }
            }
        }
    }
}

#[test]
fn steps_follow_one_another_and_land_on_the_end() {
    for method in methods::ALL {
        for steps in [Some(17), None].into_iter().filter(|s| s.is_some() || method.adaptive()) {
            for p in problems_for(steps) {
                let options =
                    Options { method: Method::Explicit(method), steps, rtol: 1e-3, atol: 1e-3, ..Options::default() };
                let (taken, report) = lengths(p, &options);
                assert_eq!(taken.len(), report.accepted as usize);
                let mut t = p.t0;
                for (from, h) in taken {
                    assert!(from == t, "{} {}: {from} after {t}", method.name, p.name);
                    t += h;
                }
                assert_eq!(report.t, p.t1, "{} {}", method.name, p.name);
                // Sums of up to a few thousand steps of [0, 20].
                assert!((t - p.t1).abs() < 1e-12, "{} {}: {t}", method.name, p.name);
            }
        }
    }
}

#[test]
fn every_controller_meets_the_tolerance_at_like_cost() {
    for method in adaptive().filter(|m| m.order > 2) {
        let cost = |law: Law| {
            let controller = Controller { law, ..Controller::default() };
            let options =
                Options { method: Method::Explicit(method), controller, rtol: 1e-5, atol: 1e-5, ..Options::default() };
            let spent = |p: &Problem| {
                let (y, report, _) = run(p, &options);
                assert!(scaled_error(&y, &p.end()) < 5e3 * 1e-5, "{} {law:?} {}", method.name, p.name);
                report.nfe
            };
            f64::from(DETEST.iter().map(spent).sum::<u32>())
        };
        let costs = Law::ALL.map(cost);
        let (least, most) = (costs.iter().copied().fold(f64::MAX, f64::min), costs.iter().copied().fold(0.0, f64::max));
        assert!(most < 1.3 * least, "{}: {costs:?}", method.name);
    }
}

#[test]
fn the_first_step_is_neither_timid_nor_rejected_often() {
    for method in adaptive().filter(|m| m.order > 2) {
        let mut rejected = 0;
        for p in DETEST {
            let options = Options { method: Method::Explicit(method), rtol: 1e-5, atol: 1e-5, ..Options::default() };
            let (taken, _) = lengths(p, &options);
            let given = Options { first_step: Some(taken[0].1), ..options.clone() };
            // The selected step is accepted as it is where the solve with that step given begins with it too.
            rejected += usize::from(lengths(p, &given).1.rejected != lengths(p, &options).1.rejected);
            let typical = taken.iter().take(6).map(|s| s.1).fold(0.0, f64::max);
            // A few steps of growth (by up to 10) away from where the control settles: where the start is 0, the
            // selection knows no scale and begins with 1e-4.
            assert!(taken[0].1 > 5e-5 * typical, "{} {}: {taken:?}", method.name, p.name);
        }
        assert!(rejected <= DETEST.len() / 3, "{}: {rejected} first steps rejected", method.name);
    }
}

#[test]
fn an_empty_span_returns_the_start_at_no_cost() {
    for method in methods::ALL {
        for p in LINEAR {
            let steps = if method.adaptive() { None } else { Some(3) };
            let options = Options { method: Method::Explicit(method), steps, ..Options::default() };
            let Solution { y, reports, .. } = solve_here(p.field(), (), p.y0, (1.5, 1.5), &options).unwrap();
            assert_eq!((y.as_slice(), reports[0].nfe, reports[0].accepted), (p.y0, 0, 0));
            assert!(reports[0].status.is_ok() && reports[0].t == 1.5);
        }
    }
}

#[test]
fn an_empty_batch_is_solved() {
    let Solution { y, reports, .. } =
        solve_here(LINEAR[0].field(), (), &[] as &[f64], (0.0, 1.0), &Options::default()).unwrap();
    assert!(y.is_empty() && reports.is_empty());
}

/// y' = y² from the start 1/t*, which blows up at t*.
fn blow_up(_: f64, y: &[f64], d: &mut [f64]) {
    d[0] = y[0] * y[0];
}

#[test]
fn lanes_that_fail_say_so_and_the_others_go_on() {
    for method in methods::ALL {
        for lanes in [1, 2, 16] {
            let steps = if method.adaptive() { None } else { Some(2000) };
            let options = Options {
                method: Method::Explicit(method),
                steps,
                lanes,
                rtol: 1e-6,
                atol: 1e-6,
                max_steps: 20_000,
                ..Options::default()
            };
            // NaN first: a tile of nothing but failures must not end the batch. 2.0 blows up at t = 1/2.
            let y0 = [f64::NAN, f64::INFINITY, 0.5, 2.0, f64::NAN, 0.25, -1.0];
            let Solution { y, reports, .. } =
                solve_here(Field::new(1, blow_up), (), &y0, (0.0, 1.0), &options).unwrap();
            for (i, start) in y0.into_iter().enumerate() {
                let (r, name) = (&reports[i], method.name);
                if !start.is_finite() {
                    assert!(
                        matches!(r.status, Err(Failure::NonFinite { t: 0.0, .. })),
                        "{name} {start}: {:?}",
                        r.status
                    );
                } else if start == 2.0 {
                    assert!(r.status.is_err(), "{name}: {r:?}");
                    assert!(r.t < 1.0 && y[i].is_finite(), "{name}: the last good state is {} at {}", y[i], r.t);
                    // Equal steps stride over the pole before they overflow.
                    assert!(r.t < 0.5 + 1e-3 || !method.adaptive(), "{name}: {}", r.t);
                } else {
                    let error = (y[i] - start / (1.0 - start)).abs();
                    assert!(
                        r.status.is_ok() && r.t == 1.0 && error < 1e-2,
                        "{name}, {lanes} lanes, {start}: {r:?} {error}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_field_that_turns_nan_fails_where_it_does() {
    for method in methods::ALL {
        let field = |t: f64, y: &[f64], d: &mut [f64]| d[0] = if t > 0.75 { f64::NAN } else { -y[0] };
        let steps = if method.adaptive() { None } else { Some(64) };
        let options = Options { method: Method::Explicit(method), steps, ..Options::default() };
        let Solution { y, reports, .. } =
            solve_here(Field::new(1, field), (), &[1.0_f64], (0.0, 2.0), &options).unwrap();
        let Err(Failure::NonFinite { t, h, speed }) = reports[0].status else {
            panic!("{}: {:?}", method.name, reports[0])
        };
        assert!(t <= 0.75 + 1.0 / 32.0 && t > 0.6 && t == reports[0].t && h >= 0.0, "{}: {t} {h}", method.name);
        assert!(y[0].is_finite() && (speed.is_nan() || speed < 1.0), "{}: {y:?} {speed}", method.name);
        assert!(!reports[0].status.unwrap_err().advice().is_empty());
    }
}

#[test]
fn too_many_steps_is_a_failure_of_that_lane_alone() {
    for method in adaptive() {
        // Lane 0 stands still, lane 1 turns fast.
        let field = |_: f64, y: &[f64], d: &mut [f64]| d.copy_from_slice(&[-200.0 * y[1], 200.0 * y[0]]);
        let options =
            Options { method: Method::Explicit(method), rtol: 1e-6, atol: 1e-6, max_steps: 20, ..Options::default() };
        let Solution { y, reports, .. } =
            solve_here(Field::new(2, field), (), &[0.0, 0.0, 1.0, 0.0], (0.0, 10.0), &options).unwrap();
        assert!(reports[0].status.is_ok() && y[..2] == [0.0, 0.0], "{}: {:?}", method.name, reports[0]);
        assert!(matches!(reports[1].status, Err(Failure::TooManySteps { steps: 20, t, .. }) if t == reports[1].t));
        assert_eq!(reports[1].accepted + reports[1].rejected, 20, "{}", method.name);
        // The state handed back is that of the time handed back.
        let (angle, t) = (200.0 * reports[1].t, reports[1].t);
        assert!(scaled_error(&y[2..], &[angle.cos(), angle.sin()]) < 1e-3, "{}: {y:?} at {t}", method.name);
    }
}

#[test]
fn no_step_is_longer_than_asked() {
    for method in adaptive() {
        for p in DETEST {
            for max_step in [0.37, 0.1] {
                let options = Options {
                    method: Method::Explicit(method),
                    max_step,
                    rtol: 1e-2,
                    atol: 1e-2,
                    ..Options::default()
                };
                let (taken, report) = lengths(p, &options);
                let longest = taken.iter().map(|s| s.1).fold(0.0, f64::max);
                assert!(longest <= max_step && report.t == p.t1, "{} {}: {longest}", method.name, p.name);
            }
        }
    }
}

#[test]
fn no_step_but_the_last_ones_is_shorter_than_asked() {
    for method in adaptive() {
        for p in DETEST {
            let min_step = 0.02;
            let options =
                Options { method: Method::Explicit(method), min_step, rtol: 1e-6, atol: 1e-6, ..Options::default() };
            let (taken, report) = lengths(p, &options);
            // The last two share what is left of the span.
            let free = taken.len().saturating_sub(if report.status.is_ok() { 2 } else { 0 });
            assert!(taken[..free].iter().all(|s| s.1 >= min_step), "{} {}: {:?}", method.name, p.name, report.status);
            if let Err(failure) = report.status {
                assert!(matches!(failure, Failure::StepTooSmall { .. }), "{} {}: {failure}", method.name, p.name);
            }
        }
    }
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let fixed = || Options { method: Method::Explicit(&methods::RK4), ..Options::default() };
    let bad = [
        fixed(),
        Options { steps: Some(0), ..fixed() },
        Options { rtol: f64::NAN, ..Options::default() },
        Options { atol: -1.0, ..Options::default() },
        Options { rtol: 0.0, atol: 0.0, ..Options::default() },
        Options { lanes: 0, ..Options::default() },
        Options { max_steps: 0, ..Options::default() },
        Options { max_step: 0.0, ..Options::default() },
        Options { min_step: f64::NAN, ..Options::default() },
        Options { first_step: Some(-0.1), ..Options::default() },
        Options { log_det_rows: 1, ..Options::default() },
        Options { uncontrolled_rows: 1, ..Options::default() },
    ];
    for options in bad {
        let refused = solve_here(LINEAR[0].field(), (), &[1.0], (0.0, 1.0), &options).unwrap_err();
        assert!(matches!(refused, SolveError::BadOption(_)), "{options:?}: {refused}");
    }
    for span in [(f64::NAN, 1.0), (0.0, f64::INFINITY)] {
        assert!(solve_here(LINEAR[0].field(), (), &[1.0], span, &Options::default()).is_err());
    }
    let refused = solve_here(LINEAR[1].field(), (), &[1.0; 3], (0.0, 1.0), &Options::default()).unwrap_err();
    assert!(matches!(refused, SolveError::Shape { found: 3, .. }), "{refused}");
}

/// x of a problem with |x|² integrated behind it.
struct WithSquare<F>(F);

impl<F: VectorField<f64>> VectorField<f64> for WithSquare<F> {
    fn dim(&self) -> usize {
        self.0.dim() + 1
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
        let d = self.0.dim();
        self.0.eval(at, y.rows_of(0, d), out.rows_of(0, d));
        for l in 0..at.lanes() {
            out.row_mut(d)[l] = (0..d).map(|r| y.row(r)[l].powi(2)).sum();
        }
    }
}

#[test]
fn a_row_outside_error_control_does_not_change_the_steps() {
    for method in adaptive().filter(|m| m.order > 2) {
        for p in DETEST {
            let options = Options { method: Method::Explicit(method), rtol: 1e-5, atol: 1e-5, ..Options::default() };
            let (y, report, _) = run(p, &options);
            let start: Vec<f64> = p.y0.iter().copied().chain([0.0]).collect();
            let with = |options: &Options| {
                let Solution { y, reports, .. } =
                    solve_here(WithSquare(p.field()), (), &start, (p.t0, p.t1), options).unwrap();
                (y, reports[0])
            };
            let (both, uncontrolled) = with(&Options { uncontrolled_rows: 1, ..options.clone() });
            assert_eq!(both[..y.len()], y[..], "{} {}", method.name, p.name);
            assert_eq!(
                (uncontrolled.nfe, uncontrolled.accepted),
                (report.nfe, report.accepted),
                "{} {}",
                method.name,
                p.name
            );
            // It is integrated all the same: held to a tolerance of its own it comes out alike.
            let (held, _) = with(&Options { log_det_rows: 1, log_det_atol: 1e-6, ..options });
            let (found, expected) = (both[y.len()], held[y.len()]);
            assert!(
                (found - expected).abs() < 1e-2 * expected.abs().max(1.0),
                "{} {}: {found} or {expected}",
                method.name,
                p.name
            );
        }
    }
}

#[test]
fn a_step_that_failed_is_never_tried_again_at_its_length() {
    // With hardly any safety the last step of the span, cut or stretched to end there, is the one that comes back.
    for method in adaptive().filter(|m| m.order > 2) {
        for safety in [0.92, 0.97, 0.999] {
            for p in DETEST {
                let controller = Controller { safety, ..Controller::default() };
                let options = Options {
                    method: Method::Explicit(method),
                    controller,
                    rtol: 1e-5,
                    atol: 1e-5,
                    ..Options::default()
                };
                let (_, report, _) = run(p, &options);
                assert!(report.status.is_ok(), "{} {} {safety}: {:?}", method.name, p.name, report.status);
            }
        }
    }
}
