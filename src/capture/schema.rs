//! The tape's tables: the one source of column names, types and meanings.
//!
//! Each table is declared once, field by field; its Arrow schema, its writer and its reader follow
//! from the declaration. A change here is a change of the file format: raise [`SCHEMA_VERSION`],
//! say so under "File format" in the changelog, and keep reading what older tapes have.
//!
//! All `_ns` columns that are points in time are on the tape's own axis: monotonic nanoseconds,
//! 0 = start of the schedule, warm-up negative. Null means unknown or not applicable, never 0.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, RecordBatch, new_null_array};
use arrow::datatypes::{
    Field, Int32Type, Int64Type, Schema, SchemaRef, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::value::{ColumnValue, Label, words};

/// The version of the tape's layout that this build writes.
///
/// Older tapes are read; a column that they lack is null.
///
/// - 2 added `requests.prefix_tokens_planned`.
/// - 3 made all counts signed; added `max_output_tokens`, `ids_output_tokens`, `tokens_after_last`,
///   `has_lone_finish`, `unread_events` and `resends` to `requests`; filled `chunks.tokens` in for every token-bearing
///   event.
/// - 4 added `requests.stop_reason` and `probes.unlogged_max_ns`; calls of tools are JSON in
///   `requests.output`.
pub const SCHEMA_VERSION: u32 = 4;

/// Warm-up requests count from here, so that measured ones are the index in the schedule.
pub const FIRST_WARMUP_ID: u64 = 1 << 63;

words! {
    /// Whether a request counts.
    pub enum Phase {
        /// Sent before the schedule to warm the server; left out of every statistic.
        Warmup = "warmup",
        /// Part of the measured schedule.
        Measure = "measure",
    }
}

words! {
    /// How an attempt ended.
    pub enum Status {
        /// Tokens, and a finish reason or an end mark: a token-bearing event, or where none came, a
        /// count of the server's that is not 0.
        Ok = "ok",
        /// Failed; `error_kind` says how.
        Error = "error",
        /// A limit on time ran out; `error_kind` says which.
        Timeout = "timeout",
        /// Still in flight when the drain time was over, or when the user left.
        Cancelled = "cancelled",
        /// In flight when the client died; known from the log alone.
        Interrupted = "interrupted",
        /// Due before the stop and never sent.
        NotSent = "not_sent",
    }
}

words! {
    /// What a streamed event carried. The first five bear tokens; the order is the precedence when
    /// an event carries several things.
    pub enum Channel {
        /// Text of the answer.
        Content = "content",
        /// Reasoning text that precedes the answer.
        Reasoning = "reasoning",
        /// Name or arguments of a tool call.
        Tool = "tool",
        /// Text of a refusal.
        Refusal = "refusal",
        /// Audio data.
        Audio = "audio",
        /// A role without content.
        Role = "role",
        /// A finish reason without content.
        Finish = "finish",
        /// Token usage without content.
        Usage = "usage",
        /// The end mark, `[DONE]`.
        Done = "done",
        /// An SSE comment, such as a keep-alive ping.
        Comment = "comment",
        /// An error object inside the stream.
        Error = "error",
        /// A delta whose fields are all empty.
        Empty = "empty",
        /// Anything else, also an event that could not be decoded.
        Other = "other",
    }
}

impl Channel {
    /// True when an event on this channel carries generated tokens.
    pub fn is_token_bearing(self) -> bool {
        matches!(
            self,
            Self::Content | Self::Reasoning | Self::Tool | Self::Refusal | Self::Audio
        )
    }
}

words! {
    /// How the number of tokens in an event is known.
    pub enum TokensSource {
        /// From usage that the server sends with every event.
        Usage = "usage",
        /// From token ids or log-probabilities in the event.
        Ids = "ids",
        /// From our tokenizer, on the cumulative text.
        Tokenizer = "tokenizer",
        /// Not known: an event with a token is taken for one token.
        Event = "event",
    }
}

/// Declares a table: the row, its schema, and both directions between rows and record batches.
macro_rules! table {
    (
        $(#[$meta:meta])*
        pub struct $row:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $row {
            $($(#[doc = $doc])+ pub $field: $type),+
        }

        impl $row {
            /// The names and meanings of the columns, in order.
            pub const COLUMNS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($field), concat!($($doc, "\n"),+))),+];

            /// The Arrow schema of the table.
            pub fn schema() -> SchemaRef {
                static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
                    Arc::new(Schema::new(vec![$(
                        Field::new(
                            stringify!($field),
                            <$type as ColumnValue>::data_type(),
                            <$type as ColumnValue>::NULLABLE,
                        )
                    ),+]))
                });
                Arc::clone(&SCHEMA)
            }

            /// Builds one record batch of the rows, in order.
            pub fn batch(rows: &[Self]) -> RecordBatch {
                let columns = vec![$(
                    <$type as ColumnValue>::array(rows.iter().map(|row| &row.$field))
                ),+];
                RecordBatch::try_new(Self::schema(), columns)
                    .expect("columns are built from the schema's own declaration")
            }

            /// Says whether a batch is as [`Self::batch`] makes it: the columns in their order,
            /// with the vocabularies that closed ones have.
            fn is_own(batch: &RecordBatch) -> bool {
                let mut columns = batch.columns().iter();
                batch.schema_ref().fields() == Self::schema().fields()
                    && [$(
                        columns.next().is_some_and(|column| {
                            <$type as ColumnValue>::has_vocabulary(column.as_ref())
                        })
                    ),+].into_iter().all(|holds| holds)
            }

            /// Reads the rows of a batch; `None` when a column is missing or has another type.
            pub fn rows(batch: &RecordBatch) -> Option<Vec<Self>> {
                $(
                    let $field = match batch.column_by_name(stringify!($field)) {
                        Some(column) => Arc::clone(column),
                        // A column that came with a later version of the layout.
                        None if <$type as ColumnValue>::NULLABLE => new_null_array(
                            &<$type as ColumnValue>::data_type(),
                            batch.num_rows(),
                        ),
                        None => return None,
                    };
                )+
                (0..batch.num_rows())
                    .map(|row| {
                        Some(Self {
                            $($field: <$type as ColumnValue>::read($field.as_ref(), row)?),+
                        })
                    })
                    .collect()
            }
        }
    };
}

table! {
    /// One attempt at a request, also of those that failed or were never sent.
    pub struct RequestRow {
        /// Index in the measured schedule; warm-ups count from 2^63.
        request_id: u64,
        /// 0, then one more a retry.
        attempt: u8,
        /// Load generator that sent it.
        worker: u16,
        /// Rung or probe inside a tape.
        step: Option<u32>,
        /// Warm-up or measured.
        phase: Phase,
        /// Conversation that the request belongs to.
        session_id: Option<String>,
        /// Position in the conversation.
        turn: Option<u32>,
        /// Model that was asked for.
        model: Option<Label>,
        /// The server that it went to, where there are several.
        target: Option<Label>,
        /// Class of the request in the trace or the data set.
        class: Option<Label>,
        /// Its time in the trace, after speed.
        trace_ns: Option<i64>,
        /// When it was due.
        intended_ns: i64,
        /// Duration held back by a cap that the user set; 0 where none.
        queued_ns: i64,
        /// When it was handed to the wire, before connect and body.
        dispatched_ns: Option<i64>,
        /// Duration of DNS, TCP and TLS; null when a connection was reused.
        connect_ns: Option<i64>,
        /// When the first request byte was handed to a connected socket.
        sent_ns: Option<i64>,
        /// How often it was sent again, on a new connection, since the one that had waited for it had
        /// ended; the times are those of the last send. Null where it was never sent.
        resends: Option<i32>,
        /// When the last request byte was accepted.
        body_sent_ns: Option<i64>,
        /// When the response head was read.
        headers_ns: Option<i64>,
        /// First token-bearing event.
        first_token_ns: Option<i64>,
        /// First token-bearing event that is not reasoning.
        first_answer_ns: Option<i64>,
        /// Last token-bearing event.
        last_token_ns: Option<i64>,
        /// End of the stream, or of the attempt.
        end_ns: Option<i64>,
        /// Input tokens that the schedule asked for.
        input_tokens_planned: Option<u32>,
        /// Output tokens that the schedule asked for.
        output_tokens_planned: Option<u32>,
        /// Most output tokens that the request allowed; null where it set no limit.
        max_output_tokens: Option<u32>,
        /// Tokens at the prompt's start that requests before it had too, by the trace's blocks: what a
        /// prefix cache without bound would have.
        prefix_tokens_planned: Option<u32>,
        /// Prompt tokens as the server counted them.
        usage_input_tokens: Option<u32>,
        /// Completion tokens as the server counted them.
        usage_output_tokens: Option<u32>,
        /// Reasoning tokens among the completion tokens, as the server counted them.
        usage_reasoning_tokens: Option<u32>,
        /// Prompt tokens that the server took from its prefix cache.
        usage_cached_tokens: Option<u32>,
        /// Output tokens by the token ids or log-probabilities in the events; null where an event with
        /// a token had none.
        ids_output_tokens: Option<u32>,
        /// Output tokens that came to be after the last token-bearing event, or without any: by ids, or
        /// by usage where every token-bearing event had it; null where neither tells.
        tokens_after_last: Option<u32>,
        /// How long the server kept it waiting, as it says itself in its answer.
        server_queue_ns: Option<i64>,
        /// How long it computed the prompt, as it says itself.
        server_prefill_ns: Option<i64>,
        /// How long it generated tokens, as it says itself.
        server_decode_ns: Option<i64>,
        /// Prompt tokens as our tokenizer counts them.
        input_tokens_counted: Option<u32>,
        /// Output tokens as our tokenizer counts them.
        output_tokens_counted: Option<u32>,
        /// Number of token-bearing events.
        chunk_count: u32,
        /// Events with a text in a field that is not read.
        unread_events: Option<u32>,
        /// Longest gap between token-bearing events.
        max_gap_ns: Option<i64>,
        /// Bytes of the response body.
        response_bytes: i64,
        /// How it ended.
        status: Status,
        /// What failed, from a closed list.
        error_kind: Option<Label>,
        /// What failed, in the words of the server or the system.
        error_message: Option<String>,
        /// Status code of the response.
        http_status: Option<u16>,
        /// Why the server stopped generating.
        finish_reason: Option<Label>,
        /// What made it stop: the stop string, or the id of a token.
        stop_reason: Option<String>,
        /// True where the finish reason came in an event without a token.
        has_lone_finish: Option<bool>,
        /// The server's id of the response.
        response_id: Option<String>,
        /// The headers of the answer that were to be kept (`--keep-header`), as a JSON object.
        response_headers: Option<String>,
        /// The prompt; only with `--keep text`.
        prompt: Option<String>,
        /// The generated text; only with `--keep text`. Calls of tools follow it on a line of their own,
        /// as JSON: `{"tool_calls": [{"name": ..., "arguments": ...}]}`.
        output: Option<String>,
    }
}

table! {
    /// One streamed event that arrived. A chunk is not a token.
    pub struct ChunkRow {
        /// Request that it answers.
        request_id: u64,
        /// Attempt that it answers.
        attempt: u8,
        /// Position in the stream, from 0.
        seq: u32,
        /// When the read that completed the event returned.
        arrival_ns: i64,
        /// Since the previous token-bearing event; null on the first one and on all others.
        gap_ns: Option<i64>,
        /// Which read of this request brought it; null where the wire can't tell.
        read_seq: Option<u32>,
        /// User stamp less kernel receive stamp, in microseconds. Both are of the wall clock: null
        /// where that was set in between, which is seen by a wait that can't be.
        kernel_lag_us: Option<i32>,
        /// What it carried.
        channel: Channel,
        /// True when the event has a non-empty `choices`: other tools count those as tokens.
        has_choices: bool,
        /// Tokens in a token-bearing event, with those that came to be before it and after the one before.
        tokens: Option<u16>,
        /// How the number of tokens is known.
        tokens_source: Option<TokensSource>,
        /// Size of the event on the wire, in bytes.
        bytes: u32,
        /// The decoded text; only with `--keep text`.
        text: Option<String>,
    }
}

table! {
    /// The client's own health, a row each 100 ms and worker.
    pub struct ProbeRow {
        /// When the row was taken.
        at_ns: i64,
        /// Load generator that it describes.
        worker: u16,
        /// Longest lateness of a 10 ms timer since the last row, of the thread that sends or the one
        /// that reads, whichever was later.
        runtime_lag_max_ns: i64,
        /// CPU time since the last row of the thread that sends or the one that reads, whichever
        /// used more; of both where the process has one core.
        cpu_ns: Option<i64>,
        /// Requests in flight.
        in_flight: u32,
        /// Requests held back by a cap.
        queued: u32,
        /// Batches waiting for the writer.
        channel_fill: u32,
        /// Resident memory of the process, in bytes.
        rss_bytes: Option<i64>,
        /// Reads since the last row.
        reads: i64,
        /// Streamed events since the last row.
        events: i64,
        /// Times since the last row that a full channel, or a decoder thread that was behind, held up the
        /// receiver.
        capture_stalls: i64,
        /// Age of the oldest read that was not in the log, the longest since the last row: what a
        /// kill would have cost.
        unlogged_max_ns: Option<i64>,
    }
}

table! {
    /// One number that a server, an exporter or this machine said of itself.
    pub struct ServerRow {
        /// When the answer that brought it had been read.
        at_ns: i64,
        /// Number of the series on this tape: a source, a name and its labels.
        series: u32,
        /// Who said it: the address of the page, without secrets, or `host` for this machine.
        source: Option<Label>,
        /// Name of the metric.
        name: Option<Label>,
        /// Its labels, as the text format writes them between braces; null where there are none.
        labels: Option<Label>,
        /// The value; null where the page says `NaN`. Of a bucket of a histogram and of a time of
        /// creation there is a row where it is new or another one than before.
        value: Option<f64>,
    }
}

words! {
    /// What failed in an attempt; spelled in the column `error_kind`.
    pub enum ErrorKind {
        /// The host's name could not be resolved.
        Dns = "dns",
        /// No connection could be opened.
        Connect = "connect",
        /// The TLS handshake failed.
        Tls = "tls",
        /// The request could not be written, or the connection broke before a response head.
        Send = "send",
        /// The server refused the request.
        Http4xx = "http_4xx",
        /// The server asked for fewer requests.
        Http429 = "http_429",
        /// The server failed.
        Http5xx = "http_5xx",
        /// The server reported an error inside a stream that had begun with success.
        InStream = "in_stream",
        /// An event could not be decoded.
        BadEvent = "bad_event",
        /// The stream ended without a finish reason or an end mark.
        Truncated = "truncated",
        /// The stream ended in order, without a token.
        Empty = "empty",
        /// No connection within the limit.
        TimeoutConnect = "timeout_connect",
        /// No token within the limit.
        TimeoutFirst = "timeout_first",
        /// The stream stalled for longer than the limit.
        TimeoutIdle = "timeout_idle",
        /// The attempt took longer than the limit.
        TimeoutTotal = "timeout_total",
        /// The response or one of its events was over a bound on size.
        TooLarge = "too_large",
        /// The response is of a kind that the backend does not speak.
        Unsupported = "unsupported",
        /// The client hung up, as it was asked to (`--cancel-rate`).
        HungUp = "hung_up",
    }
}

impl ErrorKind {
    /// True for the kinds whose attempts have the status `timeout`.
    pub fn is_timeout(self) -> bool {
        matches!(
            self,
            Self::TimeoutConnect | Self::TimeoutFirst | Self::TimeoutIdle | Self::TimeoutTotal
        )
    }
}

impl From<ErrorKind> for Label {
    fn from(kind: ErrorKind) -> Self {
        use super::value::Word;
        Self::from(kind.as_str())
    }
}

impl RequestRow {
    /// A row of which nothing is known but its key, its phase and when it was due; its status is
    /// [`Status::Interrupted`], which is what stays if nothing more is ever heard.
    pub fn new(request_id: u64, phase: Phase, intended_ns: i64) -> Self {
        Self {
            request_id,
            attempt: 0,
            worker: 0,
            step: None,
            phase,
            session_id: None,
            turn: None,
            model: None,
            target: None,
            class: None,
            trace_ns: None,
            intended_ns,
            queued_ns: 0,
            dispatched_ns: None,
            connect_ns: None,
            sent_ns: None,
            resends: None,
            body_sent_ns: None,
            headers_ns: None,
            first_token_ns: None,
            first_answer_ns: None,
            last_token_ns: None,
            end_ns: None,
            input_tokens_planned: None,
            output_tokens_planned: None,
            max_output_tokens: None,
            prefix_tokens_planned: None,
            usage_input_tokens: None,
            usage_output_tokens: None,
            usage_reasoning_tokens: None,
            usage_cached_tokens: None,
            ids_output_tokens: None,
            tokens_after_last: None,
            server_queue_ns: None,
            server_prefill_ns: None,
            server_decode_ns: None,
            input_tokens_counted: None,
            output_tokens_counted: None,
            chunk_count: 0,
            unread_events: None,
            max_gap_ns: None,
            response_bytes: 0,
            status: Status::Interrupted,
            error_kind: None,
            error_message: None,
            http_status: None,
            finish_reason: None,
            stop_reason: None,
            has_lone_finish: None,
            response_id: None,
            response_headers: None,
            prompt: None,
            output: None,
        }
    }

    /// Takes in one token-bearing event: its arrival and channel. Returns the gap since the one
    /// before.
    pub fn take_token_event(&mut self, arrival_ns: i64, channel: Channel) -> Option<i64> {
        let gap_ns = self
            .last_token_ns
            .map(|last_ns| arrival_ns.saturating_sub(last_ns));
        self.first_token_ns.get_or_insert(arrival_ns);
        if channel != Channel::Reasoning {
            self.first_answer_ns.get_or_insert(arrival_ns);
        }
        self.last_token_ns = Some(arrival_ns);
        self.chunk_count = self.chunk_count.saturating_add(1);
        self.max_gap_ns = self.max_gap_ns.max(gap_ns);
        gap_ns
    }
}

/// A row that the log carries and a table is sorted from.
pub trait TapeRow: Clone + Sized {
    /// Name of the table's folder.
    const TABLE: &'static str;

    /// Columns that the table is sorted by. Rows of equal keys are one row: the last one written,
    /// with the texts that only an older one has, which are not written twice.
    const SORTED_BY: &'static [&'static str];

    /// Columns that are points in time.
    const TIMES: &'static [&'static str];

    /// Columns of texts of any length: the rest of every row is small.
    const TEXTS: &'static [&'static str];

    /// Size of the texts of any length in the row, in bytes.
    fn text_bytes(&self) -> usize;

    /// The Arrow schema of the table.
    fn schema() -> SchemaRef;

    /// Builds one record batch of the rows, in order.
    fn batch(rows: &[Self]) -> RecordBatch;

    /// Reads the rows of a batch; `None` when a column is missing or has another type.
    fn rows(batch: &RecordBatch) -> Option<Vec<Self>>;

    /// Returns the batch as [`TapeRow::batch`] makes them, also where another version of the layout
    /// wrote it; `None` as for [`TapeRow::rows`].
    fn conform(batch: RecordBatch) -> Option<RecordBatch>;
}

/// What rows are sorted by: the first column of [`TapeRow::SORTED_BY`], and the others in one.
pub(super) type Key = (u64, u64);

/// Reads the keys of a batch; `None` when one of their columns is missing or has another type.
pub(super) fn keys<R: TapeRow>(batch: &RecordBatch) -> Option<Vec<Key>> {
    let mut names = R::SORTED_BY.iter();
    let mut keys: Vec<Key> = Vec::new();
    fold_column(batch.column_by_name(names.next()?)?, |_, value| {
        keys.push((value, 0));
    })?;
    for name in names {
        fold_column(batch.column_by_name(name)?, |row, value| {
            if let Some((_, rest)) = keys.get_mut(row) {
                *rest = *rest << 32 | value;
            }
        })?;
    }
    Some(keys)
}

/// Hands the values of a column to `take`, with their rows, as numbers of the same order.
fn fold_column(column: &dyn Array, mut take: impl FnMut(usize, u64)) -> Option<()> {
    macro_rules! each {
        ($type:ty, $number:expr) => {
            if let Some(column) = column.as_primitive_opt::<$type>() {
                let values = column.values().iter().copied().map($number);
                values.enumerate().for_each(|(row, value)| take(row, value));
                return Some(());
            }
        };
    }
    each!(UInt64Type, |value| value);
    each!(UInt32Type, u64::from);
    each!(UInt16Type, u64::from);
    each!(UInt8Type, u64::from);
    each!(Int32Type, |value| u64::from(
        value.cast_unsigned() ^ (1 << 31)
    ));
    each!(Int64Type, |value| value.cast_unsigned() ^ (1 << 63));
    None
}

macro_rules! tape_row {
    ($row:ident, $table:literal, $sorted:expr, [$($time:ident),*], [$($text:ident),*]) => {
        impl TapeRow for $row {
            const TABLE: &'static str = $table;
            const SORTED_BY: &'static [&'static str] = &$sorted;
            const TIMES: &'static [&'static str] = &[$(stringify!($time)),*];
            const TEXTS: &'static [&'static str] = &[$(stringify!($text)),*];
            fn text_bytes(&self) -> usize {
                0 $(+ self.$text.as_ref().map_or(0, String::len))*
            }
            fn schema() -> SchemaRef {
                Self::schema()
            }
            fn batch(rows: &[Self]) -> RecordBatch {
                Self::batch(rows)
            }
            fn rows(batch: &RecordBatch) -> Option<Vec<Self>> {
                Self::rows(batch)
            }
            fn conform(batch: RecordBatch) -> Option<RecordBatch> {
                if Self::is_own(&batch) {
                    return Some(batch);
                }
                Self::rows(&batch).map(|rows| Self::batch(&rows))
            }
        }
    };
}

tape_row!(
    RequestRow,
    "requests",
    ["request_id", "attempt"],
    [
        intended_ns,
        dispatched_ns,
        sent_ns,
        body_sent_ns,
        headers_ns,
        first_token_ns,
        first_answer_ns,
        last_token_ns,
        end_ns
    ],
    [prompt, output]
);
tape_row!(
    ChunkRow,
    "chunks",
    ["request_id", "attempt", "seq"],
    [arrival_ns],
    [text]
);
// Probes are few; the key keeps the order in which they were taken.
tape_row!(ProbeRow, "probes", ["at_ns", "worker"], [at_ns], []);
tape_row!(ServerRow, "server", ["at_ns", "series"], [at_ns], []);
