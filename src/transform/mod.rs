//! Bijections on rows of plain numbers, and the distributions that they start from.
//!
//! A [`Bijection`] takes rows `[n, d]` in place and adds up their log-determinants. A [`Chain`] composes some; columns
//! with a range, whole numbers and the pixels of images, the standardisation, the map to a mixture and a table of
//! probabilities are here. Continuous flows are in the folder `continuous`, discrete flows in `discrete`.

pub mod base;
pub mod bijection;
pub mod chain;
pub mod classes;
mod closing;
pub mod column;
pub mod columns;
pub mod condition;
pub mod cost;
pub mod dequantise;
mod exact;
mod heavy;
pub mod histogram;
pub mod identity;
pub mod levels;
pub mod mixture;
pub(crate) mod normal;
pub mod pixels;
pub mod rosenblatt;
pub mod simplex;
pub mod standardise;

pub use base::{Base, Latents, StandardNormal};
pub use bijection::{Bijection, Mapped};
pub use chain::Chain;
pub use classes::ClassTable;
pub use closing::{Closing, Off};
pub use column::{Column, ColumnKind};
pub use columns::Columns;
pub use condition::{Condition, ContextColumn, ContextKind, Range};
pub use cost::{Cost, check_failures};
pub use dequantise::{BinNoise, Dequantise, Integers};
pub use heavy::HeavyTails;
pub use histogram::{Histogram, Tail};
pub use identity::Identity;
pub use levels::{LevelMap, LevelScale, Levels};
pub use mixture::Mixture;
pub use pixels::{PixelLayers, PixelTerms, Pixels};
pub use rosenblatt::Rosenblatt;
pub use simplex::{Simplex, Simplexes};
pub use standardise::Standardise;

use crate::{Error, Result};

/// Checks that a time is between the latent, at 0, and the data, at 1.
pub(crate) fn check_time(t: f64) -> Result<()> {
    if (0.0..=1.0).contains(&t) {
        return Ok(());
    }
    let problem = format!("time {} is outside [0, 1]", crate::words::exact(t));
    Err(Error::invalid(problem, "give a time from 0 to 1"))
}
