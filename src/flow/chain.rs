//! Bijections one after another.

use candle_core::Tensor;

use super::{Bijection, Mapped, check_rows};
use crate::{Error, Result};

/// The composition of layers, the latent's side first.
pub struct Chain {
    layers: Vec<Box<dyn Bijection>>,
}

impl Chain {
    /// The composition of `layers`, of which there is at least one.
    ///
    /// # Errors
    /// [`Error::Dimension`] where two layers differ in dimension; [`Error::Invalid`] without any.
    pub fn new(layers: Vec<Box<dyn Bijection>>) -> Result<Self> {
        let Some(first) = layers.first() else {
            return Err(Error::invalid("a flow without layers", "give it at least one"));
        };
        let expected = first.dim();
        if let Some((i, layer)) = layers.iter().enumerate().find(|(_, layer)| layer.dim() != expected) {
            return Err(Error::Dimension { what: format!("layer {i}"), expected, found: layer.dim() });
        }
        Ok(Self { layers })
    }

    /// The layers, the latent's side first.
    pub fn layers(&self) -> &[Box<dyn Bijection>] {
        &self.layers
    }

    fn fold<'a>(
        &'a self,
        layers: impl Iterator<Item = &'a Box<dyn Bijection>>,
        start: &Tensor,
        condition: Option<&Tensor>,
        apply: impl Fn(&dyn Bijection, &Tensor, Option<&Tensor>) -> Result<Mapped>,
    ) -> Result<Mapped> {
        check_rows(start, self.dim(), condition, self.condition_dim())?;
        let mut total: Option<Mapped> = None;
        for layer in layers {
            let from = total.as_ref().map_or(start, |mapped| &mapped.y);
            let given = condition.filter(|_| layer.condition_dim() > 0);
            let next = apply(&**layer, from, given)?;
            total = Some(match total {
                None => next,
                Some(before) => {
                    let mut cost = before.cost;
                    cost.merge(next.cost);
                    Mapped { y: next.y, logdet: before.logdet.add(&next.logdet)?, cost }
                }
            });
        }
        let Mapped { y, logdet, cost } = total.expect("a chain has at least one layer");
        Ok(Mapped { y, logdet: cost.mark_outside(logdet)?, cost })
    }
}

impl Bijection for Chain {
    fn dim(&self) -> usize {
        self.layers[0].dim()
    }

    fn condition_dim(&self) -> usize {
        self.layers.iter().map(|layer| layer.condition_dim()).max().unwrap_or(0)
    }

    fn forward(&self, z: &Tensor, condition: Option<&Tensor>) -> Result<Mapped> {
        self.fold(self.layers.iter(), z, condition, |layer, z, c| layer.forward(z, c))
    }

    fn inverse(&self, x: &Tensor, condition: Option<&Tensor>) -> Result<Mapped> {
        self.fold(self.layers.iter().rev(), x, condition, |layer, x, c| layer.inverse(x, c))
    }
}
