//! The end of a run: whether it comes before the budget is spent, and which model is kept.

use super::{COMPARED, Trainer};
use crate::Result;
use crate::model::{Architecture, FlowSpec, Model};
use crate::train::score::{log_prob_rows, prefers_second};
use crate::train::selection::JUDGED;
use crate::train::{TrainResult, score};

/// So many held-out scores in a row, clearly worse than the best, over so much of the budget, end a run without
/// `patience`.
const CLEARLY: usize = 5;
const SINCE: f64 = 0.15;
/// What a velocity at a spline gains, in nats for each column: 0.01 on magic, 0.02 on digits, 0.05 on gaia. One at a mixture
/// gains less (patches of images: nothing), so that a mixture must be ahead by so much to be the base.
const GAIN: f64 = 0.05;

impl Trainer<'_> {
    /// Whether the model is that of the best held-out score. Unlimited rows cannot be overfitted: there the last
    /// weights are the best. Nor is the best score chosen where the number of evaluations is steered.
    fn chooses(&self) -> bool {
        self.job.optimiser.keep_best && self.data.toy().is_none() && self.job.objective.nfe_target.is_none()
    }

    /// Why the run ends here, before its budget is spent; none where it goes on.
    ///
    /// Where `patience` is set, that many held-out scores without a better one end it. Else it ends where rows are
    /// overfitted beyond doubt: [`CLEARLY`] scores in a row were worse than the best by two standard errors of the
    /// rows' differences, over [`SINCE`] of the budget, and as many steps again as the best took. A curve that varies
    /// by its noise does neither; one that falls again late, as the learning rate does, was rarely above its best so
    /// long.
    /// `offset` is what scores in words are above those of the run.
    pub(super) fn early_end(&self, done: f64, offset: f64) -> Option<String> {
        let best = self.log.best.as_ref()?;
        let (last, step) = (self.log.history.validations.last()?, self.state.step);
        let why = match self.job.optimiser.patience {
            Some(0) => return None,
            Some(most) => (self.log.since_best >= most).then(|| match most {
                1 => "1 held-out score was not better".to_owned(),
                _ => format!("{most} held-out scores were not better"),
            })?,
            None => {
                let since = done * (1.0 - best.step as f64 / step as f64);
                let ends = self.chooses()
                    && self.state.phase + 1 == self.phases.len()
                    && last.step == step
                    && self.log.worse >= CLEARLY
                    && step >= 2 * best.step
                    && since >= SINCE;
                let last = last.nll + offset;
                ends.then(|| format!("the last {CLEARLY} held-out scores ({last:.3} at the end) were clearly worse"))?
            }
        };
        Some(format!(
            "after step {step}, {why} than that of step {}; `optimiser.patience` 0 trains to the end",
            best.step
        ))
    }

    /// The model that would be kept now, when `done` of the budget is spent, and its step.
    fn best_model(&mut self, done: f64) -> Result<(Model, usize)> {
        if self.chooses() && !self.valid.is_empty() && self.job.optimiser.validations > 0 {
            self.validate(done)?;
            if let Some(best) = &self.log.best {
                return Ok((self.with_weights(&best.theta), best.step));
            }
        }
        Ok((self.averaged()?, self.state.step))
    }

    /// The mixture beside the flow as a model, where held-out rows prefer it to `model`.
    fn better_mixture(&self, model: &Model) -> Result<Option<Model>> {
        let (Some(mixture), Some(best)) = (&self.baseline, &self.log.best) else { return Ok(None) };
        // Nothing moves: the density is the mixture's own, in closed form.
        let architecture = Architecture::Identity { dim: model.dim() };
        let FlowSpec { standardise, columns, pixels, names, .. } = model.spec.clone();
        let base = Some(mixture.clone());
        let spec = FlowSpec { standardise, columns, pixels, names, base, ..FlowSpec::bare(architecture) };
        let mixture = Model { spec, theta: Vec::new(), provenance: model.provenance.clone() };
        let precision = self.job.model.precision;
        let better = if !best.rows.is_empty() {
            let rows = self.data.valid.evenly(self.data.dim, JUDGED * self.job.optimiser.validation_rows);
            let scores = |model: &Model| log_prob_rows(&model.bind(precision)?, &rows);
            // What a velocity at the flow will gain counts for it.
            let ahead = if self.then.is_some() { GAIN * self.data.dim as f64 } else { 0.0 };
            let first: Vec<f64> = scores(model)?.iter().map(|log_prob| log_prob + ahead).collect();
            prefers_second(&first, &scores(&mixture)?, &rows.weight)
        } else {
            // A run that began when the mean alone decided ends as it would have then.
            let score = score(&mixture.bind(precision)?, &self.valid, None)?;
            score.failed.is_empty() && score.outside.is_empty() && score.nll < best.nll
        };
        Ok(better.then_some(mixture))
    }

    /// Whether the mixture is ahead of the discrete flow at which a velocity is to begin, asked once on the way, after
    /// [`COMPARED`] of what the fit of the mixture has left of the time.
    pub(super) fn is_overtaken(&mut self, done: f64) -> Result<bool> {
        let time = self.job.optimiser.time.unwrap_or(f64::INFINITY);
        let fitted = self.log.mixture_seconds.map_or(0.0, |seconds| (seconds / time).min(1.0));
        let due = fitted + (1.0 - fitted) * COMPARED;
        if self.log.compared || self.then.is_none() || self.baseline.is_none() || done < due {
            return Ok(false);
        }
        self.log.compared = true;
        let model = self.best_model(done)?.0;
        Ok(self.better_mixture(&model)?.is_some())
    }

    /// The model that is kept, and the record of the run.
    pub(super) fn finish(mut self, stopped: bool, ended_early: Option<String>) -> Result<TrainResult> {
        let (mut model, mut chosen) = self.best_model(1.0)?;
        let mut replaced_by_baseline = false;
        if let Some(mixture) = self.better_mixture(&model)? {
            (model, chosen, replaced_by_baseline) = (mixture, 0, true);
        }
        self.log.history.finish();
        let seconds = self.seconds();
        Ok(TrainResult {
            model,
            replaced_by_baseline,
            log_volume: self.log_volume,
            steps: self.state.step,
            chosen,
            seconds,
            step_seconds: seconds
                - self.log.validating
                - self.log.mixture_seconds.unwrap_or(0.0)
                - self.log.base_seconds.unwrap_or(0.0),
            mixture_seconds: self.log.mixture_seconds,
            base_seconds: self.log.base_seconds,
            ended_early,
            rollbacks: self.state.all_rollbacks,
            far: self.far,
            before: self.log.before,
            history: self.log.history,
            stopped,
            job: self.job.clone(),
            tried: Vec::new(),
        })
    }
}
