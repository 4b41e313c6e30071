//! Circles about the origin, blurred by Gaussian noise.
//!
//! A circle of radius R under noise σ has p(x) = exp(−(r² + R²)/2σ²) I₀(rR/σ²) / 2πσ², r = |x|; with the
//! scaled e⁻ᵘI₀(u) this is exp(−(r − R)²/2σ²) e⁻ᵘI₀(u) / 2πσ², u = rR/σ², which never overflows.

use std::f64::consts::{PI, TAU};

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::mixture::log_sum_exp;
use crate::Rng;

/// Draws n rows `[n, 2]`: a radius, an angle, the noise `sigma`.
pub(super) fn sample(radii: &[f64], sigma: f64, n: usize, rng: &mut Rng) -> Vec<f64> {
    let mut rows = Vec::with_capacity(2 * n);
    for _ in 0..n {
        let radius = radii[rng.random_range(0..radii.len())];
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        for v in [cos, sin] {
            rows.push(radius * v + sigma * rng.sample::<f64, _>(StandardNormal));
        }
    }
    rows
}

/// log p in nats of the equal mixture of the circles.
pub(super) fn log_prob(radii: &[f64], sigma: f64, x: &[f64]) -> f64 {
    let r = x[0].hypot(x[1]);
    let s2 = sigma * sigma;
    let term = |&radius: &f64| -0.5 * (r - radius).powi(2) / s2 + scaled_i0(r * radius / s2).ln();
    log_sum_exp(radii.iter().map(term)) - (radii.len() as f64 * TAU * s2).ln()
}

/// e⁻ᵘ I₀(u), the modified Bessel function of order 0 scaled, for u ≥ 0.
///
/// Below 25 the power series Σ (u²/4)ᵏ/k!², whose terms are all positive; above it Hankel's asymptotic
/// series (Abramowitz & Stegun 9.7.1), whose smallest term is then about e^(−2u), below round-off.
pub fn scaled_i0(u: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    if u < 25.0 {
        let quarter = 0.25 * u * u;
        let mut k = 1.0;
        while term > sum * f64::EPSILON * 0.1 {
            term *= quarter / (k * k);
            sum += term;
            k += 1.0;
        }
        return sum * (-u).exp();
    }
    for k in 1..30 {
        let odd = f64::from(2 * k - 1);
        term *= odd * odd / (8.0 * u * f64::from(k));
        sum += term;
        if term < f64::EPSILON * 0.1 {
            break;
        }
    }
    sum / (2.0 * PI * u).sqrt()
}
