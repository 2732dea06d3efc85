//! The self-check: what this client adds to a latency, measured here and now, before a run.
//!
//! A thread of ours plays the server: on loopback it streams events that say when each was sent,
//! at the rate of the run. They are read by the very thread and wire that the run is read with.
//! What lies between an event's send and its stamp is the client's own doing, and the kernel's.
//! It is over in a few hundredths of a second, so it finds a machine that is slow or busy, and not
//! what a long run would; `tokentape verify` takes its time.

use std::io::{self, Read as _, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::capture::manifest::{SelfCheck, Spread};
use crate::secrets::Secrets;
use crate::time::clock::Clock;
use crate::wire::{
    Arrival, Flow, Head, SendTimings, Sink, Target, Trust, Wire, WireBody, WireError,
};

/// Streams at most: to open more takes longer than the check.
const MAX_STREAMS: usize = 64;

/// Events a second at least: fewer would say nothing about a p99 in so short a time.
const MIN_EVENTS_PER_S: f64 = 10_000.0;

/// Events a second at most: more is no server's rate, and would fill buffers.
const MAX_EVENTS_PER_S: f64 = 200_000.0;

/// Longest check, in nanoseconds.
const MAX_DURATION_NS: i64 = 60_000_000_000;

/// Time beyond its duration after which a check is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the playing server waits before it looks again.
const GLANCE: Duration = Duration::from_micros(50);

/// What to check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfCheckPlan {
    /// How long events are sent for, in nanoseconds.
    pub duration_ns: i64,
    /// Streams at once in the run to come.
    pub streams: usize,
    /// Events a second in the run to come.
    pub events_per_s: f64,
}

/// What the playing server does.
#[derive(Debug, Clone, Copy)]
struct Play {
    streams: usize,
    events: usize,
    interval_ns: i64,
    give_up_ns: i64,
}

/// Measures what reading adds. `None` where this machine does not let it be measured: the run
/// goes on without.
pub(super) async fn self_check<W: Wire>(
    plan: SelfCheckPlan,
    clock: Clock,
    wire_to: impl Fn(&Target) -> Result<W, WireError>,
) -> Option<SelfCheck> {
    let play = plan.play(clock);
    let (server, target) = start(play, clock).ok()?;
    let wire = wire_to(&target).ok()?;
    let mut readers = JoinSet::new();
    for _ in 0..play.streams {
        readers.spawn(read_stream(wire.clone()));
    }
    let patience = Duration::from_nanos(plan.duration_ns.unsigned_abs()) + PATIENCE;
    let streams = timeout(patience, readers.join_all()).await.ok()?;
    // It has written all, or has given up by itself.
    server.join().ok()?.ok()?;
    let (mut lags_ns, mut errors_ns) = (Vec::new(), Vec::new());
    for stream in &streams {
        lags_ns.extend(stream.iter().map(|event| event.arrived_ns - event.sent_ns));
        errors_ns.extend(stream.windows(2).map(|pair| {
            let arrived_ns = pair[1].arrived_ns - pair[0].arrived_ns;
            (arrived_ns - (pair[1].sent_ns - pair[0].sent_ns)).abs()
        }));
    }
    (lags_ns.len() == play.events).then(|| SelfCheck {
        streams: play.streams,
        events_per_s: 1e9 / precise(play.interval_ns),
        events: play.events,
        read_lag_ns: spread(lags_ns),
        inter_token_error_ns: spread(errors_ns),
    })
}

impl SelfCheckPlan {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an interval of 5 to 100 microseconds"
    )]
    fn play(self, clock: Clock) -> Play {
        let rate = self.events_per_s.clamp(MIN_EVENTS_PER_S, MAX_EVENTS_PER_S);
        let interval_ns = (1e9 / rate) as i64;
        let duration_ns = self.duration_ns.clamp(0, MAX_DURATION_NS);
        let patience_ns = i64::try_from(PATIENCE.as_nanos()).unwrap_or(i64::MAX);
        Play {
            streams: self.streams.clamp(1, MAX_STREAMS),
            events: usize::try_from(duration_ns / interval_ns)
                .unwrap_or(0)
                .max(1),
            interval_ns,
            give_up_ns: clock.now_ns() + duration_ns + patience_ns,
        }
    }
}

/// One event: when it was sent by its own word, and when the read that brought it had returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamped {
    sent_ns: i64,
    arrived_ns: i64,
}

/// Keeps what was read, with its stamps.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<(i64, Vec<u8>)>>);

impl Sink for Kept {
    fn take(&self, arrival: &Arrival<'_>) -> Flow {
        let mut reads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reads.push((arrival.at_ns, arrival.bytes.to_vec()));
        Flow::More
    }
}

async fn read_stream<W: Wire>(wire: W) -> Vec<Stamped> {
    let mut events = Vec::new();
    let marks = Arc::new(SendTimings::default());
    let kept = Arc::new(Kept::default());
    if let Ok(Head { mut body, .. }) = wire.post(Bytes::from_static(b"{}"), &marks).await {
        // A stream that breaks is one with too few events.
        let _ = body.stream_to(Arc::clone(&kept) as _).await;
    }
    let reads = std::mem::take(&mut *kept.0.lock().unwrap_or_else(PoisonError::into_inner));
    let mut line = Vec::new();
    for (arrived_ns, bytes) in reads {
        for byte in bytes {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            events.extend(sent_ns(&line).map(|sent_ns| Stamped {
                sent_ns,
                arrived_ns,
            }));
            line.clear();
        }
    }
    events
}

fn sent_ns(line: &[u8]) -> Option<i64> {
    str::from_utf8(line.strip_prefix(b"data: ")?)
        .ok()?
        .parse()
        .ok()
}

/// Starts the playing server. Returns it with its address.
fn start(play: Play, clock: Clock) -> io::Result<(JoinHandle<io::Result<()>>, Target)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let url = format!("http://{address}/")
        .parse()
        .map_err(io::Error::other)?;
    let server = thread::Builder::new()
        .name("self-check".to_owned())
        .spawn(move || serve(&listener, play, clock))?;
    let target = Target {
        url,
        headers: Vec::new(),
        secrets: Secrets::default(),
        trust: Trust::System,
        kept_headers: Vec::new(),
        connect_timeout: PATIENCE,
        keeps_alive: true,
        http2: false,
    };
    Ok((server, target))
}

fn serve(listener: &TcpListener, play: Play, clock: Clock) -> io::Result<()> {
    let mut streams = Vec::with_capacity(play.streams);
    while streams.len() < play.streams {
        let (mut stream, _) = accept(listener, play, clock)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        read_request(&mut stream)?;
        stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
              transfer-encoding: chunked\r\n\r\n",
        )?;
        streams.push(stream);
    }
    let mut due_ns = clock.now_ns();
    for event in 0..play.events {
        due_ns += play.interval_ns;
        wait_until(due_ns, clock);
        let data = format!("data: {}\n\n", clock.now_ns());
        let stream = event % streams.len();
        streams[stream].write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes())?;
    }
    for stream in &mut streams {
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(())
}

fn accept(
    listener: &TcpListener,
    play: Play,
    clock: Clock,
) -> io::Result<(TcpStream, std::net::SocketAddr)> {
    loop {
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if clock.now_ns() >= play.give_up_ns {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                thread::sleep(GLANCE);
            }
            accepted => return accepted,
        }
    }
}

/// Reads a request whose body is `{}`.
fn read_request(stream: &mut TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 1_024];
    while !request.ends_with(b"\r\n\r\n{}") {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&buffer[..count]);
    }
    Ok(())
}

fn wait_until(due_ns: i64, clock: Clock) {
    let left_ns = due_ns - clock.now_ns();
    if let Ok(left_ns @ 1..) = u64::try_from(left_ns) {
        thread::sleep(Duration::from_nanos(left_ns));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of a check that is over in a minute"
)]
fn precise(value: i64) -> f64 {
    value as f64
}

/// Exact percentiles with linear interpolation.
fn spread(mut values_ns: Vec<i64>) -> Spread {
    values_ns.sort_unstable();
    let at = |share: f64| quantile(&values_ns, share);
    Spread {
        n: values_ns.len(),
        p50: at(0.5),
        p99: at(0.99),
        max: values_ns.last().copied().unwrap_or(0),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "positions in a list that fits in memory, and nanoseconds"
)]
fn quantile(ascending: &[i64], share: f64) -> i64 {
    let Some(last) = ascending.len().checked_sub(1) else {
        return 0;
    };
    let position = share * last as f64;
    let below = ascending[position as usize];
    let above = ascending[(position as usize + 1).min(last)];
    below + (precise(above - below) * position.fract()).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{DirectWire, Readers, ReqwestWire};

    fn plan(streams: usize) -> SelfCheckPlan {
        SelfCheckPlan {
            duration_ns: 20_000_000,
            streams,
            events_per_s: 50.0,
        }
    }

    #[tokio::test]
    async fn every_event_is_measured_over_either_wire() {
        let clock = Clock::start();
        let readers = Readers::start(clock, 2).unwrap();
        let direct = |target: &Target| DirectWire::new(target, clock, &readers);
        let check = self_check(plan(3), clock, direct).await.unwrap();
        assert_eq!((check.streams, check.events), (3, 200));
        assert!((check.events_per_s - 10_000.0).abs() < 1.0);
        assert_eq!(
            (check.read_lag_ns.n, check.inter_token_error_ns.n),
            (200, 197)
        );
        let lag = check.read_lag_ns;
        assert!(0 < lag.p50 && lag.p50 <= lag.p99 && lag.p99 <= lag.max);

        let reqwest = |target: &Target| ReqwestWire::new(target.clone(), clock);
        let check = self_check(plan(1_000), clock, reqwest).await.unwrap();
        assert_eq!((check.streams, check.read_lag_ns.n), (64, 200));
    }

    #[tokio::test]
    async fn a_wire_that_cannot_be_made_costs_the_check_alone() {
        let clock = Clock::start();
        let none = |_: &Target| -> Result<DirectWire, WireError> {
            Err(WireError {
                kind: crate::capture::schema::ErrorKind::Connect,
                message: String::new(),
            })
        };
        assert_eq!(self_check(plan(1), clock, none).await, None);
    }

    #[test]
    fn percentiles_are_interpolated() {
        let expected = Spread {
            n: 5,
            p50: 30,
            p99: 50,
            max: 50,
        };
        assert_eq!(spread(vec![50, 10, 30, 20, 40]), expected);
        assert_eq!(spread(vec![10, 20]).p50, 15);
        assert_eq!(spread(Vec::new()).max, 0);
    }
}
