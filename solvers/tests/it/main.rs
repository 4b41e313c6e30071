//! The laws of the solvers, over all methods. `tests/alloc.rs` is a program of its own: it counts allocations.
#![allow(missing_docs)]

mod backward;
mod common;
mod gradients;
#[cfg(feature = "implicit")]
mod implicit;
mod lanes;
#[cfg(feature = "implicit")]
mod oracle;
mod order;
#[cfg(not(feature = "implicit"))]
mod plain;
mod problems;
mod quadrature;
mod stats;
mod stop;
mod tableau;
mod tolerance;
