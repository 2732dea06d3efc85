//! What a run shows of the server: what was seen, the likely cause, what to try.
//!
//! Each rule is a function from tables to a [`Diagnosis`], with its bounds and their reasons beside
//! it. They say "likely": a tape shows when tokens came, not why.

#[cfg(test)]
mod tests;

use crate::analyze::{
    Analysis, RequestsByOutcome, RunFacts, StartupBurst, ThroughputByStep, WarmupEnd,
    cached_beyond, outcomes,
};
use crate::plan::Loop;

use super::causes::{long_prompts, waiting};
use super::format::{self, NS_PER_MS};
use super::language::{said, say};
use super::seen::{Diagnosis, Seen, Window, middle, windows};

/// Most that is told of one run.
const MOST: usize = 5;

/// Tells what a run shows of its server, the gravest first.
pub(crate) fn diagnoses(analysis: &Analysis, run: &RunFacts) -> Vec<Diagnosis> {
    let seen = Seen {
        analysis,
        run,
        windows: windows(analysis, run),
    };
    let rules: [fn(&Seen<'_>) -> Option<Diagnosis>; 12] = [
        failures,
        warm_cache,
        startup,
        backlog,
        burst,
        periodic,
        buffered,
        saturation,
        long_prompts,
        interference,
        waiting,
        several_a_chunk,
    ];
    let mut found: Vec<Diagnosis> = rules.iter().filter_map(|rule| rule(&seen)).collect();
    // What a queue does to first tokens is not told again as something else.
    if found
        .iter()
        .any(|one| ["backlog", "burst"].contains(&one.id))
    {
        found.retain(|one| !["waiting", "shared-steps", "long-prompts"].contains(&one.id));
    }
    if found.iter().any(|one| one.id == "saturation") {
        found.retain(|one| one.id != "shared-steps");
    }
    // Answers that come at once have no gaps to speak of.
    if found.iter().any(|one| one.id == "buffered") {
        found.retain(|one| !["interference", "unstable-tpot", "several-a-chunk"].contains(&one.id));
    }
    found.truncate(MOST);
    found
}

/// The server answers from prompts that it had before the run.
fn warm_cache(seen: &Seen<'_>) -> Option<Diagnosis> {
    let cached = cached_beyond(seen.analysis, &seen.run.run)?;
    Some(Diagnosis {
        id: "warm-cache",
        what: say!(
            "the server had {had} of the prompt tokens in its cache, and the schedule shares {shared}",
            had = format::percent(Some(cached.had)),
            shared = format::percent(Some(cached.shared))
        ),
        why: said(
            "it was sent the same prompts before, so that first tokens come without their prefill",
        ),
        act: said(
            "leave --seed and --prompt-salt out, which make prompts the same again, or start the server anew",
        ),
    })
}

/// Fewer than 99 in 100 requests succeeded: the kind that most of the others ended with.
fn failures(seen: &Seen<'_>) -> Option<Diagnosis> {
    let outcomes = outcomes(seen.analysis, seen.run)?;
    let (requests, ok) = (outcomes.ended(), outcomes.ok);
    if requests < 1.0 || ok >= 0.99 * requests {
        return None;
    }
    let outcomes = seen
        .analysis
        .rows_of::<RequestsByOutcome<'_>>(&seen.run.run);
    let worst = outcomes
        .iter()
        .filter(|row| matches!(row.status, Some("error" | "timeout")))
        .max_by(|a, b| {
            let n = |row: &RequestsByOutcome<'_>| row.requests.unwrap_or(0.0);
            n(a).total_cmp(&n(b))
        })?;
    let kind = worst.error_kind.unwrap_or("error");
    let n = worst.requests?;
    let http = worst.http_status.unwrap_or(0.0);
    let (why, act) = if (http - 429.0).abs() < 0.5 {
        refusal(worst.example_message.unwrap_or_default())
    } else if kind.starts_with("timeout") || worst.status == Some("timeout") {
        (
            "the server is slower than the time that was allowed, as an overloaded one is",
            "lower the load, or see where the time goes before --request-timeout is raised",
        )
    } else if http >= 500.0 {
        (
            "the server, or a proxy in front of it, fails under this load",
            "read its log at those times; a full queue and a lack of memory answer like this",
        )
    } else if kind.starts_with("connect") {
        (
            "nobody took the connection: a full backlog, a limit on sockets, or no server",
            "look at the listen backlog and the limits on open files on both sides",
        )
    } else if kind == "send" {
        (
            "the server takes connections and closes them without an answer: a limit on connections, \
             a crash, or not the port or the scheme that is meant",
            "see its log and its limits, and lower --max-concurrency; a connection that had been kept \
             is no cause, since its request is sent again",
        )
    } else if matches!(kind, "truncated" | "empty") && !seen.run.manifest.unread_texts.is_empty() {
        (
            "the server's events have their text in a field that the backend does not read",
            "see the field that a warning names, and use a backend and an endpoint that agree",
        )
    } else {
        (
            "the server or something before it breaks answers off, or refuses what was asked",
            "see the messages under outcomes and errors",
        )
    };
    Some(Diagnosis {
        id: "failures",
        what: say!(
            "{failed} of {requests} requests did not succeed, {n} of them with {kind}",
            failed = format::decimal(requests - ok, 0),
            requests = format::decimal(requests, 0),
            n = format::decimal(n, 0),
            kind = format::clean_to(kind, 40)
        ),
        why: said(why),
        act: said(act),
    })
}

/// What a server limits that answers with 429, by its own words: why, and what to do.
fn refusal(message: &str) -> (&'static str, &'static str) {
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let is_of_queue = has(&[
        "queue",
        "concurren",
        "in flight",
        "in-flight",
        "overload",
        "capacity",
        "busy",
        "too many waiting",
    ]);
    let is_of_rate = has(&[
        "rate limit",
        "rate-limit",
        "rate_limit",
        "request rate",
        "quota",
        "per second",
        "per minute",
        "per day",
        "rpm",
        "tpm",
    ]);
    match (is_of_queue, is_of_rate) {
        (true, false) => (
            "its queue is full: more requests wait than the server takes in",
            "send fewer at a time (--max-concurrency), make its queue longer, or add replicas",
        ),
        (false, true) => (
            "the server limits its rate, so it refused the load before it could serve it",
            "raise its limit, or drive a rate below it",
        ),
        _ => (
            "the server limits its rate or its queue, so it refused the load before it could serve it",
            "see which limit its message and its log name, and raise it, or drive a load below it",
        ),
    }
}

/// The 99th percentile of TTFT of a closed loop is one and a half times that of the requests that
/// were due after its start, of which there are 100 or more; and nothing was left out of it.
fn startup(seen: &Seen<'_>) -> Option<Diagnosis> {
    let row = seen.analysis.row_of::<StartupBurst<'_>>(&seen.run.run)?;
    let (n, later) = (row.n?, row.later_n.filter(|n| *n >= 100.0)?);
    let (all_ns, later_ns) = (row.ttft_p99_ns?, row.later_ttft_p99_ns?);
    let window = seen.analysis.rows_of::<WarmupEnd<'_>>(&seen.run.run);
    let is_asked = window.first().is_some_and(|row| {
        row.rule == Some("auto")
            || row.basis == Some("asked")
            || row.given_ns.is_some_and(|ns| ns > 0.0)
    });
    if is_asked || all_ns < 1.5 * later_ns {
        return None;
    }
    let warmup = format!(
        "--warmup {}ms",
        format::decimal(row.warmup_ns? / NS_PER_MS, 0).replace(',', "")
    );
    Some(Diagnosis {
        id: "startup-burst",
        what: say!(
            "the first {first} requests began together and are in the percentiles: TTFT p99 is {all}, and {later} without them",
            first = format::decimal(n - later, 0),
            all = format::duration(all_ns),
            later = format::duration(later_ns)
        ),
        why: said(
            "all slots of a closed loop are filled at once, so that their prompts wait for each other, \
                   which they do not once the loop runs",
        ),
        act: say!(
            "leave the start out of rates and latencies with {warmup}",
            warmup
        ),
    })
}

/// Eighths of the steady window of an open loop, each with its medians of requests in flight and of
/// TTFT; none where they are too short to mean something.
fn eighths(seen: &Seen<'_>) -> Option<Vec<(f64, f64)>> {
    let length = seen.windows.len() / 8;
    if seen.run.manifest.arrival_loop != Loop::Open || length < 2 {
        return None;
    }
    let parts = seen.windows.chunks_exact(length).take(8);
    parts
        .map(|part| {
            let load = middle(part.iter().map(|window| window.in_flight))?;
            let ttft = middle(part.iter().filter_map(|window| window.ttft_p50_ns))?;
            Some((load, ttft))
        })
        .collect()
}

/// First tokens take twice as long at the end of the steady window of an open loop as at its
/// begin, half as many requests more are in flight, and neither has been much higher in between:
/// such growth has no end.
fn backlog(seen: &Seen<'_>) -> Option<Diagnosis> {
    let parts = eighths(seen)?;
    let ((few, early), (many, late)) = (*parts.first()?, *parts.last()?);
    let (most, slowest) = peak(&parts);
    let grows = late >= 2.0 * early && many >= 1.5 * few && many >= few + 4.0;
    let is_highest = many >= 0.85 * most && late >= 0.7 * slowest;
    (grows && is_highest).then(|| Diagnosis {
        id: "backlog",
        what: say!(
            "the median TTFT rose from {early} to {late}, and requests in flight from {few} to {many}, between the begin and the end of the window",
            early = format::duration(early),
            late = format::duration(late),
            few = format::decimal(few, 0),
            many = format::decimal(many, 0)
        ),
        why: said("requests come faster than the server serves them, so its queue grows as long as the \
                   load lasts; latencies then say how long the run was"),
        act: said("lower the rate until TTFT stays level, or add capacity; compare servers below that rate"),
    })
}

/// The most requests in flight, and the longest TTFT, of any part.
fn peak(parts: &[(f64, f64)]) -> (f64, f64) {
    let highest = |pick: fn(&(f64, f64)) -> f64| parts.iter().map(pick).fold(0.0, f64::max);
    (highest(|part| part.0), highest(|part| part.1))
}

/// First tokens take three times as long in the middle of the steady window of an open loop as at
/// its quietest, with twice the requests in flight, and both have come down at the end, TTFT by half
/// and the requests to near the fewest: a load that is too much throughout goes up and down as well,
/// and its queue stays.
fn burst(seen: &Seen<'_>) -> Option<Diagnosis> {
    let parts = eighths(seen)?;
    let (most, slowest) = peak(&parts);
    let lowest = |pick: fn(&(f64, f64)) -> f64| parts.iter().map(pick).reduce(f64::min);
    let (few, fastest) = (lowest(|part| part.0)?, lowest(|part| part.1)?);
    let (last, late) = *parts.last()?;
    let rises = slowest >= 3.0 * fastest && most >= 2.0 * few && most >= few + 4.0;
    let falls = last <= few + 0.25 * (most - few) && late <= 0.5 * slowest;
    (rises && falls).then(|| Diagnosis {
        id: "burst",
        what: say!(
            "requests in flight rose to {most} and came down to {last}; meanwhile the median TTFT went from {fastest} to {slowest}, and back to {late}",
            most = format::decimal(most, 0),
            last = format::decimal(last, 0),
            fastest = format::duration(fastest),
            slowest = format::duration(slowest),
            late = format::duration(late)
        ),
        why: said("more requests came at once than the server takes in, so that they queued; the queue \
                   drained when fewer came"),
        act: said("judge a burst by how long its queue takes to drain, and the server's usual state \
                   outside of it, with --from and --to"),
    })
}

/// At least four windows whose longest gap is five times the usual one and over 50 ms, at distances
/// that vary by under a quarter; but not where requests begin then: those of a closed loop march in
/// step, and their prompts are read together.
fn periodic(seen: &Seen<'_>) -> Option<Diagnosis> {
    let usual = middle(seen.windows.iter().filter_map(|window| window.itl_max_ns))?;
    let bound = (5.0 * usual).max(50.0 * NS_PER_MS);
    let mut at: Vec<f64> = Vec::new();
    let mut longest: f64 = 0.0;
    let mut paused: Vec<f64> = Vec::new();
    for window in &seen.windows {
        let Some(gap) = window.itl_max_ns.filter(|gap| *gap >= bound) else {
            continue;
        };
        if window.is_clients(gap, usual) {
            continue;
        }
        longest = longest.max(gap);
        paused.push(window.at_ns);
        // A gap that ends in the next window too is one.
        if at
            .last()
            .is_none_or(|last| window.at_ns - last > 1.5 * window.width_ns)
        {
            at.push(window.at_ns);
        }
    }
    let gaps: Vec<f64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if gaps.len() < 3 {
        return None;
    }
    // Do more requests begin just before a pause, or in it, than at other times?
    let near = |window: &&Window| {
        let lead = (1.5 * longest).max(window.width_ns) + 1.0;
        let mut paused = paused.iter();
        paused.any(|at| (0.0..=lead).contains(&(at - window.at_ns)))
    };
    let sent = |part: &mut dyn Iterator<Item = &Window>| -> (f64, f64) {
        part.fold((0.0, 0.0), |(sent, n), window| {
            (sent + window.sent, n + 1.0)
        })
    };
    let (begun, near) = sent(&mut seen.windows.iter().filter(near));
    let (all, total) = sent(&mut seen.windows.iter());
    if begun * total >= 1.5 * all * near && begun > 0.0 {
        return None;
    }
    let period = middle(gaps.iter().copied())?;
    let is_even = gaps.iter().all(|gap| (gap - period).abs() <= 0.25 * period);
    is_even.then(|| Diagnosis {
        id: "periodic-stalls",
        what: say!(
            "every {period} or so, {times} times, tokens paused for up to {longest}",
            period = format::duration(period),
            times = format::decimal(f64::from(u32::try_from(at.len()).unwrap_or(u32::MAX)), 0),
            longest = format::duration(longest)
        ),
        why: said(
            "something that runs at fixed times stops the server: garbage collection, a health \
              check, a metrics scrape, a checkpoint, or a neighbour on the host",
        ),
        act: said("find what has this period in the server's logs and on its host"),
    })
}

/// First tokens take 95 % of the whole answer's time, which has more than 10 tokens, and the others
/// follow within a millisecond each: a queue makes first tokens late as well, but not the others
/// fast.
fn buffered(seen: &Seen<'_>) -> Option<Diagnosis> {
    let (ttft, e2el) = (seen.latency("ttft")?.p50_ns?, seen.latency("e2el")?.p50_ns?);
    let (tokens, ok) = (
        seen.summary().and_then(|row| row.output_tokens)?,
        seen.summary().and_then(|row| row.ok)?,
    );
    let is_at_once = seen.latency("tpot")?.p50_ns? <= NS_PER_MS;
    (is_at_once && ttft >= 0.95 * e2el && tokens >= 10.0 * ok).then(|| Diagnosis {
        id: "buffered",
        what: say!("the first token came after {ttft} of {e2el}, at the median, though answers have {tokens} tokens", ttft = format::duration(ttft), e2el = format::duration(e2el), tokens = format::decimal(tokens / ok.max(1.0), 0)),
        why: said("something between the model and the client gathers the answer and passes it on whole, \
              such as a proxy that buffers"),
        act: said("switch off buffering and compression of event streams on the way, or measure in front \
              of it; if --no-keep-alive mends it, the server leaves Nagle's algorithm on"),
    })
}

/// Windows with at least twice the median of requests in flight have at most a tenth more tokens a
/// second than those around the median, and slower tokens; or a ladder's last step does.
fn saturation(seen: &Seen<'_>) -> Option<Diagnosis> {
    let why = "the batch is as large as this server can make use of: more requests only share the \
               same tokens";
    let act = "cap the concurrency near where tokens/s stop to rise, or give the server more compute \
               or KV cache";
    let steps = seen.analysis.rows_of::<ThroughputByStep<'_>>(&seen.run.run);
    if let [.., before, last] = steps.as_slice() {
        let number = |row: &ThroughputByStep<'_>| Some((row.in_flight_mean?, row.output_tps?));
        let ((few, slower), (many, faster)) = (number(before)?, number(last)?);
        return (many >= 1.3 * few && faster <= 1.05 * slower).then(|| Diagnosis {
            id: "saturation",
            what: say!(
                "from {few} to {many} requests in flight tokens/s went from {slower} to {faster}",
                few = format::decimal(few, 0),
                many = format::decimal(many, 0),
                slower = format::decimal(slower, 0),
                faster = format::decimal(faster, 0)
            ),
            why: said(why),
            act: said(act),
        });
    }
    let usual = middle(seen.windows.iter().map(|window| window.in_flight))?;
    let around: Vec<&Window> = seen
        .windows
        .iter()
        .filter(|window| (0.6 * usual..=1.1 * usual).contains(&window.in_flight))
        .collect();
    let above: Vec<&Window> = seen
        .windows
        .iter()
        .filter(|window| window.in_flight >= 2.0 * usual)
        .collect();
    if usual < 2.0 || around.len() < 5 || above.len() < 5 {
        return None;
    }
    let rate = |part: &[&Window]| middle(part.iter().map(|window| window.output_tps));
    let gap = |part: &[&Window]| middle(part.iter().filter_map(|window| window.itl_p50_ns));
    let load = |part: &[&Window]| middle(part.iter().map(|window| window.in_flight));
    let (slower, faster) = (rate(&around)?, rate(&above)?);
    let is_slower = gap(&above)? >= 1.3 * gap(&around)?;
    (faster <= 1.1 * slower && is_slower).then(|| Diagnosis {
        id: "saturation",
        what: say!("with {few} requests in flight there were {slower} tokens/s, and with {many} no more than {faster}", few = format::decimal(load(&around).unwrap_or(0.0), 0), slower = format::decimal(slower, 0), many = format::decimal(load(&above).unwrap_or(0.0), 0), faster = format::decimal(faster, 0)),
        why: said(why),
        act: said(act),
    })
}

/// The 99th percentile of gaps is over four times the median and over 50 ms, by more than the client's
/// own lag; windows in which more requests begin have longer gaps.
fn interference(seen: &Seen<'_>) -> Option<Diagnosis> {
    let (p50, p99) = (seen.latency("itl")?.p50_ns?, seen.latency("itl")?.p99_ns?);
    if p50 <= 0.0 || p99 < 4.0 * p50 || p99 < 50.0 * NS_PER_MS {
        return None;
    }
    // Gaps that the client's own lag makes out of usual ones say nothing of the server.
    if seen.lag_p99_ns().is_some_and(|lag| lag >= p99 - p50) {
        return None;
    }
    let together = seen.together(
        |part| Some(part.iter().map(|window| window.sent).sum()),
        |part| middle(part.iter().filter_map(|window| window.itl_p99_ns)),
    );
    let what = say!(
        "1 % of the gaps between tokens are over {p99}, where the median is {p50}",
        p99 = format::duration(p99),
        p50 = format::duration(p50)
    );
    Some(if together.is_some_and(|rank| rank >= 0.4) {
        Diagnosis {
            id: "interference",
            what: say!("{what}; gaps are longer when more requests begin", what),
            why: said(
                "prompts are read in the same steps in which answers are written, and hold those up",
            ),
            act: said(
                "chunk long prompts, give a step a smaller budget of tokens, or prefill on machines \
                  of its own",
            ),
        }
    } else {
        Diagnosis {
            id: "unstable-tpot",
            what,
            why: said(
                "the size of the batch, or what else the server does, changes from step to step",
            ),
            act: said(
                "see the gaps over time: level bands are typical lengths of a gap, empty columns are pauses",
            ),
        }
    })
}

/// A chunk has at least one and a half tokens on average.
fn several_a_chunk(seen: &Seen<'_>) -> Option<Diagnosis> {
    let itl = seen.percentiles("itl")?.n?;
    let icl = seen.percentiles("icl")?.n?;
    (icl >= 100.0 && itl >= 1.5 * icl).then(|| Diagnosis {
        id: "several-a-chunk",
        what: say!(
            "the server sends {tokens} tokens a chunk on average",
            tokens = format::decimal(itl / icl, 1)
        ),
        why: said(
            "it decodes several tokens a step, as speculative decoding does, or gathers them; the \
              tokens of a chunk share one time, so that ITL has zeros",
        ),
        act: said("read ICL for what a user sees, and ITL spread for the pace of tokens"),
    })
}
