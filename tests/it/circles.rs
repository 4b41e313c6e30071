//! No two files of one folder import each other: each can be read before the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A file's place in the module tree, the crate's root being empty.
type Module = Vec<String>;

/// The code of each module below `folder`, without comments and unit tests.
fn modules(folder: &Path, at: &[String], found: &mut BTreeMap<Module, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let own = matches!(name.as_str(), "mod" | "lib" | "main");
        let module: Module = at.iter().cloned().chain((!own).then_some(name)).collect();
        if path.is_dir() {
            modules(&path, &module, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let code: Vec<&str> = code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
            found.entry(module).or_default().push_str(&code.join("\n"));
        }
    }
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((stem, list)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let list = list.trim_end().strip_suffix('}').unwrap_or(list);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expanded(part)).map(|end| format!("{}{end}", stem.trim())).collect()
}

/// The paths of `use` and `pub use`.
fn used(code: &str) -> impl Iterator<Item = (bool, String)> {
    let statements = code.split(';').filter_map(|statement| {
        let at = statement.rfind("use ").filter(|at| !statement[..*at].ends_with(|c: char| c.is_alphanumeric()))?;
        let before = statement[..at].trim_end();
        let public = before.ends_with("pub") || before.ends_with(')');
        Some((public, statement[at + 4..].to_owned()))
    });
    statements.flat_map(|(public, tree)| expanded(&tree).into_iter().map(move |path| (public, path)))
}

/// Paths from `super` or `crate` that stand in the code itself.
fn inline(code: &str) -> impl Iterator<Item = String> {
    ["super::", "crate::"].into_iter().flat_map(|root| {
        code.match_indices(root).map(|(at, _)| {
            let path = |c: &char| c.is_alphanumeric() || *c == '_' || *c == ':';
            code[at..].chars().take_while(path).collect::<String>()
        })
    })
}

/// The file that a path leads to: as far as its parts are modules, or names that a module exports of its children.
fn leads(
    all: &BTreeMap<Module, String>,
    exports: &BTreeMap<(Module, String), Module>,
    at: &[String],
    path: &str,
) -> Module {
    let mut parts = path.split("::").map(str::trim).peekable();
    let mut place = match parts.peek() {
        Some(&"crate") => {
            parts.next();
            Module::new()
        }
        _ => at.to_vec(),
    };
    while parts.next_if_eq(&"super").is_some() {
        place.pop();
    }
    for part in parts {
        let deeper: Module = place.iter().cloned().chain([part.to_owned()]).collect();
        if all.contains_key(&deeper) {
            place = deeper;
        } else {
            return exports.get(&(place.clone(), part.to_owned())).cloned().unwrap_or(place);
        }
    }
    place
}

/// Pairs of files of one folder that import each other.
fn circles(folder: &Path) -> BTreeSet<(String, String)> {
    let mut all = BTreeMap::new();
    modules(folder, &[], &mut all);
    let mut exports = BTreeMap::new();
    for (module, code) in &all {
        for (_, path) in used(code).filter(|(public, _)| *public) {
            let path = path.trim_start_matches("self::");
            let (child, name) = (path.split("::").next().unwrap(), path.rsplit("::").next().unwrap());
            let child: Module = module.iter().cloned().chain([child.to_owned()]).collect();
            if all.contains_key(&child) {
                exports.insert((module.clone(), name.to_owned()), child);
            }
        }
    }
    let mut edges = BTreeSet::new();
    for (module, code) in &all {
        let paths =
            used(code).map(|(_, path)| path).filter(|path| path.starts_with("super") || path.starts_with("crate"));
        for path in paths.chain(inline(code)) {
            let other = leads(&all, &exports, module, &path);
            // Between the first places in which they differ: a file stands for its children too.
            let same = module.iter().zip(&other).take_while(|(a, b)| a == b).count();
            if same < module.len() && same < other.len() {
                edges.insert((module[..=same].join("::"), other[..=same].join("::")));
            }
        }
    }
    edges.iter().filter(|(a, b)| a < b && edges.contains(&(b.clone(), a.clone()))).cloned().collect()
}

#[test]
fn no_two_files_of_a_folder_import_each_other() {
    for folder in ["src", "solvers/src", "kernels/src"] {
        let found = circles(Path::new(folder));
        assert!(found.is_empty(), "in {folder} these import each other: {found:?}");
    }
}

#[test]
fn a_circle_is_found_through_groups_exports_and_children() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod f;");
    write("f/mod.rs", "mod a; mod b; mod c; mod d;\npub use b::{\n    B, Other,\n};");
    write("f/a.rs", "use super::{B, c::{self, C}};\nfn f() {}");
    write("f/b.rs", "fn g() -> u8 { super::a::f() }");
    write("f/c.rs", "mod deep;\n// use super::d::D;");
    write("f/c/deep.rs", "use crate::f::a::A;");
    write("f/d.rs", "use super::c::C;\n#[cfg(test)]\nmod tests { use super::super::a; }");
    let found = circles(folder.path());
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(found, [pair("f::a", "f::b"), pair("f::a", "f::c")].into());
}
