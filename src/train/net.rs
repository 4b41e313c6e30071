//! What the velocity of a continuous flow is made of.

use cnflow_kernels::ImageShape;
use serde::{Deserialize, Serialize};

use super::named::named;
use crate::velocity::layers::{Layer, LayerNetSpec};
use crate::velocity::{Activation, ImageSpec, MlpSpec, TimeInput, VelocitySpec};
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
    /// Convolutions, for images only: cheap ones for every pixel around costly ones for squares of pixels.  See
    /// [`ImageSpec::recipe`].
    Convolution,
}

impl Net {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mlp, Self::ConcatSquash, Self::Convolution];
    /// Those for rows of any kind.
    pub const OF_ROWS: [Self; 2] = [Self::Mlp, Self::ConcatSquash];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::ConcatSquash => "concatsquash",
            Self::Convolution => "convolution",
        }
    }

    /// The velocity of this kind with the sizes and the activation of an MLP; where rows are images of a shape, and the
    /// net is convolutional, with sizes of its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] for features of time where time enters every layer, and for convolutions of no image.
    pub fn velocity(self, mlp: MlpSpec, image: Option<ImageShape>) -> Result<VelocitySpec> {
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
            Self::Convolution => match image {
                Some(shape) => Ok(VelocitySpec::Image(ImageSpec::recipe(shape, mlp.condition_dim))),
                None => Err(Error::invalid(
                    "the net convolution is for images, and the rows of the data are not images",
                    "set `model.net` to mlp, or give images",
                )),
            },
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
        let same = Self::ConcatSquash.velocity(mlp.clone(), None).is_ok_and(|made| made == *velocity);
        same.then_some((Self::ConcatSquash, mlp))
    }
}

impl std::str::FromStr for Net {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        named("net", Self::ALL, Self::name, text)
    }
}
