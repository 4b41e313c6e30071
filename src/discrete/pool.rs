//! The scratch of a flow, and a pool of that of flows of images.
//!
//! A Glow of 28 × 28 pixels keeps some tens of MB of a pass for its pull-back. Each step of training has other
//! parameters and so another flow, and to have the system map and clear the pages anew would take as long as a part of
//! the step. So scratch that is dropped stays here for the next flow of the same layers: at most [`MOST`] of them, and
//! at most [`MOST_BYTES`]; those that were given first go first. No result depends on it: a pass reads nothing that
//! the same pass did not write.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use cnflow_kernels::Scalar;

use super::DiscreteSpec;
use super::net::Buffers;

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

/// The scratch of one caller; of images it goes back to the pool.
pub(crate) struct Scratch<T: Scalar> {
    pub(super) room: Buffers<T>,
    pub(super) home: Option<Home>,
}

struct Kept {
    home: Home,
    bytes: usize,
    /// [`Buffers`] in f32 or f64.
    room: Box<dyn Any + Send>,
}

/// Those given last are at the end.
static POOL: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// Scratch that was kept.
pub(super) fn take<T: Scalar>(home: &Home) -> Option<Buffers<T>> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let index = pool.iter().rposition(|kept| kept.room.is::<Buffers<T>>() && kept.home == *home)?;
    let kept = pool.remove(index);
    drop(pool);
    kept.room.downcast().ok().map(|room| *room)
}

fn give<T: Scalar>(home: Home, room: Buffers<T>) {
    let bytes = room.bytes();
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

impl<T: Scalar> Drop for Scratch<T> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            give(home, std::mem::replace(&mut self.room, Buffers::empty()));
        }
    }
}

impl<T: Scalar> Deref for Scratch<T> {
    type Target = Buffers<T>;

    fn deref(&self) -> &Buffers<T> {
        &self.room
    }
}

impl<T: Scalar> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut Buffers<T> {
        &mut self.room
    }
}
