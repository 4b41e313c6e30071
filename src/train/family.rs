//! What is trained: a continuous flow, a discrete one, or a baseline without a net.

use serde::{Deserialize, Serialize};

use super::named::named;
use crate::Error;
use crate::discrete::Kind;
use crate::model::Model;

/// A family of models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Family {
    /// A continuous normalizing flow.
    #[default]
    Cnf,
    /// A discrete flow.
    Discrete(Kind),
    /// One Gaussian with a full covariance.
    Gaussian,
    /// One Gaussian whose correlations are as much smaller as the validation set prefers.
    GaussianShrunk,
    /// One round Gaussian of fixed deviation: only its mean is fitted.
    GaussianFixed,
    /// A mixture of Gaussians by expectation maximisation; the validation set chooses how many.
    Mixture,
    /// A table of probabilities, in one or two dimensions; the validation set chooses its bins.
    Histogram,
    /// The best of several in the time given, by the validation set; not among [`Family::ALL`], for a trained model is of
    /// one of these.
    Auto,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Cnf,
        Self::Discrete(Kind::Nice),
        Self::Discrete(Kind::RealNvp),
        Self::Discrete(Kind::Glow),
        Self::Discrete(Kind::Spline),
        Self::Gaussian,
        Self::GaussianShrunk,
        Self::GaussianFixed,
        Self::Mixture,
        Self::Histogram,
    ];

    /// All that can be asked for: all of them, and the choice between some.
    pub const TYPED: [Self; Self::ALL.len() + 1] = {
        let mut all = [Self::Auto; Self::ALL.len() + 1];
        let mut i = 0;
        while i < Self::ALL.len() {
            all[i] = Self::ALL[i];
            i += 1;
        }
        all
    };

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cnf => "cnf",
            Self::Discrete(kind) => kind.name(),
            Self::Gaussian => "gaussian",
            Self::GaussianShrunk => "gaussian-shrunk",
            Self::GaussianFixed => "gaussian-fixed",
            Self::Mixture => "mixture",
            Self::Histogram => "histogram",
            Self::Auto => "auto",
        }
    }

    /// All names, for people.
    pub fn names() -> String {
        Self::TYPED.map(Self::name).join(", ")
    }

    /// The kind of a discrete flow.
    pub fn discrete(self) -> Option<Kind> {
        if let Self::Discrete(kind) = self { Some(kind) } else { None }
    }

    /// The numbers that were fitted in a model of this family.
    pub fn n_params(self, model: &Model) -> usize {
        if self == Self::GaussianFixed { model.spec.architecture.dim() } else { model.n_params() }
    }

    /// A density without a net, fitted and not trained.
    pub fn is_reference(self) -> bool {
        !matches!(self, Self::Cnf | Self::Discrete(_) | Self::Auto)
    }
}

impl std::str::FromStr for Family {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        named("model", Self::TYPED, Self::name, text)
    }
}

impl TryFrom<String> for Family {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Family> for String {
    fn from(family: Family) -> Self {
        family.name().into()
    }
}
