//! |m|² and ‖∂m/∂x‖² beside value and divergence: the laws of both kinds of velocity.

use crate::common::velocity::{Points, TRACES, bits, both, numbers, rows, tangent, tile};
use crate::velocity_images::small_images;
use candle_core::{Device, Tensor};
use cnflow::velocity::layers::{Layer, LayerNet, LayerNetSpec};
use cnflow::velocity::{
    Activation, Cotangents, GaussianPath, Image, Mlp, MlpSpec, Noise, Number, Path, PreconditionedSpec, Regularisers,
    TimeInput, Trace, Velocity, VelocitySpec, probe,
};
use cnflow_solvers::lanes::{Lanes, LanesMut, stride_for};
use cnflow_solvers::{At, Real};

fn mlp(dim: usize, condition_dim: usize, hidden: &[usize], activation: Activation, time: TimeInput) -> MlpSpec {
    MlpSpec { dim, condition_dim, hidden: hidden.to_vec(), activation, time }
}

/// Every depth from 0 to 4, activations, times and conditions in turn; and more dimensions than get a tangent each.
fn every_mlp() -> Vec<MlpSpec> {
    let widths = [5, 6, 3, 7];
    let times = [TimeInput::Plain, TimeInput::Fourier { frequencies: 2 }, TimeInput::None];
    let mut specs: Vec<MlpSpec> = (0..=4)
        .flat_map(|depth| Activation::ALL.into_iter().enumerate().map(move |(k, activation)| (depth, k, activation)))
        .map(|(depth, k, activation)| {
            let (dim, condition_dim) = ([2, 3, 1][(depth + k) % 3], [0, 2][(depth + k) % 2]);
            mlp(dim, condition_dim, &widths[..depth], activation, times[(2 * depth + k) % 3])
        })
        .collect();
    for hidden in [&[6][..], &[5, 4], &[4, 3, 4], &[]] {
        specs.push(mlp(18, 1, hidden, Activation::Silu, TimeInput::Plain));
    }
    specs
}

fn every_net() -> Vec<LayerNetSpec> {
    let squash = |inputs, outputs| Layer::ConcatSquash { inputs, outputs };
    let concat = |inputs, outputs| Layer::ConcatLinear { inputs, outputs };
    vec![
        LayerNetSpec::stacked(squash, 2, 0, &[5, 4], Activation::Softplus),
        LayerNetSpec::stacked(concat, 3, 2, &[5, 4], Activation::Tanh),
        LayerNetSpec::stacked(concat, 2, 0, &[], Activation::Tanh),
    ]
}

/// What the names of nets within a Gaussian's velocity begin with.
const PRECONDITIONED: &str = "preconditioned";

/// Makes a velocity of a θ.
type Make<T> = Box<dyn Fn(&[T]) -> Box<dyn Velocity<T>>>;

/// Every velocity there is: its name, a θ, and how it is made of one.
fn every_velocity<T: Number>() -> Vec<(String, Vec<T>, Make<T>)> {
    let wide = |theta: Vec<f32>| theta.into_iter().map(|w| T::of(2.0 * f64::from(w))).collect();
    let rng = &mut cnflow::rng::stream(7, 0);
    let mut all: Vec<(String, Vec<T>, Make<T>)> = Vec::new();
    for spec in every_mlp() {
        let (name, theta) = (format!("{spec:?}"), wide(spec.init(rng)));
        all.push((name, theta, Box::new(move |theta| Box::new(Mlp::new(&spec, theta).unwrap()))));
    }
    for spec in small_images() {
        let (name, theta) = (format!("{spec:?}"), numbers(spec.n_params(), 8));
        all.push((name, theta, Box::new(move |theta| Box::new(Image::new(&spec, theta).unwrap()))));
    }
    for spec in every_net() {
        let (name, theta) = (format!("{spec:?}"), wide(spec.init(rng)));
        let net = move |theta: &[T]| {
            let theta = Tensor::from_slice(theta, theta.len(), &Device::Cpu).unwrap();
            Box::new(LayerNet::new(spec.clone(), theta).unwrap()) as Box<dyn Velocity<T>>
        };
        all.push((name, theta, Box::new(net)));
    }
    let squash = |inputs, outputs| Layer::ConcatSquash { inputs, outputs };
    let (silu, plain) = (Activation::Silu, TimeInput::Plain);
    let mut nets: Vec<VelocitySpec> =
        [vec![], vec![5], vec![5, 4], vec![5, 4, 3]].map(|h| VelocitySpec::Mlp(mlp(2, 1, &h, silu, plain))).into();
    nets.push(VelocitySpec::Mlp(mlp(18, 0, &[4, 3, 4], silu, plain)));
    nets.push(VelocitySpec::Layers(LayerNetSpec::stacked(squash, 2, 0, &[5, 4], Activation::Softplus)));
    nets.extend(small_images().into_iter().map(VelocitySpec::Image));
    for (net, path) in nets.into_iter().zip(Path::ALL.into_iter().cycle()) {
        let theta = wide(net.init(rng));
        let gaussian = GaussianPath { path, deviation: 2.0 };
        let spec = VelocitySpec::Preconditioned(Box::new(PreconditionedSpec { gaussian, net }));
        all.push((format!("{PRECONDITIONED} {spec:?}"), theta, Box::new(move |theta| spec.bind_here(theta).unwrap())));
    }
    all
}

/// v `[lanes, d]`, div `[lanes, traces]` and the squares `[lanes]`, in one call.
struct All<T> {
    v: Vec<T>,
    div: Vec<T>,
    kinetic: Vec<T>,
    jacobian: Vec<T>,
}

fn all<T: Real>(velocity: &dyn Velocity<T>, p: &Points<T>, trace: Trace, samples: &[usize]) -> All<T> {
    let (lanes, stride) = (samples.len(), stride_for(samples.len()));
    let mut eval = velocity.evaluator(p.batch(trace, lanes));
    let t: Vec<f64> = samples.iter().map(|&s| p.t[s]).collect();
    let x = tile(&p.x, p.dim, samples);
    let (traces, zero) = (eval.traces(), T::ZERO);
    let (mut v, mut div) = (vec![zero; p.dim * stride], vec![zero; traces * stride]);
    let (mut kinetic, mut jacobian) = (vec![zero; stride], vec![zero; stride]);
    eval.value_divergence_and_squares(
        At::new(&t, samples),
        Lanes::new(&x, p.dim, lanes, stride),
        LanesMut::new(&mut v, p.dim, lanes, stride),
        LanesMut::new(&mut div, traces, lanes, stride),
        Regularisers {
            kinetic: Some(LanesMut::new(&mut kinetic, 1, lanes, stride)),
            jacobian: Some(LanesMut::new(&mut jacobian, 1, lanes, stride)),
        },
    );
    All {
        v: rows(&v, p.dim, lanes),
        div: rows(&div, traces, lanes),
        kinetic: rows(&kinetic, 1, lanes),
        jacobian: rows(&jacobian, 1, lanes),
    }
}

/// Cotangents as rows: `[n, d]`, `[n, traces]`, `[n]` and `[n]`.
struct Bars<T> {
    v: Option<Vec<T>>,
    div: Option<Vec<T>>,
    kinetic: Option<Vec<T>>,
    jacobian: Option<Vec<T>>,
}

/// gx `[lanes, d]` and the folded gradient of θ.
fn pull_back<T: Real>(
    velocity: &dyn Velocity<T>,
    p: &Points<T>,
    trace: Trace,
    samples: &[usize],
    bars: &Bars<T>,
) -> (Vec<T>, Vec<T>) {
    let (lanes, stride) = (samples.len(), stride_for(samples.len()));
    let mut eval = velocity.evaluator(p.batch(trace, lanes));
    let traces = eval.traces();
    let t: Vec<f64> = samples.iter().map(|&s| p.t[s]).collect();
    let x = tile(&p.x, p.dim, samples);
    let of = |bar: &Option<Vec<T>>, rows: usize| bar.as_ref().map(|bar| tile(bar, rows, samples));
    let (v, div) = (of(&bars.v, p.dim), of(&bars.div, traces));
    let (kinetic, jacobian) = (of(&bars.kinetic, 1), of(&bars.jacobian, 1));
    fn view<T>(tile: &Option<Vec<T>>, rows: usize, lanes: usize) -> Option<Lanes<'_, T>> {
        tile.as_ref().map(|tile| Lanes::new(tile, rows, lanes, stride_for(lanes)))
    }
    let squares = Regularisers { kinetic: view(&kinetic, 1, lanes), jacobian: view(&jacobian, 1, lanes) };
    let bar = Cotangents { v: view(&v, p.dim, lanes), div: view(&div, traces, lanes), squares };
    let mut gx = vec![T::ZERO; p.dim * stride];
    let mut g = vec![T::ZERO; velocity.grad_len()];
    let x = Lanes::new(&x, p.dim, lanes, stride);
    eval.pull_back_all(At::new(&t, samples), x, bar, LanesMut::new(&mut gx, p.dim, lanes, stride), &mut g);
    velocity.fold_gradient(&mut g);
    g.truncate(velocity.n_params());
    (rows(&gx, p.dim, lanes), g)
}

/// |J e|² of each sample, `[lanes]`, for directions `[n, d]`.
fn along(velocity: &dyn Velocity<f64>, p: &Points<f64>, samples: &[usize], e: &[f64]) -> Vec<f64> {
    tangent(velocity, p, samples, e).chunks(p.dim).map(|row| row.iter().map(|y| y * y).sum()).collect()
}

#[test]
fn squares_are_those_of_the_value_and_of_its_tangents() {
    for (name, theta, with) in every_velocity::<f64>() {
        let velocity = with(&theta);
        let p = Points::new(&*velocity, 5);
        let samples = [3, 0, 4, 1, 2];
        let unit = |i: usize| (0..5 * p.dim).map(|k| f64::from(k % p.dim == i)).collect::<Vec<_>>();
        let random = |k: usize, noise| -> Vec<f64> {
            p.keys.iter().flat_map(|&key| (0..p.dim).map(move |i| probe(key, k, i, noise))).collect()
        };
        // What is known of a Gaussian's velocity takes no probe: with normal probes, eᵀe is not d.
        let known = name.starts_with(PRECONDITIONED);
        let probed = |trace: &Trace| matches!(trace, Trace::Hutchinson { noise: Noise::Gaussian, .. });
        for trace in TRACES.into_iter().filter(|trace| !(known && probed(trace))) {
            let directions: Vec<Vec<f64>> = match trace {
                Trace::Hutchinson { probes, noise } => (0..probes).map(|k| random(k, noise)).collect(),
                // A closed form in many dimensions: the lone probe.
                Trace::Exact if p.dim > 16 && velocity.grad_len() > velocity.n_params() => {
                    vec![random(0, Noise::Rademacher)]
                }
                Trace::Exact => (0..p.dim).map(unit).collect(),
                Trace::Lattice { .. } => panic!("not among the traces of every velocity"),
            };
            let mean = if let Trace::Hutchinson { probes, .. } = trace { 1.0 / probes as f64 } else { 1.0 };
            let mut norm = [0.0; 5];
            for e in &directions {
                norm.iter_mut().zip(along(&*velocity, &p, &samples, e)).for_each(|(n, s)| *n += mean * s);
            }
            let found = all(&*velocity, &p, trace, &samples);
            for (l, norm) in norm.into_iter().enumerate() {
                let speed: f64 = found.v[l * p.dim..][..p.dim].iter().map(|v| v * v).sum();
                // Sums of some tens of terms, in another order.
                assert!(
                    (found.kinetic[l] - speed).abs() <= 1e-13 * speed,
                    "{name}: |m|² {} or {speed}",
                    found.kinetic[l]
                );
                let off = (found.jacobian[l] - norm).abs();
                assert!(off <= 1e-12 * norm, "{name} {trace:?}: ‖J‖² {} or {}", found.jacobian[l], norm);
            }
        }
    }
}

#[test]
fn squares_leave_value_and_divergence_as_they_are_and_lanes_to_themselves() {
    fn check<T: Number>() {
        for (name, theta, with) in every_velocity::<T>() {
            let velocity = with(&theta);
            let p = Points::new(&*velocity, 40);
            for trace in TRACES {
                let alone: Vec<All<T>> = (0..40).map(|s| all(&*velocity, &p, trace, &[s])).collect();
                for lanes in [1, 7, 16, 17, 40] {
                    let samples: Vec<usize> = (0..lanes).map(|l| 39 - l).collect();
                    let found = all(&*velocity, &p, trace, &samples);
                    let (v, div) = both(&*velocity, &p, trace, &samples);
                    assert_eq!((bits(&found.v), bits(&found.div)), (bits(&v), bits(&div)), "{name} {trace:?}");
                    for (l, &s) in samples.iter().enumerate() {
                        let here = [found.kinetic[l], found.jacobian[l]];
                        let there = [alone[s].kinetic[0], alone[s].jacobian[0]];
                        assert_eq!(bits(&here), bits(&there), "{name} {trace:?}: {lanes} lanes");
                    }
                }
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn the_pull_back_is_the_gradient_of_any_combination() {
    let samples = [2, 0, 1];
    for (name, theta, with) in every_velocity::<f64>() {
        let velocity = with(&theta);
        let mut p = Points::new(&*velocity, 3);
        for trace in TRACES {
            let traces = velocity.evaluator(p.batch(trace, 1)).traces();
            for (v, div, kinetic, jacobian) in [
                (true, true, true, true),
                (false, false, false, true),
                (false, false, true, false),
                (false, true, false, true),
                (true, false, true, false),
            ] {
                let some = |wanted: bool, n: usize, seed: u64| wanted.then(|| numbers::<f64>(n, seed));
                let bars = Bars {
                    v: some(v, 3 * p.dim, 8),
                    div: some(div, 3 * traces, 9),
                    kinetic: some(kinetic, 3, 10),
                    jacobian: some(jacobian, 3, 11),
                };
                let (gx, g) = pull_back(&*velocity, &p, trace, &samples, &bars);
                let loss = |velocity: &dyn Velocity<f64>, p: &Points<f64>| -> f64 {
                    let found = all(velocity, p, trace, &[0, 1, 2]);
                    let pairs = [
                        (&found.v, &bars.v),
                        (&found.div, &bars.div),
                        (&found.kinetic, &bars.kinetic),
                        (&found.jacobian, &bars.jacobian),
                    ];
                    let against = |(a, b): (&Vec<f64>, &Option<Vec<f64>>)| -> f64 {
                        b.iter().flat_map(|b| a.iter().zip(b)).map(|(a, b)| a * b).sum()
                    };
                    pairs.into_iter().map(against).sum()
                };
                let size = loss(&*velocity, &p).abs().max(1.0);
                let what = format!("{name} {trace:?} {v} {div} {kinetic} {jacobian}");
                let check = |gradient: f64, up: f64, down: f64, entry: String| {
                    // Round-off of the loss, 1e-15 / h, and h² times its third derivative, which is of the gradient's
                    // order.
                    let difference = (up - down) / 2e-5;
                    let tolerance = 2e-9 * (gradient.abs() + 10.0 * size);
                    assert!((gradient - difference).abs() < tolerance, "{what}: {entry}: {gradient} or {difference}");
                };
                // Every entry of a small θ, some of a large one; a prime step meets every row and column of a weight.
                for k in (0..theta.len()).step_by(if theta.len() > 200 { 7 } else { 1 }) {
                    let moved = |by: f64| {
                        let mut other = theta.clone();
                        other[k] += by;
                        loss(&*with(&other), &p)
                    };
                    check(g[k], moved(1e-5), moved(-1e-5), format!("θ[{k}]"));
                }
                for (l, &s) in samples.iter().enumerate() {
                    for i in 0..p.dim {
                        let k = s * p.dim + i;
                        let start = p.x[k];
                        let mut moved = |by: f64| {
                            p.x[k] = start + by;
                            loss(&*velocity, &p)
                        };
                        let (up, down) = (moved(1e-5), moved(-1e-5));
                        p.x[k] = start;
                        check(gx[l * p.dim + i], up, down, format!("x[{k}]"));
                    }
                }
            }
        }
    }
}

#[test]
fn the_portable_path_gives_the_same_bits() {
    fn check<T: cnflow::velocity::Scalar>(spec: &MlpSpec) {
        let theta: Vec<T> =
            spec.init(&mut cnflow::rng::stream(7, 0)).into_iter().map(|w| T::of(2.0 * f64::from(w))).collect();
        let fast = Mlp::new(spec, &theta).unwrap();
        let plain = Mlp::new(spec, &theta).unwrap().portable();
        let p = Points::new(&fast, 19);
        let samples: Vec<usize> = (0..19).collect();
        for trace in TRACES {
            let traces = fast.evaluator(p.batch(trace, 1)).traces();
            let bars = Bars {
                v: Some(numbers::<T>(19 * spec.dim, 8)),
                div: Some(numbers::<T>(19 * traces, 9)),
                kinetic: Some(numbers::<T>(19, 10)),
                jacobian: Some(numbers::<T>(19, 11)),
            };
            let run = |m: &Mlp<T>| {
                let found = all(m, &p, trace, &samples);
                let (gx, g) = pull_back(m, &p, trace, &samples, &bars);
                [found.kinetic, found.jacobian, gx, g].map(|numbers| bits(&numbers))
            };
            assert_eq!(run(&fast), run(&plain), "{spec:?} {trace:?}");
        }
    }
    for spec in every_mlp() {
        check::<f32>(&spec);
        check::<f64>(&spec);
    }
}
