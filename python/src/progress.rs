//! A bar that shows how far a call is: `cnflow/_progress.py` draws it.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// A call that takes no longer has no bar.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two updates.
const EVERY: Duration = Duration::from_millis(100);

/// A bar, or none.
pub struct Bar {
    bar: Option<Py<PyAny>>,
    due: Instant,
}

impl Bar {
    /// With `progress` None the bar is shown in a terminal and in a notebook.
    pub fn new(py: Python<'_>, progress: Option<bool>) -> PyResult<Self> {
        let mut bar = None;
        if progress != Some(false) {
            let made = py.import("cnflow._progress")?.call_method1("bar", (progress,))?;
            bar = Some(made).filter(|made| !made.is_none()).map(Bound::unbind);
        }
        Ok(Self { bar, due: Instant::now() + PATIENCE })
    }

    /// Shows the part that is done, and some words.
    pub fn show(&mut self, py: Python<'_>, done: f64, words: &str) -> PyResult<()> {
        let Some(bar) = self.bar.as_ref().filter(|_| Instant::now() >= self.due) else { return Ok(()) };
        self.due = Instant::now() + EVERY;
        bar.call_method1(py, "show", (done.clamp(0.0, 1.0), words)).map(drop)
    }

    /// Takes it away.
    pub fn close(&mut self, py: Python<'_>) -> PyResult<()> {
        self.bar.take().map_or(Ok(()), |bar| bar.call_method0(py, "close").map(drop))
    }
}
