//! A small field with parameters, its pull-back by hand, and a scalar integrand along it.

use cnflow_solvers::{At, Lanes, LanesMut, VectorField, Vjp};

/// f_r(t, y) = sin(Σ_c θ_rc y_c + t), rows r and columns c of a d×d matrix: smooth, coupled, nonautonomous.
pub struct Sine<'a> {
    pub theta: &'a [f64],
    pub dim: usize,
}

impl Sine<'_> {
    fn angle(&self, r: usize, l: usize, at: At<'_>, y: Lanes<'_, f64>) -> f64 {
        (0..self.dim).map(|c| self.theta[r * self.dim + c] * y.row(c)[l]).sum::<f64>() + at.t[l]
    }
}

impl VectorField<f64> for Sine<'_> {
    fn dim(&self) -> usize {
        self.dim
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
        for l in 0..y.lanes() {
            for r in 0..self.dim {
                out.row_mut(r)[l] = self.angle(r, l, at, y).sin();
            }
        }
    }
}

impl Vjp<f64> for Sine<'_> {
    fn grad_len(&self) -> usize {
        self.theta.len()
    }
    fn vjp(&mut self, at: At<'_>, y: Lanes<'_, f64>, a: Lanes<'_, f64>, mut gy: LanesMut<'_, f64>, gp: &mut [f64]) {
        for l in 0..y.lanes() {
            for c in 0..self.dim {
                gy.row_mut(c)[l] = 0.0;
            }
            for r in 0..self.dim {
                let s = a.row(r)[l] * self.angle(r, l, at, y).cos();
                for c in 0..self.dim {
                    gy.row_mut(c)[l] += s * self.theta[r * self.dim + c];
                    gp[r * self.dim + c] += s * y.row(c)[l];
                }
            }
        }
    }
}

/// The divergence of [`Sine`]: Σ_r θ_rr cos(angle_r).
pub struct Divergence<'a>(pub Sine<'a>);

impl VectorField<f64> for Divergence<'_> {
    fn dim(&self) -> usize {
        self.0.dim
    }
    fn out_dim(&self) -> usize {
        1
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
        let d = self.0.dim;
        for l in 0..y.lanes() {
            out.row_mut(0)[l] = (0..d).map(|r| self.0.theta[r * d + r] * self.0.angle(r, l, at, y).cos()).sum();
        }
    }
}

impl Vjp<f64> for Divergence<'_> {
    fn grad_len(&self) -> usize {
        self.0.theta.len()
    }
    fn vjp(&mut self, at: At<'_>, y: Lanes<'_, f64>, a: Lanes<'_, f64>, mut gy: LanesMut<'_, f64>, gp: &mut [f64]) {
        let d = self.0.dim;
        for l in 0..y.lanes() {
            for c in 0..d {
                gy.row_mut(c)[l] = 0.0;
            }
            for r in 0..d {
                let angle = self.0.angle(r, l, at, y);
                let diagonal = self.0.theta[r * d + r];
                gp[r * d + r] += a.row(0)[l] * angle.cos();
                let s = -a.row(0)[l] * diagonal * angle.sin();
                for c in 0..d {
                    gy.row_mut(c)[l] += s * self.0.theta[r * d + c];
                    gp[r * d + c] += s * y.row(c)[l];
                }
            }
        }
    }
}

/// Numbers in (−1, 1) from a fixed sequence: tests need variety, not randomness.
pub fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// Runs `f` in a pool of so many threads.
pub fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}
