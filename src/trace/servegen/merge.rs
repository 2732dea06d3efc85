//! The requests of all clients in order of arrival, as canonical rows.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringBuilder, UInt64Array, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use super::client::{Arrival, Arrivals, Client, Stretch};
use super::lengths::{Drawn, is_whole};
use crate::trace::columns::{CANONICAL, EXTRA, NUMBER, canonical_type};

/// Rows of one batch.
const BATCH_ROWS: usize = 8192;

/// Streams the rows of all clients, each with its seed, at `factor` times their rates.
///
/// Holds one request a client, and a batch.
pub(super) fn rows(
    clients: Vec<(u64, Client)>,
    factor: f64,
    stretch: Stretch,
) -> SendableRecordBatchStream {
    let merge = Merge::new(clients, factor, stretch);
    let schema = Arc::clone(&merge.schema);
    let rows = futures::stream::try_unfold(merge, |mut merge| async move {
        // Drawing takes its time: whoever waits for a signal gets a turn after every batch.
        tokio::task::yield_now().await;
        let batch = merge.next_batch()?;
        Ok(batch.map(|batch| (batch, merge)))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// A client that sends.
struct Sender {
    client: Client,
    seed: u64,
    arrivals: Arrivals,
}

/// All clients, with the next request of each.
struct Merge {
    senders: Vec<Sender>,
    /// Time and sender of each next request; of equal times the first sender's comes first.
    heap: BinaryHeap<Reverse<(i64, usize)>>,
    /// The next request of each sender, which the heap has the time of.
    waiting: Vec<Option<Arrival>>,
    extras: Vec<String>,
    schema: SchemaRef,
    rows: u64,
}

impl Merge {
    fn new(clients: Vec<(u64, Client)>, factor: f64, stretch: Stretch) -> Self {
        let names: BTreeSet<&str> = clients
            .iter()
            .flat_map(|(_, client)| client.lengths.extra_names())
            .collect();
        let extras: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let senders = clients.into_iter().map(|(seed, client)| Sender {
            arrivals: Arrivals::new(&client, seed, factor, stretch),
            client,
            seed,
        });
        let mut merge = Self {
            senders: senders.collect(),
            heap: BinaryHeap::new(),
            waiting: Vec::new(),
            schema: schema(&extras),
            extras,
            rows: 0,
        };
        merge.waiting = vec![None; merge.senders.len()];
        for at in 0..merge.senders.len() {
            merge.wait_for(at);
        }
        merge
    }

    /// Puts the next request of a sender into the heap.
    fn wait_for(&mut self, at: usize) {
        let Some(sender) = self.senders.get_mut(at) else {
            return;
        };
        let next = sender.arrivals.next(&sender.client);
        if let Some(arrival) = next {
            self.heap.push(Reverse((arrival.at_ns, at)));
        }
        if let Some(waiting) = self.waiting.get_mut(at) {
            *waiting = next;
        }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let mut rows = Rows::new(&self.extras);
        while rows.count < BATCH_ROWS {
            let Some(Reverse((_, at))) = self.heap.pop() else {
                break;
            };
            let sender = self.senders.get(at);
            let arrival = self.waiting.get(at).copied().flatten();
            if let Some((sender, arrival)) = sender.zip(arrival) {
                let lengths = &sender.client.lengths;
                let index = arrival.index;
                let drawn = lengths.draw(arrival.window_s, sender.seed, index, &self.extras);
                if let Some(drawn) = drawn {
                    rows.add(arrival.at_ns, &sender.client.name, &drawn);
                }
            }
            self.wait_for(at);
        }
        if rows.count == 0 {
            return Ok(None);
        }
        let first = self.rows;
        self.rows += u64::try_from(rows.count).unwrap_or(u64::MAX);
        rows.finish(&self.schema, first..self.rows).map(Some)
    }
}

/// The canonical columns, the number, and what else the clients' lengths have.
fn schema(extras: &[String]) -> SchemaRef {
    let canonical = CANONICAL
        .iter()
        .map(|name| Field::new(*name, canonical_type(name), true));
    let number = Field::new(NUMBER, DataType::UInt64, true);
    let extras = extras.iter().map(|name| {
        let kind = match is_whole(name) {
            true => DataType::Int64,
            false => DataType::Float64,
        };
        Field::new(format!("{EXTRA}{name}"), kind, true)
    });
    let fields: Vec<Field> = canonical.chain([number]).chain(extras).collect();
    Arc::new(Schema::new(fields))
}

/// Rows that become a batch.
struct Rows {
    count: usize,
    arrivals: Int64Builder,
    inputs: Int64Builder,
    outputs: Int64Builder,
    classes: StringBuilder,
    extras: Vec<Extra>,
}

/// A column beside the canonical ones.
enum Extra {
    Whole(Int64Builder),
    Ratio(Float64Builder),
}

impl Rows {
    fn new(extras: &[String]) -> Self {
        let extra = |name: &String| match is_whole(name) {
            true => Extra::Whole(Int64Builder::new()),
            false => Extra::Ratio(Float64Builder::new()),
        };
        Self {
            count: 0,
            arrivals: Int64Builder::new(),
            inputs: Int64Builder::new(),
            outputs: Int64Builder::new(),
            classes: StringBuilder::new(),
            extras: extras.iter().map(extra).collect(),
        }
    }

    fn add(&mut self, at_ns: i64, class: &str, drawn: &Drawn) {
        self.count += 1;
        self.arrivals.append_value(at_ns);
        self.inputs.append_value(drawn.input_tokens);
        self.outputs.append_value(drawn.output_tokens);
        self.classes.append_value(class);
        for (column, value) in self.extras.iter_mut().zip(&drawn.extras) {
            match column {
                Extra::Whole(column) => column.append_option(value.map(whole)),
                Extra::Ratio(column) => column.append_option(*value),
            }
        }
    }

    fn finish(
        mut self,
        schema: &SchemaRef,
        numbers: std::ops::Range<u64>,
    ) -> Result<RecordBatch, ArrowError> {
        let mut extras = self.extras.into_iter().map(|extra| -> ArrayRef {
            match extra {
                Extra::Whole(mut column) => Arc::new(column.finish()),
                Extra::Ratio(mut column) => Arc::new(column.finish()),
            }
        });
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "arrival_ns" => Arc::new(self.arrivals.finish()),
                "input_tokens" => Arc::new(self.inputs.finish()),
                "output_tokens" => Arc::new(self.outputs.finish()),
                "class" => Arc::new(self.classes.finish()),
                NUMBER => Arc::new(UInt64Array::from_iter_values(numbers.clone())),
                name if name.starts_with(EXTRA) => extras
                    .next()
                    .unwrap_or_else(|| new_null_array(field.data_type(), self.count)),
                _ => new_null_array(field.data_type(), self.count),
            }
        });
        RecordBatch::try_new(Arc::clone(schema), columns.collect())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "values were checked to be whole and small"
)]
fn whole(value: f64) -> i64 {
    value as i64
}
