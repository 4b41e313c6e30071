//! The pairing of a batch of latents with its rows, in blocks; under a condition the latents stay independent of it.

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;

use super::assign;

/// Reorders latents so that row i of `z` goes with row i of `x` (both `[n, d]`, row-major): in each block of `block`
/// rows one after the other (the last may be shorter) the sum of |x − z|² is least.
///
/// In one dimension all rows are one block: there the least pairing is that of equal ranks. Blocks are independent
/// and run in parallel, and the result does not depend on the number of threads. A block of 256 takes O(256²) numbers.
///
/// # Panics
/// Where x and z differ in length, or are not rows of d numbers.
pub fn pair(x: &[f64], z: &mut [f64], d: usize, block: usize) {
    pair_part(x, z, d, block, 0..x.len() / d.max(1));
}

/// As [`pair`] for the rows of `part`; the latents of other rows may be in any order.
///
/// # Panics
/// As [`pair`].
pub(crate) fn pair_part(x: &[f64], z: &mut [f64], d: usize, block: usize, part: Range<usize>) {
    assert!(
        d > 0 && x.len() == z.len() && x.len().is_multiple_of(d),
        "{} and {} numbers in rows of {d}",
        x.len(),
        z.len()
    );
    if d == 1 {
        return pair_sorted(x, z);
    }
    let rows = block.max(1);
    let blocks = x.par_chunks(rows * d).zip(z.par_chunks_mut(rows * d)).enumerate();
    let wanted = blocks.filter(|(i, _)| i * rows < part.end && part.start < (i + 1) * rows);
    wanted.for_each(|(_, (x, z))| {
        let column = assign(&costs(x, z, d), x.len() / d);
        let paired: Vec<f64> = column.iter().flat_map(|j| &z[*j as usize * d..][..d]).copied().collect();
        z.copy_from_slice(&paired);
    });
}

/// The weight of the squared distance of two conditions of deviation 1, beside |x − z|², in [`pair_given`].
///
/// Latents must not depend on the condition. Where conditions are numbers, a pairing by |x − z|² + λ |c − c'|² lets a
/// row take the latent of one whose condition is near, and for large λ the latents then follow the condition with a
/// gradient of s/λ, s being the gradient of x: their distribution given c is off by s²/2λ² nats. Measured on x = ρ c +
/// √(1 − ρ²) ε, blocks of 256 rows and 30 720 pairs, nats at λ = 1, 10, 100 and 1000: 0.032, 0.0010, below 1e-4, below
/// 1e-4 for ρ = 0.5 and 0.28, 0.0045, 1.5e-4, below 1e-4 for ρ = 0.99 (the formula: 0.0049 and 4.9e-5 at 10 and 100).
/// At 1000 it is 5e-5 nats where x changes by ten deviations with one of c, and the pairs still save from a half (ρ =
/// 0.99) to two thirds (ρ = 0.5) of what pairs within one condition would.
/// Ref: Kerrigan et al., *Dynamic conditional optimal transport through simulation-free flows* (2024); Chemseddine et
/// al., *Conditional Wasserstein distances* (2024), who show that the bias vanishes as λ grows.
pub const CONDITION_WEIGHT: f64 = 1000.0;

/// Conditions of some rows, for a pairing.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// `[n, weights.len()]`, row-major.
    pub rows: &'a [f64],
    /// One a column: 0 for a class, whose values have to be the same bits; else what the squared distance is multiplied
    /// by, [`CONDITION_WEIGHT`] over the column's variance.
    pub weights: &'a [f64],
}

/// As [`pair`], but so that the latents stay independent of the conditions: among rows of the same classes only, and
/// among those by least |x − z|² + Σ w |c − c'|² over the columns of numbers.
///
/// Flow matching given c needs latents that are standard normal for every c. A permutation of the latents of a whole
/// batch depends on its x, and x depends on c: the net would be trained to transport another distribution than that of
/// the latents. Within a class the latents are permuted among themselves, which biases nothing; for numbers see
/// [`CONDITION_WEIGHT`].
///
/// # Panics
/// As [`pair`], and where the conditions have no columns or other rows than x.
pub fn pair_given(x: &[f64], z: &mut [f64], given: Conditions<'_>, d: usize, block: usize) {
    pair_given_part(x, z, given, d, block, 0..x.len() / d.max(1));
}

/// As [`pair_given`] for the rows of `part`; the latents of other rows may be in any order.
///
/// # Panics
/// As [`pair_given`].
pub(crate) fn pair_given_part(
    x: &[f64],
    z: &mut [f64],
    given: Conditions<'_>,
    d: usize,
    block: usize,
    part: Range<usize>,
) {
    assert!(d > 0 && x.len() == z.len() && x.len().is_multiple_of(d), "x and z are not rows of {d} numbers");
    let (n, width) = (x.len() / d, given.weights.len());
    assert!(width > 0 && given.rows.len() == n * width, "{} numbers are not {n} conditions", given.rows.len());
    let columns = |is: fn(f64) -> bool| (0..width).filter(|j| is(given.weights[*j])).collect::<Vec<usize>>();
    let (classes, numbers) = (columns(|w| w == 0.0), columns(|w| w != 0.0));
    let wide = d + numbers.len();
    for rows in groups(given.rows, width, &classes) {
        // Each row with its scaled conditions behind it, and each latent with those of the row that it was drawn for.
        let gather = |from: &[f64]| -> Vec<f64> {
            let one = |i: usize| {
                let scaled = numbers.iter().map(move |j| given.rows[i * width + j] * given.weights[*j].sqrt());
                from[i * d..][..d].iter().copied().chain(scaled)
            };
            rows.iter().flat_map(|i| one(*i)).collect()
        };
        let (group, mut latents) = (gather(x), gather(z));
        let place = |row: usize| rows.partition_point(|i| *i < row);
        pair_part(&group, &mut latents, wide, block, place(part.start)..place(part.end));
        for (&i, latent) in rows.iter().zip(latents.chunks_exact(wide)) {
            z[i * d..][..d].copy_from_slice(&latent[..d]);
        }
    }
}

/// The rows of each class, in rising order, the groups in the order of their first rows: classes are the same where all
/// `columns` of the rows `[n, width]` are. Zero has one sign.
fn groups(c: &[f64], width: usize, columns: &[usize]) -> Vec<Vec<usize>> {
    let mut place = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (i, row) in c.chunks_exact(width).enumerate() {
        let key: Vec<u64> = columns.iter().map(|j| (row[*j] + 0.0).to_bits()).collect();
        let at = *place.entry(key).or_insert(groups.len());
        if at == groups.len() {
            groups.push(Vec::new());
        }
        groups[at].push(i);
    }
    groups
}

/// Equal ranks go together.
fn pair_sorted(x: &[f64], z: &mut [f64]) {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|i, j| x[*i].total_cmp(&x[*j]));
    let mut sorted = z.to_vec();
    sorted.sort_by(f64::total_cmp);
    for (i, latent) in order.into_iter().zip(sorted) {
        z[i] = latent;
    }
}

/// Costs with the same least permutation as |x − z|², `[n, n]`.
///
/// Σᵢ |xᵢ − z_π(i)|² is, but for terms without π, −2 Σ x·z: so any shift of x or z, and any scale of a column of x with
/// the inverse one of z, changes nothing. Centred and equally wide they keep their digits in f32 wherever they were.
fn costs(x: &[f64], z: &[f64], d: usize) -> Vec<f32> {
    let n = x.len() / d;
    let mut cost = vec![0.0_f32; n * n];
    for k in 0..d {
        let column = |from: &[f64]| from.iter().skip(k).step_by(d).copied().collect::<Vec<f64>>();
        let ((x, x_wide), (z, z_wide)) = (centred(column(x)), centred(column(z)));
        let scale = (x_wide / z_wide).sqrt();
        let scale = if scale > 0.0 && scale < f64::INFINITY { scale } else { 1.0 };
        let z: Vec<f32> = z.into_iter().map(|z| (z * scale) as f32).collect();
        for (x, cost) in x.iter().zip(cost.chunks_exact_mut(n)) {
            let x = (x / scale) as f32;
            for (cost, z) in cost.iter_mut().zip(&z) {
                *cost += (x - z) * (x - z);
            }
        }
    }
    cost
}

/// The numbers without their mean, and their deviation.
fn centred(mut column: Vec<f64>) -> (Vec<f64>, f64) {
    let n = column.len() as f64;
    let mean = column.iter().sum::<f64>() / n;
    column.iter_mut().for_each(|value| *value -= mean);
    let variance = column.iter().map(|value| value * value).sum::<f64>() / n;
    (column, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use crate::transform::StandardNormal;

    #[test]
    fn the_rows_of_a_part_are_paired_as_those_of_the_whole() {
        let (d, n, block) = (2, 130, 16);
        let draw = |seed| StandardNormal::new(d).draw(n, &mut stream(seed, 0));
        let (x, z) = (draw(1), draw(2));
        let classes: Vec<f64> = (0..n).flat_map(|i| [(i * 7 % 3) as f64, x[d * i] * 0.3]).collect();
        let given = Conditions { rows: &classes, weights: &[0.0, 10.0] };
        let (mut whole, mut whole_given) = (z.clone(), z.clone());
        pair(&x, &mut whole, d, block);
        pair_given(&x, &mut whole_given, given, d, block);
        for part in [0..n, 0..40, 40..41, 41..100, 100..n, 7..7] {
            let rows = d * part.start..d * part.end;
            let (mut own, mut own_given) = (z.clone(), z.clone());
            pair_part(&x, &mut own, d, block, part.clone());
            pair_given_part(&x, &mut own_given, given, d, block, part.clone());
            assert_eq!(own[rows.clone()], whole[rows.clone()], "{part:?}");
            assert_eq!(own_given[rows.clone()], whole_given[rows], "{part:?}");
        }
        // Blocks of other rows are left as they were drawn.
        let mut own = z.clone();
        pair_part(&x, &mut own, d, block, 0..16);
        assert_eq!(own[2 * d * block..], z[2 * d * block..]);
    }
}
