//! Words for what is drawn: a board inside one panel, or lines below several.

use super::colour::Tone;
use super::panel::{Layer, Panel};
use super::pen::Style;
use super::scene::{Anchor, Mark, Rect, Scene, width};

/// How an entry of the legend looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Key {
    Line {
        strength: f64,
        dashed: bool,
    },
    Swatch,
    Outline,
    Disc,
    /// A curve with marks.
    Marked,
}

/// An entry: its words, whose it is and how it looks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub label: String,
    pub tone: Tone,
    pub key: Key,
}

fn entry(layer: &Layer) -> Option<Entry> {
    let (label, tone, key) = match layer {
        Layer::Curve { label, tone, strength, dashed, .. } => {
            (label, *tone, Key::Line { strength: *strength, dashed: *dashed })
        }
        Layer::Bars { label, tone, filled: true, .. } => (label, *tone, Key::Swatch),
        Layer::Bars { label, tone, filled: false, .. } => (label, *tone, Key::Outline),
        Layer::Dots { label, tone, .. } => (label, *tone, Key::Disc),
        Layer::Heat { .. }
        | Layer::PanelRow { .. }
        | Layer::Threads { .. }
        | Layer::Discs { .. }
        | Layer::Note { .. }
        | Layer::Images { .. }
        | Layer::Marks { .. } => {
            return None;
        }
    };
    (!label.is_empty()).then(|| Entry { label: label.clone(), tone, key })
}

/// The legend of one panel, in its upper right corner.
pub(super) fn legend(scene: &mut Scene, rect: Rect, panel: &Panel, pen: &Style) {
    let entries: Vec<Entry> = panel.layers.iter().filter_map(entry).collect();
    let Some(widest) = entries.iter().map(|e| width(&e.label, 0.9 * pen.em)).reduce(f64::max) else {
        return;
    };
    let em = pen.em;
    let size = (widest + 3.2 * em, (1.4 * entries.len() as f64 + 0.5) * em);
    let board = Rect { x: rect.right() - size.0 - 0.3 * em, y: rect.y + 0.3 * em, w: size.0, h: size.1 };
    scene.marks.push(Mark::Box { rect: board, colour: pen.theme.background() });
    for (i, entry) in entries.iter().enumerate() {
        draw(scene, (board.x + 0.5 * em, board.y + (0.95 + 1.4 * i as f64) * em), entry, pen);
    }
}

/// One entry with its sample's left end at a place.
fn draw(scene: &mut Scene, (x, y): (f64, f64), entry: &Entry, pen: &Style) {
    let (em, hair, theme) = (pen.em, pen.hair(), pen.theme);
    let full = theme.tone(entry.tone);
    let around = |h: f64| Rect { x: x + 0.2 * em, y: y - 0.5 * h, w: 1.2 * em, h };
    let stroke = vec![(x, y), (x + 1.7 * em, y)];
    match entry.key {
        Key::Line { strength, dashed: true } => scene.dashes(&stroke, 1.3 * hair, theme.faded(full, strength)),
        Key::Line { strength, dashed: false } => {
            let thick = if strength < 0.5 { hair } else { 1.7 * hair };
            scene.line(stroke, thick, theme.faded(full, strength));
        }
        Key::Swatch => scene.marks.push(Mark::Box { rect: around(0.8 * em), colour: theme.faded(full, 0.38) }),
        Key::Outline => {
            let r = around(0.7 * em);
            let corners = vec![(r.x, r.bottom()), (r.x, r.y), (r.right(), r.y), (r.right(), r.bottom())];
            scene.line(corners, 1.4 * hair, full);
        }
        Key::Disc => scene.marks.push(Mark::Disc { at: (x + 0.85 * em, y), radius: 0.24 * em, colour: full }),
        Key::Marked => {
            scene.line(stroke, 1.7 * hair, full);
            scene.marks.push(Mark::Disc { at: (x + 0.85 * em, y), radius: 0.26 * em, colour: full });
        }
    }
    scene.words(&entry.label, (x + 2.2 * em, y + 0.32 * em), 0.9 * em, Anchor::Start, theme.ink());
}

/// Entries in lines below everything, as many beside each other as the width holds.
pub(super) struct Strip {
    lines: Vec<Vec<(f64, Entry)>>,
    em: f64,
}

impl Strip {
    /// The lines that fit into `wide` pixels. A name that alone is too long is shortened.
    pub fn new(entries: &[Entry], wide: f64, em: f64) -> Self {
        let mut strip = Self { lines: lines(entries, wide, em), em };
        // Lines about equally long: a narrower page that needs no more of them.
        for part in (50..100).rev() {
            let other = lines(entries, 0.01 * f64::from(part) * wide, em);
            if other.len() > strip.lines.len() {
                break;
            }
            strip.lines = other;
        }
        strip
    }

    /// Its height.
    pub fn room(&self) -> f64 {
        if self.lines.is_empty() { 0.0 } else { (1.5 * self.lines.len() as f64 + 0.7) * self.em }
    }

    /// Centred between two sides, below `top`.
    pub fn draw(&self, scene: &mut Scene, sides: (f64, f64), top: f64, pen: &Style) {
        for (i, line) in self.lines.iter().enumerate() {
            let long = line.iter().map(|e| e.0).sum::<f64>() - 2.0 * self.em;
            let mut x = (0.5 * (sides.0 + sides.1 - long)).max(0.5 * self.em);
            let y = top + (1.2 + 1.5 * i as f64) * self.em;
            for (long, entry) in line {
                draw(scene, (x, y), entry, pen);
                x += long;
            }
        }
    }
}

/// Entries with their widths, a new line wherever the next would pass `wide`.
fn lines(entries: &[Entry], wide: f64, em: f64) -> Vec<Vec<(f64, Entry)>> {
    let mut lines: Vec<Vec<(f64, Entry)>> = Vec::new();
    let mut used = f64::INFINITY;
    for entry in entries {
        let label = shortened(&entry.label, 0.9 * em, wide - 4.2 * em);
        let long = width(&label, 0.9 * em) + 4.2 * em;
        if used + long > wide {
            lines.push(Vec::new());
            used = 0.0;
        }
        used += long;
        if let Some(line) = lines.last_mut() {
            line.push((long, Entry { label, ..entry.clone() }));
        }
    }
    lines
}

/// Small print below everything, in lines as long as the page is wide.
pub(super) struct Print {
    lines: Vec<String>,
    em: f64,
}

impl Print {
    const SIZE: f64 = 0.86;

    /// The lines that fit into `wide` pixels, broken between words; each note begins one.
    pub fn new(notes: &[String], wide: f64, em: f64) -> Self {
        let size = Self::SIZE * em;
        let mut lines = Vec::new();
        for note in notes {
            let mut line = String::new();
            for word in note.split_whitespace() {
                let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
                if width(&longer, size) <= wide || line.is_empty() {
                    line = longer;
                } else {
                    lines.push(std::mem::replace(&mut line, word.to_owned()));
                }
            }
            lines.push(line);
        }
        let lines = lines.iter().filter(|line| !line.is_empty()).map(|line| shortened(line, size, wide)).collect();
        Self { lines, em }
    }

    /// Its height.
    pub fn room(&self) -> f64 {
        if self.lines.is_empty() { 0.0 } else { (1.25 * self.lines.len() as f64 + 0.6) * self.em }
    }

    /// Centred between two sides where it fits there, else on the page, below `top`.
    pub fn draw(&self, scene: &mut Scene, sides: (f64, f64), top: f64, pen: &Style) {
        let size = Self::SIZE * self.em;
        for (i, line) in self.lines.iter().enumerate() {
            let half = 0.5 * width(line, size) + 0.5 * self.em;
            let x = (0.5 * (sides.0 + sides.1)).min(f64::from(scene.size.0) - half).max(half);
            let at = (x, top + (1.2 + 1.25 * i as f64) * self.em);
            scene.words(line, at, size, Anchor::Middle, pen.theme.faded(pen.theme.ink(), 0.75));
        }
    }
}

/// What stands above a column of panels: whose they are, and a score.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Heading {
    pub text: String,
    /// A smaller line below it; may be empty.
    pub note: String,
    /// The tone of the disc before the name, if it has one elsewhere in the picture.
    pub tone: Option<Tone>,
}

impl Heading {
    /// The height that some of them need, side by side.
    pub fn room(all: &[Self], em: f64) -> f64 {
        match (all.is_empty(), all.iter().all(|h| h.note.is_empty())) {
            (true, _) => 0.0,
            (false, true) => 1.7 * em,
            (false, false) => 3.0 * em,
        }
    }

    /// Below `top`, `wide` being the room from one heading to the next.
    pub fn draw(&self, scene: &mut Scene, centre: f64, top: f64, wide: f64, pen: &Style) {
        let (em, theme) = (pen.em, pen.theme);
        let y = top + 1.15 * em;
        if !self.note.is_empty() {
            let note = shortened(&self.note, 0.86 * em, wide);
            scene.words(&note, (centre, y + 1.25 * em), 0.86 * em, Anchor::Middle, theme.faded(theme.ink(), 0.75));
        }
        let disc = if self.tone.is_some() { 1.0 * em } else { 0.0 };
        let text = shortened(&self.text, 1.06 * em, wide - disc);
        scene.words(&text, (centre + 0.5 * disc, y), 1.06 * em, Anchor::Middle, theme.ink());
        if let Some(tone) = self.tone {
            let left = centre - 0.5 * width(&text, 1.06 * em);
            let at = (left - 0.2 * em, y - 0.37 * em);
            scene.marks.push(Mark::Disc { at, radius: 0.31 * em, colour: theme.tone(tone) });
        }
    }
}

/// `text`, or as much of its beginning as fits into `wide` pixels, with an ellipsis.
pub(super) fn shortened(text: &str, em: f64, wide: f64) -> String {
    if width(text, em) <= wide {
        return text.into();
    }
    let mut kept = text.to_owned();
    while kept.pop().is_some() {
        let shorter = format!("{}…", kept.trim_end());
        if width(&shorter, em) <= wide {
            return shorter;
        }
    }
    "…".into()
}
