//! The page as a bitmap: drawn three times too large, then averaged down.
//!
//! The averaging (a box filter) smooths lines and letters; all other code draws in page coordinates.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ColorType, ImageEncoder};
use plotters::prelude::{BitMapBackend, DrawingBackend, RGBColor};
use plotters::style::{FontTransform, TextStyle};

use super::colour::Rgb;
use super::scene::{Anchor, FINE, Mark, Rect, Scene, Spot, font, width};

/// The page in red, green, blue bytes of its own size.
pub(super) fn pixels(scene: &Scene) -> Result<Vec<u8>, String> {
    let (w, h) = (scene.size.0 as usize * FINE, scene.size.1 as usize * FINE);
    let mut canvas = Canvas { pixels: scene.background.repeat(w * h), w, h };
    for mark in &scene.marks {
        canvas.draw(mark)?;
    }
    Ok(averaged(&canvas))
}

/// RGB pixels as a PNG.
pub(super) fn encode(pixels: &[u8], (w, h): (u32, u32)) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Up)
        .write_image(pixels, w, h, ColorType::Rgb8)
        .map_err(|e| e.to_string())?;
    Ok(bytes)
}

struct Canvas {
    pixels: Vec<u8>,
    w: usize,
    h: usize,
}

impl Canvas {
    fn draw(&mut self, mark: &Mark) -> Result<(), String> {
        let fine = FINE as f64;
        match mark {
            Mark::Box { rect, colour } => self.fill(rect, *colour),
            Mark::Line { spots, width, colour } => {
                let radius = 0.5 * width * fine;
                if spots.len() == 1 {
                    self.segment(spots[0], spots[0], radius, *colour);
                }
                for pair in spots.windows(2) {
                    self.segment(pair[0], pair[1], radius, *colour);
                }
            }
            Mark::Disc { at, radius, colour } => self.segment(*at, *at, radius * fine, *colour),
            Mark::Area { spots, colour } => {
                let outline: Vec<_> =
                    spots.iter().map(|s| ((s.0 * fine).round() as i32, (s.1 * fine).round() as i32)).collect();
                let [r, g, b] = *colour;
                self.plotters().fill_polygon(outline, &RGBColor(r, g, b)).map_err(|e| e.to_string())?;
            }
            Mark::Words { text, at, size, anchor, up, colour } => {
                let em = size * fine;
                let back = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => 0.5 * width(text, em),
                    Anchor::End => width(text, em),
                };
                // plotters puts the baseline half a font size below the top of its box.
                let rise = 0.5 * font(em).get_size();
                let (dx, dy) = if *up { (-rise, back) } else { (-back, -rise) };
                let turn = if *up { FontTransform::Rotate270 } else { FontTransform::None };
                let [r, g, b] = *colour;
                let colour = RGBColor(r, g, b);
                let style = TextStyle::from(font(em).transform(turn)).color(&colour);
                let place = ((at.0 * fine + dx).round() as i32, (at.1 * fine + dy).round() as i32);
                self.plotters().draw_text(text, &style, place).map_err(|e| e.to_string())?;
            }
            Mark::Image { rect, pixels, .. } => self.blit(rect, pixels),
        }
        Ok(())
    }

    fn plotters(&mut self) -> BitMapBackend<'_> {
        let size = (self.w as u32, self.h as u32);
        BitMapBackend::with_buffer(&mut self.pixels, size)
    }

    fn fill(&mut self, rect: &Rect, colour: Rgb) {
        let fine = FINE as f64;
        let column = |x: f64| (x * fine).round().clamp(0.0, self.w as f64) as usize;
        let line = |y: f64| (y * fine).round().clamp(0.0, self.h as f64) as usize;
        let (x0, x1, y0, y1) = (column(rect.x), column(rect.right()), line(rect.y), line(rect.bottom()));
        for y in y0..y1 {
            for pixel in self.pixels[3 * (y * self.w + x0)..3 * (y * self.w + x1)].chunks_exact_mut(3) {
                pixel.copy_from_slice(&colour);
            }
        }
    }

    /// Every pixel whose centre is within `radius` of the segment.
    fn segment(&mut self, a: Spot, b: Spot, radius: f64, colour: Rgb) {
        let fine = FINE as f64;
        let (a, b) = ((a.0 * fine, a.1 * fine), (b.0 * fine, b.1 * fine));
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length2 = dx * dx + dy * dy;
        let low = |p: f64, q: f64| (p.min(q) - radius).floor().max(0.0) as usize;
        let high = |p: f64, q: f64, end: usize| ((p.max(q) + radius).ceil().max(0.0) as usize).min(end);
        for y in low(a.1, b.1)..high(a.1, b.1, self.h) {
            for x in low(a.0, b.0)..high(a.0, b.0, self.w) {
                let (px, py) = (x as f64 + 0.5 - a.0, y as f64 + 0.5 - a.1);
                let s = if length2 > 0.0 { ((px * dx + py * dy) / length2).clamp(0.0, 1.0) } else { 0.0 };
                if (px - s * dx).powi(2) + (py - s * dy).powi(2) <= radius * radius {
                    let at = 3 * (y * self.w + x);
                    self.pixels[at..at + 3].copy_from_slice(&colour);
                }
            }
        }
    }

    fn blit(&mut self, rect: &Rect, image: &[u8]) {
        let fine = FINE as f64;
        let (x0, y0) = ((rect.x * fine) as usize, (rect.y * fine) as usize);
        let wide = (rect.w * fine) as usize;
        let seen = wide.min(self.w.saturating_sub(x0));
        for (y, row) in image.chunks_exact(3 * wide).enumerate().take(self.h.saturating_sub(y0)) {
            let at = 3 * ((y0 + y) * self.w + x0);
            self.pixels[at..at + 3 * seen].copy_from_slice(&row[..3 * seen]);
        }
    }
}

/// The mean over each `FINE` × `FINE` block.
fn averaged(canvas: &Canvas) -> Vec<u8> {
    let (w, h) = (canvas.w / FINE, canvas.h / FINE);
    let area = (FINE * FINE) as u32;
    let mut out = Vec::with_capacity(3 * w * h);
    let mut sums = vec![0u32; 3 * w];
    for y in 0..h {
        sums.fill(area / 2);
        for line in canvas.pixels[3 * canvas.w * FINE * y..3 * canvas.w * FINE * (y + 1)].chunks_exact(3 * canvas.w) {
            for (sum, block) in sums.chunks_exact_mut(3).zip(line.chunks_exact(3 * FINE)) {
                for pixel in block.chunks_exact(3) {
                    for (s, &p) in sum.iter_mut().zip(pixel) {
                        *s += u32::from(p);
                    }
                }
            }
        }
        out.extend(sums.iter().map(|s| (s / area) as u8));
    }
    out
}
