//! Observers are called at each accepted step. They cannot change it; they can stop the solve.
//!
//! Save-at times, dense output, the tape of a gradient, the quadrature of a log-density, progress and
//! cancelling are all observers, so the loop that makes steps contains none of them.

use crate::error::Failure;
use crate::real::Real;

/// One accepted step of one trajectory, from `t` to `t + h` (h < 0 when integrating backward).
pub trait Step<T: Real> {
    /// Which row of the batch.
    fn sample(&self) -> usize;
    /// The number of components of the state.
    fn dim(&self) -> usize;
    /// Where the step began.
    fn t(&self) -> f64;
    /// Its signed length.
    fn h(&self) -> f64;
    /// The state at its beginning.
    fn start(&self, out: &mut [T]);
    /// The state at its end.
    fn end(&self, out: &mut [T]);
    /// Dense output: the state at t + θh, θ ∈ [0, 1].
    fn at(&self, theta: f64, out: &mut [T]);
    /// The slope k_i of an explicit step (`i` from 0); false, and `out` untouched, where the method has none.
    fn stage(&self, i: usize, out: &mut [T]) -> bool {
        let _ = (i, out);
        false
    }
    /// This step ends the span.
    fn last(&self) -> bool;
}

/// An observer of the accepted steps of a solve.
pub trait Observer<T: Real> {
    /// Whether [`Step::at`] will be called: methods with extra stages for dense output then evaluate them.
    fn dense(&self) -> bool {
        false
    }

    /// A trajectory took a step.
    fn accepted(&mut self, step: &dyn Step<T>);

    /// A trajectory ended before the end of the span; no further step of it will come.
    fn failed(&mut self, sample: usize, failure: &Failure) {
        let _ = (sample, failure);
    }

    /// Whether the whole solve is to stop: all trajectories, on all threads.
    ///
    /// Called before the first step and between any two steps of a thread, so it must be cheap. Once it returns true,
    /// no step is begun: every trajectory on its way ends at the boundary of its last step and every trajectory that
    /// waits stays at its start, with the status [`Failure::Stopped`]. Those that have arrived keep their result.
    fn stop(&mut self) -> bool {
        false
    }

    /// The solve is over: whatever was queued must be worked off now.
    fn finish(&mut self) {}
}

/// No observer.
impl<T: Real> Observer<T> for () {
    fn accepted(&mut self, _step: &dyn Step<T>) {}
}

/// An observer that its owner keeps.
impl<T: Real, O: Observer<T> + ?Sized> Observer<T> for &mut O {
    fn dense(&self) -> bool {
        (**self).dense()
    }
    fn accepted(&mut self, step: &dyn Step<T>) {
        (**self).accepted(step);
    }
    fn failed(&mut self, sample: usize, failure: &Failure) {
        (**self).failed(sample, failure);
    }
    fn stop(&mut self) -> bool {
        (**self).stop()
    }
    fn finish(&mut self) {
        (**self).finish();
    }
}

/// An observer that may be absent.
impl<T: Real, O: Observer<T>> Observer<T> for Option<O> {
    fn dense(&self) -> bool {
        self.as_ref().is_some_and(O::dense)
    }
    fn accepted(&mut self, step: &dyn Step<T>) {
        if let Some(observer) = self {
            observer.accepted(step);
        }
    }
    fn failed(&mut self, sample: usize, failure: &Failure) {
        if let Some(observer) = self {
            observer.failed(sample, failure);
        }
    }
    fn stop(&mut self) -> bool {
        self.as_mut().is_some_and(O::stop)
    }
    fn finish(&mut self) {
        if let Some(observer) = self {
            observer.finish();
        }
    }
}

/// Two observers of one solve.
impl<T: Real, A: Observer<T>, B: Observer<T>> Observer<T> for (A, B) {
    fn dense(&self) -> bool {
        self.0.dense() || self.1.dense()
    }
    fn accepted(&mut self, step: &dyn Step<T>) {
        self.0.accepted(step);
        self.1.accepted(step);
    }
    fn failed(&mut self, sample: usize, failure: &Failure) {
        self.0.failed(sample, failure);
        self.1.failed(sample, failure);
    }
    fn stop(&mut self) -> bool {
        self.0.stop() || self.1.stop()
    }
    fn finish(&mut self) {
        self.0.finish();
        self.1.finish();
    }
}
