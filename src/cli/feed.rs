//! The rows of a request, block by block: points of a file, or latents as they are drawn, each with its condition.
//!
//! A file is read once, and of it only a block is in memory. A row's result depends on that row alone, so blocks change
//! no bit.

use std::path::Path;

use anyhow::Result;
use candle_core::{Device, Tensor};
use clap::builder::TypedValueParser;
use cnf::flow::StandardNormal;
use cnf::io::Reader;
use cnf::{Error, Rng};

use super::setup::Setup;

/// The rows, and the numbers, of a block where nothing else is asked.
const BLOCK_ROWS: usize = 1 << 16;
const BLOCK_NUMBERS: usize = 1 << 20;

/// Where the points come from.
enum Source {
    File(Reader),
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
        reader: Reader,
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
}

impl Feed {
    /// The points of a file, of the model's dimension; `block` rows at a time, or as many as suit.
    ///
    /// # Errors
    /// As [`Reader::open`], and for another number of columns or of conditions.
    pub fn of_file(setup: &Setup, path: &Path, conditions: Conditions, block: Option<usize>) -> Result<Self> {
        let reader = Reader::open(path)?;
        let d = setup.model.dim();
        if reader.cols() != d {
            let (file, axes) = (path.display(), if reader.vector() { " (it has one axis)" } else { "" });
            let problem = format!("`{file}` holds {} columns{axes}, the model has {d}", reader.cols());
            return Err(Error::invalid(problem, format!("give points of shape [n, {d}]")).into());
        }
        Self::new(Source::File(reader), conditions, d, block)
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
        Self::new(Source::Drawn(rng, n), conditions, setup.model.dim(), block)
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
        let feed = Self { source, conditions, d, block, given: 0 };
        match (feed.own_total(), feed.conditions.rows()) {
            (Some(n), Some(rows)) if n != rows => Err(unequal(rows, &n.to_string())),
            _ => Ok(feed),
        }
    }

    /// The number of points, where it is known.
    pub fn total(&self) -> Option<u64> {
        self.own_total().or(self.conditions.rows())
    }

    fn own_total(&self) -> Option<u64> {
        match &self.source {
            Source::File(reader) => reader.rows().map(|n| n as u64),
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
        let x = self.points()?;
        if x.is_empty() {
            self.conditions.end(first)?;
            return Ok(None);
        }
        let n = x.len() / self.d;
        let condition = self.conditions.take(first, n)?;
        self.given += n as u64;
        Ok(Some(Part { first, x, condition }))
    }

    fn points(&mut self) -> Result<Vec<f64>> {
        Ok(match &mut self.source {
            Source::File(reader) => reader.next_block(self.block)?.map_or(Vec::new(), |block| block.data),
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
        })
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
        Ok(if waiting.len() == reader.cols() { Self::One(waiting) } else { Self::Each { reader, waiting } })
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
        let cols = reader.cols();
        while waiting.len() < rows * cols {
            let Some(block) = reader.next_block(rows - waiting.len() / cols)? else { break };
            waiting.extend(block.data);
        }
        Ok(rows.min(waiting.len() / cols))
    }

    /// The conditions of the next `n` points, which come after `before` others.
    fn take(&mut self, before: u64, n: usize) -> Result<Option<Tensor>> {
        let ready = self.ready(n)?;
        match self {
            Self::None => Ok(None),
            Self::One(row) => {
                let cols = row.len();
                let row = Tensor::from_slice(row, (1, cols), &Device::Cpu)?;
                Ok(Some(row.broadcast_as((n, cols))?.contiguous()?))
            }
            Self::Each { .. } if ready < n => {
                let rows = before + ready as u64;
                Err(unequal(rows, &format!("more than {rows}")))
            }
            Self::Each { reader, waiting } => {
                let cols = reader.cols();
                let rest = waiting.split_off(n * cols);
                Ok(Some(Tensor::from_vec(std::mem::replace(waiting, rest), (n, cols), &Device::Cpu)?))
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
