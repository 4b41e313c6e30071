//! Several models of the same data in one figure: their densities, their training curves, and the cost of a sample.
//!
//! Of two columns: a row of densities, all on one colour scale, above a row of samples, all on the same axes. The scale
//! ends where the truth does, or else the sharpest model that the data support, so that one spike does not make the
//! others pale; what lies beyond is of the last colour, and the bar then has a tip. Of one column the densities are
//! curves over the data's histogram; of more, pairs of columns are scattered, and images are shown in grids. Below are
//! two charts: the held-out score as training went, and against the cost of a sample. A model has one tone everywhere.

mod charts;
mod check;
mod grids;
mod maps;

use std::path::Path;

use cnflow_kernels::ImageShape;

use super::colour::Tone;
use super::layout::{self, Figure};
use super::legend::{Entry, Key};
use super::panel::{Grid, Panel};
use super::sheet::PanelGrid;
use super::stats::{outside, outside_note};
use super::{Options, file, overlay};
use crate::error::Result;

/// The cells on whose centres densities are given: equal, over a rectangle or an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cells {
    /// The outer edges along the first axis.
    pub x: (f64, f64),
    /// The outer edges along the second axis; of no meaning where `ny` is 1.
    pub y: (f64, f64),
    /// How many along the first axis.
    pub nx: usize,
    /// How many along the second; 1 for data of one column.
    pub ny: usize,
}

impl Cells {
    /// Their centres in the order of the densities, as [`Grid::centres`].
    pub fn centres(&self) -> Vec<f64> {
        Grid::centres(self.x, self.y, self.nx, self.ny)
    }

    /// The densities on them, in that order.
    fn grid(&self, values: &[f64]) -> Grid {
        Grid { x: self.x, y: self.y, nx: self.nx, ny: self.ny, values: values.to_vec() }
    }
}

/// How rows are shown that are images: data and samples are then those of a grid, row by row, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageGrid {
    /// Of each image; its numbers are the columns of a row.
    pub shape: ImageShape,
    /// Images in a row of the grid.
    pub columns: usize,
}

/// A score at a price.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkPoint {
    /// What a sample costs, above zero: microseconds or evaluations, in the unit of [`Comparison::cost`].
    pub cost: f64,
    /// The held-out negative log-likelihood at that price; +∞ is drawn as an arrow.
    pub nll: f64,
    /// What was set, as `1e-3` or `8 layers`; written beside the mark where there is room, may be empty.
    pub label: String,
}

/// One model of a comparison. What it does not have stays empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contender {
    /// A short name, for headings and the legend.
    pub name: String,
    /// Its density on the cells of the comparison.
    pub density: Option<Vec<f64>>,
    /// `[n, dim]`, row-major; may be empty.
    pub samples: Vec<f64>,
    /// Seconds of training, ascending, and the held-out negative log-likelihood then; may be empty. +∞ is not
    /// drawn.
    pub curve: Vec<(f64, f64)>,
    /// The final held-out negative log-likelihood and its standard error.
    pub end: Option<(f64, f64)>,
    /// The median of the same scores, where few rows carry their mean: it then stands beside the name instead.
    pub median: Option<f64>,
    /// Scores at prices, along the curve that joins them; may be empty.
    pub cost: Vec<WorkPoint>,
}

/// Several models of the same data.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// `[n, dim]`, row-major.
    pub data: &'a [f64],
    /// The number of columns.
    pub dim: usize,
    /// Of more than two columns: the pairs to scatter, a row each; where there are none the first two and the last two.
    pub pairs: &'a [(usize, usize)],
    /// Where rows are images.
    pub images: Option<ImageGrid>,
    /// What all scores are counted in: nats, or bits/dim.
    pub score_unit: &'a str,
    /// Where densities are given, for one or two columns.
    pub cells: Option<Cells>,
    /// The true density on the cells, if known.
    pub truth: Option<&'a [f64]>,
    /// One or more; nine have tones of their own.
    pub contenders: &'a [Contender],
    /// The true entropy, below which no model can stay.
    pub entropy: Option<f64>,
    /// What the cost of a sample is counted in, as the label of an axis.
    pub cost: &'a str,
    /// The names of the rows that the curves of training are scored on, and of those of the final scores.
    pub sets: (&'a str, &'a str),
    /// The width of the picture where the options leave the size to it; `None` is 1200.
    pub width: Option<u32>,
}

impl<'a> Comparison<'a> {
    /// Of data `[n, dim]` and models, with nothing else known.
    pub fn new(data: &'a [f64], dim: usize, contenders: &'a [Contender]) -> Self {
        Self {
            data,
            dim,
            pairs: &[],
            images: None,
            score_unit: "nats",
            cells: None,
            truth: None,
            contenders,
            entropy: None,
            cost: "CPU time of a sample (µs)",
            sets: ("held-out", "held-out"),
            width: None,
        }
    }
}

/// Draw several models of the same data into a file.
///
/// Where the options give a size, the models' panels wrap so as to be largest in it; where they do not, after at most
/// six, and the height follows. Charts, rows and marks for which there are no numbers are left out.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) and [`Error::Dimension`](crate::Error::Dimension) for lengths that do not
/// fit and for what is not finite, with the place; and as for [`panels`](super::panels).
pub fn comparison(path: &Path, c: &Comparison, options: &Options) -> Result<()> {
    check::check(c)?;
    file::check_size(c.width.map(|w| (w, w)), &Options { enlarged: None, ..options.clone() })?;
    let wide = c.width.unwrap_or(1200);
    let mut options = options.clone();
    let shown = if c.images.is_some() { Vec::new() } else { maps::shown(c) };
    let mut bands = match c.images {
        Some(grid) => grids::blocks(c, grid, &options),
        None if c.dim == 1 => vec![histogram(c, &options)],
        None => maps::blocks(c, &shown, wide, &options),
    };
    options.max = options.max.or_else(|| maps::level(c));
    let charts: Vec<Panel> = [charts::training(c), charts::work(c)].into_iter().flatten().collect();
    let keys = if c.dim == 1 || !charts.is_empty() { keys(c) } else { Vec::new() };
    if !charts.is_empty() {
        let alone = charts.len() == 1;
        let mut sheet = PanelGrid::of(&charts, 2);
        (sheet.gap, sheet.shape) = (2.2, if alone { 0.36 } else { 0.62 });
        bands.push(sheet);
    }
    let notes = if c.images.is_some() { Vec::new() } else { notes(c, &shown, &options) };
    layout::draw(path, Figure { bands, keys, wide, one_scale: true, notes }, &options)
}

/// Notes that list the columns shown, and the number of points outside the axes.
fn notes(c: &Comparison, shown: &[maps::Axes], options: &Options) -> Vec<String> {
    let (columns, ranges): (Vec<_>, Vec<_>) = shown.iter().cloned().unzip();
    let (columns, ranges) = (columns.concat(), ranges.concat());
    // Each once, in the order in which they are drawn.
    let mut once: Vec<usize> = Vec::new();
    for column in &columns {
        if !once.contains(column) {
            once.push(*column);
        }
    }
    let mut notes: Vec<String> = options.left_out(&once, c.dim).into_iter().collect();
    let out = |points: &[f64]| outside(points, c.dim, &columns, &ranges);
    let kinds = std::iter::once(("data", c.data)).chain(c.contenders.iter().map(|m| (m.name.as_str(), &m.samples[..])));
    let kinds: Vec<(String, usize, usize)> = kinds
        .enumerate()
        .map(|(k, (name, points))| {
            let name = if k == 0 { name.to_owned() } else { format!("samples of {name}") };
            (name, out(points), points.len() / c.dim)
        })
        .collect();
    let kinds: Vec<(&str, usize, usize)> = kinds.iter().map(|(name, out, n)| (name.as_str(), *out, *n)).collect();
    notes.extend(outside_note(&kinds));
    notes
}

/// One column: every density over the histogram of the data.
fn histogram(c: &Comparison, options: &Options) -> PanelGrid {
    let range = c.cells.map_or_else(|| super::extent(c.data, 1, 0), |cells| cells.x);
    let models: Vec<overlay::Line> = c
        .contenders
        .iter()
        .enumerate()
        .map(|(k, m)| overlay::Line { tone: Tone::Series(k), density: m.density.as_deref(), samples: &m.samples })
        .collect();
    let panel = overlay::panel("", c.data, range, c.truth, &models, options);
    let mut sheet = PanelGrid::new(vec![Some(panel)], 1, 0.0);
    sheet.shape = 0.36;
    sheet
}

/// The legend of everything.
fn keys(c: &Comparison) -> Vec<Entry> {
    let mut keys = Vec::new();
    let mut key = |label: String, tone, key| keys.push(Entry { label, tone, key });
    if c.dim == 1 {
        key("data".into(), Tone::Reference, Key::Swatch);
    }
    let known = c.entropy.map(|entropy| score(entropy, 0.0));
    let truth = match (c.dim == 1 && c.truth.is_some(), known) {
        (true, Some(entropy)) => Some(format!("true density, entropy {entropy}")),
        (true, None) => Some("true density".into()),
        (false, Some(entropy)) => Some(format!("true entropy {entropy}")),
        (false, None) => None,
    };
    if let Some(label) = truth {
        key(label, Tone::Reference, Key::Line { strength: 1.0, dashed: true });
    }
    for (k, m) in c.contenders.iter().enumerate() {
        // Headings hold the scores; without them the legend does.
        let label = if c.dim == 1 { format!("{} {}", m.name, m.note()).trim_end().to_owned() } else { m.name.clone() };
        let mark = if m.cost.is_empty() { Key::Line { strength: 1.0, dashed: false } } else { Key::Marked };
        key(label, Tone::Series(k), mark);
    }
    keys
}

impl Contender {
    /// Its final score in a few words; empty without one.
    fn note(&self) -> String {
        match (self.end, self.median) {
            (Some((nll, _)), Some(median)) => format!("median {}, mean {}", score(median, 0.0), score(nll, 0.0)),
            (Some((nll, se)), None) => score(nll, se),
            (None, _) => String::new(),
        }
    }
}

/// A score with the digits that its standard error leaves, and the error if there is one.
fn score(nll: f64, se: f64) -> String {
    if !nll.is_finite() {
        return "∞".into();
    }
    let digits = if se > 0.0 { (-se.log10()).ceil().clamp(1.0, 4.0) as usize } else { 3 };
    let number = |value: f64| {
        let text = if value.abs() < 1e5 { format!("{value:.digits$}") } else { format!("{value:.2e}") };
        text.replace('-', "−")
    };
    if se > 0.0 { format!("{} ± {}", number(nll), number(se)) } else { number(nll) }
}
