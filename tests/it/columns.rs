//! Laws of the columns that are named: every file and every command takes the same ones, in the order in which they are
//! named, and a model finds its own again.

use std::path::Path;

use serde_json::Value;

use crate::common::command::{cnf, json};
use cnflow::io::{self, Array, Dtype};
use cnflow::rng::stream;
use cnflow::rows::{Memory, Table, TableOptions};
use cnflow::train::Job;
use cnflow::transform::StandardNormal;
use cnflow::{Error, Model};

/// Rows of a, b, c, d, where d is 0 or 1.
fn rows(n: usize) -> Vec<f64> {
    let z = StandardNormal::new(3).draw(n, &mut stream(21, 0));
    let one = |(i, z): (usize, &[f64])| [z[0], 10.0 + z[1] + 0.5 * z[0], 100.0 + 2.0 * z[2], (i % 2) as f64];
    z.chunks_exact(3).enumerate().flat_map(one).collect()
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Writes columns of the rows, with their names where the format has them.
fn write(at: &Path, file: &str, columns: &[usize]) {
    let all = rows(400);
    let data: Vec<f64> = all.chunks_exact(4).flat_map(|row| columns.iter().map(|j| row[*j])).collect();
    let mut array = Array::table(data, columns.len(), Dtype::F64).unwrap();
    if file.ends_with(".csv") {
        array.columns = Some(columns.iter().map(|j| NAMES[*j].to_owned()).collect());
    }
    io::write(&at.join(file), &array).unwrap();
}

fn texts(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The error and the hint of what must fail.
fn refused(at: &Path, words: &str) -> String {
    let out = cnf(at, words);
    assert!(!out.status.success() && out.stdout.is_empty(), "`cnf {words}` went through");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn read(at: &Path, file: &str) -> Vec<f64> {
    io::read(&at.join(file)).unwrap().data
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn columns_are_taken_in_the_order_of_their_names_or_numbers_from_every_table() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "t.csv", &[0, 1, 2, 3]);
    write(at, "t.npy", &[0, 1, 2, 3]);
    let all = rows(400);
    let options = |keep: &str| TableOptions { keep: texts(keep), ..TableOptions::default() };
    for (file, keep, places) in [
        ("t.csv", "c a", &[2, 0][..]),
        ("t.csv", "2 a", &[2, 0]),
        ("t.npy", "2 0", &[2, 0]),
        ("t.npy", "1", &[1]),
        ("t.csv", "a b c d", &[0, 1, 2, 3]),
    ] {
        let table = Table::read(&at.join(file), &options(keep), 0).unwrap();
        let wanted: Vec<f64> = all.chunks_exact(4).flat_map(|row| places.iter().map(|j| row[*j])).collect();
        assert_eq!(table.x.into_f64(), wanted, "{file} {keep}");
        assert_eq!(table.numbers, places, "{file} {keep}");
        // Rows in memory give the same set to every split.
        let named = file == "t.csv";
        let columns = named.then(|| NAMES.map(str::to_owned).to_vec());
        let memory = Memory { name: "the rows".into(), x: all.clone().into(), dim: 4, columns, ..Memory::default() };
        let job = |source: String| {
            Job::default().with(|job| {
                job.data.keep = texts(keep);
                job.data.source = source;
            })
        };
        let data = job(String::new()).dataset_in_memory(memory, None).unwrap();
        let of_file = job(at.join(file).display().to_string()).dataset(None).unwrap();
        assert_eq!(data.training_rows(), of_file.training_rows(), "{file} {keep}");
        assert_eq!((data.test, data.columns), (of_file.test, of_file.columns), "{file} {keep}");
    }
    for (file, keep, part) in [
        ("t.csv", "a x", "no column `x`"),
        ("t.csv", "a a", "twice"),
        ("t.npy", "a", "unknown column `a`"),
        ("t.npy", "4", "unknown column `4`"),
        ("t.npy", "1 0", "another order"),
    ] {
        let error = Table::read(&at.join(file), &options(keep), 0).unwrap_err();
        assert!(error.to_string().contains(part) && error.hint().is_some(), "{file} {keep}: {error}");
    }
    let both = Job::default().with(|job| (job.data.keep, job.data.drop) = (texts("a"), texts("b")));
    assert!(matches!(both.resolve(2), Err(Error::Invalid { .. })));
}

#[test]
fn a_model_finds_its_columns_again_in_a_table_with_more() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (file, columns) in [
        ("t.csv", &[0, 1, 2, 3][..]),
        ("t.npy", &[0, 1, 2, 3]),
        ("ca.csv", &[2, 0]),
        ("ca.npy", &[2, 0]),
        ("ac.npy", &[0, 2]),
        ("mixed.csv", &[3, 0, 1, 2]),
        ("cda.npy", &[2, 3, 0]),
        ("dca.npy", &[3, 2, 0]),
        ("c.npy", &[2]),
    ] {
        write(at, file, columns);
    }
    let train = "--steps 3 --hidden 8 --base normal --far-rows keep";
    json(at, &format!("train --data t.csv --columns c,a {train} --out named"));
    json(at, &format!("train --data t.npy --columns 2,0 {train} --out numbered"));
    assert_eq!(Model::load(&at.join("named/model.safetensors")).unwrap().spec.names, ["c", "a"]);
    let score = |words: &str, out: &str| -> Vec<u64> {
        json(at, &format!("density {words} -o {out}"));
        bits(&read(at, out))
    };
    let wanted = score("named ca.npy", "want.npy");
    for words in ["t.csv", "mixed.csv", "ca.csv", "t.csv --columns a,c", "t.csv --drop b", "t.npy --columns 2,0"] {
        assert_eq!(score(&format!("named {words}"), "l.npy"), wanted, "{words}");
    }
    // Without names the numbers are those of the training, unless the file has the model's columns alone.
    let numbered = score("numbered ca.npy", "n.npy");
    for words in ["t.npy", "t.npy --columns 2,0", "t.csv --columns c,a", "dca.npy --drop 0", "cda.npy --columns 0,2"] {
        assert_eq!(score(&format!("numbered {words}"), "l.npy"), numbered, "{words}");
    }
    let note = cnf(at, "density numbered t.npy -o l.npy");
    let note = String::from_utf8_lossy(&note.stderr).into_owned();
    assert!(note.contains("its columns 2, 0 are used, as in the training (--columns)"), "{note}");
    // A file in which one of these numbers is missing is not like that of the training.
    json(at, &format!("train --data t.npy --columns 3,0 {train} --out far"));
    assert!(refused(at, "density far cda.npy -o l.npy").contains("holds 3 columns, the model has 2"));
    assert!(refused(at, "density numbered c.npy -o l.npy").contains("holds 1 column, the model has 2"));
    // Other commands read the same rows.
    let z = |words: &str| {
        json(at, &format!("invert {words} -o z.npy"));
        bits(&read(at, "z.npy"))
    };
    assert_eq!(z("t.npy --model numbered"), z("ca.npy --model numbered"));
    assert_eq!(z("t.csv --model named --drop d,b"), z("ca.csv --model named"));
    // A model of three steps fails a line.
    let checked = |words: &str| -> Value {
        let out = cnf(at, &format!("check {words} -n 50 --json"));
        // The words name the file.
        let facts: Value = serde_json::from_slice(&out.stdout).unwrap();
        facts["checks"].as_array().unwrap().iter().map(|line| line["value"].clone()).collect()
    };
    assert_eq!(checked("numbered t.npy"), checked("numbered ca.npy"));
    assert!(checked("named").is_array());
    json(at, "plot named --axes 1,0 --out drawn");
    json(at, "compare named named --out compared");
    json(at, "compare --data t.npy --columns 2,0 --models gaussian --out numbers");
    let facts = json(at, "data t.csv --columns c,a");
    assert_eq!((facts["cols"].as_u64(), facts["columns"][0]["name"].as_str()), (Some(2), Some("c")));
    assert_eq!(json(at, "data t.npy --drop 1,3")["cols"], 2);
    // Conditions and weights need not be among the columns.
    json(at, &format!("train --data t.csv --columns c,a --condition d {train} --out given"));
    let given = score("given t.csv", "g.npy");
    assert_eq!(score("given mixed.csv --columns c,a", "l.npy"), given);
    json(at, "train --data t.npy --columns 2,0 --weights 3 --model gaussian --out weighted");
    assert_eq!(Model::load(&at.join("weighted/model.safetensors")).unwrap().dim(), 2);
    // A word is no number, unless its column is not used.
    std::fs::write(at.join("words.csv"), "1,x,2\n2,y,5\n4,z,6\n3,x,1\n9,y,2\n0,x,4\n6,z,5\n7,x,1\n3,y,3\n2,x,8\n")
        .unwrap();
    json(at, "train --data words.csv --columns 0,2 --model gaussian --out words");
    json(at, "density words words.csv --columns 0,2 -o l.npy");
}

#[test]
fn columns_that_mean_nothing_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "t.csv", &[0, 1, 2, 3]);
    json(at, "train --data t.csv --columns a,b --model gaussian --out g");
    for (words, part) in [
        ("train --data t.csv --columns a,b --drop c --out r", "cannot be used with"),
        ("train --data moons --columns 0 --out r", "--columns has no meaning for the toy `moons`"),
        ("train --data t.csv --columns a,x --out r", "no column `x`"),
        ("data moons --columns 0", "--columns has no meaning for `moons`"),
        ("density g --grid 10 --columns a -o l.npy", "--columns has no meaning without a file of points"),
        ("trajectory g --columns a -o t.png", "--columns has no meaning without a file of points"),
        ("check g --drop a", "--drop has no meaning without a file of points"),
        ("density g t.csv --columns a -o l.npy", "no column `b`"),
        ("density g t.csv --columns c,d,a -o l.npy", "no column `b`"),
        ("sample g -o s.npy --columns 0", "give --axes"),
        ("plot g --columns 0", "give --axes"),
    ] {
        let text = refused(at, words);
        assert!(text.contains(part), "{words}: {text}");
    }
}
