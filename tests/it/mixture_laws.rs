//! Laws of mixtures of Gaussians: their fit, their gradient, their map to a standard normal; and of columns with a
//! range.

use cnflow::continuous::{Continuous, SolverSpec};
use cnflow::fit::{Em, EmOptions, Gaussian};
use cnflow::model::{FlowSpec, Solved};
use cnflow::rng::stream;
use cnflow::transform::{Base, BinNoise, Column, ColumnKind, Mixture, Rosenblatt, StandardNormal};
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};
use rand::Rng as _;

use crate::common::maps::{forward, inverse};

/// K components with random means and factors, on a scale.
fn mixture(d: usize, k: usize, spread: f64, seed: u64) -> Mixture {
    let mut rng = stream(seed, 0);
    let weights: Vec<f64> = (0..k).map(|_| rng.random_range(0.5..1.0)).collect();
    let total: f64 = weights.iter().sum();
    let means = (0..k * d).map(|_| rng.random_range(-spread..spread)).collect();
    let mut factors = vec![0.0; k * d * d];
    for factor in factors.chunks_exact_mut(d * d) {
        for i in 0..d {
            (0..i).for_each(|j| factor[i * d + j] = rng.random_range(-0.5..0.5));
            factor[i * d + i] = rng.random_range(0.2..1.0);
        }
    }
    Mixture::new(weights.iter().map(|w| w / total).collect(), means, factors).unwrap()
}

/// Mixtures of all sorts.
fn every_mixture() -> Vec<(String, Mixture)> {
    let sizes = [(1, 1), (1, 6), (2, 1), (2, 40), (5, 8), (17, 3)];
    sizes.into_iter().map(|(d, k)| (format!("d={d} K={k}"), mixture(d, k, 4.0, 10 * d as u64 + k as u64))).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn the_likelihood_with_its_prior_never_falls() {
    for (name, truth) in every_mixture() {
        let d = truth.dim();
        let x = truth.draw(1500, &mut stream(1, 1));
        let k = truth.components();
        let em = Em::new(&x, d, k, 2.0).unwrap();
        // A start that is wrong everywhere: the truth of another seed.
        let mut now = mixture(d, k, 4.0, 999);
        let mut before = f64::NEG_INFINITY;
        for round in 0..25 {
            let step = em.step(&now).unwrap();
            // A restart is a jump; what follows must rise again.
            if step.restarted == 0 {
                // 1500 rows, each to round-off of a few hundred nats; responsibilities are cut at 1e-15.
                assert!(step.objective >= before - 1e-7, "{name}, round {round}: {} after {before}", step.objective);
                before = step.objective;
            } else {
                before = f64::NEG_INFINITY;
            }
            now = step.mixture;
        }
        assert!(before.is_finite(), "{name}: only restarts");
    }
}

#[test]
fn a_known_mixture_is_recovered() {
    let factors = vec![0.5, 0.0, 0.3, 0.4, 1.0, 0.0, -0.8, 0.3, 0.2, 0.0, 0.0, 0.2];
    let truth = Mixture::new(vec![0.5, 0.3, 0.2], vec![-3.0, 0.0, 2.0, 2.0, 1.0, -3.0], factors).unwrap();
    let (x, held_out) = (truth.draw(20_000, &mut stream(2, 0)), truth.draw(20_000, &mut stream(2, 1)));
    let options = EmOptions { components: 3, tolerance: 1e-7, iterations: 200, strength: 1e-3, ..EmOptions::default() };
    let found = Mixture::fit(&x, 2, &options, &mut stream(3, 0), &mut || false).unwrap();
    for k in 0..3 {
        let near =
            |c: &usize| (0..2).map(|j| (found.means()[2 * c + j] - truth.means()[2 * k + j]).powi(2)).sum::<f64>();
        let c = (0..3).min_by(|a, b| near(a).total_cmp(&near(b))).unwrap();
        // Four standard errors with the 4000 rows of the least component: 4 · 0.85/√4000, of weights 4 · 0.5/√20000.
        assert!(near(&c).sqrt() < 0.054, "component {k}: {}", near(&c).sqrt());
        assert!((found.weights()[c] - truth.weights()[k]).abs() < 0.0142);
        let (l, t) = (&found.factors()[4 * c..4 * c + 4], &truth.factors()[4 * k..4 * k + 4]);
        assert!(l.iter().zip(t).all(|(a, b)| (a - b).abs() < 0.05), "{l:?} for {t:?}");
    }
    // The excess of maximum likelihood is about half a nat a parameter over all rows: 17/40 000.
    let excess = mean(&truth.log_prob_rows(&held_out)) - mean(&found.log_prob_rows(&held_out));
    assert!(excess.abs() < 0.002, "{excess}");
}

#[test]
fn the_ladder_keeps_the_best_rung_and_stops_when_told() {
    let truth = mixture(2, 12, 6.0, 5);
    let (train, valid) = (truth.draw(4000, &mut stream(4, 0)), truth.draw(2000, &mut stream(4, 1)));
    let choose = |stop: &mut dyn FnMut() -> bool| {
        Mixture::choose(&train, &valid, 2, &EmOptions::default(), &mut stream(4, 2), stop).unwrap()
    };
    let chosen = choose(&mut || false);
    let least = chosen.table.iter().map(|(_, nll)| *nll).fold(f64::INFINITY, f64::min);
    assert_eq!(-mean(&chosen.mixture.log_prob_rows(&valid)), least);
    let gap = mean(&truth.log_prob_rows(&valid)) + least;
    // 16 or 64 components for 12: some parameters too many, a few hundredths of a nat with 4000 rows.
    assert!((0.0..0.05).contains(&gap), "{gap}: {:?}", chosen.table);
    // Told to stop at once, it keeps a first rung; told the same, it does the same.
    assert_eq!(choose(&mut || true).table.len(), 1);
    assert_eq!(choose(&mut || false).mixture, chosen.mixture);
}

#[test]
fn draws_have_the_density_and_matches_stay_near() {
    for (name, truth) in every_mixture() {
        let x = truth.draw(4000, &mut stream(6, 0));
        let y = truth.matched(&x, &mut stream(6, 1));
        let other = truth.draw(4000, &mut stream(6, 2));
        let gap = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / 4000.0;
        // Draws, and matches of draws, have the entropy of the density: five standard errors of two means.
        let (of_x, of_y) = (truth.log_prob_rows(&x), truth.log_prob_rows(&y));
        let variance = of_x.iter().map(|l| (l - mean(&of_x)).powi(2)).sum::<f64>() / 4000.0;
        let entropy = mean(&truth.log_prob_rows(&other));
        for logs in [&of_x, &of_y] {
            assert!((mean(logs) - entropy).abs() < 5.0 * (2.0 * variance / 4000.0).sqrt(), "{name}");
        }
        assert!(truth.components() == 1 || gap(&x, &y) < 0.7 * gap(&x, &other), "{name}");
    }
}

#[test]
fn the_density_integrates_to_one() {
    let truth = mixture(2, 5, 3.0, 8);
    let (half, m) = (10.0, 400);
    let h = 2.0 * half / f64::from(m);
    let grid: Vec<f64> = (0..m * m).flat_map(|i| [f64::from(i % m) * h - half, f64::from(i / m) * h - half]).collect();
    let mass: f64 = truth.log_prob_rows(&grid).iter().map(|l| l.exp()).sum::<f64>() * h * h;
    // The trapezoidal rule errs by e^(−2π²σ²/h²), σ ≥ 0.2: nothing.
    assert!((mass - 1.0).abs() < 1e-9, "{mass}");
}

#[test]
fn the_score_of_a_base_is_the_gradient_of_its_log_density() {
    for (name, truth) in every_mixture() {
        let d = truth.dim();
        let x = truth.draw(40, &mut stream(7, 0));
        for base in [Base::Mixture(truth.clone()), FlowSpec::plain(net(d), SolverSpec::default()).base()] {
            let score = base.score_rows(&x);
            for i in 0..x.len() {
                let value = |step: f64| {
                    let mut row = x[i / d * d..(i / d + 1) * d].to_vec();
                    row[i % d] += step;
                    base.log_prob_rows(&row)[0]
                };
                let difference = (value(1e-5) - value(-1e-5)) / 2e-5;
                // Central differences: h² f‴ ≈ 1e-10 · σ⁻³.
                let gap = (difference - score[i]).abs();
                assert!(gap < 1e-5 * (1.0 + difference.abs()), "{name}: {difference}, {}", score[i]);
            }
        }
    }
}

fn net(d: usize) -> VelocitySpec {
    let (activation, time) = (Activation::Tanh, TimeInput::Plain);
    VelocitySpec::Mlp(MlpSpec { dim: d, condition_dim: 0, hidden: vec![4], activation, time })
}

#[test]
fn everything_has_the_same_bits_on_any_number_of_threads() {
    let truth = mixture(3, 30, 4.0, 11);
    let x = truth.draw(3000, &mut stream(8, 0));
    let options = EmOptions { components: 16, iterations: 4, ..EmOptions::default() };
    let run = |threads| {
        on_threads(threads, || {
            let fitted = Mixture::fit(&x, 3, &options, &mut stream(8, 1), &mut || false).unwrap();
            let matched = truth.matched(&x, &mut stream(8, 2));
            (fitted, matched, truth.log_prob_rows(&x), truth.score_rows(&x))
        })
    };
    let one = run(1);
    for threads in [2, 3] {
        assert!(run(threads) == one, "{threads} threads");
    }
    for i in [0, 1234, 2999] {
        let row = &x[3 * i..3 * i + 3];
        assert_eq!(truth.log_prob_rows(row)[0], one.2[i]);
        assert_eq!(truth.score_rows(row), one.3[3 * i..3 * i + 3]);
    }
}

/// The largest gap between the values' distribution and the standard normal's, and Kolmogorov's 1 in 10 000 quantile.
fn normal_gap(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let cdf = |z: f64| 0.5 * libm::erfc(-z / 2.0_f64.sqrt());
    let gaps = values
        .iter()
        .enumerate()
        .map(|(i, z)| (cdf(*z) - i as f64 / n).abs().max((cdf(*z) - (i + 1) as f64 / n).abs()));
    (gaps.fold(0.0, f64::max), 2.23 / n.sqrt())
}

#[test]
fn the_rosenblatt_latents_of_samples_are_standard_normal_and_independent() {
    for (name, truth) in every_mixture() {
        let d = truth.dim();
        let n = 4000;
        let x = truth.draw(n, &mut stream(9, 0));
        let z = inverse(&Rosenblatt::new(truth), &x, &[]).y;
        let column = |j: usize| z.iter().skip(j).step_by(d).copied().collect::<Vec<f64>>();
        for j in 0..d {
            let (gap, most) = normal_gap(column(j));
            assert!(gap < most, "{name}, column {j}: {gap}");
            for i in 0..j {
                // The difference of two independent normals is normal with variance 2, and so is their sum.
                for sign in [1.0, -1.0] {
                    let mixed = column(i).iter().zip(column(j)).map(|(a, b)| (a + sign * b) / 2.0_f64.sqrt()).collect();
                    let (gap, most) = normal_gap(mixed);
                    assert!(gap < most, "{name}, columns {i} and {j}: {gap}");
                }
            }
        }
    }
}

#[test]
fn the_rosenblatt_map_is_exact_far_into_the_tails() {
    for (name, truth) in every_mixture() {
        let d = truth.dim();
        let map = Rosenblatt::new(truth.clone());
        let mut rng = stream(10, 0);
        for radius in [1.0, 8.0, 15.0, 40.0, 300.0, 1e5] {
            let z: Vec<f64> = (0..40 * d).map(|_| rng.random_range(-radius..radius)).collect();
            let there = forward(&map, &z, &[]);
            let back = inverse(&map, &there.y, &[]);
            for ((a, b), row) in z.iter().zip(back.y.clone()).zip((0..40 * d).map(|i| i / d)) {
                // Latents are right to some round-offs of the largest number on the way; a column inherits those of the
                // columns before it, amplified by their slopes (factors up to 1/0.2, seventeen columns at most).
                assert!(
                    (a - b).abs() < 1e-9 * radius.max(1.0),
                    "{name}, radius {radius}, row {row}: {a} came back as {b}"
                );
            }
            let x = there.y.clone();
            let log_p = truth.log_prob_rows(&x);
            for (i, (there, back)) in there.logdet.iter().zip(&back.logdet).enumerate() {
                assert!(
                    (there + back).abs() < 1e-8 * radius * radius,
                    "{name}, radius {radius}, row {i}: {there}, {back}"
                );
                let log_normal: f64 =
                    z[i * d..(i + 1) * d].iter().map(|z| -0.5 * (z * z + std::f64::consts::TAU.ln())).sum();
                let gap = (log_normal - there - log_p[i]).abs();
                assert!(gap < 1e-11 * log_normal.abs().max(1.0), "{name}, radius {radius}, row {i}: {gap:e}");
            }
        }
        // The rows of x a hundred deviations out, and between the components.
        let x: Vec<f64> = (0..40 * d).map(|_| rng.random_range(-200.0..200.0)).collect();
        let z = inverse(&map, &x, &[]);
        assert!(z.y.iter().chain(&z.logdet).all(|v| v.is_finite()), "{name}");
    }
}

#[test]
fn islands_far_apart_are_no_trap() {
    // Twenty deviations of nothing between the two: F is flat there, and z must pass over it.
    let truth = Mixture::new(vec![0.3, 0.7], vec![-10.0, 10.0], vec![0.01, 0.02]).unwrap();
    let map = Rosenblatt::new(truth);
    let z: Vec<f64> = (-400..=400).map(|i| f64::from(i) * 0.02).collect();
    let x = forward(&map, &z, &[]);
    assert!(x.y.windows(2).all(|pair| pair[0] <= pair[1]));
    let back = inverse(&map, &x.y, &[]).y;
    assert!(z.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-12 * (1.0 + a.abs())));
    let between = inverse(&map, &[-5.0, 0.0, 5.0], &[]);
    // Φ⁻¹(0.3) all along.
    assert!(between.y.iter().all(|z| (z + 0.524_400_512_708_041).abs() < 1e-14));
    // What is no number is NaN, alone.
    let rows = forward(&map, &[0.0, f64::NAN, f64::INFINITY, 1.0], &[]);
    assert_eq!(rows.y.iter().map(|x| x.is_nan()).collect::<Vec<_>>(), [false, true, true, false]);
}

#[test]
fn a_zero_velocity_has_the_likelihood_of_the_base() {
    let base = mixture(2, 9, 3.0, 20);
    let spec = FlowSpec { base: Some(base.clone()), ..FlowSpec::plain(net(2), SolverSpec::default()) };
    let theta = vec![0.0; net(2).n_params()];
    let x = base.draw(300, &mut stream(21, 0));
    let by_flow = spec.bind(&theta, Precision::F64).unwrap().log_prob(&x, &[]).unwrap().log_prob;
    let solver = SolverSpec::default();
    let flow = Continuous::new(spec.architecture.velocity().unwrap(), &theta, solver, Precision::F64).unwrap();
    let inner = inverse(&flow, &x, &[]);
    let by_base: Vec<f64> = spec.base().log_prob_rows(&inner.y).iter().zip(&inner.logdet).map(|(a, b)| a + b).collect();
    for ((a, b), c) in by_flow.iter().zip(&by_base).zip(base.log_prob_rows(&x)) {
        assert!((a - c).abs() < 1e-12 * (1.0 + c.abs()) && (b - c).abs() < 1e-12 * (1.0 + c.abs()), "{a} {b} {c}");
    }
}

#[test]
fn wrong_mixtures_and_rows_are_refused_in_words() {
    let text = |r: cnflow::Result<Mixture>| r.unwrap_err().to_string();
    assert!(text(Mixture::new(vec![], vec![], vec![])).contains("0 weights"));
    assert!(text(Mixture::new(vec![0.5, 0.6], vec![0.0; 2], vec![1.0; 2])).contains("add up to 1"));
    assert!(text(Mixture::new(vec![1.0], vec![f64::NAN], vec![1.0])).contains("NaN"));
    assert!(text(Mixture::new(vec![1.0], vec![0.0; 2], vec![1.0, 0.5, 0.0, 1.0])).contains("Cholesky"));
    let fit = |x: &[f64], d, components| {
        Mixture::fit(x, d, &EmOptions { components, ..EmOptions::default() }, &mut stream(0, 0), &mut || false)
    };
    assert!(text(fit(&[1.0, 2.0], 1, 3)).contains("2 rows for a mixture of 3"));
    assert!(text(fit(&[1.0, f64::INFINITY, 2.0], 1, 1)).contains("row 1 has inf"));
    assert!(text(fit(&[1.0, 5.0, 2.0, 5.0], 2, 1)).contains("column 1 is constant"));
    // As many components as rows, half of them twins: restarts, and no failure.
    let twins: Vec<f64> = (0..16).map(|i| f64::from(i / 2)).collect();
    assert_eq!(fit(&twins, 1, 16).unwrap().components(), 16);
}

#[test]
fn one_gaussian_has_the_moments_of_the_rows_and_the_likelihood_they_say() {
    for (name, truth) in every_mixture() {
        let d = truth.dim();
        let n = 700;
        let x = truth.draw(n, &mut stream(12, 0));
        let moment = |f: &dyn Fn(&[f64]) -> f64| x.chunks_exact(d).map(f).sum::<f64>() / n as f64;
        let centre: Vec<f64> = (0..d).map(|j| moment(&|row| row[j])).collect();
        let covariance = |i: usize, j: usize| moment(&|row| (row[i] - centre[i]) * (row[j] - centre[j]));
        let full = Mixture::gaussian(&x, d, Gaussian::Full).unwrap();
        let l = full.factors();
        let mut log_det = 0.0;
        for i in 0..d {
            // Sums of 700 numbers below 40 in another order, and their squares.
            assert!((full.means()[i] - centre[i]).abs() < 1e-11, "{name}: {} {}", full.means()[i], centre[i]);
            log_det += 2.0 * l[i * d + i].ln();
            for j in 0..=i {
                let product: f64 = (0..=j).map(|k| l[i * d + k] * l[j * d + k]).sum();
                assert!((product - covariance(i, j)).abs() < 1e-10, "{name}: {product} {}", covariance(i, j));
            }
        }
        // At the maximum Σᵢ (xᵢ − m)ᵀ Σ⁻¹ (xᵢ − m) = n d, and Σᵢ |xᵢ − m|² = n tr Σ for any mean that is that of the
        // rows.
        let tau = std::f64::consts::TAU.ln();
        let nll = -mean(&full.log_prob_rows(&x));
        let says = 0.5 * (d as f64 * (tau + 1.0) + log_det);
        assert!((nll - says).abs() < 1e-9, "{name}: {nll} {says}");
        let sigma = 0.7;
        let fixed = Mixture::gaussian(&x, d, Gaussian::Fixed { sigma }).unwrap();
        assert_eq!(fixed.means(), full.means());
        let trace: f64 = (0..d).map(|i| covariance(i, i)).sum();
        let says = d as f64 * (0.5 * tau + sigma.ln()) + 0.5 * trace / (sigma * sigma);
        let nll = -mean(&fixed.log_prob_rows(&x));
        assert!((nll - says).abs() < 1e-9 * (1.0 + says), "{name}: {nll} {says}");
    }
}

#[test]
fn fits_do_not_depend_on_where_the_columns_lie_nor_on_their_unit() {
    // A change of units moves log p by the logarithm of the scale and nothing else. Powers of two change no digit; an
    // offset rounds the rows to half a unit of its last place, here at most 2^-23/2 (near 2^30) of 2^-10.
    let truth = mixture(2, 3, 3.0, 5);
    let (x, points) = (truth.draw(600, &mut stream(31, 0)), truth.draw(200, &mut stream(32, 0)));
    let options = EmOptions { components: 3, ..EmOptions::default() };
    let all = |x: &[f64], points: &[f64]| -> Vec<Vec<f64>> {
        let fitted = Mixture::fit(x, 2, &options, &mut stream(0, 0), &mut || false).unwrap();
        let chosen = Mixture::choose(x, points, 2, &options, &mut stream(0, 0), &mut || false).unwrap();
        let said = chosen.table.last().unwrap().1;
        let found = -mean(&chosen.mixture.log_prob_rows(points));
        // The table holds what was tried, the best of it or the one after.
        assert!(said >= found - 1e-6 * found.abs(), "{said} {found}");
        let single = Mixture::gaussian(x, 2, Gaussian::Full).unwrap();
        [fitted, chosen.mixture, single].iter().map(|m| m.log_prob_rows(points)).collect()
    };
    // The plain columns are brought to the units of the others too, or the start would differ.
    let plain = all(&x, &points);
    for (exponent, offset, tolerance) in
        [(660, 0.0, 1e-9), (-660, 0.0, 1e-9), (1000, 0.0, 1e-9), (-1000, 0.0, 1e-9), (-10, 1e9, 2e-2), (0, -1e12, 2e-2)]
    {
        let moved = |x: &[f64]| -> Vec<f64> { x.iter().map(|v| offset + v * 2f64.powi(exponent)).collect() };
        let log_scale = 2.0 * f64::from(exponent) * std::f64::consts::LN_2;
        for (which, (there, here)) in all(&moved(&x), &moved(&points)).iter().zip(&plain).enumerate() {
            // The start of EM by k-means depends on the units: its mixtures agree in the mean, the single one row by
            // row.
            let apart = mean(there) + log_scale - mean(here);
            let bound = if which == 2 { tolerance } else { 0.05 };
            assert!(apart.abs() < bound, "2^{exponent} + {offset}, fit {which}: {apart}");
        }
    }
}

#[test]
fn rows_of_which_no_gaussian_can_be_made_are_refused_in_words() {
    let refused = |x: &[f64], d: usize, kind: Gaussian| {
        let error = Mixture::gaussian(x, d, kind).unwrap_err();
        assert!(error.hint().is_some());
        error.to_string()
    };
    let fixed = |sigma| Gaussian::Fixed { sigma };
    assert!(refused(&[1.0, 2.0, 3.0], 2, Gaussian::Full).contains("3 numbers are not whole rows of 2"));
    assert!(refused(&[1.0], 0, Gaussian::Full).contains("0 columns"));
    assert!(refused(&[1.0, 2.0], 2, Gaussian::Full).contains("1 row for"));
    assert!(refused(&[], 2, fixed(1.0)).contains("0 rows"));
    assert!(refused(&[1.0, 0.0, 2.0, f64::NAN], 2, fixed(1.0)).contains("row 1 has NaN in column 1"));
    // 0.1 is no sum of bits: equal numbers have a mean that is not quite theirs.
    assert!(refused(&[1.0, 0.1, 2.0, 0.1, 4.0, 0.1], 2, Gaussian::Full).contains("column 1 is constant"));
    for sigma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(refused(&[1.0, 2.0], 1, fixed(sigma)).contains("deviation"), "{sigma}");
    }
    // One row has a mean, and a column that another determines leaves a ridge of a billionth.
    assert_eq!(Mixture::gaussian(&[3.0, 4.0], 2, fixed(0.5)).unwrap().means(), [3.0, 4.0]);
    let twins = Mixture::gaussian(&[1.0, 2.0, 2.0, 4.0, 3.0, 6.0, 5.0, 10.0], 2, Gaussian::Full).unwrap();
    let (slope, ridge) = (twins.factors()[2] / twins.factors()[0], twins.factors()[3]);
    // Variance 8.75 of the second column: √(2 · 1e-9 · 8.75), in the last digit of an f64's round-off of 8.75: 2e-16 ·
    // 8.75 beside a square of 1.7e-8, some 1e-7 relative; four digits are written here.
    assert!((slope - 2.0).abs() < 1e-8 && (ridge / 1.322_9e-4 - 1.0).abs() < 1e-3, "{slope} {ridge}");
}

/// Columns, and whether numbers are in their range.
fn columns() -> Vec<(Column, &'static [f64], &'static [f64])> {
    let rows: Vec<f64> = (-60..60).map(|i| ((f64::from(i) + 0.5) / 120.0 * std::f64::consts::PI).tan()).collect();
    let heavy = Column::fit(ColumnKind::Heavy, &rows).unwrap();
    vec![
        (heavy, &[0.3, -0.9, 1e3, -1e9], &[f64::INFINITY, f64::NEG_INFINITY]),
        (Column::Plain, &[0.0, -1e300, 5.0], &[]),
        (Column::Positive, &[1e-300, 1.0, 1e300], &[0.0, -1.0, -0.0, f64::INFINITY]),
        (Column::Unit { low: 0.0, high: 1.0 }, &[1e-300, 0.3, 1.0 - 1e-15], &[0.0, 1.0, -0.1, 2.0]),
        (Column::Unit { low: -3.0, high: 4.0 }, &[-2.999, 0.5, 3.999], &[-3.0, 4.0, 50.0, f64::NEG_INFINITY]),
        (Column::Angle { period: 360.0, cut: 30.0 }, &[31.0, 1.0, 359.0], &[f64::INFINITY]),
        (Column::Integer { bounds: None, noise: BinNoise::Uniform }, &[0.5, -1e9, 7.25], &[]),
        (Column::Integer { bounds: Some([-2.0, 9.0]), noise: BinNoise::Normal }, &[-1.5, 3.0, 9.99], &[-2.5, 10.0]),
    ]
}

#[test]
fn columns_undo_themselves_inside_their_range_and_know_what_is_outside() {
    for (column, inside, outside) in columns() {
        for x in inside {
            let (y, slope) = column.encode(*x).unwrap();
            let (back, back_slope) = column.decode(y);
            // The slope of ln x in y is 37 at 1e-300, and 690 rounds to 1e-13.
            assert!(y.is_finite() && (back - x).abs() <= 1e-12 * x.abs().max(1e-300), "{column:?}: {x} gave {back}");
            assert!((slope + back_slope).abs() < 1e-12 * (1.0 + slope.abs()), "{column:?} {x}");
        }
        for x in outside {
            assert!(column.encode(*x).is_none(), "{column:?} takes {x}");
        }
        // However far out, a sample is inside.
        for y in [-1e5, -800.0, -40.0, -9.0, 9.0, 40.0, 700.0, 1e5] {
            let (x, _) = column.decode(y);
            assert!(column.encode(x).is_some(), "{column:?}: {y} gave {x}");
        }
    }
    assert!(Column::Positive.encode(f64::NAN).unwrap().0.is_nan() && Column::Positive.decode(f64::NAN).0.is_nan());
}

#[test]
fn angles_wrap_and_samples_lie_where_the_data_lay() {
    let mut rng = stream(30, 0);
    // Hours of the day, none of them around 4 o'clock; and degrees in [−180, 180), none around −90.
    let hours: Vec<f64> = (0..500).map(|_| (6.0 + rng.random_range(0.0..20.0)) % 24.0).collect();
    let Column::Angle { cut, .. } = Column::fit(ColumnKind::Angle { period: 24.0 }, &hours).unwrap() else { panic!() };
    assert!((2.0..6.0).contains(&cut), "{cut}");
    let degrees: Vec<f64> = (0..500).map(|_| (rng.random_range(-60.0..240.0) + 180.0) % 360.0 - 180.0).collect();
    let column = Column::fit(ColumnKind::Angle { period: 360.0 }, &degrees).unwrap();
    let Column::Angle { cut, .. } = column else { panic!() };
    assert!((-120.0..-60.0).contains(&cut) || (-480.0..-420.0).contains(&cut), "{cut}");
    for (column, low, high) in [(column, -180.0, 180.0), (Column::Angle { period: 24.0, cut: 4.0 }, 0.0, 24.0)] {
        let period = high - low;
        for y in (-90..=90).map(|i| f64::from(i) * 0.1) {
            let (x, _) = column.decode(y);
            assert!((low..high).contains(&x), "{column:?}: {y} gave {x}");
            // A turn changes nothing, but for the round-off of adding it: 2e-13 of an angle, over φ(6) = 6e-9 times the
            // period.
            let (here, _) = column.encode(x).unwrap();
            let (turned, _) = column.encode(x + 3.0 * period).unwrap();
            assert!(
                y.abs() > 6.0 || ((here - y).abs() < 1e-6 && (turned - y).abs() < 1e-6),
                "{column:?}: {y} {here} {turned}"
            );
        }
    }
}

#[test]
fn column_kinds_are_read_and_their_data_checked() {
    let read = |text: &str| text.parse::<ColumnKind>();
    assert_eq!(read("angle"), Ok(ColumnKind::Angle { period: 360.0 }));
    assert_eq!(read("unit:-1,2.5"), Ok(ColumnKind::Unit { low: -1.0, high: 2.5 }));
    for text in ["angle:6.2831853", "unit:0,1", "positive", "plain", "heavy"] {
        assert_eq!(read(text).unwrap().to_string(), text);
    }
    for text in
        ["angle:0", "angle:x", "unit:1", "unit:2,1", "unit:0,1,2", "positive:3", "heavy:1", "circle", "", "unit:nan,1"]
    {
        assert!(read(text).unwrap_err().contains("angle:PERIOD"), "{text}");
    }
    let refused = |kind, values: &[f64]| {
        let error = Column::fit(kind, values).unwrap_err();
        assert!(error.hint().is_some());
        error.to_string()
    };
    assert!(refused(ColumnKind::Positive, &[1.0, -2.0]).contains("row 1 (counted from 0) has -2"));
    assert!(refused(ColumnKind::Positive, &[0.0]).contains("row 0"));
    assert!(refused(ColumnKind::Unit { low: 0.0, high: 1.0 }, &[0.5, 1.0]).contains("inside (0, 1)"));
    assert!(refused(ColumnKind::Angle { period: 360.0 }, &[f64::NAN]).contains("finite"));
    assert!(refused(ColumnKind::Plain, &[f64::INFINITY]).contains("finite"));
}

#[test]
fn a_row_outside_the_support_has_density_zero_and_no_latent() {
    let spec = FlowSpec {
        columns: Some(vec![Column::Positive, Column::Plain]),
        base: Some(mixture(2, 3, 1.0, 1)),
        ..FlowSpec::plain(net(2), SolverSpec::default())
    };
    let theta: Vec<f64> = net(2).init(&mut stream(1, 0)).into_iter().map(f64::from).collect();
    let model = spec.bind(&theta, Precision::F64).unwrap();
    let x = [1.0, 2.0, -1.0, 2.0, 0.0, 0.0, 3.0, 1.0];
    let Solved { y: z, log_prob, cost, .. } = model.encode(&x, &[]).unwrap();
    assert_eq!(cost.outside, [1, 2]);
    assert!(cost.failures.is_empty(), "{:?}", cost.failures);
    assert!(log_prob[0].is_finite() && log_prob[3].is_finite());
    assert!(log_prob[1..3].iter().all(|l| *l == f64::NEG_INFINITY), "{log_prob:?}");
    assert!(z[2..6].iter().all(|z| z.is_nan()) && z[..2].iter().chain(&z[6..]).all(|z| z.is_finite()));
    // And the others are as they are alone.
    assert_eq!(model.log_prob(&x[6..], &[]).unwrap().log_prob[0], log_prob[3]);
}

#[test]
fn the_work_of_a_choice_is_bounded_by_counting() {
    let truth = mixture(3, 12, 6.0, 5);
    let (train, valid) = (truth.draw(20_000, &mut stream(4, 0)), truth.draw(1000, &mut stream(4, 1)));
    let choose = |work: f64| {
        let options = EmOptions { work, ..EmOptions::default() };
        Mixture::choose(&train, &valid, 3, &options, &mut stream(4, 2), &mut || false).unwrap()
    };
    // Nothing at all: one Gaussian, which costs one look at the rows.
    let none = choose(0.0);
    assert_eq!((none.table.len(), none.mixture.components()), (1, 1));
    // An iteration costs some 50 multiplications a row and component: a rung of twelve, ten of them over 16 384 rows,
    // 1e8.
    let (some, all) = (choose(3e7), choose(f64::INFINITY));
    assert!(some.table.len() > 1 && some.table.len() < all.table.len(), "{:?} of {:?}", some.table, all.table);
    assert_eq!(some.table[..2], all.table[..2]);
    assert_eq!(choose(1e15).mixture, all.mixture);
    assert_eq!(choose(3e7).mixture, some.mixture);
    let rungs: Vec<usize> = all.table.iter().map(|(k, _)| *k).take(6).collect();
    assert_eq!(rungs, [1, 2, 3, 4, 6, 8]);
}

#[test]
fn few_rows_of_many_columns_are_shrunk_towards_their_diagonal() {
    let d = 100;
    let rows = |n: usize, seed: u64| -> Vec<f64> {
        let z = StandardNormal::new(d).draw(n, &mut stream(seed, 5));
        z.chunks_exact(d)
            .flat_map(|z| (0..d).map(|j| z[j] + if j > 0 { 0.3 * z[j - 1] } else { 0.0 }).collect::<Vec<_>>())
            .collect()
    };
    let (train, valid, test) = (rows(150, 1), rows(40, 2), rows(400, 3));
    let options = EmOptions::default();
    let chosen = Mixture::choose(&train, &valid, d, &options, &mut stream(1, 5), &mut || false).unwrap();
    let nll = |mixture: &Mixture| -mean(&mixture.log_prob_rows(&test));
    // One Gaussian without a covariance between columns: what a table of so few rows bears at least.
    let (means, deviations): (Vec<f64>, Vec<f64>) = (0..d)
        .map(|j| {
            let column: Vec<f64> = train.iter().skip(j).step_by(d).copied().collect();
            let m = mean(&column);
            (m, mean(&column.iter().map(|x| (x - m).powi(2)).collect::<Vec<_>>()).sqrt())
        })
        .unzip();
    let factors = (0..d * d).map(|i| if i % (d + 1) == 0 { deviations[i / d] } else { 0.0 }).collect();
    let diagonal = Mixture::new(vec![1.0], means, factors).unwrap();
    let full = Mixture::gaussian(&train, d, Gaussian::Full).unwrap();
    let (found, plain, worst) = (nll(&chosen.mixture), nll(&diagonal), nll(&full));
    // 40 rows choose the strength: their mean is known to √(d/2)/√40 = 1.1, but the differences of neighbours far
    // better.
    assert!(
        found < plain + 0.5 && found < worst - 20.0,
        "{found}, {plain} of the diagonal, {worst} of maximum likelihood"
    );
}
