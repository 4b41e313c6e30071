//! The rule for one column: which of its values lie far out. And which far rows are a mode together.
//!
//! [`Far`](super::Far) has the rule in words.

use crate::stats::{few_of, robust_moments};

/// Nearer rows spoil nothing: one of them among 1000 makes a deviation larger by a fifth.
const LEAST: f64 = 20.0;
/// The chance that a column with the tail of a power law loses a row.
const CHANCE: f64 = 1e-3;
/// ξ is not taken for less, or columns of few values would have no tail at all.
const LIGHTEST: f64 = 0.2;
/// So many rows near each other are a mode: the least rows of a component of a mixture.
const GROUP: usize = 8;
/// A column of more rows than this whose greatest distance from the mean is below four of its deviations holds no far
/// rows: one in 20, all at the same place, are 4.36 deviations from the mean.
const MANY: usize = 40;
const NEAR: f64 = 4.0;

/// Where a column's rows lie.
pub(super) struct Extent {
    pub centre: f64,
    pub scale: f64,
    /// Distances from the centre beyond which held-out rows are far.
    pub most: f64,
    /// The greatest distance of a row that is not far.
    pub others: f64,
    /// The training rows that are far.
    pub far: Vec<usize>,
}

/// Where the values of a column lie, and which of those for training are far; none where nothing can be.
pub(super) fn extent(values: &[f64], held_out: &[f64]) -> Option<Extent> {
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
    let farthest = values.iter().chain(held_out).map(|v| (v - mean).abs()).fold(0.0, f64::max);
    // Where squares leave the range of f64 the deviation decides nothing.
    if n > MANY && deviation.is_finite() && farthest < NEAR * deviation {
        return None;
    }
    let (centre, scale) = robust_moments(&mut values.to_vec());
    if !(scale > 0.0 && scale.is_finite()) {
        return None;
    }
    let distance = |i: usize| (values[i] - centre).abs();
    let most = few_of(n);
    let spacings = ((2.0 * (n as f64).sqrt()) as usize).max(10).min(n / 4).max(2);
    let count = (most + spacings + 1).min(n);
    let mut order: Vec<usize> = (0..n).collect();
    let falling = |a: &usize, b: &usize| distance(*b).total_cmp(&distance(*a)).then(a.cmp(b));
    order.select_nth_unstable_by(count - 1, falling);
    order.truncate(count);
    order.sort_unstable_by(falling);
    let y: Vec<f64> = order.iter().map(|i| distance(*i)).collect();
    // ln of the factor that a gap behind the first m must exceed, times m.
    let gap = |m: usize| -> f64 {
        let tail: Vec<f64> = y[m..].iter().take(spacings + 1).copied().filter(|y| *y > 0.0).collect();
        let k = tail.len().saturating_sub(1);
        let Some(last) = tail.last().filter(|_| k > 0) else { return f64::INFINITY };
        let index = tail[..k].iter().map(|y| (y / last).ln()).sum::<f64>() / k as f64;
        let (k, chance) = (k as f64, CHANCE / ((m.max(1) * (m + 1)) as f64));
        index.max(LIGHTEST) * k * (chance.powf(-1.0 / k) - 1.0)
    };
    let is_far = |m: &usize| {
        let (last, next) = (y[m - 1], y[*m]);
        last > LEAST * scale && *m as f64 * (last / next).ln() > gap(*m)
    };
    let m = (1..=most.min(count - 1)).rev().find(is_far).unwrap_or(0);
    let beyond = y[m] * gap(m).exp();
    Some(Extent { centre, scale, most: beyond.max(LEAST * scale), others: y[m], far: order[..m].to_vec() })
}

/// Which of some rows belong to a mode: to [`GROUP`] or more rows for training that are linked, each nearer to the next
/// than half of its own distance from the centre. `places` are in deviations.
pub(super) fn modes(places: &[Vec<f64>], training: &[bool]) -> Vec<bool> {
    let n = places.len();
    let size = |a: &[f64]| a.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
    let mut group: Vec<Option<usize>> = vec![None; n];
    let mut sizes = Vec::new();
    for first in 0..n {
        if group[first].is_some() {
            continue;
        }
        let label = sizes.len();
        group[first] = Some(label);
        let (mut open, mut members) = (vec![first], 0);
        while let Some(i) = open.pop() {
            members += usize::from(training[i]);
            for j in 0..n {
                let near = || apart(&places[i], &places[j]) <= 0.5 * size(&places[i]).min(size(&places[j]));
                if group[j].is_none() && near() {
                    group[j] = Some(label);
                    open.push(j);
                }
            }
        }
        sizes.push(members);
    }
    group.into_iter().map(|label| label.is_some_and(|label| sizes[label] >= GROUP)).collect()
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;
    use crate::rng::stream;
    use rand_distr::{Cauchy, Distribution, LogNormal, StandardNormal, StudentT};

    fn draws(n: usize, law: &impl Distribution<f64>, seed: u64) -> Vec<f64> {
        law.sample_iter(stream(seed, 7)).take(n).collect()
    }

    fn far(values: &[f64]) -> Vec<usize> {
        extent(values, &[]).map_or(Vec::new(), |extent| extent.far)
    }

    #[test]
    fn honest_tails_lose_no_row_however_heavy() {
        // 2400 columns at a chance of 1e-3 each at the most: more than seven alarms have a probability of 0.003.
        let mut alarms = 0;
        for seed in 0..60 {
            for n in [30, 160, 1000, 20_000] {
                let columns = [
                    draws(n, &StandardNormal, seed),
                    draws(n, &StudentT::new(3.0).unwrap(), seed),
                    draws(n, &StudentT::new(2.0).unwrap(), seed),
                    draws(n, &Cauchy::new(0.0, 1.0).unwrap(), seed),
                    draws(n, &LogNormal::new(0.0, 1.0).unwrap(), seed),
                    draws(n, &LogNormal::new(0.0, 2.0).unwrap(), seed),
                    draws(n, &LogNormal::new(0.0, 3.0).unwrap(), seed),
                    draws(n, &rand_distr::Exp1, seed),
                    draws(n, &rand_distr::Uniform::new(0.0, 1.0).unwrap(), seed),
                    draws(n, &rand_distr::Poisson::new(0.3).unwrap(), seed),
                ];
                alarms += columns.iter().filter(|column| !far(column).is_empty()).count();
            }
        }
        assert!(alarms <= 7, "{alarms}");
    }

    #[test]
    fn a_row_from_a_hundred_deviations_on_is_found_in_any_table() {
        for seed in 0..5 {
            for n in [160, 1000, 20_000, 200_000] {
                for size in [1e2, 1e4, 1e8, 1e200] {
                    let mut values = draws(n, &StandardNormal, seed);
                    values[17] = size;
                    assert_eq!(far(&values), [17], "{n} rows, {size:e}");
                    values[n - 3] = -3.0 * size;
                    values[n / 2] = size;
                    let mut found = far(&values);
                    found.sort_unstable();
                    assert_eq!(found, [17, n / 2, n - 3], "{n} rows, three beyond {size:e}");
                    // A row that is held out, likewise.
                    let clean = draws(n, &StandardNormal, seed);
                    assert!(extent(&clean, &[size, 3.0]).unwrap().most < size);
                }
            }
        }
        // Heavier tails hide what is nearer, and nothing that is not a row of theirs.
        let mut heavy = draws(20_000, &StudentT::new(3.0).unwrap(), 1);
        heavy[5] = 1e5;
        assert_eq!(far(&heavy), [5]);
        // Atoms: more than half of the values are equal, and the column still has a scale, or none.
        let mut rng = stream(3, 0);
        let mut atoms: Vec<f64> =
            (0..4000).map(|i| if i % 10 < 7 { 0.0 } else { StandardNormal.sample(&mut rng) }).collect();
        assert!(far(&atoms).is_empty());
        atoms[9] = 1e6;
        assert_eq!(far(&atoms), [9]);
        let mut ones: Vec<f64> = (0..4000).map(|_| f64::from(u8::from(rng.random_bool(0.001)))).collect();
        ones[1] = 40.0;
        assert!(far(&ones).is_empty());
    }

    #[test]
    fn a_group_is_a_mode_and_stays() {
        let at = |x: f64, y: f64| vec![x, y];
        let mut places: Vec<Vec<f64>> = (0..8).map(|i| at(100.0 + f64::from(i), 100.0)).collect();
        places.push(at(-100.0, 0.0));
        places.push(at(100.0, 99.0));
        let mut training = vec![true; 9];
        training.push(false);
        let found = modes(&places, &training);
        assert_eq!(found, [vec![true; 8], vec![false, true]].concat());
        // Seven for training are too few, whatever was held out.
        training[0] = false;
        assert_eq!(modes(&places, &training), [false; 10]);
    }
}
