//! Everything that a run depends on, as data: printed, saved as `config.toml`, read back.
//!
//! What is left out is chosen by [`Job::resolve`] from the data's dimension: in few dimensions depth is worth
//! more than width (five layers of 48), in many two wide layers have an exact trace in closed form.
//!
//! A job that counts its steps gives the same bits again. One that is bounded by time takes as many steps as the
//! machine allows, and its learning rate follows the clock: it is repeated in kind, not in its bits.

mod core;
mod validate;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Family, FarRows, Objective, Pairing, Path};
use crate::data::{DataOptions, Dataset, SplitRule, TableOptions};
pub use crate::flow::Precision;
use crate::flow::discrete::Split;
use crate::flow::{FlowSpec, SolverSpec};
use crate::io::{self, Format, Reader};
use crate::names::{Matched, NamedTable};
use crate::velocity::Activation;
use crate::{Error, Result};

/// How the pictures of a run are drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Picture {
    /// Names of the columns; none for those of the file.
    pub names: Vec<String>,
    /// The second axis grows downwards, as magnitudes do.
    pub invert_y: bool,
    /// Columns to show, by name or counted from 0; none for all that fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Densities by their logarithm, over so many decades.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<u16>,
}

/// Fields that older runs do not have.
const COPIES_TOGETHER: &str = "copies_together";
const FAR_ROWS: &str = "far_rows";

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Job {
    /// A toy, or the path of a table.
    pub data: String,
    /// How a table is divided: see [`split_rule`].
    pub split: String,
    /// Fixes a table's random split; left out: `seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
    /// Copies of a row stay in one set of a table's random split. A run that does not say so was split without.
    pub copies_together: bool,
    /// The columns of a table that are left out, by name, or by number from 0 as the file has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Whether the first lines of texts hold the names of columns: of the table, and of the files of its split and its
    /// conditions.
    #[serde(skip_serializing_if = "io::Header::is_auto")]
    pub header: io::Header,
    /// The columns of a table that the model is told and does not make, as `NAME` or `NAME:KIND` (by number from 0 where
    /// they have no names; KIND is class or number); or one file of a row for each of the table's.
    pub condition: Vec<String>,
    /// Fixes every draw.
    pub seed: u64,
    /// What is trained.
    pub model: Family,
    /// What is minimised; a discrete flow knows the likelihood only.
    pub objective: Objective,
    /// How a latent and a row of data are joined, where a velocity is matched.
    pub path: Path,
    /// Which latent goes with which row, where a velocity is matched.
    pub pairing: Pairing,
    /// Rows of a batch that are paired with each other by an optimal pairing.
    pub pairing_block: usize,
    /// How much more often a velocity is matched near the data than near the latent: the density of a time is
    /// proportional to (1 − t)^(1/late − 1), uniform for 1.
    pub late: f64,
    /// The part of the budget that a mixed run gives to the likelihood, at its end.
    pub likelihood_share: f64,
    /// Rows of a batch in that part; left out: 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likelihood_batch: Option<usize>,
    /// The highest learning rate in that part; left out: a tenth of the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likelihood_lr: Option<f64>,
    /// Both tolerances of the solver while training by likelihood; left out: those of `solver`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likelihood_tol: Option<f64>,
    /// The weight of the kinetic energy ∫|m|² dt in a likelihood.  Ref: Finlay et al., *How to train your neural ODE* (2020).
    pub kinetic: f64,
    /// The weight of ∫‖∂m/∂x‖² dt in a likelihood; as above.
    pub jacobian: f64,
    /// The end time of a likelihood's paths is uniform in 1 ± this.  Ref: Ghosh et al., *STEER* (2020).
    pub steer: f64,
    /// The velocity evaluations a row that the penalties are steered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nfe_target: Option<f64>,
    /// The couplings of a discrete flow; left out: 8, NICE 12.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Which columns a coupling leaves alone.
    pub halves: Split,
    /// An activation norm and an invertible linear map before each coupling, beside Glow's.
    pub linear: bool,
    /// The bins of a spline.
    pub bins: usize,
    /// A spline bends between minus this and this, in deviations.
    pub bound: f64,
    /// The most that an affine coupling's log-scale can be.
    pub log_scale: f64,
    /// The deviation of the Gaussian whose deviation is fixed, in the data's units.
    pub sigma: f64,
    /// The widths of the hidden layers; left out: 48,48,48,48,48 up to 16 dimensions, 256,256 beyond; 64,64 for the
    /// nets of a discrete flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// The nonlinearity; left out: silu, but relu for the nets of a discrete flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// Sines and cosines of time beside time itself: so many frequencies.
    pub time_features: usize,
    /// What columns are that are not plain numbers: `NAME:KIND`, or `J:KIND` with J counted from 0; KIND is angle,
    /// unit or positive, as [`ColumnKind`](crate::flow::ColumnKind) reads it.
    pub columns: Vec<String>,
    /// The distribution at which the velocity begins: normal, mixture (of as many Gaussians as the validation set
    /// likes), mixture:K, or auto: the normal, but for a table a mixture is fitted too, and is the model where the
    /// validation set likes it better.
    pub base: String,
    /// Columns are brought to zero mean and the deviation `spread` inside the model.
    pub standardise: bool,
    /// The deviation that the standardised columns get; left out: 2 for a velocity, else 1. Latents have 1; where the data
    /// are wider, a velocity resolves finer structure (2spirals after 5000 steps: excess 0.17 at 1, 0.048 at 2, 0.046 at 3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// What becomes of rows that lie so far out that they ruin what is learnt of the others.
    pub far_rows: FarRows,
    /// A model file whose weights, net and standardisation are the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// The run ends after so many steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// The run ends after so many seconds; where neither is given, after [`Job::USUAL_TIME`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// Rows of a batch; left out: 1024 for matching (256 beyond 16 dimensions), 512 for likelihood and discrete flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// The highest learning rate; left out: 1e-2 up to 16 dimensions, 2e-3 beyond; of a discrete flow 5e-3 and 1e-3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// AdamW's decay of the weights.
    pub weight_decay: f64,
    /// The longest gradient that is not shortened.
    pub clip: f64,
    /// The decay of the average of the weights that is validated and saved; 0 for the last weights.
    pub ema: f64,
    /// Held-out scores along the way, and some ten more at the start; at most a tenth of the time.
    pub validations: usize,
    /// A table's model is that of the best held-out score, not the last.
    pub keep_best: bool,
    /// The run ends after so many held-out scores that were not better; 0 for never. Left out: that of a table ends where its
    /// scores have become clearly worse than the best, since its rows are learnt by heart then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// The run is kept for `--resume` after so many steps (`100`), or so much time (`10s`).
    pub checkpoint: String,
    /// Rows in each of them.
    pub validation_rows: usize,
    /// The precision of weights and states.
    pub precision: Precision,
    /// How the flow is integrated: while training by likelihood, and in the model.
    pub solver: SolverSpec,
    /// How its pictures are drawn.
    pub picture: Picture,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            data: "8gaussians".into(),
            split: "auto".into(),
            split_seed: None,
            copies_together: true,
            drop: Vec::new(),
            header: io::Header::Auto,
            condition: Vec::new(),
            seed: 0,
            model: Family::Cnf,
            objective: Objective::Matching,
            path: Path::Straight,
            pairing: Pairing::Independent,
            pairing_block: 256,
            late: 1.0,
            likelihood_share: 0.2,
            likelihood_batch: None,
            likelihood_lr: None,
            likelihood_tol: None,
            kinetic: 0.0,
            jacobian: 0.0,
            steer: 0.0,
            nfe_target: None,
            depth: None,
            halves: Split::default(),
            linear: false,
            bins: 8,
            bound: 5.0,
            log_scale: 3.0,
            sigma: 1.0,
            hidden: None,
            activation: None,
            time_features: 0,
            columns: Vec::new(),
            base: "auto".into(),
            standardise: true,
            spread: None,
            far_rows: FarRows::default(),
            init: None,
            steps: None,
            time: None,
            batch: None,
            lr: None,
            weight_decay: 0.0,
            clip: 1.0,
            ema: 0.999,
            validations: 20,
            keep_best: true,
            patience: None,
            checkpoint: "10s".into(),
            validation_rows: 1000,
            precision: Precision::F32,
            solver: SolverSpec::default(),
            picture: Picture::default(),
        }
    }
}

/// Up to this dimension the usual net is deep, beyond it is wide: as far as one tangent a dimension is cheap.
///
/// In 10 dimensions (magic, 20 s on two busy cores) 48×5 reached 4.73 nats where 256-256 reached 5.75.
const FEW_DIMENSIONS: usize = 16;

impl Job {
    /// The seconds of a run that says neither steps nor time.
    pub const USUAL_TIME: f64 = 25.0;
    /// The part of the time that a base may take to be fitted.
    pub const BASE_SHARE: f64 = 0.4;
    /// The weights from which penalties are steered.  Ref: Finlay et al. (2020), section 5.
    pub const USUAL_PENALTY: f64 = 0.01;

    /// Fills in what was left out, for data of `dim` columns, and refuses what makes no sense.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the option's name; what the solver's options refuse.
    pub fn resolve(mut self, dim: usize) -> Result<Self> {
        let few = dim <= FEW_DIMENSIONS;
        if self.model == Family::Cnf && self.init.is_none() {
            self.activation.get_or_insert(Activation::Silu);
        }
        self.spread.get_or_insert(if self.model == Family::Cnf { 2.0 } else { 1.0 });
        match self.model.discrete() {
            Some(kind) => self.resolve_discrete(kind, few)?,
            None => self.refuse_discrete()?,
        }
        let matching = self.objective != Objective::Likelihood;
        if self.init.is_none() {
            self.hidden.get_or_insert(if few { vec![48; 5] } else { vec![256; 2] });
        }
        self.batch.get_or_insert(match (matching, few) {
            (true, true) => 1024,
            (true, false) => 256,
            (false, _) => 512,
        });
        let lr = *self.lr.get_or_insert(if few { 1e-2 } else { 2e-3 });
        if self.objective == Objective::Mixed {
            self.likelihood_batch.get_or_insert(512);
            self.likelihood_lr.get_or_insert(0.1 * lr);
        }
        if self.nfe_target.is_some() && self.kinetic == 0.0 && self.jacobian == 0.0 {
            (self.kinetic, self.jacobian) = (Self::USUAL_PENALTY, Self::USUAL_PENALTY);
        }
        if self.steps.is_none() {
            self.time.get_or_insert(Self::USUAL_TIME);
        }
        self.validate(dim)?;
        Ok(self)
    }

    /// The data that the job is about, or those called `name` under the same options.
    ///
    /// # Errors
    /// As [`resolve`](crate::data::resolve) and [`split_rule`].
    pub fn dataset(&self, name: Option<&str>) -> Result<Dataset> {
        let options = self.data_options()?;
        crate::data::resolve(name.unwrap_or(&self.data), &options, self.split_seed.unwrap_or(self.seed))
    }

    fn data_options(&self) -> Result<DataOptions> {
        Ok(DataOptions {
            table: TableOptions {
                split: split_rule(&self.split)?,
                drop: self.drop.clone(),
                copies_together: self.copies_together,
                header: self.header,
            },
            condition: self.condition.clone(),
            ..DataOptions::default()
        })
    }

    /// As [`Job::dataset`], for the model of this spec that the job made: its conditions are found by its own names, and
    /// the columns are brought into its order. What was done is returned in words.
    ///
    /// # Errors
    /// As [`Job::dataset`] and [`Dataset::arrange`].
    pub fn dataset_of(&self, spec: &FlowSpec, name: Option<&str>) -> Result<(Dataset, Vec<String>)> {
        let names = spec.condition_names();
        // Numbers of columns mean something in the file of the training only.
        let by_name = !names.is_empty() && !crate::data::is_file(&self.condition) && !spec.names.is_empty();
        let condition = if by_name { names.to_vec() } else { self.condition.clone() };
        Self { condition, ..self.clone() }.matched(spec, name, true)
    }

    /// As [`Job::dataset`], for a model of this spec: the columns are brought into its order. What was done is returned in
    /// words.
    ///
    /// # Errors
    /// As [`Job::dataset`] and [`Dataset::arrange`].
    pub fn dataset_for(&self, spec: &FlowSpec, name: Option<&str>) -> Result<(Dataset, Vec<String>)> {
        self.matched(spec, name, false)
    }

    fn matched(&self, spec: &FlowSpec, name: Option<&str>, own: bool) -> Result<(Dataset, Vec<String>)> {
        let name = name.unwrap_or(&self.data);
        let mut options = self.data_options()?;
        let surplus = self.surplus(spec, std::path::Path::new(name), own, &mut options)?;
        options.table.drop.extend(surplus.iter().cloned());
        let mut data = crate::data::resolve(name, &options, self.split_seed.unwrap_or(self.seed))?;
        let table = format!("`{name}`");
        // What was left out of the training too is not news.
        let news = surplus.into_iter().filter(|name| !self.drop.contains(name)).collect();
        let left_out = Matched { places: Vec::new(), left_out: news };
        let mut notes = data.notes.clone();
        notes.extend(left_out.note(NamedTable::of_file(&table, &[])));
        notes.extend(data.arrange(&spec.names, spec.condition_names())?);
        Ok((data, notes))
    }

    /// The columns of a text that the model does not have, by name: they may hold anything. Its conditions are named in
    /// `options` then. Where the job is the model's own, the columns that were dropped are among them.
    fn surplus(
        &self,
        spec: &FlowSpec,
        path: &std::path::Path,
        own: bool,
        options: &mut DataOptions,
    ) -> Result<Vec<String>> {
        if spec.names.is_empty()
            || Format::of(path) != Some(Format::Csv)
            || crate::data::toys::find(&path.to_string_lossy()).is_ok()
        {
            return Ok(Vec::new());
        }
        let TableOptions { split, drop, .. } = &options.table;
        let dropped = |(at, name): (usize, &String)| drop.contains(name) || drop.contains(&at.to_string());
        let apart = |name: &String| matches!(split, SplitRule::Column(column) if column == name);
        let reader = Reader::open_as(path, self.header)?;
        let all = reader.columns().unwrap_or_default().iter().enumerate();
        let kept = all.filter(|(at, name)| (own || !dropped((*at, *name))) && !apart(name));
        let (numbers, names): (Vec<usize>, Vec<String>) = kept.map(|(at, name)| (at, name.clone())).unzip();
        if spec.names.iter().any(|name| !names.contains(name)) {
            // Something is missing, and whoever matches the names says so.
            return Ok(Vec::new());
        }
        let condition = crate::data::places(&self.condition, Some(&names), &numbers).unwrap_or_default();
        let is_surplus = |at: &usize| {
            let name = &names[*at];
            let once = names.iter().filter(|other| *other == name).count() == 1;
            once && !spec.names.contains(name) && !condition.contains(at)
        };
        let surplus: Vec<String> = (0..names.len()).filter(is_surplus).map(|at| names[at].clone()).collect();
        if own {
            // A number of a column means nothing in a file that may have changed.
            options.table.drop.clear();
        }
        if !surplus.is_empty() && !condition.is_empty() {
            // Numbers of columns change with those that are left out.
            options.condition = condition.iter().map(|at| names[*at].clone()).collect();
        }
        Ok(surplus)
    }

    /// The job as TOML.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a job that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::invalid(format!("the job cannot be written as TOML: {e}"), ""))
    }

    /// The job of a run from its `config.toml` or checkpoint: as [`Job::from_toml`], but what is left out has the meaning
    /// that it had when the run was made.
    ///
    /// # Errors
    /// As [`Job::from_toml`].
    pub fn of_run(text: &str) -> Result<Self> {
        let job = Self::from_toml(text)?;
        let table = toml::from_str::<toml::Table>(text).unwrap_or_default();
        Ok(job.recorded(|field| table.contains_key(field)))
    }

    /// The job with the meaning that fields had before they existed, where a run lacks them: copies were
    /// divided like other rows, and far rows were trained on.
    fn recorded(self, says: impl Fn(&str) -> bool) -> Self {
        let copies_together = says(COPIES_TOGETHER) && self.copies_together;
        let far_rows = if says(FAR_ROWS) { self.far_rows } else { FarRows::Keep };
        Self { copies_together, far_rows, ..self }
    }

    /// The job of a run from what its model file says of it, as [`Job::of_run`]; none where that is not a job.
    pub fn of_story(story: &serde_json::Map<String, serde_json::Value>) -> Option<Self> {
        let told = story.get("job")?;
        let job = serde_json::from_value::<Self>(told.clone()).ok()?;
        Some(job.recorded(|field| told.get(field).is_some()))
    }

    /// A job from TOML; what is left out has its default.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the place of what does not fit.
    pub fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|e| {
            let problem = e.to_string().trim_end().to_owned();
            Error::invalid(problem, "`config.toml` of any run shows every field")
        })
    }
}

/// The rule that a text stands for: `auto`, `column:NAME`, `0.8,0.1` (shares of training and validation), or
/// the path of a file of codes.
///
/// # Errors
/// [`Error::Invalid`] for a text that is none of them.
pub fn split_rule(text: &str) -> Result<SplitRule> {
    let none = |problem: String| {
        let hint = "write auto, column:NAME, the shares of training and validation as 0.8,0.1, or a file of codes";
        Err(Error::invalid(problem, hint))
    };
    if text == "auto" {
        return Ok(SplitRule::Auto);
    }
    if let Some(name) = text.strip_prefix("column:") {
        return if name.is_empty() {
            none("a split by a column without a name".into())
        } else {
            Ok(SplitRule::Column(name.into()))
        };
    }
    if let Some((train, valid)) = text.split_once(',')
        && let (Ok(train), Ok(valid)) = (train.trim().parse(), valid.trim().parse())
    {
        return Ok(SplitRule::Fractions { train, valid });
    }
    let path = PathBuf::from(text);
    if crate::io::Format::of(&path).is_some() { Ok(SplitRule::File(path)) } else { none(format!("the split `{text}`")) }
}
