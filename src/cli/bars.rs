//! Error bars beside log-densities: the file that holds them, and their line in the report.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use cnflow::apply::{Arrived, Block, RunningBars};
use cnflow::continuous::{TraceSpec, Work};
use cnflow::words;
use serde_json::{Value, json};

use super::output::Growing;
use super::setup::Setup;

/// The bars of all rows, as they pass.
pub struct Barred {
    file: Option<Growing>,
    bars: RunningBars,
    trace: TraceSpec,
}

impl Barred {
    /// Into a file `[n, 3]`, of data that lie at `until`; `done` counts the second solves.
    pub fn new(path: &Path, setup: &Setup, until: f64, done: &Arc<Work>) -> Result<Self> {
        let bars = RunningBars::new(&setup.model, until, done)?;
        let file = Growing::table(Some(path), 3)?;
        let file = file.map(|file| file.named(&setup.header(&["solver", "estimator", "total"]))).transpose()?;
        Ok(Self { file, bars, trace: setup.model.spec.solver.trace })
    }

    /// One block: its points, and their log-densities at the given tolerance.
    pub fn take(&mut self, block: &Block, arrived: &Arrived) -> Result<()> {
        let rows = self.bars.block(block, arrived)?;
        self.file.as_mut().map_or(Ok(()), |file| file.push(&rows))
    }

    /// The file is complete.
    pub fn finish(&mut self) -> Result<()> {
        self.file.take().map_or(Ok(()), Growing::finish)
    }

    /// For the report: the median and the worst bar.
    pub fn report(&self) -> (Value, String) {
        let Some((median, worst)) = self.bars.summary() else {
            // No row has a bar: there is neither a median nor a largest.
            let why = match self.bars.probes() {
                1 => format!("a single draw has no standard error; give --trace {}", self.trace.with_error()),
                _ => "no row has a finite log p".to_owned(),
            };
            return (
                json!({ "median": null, "max": null, "missing": self.bars.missing() }),
                format!("error bar of a row: unknown ({why})\n"),
            );
        };
        let missing = self.bars.missing();
        let facts = json!({ "median": median, "max": worst, "missing": missing });
        let without = match missing {
            0 => String::new(),
            n => format!("; of {} unknown, since the second solve failed", words::count(n, "row")),
        };
        let (median, worst) = (words::error(median), words::error(worst));
        (facts, format!("error bar of a row: {median} nats in the median, at most {worst}{without}\n"))
    }
}
