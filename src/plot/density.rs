//! A density on a grid, alone or beside the data it was fitted to.

use std::path::Path;

use super::colour::{Scale, Tone};
use super::layout::{chart, map, noted};
use super::panel::{Axis, Grid, Layer, Panel};
use super::stats::{bins, counted, histogram, outside, outside_note};
use super::{Options, rows};
use crate::error::Result;

/// Above this many, points are counted in cells instead of drawn.
const MOST_DOTS: usize = 20_000;

/// One density as a map (a curve where the grid has one row), with points over it if there are any.
///
/// `points` is `[n, 2]`, or `[n, 1]` over one row (drawn as a histogram).
///
/// # Errors
/// As for [`panels`](super::panels).
pub fn density(path: &Path, grid: &Grid, points: Option<&[f64]>, options: &Options) -> Result<()> {
    grid.check()?;
    if grid.ny == 1 {
        return alone(path, points.unwrap_or(&[]), grid, "points", options);
    }
    let mut layers = vec![Layer::Heat { grid: grid.clone(), smooth: true }];
    if let Some(points) = points {
        rows(points, 2, "the points")?;
        layers.push(Layer::Dots { points: points.to_vec(), tone: Tone::Model, label: String::new() });
    }
    let notes = beyond(points.unwrap_or(&[]), grid, "points");
    noted(path, &[map("", grid.x, grid.y, layers, options)], 1, notes, options)
}

/// The data on the left, the model's density on the right, on the grid's axes.
///
/// `data` is `[n, 2]`; more than 20 000 points are counted in cells, on the colour scale of the density.
/// Over a grid of one row, `data` is `[n, 1]` and the picture a histogram under the density's curve.
///
/// # Errors
/// As for [`panels`](super::panels).
pub fn density_and_data(path: &Path, data: &[f64], grid: &Grid, options: &Options) -> Result<()> {
    grid.check()?;
    if grid.ny == 1 {
        return alone(path, data, grid, "data", options);
    }
    let n = rows(data, 2, "the data")?;
    let seen = if n > MOST_DOTS {
        let cells = ((n as f64 / 4.0).sqrt() as usize).clamp(60, 220);
        Layer::Heat { grid: counted(data, grid.x, grid.y, cells), smooth: false }
    } else {
        Layer::Dots { points: data.to_vec(), tone: Tone::Data, label: String::new() }
    };
    let model = Layer::Heat { grid: grid.clone(), smooth: true };
    let pair = [map("data", grid.x, grid.y, vec![seen], options), map("model", grid.x, grid.y, vec![model], options)];
    noted(path, &pair, 2, beyond(data, grid, "data"), options)
}

/// The picture of one column.
fn alone(path: &Path, data: &[f64], grid: &Grid, name: &str, options: &Options) -> Result<()> {
    noted(path, &[one_column(data, grid, options)], 1, beyond(data, grid, name), options)
}

/// A note with the number of points outside the grid.
fn beyond(points: &[f64], grid: &Grid, name: &str) -> Option<String> {
    let (d, ranges) = if grid.ny == 1 { (1, vec![grid.x]) } else { (2, vec![grid.x, grid.y]) };
    outside_note(&[(name, outside(points, d, &[0, 1][..d], &ranges), points.len() / d)])
}

/// A logarithmic axis begins at this density at the lowest: ticks near the least number of an f64 lose their digits.
const LEAST: f64 = 1e-290;

/// The axis of densities up to `top`: from 0, or over the decades of a logarithmic scale, as far as [`LEAST`].
pub(super) fn density_axis(top: f64, options: &Options) -> Axis {
    match options.scale {
        Scale::Log(decades) if decades > 0.0 && decades.is_finite() && top > 10.0 * LEAST => {
            Axis::logarithmic("density", ((top * 10f64.powf(-decades)).max(LEAST), top))
        }
        _ => Axis::new("density", (0.0, top)),
    }
}

/// A histogram of `data` under the curve of a one-row grid.
fn one_column(data: &[f64], grid: &Grid, options: &Options) -> Panel {
    let count = bins(data.len());
    let heights = histogram(data.iter().copied(), grid.x, count);
    let highest = heights.iter().copied().fold(grid.max(), f64::max);
    let top = if highest > 0.0 { 1.12 * highest } else { 1.0 };
    let at = Grid::centres(grid.x, grid.y, grid.nx, 1);
    let curve = at.into_iter().zip(grid.values.iter().copied()).collect();
    let mut layers = Vec::new();
    if !data.is_empty() {
        layers.push(Layer::Bars {
            range: grid.x,
            heights,
            tone: Tone::Data,
            filled: true,
            sideways: false,
            label: "data".into(),
        });
    }
    layers.push(Layer::Curve { points: curve, tone: Tone::Model, strength: 1.0, dashed: false, label: "model".into() });
    chart("", Axis::new(options.name(0, 'x'), grid.x), density_axis(top, options), layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_stays_one_over_any_number_of_decades() {
        for (decades, low) in [(6.0, 1e-6), (289.0, 1e-289), (295.0, LEAST), (300.0, LEAST)] {
            let axis = density_axis(1.0, &Options { scale: Scale::Log(decades), ..Options::default() });
            assert!(axis.log && axis.range.1 == 1.0, "{decades}: {axis:?}");
            assert!((axis.range.0 / low - 1.0).abs() < 1e-9, "{decades}: {axis:?}");
        }
        assert!(!density_axis(1.0, &Options::default()).log);
    }

    #[test]
    fn a_picture_over_the_most_decades_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.svg");
        let values = (0..50).map(|i| (-0.1 * f64::from(i)).exp()).collect();
        let grid = Grid { x: (0.0, 1.0), y: (0.0, 1.0), nx: 50, ny: 1, values };
        for decades in [289.0, 295.0, 300.0] {
            density(&path, &grid, None, &Options { scale: Scale::Log(decades), ..Options::default() }).unwrap();
            assert!(std::fs::read_to_string(&path).unwrap().contains("10⁻"), "{decades}");
        }
    }
}
