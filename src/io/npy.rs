//! NumPy's `.npy`: a magic, a header that is a Python dict, the numbers.
//!
//! Ref: NumPy Enhancement Proposal 1, formats 1.0 to 3.0. The header is parsed here rather than by
//! the crate `npyz`, which believes its lengths before it has seen the data: a header may claim
//! 4 GB of text, a shape whose product overflows, or brackets nested deeper than the stack.

use std::io::Write;
use std::path::Path;

use super::{Array, Dtype, write_atomically};
use crate::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";
const HINT: &str = "save it with numpy.save, as numbers of shape [n] or [n, d]";

/// The header of an array.
#[derive(Debug)]
pub(super) struct Header {
    /// The type, as NumPy writes it: `<f4`.
    pub descr: String,
    /// Whether the first axis runs fastest.
    pub fortran: bool,
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// Where the numbers begin.
    pub start: usize,
}

/// Parses a `.npy` held in memory; `path` is only for the messages. Numbers may be NaN or infinite.
///
/// # Errors
/// [`Error::Read`] for a foreign or truncated file, or one that holds no table of real numbers.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Array> {
    let header = header(path, bytes)?;
    let (dtype, big_endian) = dtype_of(path, &header.descr)?;
    let (rows, cols) = match header.shape[..] {
        [rows] => (rows, 1),
        [rows, cols] => (rows, cols),
        _ => {
            return Err(Error::read(
                path,
                format!("it has {} axes {:?}, a table has one or two", header.shape.len(), header.shape),
                HINT,
            ));
        }
    };
    let body = &bytes[header.start..];
    let needed = rows.checked_mul(cols).and_then(|n| n.checked_mul(dtype.size()));
    if needed != Some(body.len()) {
        let promised = needed.map_or("more than fit in memory".into(), |n| n.to_string());
        return Err(Error::read(
            path,
            format!(
                "its header promises [{rows}, {cols}] numbers of {dtype}, {promised} bytes, but {} follow",
                body.len()
            ),
            "the file was cut short or damaged; write it again",
        ));
    }
    if rows == 0 || cols == 0 {
        return Err(Error::read(path, format!("it is a table of {rows} rows and {cols} columns"), HINT));
    }
    let stored = decode(body, dtype, big_endian);
    let data = if header.fortran && cols > 1 && rows > 1 {
        (0..rows * cols).map(|i| stored[(i % cols) * rows + i / cols]).collect()
    } else {
        stored
    };
    Ok(Array { rows, cols, data, dtype, vector: header.shape.len() == 1, columns: None })
}

/// Writes `[rows, cols]` (or `[rows]` for a vector) in the array's own type, C order, little-endian.
///
/// # Errors
/// [`Error::Write`] where the disk refuses.
pub fn write(path: &Path, array: &Array) -> Result<()> {
    write_atomically(path, |out| encode(out, array))
}

fn encode(out: &mut dyn Write, array: &Array) -> std::io::Result<()> {
    // An integer type stands for labels and codes, which no command writes: they go out as f64.
    let descr = if array.dtype == Dtype::F32 { "<f4" } else { "<f8" };
    let shape = if array.vector { format!("({},)", array.rows) } else { format!("({}, {})", array.rows, array.cols) };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // The numbers start at a multiple of 64 bytes; the header ends in a newline.
    let spaces = 63 - (MAGIC.len() + 4 + text.len()) % 64;
    text.extend(std::iter::repeat_n(' ', spaces));
    text.push('\n');
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&(text.len() as u16).to_le_bytes())?;
    out.write_all(text.as_bytes())?;
    for &value in &array.data {
        match array.dtype {
            Dtype::F32 => out.write_all(&(value as f32).to_le_bytes())?,
            _ => out.write_all(&value.to_le_bytes())?,
        }
    }
    Ok(())
}

/// Splits a header off.
pub(super) fn header(path: &Path, bytes: &[u8]) -> Result<Header> {
    let cut = || Error::read(path, "its header is cut short", "the file was cut short or damaged; write it again");
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Err(Error::read(path, "it is not a .npy file (its first bytes are not NumPy's)", HINT));
    }
    let &[major, _] = bytes.get(6..8).ok_or_else(cut)? else { return Err(cut()) };
    let (from, length) = match major {
        1 => (10, bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))),
        2 | 3 => (12, bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)),
        _ => return Err(Error::read(path, format!("its format version {major} is not known"), HINT)),
    };
    let start = length.and_then(|n| n.checked_add(from)).ok_or_else(cut)?;
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
    Ok(Header { descr, fortran, shape, start })
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
