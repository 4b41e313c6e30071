//! IDX, the format of MNIST: two zeros, a type, the number of axes, their sizes, the numbers; all big-endian.
//!
//! `train-images-idx3-ubyte` has three axes, `train-labels-idx1-ubyte` one. Ref: LeCun, Cortes & Burges, *The MNIST
//! database*, "File formats".

use std::io::{Read, Seek};
use std::path::Path;

use super::npy::{About, Length, Stream};
use super::{CUT_SHORT, Dtype, refused};
use crate::{Error, Result};

/// Whether a name is one of an IDX file: `…-idx3-ubyte`, `….idx3-ubyte`, `….idx3` or `….idx`.
pub(super) fn is_named(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let stem = name.strip_suffix("-ubyte").unwrap_or(&name);
    let stem = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    stem.ends_with(".idx") || (stem.len() < name.len() && stem.ends_with("-idx"))
}

/// Reads the header of a file of some length, and holds the length against it.
///
/// # Errors
/// [`Error::Read`] for a foreign or truncated header, and as [`Stream::begin`].
pub(super) fn open<R: Read + Seek>(path: &Path, mut file: R, length: Length) -> Result<Stream<R>> {
    let mut header = Vec::new();
    let mut more = |count: usize, header: &mut Vec<u8>| -> Result<()> {
        let read = file.by_ref().take(count as u64).read_to_end(header).map_err(|e| refused(path, &e))?;
        if read == count { Ok(()) } else { Err(Error::read(path, "its header is cut short", CUT_SHORT)) }
    };
    more(4, &mut header)?;
    let dtype = match header[2] {
        0x08 => Some(Dtype::Uint(1)),
        0x09 => Some(Dtype::Int(1)),
        0x0b => Some(Dtype::Int(2)),
        0x0c => Some(Dtype::Int(4)),
        0x0d => Some(Dtype::F32),
        0x0e => Some(Dtype::F64),
        _ => None,
    };
    let (Some(dtype), [0, 0], 1..) = (dtype, &header[..2], header[3]) else {
        let found = header.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let problem = format!("it is not an IDX file: its first bytes are {found}, those of images 00 00 08 03");
        return Err(Error::read(path, problem, "give the file as MNIST ships it, or as .npy"));
    };
    more(4 * usize::from(header[3]), &mut header)?;
    let sizes = header[4..].chunks_exact(4).map(|size| size.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)));
    let shape = sizes.collect();
    Stream::begin(path, file, About { bytes: header, dtype, big_endian: true, fortran: false, shape }, length)
}
