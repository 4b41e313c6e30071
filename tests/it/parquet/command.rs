//! The command on Parquet files.

use std::path::Path;
use std::process::Command;

use cnflow::Model;
use cnflow::io::{self, Dialect};

use super::{bits, file};

/// Runs what must succeed; its JSON, and what it wrote on stderr.
fn json(at: &Path, words: &str) -> (serde_json::Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
    let out = command.current_dir(at).args(words.split_whitespace()).arg("--json").output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "`cnf {words}`: {err}");
    (serde_json::from_slice(&out.stdout).unwrap(), err)
}

#[test]
fn every_command_reads_parquet_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["snappy.parquet", "numbers.csv", "polars.parquet", "gaps.csv"] {
        std::fs::copy(file(name), at.join(name)).unwrap();
    }
    let drop = "--drop text,plain,whole,count,large,flag,price,short,fine";
    let train = |data: &str, out: &str| {
        let words = format!(
            "train --data {data} {drop} --split column:set --condition small:number --model nice --hidden 4 --depth 2 --steps 5 --out {out}"
        );
        json(at, &words);
        Model::load(&at.join(out).join("model.safetensors")).unwrap()
    };
    let (ours, theirs) = (train("snappy.parquet", "p"), train("numbers.csv", "t"));
    let theta = |model: &Model| model.theta.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(theta(&ours), theta(&theirs));
    assert_eq!(ours.spec.names, ["narrow", "half", "steps"]);
    let numbers = |name: &str| io::read_with(&at.join(name), &Dialect::default(), true).unwrap().array.data;
    for (command, more) in
        [("density p DATA", ""), ("invert DATA --model p", ""), ("density p DATA", "--condition DATA")]
    {
        let run = |data: &str, out: &str| {
            json(at, &format!("{command} {more} -o {out}").replace("DATA", data));
            bits(&numbers(out))
        };
        assert_eq!(run("snappy.parquet", "a.npy"), run("numbers.csv", "b.npy"), "{command} {more}");
    }
    json(at, "sample p --condition snappy.parquet -o s.npy");
    // A column of words is in the way of a summary, and not of a model without it.
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
    let out = command.current_dir(at).args(["data", "polars.parquet"]).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("`a` in row 0 (counted from 0), column `kind`"));
}

#[test]
fn gaps_of_parquet_are_left_out_or_nan() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["polars.parquet", "gaps.csv"] {
        std::fs::copy(file(name), at.join(name)).unwrap();
    }
    let words = "train --data polars.parquet --drop kind --split 0.6,0.2 --model gaussian --out g";
    let (_, note) = json(at, words);
    assert!(
        note.contains("`polars.parquet`: 4 of 40 rows have a missing cell and are left out: 3 in `y`, 2 in `x`"),
        "{note}"
    );
    for (command, key) in
        [("density g polars.parquet -o a.npy", "mean_log_prob"), ("invert polars.parquet --model g", "n")]
    {
        let ((ours, note), (theirs, _)) = (json(at, command), json(at, &command.replace("polars.parquet", "gaps.csv")));
        assert_eq!((&ours["missing"], &ours[key]), (&4.into(), &theirs[key]));
        assert!(note.contains("4 of 40 rows have a missing cell"), "{note}");
    }
}
