//! A folder of PNG images: all of one size and kind, in the order of their names.

use std::path::{Path, PathBuf};

use cnflow_kernels::ImageShape;

use super::refused;
use crate::{Error, Result};

/// The images of a folder, which are read one by one.
#[derive(Debug)]
pub(super) struct Pngs {
    files: Vec<PathBuf>,
    shape: ImageShape,
    /// Images given out.
    at: usize,
}

impl Pngs {
    /// The PNG files of a folder, in the order of their names; the first is looked at.
    ///
    /// # Errors
    /// [`Error::Read`] where there are none, and for a first one that cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|e| refused(folder, &e))? {
            let path = entry.map_err(|e| refused(folder, &e))?.path();
            if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png")) {
                files.push(path);
            }
        }
        files.sort();
        let Some(first) = files.first() else {
            let problem = "the folder holds no PNG images";
            return Err(Error::read(folder, problem, "name a file, or a folder of .png files"));
        };
        let (shape, _) = decoded(first)?;
        Ok(Self { files, shape, at: 0 })
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.files.len()
    }

    /// The shape of each.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The next images, at most `most`: their bytes, `[y][x][channel]`.
    ///
    /// # Errors
    /// [`Error::Read`] for a file that is not a PNG, or one of another size or kind than the first.
    pub fn next(&mut self, most: usize) -> Result<Vec<u8>> {
        let taken = &self.files[self.at..][..most.min(self.files.len() - self.at)];
        let mut bytes = Vec::with_capacity(taken.len() * self.shape.len());
        for file in taken {
            let (shape, pixels) = decoded(file)?;
            if shape != self.shape {
                let first = self.files[0].file_name().unwrap_or_default().to_string_lossy();
                let problem = format!("it is {}, but `{first}` is {}", words(shape), words(self.shape));
                return Err(Error::read(file, problem, "give images of one size and kind, all grey or all in colour"));
            }
            bytes.extend(pixels);
        }
        self.at += taken.len();
        Ok(bytes)
    }
}

/// `28 × 28, grey`.
fn words(ImageShape { height, width, channels }: ImageShape) -> String {
    format!("{height} × {width}, {}", if channels == 1 { "grey" } else { "in colour" })
}

/// The shape and the bytes of a file.
#[cfg(feature = "plot")]
fn decoded(path: &Path) -> Result<(ImageShape, Vec<u8>)> {
    use image::codecs::png::PngDecoder;
    use image::{ColorType, ImageDecoder as _};

    use super::layout::MOST_NUMBERS;

    let damaged = |e: &dyn std::fmt::Display| {
        Error::read(path, format!("it is not a valid PNG image ({e})"), "save the image again as PNG")
    };
    let (file, _) = super::open_regular(path)?;
    let decoder = PngDecoder::new(std::io::BufReader::new(file)).map_err(|e| damaged(&e))?;
    let (width, height) = decoder.dimensions();
    // Before any memory is allocated for the sizes that the header gives.
    if u64::from(width) * u64::from(height) > MOST_NUMBERS as u64 {
        let problem = format!("an image of {height} × {width} is larger than {MOST_NUMBERS} pixels");
        return Err(Error::read(path, problem, "give smaller images"));
    }
    let (channels, alpha) = match decoder.color_type() {
        ColorType::L8 => (1, false),
        ColorType::La8 => (1, true),
        ColorType::Rgb8 => (3, false),
        ColorType::Rgba8 => (3, true),
        _ => return Err(Error::read(path, "its pixels have more than 8 bits", "save it with 8 bits a channel")),
    };
    let mut bytes = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(0)];
    decoder.read_image(&mut bytes).map_err(|e| damaged(&e))?;
    if alpha {
        let pixels = bytes.chunks_exact(channels + 1);
        if pixels.clone().any(|pixel| pixel[channels] != 255) {
            return Err(Error::read(path, "it is partly transparent", "save it without transparency"));
        }
        bytes = pixels.flat_map(|pixel| &pixel[..channels]).copied().collect();
    }
    let (height, width) = (height as usize, width as usize);
    Ok((ImageShape { height, width, channels }, bytes))
}

/// Without the crate that decodes it, no image is read.
#[cfg(not(feature = "plot"))]
fn decoded(path: &Path) -> Result<(ImageShape, Vec<u8>)> {
    Err(Error::read(path, "this build reads no PNG images", "build it with the feature `plot`, or give images as .npy"))
}
