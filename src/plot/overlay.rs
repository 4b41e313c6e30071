//! One column: the density of each model over a histogram of the data, for several data sets side by side.
//!
//! Where there are no data, the curve of a model's density stands above the bare axis. A curve far higher than the data
//! and the truth is cut off, or it would press all others into a line.

use std::path::Path;

use super::colour::Tone;
use super::layout::{self, Figure, chart};
use super::legend::{Entry, Key};
use super::panel::{Axis, Grid, Layer, Panel};
use super::sheet::PanelGrid;
use super::stats::{bins, histogram, outside, outside_note, quantiles};
use super::{Options, rows};
use crate::error::{Error, Result};

/// Curves end this many times above the data and the truth.
const MOST_ABOVE: f64 = 2.2;

/// Data of one column, and the models' densities.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// Above the panel; may be empty.
    pub title: &'a str,
    /// `[n]`; may be empty.
    pub data: &'a [f64],
    /// The interval to show; densities are given at the centres of equal cells of it, as by [`Grid::centres`] of one
    /// row.
    pub range: (f64, f64),
    /// The true density, if known.
    pub truth: Option<&'a [f64]>,
    /// Each model's name and density. A name has the same tone in all panels: that of its first mention.
    pub models: &'a [(&'a str, &'a [f64])],
}

/// Draw overlays side by side, with one legend below; more than three are in two rows.
///
/// # Errors
/// [`Error::Invalid`] for a range without length, for an empty density and for what is not finite, with the place; and
/// as for [`panels`](super::panels).
pub fn overlay(path: &Path, overlays: &[Overlay], options: &Options) -> Result<()> {
    overlays.iter().try_for_each(check)?;
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in overlays.iter().flat_map(|o| o.models) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let panel = |o: &Overlay| {
        let tone = |name: &str| Tone::Series(names.iter().position(|n| *n == name).unwrap_or(0));
        let lines: Vec<Line> =
            o.models.iter().map(|(name, p)| Line { tone: tone(name), density: Some(*p), samples: &[] }).collect();
        panel(o.title, o.data, o.range, o.truth, &lines, options)
    };
    let panels: Vec<Panel> = overlays.iter().map(panel).collect();
    let columns = if panels.len() > 3 { panels.len().div_ceil(2) } else { panels.len() };
    let mut sheet = PanelGrid::of(&panels, columns);
    (sheet.gap, sheet.shape) = (2.0, if panels.len() == 1 { 0.56 } else { 0.72 });
    let mut keys = Vec::new();
    if overlays.iter().any(|o| !o.data.is_empty()) {
        keys.push(Entry { label: "data".into(), tone: Tone::Reference, key: Key::Swatch });
    }
    if overlays.iter().any(|o| o.truth.is_some()) {
        let key = Key::Line { strength: 1.0, dashed: true };
        keys.push(Entry { label: "true density".into(), tone: Tone::Reference, key });
    }
    keys.extend(names.iter().enumerate().map(|(k, name)| {
        let key = Key::Line { strength: 1.0, dashed: false };
        Entry { label: (*name).into(), tone: Tone::Series(k), key }
    }));
    let names: Vec<String> = overlays.iter().map(|o| format!("data {}", o.title)).collect();
    let kinds: Vec<(&str, usize, usize)> = overlays
        .iter()
        .zip(&names)
        .map(|(o, name)| (name.as_str(), outside(o.data, 1, &[0], &[o.range]), o.data.len()))
        .collect();
    let notes = outside_note(&kinds).into_iter().collect();
    layout::draw(path, Figure { keys, notes, ..Figure::from(sheet) }, options)
}

/// What is wrong with it.
fn check(o: &Overlay) -> Result<()> {
    let length = o.range.1 - o.range.0;
    if !(length > 0.0 && length.is_finite()) {
        return Err(Error::invalid(
            format!("the range {:?} of `{}` has no length", o.range, o.title),
            "give low < high",
        ));
    }
    rows(o.data, 1, "the data")?;
    if let Some(k) = o.data.iter().position(|v| !v.is_finite()) {
        let problem = format!("the data of `{}` hold {} in row {k} (from 0)", o.title, o.data[k]);
        return Err(Error::invalid(problem, "leave such rows out, and report their number"));
    }
    for (name, density) in o.truth.iter().map(|t| ("truth", *t)).chain(o.models.iter().copied()) {
        if density.is_empty() {
            let problem = format!("the density of `{name}` over `{}` has 0 numbers", o.title);
            return Err(Error::invalid(problem, "give one for each cell of the range"));
        }
        if let Some(k) = density.iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
            let problem =
                format!("the density of `{name}` over `{}` holds {} in cell {k} (from 0)", o.title, density[k]);
            return Err(Error::invalid(problem, "give finite densities of at least 0"));
        }
    }
    Ok(())
}

/// A model in the panel: its density, or where it has none the histogram of its samples.
pub(super) struct Line<'a> {
    pub tone: Tone,
    pub density: Option<&'a [f64]>,
    pub samples: &'a [f64],
}

/// The histogram of the data, the models' curves over it, the truth over all in dashes.
pub(super) fn panel(
    title: &str,
    data: &[f64],
    range: (f64, f64),
    truth: Option<&[f64]>,
    models: &[Line],
    options: &Options,
) -> Panel {
    let curve = |density: &[f64], tone: Tone, dashed: bool| {
        let at = Grid::centres(range, (0.0, 1.0), density.len(), 1);
        let points = at.into_iter().zip(density.iter().copied()).collect();
        Layer::Curve { points, tone, strength: 1.0, dashed, label: String::new() }
    };
    let bars = |points: &[f64], tone: Tone, filled: bool| {
        // As fine as where the points alone set the range.
        let spread = quantiles(points.iter().copied(), 0.01, 0.99).map_or(1.0, |(low, high)| high - low);
        let finer = ((range.1 - range.0) / spread.max(1e-9 * (range.1 - range.0))).clamp(1.0, 5.0);
        let heights = histogram(points.iter().copied(), range, (0.55 * finer * bins(points.len()) as f64) as usize);
        Layer::Bars { range, heights, tone, filled, sideways: false, label: String::new() }
    };
    let mut layers = Vec::new();
    if !data.is_empty() {
        layers.push(bars(data, Tone::Reference, true));
    }
    let highest = |layers: &[Layer]| layers.iter().map(peak).fold(0.0, f64::max);
    let known = highest(&layers).max(truth.map_or(0.0, |t| t.iter().copied().fold(0.0, f64::max)));
    for model in models {
        match model.density {
            Some(density) => layers.push(curve(density, model.tone, false)),
            None if !model.samples.is_empty() => layers.push(bars(model.samples, model.tone, false)),
            None => {}
        }
    }
    layers.extend(truth.map(|t| curve(t, Tone::Reference, true)));
    let seen = highest(&layers);
    let top = if known > 0.0 { seen.min(MOST_ABOVE * known) } else { seen };
    // Nor can what is beyond 1e300 be an axis' end.
    let top = if top > 0.0 { 1.08 * top.clamp(1e-290, 1e300) } else { 1.0 };
    chart(title, Axis::new(options.name(0, 'x'), range), super::density::density_axis(top, options), layers)
}

/// The greatest density of a layer.
fn peak(layer: &Layer) -> f64 {
    match layer {
        Layer::Bars { heights, .. } => heights.iter().copied().fold(0.0, f64::max),
        Layer::Curve { points, .. } => points.iter().map(|p| p.1).fold(0.0, f64::max),
        _ => 0.0,
    }
}
