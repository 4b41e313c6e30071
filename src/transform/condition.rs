//! The condition of a flow, as the user gives it and as it is encoded for the nets.
//!
//! A number is brought to mean 0 and deviation 1, a class becomes one column for each of the classes (0 but for a 1 in
//! its own): both inside the model, so that its user gives the numbers of the data file.

use std::sync::Arc;

use cnflow_solvers::Real;
use serde::{Deserialize, Serialize};

use super::bijection::check_rows;
use super::{Bijection, Mapped, exact};
use crate::{Error, Result};

/// More values than this are not classes.
const MOST_CLASSES: usize = 1000;
/// Whole numbers with at most this many values are taken for classes.
const FEW_CLASSES: usize = 20;

/// What a conditioning column is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ContextColumn {
    /// A number: c ↦ (c − mean) / std.
    Number {
        /// The training data's mean.
        #[serde(serialize_with = "exact::as_text", deserialize_with = "exact::deserialize")]
        mean: f64,
        /// Their standard deviation, above 0.
        #[serde(serialize_with = "exact::as_text", deserialize_with = "exact::deserialize")]
        std: f64,
    },
    /// One of these classes, rising.
    Class {
        /// Their numbers in the data file.
        classes: Vec<i64>,
    },
}

/// How a column of conditions is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextKind {
    /// As a class where all its values are whole and there are at most 20 of them, else as a number.
    #[default]
    Auto,
    /// As a number.
    Number,
    /// As a class.
    Class,
}

impl std::str::FromStr for ContextKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "number" => Ok(Self::Number),
            "class" => Ok(Self::Class),
            _ => Err(Error::Unknown {
                kind: "kind of condition",
                name: text.into(),
                known: "auto, number, class".into(),
            }),
        }
    }
}

impl ContextColumn {
    /// What the column of these values is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for values that are not finite, do not differ, or are not classes where they should be.
    pub fn fit(kind: ContextKind, values: &[f64]) -> Result<Self> {
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::invalid(
                format!("row {i} of a condition is {}", values[i]),
                crate::words::leave_out(values[i]),
            ));
        }
        let whole = values.iter().all(|v| v.fract() == 0.0 && v.abs() < 1e15);
        let mut classes: Vec<i64> = if whole { values.iter().map(|v| *v as i64).collect() } else { Vec::new() };
        classes.sort_unstable();
        classes.dedup();
        let few = whole && classes.len() <= FEW_CLASSES;
        if kind == ContextKind::Class || (kind == ContextKind::Auto && few) {
            if !whole {
                return Err(Error::invalid(
                    "the classes are not all whole numbers",
                    "read the column as a number, not as a class",
                ));
            }
            return match classes.len() {
                0 | 1 => Err(Error::invalid(
                    "the column has a single value",
                    "leave the column out: it carries no information",
                )),
                2..=MOST_CLASSES => Ok(Self::Class { classes }),
                many => Err(Error::invalid(
                    format!("the column has {many} classes, too many"),
                    "read the column as a number, not as a class",
                )),
            };
        }
        let (mean, std) = crate::stats::moments(values.iter().copied());
        match std {
            std if std.is_normal() => Ok(Self::Number { mean, std }),
            0.0 => Err(Error::invalid(
                format!("the column is {mean} in all {} rows", values.len()),
                "leave the column out: it carries no information",
            )),
            std => Err(Error::invalid(
                format!("the column has deviation {std:e}, which 64-bit numbers do not resolve"),
                "give the column in a larger unit",
            )),
        }
    }

    /// The number of columns that encode it.
    fn width(&self) -> usize {
        match self {
            Self::Number { .. } => 1,
            Self::Class { classes } => classes.len(),
        }
    }

    fn is_sound(&self) -> bool {
        match self {
            Self::Number { mean, std } => mean.is_finite() && std.is_normal() && *std > 0.0,
            Self::Class { classes } => classes.len() > 1 && classes.windows(2).all(|w| w[0] < w[1]),
        }
    }

    fn push<T: Real>(&self, value: f64, out: &mut Vec<T>) -> Result<()> {
        match self {
            Self::Number { .. } if !value.is_finite() => {
                return Err(Error::invalid(value.to_string(), "give a finite number"));
            }
            Self::Number { mean, std } => out.push(T::of((value - mean) / std)),
            Self::Class { classes } => {
                let Some(place) = classes.iter().position(|class| *class as f64 == value) else {
                    let known = classes.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
                    return Err(Error::Unknown { kind: "class", name: value.to_string(), known });
                };
                out.extend((0..classes.len()).map(|k| if k == place { T::ONE } else { T::ZERO }));
            }
        }
        Ok(())
    }
}

/// Where the numbers of a column lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The least.
    #[serde(serialize_with = "exact::as_text", deserialize_with = "exact::deserialize")]
    pub low: f64,
    /// The greatest.
    #[serde(serialize_with = "exact::as_text", deserialize_with = "exact::deserialize")]
    pub high: f64,
}

impl Range {
    /// A number is outside when it is beyond an end by more than this part of the width. Of n rows of one distribution
    /// the next is beyond an end once in n, and hardly ever far.
    pub const MARGIN: f64 = 0.05;
    /// Where the range is not known, a number is outside when it is further than this many deviations from the mean.
    pub const DEVIATIONS: f64 = 6.0;

    /// The range of these; none of no finite number.
    pub fn of(values: &[f64]) -> Option<Self> {
        let finite = values.iter().copied().filter(|v| v.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        (low <= high).then_some(Self { low, high })
    }

    /// How far beyond the nearer end, in widths; 0 inside.
    pub fn beyond(&self, value: f64) -> f64 {
        let width = (self.high - self.low).max(f64::MIN_POSITIVE);
        ((self.low - value).max(value - self.high) / width).max(0.0)
    }
}

/// All conditioning columns of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// One a column.
    pub columns: Vec<ContextColumn>,
    /// Their names in the data file; empty where it has no names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl Condition {
    /// The conditions `[n, c]`, encoded for the nets, `[n, width]`; both row-major.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the column's name for a class that the model does not have, and for what is not finite;
    /// [`Error::Dimension`] for a last row that is not whole.
    pub fn encode(&self, rows: &[f64]) -> Result<Vec<f64>> {
        self.encode_as(rows)
    }

    /// As [`Condition::encode`], rounded to the precision that computes with them.
    pub(crate) fn encode_as<T: Real>(&self, rows: &[f64]) -> Result<Vec<T>> {
        let expected = self.columns.len().max(1);
        if !rows.len().is_multiple_of(expected) {
            let (what, found) = ("the last row of the conditions".into(), rows.len() % expected);
            return Err(Error::Dimension { what, expected, found });
        }
        let mut out = Vec::with_capacity(rows.len() / self.columns.len().max(1) * self.width());
        for row in rows.chunks_exact(self.columns.len().max(1)) {
            for (j, (given, value)) in self.columns.iter().zip(row).enumerate() {
                given.push(*value, &mut out).map_err(|e| match e {
                    Error::Unknown { name, known, .. } => {
                        let problem = format!("the condition `{}` has no class {name}", self.name(j));
                        Error::invalid(problem, format!("give one of its classes: {known}"))
                    }
                    Error::Invalid { problem, hint } => {
                        Error::invalid(format!("the condition `{}` is {problem}", self.name(j)), hint)
                    }
                    other => other,
                })?;
            }
        }
        Ok(out)
    }

    /// The derivatives by the conditions, `[n, c]`, of those by their encoded columns, `[n, width]`; NaN in the columns of
    /// classes.
    pub(crate) fn pull_back(&self, encoded: &[f64]) -> Vec<f64> {
        let one = |row: &[f64]| {
            let mut at = 0;
            let mut of_column = |column: &ContextColumn| {
                at += column.width();
                match column {
                    ContextColumn::Number { std, .. } => row[at - 1] / std,
                    ContextColumn::Class { .. } => f64::NAN,
                }
            };
            self.columns.iter().map(&mut of_column).collect::<Vec<f64>>()
        };
        encoded.chunks_exact(self.width().max(1)).flat_map(one).collect()
    }

    /// The name of a column, else its number as `c0`.
    pub fn name(&self, j: usize) -> String {
        self.names.get(j).cloned().unwrap_or_else(|| format!("c{j}"))
    }

    /// The number of encoded columns.
    pub fn width(&self) -> usize {
        self.columns.iter().map(ContextColumn::width).sum()
    }

    /// For each encoded column, whether it is a part of a class.
    pub fn of_classes(&self) -> Vec<bool> {
        let one =
            |given: &ContextColumn| std::iter::repeat_n(matches!(given, ContextColumn::Class { .. }), given.width());
        self.columns.iter().flat_map(one).collect()
    }

    pub(crate) fn is_sound(&self) -> bool {
        let names = self.names.is_empty() || self.names.len() == self.columns.len();
        !self.columns.is_empty() && names && self.columns.iter().all(ContextColumn::is_sound)
    }
}

/// A bijection whose condition is encoded on its way in.
pub(crate) struct Conditioned {
    pub condition: Arc<Condition>,
    pub inner: Arc<dyn Bijection>,
}

impl Bijection for Conditioned {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn condition_dim(&self) -> usize {
        self.condition.columns.len()
    }

    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        check_rows(&rows.y, self.dim(), condition, self.condition_dim())?;
        self.inner.forward(rows, &self.condition.encode(condition)?)
    }

    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        check_rows(&rows.y, self.dim(), condition, self.condition_dim())?;
        self.inner.inverse(rows, &self.condition.encode(condition)?)
    }
}
