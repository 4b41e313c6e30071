//! How long a run is, how it steps, and how it is validated on the way.

use serde::{Deserialize, Serialize};

use super::positive;
use crate::train::adamw::BETAS;
use crate::train::{Optimiser, Schedule, StepSize, ValidationScore};
use crate::{Error, Result, words};

/// The optimiser of a run: `[optimiser]` of its config.toml.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimiserSection {
    /// What makes steps of gradients; left out: AdamW, but Muon for continuous flows of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Optimiser>,
    /// The run ends after this many steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// The run ends after this many seconds; where neither is given, after [`Job::USUAL_TIME`](super::Job::USUAL_TIME).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// Rows of a batch; left out: 1024 for matching (256 beyond 16 dimensions), 512 for likelihood and discrete flows, 32
    /// for images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// The highest learning rate; left out: 1e-2 up to 16 dimensions, 2e-3 beyond; of a discrete flow 5e-3 and 1e-3; 4e-3
    /// for images, 8e-3 of a discrete flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// The steps of each phase in which the learning rate rises, by a factor before the schedule; left out: a fiftieth
    /// of the phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<usize>,
    /// What is left of the learning rate at the end; left out: a hundredth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_end: Option<f64>,
    /// AdamW's β₁ and β₂, the decays of its moments; left out: 0.9 and 0.999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub betas: Option<Vec<f64>>,
    /// AdamW's decay of the weights.
    pub weight_decay: f64,
    /// The largest norm of the gradient; a larger one is clipped.
    pub clip: f64,
    /// The decay of the EMA of the weights, which is validated and saved; 0 for the last weights.
    pub ema: f64,
    /// Held-out scores along the way, and some ten more at the start; at most a tenth of the time.
    pub validations: usize,
    /// What they compute; left out: the likelihood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationScore>,
    /// Rows in each of them.
    pub validation_rows: usize,
    /// A table's model is that of the best held-out score, not the last.
    pub keep_best: bool,
    /// The run ends after this many held-out scores that were not better; 0 for never. Left out: that of a table ends
    /// where its scores have become clearly worse than the best: it is overfitted then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
}

impl Default for OptimiserSection {
    fn default() -> Self {
        Self {
            kind: None,
            steps: None,
            time: None,
            batch: None,
            lr: None,
            warm_up: None,
            lr_end: None,
            betas: None,
            weight_decay: 0.0,
            clip: 1.0,
            ema: 0.999,
            validations: 20,
            validation: None,
            validation_rows: 1000,
            keep_best: true,
            patience: None,
        }
    }
}

/// The most rows of a batch, numbers in it, and validations: far beyond use, within memory.
const MOST_ROWS: usize = 1 << 22;
const MOST_NUMBERS: usize = 1 << 28;
const MOST_VALIDATIONS: usize = 10_000;

impl OptimiserSection {
    /// The learning rates of a phase with this peak.
    pub(in crate::train) fn schedule(&self, peak: f64) -> Schedule {
        Schedule { peak, end: self.lr_end.unwrap_or(Schedule::USUAL_END), warm_up: self.warm_up }
    }

    /// A step with this learning rate.
    pub(in crate::train) fn step_size(&self, lr: f64) -> StepSize {
        let betas = if let Some([first, second]) = self.betas.as_deref() { [*first, *second] } else { BETAS };
        StepSize { lr, decay: self.weight_decay, betas }
    }

    /// Refuses sizes that no memory holds, for data of `dim` columns.
    pub(super) fn validate_sizes(&self, dim: usize) -> Result<()> {
        let batch = self.batch.unwrap_or_default();
        if batch > MOST_ROWS || batch.saturating_mul(dim) > MOST_NUMBERS {
            let most = MOST_ROWS.min(MOST_NUMBERS / dim.max(1));
            return Err(Error::invalid(
                format!("a batch of {batch} rows of {}", words::count(dim as u64, "column")),
                format!("set `optimiser.batch` to at most {most}"),
            ));
        }
        if self.validations > MOST_VALIDATIONS {
            return Err(Error::invalid(
                format!("{} validations", self.validations),
                format!("set `optimiser.validations` to at most {MOST_VALIDATIONS}"),
            ));
        }
        Ok(())
    }

    /// Validates the fields.
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |what: String, hint: &str| Err(Error::invalid(what, hint));
        if self.batch == Some(0) {
            return refuse("a batch of 0 rows".into(), "set `optimiser.batch` to at least 1");
        }
        if let Some(lr) = self.lr.filter(|lr| !positive(*lr)) {
            return refuse(
                format!("a learning rate of {}", words::exact(lr)),
                "set `optimiser.lr` above 0, such as 0.01",
            );
        }
        if self.warm_up == Some(0) {
            return refuse("a warm-up of 0 steps".into(), "set `optimiser.warm_up` to at least 1");
        }
        if let Some(end) = self.lr_end.filter(|end| !(0.0..=1.0).contains(end)) {
            return refuse(
                format!("a learning rate that ends at {end} of its peak"),
                "set `optimiser.lr_end` from 0 to 1, such as 0.02",
            );
        }
        if let Some(betas) = &self.betas
            && !(betas.len() == 2 && betas.iter().all(|beta| (0.0..1.0).contains(beta)))
        {
            let betas = betas.iter().map(|beta| words::exact(*beta)).collect::<Vec<_>>().join(",");
            return refuse(
                format!("moments with the decays {betas}"),
                "set `optimiser.betas` to two numbers from 0 to below 1, such as 0.9,0.999",
            );
        }
        if let Some(time) = self.time.filter(|time| !positive(*time)) {
            return refuse(format!("a run of {time} seconds"), "set `optimiser.time` above 0, such as 60");
        }
        if self.steps == Some(0) {
            return refuse("a run of 0 steps".into(), "set `optimiser.steps` to at least 1");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse(
                format!("a weight decay of {}", self.weight_decay),
                "set `optimiser.weight_decay` to at least 0",
            );
        }
        if self.clip.is_nan() || self.clip <= 0.0 {
            return refuse(
                format!("a gradient clip of {}", self.clip),
                "set `optimiser.clip` above 0, or to inf for none",
            );
        }
        if !(0.0..1.0).contains(&self.ema) {
            return refuse(
                format!("an EMA of the weights with decay {}", self.ema),
                "set `optimiser.ema` from 0 to below 1",
            );
        }
        if self.validation_rows < 2 {
            return refuse(
                format!("validation on {}", words::count(self.validation_rows as u64, "row")),
                "set `optimiser.validation_rows` above 1",
            );
        }
        Ok(())
    }
}
