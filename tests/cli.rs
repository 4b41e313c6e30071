//! The command from end to end: every command on a real net, the same bits for any threads and any batch, and the
//! table of wrong inputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use cnf::io::safetensors::{ModelFile, NamedTensor, Values};
use cnf::io::{self, Array, Dtype};
use serde_json::Value;
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn cnf(folder: &Path, words: &str) -> Output {
    let mut command = Command::cargo_bin("cnf").unwrap();
    command.current_dir(folder).args(words.split_whitespace()).output().unwrap()
}

/// Runs what must succeed, and returns its JSON.
fn json(folder: &Path, words: &str) -> Value {
    let out = cnf(folder, &format!("{words} --json"));
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "`cnf {words}`: {err}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// A folder with the golden 8gaussians net as `m.safetensors` and its points as `x.npy`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden("8gaussians/model.safetensors"), folder.path().join("w.safetensors")).unwrap();
    std::fs::copy(golden("8gaussians/x.npy"), folder.path().join("x.npy")).unwrap();
    json(folder.path(), "import w.safetensors --activation tanh -o m.safetensors");
    folder
}

fn bytes(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).unwrap()
}

fn has(facts: &Value, keys: &str) {
    for key in keys.split_whitespace() {
        assert!(facts.get(key).is_some_and(|v| !v.is_null()), "no `{key}` in {facts}");
    }
}

#[test]
fn every_command_works_and_reports_what_it_promised() {
    let folder = folder();
    let at = folder.path();
    let facts = json(at, "sample m.safetensors -n 1000 -o s.npy --with-density slp.npy --plot s.png");
    has(&facts, "n seconds nfe_mean nfe_max trace_evals_mean failed model");
    let samples = io::read(&at.join("s.npy")).unwrap();
    assert_eq!((samples.rows, samples.cols, samples.dtype), (1000, 2, Dtype::F32));

    let facts = json(at, "invert s.npy --model m.safetensors -o z.npy --plot z.svg --rtol 1e-6 --atol 1e-6");
    has(&facts, "n seconds nfe_mean round_trip_max round_trip_mean latent_mean latent_std latent_ks latent_ks_noise");
    assert!(facts["round_trip_max"].as_f64().unwrap() < 1e-3, "{facts}");
    // The latents were drawn from the normal: the distance lies at its floor.
    assert!(facts["latent_ks"].as_f64().unwrap() < 1.5 * facts["latent_ks_noise"].as_f64().unwrap(), "{facts}");

    // The density of a sample is the one carried along while sampling, within both solves' tolerance of 1e-5
    // amplified along the way.
    let facts = json(at, "density m.safetensors s.npy -o lp.npy");
    has(&facts, "n mean_log_prob se nfe_mean nfe_max trace_evals_mean seconds failed quadrature_error_max");
    let (one, two) = (io::read(&at.join("lp.npy")).unwrap(), io::read(&at.join("slp.npy")).unwrap());
    let worst = one
        .data
        .iter()
        .zip(&two.data)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |m, e| if e > m || e.is_nan() { e } else { m });
    assert!(one.vector && worst < 5e-3, "{worst}");

    let facts = json(at, "density m.safetensors --grid 80 -o g.npy --plot g.png");
    has(&facts, "n mass extent failed seconds");
    assert!((facts["mass"].as_f64().unwrap() - 1.0).abs() < 1e-3, "{facts}");
    assert_eq!(io::read(&at.join("g.npy")).unwrap().cols, 80);
    // At t = 0 the density is the standard normal.
    let facts = json(at, "density m.safetensors x.npy --time 0 -o start.npy");
    let x = io::read(&at.join("x.npy")).unwrap();
    let start = io::read(&at.join("start.npy")).unwrap();
    for (row, found) in x.data.chunks_exact(2).zip(&start.data) {
        let normal = -0.5 * (row[0] * row[0] + row[1] * row[1]) - std::f64::consts::TAU.ln();
        assert!((found - normal).abs() < 1e-5, "{found} or {normal}");
    }
    assert_eq!(facts["nfe_max"], 0);
    let facts = json(at, "density m.safetensors x.npy --trace hutchinson:4");
    has(&facts, "hutchinson_se_mean");
    json(at, "density m.safetensors x.npy --plot beside.png");
    json(at, "density m.safetensors --grid 30 --extent -4,4,-4,4 --solver bdf -o b.csv");

    let facts = json(at, "info m.safetensors");
    has(&facts, "dim n_params velocity solver story tensors model");
    assert_eq!(facts["n_params"], 8706);
    assert_eq!(json(at, "data")["toys"].as_array().unwrap().len(), 10);
    let facts = json(at, "data moons -n 200 -o moons.npy --with-density mlp.npy --plot moons.png --seed 3");
    has(&facts, "n dim entropy mean_log_prob");
    has(&json(at, "data moons.npy --plot again.svg"), "rows cols dtype columns");
    for words in ["info m.safetensors", "data", "data moons.npy", "sample m.safetensors -n 10 -o t.npy"] {
        let out = cnf(at, words);
        assert!(out.status.success() && !out.stdout.is_empty() && out.stderr.is_empty(), "{words}: {out:?}");
    }
}

#[test]
fn a_model_left_out_is_the_newest_run_and_is_named() {
    let folder = folder();
    let at = folder.path();
    for name in ["old", "new"] {
        std::fs::create_dir_all(at.join("runs").join(name)).unwrap();
        std::fs::copy(at.join("m.safetensors"), at.join("runs").join(name).join("model.safetensors")).unwrap();
    }
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let old = std::fs::File::options().write(true).open(at.join("runs/old/model.safetensors")).unwrap();
    old.set_modified(past).unwrap();
    for words in ["density x.npy", "sample -n 10 -o s.npy", "invert x.npy", "info", "density --grid 20"] {
        let out = cnf(at, words);
        let err = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.success() && err.contains("runs/new/model.safetensors"), "{words}: {err}");
        assert!(cnf(at, &format!("{words} --quiet")).stderr.is_empty(), "{words}");
    }
    assert!(cnf(at, "info runs/old").status.success());
}

#[test]
fn the_bits_do_not_depend_on_threads_or_on_the_batch() {
    let folder = folder();
    let at = folder.path();
    for precision in ["f32", "f64"] {
        for threads in [1, 2] {
            let all = format!("--threads {threads} --precision {precision} --quiet");
            json(at, &format!("sample m.safetensors -n 2000 -o s{threads}.npy --with-density p{threads}.npy {all}"));
            json(at, &format!("invert s1.npy --model m.safetensors -o z{threads}.npy {all}"));
            json(at, &format!("density m.safetensors s1.npy -o d{threads}.npy --trace hutchinson:2 {all}"));
        }
        for file in ["s", "p", "z", "d"] {
            let same = bytes(at, &format!("{file}1.npy")) == bytes(at, &format!("{file}2.npy"));
            assert!(same, "{file} in {precision} differs between 1 and 2 threads");
        }
    }
    // The same seed gives the same file, another seed another one, and more rows begin with the fewer.
    json(at, "sample m.safetensors -n 2000 -o again.npy --precision f64");
    assert_eq!(bytes(at, "again.npy"), bytes(at, "s1.npy"));
    json(at, "sample m.safetensors -n 2000 -o other.npy --precision f64 --seed 1");
    assert_ne!(bytes(at, "other.npy"), bytes(at, "s1.npy"));
    json(at, "sample m.safetensors -n 10000 -o many.npy --precision f64");
    let (few, many) = (io::read(&at.join("s1.npy")).unwrap(), io::read(&at.join("many.npy")).unwrap());
    assert_eq!(few.data[..], many.data[..few.data.len()]);
}

#[test]
fn a_row_alone_gets_the_bytes_it_gets_among_ten_thousand() {
    let folder = folder();
    let at = folder.path();
    json(at, "data 8gaussians -n 10000 -o many.npy");
    let many = io::read(&at.join("many.npy")).unwrap();
    json(at, "invert many.npy --model m.safetensors -o z.npy");
    json(at, "density m.safetensors many.npy -o lp.npy");
    let (z, lp) = (io::read(&at.join("z.npy")).unwrap(), io::read(&at.join("lp.npy")).unwrap());
    for row in [0, 4321, 9999] {
        let alone = Array::table(many.row(row).to_vec(), 2, Dtype::F64).unwrap();
        io::write(&at.join("one.npy"), &alone).unwrap();
        json(at, "invert one.npy --model m.safetensors -o z1.npy");
        json(at, "density m.safetensors one.npy -o lp1.npy");
        let expected = Array::table(z.row(row).to_vec(), 2, Dtype::F32).unwrap();
        io::write(&at.join("z1-expected.npy"), &expected).unwrap();
        assert_eq!(bytes(at, "z1.npy"), bytes(at, "z1-expected.npy"), "row {row}");
        assert_eq!(io::read(&at.join("lp1.npy")).unwrap().data, lp.row(row), "row {row}");
    }
}

/// A net whose first two inputs are x, the third a condition.
fn conditional(at: &Path) {
    let tensor = |name: &str, shape: &[usize]| {
        let n = shape.iter().product::<usize>();
        let values = (0..n).map(|i| ((i * 7 % 11) as f32 - 5.0) / 10.0).collect();
        NamedTensor { name: name.into(), shape: shape.to_vec(), values: Values::F32(values) }
    };
    let tensors =
        vec![tensor("0.weight", &[8, 4]), tensor("0.bias", &[8]), tensor("2.weight", &[2, 8]), tensor("2.bias", &[2])];
    ModelFile { tensors, metadata: BTreeMap::new() }.write(&at.join("cw.safetensors")).unwrap();
    json(at, "import cw.safetensors --activation silu --condition-dim 1 -o c.safetensors");
}

#[test]
fn conditions_go_with_their_rows_and_one_row_serves_all() {
    let folder = folder();
    let at = folder.path();
    conditional(at);
    io::write(&at.join("c1.npy"), &Array::table(vec![0.7], 1, Dtype::F64).unwrap()).unwrap();
    io::write(&at.join("c5.npy"), &Array::table(vec![0.7, 0.0, 0.7, 1.0, 0.7], 1, Dtype::F64).unwrap()).unwrap();
    let facts = json(at, "sample c.safetensors --condition c5.npy -o five.npy");
    assert_eq!(facts["n"], 5);
    json(at, "sample c.safetensors --condition c1.npy -n 5 -o same.npy");
    let (five, same) = (io::read(&at.join("five.npy")).unwrap(), io::read(&at.join("same.npy")).unwrap());
    assert!([0, 2, 4].iter().all(|&i| five.row(i) == same.row(i)) && five.row(3) != same.row(3));
    let facts = json(at, "density c.safetensors --grid 60 --condition c1.npy --plot c.png");
    assert!((facts["mass"].as_f64().unwrap() - 1.0).abs() < 1e-3, "{facts}");
    json(at, "invert five.npy --model c.safetensors --condition c5.npy -o z.npy");
    // Without t the field is autonomous.
    let facts = json(at, "import cw.safetensors --activation silu --condition-dim 2 -o auto.safetensors");
    assert_eq!(facts["condition_dim"], 2);
}

#[test]
fn a_row_that_fails_is_nan_counted_and_named_and_the_others_are_written() {
    let folder = folder();
    let at = folder.path();
    // Beyond the range of f32 the middle row is infinite.
    let rows = Array::table(vec![0.0, 1.0, 1e300, 0.0, 1.0, 0.0], 2, Dtype::F64).unwrap();
    io::write(&at.join("far.npy"), &rows).unwrap();
    for (words, n) in
        [("density m.safetensors far.npy -o o.npy", 1), ("invert far.npy --model m.safetensors -o o.npy", 2)]
    {
        let out = cnf(at, &format!("{words} --json"));
        let (facts, err): (Value, _) =
            (serde_json::from_slice(&out.stdout).unwrap(), String::from_utf8_lossy(&out.stderr));
        let written = npy(&at.join("o.npy"), 3 * n);
        assert_eq!((out.status.code(), &facts["failed"]), (Some(1), &1.into()), "{err}");
        assert!((0..3 * n).all(|i| written[i].is_nan() == (i / n == 1)), "{written:?}");
        for part in ["error: 1 of 3", "row 1", "t = ", "step", "|f| = ", "hint: "] {
            assert!(err.contains(part), "{part}: {err}");
        }
    }
    // Where nothing arrives there is nothing to write.
    io::write(&at.join("lost.npy"), &Array::table(vec![1e300, 0.0], 2, Dtype::F64).unwrap()).unwrap();
    let out = cnf(at, "density m.safetensors lost.npy -o none.npy");
    assert!(out.status.code() == Some(1) && out.stdout.is_empty() && !at.join("none.npy").exists());
}

/// The `n` f32 numbers of a file, which may be NaN.
fn npy(path: &Path, n: usize) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes[bytes.len() - 4 * n..].as_chunks::<4>().0.iter().map(|w| f32::from_le_bytes(*w)).collect()
}

#[test]
fn a_small_sample_starts_fast_and_small() {
    let folder = folder();
    let start = std::time::Instant::now();
    json(folder.path(), "sample m.safetensors -n 1000 -o s.npy");
    // 20 ms alone; a busy machine gets room.
    assert!(start.elapsed().as_millis() < 2000, "{:?}", start.elapsed());
}

/// Files that are wrong in one way each.
fn wrong_files(at: &Path) {
    conditional(at);
    let write = |name: &str, bytes: &[u8]| std::fs::write(at.join(name), bytes).unwrap();
    let (x, m) = (bytes(at, "x.npy"), bytes(at, "m.safetensors"));
    write("cut.npy", &x[..x.len() / 2]);
    write("head.npy", &x[..20]);
    write("empty.npy", b"");
    write("noise.npy", b"these are no numbers at all, but a line of words");
    write("cut.safetensors", &m[..m.len() / 2]);
    write("noise.safetensors", b"these are no numbers at all, but a line of words");
    write("words.csv", b"a,b\n1,2\n3,four\n");
    write("ragged.csv", b"a,b\n1,2\n3\n");
    write("unknown.xyz", b"1 2\n");
    let mut complex = x.clone();
    let at_type = x.windows(3).position(|w| w == b"<f8").unwrap();
    complex[at_type + 1] = b'c';
    write("complex.npy", &complex);
    let table = |name: &str, data: Vec<f64>, cols: usize| {
        io::write(&at.join(name), &Array::table(data, cols, Dtype::F64).unwrap()).unwrap();
    };
    table("three.npy", vec![0.0; 12], 3);
    table("nan.npy", vec![0.0, f64::NAN, 1.0, 2.0], 2);
    table("inf.npy", vec![0.0, f64::INFINITY, 1.0, 2.0], 2);
    table("c3.npy", vec![0.0; 3], 1);
    table("c2.npy", vec![0.0; 4], 2);
    io::write(&at.join("axis.npy"), &Array::vector(vec![0.0; 4], Dtype::F64)).unwrap();
    let card = |name: &str, change: &dyn Fn(&mut ModelFile)| {
        let mut file = ModelFile::read(&at.join("m.safetensors")).unwrap();
        change(&mut file);
        file.write(&at.join(name)).unwrap();
    };
    let edit = |file: &mut ModelFile, from: &str, to: &str| {
        let text = file.metadata["cnf"].replace(from, to);
        assert_ne!(text, file.metadata["cnf"], "{from}");
        file.metadata.insert("cnf".into(), text);
    };
    card("broken.safetensors", &|f| drop(f.metadata.insert("cnf".into(), "{ not json".into())));
    card("future.safetensors", &|f| edit(f, "\"format\":1", "\"format\":99"));
    card("method.safetensors", &|f| edit(f, "dopri5", "leapfrog"));
    card("missing.safetensors", &|f| drop(f.tensors.pop()));
    card("width.safetensors", &|f| edit(f, "[64,64,64]", "[64,64,32]"));
    std::fs::create_dir(at.join("folder")).unwrap();
    std::fs::create_dir(at.join("folder.npy")).unwrap();
}

/// Words after `cnf`, the exit code, and a part of the sentence.
const WRONG: &[(&str, i32, &str)] = &[
    ("density m.safetensors absent.npy -o o.npy", 1, "there is no such file"),
    ("density absent.safetensors x.npy -o o.npy", 1, "there is no such file"),
    ("density x.npy -o o.npy", 1, "no model was named"),
    ("sample -o o.npy", 1, "no model was named"),
    ("info", 1, "no model was named"),
    ("density m.safetensors cut.npy -o o.npy", 1, "its header promises [500, 2]"),
    ("density m.safetensors head.npy -o o.npy", 1, "cannot read `head.npy`"),
    ("density m.safetensors empty.npy -o o.npy", 1, "it is empty"),
    ("density m.safetensors noise.npy -o o.npy", 1, "cannot read `noise.npy`"),
    ("density m.safetensors complex.npy -o o.npy", 1, "c8"),
    ("density m.safetensors three.npy -o o.npy", 1, "3 columns"),
    ("density m.safetensors axis.npy -o o.npy", 1, "1 columns (it has one axis)"),
    ("density m.safetensors nan.npy -o o.npy", 1, "not finite"),
    ("invert inf.npy --model m.safetensors -o o.npy", 1, "not finite"),
    ("density m.safetensors words.csv -o o.npy", 1, "`four` in line 3"),
    ("density m.safetensors ragged.csv -o o.npy", 1, "line 3"),
    ("density m.safetensors unknown.xyz -o o.npy", 1, "unknown file type"),
    ("density m.safetensors folder -o o.npy", 1, "unknown file type"),
    ("density m.safetensors folder.npy -o o.npy", 1, "it is a folder"),
    ("density folder x.npy -o o.npy", 1, "the folder holds no `model.safetensors`"),
    ("density cut.safetensors x.npy -o o.npy", 1, "cut short"),
    ("density noise.safetensors x.npy -o o.npy", 1, "not a .safetensors file"),
    ("density w.safetensors x.npy -o o.npy", 1, "no description of a flow"),
    ("density broken.safetensors x.npy -o o.npy", 1, "description of the flow is broken"),
    ("density future.safetensors x.npy -o o.npy", 1, "format 99"),
    ("info method.safetensors", 1, "leapfrog"),
    ("info missing.safetensors", 1, "is missing"),
    ("info width.safetensors", 1, "has shape"),
    ("sample m.safetensors -o o.xyz", 1, "unknown file type"),
    ("sample m.safetensors -o o", 1, "unknown file type"),
    ("sample m.safetensors -o o.npz", 1, "unknown file type"),
    ("sample m.safetensors -o o.npy --plot o.jpeg", 1, "unknown picture format"),
    ("sample m.safetensors -o absent/o.npy", 1, "the folder `absent` does not exist"),
    ("sample m.safetensors -o folder.npy", 1, "it is a folder"),
    ("sample m.safetensors -o x.npy/o.npy", 1, "does not exist"),
    ("sample m.safetensors -o o.npy --with-density o.npy", 1, "two results"),
    ("sample m.safetensors -o o.npy --latent three.npy", 1, "3 columns"),
    ("sample m.safetensors -o o.npy --latent x.npy -n 10", 2, "cannot be used with"),
    ("sample m.safetensors -o o.npy -n 0", 2, "invalid value '0'"),
    ("sample m.safetensors -o o.npy -n ten", 2, "invalid value 'ten'"),
    ("sample m.safetensors -o o.npy -n 4000000000", 1, "too many at once"),
    ("sample m.safetensors -o o.npy --seed -1", 2, "error:"),
    ("sample m.safetensors -n 10", 2, "--output"),
    ("sample m.safetensors -o o.npy --condition c3.npy", 1, "the model has no condition"),
    ("sample c.safetensors -o o.npy", 1, "conditional on 1 columns"),
    ("sample c.safetensors -n 10 -o o.npy --condition c3.npy", 1, "3 rows of conditions for 10 points"),
    ("sample c.safetensors -n 2 -o o.npy --condition c2.npy", 1, "holds 2 columns"),
    ("sample m.safetensors -o o.npy --solver leapfrog", 1, "unknown method `leapfrog`"),
    ("sample m.safetensors -o o.npy --solver rk4", 1, "takes fixed steps"),
    ("sample m.safetensors -o o.npy --solver rk4 --rtol 1e-5", 1, "a tolerance means nothing"),
    ("sample m.safetensors -o o.npy --solver rk4 --fixed-steps 0", 1, "at least 1"),
    ("sample m.safetensors -o o.npy --fixed-steps 10 --rtol 1e-3", 2, "cannot be used with"),
    ("sample m.safetensors -o o.npy --solver bdf --fixed-steps 9", 1, "chooses its own steps"),
    ("density m.safetensors x.npy -o o.npy --solver bdf --log-density coupled", 1, "chooses its own steps"),
    ("sample m.safetensors -o o.npy --rtol -1", 2, "error:"),
    ("sample m.safetensors -o o.npy --rtol=-1", 1, "a tolerance is a number"),
    ("sample m.safetensors -o o.npy --rtol nan", 1, "a tolerance is a number"),
    ("sample m.safetensors -o o.npy --rtol 0 --atol 0", 1, "both 0"),
    ("sample m.safetensors -o o.npy --rtol 1e-9 --atol 1e-9", 1, "below the round-off of f32"),
    ("density m.safetensors x.npy -o o.npy --trace hutchinson:0", 2, "hutchinson:0"),
    ("density m.safetensors x.npy -o o.npy --trace guess", 2, "known are auto"),
    ("density m.safetensors x.npy -o o.npy --log-density guess", 2, "possible values"),
    ("density m.safetensors x.npy -o o.npy --precision f16", 2, "possible values"),
    ("density m.safetensors x.npy -o o.npy --time 1.5", 1, "not on the way"),
    ("density m.safetensors -o o.npy", 1, "nothing to score"),
    ("density m.safetensors x.npy --grid 20 -o o.npy", 1, "which shall be scored"),
    ("density m.safetensors --grid 1 -o o.npy", 2, "invalid value '1'"),
    ("density m.safetensors --grid 20 --extent 4,-4,0,1 -o o.npy", 1, "no range in 2 dimensions"),
    ("density m.safetensors --grid 20 --extent 0,1 -o o.npy", 1, "no range in 2 dimensions"),
    ("density m.safetensors x.npy --extent 0,1,0,1 -o o.npy", 2, "--grid"),
    ("density d43.safetensors --grid 20 -o o.npy", 1, "43 dimensions"),
    ("import w.safetensors --activation swash -o o.safetensors", 1, "unknown activation `swash`"),
    ("import w.safetensors -o o.safetensors", 2, "--activation"),
    ("import w.safetensors --activation tanh -o o.npy", 1, "unknown model file type"),
    ("import w.safetensors --activation tanh --condition-dim 5 -o o.safetensors", 1, "takes 3 columns and gives 2"),
    ("import m.safetensors --activation tanh -o o.safetensors", 1, "a model of cnf already"),
    ("import x.npy --activation tanh -o o.safetensors", 1, "not a .safetensors file"),
    ("data 9gaussians -n 10 -o o.npy", 1, "unknown toy data set `9gaussians`"),
    ("data moons -n 10", 1, "go nowhere"),
    ("data x.npy -n 10 -o o.npy", 1, "not a density to draw from"),
    ("data absent.npy", 1, "there is no such file"),
    ("data nan.npy", 1, "not finite"),
    ("smaple", 2, "unrecognized subcommand"),
    ("sample m.safetensors -o o.npy --threads 0", 2, "invalid value '0'"),
    ("sample m.safetensors -o o.npy --colour red", 2, "unexpected argument"),
];

#[test]
fn wrong_input_gets_one_sentence_a_hint_an_exit_code_and_no_file() {
    let folder = folder();
    let at = folder.path();
    wrong_files(at);
    std::fs::copy(golden("d43/model.safetensors"), at.join("w43.safetensors")).unwrap();
    json(at, "import w43.safetensors --activation softplus -o d43.safetensors");
    let listing = || {
        let mut names: Vec<_> = std::fs::read_dir(at).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = listing();
    let mut wrong = Vec::new();
    for (words, code, part) in WRONG {
        let out = cnf(at, words);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        let errors = err.lines().filter(|line| line.starts_with("error: ")).count();
        let hints = err.lines().filter(|line| line.starts_with("hint: ")).count();
        let sound = out.status.code() == Some(*code)
            && errors == 1
            && hints == 1
            && err.contains(part)
            && !err.contains("panicked")
            && out.stdout.is_empty()
            && listing() == before;
        if !sound {
            wrong.push(format!("`cnf {words}` wanted {code} `{part}`, got {:?}:\n{err}", out.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), WRONG.len(), wrong.join("\n"));
}
