//! One panel onto the page: its image, its curves, its frame with ticks, its legend.

use super::axis::{Tick, fitting, fitting_ratios};
use super::images::mosaic;
use super::legend::{legend, shortened};
use super::panel::{Layer, Panel};
use super::pen::Style;
use super::scene::{Anchor, Mark, Rect, Scene, Spot, clipped, width, words_box};
use super::{marks, raster};

/// The ticks of a panel, and which sides are labelled.
#[derive(Clone)]
pub(super) struct Edges {
    pub x: Vec<Tick>,
    pub y: Vec<Tick>,
    pub x_labels: bool,
    pub y_labels: bool,
    /// From the panel's left side to the baseline of the vertical label.
    pub y_name: f64,
}

impl Edges {
    /// Ticks for a panel of about this size; the labels are decided by the layout.
    pub fn new(panel: &Panel, across: f64, down: f64, em: f64) -> Self {
        let along = |axis: &super::Axis, pixels: f64, room: &dyn Fn(&str) -> f64| match (axis.ticks, axis.log) {
            (false, _) => Vec::new(),
            (true, false) => fitting(axis.range, pixels, room),
            (true, true) => fitting_ratios(axis.range, pixels, room),
        };
        let x = along(&panel.x, across, &|label| width(label, 0.9 * em) + 1.1 * em);
        let y = along(&panel.y, down, &|_| 1.9 * em);
        Self { x, y, x_labels: panel.x.ticks, y_labels: panel.y.ticks, y_name: 0.0 }
    }

    /// Fewer ticks where the frame has become so small that labels of one axis would touch.
    pub fn coarsened(&self, panel: &Panel, frame: Rect, em: f64) -> Self {
        let mut found = self.clone();
        let said = |ticks: &[Tick]| -> Vec<Tick> { ticks.iter().filter(|t| !t.1.is_empty()).cloned().collect() };
        let place = |t: &Tick| panel.y.place(t.0) * frame.h;
        if !said(&self.y).windows(2).all(|w| (place(&w[1]) - place(&w[0])).abs() >= 1.1 * em) {
            found.y = Self::new(panel, 0.0, frame.h, em).y;
        }
        let place = |t: &Tick| panel.x.place(t.0) * frame.w;
        let half = |t: &Tick| 0.5 * width(&t.1, 0.9 * em);
        let fits = |w: &[Tick]| (place(&w[1]) - place(&w[0])).abs() >= half(&w[0]) + half(&w[1]) + 0.5 * em;
        if !said(&self.x).windows(2).all(fits) {
            found.x = Self::new(panel, frame.w, 0.0, em).x;
        }
        found
    }

    /// The place on the page of the label of a tick of the horizontal axis.
    fn x_label_at(frame: Rect, panel: &Panel, value: f64, pen: &Style) -> Spot {
        (frame.x + panel.x.place(value) * frame.w, frame.bottom() + pen.tick() + 0.98 * pen.em)
    }

    /// The place on the page of the label of a tick of the vertical axis.
    fn y_label_at(frame: Rect, panel: &Panel, value: f64, pen: &Style) -> Spot {
        let y = frame.bottom() - panel.y.place(value) * frame.h;
        (frame.x - pen.tick() - 0.25 * pen.em, y + 0.32 * pen.em)
    }

    /// The boxes of the labels of ticks, with the axis (0 for the horizontal one) and the tick of each.
    pub fn boxes(&self, frame: Rect, panel: &Panel, pen: &Style) -> Vec<(Rect, usize, usize)> {
        let size = 0.9 * pen.em;
        let mut boxes = Vec::new();
        if self.x_labels {
            for (k, (value, text)) in self.x.iter().enumerate().filter(|(_, t)| !t.1.is_empty()) {
                let at = Self::x_label_at(frame, panel, *value, pen);
                boxes.push((words_box(text, at, size, Anchor::Middle, false), 0, k));
            }
        }
        if self.y_labels {
            for (k, (value, text)) in self.y.iter().enumerate().filter(|(_, t)| !t.1.is_empty()) {
                let at = Self::y_label_at(frame, panel, *value, pen);
                boxes.push((words_box(text, at, size, Anchor::End, false), 1, k));
            }
        }
        boxes
    }

    /// The width of the widest label of the vertical axis.
    pub fn widest(&self, em: f64) -> f64 {
        self.y.iter().map(|(_, label)| width(label, em)).fold(0.0, f64::max)
    }
}

/// Draw `panel` so that its frame is `rect` (with whole corners).
pub(super) fn panel(scene: &mut Scene, rect: Rect, panel: &Panel, edges: &Edges, pen: &Style) {
    let on = |x: f64, y: f64| (rect.x + panel.x.place(x) * rect.w, rect.bottom() - panel.y.place(y) * rect.h);
    if panel.has_pixels() {
        let (w, h) = (rect.w as usize * pen.fine, rect.h as usize * pen.fine);
        let pixels = raster::image(panel, pen, w, h);
        scene.marks.push(Mark::Image { rect, fine: pen.fine, pixels });
    } else if !panel.is_map() {
        for (value, _) in edges.y.iter().filter(|t| !t.1.is_empty()) {
            let y = on(panel.x.range.0, *value).1;
            scene.line(vec![(rect.x, y), (rect.right(), y)], pen.hair(), pen.theme.guide());
        }
    }
    for layer in &panel.layers {
        draw_layer(scene, rect, &on, layer, pen);
    }
    marks::draw(scene, rect, panel, &on, pen);
    frame(scene, rect, panel, edges, pen);
    legend(scene, rect, panel, pen);
}

fn draw_layer(scene: &mut Scene, rect: Rect, on: &dyn Fn(f64, f64) -> Spot, layer: &Layer, pen: &Style) {
    match layer {
        Layer::Heat { .. } | Layer::Dots { .. } | Layer::Marks { .. } => {}
        Layer::Images { shape, images, columns } => {
            let size = ((rect.w * pen.fine as f64) as usize, (rect.h * pen.fine as f64) as usize);
            let pixels = mosaic(*shape, images, *columns, size, pen.theme.background());
            scene.marks.push(Mark::Image { rect, fine: pen.fine, pixels });
        }
        Layer::Note { text } => {
            let (em, colour) = (0.9 * pen.em, pen.theme.faded(pen.theme.ink(), 0.6));
            let at = (rect.x + 0.5 * rect.w, rect.y + 0.5 * rect.h + 0.35 * em);
            scene.words(&shortened(text, em, 0.9 * rect.w), at, em, Anchor::Middle, colour);
        }
        Layer::Curve { points, tone, strength, dashed, .. } => {
            let colour = pen.theme.faded(pen.theme.tone(*tone), *strength);
            let thick = pen.hair()
                * if *strength < 0.5 {
                    0.8
                } else if *dashed {
                    1.3
                } else {
                    1.7
                };
            let spots: Vec<Spot> = points.iter().map(|p| on(p.0, p.1)).collect();
            for run in clipped(&spots, rect) {
                if *dashed {
                    scene.dashes(&run, thick, colour);
                } else {
                    scene.line(run, thick, colour);
                }
            }
        }
        Layer::PanelRow { points, tone } => {
            let colour = pen.theme.faded(pen.theme.tone(*tone), 0.22);
            let finite: Vec<_> =
                points.iter().filter(|p| p.0.is_finite() && p.1.is_finite() && p.2.is_finite()).collect();
            let inside = |(x, y): Spot| (x.clamp(rect.x, rect.right()), y.clamp(rect.y, rect.bottom()));
            let lower = finite.iter().map(|p| inside(on(p.0, p.1)));
            let upper = finite.iter().rev().map(|p| inside(on(p.0, p.2)));
            let spots: Vec<Spot> = lower.chain(upper).collect();
            if finite.len() > 1 {
                scene.marks.push(Mark::Area { spots, colour });
            }
        }
        Layer::Threads { lines } => {
            for (points, tone) in lines {
                let spots: Vec<Spot> = points.iter().map(|p| on(p.0, p.1)).collect();
                for run in clipped(&spots, rect) {
                    scene.line(run, 0.9 * pen.hair(), pen.theme.tone(*tone));
                }
            }
        }
        Layer::Discs { points } => {
            let radius = (0.14 * pen.em).max(1.7);
            // A rim separates a mark from its neighbours and from the map below it.
            let rim = pen.theme.background();
            for (point, tone) in points {
                let at = on(point.0, point.1);
                if rect.holds(at) {
                    scene.marks.push(Mark::Disc { at, radius: 1.3 * radius, colour: rim });
                    scene.marks.push(Mark::Disc { at, radius, colour: pen.theme.tone(*tone) });
                }
            }
        }
        Layer::Bars { range, heights, tone, filled, sideways, .. } => {
            let full = pen.theme.tone(*tone);
            let edge = |i: usize| range.0 + (range.1 - range.0) * i as f64 / heights.len() as f64;
            let place = |along: f64, up: f64| {
                let (x, y) = if *sideways { on(up, along) } else { on(along, up) };
                (x.clamp(rect.x, rect.right()), y.clamp(rect.y, rect.bottom()))
            };
            let finite = |h: f64| if h.is_finite() { h } else { 0.0 };
            let mut outline = vec![place(edge(0), 0.0)];
            for (i, &height) in heights.iter().enumerate() {
                outline.push(place(edge(i), finite(height)));
                outline.push(place(edge(i + 1), finite(height)));
            }
            outline.push(place(edge(heights.len()), 0.0));
            // One outline: boxes side by side would show seams.
            if *filled {
                scene.marks.push(Mark::Area { spots: outline, colour: pen.theme.faded(full, 0.38) });
            } else {
                scene.line(outline, 1.4 * pen.hair(), full);
            }
        }
    }
}

fn frame(scene: &mut Scene, rect: Rect, panel: &Panel, edges: &Edges, pen: &Style) {
    let (ink, colour, hair, em) = (pen.theme.ink(), pen.theme.frame(), pen.hair(), pen.em);
    let (left, right, top, bottom) = (rect.x, rect.right(), rect.y, rect.bottom());
    if panel.is_map() && (panel.x.ticks || panel.y.ticks) {
        scene.line(vec![(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], hair, colour);
    } else {
        if panel.x.ticks {
            scene.line(vec![(left, bottom), (right, bottom)], hair, colour);
        }
        if panel.y.ticks {
            scene.line(vec![(left, top), (left, bottom)], hair, colour);
        }
    }
    let small = 0.9 * em;
    for (value, label) in &edges.x {
        let x = left + panel.x.place(*value) * rect.w;
        let long = if label.is_empty() { 0.6 } else { 1.0 } * pen.tick();
        scene.line(vec![(x, bottom), (x, bottom + long)], hair, colour);
        if edges.x_labels && !label.is_empty() {
            scene.words(label, Edges::x_label_at(rect, panel, *value, pen), small, Anchor::Middle, ink);
        }
    }
    for (value, label) in &edges.y {
        let y = bottom - panel.y.place(*value) * rect.h;
        let long = if label.is_empty() { 0.6 } else { 1.0 } * pen.tick();
        scene.line(vec![(left - long, y), (left, y)], hair, colour);
        if edges.y_labels && !label.is_empty() {
            scene.words(label, Edges::y_label_at(rect, panel, *value, pen), small, Anchor::End, ink);
        }
    }
    let (across, up) = (panel.x.words(), panel.y.words());
    if edges.x_labels && !across.is_empty() {
        let at = (left + 0.5 * rect.w, bottom + pen.tick() + 2.35 * em);
        let (text, size) = named(&panel.x.label, &across, em, rect.w - 0.3 * em);
        scene.words(&text, at, size, Anchor::Middle, ink);
    }
    if edges.y_labels && !up.is_empty() {
        let at = (left - edges.y_name, top + 0.5 * rect.h);
        let (text, size) = named(&panel.y.label, &up, em, rect.h - 0.3 * em);
        scene.marks.push(Mark::Words { text, at, size, anchor: Anchor::Middle, up: true, colour: ink });
    }
    if !panel.title.is_empty() {
        let (text, size) = named(&panel.title, &panel.title, 1.06 * em, rect.w - 0.3 * em);
        scene.words(&text, (left + 0.5 * rect.w, top - 0.55 * em), size, Anchor::Middle, ink);
    }
}

/// `text` beside a frame so long: smaller where it would reach into the neighbours, then cut short. What follows upon
/// `name`, as what the labels leave out, is kept.
fn named(name: &str, text: &str, em: f64, long: f64) -> (String, f64) {
    let size = em * (long / width(text, em).max(1e-9)).clamp(0.7, 1.0);
    let rest = text.strip_prefix(name).filter(|rest| !rest.is_empty());
    match rest {
        Some(rest) if width(text, size) > long => {
            (shortened(name, size, (long - width(rest, size)).max(0.0)) + rest, size)
        }
        _ => (shortened(text, size, long), size),
    }
}
