//! The pinwheel: Gaussian arms, wound up.
//!
//! f = (1 + 0.3 a, 0.1 b) with a, b standard normal; x = 2 R f, where R turns clockwise by
//! α = 2πk/5 + ¼e^(f₀), k one of 0…4. The map keeps |f| = r = |x|/2, so its preimages of x lie on one
//! circle, f = r (cos φ, sin φ), at the roots of φ − ¼e^(r cos φ) = arg x + 2πj/5 (j whole: all arms at
//! once). Its Jacobian is 4 |1 + ¼ f₁ e^(f₀)|, the derivative of that same function: the winding is not a
//! rotation, and far out it folds. Hence p(x) = ⅕ Σ N(f) / (4 |slope|) over the roots.

use std::f64::consts::{PI, TAU};

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::mixture::log_sum_exp;
use crate::Rng;

const ARMS: u32 = 5;
const RADIAL: f64 = 0.3;
const TANGENTIAL: f64 = 0.1;
const WINDING: f64 = 0.25;
/// Beyond this radius, 20 deviations out, the folds lie too close for their roots to be distinguished.
const FOLDED: f64 = 7.0;

/// Draws n rows, `[n, 2]`.
pub(super) fn sample(n: usize, rng: &mut Rng) -> Vec<f64> {
    let mut rows = Vec::with_capacity(2 * n);
    for _ in 0..n {
        let f0 = 1.0 + RADIAL * rng.sample::<f64, _>(StandardNormal);
        let f1 = TANGENTIAL * rng.sample::<f64, _>(StandardNormal);
        let arm = TAU * f64::from(rng.random_range(0..ARMS)) / f64::from(ARMS);
        let (sin, cos) = (arm + WINDING * f0.exp()).sin_cos();
        rows.extend([2.0 * (f0 * cos + f1 * sin), 2.0 * (f1 * cos - f0 * sin)]);
    }
    rows
}

/// log p in nats; exact within |x| < 14 (p > e^(−200) there), the mean over the folds beyond.
pub(super) fn log_prob(x: &[f64]) -> f64 {
    let r = 0.5 * x[0].hypot(x[1]);
    if r == 0.0 {
        // One preimage an arm, f = 0, of slope 1.
        return log_normal(0.0, 0.0) - 4f64.ln();
    }
    if r > FOLDED {
        // The mean of N(f) over the circle, by Laplace's method about φ = 0, where it peaks:
        // −(r cos φ − 1)²/2s² − (r sin φ)²/2t² ≈ const − φ²/2 · (r²/t² − r(r − 1)/s²).
        let bend = (r / TANGENTIAL).powi(2) - r * (r - 1.0) / RADIAL.powi(2);
        return log_normal(r, 0.0) + 0.5 * (TAU / bend).ln() - TAU.ln() - 4f64.ln();
    }
    let theta = x[1].atan2(x[0]);
    let spacing = TAU / f64::from(ARMS);
    let lift = |phi: f64| phi - WINDING * (r * phi.cos()).exp();
    let slope = |phi: f64| 1.0 + WINDING * r * phi.sin() * (r * phi.cos()).exp();
    let mut terms = Vec::new();
    for [from, to] in monotone_pieces(r, slope) {
        let (a, b) = (lift(from), lift(to));
        let (low, high) = (a.min(b), a.max(b));
        let mut j = ((low - theta) / spacing).ceil();
        // Half-open, so that a root at the seam of two pieces counts once.
        while theta + j * spacing < high {
            let target = theta + j * spacing;
            let phi = root(from, to, |phi| ((lift(phi) - target) * (b - a).signum(), slope(phi) * (b - a).signum()));
            let steepness = slope(phi).abs().max(f64::MIN_POSITIVE);
            terms.push(log_normal(r * phi.cos(), r * phi.sin()) - steepness.ln());
            j += 1.0;
        }
    }
    log_sum_exp(terms.iter().copied()) - (4.0 * f64::from(ARMS)).ln()
}

/// log density of f.
fn log_normal(f0: f64, f1: f64) -> f64 {
    -0.5 * ((f0 - 1.0) / RADIAL).powi(2) - 0.5 * (f1 / TANGENTIAL).powi(2) - (TAU * RADIAL * TANGENTIAL).ln()
}

/// The circle [−π, π) cut where the slope changes sign: nowhere, or on both sides of its minimum.
fn monotone_pieces(r: f64, slope: impl Fn(f64) -> f64) -> Vec<[f64; 2]> {
    // The slope is least where r cos²φ + cos φ = r, below the axis.
    let lowest = -((-1.0 + (1.0 + 4.0 * r * r).sqrt()) / (2.0 * r)).clamp(-1.0, 1.0).acos();
    if slope(lowest) >= 0.0 {
        return vec![[-PI, PI]];
    }
    let falls = bisect(-PI, lowest, |phi| -slope(phi));
    let rises = bisect(lowest, 0.0, slope);
    vec![[-PI, falls], [falls, rises], [rises, PI]]
}

/// The root in [from, to] of a function that rises there, given with its slope: Newton's steps, and
/// a halving where a step would leave the bracket or gains too little.
fn root(mut from: f64, mut to: f64, f: impl Fn(f64) -> (f64, f64)) -> f64 {
    let mut at = 0.5 * (from + to);
    let mut last = to - from;
    // Halvings alone would need 60.
    for _ in 0..80 {
        let (value, slope) = f(at);
        if value < 0.0 {
            from = at;
        } else {
            to = at;
        }
        let newton = at - value / slope;
        let next =
            if newton > from && newton < to && (newton - at).abs() < 0.5 * last { newton } else { 0.5 * (from + to) };
        last = (next - at).abs();
        at = next;
        if last <= 4.0 * f64::EPSILON {
            break;
        }
    }
    at
}

/// The root in [from, to] of a function that rises there, to the last bit.
fn bisect(mut from: f64, mut to: f64, f: impl Fn(f64) -> f64) -> f64 {
    loop {
        let middle = 0.5 * (from + to);
        if middle <= from || middle >= to {
            return middle;
        }
        if f(middle) < 0.0 {
            from = middle;
        } else {
            to = middle;
        }
    }
}
