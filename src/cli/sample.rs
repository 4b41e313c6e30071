//! `cnf sample`: latents → the flow → a table of samples.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use cnf::flow::StandardNormal;
use cnf::io::Array;
use cnf::plot::Tone;
use cnf::rng;
use serde_json::json;

use super::Context;
use super::output::{self, Kind};
use super::setup::{Setup, Solved, Way};
use super::solver::SolverArgs;
use super::{interrupt, picture, text};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf sample -n 10000 -o sample.npy                         from the newest run
  cnf sample model.safetensors -n 10000 -o sample.npy --with-density logp.npy
  cnf sample runs/gauss -o sample.csv --plot samples.png --seed 7
  cnf sample runs/gauss --latent z.npy -o x.npy --rtol 1e-8 --atol 1e-8 --precision f64
  cnf sample runs/digits --condition seven.npy -n 64 -o sevens.npy

The files are f32, or f64 with --precision f64. The first rows of a longer sample are those of a shorter one.";

/// The generator's stream of latents.
const LATENT_STREAM: u64 = 0x5a3b_0001;

/// Arguments of `cnf sample`.
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// A model file or a run folder; the newest run if left out.
    model: Option<PathBuf>,
    /// How many samples; as many as there are latents or conditions, else 10000.
    #[arg(short, long, value_name = "N", conflicts_with = "latent", value_parser = clap::value_parser!(u32).range(1..))]
    n: Option<u32>,
    /// The samples, [n, d]: .npy or .csv.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Their log-density too, [n], carried along the same path.
    #[arg(long, value_name = "FILE")]
    with_density: Option<PathBuf>,
    /// Start from these latents, [n, d], instead of drawing them.
    #[arg(long, value_name = "FILE")]
    latent: Option<PathBuf>,
    /// Conditions, [n, c], or one row for all.
    #[arg(long, value_name = "FILE")]
    condition: Option<PathBuf>,
    /// A picture: .png or .svg.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    solver: SolverArgs,
}

/// Runs the command.
pub fn run(args: SampleArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    let (table, picture) = (Kind::Table, Kind::Picture);
    let (density, plot) = (args.with_density.as_deref(), args.plot.as_deref());
    output::check(&[(table, Some(&args.output)), (table, density), (picture, plot)])?;
    let setup = Setup::open(args.model.as_deref(), &args.solver, context)?;
    let condition = setup.condition(args.condition.as_deref())?;
    let z = latents(&args, &setup, condition.as_ref())?;
    let way = Way { to_data: true, until: 1.0, log_density: density.is_some() };
    let solved = setup.carry(way, &z, condition.as_ref(), context)?;
    interrupt::undisturbed(|| save(&args, &setup, &solved))?;
    report(&args.output, &setup, &solved, context)?;
    solved.check()
}

/// The given latents, or fresh ones.
fn latents(args: &SampleArgs, setup: &Setup, condition: Option<&Array>) -> Result<Vec<f64>> {
    if let Some(path) = &args.latent {
        return Ok(setup.points(path)?.data);
    }
    let rows = condition.map(|c| c.rows).filter(|rows| *rows > 1);
    let n = args.n.map_or(rows.unwrap_or(10_000), |n| n as usize);
    setup.check_rows(n)?;
    let seed = args.solver.seed.unwrap_or(0);
    Ok(StandardNormal::new(setup.model.dim()).draw(n, &mut rng::stream(seed, LATENT_STREAM)))
}

fn save(args: &SampleArgs, setup: &Setup, solved: &Solved) -> Result<()> {
    let (d, dtype) = (setup.model.dim(), setup.file_dtype());
    output::table(&args.output, &solved.y, d, dtype)?;
    if let Some(path) = &args.with_density {
        output::vector(path, &solved.log_prob, dtype)?;
    }
    args.plot
        .as_ref()
        .map_or(Ok(()), |path| picture::points(path, &solved.arrived(d), d, Tone::Model, &picture::style(&setup.model)))
}

fn report(output: &Path, setup: &Setup, solved: &Solved, context: &Context) -> Result<()> {
    let (n, cost, seconds) = (solved.cost.nfe.len(), &solved.cost, solved.seconds);
    let facts = json!({
        "n": n,
        "seconds": seconds,
        "nfe_mean": cost.nfe_mean(),
        "nfe_max": text::nfe_max(cost),
        "trace_evals_mean": cost.traces_mean(),
        "failed": cost.failures.len(),
        "stiff": cost.stiff,
        "model": setup.path,
        "output": output,
    });
    let words = format!(
        "{n} samples of dimension {} in {} ({:.0} a second)\nNFE a sample: {:.1}, at most {}\n{}wrote {}",
        setup.model.dim(),
        text::duration(seconds),
        n as f64 / seconds,
        cost.nfe_mean(),
        text::nfe_max(cost),
        solved.troubles(),
        output.display(),
    );
    context.report(&words, &facts)
}
