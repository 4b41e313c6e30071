//! `cnflow._cnflow`: the engine as a module of Python. What users see is in `cnflow/__init__.py` and `__init__.pyi`.

mod arrays;
mod arrow;
mod engine;
mod error;
mod flow;
mod given;
mod html;
mod images;
mod options;
mod picture;
mod pool;
mod progress;
mod report;
mod training;

use std::ffi::OsString;

use pyo3::prelude::*;

use crate::error::{Raised, Trouble};

/// The command line `cnf` with these arguments, the name of the program first; its exit code. `crew` are the processes
/// that train together, as in `train`.
#[pyfunction]
#[pyo3(signature = (arguments, crew=None))]
fn command(py: Python<'_>, arguments: Vec<OsString>, crew: Option<&Bound<'_, PyAny>>) -> PyResult<u8> {
    let processes = crew.map(|crew| training::Processes::of(py, crew)).transpose()?;
    Ok(py.allow_threads(|| match processes {
        Some(processes) => cnflow::command_of_crew(arguments, Box::new(processes)),
        None => cnflow::command(arguments),
    }))
}

/// Sets the number of threads of later calls. The results are the same bits for any number.
///
/// The default is CNF_NUM_THREADS in the environment, or else all cores. Raises InvalidInput for 0.
#[pyfunction]
fn set_num_threads(py: Python<'_>, n: usize) -> PyResult<()> {
    if !(1..=1024).contains(&n) {
        return Err(Trouble::invalid(format!("{n} threads"), "give 1 to 1024")).raised(py);
    }
    pool::set_threads(py, n);
    Ok(())
}

/// The number of threads of a call.
#[pyfunction]
fn get_num_threads(py: Python<'_>) -> usize {
    pool::threads(py)
}

#[pymodule]
fn _cnflow(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<flow::Flow>()?;
    module.add_class::<training::Training>()?;
    module.add_class::<report::Report>()?;
    module.add_class::<report::Comparison>()?;
    module.add_class::<picture::Picture>()?;
    module.add_function(wrap_pyfunction!(flow::load, module)?)?;
    module.add_function(wrap_pyfunction!(flow::restored, module)?)?;
    module.add_function(wrap_pyfunction!(training::train, module)?)?;
    module.add_function(wrap_pyfunction!(report::compare, module)?)?;
    module.add_function(wrap_pyfunction!(set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(get_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(command, module)?)
}
