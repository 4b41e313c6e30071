//! The fused MLP along given directions, and the pull-back of value and tangents together.
//!
//! Of a loss with the cotangents v̄ of m and ēₖ of J eₖ, one descent of each tangent gathers what σ″ multiplies, as for a
//! trace; behind it the cotangent of its direction, Jᵀ ēₖ, is one more product.

use cnflow_kernels::{Keep, Scalar};
use cnflow_solvers::{At, Lanes, LanesMut};

use super::MlpEvaluator;
use crate::velocity::{TangentCotangents, TangentsBack};

impl<T: Scalar> MlpEvaluator<'_, T> {
    /// As [`Evaluator::value_and_tangents`](crate::velocity::Evaluator::value_and_tangents).
    pub(super) fn along(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        dx: Lanes<'_, T>,
        v: LanesMut<'_, T>,
        mut dv: LanesMut<'_, T>,
    ) {
        self.load(at, x);
        let Self { mlp, ws, tangents, direction, .. } = self;
        let (net, d) = (&mlp.net, mlp.spec.dim);
        net.run(ws, Keep::First);
        ws.output().unload(v);
        for from in (0..dx.rows()).step_by(d) {
            direction.load(0, dx.rows_of(from, from + d));
            tangents.advance(net, ws, direction.read());
            tangents.finish(net, ws, direction.read());
            tangents.end().unload(dv.rows_of(from, from + d));
        }
    }
}

impl<T: Scalar> TangentsBack<T> for MlpEvaluator<'_, T> {
    fn pull_back_tangents(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        dx: Lanes<'_, T>,
        bar: TangentCotangents<'_, T>,
        (gx, mut gdx): (LanesMut<'_, T>, LanesMut<'_, T>),
        g: &mut [T],
    ) {
        self.load(at, x);
        let Self { mlp, ws, tangents, direction, end_bar, .. } = self;
        let (net, d) = (&mlp.net, mlp.spec.dim);
        net.run_inner(ws, Keep::Second);
        ws.output_bar.load(0, bar.v);
        tangents.clear(ws.blocks);
        for from in (0..dx.rows()).step_by(d) {
            direction.load(0, dx.rows_of(from, from + d));
            end_bar.load(0, bar.dv.rows_of(from, from + d));
            tangents.advance(net, ws, direction.read());
            tangents.finish(net, ws, direction.read());
            tangents.retreat(net, ws, direction.read(), end_bar.read(), g);
            // The direction has been used: its tile takes its cotangent.
            tangents.direction_bar(net, ws, end_bar.read(), direction.write());
            direction.unload(gdx.rows_of(from, from + d));
        }
        net.run_back(ws, Some(&tangents.gathered), true, g);
        self.unload_bars(gx);
    }
}
