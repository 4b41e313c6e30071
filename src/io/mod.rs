//! Files in and out: tables of numbers, model files, PyTorch weights.
//!
//! Images are tables too, a row an image: arrays of three or four axes, IDX files and folders of PNG images. They are
//! kept as bytes ([`Numbers`]).
//!
//! A table is read block by block through a [`Reader`] and written so through a [`Writer`], or whole by [`read`] and
//! [`write()`]. A file is checked against its own header first, and gets one sentence where it does not fit; no memory
//! is allocated for sizes that only a header gives. Every writer fills a temporary file and renames it, so a file is
//! either whole or absent.

pub mod array;
#[cfg(feature = "arrow")]
mod arrow;
pub mod atomic;
mod cell;
mod column_source;
mod columns;
pub mod csv;
mod dialect;
mod header;
mod idx;
mod layout;
mod lines;
pub mod npy;
pub mod npz;
mod numbers;
#[cfg(feature = "parquet")]
mod parquet;
mod pick;
mod pngs;
pub mod reader;
pub mod safetensors;
pub mod torch;
mod unpack;
mod words;
pub mod writer;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use cnflow_kernels::ImageShape;

pub use array::{Array, Dtype};
pub use atomic::write_atomically;
pub use dialect::{Decimal, Dialect, Header, Separator};
pub use layout::Layout;
pub(crate) use layout::{Plan, plan};
pub use numbers::Numbers;
pub use pick::Pick;
pub use reader::Reader;
pub use words::{Coded, Words, words_of};
pub use writer::Writer;

use crate::{Error, Result};

/// Rows of a table that are read at a time.
const BLOCK_ROWS: usize = 1 << 14;
/// The way out where a file ends too early, or too late.
const CUT_SHORT: &str = "write the file again: it was cut short or damaged";

/// The endings of the tables that can be read.
pub const READABLE: &str =
    ".npy, .npz, .csv, .tsv, .txt, .parquet, .arrow, .feather, -idx3-ubyte, and .gz behind arrays and texts";
/// The endings of the tables that can be written.
pub const WRITABLE: &str = ".npy, .npz, .csv";
/// Bytes that go to the disk, or come from it, at a time.
const BUFFER: usize = 1 << 16;

/// The formats of a table, by the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One NumPy array.
    Npy,
    /// A zip archive of NumPy arrays.
    Npz,
    /// Numbers as text: `.csv`, `.tsv`, `.txt`.
    Csv,
    /// One array as MNIST has it: `-idx3-ubyte`, `-idx1-ubyte`, `.idx`.
    Idx,
    /// Columns with names in groups of rows: `.parquet`, `.pq`. It is read with the feature `parquet`.
    Parquet,
    /// Columns with names in batches of rows: `.arrow`, `.feather`, `.ipc`. It is read with the feature `arrow`.
    Arrow,
}

impl Format {
    /// The format that a name stands for; `None` where its ending is not known.
    ///
    /// A member of an archive may follow a colon: `file.npz:x`. The ending `.gz` may follow that of an array or a text.
    pub fn of(path: &Path) -> Option<Self> {
        let (file, _) = npz::split_member(path);
        let unpacked = without_gz(&file);
        let format = Self::of_ending(unpacked)?;
        let packs = !matches!(format, Self::Npz | Self::Parquet | Self::Arrow);
        (packs || unpacked == file).then_some(format)
    }

    /// Whether its columns may have names. Those that are not used may then hold anything.
    pub fn names_columns(self) -> bool {
        matches!(self, Self::Csv | Self::Parquet | Self::Arrow)
    }

    /// The format in which a file of this name is written; `None` for all but `.npy` and texts.
    pub fn written(path: &Path) -> Option<Self> {
        Self::of_ending(path).filter(|format| matches!(format, Self::Npy | Self::Npz | Self::Csv))
    }

    fn of_ending(path: &Path) -> Option<Self> {
        if path.file_name()?.to_str().is_some_and(idx::is_named) {
            return Some(Self::Idx);
        }
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "npy" => Some(Self::Npy),
            "npz" => Some(Self::Npz),
            "csv" | "tsv" | "txt" => Some(Self::Csv),
            "parquet" | "pq" => Some(Self::Parquet),
            "arrow" | "feather" | "ipc" => Some(Self::Arrow),
            _ => None,
        }
    }
}

/// A name without the ending `.gz`.
pub fn without_gz(path: &Path) -> &Path {
    let packed = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
    let Some(text) = path.to_str().filter(|_| packed) else { return path };
    Path::new(&text[..text.len() - ".gz".len()])
}

/// Reads a table `[rows, cols]` in the format of its name. Every number in it is finite.
///
/// # Errors
/// As [`read_as`].
pub fn read(path: &Path) -> Result<Array> {
    Ok(read_as(path, &Dialect::default())?.array)
}

/// A table, and how it was read.
#[derive(Clone, Debug)]
pub struct Whole {
    /// The numbers.
    pub array: Array,
    /// The shape of a row, where rows are images.
    pub shape: Option<ImageShape>,
    /// The words of each column, in their order: its numbers are places among them. Empty for a column of numbers, and
    /// where no column has words.
    pub words: Vec<Vec<String>>,
    /// The line of each row of a text, counted from 1.
    pub lines: Option<Vec<u64>>,
    /// Decisions about the header of a text that may be wrong: a sentence each.
    pub notes: Vec<String>,
}

impl Whole {
    /// Where a row stands, in words.
    pub fn place(&self, row: usize) -> String {
        place(self.lines.as_deref(), row)
    }
}

/// Where a row stands, in words: its line, where there are `lines`.
pub(crate) fn place(lines: Option<&[u64]>, row: usize) -> String {
    match lines.and_then(|lines| lines.get(row)) {
        Some(line) => format!("line {line}"),
        None => format!("row {row} (counted from 0)"),
    }
}

/// As [`read`], where a text is written in a certain dialect.
///
/// # Errors
/// [`Error::Unknown`] for an unknown ending, [`Error::Read`] for a file that is missing, truncated,
/// of a wrong type or shape, or that holds a number which is not finite.
pub fn read_as(path: &Path, dialect: &Dialect) -> Result<Whole> {
    read_with(path, dialect, false)
}

/// As [`read_as`]; where cells may be `missing`, they are NaN.
///
/// # Errors
/// As [`read_as`].
pub fn read_with(path: &Path, dialect: &Dialect, missing: bool) -> Result<Whole> {
    read_pick(path, dialect, Layout::Auto, missing, &Pick::default())
}

/// As [`read_with`], of some columns; the axes of images are read in a certain order.
///
/// # Errors
/// As [`read_as`], and for columns that the file does not have.
pub fn read_pick(path: &Path, dialect: &Dialect, layout: Layout, missing: bool, pick: &Pick) -> Result<Whole> {
    if Format::of(path) == Some(Format::Csv) {
        let columns = csv::Columns { dialect: dialect.clone(), missing, pick: pick.clone(), ..Default::default() };
        let csv::Parsed { array, lines, notes, .. } = read_text(path, &columns)?;
        return Ok(Whole { array, shape: None, words: Vec::new(), lines: Some(lines), notes });
    }
    let mut reader = Reader::open_pick(path, (dialect, layout), pick, None, &Words::default())?;
    if missing {
        reader.allow_missing();
    }
    let (shape, notes) = (reader.shape(), reader.notes().to_vec());
    Ok(Whole { array: reader.whole()?, shape, words: Vec::new(), lines: None, notes })
}

/// As [`read_with`], where some columns may hold words.
///
/// # Errors
/// As [`read_as`], and for words that are not classes.
pub fn read_words(path: &Path, dialect: &Dialect, missing: bool, words: &Words) -> Result<Whole> {
    if Format::of(path) == Some(Format::Csv) {
        let columns = csv::Columns { dialect: dialect.clone(), missing, words: words.clone(), ..Default::default() };
        let csv::Parsed { array, lines, notes, words, .. } = read_text(path, &columns)?;
        return Ok(Whole { array, shape: None, words, lines: Some(lines), notes });
    }
    let mut reader = Reader::open_as(path, dialect)?;
    if missing {
        reader.allow_missing();
    }
    reader.find_words(words)?;
    let (shape, notes, words) = (reader.shape(), reader.notes().to_vec(), reader.words());
    Ok(Whole { array: reader.whole()?, shape, words, lines: None, notes })
}

/// All cells of a column of a Parquet or Arrow file as text: numbers as they are written, and nothing where a cell is missing.
///
/// # Errors
/// [`Error::Read`] as for a table, and for a column that the file does not have once.
pub(crate) fn column_cells(path: &Path, column: &str) -> Result<Vec<String>> {
    columns::Rows::cells(path, column)
}

/// Reads a text table, packed or not.
///
/// # Errors
/// As [`csv::parse`], and where the file is missing or unreadable.
pub fn read_text(path: &Path, columns: &csv::Columns) -> Result<csv::Parsed> {
    csv::parse(path, unpack::text(path)?, columns)
}

/// Writes a table as `.npy` or `.csv`, by the ending of its name; integers go out as f64.
///
/// # Errors
/// [`Error::Unknown`] for another ending, [`Error::Write`] where the disk refuses.
pub fn write(path: &Path, array: &Array) -> Result<()> {
    let mut writer = Writer::create(path, array.cols, array.dtype, array.vector)?;
    if let Some(names) = &array.columns {
        writer = writer.named(names)?;
    }
    writer.push(&array.data)?;
    writer.finish()
}

/// The whole of a regular file.
///
/// # Errors
/// [`Error::Read`] where it is missing, a folder, a device, empty, or unreadable.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let (mut file, length) = open_regular(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.read_to_end(&mut bytes).map_err(|e| refused(path, &e))?;
    Ok(bytes)
}

/// A regular file that holds something, and its length.
fn open_regular(path: &Path) -> Result<(File, u64)> {
    let failed = |e: std::io::Error| refused(path, &e);
    // Before it is opened: to open a pipe would wait for its writer.
    let about = std::fs::metadata(path).map_err(failed)?;
    if about.is_dir() {
        return Err(Error::read(path, "it is a folder", "name a file inside it"));
    }
    if !about.is_file() {
        return Err(Error::read(path, "it is not a regular file", "save it to a file first"));
    }
    if about.len() == 0 {
        return Err(Error::read(path, "it is empty", "write the file again"));
    }
    Ok((File::open(path).map_err(failed)?, about.len()))
}

/// The error of the system about a file that cannot be read.
fn refused(path: &Path, e: &std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::NotFound => Error::read(path, "the file does not exist", "check the name and the folder"),
        std::io::ErrorKind::PermissionDenied => {
            Error::read(path, "permission is denied", "check the owner and the mode of the file")
        }
        std::io::ErrorKind::UnexpectedEof => Error::read(
            path,
            "it became shorter while it was read",
            "wait until the program that writes it has finished",
        ),
        std::io::ErrorKind::InvalidData => Error::read(path, e.to_string(), CUT_SHORT),
        _ => Error::read(path, e.to_string(), ""),
    }
}

fn unknown(path: &Path, known: &str) -> Error {
    Error::Unknown { kind: "file type", name: path.display().to_string(), known: known.into() }
}
