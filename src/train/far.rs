//! Rows so far out that no model can fit them, and that ruin the fit of the others.
//!
//! One row at 10⁶ deviations makes its column's deviation 10⁶/√n times too large, the matching loss is that row's
//! alone, and a prior of covariances is as wide as the distance to it. Such rows are left out, with a note that names
//! them.
//!
//! **The rule**, for each column on the real line (a positive one by its logarithm) and each condition that is a
//! number. With y the distances from the median, falling, the first m rows are far where
//! - y_m is more than `LEAST` robust deviations ([`robust_moments`](crate::stats::robust_moments)), and
//! - the gap behind them is not to be explained by a tail as heavy as that of the rows that follow: of a power law the
//!   spacing m ln(y_m / y_{m+1}) is exponential with mean ξ, the mean of k more spacings estimates ξ (Hill), and the
//!   ratio exceeds k (α^(−1/k) − 1) with probability α (an F distribution with 2 and 2k degrees of freedom). α is
//!   `CHANCE` over m (m + 1), which adds up to `CHANCE` for a column. Tails lighter than a power law's have smaller
//!   gaps still. So Student's t, lognormal and Cauchy rows stay, however far.
//!
//! At most [`few_of`] rows are far, and none of a group of `GROUP` or more near each other: such a group is a
//! mode, and a mixture fits it.  Ref: Hill (1975); Rényi (1953) for the spacings.

mod extent;

use std::fmt;

use rayon::prelude::*;
use serde::Serialize;

use self::extent::{Extent, extent, modes};
use super::preprocessing::Preprocessing;
use super::{FarRows, Job, context, start};
use crate::Result;
use crate::model::{Architecture, FlowSpec};
use crate::rows::{Context, Dataset, Rows, Source, Split};
use crate::stats::few_of;
use crate::transform::{Condition, ContextColumn};

/// Fewer rows have no tail.
const FEWEST: usize = 8;
/// More held-out rows than one in so many are not far, but a set that lies elsewhere.
const TENTH: usize = 10;
/// Rows that are named in words.
const NAMED: usize = 5;

/// A set of a data set's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Set {
    /// Rows to train on.
    Training,
    /// Rows by which models are chosen.
    Validation,
    /// Rows for the one score that is reported.
    Test,
}

impl Set {
    fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// A row far out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FarRow {
    /// The set that it belongs to.
    pub set: Set,
    /// Which row of the set it is, from 0.
    pub index: usize,
    /// Which row of the file it is, from 0, where that is known.
    pub row: Option<usize>,
    /// The column, or the condition, in which it is farthest out: its name, or its number from 0.
    pub column: String,
    /// What it holds there, in the data's units.
    pub value: f64,
    /// How many robust deviations that is from the median (of the logarithm, where the column is a positive one).
    pub deviations: f64,
    /// Within how many of them all other rows for training lie.
    pub others: f64,
}

/// The rows of a data set that lie far out, by set and index.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Far {
    /// One entry a row.
    pub rows: Vec<FarRow>,
}

/// The rows of one set, their points on the real line.
struct Part {
    set: Set,
    rows: Rows,
}

impl Far {
    /// The far rows of the data that a job is about, which begins with a model of the spec `init` or anew; those of a
    /// toy are none.
    ///
    /// # Errors
    /// For columns and conditions that the job cannot have, as [`fit`](super::fit) would.
    pub fn find(job: &Job, init: Option<&FlowSpec>, data: &Dataset) -> Result<Self> {
        // Grey levels are bounded: no image lies far out.
        let Some(train) = data.training_rows().filter(|_| data.shape.is_none()) else { return Ok(Self::default()) };
        if data.dim == 0 || train.count(data.dim) < FEWEST {
            return Ok(Self::default());
        }
        let (columns, condition) = match init {
            Some(spec) => (spec.columns.clone().filter(|columns| columns.len() == data.dim), spec.condition.clone()),
            None => (start::columns(job, data, &train.points())?, context::condition(&job.data.condition, data)?),
        };
        let preprocessing =
            Preprocessing::new(&FlowSpec { columns, ..FlowSpec::bare(Architecture::Identity { dim: data.dim }) })?;
        let mut sets = Vec::new();
        for (set, rows) in [(Set::Training, train), (Set::Validation, &data.valid), (Set::Test, &data.test)] {
            sets.push(Part {
                set,
                rows: Rows { x: preprocessing.inward(rows.points().into_owned())?.0.into(), ..rows.clone() },
            });
        }
        let numbers = numbers(condition.as_ref(), data.context.as_ref());
        Ok(Self::among(data, &sets, &numbers))
    }

    fn among(data: &Dataset, sets: &[Part], numbers: &[usize]) -> Self {
        let (d, c) = (data.dim, data.context_dim());
        // Columns first, then conditions.
        let values = |set: &Part, j: usize| -> Vec<f64> {
            match j.checked_sub(d) {
                None => set.rows.x.column(j, d).collect(),
                Some(k) => set.rows.context.iter().skip(k).step_by(c).copied().collect(),
            }
        };
        let checked: Vec<usize> = (0..d).chain(numbers.iter().map(|k| d + k)).collect();
        let extents: Vec<Option<Extent>> = checked
            .par_iter()
            .map(|j| {
                let held_out: Vec<f64> = sets[1..].iter().flat_map(|set| values(set, *j)).collect();
                extent(&values(&sets[0], *j), &held_out)
            })
            .collect();
        let far = |set: &Part| -> Vec<FarRow> {
            let n = set.rows.count(d);
            // The column in which each row is farthest out, in deviations.
            let mut worst: Vec<Option<(usize, f64)>> = vec![None; n];
            for (place, extent) in extents.iter().enumerate() {
                let Some(extent) = extent else { continue };
                let column = values(set, checked[place]);
                let distance = |i: usize| (column[i] - extent.centre).abs();
                let beyond: Vec<usize> = match set.set {
                    Set::Training => extent.far.clone(),
                    _ => (0..column.len()).filter(|i| distance(*i) > extent.most).collect(),
                };
                // A set that lies elsewhere as a whole is not a matter of a few rows: its scores show it.
                if set.set != Set::Training && beyond.len() > few_of(n).max(n / TENTH) {
                    continue;
                }
                for i in beyond {
                    let deviations = distance(i) / extent.scale;
                    if worst[i].is_none_or(|(_, most)| deviations > most) {
                        worst[i] = Some((place, deviations));
                    }
                }
            }
            let row = |(index, (place, deviations)): (usize, (usize, f64))| {
                let extent = extents[place].as_ref();
                let (column, value) = entry(data, set.set, checked[place], index);
                FarRow {
                    set: set.set,
                    index,
                    row: data.places.as_ref().map(|places| of_set(places, set.set)[index]),
                    column,
                    value,
                    deviations,
                    others: extent.map_or(f64::NAN, |extent| extent.others / extent.scale),
                }
            };
            worst.into_iter().enumerate().filter_map(|(i, worst)| Some((i, worst?))).map(row).collect()
        };
        let mut rows: Vec<FarRow> = sets.iter().flat_map(far).collect();
        // A mode is one whose rows for training are many; rows of it that were held out belong to it.
        let place = |row: &FarRow| -> Vec<f64> {
            let rows = &sets[row.set as usize].rows;
            let at = |(place, extent): (usize, &Option<Extent>)| {
                let extent = extent.as_ref()?;
                let j = checked[place];
                let value = match j.checked_sub(d) {
                    None => rows.x.at(row.index * d + j),
                    Some(k) => rows.context[row.index * c + k],
                };
                Some((value - extent.centre) / extent.scale)
            };
            extents.iter().enumerate().filter_map(at).collect()
        };
        let places: Vec<Vec<f64>> = rows.iter().map(place).collect();
        let training: Vec<bool> = rows.iter().map(|row| row.set == Set::Training).collect();
        let mut mode = modes(&places, &training).into_iter();
        rows.retain(|_| !mode.next().unwrap_or(false));
        Self { rows }
    }

    /// None lies far out.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The indices of a set's far rows, rising.
    pub fn of(&self, set: Set) -> Vec<usize> {
        self.rows.iter().filter(|row| row.set == set).map(|row| row.index).collect()
    }

    /// The data without the far rows of the training and the validation set.
    #[must_use]
    pub fn left_out(&self, data: &Dataset) -> Dataset {
        let mut data = data.clone();
        let (train, valid) = (self.of(Set::Training), self.of(Set::Validation));
        if let Source::Rows(rows) = &mut data.train {
            *rows = rows.without(data.dim, &train);
        }
        data.valid = data.valid.without(data.dim, &valid);
        if let Some(places) = &mut data.places {
            drop_entries(&mut places.train, &train);
            drop_entries(&mut places.valid, &valid);
        }
        data
    }

    /// How many rows of these sets lie far out, as `1 training row and 2 validation rows`, and whether it is one alone.
    fn counts(&self, sets: &[Set]) -> Option<(String, bool)> {
        let counts: Vec<(Set, usize)> =
            sets.iter().map(|set| (*set, self.of(*set).len())).filter(|(_, n)| *n > 0).collect();
        let words = |(set, n): &(Set, usize)| crate::words::count(*n as u64, &format!("{} row", set.name()));
        let alone = counts.iter().map(|(_, n)| n).sum::<usize>() == 1;
        (!counts.is_empty()).then(|| (counts.iter().map(words).collect::<Vec<_>>().join(" and "), alone))
    }

    /// Notes on them, one sentence a line; empty where there are none.
    pub fn words(&self, rule: FarRows) -> Vec<String> {
        let mut words = Vec::new();
        if let Some((counts, alone)) = self.counts(&[Set::Training, Set::Validation]) {
            let what = match rule {
                FarRows::LeaveOut => {
                    "left out: no model learns a density from so few (`data.far_rows` keep trains on them)"
                }
                FarRows::Keep if alone => "kept: it may ruin the model (`data.far_rows` leave-out)",
                FarRows::Keep => "kept: they may ruin the model (`data.far_rows` leave-out)",
            };
            let lie = if alone { "lies far out and is" } else { "lie far out and are" };
            words.push(format!("{counts} {lie} {what}"));
        }
        if let Some((counts, alone)) = self.counts(&[Set::Test]) {
            let lie = if alone { "lies far out and counts" } else { "lie far out and count" };
            words.push(format!("{counts} {lie} in the mean test score"));
        }
        words.extend(self.rows.iter().take(NAMED).map(ToString::to_string));
        if self.rows.len() > NAMED {
            words.push(format!("and {} more such rows", self.rows.len() - NAMED));
        }
        words
    }
}

impl fmt::Display for FarRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Some(row) => write!(f, "row {row} of the file (counted from 0)")?,
            None => write!(f, "row {} of the {} set (counted from 0)", self.index, self.set.name())?,
        }
        write!(
            f,
            " has {} in column {}: {:.3e} robust deviations from the median, where the other rows are within {:.1}",
            crate::words::exact(self.value),
            self.column,
            self.deviations,
            self.others
        )
    }
}

/// The conditions that are numbers.
fn numbers(condition: Option<&Condition>, context: Option<&Context>) -> Vec<usize> {
    match (condition, context) {
        (Some(condition), Some(context)) if condition.columns.len() == context.dim => {
            (0..context.dim).filter(|k| matches!(condition.columns[*k], ContextColumn::Number { .. })).collect()
        }
        _ => Vec::new(),
    }
}

fn of_set(places: &Split, set: Set) -> &[usize] {
    match set {
        Set::Training => &places.train,
        Set::Validation => &places.valid,
        Set::Test => &places.test,
    }
}

/// The name of a column (conditions come after the data's own), and what a row holds there.
fn entry(data: &Dataset, set: Set, j: usize, index: usize) -> (String, f64) {
    let d = data.dim;
    let rows = match (set, &data.train) {
        (Set::Training, Source::Rows(rows)) => rows,
        (Set::Test, _) => &data.test,
        _ => &data.valid,
    };
    match (j.checked_sub(d), &data.context) {
        (Some(k), Some(context)) => {
            let name = context.columns.get(k).cloned().unwrap_or_else(|| k.to_string());
            (format!("`{name}` of the conditions"), rows.context[index * context.dim + k])
        }
        _ => {
            let name = data.columns.as_ref().and_then(|names| names.get(j)).map(|name| format!("`{name}`"));
            (name.unwrap_or_else(|| j.to_string()), rows.x.at(index * d + j))
        }
    }
}

/// Takes the entries of these numbers out, which rise.
fn drop_entries(entries: &mut Vec<usize>, gone: &[usize]) {
    let mut at = 0..;
    entries.retain(|_| at.next().is_none_or(|i| gone.binary_search(&i).is_err()));
}
