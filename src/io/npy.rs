//! NumPy's `.npy`: a magic, a header that is a Python dict, the numbers.
//!
//! Arrays of three and four axes are images, of bytes. Ref: NumPy Enhancement Proposal 1, formats 1.0 to 3.0.

mod header;

use std::io::{Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{Array, BLOCK_ROWS, CUT_SHORT, Dtype, refused};
use header::{HINT, dtype_of};
pub(super) use header::{put_header, read_header};

use crate::{Error, Result};

/// Parses a `.npy` held in memory; `path` is only for the messages. Numbers may be NaN or infinite.
///
/// # Errors
/// [`Error::Read`] for a foreign or truncated file, or one that does not hold a table of real numbers.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Array> {
    let mut stream = Stream::open(path, Cursor::new(bytes), Length::Exactly(bytes.len() as u64))?;
    let (rows, cols, dtype, vector) = (stream.rows, stream.cols, stream.dtype, stream.vector());
    let mut data = Vec::with_capacity(rows * cols);
    loop {
        let block = stream.next(path, BLOCK_ROWS)?;
        if block.is_empty() {
            return Ok(Array { rows, cols, data, dtype, vector, columns: None });
        }
        data.extend(block);
    }
}

/// How long a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// So many bytes.
    Exactly(u64),
    /// No more than these: it is packed.
    AtMost(u64),
}

/// The rows of a file, of which only a block is in memory.
#[derive(Debug)]
pub(super) struct Stream<R> {
    file: R,
    /// Whether the length is not known before the end is reached.
    packed: bool,
    /// The bytes of the header.
    header: Vec<u8>,
    /// Where the numbers begin.
    start: u64,
    rows: usize,
    cols: usize,
    dtype: Dtype,
    big_endian: bool,
    fortran: bool,
    /// The size of each axis but the first.
    axes: Vec<usize>,
    /// Rows given out.
    at: usize,
    /// The bytes of a block.
    bytes: Vec<u8>,
}

/// What the header of an array says, whatever its format is.
#[derive(Debug)]
pub(super) struct About {
    /// Its own bytes; the numbers follow.
    pub bytes: Vec<u8>,
    pub dtype: Dtype,
    pub big_endian: bool,
    /// Whether the first axis runs fastest.
    pub fortran: bool,
    /// The size of each axis.
    pub shape: Vec<usize>,
}

/// The way out for images that are not bytes.
const IMAGES: &str = "save images as whole grey levels: (255 * x).round().astype('uint8') where x is from 0 to 1";

impl<R: Read + Seek> Stream<R> {
    /// Reads the header of a file of some length, and holds the length against it.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn open(path: &Path, mut file: R, length: Length) -> Result<Self> {
        let (Length::Exactly(most) | Length::AtMost(most)) = length;
        let header = read_header(path, &mut file, most)?;
        let (dtype, big_endian) = dtype_of(path, &header.descr)?;
        let (bytes, fortran, shape) = (header.bytes, header.fortran, header.shape);
        Self::begin(path, file, About { bytes, dtype, big_endian, fortran, shape }, length)
    }

    /// The rows of a file behind its header, whose length is held against it.
    ///
    /// # Errors
    /// [`Error::Read`] for sizes that are not those of a table or of images, or do not fit the file.
    pub fn begin(path: &Path, file: R, about: About, length: Length) -> Result<Self> {
        let About { bytes: header, dtype, big_endian, fortran, shape } = about;
        let (Length::Exactly(most) | Length::AtMost(most)) = length;
        let (rows, axes) = match &shape[..] {
            [rows, axes @ ..] if axes.len() < 2 => (*rows, axes.to_vec()),
            [rows, axes @ ..] if axes.len() < 4 && dtype == Dtype::Uint(1) => (*rows, axes.to_vec()),
            [_, axes @ ..] if (2..4).contains(&axes.len()) => {
                let problem = format!("it has {} axes {} of {dtype}: images hold u8", shape.len(), few(&shape));
                return Err(Error::read(path, problem, IMAGES));
            }
            _ => {
                let problem = format!("it has {} axes {}, expected 1 to 4", shape.len(), few(&shape));
                return Err(Error::read(path, problem, HINT));
            }
        };
        let cols = axes.iter().try_fold(1usize, |product, n| product.checked_mul(*n));
        let start = header.len() as u64;
        let packed = matches!(length, Length::AtMost(_));
        let follow = most.saturating_sub(start);
        let needed = cols.and_then(|cols| rows.checked_mul(cols)).and_then(|n| n.checked_mul(dtype.size()));
        let bytes = needed.map(|n| n as u64);
        let fits = if packed { bytes.is_some_and(|bytes| bytes <= follow) } else { bytes == Some(follow) };
        let (Some(cols), true) = (cols, fits) else {
            let declared = needed.map_or("more than fit in memory".into(), |n| n.to_string());
            let follow = if packed { format!("at most {follow}") } else { follow.to_string() };
            let shape = if axes.is_empty() { format!("[{rows}, 1]") } else { few(&shape) };
            return Err(Error::read(
                path,
                format!("its header declares {shape} numbers of {dtype}: expected {declared} bytes, found {follow}"),
                CUT_SHORT,
            ));
        };
        if rows == 0 || cols == 0 {
            let problem = match axes.len() {
                0 | 1 => format!("it has {rows} rows and {cols} columns, expected at least one of each"),
                _ => format!("it has the sizes {}, expected none of 0", few(&shape)),
            };
            return Err(Error::read(path, problem, HINT));
        }
        // With one axis that is longer than 1 both orders are the same.
        let fortran = fortran && shape.iter().filter(|n| **n > 1).count() > 1;
        let (at, bytes) = (0, Vec::new());
        Ok(Self { file, packed, header, start, rows, cols, dtype, big_endian, fortran, axes, at, bytes })
    }

    /// Whether the numbers are read from the beginning of the file to its end.
    pub fn is_forward(&self) -> bool {
        !self.fortran
    }

    /// The whole file, of which only the header was read.
    ///
    /// # Errors
    /// [`Error::Read`] where the disk fails.
    pub fn whole(mut self, path: &Path) -> Result<Vec<u8>> {
        let declared = (self.rows * self.cols * self.dtype.size()) as u64;
        // One byte more than declared shows that there are too many.
        self.file.take(declared + 1).read_to_end(&mut self.header).map_err(|e| refused(path, &e))?;
        Ok(self.header)
    }

    /// Rows of the whole file.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The type of the numbers.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Whether there is one axis only.
    pub fn vector(&self) -> bool {
        self.axes.is_empty()
    }

    /// The size of each axis but the first.
    pub fn axes(&self) -> &[usize] {
        &self.axes
    }

    /// The next rows, at most `most_rows`, row-major; none behind the last.
    ///
    /// # Errors
    /// [`Error::Read`] where the disk fails, or the file has become shorter.
    pub fn next(&mut self, path: &Path, most_rows: usize) -> Result<Vec<f64>> {
        let rows = most_rows.min(self.rows - self.at);
        let block = self.block(rows).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof if self.packed => {
                let (rows, at) = (self.rows, self.at);
                Error::read(
                    path,
                    format!(
                        "its header declares {}, but it ends after row {at}",
                        crate::words::count(rows as u64, "row")
                    ),
                    CUT_SHORT,
                )
            }
            _ => refused(path, &e),
        })?;
        self.at += rows;
        if self.packed && self.at == self.rows && rows > 0 {
            let more = self.file.by_ref().take(1).read(&mut [0]).map_err(|e| refused(path, &e))?;
            if more > 0 {
                let problem = format!(
                    "its header declares {}, but more bytes follow",
                    crate::words::count(self.rows as u64, "row")
                );
                return Err(Error::read(path, problem, CUT_SHORT));
            }
        }
        Ok(block)
    }

    fn block(&mut self, rows: usize) -> std::io::Result<Vec<f64>> {
        if !self.fortran {
            return self.numbers(self.at * self.cols, rows * self.cols);
        }
        let mut data = vec![0.0; rows * self.cols];
        for j in 0..self.cols {
            let column = self.numbers(self.in_fortran(j) * self.rows + self.at, rows)?;
            data.iter_mut().skip(j).step_by(self.cols).zip(column).for_each(|(slot, value)| *slot = value);
        }
        Ok(data)
    }

    /// Where column `j`, counted with the last axis fastest, is where the first is.
    fn in_fortran(&self, mut j: usize) -> usize {
        let mut place = 0;
        let mut before: usize = self.axes.iter().product();
        for n in self.axes.iter().rev() {
            before /= n;
            place += before * (j % n);
            j /= n;
        }
        place
    }

    /// So many numbers from the `first` on, as they lie in the file.
    fn numbers(&mut self, first: usize, count: usize) -> std::io::Result<Vec<f64>> {
        let size = self.dtype.size();
        self.file.seek(SeekFrom::Start(self.start + (first * size) as u64))?;
        self.bytes.resize(count * size, 0);
        self.file.read_exact(&mut self.bytes)?;
        Ok(decode(&self.bytes, self.dtype, self.big_endian))
    }
}

/// Writes numbers.
pub(super) fn put(out: &mut impl Write, values: &[f64], dtype: Dtype) -> std::io::Result<()> {
    match dtype {
        Dtype::F32 => values.iter().try_for_each(|&v| out.write_all(&(v as f32).to_le_bytes())),
        Dtype::Uint(1) => values.iter().try_for_each(|&v| out.write_all(&[v.round() as u8])),
        _ => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
    }
}

/// The first sizes of a shape.
fn few(shape: &[usize]) -> String {
    if shape.len() > 8 { format!("{:?} and more", &shape[..8]) } else { format!("{shape:?}") }
}

/// The numbers of a body whose length is a multiple of the type's size.
fn decode(body: &[u8], dtype: Dtype, big_endian: bool) -> Vec<f64> {
    /// One arm: the bytes of one number, turned about where the file is big-endian.
    macro_rules! each {
        ($t:ty) => {
            body.chunks_exact(size_of::<$t>())
                .map(|chunk| {
                    let mut word = [0; size_of::<$t>()];
                    word.copy_from_slice(chunk);
                    if big_endian {
                        word.reverse();
                    }
                    <$t>::from_le_bytes(word) as f64
                })
                .collect()
        };
    }
    match dtype {
        Dtype::F32 => each!(f32),
        Dtype::F64 => each!(f64),
        Dtype::Int(1) => each!(i8),
        Dtype::Int(2) => each!(i16),
        Dtype::Int(4) => each!(i32),
        Dtype::Int(_) => each!(i64),
        Dtype::Uint(1) => each!(u8),
        Dtype::Uint(2) => each!(u16),
        Dtype::Uint(4) => each!(u32),
        Dtype::Uint(_) => each!(u64),
    }
}
