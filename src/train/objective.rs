//! What a run minimises, and in which order.
//!
//! A [`Criterion`] is one loss: the contents of a batch, and its value. An [`Objective`] is what the user chooses: one
//! criterion throughout, or matching first and likelihood after.

use serde::{Deserialize, Serialize};

use super::batch::{Batch, BatchSampler};
use super::discrete::DiscreteLikelihood;
use super::likelihood::Likelihood;
use super::loss::{FixedTree, LossGradient, evaluate};
use super::matching::Matching;
use super::{Conditions, Pairing, Path, Precision, assignment};
use crate::continuous::SolverSpec;
use crate::model::Architecture;
use crate::rows::Rows;
use crate::transform::{Base, StandardNormal};
use crate::velocity::Number;
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
    /// The weight of the kinetic energy along the paths.
    pub kinetic: f64,
    /// The weight of the squared Jacobian along the paths.
    pub jacobian: f64,
}

/// How the batches of a run are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub rows: usize,
    pub pairing: Pairing,
    /// Rows that are paired with each other.
    pub block: usize,
    /// The exponent of the sampling of times: see [`BatchSampler::times`].
    pub time_exponent: f64,
    /// The end time is uniform in 1 ± this.
    pub steer: f64,
}

impl LossContext {
    /// Standard normal latents, straight paths, no penalties.
    pub fn new(architecture: impl Into<Architecture>, solver: SolverSpec) -> Self {
        let architecture = architecture.into();
        let base = Base::Normal(StandardNormal::new(architecture.dim()));
        Self { architecture, solver, base, path: Path::Straight, kinetic: 0.0, jacobian: 0.0 }
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

    pub(super) fn draw(self, sampler: &mut BatchSampler<'_>, how: Draw) -> Result<Batch> {
        let n = how.rows;
        let Rows { x, context: c, weight } = sampler.rows(n)?;
        Ok(match self {
            Self::Matching => {
                let mut z = sampler.latents(&x);
                match (how.pairing, c.is_empty()) {
                    (Pairing::Independent, _) => {}
                    (Pairing::Optimal, true) => assignment::pair(&x, &mut z, x.len() / n, how.block),
                    (Pairing::Optimal, false) => {
                        let given = Conditions { rows: &c, weights: sampler.weights() };
                        assignment::pair_given(&x, &mut z, given, x.len() / n, how.block);
                    }
                }
                let t = sampler.times(n, how.time_exponent);
                Batch { x, c, weight, z, t, ..Batch::default() }
            }
            Self::Likelihood => {
                let probe_seed = sampler.probe_seed();
                let end = if how.steer > 0.0 { 1.0 + how.steer * sampler.swing() } else { 1.0 };
                Batch { x, c, weight, probe_seed, end, ..Batch::default() }
            }
        })
    }

    /// The loss of a batch and its gradient by `theta` (`[n_params]`, rounded to `precision`, in which the net computes),
    /// with the parts of the loss where it is a likelihood.
    ///
    /// Rows are taken in fixed chunks, and what these add is summed along a fixed tree: the bits depend neither on the
    /// number of threads nor on which of them computes what.
    ///
    /// # Errors
    /// [`Error::Failed`] where a row has no density (of a continuous flow, more than half of them);
    /// [`Error::Degenerate`] for parameters that are not a bijection; [`Error::Dimension`] where θ does not fit;
    /// [`Error::Invalid`] for a batch whose numbers are not whole rows; any error of the solver.
    pub fn gradient(
        self,
        context: &LossContext,
        theta: &[f64],
        precision: Precision,
        batch: &Batch,
    ) -> Result<LossGradient> {
        match precision {
            Precision::F32 => self.gradient_in::<f32>(context, theta, batch),
            Precision::F64 => self.gradient_in::<f64>(context, theta, batch),
        }
    }

    fn gradient_in<T: Number>(self, context: &LossContext, theta: &[f64], batch: &Batch) -> Result<LossGradient> {
        let narrow = |numbers: &[f64]| numbers.iter().map(|v| T::of(*v)).collect::<Vec<T>>();
        let theta = narrow(theta);
        batch.check(&context.architecture, self)?;
        let condition = narrow(&batch.c);
        match (self, &context.architecture) {
            (Self::Matching, architecture) => {
                let velocity = architecture.velocity()?.bind_here(&theta)?;
                let (path, condition) = (context.path, &condition[..]);
                evaluate(&Matching { velocity: &*velocity, path, batch, condition }, &FixedTree)
            }
            (Self::Likelihood, Architecture::Discrete(spec)) => {
                evaluate(&DiscreteLikelihood::new(spec, &theta, batch)?, &FixedTree)
            }
            (Self::Likelihood, architecture) => {
                let spec = architecture.velocity()?;
                let velocity = spec.bind_here(&theta)?;
                let x = narrow(&batch.x);
                evaluate(&Likelihood::new(context, spec, &*velocity, batch, (&x, &condition))?, &FixedTree)
            }
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
