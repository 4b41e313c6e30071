//! Observers of a training: its progress, its checkpoints and its result.

use std::ops::ControlFlow;

use serde::Serialize;

use super::{Checkpoint, Family, Far, History, Job, StepRecord, Validation};
use crate::Result;
use crate::model::Model;

/// How far a run is.
pub struct Progress<'a> {
    /// The step just done, counted from 1.
    pub record: StepRecord,
    /// The part of the budget that is spent.
    pub done: f64,
    /// The held-out score, where one was just taken.
    pub validation: Option<Validation>,
    /// Velocity evaluations of a row in this step, where the criterion integrates.
    pub nfe: Option<f64>,
    /// Why the last step diverged, where it was just rolled back.
    pub rollback: Option<&'a str>,
    /// The model with the current EMA of the weights.
    pub model: &'a dyn Fn() -> Result<Model>,
}

/// An observer of a run, which may end it.
pub trait Watch {
    /// Called after every step; `Break` ends the run.
    fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()>;

    /// Whether the run must end; called before its first step too, while a mixture is fitted.
    fn stop_requested(&self) -> bool {
        false
    }

    /// Called with each remark on the data, one sentence at a time, before the first step.
    fn note(&mut self, _words: &str) {}

    /// What a held-out NLL in words is above that of the flow that is trained: its model is a part of a whole one.
    fn nll_offset(&self) -> f64 {
        0.0
    }

    /// Called before a model of a family is trained, where several are tried.
    fn tries(&mut self, _family: Family) {}

    /// Called with every checkpoint that is due, and with one when the run is ended from outside.
    ///
    /// # Errors
    /// Where it cannot be kept; this ends the run.
    fn keep(&mut self, _checkpoint: &Checkpoint) -> Result<()> {
        Ok(())
    }
}

/// No observer.
impl Watch for () {
    fn see(&mut self, _progress: &Progress<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A model that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// Its family.
    pub model: Family,
    /// How long that took, in seconds, with the scoring of the validation rows.
    pub seconds: f64,
    /// The negative log-likelihood of the validation rows, in nats a row; none where it has no density at one of them, or
    /// could not be trained.
    pub nll: Option<f64>,
    /// The standard error of `nll`.
    pub nll_se: Option<f64>,
    /// The numbers that were fitted.
    pub n_params: usize,
    /// Why it could not be trained.
    pub problem: Option<String>,
    /// It is the model of the run.
    pub chosen: bool,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct TrainResult {
    /// The model; its provenance is empty.
    pub model: Model,
    /// Σ ln of the training data's deviations: NLL in the data's units minus that in units of variance 1.
    pub log_volume: f64,
    /// Losses and held-out scores. The losses of a likelihood are in the data's units.
    pub history: History,
    /// Steps done.
    pub steps: usize,
    /// The step whose weights the model has: the last, or the one with the best held-out score.
    pub chosen: usize,
    /// Seconds that they took, with the validations.
    pub seconds: f64,
    /// Seconds of the steps alone.
    pub step_seconds: f64,
    /// Seconds that the fit of a mixture took, before the first step; none where none was fitted.
    pub mixture_seconds: Option<f64>,
    /// Seconds that the discrete flow took at which the velocity begins; none where it begins elsewhere.
    pub base_seconds: Option<f64>,
    /// The model is the mixture that was fitted beside the flow: its validation NLL is better.
    pub replaced_by_baseline: bool,
    /// Why the run ended before its budget was spent: held-out scores that did not improve.
    pub ended_early: Option<String>,
    /// Rollbacks: steps that diverged and were undone.
    pub rollbacks: usize,
    /// Rows that lie far out: left out of the training and the validation, or kept, as the job sets.
    pub far: Far,
    /// The held-out NLL before the last phase began, where evaluations were steered.
    pub before: Option<f64>,
    /// The run was ended from outside.
    pub stopped: bool,
    /// The job of the model: with the kinds that its columns got, and of the family that was chosen.
    pub job: Job,
    /// What was tried, where a model was chosen ([`Family::Auto`]).
    pub tried: Vec<Tried>,
}
