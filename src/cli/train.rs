//! `cnf train`: arguments → a job → data → the loop → a run folder and a summary.
//!
//! Flags override the file of `--config`, which overrides the defaults of [`Job`].

mod folder;
mod pictures;
mod report;
mod watch;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cnf::data::{DataOptions, TableOptions, resolve};
use cnf::flow::{LogDensity, TraceSpec};
use cnf::train::{Job, Objective, Precision, fit, score, split_rule};
use cnf::velocity::Activation;

use self::report::Summary;

/// Examples, shown below the help.
pub const EXAMPLES: &str = "\
The usual net has five layers of 48 up to 16 dimensions, where depth is worth more than width, and two layers of 256 \
beyond, whose trace is exact in closed form at any dimension.

Ctrl-C ends the run after its step; the model is scored and saved as it is then. A run that is there already is not \
overwritten without --force.

Examples:
  cnf train                                       eight Gaussians, half a minute, worth watching
  cnf train --data 2spirals --time 60s
  cnf train --data table.csv --split 0.8,0.1      a table; the rest of its rows is the test set
  cnf train --data examples/data/hr_diagram_2d.npy --names 'B − V' Hp --invert-y
  cnf train --objective likelihood --hidden 64,64,64 --activation tanh --steps 300
  cnf train --init runs/8gaussians-matching-1/model.safetensors --objective likelihood
  cnf train --config runs/8gaussians-matching-1/config.toml --seed 1";

/// Train a continuous flow on a toy or a table.
#[derive(clap::Args, Debug)]
pub struct TrainArgs {
    /// A toy (`cnf data` lists them) or a .npy, .npz or .csv file [default: 8gaussians]
    #[arg(long, value_name = "NAME|FILE")]
    data: Option<String>,
    /// How a table is split: auto (NAME_split.npy beside it, else 80/10/10), a file of codes, column:NAME, or shares as 0.8,0.1 [default: auto]
    #[arg(long, value_name = "RULE")]
    split: Option<String>,
    /// What is minimised: matching (a regression, fast) or likelihood (through the solver) [default: matching]
    #[arg(long, value_name = "NAME")]
    objective: Option<Objective>,
    /// Widths of the hidden layers [default: 48,48,48,48,48 up to 16 dimensions, 256,256 beyond]
    #[arg(long, value_name = "WIDTHS", value_delimiter = ',', num_args = 1)]
    hidden: Option<Vec<usize>>,
    /// tanh, softplus, silu or elu [default: silu]
    #[arg(long, value_name = "NAME")]
    activation: Option<Activation>,
    /// Sines and cosines of time beside time itself: so many frequencies [default: 0]
    #[arg(long, value_name = "N")]
    time_features: Option<usize>,
    /// Leave the columns as they are, instead of bringing them to zero mean and deviation 2 inside the model
    #[arg(long)]
    no_standardise: bool,
    /// The integration method [default: dopri5]
    #[arg(long, value_name = "METHOD")]
    solver: Option<String>,
    /// Relative tolerance of the path [default: 1e-5]
    #[arg(long)]
    rtol: Option<f64>,
    /// Absolute tolerance of the path [default: 1e-5]
    #[arg(long)]
    atol: Option<f64>,
    /// So many equal steps instead of step control
    #[arg(long, value_name = "N")]
    fixed_steps: Option<usize>,
    /// auto, exact, hutchinson[:K] or gaussian[:K] [default: auto]
    #[arg(long)]
    trace: Option<TraceSpec>,
    /// How the log-density is accumulated: auto, quadrature or coupled [default: auto]
    #[arg(long, value_name = "HOW", value_parser = log_density)]
    log_density: Option<LogDensity>,
    /// End after so many steps
    #[arg(long, value_name = "N", conflicts_with = "time")]
    steps: Option<usize>,
    /// End after so much time, such as 60s, 2m or 1h [default: 25s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    time: Option<f64>,
    /// Rows of a batch [default: 1024 for matching, 256 beyond 16 dimensions; 512 for likelihood]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// The highest learning rate; it rises, then falls along a cosine [default: 1e-2 up to 16 dimensions, 2e-3 beyond]
    #[arg(long)]
    lr: Option<f64>,
    /// Fixes every random draw [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// f32 or f64 [default: f32]
    #[arg(long, value_parser = precision)]
    precision: Option<Precision>,
    /// The run's folder [default: runs/DATA-OBJECTIVE-N with the next free N]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Overwrite the run that is already there
    #[arg(long)]
    force: bool,
    /// Start from the weights, the net and the standardisation of a model file
    #[arg(long, value_name = "MODEL")]
    init: Option<PathBuf>,
    /// A job as TOML, such as the config.toml of a run
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Names of the columns in pictures
    #[arg(long, value_name = "NAME", num_args = 1..)]
    names: Vec<String>,
    /// The second axis of pictures grows downwards, as magnitudes do
    #[arg(long)]
    invert_y: bool,
}

fn log_density(text: &str) -> Result<LogDensity, String> {
    match text {
        "auto" => Ok(LogDensity::Auto),
        "quadrature" => Ok(LogDensity::Quadrature),
        "coupled" => Ok(LogDensity::Coupled),
        _ => Err("known are auto, quadrature, coupled".into()),
    }
}

fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "f64" => Ok(Precision::F64),
        _ => Err("known are f32, f64".into()),
    }
}

/// `90`, `90s`, `1.5m`, `1h`.
fn seconds(text: &str) -> Result<f64, String> {
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, unit) =
        units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1.0));
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number * unit),
        _ => Err("write a time above 0, such as 60s, 2m or 1h".into()),
    }
}

impl TrainArgs {
    /// The job: flags over the file over the defaults.
    fn job(&self) -> cnf::Result<Job> {
        let mut job = match &self.config {
            None => Job::default(),
            Some(path) => {
                let bytes = cnf::io::read_bytes(path)?;
                let text = String::from_utf8_lossy(&bytes);
                Job::from_toml(&text)
                    .map_err(|e| cnf::Error::read(path, e.to_string(), e.hint().unwrap_or_default()))?
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
        put(&mut job.objective, &self.objective);
        put(&mut job.activation, &self.activation);
        put(&mut job.time_features, &self.time_features);
        put(&mut job.seed, &self.seed);
        put(&mut job.precision, &self.precision);
        put(&mut job.solver.method, &self.solver);
        put(&mut job.solver.rtol, &self.rtol);
        put(&mut job.solver.atol, &self.atol);
        put(&mut job.solver.trace, &self.trace);
        put(&mut job.solver.log_density, &self.log_density);
        maybe(&mut job.solver.fixed_steps, &self.fixed_steps);
        maybe(&mut job.hidden, &self.hidden);
        maybe(&mut job.batch, &self.batch);
        maybe(&mut job.lr, &self.lr);
        maybe(&mut job.init, &self.init);
        job.standardise &= !self.no_standardise;
        if self.steps.is_some() || self.time.is_some() {
            (job.steps, job.time) = (self.steps, self.time);
        }
        Ok(job)
    }
}

/// Trains, writes the run's folder, and tells how it went.
///
/// # Errors
/// Whatever is wrong with the options, the data or the disk, as [`cnf::Error`].
pub fn run(args: TrainArgs, context: &super::Context) -> anyhow::Result<()> {
    let job = args.job()?;
    let options = DataOptions {
        table: TableOptions { split: split_rule(&job.split)?, ..TableOptions::default() },
        ..DataOptions::default()
    };
    let data = resolve(&job.data, &options, job.seed)?;
    let mut job = job.resolve(data.dim)?;
    let folder = folder::Folder::claim(&job, args.out.as_deref(), args.force)?;

    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    ctrlc::set_handler(move || {
        // The second time is meant.
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    let mut watch = watch::Screen::new(context.quiet, interrupted);
    watch.begin(&job, &data);
    let fitted = fit(&job, &data, &mut watch);
    watch.end();
    let mut fitted = fitted?;

    // Repeating the run takes its number of steps, not its time on this machine.
    (job.steps, job.time) = (Some(fitted.steps), None);
    let (set, held_out) = [("test", &data.test), ("validation", &data.valid)]
        .into_iter()
        .find(|(_, rows)| rows.len() >= 2 * data.dim)
        .map_or_else(|| ("training", training_rows(&data)), |(set, rows)| (set, rows.clone()));
    let flow = fitted.model.flow(job.precision.dtype())?;
    let score = score(&flow, &held_out, data.toy(), job.precision.dtype())?;
    let summary = Summary::new(&job, &fitted, &score, set, folder.path());
    fitted.model.story = summary.story();

    fitted.model.save(&folder.file("model.safetensors"))?;
    folder.text("config.toml", &job.to_toml()?)?;
    folder.text("metrics.csv", &report::metrics(&fitted.history))?;
    let names = if args.names.is_empty() { data.columns.clone().unwrap_or_default() } else { args.names };
    let frame = pictures::Frame { names, invert_y: args.invert_y };
    pictures::draw(&folder, &job, &fitted, &data, &held_out, &frame)?;
    folder.keep();

    let text =
        if context.json { format!("{}\n", serde_json::Value::Object(summary.json())) } else { summary.to_string() };
    // Whoever closed the pipe does not want to read on; the run is saved.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// Rows to score where none were kept back.
fn training_rows(data: &cnf::data::Dataset) -> Vec<f64> {
    match &data.train {
        cnf::data::Source::Rows(rows) => rows.clone(),
        cnf::data::Source::Toy(_) => data.test.clone(),
    }
}
