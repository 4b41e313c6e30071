//! Hutchinson's probes: random vectors e with E\[e eᵀ\] = I, so that E\[eᵀ J e\] = tr J.
//!
//! An entry is a pure function of (key of the row, number of the probe, coordinate): it stays the same for
//! the whole solve, on whichever lane, tile or thread the row is. A generator with a state would not.
//!
//! The variance of eᵀ J e for random signs is Σ (Jᵢⱼ + Jⱼᵢ)² over all pairs i < j. Where the large entries couple near
//! pixels of an image, probes that vanish on all but a lattice of pixels leave these out: of a draw of them the
//! variance of the sum is that of the pairs within one lattice. Ref: Tang & Saad, *A probing method for computing the
//! diagonal of a matrix inverse* (2012).

use std::f64::consts::TAU;

use cnflow_kernels::{Scalar, Tile};
use cnflow_solvers::At;
use cnflow_solvers::lanes::LANE_BLOCK;

use super::{Noise, Trace};
use crate::rng::{mix, unit};

/// The probes of the lanes, and whose they are.
pub(super) struct Probes<T> {
    trace: Trace,
    pub(super) e: Vec<Tile<T>>,
    /// The sample in each slot whose probes are held.
    held: Vec<Option<usize>>,
}

impl<T: Scalar> Probes<T> {
    /// Those of a trace; none where it is exact.
    pub(super) fn of(trace: Trace, dim: usize, lanes: usize) -> Option<Self> {
        let e = vec![Tile::new(dim, lanes); trace.probes()];
        (!e.is_empty()).then(|| Self { trace, e, held: vec![None; lanes] })
    }

    /// One of random signs.
    pub(super) fn lone(dim: usize, lanes: usize) -> Self {
        let trace = Trace::Hutchinson { probes: 1, noise: Noise::Rademacher };
        Self { trace, e: vec![Tile::new(dim, lanes)], held: vec![None; lanes] }
    }

    /// How many a lane has.
    pub(super) fn count(&self) -> usize {
        self.e.len()
    }

    /// Draws those of lanes whose sample is another one than before.
    pub(super) fn refresh(&mut self, at: At<'_>, keys: &[u64]) {
        for (slot, &sample) in at.sample.iter().enumerate() {
            if self.held[slot] == Some(sample) {
                continue;
            }
            self.held[slot] = Some(sample);
            for (k, e) in self.e.iter_mut().enumerate() {
                for i in 0..e.rows() {
                    e.at_mut(slot / LANE_BLOCK, i)[slot % LANE_BLOCK] = T::of(self.trace.probe(keys[sample], k, i));
                }
            }
        }
    }
}

/// Coordinate `i` of probe `k` of the row with this key.
pub fn probe(key: u64, k: usize, i: usize, noise: Noise) -> f64 {
    let stream = mix(key ^ mix(k as u64));
    match noise {
        Noise::Rademacher => {
            let word = mix(stream.wrapping_add((i / 64) as u64));
            if (word >> (i % 64)) & 1 == 1 { 1.0 } else { -1.0 }
        }
        Noise::Gaussian => {
            // Box & Muller 1958; of each pair only the cosine, so that coordinates are independent of each other.
            let first = mix(stream.wrapping_add(2 * i as u64));
            let second = mix(stream.wrapping_add(2 * i as u64 + 1));
            (-2.0 * (1.0 - unit(first)).ln()).sqrt() * (TAU * unit(second)).cos()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_zero_mean_unit_variance_and_no_correlation() {
        let n = 20_000;
        for noise in [Noise::Rademacher, Noise::Gaussian] {
            let draws = |k: usize, i: usize| (0..n).map(move |key| probe(mix(key), k, i, noise));
            for (k, i) in [(0, 0), (0, 1), (0, 64), (1, 0)] {
                let mean = draws(k, i).sum::<f64>() / n as f64;
                let square = draws(k, i).map(|e| e * e).sum::<f64>() / n as f64;
                // Five standard errors: 1/√n of a mean, √(2/n) of a variance.
                assert!(mean.abs() < 5.0 / (n as f64).sqrt(), "{noise:?} {k} {i}: mean {mean}");
                assert!((square - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt(), "{noise:?} {k} {i}: {square}");
            }
            for (k, i) in [(0, 1), (0, 64), (1, 0)] {
                let product = draws(0, 0).zip(draws(k, i)).map(|(a, b)| a * b).sum::<f64>() / n as f64;
                assert!(product.abs() < 5.0 / (n as f64).sqrt(), "{noise:?} {k} {i}: {product}");
            }
        }
    }
}
