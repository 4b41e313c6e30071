//! A batch, spread over threads.
//!
//! Workers draw trajectories from one counter, so none waits while another has work; lanes are
//! independent, so who takes which trajectory leaves no trace in the result.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::SolveError;
use crate::field::VectorField;
use crate::observe::Observer;
use crate::options::Options;
use crate::real::Real;
use crate::report::{Report, Summary};
use crate::rk;

/// Where all trajectories ended.
#[derive(Clone, Debug)]
pub struct Solution<T> {
    /// End states, `[n, dim]`, row-major; of a lane that failed, the last good state.
    pub y: Vec<T>,
    /// One a trajectory.
    pub reports: Vec<Report>,
}

impl<T> Solution<T> {
    /// The reports in a few numbers.
    pub fn summary(&self) -> Summary {
        Summary::of(&self.reports)
    }
}

/// Integrates every row of `y0` (`[n, dim]`, row-major) from `span.0` to `span.1` (forward or backward).
///
/// `worker` is called once on each of `threads` threads and makes that thread's field and observer; the
/// observers come back in the order of the threads. A lane that fails carries its status in its report
/// and leaves the others alone. The bits of a row depend on that row alone.
///
/// # Errors
/// [`SolveError::BadOption`] or [`SolveError::Shape`] before anything is computed.
pub fn solve<T: Real, F: VectorField<T>, O: Observer<T> + Send>(
    worker: impl Fn() -> (F, O) + Sync,
    y0: &[T],
    span: (f64, f64),
    options: &Options,
    threads: usize,
) -> Result<(Solution<T>, Vec<O>), SolveError> {
    let (field, observer) = worker();
    check(&field, y0, span, options)?;
    let dim = field.dim();
    let n = y0.len() / dim;
    let counter = AtomicUsize::new(0);
    let mut solution = Solution { y: vec![T::ZERO; n * dim], reports: vec![Report::new(span.0); n] };

    let work = |mut field: F, mut observer: O| {
        let mut ends: Vec<(usize, Report)> = Vec::new();
        let mut states: Vec<T> = Vec::new();
        rk::run(
            &mut field,
            span,
            y0,
            &mut || Some(counter.fetch_add(1, Ordering::Relaxed)).filter(|i| *i < n),
            options,
            &mut observer,
            &mut |sample, y, report| {
                ends.push((sample, *report));
                states.extend_from_slice(y);
            },
        );
        (ends, states, observer)
    };
    let mut collect = |(ends, states, observer): (Vec<(usize, Report)>, Vec<T>, O)| {
        for ((sample, report), y) in ends.into_iter().zip(states.chunks_exact(dim)) {
            solution.y[sample * dim..(sample + 1) * dim].copy_from_slice(y);
            solution.reports[sample] = report;
        }
        observer
    };

    let threads = threads.clamp(1, n.div_ceil(crate::lanes::LANE_BLOCK).max(1));
    let observers = if threads == 1 {
        vec![collect(work(field, observer))]
    } else {
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads)
                .map(|_| {
                    scope.spawn(|| {
                        let (field, observer) = worker();
                        work(field, observer)
                    })
                })
                .collect();
            let mut observers = vec![collect(work(field, observer))];
            for other in others {
                match other.join() {
                    Ok(result) => observers.push(collect(result)),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            observers
        })
    };
    Ok((solution, observers))
}

/// Refuses a request that makes no sense.
fn check<T: Real>(field: &dyn VectorField<T>, y0: &[T], span: (f64, f64), options: &Options) -> Result<(), SolveError> {
    options.validate()?;
    if !(span.0.is_finite() && span.1.is_finite()) {
        return Err(SolveError::BadOption(format!("the span {} to {} is not finite", span.0, span.1)));
    }
    let dim = field.dim();
    let tail = options.tail.saturating_add(options.free);
    if dim == 0 || tail >= dim {
        return Err(SolveError::BadOption(format!("a state of {dim} rows cannot have a tail of {tail}")));
    }
    if field.out_dim() != dim {
        return Err(SolveError::Shape { what: "rows of a velocity", expected: dim, found: field.out_dim() });
    }
    if !y0.len().is_multiple_of(dim) {
        return Err(SolveError::Shape { what: "numbers in y0", expected: y0.len() / dim * dim, found: y0.len() });
    }
    Ok(())
}

/// As [`solve`], on the calling thread, with a field and an observer that cannot be made elsewhere.
///
/// # Errors
/// As [`solve`].
pub fn solve_here<T: Real>(
    mut field: impl VectorField<T>,
    mut observer: impl Observer<T>,
    y0: &[T],
    span: (f64, f64),
    options: &Options,
) -> Result<(Vec<T>, Vec<Report>), SolveError> {
    check(&field, y0, span, options)?;
    let dim = field.dim();
    let n = y0.len() / dim;
    let mut y = vec![T::ZERO; y0.len()];
    let mut reports = vec![Report::new(span.0); n];
    let mut samples = 0..n;
    rk::run(&mut field, span, y0, &mut || samples.next(), options, &mut observer, &mut |sample, end, report| {
        y[sample * dim..(sample + 1) * dim].copy_from_slice(end);
        reports[sample] = *report;
    });
    Ok((y, reports))
}
