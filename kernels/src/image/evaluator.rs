//! A net of operations on images with the scratch of one caller, on views of lanes.

use cnflow_solvers::lanes::LANE_BLOCK;
use cnflow_solvers::{Lanes, LanesMut};

use super::{ImageNet, ImageWorkspace};
use crate::Keep;
use crate::net::blocks_of;
use crate::simd::Scalar;

/// A net of operations on images with the scratch of one caller. No call allocates; unused slots of the views may hold
/// anything.
///
/// The order of calls is that of [`NetEvaluator`](crate::NetEvaluator): [`forward`](Self::forward) at x; then any
/// number of [`tangent`](Self::tangent), each of which may be followed by
/// [`pull_back_tangent`](Self::pull_back_tangent); then [`pull_back`](Self::pull_back). All with as many lanes. It has
/// the room of a workspace for each block of 16 lanes; to do all passes of one block before the next, use
/// [`ImageWorkspace`].
#[derive(Clone, Debug)]
pub struct ImageEvaluator<'a, T> {
    net: &'a ImageNet<T>,
    blocks: Vec<ImageWorkspace<T>>,
    lanes: usize,
    /// Tangents were pulled back since the last forward pass.
    joined: bool,
}

impl<'a, T: Scalar> ImageEvaluator<'a, T> {
    pub(super) fn new(net: &'a ImageNet<T>, lanes: usize) -> Self {
        let blocks = (0..blocks_of(lanes)).map(|_| net.workspace()).collect();
        Self { net, blocks, lanes: 0, joined: false }
    }

    /// Each block in use.
    fn each(&mut self, mut f: impl FnMut(&ImageNet<T>, &mut ImageWorkspace<T>, usize)) {
        for (block, ws) in self.blocks[..blocks_of(self.lanes)].iter_mut().enumerate() {
            f(self.net, ws, block * LANE_BLOCK);
        }
    }

    /// y ← the net at (x, aux). `x` is `[pixel][channel]` by lanes, `aux` `[aux, lanes]` (not read where nothing is
    /// modulated), `y` `[pixel][channel]` of the last plane.
    ///
    /// Keep [`Keep::First`] for tangents and for the pull-back of y, [`Keep::Second`] for the pull-back of tangents.
    ///
    /// # Panics
    /// For more lanes than there is scratch for, or views of other sizes.
    pub fn forward(&mut self, x: Lanes<'_, T>, aux: Lanes<'_, T>, mut y: LanesMut<'_, T>, keep: Keep) {
        assert_eq!((x.rows(), y.rows()), (self.net.inputs().len(), self.net.outputs().len()), "rows of x and y");
        assert!(blocks_of(x.lanes()) <= self.blocks.len(), "{} lanes are too many", x.lanes());
        (self.lanes, self.joined) = (x.lanes(), false);
        self.each(|net, ws, first| {
            ws.input().load_from(0, x, first);
            if ws.aux().rows() > 0 {
                assert_eq!(aux.rows(), net.spec().aux, "rows of aux");
                ws.aux().load_from(0, aux, first);
            }
            net.run(ws, keep);
            ws.output().unload_to(&mut y, first);
        });
    }

    /// ẏ ← (∂y/∂x) ẋ.
    ///
    /// # Panics
    /// For views of other sizes.
    pub fn tangent(&mut self, dx: Lanes<'_, T>, mut dy: LanesMut<'_, T>) {
        assert_eq!((dx.rows(), dy.rows()), (self.net.inputs().len(), self.net.outputs().len()), "rows of ẋ and ẏ");
        self.each(|net, ws, first| {
            ws.direction().load_from(0, dx, first);
            net.advance(ws);
            ws.end().unload_to(&mut dy, first);
        });
    }

    /// ẋ̄ ← (∂ẏ/∂ẋ)ᵀ ẏ̄ and g += (∂ẏ/∂θ)ᵀ ẏ̄ but for what passes σ″ or the embedding, which the next
    /// [`Self::pull_back`] adds; for the last tangent.
    ///
    /// # Panics
    /// For views of other sizes.
    pub fn pull_back_tangent(&mut self, dy_bar: Lanes<'_, T>, mut dx_bar: LanesMut<'_, T>, g: &mut [T]) {
        let sizes = (self.net.outputs().len(), self.net.inputs().len());
        assert_eq!((dy_bar.rows(), dx_bar.rows()), sizes, "rows of ẏ̄ and ẋ̄");
        self.joined = true;
        self.each(|net, ws, first| {
            ws.output_bar().load_from(0, dy_bar, first);
            net.retreat(ws, g);
            ws.input_bar().unload_to(&mut dx_bar, first);
        });
    }

    /// x̄ ← (∂y/∂x)ᵀ ȳ and g += (∂y/∂θ)ᵀ ȳ, with the share of the tangents that were pulled back since the last forward
    /// pass. `None` stands for a ȳ of zero.
    ///
    /// # Panics
    /// For views of other sizes.
    pub fn pull_back(&mut self, y_bar: Option<Lanes<'_, T>>, mut x_bar: LanesMut<'_, T>, g: &mut [T]) {
        assert_eq!(x_bar.rows(), self.net.inputs().len(), "rows of x̄");
        let joined = self.joined;
        self.each(|net, ws, first| {
            match y_bar {
                Some(y_bar) => ws.output_bar().load_from(0, y_bar, first),
                None => ws.output_bar().clear(1),
            }
            net.run_back(ws, joined, true, g);
            ws.input_bar().unload_to(&mut x_bar, first);
        });
    }
}
