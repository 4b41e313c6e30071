//! The layers of a discrete flow, as data, and the layout of its θ.

use nalgebra::DMatrix;
use rand::Rng as _;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::spline;
use crate::velocity::Activation;
use crate::{Error, Result, Rng};

/// The discrete flows of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// Additive couplings and one diagonal scale at the end.  Ref: Dinh, Krueger & Bengio (2014).
    Nice,
    /// Affine couplings.  Ref: Dinh, Sohl-Dickstein & Bengio, *Density estimation using Real NVP* (2017).
    RealNvp,
    /// Activation norm, an invertible linear map by PLU, affine coupling.  Ref: Kingma & Dhariwal, *Glow* (2018).
    Glow,
    /// Couplings by monotone rational-quadratic splines.  Ref: Durkan et al., *Neural spline flows* (2019).
    Spline,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nice, Self::RealNvp, Self::Glow, Self::Spline];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nice => "nice",
            Self::RealNvp => "realnvp",
            Self::Glow => "glow",
            Self::Spline => "spline",
        }
    }
}

/// What a coupling does with the columns that it changes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Transform {
    /// y = x + m.
    Additive,
    /// y = m + x eˢ, s = most · tanh(r / most).
    Affine {
        /// The bound of |s|.
        most: f64,
    },
    /// A monotone rational-quadratic spline.
    Spline {
        /// How many bins.
        bins: usize,
        /// Half the interval on which it is not the identity.
        bound: f64,
    },
}

impl Transform {
    /// Numbers of the conditioner for each column that is changed.
    pub(super) fn numbers(self) -> usize {
        match self {
            Self::Additive => 1,
            Self::Affine { .. } => 2,
            Self::Spline { bins, .. } => spline::numbers(bins),
        }
    }
}

/// One layer; layers stand in a list from the latent's side to the data's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum LayerSpec {
    /// The columns `change` are transformed by numbers that a net makes of the columns `pass` and the condition.
    Coupling {
        /// Columns that stay as they are.
        pass: Vec<usize>,
        /// Columns that are changed.
        change: Vec<usize>,
        /// The net's hidden layers.
        hidden: Vec<usize>,
        /// The net's nonlinearity.
        activation: Activation,
        /// What is done with them.
        transform: Transform,
    },
    /// y = eˢ ∘ x + b, column by column; Glow's activation norm with the shift b, NICE's scale without.
    Diagonal {
        /// Whether there is a b. Where there is, both start as the first batch's moments.
        shift: bool,
    },
    /// z = P L (U + D) x from the data's side to the latent's, D = signs ∘ eˢ; L has ones on its diagonal.
    /// P and the signs follow from `seed`, but a model must not depend on the draws of a generator.
    Linear {
        /// P: row i of the product is row `permutation[i]` of L (U + D).
        permutation: Vec<usize>,
        /// The signs of D.
        signs: Vec<i8>,
        /// Of the random rotation that it starts as.
        seed: u64,
    },
}

/// A discrete flow without its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscreteSpec {
    /// The kind that was planned.
    pub kind: Kind,
    /// d.
    pub dim: usize,
    /// The number of conditioning columns.
    pub condition_dim: usize,
    /// From the latent's side to the data's.
    pub layers: Vec<LayerSpec>,
}

/// Limits of sizes: beyond any use, within memory.
pub(super) const MOST_LAYERS: usize = 4096;
const MOST_UNITS: usize = 1 << 16;
const MOST_PARAMETERS: usize = 1 << 28;
/// The most columns of a linear layer: its matrix is inverted for each set of parameters.
const MOST_LINEAR: usize = 1 << 12;

impl LayerSpec {
    /// The units of a coupling's net, its input first; empty for other layers. Without anything to go by, its input is
    /// one 0.
    pub(super) fn sizes(&self, condition_dim: usize) -> Vec<usize> {
        match self {
            Self::Coupling { pass, change, hidden, transform, .. } => {
                let mut sizes = vec![pass.len().saturating_add(condition_dim).max(1)];
                sizes.extend(hidden);
                sizes.push(change.len().saturating_mul(transform.numbers()));
                sizes
            }
            _ => Vec::new(),
        }
    }

    /// Names and shapes of its tensors, in order.
    fn tensors(&self, dim: usize, condition_dim: usize) -> Vec<(String, Vec<usize>)> {
        let half = dim.saturating_mul(dim.saturating_sub(1)) / 2;
        match self {
            Self::Coupling { .. } => {
                let sizes = self.sizes(condition_dim);
                let of_layer = |(l, pair): (usize, &[usize])| {
                    let (inputs, outputs) = (pair[0], pair[1]);
                    let at = 2 * l;
                    [(format!("net.{at}.weight"), vec![outputs, inputs]), (format!("net.{at}.bias"), vec![outputs])]
                };
                sizes.windows(2).enumerate().flat_map(of_layer).collect()
            }
            Self::Diagonal { shift } => {
                let mut tensors = vec![("log_scale".into(), vec![dim])];
                if *shift {
                    tensors.push(("shift".into(), vec![dim]));
                }
                tensors
            }
            Self::Linear { .. } if dim == 1 => vec![("log_diagonal".into(), vec![dim])],
            Self::Linear { .. } => {
                vec![("log_diagonal".into(), vec![dim]), ("lower".into(), vec![half]), ("upper".into(), vec![half])]
            }
        }
    }

    /// What is wrong with it.
    fn check(&self, dim: usize) -> std::result::Result<(), String> {
        match self {
            Self::Diagonal { .. } => Ok(()),
            Self::Linear { permutation, signs, .. } => {
                let mut sorted = permutation.clone();
                sorted.sort_unstable();
                if dim > MOST_LINEAR {
                    return Err(format!("a linear map of {dim} columns exceeds the limit of {MOST_LINEAR}"));
                }
                if !sorted.into_iter().eq(0..dim) || signs.len() != dim || signs.iter().any(|s| s.abs() != 1) {
                    return Err("its permutation or its signs do not fit its columns".into());
                }
                Ok(())
            }
            Self::Coupling { pass, change, hidden, transform, .. } => {
                let mut all: Vec<usize> = pass.iter().chain(change).copied().collect();
                all.sort_unstable();
                if !all.into_iter().eq(0..dim) || change.is_empty() {
                    return Err("its two halves do not make up its columns".into());
                }
                if let Some(width) = hidden.iter().find(|width| **width == 0 || **width > MOST_UNITS) {
                    return Err(format!("a hidden layer has {width} units, expected 1 to {MOST_UNITS}"));
                }
                match *transform {
                    Transform::Additive => Ok(()),
                    Transform::Affine { most } if most > 0.0 && most <= 20.0 => Ok(()),
                    Transform::Affine { most } => Err(format!("log-scales up to {most}, expected a bound in (0, 20]")),
                    Transform::Spline { bins, bound } => spline::check(bins, bound),
                }
            }
        }
    }
}

impl DiscreteSpec {
    /// Checks the spec.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the layer that is wrong.
    pub fn validate(&self) -> Result<()> {
        if self.dim == 0 || self.layers.is_empty() {
            return Err(Error::invalid("a discrete flow without columns or layers", "give at least one of each"));
        }
        if self.layers.len() > 3 * MOST_LAYERS + 1 || self.dim > MOST_UNITS || self.condition_dim > MOST_UNITS {
            return Err(Error::invalid(
                format!("a flow of {} layers on {} columns is too large", self.layers.len(), self.dim),
                "",
            ));
        }
        for (i, layer) in self.layers.iter().enumerate() {
            layer.check(self.dim).map_err(|problem| {
                Error::invalid(
                    format!("layer {} of the flow: {problem}", i + 1),
                    "change the options of the flow that set this layer",
                )
            })?;
        }
        let sizes = self.tensor_names().into_iter().map(|(_, shape)| shape.iter().product::<usize>());
        let total = sizes.fold(0usize, usize::saturating_add);
        if total > MOST_PARAMETERS {
            return Err(Error::invalid(
                format!("a flow of {total} parameters is too large"),
                "use fewer or smaller layers",
            ));
        }
        Ok(())
    }

    /// Names and shapes of the tensors in θ, in order: `layers.0.net.0.weight`, …
    pub fn tensor_names(&self) -> Vec<(String, Vec<usize>)> {
        let of_layer = |(i, layer): (usize, &LayerSpec)| {
            let tensors = layer.tensors(self.dim, self.condition_dim);
            tensors.into_iter().map(move |(name, shape)| (format!("layers.{i}.{name}"), shape)).collect::<Vec<_>>()
        };
        self.layers.iter().enumerate().flat_map(of_layer).collect()
    }

    /// The length of each layer's part of θ.
    pub(super) fn lengths(&self) -> Vec<usize> {
        let length = |layer: &LayerSpec| {
            layer.tensors(self.dim, self.condition_dim).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
        };
        self.layers.iter().map(length).collect()
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        self.lengths().iter().sum()
    }

    /// The number of couplings.
    pub fn depth(&self) -> usize {
        self.layers.iter().filter(|layer| matches!(layer, LayerSpec::Coupling { .. })).count()
    }

    /// How many of the L layers have been passed at `t`, from 0 (the latent) to 1 (the data): ⌊t L⌋, where l / L is l.
    pub fn layers_until(&self, t: f64) -> usize {
        let all = self.layers.len();
        // l / L times L may be the last bit below l.
        ((t * all as f64 * (1.0 + 4.0 * f64::EPSILON)).floor() as usize).min(all)
    }

    /// A fresh θ: affine and spline couplings start as the identity (the last layer of each net is zero), scales at 1,
    /// linear maps as random rotations. Additive couplings do not start as the identity: there the gradient of a last
    /// layer is E[h(x₁) x₂], which is zero for all data that are symmetric, and NICE would stay there.
    pub fn init(&self, rng: &mut Rng) -> Vec<f32> {
        let mut theta = Vec::with_capacity(self.n_params());
        for layer in &self.layers {
            match layer {
                LayerSpec::Coupling { transform, .. } => {
                    let sizes = layer.sizes(self.condition_dim);
                    let rests = !matches!(transform, Transform::Additive);
                    let last = sizes.len() - 2;
                    for (l, pair) in sizes.windows(2).enumerate() {
                        let bound = if rests && l == last { 0.0 } else { 1.0 / (pair[0] as f32).sqrt() };
                        theta.extend((0..(pair[0] + 1) * pair[1]).map(|_| rng.random_range(-bound..=bound)));
                    }
                }
                LayerSpec::Diagonal { shift } => {
                    theta.extend(std::iter::repeat_n(0.0, self.dim * (1 + usize::from(*shift))));
                }
                LayerSpec::Linear { seed, .. } => {
                    let (d, (_, lower, upper)) = (self.dim, rotation(self.dim, *seed));
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
