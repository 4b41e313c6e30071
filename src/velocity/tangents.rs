//! Tangents carried along the forward pass, and their pull-back.
//!
//! With ȧ₁ = W₁ₓ e, ḣ = σ′(a) ∘ ȧ, ȧ_{l+1} = W_{l+1} ḣ_l, the end W_L ḣ is J e. Going back with a cotangent of the
//! end, ǡ = σ′ ∘ ḣ̄ flows down by Wᵀ, and Σ ȧ ∘ ḣ̄ gathers, layer by layer, what σ″ multiplies when the value's own
//! cotangent passes ([`Tangents::bent`]). One tangent at a time: the scratch does not grow with their number.

use super::dense::{Stack, Workspace};
use super::lanewise::{self, Pass, Rows};
use super::outer::outer;
use super::product::{self, Cotangent, Factor, Store, product};
use super::simd::Scalar;
use super::tile::{In, Tile};

/// The scratch of one tangent.
#[derive(Clone, Debug)]
pub struct Tangents<T> {
    /// ȧ and ḣ, one a hidden layer.
    raw: Vec<Tile<T>>,
    dot: Vec<Tile<T>>,
    /// Cotangents of ȧ.
    bar: Vec<Tile<T>>,
    /// Σ ȧ ∘ ḣ̄ over the tangents.
    pub bent: Vec<Tile<T>>,
    /// J e, `[d]`.
    pub end: Tile<T>,
}

impl<T: Scalar> Tangents<T> {
    /// Scratch for up to `lanes` lanes of a net whose first `dim` inputs and all outputs are x and v.
    pub fn new(stack: &Stack<T>, dim: usize, lanes: usize) -> Self {
        let hidden = || stack.hidden_tiles(lanes);
        Self { raw: hidden(), dot: hidden(), bar: hidden(), bent: hidden(), end: Tile::new(dim, lanes) }
    }

    /// Before the first pull-back of a call: nothing gathered yet.
    pub fn clear(&mut self, blocks: usize) {
        self.bent.iter_mut().for_each(|tile| tile.clear(blocks));
    }

    /// Carries direction e up to the last hidden layer.
    pub fn advance(&mut self, stack: &Stack<T>, ws: &Workspace<T>, e: In<'_, T>) {
        let Some(slope) = ws.slope.first() else {
            return;
        };
        let factor = Factor::new(&stack.layers[0].forward, e).first(self.end.rows());
        let (raw, y) = (self.raw[0].write(), self.dot[0].write());
        product(stack.isa, factor, ws.blocks, product::Tangent { raw, y, by: slope.read() });
        self.climb(stack, ws);
    }

    /// Carries a unit vector, whose first product is a column of W₁, up to the last hidden layer.
    pub fn advance_unit(&mut self, stack: &Stack<T>, ws: &Workspace<T>, column: &[T]) {
        for block in 0..ws.blocks {
            for (row, &w) in column.iter().enumerate() {
                self.raw[0].at_mut(block, row).fill(w);
            }
        }
        let times = Pass::Times { b: Rows::Tile(ws.slope[0].read()) };
        lanewise::pass(stack.isa, Rows::Fixed(column), times, column.len(), ws.blocks, self.dot[0].write());
        self.climb(stack, ws);
    }

    fn climb(&mut self, stack: &Stack<T>, ws: &Workspace<T>) {
        for l in 1..self.dot.len() {
            let (below, above) = self.dot.split_at_mut(l);
            let factor = Factor::new(&stack.layers[l].forward, below[l - 1].read());
            let (raw, y, by) = (self.raw[l].write(), above[0].write(), ws.slope[l].read());
            product(stack.isa, factor, ws.blocks, product::Tangent { raw, y, by });
        }
    }

    /// `end` ← J e, behind [`Tangents::advance`] along e.
    pub fn finish(&mut self, stack: &Stack<T>, blocks: usize, e: In<'_, T>) {
        let last = &stack.layers[stack.hidden()].forward;
        let factor = match self.dot.last() {
            Some(dot) => Factor::new(last, dot.read()),
            None => Factor::new(last, e).first(self.end.rows()),
        };
        product(stack.isa, factor, blocks, Store(self.end.write()));
    }

    /// ḣ of the last hidden layer, if there is one.
    pub fn top(&self) -> Option<&Tile<T>> {
        self.dot.last()
    }

    /// Pulls back the cotangent `end_bar` of J e, where e went up last; g is that of θ.
    pub fn retreat(
        &mut self,
        stack: &Stack<T>,
        ws: &Workspace<T>,
        e: In<'_, T>,
        end_bar: In<'_, T>,
        inputs: usize,
        g: &mut [T],
    ) {
        let dim = self.end.rows();
        let first_bar = self.fall(stack, ws, end_bar, g);
        outer(stack.isa, first_bar, (e, dim), ws.blocks, g, inputs);
    }

    /// As [`Tangents::retreat`], but for the gradient of the first layer's weights: returns the cotangent of its
    /// product with e, and the number of rows.
    pub fn fall<'s>(
        &'s mut self,
        stack: &Stack<T>,
        ws: &Workspace<T>,
        end_bar: In<'s, T>,
        g: &mut [T],
    ) -> (In<'s, T>, usize) {
        let dim = self.end.rows();
        let (isa, blocks, top) = (stack.isa, ws.blocks, stack.hidden());
        let last = &stack.layers[top];
        let Some(dot) = self.dot.last() else {
            return (end_bar, dim);
        };
        let weight = &mut g[last.weight_at..last.bias_at];
        outer(isa, (end_bar, dim), (dot.read(), dot.rows()), blocks, weight, dot.rows());
        let (by, raw) = (ws.slope[top - 1].read(), self.raw[top - 1].read());
        let (y, bent) = (self.bar[top - 1].write(), self.bent[top - 1].write());
        product(isa, Factor::new(&last.back, end_bar), blocks, Cotangent { y, by, raw, bent });
        self.descend(stack, ws, g);
        self.first_bar()
    }

    /// Pulls back the cotangent of row `j` of J e_j, one number a lane, where unit vector j went up last.
    pub fn retreat_unit(
        &mut self,
        stack: &Stack<T>,
        ws: &Workspace<T>,
        (j, row): (usize, &[T]),
        lane: In<'_, T>,
        g: &mut [T],
    ) {
        let (isa, blocks, top) = (stack.isa, ws.blocks, stack.hidden());
        let width = row.len();
        let weight = &mut g[stack.layers[top].weight_at + j * width..][..width];
        outer(isa, (lane, 1), (self.dot[top - 1].read(), width), blocks, weight, width);
        let (by, raw) = (ws.slope[top - 1].read(), self.raw[top - 1].read());
        let (bent, y) = (self.bent[top - 1].write(), self.bar[top - 1].write());
        lanewise::enter(isa, row, lane, raw, by, blocks, bent, y);
        self.descend(stack, ws, g);
    }

    /// The cotangent of ȧ₁ and its number of rows.
    pub fn first_bar(&self) -> (In<'_, T>, usize) {
        (self.bar[0].read(), self.bar[0].rows())
    }

    fn descend(&mut self, stack: &Stack<T>, ws: &Workspace<T>, g: &mut [T]) {
        for l in (1..self.bar.len()).rev() {
            let layer = &stack.layers[l];
            let (below, above) = self.bar.split_at_mut(l);
            let (bar, rows) = (above[0].read(), above[0].rows());
            let dot = (self.dot[l - 1].read(), self.dot[l - 1].rows());
            outer(stack.isa, (bar, rows), dot, ws.blocks, &mut g[layer.weight_at..layer.bias_at], dot.1);
            let (y, by) = (below[l - 1].write(), ws.slope[l - 1].read());
            let (raw, bent) = (self.raw[l - 1].read(), self.bent[l - 1].write());
            product(stack.isa, Factor::new(&layer.back, bar), ws.blocks, Cotangent { y, by, raw, bent });
        }
    }
}
