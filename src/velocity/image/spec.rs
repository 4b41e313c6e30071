//! A velocity of images, as data: a net of operations that is given the time and the condition beside the image.
//!
//! m(x, t) = net(x; features of t, class). Images are matched best by a net within the velocity of a Gaussian: see
//! [`PreconditionedSpec`](crate::velocity::PreconditionedSpec).

use std::f64::consts::PI;

use cnflow_kernels::{ImageNetSpec, ImageOp, ImageParams, ImageShape};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::velocity::spec::MOST_UNITS;
use crate::{Error, Result, Rng};

/// What 1 − t is at least inside the logarithm: a distance below the width of a grey level.
const NEAR: f64 = 1e-3;

/// A velocity of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// The net, from images to images of the same shape. Its `aux` are the features of time, then the condition.
    pub net: ImageNetSpec,
    /// The number of columns of the condition.
    pub condition_dim: usize,
    /// Features of time: sin πku and cos πku, k = 1 … `frequencies`, for u = t and for u = log(1 − t) on a scale from 0
    /// to 1.
    pub frequencies: usize,
}

impl ImageSpec {
    /// The recipe's net for images of `shape`, with five frequencies and so many channels at full, half and a quarter of
    /// the size.
    pub fn recipe(shape: ImageShape, condition_dim: usize, channels: [usize; 3]) -> Self {
        let frequencies = 5;
        let net = ImageNetSpec::recipe(shape, Self::features(frequencies) + condition_dim, channels);
        Self { net, condition_dim, frequencies }
    }

    fn features(frequencies: usize) -> usize {
        frequencies.saturating_mul(4)
    }

    /// The shape of the images.
    pub fn shape(&self) -> ImageShape {
        self.net.shape
    }

    /// d: how many numbers an image has.
    pub fn dim(&self) -> usize {
        self.net.shape.len()
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        self.net.n_params()
    }

    /// Checks the spec.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a net that is refused, gives other images than it takes or takes another number of
    /// features than there are.
    pub fn validate(&self) -> Result<()> {
        let Self { net, condition_dim, frequencies } = self;
        for size in [*condition_dim, *frequencies] {
            if size > MOST_UNITS {
                let what =
                    format!("an image's velocity with {size} features of time or columns of a condition is too large");
                return Err(Error::invalid(what, format!("give at most {MOST_UNITS}")));
            }
        }
        net.validate()?;
        if net.outputs() != net.shape {
            let ImageShape { height, width, channels } = net.outputs();
            return Err(Error::invalid(
                format!("the net gives images of {height} × {width} pixels and {channels} channels"),
                "end it with the shape of the images that it takes",
            ));
        }
        let expected = Self::features(*frequencies) + condition_dim;
        if net.aux != expected {
            return Err(Error::invalid(
                format!("the net takes {} numbers beside the image, time and condition have {expected}", net.aux),
                "set `aux` to four times `frequencies` and the columns of the condition",
            ));
        }
        Ok(())
    }

    /// A fresh θ: as PyTorch begins, uniform in ±1/√inputs; zero in the last convolution of each residual block and of
    /// all.
    pub fn init(&self, rng: &mut Rng) -> Vec<f32> {
        let mut theta = Vec::with_capacity(self.n_params());
        let mut draw = |n: usize, inputs: usize| {
            let bound = 1.0 / (inputs.max(1) as f32).sqrt();
            theta.extend((0..n).map(|_| rng.random_range(-bound..=bound)));
        };
        let mut zeros = Vec::new();
        for (shape, range, zero) in self.layers() {
            let inputs = shape[1..].iter().product();
            draw(range.len(), inputs);
            zeros.extend(zero.then_some(range));
        }
        zeros.into_iter().for_each(|range| theta[range].fill(0.0));
        theta
    }

    /// Names and shapes of the tensors in θ, in order: `embedding.{layer}` and `ops.{index}`. The weight of a
    /// convolution is `[out, ky, kx, in]`, PyTorch's with the channels last.
    pub fn tensor_names(&self) -> Vec<(String, Vec<usize>)> {
        let names = self.names();
        let of_layer = |(name, (shape, _, _)): (String, Layer)| {
            let outputs = shape[0];
            [(format!("{name}.weight"), shape), (format!("{name}.bias"), vec![outputs])]
        };
        names.into_iter().zip(self.layers()).flat_map(of_layer).collect()
    }

    fn names(&self) -> Vec<String> {
        let (embedding, ops) = self.params();
        let with_params = ops.into_iter().enumerate().filter(|(_, range)| !range.is_empty());
        let of_ops = with_params.map(|(index, _)| format!("ops.{index}"));
        (0..embedding.len()).map(|layer| format!("embedding.{layer}")).chain(of_ops).collect()
    }

    fn params(&self) -> (Vec<std::ops::Range<usize>>, Vec<std::ops::Range<usize>>) {
        self.net.params().map_or_else(|_| (vec![], vec![]), |ImageParams { embedding, ops }| (embedding, ops))
    }

    /// The shape of each weight, its part of θ with its bias, and whether it begins at zero.
    fn layers(&self) -> Vec<Layer> {
        let (embedding, ops) = self.params();
        let mut inputs = self.net.aux;
        let mut layers: Vec<Layer> = Vec::new();
        for range in embedding {
            let outputs = range.len() / (inputs + 1);
            layers.push((vec![outputs, inputs], range, false));
            inputs = outputs;
        }
        let shapes = self.net.shapes().unwrap_or_default();
        for (index, ((op, range), x)) in self.net.ops.iter().zip(ops).zip(shapes).enumerate() {
            if let ImageOp::Conv { kernel, channels, .. } = *op {
                let shape = vec![channels, kernel, kernel, x.channels];
                layers.push((shape, range, self.net.starts_at_zero(index)));
            }
        }
        layers
    }

    /// Feature `i` of time t.
    pub(super) fn feature(&self, i: usize, t: f64) -> f64 {
        let (late, rest) = (i / (2 * self.frequencies), i % (2 * self.frequencies));
        let u = if late == 0 { t } else { (1.0 - t + NEAR).max(NEAR).ln() / NEAR.ln() };
        let angle = PI * (rest / 2 + 1) as f64 * u;
        if rest % 2 == 0 { angle.sin() } else { angle.cos() }
    }

    /// The largest derivative by time of feature `i` of t itself; 0 for those of its logarithm, which are fast at the
    /// end of the path alone, where a path is short.
    pub(super) fn rate(&self, i: usize) -> f64 {
        if i < 2 * self.frequencies { PI * (i / 2 + 1) as f64 } else { 0.0 }
    }

    /// How many features of time there are.
    pub(super) fn time_columns(&self) -> usize {
        Self::features(self.frequencies)
    }
}

/// The shape of a weight, the part of θ of weight and bias, and whether both begin at zero.
type Layer = (Vec<usize>, std::ops::Range<usize>, bool);
