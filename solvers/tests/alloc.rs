//! No allocation inside a step: ten times the steps allocate not once more.

// An allocator is unsafe by nature.
#![allow(unsafe_code)]

#[path = "it/problems/mod.rs"]
mod problems;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use cnflow_solvers::gauss::RULES;
use cnflow_solvers::{Method, Observer, Options, Quadrature, Real, Solution, Step, methods, solve_here};
use problems::{Field, LINEAR};

struct Counting;

thread_local! {
    /// Of this thread: the test harness allocates on its own while a test begins.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that is being torn down has nothing left to count in.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the system's.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Evaluates the dense output of every step.
struct Looks<T>(Vec<T>);

impl<T: Real> Observer<T> for Looks<T> {
    fn dense(&self) -> bool {
        true
    }
    fn accepted(&mut self, step: &dyn Step<T>) {
        step.at(0.5, &mut self.0);
    }
}

/// (allocations, steps) of a solve of 40 trajectories in tiles of 16.
fn cost<T: Real>(options: &Options, y0: &[T]) -> (usize, u32) {
    let field = Field::new(2, LINEAR[1].f);
    let looks = Looks(vec![T::ZERO; 2]);
    let before = ALLOCATIONS.get();
    let Solution { reports, .. } = solve_here(field, looks, y0, (0.0, 3.0), options).unwrap();
    let after = ALLOCATIONS.get();
    (after - before, reports.iter().map(|r| r.accepted + r.rejected).sum())
}

#[test]
fn steps_allocate_nothing() {
    fn check<T: Real>() {
        let y0: Vec<T> = (0..80).map(|i| T::of(0.1 + 0.01 * f64::from(i))).collect();
        for method in methods::ALL {
            let options = |steps| Options { method: Method::Explicit(method), steps, lanes: 16, ..Options::default() };
            let (few, many) = (cost(&options(Some(10)), &y0), cost(&options(Some(100)), &y0));
            assert!(many.1 == 10 * few.1, "{}", method.name);
            assert_eq!(few.0, many.0, "{}, equal steps", method.name);
            if method.adaptive() {
                let tight = |max_step| Options { max_step, rtol: 1e-3, atol: 1e-3, ..options(None) };
                let (few, many) = (cost(&tight(0.3), &y0), cost(&tight(0.003), &y0));
                assert!(many.1 > 10 * few.1, "{}: {few:?} {many:?}", method.name);
                assert_eq!(few.0, many.0, "{}", method.name);
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn a_quadrature_allocates_for_trajectories_not_for_steps() {
    let y0: Vec<f64> = (0..80).map(|i| 0.1 + 0.01 * f64::from(i)).collect();
    let cost = |max_step: f64| {
        let options = Options { max_step, lanes: 16, ..Options::default() };
        let field = || Field::new(2, LINEAR[1].f);
        let mut quadrature = Quadrature::new(field(), &RULES[1], Some(1e-3), 4, 16);
        let before = ALLOCATIONS.get();
        let Solution { reports, .. } = solve_here(field(), &mut quadrature, &y0, (0.0, 3.0), &options).unwrap();
        (ALLOCATIONS.get() - before, reports.iter().map(|r| r.accepted).sum::<u32>())
    };
    let (few, many) = (cost(0.1), cost(0.01));
    assert!(many.1 > 8 * few.1, "{few:?} {many:?}");
    // Lists of panels double their room as they grow: a few more times for each path under way, not once a step.
    assert!(many.0 < few.0 + 16 * 20, "{few:?} {many:?}");
}
