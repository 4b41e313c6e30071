//! Continuous normalizing flows: densities and inverses by adaptive ODE solvers, and the discrete flows beside them.
//!
//! The flow is dx/dt = m_θ(x, t) on t ∈ \[0, 1\]; t = 0 is the latent (standard normal), t = 1 the data.
//! log p(x) = log N(z; 0, I) − ∫₀¹ tr(∂m/∂x) dt along the path that ends in x, in nats, in the units
//! of the user's data. At every public edge an array is `[n, d]`, row-major.
//!
//! A model file is loaded and bound once; then it takes and gives plain numbers, with a result for each row:
//!
//! ```
//! use cnflow::{Model, Precision, rng};
//!
//! let model = Model::load("tests/fixtures/finished/flow/model.safetensors".as_ref())?.bind(Precision::F64)?;
//! let x = model.sample(1000, &[], &mut rng::stream(42, 0))?.y;
//! let back = model.encode(&x, &[])?;
//! assert_eq!((back.y.len(), back.log_prob.len(), back.cost.failures.len()), (2000, 1000, 0));
//! let scored = model.log_prob_and_grad(&x[..2], &[])?;
//! let (log_prob, gradient) = scored.row(0)?;
//! assert!(log_prob.is_finite() && gradient.len() == 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The command names the library as its users do.
#[cfg(feature = "cli")]
extern crate self as cnflow;

pub mod apply;
mod base64;
pub mod check;
#[cfg(feature = "cli")]
mod cli;
pub mod compare;
pub mod continuous;
pub mod discrete;
pub mod error;
pub mod fit;
pub mod html;
pub mod io;
pub mod memory;
pub mod model;
pub mod names;
#[cfg(feature = "plot")]
pub mod plot;
pub mod rng;
pub mod rows;
pub mod stats;
pub mod train;
pub mod transform;
pub mod velocity;
pub mod words;

#[cfg(feature = "cli")]
pub use cli::{command, command_of_crew};
pub use cnflow_kernels::ImageShape;
pub use error::{Error, Failure, Result};
pub use model::{BoundModel, FlowSpec, Model};
pub use rng::Rng;
pub use rows::Rows;
pub use transform::Bijection;
pub use velocity::Precision;

/// The code of the guide is run.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide/library.md")]
struct Guide;
