//! Rows through a bijection, as new ones.

use cnflow::transform::{Bijection, Mapped};

/// The rows of `z` on the data's side.
pub fn forward(map: &dyn Bijection, z: &[f64], condition: &[f64]) -> Mapped {
    let mut rows = Mapped::new(z.to_vec(), map.dim());
    map.forward(&mut rows, condition).unwrap();
    rows
}

/// The rows of `x` on the latent's side.
pub fn inverse(map: &dyn Bijection, x: &[f64], condition: &[f64]) -> Mapped {
    let mut rows = Mapped::new(x.to_vec(), map.dim());
    map.inverse(&mut rows, condition).unwrap();
    rows
}
