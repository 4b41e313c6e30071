//! Monotone rational-quadratic splines with identity tails.
//!
//! Ref: Gregory & Delbourgo (1982); Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows* (2019), section 3.1. On bin
//! k with knots (xₖ, yₖ), width w, height h, slope s = h / w and derivatives d₀, d₁ at its ends, ξ = (x − xₖ) / w:
//! y = yₖ + h (s ξ² + d₀ ξ(1 − ξ)) / D, D = s + (d₀ + d₁ − 2s) ξ(1 − ξ), and
//! y′ = s² (d₁ ξ² + 2s ξ(1 − ξ) + d₀ (1 − ξ)²) / D².
//!
//! Widths and heights are softmaxes with a least share, derivatives softplus with a least value and 1 at both ends, so
//! no bin degenerates whatever the conditioner says.

use std::array::from_fn;
use std::ops::{Add, Div, Mul, Sub};

/// The most bins.
pub(super) const MOST: usize = 32;
/// The least share of a bin in the interval, and the least derivative, as in the authors' code.
const LEAST_SHARE: f64 = 1e-3;
const LEAST_SLOPE: f64 = 1e-3;

/// Numbers of the conditioner for each column: widths, heights, derivatives at the inner knots.
pub(super) fn numbers(bins: usize) -> usize {
    (3 * bins).saturating_sub(1)
}

/// What is wrong with a spline of these options.
pub(super) fn check(bins: usize, bound: f64) -> Result<(), String> {
    if !(2..=MOST).contains(&bins) {
        return Err(format!("a spline of {bins} bins, not 2 to {MOST}"));
    }
    if !(bound > 0.0 && bound.is_finite()) {
        return Err(format!("a spline on [-{bound}, {bound}]"));
    }
    Ok(())
}

/// The knots of one spline.
pub(super) struct Spline {
    bins: usize,
    bound: f64,
    x: [f64; MOST + 1],
    y: [f64; MOST + 1],
    /// Derivatives at the knots.
    slope: [f64; MOST + 1],
    /// The softmaxes and the logistic behind the derivatives, for the pull-back.
    wide: [f64; MOST],
    high: [f64; MOST],
    rise: [f64; MOST + 1],
}

/// A value with its derivatives by x, xₖ, w, yₖ, h, d₀, d₁.
#[derive(Clone, Copy)]
struct Dual {
    value: f64,
    by: [f64; PARTS],
}

const PARTS: usize = 7;

impl Dual {
    fn constant(value: f64) -> Self {
        Self { value, by: [0.0; PARTS] }
    }

    fn variable(value: f64, part: usize) -> Self {
        Self { value, by: from_fn(|i| f64::from(u8::from(i == part))) }
    }

    fn chain(self, value: f64, slope: f64) -> Self {
        Self { value, by: self.by.map(|d| slope * d) }
    }
}

impl Add for Dual {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        Self { value: self.value + b.value, by: from_fn(|i| self.by[i] + b.by[i]) }
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        Self { value: self.value - b.value, by: from_fn(|i| self.by[i] - b.by[i]) }
    }
}

impl Mul for Dual {
    type Output = Self;
    #[expect(clippy::suspicious_arithmetic_impl, reason = "the rule of products has a sum")]
    fn mul(self, b: Self) -> Self {
        Self { value: self.value * b.value, by: from_fn(|i| self.by[i] * b.value + self.value * b.by[i]) }
    }
}

impl Div for Dual {
    type Output = Self;
    #[expect(clippy::suspicious_arithmetic_impl, reason = "the rule of quotients has a product")]
    fn div(self, b: Self) -> Self {
        let value = self.value / b.value;
        Self { value, by: from_fn(|i| (self.by[i] - value * b.by[i]) / b.value) }
    }
}

/// The numbers that the formulas are written for: plain, or with derivatives.
trait Number: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> {
    fn of(value: f64) -> Self;
    fn ln(self) -> Self;
}

impl Number for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
}

impl Number for Dual {
    fn of(value: f64) -> Self {
        Self::constant(value)
    }
    fn ln(self) -> Self {
        self.chain(self.value.ln(), 1.0 / self.value)
    }
}

/// (y, ln y′) of a bin at ξ(x).
fn bin<N: Number>([x, xk, w, yk, h, d0, d1]: [N; PARTS]) -> (N, N) {
    let (one, two, s) = (N::of(1.0), N::of(2.0), h / w);
    let xi = (x - xk) / w;
    let rest = one - xi;
    let both = xi * rest;
    let denominator = s + (d0 + d1 - two * s) * both;
    let y = yk + h * (s * xi * xi + d0 * both) / denominator;
    let rate = d1 * xi * xi + two * s * both + d0 * rest * rest;
    (y, two * s.ln() + rate.ln() - two * denominator.ln())
}

/// Shares that sum to 1.
fn softmax(raw: impl Iterator<Item = f64> + Clone, out: &mut [f64]) {
    let most = raw.clone().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for (slot, r) in out.iter_mut().zip(raw) {
        *slot = (r - most).exp();
        sum += *slot;
    }
    out.iter_mut().for_each(|p| *p /= sum);
}

impl Spline {
    /// The spline of a conditioner's numbers `raw`, [`numbers`] of them.
    pub fn new(raw: &[f64], bins: usize, bound: f64) -> Self {
        let mut spline = Self {
            bins,
            bound,
            x: [0.0; MOST + 1],
            y: [0.0; MOST + 1],
            slope: [1.0; MOST + 1],
            wide: [0.0; MOST],
            high: [0.0; MOST],
            rise: [0.0; MOST + 1],
        };
        let Self { x, y, wide, high, slope, rise, .. } = &mut spline;
        let free = 1.0 - LEAST_SHARE * bins as f64;
        for (knots, shares, part) in [(x, wide, &raw[..bins]), (y, high, &raw[bins..2 * bins])] {
            softmax(part.iter().copied(), &mut shares[..bins]);
            knots[0] = -bound;
            for k in 0..bins {
                knots[k + 1] = knots[k] + 2.0 * bound * (LEAST_SHARE + free * shares[k]);
            }
        }
        // So that 0 stands for the derivative 1.
        let start = (1.0 - LEAST_SLOPE).exp_m1().ln();
        for (k, r) in raw[2 * bins..].iter().enumerate() {
            let a = r + start;
            let e = (-a.abs()).exp();
            slope[k + 1] = LEAST_SLOPE + a.max(0.0) + e.ln_1p();
            rise[k + 1] = if a > 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
        }
        spline
    }

    /// The bin of a place among `knots`; none outside, and for NaN.
    fn find(&self, knots: &[f64; MOST + 1], place: f64) -> Option<usize> {
        if !(place > -self.bound && place < self.bound) {
            return None;
        }
        Some((1..self.bins).take_while(|k| knots[*k] <= place).count())
    }

    /// x (or a constant in its place) and the numbers of bin k.
    fn parts(&self, k: usize, x: f64) -> [f64; PARTS] {
        let (x, w) = (x.max(self.x[k]).min(self.x[k + 1]), self.x[k + 1] - self.x[k]);
        [x, self.x[k], w, self.y[k], self.y[k + 1] - self.y[k], self.slope[k], self.slope[k + 1]]
    }

    /// (y, ln y′).
    pub fn forward(&self, x: f64) -> (f64, f64) {
        match self.find(&self.x, x) {
            None => (x, 0.0),
            Some(k) => bin(self.parts(k, x)),
        }
    }

    /// (x, ln x′): the root of a quadratic, in the form that does not cancel.
    pub fn inverse(&self, y: f64) -> (f64, f64) {
        let Some(k) = self.find(&self.y, y) else { return (y, 0.0) };
        let [_, xk, w, yk, h, d0, d1] = self.parts(k, self.x[k]);
        let (s, up) = (h / w, (y - yk).clamp(0.0, h));
        let bend = d0 + d1 - 2.0 * s;
        let a = h * (s - d0) + up * bend;
        let b = h * d0 - up * bend;
        let c = -s * up;
        let xi = 2.0 * c / (-b - (b * b - 4.0 * a * c).max(0.0).sqrt());
        let x = xk + w * xi.clamp(0.0, 1.0);
        let (_, rate) = bin(self.parts(k, x));
        (x, -rate)
    }

    /// The pull-back of [`Spline::forward`] at x: x̄ for the cotangents of y and of ln y′, and `raw` += those of the numbers.
    pub fn forward_back(&self, x: f64, y_bar: f64, rate_bar: f64, raw: &mut [f64]) -> f64 {
        let Some(k) = self.find(&self.x, x) else { return y_bar };
        let (y, rate) = self.dual(k, x);
        let by: [f64; PARTS] = from_fn(|i| y_bar * y.by[i] + rate_bar * rate.by[i]);
        self.spread(k, &by, raw);
        by[0]
    }

    /// The pull-back of [`Spline::inverse`] where it gave `x`: ȳ for the cotangents of x and of ln x′.
    pub fn inverse_back(&self, x: f64, x_bar: f64, rate_bar: f64, raw: &mut [f64]) -> f64 {
        let Some(k) = self.find(&self.x, x) else { return x_bar };
        let (y, rate) = self.dual(k, x);
        // y(x, p) = y: dx = (dy − yₚ dp) / yₓ, and ln x′ = −ln y′(x, p).
        let y_bar = (x_bar - rate_bar * rate.by[0]) / y.by[0];
        let by: [f64; PARTS] = from_fn(|i| -y_bar * y.by[i] - rate_bar * rate.by[i]);
        self.spread(k, &by, raw);
        y_bar
    }

    fn dual(&self, k: usize, x: f64) -> (Dual, Dual) {
        let parts = self.parts(k, x);
        bin(from_fn(|i| Dual::variable(parts[i], i)))
    }

    /// raw += the cotangents of a bin's numbers, through knots and softmaxes.
    fn spread(&self, k: usize, by: &[f64; PARTS], raw: &mut [f64]) {
        let bins = self.bins;
        let free = 2.0 * self.bound * (1.0 - LEAST_SHARE * bins as f64);
        for (shares, at, size, from) in [(&self.wide, by[1], by[2], 0), (&self.high, by[3], by[4], bins)] {
            // A knot is the sum of the sizes below it.
            let bar = |i: usize| {
                free * if i < k {
                    at
                } else if i == k {
                    size
                } else {
                    0.0
                }
            };
            let mean: f64 = (0..=k).map(|i| shares[i] * bar(i)).sum();
            for i in 0..bins {
                raw[from + i] += shares[i] * (bar(i) - mean);
            }
        }
        for (knot, bar) in [(k, by[5]), (k + 1, by[6])] {
            if knot > 0 && knot < bins {
                raw[2 * bins + knot - 1] += bar * self.rise[knot];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;
    use crate::rng::stream;

    fn raws(bins: usize, n: usize, size: f64) -> Vec<Vec<f64>> {
        let mut rng = stream(bins as u64, 0);
        (0..n).map(|_| (0..numbers(bins)).map(|_| rng.random_range(-size..size)).collect()).collect()
    }

    #[test]
    fn zeros_make_the_identity() {
        for bins in [2, 3, 8, MOST] {
            let spline = Spline::new(&vec![0.0; numbers(bins)], bins, 4.0);
            for i in -50..=50 {
                let x = f64::from(i) / 10.0;
                let (y, rate) = spline.forward(x);
                assert!((y - x).abs() < 1e-13 && rate.abs() < 1e-13, "{bins} {x}: {y} {rate}");
            }
        }
    }

    #[test]
    fn a_spline_is_undone_and_its_slope_is_the_derivative() {
        for (bins, size) in [(2, 1.0), (8, 3.0), (8, 30.0), (MOST, 5.0)] {
            for raw in raws(bins, 20, size) {
                let spline = Spline::new(&raw, bins, 3.0);
                for i in -34..=34 {
                    let x = f64::from(i) / 10.0 + 0.013;
                    let (y, rate) = spline.forward(x);
                    let (back, undone) = spline.inverse(y);
                    // Where the slope is small, x is not told by y to more than its last bits.
                    let blur = 1e-12 * (-rate).exp().max(1.0);
                    assert!((back - x).abs() < blur, "{bins} {size} {x}: {back}");
                    assert!((rate + undone).abs() < 1e-6 + 10.0 * blur * (MOST as f64), "{bins} {x}: {rate} {undone}");
                    let h = 1e-7;
                    let slope = (spline.forward(x + h).0 - spline.forward(x - h).0) / (2.0 * h);
                    if size < 30.0 {
                        assert!((slope.ln() - rate).abs() < 1e-3, "{bins} {x}: {} {rate}", slope.ln());
                    }
                }
            }
        }
    }

    #[test]
    fn pull_backs_are_central_differences() {
        let (bins, bound, h) = (5, 3.0, 1e-6);
        for raw in raws(bins, 10, 2.0) {
            for i in [-31, -29, -17, -3, 8, 16, 29, 31] {
                let x = f64::from(i) / 10.0 + 0.017;
                for inverse in [false, true] {
                    let value = |raw: &[f64], at: f64| {
                        let spline = Spline::new(raw, bins, bound);
                        let (y, rate) = if inverse { spline.inverse(at) } else { spline.forward(at) };
                        0.7 * y - 1.3 * rate
                    };
                    let spline = Spline::new(&raw, bins, bound);
                    let mut bar = vec![0.0; raw.len()];
                    let by = if inverse {
                        spline.inverse_back(spline.inverse(x).0, 0.7, -1.3, &mut bar)
                    } else {
                        spline.forward_back(x, 0.7, -1.3, &mut bar)
                    };
                    let difference = (value(&raw, x + h) - value(&raw, x - h)) / (2.0 * h);
                    assert!((by - difference).abs() < 1e-5 * (1.0 + by.abs()), "{inverse} {x}: {by} {difference}");
                    for j in 0..raw.len() {
                        let moved = |by: f64| {
                            let mut raw = raw.clone();
                            raw[j] += by;
                            value(&raw, x)
                        };
                        let difference = (moved(h) - moved(-h)) / (2.0 * h);
                        let error = (bar[j] - difference).abs();
                        assert!(error < 1e-5 * (1.0 + difference.abs()), "{inverse} {x} {j}: {} {difference}", bar[j]);
                    }
                }
            }
        }
    }
}
