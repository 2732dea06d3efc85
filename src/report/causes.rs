//! What first tokens wait for: their prompt, or those before them.
//!
//! Both make TTFT rise, and a median of one bucket against another can't tell them apart. So each
//! rule holds the lengths of the prompts and the load against each other, request by request.

use crate::analyze::{LatencyByLength, LatencyByLoad, LatencyRanks};

use super::format;
use super::language::{said, say};
use super::seen::{Diagnosis, Seen, middle};

/// Fewest requests of a group whose median counts.
const ENOUGH: f64 = 10.0;

/// By how much groups may differ that are called equal, as a factor.
const FLAT: f64 = 1.25;

/// How TTFT goes with the length of the prompt and with the requests in flight at the send, by rank.
struct Ranks {
    /// None where all prompts are as long.
    with_input: Option<f64>,
    /// None where equally many are in flight throughout.
    with_in_flight: Option<f64>,
}

fn ranks(seen: &Seen<'_>) -> Option<Ranks> {
    let mut rows = seen
        .analysis
        .rows_of::<LatencyRanks<'_>>(&seen.run.run)
        .into_iter();
    let row = rows.find(|row| row.metric == Some("ttft"))?;
    Some(Ranks {
        with_input: row.with_input,
        with_in_flight: row.with_in_flight,
    })
}

/// Prompts at least four times as long wait at least three times as long for their first token. TTFT
/// rises from each bucket of ten requests or more to the next, or goes with the length clearly more
/// than with the load; and it does not go with the load as much.
pub(super) fn long_prompts(seen: &Seen<'_>) -> Option<Diagnosis> {
    let found = seen.analysis.rows_of::<LatencyByLength<'_>>(&seen.run.run);
    let buckets: Vec<(f64, f64)> = found
        .iter()
        .filter(|row| row.side == Some("input"))
        .filter(|row| row.n.is_some_and(|n| n >= ENOUGH))
        .filter_map(|row| Some((row.from_tokens?, row.ttft_p50_ns?)))
        .collect();
    let ((short, fast), (long, slow)) = (*buckets.first()?, *buckets.last()?);
    let is_far = short > 0.0 && long >= 4.0 * short && fast > 0.0 && slow >= 3.0 * fast;
    let is_ordered = buckets.windows(2).all(|pair| pair[1].1 >= pair[0].1);
    let ranks = ranks(seen)?;
    let with_input = ranks.with_input?;
    let with_load = ranks.with_in_flight.unwrap_or(0.0);
    let is_its = with_input >= 0.3 && with_input > with_load;
    let is_clear = with_input >= 0.5 && with_input >= with_load + 0.2;
    (is_far && is_its && (is_ordered || is_clear)).then(|| Diagnosis {
        id: "long-prompts",
        what: say!("the median TTFT is {fast} for prompts of about {short} tokens, and {slow} from {long} tokens on", fast = format::duration(fast), short = format::decimal(short, 0), slow = format::duration(slow), long = format::decimal(long, 0)),
        why: said("reading the prompt takes most of the wait: prefill is bound by compute"),
        act: said("look at prefix caching and chunked prefill, and set goals on TTFT by length"),
    })
}

/// One quarter of the requests, by how many were in flight when they were sent.
struct Quarter {
    in_flight: f64,
    tpot_ns: f64,
}

/// The quarters that have enough requests, the emptiest first; none where there are fewer than two,
/// or where about as many are in flight in all of them.
fn quarters(seen: &Seen<'_>) -> Option<Vec<Quarter>> {
    let found = seen.analysis.rows_of::<LatencyByLoad<'_>>(&seen.run.run);
    let quarters: Vec<Quarter> = found
        .iter()
        .filter(|row| row.tpot_n.is_some_and(|n| n >= ENOUGH))
        .filter_map(|row| {
            Some(Quarter {
                in_flight: row.in_flight_p50?,
                tpot_ns: row.tpot_p50_ns?,
            })
        })
        .collect();
    let (few, many) = (quarters.first()?.in_flight, quarters.last()?.in_flight);
    (many >= FLAT * few && many > few).then_some(quarters)
}

/// First tokens at the 99th percentile take over four times the median, and the wait goes with the
/// requests in flight. Where the time per output token is flat over all quarters of the load, they
/// wait in front of prefill; where it rises with the load, all share the same steps.
pub(super) fn waiting(seen: &Seen<'_>) -> Option<Diagnosis> {
    let together = seen.together(
        |part| middle(part.iter().map(|window| window.in_flight)),
        |part| middle(part.iter().filter_map(|window| window.ttft_p50_ns)),
    );
    let ttft = seen.latency("ttft")?;
    let (p50, p99) = (ttft.p50_ns.filter(|ns| *ns > 0.0)?, ttft.p99_ns?);
    if p99 < 4.0 * p50 || together? < 0.5 {
        return None;
    }
    let quarters = quarters(seen)?;
    let (first, last) = (quarters.first()?, quarters.last()?);
    let paces = || quarters.iter().map(|quarter| quarter.tpot_ns);
    let (least, most) = (paces().reduce(f64::min)?, paces().reduce(f64::max)?);
    let (p50, p99) = (format::duration(p50), format::duration(p99));
    if most <= FLAT * least {
        return Some(Diagnosis {
            id: "waiting",
            what: say!(
                "TTFT is {p50} at the median and {p99} at p99, longer when more requests are in flight; time per output token hardly changes",
                p50,
                p99
            ),
            why: said(
                "requests queue in front of prefill: a limit on sequences or on tokens a step lets in \
                       no more",
            ),
            act: said(
                "raise that limit if memory allows, or add replicas; smoother arrivals help as well",
            ),
        });
    }
    (last.tpot_ns > FLAT * first.tpot_ns).then(|| Diagnosis {
        id: "shared-steps",
        what: say!(
            "TTFT is {p50} at the median and {p99} at p99, and the median TPOT {slow} with some {many} requests in flight, where it is {fast} with {few}",
            p50,
            p99,
            slow = format::duration(last.tpot_ns),
            many = format::decimal(last.in_flight, 0),
            fast = format::duration(first.tpot_ns),
            few = format::decimal(first.in_flight, 0)
        ),
        why: said(
            "prompts and answers share the steps of a batch: the more requests there are, the longer both take",
        ),
        act: said(
            "cap the requests in flight where both goals are still met, add replicas, or smooth the arrivals",
        ),
    })
}
