//! A forward-mode pair: the value of a layer and its derivatives along a few directions.
//!
//! Directions pass through the forward pass as tangents, in plain tensor operations, so that one ordinary
//! backward pass differentiates value and divergence together. A divergence taken by a backward pass would
//! need second derivatives, which candle computes wrongly, without an error.

use candle_core::{Result, Tensor};

/// (h, ḣ). The tangents have only the columns that depend on x: those of condition and time are constant.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// h, `[n, columns]`.
    pub value: Tensor,
    /// ḣ along each of m directions, `[m, n, k]` with k ≤ columns: the derivatives of the first k columns, the
    /// others' being zero. `[m, 1, k]` as long as every row has the same: unit vectors through a first layer.
    pub tangent: Option<Tensor>,
}

impl Pair {
    /// The tangents through a weight `[outputs, columns]`: Wₖ ḣ, Wₖ the first k columns.
    pub fn tangent_through(&self, weight: &Tensor) -> Result<Option<Tensor>> {
        let Some(tangent) = &self.tangent else { return Ok(None) };
        let (m, rows, k) = tangent.dims3()?;
        // A product needs packed operands; a whole matrix is packed already and is not copied.
        let weight = weight.narrow(1, 0, k)?.contiguous()?;
        let stacked = tangent.reshape((m * rows, k))?.matmul(&weight.t()?)?;
        Ok(Some(stacked.reshape((m, rows, weight.dim(0)?))?))
    }

    /// The tangents times a factor `[n, columns]`, the same for all directions.
    pub fn tangent_scaled(&self, factor: &Tensor) -> Result<Option<Tensor>> {
        let Some(tangent) = &self.tangent else { return Ok(None) };
        let factor = factor.narrow(1, 0, tangent.dim(2)?)?.unsqueeze(0)?;
        Ok(Some(tangent.broadcast_mul(&factor)?))
    }
}
