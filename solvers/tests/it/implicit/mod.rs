//! The laws of the implicit methods: accuracy, direction, reported failure, dense output, independence of threads.

mod failures;
mod problems;

use cnflow_solvers::{Failure, Implicit, Method, Observer, Options, Quadrature, SaveAt, Step, solve, solve_here};

use self::problems::*;
use crate::common::on_threads;
use crate::oracle::oracle;

/// The largest error in units of atol + rtol·|z|.
fn scaled_error(y: &[f64], truth: &[f64], options: &Options) -> f64 {
    y.iter().zip(truth).map(|(y, z)| (y - z).abs() / (options.atol + options.rtol * z.abs())).fold(0.0, f64::max)
}

/// How large that error may be. A step's estimate of order h^{p+1} is held at the tolerance, so h ~ tol^{1/(p+1)}
/// and the error that N ~ 1/h steps add up to is N·tol, in units of the tolerance a constant times tol^{−1/(p+1)}.
/// The constants measured are 0.1 to 3.3 (the largest: bdf, Brusselator).
fn bound(method: Implicit, rtol: f64) -> f64 {
    let p = match method {
        Implicit::Bdf => 5.0,
        Implicit::TrBdf2 => 2.0,
        Implicit::Esdirk34 => 3.0,
        other => panic!("the order of {other} is not known here"),
    };
    8.0 * rtol.powf(-1.0 / (p + 1.0))
}

fn close_options(tol: f64) -> Options {
    Options { rtol: tol, atol: tol, ..Options::default() }
}

/// Writes down each step; reads the dense output on a grid of θ.
#[derive(Default)]
struct Witness {
    steps: Vec<(f64, f64, bool)>,
    inside: Vec<(f64, Vec<f64>)>,
    ends: Vec<Vec<f64>>,
    failures: Vec<Failure>,
    finished: usize,
}

impl Observer<f64> for Witness {
    fn dense(&self) -> bool {
        true
    }
    fn accepted(&mut self, step: &dyn Step<f64>) {
        assert_eq!(step.sample(), 0);
        let mut y = vec![0.0; step.dim()];
        step.start(&mut y);
        if let Some(end) = self.ends.last() {
            assert_eq!(end, &y, "a step starts where the last one ended");
        }
        for i in 0..=8 {
            let theta = f64::from(i) / 8.0;
            step.at(theta, &mut y);
            self.inside.push((step.t() + theta * step.h(), y.clone()));
        }
        step.end(&mut y);
        self.ends.push(y);
        self.steps.push((step.t(), step.h(), step.last()));
    }
    fn failed(&mut self, sample: usize, failure: &Failure) {
        assert_eq!(sample, 0);
        self.failures.push(*failure);
    }
    fn finish(&mut self) {
        self.finished += 1;
    }
}

fn watch(problem: &Problem, method: Implicit, rtol: f64) -> (Outcome, Witness) {
    let mut witness = Witness::default();
    let options = problem.options(rtol);
    let (y0, t0, t1) = (problem.y0, problem.t0, problem.t1);
    let outcome = solve_one(&mut problem.field(), method, y0, (t0, t1), &options, &mut witness);
    (outcome, witness)
}

#[test]
fn methods_reach_the_known_ends_within_their_tolerance() {
    for problem in ALL {
        for method in Implicit::ALL {
            for rtol in [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8] {
                let outcome = problem.solve(method, rtol);
                assert_eq!(outcome.status, Ok(()), "{} by {method} at {rtol:e}", problem.name);
                let error = scaled_error(&outcome.y, &(problem.end)(), &problem.options(rtol));
                println!("{}, {method}, {rtol:e}: {error:.2} of {:.1}", problem.name, bound(method, rtol));
                assert!(error < bound(method, rtol), "{} by {method} at {rtol:e}: {error:.2}", problem.name);
            }
        }
    }
}

#[test]
fn stiffness_costs_no_steps() {
    // An explicit method of order 5 would need about |λ|·T/3.3 steps: 900 and 6e6.
    for method in Implicit::ALL {
        let outcome = PROTHERO.solve(method, 1e-4);
        assert!(outcome.accepted + outcome.rejected < 60, "{method}: {outcome:?}");
        let outcome = VAN_DER_POL.solve(method, 1e-4);
        assert!(outcome.accepted + outcome.rejected < 1100 && outcome.nfe < 6500, "{method}: {outcome:?}");
        assert!(outcome.jacobians < 80, "Jacobians are kept from step to step: {outcome:?}");
    }
}

#[test]
fn an_independent_solver_agrees() {
    for problem in [BRUSSELATOR, DECAY, GROWTH, SWING, SWING_BACK] {
        let truth = oracle(problem.f, problem.y0, problem.t0, problem.t1, 1e-11);
        // the oracle's own error: 2e-9 on the Brusselator, whose errors grow by about 100
        assert!(scaled_error(&truth, &(problem.end)(), &close_options(1e-9)) < 3.0, "{}: {truth:?}", problem.name);
        for method in Implicit::ALL {
            let outcome = problem.solve(method, 1e-7);
            let error = scaled_error(&outcome.y, &truth, &problem.options(1e-7));
            assert!(error < bound(method, 1e-7), "{} by {method}: {error}", problem.name);
        }
    }
}

#[test]
fn steps_tile_the_span_and_end_exactly_on_it() {
    for problem in ALL {
        for method in Implicit::ALL {
            let (outcome, witness) = watch(&problem, method, 1e-5);
            assert_eq!(outcome.accepted as usize, witness.steps.len());
            assert_eq!((witness.finished, witness.failures.len()), (1, 0));
            assert_eq!(witness.ends.last(), Some(&outcome.y));
            assert_eq!(witness.steps[0].0, problem.t0);
            let ulp = f64::EPSILON * problem.t0.abs().max(problem.t1.abs());
            for pair in witness.steps.windows(2) {
                assert!((pair[0].0 + pair[0].1 - pair[1].0).abs() <= ulp, "{pair:?}");
                assert!(pair[0].1 * (problem.t1 - problem.t0) > 0.0 && !pair[0].2);
            }
            let &(t, h, last) = witness.steps.last().unwrap();
            assert!(last && h == problem.t1 - t, "{} by {method}: {t} + {h}", problem.name);
        }
    }
}

#[test]
fn dense_output_is_as_good_as_the_steps() {
    type Truth = fn(f64) -> f64;
    let truths: [(Problem, Truth); 5] = [
        (DECAY, |t| (-2.0 * t).exp()),
        (GROWTH, |t| (-2.0 * (t - 1.5)).exp()),
        (SWING, |t| t.sin().exp()),
        (SWING_BACK, |t| (t.sin() - 5.0f64.sin()).exp()),
        (PROTHERO, f64::cos),
    ];
    for (problem, truth) in truths {
        for method in Implicit::ALL {
            for rtol in [1e-4, 1e-6] {
                let (_, witness) = watch(&problem, method, rtol);
                let options = problem.options(rtol);
                let worst = |points: &mut dyn Iterator<Item = (f64, &Vec<f64>)>| {
                    points.map(|(t, y)| scaled_error(y, &[truth(t)], &options)).fold(0.0, f64::max)
                };
                let ends = witness.steps.iter().map(|(t, h, _)| t + h).zip(&witness.ends);
                let at_steps = worst(&mut { ends });
                let inside = worst(&mut witness.inside.iter().map(|(t, y)| (*t, y)));
                println!("{}, {method}, {rtol:e}: {inside:.2} inside, {at_steps:.2} at steps", problem.name);
                assert!(inside < bound(method, rtol), "{} by {method} at {rtol:e}: {inside}", problem.name);
            }
        }
    }
}

#[test]
fn spans_of_no_length_and_of_a_few_round_offs_are_fine() {
    for method in Implicit::ALL {
        let solve = |t0: f64, t1: f64| {
            let mut witness = Witness::default();
            let options = close_options(1e-6);
            let outcome = solve_one(&mut SWING.field(), method, &[1.0], (t0, t1), &options, &mut witness);
            (outcome, witness)
        };
        let (outcome, witness) = solve(1.0, 1.0);
        assert_eq!((outcome.y, outcome.nfe, outcome.accepted, outcome.status), (vec![1.0], 0, 0, Ok(())));
        assert_eq!((witness.steps.len(), witness.finished), (0, 1));
        for (t0, t1) in [(0.0, 1e-300), (0.0, -1e-12), (1.0, 1.0 + f64::EPSILON), (1e6, 1e6 + 1e-9), (1.0, 1.0 - 1e-14)]
        {
            let (outcome, witness) = solve(t0, t1);
            assert_eq!(outcome.status, Ok(()), "{method} from {t0} to {t1}");
            let &(t, h, last) = witness.steps.last().unwrap();
            assert!(last && t + h == t1);
            assert!((outcome.y[0] - (1.0 + (t1 - t0) * t0.cos())).abs() < 1e-15);
        }
        // far from t = 0, time has 1e-10 of resolution
        let (outcome, _) = solve(1e6, 1e6 + 1.0);
        let truth = ((1e6f64 + 1.0).sin() - 1e6f64.sin()).exp();
        assert!(scaled_error(&outcome.y, &[truth], &close_options(1e-6)) < bound(method, 1e-6));
    }
}

#[test]
fn a_state_larger_than_a_block_of_lanes_is_solved() {
    // y_i' = (y_{i−1} − 2y_i + y_{i+1})/h²: the lowest mode decays at −(4/h²) sin²(πh/2), about π²; the highest at
    // −1760
    const N: usize = 20;
    fn heat(y: &[f64], out: &mut [f64]) {
        let at = |i: isize| if (0..N as isize).contains(&i) { y[i as usize] } else { 0.0 };
        for (i, out) in out.iter_mut().enumerate() {
            let i = i as isize;
            *out = (at(i - 1) - 2.0 * at(i) + at(i + 1)) * ((N + 1) * (N + 1)) as f64;
        }
    }
    let h = 1.0 / (N + 1) as f64;
    let mode: Vec<f64> = (1..=N).map(|i| (std::f64::consts::PI * h * i as f64).sin()).collect();
    let decay = (-0.5 * 4.0 / (h * h) * (0.5 * std::f64::consts::PI * h).sin().powi(2)).exp();
    let truth: Vec<f64> = mode.iter().map(|y| y * decay).collect();
    for method in Implicit::ALL {
        let mut field = Field::new(N, |_, y, out| heat(y, out), |_, _, d, out| heat(d, out));
        let options = close_options(1e-6);
        let outcome = solve_one(&mut field, method, &mode, (0.0, 0.5), &options, ());
        let error = scaled_error(&outcome.y, &truth, &options);
        assert!(error < bound(method, 1e-6), "{method}: {error}");
        assert_eq!(field.widest, N);
    }
}

#[test]
fn names_round_trip() {
    for method in Implicit::ALL {
        let named: Method = method.name().parse().unwrap();
        assert!(matches!(named, Method::Implicit(found) if found == method));
        assert_eq!((named.to_string(), method.to_string()), (method.name().into(), method.name().into()));
    }
    for method in Method::all() {
        assert_eq!(Method::named(method.name()).unwrap().name(), method.name());
    }
    let unknown = Method::named("radau").unwrap_err().to_string();
    assert!(unknown.contains("radau") && unknown.contains("dop853, bdf, tr_bdf2, esdirk34"), "{unknown}");
}

#[test]
fn results_are_the_same_bits_on_any_number_of_threads() {
    // every third sample starts where the field is not defined
    let field = || {
        Field::new(
            2,
            |_, y, out| if y[0] > 10.0 { out.fill(f64::NAN) } else { van_der_pol(1e-3, y, out) },
            |_, y, d, out| van_der_pol_jvp(1e-3, y, d, out),
        )
    };
    let n = 9;
    let y0: Vec<f64> = (0..n).flat_map(|i| [if i % 3 == 2 { 50.0 } else { 2.0 - 0.1 * f64::from(i) }, 0.0]).collect();
    let times = [0.5, 1.25, 2.0];
    for method in Implicit::ALL {
        let options = Options { method: method.into(), ..close_options(1e-5) };
        let solve = |threads| {
            let worker = || (field(), (Count::default(), SaveAt::new(&times, 2)));
            let (solution, observers) = on_threads(threads, || solve(worker, &y0, (0.0, 2.0), &options)).unwrap();
            let (counts, saved): (Vec<Count>, Vec<SaveAt<f64>>) = observers.into_iter().unzip();
            let outcomes: Vec<Outcome> =
                solution.y.chunks_exact(2).zip(&solution.reports).map(|(y, report)| Outcome::new(y, report)).collect();
            let steps = counts.iter().map(|count| count.steps).sum::<u32>();
            let failed = counts.iter().map(|count| count.failed).sum::<usize>();
            assert_eq!((steps, failed), (outcomes.iter().map(|o| o.accepted).sum(), n as usize / 3));
            (outcomes, SaveAt::collect(&saved, n as usize, 0.0, &y0))
        };
        let (one, saved) = solve(1);
        assert_eq!(one.len(), n as usize);
        for (i, outcome) in one.iter().enumerate() {
            assert_eq!(outcome.status.is_err(), i % 3 == 2);
            let start = &y0[2 * i..2 * i + 2];
            let alone = solve_one(&mut field(), method, start, (0.0, 2.0), &options, ());
            assert_eq!(format!("{alone:?}"), format!("{outcome:?}"));
        }
        for threads in [2, 3, 16] {
            let (outcomes, states) = solve(threads);
            assert_eq!(format!("{outcomes:?}"), format!("{one:?}"), "{threads} threads");
            assert_eq!(format!("{states:?}"), format!("{saved:?}"), "{threads} threads");
        }
    }
}

#[derive(Debug, Default)]
struct Count {
    steps: u32,
    failed: usize,
}

impl Observer<f64> for Count {
    fn accepted(&mut self, _step: &dyn Step<f64>) {
        self.steps += 1;
    }
    fn failed(&mut self, _sample: usize, _failure: &Failure) {
        self.failed += 1;
    }
}

#[test]
fn a_quadrature_along_an_implicit_path_meets_its_tolerance() {
    // ∫ y dt of y' = −2y from 0 to 1.5, and of y = cos t: sin 3.
    for (problem, exact) in [(DECAY, 0.5 * (1.0 - (-3.0f64).exp())), (PROTHERO, 3.0f64.sin())] {
        for method in Implicit::ALL.map(Method::from) {
            let options = Options { method, ..close_options(1e-8) };
            let identity = Field::new(1, |_, y, out| out[0] = y[0], |_, _, d, out| out[0] = d[0]);
            let mut integral = Quadrature::new(identity, method.rule(), Some(1e-6), method.dense_degree(), 16);
            solve_here(problem.field(), &mut integral, problem.y0, (problem.t0, problem.t1), &options).unwrap();
            let found = integral.into_integrals().pop().unwrap();
            // The path's own error, of the order of 1e-6 after some hundred steps, comes on top.
            assert!(found.settled && (found.values[0] - exact).abs() < 3e-6, "{} by {method}: {found:?}", problem.name);
        }
    }
}

#[test]
fn the_jacobian_is_ours_and_comes_in_one_call() {
    // one-sided differences, √ε apart: good to about 1e-8 of the Jacobian
    let differences: Tangent = |t, y, d, out| {
        let eps = 1.5e-8 * y.iter().fold(1.0, |m: f64, y| m.max(y.abs()));
        let moved: Vec<f64> = y.iter().zip(d).map(|(y, d)| y + eps * d).collect();
        let mut f0 = vec![0.0; y.len()];
        (BRUSSELATOR.f)(t, y, &mut f0);
        (BRUSSELATOR.f)(t, &moved, out);
        out.iter_mut().zip(f0).for_each(|(v, f0)| *v = (*v - f0) / eps);
    };
    for method in Implicit::ALL {
        let options = BRUSSELATOR.options(1e-6);
        let solve = |jvp: Tangent| {
            let mut field = Field::new(2, BRUSSELATOR.f, jvp);
            let outcome = solve_one(&mut field, method, &[1.5, 3.0], (0.0, 20.0), &options, ());
            assert_eq!(field.widest, 2, "a lane for every unit tangent");
            outcome
        };
        let (exact, approximate) = (solve(BRUSSELATOR.jvp), solve(differences));
        // Newton stops at a fifth of the tolerance a step, and both are within the bound of the truth
        assert!(scaled_error(&exact.y, &approximate.y, &options) < bound(method, 1e-6));
        assert!(exact.nfe.abs_diff(approximate.nfe) * 20 <= exact.nfe, "{exact:?} against {approximate:?}");
        // a Jacobian that is wrong altogether may cost values, but not the result's honesty
        let wrong = solve(|_, _, _, out| out.fill(0.0));
        assert!(scaled_error(&wrong.y, &(BRUSSELATOR.end)(), &options) < 4.0 * bound(method, 1e-6), "{wrong:?}");
    }
}

#[test]
fn no_step_is_longer_than_asked_and_a_bound_that_does_not_bind_changes_no_bit() {
    for problem in [BRUSSELATOR, DECAY, GROWTH, SWING, SWING_BACK] {
        let span = (problem.t1 - problem.t0).abs();
        for method in Implicit::ALL {
            let run = |max_step: f64| {
                let mut witness = Witness::default();
                let options = Options { max_step, ..problem.options(1e-4) };
                let (y0, t0, t1) = (problem.y0, problem.t0, problem.t1);
                let outcome = solve_one(&mut problem.field(), method, y0, (t0, t1), &options, &mut witness);
                (outcome, witness)
            };
            let (free, steps) = run(f64::INFINITY);
            assert_eq!(run(span).0.y, free.y, "{} by {method}", problem.name);
            let longest = |witness: &Witness| witness.steps.iter().map(|step| step.1.abs()).fold(0.0, f64::max);
            // Parts of the longest step, and of the span: stops that add up to the end but for round-off.
            let bounds = [0.5, 0.1].map(|part| part * longest(&steps));
            for most in bounds.into_iter().chain([60.0, 70.0, 80.0, 90.0].map(|parts| span / parts)) {
                if most >= longest(&steps) {
                    continue;
                }
                let (outcome, witness) = run(most);
                assert_eq!(outcome.status, Ok(()));
                // A stop is met within 100 round-offs of the time.
                assert!(longest(&witness) <= most + 1e-13 * span.max(problem.t1.abs()), "{} by {method}", problem.name);
                assert!(witness.steps.last().unwrap().2 && witness.steps.len() > steps.steps.len());
                let error = scaled_error(&outcome.y, &(problem.end)(), &problem.options(1e-4));
                assert!(error < bound(method, 1e-4), "{} by {method}: {error}", problem.name);
            }
        }
    }
}
