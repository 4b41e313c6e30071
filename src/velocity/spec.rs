//! The sizes of an MLP, as data, and the layout of its θ.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::Activation;
use crate::{Error, Result, Rng};

/// The most units of a layer: far beyond use, and sizes of tensors do not overflow.
pub(super) const MOST_UNITS: usize = 1 << 20;

/// How time enters the net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum TimeInput {
    /// t as the last input column, as torchcfm has it.
    Plain,
    /// t, then sin 2πkt, cos 2πkt for k = 1 … `frequencies`.
    Fourier {
        /// How many.
        frequencies: usize,
    },
    /// Time does not enter: an autonomous field, that of the first Neural ODE.
    None,
}

impl TimeInput {
    /// The number of input columns.
    pub fn columns(self) -> usize {
        match self {
            Self::Plain => 1,
            Self::Fourier { frequencies } => frequencies.saturating_mul(2).saturating_add(1),
            Self::None => 0,
        }
    }

    /// The largest derivative of feature `i` by time.
    pub(super) fn rate(self, i: usize) -> f64 {
        if i == 0 { 1.0 } else { std::f64::consts::TAU * i.div_ceil(2) as f64 }
    }

    /// Feature `i` of time t.
    pub(super) fn feature(self, i: usize, t: f64) -> f64 {
        if i == 0 {
            return t;
        }
        let angle = std::f64::consts::TAU * i.div_ceil(2) as f64 * t;
        if i % 2 == 1 { angle.sin() } else { angle.cos() }
    }
}

/// An MLP m_θ(x, c, t): input columns x, then the condition c, then time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpSpec {
    /// d, the dimension of x and of the value.
    pub dim: usize,
    /// The number of columns of the condition.
    pub condition_dim: usize,
    /// The widths of the hidden layers; empty for an affine field.
    pub hidden: Vec<usize>,
    /// σ behind each hidden layer.
    pub activation: Activation,
    /// How time enters.
    pub time: TimeInput,
}

impl MlpSpec {
    /// The number of input columns.
    pub fn input_dim(&self) -> usize {
        // A file may hold any numbers before it is validated.
        self.dim.saturating_add(self.condition_dim).saturating_add(self.time.columns())
    }

    /// The number of units of each layer, the input first.
    pub fn layer_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![self.input_dim()];
        sizes.extend(&self.hidden);
        sizes.push(self.dim);
        sizes
    }

    /// The length of θ: layer after layer, the weight `[out, in]` row-major, then the bias.
    pub fn n_params(&self) -> usize {
        self.layer_sizes().windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum()
    }

    /// Checks the spec.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a dimension or a width of zero, or sizes beyond any memory.
    pub fn validate(&self) -> Result<()> {
        if self.dim == 0 {
            return Err(Error::invalid("the velocity has dimension 0", "give data with at least one column"));
        }
        if let Some(l) = self.hidden.iter().position(|&width| width == 0) {
            return Err(Error::invalid(
                format!("hidden layer {} has width 0", l + 1),
                "leave the layer out, or give it units",
            ));
        }
        let frequencies = if let TimeInput::Fourier { frequencies } = self.time { frequencies } else { 0 };
        let sizes = [self.dim, self.condition_dim, frequencies];
        if let Some(size) = sizes.iter().chain(&self.hidden).find(|&&size| size > MOST_UNITS) {
            return Err(Error::invalid(
                format!("a layer of {size} units is too large"),
                format!("give at most {MOST_UNITS}"),
            ));
        }
        Ok(())
    }

    /// A fresh θ: weights and biases uniform in ±1/√(inputs), as PyTorch's `Linear` begins.
    pub fn init(&self, rng: &mut Rng) -> Vec<f32> {
        let mut theta = Vec::with_capacity(self.n_params());
        for pair in self.layer_sizes().windows(2) {
            let bound = 1.0 / (pair[0].max(1) as f32).sqrt();
            theta.extend((0..(pair[0] + 1) * pair[1]).map(|_| rng.random_range(-bound..=bound)));
        }
        theta
    }

    /// Names and shapes of the tensors in θ, in order, as PyTorch's `nn.Sequential` names them.
    pub fn tensor_names(&self) -> Vec<(String, Vec<usize>)> {
        let sizes = self.layer_sizes();
        let of_layer = |(l, pair): (usize, &[usize])| {
            let (inputs, outputs) = (pair[0], pair[1]);
            [(format!("net.{}.weight", 2 * l), vec![outputs, inputs]), (format!("net.{}.bias", 2 * l), vec![outputs])]
        };
        sizes.windows(2).enumerate().flat_map(of_layer).collect()
    }
}
