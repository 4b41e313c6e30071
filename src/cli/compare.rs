//! `cnf compare`: several models of the same data, trained under one budget, measured alike, in one table and one figure.

mod benchmark;
mod pictures;
mod report;
mod table;

use std::path::{Path, PathBuf};

use anyhow::Result;
use cnflow::Error;
use cnflow::compare::Benchmark;
use cnflow::io::Header;
use cnflow::rows::diagnose::Finding;
use cnflow::rows::{Dataset, Rows};
use cnflow::train::{Family, Far, FarRows, Job, Objective, Precision, Set};
use serde_json::{Value, json};

use self::benchmark::{Entry, Measured, Order};
use self::table::Row;
use super::lock::Lock;
use super::picture::Shown;
use super::train::{folder, held_out, seconds, with_flags};
use super::warnings::Warnings;
use super::{Context, TableArgs, findings, interrupt, picture, place};

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
        "models", "time", "steps", "params", "seeds", "depths", "drop", "condition", "column", "objective", "sigma",
    ])]
    runs: Vec<PathBuf>,
    /// A toy (`cnf data` lists them) or a .npy, .npz or .csv file [default: 8gaussians, or what the runs were trained on]
    #[arg(long, value_name = "NAME|FILE")]
    data: Option<String>,
    /// Split of a table, as in `cnf train` [default: auto]
    #[arg(long, value_name = "RULE", conflicts_with = "runs")]
    split: Option<String>,
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
    /// Models to train: cnf, nice, realnvp, glow, spline, gaussian, gaussian-fixed, mixture, histogram [default: the flows, gaussian, mixture]
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
    /// Each of the chosen columns against the next.
    fn pairs(&self, names: &[String], d: usize) -> Result<Vec<(usize, usize)>> {
        let Some(columns) = picture::columns(&self.drawn.columns, names, d)? else { return Ok(Vec::new()) };
        if d <= 2 {
            let problem = format!("--columns needs data of more than two columns; these have {d}");
            return Err(Error::invalid(problem, "leave out --columns").into());
        }
        if !(2..=7).contains(&columns.len()) {
            let problem = format!("--columns has {}", cnflow::words::count(columns.len() as u64, "column"));
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

/// The stream of the order of held-out rows.
const ORDER_STREAM: u64 = 0xc09c_0001;
/// The files that make a folder a run.
const MODELS: [&str; 2] = ["model.safetensors", "checkpoint.safetensors"];
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
    let mut contest =
        if args.runs.is_empty() { Contest::planned(args, context)? } else { Contest::found(args, context)? };
    let (out, lock) = contest.place(args.out.as_deref(), args.force)?;
    let mut warnings = Warnings::new(context);
    lock.warning().into_iter().for_each(|words| warnings.add(words));
    contest.warned = findings::noted(&contest.about, &contest.data, context);
    let wanted = contest.jobs.len() + contest.found.len();
    let (measured, broken) = contest.held(&out, context)?;
    if measured.is_empty() {
        let problem = match broken.first() {
            None => "the comparison was ended before any model was trained",
            Some(first) => first,
        };
        return Err(Error::invalid(problem, "let at least one training end, or give a shorter --time").into());
    }
    let rows = Row::all(&measured);
    let skipped = wanted.saturating_sub(measured.len() + broken.len());
    measured.iter().for_each(|one| warnings.all.extend(one.contestant.warnings.iter().cloned()));
    // The numbers first: a failed write of pictures must not lose them.
    let csv = table::csv(&rows);
    let table = interrupt::critical_section(|| {
        cnflow::io::write_atomically(&out.join("table.csv"), |file| file.write_all(csv.as_bytes()))
    });
    let page = |drawn: Option<&pictures::Drawn>| {
        let page = report::page(&contest, &rows, drawn, skipped, &broken);
        interrupt::critical_section(|| cnflow::html::write(&out.join(REPORT), &page))
    };
    let mut reported = page(None);
    match pictures::draw(&contest, &rows, &out, context) {
        Ok(drawn) => match page(Some(&drawn)) {
            Err(error) if reported.is_ok() => warnings.add(format!("{error}; it has the table, without pictures")),
            other => reported = other,
        },
        Err(error) => warnings.add(format!("not all pictures were drawn: {error:#}")),
    }
    drop(lock);
    let mut words = table::words(&rows);
    if let Some(caution) = findings::caution(&contest.warned) {
        words += &format!("warning: {caution}\n");
    }
    if skipped > 0 {
        let left = cnflow::words::count(skipped as u64, "training");
        words += &format!("{left} skipped: the comparison was ended by {}\n", interrupt::cause());
    }
    table::carried(&rows, contest.set).iter().for_each(|line| words += &format!("{line}\n"));
    broken.iter().for_each(|line| words += &format!("{line}\n"));
    contest.left_out.iter().for_each(|(name, why)| words += &format!("{name} is left out: {why}\n"));
    let left_out: Vec<Value> =
        contest.left_out.iter().map(|(name, why)| json!({ "model": name, "why": why })).collect();
    warnings.all.iter().for_each(|line| words += &format!("warning: {line}\n"));
    words += &format!("{}\n", out.join(REPORT).display());
    let facts = json!({
        "data": contest.data.name,
        "dim": contest.data.dim,
        "n": measured[0].figures.n,
        "scored": contest.set,
        "entropy": contest.data.toy().map(|toy| toy.entropy),
        "time": contest.jobs.first().and_then(|job| job.optimiser.time),
        "steps": contest.jobs.first().and_then(|job| job.optimiser.steps),
        "models": table::json(&rows),
        "skipped": skipped,
        "broken": broken,
        "left_out": left_out,
        "data_warnings": contest.warned,
        "warnings": warnings.all,
        "out": out,
    });
    context.report(&words, &facts)?;
    // A missing output is an error, but only after the report.
    table?;
    Ok(reported?)
}

/// What is compared, and on what.
struct Contest {
    data: Dataset,
    /// The name of the held-out set.
    set: &'static str,
    /// The rows of that set, in a random order.
    rows: Rows,
    /// What is to be trained; empty where runs were named.
    jobs: Vec<Job>,
    depths: Vec<usize>,
    /// The runs that were named, until they are measured.
    found: Vec<Entry>,
    /// Models that cannot be fitted to these data, and why.
    left_out: Vec<(&'static str, String)>,
    precision: Precision,
    seed: u64,
    picture: cnflow::train::Picture,
    /// How the data are read.
    about: Job,
    /// What was found in them.
    warned: Vec<Finding>,
    /// The pairs of columns that are scattered, where they were chosen.
    shown: Vec<(usize, usize)>,
}

impl Contest {
    /// The planned trainings.
    fn planned(args: &CompareArgs, context: &Context) -> Result<Self> {
        let seed = args.seed.unwrap_or(0);
        let mut job = Job::default().with(|job| {
            job.seed = seed;
            job.data.columns = args.column.clone();
        });
        (job.data.drop, job.data.condition) = (args.drop.clone(), args.condition.clone());
        job.data.source = args.data.clone().unwrap_or(job.data.source);
        job.data.split = args.split.clone().unwrap_or(job.data.split);
        job.data.header = args.tables.header.unwrap_or(job.data.header);
        job.data.layout = args.tables.layout.unwrap_or(job.data.layout);
        job.model.precision = args.precision.unwrap_or_default();
        job.model.sigma = args.sigma.unwrap_or(job.model.sigma);
        job.data.split_seed = Some(seed);
        // The mixture is a model of its own here.
        job.model.base = "normal".into();
        (job.optimiser.steps, job.optimiser.time) =
            (args.steps, args.steps.is_none().then(|| args.time.unwrap_or(30.0)));
        let data = job.dataset(None)?;
        context.notes_on_tables(&data.notes);
        job.output.picture.names = match (args.names.is_empty(), &data.columns) {
            (false, _) => args.names.clone(),
            (true, names) => names.clone().unwrap_or_default(),
        };
        job.output.picture.invert_y = args.invert_y;
        maybe_log(&mut job.output.picture, args);
        let models = if args.models.is_empty() { benchmark::usual(&data) } else { args.models.clone() };
        if let Some(i) = (1..models.len()).find(|i| models[..*i].contains(&models[*i])) {
            let problem = format!("the model `{}` is named twice", models[i].name());
            return Err(Error::invalid(problem, "name it once; --seeds trains it several times").into());
        }
        let unfit = |model: &Family| match model {
            model if model.is_reference() && data.context.is_some() => Some("it cannot have a condition".to_owned()),
            Family::Histogram if data.dim > 2 => Some(format!("it needs 1 or 2 columns, the data have {}", data.dim)),
            _ => None,
        };
        let left_out: Vec<(&str, String)> =
            models.iter().filter_map(|model| Some((model.name(), unfit(model)?))).collect();
        let models: Vec<Family> = models.iter().copied().filter(|model| unfit(model).is_none()).collect();
        for (name, why) in &left_out {
            match models.is_empty() {
                true => {
                    let problem = format!("--models {name}: {why}");
                    return Err(Error::invalid(problem, "name a flow, or leave out --models and --condition").into());
                }
                false => context.note(&format!("{name} is left out: {why}")),
            }
        }
        let mut jobs = Vec::new();
        for seed in (0..u64::from(args.seeds.unwrap_or(1))).map(|k| seed + k) {
            for model in &models {
                // All seeds share the split of the first: what one was trained on is held out of none.
                let mut job = job.clone().with(|job| {
                    job.model.family = *model;
                    job.seed = seed;
                });
                if *model == Family::Cnf {
                    job.objective.kind = args.objective.unwrap_or_default();
                }
                if let Some(params) = args.params.filter(|_| !model.is_reference()) {
                    job = job.sized(&data, params)?;
                }
                // Errors are reported before the first training, not after it.
                job.clone().resolve(data.dim)?;
                for other in benchmark::other_depths(&job, &args.depths, data.dim)? {
                    other.resolve(data.dim)?;
                }
                jobs.push(job);
            }
        }
        // Once, not with each of the trainings.
        Far::find(&job, None, &data)?
            .words(job.data.far_rows)
            .iter()
            .for_each(|words| context.note(&with_flags(words)));
        let (set, rows) = in_random_order(&job, &data, seed, context)?;
        let (precision, picture) = (job.model.precision, job.output.picture.clone());
        let (depths, found) = (args.depths.clone(), Vec::new());
        let (about, warned) = (job, Vec::new());
        let shown = args.pairs(&picture.names, data.dim)?;
        Ok(Self { data, set, rows, jobs, depths, found, left_out, precision, seed, picture, about, warned, shown })
    }

    /// The runs that were named, which must be of the same data.
    fn found(args: &CompareArgs, context: &Context) -> Result<Self> {
        let (mut contestants, mut found): (Vec<Entry>, Vec<(PathBuf, Job)>) = (Vec::new(), Vec::new());
        for path in &args.runs {
            let (contestant, job) = benchmark::found(path, context)?;
            contestants.push(contestant);
            found.push((path.clone(), job));
        }
        let (first, mut job) = found[0].clone();
        for (contestant, (path, other)) in contestants.iter().zip(&found) {
            let names = |contestant: &Entry| contestant.model.spec.condition_names().to_vec();
            let (mine, theirs) = (names(&contestants[0]), names(contestant));
            let same = match mine.is_empty() || theirs.is_empty() {
                true => job.data.condition == other.data.condition,
                // Their order is each model's own.
                false => mine.len() == theirs.len() && mine.iter().all(|name| theirs.contains(name)),
            };
            if !same {
                let (path, first) = (path.display(), first.display());
                let problem = format!(
                    "`{path}` is conditional on {:?}, `{first}` on {:?}",
                    other.data.condition, job.data.condition
                );
                return Err(Error::invalid(problem, "compare models of the same conditions").into());
            }
        }
        match &args.data {
            Some(data) => {
                if *data != job.data.source {
                    job.data.header = Header::Auto;
                }
                job.data.source.clone_from(data);
            }
            None => {
                if let Some((path, other)) = found.iter().find(|(_, other)| other.data.source != job.data.source) {
                    let (path, first) = (path.display(), first.display());
                    let problem =
                        format!("`{path}` was trained on {}, `{first}` on {}", other.data.source, job.data.source);
                    return Err(Error::invalid(problem, "choose the data of the comparison with --data").into());
                }
            }
        }
        job.data.header = args.tables.header.unwrap_or(job.data.header);
        job.data.layout = args.tables.layout.unwrap_or(job.data.layout);
        let split = |job: &Job| (job.data.split.clone(), job.data.split_seed.unwrap_or(job.seed));
        let (data, notes) = job.dataset_of(&contestants[0].model.spec, None)?;
        context.notes_on_tables(&notes);
        if data.toy().is_none()
            && let Some((path, _)) = found.iter().find(|(_, other)| split(other) != split(&job))
        {
            let (path, first) = (path.display(), first.display());
            let problem = format!(
                "`{path}` and `{first}` were trained on different splits: test rows of one are training rows of the other"
            );
            return Err(Error::invalid(problem, "train both with the same --split and --seed").into());
        }
        if let Some(other) = contestants.iter().find(|one| one.model.dim() != data.dim) {
            let what = format!("the run `{}`", other.run.display());
            return Err(Error::Dimension { what, expected: data.dim, found: other.model.dim() }.into());
        }
        for contestant in &mut contestants {
            contestant.order = Order::of(&contestant.model, &data)?;
            if contestant.order.differs() {
                let run = contestant.run.display();
                context.note(&format!("the columns of the run `{run}` are in another order: they are taken by name"));
            }
        }
        benchmark::told_apart(&mut contestants);
        let (set, rows) = in_random_order(&job, &data, args.seed.unwrap_or(job.seed), context)?;
        let mut picture = job.output.picture.clone();
        picture.invert_y |= args.invert_y;
        if !args.names.is_empty() {
            picture.names.clone_from(&args.names);
        }
        let precision = args.precision.unwrap_or(job.model.precision);
        let (jobs, depths, seed) = (Vec::new(), Vec::new(), args.seed.unwrap_or(job.seed));
        let (about, warned) = (job, Vec::new());
        let (found, left_out) = (contestants, Vec::new());
        let shown = args.pairs(&picture.names, data.dim)?;
        maybe_log(&mut picture, args);
        Ok(Self { data, set, rows, jobs, depths, found, left_out, precision, seed, picture, about, warned, shown })
    }

    /// Trains and measures one after another; a signal skips those not begun; failures are reported.
    fn held(&mut self, out: &Path, context: &Context) -> Result<(Vec<Measured>, Vec<String>)> {
        let (mut measured, mut broken) = (Vec::new(), Vec::new());
        for contestant in std::mem::take(&mut self.found) {
            measured.push(self.measured(contestant, out, context)?);
        }
        for (i, job) in self.jobs.iter().enumerate() {
            if interrupt::asked() {
                break;
            }
            let name = job.model.family.name();
            let seed = if job.seed == self.seed { String::new() } else { format!(", seed {}", job.seed) };
            let words = format!("training  {} of {}: {name}{seed}", i + 1, self.jobs.len());
            let one = benchmark::train(job, &self.data, &self.warned, &self.folder(job, out), &words, context)
                .and_then(|contestant| self.measured(contestant, out, context));
            match one {
                Ok(one) => measured.push(one),
                // A failure does not end the others.
                Err(error) if self.jobs.len() > 1 => {
                    broken.push(format!("{name}{seed} failed: {error:#}"));
                    context.note(broken.last().map_or("", String::as_str));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((measured, broken))
    }

    /// Where a training goes.
    fn folder(&self, job: &Job, out: &Path) -> PathBuf {
        let name = job.model.family.name();
        out.join(if job.seed == self.seed { name.into() } else { format!("{name}-seed{}", job.seed) })
    }

    fn measured(&self, contestant: Entry, out: &Path, context: &Context) -> Result<Measured> {
        context.note(&format!("measuring {}", contestant.name));
        let order = &contestant.order;
        let rows = order.inward(&self.rows, self.data.dim);
        let (precision, seed) = (self.precision, self.seed);
        let course = Benchmark { rows: &rows, truth: self.data.toy(), precision, seed };
        let mut figures = course.measure(&contestant.model)?;
        figures.samples = order.outward(&figures.samples);
        let mut costs = Vec::new();
        // One seed is enough for a curve.
        if contestant.seed == self.seed || self.jobs.is_empty() {
            costs = course.costs(&contestant.model)?;
            let own = self.jobs.iter().find(|job| job.model.family.name() == contestant.name && job.seed == self.seed);
            let depths = own.map_or(Ok(Vec::new()), |own| benchmark::other_depths(own, &self.depths, self.data.dim))?;
            for job in depths {
                if interrupt::asked() {
                    break;
                }
                let depth = job.model.depth.unwrap_or_default();
                let folder = out.join(format!("{}-depth{depth}", job.model.family.name()));
                let words = format!("training  {} at depth {depth}", job.model.family.name());
                let other = benchmark::train(&job, &self.data, &self.warned, &folder, &words, context)?;
                if other.stopped {
                    break;
                }
                costs.push(course.cost(&other.model, cnflow::words::count(depth as u64, "coupling"))?);
            }
            costs.sort_by(|a, b| a.microseconds.total_cmp(&b.microseconds));
        }
        Ok(Measured { contestant, figures, costs })
    }
}

/// The name of the held-out set, and its rows in a random order: a file may be sorted.
/// A row far beyond all others is in none of them: it would be the mean of every score and the scale of every distance.
fn in_random_order(job: &Job, data: &Dataset, seed: u64, context: &Context) -> Result<(&'static str, Rows)> {
    let (set, rows) = held_out(data);
    let far = if job.data.far_rows == FarRows::Keep { Far::default() } else { Far::find(job, None, data)? };
    let far = far.of(match set {
        "test" => Set::Test,
        "validation" => Set::Validation,
        _ => Set::Training,
    });
    if !far.is_empty() {
        context.note(&format!("{set} rows that are far out, where no model is measured: {}", far.len()));
    }
    let near = rows.without(data.dim, &far);
    let rows = cnflow::compare::shuffled(&near, data.dim, &mut cnflow::rng::stream(seed, ORDER_STREAM))?;
    Ok((set, rows))
}

impl Contest {
    /// Refuses a folder in which the comparison would overwrite what it reads.
    fn spares(&self, out: &Path) -> Result<()> {
        let mut written: Vec<PathBuf> =
            ["table.csv", REPORT, "compare.png", "compare.svg"].map(|f| out.join(f)).to_vec();
        for job in &self.jobs {
            written.extend(folder::FILES.map(|name| self.folder(job, out).join(name)));
        }
        let named = |job: &Job| folder::named_by(job);
        let data = Path::new(&self.data.name);
        let read: Vec<PathBuf> =
            self.jobs.first().map_or_else(Vec::new, named).into_iter().chain([data.into()]).collect();
        let read = read.iter().map(PathBuf::as_path).filter(|path| !path.is_dir());
        let runs = self.found.iter().map(|one| one.run.as_path());
        let written: Vec<&Path> = written.iter().map(PathBuf::as_path).collect();
        Ok(place::spared(&written, &read.chain(runs).collect::<Vec<_>>())?)
    }

    /// The folder, made if it is not there, and locked.
    fn place(&self, out: Option<&Path>, force: bool) -> Result<(PathBuf, Lock)> {
        if let Some(out) = out {
            Lock::check(out)?;
            if out.join(REPORT).exists() && !force {
                let problem = format!("`{}` already holds a comparison", out.display());
                return Err(Error::invalid(problem, "give another --out, or --force to overwrite it").into());
            }
            self.spares(out)?;
            let holds = |job: &&Job| MODELS.iter().any(|name| self.folder(job, out).join(name).exists());
            if let Some(job) = self.jobs.iter().find(holds).filter(|_| !force) {
                let problem = format!("`{}` already holds a run", self.folder(job, out).display());
                return Err(Error::invalid(problem, "give another --out, or --force to overwrite it").into());
            }
            std::fs::create_dir_all(out).map_err(|e| Error::write(out, e.kind()))?;
            return Ok((out.to_owned(), interrupt::critical_section(|| Lock::take(out))?));
        }
        let stem = cnflow::io::without_gz(Path::new(&self.data.name))
            .file_stem()
            .map_or_else(|| "data".into(), |stem| stem.to_string_lossy());
        let runs = Path::new("runs");
        std::fs::create_dir_all(runs).map_err(|e| Error::write(runs, e.kind()))?;
        for n in 1_u64.. {
            let folder = runs.join(format!("compare-{stem}-{n}"));
            match std::fs::create_dir(&folder) {
                Ok(()) => {
                    let lock = interrupt::critical_section(|| Lock::take(&folder))?;
                    return Ok((folder, lock));
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::write(&folder, e.kind()).into()),
            }
        }
        Err(Error::write(runs, "it is full").into())
    }
}
