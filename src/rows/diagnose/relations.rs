//! Columns that others determine: by a linear relation, or by one of second degree.
//!
//! A column is dependent where what is left of it outside the span of those before it is what rounding leaves. The rank
//! is taken of centred columns in units of their deviations, over the rows that are not far out: one far row would make
//! any two columns proportional. In n rows f features of full rank leave, of a column, a part whose square has a beta
//! distribution with (n − 1 − f)/2; with ten rows to spare it is below 1e-4 with a probability below 1e-17.
//! Ref: Golub & Van Loan, *Matrix Computations*, 5.5, for the rank.

mod quadratic;

use std::collections::BTreeMap;

pub(super) use self::quadratic::quadratic;
use super::matrix::{Basis, norm};
use super::{Finding, Table, columns::bare, short};
use crate::names::list;

/// Rows for each feature, and the least and the most of them.
const ROWS: usize = 4;
const LEAST_ROWS: usize = 2048;
/// Rows beyond the number of features without which nothing is reported.
const SPARE: usize = 10;
/// More columns than this are not looked at, for the time it would take.
const MOST_COLUMNS: usize = 512;
/// Columns of which all products are taken.
const MOST_FACTORS: usize = 12;
/// Rows beyond so many quarters from the median, in any column, are left out.
const FAR: f64 = 10.0;
/// A part of a column below this is nothing, whatever it is rounded to: nets compute in 32 bits.
const NOTHING: f64 = 1e-6;
/// A part of a column above this is something, however coarsely it is rounded.
const SOMETHING: f64 = 0.02;
/// What rounding leaves is at most so many of its own deviations.
const ROUNDING: f64 = 4.0;

/// Rows in units of the columns' deviations.
struct Scaled {
    /// The columns of the table that are looked at.
    of: Vec<usize>,
    /// Each `[n]`.
    z: Vec<Vec<f64>>,
    mean: Vec<f64>,
    std: Vec<f64>,
    /// What each is rounded to, in deviations.
    rounding: Vec<f64>,
    n: usize,
}

impl Scaled {
    /// These columns of the table over at most `most` of its rows.
    fn new(table: &Table<'_>, of: Vec<usize>, most: usize) -> Self {
        let rows = table.some(most);
        let near = |i: &usize| {
            of.iter().all(|j| {
                let column = &table.columns[*j];
                column.quarters() <= 0.0 || (table.at(*i, *j) - column.median()).abs() <= FAR * column.quarters()
            })
        };
        let central: Vec<usize> = rows.iter().copied().filter(near).collect();
        let rows = if 2 * central.len() > rows.len() { central } else { rows };
        let moments = |j: &usize| crate::stats::moments(rows.iter().map(|i| table.at(*i, *j)));
        // Far rows may have been all that differs.
        let of: Vec<usize> = of.iter().copied().filter(|j| moments(j).1 > 0.0).collect();
        let (mean, std): (Vec<f64>, Vec<f64>) = of.iter().map(moments).unzip();
        let column = |k: usize| rows.iter().map(|i| (table.at(*i, of[k]) - mean[k]) / std[k]).collect();
        let z = (0..of.len()).map(column).collect();
        let rounding = of.iter().zip(&std).map(|(j, s)| table.columns[*j].resolution() / s).collect();
        Self { z, mean, std, rounding, n: rows.len(), of }
    }
}

/// Whether what is left of a column of deviation 1 is nothing, where rounding leaves `rounding`.
fn is_nothing(left: f64, rounding: f64) -> bool {
    left <= (NOTHING + ROUNDING * rounding).min(SOMETHING)
}

/// The columns that are not functions of others, among all that are not constant, and the relations of those that are.
pub(super) fn rank(table: &Table<'_>) -> (Vec<usize>, Vec<Finding>) {
    let of: Vec<usize> = (0..table.width).filter(|j| !table.columns[*j].is_constant()).collect();
    if of.len() > MOST_COLUMNS || of.len() < 2 {
        return (of, Vec::new());
    }
    let rows = Scaled::new(table, of.clone(), LEAST_ROWS.max(ROWS * of.len()));
    if rows.n < rows.of.len() + SPARE {
        return (of, Vec::new());
    }
    let (mut basis, mut free, mut found): (Basis, Vec<usize>, Vec<Finding>) =
        (Basis::default(), Vec::new(), Vec::new());
    let root = (rows.n as f64).sqrt();
    for k in 0..rows.of.len() {
        let (rest, inside) = basis.split(&rows.z[k]);
        let left = norm(&rest) / root;
        if left > SOMETHING {
            basis.push(rest, inside);
            free.push(k);
            continue;
        }
        let weights = basis.weights(&inside);
        let others: f64 = weights.iter().zip(&free).map(|(w, j)| (w * rows.rounding[*j]).powi(2)).sum();
        if !is_nothing(left, (others + rows.rounding[k].powi(2)).sqrt()) {
            basis.push(rest, inside);
            free.push(k);
        } else if rows.of[k] >= table.given {
            found.push(finding(table, &rows, k, &free, &weights, left));
        }
    }
    (free.into_iter().map(|k| rows.of[k]).collect(), found)
}

/// Columns without those that others determine linearly.
pub(super) fn free(table: &Table<'_>) -> Vec<usize> {
    table.ranked().0.clone()
}

/// Columns that others determine linearly.
pub(super) fn linear(table: &Table<'_>) -> Vec<Finding> {
    const MOST: usize = 4;
    let mut found = table.ranked().1.clone();
    if found.len() > MOST {
        let names: Vec<String> = found.iter().flat_map(|f| f.columns.first().cloned()).collect();
        let first = found.swap_remove(0);
        let numbers = BTreeMap::from([("columns", names.len() as f64)]);
        let text = format!(
            "{} columns ({}) are linear functions of the others; the first: {}",
            names.len(),
            list(&names),
            first.text
        );
        let hint = format!("leave them out with `data.drop`{}", bare(table, &indices(table, &names)));
        return vec![Finding { columns: names, numbers, text, hint, ..first }];
    }
    found
}

fn indices(table: &Table<'_>, names: &[String]) -> Vec<usize> {
    table.own().filter(|j| names.contains(&table.names[*j])).collect()
}

/// The words of a linear relation: column k by the free ones and their weights, all in deviations.
fn finding(table: &Table<'_>, rows: &Scaled, k: usize, free: &[usize], weights: &[f64], left: f64) -> Finding {
    // A weight that is not above what is left is nothing.
    let least = (10.0 * left).clamp(1e-5, 1e-2);
    let terms: Vec<(usize, f64)> = free
        .iter()
        .zip(weights)
        .filter(|(_, w)| w.abs() > least)
        .map(|(j, w)| (*j, w * rows.std[k] / rows.std[*j]))
        .collect();
    let constant = rows.mean[k] - terms.iter().map(|(j, w)| w * rows.mean[*j]).sum::<f64>();
    // Against the numbers that it is the difference of.
    let size = terms.iter().map(|(j, w)| (w * rows.mean[*j]).abs()).fold(rows.std[k], f64::max);
    let constant = if constant.abs() <= 10.0 * (left * rows.std[k]).max(1e-7 * size) { 0.0 } else { constant };
    let name = |k: usize| table.name(rows.of[k]);
    let all: Vec<String> = terms.iter().map(|(j, _)| *j).chain([k]).map(|k| table.names[rows.of[k]].clone()).collect();
    let text = match &terms[..] {
        [(j, w)] if (w - 1.0).abs() < 1e-5 && constant == 0.0 => {
            format!("column {} is a copy of {}", name(k), name(*j))
        }
        terms if terms.iter().all(|(_, w)| (w + 1.0).abs() < 1e-3) && terms.len() > 1 => {
            let ones: Vec<(f64, String)> = all.iter().map(|name| (1.0, format!("`{name}`"))).collect();
            let sum = if all.len() > 6 { format!("{} columns ({})", all.len(), list(&all)) } else { sum(&ones) };
            let total: f64 = rows.mean[k] + terms.iter().map(|(j, _)| rows.mean[*j]).sum::<f64>();
            format!("{sum} = {} in every row", short(total))
        }
        terms if terms.len() <= 6 => {
            let mut right: Vec<(f64, String)> = terms.iter().map(|(j, w)| (*w, name(*j))).collect();
            right.push((constant, String::new()));
            format!("{} = {} in every row", name(k), sum(&right))
        }
        terms => {
            format!("column {} is a linear function of {} others ({})", name(k), terms.len(), list(&all[..terms.len()]))
        }
    };
    let left_over = if left > 1e-5 { format!(", to {} of its deviation", short(left)) } else { String::new() };
    let drop = bare(table, &[rows.of[k]]);
    let whole: Vec<usize> = terms.iter().map(|(j, _)| *j).chain([k]).map(|k| rows.of[k]).collect();
    let ones = !terms.is_empty() && terms.iter().all(|(_, w)| (w + 1.0).abs() < 1e-3);
    let parts = if ones && whole.iter().all(|j| table.own().contains(j) && table.columns[*j].is_positive()) {
        let names = match table.named {
            true => whole.iter().map(|j| table.names[*j].clone()).collect::<Vec<_>>().join(","),
            false => "A,B,C".to_owned(),
        };
        format!("; or model the parts of the whole together: `data.columns` {names}:simplex")
    } else {
        String::new()
    };
    let columns = [rows.of[k]].into_iter().chain(terms.iter().map(|(j, _)| rows.of[*j]));
    Finding {
        kind: "linear relation",
        columns: columns.map(|j| table.names[j].clone()).collect(),
        numbers: BTreeMap::from([("left", left), ("constant", constant)]),
        singular: true,
        text: format!("{text}{left_over}"),
        hint: format!("leave one of them out, with `data.drop`{drop}{parts}"),
    }
}

/// 2 `a` − `b` + 3, without terms that are 0.
fn sum(terms: &[(f64, String)]) -> String {
    let mut out = String::new();
    for (weight, name) in terms.iter().filter(|(weight, _)| *weight != 0.0) {
        let sign = match (*weight < 0.0, out.is_empty()) {
            (true, true) => "−",
            (true, false) => " − ",
            (false, true) => "",
            (false, false) => " + ",
        };
        let number = short(weight.abs());
        let words = match (name.is_empty(), number.as_str()) {
            (true, _) => number,
            (false, "1") => name.clone(),
            (false, _) => format!("{number} {name}"),
        };
        out += &format!("{sign}{words}");
    }
    if out.is_empty() { "0".into() } else { out }
}
