//! A discrete flow at whose distribution a continuous one begins.
//!
//! With the trained layers S and the flow φ of the velocity x = S(φ(z)), and log p(x) = log N(z; 0, I) − ln|det ∂φ/∂z| −
//! ln|det ∂S/∂u| at u = φ(z). In the data's coordinates the velocity's flow is S φ S⁻¹, and it begins at the distribution
//! of the layers: at rest the model has their density, so that training starts where the layers ended.
//!
//! The velocity moves the layers' latents u, which are nearly normal, whatever the data are. A velocity of the data
//! themselves that begins at S(z) was refused: it has to find the structure of the data once more to leave it as it is.

use std::sync::Arc;

use crate::discrete::{Discrete, DiscreteSpec};
use crate::velocity::Precision;
use crate::{Error, Result};

/// The layers between a velocity and the standardisation, with their parameters, which training leaves as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseFlow {
    /// The layers.
    pub layers: DiscreteSpec,
    /// Their θ, `[n_params]`.
    pub theta: Arc<[f32]>,
}

/// What the names of its tensors in a file begin with.
pub(super) const PREFIX: &str = "base_flow.";

impl BaseFlow {
    /// The layers with their parameters bound.
    ///
    /// # Errors
    /// As [`Discrete::new`].
    pub(crate) fn bind(&self, precision: Precision) -> Result<Discrete> {
        let theta: Vec<f64> = self.theta.iter().map(|w| f64::from(*w)).collect();
        Discrete::new(self.layers.clone(), &theta, precision)
    }

    /// Names and shapes of its tensors in a file, in the order of θ.
    pub fn tensor_names(&self) -> Vec<(String, Vec<usize>)> {
        self.layers.tensor_names().into_iter().map(|(name, shape)| (format!("{PREFIX}{name}"), shape)).collect()
    }

    /// Whether it is sound beside an architecture of `dim` columns given `condition_dim`.
    pub(super) fn check(&self, dim: usize, condition_dim: usize) -> Result<()> {
        let (layers, found) = (&self.layers, self.theta.len());
        layers.validate()?;
        if layers.n_params() != found {
            return Err(Error::Parameters { expected: layers.n_params(), found });
        }
        if layers.dim != dim {
            return Err(Error::Dimension { what: "the base flow".into(), expected: dim, found: layers.dim });
        }
        if layers.condition_dim != condition_dim {
            let what = "the conditions of the base flow".into();
            return Err(Error::Dimension { what, expected: condition_dim, found: layers.condition_dim });
        }
        Ok(())
    }
}
