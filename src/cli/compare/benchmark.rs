//! The entries of a comparison: models that are trained for it, or that were trained before.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Result;
use cnflow::model::Model;
use cnflow::names::{Matched, NamedTable};
use cnflow::rows::diagnose::Finding;
use cnflow::rows::{Dataset, Rows};
use cnflow::train::{Family, Job, Progress, TrainResult, Watch, fit};
use cnflow::{Error, compare};
use serde_json::json;

use crate::cli::files::{METRICS, MODEL};
use crate::cli::images::ScoreUnit;
use crate::cli::train::curves::Curves;
use crate::cli::train::folder::Folder;
use crate::cli::train::report;
use crate::cli::train::watch::Screen;
use crate::cli::warnings::Warnings;
use crate::cli::{Context, interrupt, setup};

/// A model and its provenance.
pub struct Entry {
    /// What it is called in tables and pictures.
    pub name: String,
    pub model: Model,
    /// Numbers that were fitted.
    pub params: usize,
    pub seed: u64,
    /// Of the training.
    pub seconds: f64,
    pub steps: usize,
    /// Seconds and held-out NLL along the training.
    pub curve: Vec<(f64, f64)>,
    /// Where it lies.
    pub run: PathBuf,
    /// Its training was interrupted.
    pub stopped: bool,
    /// Where its columns are among those of the comparison.
    pub order: Order,
    /// Files that could not be written.
    pub warnings: Vec<String>,
}

/// Of each column of a model, and of its conditions, the place among those of the comparison.
pub struct Order {
    points: Matched,
    context: Matched,
}

impl Order {
    /// By name; without names, in the order of the data.
    ///
    /// # Errors
    /// As [`Matched::by_name`].
    pub fn of(model: &Model, data: &Dataset) -> Result<Self> {
        let table = format!("`{}`", data.name);
        let matched = |names: &[String], wanted: &[String], cols: usize| match names.is_empty() || wanted.is_empty() {
            true => Ok(Matched::in_order(cols)),
            false => Matched::by_name(NamedTable::of_file(&table, names), wanted, "the model"),
        };
        let conditions = data.context.as_ref().map_or(&[][..], |context| context.names(data.columns.is_some()));
        Ok(Self {
            points: matched(data.columns.as_deref().unwrap_or_default(), &model.spec.names, data.dim)?,
            context: matched(conditions, model.spec.condition_names(), data.context_dim())?,
        })
    }

    /// Whether it is another order than the data's.
    pub fn differs(&self) -> bool {
        [&self.points, &self.context].into_iter().any(|matched| !matched.is_all_of(matched.places.len()))
    }

    /// Rows of the comparison, of `d` columns, as the model has them.
    pub fn inward(&self, rows: &Rows, d: usize) -> Rows {
        let context = match rows.context_dim(d) {
            0 => Vec::new(),
            c => self.context.pick(&rows.context, c),
        };
        Rows { x: self.points.pick(&rows.points(), d).into(), context, weight: rows.weight.clone() }
    }

    /// Conditions of the comparison, `[n, c]`, as the model has them.
    pub fn conditions(&self, rows: &[f64]) -> Vec<f64> {
        match self.context.places.len() {
            0 => Vec::new(),
            c => self.context.pick(rows, c),
        }
    }

    /// Points of the comparison, `[n, d]`, as the model has them.
    pub fn points(&self, x: &[f64]) -> Vec<f64> {
        self.points.pick(x, self.points.places.len())
    }

    /// Points of the model as the comparison has them.
    pub fn outward(&self, x: &[f64]) -> Vec<f64> {
        let places = &self.points.places;
        let mut back = x.to_vec();
        for (to, from) in back.chunks_exact_mut(places.len()).zip(x.chunks_exact(places.len())) {
            places.iter().zip(from).for_each(|(j, value)| to[*j] = *value);
        }
        back
    }
}

/// Trains one model by its job, into a folder that is a run like any other.
///
/// # Errors
/// As [`fit`], and [`Error::Write`].
pub fn train(
    job: &Job,
    data: &Dataset,
    warned: &[Finding],
    out: &Path,
    words: &str,
    context: &Context,
) -> Result<Entry> {
    let job = job.clone().resolve_for(data)?;
    context.note(words);
    let folder = Folder::claim(&job, Some(out), true)?;
    if let Some(words) = folder.warning() {
        context.note(&format!("warning: {words}"));
    }
    let mut watch = Quietly { screen: Screen::new(context.quiet, ScoreUnit::of(data.shape)) };
    let fitted = fit(&job, data, &mut watch);
    watch.screen.clear();
    let mut fitted = fitted?;
    let params = job.model.family.n_params(&fitted.model);
    fitted.model.provenance = cnflow::train::provenance(&job, &fitted);
    fitted.model.provenance.insert("data_warnings".into(), json!(warned));
    // A model that cannot be saved is still measured.
    let mut warnings = Warnings::new(context);
    warnings.without(folder.save(MODEL, |path| fitted.model.save(path)), "the model is measured but not saved")?;
    let metrics = report::metrics(&fitted.history);
    let written =
        folder.save(METRICS, |path| cnflow::io::write_atomically(path, |out| out.write_all(metrics.as_bytes())));
    warnings.without(written, "the run has no curve")?;
    warnings.without(folder.write_config(), "`cnf plot` needs it")?;
    let TrainResult { model, history, steps, seconds, stopped, .. } = fitted;
    let order = Order::of(&model, data)?;
    Ok(Entry {
        name: job.model.family.name().into(),
        model,
        params,
        seed: job.seed,
        seconds,
        steps,
        curve: history.validations.iter().map(|v| (v.seconds, v.nll)).collect(),
        run: folder.path().to_owned(),
        stopped,
        warnings: warnings.all,
        order,
    })
}

/// A run that was trained before, and the job that made it.
///
/// # Errors
/// As [`Model::load`]; [`Error::Read`] for a model without a record of its training.
pub fn found(path: &Path, context: &Context) -> Result<(Entry, Job)> {
    let file = setup::find(Some(path), context)?;
    let model = Model::load(&file)?;
    let job = Job::of_provenance(&model.provenance);
    let Some(job) = job else {
        let hint = "compare runs of `cnf train`; score an imported model with `cnf density`";
        return Err(Error::read(&file, "it has no record of its training data", hint).into());
    };
    let number = |key: &str| model.provenance.get(key).and_then(serde_json::Value::as_f64);
    let curve = match file.parent().map(|folder| folder.join(METRICS)).filter(|metrics| metrics.is_file()) {
        None => Vec::new(),
        Some(metrics) => match Curves::parse(&String::from_utf8_lossy(&cnflow::io::read_bytes(&metrics)?)) {
            Ok(curves) => curves.timed,
            Err(problem) => {
                context.note(&format!("warning: no training curve: cannot read `{}`: {problem}", metrics.display()));
                Vec::new()
            }
        },
    };
    let entry = Entry {
        name: job.model.family.name().into(),
        params: job.model.family.n_params(&model),
        seed: job.seed,
        seconds: number("seconds").unwrap_or(f64::NAN),
        steps: number("steps").unwrap_or(0.0) as usize,
        curve,
        run: path.to_owned(),
        stopped: model.provenance.get("stopped").and_then(serde_json::Value::as_bool).unwrap_or(false),
        // Until the data are read.
        order: Order { points: Matched::in_order(model.dim()), context: Matched::in_order(model.condition_dim()) },
        model,
        warnings: Vec::new(),
    };
    Ok((entry, job))
}

/// The depths at which a discrete flow is trained again, for its curve of cost: those of `--depths` without its own.
pub fn other_depths(job: &Job, depths: &[usize], dim: usize) -> Result<Vec<Job>> {
    if job.model.family.discrete().is_none() {
        return Ok(Vec::new());
    }
    let own = job.clone().resolve(dim)?.model.depth;
    let others = depths.iter().filter(|depth| Some(**depth) != own);
    Ok(others.map(|depth| job.clone().with(|job| job.model.depth = Some(*depth))).collect())
}

/// An entry and its metrics.
pub struct Measured {
    pub entry: Entry,
    pub metrics: compare::Metrics,
    /// NLL against the cost of a sample.
    pub costs: Vec<compare::Cost>,
}

/// Shows the rate, and ends after the step where a signal came.
struct Quietly {
    screen: Screen,
}

impl Watch for Quietly {
    fn stop_requested(&self) -> bool {
        interrupt::requested()
    }

    fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        self.screen.see(progress)
    }
}

/// Makes equal names distinct: `realnvp`, `realnvp 2`.
pub fn make_distinct(entries: &mut [Entry]) {
    let names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    for (i, entry) in entries.iter_mut().enumerate() {
        let before = names[..i].iter().filter(|name| **name == names[i]).count();
        if before > 0 {
            entry.name = format!("{} {}", names[i], before + 1);
        }
    }
}

/// The families that a comparison trains where none are named: all that can be.
pub fn usual(data: &Dataset) -> Vec<Family> {
    let references = data.context.is_none();
    let flows = Family::ALL.into_iter().filter(|family| !family.is_reference());
    flows.chain(references.then_some(Family::Gaussian)).chain(references.then_some(Family::Mixture)).collect()
}
