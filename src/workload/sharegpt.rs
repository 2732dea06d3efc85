//! The data set `sharegpt`: prompts of recorded conversations, chosen as `vllm bench serve` does.
//!
//! The file is a JSON array of conversations, or one a line. A conversation has `conversations` (or
//! `messages`, `conversation`), turns of `from` and `value` or of `role` and `content`. Of each the
//! first thing that the user says is sent, and what it was answered gives the length of the answer.
//! The file is streamed: what is kept of it is what may be sent.

use std::cell::Cell;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::dataset::{Content, Dataset, DatasetKind, DatasetPath, DatasetSetup};
use super::error::WorkloadError;
use super::prompt::{PromptSpec, Workload};
use super::tokenizer::TokenCounter;
use crate::draw::{Draw, field};
use crate::flag::{Flag, FlagKind};

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
    open,
};

/// Conversations that are kept where nobody knows how many requests there will be.
const DEFAULT_COUNT: u64 = 1_000;

/// Conversations that are kept for each that is sent: some are too short or too long.
const SPARE: u64 = 4;

/// Memory for conversations, in bytes of text.
const MAX_BYTES: usize = 512 << 20;

/// Bytes of one conversation.
const MAX_CONVERSATION_BYTES: u64 = 64 << 20;

/// Tokens of a prompt and of an answer at least, as in vLLM's `is_valid_sequence`.
const MIN_TOKENS: u32 = 4;

/// Tokens of a prompt at most, as there.
const MAX_PROMPT_TOKENS: u32 = 1_024;

/// Tokens of a prompt and its answer at most, as there.
const MAX_TOTAL_TOKENS: u32 = 2_048;

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
    let options: Options = options.map_err(|error| wrong(path, error.to_string(), BAD_OPTION))?;
    if options.sharegpt_output_len.is_none() && setup.count_tokens.is_none() {
        return Err(WorkloadError::Lengths {
            message: "the lengths of recorded replies can't be told without a tokenizer: name the \
                      model's with `--tokenizer`, or one length with `--sharegpt-output-len`"
                .to_owned(),
        });
    }
    let count = setup.count.unwrap_or(DEFAULT_COUNT).max(1);
    let mut pool = Pool::new(setup.workload.seed(), count.saturating_mul(SPARE));
    pool.fill(path, options.sharegpt_output_len.is_some())?;
    let found = pool.seen;
    let lengths = (options.sharegpt_output_len, setup.count_tokens);
    let items = pool.choose(count, &lengths);
    if items.is_empty() {
        return Err(wrong(
            path,
            format!(
                "none of its {found} conversations with a prompt and a reply can be sent: a prompt has \
                 {MIN_TOKENS} to {MAX_PROMPT_TOKENS} tokens, with its reply at most {MAX_TOTAL_TOKENS}"
            ),
            "look at its first lines; conversations have `conversations` with `from` and `value`",
        ));
    }
    Ok(Box::new(ShareGpt {
        items,
        found,
        count: setup.count,
        workload: setup.workload,
    }))
}

const BAD_OPTION: &str = "write `sharegpt_output_len` as a whole number above 0";

fn wrong(path: &Path, message: String, hint: &'static str) -> WorkloadError {
    WorkloadError::Dataset {
        path: path.to_owned(),
        message,
        hint,
    }
}

struct ShareGpt {
    /// What is sent, in this order, and again from the start.
    items: Vec<Item>,
    /// Conversations in the file with a prompt and a reply.
    found: u64,
    /// Number of requests, where that is known.
    count: Option<u64>,
    workload: Arc<Workload>,
}

struct Item {
    prompt: String,
    tokens: Option<u32>,
    output_tokens: u32,
}

impl ShareGpt {
    fn item(&self, index: u64) -> &Item {
        let at = index % self.items.len() as u64;
        // It is below the number of items, which is not 0.
        &self.items[usize::try_from(at).unwrap_or(0)]
    }
}

impl Dataset for ShareGpt {
    fn request(&self, index: u64) -> Content {
        let item = self.item(index);
        Content {
            text: item.prompt.clone(),
            tokens: item.tokens,
            output_tokens: item.output_tokens,
            ..Content::default()
        }
    }

    /// Words of the same length: its prompts would be in the server's cache when they are sent.
    fn warmup(&self, index: u64) -> Content {
        let item = self.item(index);
        let about = u32::try_from(item.prompt.len() / 4).unwrap_or(u32::MAX);
        let tokens = item.tokens.unwrap_or(about).max(1);
        let prompt = self.workload.prompt(PromptSpec::random(index, tokens));
        Content {
            text: prompt.text,
            tokens: Some(prompt.tokens),
            output_tokens: item.output_tokens,
            ..Content::default()
        }
    }

    fn typical_output_tokens(&self) -> Option<u32> {
        let all = self.items.iter().map(|item| u64::from(item.output_tokens));
        let mean = all.sum::<u64>() / self.items.len() as u64;
        u32::try_from(mean).ok()
    }

    fn note(&self) -> Option<String> {
        let (items, found) = (self.items.len(), self.found);
        (self.count.is_none_or(|count| count > items as u64)).then(|| {
            format!("note: {items} of {found} conversations are sent, then the same ones again")
        })
    }
}

/// A conversation that may be sent.
struct Candidate {
    /// Its place in the order in which they are sent: a draw of its number in the file.
    key: u64,
    prompt: String,
    reply: String,
}

impl Candidate {
    fn bytes(&self) -> usize {
        self.prompt.len() + self.reply.len()
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// The conversations with the smallest keys: a sample that is the same whatever the file's order of
/// reading, in bounded memory.
struct Pool {
    seed: u64,
    most: u64,
    kept: BinaryHeap<Candidate>,
    bytes: usize,
    /// Conversations so far, with or without what can be sent.
    read: u64,
    /// Conversations so far that have a prompt and a reply.
    seen: u64,
}

impl Pool {
    fn new(seed: u64, most: u64) -> Self {
        Self {
            seed,
            most,
            kept: BinaryHeap::new(),
            bytes: 0,
            read: 0,
            seen: 0,
        }
    }

    /// Reads a file. Of a conversation without a reply the prompt is taken where `is_prompt_enough`.
    fn fill(&mut self, path: &Path, is_prompt_enough: bool) -> Result<(), WorkloadError> {
        let cannot = |error: &dyn std::fmt::Display| {
            let form = "it is a JSON array of conversations in ShareGPT's form, or one a line";
            wrong(path, error.to_string(), form)
        };
        let file = File::open(path).map_err(|error| cannot(&error))?;
        let left = Rc::new(Cell::new(MAX_CONVERSATION_BYTES));
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let first = first_byte(&mut reader).map_err(|error| cannot(&error))?;
        let capped = Capped {
            inner: reader,
            left: Rc::clone(&left),
        };
        let mut take = |conversation: Conversation| {
            left.set(MAX_CONVERSATION_BYTES);
            self.take(&conversation, is_prompt_enough);
        };
        let mut json = serde_json::Deserializer::from_reader(BufReader::new(capped));
        let read = if first == Some(b'[') {
            let read = json.deserialize_seq(EachOf(&mut take));
            read.and_then(|()| json.end())
        } else {
            let mut all = json.into_iter::<Conversation>();
            all.try_for_each(|one| one.map(&mut take))
        };
        read.map_err(|error| cannot(&error))
    }

    fn take(&mut self, conversation: &Conversation, is_prompt_enough: bool) {
        let number = self.read;
        self.read += 1;
        let Some((prompt, reply)) = conversation.first_exchange() else {
            return;
        };
        if prompt.trim().is_empty() || (reply.is_none() && !is_prompt_enough) {
            return;
        }
        self.seen += 1;
        let candidate = Candidate {
            key: Draw::new(self.seed, number, field::DATASET_ROW).next(),
            prompt: prompt.to_owned(),
            reply: reply.unwrap_or_default().to_owned(),
        };
        self.bytes += candidate.bytes();
        self.kept.push(candidate);
        while (self.kept.len() as u64 > self.most || self.bytes > MAX_BYTES)
            && let Some(last) = self.kept.pop()
        {
            self.bytes -= last.bytes();
        }
    }

    /// Chooses at most `count` of those whose lengths are within the bounds.
    fn choose(self, count: u64, lengths: &(Option<u32>, Option<TokenCounter>)) -> Vec<Item> {
        let most = usize::try_from(count).unwrap_or(usize::MAX);
        let in_order = self.kept.into_sorted_vec().into_iter();
        in_order
            .filter_map(|candidate| item(candidate, lengths))
            .take(most)
            .collect()
    }
}

/// Returns what is sent of a conversation; nothing where its lengths are out of bounds. Without a
/// tokenizer nobody knows how long its prompt is.
fn item(
    candidate: Candidate,
    (fixed, count): &(Option<u32>, Option<TokenCounter>),
) -> Option<Item> {
    let length = |text: &str| count.as_ref().and_then(|count| count(text));
    let tokens = length(&candidate.prompt);
    let output_tokens = match fixed {
        Some(fixed) => *fixed,
        None => length(&candidate.reply).filter(|&tokens| tokens >= MIN_TOKENS)?,
    };
    if let Some(tokens) = tokens
        && (!(MIN_TOKENS..=MAX_PROMPT_TOKENS).contains(&tokens)
            || tokens.saturating_add(output_tokens) > MAX_TOTAL_TOKENS)
    {
        return None;
    }
    Some(Item {
        prompt: candidate.prompt,
        tokens,
        output_tokens,
    })
}

/// A conversation, read for what is there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conversation {
    #[serde(alias = "conversation", alias = "messages", alias = "items")]
    conversations: Vec<Map<String, Value>>,
}

impl Conversation {
    /// What the user says first, and the reply to it.
    fn first_exchange(&self) -> Option<(&str, Option<&str>)> {
        let is_of = |turn: &Map<String, Value>, names: &[&str]| {
            names.contains(&text_of(turn, &["from", "role"]).unwrap_or_default())
        };
        let said = |turn| text_of(turn, &["value", "content", "text"]);
        let turns = &self.conversations;
        let at = turns.iter().position(|turn| is_of(turn, &USERS))?;
        let reply = turns.get(at + 1).filter(|turn| is_of(turn, &ASSISTANTS));
        Some((said(&turns[at])?, reply.and_then(said)))
    }
}

/// Names of those who ask.
const USERS: [&str; 3] = ["human", "user", "prompter"];

/// Names of those who answer.
const ASSISTANTS: [&str; 7] = [
    "gpt",
    "assistant",
    "model",
    "bot",
    "chatgpt",
    "bing",
    "bard",
];

fn text_of<'a>(turn: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| turn.get(*key)?.as_str())
}

/// Hands each element of an array to a function, as it is read.
struct EachOf<'a, F>(&'a mut F);

impl<'de, F: FnMut(Conversation)> Visitor<'de> for EachOf<'_, F> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an array of conversations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while let Some(conversation) = sequence.next_element()? {
            (self.0)(conversation);
        }
        Ok(())
    }
}

/// Skips white space, and a byte order mark, and returns the first byte behind it.
fn first_byte(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    const SKIPPED: [u8; 7] = [b' ', b'\t', b'\r', b'\n', 0xef, 0xbb, 0xbf];
    loop {
        match reader.fill_buf()?.first().copied() {
            Some(byte) if SKIPPED.contains(&byte) => reader.consume(1),
            first => return Ok(first),
        }
    }
}

/// A reader that fails where one conversation takes too much.
struct Capped<R> {
    inner: R,
    /// Bytes that it may still give before the next conversation is done.
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.ok_or_else(|| {
            let mib = MAX_CONVERSATION_BYTES >> 20;
            io::Error::other(format!("a conversation is over {mib} MiB"))
        })?);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Tokenizer;

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
        })
    }

    fn texts(dataset: &dyn Dataset, count: u64) -> Vec<String> {
        (0..count)
            .map(|index| dataset.request(index).text)
            .collect()
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
        assert_eq!(dataset.note(), None);
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
        assert_eq!(
            note,
            "note: 4 of 5 conversations are sent, then the same ones again"
        );
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
        for text in ["", "[]", "{}", "[{\"conversations\": []}]"] {
            let (empty, hint) = refused(text);
            assert!(empty.contains("none of its 0"), "{empty}");
            assert!(hint.contains("`from` and `value`"), "{hint}");
        }
        assert!(refused("id,prompt\n1,a\n").0.contains("line 1"));
        assert!(refused("[1, 2]").0.contains("line 1"));
    }
}
