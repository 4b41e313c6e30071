//! The options of a discrete flow.

use cnflow_kernels::ImageShape;
use rand::Rng as _;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::layout::rotation;
use super::plane::{Part, levels, shape_at};
use super::spec::{DiscreteSpec, Kind, LayerSpec, MOST_LAYERS, Transform};
use crate::velocity::Activation;
use crate::{Error, Result, Rng};

/// Which columns a coupling leaves alone, layer after layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mask {
    /// The first half and the second half in turn.
    Halves,
    /// The even columns and the odd ones in turn.
    Parity,
    /// A random half, and then the other one: drawn anew for each pair of layers.
    #[default]
    Random,
}

impl Mask {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Halves, Self::Parity, Self::Random];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Halves => "halves",
            Self::Parity => "parity",
            Self::Random => "random",
        }
    }
}

impl std::str::FromStr for Mask {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|mask| mask.name() == text).ok_or_else(|| Error::Unknown {
            kind: "mask",
            name: text.into(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// The options of a discrete flow; [`Plan::spec`] makes its layers of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Which flow.
    pub kind: Kind,
    /// d.
    pub dim: usize,
    /// The number of conditioning columns.
    pub condition_dim: usize,
    /// Couplings; of images the steps of each level.
    pub depth: usize,
    /// The widths of a conditioner's hidden layers; of images their channels.
    pub hidden: Vec<usize>,
    /// The conditioners' nonlinearity.
    pub activation: Activation,
    /// Which columns a coupling leaves alone; of images the levels decide.
    pub mask: Mask,
    /// Activation norm and an invertible linear map before each coupling; Glow has them always.
    pub linear: bool,
    /// The bins of a spline.
    pub bins: usize,
    /// A spline bends between minus this and this, and is the identity beyond.
    pub bound: f64,
    /// A log-scale is this times the tanh of the conditioner's output.
    pub most: f64,
    /// Rows are images, and the nets are convolutional.
    pub image: Option<ImagePlan>,
}

/// What the flow of images has beside a [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagePlan {
    /// The shape of the images.
    pub shape: ImageShape,
    /// Levels: before each, squares of 2 × 2 pixels become one pixel, and between two, half of the channels is split
    /// off. Images with a side that is odd have one level, without squares.
    pub levels: usize,
}

impl ImagePlan {
    /// The levels of a flow of images that sets none: two, or one where there are no two.
    pub fn usual(shape: ImageShape) -> Self {
        Self { shape, levels: levels(shape).count().min(2) }
    }

    /// The plan of a flow of images, and the steps of its levels; none for a flow of rows.
    pub fn of(spec: &DiscreteSpec) -> Option<(Self, usize)> {
        let shape = spec.image?;
        let couplings = spec.layers.iter().filter_map(|layer| match layer {
            LayerSpec::ImageCoupling { level, change, .. } => Some((*level, *change)),
            _ => None,
        });
        let couplings: Vec<(usize, Part)> = couplings.collect();
        // From the latent on: the coarsest level comes first.
        let coarsest = couplings.first()?.0;
        let levels = 1 + coarsest.saturating_sub(couplings.last()?.0);
        let channels = spec.channels(Some(coarsest));
        // The checkerboards before the first level are no steps.
        let before = |change: &Part| channels > 1 && matches!(change, Part::Even | Part::Odd);
        let steps = couplings.iter().filter(|(level, change)| *level == coarsest && !before(change)).count();
        Some((Self { shape, levels }, steps))
    }
}

impl Plan {
    /// The usual flow of a kind: eight couplings, conditioners of 64-64 with relu (8gaussians, 3000 steps: RealNVP 0.07
    /// nats above the truth with relu, 0.19 with silu).
    pub fn usual(kind: Kind, dim: usize) -> Self {
        Self {
            kind,
            dim,
            condition_dim: 0,
            depth: 8,
            hidden: vec![64, 64],
            activation: Activation::Relu,
            mask: Mask::Random,
            linear: kind == Kind::Glow,
            bins: 8,
            bound: 5.0,
            most: 3.0,
            image: None,
        }
    }

    /// The usual flow of images of a kind: two levels of eight steps, nets of 48 and 48 channels with relu. On MNIST,
    /// in bits per dimension after 650 steps of 32 images, relu had 1.330 where silu had 1.373; with relu, rates of
    /// 3e-3, 5e-3 and 8e-3 had 1.330, 1.314 and 1.303. At the cost of 900 steps with four steps a level and 48
    /// channels, 1.296, eight had 1.296 and 96 channels 1.317.
    pub fn of_images(kind: Kind, shape: ImageShape) -> Self {
        Self {
            depth: 8,
            hidden: vec![48, 48],
            activation: Activation::Relu,
            image: Some(ImagePlan::usual(shape)),
            ..Self::usual(kind, shape.len())
        }
    }

    /// The layers; random halves and rotations come from `rng`.
    ///
    /// # Errors
    /// As [`DiscreteSpec::validate`]; [`Error::Invalid`] for more levels than the images have.
    pub fn spec(&self, rng: &mut Rng) -> Result<DiscreteSpec> {
        let d = self.dim;
        if d == 0 {
            return Err(Error::invalid("a discrete flow without columns", "give at least one column"));
        }
        if self.depth == 0 || self.depth > MOST_LAYERS {
            let hint = format!("give a depth from 1 to {MOST_LAYERS}, such as 8");
            return Err(Error::invalid(format!("a flow of {} couplings", self.depth), hint));
        }
        let transform = match self.kind {
            Kind::Nice => Transform::Additive,
            Kind::RealNvp | Kind::Glow => Transform::Affine { most: self.most },
            Kind::Spline => Transform::Spline { bins: self.bins, bound: self.bound },
        };
        let layers = match &self.image {
            None => self.layers(transform, rng),
            Some(image) => self.image_layers(image, transform, rng)?,
        };
        let image = self.image.map(|image| image.shape);
        let spec = DiscreteSpec { kind: self.kind, dim: d, condition_dim: self.condition_dim, image, layers };
        spec.validate()?;
        Ok(spec)
    }

    /// The layers on columns.
    fn layers(&self, transform: Transform, rng: &mut Rng) -> Vec<LayerSpec> {
        let d = self.dim;
        let mut layers = Vec::new();
        if self.kind == Kind::Nice && !self.linear {
            // Next to the latent: the last layer that data pass on their way.
            layers.push(LayerSpec::Diagonal { shift: false, level: None });
        }
        let mut order: Vec<usize> = match self.mask {
            Mask::Parity => (0..d).step_by(2).chain((1..d).step_by(2)).collect(),
            Mask::Halves | Mask::Random => (0..d).collect(),
        };
        for i in 0..self.depth {
            // Of two columns there is one mask, and two couplings of the same column in a row are no more than one.
            if i % 2 == 0 && self.mask == Mask::Random && (i == 0 || d > 2) {
                order.shuffle(rng);
            }
            let (a, b) = order.split_at(d - d.div_ceil(2));
            // The first coupling changes the larger half; one column alone is always changed.
            let (pass, change) = if i % 2 == 0 || d == 1 { (a, b) } else { (b, a) };
            let sorted = |half: &[usize]| {
                let mut half = half.to_vec();
                half.sort_unstable();
                half
            };
            layers.push(LayerSpec::Coupling {
                pass: sorted(pass),
                change: sorted(change),
                hidden: self.hidden.clone(),
                activation: self.activation,
                transform,
            });
            if self.linear {
                layers.extend([linear(d, None, rng), LayerSpec::Diagonal { shift: true, level: None }]);
            }
        }
        layers
    }

    /// The layers on images: made from the data's side to the latent's, as they are described, then turned round.
    fn image_layers(&self, image: &ImagePlan, transform: Transform, rng: &mut Rng) -> Result<Vec<LayerSpec>> {
        let ImagePlan { shape, levels: wanted } = *image;
        let all = levels(shape);
        let (first, possible) = (*all.start(), all.count());
        if wanted == 0 || wanted > possible {
            return Err(Error::invalid(
                format!("a flow of {wanted} levels of {} pixels", crate::words::image(shape)),
                format!("give 1 to {possible} levels: each halves sides that are even"),
            ));
        }
        let coupling = |level, change| LayerSpec::ImageCoupling {
            level,
            change,
            hidden: self.hidden.clone(),
            activation: self.activation,
            transform,
        };
        let mut layers = Vec::new();
        for level in first..first + wanted {
            let channels = shape_at(shape, level).map_or(0, |plane| plane.channels);
            // One channel has no halves, and one number nothing but itself.
            let parts = match (channels, shape.pixels()) {
                (1, 1) => [Part::Even, Part::Even],
                (1, _) => [Part::Even, Part::Odd],
                _ if self.linear => [Part::Second, Part::Second],
                _ => [Part::Second, Part::First],
            };
            // A single pixel has no checkerboard, but its squares have one.
            let checkered = channels > 1 && (level > 0 || shape.pixels() > 1);
            if level == first && !self.linear && checkered {
                layers.extend([coupling(level, Part::Even), coupling(level, Part::Odd)]);
            }
            for step in 0..self.depth {
                if self.linear {
                    let level = Some(level);
                    layers.extend([LayerSpec::Diagonal { shift: true, level }, linear(channels, level, rng)]);
                }
                layers.push(coupling(level, parts[step % 2]));
            }
            if level + 1 < first + wanted {
                layers.push(coupling(level, Part::Second));
            }
        }
        if self.kind == Kind::Nice && !self.linear {
            layers.push(LayerSpec::Diagonal { shift: false, level: None });
        }
        layers.reverse();
        Ok(layers)
    }
}

/// A linear map of `d` columns or channels that starts as a random rotation.
fn linear(d: usize, level: Option<usize>, rng: &mut Rng) -> LayerSpec {
    let seed = rng.random();
    let (permutation, _, upper) = rotation(d, seed);
    let signs = (0..d).map(|i| if upper[(i, i)] < 0.0 { -1 } else { 1 }).collect();
    LayerSpec::Linear { permutation, signs, seed, level, fixed: false }
}
