//! A table of numbers, as a file holds it.

use std::fmt;
use std::path::Path;

use crate::{Error, Result, words};

/// The type that the numbers have in the file; in memory they are `f64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 16-bit floats.
    F16,
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
    /// Signed integers of 1, 2, 4 or 8 bytes. Beyond ±2⁵³ they are rounded.
    Int(u8),
    /// Unsigned integers of 1, 2, 4 or 8 bytes. Beyond 2⁵³ they are rounded.
    Uint(u8),
    /// False and true, as 0 and 1.
    Bool,
}

impl Dtype {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Int(bytes) | Self::Uint(bytes) => bytes.into(),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => write!(f, "bool"),
            Self::F16 => write!(f, "f16"),
            Self::F32 => write!(f, "f32"),
            Self::F64 => write!(f, "f64"),
            Self::Int(bytes) => write!(f, "i{}", 8 * u32::from(*bytes)),
            Self::Uint(bytes) => write!(f, "u{}", 8 * u32::from(*bytes)),
        }
    }
}

/// A table `[rows, cols]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Rows.
    pub rows: usize,
    /// Columns; 1 for a vector.
    pub cols: usize,
    /// The numbers, row by row: `rows · cols` of them.
    pub data: Vec<f64>,
    /// Their type in the file.
    pub dtype: Dtype,
    /// Whether the file has (or will have) one axis only, `[rows]`.
    pub vector: bool,
    /// The names of the columns, where the file has them.
    pub columns: Option<Vec<String>>,
}

impl Array {
    /// A table of `cols` columns.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `data` does not divide into rows of `cols`.
    pub fn table(data: Vec<f64>, cols: usize, dtype: Dtype) -> Result<Self> {
        if cols == 0 || !data.len().is_multiple_of(cols) {
            return Err(Error::invalid(format!("{} numbers do not divide into {cols} columns", data.len()), ""));
        }
        Ok(Self { rows: data.len() / cols, cols, data, dtype, vector: false, columns: None })
    }

    /// A vector, `[rows]`.
    pub fn vector(data: Vec<f64>, dtype: Dtype) -> Self {
        Self { rows: data.len(), cols: 1, data, dtype, vector: true, columns: None }
    }

    /// One row.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..][..self.cols]
    }

    /// Refuses infinities, and NaN unless cells may be `missing`; `numbers` are those of the columns in the file.
    ///
    /// # Errors
    /// [`Error::Read`] with the place of the first of them and their count.
    pub(super) fn check_finite(&self, path: &Path, numbers: &[usize], missing: bool) -> Result<()> {
        let refused = |v: &&f64| is_refused(**v, missing);
        let Some(first) = self.data.iter().position(|v| refused(&v)) else { return Ok(()) };
        let count = self.data.iter().filter(refused).count();
        let place = self.place(first, numbers, 0);
        Err(Error::read(
            path,
            format!(
                "{count} of its {} numbers {} not finite; the first is {} in {place}",
                self.data.len(),
                if count == 1 { "is" } else { "are" },
                self.data[first],
            ),
            NOT_FINITE,
        ))
    }

    /// As [`Array::check_finite`], for the rows of a file that come after its first `before`.
    pub(super) fn check_finite_after(
        &self,
        path: &Path,
        numbers: &[usize],
        before: usize,
        missing: bool,
    ) -> Result<()> {
        let Some(first) = self.data.iter().position(|v| is_refused(*v, missing)) else { return Ok(()) };
        let place = self.place(first, numbers, before);
        let problem = format!("{} in {place}, is not finite", self.data[first]);
        Err(Error::read(path, problem, NOT_FINITE))
    }

    /// The row and the column of a number in words, where `before` rows come before these. The columns of an array have
    /// no names; texts and Parquet are read without such numbers.
    fn place(&self, at: usize, numbers: &[usize], before: usize) -> String {
        format!("row {}, {}", before + at / self.cols, words::column(None, numbers[at % self.cols]))
    }
}

/// Whether a number is refused in a table whose cells may be `missing`, which are NaN.
pub(super) fn is_refused(value: f64, missing: bool) -> bool {
    !(value.is_finite() || (missing && value.is_nan()))
}

/// The way out where a value of a table is missing or not finite.
pub(super) const NOT_FINITE: &str = "leave out or fill such rows first";
