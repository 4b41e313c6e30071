//! W x + b, and the same with time as a last column of x.

use candle_core::{Result, Tensor};

use super::pair::Pair;

/// (W h + b, W ḣ). `weight` is `[outputs, columns]`, `bias` `[outputs]`.
pub(super) fn linear(pair: &Pair, weight: &Tensor, bias: &Tensor) -> Result<Pair> {
    let value = pair.value.matmul(&weight.t()?)?.broadcast_add(bias)?;
    Ok(Pair { value, tangent: pair.tangent_through(weight)? })
}

/// As [`linear`] on (h, t). Time is constant along x, so the tangents leave out its column.
pub(super) fn concat_linear(pair: Pair, t: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Pair> {
    let value = Tensor::cat(&[&pair.value, t], 1)?;
    linear(&Pair { value, tangent: pair.tangent }, weight, bias)
}
