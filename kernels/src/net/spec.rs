//! The operations of a net, as data.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::op::{Dense, Op};
use crate::{Activation, Error, Result, Scalar};

/// The largest size of a layer: far beyond use, and the products of two sizes do not overflow.
pub const LARGEST: usize = 1 << 22;

/// A net of `inputs` rows: its operations in order.
///
/// θ holds the parameters of the operations in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetSpec {
    /// Rows of x.
    pub inputs: usize,
    /// The leading rows of x that are differentiated; the others, a condition or the time, have no tangent and no
    /// cotangent.
    pub active: usize,
    /// From x on.
    pub ops: Vec<OpSpec>,
}

/// An operation, and the activation behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum OpSpec {
    /// y = σ(W x + b); θ is W, `[outputs, inputs]` row-major, then b.
    Dense {
        /// Rows of y.
        outputs: usize,
        /// σ; the identity where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        activation: Option<Activation>,
    },
}

impl OpSpec {
    /// Rows of y.
    pub fn outputs(&self) -> usize {
        let Self::Dense { outputs, .. } = self;
        *outputs
    }

    /// σ.
    pub fn activation(&self) -> Option<Activation> {
        let Self::Dense { activation, .. } = self;
        *activation
    }

    /// The operation on `inputs` rows, the first `active` of them differentiated, with zeros for parameters.
    pub(super) fn build<T: Scalar>(&self, inputs: usize, active: usize) -> Box<dyn Op<T>> {
        let Self::Dense { outputs, .. } = self;
        Box::new(Dense::new(inputs, active, *outputs))
    }

    fn n_params(&self, inputs: usize) -> usize {
        let Self::Dense { outputs, .. } = self;
        (inputs + 1) * outputs
    }
}

impl NetSpec {
    /// Dense layers `sizes[0] → sizes[1] → …` with `activation` between them, the first `active` inputs differentiated.
    pub fn mlp(sizes: &[usize], activation: Activation, active: usize) -> Self {
        let last = sizes.len().saturating_sub(2);
        let dense =
            |(l, &outputs): (usize, &usize)| OpSpec::Dense { outputs, activation: (l < last).then_some(activation) };
        let ops = sizes.iter().skip(1).enumerate().map(dense).collect();
        Self { inputs: sizes.first().copied().unwrap_or(0), active, ops }
    }

    /// Rows of y.
    pub fn outputs(&self) -> usize {
        self.ops.last().map_or(self.inputs, OpSpec::outputs)
    }

    /// Where the parameters of each operation lie in θ.
    pub fn params(&self) -> Vec<Range<usize>> {
        let (mut inputs, mut at) = (self.inputs, 0);
        let of = |op: &OpSpec| {
            let range = at..at + op.n_params(inputs);
            (inputs, at) = (op.outputs(), range.end);
            range
        };
        self.ops.iter().map(of).collect()
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        self.params().last().map_or(0, |last| last.end)
    }

    /// Checks the spec.
    ///
    /// # Errors
    /// [`Error::NoLayers`]; [`Error::Empty`] or [`Error::TooLarge`] for a size; [`Error::Active`] for more active
    /// inputs than there are.
    pub fn validate(&self) -> Result<()> {
        if self.ops.is_empty() {
            return Err(Error::NoLayers);
        }
        let layers = self.ops.iter().enumerate().map(|(l, op)| (format!("layer {}", l + 1), op.outputs()));
        for (what, size) in std::iter::once(("the input".to_owned(), self.inputs)).chain(layers) {
            if size == 0 {
                return Err(Error::Empty { what });
            }
            if size > LARGEST {
                return Err(Error::TooLarge { what, size, most: LARGEST });
            }
        }
        if self.active > self.inputs {
            return Err(Error::Active { active: self.active, inputs: self.inputs });
        }
        Ok(())
    }
}
