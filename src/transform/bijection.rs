//! The interface of all maps: rows of plain f64 numbers, in place.
//!
//! Parameters are bound when a map is made, not when it is called, so that a call with one row is cheap. A
//! log-determinant is part of the rows: for points alone, give rows without one ([`Mapped::points`]), and maps do not
//! compute it.

use super::Cost;
use crate::error::Failure;
use crate::{Error, Result};

/// Rows on their way through a bijection.
#[derive(Clone, Debug, Default)]
pub struct Mapped {
    /// `[n, d]`, row-major. A row whose trajectory did not arrive is NaN.
    pub y: Vec<f64>,
    /// ln|det ∂y/∂x| from where the rows began, `[n]`, or empty for points alone; NaN in every row that failed,
    /// −∞ in those outside the support.
    pub logdet: Vec<f64>,
    /// The cost so far.
    pub cost: Cost,
}

impl Mapped {
    /// Rows `[n, dim]` that have not moved yet, with their log-determinants.
    pub fn new(y: Vec<f64>, dim: usize) -> Self {
        let logdet = vec![0.0; y.len() / dim.max(1)];
        Self { y, logdet, cost: Cost::default() }
    }

    /// Rows that have not moved yet, without log-determinants: maps leave them out, and cost less for it.
    pub fn points(y: Vec<f64>) -> Self {
        Self { y, logdet: Vec::new(), cost: Cost::default() }
    }

    /// Whether log-determinants are computed.
    pub fn with_logdet(&self) -> bool {
        !self.logdet.is_empty()
    }

    /// logdet += `more`, a number a row; nothing for points alone.
    pub fn add_logdet(&mut self, more: impl IntoIterator<Item = f64>) {
        self.logdet.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }

    /// After the last of several maps: a row fails once, for its first reason. Those in `points` were not finite before
    /// the first map, and fail for that, unless they lie outside the support.
    pub(super) fn end(&mut self, dim: usize, points: &[usize]) {
        let Self { y, logdet, cost: Cost { failures, outside, .. } } = self;
        failures.retain(|(row, _)| points.binary_search(row).is_err());
        for row in points.iter().filter(|row| outside.binary_search(row).is_err()) {
            failures.push((*row, Failure::Point));
            y[row * dim..(row + 1) * dim].fill(f64::NAN);
            logdet.get_mut(*row).into_iter().for_each(|logdet| *logdet = f64::NAN);
        }
        failures.sort_by_key(|(row, _)| *row);
        failures.dedup_by_key(|(row, _)| *row);
        self.cost.mark_outside(&mut self.logdet);
    }
}

/// An invertible map between the latent's side and the data's, with its parameters.
///
/// `condition` is `[n, condition_dim]`, row-major; empty exactly if the map has none.
pub trait Bijection: Send + Sync {
    /// d.
    fn dim(&self) -> usize;

    /// The number of conditioning columns.
    fn condition_dim(&self) -> usize {
        0
    }

    /// The columns that the distribution of the latent does not count: they are the same on both sides.
    fn apart(&self) -> &[usize] {
        &[]
    }

    /// From the latent's side to the data's, in place: y ← f(y), logdet += ln|det ∂f/∂y|, the cost is merged.
    ///
    /// A row that fails is NaN and listed in the cost; it changes no other row.
    ///
    /// # Errors
    /// [`Error::Dimension`] and [`Error::Invalid`] for incomplete rows; the errors of the solver.
    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()>;

    /// From the data's side to the latent's, as [`Bijection::forward`].
    ///
    /// # Errors
    /// As [`Bijection::forward`].
    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()>;
}

/// The number of rows in `y`; an error for incomplete rows, or conditions that do not fit them.
pub(crate) fn check_rows<S, T>(y: &[S], dim: usize, condition: &[T], condition_dim: usize) -> Result<usize> {
    if !y.len().is_multiple_of(dim) {
        let what = "the last row of the points".into();
        return Err(Error::Dimension { what, expected: dim, found: y.len() % dim });
    }
    let n = y.len() / dim;
    if condition.len() == n * condition_dim {
        return Ok(n);
    }
    let problem = match condition.len() {
        0 => format!(
            "the model is conditional on {}, and no condition was given",
            crate::words::count(condition_dim as u64, "column")
        ),
        found => format!("{found} numbers of conditions for {n} rows of {condition_dim} columns"),
    };
    let hint =
        if condition_dim == 0 { "leave the conditions out" } else { "give one row of conditions for each point" };
    Err(Error::invalid(problem, hint))
}

/// The condition as a map takes it that is part of a conditional one: nothing where it has none of its own.
pub(crate) fn own_condition<'a>(map: &dyn Bijection, condition: &'a [f64]) -> &'a [f64] {
    if map.condition_dim() > 0 { condition } else { &[] }
}
