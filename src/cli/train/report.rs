//! How a run went: for people, as JSON, in the model's story, and step by step as a table.

use std::fmt::Write as _;
use std::path::Path;

use cnf::train::{Fitted, History, Job, Score};
use serde_json::{Map, Value, json};

use crate::cli::text;

/// The end of a run.
pub struct Summary {
    job: Job,
    score: Score,
    /// Which rows were scored.
    set: &'static str,
    log_volume: f64,
    steps: usize,
    seconds: f64,
    seconds_per_step: f64,
    n_params: usize,
    stopped: bool,
}

impl Summary {
    pub fn new(job: &Job, fitted: &Fitted, score: &Score, set: &'static str) -> Self {
        Self {
            job: job.clone(),
            score: score.clone(),
            set,
            log_volume: fitted.log_volume,
            steps: fitted.steps,
            seconds: fitted.seconds,
            seconds_per_step: fitted.step_seconds / fitted.steps.max(1) as f64,
            n_params: fitted.model.theta.len(),
            stopped: fitted.stopped,
        }
    }

    fn nll_standardised(&self) -> f64 {
        self.score.nll - self.log_volume
    }

    /// What `--json` prints.
    pub fn json(&self, run: &Path) -> Value {
        let mut out = self.story();
        out.insert("run".into(), json!(run));
        out.remove("job");
        Value::Object(out)
    }

    /// What the model file tells of its training.
    pub fn story(&self) -> Map<String, Value> {
        let score = &self.score;
        let story = json!({
            "data": self.job.data,
            "objective": self.job.objective.name(),
            "seed": self.job.seed,
            "precision": self.job.precision,
            "steps": self.steps,
            "seconds": self.seconds,
            "seconds_per_step": self.seconds_per_step,
            "n_params": self.n_params,
            "scored": self.set,
            "n": score.n,
            "nll": score.nll,
            "nll_se": score.nll_se,
            "nll_standardised": self.nll_standardised(),
            "excess": score.excess.map(|(mean, _)| mean),
            "excess_se": score.excess.map(|(_, se)| se),
            "nfe_mean": score.nfe_mean,
            "failed": score.failed.len(),
            "stopped": self.stopped,
            "version": env!("CARGO_PKG_VERSION"),
            "job": self.job,
        });
        if let Value::Object(map) = story { map } else { Map::new() }
    }

    /// What people read.
    pub fn words(&self, run: &Path) -> String {
        let score = &self.score;
        let (each, seconds) = (1e3 * self.seconds_per_step, text::duration(self.seconds));
        let mut out = format!("{} steps in {seconds} ({each:.3} ms each), {} parameters\n", self.steps, self.n_params);
        let standardised = self.nll_standardised();
        let (set, n, nll, se) = (self.set, score.n, score.nll, score.nll_se);
        out += &format!(
            "NLL       {nll:.4} ± {se:.4} nats on {n} {set} rows ({standardised:.4} in units of variance 1)\n"
        );
        if let Some((excess, se)) = score.excess {
            out += &format!("excess    {excess:.4} ± {se:.4} nats over the true density\n");
        }
        out += &format!("NFE       {:.0} a row\n", score.nfe_mean);
        if let Some(first) = score.failed.first() {
            let count = score.failed.len();
            out += &format!(
                "failed    {count} of {n} rows have no density (the first: row {first}); the means leave them out\n"
            );
        }
        out + &format!("run       {}\n", run.display())
    }
}

/// The history as CSV: means over consecutive steps, and held-out scores where they were taken.
pub fn metrics(history: &History) -> String {
    let mut out = String::from("step,seconds,loss,grad_norm,lr,valid_nll,valid_nll_se\n");
    let mut scores = history.validations.iter().peekable();
    for m in history.marks() {
        let mut valid = String::from(",");
        while let Some(v) = scores.next_if(|v| v.step <= m.step) {
            valid = format!("{:.6},{:.6}", v.nll, v.se);
        }
        // A String takes every write.
        let _ = writeln!(out, "{},{:.4},{:.6},{:.6},{:.6e},{valid}", m.step, m.seconds, m.loss, m.grad_norm, m.lr);
    }
    out
}
