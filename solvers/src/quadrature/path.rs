//! What a quadrature keeps of one trajectory until its integral is settled: panels, values and the path itself.

use crate::real::Real;

/// A trajectory whose integral is not settled.
pub(super) struct Path<T> {
    pub(super) sample: usize,
    pub(super) panels: Vec<Panel>,
    /// g at the panels' points, `[panel][point][row]`.
    pub(super) values: Vec<f64>,
    /// Dense output of each step: its values at the quadrature's places `theta`, `[step][knot][dim]`.
    pub(super) knots: Vec<T>,
    pub(super) pending: usize,
    pub(super) ended: bool,
    pub(super) evals: u32,
    pub(super) rounds: u32,
    /// The smallest estimate so far, and for how many rounds it has been.
    pub(super) best: f64,
    pub(super) stalls: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    pub(super) step: usize,
    pub(super) step_t: f64,
    pub(super) step_h: f64,
    /// Within the step.
    pub(super) from: f64,
    pub(super) to: f64,
}

impl<T: Real> Path<T> {
    /// Trajectory `sample` without points yet.
    pub(super) fn new(sample: usize) -> Self {
        Self {
            sample,
            panels: Vec::new(),
            values: Vec::new(),
            knots: Vec::new(),
            pending: 0,
            ended: false,
            evals: 0,
            rounds: 0,
            best: f64::INFINITY,
            stalls: 0,
        }
    }

    /// As new, in the same room.
    pub(super) fn reset(&mut self, sample: usize) {
        self.sample = sample;
        self.panels.clear();
        self.values.clear();
        self.knots.clear();
        self.pending = 0;
        self.ended = false;
        self.evals = 0;
        self.rounds = 0;
        self.best = f64::INFINITY;
        self.stalls = 0;
    }
}

/// The polynomial through (`theta`, `knots`) at `x`, in Lagrange's form.
pub(super) fn interpolate<T: Real>(theta: &[f64], knots: &[T], x: f64, out: &mut [T]) {
    let mut sums = [0.0f64; 64];
    let mut wide = Vec::new();
    let sums = if out.len() <= sums.len() {
        &mut sums[..out.len()]
    } else {
        wide.resize(out.len(), 0.0);
        &mut wide[..]
    };
    for (i, knot) in knots.chunks_exact(out.len()).enumerate() {
        let weight: f64 =
            theta.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, b)| (x - b) / (theta[i] - b)).product();
        for (sum, y) in sums.iter_mut().zip(knot) {
            *sum += weight * y.to_f64();
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = T::of(*sum);
    }
}
