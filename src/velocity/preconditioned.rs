//! A velocity that is a Gaussian's exactly and a net for the rest: v = a(t) x + b(t) net(c(t) x, t), with the
//! coefficients of [`GaussianPath`].
//!
//! Everything follows from the net's own results n at y = c x by the chain rule, with κ = b c and J = ∂n/∂y:
//!
//! ∂v/∂x = a I + κ J,  div v = d a + κ tr J,  ‖∂v/∂x‖² = d a² + 2 a κ tr J + κ² ‖J‖².
//!
//! Where the net's trace or norm is an estimate by probes, so are these, with d where a probe has eᵀe: they are
//! unbiased still, since E\[eᵀe\] = d. For random signs eᵀe = d, and the estimate of the norm is the mean of |(∂v/∂x)
//! e|². It is not a square, and can be negative, for Gaussian probes, and where the net's trace is exact and its norm
//! is estimated.

use cnflow_solvers::lanes::stride_for;
use cnflow_solvers::{At, Lanes, LanesMut, Real};

use super::gaussian::{Coefficients, GaussianPath};
use super::{Batch, Cotangents, Count, Evaluator, Regularisers, TangentCotangents, TangentsBack, Velocity};
use crate::Error;

/// A net within a Gaussian's velocity, with its weights.
pub struct Preconditioned<T> {
    gaussian: GaussianPath,
    net: Box<dyn Velocity<T>>,
}

impl<T: Real> Preconditioned<T> {
    /// The velocity around `net`.
    pub fn new(gaussian: GaussianPath, net: Box<dyn Velocity<T>>) -> Self {
        Self { gaussian, net }
    }
}

impl<T: Real> Velocity<T> for Preconditioned<T> {
    fn dim(&self) -> usize {
        self.net.dim()
    }

    fn condition_dim(&self) -> usize {
        self.net.condition_dim()
    }

    fn n_params(&self) -> usize {
        self.net.n_params()
    }

    fn grad_len(&self) -> usize {
        self.net.grad_len()
    }

    fn fold_gradient(&self, gradient: &mut [T]) {
        self.net.fold_gradient(gradient);
    }

    fn multiplications(&self) -> usize {
        self.net.multiplications()
    }

    fn lane_by_lane(&self) -> bool {
        self.net.lane_by_lane()
    }

    fn time_rate(&self) -> f64 {
        self.net.time_rate().max(self.gaussian.time_rate())
    }

    fn take_failure(&self) -> Option<Error> {
        self.net.take_failure()
    }

    fn evaluator<'a>(&'a self, batch: Batch<'a, T>) -> Box<dyn Evaluator<T> + 'a> {
        let net = self.net.evaluator(batch);
        let (stride, d, traces) = (stride_for(batch.lanes), net.dim(), net.traces());
        let rows = |n: usize| vec![T::ZERO; n * stride];
        let scales = Vec::with_capacity(batch.lanes);
        let (y, n, v_bar, traces_bar, norm_bar) = (rows(d), rows(d), rows(d), rows(traces), rows(1));
        let (gaussian, ends_bar) = (self.gaussian, Vec::new());
        Box::new(PreconditionedEvaluator { gaussian, net, scales, y, n, v_bar, traces_bar, norm_bar, ends_bar })
    }
}

/// a, b and c of a lane, in the net's precision.
#[derive(Clone, Copy)]
struct Scales<T> {
    a: T,
    b: T,
    c: T,
}

struct PreconditionedEvaluator<'a, T> {
    gaussian: GaussianPath,
    net: Box<dyn Evaluator<T> + 'a>,
    /// One a lane.
    scales: Vec<Scales<T>>,
    /// c x, the input of the net, `[d, stride]`.
    y: Vec<T>,
    /// What the net returns, or its cotangent, `[d, stride]`.
    n: Vec<T>,
    /// The cotangent of v, where that of |v|² is part of it.
    v_bar: Vec<T>,
    /// Cotangents of the net's traces and norm.
    traces_bar: Vec<T>,
    norm_bar: Vec<T>,
    /// Cotangents of the net's tangents, `[k d, stride]`; grows when they are first needed.
    ends_bar: Vec<T>,
}

/// `to[i]` ← f(scales of the lane, `from[i]`), row by row.
fn map<T: Real>(scales: &[Scales<T>], from: Lanes<'_, T>, to: &mut LanesMut<'_, T>, f: impl Fn(Scales<T>, T) -> T) {
    for i in 0..from.rows() {
        for ((to, from), scale) in to.row_mut(i).iter_mut().zip(from.row(i)).zip(scales) {
            *to = f(*scale, *from);
        }
    }
}

/// `to[i]` ← f(scales of the lane, `to[i]`, `with[i]`), row by row.
fn join<T: Real>(scales: &[Scales<T>], to: &mut LanesMut<'_, T>, with: Lanes<'_, T>, f: impl Fn(Scales<T>, T, T) -> T) {
    for i in 0..with.rows() {
        for ((to, with), scale) in to.row_mut(i).iter_mut().zip(with.row(i)).zip(scales) {
            *to = f(*scale, *to, *with);
        }
    }
}

impl<T: Real> PreconditionedEvaluator<'_, T> {
    /// Takes the scales of the lanes and `self.y` ← c x; returns the stride of the scratch in this call.
    fn load(&mut self, at: At<'_>, x: Lanes<'_, T>) -> usize {
        let of = |t: &f64| {
            let Coefficients { a, b, c } = self.gaussian.at(*t);
            Scales { a: T::of(a), b: T::of(b), c: T::of(c) }
        };
        self.scales.clear();
        self.scales.extend(at.t.iter().map(of));
        let (lanes, stride) = (at.lanes(), stride_for(at.lanes()));
        let mut y = LanesMut::new(&mut self.y, x.rows(), lanes, stride);
        map(&self.scales, x, &mut y, |s, x| s.c * x);
        stride
    }
}

impl<T: Real> Evaluator<T> for PreconditionedEvaluator<'_, T> {
    fn dim(&self) -> usize {
        self.net.dim()
    }

    fn traces(&self) -> usize {
        self.net.traces()
    }

    fn count_in(&mut self, counter: &Count) -> bool {
        self.net.count_in(counter)
    }

    fn grad_len(&self) -> usize {
        self.net.grad_len()
    }

    fn value(&mut self, at: At<'_>, x: Lanes<'_, T>, mut v: LanesMut<'_, T>) {
        let stride = self.load(at, x);
        let y = Lanes::new(&self.y, x.rows(), at.lanes(), stride);
        self.net.value(at, y, v.reborrow());
        join(&self.scales, &mut v, x, |s, n, x| s.a * x + s.b * n);
    }

    fn value_divergence_and_squares(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        mut div: LanesMut<'_, T>,
        squares: Regularisers<LanesMut<'_, T>>,
    ) {
        let (stride, lanes) = (self.load(at, x), at.lanes());
        let y = Lanes::new(&self.y, x.rows(), lanes, stride);
        let Regularisers { kinetic, mut jacobian } = squares;
        let of_net = Regularisers { kinetic: None, jacobian: jacobian.as_mut().map(LanesMut::reborrow) };
        self.net.value_divergence_and_squares(at, y, v.reborrow(), div.reborrow(), of_net);
        join(&self.scales, &mut v, x, |s, n, x| s.a * x + s.b * n);
        let (d, traces) = (T::of(x.rows() as f64), div.rows());
        if let Some(mut jacobian) = jacobian {
            let share = T::of(2.0 / traces as f64);
            let norm = jacobian.row_mut(0);
            for (l, s) in self.scales.iter().enumerate() {
                let trace: T = (0..traces).map(|k| div.row(k)[l]).sum();
                let by = s.b * s.c;
                norm[l] = d * s.a * s.a + share * s.a * by * trace + by * by * norm[l];
            }
        }
        for k in 0..traces {
            let row = div.row_mut(k).iter_mut().zip(&self.scales);
            row.for_each(|(div, s)| *div = d * s.a + s.b * s.c * *div);
        }
        if let Some(mut kinetic) = kinetic {
            for (l, speed) in kinetic.row_mut(0)[..lanes].iter_mut().enumerate() {
                *speed = (0..x.rows()).map(|i| v.row(i)[l] * v.row(i)[l]).sum();
            }
        }
    }

    fn tangent(&mut self, at: At<'_>, x: Lanes<'_, T>, dx: Lanes<'_, T>, mut dv: LanesMut<'_, T>) {
        let stride = self.load(at, x);
        let y = Lanes::new(&self.y, x.rows(), at.lanes(), stride);
        self.net.tangent(at, y, dx, dv.reborrow());
        join(&self.scales, &mut dv, dx, |s, dn, dx| s.a * dx + s.b * s.c * dn);
    }

    fn value_and_tangents(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        dx: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        mut dv: LanesMut<'_, T>,
    ) {
        let (stride, d) = (self.load(at, x), x.rows());
        let y = Lanes::new(&self.y, d, at.lanes(), stride);
        self.net.value_and_tangents(at, y, dx, v.reborrow(), dv.reborrow());
        join(&self.scales, &mut v, x, |s, n, x| s.a * x + s.b * n);
        join(&self.scales, &mut dv, dx, |s, dn, dx| s.a * dx + s.b * s.c * dn);
    }

    fn tangents_back(&mut self) -> Option<&mut dyn TangentsBack<T>> {
        if self.net.tangents_back().is_some() { Some(self) } else { None }
    }

    fn value_and_gradient(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        v_bar: LanesMut<'_, T>,
        cotangent: &mut dyn FnMut(Lanes<'_, T>, LanesMut<'_, T>),
        g: &mut [T],
    ) {
        let (stride, d, lanes) = (self.load(at, x), x.rows(), at.lanes());
        let Self { net, scales, y, n, .. } = self;
        let (y, n) = (Lanes::new(y, d, lanes, stride), LanesMut::new(n, d, lanes, stride));
        let mut through = |n: Lanes<'_, T>, mut bar: LanesMut<'_, T>| {
            map(scales, n, &mut v, |s, n| s.b * n);
            join(scales, &mut v, x, |s, n, x| s.a * x + n);
            cotangent(v.as_lanes(), bar.reborrow());
            for i in 0..d {
                bar.row_mut(i).iter_mut().zip(scales.iter()).for_each(|(bar, s)| *bar *= s.b);
            }
        };
        net.value_and_gradient(at, y, n, v_bar, &mut through, g);
    }

    fn pull_back_all(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        bar: Cotangents<'_, T>,
        mut gx: LanesMut<'_, T>,
        g: &mut [T],
    ) {
        let (stride, d, lanes) = (self.load(at, x), x.rows(), at.lanes());
        let Self { net, scales, y, n, v_bar, traces_bar, norm_bar, .. } = self;
        let y = Lanes::new(y, d, lanes, stride);
        let Cotangents { v, div, squares: Regularisers { kinetic, jacobian } } = bar;
        // The cotangent of v, that of |v|² included, which holds v.
        let v = match kinetic {
            None => v,
            Some(kinetic) => {
                net.value(at, y, LanesMut::new(n, d, lanes, stride));
                let (n, mut total) = (Lanes::new(n, d, lanes, stride), LanesMut::new(v_bar, d, lanes, stride));
                map(scales, n, &mut total, |s, n| s.b * n);
                join(scales, &mut total, x, |s, n, x| T::of(2.0) * (s.a * x + n));
                for i in 0..d {
                    total.row_mut(i)[..lanes].iter_mut().zip(kinetic.row(0)).for_each(|(v, bar)| *v *= *bar);
                }
                if let Some(v) = v {
                    join(scales, &mut total, v, |_, total, v| total + v);
                }
                Some(Lanes::new(v_bar, d, lanes, stride))
            }
        };
        let n_bar = v.map(|v| {
            map(scales, v, &mut LanesMut::new(n, d, lanes, stride), |s, v| s.b * v);
            Lanes::new(n, d, lanes, stride)
        });
        let traces = net.traces();
        let div = (div.is_some() || jacobian.is_some()).then(|| {
            let share = T::of(2.0 / traces as f64);
            for k in 0..traces {
                for (l, s) in scales.iter().enumerate() {
                    let of_div = div.map_or(T::ZERO, |div| div.row(k)[l]);
                    let of_norm = jacobian.map_or(T::ZERO, |norm| share * s.a * norm.row(0)[l]);
                    traces_bar[k * stride + l] = s.b * s.c * (of_div + of_norm);
                }
            }
            Lanes::new(traces_bar, traces, lanes, stride)
        });
        let jacobian = jacobian.map(|norm| {
            map(scales, norm, &mut LanesMut::new(norm_bar, 1, lanes, stride), |s, bar| s.b * s.c * (s.b * s.c) * bar);
            Lanes::new(norm_bar, 1, lanes, stride)
        });
        let of_net = Cotangents { v: n_bar, div, squares: Regularisers { kinetic: None, jacobian } };
        net.pull_back_all(at, y, of_net, gx.reborrow(), g);
        for i in 0..d {
            gx.row_mut(i).iter_mut().zip(scales.iter()).for_each(|(gx, s)| *gx *= s.c);
        }
        if let Some(v) = v {
            join(scales, &mut gx, v, |s, gx, v| gx + s.a * v);
        }
    }
}

impl<T: Real> TangentsBack<T> for PreconditionedEvaluator<'_, T> {
    fn pull_back_tangents(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        dx: Lanes<'_, T>,
        bar: TangentCotangents<'_, T>,
        (mut gx, mut gdx): (LanesMut<'_, T>, LanesMut<'_, T>),
        g: &mut [T],
    ) {
        let (stride, d, lanes) = (self.load(at, x), x.rows(), at.lanes());
        let Self { net, scales, y, n, ends_bar, .. } = self;
        let y = Lanes::new(y, d, lanes, stride);
        ends_bar.resize(dx.rows() * stride, T::ZERO);
        map(scales, bar.v, &mut LanesMut::new(n, d, lanes, stride), |s, v| s.b * v);
        map(scales, bar.dv, &mut LanesMut::new(ends_bar, dx.rows(), lanes, stride), |s, dv| s.b * s.c * dv);
        let of_net = TangentCotangents {
            v: Lanes::new(n, d, lanes, stride),
            dv: Lanes::new(ends_bar, dx.rows(), lanes, stride),
        };
        // `tangents_back` gives this pull-back only where the net has one.
        if let Some(net) = net.tangents_back() {
            net.pull_back_tangents(at, y, dx, of_net, (gx.reborrow(), gdx.reborrow()), g);
        }
        // The net's is by y = c x; rows behind the first d are by the condition.
        for i in 0..d {
            gx.row_mut(i).iter_mut().zip(scales.iter()).for_each(|(gx, s)| *gx *= s.c);
        }
        join(scales, &mut gx, bar.v, |s, gx, v| gx + s.a * v);
        join(scales, &mut gdx, bar.dv, |s, gdx, dv| gdx + s.a * dv);
    }
}
