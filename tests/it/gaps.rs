//! Laws of Gaussians and mixtures of rows with missing cells: marginals, the fit, the command.

use cnflow::fit::{EmOptions, Gapped, Gaussian, Prior};
use cnflow::model::{Architecture, FlowSpec, Moments};
use cnflow::rng;
use cnflow::rows::{Dataset, MissingRows, Rows, Source};
use cnflow::stats::Sample;
use cnflow::train::{Family, Job, TrainResult, fit, score};
use cnflow::transform::{Column, Mixture};
use cnflow::velocity::Precision;
use rand::Rng as _;

/// Three Gaussians in three columns, well apart and tilted.
fn truth() -> Mixture {
    let factors = [
        [1.0, 0.0, 0.0, 0.6, 0.5, 0.0, 0.1, -0.2, 0.7],
        [0.4, 0.0, 0.0, -0.5, 0.9, 0.0, 0.0, 0.3, 0.6],
        [0.8, 0.0, 0.0, 0.0, 0.5, 0.0, 0.6, 0.4, 0.3],
    ];
    let means = vec![0.0, 0.0, 0.0, 5.0, 5.0, -1.0, -5.0, 4.0, 3.0];
    Mixture::new(vec![0.5, 0.3, 0.2], means, factors.concat()).unwrap()
}

/// The rows without one in `share` of their cells, at random.
fn holed(x: &[f64], share: f64, seed: u64) -> Vec<f64> {
    let mut rng = rng::stream(seed, 1);
    x.iter().map(|v| if rng.random::<f64>() < share { f64::NAN } else { *v }).collect()
}

fn drawn(n: usize, seed: u64) -> Vec<f64> {
    truth().draw(n, &mut rng::stream(seed, 2))
}

fn never() -> bool {
    false
}

fn sample(x: &[f64]) -> Sample<'_> {
    Sample { x, weight: &[] }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// `L Lᵀ` of a component.
fn covariance(mixture: &Mixture, k: usize) -> Vec<f64> {
    let d = mixture.dim();
    let l = &mixture.factors()[k * d * d..(k + 1) * d * d];
    let entry = |i: usize, j: usize| (0..d).map(|a| l[i * d + a] * l[j * d + a]).sum::<f64>();
    (0..d * d).map(|at| entry(at / d, at % d)).collect()
}

fn close(found: &[f64], wanted: &[f64], within: f64, what: &str) {
    for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
        assert!((a - b).abs() <= within * (1.0 + b.abs()), "{what}, {i}: {a} for {b}");
    }
}

#[test]
fn the_likelihood_of_the_present_cells_never_falls() {
    for (share, seed, weighted) in [(0.0, 1, false), (0.3, 2, false), (0.3, 3, true), (0.7, 4, false)] {
        let x = holed(&drawn(400, seed), share, seed);
        let mut rng = rng::stream(seed, 3);
        let weight: Vec<f64> =
            if weighted { (0..400).map(|_| rng.random_range(0.2..3.0)).collect() } else { Vec::new() };
        let gapped = Gapped::new(Sample { x: &x, weight: &weight }, 3).unwrap();
        let unit = |scale: f64| (0..9).map(|i| if i % 4 == 0 { scale } else { 0.0 }).collect::<Vec<f64>>();
        for strength in [0.0, 2.0] {
            let prior = Prior { covariance: unit(2.0), strength };
            let start =
                Mixture::new(vec![0.4, 0.6], vec![1.0, 2.0, 0.0, -1.0, 1.0, 0.5], [unit(3.0), unit(2.0)].concat());
            let (mut mixture, mut before) = (start.unwrap(), f64::NEG_INFINITY);
            for step in 0..25 {
                let next = gapped.step(&mixture, &prior).unwrap();
                // Sums of 400 rows of some ten nats, to round-off.
                assert!(
                    next.objective >= before - 1e-9,
                    "{share} {strength}: {before} to {} in step {step}",
                    next.objective
                );
                (mixture, before) = (next.mixture, next.objective);
            }
        }
    }
}

#[test]
fn without_a_missing_cell_a_gaussian_is_the_usual_one_and_with_some_it_is_the_closed_form() {
    let x = drawn(300, 5);
    let mut rng = rng::stream(5, 3);
    let weight: Vec<f64> = (0..300).map(|_| rng.random_range(0.2..3.0)).collect();
    for weight in [&[][..], &weight] {
        let rows = Sample { x: &x, weight };
        let found = Mixture::gaussian_of_gaps(rows, 3, &mut never).unwrap();
        let usual = Mixture::gaussian(rows, 3, Gaussian::Full).unwrap();
        close(found.means(), usual.means(), 1e-12, "means");
        close(&covariance(&found, 0), &covariance(&usual, 0), 1e-12, "covariance");
    }
    // Where only the second of two columns has gaps the likelihood factors into p(a) p(b | a), and its maximum is that of a
    // regression of the whole rows.  Ref: Little & Rubin, section 7.2.
    let pairs: Vec<f64> =
        x.chunks_exact(3).enumerate().flat_map(|(i, r)| [r[0], if i % 3 == 0 { f64::NAN } else { r[1] }]).collect();
    let found = Mixture::gaussian_of_gaps(sample(&pairs), 2, &mut never).unwrap();
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let all: Vec<f64> = pairs.iter().step_by(2).copied().collect();
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.chunks_exact(2).filter(|r| !r[1].is_nan()).map(|r| (r[0], r[1])).unzip();
    let (ma, mb, m) = (mean(&a), mean(&b), mean(&all));
    let of = |u: &[f64], mu: f64, v: &[f64], mv: f64| {
        mean(&u.iter().zip(v).map(|(u, v)| (u - mu) * (v - mv)).collect::<Vec<_>>())
    };
    let (saa, sab, sbb, s) = (of(&a, ma, &a, ma), of(&a, ma, &b, mb), of(&b, mb, &b, mb), of(&all, m, &all, m));
    let slope = sab / saa;
    let wanted = [s, slope * s, slope * s, sbb - slope * sab + slope * slope * s];
    // EM ends where an iteration gains 1e-10 nats a row: its distance from the maximum is about the root of that.
    close(found.means(), &[m, mb + slope * (m - ma)], 1e-4, "means");
    close(&covariance(&found, 0), &wanted, 1e-4, "covariance");
}

#[test]
fn a_known_mixture_is_found_again_from_rows_without_a_third_of_their_cells() {
    let (train, valid) = (holed(&drawn(6000, 7), 0.3, 7), holed(&drawn(1500, 8), 0.3, 8));
    let options = EmOptions { components: 16, iterations: 200, tolerance: 1e-5, ..EmOptions::default() };
    let chosen =
        Mixture::choose_of_gaps(sample(&train), sample(&valid), 3, &options, &mut rng::stream(1, 1), &mut never)
            .unwrap();
    let (found, truth) = (chosen.mixture, truth());
    // Held-out whole rows: within a hundredth of a nat of the truth, where one Gaussian is a nat away.
    let fresh = drawn(20_000, 9);
    let mean = |m: &Mixture| m.log_prob_rows(&fresh).iter().sum::<f64>() / 20_000.0;
    let single = Mixture::gaussian_of_gaps(sample(&train), 3, &mut never).unwrap();
    let (loss, far) = (mean(&truth) - mean(&found), mean(&truth) - mean(&single));
    assert!(loss < 0.02 && far > 0.3, "{loss} and {far}, {:?}", chosen.table);
    // Each Gaussian of the truth has one near it.
    for k in 0..3 {
        let near =
            |j: &usize| -> f64 { (0..3).map(|i| (found.means()[3 * j + i] - truth.means()[3 * k + i]).powi(2)).sum() };
        let best = (0..found.components()).map(|j| near(&j)).fold(f64::INFINITY, f64::min).sqrt();
        assert!(best < 0.25, "component {k}: {best}");
    }
}

#[test]
fn a_marginal_model_is_the_integral_of_the_model_over_its_missing_cells() {
    let factors = vec![1.0, 0.0, 0.5, 0.7, 0.6, 0.0, -0.4, 0.9];
    let base = Mixture::new(vec![0.4, 0.6], vec![0.0, 0.3, 1.0, -0.5], factors).unwrap();
    let spec = FlowSpec {
        base: Some(base),
        standardise: Some(Moments { mean: vec![0.2, -0.3], std: vec![0.8, 0.7] }),
        columns: Some(vec![Column::Positive, Column::Unit { low: -2.0, high: 3.0 }]),
        names: vec!["a".into(), "b".into()],
        ..FlowSpec::bare(Architecture::Identity { dim: 2 })
    };
    let model = spec.bind::<f64>(&[], Precision::F64).unwrap();
    let nan = f64::NAN;
    let x = [1.7, nan, nan, 0.4, 1.7, 0.4, nan, nan, -1.0, nan];
    let found = model.log_prob_present(&x).unwrap();
    let n = 200_000;
    // ∫ p(1.7, b) db over (−2, 3), and ∫ p(a, 0.4) da over a = eˢ, s from −20 to 20.
    let b = |i: usize| -2.0 + 5.0 * (i as f64 + 0.5) / n as f64;
    let a = |i: usize| (-20.0 + 40.0 * (i as f64 + 0.5) / n as f64).exp();
    let over_b: Vec<f64> = (0..n).flat_map(|i| [1.7, b(i)]).collect();
    let over_a: Vec<f64> = (0..n).flat_map(|i| [a(i), 0.4]).collect();
    let p = |x: &[f64]| model.log_prob(x, &[]).unwrap().log_prob;
    let first = (5.0 / n as f64 * p(&over_b).iter().map(|l| l.exp()).sum::<f64>()).ln();
    let second = (40.0 / n as f64 * p(&over_a).iter().enumerate().map(|(i, l)| l.exp() * a(i)).sum::<f64>()).ln();
    assert!((found.log_prob[0] - first).abs() < 1e-8, "{} for {first}", found.log_prob[0]);
    assert!((found.log_prob[1] - second).abs() < 1e-8, "{} for {second}", found.log_prob[1]);
    assert_eq!(found.log_prob[2].to_bits(), p(&x[4..6])[0].to_bits());
    assert!(found.log_prob[3].is_nan());
    // A number that its column does not have is outside, as without gaps.
    assert!(found.log_prob[4] == f64::NEG_INFINITY && found.cost.outside == [4]);
    // A row's result depends on that row alone.
    for row in 0..4 {
        let alone = model.log_prob_present(&x[2 * row..2 * row + 2]).unwrap().log_prob;
        assert_eq!(alone[0].to_bits(), found.log_prob[row].to_bits(), "row {row}");
    }
    assert!(FlowSpec::bare(Architecture::Identity { dim: 2 }).marginal(&[0]).is_err(), "a normal alone has no mixture");
}

fn data(train: Vec<f64>, valid: Vec<f64>) -> Dataset {
    Dataset {
        name: "x".into(),
        dim: 3,
        shape: None,
        columns: None,
        train: Source::Rows(Rows::new(train)),
        valid: Rows::new(valid.clone()),
        test: Rows::new(valid),
        context: None,
        words: Vec::new(),
        places: None,
        notes: Vec::new(),
    }
}

/// What is fitted with the missing cells of the data.
fn fitted(family: Family, data: &Dataset) -> cnflow::Result<TrainResult> {
    let job = Job::default().of_family(family).with(|job| {
        job.data.missing = MissingRows::Marginal;
        job.optimiser.steps = Some(200);
    });
    fit(&job, data, &mut ())
}

const FITTED: [Family; 3] = [Family::Gaussian, Family::GaussianShrunk, Family::Mixture];

#[test]
fn a_training_is_scored_by_the_cells_that_are_there_on_any_number_of_threads() {
    let data = data(holed(&drawn(900, 11), 0.3, 11), holed(&drawn(300, 12), 0.3, 12));
    for family in FITTED {
        let result = fitted(family, &data).unwrap();
        let again =
            rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| fitted(family, &data)).unwrap();
        let base = |result: &TrainResult| result.model.spec.base.clone().unwrap();
        assert_eq!(bits(base(&result).factors()), bits(base(&again).factors()), "{}", family.name());
        assert_eq!(bits(base(&result).means()), bits(base(&again).means()), "{}", family.name());
        let flow = result.model.bind(Precision::F64).unwrap();
        let logs = flow.log_prob_present(&data.valid.points()).unwrap().log_prob;
        let some: Vec<f64> = logs.iter().copied().filter(|l| !l.is_nan()).collect();
        let nll = -some.iter().sum::<f64>() / some.len() as f64;
        let scored = score(&flow, &data.valid, None).unwrap();
        assert!((scored.nll - nll).abs() < 1e-12, "{}: {} for {nll}", family.name(), scored.nll);
        assert_eq!(result.history.validations[0].nll.to_bits(), scored.nll.to_bits());
    }
    let nll = |family: Family| fitted(family, &data).unwrap().history.validations[0].nll;
    // Three Gaussians well apart.
    assert!(nll(Family::Mixture) < nll(Family::Gaussian) - 0.2);
}

#[test]
fn without_a_missing_cell_the_fit_is_that_of_whole_rows() {
    let data = data(drawn(300, 13), drawn(100, 14));
    for family in FITTED {
        let usual = Job::default().of_family(family).with(|job| job.optimiser.steps = Some(200));
        let (ours, theirs) = (fitted(family, &data).unwrap(), fit(&usual, &data, &mut ()).unwrap());
        assert_eq!(ours.model.spec, theirs.model.spec, "{}", family.name());
    }
}

#[test]
fn other_models_refuse_missing_cells_and_columns_without_any_are_named() {
    let holes = data(holed(&drawn(90, 15), 0.3, 15), holed(&drawn(90, 16), 0.3, 16));
    for family in Family::ALL.into_iter().filter(|family| !FITTED.contains(family)) {
        let error = fitted(family, &holes).unwrap_err();
        let (words, hint) = (error.to_string(), error.hint().unwrap());
        assert!(words.starts_with("`data.missing` marginal has no meaning for"), "{}: {words}", family.name());
        assert!(hint.contains("gaussian, gaussian-shrunk or mixture"), "{hint}");
    }
    let blank: Vec<f64> = drawn(90, 15).chunks_exact(3).flat_map(|r| [r[0], f64::NAN, r[2]]).collect();
    for family in FITTED {
        let error = fitted(family, &data(blank.clone(), drawn(30, 17))).unwrap_err();
        assert!(error.to_string().contains("column 1 has no value in any row") && error.hint().is_some(), "{error}");
        let constant: Vec<f64> = blank
            .chunks_exact(3)
            .enumerate()
            .flat_map(|(i, r)| [r[0], if i < 4 { 2.0 } else { f64::NAN }, r[2]])
            .collect();
        let error = fitted(family, &data(constant, drawn(30, 17))).unwrap_err();
        assert!(error.to_string().contains("is constant: 2"), "{error}");
        let infinite: Vec<f64> =
            holes.valid.points().iter().map(|v| if *v > 5.0 { f64::INFINITY } else { *v }).collect();
        assert!(fitted(family, &data(infinite, drawn(30, 17))).unwrap_err().to_string().contains("inf"));
    }
}

#[cfg(feature = "cli")]
mod command {
    use std::path::Path;

    use cnflow::io::{self, Dialect};

    use super::{bits, drawn, holed, truth};
    use crate::common::command::{cnf, json};

    fn write(at: &Path, name: &str, x: &[f64]) {
        let cell = |v: &f64| if v.is_nan() { String::new() } else { v.to_string() };
        let line = |row: &[f64]| row.iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
        let rows: String = x.chunks_exact(3).map(line).collect();
        std::fs::write(at.join(name), format!("a,b,c\n{rows}")).unwrap();
    }

    fn log_prob(at: &Path, name: &str) -> Vec<f64> {
        io::read_with(&at.join(name), &Dialect::default(), true).unwrap().array.data
    }

    #[test]
    fn the_command_trains_on_gaps_scores_them_and_says_how_many() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let mut x = holed(&drawn(600, 21), 0.3, 21);
        // A row without any value, and whole rows at the end.
        x[..3].fill(f64::NAN);
        x.extend(drawn(5, 22));
        write(at, "x.csv", &x);
        let gaps = x.chunks_exact(3).filter(|row| row.iter().any(|v| v.is_nan())).count();
        let empty = x.chunks_exact(3).filter(|row| row.iter().all(|v| v.is_nan())).count();
        for model in ["gaussian", "gaussian-shrunk", "mixture"] {
            let out = cnf(
                at,
                &format!("train --data x.csv --model {model} --missing marginal --steps 200 --out {model} --json"),
            );
            let err = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success(), "{model}: {err}");
            let note = format!(
                "`x.csv`: {gaps} of 605 rows have a missing cell: their other cells count; {empty} without a value left out"
            );
            assert!(err.contains(&note), "{model}: {err}");
            let facts = json(at, &format!("density {model} x.csv -o {model}.npy"));
            assert_eq!(
                (facts["marginal"].as_u64(), facts["missing"].as_u64()),
                (Some((gaps - empty) as u64), Some(empty as u64))
            );
            let all = log_prob(at, &format!("{model}.npy"));
            assert_eq!(all.iter().filter(|l| l.is_nan()).count(), empty, "{model}");
            // In blocks, and on one thread, the same bits.
            json(at, &format!("density {model} x.csv -o blocks.npy --block 7 --threads 1"));
            assert_eq!(bits(&log_prob(at, "blocks.npy")), bits(&all), "{model}");
            let out = cnf(at, &format!("density {model} x.csv"));
            let err = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(err.contains("a missing cell: log p is that of the cells that they have"), "{err}");
            // Latents of such rows are unknown.
            let facts = json(at, &format!("invert x.csv --model {model} -o z.npy"));
            assert_eq!(facts["missing"].as_u64(), Some(gaps as u64), "{model}");
            let config = std::fs::read_to_string(at.join(model).join("config.toml")).unwrap();
            assert!(config.contains("missing = \"marginal\""), "{config}");
            json(at, &format!("sample {model} -n 50 -o s.npy"));
            assert!(log_prob(at, "s.npy").iter().all(|v| v.is_finite()));
        }
        // The density is nearly that of the truth: whole rows and parts.
        let (found, wanted) = (log_prob(at, "mixture.npy"), truth().log_prob_present(&x).unwrap());
        let gap: f64 = found.iter().zip(&wanted).filter(|(f, _)| !f.is_nan()).map(|(f, w)| w - f).sum::<f64>() / 600.0;
        assert!(gap.abs() < 0.15, "{gap}");
        // What needs whole rows uses those, and says so.
        let out = cnf(at, "check mixture -n 100");
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(err.contains("only its rows without a missing cell are used here"), "{err}");
        // A model that was trained without such rows gives none of them a density.
        json(at, "train --data x.csv --model mixture --steps 200 --out whole");
        let facts = json(at, "density whole x.csv -o whole.npy");
        assert_eq!((facts["marginal"].as_u64(), facts["missing"].as_u64()), (Some(0), Some(gaps as u64)));
        for (words, part) in [
            ("--model cnf", "--missing marginal has no meaning for cnf"),
            ("--model spline", "--missing marginal has no meaning for spline"),
            ("", "--missing marginal has no meaning for auto"),
            ("--model mixture --condition c", "--condition has no meaning for mixture"),
        ] {
            let out = cnf(at, &format!("train --data x.csv {words} --missing marginal --time 1s --out none"));
            let err = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.code() == Some(1) && err.contains(part) && err.contains("hint: "), "{words}: {err}");
            assert!(!at.join("none").exists(), "{words}");
        }
    }
}
