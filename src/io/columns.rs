//! Files of columns with names, in groups of rows: Parquet and Arrow.
//!
//! A [`Source`] opens one group after the other and gives the cells of the columns that are kept. The others are not
//! read, and may hold anything. What a table makes of the cells is the same for all: names, missing cells, words.

use std::path::{Path, PathBuf};

use super::array::NOT_FINITE;
use super::cell::Cell;
use super::column_source::{Cells, Column, Holds, Opened, Source, damaged};
use super::header::shortened;
use super::words::{number as number_of, unknown};
use super::{CUT_SHORT, Dtype, Format, Words, words_of};
use crate::{Error, Result, words};

/// The way out for columns that hold no numbers.
const NO_NUMBERS: &str = "drop the column, or convert it to numbers";
/// The rows of a file, of which only a part is in memory.
pub(super) struct Rows {
    path: PathBuf,
    source: Box<dyn Source>,
    /// Rows of the file.
    rows: usize,
    /// All columns.
    columns: Vec<Column>,
    /// Those that make the table.
    kept: Vec<usize>,
    /// Whether missing cells are NaN; else they are errors.
    missing: bool,
    /// Columns whose cells are these words.
    known: Vec<(usize, Vec<(String, f64)>)>,
    notes: Vec<String>,
    /// The rows left of the group that is open.
    left: usize,
    /// Rows given out.
    given: usize,
}

/// The file by its format.
fn opened(path: &Path) -> Result<Opened> {
    match Format::of(path) {
        #[cfg(feature = "arrow")]
        Some(Format::Arrow) => super::arrow::open(path),
        #[cfg(not(feature = "arrow"))]
        Some(Format::Arrow) => Err(without(path, "Arrow", "arrow")),
        #[cfg(feature = "parquet")]
        _ => super::parquet::open(path),
        #[cfg(not(feature = "parquet"))]
        _ => Err(without(path, "Parquet", "parquet")),
    }
}

/// The error of a program that was built without a feature.
#[cfg(not(all(feature = "arrow", feature = "parquet")))]
fn without(path: &Path, format: &str, feature: &str) -> Error {
    let hint = format!(
        "build it with the feature `{feature}` (`cargo install --path . --features {feature}`), or save .npy or .csv"
    );
    Error::read(path, format!("this build does not read {format} files"), hint)
}

impl Rows {
    /// Reads what the file says of itself.
    ///
    /// # Errors
    /// [`Error::Read`] for a file of another format, cut short or damaged, or that has no rows or no columns.
    pub fn open(path: &Path) -> Result<Self> {
        let Opened { source, columns, rows } = opened(path)?;
        let (mut kept, mut notes) = (Vec::new(), Vec::new());
        for (at, Column { name, .. }) in columns.iter().enumerate() {
            if is_index(name) && columns.len() > 1 {
                let path = path.display();
                notes.push(format!("`{path}`: the column `{name}` holds the labels of the rows: it is left out"));
            } else {
                kept.push(at);
            }
        }
        if kept.is_empty() {
            return Err(Error::read(path, "it has no columns", "write a table with a column of numbers"));
        }
        if rows == 0 {
            let found = words::count(columns.len() as u64, "column");
            return Err(Error::read(path, format!("it has {found}, but no rows"), "write at least one row"));
        }
        let (missing, known, left, given) = (false, Vec::new(), 0, 0);
        Ok(Self { path: path.to_owned(), source, rows, columns, kept, missing, known, notes, left, given })
    }

    /// Rows of the whole file.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns of the table.
    pub fn cols(&self) -> usize {
        self.kept.len()
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.kept.iter().map(|at| self.columns[*at].name.clone()).collect()
    }

    /// The number of each of them in the file, from 0.
    pub fn numbers(&self) -> &[usize] {
        &self.kept
    }

    /// The narrowest type that holds them all.
    pub fn dtype(&self) -> Dtype {
        let narrow = |at: &usize| self.columns[*at].holds == Holds::Narrow;
        if self.kept.iter().all(narrow) { Dtype::F32 } else { Dtype::F64 }
    }

    /// Decisions that may be wrong: a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Keeps these columns of the table, in this order; the others are not read from here on.
    pub fn keep(&mut self, places: &[usize]) {
        self.kept = places.iter().map(|at| self.kept[*at]).collect();
    }

    /// From here on the cells of a column of the table are these words, with their numbers.
    pub fn read_words(&mut self, place: usize, words: Vec<(String, f64)>) {
        self.known.push((self.kept[place], words));
    }

    /// The words of each column of the table, of those that may hold some; empty where none does. From here on they are
    /// read as the places among these.
    ///
    /// # Errors
    /// As [`Rows::cells`], and for words that are not classes.
    pub fn find_words(&mut self, may: &Words) -> Result<Vec<Vec<String>>> {
        let mut found = Vec::new();
        for place in 0..self.kept.len() {
            let at = self.kept[place];
            let Column { name, holds } = &self.columns[at];
            let (Some(class), Holds::Text) = (may.of(Some(name), at), holds) else { continue };
            let cells: Vec<Option<String>> = Self::cells(&self.path, name)?.into_iter().map(Some).collect();
            let coded = words_of(&cells, class)
                .map_err(|(problem, hint)| Error::read(&self.path, format!("the column `{name}`: {problem}"), hint))?;
            if let Some((words, _)) = coded {
                found.resize(self.kept.len(), Vec::new());
                let numbered = words.iter().enumerate().map(|(k, word)| (word.clone(), k as f64)).collect();
                self.read_words(place, numbered);
                found[place] = words;
            }
        }
        Ok(found)
    }

    /// From here on missing cells are NaN.
    pub fn allow_missing(&mut self) {
        self.missing = true;
    }

    /// The next rows of the table, at most `most`, row-major; none behind the last.
    ///
    /// # Errors
    /// [`Error::Read`] for a column without numbers, a cell that is missing (unless it may be) or not finite, and for
    /// what is damaged or cut short.
    pub fn next(&mut self, most: usize) -> Result<Vec<f64>> {
        let cols = self.kept.len();
        let n = most.min(self.rows - self.given);
        let mut data = vec![0.0; n * cols];
        let mut done = 0;
        while done < n {
            if self.left == 0 {
                self.left = self.open_group()?;
            }
            let part = self.left.min(n - done);
            for (j, at) in self.kept.iter().enumerate() {
                let Column { name, holds } = &self.columns[*at];
                let words = self.known.iter().find(|(known, _)| known == at).map(|(_, words)| words);
                let found = match (words, holds) {
                    (Some(words), Holds::Text) => coded(self.source.texts(j, part)?, words),
                    _ => self.source.cells(j, part)?,
                };
                if found.len() != part {
                    return Err(ends_early(&self.path, name, self.given + done + found.len(), self.rows));
                }
                let slots = data[done * cols..].iter_mut().skip(j).step_by(cols);
                for (row, (slot, cell)) in slots.zip(found).enumerate() {
                    let place = || format!("row {} (counted from 0), column `{name}`", self.given + done + row);
                    *slot = match cell {
                        Ok(value) if value.is_finite() || (value.is_nan() && self.missing) => value,
                        Ok(value) if value.is_nan() => {
                            let problem = format!("a value is missing in {}", place());
                            return Err(Error::read(&self.path, problem, NOT_FINITE));
                        }
                        Ok(value) => {
                            let problem = format!("{value} in {}, is not finite", place());
                            return Err(Error::read(&self.path, problem, NOT_FINITE));
                        }
                        Err(text) if words.is_some_and(|words| !words.is_empty()) => {
                            let (problem, hint) = unknown(words.map_or(&[][..], |words| words), &text, &place());
                            return Err(Error::read(&self.path, problem, hint));
                        }
                        Err(text) => {
                            let problem = format!("`{}` in {}, is not a number", shortened(&text), place());
                            return Err(Error::read(&self.path, problem, NO_NUMBERS));
                        }
                    };
                }
            }
            self.left -= part;
            done += part;
        }
        self.given += n;
        Ok(data)
    }

    /// Opens the next group that has rows.
    fn open_group(&mut self) -> Result<usize> {
        for at in &self.kept {
            if let Column { name, holds: Holds::Other(what) } = &self.columns[*at] {
                let problem = format!("the column `{name}` has {what}, expected numbers");
                return Err(Error::read(&self.path, problem, NO_NUMBERS));
            }
        }
        let rows = self.source.open_group(&self.kept)?;
        rows.ok_or_else(|| damaged(&self.path, "it has fewer rows than its metadata say"))
    }

    /// All cells of a column as text: numbers as they are written, and nothing where a cell is missing.
    ///
    /// # Errors
    /// As [`Rows::next`]; for a column that the file does not have once.
    pub fn cells(path: &Path, column: &str) -> Result<Vec<String>> {
        let mut rows = Self::open(path)?;
        let mut places = (0..rows.columns.len()).filter(|at| rows.columns[*at].name == column);
        let at = match (places.next(), places.next()) {
            (Some(at), None) => at,
            (Some(_), Some(_)) => {
                let problem = format!("it has several columns called `{column}`");
                return Err(Error::read(path, problem, "give each column its own name"));
            }
            (None, _) => {
                let problem = format!("it has no column `{column}`");
                let names: Vec<String> = rows.columns.iter().map(|column| column.name.clone()).collect();
                return Err(Error::read(path, problem, format!("use one of its columns: {}", names.join(", "))));
            }
        };
        rows.kept = vec![at];
        let mut cells = Vec::new();
        while cells.len() < rows.rows {
            let before = cells.len();
            let n = rows.open_group()?;
            while cells.len() < before + n {
                let most = (before + n - cells.len()).min(super::BLOCK_ROWS);
                let found = match rows.columns[at].holds {
                    Holds::Text => rows.source.texts(0, most)?,
                    _ => rows.source.cells(0, most)?.into_iter().map(shown).collect(),
                };
                if found.is_empty() {
                    return Err(ends_early(path, column, cells.len(), rows.rows));
                }
                cells.extend(found);
            }
        }
        Ok(cells)
    }
}

/// A cell as text: nothing where it is missing.
fn shown(cell: std::result::Result<f64, String>) -> String {
    match cell {
        Ok(value) if value.is_nan() => String::new(),
        Ok(value) => value.to_string(),
        Err(text) => text,
    }
}

/// The numbers of words; another word is given as it stands.
fn coded(texts: Vec<String>, words: &[(String, f64)]) -> Cells {
    let one = |text: String| match Cell::of(text.trim()) {
        Cell::Missing => Ok(f64::NAN),
        _ => number_of(words, text.trim()).ok_or(text),
    };
    texts.into_iter().map(one).collect()
}

/// Whether a column is an index of pandas that had no name.
fn is_index(name: &str) -> bool {
    let number = name.strip_prefix("__index_level_").and_then(|rest| rest.strip_suffix("__"));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn ends_early(path: &Path, column: &str, row: usize, rows: usize) -> Error {
    let rows = words::count(rows as u64, "row");
    Error::read(path, format!("it declares {rows}, but its column `{column}` ends after row {row}"), CUT_SHORT)
}
