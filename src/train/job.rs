//! Everything that a run depends on, as data: printed, saved as `config.toml`, read back.
//!
//! What is left out is chosen by [`Job::resolve`] from the data's dimension: in few dimensions depth is worth
//! more than width (five layers of 48), in many two wide layers have an exact trace in closed form.
//!
//! A job that counts its steps gives the same bits again. One that is bounded by time takes as many steps as the
//! machine allows, and its learning rate follows the clock: it is repeated in kind, not in its bits.

use std::path::PathBuf;

use candle_core::DType;
use serde::{Deserialize, Serialize};

use super::{Family, Objective, Pairing, Path};
use crate::data::SplitRule;
use crate::flow::discrete::{Kind, Plan, Split};
use crate::flow::{Core, Model, SolverSpec, VelocitySpec};
use crate::velocity::{Activation, MlpSpec, TimeInput};
use crate::{Error, Result};

/// The precision of weights and states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 64 bits.
    F64,
}

impl Precision {
    /// candle's name for it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F64 => DType::F64,
        }
    }
}

/// How the pictures of a run are drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Picture {
    /// Names of the columns; none for those of the file.
    pub names: Vec<String>,
    /// The second axis grows downwards, as magnitudes do.
    pub invert_y: bool,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Job {
    /// A toy, or the path of a table.
    pub data: String,
    /// How a table is divided: see [`split_rule`].
    pub split: String,
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
    /// Held-out scores along the way, at most a tenth of the time.
    pub validations: usize,
    /// A table's model is that of the best held-out score, not the last.
    pub keep_best: bool,
    /// The run ends after so many held-out scores that were not better; 0 for never.
    pub patience: usize,
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
            patience: 0,
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

/// The most rows of a batch, numbers in it, parameters of a net, and validations: far beyond use, within memory.
const MOST_ROWS: usize = 1 << 22;
const MOST_NUMBERS: usize = 1 << 28;
const MOST_PARAMETERS: usize = 1 << 28;
const MOST_VALIDATIONS: usize = 10_000;

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
        if let Some(kind) = self.model.discrete() {
            self.resolve_discrete(kind, few)?;
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

    /// Fills in what a discrete flow leaves out, and refuses what has no meaning for it.
    fn resolve_discrete(&mut self, kind: Kind, few: bool) -> Result<()> {
        let usual = Self::default();
        // Matching is what a job says that says nothing.
        if self.objective == Objective::Matching {
            self.objective = Objective::Likelihood;
        }
        let asked = [
            ("a mixed objective", self.objective == Objective::Mixed),
            ("a base distribution", self.base != "auto" && self.base != "normal"),
            ("a kinetic penalty", self.kinetic != 0.0),
            ("a Jacobian penalty", self.jacobian != 0.0),
            ("a random end time", self.steer != 0.0),
            ("a number of evaluations to aim at", self.nfe_target.is_some()),
            ("times of matching", self.late != usual.late),
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
                let mut rng = crate::rng::stream(self.seed, super::PLAN_STREAM);
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
    pub fn sized(&self, dim: usize, given: Option<&crate::data::Given>, params: usize) -> Result<Self> {
        const WIDEST: usize = 4096;
        let resolved = self.clone().resolve(dim)?;
        let layers = resolved.hidden.as_ref().map_or(1, Vec::len).max(1);
        let c = given.map_or(0, |given| given.dim);
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
                self.model = Family::Discrete(spec.kind);
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
    pub(super) fn net(&self, dim: usize) -> MlpSpec {
        let hidden = self.hidden.clone().unwrap_or_default();
        MlpSpec {
            dim,
            condition_dim: 0,
            hidden,
            activation: self.activation.unwrap_or(Activation::Silu),
            time: self.time_input(),
        }
    }

    /// Refuses sizes that no memory holds.
    fn validate_sizes(&self, dim: usize) -> Result<()> {
        let refuse = |what: String, hint: String| Err(Error::invalid(what, hint));
        let batch = self.batch.unwrap_or_default();
        if batch > MOST_ROWS || batch.saturating_mul(dim) > MOST_NUMBERS {
            let most = MOST_ROWS.min(MOST_NUMBERS / dim.max(1));
            return refuse(
                format!("a batch of {batch} rows of {dim} columns"),
                format!("give --batch of at most {most}"),
            );
        }
        if self.validations > MOST_VALIDATIONS {
            let most = format!("give validations of at most {MOST_VALIDATIONS}");
            return refuse(format!("{} validations", self.validations), most);
        }
        if self.init.is_none() {
            let core = self.core(dim, 0)?;
            core.validate()?;
            let params = core.n_params();
            if params > MOST_PARAMETERS {
                let sizes = self.net(dim).layer_sizes().iter().map(usize::to_string).collect::<Vec<_>>().join(" → ");
                let what = format!("a net of {params} parameters ({sizes})");
                return refuse(what, format!("give fewer or narrower --hidden layers: at most {MOST_PARAMETERS}"));
            }
        }
        Ok(())
    }

    fn validate(&self, dim: usize) -> Result<()> {
        self.validate_sizes(dim)?;
        let refuse = |what: String, hint: &str| Err(Error::invalid(what, hint));
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if self.batch == Some(0) {
            return refuse("a batch of 0 rows".into(), "give --batch of at least 1");
        }
        if let Some(lr) = self.lr.filter(|lr| !positive(*lr)) {
            return refuse(format!("a learning rate of {lr}"), "give --lr above 0, such as 0.01");
        }
        if let Some(time) = self.time.filter(|time| !positive(*time)) {
            return refuse(format!("a run of {time} seconds"), "give --time above 0, such as 60s");
        }
        if let Some(spread) = self.spread.filter(|spread| !positive(*spread)) {
            return refuse(format!("columns of deviation {spread}"), "give spread above 0, such as 2");
        }
        if !positive(self.sigma) {
            return refuse(format!("a Gaussian of deviation {}", self.sigma), "give --sigma above 0, such as 1");
        }
        if !(self.late > 0.0 && self.late.is_finite()) {
            return refuse(format!("times crowded by {}", self.late), "give late above 0, such as 1 for none or 2");
        }
        if self.steps == Some(0) {
            return refuse("a run of 0 steps".into(), "give --steps of at least 1");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse(format!("a weight decay of {}", self.weight_decay), "give weight_decay of at least 0");
        }
        if self.clip.is_nan() || self.clip <= 0.0 {
            return refuse(format!("a gradient clip of {}", self.clip), "give clip above 0; inf for none");
        }
        if !(0.0..1.0).contains(&self.ema) {
            return refuse(format!("an average of weights with decay {}", self.ema), "give ema from 0 to below 1");
        }
        if self.validation_rows < 2 {
            return refuse(format!("validation on {} rows", self.validation_rows), "give validation_rows above 1");
        }
        self.check_plan()?;
        super::start::check_rules(self)?;
        split_rule(&self.split)?;
        self.solver.validate()?;
        self.solver.check_precision(self.precision.dtype())
    }

    /// The job as TOML.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a job that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::invalid(format!("the job cannot be written as TOML: {e}"), ""))
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
