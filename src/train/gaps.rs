//! Gaussians and mixtures of rows with missing cells: the preprocessing of such rows, and their fit.

use super::job::column_rule;
use super::preprocessing::Preprocessing;
use super::{Family, Job};
use crate::fit::{EmOptions, present_moments};
use crate::model::{FlowSpec, Moments};
use crate::rows::{Dataset, MissingRows};
use crate::stats::Sample;
use crate::transform::{ColumnKind, Mixture};
use crate::{Error, Result, Rng};

/// The families that are fitted to the cells that are there.
const FAMILIES: [Family; 3] = [Family::Gaussian, Family::GaussianShrunk, Family::Mixture];

impl Job {
    /// Refuses rows with missing cells for a model that has no exact density of the others.
    pub(super) fn check_missing(&self) -> Result<()> {
        let family = self.model.family;
        if self.data.missing != MissingRows::Marginal {
            return Ok(());
        }
        let simplex = |text: &String| column_rule(text).is_ok_and(|(_, kind)| kind == ColumnKind::Simplex);
        if self.data.columns.iter().any(simplex) {
            let problem = "`data.missing` marginal has no meaning for a simplex: its log-ratios need all parts";
            return Err(Error::invalid(problem, "set `data.missing` to drop, or leave the simplex out"));
        }
        if FAMILIES.contains(&family) {
            return Ok(());
        }
        let problem =
            format!("`data.missing` marginal has no meaning for {}: its marginals are unknown", family.name());
        Err(Error::invalid(
            problem,
            "set `model.family` to gaussian, gaussian-shrunk or mixture, or `data.missing` to drop",
        ))
    }

    /// Whether the job is about rows of which some have missing cells.
    pub(super) fn fits_gaps(&self, data: &Dataset) -> bool {
        self.data.missing == MissingRows::Marginal && data.has_gaps()
    }
}

/// The spec with the mixture that its family makes of `rows`, whose kinds of columns it has; and Σ ln of the data's deviations.
pub(super) fn fitted(
    job: &Job,
    data: &Dataset,
    mut spec: FlowSpec,
    rows: Sample<'_>,
    options: &EmOptions,
    (rng, stop): (&mut Rng, &mut dyn FnMut() -> bool),
) -> Result<(FlowSpec, f64)> {
    let d = data.dim;
    let log_volume = present_moments(rows, d)?.1.iter().map(|s| s.ln()).sum();
    let usual: Vec<f64> = (0..d)
        .map(|j| rows.x.iter().skip(j).step_by(d).copied().find(|v| !v.is_nan()))
        .map(|v| v.unwrap_or_default())
        .collect();
    let map = Preprocessing::new(&spec)?;
    let (x, held_out) = (inward(&map, rows.x, &usual)?, inward(&map, &data.valid.points(), &usual)?);
    let (rows, valid) = (Sample { x: &x, weight: rows.weight }, Sample { x: &held_out, weight: &data.valid.weight });
    spec.base = Some(match job.model.family {
        Family::Gaussian => Mixture::gaussian_of_gaps(rows, d, stop)?,
        Family::GaussianShrunk => Mixture::shrunk_of_gaps(rows, valid, d, stop)?.0,
        _ => {
            let mut scaled = None;
            if job.data.standardise {
                let spread = job.data.spread.unwrap_or(1.0);
                let (mean, std) = present_moments(rows, d)?;
                let moments = Moments { mean, std: std.into_iter().map(|s| s / spread).collect() };
                let of = |x: &[f64]| -> Vec<f64> {
                    let one = |(i, v): (usize, &f64)| (v - moments.mean[i % d]) / moments.std[i % d];
                    x.iter().enumerate().map(one).collect()
                };
                scaled = Some((of(&x), of(&held_out)));
                spec.standardise = Some(moments);
            }
            let (x, held_out) = scaled.unwrap_or((x.clone(), held_out.clone()));
            let (rows, valid) = (Sample { x: &x, ..rows }, Sample { x: &held_out, ..valid });
            Mixture::choose_of_gaps(rows, valid, d, options, rng, stop)?.mixture
        }
    });
    Ok((spec, log_volume))
}

/// Rows on the real-line side of their columns. Each column is mapped on its own, so that a missing cell may be any number
/// on the way: `usual` has one of each column.
fn inward(map: &Preprocessing, x: &[f64], usual: &[f64]) -> Result<Vec<f64>> {
    let d = usual.len();
    let filled = x.iter().enumerate().map(|(i, v)| if v.is_nan() { usual[i % d] } else { *v }).collect();
    let (mut inside, _) = map.inward(filled)?;
    inside.iter_mut().zip(x).filter(|(_, v)| v.is_nan()).for_each(|(inside, _)| *inside = f64::NAN);
    Ok(inside)
}
