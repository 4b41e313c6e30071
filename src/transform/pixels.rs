//! Images as data of a model: their shape, their grey levels, and the two layers that turn these into real numbers.
//!
//! The level maps' numbers follow from how frequent the levels are among the training's pixels: these counts are what a
//! model file holds, so that no number is rounded by its text.

use std::sync::Arc;

use cnflow_kernels::ImageShape;
use serde::{Deserialize, Serialize};

use super::dequantise::Integers;
use super::{Bijection, BinNoise, Dequantise, LevelMap, LevelScale, Levels, Mapped};
use crate::{Error, Result};

/// The most levels of a byte.
const MOST_LEVELS: usize = 256;
/// Where all bytes are below this, there are only as many levels as occur.
const HALF: usize = 128;

/// What the images of a model are, and how their pixels become real numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pixels {
    /// Height, width, channels.
    pub shape: ImageShape,
    /// How often each grey level occurs among the training's pixels: one entry a level, so that its length is their
    /// number.
    pub counts: Vec<u64>,
    /// How levels are mapped to real numbers.
    #[serde(default)]
    pub scale: LevelScale,
    /// The noise within a level.
    #[serde(default)]
    pub noise: BinNoise,
}

/// What the layers of [`Pixels`] add to log P, a number an image: log P = log p(y) + `slope` + `noise`, in nats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PixelTerms {
    /// ln|dy/dv|.
    pub slope: Vec<f64>,
    /// −ln q(u).
    pub noise: Vec<f64>,
}

impl Pixels {
    /// Of the training's images, `[n, d]`. There are 256 levels, or, where no byte of `train` and `others` is above
    /// 127, one more than the largest of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] where all bytes are 0.
    pub fn fit(shape: ImageShape, train: &[u8], others: &[&[u8]]) -> Result<Self> {
        let count = |bytes: &[u8]| {
            let mut counts = vec![0u64; MOST_LEVELS];
            bytes.iter().for_each(|v| counts[usize::from(*v)] += 1);
            counts
        };
        let largest = |bytes: &[u8]| bytes.iter().copied().max().map_or(0, usize::from);
        let most = others.iter().map(|bytes| largest(bytes)).fold(largest(train), usize::max);
        if most == 0 {
            return Err(Error::invalid("all pixels of the images are 0", "give images that differ"));
        }
        let mut counts = count(train);
        counts.truncate(Self::levels_upto(most));
        Ok(Self { shape, counts, scale: LevelScale::default(), noise: BinNoise::default() })
    }

    /// The number of grey levels of images whose largest byte is `most`: 256, or for dark ones only as many as occur.
    pub fn levels_upto(most: usize) -> usize {
        if most < HALF { most + 1 } else { MOST_LEVELS }
    }

    /// d.
    pub fn dim(&self) -> usize {
        self.shape.len()
    }

    /// The number of grey levels.
    pub fn levels(&self) -> usize {
        self.counts.len()
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn validate(&self) -> Result<()> {
        let ImageShape { height, width, channels } = self.shape;
        let sizes = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels));
        if sizes.is_none_or(|sizes| sizes == 0) {
            return Err(Error::invalid("images without a pixel", "give images of at least one pixel"));
        }
        if self.counts.len() > MOST_LEVELS {
            return Err(Error::invalid(format!("{} grey levels", self.counts.len()), "give at most 256"));
        }
        self.map().map(drop)
    }

    /// The map of a pixel.
    ///
    /// # Errors
    /// As [`LevelMap::new`].
    pub fn map(&self) -> Result<LevelMap> {
        LevelMap::new(self.scale, &self.counts, self.noise)
    }

    /// The layers, with the noise of a seed and a draw.
    ///
    /// # Errors
    /// As [`Pixels::validate`].
    pub fn layers(&self, seed: u64, draw: u64) -> Result<PixelLayers> {
        let whole = Integers { low: 0.0, high: self.counts.len() as f64 - 1.0 };
        let noise = Dequantise::new(vec![Some(whole); self.dim()], self.noise)?.drawn(seed, draw);
        Ok(PixelLayers { levels: Arc::new(Levels::new(self.map()?, self.dim())), noise: Arc::new(noise) })
    }

    /// The images `x` (`[n, d]`) on the architecture's side, with the noise of a seed and a draw; NaN where an image
    /// has a level that is not one of these.
    ///
    /// # Errors
    /// [`Error::Dimension`] for incomplete rows.
    pub fn inward(&self, x: Vec<f64>, seed: u64, draw: u64) -> Result<Vec<f64>> {
        let layers = self.layers(seed, draw)?;
        let mut rows = Mapped::points(layers.dequantised(x)?);
        layers.levels.inverse(&mut rows, &[])?;
        Ok(rows.y)
    }
}

/// The layers of images, with the noise of one seed and draw.
#[derive(Clone, Debug)]
pub struct PixelLayers {
    levels: Arc<Levels>,
    noise: Arc<Dequantise>,
}

impl PixelLayers {
    /// Both as bijections, the architecture's side first.
    pub fn bijections(&self) -> [Arc<dyn Bijection>; 2] {
        [self.levels.clone(), self.noise.clone()]
    }

    /// The map of the levels.
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// The images `x` (`[n, d]`) with their noise, v = k + u.
    ///
    /// # Errors
    /// [`Error::Dimension`] for incomplete rows.
    pub fn dequantised(&self, x: Vec<f64>) -> Result<Vec<f64>> {
        let mut rows = Mapped::points(x);
        self.noise.inverse(&mut rows, &[])?;
        Ok(rows.y)
    }

    /// What the layers add to the log-probability of the images `x` (`[n, d]`).
    ///
    /// # Errors
    /// [`Error::Dimension`] for incomplete rows.
    pub fn terms(&self, x: &[f64]) -> Result<PixelTerms> {
        let d = self.levels.dim();
        let mut rows = Mapped::new(x.to_vec(), d);
        self.noise.inverse(&mut rows, &[])?;
        let noise = std::mem::replace(&mut rows.logdet, vec![0.0; x.len() / d]);
        self.levels.inverse(&mut rows, &[])?;
        Ok(PixelTerms { slope: rows.logdet, noise })
    }
}
