//! A count of finished trajectories that another thread may watch.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Failure;
use crate::observe::{Observer, Step};
use crate::real::Real;

/// Adds one for every trajectory that arrives or fails.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a>(pub &'a AtomicUsize);

impl<T: Real> Observer<T> for Progress<'_> {
    fn accepted(&mut self, step: &dyn Step<T>) {
        if step.last() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn failed(&mut self, _sample: usize, _failure: &Failure) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
