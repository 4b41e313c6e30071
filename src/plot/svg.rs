//! The page as SVG: lines and words stay lines and words, each heat map or scatter is one embedded PNG.

use std::fmt::Write;

use super::colour::Rgb;
use super::png;
use super::scene::{Anchor, FAMILY, Mark, Scene, Spot};
use crate::base64::base64;

/// The whole document.
pub(super) fn document(scene: &Scene) -> Result<String, String> {
    let (w, h) = scene.size;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
         font-family=\"{FAMILY}, Verdana, sans-serif\">\n<rect width=\"{w}\" height=\"{h}\" fill=\"{}\"/>\n",
        hex(scene.background)
    );
    for mark in &scene.marks {
        write(&mut out, mark)?;
    }
    out.push_str("</svg>\n");
    Ok(out)
}

fn write(out: &mut String, mark: &Mark) -> Result<(), String> {
    match mark {
        Mark::Box { rect: r, colour } => {
            let size = format!("width=\"{}\" height=\"{}\"", short(r.w), short(r.h));
            *out += &format!("<rect x=\"{}\" y=\"{}\" {size} fill=\"{}\"/>\n", short(r.x), short(r.y), hex(*colour));
        }
        Mark::Line { spots, width, colour } => {
            *out += &format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" \
                 stroke-linejoin=\"round\" stroke-linecap=\"round\"/>\n",
                list(spots),
                hex(*colour),
                short(*width)
            );
        }
        Mark::Area { spots, colour } => {
            *out += &format!("<polygon points=\"{}\" fill=\"{}\"/>\n", list(spots), hex(*colour));
        }
        Mark::Disc { at, radius, colour } => {
            let place = format!("cx=\"{}\" cy=\"{}\"", short(at.0), short(at.1));
            *out += &format!("<circle {place} r=\"{}\" fill=\"{}\"/>\n", short(*radius), hex(*colour));
        }
        Mark::Words { text, at, size, anchor, up, colour } => {
            let (x, y) = (short(at.0), short(at.1));
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let turn = if *up { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
            *out += &format!(
                "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" text-anchor=\"{anchor}\" fill=\"{}\"{turn}>{}</text>\n",
                short(*size),
                hex(*colour),
                escaped(text)
            );
        }
        Mark::Image { rect: r, fine, pixels } => {
            let bytes = png::encode(pixels, ((r.w as usize * fine) as u32, (r.h as usize * fine) as u32))?;
            *out += &format!(
                "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" \
                 href=\"data:image/png;base64,{}\"/>\n",
                short(r.x),
                short(r.y),
                short(r.w),
                short(r.h),
                base64(&bytes)
            );
        }
    }
    Ok(())
}

fn hex([r, g, b]: Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Two decimals, without the zeros at the end.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn list(spots: &[Spot]) -> String {
    spots.iter().fold(String::new(), |mut text, s| {
        let gap = if text.is_empty() { "" } else { " " };
        // Writing into a String cannot fail.
        let _ = write!(text, "{gap}{},{}", short(s.0), short(s.1));
        text
    })
}

fn escaped(text: &str) -> String {
    // XML 1.0 has no way to write the control characters.
    let clean = text.replace(|c: char| c.is_control(), " ");
    clean.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
