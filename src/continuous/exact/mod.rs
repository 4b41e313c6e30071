//! The numerical map as the flow: N steps of an explicit method, and the log-determinant of just that map.
//!
//! A step F(y) = y + h Σ bᵢ kᵢ, kᵢ = m(Yᵢ, t + cᵢ h), Yᵢ = y + h Σ aᵢⱼ kⱼ, is a map of its own, however long it is.
//! With d tangents through its stages, Kᵢ = (∂m/∂x) Eᵢ and Eᵢ = I + h Σ aᵢⱼ Kⱼ, its matrix D = I + h Σ bᵢ Kᵢ is known,
//! and log|det ∂x/∂z| = Σ log det D over the steps, without any error of a quadrature. The way back is a root of F(y) =
//! y₁ for each step, by Newton's iteration with D. So the density is that of what is sampled, and it integrates to 1 at
//! any number of steps; it is another one at each number, and that of the ODE where steps are short.
//!
//! States, matrices and roots are f64 whatever the velocity computes in. A velocity in f64 inverts to about 1e-14, one in
//! f32 to the round-off of its own values, some 1e-6. A step that is no bijection shows it: det D ≤ 0, or no root; that
//! is a named failure of the row. All operations are lane by lane, so that the bits of a row are its own.
//!
//! Refused: a root by fixed-point iteration. It needs h ‖∂m/∂x‖ < 1, and no tangents, but the log-determinant does.

mod inverse;
mod matrix;
mod pull_back;
mod step;

pub(super) use pull_back::ExactTape;

use std::ops::Range;

use cnflow_solvers::{Real, Tableau};
use rayon::prelude::*;

use self::inverse::Inverter;
use self::step::{Judged, StepMap};
use super::Method;
use super::request::{Request, Transported};
use super::work::Work;
use crate::error::Failure;
use crate::transform::Cost;
use crate::transform::bijection::check_rows;
use crate::velocity::{Batch, Evaluator, Gathered, Scalar, Trace, Velocity, check_device};
use crate::{Error, Result};

/// Rows that one thread moves before it takes others.
const CHUNK: usize = 256;

/// The map of a velocity by equal steps over a span.
struct Map<'a, T> {
    velocity: &'a dyn Velocity<T>,
    /// `[n, c]`.
    condition: &'a [T],
    tableau: &'static Tableau,
    /// The ends of the steps, rising.
    grid: Vec<f64>,
    /// Whether the request is from the latent to the data.
    forward: bool,
    log_density: bool,
    lanes: usize,
    work: Option<&'a Work>,
}

/// Rows on the other side.
#[derive(Debug, Default)]
struct Moved {
    /// `[n, d]`; NaN where a row failed.
    pub y: Vec<f64>,
    /// `[n]`; NaN where a row failed, zeros where it was not requested.
    pub logdet: Vec<f64>,
    pub cost: Cost,
    /// The states at the ends of the steps in the order of time, `[n, N + 1, d]`, where they are kept.
    pub path: Vec<f64>,
}

/// Moves every row of `x` (`[n, d]`) as `transport_as` does, by the map itself.
///
/// # Errors
/// As there; [`Error::Invalid`] where the request has no equal steps, or the velocity more than 16 dimensions.
pub(super) fn transport<T: Scalar, S: Real>(
    velocity: &dyn Velocity<T>,
    x: &[S],
    condition: &[T],
    request: &Request<'_>,
) -> Result<Transported<S>> {
    let d = velocity.dim();
    let n = check_rows(x, d, condition, velocity.condition_dim())?;
    let map = Map { work: request.progress, ..Map::new(velocity, condition, request)? };
    let wide: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
    let ranges: Vec<Range<usize>> = (0..n).step_by(CHUNK).map(|from| from..n.min(from + CHUNK)).collect();
    let one = |steps: &mut StepMap<'_, T>, rows: &Range<usize>| {
        map.chunk(steps, &wide[rows.start * d..rows.end * d], rows, false)
    };
    let parts: Vec<Moved> = match &ranges[..] {
        // A few rows stay on their thread.
        [only] => vec![one(&mut map.steps(map.lanes.min(n)), only)?],
        ranges => ranges.par_iter().map_init(|| map.steps(map.lanes), one).collect::<Result<_>>()?,
    };
    check_device(velocity)?;
    request.progress.map_or(Ok(()), Work::check)?;
    let mut all = Transported { y: Vec::with_capacity(x.len()), logdet: Vec::with_capacity(n), cost: Cost::default() };
    for (rows, part) in ranges.iter().zip(parts) {
        all.y.extend(part.y.into_iter().map(S::of));
        all.logdet.extend(part.logdet);
        all.cost.append(rows.start, part.cost);
    }
    Ok(all)
}

impl<'a, T: Scalar> Map<'a, T> {
    /// Of a request.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it has no equal steps of an explicit method, or the velocity too many dimensions.
    fn new(velocity: &'a dyn Velocity<T>, condition: &'a [T], request: &Request<'_>) -> Result<Self> {
        let solver = request.solver;
        solver.check_exact(velocity.dim(), None)?;
        let (Method::Explicit(tableau), Some(steps)) = (solver.method()?, solver.fixed_steps) else {
            return Err(solver.needs_equal_steps());
        };
        let (from, to) = (request.span.0.min(request.span.1), request.span.0.max(request.span.1));
        let grid = (0..=steps).map(|i| from + (to - from) * (i as f64 / steps as f64)).collect();
        let forward = request.span.0 < request.span.1;
        let (log_density, lanes) = (request.log_density, solver.lanes);
        Ok(Self { velocity, condition, tableau, grid, forward, log_density, lanes, work: None })
    }

    fn batch(&self, lanes: usize) -> Batch<'_, T> {
        Batch { condition: self.condition, keys: &[], trace: Trace::Exact, lanes }
    }

    /// A step on so many lanes, with the scratch of one thread.
    fn steps(&self, lanes: usize) -> StepMap<'_, T> {
        StepMap::new(self.velocity.evaluator(self.batch(lanes)), self.tableau, lanes)
    }

    /// An evaluator whose pull-backs add the derivatives by the conditions of all rows to `sums`, `[n, c]`.
    fn gathered<'e>(&'e self, lanes: usize, sums: Option<&'e mut [f64]>) -> Box<dyn Evaluator<T> + 'e> {
        let evaluator = self.velocity.evaluator(self.batch(lanes));
        match sums {
            Some(sums) => Box::new(Gathered::new(evaluator, lanes, self.velocity.condition_dim(), sums)),
            None => evaluator,
        }
    }

    /// From time `n` of the grid to the next one.
    fn step(&self, n: usize) -> (f64, f64) {
        (self.grid[n], self.grid[n + 1] - self.grid[n])
    }

    /// A span of length zero has no step.
    fn stays(&self) -> bool {
        self.grid[0] == self.grid[self.n_steps()]
    }

    fn n_steps(&self) -> usize {
        self.grid.len() - 1
    }

    /// Moves the rows `x` (`[m, d]`), which are those of the batch in the range `rows`. With `keep` the path is kept.
    fn chunk(&self, steps: &mut StepMap<'_, T>, x: &[f64], rows: &Range<usize>, keep: bool) -> Result<Moved> {
        let (d, m) = (self.velocity.dim(), rows.len());
        let mut moved = Moved { y: x.to_vec(), logdet: vec![0.0; m], ..Moved::default() };
        let costs = || vec![0; m];
        moved.cost = Cost { nfe: costs(), traces: costs(), logdet_error: vec![0.0; m], ..Cost::default() };
        moved.path = vec![f64::NAN; if keep { m * self.grid.len() * d } else { 0 }];
        if self.stays() {
            for (row, x) in x.chunks_exact(d).enumerate().filter(|_| keep) {
                (0..self.grid.len()).for_each(|i| moved.keep(row, i, self.grid.len(), x));
            }
        } else if self.forward {
            self.forward(steps, rows.start, &mut moved)?;
        } else {
            Inverter::new(self, rows.start).run(steps, &mut moved)?;
        }
        moved.cost.failures.sort_by_key(|(row, _)| *row);
        for (row, _) in &moved.cost.failures {
            moved.y[row * d..(row + 1) * d].fill(f64::NAN);
            moved.logdet[*row] = f64::NAN;
        }
        if !self.log_density {
            moved.logdet.fill(0.0);
        }
        Ok(moved)
    }

    /// All rows of a chunk through all steps, a tile after the other.
    fn forward(&self, steps: &mut StepMap<'_, T>, first: usize, moved: &mut Moved) -> Result<()> {
        let (d, m) = (self.velocity.dim(), moved.logdet.len());
        for from in (0..m).step_by(steps.width()) {
            let n = steps.width().min(m - from);
            let mut failed = vec![false; n];
            for step in 0..self.n_steps() {
                self.check_stop()?;
                let (t, h) = self.step(step);
                for l in 0..n {
                    let row = from + l;
                    steps.set(l, (t, h), first + row, &moved.y[row * d..(row + 1) * d]);
                }
                steps.run(n, self.log_density);
                for (l, failed) in failed.iter_mut().enumerate().filter(|(_, failed)| !**failed) {
                    let row = from + l;
                    moved.cost.nfe[row] += steps.evaluations();
                    moved.cost.traces[row] += if self.log_density { steps.evaluations() } else { 0 };
                    match steps.judge(l, self.log_density) {
                        Ok(log_det) => moved.logdet[row] += log_det,
                        Err(failure) => {
                            *failed = true;
                            moved.cost.failures.push((row, failure));
                            continue;
                        }
                    }
                    steps.end_of(l, &mut moved.y[row * d..(row + 1) * d]);
                }
                self.gone(n);
            }
        }
        Ok(())
    }

    fn check_stop(&self) -> Result<()> {
        if self.work.is_some_and(Work::stopped) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// So many rows have taken a step.
    fn gone(&self, rows: usize) {
        if let Some(work) = self.work {
            work.gone(rows as f64 / self.n_steps() as f64);
        }
    }
}

impl Moved {
    /// Keeps the state of a row at time `i` of a grid of so many times.
    fn keep(&mut self, row: usize, i: usize, times: usize, state: &[f64]) {
        let from = (row * times + i) * state.len();
        self.path[from..from + state.len()].copy_from_slice(state);
    }
}

impl<T: Scalar> StepMap<'_, T> {
    /// The log-determinant of the step that lane `l` has taken, 0 where it was not computed; or why there is none.
    fn judge(&mut self, l: usize, with_matrix: bool) -> std::result::Result<f64, Failure> {
        if !self.finite(l) {
            return Err(self.not_finite(l));
        }
        if !with_matrix {
            return Ok(0.0);
        }
        let Judged { log_abs, sign } = self.factor(l);
        if sign > 0.0 && log_abs.is_finite() {
            Ok(log_abs)
        } else {
            Err(Failure::Fold { t: self.time(l), determinant: sign * log_abs.exp() })
        }
    }
}
