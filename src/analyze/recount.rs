//! Counts the tokens of kept texts anew, for the definitions of tools that tokenize.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, UInt8Type, UInt32Type, UInt64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::prelude::col;
use futures::TryStreamExt as _;

use super::AnalyzeError;
use crate::sql::{AnswerTokens, AttemptKey, Recounting, Recounts, Settings, message, open_tapes};

/// The view with the texts.
const TEXTS: &str = "texts";

type Count = dyn Fn(&str) -> Option<u32> + Send + Sync;

/// Counts the tokens of a text; `None` where it cannot.
#[derive(Clone)]
pub struct TokenCounter {
    /// How the user named it.
    name: String,
    count: Arc<Count>,
}

impl TokenCounter {
    /// Makes a counter of a function, under the name that a user gave it.
    pub fn new(
        name: impl Into<String>,
        count: impl Fn(&str) -> Option<u32> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            count: Arc::new(count),
        }
    }

    /// Returns the name that the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for TokenCounter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("TokenCounter").field(&self.name).finish()
    }
}

impl PartialEq for TokenCounter {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.count, &other.count)
    }
}

/// Counts the kept texts of all tapes. Texts pass by one answer at a time.
pub(super) async fn recount(
    tapes: &[PathBuf],
    counter: &TokenCounter,
    settings: &Settings,
) -> Result<Recounts, AnalyzeError> {
    let opened = open_tapes(tapes, settings).await?;
    let failed = |error: DataFusionError| AnalyzeError::Query {
        query: TEXTS,
        reason: message(&error),
    };
    let order = ["run", "request_id", "attempt", "seq"];
    let order = order.map(|name| col(name).sort(true, false)).to_vec();
    let texts = opened.context.table(TEXTS).await.map_err(failed)?;
    let sorted = texts.sort(order).map_err(failed)?;
    let mut stream = sorted.execute_stream().await.map_err(failed)?;
    let mut reader = Reader {
        counter,
        counts: Recounting::default(),
        answer: None,
    };
    while let Some(batch) = stream.try_next().await.map_err(failed)? {
        reader.take(&batch).map_err(|error| failed(error.into()))?;
    }
    reader.finish().map_err(|error| failed(error.into()))
}

/// The texts of the answer that is being read.
struct Answer {
    key: AttemptKey,
    content: String,
    answer: String,
    reasoning: String,
    text: String,
}

impl Answer {
    fn new(key: AttemptKey) -> Self {
        Self {
            key,
            content: String::new(),
            answer: String::new(),
            reasoning: String::new(),
            text: String::new(),
        }
    }

    fn has_key(&self, run: &str, request_id: u64, attempt: u8) -> bool {
        self.key.0 == run && self.key.1 == request_id && self.key.2 == attempt
    }
}

/// Reads texts in order, and counts them.
struct Reader<'a> {
    counter: &'a TokenCounter,
    counts: Recounting,
    answer: Option<Answer>,
}

impl Reader<'_> {
    fn take(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let column = |index: usize, data_type| cast(batch.column(index), &data_type);
        let runs = column(0, DataType::Utf8)?;
        let requests = column(1, DataType::UInt64)?;
        let attempts = column(2, DataType::UInt8)?;
        let seqs = column(3, DataType::UInt32)?;
        let channels = column(4, DataType::Utf8)?;
        let texts = column(5, DataType::Utf8)?;
        for row in 0..batch.num_rows() {
            let run = runs.as_string::<i32>().value(row);
            let request_id = requests.as_primitive::<UInt64Type>().value(row);
            let attempt = attempts.as_primitive::<UInt8Type>().value(row);
            let seq = seqs.as_primitive::<UInt32Type>().value(row);
            let channel = channels.as_string::<i32>().value(row);
            let text = texts.as_string::<i32>().value(row);
            if let Some(before) =
                (self.answer).take_if(|answer| !answer.has_key(run, request_id, attempt))
            {
                self.end(&before)?;
            }
            self.counts.chunk(seq, (self.counter.count)(text));
            let answer = self
                .answer
                .get_or_insert_with(|| Answer::new((run.to_owned(), request_id, attempt)));
            match channel {
                "reasoning" => {
                    answer.reasoning.push_str(text);
                    answer.text.push_str(text);
                }
                "content" => {
                    answer.content.push_str(text);
                    answer.answer.push_str(text);
                    answer.text.push_str(text);
                }
                _ => answer.answer.push_str(text),
            }
        }
        Ok(())
    }

    fn end(&mut self, answer: &Answer) -> Result<(), ArrowError> {
        let count = |text: &str| (self.counter.count)(text);
        let tokens = AnswerTokens {
            content: count(&answer.content),
            answer: count(&answer.answer),
            reasoning: count(&answer.reasoning),
            text: count(&answer.text),
        };
        self.counts.answer(&answer.key, tokens)
    }

    fn finish(mut self) -> Result<Recounts, ArrowError> {
        if let Some(last) = self.answer.take() {
            self.end(&last)?;
        }
        self.counts.finish()
    }
}
