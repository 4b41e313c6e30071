//! A table read block by block, in constant memory.
//!
//! `.npy` and text are streamed, in Fortran order too (a block is then gathered from as many places as there are
//! columns). A member of an `.npz` is unpacked whole: a zip archive is checked by a sum over all of it. A file is
//! read once, from its beginning to its end; what is wrong in a late block is found late.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::{Array, Dtype, Format, READABLE, csv, npy, npz, open_regular, unknown};
use crate::{Error, Result};

/// What comes from the disk at a time.
const BUFFER: usize = 1 << 16;

/// A table whose rows come in blocks.
pub struct Reader {
    path: PathBuf,
    cols: usize,
    rows: Option<usize>,
    dtype: Dtype,
    vector: bool,
    columns: Option<Vec<String>>,
    /// The columns of the file, and the places of those that are given out where they are not all of them in their order; a
    /// text picks its own.
    width: usize,
    kept: Option<Vec<usize>>,
    /// Rows given out.
    given: usize,
    body: Body,
}

enum Body {
    Npy(npy::Stream<File>),
    Csv(Box<csv::Rows<BufReader<File>>>),
    Whole(Array),
}

impl Reader {
    /// Opens a file in the format of its name and reads as much of it as says what it holds.
    ///
    /// # Errors
    /// [`crate::Error::Unknown`] for an unknown ending, [`crate::Error::Read`] for a file that is missing, truncated,
    /// or of a wrong type or shape.
    pub fn open(path: &Path) -> Result<Self> {
        let body = match Format::of(path).ok_or_else(|| unknown(path, READABLE))? {
            Format::Npy => {
                let (file, length) = open_regular(path)?;
                Body::Npy(npy::Stream::open(path, file, length)?)
            }
            Format::Npz => Body::Whole(npz::read(path)?),
            Format::Csv => {
                let file = BufReader::with_capacity(BUFFER, open_regular(path)?.0);
                Body::Csv(Box::new(csv::Rows::open(path, file, &csv::Columns::default())?))
            }
        };
        let (cols, rows, dtype, vector, columns) = match &body {
            Body::Npy(stream) => (stream.cols(), Some(stream.rows()), stream.dtype(), stream.vector(), None),
            Body::Csv(rows) => (rows.cols(), None, Dtype::F64, false, rows.columns()),
            Body::Whole(array) => (array.cols, Some(array.rows), array.dtype, array.vector, array.columns.clone()),
        };
        Ok(Self { path: path.to_owned(), cols, rows, dtype, vector, columns, width: cols, kept: None, given: 0, body })
    }

    /// Gives out these columns from here on, in this order. Of a text the others may hold anything; no number that is
    /// left out has to be finite.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for no columns, and for one that the file does not have.
    pub fn keep(&mut self, places: &[usize]) -> Result<()> {
        if let Some(at) = places.iter().find(|at| **at >= self.cols) {
            let problem = format!("column {at} (counted from 0) of `{}`", self.path.display());
            return Err(Error::invalid(problem, format!("it has {} columns", self.cols)));
        }
        if places.is_empty() {
            return Err(Error::invalid(format!("no column of `{}`", self.path.display()), "keep at least one"));
        }
        if places.iter().copied().eq(0..self.cols) {
            return Ok(());
        }
        self.columns = self.columns.take().map(|names| places.iter().map(|at| names[*at].clone()).collect());
        self.cols = places.len();
        match (&mut self.body, &mut self.kept) {
            (Body::Csv(rows), _) => rows.keep(places),
            (_, Some(kept)) => *kept = places.iter().map(|at| kept[*at]).collect(),
            (_, kept) => *kept = Some(places.to_vec()),
        }
        Ok(())
    }

    /// Columns that are given out; 1 for a vector.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows of the whole file, where its header tells; a text does not.
    pub fn rows(&self) -> Option<usize> {
        self.rows
    }

    /// The type of the numbers in the file.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The names of the columns, where the file has them.
    pub fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// Whether the file has one axis only, `[rows]`.
    pub fn vector(&self) -> bool {
        self.vector
    }

    /// The next rows, at most `most_rows` (at least one) of them; `None` behind the last. Every number is finite.
    ///
    /// # Errors
    /// [`crate::Error::Read`] for a number that is not finite, with its place in the file, for text that is no number,
    /// and where the disk fails.
    pub fn next_block(&mut self, most_rows: usize) -> Result<Option<Array>> {
        let first = self.given;
        let block = self.next_unchecked(most_rows)?;
        if let Some(block) = &block {
            block.check_finite_after(&self.path, first)?;
        }
        Ok(block)
    }

    /// As [`Reader::next_block`], but numbers may be NaN or infinite.
    pub(super) fn next_unchecked(&mut self, most_rows: usize) -> Result<Option<Array>> {
        let most_rows = most_rows.max(1);
        let data = match &mut self.body {
            Body::Npy(stream) => stream.next(&self.path, most_rows)?,
            Body::Csv(rows) => {
                let mut data = Vec::new();
                let mut taken = 0;
                while taken < most_rows && rows.next(&mut data, None)? {
                    taken += 1;
                }
                data
            }
            Body::Whole(array) => {
                let taken = most_rows.min(array.rows - self.given);
                array.data[self.given * array.cols..][..taken * array.cols].to_vec()
            }
        };
        let data = match &self.kept {
            Some(kept) => data.chunks_exact(self.width).flat_map(|row| kept.iter().map(|at| row[*at])).collect(),
            None => data,
        };
        if data.is_empty() {
            return Ok(None);
        }
        let rows = data.len() / self.cols;
        self.given += rows;
        let (cols, dtype, vector, columns) = (self.cols, self.dtype, self.vector, self.columns.clone());
        Ok(Some(Array { rows, cols, data, dtype, vector, columns }))
    }
}
