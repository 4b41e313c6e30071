//! Pictures of points, and the bounds of pictures of densities.

use std::path::Path;

use anyhow::Result;
use cnf::flow::Model;
use cnf::plot::{self, Aspect, Axis, Layer, Options, Panel, Theme, Tone};
use cnf::train::Picture;

/// A scatter shows at most this many points, evenly taken.
const MOST_DOTS: usize = 20_000;

/// `light` or `dark`.
pub fn theme(name: &str) -> Result<Theme, String> {
    match name {
        "light" => Ok(Theme::Light),
        "dark" => Ok(Theme::Dark),
        _ => Err("known are light, dark".into()),
    }
}

/// `900x600`.
pub fn size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once(['x', '×']).and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)));
    sides.ok_or_else(|| "write width and height in pixels, such as 900x600".into())
}

/// As the pictures of the model's own run were drawn: names of columns, direction of the second axis.
pub fn style(model: &Model) -> Options {
    let drawn = model.story.get("job").and_then(|job| job.get("picture")).cloned();
    let Picture { mut names, invert_y } =
        drawn.and_then(|picture| serde_json::from_value(picture).ok()).unwrap_or_default();
    if names.is_empty() {
        names.clone_from(&model.spec.names);
    }
    Options { names, invert_y, ..Options::default() }
}

/// The points `[n, d]`: a histogram, a scatter, or a corner plot of up to six columns, in the colour of data or samples.
///
/// # Errors
/// As for the pictures of [`plot`].
pub fn points(path: &Path, x: &[f64], d: usize, tone: Tone, options: &Options) -> Result<()> {
    if d != 2 {
        let (data, samples) = if tone == Tone::Data { (x, &[][..]) } else { (&[][..], x) };
        plot::samples(path, data, samples, d, options)?;
        return Ok(());
    }
    let n = x.len() / 2;
    let most = n.min(MOST_DOTS);
    let dots = (0..most).map(|k| 2 * (k * n / most)).flat_map(|at| [x[at], x[at + 1]]).collect();
    let axis = |j: usize| {
        let name = options.names.get(j).cloned().unwrap_or_else(|| ["x₁", "x₂"][j].into());
        let mut axis = Axis::new(name, plot::extent(x, 2, j));
        axis.inverted = j == 1 && options.invert_y;
        axis
    };
    let panel = Panel {
        title: String::new(),
        x: axis(0),
        y: axis(1),
        layers: vec![Layer::Dots { points: dots, tone, label: String::new() }],
        aspect: Aspect::Auto,
    };
    Ok(plot::panels(path, &[panel], 1, options)?)
}
