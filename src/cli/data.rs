//! `cnf data`: the toys, draws from one, or a summary of a file.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use cnflow::apply::Gaps;
use cnflow::io::{self, Array, Format, Pick, Reader};
use cnflow::plot::{ImageBlock, Options, Tone};
use cnflow::rows::{Toy, digits, toys};
use cnflow::transform::Pixels;
use cnflow::{Error, ImageShape, rng, words};
use serde_json::{Value, json};

use super::output::{self, Kind};
use super::picture::Shown;
use super::{Context, TableArgs, findings, interrupt, picture, statistics, text};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf data                                                  the list
  cnf data 8gaussians -n 10000 -o x.npy --with-density logp.npy --plot x.png
  cnf data stars.npy                                        rows, columns and their ranges
  cnf data archive.npz:x --plot x.png
  cnf data digits -o digits.npy --plot digits.png           images

An entropy is the lowest mean negative log-likelihood, in nats, that any model can reach on unseen points.";

/// The generator's stream of draws; training and held-out sets have others.
const DRAW_STREAM: u64 = 0x5a3b_0003;
/// A picture of a toy without -n shows this many.
const SHOWN: u32 = 10_000;

/// Arguments of `cnf data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// A toy's name, digits, or a file: .npy, .npz, .csv or -idx3-ubyte; - for stdin; or a folder of PNG images.
    name: Option<String>,
    /// Number of points to draw from a toy.
    #[arg(short, long, value_name = "N", requires = "name",
        value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    n: Option<u32>,
    /// The points, [n, d]: .npy, .npz or .csv, or - for text on stdout.
    #[arg(short, long, value_name = "FILE", requires = "name")]
    output: Option<PathBuf>,
    /// The toy's analytic log-density at the points, [n].
    #[arg(long, value_name = "FILE", requires = "output")]
    with_density: Option<PathBuf>,
    /// A picture: .png or .svg.
    #[arg(long, value_name = "FILE", requires = "name")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    pub tables: TableArgs,
    /// Columns of the file to look at, in this order, by name or number from 0
    #[arg(
        long,
        value_name = "COLUMNS",
        value_delimiter = ',',
        num_args = 1,
        requires = "name",
        conflicts_with = "drop"
    )]
    columns: Vec<String>,
    /// Columns of the file to leave out, by name or number from 0
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', num_args = 1, requires = "name")]
    drop: Vec<String>,
    #[command(flatten)]
    shown: Shown,
    /// Random seed of the draw.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl DataArgs {
    /// The tables that it writes.
    pub fn tables_written(&self) -> Vec<&Path> {
        self.output.iter().chain(&self.with_density).map(PathBuf::as_path).collect()
    }
}

/// Runs the command.
pub fn run(mut args: DataArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    args.name.iter_mut().try_for_each(|name| context.pipes.take_text(name))?;
    args.shown.check(args.plot.is_some())?;
    let (out, density) = (args.output.as_deref(), args.with_density.as_deref());
    let read = args.name.as_deref().filter(|name| toys::find(name).is_err()).map(Path::new);
    output::check(&[(Kind::Table, out), (Kind::Table, density), (Kind::Picture, args.plot.as_deref())], &[read])?;
    let Some(name) = &args.name else { return list(context) };
    if name == digits::NAME || toys::find(name).is_ok() {
        context.dialect.check_for(&[])?;
        let given = [("--columns", !args.columns.is_empty()), ("--drop", !args.drop.is_empty())];
        if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
            let problem = format!("{flag} has no meaning for `{name}`, which is not a file");
            return Err(Error::invalid(problem, format!("leave out {flag}; --axes chooses columns of pictures")).into());
        }
    }
    if name == digits::NAME {
        let images = Images { bytes: digits::images()?, shape: digits::SHAPE };
        return look_at_images(name, &images, &args, context);
    }
    match toys::find(name) {
        Ok(toy) => draw(toy, &args, context),
        Err(unknown) => {
            let path = Path::new(name);
            if Format::of(path).is_none() && path.components().count() < 2 && !path.exists() {
                return Err(unknown.into());
            }
            context.dialect.check_for(&[path])?;
            let picked = !args.columns.is_empty() || !args.drop.is_empty();
            let images = if picked { None } else { Images::read(path, context)? };
            match images {
                Some(images) => look_at_images(name, &images, &args, context),
                None => look(path, &args, context),
            }
        }
    }
}

fn facts_of(toy: &Toy) -> Value {
    json!({ "name": toy.name, "dim": toy.dim, "entropy": toy.entropy, "entropy_se": toy.entropy_se, "about": toy.about })
}

fn list(context: &Context) -> Result<()> {
    let facts: Vec<Value> = toys::ALL.iter().map(facts_of).collect();
    let mut words = format!("{:<14} {:>3} {:>9}  about\n", "name", "d", "entropy");
    for toy in toys::ALL {
        words += &format!("{:<14} {:>3} {:>9.5}  {}\n", toy.name, toy.dim, toy.entropy, toy.about);
    }
    words += &format!("\n{:<14} {:>3} {:>9}  {}\n", digits::NAME, digits::SHAPE.len(), "", digits::ABOUT);
    let built_in = json!({ "name": digits::NAME, "dim": digits::SHAPE.len(), "about": digits::ABOUT });
    context.report(&words, &json!({ "toys": facts, "images": [built_in] }))
}

fn draw(toy: &Toy, args: &DataArgs, context: &Context) -> Result<()> {
    let wanted = args.n.is_some() || args.output.is_some() || args.plot.is_some();
    if args.n.is_some() && args.output.is_none() && args.plot.is_none() {
        return Err(Error::invalid("no output was given for the points", "give -o x.npy or --plot x.png").into());
    }
    let n = if wanted { args.n.unwrap_or(SHOWN) as usize } else { 0 };
    let x = (toy.sample)(n, &mut rng::stream(args.seed, DRAW_STREAM));
    let log_prob: Vec<f64> = x.chunks_exact(toy.dim).map(toy.log_prob).collect();
    let style = args.shown.over(Options::default(), toy.dim)?;
    interrupt::critical_section(|| {
        if let Some(path) = &args.output {
            output::table(path, &x, toy.dim)?;
        }
        if let Some(path) = &args.with_density {
            output::vector(path, &log_prob)?;
        }
        args.plot.as_ref().map_or(Ok(()), |path| picture::points(path, &x, toy.dim, Tone::Data, &style, context))
    })?;
    let mut facts = facts_of(toy);
    let mut words = format!("{}: {}, dimension {}, entropy {:.5}\n", toy.name, toy.about, toy.dim, toy.entropy);
    if wanted {
        let (mean, se) = text::mean_and_se(&log_prob);
        facts["n"] = n.into();
        facts["mean_log_prob"] = mean.into();
        words += &format!("mean log p {}\n", words::mean(mean, se, 5, "nats", n as u64, "point"));
    }
    for path in [&args.output, &args.with_density, &args.plot].into_iter().flatten() {
        words += &format!("wrote {}\n", path.display());
    }
    context.report(&words, &facts)
}

/// Images of a file or a folder.
struct Images {
    bytes: Vec<u8>,
    shape: ImageShape,
}

impl Images {
    /// None where the rows of the file are not images.
    fn read(path: &Path, context: &Context) -> Result<Option<Self>> {
        // Neither texts nor Parquet hold images, and `look` notes how they were read.
        if Format::of(path).is_some_and(Format::names_columns) {
            return Ok(None);
        }
        let reader = Reader::open_with(path, &context.dialect, context.layout)?;
        let Some(shape) = reader.shape() else { return Ok(None) };
        context.notes_on_tables(reader.notes());
        Ok(Some(Self { bytes: reader.whole_bytes()?, shape }))
    }
}

/// Columns and rows of images in a picture.
const IMAGE_COLUMNS: usize = 16;
const IMAGE_ROWS: usize = 10;

fn look_at_images(name: &str, images: &Images, args: &DataArgs, context: &Context) -> Result<()> {
    let Images { bytes, shape } = images;
    let n = bytes.len() / shape.len();
    if args.n.is_some() || (args.output.is_some() && name != digits::NAME) {
        let problem = format!("`{name}` holds images, which have no density to draw from");
        return Err(Error::invalid(problem, format!("name a toy: {}", toys::names())).into());
    }
    let wide = |bytes: &[u8]| bytes.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let (low, high) = (bytes.iter().min().copied().unwrap_or(0), bytes.iter().max().copied().unwrap_or(0));
    interrupt::critical_section(|| {
        if let Some(path) = &args.output {
            output::images(path, &wide(bytes), *shape)?;
        }
        let Some(path) = &args.plot else { return anyhow::Ok(()) };
        let shown = n.min(IMAGE_COLUMNS * IMAGE_ROWS);
        let most = (Pixels::levels_upto(high.into()) - 1).max(1) as f64;
        let block = ImageBlock::new("", &wide(&bytes[..shown * shape.len()]), most, IMAGE_COLUMNS.min(shown));
        Ok(cnflow::plot::images(path, *shape, &[block], &Options::default())?)
    })?;
    let mut words = format!(
        "{name}: {} of {}, grey levels {low} to {high}\n",
        words::count(n as u64, "image"),
        words::image(*shape)
    );
    let black = bytes.iter().filter(|v| **v == 0).count() as f64 / bytes.len() as f64;
    words += &format!("pixels of level 0: {:.1} %\n", 100.0 * black);
    for path in [&args.output, &args.plot].into_iter().flatten() {
        words += &format!("wrote {}\n", path.display());
    }
    let facts = json!({
        "file": name,
        "rows": n,
        "cols": shape.len(),
        "height": shape.height,
        "width": shape.width,
        "channels": shape.channels,
        "dtype": "u8",
        "min": low,
        "max": high,
        "share_of_0": black,
    });
    context.report(&words, &facts)
}

fn look(path: &Path, args: &DataArgs, context: &Context) -> Result<()> {
    if args.n.is_some() || args.output.is_some() {
        let problem = format!("`{}` is a file, which has no density to draw from", path.display());
        return Err(Error::invalid(problem, format!("name a toy: {}", toys::names())).into());
    }
    let pick = Pick { keep: args.columns.clone(), drop: args.drop.clone(), also: Vec::new() };
    let io::Whole { array, notes, .. } = io::read_pick(path, &context.dialect, context.layout, true, &pick)?;
    context.notes_on_tables(&notes);
    let all = array.rows;
    let array = whole_rows(path, array, context)?;
    let (mean, std) = text::moments(&array.data, array.cols);
    let columns: Vec<Value> = (0..array.cols)
        .map(|j| {
            let (min, max) = range(&array, j);
            json!({ "name": name(&array, j), "mean": mean[j], "std": std[j], "min": min, "max": max })
        })
        .collect();
    if let Some(plot) = &args.plot {
        let options = Options { names: array.columns.clone().unwrap_or_default(), ..Options::default() };
        let options = args.shown.over(options, array.cols)?;
        interrupt::critical_section(|| picture::points(plot, &array.data, array.cols, Tone::Data, &options, context))?;
    }
    let (rows, cols) = (words::count(array.rows as u64, "row"), words::count(array.cols as u64, "column"));
    let mut words = format!("{}: {rows}, {cols} of {}\n", path.display(), array.dtype);
    if array.columns.is_none() {
        words += "columns without names are counted from 0\n";
    }
    words += &format!("{:<12} {:>12} {:>12} {:>12} {:>12}\n", "column", "mean", "std", "min", "max");
    for j in 0..array.cols {
        let (min, max) = range(&array, j);
        let [mean, min, max] = [mean[j], min, max].map(|v| words::resolved(v, std[j]));
        let std = words::number(std[j], 5);
        words += &format!("{:<12} {mean:>12} {std:>12} {min:>12} {max:>12}\n", name(&array, j));
    }
    let facts = json!({
        "file": path,
        "rows": array.rows,
        "missing": all - array.rows,
        "cols": array.cols,
        "dtype": array.dtype.to_string(),
        "columns": columns,
        "data_warnings": findings::noted_of(&array, context),
    });
    context.report(&words, &facts)
}

/// The rows of a table without a missing cell, with a note on the others.
fn whole_rows(path: &Path, array: Array, context: &Context) -> Result<Array> {
    let Some(gaps) = Gaps::of(&array.data, array.cols, &[]) else { return Ok(array) };
    if gaps.kept().is_empty() {
        let problem = format!("each of its {} has a missing cell", words::count(array.rows as u64, "row"));
        return Err(Error::read(path, problem, "leave out the columns with missing cells, or fill the cells").into());
    }
    statistics::note_left_out(path, gaps.missing(), context);
    Ok(Array { rows: gaps.kept().len(), data: gaps.pick(&array.data), ..array })
}

fn name(array: &Array, j: usize) -> String {
    array.columns.as_ref().and_then(|names| names.get(j).cloned()).unwrap_or_else(|| j.to_string())
}

fn range(array: &Array, j: usize) -> (f64, f64) {
    let column = array.data.iter().skip(j).step_by(array.cols);
    column.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
}
