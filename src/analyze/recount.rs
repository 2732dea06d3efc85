//! Counts the tokens of kept texts anew, for the definitions of tools that tokenize.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, UInt8Type, UInt32Type, UInt64Type};
use datafusion::common::DataFusionError;
use datafusion::prelude::col;
use futures::TryStreamExt as _;

use super::AnalyzeError;
use crate::sql::{AnswerTokens, AttemptKey, ChunkTokens, Recounts, Settings, message, open_tapes};

/// The view with the texts.
const TEXTS: &str = "kept_texts";

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
) -> Result<Recounts, AnalyzeError> {
    let opened = open_tapes(tapes, &Settings::default()).await?;
    let failed = |error: DataFusionError| AnalyzeError::Query {
        query: TEXTS,
        reason: message(&error),
    };
    let order = ["run", "request_id", "attempt", "seq"];
    let order = order.map(|name| col(name).sort(true, false)).to_vec();
    let texts = opened.context.table(TEXTS).await.map_err(failed)?;
    let sorted = texts.sort(order).map_err(failed)?;
    let mut stream = sorted.execute_stream().await.map_err(failed)?;
    let mut recounting = Recounting {
        counter,
        counts: Recounts::default(),
        answer: None,
    };
    while let Some(batch) = stream.try_next().await.map_err(failed)? {
        recounting.take(&batch).map_err(failed)?;
    }
    recounting.finish_answer();
    Ok(recounting.counts)
}

/// The texts of the answer that is being read.
struct Answer {
    key: AttemptKey,
    content: String,
    answer: String,
    reasoning: String,
    text: String,
}

struct Recounting<'a> {
    counter: &'a TokenCounter,
    counts: Recounts,
    answer: Option<Answer>,
}

impl Recounting<'_> {
    fn take(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError> {
        let column = |index: usize, data_type| cast(batch.column(index), &data_type);
        let runs = column(0, DataType::Utf8)?;
        let requests = column(1, DataType::UInt64)?;
        let attempts = column(2, DataType::UInt8)?;
        let seqs = column(3, DataType::UInt32)?;
        let channels = column(4, DataType::Utf8)?;
        let texts = column(5, DataType::Utf8)?;
        for row in 0..batch.num_rows() {
            let key = (
                runs.as_string::<i32>().value(row).to_owned(),
                requests.as_primitive::<UInt64Type>().value(row),
                attempts.as_primitive::<UInt8Type>().value(row),
            );
            let seq = seqs.as_primitive::<UInt32Type>().value(row);
            let channel = channels.as_string::<i32>().value(row);
            let text = texts.as_string::<i32>().value(row);
            if self.answer.as_ref().is_none_or(|answer| answer.key != key) {
                self.finish_answer();
            }
            self.counts.chunks.push(ChunkTokens {
                key: key.clone(),
                seq,
                tokens: (self.counter.count)(text),
            });
            let answer = self.answer.get_or_insert_with(|| Answer {
                key,
                content: String::new(),
                answer: String::new(),
                reasoning: String::new(),
                text: String::new(),
            });
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

    fn finish_answer(&mut self) {
        let Some(answer) = self.answer.take() else {
            return;
        };
        let count = |text: &str| (self.counter.count)(text);
        self.counts.answers.push(AnswerTokens {
            content: count(&answer.content),
            answer: count(&answer.answer),
            reasoning: count(&answer.reasoning),
            text: count(&answer.text),
            key: answer.key,
        });
    }
}
