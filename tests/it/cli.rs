//! The command from end to end: every command on a real net, a training, and the same bits for any threads and any
//! batch.
#![cfg(feature = "cli")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cnflow::io::safetensors::ModelFile;
use cnflow::io::{self, Array, Dtype};
use serde_json::Value;

use crate::common::command::{bytes, cnf, conditional, folder, has, json};

#[test]
fn every_command_works_and_reports_what_it_promised() {
    let folder = folder();
    let at = folder.path();
    let facts = json(at, "sample m.safetensors -n 1000 -o s.npy --with-density slp.npy --plot s.png");
    has(&facts, "n seconds nfe_mean nfe_max trace_evals_mean failed model");
    let samples = io::read(&at.join("s.npy")).unwrap();
    assert_eq!((samples.rows, samples.cols, samples.dtype), (1000, 2, Dtype::F64));

    let facts = json(at, "invert s.npy --model m.safetensors -o z.npy --plot z.svg --rtol 1e-6 --atol 1e-6");
    has(&facts, "n seconds nfe_mean round_trip_max round_trip_mean latent_mean latent_std latent_ks latent_ks_noise");
    // There and back at 1e-6 in some fifty steps each, amplified by e^L of some ten: 1e-3 in the worst of 1000 rows.
    assert!(facts["round_trip_max"].as_f64().unwrap() < 1e-3, "{facts}");
    // The latents were drawn from the normal: the distance lies at its floor.
    assert!(facts["latent_ks"].as_f64().unwrap() < 1.5 * facts["latent_ks_noise"].as_f64().unwrap(), "{facts}");

    // The density of a sample is the one carried along while sampling, within both solves' tolerance of 1e-5
    // amplified along the way; the tolerance of the log-density is 1e-3, and the worst of 1000 rows is five times that.
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
        let expected = Array::table(z.row(row).to_vec(), 2, Dtype::F64).unwrap();
        io::write(&at.join("z1-expected.npy"), &expected).unwrap();
        assert_eq!(bytes(at, "z1.npy"), bytes(at, "z1-expected.npy"), "row {row}");
        assert_eq!(io::read(&at.join("lp1.npy")).unwrap().data, lp.row(row), "row {row}");
    }
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
fn rows_in_blocks_get_the_bits_they_get_alone() {
    let folder = folder();
    let at = folder.path();
    conditional(at);
    // Beyond one block of 2¹⁷ rows.
    let n = (1 << 17) + 10;
    json(at, &format!("data moons -n {n} -o many.npy"));
    let many = io::read(&at.join("many.npy")).unwrap();
    let c = (0..n).map(|i| (i % 7) as f64 / 7.0).collect();
    let c = Array::table(c, 1, Dtype::F64).unwrap();
    io::write(&at.join("c.npy"), &c).unwrap();
    json(at, "density c.safetensors many.npy --condition c.npy -o all.npy");
    let last: Vec<usize> = (n - 20..n).collect();
    let pick = |table: &Array| last.iter().flat_map(|i| table.row(*i).to_vec()).collect::<Vec<f64>>();
    io::write(&at.join("x20.npy"), &Array::table(pick(&many), 2, Dtype::F64).unwrap()).unwrap();
    io::write(&at.join("c20.npy"), &Array::table(pick(&c), 1, Dtype::F64).unwrap()).unwrap();
    json(at, "density c.safetensors x20.npy --condition c20.npy -o few.npy");
    let (all, few) = (io::read(&at.join("all.npy")).unwrap(), io::read(&at.join("few.npy")).unwrap());
    assert_eq!((all.rows, &all.data[n - 20..]), (n, &few.data[..]));
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

/// The `n` f64 numbers of a file, which may be NaN.
fn npy(path: &Path, n: usize) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap();
    bytes[bytes.len() - 8 * n..].as_chunks::<8>().0.iter().map(|w| f64::from_le_bytes(*w)).collect()
}

/// The most memory that a running process has held so far, in KiB; none where the system does not tell.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

/// The most memory, in KiB, that `cnf` holds while it does what must succeed; none where the system does not tell.
fn most_memory(at: &Path, words: &str) -> Option<u64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
    let command = command.args(words.split_whitespace()).current_dir(at);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut most = None;
    let status = loop {
        most = most.max(peak(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_micros(300));
    };
    assert!(status.success(), "{words}");
    most
}

#[cfg(target_os = "linux")]
#[test]
fn a_small_sample_is_made_in_little_memory() {
    let folder = folder();
    // The program itself, the model, and one block of a thousand rows: 30 MiB here.
    let most = most_memory(folder.path(), "sample m.safetensors -n 1000 -o s.npy --json").unwrap();
    assert!(most < 100 * 1024, "{most} KiB");
}

#[cfg(target_os = "linux")]
#[test]
fn a_training_holds_a_table_a_few_times_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let table = |name: &str, n: usize| {
        let rows = cnflow::transform::StandardNormal::new(4).draw(n, &mut cnflow::rng::stream(7, 0));
        cnflow::io::write(&at.join(name), &cnflow::io::Array::table(rows, 4, cnflow::io::Dtype::F64).unwrap()).unwrap();
        let words = "--base normal --hidden 8 --batch 64 --steps 2 --far-rows keep";
        most_memory(at, &format!("train --data {name} {words} --out run-{name}")).unwrap()
    };
    let (few, many) = (2_000, MANY);
    let (small, large) = (table("few.npy", few), table("many.npy", many));
    let rows = ((many - few) * 4 * 8) as u64 / 1024;
    let times = large.saturating_sub(small) as f64 / rows as f64;
    println!("{small} KiB and {large} KiB: {times:.1} times the rows");
    assert!(times < 8.0, "{times:.1} times the rows: {small} KiB and {large} KiB");
}

/// Rows of four columns: 16 MB.
#[cfg(target_os = "linux")]
const MANY: usize = 500_000;

/// The tensors of a model file: names, shapes and bytes.
fn tensors(path: &Path) -> Vec<String> {
    ModelFile::read(path).unwrap().tensors.iter().map(|t| format!("{t:?}")).collect()
}

const SMALL: &str = "--hidden 16,16 --batch 128 --steps 30";

#[test]
fn a_training_reports_leaves_a_run_and_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let facts = json(at, &format!("train {SMALL} --quiet --out runs/one --names a b --invert-y"));
    has(&facts, "nll nll_se excess steps seconds seconds_per_step run");
    assert_eq!((&facts["steps"], &facts["run"]), (&30.into(), &"runs/one".into()));
    let run = at.join("runs/one");
    let listing = |path: &Path| {
        let mut names: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let files = ["config.toml", "density.png", "metrics.csv", "model.safetensors", "samples.png", "training.png"];
    assert_eq!(listing(&run), files);
    assert_eq!(listing(&at.join("runs")), ["one"]);
    let metrics = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
    assert!(metrics.starts_with("step,seconds,objective,loss") && metrics.lines().last().unwrap().starts_with("30,"));

    has(&json(at, "sample runs/one -n 100 -o s.npy"), "n");
    has(&json(at, "invert s.npy --model runs/one -o z.npy"), "n");
    has(&json(at, "density s.npy -o p.npy"), "mean_log_prob");
    assert_eq!(json(at, "info")["story"]["steps"], 30);

    // The file of a run repeats it, pictures and all.
    let facts = json(at, "train --config runs/one/config.toml --quiet");
    assert_eq!(facts["run"], "runs/8gaussians-matching-1");
    let again = at.join("runs/8gaussians-matching-1");
    assert_eq!(tensors(&again.join("model.safetensors")), tensors(&run.join("model.safetensors")));
    for file in ["config.toml", "density.png", "samples.png"] {
        assert_eq!(bytes(&again, file), bytes(&run, file), "{file}");
    }
    // A run goes on from another; the net is that one's.
    json(at, "train --init runs/one --objective likelihood --steps 1 --batch 32 --out two --quiet");
    let config = std::fs::read_to_string(at.join("two/config.toml")).unwrap();
    assert!(
        config.contains("hidden = [16, 16]") && config.contains("init = \"runs/one/model.safetensors\""),
        "{config}"
    );
    // What is asked over a file with fixed steps takes effect.
    json(at, &format!("train {SMALL} --fixed-steps 4 --out three --quiet"));
    json(at, "train --config three/config.toml --rtol 1e-3 --force --out three --quiet");
    let config = std::fs::read_to_string(at.join("three/config.toml")).unwrap();
    assert!(!config.contains("fixed_steps") && config.contains("rtol = 0.001"), "{config}");
    assert_eq!(listing(&at.join("three")), files);
    // A run that the clock ends says so, and how many steps it took.
    let facts = json(at, "train --hidden 8 --batch 64 --time 100ms --out timed --quiet");
    let config = std::fs::read_to_string(at.join("timed/config.toml")).unwrap();
    assert!(config.contains("time = 0.1") && !config.contains("\nsteps"), "{config}");
    assert!(facts["steps"].as_u64() > Some(1) && json(at, "info timed")["story"]["steps"] == facts["steps"], "{facts}");
}

#[test]
fn a_model_trained_in_f64_is_used_in_f64() {
    let folder = folder();
    let at = folder.path();
    let facts =
        json(at, "train --hidden 8 --batch 64 --steps 3 --precision f64 --rtol 1e-9 --atol 1e-9 --out wide --quiet");
    assert_eq!(facts["precision"], "f64");
    json(at, "train --hidden 8 --batch 64 --steps 3 --out narrow --quiet");
    for (run, own, other) in [("wide", "f64", "f32"), ("narrow", "f32", "f64")] {
        let by = |how: &str| {
            json(at, &format!("density {run} x.npy -o p.npy --rtol 1e-6 --atol 1e-6{how}"));
            bytes(at, "p.npy")
        };
        let left_out = by("");
        assert_eq!(left_out, by(&format!(" --precision {own}")), "{run}");
        assert_ne!(left_out, by(&format!(" --precision {other}")), "{run}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_is_a_run_and_a_killed_one_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let begin = |hidden: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
        command.args(["train", "--hidden", hidden, "--batch", "64", "--time", "1h"]).current_dir(folder.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while !folder.path().join("runs").exists() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    };
    let interrupt = |id: u32| {
        assert!(Command::new("kill").args(["-INT", &id.to_string()]).status().unwrap().success());
    };
    // Asked twice, the second time while a wide net is scored.
    let mut child = begin("256,256");
    interrupt(child.id());
    std::thread::sleep(Duration::from_millis(20));
    interrupt(child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // Nothing, or the model that was saved before its score; no lock and nothing else that is hidden.
    let run = folder.path().join("runs/8gaussians-matching-1");
    if run.exists() {
        let hidden = |e: &std::fs::DirEntry| e.file_name().to_string_lossy().starts_with('.');
        assert!(!std::fs::read_dir(&run).unwrap().any(|e| hidden(&e.unwrap())));
        json(folder.path(), "info runs/8gaussians-matching-1");
        std::fs::remove_dir_all(folder.path().join("runs")).unwrap();
    }
    // Asked once.
    let mut child = begin("8");
    std::thread::sleep(Duration::from_millis(100));
    interrupt(child.id());
    assert!(child.wait().unwrap().success());
    let names: Vec<_> =
        std::fs::read_dir(folder.path().join("runs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["8gaussians-matching-1"]);
    assert!(folder.path().join("runs/8gaussians-matching-1/training.png").exists());
}
