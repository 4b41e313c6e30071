//! Small matrices: the factors of one, by elimination with pivots in columns. One is factored for each row and step, and
//! nalgebra's would allocate each time.

/// P A = L U of a d × d matrix, row by row; the diagonal of L is 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Lu {
    d: usize,
    a: Vec<f64>,
    /// Which row was taken for row i.
    pivots: Vec<usize>,
}

impl Lu {
    /// Room for d × d numbers.
    pub fn new(d: usize) -> Self {
        Self { d, a: vec![0.0; d * d], pivots: vec![0; d] }
    }

    /// Factors the matrix whose entry in row r and column c is `entry(r, c)`; gives ln|det| and the determinant's sign: 0
    /// or NaN where it is singular or not finite.
    pub fn factor(&mut self, entry: impl Fn(usize, usize) -> f64) -> (f64, f64) {
        let d = self.d;
        for r in 0..d {
            (0..d).for_each(|c| self.a[r * d + c] = entry(r, c));
        }
        let (mut log_abs, mut sign) = (0.0, 1.0);
        for i in 0..d {
            let size = |r: usize| self.a[r * d + i].abs();
            let largest = (i + 1..d).fold(i, |best, r| if size(r) > size(best) { r } else { best });
            self.pivots[i] = largest;
            if largest != i {
                (0..d).for_each(|c| self.a.swap(i * d + c, largest * d + c));
                sign = -sign;
            }
            let pivot = self.a[i * d + i];
            // Zero and NaN stay what they are.
            sign *= if pivot == 0.0 { 0.0 } else { pivot / pivot.abs() };
            log_abs += pivot.abs().ln();
            for r in i + 1..d {
                let by = self.a[r * d + i] / pivot;
                self.a[r * d + i] = by;
                (i + 1..d).for_each(|c| self.a[r * d + c] -= by * self.a[i * d + c]);
            }
        }
        (log_abs, sign)
    }

    /// b ← A⁻¹ b.
    pub fn solve(&self, b: &mut [f64]) {
        let d = self.d;
        for i in 0..d {
            b.swap(i, self.pivots[i]);
        }
        for i in 1..d {
            b[i] -= (0..i).map(|c| self.a[i * d + c] * b[c]).sum::<f64>();
        }
        for i in (0..d).rev() {
            b[i] -= (i + 1..d).map(|c| self.a[i * d + c] * b[c]).sum::<f64>();
            b[i] /= self.a[i * d + i];
        }
    }

    /// b ← A⁻ᵀ b.
    pub fn solve_transposed(&self, b: &mut [f64]) {
        let d = self.d;
        for i in 0..d {
            b[i] -= (0..i).map(|r| self.a[r * d + i] * b[r]).sum::<f64>();
            b[i] /= self.a[i * d + i];
        }
        for i in (0..d).rev() {
            b[i] -= (i + 1..d).map(|r| self.a[r * d + i] * b[r]).sum::<f64>();
        }
        for i in (0..d).rev() {
            b.swap(i, self.pivots[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;
    use crate::rng::stream;

    #[test]
    fn factors_solve_both_systems_and_give_the_determinant() {
        let mut rng = stream(5, 0);
        for d in 1..=16 {
            let a: Vec<f64> = (0..d * d).map(|_| rng.random_range(-1.0..1.0)).collect();
            let x: Vec<f64> = (0..d).map(|_| rng.random_range(-1.0..1.0)).collect();
            let mut lu = Lu::new(d);
            let (log_abs, sign) = lu.factor(|r, c| a[r * d + c]);
            let (mut b, mut bt) = (vec![0.0; d], vec![0.0; d]);
            for r in 0..d {
                for c in 0..d {
                    b[r] += a[r * d + c] * x[c];
                    bt[c] += a[r * d + c] * x[r];
                }
            }
            lu.solve(&mut b);
            lu.solve_transposed(&mut bt);
            // Round-off times the condition of these matrices, which is below 1e4.
            for i in 0..d {
                assert!((b[i] - x[i]).abs() < 1e-11 && (bt[i] - x[i]).abs() < 1e-11, "d = {d}");
            }
            let dense = nalgebra::DMatrix::from_row_slice(d, d, &a).determinant();
            assert!((sign * log_abs.exp() - dense).abs() <= 1e-12 * dense.abs().max(1.0), "d = {d}");
        }
    }

    #[test]
    fn a_singular_matrix_has_no_sign() {
        assert_eq!(Lu::new(2).factor(|r, c| [[1.0, 2.0], [2.0, 4.0]][r][c]).1, 0.0);
        assert!(Lu::new(2).factor(|_, _| f64::NAN).1.is_nan());
    }
}
