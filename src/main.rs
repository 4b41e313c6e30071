//! The command `cnf`: the binary of [`cnflow::command`].

fn main() -> std::process::ExitCode {
    cnflow::command(std::env::args_os()).into()
}
