//! The simulated server that streams stamped tokens, in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::program::Outcome;
use crate::running::Running;

/// A running server; ends with this value.
pub(crate) struct Simulated {
    _process: Running,
    pub(crate) address: SocketAddr,
}

impl Simulated {
    /// Starts `tokentape simulate --stamp` on a free port, as `spawn` starts programs.
    pub(crate) fn start(
        tokentape: &Path,
        flags: &[&str],
        spawn: impl FnOnce(&mut Command) -> Outcome<Child>,
    ) -> Outcome<Self> {
        let mut command = Command::new(tokentape);
        command
            .args(["simulate", "--stamp", "--port", "0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = Running(spawn(&mut command)?);
        let mut said = String::new();
        if let Some(stderr) = process.0.stderr.take() {
            BufReader::new(stderr).read_line(&mut said)?;
        }
        let address = said.rsplit("http://").next().unwrap_or_default().trim();
        Ok(Self {
            address: address
                .parse()
                .map_err(|_| format!("the simulated server said `{}`", said.trim()))?,
            _process: process,
        })
    }
}
