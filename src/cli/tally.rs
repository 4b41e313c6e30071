//! What a report says of all rows, gathered while they pass: in constant memory, row by row, so that the blocks in which
//! they come change no bit.
//!
//! Means and deviations by Welford's recurrence: mₙ = mₙ₋₁ + (v − mₙ₋₁)/n, Sₙ = Sₙ₋₁ + (v − mₙ₋₁)(v − mₙ).
//! Ref: Welford (1962). The sums Σv and Σv² would cost the digits of columns that lie far from 0.
//! What needs the rows themselves (a picture, an order statistic) gets a sample of them: Vitter's algorithm R (1985).

use anyhow::Result;
use cnf::flow::Cost;
use cnf::flow::Failure;
use cnf::stats::{Dominance, Weighted};
use cnf::{Error, Rng, rng, words};
use rand::Rng as _;

use super::setup::Solved;

/// Rows that are kept of many, and the most numbers in them (64 MiB).
const KEPT_ROWS: usize = 100_000;
const KEPT_NUMBERS: usize = 1 << 23;
/// The generator's stream that chooses them.
const KEPT_STREAM: u64 = 0x5a3b_0004;

/// Mean, deviation and standard error of the finite ones of many numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    n: u64,
    mean: f64,
    /// Σ (v − mean)².
    squares: f64,
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

    /// How many finite numbers there were.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// NaN of none.
    pub fn mean(&self) -> f64 {
        if self.n == 0 { f64::NAN } else { self.mean }
    }

    /// The standard deviation of these very numbers; NaN of none.
    pub fn std(&self) -> f64 {
        (self.squares / self.n as f64).sqrt()
    }

    /// The standard error of the mean; NaN of fewer than two.
    pub fn se(&self) -> f64 {
        (self.squares / (self.n as f64 - 1.0) / self.n as f64).sqrt()
    }
}

/// Some rows of many, each of them with the same chance: all of them as long as they are few.
#[derive(Debug)]
pub struct Kept {
    /// `[m, d]`.
    pub rows: Vec<f64>,
    d: usize,
    most: usize,
    seen: u64,
    rng: Rng,
}

impl Kept {
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

/// The lowest and the highest values that are all kept, each.
const EXTREMES: usize = 1024;

/// The log-densities of many rows: mean and standard error, the median, and whether few rows carry the mean.
///
/// Exact for up to 100 000 rows; beyond, the extremes are kept with their rows, and a random sample stands for the rest.
#[derive(Debug)]
pub struct Scores {
    mean: Mean,
    /// Of all values, in any order.
    sample: Kept,
    /// Values with their rows: the lowest and the highest seen so far, and those that came since.
    outer: Vec<(f64, u64)>,
}

impl Scores {
    /// None yet.
    pub fn new() -> Self {
        Self { mean: Mean::default(), sample: Kept::new(1), outer: Vec::new() }
    }

    /// The values of the rows that come after `before` others.
    pub fn add(&mut self, before: u64, values: &[f64]) {
        self.sample.add(values);
        for (row, value) in values.iter().enumerate().filter(|(_, v)| v.is_finite()) {
            self.mean.add(*value);
            self.outer.push((*value, before + row as u64));
            if self.outer.len() >= 8 * EXTREMES {
                self.thin();
            }
        }
    }

    /// Only the extremes stay.
    fn thin(&mut self) {
        self.outer.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        if self.outer.len() > 2 * EXTREMES {
            self.outer.drain(EXTREMES..self.outer.len() - EXTREMES);
        }
    }

    /// Mean and standard error of the finite values.
    pub fn mean(&self) -> Mean {
        self.mean
    }

    /// The median, and whether few rows carry the mean.
    pub fn dominance(&mut self) -> Dominance {
        self.thin();
        let outer = self.outer.iter().map(|(value, at)| Weighted { value: *value, weight: 1.0, at: *at });
        if self.sample.part().is_none() {
            // All are there; the rows of the outermost are known.
            let all = Dominance::of(&self.sample.rows);
            let ends = [self.outer.first(), self.outer.last()].into_iter().flatten();
            let far = |v: &&(f64, u64)| (v.0 - all.median).abs();
            let farthest = ends.max_by(|a, b| far(a).total_cmp(&far(b)).then(b.1.cmp(&a.1)));
            return Dominance { farthest: farthest.map_or(0, |v| v.1), ..all };
        }
        let inner = self.between();
        Dominance::weighted(outer.chain(inner).collect())
    }

    /// What the sample tells of the values that are not among the extremes, all of them together of their weight.
    ///
    /// Values beyond the innermost extremes are extremes themselves. Of those that are equal to one of these some are
    /// kept among the extremes, and the others are counted here.
    fn between(&self) -> Vec<Weighted> {
        let rest = (self.mean.n - self.outer.len() as u64) as f64;
        let ends @ [(low, _), (high, _)] = [self.outer[EXTREMES - 1], self.outer[EXTREMES]];
        if low == high {
            return vec![Weighted { value: low, weight: rest, at: ends[0].1 }];
        }
        // Each sampled value stands for as many.
        let each = self.mean.n as f64 / self.sample.rows.len() as f64;
        let inside = self.sample.rows.iter().filter(|v| low < **v && **v < high);
        let mut values: Vec<Weighted> = inside.map(|v| Weighted { value: *v, weight: each, at: 0 }).collect();
        for (end, at) in ends {
            let kept = self.outer.iter().filter(|(value, _)| *value == end).count() as f64;
            let all = each * self.sample.rows.iter().filter(|value| **value == end).count() as f64;
            if all > kept {
                values.push(Weighted { value: end, weight: all - kept, at });
            }
        }
        let total: f64 = values.iter().map(|v| v.weight).sum();
        values.iter_mut().for_each(|v| v.weight *= rest / total);
        values
    }
}

/// What the solves of all rows took, and what became of them.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    /// Rows.
    pub n: u64,
    /// Of the solves alone.
    pub seconds: f64,
    /// The most evaluations that a row took.
    pub nfe_max: u32,
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

impl Spent {
    /// Adds the rows of a block that come after `before` others.
    pub fn add(&mut self, before: u64, solved: &Solved) {
        let Cost { nfe, traces, logdet_error, logdet_se, failures, unsettled, stiff, outside } = &solved.cost;
        self.n += solved.log_prob.len() as u64;
        self.seconds += solved.seconds;
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
        let mut lost: Vec<bool> = solved.log_prob.iter().map(|l| !l.is_finite()).collect();
        let known = failures.iter().map(|(row, _)| row).chain(outside);
        known.for_each(|row| lost[*row] = false);
        self.overflowed += lost.into_iter().filter(|lost| *lost).count() as u64;
    }

    /// Rows that have a finite log-density: they neither failed nor overflowed, nor lie outside the support.
    pub fn inside(&self) -> u64 {
        self.n - self.failed - self.outside - self.overflowed
    }

    /// Of how many rows a mean is, in words; `one` is a row, or a point.
    pub fn among(&self, one: &str) -> String {
        let Self { n, failed, outside, overflowed, .. } = self;
        let mut words = format!("over {}", words::count(*n, one));
        if self.inside() < *n {
            words = format!("over {} of {}", self.inside(), words::count(*n, one));
        }
        if *outside > 0 {
            words += &format!("; {outside} outside the support, where log p is -inf");
        }
        if *overflowed > 0 {
            words += &format!("; {overflowed} without a finite log p");
        }
        if *failed > 0 {
            words += &format!("; {failed} failed");
        }
        words
    }

    /// Mean NFE of a row.
    pub fn nfe_mean(&self) -> f64 {
        self.nfe as f64 / self.n.max(1) as f64
    }

    /// Mean number of divergence evaluations of a row.
    pub fn traces_mean(&self) -> f64 {
        self.traces as f64 / self.n.max(1) as f64
    }

    /// What became of failed and stiff rows, for the text report; empty where all went well.
    pub fn troubles(&self) -> String {
        let Self { n, failed, unsettled, stiff, .. } = self;
        let mut words = String::new();
        if *failed > 0 {
            words += &format!("failed: {failed} of {}; NaN in the files\n", words::count(*n, "row"));
        }
        if *unsettled > 0 {
            words += &format!(
                "unsettled: the log-density of {unsettled} of {} missed its tolerance by its own estimate\n",
                words::count(*n, "row")
            );
        }
        if self.outside > 0 {
            let outside = self.outside;
            words += &format!(
                "outside: {outside} of {} outside the support; log p is -inf there\n",
                words::count(*n, "row")
            );
        }
        if stiff * 2 > *n {
            words += &format!("stiff: {stiff} of {}; `--solver bdf` may be cheaper\n", words::count(*n, "row"));
        }
        words
    }

    /// The error that ends a command none of whose rows arrived, before its files are written.
    ///
    /// # Errors
    /// [`Error::Failed`] with the first of them.
    pub fn check_any(&self) -> Result<()> {
        if self.failed == self.n { self.check() } else { Ok(()) }
    }

    /// The error that ends a command some of whose rows failed, after its files are written.
    ///
    /// # Errors
    /// [`Error::Failed`] with the first of them.
    pub fn check(&self) -> Result<()> {
        let Some((row, first)) = self.first else { return Ok(()) };
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Err(Error::Failed { count: count(self.failed), of: count(self.n), row: count(row), first }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cnf::flow::StandardNormal;

    #[test]
    fn means_and_deviations_are_those_of_the_two_passes() {
        // Far from 0, where Σv² would lose every digit of the deviation.
        let values: Vec<f64> =
            StandardNormal::new(1).draw(1000, &mut rng::stream(3, 0)).iter().map(|v| 1e8 + v).collect();
        let mut tally = Mean::default();
        values.iter().for_each(|v| tally.add(*v));
        tally.add(f64::NAN);
        let (mean, se) = cnf::train::mean_and_se(&values);
        // The values themselves are rounded to 1.5e-8.
        assert!((tally.mean() - mean).abs() < 1e-7 && (tally.se() / se - 1.0).abs() < 1e-7);
        assert!((tally.std() / se / 999f64.sqrt() - 1.0).abs() < 1e-7);
        assert!(Mean::default().mean().is_nan() && Mean::default().se().is_nan() && Mean::default().std().is_nan());
    }

    #[test]
    fn scores_of_many_rows_are_those_of_all_of_them_whatever_the_blocks() {
        for n in [40usize, 3000, 250_000] {
            for far in [0.0, -1e9, -1e15] {
                let mut values = StandardNormal::new(1).draw(n, &mut rng::stream(5, n as u64));
                values[n / 2] = if far == 0.0 { values[n / 2] } else { far };
                let all = Dominance::of(&values);
                for block in [n, 997] {
                    let mut scores = Scores::new();
                    let mut before = 0;
                    for part in values.chunks(block) {
                        scores.add(before, part);
                        before += part.len() as u64;
                    }
                    let found = scores.dominance();
                    let (mean, se) = cnf::train::mean_and_se(&values);
                    assert!((scores.mean().mean() - mean).abs() <= 1e-9 * mean.abs().max(1.0));
                    assert!((scores.mean().se() / se - 1.0).abs() < 1e-9);
                    assert_eq!((found.n, found.few, found.farthest), (all.n, all.few, all.farthest), "{n} {far}");
                    assert_eq!(found.few.is_some(), far != 0.0, "{n} {far}");
                    // Of 100 000 of them the median has a standard error of 0.004.
                    let slack = if n > KEPT_ROWS { 0.02 } else { 0.0 };
                    assert!((found.median - all.median).abs() <= slack, "{n} {far}: {found:?} {all:?}");
                }
            }
        }
        let none = Scores::new().dominance();
        assert!(none.n == 0 && none.median.is_nan() && none.few.is_none());
        // Equal values beyond the extremes.
        let mut scores = Scores::new();
        scores.add(0, &vec![2.0; 150_000]);
        assert_eq!((scores.dominance().median, scores.dominance().few), (2.0, None));
    }

    #[test]
    fn values_equal_to_the_extremes_keep_their_weight() {
        // So many of ten at the least and at the greatest value, the others evenly between.
        for (least, greatest) in [(0, 8), (8, 0), (0, 4), (4, 0), (3, 3), (4, 6), (0, 0)] {
            let mut rng = rng::stream(9, 10 * least + greatest);
            let value = |i: u64| match i % 10 {
                k if k < least => -4.0,
                k if k >= 10 - greatest => -0.5,
                _ => rng.random_range(-2.0..-1.0),
            };
            let values: Vec<f64> = (0..150_000).map(value).collect();
            let (mut scores, mut before) = (Scores::new(), 0);
            for part in values.chunks(997) {
                scores.add(before, part);
                before += part.len() as u64;
            }
            let (found, all) = (scores.dominance(), Dominance::of(&values));
            assert_eq!((found.n, found.few), (all.n, all.few), "{least} {greatest}");
            // Of 100 000 of 150 000 the median's rank has the standard error √(1/4 / 1e5 / 3) = 0.0009. Where it lies
            // between the ends, at least 4 in 10 values do, evenly over 1: 0.0023 of the value. Five of them.
            assert!((found.median - all.median).abs() < 0.012, "{least} {greatest}: {found:?} {all:?}");
            let [a, b] = [found, all].map(|one| values[one.farthest as usize]);
            assert_eq!(a, b, "{least} {greatest}");
        }
    }

    #[test]
    fn few_rows_are_all_kept_and_of_many_each_has_the_same_chance() {
        let mut few = Kept::new(2);
        let rows: Vec<f64> = (0..2000).map(f64::from).collect();
        few.add(&rows);
        few.add(&[f64::NAN, 0.0]);
        assert!(few.rows == rows && few.part().is_none());
        // 2²³ numbers of 2²¹ columns are four rows; each of 64 stays in 1 of 16 cases.
        let (d, trials) = (1 << 21, 400);
        let mut kept = Kept::new(d);
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
