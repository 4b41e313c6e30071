//! Rows that do not all count alike.
//!
//! n rows with weights w inform a mean as (Σ w)²/Σ w² equal ones do (Kish, *Survey sampling* (1965), section 8.2): the
//! effective number of rows.

use std::borrow::Cow;

/// Rows that a density is fitted to or scored by, and how much each counts.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// `[n, d]`, row-major.
    pub x: &'a [f64],
    /// `[n]`, each above 0, of any sum; empty where each row counts alike.
    pub weight: &'a [f64],
}

impl<'a> From<&'a [f64]> for Sample<'a> {
    fn from(x: &'a [f64]) -> Self {
        Self { x, weight: &[] }
    }
}

impl<'a> From<&'a Vec<f64>> for Sample<'a> {
    fn from(x: &'a Vec<f64>) -> Self {
        Self { x, weight: &[] }
    }
}

impl<'a, const N: usize> From<&'a [f64; N]> for Sample<'a> {
    fn from(x: &'a [f64; N]) -> Self {
        Self { x, weight: &[] }
    }
}

impl<'a> Sample<'a> {
    /// The effective number of rows, of rows of `d` columns: n where each counts alike.
    pub fn effective(&self, d: usize) -> f64 {
        if self.weight.is_empty() { (self.x.len() / d.max(1)) as f64 } else { effective(self.weight) }
    }

    /// The weights, so scaled that they add up to the effective number of rows; 1 each where all count alike.
    pub fn scaled(&self, d: usize) -> Cow<'a, [f64]> {
        if self.weight.is_empty() {
            return Cow::Owned(vec![1.0; self.x.len() / d.max(1)]);
        }
        let scale = effective(self.weight) / self.weight.iter().sum::<f64>();
        Cow::Owned(self.weight.iter().map(|w| w * scale).collect())
    }

    /// Some of the rows, `[rows.len(), d]`, and their weights.
    pub fn pick(&self, d: usize, rows: &[usize]) -> (Vec<f64>, Vec<f64>) {
        let x = rows.iter().flat_map(|i| &self.x[i * d..(i + 1) * d]).copied().collect();
        let weight = if self.weight.is_empty() { Vec::new() } else { rows.iter().map(|i| self.weight[*i]).collect() };
        (x, weight)
    }
}

/// (Σ w)²/Σ w², for weights of any scale; 0 of none.
pub fn effective(weights: &[f64]) -> f64 {
    // In parts of the greatest, lest a square leave the range.
    let most = weights.iter().copied().fold(0.0, f64::max);
    let (sum, square) =
        weights.iter().fold((0.0, 0.0), |(sum, square), w| (sum + w / most, square + (w / most).powi(2)));
    if most > 0.0 { sum * sum / square } else { 0.0 }
}

/// The mean Σ w v / Σ w of finite `values` and its standard error √(n/(n − 1) Σ w² (v − mean)²) / Σ w, as for equal
/// weights, which `weights` that are empty stand for.
///
/// The error is that of a ratio of two means to first order: Owen, *Monte Carlo theory, methods and examples* (2013),
/// section 9.2.
pub fn weighted_mean_and_se(values: &[f64], weights: &[f64]) -> (f64, f64) {
    if weights.is_empty() {
        return super::mean_and_se(values);
    }
    let most = weights.iter().copied().fold(0.0, f64::max);
    let total = weights.iter().map(|w| w / most).sum::<f64>();
    let mean = values.iter().zip(weights).map(|(v, w)| w / most * v).sum::<f64>() / total;
    let square = values.iter().zip(weights).map(|(v, w)| (w / most * (v - mean)).powi(2)).sum::<f64>();
    let n = values.len() as f64;
    (mean, (n / (n - 1.0) * square).sqrt() / total)
}

/// How often each row is taken when `total` are drawn by their weights, in file order: total · wᵢ/Σ w times, rounded up or
/// down so that they add up. `offset`, uniform in [0, 1), decides; over it each expectation is exact.
///
/// Systematic sampling: Madow & Madow, *On the theory of systematic sampling* (1944).
pub fn counts_by_weight(weights: &[f64], total: f64, offset: f64) -> Vec<u32> {
    let whole = weights.iter().sum::<f64>();
    let (mut before, mut sum) = (0_u64, 0.0);
    let last = weights.len().saturating_sub(1);
    let one = |(i, w): (usize, &f64)| {
        sum += w;
        // The end is exact whatever the sum rounds to.
        let part = if i == last { 1.0 } else { (sum / whole).min(1.0) };
        let end = (total * part + offset).floor();
        let count = (end as u64).saturating_sub(before);
        before = before.max(end as u64);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    weights.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_weights_are_none_and_few_heavy_ones_are_few_rows() {
        assert_eq!(effective(&[3.0; 7]), 7.0);
        assert_eq!(effective(&[1e-200; 4]), 4.0);
        assert!((effective(&[1e200, 1e200, 1e-200]) - 2.0).abs() < 1e-12);
        assert_eq!(effective(&[]), 0.0);
        let x = [1.0, 2.0, 3.0, 4.0];
        assert_eq!((Sample::from(&x).effective(2), &*Sample::from(&x).scaled(2)), (2.0, &[1.0, 1.0][..]));
        let weighted = Sample { x: &x, weight: &[1.0, 3.0, 1.0, 3.0] };
        let sum: f64 = weighted.scaled(1).iter().sum();
        assert!((sum - weighted.effective(1)).abs() < 1e-12 && (sum - 64.0 / 20.0).abs() < 1e-12);
        assert_eq!(weighted.pick(1, &[3, 0]), (vec![4.0, 1.0], vec![3.0, 1.0]));
    }

    #[test]
    fn a_weighted_mean_is_that_of_repeated_rows_and_its_error_that_of_equal_ones() {
        let values = [1.0, 4.0, -2.0, 0.5];
        let repeated = [1.0, 4.0, 4.0, 4.0, -2.0, 0.5, 0.5];
        let (mean, _) = weighted_mean_and_se(&values, &[1.0, 3.0, 1.0, 2.0]);
        assert!((mean - crate::stats::mean_and_se(&repeated).0).abs() < 1e-15);
        let ((mean, se), (plain, plain_se)) =
            (weighted_mean_and_se(&values, &[7e300; 4]), crate::stats::mean_and_se(&values));
        assert!((mean - plain).abs() < 1e-15 && (se - plain_se).abs() < 1e-15);
        assert_eq!(weighted_mean_and_se(&values, &[]), (plain, plain_se));
    }

    #[test]
    fn rows_are_taken_as_often_as_they_weigh() {
        let weights = [0.2, 3.0, 1e-9, 1.7, 0.6, 0.5];
        let total: f64 = weights.iter().sum();
        let mut mean = [0.0; 6];
        let steps = 10_000;
        for step in 0..steps {
            let counts = counts_by_weight(&weights, 6.0, (f64::from(step) + 0.5) / f64::from(steps));
            assert_eq!(counts.iter().sum::<u32>(), 6);
            for ((mean, count), w) in mean.iter_mut().zip(&counts).zip(&weights) {
                let expected = 6.0 * w / total;
                assert!((f64::from(*count) - expected).abs() < 1.0, "{count} for {expected}");
                *mean += f64::from(*count) / f64::from(steps);
            }
        }
        for (mean, w) in mean.iter().zip(&weights) {
            assert!((mean - 6.0 * w / total).abs() < 1e-3, "{mean} for {}", 6.0 * w / total);
        }
        assert_eq!(counts_by_weight(&[0.1; 9], 9.0, 0.999), [1; 9]);
        assert!(counts_by_weight(&[], 3.0, 0.5).is_empty());
        assert_eq!(counts_by_weight(&[1.0, 2.0, 1.0, 2.0], 3.0, 0.25), [0, 1, 1, 1]);
    }
}
