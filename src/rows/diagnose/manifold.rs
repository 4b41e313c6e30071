//! Rows on a curve or a surface that no equation of second degree describes.
//!
//! Around a row its neighbours are laid on their principal axes, and what is across the first m of them is fitted by a
//! polynomial of second degree in those. On a smooth surface of m dimensions what is left is of third order in the
//! distance r of the neighbours; rows that fill the space leave a good part of r; and rows that are thin but have a
//! thickness leave that thickness at any distance. So a surface is reported where what is left is far below r, and
//! where it falls with r at least like r^1.5 as four times as many rows are looked at, or is nothing.
//! Ref: Fukunaga & Olsen (1971) for the local principal axes; Little, Maggioni & Rosasco (2017) for the scales.

use std::collections::BTreeMap;

use super::matrix::{Basis, axes, norm};
use super::{Finding, Table, columns::bare, relations, short};
use crate::names::list;

/// The most rows among which neighbours are looked for, the least, and the rows whose neighbours are.
const ROWS: usize = 20_000;
const LEAST: usize = 400;
const QUERIES: usize = 300;
/// The most columns.
const MOST_COLUMNS: usize = 8;
/// What is left is far below r where it is below this part of it.
const FLAT: f64 = 0.01;
/// The exponent of r.
const SLOPE: f64 = 1.5;
/// In deviations of the columns this is nothing: nets compute in 32 bits.
const NOTHING: f64 = 1e-6;
/// The coarse scale has this part of the rows.
const COARSE: usize = 4;

/// A surface of less dimensions than there are columns.
pub(super) fn surface(table: &Table<'_>) -> Vec<Finding> {
    let plain = |j: &usize| !table.columns[*j].is_coarse() && table.columns[*j].atom().is_none();
    let of: Vec<usize> = relations::free(table).into_iter().filter(plain).collect();
    // Conditions may lie on any surface; the rows under classes are tables of their own.
    let given: Vec<usize> = of.iter().copied().filter(|j| *j < table.given).collect();
    let classes = (0..table.given).any(|j| table.columns[j].is_coarse());
    // What is reported already is not reported again.
    if classes
        || of.len() == given.len()
        || !relations::quadratic(table).is_empty()
        || of_columns(table, &given).is_some()
    {
        return Vec::new();
    }
    of_columns(table, &of).into_iter().collect()
}

/// The surface of less dimensions on which the rows lie in these columns.
fn of_columns(table: &Table<'_>, of: &[usize]) -> Option<Finding> {
    let p = of.len();
    let chosen = table.some(ROWS);
    if !(2..=MOST_COLUMNS).contains(&p) || chosen.len() < LEAST {
        return None;
    }
    let scale: Vec<(f64, f64)> =
        of.iter().map(|j| (table.columns[*j].median(), table.columns[*j].quarters())).collect();
    if scale.iter().any(|(_, quarters)| *quarters <= 0.0) {
        return None;
    }
    let point = |i: &usize| of.iter().zip(&scale).map(|(j, (m, s))| (table.at(*i, *j) - m) / s).collect();
    let points: Vec<Vec<f64>> = chosen.iter().map(point).collect();
    let rounding: f64 = of.iter().zip(&scale).map(|(j, (_, s))| (table.columns[*j].resolution() / s).powi(2)).sum();
    let nothing = NOTHING + 4.0 * rounding.sqrt();
    for m in 1..p {
        let coefficients = (m + 1) * (m + 2) / 2;
        let k = coefficients + coefficients.max(8);
        if points.len() < 2 * COARSE * k {
            break;
        }
        let fine = thickness(&points, 1, m, k);
        if fine.across.is_nan() || fine.along.is_nan() || fine.across > FLAT * fine.along {
            continue;
        }
        let coarse = thickness(&points, COARSE, m, k);
        let slope = (coarse.across / fine.across).ln() / (coarse.along / fine.along).ln();
        if fine.across <= nothing || slope >= SLOPE {
            let names: Vec<String> = of.iter().map(|j| table.names[*j].clone()).collect();
            let what = if m == 1 { "a curve".to_owned() } else { format!("a surface of {m} dimensions") };
            let drop = bare(table, &[of[p - 1]]);
            return Some(Finding {
                kind: "surface",
                numbers: BTreeMap::from([
                    ("dimension", m as f64),
                    ("of", p as f64),
                    ("across", fine.across),
                    ("along", fine.along),
                ]),
                singular: true,
                text: format!(
                    "the rows of the {p} columns {} lie on {what}: neighbours are {} apart and {} off it, in quartile \
                     ranges of the columns",
                    list(&names),
                    short(fine.along),
                    short(fine.across)
                ),
                hint: format!(
                    "leave out columns that the others determine, with `data.drop`{drop}, or add noise of the measurement's size"
                ),
                columns: names,
            });
        }
    }
    None
}

/// How far neighbours are along the first axes, and off the fitted surface.
struct Thickness {
    along: f64,
    across: f64,
}

/// Medians over some points of the k nearest among every `every`-th of all.
fn thickness(points: &[Vec<f64>], every: usize, m: usize, k: usize) -> Thickness {
    let some: Vec<&[f64]> = points.iter().step_by(every).map(Vec::as_slice).collect();
    let count = QUERIES.min(some.len());
    let mut local: Vec<(f64, f64)> =
        (0..count).filter_map(|q| around(&some, q * some.len() / count, m, k)).filter(|(r, _)| *r > 0.0).collect();
    let mut median = |of: fn(&(f64, f64)) -> f64| {
        local.sort_unstable_by(|a, b| of(a).total_cmp(&of(b)));
        local.get(local.len() / 2).map_or(f64::NAN, of)
    };
    Thickness { along: median(|pair| pair.0), across: median(|pair| pair.1) }
}

/// The distance along, and what is left across, of the k nearest of one point.
fn around(points: &[&[f64]], at: usize, m: usize, k: usize) -> Option<(f64, f64)> {
    let p = points[at].len();
    let distance = |i: usize| points[at].iter().zip(points[i]).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let mut near: Vec<(f64, usize)> = (0..points.len()).map(|i| (distance(i), i)).collect();
    let by = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    near.select_nth_unstable_by(k, by);
    near.truncate(k + 1);
    near.sort_unstable_by(by);
    let n = near.len() as f64;
    let mean: Vec<f64> = (0..p).map(|j| near.iter().map(|(_, i)| points[*i][j]).sum::<f64>() / n).collect();
    let centred: Vec<Vec<f64>> =
        near.iter().map(|(_, i)| points[*i].iter().zip(&mean).map(|(x, m)| x - m).collect()).collect();
    let mut covariance = vec![0.0; p * p];
    for row in &centred {
        for i in 0..p {
            for j in 0..p {
                covariance[i * p + j] += row[i] * row[j];
            }
        }
    }
    let axes = axes(covariance, p);
    let on = |axis: &[f64]| -> Vec<f64> {
        centred.iter().map(|row| row.iter().zip(axis).map(|(x, a)| x * a).sum()).collect()
    };
    let along: Vec<Vec<f64>> = axes[..m].iter().map(|axis| on(axis)).collect();
    let r = along.iter().map(|u| norm(u)).fold(0.0, |sum: f64, u| sum.hypot(u)) / (n * m as f64).sqrt();
    if r.is_nan() || r <= 0.0 {
        return None;
    }
    // A constant, the coordinates along, and their products, in units of r.
    let ones = vec![1.0; near.len()];
    let linear = along.iter().map(|u| u.iter().map(|x| x / r).collect::<Vec<f64>>());
    let linear: Vec<Vec<f64>> = linear.collect();
    let products = (0..m).flat_map(|i| (i..m).map(move |j| (i, j)));
    let products = products.map(|(i, j)| linear[i].iter().zip(&linear[j]).map(|(a, b)| a * b).collect::<Vec<f64>>());
    let mut basis = Basis::default();
    let mut rank = 0;
    for column in [ones].into_iter().chain(linear.iter().cloned()).chain(products) {
        let (rest, inside) = basis.split(&column);
        if norm(&rest) > 1e-9 * norm(&column) {
            basis.push(rest, inside);
            rank += 1;
        }
    }
    let left: f64 = axes[m..].iter().map(|axis| norm(&basis.split(&on(axis)).0).powi(2)).sum();
    let free = (near.len() - rank) * (p - m);
    Some((r, (left / free as f64).sqrt()))
}
