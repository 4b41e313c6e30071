//! log p as a node of candle's graph.
//!
//! Backward: ∇ log p(x) = −Σₖ rₖ Σₖ⁻¹ (x − mₖ), rₖ the responsibilities; Σₖ⁻¹ (x − mₖ) = Lₖ⁻ᵀ uₖ by back substitution.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType};

use super::Mixture;
use super::lanes::{Block, LANES, whiten};

/// x `[n, d]` → log p `[n]`, in the precision of x.
pub(super) struct LogProb(pub(super) Mixture);

fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [T]> {
    let data = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&data[from..to]),
        None => candle_core::bail!("a mixture needs contiguous arrays"),
    }
}

impl CustomOp1 for LogProb {
    fn name(&self) -> &'static str {
        "log-prob of a mixture"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let shape = Shape::from(layout.dims()[0]);
        let storage = match x {
            CpuStorage::F64(_) => CpuStorage::F64(self.0.log_prob_rows(slice(x, layout)?)),
            _ => {
                let wide: Vec<f64> = slice::<f32>(x, layout)?.iter().map(|x| f64::from(*x)).collect();
                CpuStorage::F32(self.0.log_prob_rows(&wide).into_iter().map(|l| l as f32).collect())
            }
        };
        Ok((storage, shape))
    }

    fn bwd(&self, x: &Tensor, _res: &Tensor, bar: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (n, d) = x.dims2()?;
        let rows = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let score = Tensor::from_vec(self.0.score_rows(&rows), (n, d), x.device())?;
        let bar = bar.to_dtype(DType::F64)?.reshape((n, 1))?;
        Ok(Some(score.broadcast_mul(&bar)?.to_dtype(x.dtype())?))
    }
}

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
