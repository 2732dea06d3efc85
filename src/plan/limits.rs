//! The limits on time of a plan.

use serde::{Deserialize, Serialize};

use super::spelling::seconds;

/// Limits on time, in nanoseconds here and in seconds as JSON.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanLimits {
    /// Length of the schedule.
    #[serde(
        rename = "duration_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub duration_ns: Option<i64>,
    /// Time that requests in flight have after a stop.
    #[serde(
        rename = "drain_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub drain_ns: Option<i64>,
    /// Time that one request may take.
    #[serde(
        rename = "request_timeout_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_timeout_ns: Option<i64>,
    /// Time until the first token.
    #[serde(
        rename = "first_timeout_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub first_timeout_ns: Option<i64>,
    /// Time between two reads of one answer.
    #[serde(
        rename = "idle_timeout_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub idle_timeout_ns: Option<i64>,
    /// Time that DNS, TCP and TLS may take.
    #[serde(
        rename = "connect_timeout_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub connect_timeout_ns: Option<i64>,
    /// Time after which the client hangs up on the requests of `cancel_rate`.
    #[serde(
        rename = "cancel_after_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub cancel_after_ns: Option<i64>,
    /// Length of the check of the client before the run; 0 leaves it out.
    #[serde(
        rename = "self_check_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub self_check_ns: Option<i64>,
    /// Whether the rest is sent where the first requests all failed alike.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_going: bool,
}

/// What a limit is where a plan does not say it, in nanoseconds.
impl PlanLimits {
    /// Time that requests in flight have after a stop.
    pub fn drain(&self) -> i64 {
        self.drain_ns.unwrap_or(30 * NS_PER_S)
    }

    /// Time that one request may take.
    pub fn request_timeout(&self) -> i64 {
        self.request_timeout_ns.unwrap_or(3_600 * NS_PER_S)
    }

    /// Time between two reads of one answer.
    pub fn idle_timeout(&self) -> i64 {
        self.idle_timeout_ns.unwrap_or(120 * NS_PER_S)
    }

    /// Time that DNS, TCP and TLS may take.
    pub fn connect_timeout(&self) -> i64 {
        self.connect_timeout_ns.unwrap_or(10 * NS_PER_S)
    }

    /// Length of the check of the client before the run.
    pub fn self_check(&self) -> i64 {
        self.self_check_ns.unwrap_or(NS_PER_S / 50)
    }
}

/// A second, in nanoseconds.
const NS_PER_S: i64 = 1_000_000_000;
