//! The error of the rule on each panel, estimated from the points that it has.
//!
//! The n-point rule's error on a panel of length h is C h^{2n+1} times the 2n-th divided difference of the integrand.
//! The differences come from windows of 2n + 1 neighbouring points, across panels: no evaluation is spent on them.

use super::Quadrature;
use crate::field::VectorField;
use crate::real::Real;

/// Legendre coefficients that fall more slowly than this (or grow) are not resolved at all.
const SLOWEST_FALL: f64 = 0.85;
/// With fewer panels than this there are few differences to go by, and the estimate is tripled.
const FEW_PANELS: usize = 5;

impl<T: Real, G: VectorField<T>> Quadrature<T, G> {
    /// Fills `self.estimates`, one a panel, and adds them up; infinite where there are too few points,
    /// NaN where g is not finite.
    pub(super) fn estimate(&mut self, slot: usize) -> f64 {
        let path = &self.paths[slot];
        let (n, rows) = (self.rule.points(), self.g.out_dim());
        let (points, panels) = (path.panels.len() * n, path.panels.len());
        self.estimates.clear();
        if points < 2 * n + 1 {
            self.estimates.resize(panels, f64::INFINITY);
            return if path.values.iter().all(|g| g.is_finite()) { f64::INFINITY } else { f64::NAN };
        }
        self.estimates.resize(panels, 0.0);
        let times = &mut self.times;
        times.clear();
        times.extend(path.panels.iter().flat_map(|panel| {
            let time = |node: &f64| panel.step_t + panel.step_h * (panel.from + (panel.to - panel.from) * node);
            self.rule.nodes.iter().map(time)
        }));
        let safety = if panels < FEW_PANELS { 3.0 } else { 1.0 };
        let d = &mut self.differences;
        let sizes = &mut self.sizes;
        for row in 0..rows {
            d.clear();
            d.extend((0..points).map(|i| path.values[i * rows + row]));
            sizes.clear();
            for order in 1..=2 * n {
                for i in 0..points - order {
                    d[i] = (d[i + 1] - d[i]) / (times[i + order] - times[i]);
                }
                if order >= 2 * n - 2 {
                    sizes.extend((0..panels).map(|p| largest(&d[..points - order], p * n, n, order)));
                }
            }
            for (p, estimate) in self.estimates.iter_mut().enumerate() {
                let h = (path.panels[p].step_h * (path.panels[p].to - path.panels[p].from)).abs();
                let [a, b, c] = [0, 1, 2].map(|k| sizes[k * panels + p] * h.powi((2 * n - 2 + k) as i32));
                let error = safety * h * self.rule.error_constant() * c * growth(n, [a, b, c]);
                if error > *estimate || error.is_nan() {
                    *estimate = error;
                }
            }
        }
        self.estimates.iter().sum()
    }
}

/// The largest difference of `order` among the windows of points that hold the `n` points from `first` on, and one
/// more window on each side: at the ends of the span, and where panels change size, differences drift from window
/// to window. Their spread is added for the same reason. NaN where any of them is.
fn largest(d: &[f64], first: usize, n: usize, order: usize) -> f64 {
    let from = first.saturating_sub(order + 2 - n).min(d.len() - 1);
    let to = (first + 1).min(d.len() - 1);
    let (low, high) = d[from..=to].iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), d| {
        // `min` and `max` would drop a NaN.
        if d.is_nan() || low.is_nan() { (f64::NAN, f64::NAN) } else { (low.min(*d), high.max(*d)) }
    });
    low.abs().max(high.abs()) + (high - low)
}

/// The first neglected term stands for all of them as long as the terms fall quickly; where they do not, the series
/// is summed as a geometric one. `terms` are differences of orders 2n − 2, 2n − 1, 2n times those powers of h;
/// divided by the leading coefficients of the shifted Legendre polynomials, (2k choose k), they estimate the
/// coefficients of the integrand's Legendre series on the panel.
fn growth(n: usize, [a, b, c]: [f64; 3]) -> f64 {
    let ratio = |k: usize| (k + 1) as f64 / (2 * (2 * k + 1)) as f64;
    let (first, second) = (b / a * ratio(2 * n - 2), c / b * ratio(2 * n - 1));
    // 0/0 where differences vanish: nothing is neglected then.
    let r = [first, second].into_iter().filter(|r| !r.is_nan()).fold(0.0, f64::max);
    1.0 / (1.0 - r.min(SLOWEST_FALL))
}
