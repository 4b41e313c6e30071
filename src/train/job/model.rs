//! What a run trains, and from where it starts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::positive;
use crate::discrete::Split;
use crate::train::{Family, Net, Preconditioning, start};
pub use crate::velocity::Precision;
use crate::velocity::{Activation, TimeInput};
use crate::{Error, Result};

/// The model of a run: `[model]` of its config.toml.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSection {
    /// The family that is trained.
    pub family: Family,
    /// What the velocity of a continuous flow is made of.
    pub net: Net,
    /// What the net is the correction of; left out: of nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditioning: Option<Preconditioning>,
    /// The widths of the hidden layers; left out: 48,48,48,48,48 up to 16 dimensions, 256,256 beyond; 64,64 for the
    /// nets of a discrete flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// The nonlinearity; left out: silu, but relu for the nets of a discrete flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// The frequencies of the sines and cosines of time that enter the net in addition to time itself.
    pub time_features: usize,
    /// The couplings of a discrete flow; left out: 8, NICE 12.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Which columns a coupling leaves alone.
    pub halves: Split,
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
    /// The distribution at which the velocity begins: normal, mixture (of Gaussians, as many as score best on the validation
    /// set), mixture:K, or auto: the normal, but for a table a mixture is fitted too, and replaces the flow where its
    /// validation NLL is better.
    pub base: String,
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
            net: Net::Mlp,
            preconditioning: None,
            hidden: None,
            activation: None,
            time_features: 0,
            depth: None,
            halves: Split::default(),
            linear: false,
            bins: 8,
            bound: 5.0,
            log_scale: 3.0,
            sigma: 1.0,
            base: "auto".into(),
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
        start::check_base(&self.base)
    }

    /// How time enters the net.
    pub fn time_input(&self) -> TimeInput {
        match self.time_features {
            0 => TimeInput::Plain,
            frequencies => TimeInput::Fourier { frequencies },
        }
    }
}
