//! Nets and points to try the laws on, the contract's calls on rows, and the plain reference.

use candle_core::{Device, Tensor, WithDType};
use cnflow::rng;
use cnflow::velocity::layers::{Layer, LayerNet, LayerNetSpec};
use cnflow::velocity::{Activation, Batch, Noise, Trace, Velocity};
use cnflow_solvers::lanes::stride_for;
use cnflow_solvers::{At, Lanes, LanesMut, Real};
use rand::Rng as _;

pub const TRACES: [Trace; 4] = [
    Trace::Exact,
    Trace::Hutchinson { probes: 1, noise: Noise::Rademacher },
    Trace::Hutchinson { probes: 3, noise: Noise::Rademacher },
    Trace::Hutchinson { probes: 3, noise: Noise::Gaussian },
];

/// Every kind of layer with every activation, with and without a condition; a mixture, and a net of one layer.
pub fn every_spec() -> Vec<LayerNetSpec> {
    let kinds: [fn(usize, usize) -> Layer; 3] = [
        |inputs, outputs| Layer::Linear { inputs, outputs },
        |inputs, outputs| Layer::ConcatLinear { inputs, outputs },
        |inputs, outputs| Layer::ConcatSquash { inputs, outputs },
    ];
    let mut specs = vec![];
    for condition_dim in [0, 2] {
        for kind in kinds {
            for squash in Activation::ALL {
                specs.push(LayerNetSpec::stacked(kind, 3, condition_dim, &[5, 4], squash));
            }
            specs.push(LayerNetSpec::stacked(kind, 2, condition_dim, &[], Activation::Tanh));
        }
        specs.push(LayerNetSpec {
            dim: 2,
            condition_dim,
            layers: vec![
                Layer::Activation(Activation::Silu),
                Layer::ConcatSquash { inputs: 2 + condition_dim, outputs: 5 },
                Layer::Activation(Activation::Elu),
                Layer::Linear { inputs: 5, outputs: 4 },
                Layer::Activation(Activation::Softplus),
                Layer::ConcatLinear { inputs: 4, outputs: 2 },
            ],
        });
    }
    specs
}

/// A net, and points for it: everything in f64, rounded when the tiles are of f32.
pub struct Case {
    pub spec: LayerNetSpec,
    pub theta: Vec<f64>,
    pub x: Vec<f64>,
    pub t: Vec<f64>,
    pub condition: Vec<f64>,
    pub keys: Vec<u64>,
}

impl Case {
    pub fn new(spec: LayerNetSpec, n: usize, seed: u64) -> Self {
        let mut rng = rng::stream(seed, 0);
        // Twice the usual weights: far enough from a linear map.
        let theta = spec.init(&mut rng).into_iter().map(|w| 2.0 * f64::from(w)).collect();
        let mut draw = |count: usize| (0..count).map(|_| rng.random_range(-2.0..2.0)).collect::<Vec<f64>>();
        let (x, condition) = (draw(n * spec.dim), draw(n * spec.condition_dim));
        let t = draw(n).iter().map(|t| t / 4.0 + 0.5).collect();
        Self { spec, theta, x, t, condition, keys: (0..n as u64).map(|i| 7 * i + seed).collect() }
    }

    pub fn net<T: WithDType + Real>(&self) -> LayerNet {
        let theta: Vec<T> = self.theta.iter().map(|&w| T::of(w)).collect();
        LayerNet::new(self.spec.clone(), Tensor::new(theta, &Device::Cpu).unwrap()).unwrap()
    }

    pub fn condition_of(&self, row: usize) -> &[f64] {
        &self.condition[row * self.spec.condition_dim..(row + 1) * self.spec.condition_dim]
    }
}

/// Rows `[n, k]` as a tile whose unused slots hold NaN.
pub fn tile<T: Real>(rows: &[f64], k: usize, samples: &[usize]) -> Vec<T> {
    let stride = stride_for(samples.len());
    let mut data = vec![T::of(f64::NAN); k * stride];
    for (l, &sample) in samples.iter().enumerate() {
        for i in 0..k {
            data[i * stride + l] = T::of(rows[sample * k + i]);
        }
    }
    data
}

pub fn view<T: Real>(data: &[T], k: usize, n: usize) -> Lanes<'_, T> {
    Lanes::new(data, k, n, stride_for(n))
}

/// The columns of a tile as rows.
pub fn rows_of<T: Real>(data: &[T], k: usize, n: usize) -> Vec<f64> {
    let view = view(data, k, n);
    (0..n).flat_map(|l| (0..k).map(move |i| view.row(i)[l].to_f64())).collect()
}

/// Value and divergences of the chosen samples, as rows, by the contract.
pub fn evaluate<T: Real + WithDType>(
    case: &Case,
    net: &LayerNet,
    trace: Trace,
    samples: &[usize],
) -> (Vec<f64>, Vec<f64>) {
    let (d, n, condition) = (case.spec.dim, samples.len(), condition::<T>(case));
    let mut evaluator = net.evaluator(Batch { condition: &condition, keys: &case.keys, trace, lanes: n });
    let t: Vec<f64> = samples.iter().map(|&s| case.t[s]).collect();
    let (at, x, traces) = (At::new(&t, samples), tile::<T>(&case.x, d, samples), evaluator.traces());
    let (mut v, mut div) = (vec![T::of(f64::NAN); x.len()], vec![T::of(f64::NAN); traces * stride_for(n)]);
    evaluator.value_and_divergence(
        at,
        view(&x, d, n),
        LanesMut::new(&mut v, d, n, stride_for(n)),
        LanesMut::new(&mut div, traces, n, stride_for(n)),
    );
    (rows_of(&v, d, n), rows_of(&div, traces, n))
}

pub fn condition<T: Real>(case: &Case) -> Vec<T> {
    case.condition.iter().map(|&c| T::of(c)).collect()
}

/// ∂L/∂x as rows and ∂L/∂θ, of L = Σ v·v̄ + Σ div·τ.
pub fn pull_back<T: Real + WithDType>(
    case: &Case,
    trace: Trace,
    samples: &[usize],
    v_bar: Option<&[f64]>,
    div_bar: Option<&[f64]>,
) -> (Vec<f64>, Vec<f64>) {
    let (net, condition) = (case.net::<T>(), condition::<T>(case));
    let (d, n) = (case.spec.dim, samples.len());
    let mut evaluator = net.evaluator(Batch { condition: &condition, keys: &case.keys, trace, lanes: n });
    let t: Vec<f64> = samples.iter().map(|&s| case.t[s]).collect();
    let traces = evaluator.traces();
    let x = tile::<T>(&case.x, d, samples);
    let (v_bar, div_bar) = (v_bar.map(|b| tile::<T>(b, d, samples)), div_bar.map(|b| tile::<T>(b, traces, samples)));
    let (mut gx, mut g) = (vec![T::of(f64::NAN); x.len()], vec![T::ZERO; evaluator.grad_len()]);
    evaluator.pull_back(
        At::new(&t, samples),
        view(&x, d, n),
        v_bar.as_deref().map(|b| view(b, d, n)),
        div_bar.as_deref().map(|b| view(b, traces, n)),
        LanesMut::new(&mut gx, d, n, stride_for(n)),
        &mut g,
    );
    (rows_of(&gx, d, n), g.iter().map(|g| Real::to_f64(*g)).collect())
}

/// m_θ(x, t) of one point, loop by loop.
pub fn reference(spec: &LayerNetSpec, theta: &[f64], x: &[f64], t: f64, condition: &[f64]) -> Vec<f64> {
    let sigmoid = |a: f64| 1.0 / (1.0 + (-a).exp());
    let affine = |w: &[f64], b: &[f64], h: &[f64]| -> Vec<f64> {
        let dot = |row: &[f64]| row.iter().zip(h).map(|(w, h)| w * h).sum::<f64>();
        w.chunks(h.len()).zip(b).map(|(row, b)| dot(row) + b).collect()
    };
    let mut h = [x, condition].concat();
    let mut rest = theta;
    let mut take = |count: usize| {
        let (now, after) = rest.split_at(count);
        rest = after;
        now
    };
    for layer in &spec.layers {
        h = match *layer {
            Layer::Linear { inputs, outputs } => affine(take(inputs * outputs), take(outputs), &h),
            Layer::ConcatLinear { inputs, outputs } => {
                h.push(t);
                affine(take((inputs + 1) * outputs), take(outputs), &h)
            }
            Layer::ConcatSquash { inputs, outputs } => {
                let a = affine(take(inputs * outputs), take(outputs), &h);
                let (gate, gate_bias, shift) = (take(outputs), take(outputs), take(outputs));
                (0..outputs).map(|i| a[i] * sigmoid(gate[i] * t + gate_bias[i]) + shift[i] * t).collect()
            }
            Layer::Activation(squash) => h
                .iter()
                .map(|&a| match squash {
                    Activation::Tanh => a.tanh(),
                    Activation::Softplus => a.max(0.0) + (-a.abs()).exp().ln_1p(),
                    Activation::Silu => a * sigmoid(a),
                    Activation::Elu => a.max(a.min(0.0).exp_m1()),
                    Activation::Relu => a.max(0.0),
                })
                .collect(),
        };
    }
    h
}

/// The reference's dense Jacobian at one sample, `[d, d]`, by central differences.
pub fn jacobian(case: &Case, sample: usize) -> Vec<f64> {
    let d = case.spec.dim;
    // Truncation h² = 1e-10 times a third derivative, round-off 1e-16/h = 1e-11. A longer step would meet elu's kink.
    let h = 1e-5;
    let mut j = vec![0.0; d * d];
    for column in 0..d {
        let at = |step: f64| {
            let mut x = case.x[sample * d..(sample + 1) * d].to_vec();
            x[column] += step * h;
            reference(&case.spec, &case.theta, &x, case.t[sample], case.condition_of(sample))
        };
        for (row, (above, below)) in at(1.0).into_iter().zip(at(-1.0)).enumerate() {
            j[row * d + column] = (above - below) / (2.0 * h);
        }
    }
    j
}

#[track_caller]
pub fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f64, |m, e| m.max(e.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * scale, "{what}: entry {i} is {f}, expected {e}");
    }
}
