//! A column of panels for the data and for each model: densities above samples.

use std::collections::BTreeMap;

use super::{Cells, Comparison, Contender, score};
use crate::plot::colour::Tone;
use crate::plot::layout::{em, map};
use crate::plot::legend::Heading;
use crate::plot::panel::{Grid, Layer, Panel};
use crate::plot::sheet::PanelGrid;
use crate::plot::stats::{counted, extent, padded};
use crate::plot::{Options, rows};

/// A scatter shows at most this many points; all show equally many.
const MOST_DOTS: usize = 6_000;
/// So many panels stand in a row where the page's height follows from them.
const MOST_COLUMNS: usize = 6;
/// A panel narrower than this many pixels has no legible letters.
const LEAST_WIDTH: f64 = 130.0;

/// What a line of panels shows of each model.
#[derive(Clone, Copy)]
enum Line<'a> {
    Density(Cells),
    Pair(&'a Axes),
}

/// The panels of the data and of all models in blocks of as many columns as fit, each with its lines.
///
/// `shown` are the columns of [`shown`].
pub(super) fn blocks(c: &Comparison, shown: &[Axes], wide: u32, options: &Options) -> Vec<PanelGrid> {
    let mut lines = Vec::new();
    if let Some(cells) = c.cells.filter(|_| c.truth.is_some() || c.contenders.iter().any(|m| m.density.is_some())) {
        lines.push(Line::Density(cells));
    }
    if lines.is_empty() || c.contenders.iter().any(|m| !m.samples.is_empty()) {
        lines.extend(shown.iter().map(Line::Pair));
    }
    let each: Vec<Option<&Contender>> = std::iter::once(None).chain(c.contenders.iter().map(Some)).collect();
    let columns = columns(each.len(), lines.len(), c.dim > 2, wide, options);
    let fair = each.iter().map(|m| m.map_or(c.data, |m| &m.samples).len() / c.dim).filter(|n| *n > 0);
    let fair = fair.fold(MOST_DOTS, usize::min);
    let block = |(b, members): (usize, &[Option<&Contender>])| {
        let mut cells = vec![None; lines.len() * columns];
        let mut headings = Vec::new();
        for (k, member) in members.iter().enumerate() {
            let tone = (b * columns + k).checked_sub(1).map_or(Tone::Reference, Tone::Series);
            for (l, line) in lines.iter().enumerate() {
                cells[l * columns + k] = Some(panel(c, *member, line, tone, fair, options));
            }
            headings.push(match member {
                None => Heading {
                    text: "data".into(),
                    note: c.entropy.map_or(String::new(), |e| format!("entropy {}", score(e, 0.0))),
                    tone: None,
                },
                Some(m) => Heading { text: m.name.clone(), note: m.note(), tone: Some(tone) },
            });
        }
        let mut sheet = PanelGrid::new(cells, columns, 1.0);
        sheet.headings = headings;
        sheet
    };
    each.chunks(columns).enumerate().map(block).collect()
}

/// The columns that are scattered.
fn pairs(c: &Comparison) -> Vec<(usize, usize)> {
    match c.dim {
        2 => vec![(0, 1)],
        _ if !c.pairs.is_empty() => c.pairs.to_vec(),
        3 => vec![(0, 1), (1, 2)],
        d => vec![(0, 1), (d - 2, d - 1)],
    }
}

/// How many panels stand beside each other, the last row being as full as can be.
fn columns(count: usize, lines: usize, columns_differ: bool, wide: u32, options: &Options) -> usize {
    let wide = options.size.map_or(f64::from(wide), |s| f64::from(s.0));
    let even = |most: usize| count.div_ceil(count.div_ceil(most.clamp(1, count)));
    let most = ((wide / LEAST_WIDTH) as usize).max(3);
    let Some((_, high)) = options.size else {
        return even(most.min(MOST_COLUMNS));
    };
    // Text takes the height that it needs; of the rest the charts take two fifths. Of equal sides the most beside each
    // other win.
    let side = |columns: usize| {
        let across = wide / columns as f64;
        let em = em(wide, across);
        let (blocks, named) = (count.div_ceil(columns), if columns_differ { lines } else { 1 });
        let words = (11.0 + (4.2 + 3.0 * named as f64 + lines as f64) * blocks as f64) * em;
        (0.85 * across).min(0.6 * (f64::from(high) - words) / (lines * blocks) as f64)
    };
    (1..=most).map(even).fold(1, |best, next| if side(next) >= side(best) { next } else { best })
}

/// One panel of a model, or of the data where there is none.
fn panel(c: &Comparison, member: Option<&Contender>, line: &Line, tone: Tone, fair: usize, options: &Options) -> Panel {
    let points = member.map_or(c.data, |m| &m.samples);
    let (x, y, i, j) = match line {
        Line::Density(cells) => (cells.x, cells.y, 0, 1),
        Line::Pair((columns, ranges)) => (ranges[0], ranges[1], columns[0], columns[1]),
    };
    let layer = match (line, member) {
        (Line::Density(cells), Some(m)) => {
            m.density.as_ref().map(|d| Layer::Heat { grid: cells.grid(d), smooth: true })
        }
        (Line::Density(cells), None) => Some(match c.truth {
            Some(truth) => Layer::Heat { grid: cells.grid(truth), smooth: true },
            None => Layer::Heat { grid: histogram(c.data, *cells), smooth: false },
        }),
        (Line::Pair(..), _) => None,
    };
    let dots = match line {
        Line::Density(_) => Vec::new(),
        Line::Pair(_) => pair(points, c.dim, i, j, fair),
    };
    // Of nothing a scatter is an empty frame, which keeps the place.
    let missing = (layer.is_none() && dots.is_empty()).then(|| {
        let text = if matches!(line, Line::Density(_)) { "no density" } else { "no samples" };
        Layer::Note { text: text.into() }
    });
    let layer = layer.unwrap_or(Layer::Dots { points: dots, tone, label: String::new() });
    let mut panel = map("", x, y, std::iter::once(layer).chain(missing).collect(), options);
    (panel.x.label, panel.y.label) = (options.name(i, 'x'), options.name(j, 'x'));
    panel
}

/// The columns of a panel, and the range of each of them.
pub(super) type Axes = (Vec<usize>, Vec<(f64, f64)>);

/// The columns of each panel and their axes.
pub(super) fn shown(c: &Comparison) -> Vec<Axes> {
    if c.dim == 1 {
        return vec![(vec![0], vec![c.cells.map_or_else(|| extent(c.data, 1, 0), |cells| cells.x)])];
    }
    // A range takes a sort of the column: one for each, however many pairs and models it is drawn in.
    let mut known = BTreeMap::new();
    let mut range =
        |column: usize| *known.entry(column).or_insert_with(|| padded(Some(extent(c.data, c.dim, column)), 0.04));
    let each = |(i, j): (usize, usize)| {
        let (x, y) = match c.cells {
            Some(cells) if c.dim == 2 => (cells.x, cells.y),
            _ => squared(range(i), range(j)),
        };
        (vec![i, j], vec![x, y])
    };
    pairs(c).into_iter().map(each).collect()
}

/// Two ranges as long as the longer of them where they are about alike: then all pairs have panels of one shape.
fn squared(x: (f64, f64), y: (f64, f64)) -> ((f64, f64), (f64, f64)) {
    let (wide, high) = (x.1 - x.0, y.1 - y.0);
    if !(0.4..=2.5).contains(&(high / wide)) {
        return (x, y);
    }
    let grown = |r: (f64, f64)| {
        let more = 0.5 * (wide.max(high) - (r.1 - r.0));
        (r.0 - more, r.1 + more)
    };
    (grown(x), grown(y))
}

/// The histogram of the data, for an unknown truth: the number of cells grows as the root of the number of rows.
fn histogram(data: &[f64], cells: Cells) -> Grid {
    let n = data.len() / 2;
    counted(data, cells.x, cells.y, ((n as f64 / 4.0).sqrt() as usize).clamp(10, 160))
}

/// Two columns of at most `most` rows, evenly taken.
fn pair(points: &[f64], d: usize, i: usize, j: usize, most: usize) -> Vec<f64> {
    let n = rows(points, d, "the points").unwrap_or(0);
    let most = most.min(n);
    (0..most).map(|k| d * (k * n / most)).flat_map(|at| [points[at + i], points[at + j]]).collect()
}

/// The density at the end of the colours: below it lies nearly all the mass of the truth or, where that is unknown, of
/// the sharpest model that is not far above the histogram of the data.
pub(super) fn level(c: &Comparison) -> Option<f64> {
    if let Some(truth) = c.truth {
        return Some(crest(truth)).filter(|m| *m > 0.0);
    }
    let mut each: Vec<f64> = c.contenders.iter().filter_map(|m| m.density.as_deref()).map(crest).collect();
    each.sort_by(f64::total_cmp);
    let least = *each.first()?;
    // A histogram blurs: what is true may well stand twice as high.
    let most = 2.0 * crest(&histogram(c.data, c.cells?).values);
    Some(each.into_iter().rfind(|m| *m <= most).unwrap_or(least)).filter(|m| *m > 0.0)
}

/// The density below which 99.5 % of the mass lies: a spike that holds little does not count.
fn crest(density: &[f64]) -> f64 {
    let mut sorted = density.to_vec();
    sorted.sort_by(f64::total_cmp);
    let top = sorted.last().copied().unwrap_or(0.0);
    // In parts of the greatest, lest the sum overflow.
    let mass: f64 = sorted.iter().map(|p| p / top).sum();
    let mut below = 0.0;
    for p in &sorted {
        below += p / top;
        if below >= 0.995 * mass {
            return *p;
        }
    }
    top
}
