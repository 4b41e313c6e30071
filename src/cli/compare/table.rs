//! The metrics of a comparison as text, as CSV, as JSON and as cells: one list of columns for all of them.

use cnflow::html::{Better, Cell, Column, Table};
use cnflow::stats::Dominance;
use cnflow::words;
use serde_json::{Map, Value, json};

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
            let name = one.contestant.name.as_str();
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

    /// The standard error of the mean of a figure that has one in each seed: of the held-out rows, which are the same for
    /// all seeds, and of the seeds themselves.
    fn error(&self, of: impl Fn(&Measured) -> f64, se: impl Fn(&Measured) -> f64) -> f64 {
        let k = self.seeds.len() as f64;
        let mean = self.mean(&of);
        let between = self.seeds.iter().map(|one| (of(one) - mean).powi(2)).sum::<f64>() / (k - 1.0).max(1.0);
        self.mean(se).hypot((between / k).sqrt())
    }

    fn worst(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        self.seeds.iter().map(|one| of(one)).fold(f64::NEG_INFINITY, f64::max)
    }

    /// Mean and standard error.
    pub fn nll(&self) -> (f64, f64) {
        (self.mean(|m| m.figures.nll), self.error(|m| m.figures.nll, |m| m.figures.nll_se))
    }

    /// Where few rows carry the mean: in the seed in which the fewest do. The median is the mean over seeds.
    pub fn dominance(&self) -> Dominance {
        let all: Vec<Dominance> = self.seeds.iter().map(|one| one.figures.dominance).collect();
        Dominance::mean_of(&all).unwrap_or(Dominance::UNKNOWN)
    }

    fn excess(&self) -> Option<(f64, f64)> {
        let of = |m: &Measured| m.figures.excess.unwrap_or((f64::NAN, f64::NAN));
        self.seeds[0].figures.excess?;
        Some((self.mean(|m| of(m).0), self.error(|m| of(m).0, |m| of(m).1)))
    }

    /// The couplings of a discrete flow.
    fn layers(&self) -> Option<usize> {
        match &self.seeds[0].contestant.model.spec.architecture {
            cnflow::model::Architecture::Discrete(spec) => Some(spec.depth()),
            _ => None,
        }
    }
}

/// A column: its name in files, its head, and its value for a row.
struct Field {
    key: &'static str,
    title: &'static str,
    unit: &'static str,
    about: &'static str,
    better: Better,
    value: fn(&Row<'_>) -> Option<f64>,
    text: fn(&Row<'_>) -> String,
}

fn number(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// `2.8312 ± 0.0041`.
fn with_error((value, se): (f64, f64)) -> String {
    words::estimate(value, se, 4)
}

/// `3e-7`, or a dash for what does not exist.
fn roughly(value: f64) -> String {
    if value.is_finite() { format!("{value:.0e}") } else { "–".into() }
}

/// `203 k`.
fn rate(value: f64) -> String {
    match value {
        v if !v.is_finite() => "–".into(),
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e4 => format!("{:.0} k", v / 1e3),
        v if v >= 1e3 => format!("{:.1} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

const FIELDS: [Field; 16] = [
    Field {
        key: "nll",
        title: "NLL",
        unit: "nats",
        about: "mean −log p of held-out rows ± its standard error (where the truth is known, that of the excess).",
        better: Better::Lower,
        value: |r| number(r.nll().0),
        text: |r| with_error(r.nll()),
    },
    Field {
        key: "nll_median",
        title: "median",
        unit: "nats",
        about: "median −log p of the same rows: shown where few rows carry the mean.",
        better: Better::Lower,
        value: |r| number(r.dominance().median).filter(|_| r.dominance().few.is_some()),
        text: |r| number(r.dominance().median).map_or_else(|| "–".into(), |median| words::number(median, 4)),
    },
    Field {
        key: "excess",
        title: "excess",
        unit: "nats",
        about: "mean log p_true − log p on the same rows: how far above the best possible NLL.",
        better: Better::Lower,
        value: |r| r.excess().map(|e| e.0),
        text: |r| r.excess().map_or_else(|| "–".into(), with_error),
    },
    Field {
        key: "params",
        title: "parameters",
        unit: "",
        about: "fitted parameters.",
        better: Better::Neither,
        value: |r| number(r.mean(|m| m.contestant.params as f64)),
        text: |r| format!("{:.0}", r.mean(|m| m.contestant.params as f64)),
    },
    Field {
        key: "train_seconds",
        title: "training",
        unit: "s",
        about: "wall-clock time of the training, with its validations.",
        better: Better::Neither,
        value: |r| number(r.mean(|m| m.contestant.seconds)),
        text: |r| number(r.mean(|m| m.contestant.seconds)).map_or_else(|| "–".into(), |s| words::number(s, 1)),
    },
    Field {
        key: "steps",
        title: "steps",
        unit: "",
        about: "steps of the optimiser.",
        better: Better::Neither,
        value: |r| number(r.mean(|m| m.contestant.steps as f64)),
        text: |r| format!("{:.0}", r.mean(|m| m.contestant.steps as f64)),
    },
    Field {
        key: "samples_per_second",
        title: "samples",
        unit: "1/s",
        about: "samples a second, 10 000 at a time on all threads.",
        better: Better::Higher,
        value: |r| number(r.mean(|m| m.figures.sample_rate)),
        text: |r| rate(r.mean(|m| m.figures.sample_rate)),
    },
    Field {
        key: "densities_per_second",
        title: "densities",
        unit: "1/s",
        about: "log-densities a second, up to 10 000 at a time on all threads.",
        better: Better::Higher,
        value: |r| number(r.mean(|m| m.figures.density_rate)),
        text: |r| rate(r.mean(|m| m.figures.density_rate)),
    },
    Field {
        key: "work",
        title: "work",
        unit: "",
        about: "velocity evaluations of a sample (NFE), or couplings.",
        better: Better::Neither,
        value: |r| {
            r.layers().map(|n| n as f64).or_else(|| number(r.mean(|m| m.figures.nfe_sample))).filter(|w| *w > 0.0)
        },
        text: |r| match r.layers() {
            Some(couplings) => words::count(couplings as u64, "coupling"),
            None if r.seeds[0].figures.nfe_sample > 0.0 => {
                format!("{} NFE", words::number(r.mean(|m| m.figures.nfe_sample), 0))
            }
            None => "–".into(),
        },
    },
    Field {
        key: "round_trip_mean",
        title: "round trip",
        unit: "σ",
        about: "mean over the model's samples of |x − f(f⁻¹(x))|, its greatest column, in deviations of the data.",
        better: Better::Lower,
        value: |r| number(r.mean(|m| m.figures.round_trip_mean)),
        text: |r| roughly(r.mean(|m| m.figures.round_trip_mean)),
    },
    Field {
        key: "round_trip_max",
        title: "worst",
        unit: "σ",
        about: "the worst round trip of 10 000 samples.",
        better: Better::Lower,
        value: |r| number(r.worst(|m| m.figures.round_trip_max)),
        text: |r| roughly(r.worst(|m| m.figures.round_trip_max)),
    },
    Field {
        key: "failed",
        title: "failed",
        unit: "rows",
        about: "held-out rows without a density, over all seeds: the means leave them out, so the NLL is too optimistic.",
        better: Better::Lower,
        value: |r| Some(r.seeds.iter().map(|m| m.figures.failed).sum::<usize>() as f64).filter(|n| *n > 0.0),
        text: |r| r.seeds.iter().map(|m| m.figures.failed).sum::<usize>().to_string(),
    },
    Field {
        key: "outside",
        title: "outside",
        unit: "rows",
        about: "held-out rows outside the support, over all seeds: log p is -inf there, and the NLL is that of the others.",
        better: Better::Lower,
        value: |r| Some(r.seeds.iter().map(|m| m.figures.outside).sum::<usize>() as f64).filter(|n| *n > 0.0),
        text: |r| r.seeds.iter().map(|m| m.figures.outside).sum::<usize>().to_string(),
    },
    Field {
        key: "mass",
        title: "∫p",
        unit: "",
        about: "the integral of the density: on a grid in one and two dimensions, else by importance sampling; – where that is too noisy; of the first seed, under the first row's condition.",
        better: Better::Neither,
        value: |r| r.seeds[0].figures.mass,
        text: |r| r.seeds[0].figures.mass.map_or_else(|| "–".into(), |mass| words::number(mass, 4)),
    },
    Field {
        key: "energy",
        title: "energy",
        unit: "σ",
        about: "energy distance of samples to the data, in deviations; in brackets that of two halves of the data.",
        better: Better::Lower,
        value: |r| number(r.mean(|m| m.figures.energy)),
        text: |r| {
            let (energy, floor) = (r.mean(|m| m.figures.energy), roughly(r.seeds[0].figures.energy_floor));
            if energy.is_finite() { format!("{} ({floor})", words::error(energy)) } else { "–".into() }
        },
    },
    Field {
        key: "sliced",
        title: "SW₂",
        unit: "σ",
        about: "sliced Wasserstein distance of samples to the data, in deviations; in brackets that of two halves of the data.",
        better: Better::Lower,
        value: |r| number(r.mean(|m| m.figures.sliced)),
        text: |r| {
            let (sliced, floor) = (r.mean(|m| m.figures.sliced), r.seeds[0].figures.sliced_floor);
            if !sliced.is_finite() {
                return "–".into();
            }
            format!(
                "{} ({})",
                words::number(sliced, 4),
                if floor.is_finite() { words::number(floor, 4) } else { "–".into() }
            )
        },
    },
];

/// Fields without a value in any row are left out.
fn told(rows: &[Row<'_>]) -> Vec<&'static Field> {
    FIELDS.iter().filter(|field| rows.iter().any(|row| (field.value)(row).is_some())).collect()
}

/// For people, a line a model.
pub fn words(rows: &[Row<'_>]) -> String {
    let fields = told(rows);
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
pub fn carried(rows: &[Row<'_>], set: &str) -> Vec<String> {
    rows.iter().filter_map(|row| Some(format!("{}: {}", row.name, row.dominance().brief(set)?))).collect()
}

/// For spreadsheets: a line a model, and then one for each of several seeds.
pub fn csv(rows: &[Row<'_>]) -> String {
    let fields = told(rows);
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
            line(&Row { name: row.name, seeds: vec![*one] }, &one.contestant.seed.to_string());
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
                "nll_median" => {
                    map.insert("nll_median".into(), json!(number(row.dominance().median)));
                    map.insert("nll_carried_by".into(), json!(row.dominance().few));
                }
                "excess" => drop(map.insert("excess_se".into(), json!(row.excess().and_then(|e| number(e.1))))),
                _ => {}
            }
        }
        let first = &row.seeds[0];
        map.insert("nfe_density".into(), json!(first.figures.nfe_density));
        map.insert("energy_floor".into(), json!(number(first.figures.energy_floor)));
        map.insert("sliced_floor".into(), json!(number(first.figures.sliced_floor)));
        map.insert("n".into(), json!(first.figures.n));
        map.insert("failed".into(), json!(row.seeds.iter().map(|m| m.figures.failed).sum::<usize>()));
        map.insert("outside".into(), json!(row.seeds.iter().map(|m| m.figures.outside).sum::<usize>()));
        map.insert("run".into(), json!(first.contestant.run));
        map.insert("stopped".into(), json!(row.seeds.iter().any(|m| m.contestant.stopped)));
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
                let f = &one.figures;
                json!({
                    "seed": one.contestant.seed,
                    "nll": f.nll,
                    "excess": f.excess.map(|e| e.0),
                    "train_seconds": number(one.contestant.seconds),
                    "steps": one.contestant.steps,
                    "run": one.contestant.run,
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
    let fields = told(rows);
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
