//! What a run minimises, and how its batches are made for it.

use serde::{Deserialize, Serialize};

use super::positive;
use crate::train::{Objective, Pairing, Path, TimeWeight};
use crate::{Error, Result, words};

/// The objective of a run: `[objective]` of its config.toml.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveSection {
    /// What is minimised; a discrete flow has the likelihood only.
    pub kind: Objective,
    /// How a latent and a row of data are joined, where a velocity is matched; left out: straight, but vp where the
    /// velocity begins at a discrete flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// Which latent goes with which row, where a velocity is matched.
    pub pairing: Pairing,
    /// Rows of a batch that are paired with each other by an optimal pairing.
    pub pairing_block: usize,
    /// The exponent a of the sampling of times where a velocity is matched: t = 1 − (1 − u)^a with u uniform. 1 is
    /// uniform; above, times are more often near the data. Left out: 1, but 2 for weights that are infinite at the
    /// data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_exponent: Option<f64>,
    /// How much the error at a time counts where a velocity is matched; left out: as often as the time is drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matching_weight: Option<TimeWeight>,
    /// The part of the budget that a mixed run gives to the likelihood, at its end.
    pub likelihood_share: f64,
    /// Rows of a batch in that part; left out: 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likelihood_batch: Option<usize>,
    /// The highest learning rate in that part; left out: a tenth of the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likelihood_lr: Option<f64>,
    /// Both tolerances of the solver while training by likelihood; left out: those of `[solver]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likelihood_tol: Option<f64>,
    /// The weight of the kinetic energy ∫|m|² dt in a likelihood.  Ref: Finlay et al., *How to train your neural ODE*
    /// (2020).
    pub kinetic: f64,
    /// The weight of ∫‖∂m/∂x‖² dt in a likelihood; as above.
    pub jacobian: f64,
    /// The end time of a likelihood's paths is uniform in 1 ± this.  Ref: Ghosh et al., *STEER* (2020).
    pub steer: f64,
    /// The target of velocity evaluations per row, by which the penalties are adjusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nfe_target: Option<f64>,
}

impl Default for ObjectiveSection {
    fn default() -> Self {
        Self {
            kind: Objective::Matching,
            path: None,
            pairing: Pairing::Independent,
            pairing_block: 256,
            time_exponent: None,
            matching_weight: None,
            likelihood_share: 0.2,
            likelihood_batch: None,
            likelihood_lr: None,
            likelihood_tol: None,
            kinetic: 0.0,
            jacobian: 0.0,
            steer: 0.0,
            nfe_target: None,
        }
    }
}

impl ObjectiveSection {
    /// The way from a latent to a row.
    pub(in crate::train) fn path(&self) -> Path {
        self.path.unwrap_or_default()
    }

    /// The exponent of the sampling of times.
    pub(in crate::train) fn time_exponent(&self) -> f64 {
        self.time_exponent.unwrap_or(self.matching_weight.unwrap_or_default().usual_exponent())
    }

    /// Validates the fields.
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |what: String, hint: &str| Err(Error::invalid(what, hint));
        if let Some(exponent) = self.time_exponent.filter(|exponent| !positive(*exponent)) {
            return refuse(
                format!("times sampled with the exponent {exponent}"),
                "set `objective.time_exponent` above 0, such as 1 for uniform times, or 2",
            );
        }
        // Below 1 the density of times is zero at the data, and what it is divided out of has no bound.
        if let Some(weight) = self.matching_weight.filter(|weight| *weight != TimeWeight::Sampled)
            && self.time_exponent() < 1.0
        {
            let (name, exponent) = (weight.name(), self.time_exponent());
            return refuse(
                format!("the weight {name} for times sampled with the exponent {exponent}"),
                "set `objective.time_exponent` to at least 1, or leave out `objective.matching_weight`",
            );
        }
        let share = self.likelihood_share;
        if !(share > 0.0 && share < 1.0) {
            return refuse(
                format!("a likelihood share of {share}"),
                "set `objective.likelihood_share` between 0 and 1, such as 0.2",
            );
        }
        if let Some(tol) = self.likelihood_tol.filter(|tol| !(*tol > 0.0 && *tol < 1.0)) {
            return refuse(
                format!("a likelihood tolerance of {}", words::exact(tol)),
                "set `objective.likelihood_tol` between 0 and 1, such as 1e-4",
            );
        }
        if self.likelihood_batch == Some(0) {
            return refuse("a likelihood batch of 0 rows".into(), "set `objective.likelihood_batch` to at least 1");
        }
        if let Some(lr) = self.likelihood_lr.filter(|lr| !positive(*lr)) {
            return refuse(
                format!("a likelihood learning rate of {}", words::exact(lr)),
                "set `objective.likelihood_lr` above 0, such as 0.001",
            );
        }
        for (name, weight) in [("kinetic", self.kinetic), ("jacobian", self.jacobian)] {
            if !(weight >= 0.0 && weight.is_finite()) {
                let hint = format!("set `objective.{name}` to at least 0, such as 0.01");
                return refuse(format!("a {name} penalty of {weight}"), &hint);
            }
        }
        if !(0.0..1.0).contains(&self.steer) {
            return refuse(
                format!("an end time of 1 ± {}", self.steer),
                "set `objective.steer` from 0 to below 1, such as 0.5",
            );
        }
        if let Some(n) = self.nfe_target.filter(|n| !(*n >= 1.0 && n.is_finite())) {
            return refuse(
                format!("a target of {n} evaluations"),
                "set `objective.nfe_target` to at least 1, such as 30",
            );
        }
        self.validate_combination()
    }

    /// Rejects a block of pairs that are none.
    fn validate_combination(&self) -> Result<()> {
        let refuse = |what: String, hint: &str| Err(Error::invalid(what, hint));
        if self.pairing == Pairing::Optimal && self.pairing_block < 2 {
            return refuse(
                format!("a pairing among {}", words::count(self.pairing_block as u64, "row")),
                "set `objective.pairing_block` to at least 2",
            );
        }
        if self.pairing == Pairing::Independent && self.pairing_block != Self::default().pairing_block {
            return refuse(
                "`objective.pairing_block` has no meaning for independent pairs".into(),
                "leave out `objective.pairing_block`, or set `objective.pairing` to optimal",
            );
        }
        Ok(())
    }
}
