//! What the gradient of a solve needs: the accepted steps of every trajectory, with their slopes.

use crate::error::Failure;
use crate::observe::{Observer, Step};
use crate::real::Real;
use crate::tableau::Tableau;

/// Records (t, h, y) and the slopes k₁…k_s of every accepted step.
///
/// Memory: (1 + s)·dim numbers a step. Slopes are kept rather than recomputed: they are small beside the
/// activations that produced them, and the pull-back then costs no forward stage.
#[derive(Clone, Debug)]
pub struct Tape<T> {
    pub(crate) tableau: &'static Tableau,
    pub(crate) dim: usize,
    pub(crate) records: Vec<Record>,
    /// `[record][1 + stages][dim]`.
    pub(crate) states: Vec<T>,
    failed: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) sample: usize,
    pub(crate) t: f64,
    pub(crate) h: f64,
}

impl<T: Real> Tape<T> {
    /// For a solve of states of `dim` rows by the explicit method `tableau`. Extra stages are kept too: points of the
    /// dense output need them.
    pub fn new(tableau: &'static Tableau, dim: usize) -> Self {
        Self { tableau, dim, records: Vec::new(), states: Vec::new(), failed: Vec::new() }
    }

    /// The number of steps recorded.
    pub fn steps(&self) -> usize {
        self.records.len()
    }

    /// Trajectories that did not reach the end; a gradient leaves them out.
    pub fn failed(&self) -> &[usize] {
        &self.failed
    }

    pub(crate) fn width(&self) -> usize {
        (1 + self.tableau.a.len()) * self.dim
    }
}

impl<T: Real> Observer<T> for Tape<T> {
    fn accepted(&mut self, step: &dyn Step<T>) {
        self.records.push(Record { sample: step.sample(), t: step.t(), h: step.h() });
        let start = self.states.len();
        self.states.resize(start + self.width(), T::ZERO);
        let (y, slopes) = self.states[start..].split_at_mut(self.dim);
        step.start(y);
        for (i, k) in slopes.chunks_exact_mut(self.dim).enumerate() {
            let explicit = step.stage(i, k);
            debug_assert!(explicit, "a tape needs the stages of an explicit method");
        }
    }

    fn failed(&mut self, sample: usize, _failure: &Failure) {
        self.failed.push(sample);
    }
}
