//! Converted traces: what is written, what is read back, and what is refused.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::trace::convert::convert_within;
use crate::trace::{
    BUNDLED, Conversion, Converted, LOOK_AHEAD_ROWS, Selection, TraceError, TraceOptions, convert,
};

use super::{Replay, Scratch, gzip, read, read_selected, read_with};

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

impl Scratch {
    fn conversion(&self, path: &Path) -> Conversion {
        Conversion {
            path: path.to_owned(),
            output: self.folder.path().join("out.parquet"),
            ..Conversion::default()
        }
    }

    async fn convert(&self, path: &Path) -> (PathBuf, Converted) {
        write(&self.conversion(path)).await.unwrap()
    }

    async fn sort(&self, path: &Path) -> (PathBuf, Converted) {
        let conversion = Conversion {
            is_sorted: true,
            ..self.conversion(path)
        };
        write(&conversion).await.unwrap()
    }
}

async fn write(conversion: &Conversion) -> Result<(PathBuf, Converted), TraceError> {
    let file = File::create(&conversion.output).unwrap();
    let converted = convert(conversion, file).await?;
    Ok((conversion.output.clone(), converted))
}

fn batches(path: &Path) -> Vec<RecordBatch> {
    let file = File::open(path).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    builder.build().unwrap().map(Result::unwrap).collect()
}

fn assert_same(found: &Replay, expected: &Replay, what: &str) {
    assert_eq!(found.format.name, "canonical", "{what}");
    assert_eq!(found.rows, expected.rows, "{what}");
    assert_eq!(found.counts, expected.counts, "{what}");
    assert_eq!(found.zero_ns, expected.zero_ns, "{what}");
}

/// Rows of the azure format, a second apart, in an order that no look-ahead can put right.
fn shuffled_azure(rows: u64) -> (String, String) {
    let line = |row: u64| {
        let time = chrono::DateTime::from_timestamp(i64::try_from(row / 3).unwrap(), 0).unwrap();
        let time = time.format("%Y-%m-%d %H:%M:%S%.6f");
        format!("{time},{},{}\n", row + 1, row % 7 + 1)
    };
    let ordered = (0..rows).map(line).collect::<String>();
    // Thirds that are swapped whole keep the order of equal times inside the trace.
    let third = rows / 3 / 3 * 3;
    let shuffled = (2 * third..rows)
        .chain(third..2 * third)
        .chain(0..third)
        .map(line)
        .collect::<String>();
    (format!("{AZURE}{ordered}"), format!("{AZURE}{shuffled}"))
}

#[tokio::test]
async fn every_bundled_trace_reads_the_same_after_a_conversion() {
    for sample in BUNDLED {
        let scratch = Scratch::new();
        let path = scratch.write(sample.file_name, sample.text);
        for keeps_failed in [false, true] {
            let selection = Selection {
                keeps_failed,
                ..Selection::default()
            };
            let direct = read_selected(&path, selection.clone()).await.unwrap();
            let (converted, counted) = scratch.convert(&path).await;
            assert_eq!(counted.format, direct.format.name);
            assert_eq!(counted.rows, direct.counts.read);
            assert_eq!(counted.out_of_order, 0);
            let found = read_selected(&converted, selection.clone()).await.unwrap();
            assert_same(&found, &direct, sample.file_name);
            let (sorted, _) = scratch.sort(&path).await;
            let found = read_selected(&sorted, selection).await.unwrap();
            assert_same(&found, &direct, sample.file_name);
        }
    }
}

#[tokio::test]
async fn a_trace_out_of_order_names_a_remedy_that_works() {
    let rows = u64::try_from(LOOK_AHEAD_ROWS).unwrap() * 4;
    let (ordered, shuffled) = shuffled_azure(rows);
    let scratch = Scratch::new();
    let expected = read(&scratch.write("ordered.csv", ordered)).await.unwrap();
    let path = scratch.write("shuffled.csv", shuffled);
    let error = read(&path).await.unwrap_err();
    assert!(matches!(error, TraceError::Backwards { .. }), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("tokentape trace convert --sort"), "{hint}");

    // A conversion alone keeps the file's order, and so the problem.
    let (unsorted, counted) = scratch.convert(&path).await;
    assert_eq!(counted.out_of_order, rows / 3 * 2);
    let error = read(&unsorted).await.unwrap_err();
    assert!(error.to_string().contains("out.parquet` row "), "{error}");

    let (sorted, counted) = scratch.sort(&path).await;
    assert_eq!((counted.rows, counted.failed), (rows, 0));
    let found = read(&sorted).await.unwrap();
    assert_same(&found, &expected, "sorted");
}

#[tokio::test]
async fn what_does_not_fit_in_memory_is_sorted_on_disk() {
    let (ordered, shuffled) = shuffled_azure(300_000);
    let scratch = Scratch::new();
    let expected = read(&scratch.write("ordered.csv", ordered)).await.unwrap();
    let path = scratch.write("shuffled.csv", shuffled);
    let conversion = Conversion {
        is_sorted: true,
        ..scratch.conversion(&path)
    };
    let file = File::create(&conversion.output).unwrap();
    // The rows take several times as much.
    convert_within(16 << 20, &conversion, file).await.unwrap();
    let found = read(&conversion.output).await.unwrap();
    assert_same(&found, &expected, "spilled");
    let left: Vec<_> = std::fs::read_dir(scratch.folder.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "no folder stays: {left:?}");
}

#[tokio::test]
async fn arrivals_keep_the_clock_of_the_file_and_extra_columns_stay() {
    let scratch = Scratch::new();
    let trace = "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n\
                 1970-01-01 00:00:05,2,10,20\n\
                 1970-01-01 00:00:05.5,,30,40\n";
    let path = scratch.write("t.csv", trace);
    let (converted, _) = scratch.convert(&path).await;
    let batches = batches(&converted);
    let batch = &batches[0];
    let names: Vec<String> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(
        names.join(" "),
        "arrival_ns input_tokens output_tokens id session_id parent_id turn think_ns elapsed_ns \
         prefix_tokens prefix_blocks block_size block_scope model class failed prompt messages \
         body new_only reply extra_images"
    );
    let numbers = |at: usize| batch.column(at).as_primitive::<Int64Type>();
    assert_eq!(numbers(0).values(), &[5_000_000_000, 5_500_000_000]);
    assert_eq!(
        numbers(21).iter().collect::<Vec<_>>(),
        [Some(2), None],
        "extra_images"
    );

    // Once more, and they are still there.
    let again = scratch.write("again", std::fs::read(&converted).unwrap());
    let (twice, counted) = scratch.sort(&again).await;
    assert_eq!(counted.format, "canonical");
    assert_eq!(self::batches(&twice)[0], *batch);
}

#[tokio::test]
async fn a_mapping_of_ones_own_converts() {
    let scratch = Scratch::new();
    let map = scratch.write(
        "own.sql",
        "-- name: own\n-- requires: at\n\
         SELECT CAST(at AS BIGINT) AS arrival_ns, 1 AS input_tokens, 2 AS output_tokens,
                'session' AS block_scope, [5, 6] AS prefix_blocks, 16 AS block_size,
                at AS extra_at, [at] AS \"extra_List\"
         FROM source WHERE at <> '7'",
    );
    let path = scratch.write("log.csv.gz", gzip(b"at\n9\n7\n8\n"));
    let conversion = Conversion {
        map: Some(map.clone()),
        is_sorted: true,
        ..scratch.conversion(&path)
    };
    let (converted, counted) = write(&conversion).await.unwrap();
    assert_eq!(
        counted,
        Converted {
            format: "own".to_owned(),
            rows: 2,
            failed: 0,
            out_of_order: 1,
            new_only: 0,
        }
    );
    let options = TraceOptions {
        path,
        map: Some(map),
        ..TraceOptions::default()
    };
    let expected = read_with(&options).await.unwrap();
    assert_eq!(read(&converted).await.unwrap().facts(), expected.facts());
    let schema = batches(&converted)[0].schema();
    let list = schema.field_with_name("extra_List").unwrap().data_type();
    assert!(matches!(list, DataType::List(_)), "{list}");
}

#[tokio::test]
async fn bad_rows_are_told_by_file_and_line_also_where_they_are_sorted() {
    let good = "2023-11-16 18:17:03,5,6\n".repeat(20_000);
    let scratch = Scratch::new();
    for (row, expected) in [
        (
            "2023-11-16 18:17:04,0,6",
            "t.csv` line 20002: column `ContextTokens` is `0`, so `input_tokens` is not a length",
        ),
        (
            "2023-11-16 18:17:04,5,many",
            "t.csv` line 20002: column `GeneratedTokens` is `many`: ",
        ),
        (
            "2023-11-16 18:17:04,5",
            "t.csv` line 20002: has the wrong number of fields",
        ),
    ] {
        let path = scratch.write("t.csv", format!("{AZURE}{good}{row}\n{good}"));
        for is_sorted in [false, true] {
            let conversion = Conversion {
                is_sorted,
                ..scratch.conversion(&path)
            };
            let error = write(&conversion).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

#[tokio::test]
async fn a_bad_extra_column_is_told_by_line_and_does_not_stop_a_replay() {
    let scratch = Scratch::new();
    let trace = "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n\
                 2023-11-16 18:17:03,1,5,6\n2023-11-16 18:17:03,few,5,6\n";
    let path = scratch.write("t.csv", trace);
    assert_eq!(read(&path).await.unwrap().rows.len(), 2);
    let error = write(&scratch.conversion(&path)).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("t.csv` line 3: column `NumImages` is `few`: "),
        "{error}"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_not_converted() {
    let scratch = Scratch::new();
    for (bytes, expected) in [
        (AZURE, "has no rows"),
        ("time\n1\n", "has columns of no known format"),
        ("PAR1", "as Parquet"),
    ] {
        let path = scratch.write("t", bytes);
        for is_sorted in [false, true] {
            let conversion = Conversion {
                is_sorted,
                ..scratch.conversion(&path)
            };
            let error = write(&conversion).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

/// A disk that is full from the first byte.
struct FullDisk;

impl std::io::Write for FullDisk {
    fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
}

#[tokio::test]
async fn a_full_disk_is_told_by_the_name_of_the_output() {
    let scratch = Scratch::new();
    let path = scratch.write("t.csv", BUNDLED[0].text);
    let conversion = Conversion {
        output: "out.parquet".into(),
        ..scratch.conversion(&path)
    };
    let error = convert(&conversion, FullDisk).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot write `out.parquet`");
    assert!(error.hint().unwrap().contains("space left"));
}

#[tokio::test]
async fn canonical_columns_are_read_from_csv_and_json_lines() {
    let scratch = Scratch::new();
    let csv = "class,output_tokens,input_tokens,arrival_ns,failed,turn,extra_note\n\
               chat,4,3,1700158623979960001,,0,x\n\
               ,0,,1700158623979960002,true,,\n\
               ,6,5,1700158623979960003,false,1,y\n";
    let replay = read(&scratch.write("t.csv", csv)).await.unwrap();
    assert_eq!(replay.format.name, "canonical");
    assert_eq!(replay.arrivals_ns(), [0, 2]);
    assert_eq!(replay.lengths(), [(3, 4), (5, 6)]);
    assert_eq!(replay.rows[0].class.as_deref(), Some("chat"));
    assert_eq!(replay.rows[1].class, None);
    assert_eq!(replay.rows[1].turn, Some(1));
    assert_eq!(replay.counts.failed, 1);

    let json = r#"{"arrival_ns": 7, "input_tokens": 20, "output_tokens": 2}
        {"arrival_ns": 8, "input_tokens": 20, "output_tokens": 2, "failed": false, "session_id": 5,
         "block_size": 16, "block_scope": "session", "prefix_blocks": [1, 18446744073709551615]}"#;
    let json = json.replace(",\n         ", ", ");
    let path = scratch.write("t.jsonl", json);
    let replay = read(&path).await.unwrap();
    assert!(replay.rows[0].prefix_blocks.is_empty());
    assert_eq!(replay.rows[1].prefix_blocks, [1, u64::MAX]);
    assert_eq!(replay.rows[1].session_id.as_deref(), Some("5"));
    let (converted, _) = scratch.convert(&path).await;
    assert_same(&read(&converted).await.unwrap(), &replay, "from JSON lines");
}

#[tokio::test]
async fn a_column_that_is_not_canonical_is_refused_by_name() {
    let scratch = Scratch::new();
    let csv = "arrival_ns,input_tokens,output_tokens,sesion_id\n1,2,3,x\n";
    let error = read(&scratch.write("t.csv", csv)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "mapping `canonical` yields `sesion_id`, which is no canonical column"
    );
    assert!(error.hint().unwrap().contains("`extra_sesion_id`"));
}

#[tokio::test]
async fn bad_canonical_values_are_told_by_line() {
    let scratch = Scratch::new();
    let header = "arrival_ns,input_tokens,output_tokens,prefix_blocks,block_scope\n1,2,3,,\n";
    for (row, expected) in [
        ("1.5,2,3,,", "line 3: column `arrival_ns` is `1.5`: "),
        (",2,3,,", "line 3: column `arrival_ns` is empty or missing"),
        ("1,0,3,,", "line 3: column `input_tokens` is `0`, so"),
        ("1,2,3,,all", "line 3: column `block_scope` is `all`, so"),
        (
            "1,2,3,\"[1, 2]\",",
            "line 3: column `prefix_blocks` is `[1, 2]`: ",
        ),
    ] {
        let path = scratch.write("t.csv", format!("{header}{row}\n"));
        let error = read(&path).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn columns_that_a_mapping_does_not_read_are_kept() {
    let scratch = Scratch::new();
    let lines = "{\"timestamp\": 5, \"region\": \"eu\", \"model\": \"x\", \"requests\": \
                 [{\"Prompt Length\": 1, \"Output Length\": 2}, {\"Prompt Length\": 3, \"Output Length\": 4}]}\n";
    let path = scratch.write("t.jsonl", lines);
    let (converted, counted) = scratch.convert(&path).await;
    assert_eq!((counted.format.as_str(), counted.rows), ("aibrix", 2));
    let batch = &batches(&converted)[0];
    for (name, value) in [("extra_region", "eu"), ("extra_model", "x")] {
        let column = batch.column_by_name(name).unwrap().as_string::<i32>();
        assert_eq!(column.iter().collect::<Vec<_>>(), [Some(value); 2]);
    }
    assert!(
        batch.column_by_name("extra_timestamp").is_none(),
        "it is read"
    );
    let again = scratch.write("again", std::fs::read(&converted).unwrap());
    let (twice, _) = scratch.sort(&again).await;
    assert_eq!(batches(&twice)[0], *batch, "also the second time");
}
