//! Bits per dimension of images, with every term.
//!
//! An image k of D numbers is v = k + u with noise u of the density q, and y the map of v. Per image, in nats,
//!
//!   log P(k) ≥ E log (p(y) |dy/dv| / q(u)) = E [log p(y) + ln|dy/dv| − ln q(u)],
//!
//! and bits per dimension are −log P(k) / (D ln 2), an upper bound of what a code for the grey levels needs. Nothing
//! else is in it: no padding, no rescaling to [0, 1] (P is of whole numbers, and v is in their units).

use super::{Arrived, Mean};
use crate::transform::PixelTerms;

/// Running means over images.
#[derive(Clone, Copy, Debug, Default)]
pub struct BitsPerDim {
    /// D.
    dim: usize,
    /// log P, the terms' sum (over several draws their log-mean-exp), in nats.
    total: Mean,
    /// log p(y).
    latent: Mean,
    /// ln|dy/dv|.
    slope: Mean,
    /// −ln q(u).
    noise: Mean,
    /// Squares of the standard errors of log P over Hutchinson's probes.
    probes: Mean,
}

impl BitsPerDim {
    /// None yet, of images of `dim` numbers.
    pub fn new(dim: usize) -> Self {
        Self { dim, ..Self::default() }
    }

    /// The images of a block, the terms of their pixels, and their `weights`, or nothing where they count alike. Images
    /// without a log-probability are left out.
    pub fn add(&mut self, arrived: &Arrived, terms: &PixelTerms, weights: &[f64]) {
        for (i, log_prob) in arrived.log_prob.iter().enumerate().filter(|(_, log_prob)| log_prob.is_finite()) {
            self.total.add_one_of(*log_prob, weights, i);
            self.slope.add_one_of(terms.slope[i], weights, i);
            self.noise.add_one_of(terms.noise[i], weights, i);
            self.latent.add_one_of(log_prob - terms.slope[i] - terms.noise[i], weights, i);
            if let Some(se) = arrived.cost.logdet_se.get(i) {
                self.probes.add_one_of(se * se, weights, i);
            }
        }
    }

    /// The nats of one bit for each of `dim` numbers.
    pub fn unit(dim: usize) -> f64 {
        dim as f64 * std::f64::consts::LN_2
    }

    /// Images.
    pub fn n(&self) -> u64 {
        self.total.n()
    }

    /// −mean log P / (D ln 2).
    pub fn mean(&self) -> f64 {
        -self.total.mean() / Self::unit(self.dim)
    }

    /// The standard error of the mean, over the images; NaN of one. What probes add is in it.
    pub fn se(&self) -> f64 {
        self.total.se() / Self::unit(self.dim)
    }

    /// The part of the standard error that Hutchinson's probes make; none where the trace is exact or a single probe
    /// does not tell.
    pub fn probe_se(&self) -> Option<f64> {
        (self.probes.n() > 0).then(|| (self.probes.mean() / self.probes.effective()).sqrt() / Self::unit(self.dim))
    }

    /// Mean log p(y), ln|dy/dv| and −ln q(u) of an image, in nats: their sum is mean log P. Over several draws the
    /// first has what these gain.
    pub fn terms(&self) -> [f64; 3] {
        [self.latent.mean(), self.slope.mean(), self.noise.mean()]
    }
}
