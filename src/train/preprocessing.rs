//! Preprocessing of the data before the net: columns are brought to the real line and standardised.
//!
//! These layers have no trained parameters. They are applied once to the rows of a table, and to each batch of a toy.

use std::sync::Arc;

use crate::Result;
use crate::model::FlowSpec;
use crate::transform::{Bijection, Mapped};

/// The layers between the architecture and the data, the architecture's side first.
pub(super) struct Preprocessing {
    layers: Vec<Arc<dyn Bijection>>,
    dim: usize,
}

impl Preprocessing {
    pub(super) fn new(spec: &FlowSpec) -> Result<Self> {
        Ok(Self { layers: spec.preprocessing()?, dim: spec.dim() })
    }

    /// Preprocessed rows `[n, d]`, and the mean over them of what a negative log-likelihood is larger in the
    /// data's units than in the net's.
    pub(super) fn inward(&self, x: Vec<f64>) -> Result<(Vec<f64>, f64)> {
        if self.layers.is_empty() || x.is_empty() {
            return Ok((x, 0.0));
        }
        let n = x.len() / self.dim;
        let mut rows = Mapped::points(x);
        let mut inside = 0.0;
        for layer in self.layers.iter().rev() {
            rows.logdet = vec![0.0; n];
            layer.inverse(&mut rows, &[])?;
            crate::transform::check_failures(&rows.cost, n)?;
            inside -= rows.logdet.iter().sum::<f64>() * (1.0 / n as f64);
        }
        Ok((rows.y, inside))
    }

    /// Preprocessed rows `[n, d]`, each with the log-determinant of its way.
    pub(super) fn rows(&self, x: Vec<f64>) -> Result<Mapped> {
        let mut rows = Mapped::new(x, self.dim);
        for layer in self.layers.iter().rev() {
            layer.inverse(&mut rows, &[])?;
        }
        Ok(rows)
    }
}
