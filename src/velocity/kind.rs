//! The velocity of a continuous flow, as data, and how it is bound to θ.

use serde::{Deserialize, Serialize};

use crate::velocity::layers::{self, LayerNetSpec};
use crate::velocity::{
    Device, GaussianPath, Image, ImageShape, ImageSpec, Mlp, MlpSpec, Number, Preconditioned, Velocity,
};
use crate::{Error, Result, Rng};

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
    /// A Gaussian's velocity, and one of the others for the rest.
    Preconditioned(Box<PreconditionedSpec>),
}

/// A velocity v = a(t) x + b(t) net(c(t) x, t), without the weights of its net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreconditionedSpec {
    /// The Gaussian, which decides a, b and c.
    pub gaussian: GaussianPath,
    /// What computes the rest; it has all the weights.
    pub net: VelocitySpec,
}

impl VelocitySpec {
    /// d.
    pub fn dim(&self) -> usize {
        match self {
            Self::Mlp(spec) => spec.dim,
            Self::Layers(spec) => spec.dim,
            Self::Image(spec) => spec.dim(),
            Self::Preconditioned(spec) => spec.net.dim(),
        }
    }

    /// The number of conditioning columns.
    pub fn condition_dim(&self) -> usize {
        match self {
            Self::Mlp(spec) => spec.condition_dim,
            Self::Layers(spec) => spec.condition_dim,
            Self::Image(spec) => spec.condition_dim,
            Self::Preconditioned(spec) => spec.net.condition_dim(),
        }
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        match self {
            Self::Mlp(spec) => spec.n_params(),
            Self::Layers(spec) => spec.n_params(),
            Self::Image(spec) => spec.n_params(),
            Self::Preconditioned(spec) => spec.net.n_params(),
        }
    }

    /// The shape of images, where its net is one on images.
    pub fn shape(&self) -> Option<ImageShape> {
        if let Self::Image(spec) = self.net() { Some(spec.net.shape) } else { None }
    }

    /// The net: itself, but for a preconditioned velocity the one within.
    pub fn net(&self) -> &Self {
        if let Self::Preconditioned(spec) = self { &spec.net } else { self }
    }

    /// The Gaussian whose velocity is part of it.
    pub fn gaussian(&self) -> Option<GaussianPath> {
        if let Self::Preconditioned(spec) = self { Some(spec.gaussian) } else { None }
    }

    /// The trace has a closed form.
    pub fn closed_form(&self) -> bool {
        matches!(self.net(), Self::Mlp(spec) if spec.hidden.len() <= 2)
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
            Self::Preconditioned(spec) => {
                if spec.net.gaussian().is_some() {
                    return Err(Error::invalid("a Gaussian's velocity within another", "give the net itself"));
                }
                spec.gaussian.validate()?;
                spec.net.validate()
            }
        }
    }

    /// A fresh θ.
    pub fn init(&self, rng: &mut Rng) -> Vec<f32> {
        match self {
            Self::Mlp(spec) => spec.init(rng),
            Self::Layers(spec) => spec.init(rng),
            Self::Image(spec) => spec.init(rng),
            Self::Preconditioned(spec) => spec.net.init(rng),
        }
    }

    /// Sets the last layer of θ to zero. Where that layer is the end of the net, as in an MLP, in
    /// [`LayerNetSpec::stacked`] and in [`ImageSpec::recipe`], the net is zero everywhere, and has a gradient to leave
    /// it by. So is the velocity, but for a Gaussian's part.
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
            Self::Preconditioned(spec) => spec.net.tensor_names(),
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
            Self::Preconditioned(spec) => {
                let net = spec.net.bind(theta, device)?;
                Ok(Box::new(Preconditioned::new(spec.gaussian, net)))
            }
        }
    }
}
