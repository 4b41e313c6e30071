//! Held-out scores along the way: when one is due, and what it changes.

use super::Trainer;
use crate::train::bound::{BoundOptions, bounded};
use crate::train::score::{clearly_worse, scored_by};
use crate::train::state::Best;
use crate::train::{Score, Validation, ValidationScore};
use crate::{Error, Result};

/// The part of the time that validations may take where the budget is one of time.
const VALIDATING: f64 = 0.1;
/// The first validations: this part of the even distance, then further apart by this factor.
const FIRST: f64 = 0.03;
const EARLY: f64 = 1.4;

impl Trainer<'_> {
    pub(super) fn validation_due(&self, done: f64) -> bool {
        // A run that counts its steps does not look at the clock: it would not repeat its bits.
        let cheap = self.job.optimiser.time.is_none() || self.log.validating <= VALIDATING * self.seconds();
        done >= self.log.due && cheap && !self.valid.is_empty() && self.job.optimiser.validations > 0
    }

    /// Scores of the validation rows, as the job sets, with log p of each or minus its bound.
    fn held_out(&self) -> Result<(Score, Vec<f64>)> {
        let (theta, precision) = (&self.state.ema.theta, self.job.model.precision);
        match self.job.optimiser.validation.unwrap_or_default() {
            ValidationScore::Likelihood => {
                scored_by(self.crew, &self.model.spec.bind(theta, precision)?, &self.valid, self.data.toy())
            }
            ValidationScore::Bound => {
                let options = BoundOptions { precision, path: self.job.objective.path(), seed: self.job.seed };
                bounded(&self.model.spec, theta, options, &self.valid, self.data.toy())
            }
        }
    }

    /// The held-out score of the average; none where it has no density anywhere yet.
    pub(super) fn validate(&mut self, done: f64) -> Result<Option<Validation>> {
        let begun = self.clock.elapsed().as_secs_f64();
        let (step, seconds) = (self.state.step, self.seconds());
        let mut rows = Vec::new();
        let validation = match self.held_out() {
            Ok((score, log_probs)) => {
                rows = log_probs.into_iter().map(|l| if l.is_finite() { l } else { f64::NEG_INFINITY }).collect();
                let (nll, se) = score.best_nll(self.data.toy());
                let (nfe, dominance) = (score.nfe_mean, score.dominance);
                Some(Validation { step, seconds, nll, se, nfe, dominance })
            }
            Err(Error::Failed { .. }) => None,
            Err(other) => return Err(other),
        };
        self.log.due = next_validation(done, self.job.optimiser.validations.max(1) as f64);
        self.log.validating += self.clock.elapsed().as_secs_f64() - begun;
        if let Some(v) = validation {
            self.log.history.validations.push(v);
            self.log.since_best += 1;
            let worse = self.log.best.as_ref().is_some_and(|best| clearly_worse(&best.rows, &rows, &self.valid.weight));
            self.log.worse = if worse { self.log.worse + 1 } else { 0 };
            if self.log.best.as_ref().is_none_or(|best| v.nll < best.nll) {
                self.log.since_best = 0;
                self.log.best = Some(Best { step, nll: v.nll, theta: self.state.ema.theta.clone(), rows });
            }
        }
        Ok(validation)
    }
}

/// The part of the budget at which a validation is due after one at `done`: evenly, `wanted` of them, but sooner at the
/// start, where a curve is steep and a small table is soon overfitted.
fn next_validation(done: f64, wanted: f64) -> f64 {
    let evenly = ((done * wanted).floor() + 1.0) / wanted;
    evenly.min((EARLY * done).max(FIRST / wanted))
}
