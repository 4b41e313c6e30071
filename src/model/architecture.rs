//! The architecture of a flow: the part between the base distribution and the preprocessing, which is trained.
//!
//! One enum for all of them, with names, sizes and fresh parameters; [`BoundArchitecture`](super::BoundArchitecture) is
//! the architecture with its parameters.

use serde::{Deserialize, Serialize};

use crate::discrete::DiscreteSpec;
use crate::transform::Histogram;
use crate::velocity::VelocitySpec;
use crate::{Error, Result, Rng};

/// The trained part of a flow, without its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// A continuous flow: a velocity, integrated.
    Velocity(VelocitySpec),
    /// A discrete flow: couplings.
    Discrete(DiscreteSpec),
    /// The identity: the distribution is the base's.
    #[serde(rename = "still")]
    Identity {
        /// d.
        dim: usize,
    },
    /// A table of probabilities.
    Histogram(Histogram),
}

impl Architecture {
    /// d.
    pub fn dim(&self) -> usize {
        match self {
            Self::Velocity(spec) => spec.dim(),
            Self::Discrete(spec) => spec.dim,
            Self::Identity { dim } => *dim,
            Self::Histogram(table) => table.dim(),
        }
    }

    /// The conditioning columns, as encoded for the architecture.
    pub fn condition_dim(&self) -> usize {
        match self {
            Self::Velocity(spec) => spec.condition_dim(),
            Self::Discrete(spec) => spec.condition_dim,
            Self::Identity { .. } | Self::Histogram(_) => 0,
        }
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        match self {
            Self::Velocity(spec) => spec.n_params(),
            Self::Discrete(spec) => spec.n_params(),
            Self::Identity { .. } | Self::Histogram(_) => 0,
        }
    }

    /// Names and shapes of the tensors in θ, in order.
    pub fn tensor_names(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Velocity(spec) => spec.tensor_names(),
            Self::Discrete(spec) => spec.tensor_names(),
            Self::Identity { .. } | Self::Histogram(_) => Vec::new(),
        }
    }

    /// Checks the spec.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Dimension`].
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Velocity(spec) => spec.validate(),
            Self::Discrete(spec) => spec.validate(),
            Self::Identity { dim: 0 } => Err(Error::invalid("the flow has no columns", "give at least one column")),
            Self::Identity { .. } | Self::Histogram(_) => Ok(()),
        }
    }

    /// A fresh θ.
    pub fn init(&self, rng: &mut Rng) -> Vec<f32> {
        match self {
            Self::Velocity(spec) => spec.init(rng),
            Self::Discrete(spec) => spec.init(rng),
            Self::Identity { .. } | Self::Histogram(_) => Vec::new(),
        }
    }

    /// Its name: `cnf`, a discrete flow's name, `still` or `histogram`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Velocity(_) => "cnf",
            Self::Discrete(spec) => spec.kind.name(),
            Self::Identity { .. } => "still",
            Self::Histogram(_) => "histogram",
        }
    }

    /// The velocity.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is none.
    pub fn velocity(&self) -> Result<&VelocitySpec> {
        match self {
            Self::Velocity(spec) => Ok(spec),
            _ => Err(Error::invalid(
                format!("the model ({}) has no velocity to integrate", self.name()),
                "use a continuous flow, trained with `model.family` cnf",
            )),
        }
    }

    /// The velocity, where there is one.
    pub fn as_velocity(&self) -> Option<&VelocitySpec> {
        if let Self::Velocity(spec) = self { Some(spec) } else { None }
    }

    /// The layers, where it is a discrete flow.
    pub fn as_discrete(&self) -> Option<&DiscreteSpec> {
        if let Self::Discrete(spec) = self { Some(spec) } else { None }
    }

    /// The layers of an architecture in closed form; none for a velocity, which is integrated.
    pub fn closed_layers(&self) -> Option<usize> {
        match self {
            Self::Velocity(_) => None,
            Self::Discrete(spec) => Some(spec.layers.len()),
            Self::Identity { .. } | Self::Histogram(_) => Some(1),
        }
    }
}

impl From<VelocitySpec> for Architecture {
    fn from(spec: VelocitySpec) -> Self {
        Self::Velocity(spec)
    }
}
