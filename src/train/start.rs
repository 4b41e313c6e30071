//! What a run begins with: the checked data, and the model before the first step.

use super::frame::Frame;
use super::{BASE_STREAM, INIT_STREAM, Job, MOMENTS_STREAM};
use crate::data::{Dataset, Source};
use crate::flow::{FlowSpec, Model, Moments, Standardise, VelocitySpec};
use crate::{Error, Result, rng};

/// Rows of a toy whose moments standardise it.
const MOMENT_ROWS: usize = 20_000;

/// Refuses data that cannot be learnt from.
pub(super) fn check(data: &Dataset) -> Result<()> {
    let sets = [("validation", &data.valid[..]), ("test", &data.test[..])];
    let train = if let Source::Rows(rows) = &data.train { rows } else { &[][..] };
    for (set, rows) in sets.into_iter().chain([("training", train)]) {
        if let Some(i) = rows.iter().position(|x| !x.is_finite()) {
            let (row, column) = (i / data.dim, i % data.dim);
            return Err(Error::invalid(
                format!("row {row} of the {set} set has {} in column {column}", rows[i]),
                "leave out rows with missing values",
            ));
        }
    }
    match data.n_train() {
        Some(0) => Err(Error::invalid("there are no rows to train on", "give a split with a training set")),
        Some(n) if n > u32::MAX as usize => {
            Err(Error::invalid(format!("{n} rows to train on"), format!("give at most {}", u32::MAX)))
        }
        _ => Ok(()),
    }
}

/// The training data's own rows, or as many of a toy as moments need.
fn rows(data: &Dataset, seed: u64) -> Vec<f64> {
    match &data.train {
        Source::Rows(rows) => rows.clone(),
        Source::Toy(toy) => (toy.sample)(MOMENT_ROWS, &mut rng::stream(seed, MOMENTS_STREAM)),
    }
}

/// The model before the first step, and Σ ln of the training data's deviations. `stop` ends the choice of a base.
pub(super) fn start(job: &Job, data: &Dataset, stop: &mut dyn FnMut() -> bool) -> Result<(Model, f64)> {
    let rows = rows(data, job.seed);
    let log_volume = Standardise::fit(&rows, data.dim)?.log_volume();
    if let Some(path) = &job.init {
        let mut model = Model::load(path)?;
        if model.dim() != data.dim {
            let what = format!("the model `{}`", path.display());
            return Err(Error::Dimension { what, expected: data.dim, found: model.dim() });
        }
        if model.condition_dim() > 0 {
            return Err(Error::invalid(
                format!("the model `{}` is conditional on {} columns", path.display(), model.condition_dim()),
                "start from an unconditional model: only such are trained here",
            ));
        }
        job.clone().adopt(&model)?;
        model.spec.solver = job.solver.clone();
        return Ok((model, log_volume));
    }
    let velocity = VelocitySpec::Mlp(job.net(data.dim));
    velocity.validate()?;
    let mut spec = FlowSpec { velocity, solver: job.solver.clone(), standardise: None };
    let _ = (&stop, BASE_STREAM);
    let (rows, _) = Frame::new(&spec)?.inward(rows)?;
    if job.standardise {
        let Moments { mean, std } = Moments::from(&Standardise::fit(&rows, data.dim)?);
        spec.standardise = Some(Moments { mean, std: std.into_iter().map(|s| s / job.spread).collect() });
    }
    let theta = spec.velocity.init(&mut rng::stream(job.seed, INIT_STREAM));
    Ok((Model { spec, theta, story: serde_json::Map::new() }, log_volume))
}
