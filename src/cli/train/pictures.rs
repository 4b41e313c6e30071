//! The pictures of a run: density beside data, samples, and the training curve.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use cnf::data::{Dataset, Source};
use cnf::flow::StandardNormal;
use cnf::plot::{self, Grid, Options, Training};
use cnf::train::{Fitted, Job};
use cnf::{Result, rng};

use crate::cli::interrupt::undisturbed;
use crate::cli::picture;

/// Cells along each side of a density.
const CELLS: usize = 200;
/// Cells of a density of one column.
const CELLS_ALONE: usize = 1000;
/// Samples drawn, and rows of data beside them.
const POINTS: usize = 10_000;
/// The stream of the samples' latents.
const SAMPLE_STREAM: u64 = 0x91c7_0001;
/// The stream of the data beside them.
const DATA_STREAM: u64 = 0x91c7_0002;

/// A standard error as drawn: none of a single row.
fn spread(se: f64) -> f64 {
    if se.is_finite() { se } else { 0.0 }
}

/// Draws all of them.
pub fn draw(folder: &Path, job: &Job, fitted: &Fitted, data: &Dataset, held_out: &[f64]) -> Result<()> {
    let (d, dtype) = (data.dim, job.precision.dtype());
    let options = picture::style(&fitted.model);
    let seen = match &data.train {
        Source::Toy(_) => data.draw(2 * POINTS, &mut rng::stream(job.seed, DATA_STREAM)),
        Source::Rows(rows) => rows.clone(),
    };
    let flow = fitted.model.flow(dtype)?;
    let tensor =
        |x: &[f64], n: usize| Ok::<_, cnf::Error>(Tensor::from_slice(x, (n, d), &Device::Cpu)?.to_dtype(dtype)?);
    let numbers = |x: &Tensor| x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();

    let latents = StandardNormal::new(d).draw(POINTS, &mut rng::stream(job.seed, SAMPLE_STREAM));
    let continuous = fitted.model.continuous(dtype)?.without_log_density();
    let (samples, _, _) = fitted.model.spec.around(continuous)?.decode(&tensor(&latents, POINTS)?, None)?;
    let samples = numbers(&samples)?;
    undisturbed(|| plot::samples(&folder.join("samples.png"), &seen, &samples, d, &options))?;

    if d <= 2 {
        let extent = |column: usize| plot::extent(&seen, d, column);
        let (x, y) = (extent(0), if d == 2 { extent(1) } else { (0.0, 1.0) });
        let (nx, ny) = if d == 2 { (CELLS, CELLS) } else { (CELLS_ALONE, 1) };
        let centres = Grid::centres(x, y, nx, ny);
        let (_, log_prob, _) = flow.encode(&tensor(&centres, nx * ny)?, None)?;
        let grid = Grid::from_log(x, y, nx, ny, &numbers(&log_prob)?)?;
        undisturbed(|| plot::density_and_data(&folder.join("density.png"), &seen, &grid, &options))?;
    } else {
        let (z, _, _) = flow.encode(&tensor(held_out, held_out.len() / d)?, None)?;
        let z = numbers(&z)?;
        undisturbed(|| plot::latents(&folder.join("latents.png"), &z, d, &Options::default()))?;
    }

    let history = &fitted.history;
    // A likelihood at the end of a matching has its curve in the held-out scores.
    let is_nll = history.marks().first().is_some_and(|m| m.criterion.is_nll());
    let first = history.marks().iter().filter(|m| m.criterion.is_nll() == is_nll);
    let loss: Vec<_> = first.map(|m| (m.step as f64, m.loss)).collect();
    let held_out: Vec<_> = history.validations.iter().map(|v| (v.step as f64, v.nll, spread(v.se))).collect();
    let entropy = data.toy().map(|toy| toy.entropy);
    let training = Training { unit: "steps", loss: &loss, loss_is_nll: is_nll, held_out: &held_out, entropy };
    undisturbed(|| plot::training_curve(&folder.join("training.png"), &training, &Options::default()))
}
