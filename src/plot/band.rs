//! Rows of panels across the page: margins as wide as the labels need, equal axes.

use super::bar::Bar;
use super::draw::{self, Edges};
use super::legend::Heading;
use super::panel::{Axis, Panel};
use super::pen::Style;
use super::scene::{Rect, Scene};
use super::sheet::PanelGrid;

/// A panel grid with its margins measured.
pub(super) struct PanelRow<'a> {
    sheet: &'a PanelGrid,
    edges: Vec<Option<Edges>>,
    /// Before each column.
    pub left: Vec<f64>,
    /// Below and above each line.
    below: Vec<f64>,
    above: Vec<f64>,
    /// After the last column.
    right: f64,
    wide: f64,
    em: f64,
}

impl<'a> PanelRow<'a> {
    /// Of a page so many pixels wide, with room for the bar if there are maps.
    pub fn new(sheet: &'a PanelGrid, wide: f64, bar: Option<&Bar>, pen: &Style) -> Self {
        let (columns, lines, em) = (sheet.columns, sheet.cells.len().div_ceil(sheet.columns), pen.em);
        let mut edges = edges(sheet, wide, em);
        if !sheet.headings.is_empty() {
            clear(sheet, &mut edges);
        }
        let named = |axis: &Axis| if axis.words().is_empty() { 0.0 } else { 1.0 };
        let mut left = vec![0.0f64; columns];
        let (mut below, mut above) = (vec![0.0f64; lines], vec![0.0f64; lines]);
        above[0] = Heading::room(&sheet.headings, em);
        for (k, (cell, edge)) in sheet.cells.iter().zip(&edges).enumerate() {
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
        let heat = sheet.cells.iter().flatten().any(Panel::is_heat);
        let right = bar.filter(|_| heat).map_or(1.0 * em, Bar::room);
        Self { sheet, edges, left, below, above, right, wide, em }
    }

    fn lines(&self) -> usize {
        self.below.len()
    }

    /// The greatest width of the panel in cell `k`.
    fn most_wide(&self, k: usize) -> f64 {
        let gaps = self.sheet.gap * self.em * (self.sheet.columns - 1) as f64;
        let across = 1.6 * self.em + self.right + self.left.iter().sum::<f64>() + gaps;
        ((self.wide - across) * self.sheet.share(k)).max(4.0)
    }

    /// The height of everything but the panels.
    pub fn down(&self) -> f64 {
        let gaps = self.sheet.gap.min(1.0) * self.em * (self.lines() - 1) as f64;
        self.above.iter().chain(&self.below).sum::<f64>() + gaps
    }

    /// The natural height of the panels.
    pub fn natural(&self) -> f64 {
        let (columns, cells) = (self.sheet.columns, &self.sheet.cells);
        let shape = |panel: &Panel| panel.ratio().map_or(self.sheet.shape, |r| r.clamp(0.2, 1.8));
        let row = |line: usize| {
            (line * columns..(line + 1) * columns).filter_map(|k| Some(self.most_wide(k) * shape(cells[k].as_ref()?)))
        };
        (0..self.lines()).map(|l| row(l).fold(0.2 * self.most_wide(0), f64::max)).sum()
    }

    /// Whether no panel has equal axes.
    pub fn yields(&self) -> bool {
        self.sheet.cells.iter().flatten().all(|p| p.ratio().is_none())
    }

    /// Draw it from `top` on with `high` pixels for the panels of all lines; the frames and what is in them.
    pub fn draw(&self, scene: &mut Scene, top: f64, high: f64, pen: &Style) -> Vec<(Rect, &'a Panel)> {
        let PanelGrid { cells, columns, gap, headings, .. } = self.sheet;
        let (columns, lines, em) = (*columns, self.lines(), self.em);
        let most_high = (high / lines as f64).max(4.0);
        // Equal axes leave room over; columns close up to what their panels use.
        let boxes: Vec<Option<(f64, f64)>> = cells
            .iter()
            .enumerate()
            .map(|(k, cell)| {
                let (ratio, most_wide) = (cell.as_ref()?.ratio(), self.most_wide(k));
                let equal = |r: f64| (most_wide.min(most_high / r), most_high.min(most_wide * r));
                Some(ratio.map_or((most_wide, most_high), equal))
            })
            .collect();
        let mut widths: Vec<f64> = (0..columns)
            .map(|c| boxes.iter().skip(c).step_by(columns).flatten().map(|b| b.0).fold(0.0, f64::max))
            .collect();
        if !headings.is_empty() {
            // Columns without panels keep their place, so that those with stand below those of the band above.
            let widest = widths.iter().copied().fold(0.0, f64::max);
            widths.iter_mut().filter(|w| **w == 0.0).for_each(|w| *w = widest);
        }
        let heights: Vec<f64> = (0..lines)
            .map(|l| boxes.iter().skip(l * columns).take(columns).flatten().map(|b| b.1).fold(0.0, f64::max))
            .collect();
        let shares: f64 = (0..columns).map(|c| self.most_wide(c)).sum();
        let spare = (0.5 * (shares - widths.iter().sum::<f64>())).max(0.0);
        let sunk = (0.5 * (high - heights.iter().sum::<f64>())).max(0.0);

        let mut frames: Vec<(Rect, &'a Panel)> = Vec::new();
        let mut labels = Vec::new();
        let mut y = top + sunk;
        for (line, tall) in heights.iter().enumerate() {
            y += self.above[line];
            let mut x = 0.8 * em + spare;
            for (column, wide) in widths.iter().enumerate() {
                x += self.left[column];
                let k = line * columns + column;
                if let Some(heading) = headings.get(column).filter(|_| line == 0) {
                    let pitch = wide + 0.7 * gap * em;
                    heading.draw(scene, x + 0.5 * wide, y - self.above[0], pitch, pen);
                }
                if let Some(((panel, edge), size)) = cells[k].as_ref().zip(self.edges[k].as_ref()).zip(boxes[k]) {
                    // Rounded before they are placed: panels of one size must not differ by a pixel.
                    let (w, h) = (size.0.round(), size.1.round());
                    let (x, y) = (x + 0.5 * (wide - w), y + 0.5 * (tall - h));
                    let frame = Rect { x: x.round(), y: y.round(), w, h }.snapped();
                    labels.push(edge.coarsened(panel, frame, em));
                    frames.push((frame, panel));
                }
                x += wide + gap * em;
            }
            y += tall + self.below[line] + gap.min(1.0) * em;
        }
        part(&frames, &mut labels, scene, pen);
        frames.iter().zip(&labels).for_each(|((frame, panel), edges)| draw::panel(scene, *frame, panel, edges, pen));
        frames
    }
}

/// Takes away labels of ticks that would touch others, as those at the ends of neighbouring axes do, or that would
/// leave the page. Of two the one goes whose axis has more of them left; the ticks stay.
fn part(frames: &[(Rect, &Panel)], labels: &mut [Edges], scene: &Scene, pen: &Style) {
    let (wide, high) = (f64::from(scene.size.0), f64::from(scene.size.1));
    let inside = |r: &Rect| r.x >= 0.0 && r.y >= 0.0 && r.right() <= wide && r.bottom() <= high;
    let mut boxes: Vec<(Rect, usize, usize, usize)> = Vec::new();
    for (p, (edges, (frame, panel))) in labels.iter().zip(frames).enumerate() {
        boxes.extend(edges.boxes(*frame, panel, pen).into_iter().map(|(r, axis, tick)| (r, p, axis, tick)));
    }
    let mut clear = |(_, p, axis, tick): &(Rect, usize, usize, usize)| {
        let ticks = if *axis == 0 { &mut labels[*p].x } else { &mut labels[*p].y };
        ticks[*tick].1.clear();
    };
    boxes.retain(|b| {
        let kept = inside(&b.0);
        if !kept {
            clear(b);
        }
        kept
    });
    // At least a pixel in either direction.
    let (across, down) = (0.35 * pen.em, (0.1 * pen.em).max(1.0));
    while let Some((a, b)) = (0..boxes.len())
        .flat_map(|a| (a + 1..boxes.len()).map(move |b| (a, b)))
        .find(|(a, b)| boxes[*a].0.meets(&boxes[*b].0, across, down))
    {
        let left = |k: usize| boxes.iter().filter(|other| (other.1, other.2) == (boxes[k].1, boxes[k].2)).count();
        let gone = if left(a) > left(b) { a } else { b };
        clear(&boxes.remove(gone));
    }
}

/// Without the labels at the far ends of horizontal axes, which would meet those at the near ends beside them.
fn clear(sheet: &PanelGrid, edges: &mut [Option<Edges>]) {
    for (k, (cell, edge)) in sheet.cells.iter().zip(edges).enumerate() {
        let (Some(panel), Some(edge)) = (cell, edge) else { continue };
        if (k + 1) % sheet.columns != 0 {
            edge.x.iter_mut().filter(|t| panel.x.place(t.0) > 0.96).for_each(|t| t.1.clear());
        }
    }
}

/// Edges of each cell, labelled where the neighbour on the left or below does not have the same labels.
fn edges(sheet: &PanelGrid, wide: f64, em: f64) -> Vec<Option<Edges>> {
    let (cells, columns) = (&sheet.cells, sheet.columns);
    let same = |cell: usize, other: Option<usize>, pick: fn(&Panel) -> &Axis| {
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
