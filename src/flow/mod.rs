//! Densities by change of variables.
//!
//! A [`Model`] is a file: a [`FlowSpec`] and its parameters. [`Model::bind`] makes a [`BoundModel`] of it, which takes plain
//! rows and gives log-densities, samples, latents, stages. Inside, a [`Flow`] is a standard normal and a [`Bijection`]; a
//! continuous flow and a standardisation are bijections like any other.
//! log p(x) = log N(z; 0, I) − log|det ∂x/∂z|, in the units of the data.

pub mod bars;
pub mod base;
pub mod bijection;
pub mod bound;
pub mod chain;
pub mod column;
pub mod columns;
pub mod condition;
pub mod continuous;
pub mod core;
pub mod cost;
pub mod density;
pub mod discrete;
pub mod gradient;
pub mod histogram;
pub mod identity;
pub mod mixture;
pub mod model;
mod normal;
pub mod paths;
pub mod precision;
pub mod rosenblatt;
pub mod solver;
pub mod spec;
pub mod stages;
pub mod standardise;
pub mod taped;
pub mod transport;
pub mod velocity;

pub use bars::{Bars, ErrorBars};
pub use base::{Base, StandardNormal};
pub use bijection::{Bijection, Mapped};
pub use bound::{BoundCore, BoundModel};
pub use chain::Chain;
pub use column::{Column, ColumnKind};
pub use columns::Columns;
pub use condition::{Condition, Given, GivenKind, Range};
pub use continuous::{BoundVelocity, Continuous};
pub use core::Core;
pub use cost::{Cost, check_failures};
pub use density::{Flow, Points, Scored, Solved};
pub use discrete::{Discrete, DiscreteSpec};
pub use gradient::ScoredGradient;
pub use histogram::{Histogram, Tail};
pub use identity::Identity;
pub use mixture::{Chosen, EmOptions, Gaussian, Mixture};
pub use model::Model;
pub use paths::{End, Paths};
pub use precision::Precision;
pub use rosenblatt::Rosenblatt;
pub use solver::{LogDensity, Method, SolverSpec, TraceSpec};
pub use spec::{FlowSpec, Moments};
pub use stages::Stages;
pub use standardise::Standardise;
pub use velocity::VelocitySpec;

pub use crate::error::Failure;
pub use crate::velocity::Penalties;

use crate::{Error, Result};

/// Refuses a time that is not between the latent, at 0, and the data, at 1.
pub(crate) fn check_time(t: f64) -> Result<()> {
    if (0.0..=1.0).contains(&t) {
        return Ok(());
    }
    let problem = format!("time {} is outside [0, 1]", crate::words::exact(t));
    Err(Error::invalid(problem, "give a time from 0 to 1"))
}
