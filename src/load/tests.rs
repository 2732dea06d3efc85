//! The driver in virtual time: what is sent when, and what stays on the tape.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::decoder_thread::DecoderThread;
use super::driver::{Driven, Driver};
use super::health::watch as watch_health;
use super::limits::Limits;
use super::listeners::RunEvents;
use super::prepared::PreparedRequest;
use super::recorder::Recorder;
use super::retries::Retries;
use super::stop::Stop;
use super::supply::Supply;
use crate::backend::{Framing, protocol};
use crate::capture::schema::{Channel, ChunkRow, Phase, ProbeRow, RequestRow, Status, TapeRow};
use crate::capture::{Ending, Manifest, TapeWriter};
use crate::plan::Loop;
use crate::time::clock::Clock;
use crate::time::timer::PreciseTimer;
use crate::wire::{Head, Read, SendTimings, Wire, WireBody, WireError};

mod conversations;
mod ends;
mod limits;
mod sessions;

const MS: i64 = 1_000_000;

/// What every answer has: pieces of a body, each with the time after the request at which it is
/// sent.
type Script = Vec<(i64, &'static str)>;

/// A server that exists in time alone.
#[derive(Debug, Clone)]
struct Server {
    script: Script,
    stall: Option<Stall>,
    /// How long the driver's thread is held up by sending it a request.
    send_cost_ns: i64,
    refusals: Option<Refusals>,
}

/// Requests that are answered with an error: so many of those whose body has this in it.
#[derive(Debug, Clone)]
struct Refusals {
    body_has: &'static str,
    left: Arc<AtomicUsize>,
}

impl Server {
    /// What is answered to a request.
    fn script_for(&self, body: &[u8]) -> Script {
        let is_refused = self.refusals.as_ref().is_some_and(|refusals| {
            let wanted = refusals.body_has.as_bytes();
            let is_meant = body.windows(wanted.len()).any(|part| part == wanted);
            let one_less = |left: usize| left.checked_sub(1);
            let order = Ordering::Relaxed;
            is_meant && refusals.left.fetch_update(order, order, one_less).is_ok()
        });
        match is_refused {
            true => vec![(10 * MS, REFUSAL)],
            false => self.script.clone(),
        }
    }
}

/// A time in which a server does nothing; all its work goes on from where it was.
#[derive(Debug, Clone, Copy)]
struct Stall {
    from_ns: i64,
    length_ns: i64,
}

impl From<Script> for Server {
    fn from(script: Script) -> Self {
        Self {
            script,
            stall: None,
            send_cost_ns: 0,
            refusals: None,
        }
    }
}

impl Stall {
    /// When work of `work_ns` is done that was begun at `from_ns`.
    fn done_ns(self, from_ns: i64, work_ns: i64) -> i64 {
        let end_ns = self.from_ns + self.length_ns;
        if from_ns + work_ns < self.from_ns || from_ns >= end_ns {
            from_ns + work_ns
        } else if from_ns < self.from_ns {
            from_ns + work_ns + self.length_ns
        } else {
            end_ns + work_ns
        }
    }
}

/// The way to a [`Server`].
#[derive(Clone)]
struct FakeWire {
    clock: Clock,
    server: Arc<Server>,
    /// Requests in flight now and at most.
    in_flight: Arc<Mutex<(usize, usize)>>,
}

/// An answer that is being read.
struct FakeBody {
    wire: FakeWire,
    script: Script,
    sent_ns: i64,
    next: usize,
}

impl Wire for FakeWire {
    type Body = FakeBody;

    async fn post(
        &self,
        body: Bytes,
        marks: &Arc<SendTimings>,
    ) -> Result<Head<FakeBody>, WireError> {
        let sent_ns = self.clock.now_ns();
        marks.set_sent_ns(sent_ns);
        {
            let mut in_flight = self.in_flight.lock().unwrap();
            in_flight.0 += 1;
            in_flight.1 = in_flight.1.max(in_flight.0);
        }
        if let Ok(cost_ns @ 1..) = u64::try_from(self.server.send_cost_ns) {
            tokio::time::advance(Duration::from_nanos(cost_ns)).await;
        }
        Ok(Head {
            headers_ns: sent_ns,
            status: 200,
            content_type: "text/event-stream".into(),
            kept_headers: Vec::new(),
            retry_after_ns: None,
            body: FakeBody {
                wire: self.clone(),
                script: self.server.script_for(&body),
                sent_ns,
                next: 0,
            },
        })
    }
}

impl WireBody for FakeBody {
    async fn read(&mut self) -> Result<Option<Read>, WireError> {
        let server = &self.wire.server;
        let Some((after_ns, text)) = self.script.get(self.next).copied() else {
            return Ok(None);
        };
        let at_ns = match server.stall {
            Some(stall) => stall.done_ns(self.sent_ns, after_ns),
            None => self.sent_ns + after_ns,
        };
        tokio::time::sleep_until(self.wire.clock.instant(at_ns)).await;
        self.next += 1;
        assert!(text != FAULT, "a fault that a test asks for");
        Ok(Some(Read {
            at_ns: self.wire.clock.now_ns(),
            bytes: Bytes::from_static(text.as_bytes()),
            read_seq: None,
            kernel_lag_us: None,
        }))
    }
}

impl Drop for FakeBody {
    fn drop(&mut self) {
        self.wire.in_flight.lock().unwrap().0 -= 1;
    }
}

/// In a script, a fault of the client's own.
const FAULT: &str = "fault";
const REFUSAL: &str = "data: {\"error\": {\"message\": \"no\"}}\n\n";
const TOKEN: &str = "data: {\"choices\":[{\"index\":0,\"text\":\" a\"}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n";

/// Ten tokens, the first after 100 ms and one each 10 ms; the end 5 ms later.
fn answer() -> Script {
    let mut script: Script = (0..10)
        .map(|token| ((100 + 10 * token) * MS, TOKEN))
        .collect();
    script.push((195 * MS, FINISH));
    script
}

fn limits() -> Limits {
    Limits {
        max_concurrency: None,
        max_in_flight: 50_000,
        retries: Retries::default(),
        prewarm_connections: 0,
        drain_ns: 30_000 * MS,
        request_timeout_ns: 3_600_000 * MS,
        first_timeout_ns: None,
        idle_timeout_ns: None,
        gives_up: false,
    }
}

fn planned(request_id: u64, intended_ns: Option<i64>) -> PreparedRequest {
    PreparedRequest {
        request_id,
        phase: Phase::Measure,
        intended_ns,
        row_number: None,
        wants_reply: false,
        held_ns: 0,
        trace_ns: None,
        session_id: None,
        turn: None,
        model: None,
        class: None,
        input_tokens: Some(1),
        input_tokens_counted: None,
        output_tokens: Some(10),
        max_output_tokens: Some(10),
        prefix_tokens: None,
        hang_up_after_ns: None,
        body: Bytes::new(),
        prompt: None,
        permit: None,
    }
}

/// What a drive left behind.
struct Outcome {
    driven: Driven,
    requests: Vec<RequestRow>,
    chunks: Vec<ChunkRow>,
    probes: Vec<ProbeRow>,
    most_in_flight: usize,
}

/// Drives `schedule` in virtual time; `stops` are the user's wishes and when they come.
async fn drive(
    limits: Limits,
    duration_ns: Option<i64>,
    schedule: Vec<PreparedRequest>,
    server: impl Into<Server>,
    stops: Vec<(i64, Stop)>,
) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    let tape = TapeWriter::create(&path, Manifest::new("test", Loop::Open), false).unwrap();
    let (decoder, recorder) = {
        let backend = protocol("openai").unwrap();
        DecoderThread::new(tape, backend, false, None, RunEvents::default())
    };
    recorder.set_virtual();
    let decoder = std::thread::spawn(move || decoder.work());

    let clock = Clock::start();
    let in_flight = Arc::new(Mutex::new((0, 0)));
    let wire = FakeWire {
        clock,
        server: Arc::new(server.into()),
        in_flight: Arc::clone(&in_flight),
    };
    let (stopper, stop) = watch::channel(Stop::No);
    let health = Arc::clone(&recorder);
    let mut driver = Driver::new(
        wire.into(),
        (clock, PreciseTimer::tokio()),
        recorder,
        limits,
        stop,
    );
    let health = watch_health(
        clock,
        PreciseTimer::tokio(),
        health,
        driver.queued(),
        Vec::new(),
    );
    let (sender, source) = mpsc::channel(schedule.len().max(1));
    for planned in schedule {
        sender.try_send(planned).unwrap();
    }
    drop(sender);
    let wishes = async {
        for (at_ns, wish) in stops {
            tokio::time::sleep_until(clock.instant(at_ns)).await;
            stopper.send_replace(wish);
        }
        std::future::pending::<()>().await;
    };
    let mut supply = Supply::from(source);
    let driven = tokio::select! {
        driven = driver.drive(&mut supply, 0, duration_ns) => driven,
        () = wishes => unreachable!("wishes never end"),
        () = health => unreachable!("health is watched until the end"),
    };
    drop(driver);
    decoder
        .join()
        .unwrap()
        .unwrap()
        .finish(Ending::default())
        .unwrap();
    let most_in_flight = in_flight.lock().unwrap().1;
    Outcome {
        driven,
        requests: read_rows(&path),
        chunks: read_rows(&path),
        probes: read_rows(&path),
        most_in_flight,
    }
}

fn read_rows<R: TapeRow>(tape: &Path) -> Vec<R> {
    let part = |number| {
        tape.join(R::TABLE)
            .join(format!("part-{number:05}.parquet"))
    };
    (0..)
        .map_while(|number| std::fs::File::open(part(number)).ok())
        .flat_map(|file| {
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
                .unwrap()
                .build()
                .unwrap()
        })
        .flat_map(|batch| R::rows(&batch.unwrap()).unwrap())
        .collect()
}

fn assert_near(measured_ns: i64, expected_ns: i64) {
    // The runtime's own timer, which virtual time needs, counts milliseconds.
    let off_ns = measured_ns - expected_ns;
    assert!(
        (0..=MS).contains(&off_ns),
        "{measured_ns} instead of {expected_ns}"
    );
}

#[tokio::test(start_paused = true)]
async fn open_loop_sends_at_due_times_whatever_the_server_does() {
    let due = [0, 50 * MS, 50 * MS, 60 * MS, 5_000 * MS];
    let schedule = (0..)
        .zip(due)
        .map(|(id, at_ns)| planned(id, Some(at_ns)))
        .collect();
    let outcome = drive(limits(), None, schedule, answer(), Vec::new()).await;
    assert!(outcome.driven.is_complete);
    assert_eq!(outcome.most_in_flight, 4);
    for (row, due_ns) in outcome.requests.iter().zip(due) {
        assert_eq!(row.intended_ns, due_ns);
        assert_near(row.sent_ns.unwrap(), due_ns);
        assert_eq!(row.queued_ns, 0);
        assert_eq!(row.status, Status::Ok);
        assert_eq!(row.chunk_count, 10);
        assert_near(row.first_token_ns.unwrap() - row.sent_ns.unwrap(), 100 * MS);
        assert_eq!(row.finish_reason.as_ref().unwrap().as_str(), "length");
    }
    let gaps: Vec<i64> = outcome
        .chunks
        .iter()
        .filter_map(|chunk| chunk.gap_ns)
        .collect();
    assert_eq!(gaps.len(), 5 * 9);
    let channels = |channel| {
        outcome
            .chunks
            .iter()
            .filter(|row| row.channel == channel)
            .count()
    };
    assert_eq!(
        (channels(Channel::Content), channels(Channel::Finish)),
        (50, 5)
    );
    assert_eq!(channels(Channel::Done), 5);
}

#[tokio::test(start_paused = true)]
async fn a_cap_queues_arrivals_and_records_the_wait() {
    let limits = Limits {
        max_concurrency: Some(2),
        ..limits()
    };
    let schedule = (0..6).map(|id| planned(id, Some(0))).collect();
    let outcome = drive(limits, None, schedule, answer(), Vec::new()).await;
    assert_eq!(outcome.most_in_flight, 2);
    for (row, waves) in outcome.requests.iter().zip([0, 0, 1, 1, 2, 2]) {
        assert_eq!(row.intended_ns, 0, "a late arrival is not moved");
        assert!(
            (row.queued_ns - waves * 195 * MS).abs() <= 3 * MS,
            "{}",
            row.queued_ns
        );
        let slip_ns = row.sent_ns.unwrap() - row.intended_ns - row.queued_ns;
        assert!(
            (0..=MS).contains(&slip_ns),
            "the cap's wait is not the client's: {slip_ns}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn closed_loop_is_due_when_a_slot_becomes_free() {
    let limits = Limits {
        max_concurrency: Some(3),
        ..limits()
    };
    let schedule = (0..9).map(|id| planned(id, None)).collect();
    let outcome = drive(limits, None, schedule, answer(), Vec::new()).await;
    assert_eq!(outcome.most_in_flight, 3);
    let ends: Vec<i64> = outcome
        .requests
        .iter()
        .map(|row| row.end_ns.unwrap())
        .collect();
    for row in &outcome.requests {
        assert_eq!(row.queued_ns, 0);
        let is_freed = row.intended_ns == 0 || ends.contains(&row.intended_ns);
        assert!(is_freed, "due at {}, when nothing ended", row.intended_ns);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_server_delays_no_arrival() {
    // No token ever comes; a client that waited for answers would send nothing more.
    let schedule = (0..20)
        .map(|id| planned(id, Some(i64::try_from(id).unwrap() * 100 * MS)))
        .collect();
    let limits = Limits {
        request_timeout_ns: 10_000 * MS,
        ..limits()
    };
    let silent = vec![(3_600_000 * MS, TOKEN)];
    let outcome = drive(limits, None, schedule, silent, Vec::new()).await;
    assert_eq!(outcome.most_in_flight, 20);
    for row in &outcome.requests {
        assert_near(row.sent_ns.unwrap(), row.intended_ns);
        assert_eq!(row.status, Status::Timeout);
        assert_eq!(row.error_kind.as_ref().unwrap().as_str(), "timeout_total");
    }
}

/// The server of the proof below: first token, last token, and a stall of two seconds.
const FIRST_NS: i64 = 60 * MS;
const LAST_NS: i64 = 100 * MS;
const STALL: Stall = Stall {
    from_ns: 5_005 * MS,
    length_ns: 2_000 * MS,
};

/// A thousand requests, one each 10 ms, through at most 16 slots.
const ARRIVALS: usize = 1_000;
const ARRIVAL_GAP_NS: i64 = 10 * MS;
const SLOTS: usize = 16;

/// When each request arrives, and when its first and its last token come, by a recursion that
/// knows nothing of the driver.
///
/// Slots are taken in the order of arrival and all work is alike, so requests end in the order in
/// which they began, and the slot of request k is the one that request k - 16 leaves.
fn queue_by_recursion() -> Vec<[i64; 3]> {
    let mut requests: Vec<[i64; 3]> = Vec::new();
    for index in 0..ARRIVALS {
        let arrival_ns = i64::try_from(index).unwrap() * ARRIVAL_GAP_NS;
        let free_ns = index.checked_sub(SLOTS).map_or(0, |left| requests[left][2]);
        let start_ns = arrival_ns.max(free_ns);
        requests.push([
            arrival_ns,
            STALL.done_ns(start_ns, FIRST_NS),
            STALL.done_ns(start_ns, LAST_NS),
        ]);
    }
    requests
}

/// Returns p50, p99 and the maximum in nanoseconds, with linear interpolation between ranks.
#[expect(
    clippy::cast_precision_loss,
    reason = "seconds, to the nanosecond, fit"
)]
fn percentiles(latencies_ns: impl Iterator<Item = i64>) -> [f64; 3] {
    let mut sorted: Vec<i64> = latencies_ns.collect();
    sorted.sort_unstable();
    // Ranks in percent of the distance from the first to the last value, which are whole numbers.
    [50, 99, 100].map(|percent| {
        let rank = (sorted.len() - 1) * percent;
        let (below, above) = (rank / 100, rank.div_ceil(100));
        let share = (rank % 100) as f64 / 100.0;
        let (below, above) = (sorted[below] as f64, sorted[above] as f64);
        below + (above - below) * share
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds, to the nanosecond, fit"
)]
fn assert_within_a_microsecond(what: &str, measured: [f64; 3], expected_ms: [f64; 3]) {
    for (measured_ns, expected_ms) in measured.into_iter().zip(expected_ms) {
        let off_ns = (measured_ns - expected_ms * MS as f64).abs();
        assert!(
            off_ns < 1_000.0,
            "{what}: {measured_ns} ns instead of {expected_ms} ms"
        );
    }
}

/// No omission is coordinated with the server: requests that were due while it stalled count with
/// their whole wait.
///
/// In closed form, in ms. Ten requests are in flight when the server stalls at 5005, those due at
/// 4910 to 5000; six more take the last slots, those due at 5010 to 5060; the others queue. After
/// the stall the ten end at 7010 to 7100, 2100 after they were due, and the six at 7105, that is
/// 2095, 2085, … 2045 after. Each slot is then taken at once by the request that came 16 later, and
/// so 160 ms later, and is left again 100 ms later: from one round of 16 to the next the latency
/// falls by 60. Numbered from the slowest on, request i has in round r = i div 16, at place
/// j = i mod 16,
///
/// ```text
/// E2EL = 2100 - 60 r - (0 where j < 10, else 5 + 10 (j - 10))
/// ```
///
/// to the end of the schedule at i = 508; the 491 requests before them take 100. The median lies
/// between i = 499 and 500, both in round 31 and of the ten: 2100 - 1860 = 240. p99 lies a
/// hundredth of the way from i = 10 to i = 9: 2095.05.
///
/// The first token comes 40 before the last, but for the four oldest of the ten in flight, which
/// had theirs before the stall: the same row without its first four. Its median is at i + 4 = 503
/// and 504, still round 31: 2060 - 1860 = 200; p99 is between i + 4 = 14 and 13: 2015.1.
///
/// From the send, where the wait for a slot is left out, 984 requests look as if nothing had
/// happened, and the median is 100: this is what a client reports that waits with its requests.
#[tokio::test(start_paused = true)]
async fn a_stall_is_counted_from_when_requests_were_due_and_not_from_when_they_could_be_sent() {
    let limits = Limits {
        max_concurrency: Some(SLOTS),
        ..limits()
    };
    let server = Server {
        script: vec![(FIRST_NS, TOKEN), (LAST_NS, TOKEN), (LAST_NS, FINISH)],
        stall: Some(STALL),
        send_cost_ns: 0,
        refusals: None,
    };
    let schedule = (0..ARRIVALS)
        .map(|index| {
            let arrival_ns = i64::try_from(index).unwrap() * ARRIVAL_GAP_NS;
            planned(u64::try_from(index).unwrap(), Some(arrival_ns))
        })
        .collect();
    let outcome = drive(limits, None, schedule, server, Vec::new()).await;
    assert_eq!(outcome.most_in_flight, SLOTS);
    assert_eq!(outcome.requests.len(), ARRIVALS);
    let expected = queue_by_recursion();
    for (row, expected) in outcome.requests.iter().zip(&expected) {
        let (first_ns, last_ns) = (row.first_token_ns.unwrap(), row.last_token_ns.unwrap());
        for (is_ns, expected_ns) in [row.intended_ns, first_ns, last_ns].iter().zip(expected) {
            assert!((is_ns - expected_ns).abs() < 1_000, "{row:?}: {expected:?}");
        }
        assert_eq!(row.sent_ns.unwrap() - row.intended_ns, row.queued_ns);
    }

    let rows = || outcome.requests.iter();
    let ttft = percentiles(rows().map(|row| row.first_token_ns.unwrap() - row.intended_ns));
    let e2el = percentiles(rows().map(|row| row.last_token_ns.unwrap() - row.intended_ns));
    assert_within_a_microsecond("TTFT", ttft, [200.0, 2_015.1, 2_060.0]);
    assert_within_a_microsecond("E2EL", e2el, [240.0, 2_095.05, 2_100.0]);
    let by_recursion = |token: usize| percentiles(expected.iter().map(|it| it[token] - it[0]));
    assert_within_a_microsecond(
        "TTFT, recursion",
        by_recursion(1),
        [200.0, 2_015.1, 2_060.0],
    );
    assert_within_a_microsecond(
        "E2EL, recursion",
        by_recursion(2),
        [240.0, 2_095.05, 2_100.0],
    );
    let sent = percentiles(rows().map(|row| row.last_token_ns.unwrap() - row.sent_ns.unwrap()));
    assert_within_a_microsecond("E2EL from the send", sent, [100.0, 2_095.05, 2_100.0]);
}

#[tokio::test(start_paused = true)]
async fn a_held_up_client_shows_in_its_probes_and_a_stalled_server_does_not() {
    let lag_ns = async |server: Server| {
        let schedule = (0..20)
            .map(|id| planned(id, Some(i64::try_from(id).unwrap() * 50 * MS)))
            .collect();
        let outcome = drive(limits(), None, schedule, server, Vec::new()).await;
        assert!(outcome.probes.len() > 4, "{}", outcome.probes.len());
        outcome
            .probes
            .iter()
            .map(|probe| probe.runtime_lag_max_ns)
            .max()
            .unwrap()
    };
    let stalled = Server {
        stall: Some(Stall {
            from_ns: 300 * MS,
            length_ns: 400 * MS,
        }),
        ..answer().into()
    };
    // The runtime's own timer, which virtual time needs, counts milliseconds.
    assert!(lag_ns(stalled).await <= MS);
    let held_up = Server {
        send_cost_ns: 40 * MS,
        ..answer().into()
    };
    let lag_ns = lag_ns(held_up).await;
    // Longer than a tick of 10 ms, which the hold-up may have begun just before.
    assert!((30 * MS..=41 * MS).contains(&lag_ns), "{lag_ns}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_is_sent_before_its_duration_is_drained_after_it_all_the_same() {
    let limits = Limits {
        drain_ns: 1_000 * MS,
        ..limits()
    };
    let slow = vec![(100 * MS, TOKEN), (3_600_000 * MS, FINISH)];
    let outcome = drive(
        limits,
        Some(500 * MS),
        vec![planned(0, Some(0))],
        slow,
        Vec::new(),
    )
    .await;
    assert!(outcome.driven.is_complete);
    let row = &outcome.requests[0];
    assert_eq!(row.status, Status::Cancelled);
    assert!((1_500..1_510).contains(&(row.end_ns.unwrap() / MS)));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_run_drains_then_gives_up() {
    let slow = vec![(100 * MS, TOKEN), (3_600_000 * MS, FINISH)];
    let schedule = |count| {
        (0..count)
            .map(|id| planned(id, Some(0)))
            .collect::<Vec<_>>()
    };
    let limits = Limits {
        drain_ns: 1_000 * MS,
        ..limits()
    };
    let stops = vec![(300 * MS, Stop::Drain)];
    let outcome = drive(limits.clone(), None, schedule(4), slow.clone(), stops).await;
    assert!(!outcome.driven.is_complete);
    for row in &outcome.requests {
        assert_eq!(row.status, Status::Cancelled);
        assert_eq!(row.chunk_count, 1, "what had arrived is kept");
        assert!(
            (1_300..1_310).contains(&(row.end_ns.unwrap() / MS)),
            "{:?}",
            row.end_ns
        );
    }
    let stops = vec![(300 * MS, Stop::Drain), (400 * MS, Stop::Leave)];
    let outcome = drive(limits, None, schedule(4), slow, stops).await;
    assert!(
        outcome
            .requests
            .iter()
            .all(|row| row.end_ns.unwrap() < 410 * MS)
    );
}

#[tokio::test(start_paused = true)]
async fn bursts_are_released_together() {
    let schedule = (0..1_000).map(|id| planned(id, Some(10 * MS))).collect();
    let outcome = drive(limits(), None, schedule, answer(), Vec::new()).await;
    let sent: Vec<i64> = outcome
        .requests
        .iter()
        .map(|row| row.sent_ns.unwrap())
        .collect();
    let spread_ns = sent.iter().max().unwrap() - sent.iter().min().unwrap();
    assert_eq!(
        spread_ns, 0,
        "virtual time does not pass while requests are sent"
    );
    assert_eq!(outcome.requests.len(), 1_000);
}

#[tokio::test]
async fn a_dead_decoder_thread_stops_the_driver() {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let (events, backlog) = (RunEvents::default(), Arc::default());
    let recorder = Arc::new(Recorder::new(sender, events, backlog, Framing::Sse));
    let clock = Clock::start();
    let wire = FakeWire {
        clock,
        server: Arc::new(answer().into()),
        in_flight: Arc::default(),
    };
    let (_stopper, stop) = watch::channel(Stop::No);
    let mut driver = Driver::new(
        wire.into(),
        (clock, PreciseTimer::tokio()),
        recorder,
        limits(),
        stop,
    );
    let (feed, source) = mpsc::channel(1);
    let driven = driver.drive(&mut Supply::from(source), 0, None).await;
    assert!(!driven.is_complete);
    drop(feed);
}
