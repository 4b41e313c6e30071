//! The loop: draw, loss, gradient, step; now and then a held-out score.
//!
//! The next batch is drawn beside the step. The learning rate follows the part of the budget that is spent,
//! in steps or in seconds.

use std::ops::ControlFlow;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use serde_json::Map;

use super::batch::Feed;
use super::clip::clip;
use super::shadow::Shadow;
use super::{History, INIT_STREAM, Job, MOMENTS_STREAM, Mark, Objective, Scene, Schedule, Validation, score};
use crate::data::{Dataset, Source};
use crate::flow::{FlowSpec, Model, Moments, Standardise, VelocitySpec};
use crate::{Error, Result, rng};

/// Rows of a toy whose moments standardise it.
const MOMENT_ROWS: usize = 20_000;

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The step just done, counted from 1.
    pub mark: Mark,
    /// The part of the budget that is spent.
    pub done: f64,
    /// The held-out score, where one was just taken.
    pub validation: Option<Validation>,
}

/// Whoever looks on, and may end the run.
pub trait Watch {
    /// Told of every step; `Break` ends the run after it.
    fn see(&mut self, progress: &Progress) -> ControlFlow<()>;
}

/// Looks away.
impl Watch for () {
    fn see(&mut self, _progress: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The model; its story is empty.
    pub model: Model,
    /// Σ ln of the training data's deviations: NLL in the data's units minus that in units of variance 1.
    pub log_volume: f64,
    /// Losses and held-out scores. The losses of a likelihood are in the data's units.
    pub history: History,
    /// Steps done.
    pub steps: usize,
    /// Seconds that they took, with the validations.
    pub seconds: f64,
    /// Seconds of the steps alone.
    pub step_seconds: f64,
    /// The run was ended from outside.
    pub stopped: bool,
}

/// Trains as the job says.
///
/// # Errors
/// [`Error::Invalid`] for a job or data that make no sense, and for a loss that is not finite, with its step;
/// whatever the solver refuses.
pub fn fit(job: &Job, data: &Dataset, watch: &mut dyn Watch) -> Result<Fitted> {
    let job = job.clone().resolve(data.dim)?;
    check(data)?;
    let moments = moments(data, job.seed)?;
    let start = start(&job, data, &moments)?;
    let dtype = job.precision.dtype();
    let theta = Tensor::from_slice(&start.theta, start.theta.len(), &Device::Cpu)?.to_dtype(dtype)?;
    let spec = start.spec;
    let map = spec.standardise.as_ref().map(|m| Standardise::new(m.mean.clone(), m.std.clone())).transpose()?;
    let inside = map.as_ref().map_or(0.0, Standardise::log_volume);
    let trainer = Trainer {
        scene: Scene { velocity: spec.velocity.clone(), solver: spec.solver.clone() },
        feed: Feed::new(data, map.as_ref(), job.seed),
        valid: subset(&data.valid, data.dim, job.validation_rows),
        spec: &spec,
        job: &job,
        data,
        inside,
    };
    let run = trainer.run(theta, watch)?;
    let theta = run.theta.iter().map(|w| *w as f32).collect();
    let model = Model { spec, theta, story: Map::new() };
    let (steps, seconds, step_seconds) = (run.steps, run.seconds, run.seconds - run.validating);
    let log_volume = moments.log_volume();
    Ok(Fitted { model, log_volume, history: run.history, steps, seconds, step_seconds, stopped: run.stopped })
}

fn check(data: &Dataset) -> Result<()> {
    let sets = [("validation", &data.valid[..]), ("test", &data.test[..])];
    let train = if let Source::Rows(rows) = &data.train { rows } else { &[][..] };
    for (set, rows) in sets.into_iter().chain([("training", train)]) {
        if let Some(i) = rows.iter().position(|x| !x.is_finite()) {
            let (row, column) = (i / data.dim, i % data.dim);
            return Err(Error::invalid(
                format!("row {row} of the {set} set has {} in column {column}", rows[i]),
                "leave out rows with missing values",
            ));
        }
    }
    match data.n_train() {
        Some(0) => Err(Error::invalid("there are no rows to train on", "give a split with a training set")),
        _ => Ok(()),
    }
}

/// Means and deviations of the training data.
fn moments(data: &Dataset, seed: u64) -> Result<Standardise> {
    match &data.train {
        Source::Rows(rows) => Standardise::fit(rows, data.dim),
        Source::Toy(toy) => {
            Standardise::fit(&(toy.sample)(MOMENT_ROWS, &mut rng::stream(seed, MOMENTS_STREAM)), data.dim)
        }
    }
}

/// The model before the first step.
fn start(job: &Job, data: &Dataset, moments: &Standardise) -> Result<Model> {
    if let Some(path) = &job.init {
        let mut model = Model::load(path)?;
        if model.dim() != data.dim {
            let what = format!("the model `{}`", path.display());
            return Err(Error::Dimension { what, expected: data.dim, found: model.dim() });
        }
        if model.condition_dim() > 0 {
            return Err(Error::invalid(
                format!("the model `{}` is conditional on {} columns", path.display(), model.condition_dim()),
                "start from an unconditional model: only such are trained here",
            ));
        }
        job.clone().adopt(&model)?;
        model.spec.solver = job.solver.clone();
        return Ok(model);
    }
    let velocity = VelocitySpec::Mlp(job.net(data.dim));
    velocity.validate()?;
    let standardise = if job.standardise {
        let Moments { mean, std } = Moments::from(moments);
        Some(Moments { mean, std: std.into_iter().map(|s| s / job.spread).collect() })
    } else {
        None
    };
    let theta = velocity.init(&mut rng::stream(job.seed, INIT_STREAM));
    Ok(Model {
        spec: FlowSpec { standardise, ..FlowSpec::plain(velocity, job.solver.clone()) },
        theta,
        story: Map::new(),
    })
}

/// At most `most` rows, evenly taken.
fn subset(x: &[f64], d: usize, most: usize) -> Vec<f64> {
    let n = x.len() / d;
    let count = n.min(most);
    (0..count).flat_map(|i| &x[i * n / count * d..][..d]).copied().collect()
}

struct Trainer<'a> {
    job: &'a Job,
    data: &'a Dataset,
    spec: &'a FlowSpec,
    scene: Scene,
    feed: Feed<'a>,
    valid: Vec<f64>,
    /// NLL in the data's units minus that of what the net sees.
    inside: f64,
}

struct Run {
    theta: Vec<f64>,
    history: History,
    steps: usize,
    seconds: f64,
    validating: f64,
    stopped: bool,
}

impl Trainer<'_> {
    fn run(mut self, theta: Tensor, watch: &mut dyn Watch) -> Result<Run> {
        let (job, objective) = (self.job, self.job.objective);
        let var = Var::from_tensor(&theta)?;
        let (peak, n) = (job.lr.unwrap_or_default(), job.batch.unwrap_or_default());
        let params = ParamsAdamW { lr: peak, weight_decay: job.weight_decay, ..ParamsAdamW::default() };
        let mut optimiser = AdamW::new(vec![var.clone()], params)?;
        let schedule = Schedule { peak };
        let mut shadow = Shadow::new(&theta, job.ema)?;
        let mut history = History::default();
        let clock = Instant::now();
        let (mut steps, mut validating) = (0, 0.0);
        let mut due = 0.0;
        let mut batch = objective.draw(&mut self.feed, n);
        loop {
            let lr = schedule.at(self.done(steps, clock.elapsed().as_secs_f64()));
            let Trainer { scene, feed, .. } = &mut self;
            let (scene, tracked) = (&*scene, var.as_tensor());
            let (outcome, next) =
                rayon::join(|| gradient(objective, scene, tracked, &batch), || objective.draw(feed, n));
            batch = next;
            let (loss, mut gradients) = outcome.map_err(|e| match e {
                Error::Failed { .. } | Error::Candle(_) => broken(steps + 1, lr, &e.to_string()),
                other => other,
            })?;
            let raw =
                gradients.remove(&var).ok_or_else(|| Error::invalid("the loss does not depend on the weights", ""))?;
            let (clipped, grad_norm) = clip(&raw, job.clip)?;
            if !(loss.is_finite() && grad_norm.is_finite()) {
                return Err(broken(steps + 1, lr, &format!("the loss is {loss}, its gradient {grad_norm}")));
            }
            gradients.insert(&var, clipped);
            optimiser.set_learning_rate(lr);
            optimiser.step(&gradients)?;
            steps += 1;
            shadow.follow(&var)?;

            let seconds = clock.elapsed().as_secs_f64();
            let done = self.done(steps, seconds);
            let loss = if objective.is_nll() { loss + self.inside } else { loss };
            let mark = Mark { step: steps, seconds, loss, grad_norm, lr };
            history.push(mark);
            let last = done >= 1.0;
            let mut validation = None;
            if done >= due && !last && validating <= 0.1 * seconds && !self.valid.is_empty() && job.validations > 0 {
                let score = self.validate(&shadow.theta)?;
                validation = score.map(|(nll, se)| Validation { step: steps, seconds, nll, se });
                history.validations.extend(validation);
                validating += clock.elapsed().as_secs_f64() - seconds;
                let wanted = job.validations as f64;
                due = ((done * wanted).floor() + 1.0) / wanted;
            }
            let stopped = watch.see(&Progress { mark, done, validation }).is_break();
            if last || stopped {
                history.finish();
                let seconds = clock.elapsed().as_secs_f64();
                return Ok(Run { theta: shadow.theta, history, steps, seconds, validating, stopped });
            }
        }
    }

    /// The part of the budget that is spent.
    fn done(&self, steps: usize, seconds: f64) -> f64 {
        let by_steps = self.job.steps.map_or(0.0, |most| steps as f64 / most as f64);
        let by_time = self.job.time.map_or(0.0, |most| seconds / most);
        by_steps.max(by_time)
    }

    /// NLL and its standard error; none where the weights have no density anywhere yet.
    fn validate(&self, theta: &[f64]) -> Result<Option<(f64, f64)>> {
        let dtype = self.job.precision.dtype();
        let theta = Tensor::from_slice(theta, theta.len(), &Device::Cpu)?.to_dtype(dtype)?;
        match score(&self.spec.build(theta)?, &self.valid, self.data.toy()) {
            // Where the truth is known, the mean of log p_true − log p is far less noisy than that of log p.
            Ok(score) => Ok(Some(match (score.excess, self.data.toy()) {
                (Some((excess, se)), Some(toy)) => (toy.entropy + excess, se),
                _ => (score.nll, score.nll_se),
            })),
            Err(Error::Failed { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

fn gradient(
    objective: Objective,
    scene: &Scene,
    theta: &Tensor,
    batch: &super::Batch,
) -> Result<(f64, candle_core::backprop::GradStore)> {
    let loss = objective.loss(scene, theta, batch)?;
    let gradients = loss.backward()?;
    Ok((loss.to_dtype(DType::F64)?.to_scalar::<f64>()?, gradients))
}

fn broken(step: usize, lr: f64, cause: &str) -> Error {
    Error::invalid(
        format!("training broke down at step {step} (learning rate {lr:.2e}): {cause}"),
        "try a smaller --lr, --precision f64, or (by likelihood) looser tolerances",
    )
}
