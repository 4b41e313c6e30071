//! What is done to the data before the net sees them: columns are brought to the real line and standardised.
//!
//! These layers have nothing to learn. They are applied once to the rows of a table, and to each batch of a toy.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::flow::{Bijection, FlowSpec};

/// The layers between the core and the data, the core's side first.
pub(super) struct Preprocessing {
    layers: Vec<Box<dyn Bijection>>,
    dim: usize,
}

impl Preprocessing {
    pub(super) fn new(spec: &FlowSpec) -> Result<Self> {
        Ok(Self { layers: spec.frame()?, dim: spec.dim() })
    }

    /// Rows `[n, d]` as the net sees them, and the mean over them of what a negative log-likelihood is larger in the
    /// data's units than in the net's.
    pub(super) fn inward(&self, x: Vec<f64>) -> Result<(Vec<f64>, f64)> {
        if self.layers.is_empty() || x.is_empty() {
            return Ok((x, 0.0));
        }
        let n = x.len() / self.dim;
        let mut y = Tensor::from_vec(x, (n, self.dim), &Device::Cpu)?;
        let mut inside = 0.0;
        for layer in self.layers.iter().rev() {
            let mapped = layer.inverse(&y, None)?;
            crate::flow::check_failures(&mapped.cost, n)?;
            inside -= mapped.logdet.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
            y = mapped.y;
        }
        Ok((y.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?, inside))
    }
}
