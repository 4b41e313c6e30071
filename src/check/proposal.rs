//! A density near that of some points, broad enough to weigh them: half a sum of kernels, half one broad Gaussian.
//!
//! q(x) = ½ (1/K) Σ N(x; x_k, h² S) + ½ N(x; m, w² S), with S the points' covariance. The kernels follow the modes; the
//! Gaussian keeps the weights p/q bounded where p reaches beyond them. Ref: Silverman (1986), 4.3 for h;
//! Hesterberg (1995) for the defensive part.

use rand::Rng as _;
use rand_distr::StandardNormal;

use crate::Rng;

/// Kernels at most: the first points.
const KERNELS: usize = 1000;
/// h is Silverman's, times this: too broad costs draws, too narrow breaks weights.
const BROADER: f64 = 1.0;
/// w.
const WIDE: f64 = 1.5;

/// The density, with all that draws and scores need.
pub struct Proposal {
    d: usize,
    centres: Vec<f64>,
    mean: Vec<f64>,
    /// The lower Cholesky factor of S, row-major.
    factor: Vec<f64>,
    h: f64,
}

impl Proposal {
    /// Around the rows of `x`, `[n, d]`; none where their covariance has no inverse.
    pub fn around(x: &[f64], d: usize) -> Option<Self> {
        let n = x.len() / d;
        let moments = |j: usize| crate::stats::moments(x.iter().skip(j).step_by(d).copied());
        let (mean, std): (Vec<f64>, Vec<f64>) = (0..d).map(moments).unzip();
        if !std.iter().all(|s| *s > 0.0) {
            return None;
        }
        // Of correlations, which are of order 1 in any unit of the columns.
        let mut s = vec![0.0; d * d];
        for row in x.chunks_exact(d) {
            let z: Vec<f64> = (0..d).map(|j| (row[j] - mean[j]) / std[j]).collect();
            for i in 0..d {
                (0..=i).for_each(|j| s[i * d + j] += z[i] * z[j] / n as f64);
            }
        }
        let factor = cholesky(s, d)?.into_iter().enumerate().map(|(i, l)| l * std[i / d]).collect();
        let kernels = n.min(KERNELS);
        let power = 1.0 / (d as f64 + 4.0);
        let h = BROADER * (4.0 / ((d as f64 + 2.0) * kernels as f64)).powf(power);
        Some(Self { d, centres: x[..kernels * d].to_vec(), mean, factor, h })
    }

    /// n draws, every second one from the kernels, `[n, d]`.
    pub fn draw(&self, n: usize, rng: &mut Rng) -> Vec<f64> {
        let d = self.d;
        let kernels = self.centres.len() / d;
        let mut x = Vec::with_capacity(n * d);
        for k in 0..n {
            let (centre, width) = match k % 2 {
                0 => (&self.centres[rng.random_range(0..kernels) * d..][..d], self.h),
                _ => (&self.mean[..], WIDE),
            };
            let e: Vec<f64> = (0..d).map(|_| rng.sample(StandardNormal)).collect();
            x.extend((0..d).map(|i| centre[i] + width * (0..=i).map(|j| self.factor[i * d + j] * e[j]).sum::<f64>()));
        }
        x
    }

    /// log q of the rows of `x`.
    pub fn log_prob(&self, x: &[f64]) -> Vec<f64> {
        let d = self.d;
        let norm: f64 = (0..d).map(|i| self.factor[i * d + i].ln() + 0.5 * std::f64::consts::TAU.ln()).sum();
        // In whitened coordinates both parts are round.
        let whiten = |row: &[f64]| self.solve(row);
        let centres: Vec<Vec<f64>> = self.centres.chunks_exact(d).map(whiten).collect();
        let mean = vec![0.0; d];
        let square = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let log_of =
            |part: f64, width: f64, square: f64| part.ln() - d as f64 * width.ln() - 0.5 * square / (width * width);
        let one = |row: &[f64]| {
            let y = whiten(row);
            let share = 0.5 / centres.len() as f64;
            let terms = centres.iter().map(|c| log_of(share, self.h, square(&y, c)));
            let terms: Vec<f64> = terms.chain([log_of(0.5, WIDE, square(&y, &mean))]).collect();
            let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            top + terms.iter().map(|t| (t - top).exp()).sum::<f64>().ln() - norm
        };
        x.chunks_exact(d).map(one).collect()
    }

    /// L⁻¹ (row − mean): from 0 a column far off would lose its digits.
    fn solve(&self, row: &[f64]) -> Vec<f64> {
        let mut y: Vec<f64> = row.iter().zip(&self.mean).map(|(x, m)| x - m).collect();
        for i in 0..self.d {
            let known: f64 = (0..i).map(|j| self.factor[i * self.d + j] * y[j]).sum();
            y[i] = (y[i] - known) / self.factor[i * self.d + i];
        }
        y
    }
}

/// The lower factor of a matrix of which only the lower half is read; none where it is not positive definite.
fn cholesky(mut s: Vec<f64>, d: usize) -> Option<Vec<f64>> {
    for i in 0..d {
        for j in 0..=i {
            let sum = s[i * d + j] - (0..j).map(|k| s[i * d + k] * s[j * d + k]).sum::<f64>();
            if i == j {
                if sum.is_nan() || sum <= 1e-12 * s[i * d + i].abs() {
                    return None;
                }
                s[i * d + i] = sum.sqrt();
            } else {
                s[i * d + j] = sum / s[j * d + j];
            }
        }
    }
    Some(s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    #[test]
    fn its_draws_have_its_density() {
        // ∫ N(x; 0, I) = 1 by its own weights: a wrong factor, width or share would show.
        let d = 3;
        let points = crate::transform::StandardNormal::new(d).draw(200, &mut stream(1, 1));
        let stretched: Vec<f64> =
            points.chunks_exact(d).flat_map(|z| [z[0], 0.5 * z[0] + z[1], 2.0 * z[2] - z[1]]).collect();
        let proposal = Proposal::around(&stretched, d).unwrap();
        let x = proposal.draw(20_000, &mut stream(1, 2));
        let target = |x: &[f64]| {
            let z = [x[0], x[1] - 0.5 * x[0], 0.5 * (x[2] + x[1] - 0.5 * x[0])];
            -0.5 * z.iter().map(|z| z * z + std::f64::consts::TAU.ln()).sum::<f64>() - 2f64.ln()
        };
        let log_q = proposal.log_prob(&x);
        let weights: Vec<f64> = x.chunks_exact(d).zip(&log_q).map(|(x, q)| (target(x) - q).exp()).collect();
        let (mean, se) = crate::stats::mean_and_se(&weights);
        assert!(se < 0.02 && (mean - 1.0).abs() < 4.0 * se, "{mean} ± {se}");
        assert!(Proposal::around(&[1.0, 2.0, 1.0, 2.0, 1.0, 2.0], 2).is_none());
        // In another unit, and far from 0, the density is the same but for the volume of the unit.
        for (scale, offset) in [(1e200, 0.0), (1e-200, 0.0), (1e-3, 1e9)] {
            let moved = |x: &[f64]| -> Vec<f64> { x.iter().map(|v| offset + scale * v).collect() };
            let there = Proposal::around(&moved(&stretched), d).unwrap().log_prob(&moved(&x[..300]));
            let volume = 3.0 * f64::ln(scale);
            // Rows rounded to 1e-7 of 1e-3 move log q by 1e-4 of the distance in kernels of width 0.4.
            assert!(there.iter().zip(&log_q).all(|(a, b)| (a + volume - b).abs() < 0.02), "{scale:e} {offset:e}");
        }
    }
}
