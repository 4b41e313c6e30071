//! Preprocessing of the data before the net: whole numbers get their noise, columns are brought to the real line and
//! standardised.
//!
//! These layers have no trained parameters. They are applied once to the rows of a table, and to each batch of a toy.
//! Where whole numbers get noise they are applied to each batch of a table too, with other noise each time: a net would
//! learn the noise of its rows. The rows themselves stay as the file has them.

use std::sync::Arc;

use crate::Result;
use crate::model::FlowSpec;
use crate::stats::weighted_mean_and_se;
use crate::transform::{Bijection, Mapped};

/// The layers between the architecture and the data, the architecture's side first.
pub(super) struct Preprocessing {
    layers: Vec<Arc<dyn Bijection>>,
    /// The spec, where whole numbers get noise.
    dequantised: Option<FlowSpec>,
    dim: usize,
}

impl Preprocessing {
    pub(super) fn new(spec: &FlowSpec) -> Result<Self> {
        let dequantised = spec.dequantises().then(|| spec.clone());
        Ok(Self { layers: spec.preprocessing()?, dequantised, dim: spec.dim() })
    }

    /// Whether whole numbers get noise, another at each draw.
    pub(super) fn dequantises(&self) -> bool {
        self.dequantised.is_some()
    }

    /// Preprocessed rows `[n, d]`, and the mean over them of what a negative log-likelihood is larger in the
    /// data's units than in the net's.
    pub(super) fn inward(&self, x: Vec<f64>) -> Result<(Vec<f64>, f64)> {
        self.inward_weighted(x, &[])
    }

    /// As [`Preprocessing::inward`], the mean by the weights of the rows, or with each counting alike where they are none.
    pub(super) fn inward_weighted(&self, x: Vec<f64>, weights: &[f64]) -> Result<(Vec<f64>, f64)> {
        let layers = &self.layers;
        if layers.is_empty() || x.is_empty() {
            return Ok((x, 0.0));
        }
        let n = x.len() / self.dim;
        let mut rows = Mapped::points(x);
        let mut inside = 0.0;
        for layer in layers.iter().rev() {
            rows.logdet = vec![0.0; n];
            layer.inverse(&mut rows, &[])?;
            crate::transform::check_failures(&rows.cost, n)?;
            inside -= match weights {
                [] => rows.logdet.iter().sum::<f64>() * (1.0 / n as f64),
                weights => weighted_mean_and_se(&rows.logdet, weights).0,
            };
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

    /// As [`Preprocessing::inward`], with the noise of a seed; the rows alone.
    pub(super) fn inward_drawn(&self, x: Vec<f64>, seed: u64) -> Result<Vec<f64>> {
        let layers = self.dequantised.as_ref().map(|spec| spec.preprocessing_drawn(seed, 0)).transpose()?;
        let (n, mut rows) = (x.len() / self.dim, Mapped::points(x));
        for layer in layers.as_ref().unwrap_or(&self.layers).iter().rev() {
            layer.inverse(&mut rows, &[])?;
            crate::transform::check_failures(&rows.cost, n)?;
        }
        Ok(rows.y)
    }
}
