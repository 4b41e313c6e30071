//! What stands between the base distribution and the frame of a flow: the part that is learnt.
//!
//! One enum for all of them: whoever trains, saves or draws a flow asks it for names, sizes and a [`Bijection`], and only
//! what integrates a velocity asks for one.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    Bijection, Continuous, Cost, Discrete, DiscreteSpec, Histogram, Mapped, SolverSpec, VelocitySpec, check_rows,
};
use crate::{Error, Result, Rng};

/// The part of a flow that is learnt, without its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Core {
    /// A continuous flow: a velocity, integrated.
    Velocity(VelocitySpec),
    /// A discrete flow: couplings.
    Discrete(DiscreteSpec),
    /// Nothing moves: the distribution is the base's.
    Still {
        /// d.
        dim: usize,
    },
    /// A table of probabilities.
    Histogram(Histogram),
}

impl Core {
    /// d.
    pub fn dim(&self) -> usize {
        match self {
            Self::Velocity(spec) => spec.dim(),
            Self::Discrete(spec) => spec.dim,
            Self::Still { dim } => *dim,
            Self::Histogram(table) => table.dim(),
        }
    }

    /// The conditioning columns, as the core sees them.
    pub fn condition_dim(&self) -> usize {
        match self {
            Self::Velocity(spec) => spec.condition_dim(),
            Self::Discrete(spec) => spec.condition_dim,
            Self::Still { .. } | Self::Histogram(_) => 0,
        }
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        match self {
            Self::Velocity(spec) => spec.n_params(),
            Self::Discrete(spec) => spec.n_params(),
            Self::Still { .. } | Self::Histogram(_) => 0,
        }
    }

    /// Names and shapes of the tensors in θ, in order.
    pub fn tensor_names(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Velocity(spec) => spec.tensor_names(),
            Self::Discrete(spec) => spec.tensor_names(),
            Self::Still { .. } | Self::Histogram(_) => Vec::new(),
        }
    }

    /// Refuses what cannot be a flow.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Dimension`].
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Velocity(spec) => spec.validate(),
            Self::Discrete(spec) => spec.validate(),
            Self::Still { dim: 0 } => Err(Error::invalid("a flow without columns", "give it at least one")),
            Self::Still { .. } | Self::Histogram(_) => Ok(()),
        }
    }

    /// A fresh θ.
    pub fn init(&self, rng: &mut Rng) -> Vec<f32> {
        match self {
            Self::Velocity(spec) => spec.init(rng),
            Self::Discrete(spec) => spec.init(rng),
            Self::Still { .. } | Self::Histogram(_) => Vec::new(),
        }
    }

    /// What it is, in a word: `cnf`, a discrete flow's name, `still` or `histogram`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Velocity(_) => "cnf",
            Self::Discrete(spec) => spec.kind.name(),
            Self::Still { .. } => "still",
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
                "this asks for a continuous flow, as `cnf train --model cnf` makes",
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

    /// The layers of a core that stands in closed form; none where something is integrated.
    pub fn closed_layers(&self) -> Option<usize> {
        match self {
            Self::Velocity(_) => None,
            Self::Discrete(spec) => Some(spec.layers.len()),
            Self::Still { .. } | Self::Histogram(_) => Some(1),
        }
    }

    /// The bijection with parameters `theta` (`[n_params]`); a velocity is integrated as `solver` says.
    ///
    /// # Errors
    /// As [`Continuous::new`] and [`Discrete::new`].
    pub fn bind(&self, theta: Tensor, solver: &SolverSpec) -> Result<Box<dyn Bijection>> {
        Ok(match self {
            Self::Velocity(spec) => Box::new(Continuous::new(spec.clone(), theta, solver.clone())?),
            Self::Discrete(spec) => Box::new(Discrete::new(spec.clone(), theta)?),
            Self::Still { dim } => Box::new(Still { dim: *dim }),
            Self::Histogram(table) => Box::new(table.clone()),
        })
    }
}

impl From<VelocitySpec> for Core {
    fn from(spec: VelocitySpec) -> Self {
        Self::Velocity(spec)
    }
}

/// The identity.
struct Still {
    dim: usize,
}

impl Still {
    fn map(&self, x: &Tensor) -> Result<Mapped> {
        let n = check_rows(x, self.dim, None, 0)?;
        let logdet = Tensor::zeros(n, DType::F64, x.device())?.to_dtype(x.dtype())?;
        Ok(Mapped { y: x.clone(), logdet, cost: Cost::default() })
    }
}

impl Bijection for Still {
    fn dim(&self) -> usize {
        self.dim
    }

    fn forward(&self, z: &Tensor, _condition: Option<&Tensor>) -> Result<Mapped> {
        self.map(z)
    }

    fn inverse(&self, x: &Tensor, _condition: Option<&Tensor>) -> Result<Mapped> {
        self.map(x)
    }
}
