//! A training of a part of what the data are: a flow of fewer columns, of which a wrapper makes the whole model.
//!
//! Columns of classes become conditions ([`classes`](super::classes)), the parts of a whole log-ratios
//! ([`simplexes`](super::simplexes)). The training itself sees neither. Whoever looks on, the checkpoints and the result have
//! the whole model. Scores on the way, and of what was tried, are those of the inner flow, plus what the wrapper adds to
//! them on average over the same rows. Their standard errors are those of the inner flow.

use std::ops::ControlFlow;

use super::job::column_rule;
use super::{Checkpoint, DataSection, Far, FarRows, Job, Progress, Set, TrainResult, Validation, Watch, selection};
use crate::model::{FlowSpec, Model};
use crate::rows::{Dataset, Rows};
use crate::stats::weighted_mean_and_se;
use crate::transform::{ClassTable, ColumnKind, Simplex};
use crate::{Error, Result};

/// A training of the flow inside.
pub(super) struct Inner {
    /// The job without what the wrapper has.
    pub job: Job,
    /// The columns of the flow inside.
    pub data: Dataset,
    /// What makes a model of it the whole one.
    pub whole: Whole,
    /// Remarks on the data, a sentence each.
    pub notes: Vec<String>,
}

/// What a wrapper has.
#[derive(Clone)]
pub(super) enum Wrapper {
    /// The table of columns of classes.
    Classes(ClassTable),
    /// The parts of wholes.
    Simplexes(Vec<Simplex>),
}

/// What the flow inside lacks.
#[derive(Clone)]
pub(super) struct Whole {
    pub wrapper: Wrapper,
    /// The names of all columns.
    pub names: Vec<String>,
    /// The columns as the user sets them.
    pub section: DataSection,
    /// By how much −log p of each validation row is above that of the flow inside, `[n, 1]`.
    pub offsets: Rows,
    /// Validation rows that are scored on the way.
    pub scored: usize,
    /// Σ ln of the deviations of the whole model's columns; none where it is that of the flow inside.
    pub log_volume: Option<f64>,
}

impl Whole {
    fn spec(&self, spec: FlowSpec) -> FlowSpec {
        let spec = FlowSpec { names: self.names.clone(), ..spec };
        match &self.wrapper {
            Wrapper::Classes(table) => FlowSpec { classes: Some(table.clone()), ..spec },
            Wrapper::Simplexes(all) => FlowSpec { simplexes: all.clone(), ..spec },
        }
    }

    fn model(&self, model: Model) -> Model {
        Model { spec: self.spec(model.spec.clone()), ..model }
    }

    /// The model inside a whole one.
    fn inner(&self, model: Model) -> Result<Model> {
        let spec = match self.wrapper {
            Wrapper::Classes(_) => model.spec.under_classes(),
            Wrapper::Simplexes(_) => model.spec.of_log_ratios()?,
        };
        Ok(Model { spec, ..model })
    }

    /// The mean of the offsets over at most `most` validation rows, evenly taken; rows that have none do not count.
    fn offset(&self, most: usize) -> f64 {
        let rows = self.offsets.evenly(1, most);
        let all = rows.points();
        let finite: Vec<usize> = (0..all.len()).filter(|i| all[*i].is_finite()).collect();
        let kept = rows.pick(1, &finite);
        match &kept.weight[..] {
            _ if kept.is_empty() => 0.0,
            [] => kept.points().iter().sum::<f64>() / finite.len() as f64,
            weights => weighted_mean_and_se(&kept.points(), weights).0,
        }
    }

    fn validation(&self, validation: Validation, offset: f64) -> Validation {
        let mut validation = validation;
        validation.nll += offset;
        validation.dominance.median += offset;
        validation
    }

    /// The offsets of the validation rows that a run was scored on.
    fn without(&self, far: &Far, rule: FarRows) -> Self {
        match rule {
            FarRows::Keep => self.clone(),
            FarRows::LeaveOut => Self { offsets: self.offsets.without(1, &far.of(Set::Validation)), ..self.clone() },
        }
    }

    /// The columns of a job as the user sets them.
    fn columns(&self, job: &mut Job) {
        let section = &self.section;
        (job.data.columns, job.data.condition) = (section.columns.clone(), section.condition.clone());
        job.data.column_types = section.column_types;
    }
}

impl Inner {
    /// The model inside that of which a whole training begins.
    ///
    /// # Errors
    /// As [`FlowSpec::of_log_ratios`].
    pub fn model(&self, model: Model) -> Result<Model> {
        self.whole.inner(model)
    }

    /// A checkpoint of the whole model as one of this training.
    ///
    /// # Errors
    /// As [`FlowSpec::of_log_ratios`].
    pub fn checkpoint(&self, checkpoint: Checkpoint) -> Result<Checkpoint> {
        let mut job = checkpoint.job;
        (job.data.columns, job.data.condition) = (self.job.data.columns.clone(), self.job.data.condition.clone());
        Ok(Checkpoint { job, model: self.whole.inner(checkpoint.model)?, ..checkpoint })
    }

    /// Who looks on at the whole model.
    pub fn watch<'a>(&self, watch: &'a mut dyn Watch) -> Seeing<'a> {
        let offset = self.whole.offset(self.whole.scored);
        Seeing { watch, whole: self.whole.clone(), offset }
    }

    /// The result as that of the whole model.
    pub fn result(&self, result: TrainResult) -> TrainResult {
        let whole = self.whole.without(&result.far, self.job.data.far_rows);
        // What is fitted without steps is scored once, on all rows.
        let once = result.job.model.family.is_reference();
        let offset = whole.offset(if once { usize::MAX } else { whole.scored });
        let mut history = result.history;
        history.validations.iter_mut().for_each(|v| *v = whole.validation(*v, offset));
        let before = result.before.map(|nll| nll + offset);
        // Those of a contest are scored on all kinds of rows, far ones too.
        let offset = self.whole.offset(selection::JUDGED * self.whole.scored);
        let mut tried = result.tried;
        tried.iter_mut().for_each(|one| one.nll = one.nll.map(|nll| nll + offset));
        let job = result.job.with(|job| job.data = self.whole.section.clone());
        let log_volume = self.whole.log_volume.unwrap_or(result.log_volume);
        let model = self.whole.model(result.model);
        TrainResult { model, job, tried, history, log_volume, before, ..result }
    }
}

/// Shows the whole model to another.
pub(super) struct Seeing<'a> {
    watch: &'a mut dyn Watch,
    whole: Whole,
    offset: f64,
}

impl Watch for Seeing<'_> {
    fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        let model = || Ok(self.whole.model((progress.model)()?));
        let validation = progress.validation.map(|v| self.whole.validation(v, self.offset));
        let Progress { record, done, nfe, rollback, .. } = *progress;
        self.watch.see(&Progress { record, done, validation, nfe, rollback, model: &model })
    }

    fn stop_requested(&self) -> bool {
        self.watch.stop_requested()
    }

    fn note(&mut self, words: &str) {
        self.watch.note(words);
    }

    fn nll_offset(&self) -> f64 {
        self.offset + self.watch.nll_offset()
    }

    fn tries(&mut self, family: super::Family) {
        self.watch.tries(family);
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let mut whole = checkpoint.clone();
        whole.model = self.whole.model(whole.model);
        self.whole.columns(&mut whole.job);
        self.watch.keep(&whole)
    }
}

/// A column type that a job sets, and the columns that it names.
pub(super) struct Rule {
    pub text: String,
    pub kind: ColumnKind,
    /// As they are called; several for the parts of a whole.
    pub names: Vec<String>,
    /// Their places among the columns of the data; none where there is no such column.
    pub places: Vec<Option<usize>>,
}

impl Rule {
    /// All that a job sets.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text that is none.
    pub fn all(job: &Job, data: &Dataset) -> Result<Vec<Self>> {
        let named = |name: &str| data.columns.as_ref().and_then(|names| names.iter().position(|known| known == name));
        let place = |name: &String| named(name).or_else(|| name.parse().ok().filter(|j| *j < data.dim));
        let one = |text: &String| {
            let (name, kind) = column_rule(text)?;
            let names: Vec<String> = match kind {
                ColumnKind::Simplex => name.split(',').map(|part| part.trim().to_owned()).collect(),
                _ => vec![name.to_owned()],
            };
            let places = names.iter().map(place).collect();
            Ok(Self { text: text.clone(), kind, names, places })
        };
        job.data.columns.iter().map(one).collect()
    }

    /// The places of its columns.
    ///
    /// # Errors
    /// [`Error::Unknown`] for one that the data do not have; [`Error::Invalid`] for a name of two.
    pub fn known(&self, data: &Dataset) -> Result<Vec<usize>> {
        let one = |(name, place): (&String, &Option<usize>)| {
            let twice = |names: &Vec<String>| names.iter().filter(|known| *known == name).count() > 1;
            if data.columns.as_ref().is_some_and(twice) {
                let problem = format!("`data.columns` {}: two columns are called `{name}`", self.text);
                return Err(Error::invalid(problem, "give each column its own name"));
            }
            place.ok_or_else(|| {
                let known = match &data.columns {
                    Some(names) => names.join(", "),
                    None => format!("their numbers, 0 to {}", data.dim - 1),
                };
                Error::Unknown { kind: "column", name: name.clone(), known }
            })
        };
        self.names.iter().zip(&self.places).map(one).collect()
    }

    /// The rule where the columns of the data are these alone; numbers count them.
    pub fn among(&self, left: &[usize], data: &Dataset) -> String {
        if data.columns.is_some() || self.places.iter().any(Option::is_none) {
            return self.text.clone();
        }
        let number = |j: usize| left.iter().position(|other| *other == j).unwrap_or(j).to_string();
        let numbers: Vec<String> = self.places.iter().flatten().map(|j| number(*j)).collect();
        format!("{}:{}", numbers.join(","), self.kind)
    }
}
