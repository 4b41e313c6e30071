//! What a job trains: the net or the discrete flow that its options make, and that of a model to start from.

use super::Job;
use crate::data::Dataset;
use crate::flow::discrete::{Kind, LayerSpec, Plan};
use crate::flow::{Core, Model, SolverSpec, VelocitySpec};
use crate::train::{Family, Objective, PLAN_STREAM, start};
use crate::velocity::{Activation, MlpSpec, TimeInput};
use crate::{Error, Result, rng};

impl Job {
    /// Fills in what a discrete flow leaves out, and refuses what has no meaning for it.
    pub(super) fn resolve_discrete(&mut self, kind: Kind, few: bool) -> Result<()> {
        let usual = Self::default();
        // Matching is what a job says that says nothing.
        if self.objective == Objective::Matching {
            self.objective = Objective::Likelihood;
        }
        // A seed is everybody's, though it seeds probes too.
        let solver = SolverSpec { probe_seed: usual.solver.probe_seed, ..self.solver.clone() };
        let asked = [
            ("a mixed objective", self.objective == Objective::Mixed),
            ("a base distribution", self.base != "auto" && self.base != "normal"),
            ("a kinetic penalty", self.kinetic != 0.0),
            ("a Jacobian penalty", self.jacobian != 0.0),
            ("a random end time", self.steer != 0.0),
            ("a number of evaluations to aim at", self.nfe_target.is_some()),
            ("times of matching", self.late != usual.late),
            ("a path of matching", self.path != usual.path),
            ("a pairing", self.pairing != usual.pairing),
            ("a feature of time", self.time_features != 0),
            ("a solver", solver != usual.solver),
        ];
        if let Some((what, _)) = asked.into_iter().find(|(_, asked)| *asked) {
            return Err(Error::invalid(
                format!("{what} has no meaning for {}, which integrates nothing", kind.name()),
                "leave it out, or train --model cnf",
            ));
        }
        self.base = "normal".into();
        self.depth.get_or_insert(if kind == Kind::Nice { 12 } else { 8 });
        self.hidden.get_or_insert_with(|| vec![64, 64]);
        self.activation.get_or_insert(Activation::Relu);
        self.batch.get_or_insert(512);
        self.lr.get_or_insert(if few { 5e-3 } else { 1e-3 });
        Ok(())
    }

    /// Refuses what only discrete flows have, and a deviation that only one Gaussian has.
    pub(super) fn refuse_discrete(&self) -> Result<()> {
        let usual = Self::default();
        let asked = [
            ("a depth", self.depth.is_some()),
            ("halves", self.halves != usual.halves),
            ("a linear map between layers", self.linear),
            ("a number of bins", self.bins != usual.bins),
        ];
        match asked.into_iter().find(|(_, asked)| *asked) {
            None => Ok(()),
            Some((what, _)) => Err(Error::invalid(
                format!("{what} has no meaning for {}", self.model.name()),
                "leave it out, or train a discrete flow: --model nice, realnvp, glow or spline",
            )),
        }
    }

    /// The discrete flow that is asked for, for data of `dim` columns given `condition_dim`.
    fn plan(&self, kind: Kind, dim: usize, condition_dim: usize) -> Plan {
        let usual = Plan::usual(kind, dim);
        Plan {
            condition_dim,
            depth: self.depth.unwrap_or(usual.depth),
            hidden: self.hidden.clone().unwrap_or(usual.hidden),
            activation: self.activation.unwrap_or(usual.activation),
            split: self.halves,
            linear: usual.linear || self.linear,
            bins: self.bins,
            bound: self.bound,
            most: self.log_scale,
            ..Plan::usual(kind, dim)
        }
    }

    /// What a run without a start trains, for data of `dim` columns given `condition_dim`.
    ///
    /// # Errors
    /// As [`Plan::spec`].
    pub fn core(&self, dim: usize, condition_dim: usize) -> Result<Core> {
        Ok(match self.model {
            Family::Discrete(kind) => {
                let mut rng = rng::stream(self.seed, PLAN_STREAM);
                Core::Discrete(self.plan(kind, dim, condition_dim).spec(&mut rng)?)
            }
            Family::Cnf => Core::Velocity(VelocitySpec::Mlp(MlpSpec { condition_dim, ..self.net(dim) })),
            _ => Core::Still { dim },
        })
    }

    /// The job with hidden layers of one width so that the core has about `params` parameters.
    ///
    /// # Errors
    /// [`Error::Invalid`] where even the narrowest has more than twice as many, or the widest fewer than half.
    pub fn sized(&self, data: &Dataset, params: usize) -> Result<Self> {
        const WIDEST: usize = 4096;
        let dim = data.dim;
        let resolved = self.clone().resolve(dim)?;
        let layers = resolved.hidden.as_ref().map_or(1, Vec::len).max(1);
        let c = start::condition(self, data)?.map_or(0, |condition| condition.width());
        let of = |width: usize| -> Result<usize> {
            Ok(Self { hidden: Some(vec![width; layers]), ..resolved.clone() }.core(dim, c)?.n_params())
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
                format!("{} cannot have about {params} parameters: the nearest is {found}", self.model.name()),
                "give other --params, or leave the model out",
            ));
        }
        Ok(Self { hidden: Some(vec![width; layers]), ..self.clone() })
    }

    /// What the run is called: the model, and how a velocity is learnt.
    pub fn label(&self) -> String {
        match self.model {
            Family::Cnf => self.objective.name().into(),
            other => other.name().into(),
        }
    }

    /// Takes over the net of the model `job.init` names, so that the job says what is trained.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the job asks for another net than the model's; a field at its default asks for none.
    pub fn adopt(&mut self, model: &Model) -> Result<()> {
        let usual = Self::default();
        let hint = "leave it out: the model to start from decides the net";
        let refuse = |option: &str, asked: String, found: String| {
            Err(Error::invalid(format!("{option} is {asked}, but the model to start from has {found}"), hint))
        };
        let asked = if self.model == usual.model { "cnf" } else { self.model.name() };
        let found = model.spec.core.name();
        if asked != found && self.model != usual.model {
            return refuse("model", asked.into(), found.into());
        }
        match &model.spec.core {
            Core::Velocity(_) => {}
            Core::Discrete(spec) => {
                let net = spec.layers.iter().find_map(|layer| match layer {
                    LayerSpec::Coupling { hidden, activation, .. } => Some((hidden.clone(), *activation)),
                    _ => None,
                });
                let linear =
                    spec.kind != Kind::Glow && spec.layers.iter().any(|l| matches!(l, LayerSpec::Linear { .. }));
                let (hidden, activation) = net.unzip();
                let asked = [
                    ("depth", self.depth.is_some_and(|depth| depth != spec.depth())),
                    ("hidden", self.hidden.is_some() && self.hidden != hidden),
                    ("activation", self.activation.is_some() && self.activation != activation),
                    ("linear", self.linear && !linear),
                    ("bins", self.bins != usual.bins),
                    ("halves", self.halves != usual.halves),
                ];
                if let Some((option, _)) = asked.into_iter().find(|(_, differs)| *differs) {
                    return refuse(option, "another".into(), "its own".into());
                }
                (self.model, self.depth) = (Family::Discrete(spec.kind), Some(spec.depth()));
                (self.hidden, self.activation, self.linear) = (hidden, activation, linear);
                self.standardise = model.spec.standardise.is_some();
                return Ok(());
            }
            Core::Still { .. } | Core::Histogram(_) => {
                return Err(Error::invalid("the model to start from has nothing to train", "start from a flow"));
            }
        }
        let Core::Velocity(VelocitySpec::Mlp(net)) = &model.spec.core else {
            if let Some(hidden) = &self.hidden {
                return refuse("hidden", format!("{hidden:?}"), "a net of another kind".into());
            }
            self.standardise = model.spec.standardise.is_some();
            return Ok(());
        };
        if let Some(hidden) = self.hidden.as_ref().filter(|hidden| **hidden != net.hidden) {
            return refuse("hidden", format!("{hidden:?}"), format!("{:?}", net.hidden));
        }
        if let Some(activation) = self.activation.filter(|activation| *activation != net.activation) {
            return refuse("activation", activation.to_string(), net.activation.to_string());
        }
        let frequencies = if let TimeInput::Fourier { frequencies } = net.time { frequencies } else { 0 };
        if self.time_features != usual.time_features && self.time_features != frequencies {
            return refuse("time_features", self.time_features.to_string(), frequencies.to_string());
        }
        let standardised = model.spec.standardise.is_some();
        if self.standardise != usual.standardise && self.standardise != standardised {
            return refuse("standardise", self.standardise.to_string(), standardised.to_string());
        }
        self.hidden = Some(net.hidden.clone());
        (self.activation, self.time_features, self.standardise) = (Some(net.activation), frequencies, standardised);
        Ok(())
    }

    /// How time enters the net.
    pub fn time_input(&self) -> TimeInput {
        match self.time_features {
            0 => TimeInput::Plain,
            frequencies => TimeInput::Fourier { frequencies },
        }
    }

    /// The net of a run without a start, for data of `dim` columns.
    pub(in crate::train) fn net(&self, dim: usize) -> MlpSpec {
        let hidden = self.hidden.clone().unwrap_or_default();
        MlpSpec {
            dim,
            condition_dim: 0,
            hidden,
            activation: self.activation.unwrap_or(Activation::Silu),
            time: self.time_input(),
        }
    }
}
