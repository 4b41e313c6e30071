//! The layout of the θ of a discrete flow, and a fresh one.

use std::ops::Range;

use nalgebra::DMatrix;
use rand::Rng as _;
use rand_distr::{Distribution, StandardNormal};

use super::plane::shape_at;
use super::spec::{DiscreteSpec, LayerSpec, Transform};
use crate::Rng;

impl LayerSpec {
    /// Names and shapes of its tensors, in order, and which of them are of the last layer of a net.
    fn tensors(&self, spec: &DiscreteSpec) -> Vec<(String, Vec<usize>, bool)> {
        match self {
            Self::Coupling { .. } => {
                let sizes = self.sizes(spec.condition_dim);
                let layers = sizes.len() - 1;
                let of_layer = |(l, pair): (usize, &[usize])| {
                    let (inputs, outputs) = (pair[0], pair[1]);
                    let (at, last) = (2 * l, l + 1 == layers);
                    let weight = (format!("net.{at}.weight"), vec![outputs, inputs], last);
                    [weight, (format!("net.{at}.bias"), vec![outputs], last)]
                };
                sizes.windows(2).enumerate().flat_map(of_layer).collect()
            }
            Self::Tails { .. } => Vec::new(),
            Self::ImageCoupling { .. } => spec.rule(self).map(|rule| rule.tensors()).unwrap_or_default(),
            Self::Diagonal { shift, level } => {
                let channels = spec.channels(*level);
                let mut tensors = vec![("log_scale".into(), vec![channels], false)];
                if *shift {
                    tensors.push(("shift".into(), vec![channels], false));
                }
                tensors
            }
            Self::Linear { level, .. } => {
                let d = spec.channels(*level);
                let half = d.saturating_mul(d.saturating_sub(1)) / 2;
                let mut tensors = vec![("log_diagonal".into(), vec![d], false)];
                if d > 1 {
                    tensors.extend(["lower", "upper"].map(|name| (name.into(), vec![half], false)));
                }
                tensors
            }
        }
    }
}

impl DiscreteSpec {
    /// The flow behind one layer more, next to the data, that is not learnt: z = W x for the lower triangular `matrix` W (`[d, d]`, its diagonal
    /// above 0); and its θ, where that of the flow is `theta`.
    #[must_use]
    pub(crate) fn behind(mut self, matrix: &[f64], mut theta: Vec<f32>) -> (Self, Vec<f32>) {
        let d = self.dim;
        // W = L D: L has ones on its diagonal.
        let at = |i: usize, j: usize| matrix[i * d + j];
        theta.extend((0..d).map(|i| at(i, i).ln() as f32));
        theta.extend((0..d).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| (at(i, j) / at(j, j)) as f32));
        theta.extend(std::iter::repeat_n(0.0, d * d.saturating_sub(1) / 2));
        let (permutation, signs) = ((0..d).collect(), vec![1; d]);
        self.layers.push(LayerSpec::Linear { permutation, signs, seed: 0, level: None, fixed: true });
        (self, theta)
    }

    /// What a diagonal or a linear layer at a level has one number each for: its channels, or all columns.
    pub(super) fn channels(&self, level: Option<usize>) -> usize {
        let of_level = |level| shape_at(self.image?, level).map(|shape| shape.channels);
        level.map_or(self.dim, |level| of_level(level).unwrap_or(0))
    }

    /// Names and shapes of the tensors in θ, in order: `layers.0.net.0.weight`, …; of a flow of images
    /// `layers.0.net.ops.0.weight`, `[out, ky, kx, in]`, …
    pub fn tensor_names(&self) -> Vec<(String, Vec<usize>)> {
        let of_layer = |(i, layer): (usize, &LayerSpec)| {
            let tensors = layer.tensors(self);
            tensors.into_iter().map(move |(name, shape, _)| (format!("layers.{i}.{name}"), shape)).collect::<Vec<_>>()
        };
        self.layers.iter().enumerate().flat_map(of_layer).collect()
    }

    /// The length of each layer's part of θ.
    pub(super) fn lengths(&self) -> Vec<usize> {
        let length =
            |layer: &LayerSpec| layer.tensors(self).iter().map(|(_, shape, _)| shape.iter().product::<usize>()).sum();
        self.layers.iter().map(length).collect()
    }

    /// The parts of θ that are not learnt.
    pub(crate) fn fixed(&self) -> Vec<Range<usize>> {
        let mut at = 0;
        let place = |(layer, length): (&LayerSpec, usize)| {
            at += length;
            layer.is_fixed().then(|| at - length..at)
        };
        self.layers.iter().zip(self.lengths()).filter_map(place).collect()
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        self.lengths().iter().sum()
    }

    /// A fresh θ: weights and biases uniform in ±1/√inputs. Affine and spline couplings start as the identity (the last
    /// layer of each net is zero), scales at 1, linear maps as random rotations. Additive couplings do not start as the
    /// identity: there the gradient of a last layer is E[h(x₁) x₂], which is zero for all data that are symmetric, and
    /// NICE would stay there.
    pub fn init(&self, rng: &mut Rng) -> Vec<f32> {
        let mut theta = Vec::with_capacity(self.n_params());
        for layer in &self.layers {
            match layer {
                LayerSpec::Coupling { transform, .. } | LayerSpec::ImageCoupling { transform, .. } => {
                    let rests = !matches!(transform, Transform::Additive);
                    let mut bound = 0.0;
                    for (_, shape, last) in layer.tensors(self) {
                        // A bias, which follows its weights, has their bound.
                        if shape.len() > 1 {
                            bound = 1.0 / (shape[1..].iter().product::<usize>().max(1) as f32).sqrt();
                        }
                        let bound = if rests && last { 0.0 } else { bound };
                        theta.extend((0..shape.iter().product::<usize>()).map(|_| rng.random_range(-bound..=bound)));
                    }
                }
                LayerSpec::Tails { .. } => {}
                LayerSpec::Diagonal { shift, level } => {
                    theta.extend(std::iter::repeat_n(0.0, self.channels(*level) * (1 + usize::from(*shift))));
                }
                LayerSpec::Linear { seed, level, .. } => {
                    let d = self.channels(*level);
                    let (_, lower, upper) = rotation(d, *seed);
                    theta.extend((0..d).map(|i| upper[(i, i)].abs().ln() as f32));
                    theta.extend((0..d).flat_map(|i| (0..i).map(move |j| (i, j))).map(|at| lower[at] as f32));
                    theta.extend((0..d).flat_map(|i| (i + 1..d).map(move |j| (i, j))).map(|at| upper[at] as f32));
                }
            }
        }
        theta
    }
}

/// A uniformly random rotation as P, L, U with P as a list: row i is row `list[i]` of L U.
///
/// Ref: Mezzadri, *How to generate random matrices from the classical compact groups* (2007): Q of a Gaussian's QR,
/// with the signs of R's diagonal.
pub(super) fn rotation(d: usize, seed: u64) -> (Vec<usize>, DMatrix<f64>, DMatrix<f64>) {
    let mut rng = crate::rng::stream(seed, 0);
    let qr = DMatrix::from_fn(d, d, |_, _| StandardNormal.sample(&mut rng)).qr();
    let (mut q, r): (DMatrix<f64>, DMatrix<f64>) = (qr.q(), qr.r());
    (0..d).for_each(|j| q.column_mut(j).scale_mut(r[(j, j)].signum()));
    let (p, l, u) = q.lu().unpack();
    let mut places = DMatrix::from_fn(d, 1, |i, _| i as f64);
    p.inv_permute_rows(&mut places);
    (places.iter().map(|place| *place as usize).collect(), l, u)
}
