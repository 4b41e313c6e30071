//! The pictures of a run on images: samples beside data, samples and the nearest training images, latents there and
//! back, and from one image to another through the latent.

use std::path::PathBuf;

use cnflow::model::BoundModel;
use cnflow::plot::{self, ImageBlock, Options};
use cnflow::transform::Pixels;

use super::run::Run;
use crate::cli::images::{self, COLUMNS};
use crate::cli::interrupt::critical_section;

/// Rows of images in a block, and where each is compared with others.
const ROWS: usize = 8;
const FEW_ROWS: usize = 4;
/// Images from one to another, both included, and how many pairs.
const STAGES: usize = 9;
const PAIRS: usize = 8;

/// Draws all of them into the files that `place` makes of their names.
///
/// # Errors
/// Any error of the solver or of the disk.
pub fn draw(
    run: &Run<'_>,
    pixels: &Pixels,
    flow: &BoundModel,
    options: &Options,
    place: &mut dyn FnMut(&str) -> PathBuf,
) -> anyhow::Result<()> {
    let Run { model, data, held_out, .. } = run;
    let (shape, d) = (pixels.shape, pixels.dim());
    let columns = images::classes(model).map_or(COLUMNS, <[i64]>::len);
    let n = ROWS * columns;
    // A class a column; of other conditions those of held-out rows.
    let conditions: Vec<f64> = match images::classes(model) {
        Some(classes) => (0..n).map(|i| classes[i % columns] as f64).collect(),
        None => run.conditions(n),
    };
    let samples = flow.points(&run.latents(n), &conditions)?.y;
    let block = |title: &str, x: &[f64], c: &[f64], rows: usize| images::block(title, model, pixels, x, c, rows);

    let seen = held_out.first(d, 40 * n);
    let shown = [block("data", &seen.points(), &seen.context, ROWS), block("samples", &samples, &conditions, ROWS)];
    critical_section(|| plot::images(&place("samples"), shape, &shown, options))?;

    if let Some(known) = data.training_rows().and_then(|rows| rows.x.bytes()) {
        let few = &samples[..FEW_ROWS * columns * d];
        let near = images::nearest(few, known, shape);
        let shown = [
            block("samples", few, &conditions, FEW_ROWS),
            // Each under its sample, whatever class it is of.
            block("nearest training images", &near, &conditions, FEW_ROWS).labelled(Vec::new()),
        ];
        critical_section(|| plot::images(&place("nearest"), shape, &shown, options))?;
    }

    let some = held_out.first(d, FEW_ROWS * COLUMNS);
    let x = some.points();
    let latents = flow.latents(&x, &some.context)?.y;
    let back = flow.points(&latents, &some.context)?.y;
    let plain = |title: &str, x: &[f64]| ImageBlock::new(title, x, images::most(pixels), COLUMNS);
    let shown = [plain("data", &x), images::of_latents("latents", &latents, COLUMNS), plain("and back", &back)];
    critical_section(|| plot::images(&place("latents"), shape, &shown, options))?;

    let arcs = between(&latents, &some.context, d, model.condition_dim());
    if !arcs.0.is_empty() {
        let shown = flow.points(&arcs.0, &arcs.1)?.y;
        let title = "from one image to another through the latent";
        let shown = [ImageBlock::new(title, &shown, images::most(pixels), STAGES)];
        critical_section(|| plot::images(&place("interpolation"), shape, &shown, options))?;
    }
    Ok(())
}

/// Latents on the arcs between pairs, and their conditions: those of both images, which are the same.
fn between(latents: &[f64], conditions: &[f64], d: usize, c: usize) -> (Vec<f64>, Vec<f64>) {
    let n = latents.len() / d;
    let (row, given) = (|i: usize| &latents[i * d..(i + 1) * d], |i: usize| &conditions[i * c..(i + 1) * c]);
    let finite = |i: &usize| row(*i).iter().all(|v| v.is_finite());
    let mut taken = vec![false; n];
    let (mut arcs, mut under) = (Vec::new(), Vec::new());
    for i in (0..n).filter(finite) {
        let partner = (i + 1..n).filter(finite).find(|j| !taken[*j] && given(i) == given(*j));
        let (false, Some(j), true) = (taken[i], partner, arcs.len() < PAIRS * STAGES * d) else { continue };
        (taken[i], taken[j]) = (true, true);
        for k in 0..STAGES {
            arcs.extend(images::on_arc(row(i), row(j), k as f64 / (STAGES - 1) as f64));
            under.extend_from_slice(given(i));
        }
    }
    (arcs, under)
}
