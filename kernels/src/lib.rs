//! Small neural nets on tiles of lanes: values, tangents and gradients, the same bits with and without AVX2.
//!
//! A batch is a set of *lanes*, 16 to a block; a [`Tile`] is `[block][row][16]`. A [`Net`] is a list of operations
//! ([`Op`]) with an [`Activation`] behind each where it has one. Of a net there is the value, the tangent J ẋ, the
//! pull-back Jᵀ ȳ with the gradient by θ, and the pull-back of tangents: whatever is made of a value and of
//! directional derivatives (a divergence, a penalty on a Jacobian) has an exact gradient, without a graph and without
//! an allocation.
//!
//! ```
//! use cnflow_solvers::{Lanes, LanesMut};
//! use cnflow_kernels::{Activation, Keep, Net, NetSpec};
//!
//! // 2 → 3 → 1 with tanh between; θ is W₁ [3, 2], b₁ [3], W₂ [1, 3], b₂ [1].
//! let spec = NetSpec::mlp(&[2, 3, 1], Activation::Tanh, 2);
//! let theta: Vec<f64> = (0..spec.n_params()).map(|i| (i as f64).sin()).collect();
//! let net = Net::new(&spec, &theta)?;
//!
//! // Two points: rows of 16 slots, of which two are in use.
//! let mut x = [0.0; 2 * 16];
//! (x[0], x[16]) = (0.5, -1.0);
//! (x[1], x[17]) = (0.25, 2.0);
//! let (mut y, mut y_bar) = ([0.0; 16], [0.0; 16]);
//! let mut evaluator = net.evaluator(2);
//! evaluator.forward(Lanes::new(&x, 2, 2, 16), LanesMut::new(&mut y, 1, 2, 16), Keep::First);
//!
//! // The gradient of Σ y² / 2 by θ, and by x.
//! y_bar[..2].copy_from_slice(&y[..2]);
//! let (mut x_bar, mut gradient) = ([0.0; 2 * 16], vec![0.0; spec.n_params()]);
//! evaluator.pull_back(Some(Lanes::new(&y_bar, 1, 2, 16)), LanesMut::new(&mut x_bar, 2, 2, 16), &mut gradient);
//! // b₂ is added to every y.
//! assert_eq!(gradient[12], y[0] + y[1]);
//! # Ok::<(), cnflow_kernels::Error>(())
//! ```
//!
//! **The same bits.** Every sum has a fixed order, every operation rounds once, and the two kinds of vectors ([`simd`])
//! agree bit by bit. So a lane's result depends neither on its slot, nor on its neighbours, nor on the machine.
//!
//! The modules below [`net`] are the kernels themselves, for closed forms that a list of operations does not have:
//! [`product`] with its [`epilogue`]s, [`outer`], [`lanewise`], and [`pieces`], two relu layers of one number. A
//! [`pool`] keeps large scratch for the next caller.
//! Unsafe code is denied in this crate but for the modules of the kernels, which check shapes at their safe entries.

pub mod activation;
pub mod epilogue;
mod error;
pub mod image;
pub mod lanewise;
pub mod math;
pub mod net;
#[cfg(test)]
mod numbers;
pub mod op;
pub mod outer;
pub mod pieces;
pub mod pool;
#[cfg(all(feature = "portable-math", not(windows)))]
mod portable;
pub mod product;
pub mod simd;
pub mod tile;

pub use activation::Activation;
pub use error::{Error, Result};
pub use image::{
    Embedding, ImageEvaluator, ImageNet, ImageNetSpec, ImageOp, ImageParams, ImageRoom, ImageShape, ImageWorkspace,
};
pub use net::{Keep, Net, NetEvaluator, NetSpec, OpSpec, Passive, Tangents, Workspace};
pub use op::{Dense, Op};
pub use simd::{Isa, Scalar};
pub use tile::Tile;
