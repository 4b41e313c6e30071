//! How held-out rows are scored along a run.

use serde::{Deserialize, Serialize};

use super::named::named;
use crate::{Error, Result};

/// What a validation computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValidationScore {
    /// The negative log-likelihood of the flow, by its solver.
    #[default]
    Likelihood,
    /// Its bound by matching, one evaluation a row: see [`nll_bound`](super::nll_bound).
    Bound,
}

impl ValidationScore {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Likelihood, Self::Bound];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Likelihood => "likelihood",
            Self::Bound => "bound",
        }
    }
}

impl std::str::FromStr for ValidationScore {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        named("validation score", Self::ALL, Self::name, text)
    }
}
