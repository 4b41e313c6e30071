//! What a solve's loop needs besides a field and an observer: trajectories in, results out, and the flag that stops it.
//!
//! The explicit loop and the implicit one share it, so that either kind of method draws, delivers, fails and stops
//! alike.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Failure;
use crate::observe::Observer;
use crate::options::Options;
use crate::real::Real;
use crate::report::Report;

/// The work of one thread.
pub(crate) struct Work<'w, T> {
    /// From its first time to its second, forward or backward.
    pub(crate) span: (f64, f64),
    /// Writes the start state of a row, in place of what the buffer holds.
    pub(crate) start: &'w dyn Fn(usize, &mut Vec<T>),
    pub(crate) dim: usize,
    /// Valid.
    pub(crate) options: &'w Options,
    /// Draws the next row, until there is none.
    pub(crate) next: &'w mut dyn FnMut() -> Option<usize>,
    /// Takes the end state and the report of a row, in the order in which they arrive.
    pub(crate) deliver: &'w mut dyn FnMut(usize, &[T], &Report),
    /// Shared by the threads of a solve.
    pub(crate) stop: &'w AtomicBool,
}

impl<T: Real> Work<'_, T> {
    /// The start state of row `sample`.
    pub(crate) fn start(&self, sample: usize) -> Vec<T> {
        let mut y = Vec::with_capacity(self.dim);
        (self.start)(sample, &mut y);
        y
    }

    /// Whether an observer of any thread has stopped the solve.
    pub(crate) fn stopped(&self, observer: &mut dyn Observer<T>) -> bool {
        if observer.stop() {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends a row that has not reached the end of the span.
    pub(crate) fn fail(
        &mut self,
        sample: usize,
        y: &[T],
        report: Report,
        failure: Failure,
        observer: &mut dyn Observer<T>,
    ) {
        observer.failed(sample, &failure);
        (self.deliver)(sample, y, &Report { status: Err(failure), ..report });
    }

    /// Ends every row that no thread has drawn: the solve was stopped.
    pub(crate) fn abandon(&mut self, observer: &mut dyn Observer<T>) {
        let t = self.span.0;
        while let Some(sample) = (self.next)() {
            let start = self.start(sample);
            self.fail(sample, &start, Report::new(t), Failure::Stopped { t }, observer);
        }
    }
}
