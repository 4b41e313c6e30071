//! The mean and covariance of rows, the Cholesky factor, and the triangular system. Matrices are `[d, d]`, row-major; d
//! is tens at most, so that plain loops are fast enough.

use rayon::prelude::*;

use super::CHUNK;

/// What a row of some weight adds to a sum.
type Summand<'a> = &'a (dyn Fn(&[f64], f64, &mut [f64]) + Sync);

/// The mean `[d]` and the covariance `[d, d]` of all rows, with their `weights` `[n]`.
pub(crate) fn moments(x: &[f64], d: usize, weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n: f64 = weights.iter().sum();
    let sum_rows = |f: Summand<'_>, len: usize| {
        let parts: Vec<Vec<f64>> = x
            .par_chunks(16 * CHUNK * d)
            .zip(weights.par_chunks(16 * CHUNK))
            .map(|(rows, weights)| {
                let mut sum = vec![0.0; len];
                rows.chunks_exact(d).zip(weights).for_each(|(row, w)| f(row, *w, &mut sum));
                sum
            })
            .collect();
        cnflow_solvers::gradient::tree_sum(parts)
    };
    let mean: Vec<f64> = sum_rows(&|row, w, sum| sum.iter_mut().zip(row).for_each(|(s, x)| *s += w * x), d)
        .into_iter()
        .map(|s| s / n)
        .collect();
    let add = |row: &[f64], w: f64, sum: &mut [f64]| {
        for i in 0..d {
            for j in 0..d {
                sum[i * d + j] += w * ((row[i] - mean[i]) * (row[j] - mean[j]));
            }
        }
    };
    let covariance = sum_rows(&add, d * d).into_iter().map(|s| s / n).collect();
    (mean, covariance)
}

/// The lower L with L Lᵀ = a; none where a is not positive definite.
pub(crate) fn cholesky(a: &[f64], d: usize) -> Option<Vec<f64>> {
    let mut l = vec![0.0; d * d];
    for i in 0..d {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| l[i * d + k] * l[j * d + k]).sum();
            let left = a[i * d + j] - dot;
            l[i * d + j] = if i == j {
                // What is below a few units of round-off of the diagonal is noise.
                if left.is_nan() || left <= 8.0 * f64::EPSILON * a[i * d + i] {
                    return None;
                }
                left.sqrt()
            } else {
                left / l[j * d + j]
            };
        }
    }
    Some(l)
}

/// u ← L⁻¹ u.
pub(crate) fn solve_lower(l: &[f64], u: &mut [f64]) {
    let d = u.len();
    for i in 0..d {
        let dot: f64 = (0..i).map(|j| l[i * d + j] * u[j]).sum();
        u[i] = (u[i] - dot) / l[i * d + i];
    }
}
