//! Whole numbers as real ones: v = k + u, with noise u in [0, 1) of a density q.
//!
//! A density of whole numbers is not defined, their probability is: P(k) = ∫₀¹ p(k + u) du, where p is the density of a
//! flow. By Jensen's inequality log P(k) ≥ E_q[log p(k + u) − log q(u)]; q need not be uniform. Here the layer adds
//! −log q(u) to the log-determinant, and one draw of u gives an unbiased estimate of the bound, from below on average.
//! Several draws give a tighter one, log (1/N) Σ p(k + uₙ)/q(uₙ).  Ref: Theis, van den Oord & Bethge (2016); Burda,
//! Grosse & Salakhutdinov (2016).
//!
//! The noise is a function of the row's own numbers, the seed and the number of the draw: never of the row's place. So
//! a row has the same log-density alone and in any batch, and on any number of threads, as with Hutchinson's probes.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use super::bijection::check_rows;
use super::{Bijection, Cost, Mapped};
use crate::rng::{key, mix, unit};
use crate::{Error, Result};

/// Deviations at which the normal noise ends: the ends of the bin.
const ENDS: f64 = 2.5;
/// Its deviation, in bins.
const SIGMA: f64 = 0.5 / ENDS;
/// Φ(−2.5), and the part of the normal between the ends.
const BELOW: f64 = 0.006_209_665_325_776_132;
const BETWEEN: f64 = 1.0 - 2.0 * BELOW;
/// ln(σ √(2π)) and the logarithm of that part: minus the largest log q.
const LOG_VOLUME: f64 = -0.702_996_474_293_332_6;
/// Beyond this f64 has no numbers within a bin.
const LARGEST: f64 = (1u64 << 50) as f64;

/// The distribution of u within a bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BinNoise {
    /// N(½, 0.2²), truncated at the ends of the bin, which are 2.5 deviations away. The density that a flow has to
    /// learn then falls towards the edges of the bins instead of ending there: fewer steps, and a better bound (MNIST:
    /// 0.011 bits a pixel).
    #[default]
    Normal,
    /// U[0, 1).
    Uniform,
}

impl BinNoise {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Uniform => "uniform",
        }
    }

    /// The u of a word of random bits, in [0, 1).
    pub fn of(self, word: u64) -> f64 {
        match self {
            Self::Uniform => unit(word),
            Self::Normal => {
                // Strictly between 0 and 1: the middles of 2⁵³ parts.
                let share = BELOW + BETWEEN * (unit(word) + 0.5 / (1u64 << 53) as f64);
                (0.5 + SIGMA * quantile(share)).clamp(0.0, 1f64.next_down())
            }
        }
    }

    /// log q(u) for u in [0, 1]; −∞ elsewhere.
    pub fn log_density(self, u: f64) -> f64 {
        match self {
            _ if !(0.0..=1.0).contains(&u) => f64::NEG_INFINITY,
            Self::Uniform => 0.0,
            Self::Normal => {
                let z = (u - 0.5) / SIGMA;
                -0.5 * z * z - LOG_VOLUME
            }
        }
    }

    /// The variance of u, whose mean is ½.
    pub fn variance(self) -> f64 {
        match self {
            Self::Uniform => 1.0 / 12.0,
            Self::Normal => {
                let density = (-0.5 * ENDS * ENDS).exp() / TAU.sqrt();
                SIGMA * SIGMA * (1.0 - 2.0 * ENDS * density / BETWEEN)
            }
        }
    }
}

impl std::str::FromStr for BinNoise {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "normal" => Ok(Self::Normal),
            "uniform" => Ok(Self::Uniform),
            _ => Err(Error::Unknown { kind: "noise", name: text.into(), known: "normal, uniform".into() }),
        }
    }
}

/// The z with Φ(z) = p, for p between Φ(−2.5) and Φ(2.5): to a relative 1.2e-9, which is below 1e-8 in log q. The
/// quantile of `normal.rs` is exact in both tails, and ten times as dear; there is one for each pixel of each image.
/// Ref: P. J. Acklam, *An algorithm for computing the inverse normal cumulative distribution function* (2003).
fn quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0];
    const LOW: f64 = 0.02425;
    fn polynomial(c: &[f64], x: f64) -> f64 {
        c.iter().fold(0.0, |sum, c| sum * x + c)
    }
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    };
    if p < LOW {
        tail(p)
    } else if p > 1.0 - LOW {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        q * polynomial(&A, q * q) / polynomial(&B, q * q)
    }
}

/// The whole numbers that a column has: from `low` to `high`, ±∞ for no bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Integers {
    /// The least.
    pub low: f64,
    /// The greatest.
    pub high: f64,
}

impl Integers {
    /// All whole numbers.
    pub const ALL: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };

    /// Whether a number is one of them.
    pub fn has(&self, x: f64) -> bool {
        x.fract() == 0.0 && x.abs() <= LARGEST && (self.low..=self.high).contains(&x)
    }

    /// The whole number whose bin holds v; beyond the bounds the nearest.
    fn of(&self, v: f64) -> f64 {
        v.floor().clamp(self.low, self.high)
    }
}

/// Noise that makes the whole numbers of some columns real: x is a whole number on the data's side, x + u on the other.
///
/// From the data's side the row's own noise is added; from the latent's side a number becomes the whole number in whose
/// bin it lies. There and back gives the same whole numbers. A number that the column does not have is outside the
/// support.
#[derive(Clone, Debug, PartialEq)]
pub struct Dequantise {
    /// One a column; none for a column of real numbers.
    columns: Vec<Option<(Integers, BinNoise)>>,
    seed: u64,
    draw: u64,
}

impl Dequantise {
    /// The layer of these columns, of which there is at least one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for none, and for bounds without a whole number between them.
    pub fn new(columns: Vec<Option<Integers>>, noise: BinNoise) -> Result<Self> {
        Self::each(columns.into_iter().map(|whole| whole.map(|whole| (whole, noise))).collect())
    }

    /// As [`Dequantise::new`], with a noise of its own in each column.
    ///
    /// # Errors
    /// As [`Dequantise::new`].
    pub fn each(columns: Vec<Option<(Integers, BinNoise)>>) -> Result<Self> {
        if columns.is_empty() {
            return Err(Error::invalid("the layer has no columns", "give at least one column"));
        }
        let holds = |(whole, _): &&(Integers, BinNoise)| whole.low.ceil() <= whole.high.floor();
        if let Some((whole, _)) = columns.iter().flatten().find(|column| !holds(column)) {
            let problem = format!("no whole number is between {} and {}", whole.low, whole.high);
            return Err(Error::invalid(problem, "give a lower bound below the upper one"));
        }
        Ok(Self { columns, seed: 0, draw: 0 })
    }

    /// With the noise of another seed, and of its draw of this number.
    #[must_use]
    pub fn drawn(self, seed: u64, draw: u64) -> Self {
        Self { seed, draw, ..self }
    }

    /// The key of a row's noise.
    fn key(&self, row: &[f64]) -> u64 {
        mix(key(self.seed, row.iter().map(|x| *x as f32)) ^ mix(!self.draw))
    }
}

impl Bijection for Dequantise {
    fn dim(&self) -> usize {
        self.columns.len()
    }

    /// The log-determinant is log q of where in its bin each number was: with it, log p is an estimate of the bound for
    /// that noise, not for the noise of the whole numbers that come out.
    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        let d = self.columns.len();
        check_rows(&rows.y, d, condition, 0)?;
        for (i, row) in rows.y.chunks_exact_mut(d).enumerate() {
            let mut log_q = 0.0;
            for (v, whole) in row.iter_mut().zip(&self.columns) {
                if let (Some((whole, noise)), true) = (whole, v.is_finite()) {
                    let k = whole.of(*v);
                    log_q += noise.log_density((*v - k).clamp(0.0, 1.0));
                    *v = k;
                }
            }
            rows.logdet.get_mut(i).into_iter().for_each(|sum| *sum += log_q);
        }
        Ok(())
    }

    /// Rows with a number that its column does not have are listed in the cost; they are NaN, their log-determinant −∞.
    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        let d = self.columns.len();
        check_rows(&rows.y, d, condition, 0)?;
        let (mut outside, with_logdet) = (Vec::new(), rows.with_logdet());
        for (i, row) in rows.y.chunks_exact_mut(d).enumerate() {
            let fits = |(x, whole): (&f64, &Option<(Integers, BinNoise)>)| {
                whole.is_none_or(|(whole, _)| x.is_nan() || whole.has(*x))
            };
            let mut log_q = 0.0;
            if row.iter().zip(&self.columns).all(fits) {
                let key = self.key(row);
                for (j, (x, whole)) in row.iter_mut().zip(&self.columns).enumerate() {
                    if let Some((_, noise)) = whole {
                        let u = noise.of(mix(key.wrapping_add(j as u64)));
                        if with_logdet {
                            log_q += noise.log_density(u);
                        }
                        // Rounding may not take it into the next bin.
                        *x = (*x + u).min((*x + 1.0).next_down());
                    }
                }
            } else {
                outside.push(i);
                row.fill(f64::NAN);
                log_q = f64::INFINITY;
            }
            rows.logdet.get_mut(i).into_iter().for_each(|sum| *sum -= log_q);
        }
        rows.cost.merge(Cost { outside, ..Cost::default() });
        Ok(())
    }
}
