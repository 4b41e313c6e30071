//! Preprocessing of the data before the net: whole numbers get their noise, columns are brought to the real line and
//! standardised.
//!
//! Where a flow begins at a discrete one, its layers are the last of them; they stay as they were trained.
//!
//! These layers are applied once to the rows of a table, and to each batch of a toy.
//! Where whole numbers get noise they are applied to each batch of a table too, with other noise each time: a net would
//! learn the noise of its rows. The rows themselves stay as the file has them.

use std::sync::Arc;

use crate::Result;
use crate::model::FlowSpec;
use crate::stats::weighted_mean_and_se;
use crate::transform::bijection::own_condition;
use crate::transform::condition::Conditioned;
use crate::transform::{Bijection, Mapped};
use crate::velocity::Precision;

/// The layers between the architecture and the data, the architecture's side first.
pub(super) struct Preprocessing {
    layers: Vec<Arc<dyn Bijection>>,
    /// The layers of a discrete flow among them, at the architecture's side.
    base_flow: Option<Arc<dyn Bijection>>,
    /// The spec, where whole numbers get noise.
    dequantised: Option<FlowSpec>,
    dim: usize,
}

impl Preprocessing {
    pub(super) fn new(spec: &FlowSpec) -> Result<Self> {
        let dequantised = spec.dequantises().then(|| spec.clone());
        let base_flow = match &spec.base_flow {
            None => None,
            Some(flow) => {
                let flow: Arc<dyn Bijection> = Arc::new(flow.bind(Precision::F32)?);
                Some(match &spec.condition {
                    None => flow,
                    Some(condition) => Arc::new(Conditioned { condition: Arc::new(condition.clone()), inner: flow }),
                })
            }
        };
        let layers = base_flow.iter().cloned().chain(spec.preprocessing()?).collect();
        Ok(Self { layers, base_flow, dequantised, dim: spec.dim() })
    }

    /// Whether whole numbers get noise, another at each draw.
    pub(super) fn dequantises(&self) -> bool {
        self.dequantised.is_some()
    }

    /// Preprocessed rows `[n, d]` without conditions, and the mean over them of what a negative log-likelihood is larger in the
    /// data's units than in the net's.
    pub(super) fn inward(&self, x: Vec<f64>) -> Result<(Vec<f64>, f64)> {
        self.inward_weighted(x, &[], &[])
    }

    /// As [`Preprocessing::inward`] under these conditions, as the data have them, the mean by the weights of the rows, or
    /// with each counting alike where they are none.
    pub(super) fn inward_weighted(&self, x: Vec<f64>, condition: &[f64], weights: &[f64]) -> Result<(Vec<f64>, f64)> {
        let layers = &self.layers;
        if layers.is_empty() || x.is_empty() {
            return Ok((x, 0.0));
        }
        let n = x.len() / self.dim;
        let mut rows = Mapped::points(x);
        let mut inside = 0.0;
        for layer in layers.iter().rev() {
            rows.logdet = vec![0.0; n];
            layer.inverse(&mut rows, own_condition(&**layer, condition))?;
            crate::transform::check_failures(&rows.cost, n)?;
            inside -= match weights {
                [] => rows.logdet.iter().sum::<f64>() * (1.0 / n as f64),
                weights => weighted_mean_and_se(&rows.logdet, weights).0,
            };
        }
        Ok((rows.y, inside))
    }

    /// Preprocessed rows `[n, d]` under these conditions, as the data have them, each with the log-determinant of its way.
    pub(super) fn rows(&self, x: Vec<f64>, condition: &[f64]) -> Result<Mapped> {
        let mut rows = Mapped::new(x, self.dim);
        for layer in self.layers.iter().rev() {
            layer.inverse(&mut rows, own_condition(&**layer, condition))?;
        }
        Ok(rows)
    }

    /// As [`Preprocessing::inward`] under these conditions, with the noise of a seed; the rows alone.
    pub(super) fn inward_drawn(&self, x: Vec<f64>, condition: &[f64], seed: u64) -> Result<Vec<f64>> {
        let drawn = self.dequantised.as_ref().map(|spec| spec.preprocessing_drawn(seed, 0)).transpose()?;
        let layers = match drawn {
            Some(drawn) => self.base_flow.iter().cloned().chain(drawn).collect(),
            None => self.layers.clone(),
        };
        let (n, mut rows) = (x.len() / self.dim, Mapped::points(x));
        for layer in layers.iter().rev() {
            layer.inverse(&mut rows, own_condition(&**layer, condition))?;
            crate::transform::check_failures(&rows.cost, n)?;
        }
        Ok(rows.y)
    }
}
