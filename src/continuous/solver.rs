//! How a continuous flow is integrated, as data: saved in the model, changed at the command line.

use cnflow_solvers::{Controller, Law, Options};
use serde::{Deserialize, Serialize};

use crate::velocity::{FEW_DIMENSIONS, ImageShape, Noise, Precision, Trace, VelocitySpec};
use crate::{Error, Result};

/// How the log-density is accumulated along the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogDensity {
    /// By quadrature where steps adapt, coupled where they are fixed.
    #[default]
    Auto,
    /// A quadrature on the dense output of the path, with an error estimate.
    Quadrature,
    /// An extra state, integrated with the path.
    Coupled,
    /// Not integrated: that of the map of equal steps itself, with a tangent for each dimension.
    Exact,
}

/// The requested trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceSpec {
    /// Exact where it is cheap: a closed form, or few dimensions; two Rademacher probes elsewhere, so that their error
    /// can be estimated.
    #[default]
    Auto,
    /// Exact at any cost.
    Exact,
    /// So many Rademacher probes.
    Hutchinson(usize),
    /// So many Gaussian probes.
    Gaussian(usize),
    /// Probes on lattices of an image's pixels: every `spacing`-th row and column, `spacing²` probes a draw.
    Lattice {
        /// At least 1; with 1 these are Rademacher probes.
        spacing: usize,
        /// Independent draws; two or more tell their error.
        draws: usize,
    },
}

/// Tolerances below four units of f32's round-off only waste steps.
const F32_LIMIT: f64 = 4.0 * f32::EPSILON as f64;
/// The most probes.
const MOST_PROBES: usize = 4096;
/// The longest gap between two stages, in units of the time in which a unit changes: see [`longest_step`].
const SEEN: f64 = 2.0;
/// Faster units than this would cost more than a thousand steps in every solve.
const FASTEST: f64 = 4e3;
/// A shorter longest step would take more than ten thousand steps.
const SHORTEST_MAX_STEP: f64 = 1e-4;
/// A wider tile leaves every cache.
const MOST_LANES: usize = 4096;

impl TraceSpec {
    /// The trace for a velocity.
    ///
    /// # Errors
    /// As [`TraceSpec::resolve`].
    pub fn of(self, velocity: &VelocitySpec) -> Result<Trace> {
        self.resolve(velocity.dim(), velocity.closed_form(), velocity.shape())
    }

    /// The trace for a velocity of `dim` dimensions, whose closed form exists or not, of images of `shape`, if it is
    /// one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a lattice where there are no images, or one wider than these.
    pub fn resolve(self, dim: usize, closed_form: bool, shape: Option<ImageShape>) -> Result<Trace> {
        Ok(match self {
            Self::Auto if closed_form || dim <= FEW_DIMENSIONS => Trace::Exact,
            Self::Auto => Trace::Hutchinson { probes: 2, noise: Noise::Rademacher },
            Self::Exact => Trace::Exact,
            Self::Hutchinson(probes) => Trace::Hutchinson { probes, noise: Noise::Rademacher },
            Self::Gaussian(probes) => Trace::Hutchinson { probes, noise: Noise::Gaussian },
            Self::Lattice { spacing, draws } => match shape {
                None => {
                    let problem = format!("the trace {self} needs a net on images, the velocity is of plain rows");
                    return Err(Error::invalid(problem, "set `solver.trace` to hutchinson:8 or exact"));
                }
                Some(ImageShape { height, width, .. }) if spacing > height.max(width) => {
                    let problem =
                        format!("the trace {self} has a pixel of every {spacing}, images have {height} × {width}");
                    let hint = format!("set `solver.trace` to a lattice of at most {}", height.max(width));
                    return Err(Error::invalid(problem, hint));
                }
                Some(shape) => Trace::Lattice { shape, spacing, draws },
            },
        })
    }

    /// Random probes; 0 for an exact trace.
    fn probes(self) -> usize {
        match self {
            Self::Auto | Self::Exact => 0,
            Self::Hutchinson(probes) | Self::Gaussian(probes) => probes,
            Self::Lattice { spacing, draws } => spacing.saturating_mul(spacing).saturating_mul(draws),
        }
    }

    /// The same trace with so many draws that they tell their error: what to use instead of a single one.
    pub fn with_error(self) -> Self {
        if let Self::Lattice { spacing, .. } = self { Self::Lattice { spacing, draws: 4 } } else { Self::Hutchinson(8) }
    }
}

/// What follows upon `lattice`: nothing, `:K`, or `:K:N`.
fn lattice(rest: &str) -> Option<TraceSpec> {
    let number = |text: &str| text.parse::<usize>().ok().filter(|n| *n > 0);
    let (spacing, draws) = match rest.strip_prefix(':') {
        None if rest.is_empty() => (2, 1),
        None => return None,
        Some(rest) => match rest.split_once(':') {
            None => (number(rest)?, 1),
            Some((spacing, draws)) => (number(spacing)?, number(draws)?),
        },
    };
    Some(TraceSpec::Lattice { spacing, draws })
}

impl std::str::FromStr for TraceSpec {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Some(rest) = text.strip_prefix("lattice") {
            return lattice(rest).ok_or_else(|| {
                format!("`{text}`: expected lattice:K or lattice:K:N with every K-th row and column in N draws")
            });
        }
        let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
        let probes = match count.map(str::parse::<usize>) {
            None => 1,
            Some(Ok(probes)) if probes > 0 && name != "auto" && name != "exact" => probes,
            Some(_) => return Err(format!("`{text}`: expected hutchinson:K or gaussian:K with K ≥ 1 probes")),
        };
        match name {
            "auto" => Ok(Self::Auto),
            "exact" => Ok(Self::Exact),
            "hutchinson" => Ok(Self::Hutchinson(probes)),
            "gaussian" => Ok(Self::Gaussian(probes)),
            _ => Err(format!("`{text}`: expected auto, exact, hutchinson:K, gaussian:K, lattice:K, lattice:K:N")),
        }
    }
}

impl std::fmt::Display for TraceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Exact => f.write_str("exact"),
            Self::Hutchinson(probes) => write!(f, "hutchinson:{probes}"),
            Self::Gaussian(probes) => write!(f, "gaussian:{probes}"),
            Self::Lattice { spacing, draws: 1 } => write!(f, "lattice:{spacing}"),
            Self::Lattice { spacing, draws } => write!(f, "lattice:{spacing}:{draws}"),
        }
    }
}

pub use cnflow_solvers::Method;

/// A law of step control as files hold it.
mod law_by_name {
    use cnflow_solvers::Law;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(law: &Law, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(law.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Law, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Method, tolerances and the treatment of the log-density.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SolverSpec {
    /// A name of [`Method::names`].
    pub method: String,
    /// Relative tolerance of the path.
    pub rtol: f64,
    /// Absolute tolerance of the path.
    pub atol: f64,
    /// Absolute tolerance of the log-density in nats; where it is left out, see [`SolverSpec::log_density_atol`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_density_atol: Option<f64>,
    /// This many equal steps instead of step control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_steps: Option<usize>,
    /// No adaptive step is longer, in units of time. In any case they are short enough for what a net's weights of time
    /// let happen, up to a rate of 4000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_step: Option<f64>,
    /// The cap on steps of one trajectory.
    pub max_steps: usize,
    /// Step control of an explicit method; in files `i`, `pi` or `pid`.
    #[serde(with = "law_by_name")]
    pub controller: Law,
    /// How the log-density is accumulated.
    pub log_density: LogDensity,
    /// How the trace is taken.
    pub trace: TraceSpec,
    /// The key of Hutchinson's probes.
    pub probe_seed: u64,
    /// Trajectories that are evaluated together.
    pub lanes: usize,
}

impl Default for SolverSpec {
    fn default() -> Self {
        Self {
            method: "dopri5".into(),
            rtol: 1e-5,
            atol: 1e-5,
            log_density_atol: None,
            fixed_steps: None,
            max_step: None,
            max_steps: 10_000,
            controller: Law::default(),
            log_density: LogDensity::Auto,
            trace: TraceSpec::Auto,
            probe_seed: 0,
            lanes: 64,
        }
    }
}

impl SolverSpec {
    /// The method.
    ///
    /// # Errors
    /// As [`Method::named`].
    pub fn method(&self) -> Result<Method> {
        Ok(Method::named(&self.method)?)
    }

    /// The tolerance of the log-density, in nats: ten times the path's where it is integrated as a state, a hundred
    /// times where it is a quadrature, whose estimate includes the joints of the dense output and is itself some twenty
    /// times larger than the error: so chosen, both are wrong by about as much, which is what the path's own error does
    /// to them.
    pub fn log_density_atol(&self) -> f64 {
        let times = if self.coupled() { 10.0 } else { 100.0 };
        self.log_density_atol.unwrap_or(times * self.atol.max(0.1 * self.rtol))
    }

    /// Whether the log-density is integrated as a state.
    pub fn coupled(&self) -> bool {
        match self.log_density {
            LogDensity::Auto => self.fixed_steps.is_some(),
            LogDensity::Quadrature | LogDensity::Exact => false,
            LogDensity::Coupled => true,
        }
    }

    /// Whether the map of equal steps itself is the flow: nothing is integrated, and the way back is its inverse.
    pub fn exact(&self) -> bool {
        self.log_density == LogDensity::Exact
    }

    /// Refuses the exact log-density of a velocity of so many dimensions, where it is too dear, and of nets on images of
    /// a shape.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check_exact(&self, dim: usize, shape: Option<ImageShape>) -> Result<()> {
        let hint = "set `solver.log_density` to coupled, or to auto with adaptive steps";
        match (self.exact(), shape) {
            (true, Some(_)) => {
                let problem = "the exact log-density is not available for a net on images";
                Err(Error::invalid(problem, hint))
            }
            (true, None) if dim > FEW_DIMENSIONS => {
                let problem = format!(
                    "the exact log-density takes a tangent for each column, of at most {FEW_DIMENSIONS}; the flow has {dim}"
                );
                Err(Error::invalid(problem, hint))
            }
            _ => Ok(()),
        }
    }

    /// The refusal of an exact log-density where steps are not equal.
    pub(crate) fn needs_equal_steps(&self) -> Error {
        Error::invalid(
            format!("the exact log-density is that of equal steps, and `{}` adapts them", self.method),
            "set `solver.fixed_steps` to a number of steps, with an explicit method",
        )
    }

    /// Refuses tolerances below the round-off of a precision: every step would be rejected for its noise.
    ///
    /// # Errors
    /// [`Error::Invalid`] for tight tolerances in f32 (implicit methods compute in f64 and hold any).
    pub fn check_precision(&self, precision: Precision) -> Result<()> {
        let adaptive = matches!(self.method()?, Method::Explicit(_)) && self.fixed_steps.is_none();
        if precision == Precision::F32 && adaptive && self.rtol.max(self.atol) < F32_LIMIT {
            return Err(Error::invalid(
                format!("rtol = {:e} and atol = {:e} are below the round-off of f32", self.rtol, self.atol),
                "compute in f64, or set `solver.rtol` to 1e-6",
            ));
        }
        Ok(())
    }

    /// Checks the values and their combinations.
    ///
    /// # Errors
    /// [`Error::Solve`] or [`Error::Invalid`] with the option's name.
    pub fn validate(&self) -> Result<()> {
        let probes = match self.trace {
            TraceSpec::Auto | TraceSpec::Exact => 1,
            random => random.probes(),
        };
        if self.fixed_steps == Some(0) {
            return Err(Error::invalid("a solve of 0 equal steps", "set `solver.fixed_steps` to at least 1"));
        }
        if let (Some(steps), Some(h)) = (self.fixed_steps, self.max_step) {
            return Err(Error::invalid(
                format!("{steps} equal steps exclude a longest step of {h}"),
                "set only one of `solver.fixed_steps` and `solver.max_step`",
            ));
        }
        if let Some(h) = self.max_step.filter(|h| !(*h >= SHORTEST_MAX_STEP && h.is_finite())) {
            return Err(Error::invalid(
                format!("a longest step of {h} is out of range"),
                format!("set `solver.max_step` to at least {SHORTEST_MAX_STEP}: a flow runs from time 0 to 1"),
            ));
        }
        for (what, value, most) in [("probes", probes, MOST_PROBES), ("lanes", self.lanes, MOST_LANES)] {
            if !(1..=most).contains(&value) {
                return Err(Error::invalid(format!("{value} {what}"), format!("give 1 to {most}")));
            }
        }
        if self.exact() && (self.fixed_steps.is_none() || matches!(self.method()?, Method::Implicit(_))) {
            return Err(self.needs_equal_steps());
        }
        if self.exact() && self.trace.probes() > 0 {
            return Err(Error::invalid(
                format!("the trace {} has no meaning for the exact log-density", self.trace),
                "set `solver.trace` to auto",
            ));
        }
        match self.method()? {
            method @ Method::Explicit(_) => self.options(method, 0, 0.0).validate()?,
            Method::Implicit(method) => {
                if self.fixed_steps.is_some() || self.log_density == LogDensity::Coupled {
                    return Err(Error::invalid(
                        format!("`{}` chooses its own steps and takes the log-density by quadrature", method.name()),
                        "leave out `solver.fixed_steps` and `solver.log_density`, or choose an explicit method",
                    ));
                }
                if !(self.rtol.is_finite() && self.atol.is_finite() && self.rtol >= 0.0 && self.atol > 0.0) {
                    return Err(Error::invalid(
                        format!("an implicit method cannot use rtol = {}, atol = {}", self.rtol, self.atol),
                        "set `solver.rtol` to at least 0 and `solver.atol` above 0",
                    ));
                }
            }
        }
        if self.log_density_atol().partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            return Err(Error::invalid(
                "the tolerance of the log-density is not above 0",
                "set `solver.atol` or `solver.log_density_atol` above 0",
            ));
        }
        Ok(())
    }

    /// The options of a solve by `method` with `log_det_rows` rows of log-determinants, for a velocity of this
    /// [`time_rate`](crate::velocity::Velocity::time_rate).
    pub(crate) fn options(&self, method: Method, log_det_rows: usize, time_rate: f64) -> Options {
        let max_step = self.longest_step(method.longest_gap(), time_rate);
        Options {
            method,
            rtol: self.rtol,
            atol: self.atol,
            log_det_rows,
            log_det_atol: self.log_density_atol(),
            controller: Controller { law: self.controller, ..Controller::default() },
            steps: self.fixed_steps,
            max_step,
            max_steps: self.most_steps(max_step),
            lanes: self.lanes,
            ..Options::default()
        }
    }

    /// The cap on steps, but no fewer than twice what the longest step takes from 0 to 1.
    fn most_steps(&self, max_step: f64) -> usize {
        self.max_steps.max((2.0 / max_step).ceil() as usize)
    }

    fn longest_step(&self, gap: f64, time_rate: f64) -> f64 {
        longest_step(gap, time_rate).min(self.max_step.unwrap_or(f64::INFINITY))
    }
}

/// The longest step of a method whose neighbouring stages are at most the part `gap` of a step apart, for a velocity of
/// this [`time_rate`](crate::velocity::Velocity::time_rate): infinite for a slow one.
///
/// Step control uses the velocity at its stages only. A unit that switches on and off again between two stages leaves
/// no trace in the error estimate, and the step is accepted: a pulse of the velocity is stepped over, however tight the
/// tolerance. A unit of rate w changes around its switch as 1 − tanh(w |t|), so that a stage within 1/w of it has a
/// quarter of its height, and the estimate takes over. No gap is therefore longer than 2/w. With 8/w dop853 at 1e-3
/// still passed over a pulse of w = 60. It costs nothing where nets are trained: after 1500 steps of matching on four
/// toys and three tables the rates are 1.3 to 2.5, which allow dopri5 any step. A rate beyond [`FASTEST`] is not
/// followed further.
fn longest_step(gap: f64, time_rate: f64) -> f64 {
    SEEN / (time_rate.min(FASTEST) * gap)
}
