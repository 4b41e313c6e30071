//! The identity: the architecture of a model whose base is the whole distribution.

use super::bijection::check_rows;
use super::{Bijection, Mapped};
use crate::Result;

/// x = z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    dim: usize,
}

impl Identity {
    /// In `dim` dimensions.
    pub fn new(dim: usize) -> Self {
        Self { dim }
    }
}

impl Bijection for Identity {
    fn dim(&self) -> usize {
        self.dim
    }

    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        check_rows(&rows.y, self.dim, condition, 0).map(drop)
    }

    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        self.forward(rows, condition)
    }
}
