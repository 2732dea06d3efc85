//! Runs of the engine in virtual time, straight into the rows of a tape.
//!
//! The rows are those that a perfect client would have recorded in front of the simulated server:
//! every request leaves when it is due, the network takes no time, and every event is read when
//! it is written. A statistic that is proven on such runs owes nothing to a client's errors.

use std::path::Path;

use bytes::BytesMut;

use super::engine::{Engine, Event, EventKind, Finish, Job, Rejection};
use super::error::SimulateError;
use super::protocol::Refusal;
use super::settings::EngineSettings;
use super::template::{Api, Identity, StreamTemplate, UsageEvents};
use super::words;
use crate::capture::manifest::State;
use crate::capture::schema::{Channel, ChunkRow, Phase, RequestRow, Status, TokensSource};
use crate::capture::{CaptureError, Label, Manifest, write_tape};

/// The name of the model in the rows.
const MODEL: &str = "simulated";

/// Lengths of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Tokens of the prompt; 0 counts as 1.
    pub input_tokens: u32,
    /// Tokens that are generated; 0 counts as 1.
    pub output_tokens: u32,
}

/// A request that is due at a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it is due, on the tape's axis.
    pub at_ns: i64,
    /// How long it is.
    pub lengths: Lengths,
}

/// The rows of one run, each in the order that the tape declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// One row a request, by `request_id`.
    pub requests: Vec<RequestRow>,
    /// One row a streamed event, by `request_id` and `seq`.
    pub chunks: Vec<ChunkRow>,
}

impl Recording {
    /// Writes the rows as a tape, as if a perfect client had recorded them.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when the tape is there already or can't be written.
    pub fn write(self, tape: &Path, mut manifest: Manifest) -> Result<Manifest, CaptureError> {
        manifest.state = State::Complete;
        manifest.counts.never_due = Some(0);
        write_tape(tape, manifest, self.requests, self.chunks, Vec::new())
    }
}

/// Runs an open loop: request k is the k-th arrival, due at its own time, in any order.
///
/// # Errors
///
/// [`SimulateError::Setting`] when the settings contradict each other.
pub fn open_loop(
    settings: &EngineSettings,
    arrivals: &[Arrival],
) -> Result<Recording, SimulateError> {
    let mut engine = Engine::new(settings)?;
    let mut log = EventLog::new(arrivals.iter().map(|arrival| arrival.lengths));
    let mut due: Vec<usize> = (0..arrivals.len()).collect();
    due.sort_by_key(|&index| arrivals[index].at_ns);
    let mut due = due.into_iter().peekable();
    loop {
        let next_ns = engine.next_ns();
        let is_due =
            |index: &usize| next_ns.is_none_or(|next_ns| arrivals[*index].at_ns <= next_ns);
        if let Some(index) = due.next_if(is_due) {
            log.submit(&mut engine, index, arrivals[index].at_ns);
        } else if next_ns.is_some() {
            engine.tick(&mut |event| log.record(event));
        } else {
            break;
        }
    }
    Ok(log.into_rows(settings.seed, |index| Some(arrivals[index].at_ns)))
}

/// Runs a closed loop: `concurrency` requests are in flight, and the next one is due at the
/// instant at which one ends.
///
/// # Errors
///
/// [`SimulateError::Setting`] when the settings contradict each other.
pub fn closed_loop(
    settings: &EngineSettings,
    concurrency: usize,
    requests: &[Lengths],
) -> Result<Recording, SimulateError> {
    let mut engine = Engine::new(settings)?;
    let mut log = EventLog::new(requests.iter().copied());
    let mut next_request = 0..requests.len();
    let mut now_ns = 0;
    let mut free_slots = concurrency.max(1);
    loop {
        while free_slots > 0
            && let Some(index) = next_request.next()
        {
            // A rejected request leaves its slot free for the next one.
            if log.submit(&mut engine, index, now_ns) {
                free_slots -= 1;
            }
        }
        let Some(next_ns) = engine.next_ns() else {
            break;
        };
        now_ns = next_ns;
        engine.tick(&mut |event| {
            free_slots += usize::from(matches!(event.kind, EventKind::Finished(_)));
            log.record(event);
        });
    }
    Ok(log.into_rows(settings.seed, |_| None))
}

/// What happened to every request, before it is laid out in rows.
struct EventLog {
    requests: Vec<Story>,
    /// The times of all tokens, each request's beside each other.
    token_ns: Vec<i64>,
}

struct Story {
    lengths: Lengths,
    intended_ns: i64,
    first_token_index: usize,
    end: End,
}

enum End {
    Finished(Finish),
    Rejected(Rejection),
}

impl EventLog {
    fn new(requests: impl Iterator<Item = Lengths>) -> Self {
        let mut tokens = 0;
        let requests = requests
            .map(|lengths| {
                let first_token_index = tokens;
                let lengths = Lengths {
                    input_tokens: lengths.input_tokens.max(1),
                    output_tokens: lengths.output_tokens.max(1),
                };
                tokens += offset(lengths.output_tokens);
                Story {
                    lengths,
                    intended_ns: 0,
                    first_token_index,
                    end: End::Finished(Finish::Length),
                }
            })
            .collect();
        Self {
            requests,
            token_ns: vec![0; tokens],
        }
    }

    /// Hands a request to the engine; false where the engine does not take it.
    fn submit(&mut self, engine: &mut Engine, index: usize, at_ns: i64) -> bool {
        let story = &mut self.requests[index];
        story.intended_ns = at_ns;
        let job = Job {
            request: id(index),
            input_tokens: story.lengths.input_tokens,
            output_tokens: story.lengths.output_tokens,
            finish: Finish::Length,
        };
        match engine.submit(at_ns, job) {
            Ok(()) => true,
            Err(rejection) => {
                story.end = End::Rejected(rejection);
                false
            }
        }
    }

    fn record(&mut self, event: Event) {
        let Ok(request) = usize::try_from(event.request) else {
            return;
        };
        let story = &mut self.requests[request];
        match event.kind {
            EventKind::Admitted => {}
            EventKind::Token { position } => {
                self.token_ns[story.first_token_index + offset(position)] = event.at_ns;
            }
            EventKind::Finished(finish) => story.end = End::Finished(finish),
        }
    }

    fn into_rows(self, seed: u64, trace_ns: impl Fn(usize) -> Option<i64>) -> Recording {
        // Role, finish, usage and end mark stand beside the tokens.
        let mut chunks = Vec::with_capacity(self.token_ns.len() + 4 * self.requests.len());
        let model = Label::from(MODEL);
        let reasons = [Finish::Length, Finish::Stop].map(|finish| Label::from(finish.as_str()));
        let requests = (0..)
            .zip(&self.requests)
            .map(|(index, story)| {
                let mut row = blank_row(id(index), story, model.clone());
                row.trace_ns = trace_ns(index);
                match story.end {
                    End::Rejected(rejection) => reject(&mut row, rejection),
                    End::Finished(finish) => {
                        let length = usize::try_from(story.lengths.output_tokens).unwrap_or(0);
                        let from = story.first_token_index;
                        let tokens = &self.token_ns[from..from + length];
                        let [length_reason, stop_reason] = &reasons;
                        row.finish_reason = Some(match finish {
                            Finish::Length => length_reason.clone(),
                            Finish::Stop => stop_reason.clone(),
                        });
                        stream(&mut row, tokens, finish, seed, &mut chunks);
                    }
                }
                row
            })
            .collect();
        Recording { requests, chunks }
    }
}

/// Fills in what a client learns from a stream, and appends its events.
fn stream(
    row: &mut RequestRow,
    token_ns: &[i64],
    finish: Finish,
    seed: u64,
    chunks: &mut Vec<ChunkRow>,
) {
    let identity = Identity {
        api: Api::Chat,
        request: row.request_id,
        model: MODEL,
        created_s: 0,
    };
    let input_tokens = row.input_tokens_planned.unwrap_or(1);
    let output_tokens = row.output_tokens_planned.unwrap_or(1);
    let template = StreamTemplate::new(&identity, UsageEvents::Last, input_tokens);
    let answer_seed = words::answer_seed(seed, row.request_id);
    let mut frame = BytesMut::new();
    template.write_token(&mut frame, 0, |_| {});
    let mut events = Events {
        request_id: row.request_id,
        seq: 0,
        chunks,
        bytes: 0,
    };
    events.push(
        row.intended_ns,
        0,
        Channel::Role,
        template.role().map_or(0, |role| role.len()),
    );
    let mut previous_ns = None;
    let mut max_gap_ns = None;
    for (position, &arrival_ns) in (0..).zip(token_ns) {
        let bytes = frame.len() + words::word(answer_seed, position).len();
        let gap_ns = previous_ns.map(|previous_ns| arrival_ns - previous_ns);
        events
            .push(arrival_ns, position + 1, Channel::Content, bytes)
            .gap_ns = gap_ns;
        max_gap_ns = max_gap_ns.max(gap_ns);
        previous_ns = Some(arrival_ns);
    }
    let end_ns = previous_ns.unwrap_or(row.intended_ns);
    let usage = template.usage(output_tokens).map_or(0, |usage| usage.len());
    let finish = template.finish(finish, output_tokens).len();
    events.push(end_ns, output_tokens, Channel::Finish, finish);
    events.push(end_ns, output_tokens, Channel::Usage, usage);
    events.push(
        end_ns,
        output_tokens,
        Channel::Done,
        StreamTemplate::done().len(),
    );
    row.response_bytes = i64::try_from(events.bytes).unwrap_or(i64::MAX);
    row.headers_ns = Some(row.intended_ns);
    row.first_token_ns = token_ns.first().copied();
    row.first_answer_ns = row.first_token_ns;
    row.last_token_ns = previous_ns;
    row.end_ns = Some(end_ns);
    row.usage_input_tokens = Some(input_tokens);
    row.usage_output_tokens = Some(output_tokens);
    row.chunk_count = output_tokens;
    row.max_gap_ns = max_gap_ns;
    row.http_status = Some(200);
    row.response_id = Some(identity.response_id());
}

/// Where the events of one stream go.
struct Events<'a> {
    request_id: u64,
    seq: u32,
    chunks: &'a mut Vec<ChunkRow>,
    bytes: u64,
}

impl Events<'_> {
    fn push(
        &mut self,
        arrival_ns: i64,
        read_seq: u32,
        channel: Channel,
        bytes: usize,
    ) -> &mut ChunkRow {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let row = ChunkRow {
            request_id: self.request_id,
            attempt: 0,
            seq: self.seq,
            arrival_ns,
            gap_ns: None,
            read_seq: Some(read_seq),
            kernel_lag_us: None,
            channel,
            has_choices: !matches!(channel, Channel::Usage | Channel::Done),
            tokens: channel.is_token_bearing().then_some(1),
            tokens_source: channel.is_token_bearing().then_some(TokensSource::Event),
            bytes,
            text: None,
        };
        self.seq += 1;
        self.bytes += u64::from(bytes);
        self.chunks.push_mut(row)
    }
}

/// The row of a request that left when it was due, before anything came back.
fn blank_row(request_id: u64, story: &Story, model: Label) -> RequestRow {
    let at_ns = story.intended_ns;
    RequestRow {
        model: Some(model),
        dispatched_ns: Some(at_ns),
        sent_ns: Some(at_ns),
        body_sent_ns: Some(at_ns),
        end_ns: Some(at_ns),
        input_tokens_planned: Some(story.lengths.input_tokens),
        output_tokens_planned: Some(story.lengths.output_tokens),
        max_output_tokens: Some(story.lengths.output_tokens),
        status: Status::Ok,
        ..RequestRow::new(request_id, Phase::Measure, at_ns)
    }
}

/// Fills in what a client learns from a refusal, which comes at once.
fn reject(row: &mut RequestRow, rejection: Rejection) {
    let refusal = Refusal::from(rejection);
    let kind = match rejection {
        Rejection::QueueFull => "http_429",
        Rejection::TooLarge { .. } => "http_4xx",
    };
    row.status = Status::Error;
    row.headers_ns = Some(row.intended_ns);
    row.error_kind = Some(Label::from(kind));
    row.response_bytes = i64::try_from(refusal.body().len()).unwrap_or(i64::MAX);
    row.http_status = Some(refusal.status().as_u16());
    row.error_message = Some(refusal.message);
}

fn offset(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn id(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
