//! The errors: a request that is not valid, and a trajectory that cannot continue.

use thiserror::Error;

/// The speed of the last good state, which is not known where the first state was not good.
fn and_speed(speed: &f64) -> String {
    if speed.is_finite() { format!(", |f| = {speed:.1e}") } else { ", |f| = unknown".into() }
}

/// Why one trajectory stopped before the end of its span. The others continue.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The field returned NaN or infinity and no smaller step helped.
    #[error("the velocity is not finite at t = {t:.6} (step {h:.1e}{})", and_speed(.speed))]
    NonFinite {
        /// Time of the last good state.
        t: f64,
        /// The step that was tried.
        h: f64,
        /// Euclidean norm of f at the last good state.
        speed: f64,
    },
    /// The path arrived, but what is integrated along it is NaN or infinite somewhere.
    #[error("the integrand along the path is not finite between t = {from:.6} and t = {to:.6}")]
    Integrand {
        /// Where the path began.
        from: f64,
        /// Where it ended.
        to: f64,
    },
    /// Step control came to a step below round-off in t (or below the user's minimum).
    #[error("the step shrank to {h:.1e} at t = {t:.6}{}", and_speed(.speed))]
    StepTooSmall {
        /// Time of the last good state.
        t: f64,
        /// The step that was due.
        h: f64,
        /// Euclidean norm of f at the last good state.
        speed: f64,
    },
    /// The cap on steps was reached.
    #[error("the cap of {steps} steps was reached at t = {t:.6}, step {h:.1e}{}", and_speed(.speed))]
    TooManySteps {
        /// The cap.
        steps: usize,
        /// Time of the last good state.
        t: f64,
        /// The current step.
        h: f64,
        /// Euclidean norm of f at the last good state.
        speed: f64,
    },
    /// An observer stopped the solve: see [`crate::Observer::stop`].
    #[error("stopped on request at t = {t:.6}")]
    Stopped {
        /// Time of the last good state: the end of the last step.
        t: f64,
    },
}

impl Failure {
    /// What to try, in a few words.
    pub fn advice(&self) -> String {
        self.advice_of(|_| true)
    }

    /// As [`Failure::advice`], of those remedies that `apply` here.
    pub fn advice_of(&self, apply: impl Fn(Remedy) -> bool) -> String {
        use Remedy::{Implicit, Restart, Scale, Steps, Tolerance, Wide};
        let (why, remedies): (&str, &[Remedy]) = match self {
            Failure::NonFinite { .. } | Failure::Integrand { .. } => ("the field overflows there", &[Scale, Wide]),
            Failure::StepTooSmall { .. } => ("the field is stiff or discontinuous there", &[Tolerance, Wide, Implicit]),
            Failure::TooManySteps { .. } => ("", &[Tolerance, Steps, Implicit]),
            Failure::Stopped { .. } => ("", &[Restart]),
        };
        let available = |remedy: &Remedy| cfg!(feature = "implicit") || *remedy != Implicit;
        let remedies = remedies.iter().filter(|remedy| available(remedy) && apply(**remedy));
        let remedies: Vec<&str> = remedies.map(|remedy| remedy.words()).collect();
        let remedies = match remedies.split_last() {
            Some((last, before)) if !before.is_empty() => format!("{}, or {last}", before.join(", ")),
            _ => remedies.concat(),
        };
        if why.is_empty() { remedies } else { format!("{why}: {remedies}") }
    }
}

/// What may help where a trajectory failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Input of another scale.
    Scale,
    /// A looser tolerance.
    Tolerance,
    /// f64 instead of f32.
    Wide,
    /// A higher [`max_steps`](crate::Options::max_steps).
    Steps,
    /// A method for stiff fields.
    Implicit,
    /// Another solve.
    Restart,
}

impl Remedy {
    /// In the imperative.
    pub fn words(self) -> &'static str {
        match self {
            Self::Scale => "check the input's scale",
            Self::Tolerance => "loosen the tolerance",
            Self::Wide => "compute in f64",
            Self::Steps => "raise max_steps",
            Self::Implicit => "use `bdf`",
            Self::Restart => "run it again",
        }
    }
}

/// Why a solve was refused.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum SolveError {
    /// No method of that name.
    #[error("unknown method `{name}`: expected one of {known}")]
    UnknownMethod {
        /// As typed.
        name: String,
        /// The list.
        known: String,
    },
    /// No law of step control of that name.
    #[error("unknown controller `{name}`: expected one of {known}")]
    UnknownController {
        /// As typed.
        name: String,
        /// The list.
        known: String,
    },
    /// The method cannot solve this problem, or not in this build.
    #[error("`{method}` needs {needs}")]
    Unsupported {
        /// The method's name.
        method: &'static str,
        /// What is missing.
        needs: &'static str,
    },
    /// An option whose value is not valid.
    #[error("{0}")]
    BadOption(String),
    /// Arrays whose sizes do not fit.
    #[error("{what}: expected {expected}, got {found}")]
    Shape {
        /// What was measured.
        what: &'static str,
        /// The size that fits.
        expected: usize,
        /// The size given.
        found: usize,
    },
    /// diffsol refused a problem; its message.
    #[error("diffsol: {0}")]
    Implicit(String),
}
