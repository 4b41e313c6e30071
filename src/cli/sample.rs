//! `cnf sample`: latents → the flow → a table of samples, block by block.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use cnflow::apply::{Arrived, Block, Reservoir, RowSource, SolveStatistics, Way};
use cnflow::io::Dtype;
use cnflow::plot::{Options, Tone};
use cnflow::{Error, words};
use serde_json::json;

use super::columns::{ColumnArgs, Role};
use super::given::GivenArgs;
use super::output::{self, Growing, Kind};
use super::picture::{FormerName, Shown};
use super::progress::watched;
use super::setup::Setup;
use super::solver::SolverArgs;
use super::{Context, TableArgs, images, interrupt, picture, source, statistics};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf sample -n 10000 -o sample.npy                         from the newest run
  cnf sample model.safetensors -n 10000 -o sample.npy --with-density logp.npy
  cnf sample runs/gauss -o sample.csv --plot samples.png --seed 7
  cnf sample runs/gauss --latent z.npy -o x.npy --rtol 1e-8 --atol 1e-8 --precision f64
  cnf sample runs/digits --condition seven.npy -n 64 -o sevens.npy
  cnf sample runs/gauss -n 1000000 --first 1000000 -o second_million.npy

The files hold f64 numbers for any --precision: points keep the resolution of their columns. A model of images writes \
them as u8, [n, height, width], or [n, height, width, channels] in colour; an image whose trajectory fails is black. \
The first rows of a longer sample are those of a shorter one.

Rows are drawn, solved and written in blocks: the memory does not grow with their number. A picture of more than 100000 \
rows shows a random 100000 of them.";

/// Arguments of `cnf sample`.
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// A model file or a run folder; the newest run if left out.
    model: Option<PathBuf>,
    /// Number of samples; if left out, the number of latents or conditions, else 10000.
    #[arg(short, long, value_name = "N", conflicts_with = "latent", value_parser = clap::value_parser!(u64).range(1..))]
    n: Option<u64>,
    /// First row, counted from 0: rows of one long sample can be drawn apart, to the same bits.
    #[arg(long, value_name = "ROW", default_value_t = 0, conflicts_with = "latent")]
    first: u64,
    /// The samples, [n, d]: .npy, .npz or .csv, or - for text on stdout.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Log-density of the samples, [n], along the same path: .npy, .npz or .csv.
    #[arg(long, value_name = "FILE")]
    with_density: Option<PathBuf>,
    /// Start from these latents, [n, d], instead of drawing them.
    #[arg(long, value_name = "FILE")]
    latent: Option<PathBuf>,
    #[command(flatten)]
    given: GivenArgs,
    #[command(flatten)]
    pub tables: TableArgs,
    /// A picture: .png or .svg.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    former: FormerName,
    /// Rows solved at a time; memory grows with them, results are bitwise identical [default: 65536, fewer
    /// beyond 16 columns].
    #[arg(long, value_name = "ROWS", value_parser = source::block())]
    block: Option<usize>,
    #[command(flatten)]
    solver: SolverArgs,
}

impl SampleArgs {
    /// The tables that it writes.
    pub fn tables_written(&self) -> Vec<&Path> {
        std::iter::once(&*self.output).chain(self.with_density.as_deref()).collect()
    }
}

/// Runs the command.
pub fn run(mut args: SampleArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    args.latent.iter_mut().try_for_each(|path| context.pipes.take(path))?;
    args.given.take_pipes(context)?;
    args.shown.check(args.plot.is_some())?;
    let (table, picture) = (Kind::Table, Kind::Picture);
    let (density, plot) = (args.with_density.as_deref(), args.plot.as_deref());
    let outputs = [(table, Some(&*args.output)), (table, density), (picture, plot)];
    output::check(&outputs, &[args.model.as_deref(), args.latent.as_deref(), args.given.file()])?;
    let setup = Setup::open(args.model.as_deref(), &args.solver, context)?;
    output::check(&outputs, &[Some(&setup.path)])?;
    if density.is_some() && setup.model.spec.dequantises() {
        let problem = "--with-density: along the path of a sample there is only the density of its own noise";
        let hint = "leave it out, and run `cnf density` on the samples that are written";
        return Err(Error::invalid(problem, hint).into());
    }
    let style = args.shown.style(&setup.model)?;
    let mut rows = latents(&args, &setup, context)?;
    let mut seen = Seen::new(&args, &setup)?;
    let way = Way { to_data: true, until: 1.0, log_density: density.is_some() };
    let spent = watched("sampling", rows.total(), 1, context, |done| {
        let (transport, mut spent) = (setup.transport(way, &done)?, SolveStatistics::default());
        while let Some(block) = rows.next_block()? {
            let solved = transport.block(&block)?;
            seen.take(&block, &solved)?;
            spent.add(block.first, &solved);
        }
        anyhow::Ok(spent)
    })?;
    spent.check_any()?;
    interrupt::critical_section(|| seen.finish())?;
    // The picture last: if it fails, the table is already written.
    let drawn = interrupt::critical_section(|| seen.draw(&args, &setup, &style, context));
    report(&args.output, &setup, &spent, &rows, context)?;
    drawn?;
    Ok(spent.check()?)
}

/// The given latents, or fresh ones.
fn latents(args: &SampleArgs, setup: &Setup, context: &Context) -> Result<RowSource> {
    if let Some(path) = &args.latent {
        return source::of_file(setup, path, (Role::Latents, &ColumnArgs::default()), &args.given, args.block, context);
    }
    let conditions = args.given.of(&setup.model, context)?;
    let n = args.n.or(if conditions.several() { None } else { Some(10_000) });
    let d = setup.model.dim();
    if let Some(n) = n.filter(|n| n.saturating_mul((d * Dtype::F64.size()) as u64) > i64::MAX as u64) {
        let problem = format!("{n} rows of dimension {d} are more than a file can hold");
        return Err(Error::invalid(problem, "draw fewer at a time, and the rest with --first").into());
    }
    let seed = args.solver.seed.unwrap_or(0);
    source::of_latents(setup, seed, args.first, n, conditions, args.block)
}

/// What is made of the samples while they pass.
struct Seen {
    samples: Option<Growing>,
    log_prob: Option<Growing>,
    picture: Option<Reservoir>,
    /// The first images and their conditions, for their picture.
    images: Option<(Vec<f64>, Vec<f64>)>,
}

/// Images in a picture at most.
const MOST_IMAGES: usize = 1000;
/// Rows of images in a picture.
const IMAGE_ROWS: usize = 10;

impl Seen {
    fn new(args: &SampleArgs, setup: &Setup) -> Result<Self> {
        let d = setup.model.dim();
        let samples = match &setup.model.spec.pixels {
            None => Growing::table(Some(&args.output), d)?,
            Some(pixels) => Growing::images(Some(&args.output), pixels.shape)?,
        };
        let samples = samples.map(|file| file.worded(setup.model.spec.column_words()));
        let log_prob = Growing::vector(args.with_density.as_deref())?;
        Ok(Self {
            samples: samples.map(|file| file.named(&setup.model.spec.names)).transpose()?,
            log_prob: log_prob.map(|file| file.named(&setup.header(&["log_prob"]))).transpose()?,
            picture: args.plot.as_ref().filter(|_| setup.model.spec.pixels.is_none()).map(|_| Reservoir::new(d)),
            images: args.plot.as_ref().filter(|_| setup.model.spec.pixels.is_some()).map(|_| Default::default()),
        })
    }

    fn take(&mut self, block: &Block, solved: &Arrived) -> Result<()> {
        if let Some((images, conditions)) = &mut self.images {
            let rows = solved.rows().min(MOST_IMAGES.saturating_sub(images.len() / solved.dim));
            images.extend_from_slice(&solved.y[..rows * solved.dim]);
            conditions.extend_from_slice(&block.condition[..rows * (block.condition.len() / solved.rows().max(1))]);
        }
        if let Some(kept) = &mut self.picture {
            kept.add(&solved.y);
        }
        self.samples.as_mut().map_or(Ok(()), |file| file.push(&solved.y))?;
        self.log_prob.as_mut().map_or(Ok(()), |file| file.push(&solved.log_prob))
    }

    fn finish(&mut self) -> Result<()> {
        [self.samples.take(), self.log_prob.take()].into_iter().flatten().try_for_each(Growing::finish)
    }

    fn draw(&self, args: &SampleArgs, setup: &Setup, style: &Options, context: &Context) -> Result<()> {
        if let (Some(path), Some((x, given)), Some(pixels)) = (&args.plot, &self.images, &setup.model.spec.pixels) {
            let block = images::block("", &setup.model, pixels, x, given, IMAGE_ROWS);
            cnflow::plot::images(path, pixels.shape, &[block], style)?;
        }
        if let (Some(path), Some(kept)) = (&args.plot, &self.picture) {
            picture::points(path, &kept.rows, setup.model.dim(), Tone::Model, style, context)?;
        }
        Ok(())
    }
}

fn report(output: &Path, setup: &Setup, spent: &SolveStatistics, rows: &RowSource, context: &Context) -> Result<()> {
    let (n, seconds) = (spent.n, spent.seconds);
    statistics::note_missing(spent, context);
    let facts = json!({
        "n": n,
        "seconds": seconds,
        "nfe_mean": spent.nfe_mean(),
        "nfe_max": spent.nfe_max,
        "trace_evals_mean": spent.traces_mean(),
        "failed": spent.failed,
        "missing": spent.missing,
        "stiff": spent.stiff,
        "columns": setup.model.spec.names,
        "notes": rows.notes(),
        "condition_outside": rows.out_of_range().facts(),
        "model": setup.path,
        "output": output,
    });
    let words = format!(
        "{} of dimension {} in {} ({} a second)\nNFE a sample: {:.1}, at most {}\n{}wrote {}",
        words::count(n, "sample"),
        setup.model.dim(),
        words::duration(seconds),
        words::number(n as f64 / seconds.max(1e-9), 0),
        spent.nfe_mean(),
        spent.nfe_max,
        statistics::troubles(spent) + &statistics::out_of_range(rows.out_of_range(), context),
        output.display(),
    );
    context.report(&words, &facts)
}
