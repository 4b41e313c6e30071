//! Pictures: each a function from plain arrays to a file.
//!
//! A picture is a few [`Panel`]s of [`Layer`]s; [`panels`] lays them out, and the named pictures
//! ([`density`], [`density_and_data`], [`samples`], [`training_curve`], [`latents`], [`comparison`], [`coverage`], [`overlay`]) only
//! choose them.
//! The file's ending chooses the format: `.png` or `.svg`. The same arrays give the same bytes.
//!
//! What is drawn is first a list of marks in output pixels, then written by one of two short writers.
//! plotters' charts are rejected: their bitmap lines are aliased, their axes unequal, and their SVG
//! coordinates whole pixels. plotters' bitmap backend still sets the text and fills the polygons.

mod animation;
#[cfg(test)]
mod apart;
mod axis;
mod band;
mod bar;
mod colour;
mod comparison;
mod coverage;
mod density;
mod draw;
mod file;
mod image_film;
mod images;
mod journey;
mod layout;
mod legend;
mod marks;
mod overlay;
mod panel;
mod pen;
mod png;
mod raster;
mod samples;
mod scene;
mod sheet;
mod stats;
mod svg;
mod training;

pub use colour::{Scale, Theme, Tone};
pub use comparison::{Cells, Comparison, Contender, ImageGrid, WorkPoint, comparison};
pub use coverage::coverage;
pub use density::{density, density_and_data};
pub use image_film::image_film;
pub use images::{ImageBlock, images};
pub use journey::{Journey, Moment, film, journey};
pub use layout::panels;
pub use overlay::{Overlay, overlay};
pub use panel::{Aspect, Axis, Grid, Layer, Panel};
pub use samples::{MOST_CHOSEN, latents, samples};
pub use stats::extent;
pub use training::{Training, training_curve};

use crate::error::{Error, Result};

/// The options of every picture.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Width and height in pixels; `None` is 1200 wide (700 for a single panel) and as high as the axes need.
    pub size: Option<(u32, u32)>,
    /// Light for print, dark for slides.
    pub theme: Theme,
    /// A line above everything.
    pub title: Option<String>,
    /// How densities become colours.
    pub scale: Scale,
    /// The density at the end of the colours; `None` is the greatest in the picture. One number for several pictures
    /// makes them comparable.
    pub max: Option<f64>,
    /// So many times as large, letters and lines too, 1 to 8; `None` is once.
    pub enlarged: Option<u32>,
    /// Names of the data's columns; those left out are x₀, x₁, … by their numbers, counted from 0.
    pub names: Vec<String>,
    /// Which columns [`samples`] and [`latents`] draw, counted from 0; `None` is all of them, or six
    /// evenly taken ones of more than eight.
    pub columns: Option<Vec<usize>>,
    /// The second axis grows downwards, as magnitudes do.
    pub invert_y: bool,
    /// Whether one unit is as long on both axes.
    pub aspect: Aspect,
}

impl Options {
    /// The name of a column, with the default `letter` and its subscript.
    fn name(&self, column: usize, letter: char) -> String {
        self.names.get(column).cloned().unwrap_or_else(|| {
            let digits = column.to_string();
            let low = digits.bytes().filter_map(|b| char::from_u32(0x2080 + u32::from(b - b'0')));
            std::iter::once(letter).chain(low).collect()
        })
    }

    /// The name of a column of the data: as given, else x₀, x₁, ….
    pub fn column_name(&self, column: usize) -> String {
        self.name(column, 'x')
    }

    /// These columns as a sentence lists them: by their names, or by their numbers where a name is missing.
    pub fn list(&self, columns: &[usize]) -> String {
        let known = |column: usize| self.names.get(column).filter(|name| !name.is_empty());
        let each = columns.iter().map(|c| known(*c).cloned().unwrap_or_else(|| c.to_string()));
        let list = each.collect::<Vec<_>>().join(", ");
        if columns.iter().all(|c| known(*c).is_some()) { list } else { list + " (counted from 0)" }
    }

    /// A note that lists which of `d` columns are shown, where some are not.
    fn left_out(&self, shown: &[usize], d: usize) -> Option<String> {
        let are = if shown.len() == 1 { "is" } else { "are" };
        (shown.len() < d).then(|| format!("{} of {d} columns {are} shown: {}", shown.len(), self.list(shown)))
    }

    /// The same for a table of these columns of the data alone.
    fn of_columns(&self, columns: &[usize], letter: char) -> Self {
        Self { names: columns.iter().map(|c| self.name(*c, letter)).collect(), columns: None, ..self.clone() }
    }
}

/// These columns of `[n, d]` rows.
fn chosen(points: &[f64], d: usize, columns: &[usize]) -> Vec<f64> {
    points.chunks_exact(d).flat_map(|row| columns.iter().map(|c| row[*c])).collect()
}

/// `[n, d]` rows, or an error that names the array.
fn rows(points: &[f64], d: usize, what: &str) -> Result<usize> {
    if d == 0 {
        return Err(Error::invalid(format!("{what} have no columns to draw"), ""));
    }
    if !points.len().is_multiple_of(d) {
        return Err(Error::Dimension { what: format!("the last row of {what}"), expected: d, found: points.len() % d });
    }
    Ok(points.len() / d)
}
