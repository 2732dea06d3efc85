//! The data set `sonnet`: prompts of lines of a text, with lines at their start that all share, as
//! `vllm bench serve` had it.
//!
//! Lines are drawn until none is left that is short enough, so a prompt is as long as was asked for, or
//! shorter by less than the shortest line.

use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::content::Content;
use super::dataset::{Dataset, DatasetKind, DatasetPath, DatasetSetup, OpenDataset};
use super::error::WorkloadError;
use super::prompt::{PromptSpec, Workload};
use super::text_file::{self, Unreadable};
use super::tokenizer::TokenCounter;
use crate::draw::{Draw, field};
use crate::flag::{Flag, FlagKind};

/// Prompts of lines of a text.
pub(super) const SONNET: DatasetKind = DatasetKind {
    name: "sonnet",
    about: "Lines of a text, the first of which all prompts share (--dataset-path, --tokenizer)",
    path: DatasetPath::Required,
    has_audio: false,
    flags: &[
        Flag {
            name: "sonnet-input-len",
            value_name: "TOKENS",
            help: "Length of a prompt, in tokens, as near as lines allow",
            kind: FlagKind::Count(1),
            default: Some("550"),
        },
        Flag {
            name: "sonnet-output-len",
            value_name: "TOKENS",
            help: "Length of an answer, in tokens",
            kind: FlagKind::Count(1),
            default: Some("150"),
        },
        Flag {
            name: "sonnet-prefix-len",
            value_name: "TOKENS",
            help: "Length of the lines that all prompts begin with, in tokens",
            kind: FlagKind::Count(0),
            default: Some("200"),
        },
    ],
    open: OpenDataset::Requests(open),
};

/// Bytes of a text that are read: each line is counted before the run.
const MAX_BYTES: u64 = 4 << 20;

/// Tokens of a prompt at most: it is counted while the run waits for it.
const MAX_INPUT_TOKENS: u32 = 16 << 20;

/// What all prompts begin with, where they share anything.
const TASK: &str = "Choose from these lines of poems those that you like best:\n";

const FORM: &str = "name a text file of many short lines";

/// What the plan keeps of its flags.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Options {
    #[serde(rename = "sonnet_input_len")]
    input_tokens: u32,
    #[serde(rename = "sonnet_output_len")]
    output_tokens: u32,
    #[serde(rename = "sonnet_prefix_len")]
    prefix_tokens: u32,
}

fn open(setup: DatasetSetup<'_>) -> Result<Box<dyn Dataset>, WorkloadError> {
    let wrong = |message: String| WorkloadError::Lengths { message };
    let path = setup.path.ok_or_else(|| {
        wrong("the data set `sonnet` is a text: name it with `--dataset-path`".to_owned())
    })?;
    let options = serde_json::from_value(Value::Object(setup.options.clone()));
    let options: Options =
        options.map_err(|error| wrong(format!("the data set `sonnet`: {error}")))?;
    if !setup.is_shuffled {
        let message = "the data set `sonnet` draws its lines: leave out `--disable-shuffle`";
        return Err(wrong(message.to_owned()));
    }
    if options.input_tokens > MAX_INPUT_TOKENS {
        return Err(wrong(format!(
            "`--sonnet-input-len {}` is above {MAX_INPUT_TOKENS}",
            options.input_tokens
        )));
    }
    if options.prefix_tokens > options.input_tokens {
        return Err(wrong(format!(
            "`--sonnet-prefix-len {}` is above `--sonnet-input-len {}`, which it is a part of",
            options.prefix_tokens, options.input_tokens
        )));
    }
    let count_tokens = setup.count_tokens.ok_or_else(|| {
        let message = "the lengths of lines can't be told without a tokenizer: name the model's with \
                       `--tokenizer`";
        wrong(message.to_owned())
    })?;
    let (lines, has_more) = read(path, &count_tokens)?;
    let sonnet = Sonnet::new(options, lines, (count_tokens, setup.workload));
    let mut sonnet = sonnet.map_err(|message| WorkloadError::dataset(path, message, FORM))?;
    sonnet.has_more = has_more;
    Ok(Box::new(sonnet))
}

/// A line with its end.
#[derive(Debug, Clone)]
struct Line {
    text: String,
    tokens: u32,
}

/// Reads the lines that have something on them. Says whether there are more than are kept.
fn read(path: &Path, count: &TokenCounter) -> Result<(Vec<Line>, bool), WorkloadError> {
    let unread = |why: Unreadable| WorkloadError::unreadable(path, why, FORM);
    let text = text_file::open(path).map_err(unread)?;
    let mut text = text.take(MAX_BYTES);
    let mut lines: Vec<Line> = Vec::new();
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let read = text.read_until(b'\n', &mut bytes);
        if read.map_err(|error| unread(error.into()))? == 0 {
            break;
        }
        // What the bound cuts off is no line.
        if text.limit() == 0 && !bytes.ends_with(b"\n") {
            return Ok((lines, true));
        }
        let line = std::str::from_utf8(&bytes);
        let line = line.map_err(|_| unread(format!("line {number} is no UTF-8 text").into()))?;
        if line.trim().is_empty() {
            continue;
        }
        let text = format!("{}\n", line.trim_end());
        if let Some(tokens) = count(&text).filter(|tokens| *tokens > 0) {
            lines.push(Line { text, tokens });
        }
    }
    Ok((lines, text.limit() == 0))
}

struct Sonnet {
    options: Options,
    /// At least one, the shortest first.
    lines: Vec<Line>,
    prefix: String,
    prefix_tokens: u32,
    /// The text has lines that were not read.
    has_more: bool,
    count_tokens: TokenCounter,
    workload: Arc<Workload>,
}

impl Sonnet {
    fn new(
        options: Options,
        mut lines: Vec<Line>,
        (count_tokens, workload): (TokenCounter, Arc<Workload>),
    ) -> Result<Self, String> {
        let prefix = prefix(&lines, options.prefix_tokens, &count_tokens);
        let prefix_tokens = count_tokens(&prefix).unwrap_or(0);
        lines.sort_by_key(|line| line.tokens);
        let Some(shortest) = lines.first() else {
            return Err("it has no line".to_owned());
        };
        if prefix_tokens.saturating_add(shortest.tokens) > options.input_tokens {
            return Err(format!(
                "a prompt of {} tokens has no room for a line: those that all prompts share take \
                 {prefix_tokens}, and the shortest line takes {}",
                options.input_tokens, shortest.tokens
            ));
        }
        Ok(Self {
            options,
            prefix,
            prefix_tokens,
            lines,
            has_more: false,
            count_tokens,
            workload,
        })
    }

    /// Draws lines for request `index`, of `left` tokens together at most.
    fn drawn(&self, index: u64, mut left: u32) -> Vec<&Line> {
        let mut draw = Draw::new(self.workload.seed(), index, field::SONNET_LINES);
        let mut drawn = Vec::new();
        loop {
            let fitting = self.lines.partition_point(|line| line.tokens <= left);
            let fitting = &self.lines[..fitting];
            let Some(longest) = fitting.last() else {
                return drawn;
            };
            // The last line is one of those that leave the least.
            let is_last = left - longest.tokens < self.lines[0].tokens;
            let first = match is_last {
                true => fitting.partition_point(|line| line.tokens < longest.tokens),
                false => 0,
            };
            let choices = &fitting[first..];
            let at = usize::try_from(draw.below(choices.len() as u64)).unwrap_or(0);
            let line = &choices[at];
            left -= line.tokens;
            drawn.push(line);
        }
    }
}

/// The task and the first lines of the text, as near to a length as lines allow; nothing of no length.
fn prefix(lines: &[Line], wanted: u32, count: &TokenCounter) -> String {
    let mut prefix = String::new();
    if wanted == 0 {
        return prefix;
    }
    prefix.push_str(TASK);
    let mut tokens = count(TASK).unwrap_or(0);
    for line in lines {
        let longer = tokens.saturating_add(line.tokens);
        if longer.abs_diff(wanted) >= tokens.abs_diff(wanted) {
            break;
        }
        prefix.push_str(&line.text);
        tokens = longer;
    }
    prefix
}

impl Dataset for Sonnet {
    fn request(&self, index: u64) -> Content {
        let left = self.options.input_tokens - self.prefix_tokens;
        let mut drawn = self.drawn(index, left);
        let (text, tokens) = loop {
            let lines = drawn.iter().map(|line| line.text.as_str());
            let text: String = std::iter::once(self.prefix.as_str()).chain(lines).collect();
            let tokens = (self.count_tokens)(&text);
            // Lines may take more tokens together than alone, under some tokenizers.
            let most = self.options.input_tokens;
            let mut excess = tokens.map_or(0, |tokens| tokens.saturating_sub(most));
            if drawn.len() < 2 || excess == 0 {
                break (text, tokens);
            }
            // A long text takes its time to count, so that lines do not go one by one.
            while excess > 0 && drawn.len() > 1 {
                let last = drawn.pop().map_or(excess, |line| line.tokens);
                excess = excess.saturating_sub(last);
            }
        };
        let shared = if index == 0 { 0 } else { self.prefix_tokens };
        Content {
            text,
            tokens,
            output_tokens: self.options.output_tokens,
            prefix_tokens: (self.prefix_tokens > 0).then_some(shared),
            ..Content::default()
        }
    }

    /// Words of the same length: the lines that all share would be in the server's cache.
    fn warmup(&self, index: u64) -> Content {
        let spec = PromptSpec::random(index, self.options.input_tokens);
        let prompt = self.workload.prompt(spec);
        Content::made_up(prompt, self.options.output_tokens)
    }

    fn typical_output_tokens(&self) -> Option<u32> {
        Some(self.options.output_tokens)
    }

    fn note(&self) -> Option<String> {
        let (lines, mib) = (self.lines.len(), MAX_BYTES >> 20);
        let note =
            format!("note: prompts are of the first {lines} lines of the text, {mib} MiB of it");
        self.has_more.then_some(note)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write;

    use super::*;
    use crate::flag::defaults;
    use crate::workload::Tokenizer;

    /// Lines of 3 to 9 words, which are 4 to 10 tokens with their end.
    fn poem() -> String {
        let line = |number: usize| {
            let words = (0..3 + number % 7).map(|word| format!("w{number}-{word}"));
            words.collect::<Vec<_>>().join(" ")
        };
        (0..200).map(|number| line(number) + "\n\n").collect()
    }

    fn words() -> TokenCounter {
        let count = |text: &str| {
            let ends = text.matches('\n').count();
            u32::try_from(text.split_whitespace().count() + ends).ok()
        };
        Arc::new(count)
    }

    fn opened(
        text: &[u8],
        options: Value,
        count_tokens: Option<TokenCounter>,
    ) -> Result<Box<dyn Dataset>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let mut all = defaults(SONNET.flags);
        all.extend(options.as_object().unwrap().clone());
        let opened = open(DatasetSetup {
            options: &all,
            path: Some(file.path()),
            workload: Arc::new(Workload::new(&Arc::new(Tokenizer::embedded()), 7)),
            count_tokens,
            count: None,
            repeats: true,
            is_shuffled: true,
            is_chat: false,
            kinds: &[],
        });
        opened.map_err(|error| error.to_string())
    }

    #[test]
    fn prompts_are_as_long_as_lines_allow_and_share_their_first_lines() {
        let dataset = opened(poem().as_bytes(), serde_json::json!({}), Some(words())).unwrap();
        let mut seen = HashSet::new();
        let first = dataset.request(0);
        let shared: String = first.text.split_inclusive('\n').take(28).collect();
        let shared_tokens = words()(&shared).unwrap();
        assert!(shared_tokens.abs_diff(200) <= 5, "{shared_tokens}");
        assert!(shared.starts_with(TASK) && shared.contains("\nw0-0 w0-1 w0-2\n"));
        assert_eq!(first.prefix_tokens, Some(0));
        for index in 1..200 {
            let content = dataset.request(index);
            let tokens = content.tokens.unwrap();
            assert_eq!(words()(&content.text), Some(tokens));
            assert!((547..=550).contains(&tokens), "{tokens}");
            assert_eq!(content.output_tokens, 150);
            assert_eq!(content.prefix_tokens, Some(shared_tokens));
            assert!(content.text.starts_with(&shared));
            assert_eq!(content, dataset.request(index));
            assert!(seen.insert(content.text));
        }
        let warmup = dataset.warmup(3);
        assert_eq!((warmup.tokens, warmup.output_tokens), (Some(550), 150));
        assert_eq!(dataset.note(), None);
    }

    #[test]
    fn lines_that_take_more_together_than_alone_are_left_off_together() {
        let counted = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let often = Arc::clone(&counted);
        let joined: TokenCounter = Arc::new(move |text: &str| {
            often.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let lines = text.matches('\n').count().saturating_sub(1);
            words()(text).map(|tokens| tokens + u32::try_from(lines / 4).unwrap())
        });
        let long = serde_json::json!({ "sonnet_prefix_len": 0, "sonnet_input_len": 4_000 });
        let dataset = opened(poem().as_bytes(), long, Some(joined)).unwrap();
        let before = counted.load(std::sync::atomic::Ordering::Relaxed);
        let tokens = dataset.request(0).tokens.unwrap();
        assert!((3_900..=4_000).contains(&tokens), "{tokens}");
        let times = counted.load(std::sync::atomic::Ordering::Relaxed) - before;
        assert!(times <= 4, "counted {times} times");
    }

    #[test]
    fn without_a_prefix_nothing_is_shared() {
        let none = serde_json::json!({ "sonnet_prefix_len": 0, "sonnet_input_len": 40 });
        let dataset = opened(poem().as_bytes(), none, Some(words())).unwrap();
        let content = dataset.request(1);
        assert_eq!(content.prefix_tokens, None);
        assert!(!content.text.starts_with(TASK));
        assert!((37..=40).contains(&content.tokens.unwrap()));
    }

    #[test]
    fn what_no_prompt_can_be_made_of_is_told() {
        let none = || serde_json::json!({});
        let refused = |text: &[u8], options, count| opened(text, options, count).err().unwrap();
        let poem = poem();
        let poem = poem.as_bytes();
        assert!(refused(poem, none(), None).contains("`--tokenizer`"));
        let longer = serde_json::json!({ "sonnet_input_len": 100 });
        assert!(
            refused(poem, longer, Some(words())).contains("`--sonnet-prefix-len 200` is above")
        );
        let tight = serde_json::json!({ "sonnet_input_len": 201 });
        assert!(refused(poem, tight, Some(words())).contains("no room for a line"));
        let endless = serde_json::json!({ "sonnet_input_len": 4_000_000_000_u32 });
        let refused_length = refused(poem, endless, Some(words()));
        assert!(refused_length.contains("4000000000` is above 16777216"));
        assert!(refused(b"\n \n", none(), Some(words())).contains("no line"));
        assert!(refused(b"a\n\xff\n", none(), Some(words())).contains("line 2 is no UTF-8"));
    }

    #[test]
    fn of_a_long_text_the_first_lines_are_kept() {
        let long = "one two three four\n".repeat(400_000);
        let dataset = opened(long.as_bytes(), serde_json::json!({}), Some(words())).unwrap();
        let note = dataset.note().unwrap();
        assert!(
            note.contains("the first 220752 lines of the text, 4 MiB"),
            "{note}"
        );
        let endless = "word ".repeat(2 << 20);
        let refused = opened(endless.as_bytes(), serde_json::json!({}), Some(words()));
        assert!(refused.err().unwrap().contains("no line"));
    }
}
