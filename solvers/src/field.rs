//! The field of a solve: a function of time and state, evaluated on many lanes at once.
//!
//! An evaluator owns its scratch (`&mut self`); what it shares with others (weights) is immutable.
//! The same pair of traits serves the velocity, whose values have the state's dimension, and the
//! integrand of a quadrature along the path, whose values have a dimension of their own.

use crate::lanes::{Lanes, LanesMut};
use crate::real::Real;

/// Where the lanes stand: slot `l` is trajectory `sample[l]` at time `t[l]`.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The time of each lane.
    pub t: &'a [f64],
    /// Which row of the batch each lane carries: the key to conditions and probes.
    pub sample: &'a [usize],
}

impl<'a> At<'a> {
    /// One entry a lane in both.
    pub fn new(t: &'a [f64], sample: &'a [usize]) -> Self {
        debug_assert_eq!(t.len(), sample.len());
        Self { t, sample }
    }

    /// The first `lanes` lanes.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn first_lanes(&self, lanes: usize) -> At<'a> {
        At::new(&self.t[..lanes], &self.sample[..lanes])
    }

    /// The number of lanes.
    pub fn lanes(&self) -> usize {
        self.t.len()
    }
}

/// A function f(t, y), evaluated lane by lane.
pub trait VectorField<T: Real> {
    /// The number of rows of the state.
    fn dim(&self) -> usize;

    /// The number of rows of the value: that of the state for a velocity.
    fn out_dim(&self) -> usize {
        self.dim()
    }

    /// `out[:, l] ← f(t[l], y[:, l])`.
    ///
    /// Columns never mix: the bits of a lane depend neither on its slot nor on its neighbours.
    /// Must not allocate.
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, T>, out: LanesMut<'_, T>);

    /// This field with its derivatives along directions, where it has them: what an implicit method needs.
    ///
    /// A field that is a [`Jvp`] returns `Some(self)`.
    fn tangents(&mut self) -> Option<&mut dyn Jvp<T>> {
        None
    }
}

/// A field whose transposed derivatives can be applied.
pub trait Vjp<T: Real>: VectorField<T> {
    /// The length of the gradient buffer that [`Vjp::vjp`] adds to.
    fn grad_len(&self) -> usize;

    /// gy ← (∂f/∂y)ᵀ a and gp += Σ_lanes (∂f/∂θ)ᵀ a, at (t, y).
    ///
    /// `a` is `[out_dim, lanes]`, `gy` is `[dim, lanes]`. Only lanes in use count towards `gp`.
    fn vjp(&mut self, at: At<'_>, y: Lanes<'_, T>, a: Lanes<'_, T>, gy: LanesMut<'_, T>, gp: &mut [T]);
}

/// A field whose derivatives along given directions can be computed; see [`VectorField::tangents`].
pub trait Jvp<T: Real>: VectorField<T> {
    /// out ← (∂f/∂y) dy, lane by lane, at (t, y). `dy` is `[dim, lanes]`, `out` is `[out_dim, lanes]`.
    ///
    /// An implicit method calls it with `dim` lanes at once: a unit direction in each.
    fn jvp(&mut self, at: At<'_>, y: Lanes<'_, T>, dy: Lanes<'_, T>, out: LanesMut<'_, T>);
}

impl<T: Real, F: VectorField<T> + ?Sized> VectorField<T> for &mut F {
    fn dim(&self) -> usize {
        (**self).dim()
    }
    fn out_dim(&self) -> usize {
        (**self).out_dim()
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, T>, out: LanesMut<'_, T>) {
        (**self).eval(at, y, out);
    }
    fn tangents(&mut self) -> Option<&mut dyn Jvp<T>> {
        (**self).tangents()
    }
}

impl<T: Real, F: Vjp<T> + ?Sized> Vjp<T> for &mut F {
    fn grad_len(&self) -> usize {
        (**self).grad_len()
    }
    fn vjp(&mut self, at: At<'_>, y: Lanes<'_, T>, a: Lanes<'_, T>, gy: LanesMut<'_, T>, gp: &mut [T]) {
        (**self).vjp(at, y, a, gy, gp);
    }
}
