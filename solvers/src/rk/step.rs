//! An accepted step of one lane, read out of the tile.

use super::Tile;
use crate::observe::Step;
use crate::real::Real;

/// One lane's step, as passed to observers.
pub(super) struct LaneStep<'t, 'o, T> {
    pub(super) tile: &'t Tile<'o, T>,
    pub(super) lane: usize,
    pub(super) last: bool,
}

impl<T: Real> Step<T> for LaneStep<'_, '_, T> {
    fn sample(&self) -> usize {
        self.tile.samples[self.lane]
    }
    fn dim(&self) -> usize {
        self.tile.dim
    }
    fn t(&self) -> f64 {
        self.tile.t[self.lane]
    }
    fn h(&self) -> f64 {
        self.tile.h_wide[self.lane]
    }
    fn start(&self, out: &mut [T]) {
        for (r, out) in out.iter_mut().enumerate() {
            *out = self.tile.y[r * self.tile.stride + self.lane];
        }
    }
    fn end(&self, out: &mut [T]) {
        for (r, out) in out.iter_mut().enumerate() {
            *out = self.tile.y1[r * self.tile.stride + self.lane];
        }
    }
    fn stage(&self, i: usize, out: &mut [T]) -> bool {
        let stage = &self.tile.k[i * self.tile.dim * self.tile.stride..];
        for (r, out) in out.iter_mut().enumerate() {
            *out = stage[r * self.tile.stride + self.lane];
        }
        true
    }
    fn at(&self, theta: f64, out: &mut [T]) {
        let tile = self.tile;
        let size = tile.dim * tile.stride;
        out.fill(T::ZERO);
        for (i, polynomial) in tile.tableau.dense.iter().enumerate() {
            let weight = T::of(polynomial.iter().rev().fold(0.0, |sum, c| (sum + c) * theta));
            for (r, out) in out.iter_mut().enumerate() {
                *out += weight * tile.k[i * size + r * tile.stride + self.lane];
            }
        }
        for (r, out) in out.iter_mut().enumerate() {
            *out = tile.y[r * tile.stride + self.lane] + tile.h[self.lane] * *out;
        }
    }
    fn last(&self) -> bool {
        self.last
    }
}
