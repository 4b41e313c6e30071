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
use crate::model::{Architecture, FlowSpec, Model};
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

impl Subject {
    /// Of a model that gives out classes the flow under them: its samples are those under the most frequent combination,
    /// and so are the rows that they are compared with.
    fn under_a_class(mut self) -> Self {
        let Some(table) = self.model.spec.classes.clone() else { return self };
        let dim = self.model.dim();
        let frequent = table.cells.iter().max_by(|a, b| a.weight.total_cmp(&b.weight));
        self.condition = frequent.map_or(Vec::new(), |cell| cell.classes.iter().map(|class| *class as f64).collect());
        let (d, m) = (dim - table.places.len(), table.places.len());
        let cut = |rows: &Rows| {
            let (x, context) = table.cut(&rows.points(), dim);
            let known: Vec<usize> = context
                .chunks_exact(m)
                .enumerate()
                .filter(|(_, row)| table.log_prob(row).is_finite())
                .map(|(i, _)| i)
                .collect();
            Rows { x: x.into(), context, weight: rows.weight.clone() }.pick(d, &known)
        };
        let of_class = |rows: &Rows, condition: &[f64]| {
            let same: Vec<usize> =
                rows.context.chunks_exact(m).enumerate().filter(|(_, row)| *row == condition).map(|(i, _)| i).collect();
            Rows { context: Vec::new(), ..rows.pick(d, &same) }
        };
        if let HeldOut::Rows(rows, from) = self.held_out {
            self.conditional = cut(&rows);
            let rows = of_class(&self.conditional, &self.condition);
            self.held_out = match rows.is_empty() {
                true => HeldOut::Missing("no held-out row has the most frequent class".into()),
                false => HeldOut::Rows(rows, from + ", of the most frequent class"),
            };
        }
        let trained_on = cut(&Rows::new(self.trained_on));
        self.trained_on = of_class(&trained_on, &self.condition).x.into_f64();
        self.model.spec = self.model.spec.under_classes();
        self
    }

    /// Of a model with simplexes the flow of their log-ratios, which has a density of all its columns. Rows outside the
    /// support have no log-ratios: they are left out, and counted among the words about the held-out rows.
    fn of_log_ratios(mut self) -> Result<Self> {
        let Some(parts) = self.model.spec.parts()? else { return Ok(self) };
        let dim = self.model.dim() - self.model.spec.simplexes.len();
        let inward = |rows: &Rows| {
            let (x, logs) = parts.inward(&rows.points());
            let inside: Vec<usize> = (0..logs.len()).filter(|i| logs[*i] != f64::NEG_INFINITY).collect();
            let lost = logs.len() - inside.len();
            (Rows { x: x.into(), ..rows.clone() }.pick(dim, &inside), lost)
        };
        self.conditional = inward(&self.conditional).0;
        if let HeldOut::Rows(rows, from) = self.held_out {
            let (rows, lost) = inward(&rows);
            let lost = match lost {
                0 => String::new(),
                _ => format!(", without {} outside the simplex", crate::words::count(lost as u64, "row")),
            };
            self.held_out = HeldOut::Rows(rows, from + &lost);
        }
        self.trained_on = inward(&Rows::new(self.trained_on)).0.x.into_f64();
        self.model.spec = self.model.spec.of_log_ratios()?;
        Ok(self)
    }

    /// The same under a class, where the model gives out classes, of log-ratios, where it has simplexes, and between the latents and the real numbers behind the noise of whole ones: there a flow is a bijection with a
    /// density; whole numbers, and the grey levels of images, have neither.
    ///
    /// # Errors
    /// [`crate::Error::Dimension`] for incomplete rows.
    pub fn of_real_numbers(mut self) -> Result<Self> {
        self = self.under_a_class().of_log_ratios()?;
        let (seed, pixels) = (self.seed, self.model.spec.pixels.take());
        let spec = std::mem::replace(&mut self.model.spec, FlowSpec::bare(Architecture::Identity { dim: 1 }));
        self.model.spec = spec.of_real_numbers();
        if pixels.is_none() && !spec.has_integers() {
            return Ok(self);
        }
        let inward = |x: Vec<f64>| match &pixels {
            Some(pixels) => pixels.inward(x, seed, 0),
            None => spec.with_noise(x, seed),
        };
        let each = |rows: &mut Rows| -> Result<()> {
            rows.x = inward(std::mem::take(&mut rows.x).into_f64())?.into();
            Ok(())
        };
        self.trained_on = inward(self.trained_on)?;
        each(&mut self.conditional)?;
        if let HeldOut::Rows(rows, _) = &mut self.held_out {
            each(rows)?;
        }
        Ok(self)
    }
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
