//! The layers of a net, as data: the part that is saved with a model.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::velocity::Activation;
use crate::velocity::spec::MOST_UNITS;
use crate::{Error, Result, Rng};

/// A net acting on rows: x and, appended to it, the condition enter the first layer; the last yields dx/dt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerNetSpec {
    /// d, the dimension of x and of the velocity.
    pub dim: usize,
    /// The number of conditioning columns, appended to x; 0 for an unconditional velocity.
    #[serde(default)]
    pub condition_dim: usize,
    /// From the input to the output.
    pub layers: Vec<Layer>,
}

/// One layer. Weights are `[outputs, columns]`, as PyTorch has them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Layer {
    /// W x + b; independent of time.
    Linear {
        /// Columns in.
        inputs: usize,
        /// Columns out.
        outputs: usize,
    },
    /// W (x, t) + b: time is the last column (torchcfm's place for it; FFJORD's `ConcatLinear` has it first).
    ConcatLinear {
        /// Columns in, time not counted.
        inputs: usize,
        /// Columns out.
        outputs: usize,
    },
    /// (W x + b) ∘ sigmoid(w_g t + b_g) + w_t t. Ref: FFJORD (Grathwohl et al. 2019), `ConcatSquashLinear`.
    ConcatSquash {
        /// Columns in.
        inputs: usize,
        /// Columns out.
        outputs: usize,
    },
    /// σ, element by element.
    Activation(Activation),
}

impl Layer {
    /// Columns in and out; `None` for a layer that takes any number and keeps it.
    fn columns(self) -> Option<(usize, usize)> {
        match self {
            Self::Linear { inputs, outputs }
            | Self::ConcatLinear { inputs, outputs }
            | Self::ConcatSquash { inputs, outputs } => Some((inputs, outputs)),
            Self::Activation(_) => None,
        }
    }

    /// The parameters: name within the layer, shape, and the fan-in that scales their initial values.
    fn parameters(self) -> Vec<(&'static str, Vec<usize>, usize)> {
        match self {
            Self::Linear { inputs, outputs } => {
                vec![("weight", vec![outputs, inputs], inputs), ("bias", vec![outputs], inputs)]
            }
            Self::ConcatLinear { inputs, outputs } => {
                let columns = inputs.saturating_add(1);
                vec![("weight", vec![outputs, columns], columns), ("bias", vec![outputs], columns)]
            }
            Self::ConcatSquash { inputs, outputs } => vec![
                ("_layer.weight", vec![outputs, inputs], inputs),
                ("_layer.bias", vec![outputs], inputs),
                ("_hyper_gate.weight", vec![outputs, 1], 1),
                ("_hyper_gate.bias", vec![outputs], 1),
                ("_hyper_bias.weight", vec![outputs, 1], 1),
            ],
            Self::Activation(_) => vec![],
        }
    }

    /// How many tensors of parameters it has.
    #[cfg(feature = "candle")]
    pub(super) fn tensors(self) -> usize {
        self.parameters().len()
    }
}

impl LayerNetSpec {
    /// Layers of one kind with an activation between each two.
    ///
    /// `layer(inputs, outputs)` makes one, as in `|inputs, outputs| Layer::ConcatSquash { inputs, outputs }`.
    pub fn stacked(
        layer: impl Fn(usize, usize) -> Layer,
        dim: usize,
        condition_dim: usize,
        hidden: &[usize],
        squash: Activation,
    ) -> Self {
        let mut layers = Vec::with_capacity(2 * hidden.len() + 1);
        let mut columns = dim + condition_dim;
        for &width in hidden {
            layers.push(layer(columns, width));
            layers.push(Layer::Activation(squash));
            columns = width;
        }
        layers.push(layer(columns, dim));
        Self { dim, condition_dim, layers }
    }

    /// Whether every layer takes what the one before it gives, from x and the condition to dx/dt.
    ///
    /// # Errors
    /// [`Error::Dimension`] naming the first layer that does not fit; [`Error::Invalid`] for a width of 0 or beyond any
    /// memory.
    pub fn check(&self) -> Result<()> {
        let widths =
            self.layers.iter().filter_map(|layer| layer.columns()).flat_map(|(inputs, outputs)| [inputs, outputs]);
        if let Some(size) = widths.chain([self.dim, self.condition_dim]).find(|&size| size > MOST_UNITS) {
            return Err(Error::invalid(
                format!("a layer of {size} units is too large"),
                format!("give at most {MOST_UNITS}"),
            ));
        }
        let mut columns = self.dim + self.condition_dim;
        for (i, layer) in self.layers.iter().enumerate() {
            let Some((inputs, outputs)) = layer.columns() else { continue };
            if inputs == 0 || outputs == 0 {
                return Err(Error::invalid(
                    format!("layer {i} of the net is empty"),
                    "give every layer at least one column",
                ));
            }
            if inputs != columns {
                return Err(Error::Dimension {
                    what: format!("the input of layer {i}"),
                    expected: columns,
                    found: inputs,
                });
            }
            columns = outputs;
        }
        if columns != self.dim || self.dim == 0 {
            return Err(Error::Dimension {
                what: "the output of the net".into(),
                expected: self.dim.max(1),
                found: columns,
            });
        }
        Ok(())
    }

    /// The tensors of θ in their order in the flat vector: PyTorch's names (`net.0.weight`) and shapes.
    ///
    /// The number is the layer's place in the list, activations counted, as in `nn.Sequential`.
    pub fn tensor_names(&self) -> Vec<(String, Vec<usize>)> {
        let named = |(i, layer): (usize, &Layer)| {
            let parameters = layer.parameters();
            parameters.into_iter().map(move |(name, shape, _)| (format!("net.{i}.{name}"), shape))
        };
        self.layers.iter().enumerate().flat_map(named).collect()
    }

    /// The length of θ.
    pub fn n_params(&self) -> usize {
        self.tensor_names().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// A first θ: uniform on ±1/√fan-in for weights and biases, as PyTorch's `nn.Linear` draws them.
    pub fn init(&self, rng: &mut Rng) -> Vec<f32> {
        let mut theta = Vec::with_capacity(self.n_params());
        for (_, shape, fan_in) in self.layers.iter().flat_map(|layer| layer.parameters()) {
            let bound = 1.0 / (fan_in as f32).sqrt();
            theta.extend((0..shape.iter().product()).map(|_| rng.random_range(-bound..=bound)));
        }
        theta
    }
}
