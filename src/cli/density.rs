//! `cnf density`: points, or the cells of a grid → log p, block by block.

mod classify;
mod grid;
mod report;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use cnflow::apply::{Arrived, BitsPerDim, Block, Closed, Prior, Reservoir, RowSource, Scores, SolveStatistics, Way};
use cnflow::io::Format;
use cnflow::model::Model;
use cnflow::plot::{self, Grid};
use cnflow::transform::StandardNormal;
use cnflow::{Error, rng};

use self::grid::{around, cells, centres, given_extent};
use super::bars::Barred;
use super::columns::{ColumnArgs, Role};
use super::given::GivenArgs;
use super::output::{self, Growing, Kind};
use super::picture::{Logarithm, Units};
use super::progress::watched;
use super::setup::{self, Setup};
use super::solver::SolverArgs;
use super::{Context, TableArgs, interrupt, picture, source};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf density x.npy -o logp.npy                             by the newest run
  cnf density model.safetensors x.npy -o logp.npy --rtol 1e-10 --atol 1e-10 --precision f64
  cnf density model.safetensors --grid 200 -o logp.npy --plot density.png
  cnf density model.safetensors --grid 200 --extent -4,4,-4,4 --time 0.5 --plot halfway.png
  cnf density model.safetensors --grid 200 --plot density.png --log        log p, over six decades
  cnf density runs/wide x.npy --trace hutchinson:8
  cnf density x.npy -o logp.npy --error-bars bars.npy       the error of each number
  cnf density runs/pixels images.npy --dequantise 8         bits per dimension of images
  cnf density runs/classes images.npy --classify -o p.npy   probabilities of the classes

log p is in nats, in the data's units: the negative of its mean is the negative log-likelihood. A grid gives [N, N], \
rows along the second axis from low to high, and the integral of p over it. If the trajectory of a row fails, the file \
is still written, with NaN in that row; the exit code is then 1.

Error bars are [n, 3], in nats: solver (from a second solve in f64 at a hundredth of the tolerances; it covers the error in \
at least 95 of 100 rows), estimator (the standard error over random probes, 0 for an exact trace) and total (the root \
of the sum of their squares). They cost three times the density itself.

For a model of images log p is a lower bound on the log-probability of their grey levels, and bits per dimension are \
its negative mean / (D ln 2), where an image has D numbers. The noise of an image is a function of its pixels and \
--seed. So it is for a model with columns of whole numbers (integer): log p has the log-probability of these, and is a lower \
bound on average with one draw of the noise. With --dequantise N it is the logarithm of the mean over N draws, which comes \
nearer from below. On a grid the density is that of the numbers with their noise.

Rows are read, solved and written in blocks: the memory does not grow with their number. A picture of more than 100000 \
points shows a random 100000 of them.";

/// Cells a side of the density that is drawn beside given points.
const DRAWN: usize = 200;
/// Samples that locate the density, and the generator's stream for them.
const SCOUTS: usize = 4096;
const SCOUT_STREAM: u64 = 0x5a3b_0002;

/// Arguments of `cnf density`.
#[derive(Debug, Args)]
pub struct DensityArgs {
    /// A model file or a run folder; the newest run if left out.
    model: Option<PathBuf>,
    /// Points, [n, d]: .npy, .npz or .csv, or - for stdin; or images.
    points: Option<PathBuf>,
    /// The model, where it is not the first argument: a model file or a run folder.
    #[arg(id = "by_flag", long = "model", value_name = "MODEL", conflicts_with = "points")]
    by_flag: Option<PathBuf>,
    /// Evaluate on a grid of N cells a side, in one or two dimensions, instead of points.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=4000))]
    grid: Option<u16>,
    /// The outer edges of the grid; the range of the model's samples if left out.
    #[arg(long, value_name = "X0,X1[,Y0,Y1]", allow_hyphen_values = true, value_delimiter = ',', requires = "grid")]
    extent: Option<Vec<f64>>,
    /// log p, [n], the grid's [N, N], or the classes' probabilities [n, classes]: .npy, .npz or .csv, or - for
    /// text on stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Error bars of log p, [n, 3] (solver, estimator, total): .npy, .npz or .csv.
    #[arg(long, value_name = "FILE")]
    error_bars: Option<PathBuf>,
    /// The probabilities of the classes of a class-conditional model instead of log p, by Bayes' rule; with the true
    /// classes as --condition also the accuracy.
    #[arg(long, conflicts_with_all = ["grid", "plot", "error_bars", "given", "time"])]
    classify: bool,
    /// Prior of the classes: data (their frequencies in training) or uniform [default: data if the model file has it].
    #[arg(long, value_name = "NAME", requires = "classify")]
    prior: Option<Prior>,
    /// A picture of the density, in one or two dimensions: .png or .svg.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    log: Logarithm,
    /// Draws of the noise in whole numbers (columns of type integer, grey levels of images); the bound on log P gets
    /// tighter, at N times the cost.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    dequantise: u64,
    /// How much each point counts in the means that are printed: a column of the points, by name or number, or a file
    /// with a number for each point [default: 1 each]
    #[arg(long, value_name = "COLUMN|FILE", conflicts_with_all = ["grid", "classify"])]
    weights: Option<String>,
    #[command(flatten)]
    given: GivenArgs,
    #[command(flatten)]
    pub tables: TableArgs,
    #[command(flatten)]
    pub picked: ColumnArgs,
    /// Time of the density, from 0 (the normal) to 1 (the data).
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    time: f64,
    /// Rows solved at a time; memory grows with them, results are bitwise identical [default: 65536, fewer
    /// beyond 16 columns].
    #[arg(long, value_name = "ROWS", value_parser = source::block())]
    block: Option<usize>,
    #[command(flatten)]
    solver: SolverArgs,
}

/// A validated request.
struct Job {
    setup: Setup,
    /// The one row of conditions of a grid or a picture.
    condition: Option<Vec<f64>>,
    /// The grid whose centres are the points.
    grid: Option<Grid>,
    way: Way,
}

impl DensityArgs {
    /// The tables that it writes.
    pub fn tables_written(&self) -> Vec<&Path> {
        self.output.iter().chain(&self.error_bars).map(PathBuf::as_path).collect()
    }
}

/// Runs the command.
pub fn run(mut args: DensityArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    if let Some(model) = args.by_flag.take() {
        args.points = args.model.replace(model);
    }
    args.model.iter_mut().chain(&mut args.points).try_for_each(|path| context.pipes.take(path))?;
    args.given.take_pipes(context)?;
    args.weights.iter_mut().try_for_each(|text| context.pipes.take_text(text))?;
    args.log.check(args.plot.is_some())?;
    args.picked.check(args.grid.is_none())?;
    if let Some(column) = args.weights.as_deref().filter(|text| Format::of(Path::new(text)).is_none()) {
        args.picked.leave_out(column);
    }
    if args.classify {
        return classify::run(&args, context);
    }
    let (table, bars) = (Kind::Table, args.error_bars.as_deref());
    let outputs = [(table, args.output.as_deref()), (table, bars), (Kind::Picture, args.plot.as_deref())];
    let weights = args.weights.as_deref().map(Path::new).filter(|path| Format::of(path).is_some());
    output::check(&outputs, &[args.model.as_deref(), args.points.as_deref(), args.given.file(), weights])?;
    let (job, mut rows) = Job::new(&args, context)?;
    output::check(&outputs, &[Some(&job.setup.path)])?;
    let mut seen = Seen::new(&args, &job)?;
    watched("inverting", rows.total(), args.dequantise + u64::from(bars.is_some()), context, |done| {
        let transport = job.setup.transport(job.way, &done)?.with_draws(args.dequantise)?;
        seen.bars = bars.map(|path| Barred::new(path, &job.setup, job.way.until, &done)).transpose()?;
        while let Some(block) = rows.next_block()? {
            let arrived = transport.block(&block)?;
            if let (Some(bits), Some(terms)) = (&mut seen.bits, transport.pixel_terms(&block)?) {
                bits.add(&arrived, &terms, &block.weight);
            }
            seen.take(&block, &arrived)?;
        }
        anyhow::Ok(())
    })?;
    seen.spent.check_any()?;
    interrupt::critical_section(|| seen.finish())?;
    // The picture last: if it fails, the table is already written.
    let drawn = job.draw(&args, &seen, context);
    job.report(&args, &mut seen, drawn.is_ok(), &rows, context)?;
    drawn?;
    Ok(seen.spent.check()?)
}

/// Σ eˡ of numbers that come one by one, none of them too large or too small to count.
#[derive(Default)]
struct LogSum {
    /// The largest l so far, and the sum in units of its exponential.
    sum: Option<(f64, f64)>,
}

impl LogSum {
    /// Adds eˡ; what is not finite adds nothing.
    fn add(&mut self, l: f64) {
        if !l.is_finite() {
            return;
        }
        self.sum = Some(match self.sum {
            None => (l, 1.0),
            Some((most, sum)) if l <= most => (most, sum + (l - most).exp()),
            Some((most, sum)) => (l, 1.0 + sum * (most - l).exp()),
        });
    }

    fn ln(&self) -> f64 {
        self.sum.map_or(f64::NEG_INFINITY, |(most, sum)| most + sum.ln())
    }
}

/// What is made of the rows while they pass.
struct Seen {
    output: Option<Growing>,
    spent: SolveStatistics,
    log_prob: Scores,
    /// Σ p, of the rows that have one.
    sum: LogSum,
    /// log p of the cells, for the picture of a grid.
    cells: Option<Vec<f64>>,
    /// Points, for the picture beside them.
    points: Option<Reservoir>,
    bars: Option<Barred>,
    /// Of images.
    bits: Option<BitsPerDim>,
    /// Of the parts of wholes.
    closed: Closed,
}

impl Seen {
    fn new(args: &DensityArgs, job: &Job) -> Result<Self> {
        let path = args.output.as_deref();
        let output = match &job.grid {
            Some(grid) if grid.ny > 1 => Growing::table(path, grid.nx)?,
            _ => Growing::vector(path)?.map(|file| file.named(&job.setup.header(&["log_prob"]))).transpose()?,
        };
        let (drawn, on_grid) = (args.plot.is_some(), job.grid.is_some());
        Ok(Self {
            output,
            spent: SolveStatistics::default(),
            log_prob: Scores::default(),
            sum: LogSum::default(),
            cells: (drawn && on_grid).then(Vec::new),
            points: (drawn && !on_grid).then(|| Reservoir::new(job.setup.model.dim())),
            bars: None,
            bits: job.setup.model.spec.pixels.as_ref().map(|pixels| BitsPerDim::new(pixels.dim())),
            closed: Closed::of(&job.setup.model)?,
        })
    }

    /// One block: its points, and what became of them.
    fn take(&mut self, block: &Block, solved: &Arrived) -> Result<()> {
        self.spent.add(block.first, solved);
        self.closed.see(block.first, &block.x);
        self.log_prob.add(block.first, &solved.log_prob, &block.weight);
        for l in &solved.log_prob {
            self.sum.add(*l);
        }
        if let Some(cells) = &mut self.cells {
            cells.extend_from_slice(&solved.log_prob);
        }
        if let Some(points) = &mut self.points {
            points.add(&block.x);
        }
        self.bars.as_mut().map_or(Ok(()), |bars| bars.take(block, solved))?;
        self.output.as_mut().map_or(Ok(()), |file| file.push(&solved.log_prob))
    }

    fn finish(&mut self) -> Result<()> {
        self.bars.as_mut().map_or(Ok(()), Barred::finish)?;
        self.output.take().map_or(Ok(()), Growing::finish)
    }

    /// The points for the picture, `[m, d]`.
    fn points(&self) -> &[f64] {
        self.points.as_ref().map_or(&[], |kept| &kept.rows)
    }
}

impl Job {
    fn new(args: &DensityArgs, context: &Context) -> Result<(Self, RowSource)> {
        let (model, points) = inputs(args)?;
        let mut setup = Setup::open(model, &args.solver, context)?;
        check_draws(args, &setup)?;
        if points.is_none() {
            // The cells of a grid are no whole numbers.
            setup.model.spec = setup.model.spec.of_real_numbers();
        }
        if args.dequantise > 1 && args.error_bars.is_some() {
            let problem = "--error-bars and --dequantise: error bars are those of one draw of the noise";
            return Err(Error::invalid(problem, "leave out one of them").into());
        }
        setup.model.bind(setup.precision)?.until(args.time)?;
        let d = setup.model.dim();
        if !setup.model.spec.simplexes.is_empty() && (args.grid.is_some() || args.plot.is_some()) {
            let problem =
                "the model has a simplex, whose parts lie on no plane grid: --grid and --plot need free columns";
            return Err(Error::invalid(problem, "give points, and leave out --grid and --plot").into());
        }
        if setup.model.spec.classes.is_some() && (args.grid.is_some() || args.plot.is_some()) {
            let problem = "the model gives out classes, which have no density: --grid and --plot need numbers alone";
            return Err(Error::invalid(problem, "give points, and leave out --grid and --plot").into());
        }
        if d > 2 && (args.grid.is_some() || args.plot.is_some()) {
            let problem = format!("the model has {d} dimensions: --grid and --plot need one or two");
            return Err(Error::invalid(problem, "give points, and leave out --grid and --plot").into());
        }
        let of_one = |several: bool| -> Result<()> {
            if several && (args.grid.is_some() || args.plot.is_some()) {
                let problem = "a grid or a picture shows one density, but there are several rows of conditions";
                return Err(Error::invalid(problem, "give --given, or --condition with a single row").into());
            }
            Ok(())
        };
        let way = Way { to_data: false, until: args.time, log_density: true };
        let mut job = Self { setup, condition: None, grid: None, way };
        let feed = match points {
            Some(path) => {
                let feed =
                    source::of_file(&job.setup, path, (Role::Points, &args.picked), &args.given, args.block, context)?;
                of_one(feed.several())?;
                job.condition = feed.one().map(<[f64]>::to_vec);
                match &args.weights {
                    Some(wanted) => source::with_weights(feed, wanted, path, context)?,
                    None => feed,
                }
            }
            None => {
                let conditions = args.given.of(&job.setup.model, context)?;
                of_one(conditions.several())?;
                job.condition = conditions.one().map(<[f64]>::to_vec);
                let edges = match &args.extent {
                    Some(edges) => given_extent(edges, d)?,
                    None => job.scouted(context)?,
                };
                let grid = cells(edges, d, args.grid.map_or(DRAWN, usize::from));
                let feed =
                    RowSource::of_points(centres(&grid), d, conditions, args.block)?.watched(&job.setup.model)?;
                job.grid = Some(grid);
                feed
            }
        };
        Ok((job, feed))
    }

    /// Where samples fall, with a margin: the edges of each axis.
    fn scouted(&self, context: &Context) -> Result<Vec<(f64, f64)>> {
        let d = self.setup.model.dim();
        let z = StandardNormal::new(d).draw(SCOUTS, &mut rng::stream(0, SCOUT_STREAM));
        let way = Way { to_data: true, log_density: false, ..self.way };
        let x = self.setup.transport_all(way, z, self.condition.as_deref(), context)?.finite();
        Ok((0..d).map(|j| around(x.iter().skip(j).step_by(d).copied())).collect())
    }

    /// The grid for the picture, and log p on it: that of `--grid`, or one around the given points.
    fn drawn(&self, seen: &Seen, context: &Context) -> Result<(Grid, Vec<f64>)> {
        if let (Some(grid), Some(cells)) = (&self.grid, &seen.cells) {
            return Ok((grid.clone(), cells.clone()));
        }
        let d = self.setup.model.dim();
        let edges = (0..d).map(|j| plot::extent(seen.points(), d, j)).collect();
        let grid = cells(edges, d, DRAWN);
        let Setup { path, model, precision } = &self.setup;
        let model = Model { spec: model.spec.of_real_numbers(), ..model.clone() };
        let real = Setup { path: path.clone(), model, precision: *precision };
        let scored = real.transport_all(self.way, centres(&grid), self.condition.as_deref(), context)?;
        Ok((grid, scored.log_prob))
    }

    /// The picture, with `--plot`.
    fn draw(&self, args: &DensityArgs, seen: &Seen, context: &Context) -> Result<()> {
        let Some(path) = &args.plot else { return Ok(()) };
        let (grid, log_prob) = self.drawn(seen, context)?;
        let units = Units::of(&[grid.x, grid.y][..self.setup.model.dim()]);
        let style = picture::style(&self.setup.model);
        let style = plot::Options { scale: args.log.scale().unwrap_or(style.scale), ..style };
        let (style, drawn) = (units.options(&style), units.grid(&grid, &log_prob));
        Ok(interrupt::critical_section(|| match &self.grid {
            Some(_) => plot::density(path, &drawn, None, &style),
            None => plot::density_and_data(path, &units.rows(seen.points()), &drawn, &style),
        })?)
    }

    /// ∫p over the grid, by the midpoint rule; failed cells count as empty.
    fn mass(&self, seen: &Seen) -> Option<f64> {
        let grid = self.grid.as_ref()?;
        // As logarithms: a cell of columns of 1e200 is larger than any number.
        let width = |(low, high): (f64, f64), n: usize| ((high - low) / n as f64).ln();
        let cell = width(grid.x, grid.nx) + if grid.ny > 1 { width(grid.y, grid.ny) } else { 0.0 };
        Some((cell + seen.sum.ln()).exp())
    }
}

/// Refuses several draws of the noise where no whole numbers get noise.
fn check_draws(args: &DensityArgs, setup: &Setup) -> Result<()> {
    if args.dequantise > 1 && args.grid.is_some() {
        let problem =
            format!("--dequantise {} beside --grid: the cells of a grid are no whole numbers", args.dequantise);
        return Err(Error::invalid(problem, "leave out one of them").into());
    }
    if args.dequantise > 1 && !setup.model.spec.dequantises() {
        let problem = format!(
            "--dequantise {}: the model has no whole numbers: neither images nor integer columns",
            args.dequantise
        );
        return Err(Error::invalid(problem, "leave out --dequantise").into());
    }
    Ok(())
}

/// The model and the points; exactly one kind of points was given.
fn inputs(args: &DensityArgs) -> Result<(Option<&Path>, Option<&Path>)> {
    let (model, points) = setup::model_and_points(args.model.as_deref(), args.points.as_deref());
    match (points, args.grid, &args.plot) {
        (Some(_), Some(_), _) => {
            Err(Error::invalid("points and --grid were both given", "leave one of them out").into())
        }
        (None, None, None) => {
            Err(Error::invalid("neither points nor --grid was given", "give points (x.npy), or --grid 200").into())
        }
        _ => Ok((model, points)),
    }
}
