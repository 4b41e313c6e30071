//! Laws of the distances between samples: closed forms, symmetry, no difference without one, the same bits.

use cnflow::compare::energy::energy_distance;
use cnflow::compare::floor;
use cnflow::compare::sliced::sliced_wasserstein;
use cnflow::stats::{mean_and_se, normal_cdf};
use cnflow::{Error, Result, Rng, rng};
use rand_distr::{Distribution, StandardNormal};

/// `[n, d]` normal draws, the first column moved by `shift`.
fn normals(n: usize, d: usize, shift: f64, rng: &mut Rng) -> Vec<f64> {
    let mut x: Vec<f64> = (0..n * d).map(|_| StandardNormal.sample(rng)).collect();
    x.iter_mut().step_by(d).for_each(|v| *v += shift);
    x
}

fn sliced(x: &[f64], y: &[f64], d: usize) -> f64 {
    sliced_wasserstein(x, y, d, 50, &mut rng::stream(5, 0)).unwrap()
}

/// The energy distance by all pairs, in one dimension too: a column of zeros changes no distance.
fn by_pairs(x: &[f64], y: &[f64], d: usize) -> f64 {
    let wider = |x: &[f64]| -> Vec<f64> { x.chunks_exact(d).flat_map(|row| [row, &[0.0]].concat()).collect() };
    energy_distance(&wider(x), &wider(y), d + 1).unwrap()
}

/// Each distance by name, with its directions fixed.
type Distance = fn(&[f64], &[f64], usize) -> f64;
const ALL: [(&str, Distance); 3] =
    [("energy", |x, y, d| energy_distance(x, y, d).unwrap()), ("energy by pairs", by_pairs), ("sliced", sliced)];

/// The mean of `f` over independent draws, with its standard error.
fn mean(repeats: u64, mut f: impl FnMut(&mut Rng) -> f64) -> (f64, f64) {
    let values: Vec<f64> = (0..repeats).map(|k| f(&mut rng::stream(17, k))).collect();
    mean_and_se(&values)
}

fn close(a: f64, b: f64, bound: f64, what: &str) {
    assert!((a - b).abs() <= bound, "{what}: {a} beside {b}, bound {bound:.1e}");
}

#[test]
fn small_samples_have_the_distances_found_by_hand() {
    // |0−0|, |0−2|, |1−0|, |1−2| have the mean 1; |0−1| = 1, |0−2| = 2.
    close(energy_distance(&[0.0, 1.0], &[0.0, 2.0], 1).unwrap(), 2.0 - 1.0 - 2.0, 1e-15, "1-D");
    // A 3-4-5 triangle and its mirror: across 0, 5, 5, 6 in the mean 4, within 5 and 5.
    let (x, y) = ([0.0, 0.0, 3.0, 4.0], [0.0, 0.0, -3.0, 4.0]);
    close(energy_distance(&x, &y, 2).unwrap(), 8.0 - 5.0 - 5.0, 1e-15, "2-D");
    // Steps at 1/2 beside steps at 1/3 and 2/3: gaps 0, 1, 0, 1 on 1/3, 1/6, 1/6, 1/3.
    close(sliced(&[1.0, 0.0], &[2.0, 0.0, 1.0], 1), 0.5f64.sqrt(), 1e-15, "W₂");
    close(sliced(&[3.0], &[-1.0], 1), 4.0, 1e-15, "W₂ of points");
}

#[test]
fn the_energy_distance_of_shifted_normals_is_its_closed_form() {
    for shift in [0.0, 0.3, 1.0, 3.0] {
        // X − Y is normal with deviation √2: |X − Y| is a folded normal, for d = 3 of the length of a vector.
        let s = 2f64.sqrt();
        let bell = s * (2.0 / std::f64::consts::PI).sqrt() * (-0.25f64 * shift * shift).exp();
        let erf = 2.0 * normal_cdf(shift / s) - 1.0;
        let zero = s * (2.0 / std::f64::consts::PI).sqrt();
        let line = 2.0 * (bell + shift * erf - zero);
        let length = if shift > 0.0 { bell + (shift + 2.0 / shift) * erf } else { 2.0 * zero };
        let space = 2.0 * (length - 2.0 * zero);
        for (d, truth) in [(1, line), (3, space)] {
            let draw = |rng: &mut Rng| {
                let (x, y) = (normals(300, d, 0.0, rng), normals(200, d, shift, rng));
                energy_distance(&x, &y, d).unwrap()
            };
            // Unbiased: the mean over repetitions lies within four of its standard errors, at a shift of zero too.
            let (value, se) = mean(60, draw);
            println!("d = {d}, shift {shift}: {value:.5} ± {se:.5}, truth {truth:.5}");
            close(value, truth, 4.0 * se, "energy");
        }
    }
}

#[test]
fn wasserstein_knows_shifts_and_scales() {
    let mut rng = rng::stream(3, 0);
    let x = normals(500, 1, 0.0, &mut rng);
    let moved: Vec<f64> = x.iter().rev().map(|v| v - 2.5).collect();
    close(sliced(&x, &moved, 1), 2.5, 1e-13, "a sample and itself, moved");
    // W₂ of N(0, 1) and N(μ, s²) is √(μ² + (1−s)²).
    let draw = |rng: &mut Rng| {
        let (x, y) = (normals(20_000, 1, 0.0, rng), normals(15_000, 1, 0.0, rng));
        sliced(&x, &y.iter().map(|v| 0.4 + 1.5 * v).collect::<Vec<_>>(), 1)
    };
    let (value, se) = mean(12, draw);
    // The V-statistic adds to W₂² some E∫(Fₙ⁻¹ − F⁻¹)² ≈ (ln ln n)/n of each sample: 4e-4 here, half as much over W₂.
    close(value, (0.4f64.powi(2) + 0.5f64.powi(2)).sqrt(), 4.0 * se + 4e-4, "two normals");

    // A shift by μ: the mean of (θ·μ)², which is |μ|²/d with the variance |μ|⁴ 2(d−1)/(d²(d+2)) of a direction.
    for d in [2, 3, 7] {
        let (k, shift, dim) = (4000, 1.7, d as f64);
        let x = normals(40, d, 0.0, &mut rng);
        let moved: Vec<f64> = x.iter().enumerate().map(|(i, v)| if i % d == 0 { v + shift } else { *v }).collect();
        let value = sliced_wasserstein(&x, &moved, d, k, &mut rng).unwrap();
        let se = shift * shift * (2.0 * (dim - 1.0) / (dim * dim * (dim + 2.0)) / k as f64).sqrt();
        close(value * value, shift * shift / dim, 4.0 * se, "a shift in many dimensions");
    }
}

#[test]
fn distances_are_symmetric_and_know_no_order_of_rows() {
    let mut rng = rng::stream(8, 0);
    for d in [1, 2, 5] {
        let (x, y) = (normals(333, d, 0.2, &mut rng), normals(150, d, 0.0, &mut rng));
        let back: Vec<f64> = x.chunks(d).rev().flatten().copied().collect();
        let twice = [&*x, &*x].concat();
        for (name, f) in ALL {
            let value = f(&x, &y, d);
            // Sums of some 1e5 numbers of size one, added in another order.
            close(f(&y, &x, d), value, 1e-13, name);
            close(f(&back, &y, d), value, 1e-13, name);
        }
        // As measures they are the same, so that samples of any two sizes are coupled exactly.
        close(sliced(&twice, &y, d), sliced(&x, &y, d), 1e-13, "every row twice");
        assert_eq!(sliced(&x, &back, d), 0.0);
    }
}

#[test]
fn distances_grow_with_a_shift_and_stand_out_from_their_floor() {
    let mut rng = rng::stream(21, 0);
    for d in [1, 4] {
        let data = normals(1600, d, 0.0, &mut rng);
        let draws = normals(800, d, 0.0, &mut rng);
        for (name, f) in ALL {
            let at = |shift: f64| {
                let moved: Vec<f64> =
                    draws.iter().enumerate().map(|(i, v)| if i % d == 0 { v + shift } else { *v }).collect();
                f(&data[..800 * d], &moved, d)
            };
            let values: Vec<f64> = [0.0, 0.5, 1.0, 2.0].into_iter().map(at).collect();
            assert!(values.windows(2).all(|w| w[0] < w[1]), "{name}: {values:?}");
            let chance = floor(&data, d, &mut rng, |a, b| Ok(f(a, b, d))).unwrap();
            println!("{name}, d = {d}: floor {chance:.4}, shifts {values:.4?}");
            // Half a deviation of 800 rows is ten standard errors of a mean.
            assert!(values[1] > 3.0 * chance.abs(), "{name}: {values:?} over {chance}");
        }
    }
}

#[test]
fn a_floor_halves_the_rows_whole() {
    let data: Vec<f64> = (0..22).map(f64::from).collect();
    let mut seen = Vec::new();
    let sizes = floor(&data, 2, &mut rng::stream(1, 0), |a, b| {
        seen = [a, b].concat();
        Ok((a.len() * 100 + b.len()) as f64)
    });
    assert_eq!(sizes.unwrap(), 1012.0);
    assert!(seen.chunks(2).all(|row| row[1] == row[0] + 1.0), "{seen:?}");
    seen.sort_unstable_by(f64::total_cmp);
    assert_eq!(seen, data);
}

#[test]
fn in_one_dimension_sorting_finds_what_all_pairs_find() {
    let mut rng = rng::stream(13, 0);
    // Ties, within a sample and between both, and a place far from zero.
    for (n, m, grain, offset) in [(2, 2, 0.0, 0.0), (700, 1300, 0.0, 0.0), (300, 200, 0.5, 0.0), (400, 90, 0.0, 1e6)] {
        let mut draw = |n| -> Vec<f64> {
            let x = normals(n, 1, 0.1, &mut rng);
            x.into_iter().map(|v| offset + if grain > 0.0 { (v / grain).round() * grain } else { v }).collect()
        };
        let (x, y) = (draw(n), draw(m));
        let (fast, slow) = (energy_distance(&x, &y, 1).unwrap(), by_pairs(&x, &y, 1));
        // Differences are exact to the data's own rounding, which both see alike; sums to some 1e-13.
        close(fast, slow, 1e-12, "sorted");
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let mut rng = rng::stream(34, 0);
    for d in [1, 3] {
        let (x, y) = (normals(1000, d, 0.3, &mut rng), normals(777, d, 0.0, &mut rng));
        for (name, f) in ALL {
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| f(&x, &y, d)).to_bits()
            };
            assert_eq!(on(1), on(2), "{name}, d = {d}");
        }
    }
}

#[test]
fn what_is_no_sample_is_refused_with_its_place() {
    let good = [0.0, 1.0, 2.0, 3.0];
    type Fallible = fn(&[f64], &[f64], usize) -> Result<f64>;
    let distances: [(&str, Fallible); 2] =
        [("energy", energy_distance), ("sliced", |x, y, d| sliced_wasserstein(x, y, d, 9, &mut rng::stream(0, 0)))];
    for (name, f) in distances {
        for bad in [f64::NAN, f64::INFINITY] {
            let words = f(&good, &[0.0, 0.0, 1.0, bad], 2).unwrap_err().to_string();
            assert!(words.contains("second sample") && words.contains("row 1, column 1"), "{name}: {words}");
        }
        assert!(matches!(f(&good[..3], &good, 2), Err(Error::Dimension { expected: 2, found: 1, .. })), "{name}");
        assert!(f(&good, &[], 2).unwrap_err().to_string().contains("0 rows"), "{name}");
        assert!(f(&good, &good, 0).is_err(), "{name}");
        let far = [1e200, 0.0, -1e200, 0.0];
        assert!(f(&far, &good, 2).unwrap_err().to_string().contains("overflow"), "{name}");
    }
    assert!(energy_distance(&good[..2], &good, 2).is_err(), "one row has no pair");
    assert!(sliced_wasserstein(&good, &good, 2, 0, &mut rng::stream(0, 0)).is_err());
    assert!(floor(&[1.0, f64::NAN], 1, &mut rng::stream(0, 0), |_, _| Ok(0.0)).is_err());
}
