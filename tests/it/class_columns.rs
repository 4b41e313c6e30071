//! Laws of columns of classes that a model gives out: log p = log P(class) + log p(x | class), by a table that is complete;
//! samples have the classes by their shares; a class is the same on both sides.

use crate::common::columns::{job, trained};
#[cfg(feature = "cli")]
use crate::common::command::{cnf, json};
use crate::common::velocity::bits;
use crate::common::watch::First;
use cnflow::rng::stream;
use cnflow::rows::Memory;
use cnflow::train::{Job, fit, resume, score};
use cnflow::transform::StandardNormal;
use cnflow::velocity::Precision;
use cnflow::{Error, Model};

/// Rows of x, a class of 3, 5 and 9 in 1, 2 and 5 of 8, and y, both around the class.
fn rows(n: usize, seed: u64) -> Vec<f64> {
    let z = StandardNormal::new(2).draw(n, &mut stream(seed, 0));
    let one = |(i, z): (usize, &[f64])| {
        let class = [3.0, 5.0, 5.0, 9.0, 9.0, 9.0, 9.0, 9.0][(i * 5 + i / 8) % 8];
        [z[0] + class, class, 2.0 * z[1] - class]
    };
    z.chunks_exact(2).enumerate().flat_map(one).collect()
}

fn table(x: Vec<f64>, named: bool) -> Memory {
    let columns = named.then(|| ["x", "kind", "y"].map(str::to_owned).to_vec());
    Memory { name: "the rows".into(), x: x.into(), dim: 3, columns, ..Memory::default() }
}

const FLOWS: [&str; 5] = ["cnf", "nice", "realnvp", "glow", "spline"];

#[test]
fn every_flow_has_the_table_times_the_flow_under_the_class() {
    for family in FLOWS {
        let job = job(family, &["kind:class"], 10);
        let data = job.dataset_in_memory(table(rows(900, 1), true), None).unwrap();
        let model = trained(&job, &data);
        let spec = &model.spec;
        assert_eq!((spec.dim(), spec.condition_dim(), model.dim()), (3, 0, 3), "{family}");
        assert_eq!(spec.names, ["x", "kind", "y"], "{family}");
        let bound = model.bind(Precision::F64).unwrap();
        let x = rows(60, 2);
        let scored = bound.log_prob(&x, &[]).unwrap().log_prob;
        // The flow of the other columns under the class, and the shares of the training rows.
        let classes = spec.classes.as_ref().unwrap();
        let (others, given) = classes.cut(&x, 3);
        let under = bound.under_classes().unwrap().log_prob(&others, &given).unwrap().log_prob;
        let train = data.training_rows().unwrap().points().into_owned();
        let share = |class: f64| {
            let n = train.chunks_exact(3).filter(|row| row[1] == class).count();
            (n as f64 / (train.len() / 3) as f64).ln()
        };
        for (i, (all, under)) in scored.iter().zip(&under).enumerate() {
            let sum = under + share(given[i]);
            assert!((all - sum).abs() < 1e-9 * sum.abs().max(1.0), "{family}, row {i}: {all} or {sum}");
        }
        // Inversion lets the class pass, and there and back is the same.
        let z = bound.latents(&x, &[]).unwrap().y;
        let back = bound.decode(&z, &[]).unwrap();
        for (i, (z, x)) in z.chunks_exact(3).zip(x.chunks_exact(3)).enumerate() {
            assert_eq!(z[1], x[1], "{family}");
            let there = &back.y[3 * i..3 * i + 3];
            assert!(there.iter().zip(x).all(|(a, b)| (a - b).abs() < 2e-3), "{family}: {there:?} or {x:?}");
            assert!((back.log_prob[i] - scored[i]).abs() < 1e-2, "{family}: {} or {}", back.log_prob[i], scored[i]);
        }
        // Samples have the classes by their shares, within four standard errors.
        let samples = bound.sample_rows(3, 0, 4000, &[]).unwrap().y;
        for class in [3.0, 5.0, 9.0] {
            let (p, n) = (share(class).exp(), samples.chunks_exact(3).filter(|row| row[1] == class).count() as f64);
            assert!((n / 4000.0 - p).abs() < 4.0 * (p * (1.0 - p) / 4000.0).sqrt(), "{family} {class}: {n} for {p}");
        }
        assert!(samples.chunks_exact(3).all(|row| [3.0, 5.0, 9.0].contains(&row[1])), "{family}");
        // A row's bits are its own: alone, as a part of a sample, after a file.
        let alone: Vec<f64> = x.chunks_exact(3).flat_map(|row| bound.log_prob(row, &[]).unwrap().log_prob).collect();
        assert_eq!(bits(&alone), bits(&scored), "{family}");
        let part = bound.sample_rows(3, 100, 50, &[]).unwrap().y;
        assert_eq!(bits(&part), bits(&samples[300..450]), "{family}");
        let other = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
        assert_eq!(other.spec, model.spec, "{family}");
        assert_eq!(bits(&other.bind(Precision::F64).unwrap().log_prob(&x, &[]).unwrap().log_prob), bits(&scored));
        // A class that no row has has no probability; the row next to it keeps its own.
        let strange = [&[1.0, 4.0, 0.0][..], &x[..3], &[1.0, f64::NAN, 0.0]].concat();
        let found = bound.log_prob(&strange, &[]).unwrap();
        assert_eq!((found.log_prob[0], &found.cost.outside[..]), (f64::NEG_INFINITY, &[0][..]), "{family}");
        assert_eq!(found.log_prob[1].to_bits(), scored[0].to_bits(), "{family}");
        assert!(found.log_prob[2].is_nan() && found.cost.failures.len() == 1, "{family}");
        // The gradient by the other columns.
        let (grad, h) = (bound.log_prob_and_grad(&x[..3], &[]).unwrap().gradient, 1e-5);
        assert!(grad[1].is_nan(), "{family}");
        for j in [0, 2] {
            let at = |step: f64| {
                let mut row = x[..3].to_vec();
                row[j] += step;
                bound.log_prob(&row, &[]).unwrap().log_prob[0]
            };
            let slope = (at(h) - at(-h)) / (2.0 * h);
            assert!((grad[j] - slope).abs() < 2e-2 * slope.abs().max(1.0), "{family} {j}: {} or {slope}", grad[j]);
        }
    }
}

#[test]
fn a_training_with_classes_goes_on_to_the_same_bits_and_scores_the_whole() {
    for (family, named) in [("cnf", true), ("spline", false)] {
        let rule = if named { "kind:class" } else { "1:class" };
        let job = job(family, &[rule], 12);
        let data = job.dataset_in_memory(table(rows(700, 3), named), None).unwrap();
        let mut first = First(None);
        let whole = fit(&job.clone().resolve_for(&data).unwrap(), &data, &mut first).unwrap();
        let checkpoint = first.0.unwrap();
        assert_eq!(checkpoint.job().data.columns, [rule], "{family}");
        assert!(checkpoint.spec().classes.is_some() && checkpoint.spec().dim() == 3, "{family}");
        let again = resume(checkpoint, &data, &mut ()).unwrap();
        assert_eq!((&whole.model.theta, &whole.model.spec), (&again.model.theta, &again.model.spec), "{family}");
        // Scores on the way are those of the whole model.
        let best = whole.history.validations.iter().map(|v| v.nll).fold(f64::INFINITY, f64::min);
        let bound = whole.model.bind(Precision::F32).unwrap();
        let found = score(&bound, &data.valid, None).unwrap();
        assert!((best - found.nll).abs() < 1e-3, "{family}: {best} or {}", found.nll);
    }
}

#[test]
fn weights_count_in_the_table_and_several_columns_have_a_joint_one() {
    let x: Vec<f64> =
        rows(800, 4).chunks_exact(3).enumerate().flat_map(|(i, row)| [row[0], row[1], (i % 2) as f64]).collect();
    let weight: Vec<f64> = x.chunks_exact(3).map(|row| if row[1] == 9.0 { 0.5 } else { 2.0 }).collect();
    let memory = Memory { weight: Some(weight.clone()), ..table(x.clone(), true) };
    let job = job("cnf", &["kind:class", "y:class"], 4).with(|job| job.data.split = "1,0".into());
    let data = job.dataset_in_memory(memory, None).unwrap();
    let model = trained(&job, &data);
    let classes = model.spec.classes.clone().unwrap();
    assert_eq!((classes.places.len(), classes.cells.len(), model.dim()), (2, 6, 3));
    let sum: f64 = weight.iter().sum();
    let of: f64 =
        x.chunks_exact(3).zip(&weight).filter(|(row, _)| row[1] == 5.0 && row[2] == 1.0).map(|(_, w)| w).sum();
    assert!((classes.log_prob(&[5.0, 1.0]) - (of / sum).ln()).abs() < 1e-12);
    let samples = model.bind(Precision::F32).unwrap().sample_rows(1, 0, 3000, &[]).unwrap().y;
    let n = samples.chunks_exact(3).filter(|row| row[1] == 5.0 && row[2] == 1.0).count() as f64 / 3000.0;
    assert!((n - of / sum).abs() < 4.0 * (of / sum / 3000.0).sqrt(), "{n} or {}", of / sum);
}

#[test]
fn classes_that_cannot_be_given_out_are_refused_with_the_way_out() {
    let tried = |job: &Job, memory: Memory| -> Error {
        let data = job.dataset_in_memory(memory, None).unwrap();
        fit(&job.clone().resolve_for(&data).unwrap(), &data, &mut ()).unwrap_err()
    };
    let many: Vec<f64> = (0..1800).flat_map(|i| [f64::from(i) * 0.1, f64::from(i % 300), f64::from(i % 7)]).collect();
    let given = job("realnvp", &["kind:class"], 3).with(|job| job.data.condition = vec!["y".into()]);
    for (job, memory, part) in [
        (job("realnvp", &["kind:class"], 3), table(many, true), "300 combinations; their table has at most 256"),
        (job("realnvp", &["x:class"], 3), table(rows(300, 5), true), "not a whole number"),
        (job("gaussian", &["kind:class"], 3), table(rows(300, 5), true), "the model gaussian has no net"),
        (job("realnvp", &["other:class"], 3), table(rows(300, 5), true), "unknown column `other`"),
        (given, table(rows(300, 5), true), "a model with conditions gives out no classes"),
    ] {
        let error = tried(&job, memory);
        assert!(error.to_string().contains(part) && error.hint().is_some(), "{part}: {error}");
    }
}

#[cfg(feature = "cli")]
#[test]
fn the_command_reads_and_writes_words_of_classes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let word = |class: f64| {
        if class == 3.0 {
            "virginica"
        } else if class == 5.0 {
            "setosa"
        } else {
            "rosa"
        }
    };
    let text = rows(700, 6)
        .chunks_exact(3)
        .fold("x,kind,y\n".to_owned(), |text, row| text + &format!("{},{},{}\n", row[0], word(row[1]), row[2]));
    std::fs::write(at.join("t.csv"), &text).unwrap();
    for model in ["cnf", "realnvp"] {
        json(at, &format!("train --data t.csv --column kind:class --model {model} --steps 6 --hidden 8 --out {model}"));
    }
    let spec = Model::load(&at.join("cnf/model.safetensors")).unwrap().spec;
    assert_eq!(spec.class_words, [["rosa", "setosa", "virginica"]]);
    assert_eq!(json(at, "info cnf")["class_words"], serde_json::json!([["rosa", "setosa", "virginica"]]));
    json(at, "sample cnf -n 300 -o s.csv --plot s.png");
    let samples = std::fs::read_to_string(at.join("s.csv")).unwrap();
    assert!(samples.starts_with("x,kind,y\n"));
    let words: Vec<&str> = samples.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    assert!(words.iter().all(|word| ["rosa", "setosa", "virginica"].contains(word)), "{words:?}");
    json(at, "density cnf s.csv -o l.npy");
    json(at, "density cnf t.csv -o l.npy");
    json(at, "invert t.csv --model cnf -o z.csv");
    json(at, "sample cnf --latent z.csv -o back.csv");
    let back = std::fs::read_to_string(at.join("back.csv")).unwrap();
    let kinds = |text: &str| text.lines().map(|line| line.split(',').nth(1).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(kinds(&back), kinds(&text));
    // Columns in another order, and more of them, are found by name.
    let turned = text.lines().enumerate().fold(String::new(), |all, (i, line)| {
        let cells: Vec<&str> = line.split(',').collect();
        all + &format!("{},{},{},{}\n", cells[2], cells[1], if i == 0 { "id".into() } else { i.to_string() }, cells[0])
    });
    std::fs::write(at.join("turned.csv"), turned).unwrap();
    json(at, "density cnf turned.csv -o turned.npy");
    let read = |file: &str| bits(&cnflow::io::read(&at.join(file)).unwrap().data);
    assert_eq!(read("turned.npy"), read("l.npy"));
    for words in ["check cnf -n 60 --json", "check realnvp t.csv -n 60 --json"] {
        let out = cnf(at, words);
        let facts: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert!(facts["checks"].as_array().unwrap().len() > 5, "{facts}");
    }
    json(at, "compare cnf realnvp --out compared");
    json(at, "plot cnf --out drawn");
    json(at, "train --data t.csv --init realnvp --model realnvp --steps 3 --out on");
    assert_eq!(Model::load(&at.join("on/model.safetensors")).unwrap().spec.class_words, spec.class_words);
    std::fs::write(at.join("strange.csv"), text.replace("rosa", "lilia")).unwrap();
    for (words, part) in [
        ("density cnf strange.csv -o l.npy", "`lilia` in line"),
        ("trajectory cnf -o t.png", "which have no trajectories"),
        ("train --data t.csv --model realnvp --out x", "is not a number"),
        ("train --data t.csv --column kind:class --model gaussian --out x", "has no net"),
    ] {
        let out = cnf(at, words);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(part), "{words}: {said}");
    }
}
