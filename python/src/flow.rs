//! A trained flow: what `cnflow.Flow` is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cnflow::apply::Gaps;
use cnflow::continuous::{End, Work};
use cnflow::model::{Architecture, ErrorBars};
use cnflow::velocity::Precision;
use cnflow::{Error, Model, words};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::arrays;
use crate::engine::{
    BLOCK_NUMBERS, BLOCK_ROWS, Engine, Kernel, Solved, decoded, drawn, inverted, moved, over_draws, present, scored,
    with_gradient,
};
use crate::error::{Outcome, Raised, Trouble, warn};
use crate::given::Rows;
use crate::options::{SolverChanges, parsed_precision};
use crate::training::Training;
use crate::{images, pool, progress};

/// So many rows are solved on the calling thread: one block of lanes.
const FEW: usize = 16;
/// A result of more numbers is tried to be allocated first.
const MOST_UNCHECKED: usize = 1 << 27;
/// As long as the calling thread may be without an eye for signals.
const PATIENCE: Duration = Duration::from_millis(50);

/// A trained flow. It cannot be changed, and can be pickled, copied and used by several threads at once. Its results
/// are the same bits for any number of threads and for any other rows in the call.
///
/// Arrays are `[n, d]`; a single point `[d]` and more axes `[a, b, d]` are taken too, and results have the same leading
/// axes. Any numeric type, order and byte order works. A frame of pandas, polars, pyarrow or DuckDB is matched by the
/// names of its columns.
#[pyclass(frozen, module = "cnflow", name = "Flow")]
pub struct Flow {
    pub(crate) bound: Arc<Engine>,
    /// The condition of all rows, where it is fixed.
    pub(crate) fixed: Option<Vec<f64>>,
    pub(crate) training: Option<Py<Training>>,
}

impl Flow {
    /// The flow of an engine.
    pub fn new(engine: Engine) -> Self {
        Self { bound: Arc::new(engine), fixed: None, training: None }
    }

    pub(crate) fn d(&self) -> usize {
        self.bound.bound.dim()
    }

    pub(crate) fn names(&self) -> Option<&[String]> {
        Some(&self.bound.model.spec.names[..]).filter(|names| !names.is_empty())
    }

    /// The names of the conditions, where they have some.
    pub(crate) fn condition_names(&self) -> Option<&[String]> {
        Some(self.bound.model.spec.condition_names()).filter(|names| !names.is_empty())
    }

    /// The names of the conditions, or c0, c1, ….
    pub(crate) fn condition_labels(&self) -> Vec<String> {
        let one = |j| self.bound.model.spec.given().map_or_else(|| format!("c{j}"), |known| known.name(j));
        (0..self.bound.bound.condition_dim()).map(one).collect()
    }

    fn error(&self, py: Python<'_>, error: &Error) -> PyErr {
        Trouble::of(error, self.bound.setting()).raise(py)
    }

    /// Runs a function on rows. Those with a missing cell are not computed: they are NaN, with a warning.
    fn solve(
        &self,
        py: Python<'_>,
        x: Vec<f64>,
        condition: Vec<f64>,
        kernel: impl Kernel,
        progress: Option<bool>,
    ) -> PyResult<Solved> {
        self.over_gaps(py, x, condition, |x, condition| self.solve_whole(py, x, condition, kernel, progress))
    }

    /// What `solve` gives for rows; of those with a missing cell nothing is computed, and they are NaN, with a warning.
    fn over_gaps(
        &self,
        py: Python<'_>,
        x: Vec<f64>,
        condition: Vec<f64>,
        solve: impl FnOnce(Vec<f64>, Vec<f64>) -> PyResult<Solved>,
    ) -> PyResult<Solved> {
        let n = x.len() / self.d();
        let Some(gaps) = Gaps::of(&x, self.d(), &condition) else { return self.noted(py, n, solve(x, condition)?) };
        warn_of_gaps(py, &gaps)?;
        let found = solve(gaps.pick(&x), gaps.pick(&condition))?;
        let all = Solved {
            y: gaps.spread(&found.y, self.d()),
            log_prob: gaps.spread(&found.log_prob, 1),
            by_condition: gaps.spread(&found.by_condition, self.bound.bound.condition_dim()),
            cost: gaps.spread_cost(found.cost),
        };
        self.noted(py, n, all)
    }

    /// Runs a function on rows without missing cells: a few of them here, more in the pool.
    fn solve_whole(
        &self,
        py: Python<'_>,
        x: Vec<f64>,
        condition: Vec<f64>,
        kernel: impl Kernel,
        progress: Option<bool>,
    ) -> PyResult<Solved> {
        let n = x.len() / self.d();
        if n > 0 && n <= FEW && self.bound.alone {
            let model = &self.bound.bound;
            let solved = py.allow_threads(|| {
                let work = Arc::new(Work::default());
                work.stop_at(Instant::now() + PATIENCE);
                kernel(&model.with_progress(work)?, &x, &condition)
            });
            match solved {
                // It takes longer: the pool keeps an eye on signals.
                Err(Error::Stopped) => {}
                Err(error) => return Err(self.error(py, &error)),
                Ok(solved) => return Ok(solved),
            }
        }
        self.solve_in_pool(py, x, condition, kernel, progress)
    }

    fn solve_in_pool(
        &self,
        py: Python<'_>,
        x: Vec<f64>,
        condition: Vec<f64>,
        kernel: impl Kernel,
        progress: Option<bool>,
    ) -> PyResult<Solved> {
        let (d, c) = (self.d(), self.bound.bound.condition_dim());
        let n = x.len() / d;
        if n == 0 {
            return Ok(Solved::default());
        }
        let (bound, work) = (self.bound.clone(), Arc::new(Work::default()));
        let stop = work.clone();
        let job = move || {
            let model = bound.bound.with_progress(stop.clone())?;
            let (mut all, block) = (Solved::default(), BLOCK_ROWS.min(BLOCK_NUMBERS / d).max(1));
            for first in (0..n).step_by(block) {
                stop.check()?;
                let end = n.min(first + block);
                all.append(first, kernel(&model, &x[first * d..end * d], &condition[first * c..end * c])?);
            }
            Ok(all)
        };
        let mut bar = progress::Bar::new(py, progress)?;
        let look = |py: Python<'_>| bar.show(py, work.done() / n as f64, "");
        let solved = pool::run(py, &work, job, look);
        bar.close(py)?;
        solved?.map_err(|error| self.error(py, &error))
    }

    /// How many draws of the noise in whole numbers are taken.
    fn draws(&self, py: Python<'_>, dequantise: i64) -> PyResult<u64> {
        let refuse = |problem: String, hint: &str| Err(Trouble::invalid(problem, hint).raise(py));
        match u64::try_from(dequantise) {
            Ok(1) => Ok(1),
            Ok(draws) if draws > 0 && self.bound.model.spec.dequantises() => Ok(draws),
            Ok(1..) => {
                let problem = format!(
                    "dequantise={dequantise}: the model has no whole numbers: neither images nor integer columns"
                );
                refuse(problem, "leave out `dequantise`")
            }
            _ => refuse(format!("dequantise={dequantise}"), "give 1 or more"),
        }
    }

    /// Warns of rows without a result.
    fn noted(&self, py: Python<'_>, of: usize, solved: Solved) -> PyResult<Solved> {
        if let Some((row, first)) = solved.cost.failures.first() {
            let (count, advice) = (solved.cost.failures.len(), first.advice(self.bound.setting()));
            let failed = Error::Failed { count, of, row: *row, first: *first };
            warn(py, "FailedRows", &format!("{failed}; they are NaN (hint: {advice})"))?;
        }
        Ok(solved)
    }

    /// The axes of points.
    fn axes(&self, batch: &[usize]) -> Vec<usize> {
        batch.iter().copied().chain([self.d()]).collect()
    }

    /// Points as the user has them: images as u8, other rows as f64, or as a frame of this library with their conditions.
    fn given_back<'py>(
        &self,
        py: Python<'py>,
        x: &[f64],
        batch: &[usize],
        frame: Option<(&Bound<'py, PyAny>, &[f64])>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(pixels) = &self.bound.model.spec.pixels {
            if frame.is_some() {
                let problem = "a model of images gives no frame";
                return Err(Trouble::invalid(problem, "leave out `as_frame`").raise(py));
            }
            return images::array(py, x, batch, pixels.shape);
        }
        let Some((library, condition)) = frame else { return arrays::array(py, x, &self.axes(batch)) };
        let (d, c) = (self.d(), self.bound.bound.condition_dim());
        let mut names = match self.names() {
            Some(names) => names.to_vec(),
            None => (0..d).map(|j| format!("x{j}")).collect(),
        };
        names.extend(self.condition_labels());
        let n = x.len() / d;
        let row = |i: usize| x[i * d..(i + 1) * d].iter().chain(&condition[i * c..(i + 1) * c]).copied();
        let rows = arrays::array(py, &(0..n).flat_map(row).collect::<Vec<f64>>(), &[n, d + c])?;
        let words = PyDict::new(py);
        let spec = &self.bound.model.spec;
        let all = spec.column_words().into_iter().chain(spec.condition_words());
        for (label, known) in names.iter().zip(all) {
            if !known.is_empty() {
                let by_number = PyDict::new(py);
                known.iter().try_for_each(|(word, number)| by_number.set_item(number, word))?;
                words.set_item(label, by_number)?;
            }
        }
        py.import("cnflow._arrays")?.call_method1("frame", (library, names, rows, words))
    }

    /// Latents of `n` draws, those from `first` on.
    fn drawn(&self, py: Python<'_>, n: usize, seed: u64, first: usize) -> PyResult<Vec<f64>> {
        let d = self.d();
        if n.saturating_mul(d) > MOST_UNCHECKED {
            // NumPy says what does not fit into memory, before hours of work.
            arrays::room(py, &[n, d])?;
        }
        if n.saturating_mul(d) <= BLOCK_ROWS {
            return Ok(drawn(d, n, seed, first, &Work::default()));
        }
        let work = Arc::new(Work::default());
        let stop = work.clone();
        pool::run(py, &work, move || drawn(d, n, seed, first, &stop), |_| Ok(()))
    }

    /// How many rows to draw, where conditions are one for each of them.
    fn count(&self, py: Python<'_>, n: Option<i64>, condition: Option<&Object<'_>>) -> PyResult<usize> {
        if let Some(n) = n {
            return whole(py, "n", n);
        }
        let Some(given) = condition.filter(|given| !given.is_none()) else { return Ok(1) };
        if let Ok(entries) = given.downcast::<PyDict>() {
            let mut most = 1;
            for (name, value) in arrays::entries(entries)? {
                let any = |_: Option<&str>, _: usize, cells: &[Option<String>]| Ok(Some(vec![0.0; cells.len()]));
                let what = format!("the condition `{name}`");
                most = most.max(arrays::read_coded(&value, &what, None, Some(&any))?.rows());
            }
            return Ok(most);
        }
        let c = self.bound.bound.condition_dim();
        let any = |_: Option<&str>, _: usize, cells: &[Option<String>]| Ok(Some(vec![0.0; cells.len()]));
        let read = arrays::read_coded(given, "the condition", self.condition_names(), Some(&any))?;
        Ok(arrays::batch(py, &read.shape, c.max(1), "the condition")?.iter().product())
    }

    fn similar(&self, bound: Arc<Engine>, fixed: Option<Vec<f64>>) -> Self {
        Self { bound, fixed, training: None }
    }
}

/// An object of Python.
type Object<'py> = Bound<'py, PyAny>;

/// Warns of rows with a missing cell among others.
fn warn_of_gaps(py: Python<'_>, gaps: &Gaps) -> PyResult<()> {
    let (missing, of) = (gaps.missing(), words::count(gaps.rows() as u64, "row"));
    let (have, are) = if missing == 1 { ("has", "it is") } else { ("have", "they are") };
    warn(py, "MissingRows", &format!("{missing} of {of} {have} a missing cell; {are} NaN"))
}

/// A number of rows.
fn whole(py: Python<'_>, name: &str, n: i64) -> PyResult<usize> {
    usize::try_from(n)
        .map_err(|_| Trouble::invalid(format!("`{name}` is {n}"), "give a whole number from 0 on").raise(py))
}

/// A seed: a whole number, or a generator of NumPy that draws one.
pub fn seed_of(py: Python<'_>, seed: Option<&Object<'_>>) -> PyResult<u64> {
    let Some(seed) = seed.filter(|seed| !seed.is_none()) else { return Ok(0) };
    if seed.hasattr("integers")? {
        return seed.call_method1("integers", (1u64 << 63,))?.extract();
    }
    seed.extract().map_err(|_| {
        let shown = seed.repr().map_or_else(|_| "?".into(), |text| text.to_string());
        let problem = format!("the seed {shown} is not a whole number from 0 on");
        Trouble::invalid(problem, "give a whole number, or a numpy.random.Generator").raise(py)
    })
}

/// The path that `given` names.
pub fn path_of(py: Python<'_>, given: &Object<'_>) -> PyResult<PathBuf> {
    let path = py.import("os")?.call_method1("fspath", (given,))?;
    path.downcast_into::<PyString>().map_err(PyErr::from)?.extract()
}

#[pymethods]
impl Flow {
    /// The number of columns, d.
    #[getter]
    fn dim(&self) -> usize {
        self.d()
    }

    /// The number of conditioning columns that a call needs.
    #[getter]
    fn condition_dim(&self) -> usize {
        if self.fixed.is_some() { 0 } else { self.bound.bound.condition_dim() }
    }

    /// The names of the columns of the frame or file that it was trained on; None where they had none.
    #[getter]
    fn columns(&self) -> Option<Vec<String>> {
        self.names().map(<[String]>::to_vec)
    }

    /// The names of the conditioning columns; None where they had none.
    #[getter]
    fn condition_columns(&self) -> Option<Vec<String>> {
        self.condition_names().map(<[String]>::to_vec)
    }

    /// The classes of each conditioning column, by its name: words, or whole numbers as text; an empty list for numbers.
    #[getter]
    fn condition_classes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let classes = PyDict::new(py);
        for (j, label) in self.condition_labels().iter().enumerate() {
            classes.set_item(label, self.bound.model.spec.class_labels(j))?;
        }
        Ok(classes)
    }

    /// The shape of an image, (height, width) or (height, width, channels); None where rows are not images.
    #[getter]
    fn image_shape<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let pixels = self.bound.model.spec.pixels.as_ref();
        pixels.map(|pixels| PyTuple::new(py, images::axes(pixels.shape))).transpose()
    }

    /// How it was trained: data, options, seed, held-out score. A new dictionary at each call.
    #[getter]
    fn provenance<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        arrays::from_json(py, &serde_json::Value::Object(self.bound.model.provenance.clone()))
    }

    /// How the flow is integrated: method, tolerances and the rest. A new dictionary at each call.
    #[getter]
    fn solver<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let solver = serde_json::to_value(&self.bound.model.spec.solver).map_err(|e| Trouble::internal(&e.to_string()));
        arrays::from_json(py, &solver.raised(py)?)
    }

    /// The arithmetic of its nets, "f32" or "f64".
    #[getter]
    fn precision(&self) -> &'static str {
        if self.bound.precision == Precision::F64 { "f64" } else { "f32" }
    }

    /// The run that made it; None where it was loaded.
    #[getter]
    fn training(&self, py: Python<'_>) -> Option<Py<Training>> {
        self.training.as_ref().map(|training| training.clone_ref(py))
    }

    /// log p(x) in nats, in the units of the data: `[n]` for `[n, d]`; -inf outside the support.
    ///
    /// A conditional model needs `condition`: a row for each point, one row for all, or a dictionary by names. A frame
    /// that has the conditioning columns needs none. `out` is an f64 array for the result. `progress` shows a bar; left
    /// out, it is shown for long calls in a terminal or a notebook.
    ///
    /// Raises InvalidInput for other shapes, missing columns and infinite numbers. Rows with a missing cell (NaN, or null
    /// in a frame) are NaN, with a MissingRows warning; rows that cannot be integrated are NaN, with a FailedRows warning.
    /// A model that was trained with `missing="marginal"` gives such rows the log-density of the cells that they have.
    ///
    /// Of images and columns of type integer it is log P of the whole numbers, by one draw of the noise; `dequantise` takes the
    /// mean over so many draws, which is nearer from below.
    #[pyo3(signature = (x, condition=None, *, dequantise=1, out=None, progress=None))]
    fn log_prob<'py>(
        &self,
        py: Python<'py>,
        x: &Object<'py>,
        condition: Option<&Object<'py>>,
        dequantise: i64,
        out: Option<&Object<'py>>,
        progress: Option<bool>,
    ) -> PyResult<Object<'py>> {
        let draws = self.draws(py, dequantise)?;
        let Rows { x, condition, batch } = self.rows(py, x, condition, "x")?;
        arrays::check_out(py, out, &batch)?;
        let gaps = self.bound.model.scores_gaps() && x.iter().any(|v| v.is_nan());
        if gaps && draws > 1 {
            let problem = format!("dequantise={draws} beside missing cells: a row with one is scored by one draw");
            return Err(Trouble::invalid(problem, "score the rows with missing cells apart").raise(py));
        }
        let solved = match gaps {
            true => self.noted(py, x.len() / self.d(), self.solve_in_pool(py, x, condition, present, progress)?)?,
            false if draws > 1 => {
                let kernel = move |model: &_, x: &_, condition: &_| over_draws(model, x, condition, draws);
                self.solve(py, x, condition, kernel, progress)?
            }
            false => self.solve(py, x, condition, scored, progress)?,
        };
        arrays::array_or(py, &solved.log_prob, &batch, out)
    }

    /// Bits per dimension of images, `[n]`: -log P / (D ln 2), where an image has D numbers.
    ///
    /// Raises InvalidInput for a model of other rows; else as log_prob.
    #[pyo3(signature = (x, condition=None, *, progress=None))]
    fn bits_per_dim<'py>(
        &self,
        py: Python<'py>,
        x: &Object<'py>,
        condition: Option<&Object<'py>>,
        progress: Option<bool>,
    ) -> PyResult<Object<'py>> {
        if self.bound.model.spec.pixels.is_none() {
            let problem = "bits per dimension are those of images, and the model is not one of images";
            return Err(Trouble::invalid(problem, "use `log_prob`").raise(py));
        }
        let Rows { x, condition, batch } = self.rows(py, x, condition, "x")?;
        let unit = self.d() as f64 * std::f64::consts::LN_2;
        let solved = self.solve(py, x, condition, scored, progress)?;
        let bits: Vec<f64> = solved.log_prob.iter().map(|l| -l / unit).collect();
        arrays::array(py, &bits, &batch)
    }

    /// `n` draws, `[n, d]` in the units of the data; u8 images for a model of images.
    ///
    /// They are those of the command `cnf sample` with the same `seed`, a whole number or a generator of NumPy. The
    /// draws from `first` on are taken, so that parts of one sample can be drawn apart. `n` left out: one for each row of
    /// `condition`. `as_frame`: pandas, polars or pyarrow, as the module or its name; the
    /// columns of the condition are in it too.
    ///
    /// Raises InvalidInput for conditions that do not fit. Rows that fail are NaN, with a FailedRows warning.
    #[pyo3(signature = (n=None, condition=None, *, seed=None, first=0, as_frame=None, progress=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn sample<'py>(
        &self,
        py: Python<'py>,
        n: Option<i64>,
        condition: Option<&Object<'py>>,
        seed: Option<&Object<'py>>,
        first: i64,
        as_frame: Option<&Object<'py>>,
        progress: Option<bool>,
    ) -> PyResult<Object<'py>> {
        let (n, first, seed) = (self.count(py, n, condition)?, whole(py, "first", first)?, seed_of(py, seed)?);
        let condition = self.conditions(py, condition, n)?;
        if self.bound.model.spec.pixels.is_some() {
            // An image has no NaN.
            let c = self.bound.bound.condition_dim();
            arrays::check_finite(py, &condition, c, "the condition", self.condition_names())?;
        }
        let z = self.drawn(py, n, seed, first)?;
        let beside = if as_frame.is_some() { condition.clone() } else { Vec::new() };
        let solved = self.solve(py, z, condition, moved, progress)?;
        self.given_back(py, &solved.y, &[n], as_frame.map(|library| (library, &beside[..])))
    }

    /// `n` draws, `[n, d]`, and their log-densities in nats, `[n]`, from one solve.
    ///
    /// Raises InvalidInput for a model of images or with columns of type integer, whose samples are whole numbers: score these with log_prob.
    #[pyo3(signature = (n=None, condition=None, *, seed=None, first=0, progress=None))]
    fn sample_and_log_prob<'py>(
        &self,
        py: Python<'py>,
        n: Option<i64>,
        condition: Option<&Object<'py>>,
        seed: Option<&Object<'py>>,
        first: i64,
        progress: Option<bool>,
    ) -> PyResult<(Object<'py>, Object<'py>)> {
        if self.bound.model.spec.dequantises() {
            let problem = "along the path of whole numbers there is only the density of their own noise";
            return Err(Trouble::invalid(problem, "use `sample`, and `log_prob` of the samples").raise(py));
        }
        let (n, first, seed) = (self.count(py, n, condition)?, whole(py, "first", first)?, seed_of(py, seed)?);
        let condition = self.conditions(py, condition, n)?;
        let z = self.drawn(py, n, seed, first)?;
        let solved = self.solve(py, z, condition, decoded, progress)?;
        Ok((arrays::array(py, &solved.y, &[n, self.d()])?, arrays::array(py, &solved.log_prob, &[n])?))
    }

    /// The data of the latents `z`, which are standard normal: `[n, d]` to `[n, d]`.
    #[pyo3(signature = (z, condition=None, *, progress=None))]
    fn forward<'py>(
        &self,
        py: Python<'py>,
        z: &Object<'py>,
        condition: Option<&Object<'py>>,
        progress: Option<bool>,
    ) -> PyResult<Object<'py>> {
        let (d, read) = (self.d(), arrays::read(z, "z", None)?);
        let batch = arrays::batch(py, &read.shape, d, "z")?;
        let z = read.numbers.into_f64();
        arrays::check_finite(py, &z, d, "z", None)?;
        let condition = self.conditions(py, condition, z.len() / d)?;
        let solved = self.solve(py, z, condition, moved, progress)?;
        self.given_back(py, &solved.y, &batch, None)
    }

    /// The latents of the rows of `x`: `[n, d]` to `[n, d]`; NaN outside the support.
    #[pyo3(signature = (x, condition=None, *, progress=None))]
    fn inverse<'py>(
        &self,
        py: Python<'py>,
        x: &Object<'py>,
        condition: Option<&Object<'py>>,
        progress: Option<bool>,
    ) -> PyResult<Object<'py>> {
        let Rows { x, condition, batch } = self.rows(py, x, condition, "x")?;
        let solved = self.solve(py, x, condition, inverted, progress)?;
        arrays::array(py, &solved.y, &self.axes(&batch))
    }

    /// log p(x), `[n]`, and its gradient by x in nats per unit of the data, `[n, d]`; with `condition_grad` also that by the
    /// condition, `[n, c]`, for a condition that `given` fixed too. It is NaN in the columns of classes, by which there is
    /// none.
    ///
    /// Raises InvalidInput for an implicit method.
    #[pyo3(signature = (x, condition=None, *, condition_grad=false, progress=None))]
    fn log_prob_and_grad<'py>(
        &self,
        py: Python<'py>,
        x: &Object<'py>,
        condition: Option<&Object<'py>>,
        condition_grad: bool,
        progress: Option<bool>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let c = self.bound.bound.condition_dim();
        if condition_grad && c == 0 {
            return Err(Trouble::invalid("the model has no condition", "leave out `condition_grad`").raise(py));
        }
        let Rows { x, condition, batch } = self.rows(py, x, condition, "x")?;
        // Its tapes are made in the pool whatever the number of rows.
        let solve = |x, condition| self.solve_in_pool(py, x, condition, with_gradient, progress);
        let solved = self.over_gaps(py, x, condition, solve)?;
        let mut all =
            vec![arrays::array(py, &solved.log_prob, &batch)?, arrays::array(py, &solved.y, &self.axes(&batch))?];
        if condition_grad {
            let axes: Vec<usize> = batch.iter().copied().chain([c]).collect();
            all.push(arrays::array(py, &solved.by_condition, &axes)?);
        }
        PyTuple::new(py, all)
    }

    /// log p(x), `[n]`, and its error bars in nats, `[n, 3]`: of the solver (a second solve at a hundredth of the
    /// tolerance, it covers 95 of 100 rows), of the trace's estimate (0 where it is exact), and both together.
    #[pyo3(signature = (x, condition=None, *, progress=None))]
    fn error_bars<'py>(
        &self,
        py: Python<'py>,
        x: &Object<'py>,
        condition: Option<&Object<'py>>,
        progress: Option<bool>,
    ) -> PyResult<(Object<'py>, Object<'py>)> {
        let Rows { x, condition, batch } = self.rows(py, x, condition, "x")?;
        let gaps = Gaps::of(&x, self.d(), &condition);
        let mut coarse = self.solve(py, x.clone(), condition.clone(), scored, progress)?;
        let (log_prob, mut x, mut condition) = (coarse.log_prob.clone(), x, condition);
        if let Some(gaps) = &gaps {
            (x, condition) = (gaps.pick(&x), gaps.pick(&condition));
            (coarse.log_prob, coarse.cost) = (gaps.pick(&coarse.log_prob), gaps.pick_cost(&coarse.cost));
        }
        let work = Arc::new(Work::default());
        let (bound, stop) = (self.bound.clone(), work.clone());
        let job = move || {
            let bars = ErrorBars::of_model(&bound.model, 1.0, |fine| fine.with_progress(stop))?;
            bars.of(&x, &condition, &coarse.log_prob, &coarse.cost)
        };
        let bars = pool::run(py, &work, job, |_| Ok(()))?.map_err(|error| self.error(py, &error))?;
        let total = bars.total();
        let rows = bars.solver.iter().zip(&bars.estimator).zip(&total);
        let rows: Vec<f64> = rows.flat_map(|((solver, estimator), total)| [*solver, *estimator, *total]).collect();
        let rows = if let Some(gaps) = &gaps { gaps.spread(&rows, 3) } else { rows };
        let axes: Vec<usize> = batch.iter().copied().chain([3]).collect();
        Ok((arrays::array(py, &log_prob, &batch)?, arrays::array(py, &rows, &axes)?))
    }

    /// Points and log-densities on the way from the latent (time 0) to the data (time 1).
    ///
    /// Give the data `x` or latents `z`, `[n, d]`. Returns points `[times, n, d]` in the units of the data, and log p of
    /// each time's own distribution, `[times, n]`. A discrete flow of L layers has passed floor(t L) of them at t.
    ///
    /// Raises InvalidInput for times outside [0, 1] and for a model without a way, such as a mixture.
    #[pyo3(signature = (times, *, x=None, z=None, condition=None))]
    fn stages<'py>(
        &self,
        py: Python<'py>,
        times: &Object<'py>,
        x: Option<&Object<'py>>,
        z: Option<&Object<'py>>,
        condition: Option<&Object<'py>>,
    ) -> PyResult<(Object<'py>, Object<'py>)> {
        let times = arrays::read(times, "times", None)?.numbers.into_f64();
        let (rows, end) = match (x, z) {
            (Some(x), None) => (self.rows(py, x, condition, "x")?, End::Data),
            (None, Some(z)) => {
                let read = arrays::read(z, "z", None)?;
                let batch = arrays::batch(py, &read.shape, self.d(), "z")?;
                let z = read.numbers.into_f64();
                arrays::check_finite(py, &z, self.d(), "z", None)?;
                let condition = self.conditions(py, condition, z.len() / self.d())?;
                (Rows { x: z, condition, batch }, End::Latent)
            }
            _ => return Err(Trouble::invalid("stages need points at one end", "give `x` or `z`, not both").raise(py)),
        };
        let work = Arc::new(Work::default());
        let (bound, d, k, Rows { x, condition, batch }) = (self.bound.clone(), self.d(), times.len(), rows);
        let gaps = Gaps::of(&x, d, &condition);
        let (x, condition) = match &gaps {
            None => (x, condition),
            Some(gaps) => {
                warn_of_gaps(py, gaps)?;
                (gaps.pick(&x), gaps.pick(&condition))
            }
        };
        let m = x.len() / d;
        let job = move || bound.bound.stages(&x, end, &condition, &times);
        let mut stages = pool::run(py, &work, job, |_| Ok(()))?.map_err(|error| self.error(py, &error))?;
        if let Some(gaps) = &gaps {
            // One time after the other.
            let spread = |all: &[f64], width: usize| -> Vec<f64> {
                (0..k).flat_map(|at| gaps.spread(&all[at * m * width..][..m * width], width)).collect()
            };
            (stages.points, stages.log_prob) = (spread(&stages.points, d), spread(&stages.log_prob, 1));
        }
        let outer: Vec<usize> = std::iter::once(k).chain(batch).collect();
        Ok((arrays::array(py, &stages.points, &self.axes(&outer))?, arrays::array(py, &stages.log_prob, &outer)?))
    }

    /// p(x | condition) as a flow of its own, for one condition: a row, a number, or a dictionary by names.
    fn given(&self, py: Python<'_>, condition: &Object<'_>) -> PyResult<Self> {
        let row = self.conditions(py, Some(condition), 1)?;
        // What the model cannot encode is refused here.
        self.bound.model.spec.encoded(&row).map_err(|error| self.error(py, &error))?;
        Ok(self.similar(self.bound.clone(), Some(row)))
    }

    /// The same flow, integrated in another way; what is left out stays. Discrete flows take `precision` only.
    ///
    /// The options are those of the command: method ("dopri5", "tsit5", "vern7", "dop853", "rk4", "bdf", ...), rtol,
    /// atol, fixed_steps, max_step, trace, log_density, log_density_atol, probe_seed, precision ("f32", "f64").
    #[pyo3(signature = (*, method=None, rtol=None, atol=None, fixed_steps=None, max_step=None, trace=None,
        log_density=None, log_density_atol=None, probe_seed=None, precision=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn with_solver(
        &self,
        py: Python<'_>,
        method: Option<String>,
        rtol: Option<f64>,
        atol: Option<f64>,
        fixed_steps: Option<usize>,
        max_step: Option<f64>,
        trace: Option<String>,
        log_density: Option<String>,
        log_density_atol: Option<f64>,
        probe_seed: Option<u64>,
        precision: Option<&str>,
    ) -> PyResult<Self> {
        let changes = SolverChanges {
            method,
            rtol,
            atol,
            fixed_steps,
            max_step,
            trace,
            log_density,
            log_density_atol,
            probe_seed,
        };
        if self.bound.model.spec.architecture.as_velocity().is_none() && changes.any() {
            let problem = "the model has no velocity to integrate";
            return Err(Trouble::invalid(problem, "leave out all options but `precision`").raise(py));
        }
        let precision = precision.map(parsed_precision).transpose().raised(py)?.unwrap_or(self.bound.precision);
        let mut model = self.bound.model.clone();
        changes.apply(&mut model.spec.solver).raised(py)?;
        Ok(self.similar(Arc::new(Engine::new(model, Some(precision)).raised(py)?), self.fixed.clone()))
    }

    /// Writes the model file, which the command reads too. It holds no fixed condition.
    fn save(&self, py: Python<'_>, path: &Object<'_>) -> PyResult<()> {
        let path = path_of(py, path)?;
        let written = py.allow_threads(|| {
            let bytes = self.bound.model.to_bytes()?;
            cnflow::io::write_atomically(&path, |out| out.write_all(&bytes))
        });
        written.map_err(|error| self.error(py, &error))
    }

    /// The bytes of the model file.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.bound.model.to_bytes().map_err(|error| self.error(py, &error))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Object<'py>, Bound<'py, PyTuple>)> {
        let restore = py.import("cnflow._cnflow")?.getattr("_restored")?;
        let parts = (self.to_bytes(py)?, self.precision(), self.fixed.clone());
        Ok((restore, parts.into_pyobject(py)?))
    }

    fn __copy__(&self) -> Self {
        self.similar(self.bound.clone(), self.fixed.clone())
    }

    fn __deepcopy__(&self, _memo: &Object<'_>) -> Self {
        self.__copy__()
    }

    fn __repr__(&self) -> String {
        let spec = &self.bound.model.spec;
        let name = match (&spec.architecture, &spec.base) {
            (Architecture::Identity { .. }, Some(mixture)) => {
                format!("mixture of {}", words::count(mixture.components() as u64, "Gaussian"))
            }
            (Architecture::Identity { .. }, None) => "Gaussian".to_owned(),
            (architecture, _) => architecture.name().to_owned(),
        };
        let shape = match &self.bound.model.spec.pixels {
            Some(pixels) => format!("images of {}", words::image(pixels.shape)),
            None => words::count(self.d() as u64, "column"),
        };
        let given = match (&self.fixed, self.bound.bound.condition_dim()) {
            (_, 0) => String::new(),
            (Some(row), _) => {
                let one = |(name, value): (&String, &f64)| format!("{name}={value}");
                format!(", given {}", self.condition_labels().iter().zip(row).map(one).collect::<Vec<_>>().join(", "))
            }
            (None, _) => format!(", conditional on {}", self.condition_labels().join(", ")),
        };
        format!("Flow({name}, {shape}{given})")
    }

    fn _repr_html_(&self) -> String {
        let provenance = &self.bound.model.provenance;
        let text = |key: &str| provenance.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
        let number = |key: &str| provenance.get(key).and_then(serde_json::Value::as_f64);
        let mut rows = vec![("model".to_owned(), self.__repr__())];
        let mut push = |name: &str, value: Option<String>| rows.extend(value.map(|value| (name.to_owned(), value)));
        push("columns", self.names().map(cnflow::names::list));
        push("parameters", Some(self.bound.model.n_params().to_string()));
        push("precision", Some(self.precision().to_owned()));
        push("trained on", text("data"));
        let steps = number("steps").zip(number("seconds"));
        push("training", steps.map(|(n, s)| format!("{} in {}", words::count(n as u64, "step"), words::duration(s))));
        let (nll, se, set) = (number("nll"), number("nll_se"), text("scored").unwrap_or_default());
        push("NLL", nll.map(|nll| format!("{} nats ({set} rows)", words::estimate(nll, se.unwrap_or(f64::NAN), 4))));
        push("bits per dimension", number("bits_per_dim").map(|bits| format!("at most {bits:.4}")));
        crate::html::table(&rows)
    }

    /// Whether the density is right: round trip, mass, trace, and with rows that the training has not seen also the fit.
    ///
    /// `held_out` is `[m, d]` or a frame. `n` samples are drawn. `condition` is a row for each of the held-out rows, or one
    /// for all, as in log_prob: samples are drawn under the first, and every row is judged under its own (calibration).
    /// `progress` as in log_prob.
    #[pyo3(signature = (held_out=None, condition=None, *, n=1000, seed=None, progress=None))]
    fn check(
        &self,
        py: Python<'_>,
        held_out: Option<&Object<'_>>,
        condition: Option<&Object<'_>>,
        n: usize,
        seed: Option<&Object<'_>>,
        progress: Option<bool>,
    ) -> PyResult<crate::report::Report> {
        crate::report::check(self, py, (held_out, condition), (n, seed_of(py, seed)?), progress)
    }

    /// log p on a grid of `cells` a side, for one or two columns: the centres of the cells of each axis, and log p, `[cells]` or
    /// `[cells, cells]` with the second column along the first axis. `extent` is ((x0, x1),) or ((x0, x1), (y0, y1));
    /// left out, the range of samples.
    #[pyo3(signature = (cells=200, *, extent=None))]
    fn density_grid<'py>(
        &self,
        py: Python<'py>,
        cells: usize,
        extent: Option<Vec<(f64, f64)>>,
    ) -> PyResult<(Vec<Object<'py>>, Object<'py>)> {
        let (grid, log_prob) = crate::picture::grid(self, py, cells, extent)?;
        let d = self.d();
        let axis = |(low, high): (f64, f64)| -> PyResult<Object<'py>> {
            let centre = |i: usize| low + (high - low) * (i as f64 + 0.5) / cells as f64;
            arrays::array(py, &(0..cells).map(centre).collect::<Vec<_>>(), &[cells])
        };
        let axes = [grid.x, grid.y][..d].iter().map(|range| axis(*range)).collect::<PyResult<_>>()?;
        Ok((axes, arrays::array(py, &log_prob, &vec![cells; d])?))
    }

    /// A picture of the density, for one or two columns; beside `data`, `[n, d]`, where they are given.
    ///
    /// `extent` as in density_grid. `log`: show so many powers of ten below the highest density.
    #[pyo3(signature = (data=None, *, cells=200, extent=None, log=None, title=None))]
    fn plot_density(
        &self,
        py: Python<'_>,
        data: Option<&Object<'_>>,
        cells: usize,
        extent: Option<Vec<(f64, f64)>>,
        log: Option<u16>,
        title: Option<String>,
    ) -> PyResult<crate::picture::Picture> {
        crate::picture::density(self, py, data, (cells, extent), log, title)
    }

    /// A picture of `n` samples, beside `data` where they are given: histograms, scatters, a corner plot, or images.
    #[pyo3(signature = (data=None, *, n=2000, seed=None, condition=None, title=None))]
    fn plot_samples(
        &self,
        py: Python<'_>,
        data: Option<&Object<'_>>,
        n: usize,
        seed: Option<&Object<'_>>,
        condition: Option<&Object<'_>>,
        title: Option<String>,
    ) -> PyResult<crate::picture::Picture> {
        let condition = self.conditions(py, condition, n)?;
        let z = self.drawn(py, n, seed_of(py, seed)?, 0)?;
        let samples = self.solve(py, z, condition, moved, Some(false))?.y;
        crate::picture::samples(self, py, data, samples, title)
    }
}

impl Flow {
    /// log p of rows `[n, d]` under the fixed condition.
    pub(crate) fn log_prob_of(&self, py: Python<'_>, x: Vec<f64>) -> PyResult<Vec<f64>> {
        let condition = self.conditions(py, None, x.len() / self.d())?;
        Ok(self.solve(py, x, condition, scored, Some(false))?.log_prob)
    }

    /// `n` samples under the fixed condition.
    pub(crate) fn sampled(&self, py: Python<'_>, n: usize, seed: u64) -> PyResult<Vec<f64>> {
        let condition = self.conditions(py, None, n)?;
        let z = self.drawn(py, n, seed, 0)?;
        Ok(self.solve(py, z, condition, moved, Some(false))?.y)
    }
}

/// Reads a model: a file, the folder of a run, or the bytes of a file.
///
/// Raises FileError where it is missing, broken or of a newer version.
#[pyfunction]
pub fn load(py: Python<'_>, path: &Object<'_>) -> PyResult<Flow> {
    if let Ok(bytes) = path.downcast::<PyBytes>() {
        return Engine::of_bytes(bytes.as_bytes(), None).map(Flow::new).raised(py);
    }
    let path = path_of(py, path)
        .map_err(|_| PyTypeError::new_err("a model is loaded from a path, or from the bytes of its file"))?;
    let read = || -> Outcome<Engine> { Engine::new(Model::load(&file_of(&path)?)?, None) };
    py.allow_threads(read).map(Flow::new).raised(py)
}

/// The model file of a folder, or the file itself.
fn file_of(path: &Path) -> cnflow::Result<PathBuf> {
    let inside = path.join("model.safetensors");
    match path.is_dir() {
        false => Ok(path.to_owned()),
        true if inside.is_file() => Ok(inside),
        true => {
            let hint = "give a model file, or the folder of a run that has finished";
            Err(Error::read(path, "the folder holds no `model.safetensors`", hint))
        }
    }
}

/// A flow from its pickle.
#[pyfunction(name = "_restored")]
pub fn restored(py: Python<'_>, bytes: &[u8], precision: &str, fixed: Option<Vec<f64>>) -> PyResult<Flow> {
    let engine = Engine::of_bytes(bytes, Some(parsed_precision(precision).raised(py)?)).raised(py)?;
    Ok(Flow { fixed, ..Flow::new(engine) })
}
