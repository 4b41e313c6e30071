//! What the velocity of a continuous flow is made of.

use cnflow_kernels::{ImageNetSpec, ImageShape};
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
    /// net is convolutional, the widths are its channels by [`Net::channels`].
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
                Some(shape) => {
                    let channels = Self::channels(&mlp.hidden)?;
                    Ok(VelocitySpec::Image(ImageSpec::recipe(shape, mlp.condition_dim, channels)))
                }
                None => Err(Error::invalid(
                    "the net convolution is for images, and the rows of the data are not images",
                    "set `model.net` to mlp, or give images",
                )),
            },
        }
    }

    /// The channels of a convolutional net at full, half and a quarter of an image's size: none are the usual ones, and
    /// the last one holds for the sizes that follow.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than three.
    pub fn channels(hidden: &[usize]) -> Result<[usize; 3]> {
        match *hidden {
            [] => Ok(ImageNetSpec::CHANNELS),
            [all] => Ok([all; 3]),
            [full, coarser] => Ok([full, coarser, coarser]),
            [full, half, quarter] => Ok([full, half, quarter]),
            _ => Err(Error::invalid(
                format!("the net convolution has channels at 3 sizes of an image, and {} are given", hidden.len()),
                "give one to three: at full, half and a quarter of the size, such as 16,32,32",
            )),
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
