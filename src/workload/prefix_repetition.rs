//! The data set `prefix-repetition`: a few prefixes that many prompts share, as `vllm bench serve`
//! defines it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::content::Content;
use super::dataset::{Dataset, DatasetKind, DatasetPath, DatasetSetup, OpenDataset};
use super::error::WorkloadError;
use super::prompt::{Blocks, PromptSpec, Workload};
use crate::draw::{Draw, field};
use crate::flag::{Flag, FlagKind};

/// Prefixes that prompts share, with a rest of their own.
pub(super) const PREFIX_REPETITION: DatasetKind = DatasetKind {
    name: "prefix-repetition",
    about: "Prompts that begin with one of a few prefixes, each as often as the others",
    path: DatasetPath::None,
    has_audio: false,
    flags: &[
        Flag {
            name: "prefix-repetition-prefix-len",
            value_name: "TOKENS",
            help: "Length of each prefix, in tokens",
            kind: FlagKind::Count(1),
            default: Some("256"),
        },
        Flag {
            name: "prefix-repetition-suffix-len",
            value_name: "TOKENS",
            help: "Length of what follows it, of each prompt's own, in tokens",
            kind: FlagKind::Count(0),
            default: Some("256"),
        },
        Flag {
            name: "prefix-repetition-num-prefixes",
            value_name: "N",
            help: "Number of prefixes",
            kind: FlagKind::Count(1),
            default: Some("10"),
        },
        Flag {
            name: "prefix-repetition-output-len",
            value_name: "TOKENS",
            help: "Length of an answer, in tokens",
            kind: FlagKind::Count(1),
            default: Some("128"),
        },
    ],
    open: OpenDataset::Requests(open),
};

/// Prefixes at most: each round of them is put into an order of its own.
const MAX_PREFIXES: u32 = 65_536;

/// What the plan keeps of its flags.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Options {
    #[serde(rename = "prefix_repetition_prefix_len")]
    prefix_tokens: u32,
    #[serde(rename = "prefix_repetition_suffix_len")]
    suffix_tokens: u32,
    #[serde(rename = "prefix_repetition_num_prefixes")]
    prefixes: u32,
    #[serde(rename = "prefix_repetition_output_len")]
    output_tokens: u32,
}

fn open(setup: DatasetSetup<'_>) -> Result<Box<dyn Dataset>, WorkloadError> {
    let wrong = |message: String| WorkloadError::Lengths { message };
    let options = serde_json::from_value(Value::Object(setup.options.clone()));
    let options: Options =
        options.map_err(|error| wrong(format!("the data set `prefix-repetition`: {error}")))?;
    if options.prefixes > MAX_PREFIXES {
        return Err(wrong(format!(
            "`--prefix-repetition-num-prefixes {}` is above {MAX_PREFIXES}",
            options.prefixes
        )));
    }
    Ok(Box::new(PrefixRepetition {
        options,
        count: setup.count,
        workload: setup.workload,
    }))
}

struct PrefixRepetition {
    options: Options,
    /// Number of requests, where that is known.
    count: Option<u64>,
    workload: Arc<Workload>,
}

impl PrefixRepetition {
    /// Returns the number of the prefix of request `index`, and whether a request before it had the
    /// same. As many requests as there are prefixes have each of them once, in a drawn order.
    fn prefix_of(&self, index: u64) -> (u64, bool) {
        let count = u64::from(self.options.prefixes);
        let (round, at) = (index / count, index % count);
        let mut order: Vec<u64> = (0..count).collect();
        let mut draw = Draw::new(self.workload.seed(), round, field::PREFIX_ORDER);
        for place in 0..=at {
            let other = place + draw.below(count - place);
            if let (Ok(place), Ok(other)) = (usize::try_from(place), usize::try_from(other)) {
                order.swap(place, other);
            }
        }
        let prefix = usize::try_from(at).map_or(0, |at| order[at]);
        (prefix, round > 0)
    }
}

impl Dataset for PrefixRepetition {
    fn request(&self, index: u64) -> Content {
        let Options {
            prefix_tokens,
            suffix_tokens,
            output_tokens,
            ..
        } = self.options;
        let (prefix, is_known) = self.prefix_of(index);
        let prompt = self.workload.prompt(PromptSpec {
            blocks: Some(Blocks {
                ids: &[prefix],
                size: prefix_tokens,
                tokens: &[],
                scope: 0,
            }),
            ..PromptSpec::random(index, prefix_tokens.saturating_add(suffix_tokens))
        });
        Content {
            prefix_tokens: Some(if is_known { prefix_tokens } else { 0 }),
            ..Content::made_up(prompt, output_tokens)
        }
    }

    /// A prompt that shares nothing: the prefixes would be in the server's cache before the first
    /// request.
    fn warmup(&self, index: u64) -> Content {
        let tokens = (self.options.prefix_tokens).saturating_add(self.options.suffix_tokens);
        let prompt = self.workload.prompt(PromptSpec::random(index, tokens));
        Content::made_up(prompt, self.options.output_tokens)
    }

    fn typical_output_tokens(&self) -> Option<u32> {
        Some(self.options.output_tokens)
    }

    fn note(&self) -> Option<String> {
        let prefixes = self.options.prefixes;
        let count = self.count.filter(|count| *count < u64::from(prefixes))?;
        Some(format!(
            "note: {count} requests have {count} of {prefixes} prefixes, and none of them twice"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::flag::defaults;
    use crate::workload::Tokenizer;

    fn opened(options: Value, count: Option<u64>) -> Result<Box<dyn Dataset>, WorkloadError> {
        let mut all = defaults(PREFIX_REPETITION.flags);
        all.extend(options.as_object().unwrap().clone());
        open(DatasetSetup {
            options: &all,
            path: None,
            workload: Arc::new(Workload::new(&Arc::new(Tokenizer::embedded()), 7)),
            count_tokens: None,
            count,
            repeats: true,
            is_shuffled: true,
            is_chat: false,
            kinds: &[],
        })
    }

    fn few(prefixes: u32, suffix: u32) -> Value {
        serde_json::json!({
            "prefix_repetition_num_prefixes": prefixes,
            "prefix_repetition_prefix_len": 16,
            "prefix_repetition_suffix_len": suffix,
        })
    }

    fn prefix(text: &str) -> String {
        text.split_inclusive(' ')
            .take(16)
            .collect::<String>()
            .trim()
            .to_owned()
    }

    #[test]
    fn each_round_has_every_prefix_once_in_an_order_of_its_own() {
        let dataset = opened(few(5, 4), Some(50)).unwrap();
        let prefixes: Vec<String> = (0..50)
            .map(|index| prefix(&dataset.request(index).text))
            .collect();
        let mut counts: HashMap<&str, u32> = HashMap::new();
        for round in prefixes.chunks(5) {
            let mut round: Vec<&str> = round.iter().map(String::as_str).collect();
            round.sort_unstable();
            round.dedup();
            assert_eq!(round.len(), 5);
            for prefix in round {
                *counts.entry(prefix).or_default() += 1;
            }
        }
        assert!(counts.len() == 5 && counts.values().all(|count| *count == 10));
        assert!(prefixes.chunks(5).any(|round| round != &prefixes[..5]));
    }

    #[test]
    fn lengths_are_exact_and_the_tape_knows_what_is_shared() {
        let dataset = opened(few(3, 4), None).unwrap();
        for index in 0..6 {
            let content = dataset.request(index);
            assert_eq!((content.tokens, content.output_tokens), (Some(20), 128));
            let shared = if index < 3 { 0 } else { 16 };
            assert_eq!(content.prefix_tokens, Some(shared), "{index}");
            assert_eq!(content, dataset.request(index));
        }
        let warmup = dataset.warmup(0);
        assert_eq!(warmup.tokens, Some(20));
        let is_shared = |index| prefix(&dataset.request(index).text) == prefix(&warmup.text);
        assert!(!(0..3).any(is_shared));
    }

    #[test]
    fn fewer_requests_than_prefixes_are_told_before_the_run() {
        let note = opened(few(9, 0), Some(4)).unwrap().note();
        assert!(note.unwrap().contains("4 of 9 prefixes"));
        assert_eq!(opened(few(9, 0), Some(9)).unwrap().note(), None);
        assert!(opened(few(65_537, 0), None).is_err());
    }
}
