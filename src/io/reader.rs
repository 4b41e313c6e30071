//! A table read block by block, in constant memory.
//!
//! `.npy` and text are streamed, in Fortran order too (a block is then gathered from as many places as there are
//! columns), and Parquet page by page. A member of an `.npz` is unpacked whole: a zip archive is checked by a sum over all of it. A file is
//! read once, from its beginning to its end; what is wrong in a late block is found late. What is packed by gzip is
//! unpacked on the way, whatever its name; only an array in Fortran order is then unpacked whole.

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use cnflow_kernels::ImageShape;

use super::array::is_refused;
use super::columns;
use super::pngs::Pngs;
use super::unpack::{self, Forward, Source, Text};
use super::{
    Array, BLOCK_ROWS, Dialect, Dtype, Format, Layout, Pick, READABLE, Words, csv, idx, layout, npy, npz, unknown,
};
use crate::{Error, Result};

/// A table whose rows come in blocks.
pub struct Reader {
    path: PathBuf,
    cols: usize,
    rows: Option<usize>,
    dtype: Dtype,
    vector: bool,
    /// The shape of a row, where rows are images.
    shape: Option<ImageShape>,
    columns: Option<Vec<String>>,
    /// The columns of the file.
    width: usize,
    /// The number in the file of each column that is given out; a text picks its own.
    numbers: Vec<usize>,
    notes: Vec<String>,
    /// The words of each column, where one has some.
    words: Vec<Vec<String>>,
    /// Whether missing cells are NaN; else they are errors.
    missing: bool,
    /// Rows given out.
    given: usize,
    body: Body,
}

enum Body {
    Npy(npy::Stream<File>),
    /// An array that comes out of gzip.
    Packed(Box<npy::Stream<Forward<Source>>>),
    Unpacked(npy::Stream<Cursor<Vec<u8>>>),
    Csv(Box<csv::Rows<Text>>),
    /// Of Parquet or Arrow.
    Columns(Box<columns::Rows>),
    /// A folder of images.
    Pngs(Pngs),
}

/// Numbers that are widened at a time where a table is read as bytes.
const BLOCK_NUMBERS: usize = 1 << 20;

impl Reader {
    /// Opens a file in the format of its name and reads its header.
    ///
    /// # Errors
    /// As [`Reader::open_as`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_as(path, &Dialect::default())
    }

    /// As [`Reader::open`], where a text is written in a certain dialect.
    ///
    /// # Errors
    /// As [`Reader::open_with`].
    pub fn open_as(path: &Path, dialect: &Dialect) -> Result<Self> {
        Self::open_with(path, dialect, Layout::Auto)
    }

    /// As [`Reader::open_as`], where the axes of images are to be read in a certain order.
    ///
    /// # Errors
    /// [`crate::Error::Unknown`] for an unknown ending, [`crate::Error::Read`] for a file that is missing, truncated,
    /// or of a wrong type or shape.
    pub fn open_with(path: &Path, dialect: &Dialect, layout: Layout) -> Result<Self> {
        Self::open_pick(path, (dialect, layout), &Pick::default(), None, &Words::default())
    }

    /// As [`Reader::open_with`], of the columns of `pick`; without the one called `apart`, if any. Those that may hold
    /// `words` say nothing about the header.
    ///
    /// # Errors
    /// As [`Reader::open_with`], and for columns that the file does not have.
    pub fn open_pick(
        path: &Path,
        (dialect, layout): (&Dialect, Layout),
        pick: &Pick,
        apart: Option<&str>,
        words: &Words,
    ) -> Result<Self> {
        let mut reader = Self::opened(path, (dialect, layout), pick, words)?;
        let names = reader.columns.as_deref();
        let is_apart = |at: usize| names.is_some_and(|names| apart.is_some_and(|apart| names[at] == *apart));
        let places = if matches!(reader.body, Body::Csv(_)) {
            (0..reader.cols).collect()
        } else {
            // The pixels of images are counted in their own order.
            let own: Vec<usize> = (0..reader.cols).collect();
            let unknown = |name: &str| Error::Unknown {
                kind: "column",
                name: name.into(),
                known: match names {
                    None => format!("their numbers, 0 to {}", reader.cols - 1),
                    Some(names) => names.join(", "),
                },
            };
            pick.places(names, if names.is_none() { &own } else { &reader.numbers }, &unknown)?
        };
        let places: Vec<usize> = places.into_iter().filter(|at| !is_apart(*at)).collect();
        reader.keep(&places)?;
        Ok(reader)
    }

    /// The whole file; of a text the columns of `pick`.
    fn opened(path: &Path, (dialect, layout): (&Dialect, Layout), pick: &Pick, words: &Words) -> Result<Self> {
        let body = match Format::of(path) {
            None if path.is_dir() => Body::Pngs(Pngs::open(path)?),
            None => return Err(unknown(path, READABLE)),
            Some(Format::Npy) => array(path)?,
            Some(Format::Idx) => images(path)?,
            Some(Format::Npz) => {
                let (place, bytes) = npz::member(path)?;
                let length = npy::Length::Exactly(bytes.len() as u64);
                Body::Unpacked(npy::Stream::open(&place, Cursor::new(bytes), length)?)
            }
            Some(Format::Csv) => {
                let (dialect, pick, words) = (dialect.clone(), pick.clone(), words.clone());
                let columns = csv::Columns { dialect, pick, words, ..csv::Columns::default() };
                let mut rows = csv::Rows::open(path, unpack::text(path)?, &columns)?;
                rows.ignore_words();
                Body::Csv(Box::new(rows))
            }
            Some(Format::Parquet | Format::Arrow) => Body::Columns(Box::new(columns::Rows::open(path)?)),
        };
        let (dtype, axes) = match &body {
            Body::Npy(stream) => (stream.dtype(), stream.axes().to_vec()),
            Body::Packed(stream) => (stream.dtype(), stream.axes().to_vec()),
            Body::Unpacked(stream) => (stream.dtype(), stream.axes().to_vec()),
            Body::Csv(rows) => (Dtype::F64, vec![rows.cols()]),
            Body::Columns(rows) => (rows.dtype(), vec![rows.cols()]),
            Body::Pngs(pngs) => {
                let ImageShape { height, width, channels } = pngs.shape();
                (Dtype::Uint(1), vec![height, width, channels])
            }
        };
        let rows = match &body {
            Body::Npy(stream) => Some(stream.rows()),
            Body::Packed(stream) => Some(stream.rows()),
            Body::Unpacked(stream) => Some(stream.rows()),
            Body::Csv(_) => None,
            Body::Columns(rows) => Some(rows.rows()),
            Body::Pngs(pngs) => Some(pngs.rows()),
        };
        let cols = axes.iter().product();
        let (mut notes, mut numbers, mut columns) = (Vec::new(), (0..cols).collect(), None);
        if let Body::Csv(rows) = &body {
            (notes, numbers, columns) = (rows.notes().to_vec(), rows.numbers().to_vec(), rows.columns());
        }
        columns = match &body {
            Body::Npy(stream) => stream.names(),
            Body::Packed(stream) => stream.names(),
            Body::Unpacked(stream) => stream.names(),
            _ => columns,
        };
        if let Body::Columns(rows) = &body {
            (notes, numbers, columns) = (rows.notes().to_vec(), rows.numbers().to_vec(), Some(rows.names()));
        }
        let mut shape = None;
        if axes.len() > 1 {
            let layout = if matches!(body, Body::Pngs(_)) { Layout::Hwc } else { layout };
            let plan = layout::plan(path, &axes, layout)?;
            (shape, numbers) = (Some(plan.shape), plan.places.unwrap_or(numbers));
            notes.extend(plan.note);
        }
        let (path, width, vector) = (path.to_owned(), cols, axes.is_empty());
        Ok(Self {
            path,
            cols,
            rows,
            dtype,
            vector,
            shape,
            columns,
            width,
            numbers,
            notes,
            words: Vec::new(),
            missing: false,
            given: 0,
            body,
        })
    }

    /// From here on the cells of a column that is given out are these words, with their numbers. An array has the numbers
    /// themselves.
    pub fn read_words(&mut self, place: usize, words: Vec<(String, f64)>) {
        match &mut self.body {
            Body::Csv(rows) => rows.read_words(place, words),
            Body::Columns(rows) => rows.read_words(place, words),
            _ => {}
        }
    }

    /// Looks which columns of a Parquet or Arrow file hold words, of those that may; their numbers are places among these.
    pub(crate) fn find_words(&mut self, may: &Words) -> Result<()> {
        if let Body::Columns(rows) = &mut self.body {
            self.words = rows.find_words(may)?;
        }
        Ok(())
    }

    /// The words of each column that is given out, where they were looked for and one has some.
    pub(crate) fn words(&self) -> Vec<Vec<String>> {
        self.words.clone()
    }

    /// The shape of a row, where rows are images: bytes, `[y][x][channel]`.
    pub fn shape(&self) -> Option<ImageShape> {
        self.shape
    }

    /// From here on missing cells are NaN: empty ones and NA of a text, NaN of an array, nulls of Parquet and
    /// Arrow. Infinities stay
    /// errors.
    pub fn allow_missing(&mut self) {
        self.missing = true;
        match &mut self.body {
            Body::Csv(rows) => rows.allow_missing(),
            Body::Columns(rows) => rows.allow_missing(),
            _ => {}
        }
    }

    /// Decisions about the header of a text, or the axes of images, that may be wrong: a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Gives out these columns from here on, in this order. Of a text, of Parquet and Arrow the others may hold anything; no
    /// number that is left out has to be finite.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for no columns, and for one that the file does not have.
    pub fn keep(&mut self, places: &[usize]) -> Result<()> {
        if let Some(at) = places.iter().find(|at| **at >= self.cols) {
            let problem = format!("`{}` has no column {at} (counted from 0)", self.path.display());
            return Err(Error::invalid(problem, format!("use columns from 0 to {}", self.cols - 1)));
        }
        if places.is_empty() {
            return Err(Error::invalid(format!("no column of `{}` is kept", self.path.display()), "keep at least one"));
        }
        if places.iter().copied().eq(0..self.cols) {
            return Ok(());
        }
        // A part of an image is not an image.
        self.shape = None;
        self.columns = self.columns.take().map(|names| places.iter().map(|at| names[*at].clone()).collect());
        self.cols = places.len();
        self.numbers = places.iter().map(|at| self.numbers[*at]).collect();
        match &mut self.body {
            Body::Csv(rows) => rows.keep(places),
            Body::Columns(rows) => rows.keep(places),
            _ => {}
        }
        Ok(())
    }

    /// Columns that are given out; 1 for a vector.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The number in the file of each column that is given out, from 0.
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
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

    /// The next rows, at most `most_rows` (at least one) of them; `None` behind the last. Every number is finite, or NaN
    /// where a cell may be missing.
    ///
    /// # Errors
    /// [`crate::Error::Read`] for a number that is not finite, with its place in the file, for text that is not a
    /// number, and where the disk fails.
    pub fn next_block(&mut self, most_rows: usize) -> Result<Option<Array>> {
        let first = self.given;
        let block = self.next_unchecked(most_rows)?;
        if let Some(block) = &block {
            block.check_finite_after(&self.path, &self.numbers, first, self.missing)?;
        }
        Ok(block)
    }

    /// As [`Reader::next_block`], the first `d` columns, `[n, d]`, and the others, `[n, cols − d]`, each in rows of
    /// their own: the columns are cut once.
    ///
    /// # Errors
    /// As [`Reader::next_block`].
    pub(crate) fn next_parts(&mut self, most_rows: usize, d: usize) -> Result<Option<(Vec<f64>, Vec<f64>)>> {
        let first = self.given;
        let (data, picked) = self.next_numbers(most_rows)?;
        let width = if picked { self.cols } else { self.width };
        let at = |k: usize| if picked { k } else { self.numbers[k] };
        let rows = data.len() / width;
        let (mut points, mut others) = (Vec::with_capacity(rows * d), Vec::with_capacity(rows * (self.cols - d)));
        for row in data.chunks_exact(width) {
            points.extend((0..d).map(|k| row[at(k)]));
            others.extend((d..self.cols).map(|k| row[at(k)]));
        }
        if rows == 0 {
            return Ok(None);
        }
        if points.iter().chain(&others).any(|v| is_refused(*v, self.missing)) {
            let data = data.chunks_exact(width).flat_map(|row| (0..self.cols).map(|k| row[at(k)])).collect();
            let block = Array::table(data, self.cols, self.dtype)?;
            block.check_finite_after(&self.path, &self.numbers, first, self.missing)?;
        }
        self.given += rows;
        Ok(Some((points, others)))
    }

    /// All rows of a file of which none was read yet. Every number is finite, or NaN where a cell may be missing.
    ///
    /// # Errors
    /// As [`Reader::next_block`].
    pub(crate) fn whole(mut self) -> Result<Array> {
        let (most, sure) = match &self.body {
            // Its length was compared with the rows of its header.
            Body::Npy(_) | Body::Unpacked(_) => (BLOCK_ROWS, self.rows.unwrap_or(0)),
            // What is packed may hold less.
            _ => (BLOCK_ROWS, 0),
        };
        let Some(mut all) = self.next_unchecked(most)? else {
            return Err(Error::read(&self.path, "it holds no rows", "write one row of numbers a line"));
        };
        all.data.reserve_exact((sure * all.cols).saturating_sub(all.data.len()));
        while let Some(block) = self.next_unchecked(most)? {
            all.data.extend(block.data);
        }
        all.rows = all.data.len() / all.cols;
        all.check_finite(&self.path, &self.numbers, self.missing)?;
        Ok(all)
    }

    /// All rows of images of which none was read yet, as bytes: `[n, cols]`.
    ///
    /// # Errors
    /// As [`Reader::next_block`].
    pub fn whole_bytes(mut self) -> Result<Vec<u8>> {
        let most = (BLOCK_NUMBERS / self.width).max(1);
        let mut bytes = Vec::new();
        while let Some(block) = self.next_unchecked(most)? {
            bytes.extend(block.data.iter().map(|v| *v as u8));
        }
        Ok(bytes)
    }

    /// As [`Reader::next_block`], but numbers may be NaN or infinite.
    fn next_unchecked(&mut self, most_rows: usize) -> Result<Option<Array>> {
        let (data, picked) = self.next_numbers(most_rows)?;
        let data: Vec<f64> = match picked {
            true => data,
            false => data.chunks_exact(self.width).flat_map(|row| self.numbers.iter().map(|at| row[*at])).collect(),
        };
        if data.is_empty() {
            return Ok(None);
        }
        let rows = data.len() / self.cols;
        self.given += rows;
        let (cols, dtype, vector, columns) = (self.cols, self.dtype, self.vector, self.columns.clone());
        Ok(Some(Array { rows, cols, data, dtype, vector, columns }))
    }

    /// The numbers of the next rows, and whether they are of the columns that are given out alone, in their order; else
    /// they are of all columns of the file.
    fn next_numbers(&mut self, most_rows: usize) -> Result<(Vec<f64>, bool)> {
        let most_rows = most_rows.max(1);
        let data = match &mut self.body {
            Body::Npy(stream) => stream.next(&self.path, most_rows)?,
            Body::Packed(stream) => stream.next(&self.path, most_rows)?,
            Body::Unpacked(stream) => stream.next(&self.path, most_rows)?,
            Body::Csv(rows) => {
                let mut data = Vec::new();
                let mut taken = 0;
                while taken < most_rows && rows.next(&mut data, None)?.is_some() {
                    taken += 1;
                }
                data
            }
            Body::Columns(rows) => rows.next(most_rows)?,
            Body::Pngs(pngs) => pngs.next(most_rows)?.into_iter().map(f64::from).collect(),
        };
        let picks = matches!(&self.body, Body::Csv(_) | Body::Columns(_));
        Ok((data, picks || self.numbers.iter().copied().eq(0..self.width)))
    }
}

/// Opens an array, packed or not.
fn array(path: &Path) -> Result<Body> {
    let unpack::Opened { source, length, .. } = unpack::open(path)?;
    match source {
        Source::Plain(file) => Ok(Body::Npy(npy::Stream::open(path, file, npy::Length::Exactly(length))?)),
        packed => {
            let stream = npy::Stream::open(path, Forward::new(packed), npy::Length::AtMost(length))?;
            if stream.is_forward() {
                return Ok(Body::Packed(Box::new(stream)));
            }
            let bytes = stream.whole(path)?;
            let length = npy::Length::Exactly(bytes.len() as u64);
            Ok(Body::Unpacked(npy::Stream::open(path, Cursor::new(bytes), length)?))
        }
    }
}

/// Opens an array in the format of MNIST, packed or not.
fn images(path: &Path) -> Result<Body> {
    let unpack::Opened { source, length, .. } = unpack::open(path)?;
    match source {
        Source::Plain(file) => Ok(Body::Npy(idx::open(path, file, npy::Length::Exactly(length))?)),
        packed => Ok(Body::Packed(Box::new(idx::open(path, Forward::new(packed), npy::Length::AtMost(length))?))),
    }
}
