//! The data set `hf`: prompts out of files in the forms of the Hugging Face hub, on this machine.
//!
//! A prompt is found by the names that columns usually have: a conversation, of which the first thing
//! that the user says is sent, or a text. What it was answered gives the length of the answer, where
//! the files have it. Rows are a sample, in an order that the seed decides.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::content::Content;
use super::conversation::{
    MAX_PROMPT_TOKENS, MAX_TOTAL_TOKENS, MIN_TOKENS, first_exchange, fits, is_more_than_text,
};
use super::dataset::{Dataset, DatasetKind, DatasetPath, DatasetSetup, OpenDataset};
use super::error::WorkloadError;
use super::hf_files::{FORMS, Row, each_row, find, no_column};
use super::items::{Item, Items, one_or_more};
use super::sample::Sample;
use super::tokenizer::TokenCounter;
use crate::flag::{Flag, FlagKind};

/// Prompts of files of the hub.
pub(super) const HF: DatasetKind = DatasetKind {
    name: "hf",
    about: "Prompts of Parquet or JSON files as the Hugging Face hub has them, on this machine (--dataset-path)",
    path: DatasetPath::Required,
    has_audio: false,
    flags: &[
        Flag {
            name: "hf-subset",
            value_name: "NAME",
            help: "Subset of the data set: a folder of it",
            kind: FlagKind::Text,
            default: None,
        },
        Flag {
            name: "hf-split",
            value_name: "NAME",
            help: "Split of the data set, by names of files [default: train, if it is there]",
            kind: FlagKind::Text,
            default: None,
        },
        Flag {
            name: "hf-prompt-column",
            value_name: "NAME",
            help: "Column with the prompts [default: the first of the usual names]",
            kind: FlagKind::Text,
            default: None,
        },
        Flag {
            name: "hf-output-column",
            value_name: "NAME",
            help: "Column with the answers, or their lengths [default: the usual names]",
            kind: FlagKind::Text,
            default: None,
        },
        Flag {
            name: "hf-output-len",
            value_name: "TOKENS",
            help: "Length of every answer, in tokens, instead of that of what was answered",
            kind: FlagKind::Count(1),
            default: None,
        },
    ],
    open: OpenDataset::Requests(open),
};

/// Rows that are kept where nobody knows how many requests there will be.
const DEFAULT_COUNT: u64 = 1_000;

/// Rows that are kept for each that is sent: some are too short or too long.
const SPARE: u64 = 4;

/// Memory for rows, in bytes of text.
const MAX_BYTES: usize = 512 << 20;

/// Length of an answer where nothing says it, as most data sets of `vllm bench serve` have it.
const DEFAULT_OUTPUT_TOKENS: u32 = 256;

/// Names of columns that have a prompt, the surest first.
const PROMPTS: [&str; 9] = [
    "conversations",
    "conversation",
    "messages",
    "prompt",
    "question",
    "instruction",
    "turns",
    "text",
    "input",
];

/// Names of columns that have what was answered.
const OUTPUTS: [&str; 6] = [
    "output_tokens",
    "expected_output_tokens",
    "output",
    "response",
    "answer",
    "completion",
];

/// What the plan keeps of its flags.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    hf_subset: Option<String>,
    hf_split: Option<String>,
    hf_prompt_column: Option<String>,
    hf_output_column: Option<String>,
    hf_output_len: Option<u32>,
}

fn open(setup: DatasetSetup<'_>) -> Result<Box<dyn Dataset>, WorkloadError> {
    let path = setup.path.ok_or_else(|| WorkloadError::Lengths {
        message: "the data set `hf` is a file or a folder: name it with `--dataset-path`"
            .to_owned(),
    })?;
    let options = serde_json::from_value(Value::Object(setup.options.clone()));
    let options: Options = options.map_err(|error| WorkloadError::Lengths {
        message: format!("the data set `hf`: {error}"),
    })?;
    let files = find(
        path,
        options.hf_subset.as_deref(),
        options.hf_split.as_deref(),
    )?;
    let count = setup.most_kept(DEFAULT_COUNT);
    let columns = Columns::of(&options);
    let mut sample = Sample::new(setup.order(), count.saturating_mul(SPARE), MAX_BYTES);
    let mut has_output = false;
    for file in &files.paths {
        has_output |= columns.read(file, &mut sample)?;
    }
    let (rows, skipped) = (sample.offered(), sample.skipped());
    if let Some(name) = options
        .hf_output_column
        .as_ref()
        .filter(|_| rows > 0 && !has_output)
    {
        let message = format!("none of its rows has the column `{name}`");
        let hint = "name the column with the answers, or their lengths, with `--hf-output-column`";
        return Err(WorkloadError::dataset(path, message, hint));
    }
    let lengths = Lengths {
        fixed: options.hf_output_len,
        count_tokens: setup.count_tokens,
    };
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let mut seen = Seen::default();
    let items: Vec<Item> = sample
        .into_records()
        .filter_map(|row| lengths.item(row, &mut seen))
        .take(most)
        .collect();
    if items.is_empty() {
        return Err(nothing(path, rows, skipped));
    }
    let split = files.split.map(|split| format!(" of the split `{split}`"));
    Ok(Box::new(Items {
        what: format!(
            "{} of {rows} rows{}",
            items.len(),
            split.unwrap_or_default()
        ),
        items,
        count: setup.count,
        repeats: setup.repeats,
        workload: setup.workload,
        remarks: remarks(&files.subsets, (rows, skipped), &seen),
    }))
}

/// Numbers of rows that were looked at, of which something is to be said.
#[derive(Debug, Default)]
struct Seen {
    /// The length of their answer is unknown.
    unknown: u64,
    /// Conversations that are not sent for their lengths.
    out_of_bounds: u64,
    /// What is sent has images or the like in the file.
    more_than_text: u64,
}

/// What is to be said before a run: of rows in several folders, of those that are not sent, or not as they
/// are in the file, and of answers of unknown length.
fn remarks(subsets: &[String], (rows, skipped): (u64, u64), seen: &Seen) -> Vec<String> {
    let mut remarks = Vec::new();
    if !subsets.is_empty() {
        remarks.push(format!(
            "they are of several folders, {} (`--hf-subset` names one)",
            subsets.join(", ")
        ));
    }
    if skipped > 0 {
        let have = if skipped == 1 { "has" } else { "have" };
        remarks.push(format!(
            "{skipped} of {} rows {have} no prompt (not sent)",
            rows + skipped
        ));
    }
    if seen.out_of_bounds > 0 {
        remarks.push(format!(
            "{} {} too short or too long: {} (not sent)",
            seen.out_of_bounds,
            if seen.out_of_bounds == 1 { "is" } else { "are" },
            bounds()
        ));
    }
    if seen.more_than_text > 0 {
        remarks.push(format!(
            "of {} of them the text alone is sent, without images and the like",
            seen.more_than_text
        ));
    }
    if seen.unknown > 0 {
        remarks.push(format!(
            "how long answers are to be is not known of {} of them, which {} for \
             {DEFAULT_OUTPUT_TOKENS} tokens (`--hf-output-len`, or a reply and `--tokenizer`)",
            seen.unknown,
            one_or_more(seen.unknown, "asks", "ask")
        ));
    }
    remarks
}

fn bounds() -> String {
    format!(
        "a conversation's first prompt has {MIN_TOKENS} to {MAX_PROMPT_TOKENS} tokens, with its reply at \
         most {MAX_TOTAL_TOKENS}"
    )
}

/// Says that no row can be sent.
fn nothing(path: &Path, rows: u64, skipped: u64) -> WorkloadError {
    let (message, hint) = match (rows, skipped) {
        (0, 0) => ("it has no row".to_owned(), FORMS),
        (0, _) => (
            "it has no row with a prompt".to_owned(),
            "look at its first rows, and name the column with the prompts with `--hf-prompt-column`",
        ),
        _ => (
            format!(
                "none of its {rows} rows with a prompt can be sent: {}",
                bounds()
            ),
            "give all answers one length with `--hf-output-len`",
        ),
    };
    WorkloadError::dataset(path, message, hint)
}

/// A row that may be sent.
struct Candidate {
    prompt: String,
    answer: Answer,
    /// It is out of a conversation, of which not all are taken.
    is_of_conversation: bool,
    /// It has images or the like in the file.
    is_more_than_text: bool,
}

/// What a row says of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Unknown,
    Tokens(u32),
    Text(String),
}

/// Which columns have what.
struct Columns<'a> {
    /// The one that the user names, or all that are known.
    prompts: Vec<&'a str>,
    outputs: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(options: &'a Options) -> Self {
        let named = |name: &'a Option<String>, known: &'static [&'static str]| match name {
            Some(name) => vec![name.as_str()],
            None => known.to_vec(),
        };
        Self {
            prompts: named(&options.hf_prompt_column, &PROMPTS),
            outputs: named(&options.hf_output_column, &OUTPUTS),
        }
    }

    /// Offers the rows of a file to a sample. Returns whether any has one of the columns with answers.
    fn read(&self, file: &Path, sample: &mut Sample<Candidate>) -> Result<bool, WorkloadError> {
        let mut all = self.prompts.clone();
        all.extend(&self.outputs);
        all.push("input");
        let (mut has_prompt, mut has_output, mut first) = (false, false, None::<Vec<String>>);
        each_row(file, &all, |row| {
            let found = self.candidate(&row);
            has_prompt |= self.prompts.iter().any(|name| row.contains_key(*name));
            has_output |= self.outputs.iter().any(|name| row.contains_key(*name));
            if first.is_none() {
                first = Some(row.keys().cloned().collect());
            }
            match found {
                Some(candidate) => {
                    let of_answer = match &candidate.answer {
                        Answer::Text(text) => text.len(),
                        Answer::Unknown | Answer::Tokens(_) => 0,
                    };
                    sample.offer(candidate.prompt.len() + of_answer, || candidate);
                }
                None => sample.skip(),
            }
        })?;
        match first {
            // A column whose values are all null is in none of the rows.
            Some(names) if !has_prompt && !names.is_empty() => {
                Err(no_column(file, names.iter().map(String::as_str)))
            }
            _ => Ok(has_output),
        }
    }

    /// What of a row may be sent.
    fn candidate(&self, row: &Row) -> Option<Candidate> {
        let mut values = self.prompts.iter().filter_map(|name| {
            let value = row.get(*name).filter(|value| !value.is_null())?;
            Some((*name, value))
        });
        let (name, value) = values.next()?;
        if let Some(turns) = turns(value) {
            let (prompt, reply) = first_exchange(&turns)?;
            let reply = reply.map(|text| Answer::Text(text.into_owned()));
            let answer = reply.or_else(|| self.answer(row));
            return (!prompt.trim().is_empty()).then(|| Candidate {
                prompt: prompt.into_owned(),
                answer: answer.unwrap_or(Answer::Unknown),
                is_of_conversation: true,
                is_more_than_text: is_more_than_text(&turns),
            });
        }
        let mut prompt = text(value)?.to_owned();
        if name == "instruction"
            && let Some(input) = row.get("input").and_then(text)
        {
            prompt = format!("{prompt}\n\n{input}");
        }
        Some(Candidate {
            prompt,
            answer: self.answer(row).unwrap_or(Answer::Unknown),
            is_of_conversation: false,
            is_more_than_text: false,
        })
    }

    fn answer(&self, row: &Row) -> Option<Answer> {
        let mut values = self.outputs.iter().filter_map(|name| row.get(*name));
        let value = values.find(|value| !value.is_null())?;
        if let Some(tokens) = value.as_u64() {
            let tokens = u32::try_from(tokens).ok().filter(|tokens| *tokens > 0);
            return tokens.map(Answer::Tokens);
        }
        text(value).map(|text| Answer::Text(text.to_owned()))
    }
}

/// The text of a value: a text with something in it, or the first one of a list.
fn text(value: &Value) -> Option<&str> {
    let text = match value {
        Value::Array(texts) => texts.first()?.as_str()?,
        other => other.as_str()?,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// The turns of a conversation: a list of objects, or an object of lists.
fn turns(value: &Value) -> Option<Vec<Map<String, Value>>> {
    match value {
        Value::Array(turns) => turns.iter().map(|turn| turn.as_object().cloned()).collect(),
        Value::Object(lists) => {
            let lists: Option<Vec<_>> = lists
                .iter()
                .map(|(name, list)| Some((name, list.as_array()?)))
                .collect();
            let lists = lists?;
            let longest = lists.iter().map(|(_, list)| list.len()).max()?;
            let turn = |at: usize| -> Map<String, Value> {
                let of = lists
                    .iter()
                    .filter_map(|(name, list)| Some(((*name).clone(), list.get(at)?.clone())));
                of.collect()
            };
            Some((0..longest).map(turn).collect())
        }
        _ => None,
    }
}

/// How long answers are to be.
struct Lengths {
    fixed: Option<u32>,
    count_tokens: Option<TokenCounter>,
}

impl Lengths {
    /// Returns what is sent of a row; nothing of a conversation that is out of bounds. Counts in `seen` what
    /// is to be said of it.
    fn item(&self, row: Candidate, seen: &mut Seen) -> Option<Item> {
        let length = |text: &str| self.count_tokens.as_ref().and_then(|count| count(text));
        let tokens = length(&row.prompt);
        let told = self.fixed.or_else(|| match &row.answer {
            Answer::Unknown => None,
            Answer::Tokens(tokens) => Some(*tokens),
            Answer::Text(text) => length(text).map(|tokens| tokens.max(1)),
        });
        let is_counted = self.fixed.is_none() && matches!(row.answer, Answer::Text(_));
        let output_tokens = told.unwrap_or(DEFAULT_OUTPUT_TOKENS);
        if row.is_of_conversation && is_counted {
            let is_too_short = told.is_some_and(|tokens| tokens < MIN_TOKENS);
            if is_too_short || !fits(tokens, output_tokens) {
                seen.out_of_bounds += 1;
                return None;
            }
        }
        seen.unknown += u64::from(told.is_none());
        seen.more_than_text += u64::from(row.is_more_than_text);
        let content = Content {
            text: row.prompt,
            tokens,
            output_tokens,
            ..Content::default()
        };
        Some(content.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder, UInt32Array,
    };
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;
    use serde_json::json;

    use super::*;
    use crate::workload::{Tokenizer, Workload};

    fn opened(
        path: &Path,
        options: &Value,
        count: Option<u64>,
    ) -> Result<Box<dyn Dataset>, WorkloadError> {
        let words: TokenCounter =
            Arc::new(|text: &str| u32::try_from(text.split(' ').count()).ok());
        open(DatasetSetup {
            options: options.as_object().unwrap(),
            path: Some(path),
            workload: Arc::new(Workload::new(&Arc::new(Tokenizer::embedded()), 7)),
            count_tokens: Some(words),
            count,
            repeats: true,
            is_shuffled: true,
            is_chat: false,
            kinds: &[],
        })
    }

    fn sent(dataset: &dyn Dataset, count: u64) -> Vec<String> {
        let mut sent: Vec<String> = (0..count)
            .map(|index| {
                let content = dataset.request(index);
                format!("{} > {}", content.text, content.output_tokens)
            })
            .collect();
        sent.sort();
        sent
    }

    /// What is sent of rows in JSON lines.
    fn of_rows(rows: &[Value], options: &Value) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        fs::write(&path, lines).unwrap();
        let dataset = opened(&path, options, Some(rows.len() as u64));
        let dataset = dataset.map_err(|error| error.to_string())?;
        Ok(sent(&*dataset, rows.len() as u64))
    }

    #[test]
    fn prompts_are_found_by_the_names_that_columns_have() {
        let none = json!({});
        for (row, shown) in [
            (
                json!({ "conversations": [{ "from": "human", "value": "Name a river in France please." },
                                          { "from": "gpt", "value": "The Loire is one of them." }] }),
                "Name a river in France please. > 6",
            ),
            (
                json!({ "messages": { "role": ["system", "user", "assistant"],
                                      "content": ["Be brief.", "How many legs has it?", "It has eight of them."] } }),
                "How many legs has it? > 5",
            ),
            (
                json!({ "prompt": "Say hello", "completion": "Hello you there" }),
                "Say hello > 3",
            ),
            (
                json!({ "prompt": null, "question": "Why?", "answer": "So" }),
                "Why? > 1",
            ),
            (
                json!({ "instruction": "Translate", "input": "Hallo", "output": "Hello" }),
                "Translate\n\nHallo > 1",
            ),
            (
                json!({ "instruction": "Sing", "input": "", "output": "La la" }),
                "Sing > 2",
            ),
            (json!({ "turns": ["First", "Second"] }), "First > 256"),
            (
                json!({ "text": "Once upon a time" }),
                "Once upon a time > 256",
            ),
        ] {
            assert_eq!(of_rows(&[row], &none).unwrap(), [shown]);
        }
        let own = json!({ "hf_prompt_column": "q", "hf_output_column": "n" });
        let row = json!({ "prompt": "no", "q": "yes", "n": 12 });
        assert_eq!(
            of_rows(std::slice::from_ref(&row), &own).unwrap(),
            ["yes > 12"]
        );
        let none_has = json!({ "hf_prompt_column": "q", "hf_output_column": "m" });
        let refused = of_rows(std::slice::from_ref(&row), &none_has).unwrap_err();
        assert!(refused.contains("has the column `m`"), "{refused}");
        let fixed = json!({ "hf_output_len": 9 });
        assert_eq!(of_rows(&[row], &fixed).unwrap(), ["no > 9"]);
    }

    #[test]
    fn rows_without_a_known_column_are_told_by_the_names_that_they_have() {
        let none = json!({});
        let rows = [json!({ "frage": "Warum?", "antwort": "Darum" })];
        let refused = of_rows(&rows, &none).unwrap_err();
        assert!(
            refused.contains("known for a prompt: frage, antwort"),
            "{refused}"
        );
        let rows = [json!({ "prompt": "" }), json!({ "prompt": 7 })];
        assert!(
            of_rows(&rows, &none)
                .unwrap_err()
                .contains("no row with a prompt")
        );
        let short = json!({ "conversations": [{ "from": "human", "value": "hi" },
                                              { "from": "gpt", "value": "ho" }] });
        let refused = of_rows(&[short], &none).unwrap_err();
        assert!(refused.contains("none of its 1 rows"), "{refused}");
    }

    fn write_parquet(path: &Path, rows: u32) {
        let prompts = (0..rows).map(|row| Some(format!("prompt number {row}")));
        let mut turns = ListBuilder::new(StringBuilder::new());
        for _ in 0..rows {
            turns.values().append_value("another column");
            turns.append(true);
        }
        let columns: [(&str, ArrayRef); 3] = [
            ("prompt", Arc::new(prompts.collect::<StringArray>())),
            (
                "output",
                Arc::new((1..=rows).map(Some).collect::<UInt32Array>()),
            ),
            ("unread", Arc::new(turns.finish())),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let small = WriterProperties::builder().set_max_row_group_row_count(Some(100));
        let file = File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(small.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn parquet_in_a_folder_is_sampled_and_the_seed_decides() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        write_parquet(
            &folder.path().join("data/train-00000-of-00002.parquet"),
            250,
        );
        write_parquet(&folder.path().join("data/train-00001-of-00002.parquet"), 50);
        write_parquet(&folder.path().join("data/test-00000-of-00001.parquet"), 5);
        let of = |options: Value, count| opened(folder.path(), &options, Some(count)).unwrap();
        let train = of(json!({}), 400);
        let note = train.note().unwrap();
        assert!(
            note.contains("300 of 300 rows of the split `train`"),
            "{note}"
        );
        let few = of(json!({}), 10);
        assert_eq!(few.note(), None);
        for index in 0..10 {
            assert_eq!(few.request(index), train.request(index));
        }
        let first = few.request(0);
        let row: u32 = first.text.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(first.output_tokens, row + 1);
        let test = of(json!({ "hf_split": "test" }), 5);
        assert_eq!(sent(&*test, 5)[4], "prompt number 4 > 5");
    }

    #[test]
    fn rows_of_several_subsets_are_told() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["de", "en"] {
            let subset = folder.path().join(name);
            fs::create_dir(&subset).unwrap();
            fs::write(
                subset.join("train.jsonl"),
                "{\"prompt\": \"a\", \"output\": \"b\"}",
            )
            .unwrap();
        }
        let of =
            |options: Value, count| opened(folder.path(), &options, Some(count)).unwrap().note();
        let note = of(json!({}), 2).unwrap();
        assert!(
            note.contains("folders, de, en (`--hf-subset` names one)"),
            "{note}"
        );
        assert_eq!(of(json!({ "hf_subset": "en" }), 1), None);
    }

    #[test]
    fn rows_that_are_not_sent_as_they_are_are_told() {
        let parts = |text: &str| json!([{ "type": "text", "text": text }, { "type": "image" }]);
        let reply = json!({ "role": "assistant", "content": "It is a cat of some kind." });
        let rows = [
            json!({ "messages": [{ "role": "user", "content": parts("What do you see in it?") }, reply] }),
            json!({ "messages": [{ "role": "user", "content": "hi" }, reply] }),
            json!({ "messages": [{ "role": "user", "content": null }, reply] }),
            json!({ "messages": [] }),
            json!({ "messages": 7 }),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        fs::write(&path, lines).unwrap();
        let dataset = opened(&path, &json!({}), Some(2)).unwrap();
        assert_eq!(dataset.request(0).text, "What do you see in it?");
        insta::assert_snapshot!(dataset.note().unwrap(), @"note: 1 of 2 rows is sent, then the same one again; 3 of 5 rows have no prompt (not sent); 1 is too short or too long: a conversation's first prompt has 4 to 1024 tokens, with its reply at most 2048 (not sent); of 1 of them the text alone is sent, without images and the like");
    }

    #[test]
    fn what_is_no_data_set_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let error = opened(&path, &json!({}), Some(1)).err().unwrap();
            assert!(error.hint().is_some());
            error.to_string()
        };
        for (bytes, why) in [
            (&b""[..], "it has no row"),
            (b"PAR1 and nothing that it promises", "rows.parquet"),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                "Git LFS pointer",
            ),
            (b"{\"prompt\": \"a\"}\n{\"prompt\": ", "line 2"),
            (b"prompt\na\n", "line 1"),
            (b"[[1]]", "line 1"),
        ] {
            let message = refused(bytes);
            assert!(message.contains(why), "{why}: {message}");
        }
    }
}
