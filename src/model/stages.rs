//! The stages of a flow: points and log-densities of particles between the latent and the data.
//!
//! A velocity has a stage at each time t; a flow of L layers has one after each of them, at t = l / L. At stage t the
//! base has been transported up to t, and log p_t(x_t) = log p_0(x_0) − log|det ∂x_t/∂x_0|.
//!
//! Points are in the data's units throughout, and densities per such unit: the layers that end the flow (the
//! base flow, the standardisation x ↦ mean + std · x and the kinds of columns) are applied at every stage. So the latent at t = 0 is
//! N(mean, std²) (or a fitted mixture, where the architecture begins at one), and all stages fit one pair of axes.

use crate::continuous::{End, Paths};
use crate::model::{Architecture, BoundArchitecture, BoundModel, FlowSpec, Model};
use crate::transform::bijection::{check_rows, own_condition};
use crate::transform::{Bijection, Cost, Mapped, Simplexes, check_time};
use crate::velocity::Precision;
use crate::{Error, Result};

/// Particles at some stages of a flow.
#[derive(Clone, Debug)]
pub struct Stages {
    /// The time of each stage, from 0 (the latent) to 1 (the data); for layers l / L.
    pub times: Vec<f64>,
    /// How many layers have been passed at each stage; none for a velocity.
    pub layers: Option<Vec<usize>>,
    /// In the data's units, `[stages, n, d]`; NaN where a particle failed before it got there.
    pub points: Vec<f64>,
    /// log p of each stage's own distribution at the points, `[stages, n]`, in nats; NaN where a particle failed, empty
    /// where it was not requested.
    pub log_prob: Vec<f64>,
    /// The cost.
    pub cost: Cost,
}

impl Stages {
    /// Where the particles are drawn at time `t`, `[n, d]`: between two stages on the straight line from the one to the
    /// other. Such places are for pictures only: between two layers there is no distribution. Times must rise.
    pub fn drawn(&self, t: f64) -> Vec<f64> {
        let width = self.points.len() / self.times.len().max(1);
        let place = |k: usize| &self.points[k * width..(k + 1) * width];
        let next = self.times.partition_point(|stage| *stage <= t);
        if next == 0 || next == self.times.len() {
            return if self.times.is_empty() { Vec::new() } else { place(next.saturating_sub(1)).to_vec() };
        }
        let (from, to) = (self.times[next - 1], self.times[next]);
        let share = (t - from) / (to - from);
        // At a stage the particle's own point is used, even if it fails after that stage.
        let between = |(a, b): (&f64, &f64)| if share > 0.0 { a + share * (b - a) } else { *a };
        place(next - 1).iter().zip(place(next)).map(between).collect()
    }
}

impl FlowSpec {
    /// In how many layers points move from the latent to the data; none where there is a stage at each time.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the flow has no stages: the distribution is the base's own, or a table's.
    pub fn stages(&self) -> Result<Option<usize>> {
        if self.classes.is_some() {
            let problem = "the model gives out classes, which have no trajectories";
            return Err(Error::invalid(problem, "draw its samples, or train a model with the class as its condition"));
        }
        let what = match &self.architecture {
            Architecture::Velocity(_) => return Ok(None),
            Architecture::Discrete(spec) => return Ok(Some(spec.layers.len())),
            Architecture::Identity { .. } => match self.base.as_ref().map(|base| base.components()) {
                None => "a standard normal".to_owned(),
                Some(1) => "one Gaussian".to_owned(),
                Some(k) => format!("a mixture of {k} Gaussians"),
            },
            Architecture::Histogram(_) => "a table of probabilities".to_owned(),
        };
        let draw = if self.dim() > 2 { "draw its samples" } else { "draw its density" };
        Err(Error::invalid(
            format!("the model is {what}: it has no trajectories from latents to data"),
            format!("{draw}, or train a flow with `model.base` normal"),
        ))
    }
}

impl Model {
    /// As [`BoundModel::stages`], bound for this call.
    ///
    /// # Errors
    /// As [`Model::bind`] and [`BoundModel::stages`].
    pub fn stages(
        &self,
        precision: Precision,
        start: &[f64],
        end: End,
        condition: &[f64],
        at: &[f64],
    ) -> Result<Stages> {
        self.bind(precision)?.stages(start, end, condition, at)
    }
}

impl BoundModel {
    /// The points and log-densities, at the stages `at` (from 0 to 1, in any order), of particles known at one end.
    ///
    /// `start` is `[n, d]`: latents, standard normal, or data. `condition` is `[n, c]` as the user has it, or empty. Of
    /// L layers the first ⌊t L⌋ have been passed at t, so l / L is the stage after layer l. For a velocity all stages
    /// come from one solve.
    ///
    /// At every stage `log_prob` is the density of [`BoundModel::until`] at the points.
    ///
    /// # Errors
    /// As [`FlowSpec::stages`]; [`Error::Invalid`] for a time outside \[0, 1\] or conditions that do not fit;
    /// [`Error::Dimension`] where columns do not fit; the errors of the solver. A particle that fails is listed in the
    /// cost.
    pub fn stages(&self, start: &[f64], end: End, condition: &[f64], at: &[f64]) -> Result<Stages> {
        self.stages_of(start, end, condition, at, true)
    }

    /// As [`BoundModel::stages`], the points alone: [`Stages::log_prob`] is empty.
    ///
    /// # Errors
    /// As [`BoundModel::stages`].
    pub fn places(&self, start: &[f64], end: End, condition: &[f64], at: &[f64]) -> Result<Stages> {
        self.stages_of(start, end, condition, at, false)
    }

    fn stages_of(&self, start: &[f64], end: End, condition: &[f64], at: &[f64], log_density: bool) -> Result<Stages> {
        let (spec, d) = (self.spec(), self.dim());
        spec.stages()?;
        at.iter().try_for_each(|t| check_time(*t))?;
        let n = check_rows(start, d, condition, self.condition_dim())?;
        if let Some(parts) = self.parts() {
            return self.stages_of_parts(parts, start, end, condition, at, log_density);
        }
        let given = condition;
        let condition = &spec.encoded(condition)?;
        let preprocessing = self.preprocessing();
        let mut inside = Mapped::points(start.to_vec());
        match end {
            End::Data => preprocessing
                .iter()
                .rev()
                .try_for_each(|layer| layer.inverse(&mut inside, own_condition(&**layer, given)))?,
            End::Latent => {
                if let Some(map) = self.to_base() {
                    map.forward(&mut inside, &[])?;
                }
            }
        }
        let mut cost = inside.cost;
        // Log-determinants count from the latent, at whichever end the particles are given.
        let mut times = at.to_vec();
        times.push(0.0);
        let Paths { mut states, logdet, cost: spent, .. } =
            self.paths(&inside.y, end, condition, &times, log_density)?;
        cost.merge(spent);
        // A row that fails before the architecture fails in it too.
        cost.failures.sort_by_key(|(row, _)| *row);
        cost.failures.dedup_by_key(|(row, _)| *row);
        let latent = states.split_off(at.len() * n * d);
        let mut points = if log_density { Mapped::new(states, d) } else { Mapped::points(states) };
        let mut log_prob = Vec::new();
        if log_density {
            let begun = self.base().log_prob_rows(&latent);
            log_prob = logdet[..at.len() * n].iter().enumerate().map(|(k, l)| begun[k % n] - l).collect();
        }
        // The conditions of all stages.
        let given = match preprocessing.iter().any(|layer| layer.condition_dim() > 0) {
            true => given.repeat(at.len()),
            false => Vec::new(),
        };
        for layer in &preprocessing {
            points.logdet.fill(0.0);
            layer.forward(&mut points, own_condition(&**layer, &given))?;
            log_prob.iter_mut().zip(&points.logdet).for_each(|(log, l)| *log -= l);
        }
        let layers = match &spec.architecture {
            Architecture::Discrete(spec) => Some(at.iter().map(|t| spec.layers_until(*t)).collect()),
            _ => None,
        };
        Ok(Stages { times: at.to_vec(), layers, points: points.y, log_prob, cost })
    }

    /// As [`BoundModel::stages_of`] of a model with simplexes: at every stage rows have parts of the whole.
    fn stages_of_parts(
        &self,
        parts: &Simplexes,
        start: &[f64],
        end: End,
        condition: &[f64],
        at: &[f64],
        log_density: bool,
    ) -> Result<Stages> {
        let (inner, outside) = match end {
            End::Latent => (parts.cut(start), Vec::new()),
            End::Data => {
                let (inner, logs) = parts.inward(start);
                (inner, (0..logs.len()).filter(|i| logs[*i] == f64::NEG_INFINITY).collect())
            }
        };
        let mut stages = self.of_log_ratios()?.stages_of(&inner, end, condition, at, log_density)?;
        let (points, logs) = parts.outward(&stages.points);
        stages.points = points;
        stages.log_prob.iter_mut().zip(logs).for_each(|(log, l)| *log -= l);
        stages.cost.merge(Cost { outside, ..Cost::default() });
        Ok(stages)
    }

    /// In the architecture's own coordinates; the log-determinants count from the latent.
    fn paths(&self, start: &[f64], end: End, condition: &[f64], at: &[f64], log_density: bool) -> Result<Paths> {
        match self.architecture() {
            BoundArchitecture::Continuous(flow) => flow.paths(start, end, condition, at, log_density),
            BoundArchitecture::Discrete(flow) => {
                let passed = |t: &f64| flow.spec().layers_until(*t);
                if let Some(late) = at.iter().find(|t| passed(t) > flow.layers()) {
                    let problem =
                        format!("stage {} is after the end of the flow, layer {}", passed(late), flow.layers());
                    return Err(Error::invalid(problem, "take the stages of the whole flow"));
                }
                let all = flow.paths(start, end, condition)?;
                let n = start.len() / flow.dim();
                let pick = |x: &[f64], width: usize| {
                    let row = |t: &f64| x[passed(t) * width..][..width].to_vec();
                    at.iter().flat_map(row).collect()
                };
                let (states, logdet) = (pick(&all.states, n * flow.dim()), pick(&all.logdet, n));
                Ok(Paths { times: at.to_vec(), states, logdet, cost: all.cost })
            }
            BoundArchitecture::Fixed(_) => {
                self.spec().stages()?;
                Err(Error::invalid("the model has no stages", "use a continuous or a discrete flow"))
            }
        }
    }
}
