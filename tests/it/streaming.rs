//! Tables in blocks: the same bits whatever the block, in memory that does not grow with the file, and nothing left of
//! what did not end.
#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cnflow::io::safetensors::{ModelFile, NamedTensor, Values};
use cnflow::io::{self, Array, Dtype, Reader, Writer};
use cnflow::{Model, Precision};
use serde_json::Value;

use crate::common::archive;
use crate::common::command::{cnf, conditional, folder, json};

/// 30 rows of three numbers that differ.
fn numbers() -> Vec<f64> {
    (0..90).map(|i| f64::from(i * i % 101)).collect()
}

/// A `.npy` of `[30, 3]` in one type and order.
fn npy(descr: &str, fortran: bool, bytes_of: impl Fn(f64) -> Vec<u8>) -> Vec<u8> {
    let data = numbers();
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': (30, 3), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    let at = |i: usize| if fortran { data[(i % 30) * 3 + i / 30] } else { data[i] };
    bytes.extend((0..90).flat_map(|i| bytes_of(at(i))));
    bytes
}

/// One file of each kind, all of the same table.
fn tables(at: &Path) -> Vec<&'static str> {
    let save = |name: &str, bytes: &[u8]| std::fs::write(at.join(name), bytes).unwrap();
    save("f8.npy", &npy("<f8", false, |v| v.to_le_bytes().to_vec()));
    save("f4.npy", &npy(">f4", true, |v| (v as f32).to_be_bytes().to_vec()));
    save("i2.npy", &npy("<i2", true, |v| (v as i16).to_le_bytes().to_vec()));
    save("u1.npy", &npy("|u1", false, |v| vec![v as u8]));
    let mut table = Array::table(numbers(), 3, Dtype::F64).unwrap();
    table.columns = Some(vec!["a".into(), "b, c".into(), "d".into()]);
    io::write(&at.join("named.csv"), &table).unwrap();
    let lines: Vec<String> = table.data.chunks(3).map(|r| format!("{}  {} {}", r[0], r[1], r[2])).collect();
    save("spaced.txt", format!("\u{feff}# three columns\n\n{}", lines.join("\r\n")).as_bytes());
    save("x.npz", &archive::npz(&[("x", npy("<f8", false, |v| v.to_le_bytes().to_vec()))], false));
    vec!["f8.npy", "f4.npy", "i2.npy", "u1.npy", "named.csv", "spaced.txt", "x.npz"]
}

#[test]
fn every_table_comes_in_blocks_of_any_size() {
    let folder = tempfile::tempdir().unwrap();
    for name in tables(folder.path()) {
        let path = folder.path().join(name);
        let whole = io::read(&path).unwrap();
        assert_eq!((whole.rows, whole.cols, &whole.data), (30, 3, &numbers()), "{name}");
        for most in [1, 7, 30, usize::MAX] {
            let mut reader = Reader::open(&path).unwrap();
            assert_eq!((reader.cols(), reader.dtype(), reader.vector()), (3, whole.dtype, false), "{name}");
            assert_eq!(reader.columns(), whole.columns.as_deref(), "{name}");
            assert!(reader.rows().is_none_or(|rows| rows == 30), "{name}");
            let mut data = Vec::new();
            while let Some(block) = reader.next_block(most).unwrap() {
                assert!(block.rows <= most && block.data.len() == 3 * block.rows, "{name}");
                data.extend(block.data);
            }
            assert_eq!(data, whole.data, "{name} in blocks of {most}");
            assert!(reader.next_block(most).unwrap().is_none(), "{name}: behind its end");
        }
    }
}

#[test]
fn a_table_grows_in_pieces_of_any_size_and_lies_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let count = || std::fs::read_dir(folder.path()).unwrap().count();
    for (name, dtype) in [("x.npy", Dtype::F32), ("x.npy", Dtype::F64), ("x.csv", Dtype::F32), ("x.csv", Dtype::F64)] {
        let table = Array::table(numbers(), 3, dtype).unwrap();
        io::write(&at(name), &table).unwrap();
        let whole = std::fs::read(at(name)).unwrap();
        for piece in [1, 2, 7, 90] {
            let mut writer = Writer::create(&at(name), 3, dtype, false).unwrap();
            table.data.chunks(piece).for_each(|part| writer.push(part).unwrap());
            writer.finish().unwrap();
            assert_eq!(std::fs::read(at(name)).unwrap(), whole, "{name} in pieces of {piece}");
        }
        let before = count();
        let mut dropped = Writer::create(&at(name), 3, dtype, false).unwrap();
        dropped.push(&numbers()).unwrap();
        assert!(dropped.aside().unwrap().exists() && count() == before + 1);
        drop(dropped);
        let mut ragged = Writer::create(&at(name), 3, dtype, false).unwrap();
        ragged.push(&[1.0; 4]).unwrap();
        assert!(ragged.finish().unwrap_err().to_string().contains("4 numbers do not divide into 3 columns"));
        assert_eq!((count(), std::fs::read(at(name)).unwrap()), (before, whole), "{name}");
    }
    let mut vector = Writer::create(&at("v.npy"), 1, Dtype::F64, true).unwrap();
    vector.push(&numbers()).unwrap();
    vector.finish().unwrap();
    assert_eq!(io::read(&at("v.npy")).unwrap(), Array::vector(numbers(), Dtype::F64));
    assert!(Writer::create(&at("v.parquet"), 1, Dtype::F64, true).is_err());
    assert!(Writer::create(&at("no/v.npy"), 1, Dtype::F64, true).is_err());
    assert!(Writer::create(&at("v.npy"), 0, Dtype::F64, false).is_err());
}

/// What a report says, without its clocks.
fn timeless(mut facts: Value) -> Value {
    let facts = facts.as_object_mut().unwrap();
    facts.retain(|key, _| !["seconds", "round_trip_seconds", "output"].contains(&key.as_str()));
    Value::Object(std::mem::take(facts))
}

#[test]
fn results_and_reports_do_not_depend_on_the_block() {
    let folder = folder();
    let at = folder.path();
    conditional(at);
    let c: Vec<f64> = (0..40).map(|i| f64::from(i) / 40.0).collect();
    io::write(&at.join("c.npy"), &Array::table(c.clone(), 1, Dtype::F64).unwrap()).unwrap();
    io::write(&at.join("c.csv"), &Array::table(c, 1, Dtype::F64).unwrap()).unwrap();
    json(at, "sample c.safetensors --condition c.npy -o x40.npy");
    let x = io::read(&at.join("x40.npy")).unwrap();
    io::write(&at.join("x40.csv"), &Array { dtype: Dtype::F64, ..x }).unwrap();
    let commands = [
        "sample m.safetensors -n 40 -o OUT.npy --with-density OUT.csv --seed 5",
        "sample c.safetensors --condition c.csv -o OUT.npy --with-density OUT.csv",
        "sample m.safetensors --latent x40.csv -o OUT.npy --with-density OUT.csv",
        "invert x40.npy --model c.safetensors --condition c.csv -o OUT.npy",
        "invert x40.csv --model c.safetensors --condition c.npy -o OUT.npy",
        "density c.safetensors x40.csv --condition c.csv -o OUT.npy --trace hutchinson:2",
        "density m.safetensors --grid 7 -o OUT.npy --plot OUT.svg",
        "density m.safetensors x40.csv -o OUT.csv --plot OUT.svg",
    ];
    for command in commands {
        let run = |block: usize| {
            let facts = json(at, &format!("{} --block {block}", command.replace("OUT", "out")));
            let files = ["out.npy", "out.csv", "out.svg"].map(|name| {
                let bytes = std::fs::read(at.join(name)).ok();
                std::fs::remove_file(at.join(name)).ok();
                bytes
            });
            assert!(files.iter().any(Option::is_some), "{command}");
            (timeless(facts), files)
        };
        let all = run(1000);
        for block in [1, 7] {
            assert_eq!(run(block), all, "`cnf {command}` in blocks of {block}");
        }
    }
}

#[test]
fn a_sample_can_be_drawn_in_parts() {
    let folder = folder();
    let at = folder.path();
    let rows = |words: &str| {
        json(at, &format!("sample m.safetensors -o s.npy --seed 4 {words}"));
        io::read(&at.join("s.npy")).unwrap().data
    };
    let whole = rows("-n 400");
    for (first, n) in [(0, 400), (0, 1), (127, 2), (130, 270), (399, 1)] {
        assert_eq!(rows(&format!("--first {first} -n {n}")), whole[2 * first..2 * (first + n)], "{first}, {n}");
    }
    // What the command draws the library draws too.
    let model = Model::load(&at.join("m.safetensors")).unwrap().bind(Precision::F32).unwrap();
    let far = 1_000_000_000_000;
    assert_eq!(rows(&format!("--first {far} -n 3")), model.sample_rows(4, far, 3, &[]).unwrap().y);
    assert_eq!(model.sample_rows(4, 130, 270, &[]).unwrap().y, whole[260..]);
}

#[test]
fn conditions_of_a_text_end_with_the_points() {
    let folder = folder();
    let at = folder.path();
    conditional(at);
    let write = |name: &str, rows: usize| {
        let text: String = (0..rows).map(|i| format!("0.{i}\n")).collect();
        std::fs::write(at.join(name), text).unwrap();
    };
    write("one.csv", 1);
    write("ten.csv", 10);
    json(at, "sample c.safetensors --condition one.csv -n 10 -o x.csv");
    assert_eq!(json(at, "density c.safetensors x.csv --condition ten.csv --block 3")["n"], 10);
    assert_eq!(json(at, "sample c.safetensors --condition ten.csv -o y.npy --block 3")["n"], 10);
    for (n, words) in [(4, "4 rows of conditions for"), (13, "13 rows of conditions for 10 points")] {
        write("other.csv", n);
        for command in ["density c.safetensors x.csv", "sample c.safetensors -n 10"] {
            let out = cnf(at, &format!("{command} --condition other.csv -o o.npy --block 3"));
            let err = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.code() == Some(1) && err.contains(words), "{command}: {err}");
            assert!(!at.join("o.npy").exists());
        }
    }
}

/// The files of a folder, hidden ones too.
fn listing(at: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir(at).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn what_is_wrong_in_a_late_block_is_named_and_leaves_nothing() {
    let folder = folder();
    let at = folder.path();
    let mut rows = vec![0.5; 40];
    rows[33] = f64::INFINITY;
    io::write(&at.join("late.npy"), &Array::table(rows, 2, Dtype::F64).unwrap()).unwrap();
    std::fs::write(at.join("late.csv"), format!("a,b\n{}1,x\n", "1,2\n".repeat(30))).unwrap();
    let before = listing(at);
    for (file, words) in [("late.npy", "inf in row 16, column 1"), ("late.csv", "`x` in line 32, column `b`")] {
        for command in ["density m.safetensors FILE", "invert FILE --model m.safetensors"] {
            let command = command.replace("FILE", file);
            let out = cnf(at, &format!("{command} -o o.npy --block 4"));
            let err = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.code() == Some(1) && err.contains(words), "{command}: {err}");
            assert_eq!(listing(at), before, "{command}");
        }
    }
}

/// An affine flow in `d` dimensions, as a model file.
fn affine(at: &Path, d: usize) {
    let tensor = |name: &str, shape: Vec<usize>| {
        let n: usize = shape.iter().product();
        let values = (0..n).map(|i| (i % 17) as f32 / 1000.0).collect();
        NamedTensor { name: name.into(), shape, values: Values::F32(values) }
    };
    let tensors = vec![tensor("0.weight", vec![d, d + 1]), tensor("0.bias", vec![d])];
    ModelFile { tensors, metadata: BTreeMap::new() }.write(&at.join("aw.safetensors")).unwrap();
    json(at, "import aw.safetensors --activation tanh -o a.safetensors");
}

/// A `.npy` of zeros, f64, of which the disk holds the header alone.
fn sparse(path: &Path, rows: usize, cols: usize) {
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {cols}), }}\n");
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(b"\x93NUMPY\x01\x00").unwrap();
    file.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((10 + header.len() + 8 * rows * cols) as u64).unwrap();
}

/// The command under limits of a shell.
#[cfg(unix)]
fn limited(at: &Path, limits: &str, words: &str) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_cnf")]);
    shell.args(words.split_whitespace()).current_dir(at).output().unwrap()
}

// The limit is one of Linux; elsewhere an address space is not what it counts.
#[cfg(target_os = "linux")]
#[test]
fn a_file_larger_than_the_memory_passes_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (rows, d) = (1 << 19, 64);
    affine(at, d);
    sparse(&at.join("x.npy"), rows, d);
    // Less than the 256 MiB of the file: the program alone takes 100 MiB of addresses, and 64 MiB of rows are kept for
    // the picture. One arena, because each further one would reserve 64 MiB of addresses without using them.
    let limit = "export MALLOC_ARENA_MAX=1; ulimit -v 240000";
    let solver = "--solver euler --fixed-steps 1 --threads 2 --json";
    for words in [
        format!("sample a.safetensors --latent x.npy -o o.npy {solver}"),
        format!("invert x.npy --model a.safetensors -o o.npy {solver}"),
        format!("density a.safetensors x.npy -o o.npy {solver}"),
        format!("sample a.safetensors -n {rows} -o o.npy {solver}"),
    ] {
        let out = limited(at, limit, &words);
        assert!(out.status.success(), "`cnf {words}`: {out:?}");
        let facts: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(facts["n"], rows, "{words}");
        std::fs::remove_file(at.join("o.npy")).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let folder = folder();
    let at = folder.path();
    let before = listing(at);
    // A file may not grow beyond 64 blocks of 512 or 1024 bytes; without the signal the write itself is refused.
    let limit = "trap '' XFSZ; ulimit -f 64";
    for words in ["sample m.safetensors -n 50000 -o o.npy", "sample m.safetensors -n 50000 -o o.csv --block 100"] {
        let out = limited(at, limit, words);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && err.contains("cannot write `o."), "{words}: {err}");
        assert!(err.contains("hint: ") && out.stdout.is_empty() && listing(at) == before, "{words}: {err}");
    }
}

#[cfg(unix)]
#[test]
fn an_interruption_leaves_nothing_of_a_table_that_grows() {
    let folder = folder();
    let at = folder.path();
    let before = listing(at);
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
    command.args("sample m.safetensors -n 1000000000000 -o o.npy --with-density p.csv --block 50".split(' '));
    let mut child = command.current_dir(at).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while listing(at).len() < before.len() + 2 && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(listing(at).len(), before.len() + 2, "two files grow");
    std::thread::sleep(Duration::from_millis(50));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(listing(at), before);
}

#[test]
fn a_score_of_several_blocks_is_the_mean_over_all_rows() {
    use cnflow::model::Model;
    use cnflow::velocity::Precision;
    let folder = tempfile::tempdir().unwrap();
    affine(folder.path(), 1);
    let flow = Model::load(&folder.path().join("a.safetensors")).unwrap().bind(Precision::F64).unwrap();
    // Beyond one block of 2¹⁶ rows.
    let n = (1 << 16) + 100;
    let x: Vec<f64> = (0..n).map(|i| f64::from(i % 1000) / 500.0 - 1.0).collect();
    let score = cnflow::train::score(&flow, &x.clone().into(), None).unwrap();
    let nll: Vec<f64> = flow.log_prob(&x, &[]).unwrap().log_prob.iter().map(|l| -l).collect();
    assert_eq!((score.n, score.failed.len()), (x.len(), 0));
    assert_eq!((score.nll, score.nll_se), cnflow::train::mean_and_se(&nll));
}
