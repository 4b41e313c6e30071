//! Which latent goes with which row of data, where a velocity is matched.
//!
//! Under a condition optimal pairs are made among the rows of one class, always: pairs over a whole batch make the
//! latents of a class another distribution than the one that its samples start from, and the model learns another
//! density. There is no option for them. Nor are pairs within a class the default where the
//! conditions are classes: of ten classes a batch of 32 has three rows each, whose best pairing is nearly a drawn one
//! (images: −0.002 ± 0.002 bits a dimension), and in large batches they trade steps of training for shorter paths, with
//! classes as without.

use serde::{Deserialize, Serialize};

use super::named::named;
use crate::{Error, Result};

/// How latents and rows of data are paired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pairing {
    /// As they are drawn.
    #[default]
    Independent,
    /// By the exact assignment of least Σ|x − z|² within blocks of the batch: straighter paths. Under a condition,
    /// so that latents stay independent of it, see [`pair_given`](super::pair_given).
    /// Ref: Tong et al. (2023), algorithm 3; Pooladian et al. (2023).
    Optimal,
}

impl Pairing {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Independent, Self::Optimal];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Optimal => "optimal",
        }
    }
}

impl std::str::FromStr for Pairing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        named("pairing", Self::ALL, Self::name, text)
    }
}
