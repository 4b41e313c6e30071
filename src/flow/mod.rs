//! Densities by change of variables.
//!
//! A [`Flow`] is a base distribution and a [`Bijection`]; a continuous flow and a standardisation are
//! bijections like any other. log p(x) = log N(z; 0, I) − log|det ∂x/∂z|, in the units of the data.

pub mod bars;
pub mod base;
pub mod chain;
pub mod column;
pub mod columns;
pub mod condition;
pub mod continuous;
pub mod core;
pub mod discrete;
pub mod histogram;
pub mod mixture;
pub mod model;
mod normal;
pub mod paths;
pub mod rosenblatt;
pub mod solver;
pub mod spec;
pub mod stages;
pub mod standardise;
pub mod taped;
pub mod transport;
pub mod velocity;

use candle_core::Tensor;

pub use bars::Bars;
pub use base::{Base, StandardNormal};
pub use chain::Chain;
pub use column::{Column, ColumnKind};
pub use columns::Columns;
pub use condition::{Condition, Given, GivenKind, Range};
pub use continuous::Continuous;
pub use core::Core;
pub use discrete::{Discrete, DiscreteSpec};
pub use histogram::{Histogram, Tail};
pub use mixture::{Chosen, EmOptions, Gaussian, Mixture};
pub use paths::{End, Paths};
pub use rosenblatt::Rosenblatt;
pub use solver::{LogDensity, Method, SolverSpec, TraceSpec};

pub use model::Model;
pub use spec::{FlowSpec, Moments};
pub use stages::{Mover, Stages};
pub use standardise::Standardise;
pub use velocity::{Number, VelocitySpec};

pub use crate::error::Failure;
pub use crate::velocity::Penalties;

use crate::{Result, Rng};

/// Points on the other side of a bijection.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// `[n, d]`. A row whose trajectory did not arrive is NaN.
    pub y: Tensor,
    /// log|det ∂y/∂x|, `[n]`; NaN in every row that failed, −∞ in those outside the support.
    pub logdet: Tensor,
    /// What it took.
    pub cost: Cost,
}

/// What a map took, row by row; empty lists for a closed form.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Velocity evaluations of each row.
    pub nfe: Vec<u32>,
    /// Divergence evaluations of each row.
    pub traces: Vec<u32>,
    /// Estimated absolute error of each row's log-determinant by the quadrature; zeros for a coupled solve.
    pub logdet_error: Vec<f64>,
    /// Standard error of each row's log-determinant over Hutchinson's probes; empty when the trace is exact.
    pub logdet_se: Vec<f64>,
    /// Rows that did not arrive, and why.
    pub failures: Vec<(usize, Failure)>,
    /// Rows outside the support of the density: log p = −∞ there, and the latent is NaN. They are no failures.
    pub outside: Vec<usize>,
    /// Rows whose log-determinant missed its tolerance although it was refined; their error says by how much.
    pub unsettled: usize,
    /// Rows whose steps were limited by stability.
    pub stiff: usize,
}

impl Cost {
    /// Adds another map of the same rows.
    pub fn merge(&mut self, other: Cost) {
        fn add<N: Copy + std::ops::AddAssign>(mine: &mut Vec<N>, other: Vec<N>) {
            if mine.is_empty() {
                *mine = other;
            } else {
                mine.iter_mut().zip(other).for_each(|(a, b)| *a += b);
            }
        }
        add(&mut self.nfe, other.nfe);
        add(&mut self.traces, other.traces);
        add(&mut self.logdet_error, other.logdet_error);
        for (mine, other) in self.logdet_se.iter_mut().zip(&other.logdet_se) {
            *mine = mine.hypot(*other);
        }
        if self.logdet_se.is_empty() {
            self.logdet_se = other.logdet_se;
        }
        self.failures.extend(other.failures);
        self.outside.extend(other.outside);
        self.outside.sort_unstable();
        self.outside.dedup();
        // No path begins outside the support: that it did not arrive is no news.
        let Self { failures, outside, .. } = self;
        failures.retain(|(row, _)| outside.binary_search(row).is_err());
        self.stiff += other.stiff;
        self.unsettled += other.unsettled;
    }

    /// Appends the rows of another batch, which come after the `rows` of this one.
    pub fn append(&mut self, rows: usize, other: Cost) {
        self.nfe.extend(other.nfe);
        self.traces.extend(other.traces);
        self.logdet_error.extend(other.logdet_error);
        self.logdet_se.extend(other.logdet_se);
        self.failures.extend(other.failures.into_iter().map(|(row, failure)| (row + rows, failure)));
        self.outside.extend(other.outside.into_iter().map(|row| row + rows));
        self.stiff += other.stiff;
        self.unsettled += other.unsettled;
    }

    /// −∞ in the rows outside the support, whatever else was computed there.
    pub(crate) fn mark_outside(&self, log: Tensor) -> Result<Tensor> {
        if self.outside.is_empty() {
            return Ok(log);
        }
        let mut numbers = log.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>()?;
        self.outside.iter().for_each(|row| numbers[*row] = f64::NEG_INFINITY);
        Ok(Tensor::from_vec(numbers, log.dims(), log.device())?.to_dtype(log.dtype())?)
    }

    /// Mean NFE of a row; 0 for a closed form.
    pub fn nfe_mean(&self) -> f64 {
        mean(&self.nfe)
    }

    /// Mean number of divergence evaluations of a row.
    pub fn traces_mean(&self) -> f64 {
        mean(&self.traces)
    }
}

/// The mean of counts; 0 of none (whose sum as floats would be −0).
fn mean(counts: &[u32]) -> f64 {
    counts.iter().map(|n| u64::from(*n)).sum::<u64>() as f64 / counts.len().max(1) as f64
}

/// An invertible map between the latent's side and the data's.
///
/// `condition` is `[n, condition_dim]`, and must be there exactly if the map has one.
pub trait Bijection: Send + Sync {
    /// d.
    fn dim(&self) -> usize;

    /// The number of conditioning columns.
    fn condition_dim(&self) -> usize {
        0
    }

    /// From the latent's side to the data's; `z` is `[n, d]`.
    ///
    /// # Errors
    /// [`crate::Error::Dimension`] where columns do not fit; whatever candle or the solver refuse.
    fn forward(&self, z: &Tensor, condition: Option<&Tensor>) -> Result<Mapped>;

    /// From the data's side to the latent's; `x` is `[n, d]`.
    ///
    /// # Errors
    /// As [`Bijection::forward`].
    fn inverse(&self, x: &Tensor, condition: Option<&Tensor>) -> Result<Mapped>;
}

/// A distribution whose log-density is known.
pub trait Density {
    /// d.
    fn dim(&self) -> usize;

    /// log p(x) in nats, `[n]`, of the rows of `x` `[n, d]`.
    ///
    /// # Errors
    /// [`crate::Error::Dimension`] where columns do not fit; [`crate::Error::Failed`] where a row has none.
    fn log_prob(&self, x: &Tensor, condition: Option<&Tensor>) -> Result<Tensor>;

    /// `n` draws, `[n, d]`.
    ///
    /// # Errors
    /// As [`Density::log_prob`].
    fn sample(&self, n: usize, condition: Option<&Tensor>, rng: &mut Rng) -> Result<Tensor>;
}

/// A standard normal, pushed through a bijection.
pub struct Flow<B> {
    /// The distribution of the latent.
    pub base: StandardNormal,
    /// From the latent to the data.
    pub map: B,
}

impl<B: Bijection> Flow<B> {
    /// The distribution of `map(z)`, z standard normal.
    pub fn new(map: B) -> Self {
        Self { base: StandardNormal::new(map.dim()), map }
    }

    /// Latents and log-densities of the rows of `x`, with what they cost. A failed row is NaN in both; one outside the
    /// support has no latent (NaN) and log-density −∞.
    ///
    /// # Errors
    /// As [`Bijection::inverse`].
    pub fn encode(&self, x: &Tensor, condition: Option<&Tensor>) -> Result<(Tensor, Tensor, Cost)> {
        let Mapped { y: z, logdet, cost } = self.map.inverse(x, condition)?;
        let log_prob = self.base.log_prob(&z, None)?.add(&logdet)?;
        let log_prob = cost.mark_outside(log_prob)?;
        Ok((z, log_prob, cost))
    }

    /// Points and log-densities of the latents `z`, with what they cost: the density carried along.
    ///
    /// # Errors
    /// As [`Bijection::forward`].
    pub fn decode(&self, z: &Tensor, condition: Option<&Tensor>) -> Result<(Tensor, Tensor, Cost)> {
        let Mapped { y: x, logdet, cost } = self.map.forward(z, condition)?;
        let log_prob = self.base.log_prob(z, None)?.sub(&logdet)?;
        Ok((x, log_prob, cost))
    }
}

impl<B: Bijection> Density for Flow<B> {
    fn dim(&self) -> usize {
        self.map.dim()
    }

    fn log_prob(&self, x: &Tensor, condition: Option<&Tensor>) -> Result<Tensor> {
        let n = x.dims().first().copied().unwrap_or(0);
        let (_, log_prob, cost) = self.encode(x, condition)?;
        check_failures(&cost, n)?;
        Ok(log_prob)
    }

    fn sample(&self, n: usize, condition: Option<&Tensor>, rng: &mut Rng) -> Result<Tensor> {
        let z = self.base.sample(n, None, rng)?;
        let (x, _, cost) = self.decode(&z, condition)?;
        check_failures(&cost, n)?;
        Ok(x)
    }
}

/// An error where a row did not arrive.
///
/// # Errors
/// [`crate::Error::Failed`] with the first of them.
pub fn check_failures(cost: &Cost, n: usize) -> Result<()> {
    match cost.failures.iter().min_by_key(|(row, _)| *row) {
        None => Ok(()),
        Some((row, first)) => Err(crate::Error::Failed { count: cost.failures.len(), of: n, row: *row, first: *first }),
    }
}

/// Refuses points or conditions of the wrong width.
pub(crate) fn check_rows(x: &Tensor, dim: usize, condition: Option<&Tensor>, condition_dim: usize) -> Result<usize> {
    let (n, d) = x.dims2()?;
    if d != dim {
        return Err(crate::Error::Dimension { what: "the array of points".into(), expected: dim, found: d });
    }
    match condition {
        None if condition_dim > 0 => Err(crate::Error::invalid(
            format!("the model is conditional on {condition_dim} columns, and no condition was given"),
            "give one row of conditions for each point",
        )),
        Some(c) if c.dims() != [n, condition_dim] => Err(crate::Error::invalid(
            format!("the condition is {:?}, expected [{n}, {condition_dim}]", c.dims()),
            "give one row of conditions for each point",
        )),
        _ => Ok(n),
    }
}
