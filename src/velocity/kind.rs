//! The velocity of a continuous flow, as data, and how it is bound to θ.

use serde::{Deserialize, Serialize};

use crate::velocity::layers::{self, LayerNetSpec};
use crate::velocity::{Device, Image, ImageSpec, Mlp, MlpSpec, Number, Velocity};
use crate::{Result, Rng};

/// A velocity without its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum VelocitySpec {
    /// The fused CPU kernel.
    Mlp(MlpSpec),
    /// A net of candle layers.
    Layers(LayerNetSpec),
    /// A net of operations on images.
    Image(ImageSpec),
}

impl VelocitySpec {
    /// d.
    pub fn dim(&self) -> usize {
        match self {
            Self::Mlp(spec) => spec.dim,
            Self::Layers(spec) => spec.dim,
            Self::Image(spec) => spec.dim(),
        }
    }

    /// The number of conditioning columns.
    pub fn condition_dim(&self) -> usize {
        match self {
            Self::Mlp(spec) => spec.condition_dim,
            Self::Layers(spec) => spec.condition_dim,
            Self::Image(spec) => spec.condition_dim,
        }
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        match self {
            Self::Mlp(spec) => spec.n_params(),
            Self::Layers(spec) => spec.n_params(),
            Self::Image(spec) => spec.n_params(),
        }
    }

    /// The trace has a closed form.
    pub fn closed_form(&self) -> bool {
        matches!(self, Self::Mlp(spec) if spec.hidden.len() <= 2)
    }

    /// Checks the spec.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] or [`crate::Error::Dimension`].
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Mlp(spec) => spec.validate(),
            Self::Layers(spec) => spec.check(),
            Self::Image(spec) => spec.validate(),
        }
    }

    /// A fresh θ.
    pub fn init(&self, rng: &mut Rng) -> Vec<f32> {
        match self {
            Self::Mlp(spec) => spec.init(rng),
            Self::Layers(spec) => spec.init(rng),
            Self::Image(spec) => spec.init(rng),
        }
    }

    /// Sets the last layer of θ to zero: the velocity is zero everywhere (of images: that of a Gaussian), and has a gradient to
    /// leave it by.
    pub fn rest(&self, theta: &mut [f32]) {
        // `net.4.weight`, `net.4._layer.weight`: a layer is two parts of the name.
        let layer = |name: &str| name.match_indices('.').nth(1).map(|(at, _)| name[..at].to_owned());
        let names = self.tensor_names();
        let last = names.last().and_then(|(name, _)| layer(name));
        let of_last = names.iter().filter(|(name, _)| layer(name) == last);
        let (length, count) = (theta.len(), of_last.map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>());
        theta[length - count.min(length)..].fill(0.0);
    }

    /// Names and shapes of the tensors in θ, in order.
    pub fn tensor_names(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Mlp(spec) => spec.tensor_names(),
            Self::Layers(spec) => spec.tensor_names(),
            Self::Image(spec) => spec.tensor_names(),
        }
    }

    /// As [`VelocitySpec::bind`], on the CPU.
    ///
    /// # Errors
    /// As [`VelocitySpec::bind`].
    pub fn bind_here<T: Number>(&self, theta: &[T]) -> Result<Box<dyn Velocity<T>>> {
        self.bind(theta, Device::Cpu)
    }

    /// The velocity with weights `theta`, `[n_params]`; a net of layers computes on `device`.
    ///
    /// # Errors
    /// [`crate::Error::Parameters`] for a θ of the wrong length.
    pub fn bind<T: Number>(&self, theta: &[T], device: impl Into<Device>) -> Result<Box<dyn Velocity<T>>> {
        match self {
            Self::Mlp(spec) => Ok(Box::new(Mlp::new(spec, theta)?)),
            Self::Layers(spec) => layers::bind(spec, theta, device.into()),
            Self::Image(spec) => Ok(Box::new(Image::new(spec, theta)?)),
        }
    }
}
