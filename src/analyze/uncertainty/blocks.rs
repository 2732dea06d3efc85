//! What each block of time brought, out of the batches of a query.

use std::collections::BTreeMap;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::arrow::error::ArrowError;

use super::numbers::RATES;
use crate::analyze::statistics::{Bin, Block, Series};
use crate::sql::WINDOW_BLOCKS;

/// The blocks of all runs.
#[derive(Debug, Default)]
pub(in crate::analyze) struct Blocks {
    pub(super) latencies: BTreeMap<(String, String), BTreeMap<i64, BTreeMap<i64, Counted>>>,
    pub(super) rates: BTreeMap<(String, String), BTreeMap<i64, Block>>,
}

/// The values of one bin in one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    n: f64,
    sum: f64,
    bin: Bin,
}

impl Blocks {
    /// Takes in what `block_latencies` and `block_rates` answered.
    pub(in crate::analyze) fn read(
        latencies: &[RecordBatch],
        rates: &[RecordBatch],
    ) -> Result<Self, ArrowError> {
        let mut blocks = Self::default();
        for batch in latencies {
            blocks.take_latencies(batch)?;
        }
        for batch in rates {
            blocks.take_rates(batch)?;
        }
        Ok(blocks)
    }

    fn take_latencies(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let (runs, metrics) = (texts(batch, "run")?, texts(batch, "metric")?);
        let (places, bins) = (integers(batch, "block")?, integers(batch, "bin")?);
        let (n, sums) = (numbers(batch, "n")?, numbers(batch, "sum_ns")?);
        let (lows, highs) = (numbers(batch, "low_ns")?, numbers(batch, "high_ns")?);
        for row in 0..batch.num_rows() {
            let key = (runs[row].clone(), metrics[row].clone());
            let counted = Counted {
                n: n[row],
                sum: sums[row],
                bin: Bin {
                    low: lows[row],
                    high: highs[row],
                },
            };
            let series = self.latencies.entry(key).or_default();
            series
                .entry(places[row])
                .or_default()
                .insert(bins[row], counted);
        }
        Ok(())
    }

    fn take_rates(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let (runs, places) = (texts(batch, "run")?, integers(batch, "block")?);
        for (name, numerator, denominator) in RATES {
            let (numerators, denominators) =
                (numbers(batch, numerator)?, numbers(batch, denominator)?);
            for row in 0..batch.num_rows() {
                let key = (runs[row].clone(), name.to_owned());
                let block = Block {
                    numerator: numerators[row],
                    denominator: denominators[row],
                    counts: Vec::new(),
                };
                let series = self.rates.entry(key).or_default();
                series.insert(places[row], block);
            }
        }
        Ok(())
    }

    /// The first block of any run, and the one behind the last: all series have the same places,
    /// so that two of them can be drawn from together.
    pub(super) fn frame(&self) -> (i64, i64) {
        let latencies = self.latencies.values().flat_map(BTreeMap::keys);
        let places = latencies.copied().chain([0, WINDOW_BLOCKS - 1]);
        places.fold((0, 0), |(low, high), place| {
            (low.min(place), high.max(place + 1))
        })
    }

    pub(super) fn series(&self, run: &str, metric: &str) -> Option<Series> {
        let (low, high) = self.frame();
        let key = (run.to_owned(), metric.to_owned());
        if let Some(blocks) = self.rates.get(&key) {
            let block = |place| blocks.get(&place).cloned().unwrap_or_default();
            return Some(Series {
                blocks: (low..high).map(block).collect(),
                bins: Vec::new(),
            });
        }
        let blocks = self.latencies.get(&key)?;
        let mut bins: BTreeMap<i64, Bin> = BTreeMap::new();
        for (bin, counted) in blocks.values().flatten() {
            let known = bins.entry(*bin).or_insert(counted.bin);
            known.low = known.low.min(counted.bin.low);
            known.high = known.high.max(counted.bin.high);
        }
        let order: BTreeMap<i64, usize> = bins.keys().copied().zip(0..).collect();
        let block = |place| {
            let Some(counted) = blocks.get(&place) else {
                return Block::default();
            };
            Block {
                numerator: counted.values().map(|counted| counted.sum).sum(),
                denominator: counted.values().map(|counted| counted.n).sum(),
                counts: counted
                    .iter()
                    .map(|(bin, counted)| (order[bin], counted.n))
                    .collect(),
            }
        };
        Some(Series {
            blocks: (low..high).map(block).collect(),
            bins: bins.into_values().collect(),
        })
    }
}

fn column(batch: &RecordBatch, name: &str, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| ArrowError::SchemaError(format!("no column `{name}`")))?;
    cast(column, data_type)
}

fn texts(batch: &RecordBatch, name: &str) -> Result<Vec<String>, ArrowError> {
    let column = column(batch, name, &DataType::Utf8)?;
    let words = column.as_string::<i32>();
    Ok(words
        .iter()
        .map(|word| word.unwrap_or_default().to_owned())
        .collect())
}

fn integers(batch: &RecordBatch, name: &str) -> Result<Vec<i64>, ArrowError> {
    let column = column(batch, name, &DataType::Int64)?;
    Ok(column.as_primitive::<Int64Type>().values().to_vec())
}

fn numbers(batch: &RecordBatch, name: &str) -> Result<Vec<f64>, ArrowError> {
    let column = column(batch, name, &DataType::Float64)?;
    Ok(column.as_primitive::<Float64Type>().values().to_vec())
}
