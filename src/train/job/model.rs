//! What a run trains, and from where it starts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::positive;
use crate::discrete::{Kind, Mask};
use crate::train::{Family, Net, Preconditioning, Whitening};
pub use crate::velocity::Precision;
use crate::velocity::{Activation, TimeInput};
use crate::{Error, Result};

/// More components than this are a mistake.
const MOST_COMPONENTS: usize = 4096;

/// The model of a run: `[model]` of its config.toml.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSection {
    /// The family that is trained.
    pub family: Family,
    /// What a velocity, or the nets of a discrete flow, are made of; left out: convolution for images, mlp for other
    /// rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<Net>,
    /// What the net is the correction of; left out: of nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditioning: Option<Preconditioning>,
    /// The widths of the hidden layers; left out: 48,48,48,48,48 up to 16 dimensions, 256,256 beyond; 64,64 for the
    /// nets of a discrete flow; their channels, 48,48, for one of images; for a continuous flow of images 16,32,32, the
    /// channels at full, half and a quarter of the size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// The nonlinearity; left out: silu, but relu for the nets of a discrete flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// The frequencies of the sines and cosines of time that enter the net in addition to time itself.
    pub time_features: usize,
    /// The couplings of a discrete flow, or its steps in each level of images; left out: 8, NICE of
    /// rows 12.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// The levels of a discrete flow of images; left out: 2, or 1 where there are no two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<usize>,
    /// Which columns a coupling leaves alone.
    #[serde(alias = "halves")]
    pub mask: Mask,
    /// An activation norm and an invertible linear map before each coupling, beside Glow's.
    pub linear: bool,
    /// The bins of a spline.
    pub bins: usize,
    /// A spline bends between minus this and this, in deviations.
    pub bound: f64,
    /// The most that an affine coupling's log-scale can be.
    pub log_scale: f64,
    /// The deviation of the Gaussian whose deviation is fixed, in the data's units.
    pub sigma: f64,
    /// The distribution at which the velocity begins: normal, mixture (of Gaussians, as many as score best on the
    /// validation set), mixture:K, a discrete flow by its name (spline, realnvp, glow, nice), which is trained first, best
    /// (a spline, or a mixture where held-out rows prefer one), or auto: for a table of more than two columns best where the
    /// budget is a time, and spline where it is steps; else the normal, but for a table a mixture is fitted too, and replaces
    /// the flow where its validation NLL is better.
    pub base: String,
    /// Whether a linear map that makes columns uncorrelated comes before the couplings of a discrete flow of a table; auto:
    /// before a spline's, where held-out rows gain by it.
    pub whitening: Whitening,
    /// The part of the budget in which the discrete flow is trained at which the velocity begins.
    pub base_share: f64,
    /// A model file whose weights, net and standardisation are the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// The precision of weights and states.
    pub precision: Precision,
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            family: Family::Cnf,
            net: None,
            preconditioning: None,
            hidden: None,
            activation: None,
            time_features: 0,
            depth: None,
            levels: None,
            mask: Mask::default(),
            linear: false,
            bins: 8,
            bound: 5.0,
            log_scale: 3.0,
            sigma: 1.0,
            base: BaseRule::AUTO.into(),
            whitening: Whitening::Auto,
            base_share: 0.7,
            init: None,
            precision: Precision::F32,
        }
    }
}

impl ModelSection {
    /// Validates the fields.
    pub(super) fn validate(&self) -> Result<()> {
        if !positive(self.sigma) {
            return Err(Error::invalid(
                format!("a Gaussian of standard deviation {}", self.sigma),
                "set `model.sigma` above 0, such as 1",
            ));
        }
        let (rule, share) = (BaseRule::of(&self.base, true)?, self.base_share);
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::invalid(
                format!("a share of {share} of the budget for the base"),
                "set `model.base_share` above 0 and below 1, such as 0.7",
            ));
        }
        if share != Self::default().base_share && rule.flow().is_none() {
            return Err(Error::invalid(
                format!("`model.base_share` has no meaning for the base {}, which takes no steps", self.base),
                "leave out `model.base_share`, or set `model.base` to a discrete flow, such as spline",
            ));
        }
        if self.family == Family::Cnf
            && self.whitening != Whitening::Auto
            && rule.flow().is_none()
            && self.init.is_none()
        {
            return Err(Error::invalid(
                format!("`model.whitening` has no meaning for the base {}: it comes before couplings", self.base),
                "leave out `model.whitening`, or set `model.base` to a discrete flow, such as spline",
            ));
        }
        Ok(())
    }

    /// How time enters the net.
    pub fn time_input(&self) -> TimeInput {
        match self.time_features {
            0 => TimeInput::Plain,
            frequencies => TimeInput::Fourier { frequencies },
        }
    }
}

/// The distribution at which the velocity begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BaseRule {
    /// The standard normal.
    Normal,
    /// The velocity begins at the normal; a mixture is fitted beside it, and the better of the two is the model.
    Baseline,
    /// At a mixture of as many components as score best on the validation rows.
    Choose,
    /// At a mixture of so many components.
    Components(usize),
    /// At a discrete flow, trained first.
    Discrete(Kind),
    /// At a spline, trained first, or at a mixture, where held-out rows prefer one.
    Best,
}

impl BaseRule {
    /// The discrete flow that is trained first.
    pub(crate) fn flow(self) -> Option<Kind> {
        match self {
            Self::Discrete(kind) => Some(kind),
            Self::Best => Some(Kind::Spline),
            _ => None,
        }
    }

    /// The text of the rule that looks at the data.
    pub(crate) const AUTO: &str = "auto";
    /// The text of the better one of a spline and a mixture.
    pub(crate) const BEST: &str = "best";

    /// The rule that a text stands for; `judged`: held-out rows can choose between the flow and a mixture.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text that is none of them.
    pub(crate) fn of(text: &str, judged: bool) -> Result<Self> {
        let refuse = |problem: String| {
            Err(Error::invalid(
                problem,
                "give auto, best, normal, mixture, mixture:K with K components, such as mixture:64, or a discrete flow, such \
                 as spline",
            ))
        };
        match (text, text.strip_prefix("mixture:").map(str::parse::<usize>)) {
            ("normal", _) => Ok(Self::Normal),
            (Self::AUTO, _) => Ok(if judged { Self::Baseline } else { Self::Normal }),
            ("mixture", _) => Ok(Self::Choose),
            (Self::BEST, _) => Ok(Self::Best),
            (_, Some(Ok(k))) if (1..=MOST_COMPONENTS).contains(&k) => Ok(Self::Components(k)),
            (_, Some(_)) => {
                refuse(format!("`model.base` `{text}` has no number of components from 1 to {MOST_COMPONENTS}"))
            }
            _ => match Kind::ALL.into_iter().find(|kind| kind.name() == text) {
                Some(kind) => Ok(Self::Discrete(kind)),
                None => refuse(format!("unknown `model.base` `{text}`")),
            },
        }
    }
}
