//! The pages of a column, unpacked.
//!
//! The crate is asked for pages as if they were not packed, and they are unpacked here: by snappy, gzip and zstd of
//! crates in Rust, since its own zstd is written in C. What a page takes is bounded, and what is not as long as it
//! says is an error.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::{CompressionCodec, Encoding};
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result as Decoded};
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::reader::{ChunkReader, Length};
use ::parquet::file::serialized_reader::SerializedPageReader;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::io::column_source::{damaged, guarded};
use crate::{Error, Result};

/// The most bytes of a page: some hundred times what programs write.
const MOST: u64 = 1 << 29;
/// Snappy packs at most 64 bytes into 3.
const SNAPPY_AT_BEST: usize = 22;

/// A file whose ranges are held against its length before they are read.
pub(super) struct Chunks {
    file: File,
    length: u64,
}

impl Chunks {
    /// A file of this length.
    pub fn new(file: File, length: u64) -> Self {
        Self { file, length }
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Decoded<Self::T> {
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Decoded<Bytes> {
        let within = start.checked_add(length as u64).is_some_and(|end| end <= self.length);
        if !within {
            let problem = format!("{length} bytes from byte {start} on, in a file of {}", self.length);
            return Err(ParquetError::EOF(problem));
        }
        self.file.get_bytes(start, length)
    }
}

/// The pages of a column in a group of rows.
pub(super) struct Pages {
    packed: SerializedPageReader<Chunks>,
    codec: CompressionCodec,
    /// Whether cells may be null.
    nullable: bool,
    /// Whether the dictionary was read.
    dictionary: bool,
}

impl Pages {
    /// Of a chunk of this file.
    ///
    /// # Errors
    /// [`Error::Read`] for a codec that is not read, and a chunk that does not lie in the file.
    pub fn open(path: &Path, chunks: &Arc<Chunks>, chunk: &ColumnChunkMetaData, nullable: bool) -> Result<Self> {
        let codec = chunk.compression_codec();
        let known =
            [CompressionCodec::UNCOMPRESSED, CompressionCodec::SNAPPY, CompressionCodec::GZIP, CompressionCodec::ZSTD];
        if !known.contains(&codec) {
            let column = chunk.column_path().string();
            let problem = format!("its column `{column}` is packed by {codec}, which is not read");
            return Err(Error::read(path, problem, "write it again with compression snappy, gzip or zstd"));
        }
        let begin = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let within = u64::try_from(begin).ok().zip(u64::try_from(chunk.compressed_size()).ok());
        let within = within.and_then(|(begin, size)| begin.checked_add(size)).is_some_and(|end| end <= chunks.length);
        if !within {
            let column = chunk.column_path().string();
            return Err(damaged(path, &format!("the column `{column}` does not lie within the file")));
        }
        let packed = guarded(path, || {
            let plain = chunk.clone().into_builder().set_compression_codec(CompressionCodec::UNCOMPRESSED).build()?;
            SerializedPageReader::new(chunks.clone(), &plain, 0, None)
        })?;
        Ok(Self { packed, codec, nullable, dictionary: false })
    }

    /// A page as it was before it was packed.
    fn unpacked(&mut self, page: Page) -> Decoded<Page> {
        let page = match page {
            Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics } => {
                if self.nullable && def_level_encoding != Encoding::RLE {
                    return Err(wrong("its nulls are marked in an old encoding"));
                }
                let buf = self.bytes(&buf)?;
                Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics }
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                statistics,
            } => {
                // What marks nulls stands before the values and is never packed.
                let levels = def_levels_byte_len as usize + rep_levels_byte_len as usize;
                if levels > buf.len() {
                    return Err(wrong("a page is shorter than the marks of its nulls"));
                }
                let buf = match is_compressed && self.codec != CompressionCodec::UNCOMPRESSED && levels < buf.len() {
                    false => buf,
                    true => [&buf[..levels], &self.bytes(&buf.slice(levels..))?].concat().into(),
                };
                Page::DataPageV2 {
                    buf,
                    num_values,
                    encoding,
                    num_nulls,
                    num_rows,
                    def_levels_byte_len,
                    rep_levels_byte_len,
                    is_compressed: false,
                    statistics,
                }
            }
            Page::DictionaryPage { buf, num_values, encoding, is_sorted } => {
                let buf = self.bytes(&buf)?;
                // A value takes a byte at least; room is made for as many as the header says.
                if num_values as usize > buf.len() {
                    return Err(wrong("a dictionary has more values than bytes"));
                }
                self.dictionary = true;
                Page::DictionaryPage { buf, num_values, encoding, is_sorted }
            }
        };
        let by_dictionary = matches!(page.encoding(), Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
        if page.is_data_page() && by_dictionary && !self.dictionary {
            return Err(wrong("a page needs a dictionary, and there is none before it"));
        }
        Ok(page)
    }

    fn bytes(&self, packed: &Bytes) -> Decoded<Bytes> {
        // A page of nulls alone may hold nothing.
        if packed.is_empty() {
            return Ok(packed.clone());
        }
        let failed = |e: &dyn std::fmt::Display| wrong(&format!("a page cannot be unpacked: {e}"));
        match self.codec {
            CompressionCodec::SNAPPY => {
                let size = snap::raw::decompress_len(packed).map_err(|e| failed(&e))?;
                if size > packed.len().saturating_mul(SNAPPY_AT_BEST) {
                    return Err(failed(&format!("{size} bytes cannot be packed into {}", packed.len())));
                }
                Ok(snap::raw::Decoder::new().decompress_vec(packed).map_err(|e| failed(&e))?.into())
            }
            CompressionCodec::GZIP => all(MultiGzDecoder::new(&packed[..])),
            CompressionCodec::ZSTD => {
                all(ruzstd::decoding::StreamingDecoder::new(&packed[..]).map_err(|e| failed(&e))?)
            }
            _ => Ok(packed.clone()),
        }
    }
}

/// All that a reader gives, up to a bound.
fn all(unpacking: impl Read) -> Decoded<Bytes> {
    let mut bytes = Vec::new();
    let read = unpacking.take(MOST + 1).read_to_end(&mut bytes);
    read.map_err(|e| wrong(&format!("a page cannot be unpacked: {e}")))?;
    if bytes.len() as u64 > MOST {
        return Err(wrong(&format!("a page is longer than {} MiB", MOST >> 20)));
    }
    Ok(bytes.into())
}

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

impl Iterator for Pages {
    type Item = Decoded<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Decoded<Option<Page>> {
        let page = self.packed.get_next_page()?;
        page.map(|page| self.unpacked(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Decoded<Option<PageMetadata>> {
        self.packed.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Decoded<()> {
        self.packed.skip_next_page()
    }
}
