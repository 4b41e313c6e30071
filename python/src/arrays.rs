//! Numbers from Python and to Python: arrays by the buffer protocol, frames by Arrow, all else by NumPy.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::sync::GILOnceCell;
use pyo3::types::{PyDict, PyTuple};

use crate::arrow::{self, Column};
use crate::error::{Outcome, Raised, Trouble};

/// Numbers, row-major.
#[derive(Clone, Debug)]
pub enum Numbers {
    /// Real numbers.
    F64(Vec<f64>),
    /// Whole numbers from 0 to 255: images, where there are three axes or four.
    U8(Vec<u8>),
}

impl Numbers {
    /// As f64.
    pub fn into_f64(self) -> Vec<f64> {
        match self {
            Self::F64(numbers) => numbers,
            Self::U8(bytes) => bytes.into_iter().map(f64::from).collect(),
        }
    }
}

/// An array or a frame.
#[derive(Clone, Debug)]
pub struct Array {
    /// Its numbers.
    pub numbers: Numbers,
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// The names of the columns of a frame.
    pub names: Option<Vec<String>>,
}

impl Array {
    /// Rows, where there is an axis of rows.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
}

/// Which columns of a frame are read; `None` for all of them.
pub type Wanted<'a> = Option<&'a [String]>;

/// The numbers of the cells of a column of text; none where it may not hold text.
pub type Coded = Outcome<Option<Vec<f64>>>;

/// What codes a column of text, called by its name, its place and its cells.
pub type Coder<'a> = &'a dyn Fn(Option<&str>, usize, &[Option<String>]) -> Coded;

/// Reads what a user gives for `what`, such as "x"; a missing cell is NaN. Of a frame that has all the `wanted` columns only these are read, in
/// this order.
pub fn read(given: &Bound<'_, PyAny>, what: &str, wanted: Wanted<'_>) -> PyResult<Array> {
    read_coded(given, what, wanted, None)
}

/// As [`read`], where columns of text may be numbers by a `coder`.
pub fn read_coded(
    given: &Bound<'_, PyAny>,
    what: &str,
    wanted: Wanted<'_>,
    coder: Option<Coder<'_>>,
) -> PyResult<Array> {
    let py = given.py();
    if let Ok(buffer) = PyBuffer::<f64>::get(given)
        && buffer.is_c_contiguous()
        // PyO3 takes other byte orders for this machine's.
        && buffer.format() == c"d"
        // A masked array has the buffer of its numbers, without the mask.
        && !given.hasattr("mask")?
    {
        return Ok(Array { numbers: Numbers::F64(buffer.to_vec(py)?), shape: buffer.shape().to_vec(), names: None });
    }
    let helper = py.import("cnflow._arrays")?;
    if given.hasattr("__arrow_c_stream__")? || helper.call_method1("is_frame", (given,))?.extract()? {
        return frame(given, &helper, what, (wanted, coder));
    }
    if let Some(coder) = coder
        && let Some((shape, columns)) = helper.call_method1("texts", (given,))?.extract::<Option<Texts>>()?
    {
        let (n, d) = (columns.first().map_or(0, Vec::len), columns.len());
        let mut numbers = vec![0.0; n * d];
        for (j, cells) in columns.iter().enumerate() {
            let column = match coder(None, j, cells).raised(py)? {
                Some(column) => column,
                None => parsed(cells, what).raised(py)?,
            };
            numbers.iter_mut().skip(j).step_by(d).zip(column).for_each(|(slot, value)| *slot = value);
        }
        return Ok(Array { numbers: Numbers::F64(numbers), shape, names: None });
    }
    let array = helper.call_method1("numbers", (given, what))?;
    let shape: Vec<usize> = array.getattr("shape")?.extract()?;
    if shape.is_empty() {
        // A single number has no buffer that PyO3 takes.
        return Ok(Array { numbers: Numbers::F64(vec![array.extract()?]), shape, names: None });
    }
    let numbers = match PyBuffer::<u8>::get(&array) {
        Ok(bytes) => Numbers::U8(bytes.to_vec(py)?),
        Err(_) => Numbers::F64(PyBuffer::<f64>::get(&array)?.to_vec(py)?),
    };
    Ok(Array { numbers, shape, names: None })
}

/// The shape of an array of texts, and its columns.
type Texts = (Vec<usize>, Vec<Vec<Option<String>>>);

/// The numbers of cells that are numbers written as text.
fn parsed(cells: &[Option<String>], what: &str) -> Outcome<Vec<f64>> {
    let number = |cell: &Option<String>| match cell.as_deref().map(str::trim) {
        None => Ok(f64::NAN),
        Some(text) => text.parse().map_err(|_| {
            let problem = format!("{what} has the text `{text}`, expected numbers");
            Trouble::invalid(problem, "convert it with astype(float), or leave out what is no number")
        }),
    };
    cells.iter().map(number).collect()
}

fn frame(
    given: &Bound<'_, PyAny>,
    helper: &Bound<'_, PyModule>,
    what: &str,
    (wanted, coder): (Wanted<'_>, Option<Coder<'_>>),
) -> PyResult<Array> {
    let py = given.py();
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted.iter().any(|other| other == name));
    let frame = helper.call_method1("with_stream", (given,))?;
    let columns = if frame.hasattr("__arrow_c_stream__")? {
        arrow::columns(&frame, &is_wanted)?
    } else {
        // A frame of pandas where pyarrow is not installed.
        let pairs: Vec<(String, Bound<'_, PyAny>)> = helper.call_method1("columns", (&frame,))?.extract()?;
        let one = |(name, values): (String, Bound<'_, PyAny>)| -> PyResult<Column> {
            if let Ok(other) = values.extract::<String>() {
                let problem = format!("the column `{name}` has {other}, expected numbers");
                let values =
                    if is_wanted(&name) { Err(Trouble::invalid(problem, "leave it out")) } else { Ok(Vec::new()) };
                return Ok(Column { name, values });
            }
            let read = if is_wanted(&name) { numbers_of(&values)? } else { Vec::new() };
            Ok(Column { name, values: Ok(read) })
        };
        pairs.into_iter().map(one).collect::<PyResult<_>>()?
    };
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let places: Vec<usize> = match wanted {
        None => (0..columns.len()).collect(),
        Some(wanted) => {
            let place = |name: &String| {
                let found: Vec<usize> = (0..names.len()).filter(|j| names[*j] == *name).collect();
                match found[..] {
                    [j] => Ok(j),
                    [] => Err(Trouble::invalid(
                        format!("{what} has no column `{name}`: it has {}", cnflow::names::list(&names)),
                        format!("give a frame with the columns {}", cnflow::names::list(wanted)),
                    )),
                    _ => Err(Trouble::invalid(
                        format!("{what} has two columns called `{name}`"),
                        "give each column its own name",
                    )),
                }
            };
            wanted.iter().map(place).collect::<Result<_, _>>().raised(py)?
        }
    };
    let mut taken = Vec::with_capacity(places.len());
    let mut columns: Vec<Option<Column>> = columns.into_iter().map(Some).collect();
    for (k, place) in places.iter().enumerate() {
        let Some(column) = columns[*place].take() else { continue };
        let coded = match (&column.values, coder) {
            (Err(_), Some(coder)) => {
                let cells = helper.call_method1("column_texts", (&frame, &column.name))?;
                match cells.extract::<Option<Vec<Option<String>>>>()? {
                    Some(cells) => coder(Some(&column.name), k, &cells).raised(py)?,
                    None => None,
                }
            }
            _ => None,
        };
        taken.push(match coded {
            Some(numbers) => numbers,
            None => column.values.raised(py)?,
        });
    }
    let (n, d) = (taken.first().map_or(0, Vec::len), taken.len());
    let mut numbers = vec![0.0; n * d];
    for (j, column) in taken.iter().enumerate() {
        numbers.iter_mut().skip(j).step_by(d).zip(column).for_each(|(slot, value)| *slot = *value);
    }
    let names: Vec<String> = places.iter().map(|j| names[*j].clone()).collect();
    // A series may have no name.
    let names = Some(names).filter(|names| names.iter().all(|name| !name.is_empty()));
    Ok(Array { numbers: Numbers::F64(numbers), shape: vec![n, d], names })
}

fn numbers_of(array: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    PyBuffer::<f64>::get(array)?.to_vec(array.py())
}

static EMPTY: GILOnceCell<Py<PyAny>> = GILOnceCell::new();

/// A new NumPy array of this type.
fn empty<'py>(py: Python<'py>, shape: &[usize], dtype: &str) -> PyResult<Bound<'py, PyAny>> {
    let empty = EMPTY.get_or_try_init(py, || py.import("numpy")?.getattr("empty").map(Bound::unbind))?;
    empty.bind(py).call1((PyTuple::new(py, shape)?, dtype))
}

/// Raises NumPy's error where memory has no room for f64 numbers of this shape.
pub fn room(py: Python<'_>, shape: &[usize]) -> PyResult<()> {
    empty(py, shape, "f8").map(drop)
}

/// A NumPy array of f64.
pub fn array<'py>(py: Python<'py>, numbers: &[f64], shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    let array = empty(py, shape, "f8")?;
    match (shape, numbers) {
        ([], [number]) => array.call_method1("fill", (*number,)).map(drop)?,
        _ => fill(&array, numbers)?,
    }
    Ok(array)
}

/// A NumPy array of u8.
pub fn bytes_array<'py>(py: Python<'py>, bytes: &[u8], shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    let array = empty(py, shape, "u1")?;
    if !bytes.is_empty() {
        PyBuffer::<u8>::get(&array)?.copy_from_slice(py, bytes)?;
    }
    Ok(array)
}

fn fill(array: &Bound<'_, PyAny>, numbers: &[f64]) -> PyResult<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let (py, buffer) = (array.py(), PyBuffer::<f64>::get(array)?);
    match buffer.as_mut_slice(py) {
        // The way of PyO3 and Python goes number by number.
        Some(slots) => slots.iter().zip(numbers).for_each(|(slot, number)| slot.set(*number)),
        None => buffer.copy_from_slice(py, numbers)?,
    }
    Ok(())
}

/// The numbers in a new array, or in `out`, which has their shape.
pub fn array_or<'py>(
    py: Python<'py>,
    numbers: &[f64],
    shape: &[usize],
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(out) = out else { return array(py, numbers, shape) };
    fill(out, numbers)?;
    Ok(out.clone())
}

/// Refuses an `out` that cannot take numbers of this shape.
pub fn check_out(py: Python<'_>, out: Option<&Bound<'_, PyAny>>, shape: &[usize]) -> PyResult<()> {
    let Some(out) = out else { return Ok(()) };
    let refuse =
        |problem: String| Err(Trouble::invalid(problem, format!("give an f64 array of shape {shape:?}")).raise(py));
    match PyBuffer::<f64>::get(out) {
        Err(_) => refuse("`out` is not an array of f64".into()),
        Ok(buffer) if buffer.readonly() => refuse("`out` is read-only".into()),
        Ok(buffer) if buffer.shape() != shape => refuse(format!("`out` has the shape {:?}", buffer.shape())),
        Ok(_) => Ok(()),
    }
}

/// Refuses numbers that are not finite, by the first of them in `[n, d]`.
pub fn check_finite(py: Python<'_>, x: &[f64], d: usize, what: &str, names: Option<&[String]>) -> PyResult<()> {
    let found = x.iter().position(|v| !v.is_finite());
    found.map_or(Ok(()), |i| Err(not_finite(py, x, i, d, what, names)))
}

/// Refuses infinite numbers, by the first of them in `[n, d]`; NaN is a missing cell.
pub fn check_infinite(py: Python<'_>, x: &[f64], d: usize, what: &str, names: Option<&[String]>) -> PyResult<()> {
    let found = x.iter().position(|v| v.is_infinite());
    found.map_or(Ok(()), |i| Err(not_finite(py, x, i, d, what, names)))
}

fn not_finite(py: Python<'_>, x: &[f64], i: usize, d: usize, what: &str, names: Option<&[String]>) -> PyErr {
    let column = names.map_or_else(|| (i % d).to_string(), |names| format!("`{}`", names[i % d]));
    let problem = format!("row {} of {what} has {} in column {column}", i / d, x[i]);
    let hint = format!("{}; rows and columns are counted from 0", cnflow::words::leave_out(x[i]));
    Trouble::invalid(problem, hint).raise(py)
}

/// JSON as Python's objects.
pub fn from_json<'py>(py: Python<'py>, value: &serde_json::Value) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (value.to_string(),))
}

/// The leading axes of an array of rows of `d` numbers: `[*batch, d]`, or `[*batch]` where d is 1.
pub fn batch(py: Python<'_>, shape: &[usize], d: usize, what: &str) -> PyResult<Vec<usize>> {
    match shape {
        [rest @ .., last] if *last == d && !(d == 1 && rest.is_empty()) => Ok(rest.to_vec()),
        all if d == 1 && all.len() < 2 => Ok(all.to_vec()),
        _ => {
            let has = match shape {
                [] => "is a single number".to_owned(),
                [n] => format!("has the shape ({n},)"),
                [.., last] => format!("has {}", cnflow::words::count(*last as u64, "column")),
            };
            let problem = format!("{what} {has}, expected {}", cnflow::words::count(d as u64, "column"));
            Err(Trouble::invalid(problem, format!("give an array of shape [n, {d}]")).raise(py))
        }
    }
}

/// The entries of a dictionary with text keys.
pub fn entries<'py>(dict: &Bound<'py, PyDict>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    dict.iter().map(|(key, value)| Ok((key.extract()?, value))).collect()
}
