//! Axes: where a value stands, and which values are written beside the axis.
//!
//! Axes of latency and of counts begin at zero, so that a length on paper is proportional to what
//! it stands for. The exceptions are labelled: a logarithmic axis, and the percentile axis, on
//! which each nine takes the same room.

use super::format;
use super::language::{said, say};

/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Linear,
    Logarithmic,
    Nines,
}

/// A written position on an axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    /// Position, in the axis's own room (see [`Axis::place`]).
    pub(crate) at: f64,
    /// What is written there.
    pub(crate) label: String,
}

/// One axis of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    layout: Layout,
    /// First position.
    pub(crate) from: f64,
    /// Last position; always above `from`.
    pub(crate) to: f64,
    /// Written positions, in order.
    pub(crate) ticks: Vec<Tick>,
    /// What the axis counts, such as `ms` or `requests/s`.
    pub(crate) title: String,
}

impl Axis {
    /// Lays out `low..=high` linearly, with about `count` round ticks.
    pub(crate) fn linear(low: f64, high: f64, count: u32, title: &str) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let step = round_step((high - low) / f64::from(count.max(1)));
        let ticks = multiples(step, low, high);
        Self {
            layout: Layout::Linear,
            from: low,
            to: high,
            ticks,
            title: title.to_owned(),
        }
    }

    /// Lays out values from zero up to a round number that is at least `high`.
    pub(crate) fn from_zero(high: f64, title: &str) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = round_step(high / 4.0);
        let top = (high / step - 1e-9).ceil() * step;
        let ticks = multiples(step, 0.0, top);
        Self {
            layout: Layout::Linear,
            from: 0.0,
            to: top,
            ticks,
            title: title.to_owned(),
        }
    }

    /// Lays out positive values by their logarithm.
    pub(crate) fn logarithmic(low: f64, high: f64, title: &str) -> Self {
        let low = if low > 0.0 { low } else { 1e-3 };
        let high = if high > low { high } else { low * 10.0 };
        let (from, to) = (low.log10(), high.log10());
        let steps: &[f64] = if to - from < 2.0 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        // Six labels at most, or they run into each other on a small screen.
        let every = ((to - from) / 6.0).ceil().max(1.0);
        let mut ticks = Vec::new();
        let mut decade = from.floor();
        while decade <= to {
            for step in steps {
                let at = decade + step.log10();
                if at >= from - 1e-9 && at <= to + 1e-9 {
                    ticks.push(Tick {
                        at,
                        label: tick_label(step * 10f64.powf(decade)),
                    });
                }
            }
            decade += every;
        }
        let title = say!("{title}, log scale", title = said(title));
        Self {
            layout: Layout::Logarithmic,
            from,
            to,
            ticks,
            title,
        }
    }

    /// Lays out shares of one so that each further nine takes the same room, up to the last share
    /// below one that is drawn, `highest`; the maximum has a place of its own at the end.
    pub(crate) fn nines(highest: f64) -> Self {
        let last = nines_of(highest.clamp(0.5, 0.999_999_9));
        let to = last + 0.55;
        let marks = [
            (0.0, "min"),
            (0.5, "p50"),
            (0.9, "p90"),
            (0.99, "p99"),
            (0.999, "p99.9"),
            (0.9999, "p99.99"),
        ];
        let mut ticks: Vec<Tick> = marks
            .iter()
            .map(|(share, label)| Tick {
                at: nines_of(*share),
                label: (*label).to_owned(),
            })
            .filter(|tick| tick.at <= last + 1e-9)
            // On a long axis the first two would run into each other.
            .skip(usize::from(last > 3.5))
            .collect();
        ticks.push(Tick {
            at: to,
            label: "max".to_owned(),
        });
        Self {
            layout: Layout::Nines,
            from: 0.0,
            to,
            ticks,
            title: String::new(),
        }
    }

    /// Writes `suffix` behind every number, in place of a title.
    pub(crate) fn with_suffix(mut self, suffix: &str) -> Self {
        for tick in &mut self.ticks {
            tick.label.push_str(suffix);
        }
        self.title.clear();
        self
    }

    /// Names the layout, for the page's script.
    pub(crate) fn kind(&self) -> &'static str {
        match self.layout {
            Layout::Linear => "linear",
            Layout::Logarithmic => "log",
            Layout::Nines => "nines",
        }
    }

    /// Returns where `value` stands between `from` and `to`.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let at = match self.layout {
            Layout::Linear => value,
            // A zero has no logarithm; it stands at the foot of the axis.
            Layout::Logarithmic if value > 0.0 => value.log10(),
            Layout::Logarithmic => self.from,
            Layout::Nines if value >= 1.0 => self.to,
            Layout::Nines => nines_of(value),
        };
        at.clamp(self.from, self.to)
    }
}

/// Counts the nines of a share: 0.9 → 1, 0.99 → 2.
fn nines_of(share: f64) -> f64 {
    -(1.0 - share).max(1e-9).log10()
}

/// Rounds a step up to 1, 2, 2.5 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let lead = step / power;
    let round = [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .find(|round| lead <= round + 1e-9)
        .unwrap_or(10.0);
    round * power
}

/// Returns ticks at the multiples of `step` within `low..=high`.
fn multiples(step: f64, low: f64, high: f64) -> Vec<Tick> {
    let mut ticks = Vec::new();
    let mut index = (low / step - 1e-9).ceil();
    while index * step <= high + step * 1e-6 && ticks.len() < 32 {
        ticks.push(Tick {
            at: index * step,
            label: tick_label(index * step),
        });
        index += 1.0;
    }
    ticks
}

/// Writes a tick's value in few letters.
fn tick_label(value: f64) -> String {
    let size = value.abs();
    if size >= 1e9 {
        format!("{}G", format::trimmed(value / 1e9, 1))
    } else if size >= 1e6 {
        format!("{}M", format::trimmed(value / 1e6, 1))
    } else if size >= 1e4 {
        format!("{}k", format::trimmed(value / 1e3, 1))
    } else {
        format::trimmed(value, 6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn an_axis_from_zero_ends_on_a_round_number_above_the_data() {
        let axis = Axis::from_zero(873.0, "ms");
        assert_eq!(labels(&axis), ["0", "250", "500", "750", "1,000"]);
        assert!(axis.to >= 873.0);
        assert_eq!(
            labels(&Axis::from_zero(4.0, "ms")),
            ["0", "1", "2", "3", "4"]
        );
    }

    #[test]
    fn axes_of_nothing_still_have_room() {
        for axis in [
            Axis::from_zero(0.0, ""),
            Axis::linear(3.0, 3.0, 6, ""),
            Axis::logarithmic(0.0, 0.0, ""),
            Axis::nines(0.0),
        ] {
            assert!(axis.to > axis.from && !axis.ticks.is_empty(), "{axis:?}");
        }
    }

    #[test]
    fn each_nine_takes_the_same_room() {
        let axis = Axis::nines(0.999);
        assert_eq!(labels(&axis), ["min", "p50", "p90", "p99", "p99.9", "max"]);
        let rooms = [axis.place(0.9), axis.place(0.99) - axis.place(0.9)];
        assert!((rooms[0] - rooms[1]).abs() < 1e-9);
        assert!((axis.place(1.0) - axis.to).abs() < 1e-9);
    }

    #[test]
    fn a_logarithmic_axis_puts_zero_at_its_foot() {
        let axis = Axis::logarithmic(0.1, 1000.0, "ms");
        assert_eq!(labels(&axis), ["0.1", "1", "10", "100", "1,000"]);
        assert!((axis.place(0.0) - axis.from).abs() < 1e-9);
    }
}
