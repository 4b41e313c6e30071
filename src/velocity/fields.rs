//! An evaluator as the solver sees it: the velocity, its divergence as an integrand, or both as one state.

use cnf_solvers::lanes::stride_for;
use cnf_solvers::{At, Jvp, Lanes, LanesMut, Real, VectorField, Vjp};

use super::Evaluator;

/// dx/dt = m(x, t).
pub struct Motion<'a, T>(pub Box<dyn Evaluator<T> + 'a>);

impl<T: Real> VectorField<T> for Motion<'_, T> {
    fn dim(&self) -> usize {
        self.0.dim()
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, T>, out: LanesMut<'_, T>) {
        self.0.value(at, y, out);
    }
}

impl<T: Real> Vjp<T> for Motion<'_, T> {
    fn grad_len(&self) -> usize {
        self.0.grad_len()
    }
    fn vjp(&mut self, at: At<'_>, y: Lanes<'_, T>, a: Lanes<'_, T>, gy: LanesMut<'_, T>, gp: &mut [T]) {
        self.0.pull_back(at, y, Some(a), None, gy, gp);
    }
}

impl<T: Real> Jvp<T> for Motion<'_, T> {
    fn jvp(&mut self, at: At<'_>, y: Lanes<'_, T>, dy: Lanes<'_, T>, out: LanesMut<'_, T>) {
        self.0.tangent(at, y, dy, out);
    }
}

/// g = tr ∂m/∂x, or one estimate a probe: the integrand of the log-density.
pub struct Divergence<'a, T> {
    evaluator: Box<dyn Evaluator<T> + 'a>,
    /// The velocity comes along with its divergence; nobody asks for it here.
    value: Vec<T>,
}

impl<'a, T: Real> Divergence<'a, T> {
    /// For tiles of up to `lanes` lanes.
    pub fn new(evaluator: Box<dyn Evaluator<T> + 'a>, lanes: usize) -> Self {
        let value = vec![T::ZERO; evaluator.dim() * stride_for(lanes)];
        Self { evaluator, value }
    }
}

impl<T: Real> VectorField<T> for Divergence<'_, T> {
    fn dim(&self) -> usize {
        self.evaluator.dim()
    }
    fn out_dim(&self) -> usize {
        self.evaluator.traces()
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, T>, out: LanesMut<'_, T>) {
        let v = LanesMut::new(&mut self.value, self.evaluator.dim(), y.lanes(), y.stride());
        self.evaluator.value_and_divergence(at, y, v, out);
    }
}

impl<T: Real> Vjp<T> for Divergence<'_, T> {
    fn grad_len(&self) -> usize {
        self.evaluator.grad_len()
    }
    fn vjp(&mut self, at: At<'_>, y: Lanes<'_, T>, a: Lanes<'_, T>, gy: LanesMut<'_, T>, gp: &mut [T]) {
        self.evaluator.pull_back(at, y, None, Some(a), gy, gp);
    }
}

/// (x, ℓ)′ = (m, tr ∂m/∂x): the log-density rides along as extra rows, one a trace.
pub struct Coupled<'a, T>(pub Box<dyn Evaluator<T> + 'a>);

impl<T: Real> VectorField<T> for Coupled<'_, T> {
    fn dim(&self) -> usize {
        self.0.dim() + self.0.traces()
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, T>, mut out: LanesMut<'_, T>) {
        let (d, rows) = (self.0.dim(), self.dim());
        let (lanes, stride) = (out.lanes(), out.stride());
        let (v, div) = out.data_mut().split_at_mut(d * stride);
        let div = LanesMut::new(div, rows - d, lanes, stride);
        self.0.value_and_divergence(at, y.rows_of(0, d), LanesMut::new(v, d, lanes, stride), div);
    }
}

impl<T: Real> Vjp<T> for Coupled<'_, T> {
    fn grad_len(&self) -> usize {
        self.0.grad_len()
    }
    fn vjp(&mut self, at: At<'_>, y: Lanes<'_, T>, a: Lanes<'_, T>, mut gy: LanesMut<'_, T>, gp: &mut [T]) {
        let (d, rows) = (self.0.dim(), self.dim());
        let (v_bar, div_bar) = (a.rows_of(0, d), a.rows_of(d, rows));
        self.0.pull_back(at, y.rows_of(0, d), Some(v_bar), Some(div_bar), gy.rows_of(0, d), gp);
        // ℓ feeds back into nothing.
        gy.rows_of(d, rows).data_mut().fill(T::ZERO);
    }
}
