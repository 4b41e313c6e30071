//! Running statistics of all rows: in constant memory, row by row, so that the blocks in which they come
//! change no bit.
//!
//! Means and deviations by Welford's recurrence: mₙ = mₙ₋₁ + (v − mₙ₋₁)/n, Sₙ = Sₙ₋₁ + (v − mₙ₋₁)(v − mₙ).
//! Ref: Welford (1962). The sums Σv and Σv² would cost the digits of columns that lie far from 0.
//! What needs the rows themselves (a picture, an order statistic) gets a sample of them: Vitter's algorithm R (1985).

use rand::Rng as _;

use super::Arrived;
use crate::error::Failure;
#[cfg(doc)]
use crate::stats::weighted_mean_and_se;
use crate::transform::Cost;
use crate::{Error, Result, Rng, rng};

/// Rows that are kept of many, and the most numbers in them (64 MiB).
pub(super) const KEPT_ROWS: usize = 100_000;
const KEPT_NUMBERS: usize = 1 << 23;
/// The generator's stream that chooses them.
const KEPT_STREAM: u64 = 0x5a3b_0004;

/// Mean, deviation and standard error of the finite ones of many numbers, which may have weights.
///
/// With weights the mean is Σ w v / Σ w, and its standard error that of [`weighted_mean_and_se`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    n: u64,
    mean: f64,
    /// Σ w (v − mean)².
    squares: f64,
    /// What weights need; none where all count alike.
    weights: Option<WeightSums>,
}

/// Sums over weights w, in units of the first.
#[derive(Clone, Copy, Debug)]
struct WeightSums {
    unit: f64,
    /// Σ w and Σ w².
    total: f64,
    square: f64,
    /// Σ w² (v − mean) and Σ w² (v − mean)².
    first: f64,
    second: f64,
}

impl Mean {
    /// One number more.
    pub fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.n += 1;
            let before = value - self.mean;
            self.mean += before / self.n as f64;
            self.squares += before * (value - self.mean);
        }
    }

    /// One number more, of this weight: all numbers of a mean are added in this way, or none. A weight of 0 adds nothing.
    pub fn add_weighted(&mut self, value: f64, weight: f64) {
        if !value.is_finite() || weight <= 0.0 {
            return;
        }
        let none = WeightSums { unit: weight, total: 0.0, square: 0.0, first: 0.0, second: 0.0 };
        let sums = self.weights.get_or_insert(none);
        let w = weight / sums.unit;
        self.n += 1;
        sums.total += w;
        let before = value - self.mean;
        let shift = before * (w / sums.total);
        self.mean += shift;
        let after = value - self.mean;
        self.squares += w * before * after;
        sums.second += shift * (shift * sums.square - 2.0 * sums.first) + w * w * after * after;
        sums.first += w * w * after - shift * sums.square;
        sums.square += w * w;
    }

    /// As [`Mean::add`] of values that all count alike where there are no weights, else as [`Mean::add_weighted`] of the
    /// value at `i`.
    pub(super) fn add_one_of(&mut self, value: f64, weights: &[f64], i: usize) {
        if weights.is_empty() { self.add(value) } else { self.add_weighted(value, weights[i]) }
    }

    /// Whether its numbers have weights.
    pub(super) fn is_weighted(&self) -> bool {
        self.weights.is_some()
    }

    /// How many finite numbers there were, those of weight 0 not counted.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// (Σ w)² / Σ w²: so many numbers that count alike tell as much. n where they have no weights.
    pub fn effective(&self) -> f64 {
        self.weights.map_or(self.n as f64, |sums| sums.total * (sums.total / sums.square))
    }

    /// NaN of none.
    pub fn mean(&self) -> f64 {
        if self.n == 0 { f64::NAN } else { self.mean }
    }

    /// The standard deviation of these very numbers; NaN of none.
    pub fn std(&self) -> f64 {
        (self.squares / self.weights.map_or(self.n as f64, |sums| sums.total)).sqrt()
    }

    /// The standard error of the mean; NaN of fewer than two.
    pub fn se(&self) -> f64 {
        let n = self.n as f64;
        match self.weights {
            None => (self.squares / (n - 1.0) / n).sqrt(),
            Some(sums) => (n / (n - 1.0) * sums.second.max(0.0)).sqrt() / sums.total,
        }
    }
}

/// Some rows of many, each of them with the same chance: all of them as long as they are few.
#[derive(Debug)]
pub struct Reservoir {
    /// `[m, d]`.
    pub rows: Vec<f64>,
    d: usize,
    most: usize,
    seen: u64,
    rng: Rng,
}

impl Reservoir {
    /// None yet; at most 100 000 rows of `d` numbers, fewer beyond 83 columns.
    pub fn new(d: usize) -> Self {
        let most = KEPT_ROWS.min(KEPT_NUMBERS / d).max(1);
        Self { rows: Vec::new(), d, most, seen: 0, rng: rng::stream(0, KEPT_STREAM) }
    }

    /// The rows of `x` (`[n, d]`) that arrived pass by.
    pub fn add(&mut self, x: &[f64]) {
        for row in x.chunks_exact(self.d).filter(|row| row.iter().all(|v| v.is_finite())) {
            self.seen += 1;
            if self.seen <= self.most as u64 {
                self.rows.extend_from_slice(row);
            } else {
                let at = self.rng.random_range(0..self.seen);
                if at < self.most as u64 {
                    self.rows[at as usize * self.d..][..self.d].copy_from_slice(row);
                }
            }
        }
    }

    /// How many are kept, where that is not all of them.
    pub fn part(&self) -> Option<usize> {
        let kept = self.rows.len() / self.d;
        (self.seen > kept as u64).then_some(kept)
    }
}

/// What the solves of all rows took, and what became of them.
#[derive(Clone, Debug, Default)]
pub struct SolveStatistics {
    /// Rows.
    pub n: u64,
    /// Of the solves alone.
    pub seconds: f64,
    /// The most evaluations that a row took.
    pub nfe_max: u32,
    /// Rows with a missing cell, which are not computed.
    pub missing: u64,
    /// Rows with a missing cell that have the log-density of the others.
    pub marginal: u64,
    /// Rows that did not arrive.
    pub failed: u64,
    /// Rows whose log-density missed its tolerance.
    pub unsettled: u64,
    /// Rows whose steps were limited by stability.
    pub stiff: u64,
    /// Rows outside the support of the density.
    pub outside: u64,
    /// Rows whose log-density is not finite though they neither failed nor lie outside: they are too far out for f64.
    pub overflowed: u64,
    /// The largest estimate of a row's quadrature error.
    pub quadrature: f64,
    /// The standard errors of the rows' log-densities over their probes; none where the trace is exact.
    pub probes: Option<Mean>,
    nfe: u64,
    traces: u64,
    first: Option<(u64, Failure)>,
}

impl SolveStatistics {
    /// Adds the rows of a block that come after `before` others.
    pub fn add(&mut self, before: u64, arrived: &Arrived) {
        let Cost { nfe, traces, logdet_error, logdet_se, failures, unsettled, stiff, outside } = &arrived.cost;
        self.n += arrived.rows() as u64;
        self.missing += arrived.missing as u64;
        self.marginal += arrived.marginal as u64;
        self.seconds += arrived.seconds;
        self.nfe += nfe.iter().map(|n| u64::from(*n)).sum::<u64>();
        self.nfe_max = nfe.iter().copied().fold(self.nfe_max, u32::max);
        self.traces += traces.iter().map(|n| u64::from(*n)).sum::<u64>();
        self.quadrature = logdet_error.iter().copied().filter(|e| e.is_finite()).fold(self.quadrature, f64::max);
        if !logdet_se.is_empty() {
            let probes = self.probes.get_or_insert_default();
            logdet_se.iter().for_each(|se| probes.add(*se));
        }
        self.failed += failures.len() as u64;
        let first = failures.iter().min_by_key(|(row, _)| *row).map(|(row, failure)| (before + *row as u64, *failure));
        self.first = self.first.or(first);
        self.unsettled += *unsettled as u64;
        self.stiff += *stiff as u64;
        self.outside += outside.len() as u64;
        // Where no density is wanted a row without a point is as good as one without a log-density.
        let mut lost: Vec<bool> = match arrived.log_prob.is_empty() {
            true => arrived.y.chunks_exact(arrived.dim.max(1)).map(|y| y.iter().any(|v| !v.is_finite())).collect(),
            false => arrived.log_prob.iter().map(|l| !l.is_finite()).collect(),
        };
        let known = failures.iter().map(|(row, _)| row).chain(outside);
        known.for_each(|row| lost[*row] = false);
        // A missing row is lost too, and neither failed nor outside.
        self.overflowed += lost.into_iter().filter(|lost| *lost).count() as u64 - arrived.missing as u64;
    }

    /// Rows that have a finite log-density: they have no missing cell, neither failed nor overflowed, nor lie outside the
    /// support.
    pub fn inside(&self) -> u64 {
        self.computed() - self.failed - self.outside - self.overflowed
    }

    /// Rows without a missing cell.
    pub fn computed(&self) -> u64 {
        self.n - self.missing
    }

    /// Mean NFE of a row that is computed.
    pub fn nfe_mean(&self) -> f64 {
        self.nfe as f64 / self.computed().max(1) as f64
    }

    /// Mean number of divergence evaluations of a row that is computed.
    pub fn traces_mean(&self) -> f64 {
        self.traces as f64 / self.computed().max(1) as f64
    }

    /// The error that ends a command none of whose rows arrived, of those without a missing cell, before its files are
    /// written.
    ///
    /// # Errors
    /// [`Error::Failed`] with the first of them.
    pub fn check_any(&self) -> Result<()> {
        if self.failed == self.computed() { self.check() } else { Ok(()) }
    }

    /// The error that ends a command some of whose rows failed, after its files are written.
    ///
    /// # Errors
    /// [`Error::Failed`] with the first of them.
    pub fn check(&self) -> Result<()> {
        let Some((row, first)) = self.first else { return Ok(()) };
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Err(Error::Failed { count: count(self.failed), of: count(self.computed()), row: count(row), first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::StandardNormal;

    #[test]
    fn means_and_deviations_are_those_of_the_two_passes() {
        // Far from 0, where Σv² would lose every digit of the deviation.
        let values: Vec<f64> =
            StandardNormal::new(1).draw(1000, &mut rng::stream(3, 0)).iter().map(|v| 1e8 + v).collect();
        let mut tally = Mean::default();
        values.iter().for_each(|v| tally.add(*v));
        tally.add(f64::NAN);
        let (mean, se) = crate::stats::mean_and_se(&values);
        // The values themselves are rounded to 1.5e-8.
        assert!((tally.mean() - mean).abs() < 1e-7 && (tally.se() / se - 1.0).abs() < 1e-7);
        assert!((tally.std() / se / 999f64.sqrt() - 1.0).abs() < 1e-7);
        assert!(Mean::default().mean().is_nan() && Mean::default().se().is_nan() && Mean::default().std().is_nan());
    }

    #[test]
    fn few_rows_are_all_kept_and_of_many_each_has_the_same_chance() {
        let mut few = Reservoir::new(2);
        let rows: Vec<f64> = (0..2000).map(f64::from).collect();
        few.add(&rows);
        few.add(&[f64::NAN, 0.0]);
        assert!(few.rows == rows && few.part().is_none());
        // 2²³ numbers of 2²¹ columns are four rows; each of 64 stays in 1 of 16 cases.
        let (d, trials) = (1 << 21, 400);
        let mut kept = Reservoir::new(d);
        assert_eq!(kept.most, 4);
        kept.d = 1;
        let mut counts = [0.0f64; 64];
        for _ in 0..trials {
            (kept.seen, kept.rows) = (0, Vec::new());
            (0..64).for_each(|row| kept.add(&[f64::from(row)]));
            kept.rows.iter().for_each(|row| counts[*row as usize] += 1.0);
            assert_eq!(kept.part(), Some(4));
        }
        // Of a binomial with mean 25 and deviation 4.8; five deviations are passed in one of 2e6 cases.
        assert!(counts.iter().all(|count| (count - 25.0).abs() < 24.0), "{counts:?}");
    }
}
