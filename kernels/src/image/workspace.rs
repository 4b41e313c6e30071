//! The scratch of a net of operations on images, for one block of 16 lanes and one caller at a time.

use cnflow_solvers::lanes::LANE_BLOCK;

use super::conv::{ConvSize, Scratch};
use super::graph::Kind;
use super::{ImageNet, ImageShape};
use crate::simd::Scalar;
use crate::tile::{In, Out, Tile};
use crate::{Keep, Net, Workspace};

/// Everything that passes over one block of lanes keep, whichever passes they are.
///
/// Three planes a buffer: the value, a tangent and a cotangent; four an activation: σ′, σ″, a tangent before it, and
/// what σ″ multiplies. A lean one ([`ImageNet::lean_workspace`]) has the values, and σ′ where they are pulled back; an
/// [`ImageRoom`] lends it the cotangents.
#[derive(Clone, Debug)]
pub struct ImageWorkspace<T> {
    /// What the last forward pass kept.
    pub(super) kept: Keep,
    /// The embedding's own; its cotangent of the modulations gains from every pull-back.
    pub(super) embedding: Workspace<T>,
    /// 1 + s and b.
    pub(super) modulations: Tile<T>,
    /// One a buffer.
    pub(super) values: Vec<Tile<T>>,
    pub(super) dots: Vec<Tile<T>>,
    pub(super) bars: Vec<Tile<T>>,
    /// One an activation.
    pub(super) bends: Vec<Bends<T>>,
    pub(super) scratch: Scratch<T>,
}

/// What is kept of an activation.
#[derive(Clone, Debug)]
pub(super) struct Bends<T> {
    pub first: Tile<T>,
    pub second: Tile<T>,
    /// A tangent before it.
    pub raw: Tile<T>,
    /// What σ″ multiplies.
    pub gathered: Tile<T>,
}

/// What a pull-back of values uses and nobody reads after it: the cotangents of all planes. One room serves any number
/// of lean workspaces of nets of one spec, one after the other.
#[derive(Clone, Debug)]
pub struct ImageRoom<T> {
    bars: Vec<Tile<T>>,
    scratch: Scratch<T>,
}

impl<T: Scalar> ImageRoom<T> {
    pub(super) fn new(net: &ImageNet<T>) -> Self {
        Self { bars: planes(&net.graph.shapes), scratch: Scratch::new(convolutions(net)) }
    }

    /// The memory of its planes, in bytes.
    pub fn bytes(&self) -> usize {
        self.bars.iter().map(Tile::bytes).sum()
    }
}

/// What a workspace has room for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// All passes.
    Full,
    /// Values that are kept as far as this, and no pass behind them without a room.
    Lean(Keep),
}

/// A plane of 16 lanes a shape.
fn planes<T: Scalar>(shapes: &[ImageShape]) -> Vec<Tile<T>> {
    shapes.iter().map(|shape| Tile::new(shape.len(), LANE_BLOCK)).collect()
}

/// The sizes of a net's convolutions.
fn convolutions<T: Scalar>(net: &ImageNet<T>) -> impl Iterator<Item = ConvSize> {
    net.graph.nodes.iter().filter_map(|node| match &node.kind {
        Kind::Conv(conv, _) => Some(conv.size()),
        _ => None,
    })
}

impl<T: Scalar> ImageWorkspace<T> {
    /// Of no net.
    pub fn empty() -> Self {
        Self {
            kept: Keep::Value,
            embedding: Workspace::empty(),
            modulations: Tile::new(0, 0),
            values: Vec::new(),
            dots: Vec::new(),
            bars: Vec::new(),
            bends: Vec::new(),
            scratch: Scratch::new(std::iter::empty()),
        }
    }

    /// Zeros, for the passes of `net` that a form has room for.
    pub(super) fn new(net: &ImageNet<T>, form: Form) -> Self {
        let full = form == Form::Full;
        let others = || if full { planes(&net.graph.shapes) } else { Vec::new() };
        let plane = |shape: &ImageShape, kept: bool| Tile::new(if kept { shape.len() } else { 0 }, LANE_BLOCK);
        let bends = |shape: &ImageShape| Bends {
            first: plane(shape, form != Form::Lean(Keep::Value)),
            second: plane(shape, full),
            raw: plane(shape, full),
            gathered: plane(shape, full),
        };
        let mut embedding = Workspace::empty();
        if let Some(net) = &net.embedding {
            embedding = net.workspace(LANE_BLOCK);
            embedding.blocks = 1;
        }
        Self {
            kept: Keep::Value,
            embedding,
            modulations: Tile::new(net.graph.modulations, LANE_BLOCK),
            values: planes(&net.graph.shapes),
            dots: others(),
            bars: others(),
            bends: net.graph.bends.iter().map(bends).collect(),
            scratch: Scratch::new(convolutions(net).filter(|_| full)),
        }
    }

    /// Exchanges the cotangents and what gradients are gathered in with those of a room, for a pull-back and again
    /// behind it.
    pub fn swap_room(&mut self, room: &mut ImageRoom<T>) {
        std::mem::swap(&mut self.bars, &mut room.bars);
        std::mem::swap(&mut self.scratch, &mut room.scratch);
    }

    /// The memory of its planes, in bytes; what the embedding and the gradients of convolutions take is little beside.
    pub fn bytes(&self) -> usize {
        let planes = self.values.iter().chain(&self.dots).chain(&self.bars);
        let bends = self.bends.iter().flat_map(|bends| [&bends.first, &bends.second, &bends.raw, &bends.gathered]);
        planes.chain(bends).map(Tile::bytes).sum()
    }

    /// x, `[pixel][channel]`.
    pub fn input(&mut self) -> &mut Tile<T> {
        &mut self.values[0]
    }

    /// `aux`; without rows where nothing is modulated.
    pub fn aux(&mut self) -> &mut Tile<T> {
        &mut self.embedding.input
    }

    /// y, as the last [`ImageNet::run`] left it.
    pub fn output(&self) -> &Tile<T> {
        &self.values[self.values.len() - 1]
    }

    /// ẋ, from which [`ImageNet::advance`] starts.
    pub fn direction(&mut self) -> &mut Tile<T> {
        &mut self.dots[0]
    }

    /// ẏ, as the last [`ImageNet::advance`] left it.
    pub fn end(&self) -> &Tile<T> {
        &self.dots[self.dots.len() - 1]
    }

    /// The cotangent of y, or of ẏ, from which the next pull-back starts.
    ///
    /// # Panics
    /// For a lean workspace without a room, as all that gives cotangents or tangents.
    pub fn output_bar(&mut self) -> &mut Tile<T> {
        let last = self.bars.len() - 1;
        &mut self.bars[last]
    }

    /// y, and the cotangent of y or of ẏ.
    pub fn output_and_bar(&mut self) -> (&Tile<T>, &mut Tile<T>) {
        let last = self.bars.len() - 1;
        (&self.values[self.values.len() - 1], &mut self.bars[last])
    }

    /// The cotangent of y or of ẏ, then ẏ and ẋ.
    pub fn output_bar_and_tangents(&mut self) -> (&mut Tile<T>, &Tile<T>, &Tile<T>) {
        let last = self.bars.len() - 1;
        (&mut self.bars[last], &self.dots[self.dots.len() - 1], &self.dots[0])
    }

    /// ẏ and ẋ.
    pub fn end_and_direction(&self) -> (&Tile<T>, &Tile<T>) {
        (&self.dots[self.dots.len() - 1], &self.dots[0])
    }

    /// The cotangent of x, or of ẋ, as the last pull-back left it.
    pub fn input_bar(&self) -> &Tile<T> {
        &self.bars[0]
    }

    /// Before the first pull-back behind a forward pass that keeps this.
    pub(super) fn begin(&mut self, keep: Keep) {
        self.kept = keep;
        self.embedding.output_bar.clear(1.min(self.modulations.rows()));
        if keep == Keep::Second {
            self.bends.iter_mut().for_each(|bends| bends.gathered.clear(1));
        }
    }

    /// Runs the embedding.
    pub(super) fn embed(&mut self, net: &Net<T>, scales: &[std::ops::Range<usize>], keep: Keep) {
        net.run(&mut self.embedding, if keep == Keep::Value { keep } else { Keep::First });
        let from = self.embedding.output();
        for row in 0..self.modulations.rows() {
            self.modulations.at_mut(0, row).copy_from_slice(from.at(0, row));
        }
        for row in scales.iter().cloned().flatten() {
            self.modulations.at_mut(0, row).iter_mut().for_each(|s| *s += T::ONE);
        }
    }
}

/// A plane to read and a later one to write, or the same to replace.
pub(super) fn onward<T: Scalar>(tiles: &mut [Tile<T>], from: usize, to: usize) -> (In<'_, T>, Out<'_, T>) {
    let (below, above) = tiles.split_at_mut(to);
    let out = above[0].write();
    (if from == to { out.before() } else { below[from].read() }, out)
}

/// A plane to read and an earlier one to write, or the same to replace.
pub(super) fn backward<T: Scalar>(tiles: &mut [Tile<T>], from: usize, to: usize) -> (In<'_, T>, Out<'_, T>) {
    let (below, above) = tiles.split_at_mut(from);
    if from == to {
        let out = above[0].write();
        return (out.before(), out);
    }
    (above[0].read(), below[to].write())
}
