//! What is asked of a transport, and what it gives.

use super::solver::SolverSpec;
use super::work::Work;
use crate::transform::Cost;
use crate::velocity::Trace;

/// The span and the options of a transport.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The time at which the points are given, and the time to which they are transported.
    pub span: (f64, f64),
    /// Method and tolerances.
    pub solver: &'a SolverSpec,
    /// How the trace is taken.
    pub trace: Trace,
    /// Whether to compute the log-determinant.
    pub log_density: bool,
    /// Is told how far the trajectories are, and may stop them.
    pub progress: Option<&'a Work>,
}

/// Points at the end of their paths.
#[derive(Clone, Debug)]
pub struct Transported<T> {
    /// `[n, d]`, row-major; NaN where a trajectory failed.
    pub y: Vec<T>,
    /// `[n]`; zeros if not requested, NaN where a trajectory failed.
    pub logdet: Vec<f64>,
    /// The cost.
    pub cost: Cost,
}
