//! One row: the time of log p and of the latent of a single point, and of many points beside it.
//!
//! `cargo bench --bench row`
//!
//! CPU time, medians; the bits of each row alone are compared with those of the batch.

mod measure;

use std::hint::black_box;
use std::path::Path;

use cnflow::continuous::SolverSpec;
use cnflow::discrete::{Kind, Plan};
use cnflow::io::{self, torch};
use cnflow::model::{Architecture, FlowSpec};
use cnflow::rng::stream;
use cnflow::rows::toys;
use cnflow::train::{AdamW, Batch, Criterion, LossContext, StepSize};
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};
use cnflow::{BoundModel, Model, Result};
use measure::{cpu_time, median, median_of, peak};
use rand::Rng as _;
use rand_distr::StandardNormal as Normal;

/// Rows of the batch that the single rows are compared with.
const MANY: usize = 10_000;

fn main() -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .expect("the pool is made once, before anything uses it");
    println!("fused multiply-adds: {:.1} GFLOP/s a thread", peak());
    println!("model                                log p µs  latent µs   NFE points {MANY} rows ms");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let golden = tests.join("golden/8gaussians");
    for precision in [Precision::F32, Precision::F64] {
        let net = torch::read_sequential(&golden.join("model.safetensors"))?;
        let velocity = mlp(Activation::Tanh, &[64, 64, 64]);
        let flow = FlowSpec::plain(velocity, SolverSpec::default()).bind(&net.theta(), precision)?;
        line("golden 8gaussians, 3 x 64 tanh", precision, &flow, &io::read(&golden.join("x.npy"))?.data)?;
    }
    let toy = toys::find("8gaussians")?;
    let x = (toy.sample)(500, &mut stream(4, 0));
    let velocity = mlp(Activation::Silu, &[48; 5]);
    let theta = matched(&velocity, toy)?;
    for precision in [Precision::F32, Precision::F64] {
        let flow = FlowSpec::plain(velocity.clone(), SolverSpec::default()).bind(&theta, precision)?;
        line("trained on a toy, 5 x 48 silu", precision, &flow, &x)?;
    }
    let small = Model::load(&tests.join("fixtures/finished/flow/model.safetensors"))?;
    let mut rng = stream(3, 0);
    let x: Vec<f64> = (0..500 * small.spec.dim()).map(|_| rng.sample(Normal)).collect();
    line("a small net of the tests", Precision::F32, &small.bind(Precision::F32)?, &x)?;
    let x = (toy.sample)(4000, &mut rng);
    let spec = Plan { depth: 8, ..Plan::usual(Kind::RealNvp, 2) }.spec(&mut rng)?;
    let theta = cnflow::discrete::Discrete::started(&spec, &spec.init(&mut rng), &x, &[])?;
    let flow = FlowSpec::bare(Architecture::Discrete(spec)).bind(&theta, Precision::F32)?;
    line("RealNVP, 8 couplings", Precision::F32, &flow, &x)
}

/// A velocity of two columns.
fn mlp(activation: Activation, hidden: &[usize]) -> VelocitySpec {
    let time = TimeInput::Plain;
    VelocitySpec::Mlp(MlpSpec { dim: 2, condition_dim: 0, hidden: hidden.to_vec(), activation, time })
}

/// Weights after 800 steps of matching on a toy.
fn matched(velocity: &VelocitySpec, toy: &toys::Toy) -> Result<Vec<f64>> {
    let mut rng = stream(2, 0);
    let mut theta: Vec<f64> = velocity.init(&mut rng).into_iter().map(f64::from).collect();
    let (mut optimiser, context) = (AdamW::new(theta.len()), LossContext::new(velocity.clone(), SolverSpec::default()));
    for _ in 0..800 {
        let mut batch = Batch { x: (toy.sample)(256, &mut rng), ..Batch::default() };
        for _ in 0..256 {
            batch.z.extend([rng.sample::<f64, _>(Normal), rng.sample::<f64, _>(Normal)]);
            batch.t.push(rng.random());
        }
        let found = Criterion::Matching.gradient(&context, &theta, Precision::F32, &batch)?;
        optimiser.step(&mut theta, &found.gradient, 1.0, StepSize::new(2e-3, 0.01));
    }
    Ok(theta)
}

/// Measures a model on the rows `x`.
fn line(name: &str, precision: Precision, flow: &BoundModel, x: &[f64]) -> Result<()> {
    let d = flow.dim();
    let rows: Vec<&[f64]> = x.chunks_exact(d).take(64).collect();
    let together = flow.log_prob(&rows.concat(), &[])?.log_prob;
    for (row, expected) in rows.iter().zip(&together) {
        assert_eq!(flow.log_prob(row, &[])?.log_prob[0].to_bits(), expected.to_bits(), "{name}: {row:?}");
    }
    let cost = flow.log_prob(&rows.concat(), &[])?.cost;
    let mean = |counts: &[u32]| counts.iter().map(|n| f64::from(*n)).sum::<f64>() / counts.len().max(1) as f64;
    // All rows in turn: a solve of its own length each.
    let of_one = |f: &dyn Fn(&[f64]) -> Result<()>| -> Result<f64> {
        rows.iter().try_for_each(|row| f(row))?;
        let all = || rows.iter().for_each(|row| f(row).expect("it has just been computed"));
        Ok(median(3e-2, all) / rows.len() as f64 * 1e6)
    };
    let score = of_one(&|row| flow.log_prob(row, &[]).map(|scored| drop(black_box(scored))))?;
    let latent = of_one(&|row| flow.latents(row, &[]).map(|points| drop(black_box(points))))?;
    let many: Vec<f64> = x.iter().copied().cycle().take(MANY * d).collect();
    let once = |_| {
        let start = cpu_time();
        black_box(flow.log_prob(&many, &[])).map(|_| cpu_time() - start)
    };
    let batch = median_of((0..7).map(once).collect::<Result<_>>()?) * 1e3;
    let kind = format!("{name}, {}", if precision == Precision::F32 { "f32" } else { "f64" });
    println!("{kind:<36} {score:8.1} {latent:8.1} {:8.1} {:6.1} {batch:10.1}", mean(&cost.nfe), mean(&cost.traces));
    Ok(())
}
