//! Workspaces of nets on images, kept for the next evaluator.
//!
//! For 28 × 28 pixels in f32 a workspace has 27 MB. To have the system map and clear so many pages takes 10 to 20 ms, more
//! than a step of training (6 ms for 16 images); and each step of training has its own velocity and evaluators, since θ
//! changes. So a workspace that is no longer used stays here, at most [`MOST`] of them. No result depends on it: a pass
//! reads nothing that was not written since its net last ran.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

use cnflow_kernels::{ImageNet, ImageNetSpec, ImageWorkspace, Keep, Scalar};

/// How many are kept: two for each of eight threads.
const MOST: usize = 16;

/// The spec of a net, and a workspace for it.
type Room = (ImageNetSpec, Box<dyn Any + Send>);

static KEPT: Mutex<Vec<Room>> = Mutex::new(Vec::new());

/// A workspace with room for everything, from those kept or new.
pub(super) fn take<T: Scalar>(net: &ImageNet<T>) -> ImageWorkspace<T> {
    let kept = {
        let mut rooms = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |(spec, room): &Room| spec == net.spec() && room.is::<ImageWorkspace<T>>();
        rooms.iter().position(fits).map(|index| rooms.swap_remove(index).1)
    };
    let kept = kept.and_then(|room| room.downcast::<ImageWorkspace<T>>().ok());
    kept.map_or_else(|| net.workspace(Keep::Second, true), |room| *room)
}

/// Keeps a workspace for the next one who takes.
pub(super) fn give<T: Scalar>(net: &ImageNet<T>, ws: ImageWorkspace<T>) {
    let mut rooms = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if rooms.len() == MOST {
        // The one that nobody has taken for longest.
        rooms.remove(0);
    }
    rooms.push((net.spec().clone(), Box::new(ws)));
}
