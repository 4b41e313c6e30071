//! Sixteen rows at a time through all components.
//!
//! uₖ = Lₖ⁻¹ (x − mₖ) by forward substitution, ln wₖ N = cₖ − ½ |uₖ|². Rows lie across the lanes, so the compiler
//! makes vectors of them, and no operation combines two rows.
//!
//! A component is left as soon as its columns so far put it below e^[`UNSEEN`] of the best one in every lane. The final
//! sum leaves such terms out in any case, so whether a block takes them up for the sake of some rows changes no bit.

use super::Mixture;

/// ln of what is left out: a thousand such terms are 3e-17 of the sum.
const UNSEEN: f64 = -45.0;
/// Columns between two checks whether a component is negligible.
const LOOK: usize = 8;

/// Rows in a block.
pub(crate) const LANES: usize = 16;

/// One number for each row of a block.
pub(crate) type Lane = [f64; LANES];

/// Rows, and the densities of the components at them.
pub(crate) struct Block {
    dim: usize,
    rows: usize,
    /// `[d][lane]`; zeros in the lanes not in use.
    pub(crate) x: Vec<Lane>,
    /// Scratch, `[d][lane]`.
    pub(crate) u: Vec<Lane>,
    /// `[K][lane]`: ln wₖ N(x; mₖ, Lₖ Lₖᵀ).
    pub(crate) logs: Vec<Lane>,
    log_probs: Lane,
    /// The best component of the first row of the block before: rows that follow each other are often alike.
    first: usize,
}

impl Block {
    pub(crate) fn new(dim: usize, components: usize) -> Self {
        let zeros = [0.0; LANES];
        let (x, u, logs) = (vec![zeros; dim], vec![zeros; dim], vec![zeros; components]);
        Self { dim, rows: 0, x, u, logs, log_probs: zeros, first: 0 }
    }

    /// How many rows it holds.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// log p of its rows.
    pub(crate) fn log_probs(&self) -> &[f64] {
        &self.log_probs[..self.rows]
    }

    /// Takes up to [`LANES`] rows and evaluates all components.
    pub(crate) fn evaluate(&mut self, mixture: &Mixture, rows: &[f64]) {
        self.load(rows);
        let mut top = [f64::NEG_INFINITY; LANES];
        let first = self.first;
        let others = (0..self.logs.len()).filter(|k| *k != first);
        for k in std::iter::once(first).chain(others) {
            let c = mixture.log_norms[k];
            // The bound of |u|² above which the component is negligible.
            let most: Lane = std::array::from_fn(|lane| 2.0 * (c - top[lane] - UNSEEN));
            let squares = whiten_below(mixture.mean(k), mixture.factor(k), &self.x, &mut self.u, &most);
            let logs: Lane = squares.map(|q| c - 0.5 * q);
            for lane in 0..LANES {
                top[lane] = if logs[lane] > top[lane] { logs[lane] } else { top[lane] };
            }
            self.logs[k] = logs;
        }
        self.log_probs = log_sum_exp(&self.logs, &top);
        self.first = (0..self.logs.len()).find(|k| self.logs[*k][0] == top[0]).unwrap_or(0);
    }

    /// The components whose responsibility for some row has a logarithm above `least`, in order.
    pub(crate) fn seen(&self, least: f64) -> Vec<u32> {
        let seen = |logs: &Lane| (0..self.rows).any(|lane| logs[lane] - self.log_probs[lane] > least);
        self.logs.iter().enumerate().filter(|(_, logs)| seen(logs)).map(|(k, _)| k as u32).collect()
    }

    fn load(&mut self, rows: &[f64]) {
        self.rows = rows.len() / self.dim;
        self.x.fill([0.0; LANES]);
        for (lane, row) in rows.chunks_exact(self.dim).enumerate() {
            row.iter().zip(&mut self.x).for_each(|(v, x)| x[lane] = *v);
        }
    }

    /// The responsibility of a component for a row.
    pub(crate) fn responsibility(&self, k: usize, lane: usize) -> f64 {
        (self.logs[k][lane] - self.log_probs[lane]).exp()
    }

    /// The component whose stretch of [0, 1) holds `u`, where stretches are as long as responsibilities.
    pub(crate) fn pick(&self, lane: usize, u: f64) -> usize {
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

/// Rows `[n, d]` as `[n / LANES][d]` lanes, the last padded with zeros.
pub(crate) fn to_blocks(x: &[f64], d: usize) -> Vec<Lane> {
    let mut blocks = vec![[0.0; LANES]; (x.len() / d).div_ceil(LANES) * d];
    for (i, row) in x.chunks_exact(d).enumerate() {
        row.iter().zip(&mut blocks[i / LANES * d..]).for_each(|(v, x)| x[i % LANES] = *v);
    }
    blocks
}

/// u ← L⁻¹ (x − m); gives |u|².
pub(crate) fn whiten(mean: &[f64], factor: &[f64], x: &[Lane], u: &mut [Lane]) -> Lane {
    whiten_below(mean, factor, x, u, &[f64::INFINITY; LANES])
}

/// As [`whiten`], but gives infinities as soon as |u|² is above `most` in every lane.
fn whiten_below(mean: &[f64], factor: &[f64], x: &[Lane], u: &mut [Lane], most: &Lane) -> Lane {
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
        if i % LOOK == LOOK - 1 && i + 1 < d && (0..LANES).all(|lane| squares[lane] > most[lane]) {
            return [f64::INFINITY; LANES];
        }
    }
    squares
}

/// ln Σ eᵃ, lane by lane, from the largest, which is `top`.
fn log_sum_exp(logs: &[Lane], top: &Lane) -> Lane {
    let mut sum = [0.0; LANES];
    for logs in logs {
        let gaps: Lane = std::array::from_fn(|lane| logs[lane] - top[lane]);
        // A NaN enters the sum.
        let seen = |gap: f64| gap.is_nan() || gap >= UNSEEN;
        if gaps.iter().fold(false, |any, gap| any | seen(*gap)) {
            for lane in 0..LANES {
                if seen(gaps[lane]) {
                    sum[lane] += gaps[lane].exp();
                }
            }
        }
    }
    std::array::from_fn(|lane| top[lane] + f64::ln(sum[lane]))
}
