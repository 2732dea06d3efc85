//! Users' own mappings, and Parquet.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Builder,
};
use parquet::arrow::ArrowWriter;

use crate::trace::{BlockScope, LOOK_AHEAD_ROWS, TraceError, TraceOptions, formats};

use super::{Replay, Scratch, read, read_with};

const OWN: &str = "\
-- name: own
-- requires: at, prompt tokens
SELECT
  CAST(CAST(at AS DECIMAL(20, 9)) * 1000000000 AS BIGINT) AS arrival_ns,
  CAST(\"prompt tokens\" AS BIGINT) AS input_tokens,
  7 AS output_tokens,
  'a' AS extra_note
FROM source
";
const LOG: &str = "at,prompt tokens\n10.5,3\n11,4\n";

async fn mapped(trace: &str, sql: &str) -> Result<Replay, TraceError> {
    let scratch = Scratch::new();
    let map = scratch.write("map.sql", sql);
    let path = scratch.write("log.csv", trace);
    mapped_file(path, map).await
}

async fn mapped_file(path: PathBuf, map: PathBuf) -> Result<Replay, TraceError> {
    read_with(&TraceOptions {
        path,
        map: Some(map),
        ..TraceOptions::default()
    })
    .await
}

#[tokio::test]
async fn a_mapping_of_ones_own_reads_a_log() {
    let replay = mapped(LOG, OWN).await.unwrap();
    assert_eq!(replay.format.name, "own");
    assert_eq!(replay.arrivals_ns(), [0, 500_000_000]);
    assert_eq!(replay.lengths(), [(3, 7), (4, 7)]);
}

#[tokio::test]
async fn the_mapping_in_the_documentation_works() {
    let documentation = include_str!("../../../traces/README.md");
    let (_, sql) = documentation.split_once("```sql\n").unwrap();
    let (sql, _) = sql.split_once("```").unwrap();
    let log = "status,user,time,prompt,completion\n\
               200,ann,2026-01-05T09:00:00Z,10,20\n\
               503,bob,2026-01-05T09:00:01Z,10,\n\
               200,bob,2026-01-05T09:00:02.5Z,30,40\n";
    let replay = mapped(log, sql).await.unwrap();
    assert_eq!(replay.format.name, "gateway");
    assert_eq!(replay.arrivals_ns(), [0, 2_500_000_000]);
    assert_eq!(replay.lengths(), [(10, 20), (30, 40)]);
    assert_eq!(replay.rows[1].session_id.as_deref(), Some("bob"));
    assert_eq!(replay.counts.failed, 1);
}

#[test]
fn the_documentation_names_every_format_column_and_bound() {
    let documentation = include_str!("../../../traces/README.md");
    for format in formats() {
        assert!(documentation.contains(&format!("\n## {}\n", format.name)));
        for column in format.requires.iter().chain(&format.optional) {
            assert!(
                documentation.contains(&format!("\n| `{column}` |")),
                "{column}"
            );
        }
    }
    assert_eq!(LOOK_AHEAD_ROWS, 65_536);
    assert!(documentation.contains("65,536 rows"));
}

#[tokio::test]
async fn every_canonical_column_arrives() {
    let sql = "-- requires: at
        SELECT CAST(at AS BIGINT) AS arrival_ns, 1 AS input_tokens, 2 AS output_tokens,
               'session' AS session_id, 'parent' AS parent_id, 3 AS turn, 4 AS think_ns,
               [5, 6] AS prefix_blocks, 16 AS block_size, 'session' AS block_scope,
               'model' AS model, 'class' AS class, false AS failed
        FROM source";
    let replay = mapped("at\n5\n", sql).await.unwrap();
    let row = &replay.rows[0];
    assert_eq!(row.arrival_ns, 0);
    assert_eq!(row.session_id.as_deref(), Some("session"));
    assert_eq!(row.parent_id.as_deref(), Some("parent"));
    assert_eq!((row.turn, row.think_ns), (Some(3), Some(4)));
    assert_eq!(row.prefix_blocks, [5, 6]);
    assert_eq!(
        (row.block_size, row.block_scope),
        (Some(16), BlockScope::Session)
    );
    assert_eq!(row.model.as_deref(), Some("model"));
    assert_eq!(row.class.as_deref(), Some("class"));
}

#[tokio::test]
async fn lines_are_known_behind_filters_and_subqueries() {
    let sql = "-- requires: at
        WITH numbers AS (SELECT TRY_CAST(at AS BIGINT) AS at, n FROM source WHERE at <> 'x')
        SELECT at AS arrival_ns, CAST(n AS BIGINT) AS input_tokens, 1 AS output_tokens
        FROM (SELECT * FROM numbers WHERE at > 0) AS later";
    let error = mapped("at,n\nx,1\n0,1\n5,1\n6,0\n", sql).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("log.csv` line 5: "), "{message}");
    let replay = mapped("at,n\nx,1\n0,1\n5,1\n6,2\n", sql).await.unwrap();
    assert_eq!(replay.arrivals_ns(), [0, 1]);
}

#[tokio::test]
async fn a_mapping_with_a_mistake_is_told() {
    let cases = [
        (
            OWN.replace("CAST(at", "CASTE(at"),
            "the SQL of mapping `own` does not work: ",
        ),
        (
            OWN.replace("\"prompt tokens\"", "prompt"),
            "No field named prompt",
        ),
        (
            OWN.replace("SELECT", "SELEKT"),
            "the SQL of mapping `own` does not work: ",
        ),
        (
            OWN.replace("AS output_tokens", "AS outputs"),
            "it yields no column `output_tokens`",
        ),
        (
            OWN.replace("extra_note", "note"),
            "mapping `own` yields `note`, which is no canonical column",
        ),
        (
            OWN.replace("-- requires", "-- needs"),
            "has no `-- requires: COLUMNS` line",
        ),
        (
            OWN.replace("-- requires: at", "-- requires: when"),
            "lacks `when`",
        ),
        (
            "-- requires: at\nDROP TABLE source".to_owned(),
            "DDL not supported",
        ),
    ];
    for (sql, expected) in cases {
        let error = mapped(LOG, &sql).await.unwrap_err();
        let message = error.to_string();
        let found = message.to_lowercase().contains(&expected.to_lowercase());
        assert!(found, "{message}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn a_missing_mapping_is_named() {
    let scratch = Scratch::new();
    let path = scratch.write("log.csv", LOG);
    let error = mapped_file(path, PathBuf::from("no.sql"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot read mapping `no.sql`");
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn numbers(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn texts(values: Vec<&str>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

#[tokio::test]
async fn parquet_with_its_own_types_reads_in_every_format() {
    let scratch = Scratch::new();
    let path = scratch.folder.path().join("trace");

    let times = TimestampMicrosecondArray::from(vec![1_000_000, 1_500_000]).with_timezone("UTC");
    write_parquet(
        &path,
        vec![
            ("TIMESTAMP", Arc::new(times)),
            ("ContextTokens", numbers(vec![3, 4])),
            ("GeneratedTokens", numbers(vec![5, 6])),
        ],
    );
    let replay = read(&path).await.unwrap();
    assert_eq!(replay.format.name, "azure");
    assert_eq!(replay.arrivals_ns(), [0, 500_000_000]);
    assert_eq!(replay.lengths(), [(3, 5), (4, 6)]);

    write_parquet(
        &path,
        vec![
            (
                "Timestamp",
                Arc::new(Float64Array::from(vec![19_440_110.0, 19_440_161.0])),
            ),
            ("Session ID", texts(vec!["s", ""])),
            ("Elapsed time", numbers(vec![1, 2])),
            ("Model", texts(vec!["GPT-4", "ChatGPT"])),
            ("Request tokens", numbers(vec![3, 4])),
            ("Response tokens", numbers(vec![5, 6])),
            ("Log Type", texts(vec!["Conversation log", "API log"])),
        ],
    );
    let replay = read(&path).await.unwrap();
    assert_eq!(replay.arrivals_ns(), [0, 51_000_000_000]);
    assert_eq!(replay.rows[0].session_id.as_deref(), Some("s"));
    assert_eq!(replay.rows[1].session_id, None);

    let mut blocks = ListBuilder::new(UInt64Builder::new());
    blocks.append_value([Some(1), Some(u64::MAX)]);
    blocks.append_value([Some(2)]);
    write_parquet(
        &path,
        vec![
            ("timestamp", numbers(vec![3, 5])),
            ("input_length", numbers(vec![600, 0])),
            ("output_length", numbers(vec![5, 6])),
            ("hash_ids", Arc::new(blocks.finish())),
        ],
    );
    let error = read(&path).await.unwrap_err().to_string();
    assert!(
        error.contains("trace` row 2: column `input_length` is `0`"),
        "{error}"
    );
}
