//! NumPy's `.npy`: a magic, a header that is a Python dict, the numbers.
//!
//! Ref: NumPy Enhancement Proposal 1, formats 1.0 to 3.0. The header is parsed here rather than by
//! the crate `npyz`, which believes its lengths before it has seen the data: a header may claim
//! 4 GB of text, a shape whose product overflows, or brackets nested deeper than the stack.

use std::io::{Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{Array, Dtype, refused};
use crate::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";
const HINT: &str = "save it with numpy.save, as numbers of shape [n] or [n, d]";
const CUT_SHORT: &str = "the file was cut short or damaged; write it again";

/// The header of an array.
#[derive(Debug)]
pub(super) struct Header {
    /// Its own bytes.
    pub bytes: Vec<u8>,
    /// The type, as NumPy writes it: `<f4`.
    pub descr: String,
    /// Whether the first axis runs fastest.
    pub fortran: bool,
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// Where the numbers begin.
    pub start: usize,
}

impl Header {
    /// The length of the file that it promises; `None` beyond any.
    pub fn promised(&self, path: &Path) -> Result<Option<u64>> {
        let size = dtype_of(path, &self.descr)?.0.size();
        let numbers = self.shape.iter().try_fold(size, |product, n| product.checked_mul(*n));
        Ok(numbers.and_then(|bytes| bytes.checked_add(self.start)).map(|bytes| bytes as u64))
    }
}

/// The rows that [`parse`] takes at a time.
const BLOCK: usize = 1 << 14;

/// Parses a `.npy` held in memory; `path` is only for the messages. Numbers may be NaN or infinite.
///
/// # Errors
/// [`Error::Read`] for a foreign or truncated file, or one that holds no table of real numbers.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Array> {
    let mut stream = Stream::open(path, Cursor::new(bytes), Length::Exactly(bytes.len() as u64))?;
    let Stream { rows, cols, dtype, vector, .. } = stream;
    let mut data = Vec::with_capacity(rows * cols);
    loop {
        let block = stream.next(path, BLOCK)?;
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
    vector: bool,
    /// Rows given out.
    at: usize,
    /// The bytes of a block.
    bytes: Vec<u8>,
}

impl<R: Read + Seek> Stream<R> {
    /// Reads the header of a file of some length, and holds the length against it.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn open(path: &Path, mut file: R, length: Length) -> Result<Self> {
        let (Length::Exactly(most) | Length::AtMost(most)) = length;
        let header = read_header(path, &mut file, most)?;
        let (dtype, big_endian) = dtype_of(path, &header.descr)?;
        let (rows, cols) = match header.shape[..] {
            [rows] => (rows, 1),
            [rows, cols] => (rows, cols),
            _ => {
                return Err(Error::read(
                    path,
                    format!("it has {} axes {}, a table has one or two", header.shape.len(), few(&header.shape)),
                    HINT,
                ));
            }
        };
        let start = header.start as u64;
        let packed = matches!(length, Length::AtMost(_));
        let follow = most - start;
        let needed = rows.checked_mul(cols).and_then(|n| n.checked_mul(dtype.size()));
        let bytes = needed.map(|n| n as u64);
        let fits = if packed { bytes.is_some_and(|bytes| bytes <= follow) } else { bytes == Some(follow) };
        if !fits {
            let promised = needed.map_or("more than fit in memory".into(), |n| n.to_string());
            let follow = if packed { format!("{follow} can follow") } else { format!("{follow} follow") };
            return Err(Error::read(
                path,
                format!("its header promises [{rows}, {cols}] numbers of {dtype}, {promised} bytes, but {follow}"),
                CUT_SHORT,
            ));
        }
        if rows == 0 || cols == 0 {
            return Err(Error::read(path, format!("it is a table of {rows} rows and {cols} columns"), HINT));
        }
        // With one row or one column both orders are the same.
        let fortran = header.fortran && cols > 1 && rows > 1;
        let vector = header.shape.len() == 1;
        let header = header.bytes;
        Ok(Self {
            file,
            packed,
            header,
            start,
            rows,
            cols,
            dtype,
            big_endian,
            fortran,
            vector,
            at: 0,
            bytes: Vec::new(),
        })
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
        let promised = (self.rows * self.cols * self.dtype.size()) as u64;
        // One byte more than is promised shows that there are too many.
        self.file.take(promised + 1).read_to_end(&mut self.header).map_err(|e| refused(path, &e))?;
        Ok(self.header)
    }

    /// Rows of the whole file.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns; 1 for a vector.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The type of the numbers.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Whether there is one axis only.
    pub fn vector(&self) -> bool {
        self.vector
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
                Error::read(path, format!("its header promises {rows} rows, but it ends after row {at}"), CUT_SHORT)
            }
            _ => refused(path, &e),
        })?;
        self.at += rows;
        if self.packed && self.at == self.rows && rows > 0 {
            let more = self.file.by_ref().take(1).read(&mut [0]).map_err(|e| refused(path, &e))?;
            if more > 0 {
                let problem = format!("its header promises {} rows, but more bytes follow them", self.rows);
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
            let column = self.numbers(j * self.rows + self.at, rows)?;
            data.iter_mut().skip(j).step_by(self.cols).zip(column).for_each(|(slot, value)| *slot = value);
        }
        Ok(data)
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

/// The length of every header written here: the numbers start at a multiple of 64 bytes, and any shape fits.
const ROOM: usize = 128;

/// Writes the header of `[rows, cols]` (or `[rows]` for a vector), C order, little-endian.
pub(super) fn put_header(
    out: &mut impl Write,
    rows: u64,
    cols: usize,
    dtype: Dtype,
    vector: bool,
) -> std::io::Result<()> {
    // An integer type stands for labels and codes, which no command writes: they go out as f64.
    let descr = if dtype == Dtype::F32 { "<f4" } else { "<f8" };
    let shape = if vector { format!("({rows},)") } else { format!("({rows}, {cols})") };
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // Two numbers of twenty digits, the longest there are, make 97 bytes: with spaces and a newline all are as long.
    let length = ROOM - MAGIC.len() - 4;
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&(length as u16).to_le_bytes())?;
    writeln!(out, "{text:<width$}", width = length - 1)
}

/// Writes numbers.
pub(super) fn put(out: &mut impl Write, values: &[f64], dtype: Dtype) -> std::io::Result<()> {
    match dtype {
        Dtype::F32 => values.iter().try_for_each(|&v| out.write_all(&(v as f32).to_le_bytes())),
        _ => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
    }
}

/// Reads as much of a file of `length` bytes as its header takes.
pub(super) fn read_header(path: &Path, file: &mut impl Read, length: u64) -> Result<Header> {
    let mut bytes = Vec::new();
    let mut more = |upto: u64, bytes: &mut Vec<u8>| {
        let missing = upto - bytes.len() as u64;
        file.by_ref().take(missing).read_to_end(bytes).map(drop).map_err(|e| refused(path, &e))
    };
    more(length.min(12), &mut bytes)?;
    if let Some((_, end)) = extent(&bytes).filter(|(_, end)| (bytes.len() as u64..=length).contains(&(*end as u64))) {
        more(end as u64, &mut bytes)?;
    }
    header(path, &bytes)
}

/// Where the text of a header begins, and where it ends; none where the file is too short or foreign to tell.
fn extent(bytes: &[u8]) -> Option<(usize, usize)> {
    let (from, length) = match bytes.get(6)? {
        1 => (10, usize::from(u16::from_le_bytes(*bytes.get(8..)?.first_chunk()?))),
        2 | 3 => (12, u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?) as usize),
        _ => return None,
    };
    Some((from, from.checked_add(length)?))
}

/// The first sizes of a shape.
fn few(shape: &[usize]) -> String {
    if shape.len() > 8 { format!("{:?} and more", &shape[..8]) } else { format!("{shape:?}") }
}

/// Splits a header off.
fn header(path: &Path, bytes: &[u8]) -> Result<Header> {
    let cut = || Error::read(path, "its header is cut short", "the file was cut short or damaged; write it again");
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Err(Error::read(path, "it is not a .npy file (its first bytes are not NumPy's)", HINT));
    }
    let &[major, _] = bytes.get(6..8).ok_or_else(cut)? else { return Err(cut()) };
    if !(1..=3).contains(&major) {
        return Err(Error::read(path, format!("its format version {major} is not known"), HINT));
    }
    let (from, start) = extent(bytes).ok_or_else(cut)?;
    let text = bytes.get(from..start).ok_or_else(cut)?;
    let text = std::str::from_utf8(text).ok();
    let (descr, fortran, shape) = text.and_then(dict).ok_or_else(|| {
        let structured = text.is_some_and(|t| t.contains("[("));
        let problem = if structured {
            "it holds records of several named fields, not a table of numbers"
        } else {
            "its header is not the one that NumPy writes"
        };
        Error::read(path, problem, HINT)
    })?;
    Ok(Header { bytes: bytes[..start].to_vec(), descr, fortran, shape, start })
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }`, in any order of the keys.
fn dict(text: &str) -> Option<(String, bool, Vec<usize>)> {
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    let mut rest = text.trim().strip_prefix('{')?.trim_start();
    while !rest.starts_with('}') {
        let (key, after) = quoted(rest)?;
        rest = after.trim_start().strip_prefix(':')?.trim_start();
        match key {
            "descr" => {
                let (value, after) = quoted(rest)?;
                descr = Some(value.to_owned());
                rest = after;
            }
            "fortran_order" => {
                let yes = rest.starts_with("True");
                rest = rest.strip_prefix(if yes { "True" } else { "False" })?;
                fortran = Some(yes);
            }
            "shape" => {
                let (inside, after) = rest.strip_prefix('(')?.split_once(')')?;
                let sizes = inside.split(',').map(|s| s.trim().trim_end_matches('L')).filter(|s| !s.is_empty());
                shape = Some(sizes.map(|s| s.parse().ok()).collect::<Option<Vec<usize>>>()?);
                rest = after;
            }
            _ => return None,
        }
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    (rest == "}").then_some((descr?, fortran?, shape?))
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// The type that NumPy's name stands for, and whether its bytes are swapped.
fn dtype_of(path: &Path, descr: &str) -> Result<(Dtype, bool)> {
    let refuse = |what: &str| {
        let problem = format!("it holds {what} (`{descr}`), not real numbers");
        Error::read(path, problem, "convert it first: x.astype('float32'), or 'float64'")
    };
    let (order, name) = match descr.as_bytes().first() {
        Some(b'<' | b'|' | b'=') => (false, &descr[1..]),
        Some(b'>') => (true, &descr[1..]),
        _ => (false, descr),
    };
    let dtype = match name {
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        "i1" | "i2" | "i4" | "i8" => Dtype::Int(name.as_bytes()[1] - b'0'),
        "u1" | "u2" | "u4" | "u8" => Dtype::Uint(name.as_bytes()[1] - b'0'),
        "f2" => return Err(refuse("half-precision floats")),
        "b1" => return Err(refuse("truth values")),
        "c8" | "c16" | "c32" => return Err(refuse("complex numbers")),
        _ if name.starts_with('O') => return Err(refuse("pickled Python objects")),
        _ if name.starts_with(['U', 'S', 'a']) => return Err(refuse("text")),
        _ if name.starts_with(['M', 'm']) => return Err(refuse("dates")),
        _ => return Err(refuse("numbers of an unknown type")),
    };
    Ok((dtype, order))
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
