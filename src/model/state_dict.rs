//! A model of images as a state dict of PyTorch, and back.
//!
//! The tensors have the names of the model file: `embedding.{layer}` for the dense layers of time and condition,
//! `ops.{index}` for the operations of the net. The weight of a convolution is `[out, in, ky, kx]` as PyTorch has it;
//! a model file has `[out, ky, kx, in]`, with the channels last as in its images. Everything else that the model is made
//! of (operations, Gaussian, levels of pixels, conditions, solver) is the description of the model file, unchanged, in
//! the metadata under [`DESCRIPTION`]. So a state dict with its metadata is a whole model, to the bit; without them it
//! is the weights of a net that the reader has to know.

use std::borrow::Cow;
use std::path::Path;

use super::Model;
use super::file::{self, KEY};
use crate::io::safetensors::{ModelFile, NamedTensor, Values};
use crate::io::torch::STANDARDISE;
use crate::velocity::VelocitySpec;
use crate::{Error, Result};

/// The entry of the metadata that has the description of the flow.
pub const DESCRIPTION: &str = "flow";

const HINT: &str = "save the state dict of a module with the names and shapes that `cnf export` writes";

impl Model {
    /// The model as a state dict; `path` is only for the messages.
    ///
    /// # Errors
    /// [`Error::Parameters`] where θ does not fit the spec; [`Error::Write`] for a provenance that JSON cannot hold.
    pub fn to_state_dict(&self, path: &Path) -> Result<ModelFile> {
        let mut file = self.to_file(path)?;
        file.tensors.iter_mut().for_each(|tensor| *tensor = permuted(tensor, [0, 3, 1, 2]));
        let description = file.metadata.remove(KEY).unwrap_or_default();
        file.metadata.insert(DESCRIPTION.to_owned(), description);
        // As PyTorch's own files have it.
        file.metadata.insert("format".to_owned(), "pt".to_owned());
        Ok(file)
    }

    /// The model of a state dict that has its description; `path` is only for the messages.
    ///
    /// # Errors
    /// [`Error::Read`] where the description is missing or broken, and where the tensors do not fit it.
    pub fn of_state_dict(path: &Path, file: &ModelFile) -> Result<Self> {
        let text = file.metadata.get(DESCRIPTION).ok_or_else(|| {
            let hint = "keep the metadata of the exported file: save_file(net.state_dict(), FILE, metadata)";
            Error::read(path, "its metadata have no description of a flow", hint)
        })?;
        let names = file::described(path, text)?.architecture.tensor_names();
        let tensors = in_order(path, file, &names, true)?;
        Self::of_file(path, &ModelFile { tensors, metadata: [(KEY.to_owned(), text.clone())].into() })
    }
}

/// θ of a velocity from a state dict without a description; beside its tensors may be [`STANDARDISE`]. `path` is only
/// for the messages.
///
/// # Errors
/// [`Error::Read`] where a tensor is missing, foreign or of another shape.
pub fn theta(path: &Path, file: &ModelFile, velocity: &VelocitySpec) -> Result<Vec<f32>> {
    let names = velocity.tensor_names();
    let tensors = in_order(path, file, &names, false)?;
    Ok(tensors.iter().take(names.len()).flat_map(|tensor| tensor.values.to_f32().into_owned()).collect())
}

/// The tensors of these names and shapes, in their order and that of a model file; then the others, which are none but
/// the standardisation where nothing else is `described`.
fn in_order(
    path: &Path,
    file: &ModelFile,
    names: &[(String, Vec<usize>)],
    described: bool,
) -> Result<Vec<NamedTensor>> {
    let refuse = |problem: String| Error::read(path, problem, HINT);
    let prefix = prefix(file, names);
    let mut found = Vec::with_capacity(file.tensors.len());
    for (name, shape) in names {
        let expected = outward(shape);
        let full = format!("{prefix}{name}");
        let Some(tensor) = file.tensor(&full) else {
            return Err(refuse(format!("`{full}` {expected:?} is missing: it holds {}", held(file))));
        };
        if tensor.shape != *expected {
            let axes = if expected.len() == 4 { ", which are [out, in, ky, kx]" } else { "" };
            return Err(refuse(format!("`{full}` has the shape {:?}, expected {expected:?}{axes}", tensor.shape)));
        }
        found.push(NamedTensor { name: name.clone(), ..permuted(tensor, [0, 2, 3, 1]) });
    }
    let is_net = |tensor: &NamedTensor| {
        tensor.name.strip_prefix(&prefix).is_some_and(|name| names.iter().any(|(known, _)| known == name))
    };
    for other in file.tensors.iter().filter(|tensor| !is_net(tensor)) {
        if !described && !STANDARDISE.contains(&other.name.as_str()) {
            return Err(refuse(format!("its tensor `{}` is not part of the net", other.name)));
        }
        found.push(other.clone());
    }
    Ok(found)
}

/// What stands before all names: `model.` of a module within another, `_orig_mod.` of a compiled one.
fn prefix(file: &ModelFile, names: &[(String, Vec<usize>)]) -> String {
    let first = names.first().map_or("", |(name, _)| name.as_str());
    let before = |tensor: &NamedTensor| {
        let head = tensor.name.strip_suffix(first)?;
        (head.is_empty() || head.ends_with('.')).then(|| head.to_owned())
    };
    file.tensors.iter().find_map(before).unwrap_or_default()
}

/// The first names of a file.
fn held(file: &ModelFile) -> String {
    const SHOWN: usize = 4;
    let names = file.tensors.iter().take(SHOWN).map(|tensor| format!("`{}`", tensor.name)).collect::<Vec<_>>();
    match file.tensors.len() {
        0 => "no tensors".into(),
        n if n > SHOWN => format!("{} and {} more", names.join(", "), n - SHOWN),
        _ => names.join(", "),
    }
}

/// The shape of a tensor of a model file, in PyTorch's order.
fn outward(shape: &[usize]) -> Cow<'_, [usize]> {
    match *shape {
        [out, ky, kx, inputs] => Cow::Owned(vec![out, inputs, ky, kx]),
        _ => Cow::Borrowed(shape),
    }
}

/// A tensor of four axes with its axes in another order, `axes[i]` as axis i; any other as it is.
fn permuted(tensor: &NamedTensor, axes: [usize; 4]) -> NamedTensor {
    let &[a, b, c, d] = &tensor.shape[..] else { return tensor.clone() };
    let strides = [b * c * d, c * d, d, 1];
    let shape = axes.map(|axis| tensor.shape[axis]);
    let [s0, s1, s2, s3] = axes.map(|axis| strides[axis]);
    let mut places = Vec::with_capacity(a * b * c * d);
    for i in 0..shape[0] {
        for j in 0..shape[1] {
            for k in 0..shape[2] {
                places.extend((0..shape[3]).map(|l| i * s0 + j * s1 + k * s2 + l * s3));
            }
        }
    }
    let values = match &tensor.values {
        Values::F32(v) => Values::F32(places.iter().map(|at| v[*at]).collect()),
        Values::F64(v) => Values::F64(places.iter().map(|at| v[*at]).collect()),
    };
    NamedTensor { name: tensor.name.clone(), shape: shape.to_vec(), values }
}
