//! The velocity of images: a net of operations with its weights.

mod evaluator;
mod pool;
mod spec;

use cnflow_kernels::{ImageNet, Passive, Scalar};

use self::evaluator::ImageEvaluator;
pub use self::spec::ImageSpec;
use super::{Batch, Evaluator, Velocity};
use crate::Result;

/// A velocity of images with its weights, ready to be evaluated.
#[derive(Clone, Debug)]
pub struct Image<T> {
    spec: ImageSpec,
    net: ImageNet<T>,
    time_rate: f64,
    /// The condition among the numbers of `aux`.
    condition: Passive<T>,
}

impl<T: Scalar> Image<T> {
    /// The velocity of `spec` with weights `theta`, in the layout of [`ImageSpec::tensor_names`].
    ///
    /// # Errors
    /// As [`ImageSpec::validate`]; [`crate::Error::Parameters`] for a θ of the wrong length.
    pub fn new(spec: &ImageSpec, theta: &[T]) -> Result<Self> {
        spec.validate()?;
        let net = ImageNet::new(&spec.net, theta)?;
        let condition = net.passive(spec.time_columns()..spec.time_columns() + spec.condition_dim);
        let mut image = Self { spec: spec.clone(), net, time_rate: 0.0, condition };
        image.derive(theta);
        Ok(image)
    }

    /// Takes other weights, in place: no allocation.
    ///
    /// # Errors
    /// [`crate::Error::Parameters`] for a θ of the wrong length.
    pub fn set_theta(&mut self, theta: &[T]) -> Result<()> {
        self.net.set_params(theta)?;
        self.derive(theta);
        Ok(())
    }

    /// What it is made of.
    pub fn spec(&self) -> &ImageSpec {
        &self.spec
    }

    /// Computes on the portable path from now on: slower on most machines, the same bits on all.
    pub fn portable(mut self) -> Self {
        self.net = self.net.portable();
        self
    }

    fn derive(&mut self, theta: &[T]) {
        self.condition.set(theta);
        let (aux, columns) = (self.spec.net.aux, self.spec.time_columns());
        let units = match self.spec.net.embedding.as_ref().and_then(|embedding| embedding.layers.first()) {
            // Without a layer of its own the embedding has no activation that could be brief.
            None => 0,
            Some(units) => units * usize::from(self.net.modulated()),
        };
        let of_unit = |row: &[T]| -> f64 {
            row[..columns].iter().enumerate().map(|(i, w)| w.to_f64().abs() * self.spec.rate(i)).sum()
        };
        self.time_rate = theta[..units * aux].chunks_exact(aux.max(1)).map(of_unit).fold(0.0, f64::max);
    }
}

impl<T: Scalar> Velocity<T> for Image<T> {
    fn dim(&self) -> usize {
        self.spec.dim()
    }

    fn condition_dim(&self) -> usize {
        self.spec.condition_dim
    }

    fn n_params(&self) -> usize {
        self.net.n_params()
    }

    fn grad_len(&self) -> usize {
        self.net.n_params()
    }

    fn fold_gradient(&self, _: &mut [T]) {}

    fn multiplications(&self) -> usize {
        self.net.multiply_adds()
    }

    fn time_rate(&self) -> f64 {
        self.time_rate
    }

    fn evaluator<'a>(&'a self, batch: Batch<'a, T>) -> Box<dyn Evaluator<T> + 'a> {
        Box::new(ImageEvaluator::new(self, batch))
    }
}
