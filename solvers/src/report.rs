//! The outcome of each trajectory.

use crate::error::Failure;
use crate::stiffness::StiffnessMeter;

/// How one trajectory was integrated.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Velocity evaluations (NFE), those of rejected steps and of the first step's selection included.
    pub nfe: u32,
    /// Steps taken.
    pub accepted: u32,
    /// Steps tried and rejected: the error was too large, or an implicit step's iteration did not converge.
    pub rejected: u32,
    /// Jacobians of f, each as many tangents as the state has rows; 0 for an explicit method.
    pub jacobians: u32,
    /// The time reached: the end of the span, exactly, unless the trajectory failed.
    pub t: f64,
    /// Signs of stiffness along the way; an implicit method has none.
    pub stiffness: StiffnessMeter,
    /// Whether the end was reached.
    pub status: Result<(), Failure>,
}

impl Report {
    /// A trajectory that stands at time `t` and has cost nothing.
    pub fn new(t: f64) -> Self {
        Self { nfe: 0, accepted: 0, rejected: 0, jacobians: 0, t, stiffness: StiffnessMeter::default(), status: Ok(()) }
    }
}

/// A batch of reports in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Mean NFE of a sample.
    pub nfe_mean: f64,
    /// Largest NFE of a sample.
    pub nfe_max: u32,
    /// Mean number of accepted steps.
    pub steps_mean: f64,
    /// Samples that failed.
    pub failed: usize,
    /// Samples whose steps were limited by stability.
    pub stiff: usize,
}

impl Summary {
    /// Sums up `reports`; zeros for an empty batch.
    pub fn of(reports: &[Report]) -> Self {
        let n = reports.len().max(1) as f64;
        Self {
            nfe_mean: reports.iter().map(|r| f64::from(r.nfe)).sum::<f64>() / n,
            nfe_max: reports.iter().map(|r| r.nfe).max().unwrap_or(0),
            steps_mean: reports.iter().map(|r| f64::from(r.accepted)).sum::<f64>() / n,
            failed: reports.iter().filter(|r| r.status.is_err()).count(),
            stiff: reports.iter().filter(|r| r.stiffness.stiff()).count(),
        }
    }
}
