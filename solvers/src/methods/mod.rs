//! The explicit methods, each a static table: a new one is a file, a `pub use` and a place in [`ALL`], and meets every
//! law.
//!
//! | name | order | stages | for |
//! |---|---|---|---|
//! | `euler`, `midpoint`, `heun`, `rk4`, `rk4_38` | 1, 2, 2, 4, 4 | 1, 2, 2, 4, 4 | fixed steps |
//! | `heun_euler` | 2(1) | 2 | the simplest pair |
//! | `bosh3` | 3(2) | 3 + 1 shared | tolerances ≥ 1e-2 |
//! | `dopri5` | 5(4) | 6 + 1 shared | as FFJORD |
//! | `tsit5` | 5(4) | 6 + 1 shared | most work |
//! | `vern7` | 7(6) | 10, 3 more for dense output | tolerances ≤ 1e-8 |
//! | `dop853` | 8(5,3) | 12 + 1 shared, 3 more for dense output | tight tolerances, smooth fields |

mod bosh3;
mod dop853;
mod dopri5;
mod euler;
mod heun;
mod midpoint;
mod rk4;
mod tsit5;
mod vern7;

pub use bosh3::BOSH3;
pub use dop853::DOP853;
pub use dopri5::DOPRI5;
pub use euler::EULER;
pub use heun::{HEUN, HEUN_EULER};
pub use midpoint::MIDPOINT;
pub use rk4::{RK4, RK4_38};
pub use tsit5::TSIT5;
pub use vern7::VERN7;

use crate::error::SolveError;
use crate::tableau::Tableau;

/// Every explicit method, in the order of the table above: fixed-step methods first, then pairs by order.
pub static ALL: &[&Tableau] =
    &[&EULER, &MIDPOINT, &HEUN, &RK4, &RK4_38, &HEUN_EULER, &BOSH3, &DOPRI5, &TSIT5, &VERN7, &DOP853];

/// The method of that name.
///
/// # Errors
/// [`SolveError::UnknownMethod`], which lists the names known.
pub fn named(name: &str) -> Result<&'static Tableau, SolveError> {
    ALL.iter().copied().find(|method| method.name == name).ok_or_else(|| SolveError::UnknownMethod {
        name: name.to_owned(),
        known: ALL.iter().map(|method| method.name).collect::<Vec<_>>().join(", "),
    })
}
