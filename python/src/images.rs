//! Images from Python and to Python: `[n, height, width]`, or `[n, height, width, channels]` in colour.

use cnflow::ImageShape;
use cnflow::io::Layout;
use cnflow::rows::Memory;
use pyo3::prelude::*;

use crate::arrays::{self, Array, Numbers};
use crate::error::{Raised, Trouble};

/// The axes of an image.
pub fn axes(shape: ImageShape) -> Vec<usize> {
    let ImageShape { height, width, channels } = shape;
    if channels == 1 { vec![height, width] } else { vec![height, width, channels] }
}

/// Whether the last axes are those of images of this shape, and how many they are.
fn behind(given: &[usize], shape: ImageShape) -> Option<usize> {
    let ImageShape { height, width, channels } = shape;
    let ends: [&[usize]; 4] = [&axes(shape), &[height, width, channels], &[channels, height, width], &[shape.len()]];
    ends.iter().find(|end| given.ends_with(end)).map(|end| end.len())
}

/// The axes before those of an image.
pub fn batch(py: Python<'_>, read: &Array, shape: ImageShape, what: &str) -> PyResult<Vec<usize>> {
    let Some(own) = behind(&read.shape, shape) else {
        let problem = format!("{what} has the shape {:?}, the model has images of {:?}", read.shape, axes(shape));
        return Err(Trouble::invalid(problem, "give images of the model's shape").raise(py));
    };
    Ok(read.shape[..read.shape.len() - own].to_vec())
}

/// The rows of images, `[n, d]` with the channels last.
pub fn rows(py: Python<'_>, read: Array, shape: ImageShape, what: &str) -> PyResult<Vec<f64>> {
    let ImageShape { height, width, channels } = shape;
    let first = channels > 1 && read.shape.ends_with(&[channels, height, width]);
    let x = read.numbers.into_f64();
    if let Some(i) = x.iter().position(|v| v.fract() != 0.0) {
        let problem = format!("image {} of {what} has {}, which is no whole grey level", i / shape.len(), x[i]);
        return Err(Trouble::invalid(problem, "give whole numbers, such as u8 images").raise(py));
    }
    if !first || read.shape.ends_with(&[height, width, channels]) {
        return Ok(x);
    }
    let place = |i: usize| i % channels * height * width + i / channels;
    Ok(x.chunks_exact(shape.len()).flat_map(|image| (0..shape.len()).map(|i| image[place(i)])).collect())
}

/// Images as a u8 array; one that failed is black.
pub fn array<'py>(py: Python<'py>, x: &[f64], batch: &[usize], shape: ImageShape) -> PyResult<Bound<'py, PyAny>> {
    let bytes: Vec<u8> = x.iter().map(|v| v.round().clamp(0.0, 255.0) as u8).collect();
    let all: Vec<usize> = batch.iter().copied().chain(axes(shape)).collect();
    arrays::bytes_array(py, &bytes, &all)
}

/// The rows for training: images where the array is one of u8 with three axes or four.
pub fn memory(py: Python<'_>, name: &str, read: Array, layout: Layout) -> PyResult<Memory> {
    let Array { numbers, shape, names } = read;
    match (numbers, &shape[..]) {
        (Numbers::U8(bytes), [_, axes @ ..]) if axes.len() == 2 || axes.len() == 3 => {
            Memory::of_images(name, bytes, axes, layout).raised(py)
        }
        (numbers, [n] | [n, _]) => {
            let dim = shape.get(1).copied().unwrap_or(1);
            if *n == 0 || dim == 0 {
                return Err(Trouble::invalid(format!("{name} has no rows to train on"), "give some rows").raise(py));
            }
            let x = numbers.into_f64().into();
            Ok(Memory { name: name.into(), x, dim, columns: names, ..Memory::default() })
        }
        (Numbers::F64(_), [_, _, _] | [_, _, _, _]) => {
            let problem = format!("{name} has the shape {shape:?}, but images are u8");
            Err(Trouble::invalid(
                problem,
                "give whole grey levels: (255 * x).round().astype('uint8') of numbers from 0 to 1",
            )
            .raise(py))
        }
        _ => {
            let problem = format!("{name} has the shape {shape:?}, expected [n, d]");
            Err(Trouble::invalid(problem, "give rows of numbers, or u8 images [n, height, width]").raise(py))
        }
    }
}
