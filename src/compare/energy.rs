//! The energy distance 2E|X−Y| − E|X−X'| − E|Y−Y'|, with Euclid's norm.
//!
//! It is zero only for equal distributions, has no tuning knob, and needs first moments only. In one dimension it is
//! 2∫(F−G)² dx, Cramér's distance twice. Ref: Székely & Rizzo (2013), *Energy statistics: a class of statistics based
//! on distances*, J. Statist. Plann. Inference 143, eqs. 5 and 6.
//!
//! The estimate is the U-statistic, over pairs i ≠ j: unbiased, so it scatters about zero and may be negative where the
//! V-statistic, which counts the zeros |xᵢ−xᵢ|, would add E|X−X'|/n of bias. Its square root is therefore not taken.
//!
//! All pairs are visited, n m + n²/2 + m²/2 of them; random subsets would cost the digits that the comparison is about.
//! In one dimension sorting is enough: each gap between neighbours of the pooled sample is crossed by a known number of
//! pairs.

use rayon::prelude::*;

use super::{in_range, rows, tree_sum};
use crate::Result;

/// Rows of one piece of work; fixed, so that the sums are.
const CHUNK: usize = 64;
/// Pairs at a time: their squares stay in the nearest cache.
const BLOCK: usize = 1024;

/// The energy distance of two samples, in the units of the data; unbiased, so negative at times.
///
/// `x` is `[n, d]`, `y` is `[m, d]`, n and m at least 2. Exact, in O(d (n+m)²) on all threads (10 000 rows of two
/// columns each: some 2·10⁸ distances), in O((n+m) log(n+m)) for d = 1. The same bits on any number of threads.
///
/// # Errors
/// [`Error::Dimension`](crate::Error::Dimension) where a last row is not whole,
/// [`Error::Invalid`](crate::Error::Invalid) for fewer than two rows, for a number that is not finite (it names the
/// row), and where distances overflow.
pub fn energy_distance(x: &[f64], y: &[f64], d: usize) -> Result<f64> {
    rows(x, d, "the first sample", 2)?;
    rows(y, d, "the second sample", 2)?;
    in_range(if d == 1 { sorted(x, y) } else { pairwise(x, y, d) })
}

/// Σ over gaps of the pooled sample: its width times the weights of the pairs on both sides of it.
fn sorted(x: &[f64], y: &[f64]) -> f64 {
    let (n, m) = (x.len() as f64, y.len() as f64);
    let mut pooled: Vec<(f64, bool)> = x.iter().map(|v| (*v, true)).chain(y.iter().map(|v| (*v, false))).collect();
    pooled.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // How many of each sample lie to the left of the gap.
    let (mut a, mut b) = (0.0, 0.0);
    let gap = |pair: &[(f64, bool)]| {
        if pair[0].1 {
            a += 1.0
        } else {
            b += 1.0
        }
        let across = 2.0 * (a * (m - b) + b * (n - a)) / (n * m);
        let within = 2.0 * a * (n - a) / (n * (n - 1.0)) + 2.0 * b * (m - b) / (m * (m - 1.0));
        (pair[1].0 - pair[0].0) * (across - within)
    };
    let parts: Vec<f64> = pooled.windows(2).map(gap).collect();
    tree_sum(&parts)
}

fn pairwise(x: &[f64], y: &[f64], d: usize) -> f64 {
    let (n, m) = ((x.len() / d) as f64, (y.len() / d) as f64);
    let (tx, ty) = (columns(x, d), columns(y, d));
    let across = total(x, &ty, d, false);
    let (xx, yy) = (total(x, &tx, d, true), total(y, &ty, d, true));
    2.0 * (across / (n * m) - xx / (n * (n - 1.0)) - yy / (m * (m - 1.0)))
}

/// `[n, d]` to `[d, n]`: distances of one point to many then run along contiguous numbers.
fn columns(x: &[f64], d: usize) -> Vec<f64> {
    let n = x.len() / d;
    (0..d * n).map(|i| x[i % n * d + i / n]).collect()
}

/// Σ|xᵢ − yⱼ| over all i and j, or over i < j where both are one sample.
fn total(x: &[f64], y: &[f64], d: usize, same: bool) -> f64 {
    let chunk = |(k, rows): (usize, &[f64])| {
        let mut squares = [0.0; BLOCK];
        let row = |(i, point)| from_one(point, y, if same { k * CHUNK + i + 1 } else { 0 }, &mut squares);
        let sums: Vec<f64> = rows.chunks_exact(d).enumerate().map(row).collect();
        tree_sum(&sums)
    };
    let parts: Vec<f64> = x.par_chunks(CHUNK * d).enumerate().map(chunk).collect();
    tree_sum(&parts)
}

/// Σ|point − yⱼ| over j ≥ `first`; `y` is `[d, m]`.
fn from_one(point: &[f64], y: &[f64], first: usize, squares: &mut [f64; BLOCK]) -> f64 {
    let m = y.len() / point.len();
    // Eight sums side by side, for vectors.
    let mut sums = [0.0; 8];
    for start in (first..m).step_by(BLOCK) {
        let squares = &mut squares[..BLOCK.min(m - start)];
        squares.fill(0.0);
        for (p, column) in point.iter().zip(y.chunks_exact(m)) {
            for (s, v) in squares.iter_mut().zip(&column[start..]) {
                *s += (p - v) * (p - v);
            }
        }
        for eight in squares.chunks(8) {
            for (sum, s) in sums.iter_mut().zip(eight) {
                *sum += s.sqrt();
            }
        }
    }
    tree_sum(&sums)
}
