//! `cnf trajectory`: particles and densities on their way from the latent to the data, as a picture or as a film.
//!
//! Everything is drawn in the data's units: the standardisation that ends the flow is applied at every time, so that all
//! times share one pair of axes and a particle moves without a jump. The latent at t = 0 is then N(mean, std²) of that
//! standardisation (the standard normal where a model has none). The flow's own coordinates are refused for the
//! other reason: their numbers mean nothing to who knows the data.
//!
//! Places at all times are read off one solve; points from a file are carried backwards from where they are, so that
//! their paths end in them exactly. Densities have no such short cut: each cell at each time is a solve of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use clap::Args;
use cnf::Error;
use cnf::flow::{Continuous, End, Paths, StandardNormal};
use cnf::plot::{self, Grid, Journey, Moment, Scale, Theme};
use cnf::rng;
use serde_json::json;

use super::feed::{Conditions, Feed};
use super::given::GivenArgs;
use super::output::{self, Kind};
use super::progress::watched;
use super::setup::{self, Setup};
use super::solver::SolverArgs;
use super::{Context, interrupt, picture, text};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf trajectory -o paths.png                               the newest run at five times
  cnf trajectory model.safetensors --gif flow.gif           as a film
  cnf trajectory runs/gauss x.npy -o paths.svg --panels 4   the paths that end in these points
  cnf trajectory runs/gauss --gif flow.gif --frames 90 --fps 30 --theme dark

All times are drawn on one pair of axes, in the data's units: the latent lies where the model's standardisation puts it. \
All densities share one scale of colours. A path has the colour of where its latent was: its direction from the mean, or \
in one dimension its rank. In one dimension the picture is p(x, t) over the (t, x) plane between the curves of both ends; \
in more than two there are particles only, in the first two columns or in --columns.";

/// The stream of the latents.
const LATENT_STREAM: u64 = 0x7a3b_0001;
/// Particles whose places say what is to be seen.
const SCOUTS: usize = 2048;
const SCOUT_STREAM: u64 = 0x7a3b_0002;
/// Times between 0 and 1 at which a path is known, at least.
const FINE: usize = 96;
/// Of a file with more rows, so many are followed.
const MOST_FOLLOWED: usize = 5000;
/// Cells along each axis of the (t, x) plane.
const PLANE: (usize, usize) = (120, 200);
/// Cells of a curve of one column.
const CURVE: usize = 300;

/// Arguments of `cnf trajectory`.
#[derive(Debug, Args)]
pub struct TrajectoryArgs {
    /// A model file or a run folder; the newest run if left out.
    model: Option<PathBuf>,
    /// Points, [n, d]: .npy, .npz or .csv; the particles are these instead of drawn ones.
    points: Option<PathBuf>,
    /// A picture of some moments: .png or .svg.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A film: .gif.
    #[arg(long, value_name = "FILE")]
    gif: Option<PathBuf>,
    /// Moments in the picture, at equal times from 0 to 1.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=12))]
    panels: u16,
    /// Frames of the film.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u16).range(2..=600))]
    frames: u16,
    /// Frames a second.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=50))]
    fps: u16,
    /// Particles drawn from the latent.
    #[arg(short, long, value_name = "N", default_value_t = 1000, conflicts_with = "points",
        value_parser = clap::value_parser!(u16).range(1..=5000))]
    n: u16,
    /// How many of them leave their path in the picture.
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u16).range(1..=2000))]
    paths: u16,
    /// Cells a side of each density [default: 150 in the picture, 64 in the film]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(10..=500))]
    grid: Option<u16>,
    /// Which two columns are drawn, counted from 0, in more than two dimensions.
    #[arg(long, value_name = "I,J", value_delimiter = ',')]
    columns: Option<Vec<usize>>,
    #[command(flatten)]
    given: GivenArgs,
    /// light or dark
    #[arg(long, value_name = "NAME", default_value = "light", value_parser = picture::theme)]
    theme: Theme,
    /// The picture's or the film's size in pixels.
    #[arg(long, value_name = "WxH", value_parser = picture::size)]
    size: Option<(u32, u32)>,
    #[command(flatten)]
    solver: SolverArgs,
}

/// A request that makes sense.
struct Job {
    setup: Setup,
    condition: Vec<f64>,
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

/// Runs the command.
pub fn run(args: TrajectoryArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    let job = Job::new(&args, context)?;
    let clock = Instant::now();
    let (found, ranges) = job.follow(&args, context)?;
    let style = plot::Options {
        theme: args.theme,
        size: args.size,
        // Data are often far denser than the latent: in proportion the beginning would be blank.
        scale: Scale::Power(0.5),
        ..picture::style(&job.setup.model)
    };
    let style = plot::Options { names: job.columns.iter().map(|c| name(&style, *c)).collect(), ..style };
    let mut bytes = None;
    if let (Some(path), Some((times, moments))) = (&args.output, &job.still) {
        let journey = job.journey(&args, &found, 0, times, moments, &ranges, false, context)?;
        interrupt::undisturbed(|| plot::journey(path, &journey, &style))?;
    }
    if let (Some(path), Some(times)) = (&args.gif, &job.film) {
        let first = job.still.as_ref().map_or(0, |still| still.0.len());
        let moments: Vec<usize> = (0..times.len()).collect();
        let journey = job.journey(&args, &found, first, times, &moments, &ranges, true, context)?;
        bytes = Some(watched("drawing", Some(times.len() as u64), 1, context, |done| {
            let seen = || {
                done.fetch_add(1, Ordering::Relaxed);
            };
            plot::film(path, &journey, args.fps.into(), PAUSE, &style, seen)
        })?);
    }
    job.report(&args, &found, bytes, clock.elapsed().as_secs_f64(), context)?;
    Ok(cnf::flow::check_failures(&found.cost, found.cost.nfe.len())?)
}

/// Seconds for which a film rests at its end.
const PAUSE: f64 = 1.5;

/// The name of a column, as the picture of a single pair would have it.
fn name(style: &plot::Options, column: usize) -> String {
    let low = |d: u8| char::from_u32(0x2080 + u32::from(d - b'0'));
    let usual = || std::iter::once('x').chain((column + 1).to_string().bytes().filter_map(low)).collect();
    style.names.get(column).cloned().unwrap_or_else(usual)
}

/// `n` equal times from 0 to 1.
fn even(n: usize) -> Vec<f64> {
    (0..n).map(|k| k as f64 / (n - 1) as f64).collect()
}

/// All points of a file, `[n, d]`; of them only some are followed.
fn whole(setup: &Setup, path: &Path) -> Result<Vec<f64>> {
    let mut feed = Feed::of_file(setup, path, Conditions::None, None)?;
    let mut rows = Vec::new();
    while let Some(part) = feed.next()? {
        rows.extend(part.x);
    }
    Ok(rows)
}

impl Job {
    fn new(args: &TrajectoryArgs, context: &Context) -> Result<Self> {
        output::check(&[(Kind::Picture, args.output.as_deref()), (Kind::Film, args.gif.as_deref())])?;
        if args.output.is_none() && args.gif.is_none() {
            return Err(Error::invalid("there is nothing to draw", "give -o paths.png, --gif flow.gif, or both").into());
        }
        let (model, points) = setup::told_apart(args.model.as_deref(), args.points.as_deref());
        let setup = Setup::open(model, &args.solver, context)?;
        let d = setup.model.dim();
        let columns = columns(args, d)?;
        let condition = match args.given.of(&setup.model)? {
            Conditions::None => Vec::new(),
            Conditions::One(row) => row,
            Conditions::Each { .. } => {
                let problem = "a picture is of one density, but there are several rows of conditions";
                return Err(Error::invalid(problem, "give --condition with a single row").into());
            }
        };
        let (start, end, of) = match points {
            Some(path) => {
                let rows = whole(&setup, path)?;
                let n = rows.len() / d;
                let most = n.min(MOST_FOLLOWED);
                let some = (0..most).flat_map(|k| rows[k * n / most * d..][..d].to_vec()).collect();
                (some, End::Data, n)
            }
            None => {
                let seed = args.solver.seed.unwrap_or(0);
                let z = StandardNormal::new(d).draw(args.n.into(), &mut rng::stream(seed, LATENT_STREAM));
                (z, End::Latent, args.n.into())
            }
        };
        if d > 2 {
            let [i, j] = [columns[0], columns[1]];
            context.note(&format!("the model has {d} dimensions: particles only, in columns {i} and {j}"));
        }
        let still = args.output.as_ref().map(|_| {
            let gaps = usize::from(args.panels) - 1;
            let between = FINE.div_ceil(gaps);
            (even(gaps * between + 1), (0..=gaps).map(|k| k * between).collect())
        });
        let film = args.gif.as_ref().map(|_| even(args.frames.into()));
        Ok(Self { setup, condition, start, end, of, columns, still, film })
    }

    fn continuous(&self) -> Result<Continuous> {
        Ok(self.setup.model.continuous(self.setup.dtype)?)
    }

    fn conditions(&self, n: usize) -> Vec<f64> {
        self.condition.repeat(n)
    }

    /// The particles at all times, and the range of each column that is drawn.
    fn follow(&self, args: &TrajectoryArgs, context: &Context) -> Result<(Paths, Vec<(f64, f64)>)> {
        let d = self.setup.model.dim();
        let stills = self.still.iter().flat_map(|still| &still.0);
        let times: Vec<f64> = stills.chain(self.film.iter().flatten()).copied().collect();
        let n = self.start.len() / d;
        let scouts = StandardNormal::new(d).draw(SCOUTS, &mut rng::stream(0, SCOUT_STREAM));
        let (found, wide) = watched("following", Some((n + SCOUTS) as u64), 1, context, |done| {
            let layer = self.continuous()?.with_progress(done);
            let model = &self.setup.model;
            let found = model.paths(&layer, &self.start, self.end, &self.conditions(n), &times)?;
            let wide = model.paths(&layer, &scouts, End::Latent, &self.conditions(SCOUTS), &even(9))?;
            Ok::<_, anyhow::Error>((found, wide))
        })?;
        if found.cost.failures.len() == n {
            cnf::flow::check_failures(&found.cost, n)?;
        }
        // Given points decide too what is seen, but not all of them: the density is wherever the scouts are.
        let range = |j: &usize| {
            let given = args.points.is_some().then(|| plot::extent(&found.states, d, *j));
            // Time by time: what is wide for a moment only is seen whole too.
            let moments = wide.states.chunks_exact(SCOUTS * d).map(|rows| plot::extent(rows, d, *j));
            moments.chain(given).fold((f64::INFINITY, f64::NEG_INFINITY), |a, b| (a.0.min(b.0), a.1.max(b.1)))
        };
        let ranges = self.columns.iter().map(range).collect();
        Ok((found, ranges))
    }

    /// What is to be drawn over `times`, which are those of `found` from the `first` on.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing, used once")]
    fn journey(
        &self,
        args: &TrajectoryArgs,
        found: &Paths,
        first: usize,
        times: &[f64],
        moments: &[usize],
        ranges: &[(f64, f64)],
        film: bool,
        context: &Context,
    ) -> Result<Journey> {
        let d = self.setup.model.dim();
        let n = self.start.len() / d;
        let rows = &found.states[first * n * d..(first + times.len()) * n * d];
        let places = rows.chunks_exact(d).flat_map(|row| self.columns.iter().map(|c| row[*c])).collect();
        let side = args.grid.map_or(if film { 64 } else { 150 }, usize::from);
        let (mut shown, mut plane) = (Vec::new(), None);
        if d > 2 {
            shown.extend(moments.iter().map(|at| Moment { at: *at, density: None }));
        } else {
            let (nx, ny) = if d == 1 { (CURVE, 1) } else { (side, side) };
            let y = ranges.get(1).copied().unwrap_or((0.0, 1.0));
            // In one dimension the picture has the ends only.
            let ends = [moments[0], moments[moments.len() - 1]];
            let moments = if d == 1 && !film { &ends } else { moments };
            let strips = if d == 1 { PLANE.0 } else { 0 };
            let work = moments.len() * nx * ny + strips * PLANE.1;
            let (grids, strips) = watched("densities", Some(work as u64), 1, context, |done| {
                let layer = self.continuous()?.with_progress(done);
                let at = |t: f64, nx: usize, ny: usize| self.density(&layer, t, (ranges[0], y), (nx, ny));
                let grids = moments.iter().map(|k| at(times[*k], nx, ny)).collect::<Result<Vec<_>>>()?;
                let centre = |i: usize| (i as f64 + 0.5) / PLANE.0 as f64;
                let strips = (0..strips).map(|i| at(centre(i), PLANE.1, 1)).collect::<Result<Vec<_>>>()?;
                Ok::<_, anyhow::Error>((grids, strips))
            })?;
            let grid = |values: Vec<f64>| Grid { x: ranges[0], y, nx, ny, values };
            shown.extend(moments.iter().zip(grids).map(|(at, g)| Moment { at: *at, density: Some(grid(g)) }));
            if d == 1 {
                let values = (0..PLANE.1).flat_map(|j| strips.iter().map(move |strip| strip[j])).collect();
                plane = Some(Grid { x: (0.0, 1.0), y: ranges[0], nx: PLANE.0, ny: PLANE.1, values });
            }
        }
        Ok(Journey {
            times: times.to_vec(),
            columns: self.columns.len(),
            places,
            threads: args.paths.into(),
            ranges: ranges.to_vec(),
            moments: shown,
            plane,
        })
    }

    /// The density at one time in the centres of cells, NaN where a trajectory fails.
    fn density(
        &self,
        layer: &Continuous,
        t: f64,
        (x, y): ((f64, f64), (f64, f64)),
        (nx, ny): (usize, usize),
    ) -> Result<Vec<f64>> {
        let d = self.setup.model.dim();
        let centres = Grid::centres(x, y, nx, ny);
        let n = centres.len() / d;
        let flow = self.setup.model.spec.around(layer.until(t)?)?;
        let points = Tensor::from_vec(centres, (n, d), &Device::Cpu)?;
        let c = self.conditions(n);
        let width = self.setup.model.condition_dim();
        let c = (width > 0).then(|| Tensor::from_vec(c, (n, width), &Device::Cpu)).transpose()?;
        let (_, log_prob, _) = flow.encode(&points, c.as_ref())?;
        Ok(log_prob.to_dtype(DType::F64)?.to_vec1::<f64>()?.into_iter().map(f64::exp).collect())
    }

    fn report(
        &self,
        args: &TrajectoryArgs,
        found: &Paths,
        bytes: Option<usize>,
        seconds: f64,
        context: &Context,
    ) -> Result<()> {
        let (n, cost, d) = (found.cost.nfe.len(), &found.cost, self.setup.model.dim());
        let nfe_max = cost.nfe.iter().copied().max().unwrap_or(0);
        let moments: Option<Vec<f64>> = self.still.as_ref().map(|(times, at)| at.iter().map(|k| times[*k]).collect());
        let facts = json!({
            "n": n,
            "of": self.of,
            "dim": d,
            "columns": self.columns,
            "densities": d <= 2,
            "times": moments,
            "frames": self.film.as_ref().map(Vec::len),
            "gif_bytes": bytes,
            "nfe_mean": cost.nfe_mean(),
            "nfe_max": nfe_max,
            "failed": cost.failures.len(),
            "seconds": seconds,
            "model": self.setup.path,
            "output": args.output,
            "gif": args.gif,
        });
        let some = if n < self.of { format!(" of {} rows, evenly taken,", self.of) } else { String::new() };
        let mut words = format!("{n} particles{some} in {}\n", text::duration(seconds));
        words += &format!("NFE a particle: {:.1}, at most {}\n", cost.nfe_mean(), nfe_max);
        if !cost.failures.is_empty() {
            words += &format!("failed: {} of {n} particles; their paths end where they failed\n", cost.failures.len());
        }
        if let Some(path) = &args.output {
            words += &format!("wrote {}\n", path.display());
        }
        if let (Some(path), Some(bytes)) = (&args.gif, bytes) {
            words += &format!("wrote {} ({} frames, {:.1} MB)\n", path.display(), args.frames, bytes as f64 / 1e6);
        }
        context.report(&words, &facts)
    }
}

/// The columns to draw: both, the only one, or the pair that was asked for.
fn columns(args: &TrajectoryArgs, d: usize) -> Result<Vec<usize>> {
    let Some(asked) = &args.columns else {
        return Ok((0..d.min(2)).collect());
    };
    let hint = format!("give two different columns from 0 to {}, as --columns 0,{}", d - 1, d - 1);
    match asked[..] {
        _ if d <= 2 => {
            let problem = format!("the model has {d} dimensions: all of its columns are drawn");
            Err(Error::invalid(problem, "leave out --columns").into())
        }
        [i, j] if i < d && j < d && i != j => Ok(vec![i, j]),
        _ => Err(Error::invalid(format!("--columns {asked:?} is no pair of the model's {d} columns"), hint).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_times_begin_at_0_end_at_1_and_hold_the_moments() {
        for panels in 2..=12 {
            let gaps = panels - 1;
            let times = even(gaps * FINE.div_ceil(gaps) + 1);
            assert!(times[0] == 0.0 && times[times.len() - 1] == 1.0 && times.len() > FINE);
            for k in 0..=gaps {
                assert!((times[k * FINE.div_ceil(gaps)] - k as f64 / gaps as f64).abs() < 1e-15);
            }
        }
    }
}
