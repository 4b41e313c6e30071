//! Rows block by block: points of a file, or latents as they are drawn, each with its condition.
//!
//! A file is read once, and of it only a block is in memory. A row's result depends on that row alone, so blocks change
//! no bit.

use super::{Gaps, OutOfRange};
use crate::io::Reader;
use crate::model::{BLOCK_ROWS, Model, block_rows};
use crate::transform::Latents;
use crate::{Error, Result};

/// What is done about weights that are none.
const OF_WEIGHTS: &str = "give weights of 0 or more: a point of weight 2 counts as two";

/// Where the points come from.
enum Origin {
    /// A file that gives the points, and behind them in each row so many conditions.
    File(Box<Reader>, usize),
    /// Latents from this row of a sample on, so many, or as many as there are conditions.
    Drawn(Latents, u64, Option<u64>),
    /// Points in memory.
    Whole(Vec<f64>),
}

/// Where the conditions of rows come from.
pub enum Conditions {
    /// The model has none.
    None,
    /// One row for all.
    One(Vec<f64>),
    /// One row for each.
    Each(Beside),
}

/// A file with a row for each point.
pub struct Beside {
    reader: Box<Reader>,
    /// Rows of it that no point has taken yet.
    waiting: Vec<f64>,
    /// What its rows are, such as `rows of conditions`.
    what: &'static str,
    /// What is done about another number of rows.
    hint: &'static str,
}

/// Some points, and their conditions.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Points before these.
    pub first: u64,
    /// `[n, d]`.
    pub x: Vec<f64>,
    /// `[n, c]`; empty where the model has no conditions.
    pub condition: Vec<f64>,
    /// How much each counts in means, `[n]`; empty where all count alike.
    pub weight: Vec<f64>,
    /// Which rows have a missing cell; none where no row has one.
    pub gaps: Option<Gaps>,
}

impl Block {
    /// The block without its rows with a missing cell, and how many these were.
    #[must_use]
    pub fn without_gaps(self) -> (Self, usize) {
        let Some(gaps) = &self.gaps else { return (self, 0) };
        let (x, condition, weight) = (gaps.pick(&self.x), gaps.pick(&self.condition), gaps.pick(&self.weight));
        (Self { first: self.first, x, condition, weight, gaps: None }, gaps.missing())
    }
}

/// All rows of a request, in their order.
pub struct RowSource {
    origin: Origin,
    conditions: Conditions,
    weights: Option<Beside>,
    /// Whether a weight was above 0.
    weighed: bool,
    d: usize,
    /// The rows of a block.
    block: usize,
    /// Rows given out.
    given: u64,
    out_of_range: OutOfRange,
    notes: Vec<String>,
}

impl RowSource {
    /// The rows of a file: `reader` gives `d` columns of points and behind them `own` columns of conditions, or none,
    /// and then they come from `conditions`. `block` rows are read at a time, or as many as suit.
    ///
    /// # Errors
    /// [`Error::Dimension`] where the reader has other columns; [`Error::Invalid`] for another number of conditions
    /// than points.
    pub fn of_reader(
        reader: Reader,
        d: usize,
        own: usize,
        conditions: Conditions,
        block: Option<usize>,
    ) -> Result<Self> {
        if reader.cols() != d + own {
            let (what, expected, found) = ("the table".into(), d + own, reader.cols());
            return Err(Error::Dimension { what, expected, found });
        }
        Self::new(Origin::File(Box::new(reader), own), conditions, d, block)
    }

    /// `n` latents from row `first` of a sample on, or as many as there are conditions.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of conditions than `n`, and for rows that have no number.
    pub fn of_latents(
        latents: Latents,
        first: u64,
        n: Option<u64>,
        conditions: Conditions,
        block: Option<usize>,
    ) -> Result<Self> {
        if first.checked_add(n.unwrap_or(0)).is_none_or(|end| end > i64::MAX as u64) {
            let problem = format!("{} rows from row {first} on", n.map_or("the".into(), |n| n.to_string()));
            return Err(Error::invalid(problem, "begin before row 9223372036854775807"));
        }
        Self::new(Origin::Drawn(latents, first, n), conditions, latents.dim(), block)
    }

    /// Points that are in memory, `[n, d]`.
    ///
    /// # Errors
    /// [`Error::Dimension`] for a last row that is not whole; [`Error::Invalid`] for another number of conditions than
    /// points.
    pub fn of_points(x: Vec<f64>, d: usize, conditions: Conditions, block: Option<usize>) -> Result<Self> {
        if !x.len().is_multiple_of(d) {
            let what = "the last row of the points".into();
            return Err(Error::Dimension { what, expected: d, found: x.len() % d });
        }
        Self::new(Origin::Whole(x), conditions, d, block)
    }

    fn new(origin: Origin, conditions: Conditions, d: usize, block: Option<usize>) -> Result<Self> {
        let block = block.unwrap_or_else(|| block_rows(d)).max(1);
        let out_of_range = OutOfRange::default();
        let (weights, weighed) = (None, false);
        let source = Self { origin, conditions, weights, weighed, d, block, given: 0, out_of_range, notes: Vec::new() };
        if let (Some(n), Conditions::Each(file)) = (source.own_total(), &source.conditions) {
            file.check_rows(n)?;
        }
        Ok(source)
    }

    /// With a weight for each row, the one column of `reader`: a number of 0 or more.
    ///
    /// # Errors
    /// [`Error::Dimension`] for another number of columns; [`Error::Invalid`] for another number of weights than points.
    pub fn with_weights(mut self, reader: Reader) -> Result<Self> {
        if reader.cols() != 1 {
            return Err(Error::Dimension { what: "the table of weights".into(), expected: 1, found: reader.cols() });
        }
        let (what, hint) = ("weights", "give one weight for each point");
        let file = Beside { reader: Box::new(reader), waiting: Vec::new(), what, hint };
        self.total().map_or(Ok(()), |n| file.check_rows(n))?;
        self.weights = Some(file);
        Ok(self)
    }

    /// Looks at the conditions while they pass: a class that the model does not have is refused, what is far from the
    /// training's is counted.
    ///
    /// # Errors
    /// [`Error::Invalid`] for such a class in the one row for all.
    pub fn watched(mut self, model: &Model) -> Result<Self> {
        self.out_of_range = OutOfRange::of(model);
        if let Conditions::One(row) = &self.conditions {
            self.out_of_range.see_one(row)?;
        }
        Ok(self)
    }

    /// With remarks on how the columns of the file are used.
    pub fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// The conditions so far that are far from those of the training.
    pub fn out_of_range(&self) -> &OutOfRange {
        &self.out_of_range
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
        self.conditions.several() || matches!(self.origin, Origin::File(_, 1..))
    }

    /// The number of points, where it is known.
    pub fn total(&self) -> Option<u64> {
        self.own_total().or(self.conditions.rows())
    }

    fn own_total(&self) -> Option<u64> {
        match &self.origin {
            Origin::File(reader, ..) => reader.rows().map(|n| n as u64),
            Origin::Drawn(.., n) => *n,
            Origin::Whole(x) => Some((x.len() / self.d) as u64),
        }
    }

    /// The next points; `None` behind the last.
    ///
    /// # Errors
    /// As [`Reader::next_block`], and where the conditions end before or after the points.
    pub fn next_block(&mut self) -> Result<Option<Block>> {
        let first = self.given;
        let (x, own) = self.points()?;
        if x.is_empty() {
            self.conditions.end(first)?;
            if let Some(file) = &mut self.weights {
                file.end(first)?;
                if !self.weighed {
                    return Err(Error::invalid("all weights are 0", OF_WEIGHTS));
                }
            }
            return Ok(None);
        }
        let n = x.len() / self.d;
        let weight = self.weights.as_mut().map(|file| file.take(first, n)).transpose()?.unwrap_or_default();
        if let Some(row) = weight.iter().position(|w| !(0.0..f64::INFINITY).contains(w)) {
            let problem = format!("point {} (counted from 0) has the weight {}", first + row as u64, weight[row]);
            return Err(Error::invalid(problem, OF_WEIGHTS));
        }
        self.weighed |= weight.iter().any(|w| *w > 0.0);
        let rows = match own {
            Some(rows) => Some(rows),
            None => self.conditions.take(first, n)?,
        };
        if let Some(rows) = &rows {
            self.out_of_range.see(first, rows)?;
        }
        let condition = match (rows, &self.conditions) {
            (Some(rows), _) => rows,
            (None, Conditions::One(row)) => row.repeat(n),
            (None, _) => Vec::new(),
        };
        self.given += n as u64;
        let gaps = Gaps::of(&x, self.d, &condition);
        Ok(Some(Block { first, x, condition, weight, gaps }))
    }

    /// The next points, and their conditions where both are in one file.
    fn points(&mut self) -> Result<(Vec<f64>, Option<Vec<f64>>)> {
        let points = match &mut self.origin {
            Origin::File(reader, own) => {
                if *own == 0 {
                    return Ok((reader.next_block(self.block)?.map_or(Vec::new(), |block| block.data), None));
                }
                let (points, conditions) = reader.next_parts(self.block, self.d)?.unwrap_or_default();
                return Ok((points, Some(conditions)));
            }
            Origin::Drawn(latents, first, n) => {
                let most = match n {
                    Some(n) => (self.block as u64).min(*n - self.given) as usize,
                    None => self.conditions.ready(self.block)?,
                };
                latents.rows(*first + self.given, most)
            }
            Origin::Whole(x) => {
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
    /// As [`Reader::next_block`]; [`Error::Invalid`] where the one row for all has a missing value.
    pub fn of(mut reader: Reader) -> Result<Self> {
        // The number of rows of a text is unknown: reading two distinguishes one from several.
        let waiting = reader.next_block(2)?.map_or(Vec::new(), |block| block.data);
        if waiting.len() != reader.cols() {
            let (what, hint) = ("rows of conditions", "give one row for each point, or one for all");
            return Ok(Self::Each(Beside { reader: Box::new(reader), waiting, what, hint }));
        }
        if let Some(at) = waiting.iter().position(|v| v.is_nan()) {
            let column = crate::words::column(reader.columns(), at);
            let problem = format!("the one row of conditions for all points has no value in {column}");
            return Err(Error::invalid(problem, "give a row without missing values"));
        }
        Ok(Self::One(waiting))
    }

    /// The one row for all, where there is one.
    pub fn one(&self) -> Option<&[f64]> {
        if let Self::One(row) = self { Some(row) } else { None }
    }

    /// Whether there may be more than one row.
    pub fn several(&self) -> bool {
        matches!(self, Self::Each(_))
    }

    /// How many rows there are for as many points, where that is known.
    fn rows(&self) -> Option<u64> {
        if let Self::Each(file) = self { file.rows() } else { None }
    }

    /// How many rows wait after so many were called; any number where one row serves all.
    fn ready(&mut self, rows: usize) -> Result<usize> {
        if let Self::Each(file) = self { file.ready(rows) } else { Ok(rows) }
    }

    /// The conditions of the next `n` points, which come after `before` others, where each has its own.
    fn take(&mut self, before: u64, n: usize) -> Result<Option<Vec<f64>>> {
        if let Self::Each(file) = self { file.take(before, n).map(Some) } else { Ok(None) }
    }

    /// Refuses conditions that are left after all `n` points.
    fn end(&mut self, n: u64) -> Result<()> {
        if let Self::Each(file) = self { file.end(n) } else { Ok(()) }
    }
}

impl Beside {
    /// How many rows there are, where that is known.
    fn rows(&self) -> Option<u64> {
        self.reader.rows().map(|n| n as u64)
    }

    /// Refuses another number of rows than `points`, where it is known.
    fn check_rows(&self, points: u64) -> Result<()> {
        self.rows().filter(|rows| *rows != points).map_or(Ok(()), |rows| Err(self.unequal(rows, &points.to_string())))
    }

    /// How many rows wait after so many were called.
    fn ready(&mut self, rows: usize) -> Result<usize> {
        let c = self.reader.cols();
        while self.waiting.len() < rows * c {
            let Some(block) = self.reader.next_block(rows - self.waiting.len() / c)? else { break };
            self.waiting.extend(block.data);
        }
        Ok(rows.min(self.waiting.len() / c))
    }

    /// The rows of the next `n` points, which come after `before` others.
    fn take(&mut self, before: u64, n: usize) -> Result<Vec<f64>> {
        let ready = self.ready(n)?;
        if ready < n {
            let rows = before + ready as u64;
            return Err(self.unequal(rows, &format!("more than {rows}")));
        }
        let rest = self.waiting.split_off(n * self.reader.cols());
        Ok(std::mem::replace(&mut self.waiting, rest))
    }

    /// Refuses rows that are left after all `n` points.
    fn end(&mut self, n: u64) -> Result<()> {
        let mut rows = n;
        while let ready @ 1.. = self.ready(BLOCK_ROWS)? {
            self.take(rows, ready)?;
            rows += ready as u64;
        }
        if rows > n { Err(self.unequal(rows, &n.to_string())) } else { Ok(()) }
    }

    /// Another number of rows than of points.
    fn unequal(&self, rows: u64, points: &str) -> Error {
        Error::invalid(format!("there are {rows} {} for {points} points", self.what), self.hint)
    }
}
