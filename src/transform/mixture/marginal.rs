//! The density of some columns alone, and that of rows with missing cells.
//!
//! Of N(m, Σ) the columns S have N(m_S, Σ_SS), and of a mixture the mixture of these with the same weights: no integral is
//! approximated. With Σ = L Lᵀ the factor of Σ_SS is the triangle of an LQ decomposition of the rows S of L, so that no
//! digits are lost by squares.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Mixture;
use crate::{Error, Result};

/// Rows that have the same cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// The columns that they have, rising.
    pub kept: Vec<usize>,
    /// The rows, rising.
    pub rows: Vec<usize>,
}

/// The rows of `x` (`[n, d]`) by the cells that they have; a missing one is NaN.
pub(crate) fn patterns(x: &[f64], d: usize) -> Vec<Pattern> {
    let mut found: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for (i, row) in x.chunks_exact(d.max(1)).enumerate() {
        let kept = (0..d).filter(|j| !row[*j].is_nan()).collect();
        found.entry(kept).or_default().push(i);
    }
    found.into_iter().map(|(kept, rows)| Pattern { kept, rows }).collect()
}

impl Pattern {
    /// The cells that its rows of `x` (`[n, d]`) have, `[rows, kept]`.
    pub fn of(&self, x: &[f64], d: usize) -> Vec<f64> {
        self.rows.iter().flat_map(|i| self.kept.iter().map(move |j| x[i * d + j])).collect()
    }
}

impl Mixture {
    /// The mixture of these columns alone, in this order.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no column, one that there is not, and one that is named twice.
    pub fn marginal(&self, kept: &[usize]) -> Result<Self> {
        let d = self.dim;
        let twice = |(i, j): (usize, &usize)| kept[..i].contains(j);
        if kept.is_empty() || kept.iter().any(|j| *j >= d) || kept.iter().enumerate().any(twice) {
            let problem = format!("the columns {kept:?} are no part of {d}");
            return Err(Error::invalid(problem, "name some of the columns, each once"));
        }
        let means = (0..self.components()).flat_map(|k| kept.iter().map(move |j| self.mean(k)[*j])).collect();
        let factors = (0..self.components()).flat_map(|k| triangle(self.factor(k), d, kept)).collect();
        Self::new(self.weights.clone(), means, factors)
    }

    /// log p of the cells that each row of `x` (`[n, d]`) has, in nats; NaN where it has none. A missing cell is NaN.
    ///
    /// # Errors
    /// As [`Mixture::marginal`].
    pub fn log_prob_present(&self, x: &[f64]) -> Result<Vec<f64>> {
        let d = self.dim;
        let mut all = vec![f64::NAN; x.len() / d];
        let scored: Vec<(Pattern, Vec<f64>)> = patterns(x, d)
            .into_par_iter()
            .filter(|pattern| !pattern.kept.is_empty())
            .map(|pattern| {
                let logs = self.marginal(&pattern.kept)?.log_prob_rows(&pattern.of(x, d));
                Ok((pattern, logs))
            })
            .collect::<Result<_>>()?;
        for (pattern, logs) in scored {
            pattern.rows.iter().zip(logs).for_each(|(row, log)| all[*row] = log);
        }
        Ok(all)
    }
}

/// The lower triangle R with R Rᵀ = A Aᵀ, where A are some rows of the lower triangle L (`[d, d]`): by modified
/// Gram-Schmidt on the rows, each made orthogonal twice.  Ref: Giraud, Langou & Rozložník (2005).
fn triangle(l: &[f64], d: usize, rows: &[usize]) -> Vec<f64> {
    let o = rows.len();
    let mut r = vec![0.0; o * o];
    let mut directions: Vec<Vec<f64>> = Vec::with_capacity(o);
    for (i, row) in rows.iter().enumerate() {
        let mut left = l[row * d..(row + 1) * d].to_vec();
        for _ in 0..2 {
            for (j, direction) in directions.iter().enumerate() {
                let along: f64 = left.iter().zip(direction).map(|(a, q)| a * q).sum();
                left.iter_mut().zip(direction).for_each(|(a, q)| *a -= along * q);
                r[i * o + j] += along;
            }
        }
        let most = left.iter().fold(0.0, |most: f64, a| most.max(a.abs()));
        // In parts of the largest, lest a square leave the range.
        let length = if most > 0.0 { most * left.iter().map(|a| (a / most).powi(2)).sum::<f64>().sqrt() } else { 0.0 };
        r[i * o + i] = length;
        directions.push(left.into_iter().map(|a| a / length).collect());
    }
    r
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Mixture {
        let factors = vec![1.0, 0.0, 0.0, 0.5, 2.0, 0.0, -0.3, 0.7, 0.4, 0.8, 0.0, 0.0, 0.1, 0.6, 0.0, 0.9, -0.2, 1.1];
        Mixture::new(vec![0.3, 0.7], vec![0.0, 1.0, -1.0, 2.0, 0.5, 0.0], factors).unwrap()
    }

    #[test]
    fn a_marginal_has_the_means_and_covariances_of_its_columns() {
        let mixture = two();
        let covariance = |m: &Mixture, k: usize, i: usize, j: usize| -> f64 {
            let d = m.dim();
            (0..d).map(|a| m.factor(k)[i * d + a] * m.factor(k)[j * d + a]).sum()
        };
        for kept in [&[0][..], &[2], &[0, 2], &[2, 0], &[1, 2], &[0, 1, 2], &[2, 1, 0]] {
            let part = mixture.marginal(kept).unwrap();
            for k in 0..2 {
                for (a, i) in kept.iter().enumerate() {
                    assert_eq!(part.mean(k)[a], mixture.mean(k)[*i]);
                    for (b, j) in kept.iter().enumerate() {
                        let (found, wanted) = (covariance(&part, k, a, b), covariance(&mixture, k, *i, *j));
                        assert!((found - wanted).abs() < 1e-14, "{kept:?}: {found} for {wanted}");
                    }
                }
            }
        }
        assert!(
            mixture.marginal(&[]).is_err() && mixture.marginal(&[3]).is_err() && mixture.marginal(&[1, 1]).is_err()
        );
    }

    #[test]
    fn present_cells_have_the_integral_over_the_missing_ones() {
        let mixture = two();
        let nan = f64::NAN;
        let x = [0.3, nan, -0.5, nan, nan, 1.0, 0.1, 0.2, 0.3, nan, nan, nan];
        let found = mixture.log_prob_present(&x).unwrap();
        // The midpoint rule over ±40, of a smooth density that vanishes there.
        let (n, low, high) = (8000, -40.0, 40.0);
        let h = (high - low) / n as f64;
        let at = |i: usize| low + h * (i as f64 + 0.5);
        let one: Vec<f64> = (0..n).flat_map(|i| [0.3, at(i), -0.5]).collect();
        let wanted = (h * mixture.log_prob_rows(&one).iter().map(|l| l.exp()).sum::<f64>()).ln();
        assert!((found[0] - wanted).abs() < 1e-10, "{} for {wanted}", found[0]);
        let normal = |m: f64, v: f64| (-0.5 * (1.0 - m).powi(2) / v).exp() / (std::f64::consts::TAU * v).sqrt();
        let wanted = (0.3 * normal(-1.0, 0.09 + 0.49 + 0.16) + 0.7 * normal(0.0, 0.81 + 0.04 + 1.21)).ln();
        assert!((found[1] - wanted).abs() < 1e-13, "{} for {wanted}", found[1]);
        assert_eq!(found[2].to_bits(), mixture.log_prob_rows(&x[6..9])[0].to_bits());
        assert!(found[3].is_nan());
    }
}
