//! In the place of the nets of candle layers, in a build without the feature `candle`.

use super::LayerNetSpec;
use crate::velocity::{Device, Scalar, Velocity};
use crate::{Error, Result};

/// A scalar that a velocity computes in: `f32` and `f64`.
pub trait Number: Scalar {}

impl<T: Scalar> Number for T {}

/// Refuses the velocity: nothing in this build computes it.
///
/// # Errors
/// [`Error::Invalid`], always.
pub fn bind<T: Number>(_spec: &LayerNetSpec, _theta: &[T], _device: Device) -> Result<Box<dyn Velocity<T>>> {
    Err(Error::invalid(
        "the velocity is a net of candle layers, and this build is without the feature `candle`",
        "build with the feature `candle`, which is on by default",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::velocity::Activation;
    use crate::velocity::layers::Layer;

    #[test]
    fn a_net_of_layers_is_refused_with_the_way_out() {
        let layer = |inputs, outputs| Layer::ConcatSquash { inputs, outputs };
        let spec = LayerNetSpec::stacked(layer, 2, 0, &[4], Activation::Tanh);
        let error = bind::<f32>(&spec, &[], Device::Cpu).err().unwrap();
        assert!(error.to_string().contains("`candle`") && error.hint().is_some(), "{error}");
    }
}
