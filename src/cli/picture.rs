//! Pictures of points, and the bounds of pictures of densities.

use std::path::Path;

use anyhow::Result;
use cnf::plot::{self, Aspect, Axis, Layer, Options, Panel, Tone};

/// A scatter shows at most this many points, evenly taken.
const MOST_DOTS: usize = 20_000;

/// The points `[n, d]`: a histogram, a scatter, or a corner plot of up to six columns, in the colour of data or samples.
///
/// # Errors
/// As for the pictures of [`plot`].
pub fn points(path: &Path, x: &[f64], d: usize, tone: Tone, names: &[String]) -> Result<()> {
    let options = Options { names: names.to_vec(), ..Options::default() };
    if d != 2 {
        let (data, samples) = if tone == Tone::Data { (x, &[][..]) } else { (&[][..], x) };
        plot::samples(path, data, samples, d, &options)?;
        return Ok(());
    }
    let n = x.len() / 2;
    let most = n.min(MOST_DOTS);
    let dots = (0..most).map(|k| 2 * (k * n / most)).flat_map(|at| [x[at], x[at + 1]]).collect();
    let axis = |j: usize| {
        let name = names.get(j).cloned().unwrap_or_else(|| ["x₁", "x₂"][j].into());
        Axis::new(name, plot::extent(x, 2, j))
    };
    let panel = Panel {
        title: String::new(),
        x: axis(0),
        y: axis(1),
        layers: vec![Layer::Dots { points: dots, tone, label: String::new() }],
        aspect: Aspect::Auto,
    };
    Ok(plot::panels(path, &[panel], 1, &options)?)
}
