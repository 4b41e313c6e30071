//! The loop: draw, loss, gradient, step; now and then a held-out score and a checkpoint.
//!
//! The next batch is drawn beside the step. The learning rate follows the part of the phase's budget that is spent,
//! in steps or in seconds. A step that diverges is not taken: a rollback restores the last good state, and the run
//! continues with a smaller learning rate.

mod end;
mod validate;

use std::ops::Range;
use std::time::Instant;

use super::adamw::AdamW;
use super::batch::BatchSampler;
use super::classes::under_classes;
use super::crew::{Alone, Crew, hash_of};
use super::ema::Ema;
use super::gradient::{Gradient, Trouble, gradient};
use super::inner::Inner;
use super::job::{BaseRule, MIXTURES};
use super::plan::Phase;
use super::preprocessing::Preprocessing;
use super::simplexes::of_log_ratios;
use super::start::Start;
use super::state::{RunLog, State, content_hash};
use super::{
    Checkpoint, Criterion, Family, Far, FarRows, Job, LossContext, Muon, Optimiser, OutputSection, Precision, Progress,
    StepRecord, TrainResult, ValidationScore, Watch, column_types, selection, start,
};
use crate::discrete::DiscreteSpec;
use crate::model::{FlowSpec, Model};
use crate::rows::{Dataset, Rows, Source};
use crate::transform::{Condition, Mixture};
use crate::words;
use crate::{Error, Result};

/// Steps from one good state to the next.
const GOOD_EVERY: usize = 10;
/// What each rollback leaves of the learning rate, and the most of them in a row.
const ROLLBACK: f64 = 0.25;
const MOST_ROLLBACKS: usize = 8;
/// After so many steps without one, earlier rollbacks no longer count.
const QUIET: usize = 2000;
/// How fast the penalties follow the target of evaluations, per step.
const NFE_GAIN: f64 = 0.1;
/// The part of a base's own training after which it is compared with the mixture beside it for the first time.
const COMPARED: f64 = 1.0 / 3.0;
/// The range of the factor of the penalties.
const PENALTY: (f64, f64) = (1e-4, 1e4);

/// Trains a model as the job sets.
///
/// The tolerances are those of the job, also for images, whose own are [`Job::with_tolerance_for`]: a job does not tell
/// a tolerance that was set from the default.
///
/// # Errors
/// [`Error::Invalid`] for an invalid job or invalid data, and for a loss that stays NaN or infinite however small the
/// steps, with its step; any error of the solver.
pub fn fit(job: &Job, data: &Dataset, watch: &mut dyn Watch) -> Result<TrainResult> {
    fit_by(&Alone, job, data, watch)
}

/// As [`fit`], to the same bits, by the processes of `crew`, which share the gradient of each batch.
///
/// Each of them calls this with the same job and data. A stop that one of them requests ends the run on all after the
/// same step. Checkpoints are the same everywhere: one process needs to keep them.
///
/// # Errors
/// As [`fit`] and [`Crew::allgather`]; [`Error::Invalid`] for several processes with a budget of time, and where they
/// begin with different data, options or weights.
pub fn fit_by(crew: &dyn Crew, job: &Job, data: &Dataset, watch: &mut dyn Watch) -> Result<TrainResult> {
    let init = job.model.init.as_deref().map(Model::load).transpose()?;
    fit_whole(crew, job, (init, None), data, watch)
}

/// As [`fit`], where a mixture of the same data was fitted before: a velocity may begin at one.
pub(super) fn fit_beside(
    job: &Job,
    mixture: Option<&Model>,
    data: &Dataset,
    watch: &mut dyn Watch,
) -> Result<TrainResult> {
    let init = job.model.init.as_deref().map(Model::load).transpose()?;
    fit_whole(&Alone, job, (init, mixture), data, watch)
}

/// Trains the flow inside a wrapper, which may have another one inside, until there is none.
fn fit_whole(
    crew: &dyn Crew,
    job: &Job,
    (init, mixture): (Option<Model>, Option<&Model>),
    data: &Dataset,
    watch: &mut dyn Watch,
) -> Result<TrainResult> {
    match inner(job, init.as_ref().map(|model| &model.spec), data)? {
        None => fitted(crew, job, (init, mixture), data, watch),
        Some(inner) => {
            inner.notes.iter().for_each(|words| watch.note(words));
            let init = init.map(|model| inner.model(model)).transpose()?;
            Ok(inner.result(fit_whole(crew, &inner.job, (init, None), &inner.data, &mut inner.watch(watch))?))
        }
    }
}

/// The outermost wrapper of a training, and what is inside of it: classes are around simplexes.
fn inner(job: &Job, of: Option<&FlowSpec>, data: &Dataset) -> Result<Option<Inner>> {
    match under_classes(job, of, data)? {
        None => of_log_ratios(job, of, data),
        Some(inner) => Ok(Some(inner)),
    }
}

fn fitted(
    crew: &dyn Crew,
    job: &Job,
    (init, mixture): (Option<Model>, Option<&Model>),
    data: &Dataset,
    watch: &mut dyn Watch,
) -> Result<TrainResult> {
    let clock = Instant::now();
    let job = job.clone().resolve_for(data)?;
    countable(crew, &job)?;
    start::check(data, job.fits_gaps(data))?;
    if job.model.family == Family::Auto {
        return selection::choose(&job, data, watch, &fit_beside);
    }
    let (job, remark) = column_types::with_column_types(job, data);
    remark.iter().for_each(|words| watch.note(words));
    if job.optimiser.validation == Some(ValidationScore::Bound) {
        watch.note("held-out scores on the way are bounds of the NLL, one evaluation a row");
    }
    let time = job.optimiser.time;
    let late = move || time.is_some_and(|time| clock.elapsed().as_secs_f64() > Job::BASE_SHARE * time);
    let (far, near) = far(&job, init.as_ref(), data)?;
    far.words(job.data.far_rows).iter().for_each(|words| watch.note(words));
    let (whole, data) = (data, near.as_ref().unwrap_or(data));
    let mut stop = || late() || watch.stop_requested();
    if job.model.family.is_reference() {
        return super::reference::fit(&job, data, far, clock, watch);
    }
    let (job, then) = match job.base_flow(data)? {
        None => (job, None),
        Some(kind) => (job.of_base_flow(kind, data)?, Some(job)),
    };
    let mut start = start::start(&job, init, data, &mut stop)?;
    if then.as_ref().is_some_and(|then| then.model.base == BaseRule::BEST) && data.context.is_none() {
        let begun = Instant::now();
        let late = || time.is_some_and(|time| begun.elapsed().as_secs_f64() > MIXTURES * time);
        start.beside_mixture(&job, mixture, data, &mut || late() || watch.stop_requested())?;
    }
    start.note.iter().for_each(|words| watch.note(words));
    let checkpoint = begun(job, then, start, content_hash(whole), RunLog::default());
    run_all(crew, checkpoint, clock, data, far, watch)
}

/// A run before its first step.
fn begun(job: Job, then: Option<Job>, start: Start, data: u64, log: RunLog) -> Checkpoint {
    let Start { model, log_volume, baseline, mixture_seconds, note: _ } = start;
    let theta: Vec<f64> = model.theta.iter().map(|w| f64::from(*w)).collect();
    let state = State {
        step: 0,
        phase: 0,
        adam: AdamW::new(theta.len()),
        ema: Ema::new(&theta),
        theta,
        lr_scale: 1.0,
        rollbacks: 0,
        all_rollbacks: 0,
        penalty: 1.0,
        place: super::batch::StreamPosition::default(),
    };
    let log = RunLog { mixture_seconds, ..log };
    Checkpoint { job, then, model, log_volume, baseline, data, state, good: None, log }
}

/// A run, and the one that begins at the discrete flow which it trains.
fn run_all(
    crew: &dyn Crew,
    checkpoint: Checkpoint,
    clock: Instant,
    data: &Dataset,
    far: Far,
    watch: &mut dyn Watch,
) -> Result<TrainResult> {
    let (then, content_hash) = (checkpoint.then.clone(), checkpoint.data);
    let first = run(crew, checkpoint, clock, data, far.clone(), watch)?;
    let Some(job) = then.filter(|_| !first.stopped) else { return Ok(first) };
    let clock = Instant::now();
    if first.replaced_by_baseline {
        return run_from_mixture(crew, &job, first, content_hash, data, far, watch);
    }
    let job = job.at_base(first.job.model.family.name(), data)?;
    let (seconds, steps) = (first.seconds, words::count(first.steps as u64, "step"));
    let held_out = first.history.validations.iter().map(|v| v.nll).reduce(f64::min);
    let offset = watch.nll_offset();
    let held_out =
        held_out.map_or_else(String::new, |nll| format!(": held-out NLL {}", words::number(nll + offset, 4)));
    watch.note(&format!(
        "base      {}, {steps} in {}{held_out}",
        first.model.spec.architecture.name(),
        words::duration(seconds)
    ));
    let start = start::from_base(&job, first.model, first.log_volume)?;
    let log = RunLog { seconds, base_seconds: Some(seconds), ..RunLog::default() };
    run(crew, begun(job, None, start, content_hash, log), clock, data, far, watch)
}

/// A run whose velocity begins at a mixture, since one was ahead of the discrete flow of `first`.
fn run_from_mixture(
    crew: &dyn Crew,
    then: &Job,
    first: TrainResult,
    content_hash: u64,
    data: &Dataset,
    far: Far,
    watch: &mut dyn Watch,
) -> Result<TrainResult> {
    let clock = Instant::now();
    let (seconds, steps) = (first.seconds, words::count(first.steps as u64, "step"));
    watch.note(&format!(
        "base      a mixture, which was ahead of the {} after {steps} in {}",
        first.job.model.family.name(),
        words::duration(seconds)
    ));
    let job = then.at_base("mixture", data)?;
    let most = then.model.base_share * (job.optimiser.time.unwrap_or(Job::USUAL_TIME) - seconds);
    let mut stop = || clock.elapsed().as_secs_f64() > most || watch.stop_requested();
    let start = start::start(&job, None, data, &mut stop)?;
    let log = RunLog { seconds, base_seconds: Some(seconds), ..RunLog::default() };
    run(crew, begun(job, None, start, content_hash, log), clock, data, far, watch)
}

/// Several processes have as many clocks: they count steps.
fn countable(crew: &dyn Crew, job: &Job) -> Result<()> {
    if crew.size() > 1 && job.optimiser.time.is_some() {
        return Err(Error::invalid(
            format!("`optimiser.time` in a training by {} processes: each has its own clock", crew.size()),
            "set `optimiser.steps` instead",
        ));
    }
    Ok(())
}

/// Resumes a run from its checkpoint, to the same bits as if it had not been interrupted.
///
/// # Errors
/// [`Error::Invalid`] for other data than the run had; else as [`fit`].
pub fn resume(checkpoint: Checkpoint, data: &Dataset, watch: &mut dyn Watch) -> Result<TrainResult> {
    resume_by(&Alone, checkpoint, data, watch)
}

/// As [`resume`], to the same bits, by the processes of `crew`; those of the run before may have been more or fewer.
///
/// # Errors
/// As [`resume`] and [`fit_by`].
pub fn resume_by(
    crew: &dyn Crew,
    checkpoint: Checkpoint,
    data: &Dataset,
    watch: &mut dyn Watch,
) -> Result<TrainResult> {
    match inner(&checkpoint.job, Some(&checkpoint.model.spec), data)? {
        None => resumed(crew, checkpoint, data, watch),
        Some(inner) => {
            let checkpoint = inner.checkpoint(checkpoint)?;
            Ok(inner.result(resume_by(crew, checkpoint, &inner.data, &mut inner.watch(watch))?))
        }
    }
}

fn resumed(crew: &dyn Crew, mut checkpoint: Checkpoint, data: &Dataset, watch: &mut dyn Watch) -> Result<TrainResult> {
    start::check(data, false)?;
    countable(crew, &checkpoint.job)?;
    if checkpoint.model.dim() != data.dim || checkpoint.data != content_hash(data) {
        return Err(Error::invalid(
            format!("`{}` no longer holds the rows that the run began with", data.name),
            "restore the old file, or start a new run from the model",
        ));
    }
    // A run of an earlier version has no names yet; its rows are those of the data, so are its columns.
    start::name(&mut checkpoint.model.spec, data);
    // Checkpoints of models with classes or simplexes have the columns as the user named them.
    checkpoint.job = column_types::with_column_types(checkpoint.job, data).0;
    // The file that the run began with may be gone: its columns and conditions are those of the checkpoint's model.
    let init = checkpoint.job.model.init.is_some().then_some(&checkpoint.model);
    let (far, near) = far(&checkpoint.job, init, data)?;
    run_all(crew, checkpoint, Instant::now(), near.as_ref().unwrap_or(data), far, watch)
}

/// The rows that lie far out, and the data without them where they are left out.
fn far(job: &Job, init: Option<&Model>, data: &Dataset) -> Result<(Far, Option<Dataset>)> {
    if job.fits_gaps(data) {
        // Which cells of such a row lie far out cannot be told from the others.
        return Ok((Far::default(), None));
    }
    let far = Far::find(job, init.map(|model| &model.spec), data)?;
    let near = (job.data.far_rows == FarRows::LeaveOut && !far.is_empty()).then(|| far.left_out(data));
    // A column may be constant but for the rows that are left out.
    near.as_ref().map_or(Ok(()), |near| start::check(near, false))?;
    Ok((far, near))
}

fn run(
    crew: &dyn Crew,
    checkpoint: Checkpoint,
    clock: Instant,
    data: &Dataset,
    far: Far,
    watch: &mut dyn Watch,
) -> Result<TrainResult> {
    agree(crew, &checkpoint)?;
    let Checkpoint { job, then, model, log_volume, baseline, data: content_hash, mut state, good, log } = checkpoint;
    let preprocessing = Preprocessing::new(&model.spec)?;
    let (base, spec) = (model.spec.base(), &model.spec);
    let (table, inside) = match &data.train {
        Source::Rows(rows) => {
            let (x, inside) = match preprocessing.dequantises() {
                // Batches are preprocessed one by one, and the rest of the rows need not be widened for a mean.
                true => (
                    Vec::new(),
                    preprocessing.inward(start::rows(data, job.seed, 0, start::MOMENT_PIXELS).x.into_f64())?.1,
                ),
                false => preprocessing.inward_weighted(rows.points().into_owned(), &rows.context, &rows.weight)?,
            };
            let x = x.into();
            let context =
                if data.context.is_some() { model.spec.encoded(&rows.context)?.into_owned() } else { Vec::new() };
            (Rows { x, context, weight: rows.weight.clone() }, inside)
        }
        Source::Toy(toy) => (Rows::default(), preprocessing.inward((toy.sample)(2, &mut crate::rng::stream(0, 0)))?.1),
    };
    let mut sampler = BatchSampler::new(data, &preprocessing, &base, table, job.seed);
    if data.context.is_some() {
        // Columns without an encoding are treated as numbers.
        let plain = || vec![false; spec.architecture.condition_dim()];
        let classes = spec.condition.as_ref().map_or_else(plain, Condition::of_classes);
        sampler = sampler.conditioned(&classes);
    }
    sampler.go_to(state.place);
    let theta_len = state.theta.len();
    let phases = job.phases();
    state.phase = state.phase.min(phases.len() - 1);
    let context = LossContext {
        architecture: spec.architecture.clone(),
        solver: job.training_solver(),
        base: base.clone(),
        path: job.objective.path(),
        weight: job.objective.matching_weight.unwrap_or_default(),
        time_exponent: job.objective.time_exponent(),
        kinetic: 0.0,
        jacobian: 0.0,
    };
    let trainer = Trainer {
        crew,
        good: good.unwrap_or_else(|| state.clone()),
        clock,
        before: log.seconds,
        valid: data.valid.evenly(data.dim, job.optimiser.validation_rows),
        job: &job,
        part: match (&then, log.base_seconds) {
            (Some(then), _) => (0.0, then.model.base_share),
            (None, Some(_)) => (job.model.base_share, 1.0),
            (None, None) => (0.0, 1.0),
        },
        then,
        data,
        far,
        model: &model,
        log_volume,
        baseline,
        content_hash,
        inside,
        phases,
        context,
        muon: match job.optimiser.kind.unwrap_or_default() {
            Optimiser::AdamW => Muon::none(theta_len),
            Optimiser::Muon => Muon::of(spec.architecture.tensor_names().into_iter().map(|(_, shape)| shape)),
        },
        fixed: spec
            .architecture
            .as_discrete()
            .map_or_else(Vec::new, DiscreteSpec::fixed)
            .into_iter()
            .map(|range| (range.start, state.theta[range].to_vec()))
            .collect(),
        latest: StepRecord {
            criterion: Criterion::Matching,
            step: 0,
            seconds: 0.0,
            loss: f64::NAN,
            grad_norm: 0.0,
            lr: 0.0,
        },
        nfe: None,
        state,
        log,
    };
    trainer.run(&mut sampler, watch)
}

/// Holds that all processes begin alike.
fn agree(crew: &dyn Crew, checkpoint: &Checkpoint) -> Result<()> {
    if crew.size() == 1 {
        return Ok(());
    }
    let mut job = checkpoint.job.clone();
    // Where results go may differ.
    job.output = OutputSection::default();
    let then = checkpoint.then.as_ref().map(|job| format!("{:?}", job.model)).unwrap_or_default();
    let text = format!("{}{:?}{then}", job.to_toml()?, checkpoint.baseline);
    let numbers = [&checkpoint.state.theta[..], &[checkpoint.state.step as f64]].concat();
    crew.agree(hash_of(&numbers, &text, checkpoint.data))
}

struct Trainer<'a> {
    crew: &'a dyn Crew,
    job: &'a Job,
    /// The job of the velocity that begins at the discrete flow which is trained here.
    then: Option<Job>,
    /// The part of the whole budget that this run is: its beginning and its end.
    part: (f64, f64),
    data: &'a Dataset,
    far: Far,
    model: &'a Model,
    log_volume: f64,
    baseline: Option<Mixture>,
    content_hash: u64,
    /// NLL in the data's units minus that of the net's inputs, on average.
    inside: f64,
    phases: Vec<Phase>,
    context: LossContext,
    muon: Muon,
    valid: Rows,
    clock: Instant,
    /// Seconds spent before this part of the run.
    before: f64,
    state: State,
    good: State,
    log: RunLog,
    /// What is not learnt of θ: where it begins, and its numbers.
    fixed: Vec<(usize, Vec<f64>)>,
    /// The last step, and its evaluations a row.
    latest: StepRecord,
    nfe: Option<f64>,
}

impl Trainer<'_> {
    fn run(mut self, sampler: &mut BatchSampler<'_>, watch: &mut dyn Watch) -> Result<TrainResult> {
        let mut kept = (self.state.step, self.seconds());
        let mut part = self.share()?;
        let mut batch = self.phase().draw(sampler, part.clone())?;
        loop {
            let done = self.done();
            if self.state.phase + 1 < self.phases.len() && done >= self.phase().to {
                self.enter_next_phase(done)?;
                sampler.go_to(self.state.place);
                part = self.share()?;
                batch = self.phase().draw(sampler, part.clone())?;
            }
            let phase = *self.phase();
            let schedule = self.job.optimiser.schedule(phase.lr);
            // Each phase begins with a new optimiser.
            let lr = schedule.at(phase.part(done), self.state.adam.steps) * self.state.lr_scale;
            // A step that is taken back does not draw its batch again.
            let place = sampler.place();
            self.set_penalties();
            let weights = (&self.state.theta[..], self.job.model.precision);
            let (outcome, next) = rayon::join(
                || gradient(phase.criterion, &self.context, weights, &batch, self.job.optimiser.clip, self.crew),
                || phase.draw(sampler, part.clone()),
            );
            batch = next?;
            let rollback = match outcome {
                Ok(gradient) => {
                    self.step(&gradient, lr, phase.criterion);
                    None
                }
                Err(Trouble::Diverged(cause)) => Some(self.roll_back(lr, cause)?),
                Err(Trouble::Other(error)) => return Err(error),
            };
            self.state.place = place;
            if rollback.is_none() && self.state.step.is_multiple_of(GOOD_EVERY) {
                self.good = self.state.clone();
            }

            let done = self.done();
            let last = done >= 1.0;
            let due = rollback.is_none() && !last && self.validation_due(done);
            let validation = if due { self.validate(done)? } else { None };
            let (record, nfe) = (self.latest, self.nfe);
            let model = || self.averaged();
            let (from, to) = self.part;
            let spent = from + (to - from) * done;
            let progress =
                Progress { record, done: spent, validation, nfe, rollback: rollback.as_deref(), model: &model };
            let stopped = self.crew.any(watch.see(&progress).is_break())? && !last;
            if stopped {
                watch.keep(&self.checkpoint()?)?;
            }
            let ended_early = if last || stopped { None } else { self.early_end(done, watch.nll_offset()) };
            if last || stopped || ended_early.is_some() || self.is_overtaken(done)? {
                return self.finish(stopped, ended_early);
            }
            let since = (self.state.step.saturating_sub(kept.0), self.seconds() - kept.1);
            if rollback.is_none() && self.job.output.checkpoint_due(since)? {
                watch.keep(&self.checkpoint()?)?;
                kept = (self.state.step, self.seconds());
            }
        }
    }

    fn phase(&self) -> &Phase {
        &self.phases[self.state.phase]
    }

    /// The rows of a batch that this process computes.
    fn share(&self) -> Result<Range<usize>> {
        self.phase().share(&self.context.architecture, &self.state.theta, self.crew)
    }

    fn seconds(&self) -> f64 {
        self.before + self.clock.elapsed().as_secs_f64()
    }

    /// The part of the budget that is spent.
    fn done(&self) -> f64 {
        let by_steps = self.job.optimiser.steps.map_or(0.0, |most| self.state.step as f64 / most as f64);
        let base = self.log.base_seconds.unwrap_or(0.0);
        // A base that took all of the time leaves a little.
        let left = |most: f64| (most - base).max(1e-3 * most);
        let by_time = self.job.optimiser.time.map_or(0.0, |most| (self.seconds() - base) / left(most));
        by_steps.max(by_time)
    }

    /// The next phase begins at the average of the last one's weights, with a new optimiser.
    fn enter_next_phase(&mut self, done: f64) -> Result<()> {
        if self.job.objective.nfe_target.is_some() {
            self.log.before = self.validate(done)?.map(|v| v.nll);
        }
        self.log.due = done;
        self.log.history.finish();
        let theta = self.state.ema.theta.clone();
        let state = &mut self.state;
        (state.adam, state.ema) = (AdamW::new(theta.len()), Ema::new(&theta));
        (state.theta, state.phase, state.lr_scale, state.rollbacks) = (theta, state.phase + 1, 1.0, 0);
        self.good = self.state.clone();
        Ok(())
    }

    fn set_penalties(&mut self) {
        let factor = if self.job.objective.nfe_target.is_some() { self.state.penalty } else { 1.0 };
        (self.context.kinetic, self.context.jacobian) =
            (factor * self.job.objective.kinetic, factor * self.job.objective.jacobian);
    }

    fn step(&mut self, gradient: &Gradient, lr: f64, criterion: Criterion) {
        let state = &mut self.state;
        let size = self.job.optimiser.step_size(lr);
        self.muon.step(&mut state.adam, &mut state.theta, &gradient.gradient, gradient.scale, size);
        // A decay of the weights would change them too.
        self.fixed.iter().for_each(|(at, values)| state.theta[*at..*at + values.len()].copy_from_slice(values));
        state.ema.update(&state.theta, self.job.optimiser.ema);
        state.step += 1;
        if state.step.is_multiple_of(QUIET) {
            state.rollbacks = 0;
        }
        let loss = match &gradient.parts {
            Some(parts) => parts.nll + self.inside,
            None => gradient.loss,
        };
        self.nfe = gradient.parts.as_ref().map(|parts| parts.nfe_mean);
        if let (Some(target), Some(nfe)) = (self.job.objective.nfe_target, self.nfe) {
            let factor = state.penalty * (nfe / target).powf(NFE_GAIN);
            state.penalty = factor.clamp(PENALTY.0, PENALTY.1);
        }
        let (step, grad_norm) = (state.step, gradient.norm);
        self.latest = StepRecord { criterion, step, seconds: self.seconds(), loss, grad_norm, lr };
        self.log.history.push(self.latest);
    }

    /// Restores the last good state, with a smaller learning rate from there; the message gives the cause.
    fn roll_back(&mut self, lr: f64, cause: String) -> Result<String> {
        let step = self.state.step + 1;
        let (rollbacks, all_rollbacks) = (self.state.rollbacks + 1, self.state.all_rollbacks + 1);
        if rollbacks > MOST_ROLLBACKS {
            return Err(diverged(step, lr, rollbacks, &cause, self.job.model.precision));
        }
        self.good.lr_scale = self.state.lr_scale * ROLLBACK;
        (self.good.rollbacks, self.good.all_rollbacks) = (rollbacks, all_rollbacks);
        self.state = self.good.clone();
        self.log.history.return_to(self.state.step);
        let restored = self.state.step;
        Ok(format!("step {step} failed ({cause}): restored step {restored}; the learning rate is now a quarter"))
    }

    fn with_weights(&self, theta: &[f64]) -> Model {
        Model { theta: theta.iter().map(|w| *w as f32).collect(), ..self.model.clone() }
    }

    fn averaged(&self) -> Result<Model> {
        Ok(self.with_weights(&self.state.ema.theta))
    }

    fn checkpoint(&self) -> Result<Checkpoint> {
        Ok(Checkpoint {
            job: self.job.clone(),
            then: self.then.clone(),
            model: self.averaged()?,
            log_volume: self.log_volume,
            baseline: self.baseline.clone(),
            data: self.content_hash,
            state: self.state.clone(),
            good: (self.good != self.state).then(|| self.good.clone()),
            log: RunLog { seconds: self.seconds(), ..self.log.clone() },
        })
    }
}

fn diverged(step: usize, lr: f64, rollbacks: usize, cause: &str, precision: Precision) -> Error {
    let wide = if precision == Precision::F64 { "" } else { " `model.precision` f64," };
    Error::invalid(
        format!(
            "training failed at step {step} (learning rate {lr:.2e}) after {}: {cause}",
            crate::words::count(rollbacks as u64 - 1, "rollback")
        ),
        format!("try a smaller `optimiser.lr`,{wide} or (by likelihood) looser tolerances"),
    )
}
