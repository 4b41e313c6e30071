//! The run log of the steps, in memory that does not grow with their number.

use super::Criterion;
use crate::stats::Dominance;

/// The mean over some consecutive steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// What was minimised.
    pub criterion: Criterion,
    /// The number of steps done at its end.
    pub step: usize,
    /// Seconds since the start at its end.
    pub seconds: f64,
    /// Mean loss.
    pub loss: f64,
    /// Mean length of the gradient before it was clipped.
    pub grad_norm: f64,
    /// The learning rate at its end.
    pub lr: f64,
}

/// A held-out score along the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// The number of steps done.
    pub step: usize,
    /// Seconds since the start.
    pub seconds: f64,
    /// Negative log-likelihood in nats, in the units of the data; where the truth is known, its entropy and the
    /// excess over it.
    pub nll: f64,
    /// Its standard error.
    pub se: f64,
    /// Mean number of velocity evaluations of a row.
    pub nfe: f64,
    /// Of the rows' −log p: the median, and whether few rows carry the mean.
    pub dominance: Dominance,
}

/// The most records kept.
const MOST: usize = 4096;
/// Numbers of a record and of a validation as [`History::numbers`] has them.
const RECORD: usize = 6;
const VALIDATION: usize = 5;
/// Numbers of a validation as [`History::dominances`] has them.
const DOMINANCE: usize = 4;
/// Stands for a standard error that does not exist: files hold finite numbers only.
const NO_ERROR: f64 = -1.0;

/// Losses along a run, and the held-out scores.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    records: Vec<StepRecord>,
    /// Steps in a record.
    width: usize,
    /// The sum of the steps since the last record, and how many they are.
    open: Option<(StepRecord, usize)>,
    /// In the order of time.
    pub validations: Vec<Validation>,
}

impl Default for History {
    fn default() -> Self {
        Self { records: Vec::new(), width: 1, open: None, validations: Vec::new() }
    }
}

impl History {
    /// Takes note of one step.
    pub fn push(&mut self, now: StepRecord) {
        if self.open.is_some_and(|(record, _)| record.criterion != now.criterion) {
            self.close();
        }
        let (sum, count) = match self.open {
            None => (now, 1),
            Some((sum, count)) => (added(sum, now), count + 1),
        };
        self.open = Some((sum, count));
        if count >= self.width {
            self.close();
        }
    }

    /// Makes a record of the steps since the last, if there are any.
    pub fn finish(&mut self) {
        self.close();
    }

    fn close(&mut self) {
        let Some((sum, count)) = self.open.take() else { return };
        self.records.push(scaled(sum, 1.0 / count as f64));
        if self.records.len() >= MOST {
            // Records of twice the width each; those of two criteria are not mixed.
            let mut halved = Vec::with_capacity(MOST / 2 + 2);
            let mut rest = &self.records[..];
            while let [first, others @ ..] = rest {
                match others {
                    [second, others @ ..] if second.criterion == first.criterion => {
                        halved.push(scaled(added(*first, *second), 0.5));
                        rest = others;
                    }
                    _ => {
                        halved.push(*first);
                        rest = others;
                    }
                }
            }
            self.records = halved;
            self.width *= 2;
        }
    }

    /// Removes the steps after `step`, which are done again.
    pub(super) fn return_to(&mut self, step: usize) {
        self.close();
        self.records.retain(|record| record.step <= step);
        self.validations.retain(|validation| validation.step <= step);
    }

    /// The records so far, in the order of time; the steps since the last are left out until [`History::finish`].
    pub fn records(&self) -> &[StepRecord] {
        &self.records
    }

    /// Everything as numbers: width, the open sum and its count, the records; and the validations, but for their
    /// dominances.
    pub(super) fn numbers(&self) -> (Vec<f64>, Vec<f64>) {
        let count = self.open.map_or(0, |(_, count)| count);
        let open = self.open.iter().map(|(record, _)| record);
        let mut records = vec![self.width as f64, count as f64];
        for m in open.chain(&self.records) {
            let kind = if m.criterion.is_nll() { 1.0 } else { 0.0 };
            records.extend([kind, m.step as f64, m.seconds, m.loss, m.grad_norm, m.lr]);
        }
        let scores = self.validations.iter().flat_map(|v| [v.step as f64, v.seconds, v.nll, error(v.se), v.nfe]);
        (records, scores.collect())
    }

    /// The validations' dominances as numbers; n = 0 where one is not known, as those of a run that an older program
    /// began.
    pub(super) fn dominances(&self) -> Vec<f64> {
        let numbers = |v: &Validation| {
            let d = v.dominance;
            // A model file holds finite numbers only.
            let (n, median) = if d.median.is_finite() { (d.n, d.median) } else { (0, 0.0) };
            [n as f64, median, d.few.unwrap_or(0) as f64, d.farthest as f64]
        };
        self.validations.iter().flat_map(numbers).collect()
    }

    /// With what [`History::dominances`] gave; runs of older programs have none.
    pub(super) fn with_dominances(mut self, numbers: &[f64]) -> Option<Self> {
        if numbers.len() != DOMINANCE * self.validations.len() {
            return None;
        }
        for (v, d) in self.validations.iter_mut().zip(numbers.chunks_exact(DOMINANCE)) {
            let few = (d[2] > 0.0).then_some(d[2] as u64);
            let known = Dominance { n: d[0] as u64, median: d[1], few, farthest: d[3] as u64 };
            v.dominance = if known.n > 0 { known } else { Dominance::UNKNOWN };
        }
        Some(self)
    }

    /// What [`History::numbers`] was made of; `None` for numbers that it cannot have given.
    pub(super) fn of_numbers(records: &[f64], validations: &[f64]) -> Option<Self> {
        let [width, count, records @ ..] = records else { return None };
        let whole = records.len().is_multiple_of(RECORD) && validations.len().is_multiple_of(VALIDATION);
        if !whole || *width < 1.0 || (*count > 0.0 && records.is_empty()) {
            return None;
        }
        let mut records: Vec<StepRecord> = records
            .chunks_exact(RECORD)
            .map(|m| StepRecord {
                criterion: if m[0] > 0.0 { Criterion::Likelihood } else { Criterion::Matching },
                step: m[1] as usize,
                seconds: m[2],
                loss: m[3],
                grad_norm: m[4],
                lr: m[5],
            })
            .collect();
        let open = (*count > 0.0).then(|| (records.remove(0), *count as usize));
        let score = |v: &[f64]| Validation {
            step: v[0] as usize,
            seconds: v[1],
            nll: v[2],
            se: if v[3] == NO_ERROR { f64::NAN } else { v[3] },
            nfe: v[4],
            dominance: Dominance::UNKNOWN,
        };
        let validations = validations.chunks_exact(VALIDATION).map(score).collect();
        Some(Self { records, width: *width as usize, open, validations })
    }
}

fn error(se: f64) -> f64 {
    if se.is_finite() { se } else { NO_ERROR }
}

fn added(a: StepRecord, b: StepRecord) -> StepRecord {
    StepRecord { loss: a.loss + b.loss, grad_norm: a.grad_norm + b.grad_norm, ..b }
}

fn scaled(sum: StepRecord, by: f64) -> StepRecord {
    StepRecord { loss: by * sum.loss, grad_norm: by * sum.grad_norm, ..sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: usize) -> StepRecord {
        let criterion = if step > 60_000 { Criterion::Likelihood } else { Criterion::Matching };
        StepRecord { criterion, step, seconds: 0.5, loss: step as f64, grad_norm: 0.0, lr: 0.1 }
    }

    #[test]
    fn a_long_history_stays_short_and_keeps_its_means() {
        let mut history = History::default();
        for step in 1..=100_000 {
            history.push(record(step));
        }
        assert!(history.records().len() < MOST && history.records().len() >= MOST / 4);
        for pair in history.records().windows(2) {
            assert!(pair[1].step > pair[0].step);
            if pair[1].criterion == pair[0].criterion && pair[0].step < 50_000 {
                let width = pair[1].step - pair[0].step;
                assert_eq!(pair[1].loss, pair[1].step as f64 - 0.5 * (width as f64 - 1.0));
            }
        }
        history.finish();
        assert_eq!(history.records().last().unwrap().step, 100_000);
        assert!(history.records().iter().any(|m| m.criterion == Criterion::Matching && m.step == 60_000));
    }

    #[test]
    fn a_history_survives_being_numbers() {
        let mut history = History::default();
        let dominance = Dominance { n: 300, median: 0.1, few: Some(2), farthest: 17 };
        let (seconds, nll) = (0.1 + 0.2, 1.0 / 3.0);
        history.validations.push(Validation { step: 3, seconds, nll, se: 0.1, nfe: 44.0, dominance });
        let alone = Dominance { few: None, farthest: 0, ..dominance };
        history.validations.push(Validation { step: 4, seconds, nll, se: 0.2, nfe: 44.0, dominance: alone });
        for step in (0..9001).map(|i| i * 7) {
            history.push(record(step));
            if step % 1001 == 0 {
                let (records, validations) = history.numbers();
                let found = History::of_numbers(&records, &validations).unwrap();
                let dominances = history.dominances();
                assert_eq!(found.clone().with_dominances(&dominances).unwrap(), history);
                assert!(found.with_dominances(&dominances[1..]).is_none());
            }
        }
        // One validation row has no standard error, and older runs have no medians.
        history.validations[0].se = f64::NAN;
        let (records, validations) = history.numbers();
        assert!(validations.iter().all(|v| v.is_finite()));
        let found = History::of_numbers(&records, &validations).unwrap();
        assert!(found.validations[0].se.is_nan() && found.validations[0].dominance.median.is_nan());
        let mut resumed = found.with_dominances(&history.dominances()).unwrap();
        assert_eq!(resumed.validations[1], history.validations[1]);
        // What an older run did not record stays unknown, and does not affect the others.
        resumed.validations[0].dominance = Dominance::UNKNOWN;
        let again = resumed.clone().with_dominances(&resumed.dominances()).unwrap();
        assert!(again.validations[0].dominance.median.is_nan() && again.validations[1] == history.validations[1]);
        assert!(History::of_numbers(&[1.0], &[]).is_none() && History::of_numbers(&[1.0, 0.0, 3.0], &[]).is_none());
    }
}
