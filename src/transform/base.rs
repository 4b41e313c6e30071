//! The standard normal, which is the distribution of the latent, and the distribution at the start of the velocity's
//! path.

use rand_distr::{Distribution, StandardNormal as Draw};

use super::Mixture;
use crate::Rng;

/// N(0, I) in `dim` dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandardNormal {
    dim: usize,
}

impl StandardNormal {
    /// In `dim` dimensions.
    pub fn new(dim: usize) -> Self {
        Self { dim }
    }

    /// `n` draws `[n, dim]` as plain numbers; rounding them to f32 is the caller's.
    pub fn draw(&self, n: usize, rng: &mut Rng) -> Vec<f64> {
        (0..n * self.dim).map(|_| Draw.sample(rng)).collect()
    }

    /// d.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// log p of the rows of `x` (`[n, dim]`, row-major), in nats: −½|x|² − ½ d ln 2π.
    pub fn log_prob_rows(&self, x: &[f64]) -> Vec<f64> {
        let constant = 0.5 * self.dim as f64 * std::f64::consts::TAU.ln();
        x.chunks_exact(self.dim).map(|row| -0.5 * row.iter().map(|x| x * x).sum::<f64>() - constant).collect()
    }

    /// ∇ log p of the rows of `x`, which is −x.
    pub fn score_rows(&self, x: &[f64]) -> Vec<f64> {
        x.iter().map(|x| -x).collect()
    }
}

/// The distribution at t = 0 of the continuous layer: the latent's own, or a fitted mixture that the latent was pushed
/// to by its [`super::Rosenblatt`] map.
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    /// N(0, I).
    Normal(StandardNormal),
    /// A mixture of Gaussians.
    Mixture(Mixture),
}

impl Base {
    /// `n` draws `[n, dim]` as plain numbers.
    pub fn draw(&self, n: usize, rng: &mut Rng) -> Vec<f64> {
        match self {
            Self::Normal(normal) => normal.draw(n, rng),
            Self::Mixture(mixture) => mixture.draw(n, rng),
        }
    }

    /// A latent for each row of `x` (`[n, dim]`): of a normal any, of a mixture one from a component that may have
    /// given the row, so that its way to the row is short.
    pub fn matched(&self, x: &[f64], rng: &mut Rng) -> Vec<f64> {
        match self {
            Self::Normal(normal) => normal.draw(x.len() / normal.dim, rng),
            Self::Mixture(mixture) => mixture.matched(x, rng),
        }
    }

    /// d.
    pub fn dim(&self) -> usize {
        match self {
            Self::Normal(normal) => normal.dim(),
            Self::Mixture(mixture) => mixture.dim(),
        }
    }

    /// log p of the rows of `x` (`[n, dim]`, row-major), in nats; NaN where a row holds NaN.
    pub fn log_prob_rows(&self, x: &[f64]) -> Vec<f64> {
        match self {
            Self::Normal(normal) => normal.log_prob_rows(x),
            Self::Mixture(mixture) => mixture.log_prob_rows(x),
        }
    }

    /// ∇ log p of the rows of `x`, `[n, dim]` row-major.
    pub fn score_rows(&self, x: &[f64]) -> Vec<f64> {
        match self {
            Self::Normal(normal) => normal.score_rows(x),
            Self::Mixture(mixture) => mixture.score_rows(x),
        }
    }
}
