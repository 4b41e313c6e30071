//! Method, tolerances and limits of a solve.

use crate::control::Controller;
use crate::error::SolveError;
use crate::method::Method;
use crate::methods;

/// Method, tolerances and limits of a solve.
///
/// Write it as `Options { rtol: 1e-8, ..Options::default() }`: fields are added without a new major version.
#[derive(Clone, Debug)]
pub struct Options {
    /// The method, explicit or implicit.
    pub method: Method,
    /// Relative tolerance of a component.
    pub rtol: f64,
    /// Absolute tolerance of a component; above 0 for an implicit method.
    pub atol: f64,
    /// This many rows of the state, behind those of the path, are log-determinants: they are not part of the norm.
    pub log_det_rows: usize,
    /// The absolute tolerance of those rows: their offset is arbitrary, so a relative one is meaningless.
    pub log_det_atol: f64,
    /// This many rows behind those are outside error control: integrals that do not feed back. Rows of either kind
    /// need an explicit method.
    pub uncontrolled_rows: usize,
    /// Step control of an explicit method. An implicit one has its own.
    pub controller: Controller,
    /// This many equal steps instead of step control; explicit methods only.
    pub steps: Option<usize>,
    /// The first step's length, in units of time. `None` estimates it (Hairer, Nørsett & Wanner,
    /// *Solving ODEs I*, II.4).
    pub first_step: Option<f64>,
    /// A trajectory whose step would fall below this length fails; never below 16 units of round-off in t.
    pub min_step: f64,
    /// No step is longer, in units of time.
    pub max_step: f64,
    /// A trajectory that takes more steps (accepted and rejected) fails.
    pub max_steps: usize,
    /// The width of a tile: trajectories that an explicit method evaluates together. Changes no bit of a result.
    pub lanes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            method: Method::Explicit(&methods::TSIT5),
            rtol: 1e-5,
            atol: 1e-5,
            log_det_rows: 0,
            log_det_atol: 1e-4,
            uncontrolled_rows: 0,
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
    /// Checks the values, and whether the method supports their combination.
    ///
    /// # Errors
    /// [`SolveError::BadOption`] names the option; [`SolveError::Unsupported`] for an implicit method without the
    /// feature `implicit`.
    pub fn validate(&self) -> Result<(), SolveError> {
        let bad = |text: String| Err(SolveError::BadOption(text));
        for (name, value) in [("rtol", self.rtol), ("atol", self.atol)] {
            if !(value.is_finite() && value >= 0.0) {
                return bad(format!("{name} = {value}: a tolerance is a number ≥ 0"));
            }
        }
        if self.rtol == 0.0 && self.atol == 0.0 && self.steps.is_none() {
            return bad("rtol and atol are both 0: no step can be accepted".into());
        }
        if self.log_det_rows > 0 && !positive(self.log_det_atol) {
            return bad(format!("log_det_atol = {}: must be above 0", self.log_det_atol));
        }
        if self.steps.is_none() && !self.method.adaptive() {
            return bad(format!("`{}` has no error estimate: give a number of steps", self.method));
        }
        if let Method::Implicit(method) = self.method {
            if !cfg!(feature = "implicit") {
                return Err(SolveError::Unsupported { method: method.name(), needs: "the feature `implicit`" });
            }
            if self.atol == 0.0 {
                return bad(format!("atol = 0: `{method}` needs an absolute tolerance above 0"));
            }
            if let Some(steps) = self.steps {
                return bad(format!("steps = {steps}: `{method}` chooses its own steps"));
            }
            if self.log_det_rows > 0 || self.uncontrolled_rows > 0 {
                return bad(format!(
                    "log_det_rows = {}, uncontrolled_rows = {}: `{method}` holds all rows to one tolerance",
                    self.log_det_rows, self.uncontrolled_rows
                ));
            }
        }
        let counts = [("steps", self.steps.unwrap_or(1)), ("max_steps", self.max_steps), ("lanes", self.lanes)];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return bad(format!("{name} = 0: must be at least 1"));
        }
        let sound = self.first_step.is_none_or(|h| h.is_finite() && positive(h))
            && positive(self.max_step)
            && self.min_step.is_finite()
            && self.min_step >= 0.0;
        if !sound {
            return bad(format!(
                "first_step = {:?}, min_step = {}, max_step = {}: step lengths must be positive",
                self.first_step, self.min_step, self.max_step
            ));
        }
        Ok(())
    }
}

/// Above zero; NaN is not.
fn positive(value: f64) -> bool {
    value > 0.0
}
