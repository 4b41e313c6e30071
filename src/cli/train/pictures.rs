//! The pictures of a run: density beside data, samples, and the training curve.
//!
//! They are drawn from what the run's folder holds (the model, the job, the metrics) and from the data, so that
//! `cnf train` at its end and `cnf plot` years later draw the same.

use std::path::PathBuf;

use cnflow::model::{Architecture, BoundModel};
use cnflow::plot::{self, Grid, Options, Theme, Training};
use cnflow::stats::log_sum_exp;
use cnflow::train::score;
use cnflow::{rng, words};

use super::images;
use super::run::Run;
use crate::cli::images::ScoreUnit;
use crate::cli::interrupt::critical_section;
use crate::cli::picture::{self, Shown, Units};

/// Cells along each side of a density.
const CELLS: usize = 200;
/// Cells of a density of one column.
const CELLS_ALONE: usize = 1000;
/// Samples drawn, and rows of data beside them.
const POINTS: usize = 10_000;
/// The stream of the data beside them.
const DATA_STREAM: u64 = 0x91c7_0002;

/// How the pictures look, whatever they show.
#[derive(Clone, Debug)]
pub struct Look {
    pub theme: Theme,
    pub size: Option<(u32, u32)>,
    pub enlarged: Option<u32>,
    /// Instead of what the run was set to show.
    pub shown: Shown,
    /// `png` or `svg`.
    pub ending: &'static str,
}

impl Default for Look {
    fn default() -> Self {
        Self { theme: Theme::default(), size: None, enlarged: None, shown: Shown::default(), ending: "png" }
    }
}

/// Draws all of them into the files that `file` makes of their names, and returns those.
///
/// # Errors
/// Any error of the solver or of the disk.
pub fn draw(run: &Run<'_>, look: &Look, file: &dyn Fn(&str) -> PathBuf) -> anyhow::Result<Vec<PathBuf>> {
    let Run { job, model, data, curves, .. } = run;
    let plain = Options { theme: look.theme, size: look.size, enlarged: look.enlarged, ..Options::default() };
    let Options { names, invert_y, columns, scale, .. } = look.shown.style(model)?;
    let plain = Options { columns, ..plain };
    let options = Options { names, invert_y, scale, ..plain.clone() };
    let mut drawn = Vec::new();
    let mut place = |name: &str| {
        let path = file(&format!("{name}.{}", look.ending));
        drawn.push(path.clone());
        path
    };
    let flow = model.bind(job.model.precision)?;
    match &model.spec.pixels {
        Some(pixels) => images::draw(run, pixels, &flow, &plain, &mut place)?,
        None => points(run, &flow, &plain, &options, &mut place)?,
    }

    if curves.loss.is_empty() && curves.held_out.is_empty() {
        // What was fitted in one go has no curve.
        return Ok(drawn);
    }
    let entropy = data.toy().map(|toy| toy.entropy);
    // Scores of images are in bits per dimension, as everywhere else.
    let ScoreUnit { nats, name: score_unit } = ScoreUnit::of(model.spec.pixels.as_ref().map(|pixels| pixels.shape));
    let held_out: Vec<_> = curves.held_out.iter().map(|(at, nll, se)| (*at, nll / nats, se / nats)).collect();
    let of_loss = if curves.loss_is_nll { nats } else { 1.0 };
    let loss: Vec<_> = curves.loss.iter().map(|(at, loss)| (*at, loss / of_loss)).collect();
    // Where a mixture replaced the flow, the curve is not that of the model.
    let winner = match (&model.spec.architecture, &model.spec.base) {
        (Architecture::Identity { .. }, Some(base)) if !data.valid.is_empty() => {
            let (nll, se) = score(&flow, &data.valid, data.toy())?.best_nll(data.toy());
            Some((
                format!("a mixture of {}", words::count(base.components() as u64, "Gaussian")),
                nll / nats,
                se / nats,
            ))
        }
        _ => None,
    };
    let training = Training {
        unit: "steps",
        loss: &loss,
        loss_is_nll: curves.loss_is_nll,
        score_unit,
        held_out: &held_out,
        entropy,
        winner: winner.as_ref().map(|(name, nll, se)| (name.as_str(), *nll, *se)),
    };
    critical_section(|| plot::training_curve(&place("training"), &training, &plain))?;
    Ok(drawn)
}

/// The pictures of points: density beside data, samples, latents.
fn points(
    run: &Run<'_>,
    flow: &BoundModel,
    plain: &Options,
    options: &Options,
    place: &mut dyn FnMut(&str) -> PathBuf,
) -> anyhow::Result<()> {
    let Run { job, model, data, held_out, context, .. } = run;
    let d = data.dim;
    let seen = match data.training_rows() {
        None => data.draw(2 * POINTS, &mut rng::stream(job.seed, DATA_STREAM)),
        Some(rows) => rows.by_weight(d).points().into_owned(),
    };

    let samples = flow.points(&run.latents(POINTS), &run.conditions(POINTS))?.y;
    let units = Units::of(&(0..d).map(|j| plot::extent(&seen, d, j)).collect::<Vec<_>>());
    let (path, in_units) = (place("samples"), units.options(options));
    let (drawn_data, drawn_samples) = (units.rows(&seen), units.rows(&samples));
    let shown = critical_section(|| plot::samples(&path, &drawn_data, &drawn_samples, d, &in_units))?;
    picture::note_columns(&path, &shown, d, options, context);

    if d <= 2 && model.spec.is_dense() {
        let extent = |column: usize| plot::extent(&seen, d, column);
        let (x, y) = (extent(0), if d == 2 { extent(1) } else { (0.0, 1.0) });
        let (nx, ny) = if d == 2 { (CELLS, CELLS) } else { (CELLS_ALONE, 1) };
        let centres = Grid::centres(x, y, nx, ny);
        let real = flow.of_real_numbers()?;
        let shares = shares(&held_out.context, model.condition_dim());
        let log_density = if shares.is_empty() {
            real.log_prob(&centres, &[])?.log_prob
        } else {
            // The density of all rows together: the mean of those under the conditions that there are.
            let mut density = vec![f64::NEG_INFINITY; nx * ny];
            for (share, row) in &shares {
                let log_prob = real.log_prob(&centres, &row.repeat(nx * ny))?.log_prob;
                density
                    .iter_mut()
                    .zip(log_prob)
                    .for_each(|(p, log)| *p = log_sum_exp([*p, share.ln() + log].into_iter()));
            }
            density
        };
        let grid = units.grid(&Grid { x, y, nx, ny, values: Vec::new() }, &log_density);
        critical_section(|| plot::density_and_data(&place("density"), &units.rows(&seen), &grid, &in_units))?;
    } else {
        let conditions = run.conditions(held_out.count(d));
        let z = flow.latents(&held_out.points(), &conditions)?.y;
        let (z, d) = model.spec.normal_latents(&z);
        critical_section(|| plot::latents(&place("latents"), &z, d, plain))?;
    }
    Ok(())
}

/// Different conditions among the rows `[n, c]`, each with its share of them: all where they are few, else evenly taken
/// ones.
pub fn shares(given: &[f64], c: usize) -> Vec<(f64, Vec<f64>)> {
    const MOST: usize = 16;
    if c == 0 || given.is_empty() {
        return Vec::new();
    }
    let mut counted: Vec<(f64, Vec<f64>)> = Vec::new();
    for row in given.chunks_exact(c) {
        match counted.iter().position(|(_, known)| known == row) {
            Some(k) => counted[k].0 += 1.0,
            None if counted.len() < MOST => counted.push((1.0, row.to_vec())),
            None => {
                let n = given.len() / c;
                return (0..MOST).map(|i| (1.0 / MOST as f64, given[i * n / MOST * c..][..c].to_vec())).collect();
            }
        }
    }
    let n = (given.len() / c) as f64;
    counted.iter_mut().for_each(|(count, _)| *count /= n);
    counted
}
