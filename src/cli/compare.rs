//! `cnf compare`: several models of the same data, trained under one budget, measured alike, in one table and one
//! figure.

mod benchmark;
mod comparison;
mod pictures;
mod report;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use cnflow::Error;
use cnflow::train::{Family, Objective, Precision};
use serde_json::{Value, json};

use self::comparison::Comparison;
use self::table::Row;
use super::picture::Shown;
use super::train::seconds;
use super::warnings::Warnings;
use super::{Context, TableArgs, findings, interrupt, picture};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Each model is trained with the defaults of `cnf train --model NAME` under the same budget. All are then measured on the \
same held-out rows with the same draws. On tables, the continuous flow has a standard normal base instead of the mixture \
that `cnf train` fits: here, the mixture is a model of its own.

The folder holds table.csv, report.html (with all pictures inlined), compare.png, compare.svg, and a run \
for each model, which other commands accept as a model. Ctrl-C, SIGTERM and SIGHUP end the current training, \
skip the remaining ones and report the results so far.

Examples:
  cnf compare --data 8gaussians --time 30s
  cnf compare --data moons --models cnf,realnvp,spline --steps 2000 --seeds 3
  cnf compare --data table.csv --models cnf,glow,mixture --params 20000 --out runs/table
  cnf compare --models cnf,realnvp --depths 2,4,16       the cost of a sample, by depth too
  cnf compare runs/8gaussians-matching-1 runs/8gaussians-realnvp-1   runs trained before";

/// Arguments of `cnf compare`.
#[derive(clap::Args, Debug)]
pub struct CompareArgs {
    /// Runs to compare that were trained before; nothing is trained.
    #[arg(value_name = "RUN", conflicts_with_all = [
        "models", "time", "steps", "params", "seeds", "depths", "columns", "drop", "condition", "column", "objective", "sigma",
    ])]
    runs: Vec<PathBuf>,
    /// A toy (`cnf data` lists them) or a .npy, .npz or .csv file [default: 8gaussians, or what the runs were trained
    /// on]
    #[arg(long, value_name = "NAME|FILE")]
    data: Option<String>,
    /// Split of a table, as in `cnf train` [default: auto]
    #[arg(long, value_name = "RULE", conflicts_with = "runs")]
    split: Option<String>,
    /// Columns of the table to model, as in `cnf train`
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', num_args = 1, conflicts_with = "drop")]
    columns: Vec<String>,
    /// Columns of the table to leave out, as in `cnf train`
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', num_args = 1)]
    drop: Vec<String>,
    #[command(flatten)]
    pub tables: TableArgs,
    /// Condition columns, or a file of conditions, as in `cnf train`
    #[arg(long, value_name = "COLUMNS|FILE", value_delimiter = ',', num_args = 1)]
    condition: Vec<String>,
    /// Column type, as in `cnf train`
    #[arg(long, value_name = "NAME:KIND")]
    column: Vec<String>,
    /// Models to train: cnf, nice, realnvp, glow, spline, gaussian, gaussian-shrunk, gaussian-fixed, mixture,
    /// histogram, auto [default: the flows, gaussian, mixture]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 1)]
    models: Vec<Family>,
    /// Time of each training [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "steps")]
    time: Option<f64>,
    /// Steps of each training
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Size each net to about N parameters, by the width of its hidden layers
    #[arg(long, value_name = "N")]
    params: Option<usize>,
    /// Trainings of each model, each with its own seed [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    seeds: Option<u16>,
    /// More depths for the discrete flows, in the chart of NLL against the cost of a sample
    #[arg(long, value_name = "DEPTHS", value_delimiter = ',', num_args = 1)]
    depths: Vec<usize>,
    /// The objective of the continuous flow [default: matching]
    #[arg(long, value_name = "NAME")]
    objective: Option<Objective>,
    /// Standard deviation of gaussian-fixed, in the data's units [default: 1]
    #[arg(long, value_name = "X")]
    sigma: Option<f64>,
    /// f32 or f64 [default: f32]
    #[arg(long, value_name = "NAME", value_parser = precision)]
    precision: Option<Precision>,
    /// Seed of the first training; the others count up from it [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Names of the columns in pictures
    #[arg(long, value_name = "NAME", num_args = 1..)]
    names: Vec<String>,
    /// Invert the second axis of pictures, as for magnitudes
    #[arg(long)]
    invert_y: bool,
    #[command(flatten)]
    drawn: Shown,
    /// The folder of the comparison [default: runs/compare-DATA-N with the next free N]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Overwrite an existing comparison
    #[arg(long)]
    force: bool,
}

/// Log p instead of p, with `--log`.
fn maybe_log(picture: &mut cnflow::train::Picture, args: &CompareArgs) {
    picture.log = args.drawn.log.log.or(picture.log);
}

impl CompareArgs {
    /// Rejects options that apply to none of the models, or not to a toy.
    fn check_applies(&self, models: &[Family], data: &str) -> Result<()> {
        let any = |applies: fn(&Family) -> bool| models.iter().any(applies);
        let of_models = [
            ("--sigma", self.sigma.is_some(), any(|model| *model == Family::GaussianFixed), "gaussian-fixed"),
            ("--objective", self.objective.is_some(), any(|model| *model == Family::Cnf), "cnf"),
            ("--params", self.params.is_some(), any(|model| !model.is_reference()), "a flow"),
            ("--depths", !self.depths.is_empty(), any(|model| model.discrete().is_some()), "a discrete flow"),
        ];
        if let Some((flag, .., model)) = of_models.into_iter().find(|(_, given, applies, _)| *given && !applies) {
            let problem = format!("{flag} has no meaning without {model} among the models");
            return Err(Error::invalid(problem, format!("leave out {flag}, or name {model} in --models")).into());
        }
        let of_tables = [
            ("--split", self.split.is_some()),
            ("--columns", !self.columns.is_empty()),
            ("--drop", !self.drop.is_empty()),
        ];
        let own = of_tables.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag.to_owned());
        let read = self.tables.given().into_iter().map(|field| format!("`{field}`"));
        match own.chain(read).next() {
            Some(flag) if cnflow::rows::toys::find(data).is_ok() => {
                let problem = format!("{flag} has no meaning for the toy `{data}`, which has no file");
                Err(Error::invalid(problem, format!("leave out {flag}, or set --data to a table")).into())
            }
            _ => Ok(()),
        }
    }

    /// Each of the chosen columns against the next.
    fn pairs(&self, names: &[String], d: usize) -> Result<Vec<(usize, usize)>> {
        let Some(columns) = picture::columns(&self.drawn.axes, names, d)? else { return Ok(Vec::new()) };
        if d <= 2 {
            let problem = format!("--axes needs data of more than two columns; these have {d}");
            return Err(Error::invalid(problem, "leave out --axes").into());
        }
        if !(2..=7).contains(&columns.len()) {
            let problem = format!("--axes has {}", cnflow::words::count(columns.len() as u64, "column"));
            return Err(Error::invalid(problem, "name 2 to 7 columns; each is drawn against the next").into());
        }
        Ok(columns.windows(2).map(|pair| (pair[0], pair[1])).collect())
    }
}

fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "f64" => Ok(Precision::F64),
        _ => Err("expected f32 or f64".into()),
    }
}

/// The file that makes a folder a comparison.
const REPORT: &str = "report.html";

/// Trains (or finds), measures, writes, reports.
///
/// # Errors
/// Whatever is wrong with the options, the data or the disk, as [`Error`].
pub fn run(args: CompareArgs, context: &Context) -> Result<()> {
    compared(&args, context)
}

fn compared(args: &CompareArgs, context: &Context) -> Result<()> {
    interrupt::install_patient()?;
    let mut comparison =
        if args.runs.is_empty() { Comparison::planned(args, context)? } else { Comparison::found(args, context)? };
    let (out, lock) = comparison.place(args.out.as_deref(), args.force)?;
    let mut warnings = Warnings::new(context);
    lock.warning().into_iter().for_each(|words| warnings.add(words));
    comparison.warned = findings::noted(&comparison.about, &comparison.data, context);
    let wanted = comparison.jobs.len() + comparison.found.len();
    let (measured, broken) = comparison.held(&out, context)?;
    if measured.is_empty() {
        let problem = match broken.first() {
            None => "the comparison was ended before any model was trained",
            Some(first) => first,
        };
        return Err(Error::invalid(problem, "let at least one training end, or give a shorter --time").into());
    }
    let rows = Row::all(&measured);
    let skipped = wanted.saturating_sub(measured.len() + broken.len());
    measured.iter().for_each(|one| warnings.all.extend(one.entry.warnings.iter().cloned()));
    // The numbers first: a failed write of pictures must not lose them.
    let csv = table::csv(&rows);
    let table = interrupt::critical_section(|| {
        cnflow::io::write_atomically(&out.join("table.csv"), |file| file.write_all(csv.as_bytes()))
    });
    let page = |drawn: Option<&pictures::Drawn>| {
        let page = report::page(&comparison, &rows, drawn, skipped, &broken);
        interrupt::critical_section(|| cnflow::html::write(&out.join(REPORT), &page))
    };
    let mut reported = page(None);
    match pictures::draw(&comparison, &rows, &out, context) {
        Ok(drawn) => match page(Some(&drawn)) {
            Err(error) if reported.is_ok() => warnings.add(format!("{error}; it has the table, without pictures")),
            other => reported = other,
        },
        Err(error) => warnings.add(format!("not all pictures were drawn: {error:#}")),
    }
    drop(lock);
    let mut words = table::words(&rows);
    if let Some(caution) = findings::caution(&comparison.warned) {
        words += &format!("warning: {caution}\n");
    }
    if skipped > 0 {
        let left = cnflow::words::count(skipped as u64, "training");
        words += &format!("{left} skipped: the comparison was ended by {}\n", interrupt::cause());
    }
    table::dominated(&rows, comparison.set).iter().for_each(|line| words += &format!("{line}\n"));
    broken.iter().for_each(|line| words += &format!("{line}\n"));
    comparison.left_out.iter().for_each(|(name, why)| words += &format!("{name} is left out: {why}\n"));
    let left_out: Vec<Value> =
        comparison.left_out.iter().map(|(name, why)| json!({ "model": name, "why": why })).collect();
    warnings.all.iter().for_each(|line| words += &format!("warning: {line}\n"));
    words += &format!("{}\n", out.join(REPORT).display());
    let facts = json!({
        "data": comparison.data.name,
        "dim": comparison.data.dim,
        "n": measured[0].metrics.n,
        "scored": comparison.set,
        "entropy": comparison.data.toy().map(|toy| toy.entropy),
        "time": comparison.jobs.first().and_then(|job| job.optimiser.time),
        "steps": comparison.jobs.first().and_then(|job| job.optimiser.steps),
        "models": table::json(&rows),
        "skipped": skipped,
        "broken": broken,
        "left_out": left_out,
        "data_warnings": comparison.warned,
        "warnings": warnings.all,
        "out": out,
    });
    context.report(&words, &facts)?;
    // A missing output is an error, but only after the report.
    table?;
    Ok(reported?)
}
