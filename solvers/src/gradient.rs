//! The exact gradient of what was computed: discretise, then optimise.
//!
//! With the accepted steps on a [`Tape`] and step sizes taken as constants, a step
//! y₁ = y + h Σ bᵢ kᵢ, kᵢ = f(t + cᵢh, Yᵢ), Yᵢ = y + h Σ aᵢⱼ kⱼ, is pulled back from the last stage to the first:
//!
//! k̄ᵢ = h bᵢ λ + h Σ_{j>i} aⱼᵢ Ȳⱼ,   Ȳᵢ = (∂f/∂y)ᵀ k̄ᵢ,   θ̄ += (∂f/∂θ)ᵀ k̄ᵢ,   λ ← λ + Σ Ȳᵢ.
//!
//! A quadrature along the step adds, for each of its points y(θ) = y + h Σ bᵢ(θ) kᵢ, the pull-back x̄ of the
//! integrand: k̄ᵢ += h bᵢ(θ) x̄ and λ += x̄.  Ref: Sanz-Serna, *Symplectic Runge-Kutta schemes for adjoint
//! equations* (2016), section 3.

use std::ops::Range;

use crate::field::{At, Vjp};
use crate::gauss::Gauss;
use crate::lanes::{Lanes, LanesMut, stride_for};
use crate::real::Real;
use crate::tape::Tape;

/// A quadrature whose integrals enter the loss: the integrand, the rule it was integrated with (one panel a
/// step), and the loss's derivative `bar` by the integrals, `[n, rows]`.
pub struct Integrand<'a, T> {
    /// g, whose gradient buffer is that of the field.
    pub g: &'a mut (dyn Vjp<T> + 'a),
    /// As in [`crate::Quadrature::new`].
    pub rule: &'static Gauss,
    /// `[n, g.out_dim()]`, row-major.
    pub bar: &'a [T],
}

/// Pulls the loss's derivative by the end states back to the start states and the parameters.
///
/// `end_bar` is `[n, dim]`; the result is the derivative by the start states, `[n, dim]`; the derivative by
/// θ is added to `gp`, in an order that only the batch decides. Trajectories without a step on the tape
/// (spans of length zero) pass through; those that failed contribute nothing and get zeros.
pub fn pull_back<T: Real>(
    tape: &Tape<T>,
    field: &mut dyn Vjp<T>,
    integrand: Option<Integrand<'_, T>>,
    end_bar: &[T],
    lanes: usize,
    gp: &mut [T],
) -> Vec<T> {
    let n = end_bar.len() / tape.dim.max(1);
    let mut steps: Vec<Vec<usize>> = vec![Vec::new(); n];
    for (i, record) in tape.records.iter().enumerate() {
        steps[record.sample].push(i);
    }
    for sample in tape.failed() {
        steps[*sample].clear();
    }
    let mut start_bar = end_bar.to_vec();
    for sample in tape.failed() {
        start_bar[sample * tape.dim..(sample + 1) * tape.dim].fill(T::ZERO);
    }
    let mut waiting = (0..n).filter(|sample| !steps[*sample].is_empty()).collect::<Vec<_>>().into_iter();
    let mut sweep = Sweep::new(tape, integrand, lanes);
    loop {
        while sweep.under_way.len() < lanes {
            let Some(sample) = waiting.next() else { break };
            sweep.admit(sample, steps[sample].len(), &end_bar[sample * tape.dim..(sample + 1) * tape.dim]);
        }
        if sweep.under_way.is_empty() {
            return start_bar;
        }
        sweep.load(&steps);
        sweep.step(field, gp);
        sweep.retire(&mut start_bar);
    }
}

/// The lanes of the backward sweep.
struct Sweep<'t, 'i, T> {
    tape: &'t Tape<T>,
    integrand: Option<Integrand<'i, T>>,
    /// Stages whose slope reaches the result.
    live: Vec<bool>,
    /// bᵢ(θ_q) of the integrand's points: `[point][stage]`.
    dense: Vec<Vec<T>>,
    stride: usize,
    /// (sample, steps left).
    under_way: Vec<(usize, usize)>,
    lambda: Vec<T>,
    next_lambda: Vec<T>,
    y: Vec<T>,
    k: Vec<T>,
    k_bar: Vec<T>,
    state: Vec<T>,
    pulled: Vec<T>,
    bar: Vec<T>,
    t: Vec<f64>,
    stage_t: Vec<f64>,
    h: Vec<T>,
    h_wide: Vec<f64>,
    samples: Vec<usize>,
}

impl<'t, 'i, T: Real> Sweep<'t, 'i, T> {
    fn new(tape: &'t Tape<T>, integrand: Option<Integrand<'i, T>>, lanes: usize) -> Self {
        let (stride, tableau) = (stride_for(lanes), tape.tableau);
        let stages = tableau.a.len();
        let dense: Vec<Vec<T>> = integrand.as_ref().map_or(Vec::new(), |integrand| {
            let at = |theta: f64, p: &[f64]| T::of(p.iter().rev().fold(0.0, |sum, c| (sum + c) * theta));
            integrand.rule.nodes.iter().map(|theta| tableau.dense.iter().map(|p| at(*theta, p)).collect()).collect()
        });
        let mut live = vec![false; stages];
        for i in (0..stages).rev() {
            live[i] = tableau.b.get(i).is_some_and(|b| *b != 0.0)
                || dense.iter().any(|weights| weights[i] != T::ZERO)
                || (i + 1..stages).any(|j| live[j] && tableau.a[j][i] != 0.0);
        }
        let slots = || vec![T::ZERO; tape.dim * stride];
        let rows = integrand.as_ref().map_or(0, |integrand| integrand.g.out_dim());
        Self {
            tape,
            integrand,
            live,
            dense,
            stride,
            under_way: Vec::with_capacity(lanes),
            lambda: slots(),
            next_lambda: slots(),
            y: slots(),
            k: vec![T::ZERO; stages * tape.dim * stride],
            k_bar: vec![T::ZERO; stages * tape.dim * stride],
            state: slots(),
            pulled: slots(),
            bar: vec![T::ZERO; rows * stride],
            t: vec![0.0; stride],
            stage_t: vec![0.0; stride],
            h: vec![T::ZERO; stride],
            h_wide: vec![0.0; stride],
            samples: vec![0; stride],
        }
    }

    fn admit(&mut self, sample: usize, steps: usize, end_bar: &[T]) {
        let l = self.under_way.len();
        for (r, bar) in end_bar.iter().enumerate() {
            self.lambda[r * self.stride + l] = *bar;
        }
        self.under_way.push((sample, steps));
    }

    /// Fetches each lane's next step, last first.
    fn load(&mut self, steps: &[Vec<usize>]) {
        let (dim, stride, width) = (self.tape.dim, self.stride, self.tape.width());
        for (l, (sample, left)) in self.under_way.iter_mut().enumerate() {
            *left -= 1;
            let index = steps[*sample][*left];
            let record = self.tape.records[index];
            (self.t[l], self.h_wide[l], self.h[l]) = (record.t, record.h, T::of(record.h));
            self.samples[l] = *sample;
            let column = &self.tape.states[index * width..(index + 1) * width];
            for (r, value) in column[..dim].iter().enumerate() {
                self.y[r * stride + l] = *value;
            }
            for (r, value) in column[dim..].iter().enumerate() {
                self.k[r * stride + l] = *value;
            }
        }
    }

    /// state ← y + h Σ wᵢ kᵢ, as the solve computed it.
    fn combine(&mut self, weights: impl Fn(usize) -> T, stages: usize) {
        let n = self.under_way.len();
        let size = self.tape.dim * self.stride;
        for r in 0..self.tape.dim {
            let row = r * self.stride..r * self.stride + n;
            self.pulled[row.clone()].fill(T::ZERO);
            for i in 0..stages {
                let weight = weights(i);
                if weight != T::ZERO {
                    axpy(&mut self.pulled[row.clone()], weight, &self.k[i * size..][row.clone()]);
                }
            }
            for l in 0..n {
                let i = row.start + l;
                self.state[i] = self.y[i] + self.h[l] * self.pulled[i];
            }
        }
    }

    /// λ' += x̄ and k̄ᵢ += h wᵢ x̄, where x̄ is what was pulled back through y + h Σ wᵢ kᵢ.
    fn spread(&mut self, weights: impl Fn(usize) -> T, stages: usize) {
        let n = self.under_way.len();
        let size = self.tape.dim * self.stride;
        for r in 0..self.tape.dim {
            let row = r * self.stride..r * self.stride + n;
            axpy(&mut self.next_lambda[row.clone()], T::ONE, &self.pulled[row.clone()]);
            for i in 0..stages {
                let weight = weights(i);
                if weight != T::ZERO {
                    let bar = &mut self.k_bar[i * size..][row.clone()];
                    for ((bar, h), x) in bar.iter_mut().zip(&self.h[..n]).zip(&self.pulled[row.clone()]) {
                        *bar += *h * (weight * *x);
                    }
                }
            }
        }
    }

    fn step(&mut self, field: &mut dyn Vjp<T>, gp: &mut [T]) {
        let tableau = self.tape.tableau;
        let (n, dim, stride) = (self.under_way.len(), self.tape.dim, self.stride);
        let size = dim * stride;
        let all = tableau.a.len();
        self.next_lambda.copy_from_slice(&self.lambda);
        self.k_bar.fill(T::ZERO);
        for (i, b) in tableau.b.iter().enumerate() {
            for r in 0..dim {
                let row = r * stride..r * stride + n;
                let bar = &mut self.k_bar[i * size..][row.clone()];
                for ((bar, h), lambda) in bar.iter_mut().zip(&self.h[..n]).zip(&self.lambda[row]) {
                    *bar = *h * (T::of(*b) * *lambda);
                }
            }
        }
        if let Some(mut integrand) = self.integrand.take() {
            self.points(&mut integrand, gp);
            self.integrand = Some(integrand);
        }
        for i in (0..all).rev() {
            if !self.live[i] {
                continue;
            }
            let row: &[f64] = tableau.a[i];
            self.combine(|j| T::of(row[j]), i);
            self.set_times(|l, me| me.t[l] + tableau.c[i] * me.h_wide[l]);
            field.vjp(
                At::new(&self.stage_t[..n], &self.samples[..n]),
                Lanes::new(&self.state, dim, n, stride),
                Lanes::new(&self.k_bar[i * size..(i + 1) * size], dim, n, stride),
                LanesMut::new(&mut self.pulled, dim, n, stride),
                gp,
            );
            self.spread(|j| T::of(row[j]), i);
        }
        std::mem::swap(&mut self.lambda, &mut self.next_lambda);
    }

    /// The points of the quadrature.
    fn points(&mut self, integrand: &mut Integrand<'_, T>, gp: &mut [T]) {
        let (n, dim, stride) = (self.under_way.len(), self.tape.dim, self.stride);
        let rows = integrand.g.out_dim();
        let all = self.tape.tableau.a.len();
        let dense = std::mem::take(&mut self.dense);
        for ((theta, w), weights) in integrand.rule.nodes.iter().zip(integrand.rule.weights).zip(&dense) {
            self.combine(|i| weights[i], all);
            self.set_times(|l, me| me.t[l] + theta * me.h_wide[l]);
            for l in 0..n {
                for r in 0..rows {
                    let bar = integrand.bar[self.samples[l] * rows + r];
                    self.bar[r * stride + l] = T::of(self.h_wide[l] * w) * bar;
                }
            }
            integrand.g.vjp(
                At::new(&self.stage_t[..n], &self.samples[..n]),
                Lanes::new(&self.state, dim, n, stride),
                Lanes::new(&self.bar, rows, n, stride),
                LanesMut::new(&mut self.pulled, dim, n, stride),
                gp,
            );
            self.spread(|i| weights[i], all);
        }
        self.dense = dense;
    }

    fn set_times(&mut self, time: impl Fn(usize, &Self) -> f64) {
        for l in 0..self.under_way.len() {
            self.stage_t[l] = time(l, self);
        }
    }

    fn retire(&mut self, start_bar: &mut [T]) {
        let (dim, stride) = (self.tape.dim, self.stride);
        let mut l = 0;
        while l < self.under_way.len() {
            let (sample, left) = self.under_way[l];
            if left > 0 {
                l += 1;
                continue;
            }
            let last = self.under_way.len() - 1;
            self.under_way.swap_remove(l);
            for r in 0..dim {
                start_bar[sample * dim + r] = self.lambda[r * stride + l];
                self.lambda[r * stride + l] = self.lambda[r * stride + last];
            }
        }
    }
}

/// y ← y + a x.
fn axpy<T: Real>(y: &mut [T], a: T, x: &[T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * *x;
    }
}

/// Chunks of a batch whose gradients are summed up each on its own: the sum's order depends on the batch
/// alone, never on threads.
pub fn chunks(n: usize, size: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    (0..n.div_ceil(size.max(1))).map(move |i| i * size..((i + 1) * size).min(n))
}

/// Adds up the chunks' gradients along a fixed binary tree; empty for no chunk.
pub fn tree_sum<T: Real>(mut parts: Vec<Vec<T>>) -> Vec<T> {
    let mut gap = 1;
    while gap < parts.len() {
        let mut i = 0;
        while i + gap < parts.len() {
            let (left, right) = parts.split_at_mut(i + gap);
            axpy(&mut left[i], T::ONE, &right[0]);
            i += 2 * gap;
        }
        gap *= 2;
    }
    if parts.is_empty() { Vec::new() } else { parts.swap_remove(0) }
}
