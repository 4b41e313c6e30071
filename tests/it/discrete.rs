//! What discrete flows add to the laws of every bijection: their gradients, their start, their stages.

use cnflow::continuous::{End, SolverSpec};
use cnflow::discrete::{Discrete, DiscreteSpec, Kind, LayerSpec, Mask, Plan, Transform};
use cnflow::error::Failure;
use cnflow::model::{Architecture, Flow};
use cnflow::rng::stream;
use cnflow::train::{Batch, Criterion, LossContext, LossGradient};
use cnflow::transform::Mapped;
use cnflow::velocity::Precision;

use crate::common::discrete::{bent, draws, every_discrete};
use crate::common::maps::{forward, inverse};

fn condition(spec: &DiscreteSpec, n: usize) -> Vec<f64> {
    draws(n, spec.condition_dim, 99)
}

fn flow(spec: &DiscreteSpec, theta: &[f64]) -> Discrete {
    Discrete::new(spec.clone(), theta, Precision::F64).unwrap()
}

#[test]
fn gradients_are_those_of_central_differences_on_both_ways() {
    let (n, eps) = (9, 1e-5);
    for (name, spec) in every_discrete() {
        let (d, c) = (spec.dim, condition(&spec, n));
        let (start, x) = (bent(&spec, 3), draws(n, d, 6));
        let (weights, row_weights) = (draws(n, d, 10), draws(n, 1, 11));
        for to_latent in [true, false] {
            let value = |theta: &[f64], x: &[f64]| {
                let map = flow(&spec, theta);
                let Mapped { y, logdet, .. } = if to_latent { inverse(&map, x, &c) } else { forward(&map, x, &c) };
                let against = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                against(&y, &weights) + against(&logdet, &row_weights)
            };
            let end = if to_latent { End::Data } else { End::Latent };
            let (g_x, g_theta) = flow(&spec, &start).pull_back(end, &x, &c, &weights, &row_weights).unwrap();
            let (theta0, x0) = (start.clone(), x.clone());
            let close = |what: &str, i: usize, gradient: f64, difference: f64| {
                let error = (gradient - difference).abs();
                let most = 2e-5 * (1.0 + difference.abs());
                assert!(error < most, "{name} inverse={to_latent} {what}[{i}]: {gradient} against {difference}");
            };
            let step = (theta0.len() / 150).max(1);
            for i in (0..theta0.len()).step_by(step) {
                let (mut up, mut down) = (theta0.clone(), theta0.clone());
                up[i] += eps;
                down[i] -= eps;
                close("θ", i, g_theta[i], (value(&up, &x0) - value(&down, &x0)) / (2.0 * eps));
            }
            for i in 0..x0.len() {
                let (mut up, mut down) = (x0.clone(), x0.clone());
                up[i] += eps;
                down[i] -= eps;
                close("x", i, g_x[i], (value(&theta0, &up) - value(&theta0, &down)) / (2.0 * eps));
            }
        }
    }
}

/// The mean of −log p over rows, and its gradient.
fn nll(spec: &DiscreteSpec, theta: &[f64], precision: Precision, x: &[f64], c: &[f64]) -> cnflow::Result<LossGradient> {
    let context = LossContext::new(Architecture::Discrete(spec.clone()), SolverSpec::default());
    let batch = Batch { x: x.to_vec(), c: c.to_vec(), ..Batch::default() };
    Criterion::Likelihood.gradient(&context, theta, precision, &batch)
}

#[test]
fn the_loss_of_a_batch_is_the_mean_of_its_log_densities_and_so_is_its_gradient() {
    let n = 150;
    for (name, spec) in every_discrete() {
        let (x, c) = (draws(n, spec.dim, 7), condition(&spec, n));
        let theta = bent(&spec, 5);
        let fused = nll(&spec, &theta, Precision::F64, &x, &c).unwrap();
        let map = flow(&spec, &theta);
        let z = inverse(&map, &x, &c).y;
        // −log p = ½|z|² − log|det| + …, so that its derivatives by z and by the log-determinant are z and −1.
        let w = 1.0 / n as f64;
        let z_bar: Vec<f64> = z.iter().map(|z| w * z).collect();
        let (_, by_theta) = map.pull_back(End::Data, &x, &c, &z_bar, &vec![-w; n]).unwrap();
        let plain = -Flow::new(map).log_prob(&x, &c).unwrap().log_prob.iter().sum::<f64>() / n as f64;
        assert!((fused.loss - plain).abs() < 1e-12 * (1.0 + plain.abs()), "{name}: {} {plain}", fused.loss);
        let largest = by_theta.iter().fold(1.0f64, |most, g| most.max(g.abs()));
        for (i, (a, b)) in fused.gradient.iter().zip(&by_theta).enumerate() {
            assert!((a - b).abs() < 1e-12 * largest, "{name} θ[{i}]: {a} {b}");
        }
    }
}

#[test]
fn a_loss_and_its_gradient_have_the_same_bits_on_any_number_of_threads() {
    for (name, spec) in every_discrete() {
        let (start, x, c) = (bent(&spec, 5), draws(300, spec.dim, 8), condition(&spec, 300));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| nll(&spec, &start, Precision::F32, &x, &c).unwrap())
        };
        let one = run(1);
        assert_eq!(one, run(2), "{name}");
        assert_eq!(one, run(3), "{name}");
    }
}

#[test]
fn a_flow_starts_as_a_linear_map_realnvp_and_splines_as_the_identity_and_nice_bent() {
    for (name, spec) in every_discrete() {
        if spec.layers.iter().any(|layer| matches!(layer, LayerSpec::Tails { .. })) {
            // Made of rows, it starts as what they are.
            continue;
        }
        let theta: Vec<f64> = spec.init(&mut stream(1, 0)).into_iter().map(f64::from).collect();
        let flow = Discrete::new(spec.clone(), &theta, Precision::F32).unwrap();
        let (x, c) = (draws(20, spec.dim, 2), condition(&spec, 20));
        let Mapped { y, logdet, .. } = inverse(&flow, &x, &c);
        // A rotation at most: volumes and lengths stay, to the round-off of f32 parameters.
        let most = 1e-6 * (10 + spec.dim) as f64;
        assert!(logdet.iter().all(|l| l.abs() < most), "{name}");
        if spec.kind == Kind::Nice {
            // At the identity symmetric data would hold it for ever.
            assert!(x.iter().zip(&y).any(|(a, b)| (a - b).abs() > 1e-3), "{name}");
            continue;
        }
        let lengths =
            |x: &[f64]| -> Vec<f64> { x.chunks_exact(spec.dim).map(|row| row.iter().map(|v| v * v).sum()).collect() };
        for (a, b) in lengths(&x).iter().zip(lengths(&y)) {
            // Each of at most a dozen rotations by f32 parameters is off by some 1e-6 of a squared length.
            assert!((a - b).abs() < 1e-5 * (10.0 + a), "{name}: {a} {b}");
        }
        if !spec.layers.iter().any(|layer| matches!(layer, LayerSpec::Linear { .. })) {
            let worst = x.iter().zip(&y).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
            assert!(worst < 1e-12, "{name}: {worst}");
        }
    }
}

#[test]
fn activation_norms_start_at_the_moments_of_the_first_batch() {
    let mut rng = stream(3, 0);
    let spec = Plan { depth: 3, ..Plan::usual(Kind::Glow, 4) }.spec(&mut rng).unwrap();
    let x: Vec<f64> = draws(500, 4, 1).iter().enumerate().map(|(i, x)| 7.0 * x + (i % 4) as f64).collect();
    let theta = Discrete::started(&spec, &spec.init(&mut rng), &x, &[]).unwrap();
    let theta: Vec<f64> = theta.into_iter().map(f64::from).collect();
    let flow = Discrete::new(spec, &theta, Precision::F32).unwrap();
    // The couplings are the identity and the maps rotations, so what arrives is white in the mean.
    let z = inverse(&flow, &x, &[]).y;
    for j in 0..4 {
        let column: Vec<f64> = z.iter().skip(j).step_by(4).copied().collect();
        let mean = column.iter().sum::<f64>() / 500.0;
        // θ is f32: shifts of size 10 are rounded by 1e-6, three times over.
        assert!(mean.abs() < 1e-4, "column {j}: {mean}");
    }
    // And scales by 1e-7 each, with three layers' rotations.
    let square = z.iter().map(|z| z * z).sum::<f64>() / 2000.0;
    assert!((square - 1.0).abs() < 1e-3, "{square}");
}

#[test]
fn every_stage_has_a_density_of_mass_one() {
    for kind in Kind::ALL {
        let plan = Plan { depth: 3, hidden: vec![12, 12], ..Plan::usual(kind, 2) };
        let spec = plan.spec(&mut stream(2, 0)).unwrap();
        let whole = flow(&spec, &bent(&spec, 9));
        for stage in 0..=spec.layers.len() {
            let flow = Flow::new(whole.until(stage).unwrap());
            let (half, m) = (30.0, 1000);
            let h = 2.0 * half / f64::from(m);
            let place = |i: i32| f64::from(i) * h - half;
            let grid: Vec<f64> = (0..m * m).flat_map(|i| [place(i % m), place(i / m)]).collect();
            let mass: f64 = flow.log_prob(&grid, &[]).unwrap().log_prob.iter().map(|l| l.exp()).sum::<f64>() * h * h;
            assert!((mass - 1.0).abs() < 3e-3, "{} stage {stage}: {mass}", kind.name());
        }
        assert!(whole.until(spec.layers.len() + 1).is_err());
    }
}

/// Points are f64 between the layers whatever the nets compute in. A column that returns to the last bit of f64 may
/// still round to the neighbouring f32 where a net reads it: hence two bounds.
#[test]
fn a_round_trip_costs_round_off() {
    for (name, spec) in every_discrete() {
        for precision in [Precision::F32, Precision::F64] {
            let flow = Discrete::new(spec.clone(), &bent(&spec, 4), precision).unwrap();
            let (z, c) = (draws(2000, spec.dim, 5), condition(&spec, 2000));
            let x = forward(&flow, &z, &c).y;
            let back = inverse(&flow, &x, &c).y;
            let worst = back.iter().zip(&z).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
            let most = if precision == Precision::F64 { 1e-10 } else { 1e-5 };
            assert!(worst < most, "{name} {precision:?}: {worst:e}");
        }
    }
}

#[test]
fn rows_that_overflow_are_named_with_their_layer_and_the_others_go_on() {
    let spec = Plan::usual(Kind::RealNvp, 2).spec(&mut stream(1, 0)).unwrap();
    let flow = flow(&spec, &bent(&spec, 2));
    let x = [0.1, 0.2, f64::NAN, 0.0, 0.3, 1e308, 0.5, 0.5];
    let Mapped { y, cost, .. } = forward(&flow, &x, &[]);
    assert!(y[0].is_finite() && y[1].is_finite() && y[6].is_finite() && y[7].is_finite());
    assert_eq!(cost.failures[0], (1, Failure::Point));
    assert!(matches!(cost.failures[1], (2, Failure::Layer { .. })), "{:?}", cost.failures);
    let scored = Flow::new(flow).log_prob(&x, &[]).unwrap();
    assert_eq!((scored.row(1), scored.row(0).is_ok()), (Err(Failure::Point), true));
    // Nor does a row get lost where θ is learnt.
    let text = nll(&spec, &bent(&spec, 2), Precision::F64, &x, &[]).unwrap_err().to_string();
    assert!(text.contains("row 1"), "{text}");
}

#[test]
fn numbers_that_make_no_rows_are_refused() {
    for (name, spec) in every_discrete() {
        let (d, c) = (spec.dim, spec.condition_dim);
        let theta = bent(&spec, 2);
        let flow = flow(&spec, &theta);
        let refused = |x: usize, c: usize| {
            assert!(nll(&spec, &theta, Precision::F64, &vec![0.1; x], &vec![0.1; c]).is_err(), "{name}");
        };
        refused(0, 0);
        refused(d, c + 1);
        let one = vec![0.1; d];
        assert!(flow.pull_back(End::Data, &one, &vec![0.1; c], &[], &[1.0]).is_err(), "{name}");
        assert!(flow.pull_back(End::Data, &one, &vec![0.1; c], &one, &[]).is_err(), "{name}");
        assert!(flow.pull_back(End::Data, &one, &vec![0.1; c + 1], &one, &[1.0]).is_err(), "{name}");
        let theta = spec.init(&mut stream(1, 0));
        assert!(Discrete::started(&spec, &theta[1..], &vec![0.1; d], &vec![0.1; c]).is_err(), "{name}");
        if d > 1 {
            refused(d + 1, c);
        }
    }
}

#[test]
fn a_scale_that_degenerates_is_named() {
    let spec = Plan::usual(Kind::Nice, 2).spec(&mut stream(1, 0)).unwrap();
    let mut theta = bent(&spec, 2);
    for (scale, word) in [(200.0, "200"), (f64::NAN, "NaN")] {
        theta[0] = scale;
        let text = Discrete::new(spec.clone(), &theta, Precision::F64).unwrap_err().to_string();
        assert!(text.contains("layer 1") && text.contains(word), "{text}");
    }
}

#[test]
fn plans_and_specs_that_make_no_sense_are_refused_in_words() {
    let refuse = |plan: Plan, part: &str| {
        let text = plan.spec(&mut stream(1, 0)).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    };
    let usual = |kind| Plan::usual(kind, 2);
    refuse(Plan { depth: 0, ..usual(Kind::Nice) }, "0 couplings");
    refuse(Plan { hidden: vec![0], ..usual(Kind::Nice) }, "0 units");
    refuse(Plan { bins: 1, ..usual(Kind::Spline) }, "1 bins");
    refuse(Plan { bound: -1.0, ..usual(Kind::Spline) }, "spline on");
    refuse(Plan { most: 0.0, ..usual(Kind::RealNvp) }, "log-scales");
    for kind in Kind::ALL {
        refuse(Plan { dim: 0, ..usual(kind) }, "without columns");
    }
    let good = usual(Kind::RealNvp).spec(&mut stream(1, 0)).unwrap();
    let mut bad = good.clone();
    if let LayerSpec::Coupling { pass, .. } = &mut bad.layers[0] {
        pass.push(7);
    }
    assert!(bad.validate().unwrap_err().to_string().contains("two halves"));
    let mut bad = good.clone();
    bad.layers.clear();
    assert!(bad.validate().is_err());
    let mut bad = good;
    if let LayerSpec::Coupling { transform, .. } = &mut bad.layers[0] {
        *transform = Transform::Affine { most: f64::NAN };
    }
    assert!(bad.validate().is_err());
    assert!("thirds".parse::<Mask>().unwrap_err().to_string().contains("thirds"));
}
