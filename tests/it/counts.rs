//! What the works of the benches cost in counts, which no machine and no load changes: evaluations, traces and the
//! operations of their products as they are listed in `counts.txt`, and no more allocations than there.
//!
//! `CNF_COUNTS=bless cargo test --release --test it counts` writes the list anew: a change is then seen in its diff, and has
//! to be argued like one of a result.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cnflow::continuous::{Continuous, SolverSpec};
use cnflow::discrete::{Discrete, Kind, Plan};
use cnflow::io;
use cnflow::model::{Architecture, Flow};
use cnflow::rng::stream;
use cnflow::rows::toys;
use cnflow::train::{AdamW, Batch, Criterion, LossContext, StepSize};
use cnflow::transform::{Cost, StandardNormal};
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};

use crate::common::allocations::allocations;

fn list() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/counts.txt")
}

/// A net, its weights, and rows of its data.
struct Net {
    name: &'static str,
    spec: MlpSpec,
    theta: Vec<f64>,
    x: Vec<f64>,
}

impl Net {
    /// The golden nets.
    fn all() -> Vec<Self> {
        [("8gaussians", Activation::Tanh), ("d43", Activation::Softplus)]
            .map(|(name, activation)| {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
                let net = io::torch::read_sequential(&folder.join("model.safetensors")).unwrap();
                let x = io::read(&folder.join("x.npy")).unwrap();
                let hidden = net.sizes[1..net.sizes.len() - 1].to_vec();
                let spec = MlpSpec { dim: x.cols, condition_dim: 0, hidden, activation, time: TimeInput::Plain };
                let rows = x.rows.min(if x.cols > 8 { 32 } else { 256 });
                let theta = net.theta().iter().map(|w| f64::from(*w)).collect();
                Self { name, spec, theta, x: x.data[..rows * x.cols].to_vec() }
            })
            .into()
    }

    fn velocity(&self) -> VelocitySpec {
        VelocitySpec::Mlp(self.spec.clone())
    }

    fn flow(&self, precision: Precision, solver: SolverSpec) -> Flow<Continuous> {
        Flow::new(Continuous::new(&self.velocity(), &self.theta, solver, precision).unwrap())
    }

    /// Operations of the products of a value, and of a value with its exact divergence: d tangents, each the middle
    /// products, and one row of the last.
    fn operations(&self) -> (u64, u64) {
        let layers: Vec<u64> = self.spec.layer_sizes().windows(2).map(|pair| 2 * (pair[0] * pair[1]) as u64).collect();
        let (value, middle) = (layers.iter().sum::<u64>(), layers[1..layers.len() - 1].iter().sum::<u64>());
        (value, value + self.spec.dim as u64 * middle + layers[layers.len() - 1])
    }

    fn cost(&self, cost: &Cost) -> String {
        let sum = |counts: &[u32]| counts.iter().map(|n| u64::from(*n)).sum::<u64>();
        let (nfe, traces, (value, traced)) = (sum(&cost.nfe), sum(&cost.traces), self.operations());
        format!("NFE {nfe}, traces {traces}, operations {}", nfe * value + traces * traced)
    }
}

/// The lines of the list: what was done, its counts, and its allocations behind a bar.
fn counted() -> String {
    let mut lines = String::new();
    let mut line = |what: String, counts: String, allocations: u64| {
        writeln!(lines, "{what}: {counts} | {allocations} allocations").unwrap();
    };
    let solver =
        |method: &str, tol: f64| SolverSpec { method: method.into(), rtol: tol, atol: tol, ..SolverSpec::default() };
    for net in Net::all() {
        let n = net.x.len() / net.spec.dim;
        let z = StandardNormal::new(net.spec.dim).draw(n, &mut stream(21, 0));
        for (method, tol) in [("dopri5", 1e-5), ("tsit5", 1e-5), ("vern7", 1e-6)] {
            for precision in [Precision::F32, Precision::F64] {
                let flow = net.flow(precision, solver(method, tol));
                let what = |way: &str| format!("{}, {n} rows {way}, {method} at {tol:e}, {precision:?}", net.name);
                let before = allocations();
                let there = flow.encode(&net.x, &[]).unwrap();
                line(what("scored"), net.cost(&there.cost), allocations() - before);
                let before = allocations();
                let back = flow.decode(&z, &[]).unwrap();
                line(what("sampled"), net.cost(&back.cost), allocations() - before);
            }
        }
        let context = LossContext::new(net.velocity(), solver("dopri5", 1e-5));
        let mut step = |what: &str, criterion: Criterion, batch: &Batch| {
            let (mut theta, mut optimiser) = (net.theta.clone(), AdamW::new(net.theta.len()));
            let mut counts = Vec::new();
            for _ in 0..2 {
                let before = allocations();
                let found = criterion.gradient(&context, &theta, Precision::F32, batch).unwrap();
                optimiser.step(&mut theta, &found.gradient, 1.0, StepSize::new(1e-3, 0.01));
                counts.push(allocations() - before);
            }
            line(format!("{}, {what}", net.name), "one more step".into(), counts[1]);
        };
        if net.spec.dim == 2 {
            step(
                "a step of the likelihood of 256 rows",
                Criterion::Likelihood,
                &Batch { x: net.x.clone(), ..Batch::default() },
            );
        }
        let t = (0..n).map(|i| (i as f64 + 0.5) / n as f64).collect();
        step(
            &format!("a step of matching of {n} rows"),
            Criterion::Matching,
            &Batch { x: net.x.clone(), z, t, ..Batch::default() },
        );
    }
    let (mut rng, toy) = (stream(22, 0), toys::find("8gaussians").unwrap());
    let x = (toy.sample)(512, &mut rng);
    for kind in Kind::ALL {
        let spec = Plan { depth: 8, ..Plan::usual(kind, 2) }.spec(&mut rng).unwrap();
        let theta = Discrete::started(&spec, &spec.init(&mut rng), &x, &[]).unwrap();
        let mut theta: Vec<f64> = theta.into_iter().map(f64::from).collect();
        let mut optimiser = AdamW::new(theta.len());
        let context = LossContext::new(Architecture::Discrete(spec.clone()), SolverSpec::default());
        let batch = Batch { x: x.clone(), ..Batch::default() };
        let mut step = 0;
        for _ in 0..2 {
            let before = allocations();
            let found = Criterion::Likelihood.gradient(&context, &theta, Precision::F32, &batch).unwrap();
            optimiser.step(&mut theta, &found.gradient, 1.0, StepSize::new(1e-3, 0.01));
            step = allocations() - before;
        }
        line(format!("{}, a step of 512 rows", kind.name()), format!("{} parameters", theta.len()), step);
        let flow = Flow::new(Discrete::new(spec, &theta, Precision::F32).unwrap());
        let before = allocations();
        flow.encode(&x, &[]).unwrap();
        line(format!("{}, 512 rows scored", kind.name()), "one pass".into(), allocations() - before);
    }
    lines
}

#[test]
fn works_cost_what_is_listed_and_no_more() {
    // One thread, so that it sees all allocations, and rows are divided in one way.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let found = pool.install(counted);
    if std::env::var("CNF_COUNTS").is_ok_and(|value| value == "bless") {
        std::fs::write(list(), &found).unwrap();
    }
    let listed = std::fs::read_to_string(list()).unwrap();
    let parts = |line: &str| -> (String, u64) {
        let (counts, allocations) = line.rsplit_once(" | ").unwrap();
        (counts.to_owned(), allocations.split_once(' ').unwrap().0.parse().unwrap())
    };
    assert_eq!(found.lines().count(), listed.lines().count());
    let mut wrong = String::new();
    for (found, listed) in found.lines().zip(listed.lines()) {
        let ((counts, own), (wanted, most)) = (parts(found), parts(listed));
        // Another version of the standard library may grow its lists otherwise.
        if counts != wanted || own > most + most / 10 + 2 {
            writeln!(wrong, "listed `{listed}`\nfound  `{found}`").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Nothing is allocated for an evaluation or a step: with many more of them only lists grow. More rows allocate less than in
/// proportion.
#[test]
fn steps_and_evaluations_allocate_nothing_each() {
    let net = Net::all().swap_remove(0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let of = |n: usize, tol: f64| {
        let z = StandardNormal::new(2).draw(n, &mut stream(23, 0));
        let flow = net.flow(Precision::F64, SolverSpec { rtol: tol, atol: tol, ..SolverSpec::default() });
        pool.install(|| {
            let before = allocations();
            let cost = flow.decode(&z, &[]).unwrap().cost;
            (allocations() - before, cost.nfe.iter().map(|n| u64::from(*n)).sum::<u64>())
        })
    };
    let ((few, nfe), (tight, more), (many, _)) = (of(512, 1e-4), of(512, 1e-10), of(4096, 1e-4));
    assert!(more > 5 * nfe, "{nfe} {more}");
    assert!(100 * (tight - few) < more - nfe, "{few} allocations in {nfe} evaluations, {tight} in {more}");
    assert!(many < 5 * few, "{few} allocations for 512 rows, {many} for 4096");
}
