//! Files of earlier versions are read for ever: `tests/fixtures` holds models of every format, run folders, and
//! checkpoints in the middle of a training, with the numbers that the version which wrote them computed.
//!
//! What a newer file may add and an older one may lack is in ARCHITECTURE.md; `rule.rs` holds it.

#![cfg(feature = "cli")]

mod rule;

use std::path::Path;

use crate::common::command::{cnf, json};
use cnflow::io::safetensors::ModelFile;
use cnflow::io::{self, Array, Dtype};
use cnflow::model::Model;
use cnflow::rng;
use cnflow::transform::StandardNormal;
use serde_json::Value;
use tempfile::TempDir;

/// A finished run, and what holds of it.
struct Old {
    name: &'static str,
    /// The table that it was trained on.
    table: &'static str,
    /// The number in its model file.
    format: u64,
    /// One condition for samples.
    given: &'static str,
    /// How far a number x may be off, in units of 1 + |x|: with the run's own solver and precision.
    own: f64,
    /// The same in f64 at tolerances of 1e-10.
    tight: f64,
    /// The same for the parameters of the run repeated.
    repeated: f64,
}

/// An integration at 1e-5: another order of operations moves a step's length by the round-off of its error estimate (in
/// f32 a hundredth of it, in f64 nothing), and with it a hundredth of the error itself.
const STEPS_F32: f64 = 1e-6;
/// Two solves at tolerances of 1e-10, amplified by less than ten.
const STEPS_TIGHT: f64 = 2e-9;
/// Closed forms in f64, some hundred operations.
const CLOSED: f64 = 1e-12;
/// Nets in f32 between points in f64: round-off of 6e-8 of sums of a few terms, through at most four couplings.
const NETS_F32: f64 = 1e-6;
/// The round-off of f32 gradients, a hundred relative ulps at the most, adds up over 30 to 60 steps of 1e-2.
const TRAINED_F32: f64 = 1e-5;
/// Parameters are stored in f32.
const TRAINED_F64: f64 = 2e-7;

const fn old(name: &'static str, table: &'static str, format: u64, own: f64, tight: f64, repeated: f64) -> Old {
    Old { name, table, format, given: "", own, tight, repeated }
}

const RUNS: [Old; 12] = [
    old("flow", "plane", 1, STEPS_F32, STEPS_TIGHT, TRAINED_F32),
    old("wide", "plane", 1, STEPS_TIGHT, STEPS_TIGHT, TRAINED_F64),
    old("layers", "plane", 1, STEPS_F32, STEPS_TIGHT, TRAINED_F32),
    old("columns", "ring", 2, STEPS_F32, STEPS_TIGHT, TRAINED_F32),
    Old { given: "--given kind=2,load=1.5", ..old("conditional", "classes", 3, STEPS_F32, STEPS_TIGHT, TRAINED_F32) },
    old("nice", "plane", 3, NETS_F32, CLOSED, TRAINED_F32),
    old("realnvp", "plane", 3, NETS_F32, CLOSED, TRAINED_F32),
    Old { given: "--given kind=7", ..old("glow", "classes", 3, NETS_F32, CLOSED, TRAINED_F32) },
    old("spline", "plane", 3, NETS_F32, CLOSED, TRAINED_F32),
    old("gaussian", "plane", 3, CLOSED, CLOSED, CLOSED),
    old("mixture", "plane", 3, CLOSED, CLOSED, CLOSED),
    old("histogram", "plane", 3, CLOSED, CLOSED, CLOSED),
];

/// Trainings that were broken off, and how far the numbers at their end may be off.
const STOPPED: [(&str, f64); 4] =
    [("matching", TRAINED_F32), ("baseline", CLOSED), ("mixed", TRAINED_F64), ("discrete", TRAINED_F32)];

/// A copy of the fixtures, in which commands may write.
fn fixtures() -> TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let (from, to) = {
                let path = entry.unwrap().path();
                (path.clone(), to.join(path.file_name().unwrap()))
            };
            if from.is_dir() {
                copy(&from, &to);
            } else {
                std::fs::copy(&from, &to).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"), folder.path());
    folder
}

fn succeeds(at: &Path, words: &str) {
    let out = cnf(at, words);
    assert!(out.status.success(), "`cnf {words}`: {}", String::from_utf8_lossy(&out.stderr));
}

fn fails(at: &Path, words: &str) -> String {
    let out = cnf(at, words);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "`cnf {words}`: {err}");
    assert!(err.contains("hint: "), "`cnf {words}`: {err}");
    err
}

/// The description of the flow in a model file.
fn card(path: &Path) -> String {
    ModelFile::read(path).unwrap().metadata["cnf"].clone()
}

/// The largest deviation in units of 1 + |x|.
fn worst(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let off = found
        .iter()
        .zip(expected)
        .map(|(a, b)| if a.to_bits() == b.to_bits() { 0.0 } else { (a - b).abs() / (1.0 + b.abs()) });
    off.fold(0.0, |most: f64, e| if e > most || e.is_nan() { e } else { most })
}

fn table(at: &Path, name: &str) -> Vec<f64> {
    io::read(&at.join(name)).unwrap().data
}

/// The largest deviation between the tensors of two models, which have the same names and shapes.
fn apart(found: &Path, expected: &Path) -> f64 {
    let (found, expected) = (ModelFile::read(found).unwrap(), ModelFile::read(expected).unwrap());
    assert_eq!(found.tensors.len(), expected.tensors.len());
    let one = |t: &cnflow::io::safetensors::NamedTensor| {
        let found = found.tensor(&t.name).unwrap_or_else(|| panic!("no tensor {}", t.name));
        assert_eq!(found.shape, t.shape, "{}", t.name);
        worst(&found.values.to_f64(), &t.values.to_f64())
    };
    expected.tensors.iter().map(one).fold(0.0, f64::max)
}

#[test]
fn every_model_gives_the_numbers_that_it_gave() {
    let folder = fixtures();
    let at = folder.path();
    for Old { name, table: of, given, own, tight, .. } in RUNS {
        for (ending, solver, bound) in [("", "", own), ("_tight", "--precision f64 --rtol 1e-10 --atol 1e-10", tight)] {
            succeeds(at, &format!("density finished/{name} data/{of}_points.csv -o logp{ending}.npy {solver}"));
            succeeds(
                at,
                &format!("invert data/{of}_points.csv --model finished/{name} -o latent{ending}.npy {solver}"),
            );
            // Their samples began at the first draws of one stream.
            let d = Model::load(&at.join(format!("finished/{name}/model.safetensors"))).unwrap().dim();
            let drawn = StandardNormal::new(d).draw(6, &mut rng::stream(0, 0x5a3b_0001));
            io::write(&at.join("z.npy"), &Array::table(drawn, d, Dtype::F64).unwrap()).unwrap();
            succeeds(
                at,
                &format!(
                    "sample finished/{name} {given} --latent z.npy -o sample{ending}.npy --with-density \
                     sample_logp{ending}.npy {solver}"
                ),
            );
            for what in ["logp", "latent", "sample", "sample_logp"] {
                let file = format!("{what}{ending}.npy");
                let off = worst(&table(at, &file), &table(at, &format!("expected/{name}/{file}")));
                println!("{name} {file}: {off:.1e}");
                assert!(off <= bound, "{name} {file}: {off:.1e} above {bound:.0e}");
            }
        }
    }
}

#[test]
fn every_model_is_read_by_every_command() {
    let folder = fixtures();
    let at = folder.path();
    for Old { name, table: of, format, given, .. } in RUNS {
        let card: Value = serde_json::from_str(&card(&at.join(format!("finished/{name}/model.safetensors")))).unwrap();
        assert_eq!(card["format"], format, "{name}");
        let facts = json(at, &format!("info finished/{name}"));
        assert_eq!(facts["story"]["data"], format!("data/{of}.csv"), "{name}");
        assert!(facts["story"]["nll"].as_f64().is_some_and(f64::is_finite), "{name}");
        let drawn = json(at, &format!("plot finished/{name} --out pictures/{name}"));
        // A density without a net has no curve of a training.
        let pictures = if name == "gaussian" || name == "mixture" || name == "histogram" { 2 } else { 3 };
        assert_eq!(drawn["files"].as_array().unwrap().len(), pictures, "{name}: {drawn}");
        // So short a training fails the lines that judge it; those that judge the density must not.
        let out = cnf(at, &format!("check finished/{name} {given} -n 50 --json"));
        let facts: Value = serde_json::from_slice(&out.stdout).unwrap();
        let verdict = |line: &str| {
            let lines = facts["checks"].as_array().unwrap();
            lines.iter().find(|l| l["name"] == line).unwrap_or_else(|| panic!("{name}: no {line}"))["verdict"].clone()
        };
        for line in ["round trip", "density carried", "tolerance", "precision"] {
            assert!(["pass", "skipped"].iter().any(|v| verdict(line) == *v), "{name}, {line}: {facts}");
        }
    }
}

#[test]
fn runs_are_compared() {
    let folder = fixtures();
    let at = folder.path();
    // Of one table and without a condition: formats 1 and 3, candle's net, a net in closed form, and none.
    let folders = ["flow", "layers", "spline", "mixture"].map(|name| format!("finished/{name}"));
    let facts = json(at, &format!("compare {} --out compared", folders.join(" ")));
    let models = facts["models"].as_array().unwrap();
    assert_eq!(models.len(), folders.len(), "{facts}");
    for run in &folders {
        let recorded =
            Model::load(&at.join(run).join("model.safetensors")).unwrap().provenance["nll"].as_f64().unwrap();
        let nll = |model: &Value| model["nll"].as_f64().unwrap();
        // The score of the training is of the same rows. A mean of f32 solves at 1e-5, whose first steps depend on the
        // machine's round-off.
        assert!(models.iter().any(|model| (nll(model) - recorded).abs() < 1e-4), "{run}: {recorded} in {facts}");
    }
    for file in ["report.html", "table.csv"] {
        assert!(at.join("compared").join(file).is_file(), "{file}");
    }
}

#[test]
fn a_run_is_repeated_from_its_config() {
    let folder = fixtures();
    let at = folder.path();
    for Old { name, repeated, .. } in RUNS {
        succeeds(at, &format!("train --config finished/{name}/config.toml --out again/{name}"));
        let model = |folder: &str| at.join(folder).join(name).join("model.safetensors");
        let off = apart(&model("again"), &model("finished"));
        println!("{name}: {off:.1e}");
        assert!(off <= repeated, "{name}: {off:.1e} above {repeated:.0e}");
    }
}

#[test]
fn a_checkpoint_is_resumed_to_the_end_that_it_had() {
    let folder = fixtures();
    let at = folder.path();
    for (name, bound) in STOPPED {
        let file = |name: &str, file: &str| at.join("checkpoints").join(name).join(file);
        let steps = Model::load(&file(name, "end.safetensors")).unwrap().provenance["steps"].clone();
        let facts = json(at, &format!("train --resume checkpoints/{name}"));
        assert_eq!(facts["steps"], steps, "{name}: {facts}");
        let off = apart(&file(name, "model.safetensors"), &file(name, "end.safetensors"));
        println!("{name}: {off:.1e}");
        assert!(off <= bound, "{name}: {off:.1e} above {bound:.0e}");
    }
}

#[test]
fn a_training_begins_at_every_model_that_has_something_to_train() {
    let folder = fixtures();
    let at = folder.path();
    for Old { name, table: of, .. } in RUNS {
        let drop = if name == "glow" { "--drop load" } else { "" };
        let words = format!(
            "train --init finished/{name} --data data/{of}.csv {drop} --steps 1 --batch 32 --out further/{name}"
        );
        if ["gaussian", "mixture", "histogram"].contains(&name) {
            assert!(fails(at, &words).contains("nothing to train"), "{name}");
            continue;
        }
        succeeds(at, &words);
        let model = |folder: &str| Model::load(&at.join(folder).join(name).join("model.safetensors")).unwrap();
        let (before, after) = (model("finished"), model("further"));
        assert_eq!(
            (&before.spec.architecture, &before.spec.columns),
            (&after.spec.architecture, &after.spec.columns),
            "{name}"
        );
        assert_eq!(before.theta.len(), after.theta.len());
    }
}
