//! Tokens of kept texts that were counted anew, as relations beside those of the tapes.
//!
//! Counting is no work of SQL: whoever has a tokenizer counts, and the views find the numbers here.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

/// The key of an attempt: run, request and attempt.
pub(crate) type AttemptKey = (String, u64, u8);

/// Tokens of the texts of one answer; null where the tokenizer refused a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerTokens {
    /// Which attempt it answers.
    pub(crate) key: AttemptKey,
    /// Of the content.
    pub(crate) content: Option<u32>,
    /// Of the content and the tool calls, in the order in which they came.
    pub(crate) answer: Option<u32>,
    /// Of the reasoning.
    pub(crate) reasoning: Option<u32>,
    /// Of the content and the reasoning, in the order in which they came.
    pub(crate) text: Option<u32>,
}

/// Tokens of the text of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkTokens {
    /// Which attempt it answers.
    pub(crate) key: AttemptKey,
    /// Position in the stream.
    pub(crate) seq: u32,
    /// Its tokens; null where the tokenizer refused the text.
    pub(crate) tokens: Option<u32>,
}

/// What was counted anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recounts {
    /// One row an answer.
    pub(crate) answers: Vec<AnswerTokens>,
    /// One row a chunk.
    pub(crate) chunks: Vec<ChunkTokens>,
}

impl Recounts {
    /// Returns the relation of answers.
    pub(super) fn answers_plan(&self) -> Result<LogicalPlan, DataFusionError> {
        let of = |part: fn(&AnswerTokens) -> Option<u32>| {
            let counts = self.answers.iter().map(|row| part(row).map(i64::from));
            Arc::new(counts.collect::<Int64Array>()) as ArrayRef
        };
        let mut columns = keys(self.answers.iter().map(|row| &row.key));
        columns.extend([
            ("content_tokens", of(|row| row.content)),
            ("answer_tokens", of(|row| row.answer)),
            ("reasoning_tokens", of(|row| row.reasoning)),
            ("text_tokens", of(|row| row.text)),
        ]);
        relation("recounted_answers", columns)
    }

    /// Returns the relation of chunks.
    pub(super) fn chunks_plan(&self) -> Result<LogicalPlan, DataFusionError> {
        let seqs = self.chunks.iter().map(|row| Some(i64::from(row.seq)));
        let counts = self.chunks.iter().map(|row| row.tokens.map(i64::from));
        let mut columns = keys(self.chunks.iter().map(|row| &row.key));
        columns.extend([
            ("seq", Arc::new(seqs.collect::<Int64Array>()) as ArrayRef),
            ("tokens", Arc::new(counts.collect::<Int64Array>())),
        ]);
        relation("recounted_chunks", columns)
    }
}

fn keys<'a>(keys: impl Iterator<Item = &'a AttemptKey>) -> Vec<(&'static str, ArrayRef)> {
    let (mut runs, mut requests, mut attempts) = (Vec::new(), Vec::new(), Vec::new());
    for (run, request_id, attempt) in keys {
        runs.push(run.as_str());
        requests.push(*request_id);
        attempts.push(i64::from(*attempt));
    }
    vec![
        ("run", Arc::new(StringArray::from(runs))),
        ("request_id", Arc::new(UInt64Array::from(requests))),
        ("attempt", Arc::new(Int64Array::from(attempts))),
    ]
}

fn relation(
    name: &str,
    columns: Vec<(&'static str, ArrayRef)>,
) -> Result<LogicalPlan, DataFusionError> {
    let schema = schema(&columns);
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(arrow)?;
    let table = MemTable::try_new(schema, vec![vec![batch]])?;
    LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None)?.build()
}

fn schema(columns: &[(&'static str, ArrayRef)]) -> SchemaRef {
    let field = |(name, array): &(&'static str, ArrayRef)| {
        let data_type: &DataType = array.data_type();
        Field::new(*name, data_type.clone(), true)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn arrow(error: ArrowError) -> DataFusionError {
    DataFusionError::ArrowError(Box::new(error), None)
}
