//! Laws of rows that do not all count alike: whatever is fitted, a row of weight 2 is two rows, weights of any scale are
//! the same weights, equal ones are none, and rows of weight 0 are not there.

#[cfg(feature = "cli")]
use crate::common::command::json;
use crate::common::watch::First;
use cnflow::fit::{Em, Gaussian};
use cnflow::rng::stream;
use cnflow::rows::{Dataset, Memory, Rows};
use cnflow::stats::Sample;
use cnflow::train::{Job, Objective, fit, resume, score};
use cnflow::transform::{Histogram, Mixture, StandardNormal, Standardise};
use cnflow::{Error, Model};

/// Rows from N(0, 4 I) and the weights that make them N(m, C), m = (1, 1), C = [[1, ½], [½, 1]].
fn weighted(n: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let x: Vec<f64> = StandardNormal::new(2).draw(n, &mut stream(seed, 0)).iter().map(|z| 2.0 * z).collect();
    let weight = x.chunks_exact(2).map(|row| (target(row) - proposal(row)).exp()).collect();
    (x, weight)
}

fn target(row: &[f64]) -> f64 {
    let (a, b) = (row[0] - 1.0, row[1] - 1.0);
    let square = (a * a - a * b + b * b) / 0.75;
    -0.5 * square - 0.5 * 0.75f64.ln() - std::f64::consts::TAU.ln()
}

fn proposal(row: &[f64]) -> f64 {
    -(row[0] * row[0] + row[1] * row[1]) / 8.0 - 4.0f64.ln() - std::f64::consts::TAU.ln()
}

/// Rows of the target: m + L z.
fn of_target(n: usize, seed: u64) -> Vec<f64> {
    let z = StandardNormal::new(2).draw(n, &mut stream(seed, 1));
    z.chunks_exact(2).flat_map(|z| [1.0 + z[0], 1.0 + 0.5 * z[0] + 0.75f64.sqrt() * z[1]]).collect()
}

/// Small whole weights, and each row as often as it weighs.
fn whole(n: usize, d: usize, seed: u64) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let x = StandardNormal::new(d).draw(n, &mut stream(seed, 2));
    let weight: Vec<f64> = (0..n).map(|i| ((i * 7) % 3 + 1) as f64).collect();
    let repeated = x
        .chunks_exact(d)
        .zip(&weight)
        .flat_map(|(row, w)| std::iter::repeat_n(row, *w as usize))
        .flatten()
        .copied()
        .collect();
    (x, weight, repeated)
}

fn near(name: &str, a: &[f64], b: &[f64], within: f64) {
    assert_eq!(a.len(), b.len(), "{name}");
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= within * b.abs().max(1.0), "{name}: {a} or {b}");
    }
}

#[test]
fn a_row_of_weight_two_is_two_rows_in_all_that_is_fitted_in_closed_form() {
    for d in [1, 2, 5] {
        let (x, weight, repeated) = whole(400, d, 3);
        for scale in [1.0, 1e-180, 3e150] {
            let weight: Vec<f64> = weight.iter().map(|w| scale * w).collect();
            let rows = Sample { x: &x, weight: &weight };
            let (one, other) = (Standardise::fit(rows, d).unwrap(), Standardise::fit(&repeated, d).unwrap());
            near("means", one.mean(), other.mean(), 1e-13);
            near("deviations", one.std(), other.std(), 1e-13);
            for kind in [Gaussian::Full, Gaussian::Shrunk { factor: 0.6 }, Gaussian::Fixed { sigma: 0.7 }] {
                let one = Mixture::gaussian(rows, d, kind).unwrap();
                let other = Mixture::gaussian(&repeated, d, kind).unwrap();
                near("mean", one.means(), other.means(), 1e-12);
                near("factor", one.factors(), other.factors(), 1e-12);
            }
            // With next to no prior, an iteration of EM from one mixture; rows count up to a common factor.
            let start = Mixture::gaussian(&x, d, Gaussian::Full).unwrap();
            let shifted = start.means().iter().map(|m| m + 0.8).collect::<Vec<f64>>();
            let two = [start.means(), &shifted].concat();
            let start = Mixture::new(vec![0.3, 0.7], two, [start.factors(), start.factors()].concat()).unwrap();
            let strength = 1e-12;
            let one = Em::new(rows, d, 2, strength).unwrap().step(&start).unwrap();
            let other = Em::new(&repeated, d, 2, strength).unwrap().step(&start).unwrap();
            assert!((one.log_prob - other.log_prob).abs() < 1e-12);
            near("shares", one.mixture.weights(), other.mixture.weights(), 1e-9);
            near("means", one.mixture.means(), other.mixture.means(), 1e-9);
            near("factors", one.mixture.factors(), other.mixture.factors(), 1e-9);
        }
    }
}

#[test]
fn weights_of_one_value_are_no_weights_in_every_fit() {
    let (x, _) = weighted(3000, 5);
    let (valid, _) = weighted(500, 6);
    let (equal, of_valid) = (vec![1.0; 3000], vec![1.0; 500]);
    let (rows, held_out) = (Sample { x: &x, weight: &equal }, Sample { x: &valid, weight: &of_valid });
    let options = cnflow::fit::EmOptions { components: 4, ..Default::default() };
    let stop: &mut dyn FnMut() -> bool = &mut || false;
    let chosen = |a: Sample<'_>, b: Sample<'_>, stop: &mut dyn FnMut() -> bool| {
        Mixture::choose(a, b, 2, &options, &mut stream(1, 0), stop).unwrap().mixture
    };
    assert_eq!(chosen(rows, held_out, stop), chosen(Sample::from(&x), Sample::from(&valid), stop));
    let fitted = |a: Sample<'_>, b: Sample<'_>| Histogram::fit(a, b, 2).unwrap().histogram;
    assert_eq!(fitted(rows, held_out), fitted(Sample::from(&x), Sample::from(&valid)));
    assert_eq!(Standardise::fit(rows, 2).unwrap(), Standardise::fit(&x, 2).unwrap());
}

/// A table of these rows, the split by shares.
fn table(x: &[f64], weight: Option<Vec<f64>>, job: &Job) -> cnflow::Result<Dataset> {
    job.dataset_in_memory(
        Memory { name: "rows".into(), x: x.to_vec().into(), dim: 2, weight, ..Memory::default() },
        None,
    )
}

fn job(family: &str, steps: usize) -> Job {
    Job::default().of_family(family.parse().unwrap()).with(|job| {
        job.optimiser.steps = Some(steps);
        job.model.hidden = (!["gaussian", "mixture", "histogram"].contains(&family)).then(|| vec![24, 24]);
        job.optimiser.batch = (!job.model.family.is_reference()).then_some(256);
    })
}

fn trained(job: &Job, data: &Dataset) -> Model {
    fit(&job.clone().resolve_for(data).unwrap(), data, &mut ()).unwrap().model
}

#[test]
fn every_family_learns_the_weighted_density_and_not_that_of_the_rows() {
    let (x, weight) = weighted(12_000, 7);
    let test = of_target(6000, 8);
    let best = test.chunks_exact(2).map(target).sum::<f64>() / 6000.0;
    for (family, steps, within) in [
        ("gaussian", 1, 0.02),
        ("mixture", 300, 0.03),
        ("histogram", 1, 0.25),
        ("cnf", 600, 0.05),
        ("realnvp", 600, 0.06),
        ("spline", 400, 0.08),
    ] {
        let job = job(family, steps);
        let data = table(&x, Some(weight.clone()), &job).unwrap();
        assert!(data.notes.iter().any(|note| note.contains("count as")), "{:?}", data.notes);
        let model = trained(&job, &data);
        let flow = model.bind(Default::default()).unwrap();
        let found = score(&flow, &Rows::new(test.clone()), None).unwrap();
        assert!(-found.nll > best - within, "{family}: {} where {best} is best", -found.nll);
        // The held-out rows are of the proposal; their weighted score is that of the target.
        let held_out = score(&flow, &data.test, None).unwrap();
        assert!((held_out.nll - found.nll).abs() < 4.0 * held_out.nll_se.hypot(found.nll_se), "{family}");
        assert!(held_out.nll_se > 0.0 && held_out.nll_se < 0.15, "{family}: {}", held_out.nll_se);
    }
}

#[test]
fn likelihood_and_mixed_training_learn_the_weighted_density() {
    let (x, weight) = weighted(6000, 9);
    let test = of_target(4000, 10);
    let best = test.chunks_exact(2).map(target).sum::<f64>() / 4000.0;
    for objective in [Objective::Likelihood, Objective::Mixed] {
        let job = job("cnf", 120).with(|job| {
            job.objective.kind = objective;
            job.model.base = "normal".into();
        });
        let data = table(&x, Some(weight.clone()), &job).unwrap();
        let flow = trained(&job, &data).bind(Default::default()).unwrap();
        let found = score(&flow, &Rows::new(test.clone()), None).unwrap();
        assert!(-found.nll > best - 0.12, "{objective:?}: {} where {best} is best", -found.nll);
    }
}

#[test]
fn equal_weights_and_rows_of_weight_zero_train_to_the_bits_of_a_table_without() {
    let (x, _) = weighted(2000, 11);
    let split = |job: &mut Job| job.data.split = "0.8,0.1".into();
    for family in ["cnf", "realnvp", "mixture", "histogram", "gaussian"] {
        let job = job(family, 30).with(split);
        let plain = trained(&job, &table(&x, None, &job).unwrap());
        let equal = trained(&job, &table(&x, Some(vec![0.37; 2000]), &job).unwrap());
        assert_eq!((&plain.spec, &plain.theta), (&equal.spec, &equal.theta), "{family}");
        // Every third row away: the sets of a split are drawn before, so the table without is split alike by codes.
        let weight: Vec<f64> = (0..2000).map(|i| if i % 3 == 0 { 0.0 } else { 2.5 }).collect();
        let with = table(&x, Some(weight.clone()), &job).unwrap();
        let mut without = table(&x, None, &job).unwrap();
        let places = without.places.clone().unwrap();
        let kept = |set: &[usize]| (0..set.len()).filter(|i| weight[set[*i]] > 0.0).collect::<Vec<usize>>();
        if let cnflow::rows::Source::Rows(rows) = &mut without.train {
            *rows = rows.pick(2, &kept(&places.train));
        }
        without.valid = without.valid.pick(2, &kept(&places.valid));
        without.test = without.test.pick(2, &kept(&places.test));
        assert!(with.notes.iter().any(|note| note.contains("667 rows have the weight 0")), "{:?}", with.notes);
        let (one, other) = (trained(&job, &with), trained(&job, &without));
        assert_eq!((&one.spec, &one.theta), (&other.spec, &other.theta), "{family}");
    }
}

#[test]
fn a_weighted_training_goes_on_to_the_bits_of_one_that_was_left_alone() {
    let (x, weight) = weighted(900, 12);
    for family in ["cnf", "spline"] {
        let job = job(family, 40).with(|job| job.output.checkpoint = "15".into());
        let data = table(&x, Some(weight.clone()), &job).unwrap();
        let mut first = First(None);
        let whole = fit(&job.clone().resolve_for(&data).unwrap(), &data, &mut first).unwrap();
        let again = resume(first.0.clone().unwrap(), &data, &mut ()).unwrap();
        assert_eq!(whole.model.theta, again.model.theta, "{family}");
        let other = table(&x, Some(weight.iter().map(|w| w + 1.0).collect()), &job).unwrap();
        let error = resume(first.0.unwrap(), &other, &mut ()).unwrap_err();
        assert!(error.to_string().contains("no longer holds the rows"), "{error}");
    }
}

#[test]
fn the_scale_of_weights_changes_no_score_and_whole_ones_score_as_repeated_rows() {
    let flow = Model {
        spec: cnflow::model::FlowSpec {
            base: Some(Mixture::new(vec![1.0], vec![0.2, -0.1], vec![1.1, 0.0, 0.3, 0.8]).unwrap()),
            ..cnflow::model::FlowSpec::bare(cnflow::model::Architecture::Identity { dim: 2 })
        },
        theta: Vec::new(),
        provenance: serde_json::Map::new(),
    }
    .bind(Default::default())
    .unwrap();
    let (x, weight, repeated) = whole(301, 2, 13);
    let of = |weight: Vec<f64>| score(&flow, &Rows { weight, ..Rows::new(x.clone()) }, None).unwrap();
    let (one, far) = (of(weight.clone()), of(weight.iter().map(|w| 1e200 * w).collect()));
    let plain = score(&flow, &Rows::new(repeated), None).unwrap();
    assert!((one.nll - plain.nll).abs() < 1e-12 && (one.nll - far.nll).abs() < 1e-12);
    assert!((one.dominance.median - plain.dominance.median).abs() < 1e-12);
    // Twice the rows, each of half the weight, inform as much.
    let halves = Rows { weight: vec![0.5; 602], ..Rows::new([&x[..], &x[..]].concat()) };
    let (halves, single) = (score(&flow, &halves, None).unwrap(), of(Vec::new()));
    assert!((halves.nll - single.nll).abs() < 1e-12);
    assert!((one.nll_se / far.nll_se - 1.0).abs() < 1e-12 && one.nll_se > single.nll_se);
}

#[test]
fn weights_that_are_none_are_refused_with_the_row_and_the_reason() {
    let (x, _) = weighted(100, 15);
    let job = Job::default();
    let at = |row: usize, w: f64| (0..100).map(|i| if i == row { w } else { 1.0 + i as f64 }).collect::<Vec<f64>>();
    for (weight, words) in [
        (at(17, -0.25), "row 17 (counted from 0) has the weight -0.25 in the weights: no density has negative weights"),
        (at(3, f64::NAN), "row 3 (counted from 0) has the weight NaN"),
        (at(4, f64::INFINITY), "row 4 (counted from 0) has the weight inf"),
        (vec![0.0; 100], "all weights in the weights are 0"),
        (vec![1.0; 99], "there are 99 weights for 100 rows of rows"),
    ] {
        let error = table(&x, Some(weight), &job).unwrap_err();
        assert!(matches!(&error, Error::Invalid { .. }) && error.hint().is_some(), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let named = job.clone().with(|job| job.data.weights = Some("w".into()));
    let rows = |columns: &[&str], d: usize| Memory {
        name: "rows".into(),
        x: vec![1.0; 20 * d].into(),
        dim: d,
        columns: Some(columns.iter().map(|name| (*name).to_owned()).collect()),
        ..Memory::default()
    };
    let error = named.dataset_in_memory(rows(&["a", "b"], 2), None).unwrap_err();
    assert!(matches!(&error, Error::Unknown { kind: "column", .. }), "{error}");
    let error = named.dataset_in_memory(rows(&["w"], 1), None).unwrap_err();
    assert!(error.to_string().contains("no column is left to model beside the weights `w`"), "{error}");
    let error = named.dataset(None).unwrap_err();
    assert!(error.to_string().contains("the toy `8gaussians` is drawn without weights"), "{error}");
}

#[cfg(feature = "cli")]
#[test]
fn a_run_whose_weights_are_named_by_number_finds_its_table_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let x = StandardNormal::new(2).draw(600, &mut stream(17, 0));
    let rows = x.chunks_exact(2).enumerate().map(|(i, row)| format!("{},{},{}\n", row[0], row[1], 1 + i % 2));
    std::fs::write(at.join("t.csv"), format!("a,b,w\n{}", rows.collect::<String>())).unwrap();
    for (weights, out) in [("w", "named"), ("2", "numbered")] {
        json(at, &format!("train --data t.csv --weights {weights} --model gaussian --out {out}"));
        let facts = json(at, &format!("check {out} -n 60"));
        let line = facts["checks"].as_array().unwrap().iter().find(|line| line["name"] == "latents of data");
        assert_eq!(line.unwrap()["verdict"], "pass", "{weights}: {facts}");
    }
}

#[cfg(feature = "cli")]
#[test]
fn the_command_density_weighs_its_means() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let x = StandardNormal::new(2).draw(500, &mut stream(18, 0));
    let weight: Vec<f64> = (0..500).map(|i| f64::from(i % 4) / 3.0).collect();
    let rows = |with: bool| -> String {
        let one = |(row, w): (&[f64], &f64)| {
            format!("{},{}{}\n", row[0], row[1], if with { format!(",{w}") } else { String::new() })
        };
        x.chunks_exact(2).zip(&weight).map(one).collect()
    };
    std::fs::write(at.join("t.csv"), format!("a,b\n{}", rows(false))).unwrap();
    std::fs::write(at.join("tw.csv"), format!("a,b,w\n{}", rows(true))).unwrap();
    std::fs::write(at.join("bare.csv"), rows(true)).unwrap();
    let column = |rows: &[f64]| rows.iter().map(|w| format!("{w}\n")).collect::<String>();
    std::fs::write(at.join("w.csv"), format!("w\n{}", column(&weight))).unwrap();
    std::fs::write(at.join("short.csv"), format!("w\n{}", column(&weight[..499]))).unwrap();
    std::fs::write(at.join("below.csv"), format!("w\n{}-1\n", column(&weight[..499]))).unwrap();
    json(at, "train --data t.csv --model gaussian --out run");
    json(at, "density run t.csv -o log_p.npy");
    let log_p = cnflow::io::read(&at.join("log_p.npy")).unwrap().data;
    let (mean, se) = cnflow::stats::weighted_mean_and_se(&log_p, &weight);
    // Rows of weight 0 are rows all the same where a mean is divided by n − 1.
    let used = weight.iter().filter(|w| **w > 0.0).count() as f64;
    let se = se * (used / (used - 1.0) * 499.0 / 500.0).sqrt();
    for words in ["t.csv --weights w.csv", "tw.csv --weights w", "tw.csv --weights 2", "bare.csv --weights 2 --block 7"]
    {
        let facts = json(at, &format!("density run {words}"));
        near(words, &[facts["mean_log_prob"].as_f64().unwrap(), facts["se"].as_f64().unwrap()], &[mean, se], 1e-9);
        near(words, &[facts["effective_rows"].as_f64().unwrap()], &[cnflow::stats::effective(&weight)], 1e-9);
        assert!(facts["n"] == 500 && facts["median_log_prob"].is_null(), "{facts}");
    }
    for (words, said) in [
        ("t.csv --weights short.csv", "there are 499 weights for more than 499 points"),
        ("t.csv --weights below.csv", "point 499 (counted from 0) has the weight -1"),
        ("t.csv --weights t.csv", "`t.csv` holds 2 columns, not one of weights"),
        ("t.csv --weights v", "it has no column `v`"),
    ] {
        let out = crate::common::command::cnf(at, &format!("density run {words} -o never.npy"));
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && err.contains(said) && !at.join("never.npy").exists(), "{words}: {err}");
    }
}
