//! Laws of the choice among several models: the one that is kept is the best on the validation rows of all that were
//! tried, it is not behind a diagonal Gaussian however few the rows, and what cannot be chosen among is refused.
#![cfg(feature = "cli")]

use std::ops::ControlFlow;
use std::time::Instant;

use cnflow::discrete::Kind;
use cnflow::fit::Gaussian;
use cnflow::model::Architecture;
use cnflow::rng::stream;
use cnflow::rows::{Context, Dataset, Memory};
use cnflow::stats::Sample;
use cnflow::train::{Family, Job, Progress, TrainResult, Watch, fit, score, with_auto_family};
use cnflow::transform::{Mixture, StandardNormal};

use crate::common::command::{cnf, folder, json};

fn auto(seconds: f64) -> Job {
    Job::default().with(|job| {
        job.model.family = Family::Auto;
        job.optimiser.time = Some(seconds);
    })
}

fn data(x: Vec<f64>, dim: usize, context: Option<Vec<f64>>) -> Dataset {
    let context = context.map(|x| (Context { columns: vec!["c".into()], dim: 1, words: Vec::new() }, x));
    let memory = Memory { name: "rows".into(), x: x.into(), dim, context, ..Memory::default() };
    memory.dataset(&Default::default(), 0, None).unwrap()
}

/// A ring, which is no Gaussian.
fn ring(n: usize) -> Vec<f64> {
    let z = StandardNormal::new(3).draw(n, &mut stream(1, 0));
    let of = |z: &[f64]| {
        let r = (3.0 + 0.2 * z[2]) / z[0].hypot(z[1]);
        [r * z[0], r * z[1]]
    };
    z.chunks_exact(3).flat_map(of).collect()
}

/// log p of the validation rows.
fn validation(run: &TrainResult, data: &Dataset) -> f64 {
    score(&run.model.bind(Default::default()).unwrap(), &data.valid, None).unwrap().nll
}

#[test]
fn the_model_is_the_best_of_all_that_were_tried() {
    let data = data(ring(4000), 2, None);
    let begun = Instant::now();
    let run = fit(&auto(4.0), &data, &mut ()).unwrap();
    let took = begun.elapsed().as_secs_f64();
    let parts: f64 = run.tried.iter().map(|tried| tried.seconds).sum();
    assert!(parts <= run.seconds && run.seconds <= took, "{parts} and {} of {took} s", run.seconds);
    let spline = Family::Discrete(Kind::Spline);
    let families: Vec<Family> = run.tried.iter().map(|tried| tried.model).collect();
    assert_eq!(families[..4], [Family::GaussianShrunk, Family::Mixture, spline, Family::Cnf]);
    assert!(families.len() == 5 && [spline, Family::Cnf].contains(&families[4]), "{families:?}");
    let chosen: Vec<_> = run.tried.iter().filter(|tried| tried.chosen).collect();
    let [chosen] = chosen[..] else { panic!("{:?}", run.tried) };
    assert_eq!((run.job.model.family, run.job.optimiser.steps), (chosen.model, None));
    // All 400 validation rows were judged.
    let (nll, se) = (chosen.nll.unwrap(), chosen.nll_se.unwrap());
    assert!((nll - validation(&run, &data)).abs() < 1e-9, "{nll}");
    for tried in &run.tried {
        let (other, problem) = (tried.nll.unwrap(), &tried.problem);
        assert!(nll < other + 2.0 * se && problem.is_none(), "{tried:?} beside {chosen:?}");
        assert!(tried.seconds > 0.0 && tried.n_params > 0);
    }
    // A ring is far from a Gaussian.
    assert!(nll < run.tried[0].nll.unwrap() - 0.3, "{:?}", run.tried);
}

#[test]
fn few_rows_of_many_columns_are_not_behind_a_diagonal_gaussian() {
    let d = 40;
    let data = data(StandardNormal::new(d).draw(400, &mut stream(2, 0)), d, None);
    let run = fit(&auto(2.0), &data, &mut ()).unwrap();
    let rows = data.training_rows().unwrap().points().into_owned();
    let test = data.test.points();
    let of = |kind| {
        let found = Mixture::gaussian(&rows, d, kind).unwrap();
        -found.log_prob_rows(&test).iter().sum::<f64>() / (test.len() / d) as f64
    };
    let (diagonal, full) = (of(Gaussian::Shrunk { factor: 0.0 }), of(Gaussian::Full));
    let found = score(&run.model.bind(Default::default()).unwrap(), &data.test, None).unwrap();
    assert!(found.nll < diagonal + 0.3, "{} where a diagonal Gaussian has {diagonal}", found.nll);
    assert!(full > diagonal + 1.0, "{full}: the case is too easy");
}

#[test]
fn beyond_two_columns_the_flow_that_begins_at_a_spline_has_all_the_time() {
    // A ring in a plane, and a third column that depends on both.
    let x: Vec<f64> =
        ring(3000).chunks_exact(2).flat_map(|row| [row[0], row[1], row[0] * row[1] + 0.1 * row[0]]).collect();
    let noise = StandardNormal::new(1).draw(3000, &mut stream(5, 0));
    let x = x.chunks_exact(3).zip(&noise).flat_map(|(row, e)| [row[0], row[1], row[2] + 0.3 * e]).collect();
    let data = data(x, 3, None);
    let run = fit(&auto(4.0), &data, &mut ()).unwrap();
    let families: Vec<Family> = run.tried.iter().map(|tried| tried.model).collect();
    assert_eq!(families, [Family::GaussianShrunk, Family::Mixture, Family::Cnf]);
    assert!(run.tried[2].seconds > 0.7 * run.seconds, "{:?}", run.tried);
    // Which of them is better depends on the machine.
    let spec = &run.model.spec;
    let (at_a_spline, moves) = (spec.base_flow.is_some(), spec.architecture.as_velocity().is_some());
    assert_eq!(run.tried[2].chosen, moves, "{:?}", run.tried);
    assert!(!moves || at_a_spline == (run.job.model.base == "spline"), "{}", run.job.model.base);
}

#[test]
fn rows_with_a_condition_are_left_to_flows() {
    let x = ring(3000);
    let (points, c) = x.chunks_exact(2).map(|row| (row[0], row[1])).unzip();
    let run = fit(&auto(2.0), &data(points, 1, Some(c)), &mut ()).unwrap();
    assert!(run.tried.iter().all(|tried| !tried.model.is_reference()), "{:?}", run.tried);
    assert_eq!(run.tried.len(), 3);
}

#[test]
fn scores_of_what_was_tried_have_the_probabilities_of_classes_too() {
    let x: Vec<f64> = ring(2000).chunks_exact(2).flat_map(|row| [row[0], f64::from(u8::from(row[1] > 1.0))]).collect();
    let data = data(x, 2, None);
    let job = auto(1.5).with(|job| job.data.columns = vec!["1:class".into()]);
    let run = fit(&job, &data, &mut ()).unwrap();
    let chosen = run.tried.iter().find(|tried| tried.chosen).unwrap().nll.unwrap();
    assert!((chosen - validation(&run, &data)).abs() < 1e-9, "{chosen} or {}", validation(&run, &data));
    assert_eq!(run.job.data.columns, ["1:class"]);
}

#[test]
fn correlations_are_shrunk_as_far_as_held_out_rows_prefer() {
    let d = 3;
    let z = StandardNormal::new(d).draw(3000, &mut stream(3, 0));
    let x: Vec<f64> = z.chunks_exact(d).flat_map(|z| [5.0 + z[0], z[0] + 0.5 * z[1], 1e3 * z[2]]).collect();
    let of = |factor| Mixture::gaussian(&x, d, Gaussian::Shrunk { factor }).unwrap();
    let full = Mixture::gaussian(&x, d, Gaussian::Full).unwrap();
    assert_eq!(of(1.0), full);
    // Without correlations it is the product of its columns.
    let column = |j: usize| -> Vec<f64> { x.iter().skip(j).step_by(d).copied().collect() };
    let product: Vec<Vec<f64>> =
        (0..d).map(|j| Mixture::gaussian(&column(j), 1, Gaussian::Full).unwrap().log_prob_rows(&column(j))).collect();
    for (i, log_p) in of(0.0).log_prob_rows(&x).iter().enumerate() {
        let expected: f64 = product.iter().map(|column| column[i]).sum();
        assert!((log_p - expected).abs() < 1e-9 * expected.abs(), "row {i}: {log_p} or {expected}");
    }
    // Rows enough, and correlations that are there.
    let (rows, held_out) = x.split_at(6000);
    assert!(Mixture::shrunk(rows, held_out, d).unwrap().1 >= 0.97);
    let noise = StandardNormal::new(30).draw(160, &mut stream(4, 0));
    let (rows, held_out) = noise.split_at(60 * 30);
    assert!(Mixture::shrunk(rows, held_out, 30).unwrap().1 <= 0.4);
    assert!(Mixture::shrunk(rows, &[][..], 30).unwrap_err().to_string().contains("no validation rows"));
    for factor in [-0.1, 1.5, f64::NAN] {
        assert!(Mixture::gaussian(rows, 30, Gaussian::Shrunk { factor }).is_err());
    }
    let weighted = Sample { x: &noise, weight: &vec![2.0; 160] };
    let (a, b) = (Mixture::shrunk(weighted, held_out, 30).unwrap(), Mixture::shrunk(&noise, held_out, 30).unwrap());
    assert_eq!(a.1, b.1);
}

/// Ends the run after so many looks.
struct After(usize);

impl Watch for After {
    fn see(&mut self, _progress: &Progress<'_>) -> ControlFlow<()> {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn a_run_that_is_ended_keeps_the_best_so_far() {
    let data = data(ring(2000), 2, None);
    let run = fit(&auto(20.0), &data, &mut After(3)).unwrap();
    assert!(run.stopped && run.tried.len() == 3 && run.seconds < 15.0, "{:?}", run.tried);
    assert!(run.tried.iter().any(|tried| tried.chosen));
    assert!(!matches!(run.model.spec.architecture, Architecture::Velocity(_)));
}

#[test]
fn a_model_is_left_open_only_where_nothing_speaks_of_one() {
    let rows = data(ring(1000), 2, None);
    let family = |data: &Dataset, given: &[&str]| with_auto_family(Job::default(), data, given).model.family;
    assert_eq!(family(&rows, &["data.split", "optimiser.time", "seed"]), Family::Auto);
    for field in ["model.hidden", "solver.rtol", "objective.kind", "optimiser.lr", "optimiser.steps", "data.spread"] {
        assert_eq!(family(&rows, &[field]), Family::Cnf, "{field}");
    }
    // Too few validation rows, and a toy.
    assert_eq!(family(&data(ring(60), 2, None), &[]), Family::Cnf);
    let toy = Job::default().dataset(None).unwrap();
    assert_eq!(family(&toy, &[]), Family::Cnf);
    for (job, data, said) in [
        (auto(1.0), &toy, "the model auto is for tables"),
        (auto(1.0), &data(ring(60), 2, None), "6 validation rows to choose a model by"),
        (auto(1.0).with(|job| job.optimiser.steps = Some(5)), &rows, "`optimiser.steps` has no meaning for auto"),
        (auto(1.0).with(|job| job.model.hidden = Some(vec![5])), &rows, "`model.hidden` has no meaning for auto"),
    ] {
        let error = fit(&job, data, &mut ()).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(!error.hint().unwrap().is_empty());
    }
}

#[test]
fn the_command_prints_what_was_tried_and_goes_on_with_the_model() {
    let folder = folder();
    let at = folder.path();
    let text: String = ring(2000).chunks_exact(2).map(|row| format!("{},{}\n", row[0], row[1])).collect();
    std::fs::write(at.join("t.csv"), format!("a,b\n{text}")).unwrap();
    let facts = json(at, "train --data t.csv --time 2s --out r");
    let tried = facts["tried"].as_array().unwrap();
    assert_eq!(tried.iter().filter(|tried| tried["chosen"] == true).count(), 1);
    let chosen = tried.iter().find(|tried| tried["chosen"] == true).unwrap();
    assert_eq!(facts["model"], chosen["model"]);
    // The whole choice is repeated by the configuration, and pictures are those of the model.
    let config = std::fs::read_to_string(at.join("r/config.toml")).unwrap();
    assert!(config.contains("family = \"auto\""), "{config}");
    json(at, "plot r --out pictures");
    // A line may fail after so short a training.
    let checked = cnf(at, "check r --json").stdout;
    assert!(serde_json::from_slice::<serde_json::Value>(&checked).unwrap()["checks"].is_array());
    let again = json(at, "train --config r/config.toml --time 1s --out again");
    assert!(again["tried"].is_array());
    let out = cnf(at, "train --data t.csv --time 1s --out words");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("tried     gaussian-shrunk  validation NLL") && said.contains(", chosen"), "{said}");
    let alone = json(at, "train --data t.csv --time 1s --hidden 8 --out alone");
    assert!(alone["model"] == "cnf" && alone["tried"].is_null());
    let compared = json(at, "compare --data t.csv --models auto,gaussian --time 1s --out c");
    assert_eq!(compared["models"].as_array().unwrap().len(), 2);
}
