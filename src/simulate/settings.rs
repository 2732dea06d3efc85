//! What can be set about the simulated server; the flags of `simulate`, one to one.
//!
//! The defaults look like a model of 8 billion parameters on one mid-range accelerator.

use clap::Args;

use super::error::SimulateError;

const NS_PER_S: f64 = 1e9;

/// The cost model: what a step of the engine takes and what fits into it.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Cost model")]
pub struct EngineSettings {
    /// Prompt tokens that are computed a second
    #[arg(
        long = "prefill-rate",
        value_name = "TOKENS/S",
        default_value_t = 8_000
    )]
    pub prefill_tokens_per_s: u32,

    /// Cost of any step, before what it computes
    ///
    /// A step is one pass of the model. It takes this, plus its prompt tokens at the prefill
    /// rate, plus, where it decodes at all, the three costs of decoding.
    #[arg(long = "step-overhead", value_name = "TIME", default_value = "500us", value_parser = parse_time_ns)]
    pub step_overhead_ns: i64,

    /// Cost of a step that decodes, whatever the batch
    #[arg(long = "decode-base", value_name = "TIME", default_value = "12ms", value_parser = parse_time_ns)]
    pub decode_base_ns: i64,

    /// Cost that each decoding sequence adds to a step
    #[arg(long = "decode-per-sequence", value_name = "TIME", default_value = "150us", value_parser = parse_time_ns)]
    pub decode_per_sequence_ns: i64,

    /// Cost that each token of decoding sequences' contexts adds to a step
    ///
    /// 0 by default, because the cost of a sequence holds that of a usual context.
    #[arg(long = "decode-per-kv-token", value_name = "TIME", default_value = "0ns", value_parser = parse_time_ns)]
    pub decode_per_kv_token_ns: i64,

    /// Sequences that run at once
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_batch: u32,

    /// Tokens that a step computes at most, decoded ones first
    ///
    /// Longer prompts are computed in pieces, and prompts slow the sequences that decode.
    #[arg(long = "step-tokens", value_name = "TOKENS", default_value_t = 2_048)]
    pub step_token_budget: u32,

    /// Tokens that the key-value cache holds
    ///
    /// A request is admitted when its prompt and its whole output fit, so that none is ever
    /// preempted.
    #[arg(long = "kv-tokens", value_name = "TOKENS", default_value_t = 200_000)]
    pub kv_capacity_tokens: u64,

    /// Requests that may wait; more are answered with 429
    #[arg(long, value_name = "N")]
    pub max_queue: Option<u32>,

    /// Spread of step times: 0.1 draws each from 90 to 110 percent
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    pub jitter: f64,

    /// Stream every request at this rate, beside the cost model
    ///
    /// Each request then has a pace of its own from its own arrival on, however many there are:
    /// known delays, for measuring clients.
    #[arg(long, value_name = "TOKENS/S")]
    pub stream_rate: Option<f64>,

    /// Time to the first token under `--stream-rate`
    #[arg(long = "stream-ttft", value_name = "TIME", default_value = "50ms", value_parser = parse_time_ns)]
    pub stream_ttft_ns: i64,

    /// Seed of all that is drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            prefill_tokens_per_s: 8_000,
            step_overhead_ns: 500_000,
            decode_base_ns: 12_000_000,
            decode_per_sequence_ns: 150_000,
            decode_per_kv_token_ns: 0,
            max_batch: 64,
            step_token_budget: 2_048,
            kv_capacity_tokens: 200_000,
            max_queue: None,
            jitter: 0.0,
            stream_rate: None,
            stream_ttft_ns: 50_000_000,
            seed: 0,
        }
    }
}

impl EngineSettings {
    /// Checks the settings against each other.
    ///
    /// # Errors
    ///
    /// [`SimulateError::Setting`] names the flag and what would be right.
    pub fn check(&self) -> Result<(), SimulateError> {
        if self.prefill_tokens_per_s == 0 {
            return Err(setting("--prefill-rate", "must be at least 1"));
        }
        if self.max_batch == 0 {
            return Err(setting("--max-batch", "must be at least 1"));
        }
        if self.max_queue == Some(0) {
            return Err(setting(
                "--max-queue",
                "must be at least 1: every request waits for the step under way",
            ));
        }
        if self.step_token_budget <= self.max_batch {
            return Err(setting(
                "--step-tokens",
                "must be greater than `--max-batch`, or prompts find no room in a step",
            ));
        }
        if self.kv_capacity_tokens < 2 {
            return Err(setting("--kv-tokens", "must be at least 2"));
        }
        if !(0.0..1.0).contains(&self.jitter) {
            return Err(setting("--jitter", "must be at least 0 and less than 1"));
        }
        if self.step_overhead_ns + self.decode_base_ns + self.decode_per_sequence_ns == 0 {
            return Err(setting(
                "--decode-base",
                "must be more than 0 where `--step-overhead` and `--decode-per-sequence` are 0",
            ));
        }
        self.stream_interval_ns().map(|_| ())
    }

    /// The nanoseconds between two tokens under `--stream-rate`; `None` in the cost model.
    pub(super) fn stream_interval_ns(&self) -> Result<Option<i64>, SimulateError> {
        let Some(rate) = self.stream_rate else {
            return Ok(None);
        };
        if !(0.001..=1_000_000.0).contains(&rate) {
            return Err(setting("--stream-rate", "must be from 0.001 to 1000000"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "between a microsecond and a thousand seconds, in nanoseconds"
        )]
        let interval_ns = (NS_PER_S / rate).round() as i64;
        Ok(Some(interval_ns))
    }
}

/// The HTTP front, and the engine behind it.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct ServerSettings {
    /// The cost model.
    #[command(flatten)]
    pub engine: EngineSettings,

    /// Name of the model that is served
    #[arg(
        long = "served-model-name",
        value_name = "NAME",
        help_heading = "Simulated model"
    )]
    pub served_model_name: Option<String>,

    /// Tokens that a prompt and its answer may have together
    #[arg(
        long,
        value_name = "TOKENS",
        default_value_t = 131_072,
        help_heading = "Simulated model"
    )]
    pub max_model_len: u32,

    /// Tokens of an answer whose request gives no limit
    #[arg(
        long,
        value_name = "TOKENS",
        default_value_t = 128,
        help_heading = "Simulated model"
    )]
    pub output_tokens: u32,

    /// Let answers end by themselves after about this many tokens
    ///
    /// Their lengths are then geometric with this mean, and end with `stop`, where the request
    /// does not set `ignore_eos`. Without it, every answer is as long as its request allows.
    #[arg(long, value_name = "TOKENS", help_heading = "Simulated model")]
    pub stop_mean: Option<u32>,

    /// Write the server's own times into the text
    ///
    /// The first token of an answer is then ` RECEIVED:SENT` and each later one ` SENT`, in UTC
    /// nanoseconds: when the request was read whole, and just before the event was written.
    #[arg(long, help_heading = "Simulated server")]
    pub stamp: bool,

    /// Serve nothing but streams of stamps, at two thirds of the cost
    ///
    /// For measuring clients at rates that the whole server is late at: each token is written to
    /// its socket in the moment after its stamp. It needs `--stamp` and `--stream-rate`, and has
    /// no `/metrics` and no answers in one piece.
    #[arg(long, help_heading = "Simulated server")]
    pub bare: bool,

    /// Key that requests must bear
    #[arg(
        long,
        value_name = "KEY",
        env = "TOKENTAPE_SIMULATE_API_KEY",
        hide_env_values = true,
        help_heading = "Simulated server"
    )]
    pub api_key: Option<String>,

    /// Share of the requests that are answered with 429 and `Retry-After: 1`
    ///
    /// Each is drawn by the seed and its place among the requests, another attempt like a new one.
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        help_heading = "Simulated server"
    )]
    pub reject_rate: f64,

    /// Greatest size of a request's body, in bytes
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 32 << 20,
        help_heading = "Simulated server"
    )]
    pub max_body_bytes: usize,

    /// Tokens that a slow reader may lag behind before it is cut off
    #[arg(
        long,
        value_name = "TOKENS",
        default_value_t = 4_096,
        help_heading = "Simulated server"
    )]
    pub max_backlog_tokens: u32,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            engine: EngineSettings::default(),
            served_model_name: None,
            max_model_len: 131_072,
            output_tokens: 128,
            stop_mean: None,
            stamp: false,
            bare: false,
            api_key: None,
            reject_rate: 0.0,
            max_body_bytes: 32 << 20,
            max_backlog_tokens: 4_096,
        }
    }
}

impl ServerSettings {
    /// The name of the model that is served; any name is answered where the user gave none.
    pub fn model(&self) -> &str {
        self.served_model_name.as_deref().unwrap_or("simulated")
    }

    /// Checks the settings against each other.
    ///
    /// # Errors
    ///
    /// [`SimulateError::Setting`] names the flag and what would be right.
    pub fn check(&self) -> Result<(), SimulateError> {
        if self.max_model_len < 2 {
            return Err(setting("--max-model-len", "must be at least 2"));
        }
        if self.output_tokens == 0 {
            return Err(setting("--output-tokens", "must be at least 1"));
        }
        if self.stop_mean == Some(0) {
            return Err(setting("--stop-mean", "must be at least 1"));
        }
        if !(0.0..=1.0).contains(&self.reject_rate) {
            return Err(setting("--reject-rate", "must be a share from 0 to 1"));
        }
        if self.bare && self.reject_rate > 0.0 {
            return Err(setting("--reject-rate", "has no effect with `--bare`"));
        }
        self.bare_interval_ns()?;
        self.engine.check()
    }

    /// The nanoseconds between two tokens of the bare front; `None` where the whole one serves.
    pub(super) fn bare_interval_ns(&self) -> Result<Option<i64>, SimulateError> {
        if !self.bare {
            return Ok(None);
        }
        let interval_ns = self.engine.stream_interval_ns()?.filter(|_| self.stamp);
        match interval_ns {
            Some(_) => Ok(interval_ns),
            None => Err(setting("--bare", "needs `--stamp` and `--stream-rate`")),
        }
    }
}

fn setting(flag: &'static str, problem: &str) -> SimulateError {
    SimulateError::Setting {
        flag,
        problem: problem.to_owned(),
    }
}

/// Parses a duration with its unit, such as `12ms`, `0.15ms`, `150us`, `50ns` or `1s`.
fn parse_time_ns(text: &str) -> Result<i64, String> {
    let unit_at = text
        .find(|character: char| character.is_ascii_alphabetic() || character == 'µ')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let ns_per_unit = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return Err("write a time with its unit: 12ms, 150us, 50ns or 1s".to_owned()),
    };
    let ns = number
        .trim()
        .parse::<f64>()
        .map_err(|_| "write a time as a number with its unit: 12ms".to_owned())?
        * ns_per_unit;
    if !(0.0..=3.6e12).contains(&ns) {
        return Err("must be at least 0 and at most an hour".to_owned());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be at most an hour in nanoseconds"
    )]
    let ns = ns.round() as i64;
    Ok(ns)
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    #[test]
    fn the_flags_defaults_are_those_of_the_library() {
        let matches = ServerSettings::augment_args(Command::new("simulate"))
            .try_get_matches_from(["simulate"])
            .unwrap();
        let parsed = ServerSettings::from_arg_matches(&matches).unwrap();
        assert_eq!(parsed, ServerSettings::default());
        parsed.check().unwrap();
    }

    #[test]
    fn help_fits_a_narrow_terminal() {
        let command = ServerSettings::augment_args(Command::new("simulate"));
        for argument in command.get_arguments() {
            let help = argument.get_help().unwrap().to_string();
            assert!(help.len() <= 79, "{help}");
            assert!(!help.ends_with('.'), "{help}");
        }
    }

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(parse_time_ns("12ms"), Ok(12_000_000));
        assert_eq!(parse_time_ns("0.15ms"), Ok(150_000));
        assert_eq!(parse_time_ns("7us"), Ok(7_000));
        assert_eq!(parse_time_ns("7µs"), Ok(7_000));
        assert_eq!(parse_time_ns("50ns"), Ok(50));
        assert_eq!(parse_time_ns("1s"), Ok(1_000_000_000));
        for wrong in ["12", "ms", "-1ms", "1h", "", "2000000s", "NaNs"] {
            assert!(parse_time_ns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_named() {
        let mut settings = ServerSettings::default();
        settings.engine.step_token_budget = 64;
        let message = settings.check().unwrap_err().to_string();
        assert!(message.contains("--step-tokens"), "{message}");
        settings = ServerSettings::default();
        settings.engine.stream_rate = Some(0.0);
        let message = settings.check().unwrap_err().to_string();
        assert!(message.contains("--stream-rate"), "{message}");
        settings.engine.stream_rate = Some(1.0);
        settings.bare = true;
        let message = settings.check().unwrap_err().to_string();
        assert_eq!(message, "`--bare` needs `--stamp` and `--stream-rate`");
        settings.stamp = true;
        settings.check().unwrap();
        settings.reject_rate = 0.1;
        let message = settings.check().unwrap_err().to_string();
        assert_eq!(message, "`--reject-rate` has no effect with `--bare`");
        settings.reject_rate = 10.0;
        let message = settings.check().unwrap_err().to_string();
        assert!(message.contains("from 0 to 1"), "{message}");
    }
}
