//! What a step is computed from: rows of data, and latents and times where the objective needs them.
//!
//! The rows of a table come in shuffled epochs, those of a toy are fresh. Where rows have weights an epoch has each row as
//! often as it weighs, rounded up or down at random: losses need no weights then, no row is computed for nothing, and
//! pairs of rows and latents are those of the weighted rows. [`BatchSampler::place`] is the position in
//! the streams, so that a run can resume at the same number.

use rand::Rng as _;
use rand::seq::SliceRandom;

use super::preprocessing::Preprocessing;
use super::{CONDITION_WEIGHT, Criterion, DATA_STREAM, EPOCH_STREAM, NOISE_STREAM, WEIGHT_STREAM};
use crate::model::Architecture;
use crate::rows::{Dataset, Rows, Source};
use crate::stats::counts_by_weight;
use crate::transform::Base;
use crate::{Error, Result, Rng, rng};

/// One batch of n rows.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Preprocessed data (standardised), the inputs of the net, `[n, d]` row-major.
    pub x: Vec<f64>,
    /// Encoded conditions, the inputs of the net, `[n, c]`; empty where there are none.
    pub c: Vec<f64>,
    /// Latents, `[n, d]`; empty where there are none.
    pub z: Vec<f64>,
    /// Times, `[n]`; empty where there are none.
    pub t: Vec<f64>,
    /// The key of Hutchinson's probes: another one each step, or the net would overfit the probes of its rows.
    pub probe_seed: u64,
    /// The time at which the data lie: 1, but for a random end time.
    pub end: f64,
}

impl Default for Batch {
    fn default() -> Self {
        Self { x: Vec::new(), c: Vec::new(), z: Vec::new(), t: Vec::new(), probe_seed: 0, end: 1.0 }
    }
}

impl Batch {
    /// Refuses numbers that do not make the rows that a criterion needs.
    pub(super) fn check(&self, architecture: &Architecture, criterion: Criterion) -> Result<()> {
        let (d, c) = (architecture.dim(), architecture.condition_dim());
        let (n, rest) = (self.x.len() / d, self.x.len() % d);
        if rest != 0 {
            return Err(Error::Dimension { what: "the last row of the batch".into(), expected: d, found: rest });
        }
        let mut wanted = vec![("conditions", self.c.len(), n * c)];
        if criterion == Criterion::Matching {
            wanted.extend([("latents", self.z.len(), n * d), ("times", self.t.len(), n)]);
        }
        match wanted.into_iter().find(|(_, found, expected)| found != expected) {
            None => Ok(()),
            Some((what, found, expected)) => Err(Error::invalid(
                format!("{found} numbers of {what} in a batch of {n} rows, expected {expected}"),
                format!("give {what} for each row of the batch"),
            )),
        }
    }
}

/// How far the draws are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamPosition {
    /// Words drawn from the generator of rows.
    pub rows: u128,
    /// Words drawn from the generator of latents and times.
    pub noise: u128,
    /// Epochs of a table that are over.
    pub epoch: u64,
    /// Rows of the running epoch that are taken.
    pub taken: u64,
}

/// An unlimited source of batches.
pub(super) struct BatchSampler<'a> {
    data: &'a Dataset,
    preprocessing: &'a Preprocessing,
    base: &'a Base,
    seed: u64,
    /// A table's rows and their conditions, as inputs of the net; without the rows where each batch is preprocessed by
    /// itself.
    table: Rows,
    /// As [`Conditions`](super::Conditions) has them, one for each of the c columns.
    weights: Vec<f64>,
    /// The order of the running epoch, and which one that is.
    order: Vec<u32>,
    ordered: Option<u64>,
    rows: Rng,
    noise: Rng,
    epoch: u64,
    taken: usize,
}

impl<'a> BatchSampler<'a> {
    /// `table` are the preprocessed rows of a table; empty for a toy, and without points where the preprocessing draws
    /// noise.
    pub(super) fn new(
        data: &'a Dataset,
        preprocessing: &'a Preprocessing,
        base: &'a Base,
        table: Rows,
        seed: u64,
    ) -> Self {
        let (rows, noise) = (rng::stream(seed, DATA_STREAM), rng::stream(seed, NOISE_STREAM));
        let (weights, order) = (Vec::new(), Vec::new());
        Self { data, preprocessing, base, seed, table, weights, order, ordered: None, rows, noise, epoch: 0, taken: 0 }
    }

    /// With the table's context as the conditions of its rows, `[n, classes.len()]`; `classes` marks which of its
    /// columns are parts of a class.
    pub(super) fn conditioned(self, classes: &[bool]) -> Self {
        let (c, conditions) = (classes.len(), &self.table.context);
        let weight = |(j, class): (usize, &bool)| {
            let (_, std) = crate::stats::moments(conditions.iter().skip(j).step_by(c).copied());
            // A column of one value is the same for all rows, whatever its weight.
            if *class || std == 0.0 { 0.0 } else { CONDITION_WEIGHT / (std * std) }
        };
        let weights = classes.iter().enumerate().map(weight).collect();
        Self { weights, ..self }
    }

    /// What the conditions of a batch are to a pairing.
    pub(super) fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// How far the draws are.
    pub(super) fn place(&self) -> StreamPosition {
        StreamPosition {
            rows: self.rows.get_word_pos(),
            noise: self.noise.get_word_pos(),
            epoch: self.epoch,
            taken: self.taken as u64,
        }
    }

    /// Goes to a place where a sampler of the same job was.
    pub(super) fn go_to(&mut self, place: StreamPosition) {
        self.rows.set_word_pos(place.rows);
        self.noise.set_word_pos(place.noise);
        (self.epoch, self.taken) = (place.epoch, place.taken as usize);
    }

    /// n rows of data and their conditions, in the units of the net.
    pub(super) fn rows(&mut self, n: usize) -> Result<Rows> {
        match &self.data.train {
            Source::Toy(toy) => Ok(Rows::new(self.preprocessing.inward((toy.sample)(n, &mut self.rows))?.0)),
            Source::Rows(rows) => {
                let taken = self.next_of_epoch(n);
                if !self.preprocessing.dequantises() {
                    let drawn = self.table.pick(self.data.dim, &taken);
                    return Ok(Rows { weight: Vec::new(), ..drawn });
                }
                let (x, seed) = (rows.x.pick(self.data.dim, &taken).into_f64(), self.noise.random());
                let c = rows.context.len() / self.data.n_train().unwrap_or(1).max(1);
                let given: Vec<f64> = taken.iter().flat_map(|i| &rows.context[i * c..(i + 1) * c]).copied().collect();
                let x = self.preprocessing.inward_drawn(x, &given, seed)?.into();
                Ok(Rows { x, context: self.under(&taken), weight: Vec::new() })
            }
        }
    }

    /// The conditions of some rows.
    fn under(&self, rows: &[usize]) -> Vec<f64> {
        let context = &self.table.context;
        let c = context.len() / self.data.n_train().unwrap_or(1).max(1);
        rows.iter().flat_map(|i| &context[i * c..(i + 1) * c]).copied().collect()
    }

    /// The numbers of the next rows of the epoch, and of the epochs after it.
    fn next_of_epoch(&mut self, n: usize) -> Vec<usize> {
        let count = self.data.n_train().unwrap_or(0);
        let mut rows = Vec::with_capacity(n);
        while rows.len() < n {
            if self.taken >= count {
                (self.epoch, self.taken) = (self.epoch + 1, 0);
            }
            if self.ordered != Some(self.epoch) {
                self.order = self.epoch_rows(count);
                self.order.shuffle(&mut rng::stream(self.seed, EPOCH_STREAM + self.epoch));
                self.ordered = Some(self.epoch);
            }
            rows.push(self.order[self.taken] as usize);
            self.taken += 1;
        }
        rows
    }

    /// The rows of the running epoch before they are shuffled, as many as there are rows.
    fn epoch_rows(&self, count: usize) -> Vec<u32> {
        if self.table.weight.is_empty() {
            return (0..count as u32).collect();
        }
        let offset = rng::stream(self.seed, WEIGHT_STREAM + self.epoch).random();
        let counts = counts_by_weight(&self.table.weight, count as f64, offset);
        counts.iter().zip(0..).flat_map(|(count, row)| std::iter::repeat_n(row, *count as usize)).collect()
    }

    /// A latent for each row of `x`.
    ///
    /// Under a condition the latents are drawn without regard to x: a component of a mixture that is chosen by the row
    /// would depend on the row's condition, and the latents given c would not have the distribution that samples start
    /// from.
    pub(super) fn latents(&mut self, x: &[f64]) -> Vec<f64> {
        match self.weights.is_empty() {
            true => self.base.matched(x, &mut self.noise),
            false => self.base.draw(x.len() / self.data.dim, &mut self.noise),
        }
    }

    /// A key for this step's probes.
    pub(super) fn probe_seed(&mut self) -> u64 {
        self.noise.random()
    }

    /// A number between −1 and 1.
    pub(super) fn swing(&mut self) -> f64 {
        self.noise.random_range(-1.0..1.0)
    }

    /// n times, one in each of n equally likely parts of [0, 1]: the same mean of a loss with less variance. The
    /// density of a time is proportional to (1 − t)^(1/exponent − 1): uniform for 1, crowded near the data above.
    pub(super) fn times(&mut self, n: usize, exponent: f64) -> Vec<f64> {
        let mut even = |i: usize| (i as f64 + self.noise.random::<f64>()) / n as f64;
        (0..n).map(|i| if exponent == 1.0 { even(i) } else { 1.0 - (1.0 - even(i)).powf(exponent) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::continuous::SolverSpec;
    use crate::model::FlowSpec;
    use crate::transform::StandardNormal;
    use crate::velocity::{Activation, MlpSpec, TimeInput, VelocitySpec};

    #[test]
    fn times_crowd_near_the_data_as_their_density_says() {
        let data = crate::rows::resolve("uniform", &crate::rows::DataOptions::default(), 0).unwrap();
        let net =
            MlpSpec { dim: 1, condition_dim: 0, hidden: vec![2], activation: Activation::Tanh, time: TimeInput::Plain };
        let preprocessing =
            Preprocessing::new(&FlowSpec::plain(VelocitySpec::Mlp(net), SolverSpec::default())).unwrap();
        let base = Base::Normal(StandardNormal::new(1));
        let mut sampler = BatchSampler::new(&data, &preprocessing, &base, Rows::default(), 1);
        for exponent in [1.0, 1.5, 2.0, 4.0] {
            let times = sampler.times(1000, exponent);
            assert!(times.iter().all(|t| (0.0..=1.0).contains(t)));
            // One time in each of equally likely parts: half of them are beyond the median 1 − 2^−exponent.
            let beyond = times.iter().filter(|t| **t > 1.0 - 0.5f64.powf(exponent)).count();
            assert!((499..=501).contains(&beyond), "{exponent}: {beyond}");
            // 1 − t is u^exponent: its moments are 1/(1 + k exponent). A number is drawn in each of 1000 parts.
            for k in [1, 2, 3] {
                let moment = times.iter().map(|t| (1.0 - t).powi(k)).sum::<f64>() / 1000.0;
                let expected = 1.0 / (1.0 + f64::from(k) * exponent);
                assert!((moment - expected).abs() < 1e-3, "{exponent}, moment {k}: {moment} or {expected}");
            }
        }
    }
}
