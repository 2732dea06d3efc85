//! The `tokentape` command.

fn main() -> std::process::ExitCode {
    tokentape::cli::main()
}
