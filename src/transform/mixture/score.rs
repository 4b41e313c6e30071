//! The score of a mixture, in closed form.
//!
//! ∇ log p(x) = −Σₖ rₖ Σₖ⁻¹ (x − mₖ), rₖ the responsibilities; Σₖ⁻¹ (x − mₖ) = Lₖ⁻ᵀ uₖ by back substitution.

use super::Mixture;
use super::lanes::{Block, LANES, whiten};

impl Mixture {
    /// ∇ log p of the rows of `x`, `[n, d]` row-major.
    pub fn score_rows(&self, x: &[f64]) -> Vec<f64> {
        let d = self.dim;
        let rows = self.by_blocks(x, |_, block, out| {
            let score = self.block_score(block);
            out.extend((0..block.rows()).map(|lane| (0..d).map(|i| score[i][lane]).collect::<Vec<f64>>()));
        });
        rows.concat()
    }

    fn block_score(&self, block: &Block) -> Vec<[f64; LANES]> {
        let d = self.dim;
        let (mut score, mut u) = (vec![[0.0; LANES]; d], vec![[0.0; LANES]; d]);
        for k in 0..self.components() {
            let mut shares = [0.0; LANES];
            (0..block.rows()).for_each(|lane| shares[lane] = block.responsibility(k, lane));
            if shares.iter().all(|r| *r == 0.0) {
                continue;
            }
            let factor = self.factor(k);
            whiten(self.mean(k), factor, &block.x, &mut u);
            for i in (0..d).rev() {
                let inverse = 1.0 / factor[i * d + i];
                let (above, below) = u.split_at_mut(i + 1);
                let here = &mut above[i];
                for (j, solved) in below.iter().enumerate() {
                    let l = factor[(i + 1 + j) * d + i];
                    here.iter_mut().zip(solved).for_each(|(sum, v)| *sum -= l * v);
                }
                here.iter_mut().for_each(|sum| *sum *= inverse);
                for lane in 0..LANES {
                    // A share of 0 leaves nothing behind, not even 0 · ∞.
                    if shares[lane] != 0.0 {
                        score[i][lane] -= shares[lane] * u[i][lane];
                    }
                }
            }
        }
        score
    }
}
