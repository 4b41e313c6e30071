//! Continuous normalizing flows: exact densities and exact inverses by adaptive ODE solvers.
//!
//! The flow is dx/dt = m_θ(x, t) on t ∈ \[0, 1\]; t = 0 is the latent (standard normal), t = 1 the data.
//! log p(x) = log N(z; 0, I) − ∫₀¹ tr(∂m/∂x) dt along the path that ends in x, in nats, in the units
//! of the user's data. At every public edge an array is `[n, d]`, row-major.

pub mod apply;
mod base64;
pub mod check;
pub mod compare;
pub mod data;
pub mod error;
pub mod flow;
pub mod html;
pub mod io;
pub mod memory;
pub mod names;
pub mod plot;
pub mod rng;
pub mod stats;
pub mod train;
pub mod velocity;
pub mod words;

pub use error::{Error, Result};
pub use rng::Rng;
