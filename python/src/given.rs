//! The rows and the conditions of a call.

use cnflow::apply::{Closed, Gaps};
use cnflow::transform::ContextColumn;
use cnflow::words;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{self, Array};
use crate::error::{Outcome, Raised, Trouble, warn};
use crate::flow::Flow;
use crate::images;

/// An object of Python.
type Object<'py> = Bound<'py, PyAny>;

/// Rows with their conditions.
pub struct Rows {
    /// `[n, d]`, NaN where a cell is missing.
    pub x: Vec<f64>,
    /// `[n, c]`, NaN where one is missing.
    pub condition: Vec<f64>,
    /// The axes before the last, whose product is n.
    pub batch: Vec<usize>,
}

/// Warns of rows that are left out because they have a missing cell.
///
/// # Errors
/// Where none is left, and where the warning is an error.
pub(crate) fn left_out(py: Python<'_>, gaps: &Gaps, what: &str) -> PyResult<()> {
    let of = words::count(gaps.rows() as u64, "row");
    if gaps.kept().is_empty() {
        let problem = format!("each of the {of} of {what} has a missing cell");
        return Err(Trouble::invalid(problem, "give rows with all their cells").raise(py));
    }
    let (missing, have) = (gaps.missing(), if gaps.missing() == 1 { "has" } else { "have" });
    warn(py, "MissingRows", &format!("{missing} of {of} of {what} {have} a missing cell; they are left out"))
}

impl Flow {
    /// The numbers of the words of a column of the condition.
    fn coded(&self, name: Option<&str>, j: usize, cells: &[Option<String>]) -> Outcome<Option<Vec<f64>>> {
        let spec = &self.bound.model.spec;
        let named = |name: &str| self.condition_labels().iter().position(|label| label == name);
        let place = match name {
            None => Some(j),
            Some(name) => named(name),
        };
        // A column of classes that the model gives out.
        let own = name.and_then(|name| spec.names.iter().position(|known| known == name));
        let words = match (place, own) {
            (Some(j), _) => spec.condition_words().get(j).cloned().unwrap_or_default(),
            (None, Some(j)) => spec.column_words()[j].clone(),
            (None, None) => Vec::new(),
        };
        if words.is_empty() {
            return Ok(None);
        }
        let number = |cell: &Option<String>| {
            let Some(cell) = cell else { return Ok(f64::NAN) };
            words.iter().find(|(word, _)| word == cell.trim()).map(|(_, number)| *number).ok_or_else(|| {
                let of_place = || place.map_or_else(String::new, |j| self.condition_labels()[j].clone());
                let label = name.map_or_else(of_place, str::to_owned);
                let known: Vec<String> = words.iter().map(|(word, _)| word.clone()).collect();
                let hint = format!("give one of its classes: {}", cnflow::names::list(&known));
                Trouble::invalid(format!("the column `{label}` has no class `{cell}`"), hint)
            })
        };
        cells.iter().map(number).collect::<Outcome<Vec<f64>>>().map(Some)
    }

    /// The rows `x` with their conditions.
    pub(crate) fn rows(
        &self,
        py: Python<'_>,
        x: &Object<'_>,
        condition: Option<&Object<'_>>,
        what: &str,
    ) -> PyResult<Rows> {
        let (d, c) = (self.d(), self.bound.bound.condition_dim());
        let beside = c > 0 && condition.is_none() && self.fixed.is_none();
        let wanted: Option<Vec<String>> = self.names().map(|names| {
            let given = if beside { self.condition_names().unwrap_or_default() } else { &[] };
            names.iter().chain(given).cloned().collect()
        });
        let coder = |name: Option<&str>, j: usize, cells: &[Option<String>]| match name {
            None => Ok(None),
            Some(_) => self.coded(name, j, cells),
        };
        let read = arrays::read_coded(x, what, wanted.as_deref(), Some(&coder))?;
        let named = read.names.is_some() && wanted.is_some();
        if named && beside && self.condition_names().is_some() {
            let all = read.numbers.into_f64();
            let n = all.len() / (d + c);
            let cut =
                |from: usize, to: usize| all.chunks_exact(d + c).flat_map(|row| &row[from..to]).copied().collect();
            let (x, condition): (Vec<f64>, Vec<f64>) = (cut(0, d), cut(d, d + c));
            arrays::check_infinite(py, &x, d, what, self.names())?;
            arrays::check_infinite(py, &condition, c, "the condition", self.condition_names())?;
            self.warn_of_closing(py, &x)?;
            return Ok(Rows { x, condition, batch: vec![n] });
        }
        let batch = match &self.bound.model.spec.pixels {
            Some(pixels) => images::batch(py, &read, pixels.shape, what)?,
            None => arrays::batch(py, &read.shape, d, what)?,
        };
        let x = match &self.bound.model.spec.pixels {
            Some(pixels) => images::rows(py, read, pixels.shape, what)?,
            None => read.numbers.into_f64(),
        };
        arrays::check_infinite(py, &x, d, what, self.names())?;
        let condition = self.conditions(py, condition, x.len() / d)?;
        self.warn_of_closing(py, &x)?;
        Ok(Rows { x, condition, batch })
    }

    /// Warns of rows whose parts of a whole are scaled to their total.
    fn warn_of_closing(&self, py: Python<'_>, x: &[f64]) -> PyResult<()> {
        if self.bound.model.spec.simplexes.is_empty() {
            return Ok(());
        }
        let mut closed = Closed::of(&self.bound.model).raised(py)?;
        closed.see(0, x);
        closed.words().map_or(Ok(()), |words| warn(py, "DataWarning", &words))
    }

    /// Rows without their conditions, for pictures and checks. Those with a missing cell are left out, with a warning.
    pub(crate) fn points(&self, py: Python<'_>, x: &Object<'_>) -> PyResult<Vec<f64>> {
        let read = arrays::read(x, "the data", self.names())?;
        let d = self.d();
        let x = match &self.bound.model.spec.pixels {
            Some(pixels) => {
                images::batch(py, &read, pixels.shape, "the data")?;
                images::rows(py, read, pixels.shape, "the data")?
            }
            None => {
                arrays::batch(py, &read.shape, d, "the data")?;
                read.numbers.into_f64()
            }
        };
        arrays::check_infinite(py, &x, d, "the data", self.names())?;
        let Some(gaps) = Gaps::of(&x, d, &[]) else { return Ok(x) };
        left_out(py, &gaps, "the data")?;
        Ok(gaps.pick(&x))
    }

    /// The conditions of `n` rows; NaN where one is missing, unless one row serves all.
    pub(crate) fn conditions(&self, py: Python<'_>, given: Option<&Object<'_>>, n: usize) -> PyResult<Vec<f64>> {
        let c = self.bound.bound.condition_dim();
        let invalid = |problem: String, hint: &str| Trouble::invalid(problem, hint).raise(py);
        let Some(given) = given.filter(|given| !given.is_none()) else {
            return match &self.fixed {
                Some(row) => Ok(row.repeat(n)),
                None if c == 0 => Ok(Vec::new()),
                None => {
                    let columns = self.condition_columns_in_words();
                    let problem = format!("the model is conditional on {columns}, and no condition was given");
                    Err(invalid(problem, "give `condition`: a row for each point, or one row for all"))
                }
            };
        };
        if c == 0 || self.fixed.is_some() {
            let what = if c == 0 { "the model has no condition" } else { "the condition of the flow is fixed" };
            return Err(invalid(what.into(), "leave out `condition`"));
        }
        let (rows, one) = match given.downcast::<PyDict>() {
            Ok(entries) => self.of_dict(py, entries, n)?,
            Err(_) => {
                let labels = self.condition_labels();
                let coder = |name: Option<&str>, j: usize, cells: &[Option<String>]| {
                    // A series may have another name, or none.
                    self.coded(name.filter(|name| labels.iter().any(|label| label == name)), j, cells)
                };
                let names = self.condition_names();
                let Array { numbers, shape, .. } = arrays::read_coded(given, "the condition", names, Some(&coder))?;
                let rows = numbers.into_f64();
                let batch = match shape[..] {
                    // A value for each of n rows, or one row of c values.
                    [m] if c == 1 && m == n => vec![m],
                    _ => arrays::batch(py, &shape, c, "the condition")?,
                };
                let count: usize = batch.iter().product();
                (rows, count == 1 && n != 1 || batch.is_empty())
            }
        };
        if one {
            arrays::check_finite(py, &rows, c, "the condition", self.condition_names())?;
            return Ok(rows.repeat(n));
        }
        arrays::check_infinite(py, &rows, c, "the condition", self.condition_names())?;
        if rows.len() != n * c {
            let problem = format!("there are {} rows of conditions for {n} points", rows.len() / c);
            return Err(invalid(problem, "give one row for each point, or one for all"));
        }
        Ok(rows)
    }

    /// Conditions by name; whether they are one row for all.
    fn of_dict(&self, py: Python<'_>, entries: &Bound<'_, PyDict>, n: usize) -> PyResult<(Vec<f64>, bool)> {
        let labels = self.condition_labels();
        let mut columns: Vec<Option<Vec<f64>>> = vec![None; labels.len()];
        for (name, value) in arrays::entries(entries)? {
            let Some(j) = labels.iter().position(|label| *label == name) else {
                let problem = format!("the model has no condition `{name}`");
                return Err(Trouble::invalid(problem, format!("it has {}", labels.join(", "))).raise(py));
            };
            let coder = |_: Option<&str>, _: usize, cells: &[Option<String>]| self.coded(None, j, cells);
            let read = arrays::read_coded(&value, &format!("the condition `{name}`"), None, Some(&coder))?;
            columns[j] = Some(read.numbers.into_f64());
        }
        let missing: Vec<&str> =
            labels.iter().zip(&columns).filter(|(_, column)| column.is_none()).map(|(name, _)| &**name).collect();
        if !missing.is_empty() {
            let problem = format!("the condition has no value for {}", missing.join(", "));
            return Err(Trouble::invalid(problem, format!("give {}", labels.join(", "))).raise(py));
        }
        let columns: Vec<Vec<f64>> = columns.into_iter().flatten().collect();
        let one = columns.iter().all(|column| column.len() == 1);
        let m = if one { 1 } else { n };
        if let Some(j) = columns.iter().position(|column| column.len() != 1 && column.len() != m) {
            let problem = format!("the condition `{}` has {} values for {n} points", labels[j], columns[j].len());
            return Err(Trouble::invalid(problem, "give one value for each point, or one for all").raise(py));
        }
        let at = |i: usize| columns.iter().map(move |column| column[if column.len() == 1 { 0 } else { i }]);
        Ok(((0..m).flat_map(at).collect(), one))
    }

    fn condition_columns_in_words(&self) -> String {
        let Some(condition) = &self.bound.model.spec.condition else {
            return words::count(self.bound.bound.condition_dim() as u64, "column");
        };
        let one = |(j, column): (usize, &ContextColumn)| match column {
            ContextColumn::Number { .. } => condition.name(j),
            ContextColumn::Class { classes } if classes.len() <= 20 => {
                let labels = self.bound.model.spec.class_labels(j);
                format!("{} (classes {})", condition.name(j), labels.join(", "))
            }
            ContextColumn::Class { classes } => format!("{} ({} classes)", condition.name(j), classes.len()),
        };
        condition.columns.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
    }
}
