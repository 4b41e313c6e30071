//! A flow as data, and a model as one file.
//!
//! The file is safetensors: the velocity's tensors under PyTorch's names (`net.0.weight`, …), and one JSON object
//! in the metadata under `cnf` that says what they make: spec, preprocessing, solver, and how it was trained.
//! Nothing else is needed to use it, on any machine.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Base, Bijection, Chain, Column, Columns, Continuous, Flow, Mixture, Rosenblatt, SolverSpec, StandardNormal,
    Standardise, VelocitySpec,
};
use crate::io::safetensors::{ModelFile, NamedTensor, Values};
use crate::{Error, Result};

/// The key of the metadata.
const KEY: &str = "cnf";
/// The tensors of a standardisation.
const MEAN: &str = "standardise.mean";
const STD: &str = "standardise.std";
/// The tensors of a base distribution.
const BASE: [&str; 3] = ["base.weights", "base.means", "base.factors"];
/// The version of what is under the key: 1 for a velocity and a standardisation, 2 where columns or a base are there,
/// so that a program that knows neither says so.
const FORMAT: u32 = 2;

/// What a flow is made of, without its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowSpec {
    /// m_θ.
    pub velocity: VelocitySpec,
    /// How it is integrated.
    pub solver: SolverSpec,
    /// The data's columns are standardised inside the model: their means and deviations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standardise: Option<Moments>,
    /// What the data's columns are, where one is not plain: angles, shares, positive numbers. The standardisation is on
    /// their real-line side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<Column>>,
    /// The velocity begins at this mixture, not at the standard normal; the latent is standard normal all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Mixture>,
}

/// Means and standard deviations of columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// One a column.
    pub mean: Vec<f64>,
    /// One a column, above 0.
    pub std: Vec<f64>,
}

impl From<&Standardise> for Moments {
    fn from(map: &Standardise) -> Self {
        Self { mean: map.mean().to_vec(), std: map.std().to_vec() }
    }
}

impl FlowSpec {
    /// A velocity and its solver, and nothing else.
    pub fn plain(velocity: VelocitySpec, solver: SolverSpec) -> Self {
        Self { velocity, solver, standardise: None, columns: None, base: None }
    }

    /// The distribution at the start of the velocity's path.
    pub fn base(&self) -> Base {
        match &self.base {
            None => Base::Normal(StandardNormal::new(self.velocity.dim())),
            Some(mixture) => Base::Mixture(mixture.clone()),
        }
    }

    /// The flow with parameters `theta` (`[n_params]`, f32 or f64).
    ///
    /// # Errors
    /// As [`Continuous::new`], [`Standardise::new`], [`Columns::new`] and [`Chain::new`].
    pub fn build(&self, theta: Tensor) -> Result<Flow<Chain>> {
        let continuous = Continuous::new(self.velocity.clone(), theta, self.solver.clone())?;
        self.around(continuous)
    }

    /// The flow around a continuous layer of this spec.
    ///
    /// # Errors
    /// As [`FlowSpec::build`].
    pub fn around(&self, continuous: Continuous) -> Result<Flow<Chain>> {
        let mut layers: Vec<Box<dyn Bijection>> = Vec::new();
        if let Some(mixture) = &self.base {
            layers.push(Box::new(Rosenblatt::new(mixture.clone())));
        }
        layers.extend(self.after_base(continuous)?);
        Ok(Flow::new(Chain::new(layers)?))
    }

    /// The flow's map without the one from the standard normal to the base: its latents have the distribution
    /// [`FlowSpec::base`], and candle differentiates through it.
    ///
    /// # Errors
    /// As [`FlowSpec::build`].
    pub fn inner(&self, theta: Tensor) -> Result<Chain> {
        Chain::new(self.after_base(Continuous::new(self.velocity.clone(), theta, self.solver.clone())?)?)
    }

    fn after_base(&self, continuous: Continuous) -> Result<Vec<Box<dyn Bijection>>> {
        let mut layers: Vec<Box<dyn Bijection>> = vec![Box::new(continuous)];
        if let Some(Moments { mean, std }) = &self.standardise {
            layers.push(Box::new(Standardise::new(mean.clone(), std.clone())?));
        }
        if let Some(columns) = &self.columns {
            layers.push(Box::new(Columns::new(columns.clone())?));
        }
        Ok(layers)
    }

    /// Whether all parts are sound and of one dimension.
    fn check(&self) -> std::result::Result<(), String> {
        let d = self.velocity.dim();
        if let Some(Moments { mean, std }) = &self.standardise
            && (mean.len() != d || Standardise::new(mean.clone(), std.clone()).is_err())
        {
            return Err("its standardisation does not fit its velocity".into());
        }
        if let Some(columns) = &self.columns
            && (columns.len() != d || Columns::new(columns.clone()).is_err())
        {
            return Err("its columns do not fit its velocity".into());
        }
        match &self.base {
            Some(base) if base.dim() != d => Err("its base distribution does not fit its velocity".into()),
            _ => Ok(()),
        }
    }
}

/// A flow's spec, its parameters, and the story of its training.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is made of.
    pub spec: FlowSpec,
    /// θ.
    pub theta: Vec<f32>,
    /// How it was trained: data, seed, options, held-out NLL. Free-form; for people and for `cnf info`.
    pub story: serde_json::Map<String, Value>,
}

/// What is saved under [`KEY`].
#[derive(Serialize, Deserialize)]
struct Card {
    format: u32,
    flow: FlowSpec,
    #[serde(default)]
    story: serde_json::Map<String, Value>,
}

impl Model {
    /// d.
    pub fn dim(&self) -> usize {
        self.spec.velocity.dim()
    }

    /// The number of conditioning columns.
    pub fn condition_dim(&self) -> usize {
        self.spec.velocity.condition_dim()
    }

    /// The continuous layer, computing in `dtype` (f32 or f64).
    ///
    /// # Errors
    /// As [`Continuous::new`].
    pub fn continuous(&self, dtype: DType) -> Result<Continuous> {
        let theta = Tensor::from_slice(&self.theta, self.theta.len(), &Device::Cpu)?.to_dtype(dtype)?;
        Continuous::new(self.spec.velocity.clone(), theta, self.spec.solver.clone())
    }

    /// The flow, computing in `dtype` (f32 or f64).
    ///
    /// # Errors
    /// As [`FlowSpec::build`].
    pub fn flow(&self, dtype: DType) -> Result<Flow<Chain>> {
        self.spec.around(self.continuous(dtype)?)
    }

    /// Writes the model file, aside and renamed.
    ///
    /// # Errors
    /// [`Error::Write`] where the disk refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = Vec::new();
        let mut start = 0;
        for (name, shape) in self.spec.velocity.tensor_names() {
            let length: usize = shape.iter().product();
            let values = Values::F32(self.theta[start..start + length].to_vec());
            tensors.push(NamedTensor { name, shape, values });
            start += length;
        }
        // Moments and mixtures are tensors, not text: their bits survive.
        let mut put = |name: &str, shape: Vec<usize>, values: &[f64]| {
            tensors.push(NamedTensor { name: name.into(), shape, values: Values::F64(values.to_vec()) });
        };
        if let Some(Moments { mean, std }) = &self.spec.standardise {
            put(MEAN, vec![mean.len()], mean);
            put(STD, vec![std.len()], std);
        }
        if let Some(base) = &self.spec.base {
            let (k, d) = (base.components(), base.dim());
            put(BASE[0], vec![k], base.weights());
            put(BASE[1], vec![k, d], base.means());
            put(BASE[2], vec![k, d, d], base.factors());
        }
        let flow = FlowSpec { standardise: None, base: None, ..self.spec.clone() };
        let format = if self.spec.columns.is_some() || self.spec.base.is_some() { FORMAT } else { 1 };
        let card = Card { format, flow, story: self.story.clone() };
        let text = serde_json::to_string(&card).map_err(|e| Error::write(path, e))?;
        ModelFile { tensors, metadata: BTreeMap::from([(KEY.to_owned(), text)]) }.write(path)
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// [`Error::Read`] where it is missing, truncated, foreign, or does not fit its own description.
    pub fn load(path: &Path) -> Result<Self> {
        let file = ModelFile::read(path)?;
        let Some(text) = file.metadata.get(KEY) else {
            return Err(Error::read(
                path,
                "it holds tensors but no description of a flow",
                "make a model file of PyTorch weights with `cnf import`",
            ));
        };
        let again = "the file was changed by hand or by another program: train or import again";
        let version = serde_json::from_str::<Value>(text).ok().and_then(|card| card.get("format")?.as_u64());
        if let Some(version) = version.filter(|version| *version > u64::from(FORMAT)) {
            return Err(Error::read(
                path,
                format!("it is of format {version}, this program knows up to {FORMAT}"),
                "use a newer version of cnf",
            ));
        }
        let card: Card = serde_json::from_str(text)
            .map_err(|e| Error::read(path, format!("its description of the flow is broken: {e}"), again))?;
        let mut spec = card.flow;
        let names = spec.velocity.tensor_names();
        spec.velocity
            .validate()
            .and_then(|()| spec.solver.validate())
            .map_err(|e| Error::read(path, e.to_string(), again))?;
        let mut theta = Vec::new();
        for (name, shape) in &names {
            let tensor =
                file.tensor(name).ok_or_else(|| Error::read(path, format!("the tensor `{name}` is missing"), again))?;
            if tensor.shape != *shape {
                let problem = format!("`{name}` has shape {:?}, the description says {shape:?}", tensor.shape);
                return Err(Error::read(path, problem, again));
            }
            theta.extend_from_slice(&tensor.values.to_f32());
        }
        let numbers = |name: &str| file.tensor(name).map(|t| t.values.to_f64().into_owned());
        let mut known = names.len();
        if let (Some(mean), Some(std)) = (numbers(MEAN), numbers(STD)) {
            spec.standardise = Some(Moments { mean, std });
            known += 2;
        }
        if let [Some(weights), Some(means), Some(factors)] = BASE.map(numbers) {
            let mixture = Mixture::new(weights, means, factors);
            spec.base =
                Some(mixture.map_err(|e| Error::read(path, format!("its base distribution is broken: {e}"), again))?);
            known += BASE.len();
        }
        if file.tensors.len() != known {
            let is_known = |t: &NamedTensor| {
                let base = spec.base.is_some() && BASE.contains(&t.name.as_str());
                let moments = spec.standardise.is_some() && [MEAN, STD].contains(&t.name.as_str());
                names.iter().any(|(name, _)| *name == t.name) || base || moments
            };
            let extra = file.tensors.iter().find(|t| !is_known(t));
            let extra = extra.map_or_else(String::new, |t| t.name.clone());
            return Err(Error::read(path, format!("it holds a tensor `{extra}` that is no part of the flow"), again));
        }
        if let Some(i) = theta.iter().position(|w| !w.is_finite()) {
            return Err(Error::read(path, format!("parameter {i} is {}", theta[i]), again));
        }
        spec.check().map_err(|problem| Error::read(path, problem, again))?;
        Ok(Self { spec, theta, story: card.story })
    }
}
