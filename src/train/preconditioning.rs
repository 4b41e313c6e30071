//! Whether a velocity begins at that of a Gaussian.

use serde::{Deserialize, Serialize};

use super::named::named;
use crate::{Error, Result};

/// What a net is the correction of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preconditioning {
    /// Of nothing: the net is the velocity.
    #[default]
    None,
    /// Of the exact velocity of a Gaussian of the data's deviation, with inputs and outputs scaled to deviation 1: see
    /// [`GaussianPath`](crate::velocity::GaussianPath). The last layer begins at zero, and with it the flow at the
    /// Gaussian.
    Gaussian,
}

impl Preconditioning {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::None, Self::Gaussian];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gaussian => "gaussian",
        }
    }
}

impl std::str::FromStr for Preconditioning {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        named("preconditioning", Self::ALL, Self::name, text)
    }
}
