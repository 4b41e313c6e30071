//! What the thread that asks has allocated: how often, and how much at once.

// An allocator is unsafe by nature.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// How often memory was asked for.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes held, the most that were held, and the largest request.
    static HELD: Cell<i64> = const { Cell::new(0) };
    static MOST: Cell<i64> = const { Cell::new(0) };
    static LARGEST: Cell<i64> = const { Cell::new(0) };
}

fn count(change: i64) {
    let held = HELD.get() + change;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
    LARGEST.set(LARGEST.get().max(change));
    if change > 0 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    }
}

// SAFETY: hands everything to the system's allocator. What grows is a new request, by the trait's own `realloc`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread has asked for memory so far.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// The result of some work, the most bytes that it held, and its largest request.
pub fn measured<R>(work: impl FnOnce() -> R) -> (R, i64, i64) {
    let before = HELD.get();
    MOST.set(before);
    LARGEST.set(0);
    let result = work();
    (result, MOST.get() - before, LARGEST.get())
}
