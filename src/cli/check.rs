//! `cnf check`: a model → its checks and their verdicts; exit code 1 if one fails.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use cnflow::Error;
use cnflow::apply::OutOfRange;
use cnflow::check::{self, Check, HeldOut, Subject, Verdict};
use cnflow::io::Format;
use cnflow::model::Model;
use cnflow::rows::{Dataset, Rows, Source};
use cnflow::train::Job;
use cnflow::velocity::Precision;
use serde_json::{Value, json};

use super::columns::{ColumnArgs, Role};
use super::given::GivenArgs;
use super::output::{self, Kind};
use super::progress::watched;
use super::setup::Setup;
use super::solver::SolverArgs;
use super::{Context, TableArgs, interrupt, source, statistics};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf check                                                 the newest run and its test set
  cnf check model.safetensors x.npy                         held-out rows of your own
  cnf check model.safetensors -n 4000 --rtol 1e-7 --atol 1e-7 --precision f64
  cnf check runs/gauss --fixed-steps 8 --solver rk4         are eight steps enough?
  cnf check runs/gauss --json

Each line has a value, its bound and a verdict: pass, FAIL, unclear (too noisy) or skipped. The bounds of the solver's lines \
follow from the tolerance and from the flow's growth of errors; they are at most 0.05 (nats, or deviations of a latent). The \
bounds of statistical lines are four standard errors. Only the last three lines judge the training. They fail if latents of \
held-out data are more than 0.1 from a standard normal (Kolmogorov-Smirnov, 0 to 1), if the neighbourhood of held-out \
rows has less than about a tenth of the expected samples, or, of a model with conditions, if the coverage of its regions is \
more than 0.1 from their level. The exit code is 1 if a line fails.";

/// Arguments of `cnf check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A model file or a run folder; the newest run if left out.
    model: Option<PathBuf>,
    /// Held-out rows, [n, d]: .npy, .npz or .csv; those of the training data if left out.
    points: Option<PathBuf>,
    /// Samples drawn from the model.
    #[arg(short, long, value_name = "N", default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(50..=1_000_000))]
    n: u32,
    #[command(flatten)]
    given: GivenArgs,
    #[command(flatten)]
    pub tables: TableArgs,
    #[command(flatten)]
    pub picked: ColumnArgs,
    /// A picture of a conditional model's coverage over its level: .png or .svg.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    solver: SolverArgs,
}

/// Images of the training that held-out ones are compared with.
const MOST_IMAGES: usize = 1 << 15;
/// Behind where held-out rows come from.
const UNDER_ITS_OWN: &str = ", each under its own condition";

/// Runs the command.
pub fn run(mut args: CheckArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    args.model.iter_mut().chain(&mut args.points).try_for_each(|path| context.pipes.take(path))?;
    args.given.take_pipes(context)?;
    let (model, points) = match (args.model.as_deref(), args.points.as_deref()) {
        (Some(only), None) if Format::of(only).is_some() && !only.is_dir() => (None, Some(only)),
        both => both,
    };
    let outputs = [(Kind::Picture, args.plot.as_deref())];
    output::check(&outputs, &[model, points, args.given.file()])?;
    args.picked.check(points.is_some())?;
    let setup = Setup::open(model, &args.solver, context)?;
    output::check(&outputs, &[Some(&setup.path)])?;
    if args.plot.is_some() && setup.model.condition_dim() == 0 {
        let problem = "a picture of the coverage is of a model with conditions, and this one has none";
        return Err(Error::invalid(problem, "leave out --plot").into());
    }
    let data = dataset(&setup.model, points.is_none().then_some(context));
    let (condition, held_out, out_of_range) = match points {
        Some(path) => {
            let block = Some(check::MOST_ROWS);
            let mut file = source::of_file(&setup, path, (Role::Points, &args.picked), &args.given, block, context)?;
            let (part, missing) = file.next_block()?.unwrap_or_default().without_gaps();
            statistics::note_left_out(path, missing, context);
            if part.x.is_empty() {
                let problem = format!("each row of `{}` has a missing cell", path.display());
                return Err(Error::invalid(problem, "give rows with all their cells").into());
            }
            let from = path.display().to_string();
            let (x, rows) = (part.x, part.condition);
            match file.several() && !rows.is_empty() {
                true => {
                    let first = rows[..setup.model.condition_dim()].to_vec();
                    (first, HeldOut::Rows(Rows::under(x, rows), from + UNDER_ITS_OWN), file.out_of_range().clone())
                }
                false => {
                    let condition = file.one().map_or(Vec::new(), <[f64]>::to_vec);
                    (condition, HeldOut::Rows(Rows::new(x), from), file.out_of_range().clone())
                }
            }
        }
        None => {
            let conditions = args.given.of(&setup.model, context)?;
            if conditions.several() {
                let problem = "a check tests one density, but there are several rows of conditions";
                return Err(Error::invalid(problem, "give --given, or --condition with a single row").into());
            }
            let condition = conditions.one().map_or(Vec::new(), <[f64]>::to_vec);
            let mut out_of_range = OutOfRange::of(&setup.model);
            out_of_range.see_one(&condition)?;
            let rows = match &data {
                Ok(data) => held_out(data, &condition),
                Err(why) => HeldOut::Missing(why.clone()),
            };
            (condition, rows, out_of_range)
        }
    };
    let trained_on = match &data {
        Ok(Dataset { train: Source::Rows(rows), dim, shape, .. }) => {
            let rows = rows_under(rows, *dim, &condition).thinned(*dim);
            let most = if shape.is_some() { MOST_IMAGES } else { usize::MAX };
            rows.evenly(*dim, most).x.into_f64()
        }
        _ => Vec::new(),
    };
    let c = setup.model.condition_dim();
    let conditional = match (&held_out, &data, points) {
        _ if c == 0 => Rows::default(),
        (_, Ok(data), None) => conditional(data),
        (HeldOut::Rows(rows, _), _, _) if rows.context.is_empty() => {
            let n = rows.count(setup.model.dim());
            Rows { context: condition.repeat(n), ..rows.clone() }
        }
        (HeldOut::Rows(rows, _), _, _) => rows.clone(),
        (HeldOut::Missing(_), _, _) => Rows::default(),
    };
    let n = args.n as usize;
    let seed = args.solver.seed.unwrap_or(0);
    let (model, precision) = (setup.model.clone(), setup.precision);
    let subject =
        Subject { model, precision, n, seed, condition, held_out, conditional, trained_on }.of_real_numbers()?;
    let lines = watched("checking", Some(check::CHECKS.len() as u64), 1, context, |done| {
        check::run(&subject, &mut |_| {
            done.add(1);
        })
    })?;
    // The picture last: if it fails, the lines are there.
    let drawn = args.plot.as_deref().map_or(Ok(()), |path| picture(path, &subject, context));
    report(&setup.path, &subject, &lines, &out_of_range, context)?;
    drawn?;
    let failed: Vec<&str> = lines.iter().filter(|l| l.verdict == Verdict::Fail).map(|l| l.name).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let problem = format!("{} of {} lines failed: {}", failed.len(), lines.len(), failed.join(", "));
    Err(Error::invalid(problem, advice(&failed, subject.precision)).into())
}

/// The data that the model was trained on, as its provenance records it, with the columns in the model's order; notes
/// on reading it go to `context`.
fn dataset(model: &Model, context: Option<&Context>) -> std::result::Result<Dataset, String> {
    let job = Job::of_provenance(&model.provenance);
    let job = job.ok_or("no rows were given, and the model file does not name its data")?;
    let (data, notes) =
        job.dataset_of(&model.spec, None).map_err(|e| format!("the training data cannot be used: {e}"))?;
    if let Some(context) = context {
        context.notes_on_tables(&notes);
    }
    let fits = data.dim == model.dim();
    fits.then_some(data)
        .ok_or_else(|| format!("the number of columns of `{}` has changed since the training", job.data.source))
}

/// The rows under a condition: only these can be compared with the samples under it.
fn rows_under(rows: &Rows, d: usize, condition: &[f64]) -> Rows {
    if rows.context.is_empty() {
        return rows.clone();
    }
    let all = rows.context.chunks_exact(condition.len().max(1)).enumerate();
    let same: Vec<usize> = all.filter(|(_, row)| *row == condition).map(|(i, _)| i).collect();
    Rows { context: Vec::new(), ..rows.pick(d, &same) }
}

/// The rows that were held out of the data that a model was trained on: those under the very condition of the samples,
/// where a class gives enough of them; else each under its own.
fn held_out(data: &Dataset, condition: &[f64]) -> HeldOut {
    let (d, from) = (data.dim, format!("held out of {}", data.name));
    let mut all = None;
    for rows in [&data.test, &data.valid].into_iter().filter(|rows| !rows.is_empty()) {
        let rows = rows.thinned(d);
        let same = rows_under(&rows, d, condition);
        if rows.context.is_empty() || same.count(d) >= check::LEAST_ROWS {
            return HeldOut::Rows(same, from);
        }
        all.get_or_insert(HeldOut::Rows(rows, from.clone() + UNDER_ITS_OWN));
    }
    all.unwrap_or_else(|| HeldOut::Missing(format!("no rows of {} were held out", data.name)))
}

/// The held-out rows of a data set with conditions, each with its own.
fn conditional(data: &Dataset) -> Rows {
    let sets = [&data.test, &data.valid].into_iter().filter(|rows| !rows.is_empty());
    let largest = sets.max_by_key(|rows| rows.count(data.dim).min(check::MOST_ROWS));
    largest.map_or_else(Rows::default, |rows| rows.thinned(data.dim).first(data.dim, check::MOST_ROWS))
}

/// The coverage of a conditional model over its level.
fn picture(path: &Path, subject: &Subject, context: &Context) -> Result<()> {
    let ranks = match check::ranks(subject)? {
        Ok(ranks) => ranks,
        Err(why) => {
            let problem = format!("the coverage cannot be drawn: {why}");
            return Err(Error::invalid(problem, "give more held-out rows with their conditions").into());
        }
    };
    let (curve, options) = (ranks.coverage(), cnflow::plot::Options::default());
    interrupt::critical_section(|| cnflow::plot::coverage(path, &[("the model", curve)], ranks.noise(), &options))?;
    context.note(&format!("wrote {}", path.display()));
    Ok(())
}

/// What to try, by the first line that failed.
fn advice(failed: &[&str], precision: Precision) -> String {
    let wide = precision == Precision::F64;
    let more = if wide { "" } else { " --precision f64" };
    match failed[0] {
        "solver" => "try `--solver bdf`, or train with a smaller learning rate".into(),
        "coverage" => "train longer, or try --model mixture; find the missed rows with `cnf density`".into(),
        "calibration" => "train longer, or on more rows; --plot shows at which levels the coverage is off".into(),
        "latents of data" => "train longer, or check that the rows have the distribution of the training data".into(),
        "trace" | "mass" | "divergence, t = 1" | "divergence, t = 1/2" => {
            format!("try `--trace exact --rtol 1e-7 --atol 1e-7{more}`; if it still fails, report it")
        }
        _ if wide => "give a smaller --rtol and --atol, or more --fixed-steps".into(),
        _ => "give a smaller --rtol and --atol, or more --fixed-steps; `--precision f64` for f32's round-off".into(),
    }
}

fn report(path: &Path, subject: &Subject, lines: &[Check], out_of_range: &OutOfRange, context: &Context) -> Result<()> {
    let passed = check::passed(lines);
    let facts = json!({
        "model": path,
        "n": subject.n,
        "passed": passed,
        "condition": subject.condition,
        "condition_outside": out_of_range.facts(),
        "checks": lines.iter().map(|line| json!(line)).collect::<Vec<Value>>(),
    });
    let mut words = format!("{}\n\n{:<21}{:>10}{:>10}  verdict\n", path.display(), "", "value", "bound");
    for line in lines {
        words += &row(line);
    }
    if !subject.condition.is_empty() {
        words += &format!("\nSamples and densities are under the condition {}\n", under(subject));
    }
    words += &statistics::out_of_range(out_of_range, context);
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    words += &format!("\n{} passed, {} failed", count(Verdict::Pass), count(Verdict::Fail));
    for (verdict, name) in [(Verdict::Unclear, "unclear"), (Verdict::Skipped, "skipped")] {
        if count(verdict) > 0 {
            words += &format!(", {} {name}", count(verdict));
        }
    }
    context.report(&words, &facts)
}

/// The condition of the lines about one density.
fn under(subject: &Subject) -> String {
    let name = |j| subject.model.spec.condition.as_ref().map_or_else(|| format!("c{j}"), |given| given.name(j));
    let one = |(j, value): (usize, &f64)| format!("{} = {value}", name(j));
    subject.condition.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
}

/// Numbers and verdict, and below them what was compared.
fn row(line: &Check) -> String {
    let number = |value: Option<f64>| match value {
        None => String::new(),
        Some(0.0) => "0".into(),
        Some(v) if (0.01..1e4).contains(&v.abs()) => format!("{v:.3}"),
        Some(v) => cnflow::words::error(v),
    };
    let verdict = match line.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::Unclear => "unclear",
        Verdict::Skipped => "skipped",
    };
    format!("{:<21}{:>10}{:>10}  {verdict}\n    {}\n", line.name, number(line.value), number(line.bound), line.words)
}
