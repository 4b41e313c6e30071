//! FFJORD's layer: time gates the output and shifts it.
//!
//! h' = (W h + b) ∘ g + w_t t with g = sigmoid(w_g t + b_g), hence ḣ' = (W ḣ) ∘ g.
//! Ref: Grathwohl et al. 2019, `ConcatSquashLinear` of their code.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use super::linear::linear;
use super::pair::Pair;

/// `of_time` is w_g, b_g and w_t; `t` is `[n, 1]`.
pub(super) fn concat_squash(
    pair: &Pair,
    t: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    of_time: [&Tensor; 3],
) -> Result<Pair> {
    let [gate_weight, gate_bias, shift] = of_time;
    let times_t = |column: &Tensor| t.broadcast_mul(&column.reshape((1, column.elem_count()))?);
    let gate = sigmoid(&times_t(gate_weight)?.broadcast_add(gate_bias)?)?;
    let affine = linear(pair, weight, bias)?;
    let value = ((&affine.value * &gate)? + times_t(shift)?)?;
    Ok(Pair { value, tangent: affine.tangent_scaled(&gate)? })
}
