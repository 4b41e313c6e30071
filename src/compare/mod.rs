//! Several models on the same data: metrics of each, and the distance of samples to the data without any density.
//!
//! [`Benchmark`] measures models; the rest are distances between two sets of points.
//!
//! Both distances take samples as they are, `[n, d]` and `[m, d]` row-major: nothing is standardised, so columns of
//! different units must be scaled first, by the same numbers in both samples. No distance of finite samples is zero for
//! a perfect model; [`floor`] gives the distance between two draws of the data themselves.
//!
//! - [`energy`]: 2E|X−Y| − E|X−X'| − E|Y−Y'|, exact and unbiased, in O(nm);
//! - [`sliced`]: Wasserstein's distance of order 2 of projections, in O(k (n log n + d n)).

pub mod energy;
mod measure;
pub mod sliced;

pub use measure::{Benchmark, Cost, Metrics};

use rand::seq::SliceRandom;

use crate::rows::Rows;
use crate::{Error, Result, Rng};

/// Rows of `d` columns in a random order: a file may be sorted.
///
/// # Errors
/// As [`floor`].
pub fn shuffled(held_out: &Rows, d: usize, rng: &mut Rng) -> Result<Rows> {
    let n = rows(&held_out.points(), d, "the held-out set", 2)?;
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(rng);
    Ok(held_out.pick(d, &order))
}

/// The statistic `f` of two random halves of the data: its value where only chance differs.
///
/// `data` is `[n, d]`; `f` gets ⌊n/2⌋ and ⌈n/2⌉ of its rows. The size of samples matters: a floor from halves is one
/// for samples of n/2 rows, so compare a model's n/2 draws with n/2 rows of the data.
///
/// # Errors
/// [`Error::Dimension`] where the last row is not whole, [`Error::Invalid`] for fewer than two rows or a number that is
/// not finite; and those of `f`, which needs two rows in each half if it is the energy distance.
pub fn floor(data: &[f64], d: usize, rng: &mut Rng, f: impl FnOnce(&[f64], &[f64]) -> Result<f64>) -> Result<f64> {
    let n = rows(data, d, "the data", 2)?;
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(rng);
    let half = |part: &[usize]| -> Vec<f64> { part.iter().flat_map(|&i| &data[i * d..(i + 1) * d]).copied().collect() };
    let (one, other) = order.split_at(n / 2);
    f(&half(one), &half(other))
}

/// How many rows a sample has: at least `least`, all whole and finite.
fn rows(points: &[f64], d: usize, what: &str, least: usize) -> Result<usize> {
    if d == 0 {
        return Err(Error::invalid(format!("{what} has no columns"), ""));
    }
    if !points.len().is_multiple_of(d) {
        return Err(Error::Dimension { what: format!("the last row of {what}"), expected: d, found: points.len() % d });
    }
    let n = points.len() / d;
    if n < least {
        return Err(Error::invalid(
            format!("{what} has {}, a distance needs at least {least}", crate::words::count(n as u64, "row")),
            "draw more rows",
        ));
    }
    if let Some(at) = points.iter().position(|v| !v.is_finite()) {
        let (row, column, value) = (at / d, at % d, points[at]);
        return Err(Error::invalid(
            format!("{what} holds {} in row {row}, column {column} (counted from 0)", crate::words::exact(value)),
            "leave such rows out of the sample, and report their number",
        ));
    }
    Ok(n)
}

/// What was computed, unless squares or sums left the range of f64.
fn in_range(value: f64) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(Error::invalid("the distances between the samples overflow", "divide both by the same large number"))
}

/// The sum along a fixed tree: the bits depend on the numbers alone.
fn tree_sum(parts: &[f64]) -> f64 {
    match parts {
        [] => 0.0,
        [one] => *one,
        _ => {
            let (left, right) = parts.split_at(parts.len() / 2);
            tree_sum(left) + tree_sum(right)
        }
    }
}
