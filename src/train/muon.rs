//! The optimiser of matrices: a momentum whose singular values are all brought near 1.
//!
//! M ← β M + G, and θ ← θ − η λ θ − η ρ O with O near U Vᵀ, where U S Vᵀ is the singular value decomposition of
//! G + β M. What Adam does number by number is done here for a layer as a map: directions in which all rows of a batch
//! agree do not drown those in which few of them differ. O comes from five steps of an iteration that begins at
//! X = (G + β M)/(‖G + β M‖ + 10⁻⁷), X ← a X + (b X Xᵀ + c (X Xᵀ)²) X. It keeps U and V and takes every singular value
//! between 0.01 and 1 to between 0.65 and 1.25. ρ = 0.2 √max(rows, columns) gives O the root mean square that steps of
//! Adam have, so that one learning rate serves both.
//! Ref: Jordan et al., *Muon: an optimizer for hidden layers in neural networks* (2024), for β, a, b, c and the five
//! steps; Liu et al., *Muon is scalable for LLM training* (2025), section 2.2, for ρ.
//!
//! A weight that is no matrix, or a thin one, is left to Adam. The products have a fixed order of summation and round
//! alike on every machine, and each matrix is computed on its own, so that no bit depends on threads.

use std::ops::Range;

use cnflow_kernels::Isa;
use cnflow_kernels::simd::{Kernel, Vector, dispatch};
use rayon::prelude::*;

use super::adamw::{AdamW, StepSize};

/// β.
const MOMENTUM: f64 = 0.95;
/// a, b and c.
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
const ITERATIONS: usize = 5;
/// A momentum far smaller than this gives no step, as in the paper's code. Where units are dead the gradient is 0, and
/// what is left of the momentum falls by β a step until its square underflows: it is no direction to go in.
const FAINT: f64 = 1e-7;
/// The root mean square of a step of Adam, in learning rates.
const ADAMS: f64 = 0.2;
/// A matrix of fewer rows or columns is left to Adam: its singular values are nearly its rows' lengths.
const THIN: usize = 8;

/// Which weights are matrices, and which are left to Adam.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Muon {
    matrices: Vec<Weights>,
    others: Vec<Range<usize>>,
}

/// A matrix among the weights, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Weights {
    range: Range<usize>,
    rows: usize,
    columns: usize,
}

impl Muon {
    /// For weights with these shapes, one after the other: `[rows, …]`, the product of what follows being the columns.
    pub fn of(shapes: impl IntoIterator<Item = Vec<usize>>) -> Self {
        let (mut found, mut at, mut gap) = (Self::default(), 0, 0);
        for shape in shapes {
            let length: usize = shape.iter().product();
            let range = at..at + length;
            at = range.end;
            let (rows, columns) = (shape.first().copied().unwrap_or(1), shape.iter().skip(1).product());
            if shape.len() > 1 && rows >= THIN && columns >= THIN {
                found.others.push(gap..range.start);
                gap = range.end;
                found.matrices.push(Weights { range, rows, columns });
            }
        }
        found.others.push(gap..at);
        found.others.retain(|range| !range.is_empty());
        found
    }

    /// For `n` weights that are all left to Adam.
    pub fn none(n: usize) -> Self {
        Self::of([vec![n]])
    }

    /// One step along `scale` times the gradient, as [`AdamW::step`]; the momentum of a matrix is where Adam has its
    /// first moment.
    ///
    /// # Panics
    /// Where θ is shorter than the weights.
    pub fn step(&self, adam: &mut AdamW, theta: &mut [f64], gradient: &[f64], scale: f64, size: StepSize) {
        adam.step_in(&self.others, theta, gradient, scale, size);
        let keep = 1.0 - size.lr * size.decay;
        let mut parts = Vec::with_capacity(self.matrices.len());
        let (mut theta, mut momentum, mut at) = (theta, &mut adam.m[..], 0);
        for weights in &self.matrices {
            let (skip, length) = (weights.range.start - at, weights.range.len());
            let (own, rest) = std::mem::take(&mut theta)[skip..].split_at_mut(length);
            let (own_momentum, momentum_rest) = std::mem::take(&mut momentum)[skip..].split_at_mut(length);
            (theta, momentum, at) = (rest, momentum_rest, weights.range.end);
            parts.push((weights, own, own_momentum));
        }
        parts.into_par_iter().for_each(|(weights, theta, momentum)| {
            let gradient = &gradient[weights.range.clone()];
            momentum.iter_mut().zip(gradient).for_each(|(m, g)| *m = MOMENTUM * *m + scale * g);
            let ahead: Vec<f64> = momentum.iter().zip(gradient).map(|(m, g)| scale * g + MOMENTUM * m).collect();
            let step = orthogonal(Isa::detect(), &ahead, weights.rows, weights.columns);
            let length = size.lr * ADAMS * (weights.rows.max(weights.columns) as f64).sqrt();
            theta.iter_mut().zip(step).for_each(|(w, o)| *w = *w * keep - length * f64::from(o));
        });
    }
}

/// O of a matrix `[rows, columns]`, row-major.
fn orthogonal(isa: Isa, matrix: &[f64], rows: usize, columns: usize) -> Vec<f32> {
    let norm = matrix.iter().map(|x| x * x).sum::<f64>().sqrt() + FAINT;
    let wide = rows <= columns;
    let place = |i: usize, j: usize| if wide { i * columns + j } else { j * columns + i };
    let mut x = Matrix::new(rows.min(columns), rows.max(columns), |i, j| (matrix[place(i, j)] / norm) as f32);
    let [a, b, c] = QUINTIC;
    for _ in 0..ITERATIONS {
        let square = x.times(&x.transposed(), isa);
        let mut polynomial = square.times(&square, isa);
        polynomial.combine(c, &square, b);
        let mut next = polynomial.times(&x, isa);
        next.combine(1.0, &x, a);
        x = next;
    }
    let mut out = vec![0.0; matrix.len()];
    for i in 0..x.rows {
        (0..x.columns).for_each(|j| out[place(i, j)] = x.data[i * x.stride + j]);
    }
    out
}

/// Rows and columns that a tile of a product has.
const TILE: usize = 4;
const STRIP: usize = 16;

/// A matrix whose rows and columns are filled up with zeros to whole tiles.
struct Matrix {
    rows: usize,
    columns: usize,
    stride: usize,
    data: Vec<f32>,
}

impl Matrix {
    fn new(rows: usize, columns: usize, of: impl Fn(usize, usize) -> f32) -> Self {
        let stride = columns.next_multiple_of(STRIP);
        let mut data = vec![0.0; rows.next_multiple_of(TILE) * stride];
        for i in 0..rows {
            (0..columns).for_each(|j| data[i * stride + j] = of(i, j));
        }
        Self { rows, columns, stride, data }
    }

    fn transposed(&self) -> Self {
        Self::new(self.columns, self.rows, |i, j| self.data[j * self.stride + i])
    }

    /// self ← s · self + o · other.
    fn combine(&mut self, s: f32, other: &Self, o: f32) {
        self.data.iter_mut().zip(&other.data).for_each(|(x, y)| *x = s * *x + o * y);
    }

    fn times(&self, other: &Self, isa: Isa) -> Self {
        let mut product = Self::new(self.rows, other.columns, |_, _| 0.0);
        dispatch(isa, Product { x: self, y: other, to: &mut product });
        product
    }
}

/// `to` ← x y, each number summed from the first column of x to its last.
struct Product<'a> {
    x: &'a Matrix,
    y: &'a Matrix,
    to: &'a mut Matrix,
}

impl Kernel<f32> for Product<'_> {
    #[inline(always)]
    fn run<V: Vector<Elem = f32>>(self) {
        let Self { x, y, to } = self;
        for top in (0..x.rows).step_by(TILE) {
            for left in (0..y.columns).step_by(2 * V::WIDTH) {
                let mut sums = [[V::splat(0.0); 2]; TILE];
                for k in 0..x.columns {
                    let row = [0, V::WIDTH].map(|at| V::read(&y.data, k * y.stride + left + at));
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let factor = V::splat(x.data[(top + i) * x.stride + k]);
                        *sums = [factor.fma(row[0], sums[0]), factor.fma(row[1], sums[1])];
                    }
                }
                for (i, [low, high]) in sums.into_iter().enumerate() {
                    low.write(&mut to.data, (top + i) * to.stride + left);
                    high.write(&mut to.data, (top + i) * to.stride + left + V::WIDTH);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;
    use rand::Rng as _;

    use super::*;

    fn random(rows: usize, columns: usize) -> Vec<f64> {
        let mut rng = crate::rng::stream(7, 0);
        (0..rows * columns).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn directions_stay_and_their_lengths_become_one() {
        for (rows, columns) in [(8, 8), (9, 30), (32, 288), (41, 17), (64, 10)] {
            let matrix = random(rows, columns);
            let found = orthogonal(Isa::detect(), &matrix, rows, columns);
            let svd = DMatrix::from_row_slice(rows, columns, &matrix).svd(true, true);
            let found = DMatrix::from_iterator(columns, rows, found.iter().map(|x| f64::from(*x))).transpose();
            let inside = svd.u.unwrap().transpose() * found * svd.v_t.unwrap().transpose();
            let norm = svd.singular_values.norm();
            for i in 0..inside.nrows() {
                for j in 0..inside.ncols() {
                    if i != j {
                        assert!(inside[(i, j)].abs() < 1e-4, "{rows} × {columns}: {i}, {j}: {}", inside[(i, j)]);
                    } else if svd.singular_values[i] > 0.01 * norm {
                        assert!((0.6..1.3).contains(&inside[(i, i)]), "{rows} × {columns}: {i}: {}", inside[(i, i)]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_faint_momentum_gives_no_step() {
        let matrix = random(12, 20);
        for (scale, least, most) in [(1.0, 0.1, 0.3), (1e-12, 0.0, 1e-2), (1e-162, 0.0, 1e-30), (0.0, 0.0, 0.0)] {
            let faint: Vec<f64> = matrix.iter().map(|x| scale * x).collect();
            let step = orthogonal(Isa::detect(), &faint, 12, 20);
            let rms = (step.iter().map(|o| f64::from(*o).powi(2)).sum::<f64>() / 240.0).sqrt();
            assert!((least..=most).contains(&rms), "{scale:e}: {rms:e}");
        }
    }

    #[test]
    fn the_portable_path_has_the_same_bits() {
        for (rows, columns) in [(8, 9), (33, 70)] {
            let matrix = random(rows, columns);
            let [here, portable] = [Isa::detect(), Isa::PORTABLE].map(|isa| orthogonal(isa, &matrix, rows, columns));
            assert_eq!(here, portable);
        }
    }

    #[test]
    fn weights_that_are_no_matrices_are_adams() {
        let muon = Muon::of([vec![8, 2, 4], vec![8], vec![7, 100], vec![100, 8], vec![3]]);
        let matrices: Vec<_> = muon.matrices.iter().map(|w| (w.range.clone(), w.rows, w.columns)).collect();
        assert_eq!(matrices, [(0..64, 8, 8), (772..1572, 100, 8)]);
        assert_eq!(muon.others, [64..772, 1572..1575]);
    }

    #[test]
    fn steps_of_a_matrix_are_as_long_as_adams() {
        let (rows, columns) = (24, 60);
        let muon = Muon::of([vec![rows, columns]]);
        let gradient = random(rows, columns);
        let mut theta = vec![1.0; gradient.len()];
        let size = StepSize::new(0.5, 0.1);
        muon.step(&mut AdamW::new(theta.len()), &mut theta, &gradient, 3.0, size);
        let mean: f64 = theta.iter().map(|w| (w - 0.95) * (w - 0.95)).sum::<f64>() / theta.len() as f64;
        let rms = mean.sqrt() / 0.5;
        assert!((0.13..0.25).contains(&rms), "{rms}");
    }
}
