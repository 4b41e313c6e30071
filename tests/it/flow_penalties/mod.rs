//! Penalties along the paths of a continuous flow, and its end time.

mod case;

use candle_core::{DType, Device, Tensor, Var};
use cnf::flow::{Bijection, Continuous, LogDensity, Penalties, SolverSpec, TraceSpec, VelocitySpec};
use cnf::velocity::{Activation, MlpSpec, TimeInput};

use self::case::{
    BOTH, Loss, along_paths, condition, draws, every_solver, every_velocity, fixed, mlp, numbers, theta, tight,
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
    let weights =
        |dtype| Tensor::new(&[a[0], 0.0, 0.0, a[1], 0.0, 0.0], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    let x = draws(40, 2, 1);
    // With signs for probes |A e|² is ‖A‖² for a diagonal A.
    for trace in [TraceSpec::Exact, TraceSpec::Hutchinson(3)] {
        for solver in every_solver() {
            for (dtype, end) in [(DType::F64, 1.0), (DType::F64, 1.5), (DType::F32, 0.5)] {
                let solver = SolverSpec { trace, ..solver.clone() };
                let map = Continuous::new(velocity.clone(), weights(dtype), solver.clone()).unwrap();
                let found = map.ending_at(end).unwrap().inverse_penalised(&x, None, BOTH).unwrap();
                let expected = |row: &[f64]| -> f64 {
                    row.iter().zip(a).map(|(x, a)| a * x * x * (1.0 - (-2.0 * a * end).exp()) / 2.0).sum()
                };
                let rows = numbers(&x);
                for ((k, j), row) in numbers(&found.kinetic).iter().zip(numbers(&found.jacobian)).zip(rows.chunks(2)) {
                    // The path's own error: twenty steps of the midpoint rule are the worst.
                    assert!((k - expected(row)).abs() < 1e-3, "{solver:?} T = {end}: K = {k}, not {}", expected(row));
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
        let map = Continuous::new(velocity.clone(), weights.clone(), solver).unwrap();
        let z = draws(3, velocity.dim(), 4);
        let c = condition(&velocity, 3);
        let [kinetic, jacobian] = along_paths(&velocity, &weights, &z, c.as_ref());
        let x = map.forward(&z, c.as_ref()).unwrap().y;
        let found = map.inverse_penalised(&x, c.as_ref(), BOTH).unwrap();
        let close = |found: &Tensor, expected: &[f64], what: &str| {
            for (found, expected) in numbers(found).iter().zip(expected) {
                let off = (found - expected).abs() / expected.max(1.0);
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
        let [_, exact] = along_paths(&velocity, &weights, &z, None);
        let of = |solver| Continuous::new(velocity.clone(), weights.clone(), solver).unwrap();
        let x = of(tight()).forward(&z, None).unwrap().y;
        let jacobian = |probe_seed: u64| {
            let map = of(SolverSpec { trace, probe_seed, ..SolverSpec::default() });
            numbers(&map.inverse_penalised(&x, None, BOTH).unwrap().jacobian)[0]
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
                let loss = Loss::new(&velocity, &solver, masks[(s + v) % 5], [1.0, 1.4, 0.6][(s + v) % 3], n);
                let (start, x) = (theta(&velocity, 8), draws(n, velocity.dim(), 6));
                let (g_theta, g_x) = loss.gradients(&start, &x);
                let value = |theta: &Tensor, x: &Tensor| loss.at(theta, x).to_scalar::<f64>().unwrap();
                let eps = 1e-5;
                let difference = |base: &Tensor, i: usize, of: &dyn Fn(&Tensor) -> f64| {
                    let moved = |by: f64| {
                        let mut data = numbers(base);
                        data[i] += by;
                        of(&Tensor::from_vec(data, base.shape(), &Device::Cpu).unwrap())
                    };
                    (moved(eps) - moved(-eps)) / (2.0 * eps)
                };
                let largest = |g: &[f64]| g.iter().fold(1.0, |m: f64, g| m.max(g.abs()));
                let check = |g: &[f64], i: usize, difference: f64, what: &str| {
                    // h² = 1e-10 times a third derivative a hundred times the gradient, and 1e-15/h of round-off.
                    let off = (difference - g[i]).abs();
                    let name = || format!("{velocity:?} {solver:?} {:?}", loss.penalties);
                    assert!(off < 2e-8 * largest(g), "{} {what}[{i}]: {} or {difference}", name(), g[i]);
                };
                for i in (0..g_theta.len()).step_by(if g_theta.len() > 100 { 11 } else { 3 }) {
                    check(&g_theta, i, difference(&start, i, &|theta| value(theta, &x)), "θ");
                }
                if trace != TraceSpec::Exact || (velocity.closed_form() && velocity.dim() > 16) {
                    continue; // the probes are a function of x, so a difference by x changes them
                }
                for i in 0..g_x.len() {
                    check(&g_x, i, difference(&x, i, &|x| value(&start, x)), "x");
                }
            }
        }
    }
}

#[test]
fn a_gradient_in_f32_is_that_in_f64_and_has_the_same_bits_on_any_number_of_threads() {
    for velocity in every_velocity() {
        for solver in every_solver() {
            let loss = Loss::new(&velocity, &solver, BOTH, 1.0, 150);
            let (start, x) = (theta(&velocity, 8), draws(150, velocity.dim(), 6));
            let narrow = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
            let (start, x) = (narrow(&start), narrow(&x));
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| loss.gradients(&start, &x))
            };
            let one = run(1);
            assert_eq!(one, run(3), "{velocity:?} {solver:?}");
            if solver.fixed_steps.is_none() || (velocity.closed_form() && velocity.dim() > 16) {
                continue; // other steps, or other probes, in f64
            }
            let wide = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
            let (theta64, x64) = loss.gradients(&wide(&start), &wide(&x));
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
                let weights = Var::from_tensor(&theta(&velocity, 8)).unwrap();
                let map = Continuous::new(velocity.clone(), weights.as_tensor().clone(), solver.clone()).unwrap();
                let (x, name) = (draws(20, velocity.dim(), 7), format!("{velocity:?} {solver:?}"));
                let c = condition(&velocity, 20);
                let plain = map.inverse(&x, c.as_ref()).unwrap();
                let both = map.inverse_penalised(&x, c.as_ref(), BOTH).unwrap();
                assert_eq!(numbers(&both.mapped.y), numbers(&plain.y), "{name}");
                assert_eq!(numbers(&both.mapped.logdet), numbers(&plain.logdet), "{name}");
                assert_eq!(both.mapped.cost.nfe, plain.cost.nfe, "{name}");
                assert_eq!(both.mapped.cost.traces, plain.cost.traces, "{name}");
                for (kinetic, jacobian) in [(true, false), (false, true), (false, false)] {
                    let asked = Penalties { kinetic, jacobian };
                    let found = map.inverse_penalised(&x, c.as_ref(), asked).unwrap();
                    let expected = |wanted: bool, t: &Tensor| if wanted { numbers(t) } else { vec![0.0; 20] };
                    assert_eq!(numbers(&found.kinetic), expected(kinetic, &both.kinetic), "{name} {asked:?}");
                    assert_eq!(numbers(&found.jacobian), expected(jacobian, &both.jacobian), "{name} {asked:?}");
                }
                let row = |t: &Tensor| t.narrow(0, 17, 1).unwrap();
                let alone = map.inverse_penalised(&row(&x), c.as_ref().map(row).as_ref(), BOTH).unwrap();
                assert_eq!(numbers(&alone.kinetic), numbers(&row(&both.kinetic)), "{name}");
                assert_eq!(numbers(&alone.jacobian), numbers(&row(&both.jacobian)), "{name}");
            }
        }
    }
}

#[test]
fn a_tracked_map_counts_its_evaluations_like_a_plain_one() {
    for solver in every_solver() {
        let velocity = mlp(2, 0, &[8, 8]);
        let weights = theta(&velocity, 8);
        let of = |theta: Tensor| {
            let map = Continuous::new(velocity.clone(), theta, solver.clone()).unwrap();
            map.inverse(&draws(300, 2, 7), None).unwrap().cost
        };
        let (plain, tracked) = (of(weights.clone()), of(Var::from_tensor(&weights).unwrap().as_tensor().clone()));
        assert_eq!(tracked.nfe.len(), 300);
        assert!(tracked.nfe_mean() > 6.0 && tracked.traces_mean() > 2.0);
        assert_eq!(tracked.nfe, plain.nfe, "{solver:?}");
        assert_eq!(tracked.stiff, plain.stiff, "{solver:?}");
    }
}

#[test]
fn a_row_that_fails_is_nan_and_leaves_the_others_and_the_gradient_alone() {
    for solver in [SolverSpec::default(), fixed("rk4", 8)] {
        let velocity = mlp(2, 0, &[6, 5]);
        let clean = draws(7, 2, 7);
        let mut holed = numbers(&clean);
        holed[2 * 3] = f64::NAN;
        let holed = Tensor::from_vec(holed, (7, 2), &Device::Cpu).unwrap();
        let rows = Tensor::new(&[0u32, 1, 2, 4, 5, 6], &Device::Cpu).unwrap();
        let run = |x: &Tensor, all: bool| {
            let weights = Var::from_tensor(&theta(&velocity, 8)).unwrap();
            let map = Continuous::new(velocity.clone(), weights.as_tensor().clone(), solver.clone()).unwrap();
            let found = map.inverse_penalised(x, None, BOTH).unwrap();
            let sum = (found.kinetic.clone() + &found.jacobian).unwrap();
            let sum = if all { sum } else { sum.index_select(&rows, 0).unwrap() };
            let gradients = sum.sum_all().unwrap().backward().unwrap();
            (found, numbers(gradients.get(&weights).unwrap()))
        };
        let (found, gradient) = run(&holed, false);
        assert_eq!(found.mapped.cost.failures.len(), 1);
        for part in [&found.kinetic, &found.jacobian, &found.mapped.logdet] {
            let part = numbers(part);
            assert!(part[3].is_nan() && part.iter().filter(|p| p.is_nan()).count() == 1, "{part:?}");
        }
        let (alone, expected) = run(&clean.index_select(&rows, 0).unwrap(), true);
        assert_eq!(numbers(&found.kinetic.index_select(&rows, 0).unwrap()), numbers(&alone.kinetic));
        for (g, e) in gradient.iter().zip(&expected) {
            // The same terms in another order.
            assert!((g - e).abs() < 1e-12 * (1.0 + e.abs()), "{g} or {e}");
        }
    }
}

#[test]
fn a_flow_that_ends_later_is_the_flow_over_the_longer_time() {
    let velocity = mlp(2, 0, &[8, 8]);
    let map = Continuous::new(velocity.clone(), theta(&velocity, 2), tight()).unwrap();
    let z = draws(10, 2, 3);
    let late = map.ending_at(1.7).unwrap();
    let there = late.forward(&z, None).unwrap();
    let back = late.inverse_penalised(&there.y, None, BOTH).unwrap();
    let worst = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    // Two solves at 1e-10, amplified by a few units of e^L.
    assert!(worst(&numbers(&back.mapped.y), &numbers(&z)) < 1e-7);
    assert!(worst(&numbers(&back.mapped.logdet), &numbers(&there.logdet.neg().unwrap())) < 1e-7);
    assert!(numbers(&back.kinetic).iter().all(|k| *k > 0.0));
    // Ending at 1 is as before, and so is every time in between.
    for t in [0.3, 1.0] {
        let (a, b) =
            (map.ending_at(t).unwrap().inverse(&z, None).unwrap(), map.until(t).unwrap().inverse(&z, None).unwrap());
        assert_eq!((numbers(&a.y), numbers(&a.logdet)), (numbers(&b.y), numbers(&b.logdet)));
    }
    for t in [0.0, -0.5, 2.1, f64::NAN, f64::INFINITY] {
        let error = map.ending_at(t).unwrap_err();
        assert!(error.to_string().contains(&format!("cannot end at time {t}")), "{error}");
        assert!(error.hint().unwrap().contains("above 0, at most 2"), "{error}");
    }
}

#[test]
fn what_has_no_penalties_says_so_in_words() {
    let velocity = mlp(2, 1, &[8, 8]);
    let of = |method: &str| {
        let solver = SolverSpec { method: method.into(), ..SolverSpec::default() };
        Continuous::new(velocity.clone(), theta(&velocity, 2), solver).unwrap()
    };
    let (x, c) = (draws(3, 2, 1), draws(3, 1, 2));
    let error = of("bdf").inverse_penalised(&x, Some(&c), BOTH).unwrap_err();
    assert!(error.to_string().contains("`bdf` has no gradient") && error.hint().unwrap().contains("dopri5"), "{error}");
    let text = of("dopri5").inverse_penalised(&x, None, BOTH).unwrap_err().to_string();
    assert!(text.contains("conditional on 1 columns"), "{text}");
}
