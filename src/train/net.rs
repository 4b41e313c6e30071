//! What the velocity of a continuous flow is made of.

use serde::{Deserialize, Serialize};

use crate::velocity::layers::{Layer, LayerNetSpec};
use crate::velocity::{Activation, MlpSpec, TimeInput, VelocitySpec};
use crate::{Error, Result};

/// A kind of net.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Net {
    /// A multilayer perceptron with time among its inputs, by fused kernels on the CPU.
    #[default]
    Mlp,
    /// Candle layers whose output is gated and shifted by time.  Ref: FFJORD (Grathwohl et al. 2019),
    /// `ConcatSquashLinear`.
    ConcatSquash,
}

impl Net {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Mlp, Self::ConcatSquash];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::ConcatSquash => "concatsquash",
        }
    }

    /// The velocity of this kind with the sizes and the activation of an MLP.
    ///
    /// # Errors
    /// [`Error::Invalid`] for features of time where time enters every layer.
    pub fn velocity(self, mlp: MlpSpec) -> Result<VelocitySpec> {
        match self {
            Self::Mlp => Ok(VelocitySpec::Mlp(mlp)),
            Self::ConcatSquash => {
                let MlpSpec { dim, condition_dim, hidden, activation, time } = mlp;
                if time != TimeInput::Plain {
                    return Err(Error::invalid(
                        "`model.time_features` has no meaning for the net concatsquash: time enters each of its layers",
                        "leave out `model.time_features`, or set `model.net` to mlp",
                    ));
                }
                let layer = |inputs, outputs| Layer::ConcatSquash { inputs, outputs };
                Ok(VelocitySpec::Layers(LayerNetSpec::stacked(layer, dim, condition_dim, &hidden, activation)))
            }
        }
    }

    /// The kind of a velocity, and the MLP of its sizes: what [`Net::velocity`] makes it of. None for another net of
    /// layers, for a net on images, and for one within a Gaussian's velocity.
    pub fn of(velocity: &VelocitySpec) -> Option<(Self, MlpSpec)> {
        let spec = match velocity {
            VelocitySpec::Mlp(mlp) => return Some((Self::Mlp, mlp.clone())),
            VelocitySpec::Layers(spec) => spec,
            VelocitySpec::Image(_) | VelocitySpec::Preconditioned(_) => return None,
        };
        let outputs =
            |layer: &Layer| if let Layer::ConcatSquash { outputs, .. } = layer { Some(*outputs) } else { None };
        let activation = |layer: &Layer| if let Layer::Activation(kind) = layer { Some(*kind) } else { None };
        let mut hidden: Vec<usize> = spec.layers.iter().filter_map(outputs).collect();
        hidden.pop();
        let mlp = MlpSpec {
            dim: spec.dim,
            condition_dim: spec.condition_dim,
            hidden,
            activation: spec.layers.iter().find_map(activation).unwrap_or(Activation::Silu),
            time: TimeInput::Plain,
        };
        let same = Self::ConcatSquash.velocity(mlp.clone()).is_ok_and(|made| made == *velocity);
        same.then_some((Self::ConcatSquash, mlp))
    }
}

impl std::str::FromStr for Net {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|net| net.name() == text).ok_or_else(|| Error::Unknown {
            kind: "net",
            name: text.into(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}
