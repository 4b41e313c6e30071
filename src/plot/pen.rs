//! How a picture is drawn: colours, the scale of densities, the size of letters and lines.

use super::colour::{Rgb, Scale, Theme};

/// What all panels of a picture share.
pub(super) struct Style {
    pub theme: Theme,
    pub map: Vec<Rgb>,
    pub scale: Scale,
    /// The density at the end of the colour map.
    pub max: f64,
    /// The size of the text in pixels.
    pub em: f64,
    /// Pixels of an image per output pixel and side.
    pub fine: usize,
}

impl Style {
    /// The width of a hairline.
    pub fn hair(&self) -> f64 {
        (self.em / 15.0).max(0.6)
    }

    /// The length of a tick.
    pub fn tick(&self) -> f64 {
        0.32 * self.em
    }
}
