//! What a written picture says of itself.

use std::path::Path;

/// The size that a picture's own head states, once it was found whole.
pub fn stated_size(path: &Path) -> (u32, u32) {
    let bytes = std::fs::read(path).unwrap();
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        assert!(bytes.ends_with(b"IEND\xaeB`\x82"), "the PNG is cut short");
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        return (word(16), word(20));
    }
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"), "the SVG is cut short");
    let drawn: String = text.split("base64,").map(|part| part.split_once('"').map_or(part, |p| p.1)).collect();
    assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "the SVG holds what is no number");
    let number = |key: &str| text.split(key).nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    (number("width=\""), number("height=\""))
}

/// The words of an SVG, in order.
pub fn words(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("</text>").filter_map(|part| Some(part.rsplit_once('>')?.1.to_owned())).collect()
}

/// Boxes that the words of an SVG surely cover: left, top, right, bottom. Narrow, for letters are wider than half an
/// em.
pub fn boxes(path: &Path) -> Vec<([f64; 4], String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let one = |part: &str| {
        let value = |key: &str| part.split(&format!("{key}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
        let number = |key: &str| value(key).parse::<f64>().unwrap();
        let words = part.split_once('>').unwrap().1.split('<').next().unwrap().to_owned();
        let (x, y, em) = (number(" x"), number(" y"), number("font-size"));
        let long = 0.5 * em * words.chars().count() as f64;
        let before = match &*value("text-anchor") {
            "start" => 0.0,
            "middle" => 0.5 * long,
            _ => long,
        };
        let upright = part.contains("rotate(-90");
        let place = if upright {
            [x - 0.7 * em, y + before - long, x, y + before]
        } else {
            [x - before, y - 0.7 * em, x - before + long, y]
        };
        (place, words)
    };
    text.split("<text").skip(1).map(one).collect()
}

/// The images of an SVG, in order, as they are written.
pub fn images(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("base64,").skip(1).map(|part| part.split('"').next().unwrap().to_owned()).collect()
}
