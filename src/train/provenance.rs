//! What a model file says of its training.

use serde_json::{Map, Value, json};

use super::{Far, Job, Score, Set, TrainResult};
use crate::model::FlowSpec;
use crate::rows::diagnose::Finding;
use crate::rows::{Dataset, Rows};
use crate::transform::{Mixture, Pixels};

/// Rows far out that are named.
const NAMED: usize = 100;

/// The name of the set to score, and its rows: those of training where none were held out.
pub fn held_out(data: &Dataset) -> (&'static str, &Rows) {
    [("test", &data.test), ("validation", &data.valid)]
        .into_iter()
        .find(|(_, rows)| rows.count(data.dim) >= 2)
        .unwrap_or_else(|| ("training", data.training_rows().unwrap_or(&data.test)))
}

/// The provenance of a model before it is scored.
pub fn provenance(job: &Job, fitted: &TrainResult) -> Map<String, Value> {
    object(json!({
        "data": job.data.source,
        "model": job.model.family.name(),
        "objective": (!job.model.family.is_reference()).then(|| job.objective.kind.name()),
        "seed": job.seed,
        "precision": job.model.precision,
        "steps": fitted.steps,
        "seconds": fitted.seconds,
        "n_params": job.model.family.n_params(&fitted.model),
        "stopped": fitted.stopped,
        "version": env!("CARGO_PKG_VERSION"),
        "job": job,
    }))
}

/// The provenance of a model with this score of the rows of `set`; `found` is what was found in the data.
pub fn scored_provenance(
    job: &Job,
    fitted: &TrainResult,
    score: &Score,
    set: &str,
    found: &[Finding],
) -> Map<String, Value> {
    let mut provenance = provenance(job, fitted);
    let FlowSpec { base, pixels, .. } = &fitted.model.spec;
    let replaced = base.as_ref().filter(|_| fitted.replaced_by_baseline).map(Mixture::components);
    let tried = (!fitted.tried.is_empty()).then_some(&fitted.tried);
    let steered = fitted.before.and_then(|before| Some(fitted.history.validations.last()?.nll - before));
    // Nats of one bit for each number of an image.
    let unit = pixels.as_ref().map(|pixels: &Pixels| pixels.dim() as f64 * std::f64::consts::LN_2);
    provenance.extend(object(json!({
        "chosen_step": fitted.chosen,
        "replaced_by_baseline": replaced,
        "falls": fitted.rollbacks,
        "far_rows": job.data.far_rows,
        "far": far_facts(&fitted.far),
        "nfe_target": job.objective.nfe_target,
        "nfe_cost": steered,
        "seconds_per_step": fitted.step_seconds / fitted.steps.max(1) as f64,
        "mixture_seconds": fitted.mixture_seconds,
        "base_seconds": fitted.base_seconds,
        "ended_early": fitted.ended_early,
        "tried": tried,
        "scored": set,
        "n": score.n,
        "nll": score.nll,
        "nll_se": score.nll_se,
        "nll_median": score.dominance.median,
        "nll_carried_by": score.dominance.few,
        "nll_standardised": score.nll - fitted.log_volume,
        "bits_per_dim": unit.map(|unit| score.nll / unit),
        "bits_per_dim_se": unit.map(|unit| score.nll_se / unit),
        "excess": score.excess.map(|(mean, _)| mean),
        "excess_se": score.excess.map(|(_, se)| se),
        "nfe_mean": score.nfe_mean,
        "failed": score.failed.len(),
        "outside": score.outside.len(),
        "data_warnings": found,
    })));
    provenance
}

/// How many rows of each set lie far out, and the first of them.
fn far_facts(far: &Far) -> Value {
    let count = |set| far.of(set).len();
    let rows = far.rows.iter().take(NAMED).collect::<Vec<_>>();
    json!({
        "training": count(Set::Training),
        "validation": count(Set::Validation),
        "test": count(Set::Test),
        "rows": rows,
    })
}

/// The entries of a JSON object.
fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}
