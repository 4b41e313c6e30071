//! A bound model, and what is computed with it: functions of plain rows that need no interpreter.

use cnflow::continuous::{Method, Work};
use cnflow::error::Setting;
use cnflow::model::{Architecture, ScoredGradient};
use cnflow::transform::{Cost, Latents};
use cnflow::velocity::{Precision, VelocitySpec};
use cnflow::{BoundModel, Model};

use crate::error::Outcome;

/// Rows, and numbers, that are solved at a time: memory does not grow beyond them, and no bit depends on them.
pub const BLOCK_ROWS: usize = 1 << 16;
pub const BLOCK_NUMBERS: usize = 1 << 20;

/// A model that is bound: shared by all flows that differ in their condition only.
pub struct Engine {
    /// With the solver of the flow.
    pub model: Model,
    /// Bound once.
    pub bound: BoundModel,
    /// Of its nets.
    pub precision: Precision,
    /// A call on a few rows uses no thread pool.
    pub alone: bool,
}

impl Engine {
    /// Binds a model; without a precision in that of its training.
    pub fn new(model: Model, precision: Option<Precision>) -> Outcome<Self> {
        let trained = model.provenance.get("precision").and_then(serde_json::Value::as_str) == Some("f64");
        let precision = precision.unwrap_or(if trained { Precision::F64 } else { Precision::F32 });
        let bound = model.bind(precision)?;
        let alone = match &model.spec.architecture {
            _ if model.spec.base.is_some() => false,
            // candle has threads of its own.
            Architecture::Velocity(velocity) => !of_layers(velocity),
            Architecture::Discrete(_) => true,
            Architecture::Identity { .. } | Architecture::Histogram(_) => false,
        };
        Ok(Self { model, bound, precision, alone })
    }

    /// The model of a file's bytes.
    pub fn of_bytes(bytes: &[u8], precision: Option<Precision>) -> Outcome<Self> {
        Self::new(Model::from_bytes(bytes)?, precision)
    }

    /// What hints about its results assume.
    pub fn setting(&self) -> Setting {
        let implicit = matches!(self.model.spec.solver.method(), Ok(Method::Implicit(_)));
        Setting { wide: self.precision == Precision::F64 || implicit, implicit }
    }
}

fn of_layers(velocity: &VelocitySpec) -> bool {
    !matches!(velocity, VelocitySpec::Mlp(_) | VelocitySpec::Image(_) | VelocitySpec::Preconditioned(_))
}

/// What became of rows.
#[derive(Clone, Debug, Default)]
pub struct Solved {
    /// `[n, d]`, or nothing.
    pub y: Vec<f64>,
    /// `[n]`, or nothing.
    pub log_prob: Vec<f64>,
    /// Derivatives by the condition, `[n, c]`, or nothing.
    pub by_condition: Vec<f64>,
    pub cost: Cost,
}

impl Solved {
    /// Puts other rows behind these, of which there are so many.
    pub fn append(&mut self, rows: usize, other: Self) {
        self.y.extend(other.y);
        self.log_prob.extend(other.log_prob);
        self.by_condition.extend(other.by_condition);
        self.cost.append(rows, other.cost);
    }
}

/// A function of a model on rows and their conditions.
pub trait Kernel: Fn(&BoundModel, &[f64], &[f64]) -> cnflow::Result<Solved> + Copy + Send + Sync + 'static {}

impl<F: Fn(&BoundModel, &[f64], &[f64]) -> cnflow::Result<Solved> + Copy + Send + Sync + 'static> Kernel for F {}

/// log p.
pub fn scored(model: &BoundModel, x: &[f64], condition: &[f64]) -> cnflow::Result<Solved> {
    let scored = model.log_prob(x, condition)?;
    Ok(Solved { log_prob: scored.log_prob, cost: scored.cost, ..Solved::default() })
}

/// log p, the mean over so many draws of the noise in whole numbers.
pub fn over_draws(model: &BoundModel, x: &[f64], condition: &[f64], draws: u64) -> cnflow::Result<Solved> {
    let further =
        (1..draws).map(|draw| model.with_draw(draw)?.log_prob(x, condition)).collect::<cnflow::Result<_>>()?;
    let scored = model.log_prob(x, condition)?.over_draws(further);
    Ok(Solved { log_prob: scored.log_prob, cost: scored.cost, ..Solved::default() })
}

/// log p of the cells that each row has.
pub fn present(model: &BoundModel, x: &[f64], _condition: &[f64]) -> cnflow::Result<Solved> {
    let scored = model.log_prob_present(x)?;
    Ok(Solved { log_prob: scored.log_prob, cost: scored.cost, ..Solved::default() })
}

/// Latents.
pub fn inverted(model: &BoundModel, x: &[f64], condition: &[f64]) -> cnflow::Result<Solved> {
    let points = model.latents(x, condition)?;
    Ok(Solved { y: points.y, cost: points.cost, ..Solved::default() })
}

/// Data of latents.
pub fn moved(model: &BoundModel, z: &[f64], condition: &[f64]) -> cnflow::Result<Solved> {
    let points = model.points(z, condition)?;
    Ok(Solved { y: points.y, cost: points.cost, ..Solved::default() })
}

/// Data of latents, and log p.
pub fn decoded(model: &BoundModel, z: &[f64], condition: &[f64]) -> cnflow::Result<Solved> {
    let solved = model.decode(z, condition)?;
    Ok(Solved { y: solved.y, log_prob: solved.log_prob, cost: solved.cost, ..Solved::default() })
}

/// log p and its gradients.
pub fn with_gradient(model: &BoundModel, x: &[f64], condition: &[f64]) -> cnflow::Result<Solved> {
    let found = model.log_prob_and_grad(x, condition)?;
    let ScoredGradient { scored, gradient, condition_gradient } = found;
    Ok(Solved { y: gradient, log_prob: scored.log_prob, by_condition: condition_gradient, cost: scored.cost })
}

/// Latents of `n` draws, those from `first` on; fewer of them after a stop.
pub fn drawn(d: usize, n: usize, seed: u64, first: usize, stop: &Work) -> Vec<f64> {
    let latents = Latents::new(d, seed);
    let parts = (0..n).step_by(BLOCK_ROWS).take_while(|_| !stop.stopped());
    parts.flat_map(|from| latents.rows((first + from) as u64, BLOCK_ROWS.min(n - from))).collect()
}
