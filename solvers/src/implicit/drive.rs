//! Sets diffsol up for one trajectory and steps it to the end of its span.

use std::cell::RefCell;

use diffsol::error::OdeSolverError;
use diffsol::{
    BdfState, DiffsolError, NalgebraLU, OdeBuilder, OdeSolverConfig, OdeSolverMethod, OdeSolverProblem, OdeSolverState,
    OdeSolverStopReason, RkState, Tableau, Vector as _,
};

use super::equations::{Equations, Mat, Span, Vector};
use crate::error::Failure;
use crate::field::Jvp;
use crate::method::Implicit;
use crate::observe::{Observer, Step};
use crate::options::Options;
use crate::real::Real;
use crate::report::Report;
use crate::work::Work;

/// Steps are not cut below this many round-offs of the current time.
const ROUND_OFFS: f64 = 16.0;
/// No stop is set nearer to the end than this many round-offs of it.
const STOP_ROUND_OFFS: f64 = 1000.0;
/// No step is refused more often in a row: as many halvings take any f64 below any other.
const HALVINGS: usize = 2200;

/// One trajectory: its row, its start and its span.
#[derive(Clone, Copy)]
struct Trajectory<'a> {
    sample: usize,
    y0: &'a [f64],
    span: Span,
    options: &'a Options,
}

/// A trajectory's last good state, and its report.
type Outcome<T> = (Vec<T>, Report);

/// The order of the first step: that of the formula, and 1 where the order varies.
fn first_order(method: Implicit) -> u32 {
    match method {
        Implicit::Bdf => 1,
        Implicit::TrBdf2 => 2,
        Implicit::Esdirk34 => 3,
    }
}

/// Sets diffsol up for `method` and drives it along row `sample`, over a span that is not empty.
pub(super) fn solve<T: Real>(
    field: &mut dyn Jvp<T>,
    method: Implicit,
    sample: usize,
    work: &Work<'_, T>,
    observer: &mut dyn Observer<T>,
) -> Result<Outcome<T>, DiffsolError> {
    let options = work.options;
    let y0: Vec<f64> = work.start(sample).iter().map(|y| y.to_f64()).collect();
    let span = Span { t0: work.span.0, t1: work.span.1 };
    let trajectory = Trajectory { sample, y0: &y0, span, options };
    let equations = Equations::new(field, sample, &y0, span);
    let mut problem =
        OdeBuilder::<Mat>::new().t0(0.0).rtol(options.rtol).atol([options.atol]).build_from_eqn(equations)?;
    // diffsol counts failures of Newton's iteration over the whole solve; the shortest step ends what that cap was for.
    problem.ode_options.max_nonlinear_solver_failures = usize::MAX;
    problem.ode_options.max_error_test_failures = HALVINGS;

    let mut speed = vec![0.0; trajectory.y0.len()];
    problem.eqn.value(0.0, trajectory.y0, &mut speed);
    if !speed.iter().chain(trajectory.y0).all(|value| value.is_finite()) {
        let failure = Failure::NonFinite { t: trajectory.span.t0, h: 0.0, speed: norm(&speed) };
        return Ok(outcome(&problem, &y0, 0, 0, span.t0, Err(failure)));
    }
    let h = first_step(&problem, trajectory, first_order(method), &speed);
    match method {
        Implicit::Bdf => {
            let mut state = BdfState::<Vector>::new_without_initialise(&problem)?;
            *state.as_mut().h = h;
            drive(problem.bdf_solver::<NalgebraLU<f64>>(state)?, trajectory, work, observer)
        }
        Implicit::TrBdf2 | Implicit::Esdirk34 => {
            let tableau = if method == Implicit::TrBdf2 { Tableau::tr_bdf2() } else { Tableau::esdirk34() };
            let mut state = RkState::<Vector>::new_without_initialise(&problem)?;
            *state.as_mut().h = h;
            drive(problem.sdirk_solver::<NalgebraLU<f64>, Mat>(state, tableau)?, trajectory, work, observer)
        }
    }
}

/// Steps to the end of the span, and shows the observer each step.
fn drive<'p, 'f: 'p, T: Real>(
    mut solver: impl OdeSolverMethod<'p, Equations<'f, T>>,
    trajectory: Trajectory<'_>,
    work: &Work<'_, T>,
    observer: &mut dyn Observer<T>,
) -> Result<Outcome<T>, DiffsolError> {
    let Trajectory { sample, span, options, .. } = trajectory;
    let problem = solver.problem();
    let length = span.length();
    let inside = RefCell::new(Vector::zeros(trajectory.y0.len(), *problem.context()));
    let mut start = trajectory.y0.to_vec();
    let (mut s, mut h) = (0.0, solver.state().h);
    let (mut accepted, mut rejected) = (0usize, 0usize);
    // Where diffsol will stop, and whether it has just stopped there on the way.
    let (mut stop, mut stopped) = (length, false);
    solver.set_stop_time(stop)?;
    let status = loop {
        if work.stopped(observer) {
            break Err(Failure::Stopped { t: span.time(s) });
        }
        // diffsol has no longest step of its own: a stop on the way cuts a step that would be longer, and no other.
        let next_stop = if solver.state().h > options.max_step {
            // Stops add up to nearly the end; diffsol refuses one within 100 round-offs of the time.
            let on = s + options.max_step;
            if length - on > STOP_ROUND_OFFS * f64::EPSILON * length { on } else { length }
        } else if stopped {
            length
        } else {
            stop
        };
        if stopped || next_stop != stop {
            stop = next_stop;
            solver.set_stop_time(stop)?;
        }
        let speed = || {
            let mut f = vec![0.0; start.len()];
            problem.eqn.value(s, &start, &mut f);
            norm(&f)
        };
        let t = span.time(s);
        if accepted + rejected >= options.max_steps {
            break Err(Failure::TooManySteps { steps: options.max_steps, t, h: span.direction() * h, speed: speed() });
        }
        // The last step may be as short as it must.
        let shortest = (ROUND_OFFS * f64::EPSILON * t.abs().max(s)).max(options.min_step).max(f64::MIN_POSITIVE * 1e16);
        *solver.config_mut().as_base_mut().minimum_timestep = shortest.min(0.5 * (length - s));
        problem.eqn.clear_broke();
        let before = problem.eqn.counts().nfe;
        let result = solver.step();
        let statistics = solver.get_statistics();
        rejected = statistics.number_of_error_test_failures + statistics.number_of_nonlinear_solver_fails;
        let counts = problem.eqn.counts();
        let state = solver.state();
        let reached = match result {
            Ok(reason) => {
                stopped = matches!(reason, OdeSolverStopReason::TstopReached);
                stopped && stop == length
            }
            Err(error) => {
                // How far the last attempt reached; where none was made, the step that was due.
                let tried = if counts.nfe > before { counts.last_s - s } else { state.h };
                let h = span.direction() * tried;
                if counts.broke {
                    break Err(Failure::NonFinite { t, h, speed: speed() });
                }
                match error {
                    DiffsolError::OdeSolverError(
                        OdeSolverError::StepSizeTooSmall { .. } | OdeSolverError::TooManyErrorTestFailures { .. },
                    ) => {
                        break Err(Failure::StepTooSmall { t, h, speed: speed() });
                    }
                    other => return Err(other),
                }
            }
        };
        let mut end = state.y.batch_as_slice(0).to_vec();
        if reached {
            // diffsol stops within round-off of the end; what is left is at most 100 round-offs of time.
            for (y, dy) in end.iter_mut().zip(state.dy.batch_as_slice(0)) {
                *y += (length - state.t) * dy;
            }
        }
        if !end.iter().all(|value| value.is_finite()) {
            break Err(Failure::NonFinite { t, h: span.direction() * (state.t - s), speed: speed() });
        }
        accepted += 1;
        h = state.h;
        let t_end = if reached { span.t1 } else { span.time(state.t) };
        let raw_end = state.t;
        observer.accepted(&Accepted {
            sample,
            t,
            h: t_end - t,
            start: &start,
            end: &end,
            last: reached,
            inside: |theta: f64, out: &mut [T]| {
                let mut y = inside.borrow_mut();
                let at = (s + theta * (raw_end - s)).clamp(s, raw_end);
                solver.interpolate_inplace(at, &mut y).expect("the time was clamped to the step just taken");
                copy(y.batch_as_slice(0), out);
            },
        });
        start = end;
        s = raw_end;
        if reached {
            break Ok(());
        }
    };
    let t = if status.is_ok() { span.t1 } else { span.time(s) };
    Ok(outcome(problem, &start, accepted, rejected, t, status))
}

fn outcome<T: Real>(
    problem: &OdeSolverProblem<Equations<'_, T>>,
    y: &[f64],
    accepted: usize,
    rejected: usize,
    t: f64,
    status: Result<(), Failure>,
) -> Outcome<T> {
    let counts = problem.eqn.counts();
    let report = Report {
        nfe: counts.nfe as u32,
        accepted: accepted as u32,
        rejected: rejected as u32,
        jacobians: counts.jacobians as u32,
        status,
        ..Report::new(t)
    };
    (y.iter().map(|y| T::of(*y)).collect(), report)
}

/// out ← y
fn copy<T: Real>(y: &[f64], out: &mut [T]) {
    for (out, y) in out.iter_mut().zip(y) {
        *out = T::of(*y);
    }
}

/// The first step's length: the option, or Hairer's estimate (*Solving ODEs I*, II.4), within the span.
///
/// diffsol's own estimate may look past the end of the span.
fn first_step<T: Real>(
    problem: &OdeSolverProblem<Equations<'_, T>>,
    trajectory: Trajectory<'_>,
    order: u32,
    f0: &[f64],
) -> f64 {
    let Trajectory { y0, span, options, .. } = trajectory;
    let length = span.length();
    if let Some(h) = options.first_step {
        return h.min(length);
    }
    let scaled = |v: &[f64]| {
        let sum: f64 = v.iter().zip(y0).map(|(v, y)| (v / (options.atol + options.rtol * y.abs())).powi(2)).sum();
        (sum / y0.len() as f64).sqrt()
    };
    let (d0, d1) = (scaled(y0), scaled(f0));
    let h0 = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { 0.01 * d0 / d1 }.min(length);
    let y1: Vec<f64> = y0.iter().zip(f0).map(|(y, f)| y + h0 * f).collect();
    let mut f1 = vec![0.0; y0.len()];
    problem.eqn.value(h0, &y1, &mut f1);
    let change: Vec<f64> = f1.iter().zip(f0).map(|(f1, f0)| f1 - f0).collect();
    let d2 = scaled(&change) / h0;
    let steepest = d1.max(d2);
    let h1 = if !d2.is_finite() {
        1e-3 * h0
    } else if steepest <= 1e-15 {
        (1e-3 * h0).max(1e-6)
    } else {
        (0.01 / steepest).powf(1.0 / (f64::from(order) + 1.0))
    };
    (100.0 * h0).min(h1).min(length)
}

/// The Euclidean norm.
fn norm(v: &[f64]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// A step that diffsol took.
struct Accepted<'a, I> {
    sample: usize,
    t: f64,
    h: f64,
    start: &'a [f64],
    end: &'a [f64],
    last: bool,
    /// The state at t + θh, by diffsol's interpolant.
    inside: I,
}

impl<T: Real, I: Fn(f64, &mut [T])> Step<T> for Accepted<'_, I> {
    fn sample(&self) -> usize {
        self.sample
    }
    fn dim(&self) -> usize {
        self.start.len()
    }
    fn t(&self) -> f64 {
        self.t
    }
    fn h(&self) -> f64 {
        self.h
    }
    fn start(&self, out: &mut [T]) {
        copy(self.start, out);
    }
    fn end(&self, out: &mut [T]) {
        copy(self.end, out);
    }
    fn at(&self, theta: f64, out: &mut [T]) {
        // A multistep interpolant meets the step's start only to within the tolerance.
        if theta <= 0.0 {
            copy(self.start, out);
        } else if theta >= 1.0 {
            copy(self.end, out);
        } else {
            (self.inside)(theta, out);
        }
    }
    fn last(&self) -> bool {
        self.last
    }
}
