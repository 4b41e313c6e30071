//! Distribution functions, quantiles and distances that verdicts need.
//!
//! χ²: P(d/2, x/2), by the series γ(a, x) = xᵃ e⁻ˣ Σ xᵏ / (a (a+1) … (a+k)), all of whose terms are positive
//! (Abramowitz & Stegun, 6.5.29 and 26.4.19). Student's t has a finite sum for whole degrees of freedom (26.7.3 and
//! 26.7.4).

mod dominance;
mod sample;

use std::f64::consts::{FRAC_1_SQRT_2, PI};

pub use dominance::{Dominance, Weighted};
pub use sample::{Sample, counts_by_weight, effective, weighted_mean_and_se};

/// The distribution function of χ² with d degrees of freedom.
#[derive(Clone, Copy, Debug)]
pub struct ChiSquared {
    a: f64,
    log_gamma: f64,
}

impl ChiSquared {
    /// With `d` degrees of freedom, d ≥ 1.
    pub fn new(d: usize) -> Self {
        // Γ(a + 1) = a Γ(a) from Γ(1) = 1 or Γ(1/2) = √π: here ln Γ(a + 1).
        let (start, first) = if d.is_multiple_of(2) { (0.0, 1.0) } else { (0.5 * PI.ln(), 0.5) };
        let a = d as f64 / 2.0;
        let steps = (a - first).round() as usize + 1;
        let log_gamma = start + (0..steps).map(|k| (first + k as f64).ln()).sum::<f64>();
        Self { a, log_gamma }
    }

    /// P(χ² ≤ `square`).
    pub fn at(&self, square: f64) -> f64 {
        let (a, x) = (self.a, 0.5 * square);
        if x <= 0.0 {
            return 0.0;
        }
        // The tail beyond is below 1e-15.
        if x > a + 10.0 * a.sqrt() + 60.0 {
            return 1.0;
        }
        let (mut term, mut sum, mut k) = (1.0, 1.0, a);
        while term > 1e-17 * sum {
            k += 1.0;
            term *= x / k;
            sum += term;
        }
        (sum * (a * x.ln() - x - self.log_gamma).exp()).min(1.0)
    }
}

/// Φ(z), to a few units in the last place in both tails.
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * FRAC_1_SQRT_2)
}

/// Kolmogorov and Smirnov's D = sup |Fₙ − F| of `values`, which are sorted; NaN of none.
pub fn ks_distance(values: &mut [f64], cdf: impl Fn(f64) -> f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len() as f64;
    let gap = |(i, v): (usize, &f64)| {
        let f = cdf(*v);
        ((i + 1) as f64 / n - f).max(f - i as f64 / n)
    };
    values.iter().enumerate().map(gap).fold(f64::NAN, f64::max)
}

/// The probability that D of `n` exact draws is larger.  Ref: Stephens (1970), whose correction makes Kolmogorov's
/// limit right to some 1e-3 from n = 5 on.
pub fn ks_p_value(d: f64, n: usize) -> f64 {
    let root = (n as f64).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * d;
    // The alternating sum converges slowly below; there p is 1 to 1e-7.
    if lambda < 0.27 {
        return 1.0;
    }
    let term = |k: i32| f64::from(1 - 2 * ((k + 1) % 2)) * (-2.0 * f64::from(k * k) * lambda * lambda).exp();
    (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

/// The distance that D of `n` exact draws exceeds with probability `level`, by bisection; at most 1.
pub fn ks_critical(level: f64, n: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if ks_p_value(middle, n) > level { low = middle } else { high = middle }
    }
    high
}

/// Mean and standard error of all `values`; NaN where one of them is not finite.
pub fn mean_and_se(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Mean and standard deviation (over n) of the finite `values`, each to the round-off of the values; the deviation is 0
/// where all are equal, and above 0 where two differ. NaN of none.
///
/// Sums of squares lose a small spread on a large mean, and leave the range of an f64 beyond 1e±154. So the values are
/// scaled by a power of two, counted from the middle of their range, and divided by its half.
pub fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    weighted_moments(values.map(|v| (v, 1.0)))
}

/// As [`moments`], of values with weights above 0.
pub fn weighted_moments(values: impl Iterator<Item = (f64, f64)> + Clone) -> (f64, f64) {
    let finite = || values.clone().filter(|(v, _)| v.is_finite());
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), (v, _)| (a.min(v), b.max(v)));
    if low > high {
        return (f64::NAN, f64::NAN);
    }
    if low == high {
        return (low, 0.0);
    }
    // A power of two changes no digit. Away from the ends of the range nothing below overflows or is subnormal.
    let unit = match low.abs().max(high.abs()) {
        most if most > 1e300 => 0.25,
        most if most < 1e-200 => 2f64.powi(600),
        _ => 1.0,
    };
    let (low, high) = (unit * low, unit * high);
    let (centre, half) = (0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low);
    let shifted = || finite().map(|(v, w)| ((unit * v - centre) / half, w));
    let total = shifted().map(|(_, w)| w).sum::<f64>();
    let mean = shifted().map(|(u, w)| w * u).sum::<f64>() / total;
    let square = shifted().map(|(u, w)| w * (u - mean).powi(2)).sum::<f64>() / total;
    // Two numbers that differ have a deviation, if only the least that there is.
    let std = (half * square.sqrt() / unit).max(f64::from_bits(1));
    ((centre + half * mean) / unit, std)
}

/// The value below which the part `q` of the finite `values` lies; NaN of none.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    quantile_of(&sorted(values.iter().copied()), q).unwrap_or(f64::NAN)
}

/// The finite values, sorted.
pub(crate) fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut finite: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    finite.sort_unstable_by(f64::total_cmp);
    finite
}

/// The value of rank q (n − 1), rounded, of sorted ones; nothing of none.
pub(crate) fn quantile_of(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((q * last as f64).round() as usize).copied()
}

/// ln Σ eᵃ, from the largest, so that nothing overflows; NaN adds nothing. −∞ of none.
pub fn log_sum_exp(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let numbers = terms.filter(|a| !a.is_nan());
    let top = numbers.clone().fold(f64::NEG_INFINITY, f64::max);
    if top.is_infinite() { top } else { top + numbers.map(|a| (a - top).exp()).sum::<f64>().ln() }
}

/// How many of `n` rows may lie far out so that the others still locate the distribution: 5, or one in 500 where that
/// is more; of few rows one in 20; one at least.
pub fn few_of(n: usize) -> usize {
    5.max(n / 500).min(n / 20).max(1)
}

/// The parts of the values below and above which a robust deviation looks, and the normal's quantiles there.
const PARTS: [(f64, f64); 4] = [
    (0.25, 0.674_489_750_196_082),
    (0.1, 1.281_551_565_544_6),
    (0.05, 1.644_853_626_951_473),
    (0.01, 2.326_347_874_040_841),
];

/// The median of finite `values` and a deviation that [`few_of`] far values do not move: the greatest of
/// (q(1 − p) − q(p)) / 2z(p) over p = 1/4, 1/10, 1/20, 1/100, as far out as twice that many values lie beyond. For a
/// normal all of them are its deviation; quartiles alone would take a spike for the whole. 0 where nearly all values
/// are equal; the order of `values` is lost. NaN of none.
pub fn robust_moments(values: &mut [f64]) -> (f64, f64) {
    let n = values.len();
    if n == 0 {
        return (f64::NAN, f64::NAN);
    }
    let mut rank = |i: usize| *values.select_nth_unstable_by(i, f64::total_cmp).1;
    let median = rank((n - 1) / 2);
    let deviation = PARTS.into_iter().filter(|(part, _)| *part == 0.25 || part * n as f64 >= 2.0 * few_of(n) as f64);
    let deviation = deviation.map(|(part, z)| {
        let i = (part * n as f64) as usize;
        // Halves first: the range of f64 may be exceeded by the difference.
        (0.5 * rank(n - 1 - i) - 0.5 * rank(i)) / z
    });
    (median, deviation.fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn robust_moments_are_those_of_a_normal_and_blind_to_a_few_far_values() {
        // Exact quantiles of a normal, by bisection of its distribution function.
        let quantile = |p: f64| {
            let (mut low, mut high) = (-10.0, 10.0);
            for _ in 0..60 {
                let middle = 0.5 * (low + high);
                if normal_cdf(middle) < p { low = middle } else { high = middle }
            }
            low
        };
        for n in [40, 200, 3000] {
            let mut values: Vec<f64> =
                (0..n).map(|i| 7.0 + 2.0 * quantile((f64::from(i) + 0.5) / f64::from(n))).collect();
            let (median, deviation) = robust_moments(&mut values);
            // A rank of n values is a quantile to a part of 1/n, and the density at the outermost is 0.027 of that
            // at 0.
            assert!((median - 7.0).abs() < 6.0 / f64::from(n), "{n}: {median}");
            assert!((deviation / 2.0 - 1.0).abs() < 3.0 / f64::from(n).sqrt(), "{n}: {deviation}");
            let few = few_of(values.len());
            values.sort_unstable_by(f64::total_cmp);
            values[..few].fill(1e300);
            let (_, moved) = robust_moments(&mut values);
            // As many far values shift each rank by as many, of the twice as many that lie beyond.
            assert!(moved / deviation < 1.6, "{n}: {moved} for {deviation}");
        }
        // Mostly one value: no deviation. A spike and a slab: the slab's.
        let mut spike: Vec<f64> = (0..1000).map(|i| if i < 990 { 1.0 } else { f64::from(i) }).collect();
        assert_eq!(robust_moments(&mut spike), (1.0, 0.0));
        let mut slab: Vec<f64> = (0..1000).map(|i| if i < 600 { 1e-6 * f64::from(i) } else { f64::from(i) }).collect();
        assert!(robust_moments(&mut slab).1 > 100.0);
    }

    #[test]
    fn the_distribution_functions_meet_the_tables() {
        // χ² with 2 degrees of freedom is exponential; the others are Abramowitz & Stegun, table 26.8, to its digits.
        for x in [0.01, 1.0, 9.0, 60.0] {
            assert!((ChiSquared::new(2).at(x) - (1.0 - (-0.5 * x).exp())).abs() < 1e-14);
        }
        for (d, x, p) in [(1, 3.84146, 0.95), (3, 7.81473, 0.95), (10, 18.3070, 0.95), (100, 124.342, 0.95)] {
            assert!((ChiSquared::new(d).at(x) - p).abs() < 1e-5, "{d}: {}", ChiSquared::new(d).at(x));
        }
        assert_eq!(ChiSquared::new(5).at(0.0), 0.0);
        assert_eq!(ChiSquared::new(5).at(1e300), 1.0);
        for (z, p) in [(-1.959_963_984_540_054, 0.025), (0.0, 0.5), (1.0, 0.841_344_746_068_542_9)] {
            assert!((normal_cdf(z) - p).abs() < 1e-14, "{z}: {}", normal_cdf(z));
        }
        // Kolmogorov's 5 and 1 per cent points.
        for (lambda, p) in [(1.3581, 0.05), (1.6276, 0.01)] {
            assert!((ks_p_value(lambda / 1e3, 1_000_000) - p).abs() < 1e-4, "{}", ks_p_value(lambda / 1e3, 1_000_000));
            assert!((ks_critical(p, 1_000_000) - lambda / 1e3).abs() < 1e-6, "{}", ks_critical(p, 1_000_000));
        }
    }

    #[test]
    fn moments_keep_their_digits_at_any_place_and_scale() {
        // 0, 1, …, 9 has the mean 4.5 and the variance 99/12.
        let std = (99f64 / 12.0).sqrt();
        let scales = [1e-320, 1e-300, 1e-200, 1e-9, 1.0, 1e9, 1e200, 1e307];
        for (scale, offset) in scales.map(|scale| (scale, 0.0)).into_iter().chain([
            (1.0, 1e9),
            (2f64.powi(-23), 1e9),
            (2.0, 9_007_199_254_740_992.0),
            (128.0, 1e18),
            (-1e-3, -1e12),
        ]) {
            let values = (0..10).map(|i| offset + scale * f64::from(i));
            let (mean, deviation) = moments(values.clone());
            // The values themselves are rounded to half a unit in the last place of the largest.
            let largest = values.fold(0.0, |most: f64, v| most.max(v.abs()));
            let round_off = (largest.next_up() - largest) + 4.0 * f64::EPSILON * scale.abs();
            assert!((mean - (offset + 4.5 * scale)).abs() <= round_off, "{scale} {offset}: {mean}");
            assert!((deviation - std * scale.abs()).abs() <= round_off, "{scale} {offset}: {deviation}");
        }
        // Opposite ends of the range; one far number; the two least numbers that differ; none that do.
        let (mean, deviation) = moments([-f64::MAX, f64::MAX].into_iter());
        assert!(mean == 0.0 && (deviation / f64::MAX - 1.0).abs() < 1e-15);
        let (mean, deviation) = moments((0..100).map(|i| if i == 7 { 1e300 } else { f64::from(i) }));
        assert!((mean / 1e298 - 1.0).abs() < 1e-14 && (deviation / (1e298 * 99f64.sqrt()) - 1.0).abs() < 1e-14);
        assert!(moments([1.0, 1f64.next_up()].into_iter()).1 > 0.0 && moments([0.0, 5e-324].into_iter()).1 > 0.0);
        assert_eq!(moments([0.1; 7].into_iter()), (0.1, 0.0));
        assert_eq!(moments([2.0, f64::NAN, f64::INFINITY].into_iter()), (2.0, 0.0));
        assert!(moments(std::iter::empty()).0.is_nan());
    }

    #[test]
    fn distances_and_quantiles_of_small_samples_are_those_by_hand() {
        let uniform = |v: f64| v.clamp(0.0, 1.0);
        assert!((ks_distance(&mut [0.9, 0.1], uniform) - 0.4).abs() < 1e-15);
        assert!(ks_distance(&mut [], uniform).is_nan());
        assert_eq!(quantile(&[3.0, f64::NAN, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 1.0), 3.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_sum_of_exponentials_has_no_overflow_and_nan_adds_nothing() {
        let sum = |terms: &[f64]| log_sum_exp(terms.iter().copied());
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for shift in [0.0, -1e3, 1e3, 1e300] {
            let found = sum(&[shift, nan, shift, -inf]);
            assert!((found - (shift + std::f64::consts::LN_2)).abs() <= f64::EPSILON * shift.abs().max(1.0), "{found}");
        }
        // The sum of a number and NaN, in either order, is that of the number alone.
        assert_eq!((sum(&[-0.7, nan]), sum(&[nan, -0.7])), (-0.7, -0.7));
        assert_eq!((sum(&[]), sum(&[nan]), sum(&[-inf, -inf]), sum(&[inf, 1.0])), (-inf, -inf, -inf, inf));
    }
}
