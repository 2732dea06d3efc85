//! What a question in SQL may take.

use clap::Args;

use crate::sql::Limits;
use crate::units::{duration, parse_bytes, parse_positive_duration_ns};

#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct QuestionArgs {
    /// Memory that a question may take, such as 4GiB
    ///
    /// Beside what every process takes. A question goes to disk where it can, and ends where it
    /// can't. Without this flag `sql` gives it half of the memory of this machine, and `view` 1GiB.
    /// With it, the reports of `view` may take as much.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory_limit: Option<usize>,
    /// Time that a question may take
    ///
    /// Without this flag `sql` waits for as long as it takes, until Ctrl-C, and `view` 2 minutes.
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration_ns)]
    pub(crate) timeout: Option<i64>,
}

impl QuestionArgs {
    /// What was typed, with the verb's own limits where nothing was.
    pub(crate) fn or(&self, own: Limits) -> Limits {
        Limits {
            memory_bytes: self.memory_limit.unwrap_or(own.memory_bytes),
            timeout: self.timeout.map(duration).or(own.timeout),
            ..own
        }
    }
}
