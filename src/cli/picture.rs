//! Pictures of points, and the bounds and options of pictures.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use cnflow::Error;
use cnflow::model::Model;
use cnflow::plot::{self, Cells, Grid, MOST_CHOSEN, Options, Scale, Theme, Tone};
use cnflow::train::{Job, Picture};

use super::Context;

/// `light` or `dark`.
pub fn theme(name: &str) -> Result<Theme, String> {
    match name {
        "light" => Ok(Theme::Light),
        "dark" => Ok(Theme::Dark),
        _ => Err("expected light or dark".into()),
    }
}

/// `900x600`.
pub fn size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once(['x', '×']).and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)));
    sides.ok_or_else(|| "expected width and height in pixels, such as 900x600".into())
}

/// What pictures show, and how.
#[derive(Args, Clone, Debug, Default)]
pub struct Shown {
    /// Columns in pictures, at most 12, by name or number from 0; if left out, all of up to eight, else six evenly
    /// chosen
    #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 1)]
    pub axes: Vec<String>,
    #[command(flatten)]
    pub log: Logarithm,
}

/// The name that `--axes` had, for commands that read no table.
#[derive(Args, Clone, Debug, Default)]
pub struct FormerName {
    #[arg(long, hide = true, value_name = "NAMES", value_parser = former)]
    columns: Option<String>,
}

fn former(_: &str) -> Result<String, Error> {
    Err(Error::invalid("the columns of pictures are --axes", "give --axes"))
}

/// Whether log-densities are drawn.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Logarithm {
    /// Logarithmic density scale over N decades [default: 6]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "6",
        value_parser = clap::value_parser!(u16).range(1..=300))]
    pub log: Option<u16>,
}

impl Logarithm {
    /// The scale of colours and densities, if given.
    pub fn scale(self) -> Option<Scale> {
        scale(self.log)
    }

    /// For a command whose picture is drawn only where `plotted`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the option without a picture.
    pub fn check(self, plotted: bool) -> Result<()> {
        if plotted || self.log.is_none() { Ok(()) } else { Err(without_picture("--log")) }
    }
}

fn without_picture(option: &str) -> anyhow::Error {
    let hint = format!("give --plot x.png, or leave out {option}");
    Error::invalid(format!("{option} without --plot: there is no picture"), hint).into()
}

fn scale(log: Option<u16>) -> Option<Scale> {
    log.map(|decades| Scale::Log(decades.into()))
}

impl Shown {
    /// For a command whose picture is drawn only where `plotted`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options without a picture.
    pub fn check(&self, plotted: bool) -> Result<()> {
        if !plotted && !self.axes.is_empty() {
            return Err(without_picture("--axes"));
        }
        self.log.check(plotted)
    }

    /// The style of the model's own run, with the options given here.
    ///
    /// # Errors
    /// As [`columns`].
    pub fn style(&self, model: &Model) -> Result<Options> {
        self.over(style(model), model.dim())
    }

    /// The options given here over a style for `d` columns.
    ///
    /// # Errors
    /// As [`columns`].
    pub fn over(&self, mut style: Options, d: usize) -> Result<Options> {
        style.scale = self.log.scale().unwrap_or(style.scale);
        style.columns = columns(&self.axes, &style.names, d)?.or(style.columns);
        Ok(style)
    }
}

/// The chosen columns, of `d` with these names; `None` where none were chosen.
///
/// # Errors
/// [`Error::Invalid`] for more than [`MOST_CHOSEN`], for a text that is neither a column name nor a number below `d`,
/// and for a column named twice.
pub fn columns(requested: &[String], names: &[String], d: usize) -> Result<Option<Vec<usize>>> {
    if requested.len() > MOST_CHOSEN {
        let problem = format!("--axes has {} columns; a picture shows at most {MOST_CHOSEN}", requested.len());
        return Err(Error::invalid(problem, format!("name at most {MOST_CHOSEN} columns")).into());
    }
    let mut found = Vec::new();
    for text in requested {
        let named = names.iter().position(|name| name == text);
        let Some(column) = named.or_else(|| text.parse().ok()).filter(|column| *column < d) else {
            let known = match names.iter().take(d).collect::<Vec<_>>()[..] {
                [] => String::new(),
                ref names => {
                    format!(", or {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
                }
            };
            let hint = format!("give numbers from 0 to {}{known}", d.saturating_sub(1));
            return Err(Error::invalid(format!("--axes `{text}` is not one of the {d} columns"), hint).into());
        };
        if found.contains(&column) {
            let problem = format!("--axes names {} twice", cnflow::words::column(Some(names), column));
            return Err(Error::invalid(problem, "name each column once").into());
        }
        found.push(column);
    }
    Ok((!found.is_empty()).then_some(found))
}

/// The style of the model's own run: names of columns, direction of the second axis, what is shown.
pub fn style(model: &Model) -> Options {
    let mut picture = Job::of_provenance(&model.provenance).map_or_else(Picture::default, |job| job.output.picture);
    if picture.names.is_empty() {
        picture.names.clone_from(&model.spec.names);
    }
    of(&picture, model.dim())
}

/// The style that a run's options set, of `d` columns.
pub fn of(picture: &Picture, d: usize) -> Options {
    // What was chosen was checked before the training.
    let columns = columns(&picture.columns, &picture.names, d).ok().flatten();
    let scale = scale(picture.log).unwrap_or_default();
    Options { names: picture.names.clone(), invert_y: picture.invert_y, columns, scale, ..Options::default() }
}

/// Powers of ten in which columns are drawn whose densities would overflow f64 otherwise.
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
            let name = options.column_name(j);
            if *e == 0 { name } else { format!("{name} / 1e{e}").replace("e-", "e−") }
        };
        Options { names: self.exponents.iter().enumerate().map(one).collect(), ..options.clone() }
    }
}

/// The points `[n, d]`: a histogram, a scatter, or a corner plot, in the colour of data or samples. Columns that are
/// not shown are noted.
///
/// # Errors
/// As for the pictures of [`plot`].
pub fn points(path: &Path, x: &[f64], d: usize, tone: Tone, options: &Options, context: &Context) -> Result<()> {
    let units = Units::of(&(0..d).map(|j| plot::extent(x, d, j)).collect::<Vec<_>>());
    let (x, drawn) = (&units.rows(x)[..], &units.options(options));
    let (data, samples) = if tone == Tone::Data { (x, &[][..]) } else { (&[][..], x) };
    let shown = plot::samples(path, data, samples, d, drawn)?;
    note_columns(path, &shown, d, options, context);
    Ok(())
}

/// Notes which columns a picture shows, where not all are shown and the options do not choose them.
pub fn note_columns(path: &Path, shown: &[usize], d: usize, options: &Options, context: &Context) {
    if options.columns.is_some() || shown.len() == d {
        return;
    }
    let path = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let (count, list) = (shown.len(), options.list(shown));
    context.note(&format!("{path} shows {count} of {d} columns: {list}; choose others with --axes"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_or_number_and_others_are_refused_with_the_names() {
        let names = ["ra".to_owned(), "dec".to_owned(), "0".to_owned()];
        let requested = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
        let found = |text: &str| columns(&requested(text), &names, 4);
        assert_eq!(found("dec,3,ra").unwrap(), Some(vec![1, 3, 0]));
        // A name goes before a number.
        assert_eq!(found("0,1").unwrap(), Some(vec![2, 1]));
        assert_eq!(columns(&[], &names, 4).unwrap(), None);
        let many = (0..13).map(|c| c.to_string()).collect::<Vec<_>>();
        assert!(columns(&many[..12], &[], 13).unwrap().is_some_and(|found| found.len() == 12));
        let error = columns(&many, &[], 13).unwrap_err().to_string();
        assert_eq!(error, "--axes has 13 columns; a picture shows at most 12");
        for (wrong, part) in [("4", "`4` is not one of the 4"), ("x", "`x`"), ("-1", "`-1`"), ("ra,ra", "`ra` twice")] {
            let error = found(wrong).unwrap_err();
            assert!(error.to_string().contains(part), "{wrong}: {error}");
            let hint = error.downcast_ref::<Error>().and_then(Error::hint).unwrap();
            assert!(wrong == "ra,ra" || hint.contains("0 to 3, or `ra`, `dec`"), "{wrong}: {hint}");
        }
    }
}
