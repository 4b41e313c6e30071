//! A model, found and loaded, with the solver options applied; every command solves through it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use cnflow::Error;
use cnflow::apply::{Arrived, Conditions, RowSource, Transport, Way};
use cnflow::continuous::Work;
use cnflow::io::Format;
use cnflow::model::Model;
use cnflow::velocity::Precision;

use super::Context;
use super::files::MODEL;
use super::progress::watched;
use super::solver::SolverArgs;

/// Where runs are looked for.
const RUNS: &str = "runs";

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
pub fn model_and_points<'a>(model: Option<&'a Path>, points: Option<&'a Path>) -> (Option<&'a Path>, Option<&'a Path>) {
    match (model, points) {
        (Some(only), None) if Format::of(only).is_some() && !only.is_dir() => (None, Some(only)),
        both => both,
    }
}

/// A model ready to be used.
pub struct Setup {
    /// Its file.
    pub path: PathBuf,
    /// With the solver options applied.
    pub model: Model,
    /// The arithmetic.
    pub precision: Precision,
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
        if model.spec.architecture.as_velocity().is_none()
            && let Some(first) = solver.given().first()
        {
            let flag = context.with_names(&format!("`{first}`"));
            context.note(&format!("{flag} has no effect: the model has no velocity to integrate"));
        }
        let precision = solver.precision(&model.provenance);
        context.computes(precision, &model.spec.solver);
        Ok(Self { path, model, precision })
    }

    /// The header of a text with these columns: texts have one where the model's columns have names.
    pub fn header(&self, columns: &[&str]) -> Vec<String> {
        let named = !self.model.spec.names.is_empty();
        columns.iter().filter(|_| named).map(|name| (*name).to_owned()).collect()
    }

    /// The transport of rows in this direction; `done` is told how far they are.
    ///
    /// # Errors
    /// As [`Transport::new`].
    pub fn transport(&self, way: Way, done: &Arc<Work>) -> Result<Transport> {
        Ok(Transport::new(&self.model, self.precision, way, done)?)
    }

    /// Transports a few points (`[n, d]`) to the other side, all under one condition. Rows that fail are NaN.
    ///
    /// # Errors
    /// [`Error::Failed`] where no row arrives at all; errors of the solver.
    pub fn transport_all(
        &self,
        way: Way,
        x: Vec<f64>,
        condition: Option<&[f64]>,
        context: &Context,
    ) -> Result<Arrived> {
        let conditions = condition.map_or(Conditions::None, |row| Conditions::One(row.to_vec()));
        let mut source = RowSource::of_points(x, self.model.dim(), conditions, None)?;
        let words = if way.to_data { "sampling" } else { "inverting" };
        let all = watched(words, source.total(), 1, context, |done| {
            anyhow::Ok(self.transport(way, &done)?.all(&mut source)?)
        })?;
        if all.cost.failures.len() == all.rows() {
            cnflow::transform::check_failures(&all.cost, all.rows())?;
        }
        Ok(all)
    }
}
