//! The second way to every number: plain Rust over the rows that a tape was made of.

use std::collections::BTreeMap;

use crate::capture::Label;
use crate::capture::schema::{RequestRow, Status};
use crate::sql::fixture::{MS, TapeFixture};

/// How much of the start of random tapes is left out.
pub(super) const WARMUP_NS: i64 = 30 * MS;

/// What is known of one request, the second way.
pub(super) struct Known<'a> {
    pub(super) row: &'a RequestRow,
    pub(super) arrivals: Vec<(i64, i64)>,
    pub(super) reads: Vec<u32>,
    pub(super) output_tokens: Option<i64>,
}

pub(super) fn known(tape: &TapeFixture) -> Vec<Known<'_>> {
    tape.requests
        .iter()
        .map(|row| {
            let chunks = tape
                .chunks
                .iter()
                .filter(|chunk| chunk.request_id == row.request_id);
            let tokens = |tokens: Option<u16>| i64::from(tokens.unwrap_or(1));
            let arrivals: Vec<_> = chunks
                .clone()
                .map(|chunk| (chunk.arrival_ns, tokens(chunk.tokens)))
                .collect();
            let counted = (row.chunk_count > 0).then_some(row.chunk_count);
            Known {
                row,
                reads: chunks.filter_map(|chunk| chunk.read_seq).collect(),
                arrivals,
                output_tokens: row.usage_output_tokens.or(counted).map(i64::from),
            }
        })
        .collect()
}

impl Known<'_> {
    pub(super) fn is_ok(&self) -> bool {
        self.row.status == Status::Ok
    }

    /// From when it was handed to the wire to its end.
    pub(super) fn in_flight_ns(&self) -> (i64, i64) {
        (self.row.dispatched_ns.unwrap(), self.row.end_ns.unwrap())
    }

    /// The server that it went to.
    pub(super) fn server(&self) -> &str {
        self.row.target.as_ref().map_or("", Label::as_str)
    }

    /// Latencies are of those that were due after the warm-up.
    pub(super) fn is_covered(&self) -> bool {
        self.is_ok() && self.row.intended_ns >= WARMUP_NS
    }

    pub(super) fn tpot_ns(&self) -> Option<f64> {
        let rest = self.output_tokens? - self.arrivals.first()?.1;
        let span_ns = self.arrivals.last()?.0 - self.arrivals.first()?.0;
        (rest > 0 && span_ns > 0).then(|| float(span_ns) / float(rest))
    }

    /// Every time between tokens, each with whether its ends came alone.
    pub(super) fn gaps(&self) -> Vec<(f64, bool)> {
        let alone = |index: usize| {
            self.reads
                .iter()
                .filter(|read| **read == self.reads[index])
                .count()
                == 1
        };
        let mut gaps = Vec::new();
        for index in 1..self.arrivals.len() {
            let (at_ns, tokens) = self.arrivals[index];
            gaps.push((
                float(at_ns - self.arrivals[index - 1].0),
                alone(index) && alone(index - 1),
            ));
            gaps.extend((1..tokens).map(|_| (0.0, false)));
        }
        gaps
    }

    /// Every time between tokens, where the tokens of a chunk share its gap.
    pub(super) fn spread_gaps(&self) -> Vec<f64> {
        let pairs = self.arrivals.windows(2);
        let shares = pairs.flat_map(|pair| {
            let share = float(pair[1].0 - pair[0].0) / float(pair[1].1);
            (0..pair[1].1).map(move |_| share)
        });
        shares.collect()
    }

    /// When each token came, in order.
    fn token_times(&self) -> Vec<i64> {
        let each = self.arrivals.iter();
        each.flat_map(|(at_ns, tokens)| (0..*tokens).map(move |_| *at_ns))
            .collect()
    }

    /// How many tokens a reader who takes so many a second finds there in time.
    pub(super) fn read_in_time(&self, tokens_per_s: f64) -> i64 {
        let times = self.token_times();
        let mut in_time = 0;
        for (place, at_ns) in (0_i64..).zip(&times) {
            let due_ns = float(place) * 1e9 / tokens_per_s;
            in_time += i64::from(float(at_ns - times[0]) <= due_ns);
        }
        in_time
    }

    /// Deadlines met and missed, token by token, as Etalon counts them.
    pub(super) fn deadlines(&self, begun_ns: i64, first_ns: i64, next_ns: i64) -> (i64, i64) {
        let (mut slack_ns, mut before_ns) = (0, begun_ns);
        let (mut met, mut missed) = (0, 0);
        for (place, at_ns) in self.token_times().into_iter().enumerate() {
            let took_ns = at_ns - before_ns;
            before_ns = at_ns;
            let allowed_ns = if place == 0 { first_ns } else { next_ns };
            if took_ns <= allowed_ns + slack_ns {
                slack_ns += allowed_ns - took_ns;
                met += 1;
                continue;
            }
            missed += if place == 0 {
                1 + (took_ns - slack_ns - first_ns) / next_ns
            } else {
                (took_ns - slack_ns) / next_ns
            };
            slack_ns = 0;
        }
        (met, missed)
    }

    /// Mean absolute difference of successive gaps between chunks.
    pub(super) fn jitter_ns(&self) -> Option<f64> {
        let gaps: Vec<i64> = self
            .arrivals
            .windows(2)
            .map(|pair| pair[1].0 - pair[0].0)
            .collect();
        let changes: Vec<f64> = gaps
            .windows(2)
            .map(|pair| float((pair[1] - pair[0]).abs()))
            .collect();
        mean(&changes)
    }

    pub(super) fn tokens_within(&self, from_ns: i64, to_ns: i64) -> f64 {
        let all: i64 = self.arrivals.iter().map(|(_, tokens)| tokens).sum();
        let inside = self
            .arrivals
            .iter()
            .filter(|(at_ns, _)| (from_ns..=to_ns).contains(at_ns));
        let inside: i64 = inside.map(|(_, tokens)| tokens).sum();
        match self.output_tokens {
            Some(tokens) if all > 0 => float(tokens * inside) / float(all),
            _ => 0.0,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "test values are far below 2^53")]
pub(super) fn float(value: i64) -> f64 {
    value as f64
}

pub(super) fn count(values: usize) -> f64 {
    float(i64::try_from(values).expect("a few"))
}

pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / count(values.len()))
}

/// Percentile of sorted values as numpy has it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a short list"
)]
pub(super) fn percentile(sorted: &[f64], p: f64) -> f64 {
    let place = p * (sorted.len() - 1) as f64;
    let low = place.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (place - place.floor())
}

pub(super) fn samples(requests: &[Known<'_>]) -> BTreeMap<&'static str, Vec<f64>> {
    let mut samples: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.is_covered()) {
        let row = request.row;
        let (sent_ns, due_ns) = (row.sent_ns.unwrap(), row.intended_ns);
        let (first_ns, last_ns) = (row.first_token_ns.unwrap(), row.last_token_ns.unwrap());
        let mut add = |metric, value| samples.entry(metric).or_default().push(value);
        add("ttft", float(first_ns - sent_ns));
        add("ttft_intended", float(first_ns - due_ns));
        add("e2el", float(last_ns - sent_ns));
        add("e2el_intended", float(last_ns - due_ns));
        add("slip", float(sent_ns - due_ns));
        if let Some(tpot_ns) = request.tpot_ns() {
            add("tpot", tpot_ns);
        }
        for pair in request.arrivals.windows(2) {
            add("icl", float(pair[1].0 - pair[0].0));
        }
        for gap_ns in request.spread_gaps() {
            add("itl_spread", gap_ns);
        }
        for (gap_ns, is_resolved) in request.gaps() {
            add("itl", gap_ns);
            if is_resolved {
                add("itl_resolved", gap_ns);
            }
        }
    }
    for values in samples.values_mut() {
        values.sort_by(f64::total_cmp);
    }
    samples
}

/// The steady window, found by asking at every instant how many requests are in flight.
pub(super) fn steady(
    requests: &[Known<'_>],
    is_open: bool,
    slots: usize,
    warmup_ns: i64,
) -> Option<(i64, i64)> {
    let last_due_ns = requests
        .iter()
        .map(|request| request.row.intended_ns)
        .max()?;
    if is_open {
        return Some((warmup_ns, last_due_ns));
    }
    let span = Known::in_flight_ns;
    let is_full = |at_ns: &i64| {
        let in_flight = requests
            .iter()
            .map(span)
            .filter(|(from, to)| from <= at_ns && at_ns < to);
        in_flight.count() >= slots
    };
    let mut instants: Vec<i64> = requests.iter().map(|request| span(request).0).collect();
    instants.push(warmup_ns);
    instants.sort_unstable();
    let from_ns = instants
        .into_iter()
        .filter(|at_ns| *at_ns >= warmup_ns)
        .find(is_full)?;
    let last_sent_ns = requests.iter().map(|request| span(request).0).max()?;
    let ends = requests.iter().map(|request| span(request).1);
    Some((from_ns, ends.filter(|end_ns| *end_ns > last_sent_ns).min()?))
}

/// The most tokens in any second that ends with an arrival, each chunk weighted so that a request's
/// sum is its output tokens; asked at every arrival, of every chunk.
pub(super) fn peak_second(requests: &[Known<'_>]) -> Option<f64> {
    let mut arrivals: Vec<(i64, f64)> = Vec::new();
    for request in requests {
        let all: i64 = request.arrivals.iter().map(|(_, tokens)| tokens).sum();
        let Some(tokens) = request.output_tokens else {
            continue;
        };
        let weight = float(tokens) / float(all.max(1));
        let weighed = request.arrivals.iter();
        arrivals.extend(weighed.map(|(at_ns, tokens)| (*at_ns, float(*tokens) * weight)));
    }
    let second = |end_ns: i64| {
        let within = arrivals
            .iter()
            .filter(|(at_ns, _)| *at_ns > end_ns - 1_000_000_000 && *at_ns <= end_ns);
        within.map(|(_, tokens)| tokens).sum::<f64>()
    };
    arrivals
        .iter()
        .map(|(at_ns, _)| second(*at_ns))
        .max_by(f64::total_cmp)
}

/// How long each number of requests was in flight inside a window: asked at every instant at which
/// it may change.
pub(super) fn levels(requests: &[Known<'_>], from_ns: i64, to_ns: i64) -> BTreeMap<i64, i64> {
    let spans: Vec<(i64, i64)> = requests.iter().map(Known::in_flight_ns).collect();
    let mut instants: Vec<i64> = spans.iter().flat_map(|(from, to)| [*from, *to]).collect();
    instants.extend([from_ns, to_ns]);
    instants.retain(|at_ns| (from_ns..=to_ns).contains(at_ns));
    instants.sort_unstable();
    instants.dedup();
    let mut levels = BTreeMap::new();
    for pair in instants.windows(2) {
        let held = spans
            .iter()
            .filter(|(from, to)| *from <= pair[0] && pair[0] < *to);
        let level = i64::try_from(held.count()).expect("a few");
        *levels.entry(level).or_default() += pair[1] - pair[0];
    }
    levels
}
