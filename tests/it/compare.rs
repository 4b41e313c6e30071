//! `cnf compare`: what is trained, what is measured, what is written, and what is refused.
#![cfg(feature = "cli")]

use crate::common::command;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::command::{bytes, cnf, has, json};
use cnflow::model::Model;
use cnflow::rows::{DataOptions, resolve};
use cnflow::train::{Family, Job};
use serde_json::Value;

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {value}"))
}

#[test]
fn models_are_trained_under_one_budget_and_measured_alike() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let words = "compare --data 8gaussians --models cnf,realnvp,gaussian --steps 40 --seeds 2 --depths 2 --out c";
    let facts = json(at, words);
    has(&facts, "data dim n scored entropy steps models out");
    let models = facts["models"].as_array().unwrap();
    let names: Vec<&str> = models.iter().map(|m| m["model"].as_str().unwrap()).collect();
    assert_eq!(names, ["cnf", "realnvp", "gaussian"]);
    for model in models {
        has(
            model,
            "nll nll_se excess excess_se params train_seconds samples_per_second densities_per_second round_trip_mean \
             round_trip_max mass energy energy_floor sliced sliced_floor run seeds costs",
        );
        assert!((number(model, "mass") - 1.0).abs() < 0.05, "{model}");
        // The excess is the NLL above the entropy of the same rows, and two halves of the data are at some distance.
        let over = number(model, "nll") - number(&facts, "entropy");
        assert!((over - number(model, "excess")).abs() < 1e-9, "{model}");
        assert!(number(model, "sliced_floor") > 0.0);
        assert_eq!(model["seeds"].as_array().unwrap().len(), 2);
    }
    assert_eq!(models[0]["steps"].as_f64(), Some(40.0));
    // A discrete flow and a Gaussian are exact both ways, a continuous one to its tolerance.
    assert!(number(&models[1], "round_trip_max") < 1e-5 && number(&models[2], "round_trip_max") < 1e-5);
    // The tolerance sweeps the one, the depth the other.
    assert!(models[0]["costs"].as_array().unwrap().len() > 3);
    let labels: Vec<&str> =
        models[1]["costs"].as_array().unwrap().iter().map(|c| c["label"].as_str().unwrap()).collect();
    assert!(labels.contains(&"2 couplings") && labels.contains(&"8 couplings"), "{labels:?}");

    for file in ["compare.png", "compare.svg", "report.html", "table.csv"] {
        assert!(at.join("c").join(file).is_file(), "{file}");
    }
    let page = String::from_utf8(bytes(at, "c/report.html")).unwrap();
    assert!(page.contains("realnvp") && page.contains("data:image/png;base64,") && !page.contains("://"));
    let table = String::from_utf8(bytes(at, "c/table.csv")).unwrap();
    let head: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    assert!(["model", "seed", "nll_se", "nll", "params", "round_trip_max"].iter().all(|key| head.contains(key)));
    // A mean and two seeds for each model, each line as long as the head.
    assert_eq!(table.lines().count(), 1 + 3 * 3);
    assert!(table.lines().all(|line| line.split(',').count() == head.len()));

    // What was trained is a run like any other, with the same figures when it is compared again.
    json(at, "density c/realnvp --grid 20 -o grid.npy");
    let again = json(at, "compare c/cnf c/realnvp-seed1 --out again");
    let again = again["models"].as_array().unwrap();
    let first = &models[0]["seeds"][0];
    assert_eq!(number(&again[0], "nll"), number(first, "nll"));
    assert_eq!(number(&again[1], "nll"), number(&models[1]["seeds"][1], "nll"));

    // Steps, not seconds: the same bits, whatever is trained beside.
    let twice = json(at, "compare --data 8gaussians --models cnf --steps 40 --out twice");
    assert_eq!(twice["models"].as_array().unwrap().len(), 1);
    for (one, other) in models.iter().zip(twice["models"].as_array().unwrap()) {
        assert_eq!(number(&one["seeds"][0], "nll"), number(other, "nll"));
    }
}

#[test]
fn equal_names_are_told_apart_and_seeds_of_a_table_share_one_split() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for run in ["a", "b", "c"] {
        json(at, &format!("train --data moons --model gaussian --out {run}"));
    }
    let facts = json(at, "compare a b c --out three");
    let names: Vec<&str> = facts["models"].as_array().unwrap().iter().map(|m| m["model"].as_str().unwrap()).collect();
    assert_eq!(names, ["gaussian", "gaussian 2", "gaussian 3"]);

    // A table in rising order: its held-out rows are not the same for another seed, and what is far out comes last.
    let rows: Vec<String> = (0..500).map(|i| format!("{},{}", i, f64::from(i * 7 % 31))).collect();
    std::fs::write(at.join("t.csv"), format!("u,v\n{}\n", rows.join("\n"))).unwrap();
    let seeds = json(at, "compare --data t.csv --models gaussian --seeds 2 --out seeds");
    let nll = |value: &Value| number(value, "nll");
    let [one, two] = [0, 1].map(|k| nll(&seeds["models"][0]["seeds"][k]));
    assert_eq!(one, two, "a Gaussian knows no seed but that of the split");
    let again = json(at, "compare seeds/gaussian seeds/gaussian-seed1 --out again");
    assert_eq!([nll(&again["models"][0]), nll(&again["models"][1])], [one, one]);
    // Samples of a Gaussian are as far from sorted data as from shuffled ones.
    let model = &seeds["models"][0];
    assert!(number(model, "sliced") < 6.0 * number(model, "sliced_floor"), "{model}");

    json(at, "train --data t.csv --model gaussian --seed 5 --out other");
    let refused = cnf(at, "compare seeds/gaussian other --out no");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("trained on different splits"));
    let refused = cnf(at, "compare --data t.csv --models gaussian --out seeds");
    assert_eq!(refused.status.code(), Some(1));
    std::fs::remove_file(at.join("seeds/report.html")).unwrap();
    let refused = cnf(at, "compare --data t.csv --models gaussian --out seeds");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("already holds a run"));
}

#[test]
fn nets_are_sized_to_about_as_many_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    json(at, "compare --data moons --models realnvp,gaussian --steps 2 --params 5000 --out c");
    let trained = Model::load(&at.join("c/realnvp/model.safetensors")).unwrap().n_params();
    let data = resolve("moons", &DataOptions::default(), 0).unwrap();
    for family in Family::ALL.into_iter().filter(|family| !family.is_reference()) {
        let job = Job::default().with(|job| job.model.family = family).sized(&data, 5000).unwrap();
        let n = job.resolve(2).unwrap().architecture(2, 0).unwrap().n_params();
        assert!((n as f64 / 5000.0 - 1.0).abs() < 0.25, "{} has {n} parameters", family.name());
        assert!(family.name() != "realnvp" || n == trained, "{trained} and {n}");
    }
}

#[test]
fn tables_and_one_column_and_conditions_are_compared_too() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let wide =
        json(at, "compare --data uniform --models cnf,gaussian-fixed,histogram --steps 20 --sigma 0.6 --out one");
    assert_eq!(wide["models"].as_array().unwrap().len(), 3);
    let rows: Vec<String> = (0..600)
        .map(|i| {
            let (c, a) = (i % 2, f64::from(i) * 0.37);
            format!("{c},{},{},{}", a.sin() + 3.0 * f64::from(c), (2.3 * a).cos(), (0.7 * a).sin())
        })
        .collect();
    std::fs::write(at.join("t.csv"), format!("kind,u,v,w\n{}\n", rows.join("\n"))).unwrap();
    let table = json(at, "compare --data t.csv --models spline,mixture --steps 20 --out table");
    assert_eq!(table["dim"], 4);
    assert!(table["entropy"].is_null() && table["models"][0]["excess"].is_null());
    assert!(table["models"][0]["calibration"].is_null() && !at.join("table/coverage.png").exists());
    let facts = json(at, "compare --data t.csv --condition kind --models cnf,realnvp --steps 20 --out told");
    assert_eq!(facts["dim"], 3);
    assert!(at.join("told/report.html").is_file());
    // A model of two steps is less calibrated than one of many.
    let off = |facts: &serde_json::Value| facts["models"][0]["calibration"].as_f64().unwrap();
    let facts = json(at, "compare --data t.csv --condition kind --models realnvp --steps 2 --out early");
    let late = json(at, "compare --data t.csv --condition kind --models realnvp --steps 600 --out late");
    assert!(off(&late) < off(&facts), "{} {}", off(&late), off(&facts));
    assert!(at.join("late/coverage.png").is_file());
    assert!(std::fs::read_to_string(at.join("late/table.csv")).unwrap().contains("calibration"));
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_is_trained() {
    let folder = command::folder();
    let at = folder.path();
    json(at, "train --data moons --model gaussian --out moons");
    json(at, "train --data 8gaussians --model gaussian --out eight");
    json(at, "compare moons --out there");
    for (words, code, sentence) in [
        ("compare --models cnf,nicer --out no", 2, "nicer"),
        ("compare --models cnf,cnf --out no", 1, "named twice"),
        ("compare --data no-such-toy --out no", 1, "no-such-toy"),
        ("compare --models realnvp --params 3 --steps 1 --out no", 1, "about 3 parameters"),
        ("compare --models realnvp --depths 0 --steps 1 --out no", 1, "0 couplings"),
        ("compare --models histogram --data digits.npy --out no", 1, "digits.npy"),
        ("compare --steps 5 --time 3s --out no", 2, "--time"),
        ("compare moons --steps 5 --out no", 2, "--steps"),
        ("compare moons eight --out no", 1, "8gaussians"),
        ("compare m.safetensors --out no", 1, "no record of its training data"),
        ("compare nowhere --out no", 1, "nowhere"),
        ("compare moons --out there", 1, "already holds a comparison"),
        ("compare moons --data uniform --out no", 1, "2"),
        ("compare --data x.npy --condition 0 --models gaussian --out no", 1, "cannot have a condition"),
    ] {
        let refused = cnf(at, words);
        let err = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(code), "{words}: {err}");
        assert!(err.contains(sentence) && err.contains("hint:"), "{words}: {err}");
        assert!(!at.join("no").exists(), "{words} left a folder");
    }
    json(at, "compare moons --out there --force");
}

#[cfg(unix)]
#[test]
fn an_interrupted_comparison_reports_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let child = Command::new(env!("CARGO_BIN_EXE_cnf"))
        .current_dir(at)
        .args("compare --data moons --models gaussian,realnvp,nice,spline --time 60s --out c --json".split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The second training has begun when its folder is there.
    let begun = Instant::now();
    while !at.join("c/realnvp/config.toml").exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(1500));
    interrupt(child.id());
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    let facts: Value = serde_json::from_slice(&out.stdout).unwrap();
    let names: Vec<&str> = facts["models"].as_array().unwrap().iter().map(|m| m["model"].as_str().unwrap()).collect();
    assert_eq!(names, ["gaussian", "realnvp"]);
    assert_eq!(facts["skipped"], 2);
    assert_eq!(facts["models"][1]["stopped"], true);
    assert!(Path::new(&at.join("c/report.html")).is_file());
}

#[cfg(unix)]
fn interrupt(id: u32) {
    let sent = Command::new("kill").args(["-INT", &id.to_string()]).status().unwrap();
    assert!(sent.success());
}
