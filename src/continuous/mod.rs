//! The continuous flow: x(0) = z, dx/dt = m_θ(x, t), x(1) = x.
//!
//! The velocity is bound once, when the flow is made. Points are f64 on both sides and are rounded to the velocity's
//! own precision where a solve begins; a log-determinant is f64 from the quadrature on, which refines itself until its
//! estimate meets the tolerance. Where rows come without log-determinants ([`Mapped::points`]) no divergence is
//! evaluated. The map of equal steps can be the flow itself (`exact`): then nothing is integrated.

mod exact;
pub mod paths;
mod request;
pub mod solver;
pub mod taped;
pub mod transport;
mod work;

pub use paths::{End, Paths};
pub use solver::{LogDensity, Method, SolverSpec, TraceSpec};
pub use work::Work;

use std::borrow::Cow;
use std::sync::Arc;

use crate::continuous::transport::{Request, Transported, transport_as};
use crate::transform::bijection::check_rows;
use crate::transform::{Bijection, Condition, Mapped};
use crate::velocity::{Device, Precision, Scalar, Trace, Velocity, VelocitySpec};
use crate::{Error, Result};

/// A velocity with its parameters, in one of the two precisions: shared by all that is made of it.
#[derive(Clone)]
pub enum BoundVelocity {
    /// It computes in f32.
    F32(Arc<dyn Velocity<f32>>),
    /// It computes in f64.
    F64(Arc<dyn Velocity<f64>>),
}

impl BoundVelocity {
    /// The velocity of `spec` with parameters `theta`, `[n_params]`; a net of candle layers computes on `device`.
    ///
    /// # Errors
    /// [`Error::Parameters`] where θ does not fit; [`Error::Invalid`] for a velocity that is not valid.
    pub fn new(spec: &VelocitySpec, theta: &[f64], precision: Precision, device: Device) -> Result<Self> {
        spec.validate()?;
        if theta.len() != spec.n_params() {
            let (expected, found) = (spec.n_params(), theta.len());
            return Err(Error::Parameters { expected, found });
        }
        Ok(match precision {
            Precision::F32 => {
                let theta: Vec<f32> = theta.iter().map(|w| *w as f32).collect();
                Self::F32(spec.bind(&theta, device)?.into())
            }
            Precision::F64 => Self::F64(spec.bind(theta, device)?.into()),
        })
    }

    /// d.
    pub fn dim(&self) -> usize {
        match self {
            Self::F32(velocity) => velocity.dim(),
            Self::F64(velocity) => velocity.dim(),
        }
    }

    /// The number of conditioning columns.
    pub fn condition_dim(&self) -> usize {
        match self {
            Self::F32(velocity) => velocity.condition_dim(),
            Self::F64(velocity) => velocity.condition_dim(),
        }
    }

    /// Its precision.
    pub fn precision(&self) -> Precision {
        match self {
            Self::F32(_) => Precision::F32,
            Self::F64(_) => Precision::F64,
        }
    }
}

/// A bound velocity and the way it is integrated.
#[derive(Clone)]
pub struct Continuous {
    velocity: BoundVelocity,
    /// The precision to which points are rounded where a solve begins; an implicit method computes in f64 regardless.
    precision: Precision,
    solver: SolverSpec,
    trace: Trace,
    /// The data lie at this time; 1 but for the distributions on the way.
    end: f64,
    progress: Option<Arc<Work>>,
}

impl std::fmt::Debug for Continuous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (dim, Self { precision, solver, end, .. }) = (self.velocity.dim(), self);
        write!(f, "Continuous(d = {dim}, to t = {end}, {precision:?}, {solver:?})")
    }
}

impl Continuous {
    /// The flow of `velocity` with parameters `theta` (`[n_params]`), computing in `precision`.
    ///
    /// # Errors
    /// [`Error::Parameters`] where θ does not fit; [`Error::Invalid`] or [`Error::Solve`] for options that are not
    /// valid.
    pub fn new(velocity: &VelocitySpec, theta: &[f64], solver: SolverSpec, precision: Precision) -> Result<Self> {
        Self::on_device(velocity, theta, solver, precision, Device::Cpu)
    }

    /// As [`Continuous::new`], a net of candle layers being evaluated on `device`; steps, lanes and the fused kernel
    /// stay on the CPU.
    ///
    /// # Errors
    /// As [`Continuous::new`].
    pub fn on_device(
        velocity: &VelocitySpec,
        theta: &[f64],
        solver: SolverSpec,
        precision: Precision,
        device: Device,
    ) -> Result<Self> {
        let trace = solver.trace.of(velocity)?;
        solver.check_exact(velocity.dim(), velocity.shape())?;
        let implicit = matches!(solver.method()?, Method::Implicit(_));
        let bound = if implicit && precision == Precision::F32 {
            // The parameters are those of the f32 net all the same.
            let rounded: Vec<f64> = theta.iter().map(|w| precision.round(*w)).collect();
            BoundVelocity::new(velocity, &rounded, Precision::F64, device)?
        } else {
            BoundVelocity::new(velocity, theta, precision, device)?
        };
        Self::with_trace(bound, solver, precision, trace)
    }

    /// The flow of a velocity that is bound already: any implementation of [`Velocity`].
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Solve`] for options that are not valid, and for an implicit method of an f32
    /// velocity.
    pub fn of_velocity(velocity: BoundVelocity, solver: SolverSpec) -> Result<Self> {
        let (precision, trace) = (velocity.precision(), solver.trace.resolve(velocity.dim(), false, None)?);
        Self::with_trace(velocity, solver, precision, trace)
    }

    fn with_trace(velocity: BoundVelocity, solver: SolverSpec, precision: Precision, trace: Trace) -> Result<Self> {
        solver.validate()?;
        solver.check_precision(precision)?;
        solver.check_exact(velocity.dim(), None)?;
        if let (Method::Implicit(method), Precision::F32) = (solver.method()?, velocity.precision()) {
            let problem = format!("`{}` computes in f64, the velocity in f32", method.name());
            return Err(Error::invalid(problem, "bind the velocity in f64"));
        }
        Ok(Self { velocity, precision, solver, trace, end: 1.0, progress: None })
    }

    /// The flow on [0, t]: the distribution on its way from the normal (t = 0) to the data (t = 1).
    ///
    /// # Errors
    /// [`Error::Invalid`] for t outside [0, 1].
    pub fn until(&self, t: f64) -> Result<Self> {
        crate::transform::check_time(t)?;
        Ok(Self { end: t, ..self.clone() })
    }

    /// Tells in `progress` how far its trajectories are.
    pub fn with_progress(&self, progress: Arc<Work>) -> Self {
        Self { progress: Some(progress), ..self.clone() }
    }

    /// The velocity.
    pub fn velocity(&self) -> &BoundVelocity {
        &self.velocity
    }

    /// How it is integrated.
    pub fn solver(&self) -> &SolverSpec {
        &self.solver
    }

    /// How its trace is taken.
    pub fn trace(&self) -> Trace {
        self.trace
    }

    /// The time at which the data lie.
    pub(crate) fn end(&self) -> f64 {
        self.end
    }

    /// The precision to which points are rounded where a solve begins.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// The request of a solve along `span`.
    pub(crate) fn request(&self, span: (f64, f64), log_density: bool) -> Request<'_> {
        Request { span, solver: &self.solver, trace: self.trace, log_density, progress: self.progress.as_deref() }
    }

    /// The same map of conditions as the user gives them.
    pub(crate) fn encoding(&self, condition: Arc<Condition>) -> Encoding {
        Encoding { condition, flow: self.clone() }
    }

    /// Points go into the lanes of the solve and come out of them as they are; conditions are rounded where they are
    /// encoded.
    fn map(&self, rows: &mut Mapped, given: Given<'_>, span: (f64, f64)) -> Result<()> {
        let request = self.request(span, rows.with_logdet());
        let Transported { y, logdet, cost } = match &self.velocity {
            BoundVelocity::F32(velocity) => transport_as(&**velocity, &rows.y, &given.in_f32()?, &request)?,
            BoundVelocity::F64(velocity) => {
                if self.precision == Precision::F32 {
                    rows.y.iter_mut().for_each(|x| *x = self.precision.round(*x));
                }
                transport_as(&**velocity, &rows.y, &given.in_f64()?, &request)?
            }
        };
        rows.y = y;
        rows.add_logdet(logdet);
        rows.cost.merge(cost);
        Ok(())
    }
}

/// The conditions of a batch.
#[derive(Clone, Copy)]
enum Given<'a> {
    /// As the velocity takes them.
    Encoded(&'a [f64]),
    /// As the user has them.
    Raw(&'a [f64], &'a Condition),
}

impl<'a> Given<'a> {
    fn in_f32(self) -> Result<Vec<f32>> {
        match self {
            Self::Encoded(rows) => Ok(narrowed(rows)),
            Self::Raw(rows, condition) => condition.encode_as(rows),
        }
    }

    fn in_f64(self) -> Result<Cow<'a, [f64]>> {
        Ok(match self {
            Self::Encoded(rows) => Cow::Borrowed(rows),
            Self::Raw(rows, condition) => Cow::Owned(condition.encode_as(rows)?),
        })
    }
}

/// A flow whose conditions are encoded on their way in, straight into the precision of its velocity.
pub(crate) struct Encoding {
    condition: Arc<Condition>,
    flow: Continuous,
}

impl Encoding {
    fn map(&self, rows: &mut Mapped, condition: &[f64], span: (f64, f64)) -> Result<()> {
        check_rows(&rows.y, self.dim(), condition, self.condition_dim())?;
        self.flow.map(rows, Given::Raw(condition, &self.condition), span)
    }
}

impl Bijection for Encoding {
    fn dim(&self) -> usize {
        self.flow.dim()
    }

    fn condition_dim(&self) -> usize {
        self.condition.columns.len()
    }

    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        self.map(rows, condition, (0.0, self.flow.end))
    }

    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        self.map(rows, condition, (self.flow.end, 0.0))
    }
}

/// Numbers in the precision of a solve.
pub(crate) fn narrowed<T: Scalar>(x: &[f64]) -> Vec<T> {
    x.iter().map(|v| T::of(*v)).collect()
}

/// Numbers in f64.
pub(crate) fn widened<T: Scalar>(x: &[T]) -> Vec<f64> {
    x.iter().map(|v| v.to_f64()).collect()
}

impl Bijection for Continuous {
    fn dim(&self) -> usize {
        self.velocity.dim()
    }

    fn condition_dim(&self) -> usize {
        self.velocity.condition_dim()
    }

    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        self.map(rows, Given::Encoded(condition), (0.0, self.end))
    }

    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        self.map(rows, Given::Encoded(condition), (self.end, 0.0))
    }
}
