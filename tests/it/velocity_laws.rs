//! The laws of the fused MLP velocity, over depths, activations, ways of time, with and without a condition.

use crate::common::velocity as laws;
use std::fs;

use crate::common::velocity::{Points, TRACES, bits, both, numbers, pull_back};
use cnflow::velocity::{Activation, Mlp, MlpSpec, TimeInput, Trace, Velocity};
use cnflow_kernels::{Keep, Net, NetSpec};
use cnflow_solvers::Real;
use cnflow_solvers::lanes::{Lanes, LanesMut, stride_for};
use safetensors::SafeTensors;

const TIMES: [TimeInput; 3] = [TimeInput::Plain, TimeInput::Fourier { frequencies: 2 }, TimeInput::None];

/// Every depth from 0 to 4 with every activation; time and condition take turns.
fn every_spec() -> Vec<MlpSpec> {
    let widths = [5, 6, 3, 7];
    let mut specs = Vec::new();
    for depth in 0..=4 {
        for (k, activation) in Activation::ALL.into_iter().enumerate() {
            let (dim, condition_dim) = ([2, 3, 1][(depth + k) % 3], [0, 2][(depth + k) % 2]);
            let time = TIMES[(2 * depth + k) % 3];
            specs.push(MlpSpec { dim, condition_dim, hidden: widths[..depth].to_vec(), activation, time });
        }
    }
    specs
}

fn theta<T: Real>(spec: &MlpSpec) -> Vec<T> {
    spec.init(&mut cnflow::rng::stream(7, 0)).into_iter().map(|w| T::of(2.0 * f64::from(w))).collect()
}

fn mlp<T: cnflow::velocity::Scalar>(spec: &MlpSpec) -> Mlp<T> {
    Mlp::new(spec, &theta::<T>(spec)).unwrap()
}

/// As [`both`], to compare bits.
fn both_bits<T: Real>(m: &dyn Velocity<T>, p: &Points<T>, trace: Trace, samples: &[usize]) -> (Vec<u64>, Vec<u64>) {
    let (v, div) = both(m, p, trace, samples);
    (bits(&v), bits(&div))
}

/// The plainest MLP there is: loops and the library's functions.
fn reference(spec: &MlpSpec, theta: &[f64], x: &[f64], condition: &[f64], t: f64) -> Vec<f64> {
    let mut h = [x, condition].concat();
    match spec.time {
        TimeInput::None => {}
        TimeInput::Plain => h.push(t),
        TimeInput::Fourier { frequencies } => {
            h.push(t);
            for k in 1..=frequencies {
                let angle = std::f64::consts::TAU * k as f64 * t;
                h.extend([angle.sin(), angle.cos()]);
            }
        }
    }
    let sizes = spec.layer_sizes();
    let mut at = 0;
    for (l, pair) in sizes.windows(2).enumerate() {
        let (weight, bias) = theta[at..].split_at(pair[0] * pair[1]);
        at += (pair[0] + 1) * pair[1];
        h = (0..pair[1])
            .map(|o| bias[o] + weight[o * pair[0]..][..pair[0]].iter().zip(&h).map(|(w, h)| w * h).sum::<f64>())
            .collect();
        if l + 2 < sizes.len() {
            h.iter_mut().for_each(|a| *a = sigma(spec.activation, *a));
        }
    }
    h
}

fn sigma(activation: Activation, a: f64) -> f64 {
    match activation {
        Activation::Tanh => a.tanh(),
        Activation::Softplus => a.max(0.0) + (-a.abs()).exp().ln_1p(),
        Activation::Silu => a / (1.0 + (-a).exp()),
        Activation::Elu => {
            if a > 0.0 {
                a
            } else {
                a.exp_m1()
            }
        }
        Activation::Relu => a.max(0.0),
    }
}

#[test]
fn values_are_those_of_the_plainest_net() {
    for spec in every_spec() {
        let (f64s, f32s) = (mlp::<f64>(&spec), mlp::<f32>(&spec));
        let (p, narrow) = (Points::new(&f64s, 9), Points::new(&f32s, 9));
        let samples: Vec<usize> = (0..9).collect();
        let (v, _) = both(&f64s, &p, Trace::Exact, &samples);
        let (v32, _) = both(&f32s, &narrow, Trace::Exact, &samples);
        for (l, &t) in p.t.iter().enumerate() {
            let condition = &p.condition[l * spec.condition_dim..][..spec.condition_dim];
            let plain = reference(&spec, &theta::<f64>(&spec), &p.x[l * spec.dim..][..spec.dim], condition, t);
            for (i, plain) in plain.into_iter().enumerate() {
                // Round-off of some tens of operations on numbers of order 3.
                let k = l * spec.dim + i;
                assert!((v[k] - plain).abs() < 1e-14, "{spec:?}: {} or {plain}", v[k]);
                assert!((f64::from(v32[k]) - plain).abs() < 5e-6, "{spec:?}: {} or {plain}", v32[k]);
            }
        }
    }
}

#[test]
fn tangent_and_divergence_are_derivatives_of_the_value() {
    for spec in every_spec() {
        laws::check_derivatives(&format!("{spec:?}"), &mlp::<f64>(&spec));
    }
}

#[test]
fn the_joint_pull_back_is_the_gradient_of_value_and_divergence() {
    for spec in every_spec() {
        let with = |theta: &[f64]| Box::new(Mlp::new(&spec, theta).unwrap()) as Box<dyn Velocity<f64>>;
        laws::check_pull_back(&format!("{spec:?}"), &theta::<f64>(&spec), &with);
    }
}

/// What a velocity gives, of the net as a plain list of operations: v, div, and the pull-back of both by x and θ.
fn as_a_list(spec: &MlpSpec, p: &Points<f64>, v_bar: &[f64], div_bar: &[f64]) -> [Vec<f64>; 4] {
    let (n, d, inputs, stride) = (p.n, spec.dim, spec.input_dim(), stride_for(p.n));
    let net = Net::<f64>::new(&NetSpec::mlp(&spec.layer_sizes(), spec.activation, d), &theta(spec)).unwrap();
    let mut x = vec![0.0; inputs * stride];
    for l in 0..n {
        let condition = &p.condition[l * spec.condition_dim..][..spec.condition_dim];
        let time: Vec<f64> = match spec.time {
            TimeInput::None => vec![],
            TimeInput::Plain => vec![p.t[l]],
            TimeInput::Fourier { frequencies } => {
                let angles = (1..=frequencies).map(|k| std::f64::consts::TAU * k as f64 * p.t[l]);
                std::iter::once(p.t[l]).chain(angles.flat_map(|a| [a.sin(), a.cos()])).collect()
            }
        };
        let row = p.x[l * d..][..d].iter().chain(condition).chain(&time);
        row.enumerate().for_each(|(i, number)| x[i * stride + l] = *number);
    }
    let (mut v, mut div, mut g) = (vec![0.0; d * stride], vec![0.0; n], vec![0.0; spec.n_params()]);
    let mut evaluator = net.evaluator(n);
    let x = Lanes::new(&x, inputs, n, stride);
    evaluator.forward(x, LanesMut::new(&mut v, d, n, stride), Keep::Second);
    for j in 0..d {
        let (mut unit, mut bar) = (vec![0.0; d * stride], vec![0.0; d * stride]);
        unit[j * stride..][..n].fill(1.0);
        bar[j * stride..][..n].copy_from_slice(div_bar);
        let mut end = vec![0.0; d * stride];
        evaluator.tangent(Lanes::new(&unit, d, n, stride), LanesMut::new(&mut end, d, n, stride));
        (0..n).for_each(|l| div[l] += end[j * stride + l]);
        evaluator.pull_back_tangent(Lanes::new(&bar, d, n, stride), LanesMut::new(&mut end, d, n, stride), &mut g);
    }
    let (bar, mut gx) = (laws::tile(v_bar, d, &(0..n).collect::<Vec<_>>()), vec![0.0; d * stride]);
    evaluator.pull_back(Some(Lanes::new(&bar, d, n, stride)), LanesMut::new(&mut gx, d, n, stride), &mut g);
    [laws::rows(&v, d, n), div, laws::rows(&gx, d, n), g]
}

#[test]
fn the_closed_forms_are_those_of_the_list_of_operations() {
    for spec in every_spec() {
        let velocity = mlp::<f64>(&spec);
        let p = Points::new(&velocity, 21);
        let samples: Vec<usize> = (0..21).collect();
        let (v_bar, div_bar) = (numbers::<f64>(21 * spec.dim, 8), numbers::<f64>(21, 9));
        let (v, div) = both(&velocity, &p, Trace::Exact, &samples);
        let (gx, g) = pull_back(&velocity, &p, Trace::Exact, &samples, Some(&v_bar), Some(&div_bar));
        let [of_v, of_div, of_x, of_theta] = as_a_list(&spec, &p, &v_bar, &div_bar);
        assert_eq!(bits(&v), bits(&of_v), "{spec:?}");
        for (what, closed, list) in [("div", div, of_div), ("x̄", gx, of_x), ("θ̄", g, of_theta)] {
            for (k, (a, b)) in closed.iter().zip(&list).enumerate() {
                // Round-off of sums of 21 lanes of numbers of order 10.
                assert!((a - b).abs() < 1e-12, "{spec:?}: {what}[{k}] is {a} or {b}");
            }
        }
    }
}

#[test]
fn n_samples_are_n_times_one() {
    for spec in every_spec() {
        laws::check_lanes(&format!("{spec:?}"), &mlp::<f32>(&spec));
        laws::check_lanes(&format!("{spec:?}"), &mlp::<f64>(&spec));
    }
}

#[test]
fn the_portable_path_gives_the_same_bits() {
    fn check<T: cnflow::velocity::Scalar>(spec: &MlpSpec) {
        let (fast, plain) = (mlp::<T>(spec), mlp::<T>(spec).portable());
        let p = Points::new(&fast, 19);
        let samples: Vec<usize> = (0..19).collect();
        for trace in TRACES {
            let forth = |m: &Mlp<T>| both_bits(m, &p, trace, &samples);
            assert_eq!(forth(&fast), forth(&plain), "{spec:?}");
            let traces = fast.evaluator(p.batch(trace, 1)).traces();
            let (v_bar, div_bar) = (numbers::<T>(19 * spec.dim, 8), numbers::<T>(19 * traces, 9));
            let back = |m: &Mlp<T>| {
                let (gx, g) = pull_back(m, &p, trace, &samples, Some(&v_bar), Some(&div_bar));
                (bits(&gx), bits(&g))
            };
            assert_eq!(back(&fast), back(&plain), "{spec:?}");
        }
    }
    for spec in every_spec() {
        check::<f32>(&spec);
        check::<f64>(&spec);
    }
}

#[test]
fn a_lane_has_the_same_bits_alone_and_in_any_batch_at_every_width_and_dimension() {
    // The trace in closed form and by tangents, of which two go with the value and the others three at a time.
    fn check<T: cnflow::velocity::Scalar>(spec: &MlpSpec) {
        laws::check_lanes(&format!("{spec:?}"), &mlp::<T>(spec));
        laws::check_lanes(&format!("{spec:?}, portable"), &mlp::<T>(spec).portable());
    }
    let mut specs = Vec::new();
    for (k, width) in [1, 2, 7, 8, 16, 33, 64, 100].into_iter().enumerate() {
        for depth in 1..=3 {
            let (dim, condition_dim) = (1 + (k + depth) % 7, k % 3);
            let (activation, time) = (Activation::ALL[(k + depth) % 5], TIMES[(k + depth) % 3]);
            specs.push(MlpSpec { dim, condition_dim, hidden: vec![width; depth], activation, time });
        }
    }
    for spec in specs {
        check::<f32>(&spec);
        check::<f64>(&spec);
    }
}

#[test]
fn other_weights_in_place_are_as_good_as_new() {
    for spec in every_spec() {
        let other: Vec<f32> = spec.init(&mut cnflow::rng::stream(8, 0));
        let mut changed = mlp::<f32>(&spec);
        changed.set_theta(&other).unwrap();
        let fresh = Mlp::new(&spec, &other).unwrap();
        let p = Points::new(&fresh, 3);
        for trace in TRACES {
            assert_eq!(both_bits(&changed, &p, trace, &[0, 1, 2]), both_bits(&fresh, &p, trace, &[0, 1, 2]));
        }
        assert!(changed.set_theta(&other[1..]).is_err());
    }
}

#[test]
fn a_nan_stays_in_its_lane() {
    for spec in every_spec().into_iter().filter(|spec| !spec.hidden.is_empty()) {
        let velocity = mlp::<f32>(&spec);
        let mut p = Points::new(&velocity, 3);
        let clean = both_bits(&velocity, &p, Trace::Exact, &[0, 2]);
        p.x[spec.dim] = f32::NAN;
        let (v, div) = both(&velocity, &p, Trace::Exact, &[1]);
        assert!(v.iter().all(|v| v.is_nan()) && div[0].is_nan(), "{spec:?}");
        // Together with it, too: slot 1 of the three holds the NaN.
        assert_eq!(both_bits(&velocity, &p, Trace::Exact, &[0, 2]), clean);
        let (v, div) = both_bits(&velocity, &p, Trace::Exact, &[0, 1, 2]);
        let d = spec.dim;
        assert_eq!((&v[..d], &v[2 * d..], div[0], div[2]), (&clean.0[..d], &clean.0[d..], clean.1[0], clean.1[1]));
    }
}

#[test]
fn theta_is_laid_out_as_its_names_say() {
    for spec in every_spec() {
        let names = spec.tensor_names();
        assert_eq!(names.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>(), spec.n_params());
        assert_eq!(spec.init(&mut cnflow::rng::stream(1, 0)).len(), spec.n_params());
        let saved = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<MlpSpec>(&saved).unwrap(), spec);
    }
    let zero = MlpSpec { dim: 2, condition_dim: 0, hidden: vec![4, 0], activation: Activation::Silu, time: TIMES[0] };
    assert!(zero.validate().unwrap_err().to_string().contains("hidden layer 2"));
    assert!("gelu".parse::<Activation>().is_err());
}

fn npy(set: &str, name: &str) -> Vec<f64> {
    let path = format!("{}/tests/golden/{set}/{name}.npy", env!("CARGO_MANIFEST_DIR"));
    cnflow::io::read(path.as_ref()).unwrap().data
}

#[test]
fn golden_velocities_and_divergences_are_met() {
    // Source: torch-trained nets, evaluated in float64 by the script that tests/golden/*/README.txt describes.
    for (set, dim, hidden, activation) in
        [("8gaussians", 2, vec![64, 64, 64], Activation::Tanh), ("d43", 43, vec![128, 128], Activation::Softplus)]
    {
        let spec = MlpSpec { dim, condition_dim: 0, hidden, activation, time: TimeInput::Plain };
        let bytes = fs::read(format!("{}/tests/golden/{set}/model.safetensors", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let mut theta = Vec::new();
        for (name, shape) in spec.tensor_names() {
            let tensor = tensors.tensor(&name).unwrap();
            assert_eq!(tensor.shape(), shape);
            let numbers = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            theta.extend(numbers.map(f64::from));
        }
        let velocity = Mlp::new(&spec, &theta).unwrap();
        let p =
            Points { n: 500, dim, x: npy(set, "x"), t: npy(set, "eval_t"), condition: Vec::new(), keys: Vec::new() };
        let samples: Vec<usize> = (0..p.n).collect();
        let (v, div) = both(&velocity, &p, Trace::Exact, &samples);
        let worst = |a: &[f64], b: &[f64]| {
            a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, e| if e > m || e.is_nan() { e } else { m })
        };
        let (of_v, of_div) = (worst(&v, &npy(set, "eval_v")), worst(&div, &npy(set, "eval_div")));
        // The references agree with each other to 1.3e-15 and 1.1e-15.
        assert!(of_v < 1e-12 && of_div < 1e-11, "{set}: {of_v:.1e}, {of_div:.1e}");
        println!("{set}: v to {of_v:.1e}, div to {of_div:.1e}");
    }
}
