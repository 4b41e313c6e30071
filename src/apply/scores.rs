//! The log-densities of many rows in constant memory: their mean, their median, and whether few rows carry the mean.

use super::Reservoir;
use super::statistics::Mean;
use crate::stats::{Dominance, Weighted};

/// The lowest and the highest values that are all kept, each.
const EXTREMES: usize = 1024;

/// The log-densities of many rows: mean and standard error, the median, and whether few rows carry the mean.
///
/// Exact for up to 100 000 rows; beyond, the extremes are kept with their rows, and a random sample stands for the
/// rest.
#[derive(Debug)]
pub struct Scores {
    mean: Mean,
    /// Of all values, in any order.
    sample: Reservoir,
    /// Values with their rows: the lowest and the highest seen so far, and those that came since.
    outer: Vec<(f64, u64)>,
}

impl Default for Scores {
    /// None yet.
    fn default() -> Self {
        Self { mean: Mean::default(), sample: Reservoir::new(1), outer: Vec::new() }
    }
}

impl Scores {
    /// The values of the rows that come after `before` others. With `weights` of them, one each, only the mean is kept.
    pub fn add(&mut self, before: u64, values: &[f64], weights: &[f64]) {
        if !weights.is_empty() {
            values.iter().zip(weights).for_each(|(value, weight)| self.mean.add_weighted(*value, *weight));
            return;
        }
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

    /// The median, and whether few rows carry the mean; unknown of rows with weights.
    pub fn dominance(&mut self) -> Dominance {
        if self.mean.is_weighted() {
            return Dominance::UNKNOWN;
        }
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

    /// What the sample gives for the values that are not among the extremes, all of them together of their weight.
    ///
    /// Values beyond the innermost extremes are extremes themselves. Of those that are equal to one of these some are
    /// kept among the extremes, and the others are counted here.
    fn between(&self) -> Vec<Weighted> {
        let rest = (self.mean.n() - self.outer.len() as u64) as f64;
        let ends @ [(low, _), (high, _)] = [self.outer[EXTREMES - 1], self.outer[EXTREMES]];
        if low == high {
            return vec![Weighted { value: low, weight: rest, at: ends[0].1 }];
        }
        // Each sampled value stands for as many.
        let each = self.mean.n() as f64 / self.sample.rows.len() as f64;
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

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::super::statistics::KEPT_ROWS;
    use super::*;
    use crate::rng;
    use crate::transform::StandardNormal;

    #[test]
    fn scores_of_many_rows_are_those_of_all_of_them_whatever_the_blocks() {
        for n in [40usize, 3000, 250_000] {
            for far in [0.0, -1e9, -1e15] {
                let mut values = StandardNormal::new(1).draw(n, &mut rng::stream(5, n as u64));
                values[n / 2] = if far == 0.0 { values[n / 2] } else { far };
                let all = Dominance::of(&values);
                for block in [n, 997] {
                    let mut scores = Scores::default();
                    let mut before = 0;
                    for part in values.chunks(block) {
                        scores.add(before, part, &[]);
                        before += part.len() as u64;
                    }
                    let found = scores.dominance();
                    let (mean, se) = crate::stats::mean_and_se(&values);
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
        let none = Scores::default().dominance();
        assert!(none.n == 0 && none.median.is_nan() && none.few.is_none());
        // Equal values beyond the extremes.
        let mut scores = Scores::default();
        scores.add(0, &vec![2.0; 150_000], &[]);
        assert_eq!((scores.dominance().median, scores.dominance().few), (2.0, None));
    }

    #[test]
    fn weights_of_rows_make_the_weighted_mean_whatever_their_unit() {
        let values: Vec<f64> =
            StandardNormal::new(1).draw(1000, &mut rng::stream(6, 0)).iter().map(|z| 1e3 + z).collect();
        let weights: Vec<f64> =
            StandardNormal::new(1).draw(1000, &mut rng::stream(6, 1)).iter().map(|z| z.exp()).collect();
        for unit in [1.0, 1e-250, 1e250] {
            let weights: Vec<f64> = weights.iter().map(|w| w * unit).collect();
            let (mean, se) = crate::stats::weighted_mean_and_se(&values, &weights);
            let mut scores = Scores::default();
            // Rows without a value and those of weight 0 change nothing.
            scores.add(0, &[f64::NAN, -1e9], &[2.0 * unit, 0.0]);
            for (at, part) in values.chunks(77).enumerate() {
                scores.add(2 + 77 * at as u64, part, &weights[77 * at..][..part.len()]);
            }
            let found = scores.mean();
            assert!(
                (found.mean() - mean).abs() < 1e-9 && (found.se() / se - 1.0).abs() < 1e-9,
                "{found:?}: {mean} {se}"
            );
            assert!((found.effective() / crate::stats::effective(&weights) - 1.0).abs() < 1e-9);
            assert_eq!((found.n(), scores.dominance().few), (1000, None));
            assert!(scores.dominance().median.is_nan());
        }
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
            let (mut scores, mut before) = (Scores::default(), 0);
            for part in values.chunks(997) {
                scores.add(before, part, &[]);
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
}
