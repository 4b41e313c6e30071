//! Where EM begins: centres drawn far from each other, and the rows nearest to each.
//!
//! k-means++: a centre is drawn with probability proportional to the squared distance to the nearest one so far. On a
//! part of the rows where there are many.  Ref: Arthur & Vassilvitskii (2007).

use rand::Rng as _;
use rand::seq::index;
use rayon::prelude::*;

use super::effort::{Effort, EmOptions, cost_of_prior, cost_of_step};
use super::em::Em;
use crate::stats::Sample;
use crate::transform::Mixture;
use crate::transform::mixture::lanes::LANES;
use crate::{Result, Rng};

/// Rows for each component of which the start is made, and the least number of them.
const SHARE: usize = 32;
const LEAST: usize = 8192;
/// Rounds of k-means before EM.
const ROUNDS: usize = 3;
/// Iterations of EM on each part before four times as many rows are used.
const WARM: usize = 12;

/// The rows, and their weights, in an order in which neighbours are near each other: halved at the median of the widest column, and so on.
/// Blocks of rows then share their components, and pass the others by.
pub(crate) fn neighbours(rows: Sample<'_>, d: usize) -> (Vec<f64>, Vec<f64>) {
    fn halve(x: &[f64], d: usize, rows: &mut [usize]) {
        if rows.len() <= LANES {
            rows.sort_unstable();
            return;
        }
        let extent = |j: usize| {
            let of = |start: f64, pick: fn(f64, f64) -> f64| rows.iter().fold(start, |e, i| pick(e, x[i * d + j]));
            of(f64::NEG_INFINITY, f64::max) - of(f64::INFINITY, f64::min)
        };
        let widest = (0..d).map(|j| (j, extent(j))).fold((0, -1.0), |best, e| if e.1 > best.1 { e } else { best }).0;
        // Whole blocks on the left.
        let middle = (rows.len() / 2).next_multiple_of(LANES).min(rows.len() - 1);
        let key = |i: &usize| x[i * d + widest];
        rows.select_nth_unstable_by(middle, |a, b| key(a).total_cmp(&key(b)).then(a.cmp(b)));
        let (left, right) = rows.split_at_mut(middle);
        rayon::join(|| halve(x, d, left), || halve(x, d, right));
    }
    let mut order: Vec<usize> = (0..rows.x.len().checked_div(d).unwrap_or(0)).collect();
    halve(rows.x, d, &mut order);
    rows.pick(d, &order)
}

/// A first mixture for the rows: from clusters of a part of them, and EM on that part and on ones four times
/// larger, as long as they are much less than all. EM takes tens of iterations from clusters to Gaussians; on few rows
/// they cost little.
pub(crate) fn start(
    em: &Em<'_>,
    rows: Sample<'_>,
    dim: usize,
    options: &EmOptions,
    rng: &mut Rng,
    effort: &mut Effort<'_>,
) -> Result<Mixture> {
    let (x, n, k) = (rows.x, rows.x.len() / dim, options.components);
    if k == 1 {
        let mean: Vec<f64> = (0..dim).map(|j| x.iter().skip(j).step_by(dim).sum::<f64>() / n as f64).collect();
        effort.spend(cost_of_step(n, 1, dim));
        return em.assigned(1, &mean, &vec![0; n]);
    }
    let least = LEAST.max(SHARE * k);
    if n <= 2 * least {
        effort.spend(cost_of_clusters(n, k, dim));
        return clusters(em, rows, dim, k, rng);
    }
    let mut mixture = None;
    let mut most = least;
    while 2 * most < n {
        let mut chosen = index::sample(rng, n, most).into_vec();
        chosen.sort_unstable();
        let (part, weight) = rows.pick(dim, &chosen);
        let part = Sample { x: &part, weight: &weight };
        effort.spend(cost_of_prior(most, dim));
        let few = Em::new(part, dim, k, options.strength)?.diagonal(options.diagonal);
        let first = match mixture {
            None => {
                effort.spend(cost_of_clusters(most, k, dim));
                clusters(&few, part, dim, k, rng)?
            }
            Some(mixture) => mixture,
        };
        mixture = Some(few.climb_within(first, WARM, options.tolerance, effort)?);
        most *= 4;
    }
    mixture.map_or_else(|| clusters(em, rows, dim, k, rng), Ok)
}

/// What [`clusters`] cost, in multiplications: the centres, and so many rounds.
pub(crate) fn cost_of_clusters(n: usize, k: usize, d: usize) -> f64 {
    ((2 + ROUNDS) * n * k) as f64 * d as f64 + (n * d * d) as f64
}

fn clusters(em: &Em<'_>, rows: Sample<'_>, d: usize, k: usize, rng: &mut Rng) -> Result<Mixture> {
    let (x, weights) = (rows.x, rows.scaled(d));
    // Distances in units of each column's own deviation.
    let inverse: Vec<f64> = (0..d).map(|j| 1.0 / em.prior()[j * d + j]).collect();
    let squared =
        |a: &[f64], b: &[f64]| a.iter().zip(b).zip(&inverse).map(|((a, b), s)| (a - b).powi(2) * s).sum::<f64>();
    let n = x.len() / d;
    let row = |i: usize| &x[i * d..(i + 1) * d];
    let mut centres = row(rng.random_range(0..n)).to_vec();
    let mut nearest = vec![f64::INFINITY; n];
    while centres.len() < k * d {
        let last = &centres[centres.len() - d..];
        nearest.par_chunks_mut(1024).zip(x.par_chunks(1024 * d)).for_each(|(nearest, rows)| {
            nearest.iter_mut().zip(rows.chunks_exact(d)).for_each(|(near, row)| *near = near.min(squared(row, last)));
        });
        let total: f64 = nearest.iter().zip(&*weights).map(|(near, w)| w * near).sum();
        let mut left = rng.random::<f64>() * total;
        let drawn = nearest.iter().zip(&*weights).position(|(near, w)| {
            left -= w * near;
            left < 0.0
        });
        // Where every row is a centre already, any will do.
        let drawn = drawn.unwrap_or_else(|| rng.random_range(0..n));
        centres.extend_from_slice(row(drawn));
    }
    let assign = |centres: &[f64]| -> Vec<u32> {
        let closest = |row: &[f64]| {
            let distances = centres.chunks_exact(d).map(|centre| squared(row, centre));
            let best =
                distances.enumerate().fold((0, f64::INFINITY), |best, (k, s)| if s < best.1 { (k, s) } else { best });
            best.0 as u32
        };
        x.par_chunks(d).map(closest).collect()
    };
    let mut owners = assign(&centres);
    for _ in 0..ROUNDS {
        let mut sums = vec![0.0; k * d];
        let mut counts = vec![0.0; k];
        for ((owner, row), w) in owners.iter().zip(x.chunks_exact(d)).zip(&*weights) {
            let at = *owner as usize;
            counts[at] += w;
            sums[at * d..(at + 1) * d].iter_mut().zip(row).for_each(|(sum, x)| *sum += w * x);
        }
        for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            (0..d).for_each(|j| centres[at * d + j] = sums[at * d + j] / count);
        }
        owners = assign(&centres);
    }
    em.assigned(k, &centres, &owners)
}
