//! Files in and out: tables of numbers, model files, PyTorch weights.
//!
//! Every reader takes a whole file into memory, checks it against its own header, and answers with
//! one sentence where it does not fit; nothing is allocated on a header's word alone. Every writer
//! goes through [`write_atomically`], so a file is either whole or absent.

pub mod array;
pub mod atomic;
pub mod csv;
pub mod npy;
pub mod npz;
pub mod safetensors;
pub mod torch;

use std::path::Path;

pub use array::{Array, Dtype};
pub use atomic::write_atomically;

use crate::{Error, Result};

/// The endings of the tables that can be read.
pub const READABLE: &str = ".npy, .npz, .csv, .tsv, .txt";
/// The endings of the tables that can be written.
pub const WRITABLE: &str = ".npy, .csv";

/// The formats of a table, told by the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One NumPy array.
    Npy,
    /// A zip archive of NumPy arrays.
    Npz,
    /// Numbers as text: `.csv`, `.tsv`, `.txt`.
    Csv,
}

impl Format {
    /// The format that a name stands for; `None` where its ending is not known.
    ///
    /// A member of an archive may follow a colon: `file.npz:x`.
    pub fn of(path: &Path) -> Option<Self> {
        let (file, _) = npz::split_member(path);
        let ending = file.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "npy" => Some(Self::Npy),
            "npz" => Some(Self::Npz),
            "csv" | "tsv" | "txt" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// Reads a table `[rows, cols]` in the format of its name. Every number in it is finite.
///
/// # Errors
/// [`Error::Unknown`] for an unknown ending, [`Error::Read`] for a file that is missing, truncated,
/// of a wrong type or shape, or that holds a number which is not finite.
pub fn read(path: &Path) -> Result<Array> {
    let array = match Format::of(path).ok_or_else(|| unknown(path, READABLE))? {
        Format::Npy => npy::parse(path, &read_bytes(path)?)?,
        Format::Npz => npz::read(path)?,
        Format::Csv => csv::read(path)?,
    };
    array.check_finite(path)?;
    Ok(array)
}

/// Writes a table as `.npy` or `.csv`, by the ending of its name.
///
/// # Errors
/// [`Error::Unknown`] for another ending, [`Error::Write`] where the disk refuses.
pub fn write(path: &Path, array: &Array) -> Result<()> {
    match Format::of(path) {
        Some(Format::Npy) => npy::write(path, array),
        Some(Format::Csv) => csv::write(path, array),
        _ => Err(unknown(path, WRITABLE)),
    }
}

/// The whole of a regular file.
///
/// # Errors
/// [`Error::Read`] where it is missing, a folder, a device, empty, or unreadable.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Error::read(path, "there is no such file", "check the name and the folder"),
        std::io::ErrorKind::PermissionDenied => {
            Error::read(path, "permission is denied", "check the owner and the mode of the file")
        }
        _ => Error::read(path, e.to_string(), ""),
    };
    let about = std::fs::metadata(path).map_err(failed)?;
    if about.is_dir() {
        return Err(Error::read(path, "it is a folder", "name a file inside it"));
    }
    if !about.is_file() {
        return Err(Error::read(path, "it is not a regular file", "save it to a file first"));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    if bytes.is_empty() {
        return Err(Error::read(path, "it is empty", "write the file again; the program that made it was cut short"));
    }
    Ok(bytes)
}

fn unknown(path: &Path, known: &str) -> Error {
    Error::Unknown { kind: "file type", name: path.display().to_string(), known: known.into() }
}
