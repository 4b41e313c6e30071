//! Columns are found by their names, wherever a table comes in beside a model: in any order, with others between them.
//!
//! Laws over the orders of the columns, over the families of models and over the commands that read points.
#![cfg(feature = "cli")]

use std::ops::ControlFlow;
use std::path::Path;

use crate::common::archive::{npy, npz};
use crate::common::command::{bytes, cnf, json};
use cnflow::io::safetensors::ModelFile;
use cnflow::io::{Array, Dtype};
use cnflow::model::Model;
use cnflow::train::{Checkpoint, Family, Job, Progress, TrainResult, Watch, fit, resume};
use cnflow::transform::{Condition, ContextColumn, Range};
use cnflow::{io, rng};
use rand::Rng as _;
use serde_json::Value;

/// Columns of different scales, so that none can stand for another: u, v, the class k, the number e, and a stranger.
const COLUMNS: [&str; 5] = ["u", "v", "k", "e", "w"];

/// `n` rows of them.
fn rows(n: usize) -> Vec<[f64; 5]> {
    let mut rng = rng::stream(11, 0);
    let mut unit = move || rng.random::<f64>();
    let mut row = |_| {
        let (k, e) = ((3.0 * unit()).floor(), 2.0 * unit());
        let bump = unit() + unit() + unit() - 1.5;
        [100.0 + bump + e, 5.0 * (unit() + unit() - 1.0) - 3.0 * k, k, e, 1e4 * unit()]
    };
    (0..n).map(&mut row).collect()
}

/// Writes these columns of the rows, in this order; the header only where it is wanted.
fn write(at: &Path, name: &str, rows: &[[f64; 5]], columns: &[&str], header: bool) {
    let place = |column: &&str| COLUMNS.iter().position(|known| known == column).unwrap();
    let places: Vec<usize> = columns.iter().map(place).collect();
    let mut text = if header { columns.join(",") + "\n" } else { String::new() };
    for row in rows {
        text += &(places.iter().map(|j| row[*j].to_string()).collect::<Vec<_>>().join(",") + "\n");
    }
    std::fs::write(at.join(name), text).unwrap();
}

/// Every order of the names.
fn orders<'a>(names: &[&'a str]) -> Vec<Vec<&'a str>> {
    if names.is_empty() {
        return vec![Vec::new()];
    }
    let rest = |j: usize| names.iter().enumerate().filter(move |(i, _)| *i != j).map(|(_, name)| *name);
    (0..names.len())
        .flat_map(|j| {
            let all = orders(&rest(j).collect::<Vec<_>>());
            all.into_iter().map(move |order| [vec![names[j]], order].concat())
        })
        .collect()
}

/// What must be refused, with these words, and a way out.
fn refused(at: &Path, words: &str, sentence: &str) {
    let out = cnf(at, words);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{words}: {err}");
    assert!(err.contains(sentence) && err.contains("hint:"), "{words}: {err}");
}

/// Runs what must succeed, and returns its words on stderr. A check of a net that was hardly trained may say that it
/// fits its data badly: that is an answer too.
fn noted(at: &Path, words: &str) -> String {
    let out = cnf(at, words);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() || err.contains("lines failed: latents of data"), "{words}: {err}");
    err
}

/// The lines of a check, whatever they say, by their names.
fn check(at: &Path, words: &str) -> Value {
    let out = cnf(at, &format!("check {words} --json"));
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{words}: {}", String::from_utf8_lossy(&out.stderr)))
}

/// How far the latents of held-out data are from a standard normal.
fn fit_of(facts: &Value) -> &Value {
    let lines = facts["checks"].as_array().unwrap();
    lines.iter().find(|line| line["name"] == "latents of data").unwrap()
}

fn flags(family: Family) -> &'static str {
    match family {
        Family::Cnf => "--hidden 8,8 --steps 12 --batch 64",
        Family::Discrete(_) => "--hidden 8,8 --depth 2 --steps 12 --batch 64",
        _ => "",
    }
}

#[test]
fn every_family_finds_its_columns_in_every_order() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = rows(300);
    write(at, "t.csv", &rows, &["u", "v"], true);
    write(at, "plain.csv", &rows, &["u", "v"], false);
    for family in Family::ALL {
        let name = family.name();
        json(at, &format!("train --data t.csv --model {name} {} --out {name}", flags(family)));
        assert_eq!(json(at, &format!("info {name}"))["names"], serde_json::json!(["u", "v"]), "{name}");
        json(at, &format!("density {name} t.csv -o p.npy"));
        json(at, &format!("invert t.csv --model {name} -o z.npy"));
        let (p, z) = (bytes(at, "p.npy"), bytes(at, "z.npy"));
        // Without names the order counts.
        json(at, &format!("density {name} plain.csv -o q.npy"));
        assert!(bytes(at, "q.npy") == p, "{name}");
        for order in orders(&["u", "v", "w"]).into_iter().chain([vec!["v", "u"]]) {
            write(at, "o.csv", &rows, &order, true);
            let err = noted(at, &format!("density {name} o.csv -o q.npy --block 7"));
            assert!(bytes(at, "q.npy") == p, "{name}, {order:?}");
            assert_eq!(err.contains("left out"), order.contains(&"w"), "{name}, {order:?}: {err}");
            let swapped = order.iter().position(|n| *n == "v") < order.iter().position(|n| *n == "u");
            assert_eq!(err.contains("taken by name"), swapped, "{name}, {order:?}: {err}");
            json(at, &format!("invert o.csv --model {name} -o q.npy"));
            assert!(bytes(at, "q.npy") == z, "{name}, {order:?}");
        }
        // What is written is read again as what it was.
        json(at, &format!("sample {name} -n 40 -o s.csv --precision f64 --with-density sp.csv"));
        assert!(String::from_utf8(bytes(at, "s.csv")).unwrap().starts_with("u,v\n"), "{name}");
        assert!(String::from_utf8(bytes(at, "sp.csv")).unwrap().starts_with("log_prob\n"), "{name}");
        json(at, &format!("invert s.csv --model {name} -o z.csv --precision f64"));
        assert!(String::from_utf8(bytes(at, "z.csv")).unwrap().starts_with("z0,z1\n"), "{name}");
        json(at, &format!("sample {name} --latent z.csv -o again.csv --precision f64"));
        let text = String::from_utf8(bytes(at, "z.csv")).unwrap();
        let turned: Vec<String> =
            text.lines().map(|line| line.split(',').rev().collect::<Vec<_>>().join(",")).collect();
        std::fs::write(at.join("turned.csv"), turned.join("\n")).unwrap();
        json(at, &format!("sample {name} --latent turned.csv -o turned_again.csv --precision f64"));
        assert!(bytes(at, "again.csv") == bytes(at, "turned_again.csv"), "{name}");
        let (s, again) = (io::read(&at.join("s.csv")).unwrap(), io::read(&at.join("again.csv")).unwrap());
        // The way there and back is within the solver's tolerance of 1e-5, and columns have deviations up to 5.
        let worst = s.data.iter().zip(&again.data).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-2, "{name}: {worst}");
    }
}

/// Every command that reads points or a table beside a model, as (what it runs on a file, whether it says a note
/// there).
const READERS: [&str; 7] = [
    "density run FILE",
    "invert FILE --model run",
    "check run FILE -n 50",
    "trajectory run FILE -o t.png --panels 2 --grid 10 --paths 5",
    "train --init run --data FILE --steps 2 --out more --force",
    "plot run --data FILE --out drawn",
    "compare run --data FILE --out compared --force",
];

#[test]
fn every_command_takes_columns_by_name_and_refuses_what_it_cannot_match() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = rows(300);
    write(at, "t.csv", &rows, &["u", "v"], true);
    write(at, "turned.csv", &rows, &["w", "v", "u"], true);
    write(at, "missing.csv", &rows, &["u", "w"], true);
    write(at, "plain.csv", &rows, &["u", "v"], false);
    write(at, "wide.csv", &rows, &["u", "v", "w"], false);
    let twice = std::fs::read_to_string(at.join("turned.csv")).unwrap().replacen("w,v,u", "u,v,u", 1);
    std::fs::write(at.join("twice.csv"), twice).unwrap();
    json(at, "train --data t.csv --model realnvp --hidden 8,8 --depth 2 --steps 12 --out run");
    for words in READERS {
        let on = |file: &str| words.replace("FILE", file);
        let err = noted(at, &on("turned.csv"));
        assert!(err.contains("taken by name, as `u`, `v`") && err.contains("`w` is left out"), "{words}: {err}");
        let plain = noted(at, &on("plain.csv"));
        assert!(!plain.contains("taken by name"), "{words}: {plain}");
        refused(at, &on("missing.csv"), "has no column `v`: it has `u`, `w`, and the model has `u`, `v`");
        refused(at, &on("twice.csv"), "more than one column called `u`");
        let wide = cnf(at, &on("wide.csv"));
        let err = String::from_utf8_lossy(&wide.stderr).into_owned();
        assert!(wide.status.code() == Some(1) && err.contains('3') && err.contains('2'), "{words}: {err}");
    }
    // Columns that are not used may hold text and missing values, and the split of a table stands beside its columns.
    let mut text = String::from("set,v,remark,u\n");
    for (i, row) in rows.iter().enumerate() {
        let set = ["train", "train", "valid", "test"][i % 4];
        text += &format!("{set},{},{},{}\n", row[1], if i % 3 == 0 { "" } else { "good one" }, row[0]);
    }
    std::fs::write(at.join("remarks.csv"), text).unwrap();
    for words in READERS {
        let err = noted(at, &words.replace("FILE", "remarks.csv"));
        assert!(err.contains("its columns `set`, `remark` are left out"), "{words}: {err}");
    }
    json(at, "density run t.csv -o p.npy");
    json(at, "density run remarks.csv -o q.npy");
    assert!(bytes(at, "p.npy") == bytes(at, "q.npy"));
    // The held-out rows of a run whose table was changed since are the same rows.
    let before = check(at, "run -n 50");
    let score = json(at, "compare run --out compared --force")["models"][0]["nll"].clone();
    write(at, "t.csv", &rows, &["w", "v", "u"], true);
    assert!(fit_of(&before)["value"].is_number(), "{before}");
    assert_eq!(fit_of(&check(at, "run -n 50"))["value"], fit_of(&before)["value"]);
    assert_eq!(json(at, "compare run --out compared --force")["models"][0]["nll"], score);
    // Where a column is gone, the check says so instead of checking others.
    write(at, "t.csv", &rows, &["w", "v"], true);
    let gone = check(at, "run -n 50");
    let last = fit_of(&gone);
    assert!(last["verdict"] == "skipped" && last["words"].as_str().unwrap().contains("no column `u`"), "{last}");
}

#[test]
fn conditions_are_found_by_name_in_a_file_of_their_own_and_beside_the_points() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = rows(300);
    write(at, "t.csv", &rows, &["u", "k", "v", "e"], true);
    write(at, "points.csv", &rows, &["u", "v"], true);
    write(at, "plain.csv", &rows, &["u", "v"], false);
    write(at, "given.csv", &rows, &["k", "e"], true);
    for family in Family::ALL.into_iter().filter(|family| !family.is_reference()) {
        let name = family.name();
        json(at, &format!("train --data t.csv --model {name} --condition k,e {} --out {name}", flags(family)));
        json(at, &format!("density {name} points.csv --condition given.csv -o p.npy"));
        let p = bytes(at, "p.npy");
        let same = |words: &str, note: &str| {
            let err = noted(at, &format!("density {name} {words} -o q.npy --block 11"));
            assert!(bytes(at, "q.npy") == p, "{name}, {words}");
            assert!(if note.is_empty() { err.is_empty() } else { err.contains(note) }, "{name}, {words}: {err}");
        };
        same("plain.csv --condition given.csv", "");
        for order in [["e", "k", "w"], ["w", "e", "k"], ["k", "w", "e"]] {
            write(at, "o.csv", &rows, &order, true);
            same("points.csv --condition o.csv", "`w` is left out");
        }
        write(at, "o.csv", &rows, &["e", "k"], true);
        same("plain.csv --condition o.csv", "taken by name, as `k`, `e`");
        let notes = json(at, &format!("density {name} plain.csv --condition o.csv"))["notes"].to_string();
        assert!(notes.contains("`o.csv`: its columns are taken by name"), "{notes}");
        for order in orders(&["u", "v", "k", "e"]).into_iter().step_by(5) {
            write(at, "o.csv", &rows, &order, true);
            same("o.csv", "the conditions are its columns `k`, `e`");
            same("o.csv --condition given.csv", "left out");
            let at_place = |column: &str| order.iter().position(|name| *name == column).unwrap();
            for asked in ["k,e", "e,k", "k:class,e:number", &format!("{},{}", at_place("e"), at_place("k"))] {
                let turned = at_place("v") < at_place("u");
                same(&format!("o.csv --condition {asked}"), if turned { "taken by name" } else { "" });
            }
            // Without a header they are found by their numbers, in the model's order.
            let rest: Vec<&str> = order.iter().copied().filter(|name| *name == "u" || *name == "v").collect();
            if rest == ["u", "v"] {
                write(at, "o.csv", &rows, &order, false);
                same(&format!("o.csv --condition {},{}", at_place("k"), at_place("e")), "");
            }
        }
        json(at, &format!("invert t.csv --model {name} --condition k,e -o z.npy"));
        json(at, &format!("invert points.csv --model {name} --condition given.csv -o q.npy"));
        assert!(bytes(at, "z.npy") == bytes(at, "q.npy"), "{name}");
        let ours = check(at, &format!("{name} t.csv --condition k,e -n 50"));
        assert_eq!(ours["condition"].as_array().unwrap().len(), 2);
        let theirs = check(at, &format!("{name} points.csv --condition given.csv -n 50"));
        assert!(fit_of(&ours)["value"].is_number(), "{name}: {ours}");
        assert_eq!(fit_of(&ours)["value"], fit_of(&theirs)["value"], "{name}");
        // Of a number no held-out row has just this value: each is taken under its own.
        let held_out = check(at, &format!("{name} -n 50 --given k=1,e=0.5"));
        assert!(fit_of(&held_out)["words"].as_str().unwrap().contains("each under its own condition"), "{held_out}");
        let drawn = format!("trajectory {name} t.csv --condition k,e -o t.png --panels 2 --grid 10 --paths 5");
        assert_eq!(json(at, &drawn)["n"], 300);
    }
    let s = "--given k=1,e=0.5";
    json(at, &format!("sample realnvp -n 9 -o s.npy {s}"));
    let (known, mut others) =
        (bytes(at, "s.npy"), vec!["e=0.5,k=1", "1,0.5", "c0=1,c1=0.5", "1=0.5,0=1", "e=0.5,1", "1,e=0.5"]);
    others.push("k=1.0,c1=5e-1");
    for given in others {
        json(at, &format!("sample realnvp -n 9 -o s.npy --given {given}"));
        assert!(bytes(at, "s.npy") == known, "{given}");
    }
    for (words, sentence) in [
        ("sample realnvp -n 9 -o no.npy --given k=1", "no value for `e`"),
        ("sample realnvp -n 9 -o no.npy --given k=1,mass=2", "no condition `mass`: it has k (classes 0, 1, 2), e"),
        ("sample realnvp -n 9 -o no.npy --given k=1,k=2", "`k` twice"),
        ("sample realnvp -n 9 -o no.npy --given k=1,e=x", "is not a finite number"),
        ("sample realnvp -n 9 -o no.npy --given k=7,e=1", "the condition `k` has no class 7"),
        ("sample realnvp -n 9 -o no.npy --condition k,e", "there is no file of points"),
        ("sample realnvp -n 9 -o no.npy --condition points.csv", "has no columns `k`, `e`: it has `u`, `v`"),
        ("density realnvp points.csv", "conditional on k (classes 0, 1, 2), e, and no condition was given"),
        ("density realnvp points.csv --condition k,e", "unknown column `k`"),
        ("density realnvp t.csv --condition k", "has no column `e`"),
        ("density realnvp t.csv --condition k,u", "has no column `e`"),
        ("density realnvp t.csv --condition k,e,u", "--condition names `u`"),
        ("density realnvp t.csv --condition k,k", "twice"),
        ("density realnvp --grid 20 --condition k,e", "there is no file of points"),
        ("density realnvp t.csv --plot p.png", "several rows of conditions"),
    ] {
        refused(at, words, sentence);
    }
    assert!(!at.join("no.npy").exists());
    // Arrays have no names: columns are found by their numbers.
    let all: Vec<f64> = rows.iter().flat_map(|row| [row[3], row[0], row[2], row[1]]).collect();
    io::write(&at.join("all.npy"), &Array::table(all, 4, Dtype::F64).unwrap()).unwrap();
    json(at, "density realnvp all.npy --condition 2,0 -o q.npy --block 13");
    json(at, "density realnvp t.csv --condition k,e -o p.npy");
    assert!(bytes(at, "p.npy") == bytes(at, "q.npy"));
    refused(at, "density realnvp all.npy", "the columns of the points that are conditions");
    // A condition may be one of the points' columns too.
    json(at, "train --data t.csv --condition given.csv --model realnvp --hidden 8,8 --depth 2 --steps 5 --out both");
    json(at, "density both t.csv --condition given.csv -o p.npy");
    let notes = json(at, "density both t.csv -o q.npy")["notes"].clone();
    assert!(notes[0].as_str().unwrap().contains("the conditions are its columns `k`, `e`"), "{notes}");
    assert!(bytes(at, "p.npy") == bytes(at, "q.npy"));
    // A class that only a late row of a file has is named with the row.
    let mut strange = rows.clone();
    strange[205][2] = 9.0;
    write(at, "strange.csv", &strange, &["u", "v", "k", "e"], true);
    refused(at, "density realnvp strange.csv --block 100", "no class 9, which row 205");
}

#[test]
fn conditions_beyond_those_of_the_training_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = rows(300);
    write(at, "t.csv", &rows, &["u", "v", "e"], true);
    json(at, "train --data t.csv --condition e --model realnvp --hidden 8,8 --depth 2 --steps 12 --out run");
    // The same without what later versions wrote.
    let file = ModelFile::read(&at.join("run/model.safetensors")).unwrap();
    let mut metadata = file.metadata.clone();
    let mut card: Value = serde_json::from_str(&metadata["cnf"]).unwrap();
    let flow = card["flow"].as_object().unwrap();
    assert!(flow.get("names").is_none() && flow.get("condition_ranges").is_none(), "an old program refuses these");
    assert_eq!(card["format"], 3);
    assert_eq!(card["names"], serde_json::json!(["u", "v"]));
    let fields = card.as_object_mut().unwrap();
    assert!(fields.remove("names").is_some() && fields.remove("condition_ranges").is_some());
    metadata.insert("cnf".into(), card.to_string());
    ModelFile { metadata, ..file }.write(&at.join("old.safetensors")).unwrap();

    let (mut far, columns) = (rows.clone(), ["u", "v", "e"]);
    (far[3][3], far[250][3], far[251][3]) = (9.0, 50.0, -7.0);
    write(at, "far.csv", &far, &columns, true);
    for model in ["run", "old.safetensors"] {
        assert!(json(at, &format!("density {model} t.csv --condition e"))["condition_outside"].is_null());
        let facts = json(at, &format!("density {model} far.csv --condition e --block 64"));
        let far = &facts["condition_outside"];
        // Of deviations of 0.58 around 1, six reach to 4.5.
        assert_eq!(
            (far["rows"].as_u64(), far["row"].as_u64(), far["value"].as_f64()),
            (Some(3), Some(250), Some(50.0))
        );
        assert_eq!(far["column"], "e");
        for (words, text) in [
            (format!("density {model} far.csv --condition e"), "3 of 300 rows"),
            (format!("invert far.csv --model {model} --condition e"), "3 of 300 rows"),
            (format!("sample {model} -n 5 -o s.npy --given e=50"), "`e` = 50"),
            (format!("density {model} --grid 10 --given 50"), "`e` = 50"),
            (format!("check {model} t.csv -n 50 --given c0=50"), "`e` = 50"),
            (format!("trajectory {model} -o t.png --panels 2 --grid 10 --given e=50"), "`e` = 50"),
        ] {
            let out = cnf(at, &words);
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            assert_eq!(said.matches("far outside the training range").count(), 1, "{words}: {said}");
            assert!(said.contains(text), "{words}: {said}");
            let facts: Value = {
                let out = cnf(at, &format!("{words} --json"));
                serde_json::from_slice(&out.stdout).unwrap()
            };
            assert!(facts["condition_outside"]["rows"].as_u64() >= Some(1), "{words}: {facts}");
        }
    }
    // A file without names is still matched by its order, with a model without names by theirs.
    json(at, "density old.safetensors t.csv --condition e -o p.npy");
    json(at, "density run t.csv --condition e -o q.npy");
    assert!(bytes(at, "p.npy") == bytes(at, "q.npy"));
}

#[test]
fn a_reader_gives_out_the_columns_that_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let n = 50;
    let data: Vec<f64> = (0..4 * n).map(f64::from).collect();
    let whole = Array::table(data, 4, Dtype::F64).unwrap();
    io::write(&at.join("x.npy"), &whole).unwrap();
    io::write(&at.join("x.csv"), &whole).unwrap();
    std::fs::write(at.join("x.npz"), npz(&[("x", npy(&whole))], false)).unwrap();
    for file in ["x.npy", "x.csv", "x.npz"] {
        for places in [vec![2], vec![3, 0], vec![0, 1, 2, 3], vec![1, 0, 3, 2, 1]] {
            for block in [1, 7, 100] {
                let mut reader = io::Reader::open(&at.join(file)).unwrap();
                reader.keep(&places).unwrap();
                assert_eq!(reader.cols(), places.len());
                let mut found = Vec::new();
                while let Some(block) = reader.next_block(block).unwrap() {
                    found.extend(block.data);
                }
                let wanted: Vec<f64> =
                    (0..n as usize).flat_map(|i| places.iter().map(move |j| (4 * i + j) as f64)).collect();
                assert_eq!(found, wanted, "{file}, {places:?}, {block}");
            }
        }
        let mut reader = io::Reader::open(&at.join(file)).unwrap();
        assert!(reader.keep(&[4]).is_err() && reader.keep(&[]).is_err());
        // What is kept of what was kept.
        reader.keep(&[3, 1, 0]).unwrap();
        reader.keep(&[2, 0]).unwrap();
        assert_eq!(reader.next_block(1).unwrap().unwrap().data, [0.0, 3.0], "{file}");
    }
}

#[test]
fn a_range_has_a_margin_in_proportion() {
    for (low, high) in [(0.0, 2.0), (-1e6, 1e6), (1e-9, 2e-9)] {
        let (range, width) = (Range::of(&[high, low, f64::NAN]).unwrap(), high - low);
        assert_eq!(range, Range { low, high });
        assert_eq!((range.beyond(low), range.beyond(high), range.beyond(low + 0.3 * width)), (0.0, 0.0, 0.0));
        assert!((range.beyond(high + 0.5 * width) - 0.5).abs() < 1e-9);
        assert!((range.beyond(low - 2.0 * width) - 2.0).abs() < 1e-9);
    }
    assert_eq!(Range::of(&[f64::NAN]), None);
}

#[test]
fn a_column_that_was_dropped_stays_out_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = rows(300);
    for drop in ["w", "1"] {
        write(at, "t.csv", &rows, &["u", "w", "v"], true);
        json(at, &format!("train --data t.csv --drop {drop} --model gaussian --out run --force"));
        assert_eq!(json(at, "info run")["names"], serde_json::json!(["u", "v"]));
        let (before, facts) = (check(at, "run -n 50"), json(at, "compare run --out compared --force"));
        json(at, "density run t.csv -o p.npy");
        for order in [["w", "u", "v"], ["v", "u", "w"]] {
            write(at, "t.csv", &rows, &order, true);
            assert_eq!(fit_of(&check(at, "run -n 50"))["value"], fit_of(&before)["value"], "{drop}, {order:?}");
            let again = json(at, "compare run --out compared --force");
            assert_eq!(again["models"][0]["nll"], facts["models"][0]["nll"], "{drop}, {order:?}");
            json(at, "density run t.csv -o q.npy");
            assert!(bytes(at, "p.npy") == bytes(at, "q.npy"), "{drop}, {order:?}");
        }
    }
}

#[test]
fn a_number_of_a_condition_means_one_column_in_training_and_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = rows(300);
    let array = |name: &str, columns: &[usize]| {
        let data = rows.iter().flat_map(|row| columns.iter().map(|j| row[*j])).collect();
        io::write(&at.join(name), &Array::table(data, columns.len(), Dtype::F64).unwrap()).unwrap();
    };
    // The columns u, w, e, v, without names and with them.
    array("t.npy", &[0, 4, 3, 1]);
    array("points.npy", &[0, 1]);
    array("given.npy", &[3]);
    write(at, "t.csv", &rows, &["u", "w", "e", "v"], true);
    let net = "--model realnvp --hidden 8,8 --depth 2 --steps 12";
    for (data, drop, condition, run) in
        [("t.npy", "1", "2", "array"), ("t.csv", "1", "2", "numbers"), ("t.csv", "w", "e", "names")]
    {
        json(at, &format!("train --data {data} --drop {drop} --condition {condition} {net} --out {run}"));
        json(at, &format!("density {run} points.npy --condition given.npy -o p.npy"));
        for table in ["t.npy", "t.csv"].into_iter().filter(|table| *table == data || run != "array") {
            // An array has no names by which the dropped column could be left out of it.
            let own = if table == data { table } else { "t.csv" };
            json(at, &format!("density {run} {own} --condition 2 -o q.npy"));
            assert!(bytes(at, "p.npy") == bytes(at, "q.npy"), "{run}, {own}");
        }
        let checked = check(at, &format!("{run} {data} --condition 2 -n 50"));
        assert!(fit_of(&checked)["value"].is_number(), "{run}: {checked}");
    }
    json(at, "density names t.csv --condition e -o p.npy");
    json(at, "density numbers t.csv --condition e -o q.npy");
    assert!(bytes(at, "p.npy") == bytes(at, "q.npy"));
    refused(at, &format!("train --data t.npy --drop 1 --condition 1 {net} --out no"), "unknown column `1`");
    refused(at, &format!("train --data t.csv --drop w --condition 1 {net} --out no"), "unknown column `1`");
}

/// Breaks a run off after so many steps, and keeps its checkpoint.
struct Broken(usize, Option<Checkpoint>);

impl Watch for Broken {
    fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        if progress.record.step >= self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> cnflow::Result<()> {
        self.1 = Some(checkpoint.clone());
        Ok(())
    }
}

#[test]
fn a_run_goes_on_to_the_same_bits_when_its_table_was_reordered() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = rows(300);
    write(at, "t.csv", &rows, &["u", "v", "k", "e"], true);
    // By name and by number: both mean the columns that the run began with.
    for condition in ["k,e", "2,3"] {
        let job = Job::default().with(|job| {
            job.data.source = at.join("t.csv").display().to_string();
            job.data.condition = condition.split(',').map(str::to_owned).collect();
            job.model.family = "spline".parse().unwrap();
            job.model.hidden = Some(vec![8, 8]);
            job.model.depth = Some(2);
            job.optimiser.steps = Some(20);
            job.optimiser.batch = Some(32);
        });
        write(at, "t.csv", &rows, &["u", "v", "k", "e"], true);
        let data = job.dataset(None).unwrap();
        let whole: TrainResult = fit(&job, &data, &mut ()).unwrap();
        assert_eq!(whole.model.spec.names, ["u", "v"]);
        let mut broken = Broken(9, None);
        fit(&job, &data, &mut broken).unwrap();
        let file = at.join("checkpoint.safetensors");
        broken.1.unwrap().save(&file).unwrap();

        write(at, "t.csv", &rows, &["e", "w", "v", "k", "u"], true);
        let checkpoint = Checkpoint::load(&file).unwrap();
        let (turned, notes) = checkpoint.job().dataset_of(checkpoint.spec(), None).unwrap();
        assert!(!notes.is_empty());
        let ended = resume(checkpoint, &turned, &mut ()).unwrap();
        assert_eq!(ended.model.theta, whole.model.theta, "{condition}");
        assert_eq!(ended.model.spec, whole.model.spec, "{condition}");
        // Other columns are not a table that the run can go on with.
        write(at, "t.csv", &rows, &["e", "w", "k", "u"], true);
        let checkpoint = Checkpoint::load(&file).unwrap();
        let error = checkpoint.job().dataset_of(checkpoint.spec(), None).unwrap_err().to_string();
        assert!(error.contains("no column `v`"), "{error}");
    }
}

#[test]
fn names_survive_files_and_change_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = rows(200);
    write(at, "t.csv", &rows, &["u", "v"], true);
    write(at, "plain.csv", &rows, &["u", "v"], false);
    json(at, "train --data t.csv --base normal --hidden 8,8 --steps 8 --out named");
    json(at, "train --data plain.csv --base normal --hidden 8,8 --steps 8 --out plain");
    let load = |run: &str| Model::load(&at.join(run).join("model.safetensors")).unwrap();
    let (named, plain) = (load("named"), load("plain"));
    assert_eq!((named.spec.names.len(), plain.spec.names.len()), (2, 0));
    assert_eq!(named.theta, plain.theta);
    // Names that look like comments, and that need quotes.
    let strange = "\"#u\",\"v, in \"\"mm\"\"\"";
    let text = String::from_utf8(bytes(at, "t.csv")).unwrap().replacen("u,v", strange, 1);
    std::fs::write(at.join("strange.csv"), text).unwrap();
    json(at, "train --data strange.csv --model gaussian --out strange");
    assert_eq!(load("strange").spec.names, ["#u", "v, in \"mm\""]);
    json(at, "sample strange -n 4 -o s.csv");
    let back = io::read(&at.join("s.csv")).unwrap();
    assert_eq!((back.rows, back.columns.unwrap()), (4, load("strange").spec.names));
    // A file with another number of names is broken.
    let mut wrong = named.clone();
    wrong.spec.names.push("w".into());
    wrong.save(&at.join("wrong.safetensors")).unwrap();
    refused(at, "info wrong.safetensors", "the names of its columns do not fit");
    json(at, "export named -o weights.safetensors");
    json(at, "import weights.safetensors --activation silu -o again.safetensors");
    assert_eq!(Model::load(&at.join("again.safetensors")).unwrap().spec.names, ["u", "v"]);
    write(at, "turned.csv", &rows, &["v", "u"], true);
    json(at, "density again.safetensors turned.csv -o p.npy");
    json(at, "density named t.csv -o q.npy");
    assert!(bytes(at, "p.npy") == bytes(at, "q.npy"));
    // A text without names stays one, where the model has none.
    json(at, "sample plain -n 3 -o s.csv");
    assert_eq!(String::from_utf8(bytes(at, "s.csv")).unwrap().lines().count(), 3);
    let condition = Condition { columns: vec![ContextColumn::Class { classes: vec![0, 1] }], names: Vec::new() };
    let error = condition.encode(&[2.0]).unwrap_err();
    assert!(error.to_string().contains("`c0` has no class 2") && error.hint().unwrap().contains("0, 1"));
}

#[test]
fn models_of_other_column_orders_are_compared_on_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = rows(400);
    write(at, "a.csv", &rows, &["u", "v", "k"], true);
    write(at, "b.csv", &rows, &["v", "k", "u"], true);
    for (data, out) in [("a.csv", "a"), ("b.csv", "b")] {
        json(at, &format!("train --data {data} --model gaussian --out {out}"));
        json(
            at,
            &format!("train --data {data} --model realnvp --condition k --hidden 8,8 --depth 2 --steps 8 --out c{out}"),
        );
    }
    for order in ["a b", "b a"] {
        let both = json(at, &format!("compare {order} --data a.csv --out both --force"));
        let of = |k: usize, key: &str| both["models"][k][key].as_f64().unwrap();
        // One Gaussian in two orders of its columns: the same number but for rounding.
        assert!((of(0, "nll") - of(1, "nll")).abs() < 1e-9, "{both}");
        assert!(of(0, "nll") < 20.0, "{both}");
    }
    let both = json(at, "compare ca cb --data b.csv --out both --force");
    for k in 0..2 {
        let (own, run) = (both["models"][k]["nll"].as_f64().unwrap(), ["ca", "cb"][k]);
        let trained = json(at, &format!("info {run}"))["story"]["nll"].as_f64().unwrap();
        // The same rows in both comparisons: the split is by rows and seed. Their order is not, nor that of the sum.
        assert!((own - trained).abs() < 1e-6 * trained.abs().max(1.0), "{run}: {own}, {trained}");
    }
    write(at, "c.csv", &rows, &["u", "v", "e"], true);
    json(at, "train --data c.csv --model gaussian --out c");
    refused(at, "compare a c --data a.csv --out no", "has no column `e`");
}

#[test]
fn what_cannot_have_a_condition_is_left_out_of_a_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "t.csv", &rows(200), &["u", "v", "k"], true);
    let words = "compare --data t.csv --condition k --models realnvp,gaussian,mixture,histogram --steps 5 --out";
    let facts = json(at, &format!("{words} told"));
    let names = |key: &str, field: &str| -> Vec<String> {
        facts[key].as_array().unwrap().iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(facts["models"].as_array().unwrap().len(), 1);
    assert_eq!(names("left_out", "model"), ["gaussian", "mixture", "histogram"]);
    assert!(names("left_out", "why").iter().all(|why| why.contains("cannot have a condition")));
    let page = std::fs::read_to_string(at.join("told/report.html")).unwrap();
    assert!(page.contains("gaussian is left out: it cannot have a condition"));
    let err = noted(at, &format!("{words} again"));
    assert!(err.contains("mixture is left out"), "{err}");
    refused(at, "compare --data t.csv --condition k --models gaussian,mixture --out no", "cannot have a condition");
    // So is a histogram of three columns.
    let facts = json(at, "compare --data t.csv --models gaussian,histogram --out wide");
    assert_eq!(facts["left_out"][0]["model"], "histogram");
}
