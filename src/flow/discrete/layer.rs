//! The layers with their parameters, on tiles of lanes: there, back, and the pull-backs of both.
//!
//! Points are f64 whatever the nets compute in: the columns that a coupling leaves alone are then the same bits on the
//! way back, the net says the same, and a round trip costs the round-off of f64.

use cnf_solvers::lanes::LANE_BLOCK;

use super::spec::{DiscreteSpec, LayerSpec, Transform};
use super::spline::{self, Spline};
use crate::Result;
use crate::velocity::Scalar;
use crate::velocity::activation::{Act, Tanh, exp};
use crate::velocity::dense::{Keep, Stack, Workspace};
use crate::velocity::simd::{Isa, Kernel, Vector, dispatch};
use crate::velocity::tile::Tile;

/// Which way through a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the latent's side to the data's.
    Forward,
    /// From the data's side to the latent's.
    Inverse,
}

/// The lanes of one row in one block.
type Slots<T = f64> = [T; LANE_BLOCK];

/// A layer with its parameters.
pub(super) enum Layer<T> {
    Coupling(Box<Coupling<T>>),
    Diagonal(Diagonal),
    Linear(Box<Linear>),
}

pub(super) struct Coupling<T> {
    pass: Vec<usize>,
    change: Vec<usize>,
    transform: Transform,
    pub net: Stack<T>,
    isa: Isa,
}

pub(super) struct Diagonal {
    log_scale: Vec<f64>,
    shift: Option<Vec<f64>>,
}

/// z = A x; `lower` and `upper` are A's factors, rows of A are `permutation[i]` of their product.
pub(super) struct Linear {
    permutation: Vec<usize>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    /// A and A⁻¹, `[d, d]`.
    there: Vec<f64>,
    back: Vec<f64>,
    log_volume: f64,
}

/// Where a layer's pull-back puts the derivatives by its parameters.
pub(super) struct Gradient<'a, T> {
    /// By its part of θ.
    pub theta: &'a mut [T],
    /// By the matrix of a linear layer; empty for others.
    pub matrix: &'a mut [f64],
}

/// A block's worth of a layer's states.
pub(super) struct Step<'a> {
    pub way: Way,
    pub blocks: usize,
    /// Rows of the state where the pass began and where it ended.
    pub before: &'a Tile<f64>,
    pub after: &'a Tile<f64>,
    /// The cotangent of the log-determinant.
    pub logdet_bar: &'a Tile<f64>,
    /// The lanes in use: the others have no part in any gradient.
    pub lanes: usize,
}

impl<T: Scalar> Layer<T> {
    /// The layers of a spec.
    pub fn all(spec: &DiscreteSpec, theta: &[T]) -> Result<Vec<Self>> {
        let mut rest = theta;
        let mut layers = Vec::with_capacity(spec.layers.len());
        for (layer, length) in spec.layers.iter().zip(spec.lengths()) {
            let (own, others) = rest.split_at(length);
            layers.push(Self::new(layer, spec, own)?);
            rest = others;
        }
        Ok(layers)
    }

    fn new(layer: &LayerSpec, spec: &DiscreteSpec, theta: &[T]) -> Result<Self> {
        let d = spec.dim;
        let wide = |part: &[T]| part.iter().map(|w| w.wide()).collect::<Vec<f64>>();
        Ok(match layer {
            LayerSpec::Coupling { pass, change, activation, transform, .. } => {
                let sizes = layer.sizes(spec.condition_dim);
                Self::Coupling(Box::new(Coupling {
                    pass: pass.clone(),
                    change: change.clone(),
                    transform: *transform,
                    net: Stack::new(&sizes, *activation, pass.len(), theta)?,
                    isa: Isa::detect(),
                }))
            }
            LayerSpec::Diagonal { shift } => {
                Self::Diagonal(Diagonal { log_scale: wide(&theta[..d]), shift: shift.then(|| wide(&theta[d..])) })
            }
            LayerSpec::Linear { permutation, signs, .. } => {
                Self::Linear(Box::new(Linear::new(permutation.clone(), signs, &wide(theta))))
            }
        })
    }

    /// The length of the matrix's gradient.
    pub fn matrix_len(&self) -> usize {
        if let Self::Linear(linear) = self { linear.there.len() } else { 0 }
    }

    /// The largest log-scale that depends on no point.
    pub fn steepest(&self) -> f64 {
        match self {
            Self::Coupling(_) => 0.0,
            Self::Diagonal(diagonal) => diagonal.log_scale.iter().fold(0.0, |most, s| most.max(s.abs())),
            Self::Linear(linear) => {
                let d = linear.permutation.len();
                (0..d).fold(0.0, |most, i| most.max(linear.upper[i * d + i].abs().ln().abs()))
            }
        }
    }

    /// after ← the layer at `before`; `logdet` += the log-determinant. `condition` is `[c, lanes]`.
    pub fn pass(
        &self,
        way: Way,
        (before, after): (&Tile<f64>, &mut Tile<f64>),
        logdet: &mut Tile<f64>,
        condition: &Tile<T>,
        (ws, keep): (&mut Workspace<T>, Keep),
        blocks: usize,
    ) {
        match self {
            Self::Coupling(coupling) => {
                coupling.ask(before, condition, ws, keep, blocks);
                coupling.pass(way, before, after, logdet, ws, blocks);
            }
            Self::Diagonal(diagonal) => diagonal.pass(way, before, after, logdet, blocks),
            Self::Linear(linear) => linear.pass(way, before, after, logdet, blocks),
        }
    }

    /// bar (the cotangent of `after`) becomes that of `before`; `g` += the derivatives by the parameters.
    ///
    /// For a coupling the workspace holds what its net said at this step, with slopes.
    pub fn back(&self, step: &Step<'_>, bar: &mut Tile<f64>, ws: &mut Workspace<T>, g: Gradient<'_, T>) {
        match self {
            Self::Coupling(coupling) => coupling.back(step, bar, ws, g.theta),
            Self::Diagonal(diagonal) => diagonal.back(step, bar, g.theta),
            Self::Linear(linear) => linear.back(step, bar, g),
        }
    }
}

/// Slots ≥ `lanes` of block `block` hold nothing.
fn in_use(block: usize, lanes: usize) -> usize {
    lanes.saturating_sub(block * LANE_BLOCK).min(LANE_BLOCK)
}

impl<T: Scalar> Coupling<T> {
    /// What the net says of the columns that pass.
    fn ask(&self, x: &Tile<f64>, condition: &Tile<T>, ws: &mut Workspace<T>, keep: Keep, blocks: usize) {
        ws.blocks = blocks;
        let input = &mut ws.h[0];
        for block in 0..blocks {
            for (row, column) in self.pass.iter().enumerate() {
                let from = x.at(block, *column);
                let to = input.at_mut(block, row);
                (0..LANE_BLOCK).for_each(|l| to[l] = T::of(from[l]));
            }
            for row in 0..condition.rows() {
                *input.at_mut(block, self.pass.len() + row) = *condition.at(block, row);
            }
        }
        self.net.run(ws, keep);
    }

    /// The conditioner's number `part` of changed column `j`, in one block.
    fn said(&self, ws: &Workspace<T>, block: usize, part: usize, j: usize) -> Slots {
        let out = ws.out.at(block, part * self.change.len() + j);
        std::array::from_fn(|l| out[l].wide())
    }

    fn pass(
        &self,
        way: Way,
        before: &Tile<f64>,
        after: &mut Tile<f64>,
        logdet: &mut Tile<f64>,
        ws: &Workspace<T>,
        blocks: usize,
    ) {
        for block in 0..blocks {
            for column in &self.pass {
                *after.at_mut(block, *column) = *before.at(block, *column);
            }
            for (j, column) in self.change.iter().enumerate() {
                let x = before.at(block, *column);
                let sum = logdet.at_mut(block, 0);
                let y = after.at_mut(block, *column);
                match (self.transform, way) {
                    (Transform::Additive, Way::Forward) => {
                        let m = self.said(ws, block, 0, j);
                        (0..LANE_BLOCK).for_each(|l| y[l] = x[l] + m[l]);
                    }
                    (Transform::Additive, Way::Inverse) => {
                        let m = self.said(ws, block, 0, j);
                        (0..LANE_BLOCK).for_each(|l| y[l] = x[l] - m[l]);
                    }
                    (Transform::Affine { most }, _) => {
                        let (raw, m) = (self.said(ws, block, 0, j), self.said(ws, block, 1, j));
                        let Scales { log, factor, .. } = scales(self.isa, &raw, most, way);
                        for l in 0..LANE_BLOCK {
                            if way == Way::Forward {
                                (y[l], sum[l]) = (x[l] * factor[l] + m[l], sum[l] + log[l]);
                            } else {
                                (y[l], sum[l]) = ((x[l] - m[l]) * factor[l], sum[l] - log[l]);
                            }
                        }
                    }
                    (Transform::Spline { bins, bound }, _) => {
                        let mut raw = [0.0; 3 * spline::MOST];
                        for l in 0..LANE_BLOCK {
                            let spline = self.spline(ws, (block, l), j, (bins, bound), &mut raw);
                            let (to, rate) =
                                if way == Way::Forward { spline.forward(x[l]) } else { spline.inverse(x[l]) };
                            (y[l], sum[l]) = (to, sum[l] + rate);
                        }
                    }
                }
            }
        }
    }

    fn spline(
        &self,
        ws: &Workspace<T>,
        (block, lane): (usize, usize),
        j: usize,
        (bins, bound): (usize, f64),
        raw: &mut [f64; 3 * spline::MOST],
    ) -> Spline {
        let count = spline::numbers(bins);
        for (part, slot) in raw[..count].iter_mut().enumerate() {
            *slot = ws.out.at(block, part * self.change.len() + j)[lane].wide();
        }
        Spline::new(&raw[..count], bins, bound)
    }

    fn back(&self, step: &Step<'_>, bar: &mut Tile<f64>, ws: &mut Workspace<T>, g: &mut [T]) {
        let changed = self.change.len();
        for block in 0..step.blocks {
            let used = in_use(block, step.lanes);
            for (j, column) in self.change.iter().enumerate() {
                let (x, y) = (step.before.at(block, *column), step.after.at(block, *column));
                let l_bar = step.logdet_bar.at(block, 0);
                let bar = bar.at_mut(block, *column);
                match self.transform {
                    Transform::Additive => {
                        let sign = if step.way == Way::Forward { 1.0 } else { -1.0 };
                        let out = ws.out_bar.at_mut(block, j);
                        (0..LANE_BLOCK).for_each(|l| out[l] = T::of(if l < used { sign * bar[l] } else { 0.0 }));
                    }
                    Transform::Affine { most } => {
                        let (raw, m) = (self.said(ws, block, 0, j), self.said(ws, block, 1, j));
                        let Scales { factor, slope, .. } = scales(self.isa, &raw, most, step.way);
                        let (mut s_bar, mut m_bar) = ([0.0; LANE_BLOCK], [0.0; LANE_BLOCK]);
                        for l in 0..used {
                            let x_bar = bar[l] * factor[l];
                            (s_bar[l], m_bar[l]) = if step.way == Way::Forward {
                                (bar[l] * (y[l] - m[l]) + l_bar[l], bar[l])
                            } else {
                                (-bar[l] * y[l] - l_bar[l], -x_bar)
                            };
                            s_bar[l] *= slope[l];
                            bar[l] = x_bar;
                        }
                        *ws.out_bar.at_mut(block, j) = s_bar.map(T::of);
                        *ws.out_bar.at_mut(block, changed + j) = m_bar.map(T::of);
                    }
                    Transform::Spline { bins, bound } => {
                        let count = spline::numbers(bins);
                        let mut raw = [0.0; 3 * spline::MOST];
                        for l in 0..LANE_BLOCK {
                            let mut raw_bar = [0.0; 3 * spline::MOST];
                            if l < used {
                                let spline = self.spline(ws, (block, l), j, (bins, bound), &mut raw);
                                bar[l] = if step.way == Way::Forward {
                                    spline.forward_back(x[l], bar[l], l_bar[l], &mut raw_bar)
                                } else {
                                    spline.inverse_back(y[l], bar[l], l_bar[l], &mut raw_bar)
                                };
                            }
                            for (part, value) in raw_bar[..count].iter().enumerate() {
                                ws.out_bar.at_mut(block, part * changed + j)[l] = T::of(*value);
                            }
                        }
                    }
                }
            }
        }
        self.net.run_back(ws, None, true, g);
        for block in 0..step.blocks {
            for (row, column) in self.pass.iter().enumerate() {
                let by_net = ws.in_bar.at(block, row);
                let bar = bar.at_mut(block, *column);
                (0..LANE_BLOCK).for_each(|l| bar[l] += by_net[l].wide());
            }
        }
    }
}

/// s = most · tanh(r / most), e^±s on the way asked for, and ds/dr.
struct Scales {
    log: Slots,
    factor: Slots,
    slope: Slots,
}

fn scales(isa: Isa, raw: &Slots, most: f64, way: Way) -> Scales {
    let mut out = Scales { log: [0.0; LANE_BLOCK], factor: [0.0; LANE_BLOCK], slope: [0.0; LANE_BLOCK] };
    dispatch(isa, AffineKernel { raw, most, sign: if way == Way::Forward { 1.0 } else { -1.0 }, out: &mut out });
    out
}

struct AffineKernel<'a> {
    raw: &'a Slots,
    most: f64,
    sign: f64,
    out: &'a mut Scales,
}

impl Kernel<f64> for AffineKernel<'_> {
    #[inline(always)]
    fn run<V: Vector<Elem = f64>>(self) {
        let (most, part, sign) = (V::splat(self.most), V::splat(1.0 / self.most), V::splat(self.sign));
        for at in (0..LANE_BLOCK).step_by(V::WIDTH) {
            let jet = Tanh.jet(V::read(self.raw, at).mul(part));
            let log = jet.value.mul(most);
            log.write(&mut self.out.log, at);
            jet.slope.write(&mut self.out.slope, at);
            exp(log.mul(sign)).write(&mut self.out.factor, at);
        }
    }
}

impl Diagonal {
    fn pass(&self, way: Way, before: &Tile<f64>, after: &mut Tile<f64>, logdet: &mut Tile<f64>, blocks: usize) {
        let total: f64 = self.log_scale.iter().sum();
        for block in 0..blocks {
            for (j, s) in self.log_scale.iter().enumerate() {
                let b = self.shift.as_ref().map_or(0.0, |shift| shift[j]);
                let (x, y) = (before.at(block, j), after.at_mut(block, j));
                if way == Way::Forward {
                    let e = s.exp();
                    (0..LANE_BLOCK).for_each(|l| y[l] = x[l] * e + b);
                } else {
                    let e = (-s).exp();
                    (0..LANE_BLOCK).for_each(|l| y[l] = (x[l] - b) * e);
                }
            }
            let volume = if way == Way::Forward { total } else { -total };
            logdet.at_mut(block, 0).iter_mut().for_each(|sum| *sum += volume);
        }
    }

    fn back<T: Scalar>(&self, step: &Step<'_>, bar: &mut Tile<f64>, g: &mut [T]) {
        let d = self.log_scale.len();
        for (j, s) in self.log_scale.iter().enumerate() {
            let forward = step.way == Way::Forward;
            let (e, b) = (if forward { s.exp() } else { (-s).exp() }, self.shift.as_ref().map_or(0.0, |b| b[j]));
            let (mut s_bar, mut b_bar) = (0.0, 0.0);
            for block in 0..step.blocks {
                let (y, l_bar) = (step.after.at(block, j), step.logdet_bar.at(block, 0));
                let bar = bar.at_mut(block, j);
                for l in 0..in_use(block, step.lanes) {
                    let x_bar = bar[l] * e;
                    if forward {
                        s_bar += bar[l] * (y[l] - b) + l_bar[l];
                        b_bar += bar[l];
                    } else {
                        s_bar -= bar[l] * y[l] + l_bar[l];
                        b_bar -= x_bar;
                    }
                    bar[l] = x_bar;
                }
            }
            g[j] += T::of(s_bar);
            if self.shift.is_some() {
                g[d + j] += T::of(b_bar);
            }
        }
    }
}

/// x y, both `[d, d]`.
fn times(x: &[f64], y: &[f64], d: usize) -> Vec<f64> {
    let mut product = vec![0.0; d * d];
    for i in 0..d {
        for k in 0..d {
            let factor = x[i * d + k];
            (0..d).for_each(|j| product[i * d + j] += factor * y[k * d + j]);
        }
    }
    product
}

fn transposed(x: &[f64], d: usize) -> Vec<f64> {
    (0..d * d).map(|at| x[at % d * d + at / d]).collect()
}

impl Linear {
    fn new(permutation: Vec<usize>, signs: &[i8], theta: &[f64]) -> Self {
        let d = permutation.len();
        let half = d * (d - 1) / 2;
        let (mut lower, mut upper) = (vec![0.0; d * d], vec![0.0; d * d]);
        for i in 0..d {
            lower[i * d + i] = 1.0;
            upper[i * d + i] = theta[i].exp() * f64::from(signs[i]);
        }
        let below = (0..d).flat_map(|i| (0..i).map(move |j| i * d + j));
        below.zip(theta.get(d..).unwrap_or(&[])).for_each(|(at, w)| lower[at] = *w);
        let above = (0..d).flat_map(|i| (i + 1..d).map(move |j| i * d + j));
        above.zip(theta.get(d + half..).unwrap_or(&[])).for_each(|(at, w)| upper[at] = *w);
        let product = times(&lower, &upper, d);
        let there = permutation.iter().flat_map(|row| &product[row * d..][..d]).copied().collect();
        // A⁻¹ = U⁻¹ L⁻¹ Pᵀ by substitution, column after column.
        let mut back = vec![0.0; d * d];
        let mut column = vec![0.0; d];
        for (k, row) in permutation.iter().enumerate() {
            column.fill(0.0);
            column[*row] = 1.0;
            for i in 0..d {
                column[i] -= (0..i).map(|j| lower[i * d + j] * column[j]).sum::<f64>();
            }
            for i in (0..d).rev() {
                let known: f64 = (i + 1..d).map(|j| upper[i * d + j] * column[j]).sum();
                column[i] = (column[i] - known) / upper[i * d + i];
            }
            (0..d).for_each(|i| back[i * d + k] = column[i]);
        }
        Self { permutation, lower, upper, there, back, log_volume: theta[..d].iter().sum() }
    }

    fn matrix(&self, way: Way) -> (&[f64], f64) {
        if way == Way::Inverse { (&self.there, self.log_volume) } else { (&self.back, -self.log_volume) }
    }

    fn pass(&self, way: Way, before: &Tile<f64>, after: &mut Tile<f64>, logdet: &mut Tile<f64>, blocks: usize) {
        let (d, (matrix, volume)) = (self.permutation.len(), self.matrix(way));
        for block in 0..blocks {
            for (i, row) in matrix.chunks_exact(d).enumerate() {
                let mut sum = [0.0; LANE_BLOCK];
                for (j, w) in row.iter().enumerate() {
                    let x = before.at(block, j);
                    (0..LANE_BLOCK).for_each(|l| sum[l] += w * x[l]);
                }
                *after.at_mut(block, i) = sum;
            }
            logdet.at_mut(block, 0).iter_mut().for_each(|sum| *sum += volume);
        }
    }

    fn back<T: Scalar>(&self, step: &Step<'_>, bar: &mut Tile<f64>, g: Gradient<'_, T>) {
        let (d, (matrix, _)) = (self.permutation.len(), self.matrix(step.way));
        let mut volume_bar = 0.0;
        for block in 0..step.blocks {
            let used = in_use(block, step.lanes);
            let y_bar: Vec<Slots> = (0..d).map(|i| *bar.at(block, i)).collect();
            for (i, y_bar) in y_bar.iter().enumerate() {
                for j in 0..d {
                    let x = step.before.at(block, j);
                    g.matrix[i * d + j] += (0..used).map(|l| y_bar[l] * x[l]).sum::<f64>();
                }
            }
            for j in 0..d {
                let mut sum = [0.0; LANE_BLOCK];
                for (i, y_bar) in y_bar.iter().enumerate() {
                    let w = matrix[i * d + j];
                    (0..LANE_BLOCK).for_each(|l| sum[l] += w * y_bar[l]);
                }
                *bar.at_mut(block, j) = sum;
            }
            volume_bar += step.logdet_bar.at(block, 0)[..used].iter().sum::<f64>();
        }
        let volume_bar = T::of(if step.way == Way::Inverse { volume_bar } else { -volume_bar });
        g.theta[..d].iter_mut().for_each(|g| *g += volume_bar);
    }

    /// θ's gradient += what the matrix's comes to, on the way that it was multiplied.
    pub fn fold<T: Scalar>(&self, way: Way, matrix_bar: &[f64], g: &mut [T]) {
        let d = self.permutation.len();
        let half = d * (d - 1) / 2;
        let a_bar = match way {
            Way::Inverse => matrix_bar.to_vec(),
            // d(A⁻¹) = −A⁻¹ dA A⁻¹.
            Way::Forward => {
                let back = transposed(&self.back, d);
                times(&times(&back, matrix_bar, d), &back, d).iter().map(|x| -x).collect()
            }
        };
        let mut product_bar = vec![0.0; d * d];
        for (i, row) in self.permutation.iter().enumerate() {
            product_bar[row * d..][..d].copy_from_slice(&a_bar[i * d..][..d]);
        }
        let lower_bar = times(&product_bar, &transposed(&self.upper, d), d);
        let upper_bar = times(&transposed(&self.lower, d), &product_bar, d);
        for i in 0..d {
            // The diagonal is ± e^s.
            g[i] += T::of(upper_bar[i * d + i] * self.upper[i * d + i]);
        }
        let below = (0..d).flat_map(|i| (0..i).map(move |j| i * d + j));
        below.enumerate().for_each(|(k, at)| g[d + k] += T::of(lower_bar[at]));
        let above = (0..d).flat_map(|i| (i + 1..d).map(move |j| i * d + j));
        above.enumerate().for_each(|(k, at)| g[d + half + k] += T::of(upper_bar[at]));
    }
}
