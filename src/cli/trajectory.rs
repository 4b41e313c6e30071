//! `cnf trajectory`: particles and densities on their way from the latent to the data, as a picture or as a film.
//!
//! Everything is drawn in the data's units: the standardisation that ends the flow is applied at every time, so that
//! all times share one pair of axes and a particle moves without a jump. The latent at t = 0 is then N(mean, std²) of
//! that standardisation (the standard normal where a model has none). The flow's own coordinates are not drawn: they do
//! not have the data's units.
//!
//! Places at all times are read off one solve; points from a file are transported backwards, so that their paths
//! end in them. Densities have no such short cut: each cell at each time is a solve of its own.
//!
//! A flow of layers has a distribution after each of them and none in between: panels show whole layers. The frames of
//! a film between two layers show particles on the straight line from the one to the other, over the density of the
//! layer that is done; such places are drawn, not computed.

mod images;
mod journey;
mod report;
mod times;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use cnflow::apply::OutOfRange;
use cnflow::continuous::End;
use cnflow::model::{BoundModel, Model};
use cnflow::plot::{self, Scale, Theme};
use cnflow::transform::{Cost, StandardNormal};
use cnflow::{Error, rng};

use self::times::{even, frames, moments};
use super::columns::{ColumnArgs, Role};
use super::given::GivenArgs;
use super::output::{self, Kind};
use super::picture::{Logarithm, Units};
use super::progress::watched;
use super::setup::{self, Setup};
use super::solver::SolverArgs;
use super::train::pictures::shares;
use super::{Context, TableArgs, interrupt, picture, source, statistics};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf trajectory -o paths.png                               the newest run at five times
  cnf trajectory model.safetensors --gif flow.gif           as a film
  cnf trajectory runs/gauss x.npy -o paths.svg --panels 4   the paths that end in these points
  cnf trajectory runs/gauss --gif flow.gif --frames 90 --fps 30 --theme dark
  cnf trajectory runs/realnvp -o layers.png --panels 9      layer by layer
  cnf trajectory runs/classes -o images.png --gif way.gif   a model of images, from noise to data

A flow of layers (nice, realnvp, glow, spline) is shown after whole layers, evenly chosen: the first panel is the latent, the \
last the data. Each panel has the paths since the previous one. There is no distribution between layers: a film moves the \
particles in straight lines over the density of the last finished layer. Points that a layer moves far out are outside the \
axes. A model without motion (gaussian, mixture, histogram) has no trajectory.

All times are drawn on one pair of axes, in the data's units: the latent lies where the model's standardisation puts it. \
All densities share one colour scale. The colour of a path is the direction of its latent from the mean, or its rank in one \
dimension. In one dimension the picture shows p(x, t) over the (t, x) plane between the curves of both ends. In more than \
two there are particles only, in the first two columns or in --axes.

Of images the picture has a row for each sample and a column for each time; the film has a grid of samples, a class a column.";

/// The stream of the latents.
const LATENT_STREAM: u64 = 0x7a3b_0001;
/// Particles whose places set the visible range.
const SCOUTS: usize = 2048;
const SCOUT_STREAM: u64 = 0x7a3b_0002;
/// The most rows of a file that are followed.
const MOST_FOLLOWED: usize = 5000;
/// Beyond the ends of a flow of layers this part of their range is shown on either side: a layer may move
/// points far out and another move them back, and on axes of that width the data would be a dot.
const ROOM: f64 = 0.25;
/// Particles, panels, and paths that are drawn, where they are not given.
const PARTICLES: u16 = 1000;
const PANELS: u16 = 5;
const PATHS: u16 = 150;
/// Cells along each axis of the (t, x) plane.
const PLANE: (usize, usize) = (120, 200);
/// Cells of a curve of one column.
const CURVE: usize = 300;

/// Arguments of `cnf trajectory`.
#[derive(Debug, Args)]
pub struct TrajectoryArgs {
    /// A model file or a run folder; the newest run if left out.
    model: Option<PathBuf>,
    /// Points, [n, d], to follow instead of drawn particles: .npy, .npz or .csv.
    points: Option<PathBuf>,
    /// A picture of several times: .png or .svg.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A film: .gif.
    #[arg(long, value_name = "FILE")]
    gif: Option<PathBuf>,
    /// Panels of the picture, at equal times from 0 to 1, or at whole layers [default: 5, of images 9].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=12))]
    panels: Option<u16>,
    /// Frames of the film.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u16).range(2..=600))]
    frames: u16,
    /// Frames a second.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=50))]
    fps: u16,
    /// Particles drawn from the latent [default: 1000, of images 6 a column].
    #[arg(short, long, value_name = "N", conflicts_with = "points",
        value_parser = clap::value_parser!(u16).range(1..=5000))]
    n: Option<u16>,
    /// Number of particles whose paths are drawn [default: 150].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2000))]
    paths: Option<u16>,
    /// Cells a side of each density [default: 150 in the picture, 64 in the film]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(10..=500))]
    grid: Option<u16>,
    /// The two columns to draw, by name or number from 0, in more than two dimensions.
    #[arg(long, value_name = "I,J", value_delimiter = ',')]
    axes: Option<Vec<String>>,
    #[command(flatten)]
    log: Logarithm,
    #[command(flatten)]
    given: GivenArgs,
    #[command(flatten)]
    pub tables: TableArgs,
    #[command(flatten)]
    picked: ColumnArgs,
    /// light or dark
    #[arg(long, value_name = "NAME", default_value = "light", value_parser = picture::theme)]
    theme: Theme,
    /// The picture's or the film's size in pixels.
    #[arg(long, value_name = "WxH", value_parser = picture::size)]
    size: Option<(u32, u32)>,
    #[command(flatten)]
    solver: SolverArgs,
}

/// A validated request.
struct Job {
    setup: Setup,
    /// With its parameters.
    model: BoundModel,
    /// Of a flow of layers, how many.
    layers: Option<usize>,
    /// Conditions as the user has them, of the particles in turn: a row for each, one for all, or nothing.
    given: Vec<f64>,
    /// The conditions under which densities are drawn, each with its share of them; none where the model has no
    /// condition.
    shares: Vec<(f64, Vec<f64>)>,
    /// Conditions that are far from those of the training.
    out_of_range: OutOfRange,
    /// The particles, `[n, d]`, at one end.
    start: Vec<f64>,
    end: End,
    /// Of how many rows the particles were taken.
    of: usize,
    /// The columns that are drawn.
    columns: Vec<usize>,
    /// Times of the picture's paths, and which of them are its moments.
    still: Option<(Vec<f64>, Vec<usize>)>,
    /// Times of the film's frames.
    film: Option<Vec<f64>>,
}

/// The particles as they were followed.
struct Found {
    /// Where they are drawn, `[times, n, d]`: at the times of the picture, then at those of the film.
    places: Vec<f64>,
    /// The range of each column that is drawn.
    ranges: Vec<(f64, f64)>,
    cost: Cost,
}

/// Runs the command.
pub fn run(mut args: TrajectoryArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    args.points.iter_mut().try_for_each(|path| context.pipes.take(path))?;
    args.given.take_pipes(context)?;
    let outputs = [(Kind::Picture, args.output.as_deref()), (Kind::Film, args.gif.as_deref())];
    output::check(&outputs, &[args.model.as_deref(), args.points.as_deref(), args.given.file()])?;
    if args.output.is_none() && args.gif.is_none() {
        return Err(Error::invalid("there is nothing to draw", "give -o paths.png, --gif flow.gif, or both").into());
    }
    let (model, points) = setup::model_and_points(args.model.as_deref(), args.points.as_deref());
    args.picked.check(points.is_some())?;
    let setup = Setup::open(model, &args.solver, context)?;
    output::check(&outputs, &[Some(&setup.path)])?;
    if let Some(pixels) = &setup.model.spec.pixels {
        return images::run(&args, &setup, points, pixels, context);
    }
    let job = Job::new(&args, setup, points, context)?;
    let clock = Instant::now();
    let found = job.follow(&args, context)?;
    let style = plot::Options {
        theme: args.theme,
        size: args.size,
        // Data are often far denser than the latent: in proportion the beginning would be blank.
        scale: args.log.scale().unwrap_or(Scale::Power(0.5)),
        columns: None,
        ..picture::style(&job.setup.model)
    };
    let style = plot::Options { names: job.columns.iter().map(|c| style.column_name(*c)).collect(), ..style };
    let style = Units::of(&found.ranges).options(&style);
    let mut bytes = None;
    if let (Some(path), Some((times, moments))) = (&args.output, &job.still) {
        let journey = job.journey(&args, &found, 0, times, moments, false, context)?;
        interrupt::critical_section(|| plot::journey(path, &journey, &style))?;
    }
    if let (Some(path), Some(times)) = (&args.gif, &job.film) {
        let first = job.still.as_ref().map_or(0, |still| still.0.len());
        let moments: Vec<usize> = (0..times.len()).collect();
        let journey = job.journey(&args, &found, first, times, &moments, true, context)?;
        bytes = Some(watched("drawing", Some(times.len() as u64), 1, context, |done| {
            plot::film(path, &journey, args.fps.into(), PAUSE, &style, || done.add(1))
        })?);
    }
    job.report(&args, &found, bytes, clock.elapsed().as_secs_f64(), context)?;
    Ok(cnflow::transform::check_failures(&found.cost, job.n())?)
}

/// Seconds for which a film rests at its end.
const PAUSE: f64 = 1.5;

impl Job {
    fn new(args: &TrajectoryArgs, setup: Setup, points: Option<&Path>, context: &Context) -> Result<Self> {
        let model = setup.model.bind(setup.precision)?;
        let layers = setup.model.spec.stages()?;
        let d = setup.model.dim();
        let columns = columns(args, &setup.model, d)?;
        let c = setup.model.condition_dim();
        let (start, end, of, given, out_of_range) = match points {
            Some(path) => {
                let Followed { x, given, of, out_of_range } = Followed::of(args, &setup, path, MOST_FOLLOWED, context)?;
                (x, End::Data, of, given, out_of_range)
            }
            None => {
                let conditions = args.given.of(&setup.model, context)?;
                if conditions.several() {
                    let problem = "a picture shows one density, but there are several rows of conditions";
                    return Err(Error::invalid(problem, "give --given, or --condition with a single row").into());
                }
                let given = conditions.one().map_or(Vec::new(), <[f64]>::to_vec);
                let mut out_of_range = OutOfRange::of(&setup.model);
                out_of_range.see_one(&given)?;
                let seed = args.solver.seed.unwrap_or(0);
                let n = args.n.unwrap_or(PARTICLES).into();
                let z = StandardNormal::new(d).draw(n, &mut rng::stream(seed, LATENT_STREAM));
                (z, End::Latent, n, given, out_of_range)
            }
        };
        let shares = shares(&given, c);
        let dense = d <= 2 && setup.model.spec.is_dense();
        if shares.len() > 1 && dense {
            context.note(&format!("densities: the mean of those under {} conditions of the points", shares.len()));
        }
        if d == 2 && !dense {
            context.note("the parts of a simplex have no density in the plane: particles only");
        }
        if d > 2 {
            let [i, j] = [columns[0], columns[1]];
            context.note(&format!(
                "the model has {d} dimensions: particles only, in columns {i} and {j} (counted from 0)"
            ));
        }
        let still = args.output.as_ref().map(|_| moments(args.panels.unwrap_or(PANELS).into(), layers));
        let film = args.gif.as_ref().map(|_| frames(args.frames.into(), layers));
        Ok(Self { setup, model, layers, given, shares, out_of_range, start, end, of, columns, still, film })
    }

    /// The number of particles.
    fn n(&self) -> usize {
        self.start.len() / self.setup.model.dim()
    }

    /// The conditions of n particles, in turn.
    fn conditions(&self, n: usize) -> Vec<f64> {
        self.given.iter().copied().cycle().take(n * self.setup.model.condition_dim()).collect()
    }

    /// The particles at all times, and the range of each column that is drawn.
    fn follow(&self, args: &TrajectoryArgs, context: &Context) -> Result<Found> {
        let d = self.setup.model.dim();
        let stills = self.still.iter().flat_map(|still| &still.0);
        let times: Vec<f64> = stills.chain(self.film.iter().flatten()).copied().collect();
        let whole = self.layers.map(|layers| even(layers + 1));
        let n = self.n();
        let scouts = StandardNormal::new(d).draw(SCOUTS, &mut rng::stream(0, SCOUT_STREAM));
        let (found, wide) = watched("following", Some((n + SCOUTS) as u64), 1, context, |done| {
            let model = self.model.with_progress(done)?;
            let at = whole.as_ref().unwrap_or(&times);
            let found = model.places(&self.start, self.end, &self.conditions(n), at)?;
            let at = whole.clone().unwrap_or_else(|| even(9));
            let wide = model.places(&scouts, End::Latent, &self.conditions(SCOUTS), &at)?;
            Ok::<_, anyhow::Error>((found, wide))
        })?;
        if found.cost.failures.len() == n {
            cnflow::transform::check_failures(&found.cost, n)?;
        }
        let places = match &whole {
            Some(_) => times.iter().flat_map(|t| found.drawn(*t)).collect(),
            None => found.points,
        };
        // Given points extend the visible range, but the scouts are needed too: the density is wherever they are.
        let range = |j: &usize| {
            let both = |a: (f64, f64), b: (f64, f64)| (a.0.min(b.0), a.1.max(b.1));
            // Time by time: what is wide for a moment only is seen too.
            let seen: Vec<_> = wide.points.chunks_exact(SCOUTS * d).map(|rows| plot::extent(rows, d, *j)).collect();
            let given = |rows: &[f64]| args.points.is_some().then(|| plot::extent(rows, d, *j));
            let all = seen.iter().copied().chain(given(&places)).reduce(both).unwrap_or((0.0, 1.0));
            if self.layers.is_none() {
                return all;
            }
            let ends = [seen.first(), seen.last()].into_iter().flatten().copied().chain(given(&self.start));
            let ends = ends.reduce(both).unwrap_or(all);
            let room = ROOM * (ends.1 - ends.0);
            (all.0.max(ends.0 - room), all.1.min(ends.1 + room))
        };
        let ranges = self.columns.iter().map(range).collect();
        Ok(Found { places, ranges, cost: found.cost })
    }
}

/// Points of a file that are followed, evenly taken, and their conditions.
struct Followed {
    /// `[n, d]`.
    x: Vec<f64>,
    /// `[n, c]`.
    given: Vec<f64>,
    /// Of how many rows they were taken.
    of: usize,
    out_of_range: OutOfRange,
}

impl Followed {
    /// At most `most` rows of a file.
    fn of(args: &TrajectoryArgs, setup: &Setup, path: &Path, most: usize, context: &Context) -> Result<Self> {
        let (d, c) = (setup.model.dim(), setup.model.condition_dim());
        let mut file = source::of_file(setup, path, (Role::Points, &args.picked), &args.given, None, context)?;
        let (mut rows, mut given, mut missing) = (Vec::new(), Vec::new(), 0);
        while let Some(block) = file.next_block()? {
            let (block, without) = block.without_gaps();
            rows.extend(block.x);
            given.extend(block.condition);
            missing += without;
        }
        statistics::note_left_out(path, missing, context);
        if rows.is_empty() {
            let problem = format!("each row of `{}` has a missing cell", path.display());
            return Err(Error::invalid(problem, "give rows with all their cells").into());
        }
        let of = rows.len() / d;
        let n = of.min(most);
        let some = |all: &[f64], width: usize| -> Vec<f64> {
            (0..n).flat_map(|k| &all[k * of / n * width..][..width]).copied().collect()
        };
        Ok(Self { x: some(&rows, d), given: some(&given, c), of, out_of_range: file.out_of_range().clone() })
    }
}

/// Which layer is the last that is done at a time; none for a velocity.
fn layer(model: &Model, t: f64) -> Option<usize> {
    Some(model.spec.architecture.as_discrete()?.layers_until(t))
}

/// The columns to draw: both, the only one, or the chosen pair.
fn columns(args: &TrajectoryArgs, model: &Model, d: usize) -> Result<Vec<usize>> {
    let Some(requested) = &args.axes else {
        return Ok((0..d.min(2)).collect());
    };
    let names = picture::style(model).names;
    let hint = format!("give two different columns from 0 to {}, as --axes 0,{}", d - 1, d - 1);
    let found = if d > 2 { picture::columns(requested, &names, d)?.unwrap_or_default() } else { Vec::new() };
    match found[..] {
        _ if d <= 2 => {
            let problem = format!("--axes needs more than two dimensions, the model has {d}");
            Err(Error::invalid(problem, "leave out --axes").into())
        }
        [i, j] => Ok(vec![i, j]),
        _ => {
            let problem = format!("--axes {} is not a pair of the model's {d} columns", requested.join(","));
            Err(Error::invalid(problem, hint).into())
        }
    }
}
