//! Laws of the pairing: a permutation always, and a least one, by all permutations of few rows and by the prices of
//! many.

use cnflow::rows::toys;
use cnflow::train::{assign, assign_with_prices, pair};
use cnflow::transform::StandardNormal;
use cnflow::{Rng, rng};
use rand::Rng as _;

/// Families of matrices: a name, and how to draw one of n rows.
type Family = (&'static str, fn(usize, &mut Rng) -> Vec<f32>);

fn each(n: usize, rng: &mut Rng, draw: impl Fn(&mut Rng) -> f64) -> Vec<f32> {
    (0..n * n).map(|_| draw(rng) as f32).collect()
}

/// |x − z|² of points in the plane.
fn squares(x: &[f64], z: &[f64]) -> Vec<f32> {
    let square = |x: &[f64], z: &[f64]| ((x[0] - z[0]).powi(2) + (x[1] - z[1]).powi(2)) as f32;
    x.chunks_exact(2).flat_map(|x| z.chunks_exact(2).map(move |z| square(x, z))).collect()
}

const FAMILIES: &[Family] = &[
    ("even", |n, rng| each(n, rng, |rng| rng.random())),
    ("of both signs", |n, rng| each(n, rng, |rng| rng.random_range(-1.0..1.0))),
    ("ties", |n, rng| each(n, rng, |rng| f64::from(rng.random_range(0..3_u8)))),
    ("mostly zero", |n, rng| each(n, rng, |rng| f64::from(rng.random_range(0..8_u8) / 7))),
    ("zero", |n, _| vec![0.0; n * n]),
    ("all the same", |n, _| vec![-7.25; n * n]),
    ("24 decades", |n, rng| each(n, rng, |rng| 10f64.powf(rng.random_range(-12.0..12.0)))),
    ("tiny", |n, rng| each(n, rng, |rng| 1e-36 * rng.random::<f64>())),
    ("huge", |n, rng| each(n, rng, |rng| 1e34 * rng.random::<f64>())),
    ("a column that all want", |n, rng| {
        let mut cost = each(n, rng, |rng| 1.0 + rng.random::<f64>());
        cost.chunks_exact_mut(n).for_each(|row| row[n / 2] *= 1e-3);
        cost
    }),
    // c = a + b: every permutation costs the same.
    ("sums", |n, rng| {
        let (a, b) = (each(n, rng, |rng| rng.random()), each(n, rng, |rng| rng.random()));
        (0..n * n).map(|k| a[k / n] + b[k % n]).collect()
    }),
    ("points", |n, rng| {
        let normal = StandardNormal::new(2);
        squares(&(toys::find("8gaussians").unwrap().sample)(n, rng), &normal.draw(n, rng))
    }),
    ("points on a lattice", |n, rng| {
        let mut draw = || (0..2 * n).map(|_| f64::from(rng.random_range(0..3_u8))).collect::<Vec<_>>();
        squares(&draw(), &draw())
    }),
    ("one point many times", |n, rng| squares(&vec![0.3; 2 * n], &StandardNormal::new(2).draw(n, rng))),
];

fn total(cost: &[f32], column: &[u32]) -> f64 {
    let n = column.len();
    column.iter().enumerate().map(|(i, j)| f64::from(cost[i * n + *j as usize])).sum()
}

fn is_permutation(column: &[u32]) -> bool {
    let mut sorted = column.to_vec();
    sorted.sort_unstable();
    sorted.iter().copied().eq(0..column.len() as u32)
}

/// The largest magnitude.
fn most(cost: &[f32]) -> f64 {
    cost.iter().map(|c| f64::from(c.abs())).fold(0.0, f64::max)
}

/// The least total over all permutations of the columns from `k` on.
fn by_hand(cost: &[f32], column: &mut Vec<u32>, k: usize) -> f64 {
    let n = column.len();
    if k == n {
        return total(cost, column);
    }
    let mut best = f64::INFINITY;
    for other in k..n {
        column.swap(k, other);
        best = best.min(by_hand(cost, column, k + 1));
        column.swap(k, other);
    }
    best
}

#[test]
fn no_permutation_of_few_rows_costs_less() {
    for (name, draw) in FAMILIES {
        for n in 1..=7 {
            for seed in 0..if n < 7 { 40 } else { 8 } {
                let cost = draw(n, &mut rng::stream(seed, n as u64));
                let column = assign(&cost, n);
                assert!(is_permutation(&column), "{name}, {n}: {column:?}");
                let best = by_hand(&cost, &mut (0..n as u32).collect(), 0);
                // Prices are sums and differences of a few costs in f32; integers that differ, differ by more.
                let off = total(&cost, &column) - best;
                assert!(off <= 1e-6 * most(&cost) * n as f64, "{name}, {n}, seed {seed}: {off} above {best}");
            }
        }
    }
}

#[test]
fn prices_prove_that_no_permutation_of_many_rows_costs_less() {
    for (name, draw) in FAMILIES {
        for n in [8, 9, 31, 33, 64, 100, 257] {
            let cost = draw(n, &mut rng::stream(1, n as u64));
            let (column, v) = assign_with_prices(&cost, n);
            assert!(is_permutation(&column), "{name}, {n}");
            let reduced = |i: usize, j: usize| f64::from(cost[i * n + j]) - f64::from(v[j]);
            let slack = |i: usize| {
                let least = (0..n).map(|j| reduced(i, j)).fold(f64::INFINITY, f64::min);
                reduced(i, column[i] as usize) - least
            };
            // A price is rounded to an ulp, 6e-8 of the largest cost, by each of the few paths that change it.
            let worst = (0..n).map(slack).fold(0.0, f64::max);
            assert!(worst <= 1e-6 * most(&cost), "{name}, {n}: {worst}");
            assert_eq!(assign(&cost, n), column);
        }
    }
}

#[test]
fn what_is_not_finite_still_ends_in_a_permutation() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN];
    for n in [2, 3, 9, 40] {
        for value in odd {
            for share in [0.02, 0.5, 1.0] {
                let mut rng = rng::stream(2, n as u64);
                let mut cost = each(n, &mut rng, |rng| rng.random());
                cost.iter_mut().filter(|_| rng.random_bool(share)).for_each(|c| *c = value);
                assert!(is_permutation(&assign(&cost, n)), "{n} rows, {share} of {value}");
            }
        }
        let mut rng = rng::stream(3, n as u64);
        let mixed: Vec<f32> = (0..n * n).map(|_| odd[rng.random_range(0..odd.len())]).collect();
        assert!(is_permutation(&assign(&mixed, n)), "{n} rows");
    }
    assert!(assign(&[], 0).is_empty());
    assert_eq!(assign(&[f32::NAN], 1), [0]);
}

#[test]
fn in_one_dimension_equal_ranks_go_together() {
    for n in [1, 2, 7, 64, 200] {
        let mut rng = rng::stream(4, n as u64);
        let x: Vec<f64> = (0..n).map(|_| 10.0 * rng.random::<f64>().powi(3)).collect();
        let mut z = StandardNormal::new(1).draw(n, &mut rng);
        let cost: Vec<f32> = x.iter().flat_map(|x| z.iter().map(move |z| (x - z).powi(2) as f32)).collect();
        let least = total(&cost, &assign(&cost, n));
        // In blocks or not, the whole batch is sorted.
        pair(&x, &mut z, 1, 16);
        let sorted: f64 = x.iter().zip(&z).map(|(x, z)| (x - z).powi(2)).sum();
        assert!((least - sorted).abs() <= 1e-6 * most(&cost) * n as f64, "{n}: {least} against {sorted}");
        let ordered = (0..n).all(|i| (0..n).all(|j| x[i] >= x[j] || z[i] <= z[j]));
        assert!(ordered, "{n}");
    }
}

fn sum_of_squares(x: &[f64], z: &[f64]) -> f64 {
    x.iter().zip(z).map(|(x, z)| (x - z).powi(2)).sum()
}

/// Rows of data of so many dimensions, and latents.
fn rows(n: usize, d: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let mut rng = rng::stream(seed, d as u64);
    let skewed = StandardNormal::new(d).draw(n, &mut rng).into_iter().map(|v| (0.7 * v).exp() - 1.0).collect();
    (skewed, StandardNormal::new(d).draw(n, &mut rng))
}

#[test]
fn a_batch_is_paired_block_by_block_at_the_least_cost() {
    for (n, d, block) in [(256, 2, 64), (130, 2, 64), (100, 3, 100), (50, 2, 1000), (40, 17, 16), (5, 2, 1), (0, 2, 8)]
    {
        let (x, before) = rows(n, d, 5);
        let mut after = before.clone();
        pair(&x, &mut after, d, block);
        let blocks = x.chunks(block * d).zip(before.chunks(block * d)).zip(after.chunks(block * d));
        for ((x, before), after) in blocks {
            let sorted = |z: &[f64]| {
                let mut rows: Vec<Vec<f64>> = z.chunks_exact(d).map(<[f64]>::to_vec).collect();
                rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
                rows
            };
            assert_eq!(sorted(before), sorted(after));
            let squares = |i: usize, j: usize| sum_of_squares(&x[i * d..][..d], &before[j * d..][..d]) as f32;
            let m = x.len() / d;
            let cost: Vec<f32> = (0..m * m).map(|k| squares(k / m, k % m)).collect();
            let (least, found) = (total(&cost, &assign(&cost, m)), sum_of_squares(x, after));
            assert!((found - least).abs() <= 1e-5 * least, "{n} rows of {d}: {found} against {least}");
        }
    }
}

#[test]
fn the_pairing_depends_on_neither_threads_nor_units() {
    let (x, z) = rows(1024, 2, 6);
    let on = |threads: usize, x: &[f64]| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut z = z.clone();
        pool.install(|| pair(x, &mut z, 2, 256));
        z
    };
    let one = on(1, &x);
    assert!([1, 2, 3].into_iter().all(|threads| on(threads, &x) == one));
    // The same scale for all columns changes no pair: of two that differ by less than the round-off either is taken.
    let far: Vec<f64> = x.iter().map(|x| 1e6 + 1e3 * x).collect();
    let (found, least) = (sum_of_squares(&x, &on(1, &far)), sum_of_squares(&x, &one));
    // Costs are f32 and centred: their round-off of 6e-8, in two cost matrices.
    assert!((found - least).abs() < 1e-6 * least, "{found} against {least}");
    let unpaired = sum_of_squares(&x, &z);
    assert!(least < 0.6 * unpaired, "{least} of {unpaired}");
}

#[test]
fn a_batch_with_a_hole_is_still_permuted() {
    let (mut x, before) = rows(64, 2, 7);
    (x[3], x[40]) = (f64::NAN, f64::INFINITY);
    let mut after = before.clone();
    pair(&x, &mut after, 2, 32);
    let sum = |z: &[f64]| z.iter().map(|z| (z * 1e6).round()).sum::<f64>();
    assert!(after != before && sum(&after) == sum(&before));
}
