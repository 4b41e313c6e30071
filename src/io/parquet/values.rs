//! What the cells of a column hold, and the numbers that they are.

use ::parquet::basic::{ConvertedType, LogicalType, Type};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::errors::{ParquetError, Result as Decoded};
use ::parquet::schema::types::ColumnDescriptor;

use crate::io::column_source::{Cells, MOST_SCALE, decimal, number};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    /// Signed whole numbers of at most 32 bits.
    Int32,
    /// As `Int32`, without a sign.
    Uint32,
    Int64,
    Uint64,
    F16,
    F32,
    F64,
    /// Whole numbers over 10 to this power.
    Decimal(i32),
    /// Cells as in a text table.
    Text,
}

impl Kind {
    /// Of a column that is neither nested nor repeated; else what it holds instead.
    pub fn of(column: &ColumnDescriptor) -> Result<Self, &'static str> {
        let (logical, converted) = (column.logical_type_ref(), column.converted_type());
        let decimal = matches!(logical, Some(LogicalType::Decimal(_))) || converted == ConvertedType::DECIMAL;
        if decimal {
            let scale = column.type_scale();
            let narrow = !matches!(column.physical_type(), Type::FIXED_LEN_BYTE_ARRAY) || column.type_length() <= 16;
            return match (0..=MOST_SCALE).contains(&scale) && narrow {
                true => Ok(Self::Decimal(scale)),
                false => Err("decimal numbers of more than 38 digits"),
            };
        }
        let unsigned = match logical {
            Some(LogicalType::Integer(int)) => !int.is_signed,
            _ => matches!(
                converted,
                ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
            ),
        };
        match logical {
            Some(LogicalType::Date) => return Err("dates"),
            Some(LogicalType::Time(_) | LogicalType::Timestamp(_)) => return Err("times"),
            Some(LogicalType::Uuid) => return Err("identifiers"),
            _ => {}
        }
        match converted {
            ConvertedType::DATE => return Err("dates"),
            ConvertedType::TIME_MILLIS
            | ConvertedType::TIME_MICROS
            | ConvertedType::TIMESTAMP_MILLIS
            | ConvertedType::TIMESTAMP_MICROS
            | ConvertedType::INTERVAL => return Err("times"),
            _ => {}
        }
        match column.physical_type() {
            Type::BOOLEAN => Ok(Self::Bool),
            Type::INT32 if unsigned => Ok(Self::Uint32),
            Type::INT32 => Ok(Self::Int32),
            Type::INT64 if unsigned => Ok(Self::Uint64),
            Type::INT64 => Ok(Self::Int64),
            Type::INT96 => Err("times"),
            Type::FLOAT => Ok(Self::F32),
            Type::DOUBLE => Ok(Self::F64),
            Type::BYTE_ARRAY => Ok(Self::Text),
            Type::FIXED_LEN_BYTE_ARRAY if logical == Some(&LogicalType::Float16) && column.type_length() == 2 => {
                Ok(Self::F16)
            }
            Type::FIXED_LEN_BYTE_ARRAY => Err("bytes"),
        }
    }

    /// The next cells, at most `n`; fewer at the end of the column. A missing one is NaN; what is not a number is given
    /// as it stands.
    pub fn read(self, reader: &mut ColumnReader, n: usize) -> Decoded<Cells> {
        let nan = || Ok(f64::NAN);
        match (self, reader) {
            (Self::Bool, ColumnReader::BoolColumnReader(reader)) => {
                cells(reader, n, nan, |v| Ok(f64::from(u8::from(*v))))
            }
            (Self::Int32, ColumnReader::Int32ColumnReader(reader)) => cells(reader, n, nan, |v| Ok(f64::from(*v))),
            (Self::Uint32, ColumnReader::Int32ColumnReader(reader)) => {
                cells(reader, n, nan, |v| Ok(f64::from(v.cast_unsigned())))
            }
            (Self::Int64, ColumnReader::Int64ColumnReader(reader)) => cells(reader, n, nan, |v| Ok(*v as f64)),
            (Self::Uint64, ColumnReader::Int64ColumnReader(reader)) => {
                cells(reader, n, nan, |v| Ok(v.cast_unsigned() as f64))
            }
            (Self::F32, ColumnReader::FloatColumnReader(reader)) => cells(reader, n, nan, |v| Ok(f64::from(*v))),
            (Self::F64, ColumnReader::DoubleColumnReader(reader)) => cells(reader, n, nan, |v| Ok(*v)),
            (Self::F16, ColumnReader::FixedLenByteArrayColumnReader(reader)) => cells(reader, n, nan, |v| {
                let bytes = v.data().try_into().unwrap_or([0; 2]);
                Ok(half(u16::from_le_bytes(bytes)))
            }),
            (Self::Decimal(scale), ColumnReader::Int32ColumnReader(reader)) => {
                cells(reader, n, nan, |v| Ok(decimal((*v).into(), scale)))
            }
            (Self::Decimal(scale), ColumnReader::Int64ColumnReader(reader)) => {
                cells(reader, n, nan, |v| Ok(decimal((*v).into(), scale)))
            }
            (Self::Decimal(scale), ColumnReader::FixedLenByteArrayColumnReader(reader)) => {
                cells(reader, n, nan, |v| unscaled(v.data()).map(|whole| decimal(whole, scale)))
            }
            (Self::Decimal(scale), ColumnReader::ByteArrayColumnReader(reader)) => {
                cells(reader, n, nan, |v| unscaled(v.data()).map(|whole| decimal(whole, scale)))
            }
            (Self::Text, reader) => Ok(texts(reader, n)?.into_iter().map(number).collect()),
            _ => Err(ParquetError::General("a column is of another type than its schema says".into())),
        }
    }
}

/// The next cells of a column of text, at most `n`; a missing one is empty.
pub(super) fn texts(reader: &mut ColumnReader, n: usize) -> Decoded<Vec<String>> {
    match reader {
        ColumnReader::ByteArrayColumnReader(reader) => {
            cells(reader, n, String::new, |v| String::from_utf8_lossy(v.data()).into_owned())
        }
        _ => Err(ParquetError::General("a column is of another type than its schema says".into())),
    }
}

/// The next cells, at most `n`, each by `of`, and by `null` where it is null.
fn cells<T: DataType, V>(
    reader: &mut ColumnReaderImpl<T>,
    n: usize,
    null: impl Fn() -> V,
    of: impl Fn(&T::T) -> V,
) -> Decoded<Vec<V>> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let (records, ..) = reader.read_records(n, Some(&mut levels), None, &mut values)?;
    if levels.is_empty() {
        // No cell can be null.
        return Ok(values.iter().map(of).collect());
    }
    let present = levels.iter().copied().max().filter(|level| *level > 0);
    let mut values = values.iter();
    let cell = |level: &i16| match present {
        Some(most) if *level == most => values.next().map(&of),
        _ => Some(null()),
    };
    let cells: Option<Vec<V>> = levels.iter().take(records).map(cell).collect();
    cells.ok_or_else(|| ParquetError::General("a column has fewer values than it marks".into()))
}

/// A 16-bit float.
fn half(bits: u16) -> f64 {
    let (sign, exponent, rest) = (bits >> 15, i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => rest * 2f64.powi(-24),
        31 if rest == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + rest) * 2f64.powi(exponent - 25),
    };
    if sign == 1 { -size } else { size }
}

/// The whole number of a decimal: two's complement, the highest byte first.
fn unscaled(bytes: &[u8]) -> Result<i128, String> {
    if bytes.is_empty() || bytes.len() > 16 {
        return Err(format!("a decimal number of {} bytes", bytes.len()));
    }
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
    Ok(bytes.iter().fold(sign, |whole: i128, byte| whole << 8 | i128::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_sixteen_bits() {
        let cases =
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2f64.powi(-24)), (0x7bff, 65504.0), (0x3555, 0.333251953125)];
        assert!(cases.iter().all(|(bits, value)| half(*bits) == *value));
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f64::NEG_INFINITY);
    }

    #[test]
    fn whole_numbers_of_decimals_are_signed() {
        for (bytes, whole) in [(&[0x7f][..], 127), (&[0xff], -1), (&[0x80, 0x00], -32768), (&[0x00, 0xff], 255)] {
            assert_eq!(unscaled(bytes), Ok(whole));
        }
        assert!(unscaled(&[]).is_err() && unscaled(&[0; 17]).is_err());
    }
}
