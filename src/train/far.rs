//! Rows so far out that no model can learn them, and that ruin what is learnt of the others.
//!
//! One row at 10⁶ deviations makes its column's deviation 10⁶/√n times too large, the matching loss is that row's alone,
//! and a prior of covariances is as wide as the distance to it. Such rows are left out, with a word that names them.
//!
//! **The rule**, for each column on the real line (a positive one by its logarithm) and each condition that is a number. With y
//! the distances from the median, falling, the first m rows are far where
//! - y_m is more than [`LEAST`] robust deviations ([`robust_moments`]), and
//! - the gap behind them is not to be explained by a tail as heavy as that of the rows that follow: of a power law the
//!   spacing m ln(y_m / y_{m+1}) is exponential with mean ξ, the mean of k more spacings estimates ξ (Hill), and the ratio
//!   exceeds k (α^(−1/k) − 1) with probability α (an F distribution with 2 and 2k degrees of freedom). α is [`CHANCE`] over
//!   m (m + 1), which adds up to [`CHANCE`] for a column. Tails lighter than a power law's have smaller gaps still. So Student's t, lognormal and
//!   Cauchy rows stay, however far.
//!
//! At most [`few_of`] rows are far, and none of a group of [`GROUP`] or more near each other: such a group is a
//! mode, and a mixture learns it.  Ref: Hill (1975); Rényi (1953) for the spacings.

use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::preprocessing::Preprocessing;
use super::{Job, start};
use crate::data::{Context, Dataset, Rows, Source, Split};
use crate::flow::{Condition, Core, FlowSpec, Given};
use crate::stats::{few_of, robust_moments};
use crate::{Error, Result};

/// Nearer rows spoil nothing: one of them among 1000 makes a deviation larger by a fifth.
const LEAST: f64 = 20.0;
/// The chance that a column with the tail of a power law loses a row.
const CHANCE: f64 = 1e-3;
/// ξ is not taken for less, or columns of few values would have no tail at all.
const LIGHTEST: f64 = 0.2;
/// Fewer rows have no tail.
const FEWEST: usize = 8;
/// So many rows near each other are a mode: the least rows of a component of a mixture.
const GROUP: usize = 8;
/// A column of more rows than this whose greatest distance from the mean is below four of its deviations holds no far
/// rows: one in 20, all at the same place, are 4.36 deviations from the mean.
const MANY: usize = 40;
const NEAR: f64 = 4.0;
/// More held-out rows than one in so many are not far, but a set that lies elsewhere.
const TENTH: usize = 10;
/// Rows that are named in words.
const NAMED: usize = 5;

/// What becomes of rows that lie far out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FarRows {
    /// They are left out of the training and of the validation set.
    #[default]
    LeaveOut,
    /// They are trained on like others.
    Keep,
}

impl std::str::FromStr for FarRows {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "leave-out" => Ok(Self::LeaveOut),
            "keep" => Ok(Self::Keep),
            _ => Err(Error::Unknown {
                kind: "treatment of far rows",
                name: text.into(),
                known: "leave-out, keep".into(),
            }),
        }
    }
}

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

/// Where a column's rows lie.
struct Extent {
    centre: f64,
    scale: f64,
    /// Distances from the centre beyond which held-out rows are far.
    most: f64,
    /// The greatest distance of a row that is not far.
    others: f64,
    /// The training rows that are far.
    far: Vec<usize>,
}

impl Far {
    /// The far rows of the data that a job is about, which begins with a model of the spec `init` or anew; those of a toy are
    /// none.
    ///
    /// # Errors
    /// For columns and conditions that the job cannot have, as [`fit`](super::fit) would.
    pub fn find(job: &Job, init: Option<&FlowSpec>, data: &Dataset) -> Result<Self> {
        let Some(train) = data.training_rows() else { return Ok(Self::default()) };
        if data.dim == 0 || train.count(data.dim) < FEWEST {
            return Ok(Self::default());
        }
        let (columns, condition) = match init {
            Some(spec) => (spec.columns.clone().filter(|columns| columns.len() == data.dim), spec.condition.clone()),
            None => (start::columns(job, data, &train.x)?, start::condition(job, data)?),
        };
        let preprocessing = Preprocessing::new(&FlowSpec { columns, ..FlowSpec::bare(Core::Still { dim: data.dim }) })?;
        let mut sets = Vec::new();
        for (set, rows) in [(Set::Training, train), (Set::Validation, &data.valid), (Set::Test, &data.test)] {
            sets.push(Part { set, rows: Rows { x: preprocessing.inward(rows.x.clone())?.0, ..rows.clone() } });
        }
        let numbers = numbers(condition.as_ref(), data.context.as_ref());
        Ok(Self::among(data, &sets, &numbers))
    }

    fn among(data: &Dataset, sets: &[Part], numbers: &[usize]) -> Self {
        let (d, c) = (data.dim, data.context_dim());
        // Columns first, then conditions.
        let values = |set: &Part, j: usize| -> Vec<f64> {
            match j.checked_sub(d) {
                None => set.rows.x.iter().skip(j).step_by(d).copied().collect(),
                Some(k) => set.rows.context.iter().skip(k).step_by(c).copied().collect(),
            }
        };
        let asked: Vec<usize> = (0..d).chain(numbers.iter().map(|k| d + k)).collect();
        let extents: Vec<Option<Extent>> = asked
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
                let column = values(set, asked[place]);
                let distance = |i: usize| (column[i] - extent.centre).abs();
                let beyond: Vec<usize> = match set.set {
                    Set::Training => extent.far.clone(),
                    _ => (0..column.len()).filter(|i| distance(*i) > extent.most).collect(),
                };
                // A set that lies elsewhere as a whole is no matter of a few rows: its scores show it.
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
                let (column, value) = entry(data, set.set, asked[place], index);
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
                let j = asked[place];
                let value = match j.checked_sub(d) {
                    None => rows.x[row.index * d + j],
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

    /// What is to be said of them, one sentence a line; empty where there are none.
    pub fn words(&self, rule: FarRows) -> Vec<String> {
        let mut words = Vec::new();
        if let Some((counts, alone)) = self.counts(&[Set::Training, Set::Validation]) {
            let what = match rule {
                FarRows::LeaveOut => {
                    "left out: no model learns a density from so few (`data.far_rows` keep trains on them)"
                }
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
            (0..context.dim).filter(|k| matches!(condition.columns[*k], Given::Number { .. })).collect()
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
            (name.unwrap_or_else(|| j.to_string()), rows.x[index * d + j])
        }
    }
}

/// Takes the entries of these numbers out, which rise.
fn drop_entries(entries: &mut Vec<usize>, gone: &[usize]) {
    let mut at = 0..;
    entries.retain(|_| at.next().is_none_or(|i| gone.binary_search(&i).is_err()));
}

/// Where the values of a column lie, and which of those for training are far; none where nothing can be.
fn extent(values: &[f64], held_out: &[f64]) -> Option<Extent> {
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
    let farthest = values.iter().chain(held_out).map(|v| (v - mean).abs()).fold(0.0, f64::max);
    // Where squares leave the range of f64 the deviation decides nothing.
    if n > MANY && deviation.is_finite() && farthest < NEAR * deviation {
        return None;
    }
    let (centre, scale) = robust_moments(&mut values.to_vec());
    if !(scale > 0.0 && scale.is_finite()) {
        return None;
    }
    let distance = |i: usize| (values[i] - centre).abs();
    let most = few_of(n);
    let spacings = ((2.0 * (n as f64).sqrt()) as usize).max(10).min(n / 4).max(2);
    let count = (most + spacings + 1).min(n);
    let mut order: Vec<usize> = (0..n).collect();
    let falling = |a: &usize, b: &usize| distance(*b).total_cmp(&distance(*a)).then(a.cmp(b));
    order.select_nth_unstable_by(count - 1, falling);
    order.truncate(count);
    order.sort_unstable_by(falling);
    let y: Vec<f64> = order.iter().map(|i| distance(*i)).collect();
    // ln of the factor that a gap behind the first m must exceed, times m.
    let gap = |m: usize| -> f64 {
        let tail: Vec<f64> = y[m..].iter().take(spacings + 1).copied().filter(|y| *y > 0.0).collect();
        let k = tail.len().saturating_sub(1);
        let Some(last) = tail.last().filter(|_| k > 0) else { return f64::INFINITY };
        let index = tail[..k].iter().map(|y| (y / last).ln()).sum::<f64>() / k as f64;
        let (k, chance) = (k as f64, CHANCE / ((m.max(1) * (m + 1)) as f64));
        index.max(LIGHTEST) * k * (chance.powf(-1.0 / k) - 1.0)
    };
    let is_far = |m: &usize| {
        let (last, next) = (y[m - 1], y[*m]);
        last > LEAST * scale && *m as f64 * (last / next).ln() > gap(*m)
    };
    let m = (1..=most.min(count - 1)).rev().find(is_far).unwrap_or(0);
    let beyond = y[m] * gap(m).exp();
    Some(Extent { centre, scale, most: beyond.max(LEAST * scale), others: y[m], far: order[..m].to_vec() })
}

/// Which of some rows belong to a mode: to [`GROUP`] or more rows for training that are linked, each nearer to the next
/// than half of its own distance from the centre. `places` are in deviations.
fn modes(places: &[Vec<f64>], training: &[bool]) -> Vec<bool> {
    let n = places.len();
    let size = |a: &[f64]| a.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
    let mut group: Vec<Option<usize>> = vec![None; n];
    let mut sizes = Vec::new();
    for first in 0..n {
        if group[first].is_some() {
            continue;
        }
        let label = sizes.len();
        group[first] = Some(label);
        let (mut open, mut members) = (vec![first], 0);
        while let Some(i) = open.pop() {
            members += usize::from(training[i]);
            for j in 0..n {
                let near = || apart(&places[i], &places[j]) <= 0.5 * size(&places[i]).min(size(&places[j]));
                if group[j].is_none() && near() {
                    group[j] = Some(label);
                    open.push(j);
                }
            }
        }
        sizes.push(members);
    }
    group.into_iter().map(|label| label.is_some_and(|label| sizes[label] >= GROUP)).collect()
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;
    use crate::rng::stream;
    use rand_distr::{Cauchy, Distribution, LogNormal, StandardNormal, StudentT};

    fn draws(n: usize, law: &impl Distribution<f64>, seed: u64) -> Vec<f64> {
        law.sample_iter(stream(seed, 7)).take(n).collect()
    }

    fn far(values: &[f64]) -> Vec<usize> {
        extent(values, &[]).map_or(Vec::new(), |extent| extent.far)
    }

    #[test]
    fn honest_tails_lose_no_row_however_heavy() {
        // 2400 columns at a chance of 1e-3 each at the most: more than seven alarms have a probability of 0.003.
        let mut alarms = 0;
        for seed in 0..60 {
            for n in [30, 160, 1000, 20_000] {
                let columns = [
                    draws(n, &StandardNormal, seed),
                    draws(n, &StudentT::new(3.0).unwrap(), seed),
                    draws(n, &StudentT::new(2.0).unwrap(), seed),
                    draws(n, &Cauchy::new(0.0, 1.0).unwrap(), seed),
                    draws(n, &LogNormal::new(0.0, 1.0).unwrap(), seed),
                    draws(n, &LogNormal::new(0.0, 2.0).unwrap(), seed),
                    draws(n, &LogNormal::new(0.0, 3.0).unwrap(), seed),
                    draws(n, &rand_distr::Exp1, seed),
                    draws(n, &rand_distr::Uniform::new(0.0, 1.0).unwrap(), seed),
                    draws(n, &rand_distr::Poisson::new(0.3).unwrap(), seed),
                ];
                alarms += columns.iter().filter(|column| !far(column).is_empty()).count();
            }
        }
        assert!(alarms <= 7, "{alarms}");
    }

    #[test]
    fn a_row_from_a_hundred_deviations_on_is_found_in_any_table() {
        for seed in 0..5 {
            for n in [160, 1000, 20_000, 200_000] {
                for size in [1e2, 1e4, 1e8, 1e200] {
                    let mut values = draws(n, &StandardNormal, seed);
                    values[17] = size;
                    assert_eq!(far(&values), [17], "{n} rows, {size:e}");
                    values[n - 3] = -3.0 * size;
                    values[n / 2] = size;
                    let mut found = far(&values);
                    found.sort_unstable();
                    assert_eq!(found, [17, n / 2, n - 3], "{n} rows, three beyond {size:e}");
                    // A row that is held out, likewise.
                    let clean = draws(n, &StandardNormal, seed);
                    assert!(extent(&clean, &[size, 3.0]).unwrap().most < size);
                }
            }
        }
        // Heavier tails hide what is nearer, and nothing that is not a row of theirs.
        let mut heavy = draws(20_000, &StudentT::new(3.0).unwrap(), 1);
        heavy[5] = 1e5;
        assert_eq!(far(&heavy), [5]);
        // Atoms: more than half of the values are equal, and the column still has a scale, or none.
        let mut rng = stream(3, 0);
        let mut atoms: Vec<f64> =
            (0..4000).map(|i| if i % 10 < 7 { 0.0 } else { StandardNormal.sample(&mut rng) }).collect();
        assert!(far(&atoms).is_empty());
        atoms[9] = 1e6;
        assert_eq!(far(&atoms), [9]);
        let mut ones: Vec<f64> = (0..4000).map(|_| f64::from(u8::from(rng.random_bool(0.001)))).collect();
        ones[1] = 40.0;
        assert!(far(&ones).is_empty());
    }

    #[test]
    fn a_group_is_a_mode_and_stays() {
        let at = |x: f64, y: f64| vec![x, y];
        let mut places: Vec<Vec<f64>> = (0..8).map(|i| at(100.0 + f64::from(i), 100.0)).collect();
        places.push(at(-100.0, 0.0));
        places.push(at(100.0, 99.0));
        let mut training = vec![true; 9];
        training.push(false);
        let found = modes(&places, &training);
        assert_eq!(found, [vec![true; 8], vec![false, true]].concat());
        // Seven for training are too few, whatever was held out.
        training[0] = false;
        assert_eq!(modes(&places, &training), [false; 10]);
    }
}
