//! The loop: explicit Runge-Kutta steps on a tile of lanes.
//!
//! All lanes of a tile are at the same stage, each at its own time with its own step, so a stage is one
//! call of the field at full width. A lane that arrives is replaced by the next waiting trajectory at
//! once; newcomers are prepared a tile at a time (their first slope and first step), so preparation
//! runs at full width too. No operation ever combines two lanes.

use std::collections::VecDeque;

use crate::control::History;
use crate::error::Failure;
use crate::field::{At, VectorField};
use crate::initial;
use crate::lanes::{Lanes, LanesMut, stride_for};
use crate::observe::{Observer, Step};
use crate::options::Options;
use crate::real::Real;
use crate::report::Report;
use crate::tableau::Tableau;

/// Integrates the trajectories that `next` names, on one thread, from `span.0` to `span.1`.
///
/// `y0` is `[n, dim]`, row-major; `next` gives rows of it until it returns `None`. Each trajectory's end
/// state and report go to `deliver`, in the order in which they arrive. Options must be valid.
pub(crate) fn run<T: Real>(
    field: &mut dyn VectorField<T>,
    span: (f64, f64),
    y0: &[T],
    next: &mut dyn FnMut() -> Option<usize>,
    options: &Options,
    observer: &mut dyn Observer<T>,
    deliver: &mut dyn FnMut(usize, &[T], &Report),
) {
    let mut tile = Tile::new(field.dim(), span, options);
    let mut waiting = Waiting::default();
    loop {
        while tile.active < options.lanes {
            // A whole tile of starts may fail in preparation: ask on until one is ready or none is left.
            while waiting.ready.is_empty() && !waiting.exhausted {
                waiting.prepare(field, span, y0, next, options, observer, deliver);
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
        tile.retire(observer, deliver);
    }
    observer.finish();
}

/// What a lane knows besides its state.
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
    /// The last attempt was in vain.
    retry: bool,
    report: Report,
    done: bool,
}

/// Trajectories that are ready to start.
#[derive(Default)]
struct Waiting<T> {
    ready: VecDeque<Lane>,
    /// No trajectory is left to fetch.
    exhausted: bool,
    y: Vec<T>,
    k: Vec<T>,
    probe: Vec<T>,
    k_probe: Vec<T>,
}

impl<T: Real> Waiting<T> {
    /// Fetches up to a tile of trajectories; evaluates their first slope and chooses their first step.
    #[allow(clippy::too_many_arguments)] // the arguments of `run`, handed on
    fn prepare(
        &mut self,
        field: &mut dyn VectorField<T>,
        (t0, t1): (f64, f64),
        y0: &[T],
        next: &mut dyn FnMut() -> Option<usize>,
        options: &Options,
        observer: &mut dyn Observer<T>,
        deliver: &mut dyn FnMut(usize, &[T], &Report),
    ) {
        let (dim, stride) = (field.dim(), stride_for(options.lanes));
        for buffer in [&mut self.y, &mut self.k, &mut self.probe, &mut self.k_probe] {
            buffer.resize(dim * stride, T::ZERO);
        }
        let mut samples = Vec::with_capacity(options.lanes);
        while samples.len() < options.lanes {
            let Some(sample) = next() else {
                self.exhausted = true;
                break;
            };
            let start = &y0[sample * dim..(sample + 1) * dim];
            if t0 == t1 {
                deliver(sample, start, &Report::new(t0));
                continue;
            }
            for (r, value) in start.iter().enumerate() {
                self.y[r * stride + samples.len()] = *value;
            }
            samples.push(sample);
        }
        let n = samples.len();
        if n == 0 {
            return;
        }
        let times = vec![t0; n];
        let at = At::new(&times, &samples);
        let view = |data| Lanes::new(data, dim, n, stride);
        field.eval(at, view(&self.y), LanesMut::new(&mut self.k, dim, n, stride));
        let mut nfe = 1;
        let mut first = vec![0.0; n];
        if options.steps.is_none() {
            match options.first_step {
                Some(h) => first.fill(h.min(options.max_step)),
                None => {
                    let scale = initial::Scale::new(options, dim);
                    for (l, h) in first.iter_mut().enumerate() {
                        *h = scale.explore(&self.y, &self.k, l, stride, (t1 - t0).abs());
                        for r in 0..dim {
                            let i = r * stride + l;
                            self.probe[i] = self.y[i] + T::of(h.copysign(t1 - t0)) * self.k[i];
                        }
                    }
                    let times: Vec<f64> = first.iter().map(|h| t0 + h.copysign(t1 - t0)).collect();
                    field.eval(
                        At::new(&times, &samples),
                        view(&self.probe),
                        LanesMut::new(&mut self.k_probe, dim, n, stride),
                    );
                    nfe += 1;
                    for (l, h) in first.iter_mut().enumerate() {
                        *h = scale
                            .choose(&self.y, &self.k, &self.k_probe, l, stride, *h)
                            .min(options.max_step)
                            .min((t1 - t0).abs());
                    }
                }
            }
        }
        for h in &mut first {
            *h = h.max(options.min_step).min((t1 - t0).abs());
        }
        for (l, sample) in samples.into_iter().enumerate() {
            let mut report = Report { nfe, ..Report::new(t0) };
            let finite = |data: &[T]| (0..dim).all(|r| data[r * stride + l].is_finite());
            if !finite(&self.y) || !finite(&self.k) {
                let speed = norm(&self.k, l, dim, stride);
                let failure = Failure::NonFinite { t: t0, h: 0.0, speed };
                report.status = Err(failure);
                observer.failed(sample, &failure);
                deliver(sample, &y0[sample * dim..(sample + 1) * dim], &report);
                continue;
            }
            let history = History::default();
            let lane = Lane { sample, slot: l, h: first[l], step: 0, history, retry: false, report, done: false };
            self.ready.push_back(lane);
        }
    }
}

/// Euclidean norm of a lane.
fn norm<T: Real>(data: &[T], l: usize, dim: usize, stride: usize) -> f64 {
    (0..dim).map(|r| data[r * stride + l].wide().powi(2)).sum::<f64>().sqrt()
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
    fn new(dim: usize, span: (f64, f64), options: &'o Options) -> Self {
        let stride = stride_for(options.lanes);
        let slots = || vec![T::ZERO; dim * stride];
        Self {
            options,
            tableau: options.method,
            dim,
            stride,
            span,
            active: 0,
            lanes: Vec::with_capacity(options.lanes),
            y: slots(),
            y1: slots(),
            spare: slots(),
            k: vec![T::ZERO; options.method.a.len() * dim * stride],
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

    /// Error ratios, verdicts and next steps, lane by lane.
    fn judge(&mut self) {
        let adaptive = self.options.steps.is_none();
        if adaptive {
            self.error_ratios();
        }
        self.stage_differences();
        let k = f64::from(self.tableau.embedded_order + 1);
        let s = self.tableau.stages();
        for l in 0..self.active {
            let lane = &mut self.lanes[l];
            let mut accept = true;
            let mut failure = None;
            if adaptive {
                let err = self.sums[0][l].wide();
                let verdict = self.options.controller.judge(&mut lane.history, err, k);
                let tried = self.h_wide[l].abs();
                accept = verdict.accept;
                // A step cut short by the end of the span says little about the next, and there is none.
                lane.h = (tried * verdict.factor).min(self.options.max_step);
                // Before giving up, the shortest step allowed is tried.
                if accept || tried > self.options.min_step {
                    lane.h = lane.h.max(self.options.min_step);
                }
                let round_off = 16.0 * f64::EPSILON * self.t[l].abs().max((self.span.1 - self.span.0).abs());
                if !accept && lane.h < round_off.max(self.options.min_step) {
                    let (t, h) = (self.t[l], lane.h);
                    let speed = norm(&self.k, l, self.dim, self.stride);
                    failure = Some(if err.is_finite() {
                        Failure::StepTooSmall { t, h, speed }
                    } else {
                        Failure::NonFinite { t, h, speed }
                    });
                }
            } else if !(0..self.dim).all(|r| self.y1[r * self.stride + l].is_finite()) {
                accept = false;
                let speed = norm(&self.k, l, self.dim, self.stride);
                failure = Some(Failure::NonFinite { t: self.t[l], h: self.h_wide[l].abs(), speed });
            }
            lane.retry = !accept;
            lane.report.accepted += u32::from(accept);
            lane.report.rejected += u32::from(!accept);
            if accept {
                let (dk, dy) = (self.sums[1][l].wide().sqrt(), self.sums[2][l].wide().sqrt());
                if s > 1 {
                    lane.report.stiffness.observe(self.h_wide[l], dk, dy, self.tableau.stability);
                }
            }
            let taken = (lane.report.accepted + lane.report.rejected) as usize;
            let at_end = accept && self.is_last(l);
            let lane = &mut self.lanes[l];
            // A number of equal steps is the user's own cap.
            if adaptive && failure.is_none() && taken >= self.options.max_steps && !at_end {
                let t = if accept { self.t[l] + self.h_wide[l] } else { self.t[l] };
                let speed = norm(&self.k, l, self.dim, self.stride);
                failure = Some(Failure::TooManySteps { steps: self.options.max_steps, t, h: lane.h, speed });
            }
            if let Some(failure) = failure {
                lane.report.status = Err(failure);
                lane.done = true;
            }
            self.accept[l] = accept;
        }
    }

    /// The step of lane `l` reaches the end of the span.
    fn is_last(&self, l: usize) -> bool {
        match self.options.steps {
            Some(n) => self.lanes[l].step + 1 == n,
            None => self.h_wide[l].abs() >= (self.span.1 - self.t[l]).abs(),
        }
    }

    /// sums[0] ← the error of each lane in units of the tolerance; NaN where anything is not finite.
    fn error_ratios(&mut self) {
        let n = self.active;
        let o = self.options;
        let body = self.dim - o.tail;
        let low = !self.tableau.e_low.is_empty();
        let [ratio, second, tail, error] = &mut self.sums;
        ratio[..n].fill(T::ZERO);
        second[..n].fill(T::ZERO);
        tail[..n].fill(T::ZERO);
        let (rtol, atol) = (T::of(o.rtol), T::of(o.atol));
        for r in 0..self.dim {
            let row = r * self.stride..r * self.stride + n;
            for (weights, into) in [(self.tableau.e, &mut *ratio), (self.tableau.e_low, &mut *second)] {
                if weights.is_empty() {
                    continue;
                }
                weighted_sum(&self.k, self.dim * self.stride, row.clone(), weights, &mut error[..n]);
                let (y, y1) = (&self.y[row.clone()], &self.y1[row.clone()]);
                if r < body {
                    for l in 0..n {
                        let (a, b) = (y[l].abs(), y1[l].abs());
                        let e = self.h[l] * error[l] / (atol + rtol * if a > b { a } else { b });
                        into[l] += e * e;
                    }
                } else if std::ptr::eq(weights, self.tableau.e) {
                    let per = T::of(1.0 / o.tail_atol);
                    for l in 0..n {
                        let e = self.h[l] * error[l] * per;
                        tail[l] += e * e;
                    }
                }
            }
        }
        for l in 0..n {
            let mean = |sum: T, rows: usize| sum.wide() / rows.max(1) as f64;
            let squared = mean(ratio[l], body);
            let body_err = if low {
                // Hairer's combination for DOP853: the fifth-order estimate, damped by the third-order one.
                // Ref: Hairer, Nørsett & Wanner I, II.10.
                let denominator = squared + 0.01 * mean(second[l], body);
                if denominator == 0.0 { 0.0 } else { squared / denominator.sqrt() }
            } else {
                squared.sqrt()
            };
            let err = body_err.max(mean(tail[l], o.tail).sqrt());
            // `max` drops a NaN, and an infinite end is hidden by its own scale: ask for all of them.
            let finite_end = (0..self.dim).all(|r| self.y1[r * self.stride + l].is_finite());
            let sound = body_err.is_finite() && tail[l].is_finite() && finite_end;
            ratio[l] = T::of(if sound { err } else { f64::NAN });
        }
    }

    /// sums[1], sums[2] ← |k_s − k_{s−1}|², |Y_s − Y_{s−1}|² where both stages are at the step's end:
    /// their ratio estimates the dominant eigenvalue at no cost. Ref: Hairer & Wanner II, IV.2.
    fn stage_differences(&mut self) {
        let n = self.active;
        let (s, c) = (self.tableau.stages(), self.tableau.c);
        let [_, dk, dy, scratch] = &mut self.sums;
        dk[..n].fill(T::ZERO);
        dy[..n].fill(T::ZERO);
        if s < 3 || c[s - 1] != 1.0 || c[s - 2] != 1.0 {
            return;
        }
        let size = self.dim * self.stride;
        let (last, before) = (self.tableau.a[s - 1], self.tableau.a[s - 2]);
        for r in 0..self.dim {
            let row = r * self.stride..r * self.stride + n;
            let scratch = &mut scratch[..n];
            scratch.fill(T::ZERO);
            for (j, a) in last.iter().enumerate() {
                let weight = T::of(a - before.get(j).copied().unwrap_or(0.0));
                let k = &self.k[j * size..][row.clone()];
                for (sum, k) in scratch.iter_mut().zip(k) {
                    *sum += weight * *k;
                }
            }
            let (k1, k0) = (&self.k[(s - 1) * size..][row.clone()], &self.k[(s - 2) * size..][row]);
            for l in 0..n {
                let slope = k1[l] - k0[l];
                let state = self.h[l] * scratch[l];
                dk[l] += slope * slope;
                dy[l] += state * state;
            }
        }
    }

    /// Tells the observer of the accepted steps and makes their ends the beginnings of the next.
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

    /// Hands over the lanes that are done; the last lane takes the place of each.
    fn retire(&mut self, observer: &mut dyn Observer<T>, deliver: &mut dyn FnMut(usize, &[T], &Report)) {
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
            if let Err(failure) = &lane.report.status {
                observer.failed(lane.sample, failure);
            }
            deliver(lane.sample, &self.column, &lane.report);
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

/// One lane's step, as observers see it.
struct LaneStep<'t, 'o, T> {
    tile: &'t Tile<'o, T>,
    lane: usize,
    last: bool,
}

impl<T: Real> Step<T> for LaneStep<'_, '_, T> {
    fn sample(&self) -> usize {
        self.tile.samples[self.lane]
    }
    fn dim(&self) -> usize {
        self.tile.dim
    }
    fn t(&self) -> f64 {
        self.tile.t[self.lane]
    }
    fn h(&self) -> f64 {
        self.tile.h_wide[self.lane]
    }
    fn start(&self, out: &mut [T]) {
        for (r, out) in out.iter_mut().enumerate() {
            *out = self.tile.y[r * self.tile.stride + self.lane];
        }
    }
    fn end(&self, out: &mut [T]) {
        for (r, out) in out.iter_mut().enumerate() {
            *out = self.tile.y1[r * self.tile.stride + self.lane];
        }
    }
    fn stage(&self, i: usize, out: &mut [T]) -> bool {
        let stage = &self.tile.k[i * self.tile.dim * self.tile.stride..];
        for (r, out) in out.iter_mut().enumerate() {
            *out = stage[r * self.tile.stride + self.lane];
        }
        true
    }
    fn at(&self, theta: f64, out: &mut [T]) {
        let tile = self.tile;
        let size = tile.dim * tile.stride;
        out.fill(T::ZERO);
        for (i, polynomial) in tile.tableau.dense.iter().enumerate() {
            let weight = T::of(polynomial.iter().rev().fold(0.0, |sum, c| (sum + c) * theta));
            for (r, out) in out.iter_mut().enumerate() {
                *out += weight * tile.k[i * size + r * tile.stride + self.lane];
            }
        }
        for (r, out) in out.iter_mut().enumerate() {
            *out = tile.y[r * tile.stride + self.lane] + tile.h[self.lane] * *out;
        }
    }
    fn last(&self) -> bool {
        self.last
    }
}
