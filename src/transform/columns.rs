//! Columns with a range of their own, as one layer of a flow: angles, shares, positive numbers.
//!
//! x_j = f_j(y_j), column by column; log|det| is the sum of the ln|f_j′|. A row outside the support has density 0: its
//! log-determinant is −∞, so that log p is −∞, and the row is listed in [`Cost::outside`]. An error would make a
//! density on a grid, or of data with one such row, impossible.

use super::bijection::check_rows;
use super::{Bijection, Column, Cost, Mapped};
use crate::{Error, Result};

/// One [`Column`] for each of the d columns; y is the real-line side, x the data's.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    columns: Vec<Column>,
}

impl Columns {
    /// The layer of these columns, of which there is at least one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for none, and as [`Column::validate`].
    pub fn new(columns: Vec<Column>) -> Result<Self> {
        if columns.is_empty() {
            return Err(Error::invalid("the layer has no columns", "give at least one column"));
        }
        columns.iter().try_for_each(Column::validate)?;
        Ok(Self { columns })
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }
}

impl Bijection for Columns {
    fn dim(&self) -> usize {
        self.columns.len()
    }

    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        let d = self.columns.len();
        check_rows(&rows.y, d, condition, 0)?;
        for (i, row) in rows.y.chunks_exact_mut(d).enumerate() {
            let mut logdet = 0.0;
            for (y, column) in row.iter_mut().zip(&self.columns) {
                let (x, log_slope) = column.decode(*y);
                *y = x;
                logdet += log_slope;
            }
            rows.logdet.get_mut(i).into_iter().for_each(|sum| *sum += logdet);
        }
        Ok(())
    }

    /// Rows outside the support are listed in the cost; y is NaN there, the log-determinant −∞.
    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        let d = self.columns.len();
        check_rows(&rows.y, d, condition, 0)?;
        let mut outside = Vec::new();
        for (i, row) in rows.y.chunks_exact_mut(d).enumerate() {
            let mut logdet = 0.0;
            for j in 0..d {
                let Some((y, log_slope)) = self.columns[j].encode(row[j]) else {
                    outside.push(i);
                    row.fill(f64::NAN);
                    logdet = f64::NEG_INFINITY;
                    break;
                };
                row[j] = y;
                logdet += log_slope;
            }
            rows.logdet.get_mut(i).into_iter().for_each(|sum| *sum += logdet);
        }
        rows.cost.merge(Cost { outside, ..Cost::default() });
        Ok(())
    }
}
