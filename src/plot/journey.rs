//! A distribution between the latent and the data: a row of moments, or a film of them.
//!
//! In two columns each moment is a map of the density with particles on it, above the paths that they have travelled
//! so far, or through layers since the moment before. In one column it is the classic picture: p(x, t) as a map over
//! the (t, x) plane with paths on it, between the curves of the two ends. Each path keeps the colour of where its
//! latent was, so that the map can be followed.

use std::path::Path;

use super::animation::{HUES, Still, animation, hold};
use super::colour::Tone;
use super::layout::{Figure, draw};
use super::panel::{Aspect, Axis, Grid, Layer, Panel};
use super::sheet::PanelGrid;
use super::stats::outside_note;
use super::{Options, rows};
use crate::error::{Error, Result};

/// On a map so many particles can be distinguished.
const MOST_DISCS: usize = 200;
/// Over the plane of one column so many paths: more would hide it.
const MOST_LINES: usize = 48;
/// The tail of a particle in a film spans this part of the way.
const TAIL: f64 = 0.12;

/// The whole distribution at one of the times.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Which of the times of the journey.
    pub at: usize,
    /// The density then, where it can be drawn: over the ranges of the journey, with one row if that has one column.
    pub density: Option<Grid>,
}

/// Particles on their way from t = 0 to t = 1, in equal time through each layer where there are layers.
#[derive(Debug, Clone)]
pub struct Journey {
    /// Ascending, within \[0, 1\].
    pub times: Vec<f64>,
    /// Where the way is made of so many layers, l / L is the time after the l-th; the titles then give the layer.
    pub layers: Option<usize>,
    /// 1 or 2 columns.
    pub columns: usize,
    /// `[times, n, columns]`; a particle is not drawn where it is not finite.
    pub places: Vec<f64>,
    /// How many particles leave their path in the picture, evenly taken.
    pub threads: usize,
    /// The range of each column, in which everything is drawn.
    pub ranges: Vec<(f64, f64)>,
    /// The moments to show, in order.
    pub moments: Vec<Moment>,
    /// Of one column: p(x, t) over the (t, x) plane.
    pub plane: Option<Grid>,
}

/// The colour of each particle by where it began, `[n, columns]`: of two columns its direction from the mean, of one
/// its rank from low to high.
fn tones(starts: &[f64], columns: usize) -> Vec<Tone> {
    let n = starts.len() / columns;
    let hue = |turn: f64| Tone::Hue((256 * ((turn * HUES as f64) as usize % HUES) / HUES) as u8);
    if columns == 1 {
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| starts[*a].total_cmp(&starts[*b]));
        let mut all = vec![hue(0.0); n];
        // Not the whole wheel: the lowest must not look like the highest.
        order.iter().enumerate().for_each(|(rank, i)| all[*i] = hue(0.05 + 0.75 * rank as f64 / n as f64));
        return all;
    }
    let mean = |j: usize| {
        let column = || starts.iter().skip(j).step_by(2).filter(|v| v.is_finite());
        column().sum::<f64>() / column().count().max(1) as f64
    };
    let centre = (mean(0), mean(1));
    starts
        .chunks_exact(2)
        .map(|p| hue((p[1] - centre.1).atan2(p[0] - centre.0) / std::f64::consts::TAU + 1.0))
        .collect()
}

impl Journey {
    fn check(&self) -> Result<usize> {
        if !(1..=2).contains(&self.columns) || self.ranges.len() != self.columns {
            return Err(Error::invalid(
                format!("a journey in {}", crate::words::count(self.columns as u64, "column")),
                "choose one or two",
            ));
        }
        let all = rows(&self.places, self.columns, "the particles")?;
        if self.times.is_empty() || !all.is_multiple_of(self.times.len()) {
            let what = "the particles at all times".into();
            return Err(Error::Dimension { what, expected: self.times.len(), found: all });
        }
        if self.moments.is_empty() || self.moments.iter().any(|m| m.at >= self.times.len()) {
            return Err(Error::invalid("a journey without moments to show", "give at least one of its times"));
        }
        Ok(all / self.times.len())
    }

    /// Where particle `i` is at time `k`.
    fn place(&self, k: usize, i: usize, n: usize) -> &[f64] {
        &self.places[(k * n + i) * self.columns..][..self.columns]
    }

    /// A note with the number of the `n` particles outside the axes at a moment that is shown.
    fn beyond(&self, n: usize) -> Option<String> {
        let inside = |k: usize, i: usize| {
            self.place(k, i, n).iter().zip(&self.ranges).all(|(v, range)| (range.0..=range.1).contains(v))
        };
        let out = (0..n).filter(|i| !self.moments.iter().all(|moment| inside(moment.at, *i))).count();
        outside_note(&[("particles, at one of these moments", out, n)])
    }

    /// At most `most` of the particles, evenly taken.
    fn some(most: usize, n: usize) -> impl Iterator<Item = usize> {
        let count = most.min(n);
        (0..count).map(move |k| k * n / count)
    }

    fn starts(&self, n: usize) -> &[f64] {
        &self.places[..n * self.columns]
    }

    /// The greatest density anywhere, for one scale of colours.
    fn greatest(&self) -> Option<f64> {
        let grids = self.moments.iter().filter_map(|m| m.density.as_ref()).chain(&self.plane);
        grids.map(Grid::max).reduce(f64::max).filter(|m| *m > 0.0)
    }
}

/// t = 0, t = 0.25, t = 0.333.
fn said(t: f64) -> String {
    let text = format!("{t:.3}");
    format!("t = {}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The layer that is done at a time.
fn done(t: f64, layers: usize) -> String {
    // l / L may be the last bit below itself.
    format!("layer {} of {layers}", (t * layers as f64 + 1e-9).floor())
}

/// The moments side by side, with the paths of some particles.
///
/// # Errors
/// As for [`super::panels`]; [`Error::Invalid`] or [`Error::Dimension`] for a journey that does not fit itself.
pub fn journey(path: &Path, journey: &Journey, options: &Options) -> Result<()> {
    let n = journey.check()?;
    let options = &Options { max: options.max.or(journey.greatest()), ..options.clone() };
    if journey.columns == 1 {
        let size = options.size.or(Some((1200, 460)));
        let page = Figure::from(plane(journey, n, journey.times.len() - 1, options));
        let page = Figure { notes: journey.beyond(n).into_iter().collect(), ..page };
        return draw(path, page, &Options { size, ..options.clone() });
    }
    let tones = tones(journey.starts(n), 2);
    let cloud: Vec<usize> = (0..n).collect();
    let dense = journey.moments.iter().any(|m| m.density.is_some());
    let mut above = Vec::new();
    let mut below = Vec::new();
    for (k, moment) in journey.moments.iter().enumerate() {
        let mut layers: Vec<Layer> =
            moment.density.iter().map(|grid| Layer::Heat { grid: grid.clone(), smooth: true }).collect();
        let points = cloud.iter().flat_map(|i| journey.place(moment.at, *i, n)).copied().collect();
        let now = journey.times[moment.at];
        let title = journey.layers.map_or_else(|| said(now), |layers| done(now, layers));
        layers.push(Layer::Dots { points, tone: if dense { Tone::Model } else { Tone::Data }, label: String::new() });
        above.push(Some(square(&title, journey, layers, options)));
        let some = || Journey::some(journey.threads, n);
        // Paths through layers turn at each: all of them would hide each other.
        let since = if journey.layers.is_some() { journey.moments[k.saturating_sub(1)].at.min(moment.at) } else { 0 };
        below.push(Some(square("", journey, threads(journey, n, since..=moment.at, some(), &tones), options)));
    }
    let columns = above.len();
    above.extend(below);
    let page = Figure::from(PanelGrid::new(above, columns, 0.7));
    draw(path, Figure { notes: journey.beyond(n).into_iter().collect(), ..page }, options)
}

/// The moments one after another: so many in a second, the last held for so long.
///
/// Returns the length of the file in bytes; `seen` is called for each frame.
///
/// # Errors
/// As for [`journey`], with `.gif` as the only ending.
pub fn film(
    path: &Path,
    journey: &Journey,
    per_second: u32,
    pause: f64,
    options: &Options,
    mut seen: impl FnMut(),
) -> Result<usize> {
    let n = journey.check()?;
    let options = &Options { max: options.max.or(journey.greatest()), ..options.clone() };
    let tones = if journey.columns == 2 { tones(journey.starts(n), 2) } else { Vec::new() };
    let last = journey.moments.len() - 1;
    let stills = journey.moments.iter().enumerate().map(|(k, moment)| {
        let sheet = if journey.columns == 1 {
            plane(journey, n, moment.at, options).with_moment(journey, moment, options)
        } else {
            PanelGrid::new(vec![Some(frame(journey, n, moment, &tones, options))], 1, 0.0)
        };
        seen();
        let now = journey.times[moment.at];
        let title = journey.layers.map_or_else(|| format!("t = {now:.2}"), |layers| done(now, layers));
        Still { sheet, title, hold: hold(k == last, per_second, pause) }
    });
    let natural = if journey.columns == 1 { (760, 420) } else { natural(journey) };
    animation(path, stills, options.size.unwrap_or(natural), options)
}

/// The size of a film of two columns: as high as its axes need.
fn natural(journey: &Journey) -> (u32, u32) {
    let (x, y) = (journey.ranges[0], journey.ranges[1]);
    let ratio = ((y.1 - y.0) / (x.1 - x.0)).clamp(0.4, 1.6);
    (448, 68 + (344.0 * if ratio.is_finite() { ratio } else { 1.0 }) as u32)
}

/// Two columns at one moment of a film: the density, and particles with the last of their paths.
fn frame(journey: &Journey, n: usize, moment: &Moment, tones: &[Tone], options: &Options) -> Panel {
    let mut layers: Vec<Layer> =
        moment.density.iter().map(|grid| Layer::Heat { grid: grid.clone(), smooth: true }).collect();
    let now = journey.times[moment.at];
    let since = journey.times.iter().position(|t| *t >= now - TAIL).unwrap_or(0).min(moment.at);
    layers.extend(threads(journey, n, since..=moment.at, Journey::some(MOST_DISCS, n), tones));
    square("", journey, layers, options)
}

/// The paths over some of the times, and the particles at their ends.
fn threads(
    journey: &Journey,
    n: usize,
    times: std::ops::RangeInclusive<usize>,
    which: impl Iterator<Item = usize>,
    tones: &[Tone],
) -> Vec<Layer> {
    let end = *times.end();
    let (mut lines, mut points) = (Vec::new(), Vec::new());
    for i in which {
        let line: Vec<_> = times.clone().map(|k| journey.place(k, i, n)).map(|p| (p[0], p[1])).collect();
        let p = journey.place(end, i, n);
        points.push(((p[0], p[1]), tones[i]));
        lines.push((line, tones[i]));
    }
    vec![Layer::Threads { lines }, Layer::Discs { points }]
}

/// A panel with the two columns as its axes.
fn square(title: &str, journey: &Journey, layers: Vec<Layer>, options: &Options) -> Panel {
    super::layout::map(title, journey.ranges[0], journey.ranges[1], layers, options)
}

/// One column: the curve at t = 0, the plane with its paths up to a time, and the curve at t = 1; for layers the plane
/// counts them.
fn plane(journey: &Journey, n: usize, until: usize, options: &Options) -> PanelGrid {
    let range = journey.ranges[0];
    let column = |label: bool| {
        let mut axis = Axis::new(if label { options.name(0, 'x') } else { String::new() }, range);
        axis.ticks = label;
        axis
    };
    let tones = tones(journey.starts(n), 1);
    let far = journey.layers.unwrap_or(1) as f64;
    let (mut lines, mut points) = (Vec::new(), Vec::new());
    for i in Journey::some(journey.threads.min(MOST_LINES), n) {
        let at = |k: usize| (far * journey.times[k], journey.place(k, i, n)[0]);
        lines.push(((0..=until).map(at).collect(), tones[i]));
        points.push((at(until), tones[i]));
    }
    let wide = |grid: &Grid| Grid { x: (far * grid.x.0, far * grid.x.1), ..grid.clone() };
    let mut layers: Vec<Layer> =
        journey.plane.iter().map(|grid| Layer::Heat { grid: wide(grid), smooth: true }).collect();
    layers.push(Layer::Threads { lines });
    let whole = until + 1 == journey.times.len();
    let across = if journey.layers.is_some() { "layer" } else { "t" };
    if !whole {
        layers.push(Layer::Discs { points });
    }
    let middle = Panel {
        title: String::new(),
        x: Axis::new(across, (0.0, far)),
        y: column(false),
        layers,
        aspect: Aspect::Free,
    };
    let ends = [journey.moments.first(), journey.moments.last()].map(|m| m.and_then(|m| m.density.as_ref()));
    let highest = journey.moments.iter().filter_map(|m| m.density.as_ref()).map(Grid::max).fold(0.0, f64::max);
    let [first, last] = ends.map(|grid| grid.map(|grid| sideways(grid, highest, column(true))));
    let left = first.map(|mut panel| {
        // It grows towards the left, away from the plane, as the right one grows away from it.
        panel.x.inverted = true;
        panel.x.label = "p(x, 0)".into();
        panel
    });
    let right = last.map(|mut panel| {
        panel.x.label = format!("p(x, {far})");
        (panel.y.ticks, panel.y.label) = (false, String::new());
        panel
    });
    PanelGrid::new(vec![left, Some(middle), right], 3, 2.2).weighted(&[1.0, 3.0, 1.0])
}

impl PanelGrid {
    /// The curve of the moment instead of that of the end.
    fn with_moment(mut self, journey: &Journey, moment: &Moment, options: &Options) -> Self {
        let highest = journey.moments.iter().filter_map(|m| m.density.as_ref()).map(Grid::max).fold(0.0, f64::max);
        let mut y = Axis::new(options.name(0, 'x'), journey.ranges[0]);
        y.ticks = false;
        if let (Some(grid), Some(cell)) = (&moment.density, self.cells.last_mut()) {
            let mut panel = sideways(grid, highest, y);
            panel.x.label = if journey.layers.is_some() { "p(x, layer)" } else { "p(x, t)" }.into();
            *cell = Some(panel);
        }
        self
    }
}

/// The density of one column growing rightwards, filled.
fn sideways(grid: &Grid, highest: f64, y: Axis) -> Panel {
    let at = Grid::centres(grid.x, grid.y, grid.nx, 1);
    let curve = grid.values.iter().copied().zip(at).collect();
    let bars = Layer::Bars {
        range: grid.x,
        heights: grid.values.clone(),
        tone: Tone::Data,
        filled: true,
        sideways: true,
        label: String::new(),
    };
    let line = Layer::Curve { points: curve, tone: Tone::Data, strength: 1.0, dashed: false, label: String::new() };
    let top = if highest > 0.0 { 1.08 * highest } else { 1.0 };
    Panel { title: String::new(), x: Axis::new("", (0.0, top)), y, layers: vec![bars, line], aspect: Aspect::Free }
}
