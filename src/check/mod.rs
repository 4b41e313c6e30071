//! Checks of a model's density: one line for each, with its value, its bound and its verdict.
//!
//! The checks are of three kinds. *Arithmetic*: does the solve compute what the flow defines (round trip, density
//! transported, quadrature, tolerance, precision, cost)? *Mathematics*: is what it defines a density, and that of its
//! own samples (mass, trace, divergence theorem)? *Fit*: are held-out data where the model puts them (latents), and
//! does it come to all of them (coverage), and are they as probable as its samples under their conditions
//! (calibration)? The first two judge the program and its settings, the last the training.
//!
//! Bounds of the arithmetic follow from the tolerance and the amplification measured on the flow itself; because they
//! grow with the tolerance, they are capped at what is worth calling right ([`CAP`]). Bounds of statistical lines
//! are four standard errors, so that a right model fails one of them in less than one run of a thousand.
//!
//! To add a check: a function from [`DiagnosticSamples`] to [`Check`], and an entry in [`CHECKS`].

mod calibration;
mod fit;
mod mass;
mod near;
mod proposal;
mod samples;
mod solve;
mod stein;

use serde::Serialize;

pub use calibration::{Ranks, ranks};
pub use fit::{LEAST_ROWS, MOST_ROWS};
pub use samples::DiagnosticSamples;

use crate::Result;
use crate::model::Model;
use crate::rows::Rows;
use crate::velocity::Precision;

/// Worse than this, in nats of a log-density or in deviations of a latent, no tolerance excuses.
pub const CAP: f64 = 0.05;

/// A model, and the settings of its checks.
#[derive(Clone, Debug)]
pub struct Subject {
    /// With the solver to be checked.
    pub model: Model,
    /// In what it computes.
    pub precision: Precision,
    /// Samples drawn from it, at least 16.
    pub n: usize,
    /// Fixes every draw.
    pub seed: u64,
    /// A row of conditions for all samples; empty if the model has none.
    pub condition: Vec<f64>,
    /// Rows that it was not trained on.
    pub held_out: HeldOut,
    /// Rows that it was not trained on, each with conditions of its own; none where the model has no condition.
    pub conditional: Rows,
    /// Rows that it was trained on, `[n, d]`, as far as they are known: they set how many samples are expected near a
    /// held-out one.
    pub trained_on: Vec<f64>,
}

/// Rows that the model was not trained on.
#[derive(Clone, Debug)]
pub enum HeldOut {
    /// All under the condition of the samples, or each under its own context; and where they come from.
    Rows(Rows, String),
    /// There are none, and why.
    Missing(String),
}

/// The verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Within its bound.
    Pass,
    /// Beyond it.
    Fail,
    /// Too noisy to judge; it does not count as a failure.
    Unclear,
    /// Not run.
    Skipped,
}

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The name of the check, two or three words.
    pub name: &'static str,
    /// What was measured; `None` where nothing was.
    pub value: Option<f64>,
    /// The bound of the value (of its size, or of its distance from what `words` names).
    pub bound: Option<f64>,
    /// Pass, fail, unclear or skipped.
    pub verdict: Verdict,
    /// What was compared, and what it means.
    pub words: String,
}

impl Check {
    /// Passes where |`value`| ≤ `bound`; NaN fails.
    fn judge(name: &'static str, value: f64, bound: f64, words: String) -> Self {
        let verdict = if value.abs() <= bound { Verdict::Pass } else { Verdict::Fail };
        Self { name, value: Some(value), bound: Some(bound), verdict, words }
    }

    fn skipped(name: &'static str, words: impl Into<String>) -> Self {
        Self { name, value: None, bound: None, verdict: Verdict::Skipped, words: words.into() }
    }
}

/// From what was measured to the result of a check.
type Test = fn(&DiagnosticSamples<'_>) -> Result<Check>;

/// Every check, in the order of the report. [`Check::name`] is the first of each pair.
pub const CHECKS: &[(&str, Test)] = &[
    ("solver", solve::cost),
    ("round trip", solve::round_trip),
    ("density carried", solve::transported),
    ("quadrature", solve::ways),
    ("tolerance", solve::tolerance),
    ("precision", solve::precision),
    ("trace", solve::trace),
    ("mass", mass::mass),
    ("divergence, t = 1", stein::at_the_end),
    ("divergence, t = 1/2", stein::half_way),
    ("latents of data", fit::latents),
    ("coverage", near::near),
    ("calibration", calibration::calibration),
];

/// Runs every check, and calls `see` with each result as it comes.
///
/// Where fewer than half of the samples arrive only the first check is run: the others would have too few rows.
///
/// # Errors
/// Any error of the solver. A row that fails is not an error: it makes a check fail.
pub fn run(subject: &Subject, see: &mut dyn FnMut(&Check)) -> Result<Vec<Check>> {
    let samples = DiagnosticSamples::gather(subject)?;
    let mut lines = Vec::new();
    for (i, (name, test)) in CHECKS.iter().enumerate() {
        let line = if i > 0 && !samples.enough() {
            Check::skipped(name, "most trajectories fail: see the first line")
        } else {
            test(&samples)?
        };
        debug_assert_eq!(line.name, *name);
        see(&line);
        lines.push(line);
    }
    Ok(lines)
}

/// The check of the integral of the density alone; none where it was skipped or is too noisy.
///
/// # Errors
/// As [`run`].
pub fn mass_of(subject: &Subject) -> Result<Option<Check>> {
    let samples = DiagnosticSamples::gather(subject)?;
    if !samples.enough() {
        return Ok(None);
    }
    let line = mass::mass(&samples)?;
    Ok((!matches!(line.verdict, Verdict::Unclear | Verdict::Skipped)).then_some(line))
}

/// Whether no check failed.
pub fn passed(lines: &[Check]) -> bool {
    lines.iter().all(|line| line.verdict != Verdict::Fail)
}
