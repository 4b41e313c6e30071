//! What is on the page: a list of marks in output pixels, y downwards, before any file format.

use std::sync::Once;

use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};

use super::colour::Rgb;

/// Bitmaps are drawn with this many pixels per output pixel and side.
pub(super) const FINE: usize = 3;

/// The family under which the carried font is known.
pub(super) const FAMILY: &str = "DejaVu Sans";

/// A place on the page.
pub(super) type Spot = (f64, f64);

/// A box on the page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub x: f64,
    pub y: f64,
    pub w: f64,
    pub h: f64,
}

impl Rect {
    pub fn right(&self) -> f64 {
        self.x + self.w
    }

    pub fn bottom(&self) -> f64 {
        self.y + self.h
    }

    /// Whether two boxes share more than an edge, when this one is larger by so much on each side.
    pub fn meets(&self, other: &Self, across: f64, down: f64) -> bool {
        self.x - across < other.right()
            && other.x < self.right() + across
            && self.y - down < other.bottom()
            && other.y < self.bottom() + down
    }

    /// Whether a place is inside.
    pub fn holds(&self, at: Spot) -> bool {
        (self.x..=self.right()).contains(&at.0) && (self.y..=self.bottom()).contains(&at.1)
    }

    /// The nearest box with whole corners, at least one pixel each way.
    pub fn snapped(&self) -> Self {
        let (x, y) = (self.x.round(), self.y.round());
        Self { x, y, w: (self.right().round() - x).max(1.0), h: (self.bottom().round() - y).max(1.0) }
    }
}

/// Which point of a text its place means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// One thing on the page.
pub(super) enum Mark {
    /// A filled box.
    Box { rect: Rect, colour: Rgb },
    /// A line with round joins.
    Line { spots: Vec<Spot>, width: f64, colour: Rgb },
    /// A filled outline.
    Area { spots: Vec<Spot>, colour: Rgb },
    /// A filled disc.
    Disc { at: Spot, radius: f64, colour: Rgb },
    /// Words; the place is on the baseline. `up`: read from below.
    Words { text: String, at: Spot, size: f64, anchor: Anchor, up: bool, colour: Rgb },
    /// Red, green, blue, `fine` pixels to the output pixel and side; the box has whole corners.
    Image { rect: Rect, fine: usize, pixels: Vec<u8> },
}

impl Mark {
    /// Everything `k` times as large.
    fn times(self, k: u32) -> Self {
        let (times, k) = (k as usize, f64::from(k));
        let spot = |(x, y): Spot| (k * x, k * y);
        let all = |spots: Vec<Spot>| spots.into_iter().map(spot).collect();
        let wide = |r: Rect| Rect { x: k * r.x, y: k * r.y, w: k * r.w, h: k * r.h };
        match self {
            Self::Box { rect, colour } => Self::Box { rect: wide(rect), colour },
            Self::Line { spots, width, colour } => Self::Line { spots: all(spots), width: k * width, colour },
            Self::Area { spots, colour } => Self::Area { spots: all(spots), colour },
            Self::Disc { at, radius, colour } => Self::Disc { at: spot(at), radius: k * radius, colour },
            Self::Words { text, at, size, anchor, up, colour } => {
                Self::Words { text, at: spot(at), size: k * size, anchor, up, colour }
            }
            // The same pixels over a larger box.
            Self::Image { rect, fine, pixels } => Self::Image { rect: wide(rect), fine: fine / times, pixels },
        }
    }
}

/// The page.
pub(super) struct Scene {
    pub size: (u32, u32),
    pub background: Rgb,
    pub marks: Vec<Mark>,
}

impl Scene {
    pub fn line(&mut self, spots: Vec<Spot>, width: f64, colour: Rgb) {
        if !spots.is_empty() {
            self.marks.push(Mark::Line { spots, width, colour });
        }
    }

    /// The page `k` times as large, lines and letters too. Its images must have been drawn with as many more pixels.
    pub fn times(self, k: u32) -> Self {
        let marks = self.marks.into_iter().map(|mark| mark.times(k)).collect();
        Self { size: (k * self.size.0, k * self.size.1), marks, ..self }
    }

    /// The line cut into dashes; both formats then agree on where they fall.
    pub fn dashes(&mut self, spots: &[Spot], width: f64, colour: Rgb) {
        let (on, period) = (4.0 * width, 6.5 * width);
        let mut walked = 0.0;
        let mut dash: Vec<Spot> = Vec::new();
        for pair in spots.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let length = (b.0 - a.0).hypot(b.1 - a.1);
            let mut at = 0.0;
            while at < length {
                let phase = (walked + at).rem_euclid(period);
                let drawn = phase < on;
                // A floor under the stride, lest rounding make it zero.
                let next = (at + (if drawn { on } else { period } - phase).max(0.05)).min(length);
                let spot = |s: f64| (a.0 + (b.0 - a.0) * s / length, a.1 + (b.1 - a.1) * s / length);
                if drawn {
                    if dash.is_empty() {
                        dash.push(spot(at));
                    }
                    dash.push(spot(next));
                } else if !dash.is_empty() {
                    self.line(std::mem::take(&mut dash), width, colour);
                }
                at = next;
            }
            walked += length;
        }
        self.line(dash, width, colour);
    }

    pub fn words(&mut self, text: &str, at: Spot, size: f64, anchor: Anchor, colour: Rgb) {
        self.marks.push(Mark::Words { text: text.into(), at, size, anchor, up: false, colour });
    }
}

/// The box of words on a page: digits and capitals, which reach from the baseline 0.73 em up.
pub(super) fn words_box(text: &str, at: Spot, size: f64, anchor: Anchor, up: bool) -> Rect {
    let (long, high) = (width(text, size), 0.73 * size);
    let before = match anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => 0.5 * long,
        Anchor::End => long,
    };
    match up {
        false => Rect { x: at.0 - before, y: at.1 - high, w: long, h: high },
        // Read from below: the text grows upwards from its anchor.
        true => Rect { x: at.0 - high, y: at.1 - (long - before), w: high, h: long },
    }
}

/// The carried font at `em` pixels per em.
///
/// plotters counts a font's size from ascender to descender: 0.928 + 0.236 em for DejaVu Sans.
pub(super) fn font(em: f64) -> FontDesc<'static> {
    static REGISTERED: Once = Once::new();
    // The bytes are compiled in and known to parse; were they not, the text would be missing, not the picture.
    REGISTERED.call_once(|| drop(register_font(FAMILY, FontStyle::Normal, dejavu::sans::regular())));
    FontDesc::new(FontFamily::Name(FAMILY), 1.164 * em, FontStyle::Normal)
}

/// The width of `text` at `em` pixels per em.
pub(super) fn width(text: &str, em: f64) -> f64 {
    // Measured large, since plotters rounds to whole pixels.
    font(100.0).layout_box(text).map_or(0.0, |((x0, _), (x1, _))| f64::from(x1 - x0) * em / 100.0)
}

/// The parts of a line that lie in the box.  Ref: Liang & Barsky, *A new concept and method for line clipping* (1984).
pub(super) fn clipped(spots: &[Spot], rect: Rect) -> Vec<Vec<Spot>> {
    let mut runs: Vec<Vec<Spot>> = Vec::new();
    let mut open = false;
    for pair in spots.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let (mut enter, mut leave) = (0.0f64, 1.0f64);
        let mut outside = !(dx.is_finite() && dy.is_finite());
        for (step, room) in
            [(-dx, a.0 - rect.x), (dx, rect.right() - a.0), (-dy, a.1 - rect.y), (dy, rect.bottom() - a.1)]
        {
            if step == 0.0 {
                outside |= room < 0.0;
            } else if step < 0.0 {
                enter = enter.max(room / step);
            } else {
                leave = leave.min(room / step);
            }
        }
        if outside || enter > leave {
            open = false;
            continue;
        }
        let at = |s: f64| (a.0 + s * dx, a.1 + s * dy);
        match runs.last_mut() {
            Some(run) if open && enter == 0.0 => run.push(at(leave)),
            _ => runs.push(vec![at(enter), at(leave)]),
        }
        open = leave == 1.0;
    }
    runs
}
