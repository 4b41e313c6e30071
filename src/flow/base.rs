//! The standard normal, the distribution of the latent.

use candle_core::{DType, Device, Tensor};
use rand_distr::{Distribution, StandardNormal as Draw};

use super::{Density, check_rows};
use crate::{Result, Rng};

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
}

impl Density for StandardNormal {
    fn dim(&self) -> usize {
        self.dim
    }

    /// −½|x|² − ½ d ln 2π.
    fn log_prob(&self, x: &Tensor, _condition: Option<&Tensor>) -> Result<Tensor> {
        check_rows(x, self.dim, None, 0)?;
        let constant = -0.5 * self.dim as f64 * std::f64::consts::TAU.ln();
        Ok(x.sqr()?.sum(1)?.affine(-0.5, constant)?)
    }

    fn sample(&self, n: usize, _condition: Option<&Tensor>, rng: &mut Rng) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.draw(n, rng), (n, self.dim), &Device::Cpu)?.to_dtype(DType::F64)?)
    }
}

/// The distribution of the latents.
#[derive(Clone, Debug)]
pub enum Base {
    /// Standard normal.
    Normal(StandardNormal),
}

impl Base {
    /// A latent for each row.
    pub fn matched(&self, x: &[f64], rng: &mut Rng) -> Vec<f64> {
        match self {
            Self::Normal(normal) => normal.draw(x.len() / normal.dim, rng),
        }
    }
    /// log p
    pub fn log_prob(&self, x: &Tensor, c: Option<&Tensor>) -> Result<Tensor> {
        match self {
            Self::Normal(normal) => normal.log_prob(x, c),
        }
    }
}
