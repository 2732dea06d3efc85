//! `manifest.json`: what a tape is, beside its tables.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::{self, Loop, RunPlan};

use super::error::{CaptureError, read_error, write_error};
use super::folder::Folder;
use super::schema::SCHEMA_VERSION;

/// Most that is read of a `manifest.json`, in bytes; of that without the readings of the clock; and
/// of each of its lists. It is more than any run writes, and less than would slow an analysis down.
const MOST_BYTES: u64 = 16 << 20;
const MOST_OTHER_BYTES: usize = 1 << 20;
const MOST_ENTRIES: usize = 1_000;
pub(super) const MOST_ANCHORS: usize = 100_000;

/// Most characters of the reason why a manifest can't be read.
const MAX_REASON_CHARS: usize = 300;

/// Whether the run that made the tape has ended, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being written, or its writer died.
    Running,
    /// The schedule ran to its end.
    Complete,
    /// Stopped early; the tape is whole up to then.
    Interrupted,
}

/// What readers of a tape are told of [`State::Interrupted`].
pub const INTERRUPTED: &str = "it was interrupted, and is whole up to then";

/// What readers of a tape are told of a log in one that does not need it.
pub const LEFT_LOG: &str =
    "all rows are in its tables, and the `wal/` in it is not read: it can be deleted";

/// A pair of readings that ties the tape's axis to the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockAnchor {
    /// The reading on the tape's axis.
    pub monotonic_ns: i64,
    /// The wall clock at the same instant, in nanoseconds since 1970 in UTC.
    pub utc_ns: i64,
}

/// A part of a tape with labels of its own: a rung of a ladder, a probe of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Number of the step, as in the column `step`.
    pub step: u32,
    /// Axis → value.
    pub labels: BTreeMap<String, String>,
    /// Start of the step on the tape's axis.
    pub from_ns: i64,
    /// End of the step on the tape's axis.
    pub to_ns: i64,
}

/// How many rows there are, and how many requests never became one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows in `requests`.
    pub requests: u64,
    /// Rows in `chunks`.
    pub chunks: u64,
    /// Rows in `probes`.
    pub probes: u64,
    /// Rows in `server`.
    #[serde(default, skip_serializing_if = "is_none")]
    pub server: u64,
    /// Requests of the schedule that were not yet due when the run stopped; null where unknown.
    pub never_due: Option<u64>,
    /// Requests that were due, never sent, and have no row: those beyond the first 100,000.
    #[serde(default)]
    pub unwritten: u64,
    /// Rows of the trace without a reply, where the server was to say the replies of the trace: what it
    /// answered to these was left to it.
    #[serde(default, skip_serializing_if = "is_none")]
    pub without_reply: u64,
}

/// What became of the sessions of a run whose data set are conversations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionCounts {
    /// Those that began.
    pub started: u64,
    /// Those that came to their last turn.
    pub finished: u64,
    /// Those that ended before, at a turn that failed.
    pub ended_early: u64,
    /// Turns of the latter that were not sent.
    pub turns_unsent: u64,
    /// Turns that were sent again, since they had failed.
    pub turns_retried: u64,
    /// Turns that failed and were passed over.
    pub turns_skipped: u64,
    /// Replies that a turn was to hold and that had no text: made-up text stood in their place.
    pub made_up_replies: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// How one source of the table `server` fared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricSource {
    /// Its address without secrets, or `host` for this machine.
    pub source: String,
    /// Scrapes whose rows are in the table.
    pub scrapes: u64,
    /// Scrapes that failed, took too long, or found no room on the way to the tape.
    pub failed: u64,
    /// Longest time without an answer, from the first scrape to the last, in nanoseconds.
    pub longest_gap_ns: i64,
    /// Why the last one failed that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Series that are in the table.
    pub series: u64,
    /// Samples of one scrape that were left out, at most: beyond the bounds on series and on the
    /// length of their names and labels, or in lines that are no samples.
    pub left_out: u64,
}

/// What became of the connections to one server that `--prewarm-connections` asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prewarmed {
    /// Address of the server, without secrets.
    pub target: String,
    /// Connections that were asked for.
    pub asked: u64,
    /// Connections that were open when the schedule started, kept ones of warm-ups among them.
    pub open: u64,
}

/// The machine that drove the load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Name of the machine.
    pub name: String,
    /// Operating system and kernel release.
    pub system: String,
    /// Number of CPU cores that the process may use.
    pub cores: u32,
}

/// How large the values of a sample are; exact percentiles, interpolated linearly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Size of the sample.
    pub n: usize,
    /// The median.
    pub p50: i64,
    /// The 99th percentile.
    pub p99: i64,
    /// The largest value.
    pub max: i64,
}

/// What the client was found to add right before the run, on events of a known send time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SelfCheck {
    /// Streams at once.
    pub streams: usize,
    /// Events a second, over all streams.
    pub events_per_s: f64,
    /// Events in all.
    pub events: usize,
    /// From the send of an event to its stamp, in nanoseconds.
    pub read_lag_ns: Spread,
    /// How far the time between two stamps is from that between the sends, in nanoseconds.
    pub inter_token_error_ns: Spread,
}

/// The whole of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the tape's layout.
    pub schema_version: u32,
    /// Unique name of the run.
    pub run_id: String,
    /// Whether the run has ended, and how.
    pub state: State,
    /// Open or closed loop.
    #[serde(rename = "loop")]
    pub arrival_loop: Loop,
    /// Axis → value, for comparisons.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Parts with labels of their own.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What the user asked for, made definite; secrets masked.
    #[serde(deserialize_with = "plan::or_default")]
    pub plan: RunPlan,
    /// Seed of every draw.
    pub seed: u64,
    /// Address that was driven, without credentials.
    pub target: String,
    /// The machine that drove the load.
    pub host: Host,
    /// Version of the tool that wrote the tape.
    pub tool_version: String,
    /// Readings that tie the tape's axis to the wall clock, in order: each ten seconds, and whenever
    /// that was set.
    pub clock_anchors: Vec<ClockAnchor>,
    /// File of the chat template that prompts were counted with; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Start of the schedule on the axis of the log under `wal/`; the tables are already shifted.
    #[serde(default)]
    pub origin_ns: i64,
    /// How many rows there are.
    #[serde(default)]
    pub counts: Counts,
    /// The client's own limits that were hit, by name, with how much each held back: `in_flight` and
    /// `queue` requests, each once; `capture_channel` reads and batches that waited for the writer.
    /// Older tapes have `turns` too, replies whose turns are missing.
    #[serde(default)]
    pub bounds_hit: BTreeMap<String, u64>,
    /// Events with a text that the backend does not read, by the name of the field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unread_texts: BTreeMap<String, u64>,
    /// How the sources of the table `server` fared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metric_sources: Vec<MetricSource>,
    /// What became of the connections that were to be open before the schedule, by server; empty where
    /// none were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prewarmed: Vec<Prewarmed>,
    /// What became of the sessions, where the data set are conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionCounts>,
    /// What recovering the tape after a crash came to; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<String>,
    /// What the client was found to add before the run; absent where that was not measured.
    #[serde(default)]
    pub self_check: Option<SelfCheck>,
}

impl Manifest {
    /// Name of the file inside a tape.
    pub const FILE: &'static str = "manifest.json";

    /// A manifest of this build's layout of which no more is known than its name and its loop.
    pub fn new(run_id: impl Into<String>, arrival_loop: Loop) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            run_id: run_id.into(),
            state: State::Running,
            arrival_loop,
            labels: BTreeMap::new(),
            steps: Vec::new(),
            plan: RunPlan::default(),
            seed: 0,
            target: String::new(),
            host: Host::default(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            clock_anchors: Vec::new(),
            origin_ns: 0,
            chat_template: None,
            counts: Counts::default(),
            bounds_hit: BTreeMap::new(),
            unread_texts: BTreeMap::new(),
            metric_sources: Vec::new(),
            prewarmed: Vec::new(),
            sessions: None,
            recovered: None,
            self_check: None,
        }
    }

    /// Returns where the manifest of the tape at `tape` is.
    pub fn path(tape: &Path) -> PathBuf {
        tape.join(Self::FILE)
    }

    /// Reads the manifest of the tape at `tape`.
    ///
    /// # Errors
    ///
    /// [`CaptureError::NotATape`] when there is no tape there, [`CaptureError::Version`] when its
    /// layout is another one, [`CaptureError::Read`] when the file can't be read.
    pub fn read(tape: &Path) -> Result<Self, CaptureError> {
        Self::read_in(&open_tape(tape)?, tape)
    }

    /// As [`Manifest::read`], in the open folder of the tape at `tape`.
    pub(super) fn read_in(folder: &Folder, tape: &Path) -> Result<Self, CaptureError> {
        let not_a_tape = |reason: String| CaptureError::NotATape {
            path: tape.to_owned(),
            reason,
        };
        let Some(file) = folder.file(Self::FILE)? else {
            return Err(not_a_tape(format!("it has no `{}`", Self::FILE)));
        };
        let mut text = Vec::new();
        file.take(MOST_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(read_error(&folder.path(Self::FILE)))?;
        if text.len() as u64 > MOST_BYTES {
            let most = MOST_BYTES >> 20;
            return Err(not_a_tape(format!(
                "its `{}` is larger than {most} MiB",
                Self::FILE
            )));
        }
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| not_a_tape(format!("its `{}` is not JSON: {error}", Self::FILE)))?;
        match value.get("schema_version").and_then(Value::as_u64) {
            Some(found) if (1..=u64::from(SCHEMA_VERSION)).contains(&found) => {}
            Some(found) => {
                return Err(CaptureError::Version {
                    path: tape.to_owned(),
                    found,
                    known: SCHEMA_VERSION,
                });
            }
            None => {
                return Err(not_a_tape(format!(
                    "its `{}` has no `schema_version`",
                    Self::FILE
                )));
            }
        }
        let manifest: Self = serde_json::from_value(value).map_err(|error| {
            // It quotes what it does not take, which may be long.
            let why: String = error.to_string().chars().take(MAX_REASON_CHARS).collect();
            not_a_tape(format!("its `{}` is incomplete: {why}", Self::FILE))
        })?;
        manifest
            .check()
            .map_err(|reason| not_a_tape(format!("its `{}` {reason}", Self::FILE)))?;
        Ok(manifest)
    }

    /// Says what of a manifest is more than is ever read.
    pub(super) fn check(&self) -> Result<(), String> {
        let other = serde_json::to_string(&Self {
            clock_anchors: Vec::new(),
            ..self.clone()
        });
        let other_bytes = other.map_or(usize::MAX, |text| text.len());
        let anchors = self.clock_anchors.len();
        for (what, found, most) in [
            ("steps", self.steps.len(), MOST_ENTRIES),
            ("labels", self.labels.len(), MOST_ENTRIES),
            ("bounds that were hit", self.bounds_hit.len(), MOST_ENTRIES),
            ("texts not read", self.unread_texts.len(), MOST_ENTRIES),
            (
                "sources of metrics",
                self.metric_sources.len(),
                MOST_ENTRIES,
            ),
            ("servers", self.prewarmed.len(), MOST_ENTRIES),
            ("readings of the clock", anchors, MOST_ANCHORS),
            ("bytes beside those", other_bytes, MOST_OTHER_BYTES),
        ] {
            if found > most {
                return Err(format!("has {found} {what}, and at most {most} are read"));
            }
        }
        Ok(())
    }

    /// Says whether a folder has a manifest of any version.
    pub(super) fn is_in(folder: &Folder) -> bool {
        let file = folder.file(Self::FILE).ok().flatten();
        let value = file.and_then(|file| serde_json::from_reader(file.take(MOST_BYTES)).ok());
        value.is_some_and(|value: Value| {
            value.get("schema_version").is_some_and(Value::is_number)
                && value.get("run_id").is_some()
        })
    }

    /// Writes the manifest into the tape at `tape`, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Write`] when the file can't be written.
    pub fn write(&self, tape: &Path) -> Result<(), CaptureError> {
        self.write_in(&Folder::open(tape)?, true)
    }

    /// As [`Manifest::write`], in the open folder of a tape. Unless `is_durable`, a loss of power may
    /// take it.
    pub(super) fn write_in(&self, folder: &Folder, is_durable: bool) -> Result<(), CaptureError> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| write_error(&folder.path(Self::FILE))(error.into()))?;
        text.push(b'\n');
        folder.write(Self::FILE, &text, is_durable)
    }
}

/// Opens the folder of a tape, or says what is there instead.
pub(super) fn open_tape(tape: &Path) -> Result<Folder, CaptureError> {
    Folder::open(tape).map_err(|error| {
        let CaptureError::Read { source, .. } = &error else {
            return error;
        };
        let reason = match source.kind() {
            io::ErrorKind::NotFound => "there is nothing at that path",
            io::ErrorKind::NotADirectory => "it is a file, and a tape is a folder",
            _ => return error,
        };
        CaptureError::NotATape {
            path: tape.to_owned(),
            reason: reason.to_owned(),
        }
    })
}
