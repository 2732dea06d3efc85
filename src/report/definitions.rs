//! What each word of the report means, and by which policy its number was made.
//!
//! Tools that share these words do not share their meanings, so a report that travels alone must
//! carry its own.

use serde::Serialize;

use crate::analyze::Analysis;
use crate::plan::Loop;

use super::language::said;

/// One word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Definition {
    /// The word.
    pub(crate) term: String,
    /// What it means.
    pub(crate) meaning: String,
    /// The choice that was made where tools differ.
    pub(crate) policy: String,
}

/// A definition in English.
struct English {
    term: &'static str,
    meaning: &'static str,
    policy: &'static str,
}

const ALL: [English; 16] = [
    English {
        term: "Send time",
        meaning: "When the first byte of the request was handed to a connected socket. Beside it \
                  stands the intended time: when the schedule said that the request was due.",
        policy: "Both are kept for every request, so a late client cannot make a server look fast.",
    },
    English {
        term: "TTFT, time to first token",
        meaning: "From the send to the first event that carries a token: content, reasoning, \
                  arguments of a tool call, a refusal or audio.",
        policy: "Policy: token-bearing events only. Role-only, empty, comment, ping and usage \
                 events never count.",
    },
    English {
        term: "From intended",
        meaning: "The same latency counted from the moment at which the request was due. It holds \
                  whatever waited on the client's side as well.",
        policy: "Policy: shown as a pair in an open loop; in a closed loop only the form from the \
                 send is shown.",
    },
    English {
        term: "TTFA, time to first answer token",
        meaning: "From the send to the first token that is not reasoning.",
        policy: "Policy: reasoning tokens count for TTFT and not for TTFA.",
    },
    English {
        term: "E2EL, end-to-end latency",
        meaning: "From the send to the last event that carries a token.",
        policy: "Policy: the usage event and the end mark come after it and do not count; without \
                 a stream, the end of the response does.",
    },
    English {
        term: "ICL, inter-chunk latency",
        meaning: "The gaps between successive token-bearing chunks of one answer.",
        policy: "A chunk is not a token: one chunk can carry several.",
    },
    English {
        term: "ITL, inter-token latency",
        meaning: "The times between successive tokens of one answer. All tokens of all answers \
                  form one pool.",
        policy: "Policy: arrival. A later chunk of k tokens gives its gap once and k − 1 zeros; \
                 the first chunk gives none. The numbers in JSON and CSV have the policy spread \
                 too, the gap ÷ k k times (itl_spread).",
    },
    English {
        term: "ITL, resolved",
        meaning: "Only those gaps whose both ends came alone in their read of the socket.",
        policy: "Events that arrive in one read share a time stamp; they stay in ITL and are left \
                 out here.",
    },
    English {
        term: "TPOT, time per output token",
        meaning: "Time from the first token-bearing event to the last one, by the tokens between \
                  them; one value a request.",
        policy: "Policy: tokens of the first chunk are not in the divisor, nor those that came to be \
                 before it or after the last one (such as the end-of-text token), nor reasoning \
                 that was never streamed. No value where nothing is left, and where the first and \
                 the last chunk came in one read.",
    },
    English {
        term: "Output tokens",
        meaning: "The server's own usage, unless it is refuted: 0 beside chunks, or above the limit \
                  that was asked for. Else token ids; else the chunks, where they are as many as \
                  the limit at which the server ended; else our tokenizer; else the chunks.",
        policy: "Policy: never the length that was asked for. The source is a column, and counts \
                 that are more than 1 % apart are shown.",
    },
    English {
        term: "Throughput (RPS, TPS)",
        meaning: "Requests whose last token fell into the window, and tokens that arrived in it, \
                  by the window's length. A request's chunks are weighted so that they add up to \
                  its output tokens.",
        policy: "Policy: the steady window is the headline. Open loop: from the end of warm-up to \
                 the last due time. Closed loop: from all slots busy to the first slot without \
                 work. Sessions: to when the last one is due, or, in a closed loop, while all \
                 places for them are taken. No rate where nothing fell into the window of what the run has.",
    },
    English {
        term: "Speed of a request",
        meaning: "Output tokens by E2EL (request), one by TPOT (decode), and input tokens by TTFT \
                  (prefill); one value a request.",
        policy: "The slow requests are at p1 and p10.",
    },
    English {
        term: "Stalls, jitter, in time, fluidity",
        meaning: "A stall is a gap between chunks over a bound. Jitter is the mean absolute \
                  difference of successive gaps of an answer. A token is in time if it comes \
                  before a reader of constant speed needs it. Fluidity is the share of deadlines \
                  met, by the goals on TTFT and TPOT, as Etalon (arXiv 2407.07000) counts them.",
        policy: "Policy: of successful requests. Being early counts for later tokens; no fluidity \
                 without both goals.",
    },
    English {
        term: "Goodput",
        meaning: "Offered requests that succeeded and met every stated goal, by the window's \
                  length. Attainment is their share of all offered requests. Offered are those \
                  that were due in the window, where throughput counts those that ended in it.",
        policy: "Policy: goals are held against the latency from intended in an open loop, from \
                 the send in a closed one. Cancelled and never-sent requests miss; a request \
                 without a TPOT passes the goal on TPOT.",
    },
    English {
        term: "Percentiles",
        meaning: "Exact, over all values, with linear interpolation between the two neighbours.",
        policy: "Policy: no sketch, no average of percentiles; n and max are always beside them.",
    },
    English {
        term: "Slip",
        meaning: "The client's own lateness: send less intended, less the wait for a slot, less \
                  connecting.",
        policy: "A run whose p99 slip, runtime lag or CPU is over its limit is headed \
                 CLIENT-LIMITED.",
    },
];

/// Returns the definitions that the report needs.
pub(crate) fn definitions(analysis: &Analysis) -> Vec<Definition> {
    let is_open = analysis
        .runs
        .iter()
        .any(|run| run.manifest.arrival_loop == Loop::Open);
    ALL.iter()
        .filter(|one| is_open || one.term != "From intended")
        .map(|one| Definition {
            term: said(one.term),
            meaning: said(one.meaning),
            policy: said(one.policy),
        })
        .collect()
}
