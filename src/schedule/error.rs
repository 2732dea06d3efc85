//! Why there is no schedule.

/// Why a schedule can't be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// A rate must be a positive number.
    #[error("a request rate of {0} is not a positive number")]
    Rate(f64),
    /// A shape must be a positive number.
    #[error("a burstiness of {0} is not a positive number")]
    Shape(f64),
    /// A rising rate needs an end.
    #[error("a ramp needs `--num-prompts` or `--duration` to know where it ends")]
    EndlessRamp,
    /// What is due at once must end somewhere.
    #[error("all requests are due at once, and nothing says how many")]
    EndlessBurst,
    /// Arrivals at a rate that nobody named.
    #[error("the arrivals have no rate")]
    NoRate,
    /// A field of the plan's arrivals that no schedule has.
    #[error("arrivals have no field `{0}`")]
    Unknown(String),
    /// Steps of a rate that can't be read.
    #[error("{0}")]
    Steps(String),
    /// A rate that rises along the requests needs their number.
    #[error("a ramp along the requests needs `--num-prompts`")]
    UncountedRamp,
}
