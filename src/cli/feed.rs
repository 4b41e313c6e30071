//! The rows of a request, block by block: points of a file, or latents as they are drawn, each with its condition.
//!
//! A file is read once, and of it only a block is in memory. A row's result depends on that row alone, so blocks change
//! no bit.

use std::path::Path;

use anyhow::Result;
use candle_core::{Device, Tensor};
use clap::builder::TypedValueParser;
use cnf::flow::{Model, StandardNormal};
use cnf::io::Reader;
use cnf::{Error, Rng};

use super::Context;
use super::beyond::Beyond;
use super::columns::{self, Plan, Role};
use super::given::{self, GivenArgs};
use super::setup::Setup;

/// The rows, and the numbers, of a block where nothing else is asked.
const BLOCK_ROWS: usize = 1 << 16;
const BLOCK_NUMBERS: usize = 1 << 20;

/// Where the points come from.
enum Source {
    /// A file that gives the points, and behind them in each row so many conditions.
    File(Reader, usize),
    /// Fresh latents, so many, or as many as there are conditions.
    Drawn(Rng, Option<u64>),
    Whole(Vec<f64>),
}

/// Where their conditions come from.
pub enum Conditions {
    /// The model has none.
    None,
    /// One row for all.
    One(Vec<f64>),
    /// One row for each.
    Each {
        /// The file.
        reader: Box<Reader>,
        /// Rows of it that no point has taken yet.
        waiting: Vec<f64>,
    },
}

/// Some points, and their conditions.
pub struct Part {
    /// Points before these.
    pub first: u64,
    /// `[n, d]`.
    pub x: Vec<f64>,
    /// `[n, c]`, where the model has conditions.
    pub condition: Option<Tensor>,
}

/// All points of a request, in their order.
pub struct Feed {
    source: Source,
    conditions: Conditions,
    d: usize,
    /// The rows of a block.
    block: usize,
    /// Rows given out.
    given: u64,
    /// Their conditions that are far from those of the training.
    beyond: Beyond,
    /// How the columns of the file are used, where they are not as the model has them.
    notes: Vec<String>,
}

impl Feed {
    /// The points of a file, in the model's columns, with their conditions; `block` rows at a time, or as many as suit.
    ///
    /// # Errors
    /// As [`Context::table`], and for columns that do not fit those of the model.
    pub fn of_file(
        setup: &Setup,
        path: &Path,
        role: Role,
        given: &GivenArgs,
        block: Option<usize>,
        context: &Context,
    ) -> Result<Self> {
        let model = &setup.model;
        let asked = given.asked(model)?;
        let mut reader = context.table(path)?;
        let Plan { places, own, mut notes } =
            columns::plan(&reader, format!("`{}`", path.display()), model, role, &asked)?;
        reader.keep(&places)?;
        context.notes_on_tables(&notes);
        let conditions = given::beside_points(asked, model, context, &mut notes)?;
        let feed = Self::new(Source::File(reader, own), conditions, model.dim(), block)?;
        Self { notes, ..feed }.watched(model)
    }

    /// `n` latents, or as many as there are conditions, drawn in their order from one generator.
    ///
    /// # Errors
    /// For another number of conditions.
    pub fn of_latents(
        setup: &Setup,
        n: Option<u64>,
        rng: Rng,
        conditions: Conditions,
        block: Option<usize>,
    ) -> Result<Self> {
        Self::new(Source::Drawn(rng, n), conditions, setup.model.dim(), block)?.watched(&setup.model)
    }

    /// Points that are in memory, `[n, d]`.
    ///
    /// # Errors
    /// For another number of conditions.
    pub fn of_points(x: Vec<f64>, d: usize, conditions: Conditions, block: Option<usize>) -> Result<Self> {
        Self::new(Source::Whole(x), conditions, d, block)
    }

    fn new(source: Source, conditions: Conditions, d: usize, block: Option<usize>) -> Result<Self> {
        let block = block.unwrap_or_else(|| BLOCK_ROWS.min(BLOCK_NUMBERS / d)).max(1);
        let feed = Self { source, conditions, d, block, given: 0, beyond: Beyond::default(), notes: Vec::new() };
        match (feed.own_total(), feed.conditions.rows()) {
            (Some(n), Some(rows)) if n != rows => Err(unequal(rows, &n.to_string())),
            _ => Ok(feed),
        }
    }

    /// Looks at the conditions while they pass: a class that the model does not have is refused, what is far from the
    /// training's is counted.
    ///
    /// # Errors
    /// For such a class in the one row for all.
    pub fn watched(mut self, model: &Model) -> Result<Self> {
        self.beyond = Beyond::of(model);
        if let Conditions::One(row) = &self.conditions {
            self.beyond.see_one(row)?;
        }
        Ok(self)
    }

    /// The conditions so far that are far from those of the training.
    pub fn beyond(&self) -> &Beyond {
        &self.beyond
    }

    /// How the columns of the file are used, where they are not as the model has them.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The one row of conditions for all points, where there is one.
    pub fn one(&self) -> Option<&[f64]> {
        self.conditions.one()
    }

    /// Whether there may be more than one row of conditions.
    pub fn several(&self) -> bool {
        self.conditions.several() || matches!(self.source, Source::File(_, 1..))
    }

    /// The number of points, where it is known.
    pub fn total(&self) -> Option<u64> {
        self.own_total().or(self.conditions.rows())
    }

    fn own_total(&self) -> Option<u64> {
        match &self.source {
            Source::File(reader, ..) => reader.rows().map(|n| n as u64),
            Source::Drawn(_, n) => *n,
            Source::Whole(x) => Some((x.len() / self.d) as u64),
        }
    }

    /// The next points; `None` behind the last.
    ///
    /// # Errors
    /// As [`Reader::next_block`], and where the conditions end before or after the points.
    pub fn next(&mut self) -> Result<Option<Part>> {
        let first = self.given;
        let (x, own) = self.points()?;
        if x.is_empty() {
            self.conditions.end(first)?;
            return Ok(None);
        }
        let n = x.len() / self.d;
        let rows = match own {
            Some(rows) => Some(rows),
            None => self.conditions.take(first, n)?,
        };
        if let Some(rows) = &rows {
            self.beyond.see(first, rows)?;
        }
        let condition = match (rows, &self.conditions) {
            (Some(rows), _) => {
                let c = rows.len() / n;
                Some(Tensor::from_vec(rows, (n, c), &Device::Cpu)?)
            }
            (None, Conditions::One(row)) => {
                let row = Tensor::from_slice(row, (1, row.len()), &Device::Cpu)?;
                Some(row.broadcast_as((n, row.dims()[1]))?.contiguous()?)
            }
            (None, _) => None,
        };
        self.given += n as u64;
        Ok(Some(Part { first, x, condition }))
    }

    /// The next points, and their conditions where both are in one file.
    fn points(&mut self) -> Result<(Vec<f64>, Option<Vec<f64>>)> {
        let points = match &mut self.source {
            Source::File(reader, own) => {
                let rows = reader.next_block(self.block)?.map_or(Vec::new(), |block| block.data);
                if *own == 0 {
                    return Ok((rows, None));
                }
                let of = |from: usize, to: usize| {
                    rows.chunks_exact(self.d + *own).flat_map(|row| &row[from..to]).copied().collect::<Vec<f64>>()
                };
                return Ok((of(0, self.d), Some(of(self.d, self.d + *own))));
            }
            Source::Drawn(rng, n) => {
                let most = match n {
                    Some(n) => (self.block as u64).min(*n - self.given) as usize,
                    None => self.conditions.ready(self.block)?,
                };
                StandardNormal::new(self.d).draw(most, rng)
            }
            Source::Whole(x) => {
                let rest = &x[self.given as usize * self.d..];
                rest[..rest.len().min(self.block * self.d)].to_vec()
            }
        };
        Ok((points, None))
    }
}

impl Conditions {
    /// The rows of a file: one for each point, unless there is only one.
    ///
    /// # Errors
    /// As [`Reader::next_block`].
    pub fn of(mut reader: Reader) -> Result<Self> {
        // A text does not say how many rows it has: two of them tell one from several.
        let waiting = reader.next_block(2)?.map_or(Vec::new(), |block| block.data);
        Ok(if waiting.len() == reader.cols() {
            Self::One(waiting)
        } else {
            Self::Each { reader: Box::new(reader), waiting }
        })
    }

    /// The one row for all, where there is one.
    pub fn one(&self) -> Option<&[f64]> {
        if let Self::One(row) = self { Some(row) } else { None }
    }

    /// Whether there may be more than one row.
    pub fn several(&self) -> bool {
        matches!(self, Self::Each { .. })
    }

    /// How many rows there are for as many points, where that is known.
    fn rows(&self) -> Option<u64> {
        match self {
            Self::Each { reader, .. } => reader.rows().map(|n| n as u64),
            _ => None,
        }
    }

    /// How many rows wait after so many were called; any number where one row serves all.
    fn ready(&mut self, rows: usize) -> Result<usize> {
        let Self::Each { reader, waiting } = self else { return Ok(rows) };
        let c = reader.cols();
        while waiting.len() < rows * c {
            let Some(block) = reader.next_block(rows - waiting.len() / c)? else { break };
            waiting.extend(block.data);
        }
        Ok(rows.min(waiting.len() / c))
    }

    /// The conditions of the next `n` points, which come after `before` others, where each has its own.
    fn take(&mut self, before: u64, n: usize) -> Result<Option<Vec<f64>>> {
        let ready = self.ready(n)?;
        match self {
            Self::None | Self::One(_) => Ok(None),
            Self::Each { .. } if ready < n => {
                let rows = before + ready as u64;
                Err(unequal(rows, &format!("more than {rows}")))
            }
            Self::Each { reader, waiting } => {
                let rest = waiting.split_off(n * reader.cols());
                Ok(Some(std::mem::replace(waiting, rest)))
            }
        }
    }

    /// Refuses conditions that are left after all `n` points.
    fn end(&mut self, n: u64) -> Result<()> {
        let mut rows = n;
        while let ready @ 1.. = if self.several() { self.ready(BLOCK_ROWS)? } else { 0 } {
            self.take(rows, ready)?;
            rows += ready as u64;
        }
        if rows > n { Err(unequal(rows, &n.to_string())) } else { Ok(()) }
    }
}

/// `--block`: from one row to as many as surely fit.
pub fn block() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u32).range(1..=1 << 24).map(|rows| rows as usize)
}

fn unequal(rows: u64, points: &str) -> anyhow::Error {
    let problem = format!("there are {rows} rows of conditions for {points} points");
    Error::invalid(problem, "give one row for each point, or one for all").into()
}
