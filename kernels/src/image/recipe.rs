//! The net that images begin with: cheap work for every pixel, dear work on a coarse grid.
//!
//! A stem of 16 channels at full size, scaled and shifted by (time, class); squares of pixels become one, a trunk of
//! three residual blocks of 32 channels on them, and back to full size, added to the stem; a head like the stem. A
//! trunk alone, or a dense net, is worse at twice the cost.

use super::{Embedding, ImageNetSpec, ImageOp, ImageShape};
use crate::Activation;

/// Channels at full size, and on the coarse grid.
const FINE: usize = 16;
const COARSE: usize = 32;
/// Residual blocks on the coarse grid.
const BLOCKS: usize = 3;
/// Units of both layers of the embedding.
const EMBEDDING: usize = 64;

impl ImageNetSpec {
    /// The net for images of `shape` with `aux` further inputs; 91 000 parameters for digits of 28 × 28 pixels.
    ///
    /// The coarse grid has squares of 4 × 4 pixels, of 2 × 2 for images of less than 16 rows or columns, and is as fine
    /// as the image where that has fewer than 4.
    pub fn recipe(shape: ImageShape, aux: usize) -> Self {
        let act = Activation::Silu;
        let factor = match shape.height.min(shape.width) {
            0..4 => 1,
            4..16 => 2,
            _ => 4,
        };
        let conv = |kernel, channels| ImageOp::Conv { kernel, channels, activation: None };
        let modulate = |scale| ImageOp::Modulate { scale, activation: Some(act) };
        let mut ops = vec![conv(3, FINE), modulate(true)];
        let stem = ops.len();
        ops.extend([ImageOp::SpaceToDepth { factor }, conv(1, COARSE)]);
        for _ in 0..BLOCKS {
            let plane = ops.len();
            let add = ImageOp::Add { plane, activation: None };
            ops.extend([conv(3, COARSE), modulate(false), conv(3, COARSE), add]);
        }
        let (height, width) = (shape.height, shape.width);
        ops.extend([
            conv(1, FINE * factor * factor),
            ImageOp::DepthToSpace { factor, height, width },
            ImageOp::Add { plane: stem, activation: None },
            conv(3, FINE),
            modulate(true),
            conv(1, shape.channels),
        ]);
        let embedding = Embedding { layers: vec![EMBEDDING; 2], activation: act };
        Self { shape, aux, embedding: Some(embedding), ops }
    }

    /// The operations of the recipe that begin at zero: the last of each residual block and the last of all.
    ///
    /// A convolution right before an addition, or at the end.
    pub fn starts_at_zero(&self, index: usize) -> bool {
        let conv = |op: &ImageOp| matches!(op, ImageOp::Conv { .. });
        let added = matches!(self.ops.get(index + 1), Some(ImageOp::Add { .. }));
        self.ops.get(index).is_some_and(conv) && (added || index + 1 == self.ops.len())
    }
}
