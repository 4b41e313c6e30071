//! What a file of columns in groups of rows gives: the side of one format.
//!
//! A cell is the f64 nearest to its value: of a decimal number too, so that a table has the bits that it has as text.
//! Cells of text are read by the rule of text tables (`cell.rs`).

// Without a format nothing of it is used but its types.
#![cfg_attr(not(any(feature = "arrow", feature = "parquet")), allow(dead_code))]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::CUT_SHORT;
use super::cell::Cell;
use crate::{Error, Result};

/// Up to here whole numbers are exact in f64, and so are powers of ten up to `EXACT_POWER`: one division of both is
/// rounded once.
const EXACT: u128 = 1 << 53;
const EXACT_POWER: i32 = 22;
/// The largest power of ten in a decimal number of 16 bytes.
pub(super) const MOST_SCALE: i32 = 38;

/// A number, NaN where the cell is missing; else what stands there instead.
pub(super) type Cells = Vec<std::result::Result<f64, String>>;

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Numbers that f32 holds exactly.
    Narrow,
    /// Other numbers.
    Numbers,
    /// Text, which may be numbers.
    Text,
    /// What is neither, in the plural.
    Other(&'static str),
}

/// A column of a file.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub holds: Holds,
}

/// The groups of rows of one format.
pub(super) trait Source: Send {
    /// Opens the next group that has rows, of these columns of the file, and gives the number of its rows; none behind
    /// the last.
    ///
    /// # Errors
    /// [`Error::Read`] for what is damaged or cut short.
    fn open_group(&mut self, columns: &[usize]) -> Result<Option<usize>>;

    /// The next cells of an open column, counted among those that were asked for: at most `n`, fewer where it ends.
    ///
    /// # Errors
    /// As [`Source::open_group`].
    fn cells(&mut self, column: usize, n: usize) -> Result<Cells>;

    /// As [`Source::cells`], of a column of text as it stands; a missing cell is empty.
    ///
    /// # Errors
    /// As [`Source::open_group`].
    fn texts(&mut self, column: usize, n: usize) -> Result<Vec<String>>;
}

/// What a file says of itself.
pub(super) struct Opened {
    pub source: Box<dyn Source>,
    /// All columns.
    pub columns: Vec<Column>,
    /// Rows of the file.
    pub rows: usize,
}

/// The number of a cell of text, by the rule of text tables.
pub(super) fn number(text: String) -> std::result::Result<f64, String> {
    match Cell::of(text.trim()) {
        Cell::Number(value) => Ok(value),
        Cell::Missing => Ok(f64::NAN),
        Cell::OtherMark | Cell::Text => Err(text),
    }
}

/// A whole number over 10^`scale`, as it would be read from text.
pub(super) fn decimal(whole: i128, scale: i32) -> f64 {
    if whole.unsigned_abs() <= EXACT && (0..=EXACT_POWER).contains(&scale) {
        return whole as f64 / 10f64.powi(scale);
    }
    // Rounded once, where a division would round twice.
    format!("{whole}e{}", -scale).parse().unwrap_or(f64::NAN)
}

/// The first `N` bytes of a file of this length, and its last `M`; none of a shorter file.
pub(super) fn ends<const N: usize, const M: usize>(
    mut file: &File,
    length: u64,
) -> std::io::Result<Option<([u8; N], [u8; M])>> {
    let (mut first, mut last) = ([0; N], [0; M]);
    if length < (N + M) as u64 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut first)?;
    file.seek(SeekFrom::Start(length - M as u64))?;
    file.read_exact(&mut last)?;
    Ok(Some((first, last)))
}

/// What a crate decodes. It may panic on damaged bytes: that is an error too.
pub(super) fn guarded<T, E: std::fmt::Display>(
    path: &Path,
    decode: impl FnOnce() -> std::result::Result<T, E>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(decoded) => decoded.map_err(|e| damaged(path, &e.to_string())),
        Err(_) => Err(damaged(path, "its bytes do not fit its metadata")),
    }
}

pub(super) fn damaged(path: &Path, what: &str) -> Error {
    Error::read(path, format!("it is damaged: {what}"), CUT_SHORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_the_numbers_of_their_text() {
        for (whole, scale, text) in [
            (0, 0, "0"),
            (-1, 1, "-0.1"),
            (123_456_789, 4, "12345.6789"),
            (9_007_199_254_740_993, 2, "90071992547409.93"),
            (-99_999_999_999_999_999_999_999_999_999_999_999_999, 38, "-0.99999999999999999999999999999999999999"),
            (1, 38, "1e-38"),
            (7, -3, "7000"),
        ] {
            assert_eq!(decimal(whole, scale).to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
        }
    }
}
