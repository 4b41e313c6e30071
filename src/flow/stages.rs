//! Every stage of a flow is a distribution: the points and the log-densities of particles on their way.
//!
//! A velocity has a stage at each time t; a flow of L layers has one after each of them, at t = l / L. At stage t the
//! base has been carried so far and no further, and log p_t(x_t) = log p_0(x_0) − log|det ∂x_t/∂x_0|.
//!
//! Points are in the data's units throughout, and densities per such unit: the layers that end the flow (the
//! standardisation x ↦ mean + std · x and the kinds of columns) are applied at every stage. So the latent at t = 0 is
//! N(mean, std²) (or a fitted mixture, where the core begins at one), and all stages are seen on one pair of axes.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use candle_core::{DType, Device, Tensor};

use super::paths::particles;
use super::{Bijection, Continuous, Core, Cost, Density as _, Discrete, End, Mapped, Model, Paths, Rosenblatt};
use crate::{Error, Result};

/// The core of a model that moves points in stages, with its parameters.
#[derive(Clone, Debug)]
pub enum Mover {
    /// A velocity: a stage at each time.
    Continuous(Continuous),
    /// Layers: a stage after each.
    Discrete(Discrete),
}

impl Mover {
    /// How many layers it has; none where there is a stage at each time.
    pub fn layers(&self) -> Option<usize> {
        match self {
            Self::Continuous(_) => None,
            Self::Discrete(flow) => Some(flow.spec().layers.len()),
        }
    }

    /// As far as it is at `t`, from 0 (nothing is moved) to 1: as [`Model::flow_until`] without what stands around it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for t outside \[0, 1\].
    pub fn until(&self, t: f64) -> Result<Box<dyn Bijection>> {
        on_the_way(&[t])?;
        Ok(match self {
            Self::Continuous(flow) => Box::new(flow.until(t)?),
            Self::Discrete(flow) => Box::new(flow.until(flow.spec().layers_until(t))?),
        })
    }

    /// Counts trajectories of a velocity in `progress` as they arrive; a pass through layers is over at once.
    pub fn with_progress(self, progress: Arc<AtomicUsize>) -> Self {
        match self {
            Self::Continuous(flow) => Self::Continuous(flow.with_progress(progress)),
            layers @ Self::Discrete(_) => layers,
        }
    }

    /// Leaves out the log-densities where they cost something: [`Stages::log_prob`] is then empty.
    pub fn without_log_density(self) -> Self {
        match self {
            Self::Continuous(flow) => Self::Continuous(flow.without_log_density()),
            layers @ Self::Discrete(_) => layers,
        }
    }

    /// In the core's own coordinates; the log-determinants count from the latent.
    fn paths(&self, start: &[f64], end: End, condition: &[f64], at: &[f64]) -> Result<Paths> {
        match self {
            Self::Continuous(flow) => flow.paths(start, end, condition, at),
            Self::Discrete(flow) => {
                let all = flow.paths(start, end, condition)?;
                let n = start.len() / flow.dim();
                let pick = |x: &[f64], width: usize| {
                    let row = |t: &f64| x[flow.spec().layers_until(*t) * width..][..width].to_vec();
                    at.iter().flat_map(row).collect()
                };
                let (states, logdet) = (pick(&all.states, n * flow.dim()), pick(&all.logdet, n));
                Ok(Paths { times: at.to_vec(), states, logdet, cost: all.cost })
            }
        }
    }
}

/// Particles at some stages of a flow.
#[derive(Clone, Debug)]
pub struct Stages {
    /// Where on the way each stage is, from 0 (the latent) to 1 (the data); for layers l / L.
    pub times: Vec<f64>,
    /// How many layers have been passed at each stage; none for a velocity.
    pub layers: Option<Vec<usize>>,
    /// In the data's units, `[stages, n, d]`; NaN where a particle failed before it got there.
    pub points: Vec<f64>,
    /// log p of each stage's own distribution at the points, `[stages, n]`, in nats; NaN where a particle failed, empty
    /// where it was not asked for.
    pub log_prob: Vec<f64>,
    /// What it took.
    pub cost: Cost,
}

impl Stages {
    /// Where the particles are drawn at time `t`, `[n, d]`: between two stages on the straight line from the one to the
    /// other. Such places are drawn, not computed: between two layers there is no distribution. Needs rising times.
    pub fn drawn(&self, t: f64) -> Vec<f64> {
        let width = self.points.len() / self.times.len().max(1);
        let place = |k: usize| &self.points[k * width..(k + 1) * width];
        let next = self.times.partition_point(|stage| *stage <= t);
        if next == 0 || next == self.times.len() {
            return if self.times.is_empty() { Vec::new() } else { place(next.saturating_sub(1)).to_vec() };
        }
        let (from, to) = (self.times[next - 1], self.times[next]);
        let share = (t - from) / (to - from);
        // At a stage a particle is where it is, even if it fails right behind.
        let between = |(a, b): (&f64, &f64)| if share > 0.0 { a + share * (b - a) } else { *a };
        place(next - 1).iter().zip(place(next)).map(between).collect()
    }
}

fn on_the_way(times: &[f64]) -> Result<()> {
    match times.iter().find(|t| !(0.0..=1.0).contains(*t)) {
        Some(t) => Err(Error::invalid(format!("time {t} is not on the way"), "give times between 0 and 1")),
        None => Ok(()),
    }
}

impl Model {
    /// What moves points from the latent to the data, computing in `dtype` (f32 or f64).
    ///
    /// # Errors
    /// [`Error::Invalid`] where nothing moves in stages: the distribution is the base's own, or a table's.
    pub fn mover(&self, dtype: DType) -> Result<Mover> {
        let what = match &self.spec.core {
            Core::Velocity(_) => return Ok(Mover::Continuous(self.continuous(dtype)?)),
            Core::Discrete(spec) => return Ok(Mover::Discrete(Discrete::new(spec.clone(), self.tensor(dtype)?)?)),
            Core::Still { .. } => match self.spec.base.as_ref().map(|base| base.components()) {
                None => "a standard normal".to_owned(),
                Some(1) => "one Gaussian".to_owned(),
                Some(k) => format!("a mixture of {k} Gaussians"),
            },
            Core::Histogram(_) => "a table of probabilities".to_owned(),
        };
        let draw = if self.dim() > 2 {
            "`cnf sample -o x.npy --plot samples.png` draws what it makes"
        } else {
            "`cnf density --grid 200 --plot density.png` draws what it is"
        };
        Err(Error::invalid(
            format!("the model is {what}: nothing moves from a latent to the data"),
            format!("{draw}; `cnf train --base normal` makes a flow that moves"),
        ))
    }

    /// The points and log-densities, at the stages `at` (from 0 to 1, in any order), of particles known at one end.
    ///
    /// `start` is `[n, d]`: latents, standard normal, or data. `condition` is `[n, c]` as the user has it, or empty. Of L
    /// layers the first ⌊t L⌋ have been passed at t, so l / L is the stage after layer l. For a velocity all stages come
    /// from one solve.
    ///
    /// At every stage `log_prob` is what [`Model::flow_until`] says of the points.
    ///
    /// # Errors
    /// As [`Model::mover`] and [`Model::stages_by`].
    pub fn stages(&self, dtype: DType, start: &[f64], end: End, condition: &[f64], at: &[f64]) -> Result<Stages> {
        self.stages_by(&self.mover(dtype)?, start, end, condition, at)
    }

    /// As [`Model::stages`], by a mover of this model: one that counts, or leaves log-densities out.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time outside \[0, 1\] or conditions that do not fit; [`Error::Dimension`] where columns do
    /// not fit; whatever the solver refuses. A particle that fails is listed in the cost.
    pub fn stages_by(&self, mover: &Mover, start: &[f64], end: End, condition: &[f64], at: &[f64]) -> Result<Stages> {
        let (d, c) = (self.dim(), self.condition_dim());
        on_the_way(at)?;
        let n = particles(start, d, condition, c)?;
        let condition = self.encoded(condition)?;
        let frame = self.spec.frame()?;
        let mut inside = Tensor::from_slice(start, (n, d), &Device::Cpu)?;
        let mut cost = Cost::default();
        let step = |mapped: Mapped, cost: &mut Cost| {
            cost.merge(mapped.cost);
            mapped.y
        };
        match end {
            End::Data => {
                for layer in frame.iter().rev() {
                    inside = step(layer.inverse(&inside, None)?, &mut cost);
                }
            }
            End::Latent => {
                if let Some(mixture) = &self.spec.base {
                    inside = step(Rosenblatt::new(mixture.clone()).forward(&inside, None)?, &mut cost);
                }
            }
        }
        let inside = inside.flatten_all()?.to_vec1::<f64>()?;
        // The density is carried from the latent, wherever the particles are known.
        let mut times = at.to_vec();
        times.push(0.0);
        let paths = mover.paths(&inside, end, &condition, &times)?;
        cost.merge(paths.cost);
        let latent = Tensor::from_slice(&paths.states[at.len() * n * d..], (n, d), &Device::Cpu)?;
        let mut points = Tensor::from_slice(&paths.states[..at.len() * n * d], (at.len() * n, d), &Device::Cpu)?;
        let mut log_prob = Vec::new();
        if !paths.logdet.is_empty() {
            let begun = self.spec.base().log_prob(&latent, None)?.to_vec1::<f64>()?;
            log_prob = paths.logdet[..at.len() * n].iter().enumerate().map(|(k, l)| begun[k % n] - l).collect();
        }
        for layer in &frame {
            let Mapped { y, logdet, .. } = layer.forward(&points, None)?;
            points = y;
            log_prob.iter_mut().zip(logdet.to_vec1::<f64>()?).for_each(|(log, l)| *log -= l);
        }
        let points = points.flatten_all()?.to_vec1::<f64>()?;
        let layers = match &self.spec.core {
            Core::Discrete(spec) => Some(at.iter().map(|t| spec.layers_until(*t)).collect()),
            _ => None,
        };
        Ok(Stages { times: at.to_vec(), layers, points, log_prob, cost })
    }
}
