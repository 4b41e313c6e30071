//! The report of a run: as text, as JSON, as the provenance in the model file, and step by step as a table.

use std::fmt::Write as _;
use std::path::Path;

use cnflow::apply::BitsPerDim;
use cnflow::rows::diagnose::Finding;
use cnflow::train::{Family, Far, FarRows, History, Job, Score, Set, TrainResult, Tried, scored_provenance};
use cnflow::transform::{Mixture, Pixels};
use cnflow::words;
use serde_json::{Map, Value, json};

use crate::cli::findings;

/// The end of a run.
pub struct Summary {
    /// In the model file.
    provenance: Map<String, Value>,
    job: Job,
    score: Score,
    /// Which rows were scored.
    set: &'static str,
    log_volume: f64,
    steps: usize,
    seconds: f64,
    seconds_per_step: f64,
    mixture_seconds: Option<f64>,
    base_seconds: Option<f64>,
    ended_early: Option<String>,
    n_params: usize,
    chosen: usize,
    rollbacks: usize,
    far: Far,
    /// What was tried, where the model was chosen among several.
    tried: Vec<Tried>,
    /// Components of the mixture that replaced the flow.
    replaced_by_baseline: Option<usize>,
    /// Held-out NLL before evaluations were steered, and at the end.
    steered: Option<(f64, f64)>,
    stopped: bool,
    /// The numbers of an image, where rows are images.
    pixels: Option<usize>,
    /// What was found in the data.
    found: Vec<Finding>,
    /// What went wrong and ended nothing.
    warnings: Vec<String>,
    /// There is a checkpoint to resume from.
    resumable: bool,
}

impl Summary {
    pub fn new(job: &Job, fitted: &TrainResult, score: &Score, set: &'static str, found: Vec<Finding>) -> Self {
        Self {
            provenance: scored_provenance(job, fitted, score, set, &found),
            job: job.clone(),
            score: score.clone(),
            set,
            log_volume: fitted.log_volume,
            steps: fitted.steps,
            seconds: fitted.seconds,
            seconds_per_step: fitted.step_seconds / fitted.steps.max(1) as f64,
            mixture_seconds: fitted.mixture_seconds,
            base_seconds: fitted.base_seconds,
            ended_early: fitted.ended_early.clone(),
            n_params: job.model.family.n_params(&fitted.model),
            chosen: fitted.chosen,
            rollbacks: fitted.rollbacks,
            far: fitted.far.clone(),
            tried: fitted.tried.clone(),
            replaced_by_baseline: fitted
                .model
                .spec
                .base
                .as_ref()
                .filter(|_| fitted.replaced_by_baseline)
                .map(Mixture::components),
            steered: fitted.before.and_then(|before| Some((before, fitted.history.validations.last()?.nll))),
            stopped: fitted.stopped,
            pixels: fitted.model.spec.pixels.as_ref().map(Pixels::dim),
            found,
            warnings: Vec::new(),
            resumable: false,
        }
    }

    /// How writing the run's files went.
    pub fn end(&mut self, warnings: Vec<String>, resumable: bool) {
        (self.warnings, self.resumable) = (warnings, resumable);
    }

    /// What the steering of evaluations cost, in nats.
    fn nfe_cost(&self) -> Option<f64> {
        self.steered.map(|(before, after)| after - before)
    }

    /// Bits per dimension of images, at most, and the standard error.
    fn bits(&self) -> Option<(f64, f64)> {
        let unit = BitsPerDim::unit(self.pixels?);
        Some((self.score.nll / unit, self.score.nll_se / unit))
    }

    fn nll_standardised(&self) -> f64 {
        self.score.nll - self.log_volume
    }

    /// What `--json` prints.
    pub fn json(&self, run: &Path) -> Value {
        let mut out = self.provenance.clone();
        out.insert("run".into(), json!(run));
        out.insert("warnings".into(), json!(self.warnings));
        out.insert("resumable".into(), json!(self.resumable));
        out.remove("job");
        Value::Object(out)
    }

    /// The provenance in the model file.
    pub fn provenance(&self) -> Map<String, Value> {
        self.provenance.clone()
    }

    /// What people read.
    pub fn words(&self, run: &Path) -> String {
        let score = &self.score;
        let (each, seconds) = (1e3 * self.seconds_per_step, words::duration(self.seconds));
        let parameters = words::count(self.n_params as u64, "parameter");
        let family = self.job.model.family;
        // Where several were tried, the time is that of all.
        let done = if self.tried.is_empty() { "fitted" } else { "chosen" };
        let steps = words::count(self.steps as u64, "step");
        let mut out = match (family.is_reference(), self.tried.is_empty()) {
            (true, _) => format!("{} {done} in {seconds}, {parameters}\n", family.name()),
            (false, true) => format!("{steps} in {seconds} ({each:.3} ms each), {parameters}\n"),
            (false, false) => {
                format!("{} {done} in {seconds}, {steps} ({each:.3} ms each), {parameters}\n", family.name())
            }
        };
        if let Some(seconds) = self.base_seconds {
            // Where the velocity begins at a mixture all the same, that was in vain.
            let what = if self.job.model.base == "mixture" { "spline    tried" } else { "base      trained" };
            out += &format!("{what} in {} of them\n", words::duration(seconds));
        }
        if let Some(seconds) = self.mixture_seconds.filter(|_| !self.job.model.family.is_reference()) {
            out += &format!("mixture   fitted in {} of them\n", words::duration(seconds));
        }
        for (i, tried) in self.tried.iter().enumerate() {
            let head = if i == 0 { "tried" } else { "" };
            out += &format!("{head:<10}{}\n", tried_words(tried));
        }
        if let Some(words) = &self.ended_early {
            out += &format!("ended     {words}\n");
        }
        let (set, n) = (self.set, score.n);
        out += &format!(
            "NLL       {} nats on {}{} ({} in units of variance 1)\n",
            words::estimate(score.nll, score.nll_se, 4),
            words::count(n as u64, &format!("{set} row")),
            words::no_error(score.dominance.n),
            words::number(self.nll_standardised(), 4)
        );
        if let Some((bits, se)) = self.bits() {
            out += &format!("bits/dim  at most {}\n", words::estimate(bits, se, 4));
        }
        if let Some(few) = score.dominance.words(set) {
            out += &format!("          {few}\n");
        }
        if let Some(caution) = findings::caution(&self.found) {
            out += &format!("warning   {caution}\n");
        }
        if let Some((excess, se)) = score.excess {
            out += &format!("excess    {} nats over the true density\n", words::estimate(excess, se, 4));
        }
        if self.job.model.family == Family::Cnf && self.replaced_by_baseline.is_none() {
            out += &format!("NFE       {:.0} a row\n", score.nfe_mean);
        }
        if let (Some(target), Some(cost)) = (self.job.objective.nfe_target, self.nfe_cost()) {
            let cost = words::change(cost, 4);
            out += &format!("steered   to {target:.0} evaluations a row; held-out NLL changed by {cost} nats\n");
        }
        if let Some(components) = self.replaced_by_baseline {
            let components = words::count(components as u64, "component");
            out += &format!("model     Gaussian mixture, {components} (better validation NLL than the flow)\n");
        } else if self.chosen != self.steps {
            out += &format!("weights   of step {}, the best held-out score\n", self.chosen);
        }
        let left_out = self.far.rows.iter().filter(|row| row.set != Set::Test).count();
        if left_out > 0 && self.job.data.far_rows == FarRows::LeaveOut {
            let rows = words::count(left_out as u64, "row");
            out += &format!("far       {rows} far out, left out of training and validation\n");
        }
        if self.rollbacks > 0 {
            out += &format!(
                "rollback  {} failed; the last good state was restored\n",
                words::count(self.rollbacks as u64, "step")
            );
        }
        if let Some(first) = score.failed.first() {
            let count = score.failed.len();
            out += &format!(
                "failed    {count} of {} without a density (the first: row {first}, counted from 0); the means leave \
                 them out\n",
                words::count(n as u64, "row")
            );
        }
        if let Some(first) = score.outside.first() {
            let count = score.outside.len();
            out += &format!(
                "outside   {count} of {n} rows are outside the support, where log p is -inf (the first: row {first}, counted from 0); the \
                 means are over the others\n"
            );
        }
        for warning in &self.warnings {
            out += &format!("warning   {warning}\n");
        }
        out += &format!("run       {}\n", run.display());
        if self.stopped && self.resumable {
            out += &format!("resume    cnf train --resume {}\n", run.display());
        }
        out
    }
}

/// A model that was tried: its score and its time.
fn tried_words(tried: &Tried) -> String {
    let score = match (tried.nll, tried.nll_se, &tried.problem) {
        (Some(nll), Some(se), _) => format!("validation NLL {}", words::estimate(nll, se, 4)),
        (_, _, Some(problem)) => problem.clone(),
        _ => "no density at some of the validation rows".into(),
    };
    let chosen = if tried.chosen { ", chosen" } else { "" };
    format!("{:<16} {score} in {}{chosen}", tried.model.name(), words::duration(tried.seconds))
}

/// The history as CSV: means over consecutive steps, and held-out scores where they were taken.
pub fn metrics(history: &History) -> String {
    let mut out = String::from(
        "step,seconds,objective,loss,grad_norm,lr,valid_nll,valid_nll_se,valid_nfe,valid_nll_median,valid_nll_carried_by\n",
    );
    let mut scores = history.validations.iter().peekable();
    for m in history.records() {
        let mut valid = String::from(",,,,");
        while let Some(v) = scores.next_if(|v| v.step <= m.step) {
            let few = v.dominance.few.map_or(String::new(), |few| few.to_string());
            valid = format!("{},{},{:.2},{},{few}", cell(v.nll), cell(v.se), v.nfe, cell(v.dominance.median));
        }
        // A String takes every write.
        let (step, seconds, name) = (m.step, m.seconds, m.criterion.name());
        let (loss, norm) = (cell(m.loss), cell(m.grad_norm));
        let _ = writeln!(out, "{step},{seconds:.4},{name},{loss},{norm},{:.6e},{valid}", m.lr);
    }
    out
}

/// A number in the table: six decimals, a power of ten where it is large; empty where it does not exist.
fn cell(value: f64) -> String {
    match value {
        v if v.is_nan() => String::new(),
        v if v.is_finite() && v.abs() >= 1e9 => format!("{v:.6e}"),
        v => format!("{v:.6}"),
    }
}
