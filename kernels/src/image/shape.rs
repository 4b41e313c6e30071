//! The size of an image, and the order of its numbers.

use serde::{Deserialize, Serialize};

/// An image is a row of height · width · channels numbers in the order `[y][x][channel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageShape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Numbers in a pixel.
    pub channels: usize,
}

impl ImageShape {
    /// How many numbers there are.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> usize {
        self.pixels() * self.channels
    }

    /// How many pixels there are.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }
}
