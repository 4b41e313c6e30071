//! A grid of panels: which cells, in how many columns, how wide each, under what headings.

use super::legend::Heading;
use super::panel::Panel;
use crate::error::{Error, Result};

/// Cells in rows of as many columns, row after row; a cell may be empty.
pub(super) struct PanelGrid {
    pub cells: Vec<Option<Panel>>,
    pub columns: usize,
    /// Between the panels, in ems.
    pub gap: f64,
    /// The share of the width that each column gets.
    pub weights: Vec<f64>,
    /// Height over width where the axes are not equal and the page sets no height.
    pub shape: f64,
    /// Above the columns; none, or one each.
    pub headings: Vec<Heading>,
}

impl PanelGrid {
    /// Columns of equal width. The last row is filled up, so that rows and columns are all whole.
    pub fn new(mut cells: Vec<Option<Panel>>, columns: usize, gap: f64) -> Self {
        cells.resize(cells.len().next_multiple_of(columns.max(1)), None);
        let shape = if cells.len() == 1 { 0.68 } else { 0.8 };
        Self { cells, columns, gap, weights: vec![1.0; columns], shape, headings: Vec::new() }
    }

    /// Panels in rows.
    pub fn of(panels: &[Panel], columns: usize) -> Self {
        Self::new(panels.iter().cloned().map(Some).collect(), columns.min(panels.len()), 1.6)
    }

    /// The columns' shares of the width, one each.
    pub fn weighted(mut self, weights: &[f64]) -> Self {
        debug_assert_eq!(weights.len(), self.columns);
        self.weights = weights.to_vec();
        self
    }

    /// What is wrong with it.
    pub fn check(&self) -> Result<()> {
        if self.columns == 0 || self.cells.iter().all(Option::is_none) {
            return Err(Error::invalid("a picture without panels cannot be drawn", ""));
        }
        self.cells.iter().flatten().try_for_each(Panel::check)
    }

    /// The share of the width of cell `k`, all columns together having 1.
    pub fn share(&self, k: usize) -> f64 {
        self.weights[k % self.columns] / self.weights.iter().sum::<f64>()
    }
}
