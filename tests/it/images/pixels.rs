//! Whole numbers become real ones and come back: the noise, the map of the levels, and the bound that they make.

use std::f64::consts::PI;

use cnflow::model::{Architecture, FlowSpec, Model};
use cnflow::rng;
use cnflow::transform::{
    Bijection, BinNoise, Dequantise, Integers, LevelMap, LevelScale, Levels, Mapped, Pixels, StandardNormal,
};
use cnflow::velocity::Precision;
use cnflow::{ImageShape, stats};

const NOISES: [BinNoise; 2] = [BinNoise::Normal, BinNoise::Uniform];
const SCALES: [LevelScale; 4] =
    [LevelScale::Pieces, LevelScale::Linear, LevelScale::Logit { alpha: 1e-6 }, LevelScale::Logit { alpha: 0.05 }];

/// Counts of levels: as in MNIST, two levels, one that never occurs, all alike, the middle most frequent.
fn counts() -> Vec<Vec<u64>> {
    let mut mnist = vec![20; 256];
    (mnist[0], mnist[253], mnist[254], mnist[7]) = (50_000, 1500, 1200, 0);
    let spread = (0..17).map(|k: i64| 1000 - 100 * (k - 8).abs()).map(|n| n as u64).collect();
    vec![mnist, vec![3, 1], vec![0, 5, 0, 5], vec![1; 17], spread, vec![7, 0]]
}

fn images(n: usize, d: usize, levels: usize) -> Vec<f64> {
    (0..n * d).map(|i| ((i * 7919 + i / 13) % levels) as f64).collect()
}

#[test]
fn the_noise_has_its_density() {
    for noise in NOISES {
        // ∫q by the midpoint rule, whose error is h² q′/24 at the ends: 1e-9.
        let (n, mut sums) = (20_000, [0.0; 3]);
        for i in 0..n {
            let u = (f64::from(i) + 0.5) / f64::from(n);
            let q = noise.log_density(u).exp() / f64::from(n);
            sums.iter_mut().zip([1.0, u, (u - 0.5).powi(2)]).for_each(|(sum, f)| *sum += q * f);
        }
        assert!((sums[0] - 1.0).abs() < 1e-8 && (sums[1] - 0.5).abs() < 1e-8, "{noise:?}: {sums:?}");
        assert!((sums[2] - noise.variance()).abs() < 1e-8, "{noise:?}: {} {}", sums[2], noise.variance());
        assert_eq!(noise.log_density(-0.01), f64::NEG_INFINITY);
        // Draws: the share below each of some places is that of q, within five standard errors.
        let draws: Vec<f64> = (0..200_000).map(|i| noise.of(rng::mix(i))).collect();
        assert!(draws.iter().all(|u| (0.0..1.0).contains(u)));
        for place in [0.02, 0.1, 0.3, 0.5, 0.8, 0.97] {
            let below = draws.iter().filter(|u| **u < place).count() as f64 / draws.len() as f64;
            let cells = 10_000;
            let width = place / f64::from(cells);
            let q = |i| noise.log_density((f64::from(i) + 0.5) * width).exp() * width;
            let share: f64 = (0..cells).map(q).sum();
            let se = (share * (1.0 - share) / draws.len() as f64).sqrt();
            assert!((below - share).abs() < 5.0 * se, "{noise:?} below {place}: {below} {share}");
        }
        // The ends of the words are inside.
        assert!(noise.of(0) >= 0.0 && noise.of(u64::MAX) < 1.0);
    }
}

#[test]
fn the_noise_is_a_function_of_the_row_alone() {
    let (d, n) = (9, 40);
    let x = images(n, d, 17);
    let whole = Some(Integers { low: 0.0, high: 16.0 });
    for noise in NOISES {
        let layer = Dequantise::new(vec![whole; d], noise).unwrap();
        let there = |layer: &Dequantise, x: &[f64]| {
            let mut rows = Mapped::new(x.to_vec(), d);
            layer.inverse(&mut rows, &[]).unwrap();
            (rows.y, rows.logdet)
        };
        let (all, log_q) = there(&layer, &x);
        for i in [0, 7, n - 1] {
            let (alone, one) = there(&layer, &x[i * d..(i + 1) * d]);
            assert_eq!((&alone[..], one[0]), (&all[i * d..(i + 1) * d], log_q[i]));
        }
        // Pixels of one row differ, and so do seeds and draws; levels are kept.
        let fraction = |v: &f64| v.fract();
        let others = [layer.clone().drawn(0, 1), layer.clone().drawn(1, 0), layer.clone().drawn(1, 1)];
        let mut seen: Vec<Vec<f64>> = vec![all.iter().map(fraction).collect()];
        seen.extend(others.iter().map(|layer| there(layer, &x).0.iter().map(fraction).collect()));
        for (k, one) in seen.iter().enumerate() {
            let mut values = one[..d].to_vec();
            values.sort_by(f64::total_cmp);
            assert!(values.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(seen[..k].iter().all(|other| other.iter().zip(one).all(|(a, b)| a != b)));
        }
        let mut back = Mapped::new(all.clone(), d);
        layer.forward(&mut back, &[]).unwrap();
        assert_eq!(back.y, x);
        // Rounding of k + u costs 2⁻⁴⁹ of u, and log q has a slope below 13.
        let worst = back.logdet.iter().zip(&log_q).map(|(a, b)| (a + b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-11, "{worst:e}");
    }
}

#[test]
fn numbers_that_are_not_levels_are_outside_and_real_columns_stay() {
    let columns = vec![
        Some(Integers { low: 0.0, high: 3.0 }),
        None,
        Some(Integers { low: f64::NEG_INFINITY, high: f64::INFINITY }),
        Some(Integers { low: -2.0, high: f64::INFINITY }),
    ];
    let layer = Dequantise::new(columns, BinNoise::Normal).unwrap();
    let x = [3.0, 0.25, -1e9, 4e6, 4.0, 0.5, 0.0, 0.0, 1.0, 0.5, 0.5, 0.0, 0.0, 7.5, 2.0, -3.0];
    let mut rows = Mapped::new(x.to_vec(), 4);
    layer.inverse(&mut rows, &[]).unwrap();
    assert_eq!(rows.cost.outside, [1, 2, 3]);
    assert!(rows.logdet[1..].iter().all(|l| *l == f64::NEG_INFINITY) && rows.logdet[0].is_finite());
    assert!(rows.y[4..].iter().all(|v| v.is_nan()) && rows.y[1] == 0.25);
    let mut back = Mapped::points(rows.y[..4].to_vec());
    layer.forward(&mut back, &[]).unwrap();
    assert_eq!(back.y, x[..4]);
    // A sample beyond the bounds becomes the nearest level.
    let mut far = Mapped::points(vec![-7.5, 1.0, 0.5, -9.0, 99.0, 1.0, -0.5, 0.0]);
    layer.forward(&mut far, &[]).unwrap();
    assert_eq!(far.y, [0.0, 1.0, 0.0, -2.0, 3.0, 1.0, -1.0, 0.0]);
    for wrong in [vec![], vec![Some(Integers { low: 2.0, high: 1.0 })], vec![Some(Integers { low: 0.1, high: 0.9 })]] {
        assert!(Dequantise::new(wrong, BinNoise::Uniform).is_err());
    }
}

#[test]
fn the_map_of_levels_is_undone_and_has_its_slope() {
    for counts in counts() {
        for (scale, noise) in SCALES.iter().flat_map(|scale| NOISES.map(|noise| (*scale, noise))) {
            let map = LevelMap::new(scale, &counts, noise).unwrap();
            let levels = counts.len();
            let (mut last, mut mass) = (f64::NEG_INFINITY, 0.0);
            for i in 0..8 * levels {
                let v = (i as f64 + 0.5) / 8.0;
                let (y, log_slope) = map.encode(v);
                let (back, log_back) = map.decode(y);
                assert!(y > last, "{scale} {v}: it does not rise");
                assert!((back - v).abs() < 1e-9 * (1.0 + v), "{scale} {v}: {back}");
                assert!((log_slope + log_back).abs() < 1e-6, "{scale} {v}: {log_slope} {log_back}");
                // The ends of a cell are inside one level; the error is h² y‴/6 and round-off.
                let h = 1e-4;
                let slope = (map.encode(v + h).0 - map.encode(v - h).0) / (2.0 * h);
                assert!((slope.ln() - log_slope).abs() < 1e-4, "{scale} {v}: {} {log_slope}", slope.ln());
                let (from, to) = (map.encode(v - 0.0625).0, map.encode((v + 0.0625).next_down()).0);
                mass += to - from;
                last = y;
            }
            // The levels lie end to end.
            let all = map.encode((levels as f64).next_down()).0 - map.encode(0.0).0;
            assert!((mass / all - 1.0).abs() < 1e-9, "{scale}: {mass} {all}");
        }
    }
}

#[test]
fn a_level_is_the_same_on_both_sides_exactly() {
    for counts in counts() {
        let (levels, d) = (counts.len(), 1);
        for scale in [LevelScale::Pieces, LevelScale::Linear] {
            let map = LevelMap::new(scale, &counts, BinNoise::Normal).unwrap();
            let layer = Levels::new(map.clone(), d);
            let us = [0.0, f64::MIN_POSITIVE, 1e-17, 1e-9, 0.3, 0.5, 1.0 - 1e-9, 1.0 - f64::EPSILON, 1.0];
            for (k, u) in (0..levels).flat_map(|k| us.map(|u| (k, u))) {
                let v = (k as f64 + u).min((k as f64 + 1.0).next_down());
                let mut rows = Mapped::points(vec![v]);
                layer.inverse(&mut rows, &[]).unwrap();
                // Also where y was rounded to a neighbour inside.
                layer.forward(&mut rows, &[]).unwrap();
                assert_eq!(rows.y[0].floor(), k as f64, "{scale}: {v}");
            }
            // Beyond the ends the outermost levels go on.
            let (low, high) = (map.encode(0.0).0, map.encode((levels as f64).next_down()).0);
            assert!(map.decode(low - 3.0).0 < 0.0 && map.decode(high + 3.0).0 > levels as f64);
        }
    }
}

#[test]
fn mapped_pixels_have_mean_0_and_deviation_1() {
    for (counts, noise) in counts().into_iter().flat_map(|counts| NOISES.map(|noise| (counts.clone(), noise))) {
        for scale in [LevelScale::Pieces, LevelScale::Linear] {
            let map = LevelMap::new(scale, &counts, noise).unwrap();
            let total = counts.iter().sum::<u64>() as f64;
            let n = 2000;
            let (mut mean, mut square) = (0.0, 0.0);
            for (k, count) in counts.iter().enumerate() {
                for i in 0..n {
                    let u = (f64::from(i) + 0.5) / f64::from(n);
                    let weight = *count as f64 / total * noise.log_density(u).exp() / f64::from(n);
                    let y = map.encode(k as f64 + u).0;
                    mean += weight * y;
                    square += weight * y * y;
                }
            }
            assert!(mean.abs() < 1e-5 && (square - 1.0).abs() < 1e-4, "{scale} {noise:?}: {mean} {square}");
        }
    }
}

/// A model of images of one pixel whose y is a standard normal: P(k) is known.
fn one_pixel(scale: LevelScale, noise: BinNoise) -> Model {
    let shape = ImageShape { height: 1, width: 1, channels: 1 };
    let pixels = Pixels { shape, counts: vec![40, 10, 25, 5, 20], scale, noise };
    let spec = FlowSpec { pixels: Some(pixels), ..FlowSpec::bare(Architecture::Identity { dim: 1 }) };
    Model { spec, theta: Vec::new(), provenance: serde_json::Map::new() }
}

#[test]
fn many_draws_of_the_noise_give_the_probability_of_a_level_and_one_a_bound_of_it() {
    const DRAWS: u64 = 4000;
    for (scale, noise) in SCALES.iter().flat_map(|scale| NOISES.map(|noise| (*scale, noise))) {
        let model = one_pixel(scale, noise);
        let map = model.spec.pixels.as_ref().unwrap().map().unwrap();
        let bound = model.bind(Precision::F64).unwrap();
        let levels = [0.0, 1.0, 2.0, 3.0, 4.0];
        let draws: Vec<Vec<f64>> =
            (0..DRAWS).map(|k| bound.with_draw(k).unwrap().log_prob(&levels, &[]).unwrap().log_prob).collect();
        let mut all = 0.0;
        for k in 0..levels.len() {
            let (from, to) = (map.encode(k as f64).0, map.encode((k as f64 + 1.0).next_down()).0);
            let exact = stats::normal_cdf(to) - stats::normal_cdf(from);
            let weights: Vec<f64> = draws.iter().map(|draw| draw[k].exp()).collect();
            let (mean, se) = stats::mean_and_se(&weights);
            // Weights p/q of a truncated normal are largest at the ends of the bin, where they are 23 times rarer.
            assert!((mean - exact).abs() < 5.0 * se + 1e-12, "{scale} {noise:?} {k}: {mean} ± {se}, {exact}");
            let (bound, se) = stats::mean_and_se(&draws.iter().map(|draw| draw[k]).collect::<Vec<_>>());
            assert!(bound < exact.ln() + 5.0 * se, "{scale} {noise:?} {k}: {bound} {}", exact.ln());
            all += exact;
        }
        assert!(all < 1.0 + 1e-12, "{scale}: {all}");
    }
}

#[test]
fn the_terms_of_the_bound_add_up() {
    let d = 12;
    let shape = ImageShape { height: 2, width: 2, channels: 3 };
    for (scale, noise) in SCALES.iter().flat_map(|scale| NOISES.map(|noise| (*scale, noise))) {
        let counts = (1..18).map(|k| 400 / k).collect();
        let pixels = Pixels { shape, counts, scale, noise };
        let spec = FlowSpec { pixels: Some(pixels), ..FlowSpec::bare(Architecture::Identity { dim: d }) };
        let bound = spec.bind::<f32>(&[], Precision::F64).unwrap().with_draw(3).unwrap();
        let x = images(20, d, 17);
        let solved = bound.encode(&x, &[]).unwrap();
        let terms = bound.pixel_terms(&x).unwrap().unwrap();
        let log_y = StandardNormal::new(d).log_prob_rows(&solved.y);
        for (i, log_y) in log_y.iter().enumerate() {
            let sum = log_y + terms.slope[i] + terms.noise[i];
            assert!((solved.log_prob[i] - sum).abs() < 1e-9, "{scale} {i}: {} {sum}", solved.log_prob[i]);
        }
        // There and back the levels are the same.
        assert_eq!(bound.points(&solved.y, &[]).unwrap().y, x);
        // The gradient by v = k + u, by central differences of the density of v within its level.
        let scored = bound.log_prob_and_grad(&x[..d], &[]).unwrap();
        let map = bound.spec().pixels.as_ref().unwrap().map().unwrap();
        for j in 0..d {
            let v = map.decode(solved.y[j]).0;
            let log = |v: f64| {
                let (y, log_slope) = map.encode(v);
                -0.5 * (y * y + (2.0 * PI).ln()) + log_slope
            };
            let h = 1e-6 * v.fract().min(1.0 - v.fract());
            let slope = (log(v + h) - log(v - h)) / (2.0 * h);
            // Round-off of log p over h.
            assert!(
                (scored.gradient[j] - slope).abs() < 1e-3 * (1.0 + slope.abs()),
                "{scale} {j}: {} {slope}",
                scored.gradient[j]
            );
        }
    }
}

#[test]
fn a_model_of_images_is_the_same_after_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    for (scale, noise) in SCALES.iter().flat_map(|scale| NOISES.map(|noise| (*scale, noise))) {
        let model = one_pixel(scale, noise);
        model.save(&path).unwrap();
        let back = Model::load(&path).unwrap();
        assert_eq!(back.spec, model.spec);
        let x = [0.0, 3.0, 4.0];
        let log = |model: &Model| model.bind(Precision::F64).unwrap().log_prob(&x, &[]).unwrap().log_prob;
        assert_eq!(log(&back), log(&model));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(text(&std::fs::read(&path).unwrap()).contains(r#"\"format\":4"#));
}

#[test]
fn levels_are_256_or_as_many_as_there_are() {
    let shape = ImageShape { height: 1, width: 2, channels: 1 };
    let levels = |train: &[u8], others: &[u8]| Pixels::fit(shape, train, &[others]).unwrap().levels();
    assert_eq!((levels(&[0, 16], &[]), levels(&[0, 3], &[0, 16]), levels(&[0, 1], &[])), (17, 17, 2));
    assert_eq!((levels(&[0, 128], &[]), levels(&[0, 3], &[255, 0])), (256, 256));
    assert!(Pixels::fit(shape, &[0; 8], &[]).is_err());
}
