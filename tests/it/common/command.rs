//! The command in a folder of its own, with the golden 8gaussians net.
#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cnflow::io::safetensors::{ModelFile, NamedTensor, Values};
use serde_json::Value;
use tempfile::TempDir;

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub fn cnf(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnf"));
    command.current_dir(folder).args(words.split_whitespace()).output().unwrap()
}

/// Runs what must succeed, and returns its JSON.
pub fn json(folder: &Path, words: &str) -> Value {
    let out = cnf(folder, &format!("{words} --json"));
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "`cnf {words}`: {err}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// A folder with the golden 8gaussians net as `m.safetensors` and its points as `x.npy`.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden("8gaussians/model.safetensors"), folder.path().join("w.safetensors")).unwrap();
    std::fs::copy(golden("8gaussians/x.npy"), folder.path().join("x.npy")).unwrap();
    json(folder.path(), "import w.safetensors --activation tanh -o m.safetensors");
    folder
}

pub fn bytes(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).unwrap()
}

pub fn has(facts: &Value, keys: &str) {
    for key in keys.split_whitespace() {
        assert!(facts.get(key).is_some_and(|v| !v.is_null()), "no `{key}` in {facts}");
    }
}

/// A net whose first two inputs are x, the third a condition.
pub fn conditional(at: &Path) {
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
