//! Scratch that nobody uses any longer, for the next caller who needs the same.
//!
//! For 28 × 28 pixels in f32 a workspace of images has 39 MB. To have the system map and clear so many pages takes 10
//! to 20 ms, as long as a step of training (13 ms for 16 images); and each step has other parameters, and so its own
//! nets and callers. A pool keeps scratch up to a count and up to [`MOST_BYTES`]; what was given first goes first.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

/// What the scratch of a pool has together.
pub const MOST_BYTES: usize = 1 << 30;

/// Scratch of any types, each with a key: what it fits.
#[derive(Debug)]
pub struct Pool<K> {
    most: usize,
    /// What was given last is at the end.
    kept: Mutex<Vec<Kept<K>>>,
}

#[derive(Debug)]
struct Kept<K> {
    key: K,
    bytes: usize,
    scratch: Box<dyn Any + Send>,
}

impl<K: PartialEq> Pool<K> {
    /// Keeps `most` at most.
    pub const fn new(most: usize) -> Self {
        Self { most, kept: Mutex::new(Vec::new()) }
    }

    /// Scratch of a type that was given with this key.
    pub fn take<S: Any>(&self, key: &K) -> Option<S> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one, whose pages are most likely in the caches still.
        let index = all.iter().rposition(|kept| kept.scratch.is::<S>() && kept.key == *key)?;
        let kept = all.remove(index);
        drop(all);
        kept.scratch.downcast::<S>().ok().map(|scratch| *scratch)
    }

    /// Keeps scratch of so many bytes for the next one who takes.
    pub fn give<S: Any + Send>(&self, key: K, bytes: usize, scratch: S) {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Kept { key, bytes, scratch: Box::new(scratch) });
        let first = surplus(&all.iter().map(|kept| kept.bytes).collect::<Vec<_>>(), self.most);
        let gone: Vec<Kept<K>> = all.drain(..first).collect();
        // To give their pages back takes a while: not while others wait.
        drop(all);
        drop(gone);
    }
}

/// How many of the first have to go, of scratch of these sizes.
fn surplus(bytes: &[usize], most: usize) -> usize {
    let mut left = MOST_BYTES;
    let fits = |bytes: &&usize| {
        let rest = left.checked_sub(**bytes);
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    bytes.len() - bytes.iter().rev().take(most).take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_as_far_as_there_is_room() {
        let most = 16;
        assert_eq!(surplus(&[], most), 0);
        assert_eq!(surplus(&[1; 16], most), 0);
        assert_eq!(surplus(&[1; 19], most), 3);
        let half = MOST_BYTES / 2;
        assert_eq!(surplus(&[half, half], most), 0);
        assert_eq!(surplus(&[1, half, half], most), 1);
        assert_eq!(surplus(&[half, half, half + 1], most), 2);
        assert_eq!(surplus(&[1, MOST_BYTES + 1], most), 2);
    }

    #[test]
    fn scratch_is_found_by_its_key_and_its_type_the_last_one_first() {
        let pool = Pool::new(2);
        pool.give('a', 1, 1_u8);
        pool.give('a', 1, 2_u8);
        assert_eq!((pool.take::<u8>(&'b'), pool.take::<u16>(&'a')), (None, None));
        assert_eq!([0; 3].map(|_| pool.take::<u8>(&'a')), [Some(2), Some(1), None]);
        (3..6_u8).for_each(|scratch| pool.give('a', 1, scratch));
        assert_eq!([0; 3].map(|_| pool.take::<u8>(&'a')), [Some(5), Some(4), None]);
    }
}
