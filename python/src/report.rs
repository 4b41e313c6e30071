//! Whether a density is right, and how several flows compare.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cnflow::apply::Gaps;
use cnflow::check::{self, Check, HeldOut, Ranks, Subject, Verdict};
use cnflow::compare::{Benchmark, Metrics, shuffled};
use cnflow::continuous::Work;
use cnflow::rows::Rows;
use cnflow::{rng, words};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Map, Value, json};

use crate::error::{Outcome, Raised, Trouble};
use crate::flow::{Flow, seed_of};
use crate::given::left_out;
use crate::progress::Bar;
use crate::{arrays, html, pool};

/// Fewer samples tell nothing.
const LEAST: usize = 50;
/// The stream that shuffles held-out rows for a comparison.
const SHUFFLE_STREAM: u64 = 0xc04a_0001;

/// The checks of a flow: a line for each, with its value, its bound and its verdict.
#[pyclass(frozen, module = "cnflow")]
pub struct Report {
    checks: Vec<Check>,
}

#[pymethods]
impl Report {
    /// Whether no check failed.
    #[getter]
    fn passed(&self) -> bool {
        check::passed(&self.checks)
    }

    /// A dictionary for each check: name, value, bound, verdict ("pass", "fail", "unclear", "skipped"), words.
    #[getter]
    fn lines<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        arrays::from_json(py, &json!(self.checks))
    }

    fn __repr__(&self) -> String {
        let count = |verdict| self.checks.iter().filter(|line| line.verdict == verdict).count();
        let failed: Vec<&str> =
            self.checks.iter().filter(|line| line.verdict == Verdict::Fail).map(|line| line.name).collect();
        let named = if failed.is_empty() { String::new() } else { format!(": {}", failed.join(", ")) };
        format!("Report({} passed, {} failed{named})", count(Verdict::Pass), failed.len())
    }

    fn _repr_html_(&self) -> String {
        let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.3e}"));
        let row = |line: &Check| {
            let verdict = match line.verdict {
                Verdict::Pass => "pass",
                Verdict::Fail => "FAIL",
                Verdict::Unclear => "unclear",
                Verdict::Skipped => "skipped",
            };
            vec![line.name.to_owned(), number(line.value), number(line.bound), verdict.into(), line.words.clone()]
        };
        let rows: Vec<Vec<String>> = self.checks.iter().map(row).collect();
        html::headed(&["check", "value", "bound", "verdict", ""], &rows)
    }
}

/// Checks a flow.
pub fn check(
    flow: &Flow,
    py: Python<'_>,
    (held_out, condition): (Option<&Bound<'_, PyAny>>, Option<&Bound<'_, PyAny>>),
    (n, seed): (usize, u64),
    progress: Option<bool>,
) -> PyResult<Report> {
    if n < LEAST {
        return Err(Trouble::invalid(format!("a check with {n} samples"), "draw at least 50").raise(py));
    }
    let c = flow.bound.bound.condition_dim();
    let (condition, held_out, conditional) = match held_out {
        None => {
            let missing = HeldOut::Missing("no rows were given".into());
            (flow.conditions(py, condition, 1)?, missing, Rows::default())
        }
        Some(rows) => {
            let mut rows = flow.rows(py, rows, condition, "the data")?;
            if let Some(gaps) = Gaps::of(&rows.x, flow.d(), &rows.condition) {
                left_out(py, &gaps, "the data")?;
                (rows.x, rows.condition) = (gaps.pick(&rows.x), gaps.pick(&rows.condition));
            }
            // More rows than these are not looked at.
            let all = Rows::under(rows.x, rows.condition).evenly(flow.d(), check::MOST_ROWS);
            let first = all.context.get(..c).map_or_else(Vec::new, <[f64]>::to_vec);
            if c == 0 || all.context.chunks_exact(c).all(|row| row == first) {
                (first, HeldOut::Rows(Rows { context: Vec::new(), ..all.clone() }, "the given rows".into()), all)
            } else {
                let words = "the given rows, each under its own condition";
                (first, HeldOut::Rows(all.clone(), words.into()), all)
            }
        }
    };
    let (model, precision, trained_on) = (flow.bound.model.clone(), flow.bound.precision, Vec::new());
    let subject = Subject { model, precision, n, seed, condition, held_out, conditional, trained_on };
    let done = Arc::new(AtomicUsize::new(0));
    let seen = done.clone();
    let job = move || {
        let subject = subject.of_real_numbers()?;
        check::run(&subject, &mut |_| _ = seen.fetch_add(1, Ordering::Relaxed))
    };
    let mut bar = Bar::new(py, progress)?;
    let look = |py: Python<'_>| {
        let done = done.load(Ordering::Relaxed);
        let next = check::CHECKS.get(done).map_or("", |(name, _)| name);
        bar.show(py, done as f64 / check::CHECKS.len() as f64, next)
    };
    let checks = pool::run(py, &Arc::new(Work::default()), job, look);
    bar.close(py)?;
    Ok(Report { checks: checks?.raised(py)? })
}

/// Several flows on the same held-out rows.
#[pyclass(frozen, module = "cnflow")]
pub struct Comparison {
    rows: Vec<Map<String, Value>>,
}

#[pymethods]
impl Comparison {
    /// A dictionary for each flow, the best first: name, n, nll, nll_se, failed, outside, nfe_density, nfe_sample,
    /// sample_rate and density_rate (a second), round_trip_max, mass, energy and sliced (distances of samples to the rows,
    /// in deviations) with the floor of each (that of two halves of the rows), and calibration (the distance of the expected
    /// coverage from its level, of flows with conditions).
    #[getter]
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        arrays::from_json(py, &json!(self.rows))
    }

    fn __repr__(&self) -> String {
        let one = |row: &Map<String, Value>| {
            let number = |key: &str| row.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
            let name = row.get("name").and_then(Value::as_str).unwrap_or_default();
            format!("{name}: {} nats", words::estimate(number("nll"), number("nll_se"), 4))
        };
        format!("Comparison({})", self.rows.iter().map(one).collect::<Vec<_>>().join("; "))
    }

    fn _repr_html_(&self) -> String {
        let row = |row: &Map<String, Value>| -> Vec<String> {
            let number = |key: &str| row.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
            let name = row.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let nll = words::estimate(number("nll"), number("nll_se"), 4);
            vec![name, nll, format!("{:.1}", number("nfe_density")), format!("{:.4}", number("energy"))]
        };
        let rows: Vec<Vec<String>> = self.rows.iter().map(row).collect();
        html::headed(&["flow", "NLL, nats", "NFE of a density", "energy distance"], &rows)
    }
}

/// Compares flows on held-out rows `data`, `[n, d]` or a frame, by numbers that the command `cnf compare` has too.
///
/// `flows` is a dictionary of names and flows of the same columns. The NLL decides the order.
///
/// Raises InvalidInput for flows of other columns and for rows that do not fit.
#[pyfunction]
#[pyo3(signature = (flows, data, condition=None, *, seed=None))]
pub fn compare(
    py: Python<'_>,
    flows: &Bound<'_, PyDict>,
    data: &Bound<'_, PyAny>,
    condition: Option<&Bound<'_, PyAny>>,
    seed: Option<&Bound<'_, PyAny>>,
) -> PyResult<Comparison> {
    let seed = seed_of(py, seed)?;
    let mut entries = Vec::new();
    for (name, flow) in arrays::entries(flows)? {
        let flow = flow.downcast_into::<Flow>()?;
        let flow = flow.get();
        let mut rows = flow.rows(py, data, condition, "data")?;
        if let Some(gaps) = Gaps::of(&rows.x, flow.d(), &rows.condition) {
            left_out(py, &gaps, "data")?;
            (rows.x, rows.condition) = (gaps.pick(&rows.x), gaps.pick(&rows.condition));
        }
        entries.push((name, flow.bound.clone(), Rows::under(rows.x, rows.condition)));
    }
    if entries.is_empty() {
        return Err(Trouble::invalid("there are no flows to compare", "give at least one").raise(py));
    }
    let job = move || -> Outcome<Vec<Map<String, Value>>> {
        let mut all = Vec::new();
        for (name, bound, rows) in &entries {
            let rows = shuffled(rows, bound.bound.dim(), &mut rng::stream(seed, SHUFFLE_STREAM))?;
            let benchmark = Benchmark { rows: &rows, truth: None, precision: bound.precision, seed };
            all.push((name.clone(), benchmark.measure(&bound.model)?));
        }
        all.sort_by(|(_, a), (_, b)| a.nll.total_cmp(&b.nll));
        Ok(all.iter().map(|(name, metrics)| facts(name, metrics)).collect())
    };
    let rows = pool::run(py, &Arc::new(Work::default()), job, |_| Ok(()))?.raised(py)?;
    Ok(Comparison { rows })
}

fn facts(name: &str, m: &Metrics) -> Map<String, Value> {
    let facts = json!({
        "name": name,
        "n": m.n,
        "nll": m.nll,
        "nll_se": m.nll_se,
        "failed": m.failed,
        "outside": m.outside,
        "nfe_density": m.nfe_density,
        "nfe_sample": m.nfe_sample,
        "sample_rate": m.sample_rate,
        "density_rate": m.density_rate,
        "round_trip_mean": m.round_trip_mean,
        "round_trip_max": m.round_trip_max,
        "mass": m.mass,
        "calibration": m.ranks.as_ref().map(Ranks::distance),
        "energy": m.energy,
        "energy_floor": m.energy_floor,
        "sliced": m.sliced,
        "sliced_floor": m.sliced_floor,
    });
    if let Value::Object(map) = facts { map } else { Map::new() }
}
