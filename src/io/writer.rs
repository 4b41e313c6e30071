//! A table that grows block by block, in constant memory.
//!
//! The number of rows may be unknown at first: a `.npy` header has room for any, and is completed at the end. An `.npz`
//! is such a file until then, and is packed at the end: names of columns are a member of their own. Until
//! [`Writer::finish`] the numbers are in a temporary file in the same folder, which is deleted with the writer.

use std::io::{BufWriter, Seek as _, Write};
use std::path::{Path, PathBuf};

use cnflow_kernels::ImageShape;

use super::atomic::TemporaryFile;
use super::{BUFFER, Dtype, Format, WRITABLE, csv, npy, npz, unknown};
use crate::{Error, Result};

/// Writes a table `[rows, cols]`, or a vector `[rows]`, as `.npy`, `.npz` or `.csv` by the ending of its name.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    cols: usize,
    dtype: Dtype,
    /// The sizes behind the first axis: none for a vector.
    axes: Vec<usize>,
    /// The words that stand for numbers in a text, a list a column; none where no column has some.
    words: Vec<Vec<(String, f64)>>,
    /// Numbers so far.
    count: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Npy(BufWriter<TemporaryFile>),
    /// The member of the numbers, and the names of the columns.
    Npz(BufWriter<TemporaryFile>, Vec<String>),
    Csv(Box<::csv::Writer<Sink>>),
}

/// Where a text goes.
enum Sink {
    /// Into a file, which gets its name at the end.
    File(TemporaryFile),
    /// Away at once.
    Stream(Box<dyn Write + Send>),
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::File(_)) { "File" } else { "Stream" })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(out) => out.flush(),
        }
    }
}

impl Writer {
    /// Begins a table of `cols` columns whose numbers have the type `dtype` in the file: f32, and f64 for any other.
    ///
    /// # Errors
    /// [`Error::Unknown`] for another ending, [`Error::Invalid`] for no columns or a vector of several,
    /// [`Error::Write`] where the folder is missing, the name is a folder, or the disk refuses.
    pub fn create(path: &Path, cols: usize, dtype: Dtype, vector: bool) -> Result<Self> {
        if cols == 0 || (vector && cols != 1) {
            let (what, expected) = if vector { ("a vector", "1") } else { ("a table", "at least 1") };
            return Err(Error::invalid(
                format!("{what} has {}, expected {expected}", crate::words::count(cols as u64, "column")),
                "",
            ));
        }
        // An integer type stands for labels and codes.
        let dtype = if dtype == Dtype::F32 { Dtype::F32 } else { Dtype::F64 };
        Self::begin(path, if vector { Vec::new() } else { vec![cols] }, dtype)
    }

    /// Begins images of one shape, as u8: `[n, height, width]`, and `[n, height, width, channels]` where there are
    /// several channels. A text has a row of numbers for each.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn images(path: &Path, shape: ImageShape) -> Result<Self> {
        let mut axes = vec![shape.height, shape.width, shape.channels];
        axes.truncate(if shape.channels == 1 { 2 } else { 3 });
        Self::begin(path, axes, Dtype::Uint(1))
    }

    /// Begins a text of `cols` columns that leaves through `out` as it is made; `name` is for the messages.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no columns.
    pub fn stream(name: &Path, out: Box<dyn Write + Send>, cols: usize) -> Result<Self> {
        if cols == 0 {
            return Err(Error::invalid("a table has 0 columns, expected at least 1", ""));
        }
        let body = Body::Csv(Box::new(csv::writer(Sink::Stream(out))));
        let (axes, words) = (vec![cols], Vec::new());
        Ok(Self { path: name.to_owned(), cols, dtype: Dtype::F64, axes, words, count: 0, body })
    }

    /// Begins an array with these axes behind the first.
    fn begin(path: &Path, axes: Vec<usize>, dtype: Dtype) -> Result<Self> {
        let body = match Format::written(path) {
            Some(format @ (Format::Npy | Format::Npz)) => {
                let mut out = BufWriter::with_capacity(BUFFER, TemporaryFile::create(path)?);
                npy::put_header(&mut out, 0, &axes, dtype).map_err(|e| Error::write(path, e))?;
                if format == Format::Npy { Body::Npy(out) } else { Body::Npz(out, Vec::new()) }
            }
            Some(Format::Csv) => Body::Csv(Box::new(csv::writer(Sink::File(TemporaryFile::create(path)?)))),
            _ => return Err(unknown(path, WRITABLE)),
        };
        let words = Vec::new();
        Ok(Self { path: path.to_owned(), cols: axes.iter().product(), dtype, axes, words, count: 0, body })
    }

    /// Names the columns, before any number; `.npy` has no place for names and takes none, `.npz` has a member `columns`.
    ///
    /// # Errors
    /// [`Error::Dimension`] where their number differs, [`Error::Write`] where the disk refuses.
    pub fn named(mut self, names: &[String]) -> Result<Self> {
        if names.len() != self.cols {
            return Err(Error::Dimension { what: "the header".into(), expected: self.cols, found: names.len() });
        }
        if let Body::Npz(_, own) = &mut self.body {
            *own = names.to_vec();
        } else if let Body::Csv(out) = self.body {
            let mut file = out.into_inner().map_err(|e| Error::write(&self.path, e.error()))?;
            csv::put_names(&mut file, names).map_err(|e| Error::write(&self.path, e))?;
            self.body = Body::Csv(Box::new(csv::writer(file)));
        }
        Ok(self)
    }

    /// Writes words for some numbers of a text, a list of them a column, empty for a column of numbers; an array has the
    /// numbers.
    #[must_use]
    pub fn worded(self, words: Vec<Vec<(String, f64)>>) -> Self {
        Self { words: if words.iter().all(Vec::is_empty) { Vec::new() } else { words }, ..self }
    }

    /// The temporary file that holds the numbers so far, where they do not leave at once.
    pub fn aside(&self) -> Option<&Path> {
        match &self.body {
            Body::Npy(out) | Body::Npz(out, _) => Some(out.get_ref().place()),
            Body::Csv(out) => match out.get_ref() {
                Sink::File(file) => Some(file.place()),
                Sink::Stream(_) => None,
            },
        }
    }

    /// Appends numbers, row by row; a row may be continued by the next call.
    ///
    /// # Errors
    /// [`Error::Write`] where the disk refuses, as if it is full.
    pub fn push(&mut self, values: &[f64]) -> Result<()> {
        let written = match &mut self.body {
            Body::Npy(out) | Body::Npz(out, _) => npy::put(out, values, self.dtype),
            Body::Csv(out) => csv::put(out, values, self.dtype, (self.cols, self.count), &self.words),
        };
        written.map_err(|e| Error::write(&self.path, e))?;
        self.count += values.len() as u64;
        Ok(())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the last row is not whole, [`Error::Write`] where the disk refuses; nothing is left
    /// then, and an old file of that name stays as it was.
    pub fn finish(self) -> Result<()> {
        let Self { path, cols, dtype, axes, count, body, .. } = self;
        if !count.is_multiple_of(cols as u64) {
            return Err(Error::invalid(format!("{count} numbers do not divide into {cols} columns"), ""));
        }
        let complete = |mut out: BufWriter<TemporaryFile>| {
            out.rewind()?;
            npy::put_header(&mut out, count / cols as u64, &axes, dtype)?;
            out.into_inner().map_err(|e| e.into_error())
        };
        let temporary = match body {
            Body::Npy(out) => complete(out).map_err(|e| Error::write(&path, e))?,
            Body::Npz(out, names) => {
                let mut member = complete(out).map_err(|e| Error::write(&path, e))?;
                let packed = TemporaryFile::create(&path)?;
                let pack = || {
                    member.rewind()?;
                    npz::pack(packed, &mut member, &names)
                };
                pack().map_err(|e| Error::write(&path, e))?
            }
            Body::Csv(out) => match out.into_inner().map_err(|e| Error::write(&path, e.error()))? {
                Sink::File(file) => file,
                Sink::Stream(mut out) => return out.flush().map_err(|e| Error::write(&path, e)),
            },
        };
        temporary.keep()
    }
}
