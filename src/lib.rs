//! Continuous normalizing flows: exact densities and exact inverses by adaptive ODE solvers.
//!
//! The flow is dx/dt = m_θ(x, t) on t ∈ \[0, 1\]; t = 0 is the latent (standard normal), t = 1 the data.
//! log p(x) = log N(z; 0, I) − ∫₀¹ tr(∂m/∂x) dt along the path that ends in x, in nats, in the units
//! of the user's data. At every public edge an array is `[n, d]`, row-major.
//!
//! A model file is loaded, gives samples, and carries them back with their log-density:
//!
//! ```
//! use candle_core::DType;
//! use cnflow::{flow::Model, rng::stream};
//!
//! let model = Model::load("tests/fixtures/finished/flow/model.safetensors".as_ref())?;
//! let flow = model.flow(DType::F64)?;
//! let x = flow.sample(1000, None, &mut stream(42, 0))?;
//! let (z, log_prob, cost) = flow.encode(&x, None)?;
//! assert_eq!((z.dims(), log_prob.dims(), cost.failures.len()), (&[1000, 2][..], &[1000][..], 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod apply;
mod base64;
pub mod check;
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

pub use error::{Error, Result};
pub use rng::Rng;
