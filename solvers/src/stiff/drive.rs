//! Sets diffsol up for one trajectory and steps it to the end of its span.

use std::cell::RefCell;

use diffsol::error::OdeSolverError;
use diffsol::{
    BdfState, DiffsolError, NalgebraLU, OdeBuilder, OdeSolverConfig, OdeSolverMethod, OdeSolverProblem, OdeSolverState,
    OdeSolverStopReason, RkState, Tableau, Vector as _,
};

use super::equations::{Equations, Mat, Span, Vector};
use super::{Implicit, Outcome, StiffOptions};
use crate::error::Failure;
use crate::field::Jvp;
use crate::observe::{Observer, Step};

/// Steps are not cut below this many round-offs of the current time.
const ROUND_OFFS: f64 = 16.0;
/// No stop is set nearer to the end than this many round-offs of it.
const STOP_ROUND_OFFS: f64 = 1000.0;
/// No step is refused more often in a row: as many halvings take any f64 below any other.
const HALVINGS: usize = 2200;

/// The request, as it goes from hand to hand.
#[derive(Clone, Copy)]
pub(super) struct Trajectory<'a> {
    pub sample: usize,
    pub y0: &'a [f64],
    pub span: Span,
    pub options: &'a StiffOptions,
}

/// Sets diffsol up for `method` and drives it.
pub(super) fn solve<F: Jvp<f64>, O: Observer<f64>>(
    equations: Equations<'_, F>,
    method: Implicit,
    trajectory: Trajectory<'_>,
    observer: &mut O,
) -> Result<Outcome, DiffsolError> {
    let options = trajectory.options;
    let mut problem =
        OdeBuilder::<Mat>::new().t0(0.0).rtol(options.rtol).atol([options.atol]).build_from_eqn(equations)?;
    // diffsol counts failures of Newton's iteration over the whole solve; the shortest step ends what that cap was for.
    problem.ode_options.max_nonlinear_solver_failures = usize::MAX;
    problem.ode_options.max_error_test_failures = HALVINGS;

    let mut speed = vec![0.0; trajectory.y0.len()];
    problem.eqn.value(0.0, trajectory.y0, &mut speed);
    if !speed.iter().chain(trajectory.y0).all(|value| value.is_finite()) {
        let failure = Failure::NonFinite { t: trajectory.span.t0, h: 0.0, speed: norm(&speed) };
        return Ok(outcome(&problem, trajectory.y0.to_vec(), 0, 0, Err(failure)));
    }
    let h = first_step(&problem, trajectory, method.first_order(), &speed);
    match method {
        Implicit::Bdf => {
            let mut state = BdfState::<Vector>::new_without_initialise(&problem)?;
            *state.as_mut().h = h;
            drive(problem.bdf_solver::<NalgebraLU<f64>>(state)?, trajectory, observer)
        }
        Implicit::TrBdf2 | Implicit::Esdirk34 => {
            let tableau = if method == Implicit::TrBdf2 { Tableau::tr_bdf2() } else { Tableau::esdirk34() };
            let mut state = RkState::<Vector>::new_without_initialise(&problem)?;
            *state.as_mut().h = h;
            drive(problem.sdirk_solver::<NalgebraLU<f64>, Mat>(state, tableau)?, trajectory, observer)
        }
    }
}

/// Steps to the end of the span, telling the observer.
fn drive<'p, 'f: 'p, F: Jvp<f64> + 'f, O: Observer<f64>>(
    mut solver: impl OdeSolverMethod<'p, Equations<'f, F>>,
    trajectory: Trajectory<'_>,
    observer: &mut O,
) -> Result<Outcome, DiffsolError> {
    let Trajectory { sample, span, options, .. } = trajectory;
    let problem = solver.problem();
    let length = span.length();
    let inside = RefCell::new(Vector::zeros(trajectory.y0.len(), *problem.context()));
    let mut start = trajectory.y0.to_vec();
    let (mut s, mut h) = (0.0, solver.state().h);
    let (mut accepted, mut rejected) = (0, 0);
    // Where diffsol will stop, and whether it has just stopped there on the way.
    let (mut stop, mut stopped) = (length, false);
    solver.set_stop_time(stop)?;
    let status = loop {
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
                // How far the last attempt reached; where none was made, the step that was asked for.
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
            inside: |theta: f64, out: &mut [f64]| {
                let mut y = inside.borrow_mut();
                let at = (s + theta * (raw_end - s)).clamp(s, raw_end);
                solver.interpolate_inplace(at, &mut y).expect("the time was clamped to the step just taken");
                out.copy_from_slice(y.batch_as_slice(0));
            },
        });
        start = end;
        s = raw_end;
        if reached {
            break Ok(());
        }
    };
    Ok(outcome(problem, start, accepted, rejected, status))
}

fn outcome<F: Jvp<f64>>(
    problem: &OdeSolverProblem<Equations<'_, F>>,
    y: Vec<f64>,
    accepted: usize,
    rejected: usize,
    status: Result<(), Failure>,
) -> Outcome {
    let counts = problem.eqn.counts();
    Outcome { y, accepted, rejected, nfe: counts.nfe, jacobians: counts.jacobians, status }
}

/// The first step's length: as asked for, or Hairer's estimate (*Solving ODEs I*, II.4), within the span.
///
/// diffsol's own estimate may look past the end of the span.
fn first_step<F: Jvp<f64>>(
    problem: &OdeSolverProblem<Equations<'_, F>>,
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

impl<I: Fn(f64, &mut [f64])> Step<f64> for Accepted<'_, I> {
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
    fn start(&self, out: &mut [f64]) {
        out.copy_from_slice(self.start);
    }
    fn end(&self, out: &mut [f64]) {
        out.copy_from_slice(self.end);
    }
    fn at(&self, theta: f64, out: &mut [f64]) {
        // A multistep interpolant meets the step's start only to within the tolerance.
        if theta <= 0.0 {
            out.copy_from_slice(self.start);
        } else if theta >= 1.0 {
            out.copy_from_slice(self.end);
        } else {
            (self.inside)(theta, out);
        }
    }
    fn last(&self) -> bool {
        self.last
    }
}
