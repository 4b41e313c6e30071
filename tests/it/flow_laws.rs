//! What every bijection and every flow obeys, and what the continuous one adds.

use std::sync::Arc;

use cnflow::continuous::{Continuous, LogDensity, SolverSpec, TraceSpec};
use cnflow::discrete::{Discrete, DiscreteSpec};
use cnflow::model::{BaseFlow, Flow, FlowSpec, Model, Moments};
use cnflow::rng::stream;
use cnflow::train::{Batch, Criterion, LossContext};
use cnflow::transform::{
    Bijection, Chain, Column, ColumnKind, Columns, Histogram, Mapped, Mixture, Rosenblatt, Standardise, Tail,
};
#[cfg(feature = "cuda")]
use cnflow::velocity::Device;
use cnflow::velocity::layers::{Layer, LayerNetSpec};
use cnflow::velocity::{Activation, MlpSpec, Path, Precision, TimeInput, VelocitySpec};
use nalgebra::DMatrix;
use rand::Rng as _;

use crate::common::discrete::{bent, draws, every_discrete};
use crate::common::maps::{forward, inverse};
use crate::common::velocity::around;
use crate::velocity_images::small_images;

fn mlp(dim: usize, condition_dim: usize, hidden: &[usize]) -> VelocitySpec {
    let (activation, time) = (Activation::Tanh, TimeInput::Plain);
    VelocitySpec::Mlp(MlpSpec { dim, condition_dim, hidden: hidden.to_vec(), activation, time })
}

fn tight() -> SolverSpec {
    SolverSpec { rtol: 1e-10, atol: 1e-10, ..SolverSpec::default() }
}

/// Weights three times PyTorch's: a field that bends.
fn theta(velocity: &VelocitySpec, seed: u64) -> Vec<f64> {
    velocity.init(&mut stream(seed, 0)).into_iter().map(|w| 3.0 * f64::from(w)).collect()
}

fn continuous(velocity: VelocitySpec, solver: SolverSpec, seed: u64) -> Continuous {
    let theta = theta(&velocity, seed);
    Continuous::new(&velocity, &theta, solver, Precision::F64).unwrap()
}

/// The map of the quantiles of a Cauchy law.
fn heavy() -> Column {
    let rows: Vec<f64> = (-60..60).map(|i| ((f64::from(i) + 0.5) / 120.0 * std::f64::consts::PI).tan()).collect();
    Column::fit(ColumnKind::Heavy, &rows).unwrap()
}

/// One of each kind.
fn every_column() -> [Column; 6] {
    [
        heavy(),
        Column::Plain,
        Column::Angle { period: 360.0, cut: 200.0 },
        Column::Angle { period: 1.5, cut: -0.4 },
        Column::Unit { low: -2.0, high: 5.0 },
        Column::Positive,
    ]
}

/// Layers with parameters that bend, as a model file has them.
fn base_flow(layers: DiscreteSpec) -> BaseFlow {
    let theta = bent(&layers, 1).iter().map(|w| *w as f32).collect();
    BaseFlow { layers, theta }
}

/// Overlapping components, none round.
fn mixture(d: usize, k: usize, seed: u64) -> Mixture {
    let mut rng = stream(seed, 3);
    let weights: Vec<f64> = (0..k).map(|_| rng.random_range(0.2..1.0)).collect();
    let total: f64 = weights.iter().sum();
    let means = (0..k * d).map(|_| rng.random_range(-1.5..1.5)).collect();
    let mut factors = vec![0.0; k * d * d];
    for factor in factors.chunks_exact_mut(d * d) {
        for i in 0..d {
            (0..i).for_each(|j| factor[i * d + j] = rng.random_range(-0.4..0.4));
            factor[i * d + i] = rng.random_range(0.3..0.8);
        }
    }
    Mixture::new(weights.iter().map(|w| w / total).collect(), means, factors).unwrap()
}

/// Probabilities of all sizes on bins over [−1, 2] a column, with tails that hold a part of the usual draws.
fn histogram(bins: Vec<usize>) -> Histogram {
    let mut rng = stream(bins.len() as u64, 6);
    let weights: Vec<f64> = (0..bins.iter().product()).map(|_| rng.random_range(0.1..1.0)).collect();
    let total: f64 = weights.iter().sum();
    let tails = [Tail { share: 0.1, scale: 0.7 }, Tail { share: 0.2, scale: 0.3 }];
    let table = Histogram::new(vec![[-1.0, 2.0]; bins.len()], bins, weights.iter().map(|w| w / total).collect());
    let table = table.unwrap();
    let tails = vec![tails; table.dim()];
    table.with_tails(tails).unwrap()
}

/// Every bijection there is: a new one joins this list and meets every law below.
fn every_bijection() -> Vec<(String, Box<dyn Bijection>)> {
    let mut all: Vec<(String, Box<dyn Bijection>)> = Vec::new();
    all.push(("standardise".into(), Box::new(Standardise::new(vec![1.0, -2.0], vec![0.5, 3.0]).unwrap())));
    for (d, c, hidden) in [(1, 0, vec![8]), (2, 0, vec![16, 16]), (3, 2, vec![12, 12, 12]), (5, 0, vec![])] {
        let name = format!("continuous d={d} c={c} {hidden:?}");
        all.push((name, Box::new(continuous(mlp(d, c, &hidden), tight(), d as u64))));
    }
    for method in ["tsit5", "vern7", "dop853", "bdf", "esdirk34"] {
        let solver = SolverSpec { method: method.into(), ..tight() };
        all.push((format!("continuous {method}"), Box::new(continuous(mlp(2, 0, &[16, 16]), solver, 7))));
    }
    let coupled = SolverSpec { log_density: LogDensity::Coupled, ..tight() };
    all.push(("continuous coupled".into(), Box::new(continuous(mlp(2, 0, &[16, 16]), coupled, 7))));
    let rk4 = SolverSpec { method: "rk4".into(), fixed_steps: Some(400), ..tight() };
    all.push(("continuous rk4".into(), Box::new(continuous(mlp(2, 0, &[16, 16]), rk4, 7))));
    let squash = |inputs, outputs| Layer::ConcatSquash { inputs, outputs };
    let layers = VelocitySpec::Layers(LayerNetSpec::stacked(squash, 2, 0, &[12, 12], Activation::Softplus));
    let solver = SolverSpec { method: "vern7".into(), ..tight() };
    all.push(("continuous concatsquash".into(), Box::new(continuous(layers, solver, 3))));
    for spec in small_images().into_iter().filter(|spec| spec.condition_dim == 0) {
        let name = format!("continuous images {:?}", spec.shape());
        let (net, path) = (VelocitySpec::Image(spec), Path::Straight);
        all.push((format!("{name}, preconditioned"), Box::new(continuous(around(path, 0.5, net.clone()), tight(), 5))));
        all.push((name, Box::new(continuous(net, tight(), 5))));
    }
    for path in Path::ALL {
        let velocity = around(path, 2.0, mlp(2, 0, &[16, 16]));
        all.push((format!("continuous preconditioned {}", path.name()), Box::new(continuous(velocity, tight(), 7))));
    }
    for (d, k) in [(1, 1), (1, 5), (2, 3), (3, 40), (5, 2)] {
        let map = Rosenblatt::new(mixture(d, k, d as u64));
        all.push((format!("rosenblatt d={d} K={k}"), Box::new(map)));
    }
    for bins in [vec![6], vec![4, 3]] {
        let d = bins.len();
        all.push((format!("histogram d={d}"), Box::new(histogram(bins))));
    }
    all.push(("columns".into(), Box::new(Columns::new(every_column().to_vec()).unwrap())));
    let whole = FlowSpec {
        standardise: Some(Moments { mean: vec![0.2, -0.3], std: vec![0.5, 0.4] }),
        columns: Some(vec![Column::Angle { period: 360.0, cut: 200.0 }, Column::Unit { low: -2.0, high: 5.0 }]),
        base: Some(mixture(2, 3, 9)),
        ..FlowSpec::plain(mlp(2, 0, &[16, 16]), tight())
    };
    let built = whole.bind(&theta(whole.architecture.velocity().unwrap(), 1), Precision::F64).unwrap();
    all.push(("all layers".into(), Box::new(built.flow().map.clone())));
    for (name, layers) in every_discrete().into_iter().filter(|(_, layers)| layers.dim > 1) {
        let (d, c) = (layers.dim, layers.condition_dim);
        let whole = FlowSpec {
            base_flow: Some(base_flow(layers)),
            standardise: Some(Moments { mean: vec![0.2; d], std: vec![0.5; d] }),
            ..FlowSpec::plain(around(Path::Vp, 1.0, mlp(d, c, &[8, 8])), tight())
        };
        let built = whole.bind(&theta(whole.architecture.velocity().unwrap(), 1), Precision::F64).unwrap();
        all.push((format!("continuous on {name}"), Box::new(built.flow().map.clone())));
    }
    let chain = Chain::new(vec![
        Arc::new(continuous(mlp(2, 0, &[16, 16]), tight(), 1)),
        Arc::new(Standardise::new(vec![1.0, -2.0], vec![0.5, 3.0]).unwrap()),
    ]);
    all.push(("chain".into(), Box::new(chain.unwrap())));
    for (name, spec) in every_discrete() {
        let theta = bent(&spec, 1);
        all.push((name, Box::new(Discrete::new(spec, &theta, Precision::F64).unwrap())));
    }
    all
}

fn condition(map: &dyn Bijection, n: usize) -> Vec<f64> {
    draws(n, map.condition_dim(), 99)
}

fn worst(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, e| if e > m || e.is_nan() { e } else { m })
}

#[test]
fn a_flow_undone_returns_to_its_start_and_its_log_determinants_cancel() {
    for (name, map) in every_bijection() {
        let z = draws(20, map.dim(), 2);
        let c = condition(&*map, 20);
        let Mapped { y, logdet, .. } = forward(&*map, &z, &c);
        let back = inverse(&*map, &y, &c);
        // Two solves at 1e-10, each wrong by some tolerances, amplified by a few units of e^L.
        assert!(worst(&back.y, &z) < 2e-7, "{name}: {:e}", worst(&back.y, &z));
        let sum = worst(&back.logdet, &logdet.iter().map(|l| -l).collect::<Vec<_>>());
        assert!(sum < 2e-7, "{name}: {sum:e}");
    }
}

#[test]
fn the_log_determinant_is_that_of_the_dense_jacobian() {
    let eps = 1e-4;
    for (name, map) in every_bijection() {
        let d = map.dim();
        let z = draws(3, d, 4);
        let c = condition(&*map, 3);
        for to_latent in [false, true] {
            let apply = |x: &[f64]| if to_latent { inverse(&*map, x, &c) } else { forward(&*map, x, &c) };
            // Points of the data's side, for some have a range.
            let z = if to_latent { forward(&*map, &z, &c).y } else { z.clone() };
            let logdet = apply(&z).logdet;
            let columns: Vec<Vec<f64>> = (0..d)
                .map(|j| {
                    let shift = |s: f64| {
                        let mut data = z.clone();
                        data.iter_mut().skip(j).step_by(d).for_each(|x| *x += s * eps);
                        apply(&data).y
                    };
                    // Fourth-order differences: h⁴ = 1e-16, solver error 1e-9/h = 1e-5 at worst, typically far less.
                    let (p1, m1, p2, m2) = (shift(1.0), shift(-1.0), shift(2.0), shift(-2.0));
                    (0..3 * d).map(|i| (8.0 * (p1[i] - m1[i]) - (p2[i] - m2[i])) / (12.0 * eps)).collect()
                })
                .collect();
            for n in 0..3 {
                let jacobian = DMatrix::from_fn(d, d, |r, j| columns[j][n * d + r]);
                let exact = jacobian.lu().determinant().abs().ln();
                assert!((exact - logdet[n]).abs() < 5e-5, "{name} inverse={to_latent}: {} against {exact}", logdet[n]);
            }
        }
    }
}

#[test]
fn n_samples_are_n_times_one_bit_for_bit_on_any_number_of_threads() {
    for (name, map) in every_bijection() {
        let n = 37;
        let c = condition(&*map, n);
        let x = forward(&*map, &draws(n, map.dim(), 5), &c).y;
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| inverse(&*map, &x, &c))
        };
        let whole = run(1);
        for threads in [2, 3] {
            let other = run(threads);
            assert_eq!(other.y, whole.y, "{name} on {threads} threads");
            assert_eq!(other.logdet, whole.logdet, "{name} on {threads} threads");
        }
        for i in [0, 17, 36] {
            let row = |x: &[f64]| x[i * (x.len() / n)..(i + 1) * (x.len() / n)].to_vec();
            let alone = inverse(&*map, &row(&x), &row(&c));
            assert_eq!(alone.y, row(&whole.y), "{name}, row {i}");
            assert_eq!(alone.logdet, row(&whole.logdet), "{name}, row {i}");
        }
    }
}

#[test]
fn a_gradient_has_the_same_bits_on_any_number_of_threads() {
    let velocity = mlp(2, 0, &[16, 16, 16]);
    let (x, start) = (draws(700, 2, 12), theta(&velocity, 13));
    let context = LossContext::new(velocity, SolverSpec::default());
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let batch = Batch { x: x.clone(), ..Batch::default() };
        pool.install(|| Criterion::Likelihood.gradient(&context, &start, Precision::F32, &batch).unwrap())
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

#[test]
fn the_density_of_a_flow_integrates_to_one_at_every_time() {
    let map = continuous(mlp(2, 0, &[16, 16]), SolverSpec { rtol: 1e-7, atol: 1e-7, ..SolverSpec::default() }, 1);
    for t in [0.0, 0.3, 1.0] {
        let flow = Flow::new(map.until(t).unwrap());
        // The trapezoidal rule is spectrally accurate for a smooth density that vanishes at the edges.
        let (half, m) = (9.0, 180);
        let h = 2.0 * half / f64::from(m);
        let grid: Vec<f64> =
            (0..m * m).flat_map(|i| [f64::from(i % m) * h - half, f64::from(i / m) * h - half]).collect();
        let mass: f64 = flow.log_prob(&grid, &[]).unwrap().log_prob.iter().map(|l| l.exp()).sum::<f64>() * h * h;
        // Log-densities to their tolerance of 1e-5 nats are a mass to 1e-5; in f32 round-off adds as much.
        assert!((mass - 1.0).abs() < 1e-4, "t = {t}: {mass}");
    }
}

#[test]
fn the_density_carried_along_is_the_density_of_the_sample() {
    let flow = Flow::new(continuous(mlp(2, 0, &[16, 16, 16]), tight(), 5));
    let z = draws(200, 2, 3);
    let there = flow.decode(&z, &[]).unwrap();
    let back = flow.encode(&there.y, &[]).unwrap();
    let gap = worst(&there.log_prob, &back.log_prob);
    assert!(gap < 1e-7, "{gap:e}");
    assert!(worst(&back.y, &z) < 1e-7);
    assert!(
        there.cost.logdet_error.iter().all(|e| *e <= 1e-8),
        "the quadrature's tolerance is a hundred times the path's"
    );
}

#[test]
fn hutchinsons_standard_error_covers_the_exact_value() {
    let velocity = mlp(6, 0, &[16, 16]);
    let spec = |trace| SolverSpec { trace, rtol: 1e-7, atol: 1e-7, ..SolverSpec::default() };
    let x = draws(300, 6, 20);
    let exact = inverse(&continuous(velocity.clone(), spec(TraceSpec::Exact), 2), &x, &[]);
    for trace in [TraceSpec::Hutchinson(16), TraceSpec::Gaussian(16)] {
        let noisy = inverse(&continuous(velocity.clone(), spec(trace), 2), &x, &[]);
        assert_eq!(noisy.cost.logdet_se.len(), 300);
        let z: Vec<f64> = exact
            .logdet
            .clone()
            .iter()
            .zip(noisy.logdet.clone())
            .zip(&noisy.cost.logdet_se)
            .map(|((a, b), se)| (a - b) / se)
            .collect();
        let within = z.iter().filter(|z| z.abs() < 2.13).count();
        // Student's t with 15 degrees of freedom: 95 in 100, of 300 draws; four standard deviations of the count
        // are 15.
        assert!((270..=300).contains(&within), "{trace}: {within} of 300");
    }
}

/// Of a build for a card: the card's products are in another order.
#[cfg(feature = "cuda")]
#[test]
fn a_candle_net_on_a_card_is_the_same_flow() {
    let concat = |inputs, outputs| Layer::ConcatLinear { inputs, outputs };
    let layers = VelocitySpec::Layers(LayerNetSpec::stacked(concat, 2, 0, &[8, 8], Activation::Tanh));
    let (weights, x) = (theta(&layers, 4), draws(5, 2, 30));
    let card = Device::Cuda(0);
    let named = Continuous::on_device(&layers, &weights, tight(), Precision::F64, card).unwrap();
    let (here, there) = (inverse(&continuous(layers, tight(), 4), &x, &[]), inverse(&named, &x, &[]));
    // Two solves at the tight tolerance.
    for (here, there) in [(&here.y, &there.y), (&here.logdet, &there.logdet)] {
        let off = here.iter().zip(there).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-8, "{off:.1e}");
    }
}

#[test]
fn wrong_widths_and_missing_conditions_are_refused_in_words() {
    let refused = |map: &Continuous, x: &[f64], condition: &[f64]| {
        map.inverse(&mut Mapped::new(x.to_vec(), map.dim()), condition).unwrap_err().to_string()
    };
    let plain = continuous(mlp(2, 0, &[4]), tight(), 1);
    let text = refused(&plain, &draws(3, 5, 1), &[]);
    assert!(text.contains("1 column, expected 2"), "{text}");
    let text = refused(&plain, &draws(3, 2, 1), &draws(3, 1, 1));
    assert!(text.contains("3 numbers of conditions for 3 rows of 0 columns"), "{text}");
    let conditional = continuous(mlp(2, 3, &[4]), tight(), 1);
    let text = refused(&conditional, &draws(3, 2, 1), &[]);
    assert!(text.contains("conditional on 3 columns"), "{text}");
    let text = refused(&conditional, &draws(3, 2, 1), &draws(2, 3, 1));
    assert!(text.contains("6 numbers of conditions for 3 rows of 3 columns"), "{text}");
    assert!(plain.until(1.5).is_err());
}

#[test]
fn points_alone_are_those_of_the_density_and_nobody_is_given_a_log_determinant_for_them() {
    for (name, map) in every_bijection() {
        let (z, c) = (draws(20, map.dim(), 2), condition(&*map, 20));
        let x = forward(&*map, &z, &c).y;
        let mut there = Mapped::points(z.clone());
        map.forward(&mut there, &c).unwrap();
        let mut back = Mapped::points(x.clone());
        map.inverse(&mut back, &c).unwrap();
        assert!(there.logdet.is_empty() && back.logdet.is_empty(), "{name}");
        assert!(there.cost.traces.iter().chain(&back.cost.traces).all(|n| *n == 0), "{name}");
        // A state that rides along has a say in adaptive steps: there the points agree to the tolerance.
        let gap = worst(&there.y, &x).max(worst(&back.y, &inverse(&*map, &x, &c).y));
        assert!(if name.contains("coupled") { gap < 1e-7 } else { gap == 0.0 }, "{name}: {gap:e}");
    }
}

#[test]
fn a_model_saved_and_loaded_is_the_same_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let velocity = mlp(2, 0, &[16, 16]);
    let theta: Vec<f32> = velocity.init(&mut stream(3, 0));
    // Moments that no short decimal holds.
    let moments = Moments { mean: vec![1.0 / 3.0, -2.0_f64.sqrt()], std: vec![0.1_f64.exp(), 1.0 / 7.0] };
    let plain = FlowSpec::plain(velocity.clone(), tight());
    let columns = vec![
        Column::Angle { period: std::f64::consts::TAU, cut: 1.0 / 3.0 },
        Column::Unit { low: -(2.0_f64.sqrt()) * 3.0, high: 1e30 / 7.0 },
    ];
    let layers = every_discrete().into_iter().map(|(_, layers)| layers).find(|l| l.dim == 2 && l.condition_dim == 0);
    let layers = base_flow(layers.unwrap());
    let specs = [
        plain.clone(),
        FlowSpec { standardise: Some(moments.clone()), ..plain.clone() },
        FlowSpec { base: Some(mixture(2, 7, 5)), ..plain.clone() },
        FlowSpec { base_flow: Some(layers), standardise: Some(moments.clone()), ..plain.clone() },
        FlowSpec { columns: Some(columns.clone()), ..plain.clone() },
        FlowSpec { columns: Some(vec![heavy(), Column::Positive]), ..plain.clone() },
        FlowSpec { columns: Some(columns), base: Some(mixture(2, 1, 5)), standardise: Some(moments), ..plain },
    ];
    for spec in specs {
        let model = Model { spec, theta: theta.clone(), provenance: serde_json::Map::new() };
        let path = folder.path().join("model.safetensors");
        model.save(&path).unwrap();
        let loaded = Model::load(&path).unwrap();
        assert_eq!(loaded.spec, model.spec);
        assert_eq!(loaded.theta, model.theta);
        let x = draws(20, 2, 4);
        let log_prob = |model: &Model| model.bind(Precision::F64).unwrap().log_prob(&x, &[]).unwrap().log_prob;
        assert_eq!(log_prob(&loaded), log_prob(&model));
        let first = std::fs::read(&path).unwrap();
        loaded.save(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first, "saving again changes the file");
    }
}

#[test]
fn log_determinants_of_an_f32_net_are_not_rounded_to_f32() {
    let rounded = |logdet: &[f64]| logdet.iter().all(|l| f64::from(*l as f32) == *l);
    let mut maps: Vec<(String, Box<dyn Bijection>)> = Vec::new();
    for method in ["dopri5", "bdf"] {
        let velocity = mlp(2, 0, &[8, 8]);
        let solver = SolverSpec { method: method.into(), ..SolverSpec::default() };
        let flow = Continuous::new(&velocity, &theta(&velocity, 3), solver, Precision::F32).unwrap();
        maps.push((method.into(), Box::new(flow)));
    }
    for (name, spec) in every_discrete().into_iter().filter(|(_, spec)| spec.dim == 2 && spec.condition_dim == 0) {
        let weights = bent(&spec, 1);
        maps.push((name, Box::new(Discrete::new(spec, &weights, Precision::F32).unwrap())));
    }
    let x = draws(40, 2, 5);
    for (name, map) in maps {
        for Mapped { logdet, .. } in [forward(&*map, &x, &[]), inverse(&*map, &x, &[])] {
            // Additive couplings have the log-determinant of the scales behind them: sums of weights, f32 as they are.
            let constant = logdet.iter().all(|l| *l == logdet[0]);
            assert!(constant || !rounded(&logdet), "{name}");
        }
    }
}
