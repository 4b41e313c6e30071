//! Image files in the formats that are read.

use std::io::Write as _;
use std::path::Path;

use image::{ColorType, ImageEncoder as _};

/// The bytes of a `.npy` of u8 with this shape, as NumPy writes it.
pub fn npy_u8(shape: &[usize], bytes: &[u8], fortran: bool) -> Vec<u8> {
    npy_of("|u1", shape, bytes, fortran)
}

/// As [`npy_u8`], of another type.
pub fn npy_of(descr: &str, shape: &[usize], bytes: &[u8], fortran: bool) -> Vec<u8> {
    let sizes = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({sizes}), }}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.as_bytes());
    out.extend(bytes);
    out
}

/// The bytes of an IDX file of u8.
pub fn idx(shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|n| out.extend((*n as u32).to_be_bytes()));
    out.extend(bytes);
    out
}

/// What gzip makes of bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Writes a PNG.
pub fn png(path: &Path, (height, width): (u32, u32), colour: ColorType, bytes: &[u8]) {
    let mut out = Vec::new();
    image::codecs::png::PngEncoder::new(&mut out).write_image(bytes, width, height, colour).unwrap();
    std::fs::write(path, out).unwrap();
}
