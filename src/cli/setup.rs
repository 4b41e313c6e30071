//! A model, found and loaded, with its solver as asked; and the one way through which a command solves: block by block.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use cnf::Error;
use cnf::flow::{Chain, Cost, Flow, Model};
use cnf::io::Format;

use super::Context;
use super::feed::{Conditions, Feed, Part};
use super::progress::watched;
use super::solver::SolverArgs;

/// Where runs are looked for.
const RUNS: &str = "runs";
/// The model's name in a run folder.
const MODEL: &str = "model.safetensors";
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

/// Which of two names is the model and which the points; one name alone that is a table means points.
pub fn told_apart<'a>(model: Option<&'a Path>, points: Option<&'a Path>) -> (Option<&'a Path>, Option<&'a Path>) {
    match (model, points) {
        (Some(only), None) if Format::of(only).is_some() && !only.is_dir() => (None, Some(only)),
        both => both,
    }
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

/// Where the rows of a block arrived.
#[derive(Clone, Debug, Default)]
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

/// A flow that carries points one way.
pub struct Carrier {
    flow: Flow<Chain>,
    to_data: bool,
    /// Where rows that arrived are counted, for a flow that does not count them itself.
    closed: Option<Arc<AtomicUsize>>,
}

impl Carrier {
    /// Carries points to the other side. Rows that fail are NaN and listed in the cost.
    ///
    /// # Errors
    /// Whatever the solver refuses.
    pub fn carry(&self, part: &Part) -> Result<Solved> {
        self.carry_points(&part.x, part.condition.as_ref())
    }

    /// As [`Carrier::carry`], for points `[n, d]` that lie elsewhere.
    ///
    /// # Errors
    /// As [`Carrier::carry`].
    pub fn carry_points(&self, x: &[f64], condition: Option<&Tensor>) -> Result<Solved> {
        let d = cnf::flow::Bijection::dim(&self.flow.map);
        let points = Tensor::from_slice(x, (x.len() / d, d), &Device::Cpu)?;
        let start = Instant::now();
        let (ends, densities, cost) = match self.to_data {
            true => self.flow.decode(&points, condition)?,
            false => self.flow.encode(&points, condition)?,
        };
        let seconds = start.elapsed().as_secs_f64();
        if let Some(done) = &self.closed {
            done.fetch_add(x.len() / d, Ordering::Relaxed);
        }
        Ok(Solved { y: wide(&ends)?, log_prob: wide(&densities)?, cost, seconds })
    }
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
        context.computes(dtype, &model.spec.solver);
        Ok(Self { path, model, dtype })
    }

    /// The header of a text with these columns: texts have one where the model's columns have names.
    pub fn header(&self, columns: &[&str]) -> Vec<String> {
        let named = !self.model.spec.names.is_empty();
        columns.iter().filter(|_| named).map(|name| (*name).to_owned()).collect()
    }

    /// The flow that carries points this way, and counts in `done` those that arrived.
    ///
    /// # Errors
    /// As [`Model::continuous`], and for a time that is not on the way.
    pub fn carrier(&self, way: Way, done: &Arc<AtomicUsize>) -> Result<Carrier> {
        let closed = self.model.spec.core.closed_layers().map(|_| done.clone());
        let flow = match closed {
            Some(_) => self.model.flow_until(self.dtype, way.until)?,
            None => {
                let mut continuous = self.model.continuous(self.dtype)?.until(way.until)?;
                if !way.log_density {
                    continuous = continuous.without_log_density();
                }
                self.model.spec.around(continuous.with_progress(done.clone()))?
            }
        };
        Ok(Carrier { flow, to_data: way.to_data, closed })
    }

    /// Carries a few points (`[n, d]`) to the other side, all under one condition. Rows that fail are NaN.
    ///
    /// # Errors
    /// [`Error::Failed`] where no row arrives at all; whatever the solver refuses.
    pub fn carry(&self, way: Way, x: Vec<f64>, condition: Option<&[f64]>, context: &Context) -> Result<Solved> {
        let conditions = condition.map_or(Conditions::None, |row| Conditions::One(row.to_vec()));
        let mut feed = Feed::of_points(x, self.model.dim(), conditions, None)?;
        let words = if way.to_data { "sampling" } else { "inverting" };
        let all = watched(words, feed.total(), 1, context, |done| {
            let carrier = self.carrier(way, &done)?;
            let mut all = Solved::default();
            while let Some(part) = feed.next()? {
                let solved = carrier.carry(&part)?;
                all.y.extend(solved.y);
                all.log_prob.extend(solved.log_prob);
                all.cost.append(part.first as usize, solved.cost);
                all.seconds += solved.seconds;
            }
            anyhow::Ok(all)
        })?;
        if all.cost.failures.len() == all.log_prob.len() {
            cnf::flow::check_failures(&all.cost, all.log_prob.len())?;
        }
        Ok(all)
    }
}

fn wide(t: &Tensor) -> cnf::Result<Vec<f64>> {
    Ok(t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

impl Solved {
    /// The rows that arrived, `[m, d]`.
    pub fn arrived(&self, d: usize) -> Vec<f64> {
        self.y.chunks_exact(d).filter(|row| row.iter().all(|v| v.is_finite())).flatten().copied().collect()
    }
}
