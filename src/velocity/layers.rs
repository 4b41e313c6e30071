//! The general velocity: a net of layers as a tensor library has them, on any of its devices.
//!
//! What it is made of ([`LayerNetSpec`]) is plain data and stands in a model file. What computes it ([`LayerNet`]) is
//! candle's, and so is everything else below this module.

mod activation;
mod concatsquash;
mod evaluator;
mod linear;
mod net;
mod pair;
mod spec;

pub use net::{LayerNet, Number, bind};
pub use spec::{Layer, LayerNetSpec};
