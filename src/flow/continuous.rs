//! The continuous flow: x(0) = z, dx/dt = m_θ(x, t), x(1) = x.
//!
//! With a θ that candle tracks, a map is one node of the graph (see `op.rs`); else it is plain numbers, with
//! a quadrature that refines itself until its estimate meets the tolerance.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor, WithDType};

use super::op::SolveOp;
use super::transport::{Carried, Request, carry, carry_implicit};
use super::{Bijection, Cost, Mapped, Method, SolverSpec, VelocitySpec, check_rows};
use crate::velocity::{Scalar, Trace};
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
            return Err(Error::invalid(format!("time {t} is not on the way"), "give a time between 0 and 1"));
        }
        Ok(Self { end: t, ..self.clone() })
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

    fn map(&self, x: &Tensor, condition: Option<&Tensor>, span: (f64, f64)) -> Result<Mapped> {
        check_rows(x, self.dim(), condition, self.condition_dim())?;
        let condition = condition.map(|c| c.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()).transpose()?;
        let condition = condition.unwrap_or_default();
        // The solve runs in θ's precision; what comes in another one leaves in it.
        let dtype = x.dtype();
        let x = x.to_dtype(self.theta.dtype())?;
        let mapped = if self.theta.track_op() || x.track_op() {
            self.tracked(&x, condition, span)?
        } else {
            match x.dtype() {
                DType::F64 => self.plain::<f64>(&x, condition, span)?,
                _ => self.plain::<f32>(&x, condition, span)?,
            }
        };
        Ok(Mapped { y: mapped.y.to_dtype(dtype)?, logdet: mapped.logdet.to_dtype(dtype)?, cost: mapped.cost })
    }

    fn tracked(&self, x: &Tensor, condition: Vec<f64>, span: (f64, f64)) -> Result<Mapped> {
        let Method::Explicit(tableau) = self.solver.method()? else {
            return Err(Error::invalid(
                format!("`{}` has no gradient", self.solver.method),
                "train with an explicit method such as dopri5",
            ));
        };
        let failures = Arc::new(Mutex::new(Vec::new()));
        let op = SolveOp {
            velocity: self.velocity.clone(),
            solver: self.solver.clone(),
            tableau,
            trace: self.trace(),
            span,
            condition,
            device: self.device.clone(),
            saved: Mutex::new(None),
            failures: failures.clone(),
        };
        let both = x.contiguous()?.apply_op2(&self.theta, op)?;
        let d = self.dim();
        let failures = failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Mapped {
            y: both.narrow(1, 0, d)?,
            logdet: both.narrow(1, d, 1)?.squeeze(1)?,
            cost: Cost { failures, ..Cost::default() },
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
        if let Method::Implicit(method) = self.solver.method()? {
            let wide = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
            let velocity = self.velocity.bind::<f64>(&wide(&self.theta)?, &self.device)?;
            let Carried { y, logdet, cost } = carry_implicit(&*velocity, method, &wide(x)?, &condition, &request)?;
            let y = Tensor::from_vec(y, (n, d), &Device::Cpu)?.to_dtype(x.dtype())?;
            let logdet = Tensor::from_vec(logdet, n, &Device::Cpu)?.to_dtype(x.dtype())?;
            return Ok(Mapped { y, logdet, cost });
        }
        let velocity = self.velocity.bind::<T>(&self.theta.to_vec1::<T>()?, &self.device)?;
        let condition: Vec<T> = condition.into_iter().map(<T as cnf_solvers::Real>::of).collect();
        let points = x.flatten_all()?.to_vec1::<T>()?;
        let Carried { y, logdet, cost } = carry(&*velocity, &points, &condition, &request)?;
        let logdet = Tensor::from_vec(logdet, n, &Device::Cpu)?.to_dtype(x.dtype())?;
        Ok(Mapped { y: Tensor::from_vec(y, (n, d), &Device::Cpu)?, logdet, cost })
    }
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
