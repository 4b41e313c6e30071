//! The command line: the only place that touches files, clocks and the terminal.

mod train;

use std::process::ExitCode;

use clap::Parser;

/// How every command speaks.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// One JSON object on stdout instead of text.
    pub json: bool,
    /// No progress on stderr (asked for, or stderr is no terminal).
    pub quiet: bool,
}

/// Continuous normalizing flows.
#[derive(Parser)]
struct Cli {
    /// One JSON object on stdout instead of text
    #[arg(long, global = true)]
    json: bool,
    /// No progress
    #[arg(long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    #[command(after_help = train::EXAMPLES)]
    Train(Box<train::TrainArgs>),
}

/// Parses, runs, and maps the outcome to an exit code: 0 done, 1 failed, 2 misused.
pub fn main() -> ExitCode {
    let Cli { json, quiet, command } = Cli::parse();
    let Command::Train(args) = command;
    match train::run(*args, &Context { json, quiet }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.downcast_ref::<cnf::Error>().and_then(cnf::Error::hint) {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
