//! Implicit methods, for trajectories that an explicit one can follow only with tiny steps.
//!
//! diffsol makes the steps: BDF of variable order 1 to 5 (Shampine & Reichelt 1997), TR-BDF2
//! (Bank et al. 1985) and a third-order ESDIRK (Jørgensen, Kristensen & Thomsen 2018), all in f64,
//! with Jacobians exact to round-off from our own tangents. One trajectory at a time: an implicit
//! step is a small linear solve per trajectory, and sharing one step among many would break the
//! law that a sample's result does not depend on its neighbours.
//!
//! diffsol takes NaN for an error of zero, has no cap on steps and stops within 100 round-offs of the
//! end: here every value and every accepted state is checked, steps are counted, and the
//! last state is moved onto t₁ itself.

mod drive;
mod equations;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Failure, SolveError};
use crate::field::Jvp;
use crate::observe::Observer;
use drive::{Trajectory, solve};
use equations::{Equations, Span};

/// The implicit methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implicit {
    /// Backward differentiation of variable order, 1 to 5.
    Bdf,
    /// Trapezoid and BDF2 in one L-stable step of order 2.
    TrBdf2,
    /// An L-stable singly diagonally implicit method of order 3 with an explicit first stage.
    Esdirk34,
}

impl Implicit {
    /// Every one of them.
    pub const ALL: [Implicit; 3] = [Implicit::Bdf, Implicit::TrBdf2, Implicit::Esdirk34];

    /// The name as typed by a user.
    pub fn name(self) -> &'static str {
        match self {
            Implicit::Bdf => "bdf",
            Implicit::TrBdf2 => "tr_bdf2",
            Implicit::Esdirk34 => "esdirk34",
        }
    }

    /// The order of the first step: that of the formula, and 1 where the order varies.
    fn first_order(self) -> u32 {
        match self {
            Implicit::Bdf => 1,
            Implicit::TrBdf2 => 2,
            Implicit::Esdirk34 => 3,
        }
    }
}

impl std::fmt::Display for Implicit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Implicit {
    type Err = SolveError;

    fn from_str(name: &str) -> Result<Self, SolveError> {
        Self::ALL.into_iter().find(|method| method.name() == name).ok_or_else(|| SolveError::UnknownMethod {
            name: name.to_string(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// How closely to solve, and when to give up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StiffOptions {
    /// Relative tolerance: a step's error is measured in units of atol + rtol·|y|, root mean square over components.
    pub rtol: f64,
    /// Absolute tolerance; must be positive.
    pub atol: f64,
    /// The cap on attempted steps, taken or refused.
    pub max_steps: usize,
    /// The shortest step allowed, in units of time; zero leaves only round-off as a bound.
    pub min_step: f64,
    /// No step is longer, in units of time.
    pub max_step: f64,
    /// The length of the first step; `None` estimates it (Hairer, Nørsett & Wanner, *Solving ODEs I*, II.4).
    pub first_step: Option<f64>,
}

impl Default for StiffOptions {
    fn default() -> Self {
        Self { rtol: 1e-6, atol: 1e-6, max_steps: 100_000, min_step: 0.0, max_step: f64::INFINITY, first_step: None }
    }
}

impl StiffOptions {
    fn check(&self) -> Result<(), SolveError> {
        let bad = |message: String| Err(SolveError::BadOption(message));
        if !(self.rtol.is_finite() && self.rtol >= 0.0) {
            return bad(format!("rtol must be finite and not negative, got {}", self.rtol));
        }
        if !(self.atol.is_finite() && self.atol > 0.0) {
            return bad(format!("atol of an implicit method must be finite and positive, got {}", self.atol));
        }
        if self.max_steps == 0 {
            return bad("the cap on steps must be at least 1".to_string());
        }
        if !(self.min_step.is_finite() && self.min_step >= 0.0) {
            return bad(format!("the shortest step must be finite and not negative, got {}", self.min_step));
        }
        if self.max_step.is_nan() || self.max_step <= 0.0 {
            return bad(format!("the longest step must be above 0, got {}", self.max_step));
        }
        match self.first_step {
            Some(h) if !(h.is_finite() && h > 0.0) => {
                bad(format!("the first step is a length: it must be finite and positive, got {h}"))
            }
            _ => Ok(()),
        }
    }
}

/// What became of one trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The state at the end of the span, or at the last good time if the trajectory failed.
    pub y: Vec<f64>,
    /// Steps taken.
    pub accepted: usize,
    /// Steps refused: the error was too large, or Newton's iteration did not converge.
    pub rejected: usize,
    /// Values of f.
    pub nfe: usize,
    /// Jacobians of f, each as many tangents as the state has components.
    pub jacobians: usize,
    /// Whether the end was reached.
    pub status: Result<(), Failure>,
}

/// Integrates one trajectory from (t0, y0) to t1, which may lie before t0.
///
/// The observer is told of every accepted step, and its [`Observer::finish`] is called at the end. A span of length zero
/// returns `y0` after no step.
///
/// # Errors
/// [`SolveError::BadOption`] and [`SolveError::Shape`] for a request that makes no sense, [`SolveError::Implicit`] should
/// diffsol refuse one. A trajectory that cannot go on is no error: see [`Outcome::status`].
#[allow(clippy::too_many_arguments)]
pub fn integrate_one<F: Jvp<f64>, O: Observer<f64>>(
    field: &mut F,
    method: Implicit,
    sample: usize,
    y0: &[f64],
    t0: f64,
    t1: f64,
    options: &StiffOptions,
    observer: &mut O,
) -> Result<Outcome, SolveError> {
    options.check()?;
    let span = Span { t0, t1 };
    if !(t0.is_finite() && span.length().is_finite()) {
        return Err(SolveError::BadOption(format!("the span from {t0} to {t1} is not finite")));
    }
    for (what, found) in [("the initial state", y0.len()), ("the value of the field", field.out_dim())] {
        if found != field.dim() {
            return Err(SolveError::Shape { what, expected: field.dim(), found });
        }
    }
    let outcome = if t0 == t1 || y0.is_empty() {
        Outcome { y: y0.to_vec(), accepted: 0, rejected: 0, nfe: 0, jacobians: 0, status: Ok(()) }
    } else {
        solve(Equations::new(field, sample, y0, span), method, Trajectory { sample, y0, span, options }, observer)
            .map_err(|error| SolveError::Implicit(error.to_string()))?
    };
    if let Err(failure) = &outcome.status {
        observer.failed(sample, failure);
    }
    observer.finish();
    Ok(outcome)
}

/// Integrates many trajectories over the same span on `threads` threads (0 counts as 1).
///
/// `y0` is `[n, dim]`, row-major; row `i` is sample `i`. `make_field` is called once a thread, `make_observer` once a
/// sample. Results come in the order of the samples and are the same bits on any number of threads.
///
/// # Errors
/// As [`integrate_one`]; the first in the order of the samples.
#[allow(clippy::too_many_arguments)]
pub fn integrate_many<F: Jvp<f64>, O: Observer<f64> + Send>(
    make_field: impl Fn() -> F + Sync,
    method: Implicit,
    y0: &[f64],
    t0: f64,
    t1: f64,
    options: &StiffOptions,
    threads: usize,
    make_observer: impl Fn(usize) -> O + Sync,
) -> Result<Vec<(Outcome, O)>, SolveError> {
    let dim = make_field().dim();
    if dim == 0 || !y0.len().is_multiple_of(dim) {
        let expected = if dim == 0 { 0 } else { y0.len().next_multiple_of(dim) };
        return if y0.is_empty() {
            Ok(Vec::new())
        } else {
            Err(SolveError::Shape { what: "the initial states", expected, found: y0.len() })
        };
    }
    let n = y0.len() / dim;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut field = make_field();
        let mut done = Vec::new();
        loop {
            let sample = next.fetch_add(1, Ordering::Relaxed);
            if sample >= n {
                return done;
            }
            let mut observer = make_observer(sample);
            let start = &y0[sample * dim..(sample + 1) * dim];
            let result = integrate_one(&mut field, method, sample, start, t0, t1, options, &mut observer);
            done.push((sample, result.map(|outcome| (outcome, observer))));
        }
    };
    let mut results = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.clamp(1, n.max(1))).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_by_key(|(sample, _)| *sample);
    results.into_iter().map(|(_, result)| result).collect()
}
