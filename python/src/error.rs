//! Errors and warnings of the engine as Python's.

use cnflow::Error;
use cnflow::error::Setting;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::options;

/// What is wrong, and what to do: an error before it is Python's, made on any thread.
#[derive(Debug)]
pub struct Trouble {
    class: &'static str,
    problem: String,
    hint: Option<String>,
}

/// The result of what runs without the interpreter.
pub type Outcome<T> = Result<T, Trouble>;

impl Trouble {
    /// A request that is not valid.
    pub fn invalid(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { class: "InvalidInput", problem: problem.into(), hint: Some(hint.into()).filter(|hint| !hint.is_empty()) }
    }

    /// An option that does not exist.
    pub fn unknown_option(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { class: "UnknownOption", ..Self::invalid(problem, hint) }
    }

    /// An error of the engine, for results computed with this setting.
    pub fn of(error: &Error, setting: Setting) -> Self {
        let class = match error {
            Error::Read { .. } | Error::Write { .. } => "FileError",
            Error::Failed { .. } | Error::Degenerate { .. } | Error::Solve(_) => "SolveError",
            Error::Stopped => "Stopped",
            _ => "InvalidInput",
        };
        let (problem, hint) = (options::named(&error.to_string()), error.hint_in(setting));
        Self { class, problem, hint: hint.map(|hint| options::named(&hint)) }
    }

    /// What the engine never does.
    pub fn internal(problem: &str) -> Self {
        let hint = "this is an error of cnflow: please report it with the call";
        Self { class: "CnfError", problem: format!("internal error: {problem}"), hint: Some(hint.into()) }
    }

    /// The exception.
    pub fn raise(self, py: Python<'_>) -> PyErr {
        let made =
            py.import("cnflow._errors").and_then(|errors| errors.getattr(self.class)?.call1((self.problem, self.hint)));
        match made {
            Ok(exception) => PyErr::from_value(exception),
            Err(error) => error,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::of(&error, Setting::default())
    }
}

/// Makes an exception of an error.
pub trait Raised<T> {
    /// The value, or the exception.
    fn raised(self, py: Python<'_>) -> PyResult<T>;
}

impl<T, E: Into<Trouble>> Raised<T> for Result<T, E> {
    fn raised(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| error.into().raise(py))
    }
}

/// Warns, with a class of `cnflow._errors`.
pub fn warn(py: Python<'_>, class: &str, words: &str) -> PyResult<()> {
    let class = py.import("cnflow._errors")?.getattr(class)?;
    py.import("warnings")?.call_method1("warn", (PyString::new(py, words), class, 1)).map(drop)
}
