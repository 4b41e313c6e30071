//! A net of candle layers, written as forward-mode pairs (value, tangents).
//!
//! div v = Σₖ εₖᵀ (∂v/∂x) εₖ, with unit vectors (exact) or Hutchinson's probes as directions. Everything is a plain
//! tensor operation on views of one flat θ: it runs on any device of candle, and one ordinary backward pass yields the
//! gradient of any function of values and divergences. Refused: divergence by a backward pass, whose own gradient
//! candle computes wrongly, without an error.
//!
//! [`LayerNet::value`] and [`LayerNet::value_and_divergence`] are for graphs of candle; the contract of a
//! [`Velocity`] is met by copying tiles in and out. The fused MLP kernel is many times faster on a CPU: this
//! one is for other layers and other devices.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, DeviceLocation, Tensor, WithDType};

use super::pair::Pair;
use super::{Layer, LayerNetSpec, activation, concatsquash, linear};
use crate::velocity::{Device, Scalar, Trace, Velocity};
use crate::{Error, Result};

/// A scalar that either kind of velocity computes in: `f32` and `f64`.
pub trait Number: Scalar + WithDType {}

impl<T: Scalar + WithDType> Number for T {}

/// The velocity of `spec` with parameters `theta`, computed on `device`.
///
/// # Errors
/// As [`LayerNet::new`]; [`Error::Candle`] where the machine has no such device.
pub fn bind<T: Number>(spec: &LayerNetSpec, theta: &[T], device: Device) -> Result<Box<dyn Velocity<T>>> {
    let device = match device {
        Device::Cpu => candle_core::Device::Cpu,
        Device::Cuda(index) => candle_core::Device::new_cuda(index)?,
    };
    let theta = Tensor::from_slice(theta, theta.len(), &device)?;
    Ok(Box::new(LayerNet::new(spec.clone(), theta)?))
}

impl From<&candle_core::Device> for Device {
    fn from(device: &candle_core::Device) -> Self {
        match device.location() {
            DeviceLocation::Cuda { gpu_id } => Self::Cuda(gpu_id),
            DeviceLocation::Cpu | DeviceLocation::Metal { .. } => Self::Cpu,
        }
    }
}

/// A net of layers and its θ.
///
/// The tensor functions take rows as they come, and the last bit of a row may then depend on their number; as a
/// [`Velocity`] it gives a lane the same bits wherever it stands (on a CPU).
#[derive(Debug)]
pub struct LayerNet {
    pub(super) spec: LayerNetSpec,
    theta: Tensor,
    /// The tensors of θ, as views of it.
    pub(super) views: Vec<Tensor>,
    /// candle's error when a call of the solver failed; such calls cannot return it.
    failure: Mutex<Option<candle_core::Error>>,
}

impl LayerNet {
    /// The net of `spec` with the parameters `theta` `[n_params]`, `f32` or `f64`, on any device.
    ///
    /// θ may be a candle `Var`: the tensor functions are differentiable with respect to it.
    ///
    /// # Errors
    /// [`Error::Dimension`] if two layers do not fit each other, [`Error::Parameters`] if θ does not fit the spec;
    /// [`Error::Invalid`] for another dtype.
    pub fn new(spec: LayerNetSpec, theta: Tensor) -> Result<Self> {
        spec.check()?;
        if !matches!(theta.dtype(), DType::F32 | DType::F64) {
            return Err(Error::invalid(
                format!("the type of the parameters is {}", theta.dtype().as_str()),
                "convert them to f32 or f64",
            ));
        }
        if theta.dims() != [spec.n_params()] {
            return Err(Error::Parameters { expected: spec.n_params(), found: theta.elem_count() });
        }
        let mut views = Vec::new();
        let mut start = 0;
        for (_, shape) in spec.tensor_names() {
            let length = shape.iter().product();
            views.push(theta.narrow(0, start, length)?.reshape(shape)?);
            start += length;
        }
        Ok(Self { spec, theta, views, failure: Mutex::new(None) })
    }

    /// What it is made of.
    pub fn spec(&self) -> &LayerNetSpec {
        &self.spec
    }

    /// θ, `[n_params]`.
    pub fn theta(&self) -> &Tensor {
        &self.theta
    }

    /// m(x, t), `[n, d]`.
    ///
    /// `x` is `[n, d]`, `t` `[n, 1]`, `condition` `[n, condition_dim]` (ignored by an unconditional net), all of θ's
    /// dtype and device.
    ///
    /// # Errors
    /// [`Error::Candle`] for other shapes, or if the device fails.
    pub fn value(&self, x: &Tensor, t: &Tensor, condition: Option<&Tensor>) -> Result<Tensor> {
        Ok(self.push(&self.views, x, t, condition, None)?.value)
    }

    /// m(x, t), `[n, d]`, and its divergence, `[n, traces]`.
    ///
    /// Arguments as for [`LayerNet::value`]. Without `probes` the divergence is exact (one column); with `probes`
    /// `[k, n, d]` there is one estimate a probe, εᵀ (∂m/∂x) ε, whose mean is Hutchinson's.
    ///
    /// # Errors
    /// As [`LayerNet::value`].
    pub fn value_and_divergence(
        &self,
        x: &Tensor,
        t: &Tensor,
        condition: Option<&Tensor>,
        probes: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let Probed { value, divergence, .. } = self.trace(&self.views, x, t, condition, probes)?;
        Ok((value, divergence))
    }

    /// m(x, t), `[n, d]`, and its derivatives along `directions`, both `[m, n, d]`.
    ///
    /// # Errors
    /// As [`LayerNet::value`].
    pub fn tangent(
        &self,
        x: &Tensor,
        t: &Tensor,
        condition: Option<&Tensor>,
        directions: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        Ok(self.along(&self.views, x, t, condition, directions.clone())?)
    }

    /// The probes `[k, n, d]` of the samples with these keys; `None` for the exact trace.
    ///
    /// # Errors
    /// [`Error::Candle`] if the device fails.
    pub fn probes(&self, trace: Trace, keys: &[u64]) -> Result<Option<Tensor>> {
        if trace.probes() == 0 {
            return Ok(None);
        }
        let drawn = draw(trace, keys.iter().copied(), self.spec.dim);
        let tensor = Tensor::from_vec(drawn, (trace.probes(), keys.len(), self.spec.dim), self.device())?;
        Ok(Some(tensor.to_dtype(self.theta.dtype())?))
    }

    /// The largest weight of time in any layer: see [`Velocity::time_rate`].
    pub(super) fn fastest_unit(&self) -> candle_core::Result<f64> {
        let largest = |view: &Tensor| view.to_dtype(DType::F64)?.abs()?.max_all()?.to_scalar::<f64>();
        let (mut fastest, mut at) = (0.0_f64, 0);
        for layer in &self.spec.layers {
            let views = &self.views[at..at + layer.tensors()];
            at += views.len();
            fastest = match layer {
                Layer::ConcatLinear { inputs, .. } => fastest.max(largest(&views[0].narrow(1, *inputs, 1)?)?),
                // The gate's weight and the hyper bias.
                Layer::ConcatSquash { .. } => fastest.max(largest(&views[2])?).max(largest(&views[4])?),
                Layer::Linear { .. } | Layer::Activation(_) => fastest,
            };
        }
        Ok(fastest)
    }

    /// candle's error in the first failed evaluation inside a solve since the last call of this function.
    ///
    /// Such lanes are [`NonFinite`](cnflow_solvers::Failure::NonFinite) to the solver; the cause is here.
    pub fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map(Error::Candle)
    }

    pub(super) fn record(&self, error: candle_core::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    pub(super) fn device(&self) -> &candle_core::Device {
        self.theta.device()
    }

    /// The pair that leaves the last layer.
    pub(super) fn push(
        &self,
        views: &[Tensor],
        x: &Tensor,
        t: &Tensor,
        condition: Option<&Tensor>,
        tangent: Option<Tensor>,
    ) -> candle_core::Result<Pair> {
        let value = match condition {
            Some(condition) if self.spec.condition_dim > 0 => Tensor::cat(&[x, condition], 1)?,
            _ => x.clone(),
        };
        let mut pair = Pair { value, tangent };
        let mut rest = views;
        for layer in &self.spec.layers {
            let (parameters, after) = rest.split_at(layer.tensors());
            pair = layer.forward(pair, t, parameters)?;
            rest = after;
        }
        Ok(pair)
    }

    pub(super) fn along(
        &self,
        views: &[Tensor],
        x: &Tensor,
        t: &Tensor,
        condition: Option<&Tensor>,
        directions: Tensor,
    ) -> candle_core::Result<(Tensor, Tensor)> {
        let Pair { value, tangent } = self.push(views, x, t, condition, Some(directions))?;
        let tangent = tangent.expect("every layer passes on the tangents it is given");
        Ok((value, tangent))
    }

    pub(super) fn trace(
        &self,
        views: &[Tensor],
        x: &Tensor,
        t: &Tensor,
        condition: Option<&Tensor>,
        probes: Option<&Tensor>,
    ) -> candle_core::Result<Probed> {
        let directions = match probes {
            Some(probes) => probes.clone(),
            None => Tensor::eye(self.spec.dim, x.dtype(), x.device())?.unsqueeze(1)?,
        };
        let (value, tangent) = self.along(views, x, t, condition, directions.clone())?;
        let shares = tangent.broadcast_mul(&directions)?.sum(2)?;
        let n = x.dim(0)?;
        let divergence = match probes {
            Some(_) => shares.t()?,
            // A net of linear layers has the same tangents in every row, and still one row of them.
            None => shares.sum(0)?.broadcast_as(n)?.unsqueeze(1)?,
        };
        Ok(Probed { value, divergence, tangent })
    }
}

/// A value with its derivatives along unit vectors or probes.
pub(super) struct Probed {
    /// `[n, d]`.
    pub value: Tensor,
    /// `[n, traces]`.
    pub divergence: Tensor,
    /// `[m, n, d]`, or `[m, 1, d]` where all rows have the same.
    pub tangent: Tensor,
}

impl Probed {
    /// ‖∂m/∂x‖², `[n, 1]`: a sum over unit vectors, or a mean over probes.
    pub fn norm(&self, exact: bool) -> candle_core::Result<Tensor> {
        let squares = self.tangent.sqr()?.sum(2)?;
        let norm = if exact { squares.sum(0)? } else { squares.mean(0)? };
        norm.broadcast_as(self.value.dim(0)?)?.unsqueeze(1)
    }
}

impl Layer {
    fn forward(&self, pair: Pair, t: &Tensor, parameters: &[Tensor]) -> candle_core::Result<Pair> {
        match (self, parameters) {
            (Self::Linear { .. }, [weight, bias]) => linear::linear(&pair, weight, bias),
            (Self::ConcatLinear { .. }, [weight, bias]) => linear::concat_linear(pair, t, weight, bias),
            (Self::ConcatSquash { .. }, [weight, bias, gate_weight, gate_bias, shift]) => {
                concatsquash::concat_squash(&pair, t, weight, bias, [gate_weight, gate_bias, shift])
            }
            (Self::Activation(kind), []) => activation::forward(*kind, &pair),
            _ => candle_core::bail!("{self:?} was given {} tensors", parameters.len()),
        }
    }
}

/// The probes of some samples, in the order `[probe, sample, coordinate]`.
pub(super) fn draw(trace: Trace, keys: impl Iterator<Item = u64> + Clone, dim: usize) -> Vec<f64> {
    let one = |p: usize, key: u64| (0..dim).map(move |i| trace.probe(key, p, i));
    (0..trace.probes()).flat_map(|p| keys.clone().flat_map(move |key| one(p, key))).collect()
}
