//! `cnf export`: what it writes, `cnf import` and PyTorch read.
#![cfg(feature = "cli")]

use std::path::Path;
use std::process::Command;

use cnflow::io::safetensors::ModelFile;
use cnflow::model::Model;
use cnflow::velocity::{Batch, Trace};
use cnflow_solvers::At;
use cnflow_solvers::lanes::{Lanes, LanesMut};
use serde_json::{Value, json};

use crate::common::command::{bytes, cnf, conditional, folder, json as run};

/// The golden net, a conditional one, and a trained one that standardises and has time features: their files.
fn models(at: &Path) -> [&'static str; 3] {
    conditional(at);
    run(at, "train --hidden 6,5 --time-features 2 --activation elu --batch 64 --steps 2 --out trained --quiet");
    ["m.safetensors", "c.safetensors", "trained/model.safetensors"]
}

#[test]
fn an_exported_net_that_is_imported_is_the_same_to_the_bit() {
    let folder = folder();
    let at = folder.path();
    std::fs::write(at.join("c.csv"), "0.7\n").unwrap();
    for model in models(at) {
        let facts = run(at, &format!("export {model} -o out.safetensors"));
        assert_eq!(facts["left_out"], json!(["solver"]), "{model}");
        let back = facts["back"].as_str().unwrap().strip_prefix("cnf ").unwrap().to_owned();
        run(at, &back.replace("model.safetensors", "back.safetensors"));
        let load = |name: &str| Model::load(&at.join(name)).unwrap();
        let (one, two) = (load(model), load("back.safetensors"));
        let bits = |model: &Model| model.theta.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&one), bits(&two), "{model}");
        assert_eq!((&one.spec.architecture, &one.spec.standardise), (&two.spec.architecture, &two.spec.standardise));
        assert_eq!(facts["standardised"], Value::Bool(one.spec.standardise.is_some()));
        let condition = if one.condition_dim() > 0 { "--condition c.csv" } else { "" };
        for (name, out) in [(model, "one.npy"), ("back.safetensors", "two.npy")] {
            run(at, &format!("sample {name} -n 100 -o {out} {condition}"));
        }
        assert_eq!(bytes(at, "one.npy"), bytes(at, "two.npy"), "{model}");
    }
}

#[test]
fn the_file_says_what_its_tensors_do_not() {
    let folder = folder();
    let at = folder.path();
    let [_, _, trained] = models(at);
    let out = cnf(at, &format!("export {trained} -o out.safetensors"));
    let words = String::from_utf8(out.stdout).unwrap();
    for part in ["7 → 6 → 5 → 2, elu", "standardise.mean", "not in the file: solver", "--time-features 2"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let file = ModelFile::read(&at.join("out.safetensors")).unwrap();
    let names: Vec<&str> = file.tensors.iter().map(|t| t.name.as_str()).collect();
    for name in ["net.0.weight", "net.0.bias", "net.2.weight", "net.4.bias", "standardise.mean", "standardise.std"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let about = |key: &str| file.metadata[key].as_str();
    assert_eq!((about("activation"), about("time"), about("format")), ("elu", "t and 2 frequencies", "pt"));
}

/// m_θ of a row of zeros at t = 0.3.
fn velocity(path: &Path) -> Vec<f64> {
    let model = Model::load(path).unwrap();
    let d = model.dim();
    let theta: Vec<f64> = model.theta.iter().map(|w| f64::from(*w)).collect();
    let velocity = model.spec.architecture.velocity().unwrap().bind_here::<f64>(&theta).unwrap();
    let condition = vec![0.0; model.condition_dim()];
    let batch = Batch { condition: &condition, keys: &[0], trace: Trace::Exact, lanes: 1 };
    let (x, mut v) = (vec![0.0; d * 16], vec![0.0; d * 16]);
    let at = At::new(&[0.3], &[0]);
    velocity.evaluator(batch).value(at, Lanes::new(&x, d, 1, 16), LanesMut::new(&mut v, d, 1, 16));
    v.chunks(16).map(|row| row[0]).collect()
}

/// What the script of the help computes, in plain products: W x + b, and the activation between each two.
fn sequential(path: &Path, x: &[f64]) -> Vec<f64> {
    let file = ModelFile::read(path).unwrap();
    let numbers = |name: String| file.tensor(&name).map(|t| t.values.to_f64().into_owned());
    let act: fn(f64) -> f64 = match file.metadata["activation"].as_str() {
        "tanh" => f64::tanh,
        "silu" => |a| a / (1.0 + (-a).exp()),
        "elu" => |a| if a > 0.0 { a } else { a.exp_m1() },
        other => panic!("{other}"),
    };
    let mut row = x.to_vec();
    for l in 0.. {
        let Some(weight) = numbers(format!("net.{}.weight", 2 * l)) else { break };
        if l > 0 {
            row.iter_mut().for_each(|a| *a = act(*a));
        }
        let bias = numbers(format!("net.{}.bias", 2 * l)).unwrap();
        let product = |w: &[f64]| w.iter().zip(&row).map(|(w, x)| w * x).sum::<f64>();
        row = weight.chunks_exact(row.len()).zip(&bias).map(|(w, b)| product(w) + b).collect();
    }
    row
}

/// What python3 prints of the script, where it has torch and safetensors.
fn by_python(at: &Path, weights: &str) -> Option<String> {
    let there = Command::new("python3").args(["-c", "import torch, safetensors"]).output();
    there.ok().filter(|out| out.status.success())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/load_in_torch.py");
    let out = Command::new("python3").arg(&script).arg(weights).current_dir(at).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).unwrap())
}

#[test]
fn the_exported_tensors_are_a_sequential_that_gives_the_velocity() {
    let folder = folder();
    let at = folder.path();
    for model in models(at) {
        run(at, &format!("export {model} -o weights.safetensors"));
        let net = Model::load(&at.join(model)).unwrap();
        let mut row = vec![0.0; net.dim() + net.condition_dim()];
        row.push(0.3);
        // The features of time: sines and cosines of whole turns.
        let frequencies = if model.starts_with("trained") { 2 } else { 0 };
        let angle = |k: usize| std::f64::consts::TAU * k as f64 * 0.3;
        row.extend((1..=frequencies).flat_map(|k| [angle(k).sin(), angle(k).cos()]));
        let (found, expected) = (sequential(&at.join("weights.safetensors"), &row), velocity(&at.join(model)));
        assert_eq!(found.len(), expected.len(), "{model}");
        // Some hundred products in f64, and an exponential.
        let close = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-13 * (1.0 + b.abs()));
        assert!(close, "{model}: {found:?} or {expected:?}");
        if frequencies == 0
            && let Some(words) = by_python(at, "weights.safetensors")
        {
            let found: Vec<f64> = words.split_whitespace().map(|word| word.parse().unwrap()).collect();
            // The same in f32.
            let close = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + b.abs()));
            assert!(found.len() == expected.len() && close, "{model}: {found:?} or {expected:?}");
        }
    }
}

#[test]
fn the_help_quotes_the_example() {
    let script = std::fs::read_to_string("examples/load_in_torch.py").unwrap();
    let help = String::from_utf8(cnf(Path::new("."), "export --help").stdout).unwrap();
    // The help may be wrapped to the width of a terminal; its words stay.
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (script, help) = (words(&script), words(&help));
    assert!(help.windows(script.len()).any(|part| part == script));
    assert!(script.len() > 50);
}
