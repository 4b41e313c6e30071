//! The context of a table's rows: some of its own columns, or a file of a row for each of its own.

use std::path::Path;

use super::Table;
use super::beside::Beside;
use crate::{Error, Result, io, names, words};

use io::Dialect;

/// The columns that the rows of a data set are conditioned on. Their values are in each set's [`Rows`](super::Rows).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// c.
    pub dim: usize,
    /// The names of the columns, where the file has them.
    pub columns: Vec<String>,
    /// The words of each column, in their order: its numbers are places among them. Empty for a column of numbers, and
    /// where no column has words.
    pub words: Vec<Vec<String>>,
}

/// The places of the columns `wanted` in a table: each a name, as [`name_of`] reads it, or a number from 0 as the file
/// has it. `numbers` are those of the table's columns, which may be fewer than the file's.
///
/// # Errors
/// [`Error::Unknown`] for a column that is not there; [`Error::Invalid`] for one that is named twice, or a name of two.
pub fn places(wanted: &[String], names: Option<&[String]>, numbers: &[usize]) -> Result<Vec<usize>> {
    let mut places = Vec::with_capacity(wanted.len());
    for text in wanted {
        let of = |name: &str| names.and_then(|names| names.iter().position(|known| known == name));
        let name = if of(text).is_some() { text } else { name_of(text) };
        let numbered = || name.parse().ok().and_then(|number: usize| numbers.iter().position(|j| *j == number));
        let Some(j) = of(name).or_else(numbered) else {
            let known = match names {
                Some(names) => names.join(", "),
                None if numbers.iter().copied().eq(0..numbers.len()) => {
                    format!("their numbers, 0 to {}", numbers.len().saturating_sub(1))
                }
                None => {
                    let left: Vec<String> = numbers.iter().map(usize::to_string).collect();
                    format!("the numbers in the file of those that are left: {}", names::list(&left))
                }
            };
            return Err(Error::Unknown { kind: "column", name: name.into(), known });
        };
        if places.contains(&j) {
            return Err(Error::invalid(format!("the column `{name}` is a condition twice"), "name it once"));
        }
        if names.is_some_and(|names| names.iter().filter(|known| *known == name).count() > 1) {
            let problem = format!("two columns are called `{name}`");
            return Err(Error::invalid(problem, "give each column its own name"));
        }
        places.push(j);
    }
    Ok(places)
}

/// Whether a list of conditions is the name of a file, not of columns.
pub fn is_file(wanted: &[String]) -> bool {
    wanted.len() == 1 && wanted.iter().all(|text| io::Format::of(Path::new(name_of(text))).is_some())
}

/// Kinds that may stand behind a column's name.
const KINDS: [&str; 3] = ["auto", "number", "class"];

/// Whether the cells of a column `NAME` or `NAME:KIND` may be words, and if so whether it is called a class.
pub(super) fn may_be_words(text: &str) -> Option<bool> {
    match text.rsplit_once(':') {
        Some((_, "number")) => None,
        Some((_, kind)) => Some(kind == "class"),
        None => Some(false),
    }
}

/// The name of a column in `NAME` or `NAME:KIND`.
pub fn name_of(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((name, kind)) if KINDS.contains(&kind) => name,
        _ => text,
    }
}

impl Context {
    /// The names of the columns, where a file gave them: `named`: the data's own columns have names.
    pub fn names(&self, named: bool) -> &[String] {
        if named || names::are_given(&self.columns) { &self.columns } else { &[] }
    }

    /// Reads the file of conditions that `wanted` names; none where it names columns. Where cells may be `missing`, they
    /// are NaN.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a second name; as [`io::read_as`], and for a file of images.
    pub(super) fn beside(wanted: &[String], dialect: &Dialect, missing: bool) -> Result<Option<Beside>> {
        let Some(first) = wanted.first() else { return Ok(None) };
        let file = Path::new(name_of(first));
        if io::Format::of(file).is_none() {
            return Ok(None);
        }
        if let Some(second) = wanted.get(1) {
            let problem = format!("`{second}` beside the file of conditions `{}`", file.display());
            return Err(Error::invalid(problem, "give one file, or columns of the table"));
        }
        let words = io::Words { columns: Vec::new(), all: may_be_words(first) };
        Beside::read(file, dialect, missing, &words).map(Some)
    }

    /// Takes the conditions `wanted` out of a table: the columns of those names (or numbers in its file, from 0), or
    /// the rows of the one file that is named, which was read as `beside`. Their values are `[n, c]`, in the order of
    /// the table's rows.
    ///
    /// # Errors
    /// [`Error::Unknown`] for a column that is not there; [`Error::Read`] for a file of other rows; [`Error::Invalid`]
    /// where no column is left.
    pub(super) fn take(
        wanted: &[String],
        path: &Path,
        table: &mut Table,
        beside: Option<Beside>,
    ) -> Result<Option<(Self, Vec<f64>)>> {
        let (context, values) = match beside {
            None if wanted.is_empty() => return Ok(None),
            None => Self::out_of(wanted, table)?,
            Some(beside) => {
                beside.check_rows(path, table.rows_of_file())?;
                let io::Whole { array, words, notes, .. } = beside.whole;
                table.notes.extend(notes);
                let (c, columns) = (array.cols, array.columns.clone().unwrap_or_default());
                let values = match &table.left {
                    None => array.data,
                    Some(left) => left.rows.iter().flat_map(|row| array.row(*row)).copied().collect(),
                };
                (Self { dim: c, columns, words }, values)
            }
        };
        Ok(Some((context, values)))
    }

    /// Columns cut out of the table, their values and names and words.
    fn out_of(wanted: &[String], table: &mut Table) -> Result<(Self, Vec<f64>)> {
        if table.shape.is_some() {
            let problem = format!("the condition `{}`: images have no columns to condition on", wanted[0]);
            return Err(Error::invalid(problem, "give a file with a label for each image, such as mnist.npz:y"));
        }
        let places = places(wanted, table.columns.as_deref(), &table.numbers)?;
        if places.len() >= table.d {
            return Err(Error::invalid(
                format!("no column is left to model: {} given as conditions", words::count(table.d as u64, "column")),
                "name fewer columns in `data.condition`",
            ));
        }
        let (values, names, words) = table.take_columns(&places);
        Ok((Self { dim: places.len(), columns: names, words }, values))
    }
}
