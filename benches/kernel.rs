//! The fused MLP kernel: 3→64→64→64→2 tanh in tiles of 64 lanes, f32, beside the machine's own peak.
//!
//! One table of CPU time for each net: medians of many short runs, in ns a sample, GFLOP/s and percent of a loop of
//! nothing but fused multiply-adds.

mod measure;

use cnflow::velocity::{Activation, Batch, Evaluator, Mlp, MlpSpec, TimeInput, Trace, Velocity};
use cnflow_solvers::At;
use cnflow_solvers::lanes::{Lanes, LanesMut};
use measure::peak;

const LANES: usize = 64;

#[derive(Clone, Copy)]
enum Work {
    Value,
    Divergence,
    PullBack,
    PullBackBoth,
}

const WORKS: [(Work, &str); 4] = [
    (Work::Value, "value"),
    (Work::Divergence, "value and divergence"),
    (Work::PullBack, "pull-back of the value"),
    (Work::PullBackBoth, "pull-back of both"),
];

struct Tile<T> {
    spec: MlpSpec,
    t: Vec<f64>,
    samples: Vec<usize>,
    x: Vec<T>,
    v: Vec<T>,
    bar: Vec<T>,
    div: Vec<T>,
    g: Vec<T>,
}

impl<T: cnflow::velocity::Scalar> Tile<T> {
    fn new(dim: usize, hidden: &[usize]) -> (Self, Mlp<T>) {
        let time = TimeInput::Plain;
        let spec = MlpSpec { dim, condition_dim: 0, hidden: hidden.to_vec(), activation: Activation::Tanh, time };
        let theta: Vec<T> = spec.init(&mut cnflow::rng::stream(1, 0)).iter().map(|&w| T::of(f64::from(w))).collect();
        let mlp = Mlp::new(&spec, &theta).expect("the θ is the spec's own");
        let tile = Self {
            t: vec![0.3; LANES],
            samples: (0..LANES).collect(),
            x: (0..dim * LANES).map(|i| T::of((i as f64).sin())).collect(),
            v: vec![T::ZERO; dim * LANES],
            bar: vec![T::ONE; dim * LANES],
            div: vec![T::ONE; LANES],
            g: vec![T::ZERO; mlp.grad_len()],
            spec,
        };
        (tile, mlp)
    }

    fn run(&mut self, eval: &mut dyn Evaluator<T>, work: Work) {
        let d = self.spec.dim;
        let (at, x) = (At::new(&self.t, &self.samples), Lanes::new(&self.x, d, LANES, LANES));
        let v = LanesMut::new(&mut self.v, d, LANES, LANES);
        match work {
            Work::Value => eval.value(at, x, v),
            Work::Divergence => eval.value_and_divergence(at, x, v, LanesMut::new(&mut self.div, 1, LANES, LANES)),
            Work::PullBack | Work::PullBackBoth => {
                let v_bar = Lanes::new(&self.bar, d, LANES, LANES);
                let div_bar = matches!(work, Work::PullBackBoth).then(|| Lanes::new(&self.div, 1, LANES, LANES));
                eval.pull_back(at, x, Some(v_bar), div_bar, v, &mut self.g);
            }
        }
    }

    /// Floating point operations of the products, a sample.
    fn flops(&self, work: Work) -> f64 {
        let sizes = self.spec.layer_sizes();
        let layer = |l: usize| 2.0 * (sizes[l] * sizes[l + 1]) as f64;
        let (last, d) = (sizes.len() - 2, self.spec.dim as f64);
        let value: f64 = (0..=last).map(layer).sum();
        let middle: f64 = (1..last).map(layer).sum();
        // A tangent: scaled columns, the middle products, and one row of the last weight.
        let tangents = if last >= 3 { d * middle + layer(last) } else { middle };
        match work {
            Work::Value => value,
            Work::Divergence => value + tangents,
            // Up to the last hidden layer, Wᵀ and outer products each once.
            Work::PullBack => 3.0 * value - layer(last),
            Work::PullBackBoth => 3.0 * (value + tangents) - layer(last),
        }
    }
}

/// As [`measure::median`], over runs of 50 ms: the system counts in ticks of some ms.
fn median(f: impl FnMut()) -> f64 {
    measure::median(5e-2, f)
}

fn table<T: cnflow::velocity::Scalar>(name: &str, dim: usize, hidden: &[usize], peak: f64) {
    println!("{name}");
    for (work, what) in WORKS {
        let (mut tile, mlp) = Tile::<T>::new(dim, hidden);
        let batch = Batch { condition: &[], keys: &[], trace: Trace::Exact, lanes: LANES };
        let mut eval = mlp.evaluator(batch);
        let seconds = median(|| tile.run(&mut *eval, work)) / LANES as f64;
        let speed = tile.flops(work) / seconds * 1e-9;
        println!(
            "  {what:<24} {:8.1} ns a sample {speed:7.1} GFLOP/s {:5.0} % of peak",
            seconds * 1e9,
            100.0 * speed / peak
        );
    }
}

fn main() {
    let peak = peak();
    println!("fused multiply-adds: {peak:.1} GFLOP/s");
    table::<f32>("3-64-64-64-2 tanh, f32", 2, &[64, 64, 64], peak);
    table::<f32>("44-128-128-43 tanh, f32", 43, &[128, 128], peak);
    table::<f64>("3-64-64-64-2 tanh, f64", 2, &[64, 64, 64], peak / 2.0);
}
