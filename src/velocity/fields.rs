//! The fields that an evaluator gives the solver: the velocity, its divergence (with penalties) as an integrand, or all
//! as one state.

use std::sync::atomic::{AtomicBool, Ordering};

use cnflow_solvers::lanes::stride_for;
use cnflow_solvers::{At, Jvp, Lanes, LanesMut, Real, VectorField, Vjp};

use super::{Cotangents, Count, Evaluator, Penalties, Regularisers};

/// dx/dt = m(x, t).
pub struct VelocityField<'a, T>(pub Box<dyn Evaluator<T> + 'a>);

impl<T: Real> VectorField<T> for VelocityField<'_, T> {
    fn dim(&self) -> usize {
        self.0.dim()
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, T>, out: LanesMut<'_, T>) {
        self.0.value(at, y, out);
    }
    fn tangents(&mut self) -> Option<&mut dyn Jvp<T>> {
        Some(self)
    }
}

impl<T: Real> Vjp<T> for VelocityField<'_, T> {
    fn grad_len(&self) -> usize {
        self.0.grad_len()
    }
    fn vjp(&mut self, at: At<'_>, y: Lanes<'_, T>, a: Lanes<'_, T>, gy: LanesMut<'_, T>, gp: &mut [T]) {
        self.0.pull_back(at, y, Some(a), None, gy, gp);
    }
}

impl<T: Real> Jvp<T> for VelocityField<'_, T> {
    fn jvp(&mut self, at: At<'_>, y: Lanes<'_, T>, dy: Lanes<'_, T>, out: LanesMut<'_, T>) {
        self.0.tangent(at, y, dy, out);
    }
}

/// The rows of the requested squares: the first ones of `data`.
fn squares_mut<T>(data: &mut [T], wanted: Penalties, lanes: usize, stride: usize) -> Regularisers<LanesMut<'_, T>> {
    let (first, second) = data.split_at_mut(usize::from(wanted.kinetic) * stride);
    Regularisers {
        kinetic: wanted.kinetic.then(|| LanesMut::new(first, 1, lanes, stride)),
        jacobian: wanted.jacobian.then(|| LanesMut::new(second, 1, lanes, stride)),
    }
}

/// The same rows of a cotangent, from row `from` on.
fn squares<T>(a: Lanes<'_, T>, from: usize, wanted: Penalties) -> Regularisers<Lanes<'_, T>> {
    let row = |i: usize| a.rows_of(i, i + 1);
    Regularisers {
        kinetic: wanted.kinetic.then(|| row(from)),
        jacobian: wanted.jacobian.then(|| row(from + usize::from(wanted.kinetic))),
    }
}

/// g = tr ∂m/∂x, or one estimate a probe: the integrand of the log-density; behind it the squares of penalties.
pub struct DivergenceIntegrand<'a, T> {
    evaluator: Box<dyn Evaluator<T> + 'a>,
    /// The velocity, which is computed with its divergence but not used here.
    value: Vec<T>,
    penalties: Penalties,
    /// Counts points once they are evaluated; the evaluator's own, more often, where it does so itself.
    counter: Option<Count>,
    /// Nothing is computed any more once this is true.
    stopped: Option<&'a AtomicBool>,
}

impl<'a, T: Real> DivergenceIntegrand<'a, T> {
    /// For tiles of up to `lanes` lanes.
    pub fn new(evaluator: Box<dyn Evaluator<T> + 'a>, lanes: usize) -> Self {
        let value = vec![T::ZERO; evaluator.dim() * stride_for(lanes)];
        Self { evaluator, value, penalties: Penalties::NONE, counter: None, stopped: None }
    }

    /// Counts the points at which it is evaluated.
    pub fn counted(mut self, counter: &Count) -> Self {
        self.counter = (!self.evaluator.count_in(counter)).then(|| counter.clone());
        self
    }

    /// Gives NaN at once when `stopped` is true: queues are worked off after a stop too.
    pub fn unless(self, stopped: &'a AtomicBool) -> Self {
        Self { stopped: Some(stopped), ..self }
    }

    /// With a row for each penalty.
    pub fn with(self, penalties: Penalties) -> Self {
        Self { penalties, ..self }
    }
}

impl<T: Real> VectorField<T> for DivergenceIntegrand<'_, T> {
    fn dim(&self) -> usize {
        self.evaluator.dim()
    }
    fn out_dim(&self) -> usize {
        self.evaluator.traces() + self.penalties.count()
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, T>, mut out: LanesMut<'_, T>) {
        if self.stopped.is_some_and(|stopped| stopped.load(Ordering::Relaxed)) {
            return out.data_mut().fill(T::of(f64::NAN));
        }
        let (traces, lanes, stride) = (self.evaluator.traces(), out.lanes(), out.stride());
        let (div, rest) = out.data_mut().split_at_mut(traces * stride);
        let div = LanesMut::new(div, traces, lanes, stride);
        let squares = squares_mut(rest, self.penalties, lanes, stride);
        let v = LanesMut::new(&mut self.value, self.evaluator.dim(), y.lanes(), y.stride());
        self.evaluator.value_divergence_and_squares(at, y, v, div, squares);
        if let Some(counter) = &self.counter {
            counter.add(lanes as u64 * Count::POINT);
        }
    }
}

impl<T: Real> Vjp<T> for DivergenceIntegrand<'_, T> {
    fn grad_len(&self) -> usize {
        self.evaluator.grad_len()
    }
    fn vjp(&mut self, at: At<'_>, y: Lanes<'_, T>, a: Lanes<'_, T>, gy: LanesMut<'_, T>, gp: &mut [T]) {
        let traces = self.evaluator.traces();
        let div = Some(a.rows_of(0, traces));
        let bar = Cotangents { v: None, div, squares: squares(a, traces, self.penalties) };
        self.evaluator.pull_back_all(at, y, bar, gy, gp);
    }
}

/// (x, ℓ, …)′ = (m, tr ∂m/∂x, …): the log-density is integrated as extra rows, one a trace, and behind it the
/// penalties.
pub struct AugmentedOde<'a, T>(pub Box<dyn Evaluator<T> + 'a>, pub Penalties);

impl<T: Real> VectorField<T> for AugmentedOde<'_, T> {
    fn dim(&self) -> usize {
        self.0.dim() + self.0.traces() + self.1.count()
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, T>, mut out: LanesMut<'_, T>) {
        let (d, traces) = (self.0.dim(), self.0.traces());
        let (lanes, stride) = (out.lanes(), out.stride());
        let (v, rest) = out.data_mut().split_at_mut(d * stride);
        let (div, rest) = rest.split_at_mut(traces * stride);
        self.0.value_divergence_and_squares(
            at,
            y.rows_of(0, d),
            LanesMut::new(v, d, lanes, stride),
            LanesMut::new(div, traces, lanes, stride),
            squares_mut(rest, self.1, lanes, stride),
        );
    }
}

impl<T: Real> Vjp<T> for AugmentedOde<'_, T> {
    fn grad_len(&self) -> usize {
        self.0.grad_len()
    }
    fn vjp(&mut self, at: At<'_>, y: Lanes<'_, T>, a: Lanes<'_, T>, mut gy: LanesMut<'_, T>, gp: &mut [T]) {
        let (d, rows) = (self.0.dim(), self.dim());
        let end = d + self.0.traces();
        let bar =
            Cotangents { v: Some(a.rows_of(0, d)), div: Some(a.rows_of(d, end)), squares: squares(a, end, self.1) };
        self.0.pull_back_all(at, y.rows_of(0, d), bar, gy.rows_of(0, d), gp);
        // The extra rows do not feed back into the state.
        gy.rows_of(d, rows).data_mut().fill(T::ZERO);
    }
}
