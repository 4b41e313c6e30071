//! What a job trains: the net or the discrete flow that its options make, and that of a model to start from.

use super::{BaseRule, Job, ModelSection, OptimiserSection};
use crate::discrete::{DiscreteSpec, ImagePlan, Kind, LayerSpec, Mask, Plan};
use crate::model::{Architecture, Model};
use crate::rows::Dataset;
use crate::train::{Family, Net, Objective, PLAN_STREAM, Preconditioning, context};
use crate::velocity::{Activation, GaussianPath, MlpSpec, PreconditionedSpec, TimeInput, VelocitySpec};
use crate::{Error, Result, rng};

/// A discrete flow at which a velocity begins ends after so many held-out scores that were not better: what is left of the
/// time is the velocity's. Splines overfit digits (1439 rows) after 36 passes and magic (15 125) after 56. A shorter
/// schedule is worse: magic −4.22 nats in 1600 steps, −4.12 after 1649 of 4711.
const PATIENCE: usize = 4;
/// The evaluations of a net that a row of a likelihood takes, forth and back.
pub(in crate::train) const EVALUATIONS: f64 = 60.0;

impl Job {
    /// Fills in what a discrete flow leaves out.
    pub(super) fn resolve_discrete(&mut self, kind: Kind, few: bool) -> Result<()> {
        match self.objective.kind {
            // The default of a job.
            Objective::Matching => self.objective.kind = Objective::Likelihood,
            Objective::Likelihood => {}
            Objective::Mixed => {
                return Err(Error::invalid(
                    format!("a mixed objective has no meaning for {}, which has no velocity to match", kind.name()),
                    "set `objective.kind` to likelihood, or `model.family` to cnf",
                ));
            }
        }
        self.model.base = "normal".into();
        self.choose_conditioner(kind)?;
        if self.model.net == Some(Net::Convolution) {
            self.fill_discrete_of_images(kind);
            return Ok(());
        }
        if self.model.init.is_none() {
            self.model.depth.get_or_insert(if kind == Kind::Nice { 12 } else { 8 });
            self.model.hidden.get_or_insert_with(|| vec![64, 64]);
            self.model.activation.get_or_insert(Activation::Relu);
            self.data.spread.get_or_insert(1.0);
        }
        self.optimiser.batch.get_or_insert(512);
        self.optimiser.lr.get_or_insert(if few { 5e-3 } else { 1e-3 });
        Ok(())
    }

    /// The nets of a discrete flow, unless a model to start from decides them.
    fn choose_conditioner(&mut self, kind: Kind) -> Result<()> {
        let own = &mut self.model;
        let is_image = self.data.image.is_some();
        if own.init.is_none() && is_image {
            own.net.get_or_insert(Net::Convolution);
        }
        let refuse = |what: String, hint: &str| Err(Error::invalid(what, hint));
        match own.net {
            Some(Net::ConcatSquash) => refuse(
                format!("`model.net` concatsquash has no meaning for {}, which has no velocity", kind.name()),
                "set `model.net` to mlp, or to convolution for images",
            ),
            Some(Net::Convolution) if !is_image => refuse(
                "the net convolution is for images, and the rows of the data are not images".into(),
                "set `model.net` to mlp, or give images",
            ),
            Some(Net::Convolution) if own.mask != Mask::default() => refuse(
                "`model.mask` has no meaning for the net convolution: the levels decide what a coupling changes".into(),
                "leave out `model.mask`, or set `model.net` to mlp",
            ),
            Some(Net::Mlp) | None if own.levels.is_some() && own.init.is_none() => refuse(
                "`model.levels` has no meaning for the net mlp, which sees an image as a row".into(),
                "leave out `model.levels`, or give images and set `model.net` to convolution",
            ),
            _ => Ok(()),
        }
    }

    /// The discrete flow that the options define, for data of `dim` columns given `condition_dim`.
    fn plan(&self, kind: Kind, dim: usize, condition_dim: usize) -> Plan {
        let shape = self.data.image.filter(|_| self.model.net == Some(Net::Convolution));
        let usual = shape.map_or_else(|| Plan::usual(kind, dim), |shape| Plan::of_images(kind, shape));
        let image = usual.image.map(|own| ImagePlan { levels: self.model.levels.unwrap_or(own.levels), ..own });
        Plan {
            condition_dim,
            depth: self.model.depth.unwrap_or(usual.depth),
            hidden: self.model.hidden.clone().unwrap_or(usual.hidden),
            activation: self.model.activation.unwrap_or(usual.activation),
            mask: self.model.mask,
            linear: usual.linear || self.model.linear,
            bins: self.model.bins,
            bound: self.model.bound,
            most: self.model.log_scale,
            image,
            kind,
            dim,
        }
    }

    /// The discrete flow at which the velocity begins; none where it begins elsewhere.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a base that is none.
    pub(in crate::train) fn base_flow(&self, data: &Dataset) -> Result<Option<Kind>> {
        if self.model.family != Family::Cnf || self.model.init.is_some() || data.shape.is_some() {
            return Ok(None);
        }
        Ok(BaseRule::of(&self.model.base, false)?.flow())
    }

    /// The training of the discrete flow at which this job's velocity begins: with its own defaults, and
    /// `model.base_share` of the budget. Steps are so many that they take that share by the multiplications of the nets,
    /// beside the steps of the velocity.
    ///
    /// # Errors
    /// As [`Job::resolve_for`].
    pub(in crate::train) fn of_base_flow(&self, kind: Kind, data: &Dataset) -> Result<Self> {
        let (share, own) = (self.model.base_share, &self.optimiser);
        let c = context::condition(&self.data.condition, data)?.map_or(0, |condition| condition.width());
        let mut first = self.clone().of_family(Family::Discrete(kind));
        first.optimiser = OptimiserSection {
            steps: own.steps,
            time: own.time.map(|time| share * time),
            validations: own.validations,
            validation_rows: own.validation_rows,
            keep_best: own.keep_best,
            patience: Some(PATIENCE).filter(|_| data.toy().is_none()),
            ..OptimiserSection::default()
        };
        first = first.resolve_for(data)?;
        if let Some(steps) = own.steps {
            let work = |job: &Self| -> Result<f64> {
                Ok(job.architecture(data.dim, c)?.n_params() as f64 * job.optimiser.batch.unwrap_or_default() as f64)
            };
            let of_velocity = match self.objective.kind {
                Objective::Likelihood => EVALUATIONS * work(self)?,
                Objective::Matching | Objective::Mixed => work(self)?,
            };
            let steps = share / (1.0 - share) * steps as f64 * of_velocity / work(&first)?;
            first.optimiser.steps = Some((steps.round() as usize).max(1));
        }
        Ok(first)
    }

    /// What a run without a start trains, for data of `dim` columns given `condition_dim`.
    ///
    /// # Errors
    /// As [`Plan::spec`].
    pub fn architecture(&self, dim: usize, condition_dim: usize) -> Result<Architecture> {
        Ok(match self.model.family {
            Family::Discrete(kind) => {
                let mut rng = rng::stream(self.seed, PLAN_STREAM);
                Architecture::Discrete(self.plan(kind, dim, condition_dim).spec(&mut rng)?)
            }
            Family::Cnf => {
                let mlp = MlpSpec { condition_dim, ..self.net(dim) };
                let net = self.model.net.unwrap_or_default().velocity(mlp, self.data.image)?;
                Architecture::Velocity(self.preconditioned(net))
            }
            _ => Architecture::Identity { dim },
        })
    }

    /// The net as the correction of a Gaussian's velocity, where the job sets that.
    fn preconditioned(&self, net: VelocitySpec) -> VelocitySpec {
        match self.model.preconditioning.unwrap_or_default() {
            Preconditioning::None => net,
            Preconditioning::Gaussian => {
                let gaussian = GaussianPath { path: self.objective.path(), deviation: self.data.spread.unwrap_or(1.0) };
                VelocitySpec::Preconditioned(Box::new(PreconditionedSpec { gaussian, net }))
            }
        }
    }

    /// The job with hidden layers of one width so that the architecture has about `params` parameters.
    ///
    /// # Errors
    /// [`Error::Invalid`] where even the narrowest has more than twice as many, or the widest fewer than half.
    pub fn sized(&self, data: &Dataset, params: usize) -> Result<Self> {
        const WIDEST: usize = 4096;
        let dim = data.dim;
        let resolved = self.clone().resolve_for(data)?;
        let layers = resolved.model.hidden.as_ref().map_or(1, Vec::len).max(1);
        let c = context::condition(&self.data.condition, data)?.map_or(0, |condition| condition.width());
        let of = |width: usize| -> Result<usize> {
            let sized = resolved.clone().with(|job| job.model.hidden = Some(vec![width; layers]));
            Ok(sized.architecture(dim, c)?.n_params())
        };
        // Parameters grow with the width.
        let (mut low, mut high) = (1, WIDEST);
        while low + 1 < high {
            let middle = low.midpoint(high);
            if of(middle)? <= params { low = middle } else { high = middle }
        }
        let off = |width: usize| of(width).map(|found| found.abs_diff(params));
        let width = if off(high)? < off(low)? { high } else { low };
        let found = of(width)?;
        if found > 2 * params || 2 * found < params {
            return Err(Error::invalid(
                format!(
                    "{} cannot have about {}: the nearest is {found}",
                    self.model.family.name(),
                    crate::words::count(params as u64, "parameter")
                ),
                "aim at another number of parameters, or leave the model out",
            ));
        }
        Ok(self.clone().with(|job| job.model.hidden = Some(vec![width; layers])))
    }

    /// The name of the run: the model, and the objective of a velocity.
    pub fn label(&self) -> String {
        match self.model.family {
            Family::Cnf => self.objective.kind.name().into(),
            other => other.name().into(),
        }
    }

    /// Takes over the net of the model that `model.init` names, so that the job describes what is trained.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the job sets another net than the model's; a field at its default sets none.
    pub fn adopt(&mut self, model: &Model) -> Result<()> {
        let usual = Self::default();
        let found = model.spec.architecture.name();
        if self.model.family != usual.model.family && self.model.family.name() != found {
            return refuse("model.family", self.model.family.name().into(), found.into());
        }
        match &model.spec.architecture {
            Architecture::Velocity(velocity) => self.adopt_velocity(velocity, model.spec.standardise.is_some()),
            Architecture::Discrete(spec) => self.adopt_discrete(spec, model.spec.standardise.is_some()),
            Architecture::Identity { .. } | Architecture::Histogram(_) => {
                Err(Error::invalid("the model to start from has nothing to train", "start from a flow"))
            }
        }
    }

    fn adopt_discrete(&mut self, spec: &DiscreteSpec, standardised: bool) -> Result<()> {
        let usual = ModelSection::default();
        let net = spec.layers.iter().find_map(LayerSpec::conditioner);
        let net = net.map(|(hidden, activation, _)| (hidden.to_vec(), activation));
        let plan = ImagePlan::of(spec);
        let depth = plan.map_or(spec.depth(), |(_, steps)| steps);
        let levels = plan.map(|(plan, _)| plan.levels);
        let kind = if plan.is_some() { Net::Convolution } else { Net::Mlp };
        let learnt = |layer: &LayerSpec| matches!(layer, LayerSpec::Linear { fixed: false, .. });
        let linear = spec.kind != Kind::Glow && spec.layers.iter().any(learnt);
        let (hidden, activation) = net.unzip();
        let own = &mut self.model;
        let given = [
            ("net", own.net.is_some_and(|net| net != kind)),
            ("depth", own.depth.is_some_and(|own| own != depth)),
            ("levels", own.levels.is_some() && own.levels != levels),
            ("hidden", own.hidden.is_some() && own.hidden != hidden),
            ("activation", own.activation.is_some() && own.activation != activation),
            ("linear", own.linear && !linear),
            ("bins", own.bins != usual.bins),
            ("mask", own.mask != usual.mask),
        ];
        if let Some((field, _)) = given.into_iter().find(|(_, differs)| *differs) {
            return Err(Error::invalid(
                format!("`model.{field}` differs from that of the model to start from"),
                format!("leave out `model.{field}`: the model to start from decides the net"),
            ));
        }
        (own.family, own.depth, own.levels) = (Family::Discrete(spec.kind), Some(depth), levels);
        own.net = plan.map(|_| kind);
        (own.hidden, own.activation, own.linear) = (hidden, activation, linear);
        self.data.standardise = standardised;
        Ok(())
    }

    fn adopt_velocity(&mut self, velocity: &VelocitySpec, standardised: bool) -> Result<()> {
        let (usual, own) = (Self::default(), &mut self.model);
        let given = own.net;
        let found = velocity.gaussian().map_or(Preconditioning::None, |_| Preconditioning::Gaussian);
        if let Some(given) = own.preconditioning.filter(|given| *given != found) {
            return refuse("model.preconditioning", given.name().into(), found.name().into());
        }
        own.preconditioning = velocity.gaussian().map(|_| found);
        let Some((net, mlp)) = Net::of(velocity.net()) else {
            // No option describes these layers: none may be set.
            let other = || "a net of other layers, which no option describes".to_owned();
            let is_image = matches!(velocity.net(), VelocitySpec::Image(_));
            if let Some(net) = given.filter(|net| *net != Net::Convolution || !is_image) {
                return refuse("model.net", net.name().into(), other());
            }
            own.net = is_image.then_some(Net::Convolution);
            if let Some(hidden) = &own.hidden {
                return refuse("model.hidden", format!("{hidden:?}"), other());
            }
            if let Some(activation) = own.activation {
                return refuse("model.activation", activation.to_string(), other());
            }
            if own.time_features != usual.model.time_features {
                return refuse("model.time_features", own.time_features.to_string(), other());
            }
            self.data.standardise = standardised;
            return Ok(());
        };
        if let Some(given) = given.filter(|given| *given != net) {
            return refuse("model.net", given.name().into(), net.name().into());
        }
        if let Some(hidden) = own.hidden.as_ref().filter(|hidden| **hidden != mlp.hidden) {
            return refuse("model.hidden", format!("{hidden:?}"), format!("{:?}", mlp.hidden));
        }
        if let Some(activation) = own.activation.filter(|activation| *activation != mlp.activation) {
            return refuse("model.activation", activation.to_string(), mlp.activation.to_string());
        }
        let frequencies = if let TimeInput::Fourier { frequencies } = mlp.time { frequencies } else { 0 };
        if own.time_features != usual.model.time_features && own.time_features != frequencies {
            return refuse("model.time_features", own.time_features.to_string(), frequencies.to_string());
        }
        let standardise = self.data.standardise;
        if standardise != usual.data.standardise && standardise != standardised {
            let are = |yes: bool| if yes { "are" } else { "are not" };
            return Err(Error::invalid(
                format!(
                    "the columns {} standardised, those of the model to start from {}",
                    are(standardise),
                    are(standardised)
                ),
                "leave out `data.standardise`: the model to start from decides it",
            ));
        }
        (own.net, own.hidden, own.activation) = (Some(net), Some(mlp.hidden), Some(mlp.activation));
        (own.time_features, self.data.standardise) = (frequencies, standardised);
        Ok(())
    }

    /// The net of a run without a start, for data of `dim` columns.
    pub(in crate::train) fn net(&self, dim: usize) -> MlpSpec {
        let hidden = self.model.hidden.clone().unwrap_or_default();
        MlpSpec {
            dim,
            condition_dim: 0,
            hidden,
            activation: self.model.activation.unwrap_or(Activation::Silu),
            time: self.model.time_input(),
        }
    }
}

/// The error of a field that sets another net than that of the model to start from.
fn refuse(field: &str, given: String, found: String) -> Result<()> {
    Err(Error::invalid(
        format!("`{field}` is {given}, but the model to start from has {found}"),
        format!("leave out `{field}`: the model to start from decides the net"),
    ))
}
