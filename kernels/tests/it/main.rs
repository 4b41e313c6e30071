//! The laws of the kernels and of nets, as one program.

mod bounds;
mod cases;
mod kernels;
mod net;
mod spec;
mod vectors;
