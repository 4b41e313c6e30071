//! Panels of a figure: rows of them one below the other, one colour bar and one size of letters for all.

use std::path::Path;

use super::band::PanelRow;
use super::bar::Bar;
use super::colour::Scale;
use super::legend::{Entry, Print, Strip};
use super::panel::{Aspect, Layer, Panel};
use super::pen::Style;
use super::scene::{Anchor, Rect, Scene, width};
use super::sheet::PanelGrid;
use super::{Options, file};
use crate::error::Result;

/// Draw panels in rows of `columns` into a file, all on one colour scale.
///
/// An axis that is the same as that of the panel beside (or below) is labelled once.
/// The colour map ends at the greatest density of the smooth maps, or of the counts where there are none.
///
/// # Errors
/// [`Error::Unknown`](crate::Error::Unknown) for a file that ends in neither `.png` nor `.svg`;
/// [`Error::Write`](crate::Error::Write); [`Error::Invalid`](crate::Error::Invalid) for an axis without length or a
/// picture too small or too large; [`Error::Dimension`](crate::Error::Dimension) for arrays that do not fit.
pub fn panels(path: &Path, panels: &[Panel], columns: usize, options: &Options) -> Result<()> {
    draw(path, PanelGrid::of(panels, columns), options)
}

/// As [`panels`], with small print below.
pub(super) fn noted(
    path: &Path,
    panels: &[Panel],
    columns: usize,
    notes: impl IntoIterator<Item = String>,
    options: &Options,
) -> Result<()> {
    let page = Figure::from(PanelGrid::of(panels, columns));
    draw(path, Figure { notes: notes.into_iter().collect(), ..page }, options)
}

/// Sheets one below the other.
pub(super) struct Figure {
    pub bands: Vec<PanelGrid>,
    /// A legend for all of them, below.
    pub keys: Vec<Entry>,
    /// The width where the options set none.
    pub wide: u32,
    /// Whether the colour bar stands beside the maps alone, with a label that it holds for all of them.
    pub one_scale: bool,
    /// Small print below everything: what the picture leaves out.
    pub notes: Vec<String>,
}

impl From<PanelGrid> for Figure {
    fn from(sheet: PanelGrid) -> Self {
        let wide = if sheet.cells.len() == 1 { 700 } else { 1200 };
        Self { bands: vec![sheet], keys: Vec::new(), wide, one_scale: false, notes: Vec::new() }
    }
}

impl Figure {
    /// In how many of its grids there are maps.
    fn maps(&self) -> usize {
        self.bands.iter().filter(|b| b.cells.iter().flatten().any(Panel::is_heat)).count()
    }
}

/// As [`panels`], of a whole figure.
pub(super) fn draw(path: &Path, page: impl Into<Figure>, options: &Options) -> Result<()> {
    let page = page.into();
    let fine = file::check(path, options.size, options)?;
    page.bands.iter().try_for_each(PanelGrid::check)?;
    file::save(compose(&page, fine, options), path, options)
}

/// What all panels of a picture share, for panels about `across` pixels wide.
pub(super) fn pen<'a>(
    panels: impl Iterator<Item = &'a Panel>,
    wide: f64,
    across: f64,
    fine: usize,
    options: &Options,
) -> Style {
    let (mut smooth_max, mut max) = (0.0f64, 0.0f64);
    for layer in panels.flat_map(|p| &p.layers) {
        if let Layer::Heat { grid, smooth } = layer {
            max = max.max(grid.max());
            smooth_max = if *smooth { smooth_max.max(grid.max()) } else { smooth_max };
        }
    }
    let given = options.max.filter(|m| m.is_finite()).unwrap_or(0.0);
    let max = [given, smooth_max, max].into_iter().find(|m| *m > 0.0).unwrap_or(1.0);
    let em = em(wide, across);
    let scale = match options.scale {
        Scale::Power(gamma) if !(gamma > 0.0 && gamma.is_finite()) => Scale::Linear,
        Scale::Log(span) if !(span > 0.0 && span.is_finite()) => Scale::Linear,
        good => good,
    };
    Style { theme: options.theme, map: options.theme.map(), scale, max, em, fine }
}

/// The size of the letters on a page so wide, with panels so far from one to the next.
pub(super) fn em(wide: f64, across: f64) -> f64 {
    (6.0 + 0.0075 * wide).min(across / 13.0).clamp(6.0, 40.0)
}

/// An empty page.
pub(super) fn blank(size: (u32, u32), options: &Options) -> Scene {
    Scene { size, background: options.theme.background(), marks: Vec::new() }
}

/// The title of the whole picture, centred at `x`.
pub(super) fn title(scene: &mut Scene, x: f64, pen: &Style, options: &Options) {
    if let Some(text) = &options.title {
        scene.words(text, (x, 1.75 * pen.em), 1.2 * pen.em, Anchor::Middle, pen.theme.ink());
    }
}

/// The room above the panels.
pub(super) fn headroom(options: &Options, em: f64) -> f64 {
    if options.title.is_some() { 2.4 * em } else { 0.8 * em }
}

/// The scene of a figure whose panels were checked.
pub(super) fn compose(page: &Figure, fine: usize, options: &Options) -> Scene {
    let wide = f64::from(options.size.map_or(page.wide, |s| s.0));
    let columns = page.bands.iter().map(|b| b.columns).fold(1, usize::max);
    let panels = || page.bands.iter().flat_map(|b| b.cells.iter().flatten());
    let pen = pen(panels(), wide, wide / columns as f64, fine, options);
    let em = pen.em;
    // Beside one line of maps, or from the first to the last.
    let tall = 0.5 * wide / columns as f64
        * if page.one_scale { 0.8 + 2.2 * page.maps().saturating_sub(1) as f64 } else { 1.0 };
    let bar = panels().any(Panel::is_heat).then(|| Bar::new(&pen, 1.0f64.max(tall)));
    let strip = Strip::new(&page.keys, wide - 1.6 * em, em);
    let print = Print::new(&page.notes, wide - 1.6 * em, em);

    let mut bands: Vec<PanelRow> =
        page.bands.iter().map(|sheet| PanelRow::new(sheet, wide, bar.as_ref(), &pen)).collect();
    // The frames of all bands begin in line.
    let left = bands.iter().map(|b| b.left[0]).fold(0.0, f64::max);
    bands.iter_mut().for_each(|band| band.left[0] = left);

    let (pad, head, between) = (0.8 * em, headroom(options, em), 1.2 * em);
    let down = pad + head + strip.room() + print.room() + between * (bands.len() - 1) as f64;
    let down = bands.iter().map(PanelRow::down).fold(down, |sum, one| sum + one);
    let natural: Vec<f64> = bands.iter().map(PanelRow::natural).collect();
    let high = match options.size {
        Some((_, high)) => f64::from(high),
        None => (down + natural.iter().sum::<f64>()).ceil().clamp(64.0, 8192.0),
    };
    let soft: Vec<bool> = bands.iter().map(PanelRow::yields).collect();

    let mut scene = blank((wide as u32, high as u32), options);
    let (mut y, mut all, mut maps) = (head, Ends::default(), Ends::default());
    for (band, share) in bands.iter().zip(shares(high - down, &natural, &soft)) {
        for (frame, panel) in band.draw(&mut scene, y, share, &pen) {
            all.take(frame);
            if !page.one_scale || panel.is_heat() {
                maps.take(frame);
            }
        }
        y += band.down() + share.max(0.0) + between;
    }
    if let Some(bar) = bar {
        let rect = Rect { x: maps.x.1 + 0.9 * em, y: maps.y.0, w: 0.85 * em, h: maps.y.1 - maps.y.0 };
        let beyond = page.one_scale && panels().any(|p| p.exceeds(pen.max));
        let (long, short) = match pen.scale {
            Scale::Log(_) => ("log p (nats), one scale", "log p (nats)"),
            _ => ("density, one scale", "density"),
        };
        let said = if page.one_scale && width(long, em) < rect.h { long } else { short };
        bar.draw(&mut scene, rect.snapped(), said, beyond, &pen);
    }
    strip.draw(&mut scene, all.x, high - pad - print.room() - strip.room() + 0.3 * em, &pen);
    print.draw(&mut scene, all.x, high - pad - print.room(), &pen);
    title(&mut scene, 0.5 * (all.x.0 + all.x.1), &pen, options);
    scene
}

/// The heights for the panels of each band: as many as there are in all, charts giving way before maps do.
fn shares(room: f64, natural: &[f64], soft: &[bool]) -> Vec<f64> {
    // Below this part of its natural height a chart shows little.
    const LEAST: f64 = 0.6;
    if natural.len() == 1 {
        return vec![room];
    }
    let sum = |which: bool| -> f64 { natural.iter().zip(soft).filter(|(_, s)| **s == which).map(|(n, _)| n).sum() };
    let (rigid, yielding) = (sum(false), sum(true));
    let (hard, gentle) = if yielding > 0.0 && room >= rigid + LEAST * yielding {
        (1.0, (room - rigid) / yielding)
    } else if yielding > 0.0 && rigid > 0.0 {
        // Where the natural height of maps is far more than there is, they leave this part of the room to charts.
        let charts = (0.36 * room).min(LEAST * yielding).max(LEAST * yielding * room / (rigid + LEAST * yielding));
        ((room - charts) / rigid, charts / yielding)
    } else {
        let part = room / (rigid + yielding);
        (part, part)
    };
    natural.iter().zip(soft).map(|(n, s)| n * if *s { gentle } else { hard }).collect()
}

/// The outermost sides of some frames.
struct Ends {
    x: (f64, f64),
    y: (f64, f64),
}

impl Default for Ends {
    fn default() -> Self {
        Self { x: (f64::INFINITY, f64::NEG_INFINITY), y: (f64::INFINITY, f64::NEG_INFINITY) }
    }
}

impl Ends {
    fn take(&mut self, r: Rect) {
        self.x = (self.x.0.min(r.x), self.x.1.max(r.right()));
        self.y = (self.y.0.min(r.y), self.y.1.max(r.bottom()));
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
