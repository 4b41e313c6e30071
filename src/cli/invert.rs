//! `cnf invert`: points → latents, and the round-trip error, block by block.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use cnflow::apply::{Arrived, Block, Closed, Mean, Reservoir, RowSource, SolveStatistics, Way};
use cnflow::{plot, words};
use serde_json::json;

use super::columns::{self, ColumnArgs, Role};
use super::given::GivenArgs;
use super::output::{self, Growing, Kind};
use super::picture::Shown;
use super::progress::watched;
use super::setup::Setup;
use super::solver::SolverArgs;
use super::{Context, TableArgs, images, interrupt, normality, picture, source, statistics, text};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf invert sample.npy -o latent.npy                       by the newest run
  cnf invert sample.npy --model model.safetensors -o latent.npy --plot latent.png
  cnf invert x.csv --model runs/gauss --rtol 1e-10 --atol 1e-10 --precision f64

Round trip: the points are inverted and transported back; a row's error is that of its worst column, in the data's units. \
Distance from a standard normal: Kolmogorov-Smirnov between |z|² and chi-squared, 0 to 1, beside its noise floor \
(the level that as many exact draws stay below in 95 of 100 cases).

Rows are read, solved and written in blocks: the memory does not grow with their number. Of more than 100000 rows the \
distance and the picture use a random 100000; means, deviations and round trips use all.";

/// Arguments of `cnf invert`.
#[derive(Debug, Args)]
pub struct InvertArgs {
    /// Points, [n, d]: .npy, .npz or .csv, or - for stdin.
    points: PathBuf,
    /// A model file or a run folder; the newest run if left out.
    #[arg(long)]
    model: Option<PathBuf>,
    /// The latents, [n, d]: .npy, .npz or .csv, or - for text on stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    given: GivenArgs,
    #[command(flatten)]
    pub tables: TableArgs,
    #[command(flatten)]
    pub picked: ColumnArgs,
    /// A picture of the latents: .png or .svg.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    shown: Shown,
    /// Rows solved at a time; memory grows with them, results are bitwise identical [default: 65536, fewer
    /// beyond 16 columns].
    #[arg(long, value_name = "ROWS", value_parser = source::block())]
    block: Option<usize>,
    #[command(flatten)]
    solver: SolverArgs,
}

impl InvertArgs {
    /// The tables that it writes.
    pub fn tables_written(&self) -> Vec<&Path> {
        self.output.as_deref().into_iter().collect()
    }
}

/// Runs the command.
pub fn run(mut args: InvertArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    context.pipes.take(&mut args.points)?;
    args.given.take_pipes(context)?;
    args.shown.check(args.plot.is_some())?;
    let outputs = [(Kind::Table, args.output.as_deref()), (Kind::Picture, args.plot.as_deref())];
    output::check(&outputs, &[Some(&args.points), args.model.as_deref(), args.given.file()])?;
    let setup = Setup::open(args.model.as_deref(), &args.solver, context)?;
    output::check(&outputs, &[Some(&setup.path)])?;
    let style = args.shown.style(&setup.model)?;
    let mut rows =
        source::of_file(&setup, &args.points, (Role::Points, &args.picked), &args.given, args.block, context)?;
    let mut seen = Seen::new(&args, &setup)?;
    let d = setup.model.dim();
    watched("inverting", rows.total(), 2, context, |done| {
        let there = setup.transport(Way { to_data: false, until: 1.0, log_density: false }, &done)?;
        let back = there.back();
        while let Some(block) = rows.next_block()? {
            let latents = there.block(&block)?;
            // A row without a latent (it failed, or is outside the support) has no way back: it is not another failure.
            let lost = |row: &[f64]| row.iter().any(|v| !v.is_finite());
            let mut from = latents.y.clone();
            from.chunks_exact_mut(d).filter(|row| lost(row)).for_each(|row| row.fill(0.0));
            let mut again = back.block_from(&block, &from)?;
            let ends = again.y.chunks_exact_mut(d).zip(latents.y.chunks_exact(d));
            ends.filter(|(_, latent)| lost(latent)).for_each(|(end, _)| end.fill(f64::NAN));
            seen.take(&block, &latents, &again)?;
        }
        anyhow::Ok(())
    })?;
    seen.there.check_any()?;
    seen.back.check_any()?;
    interrupt::critical_section(|| seen.output.take().map_or(Ok(()), Growing::finish))?;
    // The picture last: if it fails, the table is already written.
    let drawn = interrupt::critical_section(|| seen.draw(&args, &setup, &style, context));
    report(&args, &setup, &seen, &rows, context)?;
    drawn?;
    seen.there.check()?;
    Ok(seen.back.check()?)
}

/// What is made of the rows while they pass.
struct Seen {
    output: Option<Growing>,
    there: SolveStatistics,
    back: SolveStatistics,
    /// max |x − x̂| over a row's columns, of the rows that came back.
    round_trip: Mean,
    worst: f64,
    /// Of each column of the latents.
    columns: Vec<Mean>,
    /// For the picture and the distance.
    latents: Reservoir,
    /// Of the parts of wholes.
    closed: Closed,
}

impl Seen {
    fn new(args: &InvertArgs, setup: &Setup) -> Result<Self> {
        let d = setup.model.dim();
        let output = Growing::table(args.output.as_deref(), d)?;
        let names = if setup.model.spec.names.is_empty() { Vec::new() } else { columns::latents(d) };
        Ok(Self {
            output: output.map(|file| file.named(&names)).transpose()?,
            there: SolveStatistics::default(),
            back: SolveStatistics::default(),
            round_trip: Mean::default(),
            worst: 0.0,
            columns: vec![Mean::default(); d],
            latents: Reservoir::new(d),
            closed: Closed::of(&setup.model)?,
        })
    }

    /// One block: its points, their latents, and where these lead back to.
    fn take(&mut self, block: &Block, latents: &Arrived, again: &Arrived) -> Result<()> {
        let d = self.columns.len();
        self.there.add(block.first, latents);
        self.closed.see(block.first, &block.x);
        self.back.add(block.first, again);
        self.latents.add(&latents.y);
        for row in latents.y.chunks_exact(d) {
            self.columns.iter_mut().zip(row).for_each(|(column, z)| column.add(*z));
        }
        for (x, y) in block.x.chunks_exact(d).zip(again.y.chunks_exact(d)) {
            if y.iter().all(|v| v.is_finite()) {
                let error = x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
                self.round_trip.add(error);
                self.worst = self.worst.max(error);
            }
        }
        self.output.as_mut().map_or(Ok(()), |file| file.push(&latents.y))
    }

    fn draw(&self, args: &InvertArgs, setup: &Setup, style: &plot::Options, context: &Context) -> Result<()> {
        if let Some(path) = &args.plot {
            if let Some(pixels) = &setup.model.spec.pixels {
                let shown = images::COLUMNS * images::COLUMNS * pixels.dim();
                let z = &self.latents.rows[..shown.min(self.latents.rows.len())];
                let block = images::of_latents("", z, images::COLUMNS);
                return Ok(plot::images(path, pixels.shape, &[block], style)?);
            }
            let (z, d) = setup.model.spec.normal_latents(&self.latents.rows);
            let options = plot::Options { names: Vec::new(), ..style.clone() };
            let shown = plot::latents(path, &z, d, &options)?;
            picture::note_columns(path, &shown, d, style, context);
        }
        Ok(())
    }
}

fn report(args: &InvertArgs, setup: &Setup, seen: &Seen, rows: &RowSource, context: &Context) -> Result<()> {
    let (d, there) = (setup.model.dim(), &seen.there);
    statistics::note_missing(there, context);
    seen.closed.words().iter().for_each(|words| context.note(words));
    let (returned, latents) = (seen.round_trip.n(), seen.latents.rows.len() / d);
    // Of no point there is neither a round trip nor a distance: null, and not 0.
    let (mean_error, worst_error) = (seen.round_trip.mean(), if returned == 0 { f64::NAN } else { seen.worst });
    let mean: Vec<f64> = seen.columns.iter().map(Mean::mean).collect();
    let std: Vec<f64> = seen.columns.iter().map(Mean::std).collect();
    let (ks, floor) = match latents {
        0 => (f64::NAN, f64::NAN),
        _ => {
            let (rows, d) = setup.model.spec.normal_latents(&seen.latents.rows);
            normality::distance(&rows, d)
        }
    };
    let n = there.n;
    let facts = json!({
        "n": n,
        "seconds": there.seconds,
        "nfe_mean": there.nfe_mean(),
        "nfe_max": there.nfe_max,
        "round_trip_max": worst_error,
        "round_trip_mean": mean_error,
        "round_trip_seconds": seen.back.seconds,
        "latent_mean": mean,
        "latent_std": std,
        "latent_ks": ks,
        "latent_ks_noise": floor,
        "latent_ks_rows": latents,
        "failed": there.failed,
        "missing": there.missing,
        "outside": there.outside,
        "inside": there.inside(),
        "returned": returned,
        "stiff": there.stiff,
        "notes": rows.notes(),
        "condition_outside": rows.out_of_range().facts(),
        "model": setup.path,
        "output": args.output,
    });
    let among = seen.latents.part().map_or(String::new(), |kept| format!(", of a random {kept} of them"));
    let wrote = args.output.as_ref().map_or(String::new(), |path| format!("wrote {}", path.display()));
    let distance = match latents {
        0 => "distance from a standard normal: unknown, no row has a latent".to_owned(),
        _ => format!("distance from a standard normal: {ks:.4} (noise below {floor:.4}){among}"),
    };
    let of = if returned < n { format!(", of the {returned} of {n} points that came back") } else { String::new() };
    let round_trip = match returned {
        0 => "round trip: unknown, no point came back".to_owned(),
        _ => format!("round trip: {} mean, {} worst{of}", words::error(mean_error), words::error(worst_error)),
    };
    let words = format!(
        "{} of dimension {d} inverted in {}\nNFE a point: {:.1}, at most {}\n\
         {round_trip}\n\
         latent means: {}\nlatent deviations: {}\n\
         {distance}\n{}{wrote}",
        words::count(n, "point"),
        words::duration(there.seconds),
        there.nfe_mean(),
        there.nfe_max,
        text::few(&mean),
        text::few(&std),
        statistics::troubles(there) + &statistics::out_of_range(rows.out_of_range(), context),
    );
    context.report(&words, &facts)
}
