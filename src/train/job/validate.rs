//! What no job may ask for.

use super::{Job, split_rule};
use crate::train::start;
use crate::{Error, Result};

/// The most rows of a batch, numbers in it, parameters of a net, and validations: far beyond use, within memory.
const MOST_ROWS: usize = 1 << 22;
const MOST_NUMBERS: usize = 1 << 28;
const MOST_PARAMETERS: usize = 1 << 28;
const MOST_VALIDATIONS: usize = 10_000;

impl Job {
    /// Refuses sizes that no memory holds.
    fn validate_sizes(&self, dim: usize) -> Result<()> {
        let refuse = |what: String, hint: String| Err(Error::invalid(what, hint));
        let batch = self.batch.unwrap_or_default();
        if batch > MOST_ROWS || batch.saturating_mul(dim) > MOST_NUMBERS {
            let most = MOST_ROWS.min(MOST_NUMBERS / dim.max(1));
            return refuse(
                format!("a batch of {batch} rows of {dim} columns"),
                format!("give --batch of at most {most}"),
            );
        }
        if self.validations > MOST_VALIDATIONS {
            let most = format!("give validations of at most {MOST_VALIDATIONS}");
            return refuse(format!("{} validations", self.validations), most);
        }
        if self.init.is_none() {
            let core = self.core(dim, 0)?;
            core.validate()?;
            let params = core.n_params();
            if params > MOST_PARAMETERS {
                let sizes = self.net(dim).layer_sizes().iter().map(usize::to_string).collect::<Vec<_>>().join(" → ");
                let what = match self.model.discrete() {
                    None => format!("a net of {params} parameters ({sizes})"),
                    Some(kind) => format!("a {} of {params} parameters", kind.name()),
                };
                return refuse(what, format!("give fewer or narrower --hidden layers: at most {MOST_PARAMETERS}"));
            }
        }
        Ok(())
    }

    pub(super) fn validate(&self, dim: usize) -> Result<()> {
        self.validate_sizes(dim)?;
        let refuse = |what: String, hint: &str| Err(Error::invalid(what, hint));
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if self.batch == Some(0) {
            return refuse("a batch of 0 rows".into(), "give --batch of at least 1");
        }
        if let Some(lr) = self.lr.filter(|lr| !positive(*lr)) {
            return refuse(
                format!("a learning rate of {}", crate::words::exact(lr)),
                "give --lr above 0, such as 0.01",
            );
        }
        if let Some(time) = self.time.filter(|time| !positive(*time)) {
            return refuse(format!("a run of {time} seconds"), "give --time above 0, such as 60s");
        }
        if let Some(spread) = self.spread.filter(|spread| !positive(*spread)) {
            return refuse(format!("columns of deviation {spread}"), "give spread above 0, such as 2");
        }
        if !positive(self.sigma) {
            return refuse(format!("a Gaussian of deviation {}", self.sigma), "give --sigma above 0, such as 1");
        }
        if !(self.late > 0.0 && self.late.is_finite()) {
            return refuse(format!("times crowded by {}", self.late), "give late above 0, such as 1 for none or 2");
        }
        if self.steps == Some(0) {
            return refuse("a run of 0 steps".into(), "give --steps of at least 1");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse(format!("a weight decay of {}", self.weight_decay), "give weight_decay of at least 0");
        }
        if self.clip.is_nan() || self.clip <= 0.0 {
            return refuse(format!("a gradient clip of {}", self.clip), "give clip above 0; inf for none");
        }
        if !(0.0..1.0).contains(&self.ema) {
            return refuse(format!("an average of weights with decay {}", self.ema), "give ema from 0 to below 1");
        }
        if self.validation_rows < 2 {
            return refuse(format!("validation on {} rows", self.validation_rows), "give validation_rows above 1");
        }
        self.check_plan()?;
        start::check_rules(self)?;
        split_rule(&self.split)?;
        self.solver.validate()?;
        self.solver.check_precision(self.precision)
    }
}
