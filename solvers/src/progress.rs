//! What a solve shares with another thread: a count of finished trajectories, and a flag that stops it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

/// Stops the solve at the next boundary of a step once the flag is true: for a signal handler, or the host of a
/// library.
#[derive(Clone, Copy, Debug)]
pub struct StopWhen<'a>(pub &'a AtomicBool);

impl<T: Real> Observer<T> for StopWhen<'_> {
    fn accepted(&mut self, _step: &dyn Step<T>) {}

    fn stop(&mut self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
