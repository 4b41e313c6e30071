//! Random cases for the tests of what reads files. Each case has a stream of its own, and is named where it fails.

use std::ops::Range;

use cnflow::{Rng, rng};
use rand::Rng as _;

const SEED: u64 = 5;

/// The case that is running: `rng::stream(SEED, case)` draws it again.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed in random case {}", self.0);
        }
    }
}

/// Checks `count` cases, each with a generator of its own.
pub fn cases(count: u64, mut check: impl FnMut(&mut Rng)) {
    for case in 0..count {
        let _case = Case(case);
        check(&mut rng::stream(SEED, case));
    }
}

/// One of several.
pub fn one_of<T: Copy>(rng: &mut Rng, list: &[T]) -> T {
    list[rng.random_range(0..list.len())]
}

/// Bytes, so many as the range allows.
pub fn bytes(rng: &mut Rng, lengths: Range<usize>) -> Vec<u8> {
    let length = rng.random_range(lengths);
    (0..length).map(|_| rng.random()).collect()
}

/// A text of these letters, so many as the range allows.
pub fn text(rng: &mut Rng, letters: &str, lengths: Range<usize>) -> String {
    let letters: Vec<char> = letters.chars().collect();
    let length = rng.random_range(lengths);
    (0..length).map(|_| one_of(rng, &letters)).collect()
}
