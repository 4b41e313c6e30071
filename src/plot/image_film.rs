//! A film of a grid of images, on their way from noise to data.

use std::path::Path;

use cnflow_kernels::ImageShape;

use super::animation::{Palette, encode, hold};
use super::images::{ImageBlock, check, compose};
use super::scene::FINE;
use super::{Options, file};
use crate::error::Result;

/// Blocks of images of one shape one after another: so many in a second, the last held for `pause` seconds. The title
/// of a block is that of its page.
///
/// Returns the length of the file in bytes; `seen` is called for each frame.
///
/// # Errors
/// As for [`super::images`], with `.gif` as the only ending; [`crate::Error::Invalid`] without a frame.
pub fn image_film(
    path: &Path,
    shape: ImageShape,
    blocks: &[ImageBlock],
    per_second: u32,
    pause: f64,
    options: &Options,
    mut seen: impl FnMut(),
) -> Result<usize> {
    check(shape, blocks)?;
    let page = |block: &ImageBlock, size| compose(shape, std::slice::from_ref(block), FINE, size, options);
    let (size, last) = (page(&blocks[0], None).size, blocks.len() - 1);
    file::check_size(Some(size), options)?;
    let frames = blocks.iter().enumerate().map(|(k, block)| {
        seen();
        // All have the size of the first: the title of another may be wider.
        Ok((page(block, Some(size)), hold(k == last, per_second, pause)))
    });
    encode(path, frames, size, Palette::of_images(options.theme, shape.channels < 3), options)
}
