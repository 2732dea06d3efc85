//! The floor that the client is compared with: the least that can read and stamp these streams.
//!
//! One thread opens the connections, sends one request on each, all at once or at a steady rate,
//! and does nothing beside but wait, read, stamp and look for the ends of events. A read goes straight into one log of all bytes,
//! and stays there: no buffer is copied, no HTTP and no JSON is decoded before the last stream has
//! ended and the costs are taken. Only then are the server's own times (`simulate --stamp`) read
//! from the log, and compared with when they arrived.
//!
//! `cargo bench --bench epoll_floor -- --addr 127.0.0.1:8000 --streams 1000 --tokens 200` prints
//! one line of JSON. `cost.rs` runs it beside the client.

pub(crate) mod stamped;

use std::collections::VecDeque;
use std::fs;
use std::hint::black_box;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde_json::json;

use stamped::{Answer, Errors};

/// The end of a chunked body: an empty chunk after the last one.
const LAST_CHUNK: &[u8; 7] = b"\r\n0\r\n\r\n";

/// No read is offered less room than this, in bytes.
const READ_ROOM: usize = 64 << 10;

/// What an event of the simulated server takes on the wire, at most, in bytes; for the size of
/// the log alone.
const EVENT_BYTES: usize = 400;

const NS_PER_S: i64 = 1_000_000_000;

/// Without any byte for this long, the streams still open count as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A result of this program; what went wrong is told as it is.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What to read, and how much of it.
#[derive(Debug)]
struct Arguments {
    address: SocketAddr,
    streams: usize,
    tokens: usize,
    prompt_words: usize,
    /// Time between two requests; 0 sends all at once.
    interval_ns: i64,
}

/// Runs the floor with the arguments of this process.
pub(crate) fn main() -> ExitCode {
    match parse_arguments(std::env::args().skip(1)).map(|arguments| arguments.map(|a| run(&a))) {
        Ok(None) => say(
            "the floor reads a server: give it one with `--addr 127.0.0.1:PORT`, \
             or run `cargo bench --bench cost`, which starts its own",
        ),
        Ok(Some(Ok(report))) => say(&report),
        Ok(Some(Err(error))) | Err(error) => {
            say(&format!("failed: {error}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "the program's result")]
fn say(text: &str) {
    println!("{text}");
}

fn parse_arguments(arguments: impl Iterator<Item = String>) -> Outcome<Option<Arguments>> {
    let (mut address, mut streams, mut tokens, mut prompt_words) = (None, 1_000, 200, 32);
    let mut interval_ns = 0;
    let mut arguments: VecDeque<String> = arguments.collect();
    while let Some(flag) = arguments.pop_front() {
        let mut value = || {
            arguments
                .pop_front()
                .ok_or(format!("`{flag}` needs a value"))
        };
        match flag.as_str() {
            "--addr" => address = Some(value()?.parse()?),
            "--streams" => streams = value()?.parse()?,
            "--tokens" => tokens = value()?.parse()?,
            "--prompt-words" => prompt_words = value()?.parse()?,
            "--starts-per-s" => {
                let rate: u32 = value()?.parse()?;
                interval_ns = NS_PER_S.checked_div(i64::from(rate)).unwrap_or(0);
            }
            // Given by cargo, and by the program that runs this one as a part of itself.
            "--bench" | "floor" => {}
            _ => return Err(format!("`{flag}` is unknown").into()),
        }
    }
    Ok(address.map(|address| Arguments {
        address,
        streams,
        tokens,
        prompt_words,
        interval_ns,
    }))
}

/// Reads all streams to their ends, takes the costs, and only then looks at what was read.
fn run(arguments: &Arguments) -> Outcome<String> {
    let cpu_at_start_ns = now_ns(ClockId::ProcessCPUTime);
    let started_ns = now_ns(ClockId::Realtime);
    let mut reader = Reader::open(arguments)?;
    let sent_ns = reader.read_all(&request(arguments), arguments.interval_ns)?;
    let wall_ns = now_ns(ClockId::Realtime) - started_ns;
    let cpu_ns = now_ns(ClockId::ProcessCPUTime) - cpu_at_start_ns;
    let (user_s, system_s) = cpu_split_s()?;
    let peak_rss_bytes = peak_rss_bytes("self")?;

    let log = &reader.log;
    let mut errors = Errors::default();
    let mut failed = reader.open_streams;
    for (stream, reads) in reader.reads_by_stream().iter().enumerate() {
        match Answer::decode(reads) {
            Ok(answer) => errors.add(&answer.stamps, Some(sent_ns[stream])),
            Err(_) => failed += 1,
        }
    }
    Ok(json!({
        "streams": arguments.streams,
        "tokens_each": arguments.tokens,
        "failed": failed,
        "events": errors.event_count(),
        "reads": log.reads.len(),
        "bytes": log.bytes.len(),
        "wall_s": seconds(wall_ns),
        "cpu_s": seconds(cpu_ns),
        "cpu_user_s": user_s,
        "cpu_system_s": system_s,
        "peak_rss_bytes": peak_rss_bytes,
        "gap_error_ns": errors.gap().to_json(),
        "read_lag_ns": errors.lag().to_json(),
        "ttft_error_ns": errors.ttft().to_json(),
    })
    .to_string())
}

/// Writes the request that every stream sends: what the client sends, word for word the same size.
fn request(arguments: &Arguments) -> Vec<u8> {
    let body = json!({
        "model": "simulated",
        "prompt": vec!["word"; arguments.prompt_words].join(" "),
        "max_tokens": arguments.tokens,
        "ignore_eos": true,
        "stream": true,
        "stream_options": {"include_usage": true},
    })
    .to_string();
    format!(
        "POST /v1/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         accept: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        arguments.address,
        body.len()
    )
    .into_bytes()
}

/// The streams and all that was read from them.
struct Reader {
    epoll: rustix::fd::OwnedFd,
    streams: Vec<Stream>,
    open_streams: usize,
    log: Log,
}

struct Stream {
    socket: TcpStream,
    /// The last bytes read, to see the end of the body in.
    tail: [u8; LAST_CHUNK.len()],
}

/// Everything that was read, in the order of the reads.
struct Log {
    bytes: Vec<u8>,
    reads: Vec<Read>,
    /// Blank lines that were seen: the ends of events.
    boundaries: usize,
}

/// When requests are due, on the monotonic clock.
struct Due {
    start_ns: i64,
    interval_ns: i64,
}

impl Due {
    fn of(&self, index: usize) -> i64 {
        self.start_ns + self.interval_ns * i64::try_from(index).unwrap_or(0)
    }

    fn wait_for(&self, index: usize) -> Timespec {
        let left_ns = (self.of(index) - now_ns(ClockId::Monotonic)).max(0);
        Timespec {
            tv_sec: left_ns / NS_PER_S,
            tv_nsec: left_ns % NS_PER_S,
        }
    }
}

#[derive(Clone, Copy)]
struct Read {
    stream: usize,
    bytes: usize,
    /// When the read had returned, in UTC nanoseconds.
    at_ns: i64,
}

impl Reader {
    /// Connects every stream, before any request is sent.
    fn open(arguments: &Arguments) -> Outcome<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut streams = Vec::with_capacity(arguments.streams);
        for index in 0..arguments.streams {
            let socket = TcpStream::connect(arguments.address)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let tag = epoll::EventData::new_u64(u64::try_from(index)?);
            epoll::add(&epoll, &socket, tag, epoll::EventFlags::IN)?;
            streams.push(Stream {
                socket,
                tail: [0; LAST_CHUNK.len()],
            });
        }
        // Enough for all of it: memory that is never touched costs nothing, growing would.
        let events = arguments.streams * (arguments.tokens + 4);
        Ok(Self {
            epoll,
            open_streams: streams.len(),
            streams,
            log: Log {
                bytes: Vec::with_capacity(events * EVENT_BYTES + READ_ROOM),
                reads: Vec::with_capacity(2 * events),
                boundaries: 0,
            },
        })
    }

    /// Sends `request` on the next streams, those that are due by now; notes when in `sent_ns`.
    fn send_due(&mut self, request: &[u8], due: &Due, sent_ns: &mut Vec<i64>) -> io::Result<()> {
        while let Some(stream) = self.streams.get_mut(sent_ns.len())
            && due.of(sent_ns.len()) <= now_ns(ClockId::Monotonic)
        {
            sent_ns.push(now_ns(ClockId::Realtime));
            stream.socket.write_all(request)?;
        }
        Ok(())
    }

    /// The loop whose cost is the floor. Returns when the request of each stream was sent.
    fn read_all(&mut self, request: &[u8], interval_ns: i64) -> Outcome<Vec<i64>> {
        let patience = Timespec::try_from(PATIENCE)?;
        let mut ready = Vec::with_capacity(1_024);
        let mut sent_ns = Vec::with_capacity(self.streams.len());
        let due = Due {
            start_ns: now_ns(ClockId::Monotonic),
            interval_ns,
        };
        while self.open_streams > 0 {
            self.send_due(request, &due, &mut sent_ns)?;
            let has_sent_all = sent_ns.len() == self.streams.len();
            let timeout = if has_sent_all {
                patience
            } else {
                due.wait_for(sent_ns.len())
            };
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&timeout)) {
                Ok(0) if has_sent_all => return Ok(sent_ns),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in ready.drain(..) {
                let stream = usize::try_from(event.data.u64())?;
                if self.read(stream)? {
                    epoll::delete(&self.epoll, &self.streams[stream].socket)?;
                    self.open_streams -= 1;
                }
            }
        }
        black_box(self.log.boundaries);
        Ok(sent_ns)
    }

    /// Reads what is there into the log; true at the end of the stream.
    fn read(&mut self, index: usize) -> io::Result<bool> {
        let stream = &mut self.streams[index];
        let log = &mut self.log;
        let start = log.bytes.len();
        log.bytes.reserve(READ_ROOM);
        let count = match rustix::io::read(&stream.socket, spare_capacity(&mut log.bytes)) {
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(false),
            // Decoding will tell that it is not whole.
            Err(_) => return Ok(true),
        };
        log.reads.push(Read {
            stream: index,
            bytes: count,
            at_ns: now_ns(ClockId::Realtime),
        });
        let bytes = &log.bytes[start..];
        log.boundaries += blank_lines(bytes);
        match bytes.last_chunk() {
            Some(last) => stream.tail = *last,
            None => {
                stream.tail.rotate_left(count);
                stream.tail[LAST_CHUNK.len() - count..].copy_from_slice(bytes);
            }
        }
        Ok(count == 0 || stream.tail == *LAST_CHUNK)
    }

    /// Returns the reads of each stream, in order, with what they brought.
    fn reads_by_stream(&self) -> Vec<Vec<(&[u8], i64)>> {
        let mut reads = vec![Vec::new(); self.streams.len()];
        let mut rest = self.log.bytes.as_slice();
        for read in &self.log.reads {
            let (bytes, after) = rest.split_at(read.bytes);
            reads[read.stream].push((bytes, read.at_ns));
            rest = after;
        }
        reads
    }
}

/// Counts the places where two line feeds meet, in a form that compiles to vector instructions.
fn blank_lines(bytes: &[u8]) -> usize {
    let following = bytes.get(1..).unwrap_or(&[]);
    bytes
        .iter()
        .zip(following)
        .map(|(&one, &next)| usize::from(one == b'\n' && next == b'\n'))
        .sum()
}

fn now_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * NS_PER_S + now.tv_nsec
}

/// Returns a duration in seconds, rounded to a microsecond.
fn seconds(ns: i64) -> f64 {
    Duration::from_micros(u64::try_from(ns / 1_000).unwrap_or(0)).as_secs_f64()
}

/// Returns the CPU time of this process in user and in kernel mode, in seconds.
fn cpu_split_s() -> Outcome<(f64, f64)> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    cpu_ticks(&stat).map(|(user, system)| (f64::from(user) / 100.0, f64::from(system) / 100.0))
}

/// Reads the user and kernel time out of `/proc/PID/stat`, in hundredths of a second.
pub(crate) fn cpu_ticks(stat: &str) -> Outcome<(u32, u32)> {
    // The name of the program comes second, in parentheses, and may hold anything.
    let (_, fields) = stat
        .rsplit_once(") ")
        .ok_or("no fields in /proc/PID/stat")?;
    let mut times = fields.split(' ').skip(11);
    let mut time = || times.next().ok_or("no CPU times in /proc/PID/stat");
    Ok((time()?.parse()?, time()?.parse()?))
}

/// Returns the most memory that a process has had resident, in bytes.
pub(crate) fn peak_rss_bytes(process: &str) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .ok_or("no VmHWM in /proc/PID/status")?;
    Ok(peak.trim().parse::<u64>()? * 1_024)
}
