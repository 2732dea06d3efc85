//! What the prompts of a file are like: their lengths, by pattern.

use std::collections::BTreeMap;

use super::maker::MadePrompt;
use super::pattern::Pattern;

/// Gathers the lengths of prompts, 8 bytes each.
#[derive(Debug, Default)]
pub struct PromptSummary {
    patterns: BTreeMap<Pattern, Lengths>,
    domains: BTreeMap<&'static str, u64>,
    missed: u64,
    missed_by: u32,
}

#[derive(Debug, Default)]
struct Lengths {
    input: Vec<u32>,
    output: Vec<u32>,
}

/// Lengths of the prompts of one pattern and of their answers, in tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct PatternSummary {
    /// The pattern.
    pub pattern: Pattern,
    /// Of prompts.
    pub input: Spread,
    /// Of answers, as they are asked for.
    pub output: Spread,
}

/// How numbers are spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// How many there are.
    pub n: u64,
    /// The smallest.
    pub min: u32,
    /// Their mean.
    pub mean: f64,
    /// Half of them are no larger; between two of them where none is in the middle.
    pub p50: f64,
    /// 95 in a hundred are no larger; between two of them where none stands there.
    pub p95: f64,
    /// The largest.
    pub max: u32,
}

impl PromptSummary {
    /// Takes a prompt into account.
    pub fn add(&mut self, prompt: &MadePrompt) {
        let lengths = self.patterns.entry(prompt.pattern).or_default();
        lengths.input.push(prompt.input_tokens);
        lengths.output.push(prompt.output_tokens);
        *self.domains.entry(prompt.domain).or_default() += 1;
        let by = prompt.input_tokens.abs_diff(prompt.wanted_tokens);
        self.missed += u64::from(by > 0);
        self.missed_by = self.missed_by.max(by);
    }

    /// Returns how many domains the prompts are of.
    pub fn domains(&self) -> usize {
        self.domains.len()
    }

    /// Returns how many prompts have another length than was drawn for them, and by how many tokens at
    /// most.
    pub fn missed(&self) -> (u64, u32) {
        (self.missed, self.missed_by)
    }

    /// Returns the lengths by pattern.
    pub fn patterns(&self) -> Vec<PatternSummary> {
        let summaries = self.patterns.iter().filter_map(|(pattern, lengths)| {
            Some(PatternSummary {
                pattern: *pattern,
                input: spread(&lengths.input)?,
                output: spread(&lengths.output)?,
            })
        });
        summaries.collect()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a number of prompts is far below 2^53"
)]
fn spread(values: &[u32]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let sum: u64 = sorted.iter().copied().map(u64::from).sum();
    Some(Spread {
        n: sorted.len() as u64,
        min: *sorted.first()?,
        mean: sum as f64 / sorted.len() as f64,
        p50: percentile(&sorted, 50),
        p95: percentile(&sorted, 95),
        max: *sorted.last()?,
    })
}

/// The value below which so many in a hundred lie, linear between neighbours as everywhere here.
#[expect(
    clippy::cast_precision_loss,
    reason = "a hundredth of a place is exact in a double"
)]
fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let hundredths = (sorted.len().saturating_sub(1)) * percent;
    let (at, rest) = (hundredths / 100, hundredths % 100);
    let value = |at: usize| sorted.get(at).copied().map_or(0.0, f64::from);
    let low = value(at);
    if rest == 0 {
        return low;
    }
    low + (value(at + 1) - low) * rest as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_neighbours() {
        let found = spread(&[40, 10, 20, 30]).unwrap();
        let wanted = Spread {
            n: 4,
            min: 10,
            mean: 25.0,
            p50: 25.0,
            p95: 38.5,
            max: 40,
        };
        assert_eq!(found, wanted);
        assert_eq!(spread(&[7]).unwrap().p95.to_bits(), 7.0_f64.to_bits());
        assert_eq!(spread(&[]), None);
    }
}
