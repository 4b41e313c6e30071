//! A pool of the scratch of flows of images, for the next flow of the same layers.
//!
//! A Glow of 28 × 28 pixels keeps some tens of MB of a pass for its pull-back. Each step of training has other
//! parameters and so another flow, and to have the system map and clear the pages anew would take as long as a part of
//! the step. So scratch that is dropped stays here: at most [`MOST`] of them, and at most [`MOST_BYTES`]; those that
//! were given first go first. No result depends on it: a pass reads nothing that the same pass did not write.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use super::spec::DiscreteSpec;

/// How many are kept: two for each of sixteen threads.
const MOST: usize = 32;
/// What they have together.
const MOST_BYTES: usize = 1 << 30;

/// What scratch fits: the layers, the rows of a chunk, and whether passes are pulled back.
#[derive(Clone, PartialEq)]
pub(super) struct Home {
    pub spec: Arc<DiscreteSpec>,
    pub lanes: usize,
    pub learns: bool,
}

struct Kept {
    home: Home,
    bytes: usize,
    room: Box<dyn Any + Send>,
}

/// Those given last are at the end.
static POOL: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// Scratch of a type that was kept.
pub(super) fn take<B: Any>(home: &Home) -> Option<B> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let index = pool.iter().rposition(|kept| kept.room.is::<B>() && kept.home == *home)?;
    let kept = pool.remove(index);
    drop(pool);
    kept.room.downcast().ok().map(|room| *room)
}

/// Keeps scratch of so many bytes for the next one who takes.
pub(super) fn give<B: Any + Send>(home: Home, bytes: usize, room: B) {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    pool.push(Kept { home, bytes, room: Box::new(room) });
    let mut left = MOST_BYTES;
    let fits = |kept: &&Kept| {
        let rest = left.checked_sub(kept.bytes);
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let first = pool.len() - pool.iter().rev().take(MOST).take_while(fits).count();
    let gone: Vec<Kept> = pool.drain(..first).collect();
    // To give their pages back takes a while: not while others wait.
    drop(pool);
    drop(gone);
}
