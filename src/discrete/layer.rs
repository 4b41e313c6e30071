//! The layers with their parameters, on tiles of lanes: both directions, and their pull-backs.
//!
//! Points are f64 whatever the nets compute in: the columns that a coupling leaves alone are then the same bits on the
//! way back, the net gives the same numbers, and a round trip costs the round-off of f64.

use cnflow_kernels::{Keep, Scalar, Tile};

use super::conditioner::{Conditioner, Room, Workspace};
use super::convolution::Convolution;
use super::coupling::{Coupling, Places};
use super::dense::Dense;
use super::diagonal::Diagonal;
use super::linear::Linear;
use super::plane::Plane;
use super::spec::{DiscreteSpec, LayerSpec};
use super::step::{Gradient, Step, Way};
use super::tails::Tails;
use crate::Result;
use crate::continuous::widened;

/// A layer with its parameters.
pub(super) enum Layer<T> {
    Coupling(Box<Coupling<T>>),
    Diagonal(Diagonal),
    Linear(Box<Linear>),
    Tails(Tails),
}

impl<T: Scalar> Layer<T> {
    /// The layers of a spec.
    pub fn all(spec: &DiscreteSpec, theta: &[T]) -> Result<Vec<Self>> {
        let mut rest = theta;
        let mut layers = Vec::with_capacity(spec.layers.len());
        for (layer, length) in spec.layers.iter().zip(spec.lengths()) {
            let (own, others) = rest.split_at(length);
            layers.push(Self::new(layer, spec, own)?);
            rest = others;
        }
        Ok(layers)
    }

    fn new(layer: &LayerSpec, spec: &DiscreteSpec, theta: &[T]) -> Result<Self> {
        Ok(match layer {
            LayerSpec::Coupling { pass, change, activation, transform, .. } => {
                let sizes = layer.sizes(spec.condition_dim);
                let net = Conditioner::Dense(Dense::new(sizes, *activation, pass.len(), theta)?);
                let net = (net, Places::dense(change.len()));
                Self::Coupling(Box::new(Coupling::new([pass.clone(), change.clone(), vec![]], *transform, net)))
            }
            LayerSpec::ImageCoupling { level: at, transform, .. } => {
                let Plane { rows, rest, .. } = spec.plane(Some(*at))?;
                let rule = spec.rule(layer)?;
                let net = Convolution::new(&rule, theta)?;
                let (first, stride) = net.outputs();
                let places = Places { first: first.to_vec(), stride };
                let (pass, change) = rule.parts();
                let of_state = |part: Vec<usize>| part.into_iter().map(|row| rows[row]).collect();
                let rows = [of_state(pass), of_state(change), rest];
                Self::Coupling(Box::new(Coupling::new(rows, *transform, (Conditioner::Image(net), places))))
            }
            LayerSpec::Diagonal { shift, level } => {
                let plane = spec.plane(*level)?;
                let (scales, shifts) = theta.split_at(plane.shape.channels);
                Self::Diagonal(Diagonal::new(plane, widened(scales), shift.then(|| widened(shifts))))
            }
            LayerSpec::Linear { permutation, signs, level, fixed, .. } => {
                let linear = Linear::new(spec.plane(*level)?, permutation.clone(), signs, &widened(theta));
                Self::Linear(Box::new(if *fixed { linear.fixed() } else { linear }))
            }
            LayerSpec::Tails { columns } => Self::Tails(Tails::new(columns.clone())),
        })
    }

    /// The length of the matrix's gradient.
    pub fn matrix_len(&self) -> usize {
        if let Self::Linear(linear) = self { linear.matrix_len() } else { 0 }
    }

    /// The length of what pull-backs gather beside the matrix's; `length` is that of its part of θ.
    pub fn gradient_len(&self, length: usize) -> usize {
        if let Self::Coupling(coupling) = self { coupling.net.gradient_len() } else { length }
    }

    /// theta ← the derivatives by its part of θ, of what pull-backs gathered.
    pub fn fold(&self, way: Way, (own, matrix): (&[T], &[f64]), theta: &mut [T]) {
        match self {
            Self::Coupling(coupling) => coupling.net.fold(own, theta),
            Self::Diagonal(_) | Self::Tails(_) => theta.copy_from_slice(own),
            Self::Linear(linear) => {
                theta.copy_from_slice(own);
                linear.fold(way, matrix, theta);
            }
        }
    }

    /// Its log-scales that depend on no point; those of a coupling are bounded.
    pub fn log_scales(&self) -> Vec<f64> {
        match self {
            Self::Coupling(_) | Self::Tails(_) => Vec::new(),
            Self::Diagonal(diagonal) => diagonal.log_scales().to_vec(),
            Self::Linear(linear) => linear.log_scales(),
        }
    }

    /// after ← the layer at `before`; `logdet` += the log-determinant. `condition` is `[c, lanes]`.
    pub fn pass(
        &self,
        way: Way,
        (before, after): (&Tile<f64>, &mut Tile<f64>),
        logdet: &mut Tile<f64>,
        condition: &Tile<T>,
        (workspace, keep): (&mut Workspace<T>, Keep),
        blocks: usize,
    ) {
        match self {
            Self::Coupling(coupling) => {
                coupling.run_net(before, condition, workspace, keep, blocks);
                coupling.pass(way, before, after, logdet, workspace, blocks);
            }
            Self::Diagonal(diagonal) => diagonal.pass(way, before, after, logdet, blocks),
            Self::Linear(linear) => linear.pass(way, before, after, logdet, blocks),
            Self::Tails(tails) => tails.pass(way, before, after, logdet, blocks),
        }
    }

    /// bar (the cotangent of `after`) becomes that of `before`; `g` += the derivatives by the parameters.
    ///
    /// For a coupling the workspace holds the pass of its net at this step, with its derivatives.
    pub fn back(
        &self,
        step: &Step<'_>,
        bar: &mut Tile<f64>,
        workspace: (&mut Workspace<T>, &mut Room<T>),
        g: Gradient<'_, T>,
    ) {
        match self {
            Self::Coupling(coupling) => coupling.back(step, bar, workspace, g),
            Self::Diagonal(diagonal) => diagonal.back(step, bar, g.own),
            Self::Linear(linear) => linear.back(step, bar, g),
            Self::Tails(tails) => tails.back(step, bar),
        }
    }
}
