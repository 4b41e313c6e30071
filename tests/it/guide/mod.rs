//! Every command that README.md and the pages of docs/guide show is run, and what a page shows of its output is
//! printed.
//!
//! The fences of a page decide. The `sh` blocks of a page are run in order, each by one `sh -e`, in one temporary
//! folder with a link to `examples` and the command in the path; every file that an output option names must exist
//! afterwards. A `console` block has commands behind `$ `, and below each a part of what it prints: `…` stands for any
//! text, and a command fails where the page shows an `error:` and succeeds elsewhere. A `text` block is not run and
//! shows no command.
//!
//! Trainings are shortened ([`shortened`]), unless `<!-- guide: as written -->` stands before the block. A line
//! `<!-- picture: FILE -->` before an image says which file of the page's folder the image is a copy of.
//!
//! `CNF_GUIDE=pictures` (docs/img/make.sh) runs all at full length and makes the images; `CNF_GUIDE=bless` rewrites the
//! lines of `console` blocks that begin with `error:`, `hint:` or `warning:` as the command prints them now.
#![cfg(all(unix, feature = "cli"))]

mod page;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use self::page::{Block, anchor, file, links, parse, root};

/// Steps of a training that is shortened, and its time where the page bounds the time.
const STEPS: usize = 200;
const TIME: &str = "1s";
/// Cells along each axis of a picture that is made in little time.
const CELLS: usize = 40;
/// Lines that set up the repository around the tests themselves.
const SET_UP: [&str; 3] = ["cargo install --path .", "cargo test --release --workspace", "bash .ci/run"];

fn mode(name: &str) -> bool {
    std::env::var("CNF_GUIDE").is_ok_and(|mode| mode == name)
}

/// A command of the program in little time: 200 steps or one second of training, coarse grids, films of five frames.
fn shortened(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let value = |words: &[String], option: &str| words.iter().position(|word| word == option).map(|at| at + 1);
    if let Some(at) = value(&words, "--frames") {
        words[at] = "5".into();
    }
    match value(&words, "--grid") {
        Some(at) => words[at] = words[at].parse::<usize>().unwrap().min(CELLS).to_string(),
        // Images have no grid.
        None if line.starts_with("cnf trajectory digits") => {}
        None if line.starts_with("cnf trajectory") => words.insert(2, format!("--grid {CELLS}")),
        None => {}
    }
    let trains = line.starts_with("cnf train") && !line.contains("--resume");
    // A comparison of runs trains nothing.
    let compares = line.starts_with("cnf compare") && words.get(2).is_none_or(|word| word.starts_with('-'));
    if trains || compares {
        match (value(&words, "--steps"), value(&words, "--time")) {
            (Some(at), _) => words[at] = words[at].parse::<usize>().unwrap().min(STEPS).to_string(),
            (None, Some(at)) => words[at] = TIME.into(),
            (None, None) if line.contains("--config") => {}
            (None, None) => words.insert(2, format!("--time {TIME}")),
        }
    }
    words.join(" ")
}

/// What is run for the lines of a block.
fn script(block: &Block) -> String {
    let joined = block.lines.join("\n").replace("\\\n", " ");
    let one = |line: &str| {
        let line = match line.split_once("cargo run --release -- ") {
            Some(("", rest)) => format!("cnf {rest}"),
            _ => line.to_owned(),
        };
        let bare = line.split(" #").next().unwrap_or_default().trim_end();
        if let Some(example) = bare.strip_prefix("cargo run --release --example ") {
            let source = format!("examples/{example}.rs");
            assert!(root().join(&source).exists() || root().join("solvers").join(&source).exists(), "no `{source}`");
            return String::new();
        }
        if SET_UP.contains(&bare) {
            return String::new();
        }
        assert!(!bare.starts_with("cargo "), "`{line}` would not be run");
        if block.as_written || mode("pictures") { line } else { shortened(&line) }
    };
    joined.lines().map(one).collect::<Vec<_>>().join("\n")
}

/// The files that the output options of a script name.
fn outputs(script: &str) -> BTreeSet<&str> {
    const OPTIONS: [&str; 7] = ["-o", "--output", "--out", "--plot", "--gif", "--with-density", "--error-bars"];
    let pairs = script.lines().flat_map(|line| line.split_whitespace().zip(line.split_whitespace().skip(1)));
    // What goes to stdout is in no file.
    let named = |(option, name): &(&str, &str)| OPTIONS.contains(option) && !name.contains('$') && *name != "-";
    pairs.filter(named).map(|(_, name)| name).collect()
}

/// Runs a script in a page's folder: whether it succeeded, and what it printed, the errors first.
fn shell(at: &Path, script: &str) -> (bool, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_cnf")).parent().unwrap();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(program.to_owned()).chain(std::env::split_paths(&others));
    let path: OsString = std::env::join_paths(paths).unwrap();
    let out =
        Command::new("sh").args(["-ec", script]).current_dir(at).env("PATH", path).env("HOME", at).output().unwrap();
    (out.status.success(), String::from_utf8([&out.stderr[..], &out.stdout[..]].concat()).unwrap())
}

/// Whether a line is what the page shows, where `…` stands for any text.
fn fits(shown: &str, line: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Runs the commands of a `console` block, and returns what is wrong and the block as it would be right.
fn session(at: &Path, block: &Block) -> (Vec<String>, Vec<String>) {
    let (mut wrong, mut right) = (Vec::new(), Vec::new());
    let mut rest = &block.lines[..];
    while let Some((command, below)) = rest.split_first() {
        let line = command.strip_prefix("$ ").unwrap_or_else(|| panic!("`{command}` stands below no command"));
        let (shown, next) = below.split_at(below.iter().position(|l| l.starts_with("$ ")).unwrap_or(below.len()));
        let (succeeded, printed) = shell(at, &if block.as_written { line.to_owned() } else { shortened(line) });
        if succeeded == shown.iter().any(|line| line.starts_with("error:")) {
            wrong.push(format!("`{line}` ends otherwise than the page shows:\n{printed}"));
        }
        right.push(command.clone());
        for shown in shown {
            if printed.lines().any(|line| fits(shown, line.trim_end())) {
                right.push(shown.clone());
                continue;
            }
            wrong.push(format!("`{line}` does not print `{shown}`, but\n{printed}"));
            let kind = ["error: ", "hint: ", "warning: "].into_iter().find(|kind| shown.starts_with(kind));
            let now = kind.and_then(|kind| printed.lines().find(|line| line.starts_with(kind)));
            right.push(now.map_or(shown.clone(), str::to_owned));
        }
        rest = next;
    }
    (wrong, right)
}

/// Whether a line calls the program: `cnf` and the name of one of its commands, unlike output such as `cnf chosen in 30 s`.
fn is_command(at: &Path, line: &str) -> bool {
    let name = line.strip_prefix("cnf ").and_then(|rest| rest.split_whitespace().next());
    name.is_some_and(|name| shell(at, &format!("cnf {name} --help")).0)
}

/// A folder with a link to the examples.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("examples"), folder.path().join("examples")).unwrap();
    folder
}

/// Runs a page from top to bottom.
fn run(page: &str) {
    let (folder, parsed) = (folder(), parse(page));
    let at = folder.path();
    let (mut wrong, mut blessed) = (Vec::new(), Vec::new());
    for block in &parsed.blocks {
        let place = format!("{page}.md:{}", block.first + 1);
        match &*block.language {
            "sh" => {
                let script = script(block);
                let (succeeded, printed) = shell(at, &script);
                assert!(succeeded, "{place} fails:\n{script}\n{printed}");
                for name in outputs(&script) {
                    assert!(at.join(name).exists(), "{place} does not write `{name}`");
                }
            }
            "console" => {
                let (found, right) = session(at, block);
                wrong.extend(found.into_iter().map(|what| format!("{place}: {what}")));
                blessed.push((block.first, right));
            }
            "text" => {
                let command = block.lines.iter().find(|line| line.starts_with("$ ") || is_command(at, line));
                assert!(command.is_none(), "{place}: `{command:?}` is not run");
            }
            other => assert!(["rust", "python", "toml", "json"].contains(&other), "{place}: a block of `{other}`"),
        }
    }
    if mode("bless") {
        let text = std::fs::read_to_string(file(page)).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        for (first, right) in &blessed {
            right.iter().enumerate().for_each(|(i, line)| lines[first + i] = line);
        }
        std::fs::write(file(page), lines.join("\n") + "\n").unwrap();
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (made, image) in &parsed.pictures {
        assert!(at.join(made).exists(), "{page} makes no `{made}`");
        if mode("pictures") {
            std::fs::copy(at.join(made), image).unwrap();
        }
    }
}

/// One test a page, so that a page can be run alone and pages run side by side.
macro_rules! pages {
    ($($name:ident $page:literal)*) => {
        $(#[test] fn $name() { run($page) })*
        const TESTED: &[&str] = &[$($page),*];
    };
}

pages! {
    commands_of_the_readme "README"
    commands_of_the_index "guide/README"
    commands_of_first_flow "guide/first-flow"
    commands_of_ideas "guide/ideas"
    commands_of_tables "guide/tables"
    commands_of_conditions "guide/conditions"
    commands_of_images "guide/images"
    commands_of_python "guide/python"
    commands_of_several_machines "guide/machines"
    commands_of_checking "guide/checking"
    commands_of_comparing "guide/comparing"
    commands_of_solvers "guide/solvers"
    commands_of_few_steps "guide/few-steps"
    commands_of_reproducibility "guide/reproducibility"
    commands_of_files "guide/files"
    commands_of_figures "guide/figures"
    commands_of_pytorch "guide/pytorch"
    commands_of_the_library "guide/library"
    commands_of_troubleshooting "guide/troubleshooting"
}

/// The pages that are there, the README first.
fn pages() -> Vec<String> {
    let files = std::fs::read_dir(root().join("docs/guide")).unwrap();
    let names = files.map(|entry| format!("guide/{}", entry.unwrap().path().file_stem().unwrap().to_str().unwrap()));
    std::iter::once("README".to_owned()).chain(names.collect::<BTreeSet<_>>()).collect()
}

#[test]
fn every_page_is_run_and_is_in_the_index() {
    let tested = TESTED.iter().map(|page| (*page).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(tested, pages().into_iter().collect());
    let index = std::fs::read_to_string(file("guide/README")).unwrap();
    for page in pages().iter().filter_map(|page| page.strip_prefix("guide/")).filter(|page| *page != "README") {
        assert!(index.contains(&format!("]({page}.md)")), "the index does not link {page}.md");
    }
}

#[test]
fn every_link_leads_to_a_file_and_every_picture_is_linked_and_small() {
    let mut shown = BTreeSet::new();
    for page in pages() {
        let folder = file(&page).parent().unwrap().to_owned();
        for target in parse(&page).prose.iter().flat_map(|line| links(line)) {
            let (name, place) = target.split_once('#').unwrap_or((&target, ""));
            if target.starts_with("https://") {
                continue;
            }
            let path = if name.is_empty() { file(&page) } else { folder.join(name) };
            assert!(path.exists(), "{page} links `{target}`, which does not exist");
            let headings = |text: &str| text.lines().filter(|l| l.starts_with('#')).map(anchor).collect::<Vec<_>>();
            let found =
                place.is_empty() || headings(&std::fs::read_to_string(&path).unwrap()).contains(&place.to_owned());
            assert!(found, "{page} links `{target}`, which is not a heading there");
            if path.extension().is_some_and(|kind| kind == "png") {
                shown.insert(path.canonicalize().unwrap());
            }
        }
    }
    let (mut total, mut found) = (0, BTreeSet::new());
    for entry in std::fs::read_dir(root().join("docs/img")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "png") {
            let bytes = path.metadata().unwrap().len();
            assert!(bytes <= 150_000, "{} has {bytes} bytes", path.display());
            total += bytes;
            found.insert(path.canonicalize().unwrap());
        }
    }
    assert!(total <= 1_900_000, "the pictures have {total} bytes");
    assert_eq!(found, shown, "pictures that are there, and pictures that a page shows");
}

#[test]
fn the_readme_is_one_screen_and_sentences_are_short() {
    let lines = std::fs::read_to_string(file("README")).unwrap().lines().count();
    assert!(lines <= 80, "the README has {lines} lines");
    let mut long = Vec::new();
    for page in pages() {
        // Paragraphs and list items; tables, headings, images and comments have no sentences.
        let mut text = String::new();
        for line in parse(&page).prose {
            let line = line.trim();
            if line.is_empty() || line.starts_with("- ") || line.starts_with(|c: char| c.is_ascii_digit()) {
                text += ". ";
            }
            if !["|", "#", "![", "<!--"].iter().any(|start| line.starts_with(start)) {
                text += &format!("{} ", line.trim_start_matches("- "));
            }
        }
        for sentence in text.split(". ").flat_map(|s| s.split(": ")).flat_map(|s| s.split("; ")) {
            if sentence.split_whitespace().count() > 25 {
                long.push(format!("{page}: {sentence}"));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn a_page_is_read_as_the_head_of_this_file_says() {
    for (line, short) in [
        ("cnf train", "cnf train --time 1s"),
        ("cnf train --data moons --time 60s", "cnf train --data moons --time 1s"),
        ("cnf train --steps 3000 --out a", "cnf train --steps 200 --out a"),
        ("cnf train --steps 50 --out a", "cnf train --steps 50 --out a"),
        ("cnf train --resume a", "cnf train --resume a"),
        ("cnf train --config a/config.toml --out b", "cnf train --config a/config.toml --out b"),
        ("cnf compare a b --out c", "cnf compare a b --out c"),
        ("cnf compare --data moons", "cnf compare --time 1s --data moons"),
        ("cnf trajectory --gif a.gif --frames 60", "cnf trajectory --grid 40 --gif a.gif --frames 5"),
        ("cnf density run --grid 200 -o p.npy", "cnf density run --grid 40 -o p.npy"),
    ] {
        assert_eq!(shortened(line), short);
    }
    for (shown, line, same) in [
        ("a b", "a b", true),
        ("a b", "a b c", false),
        ("a …", "a b c", true),
        ("… c", "a b c", true),
        ("a … c … e", "a b c d e", true),
        ("a … c … e", "a c e", false),
        ("a … d", "b c d", false),
    ] {
        assert_eq!(fits(shown, line), same, "{shown} and {line}");
    }
    let at = folder();
    let block = |lines: &[&str]| Block {
        language: "console".into(),
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        first: 0,
        as_written: false,
    };
    for (lines, wrong) in [
        (&["$ echo one", "one"][..], 0),
        (&["$ echo one", "two"], 1),
        (&["$ echo 'error: x' >&2; false", "error: x"], 0),
        (&["$ echo 'error: x' >&2", "error: x"], 1),
        (&["$ false"], 1),
        (&["$ echo one", "one", "$ echo two", "one"], 1),
    ] {
        assert_eq!(session(at.path(), &block(lines)).0.len(), wrong, "{lines:?}");
    }
    let (_, right) = session(at.path(), &block(&["$ echo 'error: new' >&2; false", "error: old"]));
    assert_eq!(right, ["$ echo 'error: new' >&2; false", "error: new"]);
    assert_eq!(
        outputs("cnf sample -o s.npy --plot $x.png\ncnf train --out a").into_iter().collect::<Vec<_>>(),
        ["a", "s.npy"]
    );
    assert_eq!(anchor("## What is promised, and what is not"), "what-is-promised-and-what-is-not");
}
