//! One trajectory's field, in the shape diffsol needs.
//!
//! diffsol integrates dy/ds = g(s, y) from s = 0 to the length of the span, always forward:
//! g(s, y) = ±f(t₀ ± s, y), the sign that of t₁ − t₀. So its rules for signed steps never apply,
//! time near the start has full resolution wherever t₀ lies, and no stage is evaluated past t₁.
//!
//! Our field owns its scratch (`&mut`), diffsol's operators are shared (`&self`): a `RefCell`
//! stands between. The Jacobian is one call with d lanes, each carrying a unit tangent, where
//! diffsol's closures would make d calls.

use std::cell::RefCell;

use diffsol::{
    ConstantOp, IndexType, NalgebraContext, NalgebraMat, NalgebraVec, NonLinearOp, NonLinearOpJacobian, OdeEquations,
    OdeEquationsRef, Op, UnitCallable,
};

use crate::field::{At, Jvp};
use crate::lanes::{Lanes, LanesMut, stride_for};
use crate::real::Real;

/// diffsol's matrix, with dense columns.
pub(super) type Mat = NalgebraMat<f64>;
/// diffsol's vector.
pub(super) type Vector = NalgebraVec<f64>;

/// What was evaluated so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Values of f.
    pub nfe: usize,
    /// Jacobians of f.
    pub jacobians: usize,
    /// A value or a Jacobian was NaN or infinite since the flag was last cleared.
    pub broke: bool,
    /// The s of the last value.
    pub last_s: f64,
}

/// The span, measured from its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Where it begins.
    pub t0: f64,
    /// Where it ends.
    pub t1: f64,
}

impl Span {
    /// |t₁ − t₀|.
    pub fn length(self) -> f64 {
        (self.t1 - self.t0).abs()
    }

    /// The sign of t₁ − t₀.
    pub fn direction(self) -> f64 {
        if self.t1 < self.t0 { -1.0 } else { 1.0 }
    }

    /// The time at distance `s` from the start; t₁ itself from the end on.
    pub fn time(self, s: f64) -> f64 {
        if s >= self.length() { self.t1 } else { self.t0 + self.direction() * s }
    }
}

/// The field and the tiles that it reads and writes.
struct Evaluator<'f, T> {
    field: &'f mut dyn Jvp<T>,
    span: Span,
    sample: Vec<usize>,
    t: Vec<f64>,
    y: Vec<T>,
    dy: Vec<T>,
    out: Vec<T>,
    counts: Counts,
}

impl<T: Real> Evaluator<'_, T> {
    /// Fills `lanes` lanes with the point (s, y).
    fn place(&mut self, s: f64, y: &[f64], lanes: usize) {
        self.t[..lanes].fill(self.span.time(s));
        let stride = stride_for(lanes);
        for (row, &value) in self.y.chunks_exact_mut(stride).zip(y) {
            row[..lanes].fill(T::of(value));
        }
    }

    fn value(&mut self, s: f64, y: &[f64], out: &mut [f64]) {
        self.place(s, y, 1);
        let (rows, stride) = (y.len(), stride_for(1));
        let at = At::new(&self.t[..1], &self.sample[..1]);
        self.field.eval(at, Lanes::new(&self.y, rows, 1, stride), LanesMut::new(&mut self.out, rows, 1, stride));
        self.counts.nfe += 1;
        self.counts.last_s = s;
        self.gather(out);
    }

    /// Takes lane 0 of the output, with the span's sign. One bad component spoils the whole value,
    /// so Newton's iteration cannot converge past it.
    fn gather(&mut self, out: &mut [f64]) {
        let sign = self.span.direction();
        for (value, row) in out.iter_mut().zip(self.out.chunks_exact(stride_for(1))) {
            *value = sign * row[0].to_f64();
        }
        if !out.iter().all(|value| value.is_finite()) {
            out.fill(f64::NAN);
            self.counts.broke = true;
        }
    }

    fn tangent(&mut self, s: f64, y: &[f64], dy: &[f64], out: &mut [f64]) {
        self.place(s, y, 1);
        let (rows, stride) = (y.len(), stride_for(1));
        for (row, &value) in self.dy.chunks_exact_mut(stride).zip(dy) {
            row[0] = T::of(value);
        }
        let at = At::new(&self.t[..1], &self.sample[..1]);
        self.field.jvp(
            at,
            Lanes::new(&self.y, rows, 1, stride),
            Lanes::new(&self.dy, rows, 1, stride),
            LanesMut::new(&mut self.out, rows, 1, stride),
        );
        self.gather(out);
    }

    fn jacobian(&mut self, s: f64, y: &[f64], out: &mut Mat) {
        let dim = y.len();
        let stride = stride_for(dim);
        self.place(s, y, dim);
        self.dy.fill(T::ZERO);
        for (j, row) in self.dy.chunks_exact_mut(stride).take(dim).enumerate() {
            row[j] = T::ONE;
        }
        let at = At::new(&self.t, &self.sample);
        self.field.jvp(
            at,
            Lanes::new(&self.y, dim, dim, stride),
            Lanes::new(&self.dy, dim, dim, stride),
            LanesMut::new(&mut self.out, dim, dim, stride),
        );
        self.counts.jacobians += 1;
        let sign = self.span.direction();
        for (i, row) in self.out.chunks_exact(stride).take(dim).enumerate() {
            for (j, &value) in row[..dim].iter().enumerate() {
                self.counts.broke |= !value.is_finite();
                out[(i, j)] = sign * value.to_f64();
            }
        }
    }
}

/// g(s, y) and its Jacobian.
pub(super) struct Rhs<'f, T> {
    evaluator: RefCell<Evaluator<'f, T>>,
    dim: usize,
    context: NalgebraContext,
}

/// y(0).
pub(super) struct Start {
    y0: Vec<f64>,
    context: NalgebraContext,
}

/// The problem in the shape diffsol takes: no mass matrix, no roots, no parameters.
pub(super) struct Equations<'f, T> {
    rhs: Rhs<'f, T>,
    start: Start,
}

impl<'f, T: Real> Equations<'f, T> {
    /// The trajectory of `sample` that leaves `y0` along `span`.
    pub fn new(field: &'f mut dyn Jvp<T>, sample: usize, y0: &[f64], span: Span) -> Self {
        let dim = y0.len();
        let context = NalgebraContext::default();
        let tile = dim * stride_for(dim.max(1));
        let evaluator = Evaluator {
            field,
            span,
            sample: vec![sample; dim.max(1)],
            t: vec![span.t0; dim.max(1)],
            y: vec![T::ZERO; tile],
            dy: vec![T::ZERO; tile],
            out: vec![T::ZERO; tile],
            counts: Counts::default(),
        };
        Self {
            rhs: Rhs { evaluator: RefCell::new(evaluator), dim, context },
            start: Start { y0: y0.to_vec(), context },
        }
    }

    /// out ← g(s, y).
    pub fn value(&self, s: f64, y: &[f64], out: &mut [f64]) {
        self.rhs.evaluator.borrow_mut().value(s, y, out);
    }

    /// What was evaluated so far.
    pub fn counts(&self) -> Counts {
        self.rhs.evaluator.borrow().counts
    }

    /// Forgets non-finite values met so far.
    pub fn clear_broke(&self) {
        self.rhs.evaluator.borrow_mut().counts.broke = false;
    }
}

macro_rules! shape {
    ($type:ty, |$self:ident| $dim:expr, $context:expr; $($generics:tt)*) => {
        impl<$($generics)*> Op for $type {
            type T = f64;
            type V = Vector;
            type M = Mat;
            type C = NalgebraContext;
            fn context(&self) -> &NalgebraContext {
                let $self = self;
                $context
            }
            fn nstates(&self) -> IndexType {
                let $self = self;
                $dim
            }
            fn nout(&self) -> IndexType {
                let $self = self;
                $dim
            }
            fn nparams(&self) -> IndexType {
                0
            }
        }
    };
}
shape!(Rhs<'f, T>, |op| op.dim, &op.context; 'f, T: Real);
shape!(Start, |op| op.y0.len(), &op.context; );
shape!(Equations<'f, T>, |op| op.rhs.dim, &op.rhs.context; 'f, T: Real);

impl<T: Real> NonLinearOp for Rhs<'_, T> {
    fn call_inplace(&self, x: &Vector, s: f64, y: &mut Vector) {
        self.evaluator.borrow_mut().value(s, x.batch_as_slice(0), y.batch_as_mut_slice(0));
    }
}

impl<T: Real> NonLinearOpJacobian for Rhs<'_, T> {
    fn jac_mul_inplace(&self, x: &Vector, s: f64, v: &Vector, y: &mut Vector) {
        self.evaluator.borrow_mut().tangent(s, x.batch_as_slice(0), v.batch_as_slice(0), y.batch_as_mut_slice(0));
    }
    fn jacobian_inplace(&self, x: &Vector, s: f64, y: &mut Mat) {
        self.evaluator.borrow_mut().jacobian(s, x.batch_as_slice(0), y);
    }
}

impl ConstantOp for Start {
    fn call_inplace(&self, _s: f64, y: &mut Vector) {
        y.batch_as_mut_slice(0).copy_from_slice(&self.y0);
    }
}

impl<'a, 'f, T: Real> OdeEquationsRef<'a> for Equations<'f, T> {
    type Mass = &'a UnitCallable<Mat>;
    type Rhs = &'a Rhs<'f, T>;
    type Root = &'a UnitCallable<Mat>;
    type Init = &'a Start;
    type Out = &'a UnitCallable<Mat>;
    type Reset = &'a UnitCallable<Mat>;
}

impl<T: Real> OdeEquations for Equations<'_, T> {
    fn rhs(&self) -> <Self as OdeEquationsRef<'_>>::Rhs {
        &self.rhs
    }
    fn mass(&self) -> Option<<Self as OdeEquationsRef<'_>>::Mass> {
        None
    }
    fn init(&self) -> <Self as OdeEquationsRef<'_>>::Init {
        &self.start
    }
    fn set_params(&mut self, _p: &Vector) {}
    fn get_params(&self, _p: &mut Vector) {}
}
