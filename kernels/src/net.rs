//! A net: a list of operations, an activation behind each where it has one, and its pull-back.
//!
//! A net has neither time nor trace: a velocity adds them. The parameters are packed once ([`Net::set_params`]); a
//! [`Workspace`] has all the scratch. The activation is the net's and not an operation of its own, because it happens
//! in the epilogue of the operation's kernel: on the way forward behind the sums of the operation that it follows, on
//! the way back behind those of the operation that follows it.

mod evaluator;
mod passive;
mod spec;
mod tangents;

use std::ops::Range;

use cnflow_solvers::lanes::LANE_BLOCK;

pub use self::evaluator::NetEvaluator;
pub use self::passive::Passive;
pub use self::spec::{LARGEST, NetSpec, OpSpec};
pub use self::tangents::Tangents;
use crate::epilogue::{Joined, Output, Scaled, Store};
use crate::lanewise::{Operand, RowMap, map_rows};
use crate::op::Op;
use crate::simd::{Isa, Scalar};
use crate::tile::{In, Tile};
use crate::{Activation, Error, Result};

/// A list of operations with their parameters: shared by threads, never changed while it is evaluated.
#[derive(Clone, Debug)]
pub struct Net<T> {
    isa: Isa,
    nodes: Vec<Node<T>>,
}

#[derive(Clone, Debug)]
struct Node<T> {
    op: Box<dyn Op<T>>,
    activation: Option<Activation>,
    /// Its part of θ.
    params: Range<usize>,
}

/// How much of σ a forward pass keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Values only.
    Value,
    /// σ′ too: for tangents and for the pull-back of values.
    First,
    /// σ″ too: for a pull-back that is joined by that of tangents.
    Second,
}

/// The scratch of a net, for one caller at a time.
#[derive(Clone, Debug)]
pub struct Workspace<T> {
    /// x, `[inputs, lanes]`.
    pub input: Tile<T>,
    /// The cotangent of y, `[outputs, lanes]`.
    pub output_bar: Tile<T>,
    /// The cotangent of the active rows of x, `[active, lanes]`.
    pub input_bar: Tile<T>,
    /// How many blocks of lanes are in use.
    pub blocks: usize,
    records: Vec<Record<T>>,
}

/// What a pass keeps of one operation.
#[derive(Clone, Debug)]
struct Record<T> {
    /// What leaves the activation.
    value: Tile<T>,
    /// σ′ and σ″; without rows where there is no σ.
    first: Tile<T>,
    second: Tile<T>,
    /// The cotangent of what enters the activation; without rows where that is the cotangent of y.
    bar: Tile<T>,
}

impl<T: Scalar> Workspace<T> {
    /// Of no net.
    pub fn empty() -> Self {
        let none = || Tile::new(0, 0);
        Self { input: none(), output_bar: none(), input_bar: none(), blocks: 0, records: Vec::new() }
    }

    /// y, `[outputs, lanes]`, as the last [`Net::run`] left it.
    ///
    /// # Panics
    /// For [`Workspace::empty`].
    #[inline]
    pub fn output(&self) -> &Tile<T> {
        &self.records[self.records.len() - 1].value
    }

    /// y as [`Workspace::output`] has it, and the tile for its cotangent.
    ///
    /// # Panics
    /// For [`Workspace::empty`].
    pub fn output_and_bar(&mut self) -> (&Tile<T>, &mut Tile<T>) {
        (&self.records[self.records.len() - 1].value, &mut self.output_bar)
    }

    /// The cotangent of what the first operation makes of x, before its activation, as the last [`Net::run_back`] left
    /// it.
    ///
    /// # Panics
    /// For [`Workspace::empty`].
    pub(crate) fn entry_bar(&self) -> &Tile<T> {
        match &self.records[..] {
            [only] if only.bar.rows() == 0 => &self.output_bar,
            records => &records[0].bar,
        }
    }

    /// σ′ behind operation `index`; a tile without rows where it has no activation.
    pub fn first(&self, index: usize) -> &Tile<T> {
        &self.records[index].first
    }
}

impl<T: Scalar> Net<T> {
    /// The net of `spec` with parameters `theta`.
    ///
    /// # Errors
    /// As [`NetSpec::validate`]; [`Error::Parameters`] for a θ of the wrong length.
    pub fn new(spec: &NetSpec, theta: &[T]) -> Result<Self> {
        spec.validate()?;
        let (mut inputs, mut active) = (spec.inputs, spec.active);
        let build = |op: &OpSpec| {
            let built = op.build(inputs, active);
            (inputs, active) = (op.outputs(), op.outputs());
            (built, op.activation())
        };
        Self::from_ops(spec.ops.iter().map(build).collect(), theta)
    }

    /// The net of these operations, each with the activation behind it; θ holds their parameters in order.
    ///
    /// # Errors
    /// [`Error::NoLayers`]; [`Error::Joint`] for two operations that do not fit each other or an operation behind the
    /// first with inputs that are not active; [`Error::Parameters`] for a θ of the wrong length.
    pub fn from_ops(ops: Vec<(Box<dyn Op<T>>, Option<Activation>)>, theta: &[T]) -> Result<Self> {
        if ops.is_empty() {
            return Err(Error::NoLayers);
        }
        for (index, pair) in ops.windows(2).enumerate() {
            let (found, op) = (pair[0].0.outputs(), &pair[1].0);
            let expected = if op.inputs() == found { op.active() } else { op.inputs() };
            if expected != found {
                return Err(Error::Joint { index: index + 1, expected, found });
            }
        }
        let mut at = 0;
        let node = |(op, activation): (Box<dyn Op<T>>, _)| {
            let params = at..at + op.n_params();
            at = params.end;
            Node { op, activation, params }
        };
        let mut net = Self { isa: Isa::detect(), nodes: ops.into_iter().map(node).collect() };
        net.set_params(theta)?;
        Ok(net)
    }

    /// Takes other parameters, in place: no allocation.
    ///
    /// # Errors
    /// [`Error::Parameters`] for a θ of the wrong length.
    pub fn set_params(&mut self, theta: &[T]) -> Result<()> {
        let expected = self.n_params();
        if theta.len() != expected {
            return Err(Error::Parameters { expected, found: theta.len() });
        }
        for node in &mut self.nodes {
            node.op.set_params(&theta[node.params.clone()]);
        }
        Ok(())
    }

    /// Computes on the portable path from now on: slower on most machines, the same bits on all.
    pub fn portable(mut self) -> Self {
        self.isa = Isa::PORTABLE;
        self
    }

    /// The instructions that it computes with.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// How many operations there are.
    pub fn n_ops(&self) -> usize {
        self.nodes.len()
    }

    /// Rows of x.
    pub fn inputs(&self) -> usize {
        self.nodes[0].op.inputs()
    }

    /// The leading rows of x that are differentiated.
    pub fn active(&self) -> usize {
        self.nodes[0].op.active()
    }

    /// Rows of y.
    pub fn outputs(&self) -> usize {
        self.nodes[self.last()].op.outputs()
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        self.nodes[self.last()].params.end
    }

    /// Where the parameters of operation `index` lie in θ.
    pub fn params(&self, index: usize) -> Range<usize> {
        self.nodes[index].params.clone()
    }

    /// A net has at least one operation.
    fn last(&self) -> usize {
        self.nodes.len() - 1
    }

    /// As many rows as there are behind operation `index`, where it has an activation.
    fn bent_rows(&self, index: usize) -> usize {
        let node = &self.nodes[index];
        if node.activation.is_some() { node.op.outputs() } else { 0 }
    }

    /// Scratch for up to `lanes` lanes.
    pub fn workspace(&self, lanes: usize) -> Workspace<T> {
        let record = |index: usize| {
            let (rows, bent) = (self.nodes[index].op.outputs(), self.bent_rows(index));
            Record {
                value: Tile::new(rows, lanes),
                first: Tile::new(bent, lanes),
                second: Tile::new(bent, lanes),
                bar: Tile::new(if index == self.last() { bent } else { rows }, lanes),
            }
        };
        Workspace {
            input: Tile::new(self.inputs(), lanes),
            output_bar: Tile::new(self.outputs(), lanes),
            input_bar: Tile::new(self.active(), lanes),
            blocks: 0,
            records: (0..self.n_ops()).map(record).collect(),
        }
    }

    /// Scratch and a caller's view of it, for up to `lanes` lanes.
    pub fn evaluator(&self, lanes: usize) -> NetEvaluator<'_, T> {
        NetEvaluator::new(self, lanes)
    }

    /// From `ws.input` to [`Workspace::output`].
    ///
    /// Keep [`Keep::First`] for tangents and for [`Net::run_back`], [`Keep::Second`] to join them.
    pub fn run(&self, ws: &mut Workspace<T>, keep: Keep) {
        self.run_through(ws, keep, self.n_ops());
    }

    /// As [`Net::run`], but without y where no derivative depends on it: a last operation without an activation is left
    /// out.
    pub fn run_inner(&self, ws: &mut Workspace<T>, keep: Keep) {
        let last = self.last();
        self.run_through(ws, keep, if self.nodes[last].activation.is_none() { last } else { last + 1 });
    }

    fn run_through(&self, ws: &mut Workspace<T>, keep: Keep, end: usize) {
        let Workspace { input, records, blocks, .. } = ws;
        for (index, node) in self.nodes[..end].iter().enumerate() {
            let (below, above) = records.split_at_mut(index);
            let x = below.last().map_or(&*input, |record| &record.value).read();
            let Record { value, first, second, .. } = &mut above[0];
            let out = match (node.activation, keep) {
                (None, _) => Output::Store(Store(value.write())),
                (Some(activation), Keep::Value) => Output::Value(activation, value.write()),
                (Some(activation), Keep::First) => Output::WithFirst(activation, [value.write(), first.write()]),
                (Some(activation), Keep::Second) => {
                    Output::WithSecond(activation, [value.write(), first.write(), second.write()])
                }
            };
            node.op.forward(self.isa, x, *blocks, out);
        }
    }

    /// From `ws.output_bar` to `ws.input_bar`, where the last [`Net::run`] was; `g` (as long as θ at least) gains the
    /// gradient.
    ///
    /// `gathered` is what tangents gathered on their way back ([`Tangents::gathered`]): σ″ multiplies it. Where not
    /// `has_y` the cotangent of y must be zero: a last operation without an activation then has no gradient.
    pub fn run_back(&self, ws: &mut Workspace<T>, gathered: Option<&[Tile<T>]>, has_y: bool, g: &mut [T]) {
        let (isa, last) = (self.isa, self.last());
        let Workspace { input, output_bar, input_bar, records, blocks } = ws;
        let blocks = *blocks;
        let ends_bent = self.nodes[last].activation.is_some();
        if ends_bent {
            let rows = output_bar.rows();
            let Record { first, second, bar, .. } = &mut records[last];
            let by = RowMap::Times { b: Operand::Tile(first.read()) };
            map_rows(isa, Operand::Tile(output_bar.read()), by, rows, blocks, bar.write());
            if let Some(gathered) = gathered {
                let by = RowMap::AddTimes { b: Operand::Tile(gathered[last].read()) };
                map_rows(isa, Operand::Tile(second.read()), by, rows, blocks, bar.write());
            }
        }
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let (below, above) = records.split_at_mut(index);
            let straight = index == last && !ends_bent;
            let bar = if straight { output_bar.read() } else { above[0].bar.read() };
            if !straight || has_y {
                let x = below.last().map_or(&*input, |record| &record.value).read();
                node.op.gradient(isa, x, bar, blocks, &mut g[node.params.clone()]);
            }
            let out = match below.last_mut() {
                None => Output::Store(Store(input_bar.write())),
                Some(record) if self.nodes[index - 1].activation.is_none() => Output::Store(Store(record.bar.write())),
                Some(Record { first, second, bar, .. }) => {
                    let (y, by) = (bar.write(), first.read());
                    match gathered {
                        None => Output::Scaled(Scaled { y, by }),
                        Some(gathered) => {
                            let (second, gathered) = (second.read(), gathered[index - 1].read());
                            Output::Joined(Joined { y, by, second, gathered })
                        }
                    }
                }
            };
            node.op.transpose(isa, bar, blocks, out);
        }
    }
}

/// How many blocks so many lanes fill.
pub(crate) fn blocks_of(lanes: usize) -> usize {
    lanes.div_ceil(LANE_BLOCK)
}

/// A tile and its number of rows.
pub type InRows<'a, T> = (In<'a, T>, usize);
