//! The derivatives by the condition of a path: each pull-back along it adds its own.
//!
//! The condition is constant along a path, so that the derivatives by it are the sum over all stages and points of the
//! quadrature. The sum of a row has its terms in the order of that row's steps, from the last to the first: other rows
//! have no part in it.

use cnflow_solvers::lanes::stride_for;
use cnflow_solvers::{At, Lanes, LanesMut, Real};

use super::{Cotangents, Count, Evaluator, Regularisers, TangentCotangents, TangentsBack};

/// An evaluator whose pull-backs add up the derivatives by the condition, row by row.
pub(crate) struct Gathered<'a, 's, T> {
    evaluator: Box<dyn Evaluator<T> + 'a>,
    /// `[n, c]`.
    sums: &'s mut [f64],
    c: usize,
    /// `[d + c, stride]`.
    bars: Vec<T>,
}

impl<'a, 's, T: Real> Gathered<'a, 's, T> {
    /// Adds to `sums`, `[n, c]`, in calls of up to `lanes` lanes.
    pub fn new(evaluator: Box<dyn Evaluator<T> + 'a>, lanes: usize, c: usize, sums: &'s mut [f64]) -> Self {
        let bars = vec![T::ZERO; (evaluator.dim() + c) * stride_for(lanes)];
        Self { evaluator, sums, c, bars }
    }

    /// `gx` ← the derivatives by x that a pull-back left in `self.bars`; those by the condition are added to the sums.
    fn take(&mut self, at: At<'_>, mut gx: LanesMut<'_, T>) {
        let (d, c, lanes) = (self.evaluator.dim(), self.c, at.lanes());
        let bars = Lanes::new(&self.bars, d + c, lanes, stride_for(lanes));
        for i in 0..d {
            gx.row_mut(i)[..lanes].copy_from_slice(&bars.row(i)[..lanes]);
        }
        for j in 0..c {
            for (sample, by) in at.sample.iter().zip(bars.row(d + j)) {
                self.sums[sample * c + j] += by.to_f64();
            }
        }
    }
}

impl<T: Real> Evaluator<T> for Gathered<'_, '_, T> {
    fn dim(&self) -> usize {
        self.evaluator.dim()
    }

    fn traces(&self) -> usize {
        self.evaluator.traces()
    }

    fn count_in(&mut self, counter: &Count) -> bool {
        self.evaluator.count_in(counter)
    }

    fn grad_len(&self) -> usize {
        self.evaluator.grad_len()
    }

    fn value(&mut self, at: At<'_>, x: Lanes<'_, T>, v: LanesMut<'_, T>) {
        self.evaluator.value(at, x, v);
    }

    fn value_divergence_and_squares(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        v: LanesMut<'_, T>,
        div: LanesMut<'_, T>,
        squares: Regularisers<LanesMut<'_, T>>,
    ) {
        self.evaluator.value_divergence_and_squares(at, x, v, div, squares);
    }

    fn tangent(&mut self, at: At<'_>, x: Lanes<'_, T>, dx: Lanes<'_, T>, dv: LanesMut<'_, T>) {
        self.evaluator.tangent(at, x, dx, dv);
    }

    fn value_and_tangents(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        dx: Lanes<'_, T>,
        v: LanesMut<'_, T>,
        dv: LanesMut<'_, T>,
    ) {
        self.evaluator.value_and_tangents(at, x, dx, v, dv);
    }

    fn tangents_back(&mut self) -> Option<&mut dyn TangentsBack<T>> {
        if self.evaluator.tangents_back().is_some() { Some(self) } else { None }
    }

    fn value_and_gradient(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        v: LanesMut<'_, T>,
        v_bar: LanesMut<'_, T>,
        cotangent: &mut dyn FnMut(Lanes<'_, T>, LanesMut<'_, T>),
        g: &mut [T],
    ) {
        self.evaluator.value_and_gradient(at, x, v, v_bar, cotangent, g);
    }

    fn pull_back_all(&mut self, at: At<'_>, x: Lanes<'_, T>, bar: Cotangents<'_, T>, gx: LanesMut<'_, T>, g: &mut [T]) {
        let (rows, lanes) = (self.evaluator.dim() + self.c, at.lanes());
        let bars = LanesMut::new(&mut self.bars, rows, lanes, stride_for(lanes));
        self.evaluator.pull_back_all(at, x, bar, bars, g);
        self.take(at, gx);
    }
}

impl<T: Real> TangentsBack<T> for Gathered<'_, '_, T> {
    fn pull_back_tangents(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        dx: Lanes<'_, T>,
        bar: TangentCotangents<'_, T>,
        (gx, gdx): (LanesMut<'_, T>, LanesMut<'_, T>),
        g: &mut [T],
    ) {
        let (rows, lanes) = (self.evaluator.dim() + self.c, at.lanes());
        let bars = LanesMut::new(&mut self.bars, rows, lanes, stride_for(lanes));
        // `tangents_back` gives this pull-back only where the evaluator has one.
        if let Some(evaluator) = self.evaluator.tangents_back() {
            evaluator.pull_back_tangents(at, x, dx, bar, (bars, gdx), g);
        }
        self.take(at, gx);
    }
}
