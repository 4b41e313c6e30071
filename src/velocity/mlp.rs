//! The fused CPU velocity: an MLP of (x, condition, t) on tiles of lanes.
//!
//! Weights, their transposes and the closed form of the trace are packed once and shared; each caller
//! takes an evaluator with its own scratch.

mod evaluator;

use cnflow_kernels::{Net, NetSpec, Passive, Scalar};

use self::evaluator::MlpEvaluator;
use super::closed_form::{ClosedForm, Shape};
use super::{Batch, Evaluator, MlpSpec, Velocity};
use crate::Result;

/// An MLP with its weights, ready to be evaluated.
#[derive(Clone, Debug)]
pub struct Mlp<T> {
    pub(super) spec: MlpSpec,
    /// The number of units of each layer, the input first.
    sizes: Vec<usize>,
    pub(super) net: Net<T>,
    pub(super) closed: Option<ClosedForm<T>>,
    /// As given; the rows of its last weight are the last products of the tangents.
    pub(super) theta: Vec<T>,
    /// The first products of unit tangents: `[d, H₁]`, the columns of W₁ that multiply x.
    pub(super) columns: Vec<T>,
    /// The columns of W₁ that multiply the condition.
    pub(super) condition: Passive<T>,
}

impl<T: Scalar> Mlp<T> {
    /// The MLP of `spec` with weights `theta` (in the layout of [`MlpSpec::tensor_names`]).
    ///
    /// # Errors
    /// As [`MlpSpec::validate`]; [`crate::Error::Parameters`] for a θ of the wrong length.
    pub fn new(spec: &MlpSpec, theta: &[T]) -> Result<Self> {
        spec.validate()?;
        let sizes = spec.layer_sizes();
        let mut mlp = Self {
            net: Net::new(&NetSpec::mlp(&sizes, spec.activation, spec.dim), theta)?,
            closed: ClosedForm::new(Shape { sizes: &sizes }),
            theta: theta.to_vec(),
            columns: vec![T::ZERO; spec.dim * sizes[1]],
            condition: Passive::new(spec.dim..spec.dim + spec.condition_dim, sizes[0], sizes[1]),
            sizes,
            spec: spec.clone(),
        };
        mlp.derive();
        Ok(mlp)
    }

    /// Takes other weights, in place: no allocation.
    ///
    /// # Errors
    /// [`crate::Error::Parameters`] for a θ of the wrong length.
    pub fn set_theta(&mut self, theta: &[T]) -> Result<()> {
        self.net.set_params(theta)?;
        self.theta.copy_from_slice(theta);
        self.derive();
        Ok(())
    }

    /// What it is made of.
    pub fn spec(&self) -> &MlpSpec {
        &self.spec
    }

    /// θ.
    pub fn theta(&self) -> &[T] {
        &self.theta
    }

    /// Computes on the portable path from now on: slower on most machines, the same bits on all.
    pub fn portable(mut self) -> Self {
        self.net = self.net.portable();
        self
    }

    fn derive(&mut self) {
        let (inputs, width) = (self.sizes[0], self.sizes[1]);
        for (j, column) in self.columns.chunks_mut(width).enumerate() {
            for (o, w) in column.iter_mut().enumerate() {
                *w = self.theta[o * inputs + j];
            }
        }
        self.condition.set(&self.theta);
        if let Some(closed) = &mut self.closed {
            closed.set(Shape { sizes: &self.sizes }, &self.theta);
        }
    }

    /// Row j of the last weight.
    pub(super) fn last_row(&self, j: usize) -> &[T] {
        let (last, width) = (self.sizes.len() - 2, self.sizes[self.sizes.len() - 2]);
        &self.theta[self.net.params(last).start + j * width..][..width]
    }

    /// Column j of the first weight.
    pub(super) fn first_column(&self, j: usize) -> &[T] {
        let width = self.sizes[1];
        &self.columns[j * width..][..width]
    }
}

impl<T: Scalar> Velocity<T> for Mlp<T> {
    fn dim(&self) -> usize {
        self.spec.dim
    }

    fn condition_dim(&self) -> usize {
        self.spec.condition_dim
    }

    fn n_params(&self) -> usize {
        self.theta.len()
    }

    fn grad_len(&self) -> usize {
        self.theta.len() + self.closed.as_ref().map_or(0, ClosedForm::len)
    }

    fn fold_gradient(&self, gradient: &mut [T]) {
        if let Some(closed) = &self.closed {
            closed.fold(Shape { sizes: &self.sizes }, &self.theta, gradient);
        }
    }

    fn time_rate(&self) -> f64 {
        let MlpSpec { dim, condition_dim, time, .. } = self.spec;
        if self.spec.hidden.is_empty() {
            // An affine field has no activation that could be brief; but its sines and cosines are.
            return (0..time.columns()).map(|i| time.rate(i)).fold(0.0, f64::max);
        }
        let sizes = &self.sizes;
        let of_unit = |row: &[T]| -> f64 {
            row[dim + condition_dim..].iter().enumerate().map(|(i, w)| w.to_f64().abs() * time.rate(i)).sum()
        };
        self.theta[..sizes[0] * sizes[1]].chunks_exact(sizes[0]).map(of_unit).fold(0.0, f64::max)
    }

    fn evaluator<'a>(&'a self, batch: Batch<'a, T>) -> Box<dyn Evaluator<T> + 'a> {
        Box::new(MlpEvaluator::new(self, batch))
    }
}
