//! Non-stiff problems whose solution is known: what the laws of the explicit solver are measured on.
//!
//! `Truth::Closed` is a formula, `Truth::End` the state at `t1` (of this folder's detest_reference.py, scipy 1.17
//! DOP853 at rtol 1e-13, good to the 1e-10 or better that it prints; or of the source that is named).

#![allow(dead_code, unused_imports)] // each test binary uses its part

mod detest;
mod others;
mod worst;

pub use detest::DETEST;
pub use others::{ARENSTORF, BRUSSELATOR, LINEAR, LORENZ, PLEIADES, SLOPES};
pub use worst::Worst;

use cnflow_solvers::{At, Lanes, LanesMut, Real, VectorField};

/// f(t, y) into its last argument.
pub type Rhs = fn(f64, &[f64], &mut [f64]);

/// How the solution is known.
#[derive(Clone, Copy)]
pub enum Truth {
    /// At any time.
    Closed(fn(f64) -> Vec<f64>),
    /// At the end of the span.
    End(&'static [f64]),
}

/// y' = f(t, y), y(t0) = y0, up to t1.
#[derive(Clone, Copy)]
pub struct Problem {
    pub name: &'static str,
    pub f: Rhs,
    pub t0: f64,
    pub t1: f64,
    pub y0: &'static [f64],
    pub truth: Truth,
}

impl Problem {
    pub fn dim(&self) -> usize {
        self.y0.len()
    }

    /// The true state at the end.
    pub fn end(&self) -> Vec<f64> {
        match self.truth {
            Truth::Closed(y) => y(self.t1),
            Truth::End(y) => y.to_vec(),
        }
    }

    pub fn field(&self) -> Field<Rhs> {
        Field::new(self.dim(), self.f)
    }
}

/// A function of one trajectory as a field on lanes, evaluated in f64 whatever the state's type.
pub struct Field<F> {
    f: F,
    y: Vec<f64>,
    dy: Vec<f64>,
    /// Evaluations of single lanes.
    pub evals: usize,
}

impl<F: FnMut(f64, &[f64], &mut [f64])> Field<F> {
    pub fn new(dim: usize, f: F) -> Self {
        Self { f, y: vec![0.0; dim], dy: vec![0.0; dim], evals: 0 }
    }
}

impl<T: Real, F: FnMut(f64, &[f64], &mut [f64])> VectorField<T> for Field<F> {
    fn dim(&self) -> usize {
        self.y.len()
    }

    fn eval(&mut self, at: At<'_>, y: Lanes<'_, T>, mut out: LanesMut<'_, T>) {
        for l in 0..at.lanes() {
            for (i, value) in self.y.iter_mut().enumerate() {
                *value = y.row(i)[l].to_f64();
            }
            (self.f)(at.t[l], &self.y, &mut self.dy);
            for (i, value) in self.dy.iter().enumerate() {
                out.row_mut(i)[l] = T::of(*value);
            }
        }
        self.evals += at.lanes();
    }
}

/// The largest |y − truth| / (1 + |truth|) of a component.
pub fn scaled_error(y: &[f64], truth: &[f64]) -> f64 {
    assert_eq!(y.len(), truth.len());
    y.iter()
        .zip(truth)
        .map(|(y, x)| (y - x).abs() / (1.0 + x.abs()))
        .fold(0.0, |a, b| if b > a || b.is_nan() { b } else { a })
}
