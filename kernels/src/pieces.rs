//! Two layers of a relu net with one input, by their pieces.
//!
//! σ(W₁ x + b₁) of a number x bends at H₁ places, tⱼ = −b₁ⱼ / w₁ⱼ. Between two of them W₂ σ(W₁ x + b₁) + b₂ is a
//! straight line, Vₖ + Bₖ (x − cₖ), and from one interval to the next Bₖ changes by |w₁ⱼ| times a column of W₂. All
//! intervals together cost what one point costs by the product; a point then costs a search and one line a unit, H₂
//! operations where the product takes H₁ H₂. The pull-back adds up, in each interval, the cotangents a of the lines and
//! a (x − cₖ): sums of them to the right or to the left of tⱼ are all that the gradients of W₁, b₁ and W₂ need
//! ([`Pieces::fold`]).
//!
//! The function is the same, and so is its gradient, but for round-off (lines are laid out in f64) and for the slope
//! exactly at a hinge, where it is that of the line to the left. To go on,
//! piece by piece, through the next layer would leave two numbers to a point, but hundreds of pieces to lay out and to
//! pull back for a batch no larger than they are.

mod kernels;

use cnflow_solvers::lanes::LANE_BLOCK;

use self::kernels::{Axpy, Back, Dots, Forward, Search};
use crate::simd::{Isa, Scalar, Vector, dispatch};
use crate::tile::Tile;

/// Units whose Vₖ stand side by side, and then their Bₖ: one vector of either kind.
const fn group<T: Scalar>() -> usize {
    <T::Portable as Vector>::WIDTH
}

/// A place where a unit of the first layer bends.
#[derive(Clone, Copy, Debug)]
struct Hinge {
    at: f64,
    unit: usize,
}

/// x ↦ σ(W₂ σ(W₁ x + b₁) + b₂) of one number, σ the relu.
#[derive(Clone, Debug)]
pub struct Pieces<T> {
    isa: Isa,
    /// H₁ and H₂.
    widths: [usize; 2],
    /// w₁ and b₁.
    first: Vec<(f64, f64)>,
    /// W₂ᵀ, `[H₁, H₂]`.
    second: Vec<f64>,
    /// Hinges from left to right; units without one never bend.
    hinges: Vec<Hinge>,
    /// Their places.
    knots: Vec<T>,
    /// cₖ, the point of interval k next to 0: x − cₖ is never larger than x.
    centres: Vec<f64>,
    /// Interval by interval Vₖ and Bₖ, by turns a vector of each.
    lines: Vec<T>,
}

/// In which interval each lane of a tile lies.
#[derive(Clone, Debug)]
pub struct BinIndices<T> {
    /// The interval k of each lane.
    bin: Vec<[usize; LANE_BLOCK]>,
    /// x − cₖ.
    offset: Tile<T>,
}

impl<T: Scalar> BinIndices<T> {
    /// For up to `lanes` lanes.
    pub fn new(lanes: usize) -> Self {
        Self { bin: vec![[0; LANE_BLOCK]; lanes.div_ceil(LANE_BLOCK)], offset: Tile::new(1, lanes) }
    }
}

impl<T: Scalar> Pieces<T> {
    /// The length of W₁, b₁, W₂ and b₂.
    pub fn n_params([h1, h2]: [usize; 2]) -> usize {
        2 * h1 + h1 * h2 + h2
    }

    /// The layers 1 → H₁ → H₂ with parameters W₁, b₁, W₂ (`[H₂, H₁]`), b₂.
    ///
    /// # Panics
    /// Unless `theta` is [`Pieces::n_params`] long.
    pub fn new(widths: [usize; 2], theta: &[T]) -> Self {
        Self::on(Isa::detect(), widths, theta)
    }

    fn on(isa: Isa, widths: [usize; 2], theta: &[T]) -> Self {
        let [h1, h2] = widths;
        assert_eq!(theta.len(), Self::n_params(widths), "θ of two layers");
        let (w1, rest) = theta.split_at(h1);
        let (b1, rest) = rest.split_at(h1);
        let (w2, b2) = rest.split_at(h1 * h2);
        let first: Vec<_> = w1.iter().zip(b1).map(|(w, b)| (w.to_f64(), b.to_f64())).collect();
        let mut second = vec![0.0; h1 * h2];
        for (i, row) in w2.chunks_exact(h1).enumerate() {
            row.iter().enumerate().for_each(|(j, w)| second[j * h2 + i] = w.to_f64());
        }
        let hinge = |(unit, (w, b)): (usize, &(f64, f64))| {
            let at = -b / w;
            at.is_finite().then_some(Hinge { at, unit })
        };
        let mut hinges: Vec<Hinge> = first.iter().enumerate().filter_map(hinge).collect();
        hinges.sort_by(|a, b| a.at.total_cmp(&b.at));
        let m = hinges.len();
        let centre = |k: usize| {
            let left = if k > 0 { hinges[k - 1].at } else { f64::NEG_INFINITY };
            let right = if k < m { hinges[k].at } else { f64::INFINITY };
            0.0_f64.max(left).min(right)
        };
        let centres = (0..=m).map(centre).collect();
        let knots = hinges.iter().map(|hinge| T::of(hinge.at)).collect();
        let lines = vec![T::ZERO; (m + 1) * 2 * h2.next_multiple_of(group::<T>())];
        let mut pieces = Self { isa, widths, first, second, hinges, knots, centres, lines };
        pieces.lay_out(b2);
        pieces
    }

    /// The length of an interval's numbers.
    fn stride(&self) -> usize {
        2 * self.widths[1].next_multiple_of(group::<T>())
    }

    /// Whether unit j, where it never bends, is on for every x or off.
    fn constant(&self, j: usize) -> Option<bool> {
        let (w, b) = self.first[j];
        // A NaN has to show in the result.
        (!(-b / w).is_finite()).then_some(b > 0.0 || w.is_nan() || b.is_nan())
    }

    /// Lays out the lines, from left to right.
    fn lay_out(&mut self, b2: &[T]) {
        let (h2, stride, group) = (self.widths[1], self.stride(), group::<T>());
        // a₂ = height + slope x
        let mut height: Vec<f64> = b2.iter().map(|b| b.to_f64()).collect();
        let mut slope = vec![0.0; h2];
        for (j, (w, b)) in self.first.iter().enumerate() {
            let column = &self.second[j * h2..][..h2];
            let on = self.constant(j).unwrap_or(*w < 0.0);
            // What is off adds 0, or NaN where the column has NaN or infinity, as the product would.
            dispatch(self.isa, Axpy { a: if on { *b } else { 0.0 }, x: column, y: &mut height });
            if on {
                dispatch(self.isa, Axpy { a: *w, x: column, y: &mut slope });
            }
        }
        let mut lines = std::mem::take(&mut self.lines);
        for (k, row) in lines.chunks_exact_mut(stride).enumerate() {
            if let Some(hinge) = k.checked_sub(1).map(|left| self.hinges[left]) {
                let (w, b) = self.first[hinge.unit];
                let column = &self.second[hinge.unit * h2..][..h2];
                dispatch(self.isa, Axpy { a: b * w.signum(), x: column, y: &mut height });
                dispatch(self.isa, Axpy { a: w.abs(), x: column, y: &mut slope });
            }
            let centre = self.centres[k];
            for (pair, (height, slope)) in
                row.chunks_exact_mut(2 * group).zip(height.chunks(group).zip(slope.chunks(group)))
            {
                let (values, slopes) = pair.split_at_mut(group);
                for (i, (v, b)) in height.iter().zip(slope).enumerate() {
                    (values[i], slopes[i]) = (T::of(v + b * centre), T::of(*b));
                }
            }
        }
        self.lines = lines;
    }

    /// h ← σ(a₂) at x, `[1, lanes]` → `[H₂, lanes]`; `indices` keeps the intervals of the lanes.
    pub fn forward(&self, x: &Tile<f64>, indices: &mut BinIndices<T>, h: &mut Tile<T>, blocks: usize) {
        dispatch(self.isa, Search { pieces: self, x, indices, blocks });
        dispatch(self.isa, Forward { pieces: self, indices, h, blocks });
    }

    /// The length of a pull-back's sums.
    pub fn n_sums(&self) -> usize {
        self.lines.len()
    }

    /// `x_bar` (`[1, lanes]`) ← (∂h/∂x)ᵀ h̄ and `sums` += those of the lanes' cotangents, where the last
    /// [`Pieces::forward`] was.
    ///
    /// `h` is what that gave, `h_bar` its cotangent, both `[H₂, lanes]`; the lanes without a row must have none.
    pub fn back(
        &self,
        indices: &BinIndices<T>,
        (h, h_bar): (&Tile<T>, &Tile<T>),
        sums: &mut [T],
        x_bar: &mut Tile<T>,
        blocks: usize,
    ) {
        debug_assert_eq!(sums.len(), self.n_sums());
        dispatch(self.isa, Back { pieces: self, indices, h, h_bar, sums, x_bar, blocks });
    }

    /// g ← the gradient by W₁, b₁, W₂ and b₂, as θ has them, of what the sums gathered.
    ///
    /// Where unit j is on for x > tⱼ, with A and X the sums of a and of a x over those x: ∂W₂ has the column w₁ⱼ X +
    /// b₁ⱼ A, ∂w₁ⱼ is X and ∂b₁ⱼ is A times the column of W₂.
    pub fn fold(&self, sums: &[T], g: &mut [T]) {
        let ([h1, h2], stride, group) = (self.widths, self.stride(), group::<T>());
        // Interval by interval A, and X = Σ a (x − c) + c A.
        let mut wide = vec![0.0; sums.len()];
        let (padded, mut total) = (stride / 2, vec![0.0; stride]);
        for ((row, own), centre) in wide.chunks_exact_mut(stride).zip(sums.chunks_exact(stride)).zip(&self.centres) {
            let (a, x) = row.split_at_mut(padded);
            let parts = a.chunks_exact_mut(group).zip(x.chunks_exact_mut(group)).zip(own.chunks_exact(2 * group));
            for ((a, x), pair) in parts {
                for i in 0..group {
                    a[i] = pair[i].to_f64();
                    x[i] = pair[group + i].to_f64() + centre * a[i];
                }
            }
            dispatch(self.isa, Axpy { a: 1.0, x: row, y: &mut total });
        }
        // Units that are always off have no part.
        g[..2 * h1].fill(T::ZERO);
        let mut by_second = vec![0.0; h1 * h2];
        let mut by_unit = |j: usize, side: &[f64]| {
            let (w, b) = self.first[j];
            let (a, x) = (&side[..h2], &side[padded..][..h2]);
            let (second, by) = (&self.second[j * h2..][..h2], &mut by_second[j * h2..][..h2]);
            dispatch(self.isa, Axpy { a: w, x, y: by });
            dispatch(self.isa, Axpy { a: b, x: a, y: by });
            let mut dots = [0.0; 2];
            dispatch(self.isa, Dots { by: second, rows: [x, a], out: &mut dots });
            (g[j], g[h1 + j]) = (T::of(dots[0]), T::of(dots[1]));
        };
        for j in (0..h1).filter(|j| self.constant(*j) == Some(true)) {
            by_unit(j, &total);
        }
        let mut right = vec![0.0; stride];
        let mut left = vec![0.0; stride];
        for (hinge, row) in self.hinges.iter().zip(wide.chunks_exact(stride).skip(1)).rev() {
            dispatch(self.isa, Axpy { a: 1.0, x: row, y: &mut right });
            if self.first[hinge.unit].0 > 0.0 {
                by_unit(hinge.unit, &right);
            } else {
                left.copy_from_slice(&total);
                dispatch(self.isa, Axpy { a: -1.0, x: &right, y: &mut left });
                by_unit(hinge.unit, &left);
            }
        }
        let (by_w2, by_b2) = g[2 * h1..].split_at_mut(h1 * h2);
        for (i, row) in by_w2.chunks_exact_mut(h1).enumerate() {
            row.iter_mut().enumerate().for_each(|(j, w)| *w = T::of(by_second[j * h2 + i]));
        }
        by_b2.iter_mut().zip(&total).for_each(|(b, a)| *b = T::of(*a));
    }
}

#[cfg(test)]
mod tests;
