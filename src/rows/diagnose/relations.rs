//! Columns that others determine: by a linear relation, or by one of second degree.
//!
//! A column is dependent where what is left of it outside the span of those before it is what rounding leaves. The rank
//! is taken of centred columns in units of their deviations, over the rows that are not far out: one far row would make
//! any two columns proportional. In n rows f features of full rank leave, of a column, a part whose square has a beta
//! distribution with (n − 1 − f)/2; with ten rows to spare it is below 1e-4 with a probability below 1e-17.
//! Ref: Golub & Van Loan, *Matrix Computations*, 5.5, for the rank.

use std::collections::BTreeMap;

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
            found.push(told(table, &rows, k, &free, &weights, left));
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
fn told(table: &Table<'_>, rows: &Scaled, k: usize, free: &[usize], weights: &[f64], left: f64) -> Finding {
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
    let columns = [rows.of[k]].into_iter().chain(terms.iter().map(|(j, _)| rows.of[*j]));
    Finding {
        kind: "linear relation",
        columns: columns.map(|j| table.names[j].clone()).collect(),
        numbers: BTreeMap::from([("left", left), ("constant", constant)]),
        singular: true,
        text: format!("{text}{left_over}"),
        hint: format!("leave one of them out, with `data.drop`{drop}"),
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

/// Columns without correlation, of deviation 1: products of columns that nearly determine each other are otherwise nearly
/// the same.
struct White {
    /// Each `[n]`.
    w: Vec<Vec<f64>>,
    /// Each by the scaled columns, `[p]`.
    of_columns: Vec<Vec<f64>>,
    /// What each is rounded to.
    rounding: Vec<f64>,
}

impl White {
    fn new(rows: &Scaled) -> Option<Self> {
        let (p, root) = (rows.of.len(), (rows.n as f64).sqrt());
        let mut basis = Basis::default();
        let mut of_columns: Vec<Vec<f64>> = Vec::with_capacity(p);
        let mut w = Vec::with_capacity(p);
        for (k, z) in rows.z.iter().enumerate() {
            let (rest, inside) = basis.split(z);
            let length = norm(&rest) / root;
            if length <= 0.0 {
                return None;
            }
            w.push(rest.iter().map(|x| x / length).collect());
            let mut row = vec![0.0; p];
            row[k] = 1.0 / length;
            basis.weights(&inside).iter().enumerate().for_each(|(j, weight)| row[j] -= weight / length);
            of_columns.push(row);
            basis.push(rest, inside);
        }
        let square = |row: &Vec<f64>| row.iter().zip(&rows.rounding).map(|(t, e)| (t * e).powi(2)).sum::<f64>();
        let rounding = of_columns.iter().map(|row| square(row).sqrt()).collect();
        Some(Self { w, of_columns, rounding })
    }
}

/// A product of the white columns i and j, or the column i alone.
#[derive(Clone, Copy)]
enum Feature {
    Column(usize),
    Product(usize, usize),
}

/// Columns that are products or squares of others, circles, spheres: a relation of second degree.
pub(super) fn quadratic(table: &Table<'_>) -> Vec<Finding> {
    // Steps and atoms make products that add nothing.
    let plain = |j: &usize| !table.columns[*j].is_coarse() && table.columns[*j].atom().is_none();
    let of: Vec<usize> = free(table).into_iter().filter(plain).collect();
    if of.len() < 2 || of.len() > MOST_FACTORS || of.iter().all(|j| *j < table.given) {
        return Vec::new();
    }
    let p = of.len();
    let features = p + p * (p + 1) / 2;
    let rows = Scaled::new(table, of, LEAST_ROWS.max(ROWS * features));
    if rows.of.len() != p || rows.n < features + SPARE {
        return Vec::new();
    }
    let Some(white) = White::new(&rows) else { return Vec::new() };
    let products = (0..p).flat_map(|i| (i..p).map(move |j| Feature::Product(i, j)));
    let root = (rows.n as f64).sqrt();
    let (mut basis, mut kept): (Basis, Vec<(Feature, f64)>) = (Basis::default(), Vec::new());
    for feature in (0..p).map(Feature::Column).chain(products) {
        let raw: Vec<f64> = match feature {
            Feature::Column(j) => white.w[j].clone(),
            Feature::Product(i, j) => white.w[i].iter().zip(&white.w[j]).map(|(a, b)| a * b).collect(),
        };
        let (mean, std) = crate::stats::moments(raw.iter().copied());
        let column: Vec<f64> = raw.iter().map(|v| (v - mean) / std).collect();
        let (rest, inside) = basis.split(&column);
        let left = norm(&rest) / root;
        if left <= SOMETHING && matches!(feature, Feature::Product(..)) {
            let weights = basis.weights(&inside);
            let relation = Relation::new(p, feature, std, &kept, &weights);
            if is_nothing(left, relation.rounding(&white) / std) {
                let relation = relation.of_columns(&white);
                // A relation between conditions alone does not concern the model.
                if relation.columns().any(|j| rows.of[j] >= table.given) {
                    return vec![relation.told(table, &rows, left)];
                }
            }
        }
        basis.push(rest, inside);
        kept.push((feature, std));
    }
    Vec::new()
}

/// A monomial in the units of the data.
struct Term {
    weight: f64,
    /// One or two columns.
    factors: Vec<usize>,
    /// Of the monomial over the rows.
    mean: f64,
    std: f64,
}

/// Σ aᵢⱼ zᵢ zⱼ + Σ bⱼ zⱼ + c = 0 over the white columns, or the scaled ones.
struct Relation {
    p: usize,
    /// i ≤ j only.
    a: Vec<f64>,
    b: Vec<f64>,
}

impl Relation {
    /// From a feature of deviation `std` that is made of others with these weights, all of deviation 1.
    fn new(p: usize, feature: Feature, std: f64, kept: &[(Feature, f64)], weights: &[f64]) -> Self {
        let mut relation = Self { p, a: vec![0.0; p * p], b: vec![0.0; p] };
        let mut add = |feature: Feature, weight: f64| match feature {
            Feature::Column(j) => relation.b[j] += weight,
            Feature::Product(i, j) => relation.a[i * p + j] += weight,
        };
        add(feature, 1.0);
        kept.iter().zip(weights).for_each(|((feature, of), w)| add(*feature, -w * std / of));
        relation
    }

    /// The columns that are in it.
    fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        let p = self.p;
        let product = move |i: usize, j: usize| self.a[i.min(j) * p + i.max(j)] != 0.0;
        (0..p).filter(move |j| self.b[*j] != 0.0 || (0..p).any(|i| product(i, *j)))
    }

    /// The deviation that the rounding of the columns gives it.
    fn rounding(&self, rows: &White) -> f64 {
        let (p, n) = (self.p, rows.w[0].len());
        let slope = |j: usize, row: usize| {
            let of = |i: usize| if i == j { 2.0 } else { 1.0 } * self.a[i.min(j) * p + i.max(j)] * rows.w[i][row];
            self.b[j] + (0..p).map(of).sum::<f64>()
        };
        let square = |row: usize| (0..p).map(|j| (slope(j, row) * rows.rounding[j]).powi(2)).sum::<f64>();
        ((0..n).map(square).sum::<f64>() / n as f64).sqrt()
    }

    /// The same of the scaled columns, from that of the white ones.
    fn of_columns(&self, white: &White) -> Self {
        let (p, t) = (self.p, &white.of_columns);
        let (mut a, mut b) = (vec![0.0; p * p], vec![0.0; p]);
        for k in 0..p {
            (0..p).for_each(|j| b[j] += self.b[k] * t[k][j]);
            for l in k..p {
                for i in 0..p {
                    for j in 0..p {
                        a[i.min(j) * p + i.max(j)] += self.a[k * p + l] * t[k][i] * t[l][j];
                    }
                }
            }
        }
        Self { p, a, b }
    }

    /// In words, in the units of the data.
    fn told(&self, table: &Table<'_>, rows: &Scaled, left: f64) -> Finding {
        let (p, m, s) = (self.p, &rows.mean, &rows.std);
        // zᵢ zⱼ = (xᵢ xⱼ − mᵢ xⱼ − mⱼ xᵢ + mᵢ mⱼ)/(sᵢ sⱼ).
        let (mut a, mut b) = (vec![0.0; p * p], vec![0.0; p]);
        for i in 0..p {
            b[i] += self.b[i] / s[i];
            for j in i..p {
                let w = self.a[i * p + j] / (s[i] * s[j]);
                a[i * p + j] += w;
                b[j] -= w * m[i];
                b[i] -= w * m[j];
            }
        }
        let name = |j: usize| table.name(rows.of[j]);
        let value = |j: &usize, row: usize| m[*j] + s[*j] * rows.z[*j][row];
        let mut terms: Vec<Term> = Vec::new();
        let mut put = |weight: f64, factors: Vec<usize>| {
            let of = |row: usize| factors.iter().map(|j| value(j, row)).product::<f64>();
            let (mean, std) = crate::stats::moments((0..rows.n).map(of));
            terms.push(Term { weight, factors, mean, std });
        };
        (0..p).for_each(|i| (i..p).for_each(|j| put(a[i * p + j], vec![i, j])));
        (0..p).for_each(|j| put(b[j], vec![j]));
        // What is nothing beside the others is left out.
        let most = terms.iter().map(|t| (t.weight * t.std).abs()).fold(0.0, f64::max);
        terms.retain(|t| (t.weight * t.std).abs() > (10.0 * left).clamp(1e-5, 1e-2) * most);
        let unit = terms.first().map_or(1.0, |t| t.weight);
        terms.iter_mut().for_each(|t| t.weight /= unit);
        let constant: f64 = terms.iter().map(|t| t.weight * t.mean).sum();
        let size = terms.iter().map(|t| (t.weight * t.mean).abs().max((t.weight * t.std).abs())).fold(0.0, f64::max);
        let constant = if constant.abs() <= 10.0 * left.max(1e-7) * size { 0.0 } else { constant };
        let words = |t: &Term| match t.factors[..] {
            [i, j] if i == j => format!("{}²", name(i)),
            [i, j] => format!("{} {}", name(i), name(j)),
            _ => name(t.factors[0]),
        };
        let (products, others): (Vec<&Term>, Vec<&Term>) = terms.iter().partition(|t| t.factors.len() == 2);
        let left_side: Vec<(f64, String)> = products.iter().map(|t| (t.weight, words(t))).collect();
        let mut right: Vec<(f64, String)> = others.iter().map(|t| (-t.weight, words(t))).collect();
        right.push((constant, String::new()));
        let involved: Vec<usize> = (0..p).filter(|j| terms.iter().any(|t| t.factors.contains(j))).collect();
        let last = involved.iter().rev().find(|j| rows.of[**j] >= table.given).map_or(rows.of[p - 1], |j| rows.of[*j]);
        // Beyond 1e±154 squares leave the range of the numbers, and the equation has no words.
        let sound = constant.is_finite() && terms.iter().all(|t| t.weight.is_finite() && t.std > 0.0);
        let text = if sound && !terms.is_empty() && terms.len() <= 8 {
            format!("{} = {} in every row", sum(&left_side), sum(&right))
        } else {
            let names: Vec<String> = involved.iter().map(|j| table.names[rows.of[*j]].clone()).collect();
            format!("columns {} satisfy an equation of second degree in every row", list(&names))
        };
        let left_over = if left > 1e-5 { format!(", to {} of its deviation", short(left)) } else { String::new() };
        Finding {
            kind: "quadratic relation",
            columns: involved.iter().map(|j| table.names[rows.of[*j]].clone()).collect(),
            numbers: BTreeMap::from([("left", left), ("constant", constant)]),
            singular: true,
            text: format!("{text}{left_over}: the rows lie on a surface"),
            hint: format!("leave out a column that the others determine, with `data.drop`{}", bare(table, &[last])),
        }
    }
}
