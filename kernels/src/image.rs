//! Nets of operations on images: convolutions, squares of pixels as channels, modulation by an embedding, residuals.
//!
//! As a [`Net`] is a list of operations on rows, an [`ImageNet`] is one on planes `[pixel][channel]`, each a row of 16
//! lanes. It has the value, the tangent J ẋ, the pull-back Jᵀ ȳ with the gradient by θ, and the pull-back of tangents,
//! so that a divergence and a penalty on a Jacobian have exact gradients. Lanes never mix, no call allocates, every sum
//! has a fixed order, and the portable path has the same bits.
//!
//! One block of 16 images is worked on at a time ([`ImageWorkspace`]), one operation after the other, and what happens
//! at each number by itself follows its convolution row of pixels by row. In f32 the recipe's trunk fits the second
//! cache; a plane at 28 × 28 is 0.8 MB for 16 images, more than that cache, and passes through it: a convolution reads
//! three of its rows of pixels at a time, 84 KB, and does some hundred operations for each number that it loads.

mod conv;
mod evaluator;
mod graph;
mod passes;
mod point;
mod recipe;
mod regroup;
mod shape;
mod spec;
mod workspace;

use std::ops::Range;

pub use self::evaluator::ImageEvaluator;
use self::graph::{Graph, Kind};
pub use self::shape::ImageShape;
pub use self::spec::{Embedding, ImageNetSpec, ImageOp, ImageParams};
pub use self::workspace::{ImageRoom, ImageWorkspace};
use crate::simd::{Isa, Scalar};
use crate::{Error, Net, Result};

/// A net of operations on images with its parameters: shared by threads, never changed while it is evaluated.
#[derive(Clone, Debug)]
pub struct ImageNet<T> {
    isa: Isa,
    spec: ImageNetSpec,
    graph: Graph<T>,
    embedding: Option<Net<T>>,
    n_params: usize,
}

impl<T: Scalar> ImageNet<T> {
    /// The net of `spec` with parameters `theta`, in the order that [`ImageNetSpec`]'s module gives.
    ///
    /// # Errors
    /// As [`ImageNetSpec::validate`]; [`Error::Parameters`] for a θ of the wrong length.
    pub fn new(spec: &ImageNetSpec, theta: &[T]) -> Result<Self> {
        spec.validate()?;
        let n_params = spec.n_params();
        check_length(n_params, theta)?;
        let mut graph = Graph::new(spec)?;
        graph.set_params(theta);
        let embedding = spec.embedding_net(&spec.shapes()?);
        let embedding = embedding.map(|net| Net::new(&net, &theta[..net.n_params()])).transpose()?;
        Ok(Self { isa: Isa::detect(), spec: spec.clone(), graph, embedding, n_params })
    }

    /// Takes other parameters, in place: no allocation.
    ///
    /// # Errors
    /// [`Error::Parameters`] for a θ of the wrong length.
    pub fn set_params(&mut self, theta: &[T]) -> Result<()> {
        check_length(self.n_params, theta)?;
        if let Some(net) = &mut self.embedding {
            net.set_params(&theta[..net.n_params()])?;
        }
        self.graph.set_params(theta);
        Ok(())
    }

    /// Computes on the portable path from now on: slower on most machines, the same bits on all.
    pub fn portable(mut self) -> Self {
        self.isa = Isa::PORTABLE;
        self.embedding = self.embedding.map(Net::portable);
        self
    }

    /// What it is made of.
    pub fn spec(&self) -> &ImageNetSpec {
        &self.spec
    }

    /// The instructions that it computes with.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The shape of the images.
    pub fn inputs(&self) -> ImageShape {
        self.spec.shape
    }

    /// The shape of the last plane.
    pub fn outputs(&self) -> ImageShape {
        self.graph.shapes[self.graph.shapes.len() - 1]
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        self.n_params
    }

    /// Whether anything is modulated: otherwise `aux` is not read, and the embedding has no parameters.
    pub fn modulated(&self) -> bool {
        self.embedding.is_some()
    }

    /// Multiply-adds of convolutions and dense layers for one image, borders counted as if they were not.
    pub fn multiply_adds(&self) -> usize {
        let of_conv = |kind: &Kind<T>| match kind {
            Kind::Conv(conv, params) => {
                let size = conv.size();
                (params.len() - size.outputs) * size.x.pixels()
            }
            _ => 0,
        };
        let convs: usize = self.graph.nodes.iter().map(|node| of_conv(&node.kind)).sum();
        convs + self.embedding.as_ref().map_or(0, Net::n_params)
    }

    /// Scratch and a caller's view of it, for up to `lanes` lanes.
    pub fn evaluator(&self, lanes: usize) -> ImageEvaluator<'_, T> {
        ImageEvaluator::new(self, lanes)
    }

    /// The embedding's part of θ.
    fn embedding_params(&self) -> Range<usize> {
        0..self.embedding.as_ref().map_or(0, Net::n_params)
    }
}

fn check_length<T>(expected: usize, theta: &[T]) -> Result<()> {
    match theta.len() {
        found if found == expected => Ok(()),
        found => Err(Error::Parameters { expected, found }),
    }
}
