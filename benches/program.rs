//! What every program here has: flags, a voice, an exit code.

use std::io::Write as _;
use std::process::ExitCode;

/// A result of these programs; what went wrong is told as it is.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Returns the program's exit code: 0 when all that was to hold did hold.
pub(crate) fn exit_code(holds: Outcome<bool>) -> ExitCode {
    match holds {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the program's result")]
pub(crate) fn say(text: &str) {
    println!("{text}");
    // What a pipe reads should grow while the minutes pass.
    let _ = std::io::stdout().flush();
}

/// Gives each flag to `take`, with a way to its value; `take` returns false for one that it does
/// not know.
pub(crate) fn each_flag(
    mut take: impl FnMut(&str, &mut dyn FnMut() -> Outcome<String>) -> Outcome<bool>,
) -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            Ok(value.ok_or_else(|| format!("`{flag}` needs a value"))?)
        };
        // `--bench` is given by cargo.
        if !take(&flag, &mut value)? && flag != "--bench" {
            return Err(format!("`{flag}` is unknown").into());
        }
    }
    Ok(())
}
