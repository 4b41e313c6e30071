//! Laws of classes that are words: a model of them is the model of their places in the order of the words, from every file,
//! and it takes and gives the words.

use std::fmt::Write as _;
use std::path::Path;

use crate::common::command::{cnf, json};
use cnflow::io::{self, Array, Dtype};
use cnflow::rng::stream;
use cnflow::transform::StandardNormal;
use cnflow::{Error, Model};

/// The classes in the order of a file, which is not theirs.
const WORDS: [&str; 3] = ["versicolor", "setosa", "virginica"];
/// The place of each among the rising words.
const PLACES: [f64; 3] = [1.0, 0.0, 2.0];

fn rows(n: usize) -> Vec<f64> {
    StandardNormal::new(2).draw(n, &mut stream(3, 3))
}

/// a, b and the species of rows: words, or their places.
fn table(at: &Path, file: &str, words: bool) {
    let mut text = "a,b,species\n".to_owned();
    for (i, row) in rows(600).chunks_exact(2).enumerate() {
        let k = i * 7 % 3;
        let (a, b) = (row[0] + 3.0 * PLACES[k], row[1]);
        let species = if words { WORDS[k].to_owned() } else { PLACES[k].to_string() };
        writeln!(text, "{a},{b},{species}").unwrap();
    }
    std::fs::write(at.join(file), text).unwrap();
}

fn bits(at: &Path, file: &str) -> Vec<u64> {
    io::read(&at.join(file)).unwrap().data.iter().map(|v| v.to_bits()).collect()
}

fn refused(at: &Path, words: &str) -> String {
    let out = cnf(at, words);
    assert!(!out.status.success() && out.stdout.is_empty(), "`cnf {words}` went through");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

const TRAIN: &str = "--steps 6 --hidden 8 --batch 64 --far-rows keep";

#[test]
fn a_model_of_words_is_the_model_of_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    table(at, "words.csv", true);
    table(at, "places.csv", false);
    for (model, more) in [("cnf", ""), ("cnf", "--pairing optimal"), ("realnvp", ""), ("spline", "")] {
        for (data, out) in [("words", "w"), ("places", "p")] {
            let data = format!("--data {data}.csv --condition species --model {model}");
            json(at, &format!("train {data} {TRAIN} {more} --out {out} --force"));
        }
        let [words, places] = ["w", "p"].map(|run| Model::load(&at.join(run).join("model.safetensors")).unwrap());
        assert_eq!(words.theta, places.theta, "{model} {more}");
        assert_eq!(words.spec.class_words, [["setosa", "versicolor", "virginica"]], "{model}");
        assert_eq!(words.spec.class_counts, places.spec.class_counts, "{model}");
        assert!(places.spec.class_words.is_empty());
    }
    // Words go in, from the file of the points, from one of their own and from the command line.
    let labels: String = (0..600).fold("species\n".into(), |text, i| text + WORDS[i * 7 % 3] + "\n");
    std::fs::write(at.join("labels.csv"), labels).unwrap();
    let z = Array::table(rows(300), 2, Dtype::F64).unwrap();
    io::write(&at.join("x.npy"), &z).unwrap();
    json(at, "density p places.csv -o want.npy");
    for (k, words) in [
        "density w words.csv -o l.npy",
        "density w words.csv --condition species -o l.npy",
        "density w words.csv --condition labels.csv -o l.npy",
        "density w places.npy --condition 2 -o l.npy",
    ]
    .into_iter()
    .enumerate()
    {
        if k == 3 {
            let all = io::read(&at.join("places.csv")).unwrap();
            io::write(&at.join("places.npy"), &Array { columns: None, ..all }).unwrap();
        }
        json(at, words);
        assert_eq!(bits(at, "l.npy"), bits(at, "want.npy"), "{words}");
    }
    json(at, "invert words.csv --model w -o zw.npy");
    json(at, "invert places.csv --model p -o zp.npy");
    assert_eq!(bits(at, "zw.npy"), bits(at, "zp.npy"));
    for (word, place) in WORDS.iter().zip(PLACES) {
        for given in [format!("species={word}"), (*word).to_owned()] {
            json(at, &format!("sample w -n 9 --given {given} -o sw.npy"));
            json(at, &format!("sample p -n 9 --given {place} -o sp.npy"));
            assert_eq!(bits(at, "sw.npy"), bits(at, "sp.npy"), "{given}");
        }
    }
    json(at, "sample w --condition labels.csv -o sw.npy");
    assert_eq!(io::read(&at.join("sw.npy")).unwrap().rows, 600);
    // Words come out.
    let info = json(at, "info w");
    assert_eq!(info["class_words"], serde_json::json!([["setosa", "versicolor", "virginica"]]));
    let found = json(at, "density w words.csv --classify --condition species -o c.csv");
    assert_eq!(found["classes"], serde_json::json!(["setosa", "versicolor", "virginica"]));
    assert!(found["accuracy"].as_f64().unwrap() > 0.3, "{found}");
    let header = std::fs::read_to_string(at.join("c.csv")).unwrap();
    assert!(header.starts_with("species=setosa,species=versicolor,species=virginica\n"), "{}", &header[..60]);
    let text = cnf(at, "info w");
    assert!(String::from_utf8_lossy(&text.stdout).contains("species (classes setosa, versicolor, virginica)"));
    // All that reads the training's table again.
    let lines = cnf(at, "check w --given setosa -n 50 --json").stdout;
    assert!(serde_json::from_slice::<serde_json::Value>(&lines).unwrap()["checks"].is_array());
    json(at, "compare w w --out compared");
    json(at, "plot w --out drawn");
    json(at, &format!("train --data words.csv --condition species --init w {TRAIN} --out on"));
    let back = Model::from_bytes(&Model::load(&at.join("w/model.safetensors")).unwrap().to_bytes().unwrap()).unwrap();
    assert_eq!(back.spec.class_words.concat(), ["setosa", "versicolor", "virginica"]);
}

#[test]
fn words_of_another_file_have_the_numbers_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    table(at, "words.csv", true);
    json(at, &format!("train --data words.csv --condition species --model realnvp {TRAIN} --out w"));
    // Without the first word the places of the others are other ones.
    let text = std::fs::read_to_string(at.join("words.csv")).unwrap();
    let some: String = text.lines().filter(|line| !line.ends_with("setosa")).fold(String::new(), |a, b| a + b + "\n");
    std::fs::write(at.join("some.csv"), some).unwrap();
    let job = cnflow::train::Job::default().with(|job| {
        job.data.condition = vec!["species".into()];
        job.data.source = at.join("some.csv").display().to_string();
    });
    let spec = Model::load(&at.join("w/model.safetensors")).unwrap().spec;
    let (data, _) = job.dataset_for(&spec, None).unwrap();
    let codes = &data.training_rows().unwrap().context;
    assert!(codes.iter().all(|code| [1.0, 2.0].contains(code)) && codes.contains(&1.0) && codes.contains(&2.0));
    let other = text.replace("setosa", "sylvatica");
    std::fs::write(at.join("other.csv"), other).unwrap();
    let job = job.with(|job| job.data.source = at.join("other.csv").display().to_string());
    let refused = job.dataset_for(&spec, None).unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }) && refused.to_string().contains("`sylvatica`"), "{refused}");
    json(at, &format!("train --data some.csv --condition species --init w --model realnvp {TRAIN} --out on"));
    let on = Model::load(&at.join("on/model.safetensors")).unwrap().spec;
    assert_eq!(on.class_words, spec.class_words);
}

#[test]
fn words_that_are_no_classes_are_refused_with_the_known_ones() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    table(at, "words.csv", true);
    table(at, "places.csv", false);
    json(at, &format!("train --data words.csv --condition species --model realnvp {TRAIN} --out w"));
    json(at, &format!("train --data places.csv --condition species --model realnvp {TRAIN} --out p"));
    let text = std::fs::read_to_string(at.join("words.csv")).unwrap();
    std::fs::write(at.join("slip.csv"), text.replacen("setosa", "7", 1)).unwrap();
    std::fs::write(at.join("strange.csv"), text.replace("setosa", "sylvatica")).unwrap();
    std::fs::write(at.join("gap.csv"), text.replacen("setosa", "", 1)).unwrap();
    let many: String = text.lines().enumerate().fold(String::new(), |a, (i, b)| match i {
        0 => a + b + "\n",
        _ => a + &format!("{b}{}\n", i % 50),
    });
    std::fs::write(at.join("many.csv"), many).unwrap();
    for (words, parts) in [
        ("density w strange.csv -o l.npy", &["`sylvatica` in line", "`setosa`, `versicolor`, `virginica`"][..]),
        ("density w places.csv -o l.npy", &["is not one of the classes"]),
        ("density p words.csv -o l.npy", &["is not a number"]),
        ("sample w -o s.npy --given rosa", &["no class `rosa`", "`setosa`, `versicolor`, `virginica`"]),
        ("sample w -o s.npy --given 1", &["no class `1`"]),
        ("sample w -o s.npy", &["species (classes setosa, versicolor, virginica)"]),
        ("train --data slip.csv --condition species --out r", &["`7` in line", "NAME:class"]),
        ("train --data many.csv --condition species --out r", &["different words", "NAME:class"]),
        ("train --data words.csv --condition species:number --out r", &["is not a number"]),
        ("train --data words.csv --out r", &["is not a number"]),
        ("train --data words.csv --condition species --model gaussian --out r", &["condition"]),
    ] {
        let said = refused(at, words);
        assert!(parts.iter().all(|part| said.contains(part)), "{words}: {said}");
    }
    // A missing word is a missing cell, and a class of words and numbers is one that is called so.
    let facts = json(at, "density w gap.csv -o l.npy");
    assert_eq!(facts["missing"], 1);
    json(
        at,
        &format!("train --data slip.csv --condition species:class --split 1,0 --model realnvp {TRAIN} --out slip"),
    );
}
