//! What a panel holds: two axes and layers of marks in data coordinates.

use cnflow_kernels::ImageShape;

use super::colour::Tone;
use crate::error::{Error, Result};

/// Whether one unit is as long on both axes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Aspect {
    /// For maps and scatters whose ranges differ by less than a factor of 2.5.
    #[default]
    Auto,
    /// Always.
    Equal,
    /// Never: the panel fills its room.
    Free,
}

/// One axis of a panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it measures.
    pub label: String,
    /// Its ends, the first below the second.
    pub range: (f64, f64),
    /// Grows leftwards or downwards.
    pub inverted: bool,
    /// Whether it has ticks and a label at all.
    pub ticks: bool,
    /// Equal ratios are equally long; both ends are then positive, and what is not lies beyond the lower one.
    pub log: bool,
}

impl Axis {
    /// An axis with ticks that grows rightwards or upwards.
    pub fn new(label: impl Into<String>, range: (f64, f64)) -> Self {
        Self { label: label.into(), range, inverted: false, ticks: true, log: false }
    }

    /// The same axis with equal ratios equally long.
    pub fn logarithmic(label: impl Into<String>, range: (f64, f64)) -> Self {
        Self { log: true, ..Self::new(label, range) }
    }

    /// Its name, with what the labels of its ticks leave out.
    pub(super) fn words(&self) -> String {
        if self.ticks && !self.log { super::axis::with_offset(&self.label, self.range) } else { self.label.clone() }
    }

    /// What is spread evenly along it.
    fn spread(&self, value: f64) -> f64 {
        match self.log {
            false => value,
            true if value <= 0.0 => f64::NEG_INFINITY,
            true => value.ln(),
        }
    }

    /// The place of `value` along the axis, 0 at its start and 1 at its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let (low, high) = (self.spread(self.range.0), self.spread(self.range.1));
        let part = (self.spread(value) - low) / (high - low);
        if self.inverted { 1.0 - part } else { part }
    }

    /// The value at a place along the axis.
    pub(super) fn value(&self, place: f64) -> f64 {
        let part = if self.inverted { 1.0 - place } else { place };
        let (low, high) = (self.spread(self.range.0), self.spread(self.range.1));
        let value = low + part * (high - low);
        if self.log { value.exp() } else { value }
    }
}

/// A density in equal cells over a rectangle (or, with `ny` = 1, over an interval).
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// The outer edges along the first axis.
    pub x: (f64, f64),
    /// The outer edges along the second axis; of no meaning where `ny` is 1.
    pub y: (f64, f64),
    /// Cells along the first axis.
    pub nx: usize,
    /// Cells along the second axis.
    pub ny: usize,
    /// The density at the cells' centres, `[ny, nx]` row-major, y from low to high.
    pub values: Vec<f64>,
}

impl Grid {
    /// A grid from log-densities in nats; −∞ is a density of 0, and what is not a number stays blank.
    ///
    /// # Errors
    /// [`Error::Dimension`] where there is not one value for each cell.
    pub fn from_log(x: (f64, f64), y: (f64, f64), nx: usize, ny: usize, log_density: &[f64]) -> Result<Self> {
        let grid = Self { x, y, nx, ny, values: log_density.iter().map(|l| l.exp()).collect() };
        grid.check()?;
        Ok(grid)
    }

    /// The cells' centres in the order of the values: `[nx * ny, 2]`, or `[nx, 1]` where `ny` is 1.
    pub fn centres(x: (f64, f64), y: (f64, f64), nx: usize, ny: usize) -> Vec<f64> {
        let at = |(low, high): (f64, f64), i: usize, n: usize| low + (high - low) * (i as f64 + 0.5) / n as f64;
        if ny == 1 {
            return (0..nx).map(|i| at(x, i, nx)).collect();
        }
        (0..ny).flat_map(|j| (0..nx).flat_map(move |i| [at(x, i, nx), at(y, j, ny)])).collect()
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.values.len() != self.nx * self.ny || self.values.is_empty() {
            return Err(Error::Dimension {
                what: "the density on the grid".into(),
                expected: self.nx * self.ny,
                found: self.values.len(),
            });
        }
        let good =
            |(low, high): (f64, f64)| low.is_finite() && high.is_finite() && low < high && (high - low).is_finite();
        if !good(self.x) || (self.ny > 1 && !good(self.y)) {
            let (x, y) = (self.x, self.y);
            return Err(Error::invalid(
                format!("the grid over {x:?} and {y:?} has no area"),
                "give each axis low < high",
            ));
        }
        Ok(())
    }

    /// The greatest finite density, small enough to be an axis' end.
    pub(super) fn max(&self) -> f64 {
        self.values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max).min(1e300)
    }
}

/// Marks of one kind.
#[derive(Debug, Clone)]
pub enum Layer {
    /// A density in colours, on the scale that all panels of the picture share.
    Heat {
        /// The density.
        grid: Grid,
        /// Interpolated between the centres (a model), or cell by cell (counts).
        smooth: bool,
    },
    /// A scatter; the dots' size and opacity follow from their number.
    Dots {
        /// `[n, 2]`.
        points: Vec<f64>,
        /// Whose they are.
        tone: Tone,
        /// Its words in the legend; empty for none.
        label: String,
    },
    /// A line through points; it breaks where they are not finite.
    Curve {
        /// x and y.
        points: Vec<(f64, f64)>,
        /// Whose it is.
        tone: Tone,
        /// How strongly it shows, between 0 and 1.
        strength: f64,
        /// In dashes.
        dashed: bool,
        /// Its words in the legend; empty for none.
        label: String,
    },
    /// The strip between two curves.
    PanelRow {
        /// x, low and high.
        points: Vec<(f64, f64, f64)>,
        /// Whose it is.
        tone: Tone,
    },
    /// Thin lines, each of a tone of its own; they break where they are not finite.
    Threads {
        /// The points of each line, and whose it is.
        lines: Vec<(Vec<(f64, f64)>, Tone)>,
    },
    /// Few marks, each of a tone of its own, above everything that lies below them.
    Discs {
        /// Where, and whose.
        points: Vec<((f64, f64), Tone)>,
    },
    /// Faint words in the middle, as of why there is nothing else.
    Note {
        /// The words.
        text: String,
    },
    /// Measurements on a chart, each with a few words beside it where there is room for them. One that lies above or
    /// below the axis is an arrow at its edge; one that is not a number is not drawn.
    Marks {
        /// Where, and its words.
        points: Vec<((f64, f64), String)>,
        /// Whose they are.
        tone: Tone,
    },
    /// Images in rows that fill the panel.
    Images {
        /// Of each.
        shape: ImageShape,
        /// `[n, d]`, each `[y][x][channel]`, from 0 to 1; what is beyond is cut off, and NaN is left empty.
        images: Vec<f64>,
        /// Images in a row.
        columns: usize,
    },
    /// A histogram in equal bins.
    Bars {
        /// The outer edges of the first and the last bin.
        range: (f64, f64),
        /// One for each bin.
        heights: Vec<f64>,
        /// Whose it is.
        tone: Tone,
        /// Filled, or only its outline.
        filled: bool,
        /// Growing rightwards, with the bins along the second axis.
        sideways: bool,
        /// Its words in the legend; empty for none.
        label: String,
    },
}

/// A pair of axes with layers, the first lowest.
#[derive(Debug, Clone)]
pub struct Panel {
    /// The line above it; may be empty.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn. Maps and scatters lie under curves and bars.
    pub layers: Vec<Layer>,
    /// Whether one unit is as long on both axes.
    pub aspect: Aspect,
}

impl Panel {
    /// Whether it is a map or a scatter rather than a chart of curves.
    pub(super) fn is_map(&self) -> bool {
        let places = |l: &Layer| matches!(l, Layer::Discs { .. } | Layer::Threads { .. });
        self.has_pixels() || self.layers.iter().any(places)
    }

    /// Whether a part of it is an image.
    pub(super) fn has_pixels(&self) -> bool {
        self.layers.iter().any(|l| matches!(l, Layer::Heat { .. } | Layer::Dots { .. }))
    }

    /// Whether there is a density in colours.
    pub(super) fn is_heat(&self) -> bool {
        self.layers.iter().any(|l| matches!(l, Layer::Heat { .. }))
    }

    /// Whether a density in it goes beyond `max`, by more than rounding.
    pub(super) fn exceeds(&self, max: f64) -> bool {
        self.layers.iter().any(|l| matches!(l, Layer::Heat { grid, .. } if grid.max() > 1.001 * max))
    }

    /// Height over width, if the axes are to be drawn equal.
    pub(super) fn ratio(&self) -> Option<f64> {
        let ratio = (self.y.range.1 - self.y.range.0) / (self.x.range.1 - self.x.range.0);
        let equal = match self.aspect {
            _ if self.x.log || self.y.log => false,
            Aspect::Equal => true,
            Aspect::Free => false,
            Aspect::Auto => self.is_map() && (0.4..=2.5).contains(&ratio),
        };
        equal.then_some(ratio)
    }

    /// Whether it can be drawn.
    pub(super) fn check(&self) -> Result<()> {
        for axis in [&self.x, &self.y] {
            let length = axis.range.1 - axis.range.0;
            if !(length > 0.0 && length.is_finite()) {
                return Err(Error::invalid(format!("the axis {:?} has no length", axis.range), "give low < high"));
            }
            if axis.log && axis.range.0 <= 0.0 {
                return Err(Error::invalid(
                    format!("the logarithmic axis {:?} does not begin above zero", axis.range),
                    "give 0 < low < high",
                ));
            }
        }
        for layer in &self.layers {
            match layer {
                Layer::Heat { grid, .. } => grid.check()?,
                Layer::Dots { points, .. } => drop(super::rows(points, 2, "the points")?),
                Layer::Images { shape, images, columns } => {
                    let n = super::rows(images, shape.len(), "the images")?;
                    if n == 0 || *columns == 0 {
                        return Err(Error::invalid("a panel without images", "give at least one image"));
                    }
                }
                Layer::Curve { .. }
                | Layer::PanelRow { .. }
                | Layer::Bars { .. }
                | Layer::Marks { .. }
                | Layer::Note { .. }
                | Layer::Threads { .. }
                | Layer::Discs { .. } => {}
            }
        }
        Ok(())
    }
}
