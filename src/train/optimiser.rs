//! What makes steps of gradients.

use serde::{Deserialize, Serialize};

use super::named::named;
use crate::{Error, Result};

/// An optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimiser {
    /// Adam with decoupled decay of the weights: see [`AdamW`](super::AdamW).
    #[default]
    AdamW,
    /// Orthogonal steps of the matrices, and AdamW for the other weights: see [`Muon`](super::Muon).
    Muon,
}

impl Optimiser {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::AdamW, Self::Muon];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::AdamW => "adamw",
            Self::Muon => "muon",
        }
    }
}

impl std::str::FromStr for Optimiser {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        named("optimiser", Self::ALL, Self::name, text)
    }
}
