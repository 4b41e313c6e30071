//! Work without the interpreter: a pool of threads for each process, and calls that a signal can end.
//!
//! A forked child has none of its parent's threads, and a pool from before the fork would never answer. So each process
//! has its own, made at its first call, and every call runs in it: nothing uses rayon's global pool.
//!
//! The calling thread waits, without the interpreter's lock, and looks after signals twenty times a second. After
//! Ctrl-C it raises at once; what runs in the pool is told to stop and ends by itself.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cnflow::continuous::Work;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Outcome, Raised, Trouble};

/// Between two looks at signals.
const LOOK: Duration = Duration::from_millis(50);

/// The pool, and what it belongs to.
struct State {
    process: u32,
    /// The number of threads that was set; none for the usual one.
    threads: Option<usize>,
    pool: Option<Arc<ThreadPool>>,
}

/// Held for moments only, and with the interpreter's lock: `os.fork` needs that lock, so that no child begins with this
/// one taken.
static STATE: Mutex<State> = Mutex::new(State { process: 0, threads: None, pool: None });

/// As many threads as the environment sets, or else the machine has.
fn usual_threads() -> usize {
    let set = ["CNF_NUM_THREADS", "RAYON_NUM_THREADS"].into_iter().filter_map(|name| std::env::var(name).ok());
    let set = set.filter_map(|text| text.trim().parse().ok()).find(|n| *n > 0);
    set.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The pool of this process.
fn pool(_locked: Python<'_>) -> Outcome<Arc<ThreadPool>> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if state.process != process {
        // Its threads are those of the parent: to drop it would wait for them.
        std::mem::forget(state.pool.take());
        state.process = process;
    }
    if let Some(pool) = &state.pool {
        return Ok(pool.clone());
    }
    let threads = state.threads.unwrap_or_else(usual_threads);
    let made = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("cnflow-{i}")).build();
    let pool = Arc::new(made.map_err(|e| {
        Trouble::invalid(format!("{threads} threads cannot be started: {e}"), "set fewer with `set_num_threads`")
    })?);
    state.pool = Some(pool.clone());
    Ok(pool)
}

/// Sets the number of threads.
pub fn set_threads(_locked: Python<'_>, n: usize) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.threads = Some(n);
    if let Some(old) = state.pool.take() {
        if state.process == std::process::id() {
            // Calls that use it keep it.
            drop(old);
        } else {
            std::mem::forget(old);
        }
    }
}

/// The number of threads of a call.
pub fn threads(_locked: Python<'_>) -> usize {
    let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.threads.unwrap_or_else(usual_threads)
}

/// What a job in the pool tells the calling thread.
enum Told<E, T> {
    Event(E),
    End(std::thread::Result<T>),
}

/// A line from a job to the calling thread.
pub type Line<E> = Arc<dyn Fn(E) -> bool + Send + Sync>;

/// Runs `job` in the pool and waits for it. `event` gets what the job tells, and `look` is called now and then, on the
/// calling thread; where one of them fails, or a signal raises, that error is returned after `end` was called, and the
/// job is left to end by itself.
pub fn watched<E: Send + 'static, T: Send + 'static>(
    py: Python<'_>,
    job: impl FnOnce(Line<E>) -> T + Send + 'static,
    mut event: impl FnMut(Python<'_>, E) -> PyResult<()>,
    mut look: impl FnMut(Python<'_>) -> PyResult<()>,
    end: impl FnOnce(),
) -> PyResult<T> {
    let (sender, receiver) = channel::<Told<E, T>>();
    pool(py).raised(py)?.spawn(move || {
        let told = Mutex::new(sender.clone());
        let line: Line<E> =
            Arc::new(move |event| told.lock().unwrap_or_else(PoisonError::into_inner).send(Told::Event(event)).is_ok());
        // A panic would end the process; nothing that it left half done is used again.
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| job(line)));
        // The calling thread may have gone.
        let _ = sender.send(Told::End(ended));
    });
    let receiver = Mutex::new(receiver);
    let outcome = loop {
        let told = py.allow_threads(|| {
            let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
            receiver.recv_timeout(LOOK)
        });
        let went = match told {
            Ok(Told::End(Ok(value))) => return Ok(value),
            Ok(Told::End(Err(panic))) => {
                let words = panic.downcast_ref::<String>().cloned();
                let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
                Err(Trouble::internal(&words.unwrap_or_default()).raise(py))
            }
            Ok(Told::Event(told)) => event(py, told).and_then(|()| py.check_signals()),
            Err(RecvTimeoutError::Timeout) => py.check_signals().and_then(|()| look(py)),
            Err(RecvTimeoutError::Disconnected) => Err(Trouble::internal("a thread ended").raise(py)),
        };
        if let Err(error) = went {
            break error;
        }
    };
    end();
    Err(outcome)
}

/// Runs `job` in the pool; a signal stops its work. `look` is called now and then.
pub fn run<T: Send + 'static>(
    py: Python<'_>,
    work: &Arc<Work>,
    job: impl FnOnce() -> T + Send + 'static,
    look: impl FnMut(Python<'_>) -> PyResult<()>,
) -> PyResult<T> {
    let stop = work.clone();
    watched(py, move |_: Line<()>| job(), |_, ()| Ok(()), look, move || stop.stop())
}
