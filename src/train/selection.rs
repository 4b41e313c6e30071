//! The best model of a table in the time given: several are tried, and the validation set decides.
//!
//! Fits without a net come first, for they take little: one Gaussian with shrunk correlations, then mixtures. Where the
//! continuous flow begins at a spline or at the mixture that was fitted ([`Job::usual_base`]), it is trained with all the
//! time that is left, for it contains the other models. Elsewhere flows are tried by a short training of their own each, with the whole fall of the learning
//! rate, so that what is compared is what a flow comes to, and the better one is trained with all that is left. The model
//! is the best of all that were fitted, short trainings included: a small table may have been learnt in one of them.
//!
//! To go on from the short training's weights was refused: its learning rate has fallen, and a second rise loses
//! what it gained. To share the time among more flows was refused too: one tenth of a time shows little of what a flow comes
//! to. Affine couplings are not tried, since splines contain them.

use std::ops::ControlFlow;
use std::time::Instant;

use super::column_types::with_column_types;
use super::job::{FEWEST, MIXTURES};
use super::score::{log_prob_rows, prefers_second};
use super::{Checkpoint, ColumnTypes, Family, Job, Progress, TrainResult, Tried, Watch};
use crate::discrete::Kind;
use crate::model::Model;
use crate::rows::{Dataset, Rows};
use crate::stats::weighted_mean_and_se;
use crate::{Error, Result, words};

/// The part of the time that each flow is tried for.
const SHORT: f64 = 0.15;
/// Models are compared on so many times the rows of a validation at the most.
pub(super) const JUDGED: usize = 4;

/// How one model is trained, where a mixture was fitted before.
pub(super) type Fit = dyn Fn(&Job, Option<&Model>, &Dataset, &mut dyn Watch) -> Result<TrainResult>;

/// Whether [`Family::Auto`] can choose for these data: they are rows of a table, and some were held out for validation.
fn can_choose(data: &Dataset) -> bool {
    data.toy().is_none() && data.shape.is_none() && data.valid.count(data.dim) >= FEWEST
}

/// The job as [`Family::Auto`] where nobody has named a model, the data have validation rows to choose one by, and
/// nothing is set that has a meaning for some models only: `given` are the fields that somebody set.
#[must_use]
pub fn with_auto_family(job: Job, data: &Dataset, given: &[&str]) -> Job {
    let auto = job.clone().of_family(Family::Auto);
    let suits = |field: &&str| auto.check_applies(field).is_ok();
    let open = job.model.init.is_none() && can_choose(data) && given.iter().all(suits);
    if open { auto } else { job }
}

/// What has been fitted so far.
struct Contest<'a> {
    fit: &'a Fit,
    job: &'a Job,
    data: &'a Dataset,
    valid: Rows,
    clock: Instant,
    tried: Vec<Tried>,
    /// The mixture, once it is fitted.
    mixture: Option<Model>,
    /// The best so far: where it is in `tried`, its log-densities and what it is.
    best: Option<(usize, Vec<f64>, TrainResult)>,
    stopped: bool,
}

/// Trains the best model of the data in the time of the job, each by `fit`.
///
/// # Errors
/// [`Error::Invalid`] for images and toys and without validation rows; where no model could be trained, the error of the
/// last one.
pub(super) fn choose(job: &Job, data: &Dataset, watch: &mut dyn Watch, fit: &Fit) -> Result<TrainResult> {
    if !can_choose(data) {
        let found = words::count(data.valid.count(data.dim) as u64, "validation row");
        let problem = if data.toy().is_some() || data.shape.is_some() {
            "the model auto is for tables".to_owned()
        } else {
            format!("{found} to choose a model by")
        };
        return Err(Error::invalid(problem, "set `model.family` to one of the models, such as cnf"));
    }
    let time = job.optimiser.time.unwrap_or(Job::USUAL_TIME);
    let valid = data.valid.evenly(data.dim, JUDGED * job.optimiser.validation_rows);
    // The kinds of columns once for all, with one remark.
    let of_flow = job.clone().with(|job| job.model.family = Family::Mixture);
    let (typed, remark) = with_column_types(of_flow, data);
    remark.iter().for_each(|words| watch.note(words));
    let job = &job.clone().with(|job| {
        (job.data.columns, job.data.column_types) = (typed.data.columns, ColumnTypes::Plain);
    });
    let (clock, tried) = (Instant::now(), Vec::new());
    let mut contest = Contest { job, data, fit, valid, clock, tried, mixture: None, best: None, stopped: false };
    if data.context.is_none() {
        contest.fit(Family::GaussianShrunk, MIXTURES * time, (0.0, MIXTURES), watch)?;
        contest.fit(Family::Mixture, MIXTURES * time, (0.0, MIXTURES), watch)?;
    }
    if job.clone().of_family(Family::Cnf).usual_base(data).is_some() {
        contest.fit_at_last(Family::Cnf, time, watch)?;
        return contest.end();
    }
    let mut flows: Vec<(Family, f64)> = Vec::new();
    for family in [Family::Discrete(Kind::Spline), Family::Cnf] {
        let begun = contest.clock.elapsed().as_secs_f64() / time;
        contest.fit(family, SHORT * time, (begun, begun + SHORT), watch)?;
        let nll = contest.tried.last().and_then(|tried| tried.nll).unwrap_or(f64::INFINITY);
        flows.push((family, nll));
    }
    // The first of equal ones.
    if let Some((family, _)) = flows.into_iter().reduce(|a, b| if b.1 < a.1 { b } else { a }) {
        contest.fit_at_last(family, time, watch)?;
    }
    contest.end()
}

impl Contest<'_> {
    /// Trains the last model in what is left of the time.
    fn fit_at_last(&mut self, family: Family, time: f64, watch: &mut dyn Watch) -> Result<()> {
        let left = time - self.clock.elapsed().as_secs_f64();
        self.fit(family, left.max(SHORT * time), (1.0 - left / time, 1.0), watch)
    }

    /// Trains a model of a family for so long, as the part `(from, to)` of the whole, and compares it with the best so far.
    fn fit(&mut self, family: Family, seconds: f64, part: (f64, f64), watch: &mut dyn Watch) -> Result<()> {
        if self.stopped || watch.stop_requested() {
            self.stopped = true;
            return Ok(());
        }
        let begun = Instant::now();
        let job = self.job.clone().of_family(family).with(|job| {
            job.optimiser.time = Some(seconds);
            if family == Family::Cnf && job.usual_base(self.data).is_none() {
                // Mixtures are tried by themselves.
                job.model.base = "normal".into();
            }
        });
        watch.tries(family);
        // Remarks on the data are made once.
        let mut inner = Inner { first: self.tried.is_empty(), last: part.1 >= 1.0, part, watch };
        let fitted = (self.fit)(&job, self.mixture.as_ref(), self.data, &mut inner);
        let mut tried =
            Tried { model: family, seconds: 0.0, nll: None, nll_se: None, n_params: 0, problem: None, chosen: false };
        match fitted {
            Ok(fitted) => {
                self.stopped |= fitted.stopped;
                tried.n_params = family.n_params(&fitted.model);
                let flow = fitted.model.bind(self.job.model.precision)?;
                let log_probs = log_prob_rows(&flow, &self.valid)?;
                if log_probs.iter().all(|l| l.is_finite()) {
                    let (mean, se) = weighted_mean_and_se(&log_probs, &self.valid.weight);
                    (tried.nll, tried.nll_se) = (Some(-mean), Some(se));
                }
                if family == Family::Mixture {
                    self.mixture = Some(fitted.model.clone());
                }
                let weight = &self.valid.weight;
                if self.best.as_ref().is_none_or(|(_, best, _)| prefers_second(best, &log_probs, weight)) {
                    self.best = Some((self.tried.len(), log_probs, fitted));
                }
            }
            Err(error) => tried.problem = Some(error.to_string()),
        }
        tried.seconds = begun.elapsed().as_secs_f64();
        self.tried.push(tried);
        Ok(())
    }

    /// The best, with the record of all.
    fn end(mut self) -> Result<TrainResult> {
        let Some((at, _, mut best)) = self.best else {
            let problem = self.tried.into_iter().rev().find_map(|tried| tried.problem);
            let problem = problem.unwrap_or_else(|| "the run was ended before a model was trained".into());
            return Err(Error::invalid(problem, "set `model.family` to one of the models, or give more time"));
        };
        self.tried[at].chosen = true;
        (best.tried, best.stopped) = (self.tried, self.stopped);
        best.seconds = self.clock.elapsed().as_secs_f64();
        Ok(best)
    }
}

/// Looks on at one of several trainings.
struct Inner<'a> {
    first: bool,
    /// Checkpoints are kept of the last one.
    last: bool,
    /// The part of the whole.
    part: (f64, f64),
    watch: &'a mut dyn Watch,
}

impl Watch for Inner<'_> {
    fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        let (from, to) = self.part;
        let Progress { record, validation, nfe, rollback, model, .. } = *progress;
        self.watch.see(&Progress { record, validation, nfe, rollback, model, done: from + (to - from) * progress.done })
    }

    fn stop_requested(&self) -> bool {
        self.watch.stop_requested()
    }

    fn note(&mut self, words: &str) {
        if self.first {
            self.watch.note(words);
        }
    }

    fn nll_offset(&self) -> f64 {
        self.watch.nll_offset()
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        if self.last { self.watch.keep(checkpoint) } else { Ok(()) }
    }
}
