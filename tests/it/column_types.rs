//! Laws of columns that nobody named a kind for: those with heavy tails and skewed positive ones are recognised, and the
//! model is the one that the kinds would have made, had they been named.

use std::ops::ControlFlow;

use cnflow::discrete::Kind;
use cnflow::rng::stream;
use cnflow::rows::{Dataset, Memory};
use cnflow::train::{Checkpoint, ColumnTypes, Family, Job, Progress, TrainResult, Watch, fit, resume, score};
use cnflow::transform::{Column, ColumnKind, StandardNormal};

/// Columns: lognormal, Student's t with two degrees of freedom, normal.
fn rows(n: usize, seed: u64) -> Vec<f64> {
    let z = StandardNormal::new(5).draw(n, &mut stream(seed, 0));
    let of = |z: &[f64]| [z[0].exp(), z[1] / (0.5 * (z[2] * z[2] + z[3] * z[3])).sqrt(), 3.0 + z[4]];
    z.chunks_exact(5).flat_map(of).collect()
}

fn data(names: Option<[&str; 3]>) -> Dataset {
    let columns = names.map(|names| names.map(String::from).to_vec());
    Memory { name: "rows".into(), x: rows(16_000, 4).into(), dim: 3, columns, ..Memory::default() }
        .dataset(&Default::default(), 0, None)
        .unwrap()
}

fn job(family: Family) -> Job {
    Job::default().with(|job| {
        job.model.family = family;
        if family == Family::Cnf {
            job.model.base = "normal".into();
        }
        if !family.is_reference() {
            (job.optimiser.steps, job.optimiser.batch) = (Some(6), Some(64));
            (job.model.hidden, job.output.checkpoint) = (Some(vec![6]), "3".into());
        }
    })
}

/// What is said before the first step, and the first checkpoint.
#[derive(Default)]
struct Ear(Vec<String>, Option<Checkpoint>);

impl Watch for Ear {
    fn see(&mut self, _progress: &Progress<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn note(&mut self, words: &str) {
        self.0.push(words.into());
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> cnflow::Result<()> {
        self.1.get_or_insert_with(|| checkpoint.clone());
        Ok(())
    }
}

fn kinds(run: &TrainResult) -> Vec<ColumnKind> {
    run.model.spec.columns.as_ref().map_or_else(|| vec![ColumnKind::Plain; 3], |c| c.iter().map(Column::kind).collect())
}

#[test]
fn the_kinds_are_found_and_the_model_is_that_of_kinds_that_were_named() {
    use ColumnKind::{Heavy, Plain, Positive};
    for names in [None, Some(["a", "b", "c"])] {
        let data = data(names);
        let name = |j: usize| names.map_or_else(|| j.to_string(), |names| names[j].into());
        for family in [Family::Cnf, Family::Discrete(Kind::Spline), Family::Mixture] {
            let mut ear = Ear::default();
            let found = fit(&job(family), &data, &mut ear).unwrap();
            assert_eq!(kinds(&found), [Positive, Heavy, Plain], "{family:?}");
            let said =
                format!("column `{}` is modelled by its logarithm, column `{}` has heavy tails", name(0), name(1));
            assert!(ear.0.iter().any(|words| words.contains(&said)), "{:?}", ear.0);
            let types = |columns: &[String]| {
                let job = job(family).with(|job| {
                    (job.data.columns, job.data.column_types) = (columns.to_vec(), ColumnTypes::Plain);
                });
                fit(&job, &data, &mut ()).unwrap()
            };
            let named = types(&[format!("{}:positive", name(0)), format!("{}:heavy", name(1))]);
            assert_eq!((&found.model.spec, &found.model.theta), (&named.model.spec, &named.model.theta), "{family:?}");
            assert_eq!(kinds(&types(&[])), [Plain; 3]);
            // A named one stays as it is.
            let job = job(family).with(|job| job.data.columns = vec![format!("{}:plain", name(0))]);
            assert_eq!(kinds(&fit(&job, &data, &mut ()).unwrap()), [Plain, Heavy, Plain]);
            if let Some(first) = ear.1 {
                let on = resume(first, &data, &mut ()).unwrap();
                assert_eq!((&on.model.spec, &on.model.theta), (&found.model.spec, &found.model.theta), "{family:?}");
            }
        }
        let gaussian = fit(&job(Family::Gaussian), &data, &mut ()).unwrap();
        assert_eq!(kinds(&gaussian), [Plain; 3], "one Gaussian is one Gaussian");
    }
}

#[test]
fn lognormal_rows_have_nearly_their_own_density_without_a_flag() {
    let z = StandardNormal::new(2).draw(8000, &mut stream(9, 0));
    let x: Vec<f64> = z.iter().map(|z| (1.0 + 0.9 * z).exp()).collect();
    let data = Memory { name: "rows".into(), x: x.into(), dim: 2, ..Memory::default() };
    let data = data.dataset(&Default::default(), 0, None).unwrap();
    let of = |types: ColumnTypes| {
        let run = fit(&job(Family::Mixture).with(|job| job.data.column_types = types), &data, &mut ()).unwrap();
        score(&run.model.bind(Default::default()).unwrap(), &data.test, None).unwrap().nll
    };
    let test = data.test.points();
    let one = |x: &f64| {
        let z = (x.ln() - 1.0) / 0.9;
        0.5 * z * z + x.ln() + (0.9 * std::f64::consts::TAU.sqrt()).ln()
    };
    let truth = test.iter().map(one).sum::<f64>() / (test.len() / 2) as f64;
    let (auto, plain) = (of(ColumnTypes::Auto), of(ColumnTypes::Plain));
    assert!((auto - truth).abs() < 0.01, "{auto}, the truth is {truth}");
    assert!(plain > truth + 0.015, "{plain}, the truth is {truth}");
}

#[test]
fn a_run_that_did_not_know_of_it_had_plain_columns() {
    assert_eq!(Job::of_run("[data]\nsource = 'moons'").unwrap().data.column_types, ColumnTypes::Plain);
    assert_eq!(Job::from_toml("[data]\nsource = 'moons'").unwrap().data.column_types, ColumnTypes::Auto);
    let error = "columns".parse::<ColumnTypes>().unwrap_err();
    assert_eq!(error.to_string(), "unknown rule for column types `columns`");
    assert!(error.hint().unwrap().contains("auto, plain"));
}
