//! Rows that are equal.

use std::collections::{BTreeMap, HashMap};

use super::{Finding, Table, short};

/// Copies are reported from this part of the rows on: fewer change no fit, and never sit on two sides of a split.
const SHARE: f64 = 5e-3;

/// Equal rows, where there are more than rounding makes.
pub(super) fn copies(table: &Table<'_>) -> Vec<Finding> {
    let (n, k) = (table.n(), table.different.len());
    let copies = n - k;
    if copies == 0 || (copies as f64) < SHARE * n as f64 {
        return Vec::new();
    }
    let mut times: HashMap<usize, usize> = HashMap::new();
    table.first.iter().for_each(|first| *times.entry(*first).or_default() += 1);
    let pairs: f64 = times.values().map(|m| 0.5 * (*m as f64) * (*m as f64 - 1.0)).sum();
    let few = 2 * k < n;
    if !few && !beyond_rounding(pairs, by_chance(table, &times)) {
        return Vec::new();
    }
    // Of one column its steps or its atom are reported instead.
    if table.width == 1 && (table.columns[0].is_coarse() || table.columns[0].atom().is_some()) {
        return Vec::new();
    }
    let (most, at) = times.iter().map(|(first, m)| (*m, usize::MAX - first)).max().unwrap_or((1, usize::MAX));
    let row: Vec<String> = (0..table.width.min(4)).map(|j| short(table.at(usize::MAX - at, j))).collect();
    let more = if table.width > 4 { ", …" } else { "" };
    let (all, different) = table.all;
    let heavy = most as f64 >= 0.01 * n as f64 && most > 3;
    let often = if most > 2 { format!("; ({}{more}) occurs {most} times", row.join(", ")) } else { String::new() };
    vec![Finding {
        kind: "copies",
        columns: Vec::new(),
        numbers: BTreeMap::from([
            ("training_rows", n as f64),
            ("training_different", k as f64),
            ("rows", all as f64),
            ("different", different as f64),
            ("copies", (all - different) as f64),
            ("most", most as f64),
        ]),
        singular: few || heavy,
        text: format!(
            "{} of the {all} rows are copies: {different} {} different{often}",
            all - different,
            if different == 1 { "is" } else { "are" }
        ),
        hint: "drop the copies; or, where each is a measurement, add uniform noise of the resolution".into(),
    }]
}

/// Whether pairs of equal rows are more than rounding makes, which makes as many pairs a step apart: three times as
/// many, and by three Poisson deviations.
fn beyond_rounding(pairs: f64, by_chance: f64) -> bool {
    pairs > 3.0 * by_chance + 3.0 * (by_chance + 1.0).sqrt()
}

/// Pairs of rows that are one step apart in one column and equal in the others, on average over the columns.
fn by_chance(table: &Table<'_>, times: &HashMap<usize, usize>) -> f64 {
    let width = table.width;
    // A column without steps has those of its type. Counted from the middle, so that a value beyond what a key can hold
    // leaves the keys of the others apart.
    let key = |j: usize, x: f64| match table.columns[j].step {
        Some(step) => ((x - table.columns[j].median()) / step).round() as i64,
        None if table.columns[j].narrow => i64::from(ordered32(x as f32)),
        None => ordered64(x),
    };
    let keys = |first: usize| -> Vec<i64> { (0..width).map(|j| key(j, table.at(first, j))).collect() };
    let known: HashMap<Vec<i64>, usize> = times.iter().map(|(first, m)| (keys(*first), *m)).collect();
    let mut pairs = 0.0;
    for (row, m) in &known {
        let mut next = row.clone();
        for (j, key) in row.iter().enumerate() {
            // A key at an end of the range stands for all values beyond it.
            let Some(above) = key.checked_add(1).filter(|_| *key != i64::MIN) else { continue };
            next[j] = above;
            pairs += known.get(&next).map_or(0.0, |other| (*m * *other) as f64);
            next[j] = *key;
        }
    }
    // Neighbours above and below are counted once each: so are pairs of equal rows.
    pairs / width as f64 / 2.0
}

/// The place of a number among all of its type.
fn ordered64(x: f64) -> i64 {
    let bits = x.to_bits() as i64;
    if bits < 0 { i64::MIN.wrapping_sub(bits) } else { bits }
}

fn ordered32(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    if bits < 0 { i32::MIN.wrapping_sub(bits) } else { bits }
}
