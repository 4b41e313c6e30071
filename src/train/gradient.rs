//! One gradient of the loss of a batch by θ, clipped, or the reason why there is none.

use super::clip::clip;
use super::loss::{LossGradient, Parts};
use super::{Batch, Crew, Criterion, LossContext, Precision};
use crate::Error;

/// A gradient and what came with it.
pub(super) struct Gradient {
    pub loss: f64,
    pub parts: Option<Parts>,
    pub gradient: Vec<f64>,
    /// Its length, and the factor that bounds it.
    pub norm: f64,
    pub scale: f64,
}

/// Why a step was not taken.
pub(super) enum Trouble {
    /// The weights have diverged: smaller steps may help.
    Diverged(String),
    /// Something else is wrong.
    Other(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Failed { .. } | Error::Degenerate { .. } => Self::Diverged(error.to_string()),
            other => Self::Other(other),
        }
    }
}

/// The loss of a batch and its gradient, no longer than `most`, unless one of them is not finite.
pub(super) fn gradient(
    criterion: Criterion,
    context: &LossContext,
    (theta, precision): (&[f64], Precision),
    batch: &Batch,
    most: f64,
    crew: &dyn Crew,
) -> std::result::Result<Gradient, Trouble> {
    let LossGradient { loss, parts, gradient } = criterion.gradient_of_crew(context, theta, precision, batch, crew)?;
    let (norm, scale) = clip(&gradient, most);
    if loss.is_finite() && norm.is_finite() {
        Ok(Gradient { loss, parts, gradient, norm, scale })
    } else {
        Err(Trouble::Diverged(format!("the loss is {loss}, its gradient {norm}")))
    }
}
