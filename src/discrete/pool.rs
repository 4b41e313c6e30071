//! A pool of the scratch of flows of images, for the next flow of the same layers.
//!
//! A Glow of 28 × 28 pixels keeps some tens of MB of a pass for its pull-back, and each step of training has other
//! parameters and so another flow. No result depends on the pool: a pass reads nothing that the same pass did not
//! write.

use std::sync::Arc;

use cnflow_kernels::pool::Pool;

use super::spec::DiscreteSpec;

/// What scratch fits: the layers, the rows of a chunk, and whether passes are pulled back.
#[derive(Clone, PartialEq)]
pub(super) struct Home {
    pub spec: Arc<DiscreteSpec>,
    pub lanes: usize,
    pub learns: bool,
}

/// Two for each of sixteen threads.
pub(super) static POOL: Pool<Home> = Pool::new(32);
