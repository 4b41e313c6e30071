//! Columns of classes that a model gives out: a table of their shares is counted, and a flow of the other columns is trained
//! under them, as under conditions.
//!
//! The training itself sees rows under conditions and nothing else. Whoever looks on, the checkpoints and the result have
//! the whole model. Scores on the way, and of what was tried, are those of the flow under the classes, plus what the table adds to them on average.

use std::ops::ControlFlow;

use super::job::column_rule;
use super::{Checkpoint, Job, Progress, TrainResult, Validation, Watch};
use crate::model::{FlowSpec, Model};
use crate::rows::{Context, Dataset, Rows, Source};
use crate::stats::weighted_mean_and_se;
use crate::transform::{ClassTable, ColumnKind};
use crate::{Error, Result};

/// A training under the classes of its data.
pub(super) struct UnderClasses {
    /// The job without the columns of classes.
    pub job: Job,
    /// The other columns, with the classes as their context.
    pub data: Dataset,
    /// What makes a model of it one of the classes too.
    whole: Whole,
}

/// What a model under classes lacks.
#[derive(Clone)]
struct Whole {
    table: ClassTable,
    /// The names of all columns.
    names: Vec<String>,
    /// The columns as the user sets them.
    section: super::DataSection,
    /// The mean of −log P of the validation rows' classes.
    entropy: f64,
}

impl Whole {
    fn spec(&self, spec: FlowSpec) -> FlowSpec {
        FlowSpec { classes: Some(self.table.clone()), names: self.names.clone(), ..spec }
    }

    fn model(&self, model: Model) -> Model {
        Model { spec: self.spec(model.spec.clone()), ..model }
    }

    fn validation(&self, validation: Validation) -> Validation {
        Validation { nll: validation.nll + self.entropy, ..validation }
    }
}

impl UnderClasses {
    /// The training of a job whose data have columns of classes, those that it calls so or that `of` a model to start from
    /// has; none where there are none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for classes beside conditions or of a model without a net, for too many combinations, and where
    /// no other column is left.
    pub fn of(job: &Job, of: Option<&FlowSpec>, data: &Dataset) -> Result<Option<Self>> {
        let named = |name: &str| data.columns.as_ref().and_then(|names| names.iter().position(|known| known == name));
        let place = |name: &str| named(name).or_else(|| name.parse().ok().filter(|j| *j < data.dim));
        let (mut places, mut others) = (Vec::new(), Vec::new());
        for text in &job.data.columns {
            let (name, kind) = column_rule(text)?;
            let j = place(name);
            match (kind, j) {
                (ColumnKind::Class, Some(j)) => places.push(j),
                (ColumnKind::Class, None) => {
                    let known = match &data.columns {
                        Some(names) => names.join(", "),
                        None => format!("their numbers, 0 to {}", data.dim - 1),
                    };
                    return Err(Error::Unknown { kind: "column", name: name.into(), known });
                }
                (kind, j) => others.push((text.clone(), kind, j)),
            }
        }
        if let Some(table) = of.and_then(|spec| spec.classes.as_ref()) {
            places.clone_from(&table.places);
        }
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            return Ok(None);
        }
        let first = data.columns.as_ref().map_or_else(|| places[0].to_string(), |names| names[places[0]].clone());
        let refuse = |problem: &str, hint: &str| Err(Error::invalid(format!("the class `{first}`: {problem}"), hint));
        if data.context.is_some() {
            return refuse("a model with conditions gives out no classes", "make it a condition: `data.condition`");
        }
        if job.model.family.is_reference() {
            let family = job.model.family.name();
            return refuse(
                &format!("the model {family} has no net to be conditioned on it"),
                "train a flow, or leave the column out with `data.drop`",
            );
        }
        if places.len() == data.dim {
            return refuse("no other column is left to model", "give a column of numbers");
        }
        let table = ClassTable { places, cells: Vec::new() };
        let cut = |rows: &Rows| {
            let (x, context) = table.cut(&rows.points(), data.dim);
            Rows { x: x.into(), context, weight: rows.weight.clone() }
        };
        let train = match &data.train {
            Source::Rows(rows) => cut(rows),
            Source::Toy(toy) => {
                return refuse(&format!("the toy `{}` has none", toy.name), "set `data.source` to a table");
            }
        };
        let table = ClassTable::fit(table.places.clone(), &train.context, &train.weight)
            .map_err(|e| Error::invalid(format!("the class `{first}`: {e}"), e.hint().unwrap_or_default()))?;
        let (valid, test) = (cut(&data.valid), cut(&data.test));
        let left: Vec<usize> = (0..data.dim).filter(|j| table.places.binary_search(j).is_err()).collect();
        let at = |j: &usize| data.columns.as_ref().map(|names| names[*j].clone());
        let columns: Option<Vec<String>> = left.iter().map(at).collect();
        let labels = |j: &usize| at(j).unwrap_or_else(|| j.to_string());
        let context = Context {
            dim: table.places.len(),
            columns: table.places.iter().map(labels).collect(),
            words: table.places.iter().map(|j| data.words.get(*j).cloned().unwrap_or_default()).collect(),
        };
        let logs: Vec<f64> = valid.context.chunks_exact(context.dim).map(|row| table.log_prob(row)).collect();
        let finite: Vec<usize> = (0..logs.len()).filter(|i| logs[*i].is_finite()).collect();
        let kept = |all: &[f64]| -> Vec<f64> { finite.iter().filter_map(|i| all.get(*i).copied()).collect() };
        let (logs, weights) = (kept(&logs), kept(&valid.weight));
        let entropy = match &weights[..] {
            _ if logs.is_empty() => 0.0,
            [] => -logs.iter().sum::<f64>() / logs.len() as f64,
            weights => -weighted_mean_and_se(&logs, weights).0,
        };
        // A number counts the columns that are left.
        let rule = |(text, kind, j): (String, ColumnKind, Option<usize>)| match j.filter(|_| columns.is_none()) {
            Some(j) => format!("{}:{kind}", left.iter().position(|other| *other == j).unwrap_or(j)),
            None => text,
        };
        let section = job.data.clone();
        let mut job = job.clone();
        job.data.columns = others.into_iter().map(rule).collect();
        // Classes are one column each, whatever their number.
        job.data.condition = context.columns.iter().map(|name| format!("{name}:class")).collect();
        let whole = Whole { table, names: data.columns.clone().unwrap_or_default(), section, entropy };
        let data = Dataset {
            dim: left.len(),
            columns,
            words: Vec::new(),
            train: Source::Rows(train),
            valid,
            test,
            context: Some(context),
            ..data.clone()
        };
        Ok(Some(Self { job, data, whole }))
    }

    /// A checkpoint of the whole model as one of this training.
    pub fn checkpoint(&self, checkpoint: Checkpoint) -> Checkpoint {
        let mut job = checkpoint.job;
        (job.data.columns, job.data.condition) = (self.job.data.columns.clone(), self.job.data.condition.clone());
        let model = Model { spec: checkpoint.model.spec.under_classes(), ..checkpoint.model };
        Checkpoint { job, model, ..checkpoint }
    }

    /// Who looks on at the whole model.
    pub fn watch<'a>(&self, watch: &'a mut dyn Watch) -> Seeing<'a> {
        Seeing { watch, whole: self.whole.clone() }
    }

    /// The result as that of the whole model.
    pub fn result(&self, result: TrainResult) -> TrainResult {
        let mut history = result.history;
        history.validations.iter_mut().for_each(|v| *v = self.whole.validation(*v));
        let mut tried = result.tried;
        tried.iter_mut().for_each(|one| one.nll = one.nll.map(|nll| nll + self.whole.entropy));
        let job = result.job.with(|job| job.data = self.whole.section.clone());
        TrainResult { model: self.whole.model(result.model), job, tried, history, ..result }
    }
}

/// Shows the whole model to another.
pub(super) struct Seeing<'a> {
    watch: &'a mut dyn Watch,
    whole: Whole,
}

impl Watch for Seeing<'_> {
    fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        let model = || Ok(self.whole.model((progress.model)()?));
        let validation = progress.validation.map(|v| self.whole.validation(v));
        let Progress { record, done, nfe, rollback, .. } = *progress;
        self.watch.see(&Progress { record, done, validation, nfe, rollback, model: &model })
    }

    fn stop_requested(&self) -> bool {
        self.watch.stop_requested()
    }

    fn note(&mut self, words: &str) {
        self.watch.note(words);
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let mut whole = checkpoint.clone();
        whole.model = self.whole.model(whole.model);
        let section = &self.whole.section;
        (whole.job.data.columns, whole.job.data.condition) = (section.columns.clone(), section.condition.clone());
        self.watch.keep(&whole)
    }
}
