//! Columns with a range of their own, as one layer of a flow: angles, shares, positive numbers.
//!
//! x_j = f_j(y_j), column by column; log|det| is the sum of the ln|f_j′|. A row outside the support has density 0: its
//! log-determinant is −∞, so that log p is what it should be, and the row is listed in [`Cost::outside`], so that
//! nobody is surprised. An error would make a density on a grid, or of data with one strange row, impossible.

use candle_core::{DType, Device, Tensor};

use super::{Bijection, Column, Cost, Mapped, check_rows};
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
            return Err(Error::invalid("a layer of no columns", "give one kind a column"));
        }
        columns.iter().try_for_each(Column::validate)?;
        Ok(Self { columns })
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Takes rows `[n, d]` to the real line in place: the inverse, for plain numbers. Gives ln|det ∂y/∂x| of each row.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the row, the column and the number where a row is outside the support.
    pub fn straighten(&self, x: &mut [f64]) -> Result<Vec<f64>> {
        let d = self.columns.len();
        let mut logdet = vec![0.0; x.len() / d];
        for (i, row) in x.chunks_exact_mut(d).enumerate() {
            for (j, (x, column)) in row.iter_mut().zip(&self.columns).enumerate() {
                let Some((y, log_slope)) = column.encode(*x) else {
                    let problem = format!(
                        "row {i} has {} in column {j}, which is {} (counted from 0)",
                        crate::words::exact(*x),
                        column.kind()
                    );
                    return Err(Error::invalid(problem, "leave such rows out, or name the column differently"));
                };
                *x = y;
                logdet[i] += log_slope;
            }
        }
        Ok(logdet)
    }

    fn map(&self, from: &Tensor, mut apply: impl FnMut(usize, &mut [f64]) -> f64) -> Result<Mapped> {
        let d = self.columns.len();
        let n = check_rows(from, d, None, 0)?;
        let mut rows = from.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let logdet: Vec<f64> = rows.chunks_exact_mut(d).enumerate().map(|(i, row)| apply(i, row)).collect();
        let y = Tensor::from_vec(rows, (n, d), &Device::Cpu)?.to_dtype(from.dtype())?;
        let logdet = Tensor::from_vec(logdet, n, &Device::Cpu)?.to_dtype(from.dtype())?;
        Ok(Mapped { y, logdet, cost: Cost::default() })
    }
}

impl Bijection for Columns {
    fn dim(&self) -> usize {
        self.columns.len()
    }

    fn forward(&self, y: &Tensor, _condition: Option<&Tensor>) -> Result<Mapped> {
        self.map(y, |_, row| {
            let mut logdet = 0.0;
            for (y, column) in row.iter_mut().zip(&self.columns) {
                let (x, log_slope) = column.decode(*y);
                *y = x;
                logdet += log_slope;
            }
            logdet
        })
    }

    /// Rows outside the support are listed in the cost; y is NaN there, the log-determinant −∞.
    fn inverse(&self, x: &Tensor, _condition: Option<&Tensor>) -> Result<Mapped> {
        let mut outside = Vec::new();
        let mut mapped = self.map(x, |i, row| {
            let mut logdet = 0.0;
            for j in 0..row.len() {
                let Some((y, log_slope)) = self.columns[j].encode(row[j]) else {
                    outside.push(i);
                    row.fill(f64::NAN);
                    return f64::NEG_INFINITY;
                };
                row[j] = y;
                logdet += log_slope;
            }
            logdet
        })?;
        mapped.cost.outside = outside;
        Ok(mapped)
    }
}
