//! A model: a flow's spec with its parameters and its provenance, as one file.
//!
//! The file is safetensors: a net's tensors under PyTorch's names (`net.0.weight`, …), and one JSON object
//! in the metadata under `cnf` that describes them: spec, preprocessing, solver, and how it was trained.
//! Nothing else is needed to use it, on any machine.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::io::safetensors::{ModelFile, NamedTensor, Values};
use crate::model::{Architecture, BaseFlow, BoundModel, FlowSpec, Moments};
use crate::transform::condition::Range;
use crate::transform::{Histogram, Mixture};
use crate::velocity::{Precision, VelocitySpec};
use crate::{Error, Result};

/// The key of the metadata.
pub(super) const KEY: &str = "cnf";
/// The tensors of a standardisation.
const MEAN: &str = "standardise.mean";
const STD: &str = "standardise.std";
/// The tensors of a base distribution.
const BASE: [&str; 3] = ["base.weights", "base.means", "base.factors"];
/// The tensors of a table of probabilities.
const TABLE: [&str; 3] = ["histogram.range", "histogram.tails", "histogram.probabilities"];
/// The version of what is under the key: 1 for a velocity and a standardisation, 2 where columns or a base are there,
/// 3 for an architecture that is not a velocity and for encoded conditions, 4 for images, for a velocity and layers of
/// images and for a net within a Gaussian's velocity, 5 for a flow that begins at a discrete one and for columns of whole
/// numbers, classes or simplexes, 6 for the exact log-density of equal steps, 7 for a layer that is not learnt. An older program
/// refuses a newer version.
const FORMAT: u32 = 7;
/// That of the exact log-density of equal steps.
const OF_EXACT: u32 = 6;
/// That of a flow that begins at a discrete one, and of columns of whole numbers, classes or simplexes.
const OF_BASE_FLOWS: u32 = 5;
/// That of images, and of a net within a Gaussian's velocity.
const OF_IMAGES: u32 = 4;

/// What errors call a model file that is not on a disk.
const IN_MEMORY: &str = "the bytes of a model";

/// The way out of a file that does not fit its own description.
const AGAIN: &str = "train or import again: the file was changed by hand or by another program";

/// A flow's spec, its parameters, and the provenance of its training.
#[derive(Clone, Debug)]
pub struct Model {
    /// The parts of the flow.
    pub spec: FlowSpec,
    /// θ.
    pub theta: Vec<f32>,
    /// How it was trained: data, seed, options, held-out NLL. Free-form; for people and for `cnf info`.
    pub provenance: serde_json::Map<String, Value>,
}

/// What is saved under [`KEY`].
#[derive(Serialize, Deserialize)]
struct Card {
    format: u32,
    flow: FlowSpec,
    /// Names, ranges, counts and words lie beside the flow, not in it: no density depends on them, and an older program ignores
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    condition_ranges: Vec<Option<Range>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    class_counts: Vec<Vec<u64>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    class_words: Vec<Vec<String>>,
    /// Called `story` in files of older versions.
    #[serde(default, alias = "story")]
    provenance: serde_json::Map<String, Value>,
}

impl Card {
    /// The description that is `text`, checked by itself; `path` is only for the messages.
    fn parse(path: &Path, text: &str) -> Result<Self> {
        let version = serde_json::from_str::<Value>(text).ok().and_then(|card| card.get("format")?.as_u64());
        if let Some(version) = version.filter(|version| *version > u64::from(FORMAT)) {
            return Err(Error::read(
                path,
                format!("its format is {version}, this version of cnf reads formats up to {FORMAT}"),
                "use a newer version of cnf",
            ));
        }
        let card: Self = serde_json::from_str(text)
            .map_err(|e| Error::read(path, format!("its description of the flow is broken: {e}"), AGAIN))?;
        let FlowSpec { architecture, solver, .. } = &card.flow;
        let layers = card.flow.base_flow.as_ref().map_or(Ok(()), |flow| flow.layers.validate());
        let exact = architecture.as_velocity().map_or(Ok(()), |net| solver.check_exact(net.dim(), net.shape()));
        let checked = architecture.validate().and(layers).and_then(|()| solver.validate()).and(exact);
        checked.map_err(|e| Error::read(path, e.to_string(), AGAIN))?;
        Ok(card)
    }

    /// The spec, with what lies beside it; what tensors hold is not in it yet.
    fn spec(&self) -> FlowSpec {
        let (names, condition_ranges) = (self.names.clone(), self.condition_ranges.clone());
        let (class_counts, class_words) = (self.class_counts.clone(), self.class_words.clone());
        FlowSpec { names, condition_ranges, class_counts, class_words, ..self.flow.clone() }
    }
}

/// The spec of a description, without what tensors hold; `path` is only for the messages.
///
/// # Errors
/// [`Error::Read`] where the description is broken, of a newer format, or not valid.
pub(super) fn described(path: &Path, text: &str) -> Result<FlowSpec> {
    Ok(Card::parse(path, text)?.spec())
}

impl Model {
    /// d.
    pub fn dim(&self) -> usize {
        self.spec.dim()
    }

    /// The number of conditioning columns.
    pub fn condition_dim(&self) -> usize {
        self.spec.condition_dim()
    }

    /// The number of fitted parameters: θ, or those of the base where nothing else is fitted.
    pub fn n_params(&self) -> usize {
        match (&self.spec.architecture, &self.spec.base) {
            (Architecture::Identity { dim: d }, Some(base)) => base.components() * (1 + d + d * (d + 1) / 2) - 1,
            (Architecture::Histogram(table), _) => table.probabilities().len() - 1,
            _ => self.theta.len() + self.spec.base_flow.as_ref().map_or(0, |flow| flow.theta.len()),
        }
    }

    /// The model with its parameters in `precision`: later calls do not bind them again.
    ///
    /// # Errors
    /// As [`FlowSpec::bind`].
    pub fn bind(&self, precision: Precision) -> Result<BoundModel> {
        self.spec.bind(&self.theta, precision)
    }

    /// Writes the model to a temporary file and renames it.
    ///
    /// # Errors
    /// [`Error::Write`] where the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.to_file(path)?.write(path)
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// [`Error::Parameters`] where θ does not fit the spec; [`Error::Write`] for a provenance that JSON cannot hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.to_file(Path::new(IN_MEMORY))?.to_bytes()
    }

    /// The model of the bytes of a file.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let path = Path::new(IN_MEMORY);
        Self::of_file(path, &ModelFile::parse(path, bytes)?)
    }

    /// The contents of the model file at `path`.
    ///
    /// # Errors
    /// [`Error::Parameters`] where θ does not fit the spec; [`Error::Write`] for a provenance that JSON cannot hold.
    pub(crate) fn to_file(&self, path: &Path) -> Result<ModelFile> {
        let (expected, found) = (self.spec.architecture.n_params(), self.theta.len());
        if expected != found {
            return Err(Error::Parameters { expected, found });
        }
        let mut tensors = Vec::new();
        put_theta(&mut tensors, self.spec.architecture.tensor_names(), &self.theta);
        if let Some(flow) = &self.spec.base_flow {
            let (expected, found) = (flow.layers.n_params(), flow.theta.len());
            if expected != found {
                return Err(Error::Parameters { expected, found });
            }
            put_theta(&mut tensors, flow.tensor_names(), &flow.theta);
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
        let mut flow = FlowSpec { standardise: None, base: None, ..self.spec.clone() };
        let (names, condition_ranges) = (std::mem::take(&mut flow.names), std::mem::take(&mut flow.condition_ranges));
        if let Architecture::Histogram(table) = &self.spec.architecture {
            let parts = table.to_tensors();
            TABLE.iter().zip(parts).for_each(|(name, (_, shape, values))| put(name, shape, &values));
            flow.architecture = Architecture::Identity { dim: table.dim() };
        }
        let format = match &self.spec {
            spec if spec.has_fixed_layers() => FORMAT,
            spec if spec.solver.exact() => OF_EXACT,
            spec if spec.base_flow.is_some() || spec.has_integers() || !spec.is_dense() => OF_BASE_FLOWS,
            spec if spec.pixels.is_some() => OF_IMAGES,
            spec if spec.architecture.as_discrete().is_some_and(|layers| layers.image.is_some()) => OF_IMAGES,
            spec if matches!(
                spec.architecture.as_velocity(),
                Some(VelocitySpec::Image(_) | VelocitySpec::Preconditioned(_))
            ) =>
            {
                OF_IMAGES
            }
            spec if spec.architecture.as_velocity().is_none() || spec.condition.is_some() => 3,
            spec if spec.columns.is_some() || spec.base.is_some() => 2,
            _ => 1,
        };
        let (class_counts, class_words) =
            (std::mem::take(&mut flow.class_counts), std::mem::take(&mut flow.class_words));
        let provenance = self.provenance.clone();
        let card = Card { format, flow, names, condition_ranges, class_counts, class_words, provenance };
        let text = serde_json::to_string(&card).map_err(|e| Error::write(path, e))?;
        Ok(ModelFile { tensors, metadata: BTreeMap::from([(KEY.to_owned(), text)]) })
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// [`Error::Read`] where it is missing, truncated, foreign, or does not fit its own description.
    pub fn load(path: &Path) -> Result<Self> {
        Self::of_file(path, &ModelFile::read(path)?)
    }

    /// The model in the contents of the file at `path`.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub(crate) fn of_file(path: &Path, file: &ModelFile) -> Result<Self> {
        let Some(text) = file.metadata.get(KEY) else {
            return Err(Error::read(
                path,
                "it holds tensors but no description of a flow",
                "make a model file of the weights: import them with the net's options",
            ));
        };
        let card = Card::parse(path, text)?;
        let mut spec = card.spec();
        let names = spec.architecture.tensor_names();
        let theta = take_theta(path, file, &names)?;
        let numbers = |name: &str| file.tensor(name).map(|t| t.values.to_f64().into_owned());
        let mut known = names.len();
        let layers = spec.base_flow.as_ref().map_or_else(Vec::new, BaseFlow::tensor_names);
        if let Some(flow) = &mut spec.base_flow {
            flow.theta = take_theta(path, file, &layers)?.into();
            known += layers.len();
        }
        if let (Some(mean), Some(std)) = (numbers(MEAN), numbers(STD)) {
            spec.standardise = Some(Moments { mean, std });
            known += 2;
        }
        if let [Some(weights), Some(means), Some(factors)] = BASE.map(numbers) {
            let mixture = Mixture::new(weights, means, factors);
            spec.base =
                Some(mixture.map_err(|e| Error::read(path, format!("its base distribution is broken: {e}"), AGAIN))?);
            known += BASE.len();
        }
        if let [Some(range), Some(tails), Some(probabilities)] = TABLE.map(numbers) {
            let bins = file.tensor(TABLE[2]).map_or(Vec::new(), |tensor| tensor.shape.clone());
            let table = Histogram::from_tensors(&range, &tails, &probabilities, &bins);
            let table = table.map_err(|e| Error::read(path, format!("its table is broken: {e}"), AGAIN))?;
            if spec.architecture != (Architecture::Identity { dim: table.dim() }) {
                return Err(Error::read(path, "its table does not fit the flow", AGAIN));
            }
            spec.architecture = Architecture::Histogram(table);
            known += TABLE.len();
        }
        if file.tensors.len() != known {
            let is_known = |t: &NamedTensor| {
                let base = spec.base.is_some() && BASE.contains(&t.name.as_str());
                let moments = spec.standardise.is_some() && [MEAN, STD].contains(&t.name.as_str());
                let table = matches!(spec.architecture, Architecture::Histogram(_)) && TABLE.contains(&t.name.as_str());
                names.iter().chain(&layers).any(|(name, _)| *name == t.name) || base || moments || table
            };
            let extra = file.tensors.iter().find(|t| !is_known(t));
            let extra = extra.map_or_else(String::new, |t| t.name.clone());
            return Err(Error::read(path, format!("it holds a tensor `{extra}` that is not part of the flow"), AGAIN));
        }
        spec.check().map_err(|problem| Error::read(path, problem, AGAIN))?;
        Ok(Self { spec, theta, provenance: card.provenance })
    }
}

/// Adds the tensors of `names` with the parameters `theta`, in their order.
fn put_theta(tensors: &mut Vec<NamedTensor>, names: Vec<(String, Vec<usize>)>, theta: &[f32]) {
    let mut start = 0;
    for (name, shape) in names {
        let length: usize = shape.iter().product();
        let values = Values::F32(theta[start..start + length].to_vec());
        tensors.push(NamedTensor { name, shape, values });
        start += length;
    }
}

/// The parameters in the tensors of `names`, in their order; `path` is only for the messages.
fn take_theta(path: &Path, file: &ModelFile, names: &[(String, Vec<usize>)]) -> Result<Vec<f32>> {
    let mut theta = Vec::new();
    for (name, shape) in names {
        let tensor =
            file.tensor(name).ok_or_else(|| Error::read(path, format!("the tensor `{name}` is missing"), AGAIN))?;
        if tensor.shape != *shape {
            let problem = format!("`{name}` has shape {:?}, expected {shape:?}", tensor.shape);
            return Err(Error::read(path, problem, AGAIN));
        }
        theta.extend_from_slice(&tensor.values.to_f32());
    }
    match theta.iter().position(|w| !w.is_finite()) {
        Some(i) => Err(Error::read(path, format!("parameter {i} is {}", theta[i]), AGAIN)),
        None => Ok(theta),
    }
}
