//! Panels on the page: margins as wide as the labels ask, equal axes, one colour bar for all.

use std::path::Path;

use super::Options;
use super::axis::{decades, fitting};
use super::colour::Scale;
use super::draw::{self, Edges, Pen};
use super::file;
use super::panel::{Aspect, Layer, Panel};
use super::scene::{Anchor, Mark, Rect, Scene, width};
use crate::error::{Error, Result};

/// Draw panels in rows of `columns` into a file, all on one colour scale.
///
/// An axis that is the same as that of the panel beside (or below) is labelled once.
/// The colour map ends at the greatest density of the smooth maps, or of the counts where there are none.
///
/// # Errors
/// [`Error::Unknown`] for a file that ends in neither `.png` nor `.svg`; [`Error::Write`];
/// [`Error::Invalid`] for an axis without length or a picture too small or too large;
/// [`Error::Dimension`] for arrays that do not fit.
pub fn panels(path: &Path, panels: &[Panel], columns: usize, options: &Options) -> Result<()> {
    draw(path, Sheet::of(panels, columns), options)
}

/// Cells in rows of as many columns, row after row; a cell may be empty.
pub(super) struct Sheet {
    pub cells: Vec<Option<Panel>>,
    pub columns: usize,
    /// Between the panels, in ems.
    pub gap: f64,
    /// The share of the width that each column gets.
    pub weights: Vec<f64>,
}

impl Sheet {
    /// Columns of equal width. The last row is filled up, so that rows and columns are all whole.
    pub fn new(mut cells: Vec<Option<Panel>>, columns: usize, gap: f64) -> Self {
        cells.resize(cells.len().next_multiple_of(columns.max(1)), None);
        Self { cells, columns, gap, weights: vec![1.0; columns] }
    }

    /// Panels in rows.
    pub fn of(panels: &[Panel], columns: usize) -> Self {
        Self::new(panels.iter().cloned().map(Some).collect(), columns.min(panels.len()), 1.6)
    }

    /// The columns' shares of the width, one each.
    pub fn weighted(mut self, weights: &[f64]) -> Self {
        debug_assert_eq!(weights.len(), self.columns);
        self.weights = weights.to_vec();
        self
    }

    /// What is wrong with it.
    pub fn check(&self) -> Result<()> {
        if self.columns == 0 || self.cells.iter().all(Option::is_none) {
            return Err(Error::invalid("a picture without panels cannot be drawn", ""));
        }
        self.cells.iter().flatten().try_for_each(Panel::check)
    }

    /// The share of the width of cell `k`, all columns together having 1.
    fn share(&self, k: usize) -> f64 {
        self.weights[k % self.columns] / self.weights.iter().sum::<f64>()
    }
}

/// As [`panels`], of a whole sheet.
pub(super) fn draw(path: &Path, sheet: Sheet, options: &Options) -> Result<()> {
    let fine = file::check(path, options.size, options)?;
    sheet.check()?;
    file::save(compose(&sheet, fine, options), path, options)
}

/// What all panels of a picture share, for panels about `across` pixels wide.
pub(super) fn pen<'a>(
    panels: impl Iterator<Item = &'a Panel>,
    wide: f64,
    across: f64,
    fine: usize,
    options: &Options,
) -> Pen {
    let (mut smooth_max, mut max) = (0.0f64, 0.0f64);
    for layer in panels.flat_map(|p| &p.layers) {
        if let Layer::Heat { grid, smooth } = layer {
            max = max.max(grid.max());
            smooth_max = if *smooth { smooth_max.max(grid.max()) } else { smooth_max };
        }
    }
    let given = options.max.filter(|m| m.is_finite()).unwrap_or(0.0);
    let max = [given, smooth_max, max].into_iter().find(|m| *m > 0.0).unwrap_or(1.0);
    let em = (6.0 + 0.0075 * wide).min(across / 13.0).clamp(6.0, 40.0);
    let scale = match options.scale {
        Scale::Power(gamma) if !(gamma > 0.0 && gamma.is_finite()) => Scale::Linear,
        Scale::Log(span) if !(span > 0.0 && span.is_finite()) => Scale::Linear,
        good => good,
    };
    Pen { theme: options.theme, map: options.theme.map(), scale, max, em, fine }
}

/// An empty page.
pub(super) fn page(size: (u32, u32), options: &Options) -> Scene {
    Scene { size, background: options.theme.background(), marks: Vec::new() }
}

/// The title of the whole picture, centred at `x`.
pub(super) fn title(scene: &mut Scene, x: f64, pen: &Pen, options: &Options) {
    if let Some(text) = &options.title {
        scene.words(text, (x, 1.75 * pen.em), 1.2 * pen.em, Anchor::Middle, pen.theme.ink());
    }
}

/// The room above the panels.
pub(super) fn headroom(options: &Options, em: f64) -> f64 {
    if options.title.is_some() { 2.4 * em } else { 0.8 * em }
}

/// Edges of each cell, labelled where the neighbour on the left or below does not already say the same.
fn edges(sheet: &Sheet, wide: f64, em: f64) -> Vec<Option<Edges>> {
    let (cells, columns) = (&sheet.cells, sheet.columns);
    let same = |cell: usize, other: Option<usize>, pick: fn(&Panel) -> &super::Axis| {
        let pair = (cells[cell].as_ref(), other.and_then(|o| cells.get(o)).and_then(Option::as_ref));
        matches!(pair, (Some(a), Some(b)) if pick(a) == pick(b))
    };
    let mut all: Vec<Option<Edges>> = cells
        .iter()
        .enumerate()
        .map(|(k, cell)| {
            let panel = cell.as_ref()?;
            let across = 0.8 * wide * sheet.share(k);
            let mut edges = Edges::new(panel, across, across * panel.ratio().unwrap_or(0.8).clamp(0.3, 1.6), em);
            edges.x_labels &= !same(k, Some(k + columns), |p| &p.x);
            edges.y_labels &= !same(k, (k % columns > 0).then(|| k - 1), |p| &p.y);
            Some(edges)
        })
        .collect();
    // The names of vertical axes stand in line down each column.
    for column in 0..columns {
        let labelled = |e: &Option<Edges>| e.as_ref().filter(|e| e.y_labels).map_or(0.0, |e| e.widest(0.9 * em));
        let widest = all.iter().skip(column).step_by(columns).map(labelled).fold(0.0, f64::max);
        for edge in all.iter_mut().skip(column).step_by(columns).flatten() {
            edge.y_name = widest + 1.25 * em;
        }
    }
    all
}

/// The page of a sheet that was found sound.
pub(super) fn compose(sheet: &Sheet, fine: usize, options: &Options) -> Scene {
    let Sheet { cells, columns, gap, .. } = sheet;
    let (columns, gap) = (*columns, *gap);
    let lines = cells.len().div_ceil(columns);
    let natural = if cells.len() == 1 { 700 } else { 1200 };
    let wide = f64::from(options.size.map_or(natural, |s| s.0));
    let pen = pen(cells.iter().flatten(), wide, wide / columns as f64, fine, options);
    let em = pen.em;
    let edges = edges(sheet, wide, em);

    let named = |axis: &super::Axis| if axis.label.is_empty() { 0.0 } else { 1.0 };
    let mut left = vec![0.0f64; columns];
    let mut below = vec![0.0f64; lines];
    let mut above = vec![0.0f64; lines];
    for (k, (cell, edge)) in cells.iter().zip(&edges).enumerate() {
        let (Some(panel), Some(edge)) = (cell, edge) else {
            continue;
        };
        let (column, line) = (k % columns, k / columns);
        if edge.y_labels {
            left[column] = left[column].max(edge.y_name - 0.35 * em + 1.1 * em * named(&panel.y));
        }
        if edge.x_labels {
            below[line] = below[line].max(pen.tick() + (1.3 + 1.4 * named(&panel.x)) * em);
        }
        above[line] = above[line].max(if panel.title.is_empty() { 0.0 } else { 1.5 * em });
    }
    let heat = cells.iter().flatten().flat_map(|p| &p.layers).any(|l| matches!(l, Layer::Heat { .. }));
    let bar = if heat { Some(Bar::new(&pen, 0.5 * wide / columns as f64)) } else { None };

    let pad = 0.8 * em;
    let head = headroom(options, em);
    let right = bar.as_ref().map_or(1.0 * em, Bar::room);
    let across = 2.0 * pad + right + left.iter().sum::<f64>() + gap * em * (columns - 1) as f64;
    let down = pad + head + above.iter().chain(&below).sum::<f64>() + gap.min(1.0) * em * (lines - 1) as f64;
    let most_wide = |k: usize| ((wide - across) * sheet.share(k)).max(4.0);
    let shape = |panel: &Panel| panel.ratio().map_or(if natural == 700 { 0.68 } else { 0.8 }, |r| r.clamp(0.2, 1.8));
    let row = |line: usize| {
        (line * columns..(line + 1) * columns).filter_map(|k| Some(most_wide(k) * shape(cells[k].as_ref()?)))
    };
    let high = match options.size {
        Some((_, high)) => f64::from(high),
        None => {
            let sum: f64 = (0..lines).map(|l| row(l).fold(0.2 * most_wide(0), f64::max)).sum();
            (down + sum).ceil().clamp(64.0, 8192.0)
        }
    };
    let most_high = ((high - down) / lines as f64).max(4.0);

    // Equal axes leave room over; columns close up to what their panels use.
    let boxes: Vec<Option<(f64, f64)>> = cells
        .iter()
        .enumerate()
        .map(|(k, cell)| {
            let (ratio, most_wide) = (cell.as_ref()?.ratio(), most_wide(k));
            Some(ratio.map_or((most_wide, most_high), |r| (most_wide.min(most_high / r), most_high.min(most_wide * r))))
        })
        .collect();
    let widths: Vec<f64> = (0..columns)
        .map(|c| boxes.iter().skip(c).step_by(columns).flatten().map(|b| b.0).fold(0.0, f64::max))
        .collect();
    let heights: Vec<f64> = (0..lines)
        .map(|l| boxes.iter().skip(l * columns).take(columns).flatten().map(|b| b.1).fold(0.0, f64::max))
        .collect();
    let spare = (0.5 * (wide - across - widths.iter().sum::<f64>())).max(0.0);
    let sunk = (0.5 * (high - down - heights.iter().sum::<f64>())).max(0.0);

    let mut scene = page((wide as u32, high as u32), options);
    let mut frames: Vec<Rect> = Vec::new();
    let mut y = head + sunk;
    for line in 0..lines {
        y += above[line];
        let mut x = pad + spare;
        for column in 0..columns {
            x += left[column];
            let k = line * columns + column;
            if let Some(((panel, edge), size)) = cells[k].as_ref().zip(edges[k].as_ref()).zip(boxes[k]) {
                let (w, h) = size;
                let frame =
                    Rect { x: x + 0.5 * (widths[column] - w), y: y + 0.5 * (heights[line] - h), w, h }.snapped();
                draw::panel(&mut scene, frame, panel, edge, &pen);
                frames.push(frame);
            }
            x += widths[column] + gap * em;
        }
        y += heights[line] + below[line] + gap.min(1.0) * em;
    }
    let ends = |pick: fn(&Rect) -> f64, best: fn(f64, f64) -> f64| frames.iter().map(pick).reduce(best).unwrap_or(0.0);
    let (x0, x1) = (ends(|r| r.x, f64::min), ends(Rect::right, f64::max));
    if let Some(bar) = bar {
        let (top, bottom) = (ends(|r| r.y, f64::min), ends(Rect::bottom, f64::max));
        bar.draw(&mut scene, Rect { x: x1 + 0.9 * em, y: top, w: 0.85 * em, h: bottom - top }.snapped(), &pen);
    }
    title(&mut scene, 0.5 * (x0 + x1), &pen, options);
    scene
}

/// The colour bar beside the panels.
struct Bar {
    ticks: Vec<(f64, String)>,
    widest: f64,
    em: f64,
}

impl Bar {
    fn new(pen: &Pen, high: f64) -> Self {
        let em = pen.em;
        let mut ticks = match pen.scale {
            Scale::Log(span) => decades(pen.max, span, high / (2.0 * em)),
            Scale::Linear | Scale::Power(_) => fitting((0.0, pen.max), high, |_| 2.6 * em),
        };
        // A power crowds the labels towards one end: the lower wins.
        let mut last = f64::NEG_INFINITY;
        ticks.retain(|(value, _)| {
            let place = pen.scale.place(*value, pen.max);
            let kept = (place - last).abs() * high > 1.5 * em;
            last = if kept { place } else { last };
            kept
        });
        let widest = ticks.iter().map(|t| width(&t.1, 0.9 * em)).fold(0.0, f64::max);
        Self { ticks, widest, em }
    }

    /// The width to leave for it, from the panels' right side on.
    fn room(&self) -> f64 {
        self.widest + 4.2 * self.em
    }

    fn draw(&self, scene: &mut Scene, rect: Rect, pen: &Pen) {
        let (wide, high) = (rect.w as usize * pen.fine, rect.h as usize * pen.fine);
        let last = pen.map.len() - 1;
        let pixels = (0..high).rev().flat_map(|j| pen.map[j * last / (high - 1).max(1)].repeat(wide)).collect();
        scene.marks.push(Mark::Image { rect, fine: pen.fine, pixels });
        let (left, right, top, bottom) = (rect.x, rect.right(), rect.y, rect.bottom());
        let colour = pen.theme.frame();
        scene.line(vec![(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], pen.hair(), colour);
        for (value, label) in &self.ticks {
            let y = bottom - pen.scale.place(*value, pen.max) * rect.h;
            scene.line(vec![(right, y), (right + pen.tick(), y)], pen.hair(), colour);
            let at = (right + pen.tick() + 0.3 * pen.em, y + 0.32 * pen.em);
            scene.words(label, at, 0.9 * pen.em, Anchor::Start, pen.theme.ink());
        }
        let at = (right + pen.tick() + self.widest + 1.5 * pen.em, 0.5 * (top + bottom));
        let (text, size, colour) = ("density".into(), pen.em, pen.theme.ink());
        scene.marks.push(Mark::Words { text, at, size, anchor: Anchor::Middle, up: true, colour });
    }
}

/// Two axes named by the options, around `layers`.
pub(super) fn map(title: &str, x: (f64, f64), y: (f64, f64), layers: Vec<Layer>, options: &Options) -> Panel {
    let mut panel = Panel {
        title: title.into(),
        x: super::Axis::new(options.name(0, 'x'), x),
        y: super::Axis::new(options.name(1, 'x'), y),
        layers,
        aspect: options.aspect,
    };
    panel.y.inverted = options.invert_y;
    panel
}

/// A chart of curves: its axes have no common unit.
pub(super) fn chart(title: &str, x: super::Axis, y: super::Axis, layers: Vec<Layer>) -> Panel {
    Panel { title: title.into(), x, y, layers, aspect: Aspect::Free }
}
