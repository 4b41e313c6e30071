//! Error bars beside log-densities: every block is solved once more, in f64 and far below the tolerance.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anyhow::Result;
use candle_core::DType;
use cnf::flow::{Bars, SolverSpec, bars};
use cnf::stats::quantile;
use cnf::words;
use serde_json::{Value, json};

use super::feed::Part;
use super::output::Growing;
use super::setup::{Carrier, Setup, Solved, Way};
use super::tally::Kept;

/// The bars of all rows, as they pass.
pub struct Barred {
    file: Option<Growing>,
    fine: Carrier,
    solver: SolverSpec,
    probes: usize,
    totals: Kept,
    worst: f64,
}

impl Barred {
    /// Into a file `[n, 3]`; `done` counts the second solves too.
    pub fn new(path: &Path, setup: &Setup, way: Way, done: &Arc<AtomicUsize>) -> Result<Self> {
        let mut model = setup.model.clone();
        let solver = model.spec.solver.clone();
        model.spec.solver = bars::finer(&solver)?;
        let second = Setup { path: setup.path.clone(), model, dtype: DType::F64 };
        let probes = match setup.model.spec.core.closed_layers() {
            Some(_) => 0,
            None => bars::probes(setup.model.continuous(setup.dtype)?.trace()),
        };
        let file = Growing::table(Some(path), 3)?;
        Ok(Self {
            file: file.map(|file| file.named(&setup.header(&["solver", "estimator", "total"]))).transpose()?,
            fine: second.carrier(way, done)?,
            solver,
            probes,
            totals: Kept::new(1),
            worst: 0.0,
        })
    }

    /// One block: its points, and their log-densities at the tolerance asked for.
    pub fn take(&mut self, part: &Part, solved: &Solved) -> Result<()> {
        let fine = self.fine.carry(part)?.log_prob;
        let bars = Bars::between(solved.log_prob.clone(), &fine, &solved.cost.logdet_se, self.probes, &self.solver)?;
        let mut totals = bars.total();
        let rows = bars.solver.iter().zip(&bars.estimator).zip(&totals);
        let mut rows: Vec<f64> = rows.flat_map(|((solver, estimator), total)| [*solver, *estimator, *total]).collect();
        // Outside the support log p is -inf by both solves: it has no error.
        for row in solved.cost.outside.iter().filter(|row| fine[**row] == f64::NEG_INFINITY) {
            totals[*row] = 0.0;
            rows[3 * row..3 * (row + 1)].fill(0.0);
        }
        self.worst = totals.iter().copied().fold(self.worst, f64::max);
        // A row outside has a bar of 0 that says nothing of the others.
        let outside = &solved.cost.outside;
        (0..totals.len())
            .filter(|row| outside.binary_search(row).is_err())
            .for_each(|row| self.totals.add(&totals[row..=row]));
        self.file.as_mut().map_or(Ok(()), |file| file.push(&rows))
    }

    /// The file is complete.
    pub fn finish(&mut self) -> Result<()> {
        self.file.take().map_or(Ok(()), Growing::finish)
    }

    /// For the report: the median and the worst bar.
    pub fn told(&self) -> (Value, String) {
        let median = quantile(&self.totals.rows, 0.5);
        if !median.is_finite() {
            // No row has a bar: there is neither a median nor a largest.
            let why = match self.probes {
                1 => "one probe gives none; give --trace hutchinson:8",
                _ => "no row has a finite log p",
            };
            return (json!({ "median": null, "max": null }), format!("error bar of a row: unknown ({why})\n"));
        }
        let (facts, worst) = (json!({ "median": median, "max": self.worst }), words::error(self.worst));
        (facts, format!("error bar of a row: {} nats in the median, at most {worst}\n", words::error(median)))
    }
}
