//! How a table is chosen: how near it comes to densities whose truth is known, and what strange rows do to it.

use cnflow::fit::Gaussian;
use cnflow::rng::stream;
use cnflow::rows::toys;
use cnflow::transform::{Histogram, Mixture};
use rand::Rng as _;
use rand_distr::{Cauchy, Distribution};

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// n rows of `draw`.
fn rows<const D: usize>(n: usize, seed: u64, draw: impl Fn(&mut cnflow::Rng) -> [f64; D]) -> Vec<f64> {
    let mut rng = stream(seed, 7);
    (0..n).flat_map(|_| draw(&mut rng)).collect()
}

/// NLL of rows, nats a row.
fn nll(table: &Histogram, x: &[f64]) -> f64 {
    -mean(&table.log_prob_rows(x))
}

#[test]
fn a_table_of_a_uniform_column_has_its_entropy() {
    let n = 20_000;
    let [train, valid, test] = [1, 2, 3].map(|seed| rows(n, seed, |rng| [rng.random_range(3.0..8.0)]));
    let fitted = Histogram::fit(&train, &valid, 1).unwrap();
    let excess = nll(&fitted.histogram, &test) - 5.0_f64.ln();
    // One bin is short of the truth by the share of the tails, 2/n, and by the rows there, some 2/n at ten nats each:
    // 30/n. B bins cost B/2n and are chosen only where noise on the held-out rows, √B/n, may be more: five of those
    // make B = 100, at 50/n. The mean over the test's rows has a standard error of √B/n: five are 50/n, either way.
    let n = n as f64;
    assert!((-50.0 / n..130.0 / n).contains(&excess), "{excess}: {:?}", fitted.best);
    // It is the best of what was tried, and the same again.
    let least = fitted.table.iter().map(|rung| rung.nll).fold(f64::INFINITY, f64::min);
    assert_eq!(fitted.best.nll, least);
    assert_eq!(nll(&fitted.histogram, &valid), least);
    assert_eq!(Histogram::fit(&train, &valid, 1).unwrap().histogram, fitted.histogram);
}

#[test]
fn two_intervals_far_apart_have_nothing_between_them() {
    let n = 20_000;
    let draw = |rng: &mut cnflow::Rng| [rng.random::<f64>() + if rng.random() { 3.0 } else { 0.0 }];
    let [train, valid, test] = [1, 2, 3].map(|seed| rows(n, seed, draw));
    let fitted = Histogram::fit(&train, &valid, 1).unwrap();
    let excess = nll(&fitted.histogram, &test) - 2.0_f64.ln();
    // As for one interval, and the inner ends do not lie on edges: with four bins the range is short by some 2/n at
    // either end, so that a few rows of n fall into bins that are otherwise empty, at ten nats each. Five rows: 50/n.
    let n = n as f64;
    assert!((-50.0 / n..180.0 / n).contains(&excess), "{excess}: {:?}", fitted.best);
    // Four bins leave a half of the range empty but for those rows; so do more.
    let between = fitted.histogram.log_prob_rows(&[2.0])[0];
    assert!(between.is_finite() && between < -6.0, "{between}");
}

#[test]
fn a_checkerboard_is_learnt_where_a_gaussian_sees_a_square() {
    let toy = toys::find("checkerboard").unwrap();
    let n = 40_000;
    let [train, valid, test] = [1, 2, 3].map(|seed| (toy.sample)(n, &mut stream(seed, 0)));
    let fitted = Histogram::fit(&train, &valid, 2).unwrap();
    let table = nll(&fitted.histogram, &test);
    let gaussian = -mean(&Mixture::gaussian(&train, 2, Gaussian::Full).unwrap().log_prob_rows(&test));
    // Variances of 16/3 a column and a covariance of 1: 1 + ln 2π + ½ ln (16²/9 − 1) = 4.494, with five standard errors
    // of 0.5/200.
    assert!((gaussian - 4.494).abs() < 0.0125, "{gaussian}");
    // 8 × 8 bins cost 32/n and the four tails 4/n; of each column's three inner edges, off by 8/n, fall 24/8n = 3/n of
    // the rows, a half of them where a bin is otherwise empty, at ten nats: 30/n for two columns. Twice that all, and
    // from below nothing but noise of √32/n.
    let excess = table - toy.entropy;
    assert!((-30.0 / n as f64..140.0 / n as f64).contains(&excess), "{excess}: {:?}", fitted.best);
}

#[test]
fn strange_rows_neither_widen_the_bins_nor_decide_the_score() {
    let cauchy = Cauchy::new(0.0, 1.0).unwrap();
    let [train, valid, test] = [1, 2, 3].map(|seed| rows(20_000, seed, |rng| [cauchy.sample(rng)]));
    let fitted = Histogram::fit(&train, &valid, 1).unwrap();
    assert!(fitted.best.trim > 0.0, "{:?}", fitted.best);
    let full = fitted.table.iter().filter(|rung| rung.trim == 0.0).map(|rung| rung.nll).fold(f64::INFINITY, f64::min);
    // 1024 bins from the least to the greatest of 20 000 rows, some ±6000, are wider than half of the mass.
    assert!(fitted.best.nll < full - 0.1, "{} against {full}", fitted.best.nll);
    // Bins of width w miss what p bends in them, w²/24 · E (p′/p)² = w²/48: 0.01 for w = 0.6, 128 bins over ±32. In the
    // tails, which have a fiftieth of the rows, an exponential is wrong by a nat or two. Against the truth on the same
    // rows.
    let log_p = |x: &f64| -(std::f64::consts::PI * (1.0 + x * x)).ln();
    let excess = nll(&fitted.histogram, &test) + mean(&test.iter().map(log_p).collect::<Vec<f64>>());
    assert!((0.0..0.05).contains(&excess), "{excess}: {:?}", fitted.best);
    assert!(fitted.histogram.log_prob_rows(&[-1e6, 1e6, 1e30]).iter().all(|l| l.is_finite()));
}

#[test]
fn few_rows_and_equal_rows_are_tables_too() {
    let two = Histogram::fit(&[0.0, 1.0], &[5.0], 1).unwrap();
    // A third below, a third above, at a mean distance of 1: −ln ⅓ + 4.
    assert!((two.best.nll - (3.0_f64.ln() + 4.0)).abs() < 1e-14, "{:?}", two.best);
    // All but ten of a thousand rows are equal: trimmed, nothing would be left.
    let atom = |i: usize| match i {
        0..5 => -1.0,
        5..995 => 0.0,
        _ => 2.0,
    };
    let column: Vec<f64> = (0..1000).map(atom).collect();
    let atoms = Histogram::fit(&column, &column, 1).unwrap();
    assert!(atoms.table.iter().all(|rung| rung.trim < 0.01) && atoms.best.nll.is_finite());
    // Two numbers that are neighbours but for a few leave no room for many bins.
    let close: Vec<f64> = (0..400).map(|i| if i % 2 == 0 { 1.0 } else { 1.0 + 20.0 * f64::EPSILON }).collect();
    let bins = Histogram::fit(&close, &close, 1).unwrap().table.iter().map(|rung| rung.bins).max();
    assert!(bins.unwrap() < 20, "{bins:?}");
}
