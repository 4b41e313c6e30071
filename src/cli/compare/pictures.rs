//! The figure of a comparison, and the path of each model from the latent to the data.

mod images;

use std::path::Path;

use anyhow::Result;
use cnflow::html::{Image, Mime, Slides, Strip};
use cnflow::model::{Architecture, BoundModel};
use cnflow::plot::{self, Cells, Contender, Grid, Options, WorkPoint};
use cnflow::rng;

use super::Comparison;
use super::benchmark::{Entry, Measured};
use super::table::Row;
use crate::cli::Context;
use crate::cli::interrupt::{self, critical_section};
use crate::cli::picture::{self, Units};

/// Cells along a side of a density in the figure, in a frame of the slides, and of a density of one column.
const CELLS: usize = 160;
const FRAME_CELLS: usize = 100;
const CELLS_ALONE: usize = 800;
/// Frames from the latent to the data.
const FRAMES: usize = 11;
/// Pixels of a frame: about a square, and its bar.
const FRAME_SIZE: (u32, u32) = (320, 268);
/// Points of a scatter.
const POINTS: usize = 4000;
/// The stream of the data in pictures of a toy.
const DATA_STREAM: u64 = 0xc09b_0001;

/// What was drawn.
pub struct Drawn {
    /// The figure as a PNG.
    pub figure: Vec<u8>,
    pub caption: String,
    /// What the figure shows, for those who do not see it.
    pub alt: &'static str,
    pub slides: Option<Slides>,
    /// The coverage of conditional models as a PNG.
    pub coverage: Option<Vec<u8>>,
}

/// Draws compare.png, compare.svg and the frames of the page.
///
/// # Errors
/// Errors of the solver, and [`cnflow::Error::Write`].
pub fn draw(comparison: &Comparison, rows: &[Row<'_>], out: &Path, context: &Context) -> Result<Drawn> {
    context.note("drawing");
    if let Some(shape) = comparison.data.shape {
        return images::draw(comparison, rows, shape, out);
    }
    let data = &comparison.data;
    let d = data.dim;
    let seen = data.draw(POINTS, &mut rng::stream(comparison.seed, DATA_STREAM));
    let first: Vec<&Measured> = rows.iter().map(|row| row.seeds[0]).collect();
    let cells = cells(comparison, if d == 1 { CELLS_ALONE } else { CELLS });
    let units = units(comparison);
    let mut contenders = Vec::new();
    for one in &first {
        let density = match cells {
            Some(cells) if comparison.rows.context.is_empty() && one.entry.model.spec.is_dense() => {
                let model = one.entry.model.bind(comparison.precision)?;
                Some(density(&one.entry, &model, 1.0, &cells, &units)?)
            }
            _ => None,
        };
        let most = POINTS.min(one.metrics.samples.len() / d) * d;
        let samples = units.rows(&one.metrics.samples[..most]);
        contenders.push(Contender { density, samples, ..scored(one, 1.0) });
    }
    let truth = data
        .toy()
        .zip(cells)
        .map(|(toy, cells)| -> Vec<f64> { cells.centres().chunks_exact(d).map(|x| (toy.log_prob)(x).exp()).collect() });
    let shown = units.rows(&seen);
    let chart = plot::Comparison {
        cells: if comparison.rows.context.is_empty() { cells.map(|cells| units.cells(cells)) } else { None },
        truth: truth.as_deref(),
        entropy: data.toy().map(|toy| toy.entropy),
        cost: "time of a sample (µs)",
        sets: ("validation", comparison.set),
        pairs: &comparison.shown,
        ..plot::Comparison::new(&shown, d, &contenders)
    };
    let options = units.options(&Options { columns: None, ..picture::of(&comparison.picture, d) });
    let png = out.join("compare.png");
    critical_section(|| plot::comparison(&png, &chart, &options))?;
    critical_section(|| plot::comparison(&out.join("compare.svg"), &chart, &options))?;
    let figure = cnflow::io::read_bytes(&png)?;
    let slides = match d {
        1 | 2 if comparison.rows.context.is_empty() => Some(slides(comparison, &first, truth.as_deref(), &options)?),
        _ => None,
    };
    let caption =
        "Densities of all models on one colour scale, and samples of each on the axes of the data. Below: the NLL \
                   against the wall-clock time of the training, and against the time of a sample. A continuous flow is shown \
                   at several solver tolerances, a discrete flow at each trained depth. Training curves are scored on \
                   validation rows, discs on"
            .to_owned()
            + &format!(" {} rows.", comparison.set);
    let alt = "densities, samples, and charts of the held-out NLL of all models";
    let coverage = coverage(&first, out)?;
    Ok(Drawn { figure, caption, alt, slides, coverage })
}

/// Draws coverage.png, of models with conditions.
fn coverage(models: &[&Measured], out: &Path) -> Result<Option<Vec<u8>>> {
    let ranked = models.iter().filter_map(|one| Some((one.entry.name.as_str(), one.metrics.ranks.as_ref()?)));
    let curves: Vec<_> = ranked.clone().map(|(name, ranks)| (name, ranks.coverage())).collect();
    let noise = ranked.map(|(_, ranks)| ranks.noise()).reduce(f64::max);
    let Some(noise) = noise else { return Ok(None) };
    let path = out.join("coverage.png");
    critical_section(|| plot::coverage(&path, &curves, noise, &Options::default()))?;
    Ok(Some(cnflow::io::read_bytes(&path)?))
}

/// What a model reached, in units of so many nats; without densities and samples.
fn scored(one: &Measured, unit: f64) -> Contender {
    let metrics = &one.metrics;
    let work = |cost: &cnflow::compare::Cost| WorkPoint {
        cost: cost.microseconds,
        nll: cost.nll / unit,
        label: cost.label.clone(),
    };
    Contender {
        name: one.entry.name.clone(),
        curve: one.entry.curve.iter().map(|(seconds, nll)| (*seconds, nll / unit)).collect(),
        end: Some((metrics.nll / unit, if metrics.nll_se.is_finite() { metrics.nll_se / unit } else { 0.0 })),
        median: metrics.dominance.few.map(|_| metrics.dominance.median / unit),
        cost: one.costs.iter().map(work).collect(),
        ..Contender::default()
    }
}

/// What `make` makes with pictures that pass through a folder of their own.
fn in_passing<R>(make: impl FnOnce(&Path) -> Result<R>) -> Result<R> {
    let folder = tempfile::tempdir()?;
    // It lies outside the comparison's folder, and a signal removes it too.
    interrupt::ours(folder.path());
    let made = make(folder.path());
    interrupt::given_up(folder.path());
    made
}

/// How many stages of a model are shown; none where it has none.
fn stages(architecture: &Architecture) -> Option<usize> {
    match architecture {
        Architecture::Velocity(_) => Some(FRAMES),
        Architecture::Discrete(spec) => Some(spec.layers.len().min(FRAMES - 1) + 1),
        Architecture::Identity { .. } | Architecture::Histogram(_) => None,
    }
}

/// What a stage is called.
fn label(architecture: &Architecture, t: f64) -> String {
    match architecture {
        Architecture::Discrete(spec) => {
            format!("layer {} of {}", spec.layers_until(t), spec.layers.len())
        }
        _ => format!("t = {t:.1}"),
    }
}

/// The cells around the data, in one or two dimensions.
fn cells(comparison: &Comparison, side: usize) -> Option<Cells> {
    let d = comparison.data.dim;
    let extent = |column: usize| plot::extent(&comparison.rows.points(), d, column);
    match d {
        1 => Some(Cells { x: extent(0), y: (0.0, 1.0), nx: side, ny: 1 }),
        2 => Some(Cells { x: extent(0), y: extent(1), nx: side, ny: side }),
        _ => None,
    }
}

/// The units in which all is drawn.
fn units(comparison: &Comparison) -> Units {
    let d = comparison.data.dim;
    Units::of(&(0..d).map(|j| plot::extent(&comparison.rows.points(), d, j)).collect::<Vec<_>>())
}

/// The density on the cells at time `t`; 0 where a row has none.
fn density(entry: &Entry, model: &BoundModel, t: f64, cells: &Cells, units: &Units) -> Result<Vec<f64>> {
    let points = entry.order.points(&cells.centres());
    let logs = model.of_real_numbers()?.until(t)?.log_prob(&points, &[])?.log_prob;
    Ok(logs.into_iter().map(|log| if log.is_nan() { 0.0 } else { units.density(log) }).collect())
}

/// A strip of frames for each flow.
fn slides(comparison: &Comparison, first: &[&Measured], truth: Option<&[f64]>, options: &Options) -> Result<Slides> {
    in_passing(|folder| strips(comparison, first, truth, options, folder))
}

/// As [`slides`]; pictures pass through `folder`.
fn strips(
    comparison: &Comparison,
    first: &[&Measured],
    truth: Option<&[f64]>,
    options: &Options,
    folder: &Path,
) -> Result<Slides> {
    let path = folder.join("frame.png");
    let Some(cells) = cells(comparison, if comparison.data.dim == 1 { CELLS_ALONE } else { FRAME_CELLS }) else {
        return Ok(Slides::default());
    };
    let units = units(comparison);
    let mut strips = Vec::new();
    for one in first {
        let model = &one.entry.model;
        let Some(stages) = stages(&model.spec.architecture).filter(|_| model.spec.is_dense()) else { continue };
        let bound = model.bind(comparison.precision)?;
        // One scale for all frames: that of the truth, or of where the way ends.
        let end = density(&one.entry, &bound, 1.0, &cells, &units)?;
        let max = truth.unwrap_or(&end).iter().copied().filter(|p| p.is_finite()).fold(0.0, f64::max);
        let mut frames = Vec::new();
        for k in 0..stages {
            let t = k as f64 / (stages - 1) as f64;
            let values = density(&one.entry, &bound, t, &cells, &units)?;
            let cells = units.cells(cells);
            let grid = Grid { x: cells.x, y: cells.y, nx: cells.nx, ny: cells.ny, values };
            let options = Options { size: Some(FRAME_SIZE), max: (max > 0.0).then_some(max), ..options.clone() };
            plot::density(&path, &grid, None, &options)?;
            let label = label(&model.spec.architecture, t);
            frames.push((label, Image { mime: Mime::Png, bytes: cnflow::io::read_bytes(&path)? }));
        }
        strips.push(Strip { name: one.entry.name.clone(), frames });
    }
    let caption = "The distribution between the latent and the data: times of a continuous flow, layers of a \
                   discrete one."
        .to_owned();
    Ok(Slides { caption, strips })
}
