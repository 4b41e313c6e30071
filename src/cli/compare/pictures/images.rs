//! Of images: grids of data and of samples of each model, and the grid of each at its stages.

use std::path::Path;

use anyhow::Result;
use cnflow::ImageShape;
use cnflow::continuous::End;
use cnflow::html::{Image, Mime, Slides, Strip};
use cnflow::model::Model;
use cnflow::plot::{self, Contender, ImageBlock, ImageGrid, Options};
use cnflow::rng;
use cnflow::transform::{Pixels, StandardNormal};

use super::super::Comparison;
use super::super::benchmark::Measured;
use super::super::table::Row;
use super::{Drawn, in_passing, label, scored, stages};
use crate::cli::images::{self, ScoreUnit};
use crate::cli::interrupt::critical_section;
use crate::cli::picture;

/// Rows of images in a grid, and in one of a stage.
const ROWS: usize = 6;
const STAGE_ROWS: usize = 4;
/// Pixels across a grid of a stage: so wide that images of 28 pixels and ten classes keep all of theirs.
const STAGE_WIDTH: u32 = 400;
/// The stream of the latents.
const LATENT_STREAM: u64 = 0xc09b_0002;

/// Images and their conditions in the order of a grid: a class a column where the model has classes.
struct Grid {
    columns: usize,
    /// `[n, c]`, of `n` images.
    conditions: Vec<f64>,
    n: usize,
}

impl Grid {
    /// Of so many rows. Conditions that are no class are those of the held-out rows in turn.
    fn of(comparison: &Comparison, model: &Model, rows: usize) -> Self {
        let (d, classes) = (comparison.data.dim, images::classes(model));
        let columns = classes.map_or(images::COLUMNS, <[i64]>::len);
        let n = rows * columns;
        let conditions = match classes {
            Some(classes) => (0..n).map(|i| classes[i % columns] as f64).collect(),
            None => {
                let c = comparison.rows.context_dim(d);
                comparison.rows.context.iter().copied().cycle().take(n * c).collect()
            }
        };
        Self { columns, conditions, n }
    }
}

/// Draws compare.png, compare.svg and the frames of the page.
///
/// # Errors
/// Errors of the solver, and [`cnflow::Error::Write`].
pub fn draw(comparison: &Comparison, rows: &[Row<'_>], shape: ImageShape, out: &Path) -> Result<Drawn> {
    let first: Vec<&Measured> = rows.iter().map(|row| row.seeds[0]).collect();
    let (d, unit) = (shape.len(), ScoreUnit::of(Some(shape)));
    let mut contenders = Vec::new();
    for one in &first {
        contenders.push(Contender { samples: samples(comparison, one)?, ..scored(one, unit.nats) });
    }
    let Some(pixels) = first.iter().find_map(|one| one.entry.model.spec.pixels.as_ref()) else {
        anyhow::bail!("no model is one of images");
    };
    let grid = Grid::of(comparison, &first[0].entry.model, ROWS);
    let data = data(comparison, &first[0].entry.model, pixels, grid.n)?;
    let chart = plot::Comparison {
        images: Some(ImageGrid { shape, columns: grid.columns }),
        score_unit: unit.name,
        cost: "time of a sample (µs)",
        sets: ("validation", comparison.set),
        ..plot::Comparison::new(&data, d, &contenders)
    };
    let options = Options { columns: None, names: Vec::new(), ..picture::of(&comparison.picture, d) };
    let png = out.join("compare.png");
    critical_section(|| plot::comparison(&png, &chart, &options))?;
    critical_section(|| plot::comparison(&out.join("compare.svg"), &chart, &options))?;
    let slides = in_passing(|folder| strips(comparison, &first, shape, &folder.join("frame.png")))?;
    let of_classes = if images::classes(&first[0].entry.model).is_some() { ", a class a column" } else { "" };
    let caption = format!(
        "Data and samples of each model{of_classes}, by the same latents. Below: the NLL in bits per dimension against the \
         wall-clock time of the training, and against the time of a sample. A continuous flow is shown at several solver \
         tolerances, a discrete flow at each trained depth. Training curves are scored on validation rows, discs on {} \
         rows.",
        comparison.set
    );
    let alt = "images of the data, samples, and charts of the held-out NLL of all models";
    Ok(Drawn {
        figure: cnflow::io::read_bytes(&png)?,
        caption,
        alt,
        slides: Some(slides),
        coverage: super::coverage(&first, out)?,
    })
}

/// Grey levels from 0 to 1; an image that failed is black.
fn unit_levels(x: &[f64], pixels: &Pixels) -> Vec<f64> {
    let most = images::most(pixels);
    x.iter().map(|v| if v.is_nan() { 0.0 } else { v / most }).collect()
}

/// Held-out images in the order of a grid, as far as there are any.
fn data(comparison: &Comparison, model: &Model, pixels: &Pixels, n: usize) -> Result<Vec<f64>> {
    let d = comparison.data.dim;
    let block = images::block("", model, pixels, &comparison.rows.points(), &comparison.rows.context, ROWS);
    Ok(block.images.iter().map(|v| if v.is_nan() { 1.0 } else { *v }).take(n * d).collect())
}

/// Samples of a model in the order of a grid.
fn samples(comparison: &Comparison, one: &Measured) -> Result<Vec<f64>> {
    let model = &one.entry.model;
    let grid = Grid::of(comparison, model, ROWS);
    let z = latents(comparison, grid.n);
    let drawn = model.bind(comparison.precision)?.points(&z, &one.entry.order.conditions(&grid.conditions))?.y;
    Ok(model.spec.pixels.as_ref().map_or_else(Vec::new, |pixels| unit_levels(&drawn, pixels)))
}

/// The same for all models.
fn latents(comparison: &Comparison, n: usize) -> Vec<f64> {
    StandardNormal::new(comparison.data.dim).draw(n, &mut rng::stream(comparison.seed, LATENT_STREAM))
}

/// A strip of frames for each flow: the same samples at all stages.
fn strips(comparison: &Comparison, first: &[&Measured], shape: ImageShape, path: &Path) -> Result<Slides> {
    let d = shape.len();
    let mut strips = Vec::new();
    for one in first {
        let model = &one.entry.model;
        let (Some(stages), Some(pixels)) = (stages(&model.spec.architecture), &model.spec.pixels) else { continue };
        let grid = Grid::of(comparison, model, STAGE_ROWS);
        let times: Vec<f64> = (0..stages).map(|k| k as f64 / (stages - 1) as f64).collect();
        let conditions = one.entry.order.conditions(&grid.conditions);
        let bound = model.bind(comparison.precision)?;
        let at = bound.places(&latents(comparison, grid.n), End::Latent, &conditions, &times)?;
        let mut frames = Vec::new();
        for (t, images) in times.iter().zip(at.points.chunks_exact(grid.n * d)) {
            let block =
                ImageBlock { images: unit_levels(images, pixels), columns: grid.columns, ..ImageBlock::default() };
            let size = Some((STAGE_WIDTH, height(shape, &grid)));
            plot::images(path, shape, &[block], &Options { size, ..Options::default() })?;
            let bytes = cnflow::io::read_bytes(path)?;
            frames.push((label(&model.spec.architecture, *t), Image { mime: Mime::Png, bytes }));
        }
        strips.push(Strip { name: one.entry.name.clone(), frames });
    }
    let caption = "The same samples between the latent and the data: times of a continuous flow, layers of a discrete \
                   one. The latent is noise in the grey levels of the data."
        .to_owned();
    Ok(Slides { caption, strips })
}

/// Pixels down a grid of a stage.
fn height(shape: ImageShape, grid: &Grid) -> u32 {
    let across = f64::from(STAGE_WIDTH) / grid.columns as f64;
    let rows = grid.n / grid.columns;
    (across * rows as f64 * shape.height as f64 / shape.width as f64).ceil() as u32
}
