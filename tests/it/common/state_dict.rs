//! Small files of PyTorch weights.

use std::collections::BTreeMap;

use cnflow::io::safetensors::{ModelFile, NamedTensor, Values};

/// A tensor of numbers that differ.
pub fn tensor(name: &str, shape: &[usize]) -> NamedTensor {
    let values = (0..shape.iter().product::<usize>()).map(|i| i as f32 / 7.0 - 1.0).collect();
    NamedTensor { name: name.into(), shape: shape.to_vec(), values: Values::F32(values) }
}

/// A net of 3 → 4 → 2 in the file of a state dict.
pub fn state_dict(prefix: &str) -> ModelFile {
    let shapes: [(&str, &[usize]); 4] =
        [("0.weight", &[4, 3]), ("0.bias", &[4]), ("2.weight", &[2, 4]), ("2.bias", &[2])];
    let tensors = shapes.iter().map(|(name, shape)| tensor(&format!("{prefix}{name}"), shape)).collect();
    ModelFile { tensors, metadata: BTreeMap::new() }
}
