//! Rows that are equal.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};

/// The bits of a number; 0 and −0 are one number.
fn bits(value: f64) -> u64 {
    (value + 0.0).to_bits()
}

/// For each row of `x` (`[n, d]` row-major) the number of the first row that is equal to it: its own where there is
/// none.
pub fn first_equal(x: &[f64], d: usize) -> Vec<usize> {
    first_of(&[x], d)
}

/// As [`first_equal`], of bytes.
pub fn first_equal_bytes(x: &[u8], d: usize) -> Vec<usize> {
    let mut known: HashMap<&[u8], usize> = HashMap::new();
    x.chunks_exact(d.max(1)).enumerate().map(|(i, row)| *known.entry(row).or_insert(i)).collect()
}

/// As [`first_equal`], of the rows of several tables one after another.
pub fn first_of(tables: &[&[f64]], d: usize) -> Vec<usize> {
    let n = tables.iter().map(|x| x.len() / d.max(1)).sum();
    let row = |mut i: usize| {
        for x in tables {
            if i < x.len() / d {
                return &x[i * d..(i + 1) * d];
            }
            i -= x.len() / d;
        }
        &[][..]
    };
    let hash = |i: usize| {
        let mut hasher = DefaultHasher::new();
        row(i).iter().for_each(|v| hasher.write_u64(bits(*v)));
        hasher.finish()
    };
    let mut order: Vec<(u64, usize)> = (0..n).map(|i| (hash(i), i)).collect();
    order.sort_unstable();
    let equal = |a: usize, b: usize| row(a).iter().zip(row(b)).all(|(a, b)| bits(*a) == bits(*b));
    let mut first: Vec<usize> = (0..n).collect();
    for run in order.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
        // The different rows of one hash: nearly always a single one.
        let mut known: Vec<usize> = Vec::new();
        for (_, i) in run {
            match known.iter().find(|k| equal(**k, *i)) {
                Some(k) => first[*i] = *k,
                None => known.push(*i),
            }
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_are_found_and_others_are_not() {
        let x = [1.0, 2.0, 0.0, 3.0, 1.0, 2.0, 2.0, 1.0, -0.0, 3.0, 1.0, 2.0];
        assert_eq!(first_equal(&x, 2), [0, 1, 0, 3, 1, 0]);
        assert_eq!(first_equal(&[0.1, 0.1f64.next_up()], 1), [0, 1]);
        assert_eq!(first_equal(&[], 3), [0usize; 0]);
        assert_eq!(first_equal_bytes(&[1, 2, 0, 3, 1, 2, 2, 1, 0, 3, 1, 2], 2), [0, 1, 0, 3, 1, 0]);
        assert_eq!(first_of(&[&[2.0, 5.0], &[1.0, 2.0, 3.0, 2.0]], 1), [0, 1, 2, 0, 4, 0]);
        assert_eq!(first_of(&[&[2.0, 1.0], &[], &[1.0, 2.0]], 2), [0, 1]);
    }
}
