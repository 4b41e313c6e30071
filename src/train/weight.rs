//! How much the squared error of a velocity counts at time t, where it is matched.
//!
//! Matching minimises ∫₀¹ w(t) E|v(x_t, t) − u|² dt / ∫₀¹ w(t) dt. Times are drawn with the density
//! p(t) = (1 − t)^(1/e − 1)/e, e being the exponent of the sampling, and a row at time t counts w(t)/(p(t) ∫ w): so p
//! decides how noisy the estimate is, and not what is estimated. The weights, on a path x_t = a x + s z, r being a′s −
//! a s′:
//!
//! | name | w | on the straight path |
//! |---|---|---|
//! | uniform | 1 | 1 |
//! | inverse | 1/(r s) | 1/(1 − t) |
//! | likelihood | a/(r s) | t/(1 − t) |
//! | sampled | p: a row counts 1 | |
//!
//! The likelihood's own: the data that a velocity predicts, E[x | x_t], are off by s (v − u)/r, and
//! −log p = const + ½ ∫ E|x − E[x | x_t]|² d(a²/s²), which is ∫ w |v − u|² dt (see [`nll_bound`](super::nll_bound)).
//! The other is flatter at the start, where images get their outlines: likelihoods almost as good and better samples.
//!
//! Both are infinite at the data, where s = 0. There s is replaced by [`NEAREST`]: beyond, a point and the data can
//! hardly be told apart, and a row that happens to lie there must not outweigh its batch. Drawn uniformly, times would
//! still give a few rows most of the gradient: the usual exponent beside these weights is 2, for which w/p grows like
//! (1 − t)^(−½) only.
//!
//! Dividing by ∫ w changes no minimum. It keeps losses, the bound on the gradient's norm and the learning rate
//! comparable.

use std::f64::consts::FRAC_PI_2;

use serde::{Deserialize, Serialize};

use super::Path;
use super::named::named;
use crate::{Error, Result};

/// Weights that grow like 1/s grow as far as here.
pub(super) const NEAREST: f64 = 1e-3;

/// The weight of time in matching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeWeight {
    /// As often as times are drawn: w = p.
    #[default]
    Sampled,
    /// w = 1.
    Uniform,
    /// w = 1/(1 − t) on the straight path.
    Inverse,
    /// w = t/(1 − t) on the straight path: that of the likelihood.
    Likelihood,
}

impl TimeWeight {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sampled, Self::Uniform, Self::Inverse, Self::Likelihood];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::Uniform => "uniform",
            Self::Inverse => "inverse",
            Self::Likelihood => "likelihood",
        }
    }

    /// The exponent with which times are drawn where none is set.
    pub fn usual_exponent(self) -> f64 {
        match self {
            Self::Sampled | Self::Uniform => 1.0,
            Self::Inverse | Self::Likelihood => 2.0,
        }
    }

    /// w at time t of a path, p being the density with which times are drawn there.
    pub(super) fn at(self, path: Path, t: f64, p: f64) -> f64 {
        let (a, s, a_dot, s_dot) = path.at(t);
        let near = (a_dot * s - a * s_dot) * s.max(NEAREST);
        match self {
            Self::Sampled => p,
            Self::Uniform => 1.0,
            Self::Inverse => 1.0 / near,
            Self::Likelihood => a / near,
        }
    }

    /// ∫₀¹ w dt.
    fn mean(self, path: Path) -> f64 {
        let log = -NEAREST.ln();
        match (self, path) {
            (Self::Sampled | Self::Uniform, _) => 1.0,
            (Self::Inverse, Path::Straight) => log + 1.0,
            (Self::Likelihood, Path::Straight) => log + 0.5 * NEAREST,
            // r is π/2 and dt = dθ/(π/2): ∫ dθ/cos θ = ln(1/cos θ + tan θ), and s is constant beyond.
            (Self::Inverse, Path::Vp) => {
                (((1.0 + (1.0 - NEAREST * NEAREST).sqrt()) / NEAREST).ln() + NEAREST.asin() / NEAREST)
                    / (FRAC_PI_2 * FRAC_PI_2)
            }
            (Self::Likelihood, Path::Vp) => (log + 1.0) / (FRAC_PI_2 * FRAC_PI_2),
        }
    }

    /// What a row counts at a time that was drawn with an exponent: w/(p ∫ w), whose mean over times is 1.
    pub(super) fn of_row(self, path: Path, exponent: f64, t: f64) -> f64 {
        if self == Self::Sampled {
            return 1.0;
        }
        let p = if exponent == 1.0 { 1.0 } else { (1.0 - t).powf(1.0 / exponent - 1.0) / exponent };
        self.at(path, t, p) / (p * self.mean(path))
    }
}

impl std::str::FromStr for TimeWeight {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        named("weight of time", Self::ALL, Self::name, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weights_mean_over_times_is_one_however_they_are_drawn() {
        let n = 300_000;
        for (weight, path) in TimeWeight::ALL.into_iter().flat_map(|weight| Path::ALL.map(|path| (weight, path))) {
            for exponent in [1.0, 2.0, 3.0] {
                let time = |i: i32| 1.0 - (1.0 - (f64::from(i) + 0.5) / f64::from(n)).powf(exponent);
                let mean = (0..n).map(|i| weight.of_row(path, exponent, time(i))).sum::<f64>() / f64::from(n);
                // The midpoint rule, on second derivatives of 1/NEAREST² in all and a kink of 1/NEAREST²: both times
                // n⁻².
                assert!((mean - 1.0).abs() < 2e-5, "{} {} {exponent}: {mean}", weight.name(), path.name());
            }
        }
    }

    #[test]
    fn no_row_counts_without_bound() {
        for (weight, path) in TimeWeight::ALL.into_iter().flat_map(|weight| Path::ALL.map(|path| (weight, path))) {
            let most = 1.0 / NEAREST;
            for t in [0.0, 0.5, 1.0 - 1e-3, 1.0 - 1e-9, 1.0] {
                let counts = weight.of_row(path, weight.usual_exponent(), t);
                assert!((0.0..most).contains(&counts), "{} {} at {t}: {counts}", weight.name(), path.name());
            }
            assert_eq!(weight.name().parse::<TimeWeight>().unwrap(), weight);
        }
        assert!("late".parse::<TimeWeight>().unwrap_err().to_string().contains("unknown weight of time"));
    }
}
