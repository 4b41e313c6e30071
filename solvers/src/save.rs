//! States at chosen times, from the dense output.

use crate::observe::{Observer, Step};
use crate::real::Real;

/// Records the state of every trajectory at given times.
#[derive(Clone, Debug)]
pub struct SaveAt<T> {
    times: Vec<f64>,
    /// (sample, index of the time, state), in the order in which the steps came.
    found: Vec<(usize, usize)>,
    states: Vec<T>,
    scratch: Vec<T>,
    dim: usize,
}

impl<T: Real> SaveAt<T> {
    /// At `times` within the span, in any order; times outside it are never reached.
    pub fn new(times: &[f64], dim: usize) -> Self {
        Self { times: times.to_vec(), found: Vec::new(), states: Vec::new(), scratch: vec![T::ZERO; dim], dim }
    }

    /// The states `[times, n, dim]` out of the observers of a solve of `n` trajectories that started at
    /// (`t0`, `y0`); NaN where a trajectory failed before it got there.
    pub fn collect(observers: &[Self], n: usize, t0: f64, y0: &[T]) -> Vec<T> {
        let Some(first) = observers.first() else { return Vec::new() };
        let dim = first.dim;
        let mut all = vec![T::of(f64::NAN); first.times.len() * n * dim];
        for (i, t) in first.times.iter().enumerate() {
            if *t == t0 {
                all[i * n * dim..(i + 1) * n * dim].copy_from_slice(y0);
            }
        }
        for observer in observers {
            for ((sample, i), state) in observer.found.iter().zip(observer.states.chunks_exact(dim)) {
                let start = (i * n + sample) * dim;
                all[start..start + dim].copy_from_slice(state);
            }
        }
        all
    }
}

impl<T: Real> Observer<T> for SaveAt<T> {
    fn dense(&self) -> bool {
        !self.times.is_empty()
    }

    fn accepted(&mut self, step: &dyn Step<T>) {
        for (i, t) in self.times.iter().enumerate() {
            let theta = (t - step.t()) / step.h();
            let end = step.last() && (t - step.t() - step.h()).abs() <= 4.0 * f64::EPSILON * t.abs().max(1.0);
            if end {
                step.end(&mut self.scratch);
            } else if theta > 0.0 && theta <= 1.0 {
                step.at(theta, &mut self.scratch);
            } else {
                continue;
            }
            self.found.push((step.sample(), i));
            self.states.extend_from_slice(&self.scratch);
        }
    }
}
