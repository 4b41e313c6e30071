//! Errors stay within a stated multiple of the tolerance, on all of DETEST, at the end and inside the steps.

use crate::problems::{ARENSTORF, BRUSSELATOR, DETEST, LORENZ, PLEIADES, Problem, Truth, Worst, scaled_error};
use cnflow_solvers::{Method, Options, Solution, Tableau, methods, solve_here};

fn at_tolerance(method: &'static Tableau, tol: f64) -> Options {
    Options { method: Method::Explicit(method), rtol: tol, atol: tol, max_steps: 1_000_000, ..Options::default() }
}

fn end_error(problem: &Problem, options: &Options) -> f64 {
    let Solution { y, reports, .. } =
        solve_here(problem.field(), (), problem.y0, (problem.t0, problem.t1), options).unwrap();
    reports[0].status.unwrap_or_else(|failure| panic!("{}: {failure}", problem.name));
    scaled_error(&y, &problem.end())
}

/// The tightest tolerance that a method is for: below it, a step costs it thousands where another takes tens.
fn tightest(method: &Tableau) -> f64 {
    match method.order {
        2 => 1e-6,
        3 => 1e-8,
        _ => 1e-10,
    }
}

fn tolerances(method: &Tableau) -> impl Iterator<Item = f64> {
    let least = 0.5 * tightest(method);
    [1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10].into_iter().filter(move |tol| *tol > least)
}

// The global error is the sum of the local ones, carried along by the flow. On an orbit an error of energy is an
// error of phase that grows with every turn: at most 1530 tolerances (dopri5 on D2 at 1e-4); elsewhere at most 90 (B1).
fn multiple(problem: &Problem) -> f64 {
    if problem.name.starts_with('D') { 2e3 } else { 2e2 }
}

#[test]
fn errors_on_detest_stay_within_a_multiple_of_the_tolerance() {
    for method in methods::ALL.iter().filter(|m| m.adaptive()) {
        for problem in DETEST {
            for tol in tolerances(method) {
                let ratio = end_error(problem, &at_tolerance(method, tol)) / tol;
                assert!(
                    ratio < multiple(problem),
                    "{} on {} at {tol:.0e}: {ratio:.1} tolerances",
                    method.name,
                    problem.name
                );
            }
        }
    }
}

/// Measured: at most 8.3 times the error at the ends (or the tolerance), on A3, but 139 for dop853 on the decay chains
/// and diffusions C2 to C4: its control uses a combined estimate that does not cover its interpolant, and where
/// stability limits the steps, not accuracy, they are too long for it.
#[test]
fn errors_inside_the_steps_are_of_the_size_of_those_at_their_ends() {
    for method in methods::ALL.iter().filter(|m| m.adaptive()) {
        let allowed = if method.name == "dop853" { 200.0 } else { 10.0 };
        for problem in DETEST {
            let Truth::Closed(truth) = problem.truth else { continue };
            for tol in tolerances(method) {
                let mut worst = Worst::new(truth, &[0.1, 0.3, 0.5, 0.7, 0.9]);
                let span = (problem.t0, problem.t1);
                solve_here(problem.field(), &mut worst, problem.y0, span, &at_tolerance(method, tol)).unwrap();
                let ratio = worst.inside / worst.ends.max(tol);
                assert!(ratio < allowed, "{} in {} at {tol:.0e}: {ratio:.1}", method.name, problem.name);
            }
        }
    }
}

#[test]
fn a_tighter_tolerance_buys_accuracy_in_proportion() {
    for method in methods::ALL.iter().filter(|m| m.adaptive()) {
        let worst = |tol: f64| {
            let all = DETEST.iter().map(|p| (end_error(p, &at_tolerance(method, tol)) / multiple(p)).ln());
            (all.sum::<f64>() / DETEST.len() as f64).exp()
        };
        let (loose, tight) = (1e-4, tightest(method));
        let exponent = (worst(loose) / worst(tight)).ln() / (loose / tight).ln();
        assert!((0.75..1.35).contains(&exponent), "{}: error ~ tol^{exponent:.2}", method.name);
    }
}

#[test]
fn the_classics_arrive_at_their_published_states() {
    // (problem, tolerance, error allowed): the flow multiplies a perturbation by about 5e4 on one Arenstorf period,
    // by 1e3 through the Pleiades' encounters, and contracts onto the Brusselator's cycle.
    for (problem, tol, allowed) in
        [(ARENSTORF, 1e-11, 1e-5), (BRUSSELATOR, 1e-10, 1e-8), (PLEIADES, 1e-11, 1e-7), (LORENZ, 1e-10, 1e-8)]
    {
        for method in methods::ALL.iter().filter(|m| m.order >= 5 && m.adaptive()) {
            let error = end_error(&problem, &at_tolerance(method, tol));
            assert!(error < allowed, "{} on {}: {error:.1e}", method.name, problem.name);
        }
    }
}

#[test]
fn the_formulas_solve_their_problems() {
    for problem in DETEST.iter().chain(crate::problems::LINEAR).chain(crate::problems::SLOPES) {
        let Truth::Closed(truth) = problem.truth else { continue };
        assert!(scaled_error(problem.y0, &truth(problem.t0)) < 1e-14, "{}: start", problem.name);
        let mut slope = vec![0.0; problem.dim()];
        for t in [0.3, 0.9 * problem.t1] {
            let h = 1e-4;
            (problem.f)(t, &truth(t), &mut slope);
            let central: Vec<f64> = truth(t + h).iter().zip(truth(t - h)).map(|(b, a)| (b - a) / (2.0 * h)).collect();
            // h² y'''/6, with y''' up to about 10³ near D5's perihelion.
            assert!(scaled_error(&central, &slope) < 1e-5, "{} at {t}: {central:?} {slope:?}", problem.name);
        }
    }
}
