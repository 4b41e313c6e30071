//! The first step, from the size of the first slopes.
//!
//! Ref: Hairer, Nørsett & Wanner, *Solving ODEs I*, II.4, "starting step size". One evaluation more.

use crate::options::Options;
use crate::real::Real;
use crate::tableau::Tableau;

/// The norm in which the slopes are measured: that of the error control.
pub(crate) struct Scale {
    rtol: f64,
    atol: f64,
    /// Rows that count.
    body: usize,
    order: u32,
}

impl Scale {
    pub(crate) fn new(options: &Options, tableau: &Tableau, dim: usize) -> Self {
        let order = tableau.embedded_order.max(1);
        Self {
            rtol: options.rtol,
            atol: options.atol,
            body: dim - options.log_det_rows - options.uncontrolled_rows,
            order,
        }
    }

    fn norm<T: Real>(&self, y: &[T], value: impl Fn(usize) -> f64, l: usize, stride: usize) -> f64 {
        let sum: f64 = (0..self.body)
            .map(|r| {
                let i = r * stride + l;
                (value(i) / (self.atol + self.rtol * y[i].to_f64().abs())).powi(2)
            })
            .sum();
        (sum / self.body.max(1) as f64).sqrt()
    }

    /// h₀: an Euler step that changes the state by a hundredth, at most the span.
    pub(crate) fn explore<T: Real>(&self, y: &[T], k: &[T], l: usize, stride: usize, span: f64) -> f64 {
        let d0 = self.norm(y, |i| y[i].to_f64(), l, stride);
        let d1 = self.norm(y, |i| k[i].to_f64(), l, stride);
        let h = if d0 < 1e-5 || d1 < 1e-5 || !(d0 / d1).is_finite() { 1e-6 } else { 0.01 * d0 / d1 };
        // Slopes beyond the range of a norm must not stop the clock.
        h.max(16.0 * f64::EPSILON * span).min(span)
    }

    /// h₁: where the second derivative, estimated with h₀, would cost a hundredth of the tolerance.
    pub(crate) fn choose<T: Real>(&self, y: &[T], k: &[T], probe: &[T], l: usize, stride: usize, h0: f64) -> f64 {
        let d1 = self.norm(y, |i| k[i].to_f64(), l, stride);
        let d2 = self.norm(y, |i| probe[i].to_f64() - k[i].to_f64(), l, stride) / h0;
        let largest = d1.max(d2);
        let h1 = if !largest.is_finite() {
            h0
        } else if largest <= 1e-15 {
            (1e-3 * h0).max(1e-6)
        } else {
            (0.01 / largest).powf(1.0 / f64::from(self.order + 1))
        };
        h1.min(100.0 * h0)
    }
}
