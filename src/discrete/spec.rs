//! The layers of a discrete flow, as data.

use cnflow_kernels::ImageShape;
use serde::{Deserialize, Serialize};

use super::convolution::Rule;
use super::plane::{Part, Plane, shape_at};
use super::spline;
use crate::transform::HeavyTails;
use crate::velocity::Activation;
use crate::{Error, Result};

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

    /// What is wrong with it.
    fn check(self) -> std::result::Result<(), String> {
        match self {
            Self::Additive => Ok(()),
            Self::Affine { most } if most > 0.0 && most <= 20.0 => Ok(()),
            Self::Affine { most } => Err(format!("log-scales up to {most}, expected a bound in (0, 20]")),
            Self::Spline { bins, bound } => spline::check(bins, bound),
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
    /// The same on the plane at a level of images: a convolutional net of the part that passes and the condition gives
    /// the numbers. With the second half of the channels changed and split off behind it, this is Glow's learnt prior.
    ImageCoupling {
        /// The level of the plane.
        level: usize,
        /// What is changed.
        change: Part,
        /// The channels behind each convolution but the last: one of 3 × 3 first, then single pixels; the last is of
        /// 3 × 3 again.
        hidden: Vec<usize>,
        /// The net's nonlinearity.
        activation: Activation,
        /// What is done with the changed part.
        transform: Transform,
    },
    /// y = eˢ ∘ x + b, column by column, or channel by channel at a level; Glow's activation norm with the shift b,
    /// NICE's scale without.
    Diagonal {
        /// Whether there is a b. Where there is, both start as the first batch's moments.
        shift: bool,
        /// The level of images whose channels have one s and b each; none for each column its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level: Option<usize>,
    },
    /// z = P L (U + D) x from the data's side to the latent's, D = signs ∘ eˢ; L has ones on its diagonal. x are all
    /// columns, or the channels of each pixel at a level: a convolution of single pixels.
    /// P and the signs follow from `seed`, but a model must not depend on the draws of a generator. A map that was made of
    /// the rows of a table has neither, and the seed 0.
    Linear {
        /// P: row i of the product is row `permutation[i]` of L (U + D).
        permutation: Vec<usize>,
        /// The signs of D.
        signs: Vec<i8>,
        /// Of the random rotation that it starts as.
        seed: u64,
        /// The level of images; none for all columns.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level: Option<usize>,
        /// Whether its part of θ is not learnt: its gradient is 0.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        fixed: bool,
    },
    /// Maps of single columns with heavy tails, from the data's side to the latent's. They are made of the rows before a
    /// training and are not learnt.
    Tails {
        /// One a column; none for a column that stays as it is.
        columns: Vec<Option<HeavyTails>>,
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
    /// The shape of the images that rows are, where layers act on the planes of levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageShape>,
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
    /// Whether it is a coupling, of rows or of images.
    pub fn is_coupling(&self) -> bool {
        matches!(self, Self::Coupling { .. } | Self::ImageCoupling { .. })
    }

    /// Whether it was made of rows and is not learnt.
    pub fn is_fixed(&self) -> bool {
        matches!(self, Self::Linear { fixed: true, .. } | Self::Tails { .. })
    }

    /// The hidden layers, the nonlinearity and the transform of a coupling.
    pub fn conditioner(&self) -> Option<(&[usize], Activation, Transform)> {
        match self {
            Self::Coupling { hidden, activation, transform, .. }
            | Self::ImageCoupling { hidden, activation, transform, .. } => Some((hidden, *activation, *transform)),
            Self::Diagonal { .. } | Self::Linear { .. } | Self::Tails { .. } => None,
        }
    }

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

    /// What is wrong with it.
    fn check(&self, spec: &DiscreteSpec) -> std::result::Result<(), String> {
        let dim = spec.dim;
        match self {
            Self::Diagonal { level, .. } => spec.check_level(*level).map(drop),
            Self::Linear { permutation, signs, level, .. } => {
                let dim = spec.check_level(*level)?.map_or(dim, |shape| shape.channels);
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
            Self::Tails { columns } if columns.len() != dim => {
                Err(format!("it has maps for {} columns", columns.len()))
            }
            Self::Tails { columns } => {
                columns.iter().flatten().try_for_each(|map| map.validate().map_err(|e| e.to_string()))
            }
            Self::Coupling { pass, change, hidden, transform, .. } => {
                let mut all: Vec<usize> = pass.iter().chain(change).copied().collect();
                all.sort_unstable();
                if !all.into_iter().eq(0..dim) || change.is_empty() {
                    return Err("its two halves do not make up its columns".into());
                }
                check_hidden(hidden)?;
                transform.check()
            }
            Self::ImageCoupling { level, change, hidden, transform, .. } => {
                check_hidden(hidden)?;
                transform.check()?;
                spec.check_level(Some(*level))?;
                let rule = spec.rule(self).map_err(|e| e.to_string())?;
                if rule.parts().1.is_empty() {
                    return Err(format!("the part {} of the plane at level {level} is empty", change.name()));
                }
                rule.net().validate().map_err(|e| format!("its net is refused: {e}"))
            }
        }
    }
}

fn check_hidden(hidden: &[usize]) -> std::result::Result<(), String> {
    match hidden.iter().find(|width| **width == 0 || **width > MOST_UNITS) {
        Some(width) => Err(format!("a hidden layer has {width} units, expected 1 to {MOST_UNITS}")),
        None => Ok(()),
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
        // No side is longer than the row, so that the product of all is not too large for a number.
        let fits = |shape: ImageShape| {
            [shape.height, shape.width, shape.channels].iter().all(|side| *side <= self.dim) && shape.len() == self.dim
        };
        if let Some(shape) = self.image.filter(|shape| !fits(*shape)) {
            return Err(Error::invalid(
                format!("a flow of {} columns is not one of {}", self.dim, crate::words::image(shape)),
                "give the shape of the images that the rows are",
            ));
        }
        for (i, layer) in self.layers.iter().enumerate() {
            layer.check(self).map_err(|problem| {
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

    /// The number of couplings.
    pub fn depth(&self) -> usize {
        self.layers.iter().filter(|layer| layer.is_coupling()).count()
    }

    /// How many of the L layers have been passed at `t`, from 0 (the latent) to 1 (the data): ⌊t L⌋, where l / L is l.
    pub fn layers_until(&self, t: f64) -> usize {
        let all = self.layers.len();
        // l / L times L may be the last bit below l.
        ((t * all as f64 * (1.0 + 4.0 * f64::EPSILON)).floor() as usize).min(all)
    }

    /// The counts of layers, from the latent, at which the levels of a flow of images end, the coarsest level first: a
    /// stage between them is in the middle of a level. For rows that are not images the count of all layers.
    pub fn level_ends(&self) -> Vec<usize> {
        let level = |layer: &LayerSpec| match layer {
            LayerSpec::ImageCoupling { level, .. } => Some(*level),
            LayerSpec::Diagonal { level, .. } | LayerSpec::Linear { level, .. } => *level,
            LayerSpec::Coupling { .. } | LayerSpec::Tails { .. } => None,
        };
        let all = self.layers.len();
        let mut ends = Vec::new();
        let mut last = None;
        for (i, layer) in self.layers.iter().enumerate() {
            let Some(level) = level(layer) else { continue };
            if last.replace(level).is_some_and(|last| last != level) {
                ends.push(i);
            }
        }
        ends.push(all);
        ends
    }

    /// The flow without any layer.
    pub(super) fn without_layers(&self) -> Self {
        let Self { kind, dim, condition_dim, image, .. } = *self;
        Self { kind, dim, condition_dim, image, layers: Vec::new() }
    }

    /// The shape of the plane at a level; none without a level.
    fn check_level(&self, level: Option<usize>) -> std::result::Result<Option<ImageShape>, String> {
        let Some(level) = level else { return Ok(None) };
        let Some(image) = self.image else { return Err(format!("it is at level {level} of rows that are not images")) };
        match shape_at(image, level) {
            Some(shape) => Ok(Some(shape)),
            None => Err(format!("{} have no level {level}", crate::words::image(image))),
        }
    }

    /// The rows that a layer at a level acts on, all of them without a level.
    pub(super) fn plane(&self, level: Option<usize>) -> Result<Plane> {
        let found = match (level, self.image) {
            (None, _) => Some(Plane::table(self.dim)),
            (Some(level), Some(image)) => Plane::level(image, level),
            (Some(_), None) => None,
        };
        found.ok_or_else(|| Error::invalid("a layer at a level that the images do not have", "give another level"))
    }

    /// The net of a coupling of images.
    pub(super) fn rule<'a>(&self, layer: &'a LayerSpec) -> Result<Rule<'a>> {
        let LayerSpec::ImageCoupling { level, change, hidden, activation, transform } = layer else {
            return Err(Error::invalid("a layer that is not a coupling of images", "give one that is"));
        };
        let shape = self.check_level(Some(*level)).ok().flatten().ok_or_else(|| {
            Error::invalid(format!("a coupling at level {level}, which the images do not have"), "give another level")
        })?;
        let (level, change, activation, condition_dim) = (*level, *change, *activation, self.condition_dim);
        Ok(Rule { shape, level, change, hidden, activation, numbers: transform.numbers(), condition_dim })
    }
}
