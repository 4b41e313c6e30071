//! Maximum likelihood: −mean log p(x), through the solver.

use candle_core::{Device, Tensor};

use super::{Batch, Scene};
use crate::Result;
use crate::flow::{FlowSpec, SolverSpec, check_failures};

/// −mean log p of the rows as the net sees them, in nats, as a scalar of θ's precision.
///
/// A row whose trajectory failed is left out of the mean.
///
/// # Errors
/// [`crate::Error::Failed`] where more than half of the rows fail.
pub(super) fn loss(scene: &Scene, theta: &Tensor, batch: &Batch) -> Result<Tensor> {
    let d = scene.velocity.dim();
    let n = batch.x.len() / d;
    let x = Tensor::from_slice(&batch.x, (n, d), &Device::Cpu)?.to_dtype(theta.dtype())?;
    let solver = SolverSpec { probe_seed: batch.probe_seed, ..scene.solver.clone() };
    let spec = FlowSpec::plain(scene.velocity.clone(), solver);
    let (_, log_prob, cost) = spec.build(theta.clone())?.encode(&x, None)?;
    if 2 * cost.failures.len() > n {
        check_failures(&cost, n)?;
    }
    if cost.failures.is_empty() {
        return Ok(log_prob.mean_all()?.neg()?);
    }
    let failed: Vec<usize> = cost.failures.iter().map(|(row, _)| *row).collect();
    let arrived: Vec<u32> = (0..n).filter(|row| !failed.contains(row)).map(|row| row as u32).collect();
    let arrived = Tensor::from_slice(&arrived, arrived.len(), &Device::Cpu)?;
    Ok(log_prob.index_select(&arrived, 0)?.mean_all()?.neg()?)
}
