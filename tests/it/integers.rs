//! Laws of columns of whole numbers: their noise is a function of the row, the seed and the draw; log P is that of the
//! numbers; samples are whole; and no family, file or command changes that.

use crate::common::columns::{self, trained};
#[cfg(feature = "cli")]
use crate::common::command::{cnf, json};
use crate::common::velocity::bits;
use crate::common::watch::First;
use cnflow::apply::{Block, Transport, Way};
use cnflow::model::{Architecture, FlowSpec};
use cnflow::rng::stream;
use cnflow::rows::{Memory, diagnose};
use cnflow::stats::normal_cdf;
use cnflow::train::{Family, Job, fit, resume};
use cnflow::transform::{BinNoise, Column, ColumnKind, Mixture, StandardNormal};
use cnflow::velocity::Precision;
use cnflow::{Error, Model};
use rand::Rng as _;
use rand_distr::{Distribution as _, Poisson};

/// Rows of k and a: k is Poisson, a a normal around k/2.
fn rows(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, 0);
    let poisson = Poisson::new(3.0).unwrap();
    let z = StandardNormal::new(1).draw(n, &mut rng);
    z.iter()
        .flat_map(|z| {
            let k: f64 = poisson.sample(&mut rng);
            [k, 0.5 * k + z]
        })
        .collect()
}

fn table(x: Vec<f64>, d: usize) -> Memory {
    let columns = Some(["k", "a", "b"][..d].iter().map(|name| (*name).to_owned()).collect());
    Memory { name: "the rows".into(), x: x.into(), dim: d, columns, ..Memory::default() }
}

fn job(family: Family, rules: &[&str]) -> Job {
    columns::job(family.name(), rules, 12)
}

#[test]
fn every_family_has_whole_numbers_and_the_density_of_the_real_ones_behind_them() {
    for (rule, low, high) in [("k:integer", f64::NEG_INFINITY, f64::INFINITY), ("k:integer:0,40", 0.0, 40.0)] {
        for family in Family::ALL {
            let (job, name) = (job(family, &[rule]), family.name());
            let data = job.dataset_in_memory(table(rows(900, 1), 2), None).unwrap();
            let model = trained(&job, &data);
            assert!(model.spec.has_integers() && model.spec.dequantises(), "{name}");
            let bound = model.bind(Precision::F64).unwrap();
            let x = rows(60, 2);
            let scored = bound.log_prob(&x, &[]).unwrap().log_prob;
            // log P of a draw is log p of the number with its noise, less that of the noise.
            let noisy = model.spec.with_noise(x.clone(), model.spec.solver.probe_seed).unwrap();
            let real = bound.of_real_numbers().unwrap().log_prob(&noisy, &[]).unwrap().log_prob;
            for (i, (a, b)) in scored.iter().zip(&real).enumerate() {
                let u = noisy[2 * i] - x[2 * i];
                assert!((0.0..1.0).contains(&u) && noisy[2 * i + 1] == x[2 * i + 1], "{name}: {u}");
                assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{name}, row {i}: {a} or {b}");
            }
            // Whole numbers come back exactly, and samples are whole.
            let z = bound.latents(&x, &[]).unwrap().y;
            let back = bound.points(&z, &[]).unwrap().y;
            for (a, b) in x.chunks_exact(2).zip(back.chunks_exact(2)) {
                assert!(a[0] == b[0] && (a[1] - b[1]).abs() < 1e-3, "{name} {rule}: {a:?} or {b:?}");
            }
            let samples = bound.sample_rows(5, 0, 200, &[]).unwrap().y;
            let whole = |row: &[f64]| row[0].fract() == 0.0 && (low..=high).contains(&row[0]);
            assert!(samples.chunks_exact(2).all(whole), "{name} {rule}");
            // A row's bits are its own: alone, behind others, after a file.
            let alone: Vec<f64> =
                x.chunks_exact(2).flat_map(|row| bound.log_prob(row, &[]).unwrap().log_prob).collect();
            assert_eq!(bits(&alone), bits(&scored), "{name}");
            let other = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
            assert_eq!(other.spec, model.spec, "{name}");
            assert_eq!(bits(&other.bind(Precision::F64).unwrap().log_prob(&x, &[]).unwrap().log_prob), bits(&scored));
            // Another draw has other noise, another number no probability.
            let drawn = bound.with_draw(1).unwrap().log_prob(&x, &[]).unwrap().log_prob;
            let others = drawn.iter().zip(&scored).filter(|(a, b)| a != b).count();
            // A table is flat within its bins.
            assert!(others > 50 || family == Family::Histogram, "{name}: {others}");
            let outside = bound.log_prob(&[0.5, 1.0, -1.0, 1.0], &[]).unwrap();
            assert_eq!(outside.log_prob[0], f64::NEG_INFINITY, "{name}");
            assert_eq!(outside.log_prob[1] == f64::NEG_INFINITY, low == 0.0, "{name}");
            assert_eq!(outside.cost.outside[0], 0, "{name}");
        }
    }
}

#[test]
fn the_probabilities_of_whole_numbers_are_those_of_their_bins() {
    // A Gaussian of mean 2.3 and deviation 1.7 behind the noise: P(k) = Φ((k + 1 − m)/s) − Φ((k − m)/s).
    let (m, s) = (2.3, 1.7);
    for noise in [BinNoise::Uniform, BinNoise::Normal] {
        let spec = FlowSpec {
            columns: Some(vec![Column::Integer { bounds: None, noise }]),
            base: Some(Mixture::new(vec![1.0], vec![m], vec![s]).unwrap()),
            ..FlowSpec::bare(Architecture::Identity { dim: 1 })
        };
        let model = Model { spec, theta: Vec::new(), provenance: serde_json::Map::new() };
        let x: Vec<f64> = (-4..10).map(f64::from).collect();
        let way = Way { to_data: false, until: 1.0, log_density: true };
        let scored = |draws: u64| {
            let transport = Transport::new(&model, Precision::F64, way, &Default::default()).unwrap();
            let block = Block { x: x.clone(), ..Block::default() };
            transport.with_draws(draws).unwrap().block(&block).unwrap().log_prob
        };
        let (one, many) = (scored(1), scored(4000));
        let mut mass = 0.0;
        for (i, k) in x.iter().enumerate() {
            let truth = (normal_cdf((k + 1.0 - m) / s) - normal_cdf((k - m) / s)).ln();
            // The deviation of p(k + u)/q(u) over its mean is below 1.3 in these bins for uniform noise, and below 4 for
            // the normal one: four standard errors of 4000 draws.
            let within = if noise == BinNoise::Uniform { 0.09 } else { 0.3 };
            assert!((many[i] - truth).abs() < within, "{noise:?} {k}: {} where {truth} is true", many[i]);
            mass += many[i].exp();
        }
        assert!((mass - 1.0).abs() < 0.02, "{noise:?}: {mass}");
        // One draw is a lower bound on average.
        let mean = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
        assert!(mean(&one) < mean(&many), "{noise:?}");
    }
}

#[test]
fn a_training_on_whole_numbers_goes_on_to_the_same_bits() {
    for family in ["cnf", "spline"] {
        let job = job(family.parse().unwrap(), &["k:integer"]);
        let data = job.dataset_in_memory(table(rows(700, 3), 2), None).unwrap();
        let mut first = First(None);
        let whole = fit(&job.clone().resolve_for(&data).unwrap(), &data, &mut first).unwrap();
        let again = resume(first.0.unwrap(), &data, &mut ()).unwrap();
        assert_eq!(whole.model.theta, again.model.theta, "{family}");
        assert_eq!(whole.model.spec, again.model.spec, "{family}");
    }
}

#[test]
fn the_gradient_is_that_at_the_noise_of_the_row() {
    let job = job("realnvp".parse().unwrap(), &["k:integer:0,40"]);
    let data = job.dataset_in_memory(table(rows(900, 4), 2), None).unwrap();
    let bound = trained(&job, &data).bind(Precision::F64).unwrap();
    let x = [3.0, 1.2];
    let (found, h) = (bound.log_prob_and_grad(&x, &[]).unwrap(), 1e-6);
    let noisy = bound.spec().with_noise(x.to_vec(), bound.spec().solver.probe_seed).unwrap();
    let real = bound.of_real_numbers().unwrap();
    for j in 0..2 {
        let at = |step: f64| {
            let mut v = noisy.clone();
            v[j] += step;
            real.log_prob(&v, &[]).unwrap().log_prob[0]
        };
        let slope = (at(h) - at(-h)) / (2.0 * h);
        assert!(
            (found.gradient[j] - slope).abs() < 1e-4 * slope.abs().max(1.0),
            "{j}: {} or {slope}",
            found.gradient[j]
        );
    }
}

#[test]
fn kinds_of_whole_numbers_are_read_and_their_data_checked() {
    assert_eq!("integer:-2,7".parse(), Ok(ColumnKind::Integer { low: -2.0, high: 7.0 }));
    for text in ["integer", "integer:-2,7"] {
        assert_eq!(text.parse::<ColumnKind>().unwrap().to_string(), text);
    }
    for text in ["integer:1", "integer:2,1", "integer:0.5,3", "integer:0,inf", "integer:1,1", "integer:a,b"] {
        assert!(text.parse::<ColumnKind>().unwrap_err().contains("integer:LOW,HIGH"), "{text}");
    }
    let kind = |text: &str| text.parse::<ColumnKind>().unwrap();
    for (text, values, part) in [
        ("integer", &[1.0, 2.5][..], "row 1 (counted from 0) has 2.5, which is not a whole number"),
        ("integer:0,5", &[1.0, 6.0], "which is not a whole number from 0 to 5"),
        ("integer:0,5", &[1.0, -1.0], "row 1"),
        ("integer", &[f64::NAN], "finite"),
    ] {
        let error = Column::fit(kind(text), values).unwrap_err();
        assert!(error.to_string().contains(part) && error.hint().is_some(), "{text}: {error}");
    }
    let noise = |values: &[f64]| match Column::fit(kind("integer"), values).unwrap() {
        Column::Integer { noise, .. } => noise,
        other => panic!("{other:?}"),
    };
    assert_eq!((noise(&[0.0, 1.0, 1.0]), noise(&[0.0, 1.0, 2.0, 3.0])), (BinNoise::Normal, BinNoise::Uniform));
    // Held-out rows are looked at too.
    let mut x = rows(200, 5);
    x[399 - 1] = 0.5;
    let job = job(Family::Gaussian, &["k:integer"]).with(|job| job.data.far_rows = cnflow::train::FarRows::Keep);
    let data = job.dataset_in_memory(table(x, 2), None).unwrap();
    let error = fit(&job.resolve_for(&data).unwrap(), &data, &mut ()).unwrap_err();
    assert!(matches!(&error, Error::Invalid { .. }) && error.to_string().contains("column `k`"), "{error}");
}

#[test]
fn a_column_of_whole_numbers_gets_a_hint_and_none_when_it_is_called_so() {
    let plain = job(Family::Gaussian, &[]);
    let data = plain.dataset_in_memory(table(rows(900, 6), 2), None).unwrap();
    let found = diagnose::dataset(&data, true);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].hint.contains("`data.columns` k:integer"), "{}", found[0].hint);
    let called = job(Family::Gaussian, &["k:integer"]);
    assert_eq!(called.integers(&data), [0]);
    assert!(diagnose::with_integers(&data, true, &called.integers(&data)).is_empty());
    // Rows of whole numbers alone come again by themselves; copies of others are found all the same.
    let mut rng = stream(8, 0);
    let whole: Vec<f64> = (0..1800).map(|_| f64::from(rng.random_range(0..9u8))).collect();
    let all = job(Family::Gaussian, &["k:integer", "a:integer"]);
    let data = all.dataset_in_memory(table(whole, 2), None).unwrap();
    assert!(diagnose::with_integers(&data, true, &all.integers(&data)).is_empty());
    let once = rows(300, 7);
    let data = called.dataset_in_memory(table([once.clone(), once].concat(), 2), None).unwrap();
    let found = diagnose::with_integers(&data, true, &[0]);
    assert!(found.iter().any(|finding| finding.kind == "copies"), "{found:?}");
}

#[cfg(feature = "cli")]
#[test]
fn the_command_scores_samples_and_inverts_whole_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let lines =
        rows(800, 9).chunks_exact(2).fold("k,a\n".to_owned(), |text, row| text + &format!("{},{}\n", row[0], row[1]));
    std::fs::write(at.join("t.csv"), lines).unwrap();
    let said = |words: &str| {
        let out = cnf(at, words);
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout))
    };
    let (_, text) = said("train --data t.csv --model gaussian --out g");
    assert!(text.contains("--column k:integer"), "{text}");
    json(at, "train --data t.csv --column k:integer --base normal --steps 8 --hidden 8 --out r");
    let scored = json(at, "density r t.csv -o one.npy");
    assert_eq!((scored["bound"].as_str(), scored["dequantise"].as_u64()), (Some("lower"), Some(1)));
    let many = json(at, "density r t.csv -o many.npy --dequantise 16");
    assert!(many["mean_log_prob"].as_f64() > scored["mean_log_prob"].as_f64(), "{many} {scored}");
    assert!(said("density r t.csv").1.contains("lower bound"), "{}", said("density r t.csv").1);
    json(at, "density r --grid 40 -o grid.npy");
    json(at, "density r t.csv --plot d.png");
    json(at, "sample r -n 100 -o s.csv --plot s.png");
    let samples = cnflow::io::read(&at.join("s.csv")).unwrap().data;
    assert!(samples.chunks_exact(2).all(|row| row[0].fract() == 0.0));
    json(at, "invert t.csv --model r -o z.npy");
    json(at, "sample r --latent z.npy -o back.npy");
    let back = cnflow::io::read(&at.join("back.npy")).unwrap().data;
    assert!(back.chunks_exact(2).zip(rows(800, 9).chunks_exact(2)).all(|(a, b)| a[0] == b[0]));
    let lines = cnf(at, "check r -n 60 --json").stdout;
    assert!(serde_json::from_slice::<serde_json::Value>(&lines).unwrap()["checks"].is_array());
    json(at, "compare r g --out compared");
    json(at, "compare --data t.csv --column k:integer --models gaussian,realnvp --steps 5 --out trained");
    json(at, "plot r --out drawn");
    json(at, "trajectory r -o paths.png -n 20 --grid 12");
    for (words, code, part) in [
        ("train --data t.csv --column a:integer --model gaussian --out x", 1, "which is not a whole number"),
        (
            "train --data t.csv --column k:integer:0,2 --model gaussian --out x",
            1,
            "which is not a whole number from 0 to 2",
        ),
        ("train --data t.csv --column k:integer:3 --model gaussian --out x", 1, "integer:LOW,HIGH"),
        ("density g t.csv --dequantise 3 -o l.npy", 1, "no whole numbers"),
        ("density r --grid 10 --dequantise 3 -o l.npy", 1, "--dequantise 3"),
        ("sample r -n 5 -o l.npy --with-density p.npy", 1, "only the density of its own noise"),
    ] {
        let (found, text) = said(words);
        assert!(found == Some(code) && text.contains(part), "{words}: {text}");
    }
}
