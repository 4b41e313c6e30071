//! The continuous flow: x(0) = z, dx/dt = m_θ(x, t), x(1) = x.
//!
//! A map is plain numbers, with a quadrature that refines itself until its estimate meets the tolerance. For its gradient
//! see `taped.rs`.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use candle_core::{DType, Device, Tensor, WithDType};

use super::transport::{Carried, Request, carry};
use super::{Bijection, Mapped, Method, SolverSpec, VelocitySpec, check_rows};
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
    /// The flow of `velocity` with parameters `theta` (`[n_params]`, f32 or f64).
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

    /// What carries points along `span`.
    pub(super) fn request(&self, span: (f64, f64)) -> Request<'_> {
        Request {
            span,
            solver: &self.solver,
            trace: self.trace(),
            log_density: self.log_density,
            progress: self.progress.as_deref(),
        }
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
        let mapped = match x.dtype() {
            DType::F64 => self.plain::<f64>(&x, condition, span)?,
            _ => self.plain::<f32>(&x, condition, span)?,
        };
        // What comes in one precision leaves in it.
        Ok(Mapped { y: mapped.y.to_dtype(dtype)?, logdet: mapped.logdet.to_dtype(dtype)?, cost: mapped.cost })
    }

    fn plain<T: Scalar + WithDType>(&self, x: &Tensor, condition: Vec<f64>, span: (f64, f64)) -> Result<Mapped> {
        let request = self.request(span);
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
