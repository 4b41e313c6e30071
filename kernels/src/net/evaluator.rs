//! A net with the scratch of one caller, on views of lanes.

use cnflow_solvers::{Lanes, LanesMut};

use super::{Keep, Net, Tangents, Workspace, blocks_of};
use crate::epilogue::{Output, Store};
use crate::simd::Scalar;
use crate::tile::Tile;

/// A net with the scratch of one caller. No call allocates; unused slots of the views may hold anything.
///
/// The order of calls: [`forward`](Self::forward) at x; then any number of [`tangent`](Self::tangent), each of which
/// may be followed by [`pull_back_tangent`](Self::pull_back_tangent); then [`pull_back`](Self::pull_back). All with as
/// many lanes.
#[derive(Clone, Debug)]
pub struct NetEvaluator<'a, T> {
    net: &'a Net<T>,
    ws: Workspace<T>,
    tangents: Tangents<T>,
    direction: Tile<T>,
    direction_bar: Tile<T>,
    end_bar: Tile<T>,
    /// Tangents were pulled back since the last forward pass.
    gathered: bool,
}

impl<'a, T: Scalar> NetEvaluator<'a, T> {
    pub(super) fn new(net: &'a Net<T>, lanes: usize) -> Self {
        Self {
            ws: net.workspace(lanes),
            tangents: Tangents::new(net, lanes),
            direction: Tile::new(net.active(), lanes),
            direction_bar: Tile::new(net.active(), lanes),
            end_bar: Tile::new(net.outputs(), lanes),
            gathered: false,
            net,
        }
    }

    /// y ← the net at x. `x` is `[inputs, lanes]`, `y` `[outputs, lanes]`.
    ///
    /// Keep [`Keep::First`] for tangents and for the pull-back of y, [`Keep::Second`] for the pull-back of tangents.
    ///
    /// # Panics
    /// For more lanes than there is scratch for, or views of other sizes.
    pub fn forward(&mut self, x: Lanes<'_, T>, y: LanesMut<'_, T>, keep: Keep) {
        assert_eq!((x.rows(), y.rows()), (self.net.inputs(), self.net.outputs()), "rows of x and y");
        self.ws.input.load(0, x);
        self.ws.blocks = blocks_of(x.lanes());
        self.net.run(&mut self.ws, keep);
        self.ws.output().unload(y);
        self.tangents.clear(self.ws.blocks);
        self.gathered = false;
    }

    /// ẏ ← (∂y/∂x) ẋ. `dx` is `[active, lanes]`, `dy` `[outputs, lanes]`.
    ///
    /// # Panics
    /// For views of other sizes.
    pub fn tangent(&mut self, dx: Lanes<'_, T>, dy: LanesMut<'_, T>) {
        assert_eq!((dx.rows(), dy.rows()), (self.net.active(), self.net.outputs()), "rows of ẋ and ẏ");
        self.direction.load(0, dx);
        self.tangents.advance(self.net, &self.ws, self.direction.read());
        self.tangents.finish(self.net, &self.ws, self.direction.read());
        self.tangents.end().unload(dy);
    }

    /// ẋ̄ ← (∂ẏ/∂ẋ)ᵀ ẏ̄ and g += (∂ẏ/∂θ)ᵀ ẏ̄ but for what passes σ″, which the next [`Self::pull_back`] adds to both of
    /// its results; for the last tangent. `dy_bar` is `[outputs, lanes]`, `dx_bar` `[active, lanes]`, `g` as long as θ.
    ///
    /// # Panics
    /// For views of other sizes.
    pub fn pull_back_tangent(&mut self, dy_bar: Lanes<'_, T>, dx_bar: LanesMut<'_, T>, g: &mut [T]) {
        assert_eq!((dy_bar.rows(), dx_bar.rows()), (self.net.outputs(), self.net.active()), "rows of ẏ̄ and ẋ̄");
        let (net, blocks) = (self.net, self.ws.blocks);
        self.end_bar.load(0, dy_bar);
        let (first_bar, _) = self.tangents.fall(net, &self.ws, self.end_bar.read(), g);
        let first = &net.nodes[0];
        first.op.tangent_gradient(net.isa, self.direction.read(), first_bar, blocks, &mut g[first.params.clone()]);
        first.op.transpose(net.isa, first_bar, blocks, Output::Store(Store(self.direction_bar.write())));
        self.direction_bar.unload(dx_bar);
        self.gathered = true;
    }

    /// x̄ ← (∂y/∂x)ᵀ ȳ and g += (∂y/∂θ)ᵀ ȳ, with the share of the tangents that were pulled back since the last forward
    /// pass.
    ///
    /// `y_bar` is `[outputs, lanes]` (`None` stands for zero and costs less), `x_bar` `[active, lanes]`, `g` as long as
    /// θ.
    ///
    /// # Panics
    /// For views of other sizes.
    pub fn pull_back(&mut self, y_bar: Option<Lanes<'_, T>>, x_bar: LanesMut<'_, T>, g: &mut [T]) {
        assert_eq!(x_bar.rows(), self.net.active(), "rows of x̄");
        match y_bar {
            Some(y_bar) => {
                assert_eq!(y_bar.rows(), self.net.outputs(), "rows of ȳ");
                self.ws.output_bar.load(0, y_bar);
            }
            None => self.ws.output_bar.clear(self.ws.blocks),
        }
        let gathered = self.gathered.then_some(&self.tangents.gathered[..]);
        self.net.run_back(&mut self.ws, gathered, y_bar.is_some(), g);
        self.ws.input_bar.unload(x_bar);
    }
}
