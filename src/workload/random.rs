//! The data set `random`: words of exact lengths, as `vllm bench serve` defines them.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::content::Content;
use super::dataset::{Dataset, DatasetKind, DatasetPath, DatasetSetup, OpenDataset};
use super::error::WorkloadError;
use super::prompt::{PromptSpec, Workload};
use crate::draw::{Draw, field};
use crate::flag::{Flag, FlagKind};

/// Random words of an exact length in tokens.
pub(super) const RANDOM: DatasetKind = DatasetKind {
    name: "random",
    about: "Random words of an exact length in tokens",
    path: DatasetPath::None,
    has_audio: false,
    flags: &[
        Flag {
            name: "random-input-len",
            value_name: "TOKENS",
            help: "Length of a prompt, in tokens",
            kind: FlagKind::Count(1),
            default: Some("1024"),
        },
        Flag {
            name: "random-output-len",
            value_name: "TOKENS",
            help: "Length of an answer, in tokens",
            kind: FlagKind::Count(1),
            default: Some("128"),
        },
        Flag {
            name: "random-range-ratio",
            value_name: "SHARE",
            help: "Spread of both lengths: 0.2 draws from 80 to 120 percent",
            kind: FlagKind::Number,
            default: Some("0"),
        },
        Flag {
            name: "random-prefix-len",
            value_name: "TOKENS",
            help: "Tokens at the start of every prompt that all share",
            kind: FlagKind::Count(0),
            default: Some("0"),
        },
    ],
    open: OpenDataset::Requests(open),
};

fn open(setup: DatasetSetup<'_>) -> Result<Box<dyn Dataset>, WorkloadError> {
    let options = Value::Object(setup.options.clone());
    let lengths: RandomLengths =
        serde_json::from_value(options).map_err(|error| WorkloadError::Lengths {
            message: format!("the data set `random`: {error}"),
        })?;
    Ok(Box::new(Random::new(lengths, setup.workload)?))
}

pub(super) struct Random {
    lengths: RandomLengths,
    workload: Arc<Workload>,
}

impl Random {
    /// Random requests of these lengths.
    ///
    /// # Errors
    ///
    /// Some request would have no prompt.
    pub(super) fn new(
        lengths: RandomLengths,
        workload: Arc<Workload>,
    ) -> Result<Self, WorkloadError> {
        lengths.check()?;
        Ok(Self { lengths, workload })
    }

    fn lengths_of(&self, index: u64) -> (u32, u32) {
        self.lengths.draw(self.workload.seed(), index)
    }
}

impl Dataset for Random {
    fn request(&self, index: u64) -> Content {
        let shared = self.lengths.prefix_tokens;
        let (tokens, output_tokens) = self.lengths_of(index);
        let prompt = self.workload.prompt(PromptSpec {
            shared_tokens: shared,
            ..PromptSpec::random(index, tokens)
        });
        Content {
            prefix_tokens: (shared > 0).then_some(if index == 0 { 0 } else { shared }),
            ..Content::made_up(prompt, output_tokens)
        }
    }

    fn typical_output_tokens(&self) -> Option<u32> {
        Some(self.lengths.output_tokens)
    }
}

/// Lengths of random requests, in tokens.
///
/// A length is uniform over the whole numbers from `length × (1 − ratio)`, rounded down, to
/// `length × (1 + ratio)`, rounded up. An output is at least 1 token long. The shared prefix comes
/// on top of the input.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct RandomLengths {
    /// Input without the shared prefix.
    #[serde(rename = "random_input_len")]
    pub(super) input_tokens: u32,
    /// Output.
    #[serde(rename = "random_output_len")]
    pub(super) output_tokens: u32,
    /// How far lengths spread, from 0 to below 1.
    #[serde(rename = "random_range_ratio", default)]
    pub(super) range_ratio: f64,
    /// Tokens that all prompts begin with.
    #[serde(rename = "random_prefix_len", default)]
    pub(super) prefix_tokens: u32,
}

#[cfg(test)]
impl Default for RandomLengths {
    fn default() -> Self {
        Self {
            input_tokens: 1024,
            output_tokens: 128,
            range_ratio: 0.0,
            prefix_tokens: 0,
        }
    }
}

impl RandomLengths {
    /// Fails where some request would have no prompt.
    fn check(&self) -> Result<(), WorkloadError> {
        let wrong = |message: String| Err(WorkloadError::Lengths { message });
        if !(0.0..1.0).contains(&self.range_ratio) {
            return wrong(format!(
                "`--random-range-ratio {}` is not from 0 to below 1",
                self.range_ratio
            ));
        }
        let (shortest, _) = bounds(self.input_tokens, self.range_ratio);
        if shortest.saturating_add(self.prefix_tokens) == 0 {
            return wrong(format!(
                "`--random-input-len {}` with `--random-range-ratio {}` can give a prompt of no token",
                self.input_tokens, self.range_ratio
            ));
        }
        Ok(())
    }

    /// Returns the input and output lengths of request `index`; the input has the prefix in it.
    fn draw(&self, seed: u64, index: u64) -> (u32, u32) {
        let input = uniform(
            bounds(self.input_tokens, self.range_ratio),
            Draw::new(seed, index, field::INPUT_LENGTH),
        );
        let (low, high) = bounds(self.output_tokens, self.range_ratio);
        let output = uniform(
            (low.max(1), high.max(1)),
            Draw::new(seed, index, field::OUTPUT_LENGTH),
        );
        (self.prefix_tokens.saturating_add(input), output)
    }
}

/// Returns the shortest and the longest length.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rounded product of a 32-bit length and a ratio below 2; the cast saturates"
)]
fn bounds(length: u32, ratio: f64) -> (u32, u32) {
    let length = f64::from(length);
    (
        (length * (1.0 - ratio)).floor() as u32,
        (length * (1.0 + ratio)).ceil() as u32,
    )
}

fn uniform((low, high): (u32, u32), mut draw: Draw) -> u32 {
    let choices = u64::from(high - low) + 1;
    let above = u32::try_from(draw.below(choices)).unwrap_or(0);
    low + above
}

#[cfg(test)]
mod tests {
    use super::{RandomLengths, bounds};

    #[test]
    fn without_a_ratio_every_length_is_the_one_asked_for() {
        let lengths = RandomLengths::default();
        assert!((0..100).all(|index| lengths.draw(1, index) == (1024, 128)));
    }

    #[test]
    fn bounds_are_rounded_outwards() {
        assert_eq!(bounds(10, 0.25), (7, 13));
        assert_eq!(bounds(1000, 0.1), (900, 1100));
        assert_eq!(bounds(1, 0.9), (0, 2));
    }

    #[test]
    fn all_lengths_between_the_bounds_come_up_evenly() {
        let lengths = RandomLengths {
            input_tokens: 10,
            output_tokens: 1,
            range_ratio: 0.5,
            prefix_tokens: 100,
        };
        let mut counts = [0_u32; 11];
        for index in 0..11_000 {
            let (input, output) = lengths.draw(7, index);
            assert!((1..=2).contains(&output));
            counts[usize::try_from(input - 105).unwrap()] += 1;
        }
        // Five standard deviations of a binomial with n = 11,000 and p = 1/11.
        assert!(counts.iter().all(|count| count.abs_diff(1000) < 151));
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let with = |input_tokens, range_ratio, prefix_tokens| RandomLengths {
            input_tokens,
            range_ratio,
            prefix_tokens,
            ..RandomLengths::default()
        };
        assert!(with(10, 1.0, 0).check().is_err());
        assert!(with(10, -0.1, 0).check().is_err());
        assert!(with(10, f64::NAN, 0).check().is_err());
        assert!(with(0, 0.0, 0).check().is_err());
        assert!(with(1, 0.5, 0).check().is_err());
        assert!(with(1, 0.5, 1).check().is_ok());
    }
}
