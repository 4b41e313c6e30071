//! `cnf completions`: the script that completes the command in a shell.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use super::{Cli, Context};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf completions bash > ~/.local/share/bash-completion/completions/cnf
  cnf completions zsh > ~/.zfunc/_cnf
  cnf completions fish > ~/.config/fish/completions/cnf.fish";

/// Arguments of `cnf completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &CompletionsArgs, context: &Context) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cnf", &mut script);
    let script = String::from_utf8_lossy(&script);
    context.report(&script, &json!({ "shell": args.shell.to_string(), "script": script }))
}
