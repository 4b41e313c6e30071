//! Whether the data have a density: one function a check, run before the first step.
//!
//! A density needs rows that fill the space. Copies, values that come again and again, columns that others determine
//! and rows on a surface have none: the likelihood of a fit then grows without bound as the fit becomes narrower, and
//! the number that it reaches measures how narrow that was, not how good it is. Every check is made on the training
//! rows alone, in the same way every time; those about neighbours look at a part of the rows, evenly taken.
//!
//! To add a check: write its function in a file of this folder, add it to [`CHECKS`], and give the tests in
//! `tests/it/diagnose.rs` data that it must find. It has to be silent on honest data, which those tests hold too.

mod columns;
mod manifold;
mod matrix;
mod relations;
mod rows;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde::Serialize;

use super::Dataset;
use super::copies::{first_equal, first_of};
use crate::rng;
use columns::Column;

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The name of the check.
    pub kind: &'static str,
    /// The columns that it is about.
    pub columns: Vec<String>,
    /// The numbers in the text, by name.
    pub numbers: BTreeMap<&'static str, f64>,
    /// Whether the rows have no density because of it.
    pub singular: bool,
    /// One sentence.
    pub text: String,
    /// The way out.
    pub hint: String,
}

/// The name of a check, and the function that runs it.
type Check = (&'static str, fn(&Table<'_>) -> Vec<Finding>);

/// All checks of the training rows, in the order in which findings are reported.
pub const CHECKS: [Check; 6] = [
    ("copies", rows::copies),
    ("steps", columns::steps),
    ("atoms", columns::atoms),
    ("linear relation", relations::linear),
    ("quadratic relation", relations::quadratic),
    ("surface", manifold::surface),
];

/// The rows that are looked at, and what every check needs of them.
pub struct Table<'a> {
    /// Conditions first, then the columns of the model: `[n, width]`, row-major.
    x: Cow<'a, [f64]>,
    width: usize,
    /// How many of the columns are conditions.
    given: usize,
    names: Vec<String>,
    /// Whether the names are those of the file.
    named: bool,
    /// For each row the number of the first that is equal to it.
    first: Vec<usize>,
    /// The numbers of the rows that come first.
    different: Vec<usize>,
    columns: Vec<Column>,
    /// Rows with those held out, and how many of them are different.
    all: (usize, usize),
    /// Columns that are not a linear function of others, and the relations of those that are.
    ranked: OnceCell<(Vec<usize>, Vec<Finding>)>,
}

impl<'a> Table<'a> {
    /// The table of rows `[n, d]` under conditions `[n, c]` (none with c = 0); `names` are those of all c + d columns,
    /// and `named`: the file has them too.
    pub fn new(x: &'a [f64], d: usize, given: &[f64], c: usize, names: Vec<String>, named: bool) -> Self {
        let x = joined(x, d, given, c);
        let first = first_equal(&x, c + d);
        Self::of(x, first, c, names, named)
    }

    /// As [`Table::new`], of rows behind their conditions: for each row, `first` is the number of the first equal one.
    fn of(x: Cow<'a, [f64]>, first: Vec<usize>, c: usize, names: Vec<String>, named: bool) -> Self {
        let (n, width) = (first.len(), names.len());
        let different: Vec<usize> = (0..n).filter(|i| first[*i] == *i).collect();
        // Copies of whole rows have a check of their own: columns are looked at without them. With one column a copy is
        // a value that comes again.
        let looked: Vec<usize> = if width > 1 { different.clone() } else { (0..n).collect() };
        let column = |j: usize| Column::new(looked.iter().map(|i| x[i * width + j]).collect());
        let columns = (0..width).map(column).collect();
        let all = (n, different.len());
        Self { x, width, given: c, names, named, first, different, columns, all, ranked: OnceCell::new() }
    }

    fn ranked(&self) -> &(Vec<usize>, Vec<Finding>) {
        self.ranked.get_or_init(|| relations::rank(self))
    }

    /// Rows.
    fn n(&self) -> usize {
        self.first.len()
    }

    /// The model's columns, without the conditions.
    fn own(&self) -> std::ops::Range<usize> {
        self.given..self.width
    }

    fn name(&self, j: usize) -> String {
        format!("`{}`", self.names[j])
    }

    /// At most `most` of the different rows, evenly taken.
    fn some(&self, most: usize) -> Vec<usize> {
        let n = self.different.len();
        let count = n.min(most);
        (0..count).map(|i| self.different[i * n / count]).collect()
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.x[i * self.width + j]
    }
}

/// Rows `[n, d]` behind their conditions `[n, c]`.
fn joined<'a>(x: &'a [f64], d: usize, given: &[f64], c: usize) -> Cow<'a, [f64]> {
    if c == 0 {
        return Cow::Borrowed(x);
    }
    let row = |i: usize| given[i * c..(i + 1) * c].iter().chain(&x[i * d..(i + 1) * d]).copied();
    (0..x.len() / d).flat_map(row).collect()
}

/// Findings on a data set before a model is fitted to it; none of a toy, whose density is known. `numbered`:
/// columns without names are numbered as in the file, none being left out.
pub fn dataset(data: &Dataset, numbered: bool) -> Vec<Finding> {
    with_integers(data, numbered, &[])
}

/// As [`dataset`], of data whose columns `integers` hold whole numbers as such: they are looked at with noise between each
/// number and the next, a function of the row.
pub fn with_integers(data: &Dataset, numbered: bool, integers: &[usize]) -> Vec<Finding> {
    // Grey levels are steps, and images have copies and constant pixels: dequantised, they have a density all the same.
    let Some(train) = data.training_rows().filter(|_| data.shape.is_none()) else { return Vec::new() };
    let (d, context) = (data.dim, data.context.clone().unwrap_or_default());
    let c = context.dim;
    if train.x.len() < 2 * d || train.context.len() * d != train.x.len() * c {
        return Vec::new();
    }
    let known = |names: &[String], n: usize, what: &str| -> Vec<String> {
        (0..n).map(|j| names.get(j).cloned().unwrap_or_else(|| format!("{what}{j}"))).collect()
    };
    let own = known(data.columns.as_deref().unwrap_or_default(), d, "");
    let names = [known(&context.columns, c, "condition "), own].concat();
    let points = [train, &data.valid, &data.test].map(|rows| (spread(rows.points(), d, integers), &rows.context));
    let joined = points.each_ref().map(|(x, context)| joined(x, d, context, c));
    // Equal rows of all sets; the first n are those of training.
    let first = first_of(&[&joined[0], &joined[1], &joined[2]], c + d);
    let (n, n_valid) = (train.count(d), data.valid.count(d));
    let [x, ..] = joined;
    let mut table = Table::of(x, first[..n].to_vec(), c, names, data.columns.is_some() || (numbered && c == 0));
    table.all = (first.len(), first.iter().enumerate().filter(|(i, first)| i == *first).count());
    // Rows of whole numbers alone come again by themselves.
    let all_whole = integers.len() == d;
    let checks = CHECKS.iter().filter(|(name, _)| !(all_whole && *name == "copies"));
    let mut found: Vec<Finding> = checks.flat_map(|(_, check)| check(&table)).collect();
    found.extend(under_classes(&table, &found));
    found.extend(across(&first, n, n_valid).filter(|_| !all_whole));
    found
}

/// The rows with noise in [0, 1) in their columns of whole numbers; equal rows stay equal.
fn spread<'a>(x: Cow<'a, [f64]>, d: usize, integers: &[usize]) -> Cow<'a, [f64]> {
    if integers.is_empty() {
        return x;
    }
    let mut x = x.into_owned();
    for row in x.chunks_exact_mut(d) {
        let key = rng::key(0, row.iter().map(|v| *v as f32));
        for j in integers {
            row[*j] += rng::unit(rng::mix(key.wrapping_add(*j as u64)));
        }
    }
    Cow::Owned(x)
}

/// Relations between columns that hold under one class of the conditions: of each class another perhaps.
fn under_classes(table: &Table<'_>, said: &[Finding]) -> Vec<Finding> {
    const MOST: usize = 50;
    let c = table.given;
    if c == 0 || !(0..c).all(|j| table.columns[j].is_coarse() || table.columns[j].is_constant()) {
        return Vec::new();
    }
    let mut classes: BTreeMap<Vec<u64>, Vec<usize>> = BTreeMap::new();
    for i in 0..table.n() {
        let class = (0..c).map(|j| (table.at(i, j) + 0.0).to_bits()).collect();
        classes.entry(class).or_default().push(i);
    }
    if classes.len() > MOST {
        return Vec::new();
    }
    let relations = |of: &Vec<usize>| -> Vec<Finding> {
        let x: Vec<f64> =
            of.iter().flat_map(|i| &table.x[i * table.width + c..(i + 1) * table.width]).copied().collect();
        let under = Table::new(&x, table.width - c, &[], 0, table.names[c..].to_vec(), table.named);
        let under_which =
            (0..c).map(|j| format!("{} = {}", table.name(j), short(table.at(of[0], j)))).collect::<Vec<_>>();
        let found = [relations::linear(&under), relations::quadratic(&under), manifold::surface(&under)].concat();
        let restricted = |f: Finding| Finding { text: format!("where {}, {}", under_which.join(" and "), f.text), ..f };
        found.into_iter().map(restricted).collect()
    };
    let known = |f: &Finding| said.iter().any(|other| other.kind == f.kind && other.columns == f.columns);
    // The first of each kind is an example, beside the number of those that follow it.
    let mut found: Vec<(Finding, usize)> = Vec::new();
    for finding in classes.values().flat_map(relations).filter(|f| !known(f)) {
        match found.iter_mut().find(|(first, _)| first.kind == finding.kind) {
            Some((_, more)) => *more += 1,
            None => found.push((finding, 0)),
        }
    }
    let counted = |(mut first, more): (Finding, usize)| {
        if more > 0 {
            first.text += &format!(", and {more} more of this kind under these or other conditions");
        }
        first
    };
    found.into_iter().map(counted).collect()
}

/// Copies of the first `n` rows, those of training, among the `n_valid` rows of validation and the test rows that
/// follow them; for each row, `first` is the number of the first equal one.
fn across(first: &[usize], n: usize, n_valid: usize) -> Option<Finding> {
    let (valid, test) = first[n..].split_at(n_valid);
    let copies = |set: &[usize]| set.iter().filter(|first| **first < n).count();
    let (in_valid, in_test) = (copies(valid), copies(test));
    if in_valid + in_test == 0 {
        return None;
    }
    let (all_valid, all_test) = (valid.len(), test.len());
    Some(Finding {
        kind: "copies across the split",
        columns: Vec::new(),
        numbers: BTreeMap::from([("validation", in_valid as f64), ("test", in_test as f64)]),
        singular: false,
        text: format!(
            "{in_valid} of {all_valid} validation rows and {in_test} of {all_test} test rows are copies of training rows: \
             their scores are too good"
        ),
        hint: "split by shares, such as `data.split` 0.8,0.1: they keep copies on one side".into(),
    })
}

/// A number as people read it: five digits that matter, and no zeros behind them.
fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let exponent = value.abs().log10().floor();
    if !(-4.0..9.0).contains(&exponent) {
        let text = format!("{value:.4e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
        return format!("{digits}e{power}");
    }
    let places = (4.0 - exponent).max(0.0) as usize;
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
