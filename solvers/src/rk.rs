//! The loop: explicit Runge-Kutta steps on a tile of lanes.
//!
//! All lanes of a tile are at the same stage, each at its own time with its own step, so a stage is one
//! call of the field at full width. A lane that arrives is replaced by the next waiting trajectory at
//! once; newcomers are prepared a tile at a time (their first slope and first step), so preparation
//! runs at full width too. No operation ever combines two lanes.

mod judge;
mod step;
mod waiting;

use self::step::LaneStep;
use self::waiting::Waiting;
use crate::control::History;
use crate::error::Failure;
use crate::field::{At, VectorField};
use crate::lanes::{Lanes, LanesMut, stride_for};
use crate::observe::Observer;
use crate::options::Options;
use crate::real::Real;
use crate::report::Report;
use crate::tableau::Tableau;
use crate::work::Work;

/// Integrates the trajectories that `work` gives, on one thread.
pub(crate) fn run<T: Real>(
    field: &mut dyn VectorField<T>,
    tableau: &'static Tableau,
    work: &mut Work<'_, T>,
    observer: &mut dyn Observer<T>,
) {
    let options = work.options;
    let mut tile = Tile::new(tableau, work.dim, work.span, options);
    let mut waiting = Waiting::default();
    loop {
        if work.stopped(observer) {
            tile.abandon(work, observer);
            waiting.abandon(work, observer);
            work.abandon(observer);
            break;
        }
        while tile.active < options.lanes {
            // A whole tile of starts may fail in preparation: fetch on until one is ready or none is left.
            while waiting.ready.is_empty() && !waiting.exhausted {
                waiting.prepare(field, tableau, work, observer);
            }
            match waiting.ready.pop_front() {
                Some(lane) => tile.admit(lane, &waiting.y, &waiting.k),
                None => break,
            }
        }
        if tile.active == 0 {
            break;
        }
        tile.attempt(field, observer);
        tile.retire(work, observer);
    }
    observer.finish();
}

/// What a lane has besides its state.
#[derive(Clone, Copy, Debug)]
struct Lane {
    sample: usize,
    /// Slot of the preparation tile that holds its start.
    slot: usize,
    /// Length of the next step, unsigned.
    h: f64,
    /// Step number, for equal steps.
    step: usize,
    history: History,
    /// The last attempt was rejected.
    retry: bool,
    report: Report,
    done: bool,
}

/// Euclidean norm of a lane.
fn norm<T: Real>(data: &[T], l: usize, dim: usize, stride: usize) -> f64 {
    (0..dim).map(|r| data[r * stride + l].to_f64().powi(2)).sum::<f64>().sqrt()
}

/// The lanes under way, and every buffer that a step needs.
struct Tile<'o, T> {
    options: &'o Options,
    tableau: &'static Tableau,
    dim: usize,
    stride: usize,
    span: (f64, f64),
    active: usize,
    lanes: Vec<Lane>,
    /// `[dim, lanes]` at the beginning of the step.
    y: Vec<T>,
    /// The state handed to the field; after the last stage, the end of the step.
    y1: Vec<T>,
    /// Room for the states of extra stages.
    spare: Vec<T>,
    /// `[stage][dim, lanes]`.
    k: Vec<T>,
    /// The first slope must be evaluated before the next step (methods that are not FSAL).
    stale: bool,
    t: Vec<f64>,
    stage_t: Vec<f64>,
    samples: Vec<usize>,
    h: Vec<T>,
    h_wide: Vec<f64>,
    /// Squared error ratios, squared stage differences: one number a lane.
    sums: [Vec<T>; 4],
    accept: Vec<bool>,
    column: Vec<T>,
}

impl<'o, T: Real> Tile<'o, T> {
    fn new(tableau: &'static Tableau, dim: usize, span: (f64, f64), options: &'o Options) -> Self {
        let stride = stride_for(options.lanes);
        let slots = || vec![T::ZERO; dim * stride];
        Self {
            options,
            tableau,
            dim,
            stride,
            span,
            active: 0,
            lanes: Vec::with_capacity(options.lanes),
            y: slots(),
            y1: slots(),
            spare: slots(),
            k: vec![T::ZERO; tableau.a.len() * dim * stride],
            stale: false,
            t: vec![0.0; stride],
            stage_t: vec![0.0; stride],
            samples: vec![0; stride],
            h: vec![T::ZERO; stride],
            h_wide: vec![0.0; stride],
            sums: std::array::from_fn(|_| vec![T::ZERO; stride]),
            accept: vec![false; stride],
            column: vec![T::ZERO; dim],
        }
    }

    fn admit(&mut self, lane: Lane, y: &[T], k: &[T]) {
        let l = self.active;
        for r in 0..self.dim {
            self.y[r * self.stride + l] = y[r * self.stride + lane.slot];
            self.k[r * self.stride + l] = k[r * self.stride + lane.slot];
        }
        self.t[l] = self.span.0;
        self.samples[l] = lane.sample;
        self.lanes.push(lane);
        self.active += 1;
    }

    /// One step of every lane, kept where the error allows.
    fn attempt(&mut self, field: &mut dyn VectorField<T>, observer: &mut dyn Observer<T>) {
        self.refresh_first_slope(field);
        self.choose_steps();
        let s = self.tableau.stages();
        for i in 1..s {
            self.stage_state(i);
            self.eval_stage(field, i);
        }
        for lane in &mut self.lanes {
            lane.report.nfe += s as u32 - 1;
        }
        if !self.tableau.fsal() {
            self.combine(self.tableau.b);
        }
        self.judge();
        if observer.dense() && self.tableau.extra_stages() > 0 && self.accept[..self.active].contains(&true) {
            self.extra_stages(field);
        }
        self.move_on(observer);
    }

    fn refresh_first_slope(&mut self, field: &mut dyn VectorField<T>) {
        if !self.stale {
            return;
        }
        let (n, size) = (self.active, self.dim * self.stride);
        field.eval(
            At::new(&self.t[..n], &self.samples[..n]),
            Lanes::new(&self.y, self.dim, n, self.stride),
            LanesMut::new(&mut self.k[..size], self.dim, n, self.stride),
        );
        // A lane that was rejected, or has just started, has had this slope already: only those that moved pay.
        for (lane, accepted) in self.lanes.iter_mut().zip(&self.accept) {
            lane.report.nfe += u32::from(*accepted);
        }
        self.stale = false;
    }

    /// Signed step lengths: never past the end, never leaving a sliver.
    fn choose_steps(&mut self) {
        let (t0, t1) = self.span;
        for (l, lane) in self.lanes.iter().enumerate() {
            let rest = (t1 - self.t[l]).abs();
            // A step that has just failed must not be stretched back to its old length.
            let stretch = if lane.retry { 1.0 } else { 1.1 };
            let h = match self.options.steps {
                // From the step's number, so that round-off does not pile up.
                Some(n) if lane.step + 1 == n => rest,
                Some(n) => (t0 + (t1 - t0) * ((lane.step + 1) as f64 / n as f64) - self.t[l]).abs(),
                None if rest <= lane.h || (rest <= stretch * lane.h && rest <= self.options.max_step) => rest,
                None if rest < 2.0 * lane.h => 0.5 * rest,
                None => lane.h,
            };
            let signed = h.copysign(t1 - t0);
            self.h_wide[l] = signed;
            self.h[l] = T::of(signed);
        }
    }

    /// y1 ← y + h Σ_{j<i} a_ij k_j.
    fn stage_state(&mut self, i: usize) {
        self.combine(self.tableau.a[i]);
        for l in 0..self.active {
            self.stage_t[l] = self.t[l] + self.tableau.c[i] * self.h_wide[l];
        }
    }

    /// y1 ← y + h Σ_j w_j k_j. Plain products and sums in the order of j: the same bits on every machine.
    fn combine(&mut self, weights: &[f64]) {
        let n = self.active;
        for r in 0..self.dim {
            let row = r * self.stride..r * self.stride + n;
            let sum = &mut self.sums[3][..n];
            weighted_sum(&self.k, self.dim * self.stride, row.clone(), weights, sum);
            let (y, y1) = (&self.y[row.clone()], &mut self.y1[row]);
            for (((out, y), h), s) in y1.iter_mut().zip(y).zip(&self.h[..n]).zip(sum) {
                *out = *y + *h * *s;
            }
        }
    }

    fn eval_stage(&mut self, field: &mut dyn VectorField<T>, i: usize) {
        let (n, size) = (self.active, self.dim * self.stride);
        field.eval(
            At::new(&self.stage_t[..n], &self.samples[..n]),
            Lanes::new(&self.y1, self.dim, n, self.stride),
            LanesMut::new(&mut self.k[i * size..(i + 1) * size], self.dim, n, self.stride),
        );
    }

    /// Stages that only the dense output needs; they leave `y1` as it was.
    fn extra_stages(&mut self, field: &mut dyn VectorField<T>) {
        std::mem::swap(&mut self.y1, &mut self.spare);
        for i in self.tableau.stages()..self.tableau.a.len() {
            self.stage_state(i);
            self.eval_stage(field, i);
        }
        std::mem::swap(&mut self.y1, &mut self.spare);
        for (lane, accepted) in self.lanes.iter_mut().zip(&self.accept) {
            lane.report.nfe += if *accepted { self.tableau.extra_stages() as u32 } else { 0 };
        }
    }

    /// Shows the observer the accepted steps and makes their ends the beginnings of the next.
    fn move_on(&mut self, observer: &mut dyn Observer<T>) {
        for l in 0..self.active {
            if !self.accept[l] {
                continue;
            }
            let last = self.is_last(l);
            observer.accepted(&LaneStep { tile: self, lane: l, last });
        }
        let size = self.dim * self.stride;
        let s = self.tableau.stages();
        let fsal = self.tableau.fsal();
        for r in 0..self.dim {
            let row = r * self.stride;
            for l in 0..self.active {
                if self.accept[l] {
                    self.y[row + l] = self.y1[row + l];
                    if fsal {
                        self.k[row + l] = self.k[(s - 1) * size + row + l];
                    }
                }
            }
        }
        self.stale = !fsal;
        for l in 0..self.active {
            if self.accept[l] {
                let last = self.is_last(l);
                let lane = &mut self.lanes[l];
                // Land on the end exactly: sums of steps do not.
                self.t[l] = if last { self.span.1 } else { self.t[l] + self.h_wide[l] };
                lane.step += 1;
                lane.done |= last;
                lane.report.t = self.t[l];
            }
        }
    }

    /// Ends every lane where it stands: the solve was stopped.
    fn abandon(&mut self, work: &mut Work<'_, T>, observer: &mut dyn Observer<T>) {
        for (lane, t) in self.lanes.iter_mut().zip(&self.t) {
            lane.report.status = Err(Failure::Stopped { t: *t });
            lane.done = true;
        }
        self.retire(work, observer);
    }

    /// Hands over the lanes that are done; the last lane takes the place of each.
    fn retire(&mut self, work: &mut Work<'_, T>, observer: &mut dyn Observer<T>) {
        let mut l = 0;
        while l < self.active {
            if !self.lanes[l].done {
                l += 1;
                continue;
            }
            for r in 0..self.dim {
                self.column[r] = self.y[r * self.stride + l];
            }
            let lane = self.lanes.swap_remove(l);
            match lane.report.status {
                Ok(()) => (work.deliver)(lane.sample, &self.column, &lane.report),
                Err(failure) => work.fail(lane.sample, &self.column, lane.report, failure, observer),
            }
            self.active -= 1;
            let from = self.active;
            for r in 0..self.dim {
                let row = r * self.stride;
                self.y[row + l] = self.y[row + from];
                self.k[row + l] = self.k[row + from];
            }
            self.t[l] = self.t[from];
            self.samples[l] = self.samples[from];
            self.accept[l] = self.accept[from];
        }
        // A newcomer brings its first slope along.
        self.accept[self.active..].fill(false);
    }
}

/// sum ← Σ_j w_j k_j on one row, in the order of j.
fn weighted_sum<T: Real>(k: &[T], stage: usize, row: std::ops::Range<usize>, weights: &[f64], sum: &mut [T]) {
    sum.fill(T::ZERO);
    for (j, weight) in weights.iter().enumerate() {
        if *weight == 0.0 {
            continue;
        }
        let weight = T::of(*weight);
        for (sum, k) in sum.iter_mut().zip(&k[j * stage..][row.clone()]) {
            *sum += weight * *k;
        }
    }
}
