//! The metrics of a comparison as text, as CSV, as JSON and as cells: one list of columns for all of them.

mod fields;

use cnflow::apply::BitsPerDim;
use cnflow::check::Ranks;
use cnflow::html::{Cell, Column, Table};
use cnflow::stats::Dominance;
use serde_json::{Map, Value, json};

use self::fields::{FIELDS, Field, number};
use super::benchmark::Measured;

/// One model: all of its seeds.
pub struct Row<'a> {
    pub name: &'a str,
    pub seeds: Vec<&'a Measured>,
}

impl<'a> Row<'a> {
    /// One for each name, in the order in which they come.
    pub fn all(measured: &'a [Measured]) -> Vec<Self> {
        let mut rows: Vec<Self> = Vec::new();
        for one in measured {
            let name = one.entry.name.as_str();
            match rows.iter_mut().find(|row| row.name == name) {
                Some(row) => row.seeds.push(one),
                None => rows.push(Self { name, seeds: vec![one] }),
            }
        }
        rows
    }

    /// The mean over seeds.
    fn mean(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        self.seeds.iter().map(|one| of(one)).sum::<f64>() / self.seeds.len() as f64
    }

    /// The standard error of the mean of a figure that has one in each seed: of the held-out rows, which are the same
    /// for all seeds, and of the seeds themselves.
    fn error(&self, of: impl Fn(&Measured) -> f64, se: impl Fn(&Measured) -> f64) -> f64 {
        let k = self.seeds.len() as f64;
        let mean = self.mean(&of);
        let between = self.seeds.iter().map(|one| (of(one) - mean).powi(2)).sum::<f64>() / (k - 1.0).max(1.0);
        self.mean(se).hypot((between / k).sqrt())
    }

    fn worst(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        self.seeds.iter().map(|one| of(one)).fold(f64::NEG_INFINITY, f64::max)
    }

    /// The sum over seeds.
    fn total(&self, of: impl Fn(&Measured) -> usize) -> usize {
        self.seeds.iter().map(|one| of(one)).sum()
    }

    /// Mean and standard error.
    pub fn nll(&self) -> (f64, f64) {
        (self.mean(|m| m.metrics.nll), self.error(|m| m.metrics.nll, |m| m.metrics.nll_se))
    }

    /// Bits per dimension, at most, and their standard error; none where rows are not images.
    pub fn bits(&self) -> Option<(f64, f64)> {
        let unit = BitsPerDim::unit(self.seeds[0].entry.model.spec.pixels.as_ref()?.dim());
        let (nll, se) = self.nll();
        Some((nll / unit, se / unit))
    }

    /// Where few rows carry the mean: in the seed in which the fewest do. The median is the mean over seeds.
    pub fn dominance(&self) -> Dominance {
        let all: Vec<Dominance> = self.seeds.iter().map(|one| one.metrics.dominance).collect();
        Dominance::mean_of(&all).unwrap_or(Dominance::UNKNOWN)
    }

    fn excess(&self) -> Option<(f64, f64)> {
        let of = |m: &Measured| m.metrics.excess.unwrap_or((f64::NAN, f64::NAN));
        self.seeds[0].metrics.excess?;
        Some((self.mean(|m| of(m).0), self.error(|m| of(m).0, |m| of(m).1)))
    }

    /// The ranks of the first seed, where rows have conditions.
    fn ranks(&self) -> Option<&Ranks> {
        self.seeds[0].metrics.ranks.as_ref()
    }

    /// The couplings of a discrete flow.
    fn layers(&self) -> Option<usize> {
        match &self.seeds[0].entry.model.spec.architecture {
            cnflow::model::Architecture::Discrete(spec) => Some(spec.depth()),
            _ => None,
        }
    }
}

/// Fields without a value in any row are left out.
fn shown(rows: &[Row<'_>]) -> Vec<&'static Field> {
    FIELDS.iter().filter(|field| rows.iter().any(|row| (field.value)(row).is_some())).collect()
}

/// For people, a line a model.
pub fn words(rows: &[Row<'_>]) -> String {
    let fields = shown(rows);
    let head: Vec<String> = fields.iter().map(|f| format!("{} {}", f.title, f.unit).trim_end().to_owned()).collect();
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| fields.iter().map(|field| (field.text)(row)).collect()).collect();
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..fields.len())
        .map(|j| cells.iter().map(|row| width(&row[j])).chain([width(&head[j])]).max().unwrap_or(0))
        .collect();
    let names = rows.iter().map(|row| width(row.name)).max().unwrap_or(0).max("model".len());
    let line = |name: &str, cells: &[String]| {
        let mut out = format!("{name}{}", " ".repeat(names - width(name)));
        for (cell, w) in cells.iter().zip(&widths) {
            out += &format!("  {}{cell}", " ".repeat(w - width(cell)));
        }
        out + "\n"
    };
    let mut out = line("model", &head);
    rows.iter().zip(&cells).for_each(|(row, cells)| out += &line(row.name, cells));
    out
}

/// A line for each model whose mean few rows carry.
pub fn dominated(rows: &[Row<'_>], set: &str) -> Vec<String> {
    rows.iter().filter_map(|row| Some(format!("{}: {}", row.name, row.dominance().brief(set)?))).collect()
}

/// For spreadsheets: a line a model, and then one for each of several seeds.
pub fn csv(rows: &[Row<'_>]) -> String {
    let fields = shown(rows);
    let mut out = String::from("model,seed,nll_se");
    fields.iter().for_each(|field| out += &format!(",{}", field.key));
    out.push('\n');
    let mut line = |row: &Row<'_>, seed: &str| {
        // What does not exist is an empty cell.
        let se = number(row.nll().1).map_or(String::new(), |se| format!("{se:e}"));
        out += &format!("{},{seed},{se}", row.name);
        for field in &fields {
            out += &(field.value)(row).map_or_else(|| ",".into(), |value| format!(",{value:e}"));
        }
        out.push('\n');
    };
    for row in rows {
        line(row, if row.seeds.len() > 1 { "mean" } else { "" });
        for one in row.seeds.iter().filter(|_| row.seeds.len() > 1) {
            line(&Row { name: row.name, seeds: vec![*one] }, &one.entry.seed.to_string());
        }
    }
    out
}

/// For programs: one object a model.
pub fn json(rows: &[Row<'_>]) -> Vec<Value> {
    let object = |row: &Row<'_>| {
        let mut map = Map::new();
        map.insert("model".into(), json!(row.name));
        for field in &FIELDS {
            map.insert(field.key.into(), json!((field.value)(row)));
            match field.key {
                "nll" => drop(map.insert("nll_se".into(), json!(number(row.nll().1)))),
                "bits_per_dim" => {
                    map.insert("bits_per_dim_se".into(), json!(row.bits().and_then(|(_, se)| number(se))));
                }
                "nll_median" => {
                    map.insert("nll_median".into(), json!(number(row.dominance().median)));
                    map.insert("nll_carried_by".into(), json!(row.dominance().few));
                }
                "excess" => drop(map.insert("excess_se".into(), json!(row.excess().and_then(|e| number(e.1))))),
                _ => {}
            }
        }
        let first = &row.seeds[0];
        map.insert("nfe_density".into(), json!(first.metrics.nfe_density));
        map.insert("energy_floor".into(), json!(number(first.metrics.energy_floor)));
        map.insert("sliced_floor".into(), json!(number(first.metrics.sliced_floor)));
        map.insert("n".into(), json!(first.metrics.n));
        map.insert("failed".into(), json!(row.seeds.iter().map(|m| m.metrics.failed).sum::<usize>()));
        map.insert("outside".into(), json!(row.seeds.iter().map(|m| m.metrics.outside).sum::<usize>()));
        map.insert("run".into(), json!(first.entry.run));
        map.insert("stopped".into(), json!(row.seeds.iter().any(|m| m.entry.stopped)));
        let costs: Vec<Value> = first
            .costs
            .iter()
            .map(|c| json!({ "label": c.label, "microseconds": c.microseconds, "nfe": c.nfe, "nll": c.nll }))
            .collect();
        map.insert("costs".into(), json!(costs));
        map
    };
    let with_seeds = |row: &Row<'_>| {
        let mut map = object(row);
        let seeds: Vec<Value> = row
            .seeds
            .iter()
            .map(|one| {
                let f = &one.metrics;
                json!({
                    "seed": one.entry.seed,
                    "nll": f.nll,
                    "excess": f.excess.map(|e| e.0),
                    "train_seconds": number(one.entry.seconds),
                    "steps": one.entry.steps,
                    "run": one.entry.run,
                })
            })
            .collect();
        map.insert("seeds".into(), json!(seeds));
        Value::Object(map)
    };
    rows.iter().map(with_seeds).collect()
}

/// For the page.
pub fn cells(rows: &[Row<'_>], caption: &str) -> Table {
    let fields = shown(rows);
    let name = Column { title: "model".into(), ..Column::default() };
    let column = |field: &&Field| Column {
        title: field.title.into(),
        unit: field.unit.into(),
        about: field.about.into(),
        better: field.better,
    };
    let line = |row: &Row<'_>| {
        let name = Cell { text: row.name.into(), value: None };
        let cell = |field: &&Field| Cell { text: (field.text)(row), value: (field.value)(row) };
        std::iter::once(name).chain(fields.iter().map(cell)).collect()
    };
    Table {
        caption: caption.into(),
        columns: std::iter::once(name).chain(fields.iter().map(column)).collect(),
        rows: rows.iter().map(line).collect(),
    }
}
