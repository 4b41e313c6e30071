//! A pool of workspaces of nets on images, for the next evaluator.
//!
//! For 28 × 28 pixels in f32 a workspace has 39 MB. To have the system map and clear so many pages takes 10 to 20 ms,
//! as long as a step of training (13 ms for 16 images); and each step of training has its own velocity and evaluators,
//! since θ changes. So a workspace that is no longer used stays here: at most [`MOST`] of them, and at most
//! [`MOST_BYTES`]; those that were given first go first. No result depends on it: every workspace of a net has room for
//! everything, and a pass reads nothing that was not written since its net last ran.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

use cnflow_kernels::{ImageNet, ImageNetSpec, ImageWorkspace, Scalar};

/// How many are kept: two for each of eight threads.
const MOST: usize = 16;

/// What they have together: 13 of 28 × 28 pixels in f64, or five of 64 × 64 in f32.
const MOST_BYTES: usize = 1 << 30;

/// A workspace that is kept.
struct Kept {
    /// The net that it is for.
    spec: ImageNetSpec,
    bytes: usize,
    /// An [`ImageWorkspace`] in f32 or f64.
    ws: Box<dyn Any + Send>,
}

/// Those given last are at the end.
static POOL: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// A workspace, from those kept or new.
pub(super) fn take<T: Scalar>(net: &ImageNet<T>) -> ImageWorkspace<T> {
    let kept = {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |kept: &Kept| kept.spec == *net.spec() && kept.ws.is::<ImageWorkspace<T>>();
        // The last one, whose pages are most likely in the caches still.
        pool.iter().rposition(fits).map(|index| pool.remove(index).ws)
    };
    let kept = kept.and_then(|ws| ws.downcast::<ImageWorkspace<T>>().ok());
    kept.map_or_else(|| net.workspace(), |ws| *ws)
}

/// Keeps a workspace for the next one who takes.
pub(super) fn give<T: Scalar>(net: &ImageNet<T>, ws: ImageWorkspace<T>) {
    let kept = Kept { spec: net.spec().clone(), bytes: ws.bytes(), ws: Box::new(ws) };
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    pool.push(kept);
    let first = surplus(&pool.iter().map(|kept| kept.bytes).collect::<Vec<_>>());
    let gone: Vec<Kept> = pool.drain(..first).collect();
    // To give their pages back takes a while: not while others wait.
    drop(pool);
    drop(gone);
}

/// How many of the first have to go, of workspaces of these sizes.
fn surplus(bytes: &[usize]) -> usize {
    let mut left = MOST_BYTES;
    let fits = |bytes: &&usize| {
        let rest = left.checked_sub(**bytes);
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    bytes.len() - bytes.iter().rev().take(MOST).take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_as_far_as_there_is_room() {
        assert_eq!(surplus(&[]), 0);
        assert_eq!(surplus(&[1; MOST]), 0);
        assert_eq!(surplus(&[1; MOST + 3]), 3);
        let half = MOST_BYTES / 2;
        assert_eq!(surplus(&[half, half]), 0);
        assert_eq!(surplus(&[1, half, half]), 1);
        assert_eq!(surplus(&[half, half, half + 1]), 2);
        assert_eq!(surplus(&[1, MOST_BYTES + 1]), 2);
    }
}
