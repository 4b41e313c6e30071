//! `cnf man`: the pages of the manual, made from the text of `--help`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use cnflow::{Error, io};
use serde_json::json;

use super::{Cli, Context, interrupt};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cnf man | man -l -
  cnf man --out ~/.local/share/man/man1

A folder gets a page for cnf and one for each of its commands, as cnf-sample.1.";

/// Arguments of `cnf man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for all pages, created if needed; if left out, the main page goes to stdout.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &ManArgs, context: &Context) -> Result<()> {
    interrupt::install()?;
    let mut main = Cli::command().disable_help_subcommand(true);
    // Only then have the commands their whole names and the options that are everywhere.
    main.build();
    let Some(folder) = &args.out else {
        let page = page(&main)?.1;
        return context.report(&page, &json!({ "page": page }));
    };
    std::fs::create_dir_all(folder).map_err(|e| Error::write(folder, e.kind()))?;
    let mut written = Vec::new();
    for command in std::iter::once(&main).chain(main.get_subcommands()) {
        let (name, page) = page(command)?;
        let path = folder.join(name);
        interrupt::critical_section(|| io::write_atomically(&path, |out| out.write_all(page.as_bytes())))?;
        written.push(path);
    }
    let words: String = written.iter().map(|path| format!("wrote {}\n", path.display())).collect();
    context.report(&words, &json!({ "files": written }))
}

/// The name of a command's page and its text.
fn page(command: &Command) -> Result<(String, String)> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok((man.get_filename(), String::from_utf8_lossy(&text).into_owned()))
}
