//! Streams whose text says when it was sent, and how far from that the reader's stamps are.

use serde_json::{Value, json};

use super::Outcome;

/// One token-bearing event: when it was sent, by itself, and when it arrived, by its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamped {
    /// When the server had read the request; on the first event alone. UTC nanoseconds.
    pub(crate) received_ns: Option<i64>,
    /// When the server wrote the event, in UTC nanoseconds.
    pub(crate) sent_ns: i64,
    /// When the read that completed the event had returned, in nanoseconds on any axis.
    pub(crate) arrived_ns: i64,
}

impl Stamped {
    /// Reads the text of an event, ` RECEIVED:SENT` or ` SENT`; of several tokens, the last one.
    pub(crate) fn parse(text: &str, arrived_ns: i64) -> Option<Self> {
        let stamp = text.split_ascii_whitespace().next_back()?;
        let (received_ns, sent) = match stamp.split_once(':') {
            Some((received, sent)) => (Some(received.parse().ok()?), sent),
            None => (None, stamp),
        };
        Some(Self {
            received_ns,
            sent_ns: sent.parse().ok()?,
            arrived_ns,
        })
    }
}

/// What one stream brought.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The events that bear a token, in order.
    pub(crate) stamps: Vec<Stamped>,
}

impl Answer {
    /// Decodes the reads of one stream: the HTTP response, its chunks, the events, their stamps.
    pub(crate) fn decode(reads: &[(&[u8], i64)]) -> Outcome<Self> {
        let raw: Vec<u8> = reads
            .iter()
            .flat_map(|(bytes, _)| *bytes)
            .copied()
            .collect();
        let mut read_ends = Vec::with_capacity(reads.len());
        let mut end = 0;
        for (bytes, at_ns) in reads {
            end += bytes.len();
            read_ends.push((end, *at_ns));
        }
        let head_end = find(&raw, b"\r\n\r\n").ok_or("the response has no head")? + 4;
        let head = String::from_utf8_lossy(&raw[..head_end]).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(format!(
                "the server answered `{}`",
                head.lines().next().unwrap_or("")
            )
            .into());
        }
        if !head.contains("transfer-encoding: chunked") {
            return Err("the body is not chunked".into());
        }
        let body = Body::decode(&raw, head_end)?;
        let mut stamps = Vec::new();
        let mut start = 0;
        while let Some(length) = find(&body.bytes[start..], b"\n\n") {
            let event_end = start + length + 2;
            let last_byte = body.positions[event_end - 1];
            let read = read_ends.partition_point(|(end, _)| *end <= last_byte);
            if let Some(text) = text_of(&body.bytes[start..event_end]) {
                let (_, arrived_ns) = read_ends[read];
                stamps.extend(Stamped::parse(text, arrived_ns));
            }
            start = event_end;
        }
        if !body.bytes.ends_with(b"data: [DONE]\n\n") {
            return Err("the stream has no end mark".into());
        }
        Ok(Self { stamps })
    }
}

/// A body out of its chunks, with the position in the raw bytes that each byte came from.
struct Body {
    bytes: Vec<u8>,
    positions: Vec<usize>,
}

impl Body {
    fn decode(raw: &[u8], mut at: usize) -> Outcome<Self> {
        let mut body = Self {
            bytes: Vec::with_capacity(raw.len()),
            positions: Vec::with_capacity(raw.len()),
        };
        loop {
            let line = find(&raw[at..], b"\r\n").ok_or("a chunk has no size")?;
            let size = std::str::from_utf8(&raw[at..at + line])?;
            let size = size.split_once(';').map_or(size, |(size, _)| size);
            let size = usize::from_str_radix(size.trim(), 16)?;
            let start = at + line + 2;
            if size == 0 {
                return Ok(body);
            }
            let chunk = raw.get(start..start + size).ok_or("a chunk is cut short")?;
            body.bytes.extend_from_slice(chunk);
            body.positions.extend(start..start + size);
            at = start + size + 2;
        }
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}

/// Returns the text in an event of completions or chat; stamps need no escapes.
fn text_of(event: &[u8]) -> Option<&str> {
    let event = std::str::from_utf8(event).ok()?;
    let (_, text) = ["\"text\":\"", "\"content\":\""]
        .iter()
        .find_map(|field| event.split_once(field))?;
    text.split_once('"').map(|(text, _)| text)
}

/// How far the reader's stamps are from the server's, over many streams.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    events: usize,
    gaps_ns: Vec<i64>,
    lags_ns: Vec<i64>,
    ttfts_ns: Vec<i64>,
}

impl Errors {
    /// Takes one stream in order; `requested_ns` is when its request was sent, on the axis of the
    /// arrivals.
    pub(crate) fn add(&mut self, stamps: &[Stamped], requested_ns: Option<i64>) {
        self.events += stamps.len();
        self.lags_ns
            .extend(stamps.iter().map(|stamp| stamp.arrived_ns - stamp.sent_ns));
        self.gaps_ns.extend(stamps.windows(2).map(|pair| {
            let arrived_ns = pair[1].arrived_ns - pair[0].arrived_ns;
            let sent_ns = pair[1].sent_ns - pair[0].sent_ns;
            (arrived_ns - sent_ns).abs()
        }));
        if let (Some(first), Some(requested_ns)) = (stamps.first(), requested_ns)
            && let Some(received_ns) = first.received_ns
        {
            let seen_ns = first.arrived_ns - requested_ns;
            let true_ns = first.sent_ns - received_ns;
            self.ttfts_ns.push((seen_ns - true_ns).abs());
        }
    }

    /// Returns how many stamped events there were.
    pub(crate) fn event_count(&self) -> usize {
        self.events
    }

    /// Inter-token error: how far the gap between two arrivals is from that between the sends.
    pub(crate) fn gap(&self) -> Distribution {
        Distribution::of(&self.gaps_ns)
    }

    /// How long after its send an event was stamped; with one clock on both sides alone.
    pub(crate) fn lag(&self) -> Distribution {
        Distribution::of(&self.lags_ns)
    }

    /// How far the TTFT is from the time between the server's own receipt and first send.
    pub(crate) fn ttft(&self) -> Distribution {
        Distribution::of(&self.ttfts_ns)
    }
}

/// Exact percentiles with linear interpolation, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Distribution {
    pub(crate) n: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Distribution {
    #[expect(
        clippy::cast_precision_loss,
        reason = "errors of hours, to the nanosecond, still fit"
    )]
    fn of(values: &[i64]) -> Self {
        let mut values: Vec<f64> = values.iter().map(|value| *value as f64).collect();
        values.sort_unstable_by(f64::total_cmp);
        Self {
            n: values.len(),
            p50: quantile(&values, 0.5),
            p99: quantile(&values, 0.99),
            p999: quantile(&values, 0.999),
            max: quantile(&values, 1.0),
        }
    }

    pub(crate) fn to_json(self) -> Value {
        let Self {
            n,
            p50,
            p99,
            p999,
            max,
        } = self;
        json!({"n": n, "p50": p50, "p99": p99, "p999": p999, "max": max})
    }
}

/// Returns a quantile of ascending values; 0 where there are none.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions in a list that fits in memory"
)]
pub(crate) fn quantile(ascending: &[f64], share: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else {
        return 0.0;
    };
    let position = share * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    ascending[below] + (ascending[above] - ascending[below]) * position.fract()
}
