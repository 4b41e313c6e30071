//! Maximum likelihood: of a continuous flow through the solver, with penalties along the paths and any end time; of a
//! discrete one in a single pass.
//!
//! loss = mean over rows of −log p(x) + λ_K ∫ |m|² dt + λ_J ∫ ‖∂m/∂x‖² dt
//!
//! Ref: Finlay et al., *How to train your neural ODE* (2020), who divide all three by d: the same minimum at the same
//! weights. (Their code counts bits and halves |m|²: its λ_K = λ_J = 0.01 are λ_K = 0.0035 and λ_J = 0.0069 here.) The time
//! at which the data lie may be drawn anew for each batch: Ghosh et al., *STEER* (2020).

use candle_core::{DType, Device, Tensor};

use super::{Batch, Scene};
use crate::Result;
use crate::flow::{
    Bijection, Continuous, Core, Density, Discrete, Mapped, Penalised, Penalties, SolverSpec, check_failures,
};

/// What a loss is the sum of, and what it took: means over the rows that arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts {
    /// −log p as the net sees the data, in nats: the part that is no penalty.
    pub nll: f64,
    /// ∫ |m|² dt; 0 where it has no weight and is not computed.
    pub kinetic: f64,
    /// ∫ ‖∂m/∂x‖² dt; 0 where it has no weight.
    pub jacobian: f64,
    /// Velocity evaluations of a row, forward.
    pub nfe_mean: f64,
}

/// nll + `scene.kinetic` · kinetic + `scene.jacobian` · jacobian as a scalar of θ's precision, and its parts.
///
/// A row whose trajectory failed is left out of the means. A weight of 0 costs nothing.
///
/// # Errors
/// [`crate::Error::Failed`] where more than half of the rows fail; as [`Continuous::ending_at`] for the batch's end.
pub(super) fn loss(scene: &Scene, theta: &Tensor, batch: &Batch) -> Result<(Tensor, Parts)> {
    if let Core::Discrete(spec) = &scene.core {
        let loss = Discrete::new(spec.clone(), theta.clone())?.nll(&batch.x, &batch.c)?;
        let nll = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        return Ok((loss, Parts { nll, kinetic: 0.0, jacobian: 0.0, nfe_mean: 0.0 }));
    }
    let velocity = scene.core.velocity()?.clone();
    let (d, c) = (velocity.dim(), velocity.condition_dim());
    let n = batch.x.len() / d;
    let condition = match c {
        0 => None,
        c => Some(Tensor::from_slice(&batch.c, (n, c), &Device::Cpu)?.to_dtype(theta.dtype())?),
    };
    let condition = condition.as_ref();
    let x = Tensor::from_slice(&batch.x, (n, d), &Device::Cpu)?.to_dtype(theta.dtype())?;
    let solver = SolverSpec { probe_seed: batch.probe_seed, ..scene.solver.clone() };
    let flow = Continuous::new(velocity, theta.clone(), solver)?.ending_at(batch.end)?;
    let penalties = Penalties { kinetic: scene.kinetic != 0.0, jacobian: scene.jacobian != 0.0 };
    let (mapped, extra) = if penalties == Penalties::NONE {
        (flow.inverse(&x, condition)?, None)
    } else {
        let Penalised { mapped, kinetic, jacobian } = flow.inverse_penalised(&x, condition, penalties)?;
        (mapped, Some((kinetic, jacobian)))
    };
    let Mapped { y: z, logdet, cost } = mapped;
    if 2 * cost.failures.len() > n {
        check_failures(&cost, n)?;
    }
    let arrived = if cost.failures.is_empty() {
        None
    } else {
        let mut arrived = vec![true; n];
        cost.failures.iter().for_each(|(row, _)| arrived[*row] = false);
        let rows: Vec<u32> = (0..n).filter(|row| arrived[*row]).map(|row| row as u32).collect();
        Some(Tensor::from_slice(&rows, rows.len(), &Device::Cpu)?)
    };
    let mean = |values: &Tensor| match &arrived {
        None => values.mean_all(),
        Some(rows) => values.index_select(rows, 0)?.mean_all(),
    };
    let number = |value: &Tensor| value.to_dtype(DType::F64)?.to_scalar::<f64>();
    let mut loss = mean(&scene.base.log_prob(&z, None)?.add(&logdet)?)?.neg()?;
    let mut parts = Parts { nll: number(&loss)?, kinetic: 0.0, jacobian: 0.0, nfe_mean: cost.nfe_mean() };
    if let Some((kinetic, jacobian)) = extra {
        let (kinetic, jacobian) = (mean(&kinetic)?, mean(&jacobian)?);
        (parts.kinetic, parts.jacobian) = (number(&kinetic)?, number(&jacobian)?);
        loss = ((loss + (kinetic * scene.kinetic)?)? + (jacobian * scene.jacobian)?)?;
    }
    Ok((loss, parts))
}
