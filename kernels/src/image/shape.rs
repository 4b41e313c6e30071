//! The shape of an image as a row of numbers: `[y][x][channel]`.

use serde::{Deserialize, Serialize};

/// Height, width and channels of an image, whose numbers are in the order `[y][x][channel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageShape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel: 1 for grey, 3 for colour.
    pub channels: usize,
}

impl ImageShape {
    /// The numbers of an image: d.
    pub fn len(self) -> usize {
        self.pixels() * self.channels
    }

    /// Whether there is no number in it.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The pixels of an image.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }
}
