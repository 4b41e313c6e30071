//! The command `cnf`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
