//! Laws of pipes: a table that comes through stdin or a FIFO is the table of the file, and one on stdout is its text.
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::common::command::{bytes, cnf, conditional, folder, json};

/// Runs the command with these bytes on stdin.
fn piped(at: &Path, words: &str, input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
    command.current_dir(at).args(words.split_whitespace()).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Whoever is refused reads nothing.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn table() -> String {
    let line =
        |i: usize| format!("{},{}\n", ((i * 37) % 101) as f64 / 16.0 - 3.0, ((i * 53) % 89) as f64 / 32.0 - 1.25);
    format!("a,b\n{}", (0..60).map(line).collect::<String>())
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn stdin_is_read_as_the_file_by_every_command_and_in_every_format() {
    let folder = folder();
    let at = folder.path();
    conditional(at);
    std::fs::write(at.join("x.csv"), table()).unwrap();
    std::fs::write(
        at.join("c.csv"),
        table().lines().map(|l| l.split(',').next().unwrap().to_owned() + "\n").collect::<String>(),
    )
    .unwrap();
    json(at, "sample m.safetensors -n 60 -o x.npz");
    let inputs = [
        ("x.csv", bytes(at, "x.csv")),
        ("x.csv", packed(&bytes(at, "x.csv"))),
        ("x.npy", bytes(at, "x.npy")),
        ("x.npy", packed(&bytes(at, "x.npy"))),
        ("x.npz", bytes(at, "x.npz")),
    ];
    for (name, input) in &inputs {
        json(at, &format!("density m.safetensors {name} -o file.npy"));
        for words in [
            "density m.safetensors - -o pipe.npy",
            "density - --model m.safetensors -o pipe.npy",
            "density m.safetensors /dev/stdin -o pipe.npy",
        ] {
            let out = piped(at, words, input);
            assert!(out.status.success(), "{words} {name}: {}", text(&out.stderr));
            assert!(bytes(at, "pipe.npy") == bytes(at, "file.npy"), "{words} {name}");
        }
    }
    let x = bytes(at, "x.csv");
    for (file, pipe) in [
        ("invert x.csv --model m.safetensors -o NAME.npy", "invert - --model m.safetensors -o NAME.npy"),
        ("sample m.safetensors --latent x.csv -o NAME.npy", "sample m.safetensors --latent - -o NAME.npy"),
        ("trajectory m.safetensors x.csv -o NAME.svg", "trajectory m.safetensors - -o NAME.svg"),
    ] {
        json(at, &file.replace("NAME", "file"));
        let out = piped(at, &pipe.replace("NAME", "pipe"), &x);
        assert!(out.status.success(), "{pipe}: {}", text(&out.stderr));
        let ending = if pipe.contains(".svg") { "svg" } else { "npy" };
        assert!(bytes(at, &format!("file.{ending}")) == bytes(at, &format!("pipe.{ending}")), "{pipe}");
    }
    json(at, "density c.safetensors x.csv --condition c.csv -o file.npy");
    let out = piped(at, "density c.safetensors x.csv --condition - -o pipe.npy", &bytes(at, "c.csv"));
    assert!(out.status.success() && bytes(at, "pipe.npy") == bytes(at, "file.npy"), "{}", text(&out.stderr));
    let out = piped(at, "data -", &x);
    assert!(
        out.status.success() && text(&out.stdout).starts_with("stdin: 60 rows, 2 columns"),
        "{}",
        text(&out.stdout)
    );
    let out = piped(at, "data - --json", &x);
    let facts: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((facts["rows"].as_u64(), &facts["file"]), (Some(60), &"stdin".into()));
    let out = piped(at, "check m.safetensors - -n 50", &x);
    assert!(!text(&out.stderr).contains("cannot read"), "{}", text(&out.stderr));
    // Nothing of the copies is left.
    let left = |name: &str| name.starts_with("cnf-") && name.contains("stdin");
    let names = std::fs::read_dir(std::env::temp_dir()).unwrap().filter_map(|e| e.ok()?.file_name().into_string().ok());
    assert!(!names.into_iter().any(|name| left(&name)));
}

#[test]
fn a_training_reads_stdin_once_and_what_comes_later_says_that_it_is_gone() {
    let folder = folder();
    let at = folder.path();
    std::fs::write(at.join("x.csv"), table()).unwrap();
    let net = "train --hidden 4 --batch 16 --steps 6 --base normal";
    json(at, &format!("{net} --data x.csv --out file"));
    let out = piped(at, &format!("{net} --data - --out pipe"), table().as_bytes());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let weights = |run: &str| cnflow::model::Model::load(&at.join(run).join("model.safetensors")).unwrap().theta;
    assert_eq!(weights("file"), weights("pipe"));
    let config = std::fs::read_to_string(at.join("pipe/config.toml")).unwrap();
    assert!(config.contains("source = \"-\"") && !config.contains("cnf-"), "{config}");
    let out = piped(at, &format!("{net} --data -"), table().as_bytes());
    assert!(
        out.status.success() && at.join("runs/stdin-matching-1/model.safetensors").is_file(),
        "{}",
        text(&out.stderr)
    );
    // Its configuration reads stdin again, and nothing else does.
    let out = piped(at, "train --config pipe/config.toml --out again", table().as_bytes());
    assert!(out.status.success() && weights("again") == weights("pipe"), "{}", text(&out.stderr));
    let out = cnf(at, "check pipe -n 50");
    assert!(text(&out.stdout).contains("the rows came from stdin, which can be read once"), "{}", text(&out.stdout));
    let out = piped(at, "compare --data - --models gaussian,mixture --time 1s --out both --json", table().as_bytes());
    assert!(out.status.success(), "{}", text(&out.stderr));
}

#[test]
fn a_fifo_is_read_as_a_file() {
    let folder = folder();
    let at = folder.path();
    std::fs::write(at.join("x.csv"), table()).unwrap();
    json(at, "density m.safetensors x.csv -o file.npy");
    for name in ["fifo", "fifo.csv"] {
        assert!(Command::new("mkfifo").arg(at.join(name)).status().unwrap().success());
        let path = at.join(name);
        let writer = std::thread::spawn(move || std::fs::write(path, table()));
        let out = cnf(at, &format!("density m.safetensors {name} -o pipe.npy"));
        writer.join().unwrap().unwrap();
        assert!(out.status.success() && bytes(at, "pipe.npy") == bytes(at, "file.npy"), "{}", text(&out.stderr));
    }
}

#[test]
fn a_table_on_stdout_is_the_text_of_the_file_and_nothing_else() {
    let folder = folder();
    let at = folder.path();
    std::fs::write(at.join("x.csv"), table()).unwrap();
    for (words, output) in [
        ("sample m.safetensors -n 40", "-o"),
        ("sample m.safetensors -n 40 -o other.npy", "--with-density"),
        ("density m.safetensors x.csv", "-o"),
        ("density m.safetensors x.csv", "--error-bars"),
        ("invert x.csv --model m.safetensors", "-o"),
        ("data moons -n 20", "-o"),
        ("data digits", "-o"),
    ] {
        let file = cnf(at, &format!("{words} {output} file.csv"));
        assert!(file.status.success(), "{words}: {}", text(&file.stderr));
        for name in ["-", "/dev/stdout"] {
            let out = cnf(at, &format!("{words} {output} {name}"));
            assert!(out.status.success(), "{words}: {}", text(&out.stderr));
            assert!(out.stdout == bytes(at, "file.csv"), "{words} {name}");
            // The report is on stderr, and with --quiet nowhere.
            assert!(!out.stderr.is_empty(), "{words}");
            let out = cnf(at, &format!("{words} {output} {name} --quiet"));
            assert!(out.stdout == bytes(at, "file.csv") && out.stderr.is_empty(), "{words}: {}", text(&out.stderr));
        }
        let out = cnf(at, &format!("{words} {output} - --json"));
        assert!(out.status.code() == Some(2) && out.stdout.is_empty(), "{words}");
        assert!(text(&out.stderr).contains("--json") && text(&out.stderr).contains("hint: "), "{}", text(&out.stderr));
    }
    // From one command into the next.
    let samples = cnf(at, "sample m.safetensors -n 40 -o -").stdout;
    let out = piped(at, "density m.safetensors - -o -", &samples);
    assert_eq!(text(&out.stdout).lines().count(), 40);
    assert!(!at.join("-").exists());
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let folder = folder();
    let at = folder.path();
    for words in ["sample m.safetensors -n 200000 --block 1000 -o -", "data moons -n 500000 -o -"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
        command.current_dir(at).args(words.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut some = [0; 64];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{words}: {}", text(&out.stderr));
        assert!(!text(&out.stderr).contains("error"), "{words}: {}", text(&out.stderr));
    }
}

#[test]
fn what_cannot_be_read_from_a_pipe_is_said() {
    let folder = folder();
    let at = folder.path();
    conditional(at);
    for (words, input, code, part) in [
        ("density m.safetensors - -o o.npy", &b""[..], 1, "cannot read `stdin`: it is empty"),
        ("density m.safetensors - -o o.npy", b"a,b\n1,two\n", 1, "cannot read `stdin`: `two` in line 2, column `b`"),
        ("density m.safetensors - -o o.npy", b"a,b,c\n1,2,3\n", 1, "`stdin` holds 3 columns"),
        ("density c.safetensors - --condition - -o o.npy", b"1,2\n", 1, "stdin is named twice"),
        ("train --data - --steps 1", b"1,2\n", 1, "cannot read `stdin`"),
        ("density m.safetensors - --plot -", b"1,2\n3,4\n", 1, "unknown picture format `-`"),
        ("sample m.safetensors -n 5 -o - --with-density -", b"", 1, "two results would go to one file"),
        ("density x.npy --model m.safetensors x.npy", b"", 2, "cannot be used with"),
    ] {
        let out = piped(at, words, input);
        let err = text(&out.stderr);
        assert!(out.status.code() == Some(code) && err.contains(part) && err.contains("hint: "), "{words}: {err}");
        assert!(out.stdout.is_empty() && !at.join("o.npy").exists(), "{words}");
    }
}
