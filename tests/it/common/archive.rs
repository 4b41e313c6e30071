//! Archives as `numpy.savez` and `numpy.savez_compressed` write them.

use std::io::{Cursor, Write as _};

use cnflow::io::{self, Array};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The bytes of a `.npy`.
pub fn npy(array: &Array) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    io::write(&path, array).unwrap();
    std::fs::read(path).unwrap()
}

/// An archive of these names and the bytes of their `.npy`, stored as they are or packed.
pub fn npz(members: &[(&str, Vec<u8>)], packed: bool) -> Vec<u8> {
    let method = if packed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    let options = SimpleFileOptions::default().compression_method(method);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}
