//! The command line: the only place that touches files, clocks and the terminal.
//!
//! Every command takes the same steps: arguments → a validated job → the solve → files → one report.
//! Results go to stdout, as text or as one JSON object; notes and progress go to stderr.

mod bars;
mod check;
mod columns;
mod compare;
mod completions;
mod data;
mod density;
mod export;
mod files;
mod findings;
mod given;
mod images;
mod import;
mod info;
mod interrupt;
mod invert;
mod lock;
mod man;
mod normality;
mod output;
mod picture;
mod pipes;
mod place;
mod plot;
mod progress;
mod sample;
mod setup;
mod solver;
mod source;
mod statistics;
mod text;
mod train;
mod trajectory;
mod warnings;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use cnflow::Error;
use cnflow::continuous::{Method, SolverSpec};
use cnflow::error::Setting;
use cnflow::io::{Dialect, Layout, Pick, Reader, Words};
use cnflow::train::{Alone, Crew, DataSection};
use cnflow::velocity::Precision;
use serde_json::Value;

use self::train::TableArgs;

/// The output settings of a command.
#[derive(Debug, Default)]
pub struct Context {
    /// One JSON object on stdout instead of text.
    pub json: bool,
    /// No progress on stderr (`--quiet`, or stderr is not a terminal).
    pub quiet: bool,
    /// Notes on stderr: which model is used, what is unusual. Absent only with `--quiet`.
    pub notes: bool,
    /// How text tables are written, as far as flags set it.
    pub dialect: Dialect,
    /// The order of the axes of images.
    pub layout: Layout,
    /// The arithmetic and the solver of the command, once they are known: hints depend on them.
    pub setting: Mutex<Setting>,
    /// How errors name the fields of a job, where it is not by their flags.
    pub names: OnceLock<train::Names>,
    /// The processes that train together.
    pub processes: Processes,
    /// Tables that come through a pipe.
    pub pipes: pipes::Pipes,
    /// A table is written to stdout: the report goes to stderr.
    pub table_on_stdout: bool,
}

/// The processes of a command: this one alone, or several that train together.
#[derive(Default)]
pub struct Processes(Option<Box<dyn Crew + Send>>);

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Processes({} of {})", self.crew().rank(), self.crew().size())
    }
}

impl Processes {
    /// What they are to a training.
    pub fn crew(&self) -> &dyn Crew {
        self.0.as_ref().map_or(&Alone, |crew| &**crew)
    }
}

impl Context {
    /// The result: one JSON object with `--json`, else `text`; on stderr where a table is on stdout.
    ///
    /// # Errors
    /// If stdout cannot be written, unless its reader has closed the pipe.
    pub fn report(&self, text: &str, facts: &Value) -> Result<()> {
        if self.table_on_stdout {
            // The table is there already.
            let words: Vec<&str> = text.lines().filter(|line| *line != "wrote -").collect();
            self.note(words.join("\n").trim_end());
            return Ok(());
        }
        let words = if self.json { facts.to_string() } else { text.trim_end().to_owned() };
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{}", self.pipes.named(&words));
        match written.and_then(|()| out.flush()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::write("stdout".as_ref(), e).into()),
            _ => Ok(()),
        }
    }

    /// Sets the arithmetic and the solver that hints assume from here on.
    pub fn computes(&self, precision: Precision, solver: &SolverSpec) {
        let implicit = matches!(solver.method(), Ok(Method::Implicit(_)));
        // Implicit methods run in f64 whatever the model's precision.
        let setting = Setting { wide: precision == Precision::F64 || implicit, implicit };
        if let Ok(mut known) = self.setting.lock() {
            *known = setting;
        }
    }

    /// Words of the library, with flags in place of fields; with the keys of a file where fields are set there.
    pub fn with_names(&self, words: &str) -> String {
        self.names.get_or_init(train::Names::default).put_into(words)
    }

    /// A remark on stderr.
    pub fn note(&self, words: &str) {
        if self.notes {
            to_stderr(&self.pipes.named(words));
        }
    }

    /// Opens a table in the dialect of the flags, and notes what is unusual about it: these columns, of which some may hold
    /// words.
    ///
    /// # Errors
    /// As [`Reader::open_pick`].
    pub fn table_of(&self, path: &Path, pick: &Pick, words: &Words) -> Result<Reader> {
        let reader = Reader::open_pick(path, (&self.dialect, self.layout), pick, None, words)?;
        self.notes_on_tables(reader.notes());
        Ok(reader)
    }

    /// Notes how tables were read.
    pub fn notes_on_tables(&self, notes: &[String]) {
        notes.iter().for_each(|words| self.note(words));
    }
}

const EXAMPLES: &str = "\
Examples:
  cnf train
  cnf data 8gaussians -n 10000 -o x.npy
  cnf import weights.safetensors --activation tanh -o model.safetensors
  cnf sample model.safetensors -n 10000 -o sample.npy
  cnf density model.safetensors --grid 200 --plot density.png

MODEL is a model file or a run folder; the default is the newest run under ./runs.";

/// Continuous normalizing flows: densities, inverses and samples by adaptive ODE solvers.
#[derive(Debug, Parser)]
#[command(name = "cnf", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object instead of text.
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    /// Print nothing on stderr but errors.
    #[arg(long, global = true, help_heading = "Everywhere")]
    quiet: bool,
    /// Threads; all cores if left out. The results are the same bits for any number.
    #[arg(long, global = true, value_name = "N", help_heading = "Everywhere",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a flow.
    #[command(after_help = train::EXAMPLES)]
    Train(Box<train::TrainArgs>),
    /// Draw samples from a model.
    #[command(after_help = sample::EXAMPLES)]
    Sample(sample::SampleArgs),
    /// Find the latents of points.
    #[command(after_help = invert::EXAMPLES)]
    Invert(invert::InvertArgs),
    /// Compute the log-density at points, or on a grid.
    #[command(after_help = density::EXAMPLES)]
    Density(density::DensityArgs),
    /// Test a model's density, and report what is wrong with it.
    #[command(after_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// Draw particles and densities moving from the latent to the data.
    #[command(after_help = trajectory::EXAMPLES)]
    Trajectory(trajectory::TrajectoryArgs),
    /// Train several models under one budget, and compare them in numbers and pictures.
    #[command(after_help = compare::EXAMPLES)]
    Compare(Box<compare::CompareArgs>),
    /// Make a model file from PyTorch weights.
    #[command(after_help = import::EXAMPLES)]
    Import(import::ImportArgs),
    /// Write the weights of a model for PyTorch.
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Describe a model file.
    #[command(after_help = info::EXAMPLES)]
    Info(info::InfoArgs),
    /// Redraw the pictures of a run in another size, format or theme.
    #[command(after_help = plot::EXAMPLES)]
    Plot(plot::PlotArgs),
    /// Write a shell completion script.
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArgs),
    /// Write the manual pages.
    #[command(after_help = man::EXAMPLES)]
    Man(man::ManArgs),
    /// List the toy data sets, draw from one, or summarise a file.
    #[command(after_help = data::EXAMPLES)]
    Data(data::DataArgs),
}

impl Command {
    /// Whether it writes a table to stdout.
    fn writes_to_stdout(&self) -> bool {
        let tables = match self {
            Self::Sample(args) => args.tables_written(),
            Self::Invert(args) => args.tables_written(),
            Self::Density(args) => args.tables_written(),
            Self::Data(args) => args.tables_written(),
            _ => Vec::new(),
        };
        tables.into_iter().any(output::is_stdout)
    }

    /// How it reads tables, as far as options set it.
    fn tables(&self) -> DataSection {
        let mut data = DataSection::default();
        let args = match self {
            Self::Train(args) => &args.tables,
            Self::Sample(args) => &args.tables,
            Self::Invert(args) => &args.tables,
            Self::Density(args) => &args.tables,
            Self::Check(args) => &args.tables,
            Self::Trajectory(args) => &args.tables,
            Self::Compare(args) => &args.tables,
            Self::Data(args) => &args.tables,
            _ => return data,
        };
        args.set(&mut data);
        data
    }

    fn run(self, context: &Context) -> Result<()> {
        let size = context.processes.crew().size();
        if size > 1 && !matches!(self, Self::Train(_)) {
            let problem =
                format!("{size} processes run this command, and only `cnf train` divides its work among them");
            return Err(Error::invalid(problem, "run it in one process; `cnf sample --first` draws a part").into());
        }
        match self {
            Self::Train(args) => train::run(*args, context),
            Self::Sample(args) => sample::run(args, context),
            Self::Invert(args) => invert::run(args, context),
            Self::Density(args) => density::run(args, context),
            Self::Check(args) => check::run(args, context),
            Self::Trajectory(args) => trajectory::run(args, context),
            Self::Compare(args) => compare::run(*args, context),
            Self::Import(args) => import::run(args, context),
            Self::Export(args) => export::run(args, context),
            Self::Info(args) => info::run(args, context),
            Self::Plot(args) => plot::run(args, context),
            Self::Completions(args) => completions::run(&args, context),
            Self::Man(args) => man::run(&args, context),
            Self::Data(args) => data::run(args, context),
        }
    }
}

/// Runs the command line `cnf` with these arguments, the first of which is the name of the program. Returns the exit
/// code: 0 done, 1 failed, 2 misused.
///
/// It is made for a process of its own: it handles the signals that end a process, and a signal may end it at once.
pub fn command(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    command_by(Processes::default(), arguments)
}

/// As [`command`], in one of several processes that have the same arguments: `cnf train` is then one training by all of
/// them. The first one writes the run's folder and reports; the others are silent.
pub fn command_of_crew(arguments: impl IntoIterator<Item = OsString>, crew: Box<dyn Crew + Send>) -> u8 {
    command_by(Processes(Some(crew)), arguments)
}

fn command_by(processes: Processes, arguments: impl IntoIterator<Item = OsString>) -> u8 {
    cnflow::memory::keep_freed();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(refusal) => return refuse(&refusal),
    };
    let table_on_stdout = cli.command.writes_to_stdout();
    if cli.json && table_on_stdout {
        let problem = "the argument '--json' cannot be used with a table on stdout: both would be written there";
        return refuse(&Cli::command().error(ErrorKind::ArgumentConflict, problem));
    }
    let first = processes.crew().rank() == 0;
    let quiet = cli.quiet || !first || !std::io::stderr().is_terminal();
    let (tables, setting) = (cli.command.tables(), Mutex::default());
    let (dialect, layout) = (tables.dialect(), tables.layout);
    let notes = first && !cli.quiet;
    let (names, pipes) = (OnceLock::new(), pipes::Pipes::default());
    let context =
        Context { json: cli.json, quiet, notes, dialect, layout, setting, names, processes, pipes, table_on_stdout };
    match use_threads(cli.threads).and_then(|()| cli.command.run(&context)) {
        Ok(()) => 0,
        // As `head` does when it has its lines.
        Err(_) if output::reader_left() => 0,
        Err(error) => {
            complain(&error, &context);
            1
        }
    }
}

/// Gives rayon's pool its size; it is started only when first used.
fn use_threads(threads: Option<u16>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global().map_err(|e| {
        Error::invalid(format!("{threads} threads cannot be started: {e}"), "give a smaller --threads").into()
    })
}

/// Help and version on stdout with 0; a misuse on stderr with 2.
fn refuse(refusal: &clap::Error) -> u8 {
    if !refusal.use_stderr() {
        // Nothing reads a closed stdout.
        let _ = refusal.print();
        return 0;
    }
    let words = refusal.render().to_string();
    // A value that the library refused has its own hint: the names that exist.
    let cause = std::error::Error::source(refusal);
    let ours = cause.and_then(|cause| cause.downcast_ref::<Error>()).and_then(Error::hint);
    let of_kernels = || cause.and_then(|cause| cause.downcast_ref()).map(cnflow_kernels::Error::hint);
    let hint = ours.or_else(of_kernels).unwrap_or_else(|| "see `--help` for the options".into());
    to_stderr(words.replace("For more information, try '--help'.", &format!("hint: {hint}")).trim_end());
    2
}

/// The cause, then the hint.
fn complain(error: &anyhow::Error, context: &Context) {
    let setting = context.setting.lock().map(|setting| *setting).unwrap_or_default();
    let ours = error.chain().find_map(|cause| cause.downcast_ref::<Error>());
    let hint = ours.and_then(|error| error.hint_in(setting));
    let hint = hint.unwrap_or_else(|| "see `--help` for the options".into());
    let words = context.with_names(&format!("error: {error:#}\nhint: {hint}"));
    to_stderr(&context.pipes.named(&words));
}

/// A line on stderr. Unlike `eprintln!` it does not panic where stderr is closed.
fn to_stderr(words: &str) {
    // Nothing reads a closed stderr.
    let _ = writeln!(std::io::stderr(), "{words}");
}
