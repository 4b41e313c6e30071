//! `cnf density`: points, or the cells of a grid → log p.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use cnf::Error;
use cnf::flow::StandardNormal;
use cnf::io::Array;
use cnf::plot::{self, Grid};
use cnf::rng;
use serde_json::{Value, json};

use super::output::{self, Kind};
use super::setup::{self, Setup, Solved, Way};
use super::solver::SolverArgs;
use super::{Context, interrupt, picture, text};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf density x.npy -o logp.npy                             by the newest run
  cnf density model.safetensors x.npy -o logp.npy --rtol 1e-10 --atol 1e-10 --precision f64
  cnf density model.safetensors --grid 200 -o logp.npy --plot density.png
  cnf density model.safetensors --grid 200 --extent -4,4,-4,4 --time 0.5 --plot halfway.png
  cnf density runs/wide x.npy --trace hutchinson:8

log p is in nats, in the data's units: the negative of its mean is the negative log-likelihood. A grid gives [N, N],
rows along the second axis from low to high, and the integral of p over it. A row whose trajectory fails is NaN in the
file, which is written all the same; the exit code is 1 then.";

/// Cells a side of the density that is drawn beside given points.
const DRAWN: usize = 200;
/// Samples that tell where the density lies, and the generator's stream for them.
const SCOUTS: usize = 4096;
const SCOUT_STREAM: u64 = 0x5a3b_0002;

/// Arguments of `cnf density`.
#[derive(Debug, Args)]
pub struct DensityArgs {
    /// A model file or a run folder; the newest run if left out.
    model: Option<PathBuf>,
    /// Points, [n, d]: .npy, .npz or .csv.
    points: Option<PathBuf>,
    /// Take the centres of N cells a side instead of points; in one or two dimensions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=4000))]
    grid: Option<u16>,
    /// The outer edges of the grid; where samples of the model fall if left out.
    #[arg(long, value_name = "X0,X1[,Y0,Y1]", allow_hyphen_values = true, value_delimiter = ',', requires = "grid")]
    extent: Option<Vec<f64>>,
    /// log p, [n] or the grid's [N, N]: .npy or .csv.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A picture of the density, in one or two dimensions: .png or .svg.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Conditions, [n, c], or one row for all.
    #[arg(long, value_name = "FILE")]
    condition: Option<PathBuf>,
    /// The density at this time of the way, from 0 (the normal) to 1 (the data).
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    time: f64,
    #[command(flatten)]
    solver: SolverArgs,
}

/// A request that makes sense.
struct Job {
    setup: Setup,
    /// `[n, d]`.
    points: Vec<f64>,
    condition: Option<Array>,
    /// The grid whose centres are the points.
    grid: Option<Grid>,
    way: Way,
}

/// Runs the command.
pub fn run(args: DensityArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    let job = Job::new(&args, context)?;
    let solved = job.setup.carry(job.way, &job.points, job.condition.as_ref(), context)?;
    let picture = args.plot.as_ref().map(|_| job.drawn(&solved, context)).transpose()?;
    interrupt::undisturbed(|| job.save(&args, &solved, picture.as_ref()))?;
    job.report(&args, &solved, context)?;
    solved.check()
}

impl Job {
    fn new(args: &DensityArgs, context: &Context) -> Result<Self> {
        output::check(&[(Kind::Table, args.output.as_deref()), (Kind::Picture, args.plot.as_deref())])?;
        let (model, points) = inputs(args)?;
        let setup = Setup::open(model, &args.solver, context)?;
        setup.model.continuous(setup.dtype)?.until(args.time)?;
        let condition = setup.condition(args.condition.as_deref())?;
        let d = setup.model.dim();
        if d > 2 && (args.grid.is_some() || args.plot.is_some()) {
            let problem = format!("the model has {d} dimensions: its density has no grid and no picture");
            return Err(Error::invalid(problem, "give points, and leave out --grid and --plot").into());
        }
        if condition.as_ref().is_some_and(|c| c.rows > 1) && (args.grid.is_some() || args.plot.is_some()) {
            let problem = "a grid, or a picture, is of one density, but there are several rows of conditions";
            return Err(Error::invalid(problem, "give --condition with a single row").into());
        }
        let way = Way { to_data: false, until: args.time, log_density: true };
        let mut job = Self { setup, points: Vec::new(), condition, grid: None, way };
        match points {
            Some(path) => job.points = job.setup.points(path)?.data,
            None => {
                let edges = match &args.extent {
                    Some(edges) => given_extent(edges, d)?,
                    None => job.scouted(context)?,
                };
                let side = args.grid.map_or(DRAWN, usize::from);
                job.grid = Some(cells(edges, d, side));
                job.points = job.grid.as_ref().map_or(Vec::new(), centres);
            }
        }
        Ok(job)
    }

    /// Where samples fall, with a margin: the edges of each axis.
    fn scouted(&self, context: &Context) -> Result<Vec<(f64, f64)>> {
        let d = self.setup.model.dim();
        let z = StandardNormal::new(d).draw(SCOUTS, &mut rng::stream(0, SCOUT_STREAM));
        let way = Way { to_data: true, log_density: false, ..self.way };
        let x = self.setup.carry(way, &z, self.condition.as_ref(), context)?.arrived(d);
        Ok((0..d).map(|j| around(x.iter().skip(j).step_by(d).copied())).collect())
    }

    /// The grid for the picture: the one asked for, or one around the given points.
    fn drawn(&self, solved: &Solved, context: &Context) -> Result<Grid> {
        if let Some(grid) = &self.grid {
            return Ok(filled(grid, &solved.log_prob));
        }
        let d = self.setup.model.dim();
        let edges = (0..d).map(|j| plot::extent(&self.points, d, j)).collect();
        let grid = cells(edges, d, DRAWN);
        let scored = self.setup.carry(self.way, &centres(&grid), self.condition.as_ref(), context)?;
        Ok(filled(&grid, &scored.log_prob))
    }

    fn save(&self, args: &DensityArgs, solved: &Solved, picture: Option<&Grid>) -> Result<()> {
        let dtype = self.setup.file_dtype();
        match (&args.output, &self.grid) {
            (Some(path), Some(grid)) if grid.ny > 1 => output::table(path, &solved.log_prob, grid.nx, dtype)?,
            (Some(path), _) => output::vector(path, &solved.log_prob, dtype)?,
            (None, _) => {}
        }
        let style = picture::style(&self.setup.model);
        match (&args.plot, picture) {
            (Some(path), Some(grid)) if self.grid.is_some() => plot::density(path, grid, None, &style)?,
            (Some(path), Some(grid)) => plot::density_and_data(path, &self.points, grid, &style)?,
            _ => {}
        }
        Ok(())
    }

    /// ∫p over the grid, by the midpoint rule; failed cells count as empty.
    fn mass(&self, solved: &Solved) -> Option<f64> {
        let grid = self.grid.as_ref()?;
        let width = |(low, high): (f64, f64), n: usize| (high - low) / n as f64;
        let cell = width(grid.x, grid.nx) * if grid.ny > 1 { width(grid.y, grid.ny) } else { 1.0 };
        Some(cell * solved.log_prob.iter().map(|l| l.exp()).filter(|p| p.is_finite()).sum::<f64>())
    }

    fn report(&self, args: &DensityArgs, solved: &Solved, context: &Context) -> Result<()> {
        let (n, cost) = (solved.log_prob.len(), &solved.cost);
        let (mean, se) = text::mean_and_se(&solved.log_prob);
        let mass = self.mass(solved);
        let noise = (!cost.logdet_se.is_empty()).then(|| text::mean_and_se(&cost.logdet_se).0);
        let quadrature = cost.logdet_error.iter().copied().filter(|e| e.is_finite()).fold(0.0, f64::max);
        let mut facts = json!({
            "n": n,
            "mean_log_prob": mean,
            "se": se,
            "nfe_mean": cost.nfe_mean(),
            "nfe_max": text::nfe_max(cost),
            "trace_evals_mean": cost.traces_mean(),
            "seconds": solved.seconds,
            "failed": cost.failures.len(),
            "quadrature_error_max": quadrature,
            "unsettled": cost.unsettled,
            "stiff": cost.stiff,
            "model": self.setup.path,
            "output": args.output,
        });
        let mut words = match &self.grid {
            None => format!("mean log p: {mean:.5} ± {se:.5} nats over {n} points\n"),
            Some(grid) => format!("log p in {} × {} cells over {}\n", grid.nx, grid.ny, edges_of(grid)),
        };
        if let Some(mass) = mass {
            facts["mass"] = mass.into();
            facts["extent"] = self.grid.as_ref().map_or(Value::Null, |g| json!([g.x.0, g.x.1, g.y.0, g.y.1]));
            words += &format!("∫p over the grid: {mass:.5}\n");
        }
        if let Some(noise) = noise {
            facts["hutchinson_se_mean"] = noise.into();
            words += &match noise.is_finite() {
                true => format!("standard error of a row by its probes: {noise:.4} nats\n"),
                false => {
                    "standard error of a row by its probes: unknown with one probe; give --trace hutchinson:8\n".into()
                }
            };
        }
        words += &format!("NFE a point: {:.1}, at most {}; ", cost.nfe_mean(), text::nfe_max(cost));
        words += &format!("traces: {:.1}; {}\n", cost.traces_mean(), text::duration(solved.seconds));
        if quadrature > 0.0 {
            words += &format!("estimated error of a row's quadrature: at most {quadrature:.1e} nats\n");
        }
        words += &solved.troubles();
        for path in args.output.iter().chain(&args.plot) {
            words += &format!("wrote {}\n", path.display());
        }
        context.report(&words, &facts)
    }
}

/// The model and the points; exactly one kind of points was given.
fn inputs(args: &DensityArgs) -> Result<(Option<&Path>, Option<&Path>)> {
    let (model, points) = setup::told_apart(args.model.as_deref(), args.points.as_deref());
    match (points, args.grid, &args.plot) {
        (Some(_), Some(_), _) => {
            Err(Error::invalid("points and --grid were given: which shall be scored?", "leave one of them out").into())
        }
        (None, None, None) => {
            Err(Error::invalid("there is nothing to score", "give points (x.npy), or --grid 200").into())
        }
        _ => Ok((model, points)),
    }
}

fn given_extent(edges: &[f64], d: usize) -> Result<Vec<(f64, f64)>> {
    let pairs: Vec<(f64, f64)> = edges.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let sound = |(low, high): &(f64, f64)| low < high && (high - low).is_finite();
    if edges.len() != 2 * d || !pairs.iter().all(sound) {
        let wanted = if d == 1 { "X0,X1" } else { "X0,X1,Y0,Y1" };
        let problem = format!("--extent {edges:?} is no range in {d} dimensions");
        return Err(Error::invalid(problem, format!("give {wanted}, each low end before its high end")).into());
    }
    Ok(pairs)
}

/// From the least to the greatest, and a fifth of that on each side.
fn around(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let margin = (0.2 * (high - low)).max(1e-6 * low.abs()).max(1e-12);
    (low - margin, high + margin)
}

/// A grid without values.
fn cells(edges: Vec<(f64, f64)>, d: usize, side: usize) -> Grid {
    let y = edges.get(1).copied().unwrap_or((0.0, 1.0));
    Grid { x: edges[0], y, nx: side, ny: if d == 1 { 1 } else { side }, values: Vec::new() }
}

fn centres(grid: &Grid) -> Vec<f64> {
    Grid::centres(grid.x, grid.y, grid.nx, grid.ny)
}

fn filled(grid: &Grid, log_prob: &[f64]) -> Grid {
    Grid { values: log_prob.iter().map(|l| l.exp()).collect(), ..grid.clone() }
}

fn edges_of(grid: &Grid) -> String {
    let range = |(low, high): (f64, f64)| format!("[{low:.3}, {high:.3}]");
    if grid.ny == 1 { range(grid.x) } else { format!("{} × {}", range(grid.x), range(grid.y)) }
}
