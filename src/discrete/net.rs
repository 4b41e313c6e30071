//! A discrete flow with its parameters, on chunks of rows: a pass through all layers, and its pull-back.

use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use cnflow_kernels::{Keep, Scalar, Tile};
use cnflow_solvers::lanes::LANE_BLOCK;

use super::conditioner::{Room, Shape, Workspace};
use super::layer::Layer;
use super::pool::{Home, POOL};
use super::spec::{DiscreteSpec, LayerSpec};
use super::step::{ConditionBar, Gradient, Step, Way};
use crate::error::Failure;
use crate::{Error, Result};

/// The largest absolute log-scale.
const STEEPEST: f64 = 60.0;

/// A flow with its parameters: shared by threads, never changed.
pub(super) struct Net<T> {
    dim: usize,
    condition_dim: usize,
    n_params: usize,
    parts: Vec<Part>,
    pub layers: Vec<Layer<T>>,
    /// Rows of a chunk that is not pulled back, and of one that is.
    pub chunk: usize,
    pub learnt: usize,
    /// Of a flow of images the layers as data, by which scratch is known again.
    images: Option<Arc<DiscreteSpec>>,
}

/// Where a layer's derivatives lie among all.
struct Part {
    theta: Range<usize>,
    own: Range<usize>,
    matrix: Range<usize>,
}

/// What passes of a chunk keep.
pub(crate) struct Buffers<T> {
    /// The state between layers: `states[0]` where a pass begins. Two take turns where nothing is pulled back.
    states: Vec<Tile<f64>>,
    logdet: Tile<f64>,
    logdet_bar: Tile<f64>,
    bar: Tile<f64>,
    condition: Tile<T>,
    /// The derivatives by the condition: of all layers, and of one net.
    condition_bar: Tile<f64>,
    condition_bar_of_net: Tile<T>,
    workspaces: Vec<Workspace<T>>,
    /// What the pull-backs of nets of one shape share.
    rooms: Vec<Room<T>>,
    /// The workspace and the room of each layer.
    slots: Vec<(usize, usize)>,
    keep: Keep,
}

/// The scratch of one caller; of images it goes back to the pool.
pub(crate) struct Scratch<T: Scalar> {
    buffers: Buffers<T>,
    home: Option<Home>,
}

impl<T: Scalar> Drop for Scratch<T> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let buffers = std::mem::replace(&mut self.buffers, Buffers::empty());
            POOL.give(home, buffers.bytes(), buffers);
        }
    }
}

impl<T: Scalar> Deref for Scratch<T> {
    type Target = Buffers<T>;

    fn deref(&self) -> &Buffers<T> {
        &self.buffers
    }
}

impl<T: Scalar> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut Buffers<T> {
        &mut self.buffers
    }
}

impl<T: Scalar> Buffers<T> {
    /// For nothing.
    pub fn empty() -> Self {
        Self {
            states: Vec::new(),
            logdet: Tile::new(0, 0),
            logdet_bar: Tile::new(0, 0),
            bar: Tile::new(0, 0),
            condition: Tile::new(0, 0),
            condition_bar: Tile::new(0, 0),
            condition_bar_of_net: Tile::new(0, 0),
            workspaces: Vec::new(),
            rooms: Vec::new(),
            slots: Vec::new(),
            keep: Keep::Value,
        }
    }

    /// The memory of states and planes, in bytes.
    pub fn bytes(&self) -> usize {
        let states = self.states.iter().chain([&self.bar]).map(Tile::bytes);
        let kept = self.workspaces.iter().map(Workspace::bytes);
        let shared = self.rooms.iter().flatten().map(cnflow_kernels::ImageRoom::bytes);
        states.chain(kept).chain(shared).sum()
    }
}

/// The lanes of a tile of `d` rows as rows `[n, d]`. Columns outside: a tile is read once, from its start to its end.
fn unload(tile: &Tile<f64>, d: usize, out: &mut [f64]) {
    for (block, rows) in out.chunks_mut(LANE_BLOCK * d).enumerate() {
        for j in 0..d {
            rows.iter_mut().skip(j).step_by(d).zip(tile.at(block, j)).for_each(|(x, slot)| *x = *slot);
        }
    }
}

/// The rows of a chunk.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// `[n, d]`.
    pub x: &'a [f64],
    /// `[n, c]`.
    pub condition: &'a [f64],
}

/// The derivatives of a loss by the rows of a chunk.
pub(super) struct RowBars<'a> {
    /// `[n, d]`.
    pub x: &'a mut [f64],
    /// By their conditions, `[n, c]`.
    pub condition: &'a mut [f64],
}

/// The derivatives of a loss by all parameters, before [`Net::fold`].
#[derive(Clone)]
pub(super) struct NetGradient<T> {
    pub own: Vec<T>,
    /// By the matrices of the linear layers.
    pub matrices: Vec<f64>,
}

impl<T: Scalar> Net<T> {
    /// The first `layers` layers, from the latent on, of a flow with parameters `theta`.
    pub fn new(spec: &DiscreteSpec, theta: &[T], layers: usize) -> Result<Self> {
        let mut all = Layer::all(spec, theta)?;
        all.truncate(layers);
        for (i, layer) in all.iter().enumerate() {
            if let Some(log) = layer.log_scales().into_iter().find(|log| log.is_nan() || log.abs() > STEEPEST) {
                let what = if matches!(spec.layers[i], LayerSpec::Linear { .. }) { "linear map" } else { "diagonal" };
                let problem = format!("layer {} of the flow, a {what}, has a log-scale of {log:.0}", i + 1);
                return Err(Error::Degenerate { problem });
            }
        }
        let (mut parts, mut at, mut own_at, mut matrix_at) = (Vec::with_capacity(all.len()), 0, 0, 0);
        for (layer, length) in all.iter().zip(spec.lengths()) {
            let (theta, own) = (at..at + length, own_at..own_at + layer.gradient_len(length));
            let matrix = matrix_at..matrix_at + layer.matrix_len();
            (at, own_at, matrix_at) = (theta.end, own.end, matrix.end);
            parts.push(Part { theta, own, matrix });
        }
        let n_params = theta.len();
        let images = spec.image.map(|_| {
            let own = spec.layers[..all.len()].to_vec();
            Arc::new(DiscreteSpec { layers: own, ..spec.without_layers() })
        });
        let (chunk, learnt) = (spec.chunk(), spec.learnt());
        let (dim, condition_dim) = (spec.dim, spec.condition_dim);
        Ok(Self { dim, condition_dim, n_params, parts, layers: all, chunk, learnt, images })
    }

    /// Scratch for chunks of `lanes` rows; `learns` where passes are to be pulled back. Of images it may be one that
    /// was used before.
    pub fn scratch(&self, lanes: usize, learns: bool) -> Scratch<T> {
        let home = self.images.as_ref().map(|spec| Home { spec: spec.clone(), lanes, learns });
        let kept = home.as_ref().and_then(|home| POOL.take::<Buffers<T>>(home));
        Scratch { buffers: kept.unwrap_or_else(|| self.buffers(lanes, learns)), home }
    }

    fn buffers(&self, lanes: usize, learns: bool) -> Buffers<T> {
        let d = self.dim;
        let keep = if learns { Keep::First } else { Keep::Value };
        let (mut workspaces, mut shapes): (Vec<Workspace<T>>, Vec<Shape<'_>>) = Default::default();
        let (mut rooms, mut kinds): (Vec<Room<T>>, Vec<Shape<'_>>) = Default::default();
        let mut slots = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let Layer::Coupling(coupling) = layer else {
                // Not used.
                slots.push((0, 0));
                continue;
            };
            let own = coupling.net.shape();
            let shared = if learns { None } else { shapes.iter().position(|shape| *shape == own) };
            let kind = kinds.iter().position(|shape| *shape == own);
            slots.push((shared.unwrap_or(workspaces.len()), kind.unwrap_or(rooms.len())));
            if shared.is_none() {
                shapes.push(own);
                workspaces.push(coupling.net.workspace(lanes, keep));
            }
            if kind.is_none() {
                kinds.push(own);
                rooms.push(if learns { coupling.net.room() } else { None });
            }
        }
        if workspaces.is_empty() {
            workspaces.push(Workspace::empty());
            rooms.push(None);
        }
        let states = if learns { self.layers.len() + 1 } else { 2 };
        Buffers {
            states: vec![Tile::new(d, lanes); states],
            logdet: Tile::new(1, lanes),
            logdet_bar: Tile::new(1, lanes),
            bar: Tile::new(d, lanes),
            condition: Tile::new(self.condition_dim, lanes),
            condition_bar: Tile::new(self.condition_dim, lanes),
            condition_bar_of_net: Tile::new(self.condition_dim, lanes),
            workspaces,
            rooms,
            slots,
            keep,
        }
    }

    /// A gradient of zeros.
    pub fn zero_gradient(&self) -> NetGradient<T> {
        let (own, matrices) = self.parts.last().map_or((0, 0), |part| (part.own.end, part.matrix.end));
        NetGradient { own: vec![T::ZERO; own], matrices: vec![0.0; matrices] }
    }

    /// The layers in the order of a pass.
    fn order(&self, way: Way) -> Vec<usize> {
        let all = 0..self.layers.len();
        if way == Way::Forward { all.collect() } else { all.rev().collect() }
    }

    /// Passes a chunk through all layers; `out` gets the points `[n, d]`, `logdet` their log-determinants `[n]`.
    pub fn pass(&self, way: Way, rows: Rows<'_>, scratch: &mut Buffers<T>, out: &mut [f64], logdet: &mut [f64]) {
        let d = self.dim;
        let end = self.run(way, rows, scratch);
        unload(&scratch.states[end], d, out);
        unload(&scratch.logdet, 1, logdet);
    }

    /// Which of the states is the last.
    fn run(&self, way: Way, rows: Rows<'_>, scratch: &mut Buffers<T>) -> usize {
        let (d, c) = (self.dim, self.condition_dim);
        let n = rows.x.len() / d;
        let blocks = n.div_ceil(LANE_BLOCK);
        let Buffers { states, logdet, condition, workspaces, slots, keep, .. } = scratch;
        logdet.clear(blocks);
        for block in 0..blocks {
            // Slots without a row repeat the last one: finite numbers, whose results are not read.
            let row = |l: usize| (block * LANE_BLOCK + l).min(n - 1);
            for j in 0..d {
                let slots = states[0].at_mut(block, j);
                (0..LANE_BLOCK).for_each(|l| slots[l] = rows.x[row(l) * d + j]);
            }
            for j in 0..c {
                let slots = condition.at_mut(block, j);
                (0..LANE_BLOCK).for_each(|l| slots[l] = T::of(rows.condition[row(l) * c + j]));
            }
        }
        let mut at = 0;
        for layer in self.order(way) {
            let next = if states.len() > 2 { at + 1 } else { 1 - at.min(1) };
            let (low, high) = states.split_at_mut(at.max(next));
            let (before, after) = if next > at { (&low[at], &mut high[0]) } else { (&high[0], &mut low[next]) };
            let workspace = (&mut workspaces[slots[layer].0], *keep);
            self.layers[layer].pass(way, (before, after), logdet, condition, workspace, blocks);
            at = next;
        }
        at
    }

    /// Why one row has no finite result: the first layer on the way after which it is no longer finite, or the last
    /// one, where only its density is not. `scratch` is one that learns.
    pub fn broken_at(&self, way: Way, rows: Rows<'_>, scratch: &mut Buffers<T>) -> Failure {
        if !rows.x.iter().chain(rows.condition).all(|x| x.is_finite()) {
            return Failure::Point;
        }
        self.run(way, rows, scratch);
        let order = self.order(way);
        let lost = |state: &Tile<f64>| (0..self.dim).any(|j| !state.at(0, j)[0].is_finite());
        let place = (0..order.len()).find(|i| lost(&scratch.states[i + 1])).map(|i| order[i]);
        Failure::Layer { layer: place.or(order.last().copied()).map_or(0, |layer| layer + 1) }
    }

    /// A pass that is pulled back at once: `cotangent` is given the points and log-determinants and fills in the loss's
    /// derivatives by them; `gradient` gains those by the parameters, and `bars` becomes those by the rows and by their
    /// conditions.
    pub fn learn(
        &self,
        way: Way,
        rows: Rows<'_>,
        scratch: &mut Buffers<T>,
        mut cotangent: impl FnMut(&Tile<f64>, &Tile<f64>, &mut Tile<f64>, &mut Tile<f64>),
        gradient: &mut NetGradient<T>,
        bars: Option<RowBars<'_>>,
    ) {
        let d = self.dim;
        let n = rows.x.len() / d;
        let end = self.run(way, rows, scratch);
        let blocks = n.div_ceil(LANE_BLOCK);
        let Buffers { states, logdet, logdet_bar, bar, workspaces, rooms, slots, .. } = scratch;
        let Buffers { condition_bar, condition_bar_of_net, .. } = scratch;
        let given = bars.is_some() && self.condition_dim > 0;
        if given {
            condition_bar.clear(blocks);
        }
        bar.clear(blocks);
        logdet_bar.clear(blocks);
        cotangent(&states[end], logdet, bar, logdet_bar);
        for (place, layer) in self.order(way).into_iter().enumerate().rev() {
            let step = Step { way, blocks, before: &states[place], after: &states[place + 1], logdet_bar, lanes: n };
            let Part { own, matrix, .. } = &self.parts[layer];
            let condition =
                given.then_some(ConditionBar { sum: &mut *condition_bar, of_net: &mut *condition_bar_of_net });
            let (own, matrix) = (&mut gradient.own[own.clone()], &mut gradient.matrices[matrix.clone()]);
            let g = Gradient { own, matrix, condition };
            let (own, shared) = slots[layer];
            self.layers[layer].back(&step, bar, (&mut workspaces[own], &mut rooms[shared]), g);
        }
        if let Some(RowBars { x, condition }) = bars {
            unload(bar, d, x);
            if given {
                unload(condition_bar, self.condition_dim, condition);
            }
        }
    }

    /// The gradient by θ of what pull-backs gathered.
    pub fn fold(&self, way: Way, gradient: &NetGradient<T>) -> Vec<T> {
        let mut theta = vec![T::ZERO; self.n_params];
        for (layer, part) in self.layers.iter().zip(&self.parts) {
            let gathered = (&gradient.own[part.own.clone()], &gradient.matrices[part.matrix.clone()]);
            layer.fold(way, gathered, &mut theta[part.theta.clone()]);
        }
        theta
    }
}
