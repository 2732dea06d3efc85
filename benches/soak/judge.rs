//! Holds the tapes against the ledger, and says what was found.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::process::ExitStatusExt as _;

use tokentape::capture::Word as _;
use tokentape::capture::manifest::State;
use tokentape::capture::schema::{ErrorKind, Status};

use crate::Plan;
use crate::client::{Ending, Ran};
use crate::fault::{Expected, Fault};
use crate::ledger::{End, Entry, Ledger};
use crate::program::{Outcome, say};
use crate::tape::{self, Seen, Tape, is_interrupted, utc_offset_ns};

const MS: i64 = 1_000_000;
const S: i64 = 1_000 * MS;

/// What a kill or a reset may cost is younger than this, on a machine that lets the client run.
const LOSS_BAR_NS: i64 = 250 * MS;

/// A connection that falls into an outage may be noticed this much before or after it.
const OUTAGE_SLACK_NS: i64 = S;

/// Memory may differ by this share between the second and the last tenth of a run.
const MEMORY_BAR: f64 = 0.1;

/// Runs that are shorter, in seconds, have hardly begun when their second tenth is over.
const STEADY_SECONDS: u32 = 60;

/// Open files may differ by this many between the second and the last tenth of a run, and by a
/// fifth: as many as streams are open.
const DESCRIPTORS_BAR: usize = 12;

/// Violations that are told one by one.
const TOLD: usize = 40;

/// What was found so far.
pub(crate) struct Judge<'a> {
    plan: &'a Plan,
    entries: &'a [Entry],
    by_prompt: HashMap<u64, usize>,
    is_on_tape: Vec<bool>,
    outages: Vec<(i64, i64)>,
    /// Connections that were closed before their request was read, a run.
    unread: HashMap<u16, usize>,
    /// Fault → what the tapes say → how often.
    table: BTreeMap<String, BTreeMap<String, u64>>,
    runs: Vec<String>,
    losses: [Loss; 2],
    violations: usize,
}

/// Tokens that were lost as they may be.
#[derive(Debug, Clone, Copy, Default)]
struct Loss {
    tokens: usize,
    requests: usize,
    oldest_ns: i64,
}

impl Loss {
    fn add(&mut self, tokens: usize, age_ns: i64) {
        self.tokens += tokens;
        self.requests += 1;
        self.oldest_ns = self.oldest_ns.max(age_ns);
    }
}

/// Indices of `losses`.
const BY_RESET: usize = 0;
const BY_KILL: usize = 1;

impl<'a> Judge<'a> {
    /// Takes the ledger, to which nothing is added any more.
    pub(crate) fn new(plan: &'a Plan, ledger: &Ledger, entries: &'a [Entry]) -> Self {
        let mut unread: HashMap<u16, usize> = HashMap::new();
        for run in ledger.unread().iter() {
            *unread.entry(*run).or_default() += 1;
        }
        let places = entries.iter().enumerate();
        Self {
            plan,
            entries,
            by_prompt: places.map(|(place, entry)| (entry.prompt, place)).collect(),
            is_on_tape: vec![false; entries.len()],
            outages: ledger.outages().clone(),
            unread,
            table: BTreeMap::new(),
            runs: Vec::new(),
            losses: [Loss::default(); 2],
            violations: 0,
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.violations == 0
    }

    fn violation(&mut self, run: u16, text: &str) {
        self.violations += 1;
        if self.violations <= TOLD {
            say(&format!("VIOLATION, run {run}: {text}"));
        }
    }

    /// Holds one run against the ledger.
    pub(crate) fn judge(&mut self, ran: &Ran) -> Outcome<()> {
        let run = ran.task.run;
        let tape = tape::read(&self.plan.tokentape, &ran.tape)?;
        for fault in ran.faults.iter().chain(&tape.faults) {
            self.violation(run, fault);
        }
        self.judge_ending(ran, &tape);
        self.judge_count(ran, &tape);
        for (id, seen) in tape.requests.iter().enumerate() {
            let name = match self.by_prompt.get(&seen.prompt) {
                Some(place) => self.judge_answered(ran, (id, seen), *place),
                None => self.judge_unanswered(ran, (id, seen), &tape),
            };
            let Expected { status, kind, .. } = seen.row;
            let said = match kind {
                Some(kind) => format!("{} {}", status.as_str(), kind.as_str()),
                None => status.as_str().to_owned(),
            };
            *self.table.entry(name).or_default().entry(said).or_default() += 1;
        }
        let mut resent = 0;
        for place in 0..self.entries.len() {
            let entry = &self.entries[place];
            let is_too_young = ran.task.ending == Ending::Kill
                && entry.started_ns >= ran.end_ns - loss_bar_ns(ran);
            if entry.run != run || self.is_on_tape[place] || is_too_young {
                continue;
            }
            // A request whose kept connection ended without a word goes out once more.
            if self
                .by_prompt
                .get(&entry.prompt)
                .is_some_and(|last| *last > place)
            {
                resent += 1;
            } else {
                let (serial, fault) = (entry.serial, entry.fault);
                self.violation(
                    run,
                    &format!("request s{serial} ({fault:?}) is not on the tape"),
                );
            }
        }
        if resent > tape.resends {
            let said = format!(
                "{resent} requests came twice, {} went out twice",
                tape.resends
            );
            self.violation(run, &said);
        }
        self.judge_resources(ran, &tape);
        Ok(())
    }

    /// The exit code and the state of the tape follow from how the run was ended.
    fn judge_ending(&mut self, ran: &Ran, tape: &Tape) {
        let (code, signal, state) = match ran.task.ending {
            Ending::Kill => (None, Some(9), State::Interrupted),
            Ending::Terminate => (Some(130), None, State::Interrupted),
            Ending::Whole => (Some(0), None, State::Complete),
        };
        let status = ran.status;
        if (status.code(), status.signal()) != (code, signal) || tape.manifest.state != state {
            let state = tape.manifest.state;
            let text = format!("ended with {status}, state {state:?}: {}", ran.said);
            self.violation(ran.task.run, &text);
        }
    }

    /// As many rows as requests were due.
    fn judge_count(&mut self, ran: &Ran, tape: &Tape) {
        let Some(last) = tape.requests.last() else {
            return self.violation(ran.task.run, "the tape is empty");
        };
        let end_ns = match ran.task.ending {
            Ending::Whole => i64::from(ran.task.seconds) * S,
            // What was noted last before a kill is lost with it.
            _ => {
                let offset_ns = utc_offset_ns(&tape.manifest.clock_anchors, last.intended_ns);
                ran.end_ns - offset_ns - loss_bar_ns(ran)
            }
        };
        let gap_s = 1.0 / self.plan.rate;
        let due = seconds(end_ns) / gap_s;
        let rows = f64::from(u32::try_from(tape.requests.len()).unwrap_or(u32::MAX));
        let is_right = match (ran.task.is_constant, ran.task.ending) {
            (true, Ending::Whole) => (rows - due).abs() <= 1.0,
            (true, _) => rows >= due - 1.0,
            // Gaps that are drawn are hardly ever this long.
            (false, _) => seconds(last.intended_ns) >= seconds(end_ns) - 25.0 * gap_s,
        };
        if !is_right {
            let text = format!(
                "{rows} rows, the last one due at {:.3} s, where {due:.1} were due by {:.3} s",
                seconds(last.intended_ns),
                seconds(end_ns)
            );
            self.violation(ran.task.run, &text);
        }
    }

    /// Judges a request that the server has read. Returns the name of what became of it.
    fn judge_answered(&mut self, ran: &Ran, (id, seen): (usize, &Seen), place: usize) -> String {
        let entry = &self.entries[place];
        let run = ran.task.run;
        let mut wrong = Vec::new();
        if std::mem::replace(&mut self.is_on_tape[place], true) {
            wrong.push("was sent twice".to_owned());
        }
        if entry.run != run || seen.serial.is_some_and(|serial| serial != entry.serial) {
            wrong.push(format!("has the answer to s{:?}", seen.serial));
        }
        if seen.tokens > entry.written_us.len() {
            wrong.push("has tokens that were never written".to_owned());
        }
        let is_interrupted = is_interrupted(seen) && ran.task.ending == Ending::Kill;
        let lost = entry.written_us.len().saturating_sub(seen.tokens);
        if is_interrupted {
            let bar_ns = loss_bar_ns(ran);
            // What was written to a dead client is no loss.
            let first_ns = entry.written_ns(seen.tokens).unwrap_or(i64::MAX);
            if first_ns < ran.end_ns {
                let age_ns = ran.end_ns - first_ns;
                self.losses[BY_KILL].add(lost, age_ns);
                if age_ns > bar_ns {
                    wrong.push(format!("lost tokens of {} ms before the kill", age_ns / MS));
                }
            }
            let has_ended = entry.end == End::AsPlanned && entry.ended_ns < ran.end_ns - bar_ns;
            if has_ended && !entry.fault.lasts_until_client_leaves() {
                wrong.push("had ended long before the kill".to_owned());
            }
        } else {
            if lost > 0 {
                let age_ns = entry.ended_ns - entry.written_ns(seen.tokens).unwrap_or(i64::MIN / 2);
                if entry.fault.is_reset() && may_lose(ran, entry, age_ns) {
                    self.losses[BY_RESET].add(lost, age_ns);
                } else {
                    wrong.push(format!("lost {lost} tokens of up to {} ms", age_ns / MS));
                }
            }
            if !may_say(entry, seen) {
                wrong.push("is not what the fault makes of it".to_owned());
            }
            let message = entry.fault.message();
            if message.is_some()
                && entry.end == End::AsPlanned
                && seen.message.as_deref() != message
            {
                wrong.push("has other words than the server's".to_owned());
            }
        }
        for wrong in wrong {
            let text = format!("request {id} {wrong}: {entry:?} {seen:?}");
            self.violation(run, &text);
        }
        let entry = &self.entries[place];
        match entry.end {
            End::Outage => "(server went down)".to_owned(),
            _ => format!("{:?}", entry.fault),
        }
    }

    /// Judges a request that the server has never read. Returns the name of what became of it.
    fn judge_unanswered(&mut self, ran: &Ran, (id, seen): (usize, &Seen), tape: &Tape) -> String {
        if seen.row.status == Status::NotSent {
            return "(never sent)".to_owned();
        }
        let sent_ns = seen.dispatched_ns.unwrap_or(seen.intended_ns);
        let at_ns = sent_ns + utc_offset_ns(&tape.manifest.clock_anchors, sent_ns);
        let is_down = self.outages.iter().any(|(from_ns, to_ns)| {
            (from_ns - OUTAGE_SLACK_NS..to_ns + OUTAGE_SLACK_NS).contains(&at_ns)
        });
        let expected = |kind| Expected {
            status: Status::Error,
            kind: Some(kind),
            http_status: None,
        };
        if is_down
            && (seen.row == expected(ErrorKind::Connect) || seen.row == expected(ErrorKind::Send))
        {
            return "(server is down)".to_owned();
        }
        // A reset that comes before the client has looked at its connection is told by `connect`.
        let is_reset_early = seen.row == expected(ErrorKind::Connect)
            && seen
                .message
                .as_deref()
                .is_some_and(|message| message.starts_with("Connection reset"));
        let unread = self.unread.entry(ran.task.run).or_default();
        if (seen.row == expected(ErrorKind::Send) || is_reset_early) && *unread > 0 {
            *unread -= 1;
            return "(closed unread)".to_owned();
        }
        let is_late = at_ns > ran.end_ns - loss_bar_ns(ran);
        if is_interrupted(seen) && ran.task.ending == Ending::Kill && is_late {
            return "(on its way at a kill)".to_owned();
        }
        let text = format!("request {id} never came to the server: {seen:?}");
        self.violation(ran.task.run, &text);
        "(unknown)".to_owned()
    }

    /// Memory, threads, files: as many at the end as near the start.
    fn judge_resources(&mut self, ran: &Ran, tape: &Tape) {
        let run = ran.task.run;
        let schedule_ns = 0..i64::from(ran.task.seconds) * S;
        let memory: Vec<u64> = tape
            .memory
            .iter()
            .filter(|(at_ns, _)| schedule_ns.contains(at_ns))
            .map(|(_, bytes)| *bytes)
            .collect();
        let (memory_from, memory_to) = tenths(&memory).unwrap_or_default();
        let mib = |bytes: u64| seconds(i64::try_from(bytes).unwrap_or(0)) * 1e9 / 1_048_576.0;
        let growth = mib(memory_to) / mib(memory_from) - 1.0;
        // Without probes it is no number.
        let is_flat = growth.abs() <= MEMORY_BAR;
        let is_long = ran.task.seconds >= STEADY_SECONDS;
        if is_long && !is_flat {
            let text = format!("memory grew by {:.1} %", growth * 100.0);
            self.violation(run, &text);
        }
        let files: Vec<usize> = ran.samples.iter().map(|sample| sample.0).collect();
        let threads: Vec<usize> = ran.samples.iter().map(|sample| sample.1).collect();
        let (files_from, files_to) = tenths(&files).unwrap_or_default();
        let (threads_from, threads_to) = tenths(&threads).unwrap_or_default();
        if is_long && files_to > files_from + DESCRIPTORS_BAR + files_from / 5 {
            self.violation(
                run,
                &format!("open files grew from {files_from} to {files_to}"),
            );
        }
        // The feed ends before the run does.
        if is_long && threads_to > threads_from {
            self.violation(
                run,
                &format!("threads went from {threads_from} to {threads_to}"),
            );
        }
        if tape.stalls > 0 || !tape.manifest.bounds_hit.is_empty() {
            let text = format!(
                "{} stalls, bounds {:?}",
                tape.stalls, tape.manifest.bounds_hit
            );
            self.violation(run, &text);
        }
        let tokens: usize = tape.requests.iter().map(|seen| seen.tokens).sum();
        let (cpu_s, of_s) = ran.cpu_s;
        self.runs.push(format!(
            "| {run} | {:?} | {} s | {} | {} | {tokens} | {:.1} → {:.1} ({:+.1} %) | {files_from} → {files_to} | {threads_from} → {threads_to} | {:.1} % | {} |",
            ran.task.ending,
            ran.task.seconds,
            ran.status,
            tape.requests.len(),
            mib(memory_from),
            mib(memory_to),
            growth * 100.0,
            100.0 * cpu_s / of_s,
            ran.stops.len(),
        ));
    }

    /// Prints what was found.
    pub(crate) fn summarize(&self, served_s: f64) {
        say(
            "| run | ended by | length | exit | requests | tokens | MiB, second → last tenth | \
             open files | threads | CPU | times held up |\n|---|---|---|---|---|---|---|---|---|---|---|",
        );
        for run in &self.runs {
            say(run);
        }
        say("\n| what the server did | what the tapes say |\n|---|---|");
        for (fault, said) in &self.table {
            let said: Vec<String> = said
                .iter()
                .map(|(said, n)| format!("{said}: {n}"))
                .collect();
            say(&format!("| {fault} | {} |", said.join(", ")));
        }
        let written: usize = self
            .entries
            .iter()
            .map(|entry| entry.written_us.len())
            .sum();
        say(&format!(
            "\n{written} tokens written; the server was down {} times; its CPU took {:.1} % of the time",
            self.outages.len(),
            100.0 * served_s / f64::from(self.plan.seconds)
        ));
        for (name, loss) in [
            ("a reset", self.losses[BY_RESET]),
            ("a kill", self.losses[BY_KILL]),
        ] {
            say(&format!(
                "lost to {name}, as it may be: {} tokens of {} requests, the oldest {} ms old",
                loss.tokens,
                loss.requests,
                loss.oldest_ns / MS
            ));
        }
        say(&format!("\n{} violations", self.violations));
    }
}

/// How old a token may be that is lost: as old as a client that is let run leaves it, and as much
/// older as this machine is slow.
fn loss_bar_ns(ran: &Ran) -> i64 {
    LOSS_BAR_NS + ran.napped_late_ns
}

/// True where a reset may have destroyed what was written so long before it: the client had no time
/// to read, or was stopped.
fn may_lose(ran: &Ran, entry: &Entry, age_ns: i64) -> bool {
    let written_ns = entry.ended_ns - age_ns;
    let is_stopped = ran
        .stops
        .iter()
        .any(|(from_ns, to_ns)| written_ns < *to_ns + LOSS_BAR_NS && *from_ns < entry.ended_ns);
    age_ns <= loss_bar_ns(ran) || is_stopped
}

/// True where the row says what happened to its request.
fn may_say(entry: &Entry, seen: &Seen) -> bool {
    let cut = |kind, http_status| Expected {
        status: Status::Error,
        kind: Some(kind),
        http_status,
    };
    let expected = entry.fault.expected();
    if seen.row == expected {
        return match seen.row.status {
            // Of an answer that came to its end, the server has said how long it is.
            Status::Ok if entry.end != End::Outage && entry.fault != Fault::NoEndMark => {
                entry.is_finished && seen.usage.map(|usage| usage as usize) == Some(seen.tokens)
            }
            Status::Ok => entry.is_finished,
            _ => entry.end != End::ClientLeft || entry.fault.lasts_until_client_leaves(),
        };
    }
    // What breaks before the client has read the head ends without one.
    let is_headless = seen.row == cut(ErrorKind::Send, None) && seen.tokens == 0;
    // It went out once more where nobody listened any longer.
    let is_resent = seen.row == cut(ErrorKind::Connect, None) && entry.written_us.is_empty();
    match entry.end {
        End::Outage if entry.is_finished => false,
        End::Outage => is_headless || is_resent || seen.row == cut(ErrorKind::Truncated, Some(200)),
        End::AsPlanned | End::ClientLeft => entry.fault == Fault::Reset && is_headless,
    }
}

/// The medians of the second and of the last tenth.
fn tenths<T: Copy + Ord>(values: &[T]) -> Option<(T, T)> {
    let tenth = (values.len() / 10).max(1);
    let median = |part: &[T]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part.get(part.len() / 2).copied()
    };
    let second = median(values.get(tenth..2 * tenth)?)?;
    Some((second, median(values.get(values.len() - tenth..)?)?))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "days, to the nanosecond, still fit"
)]
fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}
