//! What servers tell, in the events of an answer, of the time that they took for it.
//!
//! Their own account, by their own clocks: nothing that is measured here is derived from it.

use serde::Deserialize;

use super::lenient::{Count, Length, Lenient, Number, read_from_object};

/// The parts of a server's time for one answer, in nanoseconds; `None` where it does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerTimes {
    /// Until the prompt was begun.
    pub queue_ns: Option<i64>,
    /// From there to the first token.
    pub prefill_ns: Option<i64>,
    /// From there to the last token.
    pub decode_ns: Option<i64>,
}

impl ServerTimes {
    /// These, and the others where they say more: later events say more than earlier ones.
    pub(super) fn or(self, others: Self) -> Self {
        Self {
            queue_ns: self.queue_ns.or(others.queue_ns),
            prefill_ns: self.prefill_ns.or(others.prefill_ns),
            decode_ns: self.decode_ns.or(others.decode_ns),
        }
    }
}

/// A second and a millisecond, in nanoseconds.
const S: f64 = 1e9;
const MS: f64 = 1e6;

/// Longest time that is believed of one answer, in nanoseconds: a week.
const MAX_NS: f64 = 7.0 * 86_400.0 * S;

#[expect(clippy::cast_possible_truncation, reason = "it is within the bounds")]
fn ns(number: Option<f64>, unit_ns: f64) -> Option<i64> {
    let ns = number? * unit_ns;
    (0.0..=MAX_NS).contains(&ns).then(|| ns.round() as i64)
}

/// `timings` of llama.cpp's server, in its own events and in those of OpenAI.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Timings {
    pub(super) prompt_ms: Number,
    pub(super) predicted_ms: Number,
    /// Tokens so far.
    pub(super) predicted_n: Count,
}

impl Timings {
    pub(super) fn times(&self) -> ServerTimes {
        ServerTimes {
            queue_ns: None,
            prefill_ns: ns(self.prompt_ms.0, MS),
            decode_ns: ns(self.predicted_ms.0, MS),
        }
    }
}

/// Times in seconds: `time_info` of Cerebras, and what Groq has in `usage`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Seconds {
    pub(super) queue_time: Number,
    pub(super) prompt_time: Number,
    pub(super) completion_time: Number,
}

impl Seconds {
    pub(super) fn times(&self) -> ServerTimes {
        ServerTimes {
            queue_ns: ns(self.queue_time.0, S),
            prefill_ns: ns(self.prompt_time.0, S),
            decode_ns: ns(self.completion_time.0, S),
        }
    }
}

/// `nvext` of NVIDIA Dynamo: what a request asks for of it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct NvExt {
    timing: Lenient<Option<NvTiming>>,
    /// Of the event's own tokens.
    completion_token_ids: Lenient<Length>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct NvTiming {
    prefill_wait_time_ms: Number,
    prefill_time_ms: Number,
    ttft_ms: Number,
    total_time_ms: Number,
}

impl NvExt {
    /// Returns how many tokens the event brought, where the ids are there.
    pub(super) fn token_count(&self) -> Option<u32> {
        self.completion_token_ids.0.0
    }

    pub(super) fn times(&self) -> ServerTimes {
        let timing = self.timing.0.unwrap_or_default();
        let decode_ms = timing.total_time_ms.0.zip(timing.ttft_ms.0);
        ServerTimes {
            queue_ns: ns(timing.prefill_wait_time_ms.0, MS),
            prefill_ns: ns(timing.prefill_time_ms.0, MS),
            decode_ns: ns(decode_ms.map(|(total, first)| total - first), MS),
        }
    }
}

/// The durations of Ollama's last line, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Durations {
    pub(super) prompt_eval: Option<f64>,
    pub(super) eval: Option<f64>,
}

impl Durations {
    pub(super) fn times(self) -> ServerTimes {
        ServerTimes {
            queue_ns: None,
            prefill_ns: ns(self.prompt_eval, 1.0),
            decode_ns: ns(self.eval, 1.0),
        }
    }
}

read_from_object!(Timings, Seconds, NvExt, NvTiming);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::lenient::parse;

    #[test]
    fn times_are_read_in_each_server_s_units() {
        let timings: Option<Timings> =
            parse(br#"{"prompt_n":3,"prompt_ms":12.5,"predicted_ms":100,"cache_n":1}"#).unwrap();
        let llama = ServerTimes {
            queue_ns: None,
            prefill_ns: Some(12_500_000),
            decode_ns: Some(100_000_000),
        };
        assert_eq!(timings.unwrap().times(), llama);
        let groq: Option<Seconds> =
            parse(br#"{"queue_time":0.018,"prompt_time":0.002,"completion_time":0.5}"#).unwrap();
        let told = ServerTimes {
            queue_ns: Some(18_000_000),
            prefill_ns: Some(2_000_000),
            decode_ns: Some(500_000_000),
        };
        assert_eq!(groq.unwrap().times(), told);
        let dynamo: Option<NvExt> = parse(
            br#"{"timing":{"prefill_wait_time_ms":1,"prefill_time_ms":2.5,"ttft_ms":4,"total_time_ms":10}}"#,
        )
        .unwrap();
        let told = ServerTimes {
            queue_ns: Some(1_000_000),
            prefill_ns: Some(2_500_000),
            decode_ns: Some(6_000_000),
        };
        assert_eq!(dynamo.unwrap().times(), told);
    }

    #[test]
    fn what_can_be_no_time_is_none() {
        for (number, unit_ns) in [(-1.0, S), (f64::NAN, S), (1e300, S), (605_000.0, S)] {
            assert_eq!(ns(Some(number), unit_ns), None, "{number}");
        }
        assert_eq!(ns(Some(0.0), S), Some(0));
    }
}
