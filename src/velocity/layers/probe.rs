//! Hutchinson's probes as a pure function of (key, probe, coordinate): no state, so no order of evaluation.

use crate::rng::mix;
use crate::velocity::Noise;

/// 64 well-mixed bits of (key, probe, coordinate, lap).
fn bits(key: u64, probe: usize, i: usize, lap: u64) -> u64 {
    mix(mix(mix(mix(key) ^ probe as u64) ^ i as u64) ^ lap)
}

/// Coordinate `i` of probe number `probe` of the sample with this key.
pub fn probe(noise: Noise, key: u64, probe: usize, i: usize) -> f64 {
    match noise {
        Noise::Rademacher => rademacher(key, probe, i),
        Noise::Gaussian => gaussian(key, probe, i),
    }
}

/// ±1 with equal probability.
pub fn rademacher(key: u64, probe: usize, i: usize) -> f64 {
    if bits(key, probe, i, 0) >> 63 == 0 { 1.0 } else { -1.0 }
}

/// Standard normal, by the transform of Box and Muller (1958).
pub fn gaussian(key: u64, probe: usize, i: usize) -> f64 {
    // 53 bits, on (0, 1] and on [0, 1).
    let unit = |word: u64| (word >> 11) as f64 / (1u64 << 53) as f64;
    let u = 1.0 - unit(bits(key, probe, i, 1));
    let angle = std::f64::consts::TAU * unit(bits(key, probe, i, 2));
    (-2.0 * u.ln()).sqrt() * angle.cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_zero_mean_unit_variance_and_no_correlation() {
        const N: usize = 20_000;
        for noise in [Noise::Rademacher, Noise::Gaussian] {
            // Neighbours in key, in probe and in coordinate.
            for step in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
                let draw = |n: usize| probe(noise, (n * step.0) as u64, n * step.1, n * step.2);
                let mean = (0..N).map(draw).sum::<f64>() / N as f64;
                let variance = (0..N).map(|n| draw(n).powi(2)).sum::<f64>() / N as f64;
                let next = (0..N).map(|n| draw(n) * draw(n + 1)).sum::<f64>() / N as f64;
                // Five standard errors: 1/√N of a mean and of a product, √(2/N) of a squared normal.
                let error = 5.0 / (N as f64).sqrt();
                assert!(mean.abs() < error && next.abs() < error, "{noise:?} {step:?}: {mean} {next}");
                assert!((variance - 1.0).abs() < 1.5 * error, "{noise:?} {step:?}: {variance}");
            }
        }
    }
}
