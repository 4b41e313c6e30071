//! A pool of workspaces of nets on images, for the next evaluator.
//!
//! No result depends on it: every workspace of a net has room for everything, and a pass reads nothing that was not
//! written since its net last ran.

use cnflow_kernels::pool::Pool;
use cnflow_kernels::{ImageNet, ImageNetSpec, ImageWorkspace, Scalar};

/// Two for each of eight threads; by their memory 13 of 28 × 28 pixels in f64, or five of 64 × 64 in f32.
static POOL: Pool<ImageNetSpec> = Pool::new(16);

/// A workspace, from those kept or new.
pub(super) fn take<T: Scalar>(net: &ImageNet<T>) -> ImageWorkspace<T> {
    POOL.take::<ImageWorkspace<T>>(net.spec()).unwrap_or_else(|| net.workspace())
}

/// Keeps a workspace for the next one who takes.
pub(super) fn give<T: Scalar>(net: &ImageNet<T>, ws: ImageWorkspace<T>) {
    POOL.give(net.spec().clone(), ws.bytes(), ws);
}
