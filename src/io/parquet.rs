//! Parquet: rows in groups, and in each group a chunk of pages for each column.
//!
//! The crate `parquet` reads the metadata and decodes the values of pages, without arrow; pages are unpacked in
//! `pages.rs`. Of a group one page a column is in memory, so that memory does not grow with the file. Columns that are
//! not kept are not read, and may hold anything.
//!
//! A cell is the f64 nearest to its value: of a decimal number too, so that a table has the bits that it has as text.
//! Cells of text are read by the rule of text tables (`cell.rs`).

mod pages;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::column::reader::{ColumnReader, get_column_reader};
use ::parquet::errors::Result as Decoded;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use self::pages::{Chunks, Pages};
use self::values::{Kind, coded, texts};
use super::array::NOT_FINITE;
use super::header::shortened;
use super::words::unknown;
use super::{CUT_SHORT, Dtype, Words, open_regular, refused, words_of};
use crate::{Error, Result, words};

/// The first bytes of a file, and its last.
const MAGIC: &[u8] = b"PAR1";
/// The last bytes of a file whose metadata are encrypted.
const ENCRYPTED: &[u8] = b"PARE";
/// The least bytes: the magic, the length of the metadata, the magic.
const LEAST: u64 = 12;
/// The way out for columns that hold no numbers.
const NO_NUMBERS: &str = "drop the column, or convert it to numbers";

/// A column of the file.
struct Column {
    name: String,
    /// What it holds; else why it has no numbers.
    kind: std::result::Result<Kind, &'static str>,
    /// Its number among the leaves of the schema.
    leaf: usize,
}

/// The rows of a file, of which only some pages are in memory.
pub(super) struct Rows {
    path: PathBuf,
    chunks: Arc<Chunks>,
    metadata: ParquetMetaData,
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
    /// The group to open next, the rows left of the one that is open, and the readers of its kept columns.
    group: usize,
    left: usize,
    readers: Vec<ColumnReader>,
    /// Rows given out.
    given: usize,
}

impl Rows {
    /// Reads the metadata.
    ///
    /// # Errors
    /// [`Error::Read`] for a file that is not Parquet, cut short or damaged, or that has no rows or no columns.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, length) = open_regular(path)?;
        let chunks = Chunks::new(file, length);
        let ends = chunks.ends().map_err(|e| refused(path, &e))?;
        match ends {
            Some((first, last)) if first == MAGIC && last == MAGIC && length >= LEAST => {}
            Some((first, last)) if first == ENCRYPTED || last == ENCRYPTED => {
                return Err(Error::read(path, "it is encrypted", "write it again without encryption"));
            }
            Some((first, _)) if first == MAGIC => {
                return Err(Error::read(path, "it begins as a Parquet file, but does not end as one", CUT_SHORT));
            }
            _ => {
                let problem = "it is not a Parquet file: it does not begin with `PAR1`";
                return Err(Error::read(path, problem, "give it the ending of what it is, such as .csv or .npy"));
            }
        }
        let metadata = guarded(path, || ParquetMetaDataReader::new().parse_and_finish(&chunks))?;
        let schema = metadata.file_metadata().schema_descr();
        let fields = schema.root_schema().get_fields();
        let mut columns: Vec<Column> = fields
            .iter()
            .map(|field| Column { name: field.name().to_owned(), kind: Err("no values"), leaf: usize::MAX })
            .collect();
        for (leaf, descriptor) in schema.columns().iter().enumerate() {
            let root = schema.get_column_root_idx(leaf);
            let Some(column) = columns.get_mut(root) else { continue };
            let flat = fields[root].is_primitive() && descriptor.max_rep_level() == 0;
            column.kind = if flat { Kind::of(descriptor) } else { Err("lists or structures") };
            column.leaf = leaf;
        }
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
        let groups = metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
        let rows = groups.sum::<Option<u64>>().and_then(|rows| usize::try_from(rows).ok());
        let rows = rows.ok_or_else(|| damaged(path, "a number of rows is below 0"))?;
        if rows == 0 {
            let found = words::count(columns.len() as u64, "column");
            return Err(Error::read(path, format!("it has {found}, but no rows"), "write at least one row"));
        }
        let (path, chunks) = (path.to_owned(), Arc::new(chunks));
        let (group, left, readers, given, missing, known) = (0, 0, Vec::new(), 0, false, Vec::new());
        Ok(Self { path, chunks, metadata, rows, columns, kept, missing, known, notes, group, left, readers, given })
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
        let narrow = |at: &usize| matches!(self.columns[*at].kind, Ok(Kind::F32));
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
            let Column { name, kind, .. } = &self.columns[at];
            let (Some(class), Ok(Kind::Text)) = (may.of(Some(name), at), kind) else { continue };
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
                self.open_group()?;
            }
            let part = self.left.min(n - done);
            for (j, reader) in self.readers.iter_mut().enumerate() {
                let Column { name, kind, .. } = &self.columns[self.kept[j]];
                let Ok(kind) = kind else { continue };
                let words = self.known.iter().find(|(known, _)| *known == self.kept[j]).map(|(_, words)| words);
                let found = match (words, kind) {
                    (Some(words), Kind::Text) => guarded(&self.path, || coded(reader, part, words))?,
                    _ => guarded(&self.path, || kind.read(reader, part))?,
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
    fn open_group(&mut self) -> Result<()> {
        loop {
            let Some(group) = self.metadata.row_groups().get(self.group) else {
                return Err(damaged(&self.path, "it has fewer rows than its metadata say"));
            };
            self.group += 1;
            self.left = usize::try_from(group.num_rows()).unwrap_or(0);
            if self.left > 0 {
                break;
            }
        }
        let kept = self.kept.clone();
        self.readers = kept.into_iter().map(|at| self.reader(self.group - 1, at)).collect::<Result<_>>()?;
        Ok(())
    }

    /// The reader of a column's values in a group.
    fn reader(&self, group: usize, at: usize) -> Result<ColumnReader> {
        let Column { name, kind, leaf } = &self.columns[at];
        if let Err(what) = kind {
            let problem = format!("the column `{name}` has {what}, expected numbers");
            return Err(Error::read(&self.path, problem, NO_NUMBERS));
        }
        let schema = self.metadata.file_metadata().schema_descr();
        let Some(chunk) = self.metadata.row_groups()[group].columns().get(*leaf) else {
            return Err(damaged(&self.path, &format!("a group of rows lacks the column `{name}`")));
        };
        let pages = Pages::open(&self.path, &self.chunks, chunk, schema.column(*leaf).max_def_level() > 0)?;
        Ok(get_column_reader(schema.column(*leaf), Box::new(pages)))
    }

    /// All cells of a column as text: numbers as they are written, and nothing where a cell is missing.
    ///
    /// # Errors
    /// As [`Rows::next`]; for a column that the file does not have once.
    pub fn cells(path: &Path, column: &str) -> Result<Vec<String>> {
        let rows = Self::open(path)?;
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
        let mut cells = Vec::new();
        for (group, about) in rows.metadata.row_groups().iter().enumerate() {
            let n = usize::try_from(about.num_rows()).unwrap_or(0);
            let mut reader = rows.reader(group, at)?;
            let before = cells.len();
            while cells.len() < before + n {
                let most = (before + n - cells.len()).min(super::BLOCK_ROWS);
                let found = match &rows.columns[at].kind {
                    Ok(Kind::Text) => guarded(path, || texts(&mut reader, most))?,
                    Ok(kind) => {
                        let shown = |cell: std::result::Result<f64, String>| match cell {
                            Ok(value) if value.is_nan() => String::new(),
                            Ok(value) => value.to_string(),
                            Err(text) => text,
                        };
                        guarded(path, || kind.read(&mut reader, most))?.into_iter().map(shown).collect()
                    }
                    Err(_) => Vec::new(),
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

/// Whether a column is an index of pandas that had no name.
fn is_index(name: &str) -> bool {
    let number = name.strip_prefix("__index_level_").and_then(|rest| rest.strip_suffix("__"));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// What the crate decodes. It may panic on damaged bytes: that is an error too.
fn guarded<T>(path: &Path, decode: impl FnOnce() -> Decoded<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(decoded) => decoded.map_err(|e| damaged(path, &e.to_string())),
        Err(_) => Err(damaged(path, "its bytes do not fit its metadata")),
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::read(path, format!("it is damaged: {what}"), CUT_SHORT)
}

fn ends_early(path: &Path, column: &str, row: usize, rows: usize) -> Error {
    let rows = words::count(rows as u64, "row");
    Error::read(path, format!("it declares {rows}, but its column `{column}` ends after row {row}"), CUT_SHORT)
}
