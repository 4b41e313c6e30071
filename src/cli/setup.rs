//! A model, found and loaded, with its solver as asked; and the one way through which a command solves.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use cnf::Error;
use cnf::flow::{Cost, Model};
use cnf::io::{self, Array, Dtype};

use super::Context;
use super::progress::watched;
use super::solver::SolverArgs;

/// Where runs are looked for.
const RUNS: &str = "runs";
/// The model's name in a run folder.
const MODEL: &str = "model.safetensors";
/// The most numbers of the rows of one request, their costs counted as five each: 1 GiB in f64, of which a command
/// holds a few copies.
const MOST_NUMBERS: usize = 1 << 27;
/// The rows, and the numbers, that are solved at a time: the solver's own memory does not grow beyond them.
const BLOCK_ROWS: usize = 1 << 17;
const BLOCK_NUMBERS: usize = 1 << 22;

/// The model file that is meant: a file, a run folder's, or the newest run's under `./runs`.
///
/// # Errors
/// [`Error::Read`] or [`Error::Invalid`] where there is none.
pub fn find(given: Option<&Path>, context: &Context) -> Result<PathBuf> {
    if let Some(path) = given {
        let inside = path.join(MODEL);
        return match path.is_dir() {
            false => Ok(path.to_owned()),
            true if inside.is_file() => Ok(inside),
            true => {
                let hint = "give a model file, or the folder of a run that has finished";
                Err(Error::read(path, format!("the folder holds no `{MODEL}`"), hint).into())
            }
        };
    }
    let newest = newest(Path::new(RUNS)).ok_or_else(|| {
        Error::invalid(format!("no model was named, and there is no run under ./{RUNS}"), "train one with `cnf train`")
    })?;
    context.note(&format!("model: {} (the newest run)", newest.display()));
    Ok(newest)
}

fn newest(runs: &Path) -> Option<PathBuf> {
    // What is hidden is not finished yet.
    let hidden = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    let folders = std::fs::read_dir(runs).ok()?.filter_map(Result::ok).filter(|entry| !hidden(entry));
    let models = folders.map(|entry| entry.path().join(MODEL));
    let aged = models.filter_map(|model| Some((std::fs::metadata(&model).ok()?.modified().ok()?, model)));
    aged.max_by_key(|(time, model): &(SystemTime, PathBuf)| (*time, model.clone())).map(|(_, model)| model)
}

/// Which way, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// From latents to data; else from data to latents.
    pub to_data: bool,
    /// The data lie at this time, 1 but for the distributions on the way.
    pub until: f64,
    /// Whether log p is wanted.
    pub log_density: bool,
}

/// Where the rows arrived.
#[derive(Clone, Debug)]
pub struct Solved {
    /// `[n, d]`; NaN where a trajectory failed.
    pub y: Vec<f64>,
    /// log p in nats, `[n]`; NaN where a trajectory failed, of no meaning if it was not asked for.
    pub log_prob: Vec<f64>,
    /// What it took.
    pub cost: Cost,
    /// Of the solve alone.
    pub seconds: f64,
}

/// A model ready to be used.
pub struct Setup {
    /// Its file.
    pub path: PathBuf,
    /// With its solver as asked.
    pub model: Model,
    pub dtype: DType,
}

impl Setup {
    /// Finds, loads, and changes the solver.
    ///
    /// # Errors
    /// As [`find`], [`Model::load`] and [`SolverArgs::apply`].
    pub fn open(given: Option<&Path>, solver: &SolverArgs, context: &Context) -> Result<Self> {
        let path = find(given, context)?;
        let mut model = Model::load(&path)?;
        solver.apply(&mut model.spec.solver)?;
        let dtype = solver.dtype(&model.story);
        Ok(Self { path, model, dtype })
    }

    /// The type of the results in files.
    pub fn file_dtype(&self) -> Dtype {
        if self.dtype == DType::F64 { Dtype::F64 } else { Dtype::F32 }
    }

    /// Points of the model's dimension.
    ///
    /// # Errors
    /// As [`io::read`], and for another number of columns.
    pub fn points(&self, path: &Path) -> Result<Array> {
        let array = io::read(path)?;
        let d = self.model.dim();
        if array.cols != d {
            let (file, axes) = (path.display(), if array.vector { " (it has one axis)" } else { "" });
            let problem = format!("`{file}` holds {} columns{axes}, the model has {d}", array.cols);
            return Err(Error::invalid(problem, format!("give points of shape [n, {d}]")).into());
        }
        Ok(array)
    }

    /// Conditions, there exactly if the model wants them.
    ///
    /// # Errors
    /// As [`io::read`]; [`Error::Invalid`] where the model has none, wants some, or other columns.
    pub fn condition(&self, path: Option<&Path>) -> Result<Option<Array>> {
        let wanted = self.model.condition_dim();
        let Some(path) = path else {
            if wanted == 0 {
                return Ok(None);
            }
            let problem = format!("the model is conditional on {wanted} columns, and no condition was given");
            return Err(Error::invalid(problem, "give --condition c.npy: a row for each point, or one for all").into());
        };
        if wanted == 0 {
            return Err(Error::invalid("the model has no condition", "leave out --condition").into());
        }
        let array = io::read(path)?;
        if array.cols != wanted {
            let problem = format!("`{}` holds {} columns, the condition has {wanted}", path.display(), array.cols);
            return Err(Error::invalid(problem, format!("give conditions of shape [n, {wanted}]")).into());
        }
        Ok(Some(array))
    }

    /// Refuses more rows than memory could hold.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check_rows(&self, n: usize) -> Result<()> {
        let d = self.model.dim();
        if n.saturating_mul(d + self.model.condition_dim() + 5) > MOST_NUMBERS {
            let problem = format!("{n} rows of dimension {d} are too many at once");
            return Err(
                Error::invalid(problem, "take fewer at a time; for samples, each time with another --seed").into()
            );
        }
        Ok(())
    }

    /// Carries every row of `x` (`[n, d]`) to the other side. Rows that fail are NaN and listed in the cost.
    ///
    /// # Errors
    /// [`Error::Failed`] where no row arrives at all; whatever the solver refuses.
    pub fn carry(&self, way: Way, x: &[f64], condition: Option<&Array>, context: &Context) -> Result<Solved> {
        let d = self.model.dim();
        let n = x.len() / d;
        self.check_rows(n)?;
        if let Some(c) = condition {
            check_spread(c, n)?;
        }
        let mut continuous = self.model.continuous(self.dtype)?.until(way.until)?;
        if !way.log_density {
            continuous = continuous.without_log_density();
        }
        let words = if way.to_data { "sampling" } else { "inverting" };
        let (y, log_prob, cost, seconds) = watched(words, n, context, |done| {
            let flow = self.model.spec.around(continuous.with_progress(done))?;
            let start = Instant::now();
            let (mut y, mut log_prob, mut cost) = (Vec::with_capacity(x.len()), Vec::with_capacity(n), Cost::default());
            // A row's result depends on that row alone: blocks change no bit.
            let block = BLOCK_ROWS.min(BLOCK_NUMBERS / d).max(1);
            for (k, rows) in x.chunks(block * d).enumerate() {
                let (first, count) = (k * block, rows.len() / d);
                let points = Tensor::from_slice(rows, (count, d), &Device::Cpu)?;
                let c = condition.map(|c| spread(c, first, count)).transpose()?;
                let (ends, densities, spent) = match way.to_data {
                    true => flow.decode(&points, c.as_ref())?,
                    false => flow.encode(&points, c.as_ref())?,
                };
                y.extend(wide(&ends)?);
                log_prob.extend(wide(&densities)?);
                cost.append(first, spent);
            }
            Ok::<_, Error>((y, log_prob, cost, start.elapsed().as_secs_f64()))
        })?;
        if cost.failures.len() == n {
            cnf::flow::check_failures(&cost, n)?;
        }
        Ok(Solved { y, log_prob, cost, seconds })
    }
}

fn wide(t: &Tensor) -> cnf::Result<Vec<f64>> {
    Ok(t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn check_spread(condition: &Array, n: usize) -> Result<()> {
    let rows = condition.rows;
    if rows != n && rows != 1 {
        let problem = format!("there are {rows} rows of conditions for {n} points");
        return Err(Error::invalid(problem, "give one row for each point, or one for all").into());
    }
    Ok(())
}

/// One row of conditions for each of `count` points from the `first` on; a single row serves all.
fn spread(condition: &Array, first: usize, count: usize) -> cnf::Result<Tensor> {
    let cols = condition.cols;
    let (rows, data) = match condition.rows {
        1 => (1, &condition.data[..]),
        _ => (count, &condition.data[first * cols..][..count * cols]),
    };
    let tensor = Tensor::from_slice(data, (rows, cols), &Device::Cpu)?;
    Ok(tensor.broadcast_as((count, cols))?.contiguous()?)
}

impl Solved {
    /// The rows that arrived, `[m, d]`.
    pub fn arrived(&self, d: usize) -> Vec<f64> {
        self.y.chunks_exact(d).filter(|row| row.iter().all(|v| v.is_finite())).flatten().copied().collect()
    }

    /// What became of failed and stiff rows, for the text report; empty where all went well.
    pub fn troubles(&self) -> String {
        let (n, failed, stiff) = (self.cost.nfe.len(), self.cost.failures.len(), self.cost.stiff);
        let mut words = String::new();
        if failed > 0 {
            words += &format!("failed: {failed} of {n} rows; they are NaN in the files\n");
        }
        if !self.cost.outside.is_empty() {
            let rows = self.cost.outside.len();
            words += &format!("outside: {rows} of {n} rows are no values of their columns; log p is -inf there\n");
        }
        if self.cost.unsettled > 0 {
            let rows = self.cost.unsettled;
            words +=
                &format!("unsettled: the log-density of {rows} of {n} rows missed its tolerance by its own estimate\n");
        }
        if stiff * 2 > n {
            words += &format!("stiff: {stiff} of {n} rows; `--solver bdf` may be cheaper\n");
        }
        words
    }

    /// The error that ends a command some of whose rows failed, after its files are written.
    ///
    /// # Errors
    /// [`Error::Failed`] with the first of them.
    pub fn check(&self) -> Result<()> {
        Ok(cnf::flow::check_failures(&self.cost, self.cost.nfe.len())?)
    }
}
