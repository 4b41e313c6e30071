//! The colour bar: which density a colour means.

use super::axis::fitting;
use super::colour::Scale;
use super::pen::Style;
use super::scene::{Anchor, Mark, Rect, Scene, width};

/// The colour bar beside the panels.
pub(super) struct Bar {
    ticks: Vec<(f64, String)>,
    widest: f64,
    em: f64,
}

impl Bar {
    pub fn new(pen: &Style, high: f64) -> Self {
        let em = pen.em;
        let mut ticks = match pen.scale {
            // The logarithm in nats, as log p is everywhere; the place of each is that of its density.
            Scale::Log(span) => {
                let top = pen.max.ln();
                fitting((top - span * std::f64::consts::LN_10, top), high, |_| 2.6 * em)
                    .into_iter()
                    .map(|(log, label)| (log.exp(), label))
                    .collect()
            }
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
    pub fn room(&self) -> f64 {
        self.widest + 4.2 * self.em
    }

    /// `said`: the words beside it. `beyond`: there are densities beyond the end of the colours, and the bar gets a
    /// tip.
    pub fn draw(&self, scene: &mut Scene, rect: Rect, said: &str, beyond: bool, pen: &Style) {
        let (wide, high) = (rect.w as usize * pen.fine, rect.h as usize * pen.fine);
        let last = pen.map.len() - 1;
        let pixels = (0..high).rev().flat_map(|j| pen.map[j * last / (high - 1).max(1)].repeat(wide)).collect();
        scene.marks.push(Mark::Image { rect, fine: pen.fine, pixels });
        let (left, right, top, bottom) = (rect.x, rect.right(), rect.y, rect.bottom());
        let colour = pen.theme.frame();
        let mut outline = vec![(left, top), (left, bottom), (right, bottom), (right, top)];
        if beyond {
            let tip = (0.5 * (left + right), top - 0.7 * pen.em);
            scene.marks.push(Mark::Area { spots: vec![(left, top), tip, (right, top)], colour: pen.map[last] });
            outline.push(tip);
        }
        outline.push((left, top));
        scene.line(outline, pen.hair(), colour);
        for (value, label) in &self.ticks {
            let y = bottom - pen.scale.place(*value, pen.max) * rect.h;
            scene.line(vec![(right, y), (right + pen.tick(), y)], pen.hair(), colour);
            let at = (right + pen.tick() + 0.3 * pen.em, y + 0.32 * pen.em);
            scene.words(label, at, 0.9 * pen.em, Anchor::Start, pen.theme.ink());
        }
        let at = (right + pen.tick() + self.widest + 1.5 * pen.em, 0.5 * (top + bottom));
        let (text, size, colour) = (said.into(), pen.em, pen.theme.ink());
        scene.marks.push(Mark::Words { text, at, size, anchor: Anchor::Middle, up: true, colour });
    }
}
