//! Relations of second degree between columns: products, squares, circles, spheres.

use std::collections::BTreeMap;

use super::{LEAST_ROWS, MOST_FACTORS, ROWS, SOMETHING, SPARE, Scaled, free, is_nothing, sum};
use crate::names::list;
use crate::rows::diagnose::columns::bare;
use crate::rows::diagnose::matrix::{Basis, norm};
use crate::rows::diagnose::{Finding, Table, short};

/// Columns without correlation, of deviation 1: products of columns that nearly determine each other are otherwise
/// nearly the same.
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
pub(in crate::rows::diagnose) fn quadratic(table: &Table<'_>) -> Vec<Finding> {
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
                    return vec![relation.finding(table, &rows, left)];
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
    fn finding(&self, table: &Table<'_>, rows: &Scaled, left: f64) -> Finding {
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
