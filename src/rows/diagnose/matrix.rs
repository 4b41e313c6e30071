//! The linear algebra of the checks: orthonormal columns, and the axes of a small covariance.

/// Columns that grow into an orthonormal set, each beside how it is made of those before.
#[derive(Default)]
pub(super) struct Basis {
    /// Orthonormal, each `[n]`.
    q: Vec<Vec<f64>>,
    /// For each of them the coordinates of its own column on all up to itself.
    r: Vec<Vec<f64>>,
}

impl Basis {
    /// What is left of a column outside of the span, and its coordinates inside.
    pub fn split(&self, column: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut rest, mut inside) = (column.to_vec(), vec![0.0; self.q.len()]);
        // Twice is enough.  Ref: Giraud, Langou & Rozloznik (2005).
        for _ in 0..2 {
            for (q, c) in self.q.iter().zip(&mut inside) {
                let dot: f64 = q.iter().zip(&rest).map(|(a, b)| a * b).sum();
                rest.iter_mut().zip(q).for_each(|(x, q)| *x -= dot * q);
                *c += dot;
            }
        }
        (rest, inside)
    }

    /// Adds a column, given as [`Basis::split`] gives it; what is left is not 0.
    pub fn push(&mut self, rest: Vec<f64>, mut inside: Vec<f64>) {
        let length = norm(&rest);
        inside.push(length);
        self.q.push(rest.into_iter().map(|x| x / length).collect());
        self.r.push(inside);
    }

    /// The weights of the columns that were added, in their order, that make the vector with these coordinates.
    pub fn weights(&self, inside: &[f64]) -> Vec<f64> {
        let mut weights = inside.to_vec();
        for k in (0..weights.len()).rev() {
            weights[k] /= self.r[k][k];
            let w = weights[k];
            (0..k).for_each(|i| weights[i] -= w * self.r[k][i]);
        }
        weights
    }
}

pub(super) fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// The eigenvectors of a symmetric matrix `[p, p]`, the largest eigenvalue first, by Jacobi's rotations.
pub(super) fn axes(mut a: Vec<f64>, p: usize) -> Vec<Vec<f64>> {
    let mut v: Vec<f64> = (0..p * p).map(|i| if i % (p + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let scale: f64 = a.iter().map(|x| x * x).sum::<f64>();
    for _ in 0..60 {
        let off: f64 = (0..p * p).filter(|i| i % (p + 1) != 0).map(|i| a[i] * a[i]).sum();
        // Off the diagonal only round-off of the squares is left.
        if off <= 1e-30 * scale {
            break;
        }
        for i in 0..p {
            for j in i + 1..p {
                let (x, y, z) = (a[i * p + i], a[j * p + j], a[i * p + j]);
                if z == 0.0 {
                    continue;
                }
                let theta = 0.5 * (y - x) / z;
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let t = if theta == 0.0 { 1.0 } else { t };
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for k in 0..p {
                    let (x, y) = (a[k * p + i], a[k * p + j]);
                    (a[k * p + i], a[k * p + j]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..p {
                    let (x, y) = (a[i * p + k], a[j * p + k]);
                    (a[i * p + k], a[j * p + k]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..p {
                    let (x, y) = (v[k * p + i], v[k * p + j]);
                    (v[k * p + i], v[k * p + j]) = (c * x - s * y, s * x + c * y);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..p).collect();
    order.sort_by(|i, j| a[j * p + j].total_cmp(&a[i * p + i]));
    order.into_iter().map(|i| (0..p).map(|k| v[k * p + i]).collect()).collect()
}
