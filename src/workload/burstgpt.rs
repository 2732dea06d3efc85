//! The data set `burstgpt`: lengths of prompts and answers out of a BurstGPT trace, without its times.
//!
//! As in `vllm bench serve`, rows are those of one model that were answered, and a sample of them.
//! Prompts are random words of a row's length.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::content::Content;
use super::dataset::{Dataset, DatasetKind, DatasetPath, DatasetSetup, OpenDataset};
use super::error::WorkloadError;
use super::items::{mean, note};
use super::prompt::{PromptSpec, Workload};
use super::records::{self, Cap, Capped};
use super::sample::Sample;
use super::text_file::{self, Text};
use crate::flag::{Flag, FlagKind};

/// Lengths of a BurstGPT trace.
pub(super) const BURSTGPT: DatasetKind = DatasetKind {
    name: "burstgpt",
    about: "Random words of the lengths in a BurstGPT trace, without its times (--dataset-path)",
    path: DatasetPath::Required,
    has_audio: false,
    flags: &[Flag {
        name: "burstgpt-model",
        value_name: "NAME",
        help: "Take the rows of this model, or of `all`",
        kind: FlagKind::Text,
        default: Some("GPT-4"),
    }],
    open: OpenDataset::Requests(open),
};

/// Rows that are kept where nobody knows how many requests there will be.
const DEFAULT_COUNT: u64 = 1_000_000;

/// The word for every model.
const ALL: &str = "all";

/// The longest prompt that is made, in tokens.
const MAX_TOKENS: u32 = 10_000_000;

/// Names of models in a message, at most.
const MAX_MODELS: usize = 8;

const FORM: &str =
    "its header has `Model`, `Request tokens` and `Response tokens`, as in BurstGPT_1.csv";

/// What the plan keeps of its flags.
#[derive(Debug, Deserialize)]
struct Options {
    #[serde(rename = "burstgpt_model")]
    model: String,
}

fn open(setup: DatasetSetup<'_>) -> Result<Box<dyn Dataset>, WorkloadError> {
    let path = setup.path.ok_or_else(|| WorkloadError::Lengths {
        message: "the data set `burstgpt` is a file: name it with `--dataset-path`".to_owned(),
    })?;
    let options = serde_json::from_value(Value::Object(setup.options.clone()));
    let options: Options = options.map_err(|error| WorkloadError::Lengths {
        message: format!("the data set `burstgpt`: {error}"),
    })?;
    let most = setup.most_kept(DEFAULT_COUNT);
    let mut sample = Sample::new(setup.order(), most, usize::MAX);
    let mut others = Others::default();
    let mut rows = Rows::open(path)?;
    while let Some(row) = rows.next(path)? {
        let is_taken = options.model == ALL || row.model == options.model;
        if !is_taken {
            others.count(row.model);
            sample.skip();
        } else if row.lengths.output_tokens == 0 || row.lengths.input_tokens == 0 {
            others.failed += 1;
            sample.skip();
        } else {
            sample.offer(0, || row.lengths);
        }
    }
    let rows = sample.offered();
    if rows == 0 {
        let message = format!(
            "it has no row of the model `{}` that was answered{}",
            options.model,
            others.named()
        );
        let hint = "name a model of the file with `--burstgpt-model`, or `all`";
        return Err(WorkloadError::dataset(path, message, hint));
    }
    Ok(Box::new(BurstGpt {
        lengths: sample.into_records().collect(),
        rows,
        others,
        count: setup.count,
        repeats: setup.repeats,
        workload: setup.workload,
    }))
}

/// Lengths of one row, in tokens.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    input_tokens: u32,
    output_tokens: u32,
}

/// Rows that are not sent.
#[derive(Debug, Default)]
struct Others {
    /// Of other models, of which as many as a message holds are told apart.
    models: BTreeMap<String, u64>,
    of_models: u64,
    /// Without a response, or without a prompt.
    failed: u64,
}

impl Others {
    fn count(&mut self, model: &str) {
        self.of_models += 1;
        if let Some(count) = self.models.get_mut(model) {
            *count += 1;
        } else if self.models.len() < MAX_MODELS {
            self.models.insert(model.to_owned(), 1);
        }
    }

    /// Names the models, for a message.
    fn named(&self) -> String {
        let names: Vec<&str> = self.models.keys().map(String::as_str).collect();
        match names.is_empty() {
            true => String::new(),
            false => format!("; it has those of {}", names.join(", ")),
        }
    }
}

struct Row<'a> {
    model: &'a str,
    lengths: Lengths,
}

/// The rows of a file.
struct Rows {
    reader: csv::Reader<Capped<Text>>,
    cap: Cap,
    /// Places of the model, the request's tokens and the response's.
    places: [usize; 3],
    record: csv::StringRecord,
}

impl Rows {
    fn open(path: &Path) -> Result<Self, WorkloadError> {
        let wrong = |message: String| WorkloadError::dataset(path, message, FORM);
        let text =
            text_file::open(path).map_err(|why| WorkloadError::unreadable(path, why, FORM))?;
        let (text, cap) = records::capped(text, "a row");
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(text);
        let header = reader.headers().map_err(|error| told(path, error))?;
        let mut places = [0; 3];
        for (place, name) in places
            .iter_mut()
            .zip(["Model", "Request tokens", "Response tokens"])
        {
            let found = header.iter().position(|column| column == name);
            *place = found.ok_or_else(|| wrong(format!("line 1: its header has no `{name}`")))?;
        }
        Ok(Self {
            reader,
            cap,
            places,
            record: csv::StringRecord::new(),
        })
    }

    fn next(&mut self, path: &Path) -> Result<Option<Row<'_>>, WorkloadError> {
        self.cap.renew();
        let read = self.reader.read_record(&mut self.record);
        if !read.map_err(|error| told(path, error))? {
            return Ok(None);
        }
        let number = self.record.position().map_or(0, csv::Position::line);
        let [model, input, output] = self
            .places
            .map(|at| self.record.get(at).unwrap_or_default());
        let tokens = |text: &str| {
            let tokens = text.strip_suffix(".0").unwrap_or(text).parse::<u32>();
            tokens
                .ok()
                .filter(|tokens| *tokens <= MAX_TOKENS)
                .ok_or_else(|| {
                    let message = format!("line {number}: `{text}` is no number of tokens");
                    WorkloadError::dataset(path, message, FORM)
                })
        };
        Ok(Some(Row {
            model,
            lengths: Lengths {
                input_tokens: tokens(input)?,
                output_tokens: tokens(output)?,
            },
        }))
    }
}

/// Says what is wrong with the file, by its line where it can be read.
fn told(path: &Path, error: csv::Error) -> WorkloadError {
    if error.is_io_error() {
        return WorkloadError::unreadable(path, io::Error::from(error), FORM);
    }
    let line = error.position().map_or(1, csv::Position::line);
    WorkloadError::dataset(path, format!("line {line}: {error}"), FORM)
}

struct BurstGpt {
    /// In the order in which they are sent, at least one.
    lengths: Vec<Lengths>,
    /// Rows that could have been sent.
    rows: u64,
    others: Others,
    /// Number of requests, where that is known.
    count: Option<u64>,
    repeats: bool,
    workload: Arc<Workload>,
}

impl Dataset for BurstGpt {
    fn request(&self, index: u64) -> Content {
        let at = index % self.lengths.len() as u64;
        // It is below the number of lengths, which is not 0.
        let lengths = self.lengths[usize::try_from(at).unwrap_or(0)];
        let spec = PromptSpec::random(index, lengths.input_tokens);
        let prompt = self.workload.prompt(spec);
        Content::made_up(prompt, lengths.output_tokens)
    }

    fn typical_output_tokens(&self) -> Option<u32> {
        mean(self.lengths.iter().map(|lengths| lengths.output_tokens))
    }

    fn limit(&self) -> Option<u64> {
        (!self.repeats).then_some(self.lengths.len() as u64)
    }

    fn note(&self) -> Option<String> {
        let (has, rows) = (self.lengths.len(), self.rows);
        let then = match self.repeats {
            true => "then the same ones again, with other words",
            false => "and the run ends with them",
        };
        let is_short = self.count.is_none_or(|count| count > has as u64);
        let shortage =
            is_short.then(|| format!("the lengths of {has} of {rows} rows are used, {then}"));
        let mut left_out = Vec::new();
        if self.others.of_models > 0 {
            let count = self.others.of_models;
            left_out.push(format!("{count} rows of other models (`--burstgpt-model`)"));
        }
        if self.others.failed > 0 {
            left_out.push(format!("{} that were not answered", self.others.failed));
        }
        let left_out = (!left_out.is_empty())
            .then(|| format!("left out of the trace: {}", left_out.join(" and ")));
        note(shortage.into_iter().chain(left_out))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::testing::shared_file;
    use crate::workload::Tokenizer;

    const TRACE: &str = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
1,a,3,GPT-4,10,5,15,API log
2,b,3,ChatGPT,11,6,17,API log
3,c,3,GPT-4,12,0,12,API log
4,d,3,GPT-4,13.0,7.0,20,Conversation log
";

    fn of_file(
        path: &Path,
        model: &str,
        count: Option<u64>,
    ) -> Result<Box<dyn Dataset>, WorkloadError> {
        let options = [("burstgpt_model".to_owned(), model.into())];
        open(DatasetSetup {
            options: &options.into_iter().collect(),
            path: Some(path),
            workload: Arc::new(Workload::new(&Arc::new(Tokenizer::embedded()), 7)),
            count_tokens: None,
            count,
            repeats: count != Some(99),
            is_shuffled: true,
            is_chat: false,
            kinds: &[],
        })
    }

    fn opened(text: &str, model: &str, count: Option<u64>) -> Result<Box<dyn Dataset>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        of_file(file.path(), model, count).map_err(|error| error.to_string())
    }

    fn lengths(dataset: &dyn Dataset, count: u64) -> Vec<(u32, u32)> {
        let contents = (0..count).map(|index| dataset.request(index));
        contents
            .map(|content| (content.tokens.unwrap(), content.output_tokens))
            .collect()
    }

    #[test]
    fn answered_rows_of_the_model_are_used_and_again_with_other_words() {
        let dataset = opened(TRACE, "GPT-4", Some(4)).unwrap();
        let four = lengths(&*dataset, 4);
        assert_eq!(four[..2], four[2..]);
        let mut two = four[..2].to_vec();
        two.sort_unstable();
        assert_eq!(two, [(10, 5), (13, 7)]);
        assert_ne!(dataset.request(0).text, dataset.request(2).text);
        insta::assert_snapshot!(dataset.note().unwrap(), @"note: the lengths of 2 of 2 rows are used, then the same ones again, with other words; left out of the trace: 1 rows of other models (`--burstgpt-model`) and 1 that were not answered");
        assert_eq!(dataset.limit(), None);
        let all = opened(TRACE, "all", Some(3)).unwrap();
        assert_eq!(lengths(&*all, 3).len(), 3);
        assert!(
            all.note()
                .unwrap()
                .starts_with("note: left out of the trace: 1 that")
        );
        let once = opened(TRACE, "GPT-4", Some(99)).unwrap();
        assert_eq!(once.limit(), Some(2));
    }

    #[test]
    fn what_is_no_burstgpt_trace_is_told() {
        let refused = |text: &str, model: &str| opened(text, model, None).err().unwrap();
        let message = refused(TRACE, "GPT-5");
        assert!(
            message.contains("it has those of ChatGPT, GPT-4"),
            "{message}"
        );
        assert!(refused("", "all").contains("its header has no `Model`"));
        assert!(refused("Model,Request tokens\n", "all").contains("no `Response tokens`"));
        let broken = TRACE.replace("11,6", "11,x");
        assert!(refused(&broken, "all").contains("line 3: `x` is no number of tokens"));
        let cut = format!("{TRACE}5,e,3,GPT-4\n");
        assert!(refused(&cut, "all").contains("line 6"));
    }

    #[test]
    fn the_real_files_of_both_layouts_are_read() {
        for (name, least) in [
            ("BurstGPT_1.head400.csv", 70),
            ("BurstGPT_3.head400.csv", 70),
        ] {
            let Some(path) = shared_file(&format!("traces/burstgpt/{name}")) else {
                return;
            };
            let dataset = of_file(&path, "all", Some(20)).unwrap();
            assert!(
                lengths(&*dataset, 20)
                    .iter()
                    .all(|(input, output)| *input > 0 && *output > 0)
            );
            let gpt_4 = of_file(&path, "GPT-4", None).unwrap();
            let note = gpt_4.note().unwrap();
            let used: u64 = note.split(' ').nth(4).unwrap().parse().unwrap();
            assert!(used >= least, "{name}: {note}");
        }
    }
}
