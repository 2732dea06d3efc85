//! One client: when it sends, and how long what it sends is.

use super::lengths::Lengths;
use super::rates::{RateWindow, Rates, WINDOW_S};
use crate::draw::{Draw, field};

const NS_PER_S: f64 = 1e9;
/// Requests that one window can number.
const WINDOW_BITS: u32 = 40;

/// A stretch of time, in nanoseconds since the start of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where it begins.
    pub(super) from_ns: i64,
    /// Where it has ended.
    pub(super) to_ns: i64,
}

/// A client and its files.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// What it is called: `client-N`.
    pub(super) name: String,
    /// Its rates.
    pub(super) rates: Rates,
    /// Its lengths.
    pub(super) lengths: Lengths,
}

impl Client {
    /// Returns how many requests it is expected to send in a stretch.
    pub(super) fn expected(&self, stretch: Stretch) -> f64 {
        let windows = self.rates.windows.iter();
        windows
            .map(|window| window.rate_per_s * seconds_inside(window, stretch))
            .sum()
    }

    /// Returns how many of its windows in a stretch have traffic and no lengths of their own.
    pub(super) fn borrowed(&self, stretch: Stretch) -> usize {
        let windows = self.rates.windows.iter();
        let inside = windows.filter(|window| seconds_inside(window, stretch) > 0.0);
        inside
            .filter(|window| self.lengths.is_borrowed(window.start_s))
            .count()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "lengths of a few windows are far below what a float counts"
)]
fn seconds_inside(window: &RateWindow, stretch: Stretch) -> f64 {
    let from_ns = start_ns(window).max(stretch.from_ns);
    let to_ns = (start_ns(window) + WINDOW_NS).min(stretch.to_ns);
    (to_ns - from_ns).max(0) as f64 / NS_PER_S
}

const WINDOW_NS: i64 = WINDOW_S as i64 * 1_000_000_000;

fn start_ns(window: &RateWindow) -> i64 {
    i64::from(window.start_s) * 1_000_000_000
}

/// When a client sends, in order: a process for each window, as a pure function of the seed, the
/// client and the window.
#[derive(Debug, Clone)]
pub(super) struct Arrivals {
    seed: u64,
    factor: f64,
    stretch: Stretch,
    /// Place of the current window among the client's.
    window: usize,
    /// Number of the next request in it.
    next: u64,
    /// Time since the start of the window, in seconds.
    elapsed_s: f64,
}

/// A request of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// When it is sent, in nanoseconds since the start of the files.
    pub(super) at_ns: i64,
    /// Start of the window that it is in, in seconds.
    pub(super) window_s: u32,
    /// A number of its own among the client's.
    pub(super) index: u64,
}

impl Arrivals {
    /// Starts a client that has that seed of its own, at `factor` times its rates.
    pub(super) fn new(client: &Client, seed: u64, factor: f64, stretch: Stretch) -> Self {
        let windows = &client.rates.windows;
        let window =
            windows.partition_point(|window| start_ns(window) + WINDOW_NS <= stretch.from_ns);
        Self {
            seed,
            factor,
            stretch,
            window,
            next: 0,
            elapsed_s: 0.0,
        }
    }

    /// Returns the next request; none at the end of the stretch.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a time in a window is below 600 s"
    )]
    pub(super) fn next(&mut self, client: &Client) -> Option<Arrival> {
        loop {
            let window = client.rates.windows.get(self.window)?;
            if start_ns(window) >= self.stretch.to_ns {
                return None;
            }
            let index = (u64::from(window.start_s) << WINDOW_BITS) | self.next;
            let mut draw = Draw::new(self.seed, index, field::SERVEGEN_GAP);
            let gap = match self.next {
                0 => window.gaps.first(&mut draw),
                _ => window.gaps.gap(&mut draw),
            };
            self.elapsed_s += gap / (window.rate_per_s * self.factor);
            if self.elapsed_s >= f64::from(WINDOW_S) {
                self.window += 1;
                self.next = 0;
                self.elapsed_s = 0.0;
                continue;
            }
            self.next += 1;
            let at_ns = start_ns(window) + (self.elapsed_s * NS_PER_S) as i64;
            if at_ns >= self.stretch.to_ns {
                return None;
            }
            if at_ns >= self.stretch.from_ns {
                return Some(Arrival {
                    at_ns,
                    window_s: window.start_s,
                    index,
                });
            }
        }
    }
}
