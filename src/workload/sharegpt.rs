//! The data set `sharegpt`: prompts of recorded conversations, chosen as `vllm bench serve` does.
//!
//! The file is a JSON array of conversations, or one a line. A conversation has `conversations` (or
//! `messages`, `conversation`), turns of `from` and `value` or of `role` and `content`. Of each the
//! first thing that the user says is sent, and what it was answered gives the length of the answer.
//! The file is streamed: what is kept of it is what may be sent.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::content::Content;
use super::conversation::{MAX_PROMPT_TOKENS, MAX_TOTAL_TOKENS, MIN_TOKENS, beginning, fits};
use super::dataset::{Dataset, DatasetKind, DatasetPath, DatasetSetup, OpenDataset};
use super::error::WorkloadError;
use super::exchange::{Exchange, Exchanges};
use super::items::{Item, Items};
use super::records;
use super::sample::{Order, Sample};
use super::text_file;
use super::tokenizer::TokenCounter;
use crate::flag::{Flag, FlagKind};
use crate::runtime::in_parallel;

/// Prompts of recorded conversations.
pub(super) const SHAREGPT: DatasetKind = DatasetKind {
    name: "sharegpt",
    about: "First prompts of recorded conversations, in ShareGPT's form (--dataset-path)",
    path: DatasetPath::Required,
    has_audio: false,
    flags: &[Flag {
        name: "sharegpt-output-len",
        value_name: "TOKENS",
        help: "Length of every answer, in tokens, instead of that of the recorded reply",
        kind: FlagKind::Count(1),
        default: None,
    }],
    open: OpenDataset::Requests(open),
};

/// Conversations that are kept where nobody knows how many requests there will be.
const DEFAULT_COUNT: u64 = 1_000;

/// Conversations that are kept for each that is sent: some are too short or too long.
const SPARE: u64 = 4;

/// Conversations that are counted at once, at least.
const MIN_COUNTED: usize = 64;

/// Memory for conversations, in bytes of text.
const MAX_BYTES: usize = 512 << 20;

/// What the plan keeps of its flags.
#[derive(Debug, Default, Deserialize)]
struct Options {
    #[serde(default)]
    sharegpt_output_len: Option<u32>,
}

fn open(setup: DatasetSetup<'_>) -> Result<Box<dyn Dataset>, WorkloadError> {
    let path = setup.path.ok_or_else(|| WorkloadError::Lengths {
        message: "the data set `sharegpt` is a file: name it with `--dataset-path`".to_owned(),
    })?;
    let options = serde_json::from_value(Value::Object(setup.options.clone()));
    let options: Options =
        options.map_err(|error| WorkloadError::dataset(path, error.to_string(), BAD_OPTION))?;
    if options.sharegpt_output_len.is_none() && setup.count_tokens.is_none() {
        return Err(WorkloadError::Lengths {
            message: "the lengths of recorded replies can't be told without a tokenizer: name the \
                      model's with `--tokenizer`, or one length with `--sharegpt-output-len`"
                .to_owned(),
        });
    }
    let count = setup.most_kept(DEFAULT_COUNT);
    let mut pool = Pool::new(setup.order(), count.saturating_mul(SPARE));
    let is_whole = pool.fill(path, options.sharegpt_output_len.is_some())?;
    let (found, skipped) = (pool.0.offered(), pool.0.skipped());
    let lengths = (options.sharegpt_output_len, setup.count_tokens);
    let Chosen {
        items,
        out_of_bounds,
    } = pool.choose(count, &lengths);
    let without_exchange = format!(
        "{skipped} of its {} records {} no prompt of a user{}",
        found + skipped,
        if skipped == 1 { "has" } else { "have" },
        match options.sharegpt_output_len {
            Some(_) => "",
            None => " with a reply to it",
        }
    );
    let bounds = format!(
        "a prompt has {MIN_TOKENS} to {MAX_PROMPT_TOKENS} tokens, with its reply at most \
         {MAX_TOTAL_TOKENS}"
    );
    if items.is_empty() {
        let (message, hint) = match (found, skipped) {
            (0, 0) => ("it has no conversation".to_owned(), FORM),
            (0, _) => (without_exchange, FORM),
            _ => (
                format!(
                    "none of its {found} conversations with a prompt and a reply can be sent: {bounds}"
                ),
                "take longer or shorter ones, or `--dataset-name conversations`, which has no such bounds",
            ),
        };
        return Err(WorkloadError::dataset(path, message, hint));
    }
    let remarks = [
        (skipped > 0).then(|| format!("{without_exchange} (not sent)")),
        (out_of_bounds > 0).then(|| {
            let are = if out_of_bounds == 1 { "is" } else { "are" };
            format!("{out_of_bounds} {are} too short or too long: {bounds} (not sent)")
        }),
        (!is_whole).then(|| beginning(found)),
    ];
    Ok(Box::new(Items {
        what: format!("{} of {found} conversations", items.len()),
        items: items.into_iter().map(Item::from).collect(),
        count: setup.count,
        repeats: setup.repeats,
        workload: setup.workload,
        remarks: remarks.into_iter().flatten().collect(),
    }))
}

const FORM: &str =
    "look at its first lines; conversations have `conversations` with `from` and `value`";

const BAD_OPTION: &str = "write `sharegpt_output_len` as a whole number above 0";

/// A conversation that may be sent.
struct Candidate {
    prompt: String,
    reply: String,
}

/// What is sent, and how many of those that were looked at are not, for their lengths.
struct Chosen {
    items: Vec<Content>,
    out_of_bounds: usize,
}

/// Conversations that may be sent, a sample of them in bounded memory.
struct Pool(Sample<Candidate>);

impl Pool {
    fn new(order: Order, most: u64) -> Self {
        Self(Sample::new(order, most, MAX_BYTES))
    }

    /// Reads a file. Of a conversation without a reply the prompt is taken where `is_prompt_enough`.
    /// Returns whether all of the file was read.
    fn fill(&mut self, path: &Path, is_prompt_enough: bool) -> Result<bool, WorkloadError> {
        let cannot = |why| {
            let form =
                "name a JSON array of conversations in ShareGPT's form, or a file with one a line";
            WorkloadError::unreadable(path, why, form)
        };
        let text = text_file::open(path).map_err(cannot)?;
        records::each_borrowed::<Exchanges>(text, "a conversation", |exchange| {
            self.take(exchange, is_prompt_enough);
            self.0.wants()
        })
        .map_err(cannot)
    }

    fn take(&mut self, exchange: Exchange<'_>, is_prompt_enough: bool) {
        let Some((prompt, reply)) = exchange.0.parts() else {
            self.0.skip();
            return;
        };
        if prompt.trim().is_empty() || (reply.is_none() && !is_prompt_enough) {
            self.0.skip();
            return;
        }
        let reply = reply.unwrap_or_default();
        self.0.offer(prompt.len() + reply.len(), || Candidate {
            prompt: prompt.into_owned(),
            reply: reply.into_owned(),
        });
    }

    /// Chooses at most `count` of those whose lengths are within the bounds. Counts on all cores, in parts:
    /// most of what is kept to spare is not counted.
    fn choose(self, count: u64, lengths: &(Option<u32>, Option<TokenCounter>)) -> Chosen {
        let most = usize::try_from(count).unwrap_or(usize::MAX);
        let candidates: Vec<Candidate> = self.0.into_records().collect();
        let mut chosen = Vec::new();
        let mut out_of_bounds = 0;
        let mut rest = &candidates[..];
        while chosen.len() < most && !rest.is_empty() {
            let wanted = (most - chosen.len()).max(MIN_COUNTED).min(rest.len());
            let (part, after) = rest.split_at(wanted);
            let items = in_parallel(part.len(), |at| item(&part[at], lengths));
            out_of_bounds += items.iter().filter(|item| item.is_none()).count();
            chosen.extend(items.into_iter().flatten());
            rest = after;
        }
        chosen.truncate(most);
        Chosen {
            items: chosen,
            out_of_bounds,
        }
    }
}

/// Returns what is sent of a conversation; nothing where its lengths are out of bounds. Without a
/// tokenizer nobody knows how long its prompt is.
fn item(
    candidate: &Candidate,
    (fixed, count): &(Option<u32>, Option<TokenCounter>),
) -> Option<Content> {
    let length = |text: &str| count.as_ref().and_then(|count| count(text));
    let tokens = length(&candidate.prompt);
    let output_tokens = match fixed {
        Some(fixed) => *fixed,
        None => length(&candidate.reply).filter(|&tokens| tokens >= MIN_TOKENS)?,
    };
    fits(tokens, output_tokens).then(|| Content {
        text: candidate.prompt.clone(),
        tokens,
        output_tokens,
        ..Content::default()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::workload::{Tokenizer, Workload};

    const FILE: &str = r#"[
      {"id": "a", "conversations": [{"from": "human", "value": "What is the tallest mountain?"},
                                    {"from": "gpt", "value": "It is Mount Everest in Asia."}]},
      {"id": "b", "conversations": [{"from": "gpt", "value": "Earlier words of a cut one."},
                                    {"from": "human", "value": "Name a river in France please."},
                                    {"from": "gpt", "value": "The Loire is the longest one."}]},
      {"id": "c", "conversations": []},
      {"id": "d", "conversations": [{"from": "human", "value": "A question with no reply at all?"}]},
      {"id": "e", "messages": [{"role": "system", "content": "Be brief."},
                               {"role": "user", "content": "How many legs has a spider?"},
                               {"role": "assistant", "content": "A spider has eight legs."}]},
      {"id": "f", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]},
      {"id": "g"}
    ]"#;

    fn opened(
        text: &str,
        options: &Value,
        count: Option<u64>,
        seed: u64,
    ) -> Result<Box<dyn Dataset>, WorkloadError> {
        opened_in(Order::Drawn(seed), text, options, count)
    }

    fn opened_in(
        order: Order,
        text: &str,
        options: &Value,
        count: Option<u64>,
    ) -> Result<Box<dyn Dataset>, WorkloadError> {
        let seed = match order {
            Order::Drawn(seed) => seed,
            Order::OfFile => 1,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sharegpt.json");
        std::fs::write(&path, text).unwrap();
        let words: TokenCounter =
            Arc::new(|text: &str| u32::try_from(text.split(' ').count()).ok());
        open(DatasetSetup {
            options: options.as_object().unwrap(),
            path: Some(&path),
            workload: Arc::new(Workload::new(&Arc::new(Tokenizer::embedded()), seed)),
            count_tokens: Some(words),
            count,
            repeats: true,
            is_shuffled: order != Order::OfFile,
            is_chat: false,
            kinds: &[],
        })
    }

    fn texts(dataset: &dyn Dataset, count: u64) -> Vec<String> {
        (0..count)
            .map(|index| dataset.request(index).text)
            .collect()
    }

    #[test]
    fn the_order_of_the_file_is_kept_where_it_is_asked_for() {
        let dataset = opened_in(Order::OfFile, FILE, &serde_json::json!({}), Some(2)).unwrap();
        assert_eq!(
            texts(&*dataset, 2),
            [
                "What is the tallest mountain?",
                "Name a river in France please."
            ]
        );
    }

    #[test]
    fn the_first_exchange_of_each_conversation_is_sent_with_the_length_of_its_reply() {
        let dataset = opened(FILE, &serde_json::json!({}), Some(3), 1).unwrap();
        let mut sent = texts(&*dataset, 3);
        sent.sort();
        assert_eq!(
            sent,
            [
                "How many legs has a spider?",
                "Name a river in France please.",
                "What is the tallest mountain?"
            ]
        );
        let spider = (0..3)
            .map(|at| dataset.request(at))
            .find(|one| one.text.contains("legs"));
        let spider = spider.unwrap();
        assert_eq!((spider.tokens, spider.output_tokens), (Some(6), 5));
        insta::assert_snapshot!(dataset.note().unwrap(), @"note: 3 of its 7 records have no prompt of a user with a reply to it (not sent); 1 is too short or too long: a prompt has 4 to 1024 tokens, with its reply at most 2048 (not sent)");
        assert_eq!(dataset.typical_output_tokens(), Some(5));
    }

    #[test]
    fn lines_are_read_as_an_array_is_and_the_seed_decides_the_order() {
        let all: Vec<Value> = serde_json::from_str(FILE).unwrap();
        let lines: String = all.iter().map(|one| format!("{one}\n")).collect();
        let none = serde_json::json!({});
        let of_array = texts(&*opened(FILE, &none, Some(3), 1).unwrap(), 6);
        assert_eq!(
            texts(&*opened(&lines, &none, Some(3), 1).unwrap(), 6),
            of_array
        );
        assert_eq!(of_array[..3], of_array[3..], "from the start again");
        let orders = (0..8).map(|seed| texts(&*opened(FILE, &none, Some(3), seed).unwrap(), 3));
        assert!(orders.collect::<std::collections::HashSet<_>>().len() > 1);
        // A smaller sample is the beginning of a larger one.
        let two = opened(FILE, &none, Some(2), 1).unwrap();
        assert_eq!(texts(&*two, 2), of_array[..2]);
    }

    #[test]
    fn a_fixed_output_length_needs_no_reply_and_more_requests_than_rows_are_told() {
        let fixed = serde_json::json!({ "sharegpt_output_len": 9 });
        let dataset = opened(FILE, &fixed, Some(10), 1).unwrap();
        assert!(
            texts(&*dataset, 4)
                .iter()
                .any(|text| text.contains("no reply"))
        );
        assert!((0..10).all(|index| dataset.request(index).output_tokens == 9));
        let note = dataset.note().unwrap();
        insta::assert_snapshot!(note, @"note: 4 of 5 conversations are sent, then the same ones again; 2 of its 7 records have no prompt of a user (not sent); 1 is too short or too long: a prompt has 4 to 1024 tokens, with its reply at most 2048 (not sent)");
        let warmup = dataset.warmup(0);
        assert!(!texts(&*dataset, 4).contains(&warmup.text));
        assert_eq!(warmup.tokens, dataset.request(0).tokens);
    }

    #[test]
    fn what_is_no_data_set_is_refused_by_name_and_place() {
        let none = serde_json::json!({});
        let refused = |text: &str| match opened(text, &none, Some(1), 1) {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => (error.to_string(), error.hint().unwrap()),
        };
        let (broken, hint) = refused("[{\"conversations\": [{\"from\": \"human\",]}]");
        assert!(
            broken.contains("sharegpt.json") && broken.contains("line 1"),
            "{broken}"
        );
        assert!(hint.contains("one a line"), "{hint}");
        let none = "1 of its 1 records has no prompt";
        for (text, why) in [
            ("", "it has no conversation"),
            ("[]", "it has no conversation"),
            ("{}", none),
            ("[{\"conversations\": []}]", none),
        ] {
            let (empty, hint) = refused(text);
            assert!(empty.contains(why), "{empty}");
            assert!(hint.contains("`from` and `value`"), "{hint}");
        }
        let short = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "bot", "content": "b c d e"}]}"#;
        let (bounds, hint) = refused(short);
        assert!(bounds.contains("a prompt has 4 to 1024"), "{bounds}");
        assert!(hint.contains("conversations"), "{hint}");
        assert!(refused("id,prompt\n1,a\n").0.contains("line 1"));
        assert!(refused("[1, 2]").0.contains("line 1"));
    }
}
