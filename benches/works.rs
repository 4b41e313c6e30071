//! The works of the comparison with other libraries, on the golden 8gaussians net (3 hidden layers of 64, tanh).
//!
//! `cargo bench --bench works -- [A] [B] [D] [E] [F] [G] [--threads N] [--lanes N] [--points z.npy] [--match ERROR]`
//!
//! - A: 10 000 samples with their exact log-density, by several methods at 1e-5 and at the tolerance at
//!   which the worst error of log p is that of `--match`: methods are compared at equal error.
//! - B: one maximum-likelihood step, batch 512, the exact gradient of what was computed.
//! - D: one flow-matching step, batch 256, and the exact pairing of batches.
//! - E: 500 points inverted and brought back.
//! - F: from the start of a process to 1000 samples on the disk.
//! - G: discrete flows of 8 couplings with nets of 64-64: a training step at batch 512, sampling and log p at 10 000.
//!
//! Errors are against a solve in f64 at 1e-11. Rates count the products only, and are set beside a loop of
//! nothing but fused multiply-adds on one thread.

mod measure;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cnflow::continuous::{Continuous, SolverSpec};
use cnflow::discrete::{Discrete, Kind, Plan};
use cnflow::model::{Architecture, Flow};
use cnflow::rng::stream;
use cnflow::rows::toys;
use cnflow::train::{AdamW, Batch, Criterion, LossContext, StepSize};
use cnflow::transform::StandardNormal;
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};
use cnflow::{Result, io};
use measure::{cpu_time, median_of, peak};
use rand::Rng as _;
use rand_distr::StandardNormal as Normal;

/// The worst error of log p of diffrax 0.7.2 with dopri5 at 1e-5, f32, a step for each of 10 000 samples (mean 1.1e-5).
/// With one step for all of them it is 4.7e-3 (mean 8.9e-6).
const MATCH: f64 = 5.3e-4;
const LANES: usize = 64;

fn main() -> Result<()> {
    cnflow::memory::keep_freed();
    let args = Args::parse();
    if args.cold {
        return cold_child();
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .use_current_thread()
        .build_global()
        .expect("the pool is made once, before anything uses it");
    let net = Net::load()?;
    let peak = peak();
    println!("fused multiply-adds: {peak:.1} GFLOP/s a thread; {} threads; f32 unless said", args.threads);
    for (name, work) in [
        ("A", work_a as fn(&Net, &Args, f64) -> Result<()>),
        ("B", work_b),
        ("D", work_d),
        ("E", work_e),
        ("F", work_f),
        ("G", work_g),
    ] {
        if args.works.is_empty() || args.works.iter().any(|w| w == name) {
            work(&net, &args, peak)?;
        }
    }
    Ok(())
}

struct Args {
    works: Vec<String>,
    threads: usize,
    /// The width of the tiles of works A and B.
    lanes: usize,
    /// Latents for work A, `[n, 2]`.
    points: Option<PathBuf>,
    error: f64,
    cold: bool,
}

impl Args {
    fn parse() -> Self {
        let mut args = Self { works: Vec::new(), threads: 1, lanes: LANES, points: None, error: MATCH, cold: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = |what: &str| words.next().unwrap_or_else(|| panic!("{what} wants a value"));
            match word.as_str() {
                "--threads" => args.threads = value("--threads").parse().expect("a number of threads"),
                "--lanes" => args.lanes = value("--lanes").parse().expect("a number of lanes"),
                "--points" => args.points = Some(value("--points").into()),
                "--match" => args.error = value("--match").parse().expect("an error of log p"),
                "--cold-child" => args.cold = true,
                // What cargo adds.
                "--bench" => {}
                _ => args.works.push(word.to_uppercase()),
            }
        }
        args
    }
}

struct Net {
    spec: MlpSpec,
    theta: Vec<f32>,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/8gaussians")
}

impl Net {
    fn load() -> Result<Self> {
        let net = io::torch::read_sequential(&golden().join("model.safetensors"))?;
        let hidden = net.sizes[1..net.sizes.len() - 1].to_vec();
        let (activation, time) = (Activation::Tanh, TimeInput::Plain);
        let spec = MlpSpec { dim: 2, condition_dim: 0, hidden, activation, time };
        Ok(Self { spec, theta: net.theta() })
    }

    fn velocity(&self) -> VelocitySpec {
        VelocitySpec::Mlp(self.spec.clone())
    }

    fn flow(&self, precision: Precision, solver: &SolverSpec) -> Result<Flow<Continuous>> {
        let theta: Vec<f64> = self.theta.iter().map(|w| f64::from(*w)).collect();
        Ok(Flow::new(Continuous::new(&self.velocity(), &theta, solver.clone(), precision)?))
    }

    fn layers(&self) -> Vec<f64> {
        self.spec.layer_sizes().windows(2).map(|pair| 2.0 * (pair[0] * pair[1]) as f64).collect()
    }

    /// Floating point operations of the products in one value.
    fn value_flops(&self) -> f64 {
        self.layers().iter().sum()
    }

    /// The same in one value with its divergence: d tangents, each the middle products and one row of the last.
    fn trace_flops(&self) -> f64 {
        let layers = self.layers();
        let last = layers.len() - 1;
        let middle: f64 = layers[1..last].iter().sum();
        self.value_flops() + self.spec.dim as f64 * middle + layers[last]
    }
}

fn tight() -> SolverSpec {
    SolverSpec { method: "vern7".into(), rtol: 1e-11, atol: 1e-11, ..SolverSpec::default() }
}

/// The worst and the mean of |a − b|.
fn differences(a: &[f64], b: &[f64]) -> (f64, f64) {
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let mean = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64;
    (worst, mean)
}

fn mean(counts: &[u32]) -> f64 {
    counts.iter().map(|&n| f64::from(n)).sum::<f64>() / counts.len() as f64
}

/// Medians of wall and of CPU time over the process, in seconds.
struct Times {
    wall: f64,
    cpu: f64,
}

/// One unmeasured call, then `repeats` measured ones of `calls` calls each.
fn timed(repeats: usize, calls: usize, mut f: impl FnMut() -> Result<()>) -> Result<Times> {
    f()?;
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        let (start, cpu_start) = (Instant::now(), cpu_time());
        (0..calls).try_for_each(|_| f())?;
        cpu.push((cpu_time() - cpu_start) / calls as f64);
        wall.push(start.elapsed().as_secs_f64() / calls as f64);
    }
    Ok(Times { wall: median_of(wall), cpu: median_of(cpu) })
}

fn work_a(net: &Net, args: &Args, peak: f64) -> Result<()> {
    let z: Vec<f64> = match &args.points {
        Some(path) => {
            // As f32 holds them.
            io::read(path)?.data.into_iter().map(|x| f64::from(x as f32)).collect()
        }
        None => {
            let mut rng = stream(0, 0);
            (0..20_000).map(|_| f64::from(rng.sample::<f32, _>(Normal))).collect()
        }
    };
    let n = z.len() / 2;
    let truth = net.flow(Precision::F64, &tight())?.decode(&z, &[])?.log_prob;
    println!("\nA. {n} samples with exact log-density");
    println!("method  tolerance   cpu ms  wall ms  NFE mean max  traces  worst error  mean    GFLOP/s  of peak");
    let error_at = |method: &str, tol: f64| -> Result<f64> {
        let solver = SolverSpec { method: method.into(), rtol: tol, atol: tol, ..SolverSpec::default() };
        let log_prob = net.flow(Precision::F32, &solver)?.decode(&z, &[])?.log_prob;
        Ok(differences(&log_prob, &truth).0)
    };
    let line = |method: &str, tol: f64| -> Result<()> {
        let solver =
            SolverSpec { method: method.into(), rtol: tol, atol: tol, lanes: args.lanes, ..SolverSpec::default() };
        let flow = net.flow(Precision::F32, &solver)?;
        let solved = flow.decode(&z, &[])?;
        let (cost, (worst, average)) = (solved.cost, differences(&solved.log_prob, &truth));
        let times = timed(7, 1, || {
            black_box(flow.decode(&z, &[])?);
            Ok(())
        })?;
        let (nfe, traces) = (mean(&cost.nfe), mean(&cost.traces));
        let flops = n as f64 * (nfe * net.value_flops() + traces * net.trace_flops());
        let rate = flops / times.cpu * 1e-9;
        println!(
            "{method:<7} {tol:>9.1e} {:8.1} {:8.1} {nfe:9.1} {:3} {traces:7.1} {worst:12.1e} {average:8.1e} {rate:7.1} {:6.0} %",
            times.cpu * 1e3,
            times.wall * 1e3,
            cost.nfe.iter().max().copied().unwrap_or(0),
            100.0 * rate / peak
        );
        Ok(())
    };
    for method in ["dopri5", "tsit5", "bosh3", "vern7"] {
        line(method, 1e-5)?;
    }
    println!("at a worst error of {:.1e}:", args.error);
    for method in ["dopri5", "tsit5", "bosh3", "vern7"] {
        // The loosest tolerance of a fine grid from which on all are good enough.
        let mut good = None;
        for i in (0..=26).rev() {
            let tol = 1e-3 * 10f64.powf(-f64::from(i) / 8.0);
            if error_at(method, tol)? > args.error {
                break;
            }
            good = Some(tol);
        }
        match good {
            Some(tol) => line(method, tol)?,
            None => println!("{method:<7} not above 6e-7, the least that f32 holds"),
        }
    }
    Ok(())
}

fn work_b(net: &Net, args: &Args, peak: f64) -> Result<()> {
    const BATCH: usize = 512;
    let start: Vec<f64> = net.theta.iter().map(|w| f64::from(*w)).collect();
    let data = toys::find("8gaussians")?;
    let x: Vec<f64> = (data.sample)(BATCH, &mut stream(1, 0)).into_iter().map(|x| f64::from(x as f32)).collect();
    let batch = Batch { x: x.clone(), ..Batch::default() };
    println!("\nB. one maximum-likelihood step, batch {BATCH}");
    println!("method  tolerance   cpu ms  wall ms  NFE mean max  points  worst error  loss     GFLOP/s  of peak");
    let truth = net.flow(Precision::F64, &tight())?.encode(&x, &[])?.log_prob;
    for method in ["dopri5", "tsit5", "bosh3", "vern7"] {
        // A tolerance that is never in the way: the points are those that the gradient goes through.
        let solver = SolverSpec { method: method.into(), log_density_atol: Some(1e9), ..SolverSpec::default() };
        let solved = net.flow(Precision::F32, &solver)?.encode(&x, &[])?;
        let (cost, worst) = (solved.cost, differences(&solved.log_prob, &truth).0);
        let solver = SolverSpec { method: method.into(), lanes: args.lanes, ..SolverSpec::default() };
        let context = LossContext::new(net.velocity(), solver.clone());
        let mut optimiser = AdamW::new(start.len());
        let mut loss = f64::NAN;
        let times = timed(15, 1, || {
            let mut theta = start.clone();
            let found = Criterion::Likelihood.gradient(&context, &theta, Precision::F32, &batch)?;
            optimiser.step(&mut theta, &found.gradient, 1.0, StepSize::new(1e-3, 0.01));
            loss = found.loss;
            black_box(theta);
            Ok(())
        })?;
        let (nfe, points) = (mean(&cost.nfe), mean(&cost.traces));
        // Forward, then every evaluation again with its two pull-backs.
        let flops = BATCH as f64 * (4.0 * nfe * net.value_flops() + 4.0 * points * net.trace_flops());
        let rate = flops / times.cpu * 1e-9;
        println!(
            "{method:<7} {:>9.1e} {:8.2} {:8.2} {nfe:9.1} {:3} {points:7.1} {worst:12.1e} {loss:8.4} {rate:7.1} {:6.0} %",
            solver.rtol,
            times.cpu * 1e3,
            times.wall * 1e3,
            cost.nfe.iter().max().copied().unwrap_or(0),
            100.0 * rate / peak
        );
    }
    Ok(())
}

fn work_d(net: &Net, _: &Args, peak: f64) -> Result<()> {
    const BATCH: usize = 256;
    let data = toys::find("8gaussians")?;
    let mut rng = stream(2, 0);
    let pool = (data.sample)(50_000, &mut rng);
    let mut theta: Vec<f64> = net.spec.init(&mut rng).into_iter().map(f64::from).collect();
    let mut optimiser = AdamW::new(theta.len());
    let context = LossContext::new(VelocitySpec::Mlp(net.spec.clone()), SolverSpec::default());
    let mut step = || -> Result<f64> {
        let mut batch = Batch::default();
        for _ in 0..BATCH {
            let row = rng.random_range(0..pool.len() / 2);
            batch.x.extend_from_slice(&pool[2 * row..2 * row + 2]);
            batch.z.extend([rng.sample::<f64, _>(Normal), rng.sample::<f64, _>(Normal)]);
            batch.t.push(rng.random());
        }
        let found = Criterion::Matching.gradient(&context, &theta, Precision::F32, &batch)?;
        optimiser.step(&mut theta, &found.gradient, 1.0, StepSize::new(1e-3, 0.01));
        Ok(found.loss)
    };
    let first = step()?;
    let mut last = 0.0;
    let times = timed(9, 500, || {
        last = step()?;
        Ok(())
    })?;
    // Values, weight gradients, and what flows back through all but the first layer.
    let flops = BATCH as f64 * (3.0 * net.value_flops() - net.layers()[0]);
    let rate = flops / times.cpu * 1e-9;
    println!("\nD. one flow-matching step, batch {BATCH}, AdamW");
    println!(
        "cpu {:.3} ms  wall {:.3} ms  loss {first:.3} -> {last:.3}  {rate:.1} GFLOP/s  {:.0} % of peak",
        times.cpu * 1e3,
        times.wall * 1e3,
        100.0 * rate / peak
    );
    pairing(&mut rng, data)
}

/// Latents paired with rows of 8gaussians of deviation 2: one block of n rows, and a training's batch of four.
fn pairing(rng: &mut cnflow::Rng, data: &toys::Toy) -> Result<()> {
    println!("exact pairing");
    for (n, block) in [(128, 128), (256, 256), (512, 512), (1024, 1024), (1024, 256)] {
        // Other rows each time: how long it takes depends on them.
        let mut draw = || -> Result<(Vec<f64>, Vec<f64>)> {
            let mut x = (data.sample)(n, rng);
            let moments = cnflow::transform::Standardise::fit(&x, 2)?;
            moments.standardise(&mut x);
            x.iter_mut().for_each(|x| *x *= 2.0);
            Ok((x, (0..2 * n).map(|_| rng.sample(Normal)).collect()))
        };
        let mut batches = (0..40).map(|_| draw()).collect::<Result<Vec<_>>>()?.into_iter().cycle();
        let times = timed(9, 4, || {
            if let Some((x, mut z)) = batches.next() {
                cnflow::train::pair(&x, &mut z, 2, block);
                black_box(z);
            }
            Ok(())
        })?;
        println!("{n:>5} rows in blocks of {block:>4}: cpu {:.2} ms  wall {:.2} ms", times.cpu * 1e3, times.wall * 1e3);
    }
    Ok(())
}

/// The discrete flows: each step is the loss with its exact gradient and AdamW.
fn work_g(_: &Net, _: &Args, _: f64) -> Result<()> {
    const BATCH: usize = 512;
    const N: usize = 10_000;
    let data = toys::find("8gaussians")?;
    let mut rng = stream(3, 0);
    let pool = (data.sample)(50_000, &mut rng);
    println!("\nG. discrete flows, 8 couplings with nets of 64-64 (relu), 2 columns");
    println!("flow       step, batch {BATCH}: cpu ms  wall ms   samples a second   densities a second");
    for kind in Kind::ALL {
        let spec = Plan { depth: 8, ..Plan::usual(kind, 2) }.spec(&mut rng)?;
        let theta = Discrete::started(&spec, &spec.init(&mut rng), &pool[..4000], &[])?;
        let mut theta: Vec<f64> = theta.into_iter().map(f64::from).collect();
        let mut optimiser = AdamW::new(theta.len());
        let context = LossContext::new(Architecture::Discrete(spec.clone()), SolverSpec::default());
        let mut step = || -> Result<()> {
            let at = rng.random_range(0..pool.len() / 2 - BATCH);
            let batch = Batch { x: pool[2 * at..2 * (at + BATCH)].to_vec(), ..Batch::default() };
            let found = Criterion::Likelihood.gradient(&context, &theta, Precision::F32, &batch)?;
            optimiser.step(&mut theta, &found.gradient, 1.0, StepSize::new(1e-3, 0.01));
            Ok(())
        };
        step()?;
        let training = timed(9, 40, &mut step)?;
        let flow = Flow::new(Discrete::new(spec.clone(), &theta, Precision::F32)?);
        let (z, x) = (StandardNormal::new(2).draw(N, &mut rng), &pool[..2 * N]);
        let sampling = timed(9, 3, || flow.decode(&z, &[]).map(|all| drop(black_box(all))))?;
        let scoring = timed(9, 3, || flow.encode(x, &[]).map(|all| drop(black_box(all))))?;
        println!(
            "{:<8} {:>21.2} {:>8.2} {:>14.0} k {:>18.0} k",
            kind.name(),
            training.cpu * 1e3,
            training.wall * 1e3,
            N as f64 / sampling.wall * 1e-3,
            N as f64 / scoring.wall * 1e-3
        );
    }
    Ok(())
}

fn work_e(net: &Net, _: &Args, _: f64) -> Result<()> {
    let x = io::read(&golden().join("x.npy"))?.data;
    let z = io::read(&golden().join("z.npy"))?.data;
    println!("\nE. {} points inverted and brought back", x.len() / 2);
    println!("type method  tolerance   cpu ms  NFE there back  round trip worst  mean  latent worst");
    for (name, precision) in [("f64", Precision::F64), ("f32", Precision::F32)] {
        for (method, tol) in [("dopri5", 1e-5), ("dopri5", 1e-7), ("tsit5", 1e-7), ("vern7", 1e-7), ("dop853", 1e-7)] {
            // f32 holds no tolerance below 5e-7.
            let tol = if precision == Precision::F32 { f64::max(tol, 1e-6) } else { tol };
            let solver = SolverSpec { method: method.into(), rtol: tol, atol: tol, ..SolverSpec::default() };
            let flow = net.flow(precision, &solver)?;
            let trip = || -> Result<_> {
                let there = flow.latents(&x, &[])?;
                let back = flow.points(&there.y, &[])?;
                Ok((there, back))
            };
            let (there, back) = trip()?;
            let (worst, average) = differences(&back.y, &x);
            let latent = differences(&there.y, &z).0;
            let times = timed(7, 1, || {
                black_box(trip()?);
                Ok(())
            })?;
            println!(
                "{name}  {method:<7} {tol:>9.1e} {:8.2} {:9.1} {:5.1} {worst:14.1e} {average:8.1e} {latent:10.1e}",
                times.cpu * 1e3,
                mean(&there.cost.nfe),
                mean(&back.cost.nfe)
            );
        }
    }
    Ok(())
}

fn work_f(_: &Net, _: &Args, _: f64) -> Result<()> {
    let failed = |e: std::io::Error| cnflow::Error::invalid(format!("the bench cannot start itself: {e}"), "");
    let me = std::env::current_exe().map_err(failed)?;
    let (mut wall, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..11 {
        let start = Instant::now();
        let output = std::process::Command::new(&me).arg("--cold-child").output().map_err(failed)?;
        wall.push(start.elapsed().as_secs_f64());
        memory.push(String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().unwrap_or(f64::NAN));
    }
    println!("\nF. cold start to 1000 samples written");
    println!("wall {:.1} ms  peak memory {:.1} MiB", median_of(wall) * 1e3, median_of(memory));
    Ok(())
}

/// Loads the net, writes 1000 samples, and prints the most memory it had, in MiB.
fn cold_child() -> Result<()> {
    let flow = Net::load()?.flow(Precision::F32, &SolverSpec::default())?;
    let x = flow.sample(1000, &[], &mut stream(0, 0))?.y;
    let folder = tempfile::tempdir().map_err(|e| cnflow::Error::invalid(format!("no temporary folder: {e}"), ""))?;
    io::write(&folder.path().join("x.npy"), &io::Array::table(x, 2, io::Dtype::F32)?)?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    println!("{:.1}", kib.unwrap_or(f64::NAN) / 1024.0);
    Ok(())
}
