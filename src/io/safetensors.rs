//! Named tensors and text beside them in one file: the container of models.
//!
//! Format: eight bytes of length, a JSON header, the numbers (Hugging Face, safetensors 0.8). The
//! header is written in a fixed order here, because the crate takes the metadata from a hash map
//! and would give the same model other bytes on each run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use ::safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use super::{read_bytes, write_atomically};
use crate::{Error, Result};

const HINT: &str = "use a .safetensors file: a model of `cnf`, or weights saved by safetensors.torch.save_file";

/// The numbers of a tensor, row-major, in the precision of the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
}

impl Values {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In `f64`, exactly.
    pub fn to_f64(&self) -> Cow<'_, [f64]> {
        match self {
            Self::F32(v) => v.iter().map(|&x| x.into()).collect(),
            Self::F64(v) => v.into(),
        }
    }

    /// In `f32`, rounded where the file holds more.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        match self {
            Self::F32(v) => v.into(),
            Self::F64(v) => v.iter().map(|&x| x as f32).collect(),
        }
    }
}

/// One tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its name, as PyTorch's state dict has it: `net.0.weight`.
    pub name: String,
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// The numbers, as many as the product of the shape.
    pub values: Values,
}

/// A file of tensors and metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelFile {
    /// In the order of the file.
    pub tensors: Vec<NamedTensor>,
    /// Text under names.
    pub metadata: BTreeMap<String, String>,
}

impl ModelFile {
    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<&NamedTensor> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Read`] where it is missing, truncated, foreign, or holds anything but f32 and f64
    /// that are finite.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &read_bytes(path)?)
    }

    /// Parses a file held in memory; `path` is only for the messages.
    ///
    /// # Errors
    /// As [`ModelFile::read`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        check_lengths(path, bytes)?;
        let foreign = |e| Error::read(path, format!("its header is not valid ({e})"), HINT);
        let file = SafeTensors::deserialize(bytes).map_err(foreign)?;
        let (_, about) = SafeTensors::read_metadata(bytes).map_err(foreign)?;
        let metadata = about.metadata().clone().unwrap_or_default().into_iter().collect();
        let mut tensors = Vec::new();
        for name in about.offset_keys() {
            let view = file.tensor(&name).map_err(foreign)?;
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => Values::F32(words(data, f32::from_le_bytes)),
                Dtype::F64 => Values::F64(words(data, f64::from_le_bytes)),
                other => {
                    let problem = format!("its tensor `{name}` has the type {other}, expected F32 or F64");
                    return Err(Error::read(path, problem, "save it with `.float()` first"));
                }
            };
            let bad = match &values {
                Values::F32(v) => v.iter().filter(|x| !x.is_finite()).count(),
                Values::F64(v) => v.iter().filter(|x| !x.is_finite()).count(),
            };
            if bad > 0 {
                let problem = format!("{bad} of the {} numbers of its tensor `{name}` are not finite", values.len());
                return Err(Error::read(
                    path,
                    problem,
                    "train it again with a smaller learning rate: its training has diverged",
                ));
            }
            tensors.push(NamedTensor { name, shape: view.shape().to_vec(), values });
        }
        Ok(Self { tensors, metadata })
    }

    /// Writes a file, whole or not at all; the same content gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Write`] where the disk refuses; [`Error::Invalid`] where a shape does not fit its
    /// numbers or a name comes twice.
    pub fn write(&self, path: &Path) -> Result<()> {
        let header = self.header()?;
        write_atomically(path, |out| self.put(&header, out))
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Error::Invalid`] as [`ModelFile::write`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let (header, mut out) = (self.header()?, Vec::new());
        self.put(&header, &mut out).map_err(|e| Error::invalid(format!("the model cannot be written: {e}"), ""))?;
        Ok(out)
    }

    fn put(&self, header: &str, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for tensor in self.ordered() {
            match &tensor.values {
                Values::F32(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))?,
                Values::F64(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))?,
            }
        }
        Ok(())
    }

    /// The tensors of f64 first, so that every tensor is aligned.
    fn ordered(&self) -> impl Iterator<Item = &NamedTensor> {
        let f64s = |t: &&NamedTensor| matches!(t.values, Values::F64(_));
        self.tensors.iter().filter(f64s).chain(self.tensors.iter().filter(move |t| !f64s(t)))
    }

    fn header(&self) -> Result<String> {
        let mut header = Map::new();
        if !self.metadata.is_empty() {
            header.insert("__metadata__".into(), json!(self.metadata));
        }
        let mut offset = 0;
        for tensor in self.ordered() {
            let (dtype, size) = match tensor.values {
                Values::F32(_) => ("F32", 4),
                Values::F64(_) => ("F64", 8),
            };
            if tensor.shape.iter().product::<usize>() != tensor.values.len() {
                let (name, shape, n) = (&tensor.name, &tensor.shape, tensor.values.len());
                return Err(Error::invalid(format!("tensor `{name}` of shape {shape:?} has {n} numbers"), ""));
            }
            let end = offset + size * tensor.values.len();
            let entry = json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end]});
            if tensor.name == "__metadata__" || header.insert(tensor.name.clone(), entry).is_some() {
                return Err(Error::invalid(format!("two tensors are called `{}`", tensor.name), ""));
            }
            offset = end;
        }
        let mut text = Value::Object(header).to_string();
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        Ok(text)
    }
}

/// What the crate does not check before it adds: that header and offsets lie inside the file.
fn check_lengths(path: &Path, bytes: &[u8]) -> Result<()> {
    let foreign = || Error::read(path, "it is not a .safetensors file", HINT);
    let cut = |missing: u64| {
        let problem = format!("it is cut short: {missing} bytes are missing at its end");
        Error::read(path, problem, "copy or save the file again")
    };
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(foreign)?;
    let length = u64::from_le_bytes(*length);
    // A text or a foreign binary gives a length beyond any header's (the format allows 100 MB).
    if length > 100_000_000 || rest.first().is_some_and(|&b| b != b'{') {
        return Err(foreign());
    }
    let Some(header) = rest.get(..length as usize) else { return Err(cut(length - rest.len() as u64)) };
    let header: Map<String, Value> = serde_json::from_slice(header).map_err(|_| foreign())?;
    let end = |entry: &Value| entry.get("data_offsets")?.get(1)?.as_u64();
    let end = header.iter().filter(|(name, _)| *name != "__metadata__").filter_map(|(_, v)| end(v)).max().unwrap_or(0);
    let held = rest.len() as u64 - length;
    if end > held { Err(cut(end - held)) } else { Ok(()) }
}

fn words<const N: usize, T>(data: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks::<N>().0.iter().map(|&word| from(word)).collect()
}
