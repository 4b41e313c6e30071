//! Everything that a step changes, and the run log: as structs, and as a file.
//!
//! A run that resumes from a checkpoint continues with the same bits as an uninterrupted one: the weights,
//! their EMA, the moments of the optimiser, the place in the stream of data and noise, the schedule's place, the
//! last good state. All numbers are f64 tensors beside the model's own; nothing is rounded through text.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::adamw::AdamW;
use super::batch::StreamPosition;
use super::ema::Ema;
use super::{History, Job};
use crate::io::safetensors::{ModelFile, NamedTensor, Values};
use crate::model::{FlowSpec, Model};
use crate::rng::mix;
use crate::rows::{Dataset, Rows, Source};
use crate::transform::Mixture;
use crate::{Error, Result};

/// The key of the metadata.
const KEY: &str = "cnf.checkpoint";
/// The version of what is under it: 1, or 2 while a discrete flow is trained at which the run's velocity begins.
const FORMAT: u32 = 2;
/// What the names of a checkpoint's tensors start with; all others are the model's.
const PREFIX: &str = "train.";

/// What a step changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    /// Steps done.
    pub step: usize,
    /// Which phase of the run this is.
    pub phase: usize,
    pub theta: Vec<f64>,
    pub adam: AdamW,
    pub ema: Ema,
    /// What the learning rate is of the schedule's, after rollbacks.
    pub lr_scale: f64,
    /// Rollbacks since the last long stretch without one, and all of them.
    pub rollbacks: usize,
    pub all_rollbacks: usize,
    /// What the weights of the penalties are multiplied by.
    pub penalty: f64,
    /// Where the next batch begins.
    pub place: StreamPosition,
}

/// Weights that scored best.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Best {
    pub step: usize,
    pub nll: f64,
    pub theta: Vec<f64>,
    /// log p of the validation rows; −∞ where there is none. Empty in checkpoints of old programs.
    pub rows: Vec<f64>,
}

/// The run log: time spent, losses, held-out scores and the best weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RunLog {
    /// Seconds since the start, over all parts of a run that was interrupted.
    pub seconds: f64,
    /// Seconds of them spent on validation.
    pub validating: f64,
    /// The part of the budget at which the next validation is due.
    pub due: f64,
    pub history: History,
    pub best: Option<Best>,
    /// Validations since the best.
    pub since_best: usize,
    /// The last validations in a row that were clearly worse than the best.
    pub worse: usize,
    /// The held-out NLL when the last phase began.
    pub before: Option<f64>,
    /// Seconds that the fit of a mixture took, where one was fitted.
    pub mixture_seconds: Option<f64>,
    /// Whether the mixture beside the discrete flow was compared with it on the way.
    pub compared: bool,
    /// Seconds since the start in which the discrete flow was trained at which the velocity begins.
    pub base_seconds: Option<f64>,
}

/// A run as it stands after a step.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub(super) job: Job,
    /// The job of the velocity that begins at the discrete flow which is trained.
    pub(super) then: Option<Job>,
    /// The model with the averaged weights.
    pub(super) model: Model,
    pub(super) log_volume: f64,
    /// The mixture that replaces the flow where its validation NLL is better.
    pub(super) baseline: Option<Mixture>,
    /// The content hash of the data: see [`fingerprint`].
    pub(super) data: u64,
    pub(super) state: State,
    /// The last good state, where it is another one.
    pub(super) good: Option<State>,
    pub(super) log: RunLog,
}

#[derive(Serialize, Deserialize)]
struct Card {
    format: u32,
    job: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    then: Option<String>,
    data: u64,
}

/// The content hash of rows of data.
fn fingerprint(rows: impl ExactSizeIterator<Item = f64>) -> u64 {
    let count = rows.len() as u64;
    rows.fold(count, |hash, x| mix(hash ^ x.to_bits()))
}

/// Stands for the rows of a table; a toy is what it is.
pub(super) fn content_hash(data: &Dataset) -> u64 {
    match &data.train {
        Source::Rows(rows) => {
            let context = data.context.as_ref().map_or(0, |context| context_hash(rows, &data.valid, context.dim));
            // Without weights as it was before there were some.
            let weights = |rows: &Rows| match &rows.weight[..] {
                [] => 0,
                weights => mix(fingerprint(weights.iter().copied())),
            };
            let weights = match (weights(rows), weights(&data.valid)) {
                (0, 0) => 0,
                (train, valid) => train ^ mix(valid),
            };
            fingerprint(rows.x.iter()) ^ fingerprint(data.valid.x.iter()) ^ context ^ weights
        }
        Source::Toy(_) => 0,
    }
}

/// Stands for the context of rows, of `c` columns.
fn context_hash(train: &Rows, valid: &Rows, c: usize) -> u64 {
    let of = |rows: &Rows| fingerprint(rows.context.iter().copied());
    mix(of(train) ^ mix(of(valid)) ^ c as u64)
}

impl State {
    fn numbers(&self) -> Vec<f64> {
        let StreamPosition { rows, noise, epoch, taken } = self.place;
        let words = [rows, noise].into_iter().flat_map(|at| (0..4).map(move |i| f64::from((at >> (32 * i)) as u32)));
        let mut numbers = vec![
            self.step as f64,
            self.phase as f64,
            self.adam.steps as f64,
            self.ema.steps as f64,
            self.lr_scale,
            self.rollbacks as f64,
            self.all_rollbacks as f64,
            self.penalty,
            epoch as f64,
            taken as f64,
        ];
        numbers.extend(words);
        numbers
    }

    fn push(&self, name: &str, tensors: &mut Vec<NamedTensor>) {
        let parts = [
            ("numbers", &self.numbers()),
            ("theta", &self.theta),
            ("m", &self.adam.m),
            ("v", &self.adam.v),
            ("average", &self.ema.theta),
        ];
        tensors.extend(parts.map(|(part, values)| tensor(&format!("{name}.{part}"), values)));
    }

    fn pull(name: &str, file: &ModelFile) -> Option<Self> {
        let part = |part: &str| numbers(file, &format!("{name}.{part}"));
        let n = part("numbers")?;
        if n.len() != 18 {
            return None;
        }
        let place = |from: usize| (0..4).map(|i| (n[from + i] as u128) << (32 * i)).sum::<u128>();
        let state = Self {
            step: n[0] as usize,
            phase: n[1] as usize,
            theta: part("theta")?,
            adam: AdamW { m: part("m")?, v: part("v")?, steps: n[2] as u64 },
            ema: Ema { steps: n[3] as u64, theta: part("average")? },
            lr_scale: n[4],
            rollbacks: n[5] as usize,
            all_rollbacks: n[6] as usize,
            penalty: n[7],
            place: StreamPosition { rows: place(10), noise: place(14), epoch: n[8] as u64, taken: n[9] as u64 },
        };
        let length = state.theta.len();
        let fits = [&state.adam.m, &state.adam.v, &state.ema.theta].iter().all(|part| part.len() == length);
        fits.then_some(state)
    }
}

fn tensor(name: &str, values: &[f64]) -> NamedTensor {
    let (shape, values) = (vec![values.len()], Values::F64(values.to_vec()));
    NamedTensor { name: format!("{PREFIX}{name}"), shape, values }
}

fn numbers(file: &ModelFile, name: &str) -> Option<Vec<f64>> {
    Some(file.tensor(&format!("{PREFIX}{name}"))?.values.to_f64().into_owned())
}

impl RunLog {
    fn push(&self, tensors: &mut Vec<NamedTensor>) {
        let (records, validations) = self.history.numbers();
        let scalars = [self.seconds, self.validating, self.due, self.since_best as f64];
        tensors.push(tensor("ledger.numbers", &scalars));
        tensors.push(tensor("ledger.marks", &records));
        tensors.push(tensor("ledger.validations", &validations));
        tensors.push(tensor("ledger.dominances", &self.history.dominances()));
        // What there is not yet has no tensor: a model file holds finite numbers only.
        tensors.extend(self.before.map(|nll| tensor("ledger.before", &[nll])));
        tensors.extend(self.mixture_seconds.map(|seconds| tensor("ledger.mixture_seconds", &[seconds])));
        tensors.extend(self.compared.then(|| tensor("ledger.compared", &[1.0])));
        tensors.extend(self.base_seconds.map(|seconds| tensor("ledger.base_seconds", &[seconds])));
        if let Some(best) = &self.best {
            tensors.push(tensor("ledger.best", &best.theta));
            tensors.push(tensor("ledger.best_score", &[best.step as f64, best.nll]));
            // A model file holds finite numbers only.
            let rows: Vec<f64> = best.rows.iter().map(|l| l.max(f64::MIN)).collect();
            tensors.push(tensor("ledger.best_rows", &rows));
            tensors.push(tensor("ledger.worse", &[self.worse as f64]));
        }
    }

    fn pull(file: &ModelFile) -> Option<Self> {
        let n = numbers(file, "ledger.numbers")?;
        let &[seconds, validating, due, since_best] = &n[..] else { return None };
        let mut history = History::of_numbers(&numbers(file, "ledger.marks")?, &numbers(file, "ledger.validations")?)?;
        if let Some(numbers) = numbers(file, "ledger.dominances") {
            history = history.with_dominances(&numbers)?;
        }
        let one = |name: &str| numbers(file, name).and_then(|n| n.first().copied());
        let (before, mixture_seconds) = (one("ledger.before"), one("ledger.mixture_seconds"));
        let (base_seconds, compared) = (one("ledger.base_seconds"), one("ledger.compared").is_some());
        let best = match (numbers(file, "ledger.best"), numbers(file, "ledger.best_score").as_deref()) {
            (None, None) => None,
            (Some(theta), Some(&[step, nll])) => {
                let rows = numbers(file, "ledger.best_rows").unwrap_or_default();
                let rows = rows.into_iter().map(|l| if l == f64::MIN { f64::NEG_INFINITY } else { l }).collect();
                Some(Best { step: step as usize, nll, theta, rows })
            }
            _ => return None,
        };
        let worse = one("ledger.worse").unwrap_or(0.0) as usize;
        Some(Self {
            worse,
            seconds,
            validating,
            due,
            history,
            best,
            since_best: since_best as usize,
            before,
            mixture_seconds,
            compared,
            base_seconds,
        })
    }
}

impl Checkpoint {
    /// The job that goes on; while its base is trained, the whole of it.
    pub fn job(&self) -> &Job {
        self.then.as_ref().unwrap_or(&self.job)
    }

    /// What the model is made of.
    pub fn spec(&self) -> &FlowSpec {
        &self.model.spec
    }

    /// Steps done.
    pub fn steps(&self) -> usize {
        self.state.step
    }

    /// Seconds spent.
    pub fn seconds(&self) -> f64 {
        self.log.seconds
    }

    /// Writes it, aside and renamed.
    ///
    /// # Errors
    /// [`Error::Write`] where the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut file = self.model.to_file(path)?;
        self.state.push("state", &mut file.tensors);
        if let Some(good) = &self.good {
            good.push("good", &mut file.tensors);
        }
        self.log.push(&mut file.tensors);
        file.tensors.push(tensor("log_volume", &[self.log_volume]));
        if let Some(baseline) = &self.baseline {
            let parts = [("weights", baseline.weights()), ("means", baseline.means()), ("factors", baseline.factors())];
            file.tensors.extend(parts.map(|(part, values)| tensor(&format!("baseline.{part}"), values)));
        }
        let then = self.then.as_ref().map(Job::to_toml).transpose()?;
        let format = if then.is_some() { FORMAT } else { 1 };
        let card = Card { format, job: self.job.to_toml()?, then, data: self.data };
        let text = serde_json::to_string(&card).map_err(|e| Error::write(path, e))?;
        file.metadata.insert(KEY.into(), text);
        file.write(path)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Error::Read`] where it is missing, truncated, or not a checkpoint.
    pub fn load(path: &Path) -> Result<Self> {
        let ModelFile { tensors, metadata } = ModelFile::read(path)?;
        let broken = |problem: String| Error::read(path, problem, "start a new run");
        let Some(text) = metadata.get(KEY) else {
            return Err(broken("it is not a checkpoint of a training".into()));
        };
        let card: Card = serde_json::from_str(text).map_err(|e| broken(format!("its header is invalid: {e}")))?;
        if !(1..=FORMAT).contains(&card.format) {
            return Err(broken(format!("it is of format {}, this program reads up to {FORMAT}", card.format)));
        }
        let job_of = |text: &str| Job::of_run(text).map_err(|e| broken(format!("its job is invalid: {e}")));
        let (job, then) = (job_of(&card.job)?, card.then.as_deref().map(job_of).transpose()?);
        let (own, others) = tensors.into_iter().partition(|t: &NamedTensor| t.name.starts_with(PREFIX));
        let own = ModelFile { tensors: own, metadata: BTreeMap::new() };
        let model = Model::of_file(path, &ModelFile { tensors: others, metadata })?;
        let has_good = own.tensors.iter().any(|t| t.name.starts_with("train.good."));
        let parts =
            (State::pull("state", &own), State::pull("good", &own), RunLog::pull(&own), numbers(&own, "log_volume"));
        let (Some(state), good, Some(log), Some(log_volume)) = parts else {
            return Err(broken("a part of its state is missing".into()));
        };
        let baseline = match ["weights", "means", "factors"].map(|part| {
            // Checkpoints of before 0.2 call it `rival`.
            ["baseline", "rival"].iter().find_map(|name| numbers(&own, &format!("{name}.{part}")))
        }) {
            [Some(weights), Some(means), Some(factors)] => Some(
                Mixture::new(weights, means, factors).map_err(|e| broken(format!("its baseline is invalid: {e}")))?,
            ),
            _ => None,
        };
        let fits = baseline.as_ref().is_none_or(|baseline| baseline.dim() == model.dim());
        let lengths = [Some(&state), good.as_ref()].into_iter().flatten().all(|s| s.theta.len() == model.theta.len());
        let best = log.best.as_ref().is_none_or(|best| best.theta.len() == model.theta.len());
        let finite = state.theta.iter().chain(&state.adam.m).chain(&state.adam.v).all(|x| x.is_finite());
        if !(lengths && best && fits && finite && log_volume.len() == 1 && has_good == good.is_some()) {
            return Err(broken("its state does not match its model".into()));
        }
        Ok(Self { job, then, model, log_volume: log_volume[0], baseline, data: card.data, state, good, log })
    }
}
