//! What a tape says of each request, with its tokens counted and compared as they are read.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tokentape::capture::Word as _;
use tokentape::capture::manifest::{ClockAnchor, Manifest};
use tokentape::capture::schema::{ChunkRow, ErrorKind, Phase, ProbeRow, RequestRow, Status};

use crate::fault::Expected;
use crate::ledger::{prompt_key, token_text};
use crate::process::{said, silence};
use crate::program::Outcome;
use crate::rows;
use crate::running::Running;

/// How long the program may take to open a tape: so many naps.
const OPENING_NAPS: u32 = 12_000;
const NAP: Duration = Duration::from_millis(50);

/// A request on a tape. Times are on the tape's own axis.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) prompt: u64,
    /// The row, as far as faults decide it.
    pub(crate) row: Expected,
    pub(crate) message: Option<String>,
    pub(crate) intended_ns: i64,
    pub(crate) dispatched_ns: Option<i64>,
    pub(crate) usage: Option<u32>,
    /// Token-bearing events by the row.
    chunk_count: u32,
    /// Tokens in the row's own text, where it has one that is made of tokens in their order.
    output: Option<Result<usize, String>>,
    /// The request as the server numbered it, where an answer came.
    pub(crate) serial: Option<u32>,
    /// Tokens among the events, each once and in order.
    pub(crate) tokens: usize,
    next_seq: u32,
    /// A token was out of place: those after it are too.
    is_astray: bool,
}

/// A tape, as far as it is held against the ledger.
pub(crate) struct Tape {
    pub(crate) manifest: Manifest,
    pub(crate) requests: Vec<Seen>,
    /// When each probe was taken, and the client's memory then.
    pub(crate) memory: Vec<(i64, u64)>,
    pub(crate) stalls: u64,
    /// Times that a request went out once more.
    pub(crate) resends: u64,
    /// What is wrong with the tape by itself.
    pub(crate) faults: Vec<String>,
}

/// Has the program open the tape at `folder`, which recovers it where that is needed, and reads it.
pub(crate) fn read(tokentape: &Path, folder: &Path) -> Outcome<Tape> {
    let counted = count_by_program(tokentape, folder)?;
    let mut tape = Tape {
        manifest: Manifest::read(folder)?,
        requests: Vec::new(),
        memory: Vec::new(),
        stalls: 0,
        resends: 0,
        faults: Vec::new(),
    };
    rows::each(&folder.join("requests"), RequestRow::rows, |row| {
        tape.resends += u64::try_from(row.resends.unwrap_or(0)).unwrap_or(0);
        tape.take_request(row);
    })?;
    rows::each(&folder.join("chunks"), ChunkRow::rows, |row| {
        tape.take_chunk(&row);
    })?;
    rows::each(&folder.join("probes"), ProbeRow::rows, |row| {
        tape.stalls += row.capture_stalls.unsigned_abs();
        if let Some(bytes) = row.rss_bytes {
            tape.memory.push((row.at_ns, bytes.unsigned_abs()));
        }
    })?;
    tape.compare_with_itself(counted);
    Ok(tape)
}

/// Returns how many requests the program itself finds on the tape.
fn count_by_program(tokentape: &Path, folder: &Path) -> Outcome<usize> {
    let errors = folder.with_extension("sql-stderr");
    let mut command = Command::new(tokentape);
    command
        .arg("sql")
        .arg(folder)
        .args(["-c", "SELECT count(*) FROM requests", "--format", "csv"]);
    silence(&mut command, &errors)?;
    command.stdout(Stdio::piped());
    let mut running = Running(command.spawn()?);
    let mut naps = 0;
    while running.0.try_wait()?.is_none() {
        if naps == OPENING_NAPS {
            return Err(format!("{command:?} does not end").into());
        }
        thread::sleep(NAP);
        naps += 1;
    }
    let mut answer = String::new();
    if let Some(mut stdout) = running.0.stdout.take() {
        stdout.read_to_string(&mut answer)?;
    }
    let count = answer.lines().nth(1).and_then(|line| line.parse().ok());
    let said = said(&errors)?;
    count.ok_or_else(|| format!("{command:?}: {said}").into())
}

impl Tape {
    fn take_request(&mut self, row: RequestRow) {
        let due = self.requests.len();
        if row.request_id != due as u64 || row.attempt != 0 || row.phase != Phase::Measure {
            self.faults.push(format!(
                "row {due} is request {}.{} ({:?})",
                row.request_id, row.attempt, row.phase
            ));
        }
        let kind = row.error_kind.as_ref().map(|kind| kind.as_str());
        let serial = row
            .response_id
            .as_ref()
            .and_then(|id| id.strip_prefix('s')?.parse().ok());
        self.requests.push(Seen {
            prompt: prompt_key(row.prompt.as_deref().unwrap_or_default()),
            row: Expected {
                status: row.status,
                kind: kind.and_then(ErrorKind::parse),
                http_status: row.http_status,
            },
            message: row.error_message,
            intended_ns: row.intended_ns,
            dispatched_ns: row.dispatched_ns,
            usage: row.usage_output_tokens,
            chunk_count: row.chunk_count,
            output: row.output.map(|text| tokens_in(&text)),
            serial,
            tokens: 0,
            next_seq: 0,
            is_astray: false,
        });
    }

    fn take_chunk(&mut self, row: &ChunkRow) {
        let id = row.request_id;
        let seen = usize::try_from(id).ok();
        let Some(seen) = seen.and_then(|place| self.requests.get_mut(place)) else {
            self.faults
                .push(format!("an event of request {id}, which has no row"));
            return;
        };
        if row.seq != seen.next_seq {
            let (seq, due) = (row.seq, seen.next_seq);
            self.faults
                .push(format!("request {id} has event {seq} where {due} is due"));
        }
        seen.next_seq = row.seq + 1;
        if !row.channel.is_token_bearing() {
            return;
        }
        let text = row.text.as_deref().unwrap_or_default();
        // A killed run's row does not have the server's number any more, its events do.
        let serial = text.trim_start().split('.').next();
        let serial = serial.and_then(|serial| serial.parse().ok());
        let serial = *seen.serial.get_or_insert(serial.unwrap_or(u32::MAX));
        let due = token_text(serial, seen.tokens);
        if text != due && !std::mem::replace(&mut seen.is_astray, true) {
            self.faults.push(format!(
                "request {id} has token `{text}` where `{due}` is due"
            ));
        }
        seen.tokens += 1;
    }

    /// Compares what the tape says twice.
    fn compare_with_itself(&mut self, counted: usize) {
        let rows = self.requests.len();
        let in_manifest = self.manifest.counts.requests;
        if counted != rows || in_manifest != rows as u64 {
            self.faults.push(format!(
                "{rows} requests, of which `sql` finds {counted} and the manifest says {in_manifest}"
            ));
        }
        for (id, seen) in self.requests.iter().enumerate() {
            let (tokens, count) = (seen.tokens, seen.chunk_count as usize);
            // The text of one that was in flight at a kill is with its events alone.
            let in_text = match &seen.output {
                None if is_interrupted(seen) => Ok(tokens),
                None => Ok(0),
                Some(in_text) => in_text.clone(),
            };
            if count != tokens || in_text != Ok(tokens) {
                self.faults.push(format!(
                    "request {id} has {tokens} tokens among its events, {count} by its row, and in its text {in_text:?}"
                ));
            }
        }
    }
}

/// Counts the tokens of a text that is to be made of the tokens of one answer, in order.
fn tokens_in(text: &str) -> Result<usize, String> {
    let serial = text.trim_start().split('.').next().unwrap_or_default();
    let serial = serial.parse().unwrap_or(u32::MAX);
    let (mut rest, mut tokens) = (text, 0);
    while !rest.is_empty() {
        let due = token_text(serial, tokens);
        // A longer number begins like a shorter one.
        match rest.strip_prefix(&due) {
            Some(after) if after.is_empty() || after.starts_with(' ') => rest = after,
            _ => return Err(format!("`{rest}` where `{due}` is due")),
        }
        tokens += 1;
    }
    Ok(tokens)
}

/// Returns the difference between UTC and the tape's axis at a point of it, in nanoseconds, by the
/// reading of both clocks that is closest.
pub(crate) fn utc_offset_ns(anchors: &[ClockAnchor], at_ns: i64) -> i64 {
    let closest = anchors
        .iter()
        .min_by_key(|anchor| (anchor.monotonic_ns - at_ns).abs());
    closest.map_or(0, |anchor| anchor.utc_ns - anchor.monotonic_ns)
}

/// The row of a request that is still in flight when its client dies.
pub(crate) fn is_interrupted(seen: &Seen) -> bool {
    seen.row.status == Status::Interrupted
}
