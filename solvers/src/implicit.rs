//! Implicit methods, for trajectories that an explicit one can follow only with tiny steps.
//!
//! diffsol makes the steps: BDF of variable order 1 to 5 (Shampine & Reichelt 1997), TR-BDF2
//! (Bank et al. 1985) and a third-order ESDIRK (Jørgensen, Kristensen & Thomsen 2018), all in f64,
//! with Jacobians exact to round-off from our own tangents. One trajectory at a time: an implicit
//! step is a small linear solve per trajectory, and sharing one step among many would break the
//! law that a sample's result does not depend on its neighbours.
//!
//! diffsol takes NaN for an error of zero, has no cap on steps and stops within 100 round-offs of the
//! end: here every value and every accepted state is checked, steps are counted, and the
//! last state is moved onto t₁ itself.
//!
//! The code is generic in the state's scalar only so that one entry serves both kinds of method: [`crate::solve()`]
//! refuses every scalar but f64, for which each conversion here is the identity.

mod drive;
mod equations;

use crate::error::SolveError;
use crate::field::Jvp;
use crate::method::Implicit;
use crate::observe::Observer;
use crate::real::Real;
use crate::report::Report;
use crate::work::Work;

/// Integrates the trajectories that `work` gives, one after the other; the first that diffsol refuses, and its message.
pub(crate) fn run<T: Real>(
    field: &mut dyn Jvp<T>,
    method: Implicit,
    work: &mut Work<'_, T>,
    observer: &mut dyn Observer<T>,
) -> Option<(usize, SolveError)> {
    let mut refused = None;
    loop {
        if work.stopped(observer) {
            work.abandon(observer);
            break;
        }
        let Some(sample) = (work.next)() else { break };
        if work.span.0 == work.span.1 {
            let start = work.start(sample);
            (work.deliver)(sample, &start, &Report::new(work.span.0));
            continue;
        }
        match drive::solve(field, method, sample, work, observer) {
            Ok((y, report)) => match report.status {
                Ok(()) => (work.deliver)(sample, &y, &report),
                Err(failure) => work.fail(sample, &y, report, failure, observer),
            },
            // Rows are drawn in their order: the first of this thread is the smallest.
            Err(error) => {
                refused = Some((sample, SolveError::Implicit(error.to_string())));
                break;
            }
        }
    }
    observer.finish();
    refused
}
