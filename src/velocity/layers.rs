//! The general velocity: a net of layers as a tensor library has them, on any of its devices.
//!
//! What it is made of ([`LayerNetSpec`]) is plain data and stands in a model file. What computes it (`LayerNet`) is
//! candle's, and so is everything else below this module: without the feature `candle` such a model can be read, not
//! used.

#[cfg(not(feature = "candle"))]
mod absent;
#[cfg(feature = "candle")]
mod activation;
#[cfg(feature = "candle")]
mod concatsquash;
#[cfg(feature = "candle")]
mod evaluator;
#[cfg(feature = "candle")]
mod linear;
#[cfg(feature = "candle")]
mod net;
#[cfg(feature = "candle")]
mod pair;
mod spec;

#[cfg(not(feature = "candle"))]
pub use absent::{Number, bind};
#[cfg(feature = "candle")]
pub use net::{LayerNet, Number, bind};
pub use spec::{Layer, LayerNetSpec};
