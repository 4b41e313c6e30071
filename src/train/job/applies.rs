//! Which fields have a meaning for which family and objective: one table.
//!
//! [`Job::resolve`] rejects a field that would be ignored. A field is set where it differs from its default; the
//! command also rejects a flag whose value is the default ([`Job::check_applies`]). To ignore what has no meaning was
//! refused: a `--bins 32` beside NICE looks as if it had been tried.

use super::Job;
use crate::discrete::Kind;
use crate::train::{Family, Objective, Path};
use crate::{Error, Result};

/// A field of a job.
pub(super) struct Field {
    /// As errors name it: `section.field`.
    pub name: &'static str,
    /// The families for which it has a meaning.
    pub families: &'static [Family],
    /// The objectives of a continuous flow for which it has a meaning.
    pub objectives: Objectives,
    /// Whether two jobs differ in it.
    differs: fn(&Job, &Job) -> bool,
    /// Gives the first job the value of the second.
    take: fn(&mut Job, &Job),
}

/// Objectives of a continuous flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objectives {
    /// Any.
    Any,
    /// Those with a phase of matching.
    Matching,
    /// Those with a phase of likelihood.
    Likelihood,
    /// The one with both phases.
    Mixed,
}

impl Objectives {
    /// Whether an objective is among them.
    pub fn contain(self, objective: Objective) -> bool {
        match self {
            Self::Any => true,
            Self::Matching => objective != Objective::Likelihood,
            Self::Likelihood => objective != Objective::Matching,
            Self::Mixed => objective == Objective::Mixed,
        }
    }

    /// What the other objectives lack.
    fn lack(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Matching => ", which pairs no latents with rows",
            Self::Likelihood => ", which integrates nothing while training",
            Self::Mixed => ", which has one phase",
        }
    }
}

/// Those of which one model is trained, and the choice between some.
const ALL: &[Family] = &Family::TYPED;
const CNF: &[Family] = &[Family::Cnf];
const NICE: Family = Family::Discrete(Kind::Nice);
const REALNVP: Family = Family::Discrete(Kind::RealNvp);
const GLOW: Family = Family::Discrete(Kind::Glow);
const SPLINE: Family = Family::Discrete(Kind::Spline);
/// Trained by steps. The others are baselines, which are fitted in one go.
const FLOWS: &[Family] = &[Family::Cnf, NICE, REALNVP, GLOW, SPLINE];
const DISCRETE: &[Family] = &[NICE, REALNVP, GLOW, SPLINE];
/// Those that may have a condition and are judged on the way, and the choice between them.
const CONDITIONAL: &[Family] = &[Family::Cnf, NICE, REALNVP, GLOW, SPLINE, Family::Auto];
/// The other baselines are fitted in the data's own units.
const STANDARDISED: &[Family] = &[Family::Cnf, NICE, REALNVP, GLOW, SPLINE, Family::Mixture];

macro_rules! fields {
    ($($section:ident.$field:ident: $families:expr, $objectives:ident;)*) => {
        &[$(Field {
            name: concat!(stringify!($section), ".", stringify!($field)),
            families: $families,
            objectives: Objectives::$objectives,
            differs: |a, b| a.$section.$field != b.$section.$field,
            take: |a, b| a.$section.$field.clone_from(&b.$section.$field),
        },)*]
    };
}

/// Every field but the seed. Where two do not apply, the first is named.
pub(super) const FIELDS: &[Field] = fields! {
    data.source: ALL, Any;
    data.split: ALL, Any;
    data.split_seed: ALL, Any;
    data.copies_together: ALL, Any;
    data.keep: ALL, Any;
    data.drop: ALL, Any;
    data.header: ALL, Any;
    data.sep: ALL, Any;
    data.decimal: ALL, Any;
    data.na: ALL, Any;
    data.comment: ALL, Any;
    data.layout: ALL, Any;
    data.image: ALL, Any;
    data.pixel_map: ALL, Any;
    data.pixel_noise: ALL, Any;
    data.condition: CONDITIONAL, Any;
    data.weights: ALL, Any;
    data.columns: ALL, Any;
    data.column_types: ALL, Any;
    data.standardise: STANDARDISED, Any;
    data.spread: STANDARDISED, Any;
    data.far_rows: ALL, Any;
    data.missing: ALL, Any;
    model.family: ALL, Any;
    model.net: FLOWS, Any;
    model.preconditioning: CNF, Any;
    model.hidden: FLOWS, Any;
    model.activation: FLOWS, Any;
    model.time_features: CNF, Any;
    model.depth: DISCRETE, Any;
    model.levels: DISCRETE, Any;
    model.mask: DISCRETE, Any;
    model.linear: DISCRETE, Any;
    model.bins: &[SPLINE], Any;
    model.bound: &[SPLINE], Any;
    model.log_scale: &[REALNVP, GLOW], Any;
    model.sigma: &[Family::GaussianFixed], Any;
    model.base: CNF, Any;
    model.base_share: CNF, Any;
    model.whitening: FLOWS, Any;
    model.init: FLOWS, Any;
    model.precision: ALL, Any;
    objective.path: CNF, Matching;
    objective.pairing: CNF, Matching;
    objective.pairing_block: CNF, Matching;
    objective.time_exponent: CNF, Matching;
    objective.matching_weight: CNF, Matching;
    objective.likelihood_share: CNF, Mixed;
    objective.likelihood_batch: CNF, Mixed;
    objective.likelihood_lr: CNF, Mixed;
    objective.likelihood_tol: CNF, Likelihood;
    objective.kinetic: CNF, Likelihood;
    objective.jacobian: CNF, Likelihood;
    objective.steer: CNF, Likelihood;
    objective.nfe_target: CNF, Likelihood;
    objective.kind: FLOWS, Any;
    // They bound a fit in one go too.
    // A choice among models needs a clock.
    optimiser.steps: &Family::ALL, Any;
    optimiser.time: ALL, Any;
    optimiser.batch: FLOWS, Any;
    optimiser.lr: FLOWS, Any;
    optimiser.kind: FLOWS, Any;
    optimiser.warm_up: FLOWS, Any;
    optimiser.lr_end: FLOWS, Any;
    optimiser.betas: FLOWS, Any;
    optimiser.weight_decay: FLOWS, Any;
    optimiser.clip: FLOWS, Any;
    optimiser.ema: FLOWS, Any;
    optimiser.validations: FLOWS, Any;
    optimiser.validation: CNF, Any;
    optimiser.validation_rows: CONDITIONAL, Any;
    optimiser.keep_best: FLOWS, Any;
    optimiser.patience: FLOWS, Any;
    solver.method: CNF, Any;
    solver.rtol: CNF, Any;
    solver.atol: CNF, Any;
    solver.log_density_atol: CNF, Any;
    solver.fixed_steps: CNF, Any;
    solver.max_step: CNF, Any;
    solver.max_steps: CNF, Any;
    solver.controller: CNF, Any;
    solver.log_density: CNF, Any;
    solver.trace: CNF, Any;
    // The command sets it to the seed.
    solver.probe_seed: ALL, Any;
    solver.lanes: CNF, Any;
    output.checkpoint: FLOWS, Any;
    output.picture: ALL, Any;
};

/// The base of a flow that names none.
const NORMAL: &str = "normal";

impl Field {
    /// Whether it has a meaning for a job.
    fn applies(&self, job: &Job) -> bool {
        self.families.contains(&job.model.family)
            && (job.model.family != Family::Cnf || self.objectives.contain(job.objective.kind))
    }

    /// Whether a job sets it.
    fn is_set(&self, job: &Job, usual: &Job) -> bool {
        // Every family begins at the normal, and configurations name the uniform times and the straight path of those that
        // match nothing.
        let normal = self.name == "model.base" && job.model.base == NORMAL;
        let uniform = self.name == "objective.time_exponent" && job.objective.time_exponent == Some(1.0);
        let straight = self.name == "objective.path" && job.objective.path == Some(Path::Straight);
        (self.differs)(job, usual) && !normal && !uniform && !straight
    }

    /// The error of a job for which it has no meaning.
    fn refuse(&self, job: &Job) -> Error {
        let (name, family) = (self.name, job.model.family);
        if !self.families.contains(&family) {
            let lack = if self.families == CNF { ", which has no velocity" } else { "" };
            let names: Vec<&str> = self.families.iter().map(|family| family.name()).collect();
            return Error::invalid(
                format!("`{name}` has no meaning for {}{lack}", family.name()),
                format!("leave out `{name}`, or set `model.family` to {}", any_of(&names)),
            );
        }
        let kinds = Objective::ALL.into_iter().filter(|kind| self.objectives.contain(*kind));
        let kinds: Vec<&str> = kinds.map(Objective::name).collect();
        let lack = self.objectives.lack();
        Error::invalid(
            format!("`{name}` has no meaning for {}{lack}", job.objective.kind.name()),
            format!("leave out `{name}`, or set `objective.kind` to {}", any_of(&kinds)),
        )
    }
}

/// `a, b or c`.
fn any_of(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => names.concat(),
    }
}

impl Job {
    /// Rejects a field that has no meaning for the job's family or objective, whatever its value.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Unknown`] for a name, such as `model.bins`, that no field has.
    pub fn check_applies(&self, name: &str) -> Result<()> {
        let known = || FIELDS.iter().map(|field| field.name).collect::<Vec<_>>().join(", ");
        match FIELDS.iter().find(|field| field.name == name) {
            _ if name == "seed" => Ok(()),
            Some(field) if field.applies(self) => Ok(()),
            Some(field) => Err(field.refuse(self)),
            None => Err(Error::Unknown { kind: "field", name: name.into(), known: known() }),
        }
    }

    /// The job with its defaults in the fields that have no meaning for its family or objective: options for several
    /// families, made those of one.
    #[must_use]
    pub fn applicable(mut self) -> Self {
        let usual = Self::default();
        // The objective first: the meaning of others depends on it.
        for pass in [true, false] {
            for field in FIELDS.iter().filter(|field| (field.name == "objective.kind") == pass) {
                if !field.applies(&self) {
                    (field.take)(&mut self, &usual);
                }
            }
        }
        self
    }

    /// Rejects fields that are set and have no meaning.
    pub(super) fn refuse_ignored(&self) -> Result<()> {
        let usual = Self::default();
        match FIELDS.iter().find(|field| field.is_set(self, &usual) && !field.applies(self)) {
            Some(field) => Err(field.refuse(self)),
            None => self.refuse_beside_init(&usual),
        }
    }

    /// Rejects what the model to start from decides.
    fn refuse_beside_init(&self, usual: &Self) -> Result<()> {
        if self.model.init.is_none() {
            return Ok(());
        }
        let decided = [
            "data.columns",
            "data.column_types",
            "data.spread",
            "model.base",
            "model.base_share",
            "model.whitening",
            "model.bound",
            "model.log_scale",
        ];
        match FIELDS.iter().find(|field| decided.contains(&field.name) && field.is_set(self, usual)) {
            None => Ok(()),
            Some(Field { name, .. }) => Err(Error::invalid(
                format!("`{name}` has no meaning beside `model.init`: the model to start from has its own"),
                format!("leave out `{name}` or `model.init`"),
            )),
        }
    }

    /// The job without what runs of 0.1 wrote into their configuration although it had no meaning for them.
    pub(super) fn without_filled(mut self) -> Self {
        let usual = Self::default();
        let filled = ["model.hidden", "optimiser.batch", "optimiser.lr", "data.spread"];
        for field in FIELDS.iter().filter(|field| filled.contains(&field.name)) {
            if !field.applies(&self) {
                (field.take)(&mut self, &usual);
            }
        }
        if self.model.init.is_some() {
            self.data.spread = None;
        }
        self
    }
}

#[cfg(test)]
mod tests;
