//! Baselines without a net: fitted in one call, not trained.

use std::time::Instant;

use super::gaps;
use super::preprocessing::Preprocessing;
use super::start::{self, rows};
use super::{BASE_STREAM, Family, Far, History, Job, TrainResult, Validation, Watch, score};
use crate::fit::{EmOptions, Gaussian};
use crate::model::{Architecture, FlowSpec, Model};
use crate::rows::{Dataset, Rows};
use crate::stats::Sample;
use crate::transform::{Histogram, Mixture, Standardise};
use crate::{Error, Result, Rng, rng};

/// Rows of a toy that a reference is fitted to.
const TOY_ROWS: usize = 100_000;
/// Pixels of the images that one is fitted to: 128 MiB as f64.
const IMAGE_PIXELS: usize = 1 << 24;

/// Fits the reference that the job names.
///
/// # Errors
/// As the fits; [`Error::Invalid`] where conditions are given.
pub(super) fn fit(job: &Job, data: &Dataset, far: Far, clock: Instant, watch: &mut dyn Watch) -> Result<TrainResult> {
    if data.context.is_some() {
        return Err(Error::invalid(
            format!("the model {} cannot have a condition", job.model.family.name()),
            "leave out `data.condition`, or train a flow",
        ));
    }
    let d = data.dim;
    let Rows { x, weight, .. } = rows(data, job.seed, TOY_ROWS, IMAGE_PIXELS);
    let (x, weight) = (x.into_f64(), &weight[..]);
    let pixels = start::pixels(job, data)?;
    let columns = start::columns(job, data, &x)?;
    let names = data.columns.clone().unwrap_or_default();
    let spec = FlowSpec { columns, pixels, names, ..FlowSpec::bare(Architecture::Identity { dim: d }) };
    let mut rng = rng::stream(job.seed, BASE_STREAM);
    // Only the mixture takes time, and cells that are missing; they stop when none is left.
    let mut stop =
        || watch.stop_requested() || job.optimiser.time.is_some_and(|time| clock.elapsed().as_secs_f64() > time);
    let options = if job.model.family == Family::Mixture { mixture_options(job, d)? } else { EmOptions::default() };
    let random = (&mut rng, &mut stop as &mut dyn FnMut() -> bool);
    let (spec, log_volume) = match job.fits_gaps(data) {
        true => gaps::fitted(job, data, spec, Sample { x: &x, weight }, &options, random)?,
        false => fitted(job, data, spec, (x, weight), &options, random)?,
    };
    let model = Model { spec, theta: Vec::new(), provenance: serde_json::Map::new() };
    let seconds = clock.elapsed().as_secs_f64();
    let mut history = History::default();
    if data.valid.count(d) >= 2 {
        let score = score(&model.bind(job.model.precision)?, &data.valid, data.toy())?;
        let (nll, se) = score.best_nll(data.toy());
        history.validations.push(Validation { step: 0, seconds, nll, se, nfe: 0.0, dominance: score.dominance });
    }
    Ok(TrainResult {
        model,
        log_volume,
        history,
        steps: 0,
        chosen: 0,
        seconds,
        step_seconds: seconds,
        base_seconds: None,
        mixture_seconds: (job.model.family == Family::Mixture).then_some(seconds),
        replaced_by_baseline: false,
        ended_early: None,
        rollbacks: 0,
        far,
        before: None,
        stopped: false,
        job: job.clone(),
        tried: Vec::new(),
    })
}

/// How a mixture is fitted: at as much work as beside a flow of the defaults.
fn mixture_options(job: &Job, d: usize) -> Result<EmOptions> {
    let budget = (job.optimiser.steps, job.optimiser.time);
    let flow = Job::default().with(|flow| (flow.optimiser.steps, flow.optimiser.time) = budget).resolve(d)?;
    let work = start::mixture_work(&flow, flow.net(d).n_params());
    Ok(EmOptions { work, ..EmOptions::default() })
}

/// The spec with the density that its family makes of whole rows `x`, and Σ ln of the data's deviations.
fn fitted(
    job: &Job,
    data: &Dataset,
    mut spec: FlowSpec,
    (x, weight): (Vec<f64>, &[f64]),
    options: &EmOptions,
    (rng, stop): (&mut Rng, &mut dyn FnMut() -> bool),
) -> Result<(FlowSpec, f64)> {
    let d = data.dim;
    let volume =
        if data.shape.is_none() { Some(Standardise::fit(Sample { x: &x, weight }, d)?.log_volume()) } else { None };
    let (x, inside) = Preprocessing::new(&spec)?.inward(x)?;
    let log_volume = volume.unwrap_or(inside);
    match job.model.family {
        Family::Gaussian => spec.base = Some(Mixture::gaussian(Sample { x: &x, weight }, d, Gaussian::Full)?),
        Family::GaussianShrunk => {
            let (valid, _) = Preprocessing::new(&spec)?.inward(data.valid.points().into_owned())?;
            let valid = Sample { x: &valid, weight: &data.valid.weight };
            spec.base = Some(Mixture::shrunk(Sample { x: &x, weight }, valid, d)?.0);
        }
        Family::GaussianFixed => {
            let fixed = Gaussian::Fixed { sigma: job.model.sigma };
            spec.base = Some(Mixture::gaussian(Sample { x: &x, weight }, d, fixed)?);
        }
        Family::Histogram => {
            let (valid, _) = Preprocessing::new(&spec)?.inward(data.valid.points().into_owned())?;
            let (x, valid) = (Sample { x: &x, weight }, Sample { x: &valid, weight: &data.valid.weight });
            spec.architecture = Architecture::Histogram(Histogram::fit(x, valid, d)?.histogram);
        }
        _ => {
            spec.standardise = start::standardisation(job, data, Sample { x: &x, weight })?;
            let (x, _) = Preprocessing::new(&FlowSpec { columns: None, pixels: None, ..spec.clone() })?.inward(x)?;
            let (held_out, _) = Preprocessing::new(&spec)?.inward(data.valid.points().into_owned())?;
            let x = Sample { x: &x, weight };
            let valid = Sample { x: &held_out, weight: &data.valid.weight };
            spec.base = Some(if held_out.is_empty() {
                Mixture::fit(x, d, options, rng, stop)?
            } else {
                Mixture::choose(x, valid, d, options, rng, stop)?.mixture
            });
        }
    }
    Ok((spec, log_volume))
}
