//! Programs that are started here and are to be heard only where they fail.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::Outcome;

/// Gives `command` nothing to read and nowhere to print; its errors go to the file at `errors`.
pub(crate) fn silence(command: &mut Command, errors: &Path) -> Outcome<()> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(errors)?);
    Ok(())
}

/// Returns what was written to the file at `errors`.
pub(crate) fn said(errors: &Path) -> Outcome<String> {
    Ok(fs::read_to_string(errors)?.trim().to_owned())
}
