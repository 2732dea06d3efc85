//! What is said to people: data on stdout, talk on stderr.

use std::error::Error as _;
use std::io::{self, IsTerminal, Write};

use super::args::Color;
use crate::error::Error;

/// Prints a line of talk.
pub(super) fn say(message: &str) {
    // Whoever closed stderr does not want to hear of it.
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// Prints a warning.
pub(super) fn warn(message: &str) {
    say(&format!("warning: {message}"));
}

/// Prints data. A reader that has gone away is no error.
///
/// # Errors
///
/// [`Error::File`] when stdout can't be written for another reason.
pub(super) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::File {
            verb: "write",
            path: "-".into(),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// Prints an error, its causes one a line, and what to do.
pub(super) fn complain(error: &Error) {
    let mut lines = vec![format!("error: {error}")];
    let mut last = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !last.contains(&text) {
            lines.push(format!("  caused by: {text}"));
            last = text;
        }
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        lines.push(format!("hint: {hint}"));
    }
    say(&lines.join("\n"));
}

/// How many columns the terminal has that stdout goes to; `None` where it goes elsewhere.
pub(super) fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Says whether stdout takes colour.
pub(super) fn has_color(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}
