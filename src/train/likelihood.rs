//! Maximum likelihood: −mean log p(x), through the solver.

use candle_core::{Device, Tensor};

use super::{Batch, Scene};
use crate::Result;
use crate::flow::{Bijection, Continuous, Density, SolverSpec, check_failures};

/// tmp
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// tmp
    pub nll: f64,
    /// tmp
    pub kinetic: f64,
    /// tmp
    pub jacobian: f64,
    /// tmp
    pub nfe_mean: f64,
}

/// −mean log p of the rows as the net sees them, in nats, as a scalar of θ's precision.
///
/// A row whose trajectory failed is left out of the mean.
///
/// # Errors
/// [`crate::Error::Failed`] where more than half of the rows fail.
pub(super) fn loss(scene: &Scene, theta: &Tensor, batch: &Batch) -> Result<(Tensor, Parts)> {
    let d = scene.velocity.dim();
    let n = batch.x.len() / d;
    let x = Tensor::from_slice(&batch.x, (n, d), &Device::Cpu)?.to_dtype(theta.dtype())?;
    let solver = SolverSpec { probe_seed: batch.probe_seed, ..scene.solver.clone() };
    let flow = Continuous::new(scene.velocity.clone(), theta.clone(), solver)?;
    let crate::flow::Mapped { y: z, logdet, cost } = flow.inverse(&x, None)?;
    let log_prob = scene.base.log_prob(&z, None)?.add(&logdet)?;
    if 2 * cost.failures.len() > n {
        check_failures(&cost, n)?;
    }
    let loss = if cost.failures.is_empty() {
        log_prob.mean_all()?.neg()?
    } else {
        let failed: Vec<usize> = cost.failures.iter().map(|(row, _)| *row).collect();
        let arrived: Vec<u32> = (0..n).filter(|row| !failed.contains(row)).map(|row| row as u32).collect();
        let arrived = Tensor::from_slice(&arrived, arrived.len(), &Device::Cpu)?;
        log_prob.index_select(&arrived, 0)?.mean_all()?.neg()?
    };
    let nll = loss.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
    Ok((loss, Parts { nll, kinetic: 0.0, jacobian: 0.0, nfe_mean: cost.nfe_mean() }))
}
