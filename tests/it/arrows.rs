//! Arrows between the folders of the library run one way: no folder uses one that uses it.

use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// Whether the text names `crate::module` or `crate::{…, module…}`.
fn names(text: &str, module: &str) -> bool {
    let direct = format!("crate::{module}");
    let word = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let alone = text.match_indices(&direct).any(|(i, m)| word(&text[i + m.len()..]));
    let grouped = text.split("crate::{").skip(1).any(|rest| {
        let list = rest.split("};").next().unwrap_or("");
        list.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|name| name == module)
    });
    alone || grouped
}

#[test]
fn modules_know_only_those_below_them() {
    let may: [(&str, &[&str]); 16] = [
        ("velocity", &[]),
        ("transform", &[]),
        ("fit", &["transform"]),
        ("continuous", &["transform", "velocity"]),
        ("discrete", &["continuous", "transform", "velocity"]),
        // A model file is tensors and a card.
        ("model", &["continuous", "discrete", "io", "transform", "velocity"]),
        ("io", &[]),
        // A table is read from a file.
        ("rows", &["io"]),
        ("plot", &[]),
        // A report is written to a temporary file and renamed.
        ("html", &["io"]),
        ("apply", &["continuous", "io", "model", "transform", "velocity"]),
        ("check", &["continuous", "model", "rows", "transform", "velocity"]),
        ("train", &["continuous", "discrete", "fit", "io", "model", "rows", "transform", "velocity"]),
        ("compare", &["check", "continuous", "model", "rows", "train", "transform", "velocity"]),
        ("stats", &[]),
        (
            "cli",
            &[
                "apply",
                "check",
                "compare",
                "continuous",
                "discrete",
                "fit",
                "html",
                "io",
                "model",
                "plot",
                "rows",
                "stats",
                "train",
                "transform",
                "velocity",
            ],
        ),
    ];
    // Every folder has its line.
    let mut folders: Vec<String> = std::fs::read_dir("src")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !files(path).is_empty())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    folders.sort_unstable();
    let mut listed = may.map(|(module, _)| module);
    listed.sort_unstable();
    assert_eq!(folders, listed);
    let all: Vec<&str> = listed.into_iter().filter(|module| *module != "stats").collect();
    for (module, allowed) in may {
        let root = Path::new("src").join(format!("{module}.rs"));
        for file in files(&Path::new("src").join(module)).into_iter().chain(root.exists().then_some(root)) {
            let text = std::fs::read_to_string(&file).unwrap();
            for other in all.iter().filter(|other| **other != module && !allowed.contains(other)) {
                assert!(!names(&text, other), "{} knows `{other}`", file.display());
            }
        }
    }
}

#[test]
fn files_beside_the_folders_use_none_of_them() {
    let folders = [
        "apply",
        "check",
        "cli",
        "compare",
        "continuous",
        "discrete",
        "fit",
        "html",
        "model",
        "plot",
        "rows",
        "train",
        "transform",
        "velocity",
    ];
    for file in ["base64", "error", "memory", "names", "rng", "stats", "words"] {
        let text = std::fs::read_to_string(format!("src/{file}.rs")).unwrap();
        for other in folders {
            assert!(!names(&text, other), "src/{file}.rs knows `{other}`");
        }
    }
}

#[test]
fn unsafe_code_is_allowed_in_the_kernels_only() {
    // The lint denies it; an attribute would allow it again.
    for folder in ["src", "solvers/src"] {
        for file in files(Path::new(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains("allow(unsafe_code)"), "{}", file.display());
        }
    }
}

#[test]
fn solvers_and_kernels_know_no_flow_and_no_tensor_library() {
    for folder in ["solvers/src", "kernels/src"] {
        for file in files(Path::new(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains("candle") && !text.contains("cnflow::"), "{}", file.display());
        }
    }
}
