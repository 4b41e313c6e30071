//! Which lanes keep their step, what their next one is, and which fail.

use super::{Tile, norm, weighted_sum};
use crate::error::Failure;
use crate::real::Real;

impl<T: Real> Tile<'_, T> {
    /// Error ratios, verdicts and next steps, lane by lane.
    pub(super) fn judge(&mut self) {
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
                let err = self.sums[0][l].to_f64();
                let verdict = self.options.controller.judge(&mut lane.history, err, k);
                let tried = self.h_wide[l].abs();
                accept = verdict.accept;
                // A step cut short by the end of the span is no guide to the next, and there is none.
                lane.h = (tried * verdict.factor).min(self.options.max_step);
                // Before the trajectory fails, the shortest step allowed is tried.
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
                let (dk, dy) = (self.sums[1][l].to_f64().sqrt(), self.sums[2][l].to_f64().sqrt());
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
    pub(super) fn is_last(&self, l: usize) -> bool {
        match self.options.steps {
            Some(n) => self.lanes[l].step + 1 == n,
            None => self.h_wide[l].abs() >= (self.span.1 - self.t[l]).abs(),
        }
    }

    /// sums[0] ← the error of each lane in units of the tolerance; NaN where anything is not finite.
    fn error_ratios(&mut self) {
        let n = self.active;
        let o = self.options;
        let held = self.dim - o.uncontrolled_rows;
        let body = held - o.log_det_rows;
        let low = !self.tableau.e_low.is_empty();
        let [ratio, second, log_det, error] = &mut self.sums;
        ratio[..n].fill(T::ZERO);
        second[..n].fill(T::ZERO);
        log_det[..n].fill(T::ZERO);
        let (rtol, atol) = (T::of(o.rtol), T::of(o.atol));
        for r in 0..held {
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
                    let per = T::of(1.0 / o.log_det_atol);
                    for l in 0..n {
                        let e = self.h[l] * error[l] * per;
                        log_det[l] += e * e;
                    }
                }
            }
        }
        for l in 0..n {
            let mean = |sum: T, rows: usize| sum.to_f64() / rows.max(1) as f64;
            let squared = mean(ratio[l], body);
            let body_err = if low {
                // Hairer's combination for DOP853: the fifth-order estimate, damped by the third-order one.
                // Ref: Hairer, Nørsett & Wanner I, II.10.
                let denominator = squared + 0.01 * mean(second[l], body);
                if denominator == 0.0 { 0.0 } else { squared / denominator.sqrt() }
            } else {
                squared.sqrt()
            };
            let err = body_err.max(mean(log_det[l], o.log_det_rows).sqrt());
            // `max` drops a NaN, and an infinite end is hidden by its own scale: check all of them.
            let finite_end = (0..self.dim).all(|r| self.y1[r * self.stride + l].is_finite());
            let sound = body_err.is_finite() && log_det[l].is_finite() && finite_end;
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
        for r in 0..self.dim - self.options.uncontrolled_rows {
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
}
