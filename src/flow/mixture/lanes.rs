//! Sixteen rows at a time through all components.
//!
//! uₖ = Lₖ⁻¹ (x − mₖ) by forward substitution, ln wₖ N = cₖ − ½ |uₖ|². Rows lie across the lanes, so the compiler
//! makes vectors of them, and no row meets another.

use super::Mixture;

/// Rows in a block.
pub(super) const LANES: usize = 16;

/// One number for each row of a block.
pub(super) type Lane = [f64; LANES];

/// Rows, and what the components say of them.
pub(super) struct Block {
    dim: usize,
    rows: usize,
    /// `[d][lane]`; zeros in the lanes not in use.
    pub(super) x: Vec<Lane>,
    /// Scratch, `[d][lane]`.
    pub(super) u: Vec<Lane>,
    /// `[K][lane]`: ln wₖ N(x; mₖ, Lₖ Lₖᵀ).
    pub(super) logs: Vec<Lane>,
    log_probs: Lane,
}

impl Block {
    pub(super) fn new(dim: usize, components: usize) -> Self {
        let zeros = [0.0; LANES];
        let (x, u, logs) = (vec![zeros; dim], vec![zeros; dim], vec![zeros; components]);
        Self { dim, rows: 0, x, u, logs, log_probs: zeros }
    }

    /// How many rows it holds.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// log p of its rows.
    pub(super) fn log_probs(&self) -> &[f64] {
        &self.log_probs[..self.rows]
    }

    /// Takes up to [`LANES`] rows and evaluates all components.
    pub(super) fn evaluate(&mut self, mixture: &Mixture, rows: &[f64]) {
        self.load(rows);
        for (k, logs) in self.logs.iter_mut().enumerate() {
            let squares = whiten(mixture.mean(k), mixture.factor(k), &self.x, &mut self.u);
            let c = mixture.log_norms[k];
            logs.iter_mut().zip(&squares).for_each(|(log, q)| *log = c - 0.5 * q);
        }
        self.log_probs = log_sum_exp(&self.logs);
    }

    fn load(&mut self, rows: &[f64]) {
        self.rows = rows.len() / self.dim;
        self.x.fill([0.0; LANES]);
        for (lane, row) in rows.chunks_exact(self.dim).enumerate() {
            row.iter().zip(&mut self.x).for_each(|(v, x)| x[lane] = *v);
        }
    }

    /// The responsibility of a component for a row.
    pub(super) fn responsibility(&self, k: usize, lane: usize) -> f64 {
        (self.logs[k][lane] - self.log_probs[lane]).exp()
    }

    /// The component whose stretch of [0, 1) holds `u`, where stretches are as long as responsibilities.
    pub(super) fn pick(&self, lane: usize, u: f64) -> usize {
        let mut left = u;
        let mut last = 0;
        for k in 0..self.logs.len() {
            let share = self.responsibility(k, lane);
            if share > 0.0 {
                last = k;
                left -= share;
                if left < 0.0 {
                    break;
                }
            }
        }
        last
    }
}

/// u ← L⁻¹ (x − m); gives |u|².
pub(super) fn whiten(mean: &[f64], factor: &[f64], x: &[Lane], u: &mut [Lane]) -> Lane {
    let d = mean.len();
    let mut squares = [0.0; LANES];
    for i in 0..d {
        let row = &factor[i * d..i * d + i + 1];
        let (m, inverse) = (mean[i], 1.0 / row[i]);
        let mut sum: Lane = x[i].map(|x| x - m);
        for (l, u) in row[..i].iter().zip(&u[..i]) {
            for lane in 0..LANES {
                sum[lane] -= l * u[lane];
            }
        }
        for lane in 0..LANES {
            sum[lane] *= inverse;
            squares[lane] += sum[lane] * sum[lane];
        }
        u[i] = sum;
    }
    squares
}

/// ln Σ eᵃ, lane by lane, from the largest.
fn log_sum_exp(logs: &[Lane]) -> Lane {
    let mut top = [f64::NEG_INFINITY; LANES];
    for logs in logs {
        for lane in 0..LANES {
            top[lane] = if logs[lane] > top[lane] { logs[lane] } else { top[lane] };
        }
    }
    let mut sum = [0.0; LANES];
    for logs in logs {
        for lane in 0..LANES {
            let gap = logs[lane] - top[lane];
            // Below e^-60 a term is under a thousandth of the last bit, even a thousand of them; NaN is added.
            if !(gap < -60.0) {
                sum[lane] += gap.exp();
            }
        }
    }
    std::array::from_fn(|lane| top[lane] + f64::ln(sum[lane]))
}
