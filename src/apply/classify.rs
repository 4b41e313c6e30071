//! p(c | x) by Bayes' rule: a model of x under a class is a classifier.
//!
//! p(c | x) = p(x | c) p(c) / p(x), with p(x) = Σ_c p(x | c) p(c). All classes of a row are computed with the same
//! noise in its grey levels and with the same probes of the trace, which are functions of the row's own numbers and the
//! seed; so the errors that they make have much in common, and of log p(x | c) − log p(x | c') only their difference
//! counts.
//!
//! For images log p(x | c) is a bound, so that p(c | x) is an estimate by as many draws of the noise as there are.

use std::sync::Arc;

use super::statistics::Mean;
use super::{Gaps, Transport, Way};
use crate::continuous::Work;
use crate::model::Model;
use crate::stats::log_sum_exp;
use crate::transform::{ContextColumn, Cost};
use crate::velocity::Precision;
use crate::{Error, Result};

/// The probability of a class before its row is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prior {
    /// The same for all classes.
    Uniform,
    /// The frequency of the class in the training data.
    Data,
}

impl Prior {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Data => "data",
        }
    }
}

impl std::str::FromStr for Prior {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "uniform" => Ok(Self::Uniform),
            "data" => Ok(Self::Data),
            _ => Err(Error::Unknown { kind: "prior", name: text.into(), known: "uniform, data".into() }),
        }
    }
}

/// The classes that a model is conditioned on, and their number in the training data, which older files do not have.
///
/// # Errors
/// [`Error::Invalid`] where the condition is not one column of classes.
pub fn classes(model: &Model) -> Result<(&[i64], Option<&[u64]>)> {
    let counts = model.spec.class_counts.first().map(Vec::as_slice).filter(|counts| !counts.is_empty());
    let columns = model.spec.given().map_or(&[][..], |condition| &condition.columns);
    let problem = match columns {
        [ContextColumn::Class { classes }] => return Ok((classes, counts)),
        [ContextColumn::Number { .. }] => "the model is conditional on a number, not on a class".to_owned(),
        [] => "the model is not conditional on a class".to_owned(),
        many => format!("the model is conditional on {} columns, not on a class alone", many.len()),
    };
    Err(Error::invalid(problem, "classify with a model that was trained with a class as its only condition"))
}

/// A model of rows under a class as a classifier.
#[derive(Clone, Debug)]
pub struct Classifier {
    transport: Transport,
    classes: Vec<i64>,
    prior: Prior,
    log_prior: Vec<f64>,
}

/// What became of some rows.
#[derive(Clone, Debug, Default)]
pub struct Classified {
    /// The number of classes.
    pub classes: usize,
    /// log p(c | x), `[n, classes]`; NaN in a row that failed for one of the classes, or lies outside the support.
    pub log_class: Vec<f64>,
    /// log p(x) = log Σ_c p(x | c) p(c) in nats, `[n]`; NaN where it failed, −∞ outside the support.
    pub log_prob: Vec<f64>,
    /// What it took, for all classes together.
    pub cost: Cost,
    /// Of the solves alone.
    pub seconds: f64,
    /// Rows with a missing cell: NaN, and neither computed nor failed.
    pub missing: usize,
}

impl Classified {
    /// The most probable class of a row, by its place; none where the row has no probabilities.
    pub fn best(&self, row: usize) -> Option<usize> {
        let of = &self.log_class[row * self.classes..][..self.classes];
        let best = (0..self.classes).reduce(|best, k| if of[k] > of[best] { k } else { best })?;
        (!of[best].is_nan()).then_some(best)
    }
}

impl Classifier {
    /// Of a model that computes in `precision`, with `draws` draws of the noise in grey levels; without a prior it is
    /// that of the training data where the model file has it. `done` is told how far the rows are: each counts once for
    /// each class and draw.
    ///
    /// # Errors
    /// As [`classes`] and [`Transport::new`]; [`Error::Invalid`] for the prior of data that the file does not have.
    pub fn new(
        model: &Model,
        precision: Precision,
        prior: Option<Prior>,
        draws: u64,
        done: &Arc<Work>,
    ) -> Result<Self> {
        let (classes, counts) = classes(model)?;
        let (prior, log_prior) = match (prior, counts) {
            (Some(Prior::Uniform), _) | (None, None) => {
                (Prior::Uniform, vec![-(classes.len() as f64).ln(); classes.len()])
            }
            (_, Some(counts)) => {
                let total = counts.iter().sum::<u64>() as f64;
                (Prior::Data, counts.iter().map(|n| (*n as f64 / total).ln()).collect())
            }
            (Some(Prior::Data), None) => {
                let problem = "the model file does not have the frequencies of the classes in its training data";
                return Err(Error::invalid(problem, "set the prior to uniform, or train the model again"));
            }
        };
        let way = Way { to_data: false, until: 1.0, log_density: true };
        let transport = Transport::new(model, precision, way, done)?.with_draws(draws)?;
        Ok(Self { transport, classes: classes.to_vec(), prior, log_prior })
    }

    /// The classes, in the order of the columns of [`Classified::log_class`].
    pub fn classes(&self) -> &[i64] {
        &self.classes
    }

    /// The prior that was taken, and its logarithm for each class.
    pub fn prior(&self) -> (Prior, &[f64]) {
        (self.prior, &self.log_prior)
    }

    /// The classes of the rows of `x`, `[n, d]`, of which those with a missing cell have none.
    ///
    /// # Errors
    /// As [`Classifier::rows`].
    pub fn rows_with_gaps(&self, x: &[f64]) -> Result<Classified> {
        let Some(gaps) = Gaps::of(x, self.transport.dim(), &[]) else { return self.rows(x) };
        let k = self.classes.len();
        let found = match gaps.kept() {
            [] => Classified { classes: k, ..Classified::default() },
            _ => self.rows(&gaps.pick(x))?,
        };
        Ok(Classified {
            log_class: gaps.spread(&found.log_class, k),
            log_prob: gaps.spread(&found.log_prob, 1),
            cost: gaps.spread_cost(found.cost),
            missing: gaps.missing(),
            ..found
        })
    }

    /// The classes of the rows of `x`, `[n, d]`, none of which has a missing cell.
    ///
    /// # Errors
    /// As [`Transport::rows`].
    pub fn rows(&self, x: &[f64]) -> Result<Classified> {
        let k = self.classes.len();
        let mut found = Classified { classes: k, ..Classified::default() };
        for (j, (class, log_prior)) in self.classes.iter().zip(&self.log_prior).enumerate() {
            let n = x.len() / self.transport.dim();
            let arrived = self.transport.rows(x, &vec![*class as f64; n])?;
            found.log_class.resize(n * k, f64::NAN);
            for (row, log_prob) in arrived.log_prob.iter().enumerate() {
                found.log_class[row * k + j] = log_prob + log_prior;
            }
            found.cost.merge(arrived.cost);
            found.seconds += arrived.seconds;
        }
        found.log_prob.extend(found.log_class.chunks_exact_mut(k).map(normalise));
        Ok(found)
    }
}

/// log Σ_c p(x, c) of a row's log p(x, c), in whose place log p(c | x) remains; NaN where one of them is.
fn normalise(joint: &mut [f64]) -> f64 {
    if joint.iter().any(|l| l.is_nan()) {
        joint.fill(f64::NAN);
        return f64::NAN;
    }
    let most = joint.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most.is_infinite() {
        joint.fill(f64::NAN);
        return most;
    }
    // From the largest: far from the data the sum of the rest is below the last bit of log p(x).
    joint.iter_mut().for_each(|l| *l -= most);
    let rest = log_sum_exp(joint.iter().copied());
    joint.iter_mut().for_each(|l| *l -= rest);
    most + rest
}

/// How rows were classified, in constant memory.
#[derive(Clone, Debug, Default)]
pub struct Accuracy {
    classes: Vec<i64>,
    /// 1 for a row whose most probable class is the true one, else 0.
    right: Mean,
    /// log p(c | x) of the true class.
    log_true: Mean,
    /// Rows with a probability of 0 for their true class.
    impossible: u64,
    /// Rows by their true class (a row) and their most probable one (a column).
    confusion: Vec<Vec<u64>>,
    /// Rows by their most probable class.
    found: Vec<u64>,
}

impl Accuracy {
    /// Of no rows yet, of these classes.
    pub fn new(classes: &[i64]) -> Self {
        let k = classes.len();
        Self { classes: classes.to_vec(), confusion: vec![vec![0; k]; k], found: vec![0; k], ..Self::default() }
    }

    /// Some rows, with the true class of each where `truth` is not empty. Rows without probabilities are left out.
    pub fn add(&mut self, rows: &Classified, truth: &[f64]) {
        for row in 0..rows.log_prob.len() {
            let Some(best) = rows.best(row) else { continue };
            self.found[best] += 1;
            let of = |class: &f64| self.classes.iter().position(|known| *known as f64 == *class);
            let Some(truth) = truth.get(row).and_then(of) else { continue };
            let log_true = rows.log_class[row * rows.classes + truth];
            self.right.add(f64::from(u8::from(best == truth)));
            self.log_true.add(log_true);
            self.impossible += u64::from(log_true == f64::NEG_INFINITY);
            self.confusion[truth][best] += 1;
        }
    }

    /// The part of the rows with a true class whose most probable class it is.
    pub fn right(&self) -> Mean {
        self.right
    }

    /// log p(c | x) of the true class, in nats; rows for which it is −∞ are left out, see [`Accuracy::impossible`].
    pub fn log_true(&self) -> Mean {
        self.log_true
    }

    /// Rows for whose true class the probability is 0 in f64.
    pub fn impossible(&self) -> u64 {
        self.impossible
    }

    /// Rows by their true class (a row) and their most probable one (a column).
    pub fn confusion(&self) -> &[Vec<u64>] {
        &self.confusion
    }

    /// Rows by their most probable class.
    pub fn found(&self) -> &[u64] {
        &self.found
    }

    /// The most frequent mistake: the true class, the one it was taken for, and how often of how many.
    pub fn worst(&self) -> Option<(i64, i64, u64, u64)> {
        let k = self.classes.len();
        let pairs = (0..k).flat_map(|i| (0..k).map(move |j| (i, j))).filter(|(i, j)| i != j);
        // Of equal ones the first.
        let (i, j) = pairs.reduce(|a, b| if self.confusion[b.0][b.1] > self.confusion[a.0][a.1] { b } else { a })?;
        let n = self.confusion[i][j];
        (n > 0).then(|| (self.classes[i], self.classes[j], n, self.confusion[i].iter().sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_however_small_the_densities_are() {
        let (none, two) = (f64::NEG_INFINITY, 2f64.ln());
        for far in [0.0, -1e3, -1e6, -1e12, -1e18, -1e300] {
            let mut joint = [far, far, none];
            let total = normalise(&mut joint);
            assert_eq!((total, joint), (far + two, [-two, -two, none]), "{far}");
        }
        let mut outside = [none; 2];
        assert_eq!(normalise(&mut outside), none);
        let mut failed = [-1.0, f64::NAN];
        assert!(normalise(&mut failed).is_nan() && outside.iter().chain(&failed).all(|l| l.is_nan()));
    }
}
