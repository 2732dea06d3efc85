//! What `/metrics` says, under vLLM's names and with its meanings.
//!
//! The counters are written before the events that they count are sent. A client that has read an
//! answer to its end therefore finds it counted.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::engine::{Finish, Load};

const NS_PER_S: f64 = 1e9;

/// Upper bounds of the histogram of times to the first token, in seconds; vLLM's own.
const TTFT_BOUNDS_S: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];

/// The counters: the engine's task writes them, `/metrics` reads them.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    counts: Mutex<Counts>,
}

impl Metrics {
    /// Locks the counters, for a short section without an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counters themselves.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Prompt tokens of requests that got their first token.
    pub(super) prompt_tokens: u64,
    pub(super) generation_tokens: u64,
    pub(super) finished_length: u64,
    pub(super) finished_stop: u64,
    /// Requests whose client left, or was cut off. vLLM counts them nowhere.
    pub(super) aborted: u64,
    /// Those among them that were cut off because their client read too slowly.
    pub(super) slow_readers: u64,
    /// Requests that were refused because the queue was full, that would never fit, or by chance.
    pub(super) rejected: u64,
    /// The most that the server was behind its own schedule, in nanoseconds.
    pub(super) lateness_max_ns: i64,
    pub(super) load: Load,
    ttft: Histogram,
}

impl Counts {
    /// Counts the first token of a request.
    pub(super) fn first_token(&mut self, ttft_ns: i64, input_tokens: u32) {
        self.prompt_tokens += u64::from(input_tokens);
        self.ttft.observe(ttft_ns);
    }

    /// Counts the regular end of a request.
    pub(super) fn finished(&mut self, finish: Finish) {
        match finish {
            Finish::Length => self.finished_length += 1,
            Finish::Stop => self.finished_stop += 1,
        }
    }

    /// Renders the counters in Prometheus' text format.
    pub(super) fn render(&self, model: &str) -> String {
        let model = model.replace('\\', "\\\\").replace('"', "\\\"");
        let base = format!("engine=\"0\",model_name=\"{model}\"");
        let mut page = Page {
            text: String::new(),
            base,
        };
        page.family(
            "vllm:num_requests_running",
            "gauge",
            "Requests in the batch.",
        );
        page.sample("vllm:num_requests_running", "", self.load.running);
        page.family(
            "vllm:num_requests_waiting",
            "gauge",
            "Requests in the queue.",
        );
        page.sample("vllm:num_requests_waiting", "", self.load.waiting);
        page.family(
            "vllm:kv_cache_usage_perc",
            "gauge",
            "Reserved part of the cache; 1 is all.",
        );
        page.sample("vllm:kv_cache_usage_perc", "", self.kv_usage());
        page.family("vllm:prompt_tokens", "counter", "Prompt tokens processed.");
        page.sample("vllm:prompt_tokens_total", "", self.prompt_tokens);
        page.family("vllm:generation_tokens", "counter", "Tokens generated.");
        page.sample("vllm:generation_tokens_total", "", self.generation_tokens);
        page.family(
            "vllm:request_success",
            "counter",
            "Requests that ended, by reason.",
        );
        for (reason, count) in [
            ("stop", self.finished_stop),
            ("length", self.finished_length),
            // vLLM has the label and never counts by it.
            ("abort", 0),
        ] {
            let label = format!(",finished_reason=\"{reason}\"");
            page.sample("vllm:request_success_total", &label, count);
        }
        self.ttft
            .render("vllm:time_to_first_token_seconds", &mut page);
        self.render_own(&mut page);
        page.text
    }

    /// Renders what vLLM has no counter for.
    fn render_own(&self, page: &mut Page) {
        page.family(
            "simulate:aborted",
            "counter",
            "Requests whose client left, or was cut off.",
        );
        page.sample("simulate:aborted_total", "", self.aborted);
        page.family(
            "simulate:slow_readers",
            "counter",
            "Streams cut off for reading too slowly.",
        );
        page.sample("simulate:slow_readers_total", "", self.slow_readers);
        page.family(
            "simulate:rejected",
            "counter",
            "Requests that the engine did not take.",
        );
        page.sample("simulate:rejected_total", "", self.rejected);
        page.family(
            "simulate:lateness_max_seconds",
            "gauge",
            "Most ever behind schedule.",
        );
        page.sample(
            "simulate:lateness_max_seconds",
            "",
            seconds(self.lateness_max_ns),
        );
    }

    #[expect(clippy::cast_precision_loss, reason = "a share, for show")]
    fn kv_usage(&self) -> f64 {
        self.load.kv_reserved_tokens as f64 / self.load.kv_capacity_tokens.max(1) as f64
    }
}

/// A page under construction.
struct Page {
    text: String,
    /// The labels that every sample has.
    base: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string can't fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let base = &self.base;
        let _ = writeln!(self.text, "{name}{{{base}{labels}}} {value}");
    }
}

#[derive(Debug, Clone, Default)]
struct Histogram {
    /// Observations at or below each bound, and above the one before.
    buckets: [u64; TTFT_BOUNDS_S.len()],
    count: u64,
    sum_ns: i64,
}

impl Histogram {
    fn observe(&mut self, duration_ns: i64) {
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(duration_ns);
        let duration_s = seconds(duration_ns);
        let bucket = TTFT_BOUNDS_S
            .iter()
            .position(|bound_s| duration_s <= *bound_s);
        if let Some(bucket) = bucket {
            self.buckets[bucket] += 1;
        }
    }

    fn render(&self, name: &str, page: &mut Page) {
        page.family(
            name,
            "histogram",
            "From a request's arrival to its first token.",
        );
        let bucket_name = format!("{name}_bucket");
        let mut below = 0;
        for (bound_s, count) in TTFT_BOUNDS_S.iter().zip(&self.buckets) {
            below += count;
            page.sample(&bucket_name, &format!(",le=\"{bound_s:?}\""), below);
        }
        page.sample(&bucket_name, ",le=\"+Inf\"", self.count);
        page.sample(&format!("{name}_count"), "", self.count);
        page.sample(&format!("{name}_sum"), "", seconds(self.sum_ns));
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds, for show")]
fn seconds(duration_ns: i64) -> f64 {
    duration_ns as f64 / NS_PER_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_vllms_names_and_cumulative_buckets() {
        let mut counts = Counts::default();
        counts.first_token(15_000_000, 10);
        counts.first_token(90_000_000, 20);
        counts.finished(Finish::Length);
        let page = counts.render("a \"model\"");
        for line in [
            r#"vllm:prompt_tokens_total{engine="0",model_name="a \"model\""} 30"#,
            r#"vllm:request_success_total{engine="0",model_name="a \"model\"",finished_reason="length"} 1"#,
            r#"vllm:time_to_first_token_seconds_bucket{engine="0",model_name="a \"model\"",le="0.01"} 0"#,
            r#"vllm:time_to_first_token_seconds_bucket{engine="0",model_name="a \"model\"",le="0.02"} 1"#,
            r#"vllm:time_to_first_token_seconds_bucket{engine="0",model_name="a \"model\"",le="1.0"} 2"#,
            r#"vllm:time_to_first_token_seconds_count{engine="0",model_name="a \"model\""} 2"#,
            r#"vllm:time_to_first_token_seconds_sum{engine="0",model_name="a \"model\""} 0.105"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }
}
