//! The evaluator of a velocity of images: the net's value, its divergence and squares, block by block.
//!
//! All passes of one block of 16 images are done before the next, so that one workspace serves any number of lanes.

use cnflow_kernels::lanewise::{Operand, RowMap, dot, map_rows};
use cnflow_kernels::{ImageNet, ImageWorkspace, Isa, Keep, Passive, Scalar, Tile};
use cnflow_solvers::lanes::LANE_BLOCK;
use cnflow_solvers::{At, Lanes, LanesMut};

use super::spec::ImageSpec;
use super::{Image, pool};
use crate::velocity::probes::Probes;
use crate::velocity::{Batch, Cotangents, Count, Evaluator, Regularisers};

/// A velocity of images with the scratch of one caller.
pub struct ImageEvaluator<'a, T: Scalar> {
    spec: &'a ImageSpec,
    net: &'a ImageNet<T>,
    batch: Batch<'a, T>,
    ws: ImageWorkspace<T>,
    probes: Option<Probes<T>>,
    /// One row a trace, of one block; and the squares, or their cotangents.
    div: Tile<T>,
    kinetic: Tile<T>,
    jacobian: Tile<T>,
    /// The condition, and its cotangent in one block.
    condition: &'a Passive<T>,
    condition_bar: Tile<T>,
    /// What counts the directions of traces.
    counter: Option<Count>,
}

/// y ← x · lane, or y += x · lane.
fn by_lane<T: Scalar>(isa: Isa, x: &Tile<T>, (lanes, row): (&Tile<T>, usize), y: &mut Tile<T>, add: bool) {
    let lane = lanes.read_from(row);
    let what = if add { RowMap::AddByLane { lane } } else { RowMap::ByLane { lane } };
    map_rows(isa, Operand::Tile(x.read()), what, x.rows(), 1, y.write());
}

/// Multiplies a row by a number.
fn scale<T: Scalar>(tile: &mut Tile<T>, by: f64) {
    tile.at_mut(0, 0).iter_mut().for_each(|slot| *slot *= T::of(by));
}

/// The first lanes of all blocks in use.
fn blocks(lanes: usize) -> impl Iterator<Item = usize> {
    (0..lanes).step_by(LANE_BLOCK)
}

impl<'a, T: Scalar> ImageEvaluator<'a, T> {
    /// Scratch for `batch.lanes` lanes.
    pub fn new(image: &'a Image<T>, batch: Batch<'a, T>) -> Self {
        let Image { spec, net, condition, .. } = image;
        let dim = spec.dim();
        let (probes, traces) = (Probes::of(batch.trace, dim, batch.lanes), batch.trace.rows());
        let row = || Tile::new(1, LANE_BLOCK);
        Self {
            ws: pool::take(net),
            probes,
            div: Tile::new(traces, LANE_BLOCK),
            kinetic: row(),
            jacobian: row(),
            condition,
            condition_bar: Tile::new(spec.condition_dim, LANE_BLOCK),
            counter: None,
            spec,
            net,
            batch,
        }
    }

    /// Puts x, time and condition of the block from lane `first` on into their tiles, and runs the net.
    fn run(&mut self, at: At<'_>, x: Lanes<'_, T>, first: usize, keep: Keep) {
        let Self { spec, net, batch, ws, .. } = self;
        let lanes = first..at.lanes().min(first + LANE_BLOCK);
        debug_assert_eq!((x.rows(), x.lanes()), (spec.dim(), at.lanes()));
        let aux = ws.aux();
        if aux.rows() > 0 {
            aux.clear(1);
            let features = spec.time_columns();
            for (slot, (&t, &sample)) in at.t[lanes.clone()].iter().zip(&at.sample[lanes]).enumerate() {
                for i in 0..features {
                    aux.at_mut(0, i)[slot] = T::of(spec.feature(i, t));
                }
                for i in 0..spec.condition_dim {
                    aux.at_mut(0, features + i)[slot] = batch.condition[sample * spec.condition_dim + i];
                }
            }
        }
        ws.input().load_from(0, x, first);
        net.run(ws, keep);
    }

    /// How many directions a trace takes.
    fn directions(&self) -> usize {
        self.probes.as_ref().map_or(self.spec.dim(), Probes::count)
    }

    /// Sets direction `k` of the block from lane `first` on, and carries it through the net.
    fn advance(&mut self, k: usize, first: usize) {
        let Self { net, ws, probes, .. } = self;
        let direction = ws.direction();
        match probes {
            Some(probes) => {
                let e = &probes.e[k];
                (0..e.rows()).for_each(|row| *direction.at_mut(0, row) = *e.at(first / LANE_BLOCK, row));
            }
            None => {
                direction.clear(1);
                direction.at_mut(0, k).fill(T::ONE);
            }
        }
        net.advance(ws);
    }

    /// `self.div` ← the trace, and where wanted `self.jacobian` ← ‖∂m/∂x‖² or its estimate, in a block with so many
    /// lanes in use.
    fn trace(&mut self, first: usize, lanes: usize, with_norm: bool) {
        let (isa, dim, count) = (self.net.isa(), self.dim(), self.directions());
        for k in 0..count {
            self.advance(k, first);
            if let Some(counter) = &self.counter {
                // The parts of all directions make a point.
                let parts = |k: usize| Count::POINT * k as u64 / count as u64;
                counter.add(lanes as u64 * (parts(k + 1) - parts(k)));
            }
            let (end, e) = self.ws.end_and_direction();
            if self.probes.is_some() {
                dot(isa, Operand::Tile(e.read()), end.read(), dim, 1, self.div.write_from(k), false);
            } else {
                // e is a unit vector.
                let sums = self.div.at_mut(0, 0);
                sums.iter_mut().zip(end.at(0, k)).for_each(|(sum, j)| *sum = if k == 0 { *j } else { *sum + *j });
            }
            if with_norm {
                dot(isa, Operand::Tile(end.read()), end.read(), dim, 1, self.jacobian.write(), k > 0);
            }
        }
        if let (Some(probes), true) = (&self.probes, with_norm) {
            scale(&mut self.jacobian, 1.0 / probes.count() as f64);
        }
    }

    /// Pulls back the cotangents `self.div` of the trace and, where there is one, `self.jacobian` of the norm: to what
    /// the pull-back of the value joins, and to g.
    fn trace_back(&mut self, first: usize, (with_trace, with_norm): (bool, bool), g: &mut [T]) {
        if with_norm {
            scale(&mut self.jacobian, 2.0 / self.probes.as_ref().map_or(1, Probes::count) as f64);
        }
        for k in 0..self.directions() {
            self.advance(k, first);
            let Self { net, ws, probes, div, jacobian, .. } = self;
            let isa = net.isa();
            let (bar, end, e) = ws.output_bar_and_tangents();
            if with_norm {
                by_lane(isa, end, (jacobian, 0), bar, false);
            } else {
                bar.clear(1);
            }
            if with_trace {
                by_lane(isa, e, (div, if probes.is_some() { k } else { 0 }), bar, true);
            }
            net.retreat(ws, g);
        }
    }

    fn refresh(&mut self, at: At<'_>) {
        if let Some(probes) = &mut self.probes {
            probes.refresh(at, self.batch.keys);
        }
    }
}

impl<T: Scalar> Drop for ImageEvaluator<'_, T> {
    fn drop(&mut self) {
        let none = ImageWorkspace::empty();
        pool::give(self.net, std::mem::replace(&mut self.ws, none));
    }
}

impl<T: Scalar> Evaluator<T> for ImageEvaluator<'_, T> {
    fn dim(&self) -> usize {
        self.spec.dim()
    }

    fn traces(&self) -> usize {
        self.div.rows()
    }

    fn count_in(&mut self, counter: &Count) -> bool {
        self.counter = Some(counter.clone());
        true
    }

    fn grad_len(&self) -> usize {
        self.net.n_params()
    }

    fn value(&mut self, at: At<'_>, x: Lanes<'_, T>, mut v: LanesMut<'_, T>) {
        for first in blocks(at.lanes()) {
            self.run(at, x, first, Keep::Value);
            self.ws.output().unload_to(&mut v, first);
        }
    }

    fn value_divergence_and_squares(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        mut div: LanesMut<'_, T>,
        mut squares: Regularisers<LanesMut<'_, T>>,
    ) {
        self.refresh(at);
        for first in blocks(at.lanes()) {
            self.run(at, x, first, Keep::First);
            self.ws.output().unload_to(&mut v, first);
            if let Some(kinetic) = &mut squares.kinetic {
                let m = self.ws.output().read();
                dot(self.net.isa(), Operand::Tile(m), m, self.dim(), 1, self.kinetic.write(), false);
                self.kinetic.unload_to(kinetic, first);
            }
            self.trace(first, LANE_BLOCK.min(at.lanes() - first), squares.jacobian.is_some());
            self.div.unload_to(&mut div, first);
            if let Some(jacobian) = &mut squares.jacobian {
                self.jacobian.unload_to(jacobian, first);
            }
        }
    }

    fn tangent(&mut self, at: At<'_>, x: Lanes<'_, T>, dx: Lanes<'_, T>, mut dv: LanesMut<'_, T>) {
        for first in blocks(at.lanes()) {
            self.run(at, x, first, Keep::First);
            self.ws.direction().load_from(0, dx, first);
            self.net.advance(&mut self.ws);
            self.ws.end().unload_to(&mut dv, first);
        }
    }

    // With more lanes than a block has, the forward pass is done twice: the cotangent is that of all lanes at once, and
    // there is one workspace. Whoever trains gives it 16 lanes.
    fn value_and_gradient(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        mut v_bar: LanesMut<'_, T>,
        cotangent: &mut dyn FnMut(Lanes<'_, T>, LanesMut<'_, T>),
        g: &mut [T],
    ) {
        let alone = at.lanes() <= LANE_BLOCK;
        for first in blocks(at.lanes()) {
            self.run(at, x, first, if alone { Keep::First } else { Keep::Value });
            self.ws.output().unload_to(&mut v, first);
        }
        cotangent(v.as_lanes(), v_bar.reborrow());
        for first in blocks(at.lanes()) {
            if !alone {
                self.run(at, x, first, Keep::First);
            }
            self.ws.output_bar().load_from(0, v_bar.as_lanes(), first);
            self.net.run_back(&mut self.ws, false, false, g);
        }
    }

    fn pull_back_all(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        bar: Cotangents<'_, T>,
        mut gx: LanesMut<'_, T>,
        g: &mut [T],
    ) {
        let Regularisers { kinetic, jacobian } = bar.squares;
        let bends = bar.div.is_some() || jacobian.is_some();
        if bends {
            self.refresh(at);
        }
        for first in blocks(at.lanes()) {
            self.run(at, x, first, if bends { Keep::Second } else { Keep::First });
            if let Some(div_bar) = bar.div {
                self.div.load_from(0, div_bar, first);
            }
            if let Some(jacobian) = jacobian {
                self.jacobian.load_from(0, jacobian, first);
            }
            if bends {
                self.trace_back(first, (bar.div.is_some(), jacobian.is_some()), g);
            }
            let Self { net, ws, kinetic: twice, .. } = self;
            match bar.v {
                Some(v_bar) => ws.output_bar().load_from(0, v_bar, first),
                None => ws.output_bar().clear(1),
            }
            if let Some(kinetic) = kinetic {
                twice.load_from(0, kinetic, first);
                scale(twice, 2.0);
                let (m, bar) = ws.output_and_bar();
                by_lane(net.isa(), m, (twice, 0), bar, true);
            }
            net.run_back(ws, bends, true, g);
            let (d, rows) = (self.spec.dim(), gx.rows());
            ws.input_bar().unload_to(&mut gx.rows_of(0, d), first);
            if rows > d {
                // Zeros where nothing is modulated.
                net.aux_back(self.condition, ws, &mut self.condition_bar);
                self.condition_bar.unload_to(&mut gx.rows_of(d, rows), first);
            }
        }
    }
}
