//! Equal traces give equal schedules, however the work is cut and whoever does it.

use std::fs::File;

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

use crate::draw::hash_text;
use crate::plan::Ties;
use crate::testing::shared_file;
use crate::trace::{Conversion, Selection, TraceOptions, convert};

use super::{Scratch, gzip, read_with};

/// The hash of a schedule: when rows are due, and all that they are.
async fn schedule_hash(options: &TraceOptions) -> u64 {
    let replay = read_with(options).await.unwrap();
    hash_text(&format!("{:?}", replay.facts()))
}

fn selection(ties: Ties) -> Selection {
    Selection {
        ties,
        seed: 3,
        sample: Some(0.7),
        speed: 1.7,
        max_idle_ns: Some(20_000_000_000),
        ..Selection::default()
    }
}

#[tokio::test]
async fn a_schedule_is_the_same_in_every_version() {
    let scratch = Scratch::new();
    let mut hashes = Vec::new();
    for sample in crate::trace::BUNDLED {
        let path = scratch.write(sample.file_name, sample.text);
        for ties in [Ties::Keep, Ties::Uniform, Ties::Poisson] {
            let options = TraceOptions {
                path: path.clone(),
                selection: selection(ties),
                ..TraceOptions::default()
            };
            let rows = read_with(&options).await.unwrap().rows;
            let due: Vec<String> = rows.iter().map(|row| row.arrival_ns.to_string()).collect();
            hashes.push(hash_text(&due.join(" ")));
        }
    }
    assert_eq!(hashes, PINNED);
}

/// Changed only where a change of every user's schedules is meant.
const PINNED: [u64; 9] = [
    9_291_303_835_011_878_175,
    9_291_303_835_011_878_175,
    13_910_892_325_918_699_931,
    6_732_770_217_105_287_393,
    14_125_206_602_831_732_509,
    3_276_055_632_895_038_450,
    8_208_803_308_723_162_292,
    11_596_798_403_017_653_728,
    186_160_367_537_955_687,
];

#[test]
fn threads_files_and_pieces_do_not_change_a_schedule() {
    let Some(path) = shared_file("traces/mooncake/conversation_trace.jsonl") else {
        return;
    };
    let scratch = Scratch::new();
    let options = TraceOptions {
        path: path.clone(),
        selection: selection(Ties::Poisson),
        ..TraceOptions::default()
    };
    let one = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let expected = one.block_on(schedule_hash(&options));
    let many = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    assert_eq!(many.block_on(schedule_hash(&options)), expected);

    let packed = scratch.write("packed.jsonl.gz", gzip(&std::fs::read(&path).unwrap()));
    let parquet = scratch.folder.path().join("whole.parquet");
    let conversion = Conversion {
        path,
        output: parquet.clone(),
        ..Conversion::default()
    };
    let file = File::create(&parquet).unwrap();
    one.block_on(convert(&conversion, file)).unwrap();
    let pieces = scratch.folder.path().join("pieces.parquet");
    cut(&parquet, &pieces);
    for path in [packed, parquet, pieces] {
        let options = TraceOptions {
            path,
            ..options.clone()
        };
        assert_eq!(
            one.block_on(schedule_hash(&options)),
            expected,
            "{options:?}"
        );
    }
}

/// Writes a Parquet file once more in row groups of 77 rows.
fn cut(from: &std::path::Path, to: &std::path::Path) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(from).unwrap())
        .unwrap()
        .with_batch_size(77)
        .build()
        .unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(77))
        .build();
    let mut writer = None;
    for batch in reader {
        let batch = batch.unwrap();
        let writer = writer.get_or_insert_with(|| {
            let file = File::create(to).unwrap();
            ArrowWriter::try_new(file, batch.schema(), Some(properties.clone())).unwrap()
        });
        writer.write(&batch).unwrap();
    }
    writer.unwrap().close().unwrap();
}
