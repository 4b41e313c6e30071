//! The command line: the only place that touches files, clocks and the terminal.

use std::process::ExitCode;

/// How every command speaks.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)]
pub struct Context {
    /// One JSON object on stdout instead of text.
    pub json: bool,
    /// No progress on stderr (asked for, or stderr is no terminal).
    pub quiet: bool,
}

/// Parses, runs, and maps the outcome to an exit code: 0 done, 1 failed, 2 misused.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
