//! What is wrong with the density of the data of a job, before the first step: parts of a whole are looked at as the
//! log-ratios that a flow has of them, for the parts themselves sum to a constant.

use super::Job;
use super::simplexes::of_log_ratios;
use crate::model::{FlowSpec, Model};
use crate::rows::Dataset;
use crate::rows::diagnose::{Finding, with_integers};
use crate::transform::simplex::RATIO;

/// Findings on the data of a job. `numbered`: columns without names are numbered as in the file, none being left out.
///
/// A job whose simplexes do not fit the data has those of the plain columns: the training names the error.
pub fn findings(job: &Job, data: &Dataset, numbered: bool) -> Vec<Finding> {
    let mut job = job.clone();
    if let Some(model) = job.model.init.as_deref().and_then(|path| Model::load(path).ok()) {
        job.data.columns.extend(rules(&model.spec));
        job.model.init = None;
    }
    match of_log_ratios(&job, None, data) {
        Ok(Some(inner)) => {
            let found = with_integers(&inner.data, numbered, &inner.job.integers(&inner.data));
            let unknown = data.columns.is_none() && !numbered;
            found.into_iter().map(|finding| of_parts(finding, unknown)).collect()
        }
        _ => with_integers(data, numbered, &job.integers(data)),
    }
}

/// A finding whose way out is about parts, where it is about their log-ratios; `unknown`: numbers of columns are not those of
/// the file.
fn of_parts(finding: Finding, unknown: bool) -> Finding {
    if !finding.columns.iter().any(|name| name.starts_with(RATIO)) {
        let hint = if unknown { "leave the column out, or give it a type".into() } else { finding.hint };
        return Finding { hint, ..finding };
    }
    Finding { hint: "look at the parts of the simplex: leave one out, or round them less".into(), ..finding }
}

/// The simplexes of a model as rules of a job.
fn rules(spec: &FlowSpec) -> Vec<String> {
    let classes = spec.classes.as_ref().map_or(&[][..], |table| &table.places);
    let others: Vec<usize> = (0..spec.dim()).filter(|j| !classes.contains(j)).collect();
    let label = |j: &usize| spec.names.get(others[*j]).cloned().unwrap_or_else(|| others[*j].to_string());
    let rule = |places: &[usize]| format!("{}:simplex", places.iter().map(label).collect::<Vec<_>>().join(","));
    spec.simplexes.iter().map(|one| rule(&one.places)).collect()
}
