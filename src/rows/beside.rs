//! A file of conditions, with a row for each row of a table.

use std::path::{Path, PathBuf};

use super::missing::Columns;
use crate::io::{self, Dialect};
use crate::{Error, Result, words};

/// A file of conditions, with a row for each row of a table.
pub(super) struct Beside {
    file: PathBuf,
    pub whole: io::Whole,
}

impl Beside {
    /// Reads it; where cells may be `missing`, they are NaN. Some columns may hold `words`.
    ///
    /// # Errors
    /// As [`io::read_words`], and for a file of images.
    pub fn read(file: &Path, dialect: &Dialect, missing: bool, words: &io::Words) -> Result<Self> {
        let whole = io::read_words(file, dialect, missing, words)?;
        if whole.shape.is_some() {
            let hint = "name the file or the member of the labels, such as mnist.npz:y";
            return Err(Error::read(file, "it holds images, not conditions", hint));
        }
        Ok(Self { file: file.to_owned(), whole })
    }

    /// Refuses another number of rows than the `n` of the table's file at `path`.
    pub fn check_rows(&self, path: &Path, n: usize) -> Result<()> {
        let found = self.whole.array.rows;
        if found == n {
            return Ok(());
        }
        let problem = format!("it holds {}, but `{}` has {n}", words::count(found as u64, "row"), path.display());
        Err(Error::read(&self.file, problem, "give one row of conditions for each row of the data"))
    }

    /// Its columns, each called by `name`.
    pub fn columns<'a>(&'a self, name: &'a dyn Fn(usize) -> Option<String>) -> Columns<'a> {
        let io::Array { data, cols, .. } = &self.whole.array;
        Columns { x: data, d: *cols, name }
    }

    /// A column of it in words.
    pub fn column(&self, j: usize) -> String {
        format!("{} of `{}`", words::column(self.whole.array.columns.as_deref(), j), self.file.display())
    }
}
