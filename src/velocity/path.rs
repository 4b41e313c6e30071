//! The path from a latent to a row of data: x_t = a(t) x + s(t) z.
//!
//! Its velocity is u = a′ x + s′ z; flow matching fits E[u | x_t], the field that transports the density of x_t. A path
//! has to start in the latent, a(0) = 0, s(0) = 1, and end in the data, a(1) = 1, s(1) = 0. Ref: Lipman et al. (2022);
//! Albergo & Vanden-Eijnden, *Building normalizing flows with stochastic interpolants* (2023).
//!
//! The variance-preserving path of diffusion, a = exp(−½ ∫ₜ¹ β), s² = 1 − a² with β from 0.1 to 20 (Song et al. 2021),
//! is left out: a(0) = exp(−5.02) = 0.0066 leaves a trace of the data in the latent, so that the flow would start
//! from a density that is not the normal, and s′ is infinite at t = 1.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The way from z to x.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// a = t, s = 1 − t: a straight line at constant speed.
    #[default]
    Straight,
    /// a = sin(πt/2), s = cos(πt/2): a² + s² = 1, so the variance stays where data and latent have the same. The
    /// data are standardised to another one by default: with it the variance is a² Var x + s², between the two.
    Vp,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Straight, Self::Vp];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Straight => "straight",
            Self::Vp => "vp",
        }
    }

    /// (a, s, a′, s′) at time t: x_t = a x + s z moves at u = a′ x + s′ z.
    pub fn at(self, t: f64) -> (f64, f64, f64, f64) {
        match self {
            Self::Straight => (t, 1.0 - t, 1.0, -1.0),
            // The ends exactly: the cosine of the nearest number to π/2 is 6e-17.
            Self::Vp if t == 1.0 => (1.0, 0.0, 0.0, -std::f64::consts::FRAC_PI_2),
            Self::Vp => {
                let (sin, cos) = (std::f64::consts::FRAC_PI_2 * t).sin_cos();
                (sin, cos, std::f64::consts::FRAC_PI_2 * cos, -std::f64::consts::FRAC_PI_2 * sin)
            }
        }
    }

    /// (x_t, u) of one column of a pair.
    pub fn through(self, x: f64, z: f64, t: f64) -> (f64, f64) {
        match self {
            // The same as below, with one rounding less.
            Self::Straight => (z + t * (x - z), x - z),
            Self::Vp => {
                let (a, s, a_dot, s_dot) = self.at(t);
                (a * x + s * z, a_dot * x + s_dot * z)
            }
        }
    }
}

impl std::str::FromStr for Path {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|path| path.name() == text).ok_or_else(|| Error::Unknown {
            kind: "path",
            name: text.into(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}
