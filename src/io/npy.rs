//! NumPy's `.npy`: a magic, a header that is a Python dict, the numbers.
//!
//! Arrays of three and four axes are images, of bytes. Ref: NumPy Enhancement Proposal 1, formats 1.0 to 3.0.

mod header;

use std::io::{Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{Array, BLOCK_ROWS, CUT_SHORT, Dtype, refused};
use header::{HINT, Record, dtype_of};
pub(super) use header::{put_header, put_text, read_header};

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
            return Ok(Array { rows, cols, data, dtype, vector, columns: stream.names() });
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
    /// How a row lies in the file, where rows are records.
    record: Option<Record>,
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
        if !header.fields.is_empty() {
            return Self::records(path, file, header, length);
        }
        let (dtype, big_endian) = dtype_of(path, &header.descr)?;
        let (bytes, fortran, shape) = (header.bytes, header.fortran, header.shape);
        Self::begin(path, file, About { bytes, dtype, big_endian, fortran, shape }, length)
    }

    /// Records behind their header: each is a row, and each of its fields a column.
    fn records(path: &Path, file: R, header: header::Header, length: Length) -> Result<Self> {
        let record = Record::of(path, &header.fields)?;
        let [rows] = header.shape[..] else {
            let problem = format!("it has {} axes {} of records", header.shape.len(), few(&header.shape));
            return Err(Error::read(path, problem, "save records of shape [n]"));
        };
        // As bytes they are a table whose length is checked like any other's.
        let (bytes, shape) = (header.bytes, vec![rows, record.size]);
        let about = About { bytes, dtype: Dtype::Uint(1), big_endian: false, fortran: false, shape };
        let stream = Self::begin(path, file, about, length)?;
        // What all have in common, or f64.
        let dtypes: Vec<Dtype> = record.numbers.iter().map(|(dtype, ..)| *dtype).collect();
        let dtype = if dtypes.iter().all(|dtype| *dtype == dtypes[0]) { dtypes[0] } else { Dtype::F64 };
        let dtype = if dtype == Dtype::Uint(1) { Dtype::F64 } else { dtype };
        Ok(Self { cols: record.names.len(), axes: vec![record.names.len()], dtype, record: Some(record), ..stream })
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
        let (at, bytes, record) = (0, Vec::new(), None);
        Ok(Self { file, packed, header, start, rows, cols, dtype, big_endian, fortran, axes, record, at, bytes })
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
        let row = self.record.as_ref().map_or(self.cols * self.dtype.size(), |record| record.size);
        let declared = (self.rows * row) as u64;
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

    /// The names of the columns, where rows are records.
    pub fn names(&self) -> Option<Vec<String>> {
        self.record.as_ref().map(|record| record.names.clone())
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
        if let Some(record) = &self.record {
            self.file.seek(SeekFrom::Start(self.start + (self.at * record.size) as u64))?;
            self.bytes.resize(rows * record.size, 0);
            self.file.read_exact(&mut self.bytes)?;
            let mut data = vec![0.0; rows * self.cols];
            for (row, bytes) in data.chunks_exact_mut(self.cols).zip(self.bytes.chunks_exact(record.size)) {
                for (slot, (dtype, swapped, from)) in row.iter_mut().zip(&record.numbers) {
                    *slot = one(&bytes[*from..*from + dtype.size()], *dtype, *swapped);
                }
            }
            return Ok(data);
        }
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
    body.chunks_exact(dtype.size()).map(|chunk| one(chunk, dtype, big_endian)).collect()
}

/// One number from its bytes, turned about where the file is big-endian.
#[inline]
fn one(chunk: &[u8], dtype: Dtype, big_endian: bool) -> f64 {
    /// The bytes of one number.
    macro_rules! word {
        ($t:ty) => {{
            let mut word = [0; size_of::<$t>()];
            word.copy_from_slice(chunk);
            if big_endian {
                word.reverse();
            }
            <$t>::from_le_bytes(word)
        }};
    }
    match dtype {
        Dtype::F16 => half(word!(u16)),
        Dtype::F32 => word!(f32) as f64,
        Dtype::F64 => word!(f64),
        Dtype::Int(1) => word!(i8) as f64,
        Dtype::Int(2) => word!(i16) as f64,
        Dtype::Int(4) => word!(i32) as f64,
        Dtype::Int(_) => word!(i64) as f64,
        Dtype::Uint(1) => word!(u8) as f64,
        Dtype::Uint(2) => word!(u16) as f64,
        Dtype::Uint(4) => word!(u32) as f64,
        Dtype::Uint(_) => word!(u64) as f64,
        Dtype::Bool => f64::from(u8::from(chunk != [0])),
    }
}

/// A 16-bit float: a sign, five bits of an exponent and ten of a fraction. Ref: IEEE 754, binary16.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from((bits >> 10) & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * (-24f64).exp2(),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * f64::from(exponent - 25).exp2(),
    };
    if bits >> 15 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn all_half_floats_are_the_numbers_that_they_stand_for() {
        // 1, the largest, the smallest, the least normal one, a third, a negative one.
        for (bits, value) in [
            (0x3c00, 1.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960464477539063e-8),
            (0x0400, 6.103515625e-5),
            (0x3555, 0.333251953125),
            (0xc000, -2.0),
        ] {
            assert_eq!(half(bits), value, "{bits:#x}");
        }
        assert!(half(0x7c00) == f64::INFINITY && half(0xfc00) == f64::NEG_INFINITY && half(0x7e00).is_nan());
        assert!(half(0x8000) == 0.0 && half(0x8000).is_sign_negative());
        // They rise with their bits, by steps that double where the exponent grows.
        for bits in 1..0x7c00u16 {
            let (step, above) = (half(bits) - half(bits - 1), half(bits + 1));
            assert!(step > 0.0 && (above == f64::INFINITY || above - half(bits) >= step), "{bits:#x}");
        }
    }
}
