//! Tables of numbers as text.
//!
//! The delimiter (comma, semicolon, tab, spaces) is told from the first line; that line is a header
//! when none of its cells is a number. A first line of numbers and one word is refused rather than
//! taken for a header: it is more likely a slip. Lines that begin with `#` are comments.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use ::csv::StringRecord;

use super::lines::Lines;
use super::{Array, Dtype, writer::BUFFER};
use crate::{Error, Result};

/// What to make of the columns of a text table.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// The columns to leave out, by name, or by number from 0; they may hold text.
    pub drop: Vec<String>,
    /// The column that says which set a row belongs to, by name; left out of the table too.
    pub split: Option<String>,
}

/// Parses a table held in memory, and the cells of the split column as they stand.
///
/// `path` is only for the messages.
///
/// # Errors
/// [`Error::Read`] for ragged rows, cells that are not numbers, and names that are no column.
pub fn parse(path: &Path, bytes: &[u8], columns: &Columns) -> Result<(Array, Option<Vec<String>>)> {
    let mut rows = Rows::open(path, bytes, columns)?;
    let (mut data, mut cells) = (Vec::new(), Vec::new());
    while rows.next(&mut data, Some(&mut cells))? {}
    let (cols, columns) = (rows.cols(), rows.columns());
    let array = Array { rows: data.len() / cols, cols, data, dtype: Dtype::F64, vector: false, columns };
    Ok((array, rows.split_at.is_some().then_some(cells)))
}

/// The rows of a text, of which only one is in memory.
pub(super) struct Rows<R: BufRead> {
    path: PathBuf,
    lines: Lines<R>,
    /// The names of all columns, where the first line is a header.
    names: Option<Vec<String>>,
    /// The number of all columns.
    width: usize,
    /// The columns that make the table.
    kept: Vec<usize>,
    split_at: Option<usize>,
    /// The row to give out next, and the number of its line.
    row: StringRecord,
    line: Option<u64>,
}

impl<R: BufRead> Rows<R> {
    /// Reads the header, if there is one, and the first row.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn open(path: &Path, text: R, columns: &Columns) -> Result<Self> {
        let no_rows = || Error::read(path, "it holds no rows", "write one row of numbers a line");
        let mut lines = Lines::open(path, text)?.ok_or_else(no_rows)?;
        let mut row = StringRecord::new();
        let mut line = Some(lines.next(path, &mut row)?.ok_or_else(no_rows)?);
        let width = row.len();
        let headed = row.iter().all(|cell| number(cell).is_none());
        let names: Option<Vec<String>> = headed.then(|| row.iter().map(str::to_owned).collect());
        let place = |name: &String| match names.as_ref().map(|names| names.iter().position(|n| n == name)) {
            Some(Some(at)) => Ok(at),
            Some(None) => Err(Error::read(
                path,
                format!("it has no column `{name}`"),
                format!("its columns are {}", row.iter().collect::<Vec<_>>().join(", ")),
            )),
            None => Err(Error::read(
                path,
                format!("it has no column `{name}`: its columns have no names"),
                "put the names in its first line",
            )),
        };
        let numbered = |name: &String| {
            let named = names.as_ref().is_some_and(|names| names.contains(name));
            name.parse().ok().filter(|at| !named && *at < width).map_or_else(|| place(name), Ok)
        };
        let dropped = columns.drop.iter().map(numbered).collect::<Result<Vec<usize>>>()?;
        let split_at = columns.split.as_ref().map(place).transpose()?;
        let kept: Vec<usize> = (0..width).filter(|at| !dropped.contains(at) && split_at != Some(*at)).collect();
        if kept.is_empty() {
            return Err(Error::read(path, "no column is left", "drop fewer columns"));
        }
        if headed {
            line = lines.next(path, &mut row)?;
            if line.is_none() {
                return Err(Error::read(path, "it has a header but no rows", "write one row of numbers a line"));
            }
        }
        Ok(Self { path: path.to_owned(), lines, names, width, kept, split_at, row, line })
    }

    /// The number of columns of the table.
    pub fn cols(&self) -> usize {
        self.kept.len()
    }

    /// Their names, where the text has them.
    pub fn columns(&self) -> Option<Vec<String>> {
        self.names.as_ref().map(|names| self.kept.iter().map(|&at| names[at].clone()).collect())
    }

    /// Keeps these columns of the table, in this order; the others may hold text from here on.
    pub fn keep(&mut self, places: &[usize]) {
        self.kept = places.iter().map(|at| self.kept[*at]).collect();
    }

    /// Appends the numbers of the next row, and its cell of the split column; false behind the last.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn next(&mut self, data: &mut Vec<f64>, split: Option<&mut Vec<String>>) -> Result<bool> {
        let Some(line) = self.line else { return Ok(false) };
        if self.row.len() != self.width {
            let problem = format!("line {line} has {} cells, the first line has {}", self.row.len(), self.width);
            return Err(Error::read(&self.path, problem, "every row needs the same number of cells"));
        }
        for &at in &self.kept {
            data.push(number(&self.row[at]).ok_or_else(|| {
                let column =
                    self.names.as_ref().map_or_else(|| (at + 1).to_string(), |names| format!("`{}`", names[at]));
                let cell = shortened(&self.row[at]);
                let problem = format!("`{cell}` in line {line}, column {column}, is not a number");
                let hint = "mend the cell, drop its column, or name the columns in the first line";
                Error::read(&self.path, problem, hint)
            })?);
        }
        if let (Some(cells), Some(at)) = (split, self.split_at) {
            cells.push(self.row[at].to_owned());
        }
        self.line = self.lines.next(&self.path, &mut self.row)?;
        Ok(true)
    }
}

/// A writer of text tables; it quotes the names that need it.
pub(super) fn writer<W: Write>(out: W) -> ::csv::Writer<W> {
    ::csv::WriterBuilder::new().buffer_capacity(BUFFER).from_writer(out)
}

/// Writes numbers, `cols` a line, where `before` were written already: each in the fewest digits that read back to the
/// same bits.
pub(super) fn put<W: Write>(
    out: &mut ::csv::Writer<W>,
    values: &[f64],
    dtype: Dtype,
    cols: usize,
    before: u64,
) -> std::io::Result<()> {
    let mut column = (before % cols as u64) as usize;
    for &value in values {
        match dtype {
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

fn number(cell: &str) -> Option<f64> {
    cell.parse().ok()
}

fn shortened(cell: &str) -> String {
    if cell.chars().count() > 24 { format!("{}…", cell.chars().take(24).collect::<String>()) } else { cell.into() }
}
