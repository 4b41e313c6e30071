//! A model with bound parameters: plain rows in, plain rows out.
//!
//! Parameters are bound once, in one precision; from then on every function takes plain rows, `[n, d]` with conditions
//! `[n, c]` (empty where the model has none), and returns a result for each of them. A row that fails is in the result
//! with its reason; it does not affect the others. Cloning shares the parameters.

use std::sync::Arc;

use crate::continuous::{Continuous, Work};
use crate::discrete::Discrete;
use crate::model::{Architecture, Flow, FlowSpec, Points, Scored, Solved};
use crate::transform::classes::WithClasses;
use crate::transform::condition::Conditioned;
use crate::transform::simplex::WithSimplexes;
use crate::transform::{
    Base, Bijection, Chain, ClassTable, Columns, Condition, Dequantise, Identity, Latents, PixelLayers, PixelTerms,
    Rosenblatt, Simplexes, Standardise, check_time,
};
use crate::velocity::{Device, Precision};
use crate::{Error, Result, Rng};

/// An [`Architecture`] with its parameters.
#[derive(Clone)]
pub enum BoundArchitecture {
    /// A velocity, integrated.
    Continuous(Continuous),
    /// Couplings.
    Discrete(Discrete),
    /// What has no parameters of its own: the identity, or a table of probabilities.
    Fixed(Arc<dyn Bijection>),
}

impl BoundArchitecture {
    /// The map of conditions as `condition` encodes them, or as they are.
    fn bijection(&self, condition: Option<&Arc<Condition>>) -> Arc<dyn Bijection> {
        let inner: Arc<dyn Bijection> = match (self, condition) {
            (Self::Continuous(flow), Some(condition)) => return Arc::new(flow.encoding(condition.clone())),
            (Self::Continuous(flow), None) => Arc::new(flow.clone()),
            (Self::Discrete(flow), _) => Arc::new(flow.clone()),
            (Self::Fixed(map), _) => map.clone(),
        };
        match condition {
            None => inner,
            Some(condition) => Arc::new(Conditioned { condition: condition.clone(), inner }),
        }
    }
}

/// What stands around the architecture: made once for a model and all that is cut from it.
#[derive(Clone)]
struct Surroundings {
    /// The distribution that the architecture starts from.
    base: Base,
    /// From the standard normal to the base, where that is a mixture.
    to_base: Option<Arc<Rosenblatt>>,
    condition: Option<Arc<Condition>>,
    /// From the side of the architecture to that of the standardisation, where the flow begins at a discrete one.
    base_flow: Option<Discrete>,
    standardise: Option<Arc<Standardise>>,
    columns: Option<Arc<Columns>>,
    /// The noise of columns of whole numbers.
    whole: Option<Arc<Dequantise>>,
    /// The table of columns of classes.
    classes: Option<Arc<ClassTable>>,
    /// The columns that are parts of a whole.
    parts: Option<Arc<Simplexes>>,
    /// The levels of pixels and their noise; none where rows are not images.
    pixels: Option<PixelLayers>,
}

impl Surroundings {
    /// With the noise in whole numbers of the draw of this number; nets compute in `precision`.
    fn new(spec: &FlowSpec, draw: u64, precision: Precision) -> Result<Self> {
        let pixels = spec.pixels.as_ref().map(|pixels| pixels.layers(spec.solver.probe_seed, draw)).transpose()?;
        Ok(Self {
            pixels,
            base: spec.base(),
            to_base: spec.base.as_ref().map(|mixture| Arc::new(Rosenblatt::new(mixture.clone()))),
            condition: spec.condition.clone().map(Arc::new),
            base_flow: spec.base_flow.as_ref().map(|flow| flow.bind(precision)).transpose()?,
            classes: spec.classes.clone().map(Arc::new),
            parts: spec.parts()?.map(Arc::new),
            standardise: spec.standardisation()?.map(Arc::new),
            columns: spec.column_kinds()?.map(Arc::new),
            whole: spec.whole_numbers(spec.solver.probe_seed, draw)?.map(Arc::new),
        })
    }

    /// The layers between the architecture and the data, the architecture's side first. They take conditions as the user
    /// has them.
    fn preprocessing(&self) -> Vec<Arc<dyn Bijection>> {
        let base_flow = self.base_flow.clone();
        let base_flow = base_flow.map(|flow| BoundArchitecture::Discrete(flow).bijection(self.condition.as_ref()));
        let standardise = self.standardise.clone().map(|map| -> Arc<dyn Bijection> { map });
        let columns = self.columns.clone().map(|map| -> Arc<dyn Bijection> { map });
        let pixels = self.pixels.iter().flat_map(PixelLayers::bijections);
        let whole = self.whole.clone().map(|map| -> Arc<dyn Bijection> { map });
        base_flow.into_iter().chain(standardise).chain(columns).chain(whole).chain(pixels).collect()
    }

    /// The flow with this architecture.
    fn around(&self, architecture: &BoundArchitecture) -> Result<Flow<Chain>> {
        let mut layers: Vec<Arc<dyn Bijection>> = Vec::new();
        if let Some(map) = &self.to_base {
            layers.push(map.clone());
        }
        layers.push(architecture.bijection(self.condition.as_ref()));
        layers.extend(self.preprocessing());
        let mut chain = Chain::new(layers)?;
        if let Some(parts) = &self.parts {
            chain = Chain::new(vec![Arc::new(WithSimplexes::new(parts.clone(), chain))])?;
        }
        Ok(Flow::new(match &self.classes {
            None => chain,
            Some(table) => Chain::new(vec![Arc::new(WithClasses::new(table.clone(), chain))])?,
        }))
    }
}

/// A model with its parameters bound.
#[derive(Clone)]
pub struct BoundModel {
    spec: Arc<FlowSpec>,
    precision: Precision,
    architecture: BoundArchitecture,
    surroundings: Arc<Surroundings>,
    flow: Flow<Chain>,
}

impl std::fmt::Debug for BoundModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BoundModel({}, d = {}, {:?})", self.spec.architecture.name(), self.dim(), self.precision)
    }
}

impl FlowSpec {
    /// The model with parameters `theta` (`[n_params]`), which computes in `precision`.
    ///
    /// # Errors
    /// As [`Continuous::new`], [`Discrete::new`] and [`FlowSpec::preprocessing`]; [`Error::Dimension`] where the parts
    /// differ in dimension.
    pub fn bind<W: Copy + Into<f64>>(&self, theta: &[W], precision: Precision) -> Result<BoundModel> {
        self.bind_on(theta, precision, Device::Cpu)
    }

    /// As [`FlowSpec::bind`]; a velocity of candle layers is evaluated on `device`.
    ///
    /// # Errors
    /// As [`FlowSpec::bind`].
    pub fn bind_on<W: Copy + Into<f64>>(
        &self,
        theta: &[W],
        precision: Precision,
        device: Device,
    ) -> Result<BoundModel> {
        let theta: Vec<f64> = theta.iter().map(|w| (*w).into()).collect();
        let architecture = match &self.architecture {
            Architecture::Velocity(spec) => BoundArchitecture::Continuous(Continuous::on_device(
                spec,
                &theta,
                self.solver.clone(),
                precision,
                device,
            )?),
            Architecture::Discrete(spec) => {
                BoundArchitecture::Discrete(Discrete::new(spec.clone(), &theta, precision)?)
            }
            Architecture::Identity { dim } => BoundArchitecture::Fixed(Arc::new(Identity::new(*dim))),
            Architecture::Histogram(table) => BoundArchitecture::Fixed(Arc::new(table.clone())),
        };
        let surroundings = Arc::new(Surroundings::new(self, 0, precision)?);
        let flow = surroundings.around(&architecture)?;
        Ok(BoundModel { spec: Arc::new(self.clone()), precision, architecture, surroundings, flow })
    }
}

impl BoundModel {
    /// d.
    pub fn dim(&self) -> usize {
        self.spec.dim()
    }

    /// The number of conditioning columns, c.
    pub fn condition_dim(&self) -> usize {
        self.spec.condition_dim()
    }

    /// The parts of the flow.
    pub fn spec(&self) -> &FlowSpec {
        &self.spec
    }

    /// The precision of its nets.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Its architecture.
    pub fn architecture(&self) -> &BoundArchitecture {
        &self.architecture
    }

    /// It as a base and a map.
    pub fn flow(&self) -> &Flow<Chain> {
        &self.flow
    }

    /// log p of the rows of `x` in nats, in the data's units.
    ///
    /// # Errors
    /// [`Error::Dimension`] and [`Error::Invalid`] for incomplete rows or an unknown class; the errors of the solver.
    pub fn log_prob(&self, x: &[f64], condition: &[f64]) -> Result<Scored> {
        self.flow.log_prob(x, condition)
    }

    /// Latents and log-densities of the rows of `x`.
    ///
    /// # Errors
    /// As [`BoundModel::log_prob`].
    pub fn encode(&self, x: &[f64], condition: &[f64]) -> Result<Solved> {
        self.flow.encode(x, condition)
    }

    /// The data of the latents `z`, with log-densities, from one solve.
    ///
    /// # Errors
    /// As [`BoundModel::log_prob`].
    pub fn decode(&self, z: &[f64], condition: &[f64]) -> Result<Solved> {
        self.flow.decode(z, condition)
    }

    /// Latents of the rows of `x` alone: no log-density is integrated.
    ///
    /// # Errors
    /// As [`BoundModel::log_prob`].
    pub fn latents(&self, x: &[f64], condition: &[f64]) -> Result<Points> {
        self.flow.latents(x, condition)
    }

    /// The data of the latents `z` alone: no log-density is integrated.
    ///
    /// # Errors
    /// As [`BoundModel::log_prob`].
    pub fn points(&self, z: &[f64], condition: &[f64]) -> Result<Points> {
        self.flow.points(z, condition)
    }

    /// `n` draws from the model, each under its row of conditions.
    ///
    /// # Errors
    /// As [`BoundModel::log_prob`].
    pub fn sample(&self, n: usize, condition: &[f64], rng: &mut Rng) -> Result<Points> {
        self.flow.sample(n, condition, rng)
    }

    /// Rows `first` to `first + n` of the sample of `seed`, each under its row of `condition`: those of `cnf sample`. No
    /// row needs those before it, so that parts of one sample can be drawn anywhere, to the same bits.
    ///
    /// # Errors
    /// As [`BoundModel::log_prob`].
    pub fn sample_rows(&self, seed: u64, first: u64, n: usize, condition: &[f64]) -> Result<Points> {
        self.points(&Latents::new(self.dim(), seed).rows(first, n), condition)
    }

    /// The distribution at `t`, from 0 (the base, in the data's units) to 1 (the data): a continuous flow ends at that
    /// time, a discrete flow keeps the first ⌊t L⌋ of its L layers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for t outside \[0, 1\].
    pub fn until(&self, t: f64) -> Result<Self> {
        check_time(t)?;
        self.with_architecture(match &self.architecture {
            BoundArchitecture::Continuous(flow) => BoundArchitecture::Continuous(flow.until(t)?),
            BoundArchitecture::Discrete(flow) => BoundArchitecture::Discrete(flow.until(flow.spec().layers_until(t))?),
            BoundArchitecture::Fixed(_) => return Ok(self.clone()),
        })
    }

    /// Tells in `progress` how far the trajectories of a velocity are; a pass through layers tells nothing. Both end where
    /// `progress` is stopped.
    ///
    /// # Errors
    /// As [`FlowSpec::bind`].
    pub fn with_progress(&self, progress: Arc<Work>) -> Result<Self> {
        let base_flow = self.surroundings.base_flow.as_ref().map(|flow| flow.stopped_by(progress.clone()));
        let surroundings = match base_flow {
            None => self.surroundings.clone(),
            Some(flow) => Arc::new(Surroundings { base_flow: Some(flow), ..(*self.surroundings).clone() }),
        };
        let architecture = match &self.architecture {
            BoundArchitecture::Continuous(flow) => BoundArchitecture::Continuous(flow.with_progress(progress)),
            BoundArchitecture::Discrete(flow) => BoundArchitecture::Discrete(flow.stopped_by(progress)),
            BoundArchitecture::Fixed(_) => return Ok(self.clone()),
        };
        Self { surroundings, ..self.clone() }.with_architecture(architecture)
    }

    /// With another draw of the noise in whole numbers; other models stay as they are.
    ///
    /// # Errors
    /// As [`FlowSpec::preprocessing`].
    pub fn with_draw(&self, draw: u64) -> Result<Self> {
        let surroundings = Arc::new(Surroundings::new(&self.spec, draw, self.precision)?);
        Self { surroundings, ..self.clone() }.with_architecture(self.architecture.clone())
    }

    /// The model of the real numbers behind the noise of columns of whole numbers, as
    /// [`FlowSpec::of_real_numbers`]; other models stay as they are.
    ///
    /// # Errors
    /// As [`FlowSpec::preprocessing`].
    pub fn of_real_numbers(&self) -> Result<Self> {
        if !self.spec.has_integers() {
            return Ok(self.clone());
        }
        let spec = Arc::new(self.spec.of_real_numbers());
        let surroundings = Arc::new(Surroundings::new(&spec, 0, self.precision)?);
        Self { spec, surroundings, ..self.clone() }.with_architecture(self.architecture.clone())
    }

    /// The model of the other columns under the classes, as [`FlowSpec::under_classes`]; other models stay as they are.
    ///
    /// # Errors
    /// As [`FlowSpec::preprocessing`].
    pub fn under_classes(&self) -> Result<Self> {
        if self.spec.classes.is_none() {
            return Ok(self.clone());
        }
        let spec = Arc::new(self.spec.under_classes());
        let surroundings = Arc::new(Surroundings::new(&spec, 0, self.precision)?);
        Self { spec, surroundings, ..self.clone() }.with_architecture(self.architecture.clone())
    }

    /// The model of the log-ratios in place of simplexes, as [`FlowSpec::of_log_ratios`]; other models stay as they are.
    ///
    /// # Errors
    /// As [`FlowSpec::preprocessing`].
    pub fn of_log_ratios(&self) -> Result<Self> {
        if self.spec.simplexes.is_empty() {
            return Ok(self.clone());
        }
        let spec = Arc::new(self.spec.of_log_ratios()?);
        let surroundings = Arc::new(Surroundings::new(&spec, 0, self.precision)?);
        Self { spec, surroundings, ..self.clone() }.with_architecture(self.architecture.clone())
    }

    /// What the map of the pixels and their noise add to log P of the images `x` (`[n, d]`); none where rows are not
    /// images.
    ///
    /// # Errors
    /// [`Error::Dimension`] for incomplete rows.
    pub fn pixel_terms(&self, x: &[f64]) -> Result<Option<PixelTerms>> {
        self.pixels().map(|pixels| pixels.terms(x)).transpose()
    }

    fn with_architecture(&self, architecture: BoundArchitecture) -> Result<Self> {
        let flow = self.surroundings.around(&architecture)?;
        let (spec, surroundings) = (self.spec.clone(), self.surroundings.clone());
        Ok(Self { spec, precision: self.precision, architecture, surroundings, flow })
    }

    /// The distribution that the architecture starts from.
    pub(super) fn base(&self) -> &Base {
        &self.surroundings.base
    }

    /// From the standard normal to the base, where that is a mixture.
    pub(super) fn to_base(&self) -> Option<&Rosenblatt> {
        self.surroundings.to_base.as_deref()
    }

    /// The discrete flow at which it begins, where there is one.
    pub(super) fn base_flow(&self) -> Option<&Discrete> {
        self.surroundings.base_flow.as_ref()
    }

    /// The standardisation, where there is one.
    pub(super) fn standardise(&self) -> Option<&Standardise> {
        self.surroundings.standardise.as_deref()
    }

    /// The kinds of columns, where one is not plain.
    pub(super) fn columns(&self) -> Option<&Columns> {
        self.surroundings.columns.as_deref()
    }

    /// The noise of columns of whole numbers, where there are some.
    pub(super) fn whole_numbers(&self) -> Option<&Dequantise> {
        self.surroundings.whole.as_deref()
    }

    /// The columns that are parts of a whole, where there are some.
    pub(super) fn parts(&self) -> Option<&Simplexes> {
        self.surroundings.parts.as_deref()
    }

    /// The levels of pixels and their noise; none where rows are not images.
    pub(super) fn pixels(&self) -> Option<&PixelLayers> {
        self.surroundings.pixels.as_ref()
    }

    /// The layers between the architecture and the data, the architecture's side first. They take conditions as the user
    /// has them.
    pub(super) fn preprocessing(&self) -> Vec<Arc<dyn Bijection>> {
        self.surroundings.preprocessing()
    }

    /// The continuous layer.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is none.
    pub fn continuous(&self) -> Result<&Continuous> {
        match &self.architecture {
            BoundArchitecture::Continuous(flow) => Ok(flow),
            _ => Err(self
                .spec
                .architecture
                .velocity()
                .err()
                .unwrap_or_else(|| Error::invalid("the model has no velocity", ""))),
        }
    }
}
