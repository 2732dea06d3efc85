//! A picture of the rate over time, for a trace whose length nobody knows beforehand.
//!
//! Bins double in width whenever time runs out of them. At the end at least half of them are in
//! use, which is many to a column, so that columns of equal width can be made of them.

use crate::trace::ratio::{float, ratio};

/// Bins that are kept.
const BINS: usize = 8_192;
/// Width of a bin before anything is known, in nanoseconds.
const FIRST_WIDTH_NS: u64 = 1_000;

/// Counts arrivals over time.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    width_ns: u64,
    bins: Vec<u64>,
    latest_ns: u64,
}

/// The rate over time, in columns of equal width.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RateSketch {
    /// Width of a column, in nanoseconds.
    pub(crate) column_ns: f64,
    /// Requests a second of each column, from the first arrival to the last one.
    pub(crate) rates_per_s: Vec<f64>,
}

impl Sketch {
    /// Returns what has seen no arrival.
    pub(super) fn new() -> Self {
        Self {
            width_ns: FIRST_WIDTH_NS,
            bins: vec![0; BINS],
            latest_ns: 0,
        }
    }

    /// Takes an arrival by its time since the first one.
    pub(super) fn add(&mut self, since_first_ns: u64) {
        self.latest_ns = self.latest_ns.max(since_first_ns);
        let mut bin = since_first_ns / self.width_ns;
        while bin >= BINS as u64 {
            self.fold();
            bin = since_first_ns / self.width_ns;
        }
        if let Some(count) = usize::try_from(bin)
            .ok()
            .and_then(|bin| self.bins.get_mut(bin))
        {
            *count += 1;
        }
    }

    /// Makes one bin of two.
    fn fold(&mut self) {
        for bin in 0..BINS / 2 {
            self.bins[bin] = self.bins[2 * bin] + self.bins[2 * bin + 1];
        }
        self.bins[BINS / 2..].fill(0);
        self.width_ns = self.width_ns.saturating_mul(2);
    }

    /// Returns the rate in so many columns; none where all arrive at one instant, or too close
    /// together for so many columns.
    pub(super) fn columns(&self, columns: u32) -> Option<RateSketch> {
        let span_ns = float(self.latest_ns.into());
        let column_ns = span_ns / f64::from(columns);
        let used = usize::try_from(self.latest_ns / self.width_ns).ok()? + 1;
        if column_ns <= 0.0 || used < usize::try_from(columns).ok()? {
            return None;
        }
        let mut requests = vec![0.0; usize::try_from(columns).ok()?];
        for (bin, &count) in self.bins.iter().take(used).enumerate() {
            self.spread(bin, float(count.into()), span_ns, &mut requests);
        }
        let a_second = 1e9 / column_ns;
        Some(RateSketch {
            column_ns,
            rates_per_s: requests
                .iter()
                .map(|requests| requests * a_second)
                .collect(),
        })
    }

    /// Shares a bin's requests out among the columns that it lies in.
    fn spread(&self, bin: usize, count: f64, span_ns: f64, requests: &mut [f64]) {
        if count <= 0.0 {
            return;
        }
        let columns = float(requests.len() as u128);
        let column_of = |at_ns: f64| at_ns / span_ns * columns;
        let width_ns = float(self.width_ns.into());
        let from_ns = float(bin as u128) * width_ns;
        let from = column_of(from_ns);
        let to = column_of((from_ns + width_ns).min(span_ns));
        let mut column = 0.0;
        for place in requests {
            let inside = (to.min(column + 1.0) - from.max(column)).max(0.0);
            if to - from > 0.0 {
                *place += count * inside / (to - from);
            } else if (column..=column + 1.0).contains(&from) {
                // The last arrival alone, at the very end.
                *place += count;
                return;
            }
            column += 1.0;
        }
    }
}

impl RateSketch {
    /// Returns the rate of the fullest column, in requests a second.
    pub(crate) fn highest_per_s(&self) -> f64 {
        self.rates_per_s.iter().copied().fold(0.0, f64::max)
    }

    /// Draws each column as a block that is as high as its rate, the fullest one whole.
    pub(crate) fn line(&self) -> String {
        const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let highest = self.highest_per_s();
        let block = |rate: &f64| {
            // Something is never drawn as nothing.
            let height = BLOCKS
                .iter()
                .zip(1_u128..)
                .find(|(_, eighths)| *rate <= highest * ratio(*eighths, 8_u128).unwrap_or(1.0));
            match height {
                _ if *rate <= 0.0 => ' ',
                Some((block, _)) => *block,
                None => '█',
            }
        };
        self.rates_per_s.iter().map(block).collect()
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    reason = "the numbers of these tests are small"
)]
mod tests {
    use proptest::prelude::*;

    use super::{BINS, RateSketch, Sketch};

    const SECOND: u64 = 1_000_000_000;

    fn sketch(times: impl IntoIterator<Item = u64>) -> Sketch {
        let mut sketch = Sketch::new();
        times.into_iter().for_each(|at_ns| sketch.add(at_ns));
        sketch
    }

    #[test]
    fn a_steady_rate_is_a_flat_line() {
        let found = sketch((0..=60_000).map(|row| row * SECOND / 100))
            .columns(60)
            .unwrap();
        assert!((found.column_ns - 1e10).abs() < 1.0);
        for rate in &found.rates_per_s {
            assert!((rate - 100.0).abs() < 1.0, "{rate}");
        }
        assert_eq!(found.line(), "█".repeat(60));
    }

    #[test]
    fn a_burst_and_a_silence_are_seen() {
        let quiet = (0..100).map(|row| row * SECOND);
        let burst = (0..1000).map(|row| 50 * SECOND + row * 1_000_000);
        let mut times: Vec<u64> = quiet.chain(burst).filter(|at| *at < 80 * SECOND).collect();
        times.push(100 * SECOND);
        times.sort_unstable();
        let line = sketch(times).columns(10).unwrap().line();
        assert_eq!(line, "▁▁▁▁▁█▁▁ ▁");
    }

    #[test]
    fn what_has_no_length_has_no_picture() {
        assert_eq!(sketch([]).columns(60), None);
        assert_eq!(sketch([0, 0, 0]).columns(60), None);
        assert_eq!(sketch([0, 5]).columns(60), None);
    }

    #[test]
    fn heights_are_eighths_of_the_highest() {
        let rates_per_s = vec![0.0, 0.1, 1.0, 1.1, 4.0, 7.9, 8.0];
        let found = RateSketch {
            column_ns: 1.0,
            rates_per_s,
        };
        assert_eq!(found.line(), " ▁▁▂▄██");
    }

    proptest! {
        #[test]
        fn no_request_is_lost_however_long_the_trace(
            times in prop::collection::vec(0_u64..=u64::MAX, 1..100),
            far in 0_u32..63,
            columns in 1_u32..80,
        ) {
            let mut times: Vec<u64> = times.iter().map(|at| at >> far).collect();
            times.sort_unstable();
            let kept = sketch(times.iter().copied());
            prop_assert_eq!(kept.bins.iter().sum::<u64>(), times.len() as u64);
            prop_assert_eq!(kept.bins.len(), BINS);
            if let Some(found) = kept.columns(columns) {
                let requests: f64 =
                    found.rates_per_s.iter().map(|rate| rate * found.column_ns / 1e9).sum();
                prop_assert!((requests - times.len() as f64).abs() < 1e-6 * times.len() as f64);
            }
        }
    }
}
