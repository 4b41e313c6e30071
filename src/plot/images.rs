//! Grids of images: a block of them is one raster, with a title, and a label above each column where it has some.
//!
//! An image pixel is a whole number of pixels of the page wherever it can be, so that grey levels keep hard edges;
//! images that are too large are thinned. Grey is grey, whatever the theme: the colours are those of the data.

use std::path::Path;

use cnflow_kernels::ImageShape;

use super::layout::{blank, em, headroom, title};
use super::pen::Style;
use super::scene::{Anchor, Mark, Rect, Scene, width};
use super::{Options, file};
use crate::error::{Error, Result};

/// The side of an image in pixels of the page, about, where the options set no size.
const SIDE: f64 = 56.0;
/// The page is no wider then, if images can be smaller.
const WIDEST: f64 = 1600.0;

/// Images in rows of one block.
#[derive(Clone, Debug, Default)]
pub struct ImageBlock {
    /// Above the block.
    pub title: String,
    /// `[n, d]`, each `[y][x][channel]`, from 0 to 1; what is beyond is cut off, and NaN is left empty.
    pub images: Vec<f64>,
    /// Images in a row.
    pub columns: usize,
    /// Above each column; none or one a column.
    pub labels: Vec<String>,
    /// Left of each row; none or one a row.
    pub row_labels: Vec<String>,
}

impl ImageBlock {
    /// Images of the grey levels 0 to `most`.
    pub fn new(title: impl Into<String>, images: &[f64], most: f64, columns: usize) -> Self {
        let images = images.iter().map(|v| v / most).collect();
        Self { title: title.into(), images, columns, ..Self::default() }
    }

    /// With a label above each column.
    #[must_use]
    pub fn labelled(self, labels: Vec<String>) -> Self {
        Self { labels, ..self }
    }

    /// With a label left of each row.
    #[must_use]
    pub fn with_row_labels(self, row_labels: Vec<String>) -> Self {
        Self { row_labels, ..self }
    }

    /// The room of the labels left of the rows, with letters of this size.
    fn margin(&self, em: f64) -> f64 {
        let widest = self.row_labels.iter().map(|label| width(label, 0.9 * em)).fold(0.0, f64::max);
        if widest > 0.0 { (widest + 0.6 * em).ceil() } else { 0.0 }
    }

    fn rows(&self, shape: ImageShape) -> usize {
        (self.images.len() / shape.len()).div_ceil(self.columns)
    }
}

/// Blocks of images of one shape, side by side; with a title of the page where the options have one.
///
/// # Errors
/// [`Error::Unknown`] for a file that ends in neither `.png` nor `.svg`; [`Error::Write`]; [`Error::Invalid`] for no
/// images, or a picture too small or too large; [`Error::Dimension`] for images that are not whole, or labels that do
/// not fit.
pub fn images(path: &Path, shape: ImageShape, blocks: &[ImageBlock], options: &Options) -> Result<()> {
    let fine = file::check(path, options.size, options)?;
    check(shape, blocks)?;
    let scene = compose(shape, blocks, fine, None, options);
    file::check_size(Some(scene.size), options)?;
    file::save(scene, path, options)
}

/// What is wrong with the blocks.
pub(super) fn check(shape: ImageShape, blocks: &[ImageBlock]) -> Result<()> {
    for block in blocks {
        if block.columns == 0 || block.images.is_empty() || shape.is_empty() {
            return Err(Error::invalid("a block without images", "give at least one image"));
        }
        if !block.images.len().is_multiple_of(shape.len()) {
            let (what, found) = ("the last image".into(), block.images.len() % shape.len());
            return Err(Error::Dimension { what, expected: shape.len(), found });
        }
        if !block.labels.is_empty() && block.labels.len() != block.columns {
            let (what, found) = ("the list of labels".into(), block.labels.len());
            return Err(Error::Dimension { what, expected: block.columns, found });
        }
        if !block.row_labels.is_empty() && block.row_labels.len() != block.rows(shape) {
            let (what, found) = ("the list of labels of rows".into(), block.row_labels.len());
            return Err(Error::Dimension { what, expected: block.rows(shape), found });
        }
    }
    if blocks.is_empty() {
        return Err(Error::invalid("a picture without images", "give at least one block"));
    }
    Ok(())
}

/// Sizes of the page, in its pixels.
struct Plan {
    /// Of an image.
    cell: (f64, f64),
    /// Between images.
    gap: f64,
    /// Between blocks, and at the sides.
    between: f64,
    em: f64,
}

impl Plan {
    fn of(shape: ImageShape, blocks: &[ImageBlock], options: &Options) -> Self {
        let columns: usize = blocks.iter().map(|block| block.columns).sum();
        let wide = options.size.map(|(w, _)| f64::from(w));
        let em = em(wide.unwrap_or(1000.0), f64::INFINITY);
        let between = 1.8 * em;
        let margins: f64 = blocks.iter().map(|block| block.margin(em)).sum();
        let room = wide.unwrap_or(WIDEST) - margins - between * (blocks.len() as f64 + 1.0);
        // What each column has, without its gap.
        let most = room / columns as f64 / 1.09;
        let (w, h) = (shape.width as f64, shape.height as f64);
        let wanted = if wide.is_some() { most } else { SIDE.max(w).min(most) };
        let cell = if wanted >= w { w * (wanted / w).floor() } else { wanted.floor().max(1.0) };
        let gap = (0.08 * cell).round().max(1.0);
        Self { cell: (cell, (cell * h / w).round().max(1.0)), gap, between, em }
    }

    fn block(&self, columns: usize, rows: usize) -> (f64, f64) {
        let side = |n: usize, cell: f64| n as f64 * (cell + self.gap) - self.gap;
        (side(columns, self.cell.0), side(rows, self.cell.1))
    }
}

/// The page, of the size `page`, or as the options set it, or as large as the blocks are.
pub(super) fn compose(
    shape: ImageShape,
    blocks: &[ImageBlock],
    fine: usize,
    page: Option<(u32, u32)>,
    options: &Options,
) -> Scene {
    let plan = Plan::of(shape, blocks, options);
    let em = plan.em;
    let pen = Style { theme: options.theme, map: Vec::new(), scale: options.scale, max: 1.0, em, fine };
    let titled = blocks.iter().any(|block| !block.title.is_empty());
    let labelled = blocks.iter().any(|block| !block.labels.is_empty());
    let head = headroom(options, em) + if titled { 1.7 * em } else { 0.0 } + if labelled { 1.5 * em } else { 0.0 };
    let sizes: Vec<(f64, f64)> = blocks.iter().map(|block| plan.block(block.columns, block.rows(shape))).collect();
    // A title may be wider than its block.
    let room =
        |(block, (w, _)): (&ImageBlock, &(f64, f64))| (w + block.margin(em)).max(width(&block.title, 1.05 * em)).ceil();
    let rooms: Vec<f64> = blocks.iter().zip(&sizes).map(room).collect();
    let natural = rooms.iter().sum::<f64>() + plan.between * (rooms.len() as f64 + 1.0);
    let high = head + sizes.iter().map(|(_, h)| *h).fold(0.0, f64::max) + 0.9 * plan.between;
    let size = page.or(options.size).unwrap_or((natural.ceil().max(64.0) as u32, high.ceil().max(64.0) as u32));
    let mut scene = blank(size, options);
    let mut x = (0.5 * (f64::from(size.0) - natural)).max(0.0) + plan.between;
    for ((block, (w, h)), room) in blocks.iter().zip(sizes).zip(rooms) {
        let margin = block.margin(em);
        let left = (x + margin + 0.5 * (room - margin - w)).round();
        let top = head.round();
        let above = if labelled { 1.5 * em } else { 0.0 };
        scene.words(
            &block.title,
            (left + 0.5 * w, top - above - 0.75 * em),
            1.05 * em,
            Anchor::Middle,
            pen.theme.ink(),
        );
        for (k, label) in block.labels.iter().enumerate() {
            let middle = left + k as f64 * (plan.cell.0 + plan.gap) + 0.5 * plan.cell.0;
            scene.words(label, (middle, top - 0.5 * em), 0.9 * em, Anchor::Middle, pen.theme.ink());
        }
        for (k, label) in block.row_labels.iter().enumerate() {
            let middle = top + k as f64 * (plan.cell.1 + plan.gap) + 0.5 * plan.cell.1;
            let at = (left - 0.5 * em, middle + 0.32 * em);
            scene.words(label, at, 0.9 * em, Anchor::End, pen.theme.ink());
        }
        let rect = Rect { x: left, y: top, w, h };
        scene.marks.push(Mark::Image { rect, fine, pixels: raster(shape, block, &plan, rect, &pen) });
        x += room + plan.between;
    }
    title(&mut scene, 0.5 * f64::from(size.0), &pen, options);
    scene
}

/// Red, green and blue of a pixel of an image; none where it is not a number.
fn colour(image: &[f64], shape: ImageShape, row: usize, column: usize) -> Option<[u8; 3]> {
    let at = &image[(row * shape.width + column) * shape.channels..][..shape.channels];
    let of = |c: usize| at[if shape.channels >= 3 { c } else { 0 }];
    let level = |c: usize| (255.0 * of(c)).round().clamp(0.0, 255.0) as u8;
    (0..3).all(|c| !of(c).is_nan()).then(|| [level(0), level(1), level(2)])
}

/// The gap between images in a mosaic, as part of an image.
const GAP: f64 = 0.08;

/// The sides of a mosaic of so many rows and columns, in pixels of its images.
pub(super) fn mosaic_size(shape: ImageShape, columns: usize, rows: usize) -> (f64, f64) {
    let side = |n: usize, pixels: usize| (n as f64 * (1.0 + GAP) - GAP) * pixels as f64;
    (side(columns, shape.width), side(rows, shape.height))
}

/// Images in rows of `columns` on a raster of any size, `[high, wide, 3]`.
pub(super) fn mosaic(
    shape: ImageShape,
    images: &[f64],
    columns: usize,
    (wide, high): (usize, usize),
    background: [u8; 3],
) -> Vec<u8> {
    let n = images.len() / shape.len();
    // The image along an axis in which a pixel of the raster lies, and its pixel there; none in a gap.
    let along = |count: usize, pixels: usize, raster: usize| -> Vec<Option<(usize, usize)>> {
        let pitch = raster as f64 / (count as f64 * (1.0 + GAP) - GAP);
        let place = |p: usize| {
            let at = (p as f64 + 0.5) / pitch / (1.0 + GAP);
            let (image, part) = (at.floor(), at.fract() * (1.0 + GAP));
            (part < 1.0).then(|| (image as usize, ((part * pixels as f64) as usize).min(pixels - 1)))
        };
        (0..raster).map(place).collect()
    };
    let across = along(columns, shape.width, wide);
    let down = along(n.div_ceil(columns), shape.height, high);
    let mut pixels = Vec::with_capacity(3 * wide * high);
    for y in &down {
        for x in &across {
            let seen = y.zip(*x).and_then(|((i, row), (j, column))| {
                let image = images.chunks_exact(shape.len()).nth(i * columns + j).filter(|_| j < columns)?;
                colour(image, shape, row, column)
            });
            pixels.extend(seen.unwrap_or(background));
        }
    }
    pixels
}

/// The pixels of a block, `[height, width, 3]`, `fine` to one of the page.
fn raster(shape: ImageShape, block: &ImageBlock, plan: &Plan, rect: Rect, pen: &Style) -> Vec<u8> {
    let fine = pen.fine as f64;
    let (wide, high) = ((rect.w * fine) as usize, (rect.h * fine) as usize);
    let mut pixels = pen.theme.background().repeat(wide * high);
    let (cell_w, cell_h) = ((plan.cell.0 * fine) as usize, (plan.cell.1 * fine) as usize);
    for (k, image) in block.images.chunks_exact(shape.len()).enumerate() {
        let left = ((k % block.columns) as f64 * (plan.cell.0 + plan.gap) * fine) as usize;
        let top = ((k / block.columns) as f64 * (plan.cell.1 + plan.gap) * fine) as usize;
        for y in 0..cell_h {
            for x in 0..cell_w {
                let (row, column) = (y * shape.height / cell_h, x * shape.width / cell_w);
                let Some(colour) = colour(image, shape, row, column) else { continue };
                let to = 3 * ((top + y) * wide + left + x);
                pixels[to..to + 3].copy_from_slice(&colour);
            }
        }
    }
    pixels
}
