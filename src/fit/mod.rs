//! Fits without gradients: mixtures by expectation-maximisation, one Gaussian, tables of probabilities.

mod choose;
mod effort;
mod em;
mod gaps;
pub mod histogram;
mod insert;
pub mod kind;
mod mixture;
mod single;
mod start;
mod units;

pub use choose::Chosen;
pub use effort::EmOptions;
pub use em::Em;
pub use gaps::{Gapped, GappedStep, Prior, present_moments};
pub use histogram::Rung;
pub use single::Gaussian;
