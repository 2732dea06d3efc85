//! The data set `tape`: the prompts of a run that was recorded with `--keep text`.
//!
//! They are sent in the order of that run, each with the length of answer that it asked for there. Of a
//! conversation the tape has the texts, so they are sent as one prompt.

use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::content::Content;
use super::dataset::{Dataset, DatasetKind, DatasetPath, DatasetSetup, OpenDataset};
use super::error::WorkloadError;
use super::items::{Item, Items, one_or_more};
use super::tokenizer::TokenCounter;
use crate::capture::schema::{FIRST_WARMUP_ID, RequestRow, TapeRow};
use crate::capture::{CaptureError, ColumnValue, Manifest, parts, recover};

/// Prompts of a tape.
pub(super) const TAPE: DatasetKind = DatasetKind {
    name: "tape",
    about: "Prompts of a tape that was recorded with --keep text, in their order (--dataset-path)",
    path: DatasetPath::Required,
    has_audio: false,
    flags: &[],
    open: OpenDataset::Requests(open),
};

/// Requests that are read where nobody knows how many there will be.
const DEFAULT_COUNT: u64 = 100_000;

/// Memory for prompts, in bytes of text.
const MAX_BYTES: usize = 512 << 20;

/// Rows that are read at once.
const BATCH_ROWS: usize = 256;

/// The columns that are read, in this order.
const COLUMNS: [&str; 6] = [
    "request_id",
    "attempt",
    "input_tokens_planned",
    "output_tokens_planned",
    "prompt",
    "turn",
];

/// What to do about a tape without prompts.
const KEEP_TEXT: &str = "record it again with `--keep text`, and name that tape";

fn open(setup: DatasetSetup<'_>) -> Result<Box<dyn Dataset>, WorkloadError> {
    let path = setup.path.ok_or_else(|| WorkloadError::Lengths {
        message: "the data set `tape` is a tape: name it with `--dataset-path`".to_owned(),
    })?;
    // Before anything reads its tables.
    recover(path)?;
    let manifest = Manifest::read(path)?;
    let dataset = manifest.plan.dataset.as_ref();
    if dataset.is_some_and(|dataset| dataset.name == "audio") {
        let message = "its requests were audio, which a tape does not keep";
        let hint = "name the folder of the audio with `--dataset-name audio`";
        return Err(WorkloadError::dataset(path, message, hint));
    }
    let mut reading = Reading {
        count: setup.most_kept(DEFAULT_COUNT),
        count_tokens: setup.count_tokens,
        bytes: 0,
        found: Found::default(),
    };
    for name in parts(path, RequestRow::TABLE)? {
        let part = path.join(RequestRow::TABLE).join(name);
        reading.read(&part)?;
        if reading.found.has_more {
            break;
        }
    }
    let found = reading.found;
    if found.items.is_empty() {
        let message = match found.without_prompt {
            0 => "it has no request",
            _ => "it has no prompts: it was recorded without `--keep text`",
        };
        return Err(WorkloadError::dataset(path, message, KEEP_TEXT));
    }
    let first = if found.has_more { "first " } else { "" };
    Ok(Box::new(Items {
        what: format!(
            "the {first}{} {} of the tape",
            found.items.len(),
            one_or_more(found.items.len() as u64, "prompt", "prompts")
        ),
        remarks: found.remarks(),
        items: found.items,
        count: setup.count,
        repeats: setup.repeats,
        workload: setup.workload,
    }))
}

/// What was read of a tape.
#[derive(Default)]
struct Found {
    items: Vec<Item>,
    /// Requests that have no prompt.
    without_prompt: u64,
    /// Requests that did not ask for a length of their answer.
    without_length: u64,
    /// Requests that are turns of a conversation after its first.
    later_turns: u64,
    has_more: bool,
}

impl Found {
    /// What is to be said of the tape before a run.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.without_prompt > 0 {
            let count = self.without_prompt;
            remarks.push(format!(
                "{count} of its requests {} left out",
                one_or_more(count, "has no prompt and is", "have no prompt and are")
            ));
        }
        if self.without_length > 0 {
            let count = self.without_length;
            remarks.push(format!(
                "{count} of its requests {} answer, and the server ends it",
                one_or_more(
                    count,
                    "asks for no length of its",
                    "ask for no length of their"
                )
            ));
        }
        if self.later_turns > 0 {
            let count = self.later_turns;
            remarks.push(format!(
                "{count} of its requests {} of a conversation, sent as a prompt of its own that waits \
                 for no reply",
                one_or_more(count, "is a later turn", "are each a later turn")
            ));
        }
        remarks
    }
}

struct Reading {
    /// Requests at most.
    count: u64,
    count_tokens: Option<TokenCounter>,
    bytes: usize,
    found: Found,
}

impl Reading {
    /// Reads a part of the table of requests.
    fn read(&mut self, part: &Path) -> Result<(), WorkloadError> {
        let unread = |message: String| CaptureError::Format {
            verb: "read",
            path: part.to_owned(),
            message,
        };
        let file = File::open(part).map_err(|source| CaptureError::Read {
            path: part.to_owned(),
            source,
        })?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|error| unread(error.to_string()))?;
        let columns = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
        let builder = builder.with_projection(columns).with_batch_size(BATCH_ROWS);
        let batches = builder.build().map_err(|error| unread(error.to_string()))?;
        for batch in batches {
            let batch = batch.map_err(|error| unread(error.to_string()))?;
            let taken = self.take(&batch);
            taken.ok_or_else(|| unread("its columns are not those of requests".to_owned()))?;
            if self.found.has_more {
                break;
            }
        }
        Ok(())
    }

    /// Takes the rows of a batch; nothing where its columns are others.
    fn take(&mut self, batch: &RecordBatch) -> Option<()> {
        let [id, attempt, input, output, prompt, turn] =
            COLUMNS.map(|name| batch.column_by_name(name).map(|column| &**column));
        let (id, attempt) = (id?, attempt?);
        for row in 0..batch.num_rows() {
            let is_warmup = u64::read(id, row)? >= FIRST_WARMUP_ID;
            if is_warmup || u8::read(attempt, row)? > 0 {
                continue;
            }
            let Some(text) = Option::<String>::read(prompt?, row)? else {
                self.found.without_prompt += 1;
                continue;
            };
            self.bytes += text.len();
            if self.found.items.len() as u64 == self.count || self.bytes > MAX_BYTES {
                self.found.has_more = true;
                return Some(());
            }
            // A tape of an early version may not have it.
            let turn = turn
                .and_then(|turn| Option::<u32>::read(turn, row))
                .flatten();
            self.found.later_turns += u64::from(turn.is_some_and(|turn| turn > 0));
            let output_tokens = Option::<u32>::read(output?, row)?;
            self.found.without_length += u64::from(output_tokens.is_none());
            let tokens = match &self.count_tokens {
                Some(count) => count(&text),
                None => Option::<u32>::read(input?, row)?,
            };
            let content = Content {
                text,
                tokens,
                output_tokens: output_tokens.unwrap_or(0),
                ..Content::default()
            };
            self.found.items.push(content.into());
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::capture::manifest::State;
    use crate::capture::schema::Phase;
    use crate::capture::write_tape;
    use crate::plan;
    use crate::workload::{Tokenizer, Workload};

    fn row(request_id: u64, prompt: Option<&str>) -> RequestRow {
        RequestRow {
            prompt: prompt.map(str::to_owned),
            input_tokens_planned: Some(4),
            output_tokens_planned: Some(u32::try_from(request_id).unwrap_or(0) + 1),
            ..RequestRow::new(request_id, Phase::Measure, 0)
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            state: State::Complete,
            ..Manifest::new("run", plan::Loop::Open)
        }
    }

    fn opened(path: &Path, count: Option<u64>) -> Result<Box<dyn Dataset>, WorkloadError> {
        open(DatasetSetup {
            options: &serde_json::Map::new(),
            path: Some(path),
            workload: Arc::new(Workload::new(&Arc::new(Tokenizer::embedded()), 7)),
            count_tokens: None,
            count,
            repeats: true,
            is_shuffled: true,
            is_chat: false,
            kinds: &[],
        })
    }

    fn of_rows(rows: Vec<RequestRow>, count: Option<u64>) -> Result<Box<dyn Dataset>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tape");
        write_tape(&path, manifest(), rows, Vec::new(), Vec::new()).unwrap();
        opened(&path, count).map_err(|error| error.to_string())
    }

    #[test]
    fn prompts_are_those_of_first_attempts_in_their_order() {
        let again = RequestRow {
            attempt: 1,
            ..row(0, Some("one"))
        };
        let unknown = RequestRow {
            output_tokens_planned: None,
            ..row(2, Some("three"))
        };
        let rows = vec![
            row(0, Some("one")),
            again,
            row(1, None),
            unknown,
            row(3, Some("four")),
            row(FIRST_WARMUP_ID, Some("warm")),
        ];
        let dataset = of_rows(rows.clone(), Some(4)).unwrap();
        let sent = [0, 1, 2, 3].map(|index| {
            let content = dataset.request(index);
            assert_eq!(content.tokens, Some(4));
            (content.text, content.output_tokens)
        });
        let sent = sent.each_ref().map(|(text, tokens)| (&**text, *tokens));
        assert_eq!(sent, [("one", 1), ("three", 0), ("four", 4), ("one", 1)]);
        insta::assert_snapshot!(dataset.note().unwrap(), @"note: the 3 prompts of the tape are sent, then the same ones again; 1 of its requests has no prompt and is left out; 1 of its requests asks for no length of its answer, and the server ends it");
        let two = of_rows(rows, None).unwrap();
        assert!(two.note().unwrap().contains("the 3 prompts"));
    }

    #[test]
    fn later_turns_of_conversations_that_go_as_single_prompts_are_told() {
        let turn = |id, turn| RequestRow {
            session_id: Some("a".to_owned()),
            turn: Some(turn),
            ..row(id, Some("one"))
        };
        let note = |rows| of_rows(rows, Some(1)).unwrap().note();
        assert_eq!(note(vec![turn(0, 0)]), None);
        let dataset = of_rows(vec![turn(0, 0), turn(1, 1)], Some(2)).unwrap();
        insta::assert_snapshot!(dataset.note().unwrap(), @"note: 1 of its requests is a later turn of a conversation, sent as a prompt of its own that waits for no reply");
    }

    #[test]
    fn a_large_tape_is_read_in_order_over_its_parts() {
        let text = |id| format!("prompt {id}");
        let rows = (0..2_500).map(|id| row(id, Some(&text(id))));
        let dataset = of_rows(rows.collect(), Some(2_200)).unwrap();
        assert!((0..2_200).all(|index| dataset.request(index).text == text(index)));
        assert_eq!(
            dataset.request(2_200).text,
            text(0),
            "no more is kept than is sent"
        );
        assert_eq!(dataset.note(), None);
    }

    #[test]
    fn what_has_no_prompts_is_refused_by_name() {
        let without = of_rows(vec![row(0, None)], None).err().unwrap();
        assert!(
            without.contains("recorded without `--keep text`"),
            "{without}"
        );
        assert!(
            of_rows(Vec::new(), None)
                .err()
                .unwrap()
                .contains("no request")
        );
        let folder = tempfile::tempdir().unwrap();
        let error = opened(folder.path(), None).err().unwrap();
        assert!(error.to_string().contains("is not a tape"), "{error}");
        assert!(opened(&folder.path().join("none.tape"), None).is_err());
        let path = folder.path().join("b.tape");
        write_tape(
            &path,
            manifest(),
            vec![row(0, Some("a"))],
            Vec::new(),
            Vec::new(),
        )
        .unwrap();
        fs::write(path.join("requests/part-00000.parquet"), "PAR1 and no more").unwrap();
        let error = opened(&path, None).err().unwrap();
        assert!(error.to_string().contains("part-00000.parquet"), "{error}");
        let mut audio = manifest();
        audio.plan.dataset = Some(plan::Dataset::named("audio"));
        let path = folder.path().join("c.tape");
        write_tape(
            &path,
            audio,
            vec![row(0, Some("a.wav"))],
            Vec::new(),
            Vec::new(),
        )
        .unwrap();
        let error = opened(&path, None).err().unwrap();
        assert!(error.to_string().contains("were audio"), "{error}");
    }
}
