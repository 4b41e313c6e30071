//! `cnf invert`: points → latents, and how well the way back leads to the points.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use cnf::plot;
use serde_json::json;

use super::output::{self, Kind};
use super::setup::{Setup, Solved, Way};
use super::solver::SolverArgs;
use super::{Context, interrupt, normality, text};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf invert sample.npy -o latent.npy                       by the newest run
  cnf invert sample.npy --model model.safetensors -o latent.npy --plot latent.png
  cnf invert x.csv --model runs/gauss --rtol 1e-10 --atol 1e-10 --precision f64

Round trip: the points are inverted and carried back; a row's error is that of its worst column, in the data's units.

Distance from a standard normal: Kolmogorov-Smirnov between |z|² and chi-squared, 0 to 1, beside its noise floor \
(the level that as many exact draws stay below in 95 of 100 cases).";

/// Arguments of `cnf invert`.
#[derive(Debug, Args)]
pub struct InvertArgs {
    /// Points, [n, d]: .npy, .npz or .csv.
    points: PathBuf,
    /// A model file or a run folder; the newest run if left out.
    #[arg(long)]
    model: Option<PathBuf>,
    /// The latents, [n, d]: .npy or .csv.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Conditions, [n, c], or one row for all.
    #[arg(long, value_name = "FILE")]
    condition: Option<PathBuf>,
    /// A picture of the latents: .png or .svg.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    solver: SolverArgs,
}

/// Runs the command.
pub fn run(args: InvertArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    output::check(&[(Kind::Table, args.output.as_deref()), (Kind::Picture, args.plot.as_deref())])?;
    let setup = Setup::open(args.model.as_deref(), &args.solver, context)?;
    let x = setup.points(&args.points)?.data;
    let condition = setup.condition(args.condition.as_deref())?;
    let inverse = Way { to_data: false, until: 1.0, log_density: false };
    let there = setup.carry(inverse, &x, condition.as_ref(), context)?;
    let back = setup.carry(Way { to_data: true, ..inverse }, &there.y, condition.as_ref(), context)?;
    interrupt::undisturbed(|| save(&args, &setup, &there))?;
    report(&args, &setup, &x, &there, &back, context)?;
    there.check()?;
    back.check()
}

fn save(args: &InvertArgs, setup: &Setup, there: &Solved) -> Result<()> {
    let d = setup.model.dim();
    if let Some(path) = &args.output {
        output::table(path, &there.y, d, setup.file_dtype())?;
    }
    if let Some(path) = &args.plot {
        plot::latents(path, &there.arrived(d), d, &plot::Options::default())?;
    }
    Ok(())
}

/// The mean over rows and the worst of max |x − x̂|, over the rows that came back.
fn round_trip(x: &[f64], back: &[f64], d: usize) -> (f64, f64) {
    let row = |(a, b): (&[f64], &[f64])| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let rows = x.chunks_exact(d).zip(back.chunks_exact(d)).filter(|(_, b)| b.iter().all(|v| v.is_finite()));
    let errors: Vec<f64> = rows.map(row).collect();
    (text::mean_and_se(&errors).0, errors.iter().copied().fold(0.0, f64::max))
}

fn report(args: &InvertArgs, setup: &Setup, x: &[f64], there: &Solved, back: &Solved, context: &Context) -> Result<()> {
    let d = setup.model.dim();
    let (n, cost) = (x.len() / d, &there.cost);
    let (mean_error, worst_error) = round_trip(x, &back.y, d);
    let (mean, std) = text::moments(&there.y, d);
    let (ks, floor) = normality::distance(&there.y, d);
    let facts = json!({
        "n": n,
        "seconds": there.seconds,
        "nfe_mean": cost.nfe_mean(),
        "nfe_max": text::nfe_max(cost),
        "round_trip_max": worst_error,
        "round_trip_mean": mean_error,
        "round_trip_seconds": back.seconds,
        "latent_mean": mean,
        "latent_std": std,
        "latent_ks": ks,
        "latent_ks_noise": floor,
        "failed": cost.failures.len(),
        "stiff": cost.stiff,
        "model": setup.path,
        "output": args.output,
    });
    let wrote = args.output.as_ref().map_or(String::new(), |path| format!("wrote {}", path.display()));
    let words = format!(
        "{n} points of dimension {d} inverted in {}\nNFE a point: {:.1}, at most {}\n\
         round trip: {mean_error:.2e} mean, {worst_error:.2e} worst\n\
         latent means: {}\nlatent deviations: {}\n\
         distance from a standard normal: {ks:.4} (noise below {floor:.4})\n{}{wrote}",
        text::duration(there.seconds),
        cost.nfe_mean(),
        text::nfe_max(cost),
        text::few(&mean),
        text::few(&std),
        there.troubles(),
    );
    context.report(&words, &facts)
}
