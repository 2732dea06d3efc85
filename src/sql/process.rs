//! Another process that answers one question, and the limits that the system holds it to.
//!
//! The engine can't be bounded from inside: a scalar function makes any number of bytes at once,
//! which no memory pool sees; a parser that tries alternatives without end never yields; and
//! nested text overflows the stack, which ends a process whatever it catches. So a question has a
//! process of its own, which ends at its limit, when it is late, or when nobody waits for it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::future::{Future, pending};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, nice, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::error::SqlError;
use super::question::{Limits, Question};
use crate::runtime::{STACK_BYTES, cores};

/// Begin of the name of a folder for what does not fit into memory.
const SPILL: &str = "tokentape-sql-";

/// The verb of the process that answers.
pub(crate) const VERB: &str = "answer";

/// Pieces of an answer that wait for whoever reads them, and the size of each, in bytes.
const PIECES: usize = 4;
const PIECE_BYTES: usize = 64 << 10;

/// Most that is kept of what a process says when it dies, in bytes.
const LAST_WORDS_BYTES: usize = 4 << 10;

/// Memory pools of the allocator: each takes address space in advance, without using it.
const MOST_ARENAS: usize = 8;
const ARENA_BYTES: usize = 64 << 20;

/// The lowest precedence there is.
const LAST: i32 = 19;

/// What a process that answers says, a line each, on its stderr.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// What has to be said about a run.
    Note {
        /// Name of the run.
        run: String,
        /// A sentence.
        note: String,
    },
    /// Why there is no answer.
    Refused {
        /// The message with its causes.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// True where the question is at fault, and not a file.
        is_usage: bool,
    },
}

/// A question under way; dropping it ends it.
pub(crate) struct Answering {
    pieces: mpsc::Receiver<Bytes>,
    /// None where it has been heard.
    ended: Option<oneshot::Receiver<Result<(), SqlError>>>,
    deadline: Pin<Box<dyn Future<Output = ()> + Send>>,
    limits: Limits,
    /// The process ends when this is closed, however busy it is.
    stdin: Option<ChildStdin>,
}

impl Answering {
    /// Takes up what is being answered: its bytes, and how it ended.
    pub(crate) fn new(
        pieces: mpsc::Receiver<Bytes>,
        ended: oneshot::Receiver<Result<(), SqlError>>,
        limits: Limits,
        stdin: Option<ChildStdin>,
    ) -> Self {
        let deadline: Pin<Box<dyn Future<Output = ()> + Send>> = match limits.timeout {
            Some(timeout) => Box::pin(tokio::time::sleep(timeout)),
            None => Box::pin(pending()),
        };
        Self {
            pieces,
            ended: Some(ended),
            deadline,
            limits,
            stdin,
        }
    }

    /// Returns the next bytes of the answer; none at its end.
    ///
    /// # Errors
    ///
    /// Says why there is no answer, or which limit ended it.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, SqlError> {
        tokio::select! {
            biased;
            piece = self.pieces.recv() => if piece.is_some() {
                return Ok(piece);
            },
            () = &mut self.deadline => return Err(late(self.limits)),
        }
        let Some(ended) = &mut self.ended else {
            return Ok(None);
        };
        let result = tokio::select! {
            biased;
            ended = ended => ended.unwrap_or_else(|_| Err(gone("it was given up", ""))),
            () = &mut self.deadline => return Err(late(self.limits)),
        };
        self.ended = None;
        result.map(|()| None)
    }

    /// Ends it, where it has not ended, and waits until nothing is left of it.
    pub(crate) async fn stop(self) {
        let Self { ended, stdin, .. } = self;
        drop(stdin);
        if let Some(ended) = ended {
            let _ = ended.await;
        }
    }
}

/// Where the answer goes.
pub(crate) enum Output {
    /// To [`Answering::next`].
    Pieces,
    /// To where this process's own stdout goes.
    Stdout,
}

/// Starts a process that answers. `told` hears its notes: the run and a sentence.
///
/// Must be called inside a runtime with time, where the question has a timeout.
///
/// # Errors
///
/// Fails when the system refuses a process, a folder for what does not fit into memory, or a
/// thread.
pub(crate) fn ask(
    tapes: &[PathBuf],
    question: &Question,
    output: &Output,
    told: impl FnMut(&str, &str) + Send + 'static,
) -> io::Result<Answering> {
    let spill = tempfile::Builder::new().prefix(SPILL).tempdir()?;
    let mut child = Command::new(program()?)
        .arg(VERB)
        .arg("--")
        .args(tapes)
        .env("TMPDIR", spill.path())
        .env("MALLOC_ARENA_MAX", arenas().to_string())
        .stdin(Stdio::piped())
        .stdout(match output {
            Output::Pieces => Stdio::piped(),
            Output::Stdout => Stdio::inherit(),
        })
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (end, ended) = oneshot::channel();
    let limits = question.limits;
    thread::Builder::new()
        .name("sql-end".into())
        .spawn(move || {
            let last = stderr
                .map(|stderr| listen(stderr, told))
                .unwrap_or_default();
            let result = match child.wait() {
                Ok(status) => last.judge(status, limits),
                Err(error) => Err(gone(&error.to_string(), "")),
            };
            drop(spill);
            // Whoever asked may have left.
            let _ = end.send(result);
        })?;
    let (sender, pieces) = mpsc::channel(PIECES);
    if let Some(stdout) = stdout {
        thread::Builder::new()
            .name("sql-answer".into())
            .spawn(move || pass_on(stdout, &sender))?;
    }
    if let Some(stdin) = &mut stdin {
        let mut line = serde_json::to_string(question)?;
        line.push('\n');
        // One that has died says so by its end.
        let _ = stdin.write_all(line.as_bytes());
    }
    Ok(Answering::new(pieces, ended, limits, stdin))
}

/// This program, also where its file was replaced since it was started.
fn program() -> io::Result<OsString> {
    let own = "/proc/self/exe";
    if fs::metadata(own).is_ok() {
        return Ok(own.into());
    }
    env::current_exe().map(Into::into)
}

/// Passes an answer on until it ends or nobody wants it.
fn pass_on(mut stdout: ChildStdout, sender: &mpsc::Sender<Bytes>) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = stdout.read(&mut piece) {
        let bytes = Bytes::copy_from_slice(piece.get(..count).unwrap_or_default());
        if sender.blocking_send(bytes).is_err() {
            return;
        }
    }
}

/// What a process said last.
#[derive(Debug, Default)]
struct Last {
    refused: Option<SqlError>,
    /// What it did not say in our words, such as why it aborts.
    words: String,
}

/// Hears a process until it ends.
fn listen(stderr: ChildStderr, mut told: impl FnMut(&str, &str)) -> Last {
    let mut last = Last::default();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Word::Note { run, note }) => told(&run, &note),
            Ok(Word::Refused {
                message,
                hint,
                is_usage,
            }) => {
                last.refused = Some(SqlError::Refused {
                    message,
                    hint,
                    is_usage,
                });
            }
            Err(_) if last.words.len() < LAST_WORDS_BYTES && !line.trim().is_empty() => {
                last.words.push_str(line.trim());
                last.words.push('\n');
            }
            Err(_) => {}
        }
    }
    last
}

impl Last {
    /// Says how the process ended.
    fn judge(self, status: ExitStatus, limits: Limits) -> Result<(), SqlError> {
        let is_said = |words: &str| self.words.contains(words);
        match self.refused {
            Some(refused) => Err(refused),
            None if status.success() => Ok(()),
            None if is_said("overflowed its stack") => Err(SqlError::TooDeep {
                reason: "the statement is nested too deeply to be planned".to_owned(),
            }),
            None if is_said("memory allocation of") || is_said("Cannot allocate memory") => {
                Err(SqlError::Memory {
                    limit_bytes: limits.memory_bytes,
                })
            }
            None if was_cut(status) => Err(late(limits)),
            None => Err(gone(&status.to_string(), &self.words)),
        }
    }
}

/// Tells whether the system ended a process that had used up its processor time.
fn was_cut(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(Signal::XCPU.as_raw())
}

fn late(limits: Limits) -> SqlError {
    SqlError::Late {
        timeout: limits.timeout.unwrap_or_default(),
    }
}

fn gone(how: &str, words: &str) -> SqlError {
    // A panic says where in its first line, and why in its second.
    let words = words.lines().take(2).collect::<Vec<_>>().join(" ");
    SqlError::Gone {
        how: if words.is_empty() {
            how.to_owned()
        } else {
            format!("{how}: {words}")
        },
    }
}

/// Says a word to the process that asked, which may be gone.
pub(crate) fn tell(word: &Word) {
    if let Ok(mut line) = serde_json::to_string(word) {
        line.push('\n');
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

/// Reads the question from stdin. The process ends from then on when stdin is closed, whatever it
/// does: nobody waits for it any more.
///
/// # Errors
///
/// Fails where there is no question.
pub(crate) fn hear() -> io::Result<Question> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let question = serde_json::from_str(&line)?;
    thread::Builder::new().name("sql-stdin".into()).spawn(|| {
        // An input that can't be read is as good as one that is closed.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        // Whoever made it may have died.
        let spill = env::temp_dir();
        let name = spill.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(SPILL) {
            let _ = fs::remove_dir_all(&spill);
        }
        let _ = kill_process(getpid(), Signal::KILL);
    })?;
    Ok(question)
}

/// Has the system hold this process to `limits` from here on: call it before there are threads.
///
/// # Errors
///
/// Fails where the system refuses a limit.
pub(crate) fn confine(limits: Limits) -> io::Result<()> {
    lower(Resource::Core, 0)?;
    if limits.gives_way {
        nice(LAST)?;
    }
    if let Some(taken) = taken_bytes() {
        let stacks = STACK_BYTES * (2 * cores() + 8);
        let own = taken + stacks + arenas() * ARENA_BYTES;
        lower(Resource::As, own.saturating_add(limits.memory_bytes) as u64)?;
    }
    if let Some(timeout) = limits.timeout {
        // All cores for all of the time: who started it looks at the clock, this is for when it
        // can't.
        lower(Resource::Cpu, (timeout.as_secs() + 1) * cores() as u64)?;
    }
    Ok(())
}

/// Lowers a limit to `most`, where it is not lower already.
fn lower(resource: Resource, most: u64) -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(resource);
    let most = [current, maximum]
        .into_iter()
        .flatten()
        .fold(most, u64::min);
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}

/// Address space that this process has, where the system says it.
fn taken_bytes() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let size = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))?;
    let kib: usize = size.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

fn arenas() -> usize {
    cores().min(MOST_ARENAS)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits {
        memory_bytes: 1 << 30,
        timeout: Some(Duration::from_secs(3)),
        gives_way: false,
    };

    fn said(raw_status: i32, words: &str) -> String {
        let last = Last {
            refused: None,
            words: words.to_owned(),
        };
        match last.judge(ExitStatus::from_raw(raw_status), LIMITS) {
            Ok(()) => "answered".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_end_of_a_process_says_which_limit_it_met() {
        assert_eq!(said(0, ""), "answered");
        assert_eq!(
            said(6, "memory allocation of 2000000000 bytes failed"),
            "the question takes more than 1024 MiB of memory"
        );
        assert_eq!(
            said(
                6,
                "thread 'sql' has overflowed its stack\nfatal runtime error"
            ),
            "the statement is nested too deeply to be planned"
        );
        assert_eq!(said(24, ""), "no answer within 3 s");
        assert_eq!(
            said(9, ""),
            "the process that answers has ended by itself (signal: 9 (SIGKILL))"
        );
        let panic = said(101 << 8, "thread 'sql' panicked at x.rs:1\nmore");
        assert!(
            panic.ends_with("101: thread 'sql' panicked at x.rs:1 more)"),
            "{panic}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_late_is_given_up_and_one_that_ends_stays_ended() {
        let (_sender, pieces) = mpsc::channel(1);
        let (_end, ended) = oneshot::channel();
        let mut late = Answering::new(pieces, ended, LIMITS, None);
        assert!(matches!(late.next().await, Err(SqlError::Late { .. })));
        let (sender, pieces) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let mut whole = Answering::new(pieces, ended, LIMITS, None);
        sender.send(Bytes::from_static(b"1")).await.unwrap();
        end.send(Ok(())).unwrap();
        drop(sender);
        assert_eq!(whole.next().await.unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(whole.next().await.unwrap(), None);
        assert_eq!(whole.next().await.unwrap(), None);
    }
}
