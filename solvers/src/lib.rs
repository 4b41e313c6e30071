//! Integration of many independent trajectories of dy/dt = f(t, y).
//!
//! A batch is a set of *lanes*: every trajectory has its own time, its own step, its own
//! accept/reject and its own count of evaluations. Lanes never mix, so the result of a sample is
//! the same bits whatever else is in the batch.
//!
//! This crate knows slices; it knows no network, no tensor library and no density.

pub mod adjoint;
pub mod control;
pub mod error;
pub mod field;
pub mod gauss;
pub mod gradient;
mod initial;
pub mod lanes;
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
pub mod stiff;
pub mod stiffness;
pub mod tableau;
pub mod tape;

pub use control::{Controller, Law};
pub use error::{Failure, SolveError};
pub use field::{At, Jvp, VectorField, Vjp};
pub use lanes::{Lanes, LanesMut};
pub use observe::{Observer, Step};
pub use options::Options;
pub use quadrature::Quadrature;
pub use real::Real;
pub use report::{Report, Summary};
pub use solve::{Solution, solve};
pub use tableau::Tableau;
pub use tape::Tape;
