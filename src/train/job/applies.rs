//! Which fields have a meaning for which family and objective: one table.
//!
//! [`Job::resolve`] rejects a field that would be ignored. A field is set where it differs from its default; the
//! command also rejects a flag whose value is the default ([`Job::check_applies`]). To ignore what has no meaning was
//! refused: a `--bins 32` beside NICE looks as if it had been tried.

use super::Job;
use crate::discrete::Kind;
use crate::train::{Family, Objective};
use crate::{Error, Result};

/// A field of a job.
pub(super) struct Field {
    /// As errors name it: `section.field`.
    pub name: &'static str,
    /// The families for which it has a meaning.
    pub families: &'static [Family],
    /// The objectives of a continuous flow for which it has a meaning.
    pub objectives: Stage,
    /// Whether two jobs differ in it.
    differs: fn(&Job, &Job) -> bool,
    /// Gives the first job the value of the second.
    take: fn(&mut Job, &Job),
}

/// The part of a training that a field of the objective is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Any.
    Any,
    /// The regression of a velocity.
    Matching,
    /// The likelihood through the solver.
    Likelihood,
    /// The likelihood after a matching.
    Second,
}

impl Stage {
    /// Whether an objective has this stage.
    pub fn is_in(self, objective: Objective) -> bool {
        match self {
            Self::Any => true,
            Self::Matching => objective != Objective::Likelihood,
            Self::Likelihood => objective != Objective::Matching,
            Self::Second => objective == Objective::Mixed,
        }
    }

    /// What an objective without this stage lacks.
    fn lack(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Matching => ", which pairs no latents with rows",
            Self::Likelihood => ", which integrates nothing while training",
            Self::Second => ", which has one phase",
        }
    }
}

const ALL: &[Family] = &Family::ALL;
const CNF: &[Family] = &[Family::Cnf];
const NICE: Family = Family::Discrete(Kind::Nice);
const REALNVP: Family = Family::Discrete(Kind::RealNvp);
const GLOW: Family = Family::Discrete(Kind::Glow);
const SPLINE: Family = Family::Discrete(Kind::Spline);
/// Trained by steps. The others are baselines, which are fitted in one go.
const FLOWS: &[Family] = &[Family::Cnf, NICE, REALNVP, GLOW, SPLINE];
const DISCRETE: &[Family] = &[NICE, REALNVP, GLOW, SPLINE];
/// The other baselines are fitted in the data's own units.
const STANDARDISED: &[Family] = &[Family::Cnf, NICE, REALNVP, GLOW, SPLINE, Family::Mixture];

macro_rules! fields {
    ($($section:ident.$field:ident: $families:expr, $stage:ident;)*) => {
        &[$(Field {
            name: concat!(stringify!($section), ".", stringify!($field)),
            families: $families,
            objectives: Stage::$stage,
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
    data.drop: ALL, Any;
    data.header: ALL, Any;
    data.layout: ALL, Any;
    data.image: ALL, Any;
    data.pixel_map: ALL, Any;
    data.pixel_noise: ALL, Any;
    data.condition: FLOWS, Any;
    data.columns: ALL, Any;
    data.standardise: STANDARDISED, Any;
    data.spread: STANDARDISED, Any;
    data.far_rows: ALL, Any;
    model.family: ALL, Any;
    model.net: CNF, Any;
    model.preconditioning: CNF, Any;
    model.hidden: FLOWS, Any;
    model.activation: FLOWS, Any;
    model.time_features: CNF, Any;
    model.depth: DISCRETE, Any;
    model.mask: DISCRETE, Any;
    model.linear: DISCRETE, Any;
    model.bins: &[SPLINE], Any;
    model.bound: &[SPLINE], Any;
    model.log_scale: &[REALNVP, GLOW], Any;
    model.sigma: &[Family::GaussianFixed], Any;
    model.base: CNF, Any;
    model.init: FLOWS, Any;
    model.precision: ALL, Any;
    objective.path: CNF, Matching;
    objective.pairing: CNF, Matching;
    objective.pairing_block: CNF, Matching;
    objective.time_exponent: CNF, Matching;
    objective.matching_weight: CNF, Matching;
    objective.likelihood_share: CNF, Second;
    objective.likelihood_batch: CNF, Second;
    objective.likelihood_lr: CNF, Second;
    objective.likelihood_tol: CNF, Likelihood;
    objective.kinetic: CNF, Likelihood;
    objective.jacobian: CNF, Likelihood;
    objective.steer: CNF, Likelihood;
    objective.nfe_target: CNF, Likelihood;
    objective.kind: FLOWS, Any;
    // They bound a fit in one go too.
    optimiser.steps: ALL, Any;
    optimiser.time: ALL, Any;
    optimiser.batch: FLOWS, Any;
    optimiser.lr: FLOWS, Any;
    optimiser.warm_up: FLOWS, Any;
    optimiser.lr_end: FLOWS, Any;
    optimiser.betas: FLOWS, Any;
    optimiser.weight_decay: FLOWS, Any;
    optimiser.clip: FLOWS, Any;
    optimiser.ema: FLOWS, Any;
    optimiser.validations: FLOWS, Any;
    optimiser.validation: CNF, Any;
    optimiser.validation_rows: FLOWS, Any;
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
            && (job.model.family != Family::Cnf || self.objectives.is_in(job.objective.kind))
    }

    /// Whether a job sets it.
    fn is_set(&self, job: &Job, usual: &Job) -> bool {
        // Every family begins at the normal, and configurations name the uniform times of those that match nothing.
        let normal = self.name == "model.base" && job.model.base == NORMAL;
        let uniform = self.name == "objective.time_exponent" && job.objective.time_exponent == Some(1.0);
        (self.differs)(job, usual) && !normal && !uniform
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
        let kinds = Objective::ALL.into_iter().filter(|kind| self.objectives.is_in(*kind));
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
        let decided = ["data.columns", "data.spread", "model.base", "model.bound", "model.log_scale"];
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
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A value of each field that is not its default and is valid by itself.
    const VALUES: &[(&str, &str)] = &[
        ("data.source", "'moons'"),
        ("data.split", "'0.7,0.2'"),
        ("data.split_seed", "3"),
        ("data.copies_together", "false"),
        ("data.drop", "['a']"),
        ("data.header", "'first'"),
        ("data.layout", "'chw'"),
        ("data.image", "{ height = 1, width = 1, channels = 2 }"),
        ("data.pixel_map", "'linear'"),
        ("data.pixel_noise", "'uniform'"),
        ("data.condition", "['c']"),
        ("data.columns", "['0:angle']"),
        ("data.standardise", "false"),
        ("data.spread", "3.0"),
        ("data.far_rows", "'keep'"),
        ("model.net", "'concatsquash'"),
        ("model.preconditioning", "'gaussian'"),
        ("model.hidden", "[5]"),
        ("model.activation", "'tanh'"),
        ("model.time_features", "2"),
        ("model.depth", "3"),
        ("model.mask", "'parity'"),
        ("model.linear", "true"),
        ("model.bins", "4"),
        ("model.bound", "4.0"),
        ("model.log_scale", "2.0"),
        ("model.sigma", "2.0"),
        ("model.base", "'mixture'"),
        ("model.init", "'m.safetensors'"),
        ("model.precision", "'f64'"),
        ("objective.path", "'vp'"),
        ("objective.pairing", "'optimal'"),
        ("objective.pairing_block", "64"),
        ("objective.time_exponent", "2.0"),
        ("objective.matching_weight", "'inverse'"),
        ("objective.likelihood_share", "0.5"),
        ("objective.likelihood_batch", "7"),
        ("objective.likelihood_lr", "0.1"),
        ("objective.likelihood_tol", "0.001"),
        ("objective.kinetic", "0.1"),
        ("objective.jacobian", "0.1"),
        ("objective.steer", "0.5"),
        ("objective.nfe_target", "30.0"),
        ("optimiser.steps", "5"),
        ("optimiser.time", "5.0"),
        ("optimiser.batch", "5"),
        ("optimiser.lr", "0.1"),
        ("optimiser.warm_up", "10"),
        ("optimiser.lr_end", "0.1"),
        ("optimiser.betas", "[0.8, 0.99]"),
        ("optimiser.weight_decay", "0.1"),
        ("optimiser.clip", "2.0"),
        ("optimiser.ema", "0.5"),
        ("optimiser.validations", "2"),
        ("optimiser.validation", "'likelihood'"),
        ("optimiser.validation_rows", "5"),
        ("optimiser.keep_best", "false"),
        ("optimiser.patience", "2"),
        ("solver.method", "'tsit5'"),
        ("solver.rtol", "1e-3"),
        ("solver.atol", "1e-3"),
        ("solver.log_density_atol", "1e-3"),
        ("solver.fixed_steps", "5"),
        ("solver.max_step", "0.1"),
        ("solver.max_steps", "500"),
        ("solver.controller", "'i'"),
        ("solver.log_density", "'coupled'"),
        ("solver.trace", "'exact'"),
        ("solver.probe_seed", "3"),
        ("solver.lanes", "16"),
        ("output.checkpoint", "'5'"),
        ("output.picture", "{ invert_y = true }"),
    ];

    /// A job in which one field is set, of a family and, for a velocity, by an objective.
    fn setting(family: Family, kind: Objective, field: &str, value: &str) -> Job {
        let (section, name) = field.split_once('.').unwrap();
        let job = Job::from_toml(&format!("[{section}]\n{name} = {value}")).unwrap().with(|job| {
            job.model.family = family;
            if family == Family::Cnf {
                job.objective.kind = kind;
            }
        });
        // A block needs pairs.
        let paired = field == "objective.pairing_block" && family == Family::Cnf && kind != Objective::Likelihood;
        if paired { job.with(|job| job.objective.pairing = crate::train::Pairing::Optimal) } else { job }
    }

    #[test]
    fn every_field_of_every_section_is_in_the_table_and_has_a_value_here() {
        let listed: BTreeSet<&str> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(listed.len(), FIELDS.len());
        let valued: BTreeSet<&str> = VALUES.iter().map(|(field, _)| *field).collect();
        let apart = BTreeSet::from(["model.family", "objective.kind"]);
        assert_eq!(&valued | &apart, listed);
        // Fields without a value are not written: each section has all of them once each is set.
        let mut written = BTreeSet::new();
        for (field, value) in VALUES {
            let job = setting(Family::Cnf, Objective::Matching, field, value);
            let job: toml::Table = job.to_toml().unwrap().parse().unwrap();
            for (section, fields) in job.iter().filter(|(section, _)| *section != "seed") {
                written.extend(fields.as_table().unwrap().keys().map(|name| format!("{section}.{name}")));
            }
        }
        assert_eq!(written.iter().map(String::as_str).collect::<BTreeSet<_>>(), listed);
    }

    #[test]
    fn a_field_is_taken_where_it_has_a_meaning_and_refused_by_its_name_elsewhere() {
        for family in Family::ALL {
            for kind in Objective::ALL {
                for (name, value) in VALUES {
                    let field = FIELDS.iter().find(|field| field.name == *name).unwrap();
                    let job = setting(family, kind, name, value);
                    let what = format!("{name} for {} by {}", family.name(), kind.name());
                    assert!(field.is_set(&job, &Job::default()), "{what}");
                    let meant =
                        field.families.contains(&family) && (family != Family::Cnf || field.objectives.is_in(kind));
                    assert_eq!(job.check_applies(name).is_ok(), meant, "{what}");
                    match job.clone().resolve(2) {
                        Ok(resolved) => {
                            assert!(meant, "{what}");
                            // What is written is read again, and has a meaning.
                            let again = Job::from_toml(&resolved.to_toml().unwrap()).unwrap();
                            assert_eq!(again.resolve(2).unwrap(), resolved, "{what}");
                            assert_eq!(job.clone().applicable(), job, "{what}");
                        }
                        Err(refused) => {
                            assert!(!meant, "{what}: {refused}");
                            let (words, hint) = (refused.to_string(), refused.hint().unwrap());
                            assert!(words.starts_with(&format!("`{name}` has no meaning for ")), "{what}: {words}");
                            assert!(hint.contains(&format!("`{name}`")), "{what}: {hint}");
                            let applicable = job.applicable();
                            assert!(!field.is_set(&applicable, &Job::default()), "{what}");
                            applicable.resolve(2).unwrap();
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_model_to_start_from_decides_is_refused_beside_it() {
        for (name, value) in VALUES.iter().filter(|(name, _)| {
            ["data.columns", "data.spread", "model.base", "model.bound", "model.log_scale"].contains(name)
        }) {
            let family = FIELDS.iter().find(|field| field.name == *name).unwrap().families[0];
            let job = setting(family, Objective::Matching, name, value);
            job.clone().resolve(2).unwrap();
            let refused = job.with(|job| job.model.init = Some("m.safetensors".into())).resolve(2).unwrap_err();
            assert!(refused.to_string().contains(&format!("`{name}` has no meaning beside")), "{refused}");
        }
    }

    #[test]
    fn a_baseline_of_an_old_run_has_no_net() {
        let flat = "model = 'gaussian'\nhidden = [48, 48]\nbatch = 1024\nlr = 0.01\nspread = 1.0\nsteps = 5";
        let job = Job::from_toml(flat).unwrap();
        assert_eq!((job.model.hidden.clone(), job.data.spread, job.optimiser.steps), (None, None, Some(5)));
        job.resolve(2).unwrap();
    }
}
