//! Latents of held-out data against the standard normal: the one line that judges the training.
//!
//! The distance is Kolmogorov and Smirnov's D, between 0 and 1, of each column against N(0, 1) and of |z|² against
//! χ²_d. With enough rows every model differs from the truth significantly, so a small p-value does not fail the line:
//! a distance beyond [`FAR`] does, that chance does not explain (p below one in a thousand, Bonferroni-corrected for
//! the number of distances). D = 0.1 is what a shift by a quarter of a deviation gives, or a scale wrong by a half.

use super::{Check, DiagnosticSamples, HeldOut};
use crate::Result;
use crate::stats::{ChiSquared, ks_critical, ks_distance, ks_p_value, normal_cdf};

const NAME: &str = "latents of data";
/// The effect that fails.
pub(super) const FAR: f64 = 0.1;
/// The level of significance that a failure needs.
pub(super) const LEVEL: f64 = 1e-3;
/// Rows at most: the first.
pub const MOST_ROWS: usize = 10_000;
/// The least rows for a verdict.
pub const LEAST_ROWS: usize = 20;

/// Whether held-out data lie where the model puts them.
pub fn latents(e: &DiagnosticSamples<'_>) -> Result<Check> {
    let d = e.subject.model.dim();
    let (rows, from, encoded) = match &e.subject.held_out {
        HeldOut::Rows(rows, from) => {
            let rows = rows.first(d, MOST_ROWS);
            let encoded = match rows.context.is_empty() {
                true => e.subject.encode(&e.subject.model.spec.solver, e.subject.precision, &rows.points())?,
                false => e.subject.encode_under(&rows)?,
            };
            (rows, from, encoded)
        }
        HeldOut::Missing(why) => return Ok(Check::skipped(NAME, why.clone())),
    };
    let kept: Vec<&[f64]> = encoded.y.chunks_exact(d).filter(|z| z.iter().all(|v| v.is_finite())).collect();
    let outside = encoded.cost.outside.len();
    let (n, lost) = (kept.len(), rows.count(d) - kept.len() - outside);
    // The statistic is that of the rows inside: the others have no latent.
    let apart = match outside {
        0 => String::new(),
        _ => format!("; {} outside the support, where log p is -inf", crate::words::count(outside as u64, "row")),
    };
    if n < LEAST_ROWS {
        return Ok(Check::skipped(
            NAME,
            format!("{} of {from}: too few, give {LEAST_ROWS}{apart}", crate::words::count(n as u64, "row")),
        ));
    }
    let chi = ChiSquared::new(d);
    let column = |j: usize| {
        let mut values: Vec<f64> = kept.iter().map(|z| z[j]).collect();
        (format!("column {j} (counted from 0)"), ks_distance(&mut values, normal_cdf))
    };
    let mut squares: Vec<f64> = kept.iter().map(|z| z.iter().map(|v| v * v).sum()).collect();
    let mut all: Vec<(String, f64)> = (0..d).map(column).collect();
    all.push(("|z|²".into(), ks_distance(&mut squares, |s| chi.at(s))));
    let worst = all.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let (what, distance) = worst.map_or(("", f64::NAN), |(what, distance)| (what.as_str(), *distance));
    let p = (all.len() as f64 * ks_p_value(distance, n)).min(1.0);
    let floor = 1.358 / (n as f64).sqrt();
    let mut words = format!(
        "distance of {} ({from}) from a standard normal, in {what}; noise below {floor:.3}; p = {p:.1e}",
        crate::words::count(n as u64, "row")
    );
    if p < LEVEL && distance <= FAR {
        words += ": beyond chance, but small";
    }
    if lost > 0 {
        words += &format!("; {} failed", crate::words::count(lost as u64, "row"));
    }
    words += &apart;
    // Few rows have a larger distance by chance.
    let bound = FAR.max(ks_critical(LEVEL / all.len() as f64, n));
    Ok(Check::judge(NAME, distance, bound, words))
}
