//! Integrals along trajectories: against the same integral as an extra state, and their error estimates.

use crate::common::{Divergence, Sine, numbers, on_threads};
use cnflow_solvers::gauss::{Gauss, RULES};
use cnflow_solvers::quadrature::Integral;
use cnflow_solvers::{At, Lanes, LanesMut, Method, Options, Quadrature, VectorField, methods, solve};

/// The field and its divergence as one state.
struct Coupled<'a>(Sine<'a>, Divergence<'a>);

impl VectorField<f64> for Coupled<'_> {
    fn dim(&self) -> usize {
        self.0.dim + 1
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
        let d = self.0.dim;
        self.0.eval(at, y.rows_of(0, d), out.rows_of(0, d));
        self.1.eval(at, y.rows_of(0, d), out.rows_of(d, d + 1));
    }
}

fn sorted(quadratures: Vec<Quadrature<f64, impl VectorField<f64>>>) -> Vec<Integral> {
    let mut all: Vec<_> = quadratures.into_iter().flat_map(Quadrature::into_integrals).collect();
    all.sort_by_key(|integral| integral.sample);
    all
}

#[test]
fn the_quadrature_meets_its_tolerance_and_its_estimate_is_honest() {
    let (d, n) = (4, 200);
    let theta: Vec<f64> = numbers(d * d, 5).iter().map(|x| 4.0 * x).collect();
    let y0: Vec<f64> = numbers(n * d, 6).iter().map(|x| 2.0 * x).collect();
    let sine = || Sine { theta: &theta, dim: d };
    let start: Vec<f64> = y0.chunks_exact(d).flat_map(|y| y.iter().copied().chain([0.0])).collect();
    let tight = Options {
        method: Method::Explicit(&methods::DOP853),
        rtol: 1e-13,
        atol: 1e-13,
        log_det_rows: 1,
        log_det_atol: 1e-13,
        ..Options::default()
    };
    let (exact, _) = solve(|| (Coupled(sine(), Divergence(sine())), ()), &start, (0.0, 1.0), &tight).unwrap();
    for method in methods::ALL.iter().filter(|method| method.adaptive() && method.order > 3) {
        // The path is solved far more tightly than the quadrature, so that the difference is the quadrature's own.
        for tolerance in [1e-4, 1e-6, 1e-8] {
            let options = Options {
                method: Method::Explicit(method),
                rtol: 1e-3 * tolerance,
                atol: 1e-3 * tolerance,
                ..Options::default()
            };
            let options = Options { max_step: 0.25, ..options };
            let rule = Gauss::for_order(method.order);
            let worker = || (sine(), Quadrature::new(Divergence(sine()), rule, Some(tolerance), 8, 64));
            let (_, quadratures) = solve(worker, &y0, (0.0, 1.0), &options).unwrap();
            let integrals = sorted(quadratures);
            assert_eq!(integrals.len(), n);
            let (mut worst, mut covered) = (0.0f64, 0);
            for integral in &integrals {
                let error = (integral.values[0] - exact.y[integral.sample * (d + 1) + d]).abs();
                worst = worst.max(error);
                assert!(integral.error <= tolerance, "{}: {integral:?}", method.name);
                covered += usize::from(error <= integral.error + 0.1 * tolerance);
            }
            assert!(worst <= tolerance, "{} at {tolerance:e}: worst {worst:e}", method.name);
            assert_eq!(covered, n, "{} at {tolerance:e}", method.name);
        }
    }
}

#[test]
fn coarse_paths_are_refined_until_the_estimate_can_be_made() {
    // A field that needs one step: y' = 1, integrand cos(20 y): the quadrature must see what the path does not.
    struct One;
    impl VectorField<f64> for One {
        fn dim(&self) -> usize {
            1
        }
        fn eval(&mut self, _at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
            out.row_mut(0)[..y.lanes()].fill(1.0);
        }
    }
    struct Wave;
    impl VectorField<f64> for Wave {
        fn dim(&self) -> usize {
            1
        }
        fn eval(&mut self, _at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
            for l in 0..y.lanes() {
                out.row_mut(0)[l] = (20.0 * y.row(0)[l]).cos();
            }
        }
    }
    for rule in &RULES {
        let options =
            Options { method: Method::Explicit(&methods::DOPRI5), first_step: Some(1.0), ..Options::default() };
        let worker = || (One, Quadrature::new(Wave, rule, Some(1e-9), 4, 7));
        let (solution, quadratures) = solve(worker, &[0.0, 0.3, -1.0], (0.0, 1.0), &options).unwrap();
        assert_eq!(solution.reports[0].accepted, 1);
        for integral in sorted(quadratures) {
            let start = [0.0, 0.3, -1.0f64][integral.sample];
            let exact = ((20.0 * (start + 1.0)).sin() - (20.0 * start).sin()) / 20.0;
            let error = (integral.values[0] - exact).abs();
            assert!(error <= 1e-9 || error <= integral.error, "{} points: {error:e}, {integral:?}", rule.points());
            assert!(integral.error <= 1e-9 || rule.points() == 2, "{} points: {integral:?}", rule.points());
        }
    }
}

#[test]
fn an_integral_has_the_same_bits_in_any_batch_at_any_width_on_any_number_of_threads() {
    let (d, n) = (3, 37);
    let (theta, y0) = (numbers(d * d, 7), numbers(n * d, 8));
    let sine = || Sine { theta: &theta, dim: d };
    let run = |y0: &[f64], lanes: usize, threads: usize| {
        let options = Options { lanes, rtol: 1e-7, atol: 1e-7, ..Options::default() };
        let worker = || (sine(), Quadrature::new(Divergence(sine()), &RULES[1], Some(1e-8), 4, lanes));
        let (solution, quadratures) = on_threads(threads, || solve(worker, y0, (0.0, 1.0), &options)).unwrap();
        let integrals = sorted(quadratures);
        let bits: Vec<u64> = integrals.iter().flat_map(|i| [i.values[0].to_bits(), i.error.to_bits()]).collect();
        (solution.y.iter().map(|y| y.to_bits()).collect::<Vec<_>>(), bits)
    };
    let whole = run(&y0, 16, 1);
    for (lanes, threads) in [(1, 1), (5, 2), (64, 1), (16, 3)] {
        assert!(run(&y0, lanes, threads) == whole, "{lanes} lanes, {threads} threads");
    }
    for i in [0, 11, 36] {
        let (y, bits) = run(&y0[i * d..(i + 1) * d], 16, 1);
        assert_eq!(y, whole.0[i * d..(i + 1) * d]);
        assert_eq!(bits, whole.1[2 * i..2 * i + 2]);
    }
}

#[test]
fn a_failed_trajectory_has_no_integral_and_spoils_no_other() {
    struct Blow;
    impl VectorField<f64> for Blow {
        fn dim(&self) -> usize {
            1
        }
        fn eval(&mut self, _at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
            for l in 0..y.lanes() {
                out.row_mut(0)[l] = y.row(0)[l].powi(2);
            }
        }
    }
    let y0 = [0.5, 3.0, -1.0];
    let worker = || (Blow, Quadrature::new(Blow, &RULES[1], Some(1e-8), 4, 16));
    let options = Options { max_steps: 2000, ..Options::default() };
    let (solution, quadratures) = solve(worker, &y0, (0.0, 1.0), &options).unwrap();
    assert!(solution.reports[1].status.is_err());
    let integrals = sorted(quadratures);
    assert_eq!(integrals.iter().map(|i| i.sample).collect::<Vec<_>>(), [0, 2]);
    for integral in integrals {
        // ∫ y² dt = y(1) − y(0)
        let exact = solution.y[integral.sample] - y0[integral.sample];
        assert!((integral.values[0] - exact).abs() < 1e-4, "{integral:?} against {exact}");
    }
}

/// y' = 1: the path is the time, so that the integrand is a function of t alone and the error the quadrature's own.
struct Clock;

impl VectorField<f64> for Clock {
    fn dim(&self) -> usize {
        1
    }
    fn eval(&mut self, _at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
        out.row_mut(0)[..y.lanes()].fill(1.0);
    }
}

/// Bumps, steps, resonances and waves: (kind, width k, centre c) of each sample.
struct Shapes<'a>(&'a [(usize, f64, f64)]);

impl VectorField<f64> for Shapes<'_> {
    fn dim(&self) -> usize {
        1
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
        for (l, sample) in at.sample.iter().enumerate() {
            let (kind, k, c) = self.0[*sample];
            let u = k * (y.row(0)[l] - c);
            out.row_mut(0)[l] = match kind {
                0 => 1.0 / u.cosh().powi(2),
                1 => u.tanh(),
                2 => 1.0 / (1.0 + u * u),
                _ => u.cos(),
            };
        }
    }
}

/// The antiderivatives.
fn exact((kind, k, c): (usize, f64, f64)) -> f64 {
    let at = |t: f64| {
        let u = k * (t - c);
        match kind {
            0 => u.tanh(),
            1 => u.cosh().ln(),
            2 => u.atan(),
            _ => u.sin(),
        }
    };
    (at(1.0) - at(0.0)) / k
}

#[test]
fn the_estimate_covers_the_error_of_sharp_and_smooth_integrands_alike() {
    let n = 2000;
    let (a, b) = (numbers(n, 21), numbers(n, 22));
    let shapes: Vec<_> = (0..n).map(|i| (i % 4, 1.0 + 9.0 * a[i].abs(), 0.5 + 0.7 * b[i])).collect();
    for (method, rule) in [(&methods::BOSH3, 0), (&methods::DOPRI5, 1), (&methods::VERN7, 2), (&methods::DOP853, 3)] {
        for (max_step, tolerance) in [(1.0, 1e-3), (0.27, 1e-4), (0.12, 1e-6), (0.27, 1e-8)] {
            // The first step is short, so that panels of uneven length meet.
            let options = Options {
                method: Method::Explicit(method),
                first_step: Some(0.4 * max_step),
                max_step,
                ..Options::default()
            };
            let worker = || (Clock, Quadrature::new(Shapes(&shapes), &RULES[rule], Some(tolerance), 7, 64));
            let (_, quadratures) = solve(worker, &vec![0.0; n], (0.0, 1.0), &options).unwrap();
            let integrals = sorted(quadratures);
            let error = |i: &Integral| (i.values[0] - exact(shapes[i.sample])).abs();
            let covered = integrals.iter().filter(|i| error(i) <= i.error + 1e-14).count();
            let wrong = integrals.iter().filter(|i| error(i) > tolerance).count();
            let ratio: f64 = {
                let mut ratios: Vec<f64> = integrals.iter().map(|i| i.error / error(i).max(1e-15)).collect();
                ratios.sort_by(f64::total_cmp);
                ratios[n / 2]
            };
            let evals = integrals.iter().map(|i| f64::from(i.evals)).sum::<f64>() / n as f64;
            println!(
                "{} points, steps of {max_step}, {tolerance:e}: {covered} of {n} covered, {wrong} beyond the tolerance, \
                 median estimate/error {ratio:.1}, {evals:.1} evaluations",
                rule + 2
            );
            // With three panels there are few differences to go by; whatever was refined has more.
            let share = if max_step < 1.0 { 95 } else { 85 };
            assert!(covered >= n * share / 100, "covered");
            assert!(wrong <= n / 100, "wrong");
        }
    }
}
