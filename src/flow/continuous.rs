//! The continuous flow: x(0) = z, dx/dt = m_θ(x, t), x(1) = x.
//!
//! With a θ that candle tracks, a map is one node of the graph (see `op.rs`); else it is plain numbers, with
//! a quadrature that refines itself until its estimate meets the tolerance.
//!
//! For training there are penalties along the path, K = ∫ |m|² dt and J = ∫ ‖∂m/∂x‖² dt, integrated as the divergence is:
//! at the same points, or as states that ride along and have no say in the steps. Points and log-determinants are the
//! same numbers with and without them.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor, WithDType};

use super::op::SolveOp;
use super::transport::{Carried, Request, carry};
use super::{Bijection, Cost, Mapped, Method, SolverSpec, VelocitySpec, check_rows};
use crate::velocity::{Penalties, Scalar, Trace};
use crate::{Error, Result};

/// A velocity with its θ and the way it is integrated.
#[derive(Clone, Debug)]
pub struct Continuous {
    velocity: VelocitySpec,
    theta: Tensor,
    solver: SolverSpec,
    /// The data lie at this time; 1 but for the distributions on the way.
    end: f64,
    log_density: bool,
    progress: Option<Arc<AtomicUsize>>,
    device: Device,
}

/// Points on the other side of a continuous flow, and the penalties along their paths.
#[derive(Clone, Debug)]
pub struct Penalised {
    /// As by [`Bijection::inverse`].
    pub mapped: Mapped,
    /// ∫ |m|² dt, `[n]`; zeros where it was not asked for, NaN in every row that failed.
    pub kinetic: Tensor,
    /// ∫ ‖∂m/∂x‖² dt (Frobenius), or an estimate of it, `[n]`; as `kinetic`.
    pub jacobian: Tensor,
}

/// The latest end time of [`Continuous::ending_at`]: twice the usual one is STEER's widest interval.
const LATEST: f64 = 2.0;

impl Continuous {
    /// The flow of `velocity` with parameters `theta` (`[n_params]`, f32 or f64; a `Var` to train it).
    ///
    /// # Errors
    /// [`Error::Dimension`] where θ does not fit; [`Error::Invalid`] or [`Error::Solve`] for options that make no sense.
    pub fn new(velocity: VelocitySpec, theta: Tensor, solver: SolverSpec) -> Result<Self> {
        velocity.validate()?;
        solver.validate()?;
        if theta.dims() != [velocity.n_params()] {
            let (expected, found) = (velocity.n_params(), theta.elem_count());
            return Err(Error::Dimension { what: "the parameter vector".into(), expected, found });
        }
        solver.check_precision(theta.dtype())?;
        Ok(Self { velocity, theta, solver, end: 1.0, log_density: true, progress: None, device: Device::Cpu })
    }

    /// The flow on [0, t]: the distribution on its way from the normal (t = 0) to the data (t = 1).
    ///
    /// # Errors
    /// [`Error::Invalid`] for t outside [0, 1].
    pub fn until(&self, t: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&t) {
            return Err(Error::invalid(
                format!("time {} is outside [0, 1]", crate::words::exact(t)),
                "give a time between 0 and 1",
            ));
        }
        Ok(Self { end: t, ..self.clone() })
    }

    /// The flow whose data lie at time `t` instead of 1, which may be later: for a random end time in training.
    ///
    /// Ref: Ghosh, Behl, Dupont, Torr & Namboodiri, *STEER: Simple temporal regularization for neural ODEs* (2020).
    ///
    /// # Errors
    /// [`Error::Invalid`] unless 0 < t ≤ 2.
    pub fn ending_at(&self, t: f64) -> Result<Self> {
        if !(t > 0.0 && t <= LATEST) {
            return Err(Error::invalid(
                format!("a flow cannot end at time {}", crate::words::exact(t)),
                format!("give a time above 0, at most {LATEST}"),
            ));
        }
        Ok(Self { end: t, ..self.clone() })
    }

    /// As [`Bijection::inverse`], with the integrals of the penalties along each row's path, from the latent's time to
    /// the data's. All of it is differentiable by θ and x, the gradient being exactly that of what was computed.
    ///
    /// The log-determinant and the penalties come by one rule on the steps of the path, without refinement, as always
    /// where θ is tracked. The norm of ∂m/∂x is exact where the trace is exact and a tangent for each dimension is
    /// cheap, else an unbiased estimate: see [`Evaluator`](crate::velocity::Evaluator::value_divergence_and_squares).
    /// The probes of an estimate are a function of x but count as constants in the gradient.
    ///
    /// # Errors
    /// As [`Bijection::inverse`]; [`Error::Invalid`] for an implicit method.
    pub fn inverse_penalised(&self, x: &Tensor, condition: Option<&Tensor>, penalties: Penalties) -> Result<Penalised> {
        let (dtype, (x, condition)) = (x.dtype(), self.prepare(x, condition)?);
        let Penalised { mapped, kinetic, jacobian } = self.tracked(&x, condition, (self.end, 0.0), penalties)?;
        let mapped = cast(mapped, dtype)?;
        Ok(Penalised { mapped, kinetic: kinetic.to_dtype(dtype)?, jacobian: jacobian.to_dtype(dtype)? })
    }

    /// Leaves the log-determinant out: maps give zeros for it and cost less.
    pub fn without_log_density(&self) -> Self {
        Self { log_density: false, ..self.clone() }
    }

    /// Counts trajectories in `progress` as they arrive.
    pub fn with_progress(&self, progress: Arc<AtomicUsize>) -> Self {
        Self { progress: Some(progress), ..self.clone() }
    }

    /// Evaluates a net of candle layers on `device`; steps, lanes and the fused kernel stay on the CPU.
    pub fn on_device(&self, device: Device) -> Self {
        Self { device, ..self.clone() }
    }

    /// What the velocity is.
    pub fn velocity(&self) -> &VelocitySpec {
        &self.velocity
    }

    /// θ.
    pub fn theta(&self) -> &Tensor {
        &self.theta
    }

    /// How it is integrated.
    pub fn solver(&self) -> &SolverSpec {
        &self.solver
    }

    /// Whether log-determinants are wanted.
    pub(super) fn has_log_density(&self) -> bool {
        self.log_density
    }

    /// Where a net of candle layers is evaluated.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The counter of arrivals.
    pub(super) fn progress(&self) -> Option<&AtomicUsize> {
        self.progress.as_deref()
    }

    /// How its trace is taken.
    pub fn trace(&self) -> Trace {
        self.solver.trace.resolve(self.velocity.dim(), self.velocity.closed_form())
    }

    /// The points in θ's precision, in which a solve runs, and the conditions.
    fn prepare(&self, x: &Tensor, condition: Option<&Tensor>) -> Result<(Tensor, Vec<f64>)> {
        check_rows(x, self.dim(), condition, self.condition_dim())?;
        let condition = condition.map(|c| c.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()).transpose()?;
        Ok((x.to_dtype(self.theta.dtype())?, condition.unwrap_or_default()))
    }

    fn map(&self, x: &Tensor, condition: Option<&Tensor>, span: (f64, f64)) -> Result<Mapped> {
        let (dtype, (x, condition)) = (x.dtype(), self.prepare(x, condition)?);
        let mapped = if self.theta.track_op() || x.track_op() {
            self.tracked(&x, condition, span, Penalties::NONE)?.mapped
        } else {
            match x.dtype() {
                DType::F64 => self.plain::<f64>(&x, condition, span)?,
                _ => self.plain::<f32>(&x, condition, span)?,
            }
        };
        cast(mapped, dtype)
    }

    fn tracked(&self, x: &Tensor, condition: Vec<f64>, span: (f64, f64), penalties: Penalties) -> Result<Penalised> {
        let Method::Explicit(tableau) = self.solver.method()? else {
            return Err(Error::invalid(
                format!("`{}` has no gradient", self.solver.method),
                "train with an explicit method such as dopri5",
            ));
        };
        let cost = Arc::new(Mutex::new(Cost::default()));
        let op = SolveOp {
            velocity: self.velocity.clone(),
            solver: self.solver.clone(),
            tableau,
            trace: self.trace(),
            penalties,
            span,
            condition,
            device: self.device.clone(),
            saved: Mutex::new(None),
            cost: cost.clone(),
        };
        let all = x.contiguous()?.apply_op2(&self.theta, op)?;
        let d = self.dim();
        // Some of candle's operations refuse a column with gaps.
        let column = |i: usize| all.narrow(1, i, 1)?.squeeze(1)?.contiguous();
        let penalty = |wanted: bool, i: usize| if wanted { column(i) } else { column(d)?.zeros_like() };
        let cost = std::mem::take(&mut *cost.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Penalised {
            mapped: Mapped { y: all.narrow(1, 0, d)?, logdet: column(d)?, cost },
            kinetic: penalty(penalties.kinetic, d + 1)?,
            jacobian: penalty(penalties.jacobian, d + 1 + usize::from(penalties.kinetic))?,
        })
    }

    fn plain<T: Scalar + WithDType>(&self, x: &Tensor, condition: Vec<f64>, span: (f64, f64)) -> Result<Mapped> {
        let request = Request {
            span,
            solver: &self.solver,
            trace: self.trace(),
            log_density: self.log_density,
            progress: self.progress.as_deref(),
        };
        let (n, d) = x.dims2()?;
        if matches!(self.solver.method()?, Method::Implicit(_)) {
            let wide = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
            let velocity = self.velocity.bind::<f64>(&wide(&self.theta)?, &self.device)?;
            let Carried { y, logdet, cost } = carry(&*velocity, &wide(x)?, &condition, &request)?;
            // As they are computed: rounded to the caller's precision in the end, not to that of the net on the way.
            let y = Tensor::from_vec(y, (n, d), &Device::Cpu)?;
            return Ok(Mapped { y, logdet: Tensor::from_vec(logdet, n, &Device::Cpu)?, cost });
        }
        let velocity = self.velocity.bind::<T>(&self.theta.to_vec1::<T>()?, &self.device)?;
        let condition: Vec<T> = condition.into_iter().map(<T as cnf_solvers::Real>::of).collect();
        let points = x.flatten_all()?.to_vec1::<T>()?;
        let Carried { y, logdet, cost } = carry(&*velocity, &points, &condition, &request)?;
        // The quadrature sums in f64 whatever the net computes in.
        let logdet = Tensor::from_vec(logdet, n, &Device::Cpu)?;
        Ok(Mapped { y: Tensor::from_vec(y, (n, d), &Device::Cpu)?, logdet, cost })
    }
}

/// What comes in one precision leaves in it.
fn cast(mapped: Mapped, dtype: DType) -> Result<Mapped> {
    Ok(Mapped { y: mapped.y.to_dtype(dtype)?, logdet: mapped.logdet.to_dtype(dtype)?, cost: mapped.cost })
}

impl Bijection for Continuous {
    fn dim(&self) -> usize {
        self.velocity.dim()
    }

    fn condition_dim(&self) -> usize {
        self.velocity.condition_dim()
    }

    fn forward(&self, z: &Tensor, condition: Option<&Tensor>) -> Result<Mapped> {
        self.map(z, condition, (0.0, self.end))
    }

    fn inverse(&self, x: &Tensor, condition: Option<&Tensor>) -> Result<Mapped> {
        self.map(x, condition, (self.end, 0.0))
    }
}

impl From<Continuous> for Box<dyn Bijection> {
    fn from(layer: Continuous) -> Self {
        Box::new(layer)
    }
}
