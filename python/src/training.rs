//! `cnflow.train`: rows in memory or a data set's name, the options of the command, and a run that can be watched.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cnflow::io::{Layout, words_of};
use cnflow::plot;
use cnflow::rows::diagnose::Finding;
use cnflow::rows::{Context, Dataset, Memory, toys};
use cnflow::train::{
    Alone, Checkpoint, Crew, Criterion, Family, FarRows, History, Job, Progress, TrainResult, Watch, findings, fit_by,
    held_out, provenance, resume_by, score, scored_provenance, with_auto_family, with_column_types,
};
use cnflow::{Model, words};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyString};
use serde_json::{Value, json};

use crate::arrays::{self, Array, Coded};
use crate::engine::Engine;
use crate::error::{Outcome, Raised, Trouble, warn};
use crate::flow::{Flow, path_of, seed_of};
use crate::options::{self, Given};
use crate::picture::Picture;
use crate::pool::Line;
use crate::{html, images, pool, progress};

/// How long Ctrl-C waits for the model of the last step.
const GRACE: Duration = Duration::from_millis(100);
/// Between two looks of a progress bar at the run.
const EVERY: Duration = Duration::from_millis(50);

/// The run that made a flow: its losses, its held-out scores, its notes.
#[pyclass(frozen, module = "cnflow")]
pub struct Training {
    history: History,
    stopped: bool,
    unit: &'static str,
    notes: Vec<String>,
    summary: Vec<(String, String)>,
}

#[pymethods]
impl Training {
    /// Losses along the run, a dictionary each: step, seconds, objective, loss, grad_norm, lr. They are means over as
    /// many steps as lie between two of them.
    #[getter]
    fn losses<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let one = |record: &cnflow::train::StepRecord| {
            json!({
                "step": record.step, "seconds": record.seconds, "objective": record.criterion.name(),
                "loss": record.loss, "grad_norm": record.grad_norm, "lr": record.lr,
            })
        };
        arrays::from_json(py, &Value::Array(self.history.records().iter().map(one).collect()))
    }

    /// Held-out scores along the run, a dictionary each: step, seconds, nll and nll_se in nats, nfe.
    #[getter]
    fn validations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let one = |v: &cnflow::train::Validation| json!({"step": v.step, "seconds": v.seconds, "nll": v.nll, "nll_se": v.se, "nfe": v.nfe});
        arrays::from_json(py, &Value::Array(self.history.validations.iter().map(one).collect()))
    }

    /// Whether the run was ended from outside.
    #[getter]
    fn stopped(&self) -> bool {
        self.stopped
    }

    /// Remarks on the data and the run, a sentence each.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// A picture of the losses and the held-out scores.
    fn plot(&self, py: Python<'_>) -> PyResult<Picture> {
        let place = |step: usize| step as f64;
        let loss: Vec<(f64, f64)> = self.history.records().iter().map(|r| (place(r.step), r.loss)).collect();
        let held_out: Vec<(f64, f64, f64)> =
            self.history.validations.iter().map(|v| (place(v.step), v.nll, v.se)).collect();
        let loss_is_nll = self.history.records().iter().all(|r| r.criterion == Criterion::Likelihood);
        let (unit, score_unit) = ("steps", self.unit);
        let curves = plot::Training {
            unit,
            loss: &loss,
            loss_is_nll,
            score_unit,
            held_out: &held_out,
            entropy: None,
            winner: None,
        };
        Picture::drawn(|path| plot::training_curve(path, &curves, &plot::Options::default())).raised(py)
    }

    fn __repr__(&self) -> String {
        let all: Vec<String> = self.summary.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("Training({})", all.join(", "))
    }

    fn _repr_html_(&self) -> String {
        html::table(&self.summary)
    }
}

/// How far a run is, as callbacks get it.
#[derive(Clone, Debug, Default)]
struct Seen {
    facts: Value,
    done: f64,
    words: String,
}

impl Seen {
    fn of(progress: &Progress<'_>, scored: &str) -> Self {
        let record = &progress.record;
        let validation = progress.validation.map(|v| json!({"nll": v.nll, "nll_se": v.se, "nfe": v.nfe}));
        let facts = json!({
            "step": record.step, "done": progress.done, "seconds": record.seconds,
            "objective": record.criterion.name(), "loss": record.loss, "grad_norm": record.grad_norm, "lr": record.lr,
            "nfe": progress.nfe, "validation": validation, "rollback": progress.rollback,
        });
        let words = format!("step {}, loss {:.4}{scored}", record.step, record.loss);
        Self { facts, done: progress.done, words }
    }
}

/// What a run tells the calling thread.
enum Event {
    Note(String),
    Step(Seen),
}

/// Looks on in the pool.
struct Watcher {
    line: Line<Event>,
    stop: Arc<AtomicBool>,
    /// The answers to steps, where somebody wants every step.
    answers: Option<std::sync::mpsc::Receiver<bool>>,
    /// For a bar.
    latest: Option<Arc<Mutex<Seen>>>,
    drawn: Instant,
    scored: String,
    /// The model when the run was stopped.
    model: Arc<Mutex<Option<Model>>>,
    checkpoint: Option<PathBuf>,
}

impl Watch for Watcher {
    fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        if let Some(v) = progress.validation {
            self.scored = format!(", held-out NLL {:.4}", v.nll);
        }
        if let Some(rollback) = progress.rollback {
            (self.line)(Event::Note(rollback.to_owned()));
        }
        if let Some(latest) = self.latest.as_ref().filter(|_| self.drawn.elapsed() > EVERY) {
            self.drawn = Instant::now();
            *latest.lock().unwrap_or_else(PoisonError::into_inner) = Seen::of(progress, &self.scored);
        }
        let mut ends = self.stop.load(Ordering::Relaxed);
        if let Some(answers) = self.answers.as_ref().filter(|_| !ends) {
            // Whoever asked may have gone.
            let told = (self.line)(Event::Step(Seen::of(progress, &self.scored)));
            ends = !told || answers.recv().unwrap_or(true);
        }
        if !ends {
            return ControlFlow::Continue(());
        }
        *self.model.lock().unwrap_or_else(PoisonError::into_inner) = (progress.model)().ok();
        ControlFlow::Break(())
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn note(&mut self, words: &str) {
        (self.line)(Event::Note(words.to_owned()));
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> cnflow::Result<()> {
        self.checkpoint.as_ref().map_or(Ok(()), |path| checkpoint.save(path))
    }
}

/// The processes of a run, as an object of Python: `rank`, `size`, `allgather(bytes)`.
pub struct Processes {
    crew: Py<PyAny>,
    rank: usize,
    size: usize,
    /// What `allgather` raised.
    raised: Arc<Mutex<Option<PyErr>>>,
}

impl Processes {
    /// Those of a crew.
    pub fn of(py: Python<'_>, crew: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (rank, size): (usize, usize) = (crew.getattr("rank")?.extract()?, crew.getattr("size")?.extract()?);
        if rank >= size {
            let problem = format!("the crew has rank {rank} of {size}");
            return Err(Trouble::invalid(problem, "ranks are 0 to size - 1").raise(py));
        }
        Ok(Self { crew: crew.clone().unbind(), rank, size, raised: Arc::default() })
    }
}

impl Crew for Processes {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn allgather(&self, mine: &[u8]) -> cnflow::Result<Vec<Vec<u8>>> {
        Python::with_gil(|py| {
            let all = self.crew.call_method1(py, "allgather", (PyBytes::new(py, mine),));
            // Bytes are copied whole: as sequences of numbers they would be taken one by one.
            let bytes = all.and_then(|all| all.extract::<Vec<PyBackedBytes>>(py));
            bytes.map(|all| all.iter().map(|message| message.to_vec()).collect()).map_err(|error| {
                let problem = format!("the crew's `allgather` failed: {error}");
                *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                cnflow::Error::invalid(problem, "go on from the last checkpoint with `resume`")
            })
        })
    }
}

/// A finished run.
struct Ended {
    model: Model,
    fitted: TrainResult,
}

/// Everything that a run needs.
struct Run {
    job: Job,
    data: Dataset,
    resumed: Option<Checkpoint>,
    found: Vec<Finding>,
    processes: Option<Processes>,
}

impl Run {
    fn go(self, watch: &mut Watcher) -> Outcome<Ended> {
        let Self { job, data, resumed, found, processes } = self;
        let crew: &dyn Crew = processes.as_ref().map_or(&Alone, |processes| processes);
        let mut fitted = match resumed {
            Some(checkpoint) => resume_by(crew, checkpoint, &data, watch)?,
            None => fit_by(crew, &job, &data, watch)?,
        };
        fitted.ended_early = fitted.ended_early.map(|words| options::named(&words));
        // That of the model: of the family that was chosen, where several were tried.
        let job = fitted.job.clone();
        fitted.model.provenance = provenance(&job, &fitted);
        let flow = fitted.model.bind(job.model.precision)?;
        let (set, rows) = held_out(&data);
        let score = score(&flow, rows, data.toy())?;
        fitted.model.provenance = scored_provenance(&job, &fitted, &score, set, &found);
        if let Some(path) = watch.checkpoint.as_ref().filter(|_| !fitted.stopped) {
            // Nothing is left to resume.
            let _ = std::fs::remove_file(path);
        }
        Ok(Ended { model: fitted.model.clone(), fitted })
    }
}

/// Trains a model of `x`: an array `[n, d]`, u8 images `[n, height, width(, channels)]`, a frame, or the name of a
/// built-in data set or a file.
///
/// `condition` has a row for each of x, or names columns of a frame (or numbers of columns of an array): the model is
/// then p(x | condition). `valid` are validation rows, with `valid_condition`; left out, a part of x is held out as the
/// command does: 80 % for training, 10 % for validation, 10 % for the test whose score is in `flow.provenance`.
///
/// `weights` has a number of 0 or more for each row of x, or names a column of a frame: a row of weight 2 counts as two
/// rows. Scores are weighted means then. `valid_weights` are those of `valid`.
///
/// `model`: cnf, realnvp, nice, glow, spline, or a baseline: mixture, gaussian, gaussian-shrunk, gaussian-fixed,
/// histogram; or auto, the best of several in the time given. Left out: auto for a table, if neither `steps` nor an option
/// of one model is given; else cnf.
/// The run takes `steps` steps or `time` seconds (or "2m"), 25 s if both are left out. A run with `steps` gives the same
/// bits as `cnf train --steps` with the same options, rows and `seed`.
///
/// `callback` is called after each step with a dictionary (step, done, seconds, objective, loss, grad_norm, lr, nfe,
/// validation, rollback), and ends the run by returning True. `progress` shows a bar; left out, it is shown in a terminal
/// or a notebook. `resume` is a file for checkpoints: where it exists, the run goes on from it.
///
/// `crew` are the processes that train together: an object with `rank`, `size` and `allgather(bytes)`, such as
/// `cnflow.mpi.Crew()`. Each of them makes the same call; the flow has the bits of one process. Rank 0 keeps the
/// checkpoints.
///
/// Rows with a missing cell (NaN, or null in a frame) in a column that is used are left out, with a DataWarning that
/// counts them; `missing="refuse"` makes the first of them an error. With `missing="marginal"` a gaussian, a
/// gaussian-shrunk or a mixture is fitted to the cells that are there, and scores them.
///
/// All other options are those of the command, with underscores: hidden, activation, lr, batch, objective, net, depth,
/// bins, base, precision, split, columns, drop, column, missing, solver, rtol, atol, init and so on (`cnf train --help`).
///
/// Raises InvalidInput for data and options that are not valid; UnknownOption for others, with the near names;
/// TrainingInterrupted after Ctrl-C, with the model as it was in `.flow`.
#[pyfunction]
#[pyo3(signature = (x, condition=None, *, valid=None, valid_condition=None, weights=None,
    valid_weights=None, model=None, steps=None, time=None, seed=None,
    callback=None, progress=None, resume=None, crew=None, **options))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub fn train(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    condition: Option<&Bound<'_, PyAny>>,
    valid: Option<&Bound<'_, PyAny>>,
    valid_condition: Option<&Bound<'_, PyAny>>,
    weights: Option<&Bound<'_, PyAny>>,
    valid_weights: Option<&Bound<'_, PyAny>>,
    model: Option<&str>,
    steps: Option<i64>,
    time: Option<&Bound<'_, PyAny>>,
    seed: Option<&Bound<'_, PyAny>>,
    callback: Option<Py<PyAny>>,
    progress: Option<bool>,
    resume: Option<&Bound<'_, PyAny>>,
    crew: Option<&Bound<'_, PyAny>>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Flow> {
    let steps = steps.map(|steps| {
        let refused = || Trouble::invalid(format!("a run of {steps} steps"), "give at least 1 step").raise(py);
        usize::try_from(steps).map_err(|_| refused())
    });
    let steps = steps.transpose()?;
    let (seed, time) = (seed_of(py, seed)?, time.map(|time| seconds_of(py, time)).transpose()?);
    let named = condition.map(names_of).transpose()?.flatten();
    let mut given = options::job(py, model, (steps, time), seed, named.clone().unwrap_or_default(), options)?;
    let column = weights.map(text_of).transpose()?.flatten();
    if let Some(column) = &column {
        given.fields.push("data.weights");
        given.job.data.weights = Some(column.clone());
    }
    let weights = weights.filter(|_| column.is_none());
    let checkpoint = resume.map(|path| path_of(py, path)).transpose()?.map(checkpoint_of);
    let source = text_of(x)?;
    let arrays = match &source {
        Some(name) => {
            if valid.is_some() || weights.is_some() || (condition.is_some() && named.is_none()) {
                let problem =
                    format!("the data set `{name}` has rows for validation, conditions and weights of its own");
                let hint = "leave out `valid`; name the columns of conditions and weights by text";
                return Err(Trouble::invalid(problem, hint).raise(py));
            }
            None
        }
        None => {
            let own = condition.filter(|_| named.is_none());
            let layout = given.job.data.layout;
            let rows = memory(py, "x", x, (own, weights), layout)?;
            let of_valid = (valid_condition, valid_weights);
            let valid = valid.map(|valid| memory(py, "valid", valid, of_valid, layout)).transpose()?;
            Some((rows, valid))
        }
    };
    let processes = crew.map(|crew| Processes::of(py, crew)).transpose()?;
    let size = processes.as_ref().map_or(1, |processes| processes.size);
    let mut run = prepared(py, given, source, arrays, checkpoint.as_deref(), size)?;
    run.processes = processes;
    for note in &run.data.notes {
        warn(py, "DataWarning", &options::named(note))?;
    }
    for finding in &run.found {
        warn(py, "DataWarning", &options::named(&format!("{} (hint: {})", finding.text, finding.hint)))?;
    }
    watched(py, run, callback, progress, checkpoint)
}

/// A time in seconds: a number, or a text such as 2m.
fn seconds_of(py: Python<'_>, time: &Bound<'_, PyAny>) -> PyResult<f64> {
    let seconds = match time.extract::<f64>() {
        Ok(seconds) => Some(seconds),
        Err(_) => time.extract::<String>().ok().and_then(|text| words::seconds(&text).or_else(|| text.parse().ok())),
    };
    seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0).ok_or_else(|| {
        let shown = time.repr().map_or_else(|_| "?".into(), |text| text.to_string());
        Trouble::invalid(format!("the time {shown} is no time above 0"), "give seconds, or a text such as 2m").raise(py)
    })
}

/// A text or a path.
fn text_of(given: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if given.is_instance_of::<PyString>() {
        return given.extract().map(Some);
    }
    if given.hasattr("__fspath__")? {
        return given.call_method0("__fspath__")?.extract().map(Some);
    }
    Ok(None)
}

/// Names or numbers of columns: a text, or a list that begins with one, or of whole numbers in a list or tuple.
fn names_of(given: &Bound<'_, PyAny>) -> PyResult<Option<Vec<String>>> {
    if let Ok(one) = given.extract::<String>() {
        return Ok(Some(vec![one]));
    }
    let list = given.is_instance_of::<pyo3::types::PyList>() || given.is_instance_of::<pyo3::types::PyTuple>();
    if !list || given.len()? == 0 || !given.get_item(0)?.is_instance_of::<PyString>() {
        return Ok(None);
    }
    given.extract().map(Some)
}

/// The checkpoint of a run's folder, or the file itself.
fn checkpoint_of(path: PathBuf) -> PathBuf {
    if path.is_dir() { path.join("checkpoint.safetensors") } else { path }
}

/// The words of columns of text, by their places, as they are found.
#[derive(Default)]
struct Words(RefCell<Vec<(usize, Vec<String>)>>);

impl Words {
    /// The numbers of the cells of column `j`, whose words are kept.
    fn code(&self, j: usize, cells: &[Option<String>]) -> Coded {
        let coded = words_of(cells, true).map_err(|(problem, hint)| Trouble::invalid(problem, hint))?;
        Ok(coded.map(|(words, numbers)| {
            self.0.borrow_mut().push((j, words));
            numbers
        }))
    }

    /// The words of `d` columns; nothing where none has some.
    fn in_order(self, d: usize) -> Vec<Vec<String>> {
        let found = self.0.into_inner();
        let mut words = if found.is_empty() { Vec::new() } else { vec![Vec::new(); d] };
        found.into_iter().for_each(|(j, of)| words[j] = of);
        words
    }
}

/// Rows with their conditions and their weights, which have a row for each of them.
fn memory(
    py: Python<'_>,
    name: &str,
    x: &Bound<'_, PyAny>,
    (condition, weights): (Option<&Bound<'_, PyAny>>, Option<&Bound<'_, PyAny>>),
    layout: Layout,
) -> PyResult<Memory> {
    let found = Words::default();
    let read = arrays::read_coded(x, name, None, Some(&|_, j, cells| found.code(j, cells)))?;
    let mut rows = images::memory(py, name, read, layout)?;
    rows.words = found.in_order(rows.dim);
    if let Some(condition) = condition {
        let found = Words::default();
        let read = arrays::read_coded(condition, "the condition", None, Some(&|_, j, cells| found.code(j, cells)))?;
        let Array { numbers, shape, names } = read;
        let dim = match shape[..] {
            [_] => 1,
            [_, c] if c > 0 => c,
            _ => {
                let problem = format!("the condition has the shape {shape:?}, expected [n, c]");
                return Err(Trouble::invalid(problem, "give a row of conditions for each row").raise(py));
            }
        };
        let words = found.in_order(dim);
        rows.context = Some((Context { dim, columns: names.unwrap_or_default(), words }, numbers.into_f64()));
    }
    if let Some(weights) = weights {
        let Array { numbers, shape, .. } = arrays::read(weights, "the weights", None)?;
        if !matches!(shape[..], [_] | [_, 1]) {
            let problem = format!("the weights have the shape {shape:?}, expected [n]");
            return Err(Trouble::invalid(problem, "give one weight for each row").raise(py));
        }
        rows.weight = Some(numbers.into_f64());
    }
    Ok(rows)
}

/// Reads and checks everything, as the command does before its first step.
fn prepared(
    py: Python<'_>,
    given: Given,
    source: Option<String>,
    arrays: Option<(Memory, Option<Memory>)>,
    checkpoint: Option<&Path>,
    size: usize,
) -> PyResult<Run> {
    let Given { mut job, fields, tolerances } = given;
    if let Some(path) = job.model.init.as_mut().filter(|path| path.is_dir()) {
        *path = path.join("model.safetensors");
    }
    job.data.source = source.clone().unwrap_or_else(|| "rows in memory".into());
    let resumed = checkpoint.filter(|path| path.is_file()).map(Path::to_owned);
    let begins = move || -> Outcome<Run> {
        let init = job.model.init.as_deref().map(Model::load).transpose()?;
        if let Some(model) = &init {
            job.adopt(model)?;
        }
        for field in &fields {
            job.check_applies(field)?;
        }
        let data = match (arrays, &init) {
            (Some((rows, valid)), init) => {
                let mut data = job.dataset_in_memory(rows, valid)?;
                if let Some(model) = init {
                    let notes = data.arrange(&model.spec.names, model.spec.condition_names())?;
                    data.notes.extend(notes);
                    data.translate(&model.spec.column_words(), &model.spec.condition_words())?;
                }
                data
            }
            (None, Some(model)) => {
                let (mut data, notes) = job.dataset_for(&model.spec, None)?;
                data.notes = notes;
                data
            }
            (None, None) => job.dataset(None)?,
        };
        if toys::find(&job.data.source).is_ok() && job.data.split != "auto" {
            let problem = format!("`data.split` has no meaning for the toy `{}`", job.data.source);
            return Err(cnflow::Error::invalid(problem, "leave it out").into());
        }
        let is_open = !fields.contains(&"model.family") && job.optimiser.steps.is_none() && size == 1;
        let job = if is_open { with_auto_family(job, &data, &fields) } else { job };
        let job = if tolerances || init.is_some() { job } else { job.with_tolerance_for(&data) }.resolve_for(&data)?;
        let mut job = job;
        if job.output.picture.names.is_empty() {
            job.output.picture.names = data.columns.clone().unwrap_or_default();
        }
        let resumed = resumed.as_deref().map(Checkpoint::load).transpose()?;
        if let Some(checkpoint) = &resumed {
            let mut b = checkpoint.job().clone();
            let (mut a, _) = with_column_types(goes_on(&job, &b).resolve_for(&data)?, &data);
            // What is only kept, and where rows came from, decides no bit: the rows themselves are compared.
            (a.output, b.output) = Default::default();
            (a.data.source, b.data.source) = Default::default();
            (a.data.missing, b.data.missing) = Default::default();
            if a != b {
                let problem = "the checkpoint was made with other options";
                return Err(Trouble::invalid(
                    problem,
                    "give the options of the first part of the run, or another file",
                ));
            }
        }
        // Remarks are about rows with all their cells.
        let whole = data.has_gaps().then(|| data.clone().without_gaps());
        let whole = whole.as_ref().unwrap_or(&data);
        let numbered = job.data.drop.is_empty() && job.data.keep.is_empty();
        let found = match whole.n_train() {
            Some(0) => Vec::new(),
            _ => findings(&job, whole, numbered),
        };
        Ok(Run { job, data, resumed, found, processes: None })
    };
    pool::run(py, &Arc::default(), begins, |_| Ok(()))?.raised(py)
}

/// The job of a part of a run that goes on: where a model was chosen among several, that of the chosen one.
fn goes_on(job: &Job, checkpoint: &Job) -> Job {
    if job.model.family != Family::Auto {
        return job.clone();
    }
    job.clone().of_family(checkpoint.model.family).with(|job| {
        job.optimiser.time = checkpoint.optimiser.time;
        job.model.base.clone_from(&checkpoint.model.base);
    })
}

/// Runs and looks on.
fn watched(
    py: Python<'_>,
    run: Run,
    callback: Option<Py<PyAny>>,
    shown: Option<bool>,
    checkpoint: Option<PathBuf>,
) -> PyResult<Flow> {
    let (stop, model) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let precision = run.job.model.precision;
    let unit = if run.data.shape.is_some() { "nats an image" } else { "nats" };
    let first = run.processes.as_ref().is_none_or(|processes| processes.rank == 0);
    let checkpoint = checkpoint.filter(|_| first);
    let raised = run.processes.as_ref().map(|processes| processes.raised.clone());
    let shown = if first { shown } else { Some(false) };
    let mut bar = progress::Bar::new(py, shown)?;
    let latest = Arc::new(Mutex::new(Seen::default()));
    let (answer, answers): (Sender<bool>, _) = channel();
    let (own_stop, own_model, own_latest) = (stop.clone(), model.clone(), latest.clone());
    let has_callback = callback.is_some();
    let mut notes: Vec<String> = run.data.notes.iter().map(|note| options::named(note)).collect();
    let job = move |line: Line<Event>| {
        let mut watch = Watcher {
            line,
            stop: own_stop,
            answers: has_callback.then_some(answers),
            latest: (shown != Some(false)).then_some(own_latest),
            drawn: Instant::now(),
            scored: String::new(),
            model: own_model,
            checkpoint,
        };
        run.go(&mut watch)
    };
    let event = |py: Python<'_>, event: Event| -> PyResult<()> {
        match event {
            Event::Note(words) => {
                let words = options::named(&words);
                warn(py, "DataWarning", &words)?;
                notes.push(words);
            }
            Event::Step(seen) => {
                let Some(callback) = &callback else { return Ok(()) };
                let ends = callback.call1(py, (arrays::from_json(py, &seen.facts)?,))?;
                // The run may have ended by a signal.
                let _ = answer.send(ends.is_truthy(py)?);
            }
        }
        Ok(())
    };
    let look = |py: Python<'_>| {
        let seen = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        bar.show(py, seen.done, &seen.words)
    };
    let ending = stop.clone();
    let ended = pool::watched(py, job, event, look, move || ending.store(true, Ordering::Relaxed));
    drop(answer);
    bar.close(py)?;
    if let Some(error) = raised.and_then(|raised| raised.lock().unwrap_or_else(PoisonError::into_inner).take()) {
        return Err(error);
    }
    let Ended { model, fitted } = match ended {
        Err(error) if error.is_instance_of::<PyKeyboardInterrupt>(py) => {
            return Err(interrupted(py, error, &model, precision));
        }
        ended => ended?.raised(py)?,
    };
    if fitted.replaced_by_baseline {
        let words =
            "the model is a Gaussian mixture: its validation NLL is better than the flow's; base=\"normal\" fits none";
        warn(py, "DataWarning", words)?;
        notes.push(words.to_owned());
    }
    let training = Training {
        summary: summary(&model, &fitted),
        stopped: fitted.stopped,
        notes: notes.into_iter().chain(fitted.ended_early).collect(),
        history: fitted.history,
        unit,
    };
    let engine = Engine::new(model, Some(precision)).raised(py)?;
    Ok(Flow { bound: Arc::new(engine), fixed: None, training: Some(Py::new(py, training)?) })
}

/// Ctrl-C, with the model as it is where a step ends in time.
fn interrupted(py: Python<'_>, error: PyErr, model: &Mutex<Option<Model>>, precision: cnflow::Precision) -> PyErr {
    let begun = Instant::now();
    let taken = || model.lock().unwrap_or_else(PoisonError::into_inner).take();
    let found = py.allow_threads(|| {
        loop {
            match taken() {
                None if begun.elapsed() < GRACE => std::thread::sleep(Duration::from_millis(2)),
                found => break found,
            }
        }
    });
    let flow = found.and_then(|model| Engine::new(model, Some(precision)).ok()).map(Flow::new);
    let made = || -> PyResult<PyErr> {
        let class = py.import("cnflow._errors")?.getattr("TrainingInterrupted")?;
        let words = if flow.is_some() { "the model as it was is `.flow`" } else { "no step had ended" };
        let exception = class.call1((format!("training was interrupted: {words}"),))?;
        if let Some(flow) = flow {
            exception.setattr("flow", Py::new(py, flow)?)?;
        }
        Ok(PyErr::from_value(exception))
    };
    made().unwrap_or(error)
}

/// A run in a few lines.
fn summary(model: &Model, fitted: &TrainResult) -> Vec<(String, String)> {
    let number = |key: &str| model.provenance.get(key).and_then(Value::as_f64);
    let set = model.provenance.get("scored").and_then(Value::as_str).unwrap_or("held-out");
    let mut rows = vec![("steps".to_owned(), fitted.steps.to_string())];
    rows.push(("time".into(), words::duration(fitted.seconds)));
    if let Some(nll) = number("nll") {
        let se = number("nll_se").unwrap_or(f64::NAN);
        rows.push((format!("NLL of the {set} rows"), format!("{} nats", words::estimate(nll, se, 4))));
    }
    if let Some(bits) = number("bits_per_dim") {
        rows.push(("bits per dimension".into(), format!("at most {bits:.4}")));
    }
    if fitted.replaced_by_baseline {
        rows.push(("model".into(), "a Gaussian mixture: its validation NLL is better than the flow's".into()));
    }
    let far = fitted.far.rows.len();
    if far > 0 {
        let rule = model.provenance.get("far_rows").and_then(|rule| serde_json::from_value(rule.clone()).ok());
        let what = if rule == Some(FarRows::Keep) { "kept" } else { "left out of training and validation" };
        rows.push(("far out".into(), format!("{}, {what}", words::count(far as u64, "row"))));
    }
    if fitted.rollbacks > 0 {
        rows.push(("rollbacks".into(), fitted.rollbacks.to_string()));
    }
    if let Some(words) = &fitted.ended_early {
        rows.push(("ended early".into(), words.clone()));
    }
    if fitted.stopped {
        rows.push(("stopped".into(), "from outside".into()));
    }
    rows
}
