//! Which latent goes with which row of data, where a velocity is matched.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How latents and rows of data are paired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pairing {
    /// As they are drawn.
    #[default]
    Independent,
    /// By the exact assignment of least Σ|x − z|² within blocks of the batch: straighter paths. Under a condition, only
    /// among rows of the same condition, see [`pair_within`](super::pair_within).
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
        Self::ALL.into_iter().find(|pairing| pairing.name() == text).ok_or_else(|| Error::Unknown {
            kind: "pairing",
            name: text.into(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// The fewest rows of the same condition in a batch, on average over the rows of the data.
const PARTNERS: f64 = 2.0;

/// Refuses optimal pairs where hardly any two rows of a batch have the same condition, as with numbers.
///
/// To pair across conditions would bias the density; to pair nothing would not be what was asked for. `conditions` are those
/// of the training rows, `[n, c]`; `batch` the rows of a batch.
///
/// # Errors
/// [`Error::Invalid`] with the numbers.
pub(super) fn check_conditions(conditions: &[f64], c: usize, batch: usize) -> Result<()> {
    let n = (conditions.len() / c.max(1)).max(1);
    let groups = super::assignment::groups(conditions, c.max(1));
    // A row of a group of k of the n rows has k/n of its batch for company, and each group has k rows to say so.
    let partners = groups.iter().map(|rows| (rows.len() as f64 / n as f64).powi(2)).sum::<f64>() * batch.min(n) as f64;
    if partners >= PARTNERS {
        return Ok(());
    }
    let different = groups.len();
    Err(Error::invalid(
        format!(
            "pairing = optimal needs rows of the same condition, but the {n} training rows have {different} different \
             conditions: a batch of {batch} rows holds {partners:.1} of one condition on average"
        ),
        "give --pairing independent; pairs of different conditions would bias the density",
    ))
}
