//! The weights of a PyTorch `nn.Sequential` or a torchcfm MLP, from a state dict.
//!
//! Keys are `<prefix><N>.weight` and `<prefix><N>.bias`: N counts the modules, activations too, so it
//! grows with gaps; the prefix (`net.`, `model.`, nothing) is the same for all. Input columns are in
//! torchcfm's order: x, the condition, t. Beside them there may be a standardisation, [`STANDARDISE`].

use std::collections::BTreeMap;
use std::path::Path;

use super::safetensors::{ModelFile, NamedTensor};
use crate::{Error, Result};

const HINT: &str =
    "save an nn.Sequential of Linear layers, whose keys are `net.0.weight`, `net.0.bias`, `net.2.weight`, …";

/// The tensors that `cnf export` lays beside the layers: means and deviations of the data's columns, `[d]`.
pub const STANDARDISE: [&str; 2] = ["standardise.mean", "standardise.std"];

/// The entry of the metadata where `cnf export` writes the names of the data's columns, as a JSON list.
pub const COLUMNS: &str = "columns";

/// One linear layer y = W x + b.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// W, `[outputs, inputs]`, row-major.
    pub weight: Vec<f32>,
    /// b, `[outputs]`.
    pub bias: Vec<f32>,
}

/// Linear layers, with one activation between each and the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequential {
    /// From the input to the output.
    pub layers: Vec<Linear>,
    /// The widths: inputs, hidden…, outputs; one more than there are layers.
    pub sizes: Vec<usize>,
}

impl Sequential {
    /// θ: layer by layer, its weight row-major, then its bias.
    pub fn theta(&self) -> Vec<f32> {
        self.layers.iter().flat_map(|l| l.weight.iter().chain(&l.bias)).copied().collect()
    }
}

/// Reads the layers from a `.safetensors` file.
///
/// # Errors
/// [`Error::Read`] where keys are missing or foreign, or shapes do not chain; they are named.
pub fn read_sequential(path: &Path) -> Result<Sequential> {
    sequential(path, &ModelFile::read(path)?)
}

/// The layers among the tensors of a file; `path` is only for the messages.
///
/// # Errors
/// As [`read_sequential`].
pub fn sequential(path: &Path, file: &ModelFile) -> Result<Sequential> {
    let refuse = |problem: String| Error::read(path, problem, HINT);
    let mut found: BTreeMap<u64, Pair<'_>> = BTreeMap::new();
    let mut prefix: Option<&str> = None;
    let mut foreign = Vec::new();
    for tensor in file.tensors.iter().filter(|tensor| !STANDARDISE.contains(&tensor.name.as_str())) {
        let name = tensor.name.as_str();
        match take_apart(name) {
            Some((head, number, part)) if *prefix.get_or_insert(head) == head => {
                let pair = found.entry(number).or_default();
                let slot = if part == "weight" { &mut pair.weight } else { &mut pair.bias };
                if slot.replace(tensor).is_some() {
                    return Err(refuse(format!("`{name}` comes twice under different spellings")));
                }
            }
            _ => foreign.push(name),
        }
    }
    if !foreign.is_empty() {
        let more = if foreign.len() > 6 { format!(" and {} more", foreign.len() - 6) } else { String::new() };
        let listed = foreign.iter().take(6).map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
        let beside = prefix.map_or(String::new(), |p| format!(" beside `{p}N.weight`"));
        return Err(refuse(format!("its keys {listed}{more} are not layers of one nn.Sequential{beside}")));
    }
    let prefix = prefix.ok_or_else(|| refuse("it holds no tensors".into()))?;
    let mut layers = Vec::new();
    let mut sizes: Vec<usize> = Vec::new();
    for (number, pair) in &found {
        let missing = |part: &str| refuse(format!("`{prefix}{number}.{part}` is missing"));
        let weight = pair.weight.ok_or_else(|| missing("weight"))?;
        let bias = pair.bias.ok_or_else(|| missing("bias"))?;
        let [outputs, inputs] = weight.shape[..] else {
            let (name, shape) = (&weight.name, &weight.shape);
            return Err(refuse(format!("`{name}` has the shape {shape:?}, expected [outputs, inputs]")));
        };
        if outputs == 0 || inputs == 0 {
            return Err(refuse(format!("`{}` is empty: its shape is [{outputs}, {inputs}]", weight.name)));
        }
        if bias.shape != [outputs] {
            let (name, shape) = (&bias.name, &bias.shape);
            return Err(refuse(format!("`{name}` has the shape {shape:?}, expected [{outputs}] as its weight has")));
        }
        match sizes.last() {
            None => sizes.push(inputs),
            Some(&before) if before != inputs => {
                let name = &weight.name;
                return Err(refuse(format!(
                    "`{name}` has {inputs} inputs, expected {before}: the outputs of the layer before"
                )));
            }
            Some(_) => {}
        }
        sizes.push(outputs);
        layers.push(Linear { weight: weight.values.to_f32().into_owned(), bias: bias.values.to_f32().into_owned() });
    }
    Ok(Sequential { layers, sizes })
}

/// The means and the deviations of the columns, where the file has both; `path` is only for the messages.
///
/// # Errors
/// [`Error::Read`] where only one is there, or they are not two vectors `[dim]`.
pub fn standardisation(path: &Path, file: &ModelFile, dim: usize) -> Result<Option<(Vec<f64>, Vec<f64>)>> {
    let numbers = |name: &str| match file.tensor(name) {
        Some(tensor) if tensor.shape == [dim] => Ok(tensor.values.to_f64().into_owned()),
        Some(tensor) => Err(format!("`{name}` has the shape {:?}, expected [{dim}]", tensor.shape)),
        None => Err(format!("`{name}` is missing")),
    };
    if STANDARDISE.iter().all(|name| file.tensor(name).is_none()) {
        return Ok(None);
    }
    let [mean, std] = STANDARDISE.map(numbers);
    let hint = "give both tensors, one number a column, or neither";
    let both = mean.and_then(|mean| std.map(|std| (mean, std)));
    both.map(Some).map_err(|problem| Error::read(path, problem, hint))
}

/// The names of the data's `dim` columns, where the file has them, else none; `path` is only for the messages.
///
/// # Errors
/// [`Error::Read`] for another number of names.
pub fn columns(path: &Path, file: &ModelFile, dim: usize) -> Result<Vec<String>> {
    let text = file.metadata.get(COLUMNS);
    // Another program may mean something else by this entry.
    let names = text.and_then(|text| serde_json::from_str::<Vec<String>>(text).ok()).unwrap_or_default();
    if names.is_empty() || names.len() == dim {
        return Ok(names);
    }
    let problem = format!("its metadata name {}, expected {dim}", crate::words::count(names.len() as u64, "column"));
    Err(Error::read(path, problem, "give one name a column, or none"))
}

/// The two tensors of a layer.
#[derive(Default)]
struct Pair<'a> {
    weight: Option<&'a NamedTensor>,
    bias: Option<&'a NamedTensor>,
}

/// `net.0.weight` → (`net.`, 0, `weight`).
fn take_apart(name: &str) -> Option<(&str, u64, &str)> {
    let (stem, part) = name.rsplit_once('.')?;
    let head = stem.rfind('.').map_or("", |at| &stem[..=at]);
    let number = stem[head.len()..].parse().ok()?;
    matches!(part, "weight" | "bias").then_some((head, number, part))
}
