//! A batch of trajectories, spread over the threads of one pool.
//!
//! Workers draw trajectories from one counter, so none waits while another has work; lanes are
//! independent, so the result does not depend on which worker takes which trajectory. The threads are those of rayon's
//! current pool: a solve that starts inside one of its tasks adds no thread to the machine.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::{Failure, SolveError};
use crate::field::VectorField;
use crate::lanes::LANE_BLOCK;
use crate::method::Method;
use crate::observe::Observer;
use crate::options::Options;
use crate::real::Real;
use crate::report::{Report, Summary};
use crate::rk;
use crate::work::Work;

/// Where all trajectories ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Solution<T> {
    /// End states, `[n, dim]`, row-major; of a trajectory that failed, the last good state.
    pub y: Vec<T>,
    /// One a trajectory.
    pub reports: Vec<Report>,
}

impl<T: Real> Solution<T> {
    /// `n` trajectories without results yet.
    fn new(n: usize, dim: usize, t: f64) -> Self {
        Self { y: vec![T::ZERO; n * dim], reports: vec![Report::new(t); n] }
    }

    fn put<S: Real>(&mut self, sample: usize, y: &[S], report: &Report) {
        let slots = &mut self.y[sample * y.len()..(sample + 1) * y.len()];
        slots.iter_mut().zip(y).for_each(|(slot, y)| *slot = T::of(y.to_f64()));
        self.reports[sample] = *report;
    }
}

/// Writes row `sample` of `y0` (`[n, dim]`) into `y`, in the type that a field computes in.
fn row_of<T: Real, S: Real>(y0: &[S], dim: usize, sample: usize, y: &mut Vec<T>) {
    y.clear();
    y.extend(y0[sample * dim..(sample + 1) * dim].iter().map(|value| T::of(value.to_f64())));
}

impl<T> Solution<T> {
    /// The reports in a few numbers.
    pub fn summary(&self) -> Summary {
        Summary::of(&self.reports)
    }

    /// Whether an observer stopped the solve before every trajectory had ended.
    pub fn stopped(&self) -> bool {
        self.reports.iter().any(|report| matches!(report.status, Err(Failure::Stopped { .. })))
    }
}

/// The results of one worker.
struct Part<T, O> {
    ends: Vec<(usize, Report)>,
    states: Vec<T>,
    observer: O,
    refused: Option<Refused>,
}

/// A row that the method's solver refused, and why.
type Refused = (usize, SolveError);

/// Integrates every row of `y0` (`[n, dim]`, row-major) from `span.0` to `span.1` (forward or backward).
///
/// `worker` makes the field and the observer of one worker; it is called once on the calling thread and at most once on
/// every other thread of rayon's current pool. The observers come back, that of the calling thread first. A trajectory
/// that fails has its status in its report and does not affect the others; so does one that an observer
/// [stops](Observer::stop). The bits of a row depend on that row alone: neither the batch nor the number of threads
/// changes them.
///
/// # Errors
/// [`SolveError::BadOption`], [`SolveError::Shape`] or [`SolveError::Unsupported`] before anything is computed;
/// [`SolveError::Implicit`] of the first row that diffsol refuses.
pub fn solve<T: Real, F: VectorField<T>, O: Observer<T> + Send>(
    worker: impl Fn() -> (F, O) + Sync,
    y0: &[T],
    span: (f64, f64),
    options: &Options,
) -> Result<(Solution<T>, Vec<O>), SolveError> {
    solve_as::<T, T, F, O>(worker, y0, span, options)
}

/// As [`solve`], where start and end states are numbers of another type than the field computes in: each is rounded as
/// it enters a lane, and widened as it leaves one.
///
/// # Errors
/// As [`solve`].
pub fn solve_as<T: Real, S: Real, F: VectorField<T>, O: Observer<T> + Send>(
    worker: impl Fn() -> (F, O) + Sync,
    y0: &[S],
    span: (f64, f64),
    options: &Options,
) -> Result<(Solution<S>, Vec<O>), SolveError> {
    let (mut field, observer) = worker();
    check::<T>(&mut field, y0.len(), span, options)?;
    let dim = field.dim();
    let n = y0.len() / dim;
    let (counter, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = |mut field: F, mut observer: O| {
        let (mut ends, mut states) = (Vec::new(), Vec::new());
        let mut work = Work {
            span,
            start: &|sample: usize, y: &mut Vec<T>| row_of(y0, dim, sample, y),
            dim,
            options,
            next: &mut || Some(counter.fetch_add(1, Ordering::Relaxed)).filter(|i| *i < n),
            deliver: &mut |sample, y: &[T], report: &Report| {
                ends.push((sample, *report));
                states.extend_from_slice(y);
            },
            stop: &stop,
        };
        let refused = run(&mut field, &mut work, &mut observer);
        Part { ends, states, observer, refused }
    };

    // An explicit method uses whole blocks of lanes.
    let share = if options.method.tableau().is_some() { LANE_BLOCK } else { 1 };
    let most = n.div_ceil(share).max(1);
    // A worker alone needs no pool: a solve of a few rows stays on its thread.
    let workers = if most == 1 { 1 } else { rayon::current_num_threads().clamp(1, most) };
    let mut others: Vec<Option<Part<T, O>>> = Vec::new();
    others.resize_with(workers - 1, || None);
    let own = if workers == 1 {
        work(field, observer)
    } else {
        rayon::in_place_scope(|scope| {
            for slot in &mut others {
                scope.spawn(|_| {
                    // The pool may have been busy: a late worker needs no field.
                    if counter.load(Ordering::Relaxed) < n {
                        let (field, observer) = worker();
                        *slot = Some(work(field, observer));
                    }
                });
            }
            work(field, observer)
        })
    };

    let mut solution = Solution::<S>::new(n, dim, span.0);
    let mut refused: Option<Refused> = None;
    let mut observers = Vec::with_capacity(workers);
    for part in std::iter::once(own).chain(others.into_iter().flatten()) {
        for ((sample, report), y) in part.ends.iter().zip(part.states.chunks_exact(dim)) {
            solution.put(*sample, y, report);
        }
        refused = [refused, part.refused].into_iter().flatten().min_by_key(|(sample, _)| *sample);
        observers.push(part.observer);
    }
    match refused {
        Some((_, error)) => Err(error),
        None => Ok((solution, observers)),
    }
}

/// As [`solve`], on the calling thread alone, with a field and an observer that cannot be made elsewhere.
///
/// # Errors
/// As [`solve`].
pub fn solve_here<T: Real>(
    mut field: impl VectorField<T>,
    mut observer: impl Observer<T>,
    y0: &[T],
    span: (f64, f64),
    options: &Options,
) -> Result<Solution<T>, SolveError> {
    check::<T>(&mut field, y0.len(), span, options)?;
    let dim = field.dim();
    let n = y0.len() / dim;
    let mut solution = Solution::<T>::new(n, dim, span.0);
    let mut samples = 0..n;
    let mut work = Work {
        span,
        start: &|sample: usize, y: &mut Vec<T>| row_of(y0, dim, sample, y),
        dim,
        options,
        next: &mut || samples.next(),
        deliver: &mut |sample, y: &[T], report: &Report| solution.put(sample, y, report),
        stop: &AtomicBool::new(false),
    };
    match run(&mut field, &mut work, &mut observer) {
        Some((_, error)) => Err(error),
        None => Ok(solution),
    }
}

/// Works until no row is left, by either kind of method.
fn run<T: Real>(
    field: &mut dyn VectorField<T>,
    work: &mut Work<'_, T>,
    observer: &mut dyn Observer<T>,
) -> Option<Refused> {
    match work.options.method {
        Method::Explicit(tableau) => {
            rk::run(field, tableau, work, observer);
            None
        }
        #[cfg(feature = "implicit")]
        Method::Implicit(method) => {
            let field = field.tangents().expect("a field without tangents was refused");
            crate::implicit::run(field, method, work, observer)
        }
        #[cfg(not(feature = "implicit"))]
        Method::Implicit(_) => unreachable!("`Options::validate` refused the method"),
    }
}

/// Checks the request, whose start states are `numbers` numbers.
fn check<T: Real>(
    field: &mut dyn VectorField<T>,
    numbers: usize,
    span: (f64, f64),
    options: &Options,
) -> Result<(), SolveError> {
    options.validate()?;
    if !(span.0.is_finite() && span.1.is_finite() && (span.1 - span.0).is_finite()) {
        return Err(SolveError::BadOption(format!("the span {} to {} is not finite", span.0, span.1)));
    }
    let dim = field.dim();
    let behind = options.log_det_rows.saturating_add(options.uncontrolled_rows);
    if dim == 0 || behind >= dim {
        return Err(SolveError::BadOption(format!(
            "log_det_rows + uncontrolled_rows = {behind}: a state of {dim} rows needs fewer"
        )));
    }
    if field.out_dim() != dim {
        return Err(SolveError::Shape { what: "rows of a velocity", expected: dim, found: field.out_dim() });
    }
    if !numbers.is_multiple_of(dim) {
        return Err(SolveError::Shape { what: "numbers in y0", expected: numbers / dim * dim, found: numbers });
    }
    if let Method::Implicit(method) = options.method {
        let unsupported = |needs| Err(SolveError::Unsupported { method: method.name(), needs });
        if T::EPSILON > f64::EPSILON {
            return unsupported("a state in f64");
        }
        if field.tangents().is_none() {
            return unsupported("a field with tangents");
        }
    }
    Ok(())
}
