//! An invertible linear map by PLU on the channels of each pixel of a plane; of a table on its columns.  Ref: Kingma &
//! Dhariwal, *Glow* (2018), section 3.2.

use cnflow_kernels::{Scalar, Tile};
use cnflow_solvers::lanes::LANE_BLOCK;

use super::plane::Plane;
use super::step::{Gradient, Slots, Step, Way, in_use};

/// z = A x; `lower` and `upper` are A's factors, rows of A are `permutation[i]` of their product.
pub(super) struct Linear {
    plane: Plane,
    permutation: Vec<usize>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    /// A and A⁻¹, `[d, d]`.
    there: Vec<f64>,
    back: Vec<f64>,
    log_volume: f64,
    /// Not learnt: its gradient is 0.
    fixed: bool,
}

/// x y, both `[d, d]`.
fn times(x: &[f64], y: &[f64], d: usize) -> Vec<f64> {
    let mut product = vec![0.0; d * d];
    for i in 0..d {
        for k in 0..d {
            let factor = x[i * d + k];
            (0..d).for_each(|j| product[i * d + j] += factor * y[k * d + j]);
        }
    }
    product
}

fn transposed(x: &[f64], d: usize) -> Vec<f64> {
    (0..d * d).map(|at| x[at % d * d + at / d]).collect()
}

impl Linear {
    /// On the channels of a plane; of P, the signs of D, and θ: ln |D|, then L below its diagonal, then U above it, row
    /// by row.
    pub fn new(plane: Plane, permutation: Vec<usize>, signs: &[i8], theta: &[f64]) -> Self {
        let d = permutation.len();
        let half = d * (d - 1) / 2;
        let (mut lower, mut upper) = (vec![0.0; d * d], vec![0.0; d * d]);
        for i in 0..d {
            lower[i * d + i] = 1.0;
            upper[i * d + i] = theta[i].exp() * f64::from(signs[i]);
        }
        let below = (0..d).flat_map(|i| (0..i).map(move |j| i * d + j));
        below.zip(theta.get(d..).unwrap_or(&[])).for_each(|(at, w)| lower[at] = *w);
        let above = (0..d).flat_map(|i| (i + 1..d).map(move |j| i * d + j));
        above.zip(theta.get(d + half..).unwrap_or(&[])).for_each(|(at, w)| upper[at] = *w);
        let product = times(&lower, &upper, d);
        let there = permutation.iter().flat_map(|row| &product[row * d..][..d]).copied().collect();
        // A⁻¹ = U⁻¹ L⁻¹ Pᵀ by substitution, column after column.
        let mut back = vec![0.0; d * d];
        let mut column = vec![0.0; d];
        for (k, row) in permutation.iter().enumerate() {
            column.fill(0.0);
            column[*row] = 1.0;
            for i in 0..d {
                column[i] -= (0..i).map(|j| lower[i * d + j] * column[j]).sum::<f64>();
            }
            for i in (0..d).rev() {
                let known: f64 = (i + 1..d).map(|j| upper[i * d + j] * column[j]).sum();
                column[i] = (column[i] - known) / upper[i * d + i];
            }
            (0..d).for_each(|i| back[i * d + k] = column[i]);
        }
        let log_volume = theta[..d].iter().sum();
        Self { plane, permutation, lower, upper, there, back, log_volume, fixed: false }
    }

    /// The same map, which is not learnt.
    pub fn fixed(self) -> Self {
        Self { fixed: true, ..self }
    }

    /// The length of A's gradient.
    pub fn matrix_len(&self) -> usize {
        if self.fixed { 0 } else { self.there.len() }
    }

    /// ln |D|.
    pub fn log_scales(&self) -> Vec<f64> {
        let d = self.permutation.len();
        (0..d).map(|i| self.upper[i * d + i].abs().ln()).collect()
    }

    /// What multiplies on a way, and its log-determinant.
    fn matrix(&self, way: Way) -> (&[f64], f64) {
        let pixels = self.plane.shape.pixels() as f64;
        let volume = self.log_volume * pixels;
        if way == Way::Inverse { (&self.there, volume) } else { (&self.back, -volume) }
    }

    /// after ← the rows at `before`.
    pub fn pass(&self, way: Way, before: &Tile<f64>, after: &mut Tile<f64>, logdet: &mut Tile<f64>, blocks: usize) {
        let (d, (matrix, volume)) = (self.permutation.len(), self.matrix(way));
        for block in 0..blocks {
            self.plane.rest.iter().for_each(|row| *after.at_mut(block, *row) = *before.at(block, *row));
            for pixel in self.plane.pixels() {
                for (i, row) in matrix.chunks_exact(d).enumerate() {
                    let mut sum = [0.0; LANE_BLOCK];
                    for (w, j) in row.iter().zip(pixel) {
                        let x = before.at(block, *j);
                        (0..LANE_BLOCK).for_each(|l| sum[l] += w * x[l]);
                    }
                    *after.at_mut(block, pixel[i]) = sum;
                }
            }
            logdet.at_mut(block, 0).iter_mut().for_each(|sum| *sum += volume);
        }
    }

    /// As [`Layer::back`](super::layer::Layer::back).
    ///
    /// Sums run over pixels in each lane, then over lanes, then over blocks.
    pub fn back<T: Scalar>(&self, step: &Step<'_>, bar: &mut Tile<f64>, g: Gradient<'_, T>) {
        let (d, (matrix, _)) = (self.permutation.len(), self.matrix(step.way));
        let mut volume_bar = 0.0;
        for block in 0..step.blocks {
            let used = in_use(block, step.lanes);
            // [pixel][channel]
            let y_bar: Vec<Slots> = self.plane.rows.iter().map(|row| *bar.at(block, *row)).collect();
            // Nothing is gathered of what is not learnt.
            for (at, g) in g.matrix.iter_mut().enumerate() {
                let (i, j) = (at / d, at % d);
                let mut sum: Slots = [0.0; LANE_BLOCK];
                for (y_bar, pixel) in y_bar.chunks_exact(d).zip(self.plane.pixels()) {
                    let (y_bar, x) = (&y_bar[i], step.before.at(block, pixel[j]));
                    (0..LANE_BLOCK).for_each(|l| sum[l] += y_bar[l] * x[l]);
                }
                *g += sum[..used].iter().sum::<f64>();
            }
            for (y_bar, pixel) in y_bar.chunks_exact(d).zip(self.plane.pixels()) {
                for (j, row) in pixel.iter().enumerate() {
                    let mut sum = [0.0; LANE_BLOCK];
                    for (i, y_bar) in y_bar.iter().enumerate() {
                        let w = matrix[i * d + j];
                        (0..LANE_BLOCK).for_each(|l| sum[l] += w * y_bar[l]);
                    }
                    *bar.at_mut(block, *row) = sum;
                }
            }
            volume_bar += step.logdet_bar.at(block, 0)[..used].iter().sum::<f64>();
        }
        if self.fixed {
            return;
        }
        volume_bar *= self.plane.shape.pixels() as f64;
        let volume_bar = T::of(if step.way == Way::Inverse { volume_bar } else { -volume_bar });
        g.own[..d].iter_mut().for_each(|g| *g += volume_bar);
    }

    /// θ's gradient += what the matrix's comes to, on the way that it was multiplied.
    pub fn fold<T: Scalar>(&self, way: Way, matrix_bar: &[f64], g: &mut [T]) {
        if self.fixed {
            return;
        }
        let d = self.permutation.len();
        let half = d * (d - 1) / 2;
        let a_bar = match way {
            Way::Inverse => matrix_bar.to_vec(),
            // d(A⁻¹) = −A⁻¹ dA A⁻¹.
            Way::Forward => {
                let back = transposed(&self.back, d);
                times(&times(&back, matrix_bar, d), &back, d).iter().map(|x| -x).collect()
            }
        };
        let mut product_bar = vec![0.0; d * d];
        for (i, row) in self.permutation.iter().enumerate() {
            product_bar[row * d..][..d].copy_from_slice(&a_bar[i * d..][..d]);
        }
        let lower_bar = times(&product_bar, &transposed(&self.upper, d), d);
        let upper_bar = times(&transposed(&self.lower, d), &product_bar, d);
        for i in 0..d {
            // The diagonal is ± e^s.
            g[i] += T::of(upper_bar[i * d + i] * self.upper[i * d + i]);
        }
        let below = (0..d).flat_map(|i| (0..i).map(move |j| i * d + j));
        below.enumerate().for_each(|(k, at)| g[d + k] += T::of(lower_bar[at]));
        let above = (0..d).flat_map(|i| (i + 1..d).map(move |j| i * d + j));
        above.enumerate().for_each(|(k, at)| g[d + half + k] += T::of(upper_bar[at]));
    }
}
