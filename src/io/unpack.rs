//! Files that are plain, or compressed by gzip: the first bytes decide, not the name.

use std::fs::File;
use std::io::{BufReader, Error as IoError, ErrorKind, Read, Result as IoResult, Seek, SeekFrom};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::npz::DEFLATE_AT_BEST;
use super::{BUFFER, open_regular, refused};
use crate::{Error, Result};

const GZIP: &[u8] = b"\x1f\x8b";

/// The first bytes of files that are neither text nor one NumPy array, and what they are; `?` is any digit. Names of
/// columns may begin a text, so that letters alone decide nothing.
const FOREIGN: [(&[u8], &str); 9] = [
    (b"PK\x03\x04", "a zip archive (.zip, .npz and .xlsx files are)"),
    (b"PAR1\x15", "a Parquet file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"ARROW1\0\0", "an Arrow file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"\xfd7zXZ", "compressed by xz"),
    (b"BZh?1AY", "compressed by bzip2"),
    (b"\xd0\xcf\x11\xe0", "an old Office file"),
];

/// A text, packed or not.
pub(super) type Text = BufReader<Source>;

/// The bytes of a file, unpacked.
pub(super) enum Source {
    /// As they lie there.
    Plain(File),
    /// Out of gzip.
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
}

/// A file that was opened.
pub(super) struct Opened {
    /// Its bytes.
    pub source: Source,
    /// How many there are; where gzip packed them, how many there can be.
    pub length: u64,
    /// Its first bytes.
    pub first: Vec<u8>,
}

/// Opens a regular file.
///
/// # Errors
/// As [`open_regular`].
pub(super) fn open(path: &Path) -> Result<Opened> {
    let (mut file, length) = open_regular(path)?;
    let failed = |e: IoError| refused(path, &e);
    let mut first = Vec::new();
    file.by_ref().take(16).read_to_end(&mut first).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    if first.starts_with(GZIP) {
        let packed = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file));
        let length = length.saturating_mul(DEFLATE_AT_BEST);
        return Ok(Opened { source: Source::Gzip(Box::new(packed)), length, first });
    }
    Ok(Opened { source: Source::Plain(file), length, first })
}

/// Opens a text.
///
/// # Errors
/// As [`open_regular`]; [`Error::Read`] for a file that begins as those of another kind do.
pub(super) fn text(path: &Path) -> Result<Text> {
    let Opened { source, first, .. } = open(path)?;
    if first.starts_with(b"\x93NUMPY") {
        return Err(Error::read(path, "it is a NumPy array, not text", "rename it to end in .npy"));
    }
    if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| begins(&first, magic)) {
        return Err(Error::read(
            path,
            format!("it is {what}, not text"),
            "save the table as text, plain or compressed by gzip",
        ));
    }
    Ok(BufReader::with_capacity(BUFFER, source))
}

/// Whether a file begins with these bytes, of which `?` is any digit.
fn begins(first: &[u8], magic: &[u8]) -> bool {
    let same = |(byte, wanted): (&u8, &u8)| byte == wanted || (*wanted == b'?' && byte.is_ascii_digit());
    first.len() >= magic.len() && first.iter().zip(magic).all(same)
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip(packed) => packed.read(buffer).map_err(|e| match e.kind() {
                ErrorKind::Interrupted => e,
                ErrorKind::UnexpectedEof => IoError::new(ErrorKind::InvalidData, "its gzip data are cut short"),
                _ => IoError::new(ErrorKind::InvalidData, format!("its gzip data are damaged ({e})")),
            }),
        }
    }
}

/// Bytes that are passed once: a place behind is out of reach.
pub(super) struct Forward<R> {
    bytes: R,
    at: u64,
}

impl<R: Read> Forward<R> {
    /// From the beginning on.
    pub fn new(bytes: R) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<R: Read> Read for Forward<R> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let count = self.bytes.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<R: Read> Seek for Forward<R> {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        match to {
            SeekFrom::Start(place) if place >= self.at => {
                let skipped = place - self.at;
                std::io::copy(&mut self.by_ref().take(skipped), &mut std::io::sink())?;
                Ok(self.at)
            }
            _ => Err(IoError::new(ErrorKind::Unsupported, "compressed bytes are read forwards only")),
        }
    }
}
