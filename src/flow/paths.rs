//! Where particles are on their way: the states of one solve at many times.
//!
//! x(t) with dx/dt = m_θ(x, t), read off the dense output of a single solve from one end to the other: a solve for each
//! time would cost as many times more, and its states would lie on paths of slightly different steps.
//!
//! States are in the data's units throughout: the layers that end the flow (the standardisation x ↦ mean + std · x and
//! the kinds of columns) are applied at every time. So the latent at t = 0 is N(mean, std²) (or a fitted mixture, where
//! the velocity begins at one), and the paths are seen on one pair of axes.

use candle_core::{DType, Device, Tensor, WithDType};
use cnf_solvers::progress::Progress;
use cnf_solvers::save::SaveAt;
use cnf_solvers::{Real, Report, solve, stiff};

use super::transport::cost_of;
use super::{Bijection, Continuous, Cost, Method, Model, Rosenblatt};
use crate::velocity::fields::Motion;
use crate::velocity::{Batch, Scalar, Trace};
use crate::{Error, Result};

/// At which end the particles are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// They are latents, at t = 0.
    Latent,
    /// They are data, at t = 1.
    Data,
}

/// Particles at many times.
#[derive(Clone, Debug)]
pub struct Paths {
    /// As asked for.
    pub times: Vec<f64>,
    /// `[times, n, d]`; NaN where a trajectory failed before it got there.
    pub states: Vec<f64>,
    /// What it took; no log-density is carried along.
    pub cost: Cost,
}

impl Continuous {
    /// The states at `times` (in \[0, 1\], in any order) of the particles that are at `start` (`[n, d]`) at one end.
    ///
    /// `condition` is `[n, c]`, or empty where the velocity has none. The layer's own coordinates; one solve.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time outside \[0, 1\]; [`Error::Dimension`] where columns do not fit; whatever the
    /// solver refuses. A trajectory that fails is listed in the cost.
    pub fn paths(&self, start: &[f64], end: End, condition: &[f64], times: &[f64]) -> Result<Paths> {
        let (d, c) = (self.velocity().dim(), self.velocity().condition_dim());
        if let Some(t) = times.iter().find(|t| !(0.0..=1.0).contains(*t)) {
            return Err(Error::invalid(format!("time {t} is not on the way"), "give times between 0 and 1"));
        }
        if !start.len().is_multiple_of(d) {
            let what = "the last row of the particles".into();
            return Err(Error::Dimension { what, expected: d, found: start.len() % d });
        }
        let n = start.len() / d;
        if condition.len() != n * c {
            return Err(Error::invalid(
                format!("{} numbers of conditions for {n} particles of {c} columns", condition.len()),
                "give one row of conditions for each particle",
            ));
        }
        match self.theta().dtype() {
            DType::F64 => self.follow::<f64>(start, end, condition, times),
            _ => self.follow::<f32>(start, end, condition, times),
        }
    }

    fn follow<T: Scalar + WithDType>(
        &self,
        start: &[f64],
        end: End,
        condition: &[f64],
        times: &[f64],
    ) -> Result<Paths> {
        let d = self.velocity().dim();
        let n = start.len() / d;
        let span = if end == End::Latent { (0.0, 1.0) } else { (1.0, 0.0) };
        let threads = rayon::current_num_threads();
        let progress = || self.progress().map(Progress);
        // The velocity alone is asked for: no probes, no keys.
        let (states, reports) = match self.solver().method()? {
            Method::Explicit(tableau) => {
                let options = self.solver().options(tableau, 0)?;
                let velocity = self.velocity().bind::<T>(&self.theta().to_vec1::<T>()?, self.device())?;
                let narrow = |x: &[f64]| x.iter().map(|v| <T as Real>::of(*v)).collect::<Vec<T>>();
                let (y0, condition) = (narrow(start), narrow(condition));
                let batch = Batch { condition: &condition, keys: &[], trace: Trace::Exact, lanes: options.lanes };
                let worker = || (Motion(velocity.evaluator(batch)), (SaveAt::new(times, d), progress()));
                let (solution, observers) = solve(worker, &y0, span, &options, threads)?;
                let saved: Vec<SaveAt<T>> = observers.into_iter().map(|(saved, _)| saved).collect();
                let states = SaveAt::collect(&saved, n, span.0, &y0).iter().map(|v| v.wide()).collect();
                (states, solution.reports)
            }
            Method::Implicit(method) => {
                let theta = self.theta().to_dtype(DType::F64)?.to_vec1::<f64>()?;
                let velocity = self.velocity().bind::<f64>(&theta, self.device())?;
                let batch = Batch { condition, keys: &[], trace: Trace::Exact, lanes: d.max(16) };
                let field = || Motion(velocity.evaluator(batch));
                let observer = |_: usize| (SaveAt::new(times, d), progress());
                let options = self.solver().stiff_options();
                let outcomes =
                    stiff::integrate_many(field, method, start, span.0, span.1, &options, threads, observer)?;
                let (mut saved, mut reports) = (Vec::with_capacity(n), Vec::with_capacity(n));
                for (outcome, (states, _)) in outcomes {
                    saved.push(states);
                    reports.push(Report { nfe: outcome.nfe as u32, status: outcome.status, ..Report::new(span.1) });
                }
                let states = SaveAt::collect(&saved, n, span.0, start);
                (states, reports)
            }
        };
        Ok(Paths { times: times.to_vec(), states, cost: cost_of(&reports) })
    }
}

impl Model {
    /// As [`Continuous::paths`] of `continuous`, a layer of this model, with all points in the data's units.
    ///
    /// `start` is `[n, d]`: latents, standard normal, or data. `condition` is `[n, c]`, or empty.
    ///
    /// # Errors
    /// As [`Continuous::paths`].
    pub fn paths(
        &self,
        continuous: &Continuous,
        start: &[f64],
        end: End,
        condition: &[f64],
        times: &[f64],
    ) -> Result<Paths> {
        let d = self.dim();
        if !start.len().is_multiple_of(d) {
            let what = "the last row of the particles".into();
            return Err(Error::Dimension { what, expected: d, found: start.len() % d });
        }
        let frame = self.spec.frame()?;
        let table = |x: Vec<f64>| Ok::<_, Error>(Tensor::from_vec(x.clone(), (x.len() / d, d), &Device::Cpu)?);
        let mut inside = table(start.to_vec())?;
        match end {
            End::Data => {
                for layer in frame.iter().rev() {
                    inside = layer.inverse(&inside, None)?.y;
                }
            }
            End::Latent => {
                if let Some(mixture) = &self.spec.base {
                    inside = Rosenblatt::new(mixture.clone()).forward(&inside, None)?.y;
                }
            }
        }
        let inside = inside.flatten_all()?.to_vec1::<f64>()?;
        let mut paths = continuous.paths(&inside, end, condition, times)?;
        let mut states = table(std::mem::take(&mut paths.states))?;
        for layer in &frame {
            states = layer.forward(&states, None)?.y;
        }
        paths.states = states.flatten_all()?.to_vec1::<f64>()?;
        Ok(paths)
    }

    /// The largest ‖∂m/∂x‖₂ over points of `paths` of latents, in the flow's own coordinates, and where it was found.
    ///
    /// `paths` starts from `rng`, seen at `times` equal times; one solve and a Jacobian a point. A lower bound of the
    /// Lipschitz constant on the region where the flow lives. Nothing for a conditional model, or one without a velocity.
    ///
    /// # Errors
    /// As [`Continuous::paths`]; [`Error::Failed`] where no particle arrives.
    pub fn lipschitz(
        &self,
        paths: usize,
        times: usize,
        rng: &mut crate::Rng,
    ) -> Result<Option<crate::velocity::Steepest>> {
        if self.condition_dim() > 0 || times < 2 || self.spec.core.as_velocity().is_none() {
            return Ok(None);
        }
        let continuous = self.continuous(DType::F64)?;
        let z = self.spec.base().draw(paths, rng);
        let seen: Vec<f64> = (0..times).map(|k| k as f64 / (times - 1) as f64).collect();
        let found = continuous.paths(&z, End::Latent, &[], &seen)?;
        if found.cost.failures.len() == paths {
            super::check_failures(&found.cost, paths)?;
        }
        let at: Vec<f64> = seen.iter().flat_map(|t| std::iter::repeat_n(*t, paths)).collect();
        let theta: Tensor = continuous.theta().clone();
        let velocity = self.spec.core.velocity()?.bind::<f64>(&theta.to_vec1::<f64>()?, &Device::Cpu)?;
        Ok(crate::velocity::steepest(&*velocity, &at, &found.states))
    }
}
