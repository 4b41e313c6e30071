//! The header of a `.npy`: a magic, a version, a length, and a Python dict.
//!
//! It is parsed here: a header may claim 4 GB of text, a shape whose product overflows, or brackets nested deeper than
//! the stack, and a parser of all of Python's literals believes it.

use std::io::{Read, Write};
use std::path::Path;

use crate::io::{CUT_SHORT, Dtype, refused};
use crate::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";
pub(super) const HINT: &str =
    "save it with numpy.save, as numbers of shape [n] or [n, d], or as u8 images of shape [n, height, width]";

/// The header of an array.
#[derive(Debug)]
pub struct Header {
    /// Its own bytes.
    pub bytes: Vec<u8>,
    /// The type, as NumPy writes it: `<f4`; empty for records.
    pub descr: String,
    /// The fields of a record, where the array holds records: names and types, in their order.
    pub fields: Vec<(String, String)>,
    /// Whether the first axis runs fastest.
    pub fortran: bool,
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// Where the numbers begin.
    pub start: usize,
}

impl Header {
    /// The length of the file that it declares; `None` beyond any.
    pub fn declared(&self, path: &Path) -> Result<Option<u64>> {
        let size = match &self.fields[..] {
            [] => dtype_of(path, &self.descr)?.0.size(),
            fields => Record::of(path, fields)?.size,
        };
        let numbers = self.shape.iter().try_fold(size, |product, n| product.checked_mul(*n));
        Ok(numbers.and_then(|bytes| bytes.checked_add(self.start)).map(|bytes| bytes as u64))
    }
}

/// How a record lies in the file.
#[derive(Debug)]
pub struct Record {
    /// The names of its numbers.
    pub names: Vec<String>,
    /// The type of each, whether its bytes are swapped, and where it begins.
    pub numbers: Vec<(Dtype, bool, usize)>,
    /// Bytes of a record.
    pub size: usize,
}

impl Record {
    /// The record of fields, as the header has them; unnamed ones are room between others.
    ///
    /// # Errors
    /// [`Error::Read`] for a field that is not a number, and for none that is.
    pub fn of(path: &Path, fields: &[(String, String)]) -> Result<Self> {
        let mut record = Self { names: Vec::new(), numbers: Vec::new(), size: 0 };
        for (name, descr) in fields {
            let too_large = || Error::read(path, "its records are larger than the memory", HINT);
            if let (true, Some(room)) = (name.is_empty(), descr.trim_start_matches(['|', '<', '>']).strip_prefix('V')) {
                let room: usize = room.parse().map_err(|_| too_large())?;
                record.size = record.size.checked_add(room).ok_or_else(too_large)?;
                continue;
            }
            let (dtype, swapped) = dtype_of(path, descr).map_err(|error| {
                let problem = if let Error::Read { problem, .. } = error { problem } else { error.to_string() };
                let problem = format!("its field `{name}`: {problem}");
                Error::read(path, problem, "keep the fields that are numbers: numpy.save(file, x[['a', 'b']])")
            })?;
            record.names.push(name.clone());
            record.numbers.push((dtype, swapped, record.size));
            record.size = record.size.checked_add(dtype.size()).ok_or_else(too_large)?;
        }
        if record.names.is_empty() {
            return Err(Error::read(path, "its records have no fields", HINT));
        }
        Ok(record)
    }
}

/// The length of every header written here: the numbers start at a multiple of 64 bytes, and any shape fits.
const ROOM: usize = 128;

/// Writes the header of `[rows, …]` with these axes behind the first (none for a vector), C order, little-endian.
pub fn put_header(out: &mut impl Write, rows: u64, axes: &[usize], dtype: Dtype) -> std::io::Result<()> {
    // Wider integers stand for labels and codes, which no command writes: they go out as f64.
    let descr = match dtype {
        Dtype::F32 => "<f4",
        Dtype::Uint(1) => "|u1",
        _ => "<f8",
    };
    let shape = match axes {
        [] => format!("({rows},)"),
        axes => format!("({rows}, {})", axes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    };
    put_dict(out, descr, &shape)
}

/// Writes the header of a type and a shape as NumPy writes them.
fn put_dict(out: &mut impl Write, descr: &str, shape: &str) -> std::io::Result<()> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // Two numbers of twenty digits, the longest there are, make 97 bytes, and the sizes of an image fit too: with
    // spaces and a newline all are as long.
    let length = ROOM - MAGIC.len() - 4;
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&(length as u16).to_le_bytes())?;
    writeln!(out, "{text:<width$}", width = length - 1)
}

/// Writes words as an array of NumPy's text: four bytes a character, all words as long as the longest.
pub fn put_text(out: &mut impl Write, words: &[String]) -> std::io::Result<()> {
    let longest = words.iter().map(|word| word.chars().count()).max().unwrap_or(0).max(1);
    put_dict(out, &format!("<U{longest}"), &format!("({},)", words.len()))?;
    for word in words {
        let padded = word.chars().map(u32::from).chain(std::iter::repeat(0)).take(longest);
        padded.into_iter().try_for_each(|c| out.write_all(&c.to_le_bytes()))?;
    }
    Ok(())
}

/// Reads as much of a file of `length` bytes as its header takes.
pub fn read_header(path: &Path, file: &mut impl Read, length: u64) -> Result<Header> {
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

/// Splits a header off.
fn header(path: &Path, bytes: &[u8]) -> Result<Header> {
    let cut = || Error::read(path, "its header is cut short", CUT_SHORT);
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Err(Error::read(path, "it is not a .npy file (its first bytes are not NumPy's)", HINT));
    }
    let &[major, _] = bytes.get(6..8).ok_or_else(cut)? else { return Err(cut()) };
    if !(1..=3).contains(&major) {
        return Err(Error::read(path, format!("its format has version {major}, expected 1 to 3"), HINT));
    }
    let (from, start) = extent(bytes).ok_or_else(cut)?;
    let text = bytes.get(from..start).ok_or_else(cut)?;
    let text = std::str::from_utf8(text).ok();
    let Dict { descr, fields, fortran, shape } = text.and_then(dict).ok_or_else(|| {
        let nested = text.is_some_and(|t| t.contains("[("));
        let problem = if nested {
            "it holds records within records, or with several numbers in a field"
        } else {
            "its header is not a NumPy header"
        };
        Error::read(path, problem, HINT)
    })?;
    Ok(Header { bytes: bytes[..start].to_vec(), descr, fields, fortran, shape, start })
}

/// What a header's dict says.
struct Dict {
    descr: String,
    fields: Vec<(String, String)>,
    fortran: bool,
    shape: Vec<usize>,
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }`, in any order of the keys; of records the type is
/// `[('a', '<f4'), ('b', '<i8')]`.
fn dict(text: &str) -> Option<Dict> {
    let (mut descr, mut fortran, mut shape, mut fields) = (None, None, None, Vec::new());
    let mut rest = text.trim().strip_prefix('{')?.trim_start();
    while !rest.starts_with('}') {
        let (key, after) = quoted(rest)?;
        rest = after.trim_start().strip_prefix(':')?.trim_start();
        match key {
            "descr" if rest.starts_with('[') => {
                (fields, rest) = pairs(rest)?;
                descr = Some(String::new());
            }
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
    let (descr, fortran, shape) = (descr?, fortran?, shape?);
    (rest == "}").then_some(Dict { descr, fields, fortran, shape })
}

/// `[('a', '<f4'), ('b', '<i8')]`, and what follows it. A field with a title or a shape of its own is none of these.
fn pairs(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut rest = text.strip_prefix('[')?.trim_start();
    let mut all = Vec::new();
    while !rest.starts_with(']') {
        let (name, after) = quoted(rest.strip_prefix('(')?.trim_start())?;
        let (descr, after) = quoted(after.trim_start().strip_prefix(',')?.trim_start())?;
        all.push((name.to_owned(), descr.to_owned()));
        rest = after.trim_start().strip_prefix(')')?.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some((all, &rest[1..]))
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// The type that NumPy's name stands for, and whether its bytes are swapped.
pub(super) fn dtype_of(path: &Path, descr: &str) -> Result<(Dtype, bool)> {
    let refuse = |what: &str| {
        let problem = format!("it holds {what} (`{descr}`), not real numbers");
        Error::read(path, problem, "convert it by x.astype('float32') or x.astype('float64')")
    };
    let (order, name) = match descr.as_bytes().first() {
        Some(b'<' | b'|' | b'=') => (false, &descr[1..]),
        Some(b'>') => (true, &descr[1..]),
        _ => (false, descr),
    };
    let dtype = match name {
        "f2" => Dtype::F16,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        "i1" | "i2" | "i4" | "i8" => Dtype::Int(name.as_bytes()[1] - b'0'),
        "u1" | "u2" | "u4" | "u8" => Dtype::Uint(name.as_bytes()[1] - b'0'),
        "b1" => Dtype::Bool,
        "c8" | "c16" | "c32" => return Err(refuse("complex numbers")),
        _ if name.starts_with('O') => return Err(refuse("pickled Python objects")),
        _ if name.starts_with(['U', 'S', 'a']) => return Err(refuse("text")),
        _ if name.starts_with(['M', 'm']) => return Err(refuse("dates")),
        _ => return Err(refuse("numbers of an unknown type")),
    };
    Ok((dtype, order))
}
