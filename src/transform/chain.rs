//! Bijections one after another.

use std::sync::Arc;

use super::bijection::{check_rows, own_condition};
use super::{Bijection, Mapped};
use crate::{Error, Result};

/// The composition of layers, the latent's side first.
#[derive(Clone)]
pub struct Chain {
    layers: Vec<Arc<dyn Bijection>>,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain({} layers, d = {})", self.layers.len(), self.dim())
    }
}

impl Chain {
    /// The composition of `layers`, of which there is at least one.
    ///
    /// # Errors
    /// [`Error::Dimension`] where two layers differ in dimension; [`Error::Invalid`] without any.
    pub fn new(layers: Vec<Arc<dyn Bijection>>) -> Result<Self> {
        let Some(first) = layers.first() else {
            return Err(Error::invalid("the flow has no layers", "give at least one layer"));
        };
        let expected = first.dim();
        if let Some((i, layer)) = layers.iter().enumerate().find(|(_, layer)| layer.dim() != expected) {
            return Err(Error::Dimension { what: format!("layer {i}"), expected, found: layer.dim() });
        }
        Ok(Self { layers })
    }

    /// The layers, the latent's side first.
    pub fn layers(&self) -> &[Arc<dyn Bijection>] {
        &self.layers
    }
}

/// The rows that are not finite themselves, or have a condition that is not, in order.
fn not_finite(y: &[f64], dim: usize, condition: &[f64], condition_dim: usize) -> Vec<usize> {
    let finite = |numbers: &[f64], width: usize, row: usize| {
        numbers[row * width..(row + 1) * width].iter().all(|v| v.is_finite())
    };
    (0..y.len() / dim).filter(|row| !(finite(y, dim, *row) && finite(condition, condition_dim, *row))).collect()
}

impl Bijection for Chain {
    fn dim(&self) -> usize {
        self.layers[0].dim()
    }

    fn condition_dim(&self) -> usize {
        self.layers.iter().map(|layer| layer.condition_dim()).max().unwrap_or(0)
    }

    fn apart(&self) -> &[usize] {
        // Classes are around all else.
        self.layers[0].apart()
    }

    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        check_rows(&rows.y, self.dim(), condition, self.condition_dim())?;
        let points = not_finite(&rows.y, self.dim(), condition, self.condition_dim());
        for layer in &self.layers {
            layer.forward(rows, own_condition(&**layer, condition))?;
        }
        rows.end(self.dim(), &points);
        Ok(())
    }

    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        check_rows(&rows.y, self.dim(), condition, self.condition_dim())?;
        let points = not_finite(&rows.y, self.dim(), condition, self.condition_dim());
        for layer in self.layers.iter().rev() {
            layer.inverse(rows, own_condition(&**layer, condition))?;
        }
        rows.end(self.dim(), &points);
        Ok(())
    }
}
