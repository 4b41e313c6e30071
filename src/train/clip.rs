//! A bound on the gradient's length: one bad batch must not throw the weights far.
//!
//! Ref: Pascanu, Mikolov & Bengio, *On the difficulty of training recurrent neural networks* (2013).

use candle_core::{DType, Tensor};

use crate::Result;

/// The gradient, shortened to `most` if it is longer, and its length before.
pub(super) fn clip(gradient: &Tensor, most: f64) -> Result<(Tensor, f64)> {
    // Squares of f32 overflow at 1e19, which is no failure yet.
    let square = match gradient.dtype() {
        DType::F32 => gradient.to_vec1::<f32>()?.into_iter().map(|g| f64::from(g).powi(2)).sum::<f64>(),
        _ => gradient.to_vec1::<f64>()?.into_iter().map(|g| g * g).sum(),
    };
    let norm = square.sqrt();
    let gradient = if norm > most { (gradient * (most / norm))? } else { gradient.clone() };
    Ok((gradient, norm))
}
