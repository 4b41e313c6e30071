//! Solves with a tape: penalties along the paths of a continuous flow, its end time, and the gradient of all of it.

pub mod case;

use cnflow::continuous::taped::transport_taped;
use cnflow::continuous::transport::Request;
use cnflow::continuous::{LogDensity, SolverSpec, TraceSpec};
use cnflow::velocity::{Activation, MlpSpec, Penalties, TimeInput, Trace, VelocitySpec};

use self::case::{
    BOTH, Bars, Inverse, Loss, along_paths, condition, draws, every_solver, every_velocity, fixed, mlp, theta, tight,
    transported,
};

#[test]
fn penalties_of_a_linear_velocity_are_those_of_its_closed_form() {
    // x' = A x with A = diag(0.7, −0.4): J = ‖A‖² T, K = Σ aᵢ² xᵢ² (1 − e^{−2aᵢT}) / 2aᵢ for the path that ends in x.
    let velocity = VelocitySpec::Mlp(MlpSpec {
        dim: 2,
        condition_dim: 0,
        hidden: vec![],
        activation: Activation::Tanh,
        time: TimeInput::None,
    });
    let a = [0.7, -0.4];
    let weights = [a[0], 0.0, 0.0, a[1], 0.0, 0.0];
    let x = draws(40, 2, 1);
    // With signs for probes |A e|² is ‖A‖² for a diagonal A.
    for trace in [TraceSpec::Exact, TraceSpec::Hutchinson(3)] {
        for solver in every_solver() {
            for (single, end) in [(false, 1.0), (false, 1.5), (true, 0.5)] {
                let solver = SolverSpec { trace, ..solver.clone() };
                let inverse = Inverse { end, ..Inverse::new(&velocity, &solver, BOTH) };
                let run = if single { Inverse::run::<f32> } else { Inverse::run::<f64> };
                let found = run(&inverse, &weights, (&x, &[]));
                let expected = |row: &[f64]| -> f64 {
                    row.iter().zip(a).map(|(x, a)| a * x * x * (1.0 - (-2.0 * a * end).exp()) / 2.0).sum()
                };
                for ((k, j), row) in found.kinetic.iter().zip(found.jacobian).zip(x.chunks(2)) {
                    // The path's own error. Twenty steps of the midpoint rule are the worst: (a h)²/24 · a T relative,
                    // with a = 0.7 and T = 1.5 some 1e-4 of a K of up to 3.
                    assert!((k - expected(row)).abs() < 1e-3, "{solver:?} T = {end}: K = {k}, not {}", expected(row));
                    // A constant integrand: the round-off of f32 in the weights and in some ten terms of 6e-8.
                    let exact = (a[0] * a[0] + a[1] * a[1]) * end;
                    assert!((j - exact).abs() < 2e-6, "{solver:?} T = {end}: J = {j}, not {exact}");
                }
            }
        }
    }
}

#[test]
fn penalties_are_the_integrals_along_the_path() {
    for velocity in every_velocity() {
        let weights = theta(&velocity, 3);
        let solver = SolverSpec { trace: TraceSpec::Exact, ..tight() };
        let (z, c) = (draws(3, velocity.dim(), 4), condition(&velocity, 3));
        let [kinetic, jacobian] = along_paths(&velocity, &weights, &z, &c);
        let x = transported(&velocity, &weights, &solver, (0.0, 1.0), (&z, &c)).0;
        let found = Inverse::new(&velocity, &solver, BOTH).run::<f64>(&weights, (&x, &c));
        let close = |found: &[f64], expected: &[f64], what: &str| {
            for (found, expected) in found.iter().zip(expected) {
                let off = (found - expected).abs() / expected.max(1.0);
                // The reference is right to 1e-8. Penalties are outside error control: a rule of order six on steps
                // that hold a path of order five to 1e-10 is right to some 1e-8 too.
                assert!(off < 1e-7, "{velocity:?}: {what} is {found}, not {expected}");
            }
        };
        close(&found.kinetic, &kinetic, "K");
        if !(velocity.closed_form() && velocity.dim() > 16) {
            close(&found.jacobian, &jacobian, "J");
        }
    }
}

#[test]
fn an_estimated_jacobian_is_right_on_average() {
    // A closed form in many dimensions has one probe; Hutchinson's trace its own.
    let cases = [(mlp(17, 0, &[5, 4]), TraceSpec::Exact), (mlp(4, 0, &[6, 6]), TraceSpec::Gaussian(2))];
    for (velocity, trace) in cases {
        let weights = theta(&velocity, 5);
        let z = draws(1, velocity.dim(), 6);
        let [_, exact] = along_paths(&velocity, &weights, &z, &[]);
        let x = transported(&velocity, &weights, &tight(), (0.0, 1.0), (&z, &[])).0;
        let jacobian = |probe_seed: u64| {
            let solver = SolverSpec { trace, probe_seed, ..SolverSpec::default() };
            Inverse::new(&velocity, &solver, BOTH).run::<f64>(&weights, (&x, &[])).jacobian[0]
        };
        let estimates: Vec<f64> = (0..400).map(jacobian).collect();
        let mean = estimates.iter().sum::<f64>() / 400.0;
        let se = (estimates.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / (400.0 * 399.0)).sqrt();
        // Five standard errors, which are small beside the truth, or this would say nothing.
        let off = (mean - exact[0]).abs();
        assert!(off < 5.0 * se && se < 0.1 * exact[0], "{trace}: {mean} ± {se}, not {}", exact[0]);
    }
}

#[test]
fn the_gradient_of_any_combination_is_that_of_central_differences() {
    let quadrature = |solver: SolverSpec| SolverSpec { log_density: LogDensity::Quadrature, ..solver };
    let solvers = [
        fixed("rk4", 8),
        quadrature(fixed("rk4", 8)),
        fixed("dopri5", 4),
        quadrature(fixed("tsit5", 4)),
        quadrature(SolverSpec { lanes: 16, ..fixed("vern7", 2) }),
    ];
    let only = |kinetic, jacobian| Penalties { kinetic, jacobian };
    let masks = [BOTH, only(true, false), only(false, true), BOTH, Penalties::NONE];
    let n = 5;
    for (v, velocity) in every_velocity().into_iter().enumerate() {
        for (s, solver) in solvers.iter().enumerate() {
            for trace in [TraceSpec::Exact, TraceSpec::Hutchinson(2)] {
                let solver = SolverSpec { trace, ..solver.clone() };
                let inverse = Inverse::new(&velocity, &solver, masks[(s + v) % 5]);
                let loss = Loss::new(Inverse { end: [1.0, 1.4, 0.6][(s + v) % 3], ..inverse }, n);
                let (start, x) = (theta(&velocity, 8), draws(n, velocity.dim(), 6));
                let (g_theta, g_x) = loss.gradients::<f64>(&start, &x);
                let eps = 1e-5;
                let difference = |base: &[f64], i: usize, of: &dyn Fn(&[f64]) -> f64| {
                    let moved = |by: f64| {
                        let mut data = base.to_vec();
                        data[i] += by;
                        of(&data)
                    };
                    (moved(eps) - moved(-eps)) / (2.0 * eps)
                };
                let largest = |g: &[f64]| g.iter().fold(1.0, |m: f64, g| m.max(g.abs()));
                let check = |g: &[f64], i: usize, difference: f64, what: &str| {
                    // h² = 1e-10 times a third derivative a hundred times the gradient, and 1e-15/h of round-off.
                    let off = (difference - g[i]).abs();
                    let name = || format!("{velocity:?} {solver:?} {:?}", loss.inverse.penalties);
                    assert!(off < 2e-8 * largest(g), "{} {what}[{i}]: {} or {difference}", name(), g[i]);
                };
                for i in (0..g_theta.len()).step_by(if g_theta.len() > 100 { 11 } else { 3 }) {
                    check(&g_theta, i, difference(&start, i, &|theta| loss.at::<f64>(theta, &x)), "θ");
                }
                if trace != TraceSpec::Exact || (velocity.closed_form() && velocity.dim() > 16) {
                    continue; // the probes are a function of x, so a difference by x changes them
                }
                for i in 0..g_x.len() {
                    check(&g_x, i, difference(&x, i, &|x| loss.at::<f64>(&start, x)), "x");
                }
            }
        }
    }
}

#[test]
fn a_gradient_in_f32_is_that_in_f64_and_has_the_same_bits_on_any_number_of_threads() {
    for velocity in every_velocity() {
        for solver in every_solver() {
            let loss = Loss::new(Inverse::new(&velocity, &solver, BOTH), 150);
            let single = |x: Vec<f64>| x.into_iter().map(|x| f64::from(x as f32)).collect::<Vec<f64>>();
            let (start, x) = (single(theta(&velocity, 8)), single(draws(150, velocity.dim(), 6)));
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| loss.gradients::<f32>(&start, &x))
            };
            let one = run(1);
            assert_eq!(one, run(3), "{velocity:?} {solver:?}");
            if solver.fixed_steps.is_none() || (velocity.closed_form() && velocity.dim() > 16) {
                continue; // other steps, or other probes, in f64
            }
            let (theta64, x64) = loss.gradients::<f64>(&start, &x);
            for (found, exact) in [(&one.0, &theta64), (&one.1, &x64)] {
                let size = exact.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
                for (found, exact) in found.iter().zip(exact) {
                    // Some hundred roundings of 6e-8, amplified on the way by e^L.
                    assert!((found - exact).abs() < 1e-4 * size, "{velocity:?} {solver:?}: {found} or {exact}");
                }
            }
        }
    }
}

#[test]
fn penalties_change_nothing_else_and_rows_are_independent() {
    for velocity in every_velocity() {
        for solver in every_solver() {
            for trace in [TraceSpec::Auto, TraceSpec::Hutchinson(2)] {
                let solver = SolverSpec { trace, ..solver.clone() };
                let weights = theta(&velocity, 8);
                let (x, name) = (draws(20, velocity.dim(), 7), format!("{velocity:?} {solver:?}"));
                let c = condition(&velocity, 20);
                let of = |penalties, rows: (&[f64], &[f64])| {
                    Inverse::new(&velocity, &solver, penalties).run::<f64>(&weights, rows)
                };
                let (plain, both) = (of(Penalties::NONE, (&x, &c)), of(BOTH, (&x, &c)));
                assert_eq!(both.y, plain.y, "{name}");
                assert_eq!(both.logdet, plain.logdet, "{name}");
                assert_eq!(both.cost.nfe, plain.cost.nfe, "{name}");
                assert_eq!(both.cost.traces, plain.cost.traces, "{name}");
                for (kinetic, jacobian) in [(true, false), (false, true)] {
                    let found = of(Penalties { kinetic, jacobian }, (&x, &c));
                    let expected = |wanted: bool, all: &[f64]| if wanted { all.to_vec() } else { Vec::new() };
                    assert_eq!(found.kinetic, expected(kinetic, &both.kinetic), "{name}");
                    assert_eq!(found.jacobian, expected(jacobian, &both.jacobian), "{name}");
                }
                let row = |all: &[f64]| all[17 * all.len() / 20..18 * all.len() / 20].to_vec();
                let alone = of(BOTH, (&row(&x), &row(&c)));
                assert_eq!(alone.kinetic, row(&both.kinetic), "{name}");
                assert_eq!(alone.jacobian, row(&both.jacobian), "{name}");
            }
        }
    }
}

#[test]
fn a_taped_solve_counts_its_evaluations_like_a_plain_one() {
    for solver in every_solver() {
        let velocity = mlp(2, 0, &[8, 8]);
        let (weights, x) = (theta(&velocity, 8), draws(300, 2, 7));
        let plain = transported(&velocity, &weights, &solver, (1.0, 0.0), (&x, &[])).2;
        let taped = Inverse::new(&velocity, &solver, Penalties::NONE).run::<f64>(&weights, (&x, &[])).cost;
        assert_eq!(taped.nfe.len(), 300);
        assert!(taped.nfe_mean() > 6.0 && taped.traces_mean() > 2.0);
        assert_eq!(taped.nfe, plain.nfe, "{solver:?}");
        assert_eq!(taped.stiff, plain.stiff, "{solver:?}");
    }
}

#[test]
fn a_row_that_fails_is_nan_and_leaves_the_others_and_the_gradient_alone() {
    for solver in [SolverSpec::default(), fixed("rk4", 8)] {
        let velocity = mlp(2, 0, &[6, 5]);
        let weights = theta(&velocity, 8);
        let clean = draws(7, 2, 7);
        let mut holed = clean.clone();
        holed[2 * 3] = f64::NAN;
        let others = |all: &[f64], width: usize| [&all[..3 * width], &all[4 * width..]].concat();
        let run = |x: &[f64]| {
            let n = x.len() / 2;
            let (zeros, ones) = (vec![0.0; 2 * n], vec![1.0; n]);
            let bars: Bars<'_> = [&zeros, &zeros[..n], &ones, &ones];
            let inverse = Inverse::new(&velocity, &solver, BOTH);
            inverse.run_and_pull_back::<f64>(&weights, (x, &[]), Some(bars))
        };
        let (found, x_bar, gradient) = run(&holed);
        assert_eq!(found.cost.failures.len(), 1);
        for part in [&found.kinetic, &found.jacobian, &found.logdet] {
            assert!(part[3].is_nan() && part.iter().filter(|p| p.is_nan()).count() == 1, "{part:?}");
        }
        let (alone, alone_bar, expected) = run(&others(&clean, 2));
        assert_eq!(others(&found.kinetic, 1), alone.kinetic);
        assert_eq!(x_bar[6..8], [0.0, 0.0]);
        assert_eq!(others(&x_bar, 2), alone_bar);
        for (g, e) in gradient.iter().zip(&expected) {
            // The same terms in another order.
            assert!((g - e).abs() < 1e-12 * (1.0 + e.abs()), "{g} or {e}");
        }
    }
}

#[test]
fn a_flow_that_ends_later_is_the_flow_over_the_longer_time() {
    let velocity = mlp(2, 0, &[8, 8]);
    let (weights, z) = (theta(&velocity, 2), draws(10, 2, 3));
    let (x, logdet, _) = transported(&velocity, &weights, &tight(), (0.0, 1.7), (&z, &[]));
    let back = Inverse { end: 1.7, ..Inverse::new(&velocity, &tight(), BOTH) }.run::<f64>(&weights, (&x, &[]));
    let worst = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    // Two solves at 1e-10, amplified by a few units of e^L.
    assert!(worst(&back.y, &z) < 1e-7);
    assert!(worst(&back.logdet, &logdet.iter().map(|l| -l).collect::<Vec<_>>()) < 1e-7);
    assert!(back.kinetic.iter().all(|k| *k > 0.0));
}

#[test]
fn an_implicit_method_has_no_gradient_and_says_so() {
    let velocity = mlp(2, 1, &[8, 8]);
    let solver = SolverSpec { method: "bdf".into(), ..SolverSpec::default() };
    let bound = velocity.bind_here::<f64>(&theta(&velocity, 2)).unwrap();
    let span = (1.0, 0.0);
    let request = Request { span, solver: &solver, trace: Trace::Exact, log_density: true, progress: None };
    let error = transport_taped(&*bound, &draws(3, 2, 1), &draws(3, 1, 2), &request, BOTH).err().unwrap();
    assert!(error.to_string().contains("`bdf` has no gradient") && error.hint().unwrap().contains("dopri5"), "{error}");
}
