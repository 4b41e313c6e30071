//! A mixture of Gaussians with full covariances: a base distribution for data with structure at many scales.
//!
//! p(x) = Σₖ wₖ N(x; mₖ, Lₖ Lₖᵀ). A flow that starts from it has the mixture's likelihood with a velocity of zero; a
//! smooth velocity from one normal would have to split it into hundreds of clusters. Components are evaluated from
//! their Cholesky factors by forward substitution, sixteen rows at a time, and summed from the largest term; quadratic
//! forms expanded in x would be one matrix product, but lose the digits of narrow components far from the origin.

pub(crate) mod lanes;
pub(crate) mod marginal;
pub(crate) mod matrix;
mod score;

use rand::Rng as _;
use rand_distr::StandardNormal as Draw;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::normal::HALF_LN_TAU;
use crate::{Error, Result, Rng};
use lanes::{Block, LANES};

/// Rows that one task takes: results do not depend on it.
const CHUNK: usize = 8 * LANES;

/// Weights, means and lower Cholesky factors of K Gaussians in d dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Mixture {
    dim: usize,
    weights: Vec<f64>,
    /// `[K, d]`.
    means: Vec<f64>,
    /// `[K, d, d]`.
    factors: Vec<f64>,
    /// ln wₖ − ln det Lₖ − (d/2) ln 2π.
    pub(crate) log_norms: Vec<f64>,
}

/// What a mixture is made of, as text would hold it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Parts {
    weights: Vec<f64>,
    means: Vec<f64>,
    factors: Vec<f64>,
}

impl TryFrom<Parts> for Mixture {
    type Error = Error;

    fn try_from(Parts { weights, means, factors }: Parts) -> Result<Self> {
        Self::new(weights, means, factors)
    }
}

impl From<Mixture> for Parts {
    fn from(Mixture { weights, means, factors, .. }: Mixture) -> Self {
        Self { weights, means, factors }
    }
}

impl Mixture {
    /// K weights that add up to 1, means `[K, d]` and lower Cholesky factors `[K, d, d]` (row-major, zeros above the
    /// diagonal).
    ///
    /// # Errors
    /// [`Error::Invalid`] where the lengths do not fit, a weight or a diagonal is not above 0, the weights do not add
    /// up to 1 within 1e-9, or a number is not finite.
    pub fn new(weights: Vec<f64>, means: Vec<f64>, factors: Vec<f64>) -> Result<Self> {
        let wrong = |problem: String| Error::invalid(problem, "give weights [K], means [K, d] and factors [K, d, d]");
        let k = weights.len();
        let dim = means.len().checked_div(k).unwrap_or(0);
        if dim == 0 || means.len() != k * dim || factors.len() != means.len() * dim {
            let (m, f) = (means.len(), factors.len());
            return Err(wrong(format!("{k} weights, {m} numbers of means and {f} of factors make no mixture")));
        }
        let total: f64 = weights.iter().sum();
        if !weights.iter().all(|w| *w > 0.0) || (total - 1.0).abs() > 1e-9 || total.is_nan() {
            return Err(wrong(format!("the weights of a mixture must be above 0 and add up to 1, not to {total}")));
        }
        if let Some(i) = means.iter().position(|m| !m.is_finite()) {
            return Err(wrong(format!(
                "the mean of component {} has {} in column {} (counted from 0)",
                i / dim,
                means[i],
                i % dim
            )));
        }
        let mut log_norms = Vec::with_capacity(k);
        for (c, (factor, weight)) in factors.chunks_exact(dim * dim).zip(&weights).enumerate() {
            for (i, row) in factor.chunks_exact(dim).enumerate() {
                let lower = row[..i].iter().all(|v| v.is_finite()) && row[i + 1..].iter().all(|v| *v == 0.0);
                if !(lower && row[i] > 0.0 && row[i].is_finite()) {
                    return Err(wrong(format!(
                        "row {i} of the factor of component {c} is not that of a Cholesky factor"
                    )));
                }
            }
            let log_det: f64 = (0..dim).map(|i| factor[i * dim + i].ln()).sum();
            log_norms.push(weight.ln() - log_det - dim as f64 * HALF_LN_TAU);
        }
        Ok(Self { dim, weights, means, factors, log_norms })
    }

    /// d.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// K.
    pub fn components(&self) -> usize {
        self.weights.len()
    }

    /// The weights, `[K]`.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The means, `[K, d]`.
    pub fn means(&self) -> &[f64] {
        &self.means
    }

    /// The lower Cholesky factors, `[K, d, d]`.
    pub fn factors(&self) -> &[f64] {
        &self.factors
    }

    pub(crate) fn mean(&self, k: usize) -> &[f64] {
        &self.means[k * self.dim..(k + 1) * self.dim]
    }

    pub(crate) fn factor(&self, k: usize) -> &[f64] {
        &self.factors[k * self.dim * self.dim..(k + 1) * self.dim * self.dim]
    }

    /// Some rows at a time, in parallel: `per_block` gets the first row's number, a block of rows, and the logarithms
    /// of all wₖ N(x; …), and pushes what it makes of them. A row's result depends on that row alone.
    pub(crate) fn by_blocks<T: Send>(
        &self,
        x: &[f64],
        per_block: impl Fn(usize, &Block, &mut Vec<T>) + Sync,
    ) -> Vec<T> {
        let d = self.dim;
        let parts: Vec<Vec<T>> = x
            .par_chunks(CHUNK * d)
            .enumerate()
            .map(|(chunk, rows)| {
                let mut block = Block::new(d, self.components());
                let mut out = Vec::with_capacity(rows.len() / d);
                for (b, rows) in rows.chunks(LANES * d).enumerate() {
                    block.evaluate(self, rows);
                    per_block(chunk * CHUNK + b * LANES, &block, &mut out);
                }
                out
            })
            .collect();
        parts.into_iter().flatten().collect()
    }

    /// log p of the rows of `x`, `[n, d]` row-major, in nats; NaN where a row holds NaN.
    pub fn log_prob_rows(&self, x: &[f64]) -> Vec<f64> {
        self.by_blocks(x, |_, block, out| out.extend_from_slice(block.log_probs()))
    }

    /// `n` draws, `[n, d]`.
    pub fn draw(&self, n: usize, rng: &mut Rng) -> Vec<f64> {
        let cumulative: Vec<f64> = self
            .weights
            .iter()
            .scan(0.0, |sum, w| {
                *sum += w;
                Some(*sum)
            })
            .collect();
        let mut rows = Vec::with_capacity(n * self.dim);
        for _ in 0..n {
            let u: f64 = rng.random();
            let k = cumulative.partition_point(|c| *c <= u).min(self.components() - 1);
            self.draw_from(k, rng, &mut rows);
        }
        rows
    }

    /// For each row of `x` (`[n, d]`) a component drawn by its responsibility for the row, and a draw from that
    /// component, `[n, d]`: where x has the mixture's distribution so have the draws, and each is near its partner.
    pub fn matched(&self, x: &[f64], rng: &mut Rng) -> Vec<f64> {
        let n = x.len() / self.dim;
        let u: Vec<f64> = (0..n).map(|_| rng.random()).collect();
        let chosen = self.by_blocks(x, |first, block, out| {
            for lane in 0..block.rows() {
                out.push(block.pick(lane, u[first + lane]));
            }
        });
        let mut rows = Vec::with_capacity(x.len());
        chosen.into_iter().for_each(|k| self.draw_from(k, rng, &mut rows));
        rows
    }

    /// m + L ε.
    fn draw_from(&self, k: usize, rng: &mut Rng, rows: &mut Vec<f64>) {
        let d = self.dim;
        let start = rows.len();
        rows.extend((0..d).map(|_| rng.sample::<f64, _>(Draw)));
        let row = &mut rows[start..];
        // From the last column up: each needs the draws of the columns before it.
        for i in (0..d).rev() {
            let l = &self.factor(k)[i * d..i * d + i + 1];
            row[i] = self.mean(k)[i] + l.iter().zip(&row[..=i]).map(|(l, e)| l * e).sum::<f64>();
        }
    }
}
