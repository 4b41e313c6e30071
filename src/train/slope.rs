//! One gradient: the loss of a batch pulled back to θ, or why there is none.

use candle_core::{DType, Var};

use super::clip::clip;
use super::likelihood::Parts;
use super::{Batch, Criterion, Scene};
use crate::Error;

/// A gradient and what came with it.
pub(super) struct Slope {
    pub loss: f64,
    pub parts: Option<Parts>,
    pub gradient: Vec<f64>,
    /// Its length, and the factor that bounds it.
    pub norm: f64,
    pub scale: f64,
}

/// Why a step was not taken.
pub(super) enum Trouble {
    /// The weights have gone astray: smaller steps may help.
    Astray(String),
    /// Something else is wrong.
    Other(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Failed { .. } | Error::Degenerate { .. } | Error::Candle(_) => Self::Astray(error.to_string()),
            other => Self::Other(other),
        }
    }
}

impl From<candle_core::Error> for Trouble {
    fn from(error: candle_core::Error) -> Self {
        Self::from(Error::from(error))
    }
}

/// The loss of a batch and its gradient, unless one of them is not finite.
pub(super) fn slope(
    criterion: Criterion,
    scene: &Scene,
    theta: &Var,
    batch: &Batch,
    most: f64,
) -> std::result::Result<Slope, Trouble> {
    let (loss, parts) = criterion.loss(scene, theta.as_tensor(), batch)?;
    let mut gradients = loss.backward()?;
    let loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    let gradient = gradients
        .remove(theta)
        .ok_or_else(|| Trouble::Other(Error::invalid("the loss does not depend on the weights", "")))?
        .to_dtype(DType::F64)?
        .to_vec1::<f64>()?;
    let (norm, scale) = clip(&gradient, most);
    if loss.is_finite() && norm.is_finite() {
        Ok(Slope { loss, parts, gradient, norm, scale })
    } else {
        Err(Trouble::Astray(format!("the loss is {loss}, its gradient {norm}")))
    }
}
