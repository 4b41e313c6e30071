//! What a run minimises.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::batch::{Batch, Feed};
use super::{Path, likelihood, matching};
use crate::flow::{SolverSpec, VelocitySpec};
use crate::{Error, Result};

/// What a run minimises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Flow matching: a regression on the velocity, without a solve.  Ref: Lipman et al. (2022); Tong et al. (2023).
    #[default]
    Matching,
    /// Maximum likelihood through the solver.  Ref: Chen et al. (2018); Grathwohl et al. (2019).
    Likelihood,
}

/// What a loss is computed with, apart from θ and the batch.
#[derive(Clone, Debug)]
pub struct Scene {
    /// m_θ.
    pub velocity: VelocitySpec,
    /// How it is integrated, where the objective integrates.
    pub solver: SolverSpec,
    /// The way that matching teaches.
    pub path: Path,
}

impl Objective {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Matching, Self::Likelihood];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matching => "matching",
            Self::Likelihood => "likelihood",
        }
    }

    /// Whether the loss is a negative log-likelihood (of what the net sees, in nats).
    pub fn is_nll(self) -> bool {
        self == Self::Likelihood
    }

    pub(super) fn draw(self, feed: &mut Feed<'_>, n: usize) -> Batch {
        let x = feed.rows(n);
        match self {
            Self::Matching => Batch { x, z: feed.latents(n), t: feed.times(n), probe_seed: 0 },
            Self::Likelihood => Batch { x, probe_seed: feed.probe_seed(), ..Batch::default() },
        }
    }

    /// The loss of a batch, a scalar through which candle differentiates by `theta` (`[n_params]`, f32 or f64).
    ///
    /// # Errors
    /// [`Error::Failed`] where a trajectory has no density; whatever candle or the solver refuse.
    pub fn loss(self, scene: &Scene, theta: &Tensor, batch: &Batch) -> Result<Tensor> {
        match self {
            Self::Matching => matching::loss(scene, theta, batch),
            Self::Likelihood => likelihood::loss(scene, theta, batch),
        }
    }
}

impl std::str::FromStr for Objective {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|objective| objective.name() == text).ok_or_else(|| Error::Unknown {
            kind: "objective",
            name: text.into(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}
