//! The laws of a velocity, over any member; the seeds of points, times, conditions and keys are fixed.

use cnflow::velocity::{Batch, GaussianPath, Noise, Path, PreconditionedSpec, Trace, Velocity, VelocitySpec};
use cnflow_solvers::lanes::{Lanes, LanesMut, stride_for};
use cnflow_solvers::{At, Real};

/// Numbers in [−1, 1], reproducible.
pub fn numbers<T: Real>(n: usize, seed: u64) -> Vec<T> {
    let word = |i: usize| cnflow::rng::mix(cnflow::rng::mix(seed) ^ i as u64);
    (0..n).map(|i| T::of((word(i) >> 11) as f64 / (1u64 << 52) as f64 - 1.0)).collect()
}

/// To compare bits: NaN equals itself, zeros of different sign differ.
pub fn bits<T: Real>(numbers: &[T]) -> Vec<u64> {
    numbers.iter().map(|x| x.to_f64().to_bits()).collect()
}

/// The traces that every velocity must offer.
pub const TRACES: [Trace; 3] = [
    Trace::Exact,
    Trace::Hutchinson { probes: 2, noise: Noise::Rademacher },
    Trace::Hutchinson { probes: 1, noise: Noise::Gaussian },
];

/// A net as the correction of a Gaussian's velocity.
pub fn around(path: Path, deviation: f64, net: VelocitySpec) -> VelocitySpec {
    VelocitySpec::Preconditioned(Box::new(PreconditionedSpec { gaussian: GaussianPath { path, deviation }, net }))
}

/// A batch of points with all that belongs to them.
pub struct Points<T> {
    pub n: usize,
    pub dim: usize,
    pub x: Vec<T>,
    pub t: Vec<f64>,
    pub condition: Vec<T>,
    pub keys: Vec<u64>,
}

impl<T: Real> Points<T> {
    pub fn new(velocity: &dyn Velocity<T>, n: usize) -> Self {
        let dim = velocity.dim();
        Self {
            n,
            dim,
            x: numbers(n * dim, 1).iter().map(|&x: &T| x * T::of(1.5)).collect(),
            t: numbers::<f64>(n, 2).iter().map(|t| 0.5 + 0.5 * t).collect(),
            condition: numbers(n * velocity.condition_dim(), 3),
            keys: (0..n as u64).map(cnflow::rng::mix).collect(),
        }
    }

    pub fn batch(&self, trace: Trace, lanes: usize) -> Batch<'_, T> {
        Batch { condition: &self.condition, keys: &self.keys, trace, lanes }
    }
}

/// `[n, d]` rows `samples` as a tile; the unused slots hold NaN, which must harm nothing.
pub fn tile<T: Real>(x: &[T], dim: usize, samples: &[usize]) -> Vec<T> {
    let stride = stride_for(samples.len());
    let mut tile = vec![T::of(f64::NAN); dim * stride];
    for (l, &sample) in samples.iter().enumerate() {
        (0..dim).for_each(|i| tile[i * stride + l] = x[sample * dim + i]);
    }
    tile
}

/// The inverse of [`tile`]: `[lanes, d]`.
pub fn rows<T: Real>(tile: &[T], dim: usize, lanes: usize) -> Vec<T> {
    let stride = stride_for(lanes);
    (0..lanes).flat_map(|l| (0..dim).map(move |i| tile[i * stride + l])).collect()
}

/// v `[lanes, d]` and div `[lanes, traces]` of the samples, in one call.
pub fn both<T: Real>(velocity: &dyn Velocity<T>, p: &Points<T>, trace: Trace, samples: &[usize]) -> (Vec<T>, Vec<T>) {
    let (lanes, stride) = (samples.len(), stride_for(samples.len()));
    let mut eval = velocity.evaluator(p.batch(trace, lanes));
    let t: Vec<f64> = samples.iter().map(|&s| p.t[s]).collect();
    let x = tile(&p.x, p.dim, samples);
    let (traces, mut v) = (eval.traces(), vec![T::ZERO; p.dim * stride]);
    let mut div = vec![T::ZERO; traces * stride];
    eval.value_and_divergence(
        At::new(&t, samples),
        Lanes::new(&x, p.dim, lanes, stride),
        LanesMut::new(&mut v, p.dim, lanes, stride),
        LanesMut::new(&mut div, traces, lanes, stride),
    );
    let mut alone = vec![T::ZERO; p.dim * stride];
    eval.value(
        At::new(&t, samples),
        Lanes::new(&x, p.dim, lanes, stride),
        LanesMut::new(&mut alone, p.dim, lanes, stride),
    );
    assert_eq!(bits(&rows(&alone, p.dim, lanes)), bits(&rows(&v, p.dim, lanes)), "the value alone");
    (rows(&v, p.dim, lanes), rows(&div, traces, lanes))
}

/// (∂m/∂x) dx for each sample, `[lanes, d]`; `dx` is `[n, d]`.
pub fn tangent<T: Real>(velocity: &dyn Velocity<T>, p: &Points<T>, samples: &[usize], dx: &[T]) -> Vec<T> {
    let (lanes, stride) = (samples.len(), stride_for(samples.len()));
    let mut eval = velocity.evaluator(p.batch(Trace::Exact, lanes));
    let t: Vec<f64> = samples.iter().map(|&s| p.t[s]).collect();
    let (x, dx) = (tile(&p.x, p.dim, samples), tile(dx, p.dim, samples));
    let mut dv = vec![T::ZERO; p.dim * stride];
    eval.tangent(
        At::new(&t, samples),
        Lanes::new(&x, p.dim, lanes, stride),
        Lanes::new(&dx, p.dim, lanes, stride),
        LanesMut::new(&mut dv, p.dim, lanes, stride),
    );
    rows(&dv, p.dim, lanes)
}

/// gx `[lanes, d]` and the folded gradient of θ; cotangents are `[n, d]` and `[n, traces]`.
pub fn pull_back<T: Real>(
    velocity: &dyn Velocity<T>,
    p: &Points<T>,
    trace: Trace,
    samples: &[usize],
    v_bar: Option<&[T]>,
    div_bar: Option<&[T]>,
) -> (Vec<T>, Vec<T>) {
    let (lanes, stride) = (samples.len(), stride_for(samples.len()));
    let mut eval = velocity.evaluator(p.batch(trace, lanes));
    let traces = eval.traces();
    let t: Vec<f64> = samples.iter().map(|&s| p.t[s]).collect();
    let x = tile(&p.x, p.dim, samples);
    let v_bar = v_bar.map(|a| tile(a, p.dim, samples));
    let div_bar = div_bar.map(|a| tile(a, traces, samples));
    let mut gx = vec![T::ZERO; p.dim * stride];
    let mut g = vec![T::ZERO; velocity.grad_len()];
    eval.pull_back(
        At::new(&t, samples),
        Lanes::new(&x, p.dim, lanes, stride),
        v_bar.as_ref().map(|a| Lanes::new(a, p.dim, lanes, stride)),
        div_bar.as_ref().map(|a| Lanes::new(a, traces, lanes, stride)),
        LanesMut::new(&mut gx, p.dim, lanes, stride),
        &mut g,
    );
    velocity.fold_gradient(&mut g);
    g.truncate(velocity.n_params());
    (rows(&gx, p.dim, lanes), g)
}

/// The tangent is the derivative of the value, and the exact divergence is the trace of tangents.
pub fn check_derivatives(name: &str, velocity: &dyn Velocity<f64>) {
    let mut p = Points::new(velocity, 5);
    let samples = [0, 1, 2, 3, 4];
    let (_, div) = both(velocity, &p, Trace::Exact, &samples);
    let mut trace = [0.0; 5];
    for i in 0..p.dim {
        let unit: Vec<f64> = (0..5 * p.dim).map(|k| f64::from(k % p.dim == i)).collect();
        let dv = tangent(velocity, &p, &samples, &unit);
        // Central differences: h² of truncation against 1e-16 / h of round-off.
        let h = 1e-5;
        let mut moved = |by: f64| {
            for l in 0..5 {
                p.x[l * p.dim + i] += by;
            }
            both(velocity, &p, Trace::Exact, &samples).0
        };
        let (up, down) = (moved(h), moved(-2.0 * h));
        moved(h);
        for k in 0..5 * p.dim {
            let difference = (up[k] - down[k]) / (2.0 * h);
            assert!((dv[k] - difference).abs() < 1e-8, "{name}: ∂v/∂x_{i}: {} or {difference}", dv[k]);
        }
        (0..5).for_each(|l| trace[l] += dv[l * p.dim + i]);
    }
    for l in 0..5 {
        assert!((trace[l] - div[l]).abs() < 1e-13, "{name}: div {} or {}", div[l], trace[l]);
    }
}

/// n samples at once are n times one, bit for bit, whatever their slots and number.
pub fn check_lanes<T: Real>(name: &str, velocity: &dyn Velocity<T>) {
    check_lanes_by(name, velocity, &TRACES);
}

/// As [`check_lanes`], by these traces.
pub fn check_lanes_by<T: Real>(name: &str, velocity: &dyn Velocity<T>, traces: &[Trace]) {
    let p = Points::new(velocity, 64);
    for &trace in traces {
        let alone: Vec<_> = (0..64).map(|s| both(velocity, &p, trace, &[s])).collect();
        for lanes in [1, 2, 7, 15, 16, 17, 33, 64] {
            // Backwards, so that no sample keeps its slot.
            let samples: Vec<usize> = (0..lanes).map(|l| 63 - l).collect();
            let (v, div) = both(velocity, &p, trace, &samples);
            for (l, &s) in samples.iter().enumerate() {
                let traces = div.len() / lanes;
                assert_eq!(bits(&v[l * p.dim..][..p.dim]), bits(&alone[s].0), "{name}: {lanes} lanes");
                assert_eq!(bits(&div[l * traces..][..traces]), bits(&alone[s].1), "{name}: {lanes} lanes");
            }
        }
    }
}

/// Makes the velocity of a θ.
pub type With<'a> = dyn Fn(&[f64]) -> Box<dyn Velocity<f64>> + 'a;

/// The pull-back of value and divergence is the derivative of their inner product with the cotangents.
///
/// `with` makes the velocity of another θ.
pub fn check_pull_back(name: &str, theta: &[f64], with: &With<'_>) {
    check_pull_back_by(name, theta, with, &TRACES);
}

/// As [`check_pull_back`], by these traces.
pub fn check_pull_back_by(name: &str, theta: &[f64], with: &With<'_>, traces: &[Trace]) {
    let velocity = with(theta);
    let mut p = Points::new(&*velocity, 3);
    let samples = [2, 0, 1];
    for &trace in traces {
        let traces = velocity.evaluator(p.batch(trace, 1)).traces();
        let (v_bar, div_bar) = (numbers::<f64>(3 * p.dim, 8), numbers::<f64>(3 * traces, 9));
        for (has_v, has_div) in [(true, true), (true, false), (false, true)] {
            let (v_some, div_some) = (has_v.then_some(&v_bar[..]), has_div.then_some(&div_bar[..]));
            let (gx, g) = pull_back(&*velocity, &p, trace, &samples, v_some, div_some);
            let loss = |velocity: &dyn Velocity<f64>, p: &Points<f64>| -> f64 {
                let (v, div) = both(velocity, p, trace, &[0, 1, 2]);
                let v: f64 = if has_v { v.iter().zip(&v_bar).map(|(a, b)| a * b).sum() } else { 0.0 };
                let div: f64 = if has_div { div.iter().zip(&div_bar).map(|(a, b)| a * b).sum() } else { 0.0 };
                v + div
            };
            let h = 1e-5;
            // Values of order 10: 1e-15 / h of round-off, h² times third derivatives of order 100 of truncation.
            let tolerance = 2e-8;
            for k in 0..theta.len() {
                let mut other = theta.to_vec();
                other[k] += h;
                let up = loss(&*with(&other), &p);
                other[k] -= 2.0 * h;
                let difference = (up - loss(&*with(&other), &p)) / (2.0 * h);
                let error = (g[k] - difference).abs();
                assert!(error < tolerance, "{name} {trace:?} {has_v} {has_div}: θ[{k}]: {} or {difference}", g[k]);
            }
            for (l, &s) in samples.iter().enumerate() {
                for i in 0..p.dim {
                    let k = s * p.dim + i;
                    p.x[k] += h;
                    let up = loss(&*velocity, &p);
                    p.x[k] -= 2.0 * h;
                    let difference = (up - loss(&*velocity, &p)) / (2.0 * h);
                    p.x[k] += h;
                    let error = (gx[l * p.dim + i] - difference).abs();
                    assert!(error < tolerance, "{name} {trace:?} {has_v} {has_div}: x[{k}]: {difference}");
                }
            }
        }
    }
}
