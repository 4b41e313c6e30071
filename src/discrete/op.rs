//! The gradients of a discrete flow: its likelihood on a chunk of rows, and the pull-back of a pass.
//!
//! A pass that is pulled back runs the layers again and keeps what their derivatives need; points and log-determinants
//! that are known already are not kept for it. Chunks' gradients are added along a fixed tree.

use std::ops::Range;

use cnflow_solvers::gradient::{chunks, tree_sum};
use cnflow_solvers::lanes::LANE_BLOCK;
use rayon::prelude::*;

use super::DiscreteSpec;
use super::net::{Net, NetGradient, RowBars, Rows, Scratch};
use super::step::{Way, in_use};
use crate::error::Failure;
use crate::transform::bijection::check_rows;
use crate::velocity::Scalar;
use crate::{Error, Result};

/// The negative log-likelihood of rows under a standard normal latent, chunk by chunk, with its gradient by θ.
pub(crate) struct Likelihood<T> {
    net: Net<T>,
    dim: usize,
    condition_dim: usize,
}

/// What a chunk of rows adds to a loss.
pub(crate) struct ChunkGradient<T> {
    /// Σ −log p over the rows.
    pub nll: f64,
    /// The first row that has none, counted from the chunk's first.
    pub lost: Option<usize>,
    /// The derivatives by the parameters, before [`Likelihood::fold`]: in the precision of the nets, and those by the
    /// matrices of linear layers.
    pub own: Vec<T>,
    pub matrices: Vec<f64>,
}

impl<T: Scalar> Likelihood<T> {
    /// Of the flow of `spec` with parameters `theta`.
    ///
    /// # Errors
    /// As [`DiscreteSpec::validate`]; [`Error::Parameters`] where θ does not fit; [`Error::Degenerate`] for parameters
    /// that do not define a bijection.
    pub fn new(spec: &DiscreteSpec, theta: &[T]) -> Result<Self> {
        spec.validate()?;
        if theta.len() != spec.n_params() {
            let (expected, found) = (spec.n_params(), theta.len());
            return Err(Error::Parameters { expected, found });
        }
        let net = Net::new(spec, theta, spec.layers.len())?;
        Ok(Self { net, dim: spec.dim, condition_dim: spec.condition_dim })
    }

    /// Rows of a chunk.
    pub fn chunk_rows(&self) -> usize {
        self.net.learnt
    }

    /// Scratch for one caller of [`Likelihood::chunk`].
    pub fn scratch(&self) -> Scratch<T> {
        self.net.scratch(self.net.learnt, true)
    }

    fn rows<'r>(&self, x: &'r [f64], condition: &'r [f64], rows: &Range<usize>) -> Rows<'r> {
        let (d, c) = (self.dim, self.condition_dim);
        Rows { x: &x[rows.start * d..rows.end * d], condition: &condition[rows.start * c..rows.end * c] }
    }

    /// Σ −log p over the `rows` (at most [`Likelihood::chunk_rows`]) of `x` (`[n, d]`; `condition` `[n, c]`), and the
    /// gradient of `weight` times it: one pass.
    pub fn chunk(
        &self,
        scratch: &mut Scratch<T>,
        x: &[f64],
        condition: &[f64],
        rows: &Range<usize>,
        weight: f64,
    ) -> ChunkGradient<T> {
        let d = self.dim;
        let (mut nll, mut lost, mut gradient) = (0.0, None, self.net.zero_gradient());
        let constant = 0.5 * d as f64 * std::f64::consts::TAU.ln();
        self.net.learn(
            Way::Inverse,
            self.rows(x, condition, rows),
            scratch,
            |z, logdet, z_bar, logdet_bar| {
                for block in 0..rows.len().div_ceil(LANE_BLOCK) {
                    let used = in_use(block, rows.len());
                    let mut squares = [0.0; LANE_BLOCK];
                    for j in 0..d {
                        let (z, z_bar) = (z.at(block, j), z_bar.at_mut(block, j));
                        (0..LANE_BLOCK).for_each(|l| squares[l] += z[l].powi(2));
                        (0..used).for_each(|l| z_bar[l] = weight * z[l]);
                    }
                    for (slot, squares) in squares[..used].iter().enumerate() {
                        let row = 0.5 * squares - logdet.at(block, 0)[slot];
                        if !row.is_finite() {
                            lost.get_or_insert(block * LANE_BLOCK + slot);
                        }
                        nll += row + constant;
                        logdet_bar.at_mut(block, 0)[slot] = -weight;
                    }
                }
            },
            &mut gradient,
            None,
        );
        ChunkGradient { nll, lost, own: gradient.own, matrices: gradient.matrices }
    }

    /// Why a row has no density.
    pub fn failure(&self, x: &[f64], condition: &[f64], row: usize) -> Failure {
        let rows = self.rows(x, condition, &(row..row + 1));
        self.net.broken_at(Way::Inverse, rows, &mut self.net.scratch(LANE_BLOCK, true))
    }

    /// The gradient by θ, `[n_params]`, of what chunks gathered.
    pub fn fold(&self, own: Vec<T>, matrices: Vec<f64>) -> Vec<T> {
        self.net.fold(Way::Inverse, &NetGradient { own, matrices })
    }
}

/// The derivatives of a loss by what went into a pass.
pub(super) struct PulledBack<T> {
    /// `[n, d]`.
    pub x: Vec<f64>,
    /// `[n, c]`.
    pub condition: Vec<f64>,
    /// `[n_params]`.
    pub theta: Vec<T>,
}

/// Pulls derivatives by the points and log-determinants that a pass gives, `y_bar` `[n, d]` and `logdet_bar` `[n]`,
/// back to its rows `x` and their conditions, `[n, d]` and `[n, c]`, and to θ, `[n_params]`.
///
/// # Errors
/// [`Error::Dimension`] and [`Error::Invalid`] for incomplete rows.
pub(super) fn pull_back<T: Scalar>(
    spec: &DiscreteSpec,
    net: &Net<T>,
    way: Way,
    x: &[f64],
    condition: &[f64],
    (y_bar, logdet_bar): (&[f64], &[f64]),
) -> Result<PulledBack<T>> {
    let (d, c) = (spec.dim, spec.condition_dim);
    let n = check_rows(x, d, condition, c)?;
    for (what, expected, found) in [("points", n * d, y_bar.len()), ("log-determinants", n, logdet_bar.len())] {
        if expected != found {
            let problem = format!("{found} derivatives by {what}, expected {expected}");
            return Err(Error::invalid(problem, "give one for each number of the result"));
        }
    }
    let ranges: Vec<_> = chunks(n, net.learnt).collect();
    let parts: Vec<([Vec<f64>; 2], NetGradient<T>)> = ranges
        .into_par_iter()
        .map_init(
            || net.scratch(net.learnt, true),
            |scratch, rows| {
                let mut gradient = net.zero_gradient();
                let [mut x_bar, mut condition_bar] = [d, c].map(|width| vec![0.0; rows.len() * width]);
                let part =
                    Rows { x: &x[rows.start * d..rows.end * d], condition: &condition[rows.start * c..rows.end * c] };
                net.learn(
                    way,
                    part,
                    scratch,
                    |_, _, bar, bar_logdet| {
                        for (l, row) in rows.clone().enumerate() {
                            let (block, slot) = (l / LANE_BLOCK, l % LANE_BLOCK);
                            (0..d).for_each(|j| bar.at_mut(block, j)[slot] = y_bar[row * d + j]);
                            bar_logdet.at_mut(block, 0)[slot] = logdet_bar[row];
                        }
                    },
                    &mut gradient,
                    Some(RowBars { x: &mut x_bar, condition: &mut condition_bar }),
                );
                ([x_bar, condition_bar], gradient)
            },
        )
        .collect();
    let (bars, gradients): (Vec<_>, Vec<NetGradient<T>>) = parts.into_iter().unzip();
    let [x, condition] = [0, 1].map(|part| bars.iter().flat_map(|bars: &[Vec<f64>; 2]| &bars[part]).copied().collect());
    let gradient = if gradients.is_empty() {
        net.zero_gradient()
    } else {
        let (own, matrices) = gradients.into_iter().map(|s| (s.own, s.matrices)).unzip();
        NetGradient { own: tree_sum(own), matrices: tree_sum(matrices) }
    };
    Ok(PulledBack { x, condition, theta: net.fold(way, &gradient) })
}
