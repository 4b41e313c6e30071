//! Pictures as PNG, and as arrays.

use cnflow::plot::{self, Grid, ImageBlock, Options, Scale};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays;
use crate::error::{Outcome, Raised, Trouble};
use crate::flow::{Flow, path_of};

/// Samples that locate a density.
const SCOUTS: usize = 4096;
/// The most cells a side.
const MOST_CELLS: usize = 4000;
/// Images in a row of their picture.
const IMAGES_IN_A_ROW: usize = 10;

/// A picture: notebooks show it, `png` are the bytes of its file, `array()` are its pixels.
#[pyclass(frozen, module = "cnflow")]
pub struct Picture {
    bytes: Vec<u8>,
}

#[pymethods]
impl Picture {
    /// The bytes of a PNG file.
    #[getter]
    fn png<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes)
    }

    /// The pixels, `[height, width, 3]` of u8.
    fn array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pixels = image::load_from_memory_with_format(&self.bytes, image::ImageFormat::Png);
        let pixels = pixels.map_err(|e| Trouble::internal(&e.to_string())).raised(py)?.to_rgb8();
        let shape = [pixels.height() as usize, pixels.width() as usize, 3];
        arrays::bytes_array(py, pixels.as_raw(), &shape)
    }

    /// Writes the PNG file.
    fn save(&self, py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<()> {
        Ok(std::fs::write(path_of(py, path)?, &self.bytes)?)
    }

    fn _repr_png_<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.png(py)
    }

    fn __repr__(&self) -> String {
        format!("Picture(PNG, {} bytes)", self.bytes.len())
    }
}

impl Picture {
    /// Of what `draw` writes to a file.
    pub fn drawn(draw: impl FnOnce(&std::path::Path) -> cnflow::Result<()>) -> Outcome<Self> {
        let io = |e: std::io::Error| Trouble::invalid(format!("no temporary file can be written: {e}"), "make room");
        let folder = tempfile::tempdir().map_err(io)?;
        let path = folder.path().join("picture.png");
        draw(&path)?;
        Ok(Self { bytes: std::fs::read(&path).map_err(io)? })
    }
}

/// The style of the pictures of a flow.
fn style(flow: &Flow, log: Option<u16>, title: Option<String>) -> Options {
    let scale = log.map_or_else(Scale::default, |decades| Scale::Log(decades.into()));
    Options { names: flow.bound.model.spec.names.clone(), scale, title, ..Options::default() }
}

/// From the least to the greatest, and a fifth of that on each side.
fn around(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let least = if low == 0.0 && high == 0.0 { 1e-12 } else { 1e-13 * low.abs().max(high.abs()) };
    let margin = (0.2 * (high - low)).max(least);
    (low - margin, high + margin)
}

/// A grid of cells, and log p at their centres.
pub fn grid(flow: &Flow, py: Python<'_>, cells: usize, extent: Option<Vec<(f64, f64)>>) -> PyResult<(Grid, Vec<f64>)> {
    let d = flow.bound.bound.dim();
    let refuse = |problem: String, hint: &str| Err(Trouble::invalid(problem, hint).raise(py));
    if flow.bound.model.spec.classes.is_some() {
        return refuse("the model gives out classes, which have no density".into(), "use `plot_samples`");
    }
    if !flow.bound.model.spec.simplexes.is_empty() {
        return refuse("the model has a simplex, whose parts lie on no plane grid".into(), "use `plot_samples`");
    }
    if d > 2 || flow.bound.model.spec.pixels.is_some() {
        return refuse(format!("the model has {d} dimensions: a grid needs one or two"), "use `plot_samples`");
    }
    if !(2..=MOST_CELLS).contains(&cells) {
        return refuse(format!("a grid of {cells} cells a side"), "give 2 to 4000 cells");
    }
    let edges = match extent {
        Some(edges) => {
            let sound = |(low, high): &(f64, f64)| low < high && (high - low).is_finite();
            if edges.len() != d || !edges.iter().all(sound) {
                return refuse(
                    format!("the extent {edges:?} is no range for {d} dimensions"),
                    "give (low, high) for each column",
                );
            }
            edges
        }
        None => {
            let samples = flow.sampled(py, SCOUTS, 0)?;
            (0..d).map(|j| around(samples.iter().skip(j).step_by(d).copied())).collect()
        }
    };
    let y = edges.get(1).copied().unwrap_or((0.0, 1.0));
    let ny = if d == 1 { 1 } else { cells };
    let log_prob = flow.log_prob_of(py, Grid::centres(edges[0], y, cells, ny))?;
    let grid = Grid::from_log(edges[0], y, cells, ny, &log_prob).raised(py)?;
    Ok((grid, log_prob))
}

/// A density, beside data.
pub fn density(
    flow: &Flow,
    py: Python<'_>,
    data: Option<&Bound<'_, PyAny>>,
    (cells, extent): (usize, Option<Vec<(f64, f64)>>),
    log: Option<u16>,
    title: Option<String>,
) -> PyResult<Picture> {
    let data = data.map(|data| flow.points(py, data)).transpose()?;
    let d = flow.bound.bound.dim();
    let extent = match (&data, extent) {
        (Some(data), None) if d < 3 => Some((0..d).map(|j| plot::extent(data, d, j)).collect()),
        (_, extent) => extent,
    };
    let (grid, _) = grid(flow, py, cells, extent)?;
    let style = style(flow, log, title);
    let draw = |path: &std::path::Path| match &data {
        None => plot::density(path, &grid, None, &style),
        Some(data) => plot::density_and_data(path, data, &grid, &style),
    };
    Picture::drawn(draw).raised(py)
}

/// Samples, beside data.
pub fn samples(
    flow: &Flow,
    py: Python<'_>,
    data: Option<&Bound<'_, PyAny>>,
    samples: Vec<f64>,
    title: Option<String>,
) -> PyResult<Picture> {
    let (d, style) = (flow.bound.bound.dim(), style(flow, None, title));
    let data = data.map(|data| flow.points(py, data)).transpose()?;
    if let Some(pixels) = &flow.bound.model.spec.pixels {
        let most = (pixels.levels() - 1).max(1) as f64;
        let shown = |x: &[f64]| x[..x.len().min(10 * IMAGES_IN_A_ROW * d)].to_vec();
        let block = |title: &str, x: &[f64]| ImageBlock::new(title, &shown(x), most, IMAGES_IN_A_ROW);
        let mut blocks = vec![block(if data.is_some() { "model" } else { "" }, &samples)];
        if let Some(data) = &data {
            blocks.insert(0, block("data", data));
        }
        return Picture::drawn(|path| plot::images(path, pixels.shape, &blocks, &style)).raised(py);
    }
    let finite: Vec<f64> =
        samples.chunks_exact(d).filter(|row| row.iter().all(|v| v.is_finite())).flatten().copied().collect();
    Picture::drawn(|path| plot::samples(path, data.as_deref().unwrap_or(&[]), &finite, d, &style).map(drop)).raised(py)
}
