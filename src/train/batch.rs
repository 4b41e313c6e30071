//! What a step is computed from: rows of data, and latents and times where the objective wants them.

use rand::Rng as _;

use super::{DATA_STREAM, NOISE_STREAM};
use crate::data::Dataset;
use crate::flow::{StandardNormal, Standardise};
use crate::{Rng, rng};

/// One batch of n rows.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Data as the net sees them (standardised), `[n, d]` row-major.
    pub x: Vec<f64>,
    /// Latents, `[n, d]`; empty where there are none.
    pub z: Vec<f64>,
    /// Times, `[n]`; empty where there are none.
    pub t: Vec<f64>,
    /// The key of Hutchinson's probes: another one each step, or the net would learn the probes of its rows.
    pub probe_seed: u64,
    /// The time at which the data lie: 1, but for a random end time.
    pub end: f64,
}

impl Default for Batch {
    fn default() -> Self {
        Self { x: Vec::new(), z: Vec::new(), t: Vec::new(), probe_seed: 0, end: 1.0 }
    }
}

/// An unlimited source of batches.
pub(super) struct Feed<'a> {
    data: &'a Dataset,
    map: Option<&'a Standardise>,
    rows: Rng,
    noise: Rng,
}

impl<'a> Feed<'a> {
    pub(super) fn new(data: &'a Dataset, map: Option<&'a Standardise>, seed: u64) -> Self {
        Self { data, map, rows: rng::stream(seed, DATA_STREAM), noise: rng::stream(seed, NOISE_STREAM) }
    }

    /// n rows of data, in the units of the net.
    pub(super) fn rows(&mut self, n: usize) -> Vec<f64> {
        let mut x = self.data.draw(n, &mut self.rows);
        if let Some(map) = self.map {
            map.standardise(&mut x);
        }
        x
    }

    /// n latents.
    pub(super) fn latents(&mut self, n: usize) -> Vec<f64> {
        StandardNormal::new(self.data.dim).draw(n, &mut self.noise)
    }

    /// A key for this step's probes.
    pub(super) fn probe_seed(&mut self) -> u64 {
        self.noise.random()
    }

    /// n times, one in each of n equal parts of [0, 1]: the same mean of a loss with less variance.
    pub(super) fn times(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|i| (i as f64 + self.noise.random::<f64>()) / n as f64).collect()
    }
}
