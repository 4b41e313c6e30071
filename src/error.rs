//! The errors, with their numbers and hints.

use std::path::{Path, PathBuf};

use cnflow_solvers::SolveError;
use thiserror::Error;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a row has no result on the other side of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Failure {
    /// Its trajectory could not be integrated.
    #[error(transparent)]
    Path(#[from] cnflow_solvers::Failure),
    /// It became NaN or infinite in a layer of a discrete flow.
    #[error("its numbers are not finite after layer {layer} of the flow, counted from the latent")]
    Layer {
        /// Counted from 1, the latent's side first.
        layer: usize,
    },
    /// A step of the map folds space there: it is no bijection.
    #[error("the step from t = {t:.6} folds space: its determinant is {determinant:.2e}")]
    Fold {
        /// Where the step begins, on the latent's side.
        t: f64,
        /// Of the step's matrix of derivatives.
        determinant: f64,
    },
    /// No point was found from which a step of the map leads to this one.
    #[error(
        "no start of the step from t = {t:.6} was found: {evaluations} evaluations leave a residual of {residual:.1e}"
    )]
    NoRoot {
        /// Where the step begins, on the latent's side.
        t: f64,
        /// The largest difference in a coordinate, in the flow's own units.
        residual: f64,
        /// Evaluations of the step.
        evaluations: u32,
    },
    /// It is not finite itself.
    #[error("the point or its condition is not finite")]
    Point,
    /// It lies outside the support of the density: log p is −∞, and it has no latent. Never listed among the failures
    /// of a solve.
    #[error("the point lies outside the support of the density")]
    Outside,
    /// It arrived, but its result is beyond the range of f64. Never listed among the failures of a solve.
    #[error("the result is beyond the range of 64-bit numbers")]
    Overflow,
}

/// How a result was computed, so that a hint does not repeat what is already set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// In f64.
    pub wide: bool,
    /// By an implicit method, for stiff fields.
    pub implicit: bool,
}

impl Failure {
    /// What to try, in a few words.
    pub fn advice(&self, setting: Setting) -> String {
        use cnflow_solvers::Remedy;
        match self {
            Self::Path(failure) => failure.advice_of(|remedy| match remedy {
                Remedy::Wide => !setting.wide,
                Remedy::Implicit => !setting.implicit,
                _ => true,
            }),
            Self::Outside => "check the row against the kinds of the columns".into(),
            Self::Overflow | Self::Layer { .. } => {
                let or_wide = if setting.wide { "" } else { ", or compute in f64" };
                format!("the point lies far outside the training data: check its units{or_wide}")
            }
            Self::Fold { .. } | Self::NoRoot { .. } => "take more steps: raise `solver.fixed_steps`".into(),
            Self::Point => "leave out rows with NaN or infinity".into(),
        }
    }
}

/// A number of columns, in words.
fn columns(n: &usize) -> String {
    crate::words::count(*n as u64, "column")
}

/// `of` trajectories where the failure is that of an ODE solve, else `of` rows.
fn failed_of(of: &usize, first: &Failure) -> String {
    match (first, of) {
        (Failure::Path(_), 1) => "1 trajectory".into(),
        (Failure::Path(_), _) => format!("{of} trajectories"),
        _ => crate::words::count(*of as u64, "row"),
    }
}

/// An error in one sentence; [`Error::hint`] gives the remedy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be read, or whose content does not fit.
    #[error("cannot read `{}`: {problem}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// A file that cannot be written; nothing half-written is left.
    #[error("cannot write `{}`: {problem}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A name that is not in the list.
    #[error("unknown {kind} `{name}`")]
    Unknown {
        /// What was named.
        kind: &'static str,
        /// As typed.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// Sizes that do not fit each other.
    #[error("{what} has {}, expected {expected}", columns(.found))]
    Dimension {
        /// What was measured.
        what: String,
        /// The size that fits.
        expected: usize,
        /// The size given.
        found: usize,
    },
    /// A θ of another length than its model's.
    #[error("expected {expected} parameters, found {found}")]
    Parameters {
        /// How many the model has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// A request that is not valid.
    #[error("{problem}")]
    Invalid {
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// Some trajectories did not reach the end of their span.
    #[error("{count} of {} failed; the first (row {row}, counted from 0): {first}", failed_of(.of, .first))]
    Failed {
        /// How many.
        count: usize,
        /// Of how many.
        of: usize,
        /// The row of the first.
        row: usize,
        /// What happened to it.
        first: Failure,
    },
    /// The calculation was stopped from outside before it ended.
    #[error("stopped before the end")]
    Stopped,
    /// A layer whose parameters no longer define a bijection.
    #[error("{problem}")]
    Degenerate {
        /// Which, and its number.
        problem: String,
    },
    /// The solver refused the request.
    #[error(transparent)]
    Solve(SolveError),
    /// candle failed.
    #[cfg(feature = "candle")]
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),
}

impl From<SolveError> for Error {
    /// A name that is not in a list is an error of this crate, so that the list is given once.
    fn from(error: SolveError) -> Self {
        match error {
            SolveError::UnknownMethod { name, known } => Self::Unknown { kind: "method", name, known },
            SolveError::UnknownController { name, known } => Self::Unknown { kind: "controller", name, known },
            other => Self::Solve(other),
        }
    }
}

impl From<cnflow_kernels::Error> for Error {
    fn from(error: cnflow_kernels::Error) -> Self {
        use cnflow_kernels::Error as E;
        match error {
            E::UnknownActivation { name } => Self::Unknown {
                kind: "activation",
                name,
                known: cnflow_kernels::Activation::ALL.map(cnflow_kernels::Activation::name).join(", "),
            },
            E::Parameters { expected, found } => Self::Parameters { expected, found },
            other => Self::Invalid { problem: other.to_string(), hint: other.hint() },
        }
    }
}

impl Error {
    /// A file whose content does not fit.
    pub fn read(path: &Path, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Read { path: path.to_owned(), problem: problem.into(), hint: hint.into() }
    }

    /// A file that cannot be written.
    pub fn write(path: &Path, problem: impl ToString) -> Self {
        Self::Write { path: path.to_owned(), problem: problem.to_string() }
    }

    /// A request that is not valid.
    pub fn invalid(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Invalid { problem: problem.into(), hint: hint.into() }
    }

    /// The hint, if there is one, for a result computed in f32 by an explicit method.
    pub fn hint(&self) -> Option<String> {
        self.hint_in(Setting::default())
    }

    /// The hint, if there is one, for a result computed with this setting.
    pub fn hint_in(&self, setting: Setting) -> Option<String> {
        match self {
            Self::Read { hint, .. } | Self::Invalid { hint, .. } => (!hint.is_empty()).then(|| hint.clone()),
            Self::Write { .. } => Some("check that the folder exists, is writable and has room".into()),
            Self::Unknown { known, .. } => Some(format!("choose one of {known}")),
            Self::Failed { first, .. } => Some(first.advice(setting)),
            Self::Degenerate { .. } => Some("train with a smaller learning rate or another seed".into()),
            Self::Dimension { .. } | Self::Parameters { .. } | Self::Solve(_) | Self::Stopped => None,
            #[cfg(feature = "candle")]
            Self::Candle(_) => None,
        }
    }
}
