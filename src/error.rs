//! What can go wrong, with the numbers, and the way out.

use std::path::{Path, PathBuf};

use cnf_solvers::{Failure, SolveError};
use thiserror::Error;

/// The result of everything fallible here.
pub type Result<T> = std::result::Result<T, Error>;

/// One clear sentence each; [`Error::hint`] has the way out.
#[derive(Debug, Error)]
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
    #[error("{what} has {found} columns, expected {expected}")]
    Dimension {
        /// What was measured.
        what: String,
        /// The size that fits.
        expected: usize,
        /// The size given.
        found: usize,
    },
    /// A request that makes no sense.
    #[error("{problem}")]
    Invalid {
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// Some trajectories did not reach the end of their span.
    #[error("{count} of {of} trajectories failed; the first (row {row}): {first}")]
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
    /// The solver refused the request.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// candle failed.
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),
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

    /// A request that makes no sense.
    pub fn invalid(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Invalid { problem: problem.into(), hint: hint.into() }
    }

    /// The way out, where there is one to name.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { hint, .. } | Self::Invalid { hint, .. } => (!hint.is_empty()).then(|| hint.clone()),
            Self::Write { .. } => Some("check that the folder exists, is writable and has room".into()),
            Self::Unknown { known, .. } => Some(format!("known are {known}")),
            Self::Failed { first, .. } => Some(first.advice().into()),
            Self::Solve(SolveError::UnknownMethod { known, .. }) => Some(format!("known are {known}")),
            Self::Dimension { .. } | Self::Solve(_) | Self::Candle(_) => None,
        }
    }
}
