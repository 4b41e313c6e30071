//! Laws of tables of probabilities: what they say inside, between and beyond their bins, and how they are chosen.

mod fit;

use cnflow::model::{Flow, Solved};
use cnflow::rng::stream;
use cnflow::stats::ChiSquared;
use cnflow::transform::{Bijection, Histogram, Mapped, Tail};
use nalgebra::DMatrix;
use rand::Rng as _;

use crate::common::maps::{forward, inverse};

/// Random probabilities, of which a part `empty` is 0.
fn table(range: &[[f64; 2]], bins: &[usize], empty: f64, seed: u64) -> Histogram {
    let mut rng = stream(seed, 0);
    let mut weight = || if rng.random::<f64>() < empty { 0.0 } else { rng.random_range(0.01..1.0) };
    let weights: Vec<f64> = (0..bins.iter().product()).map(|_| weight()).collect();
    let total: f64 = weights.iter().sum();
    let probabilities = weights.into_iter().map(|w| w / total).collect();
    Histogram::new(range.to_vec(), bins.to_vec(), probabilities).unwrap()
}

fn tailed(table: Histogram) -> Histogram {
    let of = |below, low, above, high| [Tail { share: below, scale: low }, Tail { share: above, scale: high }];
    let mut tails = vec![of(1e-3, 0.8, 0.04, 2.5), of(0.02, 11.0, 1e-5, 0.1)];
    tails.truncate(table.dim());
    table.with_tails(tails).unwrap()
}

/// One and two columns, one and many bins, with and without empty ones, with and without tails.
fn every_table() -> Vec<(String, Histogram)> {
    let of = |name: &str, range: &[[f64; 2]], bins: &[usize], empty| {
        let table = table(range, bins, empty, bins.len() as u64);
        [(format!("{name}, tails"), tailed(table.clone())), (name.to_owned(), table)]
    };
    let (far, near) = ([-1.5, 2.0], [-30.0, -7.0]);
    [
        of("one bin", &[far], &[1], 0.0),
        of("a column", &[far], &[7], 0.0),
        of("islands", &[far], &[100], 0.6),
        of("a fine column", &[near], &[1024], 0.1),
        of("a plane", &[far, near], &[5, 4], 0.0),
        of("a plane of islands", &[far, near], &[16, 9], 0.5),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The bins' widths.
fn widths(table: &Histogram) -> Vec<f64> {
    table.range().iter().zip(table.bins()).map(|([low, high], n)| (high - low) / *n as f64).collect()
}

#[test]
fn a_table_undone_returns_to_its_start_far_into_the_tails() {
    for (name, table) in every_table() {
        let d = table.dim();
        let bounded = table.tails()[0][0].share == 0.0;
        let mut rng = stream(3, 0);
        for radius in [1.0, 3.0, 8.0, 40.0, 1e4] {
            // Where nothing lies beyond its ends the range is at an end, to round-off, for |z| of 5 or more.
            if bounded && radius > 3.0 {
                continue;
            }
            let z: Vec<f64> = (0..200 * d).map(|_| rng.random_range(-radius..radius)).collect();
            let there = forward(&table, &z, &[]);
            let back = inverse(&table, &there.y, &[]);
            assert!(there.cost.outside.is_empty() && back.cost.outside.is_empty(), "{name}, radius {radius}");
            for (a, b) in z.iter().zip(&back.y) {
                // In a bin x is right to 4e-15, F to that times the density (below 2·10¹ here), z to that over φ(z),
                // which is above 4e-5 where bins are (shares of 1e-5); in a tail to some round-offs of z.
                assert!((a - b).abs() < 1e-8 + 1e-13 * radius, "{name}, radius {radius}: {a} came back as {b}");
            }
            for (there, back) in there.logdet.iter().zip(&back.logdet) {
                // Its slope by z is |z| at most; in the tails it is a difference of two numbers of z²/2.
                let most = 1e-8 * radius + 1e-13 * radius * radius;
                assert!((there + back).abs() < most, "{name}, radius {radius}: {there}, {back}");
            }
        }
    }
}

#[test]
fn what_lies_close_to_an_end_at_zero_keeps_its_digits() {
    let table = table(&[[0.0, 1.0]], &[5], 0.0, 4);
    let z: Vec<f64> = (0..370).map(|i| -0.1 * f64::from(i)).collect();
    let there = forward(&table, &z, &[]);
    let back = inverse(&table, &there.y, &[]);
    for ((a, b), x) in z.iter().zip(&back.y).zip(&there.y) {
        // F is right to some round-offs of itself, z to those over |z|, or 1.25 times them in the middle.
        assert!(*x > 0.0 && (a - b).abs() < 1e-14, "{a} came back as {b} from {x}");
    }
}

/// The middles of all bins, and places in the tails.
fn places(table: &Histogram) -> Vec<f64> {
    let of = |j: usize| -> Vec<f64> {
        let ([low, high], w) = (table.range()[j], widths(table)[j]);
        let bins = (0..table.bins()[j]).map(move |i| low + w * (i as f64 + 0.5));
        let tails = [0.01, 1.0, 7.0].into_iter().flat_map(move |far| [low - far, high + far]);
        bins.chain(tails).collect()
    };
    match table.dim() {
        1 => of(0),
        _ => of(0).into_iter().flat_map(|x| of(1).into_iter().flat_map(move |y| [x, y])).collect(),
    }
}

#[test]
fn the_log_determinant_is_that_of_the_dense_jacobian_and_the_flow_has_the_density_of_the_table() {
    for (name, table) in every_table() {
        let d = table.dim();
        let x = places(&table);
        let at = |x: &[f64]| inverse(&table, x, &[]).y;
        let Solved { log_prob, cost, .. } = Flow::new(table.clone()).encode(&x, &[]).unwrap();
        let rows = table.log_prob_rows(&x);
        let logdet = inverse(&table, &x, &[]).logdet;
        // A thousandth of the narrowest bin stays in it; fourth-order differences err by 1e-12 relatively.
        let eps = 1e-3 * widths(&table).into_iter().fold(1.0, f64::min);
        let moved: Vec<Vec<f64>> = (0..d)
            .flat_map(|j| [1.0, -1.0, 2.0, -2.0].map(|s| (j, s * eps)))
            .map(|(j, step)| {
                let mut x = x.clone();
                x.iter_mut().skip(j).step_by(d).for_each(|x| *x += step);
                at(&x)
            })
            .collect();
        for (i, log_det) in logdet.iter().enumerate() {
            if cost.outside.contains(&i) {
                assert_eq!(rows[i], f64::NEG_INFINITY, "{name}, row {i}");
                continue;
            }
            let slope = |r: usize, j: usize| {
                let value = |k: usize| moved[4 * j + k][i * d + r];
                (8.0 * (value(0) - value(1)) - (value(2) - value(3))) / (12.0 * eps)
            };
            let exact = DMatrix::from_fn(d, d, slope).determinant().abs().ln();
            // z is right to some 1e-14 over φ(z), 1e-9 at the least share, and the step is 3e-5 at least.
            assert!((exact - log_det).abs() < 1e-4, "{name}, row {i}: {log_det} against {exact}");
            // z²/2 is added and taken away again.
            assert!((log_prob[i] - rows[i]).abs() < 1e-12 * (1.0 + rows[i].abs()), "{name}, row {i}");
        }
    }
}

#[test]
fn the_density_integrates_to_one() {
    for (name, table) in every_table() {
        // The middles of bins with the bins' widths, and in the tails x = end ∓ c s with dx = c ds = c dv/v for v =
        // e⁻ˢ: the density is a multiple of v, and one middle of v is as exact as one middle of a bin.
        let rule = |j: usize| -> Vec<(f64, f64)> {
            let ([low, high], w, [below, above]) = (table.range()[j], widths(&table)[j], table.tails()[j]);
            let s = 2.0_f64.ln();
            let bins = (0..table.bins()[j]).map(|i| (low + w * (i as f64 + 0.5), w));
            let tails = [(low - below.scale * s, 2.0 * below.scale), (high + above.scale * s, 2.0 * above.scale)];
            bins.chain(tails).collect()
        };
        let (points, weights): (Vec<f64>, Vec<f64>) = match table.dim() {
            1 => rule(0).into_iter().unzip(),
            _ => {
                let second = rule(1);
                let pairs = rule(0).into_iter().flat_map(|a| second.iter().map(move |b| ([a.0, b.0], a.1 * b.1)));
                let (points, weights): (Vec<[f64; 2]>, Vec<f64>) = pairs.unzip();
                (points.concat(), weights)
            }
        };
        let mass: f64 = table.log_prob_rows(&points).iter().zip(&weights).map(|(l, w)| l.exp() * w).sum();
        // Round-off of a thousand bins.
        assert!((mass - 1.0).abs() < 1e-12, "{name}: {mass}");
    }
}

#[test]
fn draws_fill_the_bins_as_the_table_says() {
    for (name, table) in every_table() {
        let (d, n) = (table.dim(), 40_000);
        let x = Flow::new(table.clone()).sample(n, &[], &mut stream(5, 0)).unwrap().y;
        // Places of a column: its bins, and the tails after them.
        let place = |j: usize, x: f64| {
            let ([low, high], m) = (table.range()[j], table.bins()[j]);
            if x < low {
                m
            } else if x > high {
                m + 1
            } else {
                (((x - low) / widths(&table)[j]) as usize).min(m - 1)
            }
        };
        let sizes: Vec<usize> = table.bins().iter().map(|n| n + 2).collect();
        let mut counts = vec![0.0; sizes.iter().product()];
        for row in x.chunks_exact(d) {
            counts[row.iter().enumerate().fold(0, |cell, (j, x)| cell * sizes[j] + place(j, *x))] += 1.0;
        }
        // Inside, as the table says; beyond, a column's share whatever the other column does.
        let p = table.probabilities();
        let inside = |j: usize| 1.0 - table.tails()[j][0].share - table.tails()[j][1].share;
        let expected: Vec<f64> = (0..counts.len())
            .map(|cell| match d {
                1 if cell < p.len() => p[cell] * inside(0),
                1 => table.tails()[0][cell - p.len()].share,
                _ => {
                    let (m, n) = (table.bins()[0], table.bins()[1]);
                    let (i, j) = (cell / sizes[1], cell % sizes[1]);
                    let row = |i: usize| p[i * n..(i + 1) * n].iter().sum::<f64>();
                    let first = if i < m { row(i) * inside(0) } else { table.tails()[0][i - m].share };
                    let second = match (i < m, j < n) {
                        (_, false) => table.tails()[1][j - n].share,
                        (true, true) if row(i) == 0.0 => 0.0,
                        (true, true) => p[i * n + j] / row(i) * inside(1),
                        (false, true) => p.iter().skip(j).step_by(n).sum::<f64>() * inside(1),
                    };
                    first * second
                }
            })
            .collect();
        // Cells with few expected draws go together.
        let (mut square, mut cells, mut few) = (0.0, 0, (0.0, 0.0));
        for (count, p) in counts.iter().zip(&expected) {
            assert!(*p > 0.0 || *count == 0.0, "{name}: {count} draws where there are none");
            let e = p * n as f64;
            if e < 8.0 {
                few = (few.0 + count, few.1 + e);
            } else {
                square += (count - e).powi(2) / e;
                cells += 1;
            }
        }
        if few.1 > 8.0 {
            square += (few.0 - few.1).powi(2) / few.1;
            cells += 1;
        }
        // One table in a hundred thousand.
        assert!(cells < 2 || ChiSquared::new(cells - 1).at(square) < 1.0 - 1e-5, "{name}: χ² {square}, {cells} cells");
    }
}

#[test]
fn n_rows_are_n_times_one_on_any_number_of_threads() {
    for (name, table) in every_table() {
        let (d, n) = (table.dim(), 2000);
        let x: Vec<f64> = (0..n * d).map(|i| 10.0 * (i as f64 * 0.7).sin()).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let bits = |v: Vec<f64>| v.into_iter().map(f64::to_bits).collect::<Vec<u64>>();
            pool.install(|| {
                let mapped = inverse(&table, &x, &[]);
                [bits(mapped.y), bits(mapped.logdet), bits(table.log_prob_rows(&x))]
            })
        };
        let one = run(1);
        assert!(run(3) == one, "{name}");
        for i in [0, 777, n - 1] {
            let row = &x[i * d..(i + 1) * d];
            let mapped = inverse(&table, row, &[]);
            assert!(mapped.y.iter().zip(&one[0][i * d..]).all(|(z, bits)| z.to_bits() == *bits), "{name}");
            assert_eq!(mapped.logdet[0].to_bits(), one[1][i], "{name}");
            assert_eq!(table.log_prob_rows(row)[0].to_bits(), one[2][i], "{name}");
        }
    }
}

#[test]
fn a_table_saved_and_loaded_is_the_same_to_the_last_bit() {
    for (name, table) in every_table() {
        let [range, tails, probabilities] = table.to_tensors();
        let sizes = [&range, &tails, &probabilities].map(|(_, shape, values)| (shape.iter().product(), values.len()));
        assert!(sizes.iter().all(|(shape, values): &(usize, usize)| shape == values), "{name}: {sizes:?}");
        let again = Histogram::from_tensors(&range.2, &tails.2, &probabilities.2, &probabilities.1).unwrap();
        assert_eq!(again, table, "{name}");
        let x = places(&table);
        let bits = |table: &Histogram| table.log_prob_rows(&x).into_iter().map(f64::to_bits).collect::<Vec<u64>>();
        assert_eq!(bits(&again), bits(&table), "{name}");
        // As text it is the same but for the last digit of a number.
        let text = serde_json::to_string(&table).unwrap();
        let read: Histogram = serde_json::from_str(&text).unwrap();
        assert_eq!((read.bins(), read.dim()), (table.bins(), table.dim()));
        let close = read.probabilities().iter().zip(table.probabilities()).all(|(a, b)| (a - b).abs() <= 1e-15 * b);
        assert!(close, "{name}");
    }
    let broken = r#"{"range":[[0,1]],"bins":[2],"probabilities":[0.5,0.6],"tails":[[{"share":0,"scale":1},{"share":0,"scale":1}]]}"#;
    assert!(serde_json::from_str::<Histogram>(broken).unwrap_err().to_string().contains("add up to 1"));
}

#[test]
fn outside_is_density_zero_and_no_latent() {
    // The middle bin is empty.
    let table = Histogram::new(vec![[0.0, 3.0]], vec![3], vec![0.25, 0.0, 0.75]).unwrap();
    let x = [0.5, -0.1, 1.5, 2.5, 3.1, f64::NEG_INFINITY, f64::NAN, 1.0, 2.0];
    let Solved { y: z, log_prob, cost, .. } = Flow::new(table.clone()).encode(&x, &[]).unwrap();
    // An edge belongs to the bin above it.
    assert_eq!(cost.outside, [1, 2, 4, 5, 7]);
    assert!(cost.failures.is_empty());
    for i in &cost.outside {
        assert!(z[*i].is_nan() && log_prob[*i] == f64::NEG_INFINITY, "{i}");
    }
    for (i, p) in [(0, 0.25_f64), (3, 0.75), (8, 0.75)] {
        assert!((log_prob[i] - p.ln()).abs() < 1e-15, "{i}: {}", log_prob[i]);
    }
    assert!(z[6].is_nan() && log_prob[6].is_nan());
    let rows = table.log_prob_rows(&x);
    assert!(rows.iter().zip(&log_prob).all(|(a, b)| a.is_nan() == b.is_nan() && a.is_finite() == b.is_finite()));
    // No latent leads outside, not even the one of the step of F, or far out.
    let z: Vec<f64> =
        (-400..=400).map(|i| 0.02 * f64::from(i)).chain([-0.674_489_750_196_081_7, -38.0, 38.0]).collect();
    let there = forward(&table, &z, &[]);
    assert!(table.log_prob_rows(&there.y).iter().all(|l| l.is_finite()));
    // What is no number is NaN, alone.
    let rows = forward(&table, &[0.0, f64::NAN, f64::INFINITY, 1.0], &[]);
    assert_eq!(rows.y.iter().map(|x| x.is_nan()).collect::<Vec<_>>(), [false, true, true, false]);
    assert!(rows.cost.outside.is_empty());
    // With tails the range has no end, and the empty bin stays empty.
    let finite = |x: f64| tailed(table.clone()).log_prob_rows(&[x])[0].is_finite();
    assert!([-1e9, -0.1, 0.0, 3.0, 1e9].into_iter().all(finite) && !finite(1.5));
}

#[test]
fn a_tail_may_hold_more_than_half() {
    let table = Histogram::new(vec![[0.0, 1.0]], vec![2], vec![0.5; 2]).unwrap();
    let tails = [Tail { share: 0.7, scale: 2.0 }, Tail { share: 0.1, scale: 1.0 }];
    let table = table.with_tails(vec![tails]).unwrap();
    let z: Vec<f64> = (-80..=80).map(|i| 0.1 * f64::from(i)).collect();
    let x = forward(&table, &z, &[]).y;
    assert!(x.windows(2).all(|pair| pair[0] < pair[1]));
    let back = inverse(&table, &x, &[]).y;
    // As above: 1e-15 over φ, of which the least in the bins is that of 0.9.
    assert!(z.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-13 * (1.0 + a.abs())));
}

#[test]
fn wrong_tables_and_rows_are_refused_in_words() {
    let refused = |table: cnflow::Result<Histogram>| {
        let error = table.unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    };
    let unit = |d: usize| vec![[0.0, 1.0]; d];
    let new = |range: Vec<[f64; 2]>, bins: &[usize], p: &[f64]| Histogram::new(range, bins.to_vec(), p.to_vec());
    assert!(refused(new(unit(3), &[1, 1, 1], &[1.0])).contains("one or two columns, not 3"));
    assert!(refused(new(vec![], &[], &[1.0])).contains("not 0"));
    assert!(refused(new(unit(2), &[2, 2], &[0.5, 0.5])).contains("2 probabilities and bins [2, 2]"));
    assert!(refused(new(unit(2), &[2], &[0.5, 0.5])).contains("for 2 columns"));
    assert!(refused(new(unit(1), &[0], &[])).contains("add up to 1, not to"));
    assert!(refused(new(unit(2), &[usize::MAX, 2], &[1.0])).contains("make no table"));
    assert!(refused(new(unit(1), &[2], &[1.5, -0.5])).contains("bin 1 is -0.5"));
    assert!(refused(new(unit(1), &[2], &[f64::NAN, 0.5])).contains("bin 0 is NaN"));
    assert!(refused(new(unit(1), &[2], &[0.5, 0.6])).contains("add up to 1, not to 1.1"));
    for range in [[1.0, 1.0], [2.0, 1.0], [f64::NAN, 1.0], [0.0, f64::INFINITY], [-f64::MAX, f64::MAX]] {
        assert!(refused(new(vec![range], &[1], &[1.0])).contains("1 bins over ["), "{range:?}");
    }
    assert!(refused(new(vec![[1e16, 1e16 + 8.0]], &[4], &[0.25; 4])).contains("4 bins over"));
    let table = || new(unit(1), &[1], &[1.0]).unwrap();
    let of = |share, scale| Tail { share, scale };
    assert!(refused(table().with_tails(vec![])).contains("tails of 0 columns for a table of 1"));
    for pair in [
        [of(0.5, 1.0), of(0.5, 1.0)],
        [of(-0.1, 1.0), Tail::NONE],
        [Tail::NONE, of(f64::NAN, 1.0)],
        [Tail::NONE, of(0.1, 0.0)],
        [of(0.1, f64::INFINITY), Tail::NONE],
    ] {
        assert!(refused(table().with_tails(vec![pair])).contains("column 0 of a table has tails"), "{pair:?}");
    }
    let text = refused(Histogram::from_tensors(&[0.0, 1.0], &[0.0, 1.0], &[1.0], &[1]));
    assert!(text.contains("2 numbers of ranges and 2 of tails"), "{text}");
    let fit = |train: &[f64], valid: &[f64], d| Histogram::fit(train, valid, d).map(|fitted| fitted.histogram);
    let good = [0.0, 1.0, 2.0, 3.0];
    assert!(refused(fit(&good, &good, 0)).contains("not 0"));
    assert!(refused(fit(&good, &good, 4)).contains("not 4"));
    assert!(refused(fit(&good[..3], &good, 2)).contains("3 numbers are not whole rows of 2 columns"));
    assert!(refused(fit(&good[..1], &good, 1)).contains("1 training row"));
    assert!(refused(fit(&good, &[], 2)).contains("0 validation rows"));
    assert!(refused(fit(&[0.0, 1.0, 2.0, f64::NAN], &good, 2)).contains("training row 1 has NaN in column 1"));
    assert!(refused(fit(&good, &[f64::INFINITY], 1)).contains("validation row 0 has inf"));
    assert!(refused(fit(&[0.0, 5.0, 1.0, 5.0], &good, 2)).contains("column 1 is constant"));
    let conditional = table().inverse(&mut Mapped::new(good.to_vec(), 1), &good).unwrap_err().to_string();
    assert!(conditional.contains("4 numbers of conditions for 4 rows of 0 columns"), "{conditional}");
}
