//! A bound on the gradient's length: one bad batch must not move the weights far.
//!
//! Ref: Pascanu, Mikolov & Bengio, *On the difficulty of training recurrent neural networks* (2013).

/// The length of the gradient, and the factor that brings it to `most` where it is longer.
pub(super) fn clip(gradient: &[f64], most: f64) -> (f64, f64) {
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    (norm, if norm > most { most / norm } else { 1.0 })
}
