//! The map of equal steps as the flow: bijection, density, folds, gradients and bits, for every explicit method.

use cnflow::continuous::taped::{EndBar, transport_taped};
use cnflow::continuous::transport::{Request, transport};
use cnflow::continuous::{LogDensity, SolverSpec, TraceSpec};
use cnflow::error::Failure;
use cnflow::model::{BoundModel, FlowSpec, Model};
use cnflow::velocity::{Path, Penalties, Precision, Trace, VelocitySpec};
use cnflow_solvers::methods;

use crate::common::velocity::{around, bits};
use crate::flow_penalties::case::{condition, draws, mlp, squash, theta};
use crate::velocity_images::small_images;

fn exact(method: &str, steps: usize) -> SolverSpec {
    let log_density = LogDensity::Exact;
    SolverSpec { method: method.into(), fixed_steps: Some(steps), log_density, ..SolverSpec::default() }
}

/// Numbers of steps.
const STEPS: [usize; 4] = [1, 2, 7, 100];

fn every_solver() -> impl Iterator<Item = SolverSpec> {
    methods::ALL.iter().flat_map(|method| STEPS.map(|steps| exact(method.name, steps)))
}

/// All but those that are no bijection: a Gaussian's velocity is −x at time 0, so that a single step may end at 0.
fn solvers_of(velocity: &VelocitySpec) -> impl Iterator<Item = SolverSpec> {
    let gaussian = velocity.gaussian().is_some();
    every_solver().filter(move |solver| !gaussian || solver.fixed_steps > Some(1))
}

/// Weights of a field that bends, but so little that a single step of any method is a bijection.
fn mild(velocity: &VelocitySpec) -> Vec<f64> {
    theta(velocity, 5).into_iter().map(|w| 0.45 * w).collect()
}

fn bound(velocity: &VelocitySpec, solver: &SolverSpec, precision: Precision) -> BoundModel {
    FlowSpec::plain(velocity.clone(), solver.clone()).bind(&mild(velocity), precision).unwrap()
}

fn worst(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn every_velocity() -> Vec<VelocitySpec> {
    let gaussian = around(Path::Straight, 1.5, mlp(2, 0, &[6, 5]));
    vec![
        mlp(1, 0, &[6]),
        mlp(2, 0, &[]),
        mlp(2, 2, &[6, 5]),
        mlp(3, 0, &[6, 5, 4]),
        mlp(16, 0, &[5]),
        squash(2),
        gaussian,
    ]
}

#[test]
fn every_number_of_steps_is_a_bijection_with_the_density_of_its_samples() {
    for velocity in every_velocity() {
        let (n, d) = (20, velocity.dim());
        let (z, given) = (draws(n, d, 3), condition(&velocity, n));
        for solver in solvers_of(&velocity).filter(|solver| d < 16 || solver.fixed_steps == Some(2)) {
            let name = format!("{velocity:?} {solver:?}");
            let flow = bound(&velocity, &solver, Precision::F64);
            let there = flow.decode(&z, &given).unwrap();
            let back = flow.encode(&there.y, &given).unwrap();
            assert!(there.cost.failures.is_empty() && back.cost.failures.is_empty(), "{name}");
            // A few units of round-off a step, amplified by the flow.
            assert!(worst(&z, &back.y) < 1e-12, "{name}: {:e}", worst(&z, &back.y));
            assert!(worst(&there.log_prob, &back.log_prob) < 1e-11, "{name}");
            // Without a density the points have the same bits.
            assert_eq!(bits(&flow.points(&z, &given).unwrap().y), bits(&there.y), "{name}");
            assert_eq!(bits(&flow.latents(&there.y, &given).unwrap().y), bits(&back.y), "{name}");
        }
    }
}

#[test]
fn the_log_determinant_is_that_of_central_differences() {
    for velocity in every_velocity().into_iter().filter(|velocity| velocity.dim() < 16) {
        let (n, d, h) = (6, velocity.dim(), 1e-5);
        let (z, given) = (draws(n, d, 4), condition(&velocity, n));
        for solver in solvers_of(&velocity).filter(|solver| solver.fixed_steps < Some(100)) {
            let flow = bound(&velocity, &solver, Precision::F64);
            let there = flow.decode(&z, &given).unwrap();
            let mut jacobians = vec![nalgebra::DMatrix::<f64>::zeros(d, d); n];
            for j in 0..d {
                let moved = |by: f64| {
                    let z: Vec<f64> = z.iter().enumerate().map(|(i, z)| if i % d == j { z + by } else { *z }).collect();
                    flow.points(&z, &given).unwrap().y
                };
                let (up, down) = (moved(h), moved(-h));
                for (row, jacobian) in jacobians.iter_mut().enumerate() {
                    (0..d).for_each(|i| jacobian[(i, j)] = (up[row * d + i] - down[row * d + i]) / (2.0 * h));
                }
            }
            for (row, jacobian) in jacobians.into_iter().enumerate() {
                let latent: f64 = z[row * d..(row + 1) * d].iter().map(|z| -0.5 * z * z).sum::<f64>();
                let normal = latent - 0.5 * d as f64 * std::f64::consts::TAU.ln();
                let dense = normal - jacobian.determinant().ln();
                // h² times third derivatives, and 1e-16 / h of round-off.
                let error = (there.log_prob[row] - dense).abs();
                assert!(error < 1e-7, "{velocity:?} {solver:?}: {error:e}");
            }
        }
    }
}

/// dx/dt = A x in the plane, as a net without hidden layers: weights of (x, y, t), then the biases.
fn linear(a: [[f64; 2]; 2]) -> (VelocitySpec, Vec<f64>) {
    (mlp(2, 0, &[]), vec![a[0][0], a[0][1], 0.0, a[1][0], a[1][1], 0.0, 0.0, 0.0])
}

#[test]
fn of_a_linear_field_it_is_the_polynomial_of_the_method() {
    // Euler: det (I + A/N)ᴺ. Four stages of order 4: det (Σ Aᵏ/k!)ᴺ.
    let a = [[0.3, -0.8], [0.5, -0.6]];
    let (velocity, theta) = linear(a);
    let matrix = nalgebra::Matrix2::new(a[0][0], a[0][1], a[1][0], a[1][1]);
    for steps in STEPS {
        for (method, terms) in [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4), ("rk4_38", 4)] {
            let step = matrix / steps as f64;
            let (mut term, mut sum) = (nalgebra::Matrix2::<f64>::identity(), nalgebra::Matrix2::<f64>::identity());
            for k in 1..=terms {
                term = term * step / f64::from(k);
                sum += term;
            }
            let expected = steps as f64 * sum.determinant().ln();
            let solver = exact(method, steps);
            let request =
                Request { span: (0.0, 1.0), solver: &solver, trace: Trace::Exact, log_density: true, progress: None };
            let bound = velocity.bind_here(&theta).unwrap();
            let found = transport::<f64>(&*bound, &[0.3, -0.4], &[], &request).unwrap();
            assert!((found.logdet[0] - expected).abs() < 1e-13 * steps as f64, "{method} {steps}");
        }
    }
}

#[test]
fn mass_is_one_at_every_number_of_steps() {
    let velocity = mlp(2, 0, &[8, 8]);
    // The density ends smoothly well inside: the sum over a grid then converges faster than any power of its spacing.
    let (cells, half) = (80, 9.0);
    let at = |i: usize| half * (2.0 * i as f64 / (cells - 1) as f64 - 1.0);
    let grid: Vec<f64> = (0..cells * cells).flat_map(|i| [at(i / cells), at(i % cells)]).collect();
    let area = (2.0 * half / (cells - 1) as f64).powi(2);
    for solver in every_solver().filter(|solver| solver.fixed_steps < Some(100)) {
        let flow = bound(&velocity, &solver, Precision::F64);
        let mass = flow.log_prob(&grid, &[]).unwrap().log_prob.iter().map(|l| l.exp() * area).sum::<f64>();
        assert!((mass - 1.0).abs() < 1e-6, "{solver:?}: {mass}");
    }
}

/// The golden 8gaussians net, whose truth is known, solved in this way.
#[cfg(feature = "cli")]
fn golden(solver: SolverSpec) -> BoundModel {
    let folder = crate::common::command::folder();
    let mut model = Model::load(&folder.path().join("m.safetensors")).unwrap();
    model.spec.solver = solver;
    model.bind(Precision::F64).unwrap()
}

#[test]
#[cfg(feature = "cli")]
fn importance_weights_have_mean_one_where_an_integrated_density_is_biased() {
    let toy = cnflow::rows::toys::find("8gaussians").unwrap();
    let n = 20_000;
    let z = cnflow::transform::StandardNormal::new(2).draw(n, &mut cnflow::rng::stream(11, 0));
    // The mean importance weight p/q, which is ∫p = 1, and its standard error.
    let mean = |solver: SolverSpec| {
        let there = golden(solver).decode(&z, &[]).unwrap();
        assert!(there.cost.failures.is_empty());
        let weight = |(x, q): (&[f64], &f64)| ((toy.log_prob)(x) - q).exp();
        let weights: Vec<f64> = there.y.chunks_exact(2).zip(&there.log_prob).map(weight).collect();
        cnflow::stats::mean_and_se(&weights)
    };
    for (method, steps) in [("euler", 8), ("midpoint", 4), ("rk4", 1), ("rk4", 2)] {
        let (value, se) = mean(exact(method, steps));
        assert!((value - 1.0).abs() < 4.0 * se && se < 0.003, "{method} {steps}: {value} ± {se}");
    }
    for (method, steps) in [("euler", 8), ("rk4", 1)] {
        let (value, se) = mean(SolverSpec { log_density: LogDensity::Coupled, ..exact(method, steps) });
        assert!((value - 1.0).abs() > 10.0 * se, "{method} {steps}: {value} ± {se}");
    }
}

#[test]
fn a_step_that_folds_or_has_no_start_is_named() {
    // x ↦ x + v with v = −3 x and a single step: x ↦ −2 x.
    let velocity = mlp(1, 0, &[]);
    let flow = |slope: f64| {
        let spec = FlowSpec::plain(velocity.clone(), exact("euler", 1));
        spec.bind(&[slope, 0.0, 0.0], Precision::F64).unwrap()
    };
    let there = flow(-3.0).decode(&[0.5, -1.0], &[]).unwrap();
    assert!(there.y.iter().chain(&there.log_prob).all(|number| number.is_nan()));
    let folds = |failures: &[(usize, Failure)]| matches!(failures[0], (0, Failure::Fold { t: 0.0, determinant }) if (determinant + 2.0).abs() < 1e-14);
    assert!(folds(&there.cost.failures) && there.cost.failures.len() == 2, "{:?}", there.cost.failures);
    assert!(there.cost.failures[0].1.to_string().contains("folds space: its determinant is -2.00e0"));
    let back = flow(-3.0).encode(&[0.5], &[]).unwrap();
    assert!(folds(&back.cost.failures), "{:?}", back.cost.failures);
    // Everything goes to 0: nothing else has a start.
    let lost = flow(-1.0).encode(&[0.5], &[]).unwrap();
    assert!(matches!(lost.cost.failures[..], [(0, Failure::NoRoot { residual: 0.5, .. })]), "{:?}", lost.cost.failures);
    assert!(lost.y[0].is_nan() && lost.log_prob[0].is_nan());
}

#[test]
fn rows_beside_a_fold_keep_their_results() {
    // v = −3 tanh 2x: the determinant 1 − 6 / cosh² 2x is negative between ±0.77, and the others' starts are found.
    let spec = FlowSpec::plain(mlp(1, 0, &[1]), exact("euler", 1));
    let flow = spec.bind(&[2.0, 0.0, 0.0, -3.0, 0.0], Precision::F64).unwrap();
    let z = [3.0, 0.5, -2.0, 0.0, 1.2];
    let there = flow.decode(&z, &[]).unwrap();
    assert_eq!(there.cost.failures.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 3]);
    for (row, z) in z.iter().enumerate().filter(|(row, _)| ![1, 3].contains(row)) {
        assert!((there.y[row] - (z - 3.0 * (2.0 * z).tanh())).abs() < 1e-14);
        assert!(there.log_prob[row].is_finite());
    }
    assert!(there.y[1].is_nan() && there.log_prob[3].is_nan());
}

#[test]
fn a_row_has_the_same_bits_alone_in_any_batch_and_on_any_threads() {
    let n = 300;
    for velocity in [mlp(2, 2, &[6, 5]), mlp(3, 0, &[6, 5, 4]), squash(2)] {
        let (d, c) = (velocity.dim(), velocity.condition_dim());
        let (z, given) = (draws(n, d, 6), condition(&velocity, n));
        for precision in [Precision::F32, Precision::F64] {
            let flow = bound(&velocity, &exact("rk4", 2), precision);
            let run = || {
                let there = flow.decode(&z, &given).unwrap();
                let back = flow.encode(&there.y, &given).unwrap();
                (bits(&there.y), bits(&there.log_prob), bits(&back.y), bits(&back.log_prob))
            };
            let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let all = pool(1).install(run);
            assert!(all == pool(3).install(run), "{velocity:?}");
            let x: Vec<f64> = all.0.iter().map(|bits| f64::from_bits(*bits)).collect();
            for row in [0, 63, 64, 255, 256, 299] {
                let (at, of) = (row * d..(row + 1) * d, row * c..(row + 1) * c);
                let alone = flow.encode(&x[at.clone()], &given[of.clone()]).unwrap();
                assert_eq!(bits(&alone.y), all.2[at.clone()], "{velocity:?} {row}");
                assert_eq!(bits(&alone.log_prob), all.3[row..row + 1], "{velocity:?} {row}");
                let alone = flow.decode(&z[at.clone()], &given[of]).unwrap();
                assert_eq!(bits(&alone.y), all.0[at], "{velocity:?} {row}");
            }
        }
    }
}

#[test]
fn a_net_in_f32_is_undone_to_its_own_round_off() {
    let velocity = mlp(2, 0, &[6, 5]);
    let z = draws(200, 2, 9);
    for solver in every_solver() {
        let flow = bound(&velocity, &solver, Precision::F32);
        let there = flow.decode(&z, &[]).unwrap();
        let back = flow.encode(&there.y, &[]).unwrap();
        assert!(back.cost.failures.is_empty(), "{solver:?}");
        // 6e-8 a velocity and a root to a few of these, over up to 100 steps.
        assert!(worst(&z, &back.y) < 1e-4, "{solver:?}: {:e}", worst(&z, &back.y));
        let median =
            cnflow::stats::quantile(&z.iter().zip(&back.y).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>(), 0.5);
        assert!(median < 2e-5, "{solver:?}: {median:e}");
    }
}

#[test]
fn the_gradient_by_the_weights_is_that_of_central_differences() {
    for velocity in every_velocity().into_iter().filter(|velocity| velocity.dim() < 16) {
        let (n, d, theta) = (3, velocity.dim(), mild(&velocity));
        let (x, given) = (draws(n, d, 7), condition(&velocity, n));
        let (y_bar, logdet_bar) = (draws(n, d, 21), draws(n, 1, 22));
        for solver in [exact("euler", 3), exact("midpoint", 2), exact("rk4", 1), exact("dopri5", 2), exact("vern7", 1)]
        {
            let request =
                Request { span: (1.0, 0.0), solver: &solver, trace: Trace::Exact, log_density: true, progress: None };
            let loss = |theta: &[f64]| {
                let bound = velocity.bind_here(theta).unwrap();
                let found = transport::<f64>(&*bound, &x, &given, &request).unwrap();
                let by = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                by(&found.y, &y_bar) + by(&found.logdet, &logdet_bar)
            };
            let bound = velocity.bind_here(&theta).unwrap();
            let taped = transport_taped::<f64>(&*bound, &x, &given, &request, Penalties::NONE).unwrap();
            let (_, g) = taped.pull_back(EndBar { y: &y_bar, logdet: &logdet_bar, penalties: &[] });
            for (k, g) in g.iter().enumerate() {
                let moved = |by: f64| {
                    let mut other = theta.clone();
                    other[k] += by;
                    loss(&other)
                };
                let h = 1e-5;
                let difference = (moved(h) - moved(-h)) / (2.0 * h);
                // Round-off of 1e-14 / h, and h² times a third derivative.
                assert!((g - difference).abs() < 1e-7, "{velocity:?} {solver:?}: θ[{k}]: {g} or {difference}");
            }
        }
    }
}

#[test]
fn what_has_no_equal_steps_or_too_many_columns_is_refused() {
    let refused = |velocity: &VelocitySpec, solver: SolverSpec| {
        let theta = mild(velocity);
        FlowSpec::plain(velocity.clone(), solver).bind(&theta, Precision::F64).unwrap_err().to_string()
    };
    let plain = mlp(2, 0, &[4]);
    assert!(refused(&plain, SolverSpec { fixed_steps: None, ..exact("tsit5", 1) }).contains("`tsit5` adapts them"));
    assert!(refused(&plain, SolverSpec { fixed_steps: None, ..exact("bdf", 1) }).contains("`bdf` adapts them"));
    let probes = SolverSpec { trace: TraceSpec::Hutchinson(2), ..exact("rk4", 1) };
    assert!(refused(&plain, probes).contains("the trace hutchinson:2 has no meaning"));
    assert!(refused(&mlp(17, 0, &[4]), exact("rk4", 1)).contains("at most 16; the flow has 17"));
    let image = VelocitySpec::Image(small_images().swap_remove(0));
    assert!(refused(&image, exact("rk4", 1)).contains("not available for a net on images"));
}

#[test]
fn a_file_of_it_has_a_format_of_its_own_and_comes_back() {
    let velocity = mlp(2, 0, &[4]);
    let theta = mild(&velocity).into_iter().map(|w| w as f32).collect::<Vec<f32>>();
    let model = |solver| Model {
        spec: FlowSpec::plain(velocity.clone(), solver),
        theta: theta.clone(),
        provenance: serde_json::Map::new(),
    };
    let written = model(exact("rk4", 2));
    let bytes = written.to_bytes().unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains("\\\"format\\\":6"));
    assert_eq!(Model::from_bytes(&bytes).unwrap().spec, written.spec);
    let usual = model(SolverSpec::default()).to_bytes().unwrap();
    assert!(String::from_utf8_lossy(&usual).contains("\\\"format\\\":1"));
}
