//! |m|² and ‖∂m/∂x‖² of the fused MLP, and their pull-backs.
//!
//! ‖J‖² = Σⱼ |J eⱼ|² over unit vectors, or E|J e|² over probes: of the tangents that a trace needs, the whole end
//! instead of one number. Going back, the cotangent of the end J e is τ e for the trace e·(J e) and 2 μ J e for μ|J
//! e|², and one descent takes their sum. A trace in closed form has no tangents and stays as it is; where it joins d
//! unit vectors on their way back its own pull-back is left out instead, the same numbers up to round-off.

use cnflow_kernels::lanewise::{Operand, RowMap, dot, map_rows};
use cnflow_kernels::outer::row_sums;
use cnflow_kernels::{Scalar, Tile};
use cnflow_solvers::{At, Lanes};

use super::MlpEvaluator;

/// Multiplies the only row of a tile.
fn scale<T: Scalar>(tile: &mut Tile<T>, by: T, blocks: usize) {
    for block in 0..blocks {
        tile.at_mut(block, 0).iter_mut().for_each(|slot| *slot *= by);
    }
}

/// The j-th unit vector in every lane.
fn set_unit<T: Scalar>(tile: &mut Tile<T>, j: usize, blocks: usize) {
    tile.clear(blocks);
    for block in 0..blocks {
        tile.at_mut(block, j).fill(T::ONE);
    }
}

impl<T: Scalar> MlpEvaluator<'_, T> {
    /// `self.kinetic` ← |m|², where m is known.
    pub(super) fn speed(&mut self) {
        let (v, isa) = (self.ws.output(), self.mlp.net.isa());
        dot(isa, Operand::Tile(v.read()), v.read(), v.rows(), self.ws.blocks, self.kinetic.write(), false);
    }

    /// The cotangent of m += 2 m `bar`, where m is known.
    pub(super) fn speed_back(&mut self, bar: Lanes<'_, T>) {
        let Self { mlp, ws, kinetic, .. } = self;
        kinetic.load(0, bar);
        scale(kinetic, T::of(2.0), ws.blocks);
        let add = RowMap::AddByLane { lane: kinetic.read() };
        let blocks = ws.blocks;
        let (v, bar) = ws.output_and_bar();
        map_rows(mlp.net.isa(), Operand::Tile(v.read()), add, v.rows(), blocks, bar.write());
    }

    /// `self.div` ← the trace, as without a norm; `self.jacobian` ← ‖∂m/∂x‖² or its estimate.
    pub(super) fn trace_and_norm(&mut self, at: At<'_>) {
        // A trace in closed form, or a constant one, shares nothing with the norm.
        let shared = self.mlp.closed.is_none() && self.mlp.net.n_ops() > 1;
        if self.probes.is_none() && !shared {
            self.trace(at);
        }
        let Self { mlp, ws, tangents, direction, probes, lone_probe, div, jacobian, batch, .. } = self;
        let (net, isa, blocks, dim) = (&mlp.net, mlp.net.isa(), ws.blocks, mlp.spec.dim);
        let with_trace = probes.is_some();
        if let Some(probes) = probes.as_mut().or(lone_probe.as_mut()) {
            probes.refresh(at, batch.keys);
            for (k, e) in probes.e.iter().enumerate() {
                tangents.advance(net, ws, e.read());
                tangents.finish(net, ws, e.read());
                let end = tangents.end().read();
                if with_trace {
                    dot(isa, Operand::Tile(e.read()), end, dim, blocks, div.write_from(k), false);
                }
                dot(isa, Operand::Tile(end), end, dim, blocks, jacobian.write(), k > 0);
            }
            return scale(jacobian, T::of(1.0 / probes.e.len() as f64), blocks);
        }
        for j in 0..dim {
            set_unit(direction, j, blocks);
            if net.n_ops() == 1 {
                tangents.advance(net, ws, direction.read());
            } else {
                tangents.advance_column(net, ws, mlp.first_column(j));
            }
            if let (true, Some(top)) = (shared, tangents.top()) {
                let row = mlp.last_row(j);
                dot(isa, Operand::Fixed(row), top.read(), row.len(), blocks, div.write(), j > 0);
            }
            tangents.finish(net, ws, direction.read());
            let end = tangents.end().read();
            dot(isa, Operand::Tile(end), end, dim, blocks, jacobian.write(), j > 0);
        }
    }

    /// Pulls back the cotangents `bar` of the norm and, `with_trace`, `self.tau` of the trace as far as
    /// `tangents.gathered` and g.
    pub(super) fn trace_and_norm_back(&mut self, at: At<'_>, with_trace: bool, bar: Lanes<'_, T>, g: &mut [T]) {
        let blocks = self.ws.blocks;
        let per = self.probes.as_ref().map_or(1, |probes| probes.e.len());
        self.jacobian.load(0, bar);
        scale(&mut self.jacobian, T::of(2.0 / per as f64), blocks);
        let alone = self.lone_probe.is_some();
        if alone && with_trace {
            // In closed form, which sets what was gathered: before the tangent adds to it.
            self.trace_back(at, g);
        } else {
            self.tangents.clear(blocks);
        }
        if self.probes.is_some() || alone {
            self.probes_back(at, with_trace && !alone, g);
        } else {
            self.units_back(with_trace, g);
        }
    }

    fn probes_back(&mut self, at: At<'_>, with_trace: bool, g: &mut [T]) {
        let Self { mlp, ws, tangents, probes, lone_probe, end_bar, tau, jacobian, batch, .. } = self;
        let (net, isa, blocks, dim) = (&mlp.net, mlp.net.isa(), ws.blocks, mlp.spec.dim);
        let Some(probes) = probes.as_mut().or(lone_probe.as_mut()) else { return };
        probes.refresh(at, batch.keys);
        for (k, e) in probes.e.iter().enumerate() {
            tangents.advance(net, ws, e.read());
            tangents.finish(net, ws, e.read());
            let by = RowMap::ByLane { lane: jacobian.read() };
            map_rows(isa, Operand::Tile(tangents.end().read()), by, dim, blocks, end_bar.write());
            if with_trace {
                let add = RowMap::AddByLane { lane: tau.read_from(k) };
                map_rows(isa, Operand::Tile(e.read()), add, dim, blocks, end_bar.write());
            }
            tangents.retreat(net, ws, e.read(), end_bar.read(), g);
        }
    }

    fn units_back(&mut self, with_trace: bool, g: &mut [T]) {
        let Self { mlp, ws, tangents, direction, end_bar, tau, jacobian, .. } = self;
        let (net, isa, blocks, dim) = (&mlp.net, mlp.net.isa(), ws.blocks, mlp.spec.dim);
        for j in 0..dim {
            set_unit(direction, j, blocks);
            if net.n_ops() == 1 {
                tangents.advance(net, ws, direction.read());
            } else {
                tangents.advance_column(net, ws, mlp.first_column(j));
            }
            tangents.finish(net, ws, direction.read());
            let by = RowMap::ByLane { lane: jacobian.read() };
            map_rows(isa, Operand::Tile(tangents.end().read()), by, dim, blocks, end_bar.write());
            if with_trace {
                for block in 0..blocks {
                    let slots = end_bar.at_mut(block, j).iter_mut();
                    slots.zip(tau.at(block, 0)).for_each(|(slot, tau)| *slot += *tau);
                }
            }
            let first_bar = tangents.fall(net, ws, end_bar.read(), g);
            row_sums(isa, first_bar, blocks, &mut g[j..], mlp.spec.input_dim());
        }
    }
}
