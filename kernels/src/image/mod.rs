//! Images on lanes.

pub mod shape;

pub use shape::ImageShape;
