//! Error bars beside log-densities: every block is solved once more, in f64 and far below the tolerance.

use std::sync::Arc;

use super::transport::Counter;
use super::{Arrived, Block, Reservoir};
use crate::Result;
use crate::continuous::Work;
use crate::model::{ErrorBars, Model};
use crate::stats::quantile;
use crate::transform::{Chain, Cost};

/// The error bars of all rows, as they pass: their median and their largest in constant memory.
#[derive(Debug)]
pub struct RunningBars {
    bars: ErrorBars<Chain>,
    counter: Counter,
    totals: Reservoir,
    worst: f64,
    missing: u64,
}

impl RunningBars {
    /// Of log-densities by `model` of data that lie at `until` (1 but for the distributions on the way); `done` counts
    /// the second solves.
    ///
    /// # Errors
    /// As [`ErrorBars::of_model`].
    pub fn new(model: &Model, until: f64, done: &Arc<Work>) -> Result<Self> {
        let mut counter = None;
        let bars = ErrorBars::of_model(model, until, |fine| {
            let (own, fine) = Counter::of(fine, done)?;
            counter = Some(own);
            Ok(fine)
        })?;
        let counter = counter.unwrap_or(Counter(None));
        Ok(Self { bars, counter, totals: Reservoir::new(1), worst: 0.0, missing: 0 })
    }

    /// One block: its points, and their log-densities at the given tolerance. Gives `[n, 3]`: the solver's bar, the
    /// estimator's, and both together, in nats; NaN in rows with a missing cell.
    ///
    /// # Errors
    /// As [`ErrorBars::of`].
    pub fn block(&mut self, block: &Block, arrived: &Arrived) -> Result<Vec<f64>> {
        let Some(gaps) = &block.gaps else {
            return self.rows(&block.x, &block.condition, &arrived.log_prob, &arrived.cost);
        };
        let [x, condition, log_prob] = [&block.x, &block.condition, &arrived.log_prob].map(|rows| gaps.pick(rows));
        let bars = match gaps.kept() {
            [] => Vec::new(),
            _ => self.rows(&x, &condition, &log_prob, &gaps.pick_cost(&arrived.cost))?,
        };
        Ok(gaps.spread(&bars, 3))
    }

    /// The bars of rows without a missing cell.
    fn rows(&mut self, x: &[f64], condition: &[f64], log_prob: &[f64], cost: &Cost) -> Result<Vec<f64>> {
        let bars = self.bars.of(x, condition, log_prob, cost)?;
        self.counter.add(log_prob.len());
        let totals = bars.total();
        let without = totals.iter().zip(log_prob).filter(|(bar, log)| bar.is_nan() && log.is_finite());
        self.missing += without.count() as u64;
        self.worst = totals.iter().copied().fold(self.worst, f64::max);
        // A row outside has a bar of 0, which does not count for the others.
        let outside = &cost.outside;
        (0..totals.len())
            .filter(|row| outside.binary_search(row).is_err())
            .for_each(|row| self.totals.add(&totals[row..=row]));
        let rows = bars.solver.iter().zip(&bars.estimator).zip(&totals);
        Ok(rows.flat_map(|((solver, estimator), total)| [*solver, *estimator, *total]).collect())
    }

    /// The median of the bars of both errors together, and the largest, in nats; none where no row has one.
    pub fn summary(&self) -> Option<(f64, f64)> {
        let median = quantile(&self.totals.rows, 0.5);
        median.is_finite().then_some((median, self.worst))
    }

    /// How many rows have a log-density, but no bar: the second solve failed.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Hutchinson's probes; 0 where the trace is exact.
    pub fn probes(&self) -> usize {
        self.bars.probes()
    }
}
