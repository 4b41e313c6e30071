//! What a solve is asked to do.

use crate::control::Controller;
use crate::error::SolveError;
use crate::methods;
use crate::tableau::Tableau;

/// Method, tolerances and limits of an explicit solve.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Runge-Kutta method.
    pub method: &'static Tableau,
    /// Relative tolerance of a component.
    pub rtol: f64,
    /// Absolute tolerance of a component.
    pub atol: f64,
    /// The last `tail` rows of the state (a log-density riding along) are left out of the norm…
    pub tail: usize,
    /// …and held to this absolute tolerance instead: their offset is arbitrary, so a relative one is meaningless.
    pub tail_atol: f64,
    /// So many rows behind the tail have no say in the steps: integrals that only ride along.
    pub free: usize,
    /// Step control.
    pub controller: Controller,
    /// Equal steps instead of step control.
    pub steps: Option<usize>,
    /// The first step's length; Hairer's selection where `None`.
    pub first_step: Option<f64>,
    /// A lane whose step would fall below this length fails; never below 16 units of round-off in t.
    pub min_step: f64,
    /// No step is longer.
    pub max_step: f64,
    /// A lane that takes more steps (accepted and rejected) fails.
    pub max_steps: usize,
    /// The width of a tile: trajectories that are evaluated together.
    pub lanes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            method: &methods::TSIT5,
            rtol: 1e-5,
            atol: 1e-5,
            tail: 0,
            tail_atol: 1e-4,
            free: 0,
            controller: Controller::default(),
            steps: None,
            first_step: None,
            min_step: 0.0,
            max_step: f64::INFINITY,
            max_steps: 100_000,
            lanes: 64,
        }
    }
}

impl Options {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// [`SolveError::BadOption`] names the option.
    pub fn validate(&self) -> Result<(), SolveError> {
        let bad = |text: String| Err(SolveError::BadOption(text));
        for (name, value) in [("rtol", self.rtol), ("atol", self.atol)] {
            if !(value.is_finite() && value >= 0.0) {
                return bad(format!("{name} = {value}: a tolerance is a number ≥ 0"));
            }
        }
        if self.rtol == 0.0 && self.atol == 0.0 && self.steps.is_none() {
            return bad("rtol and atol are both 0: no step could ever be accepted".into());
        }
        if self.tail > 0 && !positive(self.tail_atol) {
            return bad(format!("tail_atol = {}: must be above 0", self.tail_atol));
        }
        if self.steps.is_none() && !self.method.adaptive() {
            return bad(format!("`{}` has no error estimate: give a number of steps", self.method.name));
        }
        if self.steps == Some(0) || self.max_steps == 0 || self.lanes == 0 {
            return bad("the numbers of steps and of lanes must be at least 1".into());
        }
        if !self.first_step.is_none_or(|h| h.is_finite() && positive(h))
            || !positive(self.max_step)
            || self.min_step.is_nan()
            || self.min_step < 0.0
        {
            return bad("step lengths must be positive".into());
        }
        Ok(())
    }
}

/// Above zero; NaN is not.
fn positive(value: f64) -> bool {
    value > 0.0
}
