//! The standard normal, which is the distribution of the latent, and the distribution at the start of the velocity's
//! path.

use rand_distr::{Distribution, StandardNormal as Draw};

use super::Mixture;
use crate::{Rng, rng};

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

/// The latents of a sample of a seed: row 10⁹ is as near as row 0.
///
/// Blocks of 128 rows have a stream of their own, so that rows of one sample can be drawn anywhere, in any parts and in
/// any order, to the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latents {
    dim: usize,
    seed: u64,
}

/// Rows of a block of [`Latents`]: as few as make what is drawn in vain cheap, also for images.
const BLOCK: u64 = 128;
/// The latents' part of a seed's streams.
const LATENTS: u64 = 0x5a3b_0001;

impl Latents {
    /// In `dim` dimensions, of this seed.
    pub fn new(dim: usize, seed: u64) -> Self {
        Self { dim, seed: rng::mix(seed ^ rng::mix(LATENTS)) }
    }

    /// d.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// `n` rows from row `first` on, `[n, dim]`, of the standard normal distribution.
    pub fn rows(&self, first: u64, n: usize) -> Vec<f64> {
        let normal = StandardNormal::new(self.dim);
        let mut z = Vec::with_capacity(n * self.dim);
        let end = first.saturating_add(n as u64);
        let mut row = first;
        while row < end {
            let (block, before) = (row / BLOCK, row % BLOCK);
            let rows = (BLOCK - before).min(end - row);
            let mut rng = rng::stream(self.seed, block);
            normal.draw(before as usize, &mut rng);
            z.extend(normal.draw(rows as usize, &mut rng));
            row += rows;
        }
        z
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_a_sample_does_not_depend_on_where_it_is_begun() {
        let latents = Latents::new(3, 7);
        let whole = latents.rows(0, 1000);
        for (first, n) in [(0, 1), (0, 128), (1, 127), (127, 2), (128, 300), (255, 745), (999, 1), (500, 0)] {
            let (from, to) = (3 * first as usize, 3 * (first as usize + n));
            assert_eq!(latents.rows(first, n), whole[from..to], "{first}, {n}");
        }
        assert_ne!(Latents::new(3, 8).rows(0, 1), whole[..3]);
        // Far out, and at the end of all rows.
        assert_eq!(latents.rows(10_u64.pow(9), 5)[3..], latents.rows(10_u64.pow(9) + 1, 4));
        assert_eq!(latents.rows(u64::MAX - 1, 1).len(), 3);
    }

    #[test]
    fn latents_are_normal_and_blocks_differ() {
        let n = 100_000;
        let z = Latents::new(1, 0).rows(0, n);
        let moment = |k: i32| z.iter().map(|z| z.powi(k)).sum::<f64>() / n as f64;
        for (k, truth, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            assert!((moment(k) - truth).abs() < 4.0 * f64::sqrt(variance / n as f64), "moment {k}: {}", moment(k));
        }
        // Neighbouring blocks have nothing in common.
        let product: f64 =
            z.chunks(128).zip(z.chunks(128).skip(1)).flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| a * b).sum();
        assert!(product.abs() < 4.0 * (n as f64).sqrt(), "{product}");
    }
}
