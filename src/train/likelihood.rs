//! Maximum likelihood: −mean log p(x), through the solver.

use candle_core::{DType, Device, Tensor};

use super::{Batch, Scene};
use crate::Result;
use crate::flow::{FlowSpec, check_failures};

/// −mean log p of the rows as the net sees them, in nats, as a scalar of θ's precision.
pub(super) fn loss(scene: &Scene, theta: &Tensor, batch: &Batch) -> Result<Tensor> {
    let d = scene.velocity.dim();
    let n = batch.x.len() / d;
    let x = match theta.dtype() {
        DType::F64 => Tensor::from_slice(&batch.x, (n, d), &Device::Cpu)?,
        _ => Tensor::from_vec(batch.x.iter().map(|x| *x as f32).collect(), (n, d), &Device::Cpu)?,
    };
    let spec = FlowSpec { velocity: scene.velocity.clone(), solver: scene.solver.clone(), standardise: None };
    let (_, log_prob, cost) = spec.build(theta.clone())?.encode(&x, None)?;
    check_failures(&cost, n)?;
    Ok(log_prob.mean_all()?.neg()?)
}
