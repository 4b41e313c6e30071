//! What a comparison is of: the trainings that are planned or the runs that were found, the rows that measure them,
//! and the folder.

use std::path::{Path, PathBuf};

use anyhow::Result;
use cnflow::Error;
use cnflow::compare::Benchmark;
use cnflow::rows::diagnose::Finding;
use cnflow::rows::{Dataset, Rows};
use cnflow::train::{Family, Far, FarRows, Job, Precision, Set, held_out};

use super::benchmark::{self, Entry, Measured, Order};
use super::{CompareArgs, REPORT, maybe_log};
use crate::cli::files::{CHECKPOINT, MODEL};
use crate::cli::lock::Lock;
use crate::cli::train::folder;
use crate::cli::{Context, interrupt, place};

/// The stream of the order of held-out rows.
const ORDER_STREAM: u64 = 0xc09c_0001;

/// What is compared, and on what.
pub struct Comparison {
    pub data: Dataset,
    /// The name of the held-out set.
    pub set: &'static str,
    /// The rows of that set, in a random order.
    pub rows: Rows,
    /// What is to be trained; empty where runs were named.
    pub jobs: Vec<Job>,
    pub depths: Vec<usize>,
    /// The runs that were named, until they are measured.
    pub found: Vec<Entry>,
    /// Models that cannot be fitted to these data, and why.
    pub left_out: Vec<(&'static str, String)>,
    pub precision: Precision,
    pub seed: u64,
    pub picture: cnflow::train::Picture,
    /// How the data are read.
    pub about: Job,
    /// What was found in them.
    pub warned: Vec<Finding>,
    /// The pairs of columns that are scattered, where they were chosen.
    pub shown: Vec<(usize, usize)>,
}

impl Comparison {
    /// The planned trainings.
    pub fn planned(args: &CompareArgs, context: &Context) -> Result<Self> {
        let seed = args.seed.unwrap_or(0);
        let mut job = Job::default().with(|job| {
            job.seed = seed;
            job.data.columns = args.column.clone();
        });
        job.data.keep.clone_from(&args.columns);
        (job.data.drop, job.data.condition) = (args.drop.clone(), args.condition.clone());
        job.data.source = args.data.clone().unwrap_or(job.data.source);
        job.data.split = args.split.clone().unwrap_or(job.data.split);
        args.tables.set(&mut job.data);
        job.model.precision = args.precision.unwrap_or_default();
        job.model.sigma = args.sigma.unwrap_or(job.model.sigma);
        job.data.split_seed = Some(seed);
        // The mixture is a model of its own here.
        job.model.base = "normal".into();
        (job.optimiser.steps, job.optimiser.time) =
            (args.steps, args.steps.is_none().then(|| args.time.unwrap_or(30.0)));
        let mut data = context.pipes.job(&job)?.dataset(None)?;
        data.name.clone_from(&job.data.source);
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
        args.check_applies(&models, &job.data.source)?;
        let job = job.with_tolerance_for(&data);
        let mut jobs = Vec::new();
        for seed in (0..u64::from(args.seeds.unwrap_or(1))).map(|k| seed + k) {
            for model in &models {
                // All seeds share the split of the first: what one was trained on is held out of none.
                let mut job = job.clone().with(|job| {
                    job.model.family = *model;
                    job.seed = seed;
                });
                job = job.applicable();
                if *model == Family::Cnf {
                    job.objective.kind = args.objective.unwrap_or_default();
                }
                if let Some(params) = args.params.filter(|_| !model.is_reference()) {
                    job = job.sized(&data, params)?;
                }
                // Errors are reported before the first training, not after it.
                job.clone().resolve_for(&data)?;
                for other in benchmark::other_depths(&job, &args.depths, data.dim)? {
                    other.resolve_for(&data)?;
                }
                jobs.push(job);
            }
        }
        // Once, not with each of the trainings.
        Far::find(&job, None, &data)?
            .words(job.data.far_rows)
            .iter()
            .for_each(|words| context.note(&context.with_names(words)));
        let (set, rows) = in_random_order(&job, &data, seed, context)?;
        let (precision, picture) = (job.model.precision, job.output.picture.clone());
        let (depths, found) = (args.depths.clone(), Vec::new());
        let (about, warned) = (job, Vec::new());
        let shown = args.pairs(&picture.names, data.dim)?;
        Ok(Self { data, set, rows, jobs, depths, found, left_out, precision, seed, picture, about, warned, shown })
    }

    /// The runs that were named, which must be of the same data.
    pub fn found(args: &CompareArgs, context: &Context) -> Result<Self> {
        let (mut entries, mut found): (Vec<Entry>, Vec<(PathBuf, Job)>) = (Vec::new(), Vec::new());
        for path in &args.runs {
            let (entry, job) = benchmark::found(path, context)?;
            entries.push(entry);
            found.push((path.clone(), job));
        }
        let (first, mut job) = found[0].clone();
        for (entry, (path, other)) in entries.iter().zip(&found) {
            let names = |entry: &Entry| entry.model.spec.condition_names().to_vec();
            let (mine, theirs) = (names(&entries[0]), names(entry));
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
                    job.data.forget_dialect();
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
        args.tables.set(&mut job.data);
        let split = |job: &Job| (job.data.split.clone(), job.data.split_seed.unwrap_or(job.seed));
        let read = if args.data.is_some() { context.pipes.job(&job)? } else { job.clone() };
        let (mut data, notes) = read.dataset_of(&entries[0].model.spec, None)?;
        data.name.clone_from(&job.data.source);
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
        if let Some(other) = entries.iter().find(|one| one.model.dim() != data.dim) {
            let what = format!("the run `{}`", other.run.display());
            return Err(Error::Dimension { what, expected: data.dim, found: other.model.dim() }.into());
        }
        for entry in &mut entries {
            entry.order = Order::of(&entry.model, &data)?;
            if entry.order.differs() {
                let run = entry.run.display();
                context.note(&format!("the columns of the run `{run}` are in another order: they are taken by name"));
            }
        }
        benchmark::make_distinct(&mut entries);
        let (set, rows) = in_random_order(&job, &data, args.seed.unwrap_or(job.seed), context)?;
        let mut picture = job.output.picture.clone();
        picture.invert_y |= args.invert_y;
        if !args.names.is_empty() {
            picture.names.clone_from(&args.names);
        }
        let precision = args.precision.unwrap_or(job.model.precision);
        let (jobs, depths, seed) = (Vec::new(), Vec::new(), args.seed.unwrap_or(job.seed));
        let (about, warned) = (job, Vec::new());
        let (found, left_out) = (entries, Vec::new());
        let shown = args.pairs(&picture.names, data.dim)?;
        maybe_log(&mut picture, args);
        Ok(Self { data, set, rows, jobs, depths, found, left_out, precision, seed, picture, about, warned, shown })
    }

    /// Trains and measures one after another; a signal skips those not begun; failures are reported.
    pub fn held(&mut self, out: &Path, context: &Context) -> Result<(Vec<Measured>, Vec<String>)> {
        let (mut measured, mut broken) = (Vec::new(), Vec::new());
        for entry in std::mem::take(&mut self.found) {
            measured.push(self.measured(entry, out, context)?);
        }
        for (i, job) in self.jobs.iter().enumerate() {
            if interrupt::requested() {
                break;
            }
            let name = job.model.family.name();
            let seed = if job.seed == self.seed { String::new() } else { format!(", seed {}", job.seed) };
            let words = format!("training  {} of {}: {name}{seed}", i + 1, self.jobs.len());
            let one = benchmark::train(job, &self.data, &self.warned, &self.folder(job, out), &words, context)
                .and_then(|entry| self.measured(entry, out, context));
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

    fn measured(&self, entry: Entry, out: &Path, context: &Context) -> Result<Measured> {
        context.note(&format!("measuring {}", entry.name));
        let order = &entry.order;
        let rows = order.inward(&self.rows, self.data.dim);
        let (precision, seed) = (self.precision, self.seed);
        let benchmark = Benchmark { rows: &rows, truth: self.data.toy(), precision, seed };
        let mut metrics = benchmark.measure(&entry.model)?;
        metrics.samples = order.outward(&metrics.samples);
        let mut costs = Vec::new();
        // One seed is enough for a curve.
        if entry.seed == self.seed || self.jobs.is_empty() {
            costs = benchmark.costs(&entry.model)?;
            let own = self.jobs.iter().find(|job| job.model.family.name() == entry.name && job.seed == self.seed);
            let depths = own.map_or(Ok(Vec::new()), |own| benchmark::other_depths(own, &self.depths, self.data.dim))?;
            for job in depths {
                if interrupt::requested() {
                    break;
                }
                let depth = job.model.depth.unwrap_or_default();
                let folder = out.join(format!("{}-depth{depth}", job.model.family.name()));
                let words = format!("training  {} at depth {depth}", job.model.family.name());
                let other = benchmark::train(&job, &self.data, &self.warned, &folder, &words, context)?;
                if other.stopped {
                    break;
                }
                costs.push(benchmark.cost(&other.model, cnflow::words::count(depth as u64, "coupling"))?);
            }
            costs.sort_by(|a, b| a.microseconds.total_cmp(&b.microseconds));
        }
        Ok(Measured { entry, metrics, costs })
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

impl Comparison {
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
    pub fn place(&self, out: Option<&Path>, force: bool) -> Result<(PathBuf, Lock)> {
        if let Some(out) = out {
            Lock::check(out)?;
            if out.join(REPORT).exists() && !force {
                let problem = format!("`{}` already holds a comparison", out.display());
                return Err(Error::invalid(problem, "give another --out, or --force to overwrite it").into());
            }
            self.spares(out)?;
            let holds = |job: &&Job| [MODEL, CHECKPOINT].iter().any(|name| self.folder(job, out).join(name).exists());
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
