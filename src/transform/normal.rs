//! The standard normal distribution function and its inverse, to round-off in both tails.
//!
//! Tails are kept as logarithms: Φ(−40) is below the least f64, ln Φ(−40) = −804.6 is an ordinary number. The
//! upper tail is the lower one of −z, so that 1 − Φ is never formed.

use std::f64::consts::LN_2;

pub(crate) use crate::stats::normal_cdf as cdf;

/// ½ ln 2π.
pub(crate) const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;
/// Below this the asymptotic series is at round-off, and erfc not yet at its underflow.
const ASYMPTOTIC: f64 = -20.0;

/// ln φ(z).
pub(crate) fn log_pdf(z: f64) -> f64 {
    -0.5 * z * z - HALF_LN_TAU
}

/// ln Φ(z).
pub(crate) fn log_cdf(z: f64) -> f64 {
    if z > 0.0 {
        (-cdf(-z)).ln_1p()
    } else if z > ASYMPTOTIC {
        cdf(z).ln()
    } else {
        log_pdf(z) - log_mills(z)
    }
}

/// ln(φ(z)/Φ(z)) for z ≤ [`ASYMPTOTIC`]: ln(−z) − ln(1 − 1/z² + 3/z⁴ − 15/z⁶ + …).
/// Ref: Abramowitz & Stegun 26.2.12; the term left out, 2 027 025/z¹⁶, is below 4e-15 at z = −20.
fn log_mills(z: f64) -> f64 {
    let r = 1.0 / (z * z);
    let series = [-135_135.0, 10_395.0, -945.0, 105.0, -15.0, 3.0, -1.0].into_iter().fold(0.0, |sum, c| (sum + c) * r);
    (-z).ln() - series.ln_1p()
}

/// The z with ln Φ(z) = `log_p`, for log_p ≤ ln ½ (the lower half).
///
/// A rational approximation, then Newton's method on ln Φ, which is concave: each step doubles the digits.
pub(crate) fn quantile_of_log(log_p: f64) -> f64 {
    if log_p == f64::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    let mut z = guess(log_p);
    for _ in 0..8 {
        let log_cdf = log_cdf(z);
        // Φ/φ.
        let mills = if z > ASYMPTOTIC { (log_cdf - log_pdf(z)).exp() } else { (-log_mills(z)).exp() };
        let step = (log_cdf - log_p) * mills;
        z -= step;
        // The next step would be of the order of step² · |z|.
        if step.abs() <= 1e-9 * (1.0 + z.abs()) || !z.is_finite() {
            break;
        }
    }
    z
}

/// The first guess: within 5e-4 where p is above 1e-300 or so, and the leading terms of the series beyond.
/// Ref: Abramowitz & Stegun 26.2.23.
fn guess(log_p: f64) -> f64 {
    if log_p < -600.0 {
        // −z²/2 − ln(−z) − ½ ln 2π = ln p, once iterated.
        let first = (-2.0 * (log_p + HALF_LN_TAU)).sqrt();
        return -(-2.0 * (log_p + HALF_LN_TAU + first.ln())).sqrt();
    }
    let t = (-2.0 * log_p.min(-LN_2)).sqrt();
    let top = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let bottom = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    top / bottom - t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_undoes_the_distribution_function_far_into_the_tail() {
        // ln Φ is right to a few ulp; its condition as a function of z costs |z| φ/Φ · z / ln Φ ≈ 2 of them.
        for i in 0..4000 {
            let z = -f64::from(i) * 0.0125;
            let back = quantile_of_log(log_cdf(z));
            assert!((back - z).abs() <= 4e-15 * (1.0 + z.abs()), "{z}: {back}");
        }
        for z in [-1e3, -1e5, -1e10, -1e100] {
            assert!((quantile_of_log(log_cdf(z)) / z - 1.0).abs() < 4e-16, "{z}");
        }
    }

    #[test]
    fn the_tails_have_known_values() {
        // mpmath at 40 digits: log(erfc(−z/√2)/2).
        let known = [
            (-1.0, -1.841_021_645_009_263_6),
            (-10.0, -53.231_285_150_512_47),
            (-19.999, -203.897_106_116_797_06),
            (-40.0, -804.608_442_013_753_8),
            (3.0, -0.001_350_809_964_748_193_8),
        ];
        for (z, log_p) in known {
            assert!((log_cdf(z) / log_p - 1.0).abs() < 3e-15, "{z}: {}", log_cdf(z));
        }
        // The two formulas meet.
        let (below, above) = (log_cdf(ASYMPTOTIC - 1e-12), log_cdf(ASYMPTOTIC + 1e-12));
        assert!((above - below - 20.05 * 2e-12).abs() < 1e-12, "{}", above - below);
    }
}
