//! The exact map between a standard normal and a mixture of Gaussians, column by column.
//!
//! z_j = Φ⁻¹(F_j(x_j | x_1 … x_{j−1})). Given the columns before, a Gaussian mixture is a mixture in one dimension:
//! with u_k = L_k⁻¹ (x − m_k) so far, component k has mean m_kj + Σ_{i<j} L_kji u_ki, deviation L_kjj and weight w_k
//! Π_{i<j} φ(u_ki)/L_kii. The Jacobian is triangular; log|det ∂x/∂z| = log N(z) − log p(x) needs no derivative of F.
//! Ref: Rosenblatt (1952).
//!
//! Both tails are summed and the smaller one is used, as a logarithm where it is small: z stays finite and invertible
//! however far out x is. Drawing the component first and then its normal would need no inverse, but no z belongs to an
//! x.

mod conditional;

use rayon::prelude::*;

use super::bijection::check_rows;
use super::normal::log_pdf;
use super::{Bijection, Mapped, Mixture};
use crate::Result;
use conditional::Conditional;

/// Rows that one task takes: results do not depend on it.
const CHUNK: usize = 32;

/// The most knots of the first column.
const KNOTS: usize = 256;

/// From z ~ N(0, I) to a mixture.
#[derive(Clone, Debug, PartialEq)]
pub struct Rosenblatt {
    mixture: Mixture,
    /// (x, z) of the first column, rising: it is the same equation for every row, and the one with the most components.
    knots: Vec<(f64, f64)>,
}

impl Rosenblatt {
    /// Onto this mixture.
    pub fn new(mixture: Mixture) -> Self {
        let d = mixture.dim();
        let mut x: Vec<f64> = mixture.means().iter().step_by(d).copied().collect();
        x.sort_by(f64::total_cmp);
        let every = x.len().div_ceil(KNOTS);
        let mut conditional = Conditional::new(&mixture);
        conditional.reset();
        conditional.column(0);
        let knots = x.into_iter().step_by(every).map(|x| (x, conditional.z_of(x))).collect();
        Self { mixture, knots }
    }

    /// Applies a map of single rows; it gives log|det|. A row that is not finite, or becomes so, is NaN.
    fn map(&self, rows: &mut Mapped, row: impl Fn(&mut Conditional<'_>, &mut [f64]) -> f64 + Sync) -> Result<()> {
        let d = self.mixture.dim();
        let parts: Vec<Vec<f64>> = rows
            .y
            .par_chunks_mut(CHUNK * d)
            .map(|rows| {
                let mut conditional = Conditional::new(&self.mixture);
                let one = |values: &mut [f64]| {
                    let finite = |values: &[f64]| values.iter().all(|v| v.is_finite());
                    let logdet = if finite(values) { row(&mut conditional, values) } else { f64::NAN };
                    if finite(values) && logdet.is_finite() {
                        return logdet;
                    }
                    values.fill(f64::NAN);
                    f64::NAN
                };
                rows.chunks_exact_mut(d).map(one).collect()
            })
            .collect();
        rows.add_logdet(parts.into_iter().flatten());
        Ok(())
    }
}

impl Bijection for Rosenblatt {
    fn dim(&self) -> usize {
        self.mixture.dim()
    }

    /// One equation a column, solved by Newton's method between bounds that are known beforehand.
    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        check_rows(&rows.y, self.dim(), condition, 0)?;
        self.map(rows, |conditional, row| {
            conditional.reset();
            let mut log_normal = 0.0;
            for (j, value) in row.iter_mut().enumerate() {
                let z = *value;
                log_normal += log_pdf(z);
                conditional.column(j);
                *value = conditional.x_of(z, if j == 0 { &self.knots } else { &[] });
                conditional.condition(j, *value);
            }
            log_normal - conditional.log_prob()
        })
    }

    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        check_rows(&rows.y, self.dim(), condition, 0)?;
        self.map(rows, |conditional, row| {
            conditional.reset();
            let mut log_normal = 0.0;
            for (j, value) in row.iter_mut().enumerate() {
                let x = *value;
                conditional.column(j);
                *value = conditional.z_of(x);
                log_normal += log_pdf(*value);
                conditional.condition(j, x);
            }
            conditional.log_prob() - log_normal
        })
    }
}
