//! What a run minimises, and in which order.
//!
//! A [`Criterion`] is one loss. An [`Objective`] is what the user chooses: one criterion throughout, or matching first
//! and likelihood after.

use serde::{Deserialize, Serialize};

use super::named::named;
use super::{Path, TimeWeight};
use crate::continuous::SolverSpec;
use crate::model::Architecture;
use crate::transform::{Base, StandardNormal};
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
    /// Matching first, likelihood after.
    Mixed,
}

/// One loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// The regression.
    Matching,
    /// The negative log-likelihood, with penalties where they have a weight.
    Likelihood,
}

/// What a loss is computed with, apart from θ and the batch.
#[derive(Clone, Debug)]
pub struct LossContext {
    /// What is trained.
    pub architecture: Architecture,
    /// How a velocity is integrated, where the criterion integrates.
    pub solver: SolverSpec,
    /// The distribution of the latents.
    pub base: Base,
    /// How a latent and a row of data are joined, where the criterion matches.
    pub path: Path,
    /// How much a time counts, where the criterion matches.
    pub weight: TimeWeight,
    /// The exponent with which times are drawn.
    pub time_exponent: f64,
    /// The weight of the kinetic energy along the paths.
    pub kinetic: f64,
    /// The weight of the squared Jacobian along the paths.
    pub jacobian: f64,
}

impl LossContext {
    /// Standard normal latents, straight paths, uniform times that count alike, no penalties.
    pub fn new(architecture: impl Into<Architecture>, solver: SolverSpec) -> Self {
        let architecture = architecture.into();
        let base = Base::Normal(StandardNormal::new(architecture.dim()));
        let (path, weight, time_exponent) = (Path::Straight, TimeWeight::Sampled, 1.0);
        Self { architecture, solver, base, path, weight, time_exponent, kinetic: 0.0, jacobian: 0.0 }
    }
}

impl Objective {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Matching, Self::Likelihood, Self::Mixed];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matching => "matching",
            Self::Likelihood => "likelihood",
            Self::Mixed => "mixed",
        }
    }
}

impl Criterion {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Matching, Self::Likelihood];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matching => "matching",
            Self::Likelihood => "likelihood",
        }
    }

    /// Whether the loss is a negative log-likelihood (of the net's inputs, in nats).
    pub fn is_nll(self) -> bool {
        self == Self::Likelihood
    }
}

impl std::str::FromStr for Objective {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        named("objective", Self::ALL, Self::name, text)
    }
}
