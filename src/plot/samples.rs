//! Samples beside data, and latents against the standard normal; more than two columns make a corner plot.

use std::path::Path;

use super::colour::Tone;
use super::density::density_axis;
use super::draw::{self, Edges};
use super::layout::{self, Figure, blank, chart, map, noted, pen};
use super::legend::Print;
use super::panel::{Aspect, Axis, Layer, Panel};
use super::scene::Rect;
use super::sheet::PanelGrid;
use super::stats::{bins, extent, histogram, outside, outside_note, padded, quantiles};
use super::{Options, chosen, file, rows};
use crate::error::{Error, Result};

/// A corner plot shows all columns up to this many, and of more, where none are chosen, so many.
const MOST_ALL: usize = 8;
const MOST_COLUMNS: usize = 6;

/// How many columns a corner plot shows at most: in smaller panels no letter is legible.
pub const MOST_CHOSEN: usize = 12;

/// A scatter shows at most this many points of each kind, evenly taken.
const MOST_DOTS: usize = 20_000;

/// A panel of a corner plot shows at most this many.
const MOST_DOTS_EACH: usize = 4_000;

/// Data and samples: two histograms for one column, two scatters for two, a corner plot beyond.
///
/// Both are `[n, d]`. Scatters show equally many of each, evenly taken. The corner plot shows up to eight columns, six
/// evenly chosen ones of more, or those that the options choose; of one or two chosen columns there are histograms or
/// scatters. Small print lists the columns shown, and the number of points outside the axes.
/// Returns the columns shown.
///
/// # Errors
/// [`Error::Invalid`] for columns that the points do not have; as for [`panels`](super::panels).
pub fn samples(path: &Path, data: &[f64], samples: &[f64], d: usize, options: &Options) -> Result<Vec<usize>> {
    rows(data, d, "the data")?;
    rows(samples, d, "the samples")?;
    let shown = shown(d, options)?;
    if shown.len() < d || options.columns.is_some() {
        let (data, samples) = (chosen(data, d, &shown), chosen(samples, d, &shown));
        let missing = options.left_out(&shown, d);
        scattered(path, &data, &samples, shown.len(), missing, &options.of_columns(&shown, 'x'))?;
        return Ok(shown);
    }
    scattered(path, data, samples, d, None, options)?;
    Ok(shown)
}

/// The columns to show of `d`.
fn shown(d: usize, options: &Options) -> Result<Vec<usize>> {
    let Some(columns) = &options.columns else {
        return Ok(match d {
            0..=MOST_ALL => (0..d).collect(),
            _ => (0..MOST_COLUMNS).map(|k| k * (d - 1) / (MOST_COLUMNS - 1)).collect(),
        });
    };
    if let Some(c) = columns.iter().find(|c| **c >= d) {
        let problem = format!("column {c} (counted from 0) of {d} cannot be drawn");
        return Err(Error::invalid(problem, format!("give columns from 0 to {}", d - 1)));
    }
    if let Some(k) = (1..columns.len()).find(|k| columns[..*k].contains(&columns[*k])) {
        return Err(Error::invalid(format!("column {} (counted from 0) is chosen twice", columns[k]), "name it once"));
    }
    if !(1..=MOST_CHOSEN).contains(&columns.len()) {
        let problem = format!("{} columns for one picture", columns.len());
        return Err(Error::invalid(problem, format!("choose 1 to {MOST_CHOSEN} of them")));
    }
    Ok(columns.clone())
}

/// All columns of both.
fn scattered(
    path: &Path,
    data: &[f64],
    samples: &[f64],
    d: usize,
    missing: Option<String>,
    options: &Options,
) -> Result<()> {
    let both = [
        Cloud { points: data, tone: Tone::Data, name: "data" },
        Cloud { points: samples, tone: Tone::Model, name: "samples" },
    ];
    // What is not there needs no place in the legend.
    let there: Vec<Cloud> = both.into_iter().filter(|cloud| !cloud.points.is_empty()).collect();
    let there = if there.is_empty() { &both[..] } else { &there[..] };
    match d {
        1 => {
            let range = both[0].extent(d, 0, &both[1]);
            let notes = missing.into_iter().chain(outside_all(there, d, &[range]));
            noted(path, &[marginal(there, d, 0, range, true, options)], 1, notes, options)
        }
        2 => {
            let fair = fair(&both, d, MOST_DOTS);
            let (x, y) = (both[0].extent(d, 0, &both[1]), both[0].extent(d, 1, &both[1]));
            let scatter =
                |cloud: &Cloud| map(cloud.name, x, y, vec![cloud.dots(cloud.pair(d, 0, 1, fair), false)], options);
            let notes = missing.into_iter().chain(outside_all(there, d, &[x, y]));
            if let [only] = there {
                return noted(path, &[Panel { title: String::new(), ..scatter(only) }], 1, notes, options);
            }
            noted(path, &both.each_ref().map(scatter), 2, notes, options)
        }
        _ => corner(path, there, d, 'x', missing, options),
    }
}

/// A note with the number of rows outside the axes of their columns.
fn outside_all(clouds: &[Cloud], d: usize, ranges: &[(f64, f64)]) -> Option<String> {
    let columns: Vec<usize> = (0..d).collect();
    let kinds: Vec<_> =
        clouds.iter().map(|c| (c.name, outside(c.points, d, &columns, ranges), c.points.len() / d)).collect();
    outside_note(&kinds)
}

/// Latents against the standard normal, with circles at 1, 2 and 3 standard deviations.
///
/// `z` is `[n, d]`. Two columns are one scatter with its marginals at the sides; more make a corner plot.
/// Returns the columns shown.
///
/// # Errors
/// As for [`samples`].
pub fn latents(path: &Path, z: &[f64], d: usize, options: &Options) -> Result<Vec<usize>> {
    rows(z, d, "the latents")?;
    let shown = shown(d, options)?;
    if shown.len() < d || options.columns.is_some() {
        let z = chosen(z, d, &shown);
        normals(path, &z, shown.len(), options.left_out(&shown, d), &options.of_columns(&shown, 'z'))?;
        return Ok(shown);
    }
    normals(path, z, d, None, options)?;
    Ok(shown)
}

/// All columns of latents.
fn normals(path: &Path, z: &[f64], d: usize, missing: Option<String>, options: &Options) -> Result<()> {
    let cloud = [Cloud { points: z, tone: Tone::Data, name: "latents" }];
    match d {
        1 => {
            let range = cloud[0].extent(d, 0, &cloud[0]);
            let mut panel = marginal(&cloud, d, 0, range, true, options);
            panel.x.label = options.name(0, 'z');
            panel.layers.push(normal(range, false, "N(0, 1)"));
            panel.y.range.1 = panel.y.range.1.max(0.45);
            let notes = missing.into_iter().chain(outside_all(&cloud, d, &[range]));
            noted(path, &[panel], 1, notes, options)
        }
        2 => with_marginals(path, &cloud, missing, options),
        _ => corner(path, &cloud, d, 'z', missing, options),
    }
}

/// Points of one kind.
#[derive(Clone, Copy)]
struct Cloud<'a> {
    points: &'a [f64],
    tone: Tone,
    name: &'static str,
}

impl Cloud<'_> {
    /// The range of a column that shows this cloud and `other`.
    fn extent(&self, d: usize, column: usize, other: &Self) -> (f64, f64) {
        if self.points.is_empty() {
            return extent(other.points, d, column);
        }
        if other.points.is_empty() {
            return extent(self.points, d, column);
        }
        let (a, b) = (extent(self.points, d, column), extent(other.points, d, column));
        // The model may stray far; the data decide what is worth seeing.
        let length = a.1 - a.0;
        (a.0.min(b.0.max(a.0 - 0.25 * length)), a.1.max(b.1.min(a.1 + 0.25 * length)))
    }

    fn column(&self, d: usize, column: usize) -> impl Iterator<Item = f64> {
        self.points.iter().skip(column).step_by(d).copied()
    }

    /// Two columns of at most `most` rows, evenly taken.
    fn pair(&self, d: usize, i: usize, j: usize, most: usize) -> Vec<f64> {
        let n = self.points.len() / d;
        let most = most.min(n);
        (0..most).map(|k| d * (k * n / most)).flat_map(|at| [self.points[at + i], self.points[at + j]]).collect()
    }

    fn dots(&self, points: Vec<f64>, named: bool) -> Layer {
        Layer::Dots { points, tone: self.tone, label: if named { self.name.into() } else { String::new() } }
    }
}

/// As many rows as every cloud that has any can give, at most `most`: of unequal numbers the larger looks denser.
fn fair(clouds: &[Cloud], d: usize, most: usize) -> usize {
    clouds.iter().map(|c| c.points.len() / d).filter(|n| *n > 0).fold(most, usize::min)
}

/// The histograms of one column; the first filled, the others outlined.
fn marginal(clouds: &[Cloud], d: usize, column: usize, range: (f64, f64), axis: bool, options: &Options) -> Panel {
    let mut layers = Vec::new();
    let mut highest = 0.0f64;
    // The same bins for all, or they could not be compared.
    let count = bins(fair(clouds, d, usize::MAX)).min(if axis { 80 } else { 40 });
    for (k, cloud) in clouds.iter().enumerate() {
        let heights = histogram(cloud.column(d, column), range, count);
        highest = heights.iter().copied().fold(highest, f64::max);
        let label = if axis { cloud.name.into() } else { String::new() };
        layers.push(Layer::Bars { range, heights, tone: cloud.tone, filled: k == 0, sideways: false, label });
    }
    let top = if highest > 0.0 { 1.15 * highest } else { 1.0 };
    let mut y = if axis { density_axis(top, options) } else { Axis::new("density", (0.0, top)) };
    y.ticks = axis;
    chart("", Axis::new(options.name(column, 'x'), range), y, layers)
}

/// The standard normal's density over a range.
fn normal(range: (f64, f64), sideways: bool, label: &str) -> Layer {
    let points = (0..=200)
        .map(|i| {
            let z = range.0 + (range.1 - range.0) * f64::from(i) / 200.0;
            let p = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
            if sideways { (p, z) } else { (z, p) }
        })
        .collect();
    Layer::Curve { points, tone: Tone::Model, strength: 1.0, dashed: false, label: label.into() }
}

/// The circle of so many standard deviations.
fn circle(radius: f64) -> Layer {
    let points = (0..=180)
        .map(|i| {
            let angle = std::f64::consts::TAU * f64::from(i) / 180.0;
            (radius * angle.cos(), radius * angle.sin())
        })
        .collect();
    Layer::Curve { points, tone: Tone::Model, strength: 1.0, dashed: false, label: String::new() }
}

/// Pairs of columns below the diagonal, each column's histogram on it.
fn corner(
    path: &Path,
    clouds: &[Cloud],
    d: usize,
    letter: char,
    missing: Option<String>,
    options: &Options,
) -> Result<()> {
    let ranges: Vec<(f64, f64)> = (0..d).map(|c| clouds[0].extent(d, c, &clouds[clouds.len() - 1])).collect();
    let latent = letter == 'z';
    let fair = fair(clouds, d, MOST_DOTS_EACH);
    let mut cells: Vec<Option<Panel>> = vec![None; d * d];
    for row in 0..d {
        for column in 0..=row {
            let (i, j) = (column, row);
            let mut panel = if row == column {
                let mut panel = marginal(clouds, d, i, ranges[row], false, options);
                if latent {
                    panel.layers.push(normal(ranges[row], false, ""));
                    panel.y.range.1 = panel.y.range.1.max(0.45);
                }
                panel
            } else {
                let mut layers: Vec<Layer> = clouds.iter().map(|c| c.dots(c.pair(d, i, j, fair), false)).collect();
                if latent {
                    layers.extend([1.0, 2.0, 3.0].map(circle));
                }
                map("", ranges[column], ranges[row], layers, options)
            };
            panel.aspect = Aspect::Free;
            panel.y.inverted = false;
            panel.x.label = options.name(i, letter);
            if row != column {
                panel.y.label = options.name(j, letter);
            }
            cells[row * d + column] = Some(panel);
        }
    }
    // The legend needs no room of its own: the upper right of a corner plot is empty.
    let mut key = chart("", Axis::new("", (0.0, 1.0)), Axis::new("", (0.0, 1.0)), Vec::new());
    (key.x.ticks, key.y.ticks) = (false, false);
    key.layers = clouds.iter().map(|c| c.dots(Vec::new(), true)).collect();
    if latent {
        let points = Vec::new();
        key.layers.push(Layer::Curve {
            points,
            tone: Tone::Model,
            strength: 1.0,
            dashed: false,
            label: "N(0, 1)".into(),
        });
    }
    cells[d - 1] = Some(key);
    // Panels of many columns keep their size.
    let side = 1000.max(166 * d as u32);
    let square = Options { size: options.size.or(Some((side, side))), ..options.clone() };
    let notes = missing.into_iter().chain(outside_all(clouds, d, &ranges)).collect();
    layout::draw(path, Figure { notes, ..Figure::from(PanelGrid::new(cells, d, 0.5)) }, &square)
}

/// A scatter with the histogram of each column at its side.
fn with_marginals(path: &Path, cloud: &[Cloud; 1], missing: Option<String>, options: &Options) -> Result<()> {
    let size = options.size.unwrap_or((700, 700));
    let fine = file::check(path, Some(size), options)?;
    // One range for both, wide enough for two circles.
    let ends = quantiles(cloud[0].points.iter().copied(), 5e-4, 1.0 - 5e-4).map_or(3.2, |(a, b)| a.abs().max(b.abs()));
    let reach = padded(Some((-ends, ends)), 0.06).1.clamp(2.6, 1e12);
    let range = (-reach, reach);

    let mut layers = vec![cloud[0].dots(cloud[0].pair(2, 0, 1, MOST_DOTS), false)];
    layers.extend([1.0, 2.0, 3.0].map(circle));
    let mut main = map("", range, range, layers, options);
    (main.x.label, main.y.label) = (options.name(0, 'z'), options.name(1, 'z'));
    let side = |column: usize, sideways: bool| {
        let mut panel = marginal(cloud, 2, column, range, false, options);
        for layer in &mut panel.layers {
            if let Layer::Bars { sideways: turned, .. } = layer {
                *turned = sideways;
            }
        }
        panel.layers.push(normal(range, sideways, if sideways { "" } else { "N(0, 1)" }));
        panel.y.range.1 = panel.y.range.1.max(0.45);
        if sideways {
            std::mem::swap(&mut panel.x, &mut panel.y);
        }
        panel
    };
    let (above, beside) = (side(0, false), side(1, true));
    [&main, &above, &beside].into_iter().try_for_each(Panel::check)?;

    let (wide, high) = (f64::from(size.0), f64::from(size.1));
    let pen = pen(std::iter::once(&main), wide, 0.7 * wide, fine, options);
    let em = pen.em;
    let head = layout::headroom(options, em);
    let notes: Vec<String> = missing.into_iter().chain(outside_all(cloud, 2, &[range, range])).collect();
    let print = Print::new(&notes, wide - 1.6 * em, em);
    let mut edges = Edges::new(&main, 0.7 * wide, 0.7 * wide, em);
    edges.y_name = edges.widest(0.9 * em) + 1.25 * em;
    let (left, below) = (edges.y_name + 1.5 * em, pen.tick() + 3.2 * em + print.room());
    // The main panel is a square; each marginal is as deep as a fifth of its side.
    let (room, gap) = ((wide - left - 0.8 * em, high - head - below), 0.5 * em);
    let side = ((room.0.min(room.1) - gap) / 1.2).max(4.0);
    let across = 0.5 * (room.0 - 1.2 * side - gap).max(0.0);
    let down = 0.5 * (room.1 - 1.2 * side - gap).max(0.0);
    let frame = Rect { x: left + across, y: head + down + 0.2 * side + gap, w: side, h: side }.snapped();
    let top = Rect { x: frame.x, y: head + down, w: frame.w, h: 0.2 * side }.snapped();
    let right = Rect { x: frame.right() + gap, y: frame.y, w: 0.2 * side, h: frame.h }.snapped();

    let bare = Edges { x: Vec::new(), y: Vec::new(), x_labels: false, y_labels: false, y_name: 0.0 };
    let mut scene = blank(size, options);
    draw::panel(&mut scene, frame, &main, &edges, &pen);
    draw::panel(&mut scene, top, &above, &bare, &pen);
    draw::panel(&mut scene, right, &beside, &bare, &pen);
    print.draw(&mut scene, (frame.x, right.right()), high - 0.8 * em - print.room(), &pen);
    layout::title(&mut scene, frame.x + 0.5 * frame.w, &pen, options);
    file::save(scene, path, options)
}
