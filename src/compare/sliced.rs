//! The sliced Wasserstein distance of order 2: SW₂² = E_θ W₂²(θᵀX, θᵀY), θ uniform on the sphere.
//!
//! In one dimension the best coupling is the sorted one, so a slice costs two sorts. Ref: Bonneel, Rabin, Peyré &
//! Pfister (2015), *Sliced and Radon Wasserstein barycenters of measures*, J. Math. Imaging Vision 51, definition 8;
//! there the mean over the sphere is taken as here, not its supremum. For a shift by μ it is |μ|/√d, not |μ|.
//!
//! Order 2, not 1: it is that of the definition, a shift and a scaling have closed forms, and far tails weigh more,
//! which is where models fail. It is a V-statistic and has a floor: samples of one distribution are some 1/√n apart
//! ([`floor`](super::floor)).

use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::{in_range, rows, tree_sum};
use crate::{Error, Result, Rng};

/// SW₂ of two samples, in the units of the data, over `k` random directions.
///
/// `x` is `[n, d]`, `y` is `[m, d]`; n and m may differ: the quantile functions are coupled exactly, as steps. For d =
/// 1 the one direction there is gives W₂ exactly, and nothing is drawn. Otherwise the mean over directions has a
/// relative standard error in SW₂² of √(2(d−1)/(d+2)/k) for a shift, less where the difference has no direction. Pass a
/// generator in the same state for each model, and they are compared along the same directions. The same bits on any
/// number of threads.
///
/// # Errors
/// [`Error::Dimension`] where a last row is not whole, [`Error::Invalid`] for `k` = 0, a sample without rows, a number
/// that is not finite (it names the row), and where squares overflow.
pub fn sliced_wasserstein(x: &[f64], y: &[f64], d: usize, k: usize, rng: &mut Rng) -> Result<f64> {
    rows(x, d, "the first sample", 1)?;
    rows(y, d, "the second sample", 1)?;
    if k == 0 {
        return Err(Error::invalid("a sliced distance needs at least one direction", "give 100 directions or more"));
    }
    if d == 1 {
        return in_range(wasserstein_squared(x.to_vec(), y.to_vec()).sqrt());
    }
    // Drawn ahead, so that the stream does not depend on the threads.
    let directions: Vec<Vec<f64>> = (0..k).map(|_| direction(d, rng)).collect();
    let slice = |theta: &Vec<f64>| wasserstein_squared(project(x, theta), project(y, theta));
    let squares: Vec<f64> = directions.par_iter().map(slice).collect();
    in_range((tree_sum(&squares) / k as f64).sqrt())
}

/// Uniform on the sphere: a normal vector, scaled to length 1.
fn direction(d: usize, rng: &mut Rng) -> Vec<f64> {
    loop {
        let mut theta: Vec<f64> = (0..d).map(|_| StandardNormal.sample(rng)).collect();
        let length = theta.iter().map(|v| v * v).sum::<f64>().sqrt();
        // A length of zero has no direction; it comes up once in never.
        if length > 1e-100 {
            theta.iter_mut().for_each(|v| *v /= length);
            return theta;
        }
    }
}

fn project(x: &[f64], theta: &[f64]) -> Vec<f64> {
    x.chunks_exact(theta.len()).map(|row| row.iter().zip(theta).map(|(v, t)| v * t).sum()).collect()
}

/// W₂² of two samples on the line: ∫ (F⁻¹(u) − G⁻¹(u))² du of their step functions.
fn wasserstein_squared(mut x: Vec<f64>, mut y: Vec<f64>) -> f64 {
    x.sort_unstable_by(f64::total_cmp);
    y.sort_unstable_by(f64::total_cmp);
    let (n, m) = (x.len() as u64, y.len() as u64);
    // u in units of 1/(n m): the steps of x end at multiples of m, those of y at multiples of n.
    let (mut i, mut j, mut u) = (0, 0, 0);
    let mut parts = Vec::with_capacity(x.len() + y.len());
    while u < n * m {
        let ends = ((i as u64 + 1) * m, (j as u64 + 1) * n);
        let next = ends.0.min(ends.1);
        let gap = x[i] - y[j];
        parts.push((next - u) as f64 * gap * gap);
        u = next;
        i += usize::from(ends.0 == next);
        j += usize::from(ends.1 == next);
    }
    tree_sum(&parts) / (n * m) as f64
}
