//! The states of one solve at many times: particles between the latent and the data.
//!
//! x(t) with dx/dt = m_θ(x, t), read off the dense output of a single solve from one end to the other: a solve for each
//! time would cost as many times more, and its states would lie on paths of slightly different steps. The
//! log-determinant ∫₀ᵗ tr ∂m/∂x is integrated as a state, so that it too is available at all times; the quadrature of a
//! density gives it at the end alone.

use cnflow_solvers::SaveAt;

use super::transport::{Integration, Request, Transported, cost_of, transport, with_zeros};
use super::work::Watched;
use crate::continuous::{BoundVelocity, Continuous, LogDensity, Method, SolverSpec, narrowed};
use crate::transform::bijection::check_rows;
use crate::transform::{Bijection, Cost};
use crate::velocity::{Penalties, Scalar, Velocity};
use crate::words::exact;
use crate::{Error, Result};

/// At which end the particles are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// They are latents, at t = 0.
    Latent,
    /// They are data, at t = 1.
    Data,
}

/// Particles at many times, in the flow's own coordinates.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The requested times.
    pub times: Vec<f64>,
    /// `[times, n, d]`; NaN where a trajectory failed before it got there.
    pub states: Vec<f64>,
    /// log|det ∂x(t)/∂x(0)|, `[times, n]`; empty where it was not requested, NaN where x(t) or x(0) is.
    pub logdet: Vec<f64>,
    /// The cost.
    pub cost: Cost,
}

/// The result of [`record`].
#[derive(Clone, Debug)]
pub struct Recorded<T> {
    /// `[times, n, d]`; NaN where a trajectory failed before it got there.
    pub states: Vec<T>,
    /// log|det ∂x(t)/∂x(t₀)| from where the solve begins, `[times, n]`; empty where it was not requested or the method
    /// is implicit, NaN as the states are.
    pub logdet: Vec<f64>,
    /// The cost.
    pub cost: Cost,
}

/// The states at `times`, in any order, of the rows of `x` (`[n, d]`, row-major) on their way along `request.span`;
/// `condition` is `[n, c]`, or empty. Log-determinants are integrated as states; with an implicit method, which
/// computes in f64, none do.
///
/// # Errors
/// [`Error::Solve`] if the request is not valid. A trajectory that fails is listed in the cost.
pub fn record<T: Scalar>(
    velocity: &dyn Velocity<T>,
    x: &[T],
    condition: &[T],
    times: &[f64],
    request: &Request<'_>,
) -> Result<Recorded<T>> {
    let d = velocity.dim();
    let n = x.len() / d;
    let explicit = matches!(request.solver.method()?, Method::Explicit(_));
    let log_density = request.log_density && explicit;
    let solver = SolverSpec { log_density: LogDensity::Coupled, ..request.solver.clone() };
    let request = Request { solver: if explicit { &solver } else { request.solver }, log_density, ..*request };
    let integration = Integration::new(velocity, x, condition, &request, Penalties::NONE)?;
    let rides = integration.rides();
    let length = (request.span.1 - request.span.0).abs();
    let watch = || {
        let watched = request.progress.map(|work| Watched { work, length, points: 0 });
        (SaveAt::new(times, d + rides), watched)
    };
    let (ends, observers) = integration.run(x, &(0..n), watch)?;
    let saved: Vec<SaveAt<T>> = observers.into_iter().map(|(saved, _)| saved).collect();
    let all = SaveAt::collect(&saved, n, request.span.0, &with_zeros(x, d, rides));
    let rows = || all.chunks_exact(d + rides);
    let states = rows().flat_map(|row| row[..d].iter().copied()).collect();
    let mean = |row: &[T]| row.iter().map(|l| l.to_f64()).sum::<f64>() / rides as f64;
    let logdet = if rides > 0 { rows().map(|row| mean(&row[d..])).collect() } else { Vec::new() };
    let mut cost = cost_of(&ends.reports);
    if rides > 0 {
        cost.traces.clone_from(&cost.nfe);
    }
    Ok(Recorded { states, logdet, cost })
}

impl Continuous {
    /// The states at `times` (from 0 to the flow's end, in any order) of the particles that are at `start` (`[n, d]`)
    /// at one end.
    ///
    /// `condition` is `[n, c]`, or empty where the velocity has none. The layer's own coordinates; one solve, in which
    /// the log-determinants are integrated too where `log_density` is true. With an implicit method they cost a solve
    /// for each time.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time outside \[0, 1\] or after the flow's end; [`Error::Dimension`] where columns do
    /// not fit; the errors of the solver. A trajectory that fails is listed in the cost.
    pub fn paths(&self, start: &[f64], end: End, condition: &[f64], times: &[f64], log_density: bool) -> Result<Paths> {
        let (d, c) = (self.dim(), self.condition_dim());
        times.iter().try_for_each(|t| crate::transform::check_time(*t))?;
        if let Some(late) = times.iter().find(|t| **t > self.end()) {
            let problem = format!("time {} is after the end of the flow, {}", exact(*late), exact(self.end()));
            return Err(Error::invalid(problem, "take the stages of the whole flow"));
        }
        let n = check_rows(start, d, condition, c)?;
        let (wanted, mut times) = (times.len(), times.to_vec());
        // Log-determinants count from the latent, wherever the particles begin.
        times.push(0.0);
        let mut paths = self.follow(start, end, condition, times, log_density)?;
        if !paths.logdet.is_empty() {
            let first = paths.logdet.split_off(wanted * n);
            paths
                .logdet
                .chunks_exact_mut(n)
                .flat_map(|row| row.iter_mut().zip(&first))
                .for_each(|(l, zero)| *l -= zero);
        }
        paths.states.truncate(wanted * n * d);
        paths.times.truncate(wanted);
        Ok(paths)
    }

    /// As [`Continuous::paths`], the log-determinants counted from wherever the solve begins.
    fn follow(&self, start: &[f64], end: End, condition: &[f64], times: Vec<f64>, log_density: bool) -> Result<Paths> {
        let span = if end == End::Latent { (0.0, self.end()) } else { (self.end(), 0.0) };
        let request = self.request(span, log_density);
        match self.velocity() {
            BoundVelocity::F64(velocity) => {
                // Points enter the layer in the precision of its weights.
                let start: Vec<f64> = start.iter().map(|x| self.precision().round(*x)).collect();
                let Recorded { states, logdet, cost } = record(&**velocity, &start, condition, &times, &request)?;
                let mut paths = Paths { times, states, logdet, cost };
                if log_density && matches!(self.solver().method()?, Method::Implicit(_)) {
                    self.integrate_back(&**velocity, &mut paths, condition)?;
                }
                Ok(paths)
            }
            BoundVelocity::F32(velocity) => {
                let (start, condition) = (narrowed::<f32>(start), narrowed::<f32>(condition));
                let Recorded { states, logdet, cost } = record(&**velocity, &start, &condition, &times, &request)?;
                Ok(Paths { times, states: states.into_iter().map(f64::from).collect(), logdet, cost })
            }
        }
    }

    /// The log-determinants of paths that are known already, each by a solve back to the latent.
    fn integrate_back(&self, velocity: &dyn Velocity<f64>, paths: &mut Paths, condition: &[f64]) -> Result<()> {
        let d = velocity.dim();
        let rows = paths.states.len() / d / paths.times.len();
        if rows == 0 {
            return Ok(());
        }
        for (t, states) in paths.times.iter().zip(paths.states.chunks_exact(rows * d)) {
            let points: Vec<f64> = states.iter().map(|x| self.precision().round(*x)).collect();
            let request = self.request((*t, 0.0), true);
            let Transported { logdet, cost, .. } = transport(velocity, &points, condition, &request)?;
            paths.logdet.extend(logdet.iter().map(|l| -l));
            for (row, failure) in cost.failures {
                if !paths.cost.failures.iter().any(|(known, _)| *known == row) {
                    paths.cost.failures.push((row, failure));
                }
            }
            paths.cost.nfe.iter_mut().zip(&cost.nfe).for_each(|(all, more)| *all += more);
            paths.cost.traces.iter_mut().zip(&cost.traces).for_each(|(all, more)| *all += more);
            paths.cost.unsettled += cost.unsettled;
        }
        Ok(())
    }
}
