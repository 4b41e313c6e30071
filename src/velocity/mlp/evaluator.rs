//! The evaluator of the fused MLP: scratch for one caller, and the choice of its trace.

use cnflow_kernels::epilogue::{ScaledByLane, Store};
use cnflow_kernels::lanewise::{Operand, RowMap, dot, map_rows};
use cnflow_kernels::outer::{outer, row_sums};
use cnflow_kernels::product::{Factor, product};
use cnflow_kernels::{Keep, Scalar, Tangents, Tile, Workspace};
use cnflow_solvers::lanes::LANE_BLOCK;
use cnflow_solvers::{At, Lanes, LanesMut};

use super::Mlp;
use crate::velocity::closed_form::ClosedForm;
use crate::velocity::probes::Probes;
use crate::velocity::{Batch, Cotangents, Evaluator, FEW_DIMENSIONS, Regularisers, TangentsBack};

mod along;
mod few;
mod squares;

use self::few::Few;

/// An MLP with the scratch of one caller.
pub struct MlpEvaluator<'a, T> {
    mlp: &'a Mlp<T>,
    batch: Batch<'a, T>,
    /// Of the lanes behind the last whole block, where they are few.
    few: Few<T>,
    /// How many lanes the tiles below have room for: none before they are needed, where the batch is of few lanes.
    room: usize,
    ws: Workspace<T>,
    tangents: Tangents<T>,
    direction: Tile<T>,
    /// The cotangent of J e.
    end_bar: Tile<T>,
    probes: Option<Probes<T>>,
    /// The probe of the Jacobian's norm, where the trace needs none and unit vectors would be too many.
    lone_probe: Option<Probes<T>>,
    /// div, and its cotangent: one row a trace.
    div: Tile<T>,
    tau: Tile<T>,
    /// |m|² and ‖∂m/∂x‖², or twice their cotangents.
    kinetic: Tile<T>,
    jacobian: Tile<T>,
    /// As wide as the second hidden layer: M σ′(a₁), then τ σ′(a₂).
    wide: Tile<T>,
    /// The cotangent of the condition.
    condition_bar: Tile<T>,
}

impl<'a, T: Scalar> MlpEvaluator<'a, T> {
    /// Scratch for `batch.lanes` lanes.
    pub fn new(mlp: &'a Mlp<T>, batch: Batch<'a, T>) -> Self {
        let (lanes, dim) = (batch.lanes, mlp.spec.dim);
        let (traces, probes) = (batch.trace.rows(), Probes::of(batch.trace, dim, lanes));
        let alone = probes.is_none() && mlp.closed.is_some() && dim > FEW_DIMENSIONS;
        let mut evaluator = Self {
            few: Few::new(mlp),
            room: 0,
            ws: Workspace::empty(),
            tangents: Tangents::empty(),
            direction: Tile::new(dim, 0),
            end_bar: Tile::new(dim, 0),
            probes,
            lone_probe: alone.then(|| Probes::lone(dim, lanes)),
            div: Tile::new(traces, 0),
            tau: Tile::new(traces, 0),
            kinetic: Tile::new(1, 0),
            jacobian: Tile::new(1, 0),
            wide: Tile::new(mlp.spec.hidden.get(1).copied().unwrap_or(0), 0),
            condition_bar: Tile::new(mlp.spec.condition_dim, 0),
            mlp,
            batch,
        };
        if evaluator.few.of(lanes) < lanes {
            evaluator.make_room(lanes);
        }
        evaluator
    }

    /// Makes tiles for so many lanes, where there are none.
    fn make_room(&mut self, lanes: usize) {
        if lanes <= self.room {
            return;
        }
        let (net, lanes) = (&self.mlp.net, lanes.max(self.batch.lanes));
        let resize = |tile: &mut Tile<T>| *tile = Tile::new(tile.rows(), lanes);
        self.room = lanes;
        self.ws = net.workspace(lanes);
        self.tangents = Tangents::new(net, lanes);
        let Self { direction, end_bar, div, tau, kinetic, jacobian, wide, condition_bar, .. } = self;
        [direction, end_bar, div, tau, kinetic, jacobian, wide, condition_bar].into_iter().for_each(resize);
    }

    /// Puts x, the condition and time into the input tile; unused slots become zero.
    fn load(&mut self, at: At<'_>, x: Lanes<'_, T>) {
        debug_assert_eq!(x.rows(), self.mlp.spec.dim);
        debug_assert_eq!(x.lanes(), at.lanes());
        self.make_room(at.lanes());
        let spec = &self.mlp.spec;
        let input = &mut self.ws.input;
        input.load(0, x);
        self.ws.blocks = at.lanes().div_ceil(LANE_BLOCK);
        let features = spec.dim + spec.condition_dim;
        for block in 0..self.ws.blocks {
            let from = block * LANE_BLOCK;
            let lanes = from..at.lanes().min(from + LANE_BLOCK);
            for i in 0..spec.condition_dim {
                let slots = input.at_mut(block, spec.dim + i);
                slots.fill(T::ZERO);
                for (slot, &sample) in slots.iter_mut().zip(&at.sample[lanes.clone()]) {
                    *slot = self.batch.condition[sample * spec.condition_dim + i];
                }
            }
            for i in 0..spec.time.columns() {
                let slots = input.at_mut(block, features + i);
                slots.fill(T::ZERO);
                for (slot, &t) in slots.iter_mut().zip(&at.t[lanes.clone()]) {
                    *slot = T::of(spec.time.feature(i, t));
                }
            }
        }
    }

    /// `gx` ← the cotangents of x and, where it has rows for it, of the condition, behind the way back through the net.
    fn unload_bars(&mut self, mut gx: LanesMut<'_, T>) {
        let (d, rows) = (self.mlp.spec.dim, gx.rows());
        self.ws.input_bar.unload(gx.rows_of(0, d));
        if rows > d {
            self.mlp.condition.back(self.mlp.net.isa(), &self.ws, &mut self.condition_bar);
            self.condition_bar.unload(gx.rows_of(d, rows));
        }
    }

    /// `self.div` ← the trace, where σ′ is known.
    fn trace(&mut self, at: At<'_>) {
        let Self { mlp, ws, tangents, div, wide, .. } = self;
        let (net, isa, blocks, dim) = (&mlp.net, mlp.net.isa(), ws.blocks, mlp.spec.dim);
        if let Some(probes) = &mut self.probes {
            probes.refresh(at, self.batch.keys);
            for (k, e) in probes.e.iter().enumerate() {
                tangents.advance(net, ws, e.read());
                tangents.finish(net, ws, e.read());
                dot(isa, Operand::Tile(e.read()), tangents.end().read(), dim, blocks, div.write_from(k), false);
            }
            return;
        }
        match &mlp.closed {
            Some(ClosedForm::One { m }) => {
                dot(isa, Operand::Fixed(m), ws.first(0).read(), m.len(), blocks, div.write(), false);
            }
            Some(ClosedForm::Two { forward, .. }) => {
                product(isa, Factor::new(forward, ws.first(0).read()), blocks, Store(wide.write()));
                let first = ws.first(1);
                dot(isa, Operand::Tile(first.read()), wide.read(), first.rows(), blocks, div.write(), false);
            }
            None if net.n_ops() == 1 => {
                let trace = (0..dim).map(|i| mlp.last_row(i)[i]).sum();
                (0..blocks).for_each(|block| div.at_mut(block, 0).fill(trace));
            }
            None => {
                for j in 0..dim {
                    tangents.advance_column(net, ws, mlp.first_column(j));
                    let row = mlp.last_row(j);
                    if let Some(top) = tangents.top() {
                        dot(isa, Operand::Fixed(row), top.read(), row.len(), blocks, div.write(), j > 0);
                    }
                }
            }
        }
    }

    /// Pulls back the cotangent `self.tau` of the trace as far as `tangents.gathered` and g.
    fn trace_back(&mut self, at: At<'_>, g: &mut [T]) {
        let Self { mlp, ws, tangents, end_bar, tau, wide, .. } = self;
        let (net, isa, blocks) = (&mlp.net, mlp.net.isa(), ws.blocks);
        let (dim, inputs, n_params) = (mlp.spec.dim, mlp.spec.input_dim(), mlp.theta.len());
        if let Some(probes) = &mut self.probes {
            probes.refresh(at, self.batch.keys);
            tangents.clear(blocks);
            for (k, e) in probes.e.iter().enumerate() {
                tangents.advance(net, ws, e.read());
                let by = RowMap::ByLane { lane: tau.read_from(k) };
                map_rows(isa, Operand::Tile(e.read()), by, dim, blocks, end_bar.write());
                tangents.retreat(net, ws, e.read(), end_bar.read(), g);
            }
            return;
        }
        match &mlp.closed {
            Some(ClosedForm::One { m }) => {
                let by = RowMap::ByLane { lane: tau.read() };
                map_rows(isa, Operand::Fixed(m), by, m.len(), blocks, tangents.gathered[0].write());
                outer(isa, (tau.read(), 1), (ws.first(0).read(), m.len()), blocks, &mut g[n_params..], m.len());
            }
            Some(ClosedForm::Two { forward, back, .. }) => {
                let ((s1, s2), (h1, h2)) = ((ws.first(0), ws.first(1)), (ws.first(0).rows(), ws.first(1).rows()));
                let [gathered1, gathered2, _] = &mut tangents.gathered[..] else {
                    return;
                };
                let scaled = ScaledByLane { y: gathered2.write(), by: tau.read() };
                product(isa, Factor::new(forward, s1.read()), blocks, scaled);
                let by = RowMap::ByLane { lane: tau.read() };
                map_rows(isa, Operand::Tile(s2.read()), by, h2, blocks, wide.write());
                product(isa, Factor::new(back, wide.read()), blocks, Store(gathered1.write()));
                outer(isa, (wide.read(), h2), (s1.read(), h1), blocks, &mut g[n_params..], h1);
            }
            None if net.n_ops() == 1 => {
                for i in 0..dim {
                    row_sums(isa, (tau.read(), 1), blocks, &mut g[i * inputs + i..], 1);
                }
            }
            None => {
                tangents.clear(blocks);
                for j in 0..dim {
                    tangents.advance_column(net, ws, mlp.first_column(j));
                    tangents.retreat_row(net, ws, (j, mlp.last_row(j)), tau.read(), g);
                    row_sums(isa, tangents.first_bar(), blocks, &mut g[j..], inputs);
                }
            }
        }
    }
}

impl<T: Scalar> Evaluator<T> for MlpEvaluator<'_, T> {
    fn dim(&self) -> usize {
        self.mlp.spec.dim
    }

    fn traces(&self) -> usize {
        self.div.rows()
    }

    fn grad_len(&self) -> usize {
        super::Velocity::grad_len(self.mlp)
    }

    fn value(&mut self, at: At<'_>, x: Lanes<'_, T>, mut v: LanesMut<'_, T>) {
        let whole = at.lanes() - self.few.of(at.lanes());
        for lane in whole..at.lanes() {
            self.value_of(lane, at, x, &mut v);
        }
        if whole == 0 {
            return;
        }
        self.load(at.first_lanes(whole), x.first_lanes(whole));
        self.mlp.net.run(&mut self.ws, Keep::Value);
        self.ws.output().unload(v.first_lanes(whole));
    }

    fn value_and_divergence(&mut self, at: At<'_>, x: Lanes<'_, T>, mut v: LanesMut<'_, T>, mut div: LanesMut<'_, T>) {
        let whole = at.lanes() - self.few.of(at.lanes());
        if let (true, Some(probes)) = (whole < at.lanes(), &mut self.probes) {
            probes.refresh(at, self.batch.keys);
        }
        for lane in whole..at.lanes() {
            self.value_and_divergence_of(lane, at, x, &mut v, &mut div);
        }
        if whole == 0 {
            return;
        }
        let at = at.first_lanes(whole);
        self.load(at, x.first_lanes(whole));
        self.mlp.net.run(&mut self.ws, Keep::First);
        self.ws.output().unload(v.first_lanes(whole));
        self.trace(at);
        self.div.unload(div.first_lanes(whole));
    }

    fn value_divergence_and_squares(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        v: LanesMut<'_, T>,
        div: LanesMut<'_, T>,
        squares: Regularisers<LanesMut<'_, T>>,
    ) {
        if squares.kinetic.is_none() && squares.jacobian.is_none() {
            return self.value_and_divergence(at, x, v, div);
        }
        self.load(at, x);
        self.mlp.net.run(&mut self.ws, Keep::First);
        self.ws.output().unload(v);
        if let Some(kinetic) = squares.kinetic {
            self.speed();
            self.kinetic.unload(kinetic);
        }
        if let Some(jacobian) = squares.jacobian {
            self.trace_and_norm(at);
            self.jacobian.unload(jacobian);
        } else {
            self.trace(at);
        }
        self.div.unload(div);
    }

    fn tangent(&mut self, at: At<'_>, x: Lanes<'_, T>, dx: Lanes<'_, T>, dv: LanesMut<'_, T>) {
        self.load(at, x);
        self.mlp.net.run_inner(&mut self.ws, Keep::First);
        self.direction.load(0, dx);
        self.tangents.advance(&self.mlp.net, &self.ws, self.direction.read());
        self.tangents.finish(&self.mlp.net, &self.ws, self.direction.read());
        self.tangents.end().unload(dv);
    }

    fn value_and_tangents(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        dx: Lanes<'_, T>,
        v: LanesMut<'_, T>,
        dv: LanesMut<'_, T>,
    ) {
        self.along(at, x, dx, v, dv);
    }

    fn tangents_back(&mut self) -> Option<&mut dyn TangentsBack<T>> {
        Some(self)
    }

    fn value_and_gradient(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        mut v_bar: LanesMut<'_, T>,
        cotangent: &mut dyn FnMut(Lanes<'_, T>, LanesMut<'_, T>),
        g: &mut [T],
    ) {
        self.load(at, x);
        self.mlp.net.run(&mut self.ws, Keep::First);
        self.ws.output().unload(v.reborrow());
        cotangent(v.as_lanes(), v_bar.reborrow());
        self.ws.output_bar.load(0, v_bar.as_lanes());
        self.mlp.net.run_back(&mut self.ws, None, true, g);
    }

    fn pull_back_all(&mut self, at: At<'_>, x: Lanes<'_, T>, bar: Cotangents<'_, T>, gx: LanesMut<'_, T>, g: &mut [T]) {
        let Regularisers { kinetic, jacobian } = bar.squares;
        self.load(at, x);
        let bends = bar.div.is_some() || jacobian.is_some();
        let keep = if bends { Keep::Second } else { Keep::First };
        match kinetic {
            // The cotangent of |m|² holds m.
            Some(_) => self.mlp.net.run(&mut self.ws, keep),
            None => self.mlp.net.run_inner(&mut self.ws, keep),
        }
        match bar.v {
            Some(v_bar) => self.ws.output_bar.load(0, v_bar),
            None => self.ws.output_bar.clear(self.ws.blocks),
        }
        if let Some(kinetic) = kinetic {
            self.speed_back(kinetic);
        }
        if let Some(div_bar) = bar.div {
            self.tau.load(0, div_bar);
        }
        match jacobian {
            Some(jacobian) => self.trace_and_norm_back(at, bar.div.is_some(), jacobian, g),
            None if bar.div.is_some() => self.trace_back(at, g),
            None => {}
        }
        let gathered = bends.then_some(&self.tangents.gathered[..]);
        self.mlp.net.run_back(&mut self.ws, gathered, bar.v.is_some() || kinetic.is_some(), g);
        self.unload_bars(gx);
    }
}
