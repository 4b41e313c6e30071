//! Values of one column: do they come in steps, and does one of them come too often?

use std::collections::BTreeMap;

use super::{Finding, Table, short};
use crate::names::list;

/// Steps are fine where the middle 98 % of a column is more than so many of them: the finest table of probabilities has
/// 1024 bins, and nothing else that is fitted here is as narrow.
const FINE: f64 = 1024.0;
/// A column is in steps only where so many of its rows, or fewer, have a value of their own: else the steps do not
/// show.
const OWN: f64 = 0.9;
/// Gaps between neighbouring values are multiples of a step if all but this part of them are, each to this part of the
/// step. Of k gaps of a continuous column so many are with a probability below (k choose k/50) · 0.02^(0.98 k): 1e-13
/// for the least k, 8.
const STRANGE: f64 = 0.02;
const NEAR: f64 = 0.01;
/// With fewer values than this only steps of whole numbers are looked for.
const FEW: usize = 8;
/// A value is an atom where it has this part of the rows, at least so many, and so many times as many as its
/// neighbours.
const SHARE: f64 = 0.01;
const LEAST: usize = 4;
const TIMES: f64 = 5.0;
/// Where values come in steps chance makes some of them frequent.
const TIMES_IN_STEPS: f64 = 12.0;

/// What is known of one column.
pub(super) struct Column {
    /// Its different values, rising, and how often each comes.
    pub values: Vec<(f64, usize)>,
    /// Values in all.
    pub n: usize,
    /// The step that all of them are multiples of, counted from the least.
    pub step: Option<f64>,
    /// All are numbers of 32 bits.
    pub narrow: bool,
    /// The value below which 1 %, 25 %, 50 %, 75 % and 99 % lie.
    quantiles: [f64; 5],
}

impl Column {
    pub fn new(mut all: Vec<f64>) -> Self {
        all.sort_unstable_by(f64::total_cmp);
        let n = all.len();
        let at = |q: f64| all.get((q * n.saturating_sub(1) as f64).round() as usize).copied().unwrap_or(0.0);
        let quantiles = [0.01, 0.25, 0.5, 0.75, 0.99].map(at);
        let values: Vec<(f64, usize)> = all.chunk_by(|a, b| a == b).map(|run| (run[0] + 0.0, run.len())).collect();
        let narrow = values.iter().all(|(v, _)| f64::from(*v as f32) == *v);
        // All numbers are multiples of the least step of their type: finer steps do not count.
        let typical = 0.5 * quantiles[1].abs().max(quantiles[3].abs());
        let type_step = typical * if narrow { f64::from(f32::EPSILON) } else { f64::EPSILON };
        let step = step(&values).filter(|step| *step >= 0.5 * type_step);
        Self { values, n, step, narrow, quantiles }
    }

    /// The value in the middle.
    pub fn median(&self) -> f64 {
        self.quantiles[2]
    }

    /// Between the quarters; 0 where half of the values are equal.
    pub fn quarters(&self) -> f64 {
        self.quantiles[3] - self.quantiles[1]
    }

    /// The middle 98 %, or all where that has no width.
    fn width(&self) -> f64 {
        let middle = self.quantiles[4] - self.quantiles[0];
        if middle > 0.0 { middle } else { self.values[self.values.len() - 1].0 - self.values[0].0 }
    }

    /// Whether all values are above 0.
    pub fn is_positive(&self) -> bool {
        self.values.first().is_some_and(|(least, _)| *least > 0.0)
    }

    /// Whether all values are one.
    pub fn is_constant(&self) -> bool {
        self.values.len() < 2
    }

    /// Whether the column has no density because its values are few or in steps that show.
    pub fn is_coarse(&self) -> bool {
        let (k, n) = (self.values.len() as f64, self.n as f64);
        if self.is_constant() || k > OWN * n {
            return false;
        }
        match self.step {
            Some(step) => self.width() / step < FINE,
            None => self.values.len() < FEW && 3.0 * k <= n,
        }
    }

    /// The value that comes too often, and how often.
    pub fn atom(&self) -> Option<(f64, usize)> {
        if self.is_constant() || self.is_coarse() {
            return None;
        }
        let (at, &(value, count)) =
            self.values.iter().enumerate().max_by_key(|(i, (_, count))| (*count, usize::MAX - i))?;
        let reach = at.saturating_sub(10)..(at + 11).min(self.values.len());
        let others: Vec<f64> = reach.filter(|i| *i != at).map(|i| self.values[i].1 as f64).collect();
        let usual = others.iter().sum::<f64>() / others.len().max(1) as f64;
        let times = if self.step.is_some() { TIMES_IN_STEPS } else { TIMES };
        let often = count >= LEAST && count as f64 >= SHARE * self.n as f64 && count as f64 >= times * usual;
        often.then_some((value, count))
    }

    /// What a value is rounded to, as a deviation: by its steps, or by the type that holds it.
    pub fn resolution(&self) -> f64 {
        let largest = self.values.iter().fold(0.0, |most: f64, (v, _)| most.max(v.abs()));
        let largest = largest.min(self.median().abs() + 10.0 * self.quarters().max(f64::MIN_POSITIVE));
        let type_step = largest * if self.narrow { f64::from(f32::EPSILON) } else { f64::EPSILON };
        // A whole step is a uniform error of deviation 12^-1/2.
        self.step.unwrap_or(0.0).max(type_step) / 12f64.sqrt()
    }
}

/// The step that the values are multiples of, counted from each other.
fn step(values: &[(f64, usize)]) -> Option<f64> {
    let mut gaps: Vec<f64> = values.windows(2).map(|w| w[1].0 - w[0].0).collect();
    if gaps.is_empty() || !gaps.iter().all(|g| g.is_finite()) {
        return None;
    }
    gaps.sort_unstable_by(f64::total_cmp);
    let k = gaps.len();
    if values.len() < FEW {
        // Chance makes few gaps multiples of each other easily, but not whole numbers.
        let whole = values.iter().all(|(v, _)| v.fract() == 0.0 && v.abs() < 1e15);
        return (whole && gaps.iter().all(|g| g % gaps[0] == 0.0)).then(|| gaps[0]);
    }
    let fits = |first: f64| -> Option<f64> {
        // The estimate of the step becomes finer with every gap, from the shortest on.
        let (mut length, mut count, mut strange) = (0.0, 0.0, 0);
        for gap in &gaps {
            let step = if count > 0.0 { length / count } else { first };
            let times = (gap / step).round();
            if times < 1.0 || (gap - times * step).abs() > NEAR * step {
                strange += 1;
                if strange as f64 > STRANGE * k as f64 {
                    return None;
                }
            } else if times < 1e6 {
                (length, count) = (length + gap, count + times);
            }
        }
        (count > 0.0).then(|| length / count)
    };
    [0, k / 10, k / 2].into_iter().find_map(|at| fits(gaps[at]))
}

/// Columns whose values come in steps, or are few.
pub(super) fn steps(table: &Table<'_>) -> Vec<Finding> {
    let coarse: Vec<usize> = table.own().filter(|j| table.columns[*j].is_coarse()).collect();
    // Many alike are one finding: 64 lines are too many.
    let together = coarse.len() > 3;
    let groups: Vec<Vec<usize>> = if together { vec![coarse] } else { coarse.into_iter().map(|j| vec![j]).collect() };
    let found = groups.iter().map(|group| step_finding(table, group));
    found.chain(table.own().filter_map(|j| whole_beyond(table, j))).collect()
}

/// Whole numbers beyond 2⁵³, of which not all are numbers of 64 bits; their steps are those of the type.
fn whole_beyond(table: &Table<'_>, j: usize) -> Option<Finding> {
    let column = &table.columns[j];
    let near = column.median().abs();
    let ulp = near.next_up() - near;
    let whole = (2f64.powi(53)..=2f64.powi(64)).contains(&near);
    let step = column.step.filter(|step| whole && !column.narrow && !column.is_coarse() && *step <= 2.0 * ulp)?;
    Some(Finding {
        kind: "whole numbers beyond 2^53",
        columns: bare_names(table, &[j]),
        numbers: BTreeMap::from([("step", step), ("median", column.median())]),
        singular: false,
        text: format!(
            "column {} is near {}: whole numbers beyond 2^53 are rounded on reading, here to multiples of {}",
            table.name(j),
            short(column.median()),
            short(step)
        ),
        hint: "subtract a constant from the column while it holds integers, before it is stored".into(),
    })
}

fn step_finding(table: &Table<'_>, group: &[usize]) -> Finding {
    let names = bare_names(table, group);
    let column = &table.columns[group[0]];
    let (k, n) = (column.values.len(), table.n());
    let mut numbers = BTreeMap::from([("values", k as f64), ("rows", n as f64)]);
    let mut of_type = false;
    let kind = column.step.filter(|_| group.len() == 1).map(|step| {
        numbers.insert("step", step);
        let near = column.median().abs();
        let ulp = if column.narrow {
            f64::from((near as f32).next_up()) - f64::from(near as f32)
        } else {
            near.next_up() - near
        };
        of_type = step <= 2.0 * ulp && ulp > 0.0;
        let whole = step.fract() == 0.0 && column.values.iter().all(|(v, _)| v.fract() == 0.0);
        if of_type {
            let bits = if column.narrow { 32 } else { 64 };
            let place = short(column.median());
            format!(", in steps of {}, the least that numbers of {bits} bits resolve near {place}", short(step))
        } else if whole && step == 1.0 {
            ", all whole numbers".to_owned()
        } else {
            format!(", in steps of {}", short(step))
        }
    });
    let text = match group.len() {
        1 => format!("column `{}` has {k} different values in {n} rows{}", names[0], kind.unwrap_or_default()),
        many => {
            let values = group.iter().map(|j| table.columns[*j].values.len());
            let (least, most) = (values.clone().min().unwrap_or(0), values.max().unwrap_or(0));
            numbers = BTreeMap::from([("columns", many as f64), ("rows", n as f64)]);
            numbers.extend([("least_values", least as f64), ("most_values", most as f64)]);
            let range = if least == most { least.to_string() } else { format!("{least} to {most}") };
            format!("{many} columns ({}) have {range} different values each in {n} rows", list(&names))
        }
    };
    let drop = bare(table, group);
    let hint = if of_type {
        "subtract a constant from the column before it is stored, so that the type resolves what is left".to_owned()
    } else {
        match (group.len(), column.step) {
            (1, Some(1.0)) if column.values.iter().all(|(v, _)| v.fract() == 0.0) => {
                let name = if table.named { names[0].clone() } else { "NAME".to_owned() };
                format!(
                    "give whole numbers their type: `data.columns` {name}:integer; or leave the column out with `data.drop`{drop}"
                )
            }
            (1, Some(step)) => format!(
                "spread the values by uniform noise of one step (x + U[0, {})), or leave the column out with `data.drop`{drop}",
                short(step)
            ),
            (1, None) => {
                format!("make it a condition (`data.condition`{drop}), or leave it out with `data.drop`{drop}")
            }
            _ => "give columns of whole numbers the type integer (`data.columns` NAME:integer), and spread others by uniform \
                  noise of one step"
                .to_owned(),
        }
    };
    Finding { kind: "steps", columns: names, numbers, singular: true, text, hint }
}

/// Columns in which one value comes too often.
pub(super) fn atoms(table: &Table<'_>) -> Vec<Finding> {
    let find = |j: usize| {
        let (value, count) = table.columns[j].atom()?;
        let n = table.columns[j].n;
        let (share, name) = (100.0 * count as f64 / n as f64, table.name(j));
        let drop = bare(table, &[j]);
        Some(Finding {
            kind: "atoms",
            columns: bare_names(table, &[j]),
            numbers: BTreeMap::from([("value", value), ("count", count as f64), ("rows", n as f64)]),
            singular: true,
            text: format!(
                "column {name} is {} in {count} of {n} different rows ({} %), where its other values occur once or rarely",
                short(value),
                short((10.0 * share).round() / 10.0)
            ),
            hint: format!("model those rows separately, or leave the column out with `data.drop`{drop}"),
        })
    };
    table.own().filter_map(find).collect()
}

fn bare_names(table: &Table<'_>, group: &[usize]) -> Vec<String> {
    group.iter().map(|j| table.names[*j].clone()).collect()
}

/// A space and the names of columns as `data.drop` has them; nothing where they have none, for numbers count in the
/// file.
pub(super) fn bare(table: &Table<'_>, group: &[usize]) -> String {
    if table.named { format!(" {}", bare_names(table, group).join(",")) } else { String::new() }
}
