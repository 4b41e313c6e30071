//! Integration of many independent trajectories of dy/dt = f(t, y).
//!
//! A batch is a set of *lanes*: every trajectory has its own time, its own step, its own
//! accept/reject and its own count of evaluations. Lanes never mix, so the result of a trajectory is
//! the same bits whatever else is in the batch, on any number of threads.
//!
//! ```
//! use cnflow_solvers::{At, Lanes, LanesMut, Options, VectorField, solve};
//!
//! /// A pendulum: the angle and its velocity.
//! struct Pendulum;
//!
//! impl VectorField<f64> for Pendulum {
//!     fn dim(&self) -> usize {
//!         2
//!     }
//!     fn eval(&mut self, _at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
//!         for lane in 0..y.lanes() {
//!             out.row_mut(0)[lane] = y.row(1)[lane];
//!             out.row_mut(1)[lane] = -y.row(0)[lane].sin();
//!         }
//!     }
//! }
//!
//! // Three trajectories, [3, 2] row by row, from t = 0 to t = 10.
//! let start = [0.1, 0.0, 1.0, 0.0, 3.0, 0.0];
//! let options = Options { rtol: 1e-8, atol: 1e-8, ..Options::default() };
//! let (solution, _) = solve(|| (Pendulum, ()), &start, (0.0, 10.0), &options)?;
//!
//! let energy = |y: &[f64]| 0.5 * y[1] * y[1] - y[0].cos();
//! for ((first, last), report) in start.chunks(2).zip(solution.y.chunks(2)).zip(&solution.reports) {
//!     assert!(report.status.is_ok());
//!     assert!((energy(first) - energy(last)).abs() < 1e-6);
//! }
//! # Ok::<(), cnflow_solvers::SolveError>(())
//! ```
//!
//! | for | see |
//! |---|---|
//! | a method by name, explicit or implicit | [`Method`], [`methods`] |
//! | tolerances, equal steps, limits | [`Options`] |
//! | states at chosen times | [`SaveAt`] |
//! | integrals along each trajectory | [`Quadrature`] |
//! | gradients of the computed solution | [`Tape`], [`gradient`] |
//! | the number of finished trajectories; stopping a solve | [`Progress`], [`StopWhen`] |
//! | anything else at each accepted step | [`Observer`] |
//!
//! [`solve()`] uses the threads of rayon's current pool, [`solve_here`] the calling thread alone. This crate works on
//! slices; it depends on no network, no tensor library and no density.
//!
//! The feature `implicit` (on by default) adds the methods `bdf`, `tr_bdf2` and `esdirk34` for stiff fields, by
//! diffsol.

pub mod control;
pub mod error;
pub mod field;
pub mod gauss;
pub mod gradient;
#[cfg(feature = "implicit")]
mod implicit;
mod initial;
pub mod lanes;
pub mod method;
pub mod methods;
pub mod observe;
pub mod options;
pub mod progress;
pub mod quadrature;
pub mod real;
pub mod report;
mod rk;
pub mod save;
pub mod solve;
pub mod stiffness;
pub mod tableau;
pub mod tape;
mod work;

pub use control::{Controller, Law};
pub use error::{Failure, Remedy, SolveError};
pub use field::{At, Jvp, VectorField, Vjp};
pub use gauss::Gauss;
pub use lanes::{LANE_BLOCK, Lanes, LanesMut, stride_for};
pub use method::{Implicit, Method};
pub use observe::{Observer, Step};
pub use options::Options;
pub use progress::{Progress, StopWhen};
pub use quadrature::{Integral, Quadrature};
pub use real::Real;
pub use report::{Report, Summary};
pub use save::SaveAt;
pub use solve::{Solution, solve, solve_as, solve_here};
pub use stiffness::StiffnessMeter;
pub use tableau::Tableau;
pub use tape::Tape;

/// The examples of the README, compiled and run.
#[cfg(all(doctest, feature = "implicit"))]
#[doc = include_str!("../README.md")]
struct Readme;
