//! Rows far beyond all others: no family of models is ruined by one, whatever set it falls into, and a word names it.
#![cfg(feature = "cli")]

use crate::common::command::{cnf, json};
use cnflow::io::safetensors::ModelFile;
use cnflow::model::Solved;
use cnflow::rng::stream;
use cnflow::rows::{Context, Dataset, Rows, Source};
use cnflow::train::{Checkpoint, Family, Far, FarRows, Job, Objective, Set, TrainResult, Watch, fit, resume, score};
use cnflow::transform::{Mixture, StandardNormal};
use cnflow::velocity::Precision;

/// Two correlated columns; every family can have them.
fn table() -> Dataset {
    let rows = |n: usize, seed: u64| -> Rows {
        let z = StandardNormal::new(2).draw(n, &mut stream(seed, 0));
        Rows::new(z.chunks_exact(2).flat_map(|z| [5.0 + z[0], 0.01 * (0.6 * z[0] + 0.8 * z[1])]).collect())
    };
    let (train, valid, test) = (rows(2000, 1), rows(400, 2), rows(1000, 3));
    let (name, train) = ("rows".into(), Source::Rows(train));
    Dataset {
        name,
        dim: 2,
        shape: None,
        columns: None,
        train,
        valid,
        test,
        context: None,
        words: Vec::new(),
        places: None,
        notes: Vec::new(),
    }
}

/// The points of rows, to change them.
fn real(rows: &mut Rows) -> &mut Vec<f64> {
    rows.x.real_mut().unwrap()
}

fn with_row(set: Set, row: [f64; 2]) -> Dataset {
    let mut data = table();
    match (set, &mut data.train) {
        (Set::Training, Source::Rows(rows)) => real(rows)[200..202].copy_from_slice(&row),
        (Set::Validation, _) => real(&mut data.valid)[20..22].copy_from_slice(&row),
        _ => real(&mut data.test)[20..22].copy_from_slice(&row),
    }
    data
}

fn job(model: Family, objective: Objective) -> Job {
    let objective = if model == Family::Cnf { objective } else { Objective::Matching };
    Job::default()
        .with(|job| {
            job.model.family = model;
            job.objective.kind = objective;
            job.model.hidden = (!model.is_reference()).then(|| vec![16, 16]);
            job.optimiser.batch = Some(128);
            job.optimiser.steps = Some(if objective == Objective::Matching { 300 } else { 60 });
            job.optimiser.validations = 4;
            job.model.base = "normal".into();
        })
        .applicable()
}

#[derive(Default)]
struct Ear(Vec<String>, Vec<Checkpoint>);

impl Watch for Ear {
    fn see(&mut self, _progress: &cnflow::train::Progress<'_>) -> std::ops::ControlFlow<()> {
        std::ops::ControlFlow::Continue(())
    }

    fn note(&mut self, words: &str) {
        self.0.push(words.into());
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> cnflow::Result<()> {
        self.1.push(checkpoint.clone());
        Ok(())
    }
}

fn trained(job: &Job, data: &Dataset) -> (TrainResult, Vec<String>) {
    let mut ear = Ear::default();
    let fitted = fit(job, data, &mut ear).unwrap();
    (fitted, ear.0)
}

#[test]
fn one_far_row_ruins_no_family_and_no_objective() {
    let clean = table();
    let families = Family::ALL.into_iter().map(|family| (family, Objective::Matching));
    let others = [Objective::Likelihood, Objective::Mixed].map(|objective| (Family::Cnf, objective));
    for (family, objective) in families.chain(others) {
        let job = job(family, objective);
        let (without, silence) = trained(&job, &clean);
        assert!(silence.is_empty() && without.far.is_empty(), "{silence:?}");
        let nll = |fitted: &TrainResult| score(&fitted.model.bind(Precision::F64).unwrap(), &clean.test, None).unwrap();
        let right = nll(&without);
        for (set, row) in [(Set::Training, [1e8, 3.0]), (Set::Training, [-200.0, 4.0]), (Set::Validation, [5.0, 1e6])] {
            let data = with_row(set, row);
            let (fitted, words) = trained(&job, &data);
            let (name, found) = (family.name(), nll(&fitted));
            // The same steps on 1999 rows of 2000, in another order: nets differ by the noise of their batches. A
            // ruined model is off by nats.
            let gap = found.nll - right.nll;
            assert!(gap < 0.15 && found.failed.is_empty(), "{name}, {set:?}: {} after {}", found.nll, right.nll);
            assert_eq!(fitted.far.rows.len(), 1, "{name}");
            let far = &fitted.far.rows[0];
            assert_eq!((far.set, far.index), (set, if set == Set::Training { 100 } else { 10 }));
            assert!(words.len() == 2 && words[1].contains("robust deviations"), "{words:?}");
            // Of the row itself there is a density, or a word: never a panic.
            let flow = fitted.model.bind(Precision::F64).unwrap();
            if let Ok(Solved { y: z, log_prob, cost, .. }) = flow.encode(&row, &[]) {
                let l = log_prob[0];
                assert!(
                    (l.is_finite() && z.iter().all(|z| z.is_finite()))
                        || !cost.failures.is_empty()
                        || l == f64::NEG_INFINITY,
                    "{name}: {l}"
                );
            }
        }
    }
}

#[test]
fn a_kept_row_is_trained_on_and_said_to_be() {
    let data = with_row(Set::Training, [1e8, 3.0]);
    let job = job(Family::Gaussian, Objective::Matching).with(|job| job.data.far_rows = FarRows::Keep);
    let (fitted, words) = trained(&job, &data);
    assert!(words[0].contains("kept"), "{words:?}");
    let off = score(&fitted.model.bind(Precision::F64).unwrap(), &table().test, None).unwrap();
    // The deviation of the first column is 1e8/√2000: ln of it more than the truth.
    assert!(off.nll > 10.0, "{}", off.nll);
}

#[test]
fn prior_covariances_are_those_of_the_rows_that_are_near() {
    // The library's own fit, which leaves nothing out: the component of the bulk keeps its width, the far row its own.
    let mut x = StandardNormal::new(2).draw(3000, &mut stream(5, 0));
    x[0] = 1e8;
    let valid = StandardNormal::new(2).draw(1000, &mut stream(5, 1));
    let chosen =
        Mixture::choose(&x, &valid, 2, &cnflow::fit::EmOptions::default(), &mut stream(5, 2), &mut || false).unwrap();
    let nll = -chosen.mixture.log_prob_rows(&valid).iter().sum::<f64>() / 1000.0;
    // 1 + ln 2π, and four standard errors of a mean of 1000 whose deviation is 1.
    assert!((nll - 2.838).abs() < 0.13, "{nll}: {:?}", chosen.table);
}

#[test]
fn a_far_condition_is_left_out_too_and_a_rare_class_is_not() {
    let mut data = table();
    let given = |n: usize, seed: u64| -> Vec<f64> {
        let z = StandardNormal::new(1).draw(n, &mut stream(seed, 9));
        // A number, and a class of which 999 is rare.
        z.iter()
            .enumerate()
            .flat_map(|(i, z)| [*z, if i % 400 == 7 { 999.0 } else { f64::from(i as u32 % 2) }])
            .collect()
    };
    if let Source::Rows(rows) = &mut data.train {
        rows.context = given(2000, 1);
        rows.context[60] = -3e7;
    }
    (data.valid.context, data.test.context) = (given(400, 2), given(1000, 3));
    data.context = Some(Context { dim: 2, columns: vec!["e".into(), "kind".into()], ..Context::default() });
    let job = job(Family::Cnf, Objective::Matching);
    let far = Far::find(&job, None, &data).unwrap();
    assert_eq!((far.rows.len(), far.rows[0].index, far.rows[0].column.as_str()), (1, 30, "`e` of the conditions"));
    let (fitted, _) = trained(&job, &data);
    let found = score(&fitted.model.bind(Precision::F64).unwrap(), &data.test, None).unwrap();
    // 1 + ln 2π + ln 0.008, and what 300 steps leave.
    assert!(found.nll < 2.838 - 4.828 + 0.3, "{}", found.nll);
}

#[test]
fn far_rows_of_a_mode_stay() {
    let mut data = table();
    if let Source::Rows(rows) = &mut data.train {
        for (i, row) in real(rows).chunks_exact_mut(2).take(2).enumerate() {
            row[0] = 1000.0 + i as f64;
        }
    }
    let job = job(Family::Gaussian, Objective::Matching);
    // Two are no mode.
    assert_eq!(Far::find(&job, None, &data).unwrap().of(Set::Training), [0, 1]);
    // Ten of ten thousand, near each other, are one.
    let mut x = StandardNormal::new(2).draw(10_000, &mut stream(1, 0));
    x.chunks_exact_mut(2).take(10).for_each(|row| row[0] += 1000.0);
    data.train = Source::Rows(Rows::new(x));
    assert!(Far::find(&job, None, &data).unwrap().is_empty());
}

#[test]
fn the_command_names_the_row_of_the_file_in_text_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut data = StandardNormal::new(2).draw(1500, &mut stream(4, 0));
    data[2 * 777] = 1e6;
    let mut text = "a,b\n".to_owned();
    data.chunks_exact(2).for_each(|row| text += &format!("{},{}\n", row[0], row[1]));
    std::fs::write(at.join("t.csv"), text).unwrap();
    let words = "train --data t.csv --model gaussian --split 0.8,0.2";
    let facts = json(at, &format!("{words} --out a"));
    let far = &facts["far"];
    assert_eq!((&far["rows"][0]["row"], &far["rows"][0]["column"]), (&777.into(), &"`a`".into()), "{facts}");
    assert_eq!(far["training"].as_u64().unwrap() + far["validation"].as_u64().unwrap(), 1, "{facts}");
    assert!(facts["nll"].as_f64().unwrap() < 3.5, "{facts}");
    let out = cnf(at, &format!("{words} --out b"));
    let (words, notes) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(notes.contains("row 777 of the file") && notes.contains("column `a`"), "{notes}");
    assert!(words.contains("1 row far out, left out"), "{words}");
    let out = cnf(at, "train --data t.csv --far-rows drop");
    assert_eq!(out.status.code(), Some(2));
    // A comparison is not ruined either.
    let facts = json(at, "compare --data t.csv --split 0.8,0.2 --models gaussian,realnvp --steps 100 --out c");
    let models = facts["models"].as_array().unwrap();
    assert!(models.iter().all(|model| model["nll"].as_f64().unwrap() < 3.5), "{facts}");
}

#[test]
fn a_run_goes_on_with_the_rows_that_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let data = with_row(Set::Training, [1e8, 3.0]);
    for far_rows in [FarRows::LeaveOut, FarRows::Keep] {
        let job = job(Family::Cnf, Objective::Matching).with(|job| {
            job.data.far_rows = far_rows;
            job.output.checkpoint = "20".into();
            job.optimiser.steps = Some(50);
        });
        let mut ear = Ear::default();
        let whole = fit(&job, &data, &mut ear).unwrap();
        ear.1[0].save(&path).unwrap();
        let resumed = resume(Checkpoint::load(&path).unwrap(), &data, &mut ()).unwrap();
        assert_eq!((resumed.steps, &resumed.model.theta), (50, &whole.model.theta), "{far_rows:?}");
        assert_eq!(resumed.far, whole.far);
        // A checkpoint of a program that knew no far rows goes on with all of them.
        let mut file = ModelFile::read(&path).unwrap();
        let card = file.metadata.get_mut("cnf.checkpoint").unwrap();
        let mut facts: serde_json::Value = serde_json::from_str(card).unwrap();
        let old: Vec<&str> =
            facts["job"].as_str().unwrap().lines().filter(|line| !line.starts_with("far_rows")).collect();
        facts["job"] = old.join("\n").into();
        *card = facts.to_string();
        file.write(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap().job().data.far_rows, FarRows::Keep);
    }
}

#[test]
fn a_run_from_a_model_goes_on_when_that_file_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (first, path) = (folder.path().join("first.safetensors"), folder.path().join("checkpoint.safetensors"));
    let data = with_row(Set::Training, [1e8, 3.0]);
    let begun = job(Family::Cnf, Objective::Matching).with(|job| job.optimiser.steps = Some(5));
    fit(&begun, &data, &mut ()).unwrap().model.save(&first).unwrap();
    let next = begun.with(|job| {
        job.model.init = Some(first.clone());
        job.model.hidden = None;
        job.optimiser.steps = Some(50);
        job.output.checkpoint = "20".into();
    });
    let mut ear = Ear::default();
    let whole = fit(&next, &data, &mut ear).unwrap();
    ear.1[0].save(&path).unwrap();
    std::fs::remove_file(&first).unwrap();
    let resumed = resume(Checkpoint::load(&path).unwrap(), &data, &mut ()).unwrap();
    assert_eq!((&resumed.model.theta, &resumed.far), (&whole.model.theta, &whole.far));
    assert_eq!(whole.far.of(Set::Training).len(), 1);
}

#[test]
fn a_column_that_the_far_row_alone_fills_is_named() {
    let mut data = table();
    data.columns = Some(vec!["flux".into(), "flag".into()]);
    if let Source::Rows(rows) = &mut data.train {
        real(rows).chunks_exact_mut(2).for_each(|row| row[1] = 0.0);
        real(rows)[6..8].copy_from_slice(&[1e6, 2.5]);
    }
    let refused = fit(&job(Family::Gaussian, Objective::Matching), &data, &mut ()).unwrap_err();
    let (text, hint) = (refused.to_string(), refused.hint().unwrap());
    assert!(text.contains("column `flag` is constant: 0 in all") && hint.contains("`data.drop` flag"), "{text} {hint}");
}
