//! Measurements on a chart: discs, arrows for those beyond its edge, and words beside them that cover nothing.

use super::colour::{Tone, blend};
use super::panel::{Layer, Panel};
use super::pen::Style;
use super::scene::{Anchor, Mark, Rect, Scene, Spot, clipped, width};

/// All marks of a panel, above its curves; labels last, each where no mark, curve or label is.
pub(super) fn draw(scene: &mut Scene, rect: Rect, panel: &Panel, on: &dyn Fn(f64, f64) -> Spot, pen: &Style) {
    let radius = (0.27 * pen.em).max(2.0);
    let mut taken: Vec<Rect> = Vec::new();
    let mut labels: Vec<(Spot, &str, Tone)> = Vec::new();
    for layer in &panel.layers {
        let Layer::Marks { points, tone } = layer else { continue };
        let mut named = Vec::new();
        for ((x, y), words) in points {
            let at = on(*x, *y);
            if at.0.is_nan() || at.1.is_nan() || !(rect.x..=rect.right()).contains(&at.0) {
                continue;
            }
            if rect.holds(at) {
                disc(scene, at, radius, *tone, pen);
            } else {
                arrow(scene, (at.0, at.1.clamp(rect.y, rect.bottom())), at.1 < rect.y, radius, *tone, pen);
            }
            let at = (at.0, at.1.max(rect.y + radius).min(rect.bottom() - radius));
            taken.push(around(at, radius));
            named.push((at, words.as_str(), *tone));
        }
        // The ends of a sweep matter most: they choose first.
        let last = named.len().saturating_sub(1);
        let order = [0, last].into_iter().chain(1..last).take(named.len());
        labels.extend(order.map(|i| named[i]).filter(|n| !n.1.is_empty()));
    }
    let mut lines: Vec<Vec<Spot>> = Vec::new();
    for layer in &panel.layers {
        if let Layer::Curve { points, .. } = layer {
            let spots: Vec<Spot> = points.iter().map(|p| on(p.0, p.1)).collect();
            lines.extend(clipped(&spots, rect));
        }
    }
    for (at, words, tone) in labels {
        let size = 0.78 * pen.em;
        let (w, h) = (width(words, size), 0.85 * size);
        let free =
            |r: &Rect| inside(r, rect) && !taken.iter().any(|t| meet(r, t)) && !lines.iter().any(|l| crossed(l, *r));
        if let Some(place) = places(at, radius + 0.3 * size, w, h).into_iter().find(free) {
            // The baseline lies a little above the box's bottom: digits have no descenders.
            // Half its tone, to show whose it is; half ink, to be legible.
            let colour = blend(pen.theme.ink(), pen.theme.tone(tone), 0.5);
            scene.words(words, (place.x, place.bottom() - 0.06 * size), size, Anchor::Start, colour);
            // The next words keep a space away.
            let space = 0.5 * size;
            taken.push(Rect { x: place.x - space, w: place.w + 2.0 * space, ..place });
        }
    }
}

/// The boxes of a label around its mark, the best first.
fn places(at: Spot, away: f64, w: f64, h: f64) -> [Rect; 10] {
    let near = 0.75 * away;
    [
        (at.0 - 0.5 * w, at.1 - away - h),
        (at.0 + near, at.1 - near - h),
        (at.0 + away, at.1 - 0.5 * h),
        (at.0 + near, at.1 + near),
        (at.0 - 0.5 * w, at.1 + away),
        (at.0 - near - w, at.1 - near - h),
        (at.0 - near - w, at.1 + near),
        (at.0 - away - w, at.1 - 0.5 * h),
        (at.0 - 0.15 * w, at.1 - 1.6 * away - h),
        (at.0 - 0.85 * w, at.1 + 1.6 * away),
    ]
    .map(|(x, y)| Rect { x, y, w, h })
}

fn around(at: Spot, r: f64) -> Rect {
    Rect { x: at.0 - r, y: at.1 - r, w: 2.0 * r, h: 2.0 * r }
}

fn inside(a: &Rect, b: Rect) -> bool {
    a.x >= b.x && a.right() <= b.right() && a.y >= b.y && a.bottom() <= b.bottom()
}

fn meet(a: &Rect, b: &Rect) -> bool {
    a.x < b.right() && b.x < a.right() && a.y < b.bottom() && b.y < a.bottom()
}

fn crossed(line: &[Spot], rect: Rect) -> bool {
    !clipped(line, rect).is_empty()
}

fn disc(scene: &mut Scene, at: Spot, radius: f64, tone: Tone, pen: &Style) {
    // A rim separates a mark from the curves that run through it.
    scene.marks.push(Mark::Disc { at, radius: radius + pen.hair(), colour: pen.theme.background() });
    scene.marks.push(Mark::Disc { at, radius, colour: pen.theme.tone(tone) });
}

/// A triangle with its tip on the edge: the measurement lies beyond.
fn arrow(scene: &mut Scene, (x, y): Spot, up: bool, radius: f64, tone: Tone, pen: &Style) {
    let back = if up { y + 1.8 * radius } else { y - 1.8 * radius };
    let spots = vec![(x - radius, back), (x, y), (x + radius, back)];
    scene.marks.push(Mark::Area { spots, colour: pen.theme.tone(tone) });
}
