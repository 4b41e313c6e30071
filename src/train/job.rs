//! Everything that a run depends on, as data: printed, saved as `config.toml`, read back.
//!
//! One section for each question: which rows, which model, what is minimised, with which steps, how it is integrated,
//! and what is kept. A section has its fields with their docs, its defaults and its validation in one file;
//! `src/cli/train/flags.rs` has the flag.
//!
//! What is left out is chosen by [`Job::resolve`] from the data's dimension: in few dimensions depth is worth
//! more than width (five layers of 48), in many two wide layers have an exact trace in closed form.
//!
//! A job that counts its steps gives the same bits again. One that is bounded by time takes as many steps as the
//! machine allows, and its learning rate follows the clock: it is repeatable only approximately.

mod applies;
mod architecture;
mod data;
mod dataset;
mod flat;
mod images;
mod model;
mod objective;
mod optimiser;
mod output;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

pub(in crate::train) use architecture::EVALUATIONS;
pub(crate) use data::column_rule;
pub use data::{ColumnTypes, DataSection, FarRows, split_rule};
pub(crate) use model::BaseRule;
pub use model::{ModelSection, Precision};
pub use objective::ObjectiveSection;
pub use optimiser::OptimiserSection;
pub use output::{OutputSection, Picture};

use super::{Family, Net, Objective, Optimiser, Pairing, Path, Preconditioning, ValidationScore, Whitening};
use crate::continuous::SolverSpec;
use crate::continuous::taped::no_penalty;
use crate::discrete::Kind;
use crate::rows::{Dataset, MissingRows};
use crate::transform::ColumnKind;
use crate::velocity::Activation;
use crate::{Error, Result};

/// Fields of the data that older runs do not have.
const COPIES_TOGETHER: &str = "copies_together";
const FAR_ROWS: &str = "far_rows";
const MISSING: &str = "missing";
const COLUMN_TYPES: &str = "column_types";

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Job {
    /// Fixes every draw.
    pub seed: u64,
    /// Which rows, and what is done to their columns.
    pub data: DataSection,
    /// What is trained.
    pub model: ModelSection,
    /// What is minimised.
    pub objective: ObjectiveSection,
    /// How long, and with which steps.
    pub optimiser: OptimiserSection,
    /// How the flow is integrated: while training by likelihood, and in the model.
    pub solver: SolverSpec,
    /// What is kept, and how its pictures are drawn.
    pub output: OutputSection,
}

/// Up to this dimension the usual net is deep, beyond it is wide: as far as one tangent a dimension is cheap.
///
/// In 10 dimensions (magic, 20 s on two busy cores) 48×5 reached 4.73 nats where 256-256 reached 5.75.
const FEW_DIMENSIONS: usize = 16;
/// In so many columns a discrete flow under a velocity gains nothing.
pub(super) const PLANE: usize = 2;

/// Fewer validation rows choose neither a model nor a base.
pub(super) const FEWEST: usize = 20;
/// The part of the time that mixtures may take where they are tried.
pub(super) const MIXTURES: f64 = 0.12;
/// The most parameters of a net: far beyond use, within memory.
const MOST_PARAMETERS: usize = 1 << 28;

fn positive(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}

impl Job {
    /// The seconds of a run with neither steps nor time set.
    pub const USUAL_TIME: f64 = 25.0;
    /// The part of the time that a base may take to be fitted.
    pub const BASE_SHARE: f64 = 0.4;
    /// The weights from which penalties are steered.  Ref: Finlay et al. (2020), section 5.
    pub const USUAL_PENALTY: f64 = 0.01;

    /// The job after a change: `Job::default().with(|job| job.optimiser.steps = Some(300))`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The job for another family of models: what was set for the net and the training of its own is set back, and so
    /// is what has no meaning for the new one.
    #[must_use]
    pub fn of_family(self, family: Family) -> Self {
        let usual = Self::default();
        self.with(|job| {
            job.model.family = family;
            (job.model.base, job.model.hidden) = (usual.model.base, usual.model.hidden);
            (job.model.activation, job.model.depth) = (usual.model.activation, usual.model.depth);
            job.model.levels = usual.model.levels;
            (job.model.net, job.model.preconditioning) = (usual.model.net, usual.model.preconditioning);
            (job.objective.kind, job.data.spread) = (usual.objective.kind, usual.data.spread);
            (job.optimiser.batch, job.optimiser.lr) = (usual.optimiser.batch, usual.optimiser.lr);
        })
        .applicable()
    }

    /// As [`Job::resolve`], for these data: images have defaults of their own ([`Job::with_image_defaults`]), and the
    /// velocity of a table of more than two columns begins at a spline or at a mixture.
    ///
    /// # Errors
    /// As [`Job::resolve`].
    pub fn resolve_for(mut self, data: &Dataset) -> Result<Self> {
        self.data.image = data.shape;
        self.data.check_images()?;
        if data.shape.is_some() && !self.data.standardise && self.model.init.is_none() {
            return Err(Error::invalid(
                "`data.standardise` has no meaning for images: their pixels have deviation 1 together",
                "leave out `data.standardise`",
            ));
        }
        if let Some(flow) = self.usual_base(data) {
            self.model.base = flow.into();
        }
        self.resolve(data.dim)
    }

    /// Where the velocity of a table begins where no other base was chosen: at the better one of a spline and a mixture where
    /// the budget is a time and nothing is set that a velocity at a mixture lacks, else at a spline. A choice needs a clock,
    /// and held-out rows; a mixture has no condition.
    pub(super) fn usual_base(&self, data: &Dataset) -> Option<&'static str> {
        // What the flow has: no classes, and one log-ratio fewer than a simplex has parts.
        let fewer = |text: &&String| {
            column_rule(text).is_ok_and(|(_, kind)| matches!(kind, ColumnKind::Class | ColumnKind::Simplex))
        };
        let columns = data.dim.saturating_sub(self.data.columns.iter().filter(fewer).count());
        let table = data.shape.is_none() && data.toy().is_none() && columns > PLANE;
        let open = self.model.base == BaseRule::AUTO && self.model.family == Family::Cnf && self.model.init.is_none();
        let free = self.model.preconditioning.is_none()
            && self.optimiser.kind.is_none()
            && self.data.spread.is_none()
            && self.objective.path.is_none()
            && self.model.whitening == Whitening::default();
        let judged = self.optimiser.steps.is_none() && data.context.is_none() && data.valid.count(data.dim) >= FEWEST;
        let base = if free && judged { BaseRule::BEST } else { Kind::Spline.name() };
        (table && open).then_some(base)
    }

    /// The resolved job of a velocity at the better one of a spline and a mixture, for the one that `base` names.
    ///
    /// # Errors
    /// As [`Job::resolve_for`].
    pub(super) fn at_base(&self, base: &str, data: &Dataset) -> Result<Self> {
        let mut job = self.clone().with(|job| job.model.base = base.into());
        if BaseRule::of(base, false)?.flow().is_some() {
            return Ok(job);
        }
        // What a velocity at a flow has by default or alone, one at a mixture has not.
        let (own, usual) = (&mut job, Self::default());
        (own.model.whitening, own.model.base_share) = (usual.model.whitening, usual.model.base_share);
        own.optimiser.validation = own.optimiser.validation.filter(|own| *own != ValidationScore::Bound);
        own.model.preconditioning = own.model.preconditioning.filter(|own| *own != Preconditioning::Gaussian);
        own.optimiser.kind = own.optimiser.kind.filter(|own| *own != Optimiser::Muon);
        own.data.spread = own.data.spread.filter(|own| *own != 1.0);
        own.objective.path = own.objective.path.filter(|own| *own != Path::Vp);
        job.resolve_for(data)
    }

    /// Fills in what was left out, for data of `dim` columns, and validates them.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field's name, also where a field has no meaning for the family or the objective;
    /// those of the solver's options.
    pub fn resolve(mut self, dim: usize) -> Result<Self> {
        self.refuse_ignored()?;
        let few = dim <= FEW_DIMENSIONS;
        match self.model.family {
            Family::Cnf => {
                self.choose_net()?;
                if self.model.net == Some(Net::Convolution) {
                    self = self.with_image_defaults();
                }
                self.resolve_velocity(few);
            }
            Family::Discrete(kind) => self.resolve_discrete(kind, few)?,
            Family::Mixture => _ = self.data.spread.get_or_insert(1.0),
            Family::Gaussian | Family::GaussianShrunk | Family::GaussianFixed | Family::Histogram | Family::Auto => {}
        }
        if self.optimiser.steps.is_none() {
            self.optimiser.time.get_or_insert(Self::USUAL_TIME);
        }
        self.validate(dim)?;
        Ok(self)
    }

    /// The net of a continuous flow, unless a model to start from decides it.
    fn choose_net(&mut self) -> Result<()> {
        let own = &mut self.model;
        if own.init.is_none() {
            own.net.get_or_insert(if self.data.image.is_some() { Net::Convolution } else { Net::Mlp });
        }
        if own.net != Some(Net::Convolution) {
            return Ok(());
        }
        let given = [("activation", own.activation.is_some()), ("time_features", own.time_features != 0)];
        match given.into_iter().find(|(_, given)| *given) {
            None => {
                if own.init.is_none() {
                    own.hidden = Some(Net::channels(own.hidden.as_deref().unwrap_or_default())?.to_vec());
                }
                Ok(())
            }
            Some((field, _)) => Err(Error::invalid(
                format!("`model.{field}` has no meaning for the net convolution, whose activation is silu"),
                format!("leave out `model.{field}`, or set `model.net` to mlp"),
            )),
        }
    }

    /// Fills in what a continuous flow leaves out.
    fn resolve_velocity(&mut self, few: bool) {
        if self.begins_at_flow() && self.model.init.is_none() {
            // The latents of a flow are nearly normal, with deviation 1.
            self.model.preconditioning.get_or_insert(Preconditioning::Gaussian);
            self.optimiser.kind.get_or_insert(Optimiser::Muon);
            self.data.spread.get_or_insert(1.0);
        }
        if self.objective.kind != Objective::Likelihood {
            let path = if self.begins_at_flow() { Path::Vp } else { Path::Straight };
            self.objective.path.get_or_insert(path);
        }
        if self.model.init.is_none() && self.model.net != Some(Net::Convolution) {
            self.model.activation.get_or_insert(Activation::Silu);
            self.model.hidden.get_or_insert(if few { vec![48; 5] } else { vec![256; 2] });
            self.data.spread.get_or_insert(if self.data.image.is_some() { 1.0 } else { 2.0 });
        }
        let matching = self.objective.kind != Objective::Likelihood;
        self.optimiser.batch.get_or_insert(match (matching, few) {
            (true, true) => 1024,
            (true, false) => 256,
            (false, _) => 512,
        });
        let lr = *self.optimiser.lr.get_or_insert(if few { 1e-2 } else { 2e-3 });
        let objective = &mut self.objective;
        if objective.kind == Objective::Mixed {
            objective.likelihood_batch.get_or_insert(512);
            objective.likelihood_lr.get_or_insert(0.1 * lr);
        }
        if objective.nfe_target.is_some() && objective.kinetic == 0.0 && objective.jacobian == 0.0 {
            (objective.kinetic, objective.jacobian) = (Self::USUAL_PENALTY, Self::USUAL_PENALTY);
        }
    }

    fn validate(&self, dim: usize) -> Result<()> {
        self.optimiser.validate_sizes(dim)?;
        self.validate_net(dim)?;
        self.optimiser.validate()?;
        self.data.validate()?;
        self.check_missing()?;
        self.model.validate()?;
        self.output.validate()?;
        self.objective.validate()?;
        self.validate_gaussian()?;
        self.solver.validate()?;
        if self.solver.exact() && (self.objective.kinetic != 0.0 || self.objective.jacobian != 0.0) {
            return Err(no_penalty());
        }
        self.solver.check_precision(self.model.precision)
    }

    /// Whether the velocity begins at the standard normal.
    fn begins_at_normal(&self) -> bool {
        ["auto", "normal"].contains(&&*self.model.base) || self.begins_at_flow()
    }

    /// Whether the velocity begins at a discrete flow, whose latents it moves.
    fn begins_at_flow(&self) -> bool {
        let rule = BaseRule::of(&self.model.base, false);
        self.model.family == Family::Cnf && rule.is_ok_and(|rule| rule.flow().is_some())
    }

    /// Refuses what is right only for latents of a normal and columns of one deviation, where they have others.
    fn validate_gaussian(&self) -> Result<()> {
        let refuse = |what: &str, hint: &str| Err(Error::invalid(what, hint));
        let preconditioned = self.model.preconditioning.unwrap_or_default() == Preconditioning::Gaussian;
        let bound = self.optimiser.validation.unwrap_or_default() == ValidationScore::Bound;
        let mixture = !self.begins_at_normal();
        if preconditioned && mixture && self.model.init.is_none() {
            let hint = "leave out `model.preconditioning`, or set `model.base` to normal";
            return refuse("a velocity cannot begin at a Gaussian's and at a mixture's", hint);
        }
        if self.begins_at_flow() && self.data.image.is_some() {
            let hint = "set `model.base` to normal, or `model.family` to that flow";
            return refuse("a velocity of images cannot begin at a discrete flow", hint);
        }
        if preconditioned && !self.data.standardise && self.model.init.is_none() && !self.begins_at_flow() {
            let hint = "leave out `model.preconditioning`, or standardise the columns";
            return refuse("a velocity begins at a Gaussian's for standardised columns only", hint);
        }
        if bound && self.objective.kind != Objective::Matching {
            let hint = "set `optimiser.validation` to likelihood, or `objective.kind` to matching";
            return refuse("the validation bound holds for a velocity that is matched throughout", hint);
        }
        if bound && self.objective.pairing == Pairing::Optimal {
            let hint = "set `optimiser.validation` to likelihood, or `objective.pairing` to independent";
            return refuse("the validation bound holds for independent pairs of latents and rows", hint);
        }
        if bound && mixture {
            let hint = "set `optimiser.validation` to likelihood, or `model.base` to normal";
            return refuse("the validation bound needs latents of a normal", hint);
        }
        Ok(())
    }

    /// Refuses a net that no memory holds.
    fn validate_net(&self, dim: usize) -> Result<()> {
        if self.model.init.is_some() {
            return Ok(());
        }
        let architecture = self.architecture(dim, 0)?;
        architecture.validate()?;
        if let Some(velocity) = architecture.as_velocity() {
            self.solver.trace.of(velocity)?;
            self.solver.check_exact(velocity.dim(), velocity.shape())?;
        }
        let params = architecture.n_params();
        if params <= MOST_PARAMETERS {
            return Ok(());
        }
        let sizes = self.net(dim).layer_sizes().iter().map(usize::to_string).collect::<Vec<_>>().join(" → ");
        let what = match self.model.family.discrete() {
            None => format!("a net of {params} parameters ({sizes})"),
            Some(kind) => format!("a {} of {params} parameters", kind.name()),
        };
        let hint = format!("set fewer or narrower layers in `model.hidden`: at most {MOST_PARAMETERS} parameters");
        Err(Error::invalid(what, hint))
    }

    /// The job as TOML, in sections.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a job that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::invalid(format!("the job cannot be written as TOML: {e}"), ""))
    }

    /// The job of a run from its `config.toml` or checkpoint: as [`Job::from_toml`], but what is left out has the
    /// meaning that it had when the run was made.
    ///
    /// # Errors
    /// As [`Job::from_toml`].
    pub fn of_run(text: &str) -> Result<Self> {
        let (job, present) = Self::parse(text)?;
        Ok(job.recorded(&present))
    }

    /// The job with the meaning that fields had before they existed, where a run lacks them: copies were
    /// divided like other rows, far rows were trained on, missing cells were errors,
    /// columns were plain, and discrete flows saw images as rows.
    fn recorded(self, present: &BTreeSet<String>) -> Self {
        self.with(|job| {
            job.data.copies_together &= present.contains(COPIES_TOGETHER);
            if !present.contains(FAR_ROWS) {
                job.data.far_rows = FarRows::Keep;
            }
            if !present.contains(MISSING) {
                job.data.missing = MissingRows::Refuse;
            }
            if !present.contains(COLUMN_TYPES) {
                job.data.column_types = ColumnTypes::Plain;
            }
            if job.model.family.discrete().is_some() && job.data.image.is_some() && job.model.init.is_none() {
                job.model.net.get_or_insert(Net::Mlp);
            }
        })
    }

    /// The job of a run from the provenance in its model file, as [`Job::of_run`]; none where there is no job.
    pub fn of_provenance(provenance: &serde_json::Map<String, serde_json::Value>) -> Option<Self> {
        let mut entries = provenance.get("job")?.as_object()?.clone();
        if entries.iter().all(|(name, value)| name == "seed" || value.is_object())
            && let Ok(job) = serde_json::from_value::<Self>(entries.clone().into())
        {
            let present = entries.get("data").and_then(serde_json::Value::as_object);
            return Some(job.recorded(&present.map_or_else(BTreeSet::new, |data| data.keys().cloned().collect())));
        }
        let seed = entries.remove("seed").and_then(|seed| seed.as_u64());
        let (job, present) = Self::of_flat(toml::Table::try_from(entries).ok()?, seed).ok()?;
        Some(job.recorded(&present))
    }

    /// A job from TOML, in sections or as one flat table as jobs once were; what is left out has its default.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the place of what does not fit, [`Error::Unknown`] for a field that is not known.
    pub fn from_toml(text: &str) -> Result<Self> {
        Ok(Self::parse(text)?.0)
    }

    /// The job, and the fields of the data that its text has.
    fn parse(text: &str) -> Result<(Self, BTreeSet<String>)> {
        let refused = match toml::from_str::<Self>(text) {
            Ok(job) => {
                let present: PresentFields = toml::from_str(text).map_err(broken)?;
                return Ok((job, present.data.into_keys().collect()));
            }
            Err(refused) => refused,
        };
        // A table holds no seed beyond 2⁶³ − 1; its line stays, empty, for the places in errors.
        let seed = toml::from_str::<Seeded>(text).ok().and_then(|seeded| seeded.seed);
        let line =
            |line: &str| if seed.is_some() && line.trim_start().starts_with("seed") { "" } else { line }.to_owned();
        let table: toml::Table = text.lines().map(line).collect::<Vec<_>>().join("\n").parse().map_err(broken)?;
        if flat::is_flat(&table) { Self::of_flat(table, seed) } else { Err(broken(refused)) }
    }

    fn of_flat(table: toml::Table, seed: Option<u64>) -> Result<(Self, BTreeSet<String>)> {
        let table = flat::sectioned(table)?;
        let present = table.get("data").and_then(toml::Value::as_table);
        let present = present.map_or_else(BTreeSet::new, |data| data.keys().cloned().collect());
        let job: Self = table.try_into().map_err(broken)?;
        let seed = seed.unwrap_or(job.seed);
        Ok((Self { seed, ..job }.without_filled(), present))
    }
}

/// The fields of the data that a job in sections has.
#[derive(Deserialize)]
struct PresentFields {
    #[serde(default)]
    data: BTreeMap<String, IgnoredAny>,
}

/// The seed of a job in any form.
#[derive(Deserialize)]
struct Seeded {
    seed: Option<u64>,
}

fn broken(error: toml::de::Error) -> Error {
    Error::invalid(error.to_string().trim_end(), "see the `config.toml` of any run: it has every field")
}
