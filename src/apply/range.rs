//! Conditions that lie far outside of those of the training: counted while the rows pass.

use serde_json::{Value, json};

use crate::model::Model;
use crate::transform::{ContextColumn, Range};
use crate::words::{estimate, exact};
use crate::{Error, Result};

/// What is known of a conditioning column.
#[derive(Clone, Debug)]
enum Known {
    /// The range of the training rows.
    Range(Range),
    /// Their mean and deviation: a model file of earlier versions.
    Moments(f64, f64),
    /// Each class with its word or number.
    Classes(Vec<(f64, String)>),
}

/// The condition that is farthest outside.
#[derive(Clone, Debug)]
struct Farthest {
    row: u64,
    column: usize,
    value: f64,
    /// In widths of the range.
    distance: f64,
}

/// Rows whose condition is far outside the range of the training.
#[derive(Clone, Debug, Default)]
pub struct OutOfRange {
    columns: Vec<(String, Known)>,
    /// Rows seen, and those outside.
    n: u64,
    rows: u64,
    farthest: Option<Farthest>,
    /// One row serves all points.
    one: bool,
}

impl OutOfRange {
    /// For the conditions of this model; those of an imported net have no known range.
    pub fn of(model: &Model) -> Self {
        let Some(condition) = model.spec.given() else { return Self::default() };
        let known = |(j, given): (usize, &ContextColumn)| {
            let known = match (given, model.spec.condition_ranges.get(j).copied().flatten()) {
                (ContextColumn::Class { classes }, _) => {
                    let numbers = classes.iter().map(|class| *class as f64);
                    Known::Classes(numbers.zip(model.spec.class_labels(j)).collect())
                }
                (_, Some(range)) => Known::Range(range),
                (ContextColumn::Number { mean, std }, None) => Known::Moments(*mean, *std),
            };
            (condition.name(j), known)
        };
        Self { columns: condition.columns.iter().enumerate().map(known).collect(), ..Self::default() }
    }

    /// The one row for all points.
    ///
    /// # Errors
    /// As [`OutOfRange::see`].
    pub fn see_one(&mut self, row: &[f64]) -> Result<()> {
        self.one = true;
        self.see(0, row)
    }

    /// Rows of conditions, `[n, c]`, that come after `first` others. Those with a missing value are passed over.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the row for a class that the model does not have.
    pub fn see(&mut self, first: u64, rows: &[f64]) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        for (i, row) in rows.chunks_exact(self.columns.len()).enumerate() {
            // What is missing is not outside.
            if row.iter().any(|v| v.is_nan()) {
                continue;
            }
            let at = first + i as u64;
            let mut outside = false;
            for (j, (value, (name, known))) in row.iter().zip(&self.columns).enumerate() {
                let distance = match known {
                    Known::Classes(classes) if classes.iter().any(|(class, _)| class == value) => continue,
                    Known::Classes(classes) => {
                        let classes = classes.iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>().join(", ");
                        let problem = format!("the condition `{name}` has no class {}", exact(*value));
                        let row = match self.one {
                            true => String::new(),
                            false => format!(", which row {at} (counted from 0) has"),
                        };
                        return Err(Error::invalid(problem + &row, format!("give one of its classes: {classes}")));
                    }
                    Known::Range(range) => range.beyond(*value) - Range::MARGIN,
                    Known::Moments(mean, std) => ((value - mean).abs() / std - Range::DEVIATIONS) / Range::DEVIATIONS,
                };
                if distance > 0.0 {
                    outside = true;
                    if self.farthest.as_ref().is_none_or(|far| distance > far.distance) {
                        self.farthest = Some(Farthest { row: at, column: j, value: *value, distance });
                    }
                }
            }
            self.rows += u64::from(outside);
            self.n += 1;
        }
        Ok(())
    }

    /// How many rows, and the farthest; null where all are inside.
    pub fn facts(&self) -> Value {
        let Some(far) = &self.farthest else { return Value::Null };
        let (name, known) = &self.columns[far.column];
        let mut facts = json!({ "rows": self.rows, "of": self.n, "row": far.row, "column": name, "value": far.value });
        match known {
            Known::Range(Range { low, high }) => facts["range"] = json!([low, high]),
            Known::Moments(mean, std) => (facts["mean"], facts["std"]) = (json!(mean), json!(std)),
            Known::Classes(_) => {}
        }
        facts
    }

    /// The same in a sentence; nothing where all are inside.
    pub fn words(&self) -> Option<String> {
        let far = self.farthest.as_ref()?;
        let (name, known) = &self.columns[far.column];
        let training = match known {
            Known::Range(Range { low, high }) => format!("it was {} to {} in training", exact(*low), exact(*high)),
            Known::Moments(mean, std) => format!("it was {} in training", estimate(*mean, *std, 4)),
            Known::Classes(_) => String::new(),
        };
        if self.one {
            let value = exact(far.value);
            return Some(format!("condition far outside the training range: `{name}` = {value} ({training})"));
        }
        let (rows, n, row, value) = (self.rows, self.n, far.row, exact(far.value));
        Some(format!(
            "conditions far outside the training range: {rows} of {n} rows; the farthest is `{name}` = {value} in \
             row {row}, counted from 0 ({training})"
        ))
    }
}
