//! `cnf trajectory` of a model of images: samples from noise to data, as a picture and as a film.
//!
//! In the picture a row is a sample and a column a time; in the film all samples are a grid, a class a column. At every
//! time the map of the grey levels that ends the flow is applied, so that the noise of the latent is seen in the levels
//! of the data. Layers are shown whole, and a film moves each pixel on a straight line from one to the next.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use cnflow::Error;
use cnflow::apply::OutOfRange;
use cnflow::continuous::End;
use cnflow::model::BoundModel;
use cnflow::plot::{self, ImageBlock};
use cnflow::rng;
use cnflow::transform::{Cost, Pixels, StandardNormal};
use cnflow::words;
use serde_json::json;

use super::report::files;
use super::times::{even, frames, moments};
use super::{Followed, LATENT_STREAM, PAUSE, TrajectoryArgs, layer};
use crate::cli::progress::watched;
use crate::cli::setup::Setup;
use crate::cli::{Context, images, interrupt, statistics};

/// Rows of a film's grid, of the picture, and the most images that are followed.
const ROWS: usize = 6;
const PICTURE_ROWS: usize = 10;
const MOST: usize = 400;
/// Columns of the picture where `--panels` is not given.
const PANELS: u16 = 9;
/// Columns of a grid without classes, at most.
const WIDEST: usize = 20;

/// The images that are followed.
struct Images<'a> {
    setup: &'a Setup,
    pixels: &'a Pixels,
    model: BoundModel,
    layers: Option<usize>,
    /// `[n, d]` at one end, and their conditions, `[n, c]`.
    start: Vec<f64>,
    end: End,
    given: Vec<f64>,
    /// Of how many rows they were taken.
    of: usize,
    out_of_range: OutOfRange,
}

/// Runs the command on a model of images.
pub(super) fn run(
    args: &TrajectoryArgs,
    setup: &Setup,
    points: Option<&Path>,
    pixels: &Pixels,
    context: &Context,
) -> Result<()> {
    refuse(args)?;
    let clock = Instant::now();
    let images = Images::new(args, setup, (points, pixels), context)?;
    let (layers, n) = (images.layers, images.n());
    let still: Option<Vec<f64>> = args.output.as_ref().map(|_| {
        let (times, shown) = moments(args.panels.unwrap_or(PANELS).into(), layers);
        shown.iter().map(|k| times[*k]).collect()
    });
    let film = args.gif.as_ref().map(|_| frames(args.frames.into(), layers));
    let times: Vec<f64> = still.iter().flatten().chain(film.iter().flatten()).copied().collect();
    let (places, cost) = images.follow(&times, context)?;
    let style = plot::Options { theme: args.theme, size: args.size, ..plot::Options::default() };
    let size = n * pixels.dim();
    if let (Some(path), Some(times)) = (&args.output, &still) {
        let block = images.picture(times, &places[..times.len() * size]);
        interrupt::critical_section(|| plot::images(path, pixels.shape, &[block], &style))?;
    }
    let mut bytes = None;
    if let (Some(path), Some(times)) = (&args.gif, &film) {
        let first = still.as_ref().map_or(0, Vec::len);
        let blocks = images.film(times, &places[first * size..]);
        bytes = Some(watched("drawing", Some(times.len() as u64), 1, context, |done| {
            plot::image_film(path, pixels.shape, &blocks, args.fps.into(), PAUSE, &style, || done.add(1))
        })?);
    }
    images.report(args, (still.as_deref(), bytes), &cost, clock.elapsed().as_secs_f64(), context)?;
    Ok(cnflow::transform::check_failures(&cost, n)?)
}

/// Refuses what only pictures of particles have.
fn refuse(args: &TrajectoryArgs) -> Result<()> {
    let given = [
        ("--axes", args.axes.is_some()),
        ("--paths", args.paths.is_some()),
        ("--grid", args.grid.is_some()),
        ("--log", args.log.log.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => {
            let problem = format!("{flag} has no meaning for a model of images: these are shown whole");
            Err(Error::invalid(problem, format!("leave out {flag}")).into())
        }
    }
}

impl<'a> Images<'a> {
    fn new(
        args: &TrajectoryArgs,
        setup: &'a Setup,
        (points, pixels): (Option<&Path>, &'a Pixels),
        context: &Context,
    ) -> Result<Self> {
        let (model, layers) = (setup.model.bind(setup.precision)?, setup.model.spec.stages()?);
        let d = setup.model.dim();
        let note = |all: usize| {
            if all > MOST {
                context.note(&format!("{MOST} of {} are followed, evenly taken", words::count(all as u64, "image")));
            }
        };
        if let Some(path) = points {
            let Followed { x: start, given, of, out_of_range } = Followed::of(args, setup, path, MOST, context)?;
            note(of);
            return Ok(Self { setup, pixels, model, layers, start, end: End::Data, given, of, out_of_range });
        }
        let mut out_of_range = OutOfRange::of(&setup.model);
        let classes = images::classes(&setup.model).filter(|_| !args.given.is_given());
        let wanted = args.n.map_or(ROWS * classes.map_or(images::COLUMNS, <[i64]>::len), usize::from);
        note(wanted);
        let n = wanted.min(MOST);
        let given: Vec<f64> = match classes {
            // One of each in turn.
            Some(classes) => (0..n).map(|i| classes[i % classes.len()] as f64).collect(),
            None => {
                let conditions = args.given.of(&setup.model, context)?;
                if conditions.several() {
                    let problem = "a file of conditions without images: which samples shall have them is not known";
                    return Err(Error::invalid(problem, "give --given with one condition for all, or images").into());
                }
                let row = conditions.one().map_or(Vec::new(), <[f64]>::to_vec);
                out_of_range.see_one(&row)?;
                row.repeat(n)
            }
        };
        let seed = args.solver.seed.unwrap_or(0);
        let start = StandardNormal::new(d).draw(n, &mut rng::stream(seed, LATENT_STREAM));
        Ok(Self { setup, pixels, model, layers, start, end: End::Latent, given, of: n, out_of_range })
    }

    fn n(&self) -> usize {
        self.start.len() / self.pixels.dim()
    }

    /// The images at all times, `[times, n, d]`, as grey levels; NaN where one has failed.
    fn follow(&self, times: &[f64], context: &Context) -> Result<(Vec<f64>, Cost)> {
        let n = self.n();
        let whole = self.layers.map(|layers| even(layers + 1));
        let found = watched("following", Some(n as u64), 1, context, |done| {
            let model = self.model.with_progress(done)?;
            model.places(&self.start, self.end, &self.given, whole.as_deref().unwrap_or(times))
        })?;
        if found.cost.failures.len() == n {
            cnflow::transform::check_failures(&found.cost, n)?;
        }
        let places = match &whole {
            Some(_) => times.iter().flat_map(|t| found.drawn(*t)).collect(),
            None => found.points,
        };
        Ok((places, found.cost))
    }

    /// What a time is called.
    fn label(&self, t: f64) -> String {
        match layer(&self.setup.model, t) {
            Some(layer) => layer.to_string(),
            None => {
                let text = format!("{t:.3}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
        }
    }

    /// Some of the images, a row each; one of each class where they have several.
    fn picture(&self, times: &[f64], places: &[f64]) -> ImageBlock {
        let (n, d) = (self.n(), self.pixels.dim());
        let classes = images::classes(&self.setup.model);
        let rows = n.min(classes.map_or(PICTURE_ROWS, |classes| classes.len().max(PICTURE_ROWS)));
        let shown: Vec<usize> = match (self.end, classes) {
            (End::Latent, Some(_)) => (0..rows).collect(),
            _ => (0..rows).map(|k| k * n / rows).collect(),
        };
        let all: Vec<f64> = shown
            .iter()
            .flat_map(|i| (0..times.len()).flat_map(move |k| &places[(k * n + i) * d..][..d]))
            .copied()
            .collect();
        let title = if self.layers.is_some() { "layer" } else { "t" };
        let block = ImageBlock::new(title, &all, images::most(self.pixels), times.len());
        let block = block.labelled(times.iter().map(|t| self.label(*t)).collect());
        match classes {
            Some(_) => block.with_row_labels(shown.iter().map(|i| format!("{}", self.given[*i])).collect()),
            None => block,
        }
    }

    /// All images at each time, a class a column where there are several.
    fn film(&self, times: &[f64], places: &[f64]) -> Vec<ImageBlock> {
        let (n, size) = (self.n(), self.n() * self.pixels.dim());
        let several = self.given.windows(2).any(|pair| pair[0] != pair[1]);
        let classes = images::classes(&self.setup.model).filter(|_| several);
        let columns = ((n as f64 * 1.3).sqrt().ceil() as usize).clamp(1, WIDEST).min(n);
        let grid = |(t, images): (&f64, &[f64])| {
            let now = match self.layers {
                Some(layers) => format!("layer {} of {layers}", self.label(*t)),
                None => format!("t = {t:.2}"),
            };
            match classes {
                Some(_) => images::block(&now, &self.setup.model, self.pixels, images, &self.given, n),
                None => ImageBlock::new(now, images, images::most(self.pixels), columns),
            }
        };
        times.iter().zip(places.chunks_exact(size)).map(grid).collect()
    }

    fn report(
        &self,
        args: &TrajectoryArgs,
        (still, bytes): (Option<&[f64]>, Option<usize>),
        cost: &Cost,
        seconds: f64,
        context: &Context,
    ) -> Result<()> {
        let (n, nfe_max) = (self.n(), cost.nfe.iter().copied().max().unwrap_or(0));
        let layers: Option<Vec<usize>> =
            still.and_then(|times| times.iter().map(|t| layer(&self.setup.model, *t)).collect());
        let facts = json!({
            "n": n,
            "of": self.of,
            "dim": self.pixels.dim(),
            "images": self.pixels.shape,
            "times": still,
            "layers": layers,
            "n_layers": self.layers,
            "frames": args.gif.as_ref().map(|_| args.frames),
            "gif_bytes": bytes,
            "nfe_mean": cost.nfe_mean(),
            "nfe_max": nfe_max,
            "failed": cost.failures.len(),
            "seconds": seconds,
            "condition_outside": self.out_of_range.facts(),
            "model": self.setup.path,
            "output": args.output,
            "gif": args.gif,
        });
        let count = words::count(n as u64, "image");
        let mut text = format!("{count} in {}\n", words::duration(seconds));
        text += &match self.layers {
            Some(layers) => format!("layers: {layers}\n"),
            None => format!("NFE an image: {:.1}, at most {nfe_max}\n", cost.nfe_mean()),
        };
        if !cost.failures.is_empty() {
            text += &format!("failed: {} of {count}; they are blank where they failed\n", cost.failures.len());
        }
        text += &statistics::out_of_range(&self.out_of_range, context);
        text += &files(args, bytes);
        context.report(&text, &facts)
    }
}
