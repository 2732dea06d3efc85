//! Tokens of kept texts that were counted anew, as a relation beside those of the tapes.
//!
//! Counting is no work of SQL: whoever has a tokenizer counts, and the views find the numbers here.
//! There is one row an answer, with lists of its chunks: a chunk takes eight bytes, since run,
//! request and attempt are not repeated for it.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array as _, ArrayBuilder as _, ArrayRef, Int64Builder, ListBuilder, RecordBatch, StringBuilder,
    UInt32Builder, UInt64Builder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::SessionContext;

use super::session::charge;

/// The key of an attempt: run, request and attempt.
pub(crate) type AttemptKey = (String, u64, u8);

/// Chunks after which a batch is closed: builders grow by doubling, and batches have no slack.
const BATCH_CHUNKS: usize = 1 << 20;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let list = DataType::new_list(DataType::UInt32, true);
    let fields = [
        ("run", DataType::Utf8),
        ("request_id", DataType::UInt64),
        ("attempt", DataType::Int64),
        ("content_tokens", DataType::Int64),
        ("answer_tokens", DataType::Int64),
        ("reasoning_tokens", DataType::Int64),
        ("text_tokens", DataType::Int64),
        ("seqs", list.clone()),
        ("chunk_tokens", list),
    ];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
    Arc::new(Schema::new(fields.to_vec()))
});

/// Tokens of the texts of one answer; null where the tokenizer refused a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerTokens {
    /// Of the content.
    pub(crate) content: Option<u32>,
    /// Of the content and the tool calls, in the order in which they came.
    pub(crate) answer: Option<u32>,
    /// Of the reasoning.
    pub(crate) reasoning: Option<u32>,
    /// Of the content and the reasoning, in the order in which they came.
    pub(crate) text: Option<u32>,
}

/// What was counted anew: one row an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recounts(Vec<RecordBatch>);

impl Recounts {
    /// Returns the relation, and counts it against the memory of the session.
    pub(super) fn plan(&self, context: &SessionContext) -> Result<LogicalPlan, DataFusionError> {
        charge(context, "recounts", &self.0)?;
        let table = MemTable::try_new(Arc::clone(&SCHEMA), vec![self.0.clone()])?;
        LogicalPlanBuilder::scan("recounts", provider_as_source(Arc::new(table)), None)?.build()
    }
}

/// Collects counts, answer by answer.
#[derive(Default)]
pub(crate) struct Recounting {
    batches: Vec<RecordBatch>,
    runs: StringBuilder,
    requests: UInt64Builder,
    attempts: Int64Builder,
    answers: [Int64Builder; 4],
    seqs: ListBuilder<UInt32Builder>,
    chunks: ListBuilder<UInt32Builder>,
}

impl Recounting {
    /// Takes a chunk of the answer that comes to its end next: its place in the stream, and its
    /// tokens, which are null where the tokenizer refused the text.
    pub(crate) fn chunk(&mut self, seq: u32, tokens: Option<u32>) {
        self.seqs.values().append_value(seq);
        self.chunks.values().append_option(tokens);
    }

    /// Ends an answer.
    ///
    /// # Errors
    ///
    /// Passes on what Arrow says.
    pub(crate) fn answer(
        &mut self,
        (run, request_id, attempt): &AttemptKey,
        tokens: AnswerTokens,
    ) -> Result<(), ArrowError> {
        self.runs.append_value(run);
        self.requests.append_value(*request_id);
        self.attempts.append_value(i64::from(*attempt));
        let AnswerTokens {
            content,
            answer,
            reasoning,
            text,
        } = tokens;
        for (builder, tokens) in (self.answers.iter_mut()).zip([content, answer, reasoning, text]) {
            builder.append_option(tokens.map(i64::from));
        }
        self.seqs.append(true);
        self.chunks.append(true);
        if self.seqs.values_ref().len() >= BATCH_CHUNKS {
            self.close_batch()?;
        }
        Ok(())
    }

    /// Returns what was counted.
    ///
    /// # Errors
    ///
    /// Passes on what Arrow says.
    pub(crate) fn finish(mut self) -> Result<Recounts, ArrowError> {
        self.close_batch()?;
        Ok(Recounts(self.batches))
    }

    fn close_batch(&mut self) -> Result<(), ArrowError> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.runs.finish()),
            Arc::new(self.requests.finish()),
            Arc::new(self.attempts.finish()),
        ];
        for tokens in &mut self.answers {
            columns.push(Arc::new(tokens.finish()));
        }
        for list in [&mut self.seqs, &mut self.chunks] {
            let mut list = list.finish();
            list.shrink_to_fit();
            columns.push(Arc::new(list));
        }
        self.batches
            .push(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::utils::memory::get_record_batch_memory_size;

    use super::*;

    #[test]
    fn a_chunk_takes_nine_bytes_at_most() {
        let (answers, chunks) = (3_000, 500);
        let none = AnswerTokens {
            content: None,
            answer: None,
            reasoning: None,
            text: None,
        };
        let mut counts = Recounting::default();
        for request_id in 0..answers {
            for seq in 0..chunks {
                counts.chunk(seq, Some(1));
            }
            counts
                .answer(&("a run".to_owned(), request_id, 0), none)
                .unwrap();
        }
        let Recounts(batches) = counts.finish().unwrap();
        assert!(batches.len() > 1);
        let bytes: usize = batches.iter().map(get_record_batch_memory_size).sum();
        let total = usize::try_from(answers * u64::from(chunks)).unwrap();
        assert!(bytes <= 9 * total, "{bytes} bytes for {total} chunks");
    }
}
