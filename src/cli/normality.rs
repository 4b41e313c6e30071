//! How far latents are from a standard normal, in one number.
//!
//! |z|² of a d-dimensional standard normal follows χ²_d. The distance is Kolmogorov and Smirnov's
//! D = sup |F_n − F|, between 0 and 1; of n exact draws it stays below 1.358/√n in 95 of 100 cases, and
//! that is its noise floor. The energy distance would see every departure, but its cost grows like n².
//! What the length of z does not show, means and scales of single columns do; they are printed beside it.
//!
//! F(x) = P(d/2, x/2), by the series γ(a, x) = xᵃ e⁻ˣ Σ xᵏ / (a (a+1) … (a+k)), all of whose terms are
//! positive. Ref: Abramowitz & Stegun, 6.5.29 and 26.4.19; Smirnov (1948) for the quantile.

/// D of the finite rows of `z` (`[n, d]`), and its noise floor.
pub fn distance(z: &[f64], d: usize) -> (f64, f64) {
    let square = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>();
    let mut squares: Vec<f64> = z.chunks_exact(d).map(square).filter(|s| s.is_finite()).collect();
    squares.sort_unstable_by(f64::total_cmp);
    let n = squares.len() as f64;
    let cdf = ChiSquared::new(d);
    let gap = |(i, s): (usize, &f64)| {
        let f = cdf.at(*s);
        ((i + 1) as f64 / n - f).max(f - i as f64 / n)
    };
    (squares.iter().enumerate().map(gap).fold(0.0, f64::max), 1.358 / n.sqrt())
}

/// The distribution function of χ² with d degrees of freedom.
struct ChiSquared {
    a: f64,
    log_gamma: f64,
}

impl ChiSquared {
    fn new(d: usize) -> Self {
        // Γ(a + 1) = a Γ(a) from Γ(1) = 1 or Γ(1/2) = √π: here ln Γ(a + 1).
        let (start, first) = if d.is_multiple_of(2) { (0.0, 1.0) } else { (0.5 * std::f64::consts::PI.ln(), 0.5) };
        let a = d as f64 / 2.0;
        let steps = (a - first).round() as usize + 1;
        let log_gamma = start + (0..steps).map(|k| (first + k as f64).ln()).sum::<f64>();
        Self { a, log_gamma }
    }

    fn at(&self, square: f64) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use cnf::flow::StandardNormal;

    #[test]
    fn the_distribution_function_meets_the_tables() {
        // χ² with 2 degrees of freedom is exponential; the others are Abramowitz & Stegun, table 26.8, to its digits.
        for x in [0.01, 1.0, 9.0, 60.0] {
            assert!((ChiSquared::new(2).at(x) - (1.0 - (-0.5 * x).exp())).abs() < 1e-14);
        }
        for (d, x, p) in [(1, 3.84146, 0.95), (3, 7.81473, 0.95), (10, 18.3070, 0.95), (100, 124.342, 0.95)] {
            assert!((ChiSquared::new(d).at(x) - p).abs() < 1e-5, "{d}: {}", ChiSquared::new(d).at(x));
        }
        assert_eq!(ChiSquared::new(5).at(0.0), 0.0);
        assert_eq!(ChiSquared::new(5).at(1e300), 1.0);
    }

    #[test]
    fn normal_draws_lie_at_the_floor_and_scaled_ones_beyond() {
        for d in [1, 2, 43] {
            let mut z = StandardNormal::new(d).draw(4000, &mut cnf::rng::stream(1, 2));
            let (near, floor) = distance(&z, d);
            assert!(near < 1.5 * floor, "{d}: {near} above {floor}");
            z.iter_mut().for_each(|v| *v *= 1.1);
            assert!(distance(&z, d).0 > floor, "{d}");
        }
    }
}
