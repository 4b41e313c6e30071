//! From the page to the file: the ending chooses the writer, and the file appears whole or not at all.

use std::io::Write;
use std::path::Path;

use super::scene::{FINE, Scene};
use super::{Options, png, svg};
use crate::error::{Error, Result};

#[derive(Clone, Copy)]
enum Format {
    Png,
    Svg,
}

/// The smallest and largest side, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 64..=8192;

fn format(path: &Path) -> Result<Format> {
    let ending = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "png" => Ok(Format::Png),
        "svg" => Ok(Format::Svg),
        _ => Err(Error::Unknown { kind: "picture format", name: ending, known: "png, svg".into() }),
    }
}

/// What is wrong with the name or the size, before any work is done.
///
/// Returns how many pixels of an image the format uses per output pixel and side.
pub(super) fn check(path: &Path, size: Option<(u32, u32)>, options: &Options) -> Result<usize> {
    let fine = match format(path)? {
        Format::Png => FINE,
        // Two serve a dense screen; more would only be bytes.
        Format::Svg => 2,
    };
    check_size(size, options)?;
    Ok(fine * enlarged(options) as usize)
}

/// How many times as large the page is written.
fn enlarged(options: &Options) -> u32 {
    options.enlarged.unwrap_or(1)
}

/// What is wrong with the size.
pub(super) fn check_size(size: Option<(u32, u32)>, options: &Options) -> Result<()> {
    let times = enlarged(options);
    if !(1..=8).contains(&times) {
        return Err(Error::invalid(format!("a picture cannot be drawn {times} times as large"), "give 1 to 8"));
    }
    let size = size.map(|(w, h)| (w.saturating_mul(times), h.saturating_mul(times)));
    match size {
        Some((w, h)) if !(SIDES.contains(&w) && SIDES.contains(&h)) => Err(Error::invalid(
            format!("a picture of {w}×{h} pixels cannot be drawn"),
            format!("each side is between {} and {}", SIDES.start(), SIDES.end()),
        )),
        _ => Ok(()),
    }
}

/// Write the page beside `path`, then rename it into place.
pub(super) fn save(scene: Scene, path: &Path, options: &Options) -> Result<()> {
    #[cfg(test)]
    super::apart::record(&scene);
    let scene = &scene.times(enlarged(options));
    let drawn = match format(path)? {
        Format::Png => png::pixels(scene).and_then(|pixels| png::encode(&pixels, scene.size)),
        Format::Svg => svg::document(scene).map(String::into_bytes),
    };
    write(path, &drawn.map_err(|problem| Error::write(path, problem))?)
}

/// The bytes beside `path`, then renamed into place.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The mode of a plain create, less the umask.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut aside = builder.prefix(".picture-").tempfile_in(folder).map_err(|e| Error::write(path, e))?;
    aside.write_all(bytes).map_err(|e| Error::write(path, e))?;
    aside.persist(path).map_err(|e| Error::write(path, e.error))?;
    Ok(())
}
