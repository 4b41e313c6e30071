//! The exact velocity of a Gaussian along a path, and the scales of a net for the rest.
//!
//! Let x_t = α x + σ z as [`Path`] has it, x with mean 0 and deviation s in each column, z standard normal. x_t then
//! has the variance V = α² s² + σ², and of all linear functions of x_t this one is nearest to u = α′ x + σ′ z:
//!
//! a x_t with a = (α α′ s² + σ σ′)/V = V′/2V.
//!
//! It is the velocity itself where x is Gaussian. What is left, u − a x_t, has the variance s² (α′σ − ασ′)²/V at every
//! t, whatever the distribution of x is. So in
//!
//! v = a(t) x + b(t) net(c(t) x, t) with b = s |α′σ − ασ′|/√V and c = 1/√V
//!
//! the net sees numbers of mean square 1 and is held to numbers of mean square 1, at all times. A net that returns 0 is
//! the flow of the Gaussian. On the straight path a = (t s² − (1 − t))/V, b = s/√V, V = t² s² + (1 − t)².
//! Ref: Karras et al., *Elucidating the design space of diffusion-based generative models* (2022), section 5, where the
//! latent is added to the data.
//!
//! A b that falls like 1 − t towards the data, as the rest does where the density is smooth, was refused: where data
//! have details of size ε the rest is of order one up to 1 − t = ε, and the net would have to grow like 1/(1 − t).

use serde::{Deserialize, Serialize};

use super::Path;
use crate::{Error, Result};

/// The path from the standard normal to a Gaussian of mean 0 and one deviation in all columns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaussianPath {
    /// How x and z are joined.
    pub path: Path,
    /// s, the deviation of x.
    pub deviation: f64,
}

/// a, b and c in v = a x + b net(c x, t), at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// The Gaussian's velocity is a x.
    pub a: f64,
    /// The deviation of the rest.
    pub b: f64,
    /// One over the deviation of x_t.
    pub c: f64,
}

impl GaussianPath {
    /// a, b and c at time t; all are finite at any t.
    pub fn at(self, t: f64) -> Coefficients {
        let (signal, noise, signal_dot, noise_dot) = self.path.at(t);
        let s = self.deviation;
        let (x, x_dot) = (signal * s, signal_dot * s);
        let variance = x * x + noise * noise;
        let c = 1.0 / variance.sqrt();
        Coefficients { a: (x * x_dot + noise * noise_dot) / variance, b: (x_dot * noise - x * noise_dot).abs() * c, c }
    }

    /// How fast a changes, at most, as the weight of time of an activation: see
    /// [`Velocity::time_rate`](super::Velocity::time_rate). V has its bend of width 1/s or s at one end.
    pub fn time_rate(self) -> f64 {
        self.deviation.max(1.0 / self.deviation)
    }

    /// Checks the deviation.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is not a number above 0, or whose square is none.
    pub fn validate(self) -> Result<()> {
        let s = self.deviation;
        if s > 0.0 && (s * s).is_normal() {
            return Ok(());
        }
        let hint = "give a deviation above 0, such as 1";
        Err(Error::invalid(format!("the velocity begins at a Gaussian of deviation {s}"), hint))
    }
}
