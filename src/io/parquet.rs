//! Parquet: rows in groups, and in each group a chunk of pages for each column.
//!
//! The crate `parquet` reads the metadata and decodes the values of pages, without arrow; pages are unpacked in
//! `pages.rs`. Of a group one page a column is in memory, so that memory does not grow with the file.

mod pages;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::column::reader::{ColumnReader, get_column_reader};
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use self::pages::{Chunks, Pages};
use self::values::{Kind, texts};
use super::column_source::{Cells, Column, Holds, Opened, Source, damaged, ends, guarded};
use super::{CUT_SHORT, open_regular, refused};
use crate::{Error, Result};

/// The first bytes of a file, and its last.
const MAGIC: &[u8] = b"PAR1";
/// The last bytes of a file whose metadata are encrypted.
const ENCRYPTED: &[u8] = b"PARE";
/// The least bytes: the magic, the length of the metadata, the magic.
const LEAST: u64 = 12;

/// What a column of the file holds, and its number among the leaves of the schema.
#[derive(Clone, Copy)]
struct Leaf {
    kind: std::result::Result<Kind, &'static str>,
    at: usize,
}

/// The groups of a file.
struct Groups {
    path: PathBuf,
    chunks: Arc<Chunks>,
    metadata: ParquetMetaData,
    /// Of all columns.
    leaves: Vec<Leaf>,
    /// The group to open next, and the readers of the columns of the one that is open.
    group: usize,
    readers: Vec<(Kind, ColumnReader)>,
}

/// Reads the metadata.
///
/// # Errors
/// [`Error::Read`] for a file that is not Parquet, cut short or damaged.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let (file, length) = open_regular(path)?;
    match ends::<4, 4>(&file, length).map_err(|e| refused(path, &e))? {
        Some((first, last)) if first == MAGIC && last == MAGIC && length >= LEAST => {}
        Some((first, last)) if first == ENCRYPTED || last == ENCRYPTED => {
            return Err(Error::read(path, "it is encrypted", "write it again without encryption"));
        }
        Some((first, _)) if first == MAGIC => {
            return Err(Error::read(path, "it begins as a Parquet file, but does not end as one", CUT_SHORT));
        }
        _ => {
            let problem = "it is not a Parquet file: it does not begin with `PAR1`";
            return Err(Error::read(path, problem, "give it the ending of what it is, such as .csv or .npy"));
        }
    }
    let chunks = Chunks::new(file, length);
    let metadata = guarded(path, || ParquetMetaDataReader::new().parse_and_finish(&chunks))?;
    let schema = metadata.file_metadata().schema_descr();
    let fields = schema.root_schema().get_fields();
    let mut leaves = vec![Leaf { kind: Err("no values"), at: usize::MAX }; fields.len()];
    for (at, descriptor) in schema.columns().iter().enumerate() {
        let root = schema.get_column_root_idx(at);
        let Some(leaf) = leaves.get_mut(root) else { continue };
        let flat = fields[root].is_primitive() && descriptor.max_rep_level() == 0;
        *leaf = Leaf { kind: if flat { Kind::of(descriptor) } else { Err("lists or structures") }, at };
    }
    let holds = |leaf: &Leaf| match leaf.kind {
        Ok(Kind::F32) => Holds::Narrow,
        Ok(Kind::Text) => Holds::Text,
        Ok(_) => Holds::Numbers,
        Err(what) => Holds::Other(what),
    };
    let one = |(field, leaf): (&::parquet::schema::types::TypePtr, &Leaf)| Column {
        name: field.name().to_owned(),
        holds: holds(leaf),
    };
    let columns = fields.iter().zip(&leaves).map(one).collect();
    let groups = metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
    let rows = groups.sum::<Option<u64>>().and_then(|rows| usize::try_from(rows).ok());
    let rows = rows.ok_or_else(|| damaged(path, "a number of rows is below 0"))?;
    let (path, chunks) = (path.to_owned(), Arc::new(chunks));
    let source = Box::new(Groups { path, chunks, metadata, leaves, group: 0, readers: Vec::new() });
    Ok(Opened { source, columns, rows })
}

impl Groups {
    /// The reader of a column's values in a group.
    fn reader(&self, group: usize, column: usize) -> Result<(Kind, ColumnReader)> {
        let Leaf { kind, at } = self.leaves[column];
        let schema = self.metadata.file_metadata().schema_descr();
        let (Ok(kind), Some(chunk)) = (kind, self.metadata.row_groups()[group].columns().get(at)) else {
            return Err(damaged(&self.path, &format!("a group of rows lacks the column {column} (counted from 0)")));
        };
        let pages = Pages::open(&self.path, &self.chunks, chunk, schema.column(at).max_def_level() > 0)?;
        Ok((kind, get_column_reader(schema.column(at), Box::new(pages))))
    }
}

impl Source for Groups {
    fn open_group(&mut self, columns: &[usize]) -> Result<Option<usize>> {
        while let Some(group) = self.metadata.row_groups().get(self.group) {
            self.group += 1;
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            if rows > 0 {
                let reader = |column: &usize| self.reader(self.group - 1, *column);
                self.readers = columns.iter().map(reader).collect::<Result<_>>()?;
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    fn cells(&mut self, column: usize, n: usize) -> Result<Cells> {
        let (kind, reader) = &mut self.readers[column];
        guarded(&self.path, || kind.read(reader, n))
    }

    fn texts(&mut self, column: usize, n: usize) -> Result<Vec<String>> {
        let (_, reader) = &mut self.readers[column];
        guarded(&self.path, || texts(reader, n))
    }
}
