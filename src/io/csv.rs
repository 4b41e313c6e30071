//! Tables of numbers as text.
//!
//! The delimiter (comma, semicolon, tab, spaces) is told from the first line; that line is a header
//! when none of its cells is a number. A first line of numbers and one word is refused rather than
//! taken for a header: it is more likely a slip. Lines that begin with `#` are comments.

use std::path::Path;

use super::{Array, Dtype, read_bytes, write_atomically};
use crate::{Error, Result};

/// What to make of the columns of a text table.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// The columns to leave out, by name; they may hold text.
    pub drop: Vec<String>,
    /// The column that says which set a row belongs to, by name; left out of the table too.
    pub split: Option<String>,
}

/// Reads all columns.
///
/// # Errors
/// [`Error::Read`] with the line and column of what is not a number.
pub fn read(path: &Path) -> Result<Array> {
    Ok(parse(path, &read_bytes(path)?, &Columns::default())?.0)
}

/// Parses a table held in memory, and the cells of the split column as they stand.
///
/// `path` is only for the messages.
///
/// # Errors
/// [`Error::Read`] for ragged rows, cells that are not numbers, and names that are no column.
pub fn parse(path: &Path, bytes: &[u8], columns: &Columns) -> Result<(Array, Option<Vec<String>>)> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let problem = format!("it is not text (byte {} is not UTF-8)", e.valid_up_to());
        Error::read(path, problem, "save the table as UTF-8 text")
    })?;
    let records = records(path, text.trim_start_matches('\u{feff}'))?;
    let Some((_, first)) = records.first() else {
        return Err(Error::read(path, "it holds no rows", "write one row of numbers a line"));
    };
    let headed = first.iter().all(|cell| number(cell).is_none());
    let names: Option<Vec<String>> = headed.then(|| first.clone());
    let width = first.len();
    let place = |name: &String| match names.as_ref().map(|names| names.iter().position(|n| n == name)) {
        Some(Some(at)) => Ok(at),
        Some(None) => Err(Error::read(
            path,
            format!("it has no column `{name}`"),
            format!("its columns are {}", first.join(", ")),
        )),
        None => Err(Error::read(
            path,
            format!("it has no column `{name}`: its columns have no names"),
            "put the names in its first line",
        )),
    };
    let dropped = columns.drop.iter().map(place).collect::<Result<Vec<_>>>()?;
    let split_at = columns.split.as_ref().map(place).transpose()?;
    let kept: Vec<usize> = (0..width).filter(|at| !dropped.contains(at) && split_at != Some(*at)).collect();
    if kept.is_empty() {
        return Err(Error::read(path, "no column is left", "drop fewer columns"));
    }
    let rows = &records[usize::from(headed)..];
    if rows.is_empty() {
        return Err(Error::read(path, "it has a header but no rows", "write one row of numbers a line"));
    }
    let mut data = Vec::with_capacity(rows.len() * kept.len());
    for (line, row) in rows {
        if row.len() != width {
            let problem = format!("line {line} has {} cells, the first line has {width}", row.len());
            return Err(Error::read(path, problem, "every row needs the same number of cells"));
        }
        for &at in &kept {
            data.push(number(&row[at]).ok_or_else(|| {
                let column = names.as_ref().map_or_else(|| (at + 1).to_string(), |names| format!("`{}`", names[at]));
                let cell = shortened(&row[at]);
                let problem = format!("`{cell}` in line {line}, column {column}, is not a number");
                Error::read(path, problem, "mend the cell, drop its column, or name the columns in the first line")
            })?);
        }
    }
    let split = split_at.map(|at| rows.iter().map(|(_, row)| row[at].clone()).collect());
    let columns = names.map(|names| kept.iter().map(|&at| names[at].clone()).collect());
    let (rows, cols) = (rows.len(), kept.len());
    Ok((Array { rows, cols, data, dtype: Dtype::F64, vector: false, columns }, split))
}

/// Writes a table with a header where the columns have names, each number in the fewest digits that
/// read back to the same bits.
///
/// # Errors
/// [`Error::Write`] where the disk refuses.
pub fn write(path: &Path, array: &Array) -> Result<()> {
    write_atomically(path, |out| {
        let mut csv = ::csv::Writer::from_writer(out);
        if let Some(names) = &array.columns {
            csv.write_record(names)?;
        }
        for row in array.data.chunks_exact(array.cols) {
            match array.dtype {
                Dtype::F32 => csv.write_record(row.iter().map(|&v| (v as f32).to_string()))?,
                _ => csv.write_record(row.iter().map(f64::to_string))?,
            }
        }
        csv.flush()
    })
}

/// The cells of each line that has any, with its number counted from 1.
fn records(path: &Path, text: &str) -> Result<Vec<(u64, Vec<String>)>> {
    let filled = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let Some(first) = text.lines().find(filled) else { return Ok(Vec::new()) };
    let delimiter = [',', ';', '\t'].into_iter().find(|&c| first.contains(c));
    let Some(delimiter) = delimiter else {
        // Runs of spaces divide too; the csv crate would see empty cells in them.
        let lines = text.lines().zip(1..).filter(|(line, _)| filled(line));
        return Ok(lines.map(|(line, at)| (at, line.split_whitespace().map(str::to_owned).collect())).collect());
    };
    let mut reader = ::csv::ReaderBuilder::new()
        .delimiter(delimiter as u8)
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(::csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut all = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| Error::read(path, e.to_string(), "mend that line"))?;
        let line = record.position().map_or(0, ::csv::Position::line);
        if record.iter().any(|cell| !cell.is_empty()) {
            all.push((line, record.iter().map(str::to_owned).collect()));
        }
    }
    Ok(all)
}

fn number(cell: &str) -> Option<f64> {
    cell.parse().ok()
}

fn shortened(cell: &str) -> String {
    if cell.chars().count() > 24 { format!("{}…", cell.chars().take(24).collect::<String>()) } else { cell.into() }
}
