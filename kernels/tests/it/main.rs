//! The laws of the kernels and of nets, as one program.

mod bounds;
mod cases;
mod image;
mod image_cases;
mod kernels;
mod net;
mod points;
mod spec;
mod vectors;
