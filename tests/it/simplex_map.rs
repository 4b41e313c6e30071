//! The map from the parts of a whole to log-ratios: there and back, its determinant, its columns, and rows that are closed.

use cnflow::rng::stream;
use cnflow::transform::{Closing, Simplex, Simplexes, StandardNormal};
use nalgebra::DMatrix;

fn parts(places: &[usize], total: f64, dim: usize) -> Simplexes {
    Simplexes::new(vec![Simplex { places: places.to_vec(), total }], dim).unwrap()
}

/// Rows of k parts that sum to the total.
fn rows(n: usize, k: usize, total: f64) -> Vec<f64> {
    let z = StandardNormal::new(k).draw(n, &mut stream(7, k as u64));
    let one = |z: &[f64]| {
        let sum: f64 = z.iter().map(|z| z.exp()).sum();
        z.iter().map(|z| total * z.exp() / sum).collect::<Vec<_>>()
    };
    z.chunks_exact(k).flat_map(one).collect()
}

#[test]
fn there_and_back_is_the_same_and_the_determinant_is_that_of_central_differences() {
    for (k, total) in [(2, 1.0), (3, 100.0), (4, 1.0), (7, 0.3)] {
        let map = parts(&(0..k).collect::<Vec<_>>(), total, k);
        let x = rows(20, k, total);
        let (y, logs) = map.inward(&x);
        let (back, logs_back) = map.outward(&y);
        assert!(back.iter().zip(&x).all(|(a, b)| (a / b - 1.0).abs() < 1e-13), "{k}");
        for (row, (y, log)) in x.chunks_exact(k).zip(y.chunks_exact(k - 1).zip(&logs)) {
            // The formula by itself, and the basis.
            let sum: f64 = row.iter().map(|x| x.ln()).sum();
            assert!((log - (total.ln() - sum - 0.5 * (k as f64).ln())).abs() < 1e-12);
            let norm: f64 = row.iter().map(|x| (x.ln() - sum / k as f64).powi(2)).sum();
            assert!((y.iter().map(|y| y * y).sum::<f64>() - norm).abs() < 1e-11, "the log-ratios are isometric");
            // By the first parts, the last being what is left of the total.
            let moved = |i: usize, step: f64| {
                let mut row = row.to_vec();
                row[i] += step;
                row[k - 1] -= step;
                map.inward(&row).0
            };
            let least = row.iter().copied().fold(f64::INFINITY, f64::min);
            let h = 1e-5 * least;
            let slope = |j: usize, i: usize| (moved(i, h)[j] - moved(i, -h)[j]) / (2.0 * h);
            let jacobian = DMatrix::from_fn(k - 1, k - 1, slope);
            assert!((jacobian.determinant().abs().ln() - log).abs() < 1e-6, "{k}: {log}");
        }
        assert!(logs.iter().zip(&logs_back).all(|(a, b)| (a + b).abs() < 1e-11), "{k}");
        let sums = back.chunks_exact(k).map(|row| row.iter().sum::<f64>() / total - 1.0);
        assert!(sums.into_iter().all(|off| off.abs() < 1e-14), "{k}");
    }
}

#[test]
fn rounded_rows_are_closed_and_others_are_outside() {
    let map = parts(&[2, 0, 1], 1.0, 4);
    let row = [0.3, 0.5, 0.2, -7.0];
    let (exact, log) = map.inward(&row);
    assert_eq!(exact.len(), 3);
    let scaled = |by: f64| [0.3 * by, 0.5 * by, 0.2 * by, -7.0];
    let (close, close_log) = map.inward(&scaled(1.004));
    assert!(exact.iter().zip(&close).all(|(a, b)| (a - b).abs() < 1e-14) && (log[0] - close_log[0]).abs() < 1e-13);
    let nothing: [(&[f64], f64); 5] = [
        (&scaled(1.006), f64::NEG_INFINITY),
        (&[0.0, 0.8, 0.2, 1.0], f64::NEG_INFINITY),
        (&[-0.1, 0.9, 0.2, 1.0], f64::NEG_INFINITY),
        (&[f64::INFINITY, 0.9, 0.2, 1.0], f64::NEG_INFINITY),
        (&[0.3, f64::NAN, 0.2, 1.0], f64::NAN),
    ];
    for (row, log) in nothing {
        let (y, found) = map.inward(row);
        assert!(found[0] == log || (found[0].is_nan() && log.is_nan()), "{row:?}: {found:?}");
        assert!(y.iter().any(|y| y.is_nan()), "{row:?}");
    }
}

#[test]
fn a_total_is_the_median_or_the_whole_number_next_to_it() {
    let fit = |sums: &[f64]| {
        let rows: Vec<f64> = sums.iter().flat_map(|s| [0.25 * s, 0.75 * s]).collect();
        Simplex::fit(vec![0, 1], &rows, 2).unwrap().total
    };
    assert_eq!(fit(&[1.0, 1.0 + 1e-7, 1.0 - 1e-7]), 1.0);
    assert_eq!(fit(&[100.1, 99.9, 100.0]), 100.0);
    assert_eq!(fit(&[0.3, 0.3, 0.301]), 0.3);
    assert_eq!(fit(&[1.0 + 1e-4; 3]), 1.0 + 1e-4);
    assert!(Simplex::fit(vec![0, 1], &[0.0, 0.0], 2).is_err());
    for (places, dim) in [(vec![0], 2), (vec![0, 0], 2), (vec![0, 2], 2)] {
        assert!(Simplexes::new(vec![Simplex { places, total: 1.0 }], dim).is_err());
    }
    assert!(Simplexes::new(vec![Simplex { places: vec![0, 1], total: 0.0 }], 2).is_err());
}

#[test]
fn columns_keep_their_places_without_the_last_parts() {
    let all = [Simplex { places: vec![4, 1], total: 1.0 }, Simplex { places: vec![0, 5, 3], total: 1.0 }];
    let map = Simplexes::new(all.to_vec(), 6).unwrap();
    let names = ["a", "b", "c", "d", "e", "f"].map(str::to_owned);
    assert_eq!(map.apart(), [1, 3]);
    assert_eq!(map.inner_names(&names), ["log-ratio to f", "c", "log-ratio to b", "log-ratio to d"]);
    assert_eq!(map.ratios(), [0, 2, 3]);
    // A part that no number is small enough for stays above 0.
    let (x, _) = map.outward(&[0.0, 3.0, 2000.0, -2000.0]);
    assert!(x[..2].iter().chain(&x[3..]).all(|x| *x > 0.0) && x[2] == 3.0, "{x:?}");
    assert!(map.outward(&[0.0, 3.0, f64::NAN, 0.0]).0.iter().all(|x| x.is_nan()));
}

#[test]
fn rows_are_counted_by_how_far_their_sum_is_off() {
    let map = Simplexes::new(vec![Simplex { places: vec![2, 0, 1], total: 1.0 }], 4).unwrap();
    let row = [0.3, 0.5, 0.2, -7.0];
    let scaled = |by: f64| [0.3 * by, 0.5 * by, 0.2 * by, -7.0];
    let mut closing = Closing::default();
    closing.see(&map, 10, &[row, scaled(1.0 + 1e-7), scaled(1.004), scaled(0.997)].concat());
    assert_eq!((closing.n, closing.closed.rows, closing.beyond.rows, closing.without), (4, 2, 0, (0, None)));
    assert_eq!(closing.closed.farthest.map(|(row, ..)| row), Some(12));
    assert!(closing.words().unwrap().contains("2 rows of 4 scaled"));
    closing.see(&map, 14, &[scaled(1.006), [0.0, 0.8, 0.2, 1.0]].concat());
    assert_eq!((closing.beyond.farthest.map(|(row, ..)| row), closing.without), (Some(14), (1, Some(15))));
}
