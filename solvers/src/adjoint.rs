//! The continuous adjoint: approximate, for comparison.
//!
//! λ(t) = dL/dy(t) obeys λ' = −(∂f/∂y)ᵀ λ − (∂g/∂y)ᵀ ℓ̄, solved backward together with y, which is recomputed
//! and so drifts from the path that was taken. The gradient by θ is a quadrature along the way.
//! Its error is that of the tolerance, not of round-off: train with [`crate::gradient`] instead.
//! Ref: Chen et al., *Neural Ordinary Differential Equations* (2018), appendix B; θ as a quadrature:
//! Kidger, Chen & Lyons, "*Hey, that's not an ODE*" (2021).

use crate::error::SolveError;
use crate::field::{At, VectorField, Vjp};
use crate::gauss::Gauss;
use crate::lanes::{Lanes, LanesMut, stride_for};
use crate::observe::{Observer, Step};
use crate::options::Options;
use crate::real::Real;

/// An integrand and the loss's derivative by its integrals, `[n, rows]`.
type Weighted<'a, T> = (Box<dyn Vjp<T> + 'a>, &'a [T]);

/// y and λ as one state of twice the rows.
struct Augmented<'a, T> {
    field: Box<dyn Vjp<T> + 'a>,
    integrand: Option<Weighted<'a, T>>,
    scratch: Vec<T>,
    pulled: Vec<T>,
    bar: Vec<T>,
}

/// ℓ̄ of each lane's trajectory, times its weight.
fn fill_bar<T: Real>(
    bar: &mut Vec<T>,
    source: &[T],
    rows: usize,
    at: At<'_>,
    stride: usize,
    weight: impl Fn(usize) -> f64,
) {
    bar.resize(rows * stride, T::ZERO);
    for (l, sample) in at.sample.iter().enumerate() {
        for r in 0..rows {
            bar[r * stride + l] = T::of(weight(l)) * source[sample * rows + r];
        }
    }
}

impl<T: Real> VectorField<T> for Augmented<'_, T> {
    fn dim(&self) -> usize {
        2 * self.field.dim()
    }

    fn eval(&mut self, at: At<'_>, y: Lanes<'_, T>, mut out: LanesMut<'_, T>) {
        let d = self.field.dim();
        let (n, stride) = (y.lanes(), y.stride());
        let (state, lambda) = (y.rows_of(0, d), y.rows_of(d, 2 * d));
        self.field.eval(at, state, out.rows_of(0, d));
        self.scratch.fill(T::ZERO);
        self.field.vjp(at, state, lambda, out.rows_of(d, 2 * d), &mut self.scratch);
        if let Some((g, bar)) = &mut self.integrand {
            let rows = g.out_dim();
            fill_bar(&mut self.bar, bar, rows, at, stride, |_| 1.0);
            self.pulled.resize(d * stride, T::ZERO);
            let pulled = LanesMut::new(&mut self.pulled, d, n, stride);
            g.vjp(at, state, Lanes::new(&self.bar, rows, n, stride), pulled, &mut self.scratch);
            let mut lower = out.rows_of(d, 2 * d);
            for (out, pulled) in lower.data_mut().iter_mut().zip(&self.pulled) {
                *out += *pulled;
            }
        }
        for out in out.rows_of(d, 2 * d).data_mut() {
            *out = -*out;
        }
    }
}

/// θ̄ = ∫ (∂f/∂θ)ᵀ λ + (∂g/∂θ)ᵀ ℓ̄ dt at the Gauss points of each step.
struct ThetaBar<'a, T> {
    field: Box<dyn Vjp<T> + 'a>,
    integrand: Option<Weighted<'a, T>>,
    rule: &'static Gauss,
    gp: &'a mut [T],
    column: Vec<T>,
    tile: Vec<T>,
    pulled: Vec<T>,
    bar: Vec<T>,
}

impl<T: Real> Observer<T> for ThetaBar<'_, T> {
    fn dense(&self) -> bool {
        true
    }

    fn accepted(&mut self, step: &dyn Step<T>) {
        let (d, n) = (self.field.dim(), self.rule.points());
        let stride = stride_for(n);
        self.tile.resize(2 * d * stride, T::ZERO);
        self.pulled.resize(d * stride, T::ZERO);
        let times: Vec<f64> = self.rule.nodes.iter().map(|theta| step.t() + theta * step.h()).collect();
        let samples = vec![step.sample(); n];
        // The solve runs from t₁ to t₀, the integral from t₀ to t₁.
        let weight = |l: usize| -step.h() * self.rule.weights[l];
        for (l, theta) in self.rule.nodes.iter().enumerate() {
            step.at(*theta, &mut self.column);
            for (r, value) in self.column.iter().enumerate() {
                let scale = if r < d { 1.0 } else { weight(l) };
                self.tile[r * stride + l] = T::of(scale) * *value;
            }
        }
        let at = At::new(&times, &samples);
        let tile = Lanes::new(&self.tile, 2 * d, n, stride);
        let pulled = LanesMut::new(&mut self.pulled, d, n, stride);
        self.field.vjp(at, tile.rows_of(0, d), tile.rows_of(d, 2 * d), pulled, self.gp);
        if let Some((g, bar)) = &mut self.integrand {
            let rows = g.out_dim();
            fill_bar(&mut self.bar, bar, rows, at, stride, weight);
            let pulled = LanesMut::new(&mut self.pulled, d, n, stride);
            g.vjp(at, tile.rows_of(0, d), Lanes::new(&self.bar, rows, n, stride), pulled, self.gp);
        }
    }
}

/// Makes a field; each call gives one with its own scratch.
pub type MakeVjp<'a, T> = &'a (dyn Fn() -> Box<dyn Vjp<T> + 'a> + Sync);

/// Pulls the loss's derivative back by the continuous adjoint equation, on the calling thread.
///
/// `span` is that of the solve whose end states are `ends` (`[n, dim]`), `end_bar` the loss's derivative by them;
/// `integrand` makes g and holds the derivative by its integrals, `[n, rows]`. The derivative by θ is added to
/// `gp`; the result is the derivative by the start states. Approximate: see the head of this file.
///
/// # Errors
/// As [`crate::solve()`]; and [`SolveError::Lane`] where a trajectory of the adjoint equation fails.
pub fn pull_back<T: Real>(
    field: MakeVjp<'_, T>,
    integrand: Option<(MakeVjp<'_, T>, &[T])>,
    ends: &[T],
    end_bar: &[T],
    span: (f64, f64),
    options: &Options,
    gp: &mut [T],
) -> Result<Vec<T>, SolveError> {
    let (f, f_theta) = (field(), field());
    let d = f.dim();
    let mut start = Vec::with_capacity(2 * ends.len());
    for (y, bar) in ends.chunks_exact(d).zip(end_bar.chunks_exact(d)) {
        start.extend_from_slice(y);
        start.extend_from_slice(bar);
    }
    let g_state = integrand.map(|(make, bar)| (make(), bar));
    let g_theta = integrand.map(|(make, bar)| (make(), bar));
    let scratch = vec![T::ZERO; f.grad_len()];
    let augmented = Augmented { field: f, integrand: g_state, scratch, pulled: Vec::new(), bar: Vec::new() };
    let theta_bar = ThetaBar {
        field: f_theta,
        integrand: g_theta,
        rule: Gauss::for_order(options.method.order),
        gp,
        column: vec![T::ZERO; 2 * d],
        tile: Vec::new(),
        pulled: Vec::new(),
        bar: Vec::new(),
    };
    let (y, reports) = crate::solve::solve_here(augmented, theta_bar, &start, (span.1, span.0), options)?;
    if let Some((row, failure)) = reports.iter().enumerate().find_map(|(row, r)| Some((row, r.status.err()?))) {
        return Err(SolveError::Lane { row, failure });
    }
    Ok(y.chunks_exact(2 * d).flat_map(|pair| pair[d..].to_vec()).collect())
}
