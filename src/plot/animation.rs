//! Sheets one after another as a GIF that loops.
//!
//! A GIF has 256 colours. All frames here share one palette that is made of what pictures are drawn with (the density
//! map, the inks, the tones and their way into the background), so that no colour trembles from frame to frame; a
//! palette fitted to each frame is rejected for that reason, and dithering too, since GIF compresses it badly.

use std::collections::HashMap;
use std::path::Path;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, RgbaImage};

use super::colour::{Rgb, Theme, Tone, blend};
use super::layout::{Figure, compose};
use super::scene::{FINE, Scene};
use super::sheet::PanelGrid;
use super::{Options, file, png};
use crate::error::{Error, Result};

/// Steps of the density map in the palette.
const MAP_STEPS: usize = 80;
/// Places of the colour wheel in the palette; tones between them are drawn as the nearest.
pub(super) const HUES: usize = 16;

/// One picture of the film.
pub(super) struct Still {
    pub sheet: PanelGrid,
    /// The line above it.
    pub title: String,
    /// For how long it is seen, in hundredths of a second.
    pub hold: u32,
}

/// Writes the film, and returns its length in bytes. Every still has the size that the options set.
///
/// # Errors
/// [`Error::Unknown`] for a file that does not end in `.gif`; else as for [`super::panels`].
pub(super) fn animation(
    path: &Path,
    stills: impl Iterator<Item = Still>,
    size: (u32, u32),
    options: &Options,
) -> Result<usize> {
    let frames = stills.map(|Still { sheet, title, hold }| {
        sheet.check()?;
        let options = Options { size: Some(size), title: Some(title), enlarged: None, ..options.clone() };
        Ok((compose(&Figure::from(sheet), FINE, &options), hold))
    });
    encode(path, frames, size, Palette::new(options.theme), options)
}

/// The hundredths of a second for which a frame is seen: so many frames in a second, the last for `pause` seconds.
pub(super) fn hold(last: bool, per_second: u32, pause: f64) -> u32 {
    let held = if last { 100.0 * pause } else { 100.0 / f64::from(per_second.max(1)) };
    held.round().max(2.0) as u32
}

/// Writes pages of one size, each with the hundredths of a second for which it is seen, and returns the length of the
/// file in bytes.
///
/// # Errors
/// As [`animation`].
pub(super) fn encode(
    path: &Path,
    frames: impl Iterator<Item = Result<(Scene, u32)>>,
    size: (u32, u32),
    mut palette: Palette,
    options: &Options,
) -> Result<usize> {
    check(path, size, options)?;
    let mut bytes = Vec::new();
    let failed = |e: &dyn std::fmt::Display| Error::write(path, e);
    {
        // The speed only matters beyond 256 colours, of which there are none.
        let mut encoder = GifEncoder::new_with_speed(&mut bytes, 30);
        encoder.set_repeat(Repeat::Infinite).map_err(|e| failed(&e))?;
        for frame in frames {
            let (scene, hold) = frame?;
            let pixels = png::pixels(&scene).map_err(|e| failed(&e))?;
            let (w, h) = scene.size;
            let seen = pixels.chunks_exact(3).flat_map(|p| palette.nearest([p[0], p[1], p[2]]));
            let image = RgbaImage::from_raw(w, h, seen.collect()).ok_or_else(|| failed(&"a frame is cut short"))?;
            let frame = Frame::from_parts(image, 0, 0, Delay::from_numer_denom_ms(10 * hold, 1));
            encoder.encode_frame(frame).map_err(|e| failed(&e))?;
        }
    }
    file::write(path, &bytes)?;
    Ok(bytes.len())
}

/// What is wrong with the name or the size.
fn check(path: &Path, size: (u32, u32), options: &Options) -> Result<()> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if ending != "gif" {
        return Err(Error::Unknown { kind: "animation format", name: ending, known: "gif".into() });
    }
    file::check_size(Some(size), options)
}

/// At most 256 colours, and which of them each colour becomes.
pub(super) struct Palette {
    colours: Vec<Rgb>,
    known: HashMap<Rgb, [u8; 4]>,
}

impl Palette {
    pub fn new(theme: Theme) -> Self {
        let map = theme.map();
        // Closer where the map is pale: there the eye sees a step first.
        let place = |i: usize| (i as f64 / (MAP_STEPS - 1) as f64).powf(1.15) * (map.len() - 1) as f64;
        let mut colours: Vec<Rgb> = (0..MAP_STEPS).map(|i| map[place(i).round() as usize]).collect();
        // What has smooth edges, on its way into the background.
        let mut fade = |colour: Rgb, strengths: &[f64]| {
            colours.extend(strengths.iter().map(|s| theme.faded(colour, *s)));
        };
        let third = [1.0 / 3.0, 2.0 / 3.0, 1.0];
        fade(theme.ink(), &std::array::from_fn::<f64, 16, _>(|i| (i + 1) as f64 / 16.0));
        fade(theme.frame(), &[0.5, 1.0]);
        fade(theme.guide(), &[1.0]);
        for tone in [Tone::Data, Tone::Model, Tone::Reference] {
            fade(theme.tone(tone), &[0.22, 0.38, 0.7, 1.0]);
        }
        for k in 0..HUES {
            fade(theme.tone(Tone::Hue((256 * k / HUES) as u8)), &third);
        }
        // Where a wheel's colour meets the dense end of the map.
        let dense = map[2 * map.len() / 3];
        for k in 0..HUES {
            colours.push(blend(dense, theme.tone(Tone::Hue((256 * k / HUES) as u8)), 0.5));
        }
        colours.sort_unstable();
        colours.dedup();
        debug_assert!(colours.len() <= 256, "{} colours", colours.len());
        colours.truncate(256);
        Self { colours, known: HashMap::new() }
    }

    /// Of images, grey or in colour: greys, or equal steps of red, green and blue; and the inks of a page.
    pub fn of_images(theme: Theme, grey: bool) -> Self {
        let step = |i: usize, n: usize| (255 * i / (n - 1)) as u8;
        let mut colours: Vec<Rgb> = match grey {
            true => (0..224).map(|i| [step(i, 224); 3]).collect(),
            false => {
                let at = |i: usize| [step(i / 40, 6), step(i / 5 % 8, 8), step(i % 5, 5)];
                (0..240).map(at).collect()
            }
        };
        colours.extend((0..=12).map(|i| theme.faded(theme.ink(), f64::from(i) / 12.0)));
        colours.sort_unstable();
        colours.dedup();
        debug_assert!(colours.len() <= 256, "{} colours", colours.len());
        Self { colours, known: HashMap::new() }
    }

    /// The nearest colour of the palette, opaque; of two as near the first.
    fn nearest(&mut self, colour: Rgb) -> [u8; 4] {
        let colours = &self.colours;
        *self.known.entry(colour).or_insert_with(|| {
            // Weights of the eye for red, green and blue.  Ref: Riemersma, *Colour metric* (low-cost form).
            let away = |c: &Rgb| {
                let part = |i: usize, weight: i64| weight * (i64::from(c[i]) - i64::from(colour[i])).pow(2);
                part(0, 3) + part(1, 4) + part(2, 2)
            };
            let [r, g, b] = colours.iter().copied().min_by_key(away).unwrap_or(colour);
            [r, g, b, 255]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_palette_of_images_has_every_grey_or_steps_of_each_colour() {
        for theme in [Theme::Light, Theme::Dark] {
            for (grey, most) in [(true, 1), (false, 32)] {
                let mut palette = Palette::of_images(theme, grey);
                assert!(palette.colours.len() <= 256);
                for level in 0..=255u8 {
                    let seen = palette.nearest([level; 3]);
                    let off = (0..3).map(|i| seen[i].abs_diff(level)).max().unwrap();
                    assert!(off <= most, "{level} becomes {seen:?}");
                }
                let [r, g, b, _] = palette.nearest(theme.background());
                assert_eq!([r, g, b], theme.background());
            }
        }
    }

    #[test]
    fn a_palette_fits_a_gif_and_holds_what_pictures_are_drawn_with() {
        for theme in [Theme::Light, Theme::Dark] {
            let mut palette = Palette::new(theme);
            assert!((128..=256).contains(&palette.colours.len()), "{}", palette.colours.len());
            let tones = [Tone::Data, Tone::Model, Tone::Reference, Tone::Hue(0), Tone::Hue(160)].map(|t| theme.tone(t));
            for colour in tones.into_iter().chain([theme.background(), theme.ink()]) {
                let [r, g, b, _] = palette.nearest(colour);
                assert_eq!([r, g, b], colour);
            }
            // A density's colour is off by no more than half a step of the map, and its rounding.
            for colour in theme.map() {
                let found = palette.nearest(colour);
                let off = (0..3).map(|i| found[i].abs_diff(colour[i])).max().unwrap();
                assert!(off <= 8, "{colour:?} becomes {found:?}");
            }
        }
    }
}
