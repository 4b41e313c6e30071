//! How far the trajectories of a solve are, for whoever looks on from another thread; and the request to stop it.
//!
//! A trajectory counts by the part of its way that it has gone, times the part of the divergences that are computed of
//! those that its steps asked for: with the exact trace of large images nearly all the time is spent in these, long
//! after all paths have ended.
//!
//! A stop is seen where a thread takes its next step, and where divergences are evaluated. Rows that have not arrived
//! then have no result, and whoever asked for them gets [`Error::Stopped`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use cnflow_solvers::{Observer, Real, Step};

use crate::velocity::Count;
use crate::{Error, Result};

/// The parts of a way.
const WAY: f64 = (1u64 << 32) as f64;

/// How far the trajectories of one or several solves are.
#[derive(Debug, Default)]
pub struct Work {
    /// Parts of the ways that have been gone.
    way: AtomicU64,
    /// Points at which the steps so far ask for divergences, and at how many these are computed.
    asked: AtomicU64,
    computed: Count,
    stop: AtomicBool,
    deadline: OnceLock<Instant>,
}

impl Work {
    /// Counts rows of a map without a solve.
    pub fn add(&self, rows: usize) {
        self.way.fetch_add((rows as f64 * WAY) as u64, Ordering::Relaxed);
    }

    /// Counts parts of the ways of rows, without divergences.
    pub(super) fn gone(&self, rows: f64) {
        self.way.fetch_add((rows * WAY) as u64, Ordering::Relaxed);
    }

    /// Trajectories and rows, in parts: a trajectory counts as a whole once its path has arrived and its divergences
    /// are computed.
    pub fn done(&self) -> f64 {
        let (way, asked) = (self.way.load(Ordering::Relaxed) as f64 / WAY, self.asked.load(Ordering::Relaxed));
        // Where panels are halved more points are computed than the steps asked for.
        if asked == 0 { way } else { way * (self.computed.points() / asked as f64).min(1.0) }
    }

    /// Asks for a stop, from any thread. It cannot be taken back.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Stops what is still under way at this time. The first deadline counts.
    pub fn stop_at(&self, deadline: Instant) {
        // A second one changes nothing.
        let _ = self.deadline.set(deadline);
    }

    /// Whether there is a stop: one was asked for, or the deadline has passed.
    pub fn stopped(&self) -> bool {
        let late = || self.deadline.get().is_some_and(|deadline| Instant::now() >= *deadline);
        let stopped = self.flag().load(Ordering::Relaxed) || late();
        if stopped {
            self.stop();
        }
        stopped
    }

    /// Refuses to go on after a stop that was seen: some row may be without its result.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn check(&self) -> Result<()> {
        if self.flag().load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Is true once a stop was seen.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.stop
    }

    /// What counts the points at which divergences are computed.
    pub(super) fn computed(&self) -> &Count {
        &self.computed
    }
}

/// Watches the paths over a span of this length; at so many points of each step a divergence will be computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched<'a> {
    pub work: &'a Work,
    pub length: f64,
    pub points: usize,
}

impl<T: Real> Observer<T> for Watched<'_> {
    fn accepted(&mut self, step: &dyn Step<T>) {
        let part = (step.h().abs() / self.length).min(1.0);
        self.work.asked.fetch_add(self.points as u64, Ordering::Relaxed);
        self.work.way.fetch_add((part * WAY) as u64, Ordering::Relaxed);
    }

    fn stop(&mut self) -> bool {
        self.work.stopped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trajectory_counts_by_its_way_and_by_its_divergences() {
        let work = Work::default();
        assert_eq!(work.done(), 0.0);
        work.add(3);
        assert_eq!(work.done(), 3.0);
        work.asked.fetch_add(8, Ordering::Relaxed);
        assert_eq!(work.done(), 0.0);
        work.computed.add(2 * Count::POINT);
        assert_eq!(work.done(), 0.75);
        work.computed.add(9 * Count::POINT);
        assert_eq!(work.done(), 3.0);
    }
}
