//! Tables of numbers as text.
//!
//! What divides the cells is described in `lines.rs`, and how a header is distinguished from a row in `header.rs`.
//! Every number is finite: an infinity and any word are errors with their line, and so is a missing value unless it is
//! asked for as NaN.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use super::array::NOT_FINITE;
use super::cell::{Cell, CellRule};
use super::dialect::Dialect;
use super::header::{self, shortened};
use super::lines::{AHEAD, Lines, Row};
use super::words::{self as vocabulary, Cells, Settled};
use super::{Array, BUFFER, Dtype, Pick, Words};
use crate::{Error, Result, words};

/// How the columns of a text table are used.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// How the text is written.
    pub dialect: Dialect,
    /// Which of them make the table; the others may hold text.
    pub pick: Pick,
    /// The column that says which set a row belongs to, by name; left out of the table too.
    pub split: Option<String>,
    /// Whether missing values are NaN; else they are errors.
    pub missing: bool,
    /// Which of them may hold words.
    pub words: Words,
}

/// A text table, and how it was read.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The numbers.
    pub array: Array,
    /// The cells of the split column as they stand, where there is one.
    pub split: Option<Vec<String>>,
    /// The line of each row, counted from 1.
    pub lines: Vec<u64>,
    /// The number of each column in the file, from 0.
    pub numbers: Vec<usize>,
    /// The words of each column, in their order: its numbers are places among them. Empty for a column of numbers, and
    /// where no column has words.
    pub words: Vec<Vec<String>>,
    /// Decisions about the header that may be wrong: a sentence each.
    pub notes: Vec<String>,
}

/// Reads all rows of a text; `path` is only for the messages.
///
/// # Errors
/// [`Error::Read`] for ragged rows, cells that are not finite numbers, and columns that are not there.
pub fn parse(path: &Path, text: impl BufRead, columns: &Columns) -> Result<Parsed> {
    let mut rows = Rows::open(path, text, columns)?;
    let (mut data, mut cells, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(line) = rows.next(&mut data, Some(&mut cells))? {
        lines.push(line);
    }
    let (cols, columns) = (rows.cols(), rows.columns());
    let mut words = Vec::new();
    for (j, at) in rows.kept.iter().enumerate() {
        let Some((_, class, cells)) = rows.collected.iter_mut().find(|(place, ..)| place == at) else { continue };
        match std::mem::take(cells).settle(*class) {
            Settled::Numbers => {}
            Settled::Words(found, values) => {
                words.resize(cols, Vec::new());
                words[j] = found;
                data.iter_mut().skip(j).step_by(cols).zip(values).for_each(|(slot, value)| *slot = value);
            }
            Settled::Wrong(problem, hint) => return Err(Error::read(path, problem, hint)),
        }
    }
    let array = Array { rows: data.len() / cols, cols, data, dtype: Dtype::F64, vector: false, columns };
    let split = rows.split_at.is_some().then_some(cells);
    Ok(Parsed { array, split, lines, numbers: rows.kept, words, notes: rows.notes })
}

/// The rows of a text, of which only the first few are in memory together.
pub(super) struct Rows<R: BufRead> {
    path: PathBuf,
    lines: Lines<R>,
    /// The names of all columns, where the first line is a header.
    names: Option<Vec<String>>,
    /// The number of all columns.
    width: usize,
    /// The number of the line whose cells were counted.
    first_line: u64,
    /// The columns that make the table.
    kept: Vec<usize>,
    split_at: Option<usize>,
    notes: Vec<String>,
    /// The row to give out next.
    row: Row,
    /// Whether there is one.
    more: bool,
    /// The lines without any value that come before it.
    hollow: VecDeque<u64>,
    /// How cells are read.
    rule: CellRule,
    /// Whether missing values are NaN; else they are errors.
    missing: bool,
    /// Columns that may hold words: whether each is called a class, and its cells so far.
    collected: Vec<(usize, bool, Cells)>,
    /// Columns whose cells are these words.
    known: Vec<(usize, Vec<(String, f64)>)>,
}

impl<R: BufRead> Rows<R> {
    /// Reads the header, if there is one, and the first row.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn open(path: &Path, text: R, columns: &Columns) -> Result<Self> {
        columns.dialect.check()?;
        let (lines, rule) = (Lines::open(path, text, &columns.dialect)?, columns.dialect.cells());
        let ahead = lines.peek(AHEAD + 1);
        let Some((first, below)) = ahead.split_first() else {
            return Err(Error::read(path, "it holds no rows", "write one row of numbers a line"));
        };
        let below: Vec<Row> = below.iter().filter(|row| !is_hollow(row)).cloned().collect();
        let decision = {
            // What is not used, or may be a word, is no slip.
            let unused = |at: usize| columns.pick.skips(at) || columns.words.of(None, at).is_some();
            header::decide(path, (columns.dialect.header, &rule), &unused, lines.delimiter(), first, &below)?
        };
        let names = decision.names;
        let split_at = match &columns.split {
            None => None,
            Some(name) => {
                let mut places = names.iter().flatten().enumerate().filter(|(_, known)| *known == name);
                match (places.next(), places.next()) {
                    (Some((at, _)), None) => Some(at),
                    (Some(_), Some(_)) => {
                        let problem = format!("it has several columns called `{name}`");
                        return Err(Error::read(path, problem, "give each column its own name"));
                    }
                    (None, _) => return Err(no_column(path, name, names.as_deref(), decision.width)),
                }
            }
        };
        let unknown = |name: &str| no_column(path, name, names.as_deref(), decision.width);
        let numbers: Vec<usize> = (0..decision.width).collect();
        let places = columns.pick.places(names.as_deref(), &numbers, &unknown).map_err(|e| match e {
            Error::Invalid { problem, hint } => Error::read(path, problem, hint),
            other => other,
        })?;
        let all = columns.pick.keep.is_empty();
        let left_out = |at: usize| split_at == Some(at) || (decision.labelled && at == 0 && all);
        let kept: Vec<usize> = places.into_iter().filter(|at| !left_out(*at)).collect();
        if kept.is_empty() {
            return Err(Error::read(path, "no column is left", "drop fewer columns"));
        }
        let headed = names.is_some();
        let name = |at: usize| names.as_ref().map(|names| names[at].as_str());
        let wordy = |at: &usize| columns.words.of(name(*at), *at).map(|class| (*at, class, Cells::default()));
        let (collected, known) = (kept.iter().filter_map(wordy).collect(), Vec::new());
        let mut rows = Self {
            path: path.to_owned(),
            lines,
            names,
            width: decision.width,
            first_line: first.line,
            kept,
            split_at,
            notes: decision.notes,
            row: Row::default(),
            more: true,
            hollow: VecDeque::new(),
            rule,
            missing: columns.missing,
            collected,
            known,
        };
        if headed {
            rows.lines.next(path, &mut rows.row)?;
        }
        rows.advance()?;
        if !rows.more {
            let problem = if headed { "it has a header but no rows" } else { "it holds no rows" };
            return Err(Error::read(path, problem, "write one row of numbers a line"));
        }
        Ok(rows)
    }

    /// The number of columns of the table.
    pub fn cols(&self) -> usize {
        self.kept.len()
    }

    /// Their names, where the text has them.
    pub fn columns(&self) -> Option<Vec<String>> {
        self.names.as_ref().map(|names| self.kept.iter().map(|&at| names[at].clone()).collect())
    }

    /// The number of each of them in the file, from 0.
    pub fn numbers(&self) -> &[usize] {
        &self.kept
    }

    /// Keeps these columns of the table, in this order; the others may hold text from here on.
    pub fn keep(&mut self, places: &[usize]) {
        self.kept = places.iter().map(|at| self.kept[*at]).collect();
    }

    /// From here on no column is looked at for words.
    pub fn ignore_words(&mut self) {
        self.collected.clear();
    }

    /// From here on the cells of a column of the table are these words, with their numbers.
    pub fn read_words(&mut self, place: usize, words: Vec<(String, f64)>) {
        self.known.push((self.kept[place], words));
    }

    /// From here on missing values are NaN.
    pub fn allow_missing(&mut self) {
        self.missing = true;
    }

    /// Decisions about the header that may be wrong.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Appends the numbers of the next row, and its cell of the split column. Gives its line; `None` behind the last.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn next(&mut self, data: &mut Vec<f64>, split: Option<&mut Vec<String>>) -> Result<Option<u64>> {
        if !self.more {
            return Ok(None);
        }
        if let Some(line) = self.hollow.pop_front() {
            if !self.missing {
                return Err(Error::read(&self.path, format!("line {line} has no values"), NOT_FINITE));
            }
            data.extend(self.kept.iter().map(|_| f64::NAN));
            self.collected.iter_mut().for_each(|(_, _, cells)| cells.push("", Cell::Missing, &String::new));
            if let Some(found) = split.filter(|_| self.split_at.is_some()) {
                found.push(String::new());
            }
            return Ok(Some(line));
        }
        let (line, cells) = (self.row.line, &self.row.cells);
        // A delimiter may stand behind the last cell.
        let ended = cells.len() == self.width + 1 && cells.get(self.width) == Some("");
        if cells.len() != self.width && !ended {
            let (found, first, width) = (words::count(cells.len() as u64, "cell"), self.first_line, self.width);
            let problem = format!("line {line} has {found}, expected {width} as in line {first}");
            let hint = "write the same number of cells in every line; a decimal comma splits a number in two unless \
                        `data.sep` is set to ; or tab, and `data.decimal` to a comma";
            return Err(Error::read(&self.path, problem, hint));
        }
        for &at in &self.kept {
            let number = if self.collected.iter().any(|(place, ..)| *place == at) {
                self.maybe_word(at)?
            } else {
                self.number(at)?
            };
            data.push(number);
        }
        for (at, _, cells) in &mut self.collected {
            let place = || format!("line {line}, {}", column(self.names.as_deref(), *at));
            let cell = &self.row.cells[*at];
            cells.push(cell, self.rule.of(cell), &place);
        }
        if let (Some(found), Some(at)) = (split, self.split_at) {
            found.push(self.row.cells[at].to_owned());
        }
        self.advance()?;
        Ok(Some(line))
    }

    /// A number of a column that may hold words; NaN for a word, which is looked at later.
    fn maybe_word(&self, at: usize) -> Result<f64> {
        match self.rule.of(&self.row.cells[at]) {
            Cell::Text | Cell::OtherMark => Ok(f64::NAN),
            _ => self.number(at),
        }
    }

    /// A number of the row.
    fn number(&self, at: usize) -> Result<f64> {
        let (cell, line) = (&self.row.cells[at], self.row.line);
        let kind = self.rule.of(cell);
        if let (Some((_, words)), true) = (self.known.iter().find(|(known, _)| *known == at), kind != Cell::Missing) {
            return vocabulary::number(words, cell).ok_or_else(|| {
                let place = format!("line {line}, {}", column(self.names.as_deref(), at));
                let (problem, hint) = vocabulary::unknown(words, cell, &place);
                Error::read(&self.path, problem, hint)
            });
        }
        if let Cell::Number(value) = kind
            && value.is_finite()
        {
            return Ok(value);
        }
        if kind == Cell::Missing && self.missing {
            return Ok(f64::NAN);
        }
        let column = column(self.names.as_deref(), at);
        let cell = shortened(cell);
        let (problem, hint) = match kind {
            Cell::Missing if cell.is_empty() => (format!("a value is missing in line {line}, {column}"), NOT_FINITE),
            Cell::Missing => (format!("a value is missing (`{cell}`) in line {line}, {column}"), NOT_FINITE),
            Cell::Number(_) => (format!("`{cell}` in line {line}, {column}, is not finite"), NOT_FINITE),
            Cell::OtherMark => match self.rule.comma() {
                false => (
                    format!("`{cell}` in line {line}, {column}, has a decimal comma"),
                    "set `data.decimal` to a comma, or write numbers with a decimal point, such as 1.5",
                ),
                true => (
                    format!("`{cell}` in line {line}, {column}, has a point, and the decimal mark is a comma"),
                    "write 1,5 for one and a half, and no points between thousands; or leave out `data.decimal`",
                ),
            },
            Cell::Text => (
                format!("`{cell}` in line {line}, {column}, is not a number"),
                match self.width == 1 && cell.contains([',', ';', '\t', '|', ' ', ':']) {
                    true => "set `data.sep` to what divides the cells: a comma, ;, tab, | or space",
                    false => {
                        "correct the cell, drop its column, or name the columns in the first line; \
                              `data.na` sets words for missing cells"
                    }
                },
            ),
        };
        Err(Error::read(&self.path, problem, hint))
    }

    /// Reads on to the next row that has a value. Rows without any are left out at the end of the file, as spreadsheets
    /// write them.
    fn advance(&mut self) -> Result<()> {
        loop {
            self.more = self.lines.next(&self.path, &mut self.row)?;
            if !self.more || !is_hollow(&self.row) {
                return Ok(());
            }
            self.hollow.push_back(self.row.line);
        }
    }
}

/// A column in words.
fn column(names: Option<&[String]>, at: usize) -> String {
    match names.map(|names| &names[at]).filter(|name| !name.is_empty()) {
        Some(name) => format!("column `{name}`"),
        None => words::column(None, at),
    }
}

/// A column that the file does not have.
fn no_column(path: &Path, name: &str, names: Option<&[String]>, width: usize) -> Error {
    let Some(names) = names else {
        let problem = format!("it has no column `{name}`: its columns have no names");
        let hint = format!("put the names in its first line, or give a number from 0 to {}", width.saturating_sub(1));
        return Error::read(path, problem, hint);
    };
    Error::read(path, format!("it has no column `{name}`"), format!("use one of its columns: {}", names.join(", ")))
}

/// Whether a row has cells, and nothing in them.
fn is_hollow(row: &Row) -> bool {
    row.cells.len() > 1 && row.cells.iter().all(str::is_empty)
}

/// A writer of the rows of text tables.
pub(super) fn writer<W: Write>(out: W) -> ::csv::Writer<W> {
    ::csv::WriterBuilder::new().buffer_capacity(BUFFER).from_writer(out)
}

/// Writes the names of the columns. Where one of them does not read as text, all are in quotes: they tell the line from
/// the rows below it, which have none.
pub(super) fn put_names(out: impl Write, names: &[String]) -> ::csv::Result<()> {
    let plain = names.iter().all(|name| Cell::of(name.trim()) == Cell::Text);
    let quotes = if plain { ::csv::QuoteStyle::Necessary } else { ::csv::QuoteStyle::Always };
    // A name that begins like a comment is quoted.
    let mut out = ::csv::WriterBuilder::new().quote_style(quotes).comment(Some(b'#')).from_writer(out);
    out.write_record(names)?;
    out.flush().map_err(::csv::Error::from)
}

/// Writes numbers, `cols` a line, where `before` were written already: each in the fewest digits that read back to the
/// same bits; the `words` of a column stand for their numbers.
pub(super) fn put<W: Write>(
    out: &mut ::csv::Writer<W>,
    values: &[f64],
    dtype: Dtype,
    (cols, before): (usize, u64),
    words: &[Vec<(String, f64)>],
) -> std::io::Result<()> {
    let mut column = (before % cols as u64) as usize;
    for &value in values {
        let word = words.get(column).and_then(|words| words.iter().find(|(_, number)| *number == value));
        match dtype {
            _ if word.is_some() => out.write_field(word.map_or("", |(word, _)| word))?,
            Dtype::F32 => out.write_field((value as f32).to_string())?,
            _ => out.write_field(value.to_string())?,
        }
        column += 1;
        if column == cols {
            out.write_record(None::<&[u8]>)?;
            column = 0;
        }
    }
    Ok(())
}
