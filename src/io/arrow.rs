//! Arrow: the IPC file format, which Feather files of version 2 have too. Rows come in batches, and a batch has a buffer
//! or several for each column.
//!
//! The crate `arrow-ipc` reads the schema and makes arrays of a batch. One batch at a time is in memory, of the columns
//! that are kept. Where its buffers are packed, they must not unpack to more than lz4 can pack.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal32Type, Decimal64Type, Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::{Block, CompressionType, root_as_footer, root_as_message};
use arrow_schema::{DataType, SchemaRef};

use super::column_source::{Cells, Column, Holds, MOST_SCALE, Opened, Source, damaged, decimal, ends, guarded, number};
use super::{CUT_SHORT, open_regular, refused};
use crate::{Error, Result};

/// The first bytes of a file, and its last.
const MAGIC: &[u8] = b"ARROW1";
/// The first bytes of a Feather file of version 1.
const FEATHER: &[u8] = b"FEA1";
/// The first bytes of a stream, which has no list of its batches.
const STREAM: &[u8] = &[0xff; 4];
/// The bytes behind the footer: its length, and the magic.
const TAIL: u64 = 10;
/// lz4 packs at most so many bytes into one.
const AT_BEST: u64 = 256;
/// The most bytes of a batch.
const MOST: u64 = 1 << 36;

/// The batches of a file.
struct Batches {
    path: PathBuf,
    file: File,
    schema: SchemaRef,
    version: arrow_ipc::MetadataVersion,
    dictionaries: Vec<Block>,
    /// Those that have rows, with their number.
    batches: Vec<(Block, usize)>,
    /// The batch to open next.
    next: usize,
    /// Made for the columns that are asked for, in the order of the file.
    decoder: Option<(Vec<usize>, FileDecoder)>,
    /// The open columns, and the rows of them that were given out.
    open: Vec<(ArrayRef, usize)>,
}

/// Reads the footer, and of each batch the number of its rows.
///
/// # Errors
/// [`Error::Read`] for a file that is not Arrow, cut short or damaged, or packed by zstd.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let (mut file, length) = open_regular(path)?;
    let tail = match ends::<6, 10>(&file, length).map_err(|e| refused(path, &e))? {
        Some((first, last)) if first == MAGIC && last.ends_with(MAGIC) => last,
        Some((first, _)) if first == MAGIC => {
            return Err(Error::read(path, "it begins as an Arrow file, but does not end as one", CUT_SHORT));
        }
        Some((first, _)) if first.starts_with(FEATHER) => {
            let problem = "it is a Feather file of version 1, which is no longer written";
            return Err(Error::read(path, problem, "write it again as version 2 (pyarrow.feather.write_feather)"));
        }
        Some((first, _)) if first.starts_with(STREAM) => {
            let problem = "it is a stream of Arrow, not a file: it has no list of its batches";
            return Err(Error::read(path, problem, "write the file format (pyarrow.ipc.new_file, write_feather)"));
        }
        _ => {
            let problem = "it is not an Arrow file: it does not begin with `ARROW1`";
            return Err(Error::read(path, problem, "give it the ending of what it is, such as .csv or .npy"));
        }
    };
    let footer = guarded(path, || read_footer_length(tail))? as u64;
    let begin = length.checked_sub(TAIL + footer).ok_or_else(|| damaged(path, "its footer is longer than the file"))?;
    let footer = bytes(path, &mut file, begin, footer)?;
    let footer = guarded(path, || root_as_footer(&footer))?;
    let schema = footer.schema().ok_or_else(|| damaged(path, "it has no schema"))?;
    if !schema.endianness().equals_to_target_endianness() {
        let problem = "its numbers are of the other byte order";
        return Err(Error::read(path, problem, "write it again on a machine of this byte order"));
    }
    let schema = Arc::new(guarded(path, || try_fb_to_schema(schema))?);
    let columns: Vec<Column> = schema
        .fields()
        .iter()
        .map(|field| Column { name: field.name().clone(), holds: holds(field.data_type()) })
        .collect();
    let mut batches = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        let rows = rows_of(path, &mut file, block, length)?;
        if rows > 0 {
            batches.push((*block, rows));
        }
    }
    let dictionaries: Vec<Block> = footer.dictionaries().iter().flatten().copied().collect();
    for block in &dictionaries {
        rows_of(path, &mut file, block, length)?;
    }
    let rows = batches.iter().try_fold(0_usize, |sum, (_, rows)| sum.checked_add(*rows));
    let rows = rows.ok_or_else(|| damaged(path, "it declares more rows than can be counted"))?;
    let (path, version) = (path.to_owned(), footer.version());
    let (decoder, open) = (None, Vec::new());
    let source = Box::new(Batches { path, file, schema, version, dictionaries, batches, next: 0, decoder, open });
    Ok(Opened { source, columns, rows })
}

/// So many bytes of a file from here on, which lie in it.
fn bytes(path: &Path, file: &mut File, from: u64, length: u64) -> Result<Vec<u8>> {
    let mut all = vec![0; length as usize];
    let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_exact(&mut all));
    read.map_err(|e| refused(path, &e))?;
    Ok(all)
}

/// The bytes of a block's metadata and of its body, which lie in a file of this length.
fn lengths(path: &Path, block: &Block, length: u64) -> Result<(u64, u64)> {
    let of = |n: i64| u64::try_from(n).ok().filter(|n| *n <= length.min(MOST));
    let found = of(block.offset()).zip(of(block.metaDataLength().into())).zip(of(block.bodyLength()));
    let inside = found.filter(|((from, head), body)| from + head + body <= length);
    let ((_, head), body) = inside.ok_or_else(|| damaged(path, "a batch lies beyond its end"))?;
    Ok((head, body))
}

/// The rows of a batch, or of a dictionary, which is looked at without unpacking it.
fn rows_of(path: &Path, file: &mut File, block: &Block, length: u64) -> Result<usize> {
    let (head, body) = lengths(path, block, length)?;
    let from = block.offset() as u64;
    let message = bytes(path, file, from, head)?;
    // The length of the message, behind a mark in files that are not very old.
    let skip = if message.starts_with(STREAM) { 8 } else { 4 };
    let message = message.get(skip..).ok_or_else(|| damaged(path, "a batch has no description"))?;
    let message = guarded(path, || root_as_message(message))?;
    let batch = message.header_as_record_batch().or_else(|| message.header_as_dictionary_batch()?.data());
    let batch = batch.ok_or_else(|| damaged(path, "a batch is none of rows"))?;
    if let Some(packed) = batch.compression() {
        if packed.codec() == CompressionType::ZSTD {
            let problem = "it is packed by zstd, which is read of Parquet only";
            return Err(Error::read(path, problem, "write it packed by lz4, not packed, or as Parquet"));
        }
        for buffer in batch.buffers().iter().flatten() {
            let inside = |n: i64| u64::try_from(n).ok().filter(|n| *n <= body);
            let place = inside(buffer.offset()).zip(inside(buffer.length())).filter(|(at, n)| at + n <= body);
            let (at, packed) = place.ok_or_else(|| damaged(path, "a buffer lies beyond its batch"))?;
            if packed < 8 {
                continue;
            }
            let own = bytes(path, file, from + head + at, 8)?;
            let unpacked = i64::from_le_bytes(own.try_into().unwrap_or([0; 8]));
            // −1: it is not packed.
            if unpacked < -1 || unpacked > (AT_BEST * packed) as i64 {
                return Err(damaged(
                    path,
                    &format!("a buffer of {packed} bytes declares that it unpacks to {unpacked}"),
                ));
            }
        }
    }
    usize::try_from(batch.length()).map_err(|_| damaged(path, "a number of rows is below 0"))
}

/// What cells of a type are.
fn holds(of: &DataType) -> Holds {
    use DataType as T;
    match of {
        T::Float32 => Holds::Narrow,
        T::Null | T::Boolean | T::Float16 | T::Float64 => Holds::Numbers,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => Holds::Numbers,
        T::Decimal32(_, scale) | T::Decimal64(_, scale) | T::Decimal128(_, scale)
            if i32::from(*scale).abs() <= MOST_SCALE =>
        {
            Holds::Numbers
        }
        T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => {
            Holds::Other("decimal numbers of more than 38 digits")
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View => Holds::Text,
        T::Date32 | T::Date64 => Holds::Other("dates"),
        T::Timestamp(..) | T::Time32(_) | T::Time64(_) | T::Duration(_) | T::Interval(_) => Holds::Other("times"),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => Holds::Other("bytes"),
        T::Dictionary(_, values) => holds(values),
        _ => Holds::Other("lists or structures"),
    }
}

impl Source for Batches {
    fn open_group(&mut self, columns: &[usize]) -> Result<Option<usize>> {
        let Some((block, rows)) = self.batches.get(self.next).copied() else { return Ok(None) };
        self.next += 1;
        let mut rising = columns.to_vec();
        rising.sort_unstable();
        let decoder = match self.decoder.take() {
            Some((known, decoder)) if known == rising => decoder,
            _ => {
                let mut decoder = FileDecoder::new(self.schema.clone(), self.version).with_projection(rising.clone());
                for block in &self.dictionaries {
                    let buffer = block_of(&self.path, &mut self.file, block)?.into();
                    guarded(&self.path, || decoder.read_dictionary(block, &buffer))?;
                }
                decoder
            }
        };
        let buffer = block_of(&self.path, &mut self.file, &block)?.into();
        let batch = guarded(&self.path, || decoder.read_record_batch(&block, &buffer))?;
        let batch = batch.filter(|batch| batch.num_rows() == rows);
        let batch = batch.ok_or_else(|| damaged(&self.path, "a batch has other rows than it declares"))?;
        let place = |column: &usize| rising.binary_search(column).ok().and_then(|at| batch.columns().get(at));
        let arrays = columns.iter().map(|column| place(column).map(|array| (array.clone(), 0)));
        self.open = arrays.collect::<Option<_>>().ok_or_else(|| damaged(&self.path, "a batch lacks a column"))?;
        self.decoder = Some((rising, decoder));
        Ok(Some(rows))
    }

    fn cells(&mut self, column: usize, n: usize) -> Result<Cells> {
        let part = self.part(column, n);
        guarded(&self.path, || cells(&part))
    }

    fn texts(&mut self, column: usize, n: usize) -> Result<Vec<String>> {
        let part = self.part(column, n);
        guarded(&self.path, || texts(&part))
    }
}

/// The bytes of a block, which was found to lie in the file.
fn block_of(path: &Path, file: &mut File, block: &Block) -> Result<Vec<u8>> {
    bytes(path, file, block.offset() as u64, block.metaDataLength() as u64 + block.bodyLength() as u64)
}

impl Batches {
    /// The next rows of an open column, at most `n`.
    fn part(&mut self, column: usize, n: usize) -> ArrayRef {
        let (array, given) = &mut self.open[column];
        let n = n.min(array.len() - *given);
        let part = array.slice(*given, n);
        *given += n;
        part
    }
}

/// The cells of an array of numbers, or of text that may be numbers.
fn cells(array: &ArrayRef) -> std::result::Result<Cells, &'static str> {
    use DataType as T;
    let exact = |values: Vec<f64>| Ok(values.into_iter().map(Ok).collect());
    match array.data_type() {
        T::Null => exact(vec![f64::NAN; array.len()]),
        T::Boolean => {
            exact(array.as_boolean().iter().map(|v| v.map_or(f64::NAN, |v| f64::from(u8::from(v)))).collect())
        }
        T::Int8 => exact(numbers::<Int8Type>(array, f64::from)),
        T::Int16 => exact(numbers::<Int16Type>(array, f64::from)),
        T::Int32 => exact(numbers::<Int32Type>(array, f64::from)),
        T::Int64 => exact(numbers::<Int64Type>(array, |v| v as f64)),
        T::UInt8 => exact(numbers::<UInt8Type>(array, f64::from)),
        T::UInt16 => exact(numbers::<UInt16Type>(array, f64::from)),
        T::UInt32 => exact(numbers::<UInt32Type>(array, f64::from)),
        T::UInt64 => exact(numbers::<UInt64Type>(array, |v| v as f64)),
        T::Float16 => exact(numbers::<Float16Type>(array, |v| v.to_f64())),
        T::Float32 => exact(numbers::<Float32Type>(array, f64::from)),
        T::Float64 => exact(numbers::<Float64Type>(array, |v| v)),
        T::Decimal32(_, scale) => exact(numbers::<Decimal32Type>(array, |v| decimal(v.into(), (*scale).into()))),
        T::Decimal64(_, scale) => exact(numbers::<Decimal64Type>(array, |v| decimal(v.into(), (*scale).into()))),
        T::Decimal128(_, scale) => exact(numbers::<Decimal128Type>(array, |v| decimal(v, (*scale).into()))),
        T::Dictionary(..) => picked(array, cells, Ok(f64::NAN)),
        _ => Ok(texts(array)?.into_iter().map(number).collect()),
    }
}

/// The numbers of an array of one type; NaN where one is missing.
fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef, of: impl Fn(T::Native) -> f64) -> Vec<f64> {
    array.as_primitive::<T>().iter().map(|v| v.map_or(f64::NAN, &of)).collect()
}

/// The cells of an array of text; empty where one is missing.
fn texts(array: &ArrayRef) -> std::result::Result<Vec<String>, &'static str> {
    let owned = |v: Option<&str>| v.unwrap_or_default().to_owned();
    Ok(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().map(owned).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(owned).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(owned).collect(),
        DataType::Dictionary(..) => picked(array, texts, String::new())?,
        _ => return Err("a column is of another type than its schema says"),
    })
}

/// The cells of a dictionary's values `of` them, in the places of its keys.
fn picked<V: Clone>(
    array: &ArrayRef,
    of: impl Fn(&ArrayRef) -> std::result::Result<Vec<V>, &'static str>,
    missing: V,
) -> std::result::Result<Vec<V>, &'static str> {
    let dictionary = array.as_any_dictionary();
    if dictionary.values().is_empty() {
        return Ok(vec![missing; array.len()]);
    }
    let values = of(dictionary.values())?;
    let keys = dictionary.normalized_keys();
    let one = |(row, key): (usize, usize)| if array.is_null(row) { missing.clone() } else { values[key].clone() };
    Ok(keys.into_iter().enumerate().map(one).collect())
}
