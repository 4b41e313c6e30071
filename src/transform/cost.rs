//! The cost of a map, row by row: evaluations, estimated errors, and the rows without a result.

use std::collections::HashMap;

use crate::error::Failure;
use crate::{Error, Result};

/// The cost of a map, row by row; empty lists for a closed form.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Velocity evaluations of each row.
    pub nfe: Vec<u32>,
    /// Divergence evaluations of each row.
    pub traces: Vec<u32>,
    /// Estimated absolute error of each row's log-determinant by the quadrature; zeros for a coupled solve.
    pub logdet_error: Vec<f64>,
    /// Standard error of each row's log-determinant over Hutchinson's probes; empty when the trace is exact.
    pub logdet_se: Vec<f64>,
    /// Rows that did not arrive, and why.
    pub failures: Vec<(usize, Failure)>,
    /// Rows outside the support of the density, rising: log p = −∞ there, and the latent is NaN. They are not failures.
    pub outside: Vec<usize>,
    /// Rows whose log-determinant missed its tolerance although it was refined; by how much is in their error.
    pub unsettled: usize,
    /// Rows whose steps were limited by stability.
    pub stiff: usize,
}

impl Cost {
    /// Adds another map of the same rows. A row that fails in both has failed once, by the first; of rows that are only
    /// counted there are as many as in the map that has more of them, at least.
    pub fn merge(&mut self, other: Cost) {
        fn add<N: Copy + std::ops::AddAssign>(mine: &mut Vec<N>, other: Vec<N>) {
            if mine.is_empty() {
                *mine = other;
            } else {
                mine.iter_mut().zip(other).for_each(|(a, b)| *a += b);
            }
        }
        add(&mut self.nfe, other.nfe);
        add(&mut self.traces, other.traces);
        add(&mut self.logdet_error, other.logdet_error);
        for (mine, other) in self.logdet_se.iter_mut().zip(&other.logdet_se) {
            *mine = mine.hypot(*other);
        }
        if self.logdet_se.is_empty() {
            self.logdet_se = other.logdet_se;
        }
        self.failures.extend(other.failures);
        self.failures.sort_by_key(|(row, _)| *row);
        self.failures.dedup_by_key(|(row, _)| *row);
        self.outside.extend(other.outside);
        self.outside.sort_unstable();
        self.outside.dedup();
        // No path begins outside the support: that it did not arrive is not news.
        let Self { failures, outside, .. } = self;
        failures.retain(|(row, _)| outside.binary_search(row).is_err());
        self.stiff = self.stiff.max(other.stiff);
        self.unsettled = self.unsettled.max(other.unsettled);
    }

    /// Appends the rows of another batch, which come after the `rows` of this one.
    pub fn append(&mut self, rows: usize, other: Cost) {
        self.nfe.extend(other.nfe);
        self.traces.extend(other.traces);
        self.logdet_error.extend(other.logdet_error);
        self.logdet_se.extend(other.logdet_se);
        self.failures.extend(other.failures.into_iter().map(|(row, failure)| (row + rows, failure)));
        self.outside.extend(other.outside.into_iter().map(|row| row + rows));
        self.stiff += other.stiff;
        self.unsettled += other.unsettled;
    }

    /// −∞ in the rows outside the support, whatever else was computed there; `log` is `[n]`, or empty.
    pub(crate) fn mark_outside(&self, log: &mut [f64]) {
        for row in &self.outside {
            if let Some(log) = log.get_mut(*row) {
                *log = f64::NEG_INFINITY;
            }
        }
    }

    /// Why a row has no point on the other side; nothing where it has one.
    pub fn failure(&self, row: usize) -> Option<Failure> {
        if self.outside.binary_search(&row).is_ok() {
            return Some(Failure::Outside);
        }
        self.failures.iter().find(|(failed, _)| *failed == row).map(|(_, failure)| *failure)
    }

    /// Why rows have no point on the other side, by row.
    pub(crate) fn reasons(&self) -> HashMap<usize, Failure> {
        let outside = self.outside.iter().map(|row| (*row, Failure::Outside));
        self.failures.iter().copied().chain(outside).collect()
    }

    /// Mean NFE of a row; 0 for a closed form.
    pub fn nfe_mean(&self) -> f64 {
        mean(&self.nfe)
    }

    /// Mean number of divergence evaluations of a row.
    pub fn traces_mean(&self) -> f64 {
        mean(&self.traces)
    }
}

/// The mean of counts; 0 of none (whose sum as floats would be −0).
fn mean(counts: &[u32]) -> f64 {
    counts.iter().map(|n| u64::from(*n)).sum::<u64>() as f64 / counts.len().max(1) as f64
}

/// An error where a row of `n` did not arrive.
///
/// # Errors
/// [`Error::Failed`] with the first of them.
pub fn check_failures(cost: &Cost, n: usize) -> Result<()> {
    match cost.failures.iter().min_by_key(|(row, _)| *row) {
        None => Ok(()),
        Some((row, first)) => Err(Error::Failed { count: cost.failures.len(), of: n, row: *row, first: *first }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_two_maps_counts_once() {
        let of = |nfe: [u32; 3], failures: &[(usize, Failure)], (unsettled, stiff)| Cost {
            nfe: nfe.to_vec(),
            failures: failures.to_vec(),
            unsettled,
            stiff,
            ..Cost::default()
        };
        let (first, second) = (Failure::Point, Failure::Layer { layer: 2 });
        let mut cost = of([1, 2, 3], &[(2, first), (1, first)], (3, 0));
        cost.merge(of([10, 20, 30], &[(1, second), (0, second)], (2, 1)));
        assert_eq!(cost.nfe, [11, 22, 33]);
        assert_eq!(cost.failures, [(0, second), (1, first), (2, first)]);
        assert_eq!((cost.unsettled, cost.stiff), (3, 1));
    }
}
