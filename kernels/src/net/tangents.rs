//! Tangents of the forward pass, and their pull-back.
//!
//! With ȧ₁ = L₁ e, ḣ = σ′(a) ∘ ȧ, ȧ_{l+1} = L_{l+1} ḣ_l, the end ḣ of the last operation is J e. Going back with a
//! cotangent of the end, ǡ = σ′ ∘ ḣ̄ flows down by Lᵀ, and Σ ȧ ∘ ḣ̄ gathers, operation by operation, what σ″ multiplies
//! when the value's own cotangent passes ([`Tangents::gathered`]). One tangent at a time: the scratch does not grow
//! with their number.

use super::{InRows, Net, Node, Workspace};
use crate::epilogue::{Cotangent, Output, Store, Tangent};
use crate::lanewise::{self, Operand, RowMap, map_rows};
use crate::outer::outer;
use crate::simd::Scalar;
use crate::tile::{In, Out, Tile};

/// The scratch of one tangent.
#[derive(Clone, Debug)]
pub struct Tangents<T> {
    /// ȧ, where an activation follows.
    raw: Vec<Tile<T>>,
    /// ḣ.
    dot: Vec<Tile<T>>,
    /// Cotangents of ȧ; without rows where that is the cotangent of the end.
    bar: Vec<Tile<T>>,
    /// Σ ȧ ∘ ḣ̄ over the tangents pulled back so far, one tile an operation; without rows where it has no activation.
    pub gathered: Vec<Tile<T>>,
}

impl<T: Scalar> Tangents<T> {
    /// Of no net.
    pub fn empty() -> Self {
        Self { raw: Vec::new(), dot: Vec::new(), bar: Vec::new(), gathered: Vec::new() }
    }

    /// Scratch for up to `lanes` lanes.
    pub fn new(net: &Net<T>, lanes: usize) -> Self {
        let all = 0..net.n_ops();
        let bent = || all.clone().map(|index| Tile::new(net.bent_rows(index), lanes)).collect();
        let rows = |index: usize| net.nodes[index].op.outputs();
        let bars = |index: usize| if index == net.last() { net.bent_rows(index) } else { rows(index) };
        Self {
            raw: bent(),
            dot: all.clone().map(|index| Tile::new(rows(index), lanes)).collect(),
            bar: all.clone().map(|index| Tile::new(bars(index), lanes)).collect(),
            gathered: bent(),
        }
    }

    /// Before the first pull-back of a call: nothing gathered yet.
    pub fn clear(&mut self, blocks: usize) {
        self.gathered.iter_mut().for_each(|tile| tile.clear(blocks));
    }

    /// Carries direction e (the active rows of x) up to the last operation. [`Net::run`] must have kept σ′.
    pub fn advance(&mut self, net: &Net<T>, ws: &Workspace<T>, e: In<'_, T>) {
        for index in 0..net.last() {
            self.step(net, ws, e, index);
        }
    }

    /// Carries a direction whose image by the first operation is `column`, the same in all lanes, up to the last
    /// operation.
    ///
    /// # Panics
    /// Unless an activation and another operation follow the first.
    pub fn advance_column(&mut self, net: &Net<T>, ws: &Workspace<T>, column: &[T]) {
        assert!(net.last() > 0 && net.nodes[0].activation.is_some(), "a column needs an activation behind it");
        let first = ws.first(0);
        for block in 0..ws.blocks {
            for (row, &w) in column.iter().enumerate() {
                self.raw[0].at_mut(block, row).fill(w);
            }
        }
        let times = RowMap::Times { b: Operand::Tile(first.read()) };
        map_rows(net.isa, Operand::Fixed(column), times, column.len(), ws.blocks, self.dot[0].write());
        for index in 1..net.last() {
            // Not read: only the first operation has a direction for input.
            self.step(net, ws, first.read(), index);
        }
    }

    /// [`Tangents::end`] ← J e, behind [`Tangents::advance`] along e.
    pub fn finish(&mut self, net: &Net<T>, ws: &Workspace<T>, e: In<'_, T>) {
        self.step(net, ws, e, net.last());
    }

    fn step(&mut self, net: &Net<T>, ws: &Workspace<T>, e: In<'_, T>, index: usize) {
        let Node { op, activation, .. } = &net.nodes[index];
        let (below, above) = self.dot.split_at_mut(index);
        let dx = below.last().map_or(e, Tile::read);
        let y = above[0].write();
        let out = match activation {
            None => Output::Store(Store(y)),
            Some(_) => Output::Tangent(Tangent { raw: self.raw[index].write(), y, by: ws.first(index).read() }),
        };
        op.tangent(net.isa, dx, ws.blocks, out);
    }

    /// J e, `[outputs, lanes]`, behind [`Tangents::finish`].
    pub fn end(&self) -> &Tile<T> {
        &self.dot[self.dot.len() - 1]
    }

    /// The tangent that enters the last operation; `None` where that is the direction.
    pub fn top(&self) -> Option<&Tile<T>> {
        self.dot.iter().rev().nth(1)
    }

    /// Pulls back the cotangent `end_bar` of J e, where e went up last; `g` gains the gradient by θ.
    pub fn retreat(&mut self, net: &Net<T>, ws: &Workspace<T>, e: In<'_, T>, end_bar: In<'_, T>, g: &mut [T]) {
        let (first_bar, _) = self.fall(net, ws, end_bar, g);
        let first = &net.nodes[0];
        first.op.tangent_gradient(net.isa, e, first_bar, ws.blocks, &mut g[first.params.clone()]);
    }

    /// `e_bar` ← the cotangent of the direction e, behind [`Tangents::retreat`] of this `end_bar`.
    pub fn direction_bar(&self, net: &Net<T>, ws: &Workspace<T>, end_bar: In<'_, T>, e_bar: Out<'_, T>) {
        let alone = net.last() == 0 && net.bent_rows(0) == 0;
        let first_bar = if alone { end_bar } else { self.bar[0].read() };
        net.nodes[0].op.transpose(net.isa, first_bar, ws.blocks, Output::Store(Store(e_bar)));
    }

    /// As [`Tangents::retreat`], but for the gradient of the first operation: returns the cotangent of its product with
    /// e.
    ///
    /// Where that is the cotangent of the end, [`Tangents::finish`] must have been called.
    pub fn fall<'s>(&'s mut self, net: &Net<T>, ws: &Workspace<T>, end_bar: In<'s, T>, g: &mut [T]) -> InRows<'s, T> {
        let (isa, blocks, last) = (net.isa, ws.blocks, net.last());
        let bent = net.bent_rows(last);
        if bent > 0 {
            let by = RowMap::Times { b: Operand::Tile(ws.first(last).read()) };
            map_rows(isa, Operand::Tile(end_bar), by, bent, blocks, self.bar[last].write());
            let by = RowMap::AddTimes { b: Operand::Tile(end_bar) };
            map_rows(isa, Operand::Tile(self.raw[last].read()), by, bent, blocks, self.gathered[last].write());
        }
        if last > 0 {
            self.descend(net, ws, last, (bent == 0).then_some(end_bar), g);
        }
        let rows = net.nodes[0].op.outputs();
        if last == 0 && bent == 0 { (end_bar, rows) } else { (self.bar[0].read(), rows) }
    }

    /// Pulls back the cotangent of row `j` of J e, one number a lane, where e went up last by
    /// [`Tangents::advance_column`].
    ///
    /// `row` is row j of the last operation, which must be dense, without an activation and behind one.
    pub fn retreat_row(
        &mut self,
        net: &Net<T>,
        ws: &Workspace<T>,
        (j, row): (usize, &[T]),
        lane: In<'_, T>,
        g: &mut [T],
    ) {
        let (isa, blocks, last) = (net.isa, ws.blocks, net.last());
        let (below, width) = (last - 1, row.len());
        let weight = &mut g[net.nodes[last].params.start + j * width..][..width];
        outer(isa, (lane, 1), (self.dot[below].read(), width), blocks, weight, width);
        let (by, raw) = (ws.first(below).read(), self.raw[below].read());
        let (gathered, y) = (self.gathered[below].write(), self.bar[below].write());
        lanewise::enter(isa, row, lane, raw, by, blocks, gathered, y);
        self.descend(net, ws, below, None, g);
    }

    /// The cotangent of ȧ₁.
    pub fn first_bar(&self) -> InRows<'_, T> {
        (self.bar[0].read(), self.bar[0].rows())
    }

    /// From the cotangent before the activation of operation `from` down to that of the first operation.
    fn descend(&mut self, net: &Net<T>, ws: &Workspace<T>, from: usize, end_bar: Option<In<'_, T>>, g: &mut [T]) {
        for index in (1..=from).rev() {
            let Node { op, params, .. } = &net.nodes[index];
            let (below, above) = self.bar.split_at_mut(index);
            let bar = match end_bar {
                Some(end_bar) if index == from => end_bar,
                _ => above[0].read(),
            };
            op.tangent_gradient(net.isa, self.dot[index - 1].read(), bar, ws.blocks, &mut g[params.clone()]);
            let y = below[index - 1].write();
            let out = match net.nodes[index - 1].activation {
                None => Output::Store(Store(y)),
                Some(_) => {
                    let (by, raw) = (ws.first(index - 1).read(), self.raw[index - 1].read());
                    Output::Cotangent(Cotangent { y, by, raw, gathered: self.gathered[index - 1].write() })
                }
            };
            op.transpose(net.isa, bar, ws.blocks, out);
        }
    }
}
