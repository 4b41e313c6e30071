//! Every example that a help shows is run, in a folder with the files it names; and help reads as it should.
//!
//! The commands are those that `cnf --help` lists, so a new one is held to the same without a change here; a file that
//! an example names and that is not made by [`prepare`] is to be added there. Lines run in a shell, as they are typed,
//! but for what would take long ([`shortened`]): trainings of small nets end after 20 steps, those of comparisons after
//! 5, and animations have 5 frames.
#![cfg(feature = "cli")]
#![cfg(unix)]

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::archive::{npy, npz};
use cnflow::io::safetensors::{ModelFile, NamedTensor, Values};
use cnflow::io::{self, Array, Dtype};
use cnflow::rng;
use cnflow::rows::toys;
use cnflow::train::Job;

/// Columns of a help where no terminal says how many there are.
const WIDTH: usize = 100;

/// Runs a line as a shell does, with the command in its path and `at` as its home.
fn shell(at: &Path, line: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_cnf")).parent().unwrap();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let paths = [at.join("bin"), program.to_owned()].into_iter().chain(std::env::split_paths(&others));
    let path: OsString = std::env::join_paths(paths).unwrap();
    Command::new("sh").args(["-c", line]).current_dir(at).env("PATH", path).env("HOME", at).output().unwrap()
}

/// What `cnf WORDS --help` prints, where `words` may be empty.
fn help(words: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
    let out = command.args(words.split_whitespace()).arg("--help").env_remove("COLUMNS").output().unwrap();
    assert!(out.status.success(), "{words}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The commands that `cnf --help` lists; the empty one stands for `cnf` itself.
fn commands() -> Vec<String> {
    let help = help("");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A longer description goes on in lines that are indented further.
    let names = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    std::iter::once("").chain(names).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The lines under `Examples:`.
fn example_lines(help: &str) -> impl Iterator<Item = &str> {
    help.lines().skip_while(|line| *line != "Examples:").skip(1).take_while(|line| !line.is_empty())
}

/// The command of an example, without the words behind it.
fn command_of(line: &str) -> &str {
    let line = line.trim();
    line.split_once("  ").map_or(line, |(command, _)| command)
}

/// The same in less time.
fn shortened(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    let put = |words: &mut Vec<&str>, option: &str, value: Option<&'static str>| {
        if let Some(at) = words.iter().position(|word| *word == option) {
            match value {
                Some(value) => words[at + 1] = value,
                None => drop(words.drain(at..at + 2)),
            }
        }
    };
    put(&mut words, "--frames", Some("5"));
    put(&mut words, "--grid", Some("40"));
    // Images have no grid.
    if words.get(1) == Some(&"trajectory") && !words.contains(&"--grid") && !words.contains(&"runs/classes") {
        words.extend(["--grid", "40"]);
    }
    if words.get(1) == Some(&"train") && !words.contains(&"--resume") {
        put(&mut words, "--time", None);
        put(&mut words, "--steps", None);
        put(&mut words, "--hidden", None);
        words.extend(["--steps", "20"]);
        // Nets of images have sizes of their own.
        if !words.iter().any(|word| ["--init", "--config", "digits"].contains(word)) {
            words.extend(["--hidden", "8,8"]);
        }
    }
    // A comparison of what is trained already trains nothing.
    if words.get(1) == Some(&"compare") && words.get(2).is_some_and(|word| word.starts_with("--")) {
        put(&mut words, "--time", None);
        put(&mut words, "--steps", None);
        put(&mut words, "--seeds", Some("2"));
        put(&mut words, "--depths", Some("2"));
        words.extend(["--steps", "5"]);
        if !words.contains(&"--models") {
            words.extend(["--models", "gaussian,realnvp"]);
        }
    }
    words.join(" ")
}

fn done(at: &Path, line: &str) {
    let out = shell(at, line);
    assert!(out.status.success(), "`{line}`: {}", String::from_utf8_lossy(&out.stderr));
}

/// The weights of a linear net with one hidden layer of four.
fn weights(at: &Path, name: &str, inputs: usize, outputs: usize) {
    let tensor = |name: &str, shape: &[usize]| {
        let values = (0..shape.iter().product()).map(|i| ((i * 7 % 11) as f32 - 5.0) / 20.0).collect();
        NamedTensor { name: name.into(), shape: shape.to_vec(), values: Values::F32(values) }
    };
    let tensors = vec![
        tensor("0.weight", &[4, inputs]),
        tensor("0.bias", &[4]),
        tensor("2.weight", &[outputs, 4]),
        tensor("2.bias", &[outputs]),
    ];
    ModelFile { tensors, metadata: Default::default() }.write(&at.join(name)).unwrap();
}

/// The files that examples name: tables, weights, models and runs, the newest of which is runs/8gaussians-matching-1.
fn prepare(at: &Path) {
    let rows = |n: usize, stream| Array::table(points(n, stream), 2, Dtype::F64).unwrap();
    for (stream, name) in ["x.npy", "z.npy", "sample.npy", "stars.npy", "x.csv", "table.csv"].into_iter().enumerate() {
        io::write(&at.join(name), &rows(300, stream as u64)).unwrap();
    }
    std::fs::write(at.join("archive.npz"), npz(&[("x", npy(&rows(300, 9)))], false)).unwrap();
    std::fs::create_dir_all(at.join("examples")).unwrap();
    std::os::unix::fs::symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data"), at.join("examples/data"))
        .unwrap();

    // Where shells and manuals look for theirs. A pager is not for a test: `man` only shows what it gets.
    for folder in [
        ".local/share/bash-completion/completions",
        ".zfunc",
        ".config/fish/completions",
        ".local/share/man/man1",
        "bin",
    ] {
        std::fs::create_dir_all(at.join(folder)).unwrap();
    }
    std::fs::write(at.join("bin/man"), "#!/bin/sh\ngrep -q .\n").unwrap();
    std::fs::set_permissions(at.join("bin/man"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();

    weights(at, "weights.safetensors", 3, 2);
    weights(at, "mlp.safetensors", 13, 2);
    weights(at, "digits.safetensors", 13, 2);
    std::fs::create_dir_all(at.join("runs/digits")).unwrap();
    done(at, "cnf import digits.safetensors --activation silu --condition-dim 10 -o runs/digits/model.safetensors");
    let seven = (0..10).map(|digit| f64::from(u8::from(digit == 7))).collect();
    io::write(&at.join("seven.npy"), &Array::table(seven, 10, Dtype::F64).unwrap()).unwrap();

    let net = "cnf train --hidden 8,8 --batch 64";
    done(at, "cnf train --batch 64 --data digits --steps 20 --out runs/pixels");
    done(at, "cnf train --batch 64 --data digits --condition digit --steps 20 --out runs/classes");
    done(at, "cnf data digits -o images.npy");
    done(at, "cnf export runs/pixels -o pixels.safetensors");
    done(at, &format!("{net} --model realnvp --steps 20 --out runs/realnvp"));
    for name in ["gauss", "wide", "8gaussians-matching-1"] {
        done(at, &format!("{net} --steps 20 --out runs/{name}"));
    }
    done(at, &format!("{net} --model realnvp --steps 20 --out runs/8gaussians-realnvp-1"));
    std::fs::copy(at.join("runs/gauss/model.safetensors"), at.join("model.safetensors")).unwrap();
    if help("train").contains("--resume") {
        broken_off(at, &format!("{net} --steps 2000 --checkpoint-every 1 --out runs/8gaussians-matching-2"));
    }
}

/// n draws of a toy.
fn points(n: usize, stream: u64) -> Vec<f64> {
    (toys::find("8gaussians").unwrap().sample)(n, &mut rng::stream(3, stream))
}

/// A run that is killed when it has something to go on from.
fn broken_off(at: &Path, line: &str) {
    let mut words = line.split(' ').skip(1).collect::<Vec<_>>();
    words.push("--quiet");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
    let mut child = command.args(&words).current_dir(at).stdout(Stdio::null()).spawn().unwrap();
    let checkpoint = at.join(words[words.len() - 2]).join("checkpoint.safetensors");
    let start = Instant::now();
    while !checkpoint.exists() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_micros(500));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(checkpoint.exists(), "`{line}` was not broken off");
}

#[test]
fn every_example_of_every_help_does_what_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let mut wrong = Vec::new();
    for name in commands() {
        let help = help(&name);
        let lines: Vec<&str> = example_lines(&help).map(command_of).collect();
        assert!(!lines.is_empty(), "`cnf {name} --help` has no examples");
        // The command's own examples are of the command.
        let own = |line: &&str| line.split(' ').nth(1) == Some(&name);
        assert!(name.is_empty() || lines.iter().all(own), "{lines:?}");
        for line in lines {
            let out = shell(folder.path(), &shortened(line));
            let err = String::from_utf8_lossy(&out.stderr);
            // Of a pipe only the last command's status is known.
            let sound = out.status.success() && !err.contains("error: ");
            // A model of 20 steps is a bad one, and a check has to say so by its lines about the fit and nothing else.
            let fit = ["1 of 13 lines failed: latents of data\n", "2 of 13 lines failed: latents of data, coverage\n"];
            let only_bad = name == "check" && fit.iter().any(|line| err.contains(&format!("error: {line}")));
            if !sound && !only_bad {
                wrong.push(format!("`{line}`: {err}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_long_example_is_run_in_little_time() {
    for (line, short) in [
        ("cnf train", "cnf train --steps 20 --hidden 8,8"),
        ("cnf train --time 60s --data moons", "cnf train --data moons --steps 20 --hidden 8,8"),
        ("cnf train --steps 300 --hidden 64,64", "cnf train --steps 20 --hidden 8,8"),
        ("cnf train --resume runs/a", "cnf train --resume runs/a"),
        ("cnf density --time 0.5", "cnf density --time 0.5"),
        ("cnf trajectory --frames 90 --fps 30", "cnf trajectory --frames 5 --fps 30 --grid 40"),
        ("cnf density m --grid 200", "cnf density m --grid 40"),
        (
            "cnf compare --models cnf,realnvp --seeds 3 --depths 2,4",
            "cnf compare --models cnf,realnvp --seeds 2 --depths 2 --steps 5",
        ),
    ] {
        assert_eq!(shortened(line), short);
    }
    assert_eq!(command_of("  cnf info runs/gauss     a run's model"), "cnf info runs/gauss");
}

#[test]
fn every_help_fits_its_lines_and_fills_them() {
    let mut wrong = Vec::new();
    for name in commands() {
        let help = help(&name);
        let lines: Vec<&str> = help.lines().collect();
        wrong.extend(lines.iter().filter(|line| line.chars().count() > WIDTH).map(|line| format!("{name}: {line}")));
        let examples = example_lines(&help).filter(|line| !line.starts_with("  cnf "));
        wrong.extend(examples.map(|line| format!("{name}: `{line}` among the examples")));
        // Options are laid out by clap; what stands below them is ours, but for code after a colon.
        let below = lines.iter().position(|line| line.starts_with("      --threads")).unwrap_or(0);
        let code = lines.windows(2).position(|pair| pair[0].ends_with(':') && pair[1].is_empty());
        for pair in lines[below..code.unwrap_or(lines.len()).max(below)].windows(2) {
            let (line, next) = (pair[0], pair[1].split(' ').next().unwrap_or_default());
            let prose = !line.starts_with(' ') && !line.ends_with(':') && !line.is_empty() && !next.is_empty();
            // A paragraph goes on in the next line only where its first word does not fit any more.
            if prose && line.chars().count() + 1 + next.chars().count() <= WIDTH {
                wrong.push(format!("{name}: a paragraph breaks after `{line}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_help_says_what_happens_to_what_is_left_out() {
    for name in commands() {
        let help = help(&name);
        for part in ["Usage: cnf", "--json", "--quiet", "--threads <N>", "all cores if left out", "Examples:"] {
            assert!(help.contains(part), "`cnf {name} --help` does not say `{part}`");
        }
        if help.contains("[MODEL]") {
            assert!(help.contains("the newest run if left out"), "`cnf {name} --help`");
        }
    }
}

/// Options with a value, and what is said of them.
fn options(help: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in help.lines().take_while(|line| *line != "Examples:") {
        let text = line.trim_start();
        let option =
            if line.starts_with("  -") { text.split_once("--") } else { text.strip_prefix("--").map(|t| ("", t)) };
        match (option, found.last_mut()) {
            (Some((_, rest)), _) => {
                let (name, about) = rest.split_once("  ").unwrap_or((rest, ""));
                let name = name.split(' ').next().unwrap_or_default();
                found.push((name.to_owned(), about.trim().to_owned()));
            }
            (None, Some((_, about))) if line.starts_with("          ") => *about += &format!(" {text}"),
            _ => {}
        }
    }
    found
}

#[test]
fn the_defaults_that_the_help_of_train_states_are_those_of_a_job() {
    let job = Job::default().resolve(2).unwrap().to_toml().unwrap();
    let job: toml::Table = job.parse().unwrap();
    let mut compared = 0;
    for (name, about) in options(&help("train")) {
        let Some((_, stated)) = about.split_once("[default: ") else { continue };
        let stated = stated.split([' ', ']', ';']).next().unwrap().trim_end_matches(',');
        // Sections say what their flags are about: `--data` is the source of the data.
        let (section, field) = match name.as_str() {
            "data" => (Some("data"), "source"),
            "model" => (Some("model"), "family"),
            "objective" => (Some("objective"), "kind"),
            "checkpoint-every" => (Some("output"), "checkpoint"),
            _ => (None, name.as_str()),
        };
        let mut sections = job.iter().filter(|(name, _)| section.is_none_or(|wanted| wanted == *name));
        let field = field.replace('-', "_");
        let Some(value) = sections.find_map(|(_, section)| section.get(&field)) else { continue };
        let number = |text: &str| text.trim_end_matches('s').parse::<f64>().ok();
        let same = match value {
            toml::Value::String(text) => text == stated,
            toml::Value::Float(x) => number(stated) == Some(*x),
            toml::Value::Integer(n) => number(stated) == Some(*n as f64),
            toml::Value::Array(many) => many.iter().map(ToString::to_string).collect::<Vec<_>>().join(",") == stated,
            other => panic!("--{name} has the default {other}"),
        };
        assert!(same, "the help says that --{name} is {stated}, a job has {value}");
        compared += 1;
    }
    // data, split, objective, hidden, activation, time, time-features, batch and lr at least.
    assert!(compared >= 9, "only {compared} defaults");
}
