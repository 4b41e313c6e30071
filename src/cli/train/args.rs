//! The options of `cnf train`, and the job that they make.

use std::path::PathBuf;

use cnf::Error;
use cnf::flow::discrete::Split;
use cnf::flow::{Core, Model, VelocitySpec};
use cnf::train::{Family, FarRows, Job, Objective, Pairing, Path};
use cnf::velocity::{Activation, TimeInput};

use crate::cli::picture::Shown;
use crate::cli::solver::SolverArgs;
use crate::cli::{Context, TableArgs, setup};

/// What a run that goes on has already decided.
const EVERYTHING_ELSE: [&str; 50] = [
    "data",
    "split",
    "drop",
    "header",
    "model",
    "depth",
    "halves",
    "bins",
    "linear",
    "sigma",
    "condition",
    "objective",
    "path",
    "pairing",
    "likelihood_share",
    "kinetic",
    "jacobian",
    "steer",
    "nfe_target",
    "hidden",
    "activation",
    "time_features",
    "column",
    "base",
    "no_standardise",
    "far_rows",
    "steps",
    "time",
    "batch",
    "lr",
    "patience",
    "checkpoint_every",
    "out",
    "force",
    "init",
    "config",
    "names",
    "invert_y",
    "columns",
    "log",
    "solver",
    "rtol",
    "atol",
    "fixed_steps",
    "max_step",
    "trace",
    "log_density",
    "log_density_atol",
    "precision",
    "seed",
];

/// Train a flow, continuous or discrete, on a toy or a table.
#[derive(clap::Args, Debug)]
pub struct TrainArgs {
    /// A toy (`cnf data` lists them) or a .npy, .npz or .csv file [default: 8gaussians]
    #[arg(long, value_name = "NAME|FILE")]
    data: Option<String>,
    /// How a table is split: auto (NAME_split.npy beside it, else 80/10/10), a file of codes, column:NAME, or shares as 0.8,0.1 [default: auto]
    #[arg(long, value_name = "RULE")]
    split: Option<String>,
    /// Columns of the table to leave out, by name, or by number from 0 as in the file
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', num_args = 1)]
    drop: Vec<String>,
    #[command(flatten)]
    pub tables: TableArgs,
    /// What the model is told and does not make: columns of the table as NAME or NAME:KIND (or numbers from 0), KIND class or number; or a file with a row for each of the table's
    #[arg(long, value_name = "COLUMNS|FILE", value_delimiter = ',', num_args = 1)]
    condition: Vec<String>,
    /// What is trained: cnf (a continuous flow), nice, realnvp, glow or spline (discrete flows), or a density without a net that they have to beat: gaussian, gaussian-fixed (only its mean is fitted), mixture, histogram (one or two columns) [default: cnf]
    #[arg(long, value_name = "NAME")]
    model: Option<Family>,
    /// The couplings of a discrete flow [default: 8, nice 12]
    #[arg(long, value_name = "N")]
    depth: Option<usize>,
    /// Which columns a coupling leaves alone: random, halves or parity [default: random]
    #[arg(long, value_name = "NAME")]
    halves: Option<Split>,
    /// The bins of a spline [default: 8]
    #[arg(long, value_name = "N")]
    bins: Option<usize>,
    /// An activation norm and an invertible linear map before each coupling, as Glow has them always
    #[arg(long)]
    linear: bool,
    /// The deviation of gaussian-fixed, in the data's units [default: 1]
    #[arg(long, value_name = "X")]
    sigma: Option<f64>,
    /// What is minimised: matching (a regression, fast), likelihood (through the solver), or mixed, one after the other [default: matching]
    #[arg(long, value_name = "NAME")]
    objective: Option<Objective>,
    /// How a latent and a row are joined while matching: straight, or vp (variance preserving) [default: straight]
    #[arg(long, value_name = "NAME")]
    path: Option<Path>,
    /// Which latent goes with which row while matching: independent, or optimal (exact transport in the batch, within a class, near in numbers) [default: independent]
    #[arg(long, value_name = "NAME")]
    pairing: Option<Pairing>,
    /// The part of a mixed run that goes to the likelihood, at its end [default: 0.2]
    #[arg(long, value_name = "PART")]
    likelihood_share: Option<f64>,
    /// The weight of the paths' kinetic energy in a likelihood (RNODE) [default: 0]
    #[arg(long, value_name = "X")]
    kinetic: Option<f64>,
    /// The weight of the squared Jacobian along the paths in a likelihood (RNODE) [default: 0]
    #[arg(long, value_name = "X")]
    jacobian: Option<f64>,
    /// Paths of a likelihood end at a random time within 1 ± X (STEER) [default: 0]
    #[arg(long, value_name = "X")]
    steer: Option<f64>,
    /// Steer the penalties so that a row takes about N velocity evaluations; makes the run mixed
    #[arg(long, value_name = "N")]
    nfe_target: Option<f64>,
    /// Widths of the hidden layers [default: 48,48,48,48,48 up to 16 dimensions, 256,256 beyond]
    #[arg(long, value_name = "WIDTHS", value_delimiter = ',', num_args = 1)]
    hidden: Option<Vec<usize>>,
    /// tanh, softplus, silu, elu or relu [default: silu; relu for the nets of discrete flows]
    #[arg(long, value_name = "NAME")]
    activation: Option<Activation>,
    /// Sines and cosines of time beside time itself: so many frequencies [default: 0]
    #[arg(long, value_name = "N")]
    time_features: Option<usize>,
    /// What a column is that is no plain number: NAME:KIND (or its number from 0, without those of --condition) with KIND angle[:PERIOD], unit[:LOW,HIGH] or positive
    #[arg(long, value_name = "NAME:KIND", conflicts_with = "init")]
    column: Vec<String>,
    /// The distribution at which the velocity begins: normal, mixture (of Gaussians, as many as the validation set likes), mixture:K, or auto: the normal, but for a table the better of the flow and a mixture by the validation set [default: auto]
    #[arg(long, value_name = "NAME", conflicts_with = "init")]
    base: Option<String>,
    /// Leave the columns as they are, instead of bringing them to zero mean and deviation 2 inside the model
    #[arg(long)]
    no_standardise: bool,
    /// What becomes of rows far beyond all others: leave-out or keep [default: leave-out]
    #[arg(long, value_name = "RULE")]
    far_rows: Option<FarRows>,
    /// End after so many steps
    #[arg(long, value_name = "N", conflicts_with = "time")]
    steps: Option<usize>,
    /// End after so much time, such as 60s, 2m or 1h [default: 25s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    time: Option<f64>,
    /// Rows of a batch [default: 1024 for matching, 256 beyond 16 dimensions; 512 for likelihood]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// The highest learning rate; it rises, then falls along a cosine [default: 1e-2 up to 16 dimensions, 2e-3 beyond; of discrete flows 5e-3 and 1e-3]
    #[arg(long)]
    lr: Option<f64>,
    /// End after so many held-out scores without a better one; 0 for never [default: five clearly worse ones in a row, for tables]
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Keep the run for --resume after so many steps (100), or so much time (10s) [default: 10s]
    #[arg(long, value_name = "STEPS|TIME")]
    checkpoint_every: Option<String>,
    /// Go on with a run that was broken off, as its config.toml says
    #[arg(long, value_name = "RUN", conflicts_with_all = EVERYTHING_ELSE)]
    pub(super) resume: Option<PathBuf>,
    /// The run's folder [default: runs/DATA-OBJECTIVE-N, or runs/DATA-MODEL-N, with the next free N]
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: Option<PathBuf>,
    /// Overwrite the run that is already there
    #[arg(long)]
    pub(super) force: bool,
    /// Start from the weights, the net and the standardisation of a model file, or of a run
    #[arg(long, value_name = "MODEL")]
    init: Option<PathBuf>,
    /// A job as TOML, such as the config.toml of a run
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Watch the run over the whole terminal: curves, and in two dimensions the density as it forms
    #[arg(long, conflicts_with = "quiet")]
    pub(super) watch: bool,
    /// Names of the columns in pictures
    #[arg(long, value_name = "NAME", num_args = 1..)]
    names: Vec<String>,
    /// The second axis of pictures grows downwards, as magnitudes do
    #[arg(long)]
    invert_y: bool,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    solver: SolverArgs,
}

/// `90`, `90s`, `1.5m`, `1h`.
pub fn seconds(text: &str) -> Result<f64, String> {
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, unit) =
        units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1.0));
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number * unit),
        _ => Err("write a time above 0, such as 60s, 2m or 1h".into()),
    }
}

impl TrainArgs {
    /// The files that are read beside those that the job names.
    pub fn read(&self) -> Vec<&std::path::Path> {
        self.config.as_deref().into_iter().collect()
    }

    /// The job: flags over the file over the defaults; and the model it starts from.
    pub(super) fn job(&self, context: &Context) -> anyhow::Result<(Job, Option<Model>)> {
        let mut job = match &self.config {
            None => Job::default(),
            Some(path) => {
                let bytes = cnf::io::read_bytes(path)?;
                let text = String::from_utf8_lossy(&bytes);
                Job::from_toml(&text).map_err(|e| Error::read(path, e.to_string(), e.hint().unwrap_or_default()))?
            }
        };
        fn put<T: Clone>(slot: &mut T, flag: &Option<T>) {
            if let Some(value) = flag {
                *slot = value.clone();
            }
        }
        fn maybe<T: Clone>(slot: &mut Option<T>, flag: &Option<T>) {
            if flag.is_some() {
                slot.clone_from(flag);
            }
        }
        put(&mut job.data, &self.data);
        put(&mut job.split, &self.split);
        put(&mut job.header, &self.tables.header);
        if let Some(model) = self.model.filter(|model| *model != job.model) {
            // What a file says of another model's net and training is not meant for this one.
            let Job { objective, base, batch, lr, hidden, activation, spread, depth, .. } = Job::default();
            job = Job { model, objective, base, batch, lr, hidden, activation, spread, depth, ..job };
        }
        if !self.drop.is_empty() {
            job.drop.clone_from(&self.drop);
        }
        if !self.condition.is_empty() {
            job.condition.clone_from(&self.condition);
        }
        maybe(&mut job.depth, &self.depth);
        put(&mut job.halves, &self.halves);
        put(&mut job.bins, &self.bins);
        job.linear |= self.linear;
        put(&mut job.sigma, &self.sigma);
        if self.nfe_target.is_some() && job.objective == Objective::Matching {
            job.objective = Objective::Mixed;
        }
        put(&mut job.objective, &self.objective);
        put(&mut job.path, &self.path);
        put(&mut job.pairing, &self.pairing);
        put(&mut job.likelihood_share, &self.likelihood_share);
        put(&mut job.kinetic, &self.kinetic);
        put(&mut job.jacobian, &self.jacobian);
        put(&mut job.steer, &self.steer);
        maybe(&mut job.nfe_target, &self.nfe_target);
        put(&mut job.far_rows, &self.far_rows);
        maybe(&mut job.patience, &self.patience);
        put(&mut job.base, &self.base);
        if !self.column.is_empty() {
            job.columns.clone_from(&self.column);
        }
        put(&mut job.checkpoint, &self.checkpoint_every);
        put(&mut job.seed, &self.solver.seed);
        put(&mut job.precision, &self.solver.precision);
        maybe(&mut job.batch, &self.batch);
        maybe(&mut job.lr, &self.lr);
        if !self.names.is_empty() {
            job.picture.names.clone_from(&self.names);
        }
        job.picture.invert_y |= self.invert_y;
        if !self.shown.columns.is_empty() {
            job.picture.columns.clone_from(&self.shown.columns);
        }
        maybe(&mut job.picture.log, &self.shown.log.log);
        if self.steps.is_some() || self.time.is_some() {
            (job.steps, job.time) = (self.steps, self.time);
        }
        self.solver.apply(&mut job.solver)?;
        maybe(&mut job.init, &self.init);
        let model = match &job.init {
            None => None,
            Some(path) => {
                let path = setup::find(Some(path), context)?;
                let model = Model::load(&path)?;
                self.check_start(&model)?;
                job.init = Some(path);
                Some(model)
            }
        };
        maybe(&mut job.activation, &self.activation);
        put(&mut job.time_features, &self.time_features);
        maybe(&mut job.hidden, &self.hidden);
        job.standardise &= !self.no_standardise;
        if let Some(model) = &model {
            job.adopt(model)?;
        }
        if let (Some(kind), Some(Objective::Matching)) = (job.model.discrete(), self.objective) {
            return Err(Error::invalid(
                format!("{} has no velocity that could be matched", kind.name()),
                "leave out --objective: a discrete flow is trained by likelihood",
            )
            .into());
        }
        Ok((job, model))
    }

    /// Refuses flags that ask for another net than that of the model to start from.
    fn check_start(&self, model: &Model) -> cnf::Result<()> {
        let net = if let Core::Velocity(VelocitySpec::Mlp(net)) = &model.spec.core { Some(net) } else { None };
        let frequencies =
            net.map(|net| if let TimeInput::Fourier { frequencies } = net.time { frequencies } else { 0 });
        let mlp = model.spec.core.as_velocity().is_some();
        let hidden = |hidden: &Vec<usize>| mlp && net.map(|net| &net.hidden) != Some(hidden);
        let differs = [
            ("--model", self.model.is_some_and(|family| family.name() != model.spec.core.name())),
            ("--hidden", self.hidden.as_ref().is_some_and(hidden)),
            ("--activation", self.activation.is_some_and(|s| mlp && net.map(|net| net.activation) != Some(s))),
            ("--time-features", self.time_features.is_some_and(|n| frequencies != Some(n))),
            ("--no-standardise", self.no_standardise && model.spec.standardise.is_some()),
        ];
        match differs.into_iter().find(|(_, differs)| *differs) {
            None => Ok(()),
            Some((flag, _)) => Err(Error::invalid(
                format!("{flag} contradicts the model to start from"),
                format!("leave out {flag}: the start decides the net; `cnf info MODEL` shows it"),
            )),
        }
    }
}
