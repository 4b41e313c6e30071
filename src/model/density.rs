//! A standard normal pushed through a bijection: log p(x) = log N(z; 0, I) − ln|det ∂x/∂z|.
//!
//! There are three results, each with the computed numbers only: [`Scored`] has log-densities, [`Points`] has points,
//! [`Solved`] has both. Each has a result for every row; a row that fails does not affect the others.

use crate::error::Failure;
use crate::stats::log_sum_exp;
use crate::transform::{Bijection, Cost, Mapped, StandardNormal};
use crate::{Result, Rng};

/// Log-densities.
#[derive(Clone, Debug, Default)]
pub struct Scored {
    /// log p in nats, `[n]`: NaN in a row that failed, −∞ outside the support.
    pub log_prob: Vec<f64>,
    /// The cost.
    pub cost: Cost,
}

impl Scored {
    /// The logarithm of the mean over several draws of the noise in whole numbers, of which this is the first and `further`
    /// the others: log (1/N) Σₙ p(k + uₙ)/q(uₙ), a bound of log P(k) from below on average. A row that failed in any is NaN.
    #[must_use]
    pub fn over_draws(self, further: Vec<Self>) -> Self {
        if further.is_empty() {
            return self;
        }
        let (mut cost, n) = (self.cost, 1.0 + further.len() as f64);
        let mut logs: Vec<Vec<f64>> = self.log_prob.iter().map(|l| vec![*l]).collect();
        for more in further {
            logs.iter_mut().zip(more.log_prob).for_each(|(logs, l)| logs.push(l));
            cost.merge(more.cost);
        }
        // The mean of independent probes: the errors of the draws that count, about equally.
        cost.logdet_se.iter_mut().for_each(|se| *se /= n);
        let mut log_prob: Vec<f64> = logs.iter().map(|logs| log_sum_exp(logs.iter().copied()) - n.ln()).collect();
        cost.failures.iter().for_each(|(row, _)| log_prob[*row] = f64::NAN);
        Self { log_prob, cost }
    }

    /// log p of a row in nats, −∞ outside the support; or why there is none.
    ///
    /// # Errors
    /// The row's [`Failure`].
    pub fn row(&self, row: usize) -> std::result::Result<f64, Failure> {
        log_prob_of(self.log_prob[row], self.cost.failure(row).as_ref())
    }

    /// [`Scored::row`] of every row.
    pub fn rows(&self) -> impl Iterator<Item = std::result::Result<f64, Failure>> + '_ {
        let reasons = self.cost.reasons();
        self.log_prob.iter().enumerate().map(move |(row, log)| log_prob_of(*log, reasons.get(&row)))
    }
}

/// Points on the other side of a flow.
#[derive(Clone, Debug, Default)]
pub struct Points {
    /// d.
    pub dim: usize,
    /// `[n, d]`, row-major; NaN in a row that failed.
    pub y: Vec<f64>,
    /// The cost.
    pub cost: Cost,
}

impl Points {
    /// The point of a row, `[d]`; or why there is none.
    ///
    /// # Errors
    /// The row's [`Failure`].
    pub fn row(&self, row: usize) -> std::result::Result<&[f64], Failure> {
        point_of(&self.y[row * self.dim..][..self.dim], self.cost.failure(row).as_ref())
    }

    /// [`Points::row`] of every row.
    pub fn rows(&self) -> impl Iterator<Item = std::result::Result<&[f64], Failure>> + '_ {
        let reasons = self.cost.reasons();
        let points = self.y.chunks_exact(self.dim.max(1)).enumerate();
        points.map(move |(row, point)| point_of(point, reasons.get(&row)))
    }
}

/// Points on the other side of a flow, with their log-density.
#[derive(Clone, Debug, Default)]
pub struct Solved {
    /// d.
    pub dim: usize,
    /// `[n, d]`, row-major: latents of data, or data of latents. NaN in a row that failed or lies outside the support.
    pub y: Vec<f64>,
    /// log p of the data in nats, `[n]`: NaN in a row that failed, −∞ outside the support.
    pub log_prob: Vec<f64>,
    /// The cost.
    pub cost: Cost,
}

impl Solved {
    /// The point `[d]` and log p of a row; or why there is none.
    ///
    /// # Errors
    /// The row's [`Failure`].
    pub fn row(&self, row: usize) -> std::result::Result<(&[f64], f64), Failure> {
        let reason = self.cost.failure(row);
        let point = point_of(&self.y[row * self.dim..][..self.dim], reason.as_ref())?;
        Ok((point, log_prob_of(self.log_prob[row], reason.as_ref())?))
    }

    /// [`Solved::row`] of every row.
    pub fn rows(&self) -> impl Iterator<Item = std::result::Result<(&[f64], f64), Failure>> + '_ {
        let reasons = self.cost.reasons();
        let pairs = self.y.chunks_exact(self.dim.max(1)).zip(&self.log_prob).enumerate();
        pairs.map(move |(row, (point, log))| {
            let reason = reasons.get(&row);
            Ok((point_of(point, reason)?, log_prob_of(*log, reason)?))
        })
    }
}

fn log_prob_of(log_prob: f64, reason: Option<&Failure>) -> std::result::Result<f64, Failure> {
    match reason {
        _ if log_prob.is_finite() => Ok(log_prob),
        Some(Failure::Outside) => Ok(f64::NEG_INFINITY),
        reason => Err(reason.copied().unwrap_or(Failure::Overflow)),
    }
}

fn point_of<'a>(point: &'a [f64], reason: Option<&Failure>) -> std::result::Result<&'a [f64], Failure> {
    match point.iter().all(|v| v.is_finite()) {
        true => Ok(point),
        false => Err(reason.copied().unwrap_or(Failure::Overflow)),
    }
}

/// A standard normal, pushed through a bijection.
///
/// Everywhere `condition` is `[n, condition_dim]`, or empty where the map has none, and `x` and `z` are `[n, d]`.
#[derive(Clone, Debug)]
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

    /// d.
    pub fn dim(&self) -> usize {
        self.map.dim()
    }

    /// The number of conditioning columns.
    pub fn condition_dim(&self) -> usize {
        self.map.condition_dim()
    }

    /// log N(z; 0, I) of rows of latents, of the columns that count.
    fn base_log_prob(&self, z: &[f64]) -> Vec<f64> {
        match self.map.apart() {
            [] => self.base.log_prob_rows(z),
            apart => {
                let d = self.dim();
                let counts = |j: usize| apart.binary_search(&(j % d)).is_err();
                let own: Vec<f64> = (0..z.len()).filter(|i| counts(*i)).map(|i| z[i]).collect();
                StandardNormal::new(d - apart.len()).log_prob_rows(&own)
            }
        }
    }

    /// Latents and log-densities of the rows of `x`. A failed row is NaN in both; one outside the support has no latent
    /// (NaN) and log-density −∞.
    ///
    /// # Errors
    /// As [`Bijection::inverse`].
    pub fn encode(&self, x: &[f64], condition: &[f64]) -> Result<Solved> {
        let mut rows = Mapped::new(x.to_vec(), self.dim());
        self.map.inverse(&mut rows, condition)?;
        let Mapped { y, logdet, cost } = rows;
        let mut log_prob = self.base_log_prob(&y);
        log_prob.iter_mut().zip(&logdet).for_each(|(log, l)| *log += l);
        cost.mark_outside(&mut log_prob);
        Ok(Solved { dim: self.dim(), y, log_prob, cost })
    }

    /// Points and log-densities of the latents `z`, from one solve.
    ///
    /// # Errors
    /// As [`Bijection::forward`].
    pub fn decode(&self, z: &[f64], condition: &[f64]) -> Result<Solved> {
        let mut log_prob = self.base_log_prob(z);
        let mut rows = Mapped::new(z.to_vec(), self.dim());
        self.map.forward(&mut rows, condition)?;
        log_prob.iter_mut().zip(&rows.logdet).for_each(|(log, l)| *log -= l);
        Ok(Solved { dim: self.dim(), y: rows.y, log_prob, cost: rows.cost })
    }

    /// Log-densities of the rows of `x`.
    ///
    /// # Errors
    /// As [`Bijection::inverse`].
    pub fn log_prob(&self, x: &[f64], condition: &[f64]) -> Result<Scored> {
        let Solved { log_prob, cost, .. } = self.encode(x, condition)?;
        Ok(Scored { log_prob, cost })
    }

    /// Latents of the rows of `x` alone: no log-determinant is integrated.
    ///
    /// # Errors
    /// As [`Bijection::inverse`].
    pub fn latents(&self, x: &[f64], condition: &[f64]) -> Result<Points> {
        let mut rows = Mapped::points(x.to_vec());
        self.map.inverse(&mut rows, condition)?;
        Ok(Points { dim: self.dim(), y: rows.y, cost: rows.cost })
    }

    /// Points of the latents `z` alone: no log-determinant is integrated.
    ///
    /// # Errors
    /// As [`Bijection::forward`].
    pub fn points(&self, z: &[f64], condition: &[f64]) -> Result<Points> {
        let mut rows = Mapped::points(z.to_vec());
        self.map.forward(&mut rows, condition)?;
        Ok(Points { dim: self.dim(), y: rows.y, cost: rows.cost })
    }

    /// `n` draws; a draw costs no log-density.
    ///
    /// # Errors
    /// As [`Bijection::forward`].
    pub fn sample(&self, n: usize, condition: &[f64], rng: &mut Rng) -> Result<Points> {
        self.points(&self.base.draw(n, rng), condition)
    }
}
