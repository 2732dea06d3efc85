//! A stamping server in a process of its own, which ends with this one, whatever happens.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::VerifyError;
use super::rung::TTFT_NS;

/// How long the server may take to say where it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server says before its address.
const BEFORE_ADDRESS: &str = "is served on http://";

/// `simulate --stamp --bare` in another process; dropping it ends it.
#[derive(Debug)]
pub(crate) struct OwnServer {
    /// Its stdin is held open: the server ends when it closes, even if we were killed.
    process: Child,
    address: SocketAddr,
}

impl OwnServer {
    /// Starts `program simulate` on a free port, with streams of `rate_per_s` tokens a second.
    ///
    /// # Errors
    ///
    /// Passes on what the program or the system says.
    pub(crate) fn start(program: &Path, rate_per_s: f64) -> Result<Self, VerifyError> {
        let refused = |error| VerifyError::System("start the simulated server", error);
        let mut command = Command::new(program);
        command
            .args(["simulate", "--stamp", "--bare", "--until-stdin-closes"])
            .args(["--host", "127.0.0.1", "--port", "0"])
            .arg(format!("--stream-rate={rate_per_s}"))
            .arg(format!("--stream-ttft={TTFT_NS}ns"))
            .env_remove("TOKENTAPE_SIMULATE_API_KEY")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        apart(&mut command);
        let mut process = command.spawn().map_err(refused)?;
        let stderr = process.stderr.take();
        // From here on, dropping the server ends the process.
        let mut server = Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let (sender, heard) = sync_channel(1);
        if let Some(stderr) = stderr {
            thread::Builder::new()
                .name("simulate-stderr".into())
                .spawn(move || listen(stderr, &sender))
                .map_err(refused)?;
        }
        server.address = match heard.recv_timeout(PATIENCE) {
            Ok(Ok(address)) => address,
            Ok(Err(said)) => return Err(VerifyError::Server { said }),
            Err(_) => {
                let said = format!("it said no address within {} s", PATIENCE.as_secs());
                return Err(VerifyError::Server { said });
            }
        };
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Keeps Ctrl-C in a terminal from the server, which must outlive the streams that are drained.
fn apart(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Hands over the address that the server says, or all that it said instead; then lets it talk.
fn listen(stderr: ChildStderr, sender: &SyncSender<Result<SocketAddr, String>>) {
    let mut lines = BufReader::new(stderr);
    // A receiver that is gone has given up waiting.
    let _ = sender.send(address(&mut lines));
    let _ = io::copy(&mut lines, &mut io::sink());
}

/// Reads lines until one names the address.
fn address(lines: &mut impl BufRead) -> Result<SocketAddr, String> {
    let mut said = String::new();
    for line in lines.lines().map_while(Result::ok) {
        let address = line.split_once(BEFORE_ADDRESS);
        if let Some(address) = address.and_then(|(_, address)| address.trim().parse().ok()) {
            return Ok(address);
        }
        said.push_str(line.trim());
        said.push('\n');
    }
    Err(said.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_what_the_server_says() {
        let said = "note: hello\nmodel `simulated` is served on http://127.0.0.1:4242\nmore";
        let found = address(&mut said.as_bytes());
        assert_eq!(found, Ok(SocketAddr::from(([127, 0, 0, 1], 4242))));
    }

    #[test]
    fn a_server_that_gives_up_is_quoted() {
        let said = "error: could not listen on 127.0.0.1:0\nhint: none\n";
        assert_eq!(
            address(&mut said.as_bytes()),
            Err(said.trim_end().to_owned())
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = OwnServer::start(Path::new("/no/such/program"), 100.0).unwrap_err();
        assert!(matches!(error, VerifyError::System(..)), "{error}");
    }
}
