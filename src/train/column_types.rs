//! The kinds of the columns of a table that the job does not name: chosen by its rows.

use rayon::prelude::*;

use super::job::column_rule;
use super::{ColumnTypes, Family, Job};
use crate::fit::kind::{self, Kind};
use crate::rows::{Dataset, Numbers, Source};
use crate::transform::ColumnKind;
use crate::words;

/// Columns that are named in a remark.
const NAMED: usize = 8;

/// Whether the kinds of the columns of a job are chosen by their rows.
pub(super) fn choose_kinds(job: &Job) -> bool {
    let of_flow = !job.model.family.is_reference() || job.model.family == Family::Mixture;
    of_flow && job.data.column_types == ColumnTypes::Auto && job.model.init.is_none()
}

/// What rows gain by the kinds of columns, in words.
pub(super) fn gain_of(nats: f64) -> String {
    let nats = words::number(nats, 2);
    format!("held-out rows gain {nats} nats by that (`data.column_types` plain leaves them as they are)")
}

/// The job with the kinds that its columns get, and a remark where some are not plain.
///
/// Toys and images have none, and a model to start from has its own; one Gaussian and a table of probabilities stay what
/// their names say.
pub fn with_column_types(job: Job, data: &Dataset) -> (Job, Option<String>) {
    let Source::Rows(train) = &data.train else { return (job, None) };
    // Those of classes and simplexes are left to the training of the flow inside.
    let apart = |text: &String| {
        column_rule(text).is_ok_and(|(_, kind)| matches!(kind, ColumnKind::Class | ColumnKind::Simplex))
    };
    if data.shape.is_some() || !choose_kinds(&job) || job.data.columns.iter().any(apart) {
        return (job, None);
    }
    let d = data.dim;
    // As `data.columns` counts them: by a name that no other column has, or by their number where there are none.
    let name = |j: usize| match &data.columns {
        None => Some(j.to_string()),
        Some(names) => (names.iter().filter(|name| **name == names[j]).count() == 1).then(|| names[j].clone()),
    };
    let given = |name: &str| job.data.columns.iter().any(|text| column_rule(text).is_ok_and(|(own, _)| own == name));
    let named = |j: &usize| name(*j).is_none_or(|name| given(&name) || given(&j.to_string()));
    let column = |x: &Numbers, j: usize| -> Vec<f64> { x.iter().skip(j).step_by(d).filter(|v| !v.is_nan()).collect() };
    let of = |j: usize| -> Option<(String, Kind)> {
        let held_out = [&data.valid, &data.test].into_iter().flat_map(|rows| column(&rows.x, j));
        let found = kind::choose(&column(&train.x, j), held_out)?;
        name(j).map(|name| (name, found))
    };
    let found: Vec<(String, Kind)> =
        (0..d).filter(|j| !named(j)).collect::<Vec<_>>().into_par_iter().filter_map(of).collect();
    if found.is_empty() {
        return (job, None);
    }
    let of_kind = |kind: ColumnKind| {
        let own: Vec<&str> =
            found.iter().filter(|(_, found)| found.kind == kind).map(|(name, _)| name.as_str()).collect();
        let what = match (kind, own.len()) {
            (_, 0) => return None,
            (ColumnKind::Positive, 1) => "is modelled by its logarithm",
            (ColumnKind::Positive, _) => "are modelled by their logarithms",
            (_, 1) => "has heavy tails",
            _ => "have heavy tails",
        };
        let listed = own.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let more = if own.len() > NAMED { format!(" and {} more", own.len() - NAMED) } else { String::new() };
        Some(format!("{} {listed}{more} {what}", if own.len() == 1 { "column" } else { "columns" }))
    };
    let words: Vec<String> = [ColumnKind::Positive, ColumnKind::Heavy].into_iter().filter_map(of_kind).collect();
    let gain: f64 = found.iter().map(|(_, found)| found.gain).sum();
    let remark = format!("{}: {}", words.join(", "), gain_of(gain));
    let job = job.with(|job| {
        job.data.columns.extend(found.iter().map(|(name, found)| format!("{name}:{}", found.kind)));
    });
    (job, Some(remark))
}
