//! Calibration of a conditional model: under its own condition a held-out row is as probable as the model's samples.
//!
//! For a row x with the condition c, [`DRAWS`] samples are drawn from p(· | c). The rank of log p(x | c) among their
//! log-densities, as a part of all ranks, is uniform on (0, 1) if x too is a draw of p(· | c); so it is over all rows,
//! whatever their conditions. A row of rank u lies in the region of highest density that holds the share 1 − u of the
//! samples: the share of rows with 1 − u ≤ a is the expected coverage at the level a, which is a where the model is
//! right. A model that is too sharp has too few rows inside, one that is too wide too many. Judged is Kolmogorov and
//! Smirnov's D of the ranks, the greatest distance of the coverage from the level, as the latents of data are.
//!
//! Ref: Talts et al., *Validating Bayesian inference algorithms with simulation-based calibration* (2018), for ranks;
//! Hermans et al., *A crisis in simulation-based inference?* (2022), for the expected coverage of densities.

use rand::Rng as _;

use super::fit::{FAR, LEAST_ROWS, LEVEL};
use super::{Check, DiagnosticSamples, Subject};
use crate::model::block_rows;
use crate::stats::{ks_critical, ks_distance, ks_p_value};
use crate::transform::StandardNormal;
use crate::words::count;
use crate::{Result, rng};

const NAME: &str = "calibration";
const STREAM: u64 = 0xc4ec_0006;
/// Samples for each row.
const DRAWS: usize = 63;
/// The most rows that are ranked.
const MOST: usize = 1000;
/// What all samples may cost, in evaluations times parameters, and what one with its density costs more than one without.
const DEAREST: f64 = 1e11;
const WITH_DENSITY: f64 = 3.0;

/// The ranks of held-out rows among samples under their own conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranks {
    /// As parts of all ranks, between 0 (less probable than all samples) and 1; rising.
    pub values: Vec<f64>,
    /// Rows without a density.
    pub failed: usize,
}

impl Ranks {
    /// The expected coverage: levels, rising, and the share of rows in the region of highest density that holds as much
    /// of the samples.
    pub fn coverage(&self) -> Vec<(f64, f64)> {
        let n = self.values.len() as f64;
        let inside = self.values.iter().rev().enumerate().map(|(i, rank)| (1.0 - rank, (i + 1) as f64 / n));
        std::iter::once((0.0, 0.0)).chain(inside).chain([(1.0, 1.0)]).collect()
    }

    /// The greatest distance of the coverage from its level, between 0 and 1: Kolmogorov and Smirnov's D of the ranks.
    pub fn distance(&self) -> f64 {
        ks_distance(&mut self.values.clone(), |u| u.clamp(0.0, 1.0))
    }

    /// The greatest distance of the coverage from its level that chance explains in 95 of 100 cases.
    pub fn noise(&self) -> f64 {
        1.358 / (self.values.len() as f64).sqrt()
    }
}

/// The ranks of the held-out rows that have conditions of their own; why there are none, where there are none.
///
/// # Errors
/// Any error of the solver.
pub fn ranks(subject: &Subject) -> Result<std::result::Result<Ranks, String>> {
    let (d, c) = (subject.model.dim(), subject.model.condition_dim());
    let rows = &subject.conditional;
    if c == 0 {
        return Ok(Err("the model has no condition".into()));
    }
    if rows.count(d) < LEAST_ROWS {
        let words = count(rows.count(d) as u64, "held-out row");
        return Ok(Err(format!("{words} with conditions of their own: too few, give {LEAST_ROWS}")));
    }
    let flow = subject.with(&subject.model.spec.solver, subject.precision)?;
    let pilot = rows.evenly(d, LEAST_ROWS);
    let nfe = flow.log_prob(&pilot.points(), &pilot.context)?.cost.nfe_mean().max(1.0);
    let each = DRAWS as f64 * WITH_DENSITY * nfe * subject.model.n_params().max(1) as f64;
    let most = ((DEAREST / each) as usize).min(MOST);
    if most < LEAST_ROWS {
        return Ok(Err("sampling is too expensive for this check".into()));
    }
    let rows = rows.evenly(d, most);
    let n = rows.count(d);
    let own = flow.log_prob(&rows.points(), &rows.context)?.log_prob;
    let (mut noise, mut values, mut failed) = (rng::stream(subject.seed, STREAM), Vec::with_capacity(n), 0);
    let block = (block_rows(d) / DRAWS).max(1);
    for first in (0..n).step_by(block) {
        let part = first..n.min(first + block);
        let z = StandardNormal::new(d).draw(part.len() * DRAWS, &mut noise);
        let given: Vec<f64> = part.clone().flat_map(|i| rows.context[i * c..(i + 1) * c].repeat(DRAWS)).collect();
        let drawn = flow.decode(&z, &given)?.log_prob;
        for (i, drawn) in part.zip(drawn.chunks_exact(DRAWS)) {
            let tie: f64 = noise.random();
            if own[i].is_nan() {
                failed += 1;
                continue;
            }
            let known = drawn.iter().filter(|l| !l.is_nan());
            let below = known.clone().filter(|l| **l < own[i]).count() as f64;
            let equal = known.clone().filter(|l| **l == own[i]).count() as f64;
            values.push((below + tie * (equal + 1.0)) / (known.count() + 1) as f64);
        }
    }
    values.sort_unstable_by(f64::total_cmp);
    Ok(Ok(Ranks { values, failed }))
}

/// Whether held-out rows are as probable as samples under their own conditions.
pub fn calibration(e: &DiagnosticSamples<'_>) -> Result<Check> {
    let ranks = match ranks(e.subject)? {
        Ok(ranks) => ranks,
        Err(why) => return Ok(Check::skipped(NAME, why)),
    };
    let n = ranks.values.len();
    if n < LEAST_ROWS {
        return Ok(Check::skipped(
            NAME,
            format!("{} with a density: too few, give {LEAST_ROWS}", count(n as u64, "row")),
        ));
    }
    let (noise, distance) = (ranks.noise(), ranks.distance());
    let (mean, p) = (ranks.values.iter().sum::<f64>() / n as f64, ks_p_value(distance, n));
    let mut words = format!(
        "distance from its level of the coverage of {}, each among {DRAWS} samples under its own condition; noise below \
         {noise:.3}; p = {p:.1e}",
        count(n as u64, "held-out row")
    );
    let far = ks_critical(LEVEL, n).max(FAR);
    if distance > far {
        let (less, so) = if mean < 0.5 { ("less", "sharp") } else { ("more", "wide") };
        words = format!("rows are {less} probable than samples (mean rank {mean:.2}): the model is too {so}; {words}");
    } else if p < LEVEL {
        words += ": beyond chance, but small";
    }
    if ranks.failed > 0 {
        words += &format!("; {} failed", count(ranks.failed as u64, "row"));
    }
    Ok(Check::judge(NAME, distance, far, words))
}
