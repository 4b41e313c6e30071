//! The rule of the formats: what may be added and left out, and what is refused.

use std::path::{Path, PathBuf};

use cnflow::io::safetensors::{ModelFile, Values};
use cnflow::model::Model;
use cnflow::train::{DataSection, FarRows, Job};
use serde_json::{Value, json as value};

use super::{fails, fixtures, succeeds};

/// The flow's model file with another card.
fn edited(at: &Path, key: &str, from: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut file = ModelFile::read(&at.join(from)).unwrap();
    let mut card = serde_json::from_str(&file.metadata[key]).unwrap();
    change(&mut card);
    file.metadata.insert(key.into(), card.to_string());
    let path = at.join("edited.safetensors");
    file.write(&path).unwrap();
    path
}

fn without(card: &mut Value, key: &str) {
    assert!(card.as_object_mut().unwrap().remove(key).is_some(), "no {key} in {card}");
}

const FLOW: &str = "finished/flow/model.safetensors";

#[test]
fn what_no_number_depends_on_may_be_added_and_left_out() {
    let folder = fixtures();
    let at = folder.path();
    let plain = Model::load(&at.join(FLOW)).unwrap();
    let added = Model::load(&edited(at, "cnf", FLOW, |card| card["colours"] = value!(["red"]))).unwrap();
    assert_eq!((&added.spec, &added.theta, &added.provenance), (&plain.spec, &plain.theta, &plain.provenance));
    let less = Model::load(&edited(at, "cnf", FLOW, |card| {
        without(card, "names");
        without(card, "story");
    }));
    let less = less.unwrap();
    assert!(less.spec.names.is_empty() && less.provenance.is_empty());
    assert_eq!((&less.spec.architecture, &less.theta), (&plain.spec.architecture, &plain.theta));
    // What the provenance holds is for people: any key, any value.
    let changed =
        Model::load(&edited(at, "cnf", FLOW, |card| card["story"]["moon"] = value!({ "phase": 0.5 }))).unwrap();
    assert_eq!(changed.provenance["moon"]["phase"], 0.5);
    // A solver's option that a file lacks has its default.
    let usual = Model::load(&edited(at, "cnf", FLOW, |card| without(&mut card["flow"]["solver"], "lanes"))).unwrap();
    assert_eq!(usual.spec.solver, plain.spec.solver);
}

#[test]
fn what_numbers_depend_on_is_refused_where_it_is_not_understood() {
    let folder = fixtures();
    let at = folder.path();
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 7] = [
        (|card| card["format"] = value!(9), "its format is 9, this version of cnf reads formats up to"),
        (|card| card["flow"]["twist"] = value!(1), "unknown field `twist`"),
        (|card| card["flow"]["velocity"]["gate"] = value!(1), "gate"),
        (|card| card["flow"]["solver"]["haste"] = value!(1), "unknown field `haste`"),
        (|card| without(card, "format"), "missing field `format`"),
        (|card| without(&mut card["flow"], "solver"), "missing field `solver`"),
        (|card| without(&mut card["flow"], "velocity"), "a flow has exactly one of"),
    ];
    for (change, sentence) in cases {
        let error = Model::load(&edited(at, "cnf", FLOW, change)).unwrap_err();
        assert!(error.to_string().contains(sentence) && error.hint().is_some(), "`{error}` lacks `{sentence}`");
    }
    // A newer file that is otherwise broken here is newer, not broken.
    let newer = Model::load(&edited(at, "cnf", FLOW, |card| {
        card["format"] = value!(9);
        card["flow"] = value!("elsewhere");
    }));
    assert!(newer.unwrap_err().hint().unwrap().contains("newer version"));
    let mut file = ModelFile::read(&at.join(FLOW)).unwrap();
    let mut extra = file.tensors[0].clone();
    extra.name = "twist.weight".into();
    file.tensors.push(extra);
    file.write(&at.join("edited.safetensors")).unwrap();
    assert!(fails(at, "info edited.safetensors").contains("`twist.weight`"));
}

const CHECKPOINT: &str = "checkpoints/matching/checkpoint.safetensors";

/// The checkpoint in a folder of its own.
fn begun(at: &Path, change: impl FnOnce(&mut ModelFile)) {
    let mut file = ModelFile::read(&at.join(CHECKPOINT)).unwrap();
    change(&mut file);
    std::fs::create_dir_all(at.join("begun")).unwrap();
    let _ = std::fs::remove_file(at.join("begun/model.safetensors"));
    file.write(&at.join("begun/checkpoint.safetensors")).unwrap();
}

#[test]
fn a_checkpoint_follows_the_rule_too() {
    let folder = fixtures();
    let at = folder.path();
    let card = |file: &mut ModelFile, change: &dyn Fn(&mut Value)| {
        let mut card = serde_json::from_str(&file.metadata["cnf.checkpoint"]).unwrap();
        change(&mut card);
        file.metadata.insert("cnf.checkpoint".into(), card.to_string());
    };
    let drop = |file: &mut ModelFile, name: &str| {
        let before = file.tensors.len();
        file.tensors.retain(|tensor| !tensor.name.starts_with(name));
        assert!(file.tensors.len() < before, "no {name}");
    };
    begun(at, |file| card(file, &|card| card["format"] = value!(9)));
    assert!(fails(at, "train --resume begun").contains("it is of format 9"));
    begun(at, |file| card(file, &|card| without(card, "job")));
    assert!(fails(at, "train --resume begun").contains("missing field `job`"));
    begun(at, |file| drop(file, "train.state.m"));
    assert!(fails(at, "train --resume begun").contains("missing"));
    // A row of numbers that another version adds is left alone; what an older one did not keep is not missed.
    begun(at, |file| {
        card(file, &|card| card["colours"] = value!(["red"]));
        let mut extra = file.tensors.iter().find(|t| t.name == "train.ledger.numbers").unwrap().clone();
        (extra.name, extra.shape, extra.values) = ("train.ledger.weather".into(), vec![1], Values::F64(vec![0.5]));
        file.tensors.push(extra);
        drop(file, "train.ledger.dominances");
        drop(file, "train.ledger.best_rows");
    });
    succeeds(at, "train --resume begun");
    let end = at.join("checkpoints/matching/end.safetensors");
    assert_eq!(
        ModelFile::read(&at.join("begun/model.safetensors")).unwrap().tensors.len(),
        ModelFile::read(&end).unwrap().tensors.len()
    );
}

#[test]
fn a_configuration_follows_the_rule_too() {
    let folder = fixtures();
    let at = folder.path();
    let text = std::fs::read_to_string(at.join("finished/flow/config.toml")).unwrap();
    std::fs::write(at.join("more.toml"), format!("haste = 1\n{text}")).unwrap();
    let err = fails(at, "train --config more.toml --out more");
    assert!(err.contains("more.toml") && err.contains("haste"), "{err}");
    std::fs::write(at.join("less.toml"), "data = \"data/plane.csv\"\nsteps = 1\nhidden = [4]\nbase = \"normal\"\n")
        .unwrap();
    succeeds(at, "train --config less.toml --batch 32 --out less");
    let written = std::fs::read_to_string(at.join("less/config.toml")).unwrap();
    assert_eq!(Job::from_toml(&written).unwrap().seed, Job::default().seed);
    // What a run does not say has the meaning that it had before it could be said.
    let says = |line: &str| !line.starts_with("far_rows") && !line.starts_with("copies_together");
    let old: String = text.lines().filter(|line| says(line)).map(|line| format!("{line}\n")).collect();
    assert_ne!(old, text);
    let (new, old) = (Job::of_run(&text).unwrap(), Job::of_run(&old).unwrap());
    assert_eq!((new.data.far_rows, new.data.copies_together), (FarRows::LeaveOut, true));
    assert_eq!((old.data.far_rows, old.data.copies_together), (FarRows::Keep, false));
    let data = DataSection { far_rows: new.data.far_rows, copies_together: true, ..old.data };
    assert_eq!(Job { data, ..old }, new);
}

#[test]
fn metrics_follow_the_rule_too() {
    let folder = fixtures();
    let at = folder.path();
    let file = at.join("finished/flow/metrics.csv");
    let text = std::fs::read_to_string(&file).unwrap();
    let more: String =
        text.lines().enumerate().map(|(i, l)| format!("{},{l}\n", if i == 0 { "phase" } else { "9" })).collect();
    std::fs::write(&file, more).unwrap();
    succeeds(at, "plot finished/flow --out pictures");
    std::fs::write(&file, text.replace("valid_nll,", "score,")).unwrap();
    assert!(fails(at, "plot finished/flow --out pictures").contains("no column `valid_nll`"));
}
