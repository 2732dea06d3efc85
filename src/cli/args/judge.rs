//! What an analysis looks at, and what it holds numbers against.

use clap::{Args, ValueEnum};

use crate::units::{parse_duration_ns, parse_positive_duration_ns};

/// Where the warm-up ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warmup {
    /// So many nanoseconds after the start of the schedule.
    Given(i64),
    /// Where the run itself says so.
    Auto,
}

/// What numbers are judged by.
#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    #[command(flatten)]
    pub(crate) goals: GoalArgs,
    /// Form of a latency that goals apply to [default: intended in open loop]
    #[arg(long, value_name = "FORM")]
    pub(crate) slo_from: Option<SloForm>,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    #[command(flatten)]
    pub(crate) report_settings: ReportSettingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GoalArgs {
    /// Goals in milliseconds: ttft:200 tpot:50 e2el:5000
    #[arg(long, alias = "slo", value_name = "METRIC:MS", num_args = 1..)]
    pub(crate) goodput: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SloForm {
    /// From when a request was due
    Intended,
    /// From when it was sent
    Sent,
}

#[derive(Debug, Args)]
pub(crate) struct WindowArgs {
    /// Leave out what was due in this much of the start, or `auto`
    ///
    /// Requests that were due before it are left out of rates, goodput and all
    /// latencies. With `auto` the warm-up ends where the requests in flight
    /// become level, found by MSER-5 (White, Cobb and Spratt 2000); in a closed
    /// loop where the first request of every slot has its first token. A run
    /// that never becomes level keeps its start. What `auto` finds is shown in
    /// any case, by the query `warmup_end`.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_warmup)]
    pub(crate) warmup: Warmup,
    /// Begin of a window that replaces the steady one
    ///
    /// In time of the tape, where 0 is the start of the schedule. Rates are
    /// then taken over the window. Latencies and goodput cover the requests
    /// that were due in it, whenever they ended, both ends included. What is
    /// said of the whole run stays so.
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ns, conflicts_with = "warmup")]
    pub(crate) from: Option<i64>,
    /// End of a window that replaces the steady one
    ///
    /// Without `--from` the window begins at 0; without `--to` it ends where
    /// the steady one does. It ends with the run at the latest.
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration_ns, conflicts_with = "warmup")]
    pub(crate) to: Option<i64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "ReportSettings")]
pub(crate) struct ReportSettingArgs {
    /// A longer gap between the chunks of an answer is a stall
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_positive_duration_ns)]
    pub(crate) stall: i64,
    /// Speed of a reader, for the share of tokens that come in time
    #[arg(long, value_name = "TOKENS/S", default_value = "5", value_parser = parse_speed)]
    pub(crate) reader: f64,
    /// Price of a million input tokens
    #[arg(long, value_name = "PRICE", value_parser = parse_price, requires = "price_output")]
    pub(crate) price_input: Option<f64>,
    /// Price of a million output tokens
    #[arg(long, value_name = "PRICE", value_parser = parse_price, requires = "price_input")]
    pub(crate) price_output: Option<f64>,
    /// Price of one GPU for an hour
    #[arg(long, value_name = "PRICE", value_parser = parse_price)]
    pub(crate) gpu_hour: Option<f64>,
    /// How many GPUs the server has
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..),
        requires = "gpu_hour"
    )]
    pub(crate) gpus: u32,
}

fn parse_warmup(text: &str) -> Result<Warmup, String> {
    if text == "auto" {
        return Ok(Warmup::Auto);
    }
    parse_duration_ns(text).map(Warmup::Given)
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.trim_end_matches("/s").parse() {
        Ok(speed) if speed > 0.0 && speed < 1e9 => Ok(speed),
        _ => Err("write tokens a second above 0, such as 5 or 12.5".to_owned()),
    }
}

fn parse_price(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(price) if (0.0..1e12).contains(&price) => Ok(price),
        _ => Err("write an amount of money without its sign, such as 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_is_a_time_or_auto() {
        assert_eq!(parse_warmup("auto"), Ok(Warmup::Auto));
        assert_eq!(parse_warmup("2s"), Ok(Warmup::Given(2_000_000_000)));
        assert!(parse_warmup("automatic").is_err());
    }

    #[test]
    fn refuses_what_is_no_speed_and_no_price() {
        for text in ["0", "-1", "nan", "inf", "x", ""] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
        for text in ["-0.1", "nan", "inf", "$2", ""] {
            assert!(parse_price(text).is_err(), "{text}");
        }
        assert_eq!(parse_speed("12.5/s"), Ok(12.5));
        assert_eq!(parse_price("0"), Ok(0.0));
    }
}
