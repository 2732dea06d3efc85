//! What is said to people: data on stdout, talk on stderr.

use std::error::Error as _;
use std::io::{self, IsTerminal, Write};

use super::args::Color;
use crate::error::Error;
use crate::sql::SqlError;
use crate::visible::{visible, visible_lines};

/// Prints a line of talk. What a name or a message in it would do to a terminal is shown instead.
pub(super) fn say(line: &str) {
    // Whoever closed stderr does not want to hear of it.
    let _ = writeln!(io::stderr().lock(), "{}", visible(line));
}

/// Prints a warning.
pub(super) fn warn(message: &str) {
    say(&format!("warning: {message}"));
}

/// Prints data: as it is for another program, and without what it would do to a terminal for the eye.
///
/// # Errors
///
/// As [`print_painted`].
pub(super) fn print(text: &str) -> Result<(), Error> {
    if io::stdout().is_terminal() {
        print_painted(&visible_lines(text))
    } else {
        print_painted(text)
    }
}

/// Prints text for the eye that has colours of ours, and in which what comes from outside is made
/// visible already. A reader that has gone away is no error.
///
/// # Errors
///
/// [`Error::File`] when stdout can't be written for another reason.
pub(super) fn print_painted(text: &str) -> Result<(), Error> {
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
    let mut last = error.to_string();
    let lines = match error {
        // They have several lines, in which what comes from outside is made visible already.
        Error::Trace(_) | Error::Sql(SqlError::Refused { .. }) => last.lines().collect(),
        _ => vec![last.as_str()],
    };
    say(&format!("error: {}", lines.first().unwrap_or(&"")));
    lines.iter().skip(1).for_each(|line| say(line));
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !last.contains(&text) {
            say(&format!("  caused by: {text}"));
            last = text;
        }
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        say(&format!("hint: {hint}"));
    }
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
