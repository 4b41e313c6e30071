//! How a command ends before its end: by a signal, on a full disk, or because another process has the folder. What was
//! done is saved, nothing hidden is left, and what is read is never overwritten.
#![cfg(feature = "cli")]
#![cfg(unix)]

use crate::common::command;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cnflow::model::Model;
use serde_json::Value;

use crate::common::command::{bytes, cnf, folder, json};

/// A training that goes on until it is ended, and its small net.
const ENDLESS: &str = "--hidden 8 --batch 64 --time 1h";
/// Patience for another process.
const PATIENCE: Duration = Duration::from_secs(60);

fn spawn(at: &Path, words: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
    command.args(words.split_whitespace()).current_dir(at).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Whether SIGHUP reaches the commands that are started here: under `nohup` they have to ignore it, as the tests' own
/// process.
fn hangs_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let reaches = mask.is_none_or(|mask| mask & 1 == 0);
    if !reaches {
        println!("SIGHUP is ignored here: its cases are left out");
    }
    reaches
}

fn signal(name: &str, child: &Child) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "{name}");
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the end of a process, but not for ever.
fn end(mut child: Child, words: &str) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("`cnf {words}` did not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn err(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn facts(out: &Output) -> Value {
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// All files below a folder, by their names from there.
fn listing(at: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![at.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(at).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

fn hidden(at: &Path) -> Vec<PathBuf> {
    let is_hidden = |path: &PathBuf| path.iter().any(|part| part.to_string_lossy().starts_with('.'));
    listing(at).into_iter().filter(is_hidden).collect()
}

/// Runs the command under limits of its shell.
fn limited(at: &Path, blocks: usize, words: &str) -> Output {
    // A file may not grow beyond so many blocks of 512 or 1024 bytes; without the signal the write itself is refused.
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_cnf")]);
    shell.args(words.split_whitespace()).current_dir(at).output().unwrap()
}

#[test]
fn a_folder_has_one_training_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let first = spawn(at, &format!("train {ENDLESS} --checkpoint-every 10 --out r"));
    until("a checkpoint", || at.join("r/checkpoint.safetensors").exists());
    for words in [
        "train --steps 5 --out r",
        "train --steps 5 --out ./r --force",
        "train --steps 5 --out r/../r --force",
        "train --resume r",
        "train --resume ./r",
    ] {
        let out = cnf(at, words);
        assert_eq!(out.status.code(), Some(1), "{words}: {out:?}");
        let said = err(&out);
        assert!(
            said.contains(&format!("another process ({})", first.id())) && said.contains("hint: "),
            "{words}: {said}"
        );
        assert!(out.stdout.is_empty(), "{words}");
    }
    // The lock is neither a model nor a run, and nobody waits for it.
    assert!(at.join("r/.lock.tmp").is_file());
    assert_eq!(cnf(at, "info r").status.code(), Some(1));
    assert_eq!(cnf(at, "train --hidden 8 --batch 64 --steps 5 --out other").status.code(), Some(0));

    // A killed process leaves the file and no lock.
    signal("KILL", &first);
    end(first, "train");
    assert!(at.join("r/.lock.tmp").is_file());
    let again = spawn(at, "train --resume r");
    until("the lock", || {
        std::fs::read_to_string(at.join("r/.lock.tmp")).is_ok_and(|text| text.trim() == again.id().to_string())
    });
    let refused = cnf(at, "train --resume r");
    assert!(refused.status.code() == Some(1) && err(&refused).contains("another process"), "{refused:?}");
    signal("TERM", &again);
    let out = end(again, "train --resume r");
    assert!(out.status.success(), "{out:?}");
    assert!(hidden(at).is_empty(), "{:?}", hidden(at));
    json(at, "train --hidden 8 --batch 64 --steps 5 --out r --force");
    assert!(hidden(at).is_empty() && !at.join("r/checkpoint.safetensors").exists(), "{:?}", listing(at));
}

#[test]
fn a_comparison_and_its_runs_are_locked_too() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let first = spawn(at, "compare --data moons --models realnvp --time 1h --out c");
    until("its run", || at.join("c/realnvp/config.toml").exists());
    for words in [
        "compare --data moons --models gaussian --out c",
        "compare --data moons --models gaussian --out c/../c --force",
        "train --hidden 8 --steps 5 --out c/realnvp --force",
        "train --hidden 8 --steps 5 --out c/realnvp",
    ] {
        let out = cnf(at, words);
        assert!(out.status.code() == Some(1) && err(&out).contains("another process"), "{words}: {out:?}");
    }
    // Into the folder of a training that runs, another comparison does not train.
    let second = spawn(at, &format!("train {ENDLESS} --out d/realnvp"));
    until("its run", || at.join("d/realnvp/config.toml").exists());
    let out = cnf(at, "compare --data moons --models realnvp --steps 5 --out d --force");
    assert!(out.status.code() == Some(1) && err(&out).contains("another process"), "{out:?}");
    for child in [first, second] {
        signal("TERM", &child);
        let out = end(child, "compare");
        assert!(out.status.success(), "{out:?}");
    }
    assert!(hidden(at).is_empty(), "{:?}", hidden(at));
}

#[test]
fn every_signal_of_a_queue_system_ends_a_training_as_ctrl_c_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let signals = [("INT", "Ctrl-C"), ("TERM", "SIGTERM"), ("HUP", "SIGHUP")];
    let hangs_up = hangs_up();
    for (name, word) in signals.into_iter().filter(|(name, _)| *name != "HUP" || hangs_up) {
        let words = format!("train {ENDLESS} --out {name} --json");
        let child = spawn(at, &words);
        until("the run", || at.join(name).join("config.toml").exists());
        std::thread::sleep(Duration::from_millis(100));
        signal(name, &child);
        if name != "INT" {
            // As `timeout` and terminals do; Ctrl-C pressed twice is meant.
            signal(name, &child);
        }
        let out = end(child, &words);
        assert!(err(&out).contains(word), "{name}: {}", err(&out));
        let facts = facts(&out);
        assert_eq!((&facts["stopped"], &facts["resumable"]), (&Value::Bool(true), &Value::Bool(true)), "{name}");
        let model = Model::load(&at.join(name).join("model.safetensors")).unwrap();
        assert!(model.provenance["nll"].is_f64() && at.join(name).join("training.png").exists(), "{name}");
        assert!(hidden(at).is_empty(), "{name}: {:?}", hidden(at));
    }
    let child = spawn(at, "compare --data moons --models gaussian,realnvp,nice --time 1h --out c --json");
    until("the second training", || at.join("c/realnvp/config.toml").exists());
    std::thread::sleep(Duration::from_millis(300));
    signal("TERM", &child);
    let facts = facts(&end(child, "compare"));
    assert_eq!((facts["skipped"].as_u64(), facts["models"].as_array().map(Vec::len)), (Some(1), Some(2)), "{facts}");
    assert!(hidden(at).is_empty(), "{:?}", hidden(at));
}

/// Whether a process has a handler of this signal; where the system does not say, it is taken for granted.
fn catches(child: &Child, number: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) else { return true };
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (number - 1)) != 0)
}

#[test]
fn every_signal_ends_the_other_commands_at_once_and_nothing_is_left() {
    let folder = folder();
    let at = folder.path();
    let before = listing(at);
    let hangs_up = hangs_up();
    for (name, number) in
        [("INT", 2), ("TERM", 15), ("HUP", 1)].into_iter().filter(|(name, _)| *name != "HUP" || hangs_up)
    {
        for (words, growing) in [
            ("sample m.safetensors -n 1000000000000 -o o.npy --with-density p.csv --block 50", 2),
            ("check m.safetensors -n 1000000", 0),
            ("density m.safetensors --grid 4000 -o g.npy", 1),
        ] {
            let child = spawn(at, words);
            until("its files", || listing(at).len() >= before.len() + growing);
            until("its handler", || catches(&child, number));
            std::thread::sleep(Duration::from_millis(150));
            signal(name, &child);
            let out = end(child, words);
            // A code, not the signal itself: the handler ended it.
            assert_eq!(out.status.code(), Some(128 + number), "{words} by {name}: {out:?}");
            assert_eq!(listing(at), before, "{words} by {name}");
        }
    }
}

#[test]
fn a_second_signal_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let signals = [("INT", "INT", 2), ("TERM", "INT", 2), ("HUP", "TERM", 15)];
    let hangs_up = hangs_up();
    for (first, second, number) in signals.into_iter().filter(|(first, _, _)| *first != "HUP" || hangs_up) {
        // No validations: only the score at the end is slow.
        std::fs::write(at.join("job.toml"), "validations = 0\n").unwrap();
        let words =
            "train --config job.toml --hidden 256,256 --batch 64 --time 1h --solver euler --fixed-steps 100000 --out r";
        let child = spawn(at, words);
        until("the run", || at.join("r/config.toml").exists());
        signal(first, &child);
        // Its score takes minutes: by then the model and its curve are there.
        until("the model", || at.join("r/model.safetensors").exists());
        until("the curve", || at.join("r/metrics.csv").exists());
        if second != "INT" {
            std::thread::sleep(Duration::from_millis(1200));
        }
        signal(second, &child);
        let out = end(child, words);
        assert_eq!(out.status.code(), Some(128 + number), "{first}, {second}: {out:?}");
        assert!(hidden(at).is_empty(), "{:?}", hidden(at));
        // What was trained is a model already, if without a score.
        let model = Model::load(&at.join("r/model.safetensors")).unwrap();
        assert!(!model.provenance.contains_key("nll") && model.provenance["stopped"] == true);
        json(at, "sample r -n 5 -o s.npy --solver dopri5");
        std::fs::remove_dir_all(at.join("r")).unwrap();
    }
}

#[test]
fn nohup_is_respected() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_cnf")]);
    shell.args(format!("train {ENDLESS} --checkpoint-every 10 --out r").split(' ')).current_dir(at);
    let mut child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let checkpoint = at.join("r/checkpoint.safetensors");
    until("a checkpoint", || checkpoint.exists());
    signal("HUP", &child);
    std::fs::remove_file(&checkpoint).unwrap();
    until("the next one", || checkpoint.exists());
    std::thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none());
    signal("TERM", &child);
    assert!(end(child, "train").status.success());
    assert!(at.join("r/model.safetensors").exists() && hidden(at).is_empty());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = folder();
    let at = folder.path();
    for words in [
        "density m.safetensors x.npy --json",
        "sample m.safetensors -n 10 -o s.npy",
        "data",
        "info m.safetensors --json",
        "man",
        "completions bash",
        "train --hidden 8 --batch 64 --steps 3 --out r --json",
        "--help",
    ] {
        let mut child = spawn(at, words);
        drop(child.stdout.take());
        let out = end(child, words);
        assert!(out.status.success() && !err(&out).contains("panicked"), "{words}: {out:?}");
    }
}

#[test]
fn a_picture_that_does_not_fit_loses_no_training() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let net = "--hidden 8 --batch 64 --steps 40";
    json(at, &format!("train {net} --out whole"));
    let whole = Model::load(&at.join("whole/model.safetensors")).unwrap();
    // More than the model and its metrics, less than any picture.
    let fits = |name: &str| std::fs::metadata(at.join("whole").join(name)).unwrap().len();
    let least = ["density.png", "samples.png", "training.png"].map(fits).into_iter().min().unwrap();
    assert!(["model.safetensors", "metrics.csv", "config.toml"].map(fits).iter().all(|size| *size < 16 * 512));
    assert!(least > 16 * 1024, "{least}");

    let out = limited(at, 16, &format!("train {net} --out r --json"));
    assert!(err(&out).contains("warning: ") && !err(&out).contains("panicked"), "{}", err(&out));
    let said = facts(&out);
    let warnings = said["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|w| w.as_str().unwrap().contains("cnf plot r")), "{said}");
    let model = Model::load(&at.join("r/model.safetensors")).unwrap();
    assert_eq!((&model.theta, &model.provenance["nll"]), (&whole.theta, &whole.provenance["nll"]));
    assert_eq!(bytes(at, "r/config.toml"), bytes(at, "whole/config.toml"));
    let names: Vec<PathBuf> = listing(&at.join("r"));
    assert_eq!(names, ["config.toml", "metrics.csv", "model.safetensors"].map(PathBuf::from));
    // In words too; and with room the pictures are drawn.
    let out = limited(at, 16, &format!("train {net} --out r --force"));
    assert!(out.status.success() && String::from_utf8_lossy(&out.stdout).contains("\nwarning   not all"), "{out:?}");
    json(at, "plot r");
    assert_eq!(bytes(at, "r/samples.png"), bytes(at, "whole/samples.png"));
    // Over an old run: its pictures do not stay beside the new model.
    let out = limited(at, 16, &format!("train {net} --seed 1 --out r --force"));
    assert!(out.status.success(), "{out:?}");
    assert_eq!(listing(&at.join("r")), names);
    assert!(String::from_utf8(bytes(at, "r/config.toml")).unwrap().contains("seed = 1"));
}

#[test]
fn a_checkpoint_that_does_not_fit_is_a_warning_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let net = "--hidden 64,64 --batch 64 --steps 60 --checkpoint-every 20";
    json(at, &format!("train {net} --out whole"));
    let whole = Model::load(&at.join("whole/model.safetensors")).unwrap();
    let out = limited(at, 128, &format!("train {net} --out r --json"));
    let said = facts(&out);
    assert!(
        said["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains("2 checkpoints")),
        "{said}"
    );
    assert_eq!(err(&out).matches("no checkpoint after step").count(), 1, "{}", err(&out));
    assert_eq!(Model::load(&at.join("r/model.safetensors")).unwrap().theta, whole.theta);
    assert!(hidden(at).is_empty());

    // Ended by a signal while the disk is full: saved, and nothing is promised that is not there.
    let script = "trap '' XFSZ; ulimit -f 128; exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_cnf")]);
    shell.args("train --hidden 64,64 --batch 64 --time 1h --out s --json".split(' ')).current_dir(at);
    let child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the run", || at.join("s/config.toml").exists());
    std::thread::sleep(Duration::from_millis(200));
    signal("INT", &child);
    let said = facts(&end(child, "train"));
    assert_eq!((&said["stopped"], &said["resumable"]), (&Value::Bool(true), &Value::Bool(false)), "{said}");
    assert!(at.join("s/model.safetensors").exists() && hidden(at).is_empty());

    // A place that cannot be written for a while: something else has the name.
    let child = spawn(at, &format!("train {ENDLESS} --checkpoint-every 10 --out t --json"));
    let checkpoint = at.join("t/checkpoint.safetensors");
    until("a checkpoint", || checkpoint.is_file());
    // Between the two another checkpoint may have come.
    until("the folder", || {
        let _ = std::fs::remove_file(&checkpoint);
        std::fs::create_dir(&checkpoint).is_ok()
    });
    std::thread::sleep(Duration::from_millis(500));
    std::fs::remove_dir(&checkpoint).unwrap();
    until("the next checkpoint", || checkpoint.is_file());
    signal("TERM", &child);
    let out = end(child, "train");
    assert!(err(&out).contains("checkpoints are written again"), "{}", err(&out));
    let said = facts(&out);
    assert!(said["warnings"].as_array().is_some_and(|all| all.len() == 1) && said["resumable"] == true, "{said}");
    assert!(hidden(at).is_empty());
}

#[test]
fn a_full_disk_loses_no_comparison_and_no_table() {
    let folder = folder();
    let at = folder.path();
    // Enough for models and tables; the page with its pictures has 100 KiB and more.
    let words = "compare --data moons --models gaussian,mixture --steps 20 --json";
    let out = limited(at, 100, &format!("{words} --out c"));
    let said = facts(&out);
    assert_eq!(said["models"].as_array().unwrap().len(), 2, "{said}");
    assert!(!said["warnings"].as_array().unwrap().is_empty(), "{said}");
    assert!(at.join("c/table.csv").exists() && at.join("c/report.html").exists() && hidden(at).is_empty());
    // Too little for the page itself: the numbers are still reported, and the error comes after them.
    let out = limited(at, 10, &format!("{words} --out d"));
    assert!(out.status.code() == Some(1) && err(&out).contains("report.html"), "{out:?}");
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(said["models"].as_array().unwrap().len(), 2, "{said}");
    assert!(at.join("d/table.csv").exists() && hidden(at).is_empty());

    for (words, table, picture) in [
        ("sample m.safetensors -n 100 -o s.npy --plot s.png", "s.npy", "s.png"),
        ("invert x.npy --model m.safetensors -o z.csv --plot z.png", "z.csv", "z.png"),
        ("density m.safetensors x.npy -o p.npy --error-bars b.npy --plot p.png", "b.npy", "p.png"),
    ] {
        json(at, words);
        let (expected, size) = (bytes(at, table), bytes(at, picture).len());
        std::fs::remove_file(at.join(table)).unwrap();
        std::fs::remove_file(at.join(picture)).unwrap();
        // One block below the picture's size in the larger of the two units.
        let blocks = (size - 1) / 1024;
        let out = limited(at, blocks, words);
        assert!(out.status.code() == Some(1) && err(&out).contains(picture), "{words}: {out:?}");
        assert!(!out.stdout.is_empty() && !String::from_utf8_lossy(&out.stdout).contains(picture), "{words}");
        assert!(bytes(at, table) == expected && !at.join(picture).exists() && hidden(at).is_empty(), "{words}");
    }
}

#[test]
fn no_command_overwrites_what_it_reads_or_writes_two_results_to_one_file() {
    let folder = folder();
    let at = folder.path();
    json(at, "data moons -n 60 -o t.csv");
    json(at, "train --data t.csv --base normal --hidden 8 --batch 16 --steps 3 --out r");
    command::conditional(at);
    let c = cnflow::io::Array::table((0..60).map(f64::from).collect(), 1, cnflow::io::Dtype::F64).unwrap();
    cnflow::io::write(&at.join("c.npy"), &c).unwrap();
    std::fs::create_dir(at.join("a")).unwrap();
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(at.join(target), at.join(name)).unwrap();
    link("x.npy", "soft.npy");
    link("m.safetensors", "model.npy");
    link("r/metrics.csv", "m.csv");
    link("t.csv", "t.png");
    link("later.npy", "dangling.npy");
    for (target, name) in [("x.npy", "hard.npy"), ("t.csv", "r/hard.csv"), ("c.npy", "c2.npy")] {
        std::fs::hard_link(at.join(target), at.join(name)).unwrap();
    }
    std::fs::create_dir(at.join("u")).unwrap();
    std::fs::copy(at.join("t.csv"), at.join("u/metrics.csv")).unwrap();
    std::fs::copy(at.join("t.csv"), at.join("u/table.csv")).unwrap();
    let before: Vec<(PathBuf, Vec<u8>)> = contents(at);
    for words in [
        "sample m.safetensors -n 5 -o q.npy --with-density q.npy",
        "sample m.safetensors -n 5 -o q.npy --with-density ./q.npy",
        "sample m.safetensors -n 5 -o q.npy --with-density a/../q.npy",
        "sample m.safetensors -n 5 -o soft.npy --with-density hard.npy",
        "sample m.safetensors -n 5 -o dangling.npy --with-density later.npy",
        "sample m.safetensors --latent x.npy -o x.npy",
        "sample m.safetensors --latent x.npy -o ./a/../x.npy",
        "sample m.safetensors --latent x.npy -o soft.npy",
        "sample m.safetensors --latent soft.npy -o hard.npy",
        "sample m.safetensors --latent x.npy -o y.npy --with-density hard.npy",
        "sample m.safetensors -n 5 -o model.npy",
        "sample c.safetensors --condition c.npy -o c.npy",
        "sample c.safetensors --condition c.npy -o y.npy --with-density c2.npy",
        "invert x.npy --model m.safetensors -o x.npy",
        "invert x.npy --model m.safetensors -o hard.npy",
        "invert soft.npy --model m.safetensors -o x.npy",
        "density m.safetensors x.npy -o x.npy",
        "density m.safetensors x.npy -o p.npy --error-bars soft.npy",
        "density m.safetensors x.npy -o p.npy --error-bars ./p.npy",
        "density m.safetensors t.csv --plot t.png",
        "density m.safetensors t.csv -o t.csv",
        "data moons -n 5 -o q.npy --with-density ./q.npy",
        "data t.csv --plot t.png",
        "import w.safetensors --activation tanh -o w.safetensors",
        "import w.safetensors --activation tanh -o ./w.safetensors",
        "export m.safetensors -o m.safetensors",
        "export r -o r/model.safetensors",
        "export r -o r/../r/model.safetensors",
        "trajectory m.safetensors t.csv -o t.png",
        "train --data u/metrics.csv --steps 3 --out u",
        "train --data r/metrics.csv --steps 3 --out r --force",
        "train --data m.csv --steps 3 --out r --force",
        "train --data t.csv --split r/metrics.csv --steps 3 --out r --force",
        "train --data t.csv --condition r/metrics.csv --steps 3 --out r --force",
        "train --data t.csv --init r --steps 3 --out r --force",
        "train --data t.csv --init r/model.safetensors --steps 3 --out ./r --force",
        "compare --data u/table.csv --models gaussian --out u",
        "compare --data u/table.csv --models gaussian --out ./u --force",
    ] {
        let out = cnf(at, words);
        assert_eq!(out.status.code(), Some(1), "{words}: {out:?}");
        let said = err(&out);
        let refused = said.contains("would go to one file") || said.contains("would overwrite what is read");
        assert!(refused && said.contains("hint: ") && out.stdout.is_empty(), "{words}: {said}");
        assert!(contents(at) == before, "{words} changed a file");
    }
    // Other names, other files; and a result may replace a result.
    for words in [
        "sample m.safetensors -n 5 -o a/q.npy --with-density q.npy",
        "sample m.safetensors -n 5 -o q.npy --with-density a/q.npy",
        "density m.safetensors x.npy -o a/x.npy",
        "train --data t.csv --base normal --hidden 8 --batch 16 --steps 3 --out r --force",
        "train --data t.csv --init r --steps 3 --out r2",
        "train --config r/config.toml --out r2 --force",
    ] {
        json(at, words);
    }
}

/// Every file with what is in it.
fn contents(at: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |name: PathBuf| {
        let bytes = std::fs::read(at.join(&name)).unwrap_or_default();
        (name, bytes)
    };
    listing(at).into_iter().map(read).collect()
}
