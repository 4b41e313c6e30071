//! Mixtures of axis-aligned Gaussians, in any dimension.
//!
//! p(x) = Σₖ wₖ Πⱼ N(xⱼ; mₖⱼ, sₖⱼ²), summed from the largest term so that no point is too far out.

use std::f64::consts::PI;

use rand::Rng as _;
use rand_distr::StandardNormal;

pub(super) use crate::stats::log_sum_exp;
use crate::{Error, Result, Rng};

/// Weights, means and standard deviations of K Gaussians.
#[derive(Clone, Debug)]
pub struct Mixture {
    dim: usize,
    /// Cumulative weights, the last is 1.
    cumulative: Vec<f64>,
    /// ln wₖ − Σⱼ ln sₖⱼ − (d/2) ln 2π.
    log_norms: Vec<f64>,
    means: Vec<f64>,
    deviations: Vec<f64>,
}

impl Mixture {
    /// K Gaussians: `weights` are K positive numbers of any sum, `means` and `deviations` are `[K, dim]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the lengths differ, or a weight or deviation is not positive.
    pub fn new(dim: usize, weights: Vec<f64>, means: Vec<f64>, deviations: Vec<f64>) -> Result<Self> {
        let k = weights.len();
        if dim == 0 || k == 0 || means.len() != k * dim || deviations.len() != k * dim {
            let found = format!("{k} weights, {} means and {} deviations", means.len(), deviations.len());
            return Err(Error::invalid(format!("{found} are not a mixture in {dim} dimensions"), ""));
        }
        let positive = |v: &f64| v.is_finite() && *v > 0.0;
        if !weights.iter().chain(&deviations).all(positive) || !means.iter().all(|m| m.is_finite()) {
            return Err(Error::invalid("a mixture needs finite means, positive weights and positive deviations", ""));
        }
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let cumulative = weights.iter().map(|w| {
            sum += w / total;
            sum
        });
        let cumulative = cumulative.collect();
        let log_norms = weights.iter().zip(deviations.chunks_exact(dim)).map(|(w, s)| {
            (w / total).ln() - s.iter().map(|s| s.ln()).sum::<f64>() - 0.5 * dim as f64 * (2.0 * PI).ln()
        });
        Ok(Self { dim, cumulative, log_norms: log_norms.collect(), means, deviations })
    }

    /// K round Gaussians, each with one deviation.
    ///
    /// # Errors
    /// As [`Mixture::new`].
    pub fn isotropic(dim: usize, weights: Vec<f64>, means: Vec<f64>, deviations: Vec<f64>) -> Result<Self> {
        let deviations = deviations.iter().flat_map(|&s| std::iter::repeat_n(s, dim)).collect();
        Self::new(dim, weights, means, deviations)
    }

    /// The number of columns.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Draws n rows, `[n, dim]`.
    pub fn sample(&self, n: usize, rng: &mut Rng) -> Vec<f64> {
        let mut rows = Vec::with_capacity(n * self.dim);
        for _ in 0..n {
            let u: f64 = rng.random();
            let k = self.cumulative.partition_point(|&c| c <= u).min(self.cumulative.len() - 1);
            for j in k * self.dim..(k + 1) * self.dim {
                rows.push(self.means[j] + self.deviations[j] * rng.sample::<f64, _>(StandardNormal));
            }
        }
        rows
    }

    /// log p(x) in nats at one point of `dim` columns.
    pub fn log_prob(&self, x: &[f64]) -> f64 {
        let parts = self.means.chunks_exact(self.dim).zip(self.deviations.chunks_exact(self.dim));
        let term = |((m, s), norm): ((&[f64], &[f64]), &f64)| {
            let squares = x.iter().zip(m).zip(s).map(|((x, m), s)| ((x - m) / s).powi(2));
            norm - 0.5 * squares.sum::<f64>()
        };
        log_sum_exp(parts.zip(&self.log_norms).map(term))
    }
}
