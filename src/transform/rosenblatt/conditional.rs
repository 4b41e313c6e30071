//! One column of a mixture, given the columns before it: a mixture of normals on the line.

use super::super::Mixture;
use super::super::normal::{cdf, log_cdf, log_pdf, quantile_of_log};

/// Beyond this many deviations a component's mass on the far side, 2e-33, is negligible beside [`CLOSE`].
const FAR: f64 = 12.0;
/// ln of the weight, relative to the largest, that is negligible beside [`CLOSE`].
const FAINT: f64 = -75.0;
/// Where both tails are above this, sums of plain numbers over the components that are not negligible are exact to
/// round-off (|z| < 7.3); else logarithms over all of them.
const CLOSE: f64 = 1e-13;
/// What sums over a thousand components leave uncertain of z.
const ROUND_OFF: f64 = 32.0 * f64::EPSILON;
/// More halvings than numbers between two f64 of the same sign and scale need.
const HALVINGS: usize = 200;

/// The mixture of the current column.
pub(crate) struct Conditional<'a> {
    mixture: &'a Mixture,
    /// `[K, d]`: L_k⁻¹ (x − m_k), the columns so far.
    u: Vec<f64>,
    /// ln of the weights given the columns so far, not normalised.
    log_weights: Vec<f64>,
    /// Means and deviations of this column.
    means: Vec<f64>,
    deviations: Vec<f64>,
    /// ln of the sum of the weights.
    log_total: f64,
    /// The components that are not negligible, with their normalised weights.
    seen: Vec<(usize, f64)>,
}

/// Where a number stands in the distribution.
struct Place {
    z: f64,
    /// ln p.
    log_density: f64,
}

impl<'a> Conditional<'a> {
    pub(crate) fn new(mixture: &'a Mixture) -> Self {
        let k = mixture.components();
        let zeros = || vec![0.0; k];
        let (u, seen) = (vec![0.0; k * mixture.dim()], Vec::with_capacity(k));
        let (log_weights, means, deviations) = (zeros(), zeros(), zeros());
        Self { mixture, u, log_weights, means, deviations, log_total: 0.0, seen }
    }

    /// Before the first column.
    pub(crate) fn reset(&mut self) {
        self.log_weights.iter_mut().zip(self.mixture.weights()).for_each(|(log, w)| *log = w.ln());
    }

    /// Takes up column `j`, all before it being known.
    pub(crate) fn column(&mut self, j: usize) {
        let d = self.mixture.dim();
        let parts = self.mixture.factors().chunks_exact(d * d).zip(self.mixture.means().chunks_exact(d));
        for (k, (factor, mean)) in parts.enumerate() {
            let (row, u) = (&factor[j * d..][..=j], &self.u[k * d..][..j]);
            self.means[k] = mean[j] + row.iter().zip(u).map(|(l, u)| l * u).sum::<f64>();
            self.deviations[k] = row[j];
        }
        self.log_total = log_sum_exp(self.log_weights.iter().copied());
        let visible = |(k, log): (usize, &f64)| {
            let log = log - self.log_total;
            (log > FAINT).then(|| (k, log.exp()))
        };
        self.seen.clear();
        self.seen.extend(self.log_weights.iter().enumerate().filter_map(visible));
    }

    /// Column `j` is `x`.
    pub(crate) fn condition(&mut self, j: usize, x: f64) {
        let d = self.mixture.dim();
        for (k, log) in self.log_weights.iter_mut().enumerate() {
            let u = (x - self.means[k]) / self.deviations[k];
            self.u[k * d + j] = u;
            *log += log_pdf(u) - self.deviations[k].ln();
        }
    }

    /// log p of the columns so far.
    pub(crate) fn log_prob(&self) -> f64 {
        log_sum_exp(self.log_weights.iter().copied())
    }

    /// Φ⁻¹(F(x)).
    pub(crate) fn z_of(&self, x: f64) -> f64 {
        self.place(x).z
    }

    fn place(&self, x: f64) -> Place {
        let (mut below, mut above, mut density) = (0.0, 0.0, 0.0);
        for (k, weight) in &self.seen {
            let t = (x - self.means[*k]) / self.deviations[*k];
            if t < -FAR {
                above += weight;
            } else if t > FAR {
                below += weight;
            } else {
                let tail = weight * cdf(-t.abs());
                let (near, rest) = (tail, weight - tail);
                let (low, high) = if t < 0.0 { (near, rest) } else { (rest, near) };
                below += low;
                above += high;
                density += weight * (log_pdf(t).exp() / self.deviations[*k]);
            }
        }
        if below.min(above) >= CLOSE {
            // Normalised: the sums differ from 1 by round-off.
            let log_sum = (below + above).ln();
            let z = signed(below.ln() - log_sum, above.ln() - log_sum);
            return Place { z, log_density: density.ln() - log_sum };
        }
        let terms = |of: fn(f64) -> f64| {
            let parts = self.log_weights.iter().zip(&self.means).zip(&self.deviations);
            let terms = parts.map(move |((log, m), s)| log + of((x - m) / s));
            log_sum_exp(terms) - self.log_total
        };
        let z = signed(terms(log_cdf), terms(|t| log_cdf(-t)));
        let parts = self.log_weights.iter().zip(&self.means).zip(&self.deviations);
        let log_density = log_sum_exp(parts.map(|((log, m), s)| log + log_pdf((x - m) / s) - s.ln())) - self.log_total;
        Place { z, log_density }
    }

    /// The x with Φ⁻¹(F(x)) = `z`.
    ///
    /// It lies between the least and the largest of the components' own answers m_k + s_k z, and between the two of the
    /// `knots` (x, z) that z lies between. Newton's method on z(x) − z, which is linear for one component and in the
    /// tails of many, and halving wherever it leaves the bounds or is slow. Where F is flat to round-off, between
    /// components far apart, any x of the flat part will do.
    pub(crate) fn x_of(&self, z: f64, knots: &[(f64, f64)]) -> f64 {
        let answers = || self.means.iter().zip(&self.deviations).map(|(m, s)| m + s * z);
        let mut low = answers().fold(f64::INFINITY, f64::min);
        let mut high = answers().fold(f64::NEG_INFINITY, f64::max);
        if !(low < high && (high - low).is_finite()) {
            // One component, or all alike; what overflows is for the caller to see.
            return low;
        }
        let mut x: f64 = self.seen.iter().map(|(k, w)| w * (self.means[*k] + self.deviations[*k] * z)).sum();
        let next = knots.partition_point(|knot| knot.1 < z);
        if next > 0 {
            low = low.max(knots[next - 1].0);
        }
        if next < knots.len() {
            high = high.min(knots[next].0);
        }
        if 0 < next && next < knots.len() {
            let ((x0, z0), (x1, z1)) = (knots[next - 1], knots[next]);
            x = x0 + (x1 - x0) * ((z - z0) / (z1 - z0));
        }
        // Bounds of round-off's width may have crossed.
        x = if low < high { x.clamp(low, high) } else { return low };
        let mut width = high - low;
        for _ in 0..HALVINGS {
            let place = self.place(x);
            let gap = place.z - z;
            if gap.abs() <= ROUND_OFF * z.abs().max(1.0) {
                break;
            }
            if gap > 0.0 {
                high = x;
            } else if gap < 0.0 {
                low = x;
            } else {
                return f64::NAN;
            }
            // dz/dx = p(x)/φ(z).
            let newton = x - gap * (log_pdf(place.z) - place.log_density).exp();
            let middle = low + 0.5 * (high - low);
            let slow = high - low > 0.5 * width;
            let next = if newton > low && newton < high && !(slow && gap.abs() > 1.0) { newton } else { middle };
            if next == x || middle <= low || middle >= high {
                break;
            }
            width = high - low;
            x = next;
        }
        x
    }
}

/// z from ln F and ln(1 − F), by the smaller.
fn signed(below: f64, above: f64) -> f64 {
    if below <= above { quantile_of_log(below) } else { -quantile_of_log(above) }
}

/// ln Σ eᵃ, from the largest. Unlike [`crate::stats::log_sum_exp`] it is NaN where a term is, and where no term counts:
/// such a row has no place in the distribution.
fn log_sum_exp(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    top + terms.map(|a| (a - top).exp()).sum::<f64>().ln()
}
