//! A stack of dense layers, σ between them: y = W_L σ(… σ(W₁ x + b₁) …) + b_L, and its pull-back.
//!
//! Knows neither time nor trace: [`super::Mlp`] adds them, and anything else that needs a plain net on a tile
//! of lanes takes it as it is. θ holds the layers in order, each its weight `[out, in]` row-major, then
//! its bias. The weights are packed once ([`Stack::set_theta`]); a [`Workspace`] has all the scratch.

use cnf_solvers::{Lanes, LanesMut, lanes::LANE_BLOCK};

use super::activation::{self, Act, Activation};
use super::outer::{outer, row_sums};
use super::product::{Bent, Curve, Factor, Panels, Scaled, Slope, Store, Value, product};
use super::simd::{Isa, Scalar};
use super::tile::{In, Tile};

/// A packed stack of dense layers.
#[derive(Clone, Debug)]
pub struct Stack<T> {
    pub(super) isa: Isa,
    activation: Activation,
    sizes: Vec<usize>,
    /// How many leading inputs are differentiated.
    leading: usize,
    pub(super) layers: Vec<Layer<T>>,
}

/// One layer: W, Wᵀ and b, packed, and where they lie in θ.
#[derive(Clone, Debug)]
pub(super) struct Layer<T> {
    pub forward: Panels<T>,
    pub back: Panels<T>,
    pub bias: Vec<T>,
    pub weight_at: usize,
    pub bias_at: usize,
}

/// How much of σ a forward pass keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Values only.
    Value,
    /// σ′ too: for tangents and for [`Stack::pull_back`].
    Slope,
    /// σ″ too: for the pull-back of a trace.
    Curve,
}

/// The scratch of a stack, for one caller at a time.
#[derive(Clone, Debug)]
pub struct Workspace<T> {
    /// h₀ (the input), h₁, …: one a layer.
    pub(crate) h: Vec<Tile<T>>,
    /// σ′ and σ″, one a hidden layer.
    pub(super) slope: Vec<Tile<T>>,
    pub(super) curve: Vec<Tile<T>>,
    /// Cotangents before the activations, one a hidden layer.
    pub(super) bar: Vec<Tile<T>>,
    pub(crate) out: Tile<T>,
    pub(crate) out_bar: Tile<T>,
    pub(crate) in_bar: Tile<T>,
    pub(crate) blocks: usize,
}

impl<T: Scalar> Workspace<T> {
    /// Of a stack without layers.
    pub(crate) fn empty() -> Self {
        let none = || Tile::new(0, 0);
        let (h, slope, curve, bar) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { h, slope, curve, bar, out: none(), out_bar: none(), in_bar: none(), blocks: 0 }
    }
}

impl<T: Scalar> Stack<T> {
    /// A stack of layers `sizes[0] → sizes[1] → …`, whose first `leading` inputs are differentiated.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for fewer than two sizes, a size of zero or a θ of the wrong length.
    pub fn new(sizes: &[usize], activation: Activation, leading: usize, theta: &[T]) -> crate::Result<Self> {
        if sizes.len() < 2 || sizes.contains(&0) || leading > sizes[0] {
            return Err(crate::Error::invalid(
                format!("a net cannot have layers of sizes {sizes:?}"),
                "every layer needs at least one unit",
            ));
        }
        let mut at = 0;
        let layers = sizes
            .windows(2)
            .enumerate()
            .map(|(l, pair)| {
                let (inputs, outputs) = (pair[0], pair[1]);
                let (weight_at, bias_at) = (at, at + inputs * outputs);
                at = bias_at + outputs;
                Layer {
                    forward: Panels::new(outputs, inputs),
                    back: Panels::new(if l == 0 { leading } else { inputs }, outputs),
                    bias: vec![T::ZERO; outputs.next_multiple_of(4)],
                    weight_at,
                    bias_at,
                }
            })
            .collect();
        let mut stack = Self { isa: Isa::detect(), activation, sizes: sizes.to_vec(), leading, layers };
        stack.set_theta(theta)?;
        Ok(stack)
    }

    /// Packs other weights, in place.
    ///
    /// # Errors
    /// [`crate::Error::Dimension`] for a θ of the wrong length.
    pub fn set_theta(&mut self, theta: &[T]) -> crate::Result<()> {
        let expected = self.n_params();
        if theta.len() != expected {
            return Err(crate::Error::Dimension { what: "θ".into(), expected, found: theta.len() });
        }
        for (pair, layer) in self.sizes.windows(2).zip(&mut self.layers) {
            let weight = &theta[layer.weight_at..layer.bias_at];
            layer.forward.pack(|o, k| weight[o * pair[0] + k]);
            layer.back.pack(|k, o| weight[o * pair[0] + k]);
            layer.bias[..pair[1]].copy_from_slice(&theta[layer.bias_at..][..pair[1]]);
        }
        Ok(())
    }

    /// Computes on the portable path from now on: slower on most machines, the same bits on all.
    pub fn portable(mut self) -> Self {
        self.isa = Isa::Portable;
        self
    }

    /// The number of units of each layer, the input first.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        self.layers.last().map_or(0, |last| last.bias_at + self.sizes[self.sizes.len() - 1])
    }

    /// The number of hidden layers.
    pub(super) fn hidden(&self) -> usize {
        self.layers.len() - 1
    }

    /// One tile a hidden layer.
    pub(super) fn hidden_tiles(&self, lanes: usize) -> Vec<Tile<T>> {
        self.sizes[1..self.layers.len()].iter().map(|&n| Tile::new(n, lanes)).collect()
    }

    /// Scratch for up to `lanes` lanes.
    pub fn workspace(&self, lanes: usize) -> Workspace<T> {
        let last = self.layers.len();
        let hidden = || self.hidden_tiles(lanes);
        Workspace {
            h: self.sizes[..last].iter().map(|&n| Tile::new(n, lanes)).collect(),
            slope: hidden(),
            curve: hidden(),
            bar: hidden(),
            out: Tile::new(self.sizes[last], lanes),
            out_bar: Tile::new(self.sizes[last], lanes),
            in_bar: Tile::new(self.leading, lanes),
            blocks: 0,
        }
    }

    /// y ← the net at x. `x` is `[in, lanes]`, `y` is `[out, lanes]`.
    ///
    /// Keep [`Keep::Slope`] to call [`Stack::pull_back`] next.
    pub fn forward(&self, ws: &mut Workspace<T>, x: Lanes<'_, T>, y: LanesMut<'_, T>, keep: Keep) {
        debug_assert_eq!(x.rows(), self.sizes[0]);
        ws.h[0].load(0, x);
        ws.blocks = x.lanes().div_ceil(LANE_BLOCK);
        self.run(ws, keep);
        ws.out.unload(y);
    }

    /// x̄ ← (∂y/∂x)ᵀ ȳ for the leading inputs, g += Σ (∂y/∂θ)ᵀ ȳ over the lanes in use, where the last
    /// [`Stack::forward`] was; it must have kept the slopes, and had as many lanes.
    ///
    /// `y_bar` is `[out, lanes]`, `x_bar` `[leading, lanes]`, `g` as long as θ.
    pub fn pull_back(&self, ws: &mut Workspace<T>, y_bar: Lanes<'_, T>, x_bar: LanesMut<'_, T>, g: &mut [T]) {
        debug_assert_eq!(y_bar.lanes().div_ceil(LANE_BLOCK), ws.blocks);
        ws.out_bar.load(0, y_bar);
        self.run_back(ws, None, true, g);
        ws.in_bar.unload(x_bar);
    }

    /// The forward pass from `ws.h[0]` to `ws.out`.
    pub(crate) fn run(&self, ws: &mut Workspace<T>, keep: Keep) {
        self.run_hidden(ws, keep);
        let last = &self.layers[self.hidden()];
        let factor = Factor::new(&last.forward, ws.h[self.hidden()].read()).plus(&last.bias);
        product(self.isa, factor, ws.blocks, Store(ws.out.write()));
    }

    /// The forward pass up to the last hidden layer.
    pub(super) fn run_hidden(&self, ws: &mut Workspace<T>, keep: Keep) {
        match self.activation {
            Activation::Tanh => self.run_with(activation::Tanh, ws, keep),
            Activation::Softplus => self.run_with(activation::Softplus, ws, keep),
            Activation::Silu => self.run_with(activation::Silu, ws, keep),
            Activation::Elu => self.run_with(activation::Elu, ws, keep),
            Activation::Relu => self.run_with(activation::Relu, ws, keep),
        }
    }

    fn run_with<A: Act>(&self, act: A, ws: &mut Workspace<T>, keep: Keep) {
        let blocks = ws.blocks;
        for (l, layer) in self.layers[..self.hidden()].iter().enumerate() {
            let (below, above) = ws.h.split_at_mut(l + 1);
            let factor = Factor::new(&layer.forward, below[l].read()).plus(&layer.bias);
            let h = above[0].write();
            match keep {
                Keep::Value => product(self.isa, factor, blocks, Value { act, h }),
                Keep::Slope => product(self.isa, factor, blocks, Slope { act, h, slope: ws.slope[l].write() }),
                Keep::Curve => {
                    let (slope, curve) = (ws.slope[l].write(), ws.curve[l].write());
                    product(self.isa, factor, blocks, Curve { act, h, slope, curve });
                }
            }
        }
    }

    /// The pull-back from `ws.out_bar` to `ws.in_bar` and g.
    ///
    /// `bent[l]` is what σ″ of hidden layer l multiplies: the trace's share. Without `has_out` the
    /// output's cotangent is known to be zero, and the last layer has no gradient.
    pub(crate) fn run_back(&self, ws: &mut Workspace<T>, bent: Option<&[Tile<T>]>, has_out: bool, g: &mut [T]) {
        let (isa, blocks) = (self.isa, ws.blocks);
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let (below, above) = ws.bar.split_at_mut(l);
            let (bar, rows) = match above.first() {
                Some(bar) => (bar.read(), bar.rows()),
                None => (ws.out_bar.read(), ws.out_bar.rows()),
            };
            let top = l == self.hidden();
            if !top || has_out {
                self.gather(layer, (bar, rows), (ws.h[l].read(), ws.h[l].rows()), blocks, g);
            }
            let factor = Factor::new(&layer.back, bar);
            let Some(y) = below.last_mut() else {
                product(isa, factor, blocks, Store(ws.in_bar.write()));
                continue;
            };
            let by = ws.slope[l - 1].read();
            match bent {
                None => product(isa, factor, blocks, Scaled { y: y.write(), by }),
                Some(bent) => {
                    let (curve, bent) = (ws.curve[l - 1].read(), bent[l - 1].read());
                    product(isa, factor, blocks, Bent { y: y.write(), by, curve, bent });
                }
            }
        }
    }

    /// Adds a layer's own gradient.
    fn gather(&self, layer: &Layer<T>, bar: (In<'_, T>, usize), h: (In<'_, T>, usize), blocks: usize, g: &mut [T]) {
        outer(self.isa, bar, h, blocks, &mut g[layer.weight_at..layer.bias_at], h.1);
        row_sums(self.isa, bar, blocks, &mut g[layer.bias_at..], 1);
    }
}
