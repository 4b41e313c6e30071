//! Rows whose parts of a whole sum to its total by rounding alone: counted while the rows pass.

use crate::Result;
use crate::model::Model;
use crate::transform::{ClassTable, Closing, Simplexes};

/// How the parts of rows sum up.
#[derive(Clone, Debug, Default)]
pub struct Closed {
    parts: Option<Simplexes>,
    classes: Option<ClassTable>,
    dim: usize,
    seen: Closing,
}

impl Closed {
    /// For the rows of this model; one without simplexes has nothing to count.
    ///
    /// # Errors
    /// As [`FlowSpec::parts`](crate::model::FlowSpec::parts).
    pub fn of(model: &Model) -> Result<Self> {
        let (parts, classes) = (model.spec.parts()?, model.spec.classes.clone());
        Ok(Self { parts, classes, dim: model.dim(), seen: Closing::default() })
    }

    /// Rows of the data, `[n, d]`, that come after `first` others.
    pub fn see(&mut self, first: u64, x: &[f64]) {
        let Some(parts) = &self.parts else { return };
        match &self.classes {
            None => self.seen.see(parts, first, x),
            Some(table) => self.seen.see(parts, first, &table.cut(x, self.dim).0),
        }
    }

    /// How many rows were scaled to the total of their parts, in a sentence; nothing where none were.
    pub fn words(&self) -> Option<String> {
        self.seen.words()
    }
}
