//! tmp
pub fn pair(_x: &[f64], _z: &mut [f64], _d: usize, _block: usize) {}
