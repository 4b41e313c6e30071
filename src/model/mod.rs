//! A model: its file, and the functions that it offers.
//!
//! A [`Model`] is a file: a [`FlowSpec`] and its parameters. [`Model::bind`] makes a [`BoundModel`] of it, which takes
//! plain rows and gives log-densities, samples, latents, gradients, stages and error bars. Inside, a [`Flow`] is a
//! standard normal and a [`Bijection`](crate::transform::Bijection): log p(x) = log N(z; 0, I) − log|det ∂x/∂z|, in the
//! units of the data.

pub mod architecture;
pub mod bars;
pub mod base_flow;
pub mod bound;
pub mod density;
pub mod file;
pub mod gradient;
mod lipschitz;
mod marginal;
pub mod spec;
pub mod stages;
pub mod state_dict;

pub use architecture::Architecture;
pub use bars::{Bars, ErrorBars};
pub use base_flow::BaseFlow;
pub use bound::{BoundArchitecture, BoundModel};
pub use density::{Flow, Points, Scored, Solved};
pub use file::Model;
pub use gradient::ScoredGradient;
pub use spec::{FlowSpec, Moments};
pub use stages::Stages;

/// The most rows, and the most numbers, that are solved at a time: the memory of a solve does not grow beyond them.
pub(crate) const BLOCK_ROWS: usize = 1 << 16;
const BLOCK_NUMBERS: usize = 1 << 20;

/// How many rows of `d` columns are solved at a time.
pub(crate) fn block_rows(d: usize) -> usize {
    BLOCK_ROWS.min(BLOCK_NUMBERS / d).max(1)
}
