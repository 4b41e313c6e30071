//! A net of operations on images, as data.
//!
//! Plane 0 is the image, plane k + 1 what operation k gives; each operation reads the plane before it, and an addition
//! a second, earlier one. An embedding of `aux` (time, a class) is a dense net of its own; one last dense layer makes
//! of it all scales and shifts of the net at once. So θ is
//!
//! - the embedding: W `[layer, before]` row-major, then b, for each layer of [`Embedding::layers`]; then the same for
//!   the layer of modulations, whose rows are those of the modulated operations in order, C scales (where there are
//!   any) before C shifts;
//! - each convolution in order: W `[out, ky, kx, in]`, then b `[out]`.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::ImageShape;
use super::point::Curve;
use crate::net::LARGEST;
use crate::{Activation, Error, NetSpec, Result};

/// A net of operations on images of one shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageNetSpec {
    /// Plane 0.
    pub shape: ImageShape,
    /// How many numbers a lane has beside its image: features of time, a class. They are never differentiated.
    pub aux: usize,
    /// What the modulations are made of; needed where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Embedding>,
    /// From plane 0 on.
    pub ops: Vec<ImageOp>,
}

/// Where the parameters of a net lie in θ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageParams {
    /// Of each layer of the embedding; the last is that of the modulations. None where nothing is modulated.
    pub embedding: Vec<Range<usize>>,
    /// Of each operation; empty for one without parameters.
    pub ops: Vec<Range<usize>>,
}

/// Dense layers on `aux`, with an activation behind each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Their widths.
    pub layers: Vec<usize>,
    /// σ.
    pub activation: Activation,
}

/// An operation on the plane before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ImageOp {
    /// σ(W ∗ x + b), the plane surrounded by zeros.
    Conv {
        /// 1 or 3: the width and height of the kernel.
        kernel: usize,
        /// How many channels it gives.
        channels: usize,
        /// σ; the identity where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        activation: Option<Activation>,
    },
    /// Squares of factor · factor pixels become one, channels `[dy][dx][channel]`; what is missing at the edges is
    /// zero.
    SpaceToDepth {
        /// The side of the squares.
        factor: usize,
    },
    /// The inverse, cut to `height` and `width`.
    DepthToSpace {
        /// The side of the squares.
        factor: usize,
        /// Rows of pixels.
        height: usize,
        /// Pixels in a row.
        width: usize,
    },
    /// σ(x ∘ (1 + s) + b), one s and one b a channel, from the embedding.
    Modulate {
        /// With s; otherwise shifts only.
        scale: bool,
        /// σ; the identity where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        activation: Option<Activation>,
    },
    /// σ(x + an earlier plane).
    Add {
        /// Which: 0 is the image, k + 1 what operation k gives.
        plane: usize,
        /// σ; the identity where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        activation: Option<Activation>,
    },
    /// at · tanh(x / at): x itself near zero, and no more than `at`.
    Bound {
        /// The bound.
        at: u32,
    },
    /// σ(x).
    Activate {
        /// σ.
        activation: Activation,
    },
}

impl ImageOp {
    /// σ.
    pub fn activation(&self) -> Option<Activation> {
        match *self {
            Self::Conv { activation, .. } | Self::Modulate { activation, .. } | Self::Add { activation, .. } => {
                activation
            }
            Self::Activate { activation } => Some(activation),
            Self::SpaceToDepth { .. } | Self::DepthToSpace { .. } | Self::Bound { .. } => None,
        }
    }

    /// What is done with each number at the end.
    pub(super) fn curve(&self) -> Option<Curve> {
        match *self {
            Self::Bound { at } => Some(Curve::Bound(at)),
            _ => self.activation().map(Curve::Activation),
        }
    }

    /// Rows of the layer of modulations, on `channels` channels.
    fn modulations(&self, channels: usize) -> usize {
        match self {
            Self::Modulate { scale, .. } => channels * (1 + usize::from(*scale)),
            _ => 0,
        }
    }

    /// The length of its own part of θ, on `channels` channels.
    fn n_params(&self, channels: usize) -> usize {
        match *self {
            Self::Conv { kernel, channels: out, .. } => out * (kernel * kernel * channels + 1),
            _ => 0,
        }
    }

    /// The shape of what it gives.
    fn shape(&self, index: usize, x: ImageShape) -> Result<ImageShape> {
        match *self {
            Self::Conv { kernel, channels, .. } => {
                if kernel != 1 && kernel != 3 {
                    return Err(Error::Kernel { index, kernel });
                }
                Ok(ImageShape { channels, ..x })
            }
            Self::SpaceToDepth { factor } => {
                check_factor(index, factor)?;
                let channels = x.channels.saturating_mul(factor).saturating_mul(factor);
                Ok(ImageShape { height: x.height.div_ceil(factor), width: x.width.div_ceil(factor), channels })
            }
            Self::DepthToSpace { factor, height, width } => {
                check_factor(index, factor)?;
                let square = factor.saturating_mul(factor);
                let fits = (height.div_ceil(factor), width.div_ceil(factor)) == (x.height, x.width);
                if !fits || !x.channels.is_multiple_of(square) {
                    let found = [x.height, x.width, x.channels];
                    return Err(Error::Spread { index, factor, found, height, width });
                }
                Ok(ImageShape { height, width, channels: x.channels / square })
            }
            Self::Bound { at } => {
                check_size(at as usize, || format!("the bound of operation {index}"))?;
                Ok(x)
            }
            Self::Modulate { .. } | Self::Add { .. } | Self::Activate { .. } => Ok(x),
        }
    }
}

fn check_factor(index: usize, factor: usize) -> Result<()> {
    check_size(factor, || format!("the factor of operation {index}"))
}

fn check_size(size: usize, what: impl Fn() -> String) -> Result<()> {
    match size {
        0 => Err(Error::Empty { what: what() }),
        1..=LARGEST => Ok(()),
        _ => Err(Error::TooLarge { what: what(), size, most: LARGEST }),
    }
}

fn check_plane(what: impl Fn() -> String, shape: ImageShape) -> Result<ImageShape> {
    let ImageShape { height, width, channels } = shape;
    let size = height.saturating_mul(width).saturating_mul(channels);
    // A product of zero may stand beside a size that overflows.
    let largest = height.max(width).max(channels).max(size);
    match (size, largest) {
        (0, _) => Err(Error::Empty { what: what() }),
        (_, 1..=LARGEST) => Ok(shape),
        (_, size) => Err(Error::TooLarge { what: what(), size, most: LARGEST }),
    }
}

impl ImageNetSpec {
    /// The shapes of all planes, the image first, of a spec that [`ImageNetSpec::validate`] accepts.
    ///
    /// # Errors
    /// [`Error::Empty`] or [`Error::TooLarge`] for a plane; [`Error::Kernel`]; [`Error::Spread`].
    pub fn shapes(&self) -> Result<Vec<ImageShape>> {
        let mut last = check_plane(|| "the image".into(), self.shape)?;
        let mut shapes = vec![last];
        for (index, op) in self.ops.iter().enumerate() {
            last = check_plane(|| format!("the result of operation {index}"), op.shape(index, last)?)?;
            shapes.push(last);
        }
        Ok(shapes)
    }

    /// Checks the spec.
    ///
    /// # Errors
    /// [`Error::NoLayers`]; as [`ImageNetSpec::shapes`]; [`Error::Plane`] or [`Error::Planes`] for an addition;
    /// [`Error::Unembedded`] for a modulation without an embedding; [`Error::Empty`] or [`Error::TooLarge`] for a size.
    pub fn validate(&self) -> Result<()> {
        if self.ops.is_empty() {
            return Err(Error::NoLayers);
        }
        let shapes = self.shapes()?;
        for (index, op) in self.ops.iter().enumerate() {
            match *op {
                ImageOp::Add { plane, .. } if plane >= index => return Err(Error::Plane { index, plane }),
                ImageOp::Add { plane, .. } if shapes[plane] != shapes[index] => {
                    let numbers = |shape: ImageShape| [shape.height, shape.width, shape.channels];
                    let (expected, found) = (numbers(shapes[index]), numbers(shapes[plane]));
                    return Err(Error::Planes { index, plane, expected, found });
                }
                ImageOp::Modulate { .. } if self.embedding.is_none() => return Err(Error::Unembedded { index }),
                _ => {}
            }
        }
        if let Some(size) = Some(self.modulations(&shapes)).filter(|size| *size > LARGEST) {
            return Err(Error::TooLarge { what: "the layer of modulations".into(), size, most: LARGEST });
        }
        if let Some(net) = self.embedding_net(&shapes) {
            net.validate()?;
        }
        Ok(())
    }

    /// Rows of the layer of modulations.
    pub(super) fn modulations(&self, shapes: &[ImageShape]) -> usize {
        self.ops.iter().zip(shapes).map(|(op, x)| op.modulations(x.channels)).sum()
    }

    /// The dense net from `aux` to the modulations; none where nothing is modulated.
    pub(super) fn embedding_net(&self, shapes: &[ImageShape]) -> Option<NetSpec> {
        let (embedding, rows) = (self.embedding.as_ref()?, self.modulations(shapes));
        let mut sizes = vec![self.aux];
        sizes.extend(&embedding.layers);
        sizes.push(rows);
        (rows > 0).then(|| NetSpec::mlp(&sizes, embedding.activation, 0))
    }

    /// Where the parameters lie in θ.
    ///
    /// # Errors
    /// As [`ImageNetSpec::shapes`].
    pub fn params(&self) -> Result<ImageParams> {
        let shapes = self.shapes()?;
        let embedding = self.embedding_net(&shapes).map_or_else(Vec::new, |net| net.params());
        let mut at = embedding.last().map_or(0, |last| last.end);
        let of = |(op, x): (&ImageOp, &ImageShape)| {
            let range = at..at + op.n_params(x.channels);
            at = range.end;
            range
        };
        let ops = self.ops.iter().zip(&shapes).map(of).collect();
        Ok(ImageParams { embedding, ops })
    }

    /// The length of θ; 0 where the spec is not valid.
    pub fn n_params(&self) -> usize {
        self.params().ok().and_then(|params| Some(params.ops.last()?.end)).unwrap_or(0)
    }

    /// The shape of the last plane; that of the image where the spec is not valid.
    pub fn outputs(&self) -> ImageShape {
        self.shapes().ok().and_then(|shapes| shapes.last().copied()).unwrap_or(self.shape)
    }
}
