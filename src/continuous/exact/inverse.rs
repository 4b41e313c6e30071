//! The way back: F(y) = y₁ for each step, from the last to the first.
//!
//! A step backward by the same method is the first guess, wrong by the order of the method. Newton's iteration y ← y −
//! α D⁻¹ (F(y) − y₁) follows, with α halved until the residual falls. Where that fails, as it may for very long steps,
//! the length of the step grows from 0 in 4, 16 and at last 64 pieces, and each root is the guess for the next: as long
//! as the shorter steps are bijections, one root leads to the other.

use super::step::{Judged, StepMap};
use super::{Map, Moved};
use crate::Result;
use crate::error::Failure;
use crate::velocity::Scalar;

/// A residual of so many units of round-off of the numbers is none…
const ROUND_OFF: f64 = 4.0;
/// …and one of so many is accepted where Newton's iteration improves it no further.
const STAGNANT: f64 = 1000.0;
/// An α below this improves nothing.
const SHORTEST: f64 = 1.0 / 4096.0;
/// Evaluations of a step before other guesses are tried.
const PATIENCE: u32 = 60;
/// The most pieces in which the length of a step grows.
const MOST_PIECES: usize = 64;

/// A row on its way back.
struct Lane {
    /// Counted in the chunk.
    row: usize,
    /// The step that is undone.
    step: usize,
    /// Waits for its first guess.
    guesses: bool,
    /// The length of the step is the part `piece / pieces` of the whole.
    piece: usize,
    pieces: usize,
    /// y₁, the best y so far, the one to be tried, and Newton's direction at the best.
    target: Vec<f64>,
    best: Vec<f64>,
    trial: Vec<f64>,
    direction: Vec<f64>,
    /// The root of the piece before.
    before: Vec<f64>,
    judged: Judged,
    residual: f64,
    alpha: f64,
    /// For this guess.
    evaluations: u32,
    /// The least residual for any guess of the whole step, and the evaluations for all.
    least: f64,
    spent: u32,
}

/// How far a lane is after an evaluation.
enum Progress {
    Goes,
    Solved,
    Lost,
}

impl Lane {
    fn new(row: usize, step: usize, y: &[f64]) -> Self {
        let copy = || y.to_vec();
        let none = Judged { log_abs: f64::NAN, sign: f64::NAN };
        let mut lane = Self {
            row,
            step,
            guesses: true,
            piece: 1,
            pieces: 1,
            target: copy(),
            best: copy(),
            trial: copy(),
            direction: copy(),
            before: copy(),
            judged: none,
            residual: f64::INFINITY,
            alpha: 1.0,
            evaluations: 0,
            least: f64::INFINITY,
            spent: 0,
        };
        lane.begin();
        lane
    }

    /// Before the first evaluation at a guess.
    fn begin(&mut self) {
        (self.residual, self.alpha, self.evaluations) = (f64::INFINITY, 1.0, 0);
    }

    /// The step before this one, whose end is the root that was found.
    fn go_on(&mut self) {
        self.target.clone_from(&self.best);
        (self.guesses, self.piece, self.pieces) = (true, 1, 1);
        (self.least, self.spent) = (f64::INFINITY, 0);
        self.step -= 1;
    }

    /// The next piece of the step.
    fn next_piece(&mut self) {
        self.piece += 1;
        for i in 0..self.trial.len() {
            self.trial[i] = 2.0 * self.best[i] - self.before[i];
        }
        self.before.clone_from(&self.best);
        self.begin();
    }

    /// Begins in more pieces; false where there are enough.
    fn try_pieces(&mut self) -> bool {
        self.pieces *= 4;
        self.piece = 1;
        self.trial.clone_from(&self.target);
        self.before.clone_from(&self.target);
        self.begin();
        self.pieces <= MOST_PIECES
    }

    /// Takes F and D at the trial, lane `l` of `steps`.
    fn judge<T: Scalar>(&mut self, steps: &mut StepMap<'_, T>, l: usize, end: &mut [f64]) -> Progress {
        self.evaluations += 1;
        self.spent += 1;
        steps.end_of(l, end);
        let largest = |x: &[f64]| x.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        end.iter_mut().zip(&self.target).for_each(|(end, target)| *end -= target);
        let finite = steps.finite(l);
        let residual = if finite { largest(end) } else { f64::INFINITY };
        let round_off = T::EPSILON * (1.0 + largest(&self.target) + largest(&self.trial));
        // The first evaluation is always better than none.
        if residual < self.residual * (1.0 - 1e-4 * self.alpha) || (finite && self.residual == f64::INFINITY) {
            self.judged = steps.factor(l);
            self.best.clone_from(&self.trial);
            self.residual = residual;
            if residual <= ROUND_OFF * round_off {
                return Progress::Solved;
            }
            self.direction.copy_from_slice(end);
            steps.lu.solve(&mut self.direction);
            self.alpha = 1.0;
        } else if self.residual <= STAGNANT * round_off {
            return Progress::Solved;
        } else {
            self.alpha *= 0.5;
        }
        for i in 0..self.trial.len() {
            self.trial[i] = self.best[i] - self.alpha * self.direction[i];
        }
        let sound = self.residual.is_finite() && self.direction.iter().all(|x| x.is_finite());
        if sound && self.alpha >= SHORTEST && self.evaluations < PATIENCE { Progress::Goes } else { Progress::Lost }
    }
}

/// The rows of a chunk on their way back.
pub(super) struct Inverter<'m, 'a, T> {
    map: &'m Map<'a, T>,
    /// The first row of the chunk, counted in the batch.
    first: usize,
    lanes: Vec<Lane>,
}

impl<'m, 'a, T: Scalar> Inverter<'m, 'a, T> {
    pub fn new(map: &'m Map<'a, T>, first: usize) -> Self {
        Self { map, first, lanes: Vec::new() }
    }

    /// Replaces the rows of `moved` by the latents, and adds log-determinants, costs, failures and the paths that are
    /// kept.
    pub fn run(mut self, steps: &mut StepMap<'_, T>, moved: &mut Moved) -> Result<()> {
        let d = steps.d;
        let (rows, last) = (moved.logdet.len(), self.map.n_steps());
        let (mut next, mut end) = (0, vec![0.0; d]);
        loop {
            self.map.check_stop()?;
            while self.lanes.len() < steps.width() && next < rows {
                let y = &moved.y[next * d..(next + 1) * d];
                if y.iter().all(|y| y.is_finite()) {
                    let y = y.to_vec();
                    self.lanes.push(Lane::new(next, last - 1, &y));
                    moved.keep_if(next, last, last + 1, &y);
                } else {
                    let (t, h) = self.map.step(last - 1);
                    let failure = cnflow_solvers::Failure::NonFinite { t: t + h, h, speed: f64::NAN };
                    moved.cost.failures.push((next, failure.into()));
                }
                next += 1;
            }
            if self.lanes.is_empty() {
                return Ok(());
            }
            self.guess(steps, moved);
            self.newton(steps, moved, &mut end);
        }
    }

    /// First guesses, where lanes wait for them: a step backward.
    fn guess(&mut self, steps: &mut StepMap<'_, T>, moved: &mut Moved) {
        let waiting: Vec<usize> = (0..self.lanes.len()).filter(|i| self.lanes[*i].guesses).collect();
        for (l, i) in waiting.iter().enumerate() {
            let lane = &self.lanes[*i];
            let (t, h) = self.map.step(lane.step);
            steps.set(l, (t + h, -h), self.first + lane.row, &lane.target);
        }
        if !waiting.is_empty() {
            steps.run(waiting.len(), false);
        }
        for (l, i) in waiting.into_iter().enumerate() {
            let lane = &mut self.lanes[i];
            moved.cost.nfe[lane.row] += steps.evaluations();
            lane.guesses = false;
            lane.begin();
            steps.end_of(l, &mut lane.trial);
            if !steps.finite(l) {
                lane.try_pieces();
            }
        }
    }

    /// An evaluation of every lane.
    fn newton(&mut self, steps: &mut StepMap<'_, T>, moved: &mut Moved, end: &mut [f64]) {
        for (l, lane) in self.lanes.iter().enumerate() {
            let (t, h) = self.map.step(lane.step);
            let part = h * (lane.piece as f64 / lane.pieces as f64);
            steps.set(l, (t, part), self.first + lane.row, &lane.trial);
        }
        steps.run(self.lanes.len(), true);
        let mut kept = Vec::with_capacity(self.lanes.len());
        for (l, mut lane) in std::mem::take(&mut self.lanes).into_iter().enumerate() {
            moved.cost.nfe[lane.row] += steps.evaluations();
            moved.cost.traces[lane.row] += steps.evaluations();
            let goes_on = match lane.judge(steps, l, end) {
                Progress::Goes => true,
                Progress::Solved if lane.piece < lane.pieces => {
                    lane.next_piece();
                    true
                }
                Progress::Solved => self.arrive(&mut lane, moved),
                Progress::Lost => {
                    lane.least = lane.least.min(if lane.pieces == 1 { lane.residual } else { f64::INFINITY });
                    let more = lane.try_pieces();
                    if !more {
                        let (t, residual) = (self.map.grid[lane.step], lane.least);
                        let failure = Failure::NoRoot { t, residual, evaluations: lane.spent };
                        moved.cost.failures.push((lane.row, failure));
                    }
                    more
                }
            };
            if goes_on {
                kept.push(lane);
            }
        }
        self.lanes = kept;
    }

    /// A step is undone; true where there are others.
    fn arrive(&self, lane: &mut Lane, moved: &mut Moved) -> bool {
        let (row, d, Judged { log_abs, sign }) = (lane.row, lane.best.len(), lane.judged);
        if !(sign > 0.0 && log_abs.is_finite()) {
            let failure = Failure::Fold { t: self.map.grid[lane.step], determinant: sign * log_abs.exp() };
            moved.cost.failures.push((row, failure));
            return false;
        }
        moved.logdet[row] -= log_abs;
        moved.keep_if(row, lane.step, self.map.grid.len(), &lane.best);
        self.map.gone(1);
        if lane.step == 0 {
            moved.y[row * d..(row + 1) * d].copy_from_slice(&lane.best);
            return false;
        }
        lane.go_on();
        true
    }
}

impl Moved {
    /// As [`Moved::keep`], where paths are kept.
    fn keep_if(&mut self, row: usize, i: usize, times: usize, state: &[f64]) {
        if !self.path.is_empty() {
            self.keep(row, i, times, state);
        }
    }
}
