//! Arrows run one way: cli → compare → train → flow → velocity → kernels → solvers; data, io, plot and html are leaves.

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
    let all = ["cli", "compare", "train", "check", "flow", "velocity", "data", "io", "plot", "html"];
    let may: [(&str, &[&str]); 10] = [
        ("cli", &["compare", "train", "check", "flow", "velocity", "data", "io", "plot", "html"]),
        ("compare", &["train", "check", "flow", "data"]),
        ("check", &["flow", "velocity", "data"]),
        ("train", &["flow", "velocity", "data", "io"]),
        // A model file is tensors and a card.
        ("flow", &["velocity", "io"]),
        ("velocity", &[]),
        // A table is read from a file.
        ("data", &["io"]),
        ("io", &[]),
        ("plot", &[]),
        // A report is written aside and renamed.
        ("html", &["io"]),
    ];
    for (module, allowed) in may {
        for file in files(&Path::new("src").join(module)) {
            let text = std::fs::read_to_string(&file).unwrap();
            for other in all.into_iter().filter(|other| *other != module && !allowed.contains(other)) {
                assert!(!names(&text, other), "{} knows `{other}`", file.display());
            }
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
