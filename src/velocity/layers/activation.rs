//! σ and, for the tangents, σ′, each in operations whose first derivative candle computes correctly.
//!
//! σ′ is written out, so that its own derivative σ″ comes from the one backward pass over value and tangents.

use candle_core::Result;
use candle_nn::ops::sigmoid;

use super::pair::Pair;
use crate::velocity::Activation;

/// (σ(h), σ′(h) ∘ ḣ).
pub(super) fn forward(activation: Activation, pair: &Pair) -> Result<Pair> {
    let a = &pair.value;
    let needed = pair.tangent.is_some();
    let (value, slope) = match activation {
        Activation::Tanh => {
            let h = a.tanh()?;
            let slope = needed.then(|| h.sqr()?.affine(-1.0, 1.0)).transpose()?;
            (h, slope)
        }
        Activation::Softplus => {
            // The shift keeps both exponentials below 1; the result does not depend on it, so it carries no gradient.
            let shift = a.relu()?.detach();
            let sum = ((a - &shift)?.exp()? + shift.neg()?.exp()?)?;
            (sum.log()?.add(&shift)?, needed.then(|| sigmoid(a)).transpose()?)
        }
        Activation::Silu => {
            let s = sigmoid(a)?;
            // s (1 + a (1 − s))
            let slope = needed.then(|| &s * ((a * s.affine(-1.0, 1.0)?)? + 1.0)?).transpose()?;
            ((a * &s)?, slope)
        }
        Activation::Elu => {
            let h = a.elu(1.0)?;
            // Left of 0 the slope is eᵃ = 1 + h.
            let slope = needed.then(|| h.neg()?.relu()?.affine(-1.0, 1.0)).transpose()?;
            (h, slope)
        }
        Activation::Relu => {
            // A step: it has no gradient, as σ″ is 0.
            let slope = needed.then(|| a.gt(0.0)?.to_dtype(a.dtype())).transpose()?;
            (a.relu()?, slope)
        }
    };
    let tangent = match slope {
        Some(slope) => pair.tangent_scaled(&slope)?,
        None => None,
    };
    Ok(Pair { value, tangent })
}
