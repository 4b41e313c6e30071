//! Pictures of points, and the bounds of pictures of densities.

use std::path::Path;

use anyhow::Result;
use cnf::flow::Model;
use cnf::plot::{self, Aspect, Axis, Cells, Grid, Layer, Options, Panel, Theme, Tone};
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

/// Powers of ten in which columns are drawn whose densities are no numbers of 64 bits otherwise.
pub struct Units {
    exponents: Vec<i32>,
}

impl Units {
    /// For columns of these ranges; 10⁰ for all that is not far beyond use.
    pub fn of(ranges: &[(f64, f64)]) -> Self {
        let one = |(low, high): &(f64, f64)| {
            let (size, length) = (low.abs().max(high.abs()), high - low);
            let plain = size < 1e90 && length > 1e-90;
            if plain || !(length > 0.0 && size.is_finite()) { 0 } else { length.log10().floor() as i32 }
        };
        Self { exponents: ranges.iter().map(one).collect() }
    }

    /// A number of column j. In two steps: the power itself may be out of range.
    fn number(&self, j: usize, x: f64) -> f64 {
        let half = self.exponents[j] / 2;
        x / 10f64.powi(half) / 10f64.powi(self.exponents[j] - half)
    }

    /// Rows `[n, d]`.
    pub fn rows(&self, x: &[f64]) -> Vec<f64> {
        x.iter().enumerate().map(|(i, x)| self.number(i % self.exponents.len(), *x)).collect()
    }

    /// The range of column j.
    pub fn range(&self, j: usize, (low, high): (f64, f64)) -> (f64, f64) {
        if j < self.exponents.len() { (self.number(j, low), self.number(j, high)) } else { (low, high) }
    }

    /// A density from its logarithm in the data's units.
    pub fn density(&self, log_prob: f64) -> f64 {
        let volume = self.exponents.iter().map(|e| f64::from(*e)).sum::<f64>() * std::f64::consts::LN_10;
        (log_prob + volume).exp()
    }

    /// The density on a grid, from its logarithms in the data's units.
    pub fn grid(&self, grid: &Grid, log_prob: &[f64]) -> Grid {
        let values = log_prob.iter().map(|l| self.density(*l)).collect();
        Grid { x: self.range(0, grid.x), y: self.range(1, grid.y), nx: grid.nx, ny: grid.ny, values }
    }

    /// Cells.
    pub fn cells(&self, cells: Cells) -> Cells {
        Cells { x: self.range(0, cells.x), y: self.range(1, cells.y), ..cells }
    }

    /// The names of the columns with their powers, where they have one.
    pub fn options(&self, options: &Options) -> Options {
        if self.exponents.iter().all(|e| *e == 0) {
            return options.clone();
        }
        let one = |(j, e): (usize, &i32)| {
            let name = options.names.get(j).cloned().unwrap_or_else(|| {
                let low = (j + 1)
                    .to_string()
                    .into_bytes()
                    .into_iter()
                    .filter_map(|b| char::from_u32(0x2080 + u32::from(b - b'0')));
                std::iter::once('x').chain(low).collect()
            });
            if *e == 0 { name } else { format!("{name} / 1e{e}").replace("e-", "e−") }
        };
        Options { names: self.exponents.iter().enumerate().map(one).collect(), ..options.clone() }
    }
}

/// The points `[n, d]`: a histogram, a scatter, or a corner plot of up to six columns, in the colour of data or samples.
///
/// # Errors
/// As for the pictures of [`plot`].
pub fn points(path: &Path, x: &[f64], d: usize, tone: Tone, options: &Options) -> Result<()> {
    let units = Units::of(&(0..d).map(|j| plot::extent(x, d, j)).collect::<Vec<_>>());
    let (x, options) = (&units.rows(x)[..], &units.options(options));
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
