//! A coupling: some rows of the state pass unchanged; a net computes from them the parameters that transform others.

use std::array::from_fn;

use cnflow_kernels::activation::{Act, Tanh, exp};
use cnflow_kernels::simd::{Kernel, Vector, dispatch};
use cnflow_kernels::{Isa, Keep, Scalar, Tile};
use cnflow_solvers::lanes::LANE_BLOCK;

use super::conditioner::{Conditioner, Room, Workspace};
use super::spec::Transform;
use super::spline::{self, Rule};
use super::step::{Gradient, Slots, Step, Way, in_use};

/// A coupling with its parameters.
pub(super) struct Coupling<T> {
    pass: Vec<usize>,
    change: Vec<usize>,
    /// Rows that it leaves alone, and does not look at.
    rest: Vec<usize>,
    transform: Transform,
    pub net: Conditioner<T>,
    /// Where the net's numbers for the changed rows lie.
    places: Places,
    isa: Isa,
}

/// Where the numbers for changed row j lie in a net's output: number k in row `first[j]` + k · `stride`.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub first: Vec<usize>,
    pub stride: usize,
}

impl Places {
    /// `[number][row]`.
    pub fn dense(rows: usize) -> Self {
        Self { first: (0..rows).collect(), stride: rows }
    }

    /// The row of number `part` of changed row `j`.
    fn at(&self, part: usize, j: usize) -> usize {
        self.first[j] + part * self.stride
    }
}

/// A row of a net's output, as what is made of it.
fn wide<T: Scalar>(out: &Tile<T>, block: usize, row: usize) -> Slots {
    let out = out.at(block, row);
    from_fn(|l| out[l].to_f64())
}

impl<T: Scalar> Coupling<T> {
    /// The rows `change`, transformed by what `net` makes of the rows `pass`; the rows `rest` stay.
    pub fn new(
        [pass, change, rest]: [Vec<usize>; 3],
        transform: Transform,
        (net, places): (Conditioner<T>, Places),
    ) -> Self {
        debug_assert_eq!(places.first.len(), change.len());
        Self { pass, change, rest, transform, net, places, isa: Isa::detect() }
    }

    /// Runs the net on the rows that pass.
    pub fn run_net(&self, x: &Tile<f64>, condition: &Tile<T>, workspace: &mut Workspace<T>, keep: Keep, blocks: usize) {
        self.net.run((x, &self.pass), condition, workspace, keep, blocks);
    }

    /// after ← the rows at `before`, by the numbers of the net.
    pub fn pass(
        &self,
        way: Way,
        before: &Tile<f64>,
        after: &mut Tile<f64>,
        logdet: &mut Tile<f64>,
        workspace: &Workspace<T>,
        blocks: usize,
    ) {
        let out = workspace.output();
        let number = |block: usize, part: usize, j: usize| wide(out, block, self.places.at(part, j));
        for block in 0..blocks {
            for column in self.pass.iter().chain(&self.rest) {
                *after.at_mut(block, *column) = *before.at(block, *column);
            }
            for (j, column) in self.change.iter().enumerate() {
                let x = before.at(block, *column);
                let sum = logdet.at_mut(block, 0);
                let y = after.at_mut(block, *column);
                match (self.transform, way) {
                    (Transform::Additive, Way::Forward) => {
                        let m = number(block, 0, j);
                        (0..LANE_BLOCK).for_each(|l| y[l] = x[l] + m[l]);
                    }
                    (Transform::Additive, Way::Inverse) => {
                        let m = number(block, 0, j);
                        (0..LANE_BLOCK).for_each(|l| y[l] = x[l] - m[l]);
                    }
                    (Transform::Affine { most }, _) => {
                        let (raw, m) = (number(block, 0, j), number(block, 1, j));
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
                        let mut raw = [[0.0; LANE_BLOCK]; spline::MOST_NUMBERS];
                        let raw = self.numbers(out, block, j, &mut raw);
                        let (to, rate) = spline::pass(self.isa, raw, Rule { bins, bound }, way, x);
                        *y = to;
                        (0..LANE_BLOCK).for_each(|l| sum[l] += rate[l]);
                    }
                }
            }
        }
    }

    /// All the conditioner's numbers of changed row `j`, in one block.
    fn numbers<'a>(
        &self,
        out: &Tile<T>,
        block: usize,
        j: usize,
        to: &'a mut [Slots; spline::MOST_NUMBERS],
    ) -> &'a [Slots] {
        let count = self.transform.numbers();
        (0..count).for_each(|part| to[part] = wide(out, block, self.places.at(part, j)));
        &to[..count]
    }

    /// As [`Layer::back`](super::layer::Layer::back).
    pub fn back(
        &self,
        step: &Step<'_>,
        bar: &mut Tile<f64>,
        (workspace, room): (&mut Workspace<T>, &mut Room<T>),
        g: Gradient<'_, T>,
    ) {
        self.net.begin_back(workspace, room);
        let (out, out_bar) = workspace.output_and_bar();
        let number = |block: usize, part: usize, j: usize| wide(out, block, self.places.at(part, j));
        for block in 0..step.blocks {
            let used = in_use(block, step.lanes);
            for (j, column) in self.change.iter().enumerate() {
                let (x, y) = (step.before.at(block, *column), step.after.at(block, *column));
                let l_bar = step.logdet_bar.at(block, 0);
                let bar = bar.at_mut(block, *column);
                match self.transform {
                    Transform::Additive => {
                        let sign = if step.way == Way::Forward { 1.0 } else { -1.0 };
                        let by = out_bar.at_mut(block, self.places.at(0, j));
                        (0..LANE_BLOCK).for_each(|l| by[l] = T::of(if l < used { sign * bar[l] } else { 0.0 }));
                    }
                    Transform::Affine { most } => {
                        let (raw, m) = (number(block, 0, j), number(block, 1, j));
                        let Scales { factor, derivative, .. } = scales(self.isa, &raw, most, step.way);
                        let (mut s_bar, mut m_bar) = ([0.0; LANE_BLOCK], [0.0; LANE_BLOCK]);
                        for l in 0..used {
                            let x_bar = bar[l] * factor[l];
                            (s_bar[l], m_bar[l]) = if step.way == Way::Forward {
                                (bar[l] * (y[l] - m[l]) + l_bar[l], bar[l])
                            } else {
                                (-bar[l] * y[l] - l_bar[l], -x_bar)
                            };
                            s_bar[l] *= derivative[l];
                            bar[l] = x_bar;
                        }
                        *out_bar.at_mut(block, self.places.at(0, j)) = s_bar.map(T::of);
                        *out_bar.at_mut(block, self.places.at(1, j)) = m_bar.map(T::of);
                    }
                    Transform::Spline { bins, bound } => {
                        let mut raw = [[0.0; LANE_BLOCK]; spline::MOST_NUMBERS];
                        let mut raw_bar = raw;
                        let raw = self.numbers(out, block, j, &mut raw);
                        // Lanes without a row have no part in any gradient.
                        let cut = |bar: &Slots| from_fn(|l| if l < used { bar[l] } else { 0.0 });
                        let bars: (&Slots, &Slots) = (&cut(bar), &cut(l_bar));
                        let from = if step.way == Way::Forward { x } else { y };
                        let rule = Rule { bins, bound };
                        *bar = spline::back(self.isa, raw, rule, step.way, from, bars, &mut raw_bar);
                        for (part, raw_bar) in raw_bar[..raw.len()].iter().enumerate() {
                            *out_bar.at_mut(block, self.places.at(part, j)) = raw_bar.map(T::of);
                        }
                    }
                }
            }
        }
        self.net.back(workspace, g.own, (bar, &self.pass), g.condition);
        self.net.end_back(workspace, room);
    }
}

/// s = most · tanh(r / most), e^±s in the requested direction, and ds/dr.
struct Scales {
    log: Slots,
    factor: Slots,
    derivative: Slots,
}

fn scales(isa: Isa, raw: &Slots, most: f64, way: Way) -> Scales {
    let mut out = Scales { log: [0.0; LANE_BLOCK], factor: [0.0; LANE_BLOCK], derivative: [0.0; LANE_BLOCK] };
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
            jet.first.write(&mut self.out.derivative, at);
            exp(log.mul(sign)).write(&mut self.out.factor, at);
        }
    }
}
