//! Classes by Bayes' rule: the arithmetic against a plain loop, a mixture whose posterior is known, and wrong inputs.
#![cfg(feature = "cli")]

use std::fmt::Write as _;
use std::path::Path;

use cnflow::apply::{Accuracy, Classified};
use cnflow::io::Reader;
use cnflow::io::safetensors::ModelFile;
use cnflow::rng;
use cnflow::rows::digits;
use rand::Rng as _;

use crate::common::command::{bytes, cnf, conditional, folder, json};
use crate::common::pictures::npy_u8;

fn numbers(path: &Path) -> Vec<f64> {
    Reader::open(path).unwrap().next_block(1_000_000).unwrap().unwrap().data
}

/// A run under the class, some digits, and their labels.
fn trained(at: &Path, n: usize) -> Vec<f64> {
    json(at, "train --data digits --condition digit --steps 600 --out run");
    let (images, labels) = (digits::images().unwrap(), digits::labels().unwrap());
    std::fs::write(at.join("few.npy"), npy_u8(&[n, 8, 8], &images[..n * 64], false)).unwrap();
    let bytes: Vec<u8> = labels[..n].iter().map(|v| *v as u8).collect();
    std::fs::write(at.join("labels.npy"), npy_u8(&[n], &bytes, false)).unwrap();
    labels[..n].to_vec()
}

#[test]
fn probabilities_of_classes_are_bayes_rule_on_the_densities_under_each() {
    let folder = folder();
    let at = folder.path();
    let labels = trained(at, 40);
    let counts: Vec<f64> = serde_json::from_value(json(at, "info run")["class_counts"][0].clone()).unwrap();
    assert_eq!(counts.iter().sum::<f64>(), 1439.0);
    let under: Vec<Vec<f64>> = (0..10)
        .map(|class| {
            json(at, &format!("density run few.npy --given digit={class} -o l.npy"));
            numbers(&at.join("l.npy"))
        })
        .collect();
    for (options, prior) in [("", counts.clone()), ("--prior uniform", vec![1.0; 10]), ("--prior data", counts)] {
        let facts = json(at, &format!("density run few.npy --classify {options} --condition labels.npy -o p.npy"));
        let found = numbers(&at.join("p.npy"));
        assert_eq!(found.len(), 400);
        let (mut right, mut log_true, mut total) = (0.0, 0.0, 0.0);
        for (row, label) in labels.iter().enumerate() {
            let joint: Vec<f64> =
                (0..10).map(|k| under[k][row] + (prior[k] / prior.iter().sum::<f64>()).ln()).collect();
            let most = joint.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = joint.iter().map(|l| (l - most).exp()).sum();
            let p: Vec<f64> = joint.iter().map(|l| (l - most).exp() / sum).collect();
            let of_row = &found[10 * row..][..10];
            assert!(of_row.iter().zip(&p).all(|(a, b)| (a - b).abs() < 1e-12), "{row}: {of_row:?} or {p:?}");
            let best = (0..10).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
            right += f64::from(u8::from(best as f64 == *label));
            log_true += joint[*label as usize] - most - sum.ln();
            total += most + sum.ln();
        }
        let close = |key: &str, value: f64| {
            let found = facts[key].as_f64().unwrap();
            assert!((found - value / 40.0).abs() < 1e-10, "{key}: {found} or {}", value / 40.0);
        };
        close("accuracy", right);
        close("mean_log_class", log_true);
        close("mean_log_prob", total);
        let part = right / 40.0;
        let se = (part * (1.0 - part) / 39.0).sqrt();
        assert!((facts["accuracy_se"].as_f64().unwrap() - se).abs() < 1e-10);
        // Of ten classes chance finds one in ten.
        assert!(part > 0.15, "{part}");
    }
    // Blocks, threads and labels change no bit; without labels there is no accuracy.
    json(at, "density run few.npy --classify --condition labels.npy -o a.npy --block 7 --threads 1");
    let facts = json(at, "density run few.npy --classify --prior data -o b.npy");
    assert!(bytes(at, "a.npy") == bytes(at, "b.npy") && facts["accuracy"].is_null());
    assert_eq!(facts["found"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 40);
    // More noise is another estimate of the same.
    let facts = json(at, "density run few.npy --classify --condition labels.npy --dequantise 2");
    assert_eq!(facts["dequantise"].as_u64(), Some(2));

    // A file of an older version has no frequencies.
    let path = at.join("run/model.safetensors");
    let mut old = ModelFile::read(&path).unwrap();
    let mut card: serde_json::Value = serde_json::from_str(&old.metadata["cnf"]).unwrap();
    assert!(
        card.as_object_mut().unwrap().remove("class_counts").is_some(),
        "beside the flow, where old programs skip it"
    );
    old.metadata.insert("cnf".into(), card.to_string());
    old.write(&at.join("old.safetensors")).unwrap();
    assert_eq!(json(at, "density old.safetensors few.npy --classify")["prior"], "uniform");
    conditional(at);
    json(at, "train --data 8gaussians --steps 5 --out plain");
    std::fs::write(at.join("wrong.npy"), npy_u8(&[40], &[11; 40], false)).unwrap();
    for (words, part) in [
        ("density old.safetensors few.npy --classify --prior data", "does not have the frequencies of the classes"),
        ("density m.safetensors x.npy --classify", "the model is not conditional on a class"),
        ("density run --classify", "--classify needs points"),
        ("density run few.npy --classify --given digit=3", "cannot be used with"),
        ("density run few.npy --classify --error-bars b.npy", "cannot be used with"),
        ("density run few.npy --classify --prior flat", "unknown prior `flat`"),
        ("density run few.npy --prior data", "--classify"),
        ("density run few.npy --classify --condition wrong.npy", "has no class 11"),
        ("density run few.npy --classify -o few.npy", "few.npy"),
        ("density run few.npy --trace lattice:9", "images have 8 × 8"),
        ("density run few.npy --trace lattice:8:65", "4160 probes"),
        ("density m.safetensors x.npy --trace lattice", "needs a net on images"),
        ("train --data 8gaussians --steps 5 --trace lattice --out no", "needs a net on images"),
        ("train --data digits --steps 5 --trace lattice --net mlp --out no", "needs a net on images"),
    ] {
        let out = cnf(at, words);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && err.contains(part) && err.contains("hint: "), "`cnf {words}`: {err}");
    }
}

#[test]
fn two_normals_are_told_apart_as_well_as_they_can_be() {
    let folder = folder();
    let at = folder.path();
    // x ~ N(±1, 1), a quarter of the rows from the upper one.
    let mut rng = rng::stream(5, 1);
    let mut text = String::from("x,class\n");
    let (mut best, mut right) = (0.0, 0.0);
    let n = 6000;
    let mut rows = Vec::new();
    for _ in 0..n {
        let class = u8::from(rng.random::<f64>() < 0.25);
        let normal =
            (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * (std::f64::consts::TAU * rng.random::<f64>()).cos();
        rows.push((2.0 * f64::from(class) - 1.0 + normal, class));
        writeln!(text, "{},{class}", rows[rows.len() - 1].0).unwrap();
    }
    for (x, class) in &rows {
        // Log odds 2x + ln(1/3).
        let odds = 2.0 * x - 3f64.ln();
        let odds = if *class == 1 { odds } else { -odds };
        best -= (-odds).exp().ln_1p() / f64::from(n);
        right += f64::from(u8::from(odds > 0.0)) / f64::from(n);
    }
    std::fs::write(at.join("t.csv"), text).unwrap();
    json(at, "train --data t.csv --condition class --steps 800 --out two");
    // The labels are found by their name.
    let facts = json(at, "density two t.csv --classify -o p.csv");
    assert_eq!((facts["labelled"].as_u64(), facts["prior"].as_str()), (Some(n as u64), Some("data")));
    assert!(String::from_utf8(bytes(at, "p.csv")).unwrap().starts_with("class=0,class=1\n"));
    let found = facts["mean_log_class"].as_f64().unwrap();
    // On the same rows: what a net of some minutes is off by, and nothing for chance.
    assert!((found - best).abs() < 0.02, "{found} or {best}");
    assert!((facts["accuracy"].as_f64().unwrap() - right).abs() < 0.01, "{} or {right}", facts["accuracy"]);
    // With the wrong prior it is worse.
    let other = json(at, "density two t.csv --classify --prior uniform")["mean_log_class"].as_f64().unwrap();
    assert!(other < best - 0.05, "{other} or {best}");
    // A file without the labels.
    std::fs::write(at.join("x.csv"), "x\n3.0\n-3.0\n").unwrap();
    let facts = json(at, "density two x.csv --classify -o p.npy");
    assert_eq!(facts["found"], serde_json::json!([1, 1]));
}

#[test]
fn accuracy_counts_what_it_is_given() {
    let nan = f64::NAN;
    let rows = Classified {
        classes: 3,
        log_class: [0.7f64.ln(), 0.2f64.ln(), 0.1f64.ln(), 0.0, f64::NEG_INFINITY, f64::NEG_INFINITY, nan, nan, nan]
            .to_vec(),
        log_prob: vec![-1.0, -2.0, nan],
        ..Classified::default()
    };
    assert_eq!([0, 1, 2].map(|row| rows.best(row)), [Some(0), Some(0), None]);
    let mut accuracy = Accuracy::new(&[4, 5, 7]);
    accuracy.add(&rows, &[4.0, 5.0, 7.0]);
    assert_eq!((accuracy.right().n(), accuracy.right().mean(), accuracy.impossible()), (2, 0.5, 1));
    assert_eq!((accuracy.log_true().n(), accuracy.log_true().mean()), (1, 0.7f64.ln()));
    assert_eq!((accuracy.found(), accuracy.worst()), (&[2, 0, 0][..], Some((5, 4, 1, 1))));
    assert_eq!(accuracy.confusion(), [[1, 0, 0], [1, 0, 0], [0, 0, 0]]);
    // Without truth only the classes that were found are counted.
    accuracy.add(&rows, &[]);
    assert_eq!((accuracy.right().n(), accuracy.found()), (2, &[4, 0, 0][..]));
    assert_eq!(Accuracy::new(&[1, 2]).worst(), None);
}
